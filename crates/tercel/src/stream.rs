//! The handle of a stream.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tercel_proto::error::ApiMisuse;
use tercel_wire::{ApplicationErrorCode, Direction, StreamId};

use crate::cell::StreamShared;
use crate::connection::Connection;
use crate::operation::{Operation, StreamOperation};
use crate::status::Error;

/// A stream. Cheap to clone, usable from any thread, under the rules of [`Connection`]. Dropping
/// the last handle resets what was not finished and stops what was not read, with code 0.
///
/// Sends are not copied, and completed when the peer has acknowledged them. A program that sends much keeps so
/// much under way that the path is busy:
///
/// ```
/// use tercel::{Bytes, Stream, StreamEvent};
///
/// /// Sends pieces as fast as the path takes them.
/// fn feeding(pieces: Vec<Bytes>) -> impl FnMut(&Stream, StreamEvent<'_>) + Send {
///     let mut pieces = pieces.into_iter().peekable();
///     let (mut ideal, mut under_way) = (128 * 1024, 0);
///     move |stream, event| {
///         match event {
///             StreamEvent::Started(Ok(_)) => {}
///             StreamEvent::IdealSendBufferSize(bytes) => ideal = bytes,
///             // The context is ours: here the length of the piece.
///             StreamEvent::SendComplete { context, .. } => under_way -= context,
///             _ => return,
///         }
///         while under_way < ideal
///             && let Some(piece) = pieces.next()
///         {
///             let len = piece.len() as u64;
///             under_way += len;
///             // With the last piece the stream ends.
///             if stream.send(piece, pieces.peek().is_none(), len).is_err() {
///                 return;
///             }
///         }
///     }
/// }
/// ```
pub struct Stream {
    pub(crate) shared: Arc<StreamShared>,
}

impl Clone for Stream {
    fn clone(&self) -> Self {
        self.shared.handles.add();
        Self { shared: self.shared.clone() }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.shared.handles.remove() {
            // Nothing is left to abort if it has ended.
            let _ = self.submit(StreamOperation::Dropped);
        }
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("id", &self.id()).finish_non_exhaustive()
    }
}

impl Stream {
    pub(crate) fn submit(&self, operation: StreamOperation) -> Result<(), Error> {
        self.shared.connection.submit(Operation::Stream(self.shared.clone(), operation))
    }

    /// Sends `data` without copying it, and with `fin` the end of the stream. An accepted send gets
    /// exactly one [`crate::StreamEvent::SendComplete`] with `context`. How much is under way is the
    /// application's choice; [`crate::StreamEvent::IdealSendBufferSize`] says how much helps.
    ///
    /// # Errors
    /// [`Error::ConnectionClosed`] if the connection is over, [`Error::Misuse`] if this end cannot
    /// send or has finished or reset the stream.
    pub fn send(&self, data: Bytes, fin: bool, context: u64) -> Result<(), Error> {
        self.send_with(data, fin, Some(context))
    }

    /// Ends the sending part: as an empty send with `fin`, but without a completion of its own.
    /// [`crate::StreamEvent::SendShutdownComplete`] tells when the peer has everything.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn finish(&self) -> Result<(), Error> {
        self.send_with(Bytes::new(), true, None)
    }

    fn send_with(&self, data: Bytes, fin: bool, context: Option<u64>) -> Result<(), Error> {
        if self.shared.send_closed.load(Ordering::Relaxed) {
            return Err(self.not_sendable());
        }
        self.submit(StreamOperation::Send { data, fin, context })?;
        if fin {
            self.shared.send_closed.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    fn not_sendable(&self) -> Error {
        match self.direction() == Direction::Unidirectional && !self.shared.local {
            true => Error::Misuse(ApiMisuse::NotSendable),
            false => Error::Misuse(ApiMisuse::SendClosed),
        }
    }

    /// Aborts the sending part (RESET_STREAM). What is under way is canceled, also after
    /// [`finish`](Self::finish).
    ///
    /// # Errors
    /// [`Error::ConnectionClosed`] if the connection is over, [`Error::Misuse`] if this end cannot
    /// send.
    pub fn reset(&self, code: ApplicationErrorCode) -> Result<(), Error> {
        if self.direction() == Direction::Unidirectional && !self.shared.local {
            return Err(self.not_sendable());
        }
        self.submit(StreamOperation::Reset(code))?;
        self.shared.send_closed.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Aborts the sending part, but delivers its first `reliable_size` bytes to the peer before it learns
    /// of the reset (draft-ietf-quic-reliable-stream-reset). Sends that end behind these bytes are canceled,
    /// the others completed as ever. May be called again with a smaller size; the code stays.
    ///
    /// # Errors
    /// [`Error::ConnectionClosed`] if the connection is over, [`Error::Misuse`] if this end cannot send, or
    /// if the peer does not understand such a reset
    /// ([`ApiMisuse::ResetAtUnsupported`](crate::ApiMisuse::ResetAtUnsupported)), which is known once the
    /// connection is [connected](crate::ConnectionEvent::Connected). From the connection's own handlers also
    /// if fewer bytes were given to send; otherwise nothing is done then.
    pub fn reset_at(&self, code: ApplicationErrorCode, reliable_size: u64) -> Result<(), Error> {
        if self.direction() == Direction::Unidirectional && !self.shared.local {
            return Err(self.not_sendable());
        }
        if !self.shared.connection.facts().can_reset_at {
            return Err(Error::Misuse(ApiMisuse::ResetAtUnsupported));
        }
        self.submit(StreamOperation::ResetAt { code, reliable_size })
    }

    /// Aborts the receiving part (STOP_SENDING). No more data is delivered.
    ///
    /// # Errors
    /// [`Error::ConnectionClosed`] if the connection is over, [`Error::Misuse`] if there is nothing
    /// more to receive or never was.
    pub fn stop_sending(&self, code: ApplicationErrorCode) -> Result<(), Error> {
        if self.direction() == Direction::Unidirectional && self.shared.local {
            return Err(Error::Misuse(ApiMisuse::NotReceivable));
        }
        if self.shared.receive_closed.load(Ordering::Relaxed) {
            return Err(Error::Misuse(ApiMisuse::ReceiveClosed));
        }
        self.submit(StreamOperation::StopSending(code))
    }

    /// Gives the peer credit for `len` bytes whose [`crate::Receive`] was deferred.
    pub fn consumed(&self, len: u64) {
        // Credit on a connection that is over is of no use.
        let _ = self.submit(StreamOperation::Consumed(len));
    }

    /// Pauses or resumes the delivery of data.
    pub fn set_receive_enabled(&self, enabled: bool) {
        // Nothing is delivered on a connection that is over.
        let _ = self.submit(StreamOperation::SetReceiveEnabled(enabled));
    }

    /// Higher is sent first; streams of equal priority take turns. Default 0.
    ///
    /// # Errors
    /// [`Error::ConnectionClosed`] if the connection is over.
    pub fn set_priority(&self, priority: i32) -> Result<(), Error> {
        self.submit(StreamOperation::SetPriority(priority))
    }

    /// Leaves the stream to its handler: dropping the last handle no longer aborts it.
    pub fn detach(self) {
        self.shared.handles.detach();
    }

    /// Its ID, once started.
    pub fn id(&self) -> Option<StreamId> {
        self.shared.id()
    }

    /// Whether it carries data both ways.
    pub fn direction(&self) -> Direction {
        self.shared.direction
    }

    /// The connection that it belongs to.
    pub fn connection(&self) -> Connection {
        self.shared.connection.handles.add();
        Connection { shared: self.shared.connection.clone() }
    }
}
