//! The round-trip time of the path without queues (sections 5.3.4.3 and 5.5.7): the least of ten
//! seconds; and when it is time to look for it again: when there was none as small for five.

use std::time::Duration;

use crate::time::Time;

/// How long the least time counts (MinRTTFilterLen).
const WINDOW: Duration = Duration::from_secs(10);

/// Without a new least time for so long, the queue is drained to measure it (ProbeRTTInterval).
const PROBE_INTERVAL: Duration = Duration::from_secs(5);

/// A time that was measured, and when.
#[derive(Debug, Clone, Copy)]
struct Measured {
    rtt: Duration,
    at: Time,
}

impl Measured {
    fn is_older(&self, age: Duration, now: Time) -> bool {
        now > self.at + age
    }
}

#[derive(Debug, Default)]
pub(super) struct MinRtt {
    least: Option<Measured>,
    /// The least since a probe was last due.
    recent: Option<Measured>,
    probe_due: bool,
}

impl MinRtt {
    /// `None` before there was a sample.
    pub(super) fn get(&self) -> Option<Duration> {
        self.least.map(|least| least.rtt)
    }

    /// Whether it is time to drain the queue and measure.
    pub(super) const fn probe_due(&self) -> bool {
        self.probe_due
    }

    /// The queue was drained; the next probe is due when its time has passed.
    pub(super) const fn probed(&mut self, now: Time) {
        if let Some(recent) = &mut self.recent {
            recent.at = now;
        }
    }

    pub(super) fn update(&mut self, now: Time, sample: Option<Duration>) {
        self.probe_due = self.recent.is_some_and(|recent| recent.is_older(PROBE_INTERVAL, now));
        if let Some(rtt) = sample
            && (self.probe_due || self.recent.is_none_or(|recent| rtt < recent.rtt))
        {
            self.recent = Some(Measured { rtt, at: now });
        }
        let Some(recent) = self.recent else { return };
        if self.least.is_none_or(|least| recent.rtt < least.rtt || least.is_older(WINDOW, now)) {
            self.least = Some(recent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const START: Time = Time::from_nanos(1 << 40);

    #[test]
    fn the_least_counts_for_ten_seconds() {
        let mut min = MinRtt::default();
        for (at, sample, least, due) in [
            (0, 40, 40, false),
            (1000, 50, 40, false),
            (4900, 45, 40, false),
            // Five seconds: a probe is due, and what comes now is the recent one.
            (5001, 60, 40, true),
            (5002, 55, 40, false),
            (9000, 58, 40, false),
            (10_001, 70, 55, false),
            (10_003, 70, 55, true),
        ] {
            min.update(START + at * MS, Some(sample * MS));
            assert_eq!((min.get(), min.probe_due()), (Some(least * MS), due), "after {at} ms");
        }
    }

    #[test]
    fn a_probe_postpones_the_next() {
        let mut min = MinRtt::default();
        min.update(START, Some(40 * MS));
        min.probed(START + 3000 * MS);
        min.update(START + 8000 * MS, Some(41 * MS));
        assert!(!min.probe_due());
        min.update(START + 8001 * MS, None);
        assert!(min.probe_due());
    }

    #[test]
    fn before_the_first_sample_there_is_nothing() {
        let mut min = MinRtt::default();
        min.update(START, None);
        assert_eq!((min.get(), min.probe_due()), (None, false));
    }
}
