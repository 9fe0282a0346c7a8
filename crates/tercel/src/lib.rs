//! Tercel: QUIC with MsQuic's object model, in safe Rust.
//!
//! A [`Registration`] owns worker threads. A [`Configuration`] holds settings, application protocols
//! and a credential. A [`Listener`] takes connections in, [`Registration::connect`] makes them; a
//! [`Connection`] carries [`Stream`]s. What happens is told by events, delivered by the worker that
//! owns the connection to the handler the application gave: one at a time, in order, never
//! recursively. The handles may be used from any thread and from within handlers. The [`aio`] face
//! gives the same by `await`.
//!
//! ```no_run
//! use tercel::{Bytes, Configuration, Connect, Connection, ConnectionEvent, Direction, Registration};
//! use tercel::{RegistrationConfig, Stream, StreamEvent};
//!
//! fn greet(configuration: &Configuration) -> Result<Registration, tercel::Error> {
//!     let registration = Registration::new(RegistrationConfig::default())?;
//!     let server = Connect::new(([192, 0, 2, 1], 443).into(), "example.net");
//!     let events = |connection: &Connection, event: ConnectionEvent<'_>| {
//!         if let ConnectionEvent::Connected { .. } = event {
//!             let answer = |_: &Stream, event: StreamEvent<'_>| {
//!                 if let StreamEvent::Receive(data) = event {
//!                     println!("{} bytes of an answer", data.len());
//!                 }
//!             };
//!             let opened = connection.open_stream(Direction::Bidirectional, answer);
//!             if let Ok(stream) = opened {
//!                 let _ = stream.send(Bytes::from_static(b"hello"), true, 0);
//!                 stream.detach();
//!             }
//!         }
//!     };
//!     registration.connect(configuration, server, events)?.detach();
//!     Ok(registration)
//! }
//! ```
#![forbid(unsafe_code)]

pub mod aio;
mod binding;
mod cell;
pub mod certificate;
pub mod configuration;
pub mod connection;
pub mod credential;
pub mod datapath;
pub mod event;
pub mod listener;
mod operation;
pub mod registration;
pub mod resumption;
pub mod settings;
pub mod status;
pub mod stream;
pub mod worker;

pub use certificate::{PeerCertificate, PendingVerdict};
pub use configuration::{ClientAuthentication, ClientCredential, Configuration, ServerCredential};
pub use connection::Connection;
pub use credential::{Identity, Trust};
pub use event::{
    ConnectionEvent, ConnectionHandler, ListenerEvent, ListenerHandler, NewConnection, NewStream, Receive, StreamEvent,
    StreamHandler,
};
pub use listener::Listener;
pub use registration::{
    Connect, Listen, Registration, RegistrationConfig, RegistrationStats, RetryPolicy, SocketChoice,
};
pub use resumption::{OfferedTicket, Resume, ResumptionLevel, ResumptionTicket, ServerResumption};
pub use settings::Settings;
pub use status::Error;
pub use stream::Stream;
pub use worker::{Park, Worker};

pub use bytes::Bytes;
pub use tercel_proto::datagram::DatagramSendState;
pub use tercel_proto::error::CloseReason;
pub use tercel_proto::stats::{ConnectionStats, HandshakePhases};
pub use tercel_proto::time::Time;
pub use tercel_proto::tls::{Alert, Negotiated, Verdict};
pub use tercel_wire::{
    ApplicationErrorCode, Direction, Role, StreamId, TransportErrorCode, TransportParameters, VarInt, Version,
};

/// The code in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// So does that in the first guide.
#[cfg(doctest)]
#[doc = include_str!("../docs/start-here.md")]
struct StartHere;

/// And in that for those who come from quinn, both halves of it.
#[cfg(doctest)]
#[doc = include_str!("../docs/from-quinn.md")]
struct FromQuinn;

/// And our half of the one for those who come from MsQuic.
#[cfg(doctest)]
#[doc = include_str!("../docs/from-msquic.md")]
struct FromMsQuic;

/// And in that to deployment.
#[cfg(doctest)]
#[doc = include_str!("../docs/deployment.md")]
struct Deployment;

/// And in that to verdicts.
#[cfg(doctest)]
#[doc = include_str!("../docs/verdicts.md")]
struct Verdicts;

/// And in that to resumption.
#[cfg(doctest)]
#[doc = include_str!("../docs/resumption.md")]
struct Sessions;
