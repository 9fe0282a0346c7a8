//! Received data, from the protocol to a stream's handler, and the answers that come back.
//!
//! What a handler accepts is consumed: the peer gets credit. What it does not accept is kept and comes
//! again first. One receive at most is pended, and nothing is delivered meanwhile; any number of bytes may
//! be deferred. The end of the stream is told when everything before it was accepted; so a stream that is
//! over for the protocol stays until then.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tercel_proto::connection::Read;
use tercel_proto::error::ApiMisuse;
use tercel_wire::ApplicationErrorCode;

use super::Core;
use super::deliver::{tell_stream, tell_stream_by};
use super::streams::{Entry, Listening, Need, Note, Provided, ReceivePart, StreamKey};
use crate::event::StreamEvent;
use crate::receive::{Answer, FilledBuffer, Receive, ReceiveMemory, Rest, Space};
use crate::status::Error;

/// How many bytes one [`Receive`] gathers before the handler is called, about.
const GATHER: usize = 1 << 20;

/// Delivers what can be read.
pub(super) fn pump(mut core: Box<Core>, key: StreamKey) -> Box<Core> {
    if core.streams.get(key).is_some_and(|entry| entry.receives_into_buffers()) {
        return fill(core, key);
    }
    loop {
        let mut chunks = std::mem::take(&mut core.chunks);
        let Some(read) = core.gather(key, &mut chunks) else {
            core.chunks = chunks;
            // The answer to the last receive may have come.
            core = told_end(core, key);
            core = told_need(core, key);
            return told_reset(core, key);
        };
        if read.len > 0 || read.fin {
            let (mut answer, mut ended) = (Answer::All, false);
            core.told += read.len;
            core = tell_stream_by(core, key, |handler, stream| {
                let Gathered { offset, len, fin, early, .. } = read;
                let receive = Receive { stream, chunks: &mut chunks, offset, len, fin, early, answer: &mut answer };
                handler.event(stream, StreamEvent::Receive(receive));
                if fin && matches!(answer, Answer::All) {
                    // All of it was accepted.
                    ended = true;
                    handler.event(stream, StreamEvent::PeerSendShutdown);
                }
            });
            core.answered_receive(key, &read, answer);
            if ended {
                core.received_all(key);
                core.wind_up_if_gone(key);
            }
        }
        chunks.clear();
        core.chunks = chunks;
        core = told_end(core, key);
        if let Some(code) = read.reset {
            core = tell_stream(core, key, StreamEvent::PeerSendAborted(code));
        }
    }
}

/// What was read for one [`Receive`].
struct Gathered {
    offset: u64,
    len: usize,
    fin: bool,
    /// Some of it came as early data.
    early: bool,
    reset: Option<ApplicationErrorCode>,
}

/// Tells, once, that the memory is used up; and once that data waits for more.
fn told_need(mut core: Box<Core>, key: StreamKey) -> Box<Core> {
    let Some(entry) = core.streams.get(key).filter(|entry| entry.may_deliver()) else { return core };
    if entry.memory().is_none() {
        return core;
    }
    let bytes = entry.id.map_or(0, |id| core.proto.unread(id));
    let need = if bytes > 0 { Need::DataWaits } else { Need::UsedUp };
    match entry.is_news(need) {
        true => tell_stream(core, key, StreamEvent::ReceiveMemoryNeeded { bytes }),
        false => core,
    }
}

/// Tells that the peer has reset the stream even if no data may be delivered.
fn told_reset(mut core: Box<Core>, key: StreamKey) -> Box<Core> {
    let paused = |entry: &&mut Entry| entry.readable && !entry.may_deliver();
    let Some(id) = core.streams.get(key).filter(paused).and_then(|entry| entry.id) else { return core };
    let Some(code) = core.proto.read_reset(id) else { return core };
    core.drop_kept(key);
    core.close_receiving(key);
    tell_stream(core, key, StreamEvent::PeerSendAborted(code))
}

/// Tells of the end of the stream if everything before it was accepted.
fn told_end(mut core: Box<Core>, key: StreamKey) -> Box<Core> {
    let due = |entry: &&mut Entry| entry.finished && entry.kept.is_empty() && entry.pended.is_none();
    if core.streams.get(key).filter(due).is_none() {
        return core;
    }
    core.received_all(key);
    core = tell_stream(core, key, StreamEvent::PeerSendShutdown);
    core.wind_up_if_gone(key);
    core
}

/// Puts what can be read into the buffers that the application provided, and gives them back.
fn fill(mut core: Box<Core>, key: StreamKey) -> Box<Core> {
    loop {
        let filled = core.fill_one(key);
        let Some(entry) = core.streams.get(key) else { return core };
        let (end, reset) = (std::mem::take(&mut entry.finished), entry.reset.take());
        if end || reset.is_some() {
            core.close_receiving(key);
        }
        let again = filled.is_some();
        if let Some(filled) = filled {
            core = tell_stream(core, key, StreamEvent::ReceiveBuffer(filled));
        }
        if end {
            core = tell_stream(core, key, StreamEvent::PeerSendShutdown);
        } else if let Some(code) = reset {
            core = tell_stream(core, key, StreamEvent::PeerSendAborted(code));
        } else if core.streams.get(key).is_some_and(|entry| entry.is_news(Need::UsedUp)) {
            core = tell_stream(core, key, StreamEvent::ReceiveBufferNeeded);
        }
        if !again || end || reset.is_some() {
            return told_reset(core, key);
        }
    }
}

/// Puts data into the first memory, where there is room for it.
fn put(memory: &mut VecDeque<Box<dyn ReceiveMemory>>, data: &Bytes) -> Bytes {
    let Some(first) = memory.front_mut() else { return data.clone() };
    let there = first.put(data);
    if first.room() == 0 {
        memory.pop_front();
    }
    there
}

impl Core {
    /// Takes what can be read, at most a good [`GATHER`], for one receive.
    fn gather(&mut self, key: StreamKey, chunks: &mut Vec<Bytes>) -> Option<Gathered> {
        let entry = self.streams.get(key).filter(|entry| entry.readable && entry.may_deliver())?;
        if entry.finished && entry.kept.is_empty() {
            // The protocol's word of data that was read already.
            entry.readable = false;
            return None;
        }
        let id = entry.id?;
        entry.early = entry.early.max(self.proto.early(id).unwrap_or(0));
        let early = entry.delivered < entry.early;
        let mut read = Gathered { offset: entry.delivered, len: 0, fin: false, early, reset: None };
        while let Some(data) = entry.kept.pop_front() {
            read.len += data.len();
            chunks.push(data);
        }
        let kept = read.len;
        // Always something new behind what is kept, if there is.
        while (read.len < GATHER || read.len == kept) && !entry.finished {
            let room = match entry.memory() {
                Some(memory) => memory.front().map_or(0, |first| first.room()),
                None => {
                    read.len += self.proto.read_pieces(id, GATHER, chunks);
                    GATHER
                }
            };
            match self.proto.read(id, room) {
                // There is data, and no room for it.
                Ok(Read::Data(_)) if room == 0 => break,
                Ok(Read::Data(data)) => {
                    let data = match entry.memory() {
                        Some(memory) => put(memory, &data),
                        None => data,
                    };
                    read.len += data.len();
                    chunks.push(data);
                    continue;
                }
                Ok(Read::Finished) => entry.finished = true,
                Ok(Read::Reset(code)) => read.reset = Some(code),
                Ok(Read::Blocked) | Err(_) => {}
            }
            entry.readable = false;
            break;
        }
        read.fin = entry.finished;
        entry.readable &= !read.fin;
        if read.fin || read.reset.is_some() {
            entry.receive = ReceivePart::Done;
            entry.shared.receive_closed.store(true, Ordering::Relaxed);
        }
        entry.delivered += read.len as u64;
        entry.deferred += read.len as u64;
        (read.len > 0 || read.fin || read.reset.is_some()).then_some(read)
    }

    /// The application has accepted everything.
    fn received_all(&mut self, key: StreamKey) {
        if let Some(entry) = self.streams.get(key) {
            entry.finished = false;
        }
        self.close_receiving(key);
    }

    /// What a handler made of a receive.
    fn answered_receive(&mut self, key: StreamKey, read: &Gathered, answer: Answer) {
        match answer {
            Answer::All => self.consume(key, read.len as u64),
            Answer::Deferred => {}
            Answer::Part { left, rest } => {
                let accepted = read.len - left.iter().map(Bytes::len).sum::<usize>();
                self.consume(key, accepted as u64);
                // Who takes nothing of it will not take anything before there is more.
                self.keep(key, left, rest, accepted > 0 || rest == Rest::WhenEnabled);
            }
            Answer::Pended(data) => {
                let Some(entry) = self.streams.get(key) else { return };
                if entry.receive == ReceivePart::Done && !entry.finished {
                    // Stopped meanwhile.
                    return self.consume(key, read.len as u64);
                }
                entry.reopen_receiving(read.fin);
                entry.pended = Some(data);
                if let Some((accepted, rest)) = entry.answered_early.take() {
                    self.complete_receive(key, accepted, rest);
                }
            }
        }
    }

    /// Keeps what was delivered and not accepted; `again`: whether it may come again without anything new.
    fn keep(&mut self, key: StreamKey, left: Vec<Bytes>, rest: Rest, again: bool) {
        let Some(entry) = self.streams.get(key) else { return };
        let len = left.iter().map(|data| data.len() as u64).sum::<u64>();
        let wanted = entry.receive == ReceivePart::Open || entry.finished;
        if !wanted {
            // Stopped or reset meanwhile.
            return self.consume(key, len);
        }
        entry.reopen_receiving(entry.finished);
        entry.delivered -= len;
        entry.deferred -= len.min(entry.deferred);
        let kept = entry.kept.as_queue();
        left.into_iter().rev().for_each(|data| kept.push_front(data));
        entry.readable |= again;
        entry.receive_enabled &= rest == Rest::AtOnce;
        if entry.finished && entry.shared.is_left() {
            // Whose last handle went while all seemed to have been received has not told of that.
            let _ = self.stop(key, ApplicationErrorCode::default());
        }
    }

    /// The answer to a receive that was pended.
    pub(super) fn complete_receive(&mut self, key: StreamKey, accepted: usize, rest: Rest) {
        let Some(entry) = self.streams.get(key) else { return };
        let Some(mut data) = entry.pended.take() else {
            // Within the handler that has pended it.
            entry.answered_early = Some((accepted, rest));
            return;
        };
        let mut skip = accepted;
        data.retain_mut(|piece| {
            let cut = skip.min(piece.len());
            skip -= cut;
            drop(piece.split_to(cut));
            !piece.is_empty()
        });
        self.consume(key, accepted as u64);
        if !data.is_empty() {
            self.keep(key, data, rest, true);
        }
        self.wind_up_if_gone(key);
        self.note(key, Note::Pump);
    }

    /// Fills buffers of the application until one is full or there is no more data.
    fn fill_one(&mut self, key: StreamKey) -> Option<FilledBuffer> {
        let entry = self.streams.get(key).filter(|entry| entry.readable && entry.receive_enabled)?;
        let id = entry.id?;
        let Some(Space::Buffers(buffers)) = entry.provided.as_mut().map(|provided| &mut provided.space) else {
            return None;
        };
        let mut consumed = 0;
        while let Some(buffer) = buffers.front_mut()
            && buffer.len() < buffer.capacity()
        {
            match self.proto.read(id, buffer.capacity() - buffer.len()) {
                Ok(Read::Data(data)) => {
                    buffer.extend_from_slice(&data);
                    consumed += data.len() as u64;
                    continue;
                }
                Ok(Read::Finished) => entry.finished = true,
                Ok(Read::Reset(code)) => entry.reset = Some(code),
                Ok(Read::Blocked) | Err(_) => {}
            }
            entry.readable = false;
            break;
        }
        if buffers.is_empty() && entry.readable {
            // The end alone needs no space.
            entry.reset = self.proto.read_reset(id);
            entry.finished = entry.reset.is_none() && self.proto.read_end(id);
            entry.readable = !entry.finished && entry.reset.is_none();
        }
        let buffer = buffers.front_mut().filter(|buffer| !buffer.is_empty())?;
        let data = buffer.split();
        let is_last = buffer.capacity() == 0;
        if is_last {
            buffers.pop_front();
        }
        let offset = entry.delivered;
        entry.delivered += data.len() as u64;
        self.proto.consumed(self.now, id, consumed);
        Some(FilledBuffer { data, offset, is_last })
    }

    /// The application provides space.
    pub(super) fn provide(&mut self, key: StreamKey, space: Space) -> Result<(), Error> {
        let Some(entry) = self.streams.get(key) else { return Ok(()) };
        if entry.receive == ReceivePart::Done {
            return Err(ApiMisuse::ReceiveClosed.into());
        }
        let room = space.room();
        match &mut entry.provided {
            Some(provided) => provided.space.extend(space)?,
            none => *none = Some(Box::new(Provided { space, untold: 0, told: Need::None })),
        }
        if let Some(provided) = &mut entry.provided {
            provided.told = if room > 0 { Need::None } else { provided.told };
            provided.untold += room;
        }
        let readable = entry.readable;
        self.tell_space(key)?;
        if readable {
            self.note(key, Note::Pump);
        }
        Ok(())
    }

    /// Tells the protocol of space that it does not know of.
    pub(super) fn tell_space(&mut self, key: StreamKey) -> Result<(), Error> {
        if let Some(entry) = self.streams.get(key)
            && let (Some(id), Some(provided)) = (entry.id, &mut entry.provided)
        {
            let room = std::mem::take(&mut provided.untold);
            self.proto.provide_receive_space(id, room)?;
        }
        Ok(())
    }

    /// Gives the peer credit for what was delivered.
    pub(super) fn consume(&mut self, key: StreamKey, len: u64) {
        let Some(entry) = self.streams.get(key) else { return };
        let len = len.min(entry.deferred);
        entry.deferred -= len;
        let forgotten = entry.forgotten && entry.deferred == 0;
        if let (Some(id), true) = (entry.id, len > 0) {
            self.proto.consumed(self.now, id, len);
        }
        if forgotten {
            self.streams.remove(key);
        }
    }

    /// Nobody wants anything more.
    pub(super) fn stop_receiving(&mut self, key: StreamKey) {
        self.drop_kept(key);
        self.close_receiving(key);
        if let Some(entry) = self.streams.get(key)
            && let Some(data) = entry.pended.take()
        {
            let len = data.iter().map(|data| data.len() as u64).sum();
            self.consume(key, len);
        }
    }

    /// Nobody wants what was not accepted: the connection's credit for it goes back.
    fn drop_kept(&mut self, key: StreamKey) {
        let Some(entry) = self.streams.get(key) else { return };
        entry.finished = false;
        let len = std::mem::take(&mut entry.kept).iter().map(|data| data.len() as u64).sum::<u64>();
        if let (Some(id), true) = (entry.id, len > 0) {
            self.proto.consumed(self.now, id, len);
        }
    }

    /// Nothing more is received.
    fn close_receiving(&mut self, key: StreamKey) {
        if let Some(entry) = self.streams.get(key) {
            entry.receive = ReceivePart::Done;
            entry.readable = false;
            entry.provided = None;
            entry.shared.receive_closed.store(true, Ordering::Relaxed);
        }
    }

    /// A stream that is over for the protocol is over once the application has everything.
    pub(super) fn wind_up_if_gone(&mut self, key: StreamKey) {
        if self.streams.get(key).is_some_and(|entry| entry.gone && !entry.holds_data()) {
            self.wind_up(key);
        }
    }

    /// A stream's handler has heard its last event. What it holds of the receive window it holds on
    /// to: else many short streams could fill the memory of an application that reads slowly.
    pub(super) fn forget(&mut self, key: StreamKey) {
        let Some(entry) = self.streams.get(key) else { return };
        if let Listening::Handler(Some(handler)) = std::mem::replace(&mut entry.listening, Listening::Nobody) {
            handler.unboxed();
        }
        entry.forgotten = true;
        if entry.deferred > 0 {
            entry.shared.note_debt();
        }
        let held = if entry.shared.handles.are_gone() || self.is_closing() { u64::MAX } else { 0 };
        self.consume(key, held);
    }
}

impl Entry {
    /// Whether data may be delivered now.
    fn may_deliver(&self) -> bool {
        self.receive_enabled && self.pended.is_none()
    }

    /// Whether there is received data, or an end, that the application has not accepted.
    pub(super) fn holds_data(&self) -> bool {
        self.finished || self.pended.is_some() || !self.kept.is_empty()
    }

    /// The end of the stream was there and is not to be told yet.
    fn reopen_receiving(&mut self, finished: bool) {
        if finished {
            self.receive = ReceivePart::Open;
            self.shared.receive_closed.store(false, Ordering::SeqCst);
        }
    }

    fn receives_into_buffers(&self) -> bool {
        self.provided.as_ref().is_some_and(|provided| matches!(provided.space, Space::Buffers(_)))
    }

    /// Memory that the application lends, if it receives into such.
    fn memory(&mut self) -> Option<&mut VecDeque<Box<dyn ReceiveMemory>>> {
        match &mut self.provided.as_mut()?.space {
            Space::Memory(memory) => Some(memory),
            Space::Buffers(_) => None,
        }
    }

    /// Whether there is no more space, and the application has not been told as much of it.
    fn is_news(&mut self, need: Need) -> bool {
        let Some(provided) = &mut self.provided else { return false };
        let over = self.receive == ReceivePart::Done || self.finished || self.reset.is_some();
        let news = provided.space.is_empty() && !over && need > provided.told;
        if news {
            provided.told = need;
        }
        news
    }
}
