//! Nodes that take time.

use std::time::Duration;

use tercel_proto::time::Time;

use super::{Datagram, Node};
use crate::random::Random;

/// The way takes `base`, and up to `jitter` more; the order stays.
#[derive(Debug, Clone, Default)]
pub struct Delay {
    base: Duration,
    jitter: Duration,
    last: Time,
}

impl Delay {
    /// Always `base`.
    pub fn steady(base: Duration) -> Self {
        Self { base, ..Self::default() }
    }

    /// `base` and up to `jitter`.
    pub fn jittery(base: Duration, jitter: Duration) -> Self {
        Self { base, jitter, ..Self::default() }
    }
}

impl Node for Delay {
    fn pass(&mut self, now: Time, datagram: Datagram, random: &mut Random, onward: &mut Vec<(Time, Datagram)>) {
        let jitter = if self.jitter.is_zero() { Duration::ZERO } else { random.part_of(self.jitter) };
        self.last = (now + self.base + jitter).max(self.last);
        onward.push((self.last, datagram));
    }
}

/// Some datagrams are held up while others overtake.
#[derive(Debug, Clone)]
pub struct Reorder {
    /// The part of the datagrams that is held up.
    pub chance: f64,
    /// For how long at most.
    pub most: Duration,
}

impl Node for Reorder {
    fn pass(&mut self, now: Time, datagram: Datagram, random: &mut Random, onward: &mut Vec<(Time, Datagram)>) {
        let held = if random.chance(self.chance) { random.part_of(self.most) } else { Duration::ZERO };
        onward.push((now + held, datagram));
    }
}
