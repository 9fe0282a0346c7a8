//! ECN validation (RFC 9000 section 13.4.2): does the path carry our marks, and does the peer count
//! them?
//!
//! Packets are marked ECT(0), or ECT(1) for L4S (RFC 9331). The first ones are a test; once the peer has counted some of them rightly the path is
//! capable. Counts that cannot be right, or marked packets that all vanish, end it for good.

use tercel_wire::frame::EcnCounts;

use super::Ecn;

/// So many packets are marked before the path has proved itself (section A.4 suggests ten).
const TESTING_PACKETS: u64 = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Testing,
    Unknown,
    Capable,
    Failed,
}

/// The ECN state of a path.
#[derive(Debug, Clone)]
pub struct EcnValidation {
    state: State,
    /// The mark: ECT(0) or ECT(1).
    ect: Ecn,
    sent: u64,
    lost: u64,
    /// At how many marked packets the test ends.
    test_ends_at: u64,
    /// The counts of the peer at the last ACK frame that advanced.
    counts: EcnCounts,
}

impl EcnValidation {
    /// Begins to test this mark, or does not.
    pub fn new(mark: Option<Ecn>) -> Self {
        let state = if mark.is_some() { State::Testing } else { State::Failed };
        Self {
            state,
            ect: mark.unwrap_or(Ecn::NotEct),
            sent: 0,
            lost: 0,
            test_ends_at: TESTING_PACKETS,
            counts: EcnCounts { ect0: 0, ect1: 0, ce: 0 },
        }
    }

    /// The connection moved to another path: the test begins again. The peer goes on counting.
    pub const fn restart(&mut self) {
        if !matches!(self.state, State::Failed) {
            self.state = State::Testing;
            self.test_ends_at = self.sent + TESTING_PACKETS;
        }
    }

    /// The mark for the next packets.
    pub const fn mark(&self) -> Ecn {
        match self.state {
            State::Testing | State::Capable => self.ect,
            State::Unknown | State::Failed => Ecn::NotEct,
        }
    }

    /// Whether the path has proved itself.
    pub const fn is_capable(&self) -> bool {
        matches!(self.state, State::Capable)
    }

    /// A marked packet was sent.
    pub const fn on_sent(&mut self) {
        self.sent += 1;
        if matches!(self.state, State::Testing) && self.sent >= self.test_ends_at {
            self.state = State::Unknown;
        }
    }

    /// A marked packet was lost.
    pub const fn on_lost(&mut self) {
        self.lost += 1;
        // All of the test vanished: something drops marked packets (section 13.4.2).
        if matches!(self.state, State::Unknown) && self.lost >= self.sent {
            self.state = State::Failed;
        }
    }

    /// An ACK frame that raised the largest acknowledged number came with these counts, and newly
    /// acknowledged `marked` marked packets. Returns how many packets more met congestion (CE).
    pub fn on_ack(&mut self, counts: Option<EcnCounts>, marked: u64) -> u64 {
        if self.state == State::Failed {
            return 0;
        }
        let Some(counts) = counts else {
            if marked > 0 {
                self.state = State::Failed;
            }
            return 0;
        };
        let (ours, before, other) = match self.ect {
            Ecn::Ect1 => (counts.ect1, self.counts.ect1, counts.ect0),
            _ => (counts.ect0, self.counts.ect0, counts.ect1),
        };
        let (Some(ect), Some(ce)) = (ours.checked_sub(before), counts.ce.checked_sub(self.counts.ce)) else {
            self.state = State::Failed;
            return 0;
        };
        // Section 13.4.2.1: every newly acknowledged mark is counted, none is counted that was not
        // sent, and we never send the other one.
        let plausible = ect + ce >= marked && ours + counts.ce <= self.sent && other == 0;
        self.counts = counts;
        // RFC 9000 section 13.4.2.2#1#2.
        if !plausible {
            self.state = State::Failed;
            return 0;
        }
        if marked > 0 {
            self.state = State::Capable;
        }
        ce
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tested() -> EcnValidation {
        tested_with(Ecn::Ect0)
    }

    fn tested_with(mark: Ecn) -> EcnValidation {
        let mut ecn = EcnValidation::new(Some(mark));
        assert_eq!(ecn.mark(), mark);
        (0..10).for_each(|_| ecn.on_sent());
        assert_eq!(ecn.mark(), Ecn::NotEct);
        ecn
    }

    fn counts(ect0: u64, ect1: u64, ce: u64) -> Option<EcnCounts> {
        Some(EcnCounts { ect0, ect1, ce })
    }

    #[test]
    fn right_counts_prove_the_path() {
        let mut ecn = tested();
        assert_eq!(ecn.on_ack(counts(4, 0, 0), 4), 0);
        assert!(ecn.is_capable());
        assert_eq!(ecn.on_ack(counts(5, 0, 1), 2), 1);
        assert_eq!(ecn.on_ack(counts(6, 0, 1), 1), 0);
        assert_eq!(ecn.mark(), Ecn::Ect0);
    }

    #[test]
    // RFC 9000 section 13.4.2.2#1#2.
    fn impossible_counts_end_it() {
        for (counts, marked, why) in [
            (None, 1, "no counts: bleached, or not counted"),
            (counts(3, 0, 0), 4, "fewer than acknowledged"),
            (counts(0, 4, 0), 4, "changed to ECT(1)"),
            (counts(11, 0, 0), 4, "more than sent"),
        ] {
            let mut ecn = tested();
            assert_eq!(ecn.on_ack(counts, marked), 0);
            assert_eq!(ecn.mark(), Ecn::NotEct, "{why}");
            assert!(ecn.on_ack(super::tests::counts(4, 0, 0), 4) == 0 && !ecn.is_capable(), "{why}: for good");
        }
        let mut ecn = tested();
        ecn.on_ack(counts(4, 0, 1), 4);
        ecn.on_ack(counts(5, 0, 0), 1);
        assert_eq!(ecn.mark(), Ecn::NotEct, "CE went back");
    }

    #[test]
    fn the_same_holds_for_the_other_mark() {
        let mut ecn = tested_with(Ecn::Ect1);
        assert_eq!(ecn.on_ack(counts(0, 4, 0), 4), 0);
        assert_eq!(ecn.on_ack(counts(0, 5, 2), 3), 2);
        assert!(ecn.is_capable());
        assert_eq!(ecn.mark(), Ecn::Ect1);
        for wrong in [counts(4, 0, 0), counts(1, 4, 0), counts(0, 3, 0), counts(0, 11, 0), None] {
            let mut ecn = tested_with(Ecn::Ect1);
            ecn.on_ack(wrong, 4);
            assert_eq!(ecn.mark(), Ecn::NotEct, "{wrong:?}");
        }
    }

    #[test]
    fn a_path_that_drops_marked_packets_is_found() {
        let mut ecn = tested();
        (0..10).for_each(|_| ecn.on_lost());
        ecn.on_ack(counts(1, 0, 0), 1);
        assert!(!ecn.is_capable());
    }
}
