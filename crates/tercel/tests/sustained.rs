//! Handshakes without end, with verdicts that come when they like, closes from either side at any time
//! and peers that vanish. Every connection's outcome is accounted for, and nothing is left behind.
//!
//! `TERCEL_HANDSHAKES` says how many: 1,000 if not set. `TERCEL_SEED` says which.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests measure time and start threads")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use rustls::pki_types::PrivatePkcs8KeyDer;
use tercel::{
    Alert, Bytes, CloseReason, Configuration, Connect, Connection, ConnectionEvent, Identity, Listen, Listener,
    ListenerEvent, PendingVerdict, Registration, RegistrationConfig, RetryPolicy, Settings, Trust,
};
use tercel_proto::entropy::Entropy;

/// So many at a time.
const AT_ONCE: usize = 64;
const PATIENCE: Duration = Duration::from_secs(60);

struct Dice(Entropy);

impl Dice {
    fn new(seed: u64, of: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        bytes[8..16].copy_from_slice(&of.to_le_bytes());
        Self(Entropy::from_seed(bytes))
    }

    fn below(&mut self, limit: u64) -> u64 {
        u64::from_le_bytes(self.0.array()) % limit
    }
}

/// What is done to a connection, and when.
enum Deed {
    Accept(PendingVerdict),
    Reject(PendingVerdict),
    Drop(PendingVerdict),
    Close(Connection),
    Vanish(Connection),
}

impl Deed {
    fn act(self) {
        match self {
            // Too late is one of the outcomes.
            Self::Accept(verdict) => drop(verdict.accept()),
            Self::Reject(verdict) => drop(verdict.reject(Alert::BAD_CERTIFICATE)),
            Self::Drop(verdict) => drop(verdict),
            Self::Close(connection) => connection.close(9u32.into(), Bytes::from_static(b"enough")),
            Self::Vanish(connection) => connection.close_silently(),
        }
    }
}

/// A thread that does deeds at their time.
fn doer() -> mpsc::Sender<(Instant, Deed)> {
    let (send, deeds) = mpsc::channel::<(Instant, Deed)>();
    std::thread::spawn(move || {
        let mut waiting: BTreeMap<(Instant, u64), Deed> = BTreeMap::new();
        let mut number = 0;
        loop {
            let wait = waiting
                .keys()
                .next()
                .map_or(Duration::from_millis(200), |(at, _)| at.saturating_duration_since(Instant::now()));
            match deeds.recv_timeout(wait) {
                Ok((at, deed)) => {
                    number += 1;
                    waiting.insert((at, number), deed);
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) if waiting.is_empty() => return,
                Err(mpsc::RecvTimeoutError::Disconnected) => {}
            }
            let now = Instant::now();
            while let Some(entry) = waiting.first_entry().filter(|entry| entry.key().0 <= now) {
                entry.remove().act();
            }
        }
    });
    send
}

#[derive(Default)]
struct Ledger {
    begun: AtomicUsize,
    ended: AtomicUsize,
    connected: AtomicUsize,
    outcomes: Mutex<BTreeMap<String, usize>>,
}

impl Ledger {
    fn end(&self, reason: &CloseReason) {
        let text = match reason {
            CloseReason::PeerApplication { .. } => "closed by the peer's application".into(),
            CloseReason::PeerTransport { code, .. } => format!("closed by the peer with {code}"),
            other => other.to_string(),
        };
        *self.outcomes.lock().unwrap().entry(text).or_default() += 1;
        self.ended.fetch_add(1, Ordering::SeqCst);
    }
}

/// An end's events: each must come at most once, and the last must be the last.
struct Watch {
    ledger: Arc<Ledger>,
    connected: bool,
    over: bool,
}

impl Watch {
    fn new(ledger: &Arc<Ledger>) -> Self {
        ledger.begun.fetch_add(1, Ordering::SeqCst);
        Self { ledger: ledger.clone(), connected: false, over: false }
    }

    fn see(&mut self, event: &ConnectionEvent<'_>) {
        assert!(!self.over, "{event:?} after the end");
        match event {
            ConnectionEvent::PeerCertificate { .. } => assert!(!self.connected),
            ConnectionEvent::Connected { .. } => {
                assert!(!std::mem::replace(&mut self.connected, true));
                self.ledger.connected.fetch_add(1, Ordering::SeqCst);
            }
            ConnectionEvent::ShutdownComplete { reason, handshake_completed } => {
                assert_eq!(*handshake_completed, self.connected);
                self.over = true;
                self.ledger.end(reason);
            }
            _ => {}
        }
    }
}

/// The memory of this process that is in use, in bytes.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split_whitespace().nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "{what}: not within a minute");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn every_outcome_is_accounted_for() {
    let number =
        |name: &str, default| std::env::var(name).map_or(default, |text| text.replace('_', "").parse().unwrap());
    let (count, seed) = (number("TERCEL_HANDSHAKES", 1_000), number("TERCEL_SEED", 1));
    println!("{count} handshakes, TERCEL_SEED={seed}");
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let identity = Identity::new(vec![made.cert.der().clone()], key.into()).unwrap();
    // Who is left alone by a peer that vanished, or by a verdict that never comes, gives up soon.
    let settings = Settings {
        handshake_timeout: Duration::from_millis(1_500),
        verdict_timeout: Duration::from_millis(700),
        max_idle_timeout: Duration::from_millis(1_500),
        ..Settings::default()
    };
    let server_configuration = Configuration::server(&["test"], settings.clone(), identity).unwrap();
    let client_configuration = Configuration::client(&["test"], settings, Trust::application()).unwrap();
    // A resumed session would have nothing to judge.
    let client_configuration = client_configuration.without_resumption();
    let registration = || {
        let mut config = RegistrationConfig::default();
        config.workers = 2;
        config.retry = RetryPolicy::Never;
        Registration::new(config).unwrap()
    };
    let (clients, servers) = (registration(), registration());
    let (ours, theirs) = (Arc::new(Ledger::default()), Arc::new(Ledger::default()));
    let deeds = doer();

    let accepted = AtomicUsize::new(0);
    let (ledger, shared_deeds) = (theirs.clone(), Mutex::new(deeds.clone()));
    let listener = servers
        .listen(Listen::new("127.0.0.1:0".parse().unwrap(), ["test"]), move |_: &Listener, event: ListenerEvent| {
            let ListenerEvent::NewConnection(new) = event else { return };
            let mut dice = Dice::new(seed, 1 << 40 | accepted.fetch_add(1, Ordering::SeqCst) as u64);
            let mut watch = Watch::new(&ledger);
            let handler = move |_: &Connection, event: ConnectionEvent<'_>| watch.see(&event);
            match new.accept(&server_configuration, handler) {
                Ok(connection) => {
                    let at = Instant::now() + Duration::from_micros(dice.below(20_000));
                    let deed = match dice.below(10) {
                        0 => Deed::Vanish(connection),
                        1 | 2 => Deed::Close(connection),
                        _ => return connection.detach(),
                    };
                    let _ = shared_deeds.lock().unwrap().send((at, deed));
                }
                // The client has left; the handler hears nothing.
                Err(_) => drop(ledger.begun.fetch_sub(1, Ordering::SeqCst)),
            }
        })
        .unwrap();

    let mut memory = Vec::new();
    for at in 0..count {
        wait_until("room for another connection", || at as usize - ours.ended.load(Ordering::SeqCst) < AT_ONCE);
        let mut dice = Dice::new(seed, at);
        let (mut watch, deeds_of_handler) = (Watch::new(&ours), deeds.clone());
        let (delay, choice) = (Duration::from_micros(dice.below(20_000)), dice.below(10));
        let handler = move |_: &Connection, event: ConnectionEvent<'_>| {
            watch.see(&event);
            let ConnectionEvent::PeerCertificate { verdict, .. } = event else { return };
            let deed = match choice {
                0 => Deed::Reject(verdict),
                1 => Deed::Drop(verdict),
                2 => {
                    let _ = verdict.accept();
                    return;
                }
                _ => Deed::Accept(verdict),
            };
            // One in a while is never answered in time.
            let delay = if choice == 3 { 50 * delay } else { delay };
            let _ = deeds_of_handler.send((Instant::now() + delay, deed));
        };
        let connect = Connect::new(listener.local_address(), "localhost");
        let connection = clients.connect(&client_configuration, connect, handler).unwrap();
        let when = Instant::now() + Duration::from_micros(dice.below(30_000));
        let deed = if dice.below(8) == 0 { Deed::Vanish(connection) } else { Deed::Close(connection) };
        deeds.send((when, deed)).unwrap();
        if at == count / 2 {
            memory.push(resident());
        }
    }
    wait_until("the end of every connection", || {
        let even = |ledger: &Ledger| ledger.begun.load(Ordering::SeqCst) == ledger.ended.load(Ordering::SeqCst);
        even(&ours) && even(&theirs)
    });
    memory.push(resident());
    wait_until("the workers to forget", || clients.stats().connections + servers.stats().connections == 0);
    for (side, ledger) in [("clients", &ours), ("servers", &theirs)] {
        println!(
            "{side}: {} of {} connected",
            ledger.connected.load(Ordering::SeqCst),
            ledger.begun.load(Ordering::SeqCst)
        );
        for (outcome, count) in ledger.outcomes.lock().unwrap().iter() {
            println!("    {count:6}  {outcome}");
        }
    }
    assert_eq!(ours.begun.load(Ordering::SeqCst) as u64, count);
    let outcomes = ours.outcomes.lock().unwrap();
    for wanted in ["TLS alert 42", "TLS alert 46", "code 9", "dropped by this application", "peer's application"] {
        let met = outcomes.iter().filter(|(text, _)| text.contains(wanted)).map(|(_, count)| count).sum::<usize>();
        assert!(met as u64 > count / 200, "only {met} times: {wanted}");
    }
    // The second half needs no more memory than the first left, but for what the allocator keeps.
    let grown = memory[1].saturating_sub(memory[0]) >> 20;
    println!("resident: {} MiB at half, {} MiB at the end", memory[0] >> 20, memory[1] >> 20);
    assert!(grown < 16, "{grown} MiB more at the end than at half");
}
