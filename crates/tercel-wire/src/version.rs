//! QUIC versions (RFC 9000 section 15).

/// A version number as it stands in a long header.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(pub u32);

impl Version {
    /// QUIC version 1 (RFC 9000).
    pub const V1: Self = Self(1);
    /// The value that marks a Version Negotiation packet (RFC 8999 section 6).
    pub const NEGOTIATION: Self = Self(0);

    /// Whether this endpoint can speak it.
    pub const fn is_supported(self) -> bool {
        matches!(self, Self::V1)
    }

    /// Whether it is reserved to force version negotiation (0x?a?a?a?a, RFC 9000 section 15).
    pub const fn is_reserved(self) -> bool {
        self.0 & 0x0f0f_0f0f == 0x0a0a_0a0a
    }
}

impl std::fmt::Debug for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_and_the_reserved() {
        for (version, supported, reserved) in [
            (0, false, false),
            (1, true, false),
            (2, false, false),
            (0x6b33_43cf, false, false),
            (0x0a0a_0a0a, false, true),
            (0xfafa_fafa, false, true),
            (0x1a2a_3a4a, false, true),
            (0x1a2a_3a4b, false, false),
        ] {
            let version = Version(version);
            assert_eq!((version.is_supported(), version.is_reserved()), (supported, reserved), "{version:?}");
        }
    }
}
