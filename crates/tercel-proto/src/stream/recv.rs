//! The receiving part of a stream (RFC 9000 section 3.2).

use std::time::Duration;

use bytes::Bytes;
use tercel_wire::{ApplicationErrorCode, Frame, StreamId, TransportErrorCode};

use super::Read;
use super::flow::{ReceiveWindow, Say};
use crate::error::{ApiMisuse, Violation};
use crate::frames::{FrameSink, SentFrame};
use crate::reassembly::Reassembly;
use crate::time::Time;

/// The states of section 3.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Data may come; the end is not known.
    Recv,
    /// The end is known, and something before it is missing.
    SizeKnown { size: u64 },
    /// The peer reset it, but what lies before `reliable` is still to be read
    /// (draft-ietf-quic-reliable-stream-reset section 5.3).
    ResetAt { code: ApplicationErrorCode, size: u64, reliable: u64 },
    /// Everything is here.
    DataRecvd { size: u64 },
    /// Everything was read.
    DataRead,
    /// The peer reset it, and the application does not know yet.
    ResetRecvd { code: ApplicationErrorCode, size: u64 },
    /// The application knows.
    ResetRead,
}

/// Whether this end has asked the peer to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    No,
    Asked { code: ApplicationErrorCode, say: Say },
}

#[derive(Debug)]
pub(super) struct Recv {
    state: State,
    stop: Stop,
    data: Reassembly,
    /// The highest offset received.
    highest: u64,
    /// That which came as early data, if anything did.
    early: Option<u64>,
    window: ReceiveWindow,
    /// Whether the application has been told that there is something to read, and has not been
    /// blocked since.
    announced: bool,
}

/// What a frame brought.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Receipt {
    /// Bytes that count against the connection's limit.
    pub(super) new_bytes: u64,
    /// Bytes that nobody will read.
    pub(super) dropped: u64,
    /// Whether the application is to be told.
    pub(super) readable: bool,
}

impl Recv {
    pub(super) fn new(window: u64, max_window: u64) -> Self {
        Self {
            state: State::Recv,
            stop: Stop::No,
            data: Reassembly::default(),
            highest: 0,
            early: None,
            window: ReceiveWindow::new(window, max_window),
            announced: false,
        }
    }

    pub(super) const fn is_done(&self) -> bool {
        matches!(self.state, State::DataRead | State::ResetRead)
    }

    /// The highest offset received.
    pub(super) const fn received(&self) -> u64 {
        self.highest
    }

    /// What came up to `end` was early data.
    pub(super) fn note_early(&mut self, end: u64) {
        self.early = self.early.max(Some(end));
    }

    /// The highest offset that came as early data, if anything did.
    pub(super) const fn early(&self) -> Option<u64> {
        self.early
    }

    /// How many bytes up to the highest offset received were not read, those that are missing included.
    pub(super) const fn unread(&self) -> u64 {
        self.highest.saturating_sub(self.data.read_offset())
    }

    const fn is_stopped(&self) -> bool {
        matches!(self.stop, Stop::Asked { .. })
    }

    const fn final_size(&self) -> Option<u64> {
        match self.state {
            State::Recv => None,
            State::SizeKnown { size }
            | State::DataRecvd { size }
            | State::ResetAt { size, .. }
            | State::ResetRecvd { size, .. } => Some(size),
            State::DataRead | State::ResetRead => Some(self.highest),
        }
    }

    /// Checks and notes that the peer has sent up to `end`, which is the final size if `last`
    /// (section 4.5). Gives how many bytes that are new.
    // RFC 9000 section 4.5#3#4.
    fn extend(&mut self, end: u64, last: bool) -> Result<u64, Violation> {
        let error = |reason| Err(Violation::new(TransportErrorCode::FINAL_SIZE_ERROR, reason));
        match self.final_size() {
            Some(size) if end > size => return error("data beyond the final size"),
            Some(size) if last && end != size => return error("the final size has changed"),
            None if last && end < self.highest => return error("the final size is below what was received"),
            _ => {}
        }
        // RFC 9000 sections 4.1#2, 19.8#2, 19.10#4.
        if end > self.window.limit() {
            return Err(Violation::new(TransportErrorCode::FLOW_CONTROL_ERROR, "more data than the stream's limit"));
        }
        let new = end.saturating_sub(self.highest);
        self.highest = self.highest.max(end);
        Ok(new)
    }

    /// A STREAM frame came in.
    pub(super) fn on_data(&mut self, offset: u64, mut data: Bytes, fin: bool) -> Result<Receipt, Violation> {
        let end = offset + data.len() as u64;
        let new_bytes = self.extend(end, fin)?;
        match self.state {
            State::Recv | State::SizeKnown { .. } => {}
            State::ResetAt { reliable, .. } if offset < reliable => data.truncate((reliable - offset) as usize),
            _ => return Ok(Receipt { new_bytes, ..Receipt::default() }),
        }
        if fin && self.state == State::Recv {
            self.state = State::SizeKnown { size: end };
        }
        if self.is_stopped() {
            if matches!(self.state, State::SizeKnown { .. }) {
                // Nothing more can come that would count: the peer has said how much there is.
                self.state = State::DataRead;
            }
            return Ok(Receipt { new_bytes, dropped: new_bytes, readable: false });
        }
        self.data.insert(offset, data)?;
        if let State::SizeKnown { size } = self.state
            && self.data.contiguous() == size
        {
            self.state = State::DataRecvd { size };
        }
        let something = self.data.has_ready() || self.is_all_here();
        Ok(Receipt { new_bytes, dropped: 0, readable: self.announce(something) })
    }

    /// Whether nothing is missing of what is to be read.
    const fn is_all_here(&self) -> bool {
        match self.state {
            State::DataRecvd { .. } => true,
            State::ResetAt { reliable, .. } => self.data.contiguous() >= reliable,
            _ => false,
        }
    }

    /// A RESET_STREAM frame came in (with a `reliable` size of 0), or RESET_STREAM_AT.
    // RFC 9000 sections 4.5#1, 19.9#1.
    pub(super) fn on_reset(
        &mut self,
        code: ApplicationErrorCode,
        final_size: u64,
        reliable: u64,
    ) -> Result<Receipt, Violation> {
        let new_bytes = self.extend(final_size, true)?;
        // Where what is to be read ended before.
        let end = match self.state {
            State::Recv | State::SizeKnown { .. } => final_size,
            // The draft's section 5.2: the code of a reset must not change.
            State::ResetAt { code: known, .. } if known != code => {
                return Err(Violation::new(TransportErrorCode::STREAM_STATE_ERROR, "another code for the same reset"));
            }
            State::ResetAt { reliable, .. } => reliable,
            // Section 3.2: a reset after everything has arrived may be ignored, and so is it here.
            _ => return Ok(Receipt { new_bytes, ..Receipt::default() }),
        };
        if self.is_stopped() {
            self.state = State::ResetRead;
            return Ok(Receipt { new_bytes, dropped: new_bytes, readable: false });
        }
        let read = self.data.read_offset();
        // The draft's section 5.2: a larger size than before is ignored.
        let keep = reliable.min(end).max(read);
        if keep > read {
            self.data.truncate(keep);
            self.state = State::ResetAt { code, size: final_size, reliable: keep };
        } else {
            self.data.clear();
            self.state = State::ResetRecvd { code, size: final_size };
        }
        let something = keep == read || self.data.has_ready() || self.is_all_here();
        Ok(Receipt { new_bytes, dropped: end.max(read) - keep, readable: self.announce(something) })
    }

    const fn announce(&mut self, something: bool) -> bool {
        let news = something && !self.announced;
        self.announced |= something;
        news
    }

    /// Takes the next bytes; once the end or a reset was read, nothing follows.
    pub(super) fn read(&mut self, max: usize) -> Result<Read, ApiMisuse> {
        if self.is_stopped() || self.is_done() {
            return Err(ApiMisuse::ReceiveClosed);
        }
        if let Some(code) = self.read_reset() {
            return Ok(Read::Reset(code));
        }
        if let Some(data) = self.data.take(max) {
            return Ok(Read::Data(data));
        }
        if self.read_end() {
            return Ok(Read::Finished);
        }
        self.announced = false;
        Ok(Read::Blocked)
    }

    /// Takes the next bytes in order, at most `max`, piece by piece; gives how many bytes. None if nothing can be read.
    pub(super) fn read_pieces(&mut self, max: usize, into: &mut Vec<Bytes>) -> usize {
        match self.is_stopped() || self.is_done() {
            true => 0,
            false => self.data.take_all(max, into),
        }
    }

    /// The application has provided space for data, which is now what limits the peer; true if it is to
    /// be told of a higher limit.
    pub(super) fn provide(&mut self, bytes: u64) -> bool {
        self.window.provide(bytes) && self.state == State::Recv && !self.is_stopped()
    }

    /// Reads the end of the stream if nothing is left before it; true if it did.
    pub(super) fn read_end(&mut self) -> bool {
        let whole = matches!(self.state, State::DataRecvd { .. }) && !self.data.has_ready() && !self.is_stopped();
        if whole {
            self.state = State::DataRead;
        }
        whole
    }

    /// The code of a reset that was not read.
    pub(super) fn read_reset(&mut self) -> Option<ApplicationErrorCode> {
        let code = match self.state {
            State::ResetRecvd { code, .. } => code,
            State::ResetAt { code, reliable, .. } if self.data.read_offset() >= reliable => code,
            _ => return None,
        };
        self.state = State::ResetRead;
        Some(code)
    }

    /// The application consumed bytes; true if the peer is to be told of a higher limit.
    pub(super) fn consumed(&mut self, now: Time, rtt: Duration, len: u64) -> bool {
        let raised = self.window.consume(now, rtt, len);
        // Once the end is known the peer needs no more credit.
        // RFC 9000 section 13.3#2.
        raised && self.state == State::Recv && !self.is_stopped()
    }

    /// The application wants no more. Gives how many bytes that are here will not be read.
    pub(super) fn stop(&mut self, code: ApplicationErrorCode) -> Result<u64, ApiMisuse> {
        if self.is_stopped() || self.is_done() {
            return Err(ApiMisuse::ReceiveClosed);
        }
        let unread = match self.state {
            State::ResetRecvd { .. } => 0,
            State::ResetAt { reliable, .. } => reliable - self.data.read_offset(),
            _ => self.highest - self.data.read_offset(),
        };
        self.data.clear();
        // Section 3.5: only while the peer may still send.
        // RFC 9000 section 3.5#5.
        let say = if self.state == State::Recv { Say::Due } else { Say::Said };
        self.stop = Stop::Asked { code, say };
        match self.state {
            State::Recv => {}
            State::ResetRecvd { .. } | State::ResetAt { .. } => self.state = State::ResetRead,
            _ => self.state = State::DataRead,
        }
        Ok(unread)
    }

    /// Writes STOP_SENDING or MAX_STREAM_DATA if due; false if it does not fit.
    pub(super) fn write_control(&mut self, id: StreamId, sink: &mut FrameSink<'_, '_>) -> bool {
        if self.state != State::Recv {
            return true;
        }
        if let Stop::Asked { code, say } = &mut self.stop {
            return say.write(sink, &Frame::StopSending { id, error: *code }, SentFrame::StopSending { id });
        }
        let maximum = self.window.limit();
        let frame = Frame::MaxStreamData { id, maximum };
        self.window.say.write(sink, &frame, SentFrame::MaxStreamData { id, maximum })
    }

    /// STOP_SENDING was lost; true if it is to be said again.
    pub(super) fn stop_lost(&mut self) -> bool {
        match (&mut self.stop, self.state) {
            (Stop::Asked { say, .. }, State::Recv) => {
                *say = Say::Due;
                true
            }
            _ => false,
        }
    }

    /// MAX_STREAM_DATA was lost; true if it is to be said again.
    pub(super) fn limit_lost(&mut self, maximum: u64) -> bool {
        let again = maximum == self.window.limit() && self.state == State::Recv && !self.is_stopped();
        if again {
            self.window.say = Say::Due;
        }
        again
    }

    #[cfg(test)]
    pub(super) const fn state(&self) -> State {
        self.state
    }
}
