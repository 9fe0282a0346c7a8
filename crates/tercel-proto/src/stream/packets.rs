//! What streams write into packets, and what becomes of it there.

use tercel_wire::{Direction, Frame, StreamId};

use super::flow::Say;
use super::id_limits::LocalIds;
use super::recv::Recv;
use super::schedule::Place;
use super::send::{self, Send};
use super::{StreamEvent, StreamScheduling, Streams, TURN};
use crate::frames::{FrameSink, SentFrame};

impl Streams {
    /// Whether there is anything to send now.
    pub fn wants_to_send(&self) -> bool {
        !self.control.is_empty() || self.wants_to_send_limits() || self.wants_to_send_data()
    }

    fn wants_to_send_limits(&self) -> bool {
        self.receive_window.say.is_due()
            || self.remote.iter().any(|ids| ids.say.is_due())
            || self.send_limit.is_blocked_due()
            || self.local.iter().any(LocalIds::is_blocked_due)
    }

    /// Whether stream data can, and should, be sent now.
    pub fn wants_to_send_data(&self) -> bool {
        let new = || self.lingering == 0 && self.send_limit.room() > 0 && self.schedule.first().is_some();
        self.repeats.first().is_some() || new()
    }

    /// Whether the peer's limits on data may be what keeps streams from sending: to be asked often.
    pub fn may_be_limited(&self) -> bool {
        !self.limited.is_empty() || self.is_connection_limited()
    }

    fn is_connection_limited(&self) -> bool {
        self.send_limit.room() == 0 && self.schedule.first().is_some()
    }

    /// The connection has been silent for long: the peer is told again of its limits that are in the way, so that
    /// it does not take the connection for dead.
    // RFC 9000 section 4.1#5.
    pub fn say_limits_again(&mut self) {
        if self.is_connection_limited() {
            self.send_limit.blocked_again(self.send_limit.limit());
        }
        for id in std::mem::take(&mut self.limited) {
            if let Some(send) = self.send_mut(id).filter(|send| send.is_limited()) {
                send.blocked_again(send.limit());
                self.control.insert(id);
                self.limited.insert(id);
            }
        }
    }

    /// Writes limits, resets and requests to stop.
    pub fn write_control(&mut self, sink: &mut FrameSink<'_, '_>) {
        self.write_limits(sink);
        while let Some(id) = self.control.first().copied() {
            let held = self.is_held_back(id);
            if let Some(stream) = self.streams.get_mut(id).filter(|_| !held) {
                let said = stream.recv.as_mut().is_none_or(|recv| recv.write_control(id, sink))
                    && stream.send.as_mut().is_none_or(|send| send.write_control(id, sink));
                if !said {
                    return;
                }
            }
            self.control.remove(&id);
        }
    }

    fn write_limits(&mut self, sink: &mut FrameSink<'_, '_>) {
        if !self.wants_to_send_limits() {
            return;
        }
        let limit = self.receive_window.limit();
        self.receive_window.say.write(sink, &Frame::MaxData(limit), SentFrame::MaxData(limit));
        for (direction, ids) in Direction::ALL.into_iter().zip(&mut self.remote) {
            let maximum = ids.limit();
            let frame = Frame::MaxStreams { direction, maximum };
            ids.say.write(sink, &frame, SentFrame::MaxStreams { direction, maximum });
        }
        self.send_limit.write_blocked(sink);
        for (direction, ids) in Direction::ALL.into_iter().zip(&mut self.local) {
            ids.write_blocked(direction, sink);
        }
    }

    /// Writes STREAM frames while there are data, credit and room; `early`: into a packet of early data.
    // RFC 9000 sections 2.2#3, 4.1#1, 13.3#4, 19.10#3.
    pub fn write_data(&mut self, early: bool, sink: &mut FrameSink<'_, '_>) {
        // A STREAM frame has a type, an ID and a length at least.
        const LEAST: usize = 3;
        // There is a packet: this is what lingering data has waited for.
        self.lingering = 0;
        while sink.remaining() >= LEAST {
            let credit = self.send_limit.room();
            let new = self.schedule.priority().filter(|_| credit > 0);
            // Of equal priority, what is repeated goes first (section 13.3).
            let next = match self.repeats.priority() >= new {
                true => self.write_repeat(sink),
                false => self.write_new(early, sink, credit),
            };
            if matches!(next, None | Some(send::Next::Full)) {
                break;
            }
        }
        if self.is_connection_limited() {
            self.send_limit.note_blocked();
        }
    }

    fn write_repeat(&mut self, sink: &mut FrameSink<'_, '_>) -> Option<send::Next> {
        let id = self.repeats.first()?;
        let Some(send) = self.streams.get_mut(id).and_then(|stream| stream.send.as_mut()) else {
            self.repeats.remove_first();
            return Some(send::Next::Nothing);
        };
        let written = send.write_repeat(id, sink);
        self.retransmitted += written.bytes;
        match written.next {
            send::Next::More => self.repeats.rotate(),
            send::Next::Full => {}
            send::Next::Nothing | send::Next::StreamBlocked => {
                send.place_of_repeats = Place::default();
                self.repeats.remove_first();
                self.measure(id);
            }
        }
        Some(written.next)
    }

    fn write_new(&mut self, early: bool, sink: &mut FrameSink<'_, '_>, credit: u64) -> Option<send::Next> {
        let id = self.schedule.first()?;
        let Some(send) = self.streams.get_mut(id).and_then(|stream| stream.send.as_mut()) else {
            self.schedule.remove_first();
            return Some(send::Next::Nothing);
        };
        let written = send.write_new(id, sink, credit);
        if let (true, Some(meter)) = (early, &mut send.meter) {
            meter.count_early(written.bytes);
        }
        if send.owes_reset_at() {
            self.control.insert(id);
        }
        self.send_limit.use_up(written.bytes);
        self.turn_left = self.turn_left.saturating_sub(written.bytes);
        if written.next != send::Next::Full && (written.next != send::Next::More || self.turn_left == 0) {
            self.turn_left = TURN;
        }
        match written.next {
            send::Next::More if self.turn_left == TURN && self.scheduling == StreamScheduling::RoundRobin => {
                self.schedule.rotate();
            }
            send::Next::More | send::Next::Full => {}
            send::Next::Nothing => {
                send.place = Place::default();
                self.schedule.remove_first();
            }
            send::Next::StreamBlocked => {
                send.place = Place::default();
                self.schedule.remove_first();
                self.control.insert(id);
                self.limited.insert(id);
            }
        }
        if let (send::Next::Nothing | send::Next::StreamBlocked, Some(watches)) = (written.next, &mut self.watches) {
            watches.note(send, false);
        }
        Some(written.next)
    }

    /// A frame of ours was acknowledged.
    pub fn acked(&mut self, frame: SentFrame) {
        match frame {
            SentFrame::Stream { id, offset, len, fin } => {
                let Some(send) = self.send_mut(id) else { return };
                let news = send.acked(offset, len, fin);
                let reset = send.settle_reset_at();
                let done = send.is_done();
                match (news, self.events.back_mut()) {
                    (None, _) => {}
                    // Who has not heard of the last one yet hears of both together.
                    (Some(news), Some(StreamEvent::Acked { id: same, offset, fin })) if *same == id => {
                        (*offset, *fin) = news;
                    }
                    (Some((offset, fin)), _) => self.events.push_back(StreamEvent::Acked { id, offset, fin }),
                }
                self.after_acked(id, reset, done);
            }
            SentFrame::ResetStreamAt { id, reliable_size } => {
                let Some(send) = self.send_mut(id) else { return };
                send.reset_at_acked(reliable_size);
                let reset = send.settle_reset_at();
                let done = send.is_done();
                self.after_acked(id, reset, done);
            }
            SentFrame::ResetStream { id } if self.send_mut(id).is_some_and(Send::reset_acked) => {
                self.events.push_back(StreamEvent::ResetAcked(id));
                self.close_if_done(id);
            }
            _ => {}
        }
    }

    /// What was acknowledged may have been the end of a reset, and of the sending part.
    fn after_acked(&mut self, id: StreamId, reset: bool, done: bool) {
        if reset {
            self.events.push_back(StreamEvent::ResetAcked(id));
        }
        if done {
            self.close_if_done(id);
        }
    }

    /// Whether a frame that is under way may be said again before anybody knows what became of it: not what would end its
    /// stream if it is lost, for then a loss would go unnoticed, and a late acknowledgement pass for one.
    pub fn may_repeat(&self, frame: &SentFrame) -> bool {
        let SentFrame::Stream { id, .. } = frame else { return true };
        let send = self.streams.get(*id).and_then(|stream| stream.send.as_ref());
        send.is_none_or(Send::outlives_loss)
    }

    /// A frame of ours was lost.
    pub fn lost(&mut self, frame: SentFrame) {
        match frame {
            SentFrame::Stream { id, offset, len, fin } => {
                let Some(send) = self.send_mut(id) else { return };
                match send.lost(offset, len, fin) {
                    true => self.events.push_back(StreamEvent::CanceledByLoss(id)),
                    false => self.reschedule(id),
                }
            }
            SentFrame::ResetStream { id } if self.send_mut(id).is_some_and(Send::reset_lost) => {
                self.control.insert(id);
            }
            SentFrame::ResetStreamAt { id, reliable_size }
                if self.send_mut(id).is_some_and(|send| send.reset_at_lost(reliable_size)) =>
            {
                self.control.insert(id);
            }
            SentFrame::StopSending { id } if self.recv_mut(id).is_some_and(Recv::stop_lost) => {
                self.control.insert(id);
            }
            SentFrame::MaxStreamData { id, maximum }
                if self.recv_mut(id).is_some_and(|recv| recv.limit_lost(maximum)) =>
            {
                self.control.insert(id);
            }
            SentFrame::DataBlocked(limit) => drop(self.send_limit.blocked_again(limit)),
            SentFrame::StreamsBlocked { direction, limit } => {
                self.local[direction as usize].blocked_again(limit);
            }
            SentFrame::StreamDataBlocked { id, limit }
                if self.send_mut(id).is_some_and(|send| send.blocked_again(limit)) =>
            {
                self.control.insert(id);
            }
            SentFrame::MaxData(limit) if limit == self.receive_window.limit() => self.receive_window.say = Say::Due,
            SentFrame::MaxStreams { direction, maximum } => {
                let ids = &mut self.remote[direction as usize];
                if ids.limit() == maximum {
                    ids.say = Say::Due;
                }
            }
            _ => {}
        }
    }
}
