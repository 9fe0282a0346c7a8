//! Tickets that the application sends when it wants, and that clients keep as bytes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use tercel_wire::client_hello;

use super::*;
use crate::entropy::Entropy;
use crate::error::ApiMisuse;

const BEGIN: u64 = 1_800_000_000;

/// A clock for all to set.
#[derive(Debug)]
struct Clock(AtomicU64);

impl Clock {
    fn new() -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(BEGIN)))
    }

    fn now(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::Relaxed))
    }

    fn advance(&self, seconds: u64) {
        self.0.fetch_add(seconds, Ordering::Relaxed);
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.now()))
    }
}

/// A process of a client: its own configuration, clock and verifier.
struct Client {
    config: Arc<ClientConfig>,
    verifier: Arc<ResumableVerifier>,
}

impl Client {
    fn new(provider: CryptoProvider, verifier: Arc<dyn ServerCertVerifier>, clock: &Arc<Clock>) -> Self {
        let verifier = ResumableVerifier::new(verifier);
        let mut config = ClientConfig::builder_with_details(Arc::new(observed(provider)), ToldTime::new(clock.clone()))
            .with_protocol_versions(&VERSIONS)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone())
            .with_no_client_auth();
        config.alpn_protocols = vec![b"test".to_vec()];
        config.enable_early_data = true;
        config.resumption = rustls::client::Resumption::store(Arc::new(ClientSessions::new(0)));
        Self { config: Arc::new(config), verifier }
    }

    fn that_trusts(identity: &Identity, clock: &Arc<Clock>) -> Self {
        let roots = WebPkiServerVerifier::builder_with_provider(identity.roots().into(), provider());
        Self::new(CryptoProvider::clone(&provider()), roots.build().unwrap(), clock)
    }

    fn begin(&self, ticket: Option<&ResumptionTicket>) -> End {
        let session = ticket.map(|ticket| restore(ticket, &self.config, &self.verifier).expect("restored"));
        let name = "localhost".try_into().unwrap();
        let parameters = encoded(&parameters(1));
        End::new(Handshake::client(self.config.clone(), Version::V1, name, parameters, session).unwrap())
    }
}

/// A server that keeps nothing.
struct Server {
    config: Arc<ServerConfig>,
    clock: Arc<Clock>,
    keys: TicketKeys,
    entropy: Entropy,
}

impl Server {
    fn new(identity: &Identity, clock: &Arc<Clock>) -> Self {
        let provider = Arc::new(observed(CryptoProvider::clone(&provider())));
        let builder = ServerConfig::builder_with_details(provider, clock.clone());
        let builder = builder.with_protocol_versions(&VERSIONS).unwrap().with_no_client_auth();
        let mut config = builder.with_single_cert(identity.chain(), identity.key()).unwrap();
        config.alpn_protocols = vec![b"test".to_vec()];
        config.max_early_data_size = u32::MAX;
        config.send_tls13_tickets = 1;
        config.session_storage = Arc::new(SessionsInTickets);
        let keys = TicketKeys::new(&[[1; 32]]).unwrap();
        Self { config: config.into(), clock: clock.clone(), keys, entropy: Entropy::from_seed([0; 32]) }
    }

    fn begin(&self, ticket: Option<OpenedTicket>) -> End {
        let parameters = encoded(&parameters(2));
        End::new(Handshake::server(self.config.clone(), Version::V1, parameters, ticket).unwrap())
    }

    /// The ticket that a ClientHello shows.
    fn open(&self, hello: &[(EncryptionLevel, Vec<u8>)]) -> Option<OpenedTicket> {
        let hello = client_hello::parse(&hello[0].1).unwrap().unwrap();
        hello.tickets.iter().find_map(|ticket| self.keys.open(ticket, &CONTEXT, self.clock.now()))
    }

    fn issue(&mut self, end: &mut End, age: u64, terms: &TicketTerms) -> Result<Vec<u8>, ApiMisuse> {
        let issuer = end.tls.issuer().ok_or(ApiMisuse::ResumptionUnavailable)?;
        let (age, now) = (Duration::from_secs(age), self.clock.now());
        issuer.issue(age, now, (Version::V1, &parameters(2)), &self.keys, terms, &mut self.entropy)
    }
}

const CONTEXT: [u8; 32] = [9; 32];

fn terms(data: &'static [u8]) -> TicketTerms {
    TicketTerms {
        lifetime: Duration::from_secs(7200),
        early_data: true,
        context: CONTEXT,
        data: Bytes::from_static(data),
    }
}

/// A first connection, after which the server sends tickets with these terms.
fn tickets(client: &Client, server: &mut Server, all: &[TicketTerms]) -> Vec<ResumptionTicket> {
    let (mut ours, mut theirs) = (client.begin(None), server.begin(None));
    complete(&mut ours, &mut theirs);
    assert!(!theirs.outputs.contains(&Kind::Crypto(EncryptionLevel::OneRtt)), "tickets are sent when asked for");
    for terms in all {
        let message = server.issue(&mut theirs, 0, terms).unwrap();
        ours.feed(&[(EncryptionLevel::OneRtt, message)], ALL).unwrap();
    }
    ours.tickets
}

/// Another connection with a ticket; gives both ends and what the server found.
fn resume(client: &Client, server: &Server, ticket: &ResumptionTicket) -> (End, End, Option<OpenedTicket>) {
    let mut ours = client.begin(Some(ticket));
    let hello = ours.take();
    let opened = server.open(&hello);
    let mut theirs = server.begin(opened.clone());
    theirs.feed(&hello, ALL).unwrap();
    complete(&mut ours, &mut theirs);
    assert_eq!(ours.tls.session().is_resumed(), theirs.tls.session().is_resumed());
    assert_eq!(ours.tls.session().early_data_accepted(), theirs.tls.session().early_data_accepted());
    (ours, theirs, opened)
}

fn world() -> (Identity, Arc<Clock>, Client, Server) {
    let (identity, clock) = (Identity::new(), Clock::new());
    let (client, server) = (Client::that_trusts(&identity, &clock), Server::new(&identity, &clock));
    (identity, clock, client, server)
}

#[test]
fn any_number_of_tickets_each_its_own() {
    let (_, _, client, mut server) = world();
    let kept = tickets(&client, &mut server, &[terms(b"one"), terms(b"two"), terms(b"")]);
    assert_eq!(kept.len(), 3);
    // RFC 8446 section 4.6.1: another nonce and so another key for each.
    assert!(kept[0].to_bytes() != kept[1].to_bytes() && kept[1].to_bytes() != kept[2].to_bytes());
    for (ticket, data) in kept.iter().zip([&b"one"[..], b"two", b""]) {
        // As often as wanted.
        for _ in 0..2 {
            let (ours, theirs, opened) = resume(&client, &server, ticket);
            assert_eq!(opened.unwrap().data(), data);
            assert!(ours.tls.session().is_resumed() && ours.tls.session().early_data_accepted());
            assert!(!ours.outputs.contains(&Kind::Certificate));
            assert!(theirs.outputs.contains(&Kind::EarlyKeys));
        }
    }
}

#[test]
fn a_ticket_works_in_another_process() {
    let (identity, clock, client, mut server) = world();
    let kept = tickets(&client, &mut server, &[terms(b"data")]);
    let bytes = kept[0].to_bytes();
    // Nothing but the bytes, and the keys, are the same.
    let (client, server) = (Client::that_trusts(&identity, &clock), Server::new(&identity, &clock));
    let ticket = ResumptionTicket::from_bytes(&bytes).unwrap();
    assert_eq!(ticket, kept[0]);
    assert_eq!((ticket.server_name(), ticket.permits_early_data()), ("localhost", true));
    assert_eq!(ticket.expires(), Duration::from_secs(BEGIN + 7200));
    let mut ours = client.begin(Some(&ticket));
    let early = ours.tls.session().early_keys().expect("early data is offered");
    let remembered = TransportParameters::decode(ours.tls.session().peer_parameters().unwrap(), Role::Server).unwrap();
    assert_eq!(remembered.initial_max_data, 2);
    let hello = ours.take();
    let mut theirs = server.begin(server.open(&hello));
    theirs.feed(&hello, ALL).unwrap();
    assert!(fits(&early.packet, &theirs.early.as_ref().unwrap().packet));
    complete(&mut ours, &mut theirs);
    assert!(theirs.tls.session().is_resumed() && theirs.tls.session().early_data_accepted());
    // The peer is known as well as before.
    assert_eq!(ours.tls.session().peer_certificates().unwrap(), [Bytes::from(identity.chain()[0].to_vec())]);
    // And the next ticket continues it.
    let message = server_issue(&identity, &clock, &mut theirs);
    ours.feed(&[(EncryptionLevel::OneRtt, message)], ALL).unwrap();
    let (_, _, opened) = resume(&client, &Server::new(&identity, &clock), &ours.tickets[0]);
    assert_eq!(opened.unwrap().data(), &b"next"[..]);
}

fn server_issue(identity: &Identity, clock: &Arc<Clock>, end: &mut End) -> Vec<u8> {
    Server::new(identity, clock).issue(end, 0, &terms(b"next")).unwrap()
}

/// With both cipher suites of each hash length, and all of them restored.
#[test]
fn every_cipher_suite_resumes() {
    for at in 0..3 {
        let (identity, clock, _, mut server) = world();
        let mut one = CryptoProvider::clone(&provider());
        one.cipher_suites.retain(|suite| suite.tls13().is_some());
        one.cipher_suites = vec![one.cipher_suites[at]];
        let roots = WebPkiServerVerifier::builder_with_provider(identity.roots().into(), provider());
        let client = Client::new(one, roots.build().unwrap(), &clock);
        let kept = tickets(&client, &mut server, &[terms(b"")]);
        let (ours, _, _) = resume(&client, &server, &kept[0]);
        assert!(ours.tls.session().is_resumed() && ours.tls.session().early_data_accepted(), "suite {at}");
    }
}

#[test]
fn a_ticket_sent_late_is_as_fresh_as_any() {
    let (_, clock, client, mut server) = world();
    let (mut ours, mut theirs) = (client.begin(None), server.begin(None));
    complete(&mut ours, &mut theirs);
    clock.advance(5 * 3600);
    let message = server.issue(&mut theirs, 5 * 3600, &terms(b"late")).unwrap();
    ours.feed(&[(EncryptionLevel::OneRtt, message)], ALL).unwrap();
    clock.advance(7200);
    let (ours, _, opened) = resume(&client, &server, &ours.tickets[0]);
    assert!(opened.is_some() && ours.tls.session().early_data_accepted());
}

#[test]
fn expiry_is_enforced_by_both_ends() {
    let (_, clock, client, mut server) = world();
    let kept = tickets(&client, &mut server, &[terms(b"")]);
    let hello = client.begin(Some(&kept[0])).take();
    assert!(server.open(&hello).is_some());
    clock.advance(7200);
    assert!(server.open(&hello).is_some(), "to the last second");
    clock.advance(1);
    assert!(server.open(&hello).is_none(), "whatever the client thinks");
    let mut late = client.begin(Some(&kept[0]));
    assert!(late.tls.session().early_keys().is_none());
    assert!(client_hello::parse(&late.take()[0].1).unwrap().unwrap().tickets.is_empty());
}

#[test]
fn what_does_not_fit_begins_anew() {
    let (_, clock, client, mut server) = world();
    let kept = tickets(&client, &mut server, &[terms(b"")]);
    let hello = client.begin(Some(&kept[0])).take();
    let shown = client_hello::parse(&hello[0].1).unwrap().unwrap().tickets.remove(0);
    let opens =
        |keys: &TicketKeys, ticket: &[u8], context: &[u8; 32]| keys.open(ticket, context, clock.now()).is_some();
    assert!(opens(&server.keys, &shown, &CONTEXT));
    assert!(!opens(&server.keys, &shown, &[8; 32]), "another context");
    assert!(!opens(&TicketKeys::new(&[[2; 32]]).unwrap(), &shown, &CONTEXT), "another key");
    assert!(opens(&TicketKeys::new(&[[2; 32], [1; 32]]).unwrap(), &shown, &CONTEXT), "a key of before");
    assert!(TicketKeys::new(&[]).is_none());
    for at in 0..shown.len() {
        let mut broken = shown.clone();
        broken[at] ^= 1;
        assert!(!opens(&server.keys, &broken, &CONTEXT), "byte {at}");
        assert!(!opens(&server.keys, &shown[..at], &CONTEXT), "{at} bytes");
    }
    // The handshake goes on without it.
    server.keys = TicketKeys::new(&[[2; 32]]).unwrap();
    let (ours, theirs, opened) = resume(&client, &server, &kept[0]);
    assert!(opened.is_none() && !ours.tls.session().is_resumed());
    assert!(!theirs.outputs.contains(&Kind::EarlyKeys));
}

#[test]
fn the_server_decides_on_a_ticket() {
    let (_, _, client, mut server) = world();
    let kept = tickets(&client, &mut server, &[terms(b""), TicketTerms { early_data: false, ..terms(b"") }]);
    // Refused: a full handshake.
    let (mut ours, mut theirs) = (client.begin(Some(&kept[0])), server.begin(None));
    complete(&mut ours, &mut theirs);
    assert!(!ours.tls.session().is_resumed() && !theirs.tls.session().early_data_accepted());
    // Without early data, whatever is offered.
    let mut ours = client.begin(Some(&kept[0]));
    let hello = ours.take();
    let mut theirs = server.begin(server.open(&hello));
    theirs.tls.refuse_early_data();
    theirs.feed(&hello, ALL).unwrap();
    complete(&mut ours, &mut theirs);
    assert!(ours.tls.session().is_resumed() && !ours.tls.session().early_data_accepted());
    // A ticket that was made without: none is offered.
    assert!(client.begin(Some(&kept[1])).tls.session().early_keys().is_none());
    let (ours, _, opened) = resume(&client, &server, &kept[1]);
    assert!(ours.tls.session().is_resumed() && !opened.unwrap().permits_early_data());
}

/// RFC 9000 section 7.4.1: who takes early data must hold what the client remembers.
#[test]
// RFC 9000 section 7.4.1#5#6#8.
// RFC 9221 section 3#6.
fn smaller_limits_permit_no_early_data() {
    let (_, _, client, mut server) = world();
    let kept = tickets(&client, &mut server, &[terms(b"")]);
    let opened = server.open(&client.begin(Some(&kept[0])).take()).unwrap();
    let now =
        |max_data, max_streams| TransportParameters { initial_max_streams_uni: max_streams, ..parameters(max_data) };
    assert!(opened.limits_hold(&now(2, 0)) && opened.limits_hold(&now(3, 5)));
    assert!(!opened.limits_hold(&now(1, 5)));
    assert!(opened.is_for(Version::V1) && !opened.is_for(Version(2)));
}

#[test]
fn a_ticket_opens_no_door_that_trust_would_not() {
    let (identity, clock, client, mut server) = world();
    let kept = tickets(&client, &mut server, &[terms(b"")]);
    let restored = |client: &Client| restore(&kept[0], &client.config, &client.verifier).is_some();
    assert!(restored(&Client::that_trusts(&identity, &clock)));
    assert!(!restored(&Client::that_trusts(&Identity::new(), &clock)), "it trusts others");
    // Who judges by itself has judged.
    let deferred = Arc::new(DeferredServerVerifier::new(None, provider()));
    assert!(restored(&Client::new(CryptoProvider::clone(&provider()), deferred, &clock)));
    // And the handshake with oneself leaves nothing open: signatures are asked for as before.
    let (mut ours, mut theirs) = (client.begin(None), server.begin(None));
    let forged = ours.take();
    theirs.feed(&forged, ALL).unwrap();
    let flight = theirs.take();
    let mut messages: Vec<_> =
        flight.iter().flat_map(|(level, bytes)| messages(bytes).into_iter().map(|m| (*level, m))).collect();
    let verify = messages.iter_mut().find(|(_, message)| message[0] == message::CERTIFICATE_VERIFY).unwrap();
    *verify.1.last_mut().unwrap() ^= 1;
    assert!(ours.feed(&messages, ALL).is_err());
}

#[test]
fn terms_out_of_range_are_refused_before_anything_is_sent() {
    let (_, _, client, mut server) = world();
    let (mut ours, mut theirs) = (client.begin(None), server.begin(None));
    assert!(theirs.tls.issuer().is_none(), "before the handshake is complete there is nothing to resume");
    complete(&mut ours, &mut theirs);
    for fault in [
        TicketTerms { lifetime: Duration::ZERO, ..terms(b"") },
        TicketTerms { lifetime: Duration::from_secs(7 * 24 * 3600 + 1), ..terms(b"") },
        TicketTerms { data: vec![0; MAX_TICKET_DATA + 1].into(), ..terms(b"") },
    ] {
        assert!(matches!(server.issue(&mut theirs, 0, &fault), Err(ApiMisuse::InvalidArgument(_))));
    }
    let largest = TicketTerms { data: vec![7; MAX_TICKET_DATA].into(), ..terms(b"") };
    let message = server.issue(&mut theirs, 0, &largest).unwrap();
    ours.feed(&[(EncryptionLevel::OneRtt, message)], 1).unwrap();
    let (_, _, opened) = resume(&client, &server, &ours.tickets[0]);
    assert_eq!(opened.unwrap().data().len(), MAX_TICKET_DATA);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    /// Tickets are kept in files, and files get damaged: whatever is read, nothing breaks.
    #[test]
    fn damaged_tickets_do_no_harm(at in 0usize..2000, mask in 1u8..) {
        thread_local! {
            static KEPT: (Client, Vec<u8>) = {
                let (_, _, client, mut server) = world();
                let kept = tickets(&client, &mut server, &[terms(b"data")]);
                (client, kept[0].to_bytes())
            };
        }
        KEPT.with(|(client, bytes)| {
            let mut bytes = bytes.clone();
            let at = at % bytes.len();
            bytes[at] ^= mask;
            for bytes in [&bytes[..], &bytes[..at]] {
                if let Ok(ticket) = ResumptionTicket::from_bytes(bytes) {
                    let _ = restore(&ticket, &client.config, &client.verifier);
                }
            }
        });
    }
}
