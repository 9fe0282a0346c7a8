//! Sessions that go on, over real UDP: tickets when the application wants them and with its data, early
//! data, tickets as bytes in another process, keys that servers share, and judgement of tickets that
//! takes its time.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tercel::aio::{Connection, Endpoint, Incoming};
use tercel::{
    Bytes, Configuration, Connect, Error, Identity, OfferedTicket, Resume, ResumptionLevel, ResumptionTicket,
    SendOptions, ServerResumption, Settings, Trust,
};

const ALPN: &[&str] = &["test"];
const PATIENCE: Duration = Duration::from_secs(20);

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("too late: {what}"))
}

/// A server's certificate.
struct Certificate {
    der: CertificateDer<'static>,
    identity: Identity,
}

fn certificate() -> Certificate {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let identity = Identity::new(vec![made.cert.der().clone()], key.into()).unwrap();
    Certificate { der: made.cert.der().clone(), identity }
}

fn on_demand() -> ServerResumption {
    let mut resumption = ServerResumption::default();
    resumption.automatic = 0;
    resumption
}

fn server(certificate: &Certificate, resumption: ServerResumption) -> Configuration {
    let made = Configuration::server(ALPN, Settings::default(), certificate.identity.clone());
    made.unwrap().with_resumption(resumption).unwrap()
}

/// A client as a process that has just begun: it knows nothing but whom to trust.
fn client(certificate: &Certificate) -> Configuration {
    let trust = Trust::roots([certificate.der.clone()]).unwrap();
    Configuration::client(ALPN, Settings::default(), trust).unwrap().without_session_cache()
}

fn listen(configuration: &Configuration) -> (Endpoint, SocketAddr) {
    let endpoint = Endpoint::server(configuration, "127.0.0.1:0".parse().unwrap()).unwrap();
    let address = endpoint.local_address().unwrap();
    (endpoint, address)
}

fn connect_to(address: SocketAddr, ticket: Option<&ResumptionTicket>) -> Connect {
    let mut connect = Connect::new(address, "localhost");
    connect.ticket = ticket.cloned();
    connect
}

/// One client that meets one server again and again.
struct Meeting {
    client: Configuration,
    from: Endpoint,
    server: Endpoint,
    address: SocketAddr,
}

/// What a connection came to.
struct Met {
    client: Connection,
    server: Connection,
    offered: Option<OfferedTicket>,
}

impl Met {
    fn resumed(&self) -> bool {
        assert_eq!(self.client.is_resumed(), self.server.is_resumed());
        self.client.is_resumed()
    }

    fn early_data(&self) -> bool {
        assert_eq!(self.client.is_early_data_accepted(), self.server.is_early_data_accepted());
        self.client.is_early_data_accepted()
    }

    async fn ticket(&self, data: &'static [u8]) -> ResumptionTicket {
        self.server.send_resumption_ticket(Bytes::from_static(data)).unwrap();
        soon("a ticket", self.client.resumption_ticket()).await.unwrap()
    }
}

impl Meeting {
    fn new(certificate: &Certificate, resumption: ServerResumption) -> Self {
        let (server, address) = listen(&server(certificate, resumption));
        Self { client: client(certificate), from: Endpoint::client().unwrap(), server, address }
    }

    async fn meet(&self, ticket: Option<&ResumptionTicket>, decide: impl AsyncFnOnce(Incoming) -> Incoming) -> Met {
        let connecting = self.from.connect_with(&self.client, connect_to(self.address, ticket)).unwrap();
        let early = connecting.early();
        // Whatever becomes of early data, it arrives.
        tokio::spawn(async move {
            let mut stream = early.open_uni().await.unwrap();
            stream.write_all(b"early").await.unwrap();
            stream.finish().unwrap();
            early.closed().await;
        });
        let incoming = decide(soon("a client", self.server.accept()).await.unwrap()).await;
        let offered = incoming.ticket();
        let (client, server) = tokio::join!(connecting, incoming.accept().unwrap());
        let (client, server) = (client.unwrap(), server.unwrap());
        let mut stream = soon("the stream", server.accept_uni()).await.unwrap();
        assert_eq!(soon("its data", stream.read_to_end(100)).await.unwrap(), b"early");
        Met { client, server, offered }
    }

    async fn simply(&self, ticket: Option<&ResumptionTicket>) -> Met {
        self.meet(ticket, async |incoming| incoming).await
    }
}

/// A close that waits until all is delivered waits for tickets, too.
#[tokio::test]
async fn a_ticket_with_the_last_words() {
    let meeting = Meeting::new(&certificate(), on_demand());
    let first = meeting.simply(None).await;
    first.server.send_resumption_ticket(Bytes::from_static(b"farewell")).unwrap();
    first.server.handle().close_delivered(0u32.into(), Bytes::new(), PATIENCE);
    let ticket = soon("a ticket", first.client.resumption_ticket()).await.unwrap();
    let met = meeting.simply(Some(&ticket)).await;
    assert_eq!(met.offered.unwrap().data(), &b"farewell"[..]);
}

#[tokio::test]
async fn tickets_on_demand_with_data_at_any_time() {
    let meeting = Meeting::new(&certificate(), on_demand());
    let first = meeting.simply(None).await;
    assert!(!first.resumed() && first.offered.is_none());
    let one = first.ticket(b"one").await;
    let two = first.ticket(b"two").await;
    assert!(one != two && one.permits_early_data() && one.server_name() == "localhost");
    // Of the connection before, both: in any order, and while it still goes on.
    for (ticket, data) in [(&two, &b"two"[..]), (&one, b"one")] {
        let met = meeting.simply(Some(ticket)).await;
        assert!(met.resumed() && met.early_data());
        let offered = met.offered.as_ref().unwrap();
        assert_eq!(offered.data(), data);
        assert!(offered.early_data());
    }
    // A session that was resumed gives tickets, too.
    let met = meeting.simply(Some(&first.ticket(b"three").await)).await;
    let four = met.ticket(b"four").await;
    drop((first, met));
    let met = meeting.simply(Some(&four)).await;
    assert!(met.resumed() && met.early_data());
    assert_eq!(met.offered.unwrap().data(), &b"four"[..]);
}

/// RFC 8446 section 8: early data that comes again is not taken, though the session goes on.
#[tokio::test]
async fn early_data_is_taken_once_for_each_ticket() {
    let meeting = Meeting::new(&certificate(), on_demand());
    let ticket = meeting.simply(None).await.ticket(b"").await;
    for first in [true, false, false] {
        let met = meeting.simply(Some(&ticket)).await;
        assert!(met.resumed());
        assert_eq!(met.early_data(), first);
    }
}

#[tokio::test]
async fn by_itself_a_client_resumes_with_what_it_was_sent() {
    let certificate = certificate();
    let mut meeting = Meeting::new(&certificate, ServerResumption::default());
    meeting.client =
        Configuration::client(ALPN, Settings::default(), Trust::roots([certificate.der.clone()]).unwrap()).unwrap();
    for again in [false, true, true, true] {
        let met = meeting.simply(None).await;
        assert_eq!((met.resumed(), met.early_data()), (again, again));
        // Two tickets come by themselves; the handshake may be over before they are here.
        soon("a ticket", met.client.resumption_ticket()).await.unwrap();
    }
}

#[tokio::test]
async fn the_level_says_what_can_be_resumed() {
    let certificate = certificate();
    let mut resumption = on_demand();
    resumption.level = ResumptionLevel::Sessions;
    let meeting = Meeting::new(&certificate, resumption.clone());
    let ticket = meeting.simply(None).await.ticket(b"data").await;
    assert!(!ticket.permits_early_data());
    let met = meeting.simply(Some(&ticket)).await;
    assert!(met.resumed() && !met.early_data());
    assert_eq!(met.offered.unwrap().data(), &b"data"[..]);

    resumption.level = ResumptionLevel::None;
    let meeting = Meeting::new(&certificate, resumption);
    let met = meeting.simply(Some(&ticket)).await;
    assert!(!met.resumed() && met.offered.is_none());
    let (tell, heard) = tokio::sync::oneshot::channel();
    met.server.send_resumption_ticket(Bytes::new()).unwrap();
    met.server.handle().inspect(move |_| tell.send(()).unwrap()).unwrap();
    soon("the call before", heard).await.unwrap();
    let nothing = tokio::time::timeout(Duration::from_millis(200), met.client.resumption_ticket()).await;
    assert!(nothing.is_err(), "a ticket came");
}

/// The application's judgement of a ticket, which may take as long as that of a certificate.
#[tokio::test]
async fn tickets_are_judged_when_the_application_is_ready() {
    let meeting = Meeting::new(&certificate(), on_demand());
    for (resume, resumed, early_data) in
        [(Resume::Session, true, true), (Resume::WithoutEarlyData, true, false), (Resume::Refuse, false, false)]
    {
        let ticket = meeting.simply(None).await.ticket(b"user 7").await;
        let met = meeting
            .meet(Some(&ticket), async |incoming| {
                assert_eq!(incoming.ticket().unwrap().data(), &b"user 7"[..]);
                // As if a database were asked.
                tokio::time::sleep(Duration::from_millis(50)).await;
                incoming.resume(resume)
            })
            .await;
        assert_eq!((met.resumed(), met.early_data()), (resumed, early_data), "{resume:?}");
    }
}

#[tokio::test]
async fn servers_share_keys_and_change_them() {
    let certificate = certificate();
    let configurations = [server(&certificate, on_demand()), server(&certificate, on_demand())];
    let endpoints = configurations.clone().map(|configuration| listen(&configuration));
    let [one, two] = endpoints.map(|(server, address)| Meeting {
        client: client(&certificate),
        from: Endpoint::client().unwrap(),
        server,
        address,
    });
    let alone = one.simply(None).await.ticket(b"").await;
    assert!(!two.simply(Some(&alone)).await.resumed(), "each has a key of its own at first");
    let (old, new) = ([1; 32], [2; 32]);
    for configuration in &configurations {
        configuration.set_ticket_keys(&[old]).unwrap();
    }
    let ticket = one.simply(None).await.ticket(b"from one").await;
    let met = two.simply(Some(&ticket)).await;
    assert!(met.resumed() && met.early_data());
    assert_eq!(met.offered.unwrap().data(), &b"from one"[..]);
    // A new key: what the old one sealed is still good.
    configurations[1].set_ticket_keys(&[new, old]).unwrap();
    let ticket = one.simply(None).await.ticket(b"").await;
    assert!(two.simply(Some(&ticket)).await.resumed());
    let ticket = two.simply(None).await.ticket(b"").await;
    assert!(!one.simply(Some(&ticket)).await.resumed(), "sealed by the new key, which this one has not");
    configurations[1].set_ticket_keys(&[new]).unwrap();
    let ticket = one.simply(None).await.ticket(b"").await;
    assert!(!two.simply(Some(&ticket)).await.resumed(), "the old key is gone");
    assert!(matches!(configurations[0].set_ticket_keys(&[]), Err(Error::InvalidArgument(_))));
}

/// A client that was never asked for a certificate must not get by with a ticket where one is demanded.
#[tokio::test]
async fn a_ticket_does_not_stand_for_a_certificate() {
    let certificate = certificate();
    let open = server(&certificate, on_demand());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.der.clone()).unwrap();
    let credential = tercel::ServerCredential {
        identity: certificate.identity.clone(),
        clients: tercel::ClientAuthentication::Required(roots.into()),
    };
    let closed = Configuration::server(ALPN, Settings::default(), credential).unwrap();
    for configuration in [&open, &closed] {
        configuration.set_ticket_keys(&[[1; 32]]).unwrap();
    }
    let meeting = |configuration| {
        let (server, address) = listen(configuration);
        Meeting { client: client(&certificate), from: Endpoint::client().unwrap(), server, address }
    };
    let ticket = meeting(&open).simply(None).await.ticket(b"").await;
    let closed = meeting(&closed);
    let connecting = closed.from.connect_with(&closed.client, connect_to(closed.address, Some(&ticket))).unwrap();
    let incoming = soon("a client", closed.server.accept()).await.unwrap();
    assert!(incoming.ticket().is_none());
    let refused = soon("the end", incoming.accept().unwrap()).await.unwrap_err();
    assert!(refused.to_string().contains("certificate"), "{refused}");
    // The client believed itself connected, or not; it hears of the refusal.
    if let Ok(connection) = soon("the client's end", connecting).await {
        soon("the close", connection.closed()).await;
    }
}

#[tokio::test]
async fn a_ticket_expires() {
    let mut resumption = on_demand();
    resumption.lifetime = Duration::from_secs(1);
    let meeting = Meeting::new(&certificate(), resumption);
    let ticket = meeting.simply(None).await.ticket(b"").await;
    assert!(meeting.simply(Some(&ticket)).await.resumed());
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    while now() <= ticket.expires() + Duration::from_secs(1) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let met = meeting.simply(Some(&ticket)).await;
    assert!(!met.resumed() && met.offered.is_none());
}

#[tokio::test]
async fn what_cannot_be_is_said_at_once() {
    let certificate = certificate();
    let meeting = Meeting::new(&certificate, on_demand());
    let met = meeting.simply(None).await;
    assert!(matches!(met.server.send_resumption_ticket(vec![0; 4097].into()), Err(Error::InvalidArgument(_))));
    let ticket = met.ticket(b"").await;
    let mut other = connect_to(meeting.address, Some(&ticket));
    other.server_name = "example.net".into();
    let error = meeting.from.connect_with(&meeting.client, other).unwrap_err();
    assert_eq!(error.to_string(), "the resumption ticket is of another server");
    let off = client(&certificate).without_resumption();
    let error = meeting.from.connect_with(&off, connect_to(meeting.address, Some(&ticket))).unwrap_err();
    assert_eq!(error.to_string(), "the configuration cannot use a resumption ticket");
    let mut wrong = on_demand();
    wrong.lifetime = Duration::from_secs(8 * 24 * 3600);
    let made = Configuration::server(ALPN, Settings::default(), certificate.identity.clone()).unwrap();
    assert!(matches!(made.with_resumption(wrong), Err(Error::InvalidArgument(_))));
    assert!(ResumptionTicket::from_bytes(b"no ticket").is_err());
    met.server.close(0u32.into(), b"");
    soon("the end", met.server.closed()).await;
    assert!(matches!(met.server.send_resumption_ticket(Bytes::new()), Err(Error::ConnectionClosed(_))));
    // A ticket of a server that is not trusted any more is not used, and nothing is wrong with that.
    let stranger = self::certificate();
    let meeting = Meeting { client: client(&stranger), ..meeting };
    let error = meeting.from.connect_with(&meeting.client, connect_to(meeting.address, Some(&ticket)));
    let incoming = soon("a client", meeting.server.accept()).await.unwrap();
    assert!(incoming.ticket().is_none());
    drop((error, incoming));
}

/// What the first process tells the second one: where, whom to trust, and the ticket.
const INVITATION: &str = "TERCEL_TEST_INVITATION";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// The part of the second process in the test after this one; without an invitation there is none.
#[tokio::test]
async fn second_process() {
    let Ok(invitation) = std::env::var(INVITATION) else { return };
    let parts: Vec<_> = invitation.split(' ').collect();
    let address: SocketAddr = parts[0].parse().unwrap();
    let trust = Trust::roots([CertificateDer::from(bytes(parts[1]))]).unwrap();
    let ticket = ResumptionTicket::from_bytes(&bytes(parts[2])).unwrap();
    let client = Configuration::client(ALPN, Settings::default(), trust).unwrap();
    let endpoint = Endpoint::client().unwrap();
    let connecting = endpoint.connect_with(&client, connect_to(address, Some(&ticket))).unwrap();
    let early = connecting.early();
    let mut stream = early.open_uni().await.unwrap();
    stream.write_all(b"from another process").await.unwrap();
    stream.finish().unwrap();
    let connection = soon("the handshake", connecting).await.unwrap();
    assert!(connection.is_resumed() && connection.is_early_data_accepted());
    soon("the server's close", connection.closed()).await;
}

#[tokio::test]
async fn a_ticket_works_in_another_process() {
    let certificate = certificate();
    let meeting = Meeting::new(&certificate, on_demand());
    let ticket = meeting.simply(None).await.ticket(b"for a process").await;
    let invitation = format!("{} {} {}", meeting.address, hex(&certificate.der), hex(&ticket.to_bytes()));
    let mut second = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "resumption::second_process", "--nocapture"])
        .env(INVITATION, invitation)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let incoming = soon("the second process", meeting.server.accept()).await.unwrap();
    assert_eq!(incoming.ticket().unwrap().data(), &b"for a process"[..]);
    let connection = soon("its handshake", incoming.accept().unwrap()).await.unwrap();
    assert!(connection.is_resumed() && connection.is_early_data_accepted());
    let mut stream = soon("a stream", connection.accept_uni()).await.unwrap();
    assert_eq!(soon("its data", stream.read_to_end(100)).await.unwrap(), b"from another process");
    connection.close(0u32.into(), b"");
    assert!(soon("the second process", second.wait()).await.unwrap().success());
}

/// What must not be replayed waits for the end of the handshake ([`SendOptions::after_handshake`]), while what comes
/// before it on the same stream goes with the first flight.
#[tokio::test]
async fn what_is_for_after_the_handshake_does_not_go_early() {
    let meeting = Meeting::new(&certificate(), on_demand());
    let ticket = meeting.simply(None).await.ticket(b"").await;
    let connecting = meeting.from.connect_with(&meeting.client, connect_to(meeting.address, Some(&ticket))).unwrap();
    let mut stream = connecting.early().open_uni().await.unwrap();
    stream.write_all(b"early, ").await.unwrap();
    let late = SendOptions { after_handshake: true, fin: true, ..SendOptions::default() };
    stream.handle().send_with(Bytes::from_static(b"late"), late).unwrap();
    let incoming = soon("a client", meeting.server.accept()).await.unwrap();
    // The server has not answered, and does not before it is told to. What goes early has gone when any of it has: both
    // wait in one queue.
    let sent = loop {
        let (tell, told) = tokio::sync::oneshot::channel();
        stream.handle().inspect(move |stats| tell.send(stats.bytes_sent).unwrap()).unwrap();
        match soon("a look", told).await.unwrap() {
            0 => tokio::task::yield_now().await,
            sent => break sent,
        }
    };
    assert_eq!(sent, 7);
    let (client, server) = tokio::join!(connecting, incoming.accept().unwrap());
    let (client, server) = (client.unwrap(), server.unwrap());
    assert!(client.is_early_data_accepted());
    let mut received = soon("the stream", server.accept_uni()).await.unwrap();
    assert_eq!(soon("its data", received.read_to_end(100)).await.unwrap(), b"early, late");
}
