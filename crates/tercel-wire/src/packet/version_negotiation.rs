//! Version Negotiation packets (RFC 8999 section 6, RFC 9000 section 17.2.1).

use crate::packet::invariant::LongHeader;
use crate::{DecodeError, Version};

/// A Version Negotiation packet. Its connection IDs may be longer than those of version 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionNegotiationPacket {
    /// The destination connection ID.
    pub dcid: Vec<u8>,
    /// The source connection ID.
    pub scid: Vec<u8>,
    /// The versions that the server speaks.
    pub versions: Vec<Version>,
}

impl VersionNegotiationPacket {
    // RFC 9000 section 17.2.1#1.
    pub(super) fn decode(datagram: &[u8]) -> Result<Self, DecodeError> {
        let (header, mut reader) = LongHeader::decode(datagram)?;
        if reader.is_empty() || reader.remaining() % 4 != 0 {
            return Err(DecodeError::Malformed("list of versions"));
        }
        let mut versions = Vec::with_capacity(reader.remaining() / 4);
        while !reader.is_empty() {
            versions.push(Version(reader.u32()?));
        }
        Ok(Self { dcid: header.dcid.to_vec(), scid: header.scid.to_vec(), versions })
    }
}

/// A Version Negotiation packet in answer to a packet with these connection IDs. `unused` are the
/// arbitrary bits of the first byte.
pub fn encode(dcid: &[u8], scid: &[u8], versions: &[Version], unused: u8) -> Vec<u8> {
    let id = |id: &[u8]| [&[id.len() as u8], id].concat();
    // RFC 9000 section 17.2.1#2#3.
    let mut packet = vec![0x80 | 0x40 | unused];
    packet.extend_from_slice(&Version::NEGOTIATION.0.to_be_bytes());
    packet.extend(id(dcid));
    packet.extend(id(scid));
    packet.extend(versions.iter().flat_map(|version| version.0.to_be_bytes()));
    packet
}
