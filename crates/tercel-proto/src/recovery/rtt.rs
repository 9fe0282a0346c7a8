//! The round-trip time (RFC 9002 section 5).

use std::time::Duration;

/// The estimate of the round-trip time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rtt {
    /// The latest sample; zero before the first.
    pub latest: Duration,
    /// The smoothed round-trip time.
    pub smoothed: Duration,
    /// Its mean deviation.
    pub var: Duration,
    /// The smallest sample.
    pub min: Duration,
    sampled: bool,
}

impl Rtt {
    /// An estimate without a sample (section 6.2.2).
    pub fn new(initial: Duration) -> Self {
        Self { latest: Duration::ZERO, smoothed: initial, var: initial / 2, min: Duration::ZERO, sampled: false }
    }

    /// Whether there was a sample.
    pub const fn is_sampled(&self) -> bool {
        self.sampled
    }

    /// Takes a sample (section 5.3). `delay` is the peer's delay in acknowledging, capped already.
    pub fn update(&mut self, latest: Duration, delay: Duration) {
        self.latest = latest;
        if !self.sampled {
            *self = Self { latest, smoothed: latest, var: latest / 2, min: latest, sampled: true };
            return;
        }
        self.min = self.min.min(latest);
        let adjusted = if latest >= self.min + delay { latest - delay } else { latest };
        self.var = (3 * self.var + self.smoothed.abs_diff(adjusted)) / 4;
        self.smoothed = (7 * self.smoothed + adjusted) / 8;
    }

    /// The path may have changed: the smallest sample is that of now (section 5.2).
    pub const fn on_persistent_congestion(&mut self) {
        self.min = self.latest;
    }
}
