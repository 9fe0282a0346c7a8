//! How many answers a worker gives to those with whom it has no connection. Strangers can ask for them
//! without end, and under any address: so there are so many in a second, and no more at once than in a
//! second (a token bucket).

use std::time::Duration;

use tercel_proto::time::Time;

use crate::registration::RegistrationConfig;

/// What one answer costs, in what `per_second` gains in a nanosecond.
const PRICE: u64 = 1_000_000_000;

/// One kind of answer.
#[derive(Debug)]
pub(crate) struct Ration {
    per_second: u32,
    credit: u64,
    at: Time,
}

impl Ration {
    pub(crate) fn new(per_second: u32, now: Time) -> Self {
        Self { per_second, credit: u64::from(per_second) * PRICE, at: now }
    }

    /// Whether one more may be given now; it then counts as given.
    pub(crate) fn take(&mut self, now: Time) -> bool {
        let passed = now.since(self.at).min(Duration::from_secs(1)).as_nanos() as u64;
        self.at = self.at.max(now);
        let full = u64::from(self.per_second) * PRICE;
        self.credit = self.credit.saturating_add(passed * u64::from(self.per_second)).min(full);
        match self.credit.checked_sub(PRICE) {
            Some(left) => {
                self.credit = left;
                true
            }
            None => false,
        }
    }
}

/// All kinds.
#[derive(Debug)]
pub(crate) struct Rations {
    pub(crate) version_negotiations: Ration,
    pub(crate) retries: Ration,
    pub(crate) refusals: Ration,
    pub(crate) resets: Ration,
}

impl Rations {
    pub(crate) fn new(config: &RegistrationConfig, now: Time) -> Self {
        Self {
            version_negotiations: Ration::new(config.version_negotiations_per_second, now),
            retries: Ration::new(config.retries_per_second, now),
            refusals: Ration::new(config.refusals_per_second, now),
            resets: Ration::new(config.stateless_resets_per_second, now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn taken(ration: &mut Ration, now: Time) -> u32 {
        (0..1000).map(|_| u32::from(ration.take(now))).sum()
    }

    #[test]
    fn so_many_at_once_and_so_many_in_a_second() {
        let now = Time::from_nanos(5);
        let mut ration = Ration::new(10, now);
        assert_eq!(taken(&mut ration, now), 10);
        assert_eq!(taken(&mut ration, now + SECOND / 10 - Duration::from_nanos(1)), 0);
        assert_eq!(taken(&mut ration, now + SECOND / 10), 1);
        assert_eq!(taken(&mut ration, now + SECOND / 2), 4);
        assert_eq!(taken(&mut ration, now + 1000 * SECOND), 10, "what was not used is not saved up");
        assert_eq!(taken(&mut ration, now), 0, "time that goes back gives nothing");
        assert_eq!(taken(&mut Ration::new(0, now), now + SECOND), 0);
        assert_eq!(taken(&mut Ration::new(u32::MAX, now), now + SECOND), 1000);
    }

    #[test]
    fn over_time_it_is_the_rate() {
        let mut ration = Ration::new(7, Time::ZERO);
        let mut given = taken(&mut ration, Time::ZERO);
        for millisecond in 1..=10_000 {
            given += u32::from(ration.take(Time::ZERO + Duration::from_millis(millisecond)));
        }
        assert_eq!(given, 7 + 70);
    }
}
