//! Many threads do what they like with streams and connections; the law of events must hold all the
//! same: every accepted send completes once, every stream and connection ends once, nothing follows.

#![allow(clippy::unwrap_used, reason = "for tests")]

mod support;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use support::*;
use tercel::{
    Bytes, Connect, Connection, ConnectionEvent, Direction, Listen, Listener, ListenerEvent, NewStream, Stream,
    StreamEvent, VarInt,
};
use tercel_proto::config::TransportConfig;
use tercel_proto::entropy::Entropy;

/// What one end has begun and ended.
#[derive(Default)]
struct Ledger {
    streams: AtomicUsize,
    streams_ended: AtomicUsize,
    connections: AtomicUsize,
    connections_ended: AtomicUsize,
    sends: AtomicUsize,
    sends_completed: AtomicUsize,
}

impl Ledger {
    fn is_even(&self) -> bool {
        let even = |a: &AtomicUsize, b: &AtomicUsize| a.load(Ordering::SeqCst) == b.load(Ordering::SeqCst);
        even(&self.streams, &self.streams_ended)
            && even(&self.connections, &self.connections_ended)
            && even(&self.sends, &self.sends_completed)
    }

    fn show(&self) -> String {
        let of = |count: &AtomicUsize| count.load(Ordering::SeqCst);
        format!(
            "streams {}/{}, connections {}/{}, sends {}/{}",
            of(&self.streams_ended),
            of(&self.streams),
            of(&self.connections_ended),
            of(&self.connections),
            of(&self.sends_completed),
            of(&self.sends)
        )
    }
}

/// The sends of one stream that wait for completion.
type Open = Arc<Mutex<BTreeSet<u64>>>;

/// Sends under the eyes of the ledger.
fn send(stream: &Stream, open: &Open, ledger: &Ledger, context: u64, data: Bytes, fin: bool) {
    // Before the call: completion may come before it returns.
    open.lock().unwrap().insert(context);
    ledger.sends.fetch_add(1, Ordering::SeqCst);
    if stream.send(data, fin, context).is_err() {
        assert!(open.lock().unwrap().remove(&context), "refused and completed");
        ledger.sends.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A stream handler that checks its events and now and then acts from within.
fn handler(
    ledger: Arc<Ledger>,
    open: Open,
    mut random: Entropy,
    echo: bool,
) -> impl FnMut(&Stream, StreamEvent<'_>) + Send + 'static {
    ledger.streams.fetch_add(1, Ordering::SeqCst);
    let mut over = false;
    let mut context = 1_000_000;
    move |stream, event| {
        assert!(!over, "{event:?} after the last event");
        match event {
            StreamEvent::SendComplete { context, .. } => {
                assert!(open.lock().unwrap().remove(&context), "completed twice");
                ledger.sends_completed.fetch_add(1, Ordering::SeqCst);
            }
            StreamEvent::Receive(mut receive) => {
                let (len, fin) = (receive.len(), receive.fin());
                if random.below(3) == 0 {
                    receive.defer();
                    stream.consumed(len as u64);
                }
                match random.below(40) {
                    0 => drop(stream.reset(VarInt::from_u32(1))),
                    1 => drop(stream.stop_sending(VarInt::from_u32(2))),
                    2 => stream.set_receive_enabled(false),
                    3 => drop(stream.set_priority(random.below(5) as i32)),
                    _ if echo => {
                        for chunk in receive.take().collect::<Vec<_>>() {
                            context += 1;
                            send(stream, &open, &ledger, context, chunk, false);
                        }
                        if fin {
                            context += 1;
                            send(stream, &open, &ledger, context, Bytes::new(), true);
                        }
                    }
                    _ => {}
                }
            }
            StreamEvent::ShutdownComplete => {
                over = true;
                ledger.streams_ended.fetch_add(1, Ordering::SeqCst);
            }
            _ => {}
        }
    }
}

/// A connection handler that checks its events and answers streams.
fn watch(
    ledger: Arc<Ledger>,
    connected: Option<mpsc::Sender<()>>,
    mut stream: impl FnMut(&Connection, NewStream) + Send + 'static,
) -> impl FnMut(&Connection, ConnectionEvent<'_>) + Send + 'static {
    ledger.connections.fetch_add(1, Ordering::SeqCst);
    let mut over = false;
    move |connection, event| {
        assert!(!over, "{event:?} after the last event");
        match event {
            ConnectionEvent::Connected { .. } => {
                if let Some(say) = &connected {
                    let _ = say.send(());
                }
            }
            ConnectionEvent::PeerStreamStarted(new) => stream(connection, new),
            ConnectionEvent::ShutdownComplete { .. } => {
                over = true;
                ledger.connections_ended.fetch_add(1, Ordering::SeqCst);
            }
            _ => {}
        }
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "threads and a deadline are what it takes")]
fn the_ledger_is_even_in_the_end() {
    let transport = TransportConfig { max_idle_timeout: Duration::from_secs(2), ..TransportConfig::default() };
    let configuration = configuration(transport);
    let (servers, clients) = (registration(2), registration(2));
    let (server_ledger, client_ledger) = (Arc::new(Ledger::default()), Arc::new(Ledger::default()));
    let (ledger, server_configuration) = (server_ledger.clone(), configuration.clone());
    let seeds = AtomicUsize::new(0);
    let listener = servers
        .listen(Listen::new(loopback(), [ALPN]), move |_: &Listener, event| {
            let ListenerEvent::NewConnection(new) = event else { return };
            let seed = seeds.fetch_add(1, Ordering::SeqCst) as u8;
            let mut random = Entropy::from_seed([seed; 32]);
            let streams = ledger.clone();
            let watch = watch(ledger.clone(), None, move |connection, new| match random.below(30) {
                0 => new.refuse(VarInt::from_u32(3)),
                1 => drop(new),
                2 if random.below(5) == 0 => connection.close(VarInt::from_u32(9), Bytes::new()),
                _ => {
                    let handler = handler(streams.clone(), Open::default(), Entropy::from_seed(random.array()), true);
                    // Counted when made; if the connection has ended it hears nothing.
                    match new.accept(handler) {
                        Ok(stream) => stream.detach(),
                        Err(_) => drop(streams.streams.fetch_sub(1, Ordering::SeqCst)),
                    }
                }
            });
            match new.accept(&server_configuration, watch) {
                Ok(connection) => connection.detach(),
                Err(_) => drop(ledger.connections.fetch_sub(1, Ordering::SeqCst)),
            }
        })
        .unwrap();
    let address = listener.local_address();
    let threads: Vec<_> = (0..4u8)
        .map(|thread| {
            let (clients, configuration, ledger) = (clients.clone(), configuration.clone(), client_ledger.clone());
            std::thread::spawn(move || {
                let mut random = Entropy::from_seed([thread; 32]);
                for _ in 0..15 {
                    let (say, connected) = mpsc::channel();
                    let watch = watch(ledger.clone(), Some(say), |_, new| drop(new));
                    let to = Connect::new(address, "localhost");
                    let connection = clients.connect(&configuration, to, watch).unwrap();
                    if random.below(5) > 0 {
                        connected.recv_timeout(PATIENCE).unwrap();
                    }
                    play(&connection, &ledger, &mut random);
                    if random.below(2) == 0 {
                        std::thread::sleep(Duration::from_millis(30));
                    }
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let deadline = Instant::now() + PATIENCE;
    while !(client_ledger.is_even() && server_ledger.is_even()) {
        assert!(Instant::now() < deadline, "client {}; server {}", client_ledger.show(), server_ledger.show());
        std::thread::sleep(Duration::from_millis(20));
    }
    println!("client {}; server {}", client_ledger.show(), server_ledger.show());
    assert!(client_ledger.connections.load(Ordering::SeqCst) == 60);
}

/// What one thread does with one connection.
#[expect(clippy::disallowed_methods, reason = "to give the network time")]
fn play(connection: &Connection, ledger: &Arc<Ledger>, random: &mut Entropy) {
    let mut streams: Vec<(Stream, Open)> = Vec::new();
    let data = pattern(200_000);
    for step in 0..200 {
        if random.below(10) == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        match random.below(12) {
            0..=2 => {
                let open = Open::default();
                let direction = Direction::ALL[random.below(2) as usize];
                let handler = handler(ledger.clone(), open.clone(), Entropy::from_seed(random.array()), false);
                match connection.open_stream(direction, handler) {
                    Ok(stream) => streams.push((stream, open)),
                    Err(_) => drop(ledger.streams.fetch_sub(1, Ordering::SeqCst)),
                }
            }
            3..=8 if !streams.is_empty() => {
                let (stream, open) = &streams[random.below(streams.len() as u64) as usize];
                let scale = random.below(18);
                let len = random.below(1 << scale) as usize;
                send(stream, open, ledger, step, data.slice(..len), random.below(6) == 0);
            }
            9 if !streams.is_empty() => {
                let (stream, _) = streams.swap_remove(random.below(streams.len() as u64) as usize);
                match random.below(4) {
                    0 => drop(stream.reset(VarInt::from_u32(4))),
                    1 => drop(stream.stop_sending(VarInt::from_u32(5))),
                    2 => drop(stream.finish()),
                    _ => {}
                }
            }
            10 => drop(connection.ping()),
            11 if random.below(100) == 0 => connection.close(VarInt::from_u32(6), Bytes::new()),
            11 if random.below(100) == 0 => connection.close_silently(),
            _ => {}
        }
    }
}
