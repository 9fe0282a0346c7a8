//! The handle of a listener.

use std::net::SocketAddr;

/// A listener. Dropping it stops it; connections that it took in go on.
pub struct Listener {}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Listener")
    }
}

#[allow(clippy::todo)]
impl Listener {
    /// The address that it is bound to, with the port that the system chose if none was given.
    pub fn local_address(&self) -> SocketAddr {
        todo!()
    }

    /// Takes no more connections. [`crate::ListenerEvent::StopComplete`] follows.
    pub fn stop(&self) {
        todo!()
    }
}
