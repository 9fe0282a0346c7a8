//! What is received. The application is shown it where it lies, and says how much of it it took: at once, or later
//! by StreamReceiveComplete; and when it wants more.

use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use tercel::{PendingReceive, Receive, Rest};

use super::{Call, Stage, Stream};
use crate::abi::{self, Buffer, Status, StreamEventBody, receive as flag, stream_event};
use crate::connection::on_worker;

/// What is being received.
#[derive(Default)]
pub(super) enum Receiving {
    #[default]
    Nothing,
    /// The application looks at it. It may have said already how much it took, and that it wants more, whatever that
    /// was.
    Shown { completed: Option<u64>, enabled: bool },
    /// It will say later, and looks at `data` until then.
    Pending { receive: PendingReceive, data: Vec<Bytes> },
    /// The same, of more than one: the oldest first.
    Many { kept: VecDeque<Bytes>, behind: Behind },
    /// The stream is over, and the application may look until it closes the handle.
    Left {
        #[allow(dead_code, reason = "it keeps what the application looks at")]
        data: Vec<Bytes>,
    },
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
            Self::Pending { receive, data } => {
                *self = Self::Left { data };
                Some(receive)
            }
            other => {
                *self = other;
                None
            }
        }
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
    /// Data came in.
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
        self.state().receiving = Receiving::Shown { completed: None, enabled: false };
        let (status, body) = self.tell(stream_event::RECEIVE, StreamEventBody { receive: event });
        // SAFETY: this part of the union was written above; the application may have changed it.
        let taken = unsafe { body.receive.total_buffer_length }.min(len);
        let mut state = self.state();
        let (completed, enabled) = match std::mem::take(&mut state.receiving) {
            Receiving::Shown { completed, enabled } => (completed, enabled),
            _ => (None, false),
        };
        let rest = if enabled { Rest::AtOnce } else { Rest::WhenEnabled };
        let (taken, rest) = match (status, completed) {
            (Status::PENDING, None) => {
                let data = receive.chunks().to_vec();
                if let Ok(receive) = receive.pend() {
                    state.receiving = Receiving::Pending { receive, data };
                }
                return;
            }
            (Status::PENDING, Some(completed)) => (completed.min(len), rest),
            (Status::CONTINUE, _) => (taken, Rest::AtOnce),
            _ => (taken, rest),
        };
        drop(state);
        // No more than came was taken, and nothing was taken out.
        let _ = receive.accept(taken as usize, rest);
    }

    /// The same, while others may be outstanding.
    fn received_many(self: &Arc<Self>, mut receive: Receive<'_>, event: abi::Receive) {
        let len = event.total_buffer_length;
        receive.defer();
        {
            let mut state = self.state();
            if !matches!(state.receiving, Receiving::Many { .. }) {
                state.receiving = Receiving::Many { kept: VecDeque::new(), behind: Behind::Nothing };
            }
            if let Receiving::Many { kept, .. } = &mut state.receiving {
                kept.extend(receive.chunks().iter().cloned());
            }
        }
        let (status, body) = self.tell(stream_event::RECEIVE, StreamEventBody { receive: event });
        if status != Status::PENDING {
            // SAFETY: this part of the union was written above; the application may have changed it.
            let taken = unsafe { body.receive.total_buffer_length }.min(len);
            self.complete_receive(taken);
        }
    }

    /// `StreamReceiveComplete`.
    pub(super) fn complete_receive(self: &Arc<Self>, len: u64) {
        let mut state = self.state();
        let (consumed, behind) = match &mut state.receiving {
            Receiving::Nothing | Receiving::Left { .. } => return,
            Receiving::Shown { completed, .. } => {
                *completed = Some(completed.unwrap_or(0).saturating_add(len));
                return;
            }
            Receiving::Pending { .. } => {
                let before = std::mem::take(&mut state.receiving);
                drop(state);
                if let Receiving::Pending { receive, .. } = before {
                    match usize::try_from(len).ok().filter(|len| *len < receive.len()) {
                        // It is less than came.
                        Some(len) => drop(receive.complete_part(len, Rest::WhenEnabled)),
                        None => receive.complete(),
                    }
                }
                return;
            }
            Receiving::Many { kept, behind } => {
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

    /// The peer has sent everything.
    pub(super) fn received_all(self: &Arc<Self>) {
        if !self.holds_back(Behind::End) {
            self.tell_plain(stream_event::PEER_SEND_SHUTDOWN);
        }
    }

    /// It has ended.
    pub(super) fn ended(self: &Arc<Self>) {
        if !self.holds_back(Behind::Over) {
            self.settle();
        }
    }

    /// Whether something is told only when the application has taken what is outstanding, for by then it may have closed
    /// the handle else.
    fn holds_back(&self, event: Behind) -> bool {
        if !self.manners.receives_many {
            return false;
        }
        match &mut self.state().receiving {
            Receiving::Many { kept, behind } if !kept.is_empty() => match (*behind, event) {
                (Behind::Nothing, Behind::End) | (Behind::End, Behind::Over) => {
                    *behind = event;
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
            Receiving::Many { behind, .. } => std::mem::replace(behind, Behind::Unheld),
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
        let inside = self.connection.gate().is_inside();
        let mut state = self.state();
        if let Receiving::Shown { enabled: wanted, .. } = &mut state.receiving
            && inside
        {
            *wanted = enabled;
        }
        self.call(&mut state, Call::SetReceiveEnabled(enabled))
    }
}
