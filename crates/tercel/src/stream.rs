//! The handle of a stream.

use bytes::Bytes;
use tercel_wire::{ApplicationErrorCode, Direction, StreamId};

use crate::connection::Connection;
use crate::status::Error;

/// A stream. Cheap to clone, usable from any thread, under the rules of [`Connection`]. Dropping
/// the last handle resets what was not finished and stops what was not read, with code 0.
#[derive(Clone)]
pub struct Stream {}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stream")
    }
}

#[allow(unused_variables, clippy::todo)]
impl Stream {
    /// Sends `data` without copying it, and with `fin` the end of the stream. An accepted send gets
    /// exactly one [`crate::StreamEvent::SendComplete`] with `context`. How much is under way is the
    /// application's choice; [`crate::StreamEvent::IdealSendBufferSize`] says how much helps.
    ///
    /// # Errors
    /// [`Error::Closed`] if the connection is closing, [`Error::Misuse`] if this end cannot send or
    /// has finished or reset the stream.
    pub fn send(&self, data: Bytes, fin: bool, context: u64) -> Result<(), Error> {
        todo!()
    }

    /// Ends the sending part; the same as an empty send with `fin`, without a completion of its own.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn finish(&self) -> Result<(), Error> {
        todo!()
    }

    /// Aborts the sending part (RESET_STREAM). What is under way is canceled.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn reset(&self, code: ApplicationErrorCode) -> Result<(), Error> {
        todo!()
    }

    /// Aborts the receiving part (STOP_SENDING). No more data is delivered.
    ///
    /// # Errors
    /// [`Error::Closed`], or [`Error::Misuse`] if this end cannot receive.
    pub fn stop_sending(&self, code: ApplicationErrorCode) -> Result<(), Error> {
        todo!()
    }

    /// Gives the peer credit for `len` bytes whose [`crate::Receive`] was deferred.
    pub fn consumed(&self, len: u64) {
        todo!()
    }

    /// Pauses or resumes the delivery of data.
    pub fn set_receive_enabled(&self, enabled: bool) {
        todo!()
    }

    /// Higher is sent first; streams of equal priority take turns. Default 0.
    ///
    /// # Errors
    /// [`Error::Closed`] if the connection is closing.
    pub fn set_priority(&self, priority: i32) -> Result<(), Error> {
        todo!()
    }

    /// Leaves the stream to its handler: dropping the last handle no longer aborts it.
    pub fn detach(self) {
        todo!()
    }

    /// Its ID, once started.
    pub fn id(&self) -> Option<StreamId> {
        todo!()
    }

    /// Whether it carries data both ways.
    pub fn direction(&self) -> Direction {
        todo!()
    }

    /// The connection that it belongs to.
    pub fn connection(&self) -> Connection {
        todo!()
    }
}
