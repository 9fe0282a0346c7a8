//! Certificates judged by the application, over real UDP, in every form: in the event, later from
//! another thread, by a future, off the thread; by clients and by servers; and closes in between.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use rustls::pki_types::PrivatePkcs8KeyDer;
use tercel::aio::{self, ConnectError, Connecting, Endpoint, OffThread};
use tercel::{
    Alert, Bytes, ClientAuthentication, ClientCredential, CloseReason, Configuration, Connect, Connection,
    ConnectionEvent, Error, Identity, PeerCertificate, PendingVerdict, Registration, RegistrationConfig,
    ServerCredential, Settings, TransportErrorCode, Trust, Verdict,
};

const ALPN: &[&str] = &["test"];
const PATIENCE: Duration = Duration::from_secs(20);

fn identity(name: &str) -> Identity {
    let made = rcgen::generate_simple_self_signed(vec![name.into()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    Identity::new(vec![made.cert.der().clone()], key.into()).unwrap()
}

/// A server that takes everybody and reports how each connection ended.
struct Server {
    address: SocketAddr,
    fingerprint: [u8; 32],
    ends: tokio::sync::mpsc::UnboundedReceiver<Result<CloseReason, CloseReason>>,
    _endpoint: Endpoint,
}

impl Server {
    fn start() -> Self {
        let identity = identity("localhost");
        let fingerprint = identity.fingerprint();
        let configuration = Configuration::server(ALPN, Settings::default(), identity).unwrap();
        Self::with(configuration, fingerprint)
    }

    fn with(configuration: Configuration, fingerprint: [u8; 32]) -> Self {
        let endpoint = Endpoint::server(&configuration, "127.0.0.1:0".parse().unwrap()).unwrap();
        let (tell, ends) = tokio::sync::mpsc::unbounded_channel();
        let accepting = endpoint.clone();
        tokio::spawn(async move {
            while let Some(incoming) = accepting.accept().await {
                let tell = tell.clone();
                let Ok(connecting) = incoming.accept() else { continue };
                tokio::spawn(async move {
                    let end = match connecting.await {
                        Ok(connection) => Ok(connection.closed().await),
                        Err(ConnectError::Connection(reason)) => Err(reason),
                        Err(error) => panic!("{error}"),
                    };
                    let _ = tell.send(end);
                });
            }
        });
        Self { address: endpoint.local_address().unwrap(), fingerprint, ends, _endpoint: endpoint }
    }

    /// How the next connection ended: whether after its handshake, and why.
    async fn end(&mut self) -> Result<CloseReason, CloseReason> {
        tokio::time::timeout(PATIENCE, self.ends.recv()).await.expect("the server learns of the end").unwrap()
    }
}

fn client_of(trust: Trust) -> Configuration {
    Configuration::client(ALPN, Settings::default(), trust).unwrap()
}

/// A client that passes its certificate question and its other events on.
struct Client {
    connection: Connection,
    asked: mpsc::Receiver<(PeerCertificate, PendingVerdict)>,
    events: mpsc::Receiver<&'static str>,
    _registration: Registration,
}

fn client(server: &Server, trust: Trust) -> Client {
    let registration = Registration::new(RegistrationConfig::default()).unwrap();
    let ((ask, asked), (tell, events)) = (mpsc::channel(), mpsc::channel());
    let handler = move |_: &Connection, event: ConnectionEvent<'_>| {
        let word = match event {
            ConnectionEvent::PeerCertificate { certificate, verdict } => {
                ask.send((certificate, verdict)).unwrap();
                "certificate"
            }
            ConnectionEvent::Connected { .. } => "connected",
            ConnectionEvent::ShutdownComplete { .. } => "complete",
            _ => return,
        };
        let _ = tell.send(word);
    };
    let connect = Connect::new(server.address, "localhost");
    let connection = registration.connect(&client_of(trust), connect, handler).unwrap();
    Client { connection, asked, events, _registration: registration }
}

impl Client {
    fn question(&self) -> (PeerCertificate, PendingVerdict) {
        self.asked.recv_timeout(PATIENCE).unwrap()
    }

    /// The words of all events up to the last.
    fn words(&self) -> Vec<&'static str> {
        let mut words = Vec::new();
        while words.last() != Some(&"complete") {
            words.push(self.events.recv_timeout(PATIENCE).unwrap());
        }
        words
    }
}

fn peer_transport(reason: &CloseReason) -> TransportErrorCode {
    match reason {
        CloseReason::PeerTransport { code, .. } => *code,
        other => panic!("not by the peer's transport: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verdict_from_another_thread() {
    let mut server = Server::start();
    let client = client(&server, Trust::Pinned(server.fingerprint).deferred());
    let (certificate, verdict) = client.question();
    assert_eq!(certificate.fingerprint(), server.fingerprint);
    assert_eq!((certificate.server_name(), certificate.alpn()), (Some("localhost"), &b"test"[..]));
    assert!(matches!(certificate.advice(), Some(Ok(()))));
    assert!(verdict.time_limit().is_some_and(|limit| limit <= Duration::from_secs(10)));
    assert!(!verdict.is_cancelled());
    let cancelled = verdict.cancelled();
    verdict.accept().unwrap();
    cancelled.await;
    assert_eq!(client.events.recv_timeout(PATIENCE).unwrap(), "certificate");
    assert_eq!(client.events.recv_timeout(PATIENCE).unwrap(), "connected");
    client.connection.close(5u32.into(), Bytes::from_static(b"bye"));
    let reason = CloseReason::PeerApplication { code: 5u32.into(), reason: Bytes::from_static(b"bye") };
    assert_eq!(server.end().await, Ok(reason));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_a_dropped_verdict_and_a_careless_handler() {
    let mut server = Server::start();
    let refused = client(&server, Trust::application());
    let (certificate, verdict) = refused.question();
    assert!(certificate.advice().is_none());
    verdict.reject(Alert::ACCESS_DENIED).unwrap();
    assert_eq!(refused.words(), ["certificate", "complete"]);
    assert_eq!(peer_transport(&server.end().await.unwrap_err()), TransportErrorCode::crypto(49));

    let dropped = client(&server, Trust::application());
    drop(dropped.question());
    assert_eq!(dropped.words(), ["certificate", "complete"]);
    assert_eq!(peer_transport(&server.end().await.unwrap_err()), TransportErrorCode::crypto(46));

    // A handler that does not know the event.
    let registration = Registration::new(RegistrationConfig::default()).unwrap();
    let connect = Connect::new(server.address, "localhost");
    let connection =
        registration.connect(&client_of(Trust::application()), connect, |_: &Connection, _: ConnectionEvent<'_>| {});
    assert_eq!(peer_transport(&server.end().await.unwrap_err()), TransportErrorCode::crypto(46));
    drop(connection);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_one_thread_take_effect_in_their_order() {
    let mut server = Server::start();
    let code = 7u32.into();
    // Accept, then close.
    let first = client(&server, Trust::application());
    let (_, verdict) = first.question();
    verdict.accept().unwrap();
    first.connection.close(code, Bytes::from_static(b"done"));
    let end = server.end().await;
    assert_eq!(end, Ok(CloseReason::PeerApplication { code, reason: Bytes::from_static(b"done") }));
    first.words();
    // Reject, then close.
    let second = client(&server, Trust::application());
    let (_, verdict) = second.question();
    verdict.reject(Alert::UNKNOWN_CA).unwrap();
    second.connection.close(code, Bytes::new());
    assert_eq!(peer_transport(&server.end().await.unwrap_err()), TransportErrorCode::crypto(48));
    assert_eq!(second.words(), ["certificate", "complete"]);
    // Close, then accept.
    let third = client(&server, Trust::application());
    let (_, verdict) = third.question();
    let cancelled = verdict.cancelled();
    third.connection.close(code, Bytes::from_static(b"never mind"));
    assert!(verdict.is_cancelled());
    assert!(matches!(verdict.accept(), Err(Error::Closed | Error::ConnectionClosed(_))));
    let end = server.end().await.unwrap_err();
    assert_eq!(peer_transport(&end), TransportErrorCode::APPLICATION_ERROR);
    assert!(matches!(end, CloseReason::PeerTransport { reason, .. } if reason.is_empty()));
    assert_eq!(third.words(), ["certificate", "complete"]);
    cancelled.await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verdict_may_outlive_its_connection() {
    let server = Server::start();
    let client = client(&server, Trust::application());
    let (_, verdict) = client.question();
    let cancelled = verdict.cancelled();
    let Client { connection, events, _registration, .. } = client;
    connection.close_silently();
    while events.recv_timeout(PATIENCE).unwrap() != "complete" {}
    tokio::time::timeout(PATIENCE, cancelled).await.unwrap();
    drop((connection, _registration));
    assert!(verdict.is_cancelled());
    assert!(verdict.accept().is_err());
}

/// Answered in the event itself; the client closes in the same breath.
#[tokio::test(flavor = "multi_thread")]
async fn inline_in_any_order() {
    let mut server = Server::start();
    let registration = Registration::new(RegistrationConfig::default()).unwrap();
    for close_first in [false, true] {
        let handler = move |connection: &Connection, event: ConnectionEvent<'_>| match event {
            ConnectionEvent::PeerCertificate { verdict, .. } if close_first => {
                connection.close(9u32.into(), Bytes::new());
                assert!(verdict.is_cancelled() && verdict.accept().is_err());
            }
            ConnectionEvent::PeerCertificate { verdict, .. } => {
                verdict.accept().unwrap();
                connection.close(9u32.into(), Bytes::new());
            }
            ConnectionEvent::Connected { .. } => panic!("connected after a close"),
            _ => {}
        };
        let connect = Connect::new(server.address, "localhost");
        let connection = registration.connect(&client_of(Trust::application()), connect, handler).unwrap();
        match server.end().await {
            Ok(reason) if !close_first => {
                assert_eq!(reason, CloseReason::PeerApplication { code: 9u32.into(), reason: Bytes::new() });
            }
            Err(reason) if close_first => {
                assert_eq!(peer_transport(&reason), TransportErrorCode::APPLICATION_ERROR);
            }
            other => panic!("{other:?}"),
        }
        drop(connection);
    }
}

/// Tells when it is dropped.
struct Dropped(Arc<AtomicBool>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

async fn connect(
    endpoint: &Endpoint,
    server: &Server,
    configuration: &Configuration,
) -> Result<aio::Connection, ConnectError> {
    let connecting = endpoint.connect(configuration, server.address, "localhost").unwrap();
    tokio::time::timeout(PATIENCE, connecting).await.expect("in time")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_future_judges() {
    let mut server = Server::start();
    let endpoint = Endpoint::client().unwrap();
    let (known, calls) = (server.fingerprint, Arc::new(AtomicUsize::new(0)));
    let counting = calls.clone();
    let accepting = client_of(Trust::application()).judged_by(move |certificate: PeerCertificate| {
        counting.fetch_add(1, Ordering::SeqCst);
        async move {
            // As if another service was asked.
            tokio::time::sleep(Duration::from_millis(50)).await;
            match certificate.fingerprint() == known {
                true => Verdict::Accept,
                false => Verdict::Reject(Alert::UNKNOWN_CA),
            }
        }
    });
    let connection = connect(&endpoint, &server, &accepting).await.unwrap();
    connection.close(1u32.into(), b"");
    assert!(matches!(server.end().await, Ok(CloseReason::PeerApplication { .. })));
    assert_eq!(calls.load(Ordering::SeqCst), 1);

    let refusing = client_of(Trust::application()).judged_by(async |_| Verdict::Reject(Alert::CERTIFICATE_REVOKED));
    let error = connect(&endpoint, &server, &refusing).await.unwrap_err();
    let code = TransportErrorCode::crypto(44);
    assert!(matches!(error, ConnectError::Connection(CloseReason::Refused { code: seen }) if seen == code));
    assert_eq!(peer_transport(&server.end().await.unwrap_err()), code);

    // Nobody judges.
    let error = connect(&endpoint, &server, &client_of(Trust::application())).await.unwrap_err();
    assert!(matches!(error, ConnectError::Connection(CloseReason::Refused { .. })), "{error:?}");
    assert_eq!(peer_transport(&server.end().await.unwrap_err()), TransportErrorCode::crypto(46));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_future_that_is_no_longer_needed_is_dropped() {
    let mut server = Server::start();
    let endpoint = Endpoint::client().unwrap();
    let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
    let dropped = Arc::new(AtomicBool::new(false));
    let watch = dropped.clone();
    let never = client_of(Trust::application()).judged_by(move |_| {
        let (guard, begun) = (Dropped(watch.clone()), begun.clone());
        async move {
            begun.send(()).unwrap();
            std::future::pending::<()>().await;
            drop(guard);
            Verdict::Accept
        }
    });
    // The application gives up.
    let connecting = endpoint.connect(&never, server.address, "localhost").unwrap();
    let task = tokio::spawn(connecting);
    begins.recv().await.unwrap();
    task.abort();
    assert_eq!(peer_transport(&server.end().await.unwrap_err()), TransportErrorCode::crypto(46));
    assert!(dropped.load(Ordering::SeqCst));
    // The connection is closed from elsewhere.
    dropped.store(false, Ordering::SeqCst);
    let connecting: Connecting = endpoint.connect(&never, server.address, "localhost").unwrap();
    let other = connecting.early();
    let task = tokio::spawn(connecting);
    begins.recv().await.unwrap();
    other.close(3u32.into(), b"");
    let error = tokio::time::timeout(PATIENCE, task).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(error, ConnectError::Connection(CloseReason::LocalApplication { .. })), "{error:?}");
    assert!(dropped.load(Ordering::SeqCst));
    assert_eq!(peer_transport(&server.end().await.unwrap_err()), TransportErrorCode::APPLICATION_ERROR);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_by_hand() {
    let mut server = Server::start();
    let endpoint = Endpoint::client().unwrap();
    let mut connecting = endpoint.connect(&client_of(Trust::application()), server.address, "localhost").unwrap();
    let (certificate, verdict) = connecting.certificate().await.unwrap();
    assert_eq!(certificate.fingerprint(), server.fingerprint);
    verdict.accept().unwrap();
    let connection = connecting.await.unwrap();
    connection.close(1u32.into(), b"");
    assert!(server.end().await.is_ok());
    // With built-in validation there is nothing to judge.
    let mut connecting =
        endpoint.connect(&client_of(Trust::Pinned(server.fingerprint)), server.address, "localhost").unwrap();
    assert!(connecting.certificate().await.is_none());
    connecting.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verifier_that_blocks_runs_off_the_worker() {
    #[derive(Debug)]
    struct Slow(Arc<rustls::client::WebPkiServerVerifier>);
    impl rustls::client::danger::ServerCertVerifier for Slow {
        fn verify_server_cert(
            &self,
            leaf: &rustls::pki_types::CertificateDer<'_>,
            intermediates: &[rustls::pki_types::CertificateDer<'_>],
            name: &rustls::pki_types::ServerName<'_>,
            ocsp: &[u8],
            now: rustls::pki_types::UnixTime,
        ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
            assert_eq!(std::thread::current().name(), Some("tercel-verifier"));
            self.0.verify_server_cert(leaf, intermediates, name, ocsp, now)
        }
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &rustls::pki_types::CertificateDer<'_>,
            _: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            unreachable!("QUIC has no TLS 1.2")
        }
        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &rustls::pki_types::CertificateDer<'_>,
            signature: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            self.0.verify_tls13_signature(message, certificate, signature)
        }
        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            self.0.supported_verify_schemes()
        }
    }
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let identity = Identity::new(vec![made.cert.der().clone()], key.into()).unwrap();
    let configuration = Configuration::server(ALPN, Settings::default(), identity).unwrap();
    let mut server = Server::with(configuration, [0; 32]);
    let endpoint = Endpoint::client().unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    for (name, accepted) in [("localhost", true), ("example.org", false)] {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let webpki = rustls::client::WebPkiServerVerifier::builder_with_provider(roots.into(), provider.clone());
        let verifier = OffThread::servers(Arc::new(Slow(webpki.build().unwrap())));
        let configuration = client_of(Trust::application()).judged_by(verifier);
        let connecting = endpoint.connect(&configuration, server.address, name).unwrap();
        match connecting.await {
            Ok(connection) if accepted => connection.close(0u32.into(), b""),
            Err(ConnectError::Connection(CloseReason::Refused { code })) if !accepted => {
                assert_eq!(code, TransportErrorCode::crypto(42));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(server.end().await.is_ok(), accepted);
    }
}

/// A server judges its clients, by a future that takes its time; data that comes before the verdict
/// is not lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_judges_its_clients() {
    let ours = identity("server");
    let fingerprint = ours.fingerprint();
    let (welcome, stranger) = (identity("welcome"), identity("stranger"));
    let known = welcome.fingerprint();
    let credential =
        ServerCredential { identity: ours, clients: ClientAuthentication::Deferred { required: true, advice: None } };
    let configuration = Configuration::server(ALPN, Settings::default(), credential).unwrap().judged_by(
        move |certificate: PeerCertificate| async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            match certificate.fingerprint() == known {
                true => Verdict::Accept,
                false => Verdict::Reject(Alert::ACCESS_DENIED),
            }
        },
    );
    let server_endpoint = Endpoint::server(&configuration, "127.0.0.1:0".parse().unwrap()).unwrap();
    let address = server_endpoint.local_address().unwrap();
    let endpoint = Endpoint::client().unwrap();
    for (identity, accepted) in [(Some(welcome), true), (Some(stranger), false), (None, false)] {
        let has_identity = identity.is_some();
        let credential = ClientCredential { trust: Trust::Pinned(fingerprint), identity };
        let configuration = Configuration::client(ALPN, Settings::default(), credential).unwrap();
        let serving = async {
            let connection = server_endpoint.accept().await.unwrap().accept().unwrap().await;
            match connection {
                Ok(connection) => {
                    let mut stream = connection.accept_uni().await.unwrap();
                    Ok(stream.read_to_end(100).await.unwrap())
                }
                Err(error) => Err(error),
            }
        };
        let asking = async {
            let connecting = endpoint.connect(&configuration, address, "localhost").unwrap();
            // To the client the handshake is complete before the server has judged it.
            let connection = connecting.await.unwrap();
            // Whom the server refuses may learn of it here already.
            if let Ok(mut stream) = connection.open_uni().await {
                let _ = stream.write_all(b"early bird").await;
                let _ = stream.finish();
            }
            let begun = Instant::now();
            let reason = connection.closed().await;
            (reason, begun.elapsed())
        };
        let both = async { tokio::join!(serving, asking) };
        match tokio::time::timeout(PATIENCE, both).await.unwrap() {
            (Ok(data), (reason, _)) if accepted => {
                assert_eq!(data, b"early bird");
                assert!(matches!(reason, CloseReason::PeerApplication { .. }));
            }
            (Err(_), (reason, waited)) if !accepted => {
                let alert = if has_identity { 49 } else { 116 };
                assert_eq!(peer_transport(&reason), TransportErrorCode::crypto(alert));
                assert!(waited < Duration::from_secs(2), "told at once, not after {waited:?}");
            }
            other => panic!("{other:?}"),
        }
    }
}
