//! Losses by chance, which say nothing of congestion: whether a loss is one.
//!
//! A queue that overflows is long: what arrives next to the lost packet has waited in it. So a loss is taken for
//! chance if the round-trip time is the shortest ever seen, but for what its own variation explains, and late threads; and if
//! no more of the window is lost in a round trip than chance takes. A path that is asked for much more than it carries,
//! with a queue too short to be noticed, loses all that is too much.
//!
//! RFC 9002 and RFC 9438 know no such rule, so it is a [setting](crate::config::TransportConfig::random_loss). What it
//! does to flows beside it is measured in `docs/congestion`.

use std::time::Duration;

use crate::recovery::Rtt;
use crate::time::Time;

/// A round-trip time that is longer than the shortest by so many of its mean variations waited in a queue. (The probe
/// timeout takes as many of them for the longest wait.)
const VARIATIONS: u32 = 4;

/// Whatever its variation, one that is longer by less has not: so much later a packet comes behind others of its own flow
/// that left at once, and so late a thread wakes. (Where a queue that is full is shorter, what it loses is taken for chance.)
const UNNOTICED: Duration = Duration::from_micros(500);

/// And one that is longer by this part has.
const QUEUE: u32 = 16;

/// One that is longer by this part has waited in a long queue, which neither bursts nor late timers explain.
const LONG_QUEUE: u32 = 4;

/// This part of the window may be lost in a round trip by chance.
const SHARE: u64 = 8;

/// So many packets may be in any case: of a small window one is a large part.
const LEAST: u64 = 2;

/// Of so many packets, and half as much of those before and so on, the part is known that chance takes.
const REMEMBERED: u64 = 1024;

/// What was lost in this round trip, and what chance takes.
#[derive(Debug, Default)]
pub(super) struct RandomLoss {
    /// When the first of it was found. What was sent later is of another round trip.
    since: Option<Time>,
    packets: u64,
    /// What became of the latest packets while there was no queue: so many arrived, and so many were lost by chance.
    arrived: u64,
    by_chance: u64,
}

impl RandomLoss {
    /// So many packets arrived.
    pub(super) fn arrived(&mut self, packets: u64, rtt: &Rtt) {
        if is_queued(rtt) {
            return;
        }
        self.arrived += packets;
        if self.arrived + self.by_chance >= REMEMBERED {
            self.arrived /= 2;
            self.by_chance /= 2;
        }
    }

    /// Whether what arrived last has waited for long, whatever the variation of the round-trip time.
    pub(super) fn is_long(rtt: &Rtt) -> bool {
        rtt.adjusted > rtt.min + rtt.min / LONG_QUEUE
    }

    /// How much chance takes while so much arrives.
    pub(super) fn beside(&self, arriving: u64) -> u64 {
        let taken = u128::from(arriving) * u128::from(self.by_chance) / u128::from(self.arrived.max(1));
        u64::try_from(taken).unwrap_or(u64::MAX).min(arriving / (SHARE - 1))
    }

    /// `count` packets were lost, the newest of them sent at `newest`, with a window of so many packets. Returns whether
    /// that is taken for chance.
    pub(super) fn is_chance(&mut self, now: Time, newest: Time, count: u32, window: u64, rtt: &Rtt) -> bool {
        if self.since.is_none_or(|since| newest > since) {
            (self.since, self.packets) = (Some(now), 0);
        }
        self.packets += u64::from(count);
        let by_chance = !is_queued(rtt) && self.packets <= (window / SHARE).max(LEAST);
        self.by_chance += if by_chance { u64::from(count) } else { 0 };
        by_chance
    }
}

/// Whether what arrived last has waited in a queue.
fn is_queued(rtt: &Rtt) -> bool {
    rtt.adjusted > rtt.min + (VARIATIONS * rtt.var).max(UNNOTICED).min(rtt.min / QUEUE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const START: Time = Time::from_nanos(1 << 40);

    /// After many samples of 20 ms, and some between `from` and `to` milliseconds.
    fn rtt(from: u32, to: u32) -> Rtt {
        let mut rtt = Rtt::new(20 * MS);
        (0..50).for_each(|_| rtt.update(20 * MS, Duration::ZERO));
        (0..50).for_each(|number| rtt.update(from * MS + (to - from) * MS * (number % 4) / 3, Duration::ZERO));
        rtt
    }

    fn is_chance(rtt: &Rtt) -> bool {
        RandomLoss::default().is_chance(START, START, 1, 100, rtt)
    }

    #[test]
    fn a_loss_beside_a_queue_is_none() {
        assert!(is_chance(&rtt(20, 20)));
        assert!(!is_chance(&rtt(40, 40)));
        // A short queue that always stands, and as much that comes and goes.
        assert!(!is_chance(&rtt(21, 21)));
        assert!(is_chance(&rtt(20, 21)));
        // More than a sixteenth of the round trip cannot be told from a queue.
        assert!(!is_chance(&rtt(20, 24)));
    }

    /// After many samples of `min`, and some that are longer by so much, always.
    fn is_chance_beside(min: Duration, waits: Duration) -> bool {
        let mut rtt = Rtt::new(min);
        (0..50).for_each(|_| rtt.update(min, Duration::ZERO));
        (0..50).for_each(|_| rtt.update(min + waits, Duration::ZERO));
        is_chance(&rtt)
    }

    #[test]
    fn what_a_late_thread_explains_is_no_queue() {
        const US: Duration = Duration::from_micros(1);
        assert!(is_chance_beside(20 * MS, 490 * US));
        assert!(!is_chance_beside(20 * MS, 510 * US));
        assert!(!is_chance_beside(100 * MS, 510 * US));
        // Half a millisecond is long where round trips are short.
        assert!(is_chance_beside(MS, 60 * US));
        assert!(!is_chance_beside(MS, 70 * US));
    }

    #[test]
    fn what_chance_takes_is_learnt_where_there_is_no_queue() {
        let (mut losses, idle, queued) = (RandomLoss::default(), rtt(20, 20), rtt(40, 40));
        assert_eq!(losses.beside(1000), 0);
        // One of twenty, and nothing that had to wait.
        for round in 0..200 {
            let now = START + round * 20 * MS;
            losses.arrived(19, &idle);
            assert!(losses.is_chance(now, now, 1, 100, &idle));
            losses.arrived(1000, &queued);
            assert!(!losses.is_chance(now, now, 1, 100, &queued));
        }
        assert!((52..54).contains(&losses.beside(1000)), "{}", losses.beside(1000));
        // It is forgotten, and never taken for more than what a round trip may lose.
        (0..40).for_each(|_| losses.arrived(500, &idle));
        assert!(losses.beside(1000) < 2);
        let mut losses = RandomLoss::default();
        assert!(losses.is_chance(START, START, 10, 100, &idle));
        assert_eq!(losses.beside(700), 100);
    }

    #[test]
    fn many_losses_in_a_round_trip_are_none() {
        let (mut losses, rtt) = (RandomLoss::default(), rtt(20, 20));
        assert!(losses.is_chance(START + 20 * MS, START, 8, 80, &rtt));
        assert!(losses.is_chance(START + 21 * MS, START + 5 * MS, 2, 80, &rtt));
        assert!(!losses.is_chance(START + 22 * MS, START + 20 * MS, 1, 80, &rtt));
        // Sent after the first was found: another round trip.
        assert!(losses.is_chance(START + 45 * MS, START + 21 * MS, 10, 80, &rtt));
        // Of a small window two may be.
        assert!(losses.is_chance(START + 90 * MS, START + 60 * MS, 2, 4, &rtt));
        assert!(!losses.is_chance(START + 91 * MS, START + 61 * MS, 1, 4, &rtt));
    }
}
