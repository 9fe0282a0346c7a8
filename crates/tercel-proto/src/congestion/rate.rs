//! Rates: so many bytes in so much time.

use std::time::Duration;

/// `bytes` each `per` nanoseconds; never nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    bytes: u128,
    per: u128,
}

impl Rate {
    /// `bytes` in `time`.
    pub(crate) fn new(bytes: u64, time: Duration) -> Self {
        Self { bytes: u128::from(bytes).max(1), per: time.as_nanos().max(1) }
    }

    /// How many bytes in this time.
    pub(crate) fn bytes_in(self, time: Duration) -> u64 {
        u64::try_from(time.as_nanos() * self.bytes / self.per).unwrap_or(u64::MAX)
    }

    /// How long so many bytes take, rounded up.
    pub(crate) fn time_for(self, bytes: u64) -> Duration {
        let nanos = (u128::from(bytes) * self.per).div_ceil(self.bytes);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// How a path is to be paced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace {
    /// Bytes over time.
    pub(crate) rate: Rate,
    /// What the rate gives in this time leaves at once.
    pub(crate) burst: Duration,
    /// At least so many datagrams leave at once.
    pub(crate) least: u64,
}
