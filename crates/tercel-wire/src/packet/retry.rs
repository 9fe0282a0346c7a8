//! Retry packets (RFC 9000 section 17.2.5). The key of the integrity tag is not known here: see
//! tercel-proto's `stateless::retry`.

use bytes::Bytes;

use super::LongPacketType;
use super::header::{FIXED, LONG, type_bits};
use crate::{ConnectionId, DecodeError, Reader, Version};

/// The length of the integrity tag in bytes.
pub const TAG_LEN: usize = 16;

/// A Retry packet, its tag not yet checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPacket {
    /// The version.
    pub version: Version,
    /// The destination connection ID: the client's.
    pub dcid: ConnectionId,
    /// The source connection ID: the one that the client is to use next.
    pub scid: ConnectionId,
    /// The token.
    pub token: Bytes,
    /// The integrity tag.
    pub tag: [u8; TAG_LEN],
    /// The packet without its tag, as it came: what the tag is computed over.
    pub packet: Bytes,
}

impl RetryPacket {
    pub(super) fn decode(
        version: Version,
        dcid: ConnectionId,
        scid: ConnectionId,
        datagram: &[u8],
        mut reader: Reader<'_>,
    ) -> Result<Self, DecodeError> {
        // RFC 9000 section 17.2.5#1: the unused bits are not looked at.
        let rest = reader.rest();
        let (token, tag) = rest.split_last_chunk().ok_or(DecodeError::UnexpectedEnd)?;
        let packet = Bytes::copy_from_slice(&datagram[..datagram.len() - TAG_LEN]);
        Ok(Self { version, dcid, scid, token: Bytes::copy_from_slice(token), tag: *tag, packet })
    }

    /// Whether the fixed bit is set; see [`Protected::has_fixed_bit`](super::Protected::has_fixed_bit).
    pub fn has_fixed_bit(&self) -> bool {
        self.packet.first().is_some_and(|first| first & FIXED != 0)
    }

    /// The bytes that the tag is computed over (RFC 9001 section 5.8).
    pub fn pseudo_packet(original_dcid: &ConnectionId, packet: &[u8]) -> Vec<u8> {
        [&[original_dcid.len() as u8], original_dcid.as_slice(), packet].concat()
    }
}

/// A Retry packet without its tag.
pub fn encode(version: Version, dcid: &ConnectionId, scid: &ConnectionId, token: &[u8]) -> Vec<u8> {
    // The low four bits are unused (section 17.2.5); the examples of the RFCs set them, and so do we.
    let first = LONG | FIXED | type_bits(version, LongPacketType::Retry) | 0b1111;
    let id = |id: &ConnectionId| [&[id.len() as u8], id.as_slice()].concat();
    [&[first], &version.0.to_be_bytes()[..], &id(dcid), &id(scid), token].concat()
}
