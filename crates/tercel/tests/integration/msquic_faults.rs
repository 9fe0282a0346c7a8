//! Faults that MsQuic has published, each as a test that fails where the fault is. The numbers are
//! those of its issues.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use rustls::pki_types::PrivatePkcs8KeyDer;
use tercel::{
    Alert, Bytes, CloseReason, Configuration, Connect, Connection, ConnectionEvent, Direction, Error, Identity, Listen,
    Listener, ListenerEvent, NewConnection, PendingVerdict, Registration, RegistrationConfig, Resume, Settings, Stream,
    StreamEvent, TransportErrorCode, Trust,
};

const ALPN: &str = "test";
const PATIENCE: Duration = Duration::from_secs(20);
/// What "at once" may take on a busy machine; the timeouts that nobody may wait for are longer.
const SOON: Duration = Duration::from_secs(3);

fn local() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// What an end's handler heard.
#[derive(Debug)]
enum Heard {
    Certificate(PendingVerdict),
    Connected,
    Complete(CloseReason),
}

fn handler(tell: mpsc::Sender<Heard>) -> impl FnMut(&Connection, ConnectionEvent<'_>) + Send {
    move |_, event| {
        let heard = match event {
            ConnectionEvent::PeerCertificate { verdict, .. } => Heard::Certificate(verdict),
            ConnectionEvent::Connected { .. } => Heard::Connected,
            ConnectionEvent::ShutdownComplete { reason, .. } => Heard::Complete(reason.clone()),
            _ => return,
        };
        let _ = tell.send(heard);
    }
}

/// Two registrations and a way for datagrams between them that can be watched.
struct World {
    client: Registration,
    _server: Registration,
    _listener: Listener,
    trust: Trust,
    /// Where the client connects to.
    address: SocketAddr,
    /// Server's connections, and what their handlers hear.
    accepted: mpsc::Receiver<(Connection, mpsc::Receiver<Heard>)>,
    line: Arc<Watch>,
}

/// Counts datagrams from the client and from the server.
#[derive(Default)]
struct Watch {
    up: AtomicU64,
    down: AtomicU64,
    stop: AtomicBool,
}

impl Drop for World {
    fn drop(&mut self) {
        self.line.stop.store(true, Ordering::Relaxed);
    }
}

impl World {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let identity = Identity::new(vec![made.cert.der().clone()], key.into()).unwrap();
        let trust = Trust::Pinned(identity.fingerprint());
        let configuration = Configuration::server(&[ALPN], Settings::default(), identity).unwrap();
        let server = Registration::new(RegistrationConfig::default()).unwrap();
        let (tell, accepted) = mpsc::channel();
        let tell = Mutex::new(tell);
        let listener = server
            .listen(Listen::new(local(), [ALPN]), move |_: &Listener, event: ListenerEvent| {
                if let ListenerEvent::NewConnection(new) = event {
                    let (say, heard) = mpsc::channel();
                    if let Ok(connection) = new.accept(&configuration, handler(say)) {
                        let _ = tell.lock().unwrap().send((connection, heard));
                    }
                }
            })
            .unwrap();
        let line = Arc::new(Watch::default());
        let address = forward(listener.local_address(), line.clone());
        let client = Registration::new(RegistrationConfig::default()).unwrap();
        Self { client, _server: server, _listener: listener, trust, address, accepted, line }
    }

    fn connect(&self, trust: Trust) -> (Connection, mpsc::Receiver<Heard>) {
        let (tell, heard) = mpsc::channel();
        let configuration = Configuration::client(&[ALPN], Settings::default(), trust).unwrap();
        let connect = Connect::new(self.address, "localhost");
        (self.client.connect(&configuration, connect, handler(tell)).unwrap(), heard)
    }

    fn server(&self) -> (Connection, mpsc::Receiver<Heard>) {
        self.accepted.recv_timeout(PATIENCE).unwrap()
    }
}

/// Passes datagrams on, and counts them.
fn forward(server: SocketAddr, watch: Arc<Watch>) -> SocketAddr {
    let [inside, outside] = [0; 2].map(|_| UdpSocket::bind(local()).unwrap());
    let address = inside.local_addr().unwrap();
    let client = Arc::new(Mutex::new(None));
    let pass = |from: UdpSocket, to: UdpSocket, up: bool| {
        let (watch, client) = (watch.clone(), client.clone());
        from.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 65_536];
            while !watch.stop.load(Ordering::Relaxed) {
                let Ok((len, source)) = from.recv_from(&mut buffer) else { continue };
                let target = match up {
                    true => {
                        *client.lock().unwrap() = Some(source);
                        watch.up.fetch_add(1, Ordering::SeqCst);
                        Some(server)
                    }
                    false => {
                        watch.down.fetch_add(1, Ordering::SeqCst);
                        *client.lock().unwrap()
                    }
                };
                if let Some(target) = target {
                    let _ = to.send_to(&buffer[..len], target);
                }
            }
        });
    };
    pass(inside.try_clone().unwrap(), outside.try_clone().unwrap(), true);
    pass(outside, inside, false);
    address
}

fn question(heard: &mpsc::Receiver<Heard>) -> PendingVerdict {
    match heard.recv_timeout(PATIENCE).unwrap() {
        Heard::Certificate(verdict) => verdict,
        other => panic!("{other:?}"),
    }
}

fn connected(heard: &mpsc::Receiver<Heard>) {
    assert!(matches!(heard.recv_timeout(PATIENCE).unwrap(), Heard::Connected));
}

/// The end, which must be the last event, and which must come soon.
fn end(heard: &mpsc::Receiver<Heard>) -> CloseReason {
    let begun = Instant::now();
    let reason = loop {
        match heard.recv_timeout(PATIENCE).unwrap() {
            Heard::Complete(reason) => break reason,
            Heard::Connected => {}
            other => panic!("{other:?}"),
        }
    };
    assert!(begun.elapsed() < SOON, "{reason:?} after {:?}", begun.elapsed());
    reason
}

fn code(reason: &CloseReason) -> TransportErrorCode {
    match reason {
        CloseReason::PeerTransport { code, .. } => *code,
        other => panic!("{other:?}"),
    }
}

/// 4166: the application closes while its verdict is pending, and the peer waits for its timeout.
#[test]
fn issue_4166_close_while_the_verdict_is_pending() {
    let world = World::new();
    for delay in [0, 400] {
        let (client, heard) = world.connect(Trust::application());
        let (_server, server_heard) = world.server();
        let verdict = question(&heard);
        std::thread::sleep(Duration::from_millis(delay));
        client.close(7u32.into(), Bytes::from_static(b"for its eyes only"));
        let reason = end(&server_heard);
        assert_eq!(code(&reason), TransportErrorCode::APPLICATION_ERROR);
        assert!(matches!(reason, CloseReason::PeerTransport { reason, .. } if reason.is_empty()));
        assert!(verdict.is_cancelled());
        assert!(matches!(end(&heard), CloseReason::LocalApplication { .. }));
    }
}

/// 4132: a verdict that comes late is told at a level that the peer cannot read.
#[test]
fn issue_4132_a_late_rejection_is_read_by_the_peer() {
    let world = World::new();
    for delay in [0, 700] {
        let (_client, heard) = world.connect(Trust::application());
        let (_server, server_heard) = world.server();
        let verdict = question(&heard);
        std::thread::sleep(Duration::from_millis(delay));
        verdict.reject(Alert::BAD_CERTIFICATE).unwrap();
        assert_eq!(code(&end(&server_heard)), TransportErrorCode::crypto(42));
        end(&heard);
    }
}

/// 5305: the application closes before the handshake is confirmed; the server cannot read the close
/// and waits.
#[test]
fn issue_5305_close_before_confirmation() {
    let world = World::new();
    for _ in 0..20 {
        let configuration = Configuration::client(&[ALPN], Settings::default(), world.trust.clone()).unwrap();
        let closing = |connection: &Connection, event: ConnectionEvent<'_>| {
            if let ConnectionEvent::Connected { .. } = event {
                connection.close(55u32.into(), Bytes::from_static(b"too early"));
            }
        };
        let client = world.client.connect(&configuration, Connect::new(world.address, "localhost"), closing).unwrap();
        let (_server, server_heard) = world.server();
        let reason = CloseReason::PeerApplication { code: 55u32.into(), reason: Bytes::from_static(b"too early") };
        assert_eq!(end(&server_heard), reason);
        drop(client);
    }
}

/// 5962 and 6138: a verdict after the shutdown, or after the connection is no more, crashes.
#[test]
fn issues_5962_and_6138_a_verdict_after_the_end() {
    let world = World::new();
    let mut late = Vec::new();
    for _ in 0..4 {
        let (client, heard) = world.connect(Trust::application());
        let verdict = question(&heard);
        client.close(1u32.into(), Bytes::new());
        end(&heard);
        assert!(heard.try_recv().is_err());
        late.push((verdict, heard));
    }
    let (verdict, heard) = late.pop().unwrap();
    assert!(matches!(verdict.accept(), Err(Error::Closed | Error::ConnectionClosed(_))));
    assert!(heard.try_recv().is_err(), "it causes no event");
    drop(world);
    for (verdict, _) in late {
        assert!(verdict.is_cancelled());
        assert!(verdict.reject(Alert::UNKNOWN_CA).is_err());
    }
}

/// 5963: the verdict on a resumption ticket comes when the connection is no more, and crashes.
#[test]
fn issue_5963_a_ticket_verdict_after_the_end() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let identity = Identity::new(vec![made.cert.der().clone()], key.into()).unwrap();
    let trust = Trust::Pinned(identity.fingerprint());
    let server = Configuration::server(&[ALPN], Settings::default(), identity).unwrap();
    let client = Configuration::client(&[ALPN], Settings::default(), trust).unwrap();
    let [ours, theirs] = [0, 1].map(|_| Registration::new(RegistrationConfig::default()).unwrap());
    let (tell, asked) = mpsc::channel();
    let tell = Mutex::new(tell);
    let listener = theirs.listen(Listen::new(local(), [ALPN]), move |_: &Listener, event: ListenerEvent| {
        if let ListenerEvent::NewConnection(new) = event {
            let _ = tell.lock().unwrap().send(new);
        }
    });
    let address = listener.as_ref().unwrap().local_address();
    // A first connection, for its ticket.
    let (tell, tickets) = mpsc::channel();
    let keep = move |_: &Connection, event: ConnectionEvent<'_>| {
        if let ConnectionEvent::ResumptionTicket(ticket) = event {
            let _ = tell.send(ticket.clone());
        }
    };
    let first = ours.connect(&client, Connect::new(address, "localhost"), keep).unwrap();
    let (say, _heard) = mpsc::channel();
    let accepted = asked.recv_timeout(PATIENCE).unwrap().accept(&server, handler(say)).unwrap();
    let ticket = tickets.recv_timeout(PATIENCE).unwrap();
    drop((first, accepted));

    let mut late = Vec::new();
    for resume in [Resume::Session, Resume::WithoutEarlyData, Resume::Refuse] {
        let mut connect = Connect::new(address, "localhost");
        connect.ticket = Some(ticket.clone());
        let (say, _ended) = mpsc::channel();
        let connection = ours.connect(&client, connect, handler(say)).unwrap();
        let new = asked.recv_timeout(PATIENCE).unwrap();
        assert!(new.ticket(&server).is_some() && !new.is_cancelled());
        connection.close(1u32.into(), Bytes::new());
        // The client has left; the judgement is still being worked on, and learns of it.
        let begun = Instant::now();
        while !new.is_cancelled() {
            assert!(begun.elapsed() < SOON, "nobody tells that it no longer matters");
            std::thread::yield_now();
        }
        late.push((new.resume(resume), resume));
    }
    let (last, _) = late.pop().unwrap();
    let answer = |new: NewConnection| {
        let (say, heard) = mpsc::channel();
        assert!(matches!(new.accept(&server, handler(say)), Err(Error::Closed | Error::ConnectionClosed(_))));
        assert!(heard.try_recv().is_err(), "it causes no event");
    };
    answer(last);
    drop((listener, theirs));
    for (new, _) in late {
        assert!(new.is_cancelled());
        answer(new);
    }
}

/// 5477: two ends that close at the same time answer each other for ever.
#[test]
fn issue_5477_closes_that_cross_end() {
    let world = World::new();
    for _ in 0..10 {
        let (client, heard) = world.connect(world.trust.clone());
        let (server, server_heard) = world.server();
        connected(&heard);
        connected(&server_heard);
        let before = [&world.line.up, &world.line.down].map(|count| count.load(Ordering::SeqCst));
        client.close(1u32.into(), Bytes::new());
        server.close(2u32.into(), Bytes::new());
        end(&heard);
        end(&server_heard);
        std::thread::sleep(Duration::from_millis(100));
        for (before, count) in before.into_iter().zip([&world.line.up, &world.line.down]) {
            let sent = count.load(Ordering::SeqCst) - before;
            assert!(sent <= 8, "{sent} datagrams to say good bye");
        }
    }
}

/// 5522: an end that was to be silent speaks.
#[test]
fn issue_5522_a_silent_close_is_silent() {
    let world = World::new();
    let (client, heard) = world.connect(world.trust.clone());
    let (server, server_heard) = world.server();
    connected(&heard);
    connected(&server_heard);
    // Whatever is under way has arrived.
    let (pinged, pong) = mpsc::channel();
    client.inspect(move |_| pinged.send(()).unwrap()).unwrap();
    pong.recv().unwrap();
    std::thread::sleep(Duration::from_millis(200));
    client.close_silently();
    assert_eq!(end(&heard), CloseReason::Silent);
    std::thread::sleep(Duration::from_millis(50));
    let before = world.line.up.load(Ordering::SeqCst);
    for _ in 0..5 {
        server.ping().unwrap();
        std::thread::sleep(Duration::from_millis(30));
    }
    drop(client);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(world.line.up.load(Ordering::SeqCst), before);
    assert!(server_heard.try_recv().is_err());
}

/// 4311: a stream that is opened after the shutdown never hears its end.
#[test]
fn issue_4311_no_stream_after_the_shutdown() {
    let world = World::new();
    let (client, heard) = world.connect(world.trust.clone());
    connected(&heard);
    // Opened before the close: told of its end. After: refused, or told of its end; never forgotten.
    let (tell, ends) = mpsc::channel();
    let open = |number: u32| {
        let tell = tell.clone();
        client.open_stream(Direction::Bidirectional, move |_: &Stream, event: StreamEvent<'_>| {
            if let StreamEvent::ShutdownComplete = event {
                let _ = tell.send(number);
            }
        })
    };
    let first = open(1).unwrap();
    client.close(3u32.into(), Bytes::new());
    let second = open(2);
    end(&heard);
    let mut expected = vec![1];
    expected.extend(second.is_ok().then_some(2));
    let mut told: Vec<u32> = expected.iter().map(|_| ends.recv_timeout(PATIENCE).unwrap()).collect();
    told.sort_unstable();
    assert_eq!(told, expected);
    assert!(matches!(open(3), Err(Error::Closed | Error::ConnectionClosed(_))));
    assert!(first.send(Bytes::new(), true, 0).is_err());
    assert!(ends.try_recv().is_err());
}

/// 6223: a connection whose start failed calls back nevertheless.
#[test]
fn issue_6223_no_callback_after_a_failed_start() {
    let registration = Registration::new(RegistrationConfig::default()).unwrap();
    let client = Configuration::client(&[ALPN], Settings::default(), Trust::application()).unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let identity = Identity::new(vec![made.cert.der().clone()], key.into()).unwrap();
    let server = Configuration::server(&[ALPN], Settings::default(), identity).unwrap();
    let somewhere: SocketAddr = "127.0.0.1:9".parse().unwrap();
    let called = Arc::new(AtomicBool::new(false));
    let dropped = Arc::new(AtomicU64::new(0));
    struct Counts(Arc<AtomicU64>);
    impl Drop for Counts {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let starts = [
        (&client, Connect::new("127.0.0.1:0".parse().unwrap(), "localhost")),
        (&client, Connect::new(somewhere, "not a name")),
        (&server, Connect::new(somewhere, "localhost")),
    ];
    let count = starts.len() as u64;
    for (configuration, connect) in starts {
        let (called, guard) = (called.clone(), Counts(dropped.clone()));
        let failed = registration.connect(configuration, connect, move |_: &Connection, _: ConnectionEvent<'_>| {
            let _ = &guard;
            called.store(true, Ordering::SeqCst);
        });
        assert!(failed.is_err());
    }
    drop(registration);
    assert!(!called.load(Ordering::SeqCst));
    assert_eq!(dropped.load(Ordering::SeqCst), count, "handlers of failed starts are dropped at once");
}
