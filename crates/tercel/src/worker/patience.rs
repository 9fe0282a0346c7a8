//! Whether a worker that has nothing to do looks for more before it lets its processor rest. To wake it from its rest costs
//! the peer's processor, and time, more than to look for a while; but only where something comes in that while. So a worker
//! that looked in vain rests once without looking, if that happens again three times, and so on.

use std::time::Duration;

use tercel_proto::time::Time;

/// So many times at the most it rests without looking: looks in vain are few enough then to be seen neither in processor time
/// nor among the slowest hundredth of answers.
const MOST_RESTS: u32 = 255;

/// What a worker has learned of what comes.
#[derive(Debug)]
pub(crate) struct Patience {
    linger: Duration,
    look: Look,
    /// How often to rest after a look in vain.
    rests: u32,
    /// How often to rest before the next look.
    left: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// It is busy, or rests.
    Away,
    /// It is about to see what came while it was busy, which says nothing of what comes.
    First,
    Since(Time),
}

impl Patience {
    /// That of a worker that looks for so long.
    pub(crate) fn new(linger: Duration) -> Self {
        Self { linger, look: Look::Away, rests: 0, left: 0 }
    }

    /// There is nothing to do at `now`, and before `due`: whether to look once more and not to rest.
    pub(crate) fn looks(&mut self, now: Time, due: Option<Time>) -> bool {
        self.look = match self.look {
            Look::Away if self.left > 0 || self.linger.is_zero() => {
                self.left = self.left.saturating_sub(1);
                return false;
            }
            Look::Away => Look::First,
            Look::First => Look::Since(now),
            Look::Since(time) if now < time + self.linger && due.is_none_or(|due| now < due) => Look::Since(time),
            Look::Since(_) => {
                self.rests = (2 * self.rests + 1).min(MOST_RESTS);
                self.left = self.rests;
                self.look = Look::Away;
                return false;
            }
        };
        true
    }

    /// There is something to do.
    pub(crate) fn found(&mut self) {
        if let Look::Since(_) = self.look {
            self.rests /= 2;
            self.left = self.rests;
        }
        self.look = Look::Away;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINGER: Duration = Duration::from_micros(50);
    const LOOK: Duration = Duration::from_micros(1);

    /// How often it looks in so many waits, if something comes at so manieth look of each.
    fn looks(patience: &mut Patience, waits: u32, comes_at: u32) -> u32 {
        let (mut now, mut all) = (Time::ZERO, 0);
        for _ in 0..waits {
            let mut looks = 0;
            while patience.looks(now, None) {
                now += LOOK;
                looks += 1;
                if looks == comes_at {
                    patience.found();
                    break;
                }
            }
            all += looks;
        }
        all
    }

    #[test]
    fn who_finds_nothing_hardly_looks_and_who_finds_something_again_always_does() {
        let mut patience = Patience::new(LINGER);
        assert_eq!(looks(&mut patience, 100, 10), 1000);
        // Once at what was there, and for as long as it lingers.
        assert_eq!(looks(&mut patience, 1, u32::MAX), 51);
        assert_eq!(looks(&mut patience, 2, u32::MAX), 51);
        looks(&mut patience, 10_000, u32::MAX);
        assert_eq!(looks(&mut patience, 100 * (1 + MOST_RESTS), u32::MAX), 5100);
        looks(&mut patience, 1000, 2);
        assert_eq!(looks(&mut patience, 100, 2), 200);
    }

    #[test]
    fn what_was_there_before_says_nothing() {
        let mut patience = Patience::new(LINGER);
        looks(&mut patience, 10_000, u32::MAX);
        looks(&mut patience, MOST_RESTS, 1);
        // It is looked at once, as who rests does.
        assert_eq!(looks(&mut patience, 1000, 1), 1000);
        assert_eq!(looks(&mut patience, 1 + MOST_RESTS, u32::MAX), 51);
    }

    #[test]
    fn a_look_ends_when_something_is_due() {
        let mut patience = Patience::new(LINGER);
        let due = Time::ZERO + 3 * LOOK;
        let looks = (0..).take_while(|look| patience.looks(Time::ZERO + *look * LOOK, Some(due))).count();
        assert_eq!(looks, 3);
    }

    #[test]
    fn who_is_not_to_linger_does_not() {
        assert_eq!(looks(&mut Patience::new(Duration::ZERO), 100, 1), 0);
    }
}
