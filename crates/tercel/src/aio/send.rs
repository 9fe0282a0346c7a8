//! The sending part of a stream.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use tercel_proto::error::ApiMisuse;
use tercel_wire::{ApplicationErrorCode, StreamId};

use super::error::WriteError;
use super::state::{End, StreamState, lock, wake};
use crate::connection::Connection;
use crate::status::Error;
use crate::stream::{SendOptions, Stream};

/// The sending part of a stream.
///
/// Writing takes bytes until `send_buffer` of them (a setting) wait for acknowledgement. Dropped
/// before [`finish`](Self::finish) or [`reset`](Self::reset), the stream is finished: what was
/// written is delivered, and the peer sees its end.
///
/// ```
/// use tercel::Bytes;
/// use tercel::aio::{SendStream, WriteError};
///
/// async fn send(mut stream: SendStream) -> Result<(), Box<dyn std::error::Error>> {
///     stream.write_all(b"this is copied, ").await?;
///     stream.write_chunk(Bytes::from_static(b"this is not")).await?;
///     // It is a writer of tokio, too.
///     let mut file = tokio::fs::File::open("more").await?;
///     match tokio::io::copy(&mut file, &mut stream).await {
///         Ok(_) => stream.finish()?,
///         // Or the peer would take what came for the whole.
///         Err(_) => stream.reset(1u32.into())?,
///     }
///     // Until the peer has it all, or wants no more.
///     if let Some(code) = stream.stopped().await? {
///         println!("the peer has lost interest: {code}");
///     }
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct SendStream {
    stream: Stream,
    state: Arc<Mutex<StreamState>>,
    /// Streams keep their connection open.
    _connection: Connection,
    ended: bool,
}

/// A write copies at most so much at a time, so that memory is given back piece by piece.
const MAX_COPY: usize = 256 << 10;

impl SendStream {
    pub(super) fn new(stream: Stream, state: Arc<Mutex<StreamState>>) -> Self {
        let connection = stream.connection();
        Self { stream, state, _connection: connection, ended: false }
    }

    /// Its ID; `None` for a moment after it was opened.
    pub fn id(&self) -> Option<StreamId> {
        self.stream.id()
    }

    /// Waits until it has an [ID](Self::id). Nothing else needs to wait for that.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn started(&self) -> Result<(), WriteError> {
        let failed = poll_fn(|context| {
            let mut state = lock(&self.state);
            match (self.stream.id(), &state.started) {
                (Some(_), _) | (None, Some(Ok(()))) => Poll::Ready(false),
                (None, Some(Err(_))) => Poll::Ready(true),
                (None, None) => {
                    state.opener.wait(context);
                    Poll::Pending
                }
            }
        });
        if failed.await { Err(self.why_ended()) } else { Ok(()) }
    }

    /// The handle of the callback face, to [inspect](Stream::inspect) the stream, say.
    pub const fn handle(&self) -> &Stream {
        &self.stream
    }

    /// Writes what `data` gives, which is told how much there may be.
    fn poll_submit(&self, context: &Context<'_>, data: impl FnOnce(usize) -> Bytes) -> Poll<Result<usize, WriteError>> {
        if self.ended {
            return Poll::Ready(Err(WriteError::Ended));
        }
        let mut state = lock(&self.state);
        match &state.send_end {
            Some(End::ByPeer(code)) => return Poll::Ready(Err(WriteError::Stopped(*code))),
            Some(End::Connection(reason)) => return Poll::Ready(Err(WriteError::Connection(reason.clone()))),
            Some(End::Lost) => return Poll::Ready(Err(WriteError::CanceledByLoss)),
            Some(End::Finished | End::Here) => return Poll::Ready(Err(WriteError::Ended)),
            None => {}
        }
        match state.limit.saturating_sub(state.outstanding) {
            0 => {
                state.writer.wait(context);
                Poll::Pending
            }
            room => {
                let data = data(room);
                let len = data.len();
                state.written(len);
                let cancel_on_loss = state.cancel_on_loss.is_some();
                drop(state);
                let options = SendOptions { context: Some(len as u64), cancel_on_loss, ..SendOptions::default() };
                self.stream.send_with(data, options).map_err(|_| self.why_ended())?;
                Poll::Ready(Ok(len))
            }
        }
    }

    fn why_ended(&self) -> WriteError {
        match &lock(&self.state).send_end {
            Some(End::ByPeer(code)) => return WriteError::Stopped(*code),
            Some(End::Lost) => return WriteError::CanceledByLoss,
            _ => {}
        }
        match self.stream.connection().close_reason() {
            Some(reason) => WriteError::Connection(reason),
            None => WriteError::Ended,
        }
    }

    /// Writes some of `data` by copying it; gives how many bytes.
    pub fn poll_write_bytes(&mut self, context: &Context<'_>, data: &[u8]) -> Poll<Result<usize, WriteError>> {
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.poll_submit(context, |room| Bytes::copy_from_slice(&data[..data.len().min(room).min(MAX_COPY)]))
    }

    /// Writes some of `data` by copying it; gives how many bytes.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn write(&mut self, data: &[u8]) -> Result<usize, WriteError> {
        poll_fn(|context| self.poll_write_bytes(context, data)).await
    }

    /// Writes all of `data` by copying it.
    ///
    /// # Errors
    /// [`WriteError`]; how much was written before is not told.
    pub async fn write_all(&mut self, mut data: &[u8]) -> Result<(), WriteError> {
        while !data.is_empty() {
            let len = self.write(data).await?;
            data = &data[len..];
        }
        Ok(())
    }

    /// Takes what can be written now from the front of `data`, without copying it; gives how many bytes.
    pub fn poll_write_chunk(&mut self, context: &Context<'_>, data: &mut Bytes) -> Poll<Result<usize, WriteError>> {
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.poll_submit(context, |room| data.split_to(room.min(data.len())))
    }

    /// Writes all of `data` without copying it.
    ///
    /// # Errors
    /// [`WriteError`]; how much was written before is not told.
    pub async fn write_chunk(&mut self, mut data: Bytes) -> Result<(), WriteError> {
        while !data.is_empty() {
            poll_fn(|context| self.poll_write_chunk(context, &mut data)).await?;
        }
        Ok(())
    }

    /// Ends the stream: the peer sees its end behind what was written.
    ///
    /// # Errors
    /// It was finished or reset before, or the connection has ended.
    pub fn finish(&mut self) -> Result<(), WriteError> {
        if self.ended {
            return Err(WriteError::Ended);
        }
        self.ended = true;
        self.stream.finish().map_err(|_| self.why_ended())
    }

    /// Ends the stream abruptly.
    ///
    /// # Errors
    /// As for [`finish`](Self::finish).
    pub fn reset(&mut self, code: ApplicationErrorCode) -> Result<(), WriteError> {
        self.ended = true;
        lock(&self.state).send_end.get_or_insert(End::Here);
        self.stream.reset(code).map_err(|_| self.why_ended())
    }

    /// Ends the stream abruptly, but delivers the first `reliable_size` bytes that were written before the
    /// peer learns of it (draft-ietf-quic-reliable-stream-reset).
    ///
    /// # Errors
    /// The peer does not understand such a reset, and nothing was done; otherwise as for
    /// [`finish`](Self::finish).
    pub fn reset_at(&mut self, code: ApplicationErrorCode, reliable_size: u64) -> Result<(), WriteError> {
        match self.stream.reset_at(code, reliable_size) {
            Ok(()) => {
                self.ended = true;
                lock(&self.state).send_end.get_or_insert(End::Here);
                Ok(())
            }
            Err(Error::Misuse(ApiMisuse::ResetAtUnsupported)) => Err(WriteError::Unsupported),
            Err(_) => Err(self.why_ended()),
        }
    }

    /// Marks a stream that lasts as long as its connection:
    /// [`Connection::shutdown`](super::Connection::shutdown) waits until what was written to it is
    /// acknowledged, but not for its end.
    pub fn set_lasting(&self) {
        let wakers = lock(&self.state).lasts();
        wake(wakers);
    }

    /// From the next write on the stream is given up, and reset with `code`, once something that was sent
    /// on it is lost; nothing is sent again. For what is of no use when it comes late.
    pub fn cancel_on_loss(&mut self, code: ApplicationErrorCode) {
        lock(&self.state).cancel_on_loss = Some(code);
    }

    /// Waits until the peer has acknowledged everything after [`finish`](Self::finish) (`None`), or
    /// has asked to stop (its code).
    ///
    /// # Errors
    /// The connection ended before.
    pub async fn stopped(&mut self) -> Result<Option<ApplicationErrorCode>, WriteError> {
        poll_fn(|context| {
            let mut state = lock(&self.state);
            let result = match &state.send_end {
                Some(End::ByPeer(code)) => Ok(Some(*code)),
                Some(End::Connection(reason)) => Err(WriteError::Connection(reason.clone())),
                Some(End::Finished) => Ok(None),
                Some(End::Here) => Err(WriteError::Ended),
                Some(End::Lost) => Err(WriteError::CanceledByLoss),
                None => {
                    state.writer.wait(context);
                    return Poll::Pending;
                }
            };
            Poll::Ready(result)
        })
        .await
    }

    /// Higher is sent first; streams of equal priority take turns. Default 0.
    ///
    /// # Errors
    /// The connection has ended.
    pub fn set_priority(&self, priority: i32) -> Result<(), WriteError> {
        self.stream.set_priority(priority).map_err(|_| self.why_ended())
    }
}

impl Drop for SendStream {
    fn drop(&mut self) {
        if !self.ended {
            // Nothing is left to finish if the connection has ended.
            let _ = self.stream.finish();
        }
    }
}

impl tokio::io::AsyncWrite for SendStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_bytes(context, data).map_err(io::Error::from)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(if self.ended { Ok(()) } else { self.finish().map_err(io::Error::from) })
    }
}

impl futures_io::AsyncWrite for SendStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_bytes(context, data).map_err(io::Error::from)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(if self.ended { Ok(()) } else { self.finish().map_err(io::Error::from) })
    }
}
