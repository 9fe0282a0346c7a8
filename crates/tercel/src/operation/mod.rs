//! Operations: what handles ask of the worker that owns their connection.

mod queue;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tercel_proto::config::TransportConfig;
use tercel_proto::datagram::DatagramPriority;
use tercel_proto::stream::{StreamScheduling, StreamStats};
use tercel_proto::tls::{OpenedTicket, Verdict};
use tercel_wire::{ApplicationErrorCode, StreamId, TransportErrorCode};

pub(crate) use self::queue::Queue;
use crate::binding::Binding;
use crate::cell::{StreamKey, StreamShared};
use crate::connection::Inspect;
use crate::datapath::SocketId;
use crate::event::{ConnectionHandler, StreamHandler};
use crate::receive::{Rest, Space};
use crate::resumption::Tickets;
use crate::stream::{SendOptions, StreamOptions};

/// A look at a connection from its own worker.
pub(crate) type Look = Box<dyn FnOnce(&Inspect<'_>) + Send>;

/// A look at what a stream has done, from its worker.
pub(crate) type StreamLook = Box<dyn FnOnce(&StreamStats) + Send>;

/// One call of the application.
pub(crate) enum Operation {
    /// On the connection.
    Connection(ConnectionOperation),
    /// On one of its streams.
    Stream(Arc<StreamShared>, StreamOperation),
}

/// With what a server takes a connection on.
pub(crate) struct Acceptance {
    pub(crate) tls: Arc<rustls::ServerConfig>,
    pub(crate) transport: Arc<TransportConfig>,
    pub(crate) handler: Box<dyn ConnectionHandler>,
    pub(crate) resumption: Resumption,
}

/// How the session of a new connection may go on.
pub(crate) struct Resumption {
    pub(crate) tickets: Option<Arc<Tickets>>,
    pub(crate) ticket: Option<OpenedTicket>,
    pub(crate) early_data: bool,
}

/// A call on a connection.
pub(crate) enum ConnectionOperation {
    Accept(Box<Acceptance>),
    SendTicket {
        data: Bytes,
    },
    Refuse {
        code: TransportErrorCode,
    },
    SendDatagram(Datagram),
    /// Several of which nothing is told.
    SendDatagrams(Vec<Bytes>),
    Close {
        code: ApplicationErrorCode,
        reason: Bytes,
    },
    /// When all that was sent is delivered, or this much time has passed.
    CloseDelivered {
        code: ApplicationErrorCode,
        reason: Bytes,
        within: Duration,
    },
    CloseSilently,
    Verdict(Verdict),
    Ping,
    UpdateKeys,
    SetStreamScheduling(StreamScheduling),
    ChangeSettings(Arc<TransportConfig>),
    /// Whether a stream of the peer's counts as open though it is over.
    HoldStream {
        id: StreamId,
        holds: bool,
    },
    /// Whether to tell how the network does.
    TellNetwork(bool),
    ChangePath(PathChange),
    Inspect(Look),
    /// The last handle is gone.
    Dropped,
}

/// A datagram to send.
pub(crate) struct Datagram {
    pub(crate) data: Bytes,
    /// By which is told what becomes of it, if somebody wants to know.
    pub(crate) context: Option<u64>,
    pub(crate) priority: DatagramPriority,
}

/// A change in where a client speaks from.
pub(crate) enum PathChange {
    /// From there, at once and for good.
    Rebind(Opened),
    /// From there, when the server has answered.
    Probe(Opened),
    /// From there, when the path in use fails.
    Add(Opened),
    /// From there to a preferred address of the server, if that is still wanted.
    Offer(Opened),
    /// Not from there any more.
    Remove(SocketAddr),
}

impl PathChange {
    /// Whether it takes the place of the path in use.
    pub(crate) const fn is_move(&self) -> bool {
        matches!(self, Self::Rebind(_) | Self::Probe(_))
    }
}

/// A socket of a connection's worker.
pub(crate) struct Opened {
    pub(crate) binding: Arc<Binding>,
    pub(crate) socket: SocketId,
}

impl Opened {
    /// What it is bound to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.binding.address
    }
}

/// A call on a stream.
pub(crate) enum StreamOperation {
    Open {
        handler: Box<dyn StreamHandler>,
        options: StreamOptions,
        /// What to receive into, if it is that kind of stream.
        into: Option<Space>,
    },
    Accept(Box<dyn StreamHandler>),
    Send {
        data: Bytes,
        options: SendOptions,
    },
    Reset(ApplicationErrorCode),
    /// The first `reliable_size` bytes are delivered all the same.
    ResetAt {
        code: ApplicationErrorCode,
        reliable_size: u64,
    },
    StopSending(ApplicationErrorCode),
    Consumed(u64),
    /// The answer to a receive that was pended.
    CompleteReceive {
        accepted: usize,
        len: usize,
        rest: Rest,
    },
    /// Further space to receive into.
    Provide(Space),
    SetReceiveEnabled(bool),
    SetPriority(i32),
    Inspect(StreamLook),
    /// The last handle is gone.
    Dropped,
}

/// Whom to tell that an operation that was accepted could not be done after all.
pub(crate) enum Promise {
    None,
    Send { stream: StreamKey, context: u64 },
    Datagram { context: u64 },
}

impl Operation {
    /// Whether it is code of the application's.
    pub(crate) const fn is_look(&self) -> bool {
        matches!(self, Self::Connection(ConnectionOperation::Inspect(_)) | Self::Stream(_, StreamOperation::Inspect(_)))
    }

    /// Makes `next` part of the operation before it, if it is the end of a stream right behind data.
    pub(crate) fn join(&mut self, next: Self) -> Option<Self> {
        let end = SendOptions { fin: true, ..SendOptions::default() };
        match (self, &next) {
            (
                Self::Stream(stream, StreamOperation::Send { options, .. }),
                Self::Stream(same, StreamOperation::Send { data, options: ending }),
            ) if data.is_empty() && *ending == end && !options.fin && Arc::ptr_eq(stream, same) => {
                options.fin = true;
                None
            }
            _ => Some(next),
        }
    }

    /// Whether its stream has ended. To be asked under the lock of the queue.
    pub(crate) fn is_late(&self) -> bool {
        match self {
            Self::Connection(_)
            | Self::Stream(
                _,
                StreamOperation::Consumed(_) | StreamOperation::CompleteReceive { .. } | StreamOperation::Dropped,
            ) => false,
            Self::Stream(stream, _) => stream.sealed.load(Ordering::Relaxed),
        }
    }

    /// Whether it ends the connection.
    pub(crate) fn is_close(&self) -> bool {
        use ConnectionOperation::{Close, CloseSilently};
        matches!(self, Self::Connection(Close { .. } | CloseSilently))
    }

    /// Whether it ends the connection unless that was left to its handler.
    pub(crate) fn is_letting_go(&self) -> bool {
        matches!(self, Self::Connection(ConnectionOperation::Dropped))
    }

    /// Whether it is of no use once the connection was told to end.
    pub(crate) fn is_verdict(&self) -> bool {
        matches!(self, Self::Connection(ConnectionOperation::Verdict(_)))
    }

    /// What was promised by accepting it.
    pub(crate) fn promise(&self) -> Promise {
        match self {
            Self::Stream(stream, StreamOperation::Send { options: SendOptions { context: Some(context), .. }, .. }) => {
                Promise::Send { stream: stream.key(), context: *context }
            }
            Self::Connection(ConnectionOperation::SendDatagram(Datagram { context: Some(context), .. })) => {
                Promise::Datagram { context: *context }
            }
            _ => Promise::None,
        }
    }
}
