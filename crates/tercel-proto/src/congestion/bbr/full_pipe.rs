//! Is the pipe full (section 5.3.1.2)? It is when the rate rose by less than a quarter in each of three
//! rounds in which the sender tried.

/// So many rounds without growth make a full pipe.
const ROUNDS: u32 = 3;

#[derive(Debug, Default)]
pub(super) struct FullPipe {
    /// The rate that the next ones are compared with.
    baseline: u64,
    rounds: u32,
    /// Since the search last began.
    now: bool,
    /// Ever.
    reached: bool,
}

impl FullPipe {
    /// Whether the pipe is full since the search last began (full_bw_now).
    pub(super) const fn is_full(&self) -> bool {
        self.now
    }

    /// Whether it ever was (full_bw_reached).
    pub(super) const fn was_reached(&self) -> bool {
        self.reached
    }

    pub(super) const fn set_reached(&mut self, reached: bool) {
        self.reached = reached;
    }

    /// The search begins again, with this rate to compare with.
    pub(super) const fn restart(&mut self, baseline: u64) {
        *self = Self { baseline, rounds: 0, now: false, reached: self.reached };
    }

    /// A round ended, and this was the rate.
    pub(super) const fn end_round(&mut self, rate: u64) {
        if self.now {
            return;
        }
        if rate as u128 * 4 >= self.baseline as u128 * 5 {
            self.restart(rate);
            return;
        }
        self.rounds += 1;
        self.now = self.rounds >= ROUNDS;
        self.reached |= self.now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_rounds_without_a_quarter_more_fill_the_pipe() {
        let mut full = FullPipe::default();
        for rate in [100, 125, 157, 160, 190] {
            full.end_round(rate);
            assert!(!full.is_full(), "{rate}");
        }
        full.end_round(196);
        assert!(full.is_full() && full.was_reached());
        full.restart(196);
        assert!(!full.is_full() && full.was_reached());
    }
}
