//! Memory of the application's to receive into (`StreamProvideReceiveBuffers`). It is the application's again when all
//! of it was shown and accepted, and when nothing more is received on the stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use tercel::{Direction, ReceiveMemory};

use super::send::lent;
use super::{Call, State, Stream};
use crate::abi::{Buffer, Status};

/// Whether a stream receives into the application's memory.
#[derive(Default)]
pub(super) enum Memory {
    /// It does not.
    #[default]
    None,
    /// It does.
    Lent(Arc<Loan>),
}

/// What all pieces of a stream share.
#[derive(Default)]
pub(super) struct Loan {
    /// How much room is left.
    room: AtomicU64,
    /// The memory is the application's own again, whoever still holds pieces.
    ended: AtomicBool,
}

impl Memory {
    pub(super) fn lent() -> Self {
        Self::Lent(Arc::default())
    }

    pub(super) const fn is_lent(&self) -> bool {
        matches!(self, Self::Lent(_))
    }

    /// Nothing is put there from now on. To be called on the connection's own thread, or before that is waited for.
    pub(super) fn end(&self) {
        if let Self::Lent(loan) = self {
            loan.ended.store(true, Ordering::Release);
        }
    }
}

/// One buffer.
struct Piece {
    pointer: *mut u8,
    len: usize,
    filled: usize,
    loan: Arc<Loan>,
}

// SAFETY: memory can be written from any thread, and the application leaves it alone until it is its own again.
unsafe impl Send for Piece {}

impl Piece {
    fn boxed(buffer: &Buffer, loan: &Arc<Loan>) -> Box<dyn ReceiveMemory> {
        loan.room.fetch_add(buffer.length.into(), Ordering::Relaxed);
        Box::new(Self { pointer: buffer.buffer, len: buffer.length as usize, filled: 0, loan: loan.clone() })
    }
}

impl ReceiveMemory for Piece {
    fn room(&self) -> usize {
        self.len - self.filled
    }

    fn put(&mut self, data: &[u8]) -> Bytes {
        let len = data.len().min(self.room());
        if self.loan.ended.load(Ordering::Acquire) {
            return Bytes::copy_from_slice(data);
        }
        // SAFETY: the application has lent `self.len` bytes there, until all of them were accepted, which cannot be
        // before they were put there, or until nothing more is received, when this is dropped or the loan has ended;
        // `filled + len` is within them.
        let there = unsafe {
            let there = self.pointer.add(self.filled);
            std::ptr::copy_nonoverlapping(data.as_ptr(), there, len);
            there
        };
        self.filled += len;
        self.loan.room.fetch_sub(len as u64, Ordering::Relaxed);
        // SAFETY: as above; what was received is looked at when it has just been put there.
        unsafe { lent(there, len) }
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.loan.room.fetch_sub(self.room() as u64, Ordering::Relaxed);
    }
}

impl Stream {
    /// The application hears of the peer's stream, and may lend memory for it meanwhile.
    pub(crate) fn while_offered<R>(&self, tell: impl FnOnce() -> R) -> R {
        self.offered.store(true, Ordering::Relaxed);
        let result = tell();
        self.offered.store(false, Ordering::Relaxed);
        result
    }

    pub(super) fn receive_into_memory(&self, state: &mut State) {
        self.holds.store(true, Ordering::Release);
        state.memory = Memory::lent();
    }

    /// `StreamProvideReceiveBuffers`.
    ///
    /// # Errors
    /// [`Status::INVALID_STATE`]: the stream does not receive into the application's memory;
    /// [`Status::INVALID_PARAMETER`]: it is too much.
    ///
    /// # Safety
    /// The memory of the buffers is there until it is the application's again.
    pub(super) unsafe fn provide(&self, buffers: &[Buffer]) -> Result<(), Status> {
        // Within the callback, and from no other thread.
        let offered = self.connection.is_in_callback() && self.offered.load(Ordering::Relaxed);
        let mut state = self.state();
        if offered && !state.memory.is_lent() {
            self.receive_into_memory(&mut state);
        }
        let Memory::Lent(loan) = &state.memory else { return Err(Status::INVALID_STATE) };
        let more = buffers.iter().map(|buffer| u64::from(buffer.length)).sum::<u64>();
        if loan.room.load(Ordering::Relaxed).saturating_add(more) > u32::MAX.into() {
            return Err(Status::INVALID_PARAMETER);
        }
        if self.local && self.direction == Direction::Unidirectional || self.is_over() {
            // Nothing is received.
            return Ok(());
        }
        let pieces = buffers.iter().map(|buffer| Piece::boxed(buffer, loan)).collect();
        // What receives no more needs no memory.
        let _ = self.call(&mut state, Call::Lend(pieces));
        Ok(())
    }
}
