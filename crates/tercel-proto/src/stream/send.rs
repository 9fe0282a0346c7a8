//! The sending part of a stream (RFC 9000 section 3.1).

use std::ops::Range;

use bytes::Bytes;
use tercel_wire::frame::{ResetStreamAt, ResetStreamAtType, StreamFrame};
use tercel_wire::{ApplicationErrorCode, Frame, StreamId};

use super::blocked::{Meter, Own};
use super::flow::{Blocked, Say};
use super::schedule::Place;
use super::send_buffer::SendBuffer;
use crate::error::ApiMisuse;
use crate::frames::{FrameSink, SentFrame};

/// The states of section 3.1. Ready and Send differ in nothing that matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Ready or Send: data may be added.
    Send,
    /// The end is known; `fin` is whether it is to be sent (again).
    DataSent { fin: Say },
    /// Reset, but for what must arrive all the same (draft-ietf-quic-reliable-stream-reset section 5.3,
    /// where this is "Data Sent").
    ResetAtSent(ResetAt),
    /// Reset; `say` is whether RESET_STREAM is to be sent (again).
    ResetSent { code: ApplicationErrorCode, say: Say },
    /// Everything was acknowledged.
    DataRecvd,
    /// The reset was acknowledged.
    ResetRecvd,
}

/// A reset that delivers the first `size` bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ResetAt {
    ty: ResetStreamAtType,
    code: ApplicationErrorCode,
    size: u64,
    /// Whether RESET_STREAM_AT is to be sent (again), once these bytes were; and whether the peer has it.
    say: Say,
    acked: bool,
}

/// What becomes of data that is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum OnLoss {
    /// It is sent again.
    #[default]
    Repeat,
    /// The stream is given up.
    Cancel,
    /// It is given up: nothing more is sent, and the application is about to say with which code.
    Canceled,
}

#[derive(Debug)]
pub(super) struct Send {
    state: State,
    buffer: SendBuffer,
    on_loss: OnLoss,
    /// Whether the peer is to be told of the stream though there is no data.
    hello: Say,
    /// The peer's limit on this stream.
    limit: u64,
    fin_acked: bool,
    /// Whether that limit is in the way.
    blocked: Blocked,
    pub(super) priority: i32,
    /// Where it stands with what is to be repeated, and with what is new.
    pub(super) place_of_repeats: Place,
    pub(super) place: Place,
    retransmitted: u64,
    /// For how long what has kept it from sending, if anybody wants to know.
    pub(super) meter: Option<Meter>,
}

/// What a call to write did.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written {
    pub(super) bytes: u64,
    pub(super) next: Next,
}

impl Written {
    const fn nothing(next: Next) -> Self {
        Self { bytes: 0, next }
    }
}

/// What stands in the way of writing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// The packet is full.
    Full,
    /// A frame was written and there is more; others have their turn.
    More,
    /// There is no more.
    Nothing,
    /// The stream's limit.
    StreamBlocked,
}

impl Send {
    pub(super) fn new(limit: u64) -> Self {
        Self {
            state: State::Send,
            buffer: SendBuffer::default(),
            on_loss: OnLoss::default(),
            hello: Say::Said,
            limit,
            fin_acked: false,
            blocked: Blocked::No,
            priority: 0,
            place_of_repeats: Place::default(),
            place: Place::default(),
            retransmitted: 0,
            meter: None,
        }
    }

    pub(super) const fn is_done(&self) -> bool {
        matches!(self.state, State::DataRecvd | State::ResetRecvd)
    }

    // RFC 9000 sections 4.1#3, 13.3#5.
    pub(super) fn raise_limit(&mut self, limit: u64) {
        self.limit = self.limit.max(limit);
    }

    pub(super) fn push(&mut self, data: Bytes, fin: bool) -> Result<(), ApiMisuse> {
        if self.state != State::Send {
            return Err(ApiMisuse::SendClosed);
        }
        if self.buffer.end() + data.len() as u64 > tercel_wire::VarInt::MAX.into_inner() {
            return Err(ApiMisuse::InvalidArgument("a stream carries at most 2^62 - 1 bytes"));
        }
        self.buffer.push(data);
        if fin {
            self.state = State::DataSent { fin: Say::Due };
        }
        Ok(())
    }

    /// Lets go of the data: the connection is over.
    pub(super) fn forget_data(&mut self) {
        self.buffer.clear();
    }

    // RFC 9000 section 3.5#3: nothing of it is repeated.
    pub(super) fn reset(&mut self, code: ApplicationErrorCode) -> Result<(), ApiMisuse> {
        match self.state {
            State::Send | State::DataSent { .. } => {
                self.state = State::ResetSent { code, say: Say::Due };
                self.buffer.clear();
                Ok(())
            }
            // The draft's section 5.2: the reliable size may shrink; the code may not change.
            State::ResetAtSent(ResetAt { code, .. }) => {
                self.state = State::ResetSent { code, say: Say::Due };
                self.buffer.clear();
                Ok(())
            }
            _ => Err(ApiMisuse::SendClosed),
        }
    }

    /// Resets, but delivers the first `size` bytes.
    pub(super) fn reset_at(
        &mut self,
        ty: ResetStreamAtType,
        code: ApplicationErrorCode,
        size: u64,
    ) -> Result<(), ApiMisuse> {
        let reset = match self.state {
            State::Send | State::DataSent { .. } if size > self.buffer.end() => {
                return Err(ApiMisuse::InvalidArgument("more is to be delivered than was given to send"));
            }
            State::Send | State::DataSent { .. } => ResetAt { ty, code, size, say: Say::Due, acked: false },
            // The draft's section 5.2: never a larger size.
            State::ResetAtSent(before) if size > before.size => {
                return Err(ApiMisuse::InvalidArgument("more is to be delivered than before"));
            }
            State::ResetAtSent(before) if size == before.size => before,
            State::ResetAtSent(before) => ResetAt { size, say: Say::Due, acked: false, ..before },
            _ => return Err(ApiMisuse::SendClosed),
        };
        self.buffer.truncate(size);
        self.state = State::ResetAtSent(reset);
        // What is promised is sent again.
        self.on_loss = OnLoss::Repeat;
        Ok(())
    }

    /// The peer's parameters are others than was thought: RESET_STREAM_AT has this type, or there is none.
    pub(super) fn set_reset_at(&mut self, ty: Option<ResetStreamAtType>) {
        let State::ResetAtSent(reset) = self.state else { return };
        self.state = match ty {
            Some(ty) => State::ResetAtSent(ResetAt { ty, ..reset }),
            // The peer understands only the plain one.
            None => State::ResetSent { code: reset.code, say: Say::Due },
        };
    }

    /// The peer wants no more. False if that changes nothing.
    // RFC 9000 section 3.5#2#4.
    pub(super) fn on_stop(&mut self, code: ApplicationErrorCode) -> bool {
        self.reset(code).is_ok()
    }

    /// From now on a loss ends the stream.
    pub(super) fn cancel_on_loss(&mut self) {
        if self.on_loss == OnLoss::Repeat {
            self.on_loss = OnLoss::Cancel;
        }
    }

    /// Whether a loss is mended, and does not end the stream.
    pub(super) fn outlives_loss(&self) -> bool {
        self.on_loss == OnLoss::Repeat
    }

    /// The peer is to know of the stream before there is data.
    pub(super) const fn announce(&mut self) {
        if self.buffer.end() == 0 {
            self.hello = Say::Due;
        }
    }

    /// Bytes sent, and those sent again.
    pub(super) const fn bytes(&self) -> (u64, u64) {
        (self.buffer.next(), self.retransmitted)
    }

    /// What keeps it from sending, besides the peer's limit on streams.
    pub(super) fn hindrance(&self) -> Own {
        match (self.has_new(), self.state) {
            (true, _) if self.limit <= self.buffer.next() => Own::FlowControl,
            (false, State::Send) if !self.has_repeat() && self.is_sending() => Own::Application,
            _ => Own::Nothing,
        }
    }

    /// Whether there is anything that is to arrive.
    // RFC 9000 sections 3.3#1#2, 4.5#2.
    const fn delivers(&self) -> bool {
        matches!(self.state, State::Send | State::DataSent { .. } | State::ResetAtSent(_))
    }

    fn is_sending(&self) -> bool {
        self.delivers() && self.on_loss != OnLoss::Canceled
    }

    /// Whether there is data that was never sent.
    pub(super) fn has_new(&self) -> bool {
        self.is_sending() && self.buffer.next() < self.buffer.end()
    }

    /// Whether there is something to send that uses up no credit: data that was lost, or a beginning
    /// or an end without data.
    pub(super) fn has_repeat(&self) -> bool {
        let only_fin =
            matches!(self.state, State::DataSent { fin: Say::Due }) && self.buffer.next() == self.buffer.end();
        self.is_sending() && (only_fin || self.hello.is_due() || self.buffer.first_lost().is_some())
    }

    /// Writes one STREAM frame of what uses up no credit, as large as there is room.
    pub(super) fn write_repeat(&mut self, id: StreamId, sink: &mut FrameSink<'_, '_>) -> Written {
        if !self.has_repeat() {
            return Written::nothing(Next::Nothing);
        }
        let start = self.buffer.first_lost().unwrap_or(self.buffer.next());
        let Some(room) = stream_room(id, start, sink.remaining()) else { return Written::nothing(Next::Full) };
        let range = self.buffer.take_lost(room).unwrap_or(start..start);
        let bytes = self.push_frame(id, range, sink);
        self.retransmitted += bytes;
        Written { bytes, next: if self.has_repeat() { Next::More } else { Next::Nothing } }
    }

    /// Writes one STREAM frame of new data, as large as room, credit and the stream's limit permit.
    pub(super) fn write_new(&mut self, id: StreamId, sink: &mut FrameSink<'_, '_>, credit: u64) -> Written {
        if !self.has_new() {
            return Written::nothing(Next::Nothing);
        }
        let start = self.buffer.next();
        if self.limit <= start {
            return Written::nothing(Next::StreamBlocked);
        }
        let Some(room) = stream_room(id, start, sink.remaining()) else { return Written::nothing(Next::Full) };
        let range = self.buffer.take_new(room.min(credit).min(self.limit - start));
        let bytes = self.push_frame(id, range, sink);
        Written { bytes, next: if self.has_new() { Next::More } else { Next::Nothing } }
    }

    fn push_frame(&mut self, id: StreamId, range: Range<u64>, sink: &mut FrameSink<'_, '_>) -> u64 {
        let fin = matches!(self.state, State::DataSent { .. }) && range.end == self.buffer.end();
        let len = range.end - range.start;
        let record = SentFrame::Stream { id, offset: range.start, len: len as u32, fin };
        sink.push_stream(id, range.start, fin, len as usize, self.buffer.slices(range), record);
        self.hello = Say::Said;
        if fin {
            self.state = State::DataSent { fin: Say::Said };
        }
        len
    }

    /// Whether RESET_STREAM_AT is due: everything that it promises was sent, and so is within the
    /// peer's limits (the draft's section 4).
    pub(super) fn owes_reset_at(&self) -> bool {
        matches!(self.state, State::ResetAtSent(reset) if reset.say.is_due() && self.buffer.next() >= reset.size)
    }

    /// Writes RESET_STREAM, RESET_STREAM_AT or STREAM_DATA_BLOCKED if due; false if it does not fit.
    pub(super) fn write_control(&mut self, id: StreamId, sink: &mut FrameSink<'_, '_>) -> bool {
        if let State::ResetSent { code, say } = &mut self.state {
            // RFC 9000 section 13.3#1.
            let frame = Frame::ResetStream { id, error: *code, final_size: self.buffer.next() };
            return say.write(sink, &frame, SentFrame::ResetStream { id });
        }
        if let State::ResetAtSent(reset) = &mut self.state
            && self.buffer.next() >= reset.size
        {
            let frame = Frame::ResetStreamAt(ResetStreamAt {
                ty: reset.ty,
                id,
                error: reset.code,
                final_size: self.buffer.next(),
                reliable_size: reset.size,
            });
            if !reset.say.write(sink, &frame, SentFrame::ResetStreamAt { id, reliable_size: reset.size }) {
                return false;
            }
        }
        // RFC 9000 sections 4.1#4, 19.13#1.
        if !self.is_limited() {
            return true;
        }
        let limit = self.limit;
        self.blocked.note(limit);
        let frame = Frame::StreamDataBlocked { id, limit };
        self.blocked.write(limit, sink, &frame, SentFrame::StreamDataBlocked { id, limit })
    }

    /// Whether there is more to send than the peer's limit permits.
    pub(super) fn is_limited(&self) -> bool {
        self.delivers() && self.buffer.next() >= self.limit && self.buffer.next() < self.buffer.end()
    }

    /// STREAM_DATA_BLOCKED at a limit was lost, or is to be repeated. True if it is to be said again.
    pub(super) const fn blocked_again(&mut self, at: u64) -> bool {
        self.blocked.again(at, self.limit)
    }

    /// The peer's limit on this stream.
    pub(super) const fn limit(&self) -> u64 {
        self.limit
    }

    /// A STREAM frame was acknowledged: how far everything is, and whether to the end, if that has
    /// changed.
    pub(super) fn acked(&mut self, offset: u64, len: u32, fin: bool) -> Option<(u64, bool)> {
        if !self.delivers() {
            return None;
        }
        let before = self.buffer.acked_to();
        self.buffer.acked(offset..offset + u64::from(len));
        self.fin_acked |= fin;
        let whole = self.fin_acked
            && matches!(self.state, State::DataSent { .. })
            && self.buffer.acked_to() == self.buffer.end();
        if whole {
            self.state = State::DataRecvd;
        }
        (whole || self.buffer.acked_to() > before).then(|| (self.buffer.acked_to(), whole))
    }

    /// A STREAM frame was lost. True if that is the end of the stream.
    pub(super) fn lost(&mut self, offset: u64, len: u32, fin: bool) -> bool {
        let end = offset + u64::from(len);
        match self.state {
            State::Send | State::DataSent { .. } => self.buffer.lost(offset..end),
            State::ResetAtSent(reset) => {
                // The draft's section 5: what lies behind is not sent again.
                self.buffer.lost(offset..end.min(reset.size));
                return false;
            }
            _ => return false,
        }
        let fin_lost = fin && !self.fin_acked;
        if self.on_loss == OnLoss::Cancel && (fin_lost || self.buffer.first_lost().is_some()) {
            self.on_loss = OnLoss::Canceled;
            return true;
        }
        if fin_lost {
            self.state = State::DataSent { fin: Say::Due };
        } else if len == 0 && !fin {
            self.hello = Say::Due;
        }
        false
    }

    /// RESET_STREAM was acknowledged; true if that is news.
    pub(super) const fn reset_acked(&mut self) -> bool {
        let news = matches!(self.state, State::ResetSent { .. });
        if news {
            self.state = State::ResetRecvd;
        }
        news
    }

    /// RESET_STREAM was lost; true if it is to be said again.
    pub(super) const fn reset_lost(&mut self) -> bool {
        match &mut self.state {
            State::ResetSent { say, .. } => {
                *say = Say::Due;
                true
            }
            _ => false,
        }
    }

    /// RESET_STREAM_AT was acknowledged.
    pub(super) const fn reset_at_acked(&mut self, size: u64) {
        if let State::ResetAtSent(reset) = &mut self.state
            && reset.size == size
        {
            reset.acked = true;
        }
    }

    /// True if the peer has RESET_STREAM_AT and all that it promises, and that is news.
    pub(super) const fn settle_reset_at(&mut self) -> bool {
        let news =
            matches!(self.state, State::ResetAtSent(reset) if reset.acked && self.buffer.acked_to() >= reset.size);
        if news {
            self.state = State::ResetRecvd;
        }
        news
    }

    /// RESET_STREAM_AT was lost; true if it is to be said again.
    pub(super) const fn reset_at_lost(&mut self, size: u64) -> bool {
        match &mut self.state {
            State::ResetAtSent(reset) if reset.size == size && !reset.acked => {
                reset.say = Say::Due;
                true
            }
            _ => false,
        }
    }

    /// Nothing that was sent arrived, and the limit never held.
    pub(super) fn rewind(&mut self) {
        self.limit = 0;
        self.blocked = Blocked::No;
        match &mut self.state {
            State::DataSent { fin } => *fin = Say::Due,
            State::ResetSent { say, .. } => *say = Say::Due,
            State::ResetAtSent(reset) => (reset.say, reset.acked) = (Say::Due, false),
            _ => {}
        }
        self.buffer.rewind();
        if let State::ResetAtSent(reset) = self.state {
            self.buffer.truncate(reset.size);
        }
    }

    #[cfg(test)]
    pub(super) const fn state(&self) -> State {
        self.state
    }
}

/// How many bytes of data fit a STREAM frame in `remaining` bytes; `None` if not one.
fn stream_room(id: StreamId, offset: u64, remaining: usize) -> Option<u64> {
    let overhead = StreamFrame::header_len(id, offset, remaining);
    remaining.checked_sub(overhead).filter(|room| *room > 0).map(|room| room as u64)
}
