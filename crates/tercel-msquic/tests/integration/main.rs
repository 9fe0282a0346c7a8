//! The C interface as programs use it, in one program, which is linked once.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "for tests")]

mod conformance;
mod connections;
mod echo;
mod library;
mod pairing;
mod programs;
mod receiving;
#[path = "../support/mod.rs"]
mod support;
mod verify;
