//! Datagrams (RFC 9221).

use bytes::Bytes;

/// What happened to datagrams.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum DatagramEvent {
    /// One came in.
    Received(Bytes),
    /// One that was to be sent has a new state.
    SendState { number: u64, state: DatagramSendState },
    /// The largest that can be sent has changed; `None` if datagrams are off.
    MaxSizeChanged(Option<usize>),
}

/// What became of a datagram to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatagramSendState {
    /// It left.
    Sent,
    /// The peer has it.
    Acknowledged,
    /// It is probably lost.
    Lost,
    /// It was dropped before it left.
    Canceled,
}
