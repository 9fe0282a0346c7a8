//! Path validation (RFC 9000 section 8.2): a challenge goes out, and whoever answers it is there.
//!
//! A challenge whose datagram could not have the 1200 bytes that every path must carry proves an address only; the
//! path has to be validated again, with larger ones.

use std::time::Duration;

use crate::entropy::Entropy;
use crate::time::Time;

/// The validation of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Validation {
    /// Not asked for.
    Idle,
    /// Under way.
    Pending {
        /// Every challenge sent; an answer to any will do. The last is the newest.
        challenges: Vec<Challenge>,
        /// When another challenge is due.
        next_challenge: Time,
        /// When it has failed.
        deadline: Time,
    },
    /// The peer answered.
    Done,
    /// The peer did not answer in time.
    Failed,
}

/// A challenge that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Challenge {
    data: [u8; 8],
    size: ChallengeSize,
}

/// How large the datagram of a challenge is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChallengeSize {
    /// As large as every path must carry, or larger.
    Full,
    /// Smaller, for want of credit (RFC 9000 section 8.1).
    Small,
}

/// What the answer to a challenge says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The peer is at the address.
    Address,
    /// And datagrams large enough come through: the path is validated.
    Path,
}

/// So many challenges are sent at most.
const MAX_CHALLENGES: usize = 8;

impl Validation {
    /// Begins: a challenge is due now. It fails after three times the larger of the probe timeout
    /// now and that of a path never seen (section 8.2.4).
    // RFC 9000 section 8.2.4#1#2.
    pub const fn begin(now: Time, pto: Duration, initial_pto: Duration) -> Self {
        let longest = if pto.as_nanos() > initial_pto.as_nanos() { pto } else { initial_pto };
        let deadline = Time::from_nanos(now.as_nanos() + 3 * longest.as_nanos() as u64);
        Self::Pending { challenges: Vec::new(), next_challenge: now, deadline }
    }

    /// The data of a challenge, if one is due; it is then taken as sent, in a datagram of `size`.
    pub fn take_challenge(
        &mut self,
        now: Time,
        pto: Duration,
        size: ChallengeSize,
        entropy: &mut Entropy,
    ) -> Option<[u8; 8]> {
        let Self::Pending { challenges, next_challenge, .. } = self else { return None };
        if *next_challenge > now || challenges.len() >= MAX_CHALLENGES {
            return None;
        }
        // RFC 9000 section 8.2.1#3.
        let data = entropy.array();
        challenges.push(Challenge { data, size });
        // RFC 9000 sections 8.2.1#2, 9.4#3.
        *next_challenge = now + pto;
        Some(data)
    }

    /// Whether a challenge is due.
    pub fn is_due(&self, now: Time) -> bool {
        matches!(self, Self::Pending { challenges, next_challenge, .. }
            if *next_challenge <= now && challenges.len() < MAX_CHALLENGES)
    }

    /// A PATH_RESPONSE came in: what it says, if it answers this path's challenge. Where it proves the address only,
    /// validation goes on as `again`.
    // RFC 9000 sections 8.2.1#5, 8.2.3#1.
    pub fn on_response(&mut self, data: [u8; 8], again: &Self) -> Option<Answer> {
        let Self::Pending { challenges, .. } = self else { return None };
        let challenge = challenges.iter().find(|challenge| challenge.data == data)?;
        let (next, answer) = match challenge.size {
            ChallengeSize::Full => (Self::Done, Answer::Path),
            ChallengeSize::Small => (again.clone(), Answer::Address),
        };
        *self = next;
        Some(answer)
    }

    /// When the next challenge is due.
    pub const fn next_challenge(&self) -> Option<Time> {
        match self {
            Self::Pending { challenges, next_challenge, .. } if challenges.len() < MAX_CHALLENGES => {
                Some(*next_challenge)
            }
            _ => None,
        }
    }

    /// When [`timeout`](Self::timeout) is due.
    pub const fn deadline(&self) -> Option<Time> {
        match self {
            Self::Pending { deadline, .. } => Some(*deadline),
            _ => None,
        }
    }

    /// True if it has failed by now.
    pub fn timeout(&mut self, now: Time) -> bool {
        let failed = matches!(self, Self::Pending { deadline, .. } if *deadline <= now);
        if failed {
            *self = Self::Failed;
        }
        failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PTO: Duration = Duration::from_millis(100);
    const INITIAL_PTO: Duration = Duration::from_millis(999);
    const NOW: Time = Time::from_nanos(1 << 40);

    fn entropy() -> Entropy {
        Entropy::from_seed([0; 32])
    }

    #[test]
    // RFC 9000 section 8.2.1#2#3.
    fn an_answer_to_any_challenge_will_do() {
        let (mut validation, mut entropy) = (Validation::begin(NOW, PTO, INITIAL_PTO), entropy());
        let challenges = [0, 1, 2].map(|turn| {
            let now = NOW + turn * PTO;
            assert!(validation.is_due(now) && validation.next_challenge() == Some(now));
            let data = validation.take_challenge(now, PTO, ChallengeSize::Full, &mut entropy).unwrap();
            assert!(!validation.is_due(now), "one at a time");
            assert_eq!(validation.take_challenge(now, PTO, ChallengeSize::Full, &mut entropy), None);
            data
        });
        // Section 8.2.1: every challenge has data of its own.
        assert!(challenges[0] != challenges[1] && challenges[1] != challenges[2] && challenges[0] != challenges[2]);
        for answer in challenges {
            let mut validation = validation.clone();
            assert_eq!(validation.on_response([9; 8], &again()), None);
            assert!(validation.deadline().is_some());
            assert_eq!(validation.on_response(answer, &again()), Some(Answer::Path));
            assert_eq!(validation, Validation::Done);
            assert_eq!(validation.on_response(answer, &again()), None, "once");
            assert!(!validation.timeout(NOW + 100 * PTO));
            assert_eq!((validation.next_challenge(), validation.deadline()), (None, None));
        }
    }

    fn again() -> Validation {
        Validation::begin(NOW + PTO, PTO, INITIAL_PTO)
    }

    #[test]
    // RFC 9000 sections 8.2.1#5, 8.2.3#1.
    fn what_a_small_datagram_proves_is_the_address() {
        let (mut validation, mut entropy) = (Validation::begin(NOW, PTO, INITIAL_PTO), entropy());
        let small = validation.take_challenge(NOW, PTO, ChallengeSize::Small, &mut entropy).unwrap();
        assert_eq!(validation.on_response(small, &again()), Some(Answer::Address));
        assert_eq!(validation, again(), "another is due");
        assert_eq!(validation.on_response(small, &again()), None, "once");
        let full = validation.take_challenge(NOW + PTO, PTO, ChallengeSize::Full, &mut entropy).unwrap();
        assert_eq!(validation.on_response(full, &again()), Some(Answer::Path));
        assert_eq!(validation, Validation::Done);
    }

    #[test]
    fn no_answer_counts_before_a_challenge() {
        for mut validation in [Validation::Idle, Validation::begin(NOW, PTO, INITIAL_PTO), Validation::Failed] {
            let before = validation.clone();
            assert_eq!(validation.on_response([0; 8], &again()), None);
            assert_eq!(validation, before);
        }
    }

    /// Section 8.2.4: three times the larger of the probe timeout and that of a new path.
    #[test]
    // RFC 9000 section 8.2.4#1#2.
    fn it_fails_in_time() {
        for (pto, initial, longest) in
            [(PTO, INITIAL_PTO, INITIAL_PTO), (5 * INITIAL_PTO, INITIAL_PTO, 5 * INITIAL_PTO)]
        {
            let mut validation = Validation::begin(NOW, pto, initial);
            let deadline = NOW + 3 * longest;
            let answer = validation.take_challenge(NOW, pto, ChallengeSize::Full, &mut entropy()).unwrap();
            assert_eq!(validation.deadline(), Some(deadline));
            assert!(!validation.timeout(deadline - Duration::from_nanos(1)));
            assert!(validation.timeout(deadline));
            assert_eq!(validation, Validation::Failed);
            assert!(!validation.timeout(deadline), "once");
            assert_eq!(validation.on_response(answer, &again()), None, "too late");
        }
    }

    #[test]
    fn challenges_are_bounded() {
        let (mut validation, mut entropy, mut now) = (Validation::begin(NOW, PTO, 100 * PTO), entropy(), NOW);
        let mut sent = 0;
        while let Some(due) = validation.next_challenge() {
            assert!(due >= now);
            now = due;
            assert!(validation.take_challenge(now, PTO, ChallengeSize::Full, &mut entropy).is_some());
            sent += 1;
        }
        assert_eq!((sent, now), (MAX_CHALLENGES, NOW + 7 * PTO));
        assert!(!validation.is_due(now + 100 * PTO));
        assert_eq!(validation.take_challenge(now + 100 * PTO, PTO, ChallengeSize::Full, &mut entropy), None);
        assert!(validation.deadline().is_some(), "the last may still be answered");
    }
}
