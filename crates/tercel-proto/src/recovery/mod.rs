//! Loss recovery (RFC 9002).
//!
//! Data enters as packets sent and ACK frames received. It leaves as packets acknowledged or lost,
//! whose frames go back to their owners, as a time to be called at, and as an [`Allowance`]: what
//! may be sent now. The congestion controller and the pacer of the active path live here as well,
//! since all that they are told is found here.
//!
//! A packet is lost when a later one was acknowledged and it is three numbers, or 9/8 of a round
//! trip, behind it. When no acknowledgement comes at all, the probe timeout asks for one.

mod allowance;
mod attached;
pub mod one_way;
mod pto;
mod rtt;
mod sent;
mod spurious;

pub use allowance::Allowance;
pub use attached::Stretch;
pub use one_way::OneWayDelay;
pub use pto::Progress;
pub use rtt::Rtt;
pub use sent::{PACKET_THRESHOLD, SentPacket};

use std::time::Duration;

use tercel_wire::frame::AckFrame;
use tercel_wire::{EncryptionLevel, Role, SpaceId, TransportErrorCode};

use self::pto::{PROBES, Pto};
use self::sent::SentWindow;
use self::spurious::{LostNotes, Note};
use crate::config::TransportConfig;
use crate::congestion::{Ack, Controller, Delivery, Marks, Pacer, SavedPath, Settings};
use crate::error::Violation;
use crate::frames::SentFrame;
use crate::ranges::RangeSet;
use crate::time::Time;
use crate::trace::CongestionPhase;

/// No timer is finer than this (kGranularity, RFC 9002 section 6.1.2).
// RFC 9002 section 6.1.2#5.
pub const GRANULARITY: Duration = Duration::from_millis(1);

/// How many probe timeouts in a row make persistent congestion (kPersistentCongestionThreshold, RFC
/// 9002 section 7.6.1).
// RFC 9002 section 7.6.1#1.
const PERSISTENT_CONGESTION_THRESHOLD: u32 = 3;

/// For how many probe timeouts a lost packet may still turn out to be merely late.
const SPURIOUS_LOSS_PTOS: u32 = 3;

/// What an ACK frame or a timeout brought to light. The buffers are meant to be used again: every
/// call clears them first.
#[derive(Debug, Default)]
pub struct AckOutcome {
    /// Packets newly acknowledged: [their frames](Self::frames) were *acked*.
    pub acked: Vec<SentPacket>,
    /// Packets newly lost, or taken back: their frames were *lost*.
    pub lost: Vec<SentPacket>,
    frames: Vec<SentFrame>,
    deliveries: Vec<Delivery>,
    /// Frames of packets still under way that are to be said again in a probe, with their space: to
    /// their owners they were *lost* as well. No packet's outcome will name them again.
    pub repeat: Vec<(SpaceId, SentFrame)>,
    /// Frames that were *lost* in an earlier outcome and that the peer has after all; and those for
    /// which nobody waits any more. Only of DATAGRAM frames the owner wants to know.
    pub late: Vec<SentFrame>,
    /// See [`late`](Self::late).
    pub discarded: Vec<SentFrame>,
    /// When the packet of the ACK frame's largest number was sent, if it is newly acknowledged and
    /// no larger one was before. Only such an ACK frame's ECN counts are worth a look (RFC 9000
    /// section 13.4.2.1).
    pub largest_acked_sent: Option<Time>,
    /// Whether there is a new round-trip time sample.
    pub rtt_updated: bool,
    /// Whether persistent congestion was found (RFC 9002 section 7.6).
    pub persistent_congestion: bool,
}

impl AckOutcome {
    /// The frames of a packet in it.
    pub fn frames(&self, packet: &SentPacket) -> &[SentFrame] {
        packet.frames.of(&self.frames)
    }

    fn clear(&mut self) {
        self.acked.clear();
        self.lost.clear();
        self.frames.clear();
        self.deliveries.clear();
        self.repeat.clear();
        self.late.clear();
        self.discarded.clear();
        self.largest_acked_sent = None;
        self.rtt_updated = false;
        self.persistent_congestion = false;
    }
}

/// Figures of recovery since the start of the connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecoveryStats {
    /// Packets that the peer has acknowledged.
    pub packets_acked: u64,
    /// Packets declared lost.
    pub packets_lost: u64,
    /// Of these, packets whose acknowledgement came after all.
    pub packets_lost_spuriously: u64,
    /// Times that the congestion window was cut.
    pub congestion_events: u64,
    /// Times that persistent congestion was found.
    pub persistent_congestion: u64,
    /// Probe timeouts fired.
    pub probe_timeouts: u64,
}

/// What recovery keeps for a packet number space.
#[derive(Debug, Default)]
struct Space {
    sent: SentWindow,
    notes: LostNotes,
}

/// What a timer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Deadline {
    /// A packet of this space is lost by then.
    Loss(SpaceId),
    /// This space probes.
    Probe(SpaceId),
}

/// Loss recovery of a connection: all packet number spaces, and the congestion of the active path.
#[derive(Debug)]
pub struct Recovery {
    settings: Settings,
    /// By [`SpaceId`]; `None` once discarded.
    spaces: [Option<Box<Space>>; 3],
    pto: Pto,
    /// What is assumed of the active path: the setting, or what a Retry showed.
    initial_rtt: Duration,
    rtt: Rtt,
    /// Client: the packets of the data space with early data that the server refused.
    refused: RangeSet,
    /// When the first round-trip time sample of the active path was taken.
    first_sample: Option<Time>,
    controller: Controller,
    /// What is known of path 0 from an earlier connection.
    saved: Option<SavedPath>,
    pacer: Pacer,
    /// The active path. Packets of other paths are recovered, but neither measured nor counted.
    path: u32,
    bytes_in_flight: u64,
    stats: RecoveryStats,
}

impl Recovery {
    /// Recovery at the start of a connection, on path 0.
    pub fn new(role: Role, config: &TransportConfig) -> Self {
        let settings = Settings::from(config);
        Self {
            settings,
            spaces: [(); 3].map(|()| Some(Box::default())),
            pto: Pto::new(role),
            initial_rtt: config.initial_rtt,
            rtt: Rtt::new(config.initial_rtt),
            refused: RangeSet::new(),
            first_sample: None,
            controller: Controller::new(settings, config.initial_mtu),
            saved: None,
            pacer: Pacer::new(config.pacing),
            path: 0,
            bytes_in_flight: 0,
            stats: RecoveryStats::default(),
        }
    }

    /// The same, drawing chance from `seed`, which need not be secret.
    pub fn with_seed(self, seed: u64) -> Self {
        let settings = Settings { seed, ..self.settings };
        Self { settings, controller: Controller::new(settings, self.controller.mtu()), ..self }
    }

    /// Takes other settings, as a server may once it has seen the ClientHello. What was measured
    /// already is kept.
    pub fn configure(&mut self, config: &TransportConfig) {
        self.settings = Settings { seed: self.settings.seed, ..Settings::from(config) };
        self.initial_rtt = config.initial_rtt;
        if !self.rtt.is_sampled() {
            self.rtt = Rtt::new(config.initial_rtt);
        }
        self.controller = Controller::new(self.settings, self.controller.mtu());
        self.resume();
        self.pacer = Pacer::new(config.pacing);
    }

    /// The path is known from an earlier connection between the same ends (RFC 9959). Without
    /// [`careful_resume`](TransportConfig::careful_resume) that is of no account. To be told before
    /// anything was sent.
    pub fn set_saved_path(&mut self, saved: SavedPath) {
        self.saved = Some(saved);
        self.resume();
    }

    fn resume(&mut self) {
        if let Some(saved) = self.saved.filter(|_| self.settings.careful_resume) {
            self.controller.resume(saved);
        }
    }

    /// What the next connection between the same ends should know of the active path, if it is worth it.
    pub fn observed_path(&self) -> Option<SavedPath> {
        let observed = self.controller.observed();
        SavedPath::of(&self.settings, self.controller.mtu(), observed, self.rtt.min)
    }

    /// A packet was sent that carried `frames`. Numbers go up within a space; those left out count as skipped on
    /// purpose, and a peer that acknowledges one is caught (RFC 9000 section 21.4).
    pub fn on_packet_sent(&mut self, packet: SentPacket, frames: &[SentFrame]) {
        let id = packet.level.space();
        let Some(space) = &mut self.spaces[id as usize] else { return };
        if packet.ack_eliciting {
            self.pto.on_ack_eliciting_sent(id, packet.time);
        }
        let mut delivery = None;
        if packet.in_flight && packet.path == self.path {
            // RFC 9002 section 7.5#2.
            self.bytes_in_flight += u64::from(packet.size);
            delivery = self.controller.on_sent(packet.time, packet.size, self.bytes_in_flight);
            self.pacer.on_sent(packet.size);
        }
        space.sent.push(packet, frames, delivery);
    }

    /// An ACK frame is read now that came then (`(now, came)`: it may have had to wait for keys). `delay` is its
    /// ACK Delay field as a time; it is of no account in the Initial space.
    ///
    /// # Errors
    /// PROTOCOL_VIOLATION if it acknowledges a packet that was never sent (RFC 9000 section 13.1).
    pub fn on_ack(
        &mut self,
        (now, came): (Time, Time),
        space: SpaceId,
        ack: &AckFrame<'_>,
        delay: Duration,
        outcome: &mut AckOutcome,
    ) -> Result<(), Violation> {
        outcome.clear();
        let Some(raised) = self.take_acked(space, ack, outcome)? else { return Ok(()) };
        let Some(newest) = outcome.acked.iter().max_by_key(|packet| packet.number) else { return Ok(()) };
        let (newest_time, on_path) = (newest.time, newest.path == self.path);
        self.stats.packets_acked += outcome.acked.len() as u64;
        // RFC 9002 section 5.1#1.
        if newest.number == ack.largest {
            outcome.largest_acked_sent = Some(newest_time).filter(|_| raised);
            // Section 5.1: the newest packet gives the sample, if something made the peer answer.
            // RFC 9002 section 5.1#2.
            if on_path && outcome.acked.iter().any(|packet| packet.ack_eliciting) {
                // RFC 9002 section 5.3#5: without the time that it waited here.
                self.sample_rtt(now, space, came.since(newest_time), delay);
                outcome.rtt_updated = true;
            }
        }
        for (other, state) in SpaceId::ALL.into_iter().zip(&mut self.spaces) {
            if let Some(state) = state
                && other != space
            {
                // RFC 9002 section 7.6.2#3.
                state.sent.break_run(newest_time);
            }
        }
        self.pto.on_ack(now, space);
        self.detect_losses(now, space, outcome);
        self.credit_acked(now, outcome);
        Ok(())
    }

    /// Moves the packets that `ack` names to the outcome. Returns whether its largest number is a
    /// new one, or `None` if the space is gone.
    fn take_acked(
        &mut self,
        space: SpaceId,
        ack: &AckFrame<'_>,
        outcome: &mut AckOutcome,
    ) -> Result<Option<bool>, Violation> {
        let never_sent =
            Violation::new(TransportErrorCode::PROTOCOL_VIOLATION, "acknowledgement of a packet that was never sent");
        let Some(Space { sent, notes }) = self.spaces[space as usize].as_deref_mut() else { return Ok(None) };
        // RFC 9000 section 13.1#2.
        if ack.largest >= sent.next_number() {
            return Err(never_sent);
        }
        // RFC 9001 section 4.6.2#2.
        let mut refused = self.refused.iter().filter(|_| space == SpaceId::Data);
        if refused.any(|refused| ack.iter().any(|acked| *acked.start() < refused.end && refused.start <= *acked.end()))
        {
            let what = "acknowledgement of early data that was refused";
            return Err(Violation::new(TransportErrorCode::PROTOCOL_VIOLATION, what));
        }
        let oldest = notes.lowest().unwrap_or(u64::MAX).min(sent.base());
        for range in ack.iter().take_while(|range| *range.end() >= oldest) {
            if sent.was_skipped(&range) {
                return Err(never_sent);
            }
            sent.acknowledge(&range, outcome);
            notes.acknowledge(&range, |note| {
                self.stats.packets_lost_spuriously += 1;
                self.controller.on_spurious_loss(note.epoch);
                outcome.late.append(&mut note.frames);
            });
        }
        Ok(Some(sent.raise_largest_acked(ack.largest)))
    }

    fn sample_rtt(&mut self, now: Time, space: SpaceId, sample: Duration, delay: Duration) {
        // Section 5.3: Initial packets are acknowledged at once, and a peer is held to its
        // max_ack_delay from when the handshake is confirmed.
        let delay = match space {
            SpaceId::Initial => Duration::ZERO,
            // RFC 9002 section 5.3#1#2#3.
            _ if self.pto.is_confirmed() => delay.min(self.pto.max_ack_delay()),
            _ => delay,
        };
        self.first_sample.get_or_insert(now);
        self.rtt.update(sample, delay);
    }

    /// Section 6.1: finds what is lost in a space by now, and what that says of congestion.
    fn detect_losses(&mut self, now: Time, space: SpaceId, outcome: &mut AckOutcome) {
        let patience = self.patience();
        let Some(Space { sent, notes }) = self.spaces[space as usize].as_deref_mut() else { return };
        let (path, first_sample) = (self.path, self.first_sample);
        let counts = |packet: &SentPacket| {
            // Section 7.6.2: only what was sent with a round-trip time known.
            // RFC 9002 section 7.6.2#2.
            let timed = first_sample.is_some_and(|first| packet.time > first);
            // RFC 9002 section 7.6.2#1.
            packet.ack_eliciting && !packet.mtu_probe && packet.path == path && timed
        };
        sent.detect_losses(now, self.rtt.loss_delay(), counts, outcome);
        let longest_run = sent.take_longest_run();

        let on_path = |packet: &&SentPacket| packet.in_flight && packet.path == path;
        // RFC 9002 section 7.4#1.
        for packet in outcome.lost.iter().filter(on_path) {
            self.bytes_in_flight = self.bytes_in_flight.saturating_sub(u64::from(packet.size));
        }
        // RFC 9000 section 14.4#1.
        let blamed = |packet: &&SentPacket| on_path(packet) && !packet.mtu_probe;
        if !outcome.lost.is_empty() {
            // RFC 9000 section 13.3#7.
            let news = self.controller.on_lost(now, &self.rtt, outcome.lost.iter().filter(blamed), &outcome.deliveries);
            self.stats.congestion_events += u64::from(news);
        }
        self.stats.packets_lost += outcome.lost.len() as u64;
        let epoch = self.controller.epoch();
        let AckOutcome { lost, frames, discarded, .. } = outcome;
        let mut forget = |mut note: Note| {
            self.controller.on_true_loss(note.epoch);
            discarded.append(&mut note.frames);
        };
        notes.expire(now - patience, &mut forget);
        for packet in lost.iter() {
            let epoch = blamed(&packet).then_some(epoch);
            notes.push(packet.number, packet.frames.of(frames), now, epoch, &mut forget);
        }

        let congestion_period = PERSISTENT_CONGESTION_THRESHOLD * (self.rtt.pto_base() + self.pto.max_ack_delay());
        if longest_run > congestion_period {
            sent.forget_run();
            outcome.persistent_congestion = true;
            self.stats.persistent_congestion += 1;
            self.controller.on_persistent_congestion(now);
            self.rtt.forget_min();
        }
    }

    /// Takes acknowledged packets out of flight and lets the window grow.
    fn credit_acked(&mut self, now: Time, outcome: &AckOutcome) {
        let path = self.path;
        let on_path = || outcome.acked.iter().filter(|packet| packet.in_flight && packet.path == path);
        let bytes = on_path().map(|packet| u64::from(packet.size)).sum();
        self.bytes_in_flight = self.bytes_in_flight.saturating_sub(bytes);
        let sample = outcome.rtt_updated.then_some(self.rtt.latest);
        let ack = Ack { now, bytes_in_flight: self.bytes_in_flight, sample, rtt: &self.rtt };
        self.controller.on_acked(ack, on_path(), &outcome.deliveries);
    }

    /// The peer says that of `acked` marked packets, newly acknowledged, `ce` met congestion; `sent` is
    /// when the largest acknowledged packet was sent (RFC 9002 section 7.1 and section B.7).
    pub fn on_marks(&mut self, now: Time, sent: Time, acked: u64, ce: u64) {
        let marks = Marks { now, sent, acked, ce, smoothed: self.rtt.smoothed };
        self.stats.congestion_events += u64::from(self.controller.on_marks(marks));
    }

    /// For how long a lost packet may still turn out to be merely late.
    fn patience(&self) -> Duration {
        SPURIOUS_LOSS_PTOS * (self.rtt.pto_base() + self.pto.max_ack_delay())
    }

    /// Forgets what was lost too long ago.
    fn forget_lost(&mut self, now: Time, outcome: &mut AckOutcome) {
        let patience = self.patience();
        for space in self.spaces.iter_mut().flatten() {
            space.notes.expire(now - patience, &mut |mut note: Note| {
                self.controller.on_true_loss(note.epoch);
                outcome.discarded.append(&mut note.frames);
            });
        }
    }

    /// When [`timeout`](Self::timeout) is due (section A.8).
    pub fn next_timeout(&self) -> Option<Time> {
        let awaited = self.spaces.iter().flatten().filter_map(|space| space.notes.first_awaited()).min();
        let forget = awaited.map(|lost| lost + self.patience());
        [self.next_deadline().map(|(at, _)| at), forget].into_iter().flatten().min()
    }

    fn next_deadline(&self) -> Option<(Time, Deadline)> {
        let spaces = SpaceId::ALL.into_iter().zip(&self.spaces);
        let loss = spaces.filter_map(|(id, space)| Some((space.as_ref()?.sent.loss_time()?, Deadline::Loss(id)))).min();
        // RFC 9002 section 6.2.1#6.
        loss.or_else(|| {
            let (at, space) = self.pto.next(&self.rtt, self.under_way())?;
            Some((at, Deadline::Probe(space)))
        })
    }

    /// Which spaces have ack-eliciting packets under way.
    fn under_way(&self) -> [bool; 3] {
        self.spaces.each_ref().map(|space| space.as_ref().is_some_and(|space| space.sent.has_ack_eliciting()))
    }

    /// The time of [`next_timeout`](Self::next_timeout) may have come: finds the packets that are
    /// lost by now, or grants probes and takes back what they should carry (section A.9), but for what
    /// may not be said twice.
    pub fn timeout(&mut self, now: Time, may_repeat: impl Fn(&SentFrame) -> bool, outcome: &mut AckOutcome) {
        outcome.clear();
        match self.next_deadline() {
            Some((at, Deadline::Loss(space))) if at <= now => self.detect_losses(now, space, outcome),
            Some((at, Deadline::Probe(space))) if at <= now => {
                self.stats.probe_timeouts += 1;
                self.pto.fire(now, space);
                // Section 6.2.4: the probes carry the oldest data, and that of other spaces with it.
                for (id, space) in SpaceId::ALL.into_iter().zip(&mut self.spaces) {
                    let Some(space) = space else { continue };
                    space
                        .sent
                        .take_oldest_frames(usize::from(PROBES), &may_repeat, |frame| outcome.repeat.push((id, frame)));
                }
            }
            _ => {}
        }
        self.forget_lost(now, outcome);
    }

    /// Takes back what the oldest packet of `space` carries, for another probe to carry as well.
    pub fn repeat(&mut self, id: SpaceId, outcome: &mut AckOutcome) {
        outcome.clear();
        if let Some(space) = &mut self.spaces[id as usize] {
            space.sent.take_oldest_frames(1, |_| true, |frame| outcome.repeat.push((id, frame)));
        }
    }

    /// What may be sent now on the active path.
    pub fn allowance(&mut self, now: Time) -> Allowance {
        // RFC 9002 section 7.5#1.
        if let Some(space) = self.pto.owed() {
            return Allowance::Probe { space };
        }
        let (window, mtu) = (self.controller.window(), u64::from(self.controller.mtu()));
        // RFC 9002 section 7#2.
        let room = window.saturating_sub(self.bytes_in_flight);
        if room < mtu {
            return Allowance::Blocked { until: None };
        }
        match self.pacer.release(now, &self.rtt, &self.controller) {
            Ok(burst) => Allowance::Send { bytes: room.min(burst) },
            Err(until) => Allowance::Blocked { until: Some(until) },
        }
    }

    /// Whether `space` owes a probe. One less is owed with every ack-eliciting packet that is sent in
    /// it, and none once something is acknowledged.
    pub fn owes_probe(&self, space: SpaceId) -> bool {
        self.pto.owes(space)
    }

    /// How far the handshake has come; tell every change.
    pub const fn set_progress(&mut self, now: Time, progress: Progress) {
        self.pto.set_progress(now, progress);
    }

    /// The peer's `max_ack_delay`. Default 25 ms.
    pub const fn set_peer_max_ack_delay(&mut self, delay: Duration) {
        self.pto.set_max_ack_delay(delay);
    }

    /// Whether sending last ended for lack of data or of the peer's credit. When it did, the window
    /// grows only as far as it was used (section 7.8). Default true.
    pub fn set_app_limited(&mut self, limited: bool) {
        self.controller.set_app_limited(limited, self.bytes_in_flight);
    }

    /// The keys of a space are discarded: its packets are forgotten (section 6.4).
    // RFC 9002 section 6.4#1.
    pub fn discard_space(&mut self, space: SpaceId) {
        if let Some(gone) = self.spaces[space as usize].take() {
            self.bytes_in_flight = self.bytes_in_flight.saturating_sub(in_flight_on(&gone.sent, self.path));
            self.pto.discard_space(space);
        }
    }

    /// Client: a Retry came. Recovery begins anew (section 6.3); the packets under way, early data
    /// too, are taken back as lost.
    // RFC 9000 sections 17.2.3#1, 17.2.5.3#1#2.
    pub fn retry_received(&mut self, now: Time, outcome: &mut AckOutcome) {
        outcome.clear();
        for space in self.spaces.iter_mut().flatten() {
            space.sent.withdraw(|_| true, outcome);
        }
        // The answer took a round trip, and it is clear which packet it answers if there was one only.
        let mut initials = outcome.lost.iter().filter(|packet| packet.level == EncryptionLevel::Initial);
        if let (Some(first), 0) = (initials.next(), self.pto.count()) {
            let sample = now.since(first.time);
            self.initial_rtt = sample.clamp(GRANULARITY, self.initial_rtt.max(GRANULARITY));
        }
        if let Some(space) = &mut self.spaces[SpaceId::Data as usize] {
            // A server may answer early data that came before its Retry.
            for packet in outcome.lost.iter().filter(|packet| packet.level == EncryptionLevel::ZeroRtt) {
                space.notes.push(packet.number, outcome.frames(packet), now, None, &mut |_| {});
            }
        }
        self.bytes_in_flight = 0;
        self.begin_path(self.controller.mtu());
    }

    /// Client: the server rejected early data; its packets are taken back as lost (RFC 9001 section
    /// 4.6.2).
    pub fn lose_early_data(&mut self, outcome: &mut AckOutcome) {
        outcome.clear();
        let Some(space) = &mut self.spaces[SpaceId::Data as usize] else { return };
        space.sent.withdraw(|packet| packet.level == EncryptionLevel::ZeroRtt, outcome);
        for packet in &outcome.lost {
            self.refused.insert_one(packet.number);
        }
        for packet in outcome.lost.iter().filter(|packet| packet.in_flight && packet.path == self.path) {
            self.bytes_in_flight = self.bytes_in_flight.saturating_sub(u64::from(packet.size));
        }
    }

    /// Another path is the active one now (RFC 9000 section 9.4); its datagrams have `mtu` bytes.
    /// What was measured is forgotten, unless `keep` says that only the peer's port changed: then
    /// the packets under way count as sent on the new path.
    // RFC 9000 section 9.4#1#2.
    pub fn path_changed(&mut self, path: u32, mtu: u16, keep: bool) {
        let old = std::mem::replace(&mut self.path, path);
        if keep {
            for space in self.spaces.iter_mut().flatten() {
                space.sent.relabel(old, path);
            }
            self.controller.set_mtu(mtu);
        }
        self.bytes_in_flight = self.spaces.iter().flatten().map(|space| in_flight_on(&space.sent, path)).sum();
        if !keep {
            self.initial_rtt = self.settings.initial_rtt;
            self.begin_path(mtu);
        }
    }

    fn begin_path(&mut self, mtu: u16) {
        self.rtt = Rtt::new(self.initial_rtt);
        self.first_sample = None;
        self.settings.seed = self.settings.seed.wrapping_add(1);
        self.saved = None;
        self.controller = Controller::new(self.settings, mtu);
        self.pacer = Pacer::new(self.settings.pacing);
        self.pto.restart();
        for space in self.spaces.iter_mut().flatten() {
            space.sent.forget_run();
            space.notes.forget_epochs();
        }
    }

    /// The datagram size of the active path changed.
    pub fn mtu_changed(&mut self, mtu: u16) {
        self.controller.set_mtu(mtu);
    }

    /// The round-trip time of the active path.
    pub const fn rtt(&self) -> &Rtt {
        &self.rtt
    }

    /// The probe timeout of a space without backoff (section 6.2.1).
    pub fn pto(&self, space: SpaceId) -> Duration {
        self.pto.duration(&self.rtt, space)
    }

    /// How many probe timeouts fired since the last acknowledgement.
    pub const fn pto_count(&self) -> u32 {
        self.pto.count()
    }

    /// Bytes in flight on the active path.
    pub const fn bytes_in_flight(&self) -> u64 {
        self.bytes_in_flight
    }

    /// The congestion window of the active path, in bytes.
    pub const fn window(&self) -> u64 {
        self.controller.window()
    }

    /// Whether packets are spread over the round trip from now on.
    pub fn set_pacing(&mut self, pacing: bool) {
        if self.settings.pacing != pacing {
            self.settings.pacing = pacing;
            self.pacer = Pacer::new(pacing);
        }
    }

    /// Lets go of room that is not in use.
    pub fn rest(&mut self) {
        self.spaces.iter_mut().flatten().for_each(|space| space.sent.rest());
    }

    /// The rate at which packets are paced, in bytes each second; 0 if they are not.
    pub fn pacing_rate(&self) -> u64 {
        match self.settings.pacing && self.rtt.is_sampled() {
            true => self.controller.pace(&self.rtt).rate.bytes_in(Duration::from_secs(1)),
            false => 0,
        }
    }

    /// What the congestion controller of the active path does.
    pub fn congestion_phase(&self) -> CongestionPhase {
        let oldest = self.spaces[SpaceId::Data as usize].as_ref().and_then(|space| space.sent.packets().next());
        self.controller.phase(oldest.map(|packet| packet.time))
    }

    /// Whether any ack-eliciting packet is under way, on whatever path.
    pub fn has_ack_eliciting_in_flight(&self) -> bool {
        self.under_way() != [false; 3]
    }

    /// Figures since the start of the connection.
    pub const fn stats(&self) -> RecoveryStats {
        self.stats
    }
}

fn in_flight_on(sent: &SentWindow, path: u32) -> u64 {
    let counted = sent.packets().filter(|packet| packet.in_flight && packet.path == path);
    counted.map(|packet| u64::from(packet.size)).sum()
}

#[cfg(test)]
mod link_tests;
#[cfg(test)]
mod tests;
