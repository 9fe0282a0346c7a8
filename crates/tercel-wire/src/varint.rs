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

#[cfg(test)]
mod tests {
    use crate::{Reader, VarInt, Writer};

    fn encode(value: u64) -> Vec<u8> {
        let mut bytes = [0; 8];
        let mut writer = Writer::new(&mut bytes);
        writer.varint(value);
        writer.written().to_vec()
    }

    #[test]
    fn vectors_of_rfc_9000_appendix_a() {
        for (bytes, value) in [
            (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c][..], 151_288_809_941_952_652),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
        ] {
            assert_eq!(Reader::new(bytes).varint(), Ok(value));
            assert_eq!(encode(value), bytes);
        }
        // The same value in two forms.
        assert_eq!(Reader::new(&[0x40, 0x25]).varint(), Ok(37));
    }

    #[test]
    fn every_length_ends_where_it_should() {
        let last = VarInt::MAX.into_inner();
        let edges = [0, 63, 64, 16_383, 16_384, (1 << 30) - 1, 1 << 30, last];
        let lens = [1, 1, 2, 2, 4, 4, 8, 8];
        for (value, len) in edges.into_iter().zip(lens).chain((0..20_000).map(|value| {
            (
                value,
                if value < 64 {
                    1
                } else if value < 16_384 {
                    2
                } else {
                    4
                },
            )
        })) {
            let bytes = encode(value);
            assert_eq!((bytes.len(), VarInt::encoded_len(value)), (len, len), "{value}");
            assert_eq!(Reader::new(&bytes).varint(), Ok(value));
            for cut in 0..len {
                assert!(Reader::new(&bytes[..cut]).varint().is_err());
            }
        }
        assert!(VarInt::new(last).is_ok() && VarInt::new(last + 1).is_err());
    }
}
