//! What is received. The application is shown it where it lies, and says how much of it it took: at once, or later
//! by StreamReceiveComplete; and when it wants more.

use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Buf as _, Bytes};
use tercel::{PendingReceive, Receive, Rest};

use super::events::Ending;
use super::{Call, Stage, Stream};
use crate::abi::{self, Buffer, Status, StreamEvent, StreamEventBody, receive as flag, stream_event};
use crate::connection::on_worker;

/// What is being received.
#[derive(Default)]
pub(super) enum Receiving {
    #[default]
    Nothing,
    /// It will say later, and looks at `data` until then.
    Pending(Box<Pending>),
    /// The same, of more than one.
    Many(Box<Many>),
    /// The stream is over, and the application may look until it closes the handle.
    Left {
        #[allow(dead_code, reason = "it keeps what the application looks at")]
        data: Box<[Bytes]>,
    },
}

/// See [`Receiving`].
pub(super) struct Pending {
    receive: PendingReceive,
    data: Vec<Bytes>,
}

/// See [`Receiving`].
pub(super) struct Many {
    /// The oldest first.
    kept: VecDeque<Bytes>,
    behind: Behind,
}

/// What is to be told when the application has taken all that is outstanding.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Behind {
    Nothing,
    /// The peer has sent everything.
    End,
    /// That, and the last event.
    Over,
    /// The application wants no more: nothing waits for it.
    Unheld,
}

impl Receiving {
    /// The stream is over. What the application looks at stays where it is; nobody waits for its answer.
    pub(super) fn end(&mut self) -> Option<PendingReceive> {
        match std::mem::take(self) {
            Self::Pending(pending) => {
                *self = Self::Left { data: pending.data.into_boxed_slice() };
                Some(pending.receive)
            }
            other => {
                *self = other;
                None
            }
        }
    }
}

/// What the application says of what it looks at before its callback has returned: how much it took, and that it wants
/// more, whatever that was. From any thread, and mostly nothing: so it is no part of what is locked.
#[derive(Default)]
pub(super) struct Answer(AtomicU64);

/// What it said.
struct Answered {
    completed: Option<u64>,
    rest: Rest,
}

/// Bits of an [`Answer`]: it is awaited; more is wanted; something was taken. Above them, how much.
const AWAITED: u64 = 1;
const ENABLED: u64 = 2;
const COMPLETED: u64 = 4;
const LEN_SHIFT: u32 = 3;

impl Answer {
    fn await_it(&self) {
        self.0.store(AWAITED, Ordering::Release);
    }

    /// What was said. It is awaited no more.
    fn take(&self) -> Answered {
        let bits = self.0.swap(0, Ordering::AcqRel);
        Answered { completed: (bits & COMPLETED != 0).then_some(bits >> LEN_SHIFT), rest: Self::rest(bits) }
    }

    /// It is awaited no more, for the callback has said how much was taken, which counts; that more is wanted it has
    /// said before, on this thread.
    fn forgo(&self) -> Rest {
        let bits = self.0.load(Ordering::Relaxed);
        self.0.store(0, Ordering::Release);
        Self::rest(bits)
    }

    const fn rest(bits: u64) -> Rest {
        if bits & ENABLED != 0 { Rest::AtOnce } else { Rest::WhenEnabled }
    }

    /// So many bytes were taken. `false`: nothing is awaited.
    fn complete(&self, len: u64) -> bool {
        self.change(|bits| {
            let taken = (bits >> LEN_SHIFT).saturating_add(len).min(u64::MAX >> LEN_SHIFT);
            taken << LEN_SHIFT | COMPLETED | bits & ENABLED
        })
    }

    /// Whether more is wanted.
    fn enable(&self, enabled: bool) {
        self.change(|bits| if enabled { bits | ENABLED } else { bits & !ENABLED });
    }

    fn change(&self, change: impl Fn(u64) -> u64) -> bool {
        let change = |bits: u64| (bits & AWAITED != 0).then(|| change(bits) | AWAITED);
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, change).is_ok()
    }
}

/// Where the application finds what it is shown: a list that stays where it is for as long as its stream.
#[derive(Default)]
pub(super) struct Shown(UnsafeCell<List>);

#[derive(Default)]
struct List {
    /// As most are.
    few: [Buffer; 2],
    many: Vec<Buffer>,
}

// SAFETY: whoever writes the list is the only one who does, and nobody else follows the pointers.
unsafe impl Send for Shown {}
// SAFETY: as above.
unsafe impl Sync for Shown {}

impl Shown {
    /// Writes the list of what was received; gives where it lies, and how long it is.
    ///
    /// # Safety
    /// This thread is the only one to call it, and the application has no use any more for what it was shown before.
    unsafe fn write(&self, chunks: &[Bytes]) -> (*const Buffer, u32) {
        let whole = chunks.iter().filter(|chunk| !chunk.is_empty());
        let buffers = whole.map(|chunk| Buffer { length: chunk.len() as u32, buffer: chunk.as_ptr().cast_mut() });
        // SAFETY: nobody else reads or writes the list, as demanded of the caller.
        let List { few, many } = unsafe { &mut *self.0.get() };
        let list = match chunks.len() <= few.len() {
            true => {
                let written = few.iter_mut().zip(buffers).map(|(to, buffer)| *to = buffer).count();
                &few[..written]
            }
            false => {
                many.clear();
                many.extend(buffers);
                &many[..]
            }
        };
        (if list.is_empty() { std::ptr::null() } else { list.as_ptr() }, list.len() as u32)
    }
}

impl Stream {
    /// Data came in. By who is inside the gate.
    pub(super) fn received(self: &Arc<Self>, mut receive: Receive<'_>) {
        // SAFETY: receives are told by the connection's own thread, and not before the one before was answered, or is
        // one of many, of which the application looks at the list only while it is told.
        let (buffers, buffer_count) = unsafe { self.shown.write(receive.chunks()) };
        let len = receive.len() as u64;
        let flags = if receive.fin() { flag::FIN } else { 0 } | if receive.is_early() { flag::ZERO_RTT } else { 0 };
        let event =
            abi::Receive { absolute_offset: receive.offset(), total_buffer_length: len, buffers, buffer_count, flags };
        if self.manners.receives_many && !self.state().memory.is_lent() {
            return self.received_many(receive, event);
        }
        self.answer.await_it();
        let mut event = StreamEvent { event_type: stream_event::RECEIVE, body: StreamEventBody { receive: event } };
        let status = self.tell_inside(&mut event);
        // SAFETY: this part of the union was written above; the application may have changed it.
        let taken = unsafe { event.body.receive.total_buffer_length }.min(len);
        let (taken, rest) = match status {
            Status::PENDING => {
                // Who answers from another thread either has done so or finds what is pended.
                let mut state = self.state();
                match self.answer.take() {
                    Answered { completed: Some(completed), rest } => (completed.min(len), rest),
                    Answered { completed: None, .. } => {
                        self.holds.store(true, Ordering::Release);
                        let data = receive.chunks().to_vec();
                        if let Ok(receive) = receive.pend() {
                            state.receiving = Receiving::Pending(Box::new(Pending { receive, data }));
                        }
                        return;
                    }
                }
            }
            Status::CONTINUE => {
                self.answer.forgo();
                (taken, Rest::AtOnce)
            }
            _ => (taken, self.answer.forgo()),
        };
        if taken < len {
            // Less than came was taken, and nothing was taken out.
            let _ = receive.accept(taken as usize, rest);
        }
    }

    /// The same, while others may be outstanding.
    fn received_many(self: &Arc<Self>, mut receive: Receive<'_>, event: abi::Receive) {
        let len = event.total_buffer_length;
        receive.defer();
        self.holds.store(true, Ordering::Release);
        {
            let mut state = self.state();
            if !matches!(state.receiving, Receiving::Many(_)) {
                let none = Many { kept: VecDeque::new(), behind: Behind::Nothing };
                state.receiving = Receiving::Many(Box::new(none));
            }
            if let Receiving::Many(many) = &mut state.receiving {
                many.kept.extend(receive.chunks().iter().cloned());
            }
        }
        let mut event = StreamEvent { event_type: stream_event::RECEIVE, body: StreamEventBody { receive: event } };
        if self.tell_inside(&mut event) != Status::PENDING {
            // SAFETY: this part of the union was written above; the application may have changed it.
            let taken = unsafe { event.body.receive.total_buffer_length }.min(len);
            self.complete_receive(taken);
        }
    }

    /// `StreamReceiveComplete`.
    pub(super) fn complete_receive(self: &Arc<Self>, len: u64) {
        if self.answer.complete(len) {
            return;
        }
        let mut state = self.state();
        let (consumed, behind) = match &mut state.receiving {
            Receiving::Nothing | Receiving::Left { .. } => return,
            Receiving::Pending(_) => {
                let before = std::mem::take(&mut state.receiving);
                drop(state);
                if let Receiving::Pending(pending) = before {
                    let receive = pending.receive;
                    match usize::try_from(len).ok().filter(|len| *len < receive.len()) {
                        // It is less than came.
                        Some(len) => drop(receive.complete_part(len, Rest::WhenEnabled)),
                        None => receive.complete(),
                    }
                }
                return;
            }
            Receiving::Many(many) => {
                let Many { kept, behind } = &mut **many;
                let mut left = len;
                while left > 0
                    && let Some(first) = kept.front_mut()
                {
                    let cut = left.min(first.len() as u64);
                    first.advance(cut as usize);
                    left -= cut;
                    if first.is_empty() {
                        kept.pop_front();
                    }
                }
                (len - left, if kept.is_empty() { std::mem::replace(behind, Behind::Nothing) } else { Behind::Nothing })
            }
        };
        if let Stage::Live(live) = &state.stage {
            live.consumed(consumed);
        }
        drop(state);
        self.tell_behind(behind);
    }

    /// It has ended. By who is inside the gate.
    pub(super) fn ended(self: &Arc<Self>, connection: Ending) {
        if !self.holds_back(Behind::Over) {
            self.settle_inside(connection);
        }
    }

    /// Whether something is told only when the application has taken what is outstanding, for by then it may have closed
    /// the handle else.
    #[inline]
    pub(super) fn holds_back(&self, event: Behind) -> bool {
        self.manners.receives_many && self.puts_behind(event)
    }

    #[cold]
    fn puts_behind(&self, event: Behind) -> bool {
        match &mut self.state().receiving {
            Receiving::Many(many) if !many.kept.is_empty() => match (many.behind, event) {
                (Behind::Nothing, Behind::End) | (Behind::End, Behind::Over) => {
                    many.behind = event;
                    true
                }
                _ => false,
            },
            _ => false,
        }
    }

    /// The application wants no more of what is outstanding.
    pub(super) fn hold_back_nothing(self: &Arc<Self>) {
        let before = match &mut self.state().receiving {
            Receiving::Many(many) => std::mem::replace(&mut many.behind, Behind::Unheld),
            _ => Behind::Nothing,
        };
        if before == Behind::Over {
            self.by_worker(Self::settle);
        }
    }

    fn tell_behind(self: &Arc<Self>, what: Behind) {
        match what {
            Behind::Nothing | Behind::Unheld => {}
            Behind::End => self.by_worker(|stream| stream.tell_plain(stream_event::PEER_SEND_SHUTDOWN)),
            Behind::Over => self.by_worker(|stream| {
                stream.tell_plain(stream_event::PEER_SEND_SHUTDOWN);
                stream.settle();
            }),
        }
    }

    fn by_worker(self: &Arc<Self>, act: fn(&Arc<Self>)) {
        let live = match &self.state().stage {
            Stage::Live(live) => live.connection(),
            _ => return,
        };
        let stream = self.clone();
        // If the connection has ended, it has settled its streams or is about to.
        let _ = on_worker(&live, &self.connection, Box::new(move || act(&stream)));
    }

    /// `StreamReceiveSetEnabled`.
    ///
    /// # Errors
    /// The stream has ended.
    pub(super) fn set_receive_enabled(&self, enabled: bool) -> Result<(), Status> {
        if self.connection.is_in_callback() {
            self.answer.enable(enabled);
        }
        self.call(&mut self.state(), Call::SetReceiveEnabled(enabled))
    }
}
