//! The encodings of frames (RFC 9000 section 19).

use std::net::{IpAddr, SocketAddr};

use super::{
    AckFrame, AckFrequency, ConnectionClose, Frame, NewConnectionId, ObservedAddress, ResetStreamAt, ResetStreamAtType,
    StreamFrame,
};
use crate::{ConnectionId, DecodeError, Direction, Reader, ResetToken, StreamId, TransportErrorCode, VarInt, Writer};

/// A limit on streams beyond this could not be told as a stream ID (RFC 9000 section 19.11).
const MAX_STREAMS: u64 = 1 << 60;

/// Bits of the type of a STREAM frame (RFC 9000 section 19.8).
const STREAM: u8 = 0x08;
const OFF: u8 = 0x04;
const LEN: u8 = 0x02;
const FIN: u8 = 0x01;

/// The types of OBSERVED_ADDRESS (draft-ietf-quic-address-discovery).
const OBSERVED_IPV4: u64 = 0x009f_81a6;
const OBSERVED_IPV6: u64 = 0x009f_81a7;

fn varint_len<const N: usize>(values: [u64; N]) -> usize {
    values.into_iter().map(VarInt::encoded_len).sum()
}

fn prefixed_len(bytes: &[u8]) -> usize {
    VarInt::encoded_len(bytes.len() as u64) + bytes.len()
}

fn stream_id(reader: &mut Reader<'_>) -> Result<StreamId, DecodeError> {
    reader.varint().map(StreamId::from_wire)
}

fn error_code(reader: &mut Reader<'_>) -> Result<VarInt, DecodeError> {
    reader.varint().map(VarInt::saturating)
}

// RFC 9000 sections 4.6#1, 19.11#1, 19.14#2.
fn stream_count(reader: &mut Reader<'_>) -> Result<u64, DecodeError> {
    match reader.varint()? {
        count @ ..=MAX_STREAMS => Ok(count),
        _ => Err(DecodeError::Malformed("stream limit above 2^60")),
    }
}

/// A direction by the last bit of a frame type.
const fn direction(ty: u64) -> Direction {
    if ty & 1 == 0 { Direction::Bidirectional } else { Direction::Unidirectional }
}

/// Data at an offset must end at or below 2^62 - 1 (RFC 9000 sections 19.6 and 19.8).
// RFC 9000 sections 19.6#1, 19.8#2.
fn check_end(offset: u64, data: &[u8]) -> Result<(), DecodeError> {
    match offset + data.len() as u64 <= VarInt::MAX.into_inner() {
        true => Ok(()),
        false => Err(DecodeError::Malformed("data beyond offset 2^62 - 1")),
    }
}

impl<'a> Frame<'a> {
    /// Reads one frame from the front of `reader`.
    ///
    /// # Errors
    /// What is wrong with its encoding (FRAME_ENCODING_ERROR).
    pub fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let before = reader.remaining();
        let ty = reader.varint()?;
        if before - reader.remaining() != VarInt::encoded_len(ty) {
            // RFC 9000 section 12.4#5.
            // RFC 9000 section 12.4: the shortest encoding must be used.
            return Err(DecodeError::Malformed("frame type not in its shortest encoding"));
        }
        Ok(match ty {
            0x00 => {
                let padding = reader.peek().iter().take_while(|byte| **byte == 0).count();
                reader.bytes(padding)?;
                Self::Padding(padding + 1)
            }
            0x01 => Self::Ping,
            0x02 | 0x03 => Self::Ack(AckFrame::decode(reader, ty == 0x03)?),
            0x04 => {
                Self::ResetStream { id: stream_id(reader)?, error: error_code(reader)?, final_size: reader.varint()? }
            }
            0x05 => Self::StopSending { id: stream_id(reader)?, error: error_code(reader)? },
            0x06 => {
                let (offset, data) = (reader.varint()?, reader.length_prefixed()?);
                check_end(offset, data)?;
                Self::Crypto { offset, data }
            }
            0x07 => match reader.length_prefixed()? {
                // RFC 9000 section 19.7#2.
                [] => return Err(DecodeError::Malformed("empty token")),
                token => Self::NewToken { token },
            },
            0x08..=0x0f => Self::Stream(StreamFrame::decode(reader, ty as u8)?),
            0x10 => Self::MaxData(reader.varint()?),
            0x11 => Self::MaxStreamData { id: stream_id(reader)?, maximum: reader.varint()? },
            0x12 | 0x13 => Self::MaxStreams { direction: direction(ty), maximum: stream_count(reader)? },
            0x14 => Self::DataBlocked(reader.varint()?),
            0x15 => Self::StreamDataBlocked { id: stream_id(reader)?, limit: reader.varint()? },
            0x16 | 0x17 => Self::StreamsBlocked { direction: direction(ty), limit: stream_count(reader)? },
            0x18 => Self::NewConnectionId(NewConnectionId::decode(reader)?),
            0x19 => Self::RetireConnectionId { sequence: reader.varint()? },
            0x1a => Self::PathChallenge(reader.array()?),
            0x1b => Self::PathResponse(reader.array()?),
            0x1c => Self::ConnectionClose(ConnectionClose::Transport {
                error: TransportErrorCode(reader.varint()?),
                frame_type: reader.varint()?,
                reason: reader.length_prefixed()?,
            }),
            0x1d => Self::ConnectionClose(ConnectionClose::Application {
                error: error_code(reader)?,
                reason: reader.length_prefixed()?,
            }),
            0x1e => Self::HandshakeDone,
            0x1f => Self::ImmediateAck,
            0x21 => Self::ResetStreamAt(ResetStreamAt::decode(reader, ResetStreamAtType::MsQuic)?),
            0x24 => Self::ResetStreamAt(ResetStreamAt::decode(reader, ResetStreamAtType::Registered)?),
            0x30 => Self::Datagram { data: reader.rest() },
            0x31 => Self::Datagram { data: reader.length_prefixed()? },
            0xaf => Self::AckFrequency(AckFrequency {
                sequence: reader.varint()?,
                threshold: reader.varint()?,
                max_ack_delay: reader.varint()?,
                reordering_threshold: reader.varint()?,
            }),
            0x2f5 => Self::Timestamp(reader.varint()?),
            OBSERVED_IPV4 | OBSERVED_IPV6 => Self::ObservedAddress(ObservedAddress::decode(reader, ty)?),
            unknown => return Err(DecodeError::UnknownFrame(unknown)),
        })
    }

    /// How many bytes [`encode`](Self::encode) writes.
    pub fn encoded_len(&self) -> usize {
        match self {
            Self::Padding(len) => *len,
            Self::Ping | Self::HandshakeDone | Self::ImmediateAck => 1,
            Self::Ack(ack) => ack.encoded_len(),
            Self::ResetStream { id, error, final_size } => {
                1 + varint_len([id.into_wire(), error.into_inner(), *final_size])
            }
            Self::StopSending { id, error } => 1 + varint_len([id.into_wire(), error.into_inner()]),
            Self::Crypto { offset, data } => 1 + varint_len([*offset]) + prefixed_len(data),
            Self::NewToken { token } => 1 + prefixed_len(token),
            Self::Stream(frame) => StreamFrame::header_len(frame.id, frame.offset, frame.data.len()) + frame.data.len(),
            Self::MaxData(value) | Self::DataBlocked(value) => 1 + varint_len([*value]),
            Self::MaxStreamData { id, maximum: value } | Self::StreamDataBlocked { id, limit: value } => {
                1 + varint_len([id.into_wire(), *value])
            }
            Self::MaxStreams { maximum: value, .. } | Self::StreamsBlocked { limit: value, .. } => {
                1 + varint_len([*value])
            }
            Self::NewConnectionId(frame) => {
                1 + varint_len([frame.sequence, frame.retire_prior_to]) + 1 + frame.id.len() + ResetToken::LEN
            }
            Self::RetireConnectionId { sequence } => 1 + varint_len([*sequence]),
            Self::PathChallenge(_) | Self::PathResponse(_) => 9,
            Self::ConnectionClose(ConnectionClose::Transport { error, frame_type, reason }) => {
                1 + varint_len([error.0, *frame_type]) + prefixed_len(reason)
            }
            Self::ConnectionClose(ConnectionClose::Application { error, reason }) => {
                1 + varint_len([error.into_inner()]) + prefixed_len(reason)
            }
            Self::Datagram { data } => Self::datagram_len(data),
            Self::AckFrequency(frame) => 2 + varint_len(frame.fields()),
            Self::ResetStreamAt(frame) => 1 + varint_len(frame.fields()),
            Self::ObservedAddress(frame) => frame.encoded_len(),
            Self::Timestamp(time) => 2 + varint_len([*time]),
        }
    }

    /// Writes the frame in its shortest encoding, lengths always given.
    pub fn encode(&self, writer: &mut Writer<'_>) {
        match self {
            Self::Padding(len) => writer.zeros(*len),
            Self::Ping => writer.u8(0x01),
            Self::Ack(ack) => ack.encode(writer),
            Self::ResetStream { id, error, final_size } => {
                write(writer, 0x04, [id.into_wire(), error.into_inner(), *final_size]);
            }
            Self::StopSending { id, error } => write(writer, 0x05, [id.into_wire(), error.into_inner()]),
            Self::Crypto { offset, data } => {
                write(writer, 0x06, [*offset]);
                writer.length_prefixed(data);
            }
            Self::NewToken { token } => {
                writer.u8(0x07);
                writer.length_prefixed(token);
            }
            Self::Stream(frame) => {
                StreamFrame::write_header(writer, frame.id, frame.offset, frame.fin, frame.data.len());
                writer.bytes(frame.data);
            }
            Self::MaxData(value) => write(writer, 0x10, [*value]),
            Self::MaxStreamData { id, maximum } => write(writer, 0x11, [id.into_wire(), *maximum]),
            Self::MaxStreams { direction, maximum } => write(writer, 0x12 | *direction as u64, [*maximum]),
            Self::DataBlocked(value) => write(writer, 0x14, [*value]),
            Self::StreamDataBlocked { id, limit } => write(writer, 0x15, [id.into_wire(), *limit]),
            Self::StreamsBlocked { direction, limit } => write(writer, 0x16 | *direction as u64, [*limit]),
            Self::NewConnectionId(frame) => {
                write(writer, 0x18, [frame.sequence, frame.retire_prior_to]);
                writer.u8(frame.id.len() as u8);
                writer.bytes(&frame.id);
                writer.bytes(&frame.reset_token.0);
            }
            Self::RetireConnectionId { sequence } => write(writer, 0x19, [*sequence]),
            Self::PathChallenge(data) => {
                writer.u8(0x1a);
                writer.bytes(data);
            }
            Self::PathResponse(data) => {
                writer.u8(0x1b);
                writer.bytes(data);
            }
            Self::ConnectionClose(ConnectionClose::Transport { error, frame_type, reason }) => {
                write(writer, 0x1c, [error.0, *frame_type]);
                writer.length_prefixed(reason);
            }
            Self::ConnectionClose(ConnectionClose::Application { error, reason }) => {
                write(writer, 0x1d, [error.into_inner()]);
                writer.length_prefixed(reason);
            }
            Self::HandshakeDone => writer.u8(0x1e),
            Self::Datagram { data } => Self::write_datagram(writer, data),
            Self::ImmediateAck => writer.u8(0x1f),
            Self::AckFrequency(frame) => write(writer, 0xaf, frame.fields()),
            Self::ResetStreamAt(frame) => write(writer, frame.ty as u64, frame.fields()),
            Self::ObservedAddress(frame) => frame.encode(writer),
            Self::Timestamp(time) => write(writer, 0x2f5, [*time]),
        }
    }
}

impl Frame<'_> {
    /// How many bytes [`write_datagram`](Self::write_datagram) writes.
    #[inline]
    pub fn datagram_len(data: &[u8]) -> usize {
        1 + prefixed_len(data)
    }

    /// Writes a DATAGRAM frame: of these a packet may hold many.
    #[inline]
    pub fn write_datagram(writer: &mut Writer<'_>, data: &[u8]) {
        writer.u8(0x31);
        writer.length_prefixed(data);
    }
}

/// A type and its fields.
fn write<const N: usize>(writer: &mut Writer<'_>, ty: u64, fields: [u64; N]) {
    writer.varint(ty);
    for field in fields {
        writer.varint(field);
    }
}

impl AckFrequency {
    const fn fields(&self) -> [u64; 4] {
        [self.sequence, self.threshold, self.max_ack_delay, self.reordering_threshold]
    }
}

impl ResetStreamAt {
    fn decode(reader: &mut Reader<'_>, ty: ResetStreamAtType) -> Result<Self, DecodeError> {
        let frame = Self {
            ty,
            id: stream_id(reader)?,
            error: error_code(reader)?,
            final_size: reader.varint()?,
            reliable_size: reader.varint()?,
        };
        // draft-ietf-quic-reliable-stream-reset section 4.
        match frame.reliable_size <= frame.final_size {
            true => Ok(frame),
            false => Err(DecodeError::Malformed("reliable size above the final size")),
        }
    }

    const fn fields(&self) -> [u64; 4] {
        [self.id.into_wire(), self.error.into_inner(), self.final_size, self.reliable_size]
    }
}

impl ObservedAddress {
    fn decode(reader: &mut Reader<'_>, ty: u64) -> Result<Self, DecodeError> {
        let sequence = reader.varint()?;
        let ip = match ty {
            OBSERVED_IPV4 => IpAddr::from(reader.array::<4>()?),
            _ => IpAddr::from(reader.array::<16>()?),
        };
        Ok(Self { sequence, address: SocketAddr::new(ip, reader.u16()?) })
    }

    fn encoded_len(&self) -> usize {
        let ip = if self.address.is_ipv4() { 4 } else { 16 };
        varint_len([OBSERVED_IPV4, self.sequence]) + ip + 2
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        match self.address.ip() {
            IpAddr::V4(ip) => {
                write(writer, OBSERVED_IPV4, [self.sequence]);
                writer.bytes(&ip.octets());
            }
            IpAddr::V6(ip) => {
                write(writer, OBSERVED_IPV6, [self.sequence]);
                writer.bytes(&ip.octets());
            }
        }
        writer.bytes(&self.address.port().to_be_bytes());
    }
}

impl<'a> StreamFrame<'a> {
    fn decode(reader: &mut Reader<'a>, ty: u8) -> Result<Self, DecodeError> {
        let id = stream_id(reader)?;
        let offset = if ty & OFF != 0 { reader.varint()? } else { 0 };
        let data = if ty & LEN != 0 { reader.length_prefixed()? } else { reader.rest() };
        check_end(offset, data)?;
        Ok(Self { id, offset, fin: ty & FIN != 0, data })
    }

    /// How many bytes stand before `len` bytes of data at `offset`.
    pub const fn header_len(id: StreamId, offset: u64, len: usize) -> usize {
        let offset_len = if offset == 0 { 0 } else { VarInt::encoded_len(offset) };
        1 + VarInt::encoded_len(id.into_wire()) + offset_len + VarInt::encoded_len(len as u64)
    }

    /// Writes everything before `len` bytes of data.
    pub fn write_header(writer: &mut Writer<'_>, id: StreamId, offset: u64, fin: bool, len: usize) {
        let off = if offset == 0 { 0 } else { OFF };
        writer.u8(STREAM | LEN | off | u8::from(fin));
        writer.varint(id.into_wire());
        if offset != 0 {
            writer.varint(offset);
        }
        writer.varint(len as u64);
    }
}

impl NewConnectionId {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (sequence, retire_prior_to) = (reader.varint()?, reader.varint()?);
        // RFC 9000 section 19.15#5#6.
        if retire_prior_to > sequence {
            return Err(DecodeError::Malformed("retire_prior_to above the sequence number"));
        }
        let len = usize::from(reader.u8()?);
        // RFC 9000 section 19.15#1.
        if !(1..=ConnectionId::MAX_LEN).contains(&len) {
            return Err(DecodeError::Malformed("connection ID not of 1 to 20 bytes"));
        }
        let id = ConnectionId::new(reader.bytes(len)?)?;
        Ok(Self { sequence, retire_prior_to, id, reset_token: ResetToken(reader.array()?) })
    }
}
