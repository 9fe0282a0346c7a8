//! Certificates that wait for a verdict, and closes that meet them.

use tercel_wire::packet::{FirstPacket, Protected};

use super::*;
use crate::tls::{Alert, DeferredClientVerifier, DeferredServerVerifier, Presented, Verdict};

const CODE: u32 = 77;

/// Who judges whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Judge {
    Client,
    Server,
    Both,
}

/// Two ends of which `judge` defers its verdict. The server's certificate is one that the client's
/// built-in validation knows only if `known`.
fn pair(judge: Judge, known: bool, transport: TransportConfig) -> Pair {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let make = |name: &str| {
        let made = rcgen::generate_simple_self_signed(vec![name.into()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        (made.cert.der().clone(), key)
    };
    let ((server_cert, server_key), (client_cert, client_key)) = (make("localhost"), make("client"));
    let roots = |cert| {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(cert).unwrap();
        Arc::new(roots)
    };
    let trusted = if known { server_cert.clone() } else { make("elsewhere").0 };
    let builtin =
        rustls::client::WebPkiServerVerifier::builder_with_provider(roots(trusted), provider.clone()).build().unwrap();
    let versions = [&rustls::version::TLS13];
    let server =
        rustls::ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(&versions).unwrap();
    let server = match judge {
        Judge::Client => server.with_no_client_auth(),
        _ => server.with_client_cert_verifier(Arc::new(DeferredClientVerifier::new(None, true, provider.clone()))),
    };
    let mut server = server.with_single_cert(vec![server_cert], server_key).unwrap();
    server.alpn_protocols = vec![b"test".to_vec()];
    let client =
        rustls::ClientConfig::builder_with_provider(provider.clone()).with_protocol_versions(&versions).unwrap();
    let client = match judge {
        Judge::Server => client.with_webpki_verifier(builtin),
        _ => client
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(DeferredServerVerifier::new(Some(builtin), provider))),
    };
    let mut client = client.with_client_auth_cert(vec![client_cert], client_key).unwrap();
    client.alpn_protocols = vec![b"test".to_vec()];
    Pair::with_tls(transport, Arc::new(server), Arc::new(client), Time::from_nanos(1 << 40))
}

fn presented(events: &[Event]) -> Option<&Presented> {
    events.iter().find_map(|event| match event {
        Event::Certificate(presented) => Some(presented),
        _ => None,
    })
}

fn connected(events: &[Event]) -> bool {
    events.iter().any(|event| matches!(event, Event::Connected(_)))
}

/// Whether a datagram has a 1-RTT packet.
fn has_one_rtt(datagram: &[u8]) -> bool {
    let mut rest = BytesMut::from(datagram);
    let mut found = false;
    while !rest.is_empty() {
        match Protected::split_first(&mut rest, 8) {
            Ok(FirstPacket::Protected(packet)) => found |= packet.level() == tercel_wire::EncryptionLevel::OneRtt,
            _ => break,
        }
    }
    found
}

impl Pair {
    fn judged(&mut self, judge: Judge) -> &mut Connection {
        match judge {
            Judge::Server => self.server(),
            _ => &mut self.client,
        }
    }

    /// Up to the question, and then through `wait` of nothing but what goes on without an answer.
    /// Nothing in 1-RTT leaves whoever judges.
    fn until_asked(&mut self, judge: Judge, wait: Duration) {
        self.run("the certificate", |pair| {
            presented(if judge == Judge::Server { &pair.server_events } else { &pair.client_events }).is_some()
        });
        let end = self.now + wait;
        loop {
            let line = if judge == Judge::Server { &self.to_client } else { &self.to_server };
            assert!(line.iter().all(|(_, datagram, _)| !has_one_rtt(datagram)));
            if self.next_event().is_none_or(|at| at > end) || !self.step() {
                break;
            }
        }
        self.now = end;
        let events = if judge == Judge::Server { &self.server_events } else { &self.client_events };
        assert!(!connected(events));
        assert!(self.judged(judge).awaits_verdict());
    }

    fn answer(&mut self, judge: Judge, verdict: Verdict) {
        let now = self.now;
        self.judged(judge).give_verdict(now, verdict).unwrap();
    }

    fn ended(&mut self) -> (CloseReason, CloseReason) {
        self.run("the end", |pair| !ends(&pair.client_events).is_empty() && !ends(&pair.server_events).is_empty());
        (ends(&self.client_events)[0].clone(), ends(&self.server_events)[0].clone())
    }
}

#[test]
fn the_handshake_waits_and_then_goes_on() {
    for judge in [Judge::Client, Judge::Server] {
        let mut pair = pair(judge, true, TransportConfig::default());
        pair.until_asked(judge, Duration::from_secs(4));
        let events = if judge == Judge::Server { &pair.server_events } else { &pair.client_events };
        let presented = presented(events).unwrap();
        assert_eq!(presented.chain.len(), 1);
        assert_eq!(presented.builtin, (judge == Judge::Client).then_some(Ok(())));
        pair.answer(judge, Verdict::Accept);
        pair.connect();
        pair.upload(100_000);
        let again = pair.judged(judge);
        assert_eq!(again.give_verdict(Time::ZERO, Verdict::Accept), Err(ApiMisuse::AlreadyDone));
    }
}

#[test]
fn both_ends_may_judge() {
    let mut pair = pair(Judge::Both, true, TransportConfig::default());
    pair.until_asked(Judge::Client, Duration::from_millis(500));
    pair.answer(Judge::Client, Verdict::Accept);
    pair.until_asked(Judge::Server, Duration::from_millis(500));
    pair.answer(Judge::Server, Verdict::Accept);
    pair.connect();
    pair.upload(10_000);
}

/// A client that is done, while its server still judges it, may send: the data waits at the server.
#[test]
// RFC 9001 sections 4.1.4#1#2, 5.7#1#2#3.
fn data_that_comes_before_the_verdict_is_parked_and_not_lost() {
    let mut pair = pair(Judge::Server, true, TransportConfig::default());
    pair.run("the client's end of the handshake", |pair| connected(&pair.client_events));
    let id = pair.client.open_stream(Direction::Unidirectional).unwrap();
    pair.client.send(id, Bytes::from_static(b"early bird"), true).unwrap();
    pair.until_asked(Judge::Server, DELAY);
    let repeated = pair.client.stats().packets_lost;
    assert!(!pair.server_events.iter().any(|event| matches!(event, Event::Stream(StreamEvent::Opened(_)))));
    pair.answer(Judge::Server, Verdict::Accept);
    let server = pair.server();
    assert!(matches!(server.read(id, 100), Ok(Read::Data(data)) if data == "early bird"));
    pair.connect();
    assert_eq!(pair.client.stats().packets_lost, repeated);
}

#[test]
fn a_rejection_is_told_at_once_with_its_alert() {
    for judge in [Judge::Client, Judge::Server] {
        for alert in [Alert::UNKNOWN_CA, Alert::BAD_CERTIFICATE, Alert::new(255).unwrap()] {
            let mut pair = pair(judge, true, TransportConfig::default());
            pair.until_asked(judge, Duration::from_millis(300));
            let at = pair.now;
            pair.answer(judge, Verdict::Reject(alert));
            // First close wins.
            let now = pair.now;
            pair.judged(judge).close(now, CODE.into(), Bytes::new());
            let code = TransportErrorCode::crypto(alert.number());
            let (client, server) = pair.ended();
            let (here, there) = if judge == Judge::Server { (server, client) } else { (client, server) };
            assert_eq!(here, CloseReason::Refused { code });
            assert!(matches!(there, CloseReason::PeerTransport { code: seen, .. } if seen == code), "{there:?}");
            assert!(pair.now <= at + DELAY, "told after {:?}", pair.now.since(at));
        }
    }
}

#[test]
fn a_silent_close_does_not_swallow_an_earlier_refusal() {
    for judge in [Judge::Client, Judge::Server] {
        let mut pair = pair(judge, true, TransportConfig::default());
        pair.until_asked(judge, Duration::from_millis(300));
        let now = pair.now;
        let judged = pair.judged(judge);
        judged.give_verdict(now, Verdict::Reject(Alert::UNKNOWN_CA)).unwrap();
        judged.close_silently(now);
        let (client, server) = pair.ended();
        let there = if judge == Judge::Server { client } else { server };
        let refused = TransportErrorCode::crypto(Alert::UNKNOWN_CA.number());
        assert!(matches!(there, CloseReason::PeerTransport { code, .. } if code == refused), "{there:?}");
    }
}

#[test]
fn accept_then_close_completes_and_closes_with_the_code() {
    for judge in [Judge::Client, Judge::Server] {
        let mut pair = pair(judge, true, TransportConfig::default());
        pair.until_asked(judge, Duration::from_millis(300));
        let at = pair.now;
        pair.answer(judge, Verdict::Accept);
        let now = pair.now;
        let reason = Bytes::from_static(b"enough");
        pair.judged(judge).close(now, CODE.into(), reason.clone());
        let (client, server) = pair.ended();
        let (here, there) = if judge == Judge::Server { (server, client) } else { (client, server) };
        assert_eq!(here, CloseReason::LocalApplication { code: CODE.into() });
        assert_eq!(there, CloseReason::PeerApplication { code: CODE.into(), reason });
        assert!(connected(&pair.client_events) && connected(&pair.server_events));
        assert!(pair.now <= at + 2 * DELAY);
    }
}

#[test]
fn close_then_accept_completes_nothing() {
    for judge in [Judge::Client, Judge::Server] {
        let mut pair = pair(judge, true, TransportConfig::default());
        pair.until_asked(judge, Duration::from_millis(300));
        let at = pair.now;
        let now = pair.now;
        let judged = pair.judged(judge);
        judged.close(now, CODE.into(), Bytes::from_static(b"secret"));
        assert_eq!(judged.give_verdict(now, Verdict::Accept), Err(ApiMisuse::ConnectionClosed));
        let (client, server) = pair.ended();
        let there = if judge == Judge::Server { client } else { server };
        let CloseReason::PeerTransport { code, reason, .. } = there else { panic!("{there:?}") };
        assert_eq!(code, TransportErrorCode::APPLICATION_ERROR);
        assert!(reason.is_empty());
        assert!(!connected(if judge == Judge::Server { &pair.server_events } else { &pair.client_events }));
        // A server has to wait for what may still follow; less than a round trip.
        assert!(pair.now <= at + 3 * DELAY);
    }
}

#[test]
fn what_is_not_answered_in_time_is_refused() {
    let transport = TransportConfig { verdict_timeout: Duration::from_secs(2), ..TransportConfig::default() };
    for judge in [Judge::Client, Judge::Server] {
        let mut pair = pair(judge, true, transport.clone());
        pair.until_asked(judge, Duration::from_millis(100));
        let deadline = pair.judged(judge).verdict_deadline().unwrap();
        let (client, server) = pair.ended();
        let (here, there) = if judge == Judge::Server { (server, client) } else { (client, server) };
        let code = TransportErrorCode::crypto(46);
        assert_eq!(here, CloseReason::Refused { code });
        assert!(matches!(there, CloseReason::PeerTransport { code: seen, .. } if seen == code));
        assert!(pair.now >= deadline && pair.now <= deadline + DELAY);
        let now = pair.now;
        assert_eq!(pair.judged(judge).give_verdict(now, Verdict::Accept), Err(ApiMisuse::ConnectionClosed));
    }
}

#[test]
fn the_verdict_may_overrule_what_builtin_validation_says() {
    let mut pair = pair(Judge::Client, false, TransportConfig::default());
    pair.until_asked(Judge::Client, DELAY);
    let Some(Err(error)) = &presented(&pair.client_events).unwrap().builtin else { panic!("it was to refuse") };
    assert!(matches!(error, rustls::Error::InvalidCertificate(_)));
    pair.answer(Judge::Client, Verdict::Accept);
    pair.connect();
}

#[test]
fn a_resumed_session_has_no_certificate_and_no_gate() {
    let mut first = pair(Judge::Client, true, TransportConfig::default());
    first.until_asked(Judge::Client, DELAY);
    first.answer(Judge::Client, Verdict::Accept);
    first.connect();
    first.pass(Duration::from_secs(1));
    let now = first.now;
    let client_config = first.client_config.clone();
    let mut second = Pair::with_tls(TransportConfig::default(), first.server_config.clone(), client_config, now);
    second.connect();
    assert!(presented(&second.client_events).is_none());
    assert!(second.client_events.iter().any(|event| matches!(event, Event::Connected(with) if with.resumed)));
}

/// The stand-in for the application's close may overtake it.
#[test]
fn the_full_close_is_awaited_a_short_while() {
    let mut pair = pair(Judge::Client, true, TransportConfig::default());
    pair.until_asked(Judge::Client, Duration::from_millis(300));
    pair.answer(Judge::Client, Verdict::Accept);
    pair.flush(true);
    let now = pair.now;
    pair.client.close(now, CODE.into(), Bytes::from_static(b"why"));
    pair.flush(true);
    let line = &mut pair.to_server;
    assert_eq!(line.len(), 3, "Finished, the close, and what stands in for it");
    line.swap(1, 2);
    line[2].0 += Duration::from_micros(900);
    let (_, server) = pair.ended();
    assert_eq!(server, CloseReason::PeerApplication { code: CODE.into(), reason: Bytes::from_static(b"why") });
}

#[test]
fn alerts_outside_their_range_cannot_be_made() {
    for number in [0, 256, u16::MAX] {
        assert!(matches!(Alert::new(number), Err(ApiMisuse::InvalidArgument(_))));
    }
    assert_eq!(Alert::new(42), Ok(Alert::BAD_CERTIFICATE));
    assert_eq!(Alert::of(&rustls::CertificateError::UnknownIssuer.into()), Alert::UNKNOWN_CA);
}
