//! Frames as a trace tells them: all that they say but the data that they carry.

use std::ops::RangeInclusive;

use bytes::Bytes;
use smallvec::SmallVec;
use tercel_wire::frame::{AckFrequency, ConnectionClose, EcnCounts, ObservedAddress, ResetStreamAt};
use tercel_wire::{
    ApplicationErrorCode, ConnectionId, DecodeError, Direction, Frame, Reader, StreamId, TransportErrorCode, VarInt,
};

/// The frames of one packet.
pub type TraceFrames = SmallVec<[TraceFrame; 1]>;

/// The ranges of an ACK frame, from the largest down.
pub type AckedRanges = SmallVec<[RangeInclusive<u64>; 1]>;

/// How many ranges of an ACK frame are told.
const MOST_RANGES: usize = 64;

/// A frame without its data. Fields have the names of RFC 9000. What is rare is boxed: frames stand in
/// packets, and most packets have one, of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum TraceFrame {
    Padding { len: u16 },
    Ping,
    Ack(Box<TraceAck>),
    ResetStream(Box<TraceReset>),
    ResetStreamAt(Box<ResetStreamAt>),
    ObservedAddress(Box<ObservedAddress>),
    Timestamp(u64),
    StopSending { id: StreamId, error: ApplicationErrorCode },
    Crypto { offset: u64, len: u16 },
    NewToken { len: u16 },
    Stream { id: StreamId, offset: u64, len: u16, fin: bool },
    MaxData(u64),
    MaxStreamData { id: StreamId, maximum: u64 },
    MaxStreams { direction: Direction, maximum: u64 },
    DataBlocked(u64),
    StreamDataBlocked { id: StreamId, limit: u64 },
    StreamsBlocked { direction: Direction, limit: u64 },
    NewConnectionId(Box<TraceConnectionId>),
    RetireConnectionId { sequence: u64 },
    PathChallenge([u8; 8]),
    PathResponse([u8; 8]),
    TransportClose { error: TransportErrorCode, reason: Box<Bytes> },
    ApplicationClose { error: ApplicationErrorCode, reason: Box<Bytes> },
    HandshakeDone,
    Datagram { len: u16 },
    AckFrequency(Box<AckFrequency>),
    ImmediateAck,
}

/// ACK (RFC 9000 section 19.3); `delay` is as the frame has it, not yet scaled by the exponent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct TraceAck {
    pub delay: u64,
    pub ranges: AckedRanges,
    pub ecn: Option<EcnCounts>,
}

/// RESET_STREAM (RFC 9000 section 19.4).
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct TraceReset {
    pub id: StreamId,
    pub error: ApplicationErrorCode,
    pub final_size: u64,
}

/// NEW_CONNECTION_ID (section 19.15), without its token.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct TraceConnectionId {
    pub sequence: u64,
    pub retire_prior_to: u64,
    pub id: ConnectionId,
}

/// Bits of the type of a STREAM frame (RFC 9000 section 19.8).
const STREAM: u8 = 0x08;
const OFF: u8 = 0x04;
const LEN: u8 = 0x02;
const FIN: u8 = 0x01;

/// Types of frames of which data is left out.
const PADDING: u8 = 0x00;
const CRYPTO: u8 = 0x06;
const NEW_TOKEN: u8 = 0x07;
const DATAGRAM: u8 = 0x30;

/// Adds a number below 2^62 in the encoding of RFC 9000 section 16.
#[inline]
pub(super) fn pack_varint(out: &mut Vec<u8>, value: u64) {
    match value {
        0..0x40 => out.push(value as u8),
        0x40..0x4000 => out.extend_from_slice(&(value as u16 | 0x4000).to_be_bytes()),
        0x4000..0x4000_0000 => out.extend_from_slice(&(value as u32 | 0x8000_0000).to_be_bytes()),
        _ => out.extend_from_slice(&(value.min(VarInt::MAX.into_inner()) | 0xc000_0000_0000_0000).to_be_bytes()),
    }
}

/// Adds the frames of a payload without the data that they carry. What cannot be read is left out.
pub(crate) fn pack(payload: &[u8], out: &mut Vec<u8>) {
    let mut reader = Reader::new(payload);
    while !reader.is_empty() && pack_one(&mut reader, out).is_ok() {}
}

#[inline]
fn pack_one(reader: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    let whole = reader.peek();
    if let Some(ty @ STREAM..0x10) = whole.first().copied() {
        // The most frequent by far.
        reader.u8()?;
        let id = reader.varint()?;
        let offset = if ty & OFF != 0 { reader.varint()? } else { 0 };
        let data = if ty & LEN != 0 { reader.length_prefixed()? } else { reader.rest() };
        out.push(STREAM | OFF | LEN | ty & FIN);
        pack_varint(out, id);
        pack_varint(out, offset);
        pack_varint(out, data.len() as u64);
        return Ok(());
    }
    let (ty, fields) = match Frame::decode(reader)? {
        Frame::Padding(len) => (PADDING, [None, Some(len as u64)]),
        Frame::Crypto { offset, data } => (CRYPTO, [Some(offset), Some(data.len() as u64)]),
        Frame::NewToken { token } => (NEW_TOKEN, [None, Some(token.len() as u64)]),
        Frame::Datagram { data } => (DATAGRAM, [None, Some(data.len() as u64)]),
        _ => {
            let len = whole.len() - reader.remaining();
            out.extend_from_slice(whole.get(..len).unwrap_or_default());
            return Ok(());
        }
    };
    out.push(ty);
    fields.into_iter().flatten().for_each(|field| pack_varint(out, field));
    Ok(())
}

/// Yields the frames of a packet, without the data that they carry.
#[derive(Debug, Clone, Copy)]
pub struct Frames<'a> {
    packed: &'a [u8],
}

impl<'a> Frames<'a> {
    pub(super) const fn new(packed: &'a [u8]) -> Self {
        Self { packed }
    }
}

impl Iterator for Frames<'_> {
    type Item = TraceFrame;

    #[inline]
    fn next(&mut self) -> Option<TraceFrame> {
        let mut reader = Reader::new(self.packed);
        let frame = unpack_one(&mut reader).ok()?;
        self.packed = reader.rest();
        Some(frame)
    }
}

#[inline]
fn unpack_one(reader: &mut Reader<'_>) -> Result<TraceFrame, DecodeError> {
    let ty = reader.peek().first().copied().unwrap_or_default();
    if !matches!(ty, STREAM..0x10 | PADDING | CRYPTO | NEW_TOKEN | DATAGRAM) {
        return Frame::decode(reader).map(|frame| TraceFrame::from(&frame));
    }
    reader.u8()?;
    Ok(match ty {
        PADDING => TraceFrame::Padding { len: short(reader.varint()?) },
        CRYPTO => TraceFrame::Crypto { offset: reader.varint()?, len: short(reader.varint()?) },
        NEW_TOKEN => TraceFrame::NewToken { len: short(reader.varint()?) },
        DATAGRAM => TraceFrame::Datagram { len: short(reader.varint()?) },
        _ => TraceFrame::Stream {
            id: StreamId::from_wire(reader.varint()?),
            offset: reader.varint()?,
            len: short(reader.varint()?),
            fin: ty & FIN != 0,
        },
    })
}

/// No payload of a UDP datagram is longer.
fn short(len: u64) -> u16 {
    u16::try_from(len).unwrap_or(u16::MAX)
}

impl From<&Frame<'_>> for TraceFrame {
    fn from(frame: &Frame<'_>) -> Self {
        match frame {
            Frame::Padding(len) => Self::Padding { len: short(*len as u64) },
            Frame::Ping => Self::Ping,
            Frame::Ack(ack) => Self::Ack(Box::new(TraceAck {
                delay: ack.delay,
                ranges: ack.iter().take(MOST_RANGES).collect(),
                ecn: ack.ecn,
            })),
            Frame::ResetStream { id, error, final_size } => {
                Self::ResetStream(Box::new(TraceReset { id: *id, error: *error, final_size: *final_size }))
            }
            Frame::StopSending { id, error } => Self::StopSending { id: *id, error: *error },
            Frame::Crypto { offset, data } => Self::Crypto { offset: *offset, len: short(data.len() as u64) },
            Frame::NewToken { token } => Self::NewToken { len: short(token.len() as u64) },
            Frame::Stream(stream) => Self::Stream {
                id: stream.id,
                offset: stream.offset,
                len: short(stream.data.len() as u64),
                fin: stream.fin,
            },
            Frame::MaxData(maximum) => Self::MaxData(*maximum),
            Frame::MaxStreamData { id, maximum } => Self::MaxStreamData { id: *id, maximum: *maximum },
            Frame::MaxStreams { direction, maximum } => Self::MaxStreams { direction: *direction, maximum: *maximum },
            Frame::DataBlocked(limit) => Self::DataBlocked(*limit),
            Frame::StreamDataBlocked { id, limit } => Self::StreamDataBlocked { id: *id, limit: *limit },
            Frame::StreamsBlocked { direction, limit } => Self::StreamsBlocked { direction: *direction, limit: *limit },
            Frame::NewConnectionId(new) => Self::NewConnectionId(Box::new(TraceConnectionId {
                sequence: new.sequence,
                retire_prior_to: new.retire_prior_to,
                id: new.id,
            })),
            Frame::RetireConnectionId { sequence } => Self::RetireConnectionId { sequence: *sequence },
            Frame::PathChallenge(data) => Self::PathChallenge(*data),
            Frame::PathResponse(data) => Self::PathResponse(*data),
            Frame::ConnectionClose(ConnectionClose::Transport { error, reason, .. }) => {
                Self::TransportClose { error: *error, reason: Box::new(Bytes::copy_from_slice(reason)) }
            }
            Frame::ConnectionClose(ConnectionClose::Application { error, reason }) => {
                Self::ApplicationClose { error: *error, reason: Box::new(Bytes::copy_from_slice(reason)) }
            }
            Frame::HandshakeDone => Self::HandshakeDone,
            Frame::Datagram { data } => Self::Datagram { len: short(data.len() as u64) },
            Frame::AckFrequency(frame) => Self::AckFrequency(Box::new(*frame)),
            Frame::ImmediateAck => Self::ImmediateAck,
            Frame::Timestamp(time) => Self::Timestamp(*time),
            Frame::ObservedAddress(report) => Self::ObservedAddress(Box::new(*report)),
            Frame::ResetStreamAt(frame) => Self::ResetStreamAt(Box::new(*frame)),
        }
    }
}
