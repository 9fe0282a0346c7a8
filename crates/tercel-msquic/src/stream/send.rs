//! What is sent. The memory is the application's until SEND_COMPLETE: Tercel reads it when it makes packets, and
//! lets go of it when it is acknowledged, when the stream is reset, and when the connection ends.

use std::collections::VecDeque;
use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use tercel::SendOptions;

use super::{Call, Stage, Stream};
use crate::abi::{Buffer, Status, send};
use crate::boundary::{self, Context};
use crate::outcome::status_of;

/// The first of the sends whose completion is still to be told, and of most streams the only one. It is put there under the
/// lock of the state, and taken by who is inside the gate, without it.
#[derive(Default)]
pub(super) struct First {
    /// Its number, or 0.
    number: AtomicU64,
    context: AtomicPtr<c_void>,
    /// None wait behind it, and no more is accepted. Once so it stays so.
    is_last: AtomicBool,
}

impl First {
    /// Puts it there, if there is none.
    fn put(&self, number: u64, context: Context) -> bool {
        let is_free = self.number.load(Ordering::Acquire) == 0;
        if is_free {
            self.context.store(context.0, Ordering::Relaxed);
            self.number.store(number, Ordering::Release);
        }
        is_free
    }

    /// Takes it, if it has this number. By who is inside the gate; or by who has put it there under the lock that is
    /// still held, when it was not sent.
    pub(super) fn take(&self, number: u64) -> Option<Context> {
        if self.number.load(Ordering::Acquire) != number {
            return None;
        }
        let context = self.context.load(Ordering::Relaxed);
        self.number.store(0, Ordering::Release);
        Some(Context(context))
    }

    /// Whether all is told, and there will be no more.
    pub(super) fn was_last(&self) -> bool {
        self.is_last.load(Ordering::Acquire) && self.number.load(Ordering::Acquire) == 0
    }
}

/// Sends whose completion is still to be told, by number: those behind the [`First`].
#[derive(Default)]
#[allow(clippy::box_collection, reason = "a VecDeque has four words, and this one")]
pub(super) struct Outstanding {
    last: u64,
    /// Mostly none.
    sends: Option<Box<VecDeque<(u64, Context)>>>,
    /// Why no more is accepted.
    refused: Option<Status>,
}

impl Outstanding {
    fn add(&mut self, first: &First, context: Context) -> u64 {
        self.last += 1;
        if !self.is_empty() || !first.put(self.last, context) {
            self.sends.get_or_insert_default().push_back((self.last, context));
        }
        self.last
    }

    fn is_empty(&self) -> bool {
        self.sends.as_ref().is_none_or(|sends| sends.is_empty())
    }

    /// A send that is not the first is done with.
    pub(super) fn take(&mut self, first: &First, number: u64) -> Option<Context> {
        let sends = self.sends.as_mut()?;
        let at = sends.iter().position(|(of, _)| *of == number)?;
        let context = sends.remove(at).map(|(_, context)| context);
        self.note_last(first);
        context
    }

    fn note_last(&self, first: &First) {
        if self.refused.is_some() && self.is_empty() {
            first.is_last.store(true, Ordering::Release);
        }
    }

    /// The application has ended the sending part, or there is no stream any more.
    pub(super) fn close(&mut self, first: &First) {
        self.refused.get_or_insert(Status::INVALID_STATE);
        self.note_last(first);
    }

    /// The peer wants no more, which is the better reason of the two.
    pub(super) fn stop(&mut self, first: &First) {
        self.refused = Some(Status::ABORTED);
        self.note_last(first);
    }

    /// The next of those that are left, and there will be no more. By who is inside the gate.
    pub(super) fn seal(&mut self, first: &First) -> Option<Context> {
        let number = first.number.load(Ordering::Acquire);
        let next = match number {
            0 => self.sends.as_mut().and_then(|sends| sends.pop_front()).map(|(_, context)| context),
            number => first.take(number),
        };
        self.close(first);
        next
    }
}

/// Memory of the application's, as it lies there.
///
/// # Safety
/// It stays valid and unchanged for as long as it is read: what is sent until SEND_COMPLETE, and that is not told before
/// Tercel reads it no more, since it is acknowledged, or reset, or its connection has ended (which its queue knows before
/// anybody else does); what was received until all of it was accepted.
pub(super) unsafe fn lent(pointer: *const u8, len: usize) -> Bytes {
    // SAFETY: as demanded of the caller. That it is for ever is not said by anybody, and not needed.
    Bytes::from_static(unsafe { std::slice::from_raw_parts(pointer, len) })
}

impl Stream {
    /// Sends what is in `buffers`.
    ///
    /// # Errors
    /// [`Status::INVALID_PARAMETER`], [`Status::INVALID_STATE`], [`Status::ABORTED`]: nothing of it is sent, and no
    /// completion follows.
    ///
    /// # Safety
    /// The bytes of the buffers are there until the completion.
    pub(super) unsafe fn send(
        self: &Arc<Self>,
        buffers: &[Buffer],
        flags: u32,
        context: Context,
    ) -> Result<(), Status> {
        let mut total = 0;
        for buffer in buffers {
            if buffer.length > 0 && buffer.buffer.is_null() {
                return Err(Status::INVALID_PARAMETER);
            }
            total += u64::from(buffer.length);
        }
        if total > u32::MAX.into() {
            return Err(Status::INVALID_PARAMETER);
        }
        let mut state = self.state();
        if let Some(refused) = state.sends.refused {
            return Err(refused);
        }
        if self.send_ended.load(Ordering::Acquire) || self.is_over() {
            return Err(Status::INVALID_STATE);
        }
        let copies = self.manners.buffers_sends && total <= self.ideal();
        if !matches!(state.stage, Stage::Live(_)) && self.connection.late() == Some(Status::ABORTED) {
            return Err(Status::ABORTED);
        }
        // SAFETY: as demanded of the caller.
        let read_there = |buffer: &Buffer| unsafe { lent(buffer.buffer.cast_const(), buffer.length as usize) };
        let (last, before) = match buffers {
            // SAFETY: as demanded of the caller.
            _ if copies => (unsafe { copied(buffers, total) }, &[][..]),
            // As most are.
            [one] if total > 0 => (read_there(one), &[][..]),
            // The completion belongs to the last byte.
            _ => match buffers.iter().rposition(|buffer| buffer.length > 0) {
                Some(last) => (read_there(&buffers[last]), &buffers[..last]),
                None => (Bytes::new(), &[][..]),
            },
        };
        let base = SendOptions {
            after_handshake: flags & send::ALLOW_0_RTT == 0,
            cancel_on_loss: flags & send::CANCEL_ON_LOSS != 0,
            ..SendOptions::default()
        };
        let number = state.sends.add(&self.first, context);
        let options = SendOptions {
            context: Some(number),
            fin: flags & send::FIN != 0,
            more_follows: flags & send::DELAY_SEND != 0,
            done_when_taken: copies,
            ..base
        };
        let sent = match &state.stage {
            // As most are: one buffer on a running stream.
            Stage::Live(live) if before.is_empty() => live.send_with(last, options).map_err(|error| status_of(&error)),
            _ => {
                let before = before.iter().filter(|buffer| buffer.length > 0).map(read_there);
                let piece = |piece| (piece, SendOptions { more_follows: true, ..base });
                let pieces = before.map(piece).chain([(last, options)]).collect();
                self.call(&mut state, Call::Send(pieces))
            }
        };
        match sent {
            Ok(()) if flags & send::FIN != 0 => state.sends.close(&self.first),
            Ok(()) => {}
            Err(_) => drop(self.first.take(number).or_else(|| state.sends.take(&self.first, number))),
        }
        let starts = flags & send::START != 0 && matches!(state.stage, Stage::Before { started: false, .. });
        drop(state);
        sent?;
        if starts {
            // If there is no connection for it, the send is canceled when it is closed.
            let _ = self.start(crate::abi::stream_start::IMMEDIATE);
        }
        Ok(())
    }
}

/// # Safety
/// The bytes of the buffers are there.
unsafe fn copied(buffers: &[Buffer], total: u64) -> Bytes {
    let mut data = BytesMut::with_capacity(total as usize);
    for buffer in buffers {
        // SAFETY: as demanded of the caller.
        data.extend_from_slice(unsafe { boundary::bytes(buffer) }.unwrap_or_default());
    }
    data.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(number: usize) -> Context {
        Context(std::ptr::without_provenance_mut(number))
    }

    /// Each is told once, by number; those that are left in the order in which they were sent.
    #[test]
    fn every_send_is_told_once() {
        for told in [vec![], vec![1], vec![2], vec![3], vec![1, 2], vec![2, 1], vec![3, 1], vec![1, 2, 3]] {
            let (first, mut behind) = (First::default(), Outstanding::default());
            let take = |behind: &mut Outstanding, number| first.take(number).or_else(|| behind.take(&first, number));
            for number in 1..=3 {
                assert_eq!(behind.add(&first, context(number as usize)), number);
            }
            for number in &told {
                assert_eq!(take(&mut behind, *number), Some(context(*number as usize)));
                assert_eq!(take(&mut behind, *number), None);
            }
            assert_eq!(behind.add(&first, context(4)), 4);
            behind.close(&first);
            for number in (1..=4).filter(|number| !told.contains(number)) {
                assert!(!first.was_last());
                assert_eq!(behind.seal(&first), Some(context(number as usize)), "after {told:?}");
            }
            assert!(first.was_last() && behind.seal(&first).is_none());
        }
    }
}
