//! Tercel's callback face: everything happens in handlers, on the worker.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ServerConfig};
use tercel::{
    Bytes, Configuration, CongestionAlgorithm, Connect, Connection, ConnectionEvent, ConnectionHandler, Direction,
    Listen, Listener, ListenerEvent, Registration, RegistrationConfig, Settings, Stream, StreamEvent, StreamHandler,
};

use super::{Serving, connected, settings};
use crate::measure::{Measured, Stopwatch};
use crate::scenario::{Connections, Control, Incoming, LATER, Outgoing, QUIET, Work};
use crate::tls::{self, Identity};
use crate::{Result, end};

pub fn registration() -> Result<Registration> {
    Ok(Registration::new(registration_config()?)?)
}

pub fn registration_config() -> Result<RegistrationConfig> {
    let mut config = RegistrationConfig::default();
    config.workers = 1;
    // As `overhead` asks for.
    if let Some(directory) = std::env::var_os("QLOGDIR") {
        let log = match directory == "/dev/null" {
            true => tercel::Qlog::new(Discard)?,
            false => tercel::Qlog::directory(directory)?,
        };
        config.qlog = Some(LOG.get_or_init(|| log).clone());
    }
    Ok(config)
}

/// The log of this process, if there is one.
static LOG: OnceLock<tercel::Qlog> = OnceLock::new();

/// Waits until what is logged is written.
pub fn finish_log() {
    if let Some(log) = LOG.get()
        && !log.flush(Duration::from_secs(60))
    {
        eprintln!("the log is not complete");
    }
}

/// Keeps nothing: what is left is the cost of making logs, without that of the disk.
struct Discard;

impl tercel::qlog::Sink for Discard {
    fn write(&mut self, _: &tercel::qlog::Subject, _: Option<&[u8]>) -> std::io::Result<tercel::qlog::Written> {
        Ok(tercel::qlog::Written::Kept)
    }
}

/// What a sender is told of losses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Losses {
    /// Nothing: any may come of a queue that is full.
    OfQueues,
    /// That without a queue they are chance.
    ByChance,
}

pub fn configuration(
    client: Option<ClientConfig>,
    server: Option<ServerConfig>,
    streams: u32,
    control: Control,
    losses: Losses,
) -> Result<Configuration> {
    let transport = Settings {
        initial_mtu: settings::MTU,
        max_mtu: settings::MTU,
        stream_receive_window: settings::STREAM_WINDOW.into(),
        max_stream_receive_window: settings::STREAM_WINDOW.into(),
        receive_window: settings::WINDOW.into(),
        max_receive_window: settings::WINDOW.into(),
        max_bidi_streams: streams.into(),
        max_idle_timeout: settings::IDLE_TIMEOUT,
        max_datagram_size: settings::MTU,
        congestion: match control {
            Control::Cubic => CongestionAlgorithm::Cubic,
            Control::Bbr => CongestionAlgorithm::Bbr,
        },
        random_loss: losses == Losses::ByChance,
        ..Settings::default()
    }
    .transport()?;
    Ok(Configuration::from_tls(client.map(Arc::new), server.map(Arc::new), transport))
}

/// Keeps as much under way as the transport asks for.
struct Sending {
    message: Outgoing,
    under_way: u64,
    ideal: u64,
}

impl Sending {
    fn new(message: Outgoing) -> Self {
        Self { message, under_way: 0, ideal: 128 << 10 }
    }

    fn pump(&mut self, stream: &Stream) {
        while self.under_way < self.ideal
            && let Some((piece, last)) = self.message.next()
        {
            let len = piece.len() as u64;
            self.under_way += len;
            if stream.send(piece, last, len).is_err() {
                // The connection is over, as its handler is told.
                return;
            }
        }
    }

    fn event(&mut self, stream: &Stream, event: &StreamEvent<'_>) {
        match event {
            StreamEvent::SendComplete { context, .. } => self.under_way -= context,
            StreamEvent::IdealSendBufferSize(bytes) => self.ideal = *bytes,
            _ => return,
        }
        self.pump(stream);
    }
}

/// The server's side of an exchange.
#[derive(Default)]
struct Answerer {
    request: Incoming,
    answer: Option<Sending>,
}

impl StreamHandler for Answerer {
    fn event(&mut self, stream: &Stream, event: StreamEvent<'_>) {
        if let StreamEvent::Receive(receive) = &event {
            receive.chunks().iter().for_each(|piece| self.request.take(piece));
            if receive.fin() {
                self.answer.insert(Sending::new(self.request.answer())).pump(stream);
            }
        } else if let Some(answer) = &mut self.answer {
            answer.event(stream, &event);
        }
    }
}

/// The server's side of a connection.
struct Server;

impl ConnectionHandler for Server {
    fn event(&mut self, _: &Connection, event: ConnectionEvent<'_>) {
        if let ConnectionEvent::PeerStreamStarted(new) = event
            && let Ok(stream) = new.accept(Answerer::default())
        {
            stream.detach();
        }
    }

    fn datagrams(&mut self, connection: &Connection, received: std::vec::Drain<'_, Bytes>) {
        // Not if the connection has ended meanwhile.
        let _ = connection.send_datagrams(received);
    }
}

pub fn serve(identity: Identity, streams: u32, control: Control, losses: Losses) -> Result<Serving> {
    let configuration = configuration(None, Some(identity.server(tls::tercels())?), streams, control, losses)?;
    let registration = registration()?;
    let listener = registration.listen(
        Listen::new("127.0.0.1:0".parse()?, [tls::ALPN]),
        move |_: &Listener, event: ListenerEvent| {
            let ListenerEvent::NewConnection(new) = event else { return };
            if let Ok(connection) = new.accept(&configuration, Server) {
                connection.detach();
            }
        },
    )?;
    Ok(Serving { address: listener.local_address(), _keeps: Box::new((listener, registration)) })
}

/// What the client's exchanges share.
struct Client {
    work: Work,
    left: AtomicUsize,
    /// Those that are made before the clock starts.
    kept: OnceLock<Vec<Connection>>,
    latencies: Mutex<Vec<Duration>>,
    tell: Sender<std::result::Result<Told, String>>,
    registration: Registration,
    configuration: Configuration,
    address: SocketAddr,
}

enum Told {
    Connected,
    Finished,
}

impl Client {
    fn tell(&self, what: std::result::Result<Told, String>) {
        // Nobody listens any more once something has failed.
        let _ = self.tell.send(what);
    }

    /// The number of another exchange, if there is one to begin.
    fn take(&self) -> Option<usize> {
        let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).ok()?;
        Some(self.work.exchanges.saturating_sub(left))
    }

    fn finished(&self, latency: Duration) {
        let mut latencies = self.latencies.lock().unwrap_or_else(PoisonError::into_inner);
        latencies.push(latency);
        // Those that come later are waited for one by one.
        if latencies.len() >= self.work.exchanges {
            self.tell(Ok(Told::Finished));
        }
    }

    /// Connects; with a connection for each exchange, these begin as soon as they may.
    fn connect(self: &Arc<Self>) -> Result<Connection> {
        let (began, work) = (Instant::now(), self.work);
        let each = work.connections == Connections::Each;
        let handler = Connected { client: self.clone(), each, began, back: 0 };
        let to = Connect::new(self.address, tls::SERVER_NAME);
        let first = |connection: &Connection| {
            if each && work.early {
                self.exchange(connection, began);
            }
        };
        Ok(self.registration.connect_then(&self.configuration, to, handler, first)?)
    }

    /// Sends so many datagrams more.
    fn send_datagrams(&self, connection: &Connection, count: usize) {
        if let Err(error) = connection.send_datagrams((0..count).map(|_| self.work.datagram())) {
            self.tell(Err(error.to_string()));
        }
    }

    /// Begins an exchange.
    fn exchange(self: &Arc<Self>, connection: &Connection, began: Instant) {
        self.exchange_after(connection, began, None);
    }

    /// Begins an exchange, maybe the second on its connection, with how long the first one took.
    fn exchange_after(self: &Arc<Self>, connection: &Connection, began: Instant, first: Option<Duration>) {
        let request = Sending::new(self.work.request());
        let asker = Asker { client: self.clone(), began, first, request, answer: Incoming::default() };
        match connection.open_stream(Direction::Bidirectional, asker) {
            Ok(stream) => stream.detach(),
            Err(error) => self.tell(Err(error.to_string())),
        }
    }

    /// After an exchange: the next, if there is one.
    fn next(self: &Arc<Self>, connection: &Connection) {
        if self.work.connections == Connections::Each {
            connection.close(0u32.into(), tercel::Bytes::new());
        }
        let Some(number) = self.take() else { return };
        match (self.work.connections, self.kept.get()) {
            (Connections::InTurns(_), Some(kept)) => self.exchange(&kept[number % kept.len()], Instant::now()),
            (Connections::Each, _) => match self.connect() {
                Ok(connection) => connection.detach(),
                Err(error) => self.tell(Err(error.to_string())),
            },
            _ => self.exchange(connection, Instant::now()),
        }
    }
}

/// The client's side of a connection.
struct Connected {
    client: Arc<Client>,
    /// Whether it is for one exchange.
    each: bool,
    began: Instant,
    /// How many datagrams have come back.
    back: usize,
}

impl ConnectionHandler for Connected {
    fn event(&mut self, connection: &Connection, event: ConnectionEvent<'_>) {
        let client = &self.client;
        match event {
            ConnectionEvent::Connected { early_data_accepted, .. } if self.each => {
                if early_data_accepted {
                    tls::early_data_accepted();
                }
                if !client.work.early {
                    client.exchange(connection, self.began);
                }
            }
            ConnectionEvent::Connected { .. } => client.tell(Ok(Told::Connected)),
            ConnectionEvent::ShutdownInitiatedByPeer { .. } => client.tell(Err("the server has closed".into())),
            ConnectionEvent::ShutdownInitiatedByTransport { reason } => client.tell(Err(format!("{reason:?}"))),
            _ => {}
        }
    }

    fn datagrams(&mut self, connection: &Connection, received: std::vec::Drain<'_, Bytes>) {
        let (work, before) = (&self.client.work, self.back);
        for data in received {
            assert!(data == work.datagram(), "another datagram came back");
            self.back += 1;
        }
        // For each that is back another, but for those that are under way at the end.
        let wanted = |back: usize| work.exchanges.min(back + work.at_once);
        self.client.send_datagrams(connection, wanted(self.back) - wanted(before));
        if self.back >= work.exchanges {
            self.client.tell(Ok(Told::Finished));
        }
    }
}

/// The client's side of an exchange.
struct Asker {
    client: Arc<Client>,
    began: Instant,
    first: Option<Duration>,
    request: Sending,
    answer: Incoming,
}

impl StreamHandler for Asker {
    fn event(&mut self, stream: &Stream, event: StreamEvent<'_>) {
        match &event {
            StreamEvent::Started(Ok(_)) => self.request.pump(stream),
            StreamEvent::Receive(receive) => {
                receive.chunks().iter().for_each(|piece| self.answer.take(piece));
                if receive.fin() {
                    self.answer.check(&self.client.work);
                    let latency = self.first.unwrap_or(self.began.elapsed());
                    if self.client.work.early && self.first.is_none() {
                        return self.client.exchange_after(&stream.connection(), self.began, Some(latency));
                    }
                    self.client.finished(latency);
                    self.client.next(&stream.connection());
                }
            }
            event => self.request.event(stream, event),
        }
    }
}

pub fn work(work: Work, address: SocketAddr, authority: CertificateDer<'static>) -> Result<Measured> {
    let (tell, told) = mpsc::channel();
    let client = Arc::new(Client {
        work,
        left: AtomicUsize::new(work.exchanges),
        kept: OnceLock::new(),
        latencies: Mutex::default(),
        tell,
        registration: registration()?,
        configuration: configuration(
            Some(tls::client(authority, &work, tls::tercels())?),
            None,
            settings::STREAMS,
            work.control,
            Losses::OfQueues,
        )?,
        address,
    });
    let connections = connected(work.connections.kept(), &told, || client.connect())?;
    let kept = client.kept.get_or_init(|| connections);
    let stopwatch = Stopwatch::start();
    if work.datagrams {
        kept.iter().for_each(|connection| client.send_datagrams(connection, work.at_once.min(work.exchanges)));
    }
    for turn in 0..work.at_once {
        if work.datagrams {
            break;
        }
        if let Some(number) = client.take() {
            match work.connections.of(turn, number) {
                Some(at) => client.exchange(&kept[at], Instant::now()),
                None => client.connect()?.detach(),
            }
        }
    }
    told.recv()??;
    let latencies = std::mem::take(&mut *client.latencies.lock().unwrap_or_else(PoisonError::into_inner));
    let measured = stopwatch.stop(if work.datagrams { Vec::new() } else { latencies.clone() });
    if work.quiet {
        std::thread::sleep(QUIET);
        end::quiet()?;
        *client.latencies.lock().unwrap_or_else(PoisonError::into_inner) = latencies;
        for connection in kept.iter().step_by((kept.len() / LATER).max(1)) {
            client.exchange(connection, Instant::now());
            told.recv()??;
        }
    }
    Ok(measured)
}
