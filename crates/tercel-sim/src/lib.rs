//! Tercel in virtual time: a network that loses, delays, reorders, repeats, damages and renames
//! datagrams, hosts that run the protocol, and scenarios that say what must come out.
//!
//! Everything grows from one seed, so every run can be repeated byte by byte. A [`World`] holds the
//! hosts and the [`network`]; [`scenario`] makes worlds and judges them; [`host`] runs bare protocol
//! connections, [`congestion`] bulk transfers through one bottleneck, `workers` the whole runtime, and
//! [`matrix`] every verdict with every close. TLS is real but for the key exchange and the randomness, see
//! [`crypto`].
#![forbid(unsafe_code)]

pub mod congestion;
pub mod crypto;
pub mod host;
pub mod matrix;
pub mod network;
pub mod random;

pub mod runner;
pub mod scenario;
pub mod workers;
pub mod world;

pub use random::Random;
pub use world::{Host, World};

/// The code in the project's README compiles. (This crate is never published, so its sources may name
/// files beyond it.)
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
