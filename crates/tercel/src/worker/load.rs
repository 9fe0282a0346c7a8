//! How much a worker has to do, and what follows from it for those who come next.
//!
//! Three things are looked at: how many handshakes are not complete, how much memory they take, and how
//! long what there is to do waits for its turn. Where they are many, clients must first prove their
//! address (Retry), which costs no memory; where they are too many, or the worker does not keep up,
//! clients are refused. That is told to listeners, when it begins and when it has been over for a while.

use std::time::Duration;

use tercel_proto::time::Time;

use super::Park;
use crate::registration::{RegistrationConfig, RetryPolicy};

/// For so long there must be no reason for it before shedding counts as over.
const CALM: Duration = Duration::from_secs(1);

/// No single wait counts for more of the longest one permitted: a machine that slept is not overloaded.
const MOST_OF_A_WAIT: u32 = 4;

/// What the next client meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Demand {
    /// It is let in.
    Nothing,
    /// It must prove its address.
    Proof,
    /// It is refused.
    Refuse,
}

/// What a connection counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Charge {
    /// Whether its handshake is not complete.
    pub(crate) half_open: bool,
    /// How much memory that takes, in bytes.
    pub(crate) memory: usize,
}

/// The load of one worker.
#[derive(Debug)]
pub(crate) struct Load {
    limits: Limits,
    half_open: usize,
    memory: usize,
    /// How long what there is to do waits, on average.
    delay: Duration,
    /// When the next turn should have been, if it was to be at a certain time.
    due: Option<Time>,
    shedding: Shedding,
}

#[derive(Debug)]
struct Limits {
    retry: RetryPolicy,
    retry_memory: usize,
    max_half_open: usize,
    max_memory: usize,
    max_delay: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shedding {
    Off,
    On,
    /// There has been no reason for it since.
    Calm(Time),
}

impl Limits {
    const fn new(config: &RegistrationConfig) -> Self {
        Self {
            retry: config.retry,
            retry_memory: config.retry_memory,
            max_half_open: config.max_half_open,
            max_memory: config.max_handshake_memory,
            max_delay: config.max_queue_delay,
        }
    }
}

impl Load {
    pub(crate) fn new(config: &RegistrationConfig) -> Self {
        let limits = Limits::new(config);
        Self { limits, half_open: 0, memory: 0, delay: Duration::ZERO, due: None, shedding: Shedding::Off }
    }

    /// Other limits hold from now on.
    pub(crate) const fn limit(&mut self, config: &RegistrationConfig) {
        self.limits = Limits::new(config);
    }

    /// A connection counts for something else than before.
    pub(crate) const fn settle(&mut self, held: &mut Charge, new: Charge) {
        self.half_open = self.half_open + new.half_open as usize - held.half_open as usize;
        self.memory = self.memory + new.memory - held.memory;
        *held = new;
    }

    /// How many handshakes are not complete.
    pub(crate) const fn half_open(&self) -> usize {
        self.half_open
    }

    /// How much memory they take, in bytes.
    pub(crate) const fn memory(&self) -> usize {
        self.memory
    }

    /// A turn begins: what has waited for it has waited since it was due.
    pub(crate) fn turn_begins(&mut self, now: Time) {
        let waited = self.due.take().map_or(Duration::ZERO, |due| now.since(due));
        let waited = waited.min(self.limits.max_delay * MOST_OF_A_WAIT);
        self.delay = (7 * self.delay + waited) / 8;
    }

    /// A turn ends; gives the time of the next, which may come sooner for the load's own sake.
    pub(crate) fn turn_ends(&mut self, now: Time, park: Park) -> Park {
        self.due = match park {
            Park::Now => Some(now),
            Park::Until(at) => Some(at.max(now)),
            Park::Idle | Park::Done => None,
        };
        match (self.shedding, park) {
            (Shedding::Calm(since), Park::Idle) => Park::Until(since + CALM),
            (Shedding::Calm(since), Park::Until(at)) => Park::Until(at.min(since + CALM)),
            _ => park,
        }
    }

    /// What the next client meets.
    pub(crate) fn demand(&self) -> Demand {
        match self.limits.retry {
            RetryPolicy::Always => self.by_load().max(Demand::Proof),
            _ => self.by_load(),
        }
    }

    fn by_load(&self) -> Demand {
        let Limits { retry, retry_memory, max_half_open, max_memory, max_delay } = self.limits;
        if self.half_open >= max_half_open || self.memory >= max_memory || self.delay > max_delay {
            return Demand::Refuse;
        }
        match retry {
            RetryPolicy::Above(limit) if self.half_open >= limit || self.memory >= retry_memory => Demand::Proof,
            _ => Demand::Nothing,
        }
    }

    /// Whether clients are kept away because of the load.
    pub(crate) fn is_shedding(&self) -> bool {
        self.shedding != Shedding::Off
    }

    /// Looks whether clients are kept away; tells if that has changed since it was asked last.
    pub(crate) fn look(&mut self, now: Time) -> Option<bool> {
        let before = self.shedding;
        self.shedding = match (self.by_load(), before) {
            (Demand::Proof | Demand::Refuse, _) => Shedding::On,
            (Demand::Nothing, Shedding::On) => Shedding::Calm(now),
            (Demand::Nothing, Shedding::Calm(since)) if now.since(since) >= CALM => Shedding::Off,
            (Demand::Nothing, before) => before,
        };
        let (was, is) = (before != Shedding::Off, self.shedding != Shedding::Off);
        (was != is).then_some(is)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const NOW: Time = Time::from_nanos(1 << 40);

    fn load(retry: RetryPolicy) -> Load {
        let config = RegistrationConfig {
            retry,
            retry_memory: 1000,
            max_handshake_memory: 5000,
            max_half_open: 10,
            max_queue_delay: 100 * MS,
            ..RegistrationConfig::default()
        };
        Load::new(&config)
    }

    fn demand(retry: RetryPolicy, half_open: usize, memory: usize) -> Demand {
        let mut load = load(retry);
        for _ in 0..half_open {
            load.settle(&mut Charge::default(), Charge { half_open: true, memory: 0 });
        }
        load.settle(&mut Charge::default(), Charge { half_open: false, memory });
        load.demand()
    }

    #[test]
    fn number_and_memory_of_handshakes_count() {
        use Demand::{Nothing, Proof, Refuse};
        for (retry, half_open, memory, expected) in [
            (RetryPolicy::Above(4), 3, 999, Nothing),
            (RetryPolicy::Above(4), 4, 0, Proof),
            (RetryPolicy::Above(4), 0, 1000, Proof),
            (RetryPolicy::Above(4), 10, 0, Refuse),
            (RetryPolicy::Above(4), 0, 5000, Refuse),
            (RetryPolicy::Never, 9, 4999, Nothing),
            (RetryPolicy::Never, 10, 0, Refuse),
            (RetryPolicy::Always, 0, 0, Proof),
            (RetryPolicy::Always, 0, 5000, Refuse),
        ] {
            assert_eq!(demand(retry, half_open, memory), expected, "{retry:?} {half_open} {memory}");
        }
    }

    #[test]
    fn limits_may_change() {
        let mut load = load(RetryPolicy::Above(4));
        load.settle(&mut Charge::default(), Charge { half_open: true, memory: 500 });
        assert_eq!((load.demand(), load.look(NOW)), (Demand::Nothing, None));
        load.limit(&RegistrationConfig { retry_memory: 500, ..RegistrationConfig::default() });
        assert_eq!((load.demand(), load.look(NOW)), (Demand::Proof, Some(true)));
        load.limit(&RegistrationConfig { max_half_open: 1, ..RegistrationConfig::default() });
        assert_eq!(load.demand(), Demand::Refuse);
    }

    #[test]
    fn what_a_connection_counts_for_is_given_back() {
        let (mut load, mut held) = (load(RetryPolicy::Never), Charge::default());
        load.settle(&mut held, Charge { half_open: true, memory: 700 });
        load.settle(&mut held, Charge { half_open: true, memory: 300 });
        assert_eq!((load.half_open(), load.memory()), (1, 300));
        load.settle(&mut held, Charge::default());
        assert_eq!((load.half_open(), load.memory(), held), (0, 0, Charge::default()));
    }

    /// Turns that come late again and again, and then in time.
    #[test]
    fn who_does_not_keep_up_refuses() {
        let (mut load, mut now) = (load(RetryPolicy::Never), NOW);
        let mut turn = |load: &mut Load, after, park: fn(Time) -> Park| {
            now += after;
            load.turn_begins(now);
            let demand = load.demand();
            assert_eq!(load.turn_ends(now, park(now)), park(now));
            demand
        };
        // Once, however late, is a machine that slept.
        turn(&mut load, MS, |_| Park::Now);
        assert_eq!(turn(&mut load, Duration::from_secs(3600), |_| Park::Now), Demand::Nothing);
        let refused = (0..100).find(|_| turn(&mut load, 150 * MS, |_| Park::Now) == Demand::Refuse);
        assert!(refused.is_some_and(|turns| turns > 3), "{refused:?}");
        // Who has nothing to do does not lag behind, and who was to be called then was in time.
        let calm = (0..100).find(|_| turn(&mut load, 150 * MS, |_| Park::Idle) == Demand::Nothing);
        assert!(calm.is_some_and(|turns| turns < 20), "{calm:?}");
        for _ in 0..100 {
            assert_eq!(turn(&mut load, 150 * MS, |now| Park::Until(now + 150 * MS)), Demand::Nothing);
        }
        let late = (0..100).find(|_| turn(&mut load, 300 * MS, |now| Park::Until(now + MS)) == Demand::Refuse);
        assert!(late.is_some());
    }

    #[test]
    fn shedding_is_over_when_it_has_been_calm_for_a_while() {
        let (mut load, mut held) = (load(RetryPolicy::Above(1)), Charge::default());
        let busy = Charge { half_open: true, memory: 0 };
        assert_eq!(load.look(NOW), None);
        load.settle(&mut held, busy);
        assert_eq!((load.look(NOW), load.look(NOW), load.is_shedding()), (Some(true), None, true));
        load.settle(&mut held, Charge::default());
        assert_eq!(load.look(NOW), None);
        // It asks for a turn to say so.
        assert_eq!(load.turn_ends(NOW, Park::Idle), Park::Until(NOW + CALM));
        load.settle(&mut held, busy);
        assert_eq!(load.look(NOW + CALM), None, "again");
        load.settle(&mut held, Charge::default());
        assert_eq!((load.look(NOW + CALM), load.look(NOW + 2 * CALM)), (None, Some(false)));
        assert_eq!(load.turn_ends(NOW + 2 * CALM, Park::Idle), Park::Idle);
        // Who always demands proof does not do it because of the load.
        let mut always = self::load(RetryPolicy::Always);
        assert_eq!((always.demand(), always.look(NOW)), (Demand::Proof, None));
    }
}
