//! HTTP/3 over real sockets, in one program, which is linked once.
#![allow(clippy::unwrap_used)]

mod bindings;
mod examples;
mod malformed;
mod server;
mod webtransport;
