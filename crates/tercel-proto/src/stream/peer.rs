//! What the peer says of streams: its frames.

use bytes::Bytes;
use tercel_wire::frame::{ResetStreamAt, StreamFrame};
use tercel_wire::{ApplicationErrorCode, Direction, StreamId, TransportErrorCode};

use super::{StreamEvent, Streams, recv};
use crate::error::Violation;

impl Streams {
    /// A STREAM frame; `data` is its data.
    ///
    /// # Errors
    /// STREAM_STATE_ERROR, STREAM_LIMIT_ERROR, FLOW_CONTROL_ERROR or FINAL_SIZE_ERROR.
    pub fn on_stream(&mut self, frame: &StreamFrame<'_>, data: Bytes) -> Result<(), Violation> {
        let Some(recv) = self.recv_of_peer(frame.id)? else { return Ok(()) };
        let (received, done) = (recv.on_data(frame.offset, data, frame.fin)?, recv.is_done());
        self.after_receipt(frame.id, received, done)
    }

    /// A RESET_STREAM frame.
    ///
    /// # Errors
    /// As for STREAM.
    pub fn on_reset_stream(
        &mut self,
        id: StreamId,
        code: ApplicationErrorCode,
        final_size: u64,
    ) -> Result<(), Violation> {
        let Some(recv) = self.recv_of_peer(id)? else { return Ok(()) };
        let (received, done) = (recv.on_reset(code, final_size, 0)?, recv.is_done());
        self.after_receipt(id, received, done)
    }

    /// A RESET_STREAM_AT frame.
    ///
    /// # Errors
    /// As for STREAM.
    pub fn on_reset_stream_at(&mut self, frame: &ResetStreamAt) -> Result<(), Violation> {
        let Some(recv) = self.recv_of_peer(frame.id)? else { return Ok(()) };
        let received = recv.on_reset(frame.error, frame.final_size, frame.reliable_size)?;
        let done = recv.is_done();
        self.after_receipt(frame.id, received, done)
    }

    fn after_receipt(&mut self, id: StreamId, receipt: recv::Receipt, done: bool) -> Result<(), Violation> {
        self.received += receipt.new_bytes;
        // RFC 9000 sections 4.1#2, 19.9#2.
        if self.received > self.receive_window.limit() {
            return Err(Violation::new(
                TransportErrorCode::FLOW_CONTROL_ERROR,
                "more data than the connection's limit",
            ));
        }
        self.receive_window.consume_silently(receipt.dropped);
        if receipt.readable {
            self.events.push_back(StreamEvent::Readable(id));
        }
        if done {
            self.close_if_done(id);
        }
        Ok(())
    }

    /// A STOP_SENDING frame: the sending part is reset with the same code (section 3.5).
    ///
    /// # Errors
    /// STREAM_STATE_ERROR or STREAM_LIMIT_ERROR.
    pub fn on_stop_sending(&mut self, id: StreamId, code: ApplicationErrorCode) -> Result<(), Violation> {
        let Some(send) = self.send_of_peer(id)? else { return Ok(()) };
        if send.on_stop(code) {
            self.control.insert(id);
            self.events.push_back(StreamEvent::Stopped { id, code });
        }
        Ok(())
    }

    /// A MAX_DATA frame.
    pub fn on_max_data(&mut self, maximum: u64) {
        self.send_limit.raise(maximum);
    }

    /// A MAX_STREAM_DATA frame.
    ///
    /// # Errors
    /// STREAM_STATE_ERROR or STREAM_LIMIT_ERROR.
    pub fn on_max_stream_data(&mut self, id: StreamId, maximum: u64) -> Result<(), Violation> {
        if let Some(send) = self.send_of_peer(id)? {
            send.raise_limit(maximum);
            self.reschedule(id);
        }
        Ok(())
    }

    /// A MAX_STREAMS frame.
    pub fn on_max_streams(&mut self, direction: Direction, maximum: u64) {
        let ids = &mut self.local[direction as usize];
        let before = ids.limit();
        if !ids.raise(maximum) {
            return;
        }
        // Those that had to wait and need no longer.
        let released = before..maximum.min(ids.opened());
        self.events.push_back(StreamEvent::Available(direction));
        for index in released {
            let id = StreamId::new(self.role, direction, index);
            if self.ahead.remove(&id) {
                self.events.push_back(StreamEvent::Accepted(id));
            }
            if self.streams.contains(id) {
                self.control.insert(id);
                self.reschedule(id);
            }
        }
    }

    /// A STREAMS_BLOCKED frame.
    pub fn on_streams_blocked(&mut self, direction: Direction, limit: u64) {
        if self.remote[direction as usize].on_blocked(limit) {
            self.events.push_back(StreamEvent::Wanted(direction));
        }
    }

    /// A STREAM_DATA_BLOCKED frame; our windows grow by themselves.
    ///
    /// # Errors
    /// STREAM_STATE_ERROR or STREAM_LIMIT_ERROR.
    pub fn on_stream_data_blocked(&mut self, id: StreamId) -> Result<(), Violation> {
        self.recv_of_peer(id).map(drop)
    }
}
