//! Why a future of the async face failed.

use std::io;

use tercel_proto::error::CloseReason;
use tercel_wire::ApplicationErrorCode;

use crate::status::Error;

/// The connection has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionError(pub CloseReason);

impl std::fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for ConnectionError {}

/// A connection could not be made.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ConnectError {
    /// It could not be begun.
    Start(Error),
    /// It ended before its handshake was complete.
    Connection(CloseReason),
}

impl std::fmt::Display for ConnectError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Start(error) => error.fmt(f),
            Self::Connection(reason) => reason.fmt(f),
        }
    }
}

impl std::error::Error for ConnectError {}

impl From<Error> for ConnectError {
    fn from(error: Error) -> Self {
        Self::Start(error)
    }
}

/// A write failed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WriteError {
    /// The peer wants no more data on the stream.
    Stopped(ApplicationErrorCode),
    /// Something was lost on a stream that is given up then
    /// ([`SendStream::cancel_on_loss`](super::SendStream::cancel_on_loss)).
    CanceledByLoss,
    /// The stream was finished or reset at this end.
    Ended,
    /// The peer does not understand resets that deliver a part ([`SendStream::reset_at`](super::SendStream::reset_at)).
    Unsupported,
    /// The connection has ended.
    Connection(CloseReason),
}

impl std::fmt::Display for WriteError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stopped(code) => write!(f, "the peer stopped the stream with code {code}"),
            Self::CanceledByLoss => f.write_str("the stream was given up because something was lost"),
            Self::Ended => f.write_str("the stream was finished or reset"),
            Self::Unsupported => f.write_str("the peer does not understand resets that deliver a part"),
            Self::Connection(reason) => reason.fmt(f),
        }
    }
}

impl std::error::Error for WriteError {}

impl From<WriteError> for io::Error {
    fn from(error: WriteError) -> Self {
        let kind = match error {
            WriteError::Stopped(_) => io::ErrorKind::ConnectionReset,
            WriteError::CanceledByLoss => io::ErrorKind::ConnectionAborted,
            WriteError::Ended => io::ErrorKind::BrokenPipe,
            WriteError::Unsupported => io::ErrorKind::Unsupported,
            WriteError::Connection(_) => io::ErrorKind::NotConnected,
        };
        Self::new(kind, error)
    }
}

/// A read failed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadError {
    /// The peer reset the stream.
    Reset(ApplicationErrorCode),
    /// The stream was stopped at this end.
    Ended,
    /// The connection has ended.
    Connection(CloseReason),
}

impl std::fmt::Display for ReadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Reset(code) => write!(f, "the peer reset the stream with code {code}"),
            Self::Ended => f.write_str("the stream was stopped"),
            Self::Connection(reason) => reason.fmt(f),
        }
    }
}

impl std::error::Error for ReadError {}

impl From<ReadError> for io::Error {
    fn from(error: ReadError) -> Self {
        let kind = match error {
            ReadError::Reset(_) => io::ErrorKind::ConnectionReset,
            ReadError::Ended => io::ErrorKind::BrokenPipe,
            ReadError::Connection(_) => io::ErrorKind::NotConnected,
        };
        Self::new(kind, error)
    }
}

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
