//! Versions of QUIC over real UDP, on the async face: what settings bring about, and that a client comes back
//! in the version that it left with.

use std::net::SocketAddr;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tercel::aio::{ConnectError, Connection, Endpoint};
use tercel::{
    Bytes, CloseReason, Configuration, Connect, Identity, Registration, RegistrationConfig, RetryPolicy, Settings,
    Trust, Version,
};

const V1: Version = Version::V1;
const V2: Version = Version::V2;
const ALPN: &[&str] = &["test"];
const PATIENCE: Duration = Duration::from_secs(20);

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("too late: {what}"))
}

fn settings(versions: &[Version]) -> Settings {
    Settings { versions: versions.to_vec(), ..Settings::default() }
}

/// A server that echoes what comes on streams.
struct Server {
    _endpoint: Endpoint,
    address: SocketAddr,
    identity: Identity,
    trusted: CertificateDer<'static>,
}

/// A server that lets clients begin with some versions and prefers others.
fn serve(acceptable: &[Version], preferred: &[Version]) -> Server {
    serve_with(acceptable, preferred, None)
}

/// The same, with the certificate of another.
fn serve_with(acceptable: &[Version], preferred: &[Version], same: Option<&Server>) -> Server {
    let mut config = RegistrationConfig::default();
    config.versions = acceptable.to_vec();
    start(config, preferred, same)
}

/// The same, with a Retry for everybody who brings no token.
fn serve_retrying(preferred: &[Version]) -> Server {
    let mut config = RegistrationConfig::default();
    config.retry = RetryPolicy::Always;
    start(config, preferred, None)
}

fn start(mut config: RegistrationConfig, preferred: &[Version], same: Option<&Server>) -> Server {
    let (identity, trusted) = match same {
        Some(server) => (server.identity.clone(), server.trusted.clone()),
        None => {
            let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
            let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
            let identity = Identity::new(vec![made.cert.der().clone()], key.into()).unwrap();
            (identity, made.cert.der().clone())
        }
    };
    let configuration = Configuration::server(ALPN, settings(preferred), identity.clone()).unwrap();
    configuration.set_ticket_keys(&[[7; 32]]).unwrap();
    config.workers = 1;
    let registration = Registration::new(config).unwrap();
    let endpoint = Endpoint::of(registration).listen(&configuration, "127.0.0.1:0".parse().unwrap()).unwrap();
    let address = endpoint.local_address().unwrap();
    let accepting = endpoint.clone();
    tokio::spawn(async move {
        while let Some(incoming) = accepting.accept().await {
            tokio::spawn(async move {
                let Ok(connecting) = incoming.accept() else { return };
                let Ok(connection) = connecting.await else { return };
                while let Ok((mut send, mut receive)) = connection.accept_bi().await {
                    let Ok(data) = receive.read_to_end(100_000).await else { return };
                    let _ = send.write_all(&data).await;
                    let _ = send.finish();
                }
            });
        }
    });
    Server { _endpoint: endpoint, address, identity, trusted }
}

fn client(server: &Server, versions: &[Version]) -> Configuration {
    let trust = Trust::roots([server.trusted.clone()]).unwrap();
    Configuration::client(ALPN, settings(versions), trust).unwrap()
}

/// What a connection came to.
struct Met {
    connection: Connection,
    original: Version,
}

impl Met {
    fn versions(&self) -> (Version, Version) {
        (self.original, self.connection.version().unwrap())
    }

    fn resumed(&self) -> (bool, bool) {
        (self.connection.is_resumed(), self.connection.is_early_data_accepted())
    }

    async fn retried(&self) -> bool {
        let (tell, heard) = tokio::sync::oneshot::channel();
        let look = move |look: &tercel::connection::Inspect<'_>| {
            let _ = tell.send(look.was_retried());
        };
        self.connection.handle().inspect(look).unwrap();
        heard.await.unwrap()
    }
}

async fn meet(from: &Endpoint, configuration: &Configuration, connect: Connect) -> Result<Met, ConnectError> {
    let connecting = from.connect_with(configuration, connect)?;
    let early = connecting.early();
    let echo = tokio::spawn(async move {
        let (mut send, mut receive) = early.open_bi().await.ok()?;
        send.write_all(&[7; 3_000]).await.ok()?;
        send.finish().ok()?;
        receive.read_to_end(10_000).await.ok()
    });
    let connection = soon("the handshake", connecting).await?;
    assert_eq!(soon("the echo", echo).await.unwrap().unwrap(), [7; 3_000]);
    let (tell, heard) = tokio::sync::oneshot::channel();
    connection
        .handle()
        .inspect(move |look| {
            // Both faces tell the same.
            assert_eq!(look.peer_parameters().unwrap().version_information.as_ref().unwrap().chosen, look.version());
            let _ = tell.send(look.original_version());
        })
        .unwrap();
    let original = soon("a look", heard).await.unwrap();
    Ok(Met { connection, original })
}

fn to(server: &Server) -> Connect {
    Connect::new(server.address, "localhost")
}

#[tokio::test]
async fn settings_choose_the_version() {
    let from = Endpoint::client().unwrap();
    // With what clients may begin, what the server prefers, what the client speaks: with what it begins (at
    // last), and with what they go on.
    let cases: [Case; 11] = [
        (&[], &[], &[], Some((V1, V1))),
        (&[], &[], &[V2], Some((V2, V2))),
        (&[], &[], &[V2, V1], Some((V2, V2))),
        (&[], &[V2, V1], &[], Some((V1, V2))),
        (&[], &[V1, V2], &[V2, V1], Some((V2, V1))),
        (&[], &[V2, V1], &[V1], Some((V1, V1))),
        (&[V2], &[], &[], Some((V2, V2))),
        (&[V1], &[], &[V2, V1], Some((V1, V1))),
        // What clients may begin with is also what they can be moved to.
        (&[V1], &[V2, V1], &[], Some((V1, V1))),
        (&[V2], &[], &[V1], None),
        (&[V1], &[V2], &[V1], None),
    ];
    for (acceptable, preferred, speaks, expected) in cases {
        let server = serve(acceptable, preferred);
        let met = meet(&from, &client(&server, speaks), to(&server)).await;
        let case = format!("{acceptable:?} {preferred:?} {speaks:?}");
        match (met, expected) {
            (Ok(met), Some(expected)) => assert_eq!(met.versions(), expected, "{case}"),
            (Err(ConnectError::Connection(CloseReason::VersionMismatch)), None) => {}
            (Err(ConnectError::Connection(CloseReason::PeerTransport { code, .. })), None) => {
                assert_eq!(code, tercel::TransportErrorCode::VERSION_NEGOTIATION_ERROR, "{case}");
            }
            (Err(error), _) => panic!("{case}: {error}"),
            (Ok(met), None) => panic!("{case}: {:?}", met.versions()),
        }
    }
}

/// RFC 9369 section 5: who was moved to another version comes back in that, with its session and early data,
/// by what the configuration remembers as well as by a ticket as bytes; and is moved no more.
#[tokio::test]
// RFC 9369 section 5#1.
async fn a_client_comes_back_in_the_version_that_it_left_with() {
    let from = Endpoint::client().unwrap();
    for (original, other) in [(V1, V2), (V2, V1)] {
        let server = serve(&[], &[other, original]);
        let configuration = client(&server, &[original, other]);
        let first = meet(&from, &configuration, to(&server)).await.unwrap();
        assert_eq!((first.versions(), first.resumed()), ((original, other), (false, false)));
        let ticket = soon("a ticket", first.connection.resumption_ticket()).await.unwrap();
        assert_eq!(ticket.version(), other);
        let again = meet(&from, &configuration, to(&server)).await.unwrap();
        assert_eq!((again.versions(), again.resumed()), ((other, other), (true, true)), "by itself");
        let ticket = tercel::ResumptionTicket::from_bytes(&ticket.to_bytes()).unwrap();
        let mut connect = to(&server);
        connect.ticket = Some(ticket.clone());
        let elsewhere = client(&server, &[original, other]).without_session_cache();
        let again = meet(&from, &elsewhere, connect.clone()).await.unwrap();
        assert_eq!((again.versions(), again.resumed().0), ((other, other), true), "by its ticket");
        // A client that does not speak the version any more has no use for the ticket.
        let less = client(&server, &[original]).without_session_cache();
        let again = meet(&from, &less, connect).await.unwrap();
        assert_eq!((again.versions(), again.resumed()), ((original, original), (false, false)));
    }
}

/// A session that began in one version and a server that now prefers the other: early data are taken, and the
/// connection goes on in the other.
#[tokio::test]
async fn early_data_where_the_version_changes() {
    let from = Endpoint::client().unwrap();
    for (original, other) in [(V1, V2), (V2, V1)] {
        let server = serve(&[], &[original, other]);
        let configuration = client(&server, &[original, other]);
        let first = meet(&from, &configuration, to(&server)).await.unwrap();
        assert_eq!(first.versions(), (original, original));
        let ticket = soon("a ticket", first.connection.resumption_ticket()).await.unwrap();
        // Another server with the same certificate, keys of tickets and clients, that prefers the other.
        let moved = serve_with(&[], &[other, original], Some(&server));
        let mut connect = to(&moved);
        connect.ticket = Some(ticket);
        let again = meet(&from, &configuration.clone().without_session_cache(), connect).await.unwrap();
        assert_eq!((again.versions(), again.resumed()), ((original, other), (true, true)));
    }
}

/// Three lists of versions, and what comes of them.
type Case = (&'static [Version], &'static [Version], &'static [Version], Option<(Version, Version)>);

/// RFC 9369 section 5, for tokens: they save the Retry in their version only, and bring a client back in it.
#[tokio::test]
// RFC 9369 section 5#1#2.
async fn a_token_is_for_its_version() {
    let from = Endpoint::client().unwrap();
    for (original, other) in [(V1, V2), (V2, V1)] {
        let server = serve_retrying(&[other, original]);
        let both = client(&server, &[original, other]).without_resumption();
        let first = meet(&from, &both, to(&server)).await.unwrap();
        assert_eq!(first.versions(), (original, other));
        assert!(first.retried().await);
        let token = async {
            loop {
                match first.connection.token() {
                    Some(token) => return token,
                    None => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        };
        let mut connect = to(&server);
        connect.token = soon("a token", token).await;
        let again = meet(&from, &both, connect.clone()).await.unwrap();
        assert_eq!(again.versions(), (other, other));
        assert!(!again.retried().await);
        let again = meet(&from, &client(&server, &[original]).without_resumption(), connect.clone()).await.unwrap();
        assert_eq!(again.versions(), (original, original));
        assert!(again.retried().await);
        connect.token = Bytes::from_static(b"nonsense");
        assert!(meet(&from, &both, connect).await.unwrap().retried().await);
    }
}
