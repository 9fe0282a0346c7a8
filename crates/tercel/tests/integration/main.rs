//! Over real sockets, in one program, which is linked once. What measures its process, or is the only one of it, has a
//! program of its own beside this.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests measure time and have threads of their own")]

mod aio;
mod balancer;
mod bulk;
#[cfg(unix)]
mod driven;
mod ech;
mod examples;
mod loopback;
mod msquic_faults;
mod paths;
mod quinn;
mod resumption;
mod streams;
#[path = "../support/mod.rs"]
mod support;
mod tls;
mod trust;
mod verdict;
mod versions;
