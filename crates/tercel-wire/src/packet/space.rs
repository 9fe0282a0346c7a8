//! Encryption levels and packet number spaces.

/// Where a packet's keys come from (RFC 9001 section 2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EncryptionLevel {
    /// Keys that anyone on the path can derive.
    Initial,
    /// Early data keys, client to server only.
    ZeroRtt,
    /// Handshake keys.
    Handshake,
    /// Application data keys.
    OneRtt,
}

impl EncryptionLevel {
    /// The packet number space of packets at this level (RFC 9000 section 12.3).
    pub const fn space(self) -> SpaceId {
        match self {
            Self::Initial => SpaceId::Initial,
            Self::Handshake => SpaceId::Handshake,
            Self::ZeroRtt | Self::OneRtt => SpaceId::Data,
        }
    }
}

/// One of the three packet number spaces (RFC 9000 section 12.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SpaceId {
    /// Initial packets.
    Initial,
    /// Handshake packets.
    Handshake,
    /// 0-RTT and 1-RTT packets.
    Data,
}

impl SpaceId {
    /// All three, in the order of the handshake.
    pub const ALL: [Self; 3] = [Self::Initial, Self::Handshake, Self::Data];
}
