//! How a component puts frames into a packet, and what a packet remembers of them.
//!
//! Whoever can put a frame into a packet has three verbs: *write* (into a [`FrameSink`]), *acked*
//! and *lost* (both with the [`SentFrame`] that was recorded when it was written). A component
//! makes its frame from its own state at the moment of writing, so a loss only marks state as
//! "to be said again"; no frame is ever stored as bytes.

use tercel_wire::frame::StreamFrame;
use tercel_wire::{Direction, Frame, StreamId, Writer};

/// What a sent packet carried, as its owner needs to know it when the packet is acknowledged or
/// lost. Frames whose loss needs no action (PADDING, PING, IMMEDIATE_ACK, CONNECTION_CLOSE, PATH_RESPONSE) are not
/// recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum SentFrame {
    /// ACK up to this packet number: once acknowledged, lower ranges need not be repeated.
    Ack { largest: u64 },
    /// CRYPTO.
    Crypto { offset: u64, len: u32 },
    /// STREAM.
    Stream { id: StreamId, offset: u64, len: u32, fin: bool },
    /// RESET_STREAM.
    ResetStream { id: StreamId },
    /// RESET_STREAM_AT with this reliable size.
    ResetStreamAt { id: StreamId, reliable_size: u64 },
    /// STOP_SENDING.
    StopSending { id: StreamId },
    /// MAX_DATA with this value.
    MaxData(u64),
    /// MAX_STREAM_DATA with this value.
    MaxStreamData { id: StreamId, maximum: u64 },
    /// MAX_STREAMS with this value.
    MaxStreams { direction: Direction, maximum: u64 },
    /// DATA_BLOCKED at this limit.
    DataBlocked(u64),
    /// STREAM_DATA_BLOCKED at this limit.
    StreamDataBlocked { id: StreamId, limit: u64 },
    /// STREAMS_BLOCKED at this limit.
    StreamsBlocked { direction: Direction, limit: u64 },
    /// NEW_CONNECTION_ID with this sequence number.
    NewConnectionId { sequence: u64 },
    /// RETIRE_CONNECTION_ID with this sequence number.
    RetireConnectionId { sequence: u64 },
    /// NEW_TOKEN.
    NewToken,
    /// HANDSHAKE_DONE.
    HandshakeDone,
    /// PATH_CHALLENGE.
    PathChallenge([u8; 8]),
    /// PATH_RESPONSE on the path with this number.
    PathResponse { path: u32 },
    /// DATAGRAM; the number is that of its owner.
    Datagram { number: u64 },
    /// OBSERVED_ADDRESS with this sequence number.
    ObservedAddress { sequence: u64 },
    /// ACK_FREQUENCY with this sequence number.
    AckFrequency { sequence: u64 },
}

/// The frames of packets being built, in order.
pub type SentFrames = Vec<SentFrame>;

/// The payload of a packet being built.
#[derive(Debug)]
pub struct FrameSink<'a, 'b> {
    writer: &'a mut Writer<'b>,
    sent: &'a mut SentFrames,
    ack_eliciting: bool,
}

impl<'a, 'b> FrameSink<'a, 'b> {
    /// A sink that writes behind what `writer` holds and records in `sent`.
    pub const fn new(writer: &'a mut Writer<'b>, sent: &'a mut SentFrames) -> Self {
        Self { writer, sent, ack_eliciting: false }
    }

    /// How many bytes still fit.
    pub const fn remaining(&self) -> usize {
        self.writer.remaining()
    }

    /// Whether a frame other than ACK, PADDING and CONNECTION_CLOSE was written (RFC 9002 section
    /// 2).
    pub const fn ack_eliciting(&self) -> bool {
        self.ack_eliciting
    }

    /// Writes `frame` if it fits whole, and records `record`; otherwise does nothing and returns
    /// false.
    pub fn push(&mut self, frame: &Frame<'_>, record: impl Into<Option<SentFrame>>) -> bool {
        if frame.encoded_len() > self.remaining() {
            return false;
        }
        frame.encode(self.writer);
        self.ack_eliciting |= frame.is_ack_eliciting();
        self.sent.extend(record.into());
        true
    }

    /// Has `write` write an ACK frame; it gives the largest number acknowledged, or `None` if nothing
    /// was written.
    pub fn push_ack(&mut self, write: impl FnOnce(&mut Writer<'b>) -> Option<u64>) {
        self.sent.extend(write(self.writer).map(|largest| SentFrame::Ack { largest }));
    }

    /// Writes a DATAGRAM frame if it fits whole, and records its number if it has one; otherwise does nothing and returns
    /// false.
    pub fn push_datagram(&mut self, data: &[u8], number: Option<u64>) -> bool {
        if Frame::datagram_len(data) > self.remaining() {
            return false;
        }
        Frame::write_datagram(self.writer, data);
        self.ack_eliciting = true;
        if let Some(number) = number {
            self.sent.push(SentFrame::Datagram { number });
        }
        true
    }

    /// Writes a STREAM frame whose data of `len` bytes lies in `parts`, and records it. The caller
    /// has made sure that it fits.
    pub fn push_stream<'d>(
        &mut self,
        id: StreamId,
        offset: u64,
        fin: bool,
        len: usize,
        parts: impl Iterator<Item = &'d [u8]>,
        record: SentFrame,
    ) {
        StreamFrame::write_header(self.writer, id, offset, fin, len);
        parts.for_each(|part| self.writer.bytes(part));
        self.ack_eliciting = true;
        self.sent.push(record);
    }
}
