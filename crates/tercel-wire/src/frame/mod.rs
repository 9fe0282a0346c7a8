//! Frames (RFC 9000 section 19, RFC 9221 section 4, draft-ietf-quic-ack-frequency,
//! draft-ietf-quic-reliable-stream-reset, draft-ietf-quic-address-discovery,
//! draft-huitema-quic-ts).
//!
//! A decrypted payload is a sequence of frames. [`Frame::decode`] reads one from its front; data
//! stays where it is and is lent. [`Frame::encode`] writes one, in the shortest form.

mod ack;
mod codec;
pub mod table;
#[cfg(test)]
mod tests;

pub use ack::{AckRanges, encode_ack};

use std::net::SocketAddr;

use crate::{ApplicationErrorCode, ConnectionId, Direction, ResetToken, StreamId, TransportErrorCode};

/// One frame. Data and reasons are lent by the packet that carried them.
///
/// Fields have the names that RFC 9000 gives them; offsets, sizes and limits are in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Frame<'a> {
    /// This many PADDING bytes in a row.
    Padding(usize),
    /// PING.
    Ping,
    /// ACK.
    Ack(AckFrame<'a>),
    /// RESET_STREAM.
    ResetStream { id: StreamId, error: ApplicationErrorCode, final_size: u64 },
    /// STOP_SENDING.
    StopSending { id: StreamId, error: ApplicationErrorCode },
    /// CRYPTO.
    Crypto { offset: u64, data: &'a [u8] },
    /// NEW_TOKEN.
    NewToken { token: &'a [u8] },
    /// STREAM.
    Stream(StreamFrame<'a>),
    /// MAX_DATA, in bytes.
    MaxData(u64),
    /// MAX_STREAM_DATA, in bytes.
    MaxStreamData { id: StreamId, maximum: u64 },
    /// MAX_STREAMS: how many streams in all the receiver may open in `direction`.
    MaxStreams { direction: Direction, maximum: u64 },
    /// DATA_BLOCKED at this many bytes.
    DataBlocked(u64),
    /// STREAM_DATA_BLOCKED.
    StreamDataBlocked { id: StreamId, limit: u64 },
    /// STREAMS_BLOCKED.
    StreamsBlocked { direction: Direction, limit: u64 },
    /// NEW_CONNECTION_ID.
    NewConnectionId(NewConnectionId),
    /// RETIRE_CONNECTION_ID.
    RetireConnectionId { sequence: u64 },
    /// PATH_CHALLENGE.
    PathChallenge([u8; 8]),
    /// PATH_RESPONSE.
    PathResponse([u8; 8]),
    /// CONNECTION_CLOSE, of either type.
    ConnectionClose(ConnectionClose<'a>),
    /// HANDSHAKE_DONE.
    HandshakeDone,
    /// DATAGRAM (RFC 9221).
    Datagram { data: &'a [u8] },
    /// ACK_FREQUENCY.
    AckFrequency(AckFrequency),
    /// IMMEDIATE_ACK (draft-ietf-quic-ack-frequency section 5).
    ImmediateAck,
    /// RESET_STREAM_AT.
    ResetStreamAt(ResetStreamAt),
    /// OBSERVED_ADDRESS.
    ObservedAddress(ObservedAddress),
    /// TIMESTAMP (draft-huitema-quic-ts, as MsQuic has it): when its packet was sent, in microseconds since
    /// a moment of the sender's choice.
    Timestamp(u64),
}

/// Counts of packets received with each ECN codepoint (RFC 9000 section 19.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EcnCounts {
    /// Packets marked ECT(0).
    pub ect0: u64,
    /// Packets marked ECT(1).
    pub ect1: u64,
    /// Packets marked CE.
    pub ce: u64,
}

/// An ACK frame (RFC 9000 section 19.3). Its ranges were checked when it was decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AckFrame<'a> {
    /// The largest packet number acknowledged.
    pub largest: u64,
    /// The ACK Delay field, before the peer's exponent is applied.
    pub delay: u64,
    /// How many packets before `largest` are acknowledged without a gap.
    pub first_range: u64,
    /// How many further ranges `ranges` holds.
    pub range_count: u64,
    /// The further ranges, encoded.
    pub ranges: &'a [u8],
    /// The ECN counts, where the frame carries them.
    pub ecn: Option<EcnCounts>,
}

/// A STREAM frame (RFC 9000 section 19.8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamFrame<'a> {
    /// The stream.
    pub id: StreamId,
    /// Where in the stream `data` begins.
    pub offset: u64,
    /// Whether the stream ends behind `data`.
    pub fin: bool,
    /// The data.
    pub data: &'a [u8],
}

/// A NEW_CONNECTION_ID frame (RFC 9000 section 19.15).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewConnectionId {
    /// The sequence number of the connection ID.
    pub sequence: u64,
    /// All connection IDs with lower sequence numbers are to be retired.
    pub retire_prior_to: u64,
    /// The connection ID, of 1 to 20 bytes.
    pub id: ConnectionId,
    /// Its stateless reset token.
    pub reset_token: ResetToken,
}

/// An ACK_FREQUENCY frame (draft-ietf-quic-ack-frequency section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AckFrequency {
    /// Later frames have larger numbers.
    pub sequence: u64,
    /// How many ack-eliciting packets may come without an acknowledgement.
    pub threshold: u64,
    /// How long an acknowledgement may be held back, in microseconds.
    pub max_ack_delay: u64,
    /// How far a packet may be overtaken before that is to be acknowledged at once; 0 for any distance.
    pub reordering_threshold: u64,
}

/// How RESET_STREAM_AT is told from other frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetStreamAtType {
    /// As registered.
    Registered = 0x24,
    /// As MsQuic has it, from an early draft.
    MsQuic = 0x21,
}

/// A RESET_STREAM_AT frame (draft-ietf-quic-reliable-stream-reset section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResetStreamAt {
    /// Its type.
    pub ty: ResetStreamAtType,
    /// The stream.
    pub id: StreamId,
    /// Why it is reset.
    pub error: ApplicationErrorCode,
    /// Where the stream ends.
    pub final_size: u64,
    /// How many bytes from its start are delivered all the same; at most `final_size`.
    pub reliable_size: u64,
}

/// An OBSERVED_ADDRESS frame (draft-ietf-quic-address-discovery).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObservedAddress {
    /// Later frames have larger numbers.
    pub sequence: u64,
    /// Where the sender of the frame sees its receiver.
    pub address: SocketAddr,
}

/// A CONNECTION_CLOSE frame (RFC 9000 section 19.19).
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ConnectionClose<'a> {
    /// Type 0x1c: QUIC itself ends the connection.
    Transport { error: TransportErrorCode, frame_type: u64, reason: &'a [u8] },
    /// Type 0x1d: the application ends the connection.
    Application { error: ApplicationErrorCode, reason: &'a [u8] },
}
