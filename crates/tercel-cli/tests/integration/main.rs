//! The program as its users run it. These tests are one program, which is linked once.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests wait for processes and measure time")]

mod common;
mod faults;
mod get;
mod metrics;
mod program;
mod resume;
mod serve;
