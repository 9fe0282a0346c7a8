//! The root of the object model: worker threads and what their connections share.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use rustls::pki_types::ServerName;
use tercel_proto::config::TransportConfig;
use tercel_proto::congestion::SavedPath;
use tercel_proto::connection::ClientStart;
use tercel_proto::entropy::Entropy;
use tercel_proto::path::PathAddress;
use tercel_proto::time::Time;
use tercel_proto::token::{KeptToken, Token};
use tercel_wire::{ApplicationErrorCode, Version};

use crate::binding::keyring::Keyring;
use crate::binding::listener::ListenerShared;
pub use crate::binding::routable::RoutableIds;
use crate::binding::stateless::unix_time;
use crate::binding::token_uses::TokenUses;
use crate::binding::{Bindings, any_address, reachable};
use crate::cell::ConnectionShared;
use crate::configuration::{Configuration, Ech};
use crate::connection::Connection;
use crate::counters::{Counters, SharedCounters};
use crate::datapath::Datapath;
use crate::datapath::clock::{self, Clock};
#[cfg(all(unix, feature = "tokio-tasks"))]
use crate::datapath::tasks::{self, TaskDatapath};
use crate::datapath::udp::UdpDatapath;
use crate::event::{ConnectionHandler, ListenerHandler};
use crate::listener::Listener;
use crate::qlog::Qlog;
use crate::resumption::ResumptionTicket;
use crate::status::Error;
#[cfg(all(unix, feature = "tokio-tasks"))]
use crate::worker::Patience;
use crate::worker::{Driver, Letter, Mailbox, NewClient, Worker, thread};

/// When a server demands proof of a client's address by a Retry packet (RFC 9000 section 8.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RetryPolicy {
    /// Never.
    Never,
    /// Of every client that brings no valid token.
    Always,
    /// While a worker has more than this many unfinished handshakes; those that failed count until
    /// they are forgotten, some seconds later.
    Above(usize),
}

/// How a registration runs.
#[derive(Clone)]
#[non_exhaustive]
pub struct RegistrationConfig {
    /// How many worker threads, 1 to 255; 0 for one per processor. Default 0.
    pub workers: usize,
    /// How long a worker that has nothing to do looks for datagrams before its processor may rest, while they mostly come in
    /// that time; zero: never. What comes at shorter intervals is answered sooner, and for less of both ends' processor time than it
    /// takes to wake a processor. A worker that is a task of a runtime lets that look, and others run. Default 50 µs.
    pub linger: Duration,
    /// When to demand a Retry. Default above 256 unfinished handshakes of a worker.
    pub retry: RetryPolicy,
    /// With [`RetryPolicy::Above`], a Retry is demanded as well while the unfinished handshakes of a worker
    /// take this much memory, about, in bytes. Default 32 MiB.
    pub retry_memory: usize,
    /// How many unfinished handshakes, failed ones included, a worker holds as a server; clients beyond
    /// are refused. Default 4096.
    // RFC 9000 section 21.6#1.
    pub max_half_open: usize,
    /// How much memory these may take, about, in bytes; clients beyond are refused. Default 256 MiB.
    pub max_handshake_memory: usize,
    /// How long a server waits for the whole of a ClientHello. From when its configuration is chosen, the
    /// connection goes by [`Settings::handshake_timeout`](crate::Settings::handshake_timeout). Default 10 s.
    pub hello_timeout: Duration,
    /// How long what there is to do may wait for its worker, on average, before new clients are refused.
    /// Default 2 s: a client has asked again by then, which makes it worse.
    pub max_queue_delay: Duration,
    /// How many Version Negotiation packets a worker sends in a second. Default 1000.
    pub version_negotiations_per_second: u32,
    /// How many Retry packets a worker sends in a second. Default 20,000.
    pub retries_per_second: u32,
    /// How many clients a worker tells in a second that they are refused. Default 1000.
    pub refusals_per_second: u32,
    /// How many stateless resets a worker sends in a second. Default 100.
    pub stateless_resets_per_second: u32,
    /// The secret from which connection IDs, stateless reset tokens and address tokens are made. Give
    /// the same one after a restart and clients learn at once that their connections are gone.
    /// Default: made up at the start.
    pub secret: Option<[u8; 32]>,
    /// The keys of address tokens (Retry, NEW_TOKEN), at most 4: the first makes tokens, each is good to
    /// read them. Servers that have one in common take each other's tokens. Default: one from `secret`.
    pub token_keys: Vec<[u8; 32]>,
    /// The keys of stateless reset tokens, at most 4: the first makes those of new connection IDs; a
    /// packet of a connection that is not known is answered by one reset for each. Servers that have
    /// them in common can end each other's connections (RFC 9000 section 21.11): only for those whose
    /// balancer brings the packets of a connection to another server when its own is gone. Default: one
    /// from `secret`.
    pub reset_keys: Vec<[u8; 32]>,
    /// The QUIC-LB configurations by which balancers can read the connection IDs of this registration.
    /// The first is used until its nonces are used up, then the next, and after the last a codepoint that
    /// sends balancers back to addresses. All must make IDs of one length.
    /// Default none: IDs of nine bytes that only this server can read.
    pub routable_ids: Vec<RoutableIds>,
    /// Where the events inside each connection are logged. Default nowhere.
    pub qlog: Option<Qlog>,
    /// The versions of QUIC with which clients of its listeners may begin, and to which
    /// [`Settings::versions`](crate::Settings::versions) can move them; those who begin with another are
    /// told of these (RFC 9000 section 6.1). Default none, which is all that there are.
    pub versions: Vec<Version>,
}

impl Default for RegistrationConfig {
    fn default() -> Self {
        Self {
            workers: 0,
            linger: Duration::from_micros(50),
            retry: RetryPolicy::Above(256),
            retry_memory: 32 << 20,
            max_half_open: 4096,
            max_handshake_memory: 256 << 20,
            hello_timeout: Duration::from_secs(10),
            max_queue_delay: Duration::from_secs(2),
            version_negotiations_per_second: 1000,
            retries_per_second: 20_000,
            refusals_per_second: 1000,
            stateless_resets_per_second: 100,
            secret: None,
            token_keys: Vec::new(),
            reset_keys: Vec::new(),
            routable_ids: Vec::new(),
            qlog: None,
            versions: Vec::new(),
        }
    }
}

impl std::fmt::Debug for RegistrationConfig {
    /// Without the secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistrationConfig")
            .field("workers", &self.workers)
            .field("linger", &self.linger)
            .field("retry", &self.retry)
            .field("retry_memory", &self.retry_memory)
            .field("max_half_open", &self.max_half_open)
            .field("max_handshake_memory", &self.max_handshake_memory)
            .field("hello_timeout", &self.hello_timeout)
            .field("max_queue_delay", &self.max_queue_delay)
            .field("version_negotiations_per_second", &self.version_negotiations_per_second)
            .field("retries_per_second", &self.retries_per_second)
            .field("refusals_per_second", &self.refusals_per_second)
            .field("stateless_resets_per_second", &self.stateless_resets_per_second)
            .field("routable_ids", &self.routable_ids)
            .field("qlog", &self.qlog)
            .finish_non_exhaustive()
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
    /// A token of an earlier connection to this server, or empty. It is not used if the connection begins
    /// with another version of QUIC than it is for (RFC 9369 section 5).
    // RFC 9000 section 8.1.3#6.
    pub token: Bytes,
    /// A ticket of an earlier connection to this server, to go on with its session. Without one, a
    /// session that the configuration remembers goes on. A ticket that has expired, or whose server
    /// the configuration would not trust, is not used. The connection begins with the version of QUIC that
    /// the session belongs to; if there is none, that of the token; if there is none, that which the
    /// settings say.
    pub ticket: Option<ResumptionTicket>,
    /// Which worker is to have the connection, from 0, if it has that socket. Default each in turn.
    pub worker: Option<usize>,
    /// How to hide the ClientHello, if not as the configuration says ([`Configuration::with_ech`]).
    pub ech: Option<Ech>,
}

impl Connect {
    /// To `remote`, whose certificate must be for `server_name`.
    pub fn new(remote: SocketAddr, server_name: impl Into<String>) -> Self {
        let (server_name, socket) = (server_name.into(), SocketChoice::default());
        Self { remote, server_name, socket, token: Bytes::new(), ticket: None, worker: None, ech: None }
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

/// What the workers of a registration hold; see [`Registration::stats`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RegistrationStats {
    /// Connections of clients and servers, those included that have ended and still linger for the
    /// peer (RFC 9000 section 10.2).
    pub connections: usize,
    /// Those of servers whose handshake is not complete, or never was.
    pub half_open: usize,
    /// What these take in memory, in bytes, about.
    pub handshake_memory: usize,
    /// How many workers keep clients away because of their load, by Retry or by refusing them.
    pub shedding: usize,
    /// Connection IDs and stateless reset tokens by which arriving datagrams find their connection.
    pub routes: usize,
}

/// What one worker holds. The worker alone writes it.
#[derive(Debug, Default)]
pub(crate) struct Holdings([AtomicUsize; 5]);

impl Holdings {
    pub(crate) fn publish(&self, stats: RegistrationStats) {
        let values = [stats.connections, stats.half_open, stats.routes, stats.handshake_memory, stats.shedding];
        self.0.iter().zip(values).for_each(|(to, value)| to.store(value, Ordering::Relaxed));
    }

    fn add_to(&self, sum: &mut RegistrationStats) {
        let [connections, half_open, routes, memory, shedding] =
            self.0.each_ref().map(|value| value.load(Ordering::Relaxed));
        sum.connections += connections;
        sum.half_open += half_open;
        sum.routes += routes;
        sum.handshake_memory += memory;
        sum.shedding += shedding;
    }
}

/// What the workers and handles of a registration share.
pub(crate) struct RegistrationShared {
    pub(crate) config: RegistrationConfig,
    /// By worker.
    pub(crate) holdings: Vec<Arc<Holdings>>,
    /// By worker.
    pub(crate) counters: Vec<Arc<SharedCounters>>,
    pub(crate) mailboxes: Vec<Arc<Mailbox<Letter>>>,
    pub(crate) bindings: Bindings,
    pub(crate) keyring: Keyring,
    /// The tokens of NEW_TOKEN frames that clients have shown.
    pub(crate) token_uses: TokenUses,
    /// The settings of a server's connection until a configuration is chosen for it, and the versions that
    /// they speak.
    pub(crate) transport: Arc<TransportConfig>,
    pub(crate) versions: Vec<Version>,
    next_worker: AtomicUsize,
}

impl RegistrationShared {
    fn new(config: RegistrationConfig, datapath: Arc<dyn Datapath>, keyring: Keyring) -> Self {
        let workers = config.workers;
        let mailboxes: Vec<_> = (0..workers).map(|worker| Arc::new(Mailbox::new(worker, datapath.clone()))).collect();
        let transport = TransportConfig {
            versions: config.versions.clone(),
            handshake_timeout: config.hello_timeout,
            ..TransportConfig::default()
        };
        Self {
            config,
            holdings: (0..workers).map(|_| Arc::default()).collect(),
            counters: (0..workers).map(|_| Arc::default()).collect(),
            bindings: Bindings::new(datapath, mailboxes.clone()),
            mailboxes,
            keyring,
            token_uses: TokenUses::default(),
            versions: transport.spoken_versions(),
            transport: Arc::new(transport),
            next_worker: AtomicUsize::new(0),
        }
    }

    /// A token for the next connection, of `version`, of the client at `remote`, with what was learnt of its path.
    pub(crate) fn new_token(
        &self,
        version: Version,
        now: Time,
        remote: SocketAddr,
        path: Option<SavedPath>,
        entropy: &mut Entropy,
    ) -> Bytes {
        self.keyring.tokens().seal(&Token::New { path }, version, remote, unix_time(now), entropy).into()
    }

    fn tell_workers(&self, letter: impl Fn() -> Letter) {
        for mailbox in &self.mailboxes {
            // A worker that is gone has nothing left to do.
            let _ = mailbox.send(letter());
        }
    }
}

/// Worker threads and the secrets and sockets that they share. Cheap to clone; dropping the last
/// clone closes every connection with code 0 and ends the threads.
///
/// One is enough for a program: listeners, connections and configurations of all kinds share its workers.
///
/// ```
/// use tercel::{Configuration, Connect, Connection, ConnectionEvent, Listen, Listener, ListenerEvent};
/// use tercel::{Registration, RegistrationConfig, Settings, Trust};
///
/// # fn identity() -> tercel::Identity {
/// #     let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
/// #     let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
/// #     tercel::Identity::new(vec![made.cert.der().clone()], key.into()).unwrap()
/// # }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut config = RegistrationConfig::default();
/// config.workers = 2;
/// let registration = Registration::new(config)?;
///
/// let identity = identity();
/// let trust = Trust::Pinned(identity.fingerprint());
/// let server = Configuration::server(&["example"], Settings::default(), identity)?;
/// let listener = registration.listen(
///     Listen::new("127.0.0.1:0".parse()?, ["example"]),
///     move |_: &Listener, event: ListenerEvent| {
///         if let ListenerEvent::NewConnection(new) = event
///             && let Ok(connection) = new.accept(&server, |_: &Connection, _: ConnectionEvent<'_>| {})
///         {
///             connection.detach();
///         }
///     },
/// )?;
///
/// let client = Configuration::client(&["example"], Settings::default(), trust)?;
/// let (tell, told) = std::sync::mpsc::channel();
/// let connection = registration.connect(
///     &client,
///     Connect::new(listener.local_address(), "localhost"),
///     move |_: &Connection, event: ConnectionEvent<'_>| match event {
///         ConnectionEvent::Connected { alpn, .. } => drop(tell.send(String::from_utf8_lossy(alpn).into_owned())),
///         ConnectionEvent::ShutdownComplete { reason, .. } => drop(tell.send(reason.to_string())),
///         _ => {}
///     },
/// )?;
/// assert_eq!(told.recv()?, "example");
/// connection.close(7u32.into(), "enough".into());
/// assert_eq!(told.recv()?, "closed by this application with code 7");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Registration(Arc<Owner>);

/// Ends the workers when it is dropped.
struct Owner {
    shared: Arc<RegistrationShared>,
    threads: Vec<JoinHandle<()>>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.tell_workers(|| Letter::Quit);
        let threads = std::mem::take(&mut self.threads);
        if threads.iter().any(|thread| thread.thread().id() == std::thread::current().id()) {
            // Dropped by a handler: a worker cannot wait for itself.
            return;
        }
        for thread in threads {
            // A worker that panicked has said so.
            let _ = thread.join();
        }
    }
}

impl std::fmt::Debug for Registration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registration").field("workers", &self.workers()).finish_non_exhaustive()
    }
}

impl Registration {
    /// Starts the worker threads.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for more than 255 workers, [`Error::Io`] if the system refuses.
    pub fn new(config: RegistrationConfig) -> Result<Self, Error> {
        let (shared, drivers) = with_drivers(config)?;
        let mut owner = Owner { shared, threads: Vec::new() };
        for (index, driver) in drivers.into_iter().enumerate() {
            owner.threads.push(thread::spawn(index, driver).map_err(cannot_start)?);
        }
        Ok(Self(Arc::new(owner)))
    }

    /// Workers without threads, over the system's network: the caller gives each its turns. What is asked of
    /// handles waits for them, too. When the last clone is dropped the workers end at their next turn.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn driven(config: RegistrationConfig) -> Result<(Self, Vec<Driver>), Error> {
        let (shared, drivers) = with_drivers(config)?;
        Ok((Self(Arc::new(Owner { shared, threads: Vec::new() })), drivers))
    }

    /// Workers that are tasks of the tokio runtime that this is called in, beside those of the application. On
    /// a runtime with one thread nobody need be woken across threads for each exchange: what is asked and
    /// answered in small pieces takes a fraction of the time then. `workers: 0` is one for each thread of the runtime. For bulk, and where cores are free,
    /// threads of their own are better ([`new`](Self::new)).
    ///
    /// The runtime needs its drivers of I/O and time (`enable_all`). When the last clone is dropped the tasks
    /// end; when the runtime ends before, so do the connections.
    ///
    /// ```
    /// use tercel::aio::Endpoint;
    /// use tercel::{Registration, RegistrationConfig};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut config = RegistrationConfig::default();
    /// config.workers = 1;
    /// let endpoint = Endpoint::of(Registration::in_tasks(config)?);
    /// // ... connect and accept as ever ...
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`new`](Self::new), and [`Error::Io`] where there is no runtime.
    #[cfg(all(unix, feature = "tokio-tasks"))]
    pub fn in_tasks(mut config: RegistrationConfig) -> Result<Self, Error> {
        if config.workers == 0 {
            let runtime = tokio::runtime::Handle::try_current().map_err(std::io::Error::other).map_err(cannot_start)?;
            config.workers = runtime.metrics().num_workers().min(MAX_WORKERS);
        }
        let datapath = TaskDatapath::new(config.workers.min(MAX_WORKERS)).map_err(cannot_start)?;
        let tasks = datapath.tasks();
        let seed = clock::seed().map_err(cannot_start)?;
        let linger = config.linger;
        let (shared, workers) = build(config, Arc::new(datapath), seed)?;
        let clock = Clock::new();
        for (worker, task) in workers.into_iter().zip(tasks) {
            tokio::spawn(tasks::run(worker, task, clock, Patience::new(linger)));
        }
        Ok(Self(Arc::new(Owner { shared, threads: Vec::new() })))
    }

    /// A registration without threads: the caller gives the network and drives the workers with
    /// [`Worker::turn`]. Everything random grows from `seed`, so that a run can be repeated.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for more than 255 workers.
    pub fn manual(
        mut config: RegistrationConfig,
        datapath: Arc<dyn Datapath>,
        seed: [u8; 32],
    ) -> Result<(Self, Vec<Worker>), Error> {
        config.workers = config.workers.max(1);
        let (shared, workers) = build(config, datapath, seed)?;
        Ok((Self(Arc::new(Owner { shared, threads: Vec::new() })), workers))
    }

    /// Begins a connection to a server.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a server name that is none, or a ticket that is of another server or
    /// that the configuration cannot use, [`Error::Tls`] if the configuration does not serve a client or the ECH
    /// configurations cannot be used, [`Error::Io`] if no socket can be opened, [`Error::Closed`] if the
    /// workers have ended.
    pub fn connect(
        &self,
        configuration: &Configuration,
        connect: Connect,
        handler: impl ConnectionHandler,
    ) -> Result<Connection, Error> {
        self.connect_then(configuration, connect, handler, |_| {})
    }

    /// The same, but what `first` asks of the connection is done before it has said anything: what is sent by that goes
    /// as early data, if any can.
    ///
    /// # Errors
    /// As for [`connect`](Self::connect).
    pub fn connect_then(
        &self,
        configuration: &Configuration,
        connect: Connect,
        handler: impl ConnectionHandler,
        first: impl FnOnce(&Connection),
    ) -> Result<Connection, Error> {
        let shared = &self.0.shared;
        let server_name = ServerName::try_from(connect.server_name)
            .map_err(|_| Error::InvalidArgument("the server name is neither a DNS name nor an IP address"))?;
        if connect.remote.port() == 0 {
            return Err(Error::InvalidArgument("port 0 cannot be connected to"));
        }
        let (tls, ech) = configuration.client_tls_with(connect.ech.as_ref())?;
        let transport = configuration.transport();
        let versions = transport.spoken_versions();
        let (version, session) = match &connect.ticket {
            Some(ticket) if !ticket.server_name().eq_ignore_ascii_case(&server_name.to_str()) => {
                return Err(Error::InvalidArgument("the resumption ticket is of another server"));
            }
            Some(ticket) if versions.contains(&ticket.version()) => {
                (Some(ticket.version()), configuration.restore(ticket)?)
            }
            Some(_) => (None, None),
            None => configuration.remembered(&server_name, &versions).unzip(),
        };
        let of_token = || Some(KeptToken::from_bytes(&connect.token).ok()?.version).filter(|of| versions.contains(of));
        let version = version.or_else(of_token).unwrap_or(transport.first_version());
        let turn = match connect.worker {
            Some(worker) if worker >= shared.mailboxes.len() => {
                return Err(Error::InvalidArgument("there is no such worker"));
            }
            Some(worker) => worker,
            None => shared.next_worker.fetch_add(1, Ordering::Relaxed),
        };
        let worker = turn % shared.mailboxes.len();
        let binding = match connect.socket {
            SocketChoice::Shared => shared.bindings.shared(worker, connect.remote)?,
            SocketChoice::Own => shared.bindings.own(worker, any_address(connect.remote))?,
            SocketChoice::Bound(address) => shared.bindings.bound(address)?,
        };
        let worker = binding.worker(turn).ok_or(Error::Closed)?;
        let socket = binding.socket_of(worker).ok_or(Error::Closed)?;
        let remote = reachable(connect.remote, binding.address)?;
        let local = binding.address;
        let connection = ConnectionShared::new(shared.clone(), worker, remote, local);
        connection.facts().ech = ech;
        let new = NewClient {
            shared: connection.clone(),
            handler: Box::new(handler),
            socket,
            binding,
            transport,
            start: ClientStart {
                tls,
                server_name,
                version,
                path: PathAddress { remote, local: Some(local) },
                token: connect.token,
                session,
            },
        };
        let connection = Connection { shared: connection };
        first(&connection);
        shared.mailboxes[worker].send(Letter::Connect(Box::new(new))).map_err(|_| Error::Closed)?;
        Ok(connection)
    }

    /// Begins to listen.
    ///
    /// # Errors
    /// [`Error::Io`] if the address cannot be bound (in use, not ours, not permitted),
    /// [`Error::InvalidArgument`] if no protocol is named.
    pub fn listen(&self, listen: Listen, handler: impl ListenerHandler) -> Result<Listener, Error> {
        if listen.alpn.is_empty() || listen.alpn.iter().any(|protocol| !(1..=255).contains(&protocol.len())) {
            return Err(Error::InvalidArgument("a listener needs application protocols of 1 to 255 bytes"));
        }
        let shared = &self.0.shared;
        let binding = shared.bindings.bound(listen.address)?;
        let listener = ListenerShared::new(shared.clone(), binding, listen.alpn, Box::new(handler));
        listener.announce(Letter::Listen);
        Ok(Listener { shared: listener, owned: true })
    }

    /// Changes the keys of address tokens ([`RegistrationConfig::token_keys`]): a new one in front, and
    /// behind it those whose tokens are still to be taken. Tokens of NEW_TOKEN frames live for a day.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`]: there must be 1 to 4.
    pub fn set_token_keys(&self, keys: &[[u8; 32]]) -> Result<(), Error> {
        self.0.shared.keyring.set_token_keys(keys)
    }

    /// Changes the keys of stateless reset tokens ([`RegistrationConfig::reset_keys`]): a new one in
    /// front, and behind it those under which connection IDs may be in use. Open connections get new IDs,
    /// so an old key can go when the clients have had some seconds.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`]: there must be 1 to 4.
    pub fn set_reset_keys(&self, keys: &[[u8; 32]]) -> Result<(), Error> {
        self.0.shared.keyring.set_reset_keys(keys)?;
        self.identify();
        Ok(())
    }

    /// Changes the configurations by which balancers read connection IDs
    /// ([`RegistrationConfig::routable_ids`]). Open connections get new IDs at once and retire the others
    /// (draft-ietf-quic-load-balancers-21 section 3.1); so tell the balancers first.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`]: connection IDs would have another length than before, or two
    /// configurations have one codepoint.
    pub fn set_routable_ids(&self, ids: &[RoutableIds]) -> Result<(), Error> {
        self.0.shared.keyring.set_routable_ids(ids)?;
        self.identify();
        Ok(())
    }

    /// Workers are to make connection IDs in the way that has just been set.
    fn identify(&self) {
        self.0.shared.tell_workers(|| Letter::Identify);
    }

    /// Closes every connection with `code` and takes no new ones.
    pub fn shutdown(&self, code: ApplicationErrorCode) {
        self.0.shared.tell_workers(|| Letter::Shutdown(code));
    }

    /// What the workers hold now, each as of the end of its last turn.
    pub fn stats(&self) -> RegistrationStats {
        let mut sum = RegistrationStats::default();
        self.0.shared.holdings.iter().for_each(|holdings| holdings.add_to(&mut sum));
        sum
    }

    /// What the workers have done so far, each as of the end of its last turn.
    ///
    /// The same is told by the [`metrics`](https://docs.rs/metrics) facade, with times of handshakes,
    /// verdicts and round trips besides: install a recorder before the registration is made.
    pub fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        self.0.shared.counters.iter().for_each(|counters| counters.add_to(&mut sum));
        sum
    }

    /// Takes over from `config` what limits load: `retry` and `retry_memory`, `max_half_open`, `max_handshake_memory`,
    /// `max_queue_delay`, and how many answers of each kind there are in a second. What else it says stays as it was
    /// at the start.
    pub fn change_limits(&self, config: &RegistrationConfig) {
        let config = Arc::new(config.clone());
        self.0.shared.tell_workers(|| Letter::Limit(config.clone()));
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.0.shared.mailboxes.len()
    }
}

/// A connection ID names its worker by one byte.
const MAX_WORKERS: usize = 255;

fn cannot_start(error: std::io::Error) -> Error {
    Error::io("cannot start workers", error)
}

/// Workers over the system's network.
fn with_drivers(config: RegistrationConfig) -> Result<(Arc<RegistrationShared>, Vec<Driver>), Error> {
    let config = with_workers(config);
    let (datapath, polls) = UdpDatapath::new(config.workers.min(MAX_WORKERS)).map_err(cannot_start)?;
    let seed = clock::seed().map_err(cannot_start)?;
    let linger = config.linger;
    let (shared, workers) = build(config, Arc::new(datapath), seed)?;
    let clock = Clock::new();
    let driver = |(worker, poll)| Driver::new(worker, poll, clock, linger);
    Ok((shared, workers.into_iter().zip(polls).map(driver).collect()))
}

/// One for each processor if no number is given.
fn with_workers(mut config: RegistrationConfig) -> RegistrationConfig {
    if config.workers == 0 {
        config.workers = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_WORKERS);
    }
    config
}

fn build(
    config: RegistrationConfig,
    datapath: Arc<dyn Datapath>,
    seed: [u8; 32],
) -> Result<(Arc<RegistrationShared>, Vec<Worker>), Error> {
    let count = config.workers;
    if count > MAX_WORKERS {
        return Err(Error::InvalidArgument("more than 255 workers"));
    }
    let mut entropy = Entropy::from_seed(seed);
    let secret = config.secret.unwrap_or_else(|| entropy.array());
    let keyring = Keyring::new(&config, count, &secret, Entropy::from_seed(entropy.array()))?;
    let shared = Arc::new(RegistrationShared::new(config, datapath, keyring));
    let workers =
        (0..count).map(|index| Worker::new(index, shared.clone(), Entropy::from_seed(entropy.array()))).collect();
    Ok((shared, workers))
}
