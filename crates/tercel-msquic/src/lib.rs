//! MsQuic's C interface, version 2, over Tercel: what `libmsquic.so.2` is built of
//! (`crates/tercel-msquic/build-library`).
//!
//! | room | holds |
//! |---|---|
//! | `abi` | the types that cross the boundary |
//! | `boundary` | the door: panics stay inside, pointers become references and bytes |
//! | `handle` | every `HQUIC`: a key, never an address, so that a stale one is told from a good one |
//! | `called` | whose callback runs: what most calls are of |
//! | `gate` | one callback at a time, and none after a close |
//! | `brief` | the lock of what objects know |
//! | `target` | which callback |
//! | `library`, `registration`, `configuration`, `credential`, `settings`, `versions`, `listener`, `connection`, `stream` | the objects |
//! | `execution` | workers that the application drives |
//! | `param` | parameters, a line each |
//! | `outcome` | Tercel's errors as status codes |
//! | `table` | the functions, in the order of the header |
//!
//! This is the only crate of Tercel that has `unsafe`: for pointers that C programs give. What the documentation
//! of a function asks of them (they are valid for the lengths given with them, and what is sent stays so until its
//! `SEND_COMPLETE`) is the contract of every block here.
#![warn(clippy::undocumented_unsafe_blocks)]

pub mod abi;
mod address;
mod boundary;
mod brief;
mod called;
mod configuration;
mod connection;
mod credential;
mod execution;
mod gate;
mod handle;
mod library;
mod listener;
mod outcome;
mod param;
mod registration;
mod settings;
mod stream;
mod table;
mod target;
mod versions;

pub use library::{MsQuicClose, MsQuicOpenVersion};
