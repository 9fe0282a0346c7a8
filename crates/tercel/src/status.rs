//! Why a call of the application failed.

use std::io;
use std::sync::Arc;

use tercel_proto::error::{ApiMisuse, CloseReason};

/// A call that failed. It had no effect and causes no event.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Error {
    /// The connection, stream, listener or registration has ended.
    Closed,
    /// The connection has ended, for this reason.
    ConnectionClosed(CloseReason),
    /// The call does not fit the state of the object.
    Misuse(ApiMisuse),
    /// An argument outside its documented range; the text says which.
    InvalidArgument(&'static str),
    /// The operating system refused; the text says what was tried.
    Io {
        /// What was tried.
        what: String,
        /// What the operating system said.
        source: Arc<io::Error>,
    },
    /// A certificate, key or TLS setting cannot be used.
    Tls(Arc<str>),
}

impl Error {
    /// An error of the operating system while trying `what`.
    pub fn io(what: impl Into<String>, source: io::Error) -> Self {
        Self::Io { what: what.into(), source: Arc::new(source) }
    }

    /// A fault in a certificate, key or TLS setting.
    pub fn tls(what: impl Into<String>) -> Self {
        Self::Tls(what.into().into())
    }
}

impl From<ApiMisuse> for Error {
    fn from(misuse: ApiMisuse) -> Self {
        match misuse {
            ApiMisuse::ConnectionClosed => Self::Closed,
            ApiMisuse::InvalidArgument(what) => Self::InvalidArgument(what),
            misuse => Self::Misuse(misuse),
        }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed => f.write_str("already closed"),
            Self::ConnectionClosed(reason) => reason.fmt(f),
            Self::Misuse(misuse) => misuse.fmt(f),
            Self::InvalidArgument(what) => f.write_str(what),
            Self::Io { what, source } => write!(f, "{what}: {source}"),
            Self::Tls(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::ConnectionClosed(reason) => Some(reason),
            Self::Misuse(misuse) => Some(misuse),
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
