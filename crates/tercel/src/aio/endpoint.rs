//! Where connections of the async face come from.

use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use tercel_wire::{ApplicationErrorCode, TransportErrorCode};

use super::connection::{Connecting, Connection};
use super::state::{ConnectionFeed, ConnectionState, Wakers, lock, wake};
use crate::certificate::Cancelled;
use crate::configuration::Configuration;
use crate::event::{ListenerEvent, NewConnection};
use crate::listener::Listener;
use crate::registration::{Connect, Listen, Registration, RegistrationConfig, SocketChoice};
use crate::resumption::{OfferedTicket, Resume};
use crate::status::Error;

/// So many connections wait to be accepted; beyond, clients are refused.
const BACKLOG: usize = 1024;

/// A place from which connections are made, and at which they arrive. Cheap to clone.
///
/// Dropping the last clone ends its connections with code 0: keep one as long as they are needed.
///
/// ```
/// use tercel::aio::Endpoint;
/// use tercel::{Configuration, Settings, Trust};
///
/// # fn identity() -> tercel::Identity {
/// #     let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
/// #     let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
/// #     tercel::Identity::new(vec![made.cert.der().clone()], key.into()).unwrap()
/// # }
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let identity = identity();
/// let trust = Trust::Pinned(identity.fingerprint());
///
/// let configuration = Configuration::server(&["echo"], Settings::default(), identity)?;
/// let server = Endpoint::server(&configuration, "127.0.0.1:0".parse()?)?;
/// let address = server.local_address().unwrap();
/// tokio::spawn(async move {
///     while let Some(incoming) = server.accept().await {
///         tokio::spawn(async move {
///             let connection = incoming.accept().ok()?.await.ok()?;
///             while let Ok((mut send, mut recv)) = connection.accept_bi().await {
///                 send.write_all(&recv.read_to_end(1000).await.ok()?).await.ok()?;
///             }
///             Some(())
///         });
///     }
/// });
///
/// let configuration = Configuration::client(&["echo"], Settings::default(), trust)?;
/// let client = Endpoint::client()?; // to be kept as long as its connections
/// let connection = client.connect(&configuration, address, "localhost")?.await?;
/// let (mut send, mut recv) = connection.open_bi().await?;
/// send.write_all(b"hello").await?;
/// send.finish()?;
/// assert_eq!(recv.read_to_end(1000).await?, b"hello");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Endpoint {
    registration: Registration,
    server: Option<Arc<Server>>,
}

#[derive(Debug)]
struct Server {
    listener: Listener,
    configuration: Configuration,
    queue: Arc<Mutex<Queue>>,
}

#[derive(Debug, Default)]
struct Queue {
    arrived: VecDeque<NewConnection>,
    stopped: bool,
    wakers: Wakers,
}

impl Endpoint {
    /// An endpoint that makes connections. In a runtime of tokio's its workers are tasks there, one for each thread
    /// of the runtime ([`Registration::in_tasks`]): nobody need be woken across threads then. Elsewhere they are threads,
    /// one for each processor. To choose: [`of`](Self::of).
    ///
    /// # Errors
    /// The workers cannot be started.
    pub fn client() -> Result<Self, Error> {
        workers().map(Self::of)
    }

    /// An endpoint that accepts connections at `address`, and can make them from there; on workers as
    /// [`client`](Self::client) has them.
    ///
    /// # Errors
    /// The workers cannot be started, the address cannot be bound, or the configuration has no
    /// credential for a server.
    pub fn server(configuration: &Configuration, address: SocketAddr) -> Result<Self, Error> {
        Self::of(workers()?).listen(configuration, address)
    }

    /// An endpoint on workers that exist.
    pub const fn of(registration: Registration) -> Self {
        Self { registration, server: None }
    }

    /// The same, accepting connections at `address`.
    ///
    /// # Errors
    /// The address cannot be bound, or the configuration has no credential for a server.
    pub fn listen(mut self, configuration: &Configuration, address: SocketAddr) -> Result<Self, Error> {
        configuration.server_tls()?;
        let queue = Arc::new(Mutex::new(Queue::default()));
        let feed = queue.clone();
        let listen = Listen::new(address, configuration.server_alpn());
        let listener = self.registration.listen(listen, move |_: &Listener, event: ListenerEvent| {
            let mut queue = lock(&feed);
            let mut refused = None;
            match event {
                ListenerEvent::NewConnection(new) if queue.arrived.len() < BACKLOG => queue.arrived.push_back(new),
                ListenerEvent::NewConnection(new) => refused = Some(new),
                ListenerEvent::StopComplete => queue.stopped = true,
                ListenerEvent::LoadShedding { .. } => return,
            }
            let wakers = queue.wakers.take();
            drop(queue);
            drop(refused);
            wake(wakers);
        })?;
        self.server = Some(Arc::new(Server { listener, configuration: configuration.clone(), queue }));
        Ok(self)
    }

    /// Begins a connection to `remote`, whose certificate must be for `server_name`; from the address
    /// that this endpoint listens at, if it does.
    ///
    /// # Errors
    /// See [`Registration::connect`].
    pub fn connect(
        &self,
        configuration: &Configuration,
        remote: SocketAddr,
        server_name: &str,
    ) -> Result<Connecting, Error> {
        let mut connect = Connect::new(remote, server_name);
        if let Some(server) = &self.server {
            connect.socket = SocketChoice::Bound(server.listener.local_address());
        }
        self.connect_with(configuration, connect)
    }

    /// Begins a connection with everything said.
    ///
    /// # Errors
    /// See [`Registration::connect`].
    pub fn connect_with(&self, configuration: &Configuration, connect: Connect) -> Result<Connecting, Error> {
        let state = Arc::new(Mutex::new(ConnectionState::default()));
        let send_buffer = configuration.send_buffer();
        let feed = ConnectionFeed { state: state.clone(), send_buffer };
        let inner = self.registration.connect(configuration, connect, feed)?;
        Ok(Connecting::new(Connection::new(inner, state, send_buffer), configuration.verifier()))
    }

    /// The next connection that arrives; `None` once the endpoint listens no more.
    pub fn accept(&self) -> Accept<'_> {
        Accept(self)
    }

    /// The address that it listens at.
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.server.as_ref().map(|server| server.listener.local_address())
    }

    /// Takes no more connections.
    pub fn stop_listening(&self) {
        if let Some(server) = &self.server {
            server.listener.stop();
        }
    }

    /// Closes every connection with `code` and takes no more.
    pub fn close(&self, code: ApplicationErrorCode) {
        self.registration.shutdown(code);
    }

    /// The workers.
    pub const fn registration(&self) -> &Registration {
        &self.registration
    }
}

/// Tasks beside those of the application in a runtime of tokio's, threads elsewhere.
fn workers() -> Result<Registration, Error> {
    let config = RegistrationConfig::default();
    #[cfg(all(unix, feature = "tokio-tasks"))]
    if tokio::runtime::Handle::try_current().is_ok() {
        return Registration::in_tasks(config);
    }
    Registration::new(config)
}

/// The next connection that arrives.
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Accept<'a>(&'a Endpoint);

impl Future for Accept<'_> {
    type Output = Option<Incoming>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(server) = &self.0.server else { return Poll::Ready(None) };
        let mut queue = lock(&server.queue);
        if let Some(new) = queue.arrived.pop_front() {
            return Poll::Ready(Some(Incoming { new, configuration: server.configuration.clone() }));
        }
        if queue.stopped {
            return Poll::Ready(None);
        }
        queue.wakers.wait(context);
        Poll::Pending
    }
}

/// A connection that a client wants. Dropping it refuses.
///
/// ```
/// use tercel::TransportErrorCode;
/// use tercel::aio::{ConnectError, Connection, Endpoint};
///
/// /// The next client of a network of our own.
/// async fn next(endpoint: &Endpoint) -> Option<Result<Connection, ConnectError>> {
///     while let Some(incoming) = endpoint.accept().await {
///         if incoming.remote_address().ip().is_loopback() {
///             return match incoming.accept() {
///                 Ok(connecting) => Some(connecting.await),
///                 Err(left) => Some(Err(left.into())),
///             };
///         }
///         incoming.refuse(TransportErrorCode::CONNECTION_REFUSED);
///     }
///     None
/// }
/// ```
#[derive(Debug)]
#[must_use = "dropping it refuses the connection"]
pub struct Incoming {
    new: NewConnection,
    configuration: Configuration,
}

impl Incoming {
    /// The server name that the client asked for.
    pub fn server_name(&self) -> Option<&str> {
        self.new.server_name()
    }

    /// The application protocols that the client offered, most wanted first.
    pub fn alpn(&self) -> impl Iterator<Item = &[u8]> {
        self.new.alpn()
    }

    /// Where the client is.
    pub fn remote_address(&self) -> SocketAddr {
        self.new.remote_address()
    }

    /// The ticket of an earlier session that the client shows, if the endpoint's configuration can
    /// resume it, with what the application put into it.
    pub fn ticket(&self) -> Option<OfferedTicket> {
        self.new.ticket(&self.configuration)
    }

    /// What to make of the client's ticket when the connection is accepted. Without this the session
    /// goes on.
    pub fn resume(self, resume: Resume) -> Self {
        Self { new: self.new.resume(resume), ..self }
    }

    /// Waits until the answer no longer matters, because the client has left. Does not borrow.
    pub fn cancelled(&self) -> Cancelled {
        self.new.cancelled()
    }

    /// Takes the connection on.
    ///
    /// # Errors
    /// The client has left meanwhile.
    pub fn accept(self) -> Result<Connecting, Error> {
        let configuration = self.configuration.clone();
        self.accept_with(&configuration)
    }

    /// Takes the connection on with another configuration than the endpoint's.
    ///
    /// # Errors
    /// The client has left meanwhile, or the configuration has no credential for a server.
    pub fn accept_with(self, configuration: &Configuration) -> Result<Connecting, Error> {
        let state = Arc::new(Mutex::new(ConnectionState::default()));
        let send_buffer = configuration.send_buffer();
        let inner = self.new.accept(configuration, ConnectionFeed { state: state.clone(), send_buffer })?;
        Ok(Connecting::new(Connection::new(inner, state, send_buffer), configuration.verifier()))
    }

    /// Refuses, with a transport error code such as CONNECTION_REFUSED.
    pub fn refuse(self, code: TransportErrorCode) {
        self.new.refuse(code);
    }
}
