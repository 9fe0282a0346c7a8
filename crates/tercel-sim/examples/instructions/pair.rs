//! A client and a server that have their turns one after the other.

use std::cell::Cell;
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tercel::{
    Bytes, Configuration, Connect, Connection, ConnectionEvent, Direction, Listen, Listener, ListenerEvent, Park,
    Registration, RegistrationConfig, Settings, Stream, StreamEvent, StreamHandler, Time, Worker,
};
use tercel_sim::crypto::{self, KeyShares};

use crate::link::{End, address, link};
use crate::work::Work;

/// How much time passes between two turns of a side.
const STEP: Duration = Duration::from_micros(20);
/// How much a sender keeps under way.
const UNDER_WAY: u64 = 4 << 20;
/// What is sent at once.
const PIECE: usize = 64 << 10;

/// The client's worker has its turn, while the work is counted.
#[inline(never)]
fn counted_client(worker: &mut Worker, now: Time) -> Park {
    // Different from the server's, or the linker makes one of the two.
    black_box("client");
    worker.turn(now)
}

/// The server's worker has its turn, while the work is counted.
#[inline(never)]
fn counted_server(worker: &mut Worker, now: Time) -> Park {
    black_box("server");
    worker.turn(now)
}

/// A host.
struct Host {
    end: End,
    registration: Registration,
    worker: Worker,
    park: Park,
    counted: fn(&mut Worker, Time) -> Park,
    /// Calls of the allocator while it was counted, and bytes that were left.
    allocations: u64,
    held: i64,
}

impl Host {
    fn new(end: End, seed: u8, counted: fn(&mut Worker, Time) -> Park) -> Self {
        let mut config = RegistrationConfig::default();
        config.workers = 1;
        let (registration, mut workers) = Registration::manual(config, Arc::new(end.clone()), [seed; 32])
            .unwrap_or_else(|error| panic!("no registration: {error}"));
        let worker = workers.pop().unwrap_or_else(|| panic!("no worker"));
        Self { end, registration, worker, park: Park::Now, counted, allocations: 0, held: 0 }
    }

    /// Its turn, if it is to have one.
    fn turn(&mut self, now: Time, counts: bool) {
        if self.end.has_something() {
            // Its only socket.
            (0..2).for_each(|id| self.worker.readable(tercel::datapath::SocketId(id)));
            self.park = Park::Now;
        }
        let due = match self.park {
            Park::Now => true,
            Park::Until(at) => at <= now,
            Park::Idle | Park::Done => false,
        };
        if self.end.take_woken() || due {
            self.park = match counts {
                true => self.counted_turn(now),
                false => self.worker.turn(now),
            };
        }
    }
}

impl Host {
    fn counted_turn(&mut self, now: Time) -> Park {
        let mut park = Park::Now;
        let memory = allocation_counter::measure(|| park = (self.counted)(&mut self.worker, now));
        self.allocations += memory.count_total;
        self.held += memory.bytes_current;
        park
    }
}

fn configuration() -> Configuration {
    let window = 8 << 20;
    let transport = Settings {
        initial_mtu: 1452,
        max_mtu: 1452,
        stream_receive_window: window,
        max_stream_receive_window: window,
        receive_window: 2 * window,
        max_receive_window: 2 * window,
        max_bidi_streams: 128,
        ..Settings::default()
    };
    let transport = transport.transport().unwrap_or_else(|error| panic!("bad settings: {error}"));
    let (client, server) = (crypto::client(KeyShares::Small), crypto::server(KeyShares::Small));
    Configuration::from_tls(Some(client), Some(server), transport)
}

/// A message of so many bytes on its way out.
struct Sending {
    left: usize,
    under_way: u64,
    ended: bool,
}

impl Sending {
    const fn new(len: usize) -> Self {
        Self { left: len, under_way: 0, ended: false }
    }

    fn pump(&mut self, stream: &Stream) {
        static ZEROS: [u8; PIECE] = [0; PIECE];
        while self.under_way < UNDER_WAY && !self.ended {
            let len = self.left.min(PIECE);
            self.left -= len;
            self.under_way += len as u64;
            self.ended = self.left == 0;
            // It fails when the connection is over, which is told elsewhere.
            let _ = stream.send(Bytes::from_static(&ZEROS[..len]), self.ended, len as u64);
        }
    }

    fn event(&mut self, stream: &Stream, event: &StreamEvent<'_>) {
        if let StreamEvent::SendComplete { context, .. } = event {
            self.under_way -= context;
            self.pump(stream);
        }
    }
}

/// The server's side of an exchange.
struct Answerer {
    down: usize,
    answer: Option<Sending>,
}

impl StreamHandler for Answerer {
    fn event(&mut self, stream: &Stream, event: StreamEvent<'_>) {
        if let StreamEvent::Receive(receive) = &event {
            if receive.fin() {
                self.answer.insert(Sending::new(self.down)).pump(stream);
            }
        } else if let Some(answer) = &mut self.answer {
            answer.event(stream, &event);
        }
    }
}

/// What the client's exchanges share.
struct Client {
    work: Work,
    registration: Registration,
    configuration: Configuration,
    connection: Mutex<Option<Connection>>,
    /// How many are to begin yet, and how many are to end.
    left: AtomicUsize,
    open: AtomicUsize,
}

impl Client {
    fn take(&self) -> bool {
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    /// The next exchange, on `connection` if it is not to have its own.
    fn next(self: &Arc<Self>, connection: Option<&Connection>) {
        if !self.take() {
            return;
        }
        match connection {
            Some(connection) if !self.work.connection_each => self.exchange(connection),
            _ => self.connect().detach(),
        }
    }

    fn end_of_exchange(self: &Arc<Self>, connection: Option<&Connection>) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        self.next(connection);
    }

    fn connect(self: &Arc<Self>) -> Connection {
        let client = self.clone();
        let handler = move |connection: &Connection, event: ConnectionEvent<'_>| match event {
            ConnectionEvent::Connected { .. } if client.work.idle => client.end_of_exchange(None),
            ConnectionEvent::Connected { .. } if client.work.connection_each => client.exchange(connection),
            ConnectionEvent::Connected { .. } => client.open.store(0, Ordering::Relaxed),
            ConnectionEvent::ShutdownInitiatedByPeer { .. } => panic!("the server has closed"),
            ConnectionEvent::ShutdownInitiatedByTransport { reason } => panic!("the connection has failed: {reason:?}"),
            _ => {}
        };
        let to = Connect::new(address(1), crypto::NAME);
        let connection = self.registration.connect(&self.configuration, to, handler);
        connection.unwrap_or_else(|error| panic!("no connection: {error}"))
    }

    fn exchange(self: &Arc<Self>, connection: &Connection) {
        let asker = Asker { client: self.clone(), request: Sending::new(self.work.up), received: 0 };
        let stream = connection.open_stream(Direction::Bidirectional, asker);
        stream.unwrap_or_else(|error| panic!("no stream: {error}")).detach();
    }
}

/// The client's side of an exchange.
struct Asker {
    client: Arc<Client>,
    request: Sending,
    received: usize,
}

impl StreamHandler for Asker {
    fn event(&mut self, stream: &Stream, event: StreamEvent<'_>) {
        match &event {
            StreamEvent::Started(Ok(_)) => self.request.pump(stream),
            StreamEvent::Receive(receive) => {
                self.received += receive.chunks().iter().map(Bytes::len).sum::<usize>();
                if receive.fin() {
                    assert_eq!(self.received, self.client.work.down);
                    let connection = stream.connection();
                    if self.client.work.connection_each {
                        connection.close(0u32.into(), Bytes::new());
                    }
                    self.client.end_of_exchange(Some(&connection));
                }
            }
            event => self.request.event(stream, event),
        }
    }
}

/// Both.
struct Pair {
    client: Host,
    server: Host,
    now: Time,
    counts: Cell<bool>,
}

impl Pair {
    /// Goes on until nothing of the client's is open any more.
    fn until_done(&mut self, client: &Client) {
        for round in 0.. {
            assert!(round < 1_000_000, "it comes to no end");
            self.client.turn(self.now, self.counts.get());
            self.server.turn(self.now, self.counts.get());
            if client.open.load(Ordering::Relaxed) == 0 {
                return;
            }
            self.now += STEP;
        }
    }

    /// Goes on for four seconds, after which nothing is under way any more, and connections rest.
    fn come_to_rest(&mut self) {
        for _ in 0..1000 {
            self.client.turn(self.now, self.counts.get());
            self.server.turn(self.now, self.counts.get());
            self.now += Duration::from_millis(4);
        }
    }

    /// So many exchanges.
    fn exchange(&mut self, client: &Arc<Client>, exchanges: usize) {
        client.left.store(exchanges, Ordering::Relaxed);
        client.open.store(exchanges, Ordering::Relaxed);
        let connection = client.connection.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (0..client.work.at_once).for_each(|_| client.next(connection.as_ref()));
        self.until_done(client);
        if client.work.idle {
            self.come_to_rest();
        }
    }
}

/// What a work has come to while it was counted.
pub(crate) struct Outcome {
    /// How many units of it there were.
    pub(crate) units: u64,
    /// How often the client and the server called the allocator; of an idle work how many bytes they hold.
    pub(crate) allocations: [u64; 2],
}

/// Does a work.
pub(crate) fn run(work: &Work) -> Outcome {
    crypto::seed(1);
    let [near, far] = link();
    let mut pair = Pair {
        client: Host::new(near, 2, counted_client),
        server: Host::new(far, 3, counted_server),
        now: Time::from_nanos(1_000_000_000_000),
        counts: Cell::new(false),
    };
    let (configuration, down) = (configuration(), work.down);
    let serving = configuration.clone();
    let listener = pair.server.registration.listen(
        Listen::new(address(1), [crypto::ALPN]),
        move |_: &Listener, event: ListenerEvent| {
            let ListenerEvent::NewConnection(new) = event else { return };
            let accepted = new.accept(&serving, move |_: &Connection, event: ConnectionEvent<'_>| {
                if let ConnectionEvent::PeerStreamStarted(new) = event
                    && let Ok(stream) = new.accept(Answerer { down, answer: None })
                {
                    stream.detach();
                }
            });
            accepted.unwrap_or_else(|error| panic!("not accepted: {error}")).detach();
        },
    );
    let _listener = listener.unwrap_or_else(|error| panic!("does not listen: {error}"));
    let client = Arc::new(Client {
        work: *work,
        registration: pair.client.registration.clone(),
        configuration,
        connection: Mutex::default(),
        left: AtomicUsize::new(0),
        open: AtomicUsize::new(1),
    });
    pair.server.turn(pair.now, false);
    if !work.connection_each {
        *client.connection.lock().unwrap_or_else(PoisonError::into_inner) = Some(client.connect());
        pair.until_done(&client);
    }
    pair.exchange(&client, work.warm_up);
    let sent = |pair: &Pair| [&pair.client, &pair.server].map(|host| host.end.datagrams());
    let before = sent(&pair);
    pair.counts.set(true);
    pair.exchange(&client, work.exchanges);
    let units = match work.is_bulk() {
        true => sent(&pair).iter().zip(before).map(|(after, before)| after - before).max().unwrap_or_default(),
        false => work.exchanges as u64,
    };
    let allocations = [&pair.client, &pair.server].map(|host| match work.idle {
        true => host.held.unsigned_abs(),
        false => host.allocations,
    });
    Outcome { units, allocations }
}
