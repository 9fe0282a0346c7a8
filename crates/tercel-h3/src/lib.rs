//! HTTP/3 over Tercel.
//!
//! [`Connection`] gives a connection of [`tercel::aio`] the form that the `h3` crate wants, for both
//! ends; so whatever is written for `h3` runs over Tercel.
#![forbid(unsafe_code)]

mod connection;
mod datagram;
mod error;
mod stream;

pub use connection::{Connection, Opener};
pub use datagram::Datagrams;
pub use stream::{BidiStream, RecvStream, SendStream};

/// The application protocol of HTTP/3 (RFC 9114 section 3.1).
pub const ALPN: &[u8] = b"h3";
