//! BBR version 3 (draft-ietf-ccwg-bbr-06; sections are those of the draft).
//!
//! It models the path by two figures that it measures all the time: the rate at which the path delivers,
//! and its round-trip time without queues. Their product is what the path itself holds. A sender that
//! keeps so much in flight, at that rate, uses the path fully and queues nothing. Both figures cannot be
//! measured at once, for one wants more in flight and the other less, so the sender takes turns:
//!
//! - *Startup* doubles the rate each round until it does not rise any more, and *Drain* takes away what
//!   that has queued;
//! - *ProbeBW* is where it stays: see [`cycle`];
//! - *ProbeRTT*, when no small round-trip time was seen for five seconds, halves what is in flight for a
//!   fifth of one.
//!
//! Losses lower [`bounds`] of rate and volume only as far as the path has delivered less. A CE mark is
//! taken for the loss of a packet: the draft asks for a reaction and leaves it open.

mod bounds;
mod cycle;
mod delivery;
mod filter;
mod full_pipe;
mod min_rtt;

use std::time::Duration;

use self::bounds::{Bounds, Latest};
use self::cycle::{Cycle, inflight_at_loss};
pub use self::delivery::Delivery;
use self::delivery::{Sample, Sampler};
use self::filter::{MaxBw, RoundsMax};
use self::full_pipe::FullPipe;
use self::min_rtt::MinRtt;
use super::random_loss::RandomLoss;
use super::undo::Undo;
use super::{Ack, MAX_WINDOW, Marks, Pace, Rate, Settings, initial_window};
use crate::recovery::{Rtt, SentPacket};
use crate::time::Time;
use crate::trace::CongestionPhase;

/// The smallest window, in datagrams (MinPipeCwnd).
const MIN_PIPE_PACKETS: u64 = 4;

/// Startup ends by losses when they were in so many places in one round (BBRStartupFullLossCnt).
const STARTUP_GAPS: u32 = 6;

/// Drain ends after so many rounds at the latest.
const DRAIN_ROUNDS: u64 = 3;

/// How long ProbeRTT keeps the volume down (ProbeRTTDuration).
const PROBE_RTT_DURATION: Duration = Duration::from_millis(200);

/// ProbeRTT keeps so many percent of the path's volume in flight (ProbeRTTCwndGain).
const PROBE_RTT_PERCENT: u64 = 50;

/// The pace is so many percent of the rate that the model gives (PacingMarginPercent).
const PACING_PERCENT: u64 = 99;

/// The pace of Startup in percent of the rate: 4 ln 2, so that the rate doubles each round.
const STARTUP_PACING_PERCENT: u64 = 277;

/// For how many rounds acknowledgements in bunches are remembered (ExtraAckedFilterLen).
const EXTRA_ACKED_ROUNDS: u64 = 10;

/// What is sent at once in this time, and the largest that the model allows for it.
const QUANTUM: Duration = Duration::from_millis(1);
const MAX_QUANTUM: u64 = 64 << 10;

/// The phases of ProbeBW.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Down,
    Cruise,
    Refill,
    Up,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Startup,
    Drain {
        /// The round in which it began.
        since: u64,
    },
    ProbeBw(Phase),
    ProbeRtt {
        /// From when on it may end, once the volume is down; and whether a round has passed since.
        done: Option<(Time, bool)>,
    },
}

impl State {
    /// Section 5.6.1: the pace in percent of the rate, and the window in percent of the path's volume.
    const fn gains(self) -> (u64, u64) {
        match self {
            Self::Startup => (STARTUP_PACING_PERCENT, 200),
            Self::Drain { .. } => (50, 200),
            Self::ProbeBw(Phase::Down) => (90, 200),
            Self::ProbeBw(Phase::Cruise | Phase::Refill) => (100, 200),
            Self::ProbeBw(Phase::Up) => (125, 225),
            Self::ProbeRtt { .. } => (100, PROBE_RTT_PERCENT),
        }
    }

    /// Whether it tries for more bandwidth, so that losses are no news.
    const fn probes(self) -> bool {
        matches!(self, Self::Startup | Self::ProbeBw(Phase::Refill | Phase::Up))
    }
}

/// Rounds, told by packets (section 5.5.1).
#[derive(Debug, Default)]
struct Round {
    count: u64,
    /// The round ends when a packet is acknowledged that was sent with so much delivered.
    ends_at: u64,
    /// Whether one ended by this ACK frame.
    started: bool,
}

impl Round {
    const fn start(&mut self, delivered: u64) {
        self.ends_at = delivered;
    }

    const fn update(&mut self, sample: &Sample, delivered: u64) {
        self.started = sample.prior_delivered >= self.ends_at;
        if self.started {
            self.start(delivered);
            self.count += 1;
        }
    }
}

/// Whether the window was full in this round, or in the last.
#[derive(Debug, Default)]
struct WindowUse {
    now: bool,
    before: bool,
}

impl WindowUse {
    const fn is_limited(&self) -> bool {
        self.now || self.before
    }
}

/// What acknowledgements in bunches give beyond the rate (section 5.5.9).
#[derive(Debug, Default)]
struct ExtraAcked {
    since: Time,
    delivered: u64,
    max: RoundsMax,
}

/// What a reaction to losses has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probing {
    Startup,
    Up,
}

/// The state before a reaction to losses (section 5.5.11).
#[derive(Debug)]
struct Before {
    bounds: Bounds,
    probing: Option<Probing>,
}

/// An ACK frame.
#[derive(Debug)]
struct Turn {
    now: Time,
    /// What is in flight still.
    in_flight: u64,
    sample: Sample,
    rtt: Option<Duration>,
}

/// The controller.
#[derive(Debug)]
pub(super) struct Bbr {
    mtu: u64,
    initial_packets: u32,
    window: u64,
    /// Bytes each second; 0 before there is a round-trip time.
    pacing_rate: u64,
    state: State,
    sampler: Sampler,
    round: Round,
    full_pipe: FullPipe,
    cycle: Cycle,
    max_bw: MaxBw,
    min_rtt: MinRtt,
    /// The rate of the model, within its bounds.
    bw: u64,
    bounds: Bounds,
    latest: Latest,
    extra_acked: ExtraAcked,
    window_use: WindowUse,
    /// The window before recovery or ProbeRTT.
    prior_window: u64,
    /// When the recovery began that is not over.
    recovery_start: Option<Time>,
    undo: Undo<Before>,
    /// The packet acknowledged last.
    newest: Delivery,
    /// Sending begins again after silence.
    idle_restart: bool,
    /// `None` where every loss is one of the path's.
    random_loss: Option<Box<RandomLoss>>,
}

impl Bbr {
    pub(super) fn new(settings: Settings, mtu: u16) -> Self {
        let mtu = u64::from(mtu).max(1);
        Self {
            mtu,
            initial_packets: settings.initial_window_packets,
            window: initial_window(settings.initial_window_packets, mtu).max(MIN_PIPE_PACKETS * mtu),
            pacing_rate: 0,
            state: State::Startup,
            sampler: Sampler::default(),
            round: Round::default(),
            full_pipe: FullPipe::default(),
            cycle: Cycle::new(settings.seed),
            max_bw: MaxBw::default(),
            min_rtt: MinRtt::default(),
            bw: 0,
            bounds: Bounds::none(),
            latest: Latest::default(),
            extra_acked: ExtraAcked::default(),
            window_use: WindowUse::default(),
            prior_window: 0,
            recovery_start: None,
            undo: Undo::default(),
            newest: Delivery::default(),
            idle_restart: false,
            random_loss: settings.random_loss.then(Box::default),
        }
    }

    pub(super) const fn window(&self) -> u64 {
        self.window
    }

    pub(super) const fn mtu(&self) -> u16 {
        self.mtu as u16
    }

    pub(super) fn pace(&self, rtt: &Rtt) -> Pace {
        let rate = match self.pacing_rate {
            0 => Rate::new(self.window / 100 * STARTUP_PACING_PERCENT, rtt.smoothed),
            rate => Rate::new(rate, Duration::from_secs(1)),
        };
        Pace { rate, burst: QUANTUM, least: 2 }
    }

    pub(super) const fn phase(&self) -> CongestionPhase {
        match self.state {
            State::Startup => CongestionPhase::Startup,
            State::Drain { .. } => CongestionPhase::Drain,
            State::ProbeBw(Phase::Down) => CongestionPhase::ProbeBwDown,
            State::ProbeBw(Phase::Cruise) => CongestionPhase::ProbeBwCruise,
            State::ProbeBw(Phase::Refill) => CongestionPhase::ProbeBwRefill,
            State::ProbeBw(Phase::Up) => CongestionPhase::ProbeBwUp,
            State::ProbeRtt { .. } => CongestionPhase::ProbeRtt,
        }
    }

    pub(super) const fn epoch(&self) -> u32 {
        self.undo.epoch()
    }

    pub(super) fn observed(&self) -> u64 {
        if self.full_pipe.was_reached() { self.volume(self.bw, 100) } else { 0 }
    }

    const fn min_window(&self) -> u64 {
        MIN_PIPE_PACKETS * self.mtu
    }

    pub(super) fn set_mtu(&mut self, mtu: u16) {
        let untouched = self.sampler.delivered() == 0;
        self.mtu = u64::from(mtu).max(1);
        let least = if untouched { initial_window(self.initial_packets, self.mtu) } else { self.window };
        self.window = least.max(self.min_window());
    }

    pub(super) fn set_app_limited(&mut self, limited: bool, bytes_in_flight: u64) {
        if limited && bytes_in_flight < self.window {
            self.sampler.mark_app_limited(bytes_in_flight);
        }
    }

    pub(super) fn on_sent(&mut self, now: Time, size: u16, bytes_in_flight: u64) -> Delivery {
        let size = u64::from(size);
        if bytes_in_flight <= size && self.sampler.is_app_limited() {
            self.restart_from_idle(now);
        }
        self.window_use.now |= bytes_in_flight + self.mtu > self.window;
        self.sampler.on_sent(now, size, bytes_in_flight)
    }

    /// Section 5.4.1.
    fn restart_from_idle(&mut self, now: Time) {
        self.idle_restart = true;
        (self.extra_acked.since, self.extra_acked.delivered) = (now, 0);
        match self.state {
            State::ProbeBw(_) => self.set_pacing_rate(100),
            State::ProbeRtt { done } => self.finish_probe_rtt(now, done),
            _ => {}
        }
    }

    /// Section 5.2.3.
    pub(super) fn on_acked<'a>(
        &mut self,
        ack: Ack<'_>,
        packets: impl Iterator<Item = &'a SentPacket>,
        deliveries: &[Delivery],
    ) {
        let mut arrived = 0;
        let packets = packets.inspect(|_| arrived += 1);
        let Some((sample, newest)) = self.sampler.on_acked(ack.now, ack.rtt.min, packets, deliveries) else { return };
        self.newest = Delivery::of(newest, deliveries);
        if let Some(losses) = &mut self.random_loss {
            losses.arrived(arrived, ack.rtt);
        }
        let turn = Turn { now: ack.now, in_flight: ack.bytes_in_flight, sample, rtt: ack.sample };
        if self.recovery_start.is_some_and(|start| newest.time > start) {
            self.recovery_start = None;
            self.window = self.window.max(self.prior_window);
        }
        if self.pacing_rate == 0 && ack.rtt.is_sampled() {
            let nominal = Rate::new(self.window, ack.rtt.smoothed).bytes_in(Duration::from_secs(1));
            self.pacing_rate = percent(nominal, STARTUP_PACING_PERCENT);
        }
        self.update_model(&turn);
        self.update_state(&turn);
        self.latest.advance(&turn.sample);
        self.bw = self.max_bw.get().min(self.bounds.bw_shortterm);
        self.set_pacing_rate(self.state.gains().0);
        self.set_window(&turn.sample);
    }

    /// What the frame says of the path.
    fn update_model(&mut self, turn: &Turn) {
        let (sample, delivered) = (&turn.sample, self.sampler.delivered());
        self.latest.update(sample, delivered);
        self.round.update(sample, delivered);
        if self.round.started {
            self.cycle.on_round();
            self.window_use = WindowUse { now: false, before: self.window_use.now };
        }
        // Section 5.5.5: what a sender without enough data delivers counts only if it is more.
        if sample.rate > 0 && (sample.rate >= self.max_bw.get() || !sample.app_limited) {
            self.max_bw.update(sample.rate);
        }
        if self.latest.round_ended {
            if self.latest.loss_in_round && !self.state.probes() {
                self.bounds.lower_shortterm(&self.latest, self.max_bw.get(), self.window);
            }
            self.latest.loss_in_round = false;
        }
        self.update_extra_acked(turn);
        if self.round.started && !sample.app_limited {
            self.full_pipe.end_round(sample.rate);
        }
    }

    fn update_extra_acked(&mut self, turn: &Turn) {
        let extra = &mut self.extra_acked;
        let mut expected = Rate::new(self.bw, Duration::from_secs(1)).bytes_in(turn.now.since(extra.since));
        if extra.delivered <= expected {
            (extra.delivered, extra.since, expected) = (0, turn.now, 0);
        }
        extra.delivered += turn.sample.newly_acked;
        let surplus = extra.delivered.saturating_sub(expected).min(self.window);
        let window = if self.full_pipe.was_reached() { EXTRA_ACKED_ROUNDS } else { 1 };
        extra.max.update(self.round.count, window, surplus);
    }

    /// What it means for what is to be done.
    fn update_state(&mut self, turn: &Turn) {
        if self.state == State::Startup {
            self.check_startup_losses(&turn.sample);
            if self.full_pipe.was_reached() {
                self.state = State::Drain { since: self.round.count };
            }
        }
        if let State::Drain { since } = self.state
            && (turn.in_flight <= self.inflight_at(self.bw, 100) || self.round.count > since + DRAIN_ROUNDS)
        {
            self.start_down(turn.now);
        }
        self.update_cycle(turn);
        self.min_rtt.update(turn.now, turn.rtt);
        self.check_probe_rtt(turn);
    }

    /// Section 5.3.1.3: many losses, and in many places, say that the pipe is full.
    fn check_startup_losses(&mut self, sample: &Sample) {
        let many = self.latest.gaps_in_round >= STARTUP_GAPS && self.is_too_high(sample.lost, sample.in_flight);
        if !(self.latest.round_ended && many) {
            return;
        }
        if let Some(before) = self.undo.kept_mut() {
            before.probing = Some(Probing::Startup);
        }
        self.full_pipe.set_reached(true);
        self.bounds.inflight_longterm = self.volume(self.bw, 100).max(self.latest.inflight);
    }

    /// Section 5.3.4.3.
    fn check_probe_rtt(&mut self, turn: &Turn) {
        let probing = matches!(self.state, State::ProbeRtt { .. });
        if !probing && self.min_rtt.probe_due() && !self.idle_restart {
            self.save_window();
            self.state = State::ProbeRtt { done: None };
            self.cycle.stop();
            self.round.start(self.sampler.delivered());
        }
        if let State::ProbeRtt { done } = self.state {
            // Low rates are meant here.
            self.sampler.mark_app_limited(turn.in_flight);
            match done {
                None if turn.in_flight <= self.probe_rtt_window() => {
                    self.state = State::ProbeRtt { done: Some((turn.now + PROBE_RTT_DURATION, false)) };
                    self.round.start(self.sampler.delivered());
                }
                None => {}
                Some((at, round)) => {
                    let round = round || self.round.started;
                    self.state = State::ProbeRtt { done: Some((at, round)) };
                    self.finish_probe_rtt(turn.now, Some((at, round)).filter(|_| round));
                }
            }
        }
        if turn.sample.delivered > 0 {
            self.idle_restart = false;
        }
    }

    /// Section 5.3.4.4: leaves ProbeRTT if its time is over.
    fn finish_probe_rtt(&mut self, now: Time, done: Option<(Time, bool)>) {
        if done.is_none_or(|(at, _)| now <= at) {
            return;
        }
        self.min_rtt.probed(now);
        self.window = self.window.max(self.prior_window);
        self.bounds.reset_shortterm();
        if self.full_pipe.was_reached() {
            self.start_down(now);
            self.state = State::ProbeBw(Phase::Cruise);
        } else {
            self.state = State::Startup;
        }
    }

    /// What chance takes beside so much that arrives, as far as that may be told.
    fn by_chance(&self, arriving: u64) -> u64 {
        self.random_loss.as_ref().map_or(0, |losses| losses.beside(arriving))
    }

    /// Whether more than 2 % of this volume was lost (LossThresh); beside what chance takes, if that is more.
    fn is_too_high(&self, lost: u64, in_flight: u64) -> bool {
        let (threshold, by_chance) = (in_flight / 50, self.by_chance(in_flight));
        lost > if by_chance > threshold { by_chance + threshold } else { threshold }
    }

    /// Section 5.6.2. Before the pipe was full the pace only rises.
    fn set_pacing_rate(&mut self, gain: u64) {
        let rate = percent(percent(self.bw, gain), PACING_PERCENT);
        let rate = rate.saturating_add(self.by_chance(rate));
        if self.full_pipe.was_reached() || rate > self.pacing_rate {
            self.pacing_rate = rate.max(1);
        }
    }

    /// So many percent of what the path holds at this rate.
    fn volume(&self, bw: u64, gain: u64) -> u64 {
        let Some(min_rtt) = self.min_rtt.get() else { return initial_window(self.initial_packets, self.mtu) };
        percent(Rate::new(bw, Duration::from_secs(1)).bytes_in(min_rtt), gain).min(MAX_WINDOW)
    }

    /// The same with what batches need (QuantizationBudget).
    fn quantized(&self, volume: u64) -> u64 {
        let quantum = Rate::new(self.pacing_rate, Duration::from_secs(1)).bytes_in(QUANTUM);
        let volume = volume.max(quantum.clamp(2 * self.mtu, MAX_QUANTUM)).max(self.min_window());
        if self.state == State::ProbeBw(Phase::Up) { volume + 2 * self.mtu } else { volume }
    }

    fn inflight_at(&self, bw: u64, gain: u64) -> u64 {
        self.quantized(self.volume(bw, gain))
    }

    /// What is to be in flight, unless losses have cut the window (TargetInflight).
    fn target_inflight(&self) -> u64 {
        self.volume(self.bw, 100).min(self.window)
    }

    fn probe_rtt_window(&self) -> u64 {
        self.volume(self.bw, PROBE_RTT_PERCENT).max(self.min_window())
    }

    fn save_window(&mut self) {
        let modulated = self.recovery_start.is_some() || matches!(self.state, State::ProbeRtt { .. });
        self.prior_window = if modulated { self.prior_window.max(self.window) } else { self.window };
    }

    /// Section 5.6.4.6 and 5.6.4.7.
    fn set_window(&mut self, sample: &Sample) {
        let volume = self.volume(self.bw, self.state.gains().1) + self.extra_acked.max.get();
        let most = self.quantized(volume);
        let grown = self.window + sample.newly_acked;
        let initial = initial_window(self.initial_packets, self.mtu);
        if self.full_pipe.was_reached() {
            self.window = grown.min(most);
        } else if self.window < most || self.sampler.delivered() < initial {
            self.window = grown;
        }
        let bound = match self.state {
            State::ProbeBw(Phase::Cruise) => self.inflight_with_headroom(),
            State::ProbeBw(_) => self.bounds.inflight_longterm,
            State::ProbeRtt { .. } => self.inflight_with_headroom().min(self.probe_rtt_window()),
            State::Startup | State::Drain { .. } => bounds::NONE,
        };
        let bound = bound.min(self.bounds.inflight_shortterm).max(self.min_window());
        self.window = self.window.max(self.min_window()).min(bound).min(MAX_WINDOW);
    }

    /// A loss, or a mark. Returns whether that is the begin of a recovery; it ends when something sent
    /// later is acknowledged.
    fn note_loss(&mut self, now: Time, can_be_undone: bool) -> bool {
        self.latest.note_loss(self.sampler.delivered());
        if self.recovery_start.is_some() {
            return false;
        }
        self.save_window();
        self.recovery_start = Some(now);
        let before = Before { bounds: self.bounds, probing: None };
        self.undo.begin(can_be_undone.then_some(before));
        true
    }

    /// Section 5.5.10.2.
    pub(super) fn on_lost<'a>(
        &mut self,
        now: Time,
        rtt: &Rtt,
        packets: impl Iterator<Item = &'a SentPacket>,
        deliveries: &[Delivery],
    ) -> bool {
        let (mut first, mut last) = (false, None);
        let window = self.window / self.mtu;
        for packet in packets {
            let (size, delivery) = (u64::from(packet.size), Delivery::of(packet, deliveries));
            let random_loss = self.random_loss.as_mut();
            let by_chance = random_loss.is_some_and(|losses| losses.is_chance(now, packet.time, 1, window, rtt));
            if !by_chance {
                self.sampler.on_lost(size);
            }
            if by_chance || self.is_no_news(&delivery, rtt) {
                self.undo.lost(1);
                continue;
            }
            first |= self.note_loss(now, true);
            self.undo.lost(1);
            self.latest.gaps_in_round += u32::from(last.is_none_or(|last| last + 1 != packet.number));
            last = Some(packet.number);
            self.check_probe(now, &delivery, size);
        }
        first
    }

    /// Whether what was lost since this packet was sent is to be ignored where losses by chance may be told: it is little,
    /// and has waited for nobody else. What was sent before a probe ended has waited in the queue of the probe, and what
    /// waited for a moment behind others of its burst.
    fn is_no_news(&self, packet: &Delivery, rtt: &Rtt) -> bool {
        let own_queue = || matches!(self.state, State::Drain { .. }) || self.cycle.is_stopping();
        self.random_loss.is_some()
            && (!RandomLoss::is_long(rtt) || own_queue())
            && !self.is_too_high(self.sampler.lost_since(packet), packet.in_flight())
    }

    /// A packet that may have been sent while probing was lost or marked: was that too much?
    fn check_probe(&mut self, now: Time, packet: &Delivery, size: u64) {
        let (in_flight, lost) = (packet.in_flight(), self.sampler.lost_since(packet));
        if self.cycle.is_probe_sample() && self.is_too_high(lost, in_flight) {
            self.on_too_high(now, inflight_at_loss(in_flight, lost, size), packet.app_limited());
        }
    }

    pub(super) fn on_marks(&mut self, marks: Marks) -> bool {
        if marks.ce == 0 {
            return false;
        }
        let first = self.note_loss(marks.now, false);
        // A mark cannot prove to be an error.
        self.undo.settle();
        self.latest.gaps_in_round += u32::try_from(marks.ce).unwrap_or(u32::MAX);
        let size = marks.ce * self.mtu;
        self.sampler.on_lost(size);
        let newest = self.newest;
        self.check_probe(marks.now, &newest, size);
        first
    }

    /// Section 5.5.11.2.
    pub(super) fn on_spurious_loss(&mut self, epoch: Option<u32>) {
        let Some(before) = self.undo.arrived(epoch) else { return };
        self.window = self.window.max(self.prior_window);
        self.recovery_start = None;
        self.latest.loss_in_round = false;
        self.full_pipe.restart(0);
        self.bounds.widen(&before.bounds);
        let probe_rtt = matches!(self.state, State::ProbeRtt { .. });
        match before.probing {
            Some(Probing::Startup) if self.state != State::Startup => {
                self.full_pipe.set_reached(false);
                if !probe_rtt {
                    self.state = State::Startup;
                }
            }
            Some(Probing::Up) if !probe_rtt && self.state != State::ProbeBw(Phase::Up) => self.start_refill(),
            _ => {}
        }
    }

    pub(super) fn on_true_loss(&mut self, epoch: Option<u32>) {
        self.undo.gone(epoch);
    }

    /// Section 5.6.4.4, as after a retransmission timeout; RFC 9002 section 7.6.2 asks for the minimum.
    pub(super) fn on_persistent_congestion(&mut self, now: Time) {
        self.save_window();
        self.undo.settle();
        self.recovery_start = Some(now);
        self.window = self.min_window();
    }
}

fn percent(value: u64, percent: u64) -> u64 {
    u64::try_from(u128::from(value) * u128::from(percent) / 100).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
