//! Probing for bandwidth (section 5.3.3): the four phases of ProbeBW, and what acknowledgements mean
//! in each.
//!
//! Down drains what the probe before has queued, Cruise sends as fast as the path delivers, Refill makes
//! sure that the pipe is full, and Up sends a quarter faster to see whether there is more. A probe is
//! due after two to three seconds, or on small paths after as many rounds as NewReno would take to
//! probe, so that its flows get their share.

use std::time::Duration;

use super::bounds::{BETA_TENTHS, NONE};
use super::delivery::Sample;
use super::{Bbr, Phase, Probing, State, Turn};
use crate::time::Time;

/// The longest time between probes, in rounds, and the shortest by the clock.
const MAX_ROUNDS: u64 = 63;
const MIN_WAIT: Duration = Duration::from_secs(2);

/// Of the largest volume without losses, so many percent are left to others (Headroom).
const HEADROOM_PERCENT: u64 = 15;

/// What acknowledgements say of the last probe (ACKS_*).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Feedback {
    None,
    Refilling,
    Starting,
    Probed,
    Stopping,
}

/// Where in the cycle the sender is.
#[derive(Debug)]
pub(super) struct Cycle {
    began: Time,
    /// The next probe is due after this time, or after some rounds.
    wait: Duration,
    rounds_since_up: u64,
    feedback: Feedback,
    /// Whether what is acknowledged was sent while probing.
    is_probe_sample: bool,
    /// Rounds for which this probe has raised the bound.
    up_rounds: u32,
    up_acked: u64,
    /// The bound goes up by a datagram for so many bytes acknowledged.
    acked_per_datagram: u64,
    /// The last probe went too high.
    too_high: bool,
    /// The last probe ended at the bound, as a precaution.
    precautionary: bool,
    dice: u64,
}

impl Cycle {
    pub(super) const fn new(seed: u64) -> Self {
        Self {
            began: Time::ZERO,
            wait: Duration::ZERO,
            rounds_since_up: 0,
            feedback: Feedback::None,
            is_probe_sample: false,
            up_rounds: 0,
            up_acked: 0,
            acked_per_datagram: u64::MAX,
            too_high: false,
            precautionary: false,
            dice: seed,
        }
    }

    pub(super) const fn on_round(&mut self) {
        self.rounds_since_up += 1;
    }

    pub(super) const fn is_probe_sample(&self) -> bool {
        self.is_probe_sample
    }

    /// Whether what is acknowledged was sent before the last probe ended.
    pub(super) const fn is_stopping(&self) -> bool {
        matches!(self.feedback, Feedback::Stopping)
    }

    /// ProbeRTT interrupts.
    pub(super) const fn stop(&mut self) {
        self.feedback = Feedback::Stopping;
    }

    /// Random numbers (SplitMix64): for spreading probes, where no one gains by guessing.
    const fn roll(&mut self) -> u64 {
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.dice ^ (self.dice >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Section 5.3.3.8: when the next probe is due, by rounds and by the clock.
    fn pick_wait(&mut self) {
        self.rounds_since_up = self.roll() % 2;
        self.wait = MIN_WAIT + Duration::from_micros(self.roll() % 1_000_000);
    }
}

impl Bbr {
    pub(super) fn start_down(&mut self, now: Time) {
        self.latest.reset();
        self.cycle.acked_per_datagram = u64::MAX;
        self.cycle.pick_wait();
        self.cycle.began = now;
        self.cycle.feedback = Feedback::Stopping;
        self.round.start(self.sampler.delivered());
        self.state = State::ProbeBw(Phase::Down);
    }

    pub(super) fn start_refill(&mut self) {
        self.bounds.reset_shortterm();
        (self.cycle.up_rounds, self.cycle.up_acked) = (0, 0);
        self.cycle.precautionary = false;
        self.cycle.feedback = Feedback::Refilling;
        self.round.start(self.sampler.delivered());
        self.state = State::ProbeBw(Phase::Refill);
    }

    fn start_up(&mut self, sample: &Sample) {
        self.cycle.feedback = Feedback::Starting;
        self.round.start(self.sampler.delivered());
        self.full_pipe.restart(sample.rate);
        self.state = State::ProbeBw(Phase::Up);
        self.raise_slope();
    }

    /// Section 5.3.3.9, for every ACK frame.
    pub(super) fn update_cycle(&mut self, turn: &Turn) {
        if !self.full_pipe.was_reached() || self.adapt_longterm(turn) {
            return;
        }
        let State::ProbeBw(phase) = self.state else { return };
        match phase {
            Phase::Down if self.is_time_to_probe(turn.now) => self.start_refill(),
            Phase::Down if self.is_time_to_cruise(turn.in_flight) => self.state = State::ProbeBw(Phase::Cruise),
            Phase::Cruise if self.is_time_to_probe(turn.now) => self.start_refill(),
            Phase::Refill if self.round.started => {
                self.cycle.is_probe_sample = true;
                self.start_up(&turn.sample);
            }
            Phase::Up if self.is_time_to_go_down(turn) => {
                self.cycle.too_high = false;
                self.start_down(turn.now);
            }
            _ => {}
        }
    }

    fn is_time_to_probe(&self, now: Time) -> bool {
        let reno_rounds = self.target_inflight() / self.mtu;
        now > self.cycle.began + self.cycle.wait || self.cycle.rounds_since_up >= reno_rounds.min(MAX_ROUNDS)
    }

    fn is_time_to_cruise(&self, in_flight: u64) -> bool {
        in_flight <= self.inflight_with_headroom() && in_flight <= self.inflight_at(self.max_bw.get(), 100)
    }

    fn is_time_to_go_down(&mut self, turn: &Turn) -> bool {
        // What was in flight before this ACK frame, to within a datagram.
        let reached =
            (turn.in_flight + turn.sample.newly_acked).saturating_add(self.mtu) > self.bounds.inflight_longterm;
        if self.cycle.too_high && reached {
            self.cycle.precautionary = true;
            return true;
        }
        if self.window_use.is_limited() && self.window >= self.bounds.inflight_longterm {
            // The bound is in the way, so that the rate says nothing.
            self.full_pipe.restart(turn.sample.rate);
            return false;
        }
        self.full_pipe.is_full()
    }

    /// Leaves room for others.
    pub(super) fn inflight_with_headroom(&self) -> u64 {
        let bound = self.bounds.inflight_longterm;
        if bound == NONE {
            return NONE;
        }
        let headroom = (bound / 100 * HEADROOM_PERCENT).max(self.mtu);
        bound.saturating_sub(headroom).max(self.min_window())
    }

    /// The bound grows by one datagram in the first round, two in the second, four in the third.
    fn raise_slope(&mut self) {
        let growth = 1 << self.cycle.up_rounds;
        self.cycle.up_rounds = (self.cycle.up_rounds + 1).min(30);
        self.cycle.acked_per_datagram = (self.window / growth).max(self.mtu);
    }

    fn raise_longterm(&mut self, sample: &Sample) {
        if !self.window_use.is_limited() || self.window < self.bounds.inflight_longterm {
            return;
        }
        self.cycle.up_acked += sample.newly_acked;
        let datagrams = self.cycle.up_acked / self.cycle.acked_per_datagram;
        self.cycle.up_acked -= datagrams * self.cycle.acked_per_datagram;
        self.bounds.inflight_longterm = self.bounds.inflight_longterm.saturating_add(datagrams * self.mtu);
        if self.round.started {
            self.raise_slope();
        }
    }

    /// Follows what acknowledgements mean, and raises the long-term bound where there were few losses.
    /// Returns whether a transition was decided.
    fn adapt_longterm(&mut self, turn: &Turn) -> bool {
        let cycling = matches!(self.state, State::ProbeBw(_));
        if self.round.started {
            match self.cycle.feedback {
                Feedback::Starting => self.cycle.feedback = Feedback::Probed,
                Feedback::Stopping => {
                    self.cycle.is_probe_sample = false;
                    self.cycle.feedback = Feedback::None;
                    if cycling && !turn.sample.app_limited {
                        self.max_bw.advance();
                    }
                    // Section 5.3.3.6: the precaution proved needless, so the bound may be probed.
                    if cycling && self.cycle.precautionary && !self.cycle.too_high {
                        self.start_refill();
                        return true;
                    }
                }
                _ => {}
            }
        }
        if !self.is_too_high(turn.sample.lost, turn.sample.in_flight) && self.bounds.inflight_longterm != NONE {
            self.bounds.inflight_longterm = self.bounds.inflight_longterm.max(turn.sample.in_flight);
            if self.state == State::ProbeBw(Phase::Up) {
                self.raise_longterm(&turn.sample);
            }
        }
        false
    }

    /// Section 5.5.10.2: a probe led to too many losses, with this much in flight.
    pub(super) fn on_too_high(&mut self, now: Time, in_flight: u64, app_limited: bool) {
        self.cycle.too_high = true;
        // One reaction for each probe.
        self.cycle.is_probe_sample = false;
        if !app_limited {
            self.bounds.inflight_longterm = in_flight.max(self.target_inflight() / 10 * BETA_TENTHS);
        }
        if self.state == State::ProbeBw(Phase::Up) {
            if let Some(before) = self.undo.kept_mut() {
                before.probing = Some(Probing::Up);
            }
            self.start_down(now);
        }
    }
}

/// At what volume in flight, within a packet of `size`, losses crossed the threshold.
pub(super) const fn inflight_at_loss(in_flight: u64, lost: u64, size: u64) -> u64 {
    let (in_flight, lost) = (in_flight.saturating_sub(size), lost.saturating_sub(size));
    in_flight + (in_flight / 50).saturating_sub(lost) * 50 / 49
}

#[cfg(test)]
impl Bbr {
    pub(super) const fn cycle_is_too_high(&self) -> bool {
        self.cycle.too_high
    }

    pub(super) const fn cycle_wait(&self) -> Duration {
        self.cycle.wait
    }
}
