//! What is sent. The memory is the application's until SEND_COMPLETE: Tercel reads it when it makes packets, and
//! lets go of it when it is acknowledged, when the stream is reset, and when the connection ends.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};
use tercel::SendOptions;
use tercel_proto::short_queue::ShortQueue;

use super::{Call, Stage, Stream};
use crate::abi::{Buffer, Status, send};
use crate::boundary::{self, Context};
use crate::outcome::status_of;

/// Sends whose completion is still to be told, by number.
#[derive(Default)]
pub(super) struct Outstanding {
    next: u64,
    sends: ShortQueue<(u64, Context)>,
    /// Why no more is accepted.
    refused: Option<Status>,
}

impl Outstanding {
    fn add(&mut self, context: Context) -> u64 {
        let number = self.next;
        self.next += 1;
        self.sends.push_back((number, context));
        number
    }

    /// A send is done with.
    pub(super) fn take(&mut self, number: u64) -> Option<Context> {
        let at = match self.sends.front() {
            // As most are.
            Some((of, _)) if *of == number => return self.take_first(),
            _ => self.sends.iter().position(|(of, _)| *of == number)?,
        };
        self.sends.remove(at).map(|(_, context)| context)
    }

    fn take_first(&mut self) -> Option<Context> {
        self.sends.pop_front().map(|(_, context)| context)
    }

    /// Whether all is told, and there will be no more.
    pub(super) const fn are_over(&self) -> bool {
        self.refused.is_some() && self.sends.is_empty()
    }

    /// The application has ended the sending part, or there is no stream any more.
    pub(super) fn close(&mut self) {
        self.refused.get_or_insert(Status::INVALID_STATE);
    }

    /// The peer wants no more, which is the better reason of the two.
    pub(super) const fn stop(&mut self) {
        self.refused = Some(Status::ABORTED);
    }

    /// The next of those that are left, and there will be no more.
    pub(super) fn seal(&mut self) -> Option<Context> {
        self.close();
        self.take_first()
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
        // The completion belongs to the last byte.
        let filled = buffers.iter().rposition(|buffer| buffer.length > 0).map_or(0, |last| last + 1);
        let (last, before) = match buffers[..filled].split_last() {
            // SAFETY: as demanded of the caller.
            _ if copies => (unsafe { copied(buffers, total) }, &[][..]),
            Some((last, before)) => (read_there(last), before),
            None => (Bytes::new(), &[][..]),
        };
        let base = SendOptions {
            after_handshake: flags & send::ALLOW_0_RTT == 0,
            cancel_on_loss: flags & send::CANCEL_ON_LOSS != 0,
            ..SendOptions::default()
        };
        let number = state.sends.add(context);
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
            Ok(()) if flags & send::FIN != 0 => state.sends.close(),
            Ok(()) => {}
            Err(_) => drop(state.sends.take(number)),
        }
        let starts = flags & send::START != 0 && matches!(state.stage, Stage::Opened(_));
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
