//! Credit for a server on a new path (RFC 9000 sections 8.1 and 9.3).
//!
//! Before it has validated the client's address a server may send three times what came from there, and a client that
//! only receives gives it little. If the server's challenge is lost, or the answer, when its credit has gone into data,
//! it cannot ask again, and each end waits for the other. So a client that has moved gives credit when it has heard nothing
//! for a probe timeout, as it does in the handshake (RFC 9002 section 6.2.2.1): an ack-eliciting packet in a datagram of
//! full size. It ends when the server is known to have validated the path, or after [`MAX_GIFTS`].

use std::time::Duration;

use crate::time::Time;

/// So often credit is given on one path: a server that has validated the address before need not ask.
const MAX_GIFTS: u32 = 4;

/// Client: whether the server is known to have validated our address on a path.
#[derive(Debug, Clone, Default)]
pub enum Proof {
    /// It is not.
    #[default]
    Unknown,
    /// It is not, and may need credit to ask: the client has moved there.
    Awaited(Box<Credit>),
    /// It is: what answered its challenge was acknowledged.
    Known,
}

/// What a client that has moved may have to give.
#[derive(Debug, Clone)]
pub struct Credit {
    /// When it is to be looked whether the server is silent; `None` when a gift is owed.
    look_at: Option<Time>,
    /// How many bytes had come by the path at the last look.
    heard: u64,
    given: u32,
}

impl Credit {
    /// The client has moved now.
    pub fn begin(now: Time, pto: Duration, heard: u64) -> Self {
        Self { look_at: Some(now + pto), heard, given: 0 }
    }

    /// When [`timeout`](Self::timeout) is due.
    pub const fn next_timeout(&self) -> Option<Time> {
        self.look_at
    }

    /// Time has passed, and `heard` bytes have come by the path: a gift is owed if these are no more than at the last look.
    pub fn timeout(&mut self, now: Time, pto: Duration, heard: u64) {
        if self.look_at.is_some_and(|at| at <= now) {
            let silent = self.heard == heard;
            self.look_at = (!silent).then(|| now + self.backed_off(pto));
            self.heard = heard;
        }
    }

    /// Whether a gift is owed.
    pub const fn is_owed(&self) -> bool {
        self.look_at.is_none()
    }

    /// It is given. Whether there may be another.
    pub fn give(&mut self, now: Time, pto: Duration) -> bool {
        self.given += 1;
        self.look_at = Some(now + self.backed_off(pto));
        self.given < MAX_GIFTS
    }

    const fn backed_off(&self, pto: Duration) -> Duration {
        pto.saturating_mul(1 << self.given)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PTO: Duration = Duration::from_millis(100);
    const NOW: Time = Time::from_nanos(1 << 40);

    #[test]
    fn silence_is_answered_a_few_times_ever_later() {
        let mut credit = Credit::begin(NOW, PTO, 7);
        let mut gifts = Vec::new();
        loop {
            let now = credit.next_timeout().unwrap();
            credit.timeout(now, PTO, 7);
            assert!(credit.is_owed());
            gifts.push(now.since(NOW));
            if !credit.give(now, PTO) {
                break;
            }
        }
        assert_eq!(gifts, [PTO, 3 * PTO, 7 * PTO, 15 * PTO]);
    }

    #[test]
    fn who_is_heard_needs_none() {
        let mut credit = Credit::begin(NOW, PTO, 0);
        for turn in 1..100 {
            let now = NOW + turn * PTO;
            credit.timeout(now - Duration::from_nanos(1), PTO, 0);
            assert_eq!(credit.next_timeout(), Some(now), "not before it is time");
            credit.timeout(now, PTO, u64::from(turn));
            assert!(!credit.is_owed());
        }
        credit.timeout(NOW + 100 * PTO, PTO, 99);
        assert!(credit.is_owed());
    }
}
