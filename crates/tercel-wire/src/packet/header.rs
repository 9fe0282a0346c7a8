//! The headers of packets to send (RFC 9000 sections 17.2 and 17.3).

use bytes::Bytes;

use super::EncryptionLevel;
use super::number;
use super::protection::{HeaderKey, PacketKey};
use crate::{ConnectionId, VarInt, Version, Writer};

/// Bits of the first byte.
pub(super) const LONG: u8 = 0x80;
pub(super) const FIXED: u8 = 0x40;
pub(super) const SPIN: u8 = 0x20;
pub(super) const KEY_PHASE: u8 = 0x04;
pub(super) const LONG_RESERVED: u8 = 0x0c;
pub(super) const SHORT_RESERVED: u8 = 0x18;

/// Header protection samples the payload from this many bytes behind the start of the packet number
/// (RFC 9001 section 5.4.2).
pub(super) const SAMPLE_OFFSET: usize = 4;

/// The types of packets with a long header (RFC 9000 section 17.2). Which bits stand for which depends
/// on the version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum LongPacketType {
    Initial,
    ZeroRtt,
    Handshake,
    Retry,
}

/// What a packet says in clear, but for its packet number.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Header {
    /// Initial (section 17.2.2).
    Initial { version: Version, dcid: ConnectionId, scid: ConnectionId, token: Bytes },
    /// 0-RTT (section 17.2.3).
    ZeroRtt { version: Version, dcid: ConnectionId, scid: ConnectionId },
    /// Handshake (section 17.2.4).
    Handshake { version: Version, dcid: ConnectionId, scid: ConnectionId },
    /// 1-RTT (section 17.3.1).
    OneRtt { dcid: ConnectionId, spin: bool, key_phase: bool },
}

/// A packet whose header is written and whose frames are being written.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct PacketStart {
    /// Where in the writer the packet begins, and its Length field (long headers) and number.
    begin: usize,
    length: Option<usize>,
    number_at: usize,
    number_len: usize,
    number: u64,
}

impl Header {
    /// Where the keys come from.
    pub const fn level(&self) -> EncryptionLevel {
        match self {
            Self::Initial { .. } => EncryptionLevel::Initial,
            Self::ZeroRtt { .. } => EncryptionLevel::ZeroRtt,
            Self::Handshake { .. } => EncryptionLevel::Handshake,
            Self::OneRtt { .. } => EncryptionLevel::OneRtt,
        }
    }

    /// The version, which only long headers tell.
    pub const fn version(&self) -> Option<Version> {
        match self {
            Self::Initial { version, .. } | Self::ZeroRtt { version, .. } | Self::Handshake { version, .. } => {
                Some(*version)
            }
            Self::OneRtt { .. } => None,
        }
    }

    /// The destination connection ID.
    pub const fn dcid(&self) -> &ConnectionId {
        match self {
            Self::Initial { dcid, .. }
            | Self::ZeroRtt { dcid, .. }
            | Self::Handshake { dcid, .. }
            | Self::OneRtt { dcid, .. } => dcid,
        }
    }

    /// The most bytes that the header takes, packet number included.
    pub fn max_len(&self) -> usize {
        let long = |dcid: &ConnectionId, scid: &ConnectionId| 1 + 4 + 1 + dcid.len() + 1 + scid.len() + 2 + 4;
        match self {
            Self::Initial { dcid, scid, token, .. } => {
                long(dcid, scid) + VarInt::encoded_len(token.len() as u64) + token.len()
            }
            Self::ZeroRtt { dcid, scid, .. } | Self::Handshake { dcid, scid, .. } => long(dcid, scid),
            Self::OneRtt { dcid, .. } => 1 + dcid.len() + 4,
        }
    }

    /// Writes the header of packet `number`, with as many bytes of the number as a peer that has
    /// acknowledged `largest_acked` needs. The Length field of a long header is filled in by
    /// [`PacketStart::finish`].
    pub fn begin(&self, writer: &mut Writer<'_>, number: u64, largest_acked: Option<u64>) -> PacketStart {
        let begin = writer.position();
        let number_len = number::encoded_len(number, largest_acked);
        let low_bits = number_len as u8 - 1;
        let length = match self {
            Self::Initial { version, dcid, scid, token } => {
                Self::begin_long(writer, LongPacketType::Initial, low_bits, *version, dcid, scid);
                writer.length_prefixed(token);
                Some(writer.position())
            }
            Self::ZeroRtt { version, dcid, scid } => {
                Self::begin_long(writer, LongPacketType::ZeroRtt, low_bits, *version, dcid, scid);
                Some(writer.position())
            }
            Self::Handshake { version, dcid, scid } => {
                Self::begin_long(writer, LongPacketType::Handshake, low_bits, *version, dcid, scid);
                Some(writer.position())
            }
            Self::OneRtt { dcid, spin, key_phase } => {
                let spin = if *spin { SPIN } else { 0 };
                let key_phase = if *key_phase { KEY_PHASE } else { 0 };
                // RFC 9000 section 17.3.1#2.
                writer.u8(FIXED | spin | key_phase | low_bits);
                writer.bytes(dcid);
                None
            }
        };
        if length.is_some() {
            writer.varint_two_bytes(0);
        }
        let number_at = writer.position();
        writer.bytes(&(number as u32).to_be_bytes()[4 - number_len..]);
        PacketStart { begin, length, number_at, number_len, number }
    }

    // RFC 9000 section 17.2#8.
    fn begin_long(
        writer: &mut Writer<'_>,
        ty: LongPacketType,
        low_bits: u8,
        version: Version,
        dcid: &ConnectionId,
        scid: &ConnectionId,
    ) {
        writer.u8(LONG | FIXED | type_bits(version, ty) | low_bits);
        writer.u32(version.0);
        for id in [dcid, scid] {
            writer.u8(id.len() as u8);
            writer.bytes(id);
        }
    }
}

/// The bits of a packet's type. A version that is not ours, of which no packets are made, has those of
/// version 1.
pub(super) fn type_bits(version: Version, ty: LongPacketType) -> u8 {
    version.specifics().or(Version::V1.specifics()).map_or(0, |specifics| specifics.type_bits(ty))
}

impl PacketStart {
    /// The packet number.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Clears the fixed bit, which only a peer takes that does not look at it (RFC 9287 section 3.1).
    pub fn clear_fixed_bit(&self, writer: &mut Writer<'_>) {
        if let Some(first) = writer.written_mut().get_mut(self.begin) {
            *first &= !FIXED;
        }
    }

    /// How many bytes of frames stand behind the header.
    pub const fn payload_len(&self, writer: &Writer<'_>) -> usize {
        writer.position() - self.number_at - self.number_len
    }

    /// Pads with PADDING frames until the finished packet has at least `min_len` bytes (and enough
    /// for the sample of header protection), as far as there is room.
    pub fn pad(&self, writer: &mut Writer<'_>, min_len: usize, tag_len: usize) {
        let frames = SAMPLE_OFFSET.saturating_sub(self.number_len);
        let sample = frames.saturating_sub(self.payload_len(writer));
        let len = min_len.saturating_sub(writer.position() - self.begin + tag_len);
        writer.zeros(sample.max(len).min(writer.remaining().saturating_sub(tag_len)));
    }

    /// Seals the packet: fills in Length, encrypts the frames in place, appends the tag and protects
    /// the header. Returns the length of the packet, or `None` if the packet has no room for its tag
    /// or is too short to be protected.
    pub fn finish(
        self,
        writer: &mut Writer<'_>,
        header_key: &dyn HeaderKey,
        packet_key: &dyn PacketKey,
    ) -> Option<usize> {
        let (end, tag_len) = (writer.position(), packet_key.tag_len());
        writer.skip(tag_len);
        if writer.overflowed() || writer.position() != end + tag_len {
            return None;
        }
        let packet = writer.written_mut();
        if let Some(at) = self.length {
            let length = u16::try_from(packet.len() - self.number_at).ok().filter(|length| *length < 1 << 14)?;
            packet.get_mut(at..at + 2)?.copy_from_slice(&(length | 0x4000).to_be_bytes());
        }
        let packet = packet.get_mut(self.begin..)?;
        let (number_at, end) = (self.number_at - self.begin, end - self.begin);
        let (header, rest) = packet.split_at_mut(number_at + self.number_len);
        let (payload, tag) = rest.split_at_mut(end - header.len());
        packet_key.seal(self.number, header, payload, tag);
        let (header, rest) = packet.split_at_mut(number_at + SAMPLE_OFFSET);
        let sample = rest.get(..header_key.sample_len())?;
        let (first, rest) = header.split_first_mut()?;
        let number = rest.get_mut(number_at - 1..number_at - 1 + self.number_len)?;
        header_key.protect(sample, first, number);
        Some(packet.len())
    }
}
