//! Answers that need no connection: pure functions from bytes to bytes.

pub mod refusal;
pub mod reset;
pub mod retry;
pub mod version_negotiation;
