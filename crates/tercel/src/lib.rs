//! Tercel: QUIC with MsQuic's object model, in safe Rust.
//!
//! | you want | take |
//! |---|---|
//! | futures, on any executor | [`aio::Endpoint`], [`aio::Connection`], [`aio::SendStream`], [`aio::RecvStream`] |
//! | callbacks, with the least delay | [`Registration`], [`Listener`], [`Connection`], [`Stream`] and their events |
//! | HTTP/3, with axum or any tower service | the crate [`tercel-h3`](https://docs.rs/tercel-h3) |
//!
//! Both faces share the rest: a [`Configuration`] of [`Settings`], application protocols and a credential
//! ([`Identity`], [`Trust`]); certificates that the application may judge, at once or later
//! ([`PendingVerdict`], [`aio::CertificateVerifier`]); sessions that go on ([`ServerResumption`],
//! [`ResumptionTicket`]); datagrams; and one [`Error`] and [`CloseReason`] that tell whose fault it was.
//!
//! # With futures
//!
//! ```no_run
//! use tercel::aio::Endpoint;
//! use tercel::{Configuration, Settings, Trust};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let configuration = Configuration::client(&["example"], Settings::default(), Trust::system()?)?;
//! let endpoint = Endpoint::client()?;
//! let connection = endpoint.connect(&configuration, "192.0.2.1:443".parse()?, "example.net")?.await?;
//! let (mut send, mut recv) = connection.open_bi().await?;
//! send.write_all(b"hello").await?;
//! send.finish()?;
//! println!("{} bytes of an answer", recv.read_to_end(1 << 20).await?.len());
//! connection.shutdown(0u32.into(), b"").await;
//! # Ok(())
//! # }
//! ```
//!
//! # With callbacks
//!
//! A [`Registration`] owns worker threads. A [`Listener`] takes connections in, [`Registration::connect`]
//! makes them; a [`Connection`] carries [`Stream`]s. What happens is told by events, delivered by the worker
//! that owns the connection to the handler that the application gave: one at a time, in order, never
//! recursively. The handles may be used from any thread and from within handlers.
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
//!
//! # Guides and examples
//!
//! [Start here](https://github.com/tercel-quic/tercel/blob/main/docs/start-here.md) ·
//! [verdicts](https://github.com/tercel-quic/tercel/blob/main/docs/verdicts.md) ·
//! [resuming sessions](https://github.com/tercel-quic/tercel/blob/main/docs/resumption.md) ·
//! [TLS](https://github.com/tercel-quic/tercel/blob/main/docs/tls.md) ·
//! [from quinn](https://github.com/tercel-quic/tercel/blob/main/docs/from-quinn.md) ·
//! [from MsQuic](https://github.com/tercel-quic/tercel/blob/main/docs/from-msquic.md) ·
//! [deployment and tuning](https://github.com/tercel-quic/tercel/blob/main/docs/deployment.md) ·
//! [looking inside](https://github.com/tercel-quic/tercel/blob/main/docs/observability.md) ·
//! [examples](https://github.com/tercel-quic/tercel/tree/main/crates/tercel/examples)
//!
//! # Features
//!
//! `platform-verifier`: `aio::OffThread::platform`, by which the operating system judges certificates.
//! `certificate-compression`: `Configuration::with_certificate_compression`.
//!
//! `tokio-tasks` (Unix, default): `Registration::in_tasks`, by which workers are tasks of tokio's in place of threads, as
//! those of an [`aio::Endpoint`] that is made in a runtime are.
#![forbid(unsafe_code)]

pub mod aio;
mod binding;
mod cell;
pub mod certificate;
pub mod configuration;
pub mod connection;
mod counters;
pub mod credential;
pub mod datapath;
pub mod event;
mod handshake_info;
pub mod listener;
mod operation;
pub mod qlog;
pub mod receive;
pub mod registration;
pub mod resumption;
pub mod settings;
pub mod status;
pub mod stream;
pub mod worker;

pub use certificate::{PeerCertificate, PendingVerdict};
pub use configuration::{
    CipherSuite, ClientAuthentication, ClientCredential, Configuration, Ech, EchStatus, KeyExchange, ServerCredential,
};
pub use connection::Connection;
pub use counters::Counters;
pub use credential::{Identity, Trust};
pub use event::{
    ConnectionEvent, ConnectionHandler, ListenerEvent, ListenerHandler, NewConnection, NewStream, StreamEvent,
    StreamHandler,
};
pub use handshake_info::HandshakeInfo;
pub use listener::Listener;
pub use qlog::Qlog;
pub use receive::{FilledBuffer, PendingReceive, Receive, ReceiveMemory, Rest};
pub use registration::{
    Connect, Listen, Registration, RegistrationConfig, RegistrationStats, RetryPolicy, RoutableIds, SocketChoice,
};
pub use resumption::{OfferedTicket, Resume, ResumptionLevel, ResumptionTicket, ServerResumption};
pub use settings::Settings;
pub use status::Error;
pub use stream::{AtLimit, SendOptions, Stream, StreamOptions};
pub use worker::{Driver, Park, Worker};

pub use bytes::{Bytes, BytesMut};
pub use rustls::KeyLog;
pub use tercel_proto::cid::quic_lb::QuicLb;
pub use tercel_proto::config::{CongestionAlgorithm, PreferredAddress};
pub use tercel_proto::datagram::{DatagramPriority, DatagramSendState};
pub use tercel_proto::error::CloseReason;
pub use tercel_proto::path::MAX_LOCAL_ADDRESSES;
pub use tercel_proto::stats::{ConnectionStats, HandshakePhases, PathCongestion, PathState, PathStats};
pub use tercel_proto::stream::{BlockedTimes, StreamScheduling, StreamStats};
pub use tercel_proto::time::Time;
pub use tercel_proto::tls::{Alert, Negotiated, TlsSecrets, Verdict};
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

/// And in that to TLS.
#[cfg(doctest)]
#[doc = include_str!("../docs/tls.md")]
struct Tls;

/// And in that to looking inside.
#[cfg(doctest)]
#[doc = include_str!("../docs/observability.md")]
struct Observability;
