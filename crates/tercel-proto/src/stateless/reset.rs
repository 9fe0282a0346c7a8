//! Stateless resets (RFC 9000 section 10.3).

use aws_lc_rs::hmac;
use tercel_wire::packet::stateless_reset;
use tercel_wire::{ConnectionId, ResetToken};

use crate::entropy::Entropy;

/// The secret from which the reset token of every connection ID follows, so that an endpoint that
/// lost its state can still give it (section 10.3.2).
#[derive(Debug, Clone)]
pub struct ResetKey(hmac::Key);

impl ResetKey {
    /// A key of these bytes.
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// The token of a connection ID.
    // RFC 9000 section 10.3.2#1#5.
    pub fn token(&self, id: &ConnectionId) -> ResetToken {
        let tag = hmac::sign(&self.0, id);
        let mut token = [0; ResetToken::LEN];
        token.copy_from_slice(&tag.as_ref()[..ResetToken::LEN]);
        ResetToken(token)
    }
}

/// The answer to a datagram of `datagram_len` bytes for an unknown connection; `None` if it is so
/// small that an answer would have to be as large (section 10.3.3: two endpoints without state must
/// not answer each other for ever).
pub fn respond(token: ResetToken, datagram_len: usize, entropy: &mut Entropy) -> Option<Vec<u8>> {
    // As long as a packet with a longest connection ID would be, so that it looks like any other.
    const TYPICAL: usize = 43;
    // RFC 9000 sections 10.3#4#5, 10.3.3#1.
    let len = TYPICAL.min(datagram_len.checked_sub(1)?);
    if len < stateless_reset::MIN_LEN {
        return None;
    }
    // RFC 9000 section 10.3#2.
    let mut unpredictable = vec![0; len - ResetToken::LEN];
    entropy.fill(&mut unpredictable);
    Some(stateless_reset::encode(unpredictable, token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    // RFC 9000 sections 10.3#4#5, 10.3.3#1.
    fn a_reset_is_smaller_than_its_cause_and_carries_the_token() {
        let key = ResetKey::new(&[7; 32]);
        let token = key.token(&ConnectionId::new(&[1; 8]).unwrap());
        assert_eq!(token, key.token(&ConnectionId::new(&[1; 8]).unwrap()));
        assert_ne!(token, key.token(&ConnectionId::new(&[2; 8]).unwrap()));
        let mut entropy = Entropy::from_seed([0; 32]);
        for len in 0..1500 {
            match respond(token, len, &mut entropy) {
                Some(reset) => {
                    assert!(reset.len() < len && reset.len() >= 21);
                    assert_eq!(stateless_reset::token_of(&reset), Some(token));
                }
                None => assert!(len < 22),
            }
        }
    }
}
