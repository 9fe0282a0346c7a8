//! Connection IDs (RFC 9000 section 5.1) and stateless reset tokens (section 10.3).

use crate::DecodeError;

/// A connection ID of 0 to 20 bytes.
// Bytes behind the last are 0 in all of them.
#[allow(clippy::derived_hash_with_manual_eq)]
#[derive(Clone, Copy, Eq, Hash, PartialOrd, Ord)]
// 24 bytes, which are copied by two words that do not overlap, as those of 21 would: the next copy had to wait for both.
#[repr(align(4))]
pub struct ConnectionId {
    len: u8,
    bytes: [u8; Self::MAX_LEN],
}

/// Only the bytes that there are: a processor waits for those that were written one way and are read in another.
impl PartialEq for ConnectionId {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl ConnectionId {
    /// The longest connection ID of QUIC version 1, in bytes.
    pub const MAX_LEN: usize = 20;

    /// The connection ID without bytes.
    pub const EMPTY: Self = Self { len: 0, bytes: [0; Self::MAX_LEN] };

    /// A connection ID of these bytes.
    ///
    /// # Errors
    /// [`DecodeError::Malformed`] if there are more than 20.
    // RFC 9000 section 17.2#2#3#5#6.
    pub fn new(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut id = Self::EMPTY;
        id.bytes
            .get_mut(..bytes.len())
            .ok_or(DecodeError::Malformed("connection ID longer than 20 bytes"))?
            .copy_from_slice(bytes);
        id.len = bytes.len() as u8;
        Ok(id)
    }

    /// Its bytes.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// How many bytes it has.
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether it has no bytes.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl std::ops::Deref for ConnectionId {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl std::fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

impl std::fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.is_empty() {
            return f.write_str("(empty)");
        }
        self.as_slice().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The 16 bytes by which an endpoint that lost its state can end a connection (RFC 9000 section
/// 10.3). Compared in constant time, as section 10.3.1 asks.
#[derive(Clone, Copy, Eq)]
pub struct ResetToken(pub [u8; Self::LEN]);

impl ResetToken {
    /// The length of a token in bytes.
    pub const LEN: usize = 16;
}

// RFC 9000 section 10.3.1#3.
impl PartialEq for ResetToken {
    fn eq(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
    }
}

impl std::hash::Hash for ResetToken {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl std::fmt::Debug for ResetToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A token is a secret until it is used.
        f.write_str("ResetToken(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    // RFC 9000 section 17.2#2#3#5#6.
    fn at_most_twenty_bytes() {
        for len in 0..=40 {
            let bytes = vec![0xa5; len];
            match ConnectionId::new(&bytes) {
                Ok(id) => assert_eq!((id.as_slice(), id.len(), id.is_empty()), (&bytes[..], len, len == 0)),
                Err(_) => assert!(len > 20, "{len} bytes"),
            }
        }
        assert_ne!(ConnectionId::new(&[0]), ConnectionId::new(&[0, 0]), "zeros count");
        assert_eq!(ConnectionId::new(&[0x0f, 0xf0]).map(|id| id.to_string()).as_deref(), Ok("0ff0"));
        assert_eq!(ConnectionId::EMPTY.to_string(), "(empty)");
    }

    #[test]
    // RFC 9000 section 10.3.1#3.
    fn tokens_differ_by_any_bit_and_are_not_shown() {
        let token = ResetToken([3; 16]);
        for bit in 0..128 {
            let mut other = token;
            other.0[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(token, other, "bit {bit}");
        }
        assert_eq!(token, ResetToken([3; 16]));
        assert!(!format!("{token:?}").contains('3'));
    }
}
