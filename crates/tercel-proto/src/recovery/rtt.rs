//! The round-trip time (RFC 9002 section 5).
//!
//! A sample comes in whenever the largest acknowledged packet is new; the smoothed time and its
//! variation go out to the loss timers, the pacer and the congestion controller.

use std::time::Duration;

use super::GRANULARITY;

/// The estimate of a path's round-trip time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rtt {
    /// The latest sample; zero before the first.
    pub latest: Duration,
    /// The latest sample without the time for which the peer held its acknowledgement back.
    pub adjusted: Duration,
    /// The smoothed round-trip time; before the first sample the initial one.
    pub smoothed: Duration,
    /// The mean variation of the samples.
    pub var: Duration,
    /// The smallest sample since the path was taken or persistent congestion was found; zero before
    /// the first.
    pub min: Duration,
    /// How many samples there were.
    pub samples: u64,
}

impl Rtt {
    /// An estimate without a sample (section 6.2.2): `initial` is assumed.
    pub fn new(initial: Duration) -> Self {
        Self {
            latest: Duration::ZERO,
            adjusted: Duration::ZERO,
            smoothed: initial,
            var: initial / 2,
            min: Duration::ZERO,
            samples: 0,
        }
    }

    /// Whether there was a sample.
    pub const fn is_sampled(&self) -> bool {
        self.samples > 0
    }

    /// Takes a sample (section 5.3). `ack_delay` is how long the peer held the acknowledgement
    /// back, already limited to what it may.
    pub(crate) fn update(&mut self, latest: Duration, ack_delay: Duration) {
        self.samples += 1;
        // RFC 9002 section 5.2#1: and the lesser below.
        if self.samples == 1 {
            *self = Self { latest, adjusted: latest, smoothed: latest, var: latest / 2, min: latest, samples: 1 };
            return;
        }
        self.latest = latest;
        // The smallest time is that of the path itself, so the peer's word is not subtracted.
        self.min = self.min.min(latest);
        // RFC 9002 section 5.3#4.
        let adjusted = latest.checked_sub(ack_delay).filter(|adjusted| *adjusted >= self.min).unwrap_or(latest);
        self.adjusted = adjusted;
        self.var = (3 * self.var + self.smoothed.abs_diff(adjusted)) / 4;
        self.smoothed = (7 * self.smoothed + adjusted) / 8;
    }

    /// Persistent congestion may mean that the route changed: the newest sample becomes the
    /// smallest (section 5.2).
    // RFC 9002 section 5.2#2#3.
    pub(super) const fn forget_min(&mut self) {
        self.min = self.latest;
    }

    /// The probe timeout without backoff and without the peer's delay (section 6.2.1).
    // RFC 9002 section 6.2.1#1.
    pub(super) fn pto_base(&self) -> Duration {
        self.smoothed + (4 * self.var).max(GRANULARITY)
    }

    /// How much later than its successors a packet may arrive before it counts as lost (section
    /// 6.1.2).
    // RFC 9002 section 6.1.2#2#4.
    pub(super) fn loss_delay(&self) -> Duration {
        (self.smoothed.max(self.latest) * 9 / 8).max(GRANULARITY)
    }
}
