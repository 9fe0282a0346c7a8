//! Each transition of the state machine against the draft, over a line with a rate, a delay and a queue.

use std::collections::VecDeque;

use tercel_wire::EncryptionLevel;

use super::*;
use crate::config::{CongestionAlgorithm, TransportConfig};

const MTU: u64 = 1200;
const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const START: Time = Time::from_nanos(1 << 40);
/// 9.6 Mbit/s and 40 ms: a thousand packets each second, forty on the way.
const RATE: u64 = 1000 * MTU;
const RTT: Duration = Duration::from_millis(40);
const BDP: u64 = 40 * MTU;

fn settings() -> Settings {
    let config = TransportConfig { congestion: CongestionAlgorithm::Bbr, ..TransportConfig::default() };
    Settings { seed: 5, ..Settings::from(&config) }
}

/// A sender with a line that acknowledges each packet. It loses what does not fit its queue, and what
/// `loses` names.
struct Line {
    bbr: Bbr,
    now: Time,
    rtt: Rtt,
    buffer: u64,
    free_at: Time,
    next: u64,
    next_send: Time,
    in_flight: u64,
    /// When the answer to each comes, or that it is lost.
    answers: VecDeque<(Time, SentPacket, Delivery, bool)>,
    loses: fn(u64) -> bool,
    /// What was lost.
    lost: Vec<SentPacket>,
    /// From when on it did what.
    log: Vec<(Time, State)>,
    /// The most that waited in the queue since it was last asked.
    queued: Duration,
}

impl Line {
    fn new() -> Self {
        Self {
            bbr: Bbr::new(settings(), MTU as u16),
            now: START,
            rtt: Rtt::new(RTT),
            buffer: u64::MAX,
            free_at: START,
            next: 0,
            next_send: START,
            in_flight: 0,
            answers: VecDeque::new(),
            loses: |_| false,
            lost: Vec::new(),
            log: vec![(START, State::Startup)],
            queued: Duration::ZERO,
        }
    }

    fn send(&mut self) {
        self.in_flight += MTU;
        let packet = SentPacket {
            number: self.next,
            time: self.now,
            size: MTU as u16,
            level: EncryptionLevel::OneRtt,
            path: 0,
            ack_eliciting: true,
            in_flight: true,
            ecn_marked: false,
            mtu_probe: false,
            delivery: crate::recovery::Stretch::one(0),
            frames: crate::recovery::Stretch::default(),
        };
        let delivery = self.bbr.on_sent(self.now, MTU as u16, self.in_flight);
        let waits = self.free_at.since(self.now);
        let lost = (self.loses)(self.next) || Rate::new(RATE, SECOND).bytes_in(waits) + MTU > self.buffer;
        if !lost {
            self.queued = self.queued.max(waits);
            self.free_at = self.free_at.max(self.now) + MS;
        }
        self.answers.push_back((self.free_at + RTT, packet, delivery, lost));
        self.next += 1;
        let pace = self.bbr.pace(&self.rtt).rate.time_for(MTU);
        self.next_send = if self.rtt.is_sampled() { self.now + pace } else { self.now };
    }

    fn answer(&mut self) {
        let Some((at, packet, delivery, lost)) = self.answers.pop_front() else { return };
        self.now = at.max(self.now);
        self.in_flight -= MTU;
        if lost {
            self.bbr.on_lost(self.now, &self.rtt, std::iter::once(&packet), &[delivery]);
            self.lost.push(packet);
        } else {
            let sample = self.now.since(packet.time);
            self.rtt.update(sample, Duration::ZERO);
            let ack = Ack { now: self.now, bytes_in_flight: self.in_flight, sample: Some(sample), rtt: &self.rtt };
            self.bbr.on_acked(ack, std::iter::once(&packet), &[delivery]);
        }
        let done = |state: &State| std::mem::discriminant(state);
        let last = self.log.last().map(|(_, state)| *state);
        let same = match (last, self.bbr.state) {
            (Some(State::ProbeBw(before)), State::ProbeBw(phase)) => before == phase,
            (last, state) => last.as_ref().map(done) == Some(done(&state)),
        };
        if !same {
            self.log.push((self.now, self.bbr.state));
        }
    }

    /// Goes on until something holds.
    fn until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let limit = self.now + 60 * SECOND;
        while !holds(self) {
            assert!(self.now < limit, "never {what}: {:?}", self.log);
            let room = self.in_flight + MTU <= self.bbr.window();
            match self.answers.front() {
                Some((at, ..)) if !room || *at <= self.next_send => self.answer(),
                _ => {
                    self.now = self.next_send.max(self.now);
                    self.send();
                }
            }
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        self.until("", |line| line.now >= end);
    }

    fn reach(&mut self, phase: Phase) {
        self.until("in this phase", |line| line.bbr.state == State::ProbeBw(phase));
    }
}

#[test]
fn startup_finds_the_rate_and_drain_takes_the_queue_away() {
    let mut line = Line::new();
    line.until("drains", |line| matches!(line.bbr.state, State::Drain { .. }));
    // It doubles each round: from 10 packets to 40 in two or three, and three show that there is no more.
    assert!(line.bbr.round.count <= 10, "{} rounds", line.bbr.round.count);
    assert!(line.bbr.max_bw.get().abs_diff(RATE) < RATE / 20, "{}", line.bbr.max_bw.get());
    assert!(line.queued < RTT + 10 * MS, "{:?} queued by a window of twice the path", line.queued);
    let began = line.now;
    line.until("drained", |line| matches!(line.bbr.state, State::ProbeBw(_)));
    assert!(line.in_flight <= BDP + 3 * MTU, "{}", line.in_flight);
    assert!(line.now.since(began) <= 4 * RTT);
}

#[test]
fn the_cycle_goes_round() {
    let mut line = Line::new();
    line.run(12 * SECOND);
    let states: Vec<State> = line.log.iter().map(|(_, state)| *state).collect();
    use Phase::{Cruise, Down, Refill, Up};
    let cycle = [Down, Cruise, Refill, Up, Down].map(State::ProbeBw);
    assert!(states.windows(5).any(|five| five == cycle), "{states:?}");
    for pair in states.windows(2) {
        let fine = match (pair[0], pair[1]) {
            (State::Startup, State::Drain { .. }) => true,
            // Drained already: Down is over at once.
            (State::Drain { .. }, State::ProbeBw(Down | Cruise)) => true,
            (State::ProbeBw(_), State::ProbeRtt { .. }) | (State::ProbeRtt { .. }, State::ProbeBw(Cruise)) => true,
            (State::ProbeBw(from), State::ProbeBw(to)) => {
                [(Down, Cruise), (Down, Refill), (Cruise, Refill), (Refill, Up), (Up, Down)].contains(&(from, to))
            }
            _ => false,
        };
        assert!(fine, "{pair:?}");
    }
    // Forty packets make a NewReno cycle of forty rounds: 1.6 s, before the two seconds are over.
    let ups: Vec<_> = line.log.iter().filter(|(_, state)| *state == State::ProbeBw(Up)).collect();
    assert!(ups.len() >= 4, "{} probes in 12 s", ups.len());
    assert!(ups.windows(2).all(|two| two[1].0.since(two[0].0) <= 3 * SECOND));
}

#[test]
fn more_bandwidth_is_found_by_probing() {
    // As if the model had been half the truth.
    let mut line = Line::new();
    line.reach(Phase::Cruise);
    line.bbr.max_bw = MaxBw::default();
    line.bbr.max_bw.update(RATE / 2);
    line.bbr.bw = RATE / 2;
    line.reach(Phase::Up);
    line.until("found", |line| line.bbr.max_bw.get() > RATE * 9 / 10);
}

#[test]
fn less_bandwidth_is_forgotten_after_two_cycles() {
    let mut line = Line::new();
    line.reach(Phase::Cruise);
    line.bbr.max_bw.update(3 * RATE);
    for _ in 0..3 {
        line.reach(Phase::Up);
        line.reach(Phase::Down);
        line.reach(Phase::Cruise);
    }
    assert!(line.bbr.max_bw.get() < RATE * 11 / 10, "{}", line.bbr.max_bw.get());
}

#[test]
fn every_five_seconds_the_queue_is_drained_to_measure() {
    let mut line = Line::new();
    line.until("measured", |line| matches!(line.bbr.state, State::ProbeRtt { .. }));
    let began = line.now;
    assert!(began.since(START) > 5 * SECOND && began.since(START) < 6 * SECOND);
    line.run(100 * MS);
    assert!(line.in_flight <= BDP / 2 + 2 * MTU, "{}", line.in_flight);
    line.until("over", |line| !matches!(line.bbr.state, State::ProbeRtt { .. }));
    assert_eq!(line.bbr.state, State::ProbeBw(Phase::Cruise));
    let took = line.now.since(began);
    assert!(took > PROBE_RTT_DURATION && took < PROBE_RTT_DURATION + 4 * RTT, "{took:?}");
    assert!(line.bbr.window() > BDP, "the window is back: {}", line.bbr.window());
    assert_eq!(line.bbr.min_rtt.get(), Some(RTT + MS));
}

#[test]
fn what_is_in_flight_stays_by_the_path() {
    let mut line = Line::new();
    line.reach(Phase::Cruise);
    line.queued = Duration::ZERO;
    line.run(4 * SECOND);
    // A probe sends a quarter more for a round or so, until three rounds show that there is no more.
    assert!(line.queued < RTT, "{:?}", line.queued);
    assert!(line.bbr.pacing_rate.abs_diff(RATE) < RATE * 3 / 10);
}

#[test]
fn startup_ends_by_many_losses_in_many_places() {
    let mut line = Line::new();
    line.loses = |number| number > 60 && number % 10 == 0;
    line.until("ended", |line| line.bbr.state != State::Startup);
    assert!(line.bbr.full_pipe.was_reached());
    assert_ne!(line.bbr.bounds.inflight_longterm, bounds::NONE);
    // One gap alone does not.
    let mut line = Line::new();
    line.loses = |number| (40..44).contains(&number);
    line.until("some losses later", |line| line.next > 100);
    assert_eq!((line.bbr.state, line.bbr.bounds.inflight_longterm), (State::Startup, bounds::NONE));
}

#[test]
fn losses_while_cruising_lower_the_bounds_until_the_next_probe() {
    let mut line = Line::new();
    line.reach(Phase::Cruise);
    line.loses = |number| number % 50 == 0;
    line.until("bounded", |line| line.bbr.bounds.bw_shortterm != bounds::NONE);
    let Bounds { bw_shortterm, inflight_shortterm, inflight_longterm } = line.bbr.bounds;
    assert!((RATE * 6 / 10..=RATE * 11 / 10).contains(&bw_shortterm), "{bw_shortterm}");
    assert!(line.bbr.window() <= inflight_shortterm.max(4 * MTU));
    assert_eq!(inflight_longterm, bounds::NONE, "nothing was probed");
    line.loses = |_| false;
    line.reach(Phase::Refill);
    assert_eq!(line.bbr.bounds.bw_shortterm, bounds::NONE);
}

#[test]
fn a_probe_that_loses_too_much_ends_and_the_next_is_careful() {
    let mut line = Line::new();
    line.reach(Phase::Cruise);
    // A queue of five packets overflows as soon as a quarter more is sent.
    line.buffer = 5 * MTU;
    line.reach(Phase::Up);
    line.reach(Phase::Down);
    let bound = line.bbr.bounds.inflight_longterm;
    assert!((BDP * 6 / 10..2 * BDP).contains(&bound), "{bound}");
    assert!(line.bbr.cycle_is_too_high());
    line.reach(Phase::Cruise);
    assert!(line.bbr.window() <= bound - bound / 10, "headroom");
    line.reach(Phase::Up);
    let began = line.now;
    line.reach(Phase::Down);
    assert!(line.now.since(began) <= 2 * RTT, "left at the bound, before losses could be known");
    // A quarter of a second later it cruises at the rate of the line all the same.
    line.reach(Phase::Cruise);
    assert!(line.bbr.bw > RATE * 8 / 10, "{}", line.bbr.bw);
}

#[test]
fn losses_that_were_none_are_taken_back() {
    let mut line = Line::new();
    line.reach(Phase::Cruise);
    let before = (line.bbr.bounds, line.bbr.window());
    line.loses = |number| number % 40 == 0;
    line.until("bounded", |line| line.bbr.bounds.bw_shortterm != bounds::NONE);
    // Undone is the last reaction only: make one of a single loss.
    line.loses = |_| false;
    line.reach(Phase::Refill);
    line.reach(Phase::Up);
    line.buffer = 2 * MTU;
    line.lost.clear();
    line.reach(Phase::Down);
    assert_ne!(line.bbr.bounds.inflight_longterm, bounds::NONE);
    let epoch = line.bbr.epoch();
    for _ in 0..line.lost.len() {
        line.bbr.on_spurious_loss(Some(epoch));
    }
    assert_eq!(line.bbr.bounds.inflight_longterm, before.0.inflight_longterm);
    assert_eq!(line.bbr.state, State::ProbeBw(Phase::Refill), "it goes on to probe");
    assert!(line.bbr.window() >= before.1 / 2);
}

#[test]
fn a_startup_that_ended_for_nothing_goes_on() {
    let mut line = Line::new();
    line.loses = |number| number > 60 && number % 10 == 0;
    line.until("ended", |line| line.bbr.state != State::Startup);
    let epoch = line.bbr.epoch();
    for _ in 0..line.lost.len() {
        line.bbr.on_spurious_loss(Some(epoch));
    }
    assert_eq!((line.bbr.state, line.bbr.full_pipe.was_reached()), (State::Startup, false));
}

#[test]
fn without_data_nothing_is_learnt_and_silence_ends_at_the_rate_of_the_path() {
    let mut line = Line::new();
    line.reach(Phase::Cruise);
    while line.in_flight > 0 {
        line.answer();
    }
    line.bbr.set_app_limited(true, 0);
    let before = (line.bbr.max_bw.get(), line.bbr.window());
    // A packet now and then, for twenty seconds.
    for _ in 0..200 {
        line.now += 100 * MS;
        line.next_send = line.now;
        line.send();
        assert_eq!(line.bbr.pacing_rate, percent(line.bbr.bw, 99));
        line.answer();
        line.bbr.set_app_limited(true, line.in_flight);
    }
    assert_eq!(line.bbr.max_bw.get(), before.0, "slow for want of data");
    assert!(!matches!(line.bbr.state, State::ProbeRtt { .. }), "silence drains the queue well enough");
    assert!(line.bbr.window() >= before.1 / 2);
}

#[test]
fn marks_count_as_losses_that_nothing_takes_back() {
    let mut line = Line::new();
    line.reach(Phase::Up);
    line.until("answers to the probe", |line| line.bbr.cycle.is_probe_sample());
    let marks = Marks { now: line.now, sent: line.now - RTT, acked: 20, ce: 20, smoothed: RTT };
    assert!(line.bbr.on_marks(marks) && !line.bbr.on_marks(marks), "once a round trip");
    assert_eq!(line.bbr.state, State::ProbeBw(Phase::Down));
    let bound = line.bbr.bounds.inflight_longterm;
    assert!((BDP * 6 / 10..2 * BDP).contains(&bound), "{bound}");
    line.bbr.on_spurious_loss(Some(line.bbr.epoch()));
    assert_eq!(line.bbr.bounds.inflight_longterm, bound);
    assert!(!line.bbr.on_marks(Marks { ce: 0, ..marks }));
}

#[test]
fn persistent_congestion_leaves_the_minimum_until_something_comes_through() {
    let mut line = Line::new();
    line.reach(Phase::Cruise);
    line.bbr.on_persistent_congestion(line.now);
    assert_eq!(line.bbr.window(), 4 * MTU);
    line.run(3 * RTT);
    assert!(line.bbr.window() > BDP, "{}", line.bbr.window());
}

#[test]
fn chance_spreads_the_probes() {
    let waits: Vec<_> = (0..20u64)
        .map(|seed| {
            let mut bbr = Bbr::new(Settings { seed, ..settings() }, MTU as u16);
            bbr.start_down(START);
            bbr.cycle_wait()
        })
        .collect();
    assert!(waits.iter().all(|wait| (2 * SECOND..3 * SECOND).contains(wait)));
    assert!(waits.iter().max().unwrap().saturating_sub(*waits.iter().min().unwrap()) > SECOND / 2);
}
