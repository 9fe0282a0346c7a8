//! HyStart++ (RFC 9406): leaves slow start when the delay rises, before the queue overflows.
//!
//! The smallest round-trip time of the last samples is compared with that of the round before. If it
//! rose by more than an eighth, growth slows to a quarter ("conservative slow start"). If a round goes by
//! without it, the rise was chance and slow start goes on; if not, it ends after five rounds.
//!
//! In three things this goes beyond the RFC, whose rules alone let a window reach more than twice what the
//! path holds before they notice, and then three times as much in five rounds; a buffer as large as the path
//! itself has overflowed by then. The RFC compares the smallest time of a whole round, which is that of its
//! first packets. Here any eight samples in a row count, so that a queue is seen while it builds up; and the
//! first packets of the next round, which find none, prove nothing. When a later round shows the delay risen
//! by as much once again, it was no chance, and slow start ends.

use std::time::Duration;

/// Bounds of the rise that matters (MIN_RTT_THRESH and MAX_RTT_THRESH).
const MIN_RISE: Duration = Duration::from_millis(4);
const MAX_RISE: Duration = Duration::from_millis(16);

/// The rise that matters is this part of the round-trip time (MIN_RTT_DIVISOR).
const RISE_DIVISOR: u32 = 8;

/// So many samples make a round's smallest one worth a comparison (N_RTT_SAMPLE).
const SAMPLES: usize = 8;

/// Growth in conservative slow start is this part of that in slow start (CSS_GROWTH_DIVISOR).
const CSS_GROWTH_DIVISOR: u64 = 4;

/// So many rounds conservative slow start lasts (CSS_ROUNDS).
const CSS_ROUNDS: u32 = 5;

/// An unpaced sender grows by so many datagrams at most for one ACK (L).
const UNPACED_LIMIT: u64 = 8;

/// What to do with the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Slow start goes on, with so many bytes more.
    Grow(u64),
    LeaveSlowStart,
}

#[derive(Debug)]
pub(super) struct HyStart {
    paced: bool,
    /// The smallest round-trip time of the last round and of this one.
    last_min: Option<Duration>,
    current_min: Option<Duration>,
    /// The last samples in nanoseconds, at the place of their number, and how many this round has had.
    recent: [u64; SAMPLES],
    samples: usize,
    conservative: Option<Conservative>,
}

#[derive(Debug)]
struct Conservative {
    /// The round-trip time that raised suspicion.
    baseline: Duration,
    /// Rounds that have ended since, the one in which it began included.
    rounds: u32,
    /// Whether the delay has risen as far in this round.
    risen: bool,
}

impl HyStart {
    pub(super) const fn new(paced: bool) -> Self {
        let recent = [0; SAMPLES];
        Self { paced, last_min: None, current_min: None, recent, samples: 0, conservative: None }
    }

    /// Packets of `bytes` were acknowledged; `sample` is the round-trip time that was measured by
    /// it. `round_ended`: everything in flight when the round began is settled (section 4.2).
    pub(super) fn on_acked(&mut self, bytes: u64, mtu: u64, sample: Option<Duration>, round_ended: bool) -> Verdict {
        if let Some(sample) = sample {
            self.current_min = Some(self.current_min.map_or(sample, |min| min.min(sample)));
            self.recent[self.samples % SAMPLES] = sample.as_nanos() as u64;
            self.samples = self.samples.saturating_add(1);
        }
        if self.compare() {
            return Verdict::LeaveSlowStart;
        }
        let growth = if self.paced { bytes } else { bytes.min(UNPACED_LIMIT * mtu) };
        let verdict = match &self.conservative {
            None => Verdict::Grow(growth),
            Some(_) => Verdict::Grow(growth / CSS_GROWTH_DIVISOR),
        };
        if round_ended && self.end_round() { Verdict::LeaveSlowStart } else { verdict }
    }

    /// Enters or leaves conservative slow start as the delay tells. Returns whether slow start is over.
    fn compare(&mut self) -> bool {
        if self.samples < SAMPLES {
            return false;
        }
        let recent = Duration::from_nanos(self.recent.into_iter().min().unwrap_or_default());
        let rose = |from: Duration| recent >= from + (from / RISE_DIVISOR).clamp(MIN_RISE, MAX_RISE);
        match (&mut self.conservative, self.last_min) {
            (Some(conservative), _) => {
                conservative.risen |= recent >= conservative.baseline;
                conservative.rounds > 0 && rose(conservative.baseline)
            }
            (None, Some(last)) if rose(last) => {
                self.conservative = Some(Conservative { baseline: recent, rounds: 0, risen: true });
                false
            }
            _ => false,
        }
    }

    /// Begins the next round. Returns whether slow start is over.
    fn end_round(&mut self) -> bool {
        self.last_min = self.current_min.take();
        self.samples = 0;
        let Some(conservative) = self.conservative.as_mut().filter(|conservative| conservative.risen) else {
            self.conservative = None;
            return false;
        };
        conservative.risen = false;
        conservative.rounds += 1;
        conservative.rounds >= CSS_ROUNDS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MTU: u64 = 1200;

    /// A round of ten ACKs with this round-trip time in milliseconds; the verdict on its last.
    fn round(hystart: &mut HyStart, millis: u64) -> Verdict {
        let sample = Some(Duration::from_millis(millis));
        for _ in 0..9 {
            hystart.on_acked(2 * MTU, MTU, sample, false);
        }
        hystart.on_acked(2 * MTU, MTU, sample, true)
    }

    const FULL: Verdict = Verdict::Grow(2 * MTU);
    const QUARTER: Verdict = Verdict::Grow(MTU / 2);

    #[test]
    fn a_steady_delay_changes_nothing() {
        let mut hystart = HyStart::new(true);
        for _ in 0..20 {
            assert_eq!(round(&mut hystart, 40), FULL);
        }
    }

    #[test]
    fn the_rise_that_matters_is_an_eighth_within_bounds() {
        for (before, small, large) in [(8, 11, 12), (40, 44, 45), (80, 89, 90), (400, 415, 416)] {
            for (after, expected) in [(small, FULL), (large, QUARTER)] {
                let mut hystart = HyStart::new(true);
                round(&mut hystart, before);
                assert_eq!(round(&mut hystart, after), expected, "{before} ms to {after} ms");
            }
        }
    }

    #[test]
    fn five_rounds_of_higher_delay_end_slow_start() {
        let mut hystart = HyStart::new(true);
        round(&mut hystart, 40);
        for _ in 0..4 {
            assert_eq!(round(&mut hystart, 60), QUARTER);
        }
        assert_eq!(round(&mut hystart, 60), Verdict::LeaveSlowStart);
    }

    #[test]
    fn a_queue_is_seen_while_it_builds_up() {
        let mut hystart = HyStart::new(true);
        round(&mut hystart, 40);
        // The first packets of the round find none, the later ones wait.
        let mut after = |millis| hystart.on_acked(2 * MTU, MTU, Some(Duration::from_millis(millis)), false);
        assert!((0..8).all(|_| after(40) == FULL));
        assert!((0..7).all(|_| after(46) == FULL));
        assert_eq!(after(46), QUARTER);
        // It has drained when the next packets come, and builds up again behind them.
        assert_eq!(hystart.on_acked(2 * MTU, MTU, Some(Duration::from_millis(46)), true), QUARTER);
        let mut after = |millis| hystart.on_acked(2 * MTU, MTU, Some(Duration::from_millis(millis)), false);
        assert!((0..8).all(|_| after(40) == QUARTER));
        assert!((0..8).all(|_| after(50) == QUARTER));
        assert!((0..7).all(|_| after(52) == QUARTER));
        assert_eq!(after(52), Verdict::LeaveSlowStart);
    }

    #[test]
    fn a_second_rise_in_a_later_round_ends_slow_start() {
        let mut hystart = HyStart::new(true);
        round(&mut hystart, 40);
        assert_eq!(round(&mut hystart, 46), QUARTER);
        // 46 ms and an eighth of it are 51.75 ms.
        assert_eq!(round(&mut hystart, 51), QUARTER);
        assert_eq!(round(&mut hystart, 52), Verdict::LeaveSlowStart);
    }

    #[test]
    fn slow_start_resumes_when_the_delay_falls_back() {
        let mut hystart = HyStart::new(true);
        round(&mut hystart, 40);
        assert_eq!(round(&mut hystart, 60), QUARTER);
        assert_eq!(round(&mut hystart, 59), QUARTER);
        assert!(hystart.conservative.is_none());
        assert_eq!(round(&mut hystart, 59), FULL);
    }

    #[test]
    fn too_few_samples_say_nothing() {
        let mut hystart = HyStart::new(true);
        round(&mut hystart, 40);
        for _ in 0..7 {
            assert_eq!(hystart.on_acked(2 * MTU, MTU, Some(Duration::from_millis(90)), false), FULL);
        }
        assert_eq!(hystart.on_acked(2 * MTU, MTU, None, false), FULL);
        assert_eq!(hystart.on_acked(2 * MTU, MTU, Some(Duration::from_millis(90)), false), QUARTER);
    }

    #[test]
    fn an_unpaced_sender_grows_in_small_steps() {
        let mut hystart = HyStart::new(false);
        assert_eq!(hystart.on_acked(100 * MTU, MTU, None, false), Verdict::Grow(8 * MTU));
    }
}
