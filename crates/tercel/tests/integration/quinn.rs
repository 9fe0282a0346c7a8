//! Tercel and quinn, each as client and as server of the other, over real UDP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::balancer::Balancer;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tercel::aio::{ConnectError, Connection, Endpoint};
use tercel::{
    Bytes, ClientAuthentication, ClientCredential, CloseReason, Configuration, DatagramPriority, DatagramSendState,
    Identity, PathState, PathStats, Registration, RegistrationConfig, RetryPolicy, ServerCredential, Settings,
    TransportErrorCode, Trust,
};

const ALPN: &[u8] = b"test";
const PATIENCE: Duration = Duration::from_secs(60);
const BULK: usize = 100 << 20;
const STREAMS: usize = 500;

/// Fails loudly in place of hanging for ever.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what}: not within a minute"))
}

fn local() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

struct Certificate {
    der: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Certificate {
    fn new(name: &str) -> Self {
        let made = rcgen::generate_simple_self_signed(vec![name.into()]).unwrap();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        Self { der: made.cert.der().clone(), key: key.into() }
    }

    fn identity(&self) -> Identity {
        Identity::new(vec![self.der.clone()], self.key.clone_key()).unwrap()
    }

    fn roots(&self) -> Arc<rustls::RootCertStore> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        Arc::new(roots)
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn settings() -> Settings {
    Settings { max_bidi_streams: STREAMS as u64, max_datagram_size: 65_535, ..Settings::default() }
}

/// Tercel's two configurations.
fn tercel_server(certificate: &Certificate) -> Configuration {
    Configuration::server(&[ALPN], settings(), certificate.identity()).unwrap()
}

fn tercel_client(certificate: &Certificate) -> Configuration {
    Configuration::client(&[ALPN], settings(), Trust::Pinned(certificate.identity().fingerprint())).unwrap()
}

/// quinn's.
fn quinn_transport() -> Arc<quinn::TransportConfig> {
    let mut transport = quinn::TransportConfig::default();
    transport.max_concurrent_bidi_streams((STREAMS as u32).into());
    transport.max_idle_timeout(Some(Duration::from_secs(20).try_into().unwrap()));
    Arc::new(transport)
}

fn quinn_server_tls(certificate: &Certificate) -> rustls::ServerConfig {
    let mut tls = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der.clone()], certificate.key.clone_key())
        .unwrap();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    tls.max_early_data_size = u32::MAX;
    tls
}

fn quinn_server_config(tls: rustls::ServerConfig) -> quinn::ServerConfig {
    let crypto = quinn::crypto::rustls::QuicServerConfig::try_from(tls).unwrap();
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(quinn_transport());
    config
}

fn quinn_server(certificate: &Certificate) -> quinn::Endpoint {
    quinn::Endpoint::server(quinn_server_config(quinn_server_tls(certificate)), local()).unwrap()
}

fn quinn_client_tls(certificate: &Certificate) -> rustls::ClientConfig {
    let mut tls = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(certificate.roots())
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    tls
}

fn quinn_client(tls: rustls::ClientConfig) -> quinn::Endpoint {
    let mut endpoint = quinn::Endpoint::client(local()).unwrap();
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls).unwrap();
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(quinn_transport());
    endpoint.set_default_client_config(config);
    endpoint
}

/// A Tercel client and a quinn server, connected.
struct ToQuinn {
    client: Connection,
    server: quinn::Connection,
    endpoint: Endpoint,
    quinn: quinn::Endpoint,
}

async fn to_quinn() -> ToQuinn {
    let certificate = Certificate::new("localhost");
    let quinn = quinn_server(&certificate);
    let endpoint = Endpoint::client().unwrap();
    let connecting = endpoint.connect(&tercel_client(&certificate), quinn.local_addr().unwrap(), "localhost").unwrap();
    let accepting = async { quinn.accept().await.unwrap().await.unwrap() };
    let (client, server) = soon("the handshake", async { tokio::join!(connecting, accepting) }).await;
    ToQuinn { client: client.unwrap(), server, endpoint, quinn }
}

/// A quinn client and a Tercel server, connected.
struct FromQuinn {
    client: quinn::Connection,
    server: Connection,
    endpoint: Endpoint,
    quinn: quinn::Endpoint,
}

async fn from_quinn() -> FromQuinn {
    from_quinn_with(RegistrationConfig::default()).await
}

async fn from_quinn_with(config: RegistrationConfig) -> FromQuinn {
    let certificate = Certificate::new("localhost");
    let registration = Registration::new(config).unwrap();
    let endpoint = Endpoint::of(registration).listen(&tercel_server(&certificate), local()).unwrap();
    let quinn = quinn_client(quinn_client_tls(&certificate));
    let connecting = quinn.connect(endpoint.local_address().unwrap(), "localhost").unwrap();
    let accepting = async { endpoint.accept().await.unwrap().accept().unwrap().await.unwrap() };
    let (client, server) = soon("the handshake", async { tokio::join!(connecting, accepting) }).await;
    FromQuinn { client: client.unwrap(), server, endpoint, quinn }
}

/// Bytes that differ everywhere.
fn pattern(len: usize) -> Bytes {
    (0..len).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// Sends `len` bytes from a quinn connection to a Tercel one.
async fn quinn_sends(from: &quinn::Connection, to: &Connection, data: &Bytes) {
    let sending = async {
        let mut stream = from.open_uni().await.unwrap();
        stream.write_chunk(data.clone()).await.unwrap();
        stream.finish().unwrap();
        let _ = stream.stopped().await;
    };
    let receiving = async {
        let mut stream = to.accept_uni().await.unwrap();
        let mut at = 0;
        while let Some(chunk) = stream.read_chunk(usize::MAX).await.unwrap() {
            assert!(data[at..at + chunk.len()] == chunk[..], "wrong bytes at {at}");
            at += chunk.len();
        }
        assert_eq!(at, data.len());
    };
    soon("a transfer from quinn", async { tokio::join!(sending, receiving) }).await;
}

async fn tercel_sends(from: &Connection, to: &quinn::Connection, data: &Bytes) {
    let sending = async {
        let mut stream = from.open_uni().await.unwrap();
        stream.write_chunk(data.clone()).await.unwrap();
        stream.finish().unwrap();
        stream.stopped().await.unwrap();
    };
    let receiving = async {
        let mut stream = to.accept_uni().await.unwrap();
        let mut at = 0;
        while let Some(chunk) = stream.read_chunk(usize::MAX, true).await.unwrap() {
            assert!(data[at..at + chunk.bytes.len()] == chunk.bytes[..], "wrong bytes at {at}");
            at += chunk.bytes.len();
        }
        assert_eq!(at, data.len());
    };
    soon("a transfer to quinn", async { tokio::join!(sending, receiving) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_mebibytes_each_way() {
    let data = pattern(BULK);
    let pair = to_quinn().await;
    tercel_sends(&pair.client, &pair.server, &data).await;
    quinn_sends(&pair.server, &pair.client, &data).await;
    let pair = from_quinn().await;
    quinn_sends(&pair.client, &pair.server, &data).await;
    tercel_sends(&pair.server, &pair.client, &data).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_streams_at_once() {
    let question = |at: usize| pattern(100 + at * 7);
    // A Tercel client asks quinn.
    let pair = to_quinn().await;
    let server = pair.server.clone();
    tokio::spawn(async move {
        while let Ok((mut send, mut recv)) = server.accept_bi().await {
            tokio::spawn(async move {
                let data = recv.read_to_end(1 << 20).await.unwrap();
                send.write_all(&data).await.unwrap();
                send.finish().unwrap();
            });
        }
    });
    let mut tasks = Vec::new();
    for at in 0..STREAMS {
        let client = pair.client.clone();
        tasks.push(tokio::spawn(async move {
            let (mut send, mut recv) = client.open_bi().await.unwrap();
            send.write_all(&question(at)).await.unwrap();
            send.finish().unwrap();
            assert!(recv.read_to_end(1 << 20).await.unwrap() == question(at));
        }));
    }
    for task in tasks {
        soon("a stream to quinn", task).await.unwrap();
    }
    // A quinn client asks Tercel.
    let pair = from_quinn().await;
    let server = pair.server.clone();
    tokio::spawn(async move {
        while let Ok((mut send, mut recv)) = server.accept_bi().await {
            tokio::spawn(async move {
                let data = recv.read_to_end(1 << 20).await.unwrap();
                send.write_all(&data).await.unwrap();
                send.finish().unwrap();
            });
        }
    });
    let mut tasks = Vec::new();
    for at in 0..STREAMS {
        let client = pair.client.clone();
        tasks.push(tokio::spawn(async move {
            let (mut send, mut recv) = client.open_bi().await.unwrap();
            send.write_all(&question(at)).await.unwrap();
            send.finish().unwrap();
            assert!(recv.read_to_end(1 << 20).await.unwrap() == question(at));
        }));
    }
    for task in tasks {
        soon("a stream from quinn", task).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
// RFC 9000 section 8.1.2#1.
async fn retry() {
    // quinn asks for a Retry.
    let certificate = Certificate::new("localhost");
    let quinn = quinn_server(&certificate);
    let endpoint = Endpoint::client().unwrap();
    let connecting = endpoint.connect(&tercel_client(&certificate), quinn.local_addr().unwrap(), "localhost").unwrap();
    let accepting = async {
        let first = quinn.accept().await.unwrap();
        assert!(!first.remote_address_validated());
        first.retry().unwrap();
        let second = quinn.accept().await.unwrap();
        assert!(second.remote_address_validated());
        second.await.unwrap()
    };
    let (client, server) = soon("a handshake with Retry", async { tokio::join!(connecting, accepting) }).await;
    tercel_sends(&client.unwrap(), &server, &pattern(100_000)).await;
    // Tercel does.
    let mut config = RegistrationConfig::default();
    config.retry = RetryPolicy::Always;
    let pair = from_quinn_with(config).await;
    quinn_sends(&pair.client, &pair.server, &pattern(100_000)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_updated_by_either_end_in_mid_transfer() {
    let data = pattern(8 << 20);
    let pair = to_quinn().await;
    for ours in [true, false, true, false] {
        let before = pair.client.stats().key_updates;
        let updating = async {
            while pair.client.stats().key_updates == before {
                // Too soon after the last update it does nothing (RFC 9001 section 6.5).
                match ours {
                    true => pair.client.handle().update_keys().unwrap(),
                    false => pair.server.force_key_update(),
                }
                tercel_sends(&pair.client, &pair.server, &data).await;
                quinn_sends(&pair.server, &pair.client, &data).await;
            }
        };
        soon("a key update", updating).await;
    }
    let pair = from_quinn().await;
    for ours in [true, false, true, false] {
        let before = pair.server.stats().key_updates;
        let updating = async {
            while pair.server.stats().key_updates == before {
                match ours {
                    true => pair.server.handle().update_keys().unwrap(),
                    false => pair.client.force_key_update(),
                }
                quinn_sends(&pair.client, &pair.server, &data).await;
                tercel_sends(&pair.server, &pair.client, &data).await;
            }
        };
        soon("a key update", updating).await;
    }
}

/// Forwards datagrams between whoever speaks to the address that it returns and whoever `to` names.
async fn forward(to: tokio::sync::watch::Receiver<SocketAddr>) -> SocketAddr {
    let [inside, outside] =
        [tokio::net::UdpSocket::bind(local()).await.unwrap(), tokio::net::UdpSocket::bind(local()).await.unwrap()];
    let address = inside.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
        let mut client = None;
        loop {
            tokio::select! {
                Ok((len, from)) = inside.recv_from(&mut up) => {
                    client = Some(from);
                    let server = *to.borrow();
                    outside.send_to(&up[..len], server).await.unwrap();
                }
                Ok((len, from)) = outside.recv_from(&mut down) => {
                    if let Some(client) = client && from == *to.borrow() {
                        inside.send_to(&down[..len], client).await.unwrap();
                    }
                }
            }
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_forgot_says_so_by_a_stateless_reset() {
    // A Tercel server is replaced by one that knows nothing but the secret.
    let certificate = Certificate::new("localhost");
    let [first, second] = [0; 2].map(|_| {
        let mut config = RegistrationConfig::default();
        config.secret = Some([7; 32]);
        let registration = Registration::new(config).unwrap();
        Endpoint::of(registration).listen(&tercel_server(&certificate), local()).unwrap()
    });
    let (to, turn) = tokio::sync::watch::channel(first.local_address().unwrap());
    let quinn = quinn_client(quinn_client_tls(&certificate));
    let connecting = quinn.connect(forward(turn).await, "localhost").unwrap();
    let accepting = async { first.accept().await.unwrap().accept().unwrap().await.unwrap() };
    let (client, server) = soon("the handshake", async { tokio::join!(connecting, accepting) }).await;
    let client = client.unwrap();
    quinn_sends(&client, &server, &pattern(10_000)).await;
    to.send(second.local_address().unwrap()).unwrap();
    let begun = Instant::now();
    let sending = async {
        let mut stream = client.open_uni().await.unwrap();
        let _ = stream.write_all(&pattern(100_000)).await;
        client.closed().await
    };
    assert_eq!(soon("a reset for quinn", sending).await, quinn::ConnectionError::Reset);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());

    // A quinn server is replaced by one that knows nothing but the key.
    let certificate = Certificate::new("localhost");
    let mut endpoint_config = quinn::EndpointConfig::default();
    // By default quinn makes IDs that no other endpoint takes for its own.
    endpoint_config.cid_generator(|| Box::new(quinn_proto::RandomConnectionIdGenerator::new(8)));
    let runtime = || Arc::new(quinn::TokioRuntime);
    let begin = |socket: std::net::UdpSocket| {
        let config = quinn_server_config(quinn_server_tls(&certificate));
        quinn::Endpoint::new(endpoint_config.clone(), Some(config), socket, runtime()).unwrap()
    };
    let [first, second] = [0; 2].map(|_| begin(std::net::UdpSocket::bind(local()).unwrap()));
    let (to, turn) = tokio::sync::watch::channel(first.local_addr().unwrap());
    let address = forward(turn).await;
    let endpoint = Endpoint::client().unwrap();
    let connecting = endpoint.connect(&tercel_client(&certificate), address, "localhost").unwrap();
    let accepting = async { first.accept().await.unwrap().await.unwrap() };
    let (client, server) = soon("the handshake", async { tokio::join!(connecting, accepting) }).await;
    let client = client.unwrap();
    tercel_sends(&client, &server, &pattern(10_000)).await;
    to.send(second.local_addr().unwrap()).unwrap();
    // An acknowledgement may have had its reset before anything is sent.
    let sending = async {
        if let Ok(mut stream) = client.open_uni().await {
            let _ = stream.write_all(&pattern(100_000)).await;
        }
        client.closed().await
    };
    assert_eq!(soon("a reset for Tercel", sending).await, CloseReason::StatelessReset);
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn datagrams_both_ways() {
    for from in [false, true] {
        let (ours, theirs, _keep);
        if from {
            let pair = from_quinn().await;
            (ours, theirs) = (pair.server, pair.client);
            _keep = (pair.endpoint, pair.quinn);
        } else {
            let pair = to_quinn().await;
            (ours, theirs) = (pair.client, pair.server);
            _keep = (pair.endpoint, pair.quinn);
        }
        assert!(theirs.max_datagram_size().is_some_and(|size| size >= 1000));
        for at in 0..50 {
            let data = pattern(at * 20);
            ours.send_datagram(data.clone()).unwrap();
            assert_eq!(soon("a datagram to quinn", theirs.read_datagram()).await.unwrap(), data);
            theirs.send_datagram(data.clone()).unwrap();
            assert_eq!(soon("a datagram from quinn", ours.read_datagram()).await.unwrap(), data);
        }
        let sent = ours.send_datagram_with(pattern(100), DatagramPriority::Urgent).unwrap();
        assert_eq!(soon("an acknowledgement", sent).await, DatagramSendState::Acknowledged);
        let large = ours.send_datagram_with(pattern(70_000), DatagramPriority::Normal).unwrap();
        assert_eq!(soon("a refusal", large).await, DatagramSendState::Canceled);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_and_reasons_of_a_close_arrive() {
    for (tercel_closes, from) in [(true, true), (true, false), (false, true), (false, false)] {
        let (ours, theirs, _keep);
        if from {
            let pair = from_quinn().await;
            (ours, theirs) = (pair.server, pair.client);
            _keep = (pair.endpoint, pair.quinn);
        } else {
            let pair = to_quinn().await;
            (ours, theirs) = (pair.client, pair.server);
            _keep = (pair.endpoint, pair.quinn);
        }
        if tercel_closes {
            ours.close(4_000_000u32.into(), b"had enough");
            match soon("quinn hears of the close", theirs.closed()).await {
                quinn::ConnectionError::ApplicationClosed(close) => {
                    assert_eq!(close.error_code.into_inner(), 4_000_000);
                    assert_eq!(close.reason, "had enough");
                }
                other => panic!("{other:?}"),
            }
        } else {
            theirs.close(77u32.into(), b"good bye");
            let reason = CloseReason::PeerApplication { code: 77u32.into(), reason: Bytes::from_static(b"good bye") };
            assert_eq!(soon("Tercel hears of the close", ours.closed()).await, reason);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_move_in_mid_transfer() {
    let data = pattern(20 << 20);
    // A Tercel client.
    let pair = to_quinn().await;
    pair.client.handshake_confirmed().await.unwrap();
    let before = pair.server.remote_address();
    let moving = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        pair.client.rebind(local()).unwrap();
    };
    tokio::join!(tercel_sends(&pair.client, &pair.server, &data), moving);
    assert_ne!(pair.server.remote_address(), before);
    quinn_sends(&pair.server, &pair.client, &data).await;
    // A quinn client.
    let pair = from_quinn().await;
    let before = pair.server.remote_address();
    let moving = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        pair.quinn.rebind(std::net::UdpSocket::bind(local()).unwrap()).unwrap();
    };
    tokio::join!(quinn_sends(&pair.client, &pair.server, &data), moving);
    assert_ne!(pair.server.remote_address(), before);
    tercel_sends(&pair.server, &pair.client, &data).await;
}

/// Where a client may go on from beside where it is: to quinn's server when its path is cut, and when its address is taken
/// away.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_several_addresses_stays_with_quinn() {
    let certificate = Certificate::new("localhost");
    let quinn = quinn_server(&certificate);
    let nowhere = std::net::UdpSocket::bind(local()).unwrap();
    let to = [quinn.local_addr().unwrap(), nowhere.local_addr().unwrap()];
    let is_cut = Arc::new(AtomicBool::default());
    let cut = is_cut.clone();
    let way = Balancer::new(Box::new(move |flow, _, _| to[usize::from(flow == 0 && cut.load(Ordering::Relaxed))]));
    let endpoint = Endpoint::client().unwrap();
    let connecting = endpoint.connect(&tercel_client(&certificate), way.address(), "localhost").unwrap();
    let accepting = async { quinn.accept().await.unwrap().await.unwrap() };
    let (client, server) = soon("the handshake", async { tokio::join!(connecting, accepting) }).await;
    let client = client.unwrap();
    let data = pattern(4 << 20);
    let first = client.local_address();
    for host in [2, 3] {
        let other = client.add_local_address(([127, 0, 0, host], 0).into()).unwrap();
        let is_ready = move |path: &PathStats| path.local == Some(other) && path.state == PathState::Ready;
        let readiness =
            async { while !client.inspect(move |look| look.paths().iter().any(is_ready)).await.unwrap() {} };
        soon("a path in readiness", readiness).await;
        let before = server.remote_address();
        match host {
            2 => is_cut.store(true, Ordering::Relaxed),
            _ => client.remove_local_address(client.local_address()).unwrap(),
        }
        tercel_sends(&client, &server, &data).await;
        quinn_sends(&server, &client, &data).await;
        assert_eq!(client.local_addresses(), [other, first]);
        assert_ne!(server.remote_address(), before);
    }
}

/// RFC 9000 section 9.6. quinn's own client does not act on one.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_client_goes_to_the_preferred_address_of_quinn() {
    let certificate = Certificate::new("localhost");
    let quinn = quinn::Endpoint::server(quinn_server_config(quinn_server_tls(&certificate)), any_local()).unwrap();
    let port = quinn.local_addr().unwrap().port();
    let [first, preferred] = [1, 2].map(|host| std::net::SocketAddrV4::new([127, 0, 0, host].into(), port));
    let mut config = quinn_server_config(quinn_server_tls(&certificate));
    config.preferred_address_v4(Some(preferred));
    quinn.set_server_config(Some(config));
    let endpoint = Endpoint::client().unwrap();
    let connecting = endpoint.connect(&tercel_client(&certificate), first.into(), "localhost").unwrap();
    let accepting = async { quinn.accept().await.unwrap().await.unwrap() };
    let (client, server) = soon("the handshake", async { tokio::join!(connecting, accepting) }).await;
    let client = client.unwrap();
    let data = pattern(1 << 20);
    let arrives = async {
        while client.handle().remote_address() != SocketAddr::from(preferred) {
            tercel_sends(&client, &server, &pattern(1000)).await;
        }
    };
    soon("the move", arrives).await;
    tercel_sends(&client, &server, &data).await;
    quinn_sends(&server, &client, &data).await;
    // And on from there, to another port of its own.
    client.migrate(any_local()).unwrap();
    tercel_sends(&client, &server, &data).await;
    quinn_sends(&server, &client, &data).await;
    assert_eq!(client.handle().remote_address(), SocketAddr::from(preferred));
}

fn any_local() -> SocketAddr {
    "0.0.0.0:0".parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_that_fail_say_why_at_both_ends() {
    let certificate = Certificate::new("localhost");
    // No common protocol.
    let quinn = quinn_server(&certificate);
    let address = quinn.local_addr().unwrap();
    let endpoint = Endpoint::client().unwrap();
    let other = Configuration::client(&["other"], settings(), Trust::Pinned(certificate.identity().fingerprint()));
    let connecting = endpoint.connect(&other.unwrap(), address, "localhost").unwrap();
    let accepting = async { quinn.accept().await.unwrap().await };
    let (ours, theirs) = soon("a refusal", async { tokio::join!(connecting, accepting) }).await;
    let alert = |alert| TransportErrorCode::crypto(alert);
    assert!(
        matches!(ours, Err(ConnectError::Connection(CloseReason::PeerTransport { code, .. })) if code == alert(120))
    );
    assert!(theirs.is_err());
    // A certificate that the client does not trust.
    let stranger = Certificate::new("elsewhere");
    let connecting = endpoint.connect(&tercel_client(&stranger), address, "localhost").unwrap();
    let accepting = async { quinn.accept().await.unwrap().await };
    let (ours, theirs) = soon("a refusal", async { tokio::join!(connecting, accepting) }).await;
    assert!(matches!(ours, Err(ConnectError::Connection(CloseReason::Violation(_)))), "{ours:?}");
    match theirs.unwrap_err() {
        quinn::ConnectionError::ConnectionClosed(close) => {
            assert_eq!(u64::from(close.error_code), 0x100 + 49);
        }
        other => panic!("{other:?}"),
    }
    // The other way around.
    let endpoint = Endpoint::server(&tercel_server(&certificate), local()).unwrap();
    let address = endpoint.local_address().unwrap();
    for (certificate, protocol, tells) in [(&certificate, &b"other"[..], 120), (&stranger, ALPN, 48)] {
        let mut tls = quinn_client_tls(certificate);
        tls.alpn_protocols = vec![protocol.to_vec()];
        let quinn = quinn_client(tls);
        let connecting = quinn.connect(address, "localhost").unwrap();
        if protocol == ALPN {
            let accepting = async { endpoint.accept().await.unwrap().accept().unwrap().await };
            let (theirs, ours) = soon("a refusal", async { tokio::join!(connecting, accepting) }).await;
            assert!(theirs.is_err());
            let Err(ConnectError::Connection(CloseReason::PeerTransport { code, .. })) = ours else {
                panic!("{ours:?}")
            };
            assert!(code == alert(tells) || code == alert(51), "{code}");
        } else {
            match soon("a refusal", connecting).await.unwrap_err() {
                quinn::ConnectionError::ConnectionClosed(close) => {
                    assert_eq!(u64::from(close.error_code), 0x100 + u64::from(tells));
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ends_show_certificates() {
    let (server, client) = (Certificate::new("localhost"), Certificate::new("client"));
    // A Tercel server asks a quinn client.
    let credential =
        ServerCredential { identity: server.identity(), clients: ClientAuthentication::Required(client.roots()) };
    let configuration = Configuration::server(&[ALPN], settings(), credential).unwrap();
    let endpoint = Endpoint::server(&configuration, local()).unwrap();
    let mut tls = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(server.roots())
        .with_client_auth_cert(vec![client.der.clone()], client.key.clone_key())
        .unwrap();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let quinn = quinn_client(tls);
    let connecting = quinn.connect(endpoint.local_address().unwrap(), "localhost").unwrap();
    let accepting = async { endpoint.accept().await.unwrap().accept().unwrap().await.unwrap() };
    let (theirs, ours) = soon("mutual TLS", async { tokio::join!(connecting, accepting) }).await;
    quinn_sends(&theirs.unwrap(), &ours, &pattern(50_000)).await;
    // A quinn server asks a Tercel client.
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(client.roots(), provider()).build();
    let mut tls = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(verifier.unwrap())
        .with_single_cert(vec![server.der.clone()], server.key.clone_key())
        .unwrap();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let quinn = quinn::Endpoint::server(quinn_server_config(tls), local()).unwrap();
    let credential =
        ClientCredential { trust: Trust::Pinned(server.identity().fingerprint()), identity: Some(client.identity()) };
    let configuration = Configuration::client(&[ALPN], settings(), credential).unwrap();
    let endpoint = Endpoint::client().unwrap();
    let connecting = endpoint.connect(&configuration, quinn.local_addr().unwrap(), "localhost").unwrap();
    let accepting = async { quinn.accept().await.unwrap().await.unwrap() };
    let (ours, theirs) = soon("mutual TLS", async { tokio::join!(connecting, accepting) }).await;
    tercel_sends(&ours.unwrap(), &theirs, &pattern(50_000)).await;
}

/// A second connection resumes and sends with its first flight.
#[tokio::test(flavor = "multi_thread")]
async fn early_data() {
    let certificate = Certificate::new("localhost");
    let quinn = quinn_server(&certificate);
    let address = quinn.local_addr().unwrap();
    let endpoint = Endpoint::client().unwrap();
    let configuration = tercel_client(&certificate);
    for resumes in [false, true] {
        let connecting = endpoint.connect(&configuration, address, "localhost").unwrap();
        let early = connecting.early();
        let asking = async {
            if resumes {
                let mut stream = early.open_uni().await.unwrap();
                stream.write_all(b"early").await.unwrap();
                stream.finish().unwrap();
            }
            let connection = connecting.await.unwrap();
            assert_eq!((connection.is_resumed(), connection.is_early_data_accepted()), (resumes, resumes));
            if resumes {
                return connection;
            }
            // The ticket comes behind the handshake; the answer shows that it has come.
            let (mut send, mut recv) = connection.open_bi().await.unwrap();
            send.write_all(b"late").await.unwrap();
            send.finish().unwrap();
            assert_eq!(recv.read_to_end(10).await.unwrap(), b"late");
            connection
        };
        let serving = async {
            let connection = quinn.accept().await.unwrap().await.unwrap();
            if resumes {
                let mut stream = connection.accept_uni().await.unwrap();
                assert_eq!(stream.read_to_end(10).await.unwrap(), b"early");
            } else {
                let (mut send, mut recv) = connection.accept_bi().await.unwrap();
                send.write_all(&recv.read_to_end(10).await.unwrap()).await.unwrap();
                send.finish().unwrap();
            }
            connection
        };
        let (ours, _theirs) = soon("an exchange", async { tokio::join!(asking, serving) }).await;
        ours.close(0u32.into(), b"");
    }
}

/// The other way around: a quinn client resumes at a Tercel server.
#[tokio::test(flavor = "multi_thread")]
async fn early_data_from_quinn() {
    let certificate = Certificate::new("localhost");
    let endpoint = Endpoint::server(&tercel_server(&certificate), local()).unwrap();
    let mut tls = quinn_client_tls(&certificate);
    tls.enable_early_data = true;
    let quinn = quinn_client(tls);
    for resumes in [false, true] {
        let serving = async {
            let connection = endpoint.accept().await.unwrap().accept().unwrap().await.unwrap();
            let (mut send, mut recv) = connection.accept_bi().await.unwrap();
            send.write_all(&recv.read_to_end(10).await.unwrap()).await.unwrap();
            send.finish().unwrap();
            connection
        };
        let asking = async {
            let connecting = quinn.connect(endpoint.local_address().unwrap(), "localhost").unwrap();
            let (connection, accepted) = match connecting.into_0rtt() {
                Ok((connection, accepted)) => (connection, Some(accepted)),
                Err(connecting) => (connecting.await.unwrap(), None),
            };
            assert_eq!(accepted.is_some(), resumes);
            let (mut send, mut recv) = connection.open_bi().await.unwrap();
            send.write_all(b"early?").await.unwrap();
            send.finish().unwrap();
            assert_eq!(recv.read_to_end(10).await.unwrap(), b"early?");
            if let Some(accepted) = accepted {
                assert!(accepted.await);
            }
            connection
        };
        let (ours, theirs) = soon("an exchange", async { tokio::join!(serving, asking) }).await;
        assert_eq!((ours.is_resumed(), ours.is_early_data_accepted()), (resumes, resumes));
        theirs.close(0u32.into(), b"");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_ends_a_connection_and_keep_alive_prevents_it() {
    const IDLE: Duration = Duration::from_millis(400);
    let certificate = Certificate::new("localhost");
    for keep_alive in [None, Some(IDLE / 4)] {
        // quinn would wait for 20 seconds; the smaller value holds at both ends.
        let settings = Settings { max_idle_timeout: IDLE, keep_alive, ..settings() };
        let (to, from) = (quinn_server(&certificate), quinn_client(quinn_client_tls(&certificate)));
        let trust = Trust::Pinned(certificate.identity().fingerprint());
        let client = Configuration::client(&[ALPN], settings.clone(), trust).unwrap();
        let server = Configuration::server(&[ALPN], settings, certificate.identity()).unwrap();
        let endpoint = Endpoint::server(&server, local()).unwrap();
        let pairs = async {
            tokio::join!(
                endpoint.connect(&client, to.local_addr().unwrap(), "localhost").unwrap(),
                async { to.accept().await.unwrap().await.unwrap() },
                async { endpoint.accept().await.unwrap().accept().unwrap().await.unwrap() },
                from.connect(endpoint.local_address().unwrap(), "localhost").unwrap(),
            )
        };
        let (ours, theirs, our_server, their_client) = soon("two handshakes", pairs).await;
        let pairs = [(ours.unwrap(), theirs), (our_server, their_client.unwrap())];
        if keep_alive.is_some() {
            tokio::time::sleep(4 * IDLE).await;
            for (ours, theirs) in &pairs {
                assert_eq!((ours.close_reason(), theirs.close_reason()), (None, None));
            }
            continue;
        }
        let begun = Instant::now();
        for (ours, theirs) in &pairs {
            assert_eq!(soon("an end", ours.closed()).await, CloseReason::IdleTimeout);
            assert_eq!(soon("an end", theirs.closed()).await, quinn::ConnectionError::TimedOut);
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    }
}

/// draft-ietf-quic-ack-frequency: quinn is asked for fewer acknowledgements, and gives them.
#[tokio::test(flavor = "multi_thread")]
async fn quinn_acknowledges_as_it_is_asked() {
    let certificate = Certificate::new("localhost");
    let quinn = quinn_server(&certificate);
    let endpoint = Endpoint::client().unwrap();
    let settings = Settings { ack_frequency: true, ..settings() };
    let trust = Trust::Pinned(certificate.identity().fingerprint());
    let configuration = Configuration::client(&[ALPN], settings, trust).unwrap();
    let connecting = endpoint.connect(&configuration, quinn.local_addr().unwrap(), "localhost").unwrap();
    let accepting = async { quinn.accept().await.unwrap().await.unwrap() };
    let (client, server) = soon("the handshake", async { tokio::join!(connecting, accepting) }).await;
    let client = client.unwrap();
    tercel_sends(&client, &server, &pattern(20 << 20)).await;
    let stats = server.stats();
    assert!(stats.frame_rx.ack_frequency > 0, "{:?}", stats.frame_rx);
    let (sent, acks) = (client.stats().packets_sent, stats.frame_tx.acks);
    assert!(acks * 3 < sent, "{acks} acknowledgements of {sent} packets");
    client.close(0u32.into(), b"");
}

/// And the other way around.
#[tokio::test(flavor = "multi_thread")]
async fn quinn_asks_for_acknowledgements() {
    let certificate = Certificate::new("localhost");
    let endpoint = Endpoint::of(Registration::new(RegistrationConfig::default()).unwrap())
        .listen(&tercel_server(&certificate), local())
        .unwrap();
    let mut asks = quinn::AckFrequencyConfig::default();
    asks.ack_eliciting_threshold(19u32.into()).reordering_threshold(3u32.into());
    let mut transport = quinn::TransportConfig::default();
    transport.ack_frequency_config(Some(asks));
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(quinn_client_tls(&certificate)).unwrap();
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport));
    let quinn = quinn::Endpoint::client(local()).unwrap();
    let connecting = quinn.connect_with(config, endpoint.local_address().unwrap(), "localhost").unwrap();
    let accepting = async { endpoint.accept().await.unwrap().accept().unwrap().await.unwrap() };
    let (client, server) = soon("the handshake", async { tokio::join!(connecting, accepting) }).await;
    let client = client.unwrap();
    quinn_sends(&client, &server, &pattern(20 << 20)).await;
    let stats = client.stats();
    assert!(stats.frame_tx.ack_frequency > 0, "{:?}", stats.frame_tx);
    let (sent, acks) = (stats.path.sent_packets, stats.frame_rx.acks);
    assert!(acks * 5 < sent, "{acks} acknowledgements of {sent} packets");
    client.close(0u32.into(), b"");
}
