//! What the fuzz targets do with their input. Each function takes any bytes and panics if Tercel is
//! at fault; it is a function of its input alone.
//!
//! The targets in `fuzz_targets` lend these functions to libFuzzer; `tests/seeds.rs` runs them over
//! the inputs in `seeds`, without a fuzzer.

mod client_hello;
mod connection;
mod end;
mod frames;
mod packets;
pub mod program;
mod tickets;
pub mod transparent;
mod transport_parameters;

pub use client_hello::client_hello;
pub use connection::{connection, peak_memory};
pub use frames::frames;
pub use packets::packets;
pub use tickets::tickets;
pub use transport_parameters::transport_parameters;

/// A target: any bytes go in.
pub type Target = fn(&[u8]);

/// All targets by name.
pub const TARGETS: &[(&str, Target)] = &[
    ("frames", frames),
    ("packets", packets),
    ("transport_parameters", transport_parameters),
    ("client_hello", client_hello),
    ("tickets", tickets),
    ("connection", connection),
];
