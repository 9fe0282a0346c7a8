//! The receiving part of a stream.

use std::future::poll_fn;
use std::io;
use std::mem::take;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tercel_wire::{ApplicationErrorCode, StreamId};

use super::error::{ReadError, ReadToEndError};
use super::state::{End, StreamState, lock};
use crate::connection::Connection;
use crate::stream::Stream;

/// The receiving part of a stream. What is not read holds the peer back. Dropped before its end, the
/// peer is asked to stop, with code 0.
///
/// ```
/// use tercel::aio::{ReadError, RecvStream};
///
/// async fn count(mut stream: RecvStream) -> Result<u64, ReadError> {
///     let mut bytes = 0;
///     // As they lie in their packets, without a copy. To read lines, say, use it as a reader of tokio.
///     while let Some(chunk) = stream.read_chunk(usize::MAX).await? {
///         bytes += chunk.len() as u64;
///         if bytes > 1_000_000 {
///             stream.stop(1u32.into())?;
///             break;
///         }
///     }
///     Ok(bytes)
/// }
/// ```
#[derive(Debug)]
pub struct RecvStream {
    stream: Stream,
    state: Arc<Mutex<StreamState>>,
    /// Streams keep their connection open.
    _connection: Connection,
    /// Bytes read for which the peer has not been given credit.
    uncredited: u64,
    ended: bool,
}

/// Credit is given for so much at a time, or when nothing is left to read.
const CREDIT: u64 = 128 << 10;

impl RecvStream {
    pub(super) fn new(stream: Stream, state: Arc<Mutex<StreamState>>) -> Self {
        let connection = stream.connection();
        Self { stream, state, _connection: connection, uncredited: 0, ended: false }
    }

    /// Its ID; `None` for a moment after it was opened.
    pub fn id(&self) -> Option<StreamId> {
        self.stream.id()
    }

    /// The handle of the callback face, to [inspect](Stream::inspect) the stream, say.
    pub const fn handle(&self) -> &Stream {
        &self.stream
    }

    /// The next bytes, at most `max`, as they lie in their packet; `None` at the end.
    pub fn poll_chunk(&mut self, context: &Context<'_>, max: usize) -> Poll<Result<Option<Bytes>, ReadError>> {
        let mut state = lock(&self.state);
        let Some(front) = state.chunks.front_mut() else {
            let result = match &state.receive_end {
                None => {
                    state.reader.wait(context);
                    drop(state);
                    self.give_credit();
                    return Poll::Pending;
                }
                Some(End::Finished) => Ok(None),
                Some(End::ByPeer(code)) => Err(ReadError::Reset(*code)),
                Some(End::Here | End::Lost) => Err(ReadError::Ended),
                Some(End::Connection(reason)) => Err(ReadError::Connection(reason.clone())),
            };
            drop(state);
            self.ended = true;
            self.give_credit();
            return Poll::Ready(result);
        };
        let chunk = if front.len() > max { Some(front.split_to(max)) } else { state.chunks.pop_front() };
        drop(state);
        self.uncredited += chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        if self.uncredited >= CREDIT {
            self.give_credit();
        }
        Poll::Ready(Ok(chunk))
    }

    fn give_credit(&mut self) {
        if self.uncredited > 0 {
            self.stream.consumed(take(&mut self.uncredited));
        }
    }

    /// The next bytes, at most `max`, without copying them; `None` at the end.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn read_chunk(&mut self, max: usize) -> Result<Option<Bytes>, ReadError> {
        poll_fn(|context| self.poll_chunk(context, max)).await
    }

    /// Reads some bytes into `buf`; gives how many, or `None` at the end.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn read(&mut self, buf: &mut [u8]) -> Result<Option<usize>, ReadError> {
        let chunk = self.read_chunk(buf.len()).await?;
        Ok(chunk.map(|chunk| {
            buf[..chunk.len()].copy_from_slice(&chunk);
            chunk.len()
        }))
    }

    /// Reads everything up to the end, at most `limit` bytes.
    ///
    /// # Errors
    /// [`ReadToEndError::TooLong`] if there is more; the stream is then stopped when it is dropped.
    pub async fn read_to_end(&mut self, limit: usize) -> Result<Vec<u8>, ReadToEndError> {
        let mut all = Vec::new();
        while let Some(chunk) = self.read_chunk(usize::MAX).await.map_err(ReadToEndError::Read)? {
            if all.len() + chunk.len() > limit {
                return Err(ReadToEndError::TooLong);
            }
            all.extend_from_slice(&chunk);
        }
        Ok(all)
    }

    /// Asks the peer to send no more.
    ///
    /// # Errors
    /// Everything was read, it was stopped before, or the connection has ended.
    pub fn stop(&mut self, code: ApplicationErrorCode) -> Result<(), ReadError> {
        if self.ended {
            return Err(ReadError::Ended);
        }
        self.ended = true;
        let mut state = lock(&self.state);
        // The connection's credit for what nobody will read is given back as well.
        self.uncredited += take(&mut state.chunks).map(|chunk| chunk.len() as u64).sum::<u64>();
        state.receive_end = Some(End::Here);
        drop(state);
        self.give_credit();
        self.stream.stop_sending(code).map_err(|_| match self.stream.connection().close_reason() {
            Some(reason) => ReadError::Connection(reason),
            None => ReadError::Ended,
        })
    }
}

impl Drop for RecvStream {
    fn drop(&mut self) {
        if !self.ended {
            // What has ended needs no stop.
            let _ = self.stop(0u32.into());
        }
    }
}

impl tokio::io::AsyncRead for RecvStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while buf.remaining() > 0 {
            let before = buf.filled().len();
            match self.poll_chunk(context, buf.remaining()) {
                Poll::Ready(Ok(Some(chunk))) => buf.put_slice(&chunk),
                Poll::Ready(Ok(None)) => break,
                Poll::Ready(Err(error)) if before == 0 => return Poll::Ready(Err(error.into())),
                Poll::Pending if before == 0 => return Poll::Pending,
                Poll::Ready(Err(_)) | Poll::Pending => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl futures_io::AsyncRead for RecvStream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let chunk = ready!(self.poll_chunk(context, buf.len()))?;
        Poll::Ready(Ok(chunk.map_or(0, |chunk| {
            buf[..chunk.len()].copy_from_slice(&chunk);
            chunk.len()
        })))
    }
}
