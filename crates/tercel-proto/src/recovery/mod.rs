//! Loss recovery (RFC 9002).
//!
//! Data enters as packets sent and ACK frames received; it leaves as packets acknowledged or lost
//! (each with the frames it carried, for their owners), as a time to be called at, and as an
//! [`Allowance`]: what may be sent now. The controller of the active path lives here too, since
//! every fact that it is fed is found here.

mod allowance;
mod pto;
mod rtt;
mod sent;

pub use allowance::Allowance;
pub use pto::Progress;
pub use rtt::Rtt;
pub use sent::SentPacket;

use std::time::Duration;

use tercel_wire::frame::AckFrame;
use tercel_wire::{Role, SpaceId, TransportErrorCode};

use self::pto::Pto;
use self::sent::SentWindow;
use crate::config::{CongestionAlgorithm, TransportConfig};
use crate::congestion::{Acked, Controller, Pacer};
use crate::error::Violation;
use crate::time::Time;

/// A packet this far behind the largest acknowledged is lost (section 6.1.1).
const PACKET_THRESHOLD: u64 = 3;

/// Timers are no finer than this (kGranularity).
pub const GRANULARITY: Duration = Duration::from_millis(1);

/// What an ACK frame or a timeout did. The buffers are reused from call to call.
#[derive(Debug, Default)]
pub struct AckOutcome {
    /// Packets newly acknowledged.
    pub acked: Vec<SentPacket>,
    /// Packets newly declared lost.
    pub lost: Vec<SentPacket>,
    /// When the largest newly acknowledged packet was sent.
    pub largest_acked_sent: Option<Time>,
}

impl AckOutcome {
    fn clear(&mut self) {
        self.acked.clear();
        self.lost.clear();
        self.largest_acked_sent = None;
    }
}

/// Figures of recovery.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecoveryStats {
    /// Packets declared lost.
    pub lost: u64,
    /// Of these, acknowledged after all.
    pub spurious: u64,
    /// Times that the window was cut.
    pub congestion_events: u64,
    /// Times that persistent congestion was found.
    pub persistent_congestion: u64,
    /// Probe timeouts.
    pub probe_timeouts: u64,
}

/// Loss recovery of a connection: all packet number spaces, and the active path.
#[derive(Debug)]
pub struct Recovery {
    config: RecoveryConfig,
    windows: [Option<SentWindow>; 3],
    rtt: Rtt,
    pto: Pto,
    controller: Controller,
    pacer: Pacer,
    /// The path whose packets the controller and the round-trip time are about.
    path: u32,
    mtu: u16,
    bytes_in_flight: u64,
    app_limited: bool,
    /// When the first round-trip time sample was taken.
    first_sample: Option<Time>,
    stats: RecoveryStats,
}

#[derive(Debug, Clone)]
struct RecoveryConfig {
    initial_rtt: Duration,
    algorithm: CongestionAlgorithm,
    initial_window_packets: u32,
    hystart: bool,
    pacing: bool,
}

impl Recovery {
    /// Recovery at the start of a connection.
    pub fn new(role: Role, config: &TransportConfig) -> Self {
        let config = RecoveryConfig {
            initial_rtt: config.initial_rtt,
            algorithm: config.congestion,
            initial_window_packets: config.initial_window_packets,
            hystart: config.hystart,
            pacing: config.pacing,
        };
        let mtu = 1200;
        Self {
            windows: [Some(SentWindow::default()), Some(SentWindow::default()), Some(SentWindow::default())],
            rtt: Rtt::new(config.initial_rtt),
            pto: Pto::new(role),
            controller: config.controller(mtu),
            pacer: Pacer::new(config.pacing),
            config,
            path: 0,
            mtu,
            bytes_in_flight: 0,
            app_limited: false,
            first_sample: None,
            stats: RecoveryStats::default(),
        }
    }

    /// A packet was sent.
    pub fn on_packet_sent(&mut self, space: SpaceId, packet: SentPacket) {
        let Some(window) = &mut self.windows[space as usize] else { return };
        if packet.in_flight {
            if packet.path == self.path {
                self.bytes_in_flight += u64::from(packet.size);
                self.controller.on_packet_sent(packet.number, space);
            }
            if packet.ack_eliciting {
                self.pto.on_ack_eliciting_sent(space, packet.time);
            }
            self.pacer.on_sent(packet.size);
        }
        window.push(packet);
    }

    /// An ACK frame came in. `delay` is its ACK Delay in time; zero for Initial packets.
    ///
    /// # Errors
    /// PROTOCOL_VIOLATION: it acknowledges a packet that was never sent (RFC 9000 section 13.1).
    pub fn on_ack(
        &mut self,
        now: Time,
        space: SpaceId,
        ack: &AckFrame<'_>,
        delay: Duration,
        outcome: &mut AckOutcome,
    ) -> Result<(), Violation> {
        outcome.clear();
        let Some(window) = &mut self.windows[space as usize] else { return Ok(()) };
        if ack.largest >= window.next_number() {
            return Err(Violation::new(
                TransportErrorCode::PROTOCOL_VIOLATION,
                "acknowledgement of a packet that was never sent",
            ));
        }
        let mut spurious = 0;
        for range in ack.iter() {
            if *range.end() < window.base() && window.forgotten_below() > *range.end() {
                break;
            }
            spurious += window.acknowledge(range, &mut outcome.acked);
        }
        window.on_largest_acked(ack.largest);
        self.on_spurious(spurious);
        if outcome.acked.is_empty() {
            return Ok(());
        }
        self.sample_rtt(now, ack.largest, delay, outcome);
        self.detect_losses(now, space, outcome);
        self.credit_acked(now, outcome);
        if self.pto.resets_on_ack(space) {
            self.pto.reset();
        }
        Ok(())
    }

    /// Takes a round-trip time sample if the largest acknowledged packet is new and something
    /// ack-eliciting is (section 5.1).
    fn sample_rtt(&mut self, now: Time, largest: u64, delay: Duration, outcome: &mut AckOutcome) {
        let Some(packet) = outcome.acked.iter().find(|packet| packet.number == largest) else { return };
        outcome.largest_acked_sent = Some(packet.time);
        let eliciting = outcome.acked.iter().any(|packet| packet.ack_eliciting);
        if eliciting && packet.path == self.path {
            let delay = if self.pto.confirmed() { delay.min(self.pto.max_ack_delay()) } else { delay };
            self.first_sample.get_or_insert(now);
            self.rtt.update(now.since(packet.time), delay);
            self.controller.on_rtt(self.rtt.latest);
        }
    }

    fn credit_acked(&mut self, now: Time, outcome: &AckOutcome) {
        let before = self.bytes_in_flight;
        let mut bytes = 0;
        let mut newest: Option<&SentPacket> = None;
        for packet in outcome.acked.iter().filter(|packet| packet.in_flight && packet.path == self.path) {
            // A packet that was declared lost left the flight then.
            if !packet.was_lost {
                self.bytes_in_flight = self.bytes_in_flight.saturating_sub(u64::from(packet.size));
            }
            bytes += u64::from(packet.size);
            newest = newest.filter(|known| known.time > packet.time).or(Some(packet));
        }
        let Some(newest) = newest else { return };
        self.controller.on_acked(Acked {
            now,
            bytes,
            largest_sent: newest.time,
            largest_number: newest.number,
            app_limited: self.app_limited,
            in_flight_before: before,
            rtt: &self.rtt,
        });
    }

    fn on_spurious(&mut self, count: u64) {
        self.stats.spurious += count;
        if count > 0 {
            self.controller.on_spurious_loss();
        }
    }

    /// Section 6.1: packets that are so far or so long behind the largest acknowledged that they are
    /// lost.
    fn detect_losses(&mut self, now: Time, space: SpaceId, outcome: &mut AckOutcome) {
        // Loss delay of 9/8 of the round-trip time (section 6.1.2).
        let delay = (self.rtt.latest.max(self.rtt.smoothed) * 9 / 8).max(GRANULARITY);
        let Some(window) = &mut self.windows[space as usize] else { return };
        window.detect_losses(now, delay, PACKET_THRESHOLD, &mut outcome.lost);
        // Records of losses are kept for a while, to recognise the spurious ones.
        window.forget_lost_before(now - 3 * delay);
        self.on_lost(now, space, outcome);
    }

    fn on_lost(&mut self, now: Time, space: SpaceId, outcome: &AckOutcome) {
        let mut newest: Option<Time> = None;
        for packet in &outcome.lost {
            self.stats.lost += 1;
            if !packet.in_flight || packet.path != self.path {
                continue;
            }
            self.bytes_in_flight = self.bytes_in_flight.saturating_sub(u64::from(packet.size));
            // A lost probe of the datagram size says nothing about congestion (RFC 9000 section
            // 14.4).
            if !packet.mtu_probe {
                newest = newest.max(Some(packet.time));
            }
        }
        let Some(newest) = newest else { return };
        if self.controller.on_loss(now, newest, self.bytes_in_flight) {
            self.stats.congestion_events += 1;
        }
        if self.is_persistent_congestion(space, outcome) {
            self.stats.persistent_congestion += 1;
            self.controller.on_persistent_congestion();
            self.rtt.on_persistent_congestion();
        }
    }

    /// Section 7.6: ack-eliciting packets lost over so long a time, with none acknowledged that was
    /// sent in between, that the path must be taken as broken down.
    fn is_persistent_congestion(&self, space: SpaceId, outcome: &AckOutcome) -> bool {
        let Some(first_sample) = self.first_sample else { return false };
        let Some(window) = &self.windows[space as usize] else { return false };
        let duration = (self.rtt.smoothed + (4 * self.rtt.var).max(GRANULARITY) + self.pto.max_ack_delay()) * 3;
        let mut run: Option<(Time, u64)> = None;
        for packet in outcome.lost.iter().filter(|packet| packet.path == self.path && packet.time > first_sample) {
            let unbroken = |last: u64| {
                (last + 1..packet.number).all(|number| window.is_lost_or_silent(number, &outcome.lost))
            };
            run = match run {
                Some((start, last)) if unbroken(last) => {
                    if packet.ack_eliciting && packet.time.since(start) > duration {
                        return true;
                    }
                    Some((start, packet.number))
                }
                _ if packet.ack_eliciting => Some((packet.time, packet.number)),
                _ => None,
            };
        }
        false
    }

    /// The peer reports congestion by ECN on a packet sent at `sent` (section 7.1).
    pub fn on_ecn_ce(&mut self, now: Time, sent: Time) {
        if self.controller.on_loss(now, sent, self.bytes_in_flight) {
            self.stats.congestion_events += 1;
        }
    }

    /// When [`timeout`](Self::timeout) is due (section A.8).
    pub fn next_timeout(&self) -> Option<Time> {
        let loss = self.windows.iter().flatten().filter_map(SentWindow::loss_time).min();
        loss.or_else(|| self.pto.next_timeout(&self.rtt, |space| self.has_ack_eliciting(space)))
    }

    fn has_ack_eliciting(&self, space: SpaceId) -> bool {
        self.windows[space as usize].as_ref().is_some_and(|window| window.ack_eliciting_in_flight() > 0)
    }

    /// The time of [`next_timeout`](Self::next_timeout) may have come: finds losses by time, or
    /// grants probes.
    pub fn timeout(&mut self, now: Time, outcome: &mut AckOutcome) {
        outcome.clear();
        if self.next_timeout().is_none_or(|at| now < at) {
            return;
        }
        let due = SpaceId::ALL.into_iter().filter_map(|space| {
            let at = self.windows[space as usize].as_ref()?.loss_time()?;
            Some((at, space))
        });
        if let Some((_, space)) = due.min() {
            self.detect_losses(now, space, outcome);
            return;
        }
        let eliciting = SpaceId::ALL.map(|space| self.has_ack_eliciting(space));
        self.pto.fire(now, &self.rtt, |space| eliciting[space as usize]);
        self.stats.probe_timeouts += 1;
    }

    /// What may be sent now.
    pub fn allowance(&mut self, now: Time) -> Allowance {
        if let Some(space) = self.pto.probe() {
            return Allowance::Probe { space };
        }
        let window = self.controller.window();
        let Some(room) = window.checked_sub(self.bytes_in_flight).filter(|room| *room >= u64::from(self.mtu)) else {
            return Allowance::Blocked { until: None };
        };
        match self.pacer.check(now, self.rtt.smoothed, window, self.mtu, self.controller.in_slow_start()) {
            Some(until) => Allowance::Blocked { until: Some(until) },
            None => Allowance::Send { bytes: room },
        }
    }

    /// A probe packet left for `space`.
    pub fn on_probe_sent(&mut self, space: SpaceId) {
        self.pto.on_probe_sent(space);
    }

    /// Whether a probe is owed in `space`.
    pub fn owes_probe(&self, space: SpaceId) -> bool {
        self.pto.probe() == Some(space)
    }

    /// Whether the last round of sending ended for lack of data rather than of window.
    pub const fn set_app_limited(&mut self, limited: bool) {
        self.app_limited = limited;
    }

    /// How far the handshake has come.
    pub const fn set_progress(&mut self, now: Time, progress: Progress) {
        self.pto.set_progress(now, progress);
    }

    /// The peer's `max_ack_delay`.
    pub const fn set_peer_max_ack_delay(&mut self, delay: Duration) {
        self.pto.set_max_ack_delay(delay);
    }

    /// The keys of a space were discarded: its packets are forgotten (section 6.4).
    pub fn discard_space(&mut self, space: SpaceId) {
        if let Some(mut window) = self.windows[space as usize].take() {
            for packet in window.drain() {
                self.leave_flight(&packet);
            }
            self.pto.discard_space(space);
        }
    }

    /// Takes back every packet of `space` that `chosen` says yes to, as if lost but without blame:
    /// after a Retry, or when early data was rejected.
    pub fn withdraw(&mut self, space: SpaceId, chosen: impl Fn(&SentPacket) -> bool, outcome: &mut AckOutcome) {
        outcome.clear();
        let Some(window) = &mut self.windows[space as usize] else { return };
        window.withdraw(chosen, &mut outcome.lost);
        for at in 0..outcome.lost.len() {
            let (in_flight, path, size) =
                (outcome.lost[at].in_flight, outcome.lost[at].path, outcome.lost[at].size);
            if in_flight && path == self.path {
                self.bytes_in_flight = self.bytes_in_flight.saturating_sub(u64::from(size));
            }
        }
    }

    fn leave_flight(&mut self, packet: &SentPacket) {
        if packet.in_flight && packet.path == self.path && !packet.was_lost {
            self.bytes_in_flight = self.bytes_in_flight.saturating_sub(u64::from(packet.size));
        }
    }

    /// The connection moved to another path (RFC 9000 section 9.4): what was measured is forgotten,
    /// unless only the port changed.
    pub fn path_changed(&mut self, path: u32, mtu: u16, keep: bool) {
        self.path = path;
        self.mtu = mtu;
        if keep {
            self.windows.iter_mut().flatten().for_each(|window| window.adopt(path));
            return;
        }
        self.bytes_in_flight = 0;
        self.rtt = Rtt::new(self.config.initial_rtt);
        self.first_sample = None;
        self.controller = self.config.controller(mtu);
        self.pacer = Pacer::new(self.config.pacing);
        self.pto.reset();
    }

    /// The datagram size changed.
    pub fn mtu_changed(&mut self, mtu: u16) {
        self.mtu = mtu;
        self.controller.set_mtu(mtu);
    }

    /// The round-trip time.
    pub const fn rtt(&self) -> &Rtt {
        &self.rtt
    }

    /// The probe timeout without backoff (section 6.2.1), with the peer's delay if `space` is that
    /// of application data.
    pub fn pto(&self, space: SpaceId) -> Duration {
        self.pto.duration(&self.rtt, space)
    }

    /// How many probe timeouts there were without an answer.
    pub const fn pto_count(&self) -> u32 {
        self.pto.count()
    }

    /// Bytes in flight on the active path.
    pub const fn bytes_in_flight(&self) -> u64 {
        self.bytes_in_flight
    }

    /// The congestion window in bytes.
    pub fn window(&self) -> u64 {
        self.controller.window()
    }

    /// Figures.
    pub const fn stats(&self) -> RecoveryStats {
        self.stats
    }
}

impl RecoveryConfig {
    fn controller(&self, mtu: u16) -> Controller {
        Controller::new(self.algorithm, self.hystart, self.initial_window_packets, mtu)
    }
}

#[cfg(test)]
mod tests;
