//! Variable-length integers (RFC 9000 section 16).

use crate::DecodeError;

/// An integer of 0 to 2^62 - 1, the range that a QUIC variable-length integer can carry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct VarInt(u64);

impl VarInt {
    /// The largest value, 2^62 - 1.
    pub const MAX: Self = Self((1 << 62) - 1);

    /// A value from 32 bits, which always fit.
    pub const fn from_u32(value: u32) -> Self {
        Self(value as u64)
    }

    /// A value from 64 bits.
    ///
    /// # Errors
    /// [`DecodeError::Malformed`] if `value` is 2^62 or more.
    pub const fn new(value: u64) -> Result<Self, DecodeError> {
        if value <= Self::MAX.0 { Ok(Self(value)) } else { Err(DecodeError::Malformed("integer exceeds 2^62 - 1")) }
    }

    /// The nearest value in range.
    pub const fn saturating(value: u64) -> Self {
        if value <= Self::MAX.0 { Self(value) } else { Self::MAX }
    }

    /// The value as 64 bits.
    pub const fn into_inner(self) -> u64 {
        self.0
    }

    /// How many bytes (1, 2, 4 or 8) the shortest encoding of `value` takes.
    pub const fn encoded_len(value: u64) -> usize {
        if value < 1 << 6 {
            1
        } else if value < 1 << 14 {
            2
        } else if value < 1 << 30 {
            4
        } else {
            8
        }
    }
}

impl From<VarInt> for u64 {
    fn from(value: VarInt) -> Self {
        value.0
    }
}

impl From<u32> for VarInt {
    fn from(value: u32) -> Self {
        Self::from_u32(value)
    }
}

impl TryFrom<u64> for VarInt {
    type Error = DecodeError;
    fn try_from(value: u64) -> Result<Self, DecodeError> {
        Self::new(value)
    }
}

impl std::fmt::Debug for VarInt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::fmt::Display for VarInt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
