//! Errors of the transport in the words of the h3 crate.

use std::sync::Arc;

use h3::quic::{ConnectionErrorIncoming, StreamErrorIncoming};
use tercel::CloseReason;
use tercel::aio::{self, ConnectionError, ReadError, WriteError};

use crate::connection::code;
use crate::guard::Fault;

/// Why the connection ended.
pub(crate) fn connection(reason: CloseReason) -> ConnectionErrorIncoming {
    match reason {
        CloseReason::PeerApplication { code, .. } => {
            ConnectionErrorIncoming::ApplicationClose { error_code: code.into_inner() }
        }
        CloseReason::IdleTimeout | CloseReason::HandshakeTimeout => ConnectionErrorIncoming::Timeout,
        reason => ConnectionErrorIncoming::Undefined(Arc::new(ConnectionError(reason))),
    }
}

/// Ends a connection whose peer broke a rule.
pub(crate) fn fault(of: &aio::Connection, fault: Fault) -> ConnectionErrorIncoming {
    if let Fault::Connection(kind, reason) = fault {
        of.close(code(kind.value()), reason.as_bytes());
    }
    ConnectionErrorIncoming::Undefined(Arc::new(fault))
}

/// Why a stream ended with its connection.
pub(crate) fn stream(reason: CloseReason) -> StreamErrorIncoming {
    StreamErrorIncoming::ConnectionErrorIncoming { connection_error: connection(reason) }
}

pub(crate) fn read(error: ReadError) -> StreamErrorIncoming {
    match error {
        ReadError::Reset(code) => StreamErrorIncoming::StreamTerminated { error_code: code.into_inner() },
        ReadError::Connection(reason) => stream(reason),
        error => StreamErrorIncoming::Unknown(Box::new(error)),
    }
}

pub(crate) fn write(error: WriteError) -> StreamErrorIncoming {
    match error {
        WriteError::Stopped(code) => StreamErrorIncoming::StreamTerminated { error_code: code.into_inner() },
        WriteError::Connection(reason) => stream(reason),
        error => StreamErrorIncoming::Unknown(Box::new(error)),
    }
}
