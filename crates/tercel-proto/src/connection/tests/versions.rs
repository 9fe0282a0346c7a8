//! Early data, sessions, tokens and keys where the version changes.

use super::*;
use crate::token::{GREASE_LIFETIME, KeptToken};

const V1: Version = Version::V1;
const V2: Version = Version::V2;

/// TLS whose keys can be those of another version; of the client, of the server.
fn tls_that_can(client: bool, server: bool) -> (Arc<rustls::ServerConfig>, Arc<rustls::ClientConfig>) {
    let (server_config, client_config) = tls();
    let provider = || Arc::new(tls::observed(rustls::crypto::aws_lc_rs::default_provider()));
    let versions = [&rustls::version::TLS13];
    let mut new_server = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&versions)
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(server_config.cert_resolver.clone());
    new_server.alpn_protocols = vec![b"test".to_vec()];
    new_server.max_early_data_size = u32::MAX;
    let new_client = match client {
        false => client_config,
        true => {
            // The verifier stays the same: it trusts the one certificate.
            let roots = rustls::RootCertStore::empty();
            let mut new = rustls::ClientConfig::builder_with_provider(provider())
                .with_protocol_versions(&versions)
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
            new.dangerous().set_certificate_verifier(Arc::new(Anyone));
            new.alpn_protocols = vec![b"test".to_vec()];
            new.enable_early_data = true;
            Arc::new(new)
        }
    };
    (if server { Arc::new(new_server) } else { server_config }, new_client)
}

/// Trusts anyone.
#[derive(Debug)]
struct Anyone;

impl rustls::client::danger::ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        vec![rustls::SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

fn speaking(versions: &[Version]) -> TransportConfig {
    TransportConfig { versions: versions.to_vec(), ..TransportConfig::default() }
}

fn connected(events: &[Event]) -> &Connected {
    let found = events.iter().find_map(|event| match event {
        Event::Connected(connected) => Some(connected),
        _ => None,
    });
    found.unwrap()
}

/// A pair that was connected before, in the client's first version, and is about to be again.
fn again(client: &[Version], server: &[Version], can: (bool, bool)) -> Pair {
    let (server_config, client_config) = tls_that_can(can.0, can.1);
    let start = Time::from_nanos(1 << 40);
    let only = speaking(&client[..1]);
    let mut first = Pair::with_tls(only, server_config.clone(), client_config.clone(), start);
    first.connect();
    first.pass(Duration::from_secs(1));
    let mut pair = Pair::with_tls(speaking(client), server_config, client_config, first.now);
    pair.server_transport = speaking(server).into();
    pair
}

/// RFC 9369 section 4.1: early data are of the original version, and the server takes them as such whatever
/// it goes on in.
#[test]
// RFC 9369 section 4.1#9.
fn early_data_keep_the_original_version() {
    for (original, other) in [(V1, V2), (V2, V1)] {
        for server in [&[original][..], &[other, original], &[]] {
            let mut pair = again(&[original, other], server, (true, true));
            pair.upload(5_000);
            pair.connect();
            let version = server.first().copied().unwrap_or(original);
            for events in [&pair.client_events, &pair.server_events] {
                let Connected { resumed, early_data_accepted, version: negotiated, .. } = connected(events);
                assert_eq!((*resumed, *early_data_accepted, *negotiated), (true, true, version), "{original:?}");
            }
            assert_eq!((pair.client.original_version(), pair.client.version()), (original, version));
            assert_eq!((pair.server().original_version(), pair.server().version()), (original, version));
            // Keys of later phases, too.
            for _ in 0..3 {
                pair.client.update_keys().unwrap();
                pair.upload(5_000);
                pair.pass(Duration::from_secs(1));
            }
            assert_eq!((pair.client.stats().key_updates, pair.server().stats().key_updates), (3, 3));
            assert_eq!(pair.client.stats().packets_lost, 0);
        }
    }
}

/// Who cannot make keys of another version does not offer one, or takes no early data.
#[test]
fn tls_of_others_does_what_it_can() {
    for (original, other) in [(V1, V2), (V2, V1)] {
        let mut pair = again(&[original, other], &[other, original], (false, true));
        pair.upload(5_000);
        pair.connect();
        assert!(connected(&pair.client_events).early_data_accepted);
        assert_eq!((pair.client.version(), pair.server().version()), (original, original));
        let mut pair = again(&[original, other], &[other, original], (true, false));
        pair.upload(5_000);
        pair.connect();
        assert!(!connected(&pair.client_events).early_data_accepted);
        assert!(pair.client_events.iter().any(|event| matches!(event, Event::EarlyDataRejected)));
        assert_eq!((pair.client.version(), pair.server().version()), (other, other));
    }
}

/// The server cannot read the first flight: what was sent early goes again in the second, which is no
/// early data, because the session is of the other version.
#[test]
fn early_data_of_a_version_that_is_not_spoken() {
    for (original, other) in [(V1, V2), (V2, V1)] {
        // The session store of rustls does not know of versions; ours does.
        let (server_config, client_config) = tls_that_can(true, true);
        let mut client_config = rustls::ClientConfig::clone(&client_config);
        client_config.resumption = rustls::client::Resumption::store(Arc::new(tls::ClientSessions::new(4)));
        let client_config = Arc::new(client_config);
        let config = TransportConfig { max_datagram_frame_size: 1200, ..speaking(&[original, other]) };
        let start = Time::from_nanos(1 << 40);
        let mut first = Pair::with_tls(config.clone(), server_config.clone(), client_config.clone(), start);
        first.connect();
        first.pass(Duration::from_secs(1));
        let mut pair = Pair::with_tls(config, server_config, client_config, first.now);
        pair.server_transport = TransportConfig { max_datagram_frame_size: 1200, ..speaking(&[other]) }.into();
        let datagram =
            pair.client.send_datagram(Bytes::from_static(b"early"), crate::datagram::DatagramPriority::Normal).unwrap();
        pair.upload(5_000);
        pair.connect();
        let rejected = pair.client_events.iter().filter(|event| matches!(event, Event::EarlyDataRejected)).count();
        assert_eq!(rejected, 1);
        let lost =
            DatagramEvent::SendState { number: datagram, state: crate::datagram::DatagramSendState::LostDiscarded };
        assert!(pair.client_events.iter().any(|event| matches!(event, Event::Datagram(event) if *event == lost)));
        let Connected { resumed, early_data_accepted, version, .. } = connected(&pair.client_events);
        assert_eq!((*resumed, *early_data_accepted, *version), (false, false, other));
        assert!(ends(&pair.client_events).is_empty() && ends(&pair.server_events).is_empty());
    }
}

/// Sessions are remembered by the version that was negotiated (RFC 9369 section 5).
#[test]
// RFC 9369 section 5#1.
fn sessions_are_remembered_by_version() {
    for (original, other) in [(V1, V2), (V2, V1)] {
        let (server_config, client_config) = tls_that_can(true, true);
        let mut client_config = rustls::ClientConfig::clone(&client_config);
        let sessions = Arc::new(tls::ClientSessions::new(4));
        client_config.resumption = rustls::client::Resumption::store(sessions.clone());
        let start = Time::from_nanos(1 << 40);
        let mut pair = Pair::with_tls(speaking(&[original, other]), server_config, client_config.into(), start);
        pair.server_transport = speaking(&[other, original]).into();
        pair.connect();
        pair.pass(Duration::from_secs(1));
        let name = "localhost".try_into().unwrap();
        assert!(sessions.take(&name, &[original]).is_none());
        assert_eq!(sessions.take(&name, &[original, other]).map(|(version, _)| version), Some(other));
    }
}

/// The token of a connection in which the version changed.
fn token(original: Version, negotiated: Version, grease: bool) -> (Pair, Bytes) {
    let (server_config, client_config) = tls_that_can(true, true);
    let config = speaking(&[original, negotiated]);
    let mut pair = Pair::with_tls(config, server_config, client_config, Time::from_nanos(1 << 60));
    pair.server_transport = TransportConfig { grease, ..speaking(&[negotiated]) }.into();
    if original != negotiated {
        pair.server_transport = TransportConfig { grease, ..speaking(&[negotiated, original]) }.into();
    }
    pair.connect();
    pair.run("the token", |pair| pair.client_events.iter().any(|event| matches!(event, Event::NewToken(_))));
    let token = pair.client_events.iter().find_map(|event| match event {
        Event::NewToken(token) => Some(token.clone()),
        _ => None,
    });
    (pair, token.unwrap())
}

/// Of the first flights that go with `token`, so long after it came: whether they show it, and how many
/// datagrams lack the fixed bit.
fn first_flights(before: &Pair, token: &Bytes, version: Version, later: Duration, grease: bool) -> (bool, usize) {
    let (mut shows, mut clear) = (false, 0);
    for seed in 0..20 {
        let config = Arc::new(TransportConfig { grease, ..speaking(&[version]) });
        let start = ClientStart {
            tls: before.client_config.clone(),
            server_name: "localhost".try_into().unwrap(),
            version,
            path: PathAddress { remote: SERVER.into(), local: None },
            token: token.clone(),
            session: None,
        };
        let now = before.now + later;
        let mut client = Connection::client(now, shared(&config, 10 + seed), start).unwrap();
        let mut buf = [0; 1500];
        let transmit = client.poll_transmit(now, 1, &mut buf).unwrap();
        let (_, mut reader) = LongHeader::decode(&buf[..transmit.len]).unwrap();
        shows = reader.length_prefixed().unwrap() == b"t";
        clear += usize::from(buf[0] & 0x40 == 0);
    }
    (shows, clear)
}

/// RFC 9369 section 5, RFC 9287 section 3.1.
#[test]
// RFC 9287 section 3.1#2. RFC 9369 section 5#1.
fn a_token_is_for_its_version_and_remembers_who_does_not_look() {
    let week = GREASE_LIFETIME;
    for (original, negotiated) in [(V1, V1), (V1, V2), (V2, V1), (V2, V2)] {
        let other = if negotiated == V1 { V2 } else { V1 };
        let (before, token) = token(original, negotiated, true);
        assert_eq!(KeptToken::from_bytes(&token).unwrap().version, negotiated);
        let (shows, clear) = first_flights(&before, &token, negotiated, Duration::ZERO, true);
        assert!(shows && (1..20).contains(&clear), "{clear} of 20");
        let (shows, clear) = first_flights(&before, &token, negotiated, week - Duration::from_secs(60), true);
        assert!(shows && (1..20).contains(&clear), "{clear} of 20");
        assert_eq!(first_flights(&before, &token, negotiated, week, true), (true, 0), "after a week");
        assert_eq!(first_flights(&before, &token, negotiated, Duration::ZERO, false), (true, 0), "who does not want");
        assert_eq!(first_flights(&before, &token, other, Duration::ZERO, true), (false, 0), "in another version");
        let cut = token.slice(1..);
        assert_eq!(first_flights(&before, &cut, negotiated, Duration::ZERO, true), (false, 0), "what is no token");
    }
    let (before, token) = token(V1, V1, false);
    assert_eq!(first_flights(&before, &token, V1, Duration::ZERO, true), (true, 0), "of a server that looks");
}

/// While the application thinks about a client that may be moved to another version, nothing is acknowledged in
/// the old one: the server's first word is of the version that it has chosen.
#[test]
fn the_first_word_is_of_the_chosen_version() {
    for (client, chosen) in [(&[V1, V2][..], V2), (&[V1], V1)] {
        let (server_config, client_config) = tls_that_can(true, true);
        let mut pair = Pair::with_tls(speaking(client), server_config, client_config, Time::from_nanos(1 << 40));
        pair.server_transport = speaking(&[V2, V1]).into();
        pair.flush(true);
        pair.now += DELAY;
        pair.deliver();
        let (now, mut buf) = (pair.now, [0; 1 << 14]);
        let transmit = pair.server().poll_transmit(now, 10, &mut buf);
        assert_eq!(transmit.is_none(), client.len() > 1, "who has no choice is acknowledged at once");
        pair.flush(false);
        let (_, first, _) = &pair.to_client[0];
        assert_eq!(first[1..5], chosen.0.to_be_bytes());
        pair.connect();
        assert_eq!((pair.client.version(), pair.server().version()), (chosen, chosen));
    }
}
