//! MsQuic's C interface, of Tercel's library or of MsQuic itself (`MSQUIC_LIBRARY` names its `libmsquic.so.2`): callbacks,
//! as in [`super::tercel`], by way of the table of functions.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tercel_bench_c_face::{
    Configuration, Connection, ConnectionEvent, ConnectionHandler, Library, Registration, Stream, StreamEvent,
    StreamHandler, Transport,
};

use super::{Serving, connected, settings};
use crate::measure::{Measured, Stopwatch};
use crate::scenario::{Connections, Control, Incoming, LATER, Outgoing, QUIET, Work};
use crate::tls::{self, Identity};
use crate::{Result, end};

/// Whose library it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    Ours,
    MsQuic,
}

const LIBRARY: &str = "MSQUIC_LIBRARY";

/// Whether the environment names MsQuic's library.
pub fn is_there() -> bool {
    std::env::var_os(LIBRARY).is_some()
}

/// Server and client have a processor each.
fn registration(whose: Whose, processor: u16) -> Result<Registration> {
    let library = match whose {
        Whose::Ours => Library::ours()?,
        Whose::MsQuic => {
            let path = std::env::var_os(LIBRARY).ok_or("MSQUIC_LIBRARY names no libmsquic.so.2")?;
            Library::at(Path::new(&path))?
        }
    };
    let processors = std::thread::available_parallelism().map_or(1, usize::from) as u16;
    library.use_processor(processor % processors)?;
    Ok(library.registration()?)
}

fn transport(streams: u32, control: Control) -> Transport {
    Transport {
        payload: settings::MTU,
        stream_window: settings::STREAM_WINDOW,
        window: settings::WINDOW,
        streams: u16::try_from(streams).unwrap_or(u16::MAX),
        // As for the callback face.
        hystart: true,
        ecn: true,
        bbr: control == Control::Bbr,
    }
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

    fn pump(&mut self, stream: &Stream<'_>) {
        while self.under_way < self.ideal
            && let Some((piece, last)) = self.message.next()
        {
            self.under_way += piece.len() as u64;
            if !stream.send(piece, last) {
                // The connection is over, as its handler is told.
                return;
            }
        }
    }

    fn event(&mut self, stream: &Stream<'_>, event: &StreamEvent<'_>) {
        match event {
            StreamEvent::SendComplete(len) => self.under_way -= len,
            StreamEvent::IdealSendBufferSize(bytes) => self.ideal = *bytes,
            _ => return,
        }
        self.pump(stream);
    }
}

/// The server's side of a connection.
struct Server;

impl ConnectionHandler for Server {
    fn event(&mut self, _: &Connection, event: ConnectionEvent<'_>) {
        if let ConnectionEvent::PeerStreamStarted(new) = event {
            new.accept(Answerer::default());
        }
    }
}

/// The server's side of an exchange.
#[derive(Default)]
struct Answerer {
    request: Incoming,
    answer: Option<Sending>,
}

impl StreamHandler for Answerer {
    // What stands between it and C is none of the interface's cost.
    #[inline(always)]
    fn event(&mut self, stream: &Stream<'_>, event: StreamEvent<'_>) {
        if let StreamEvent::Receive { fin, .. } = event {
            event.pieces().for_each(|piece| self.request.take(piece));
            if fin {
                self.answer.insert(Sending::new(self.request.answer())).pump(stream);
            }
        } else if let Some(answer) = &mut self.answer {
            answer.event(stream, &event);
        }
    }
}

pub fn serve(whose: Whose, identity: &Identity, streams: u32, control: Control) -> Result<Serving> {
    let (chain, key) = (end::chain(&identity.directory), end::key(&identity.directory));
    let registration = registration(whose, 1)?;
    let configuration = registration.server(tls::ALPN, transport(streams, control), &chain, &key)?;
    let address = registration.listen(tls::ALPN, configuration, || Box::new(Server))?;
    Ok(Serving { address, _keeps: Box::new(()) })
}

/// What the client's exchanges share.
struct Client {
    whose: Whose,
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
    /// Another connection is to be made, and not in a callback.
    Another,
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

    /// Connects; with a connection for each exchange, these begin at once.
    fn connect(self: &Arc<Self>) -> Result<Connection> {
        let handler = Box::new(Connecting { client: self.clone(), began: Instant::now() });
        Ok(self.registration.connect(self.configuration, c"localhost", self.address, handler)?)
    }

    fn asker(self: &Arc<Self>, began: Instant) -> Asker {
        let request = Sending::new(self.work.request());
        Asker { client: self.clone(), began, request, answer: Incoming::default() }
    }

    /// Begins an exchange.
    fn exchange(self: &Arc<Self>, connection: &Connection, began: Instant) {
        if let Err(error) = connection.open(self.asker(began)) {
            self.tell(Err(error.to_string()));
        }
    }

    /// After an exchange on a stream: the next, if there is one.
    fn next(self: &Arc<Self>, stream: &Stream<'_>) {
        if self.work.connections == Connections::Each {
            stream.shut_down_connection();
        }
        let Some(number) = self.take() else { return };
        match (self.work.connections, self.kept.get()) {
            // MsQuic sets a new connection's parameters on its worker, and waits for it.
            (Connections::Each, _) if self.whose == Whose::MsQuic => self.tell(Ok(Told::Another)),
            (Connections::Each, _) => match self.connect() {
                Ok(connection) => connection.detach(),
                Err(error) => self.tell(Err(error.to_string())),
            },
            (Connections::InTurns(_), Some(kept)) => self.exchange(&kept[number % kept.len()], Instant::now()),
            _ => {
                if let Err(error) = stream.open_another(self.asker(Instant::now())) {
                    self.tell(Err(error.to_string()));
                }
            }
        }
    }
}

/// The client's side of a connection.
struct Connecting {
    client: Arc<Client>,
    began: Instant,
}

impl ConnectionHandler for Connecting {
    fn event(&mut self, connection: &Connection, event: ConnectionEvent<'_>) {
        match event {
            ConnectionEvent::Connected if self.client.work.connections == Connections::Each => {
                self.client.exchange(connection, self.began);
            }
            ConnectionEvent::Connected => self.client.tell(Ok(Told::Connected)),
            ConnectionEvent::ShutdownInitiated(why) => self.client.tell(Err(format!("the connection ends: {why}"))),
            _ => {}
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
    #[inline(always)]
    fn event(&mut self, stream: &Stream<'_>, event: StreamEvent<'_>) {
        match event {
            StreamEvent::Started => self.request.pump(stream),
            StreamEvent::Receive { fin, .. } => {
                event.pieces().for_each(|piece| self.answer.take(piece));
                if fin {
                    self.answer.check(&self.client.work);
                    self.client.finished(self.began.elapsed());
                    self.client.next(stream);
                }
            }
            event => self.request.event(stream, &event),
        }
    }
}

pub fn work(whose: Whose, work: Work, address: SocketAddr, identity: &Path) -> Result<Measured> {
    let (tell, told) = mpsc::channel();
    let registration = registration(whose, 0)?;
    let configuration =
        registration.client(tls::ALPN, transport(settings::STREAMS, work.control), &end::authority(identity))?;
    // Workers begin with the first who needs them, which is not to be measured.
    registration.listen(tls::ALPN, configuration, || Box::new(Server))?;
    let client = Arc::new(Client {
        whose,
        work,
        left: AtomicUsize::new(work.exchanges),
        kept: OnceLock::new(),
        latencies: Mutex::default(),
        tell,
        registration,
        configuration,
        address,
    });
    let connections = connected(work.connections.kept(), &told, || client.connect())?;
    let kept = client.kept.get_or_init(|| connections);
    let stopwatch = Stopwatch::start();
    for turn in 0..work.at_once {
        if let Some(number) = client.take() {
            match work.connections.of(turn, number) {
                Some(at) => client.exchange(&kept[at], Instant::now()),
                None => client.connect()?.detach(),
            }
        }
    }
    while let Told::Another = told.recv()?? {
        client.connect()?.detach();
    }
    let latencies = std::mem::take(&mut *client.latencies.lock().unwrap_or_else(PoisonError::into_inner));
    let measured = stopwatch.stop(latencies.clone());
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
