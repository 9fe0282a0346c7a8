//! A hierarchical timer wheel: one deadline for each of a worker's connections, set, moved and
//! cleared in constant time and without allocation.
//!
//! Time is counted in ticks of 2^15 ns (about 33 µs). Level 0 has a slot for each of 64 ticks, level
//! 1 for each of 64 blocks of 64 ticks, and so on. A deadline stands at the level of the highest
//! group of six bits in which it differs from the present tick; so whatever stands at a lower level
//! comes first, and within a level the lowest slot. When the present reaches a slot above level 0,
//! its timers move down. Deadlines are rounded up, never down: no timer fires early.

use tercel_proto::time::Time;

const TICK_BITS: u32 = 15;
const GROUP_BITS: u32 = 6;
const SLOTS: usize = 1 << GROUP_BITS;
const LEVELS: usize = (u64::BITS - TICK_BITS).div_ceil(GROUP_BITS) as usize;
const NONE: u32 = u32::MAX;

/// A timer's place in the list of its slot.
#[derive(Clone, Copy)]
struct Node {
    next: u32,
    prev: u32,
    tick: u64,
    place: Option<(u8, u8)>,
}

const IDLE: Node = Node { next: NONE, prev: NONE, tick: 0, place: None };

/// The deadlines of a worker's connections, by their slots.
pub(crate) struct TimerWheel {
    present: u64,
    nodes: Vec<Node>,
    heads: [[u32; SLOTS]; LEVELS],
    occupied: [u64; LEVELS],
}

impl TimerWheel {
    pub(crate) fn new(now: Time) -> Self {
        Self {
            present: now.as_nanos() >> TICK_BITS,
            nodes: Vec::new(),
            heads: [[NONE; SLOTS]; LEVELS],
            occupied: [0; LEVELS],
        }
    }

    /// Sets, moves or clears the deadline of `key`.
    pub(crate) fn set(&mut self, key: u32, deadline: Option<Time>) {
        let Some(deadline) = deadline else { return self.clear(key) };
        let tick = deadline.as_nanos().div_ceil(1 << TICK_BITS).max(self.present + 1);
        let index = key as usize;
        if index >= self.nodes.len() {
            self.nodes.resize(index + 1, IDLE);
        }
        if self.nodes[index].place.is_some() {
            if self.nodes[index].tick == tick {
                return;
            }
            self.unlink(key);
        }
        self.nodes[index].tick = tick;
        self.link(key);
    }

    /// Clears the deadline of `key`.
    pub(crate) fn clear(&mut self, key: u32) {
        if self.nodes.get(key as usize).is_some_and(|node| node.place.is_some()) {
            self.unlink(key);
        }
    }

    /// The time by which [`advance`](Self::advance) should be called next.
    pub(crate) fn next(&self) -> Option<Time> {
        self.first_slot().map(|(_, _, start)| Time::from_nanos(start << TICK_BITS))
    }

    /// Moves the present to `now` and hands every key whose deadline has come to `expired`.
    pub(crate) fn advance(&mut self, now: Time, mut expired: impl FnMut(u32)) {
        let target = now.as_nanos() >> TICK_BITS;
        while let Some((level, slot, start)) = self.first_slot().filter(|(_, _, start)| *start <= target) {
            self.present = start;
            let mut key = std::mem::replace(&mut self.heads[level][slot], NONE);
            self.occupied[level] &= !(1 << slot);
            while key != NONE {
                let node = std::mem::replace(&mut self.nodes[key as usize], IDLE);
                if level == 0 {
                    expired(key);
                } else {
                    self.nodes[key as usize].tick = node.tick;
                    self.link(key);
                }
                key = node.next;
            }
        }
        self.present = self.present.max(target);
    }

    /// The first slot with a timer: level, slot and the tick at which it begins.
    fn first_slot(&self) -> Option<(usize, usize, u64)> {
        let level = self.occupied.iter().position(|slots| *slots != 0)?;
        let slot = self.occupied[level].trailing_zeros();
        let shift = level as u32 * GROUP_BITS;
        // The groups above the slot's own are those of the present.
        let above = self.present.checked_shr(shift + GROUP_BITS).unwrap_or(0);
        let start = above.checked_shl(shift + GROUP_BITS).unwrap_or(0) | (u64::from(slot) << shift);
        Some((level, slot as usize, start))
    }

    fn link(&mut self, key: u32) {
        let tick = self.nodes[key as usize].tick;
        let differing = (tick ^ self.present) | (SLOTS as u64 - 1);
        let level = ((u64::BITS - 1 - differing.leading_zeros()) / GROUP_BITS) as usize;
        let slot = (tick >> (level as u32 * GROUP_BITS)) as usize & (SLOTS - 1);
        let head = std::mem::replace(&mut self.heads[level][slot], key);
        if head != NONE {
            self.nodes[head as usize].prev = key;
        }
        self.occupied[level] |= 1 << slot;
        self.nodes[key as usize] = Node { next: head, prev: NONE, tick, place: Some((level as u8, slot as u8)) };
    }

    fn unlink(&mut self, key: u32) {
        let node = std::mem::replace(&mut self.nodes[key as usize], IDLE);
        let Some((level, slot)) = node.place.map(|(level, slot)| (usize::from(level), usize::from(slot))) else {
            return;
        };
        match node.prev {
            NONE => self.heads[level][slot] = node.next,
            prev => self.nodes[prev as usize].next = node.next,
        }
        if node.next != NONE {
            self.nodes[node.next as usize].prev = node.prev;
        }
        if self.heads[level][slot] == NONE {
            self.occupied[level] &= !(1 << slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use tercel_proto::entropy::Entropy;

    use super::*;

    const TICK: u64 = 1 << TICK_BITS;

    #[test]
    fn fires_late_by_less_than_a_tick_and_never_early() {
        let start = Time::from_nanos(1_700_000_000_000_000_123);
        let mut wheel = TimerWheel::new(start);
        let deadline = start + Duration::from_micros(100);
        wheel.set(3, Some(deadline));
        let next = wheel.next().unwrap();
        assert!(next >= deadline && next.since(deadline) < Duration::from_nanos(TICK));
        let mut fired = Vec::new();
        wheel.advance(deadline - Duration::from_nanos(1), |key| fired.push(key));
        assert!(fired.is_empty());
        wheel.advance(next, |key| fired.push(key));
        assert_eq!(fired, [3]);
        assert_eq!(wheel.next(), None);
    }

    /// Random sets, moves, clears and steps against a plain map.
    #[test]
    fn agrees_with_a_map() {
        for seed in 0..50 {
            let mut random = Entropy::from_seed([seed; 32]);
            let mut now = Time::from_nanos(random.below(1 << 62));
            let mut wheel = TimerWheel::new(now);
            let mut map = BTreeMap::new();
            for _ in 0..2000 {
                let key = random.below(40) as u32;
                match random.below(4) {
                    0 | 1 => {
                        let scale = random.below(45);
                        let deadline = now + Duration::from_nanos(random.below(1 << scale));
                        wheel.set(key, Some(deadline));
                        let tick = deadline.as_nanos().div_ceil(TICK).max(now.as_nanos() / TICK + 1);
                        map.insert(key, Time::from_nanos(tick * TICK));
                    }
                    2 => {
                        wheel.set(key, None);
                        map.remove(&key);
                    }
                    _ => {
                        let scale = random.below(42);
                        now += Duration::from_nanos(random.below(1 << scale));
                        let mut fired = Vec::new();
                        wheel.advance(now, |key| fired.push(key));
                        let mut expected: Vec<u32> =
                            map.iter().filter(|(_, at)| **at <= now).map(|(key, _)| *key).collect();
                        expected.iter().for_each(|key| {
                            map.remove(key);
                        });
                        fired.sort_unstable();
                        expected.sort_unstable();
                        assert_eq!(fired, expected);
                    }
                }
                // What it says of the next deadline is never too late.
                match (wheel.next(), map.values().min()) {
                    (Some(next), Some(min)) => assert!(next <= *min),
                    (None, None) => {}
                    other => panic!("{other:?}"),
                }
            }
        }
    }
}
