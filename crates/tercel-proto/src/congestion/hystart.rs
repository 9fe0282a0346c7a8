//! HyStart++ (RFC 9406): slow start ends when the delay rises, before packets are lost.
//!
//! Each round trip is a round. If the smallest round-trip time of this round is noticeably above
//! that of the last, slow start turns conservative (a quarter of its growth) for up to five rounds,
//! and then ends; if the delay falls again, the alarm was false and slow start goes on.

use std::time::Duration;

const MIN_RTT_THRESH: Duration = Duration::from_millis(4);
const MAX_RTT_THRESH: Duration = Duration::from_millis(16);
const MIN_RTT_DIVISOR: u32 = 8;
const N_RTT_SAMPLE: u32 = 8;
const CSS_GROWTH_DIVISOR: u64 = 4;
const CSS_ROUNDS: u32 = 5;

/// What an acknowledgement does to the window in slow start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Growth {
    Grow(u64),
    LeaveSlowStart,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stage {
    #[default]
    SlowStart,
    /// Conservative slow start.
    Conservative { baseline: Duration, rounds: u32 },
}

#[derive(Debug, Default)]
pub(super) struct HyStart {
    stage: Stage,
    /// The round ends when this packet is acknowledged.
    window_end: Option<u64>,
    last_round_min: Option<Duration>,
    current_round_min: Option<Duration>,
    samples: u32,
}

impl HyStart {
    pub(super) fn on_rtt(&mut self, sample: Duration) {
        self.current_round_min = Some(self.current_round_min.map_or(sample, |min| min.min(sample)));
        self.samples += 1;
        let (Some(current), true) = (self.current_round_min, self.samples >= N_RTT_SAMPLE) else { return };
        match self.stage {
            Stage::SlowStart => {
                let Some(last) = self.last_round_min else { return };
                let threshold = (last / MIN_RTT_DIVISOR).clamp(MIN_RTT_THRESH, MAX_RTT_THRESH);
                if current >= last + threshold {
                    self.stage = Stage::Conservative { baseline: current, rounds: 0 };
                }
            }
            Stage::Conservative { baseline, .. } if current < baseline => self.stage = Stage::SlowStart,
            Stage::Conservative { .. } => {}
        }
    }

    /// `bytes` up to packet `number` were acknowledged; `last_sent` is the newest packet sent.
    pub(super) fn on_acked(&mut self, bytes: u64, number: u64, last_sent: u64) -> Growth {
        if self.window_end.is_none_or(|end| number >= end) {
            self.window_end = Some(last_sent);
            self.last_round_min = self.current_round_min.take();
            self.samples = 0;
            if let Stage::Conservative { rounds, .. } = &mut self.stage {
                *rounds += 1;
                if *rounds >= CSS_ROUNDS {
                    return Growth::LeaveSlowStart;
                }
            }
        }
        match self.stage {
            Stage::SlowStart => Growth::Grow(bytes),
            Stage::Conservative { .. } => Growth::Grow(bytes / CSS_GROWTH_DIVISOR),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One round of packets `from..from + 10` with this round-trip time; gives the last growth.
    fn round(hystart: &mut HyStart, from: u64, rtt: u64) -> Growth {
        let mut growth = Growth::Grow(0);
        for number in from..from + 10 {
            hystart.on_rtt(Duration::from_millis(rtt));
            growth = hystart.on_acked(1000, number, from + 10);
        }
        growth
    }

    #[test]
    fn a_steady_delay_changes_nothing() {
        let mut hystart = HyStart::default();
        assert!((0..20).all(|at| round(&mut hystart, at * 10, 50) == Growth::Grow(1000)));
    }

    #[test]
    fn a_rising_delay_slows_growth_and_then_ends_it() {
        let mut hystart = HyStart::default();
        round(&mut hystart, 0, 50);
        round(&mut hystart, 10, 50);
        assert_eq!(round(&mut hystart, 20, 60), Growth::Grow(250));
        let mut left = None;
        for at in 3..10 {
            for number in at * 10..at * 10 + 10 {
                hystart.on_rtt(Duration::from_millis(70));
                if hystart.on_acked(1000, number, at * 10 + 10) == Growth::LeaveSlowStart {
                    left.get_or_insert(at);
                }
            }
        }
        assert_eq!(left, Some(7));
    }

    #[test]
    fn a_false_alarm_is_taken_back() {
        let mut hystart = HyStart::default();
        round(&mut hystart, 0, 50);
        round(&mut hystart, 10, 50);
        round(&mut hystart, 20, 60);
        assert_eq!(round(&mut hystart, 30, 50), Growth::Grow(1000));
    }
}
