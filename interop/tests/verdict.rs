//! A Tercel client judges the certificates of other stacks' servers: accepts, rejects, and closes while
//! the verdict is pending. The peer must learn of it at once; how soon it does is printed.
#![allow(clippy::disallowed_methods, reason = "it is measured how soon peers learn")]

use std::sync::mpsc;
use std::time::{Duration, Instant};

use tercel::{
    Alert, Bytes, Configuration, Connect, Connection, ConnectionEvent, PendingVerdict, Registration,
    RegistrationConfig, Settings, Trust,
};
use tercel_interop::{PATIENCE, Seen, Server, peers};

/// What "at once" may take on a busy machine; far from every timeout.
const SOON: Duration = Duration::from_millis(1_000);

enum Heard {
    Certificate(PendingVerdict),
    Connected,
    Complete,
}

fn client(server: &Server, registration: &Registration) -> (Connection, mpsc::Receiver<Heard>) {
    let (tell, heard) = mpsc::channel();
    let configuration =
        Configuration::client(&[tercel_interop::ALPN], Settings::default(), Trust::application()).expect("TLS");
    let handler = move |_: &Connection, event: ConnectionEvent<'_>| {
        let heard = match event {
            ConnectionEvent::PeerCertificate { verdict, .. } => Heard::Certificate(verdict),
            ConnectionEvent::Connected { .. } => Heard::Connected,
            ConnectionEvent::ShutdownComplete { .. } => Heard::Complete,
            _ => return,
        };
        let _ = tell.send(heard);
    };
    // Nothing is resumed: there would be nothing to judge.
    let configuration = configuration.without_resumption();
    let connection = registration.connect(&configuration, Connect::new(server.address, "localhost"), handler);
    (connection.expect("a connection"), heard)
}

fn question(heard: &mpsc::Receiver<Heard>) -> PendingVerdict {
    match heard.recv_timeout(PATIENCE).expect("a certificate") {
        Heard::Certificate(verdict) => verdict,
        _ => panic!("no certificate first"),
    }
}

async fn end(server: &mut Server, since: Instant, what: &str) -> Seen {
    let end = tokio::time::timeout(PATIENCE, server.ends.recv()).await;
    let (seen, at) = end.expect("the peer learns of the end").expect("the server lives");
    let took = at.saturating_duration_since(since);
    println!("{:<10} {what:<36} {seen:?} after {took:.2?}", server.name);
    assert!(took < SOON, "{}: {what}: only after {took:?}", server.name);
    seen
}

async fn judge(mut server: Server) {
    let registration = Registration::new(RegistrationConfig::default()).expect("workers");
    for wait in [0, 300] {
        let pause = Duration::from_millis(wait);
        // Accept; close later with a code.
        let (connection, heard) = client(&server, &registration);
        let verdict = question(&heard);
        tokio::time::sleep(pause).await;
        verdict.accept().expect("in time");
        assert!(matches!(heard.recv_timeout(PATIENCE), Ok(Heard::Connected)));
        tokio::time::sleep(Duration::from_millis(50)).await;
        let since = Instant::now();
        connection.close(77u32.into(), Bytes::from_static(b"done"));
        assert_eq!(end(&mut server, since, "accepted, then closed").await, Seen::Application(77));
        // Reject.
        let (_connection, heard) = client(&server, &registration);
        let verdict = question(&heard);
        tokio::time::sleep(pause).await;
        let since = Instant::now();
        verdict.reject(Alert::UNKNOWN_CA).expect("in time");
        assert_eq!(end(&mut server, since, "rejected with unknown_ca").await, Seen::Transport(0x100 + 48));
        assert!(matches!(heard.recv_timeout(PATIENCE), Ok(Heard::Complete)));
        // Close while the verdict is pending.
        let (connection, heard) = client(&server, &registration);
        let verdict = question(&heard);
        tokio::time::sleep(pause).await;
        let since = Instant::now();
        connection.close(77u32.into(), Bytes::from_static(b"not for your eyes"));
        let seen = end(&mut server, since, "closed while pending").await;
        assert!(matches!(seen, Seen::Transport(0x0c) | Seen::Closed), "{seen:?}");
        assert!(verdict.is_cancelled() && verdict.accept().is_err());
        // Accept and close in one breath.
        let (connection, heard) = client(&server, &registration);
        let verdict = question(&heard);
        tokio::time::sleep(pause).await;
        let since = Instant::now();
        verdict.accept().expect("in time");
        connection.close(78u32.into(), Bytes::from_static(b"at once"));
        assert_eq!(end(&mut server, since, "accepted and closed in one breath").await, Seen::Application(78));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn quinn_is_judged() {
    judge(peers::quinn::server()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s2n_quic_is_judged() {
    judge(peers::s2n::server()).await;
}

#[cfg(feature = "msquic")]
#[tokio::test(flavor = "multi_thread")]
async fn msquic_is_judged() {
    judge(peers::msquic::server()).await;
}
