//! How far the life of a connection has come.
//!
//! One value, so that no two of its states can hold at once. `Alive` moves to `Closing` (we spoke
//! last) or `Draining` (the peer did), and both to `Closed`; never back.

use super::closing::Farewell;
use crate::close::Closing;
use crate::time::Time;

/// How far the life of a connection has come (RFC 9000 section 10).
#[derive(Debug)]
pub(super) enum Phase {
    /// Packets go both ways.
    Alive,
    /// We said CONNECTION_CLOSE, and answer what still comes with it (section 10.2.1).
    Closing(Box<Said>),
    /// The peer said CONNECTION_CLOSE, or a stateless reset; nothing is sent (section 10.2.2).
    Draining {
        /// When the state can be forgotten.
        until: Time,
    },
    /// Nothing is left to do.
    Closed,
}

/// What we said last.
#[derive(Debug)]
pub(super) struct Said {
    /// When, and how often it is said again.
    pub(super) closing: Closing,
    /// In which words.
    pub(super) farewell: Farewell,
}

impl Phase {
    pub(super) const fn is_alive(&self) -> bool {
        matches!(self, Self::Alive)
    }
}
