//! The sans-IO QUIC connection: every rule of RFC 9000, 9001, 9002 and 9221, and no clock, socket,
//! thread, lock or global randomness. Time and entropy are passed in; datagrams go in and out as
//! values.
//!
//! Start at [`connection::Connection`], which states the calling contract.
#![forbid(unsafe_code)]

pub mod cid;
pub mod close;
pub mod config;
pub mod congestion;
pub mod connection;
pub mod datagram;
pub mod entropy;
pub mod error;
pub mod frames;
mod grease;
pub mod idle;
pub mod keys;
pub mod path;
pub mod ranges;
pub mod rare_queue;
mod reassembly;
pub mod recovery;
pub mod short_queue;
mod small_map;
pub mod space;
pub mod stateless;
pub mod stats;
pub mod stream;
pub mod time;
pub mod tls;
pub mod token;
pub mod trace;
mod version;

pub use tercel_wire as wire;
