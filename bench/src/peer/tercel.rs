//! Tercel's callback face: everything happens in handlers, on the worker.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ServerConfig};
use tercel::{
    Configuration, Connect, Connection, ConnectionEvent, Direction, Listen, Listener, ListenerEvent, Registration,
    RegistrationConfig, Settings, Stream, StreamEvent, StreamHandler,
};

use super::{Serving, settings};
use crate::Result;
use crate::exchange::AT_ONCE;
use crate::measure::{Measured, Stopwatch};
use crate::scenario::{Connections, Incoming, Outgoing, Work};
use crate::tls::{self, Identity};

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

pub fn configuration(client: Option<ClientConfig>, server: Option<ServerConfig>) -> Result<Configuration> {
    let transport = Settings {
        initial_mtu: settings::MTU,
        max_mtu: settings::MTU,
        stream_receive_window: settings::STREAM_WINDOW.into(),
        max_stream_receive_window: settings::STREAM_WINDOW.into(),
        receive_window: settings::WINDOW.into(),
        max_receive_window: settings::WINDOW.into(),
        max_bidi_streams: settings::STREAMS.into(),
        max_datagram_size: settings::MTU,
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

pub fn serve(identity: Identity) -> Result<Serving> {
    let configuration = configuration(None, Some(identity.server()?))?;
    let registration = registration()?;
    let listener = registration.listen(
        Listen::new("127.0.0.1:0".parse()?, [tls::ALPN]),
        move |_: &Listener, event: ListenerEvent| {
            let ListenerEvent::NewConnection(new) = event else { return };
            let accepted =
                new.accept(&configuration, |connection: &Connection, event: ConnectionEvent<'_>| match event {
                    ConnectionEvent::PeerStreamStarted(new) => {
                        if let Ok(stream) = new.accept(Answerer::default()) {
                            stream.detach();
                        }
                    }
                    ConnectionEvent::DatagramReceived(data) => {
                        // Not if the connection has ended meanwhile.
                        let _ = connection.send_datagram(data, 0);
                    }
                    _ => {}
                });
            if let Ok(connection) = accepted {
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

    /// Whether there is another exchange to begin.
    fn take(&self) -> bool {
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    fn finished(&self, latency: Duration) {
        let mut latencies = self.latencies.lock().unwrap_or_else(PoisonError::into_inner);
        latencies.push(latency);
        if latencies.len() == self.work.exchanges {
            self.tell(Ok(Told::Finished));
        }
    }

    /// Connects; with a connection for each exchange, these begin at once.
    fn connect(self: &Arc<Self>) -> Result<Connection> {
        let (client, began) = (self.clone(), Instant::now());
        let handler = move |connection: &Connection, event: ConnectionEvent<'_>| match event {
            ConnectionEvent::Connected { .. } if client.work.connections == Connections::Each => {
                client.exchange(connection, began)
            }
            ConnectionEvent::Connected { .. } => client.tell(Ok(Told::Connected)),
            ConnectionEvent::DatagramReceived(data) => {
                assert!(data == client.work.datagram(), "another datagram came back");
                client.finished(Duration::ZERO);
                client.send_datagram(connection);
            }
            ConnectionEvent::ShutdownInitiatedByPeer { .. } => client.tell(Err("the server has closed".into())),
            ConnectionEvent::ShutdownInitiatedByTransport { reason } => client.tell(Err(format!("{reason:?}"))),
            _ => {}
        };
        let to = Connect::new(self.address, tls::SERVER_NAME);
        Ok(self.registration.connect(&self.configuration, to, handler)?)
    }

    /// Sends another datagram, if there is one.
    fn send_datagram(&self, connection: &Connection) {
        if self.take()
            && let Err(error) = connection.send_datagram(self.work.datagram(), 0)
        {
            self.tell(Err(error.to_string()));
        }
    }

    /// Begins an exchange.
    fn exchange(self: &Arc<Self>, connection: &Connection, began: Instant) {
        let request = Sending::new(self.work.request());
        let asker = Asker { client: self.clone(), began, request, answer: Incoming::default() };
        match connection.open_stream(Direction::Bidirectional, asker) {
            Ok(stream) => stream.detach(),
            Err(error) => self.tell(Err(error.to_string())),
        }
    }

    /// After an exchange: the next, if there is one.
    fn next(self: &Arc<Self>, connection: &Connection) {
        let each = self.work.connections == Connections::Each;
        if each {
            connection.close(0u32.into(), tercel::Bytes::new());
        }
        if !self.take() {
            return;
        }
        if !each {
            return self.exchange(connection, Instant::now());
        }
        match self.connect() {
            Ok(connection) => connection.detach(),
            Err(error) => self.tell(Err(error.to_string())),
        }
    }
}

/// The client's side of an exchange.
struct Asker {
    client: Arc<Client>,
    began: Instant,
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
                    self.client.finished(self.began.elapsed());
                    self.client.next(&stream.connection());
                }
            }
            event => self.request.event(stream, event),
        }
    }
}

pub fn work(work: Work, address: SocketAddr, certificate: CertificateDer<'static>) -> Result<Measured> {
    let (tell, told) = mpsc::channel();
    let client = Arc::new(Client {
        work,
        left: AtomicUsize::new(work.exchanges),
        latencies: Mutex::default(),
        tell,
        registration: registration()?,
        configuration: configuration(Some(tls::client(certificate, work.resumed)?), None)?,
        address,
    });
    let mut connections = Vec::new();
    if let Connections::Kept(number) = work.connections {
        while connections.len() < number {
            let batch = AT_ONCE.min(number - connections.len());
            for _ in 0..batch {
                connections.push(client.connect()?);
            }
            for _ in 0..batch {
                told.recv()??;
            }
        }
    }
    let stopwatch = Stopwatch::start();
    for turn in 0..work.at_once {
        if work.datagrams {
            connections.iter().for_each(|connection| client.send_datagram(connection));
        } else if client.take() {
            match connections.get(turn % connections.len().max(1)) {
                Some(connection) => client.exchange(connection, Instant::now()),
                None => client.connect()?.detach(),
            }
        }
    }
    told.recv()??;
    let latencies = std::mem::take(&mut *client.latencies.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(stopwatch.stop(latencies))
}
