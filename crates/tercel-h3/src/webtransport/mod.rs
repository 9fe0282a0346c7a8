//! WebTransport over HTTP/3: sessions of streams and datagrams beside ordinary requests, as browsers
//! speak it (draft-ietf-webtrans-http3, draft 2 and what later drafts added in the same form).
//!
//! A client asks for a session by an extended CONNECT request (RFC 9220). [`Server::webtransport`]
//! gives each such request to a handler, which [accepts](SessionRequest::accept) it or does not.
//! A [`Session`] opens and accepts streams, sends and receives datagrams, and ends with a code and a
//! reason.
//!
//! ```no_run
//! # async fn run(identity: tercel::Identity) -> Result<(), Box<dyn std::error::Error>> {
//! use tercel_h3::Server;
//! use tercel_h3::webtransport::{SessionEnd, SessionRequest};
//!
//! async fn echo(request: SessionRequest) -> Result<(), SessionEnd> {
//!     if request.uri().path() != "/echo" {
//!         request.reject(http::StatusCode::NOT_FOUND);
//!         return Ok(());
//!     }
//!     let session = request.accept().await?;
//!     loop {
//!         tokio::select! {
//!             datagram = session.read_datagram() => {
//!                 // A datagram may be lost anyway.
//!                 let _ = session.send_datagram(datagram?);
//!             }
//!             stream = session.accept_bi() => {
//!                 let (mut send, mut recv) = stream?;
//!                 tokio::spawn(async move { tokio::io::copy(&mut recv, &mut send).await });
//!             }
//!         }
//!     }
//! }
//!
//! let server = Server::bind("[::]:443".parse()?, identity)?.webtransport(|request| async {
//!     if let Err(end) = echo(request).await {
//!         println!("a session has ended: {end}");
//!     }
//! });
//! # Ok(())
//! # }
//! ```
//!
//! [`Server::webtransport`]: crate::Server::webtransport

mod capsule;
mod code;
mod drive;
mod router;
mod session;
mod sorter;
mod stream;

use std::pin::Pin;
use std::sync::Arc;

pub use drive::SessionRequest;
pub(crate) use drive::{is_session, serve};
pub(crate) use router::{Router, pump};
pub use session::{SendDatagramError, Session, SessionEnd};
pub(crate) use sorter::Sorter;
pub use stream::{ReadError, ReadToEndError, RecvStream, SendStream, WriteError};

/// What an application does with those who ask for sessions.
pub(crate) type Handler = Arc<dyn Fn(SessionRequest) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;
