//! QUIC versions (RFC 9000 section 15, RFC 9369).

use crate::packet::LongPacketType;

/// A version number as it stands in a long header.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(pub u32);

/// In what a version that we speak differs from the others; all else is common to them.
#[derive(Debug, PartialEq, Eq)]
pub struct Specifics {
    /// The types of packets with a long header, by the two bits that tell them (RFC 9000 section
    /// 17.2, RFC 9369 section 3.2).
    pub long_packet_types: [LongPacketType; 4],
    /// How the labels begin under which TLS derives packet protection keys (RFC 9001 section 5.1, RFC
    /// 9369 section 3.3.2).
    pub label_prefix: &'static str,
    /// The key and the nonce of the Retry integrity tag (RFC 9001 section 5.8, RFC 9369 section 3.3.3).
    pub retry_key: [u8; 16],
    /// See [`retry_key`](Self::retry_key).
    pub retry_nonce: [u8; 12],
}

const V1: Specifics = {
    use LongPacketType::{Handshake, Initial, Retry, ZeroRtt};
    Specifics {
        long_packet_types: [Initial, ZeroRtt, Handshake, Retry],
        label_prefix: "quic",
        retry_key: 0xbe0c_690b_9f66_575a_1d76_6b54_e368_c84e_u128.to_be_bytes(),
        retry_nonce: [0x46, 0x15, 0x99, 0xd3, 0x5d, 0x63, 0x2b, 0xf2, 0x23, 0x98, 0x25, 0xbb],
    }
};

// RFC 9369 section 3#1.
const V2: Specifics = {
    use LongPacketType::{Handshake, Initial, Retry, ZeroRtt};
    Specifics {
        long_packet_types: [Retry, Initial, ZeroRtt, Handshake],
        label_prefix: "quicv2",
        retry_key: 0x8fb4_b01b_56ac_48e2_60fb_cbce_ad7c_cc92_u128.to_be_bytes(),
        retry_nonce: [0xd8, 0x69, 0x69, 0xbc, 0x2d, 0x7c, 0x6d, 0x99, 0x90, 0xef, 0xb0, 0x4a],
    }
};

impl Version {
    /// QUIC version 1 (RFC 9000).
    pub const V1: Self = Self(1);
    /// QUIC version 2 (RFC 9369). A first flight of either can be read as one of the other: the two
    /// are compatible (RFC 9369 section 4).
    pub const V2: Self = Self(0x6b33_43cf);
    /// The value that marks a Version Negotiation packet (RFC 8999 section 6).
    pub const NEGOTIATION: Self = Self(0);
    /// All versions that this endpoint can speak, the one that is understood most widely first.
    // RFC 9368 section 2.5#1#2: clients begin with the first unless settings say otherwise.
    // RFC 9368 section 2.2#1: all of these are compatible with each other, by RFC 9369 section 4.
    pub const SUPPORTED: [Self; 2] = [Self::V1, Self::V2];

    /// What is special to the version; `None` if this endpoint cannot speak it.
    pub const fn specifics(self) -> Option<&'static Specifics> {
        match self {
            Self::V1 => Some(&V1),
            Self::V2 => Some(&V2),
            _ => None,
        }
    }

    /// Whether this endpoint can speak it.
    pub const fn is_supported(self) -> bool {
        self.specifics().is_some()
    }

    /// Whether it is reserved to force version negotiation (0x?a?a?a?a, RFC 9000 section 15).
    pub const fn is_reserved(self) -> bool {
        self.0 & 0x0f0f_0f0f == 0x0a0a_0a0a
    }

    /// The reserved version with these arbitrary bits.
    pub const fn reserved(bits: u32) -> Self {
        Self(bits & 0xf0f0_f0f0 | 0x0a0a_0a0a)
    }

    /// The type that the first byte of a long header of this version tells; `None` if this endpoint
    /// cannot speak it.
    pub const fn long_packet_type(self, first: u8) -> Option<LongPacketType> {
        match self.specifics() {
            Some(specifics) => Some(specifics.long_packet_types[(first >> 4 & 0b11) as usize]),
            None => None,
        }
    }
}

impl Specifics {
    /// The bits of the first byte that tell this type.
    pub(crate) fn type_bits(&self, ty: LongPacketType) -> u8 {
        (0..).zip(self.long_packet_types).find(|(_, other)| *other == ty).map_or(0, |(bits, _): (u8, _)| bits << 4)
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
            (0x6b33_43cf, true, false),
            // That of the drafts of version 2.
            (0x709a_50c4, false, false),
            (0x0a0a_0a0a, false, true),
            (0xfafa_fafa, false, true),
            (0x1a2a_3a4a, false, true),
            (0x1a2a_3a4b, false, false),
        ] {
            let version = Version(version);
            assert_eq!((version.is_supported(), version.is_reserved()), (supported, reserved), "{version:?}");
            assert_eq!(Version::SUPPORTED.contains(&version), supported, "{version:?}");
            assert!(Version::reserved(version.0).is_reserved());
        }
        assert_eq!(Version::reserved(0x1234_5678), Version(0x1a3a_5a7a));
    }

    /// RFC 9000 Table 5 and RFC 9369 section 3.2.
    #[test]
    fn types_of_packets_by_their_bits() {
        use LongPacketType::{Handshake, Initial, Retry, ZeroRtt};
        let table = [
            (Version::V1, [(Initial, 0), (ZeroRtt, 1), (Handshake, 2), (Retry, 3)]),
            (Version::V2, [(Initial, 1), (ZeroRtt, 2), (Handshake, 3), (Retry, 0)]),
        ];
        for (version, types) in table {
            for (ty, bits) in types {
                assert_eq!(version.specifics().unwrap().type_bits(ty), bits << 4, "{version:?} {ty:?}");
                for other in 0..=15 {
                    assert_eq!(version.long_packet_type(0xc0 | bits << 4 | other), Some(ty), "{version:?} {ty:?}");
                }
            }
        }
        assert_eq!(Version(3).long_packet_type(0xc0), None);
    }
}
