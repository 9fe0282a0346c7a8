//! Streams.

use bytes::Bytes;
use tercel_wire::{ApplicationErrorCode, Direction, StreamId};

/// What a read gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// The next bytes.
    Data(Bytes),
    /// Nothing yet; a `Readable` event follows when there is.
    Blocked,
    /// Everything was read and the peer sent no more (FIN).
    Finished,
    /// The peer reset the stream.
    Reset(ApplicationErrorCode),
}

/// What happened on a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum StreamEvent {
    /// The peer opened it.
    Opened(StreamId),
    /// There is something to read (data, end or reset). Not repeated until a read was blocked.
    Readable(StreamId),
    /// All bytes before `offset` were acknowledged; with `fin`, the end too: the sending part is
    /// done.
    Acked { id: StreamId, offset: u64, fin: bool },
    /// The peer wants no more data on it; the sending part was reset with the same code.
    Stopped { id: StreamId, code: ApplicationErrorCode },
    /// The peer has acknowledged our reset: the sending part is done.
    ResetAcked(StreamId),
    /// Both parts are done; the ID means nothing any more.
    Closed(StreamId),
    /// The peer permits more streams.
    Available(Direction),
}
