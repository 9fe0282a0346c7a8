//! HTTP/3 over Tercel.
//!
//! [`Connection`] gives a connection of [`tercel::aio`] the form that the `h3` crate wants, for both
//! ends; so whatever is written for `h3` runs over Tercel. [`Server`] serves a tower service over HTTP/3,
//! and over HTTP/1.1 and HTTP/2 beside, at the same port number.
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
#![forbid(unsafe_code)]

mod body;
mod connection;
mod datagram;
mod error;
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
