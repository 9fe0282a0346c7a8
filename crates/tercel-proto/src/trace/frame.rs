//! Frames as a trace tells them: all that they say but the data that they carry.

use std::ops::RangeInclusive;

use bytes::Bytes;
use smallvec::SmallVec;
use tercel_wire::frame::{ConnectionClose, EcnCounts};
use tercel_wire::{ApplicationErrorCode, ConnectionId, Direction, Frame, Reader, StreamId, TransportErrorCode};

/// The frames of one packet.
pub type TraceFrames = SmallVec<[TraceFrame; 1]>;

/// The ranges of an ACK frame, from the largest down.
pub type AckedRanges = SmallVec<[RangeInclusive<u64>; 1]>;

/// How many ranges of an ACK frame are told.
const MOST_RANGES: usize = 64;

/// A frame without its data. Fields have the names of RFC 9000. What is rare is boxed, because a busy
/// connection tells a million of them each second.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum TraceFrame {
    Padding { len: u16 },
    Ping,
    Ack(Box<TraceAck>),
    ResetStream(Box<TraceReset>),
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

const _: () = assert!(size_of::<TraceFrame>() <= 24);

/// All frames of a payload. What cannot be read is left out.
pub(crate) fn frames(payload: &[u8]) -> TraceFrames {
    let mut frames = TraceFrames::new();
    let mut reader = Reader::new(payload);
    while let Ok(frame) = Frame::decode(&mut reader) {
        frames.push(TraceFrame::from(&frame));
        if reader.is_empty() {
            break;
        }
    }
    frames
}

/// No payload of a UDP datagram is longer.
fn short(len: usize) -> u16 {
    u16::try_from(len).unwrap_or(u16::MAX)
}

impl From<&Frame<'_>> for TraceFrame {
    fn from(frame: &Frame<'_>) -> Self {
        match frame {
            Frame::Padding(len) => Self::Padding { len: short(*len) },
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
            Frame::Crypto { offset, data } => Self::Crypto { offset: *offset, len: short(data.len()) },
            Frame::NewToken { token } => Self::NewToken { len: short(token.len()) },
            Frame::Stream(stream) => {
                Self::Stream { id: stream.id, offset: stream.offset, len: short(stream.data.len()), fin: stream.fin }
            }
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
            Frame::ConnectionClose(ConnectionClose::Transport { error, reason, .. }) => Self::TransportClose {
                error: *error,
                reason: Box::new(Bytes::copy_from_slice(reason)),
            },
            Frame::ConnectionClose(ConnectionClose::Application { error, reason }) => {
                Self::ApplicationClose { error: *error, reason: Box::new(Bytes::copy_from_slice(reason)) }
            }
            Frame::HandshakeDone => Self::HandshakeDone,
            Frame::Datagram { data } => Self::Datagram { len: short(data.len()) },
        }
    }
}
