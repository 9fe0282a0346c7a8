//! Path validation (RFC 9000 section 8.2): a challenge goes out, and whoever answers it is there.

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
        /// The data of every challenge sent; an answer to any will do. The last is the newest.
        challenges: Vec<[u8; 8]>,
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

/// So many challenges are sent at most.
const MAX_CHALLENGES: usize = 8;

impl Validation {
    /// Begins: a challenge is due now. It fails after three times the larger of the probe timeout
    /// now and that of a path never seen (section 8.2.4).
    pub const fn begin(now: Time, pto: Duration, initial_pto: Duration) -> Self {
        let longest = if pto.as_nanos() > initial_pto.as_nanos() { pto } else { initial_pto };
        let deadline = Time::from_nanos(now.as_nanos() + 3 * longest.as_nanos() as u64);
        Self::Pending { challenges: Vec::new(), next_challenge: now, deadline }
    }

    /// The data of a challenge, if one is due; it is then taken as sent.
    pub fn take_challenge(&mut self, now: Time, pto: Duration, entropy: &mut Entropy) -> Option<[u8; 8]> {
        let Self::Pending { challenges, next_challenge, .. } = self else { return None };
        if *next_challenge > now || challenges.len() >= MAX_CHALLENGES {
            return None;
        }
        let data = entropy.array();
        challenges.push(data);
        *next_challenge = now + pto;
        Some(data)
    }

    /// Whether a challenge is due.
    pub fn is_due(&self, now: Time) -> bool {
        matches!(self, Self::Pending { challenges, next_challenge, .. }
            if *next_challenge <= now && challenges.len() < MAX_CHALLENGES)
    }

    /// A PATH_RESPONSE came in; true if it answers this path's challenge.
    pub fn on_response(&mut self, data: [u8; 8]) -> bool {
        let answers = matches!(self, Self::Pending { challenges, .. } if challenges.contains(&data));
        if answers {
            *self = Self::Done;
        }
        answers
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
