//! Careful resume (RFC 9959): a sender that has been here before begins with half of what the path took
//! then, if it seems to be the same path, and takes that back quickly if it was too much.
//!
//! - *Reconnaissance*: the connection begins as any other. When its initial window has been acknowledged
//!   without a sign of congestion, at a round-trip time that is like that of before, and there is more to
//!   send, the window jumps to half the saved one.
//! - *Unvalidated*: that is sent within a round trip, evenly. What is acknowledged meanwhile is counted
//!   (the pipe size): the path carries so much for certain.
//! - *Validating*: what was sent on trust is awaited. When all of it has arrived, the jump was right.
//! - *Safe Retreat*: there was a sign of congestion, so what was sent on trust may have been too much for
//!   others, too. The window falls to half the pipe size, until everything is settled.
//! - *Normal*: the controller goes on as if nothing had been.

use std::time::Duration;

use super::{MAX_WINDOW, Settings, initial_window};
use crate::time::Time;

/// What a path took, to be remembered for the next connection between the same ends (the saved congestion
/// control parameters of RFC 9959). Who keeps it must know the ends again, by their addresses, must not
/// use it for two connections at once, and must forget it after a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SavedPath {
    /// How many bytes were in flight without congestion (saved_cwnd).
    pub window: u64,
    /// The least round-trip time (saved_rtt).
    pub rtt: Duration,
}

/// A window is worth remembering when it is so many times the initial one.
const WORTHWHILE: u64 = 4;

/// The largest jump (max_jump).
const MAX_JUMP: u64 = 64 << 20;

impl SavedPath {
    /// What is to be remembered of a path, if it is worth it.
    pub(crate) fn of(settings: &Settings, mtu: u16, window: u64, rtt: Duration) -> Option<Self> {
        let initial = initial_window(settings.initial_window_packets, mtu.into());
        let worthwhile = window >= WORTHWHILE * initial && !rtt.is_zero();
        worthwhile.then_some(Self { window: window.min(MAX_WINDOW), rtt })
    }

    /// Below half of the saved time the rate would be higher than any that was seen; above ten times of it
    /// this is another path.
    fn confirms(&self, sample: Duration) -> bool {
        sample >= self.rtt / 2 && sample <= self.rtt * 10
    }

    fn jump(&self) -> u64 {
        (self.window / 2).min(MAX_JUMP)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Reconnaissance {
        /// Bytes acknowledged so far.
        acked: u64,
    },
    Unvalidated {
        since: Time,
    },
    /// `last` is when the last packet was sent on trust.
    Validating {
        last: Time,
    },
    Retreat {
        last: Time,
    },
}

/// The resumption of a path, until it is over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resume {
    saved: SavedPath,
    phase: Phase,
    /// What the path carries for certain.
    pipe: u64,
}

/// An ACK frame, as resumption sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Acked {
    pub(super) now: Time,
    pub(super) bytes: u64,
    /// When the newest packet was sent.
    pub(super) newest: Time,
    /// What is in flight still.
    pub(super) in_flight: u64,
    pub(super) sample: Option<Duration>,
    pub(super) smoothed: Duration,
    pub(super) window: u64,
    pub(super) initial: u64,
    /// There is more to send than the window lets.
    pub(super) limited: bool,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Wait,
    /// The window is this.
    Window(u64),
    /// Resumption is over. After a retreat, slow start goes up to what the path carries.
    Over {
        threshold: Option<u64>,
    },
}

impl Resume {
    pub(super) const fn new(saved: SavedPath) -> Self {
        Self { saved, phase: Phase::Reconnaissance { acked: 0 }, pipe: 0 }
    }

    /// Whether acknowledgements may enlarge the window.
    pub(super) const fn may_grow(&self) -> bool {
        matches!(self.phase, Phase::Reconnaissance { .. } | Phase::Validating { .. })
    }

    /// Whether the window is to be sent evenly over a round trip, and no faster.
    pub(super) const fn is_unvalidated(&self) -> bool {
        matches!(self.phase, Phase::Unvalidated { .. })
    }

    /// Packets were acknowledged.
    pub(super) fn on_acked(&mut self, ack: Acked) -> Step {
        match &mut self.phase {
            Phase::Reconnaissance { acked } => {
                *acked += ack.bytes;
                let confirmed = *acked >= ack.initial && ack.sample.is_some();
                if ack.sample.is_some_and(|sample| !self.saved.confirms(sample)) || self.saved.jump() <= ack.window {
                    return Step::Over { threshold: None };
                }
                if !(confirmed && ack.limited) {
                    return Step::Wait;
                }
                self.pipe = ack.in_flight + ack.bytes;
                self.phase = Phase::Unvalidated { since: ack.now };
                Step::Window(self.saved.jump())
            }
            Phase::Unvalidated { since } => {
                self.pipe += ack.bytes;
                if ack.newest <= *since && ack.now < *since + ack.smoothed {
                    return Step::Wait;
                }
                let flight = ack.in_flight + ack.bytes;
                if flight <= self.pipe {
                    // So little was sent that nothing is left to be validated.
                    return Step::Over { threshold: None };
                }
                self.phase = Phase::Validating { last: ack.now };
                Step::Window(flight)
            }
            Phase::Validating { last } | Phase::Retreat { last } => {
                self.pipe += ack.bytes;
                if ack.newest <= *last {
                    return Step::Wait;
                }
                let retreated = matches!(self.phase, Phase::Retreat { .. });
                Step::Over { threshold: retreated.then_some(self.pipe) }
            }
        }
    }

    /// A sign of congestion. Gives the window to retreat to; `None` if the controller is to react as it
    /// always does.
    pub(super) fn on_congestion(&mut self, now: Time) -> Option<u64> {
        match self.phase {
            Phase::Reconnaissance { .. } => None,
            Phase::Unvalidated { .. } => {
                self.phase = Phase::Retreat { last: now };
                Some(self.pipe / 2)
            }
            Phase::Validating { last } => {
                self.phase = Phase::Retreat { last };
                Some(self.pipe / 2)
            }
            Phase::Retreat { .. } => Some(self.pipe / 2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MTU: u64 = 1200;
    const INITIAL: u64 = 10 * MTU;
    const RTT: Duration = Duration::from_millis(50);
    const START: Time = Time::from_nanos(1 << 40);
    const SAVED: SavedPath = SavedPath { window: 300 * MTU, rtt: RTT };

    fn ack(after: u32, packets: u64, newest: u32, in_flight: u64) -> Acked {
        Acked {
            now: START + after * RTT / 10,
            bytes: packets * MTU,
            newest: START + newest * RTT / 10,
            in_flight: in_flight * MTU,
            sample: Some(RTT),
            smoothed: RTT,
            window: 2 * INITIAL,
            initial: INITIAL,
            limited: true,
        }
    }

    /// The initial window went out at 0 and is acknowledged after one round trip; 19 packets are in flight.
    fn jumped() -> Resume {
        let mut resume = Resume::new(SAVED);
        assert_eq!(resume.on_acked(ack(10, 4, 0, 16)), Step::Wait, "not all of the initial window yet");
        assert_eq!(resume.on_acked(ack(10, 6, 0, 19)), Step::Window(150 * MTU), "half of what it was");
        assert!(resume.is_unvalidated() && !resume.may_grow());
        resume
    }

    #[test]
    fn reconnaissance_wants_the_initial_window_acknowledged_and_more_to_send() {
        let mut resume = Resume::new(SAVED);
        assert!(resume.may_grow());
        assert_eq!(resume.on_acked(Acked { limited: false, ..ack(10, 10, 0, 0) }), Step::Wait);
        assert_eq!(resume.on_acked(ack(20, 2, 10, 18)), Step::Window(150 * MTU));
    }

    #[test]
    fn another_path_is_not_resumed() {
        for (percent, same) in [(49, false), (50, true), (100, true), (1000, true), (1001, false)] {
            let mut resume = Resume::new(SAVED);
            let sample = Some(RTT * percent / 100);
            let step = resume.on_acked(Acked { sample, ..ack(10, 10, 0, 19) });
            let expected = if same { Step::Window(150 * MTU) } else { Step::Over { threshold: None } };
            assert_eq!(step, expected, "{percent} % of the saved time");
        }
    }

    #[test]
    fn congestion_in_reconnaissance_is_the_controllers_business() {
        assert_eq!(Resume::new(SAVED).on_congestion(START), None);
    }

    #[test]
    fn a_window_that_is_large_already_needs_no_jump() {
        let mut resume = Resume::new(SAVED);
        assert_eq!(resume.on_acked(Acked { window: 150 * MTU, ..ack(10, 10, 0, 19) }), Step::Over { threshold: None });
    }

    #[test]
    fn what_arrives_makes_the_jump_right() {
        let mut resume = jumped();
        assert_eq!(resume.on_acked(ack(15, 10, 5, 100)), Step::Wait, "sent before the jump");
        // The first packet that was sent on trust arrives: the window is what is in flight.
        assert_eq!(resume.on_acked(ack(21, 2, 11, 140)), Step::Window(142 * MTU));
        assert!(resume.may_grow());
        assert_eq!(resume.on_acked(ack(30, 100, 20, 60)), Step::Wait);
        assert_eq!(resume.on_acked(ack(32, 42, 22, 100)), Step::Over { threshold: None });
    }

    #[test]
    fn after_a_round_trip_trust_ends() {
        let mut resume = jumped();
        assert_eq!(resume.on_acked(ack(20, 2, 9, 140)), Step::Window(142 * MTU));
    }

    #[test]
    fn a_sender_that_hardly_used_it_is_normal_at_once() {
        let mut resume = jumped();
        assert_eq!(resume.on_acked(ack(21, 19, 11, 2)), Step::Over { threshold: None });
    }

    #[test]
    fn congestion_makes_it_retreat_to_half_of_what_the_path_carries() {
        let mut resume = jumped();
        // 25 packets were in flight or acknowledged at the jump, and ten since.
        assert_eq!(resume.on_acked(ack(15, 10, 5, 100)), Step::Wait);
        assert_eq!(resume.on_congestion(START + RTT * 2), Some(35 * MTU / 2));
        assert!(!resume.may_grow());
        assert_eq!(resume.on_acked(ack(22, 20, 15, 50)), Step::Wait);
        assert_eq!(resume.on_congestion(START + RTT * 2), Some(55 * MTU / 2), "more losses: of what is known now");
        // Something sent after the retreat arrives: slow start up to what the path has carried.
        assert_eq!(resume.on_acked(ack(31, 5, 21, 9)), Step::Over { threshold: Some(60 * MTU) });
    }

    #[test]
    fn congestion_while_validating_waits_for_the_same_packets() {
        let mut resume = jumped();
        assert_eq!(resume.on_acked(ack(21, 2, 11, 140)), Step::Window(142 * MTU));
        assert!(resume.on_congestion(START + 3 * RTT).is_some());
        assert_eq!(resume.on_acked(ack(32, 10, 21, 0)), Step::Wait);
        assert!(matches!(resume.on_acked(ack(33, 1, 22, 0)), Step::Over { threshold: Some(_) }));
    }

    #[test]
    fn what_is_worth_remembering() {
        let config = crate::config::TransportConfig::default();
        let settings = Settings::from(&config);
        assert_eq!(SavedPath::of(&settings, 1200, 40 * MTU - 1, RTT), None);
        assert_eq!(SavedPath::of(&settings, 1200, 40 * MTU, Duration::ZERO), None);
        assert_eq!(SavedPath::of(&settings, 1200, 40 * MTU, RTT), Some(SavedPath { window: 40 * MTU, rtt: RTT }));
        assert_eq!(SavedPath { window: u64::MAX, rtt: RTT }.jump(), MAX_JUMP);
    }
}
