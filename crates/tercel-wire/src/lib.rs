//! QUIC on the wire: bytes to meaning and back, without state.
//!
//! Data enters as a datagram (`packet`), a decrypted payload (`frame`) or a TLS extension
//! (`transport_parameters`), and leaves as plain values; on the way out it is the reverse. Nothing
//! here remembers anything, reads a clock or owns a key: keys are lent through the two traits of
//! [`packet::protection`].
#![forbid(unsafe_code)]

pub mod client_hello;
pub mod connection_id;
pub mod cursor;
pub mod encrypted_extensions;
pub mod error_code;
pub mod frame;
pub mod new_session_ticket;
pub mod packet;
pub mod stream_id;
pub mod transport_parameters;
pub mod varint;
pub mod version;
pub mod version_information;

pub use connection_id::{ConnectionId, ResetToken};
pub use cursor::{Reader, Writer};
pub use error_code::{ApplicationErrorCode, TransportErrorCode};
pub use frame::Frame;
pub use packet::{EncryptionLevel, SpaceId};
pub use stream_id::{Direction, Role, StreamId};

pub use transport_parameters::TransportParameters;
pub use varint::VarInt;
pub use version::Version;
pub use version_information::VersionInformation;

/// Why bytes could not be read as what they should have been.
///
/// The caller knows where the bytes came from and so which transport error code the fault deserves
/// (RFC 9000 section 12.4 and section 20.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end before the value does.
    UnexpectedEnd,
    /// A value is outside its permitted range; the text says which.
    Malformed(&'static str),
    /// A frame type that this endpoint does not know.
    UnknownFrame(u64),
    /// A version that this endpoint does not speak (the packet needs Version Negotiation).
    UnsupportedVersion,
}

impl std::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UnexpectedEnd => f.write_str("unexpected end of data"),
            Self::Malformed(what) => write!(f, "malformed: {what}"),
            Self::UnknownFrame(ty) => write!(f, "unknown frame type {ty:#x}"),
            Self::UnsupportedVersion => f.write_str("unsupported version"),
        }
    }
}

impl std::error::Error for DecodeError {}
