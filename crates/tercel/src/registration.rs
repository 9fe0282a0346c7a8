//! The root of the object model: worker threads and what their connections share.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tercel_wire::ApplicationErrorCode;

use crate::configuration::Configuration;
use crate::connection::Connection;
use crate::datapath::Datapath;
use crate::event::{ConnectionHandler, ListenerHandler};
use crate::listener::Listener;
use crate::status::Error;
use crate::worker::Worker;

/// When a server demands proof of a client's address by a Retry packet (RFC 9000 section 8.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RetryPolicy {
    /// Never.
    Never,
    /// Of every client that brings no valid token.
    Always,
    /// While a worker has more than this many unfinished handshakes.
    Above(usize),
}

/// How a registration runs.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RegistrationConfig {
    /// How many worker threads, 1 to 255; 0 for one per processor. Default 0.
    pub workers: usize,
    /// When to demand a Retry. Default above 256 unfinished handshakes of a worker.
    pub retry: RetryPolicy,
    /// How many unfinished handshakes a worker holds as a server; first packets beyond are dropped.
    /// Default 4096.
    pub max_half_open: usize,
    /// How many stateless resets a worker sends in a second. Default 100.
    pub stateless_resets_per_second: u32,
    /// The secret from which connection IDs, stateless reset tokens and address tokens are made. Give
    /// the same one after a restart and clients learn at once that their connections are gone.
    /// Default: made up at the start.
    pub secret: Option<[u8; 32]>,
    /// How long a NEW_TOKEN token is good for. Default 24 h.
    pub token_lifetime: Duration,
}

impl Default for RegistrationConfig {
    fn default() -> Self {
        Self {
            workers: 0,
            retry: RetryPolicy::Above(256),
            max_half_open: 4096,
            stateless_resets_per_second: 100,
            secret: None,
            token_lifetime: Duration::from_secs(24 * 60 * 60),
        }
    }
}

/// From which socket a client connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum SocketChoice {
    /// One that the worker's client connections share.
    #[default]
    Shared,
    /// One of its own, on any port.
    Own,
    /// The one bound to this address, which a listener or other connections may share; opened if
    /// there is none.
    Bound(SocketAddr),
}

/// Where to connect.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Connect {
    /// The server's address.
    pub remote: SocketAddr,
    /// The name or IP address that its certificate must carry.
    pub server_name: String,
    /// From which socket.
    pub socket: SocketChoice,
    /// A token of an earlier connection to this server, or empty.
    pub token: Bytes,
}

impl Connect {
    /// To `remote`, whose certificate must be for `server_name`.
    pub fn new(remote: SocketAddr, server_name: impl Into<String>) -> Self {
        Self { remote, server_name: server_name.into(), socket: SocketChoice::default(), token: Bytes::new() }
    }
}

/// Where and what to listen for.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Listen {
    /// The address to bind to. Several listeners may share one.
    pub address: SocketAddr,
    /// The application protocols served; a client is given to the first listener of the address that
    /// serves one that it offers.
    pub alpn: Vec<Vec<u8>>,
}

impl Listen {
    /// On `address`, for clients that offer one of `alpn`.
    pub fn new(address: SocketAddr, alpn: impl IntoIterator<Item = impl Into<Vec<u8>>>) -> Self {
        Self { address, alpn: alpn.into_iter().map(Into::into).collect() }
    }
}

/// Worker threads and the secrets and sockets that they share. Cheap to clone; dropping the last
/// clone closes every connection with code 0 and ends the threads.
#[derive(Clone)]
pub struct Registration {}

#[allow(unused_variables, clippy::todo)]
impl Registration {
    /// Starts the worker threads.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for more than 255 workers, [`Error::Io`] if the system refuses.
    pub fn new(config: RegistrationConfig) -> Result<Self, Error> {
        todo!()
    }

    /// A registration without threads: the caller gives the network and drives the workers with
    /// [`Worker::turn`]. Everything random grows from `seed`, so that a run can be repeated.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for more than 255 workers.
    pub fn manual(
        config: RegistrationConfig,
        datapath: Arc<dyn Datapath>,
        seed: [u8; 32],
    ) -> Result<(Self, Vec<Worker>), Error> {
        todo!()
    }

    /// Begins a connection to a server.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a server name that is none, [`Error::Tls`] if the configuration
    /// does not serve a client, [`Error::Io`] if no socket can be opened, [`Error::Closed`] after
    /// [`shutdown`](Self::shutdown).
    pub fn connect(
        &self,
        configuration: &Configuration,
        connect: Connect,
        handler: impl ConnectionHandler,
    ) -> Result<Connection, Error> {
        todo!()
    }

    /// Begins to listen.
    ///
    /// # Errors
    /// [`Error::Io`] if the address cannot be bound (in use, not ours, not permitted),
    /// [`Error::InvalidArgument`] if no protocol is named.
    pub fn listen(&self, listen: Listen, handler: impl ListenerHandler) -> Result<Listener, Error> {
        todo!()
    }

    /// Closes every connection with `code` and takes no new ones.
    pub fn shutdown(&self, code: ApplicationErrorCode) {
        todo!()
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        todo!()
    }
}
