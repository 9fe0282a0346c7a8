//! A Tercel server judges the certificates of other stacks' clients: accepts, rejects, and closes while
//! the verdict is pending. The peer must learn of it at once; how soon it does is printed.
//!
//! A client of TLS 1.3 has done its part of the handshake before its certificate is judged, and has asked
//! its question by then. The server must neither look at it nor answer before the verdict, and must lose
//! nothing of it.
#![allow(clippy::disallowed_methods, reason = "it is measured how soon peers learn")]

use std::time::{Duration, Instant};

use tercel::{
    Alert, Bytes, ClientAuthentication, Configuration, Connection, PendingVerdict, ServerCredential, Settings,
};
use tercel_interop::ours::{Heard, OurServer, Resuming, identity};
use tercel_interop::{ALPN, Certificate, Client, PATIENCE, QUESTION, Seen, Told, peers};

/// What "at once" may take on a busy machine; far from every timeout.
const SOON: Duration = Duration::from_millis(1_000);

struct Judge {
    server: OurServer,
    client: Client,
    /// The client's certificate.
    certificate: Certificate,
}

impl Judge {
    fn of(client: fn(&Certificate, &Certificate) -> Client) -> Self {
        let (ours, theirs) = (Certificate::new(), Certificate::new());
        let clients = ClientAuthentication::Deferred { required: true, advice: None };
        let credential = ServerCredential { identity: identity(&ours), clients };
        let configuration = Configuration::server(&[ALPN], Settings::default(), credential).expect("TLS");
        // Nothing is resumed: there would be nothing to judge.
        let server = OurServer::start(configuration.without_resumption(), Resuming::default());
        Self { server, client: client(&theirs, &ours), certificate: theirs }
    }

    /// A client comes and shows its certificate; nothing else happens for so long.
    async fn question(&mut self, pause: Duration) -> (Connection, PendingVerdict) {
        (self.client.connect)(self.server.address);
        let (connection, _) = self.server.client();
        let Heard::Certificate(certificate, verdict) = self.server.hear() else { panic!("no certificate first") };
        assert_eq!(certificate.leaf(), self.certificate.der.as_ref());
        tokio::time::sleep(pause).await;
        assert!(self.server.heard.try_recv().is_err(), "nothing is heard before the verdict");
        assert!(self.client.told.try_recv().is_err(), "nothing is answered before the verdict");
        (connection, verdict)
    }

    /// What the client tells next, and how soon it did.
    async fn told(&mut self, since: Instant, what: &str) -> Told {
        let told = tokio::time::timeout(PATIENCE, self.client.told.recv()).await;
        let (told, at) = told.expect("the peer learns of it").expect("the client lives");
        let took = at.saturating_duration_since(since);
        println!("{:<10} {what:<36} {told:?} after {took:.2?}", self.client.name);
        assert!(took < SOON, "{}: {what}: only after {took:?}", self.client.name);
        told
    }

    /// The connection has ended at this end, too; whether it was connected before.
    fn complete(&self) -> bool {
        loop {
            if let Heard::Complete { connected } = self.server.hear() {
                return connected;
            }
        }
    }

    async fn accept(&mut self, pause: Duration) {
        let (connection, verdict) = self.question(pause).await;
        let since = Instant::now();
        verdict.accept().expect("in time");
        assert_eq!(self.told(since, "accepted, and answered").await, Told::Answer(Bytes::from_static(QUESTION)));
        assert!(matches!(self.server.hear(), Heard::Connected { resumed: false, early_data: false }));
        let since = Instant::now();
        connection.close(77u32.into(), Bytes::from_static(b"done"));
        assert_eq!(self.told(since, "then closed").await, Told::End(Seen::Application(77)));
        assert!(self.complete());
    }

    async fn reject(&mut self, pause: Duration) {
        let (_connection, verdict) = self.question(pause).await;
        let since = Instant::now();
        verdict.reject(Alert::UNKNOWN_CA).expect("in time");
        let told = self.told(since, "rejected with unknown_ca").await;
        assert_eq!(told, Told::End(Seen::Transport(0x100 + 48)));
        assert!(!self.complete());
    }

    async fn close_while_pending(&mut self, pause: Duration) {
        let (connection, verdict) = self.question(pause).await;
        let since = Instant::now();
        connection.close(77u32.into(), Bytes::from_static(b"not for your eyes"));
        let told = self.told(since, "closed while pending").await;
        assert!(matches!(told, Told::End(Seen::Transport(0x0c) | Seen::Closed)), "{told:?}");
        assert!(verdict.is_cancelled() && verdict.accept().is_err());
        assert!(!self.complete());
    }

    async fn accept_and_close(&mut self, pause: Duration) {
        let (connection, verdict) = self.question(pause).await;
        let since = Instant::now();
        verdict.accept().expect("in time");
        connection.close(78u32.into(), Bytes::from_static(b"at once"));
        let mut told = self.told(since, "accepted and closed in one breath").await;
        if matches!(told, Told::Answer(_)) {
            // The worker was quicker than the second call.
            told = self.told(since, "accepted and closed in one breath").await;
        }
        assert_eq!(told, Told::End(Seen::Application(78)));
        // Nobody is told that a connection is there after it was closed: either will do.
        self.complete();
    }
}

async fn judge(client: fn(&Certificate, &Certificate) -> Client) {
    let mut judge = Judge::of(client);
    for pause in [0, 300].map(Duration::from_millis) {
        println!("with a verdict after {pause:?}:");
        judge.accept(pause).await;
        judge.reject(pause).await;
        judge.close_while_pending(pause).await;
        judge.accept_and_close(pause).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn quinn_is_judged() {
    judge(peers::quinn::client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s2n_quic_is_judged() {
    judge(peers::s2n::client).await;
}

#[cfg(feature = "msquic")]
#[tokio::test(flavor = "multi_thread")]
async fn msquic_is_judged() {
    judge(peers::msquic::client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn aioquic_is_judged() {
    if peers::aioquic::python().is_none() {
        return println!("skipped: TERCEL_AIOQUIC names no Python with aioquic");
    }
    judge(peers::aioquic::client).await;
}
