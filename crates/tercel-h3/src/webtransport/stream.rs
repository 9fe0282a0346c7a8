//! Streams of a session: those of the transport, with the codes of WebTransport, that end with their
//! session.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tercel::{StreamId, aio};
use tokio::io::ReadBuf;
use tokio::sync::futures::OwnedNotified;

use super::code::{SESSION_GONE, from_http, to_http};
use super::session::{Session, SessionEnd};

/// A write failed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WriteError {
    /// The peer wants no more data on the stream, with this code if it is one of WebTransport.
    Stopped(Option<u32>),
    /// The stream was finished or reset at this end.
    Ended,
    /// The session has ended.
    Session(SessionEnd),
}

impl std::fmt::Display for WriteError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stopped(Some(code)) => write!(f, "the peer stopped the stream with code {code}"),
            Self::Stopped(None) => f.write_str("the peer stopped the stream"),
            Self::Ended => f.write_str("the stream was finished or reset"),
            Self::Session(end) => end.fmt(f),
        }
    }
}

impl std::error::Error for WriteError {}

/// A read failed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadError {
    /// The peer reset the stream, with this code if it is one of WebTransport.
    Reset(Option<u32>),
    /// The stream was stopped at this end.
    Ended,
    /// The session has ended.
    Session(SessionEnd),
}

impl std::fmt::Display for ReadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Reset(Some(code)) => write!(f, "the peer reset the stream with code {code}"),
            Self::Reset(None) => f.write_str("the peer reset the stream"),
            Self::Ended => f.write_str("the stream was stopped"),
            Self::Session(end) => end.fmt(f),
        }
    }
}

impl std::error::Error for ReadError {}

/// Reading a stream to its end failed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadToEndError {
    /// A read failed.
    Read(ReadError),
    /// There was more than the limit.
    TooLong,
}

impl std::fmt::Display for ReadToEndError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Read(error) => error.fmt(f),
            Self::TooLong => f.write_str("the stream is longer than the limit"),
        }
    }
}

impl std::error::Error for ReadToEndError {}

impl From<WriteError> for io::Error {
    fn from(error: WriteError) -> Self {
        let kind = match error {
            WriteError::Stopped(_) => io::ErrorKind::ConnectionReset,
            WriteError::Ended => io::ErrorKind::BrokenPipe,
            WriteError::Session(_) => io::ErrorKind::NotConnected,
        };
        Self::new(kind, error)
    }
}

impl From<ReadError> for io::Error {
    fn from(error: ReadError) -> Self {
        let kind = match error {
            ReadError::Reset(_) => io::ErrorKind::ConnectionReset,
            ReadError::Ended => io::ErrorKind::BrokenPipe,
            ReadError::Session(_) => io::ErrorKind::NotConnected,
        };
        Self::new(kind, error)
    }
}

/// The session of a stream, and the wait for its end.
#[derive(Debug)]
struct Bond {
    session: Session,
    waiting: Option<Pin<Box<OwnedNotified>>>,
}

impl Bond {
    const fn new(session: Session) -> Self {
        Self { session, waiting: None }
    }

    fn end(&self) -> Option<SessionEnd> {
        self.session.state().ending().cloned()
    }

    /// Ready when the session has ended.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<SessionEnd> {
        loop {
            // Made before the look, so that nothing is missed after it.
            let changed = &self.session.state().changed;
            let waiting = self.waiting.get_or_insert_with(|| Box::pin(changed.clone().notified_owned()));
            if let Some(end) = self.session.state().ending() {
                return Poll::Ready(end.clone());
            }
            ready!(waiting.as_mut().poll(context));
            self.waiting = None;
        }
    }
}

/// The sending part of a stream of a session. Dropped before [`finish`](Self::finish) or
/// [`reset`](Self::reset), the stream is finished: what was written is delivered.
#[derive(Debug)]
pub struct SendStream {
    stream: aio::SendStream,
    /// It was finished or reset.
    ended: bool,
    bond: Bond,
}

impl SendStream {
    pub(super) const fn new(stream: aio::SendStream, session: Session) -> Self {
        Self { stream, ended: false, bond: Bond::new(session) }
    }

    /// Its ID.
    pub fn id(&self) -> Option<StreamId> {
        self.stream.id()
    }

    /// Ends the stream with its session.
    fn gone(&mut self, end: SessionEnd) -> WriteError {
        if !self.ended {
            self.ended = true;
            // What has ended needs no reset.
            let _ = self.stream.reset(SESSION_GONE.into());
        }
        WriteError::Session(end)
    }

    fn error(&mut self, error: aio::WriteError) -> WriteError {
        match error {
            aio::WriteError::Connection(_) => WriteError::Session(self.bond.session.state().end_with_connection()),
            aio::WriteError::Stopped(code) => match self.bond.end() {
                Some(end) => WriteError::Session(end),
                None => WriteError::Stopped(from_http(code)),
            },
            _ => WriteError::Ended,
        }
    }

    /// Takes what can be written now from the front of `data`, without copying it; gives how many bytes.
    pub fn poll_write_chunk(&mut self, context: &mut Context<'_>, data: &mut Bytes) -> Poll<Result<usize, WriteError>> {
        self.poll_with(context, |stream, context| stream.poll_write_chunk(context, data))
    }

    /// A write, unless the session has ended.
    fn poll_with<T>(
        &mut self,
        context: &mut Context<'_>,
        mut write: impl FnMut(&mut aio::SendStream, &mut Context<'_>) -> Poll<Result<T, aio::WriteError>>,
    ) -> Poll<Result<T, WriteError>> {
        if let Some(end) = self.bond.end() {
            return Poll::Ready(Err(self.gone(end)));
        }
        match write(&mut self.stream, context) {
            Poll::Ready(result) => Poll::Ready(result.map_err(|error| self.error(error))),
            Poll::Pending => {
                let end = ready!(self.bond.poll(context));
                Poll::Ready(Err(self.gone(end)))
            }
        }
    }

    /// Writes all of `data` by copying it.
    ///
    /// # Errors
    /// [`WriteError`]; how much was written before is not told.
    pub async fn write_all(&mut self, mut data: &[u8]) -> Result<(), WriteError> {
        while !data.is_empty() {
            let write =
                |stream: &mut aio::SendStream, context: &mut Context<'_>| stream.poll_write_bytes(context, data);
            let len = poll_fn(|context| self.poll_with(context, write)).await?;
            data.advance(len);
        }
        Ok(())
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
    /// It was finished or reset before, or the session has ended.
    pub fn finish(&mut self) -> Result<(), WriteError> {
        match self.bond.end() {
            Some(end) => Err(self.gone(end)),
            None => {
                self.ended = true;
                self.stream.finish().map_err(|error| self.error(error))
            }
        }
    }

    /// Ends the stream abruptly.
    ///
    /// # Errors
    /// As for [`finish`](Self::finish).
    pub fn reset(&mut self, code: u32) -> Result<(), WriteError> {
        self.ended = true;
        self.stream.reset(to_http(code)).map_err(|error| self.error(error))
    }

    /// Waits until the peer has acknowledged everything after [`finish`](Self::finish), or has asked to
    /// stop ([`WriteError::Stopped`]).
    ///
    /// # Errors
    /// The peer asked to stop, or the session ended before.
    pub async fn stopped(&mut self) -> Result<(), WriteError> {
        let session = self.bond.session.clone();
        tokio::select! {
            biased;
            stopped = self.stream.stopped() => match stopped {
                Ok(None) => Ok(()),
                Ok(Some(code)) => Err(self.error(aio::WriteError::Stopped(code))),
                Err(error) => Err(self.error(error)),
            },
            end = session.closed() => Err(self.gone(end)),
        }
    }

    /// Higher is sent first; streams of equal priority take turns. Default 0.
    ///
    /// # Errors
    /// The session has ended.
    pub fn set_priority(&mut self, priority: i32) -> Result<(), WriteError> {
        self.stream.set_priority(priority).map_err(|error| self.error(error))
    }
}

impl Drop for SendStream {
    fn drop(&mut self) {
        if !self.ended && self.bond.end().is_some() {
            // What has ended needs no reset.
            let _ = self.stream.reset(SESSION_GONE.into());
        }
    }
}

impl tokio::io::AsyncWrite for SendStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let written = self.poll_with(context, |stream, context| stream.poll_write_bytes(context, data));
        written.map_err(io::Error::from)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(match self.finish() {
            Ok(()) | Err(WriteError::Ended) => Ok(()),
            Err(error) => Err(error.into()),
        })
    }
}

/// The receiving part of a stream of a session. What is not read holds the peer back. Dropped before
/// its end, the peer is asked to stop, with code 0.
#[derive(Debug)]
pub struct RecvStream {
    stream: aio::RecvStream,
    /// What was read to learn whose the stream is.
    head: Bytes,
    ended: bool,
    bond: Bond,
}

impl RecvStream {
    pub(super) const fn new(stream: aio::RecvStream, head: Bytes, session: Session) -> Self {
        Self { stream, head, ended: false, bond: Bond::new(session) }
    }

    /// Its ID.
    pub fn id(&self) -> Option<StreamId> {
        self.stream.id()
    }

    fn gone(&mut self, end: SessionEnd) -> ReadError {
        if !self.ended {
            self.ended = true;
            // What has ended needs no stop.
            let _ = self.stream.stop(SESSION_GONE.into());
        }
        ReadError::Session(end)
    }

    fn error(&mut self, error: aio::ReadError) -> ReadError {
        match error {
            aio::ReadError::Connection(_) => ReadError::Session(self.bond.session.state().end_with_connection()),
            aio::ReadError::Reset(code) => match self.bond.end() {
                Some(end) => ReadError::Session(end),
                None => ReadError::Reset(from_http(code)),
            },
            _ => ReadError::Ended,
        }
    }

    /// The next bytes, at most `max`, as they lie in their packet; `None` at the end.
    pub fn poll_chunk(&mut self, context: &mut Context<'_>, max: usize) -> Poll<Result<Option<Bytes>, ReadError>> {
        if !self.head.is_empty() {
            return Poll::Ready(Ok(Some(self.head.split_to(max.min(self.head.len())))));
        }
        match self.stream.poll_chunk(context, max) {
            Poll::Ready(Ok(Some(chunk))) => Poll::Ready(Ok(Some(chunk))),
            Poll::Ready(Ok(None)) => {
                self.ended = true;
                Poll::Ready(Ok(None))
            }
            Poll::Ready(Err(error)) => {
                self.ended = true;
                Poll::Ready(Err(self.error(error)))
            }
            Poll::Pending => {
                let end = ready!(self.bond.poll(context));
                Poll::Ready(Err(self.gone(end)))
            }
        }
    }

    /// The next bytes, at most `max`, without copying them; `None` at the end.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn read_chunk(&mut self, max: usize) -> Result<Option<Bytes>, ReadError> {
        poll_fn(|context| self.poll_chunk(context, max)).await
    }

    /// Reads everything up to the end, at most `limit` bytes.
    ///
    /// # Errors
    /// [`ReadToEndError::TooLong`] if there is more; the stream is then stopped when it is dropped.
    pub async fn read_to_end(&mut self, limit: usize) -> Result<Vec<u8>, ReadToEndError> {
        let mut all = Vec::new();
        while let Some(chunk) = self.read_chunk(usize::MAX).await.map_err(ReadToEndError::Read)? {
            if chunk.len() > limit - all.len() {
                return Err(ReadToEndError::TooLong);
            }
            all.extend_from_slice(&chunk);
        }
        Ok(all)
    }

    /// Asks the peer to send no more.
    ///
    /// # Errors
    /// Everything was read, it was stopped before, or the session has ended.
    pub fn stop(&mut self, code: u32) -> Result<(), ReadError> {
        if self.ended {
            return Err(ReadError::Ended);
        }
        self.ended = true;
        self.head.clear();
        self.stream.stop(to_http(code)).map_err(|error| self.error(error))
    }
}

impl Drop for RecvStream {
    fn drop(&mut self) {
        if !self.ended {
            // What has ended needs no stop.
            let _ = match self.bond.end() {
                Some(_) => self.stream.stop(SESSION_GONE.into()),
                None => self.stream.stop(to_http(0)),
            };
        }
    }
}

impl tokio::io::AsyncRead for RecvStream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buf.remaining() > 0
            && let Some(chunk) = ready!(self.poll_chunk(context, buf.remaining()))?
        {
            buf.put_slice(&chunk);
        }
        Poll::Ready(Ok(()))
    }
}
