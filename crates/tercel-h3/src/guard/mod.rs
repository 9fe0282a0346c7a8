//! What HTTP/3 demands of a peer and the h3 crate lets pass: it stands between the streams of the
//! transport and h3. Bytes of the peer come in, whole frames and pieces of DATA that are in order go on;
//! what is not ends the stream or the connection with the code that the RFC names.
//!
//! h3 0.0.8 keeps a frame other than DATA until it is whole, however large it says to be, takes a body cut
//! off within a frame for whole, does not read the streams of QPACK, and forgets the order and number of
//! pseudo-header fields.

mod fields;
mod frames;
mod streams;

#[cfg(test)]
mod tests;

use std::fmt;

use h3::error::Code;

pub(crate) use frames::Frames;
pub(crate) use streams::Streams;

/// Which end of the connection we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Client,
    Server,
}

/// The largest frame that is kept until it is whole, in bytes, unless something else is said.
pub(crate) const MAX_FRAME: u64 = 1 << 20;

/// A rule that the peer broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A connection error (RFC 9114 section 8).
    Connection(Code, &'static str),
    /// A malformed message, which is a stream error (RFC 9114 section 4.1.2).
    Message(&'static str),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection(_, reason) => f.write_str(reason),
            Self::Message(reason) => write!(f, "a malformed message: {reason}"),
        }
    }
}

impl std::error::Error for Fault {}
