//! Received data of a stream, and what the application can do with it.
//!
//! Without further ado everything counts as consumed when the handler returns. Besides, a handler can
//! take receives one at a time and answer later ([`Receive::pend`]); take a part and have the rest again
//! ([`Receive::accept`]); let many be outstanding and give credit as it goes ([`Receive::defer`]); or have
//! the data put into buffers of its own from the start ([`FilledBuffer`]), or into memory that it lends
//! ([`ReceiveMemory`]).

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use tercel_proto::error::ApiMisuse;

use crate::operation::StreamOperation;
use crate::status::Error;
use crate::stream::Stream;

/// Received data of a stream, in order.
#[derive(Debug)]
pub struct Receive<'a> {
    pub(crate) stream: &'a Stream,
    pub(crate) chunks: &'a mut Vec<Bytes>,
    pub(crate) offset: u64,
    pub(crate) len: usize,
    pub(crate) fin: bool,
    pub(crate) early: bool,
    pub(crate) answer: &'a mut Answer,
}

/// What a handler makes of a receive.
#[derive(Debug, Default)]
pub(crate) enum Answer {
    /// All is consumed.
    #[default]
    All,
    /// All is taken, and credit for it is given later.
    Deferred,
    /// A part is consumed; this is left.
    Part { left: Vec<Bytes>, rest: Rest },
    /// How much is consumed is told later; this is all of it.
    Pended(Vec<Bytes>),
}

/// When what was not accepted comes again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// At once, with what has come in meanwhile. If a handler accepts nothing at all, with what comes in
    /// next; if the window is full, or the end has come, nothing does before
    /// [`Stream::set_receive_enabled`] is called with `true`.
    AtOnce,
    /// Once [`Stream::set_receive_enabled`] is called with `true`: until then nothing is delivered.
    WhenEnabled,
}

impl Receive<'_> {
    /// The data, in pieces that are not copied. They lie in receive buffers of up to 64 KiB, which they
    /// hold on to: what is to be kept for long should be copied.
    pub fn chunks(&self) -> &[Bytes] {
        self.chunks
    }

    /// Takes the pieces out.
    pub fn take(&mut self) -> std::vec::Drain<'_, Bytes> {
        self.chunks.drain(..)
    }

    /// How many bytes came in all, taken out or not.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether no bytes came (the end of the stream alone did).
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where in the stream the first byte stands.
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether the stream ends after this.
    pub const fn fin(&self) -> bool {
        self.fin
    }

    /// Whether some of it came as early data: an attacker may have repeated it (RFC 8446 section 8).
    pub const fn is_early(&self) -> bool {
        self.early
    }

    /// Withholds the peer's credit for these bytes until [`Stream::consumed`] gives it, from any
    /// thread. Further data is delivered meanwhile, up to the receive window: several receives may be
    /// outstanding, and one call may give credit for a part of one or for many.
    pub fn defer(&mut self) {
        if matches!(self.answer, Answer::All) {
            *self.answer = Answer::Deferred;
        }
    }

    /// Accepts only the first `len` bytes: this now ends behind them, and the rest (and with it the end of
    /// the stream) comes again with a later receive. To be called before pieces are taken out.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`]: `len` is more than came, or pieces were taken out already;
    /// [`Error::Misuse`]: the receive was deferred, pended or cut before. Nothing has changed.
    pub fn accept(&mut self, len: usize, rest: Rest) -> Result<(), Error> {
        self.require_whole()?;
        if len > self.len {
            return Err(Error::InvalidArgument("more was accepted than received"));
        }
        if len == self.len {
            return Ok(());
        }
        let left = cut(self.chunks, len);
        (self.len, self.fin) = (len, false);
        *self.answer = Answer::Part { left, rest };
        Ok(())
    }

    /// Puts off the answer: no more is delivered on this stream until the [`PendingReceive`] is completed,
    /// from any thread. To be called before pieces are taken out; afterwards they may be.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`]: pieces were taken out already; [`Error::Misuse`]: the receive was
    /// deferred, pended or cut before.
    pub fn pend(&mut self) -> Result<PendingReceive, Error> {
        self.require_whole()?;
        *self.answer = Answer::Pended(self.chunks.clone());
        Ok(PendingReceive { stream: self.stream.clone(), len: self.len, completed: false })
    }

    fn require_whole(&self) -> Result<(), Error> {
        if !matches!(self.answer, Answer::All) {
            return Err(ApiMisuse::AlreadyDone.into());
        }
        match self.chunks.iter().map(Bytes::len).sum::<usize>() == self.len {
            true => Ok(()),
            false => Err(Error::InvalidArgument("pieces of the receive were taken out before")),
        }
    }
}

/// Leaves the first `len` bytes, and gives the rest.
fn cut(chunks: &mut Vec<Bytes>, len: usize) -> Vec<Bytes> {
    let (mut whole, mut before) = (0, 0);
    while let Some(chunk) = chunks.get(whole)
        && before + chunk.len() <= len
    {
        before += chunk.len();
        whole += 1;
    }
    let mut left: Vec<Bytes> = chunks.drain(whole..).collect();
    if let Some(divided) = left.first_mut().filter(|_| len > before) {
        chunks.push(divided.split_to(len - before));
    }
    left
}

/// A receive whose answer is still to come. While it lives no more data is delivered on its stream;
/// that the peer has reset the stream is told nevertheless. It keeps the stream open as a handle does.
/// Dropping it accepts everything.
#[derive(Debug)]
#[must_use = "dropping it accepts everything"]
pub struct PendingReceive {
    stream: Stream,
    len: usize,
    completed: bool,
}

impl PendingReceive {
    /// How many bytes came.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether no bytes came (the end of the stream alone did).
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The stream that it is of.
    pub const fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Accepts everything.
    pub fn complete(self) {
        drop(self);
    }

    /// Accepts the first `len` bytes; the rest comes again, `rest` says when.
    ///
    /// # Errors
    /// `len` is more than came: this is given back, and nothing has changed.
    pub fn complete_part(mut self, len: usize, rest: Rest) -> Result<(), Self> {
        if len > self.len {
            return Err(self);
        }
        self.answer(len, rest);
        Ok(())
    }

    fn answer(&mut self, accepted: usize, rest: Rest) {
        if !std::mem::replace(&mut self.completed, true) {
            // What the connection's end has overtaken needs no answer.
            let _ = self.stream.submit(StreamOperation::CompleteReceive { accepted, len: self.len, rest });
        }
    }
}

impl Drop for PendingReceive {
    fn drop(&mut self) {
        self.answer(self.len, Rest::AtOnce);
    }
}

/// Memory that an application lends, to have what is received put there: for those whose memory is no
/// [`BytesMut`] that they could give away. It is dropped when it is full, and when nothing more is received.
pub trait ReceiveMemory: Send + 'static {
    /// How many more bytes there is room for.
    fn room(&self) -> usize;

    /// Takes the next data, of which there is never more than [`room`](Self::room) for. Gives it as it lies there:
    /// that is what [`Receive`] shows.
    fn put(&mut self, data: &[u8]) -> Bytes;
}

/// What a stream receives into, in this order.
pub(crate) enum Space {
    /// Buffers that are given back.
    Buffers(VecDeque<BytesMut>),
    /// Memory that is shown where it lies.
    Memory(VecDeque<Box<dyn ReceiveMemory>>),
}

impl Space {
    /// How many bytes fit in.
    pub(crate) fn room(&self) -> u64 {
        match self {
            Self::Buffers(buffers) => buffers.iter().map(|buffer| buffer.capacity() as u64).sum(),
            Self::Memory(memory) => memory.iter().map(|memory| memory.room() as u64).sum(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Buffers(buffers) => buffers.is_empty(),
            Self::Memory(memory) => memory.is_empty(),
        }
    }

    /// # Errors
    /// It is of the other kind.
    pub(crate) fn extend(&mut self, more: Self) -> Result<(), Error> {
        match (self, more) {
            (Self::Buffers(buffers), Self::Buffers(more)) => buffers.extend(more),
            (Self::Memory(memory), Self::Memory(more)) => memory.extend(more),
            _ => return Err(ApiMisuse::NoReceiveBuffers.into()),
        }
        Ok(())
    }
}

/// Memory of the application that there is room in.
pub(crate) fn lent(memory: Vec<Box<dyn ReceiveMemory>>) -> Result<Space, Error> {
    match memory.iter().all(|memory| memory.room() > 0) {
        true => Ok(Space::Memory(memory.into())),
        false => Err(Error::InvalidArgument("memory to receive into has no room")),
    }
}

/// A buffer of the application, or a part of one, with what was received into it.
#[derive(Debug)]
pub struct FilledBuffer {
    pub(crate) data: BytesMut,
    pub(crate) offset: u64,
    pub(crate) is_last: bool,
}

impl FilledBuffer {
    /// The data: it lies where the application's buffer lies. Parts of one buffer that came one after the
    /// other can be joined again without a copy ([`BytesMut::unsplit`]).
    pub fn into_data(self) -> BytesMut {
        self.data
    }

    /// The data.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// Where in the stream the first byte stands.
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether this is all, or the last part, of a buffer: nothing more is written behind it.
    pub const fn is_used_up(&self) -> bool {
        self.is_last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every cut of every way to divide ten bytes into pieces.
    #[test]
    fn a_cut_loses_nothing_and_leaves_no_empty_piece() {
        let whole = Bytes::from_static(b"0123456789");
        for borders in 0..1 << 9 {
            for len in 0..=10 {
                let (mut chunks, mut from) = (Vec::new(), 0);
                for at in (1..10).filter(|at| borders >> (at - 1) & 1 == 1).chain([10]) {
                    chunks.push(whole.slice(from..at));
                    from = at;
                }
                let left = cut(&mut chunks, len);
                assert_eq!((chunks.concat(), left.concat()), (whole[..len].to_vec(), whole[len..].to_vec()));
                assert!(chunks.iter().chain(&left).all(|piece| !piece.is_empty()));
            }
        }
    }
}
