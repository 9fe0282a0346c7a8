//! The handle of a stream.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};
use tercel_proto::error::ApiMisuse;
use tercel_proto::stream::StreamStats;
use tercel_wire::{ApplicationErrorCode, Direction, StreamId};

use crate::cell::{Core, StreamShared};
use crate::connection::Connection;
use crate::operation::{Operation, StreamOperation};
use crate::receive::{ReceiveMemory, Space, lent};
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

/// Buffers of the application, ready to be filled.
pub(crate) fn emptied(mut buffers: Vec<BytesMut>) -> Result<Space, Error> {
    buffers.iter_mut().for_each(BytesMut::clear);
    match buffers.iter().all(|buffer| buffer.capacity() > 0) {
        true => Ok(Space::Buffers(buffers.into())),
        false => Err(Error::InvalidArgument("a receive buffer has no capacity")),
    }
}

/// How to open a stream: change a field and leave the rest.
///
/// ```
/// use tercel::{AtLimit, Connection, Direction, Error, Stream, StreamEvent, StreamOptions};
///
/// /// A stream that the peer hears of at once, or not at all.
/// fn open(connection: &Connection, handler: impl FnMut(&Stream, StreamEvent<'_>) + Send + 'static) -> Result<Stream, Error> {
///     let options = StreamOptions { at_limit: AtLimit::Fail, announce: true, ..StreamOptions::default() };
///     connection.open_stream_with(Direction::Unidirectional, options, handler)
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StreamOptions {
    /// What to do while the peer permits no more streams. Default: wait.
    pub at_limit: AtLimit,
    /// Whether the peer is told of the stream as soon as it has started, though nothing is sent on it yet.
    /// Default no: it hears of it with the first data.
    pub announce: bool,
    /// Higher is sent first. Default 0.
    pub priority: i32,
}

/// What becomes of a stream that is opened while the peer permits no more (RFC 9000 section 4.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum AtLimit {
    /// It starts when its turn has come and the peer permits it; what is sent meanwhile is kept.
    #[default]
    Wait,
    /// It does not start: [`Started`](crate::StreamEvent::Started) tells of the error, and the stream has
    /// ended. So it is, too, before the peer's limit is known, and while others wait.
    Fail,
    /// It starts and has its ID at once, before those that wait; what is sent is kept until the peer
    /// permits it, of which [`PeerAccepted`](crate::StreamEvent::PeerAccepted) tells, be it at once or
    /// later.
    Ahead,
}

/// How to send: change a field and leave the rest.
///
/// ```
/// use tercel::{Bytes, Error, SendOptions, Stream};
///
/// /// A picture of many: if a part of it is lost the next one will do.
/// fn frame(stream: &Stream, picture: Bytes) -> Result<(), Error> {
///     stream.send_with(picture, SendOptions { fin: true, cancel_on_loss: true, ..SendOptions::default() })
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SendOptions {
    /// Comes back with [`SendComplete`](crate::StreamEvent::SendComplete), exactly once. Default none:
    /// nobody hears of the completion.
    pub context: Option<u64>,
    /// Whether it counts as complete as soon as the worker has taken it, and not only when the peer has
    /// acknowledged it: for applications that go on with the next piece then, and do not care whether this one
    /// has arrived. Default no.
    pub done_when_taken: bool,
    /// Whether the stream ends with it. Default no.
    pub fin: bool,
    /// Whether it must not leave before [`Connected`](crate::ConnectionEvent::Connected), as early data
    /// (which an attacker may repeat) or otherwise. What is sent later on the same stream waits with it.
    /// Default no.
    pub after_handshake: bool,
    /// A hint that more follows soon, on this or another stream of the connection: it may wait for that,
    /// or for anything else that is to be sent, so that fewer packets are needed. It may wait forever if
    /// nothing follows, but never beyond 16 KiB; [`finish`](Stream::finish) and any send without the hint,
    /// even an empty one, end the wait. Default no.
    pub more_follows: bool,
    /// Whether the stream is given up, and not sent again, once something that was sent on it is lost. An acknowledgement that
    /// is late is no loss. That holds for all of the stream and for good.
    /// [`CanceledByLoss`](crate::StreamEvent::CanceledByLoss) tells, and asks for the code. Default no.
    pub cancel_on_loss: bool,
}

impl Clone for Stream {
    fn clone(&self) -> Self {
        self.shared.handles.add();
        Self { shared: self.shared.clone() }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.shared.handles.remove() && self.shared.depends_on_handles() {
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
        let at_once = |core: &mut Core, operation| core.call_stream(&self.shared, operation);
        let queued = |operation| Operation::Stream(self.shared.clone(), operation);
        self.shared.connection.submit_as(operation, at_once, queued)
    }

    /// Sends `data` without copying it, and with `fin` the end of the stream. An accepted send gets
    /// exactly one [`crate::StreamEvent::SendComplete`] with `context`. How much is under way is the
    /// application's choice; [`crate::StreamEvent::IdealSendBufferSize`] says how much helps.
    ///
    /// # Errors
    /// [`Error::ConnectionClosed`] if the connection is over, [`Error::Misuse`] if this end cannot
    /// send or has finished or reset the stream.
    pub fn send(&self, data: Bytes, fin: bool, context: u64) -> Result<(), Error> {
        self.send_with(data, SendOptions { fin, context: Some(context), ..SendOptions::default() })
    }

    /// Ends the sending part: as an empty send with `fin`, but without a completion of its own.
    /// [`crate::StreamEvent::SendShutdownComplete`] tells when the peer has everything.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn finish(&self) -> Result<(), Error> {
        self.send_with(Bytes::new(), SendOptions { fin: true, ..SendOptions::default() })
    }

    /// Sends `data` as [`send`](Self::send) does, with all that can be chosen.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_with(&self, data: Bytes, options: SendOptions) -> Result<(), Error> {
        if self.shared.send_closed.load(Ordering::Relaxed) {
            return Err(self.not_sendable());
        }
        self.submit(StreamOperation::Send { data, options })?;
        if options.fin {
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
    /// ([`ApiMisuse::ResetAtUnsupported`]), which is known once the
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

    /// Provides further buffers for what is received, to be filled in this order behind those that were
    /// provided before. The peer may send as much more as they have capacity; what is in them is
    /// overwritten. Buffers that are not used by the end of the stream are dropped.
    ///
    /// # Errors
    /// [`Error::Misuse`]: the stream does not receive into buffers
    /// ([`Connection::open_stream_into`](crate::Connection::open_stream_into)), or receives no more;
    /// [`Error::InvalidArgument`]: a buffer has no capacity; [`Error::ConnectionClosed`] if the connection
    /// is over.
    pub fn provide_receive_buffers(&self, buffers: Vec<BytesMut>) -> Result<(), Error> {
        if !self.shared.receives_into.load(Ordering::Relaxed) {
            return Err(Error::Misuse(ApiMisuse::NoReceiveBuffers));
        }
        if self.shared.receive_closed.load(Ordering::Relaxed) {
            return Err(Error::Misuse(ApiMisuse::ReceiveClosed));
        }
        self.submit(StreamOperation::Provide(emptied(buffers)?))
    }

    /// The first buffers, of a stream of the peer's that nobody has taken yet: from now on it receives into
    /// buffers.
    pub(crate) fn provide_first(&self, buffers: Vec<BytesMut>) -> Result<(), Error> {
        let buffers = emptied(buffers)?;
        self.shared.receives_into.store(true, Ordering::Relaxed);
        self.submit(StreamOperation::Provide(buffers))
    }

    /// Lends memory: what is received from now on is put there, in this order, behind what was lent before
    /// ([`Connection::open_stream_into_memory`](crate::Connection::open_stream_into_memory)). A stream of the
    /// peer's that is to receive so from its first byte on is lent some before the handler that hears of it
    /// returns.
    ///
    /// # Errors
    /// [`Error::Misuse`]: the stream receives into buffers, or no more; [`Error::InvalidArgument`]: there is no
    /// room in a piece; [`Error::ConnectionClosed`] if the connection is over.
    pub fn lend_memory(&self, memory: Vec<Box<dyn ReceiveMemory>>) -> Result<(), Error> {
        if self.shared.receives_into.load(Ordering::Relaxed) {
            return Err(Error::Misuse(ApiMisuse::NoReceiveBuffers));
        }
        if self.shared.receive_closed.load(Ordering::Relaxed) {
            return Err(Error::Misuse(ApiMisuse::ReceiveClosed));
        }
        self.submit(StreamOperation::Provide(lent(memory)?))
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

    /// Runs `look` on the worker that owns the stream, in order with the other calls, with what the stream
    /// has done so far; from the connection's own handlers at once. What has kept it from sending, and what
    /// it has done after its end up to its last event, is known if the
    /// [setting](crate::Settings::stream_statistics) is on. It is dropped without being run if the stream
    /// ends first. It must not block; calls that it makes on this connection are queued.
    ///
    /// # Errors
    /// [`Error::ConnectionClosed`] if the connection or the stream is over.
    pub fn inspect(&self, look: impl FnOnce(&StreamStats) + Send + 'static) -> Result<(), Error> {
        self.submit(StreamOperation::Inspect(Box::new(look)))
    }

    /// Leaves the stream to its handler: dropping the last handle no longer aborts it.
    pub fn detach(self) {
        self.leave_to_handler();
    }

    /// The same, by who keeps the handle.
    pub fn leave_to_handler(&self) {
        self.shared.handles.detach();
    }

    /// Its ID, once started.
    pub fn id(&self) -> Option<StreamId> {
        self.shared.id()
    }

    /// Whether it has started and the peer permits it, which is certain of all but those that were opened
    /// [ahead](AtLimit::Ahead). Of the latter this is not known before the end of the handshake.
    pub fn is_permitted(&self) -> bool {
        self.id().is_some_and(|id| !self.shared.local || self.shared.connection.permits(id))
    }

    /// Whether it carries data both ways.
    pub fn direction(&self) -> Direction {
        self.shared.direction
    }

    /// Whether its connection is ending or has ended.
    pub fn connection_has_ended(&self) -> bool {
        self.shared.connection.has_ended()
    }

    /// The connection that it belongs to.
    pub fn connection(&self) -> Connection {
        self.shared.connection.handles.add();
        Connection { shared: self.shared.connection.clone() }
    }
}
