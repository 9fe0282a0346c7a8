//! Tercel's errors and ends of connections, as status codes.

use tercel::{CloseReason, Error, TransportErrorCode};
use tercel_proto::error::ApiMisuse;

use crate::abi::Status;

/// Why a call failed.
pub(crate) fn status_of(error: &Error) -> Status {
    match error {
        Error::Closed => Status::INVALID_STATE,
        Error::ConnectionClosed(reason) if is_local(reason) => Status::INVALID_STATE,
        Error::ConnectionClosed(_) => Status::ABORTED,
        Error::Misuse(ApiMisuse::StreamLimit) => Status::STREAM_LIMIT_REACHED,
        Error::Misuse(ApiMisuse::InvalidArgument(_) | ApiMisuse::DatagramTooLarge) | Error::InvalidArgument(_) => {
            Status::INVALID_PARAMETER
        }
        Error::Misuse(_) => Status::INVALID_STATE,
        Error::Io { source, .. } => of_system(source),
        Error::Tls(_) => Status::TLS_ERROR,
        _ => Status::INTERNAL_ERROR,
    }
}

/// What the system says, in its own numbers.
pub(crate) fn of_system(error: &std::io::Error) -> Status {
    match error.raw_os_error() {
        Some(libc::EADDRNOTAVAIL) => Status::ADDRESS_NOT_AVAILABLE,
        Some(libc::EADDRINUSE) => Status::ADDRESS_IN_USE,
        Some(code) if code > 0 => Status(code.unsigned_abs()),
        _ if error.kind() == std::io::ErrorKind::NotFound => Status::NOT_FOUND,
        _ => Status::INTERNAL_ERROR,
    }
}

/// Whether this end brought it about.
pub(crate) const fn is_local(reason: &CloseReason) -> bool {
    matches!(reason, CloseReason::LocalApplication { .. } | CloseReason::Silent)
}

/// Whether the other end did.
pub(crate) const fn is_remote(reason: &CloseReason) -> bool {
    matches!(
        reason,
        CloseReason::PeerApplication { .. } | CloseReason::PeerTransport { .. } | CloseReason::StatelessReset
    )
}

/// The status that belongs to a code on the wire.
pub(crate) fn of_code(code: TransportErrorCode) -> Status {
    match code {
        TransportErrorCode::NO_ERROR => Status::SUCCESS,
        TransportErrorCode::CONNECTION_REFUSED => Status::CONNECTION_REFUSED,
        TransportErrorCode::PROTOCOL_VIOLATION => Status::PROTOCOL_ERROR,
        TransportErrorCode::APPLICATION_ERROR => Status::USER_CANCELED,
        code if code == TransportErrorCode::VERSION_NEGOTIATION_ERROR => Status::VER_NEG_ERROR,
        code => match code.alert() {
            Some(90) => Status::USER_CANCELED,
            Some(40) => Status::HANDSHAKE_FAILURE,
            Some(120) => Status::ALPN_NEG_FAILURE,
            Some(alert) => Status::of_alert(alert),
            None => Status::INTERNAL_ERROR,
        },
    }
}

/// Status and code of the end of a connection.
pub(crate) fn of_end(reason: &CloseReason) -> (Status, u64) {
    match reason {
        CloseReason::LocalApplication { code } | CloseReason::PeerApplication { code, .. } => {
            (Status::SUCCESS, code.into_inner())
        }
        CloseReason::PeerTransport { code, .. } | CloseReason::Refused { code } => (of_code(*code), code.0),
        CloseReason::Violation(violation) => (of_code(violation.code), violation.code.0),
        CloseReason::EchRejected { .. } => (Status::of_alert(121), TransportErrorCode::crypto(121).0),
        CloseReason::StatelessReset => (Status::ABORTED, 0),
        CloseReason::IdleTimeout => (Status::CONNECTION_IDLE, 0),
        CloseReason::HandshakeTimeout => (Status::CONNECTION_TIMEOUT, 0),
        CloseReason::VersionMismatch => (Status::VER_NEG_ERROR, TransportErrorCode::VERSION_NEGOTIATION_ERROR.0),
        _ => (Status::ABORTED, 0),
    }
}
