//! The handle of a listener.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::binding::listener::ListenerShared;
use crate::worker::Letter;

/// A listener. Dropping it stops it; connections that it took in go on.
///
/// Its handler may answer later, and choose for each client, here by the name that it asks for:
///
/// ```
/// use tercel::{Configuration, Connection, ConnectionEvent, Listen, Listener, ListenerEvent, Registration};
/// use tercel::TransportErrorCode;
///
/// fn listen(registration: &Registration, one: Configuration, other: Configuration) -> Result<Listener, tercel::Error> {
///     // Port 0: the system chooses one, which local_address() tells.
///     let listen = Listen::new(([127, 0, 0, 1], 0).into(), ["example"]);
///     registration.listen(listen, move |_: &Listener, event: ListenerEvent| {
///         let ListenerEvent::NewConnection(new) = event else { return };
///         let configuration = match new.server_name() {
///             Some("one.example") => &one,
///             Some("other.example") => &other,
///             _ => return new.refuse(TransportErrorCode::CONNECTION_REFUSED),
///         };
///         // An error tells that the client has left.
///         if let Ok(connection) = new.accept(configuration, |_: &Connection, _: ConnectionEvent<'_>| {}) {
///             connection.detach();
///         }
///     })
/// }
/// ```
pub struct Listener {
    pub(crate) shared: Arc<ListenerShared>,
    /// Whether this is the application's own, and not one lent to its handler.
    pub(crate) owned: bool,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").field("address", &self.local_address()).finish_non_exhaustive()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if self.owned {
            self.stop();
        }
    }
}

impl Listener {
    /// The address that it is bound to, with the port that the system chose if none was given.
    pub fn local_address(&self) -> SocketAddr {
        self.shared.binding.address
    }

    /// Takes no more connections. [`crate::ListenerEvent::StopComplete`] follows, once.
    pub fn stop(&self) {
        self.shared.announce(Letter::StopListening);
    }
}
