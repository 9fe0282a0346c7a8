//! Received packets: cut from their datagram, freed of header protection, opened.

use bytes::{Buf as _, Bytes, BytesMut};

use super::header::{FIXED, KEY_PHASE, LONG, LONG_RESERVED, SAMPLE_OFFSET, SHORT_RESERVED, SPIN};
use super::invariant::LongHeader;
use super::number;
use super::protection::{HeaderKey, PacketKey};
use super::retry::RetryPacket;
use super::version_negotiation::VersionNegotiationPacket;
use super::{EncryptionLevel, Header, LongPacketType};
use crate::{ConnectionId, DecodeError, Reader, Version};

/// The first packet of a datagram, by what can be done with it.
#[derive(Debug)]
pub enum FirstPacket {
    /// A packet with protection.
    Protected(Protected),
    /// A Retry packet; it fills its datagram.
    Retry(RetryPacket),
    /// A Version Negotiation packet; it fills its datagram.
    VersionNegotiation(VersionNegotiationPacket),
    /// A long header of a version that is not ours.
    Unsupported(Version),
}

/// A packet as it came: header and payload protected.
#[derive(Debug)]
pub struct Protected {
    header: Header,
    packet: BytesMut,
    number_at: usize,
}

/// A packet whose header is readable and whose payload is encrypted.
#[derive(Debug)]
pub struct Sealed<'a> {
    header: &'a Header,
    packet: &'a mut BytesMut,
    header_len: usize,
    number: u64,
}

/// A packet that proved authentic.
#[derive(Debug)]
pub struct Opened<'a> {
    /// Its header.
    pub header: &'a Header,
    /// Its packet number.
    pub number: u64,
    /// Its frames.
    pub payload: Bytes,
    /// Whether reserved bits of the header were set, which is a PROTOCOL_VIOLATION (RFC 9000
    /// section 17.2).
    pub reserved_bits: bool,
}

impl Protected {
    /// Cuts the first packet off `datagram`. Packets with a short header are taken to have a
    /// destination connection ID of `local_cid_len` bytes.
    ///
    /// # Errors
    /// The packet cannot be read, and neither can what follows it.
    // RFC 9000 sections 10.3#6, 12.2#1, 14#4.
    pub fn split_first(datagram: &mut BytesMut, local_cid_len: usize) -> Result<FirstPacket, DecodeError> {
        if let Some(packet) = Self::short(datagram, local_cid_len, &ConnectionId::EMPTY) {
            return Ok(FirstPacket::Protected(packet));
        }
        let mut reader = Reader::new(datagram);
        let first = reader.u8()?;
        if first & LONG == 0 {
            return Err(DecodeError::UnexpectedEnd);
        }
        let version = Version(reader.u32()?);
        if version == Version::NEGOTIATION {
            return VersionNegotiationPacket::decode(datagram).map(FirstPacket::VersionNegotiation);
        }
        let Some(ty) = version.long_packet_type(first) else {
            // What all versions agree on must be there (RFC 8999 section 5.1).
            return LongHeader::decode(datagram).map(|_| FirstPacket::Unsupported(version));
        };
        let mut id = || {
            let len = usize::from(reader.u8()?);
            ConnectionId::new(reader.bytes(len)?)
        };
        let (dcid, scid) = (id()?, id()?);
        let header = match ty {
            LongPacketType::Initial => {
                let token = reader.length_prefixed()?;
                Header::Initial { version, dcid, scid, token: Bytes::copy_from_slice(token) }
            }
            LongPacketType::ZeroRtt => Header::ZeroRtt { version, dcid, scid },
            LongPacketType::Handshake => Header::Handshake { version, dcid, scid },
            LongPacketType::Retry => {
                return RetryPacket::decode(version, dcid, scid, datagram, reader).map(FirstPacket::Retry);
            }
        };
        let length = usize::try_from(reader.varint()?).map_err(|_| DecodeError::UnexpectedEnd)?;
        let number_at = datagram.len() - reader.remaining();
        if length > reader.remaining() {
            return Err(DecodeError::UnexpectedEnd);
        }
        let packet = datagram.split_to(number_at + length);
        Ok(FirstPacket::Protected(Self { header, packet, number_at }))
    }

    /// Takes all of `datagram` if a packet with a short header begins it; there is none behind. The same as
    /// [`split_first`](Self::split_first), which has more cases to tell apart. If the connection ID is the `usual` one that
    /// is what is copied, because what was just put together of bytes is slow to read in larger pieces.
    #[inline]
    pub fn short(datagram: &mut BytesMut, local_cid_len: usize, usual: &ConnectionId) -> Option<Self> {
        let (first, rest) = datagram.split_first()?;
        // RFC 9000 section 17.3.1#1.
        if first & LONG != 0 {
            return None;
        }
        let dcid = match rest.get(..local_cid_len)? {
            dcid if dcid == usual.as_slice() => *usual,
            dcid => ConnectionId::new(dcid).ok()?,
        };
        let header = Header::OneRtt { dcid, spin: false, key_phase: false };
        Some(Self { header, packet: std::mem::take(datagram), number_at: 1 + local_cid_len })
    }

    /// What is readable of the header: everything but the packet number, spin bit and key phase.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// Whether the fixed bit is set. An endpoint that has not said that it does not look at it (RFC 9287)
    /// drops packets without it (RFC 9000 sections 17.2 and 17.3).
    pub fn has_fixed_bit(&self) -> bool {
        self.packet.first().is_some_and(|first| first & FIXED != 0)
    }

    /// Where its keys come from.
    pub const fn level(&self) -> EncryptionLevel {
        self.header.level()
    }

    /// Whether it is an Initial packet with a token.
    pub fn has_token(&self) -> bool {
        matches!(&self.header, Header::Initial { token, .. } if !token.is_empty())
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.packet.len()
    }

    /// Takes the packet away from here.
    pub fn take(&mut self) -> Self {
        let (header, packet) = (self.header.clone(), std::mem::take(&mut self.packet));
        Self { header, packet, number_at: self.number_at }
    }

    /// Whether it has no bytes, which cannot be.
    pub fn is_empty(&self) -> bool {
        self.packet.is_empty()
    }

    /// Removes header protection (RFC 9001 section 5.4), once. All stays where it is, because moving it costs more than
    /// reading it.
    ///
    /// # Errors
    /// The packet is too short to have been protected, or its protection was removed before.
    #[inline]
    pub fn unprotect(&mut self, key: &dyn HeaderKey, largest_received: Option<u64>) -> Result<Sealed<'_>, DecodeError> {
        // Of no packet is the number there.
        const DONE: usize = usize::MAX - SAMPLE_OFFSET;
        let number_at = std::mem::replace(&mut self.number_at, DONE);
        let sample_at = number_at + SAMPLE_OFFSET;
        // RFC 9001 section 5.4.2#1.
        if self.packet.len().saturating_sub(sample_at) < key.sample_len() {
            return Err(DecodeError::UnexpectedEnd);
        }
        let (header, rest) = self.packet.split_at_mut(sample_at);
        let (first, rest_of_header) = header.split_first_mut().ok_or(DecodeError::UnexpectedEnd)?;
        let number = rest_of_header.get_mut(number_at - 1..).ok_or(DecodeError::UnexpectedEnd)?;
        key.unprotect(&rest[..key.sample_len()], first, number);
        let len = usize::from(*first & 0b11) + 1;
        let truncated = number[..len].iter().fold(0, |value, byte| value << 8 | u32::from(*byte));
        if let Header::OneRtt { spin, key_phase, .. } = &mut self.header {
            (*spin, *key_phase) = (*first & SPIN != 0, *first & KEY_PHASE != 0);
        }
        Ok(Sealed {
            header: &self.header,
            packet: &mut self.packet,
            header_len: number_at + len,
            number: number::expand(truncated, len, largest_received),
        })
    }
}

impl<'a> Sealed<'a> {
    /// The packet number.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// The key phase bit of a 1-RTT packet; false for others.
    pub const fn key_phase(&self) -> bool {
        matches!(self.header, Header::OneRtt { key_phase: true, .. })
    }

    /// Decrypts the payload in place. `None` if the packet is not authentic.
    #[inline]
    pub fn open(self, key: &dyn PacketKey) -> Option<Opened<'a>> {
        let (header, payload) = self.packet.split_at_mut_checked(self.header_len)?;
        let len = key.open(self.number, header, payload)?;
        let reserved = match self.header {
            Header::OneRtt { .. } => SHORT_RESERVED,
            _ => LONG_RESERVED,
        };
        let reserved_bits = self.packet.first().is_some_and(|first| first & reserved != 0);
        let mut payload = std::mem::take(self.packet);
        payload.advance(self.header_len);
        payload.truncate(len);
        Some(Opened { header: self.header, number: self.number, payload: payload.freeze(), reserved_bits })
    }
}

#[cfg(test)]
mod tests;
