//! Stateless resets (RFC 9000 section 10.3).

use crate::ResetToken;

/// The shortest datagram that can be a stateless reset (RFC 9000 section 10.3).
pub const MIN_LEN: usize = 21;

/// A stateless reset of as many bytes as `unpredictable` and the token have: at least
/// [`MIN_LEN`] in all. Looks like a packet with a short header.
// RFC 9000 section 10.3#7.
pub fn encode(mut unpredictable: Vec<u8>, token: ResetToken) -> Vec<u8> {
    if let Some(first) = unpredictable.first_mut() {
        *first = *first & 0x3f | 0x40;
    }
    unpredictable.extend_from_slice(&token.0);
    unpredictable
}

/// The token of a datagram that may be a stateless reset: its last 16 bytes.
pub fn token_of(datagram: &[u8]) -> Option<ResetToken> {
    // RFC 9000 section 10.3#8: whatever the header looks like.
    datagram.last_chunk().filter(|_| datagram.len() >= MIN_LEN).map(|token| ResetToken(*token))
}
