//! What can be chosen of TLS, seen at both ends of real connections.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};

use rustls::pki_types::PrivatePkcs8KeyDer;
use tercel::aio::{ConnectError, Connection, Endpoint};
use tercel::{
    Alert, Bytes, CipherSuite, ClientAuthentication, ClientCredential, CloseReason, Configuration, Connect, Ech,
    EchStatus, Error, Identity, KeyExchange, KeyLog, Registration, RegistrationConfig, ServerCredential, Settings,
    TlsSecrets, TransportErrorCode, Trust,
};

fn identity_for(names: &[&str]) -> Identity {
    let names = names.iter().map(ToString::to_string).collect::<Vec<_>>();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    Identity::new(vec![made.cert.der().clone()], key.into()).unwrap()
}

fn identity() -> Identity {
    identity_for(&["localhost"])
}

fn client(trust: impl Into<ClientCredential>) -> Configuration {
    Configuration::client(&["test"], Settings::default(), trust).unwrap()
}

fn server(credential: impl Into<ServerCredential>) -> Configuration {
    Configuration::server(&["test"], Settings::default(), credential).unwrap()
}

fn pair() -> (Configuration, Configuration) {
    let identity = identity();
    (client(Trust::Pinned(identity.fingerprint())), server(identity))
}

/// An endpoint on workers that all tests share, and that outlive them.
fn endpoint() -> Endpoint {
    static WORKERS: OnceLock<Registration> = OnceLock::new();
    Endpoint::of(WORKERS.get_or_init(|| Registration::new(RegistrationConfig::default()).unwrap()).clone())
}

fn listen(server: &Configuration) -> (Endpoint, SocketAddr) {
    let endpoint = endpoint().listen(server, "127.0.0.1:0".parse().unwrap()).unwrap();
    let address = endpoint.local_address().unwrap();
    (endpoint, address)
}

type Made = Result<Connection, ConnectError>;

/// Both ends of a connection, as they end their handshake.
async fn connect_with(
    client: &Configuration,
    server: &Configuration,
    change: impl FnOnce(&mut Connect),
) -> (Made, Made) {
    let (listener, address) = listen(server);
    let endpoint = self::endpoint();
    let mut connect = Connect::new(address, "localhost");
    change(&mut connect);
    let connecting = endpoint.connect_with(client, connect).unwrap();
    let accepting = async { listener.accept().await.unwrap().accept().unwrap().await };
    tokio::join!(connecting, accepting)
}

async fn connect(client: &Configuration, server: &Configuration) -> (Made, Made) {
    connect_with(client, server, |_| {}).await
}

async fn connected(client: &Configuration, server: &Configuration) -> (Connection, Connection) {
    let (ours, theirs) = connect(client, server).await;
    (ours.unwrap(), theirs.unwrap())
}

#[tokio::test]
async fn the_suites_that_are_allowed_are_used_in_the_servers_order() {
    use CipherSuite::{Aes128GcmSha256, Aes256GcmSha384, Chacha20Poly1305Sha256};
    let (client, server) = pair();
    for (ours, theirs, name) in [
        (&[Aes128GcmSha256][..], &[][..], "TLS13_AES_128_GCM_SHA256"),
        (&[], &[Chacha20Poly1305Sha256], "TLS13_CHACHA20_POLY1305_SHA256"),
        (&[Aes256GcmSha384, Aes128GcmSha256], &[], "TLS13_AES_256_GCM_SHA384"),
        (&[Aes256GcmSha384, Aes128GcmSha256], &[Aes128GcmSha256, Aes256GcmSha384], "TLS13_AES_128_GCM_SHA256"),
    ] {
        let choose = |configuration: &Configuration, suites: &[CipherSuite]| match suites {
            [] => configuration.clone(),
            suites => configuration.clone().with_cipher_suites(suites).unwrap(),
        };
        let (client, server) = connected(&choose(&client, ours), &choose(&server, theirs)).await;
        for end in [&client, &server] {
            assert_eq!(end.handshake_info().unwrap().tls.cipher_suite.1, name);
        }
    }
    let chacha = client.clone().with_cipher_suites(&[Chacha20Poly1305Sha256]).unwrap();
    let (_, refused) = connect(&chacha, &server.clone().with_cipher_suites(&[Aes128GcmSha256]).unwrap()).await;
    let ConnectError::Connection(CloseReason::Violation(violation)) = refused.unwrap_err() else { unreachable!() };
    assert_eq!(violation.code, TransportErrorCode::crypto(40), "handshake_failure");
    // A choice can be made again, and is then not one among those of the first choice.
    let again = chacha.with_cipher_suites(&[Aes256GcmSha384]).unwrap();
    let (again, _theirs) = connected(&again, &server).await;
    assert_eq!(again.handshake_info().unwrap().tls.cipher_suite.0, 0x1302);
}

#[tokio::test]
async fn no_session_goes_on_under_a_suite_that_is_not_allowed_any_more() {
    let (client, server) = pair();
    let (first, _theirs) = connected(&client, &server).await;
    let ticket = first.resumption_ticket().await.unwrap();
    assert_eq!(first.handshake_info().unwrap().tls.cipher_suite.1, "TLS13_AES_256_GCM_SHA384");
    let limited = client.clone().with_cipher_suites(&[CipherSuite::Aes128GcmSha256]).unwrap();
    let show = |connect: &mut Connect| connect.ticket = Some(ticket.clone());
    for (client, resumed) in [(&limited, false), (&client, true)] {
        let (ours, theirs) = connect_with(client, &server, show).await;
        assert_eq!([ours.unwrap(), theirs.unwrap()].map(|end| end.handshake_info().unwrap().resumed), [resumed; 2]);
    }
}

#[tokio::test]
async fn the_groups_that_are_allowed_are_used() {
    use KeyExchange::{Secp256r1, Secp384r1, X25519, X25519MlKem768};
    let (client, server) = pair();
    for (ours, theirs, name, again) in [
        (&[X25519][..], &[X25519MlKem768, X25519][..], "X25519", false),
        (&[Secp256r1], &[X25519, Secp256r1, Secp384r1], "secp256r1", false),
        (&[Secp384r1], &[Secp384r1], "secp384r1", false),
        (&[X25519MlKem768, X25519], &[X25519MlKem768], "X25519MLKEM768", false),
        // The client has sent a key for another group first.
        (&[X25519, Secp256r1], &[Secp256r1], "secp256r1", true),
    ] {
        let client = client.clone().with_key_exchange(ours).unwrap();
        let server = server.clone().with_key_exchange(theirs).unwrap();
        let (client, server) = connected(&client, &server).await;
        for end in [&client, &server] {
            let negotiated = end.handshake_info().unwrap().tls;
            assert_eq!((negotiated.key_exchange.unwrap().1, negotiated.hello_retry), (name, again));
        }
    }
}

#[test]
fn choices_that_cannot_be_are_refused() {
    let (client, _) = pair();
    let twice = [CipherSuite::Aes128GcmSha256; 2];
    for suites in [&[][..], &twice] {
        assert!(matches!(client.clone().with_cipher_suites(suites), Err(Error::InvalidArgument(_))));
    }
    for groups in [&[][..], &[KeyExchange::X25519; 2]] {
        assert!(matches!(client.clone().with_key_exchange(groups), Err(Error::InvalidArgument(_))));
    }
    let ready = Configuration::from_tls(client_tls(), None, Arc::default());
    assert!(matches!(ready.clone().with_cipher_suites(&[CipherSuite::Aes128GcmSha256]), Err(Error::Tls(_))));
    assert!(matches!(ready.with_ech(&Ech::Grease), Err(Error::Tls(_))));
    for list in [&b""[..], b"\0\0", b"nonsense", &ech_list(0xfe0c, b"public.example")] {
        let ech = Ech::Configs(Bytes::copy_from_slice(list));
        assert!(matches!(client.clone().with_ech(&ech), Err(Error::Tls(_))), "{list:?}");
    }
}

fn client_tls() -> Option<Arc<rustls::ClientConfig>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Some(Arc::new(builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()))
}

#[tokio::test]
async fn the_handshake_tells_what_was_agreed_on() {
    let (client, server) = pair();
    let (client, server) = connected(&client, &server).await;
    for end in [&client, &server] {
        let info = end.handshake_info().unwrap();
        assert_eq!(info.version, tercel::Version::V1);
        assert_eq!(info.tls.cipher_suite, (0x1302, "TLS13_AES_256_GCM_SHA384"));
        assert_eq!(info.tls.key_exchange, Some((0x11ec, "X25519MLKEM768")));
        assert_eq!(&info.alpn[..], b"test");
        assert_eq!((info.resumed, info.early_data_accepted, info.ech), (false, false, EchStatus::NotOffered));
        assert_eq!(end.handle().handshake_info().unwrap(), info);
    }
}

#[tokio::test]
async fn both_ends_export_the_same_keying_material_and_none_too_early() {
    let (client, server) = pair();
    let (listener, address) = listen(&server);
    let endpoint = self::endpoint();
    let connecting = endpoint.connect(&client, address, "localhost").unwrap();
    let early = connecting.early();
    assert_eq!(early.handshake_info(), None);
    // The server has not been asked to accept: the handshake cannot be complete.
    let mut out = [0; 32];
    let error = early.export_keying_material(&mut out, b"EXPORTER-test", b"").await.unwrap_err();
    assert_eq!(error.to_string(), "the handshake has not come far enough");
    let accepting = async { listener.accept().await.unwrap().accept().unwrap().await };
    let (ours, theirs) = tokio::join!(connecting, accepting);
    let (ours, theirs) = (ours.unwrap(), theirs.unwrap());
    let export = async |end: &Connection, label: &'static [u8], context: &'static [u8]| {
        let mut out = [0; 48];
        end.export_keying_material(&mut out, label, context).await.unwrap();
        out
    };
    let material = export(&ours, b"EXPORTER-test", b"context").await;
    assert_eq!(export(&theirs, b"EXPORTER-test", b"context").await, material);
    assert_ne!(export(&theirs, b"EXPORTER-test", b"").await, material);
    assert_ne!(export(&theirs, b"EXPORTER-other", b"context").await, material);
    // By the callback face, too.
    let (tell, told) = std::sync::mpsc::channel();
    let look = move |look: &tercel::connection::Inspect<'_>| {
        let mut out = [0; 48];
        tell.send(look.export_keying_material(&mut out, b"EXPORTER-test", b"context").map(|()| out)).unwrap();
    };
    ours.handle().inspect(look).unwrap();
    let by_callback = tokio::task::spawn_blocking(move || told.recv().unwrap()).await.unwrap();
    assert_eq!(by_callback.unwrap(), material);
    for len in [0, 255 * 48 + 1] {
        let error = ours.export_keying_material(&mut vec![0; len], b"l", b"").await.unwrap_err();
        assert!(matches!(error, Error::InvalidArgument(_)), "{error}");
    }
    ours.close(3u32.into(), b"");
    ours.closed().await;
    let error = ours.export_keying_material(&mut out, b"EXPORTER-test", b"").await.unwrap_err();
    assert_eq!(error.to_string(), "closed by this application with code 3");
}

/// A client's random and a secret.
type Logged = (Vec<u8>, Vec<u8>);

/// Secrets by label.
#[derive(Debug, Default)]
struct Log(Mutex<BTreeMap<String, Logged>>);

impl KeyLog for Log {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        self.0.lock().unwrap().insert(label.into(), (client_random.to_vec(), secret.to_vec()));
    }
}

#[tokio::test]
async fn logs_and_connections_keep_the_same_secrets() {
    let (client, server) = pair();
    let logs = [Arc::new(Log::default()), Arc::new(Log::default())];
    let client = client.with_key_log(logs[0].clone()).with_tls_secrets_kept();
    let server = server.with_key_log(logs[1].clone()).with_tls_secrets_kept();
    let (client_end, server_end) = connected(&client, &server).await;
    let secrets = async |end: &Connection| -> TlsSecrets {
        end.inspect(|look| look.tls_secrets().cloned()).await.unwrap().unwrap()
    };
    let (ours, theirs) = (secrets(&client_end).await, secrets(&server_end).await);
    assert_eq!(ours, theirs);
    assert_eq!(ours.client_early_traffic, None);
    for log in &logs {
        let log = log.0.lock().unwrap();
        for (label, secret) in [
            ("CLIENT_HANDSHAKE_TRAFFIC_SECRET", &ours.client_handshake_traffic),
            ("SERVER_HANDSHAKE_TRAFFIC_SECRET", &ours.server_handshake_traffic),
            ("CLIENT_TRAFFIC_SECRET_0", &ours.client_traffic),
            ("SERVER_TRAFFIC_SECRET_0", &ours.server_traffic),
            ("EXPORTER_SECRET", &ours.exporter),
        ] {
            let (client_random, logged) = &log[label];
            assert_eq!((&client_random[..], Some(logged)), (&ours.client_random[..], secret.as_ref()), "{label}");
            assert_eq!(logged.len(), 48, "{label}");
        }
    }
    let shown = format!("{ours:?}");
    assert!(shown.contains("client_traffic: true") && shown.len() < 100, "{shown}");
    // A session that goes on with early data has one more; where none are kept there are none.
    client_end.resumption_ticket().await.unwrap();
    let (again, _theirs) = connected(&client, &server).await;
    assert!(again.is_resumed() && secrets(&again).await.client_early_traffic.is_some());
    let (client, server) = pair();
    let (plain, _theirs) = connected(&client, &server).await;
    assert_eq!(plain.inspect(|look| look.tls_secrets().cloned()).await.unwrap(), None);
}

#[tokio::test]
async fn a_server_shows_the_identity_of_the_name_that_it_is_asked_for() {
    let [all, one, below] = [&["localhost"], &["one.example"], &["*.example"]].map(|names| identity_for(names));
    let server = server(all.clone());
    server.set_identity_for("one.example", &one).unwrap();
    server.set_identity_for("*.example", &below).unwrap();
    let (listener, address) = listen(&server);
    let endpoint = self::endpoint();
    let roots = [&all, &one, &below].map(|identity| {
        // The leaf is its own authority.
        identity.clone()
    });
    let serve = tokio::spawn(async move {
        while let Some(incoming) = listener.accept().await {
            if let Ok(connecting) = incoming.accept() {
                tokio::spawn(async move { drop(connecting.await) });
            }
        }
    });
    for (name, identity) in [
        ("localhost", &roots[0]),
        ("one.example", &roots[1]),
        ("two.example", &roots[2]),
        ("elsewhere.test", &roots[0]),
    ] {
        let client = client(Trust::Pinned(identity.fingerprint()));
        let made = endpoint.connect(&client, address, name).unwrap().await;
        assert!(made.is_ok(), "{name}: {made:?}");
    }
    // It can be changed while the server runs.
    server.set_identity_for("two.example", &one).unwrap();
    let made = endpoint.connect(&client(Trust::Pinned(one.fingerprint())), address, "two.example").unwrap().await;
    assert!(made.is_ok());
    assert!(server.remove_identity_for("two.example"));
    let made = endpoint.connect(&client(Trust::Pinned(one.fingerprint())), address, "two.example").unwrap().await;
    assert!(made.is_err());
    serve.abort();
}

/// An ECHConfigList of one configuration, for a key that nobody has (X25519, HKDF-SHA256, AES-128-GCM).
fn ech_list(version: u16, public_name: &[u8]) -> Vec<u8> {
    let key = aws_lc_rs::agreement::PrivateKey::generate(&aws_lc_rs::agreement::X25519).unwrap();
    let key = key.compute_public_key().unwrap();
    let contents = [
        &[7, 0, 0x20, 0, 32][..],
        key.as_ref(),
        &[0, 4, 0, 1, 0, 1, 64, public_name.len() as u8],
        public_name,
        &[0, 0],
    ]
    .concat();
    let config = [&version.to_be_bytes()[..], &(contents.len() as u16).to_be_bytes(), &contents].concat();
    [&(config.len() as u16).to_be_bytes()[..], &config].concat()
}

#[tokio::test]
async fn a_server_that_cannot_read_an_encrypted_hello_says_so_if_it_is_the_public_one() {
    let public = identity_for(&["public.example"]);
    let (roots, server) = (Trust::roots(public.chain().to_vec()).unwrap(), server(public));
    let ech = Ech::Configs(ech_list(0xfe0d, b"public.example").into());
    let rejected = |made: Made| match made.unwrap_err() {
        ConnectError::Connection(CloseReason::EchRejected { retry_configs }) => retry_configs,
        other => panic!("{other}"),
    };
    // By configuration, and for one connection.
    let configured = client(roots.clone()).with_ech(&ech).unwrap();
    let (ours, theirs) = connect(&configured, &server).await;
    assert!(rejected(ours).is_empty(), "rustls has no configurations to offer");
    let ConnectError::Connection(CloseReason::PeerTransport { code, .. }) = theirs.unwrap_err() else { panic!() };
    assert_eq!(code, TransportErrorCode::crypto(121), "ech_required");
    let plain = client(roots);
    let (ours, _) = connect_with(&plain, &server, |connect| connect.ech = Some(ech.clone())).await;
    assert!(rejected(ours).is_empty());
    // A server that is not the public one may not say so.
    let other = client(Trust::roots(identity().chain().to_vec()).unwrap()).with_ech(&ech).unwrap();
    let (ours, _) = connect(&other, &server).await;
    assert!(matches!(ours.unwrap_err(), ConnectError::Connection(CloseReason::Violation(_))));
}

/// RFC 9849 section 6.1.7: a refusal counts if the certificate is good for the public name; so that is the name
/// that an application must judge by.
#[tokio::test]
async fn the_application_judges_a_refusal_by_the_public_name() {
    let public = identity_for(&["public.example"]);
    let (trust, server) = (Trust::roots(public.chain().to_vec()).unwrap().deferred(), server(public));
    let ech = Ech::Configs(ech_list(0xfe0d, b"public.example").into());
    for (accept, ech, name) in
        [(true, ech.clone(), "public.example"), (false, ech, "public.example"), (true, Ech::Off, "localhost")]
    {
        let (listener, address) = listen(&server);
        let endpoint = self::endpoint();
        let mut connect = Connect::new(address, "localhost");
        connect.ech = Some(ech.clone());
        let mut connecting = endpoint.connect_with(&client(trust.clone()), connect).unwrap();
        let judged = async {
            let (certificate, verdict) = connecting.certificate().await.unwrap();
            assert_eq!(certificate.server_name(), Some(name));
            assert_eq!(certificate.advice().unwrap().is_ok(), name == "public.example");
            match accept {
                true => verdict.accept().unwrap(),
                false => verdict.reject(Alert::ACCESS_DENIED).unwrap(),
            }
            connecting.await
        };
        let accepting = async { listener.accept().await.unwrap().accept().unwrap().await };
        let (ours, _) = tokio::join!(judged, accepting);
        match (accept, ech) {
            (_, Ech::Off) => drop(ours.unwrap()),
            (true, _) => assert!(matches!(
                ours.unwrap_err(),
                ConnectError::Connection(CloseReason::EchRejected { retry_configs }) if retry_configs.is_empty()
            )),
            (false, _) => assert!(matches!(ours.unwrap_err(), ConnectError::Connection(CloseReason::Refused { .. }))),
        }
    }
}

#[tokio::test]
async fn grease_in_place_of_an_encrypted_hello_disturbs_nobody() {
    let (client, server) = pair();
    let client = client.with_ech(&Ech::Grease).unwrap();
    let (first, theirs) = connected(&client, &server).await;
    let status = |end: &Connection| end.handshake_info().unwrap().ech;
    assert_eq!((status(&first), status(&theirs)), (EchStatus::Grease, EchStatus::NotOffered));
    first.resumption_ticket().await.unwrap();
    // Also with a session, and with another group wanted by the server.
    let (again, _theirs) = connected(&client, &server).await;
    assert!(again.is_resumed());
    assert_eq!(status(&again), EchStatus::Grease);
    let (client, server) = (client.without_resumption(), server.with_key_exchange(&[KeyExchange::Secp384r1]).unwrap());
    let (retried, _theirs) = connected(&client, &server).await;
    assert!(retried.handshake_info().unwrap().tls.hello_retry);
    let (plain, _) = connect_with(&client, &server, |connect| connect.ech = Some(Ech::Off)).await;
    assert_eq!(status(&plain.unwrap()), EchStatus::NotOffered);
}

#[tokio::test]
async fn ends_without_certificates_know_each_other_by_their_keys() {
    let [ours, theirs, stranger] = [(); 3].map(|()| identity().without_certificate().unwrap());
    let key = |identity: &Identity| identity.public_key().unwrap();
    let serve = |known: &Identity| {
        let clients = ClientAuthentication::PublicKeys { known: vec![key(known)], deferred: false };
        server(ServerCredential { identity: theirs.clone(), clients })
    };
    let knowing = |server: &Identity, identity: Option<&Identity>| {
        client(ClientCredential { trust: Trust::public_keys([key(server)]), identity: identity.cloned() })
    };
    let (client_end, server_end) = connected(&knowing(&theirs, Some(&ours)), &serve(&ours)).await;
    let shown = async |end: &Connection| end.inspect(|look| look.peer_certificates()).await.unwrap().unwrap();
    assert_eq!(shown(&client_end).await, [Bytes::from(key(&theirs))]);
    assert_eq!(shown(&server_end).await, [Bytes::from(key(&ours))]);
    // A session goes on without any of it, from the ticket alone.
    let ticket = client_end.resumption_ticket().await.unwrap();
    let ticket = tercel::ResumptionTicket::from_bytes(&ticket.to_bytes()).unwrap();
    let server = serve(&ours);
    server.set_ticket_keys(&[[7; 32]]).unwrap();
    let show = |ticket: &tercel::ResumptionTicket| {
        let ticket = ticket.clone();
        move |connect: &mut Connect| connect.ticket = Some(ticket)
    };
    let (full, _) = connect_with(&knowing(&theirs, Some(&ours)), &server, show(&ticket)).await;
    let full = full.unwrap();
    assert!(!full.is_resumed(), "the ticket is of other keys");
    let ticket = full.resumption_ticket().await.unwrap();
    let (again, _) = connect_with(&knowing(&theirs, Some(&ours)), &server, show(&ticket)).await;
    assert!(again.unwrap().is_resumed());
    // Who is known no more resumes no more.
    let server = serve(&stranger);
    server.set_ticket_keys(&[[7; 32]]).unwrap();
    let (again, refused) = connect_with(&knowing(&theirs, Some(&ours)), &server, show(&ticket)).await;
    assert!(again.is_err() || refused.is_err());
    // Strangers, and those that have a certificate or nothing to show.
    for (client, server) in [
        (knowing(&stranger, Some(&ours)), serve(&ours)),
        (knowing(&theirs, Some(&stranger)), serve(&ours)),
        (knowing(&theirs, None), serve(&ours)),
        (
            client(ClientCredential { trust: Trust::public_keys([key(&theirs)]), identity: Some(identity()) }),
            serve(&ours),
        ),
        (client(Trust::Pinned(theirs.fingerprint())), serve(&ours)),
        (knowing(&theirs, None), self::server(identity())),
    ] {
        let (ours, theirs) = connect(&client, &server).await;
        assert!(ours.is_err() || theirs.is_err());
    }
}

#[tokio::test]
async fn the_application_judges_raw_keys_at_both_ends() {
    let [ours, theirs] = [(); 2].map(|()| identity().without_certificate().unwrap());
    let clients = ClientAuthentication::PublicKeys { known: vec![ours.public_key().unwrap()], deferred: true };
    let server = server(ServerCredential { identity: theirs.clone(), clients });
    let trust = Trust::public_keys::<Vec<u8>>([]).deferred();
    let client = client(ClientCredential { trust, identity: Some(ours.clone()) }).without_resumption();
    for accept in [true, false] {
        let (listener, address) = listen(&server);
        let endpoint = self::endpoint();
        let mut connecting = endpoint.connect(&client, address, "localhost").unwrap();
        let judged = async {
            let Some((certificate, verdict)) = connecting.certificate().await else { panic!("{:?}", connecting.await) };
            assert_eq!(certificate.public_key(), Some(&theirs.public_key().unwrap()[..]));
            assert_eq!(certificate.fingerprint(), theirs.fingerprint());
            assert!(certificate.advice().unwrap().is_err(), "no key is known beforehand");
            verdict.accept().unwrap();
            connecting.await
        };
        let accepting = async {
            let mut connecting = listener.accept().await.unwrap().accept().unwrap();
            let (certificate, verdict) = connecting.certificate().await.unwrap();
            assert_eq!(certificate.public_key(), Some(&ours.public_key().unwrap()[..]));
            assert!(certificate.advice().unwrap().is_ok());
            match accept {
                true => verdict.accept().unwrap(),
                false => verdict.reject(Alert::ACCESS_DENIED).unwrap(),
            }
            connecting.await
        };
        let (ours, theirs) = tokio::join!(judged, accepting);
        assert_eq!(theirs.is_ok(), accept);
        if let Ok(ours) = ours {
            assert_eq!(ours.handshake_confirmed().await.is_ok(), accept);
        }
    }
}

/// What a server sends until its handshake is complete.
#[cfg(feature = "certificate-compression")]
#[tokio::test]
async fn certificates_are_compressed_where_both_ends_want_it() {
    // A certificate of many names, which have much in common.
    let names: Vec<String> = (0..60).map(|number| format!("number-{number}.a-rather-long-name.example")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let identity = identity_for(&names);
    let trust = Trust::Pinned(identity.fingerprint());
    let (client, server) = (client(trust), server(identity));
    let mut sizes = Vec::new();
    for (ours, theirs) in [(false, false), (true, false), (false, true), (true, true)] {
        let choose = |configuration: &Configuration, compress: bool| match compress {
            true => configuration.clone().without_resumption().with_certificate_compression(),
            false => configuration.clone().without_resumption(),
        };
        let (client, server) = connected(&choose(&client, ours), &choose(&server, theirs)).await;
        client.handshake_confirmed().await.unwrap();
        let handshake = server.inspect(|look| look.stats().bytes_sent).await.unwrap();
        sizes.push(handshake);
    }
    let [plain, ours_only, theirs_only, both] = sizes[..] else { unreachable!() };
    assert!(both + 1500 < plain, "{both} bytes are no fewer than {plain}");
    assert!(both + 1500 < ours_only && both + 1500 < theirs_only, "{sizes:?}");
}
