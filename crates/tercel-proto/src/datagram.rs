//! Datagrams (RFC 9221): sent once, in order, without a promise.

use std::collections::VecDeque;

use bytes::Bytes;
use tercel_wire::{Frame, TransportErrorCode, VarInt};

use crate::error::{ApiMisuse, Violation};
use crate::frames::{FrameSink, SentFrame};

/// What happened to datagrams.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum DatagramEvent {
    /// One came in.
    Received(Bytes),
    /// One that was to be sent has a new state.
    SendState { number: u64, state: DatagramSendState },
    /// The largest that can be sent has changed; `None` if datagrams are off.
    MaxSizeChanged(Option<usize>),
}

/// What became of a datagram to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatagramSendState {
    /// It left.
    Sent,
    /// The peer has it.
    Acknowledged,
    /// It is probably lost.
    Lost,
    /// It was dropped before it left.
    Canceled,
}

/// The type byte and the longest length of a DATAGRAM frame.
const FRAME_OVERHEAD: usize = 1 + 2;

/// The datagrams of a connection.
#[derive(Debug)]
pub struct Datagrams {
    /// The largest frame that we take; 0 for none.
    local_max: u64,
    /// The largest frame that the peer takes.
    peer_max: u64,
    /// The largest payload of a packet on the path.
    packet_max: usize,
    told: Option<usize>,
    queue: VecDeque<(u64, Bytes)>,
    queued: usize,
    limit: usize,
    next_number: u64,
    events: VecDeque<DatagramEvent>,
}

impl Datagrams {
    /// Takes frames of `local_max` bytes, and holds `limit` bytes that wait to be sent.
    pub const fn new(local_max: u64, limit: usize) -> Self {
        Self {
            local_max,
            peer_max: 0,
            packet_max: 0,
            told: None,
            queue: VecDeque::new(),
            queued: 0,
            limit,
            next_number: 0,
            events: VecDeque::new(),
        }
    }

    /// The peer's max_datagram_frame_size, and how many bytes of frames a packet carries now.
    pub fn set_limits(&mut self, peer_max: Option<u64>, packet_max: usize) {
        self.peer_max = peer_max.unwrap_or(self.peer_max);
        self.packet_max = packet_max;
        let max = self.max_size();
        if max != self.told {
            self.told = max;
            self.events.push_back(DatagramEvent::MaxSizeChanged(max));
        }
        // What no longer fits will never leave.
        while let Some((number, _)) =
            self.queue.front().filter(|(_, data)| max.is_none_or(|max| data.len() > max)).cloned()
        {
            self.cancel_first(number);
        }
    }

    fn cancel_first(&mut self, number: u64) {
        if let Some((_, data)) = self.queue.pop_front() {
            self.queued -= data.len();
            self.events.push_back(DatagramEvent::SendState { number, state: DatagramSendState::Canceled });
        }
    }

    /// The largest datagram that can be sent now, in bytes; `None` if datagrams are off.
    pub fn max_size(&self) -> Option<usize> {
        if self.peer_max == 0 {
            return None;
        }
        let peer = usize::try_from(self.peer_max).unwrap_or(usize::MAX);
        peer.min(self.packet_max).checked_sub(FRAME_OVERHEAD)
    }

    /// Queues a datagram; gives its number.
    ///
    /// # Errors
    /// Datagrams are off, or it is too large. If too many bytes wait, the oldest are dropped.
    pub fn send(&mut self, data: Bytes) -> Result<u64, ApiMisuse> {
        let max = self.max_size().ok_or(ApiMisuse::DatagramsUnsupported)?;
        if data.len() > max {
            return Err(ApiMisuse::DatagramTooLarge);
        }
        while self.queued + data.len() > self.limit
            && let Some((number, _)) = self.queue.front()
        {
            let number = *number;
            self.cancel_first(number);
        }
        let number = self.next_number;
        self.next_number += 1;
        self.queued += data.len();
        self.queue.push_back((number, data));
        Ok(number)
    }

    /// A DATAGRAM frame came in.
    ///
    /// # Errors
    /// PROTOCOL_VIOLATION: we take none, or none so large (RFC 9221 section 3).
    pub fn on_datagram(&mut self, data: Bytes) -> Result<(), Violation> {
        let frame_len = (1 + VarInt::encoded_len(data.len() as u64) + data.len()) as u64;
        // The length may have been left out, which saves its bytes.
        let shortest = 1 + data.len() as u64;
        if self.local_max == 0 || shortest.min(frame_len) > self.local_max {
            return Err(Violation::new(TransportErrorCode::PROTOCOL_VIOLATION, "datagram not allowed, or too large"));
        }
        self.events.push_back(DatagramEvent::Received(data));
        Ok(())
    }

    /// Whether one waits.
    pub fn wants_to_send(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Writes DATAGRAM frames while they fit.
    pub fn write(&mut self, sink: &mut FrameSink<'_, '_>) {
        while let Some((number, data)) = self.queue.front() {
            let number = *number;
            if !sink.push(&Frame::Datagram { data }, SentFrame::Datagram { number }) {
                return;
            }
            self.queued -= data.len();
            self.queue.pop_front();
            self.events.push_back(DatagramEvent::SendState { number, state: DatagramSendState::Sent });
        }
    }

    /// A DATAGRAM frame was acknowledged.
    pub fn acked(&mut self, number: u64) {
        self.events.push_back(DatagramEvent::SendState { number, state: DatagramSendState::Acknowledged });
    }

    /// A DATAGRAM frame was lost; it is not sent again.
    pub fn lost(&mut self, number: u64) {
        self.events.push_back(DatagramEvent::SendState { number, state: DatagramSendState::Lost });
    }

    /// The connection is over: what waits is canceled.
    pub fn cancel_all(&mut self) {
        while let Some((number, _)) = self.queue.front() {
            let number = *number;
            self.cancel_first(number);
        }
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<DatagramEvent> {
        self.events.pop_front()
    }
}
