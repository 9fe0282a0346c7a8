//! Which tokens of NEW_TOKEN frames were shown before (RFC 9000 section 8.1.4: each is accepted once).
//!
//! They are good for a day, and there may be more of them than a server likes to remember one by one. So each sets
//! four bits of a megabyte (a Bloom filter), at places that its nonce gives, which is random and ours. There are
//! two such, for two days that follow each other. A token that comes again is always known again. One that comes for the
//! first time is taken for a used one with a chance that grows with their number, some four in a hundred at a million
//! a day; its client is then one without a token, whose address is validated by the handshake.

use std::sync::{Mutex, PoisonError};

use tercel_proto::time::Time;
use tercel_proto::token::NEW_TOKEN_LIFETIME;

/// How many bits give a place.
const PLACE_BITS: u32 = 23;

/// How many places a token has: with that, all that is used of it lies within its nonce.
const PLACES: u32 = 4;

/// Remembers tokens.
#[derive(Debug, Default)]
pub(crate) struct TokenUses(Mutex<Days>);

#[derive(Debug, Default)]
struct Days {
    today: Filter,
    yesterday: Filter,
    since: Option<Time>,
}

/// Empty until the first token comes.
#[derive(Debug, Default)]
struct Filter(Vec<u64>);

impl Filter {
    fn contains(&self, token: [u8; 16]) -> bool {
        places(token).all(|(word, bit)| self.0.get(word).is_some_and(|bits| bits & bit != 0))
    }

    fn insert(&mut self, token: [u8; 16]) {
        self.0.resize((1 << PLACE_BITS) / 64, 0);
        for (word, bit) in places(token) {
            if let Some(bits) = self.0.get_mut(word) {
                *bits |= bit;
            }
        }
    }
}

/// Which bits stand for a token.
fn places(token: [u8; 16]) -> impl Iterator<Item = (usize, u64)> {
    let token = u128::from_be_bytes(token);
    (1..=PLACES).map(move |place| {
        let at = (token >> (u128::BITS - place * PLACE_BITS)) as usize & ((1 << PLACE_BITS) - 1);
        (at / 64, 1 << (at % 64))
    })
}

impl TokenUses {
    /// Whether the token that begins so is shown for the first time.
    // RFC 9000 section 8.1.4#8.
    pub(crate) fn is_first(&self, token: [u8; 16], now: Time) -> bool {
        let mut days = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let age = now.since(*days.since.get_or_insert(now));
        if age >= NEW_TOKEN_LIFETIME {
            days.yesterday = std::mem::take(&mut days.today);
            if age >= 2 * NEW_TOKEN_LIFETIME {
                days.yesterday = Filter::default();
            }
            days.since = Some(now);
        }
        let first = !(days.today.contains(token) || days.yesterday.contains(token));
        days.today.insert(token);
        first
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tercel_proto::entropy::Entropy;

    use super::*;

    #[test]
    // RFC 9000 section 8.1.4#8.
    fn a_token_counts_once_while_it_is_good() {
        let uses = TokenUses::default();
        let mut entropy = Entropy::from_seed([0; 32]);
        let start = Time::ZERO + Duration::from_secs(1_700_000_000);
        let tokens: Vec<[u8; 16]> = (0..10_000).map(|_| entropy.array()).collect();
        let first = tokens.iter().filter(|token| uses.is_first(**token, start)).count();
        assert!(first >= 9_999, "{first} of 10,000");
        // Whenever it was shown first, it is known for as long as it is good.
        for (shown, again) in [(0, 0), (0, 23), (0, 24), (23, 24), (23, 47), (25, 49)] {
            let (uses, hours) = (TokenUses::default(), |hours: u64| start + Duration::from_secs(hours * 3600));
            assert!(uses.is_first([7; 16], start));
            assert!(uses.is_first(tokens[0], hours(shown)));
            assert!(!uses.is_first(tokens[0], hours(again)), "shown after {shown} hours and {again}");
        }
        let uses = TokenUses::default();
        assert!(uses.is_first(tokens[0], start) && uses.is_first(tokens[0], start + 2 * NEW_TOKEN_LIFETIME));
    }
}
