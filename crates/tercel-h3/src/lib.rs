//! HTTP/3 over Tercel.
//!
//! | you want | take |
//! |---|---|
//! | to serve: axum, or any tower service, with HTTP/2 and HTTP/1.1 beside | [`Server`] |
//! | to ask, or whatever is written for the [`h3`](https://docs.rs/h3) crate | [`Connection`], for both ends |
//! | WebTransport | [`webtransport`], by [`Server::webtransport`] |
//! | HTTP datagrams | [`Datagrams`] |
//!
//! ```no_run
//! # async fn run(identity: tercel::Identity) -> Result<(), Box<dyn std::error::Error>> {
//! use http::{Request, Response};
//! use tercel_h3::{RequestBody, Server};
//!
//! let service = tercel_h3::service_fn(|request: Request<RequestBody>| async move {
//!     Ok::<_, std::convert::Infallible>(Response::new(format!("you asked for {}\n", request.uri().path())))
//! });
//! Server::bind("[::]:443".parse()?, identity)?.serve(service).await?;
//! # Ok(())
//! # }
//! ```
//!
//! [The guide](https://github.com/tercel-quic/tercel/blob/main/docs/http3.md) and
//! [an example with axum](https://github.com/tercel-quic/tercel/blob/main/crates/tercel-h3/examples/axum.rs)
//! tell more.
#![forbid(unsafe_code)]

mod body;
mod connection;
mod datagram;
mod error;
mod guard;
mod server;
mod stream;
pub mod webtransport;

pub use body::{BoxError, RequestBody};
pub use connection::{Connection, Opener};
pub use datagram::Datagrams;
pub use server::{Handle, Limits, RemoteAddress, Server, ServiceFn, service_fn};
pub use stream::{BidiStream, RecvStream, SendStream};

/// The application protocol of HTTP/3 (RFC 9114 section 3.1).
pub const ALPN: &[u8] = b"h3";

/// The code in the guide compiles.
#[cfg(doctest)]
#[doc = include_str!("../docs/http3.md")]
struct Guide;
