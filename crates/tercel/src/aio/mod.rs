//! The async face: the same objects with futures in place of callbacks. It works on any executor.
//!
//! [`Endpoint`] connects and accepts; a [`Connection`] opens and accepts streams; [`SendStream`] and
//! [`RecvStream`] are written and read as bytes, as chunks of [`bytes::Bytes`], or by the traits of
//! tokio and futures. Underneath is the callback face: handlers on the workers put what happens
//! into small shared states and wake whoever waits.

mod answer;
mod connection;
mod datagram;
mod endpoint;
mod error;
mod off_thread;
mod recv;
mod send;
mod state;
pub(crate) mod verifier;

pub use connection::{Closed, Connecting, Connection, OpenBi, OpenUni};
pub use datagram::SentDatagram;
pub use endpoint::{Accept, Endpoint, Incoming};
pub use error::{ConnectError, ConnectionError, ReadError, ReadToEndError, WriteError};
pub use off_thread::OffThread;
pub use recv::RecvStream;
pub use send::SendStream;
pub use verifier::CertificateVerifier;
