//! HyStart++ (RFC 9406): leaves slow start when the delay rises, before the queue overflows.
//!
//! The smallest round-trip time of each round is compared with that of the round before. If it rose
//! by more than an eighth, growth slows to a quarter ("conservative slow start"). If the delay falls
//! back, the rise was chance and slow start goes on; if not, it ends after five rounds.

use std::time::Duration;

/// Bounds of the rise that matters (MIN_RTT_THRESH and MAX_RTT_THRESH).
const MIN_RISE: Duration = Duration::from_millis(4);
const MAX_RISE: Duration = Duration::from_millis(16);

/// The rise that matters is this part of the round-trip time (MIN_RTT_DIVISOR).
const RISE_DIVISOR: u32 = 8;

/// So many samples make a round's smallest one worth a comparison (N_RTT_SAMPLE).
const SAMPLES: u32 = 8;

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
    samples: u32,
    conservative: Option<Conservative>,
}

#[derive(Debug)]
struct Conservative {
    /// The round-trip time that raised suspicion.
    baseline: Duration,
    rounds: u32,
}

impl HyStart {
    pub(super) const fn new(paced: bool) -> Self {
        Self { paced, last_min: None, current_min: None, samples: 0, conservative: None }
    }

    /// Packets of `bytes` were acknowledged; `sample` is the round-trip time that was measured by
    /// it. `round_ended`: everything in flight when the round began is settled (section 4.2).
    pub(super) fn on_acked(&mut self, bytes: u64, mtu: u64, sample: Option<Duration>, round_ended: bool) -> Verdict {
        if let Some(sample) = sample {
            self.current_min = Some(self.current_min.map_or(sample, |min| min.min(sample)));
            self.samples = self.samples.saturating_add(1);
        }
        self.compare();
        let growth = if self.paced { bytes } else { bytes.min(UNPACED_LIMIT * mtu) };
        let verdict = match &self.conservative {
            None => Verdict::Grow(growth),
            Some(_) => Verdict::Grow(growth / CSS_GROWTH_DIVISOR),
        };
        if round_ended && self.end_round() { Verdict::LeaveSlowStart } else { verdict }
    }

    /// Enters or leaves conservative slow start as the delay tells.
    fn compare(&mut self) {
        let (Some(current), true) = (self.current_min, self.samples >= SAMPLES) else { return };
        match (&self.conservative, self.last_min) {
            (Some(conservative), _) if current < conservative.baseline => self.conservative = None,
            (None, Some(last)) if current >= last + (last / RISE_DIVISOR).clamp(MIN_RISE, MAX_RISE) => {
                self.conservative = Some(Conservative { baseline: current, rounds: 0 });
            }
            _ => {}
        }
    }

    /// Begins the next round. Returns whether slow start is over.
    fn end_round(&mut self) -> bool {
        self.last_min = self.current_min.take();
        self.samples = 0;
        let Some(conservative) = &mut self.conservative else { return false };
        // The round in which it began counts as one.
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
    fn slow_start_resumes_when_the_delay_falls_back() {
        let mut hystart = HyStart::new(true);
        round(&mut hystart, 40);
        assert_eq!(round(&mut hystart, 60), QUARTER);
        assert_eq!(round(&mut hystart, 59), FULL);
        assert!(hystart.conservative.is_none());
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
