//! What can be read of a packet of any version (RFC 8999): enough to find its connection.

use super::LongPacketType;
use crate::{ConnectionId, DecodeError, Reader, Version};

/// A datagram's first packet, as far as all versions agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invariant<'a> {
    /// A long header.
    Long(LongHeader<'a>),
    /// A short header, with a destination connection ID of the length that we gave it.
    Short {
        /// The destination connection ID.
        dcid: ConnectionId,
    },
}

/// A long header of any version; its connection IDs have 0 to 255 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
// RFC 9000 section 17.2#4#7.
pub struct LongHeader<'a> {
    /// The first byte. In versions that we speak bits 4 and 5 give the type; see
    /// [`packet_type`](Self::packet_type).
    pub first: u8,
    /// The version.
    pub version: Version,
    /// The destination connection ID.
    pub dcid: &'a [u8],
    /// The source connection ID.
    pub scid: &'a [u8],
}

impl<'a> LongHeader<'a> {
    /// Reads the header; the reader stands behind it.
    ///
    /// # Errors
    /// The datagram ends within the header, or is no long header.
    pub fn decode(datagram: &'a [u8]) -> Result<(Self, Reader<'a>), DecodeError> {
        let mut reader = Reader::new(datagram);
        let first = reader.u8()?;
        if first & 0x80 == 0 {
            return Err(DecodeError::Malformed("not a long header"));
        }
        let version = Version(reader.u32()?);
        let len = reader.u8()?;
        let dcid = reader.bytes(len.into())?;
        let len = reader.u8()?;
        let scid = reader.bytes(len.into())?;
        Ok((Self { first, version, dcid, scid }, reader))
    }

    /// The type of the packet, if its version is one that we speak.
    pub const fn packet_type(&self) -> Option<LongPacketType> {
        self.version.long_packet_type(self.first)
    }

    /// Whether this is an Initial packet of a version that we speak.
    pub const fn is_initial(&self) -> bool {
        matches!(self.packet_type(), Some(LongPacketType::Initial))
    }

    /// Whether this is a 0-RTT packet of a version that we speak.
    pub const fn is_zero_rtt(&self) -> bool {
        matches!(self.packet_type(), Some(LongPacketType::ZeroRtt))
    }
}

impl<'a> Invariant<'a> {
    /// Reads the start of `datagram`.
    ///
    /// # Errors
    /// It is too short to be a QUIC packet for an endpoint with connection IDs of `local_cid_len`
    /// bytes.
    pub fn peek(datagram: &'a [u8], local_cid_len: usize) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(datagram);
        match reader.u8()? & 0x80 {
            0 => ConnectionId::new(reader.bytes(local_cid_len)?).map(|dcid| Self::Short { dcid }),
            _ => LongHeader::decode(datagram).map(|(header, _)| Self::Long(header)),
        }
    }
}
