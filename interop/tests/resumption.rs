//! Sessions that go on with real peers: other stacks' clients come back to a Tercel server with the
//! tickets that it made, and a Tercel client comes back to other stacks' servers; with early data where
//! the peer has it.
#![allow(clippy::disallowed_methods, reason = "it is measured how soon peers learn")]

use std::time::{Duration, Instant};

use tercel::aio::Endpoint;
use tercel::{
    Bytes, ClientAuthentication, Configuration, Connect, Resume, ResumptionLevel, ResumptionTicket, ServerCredential,
    ServerResumption, Settings, Trust,
};
use tercel_interop::ours::{Heard, OurServer, Resuming, identity};
use tercel_interop::{ALPN, Certificate, Client, PATIENCE, QUESTION, Seen, Server, Told, peers};

/// What a connection came to, as the server saw it.
#[derive(Debug, PartialEq, Eq)]
struct Met {
    resumed: bool,
    early_data: bool,
    /// Whether the client's certificate was judged.
    judged: bool,
    /// What was in the ticket that the client showed.
    ticket: Option<Bytes>,
}

/// The first time.
const NEW: Met = Met { resumed: false, early_data: false, judged: false, ticket: None };

async fn told(client: &mut Client) -> Told {
    let told = tokio::time::timeout(PATIENCE, client.told.recv()).await;
    told.expect("in time").expect("the client lives").0
}

/// The client comes, asks, is answered, and sent away.
async fn meet(client: &mut Client, server: &OurServer) -> Met {
    (client.connect)(server.address);
    let (connection, offered) = server.client();
    let mut met = Met { ticket: offered.map(|ticket| ticket.data().clone()), ..NEW };
    loop {
        match server.hear() {
            Heard::Certificate(_, verdict) => {
                met.judged = true;
                verdict.accept().expect("in time");
            }
            Heard::Connected { resumed, early_data } => {
                (met.resumed, met.early_data) = (resumed, early_data);
                break;
            }
            Heard::Stream => {}
            other => panic!("{}: {other:?}", client.name),
        }
    }
    assert_eq!(told(client).await, Told::Answer(Bytes::from_static(QUESTION)));
    connection.close(9u32.into(), Bytes::new());
    assert_eq!(told(client).await, Told::End(Seen::Application(9)));
    while !matches!(server.hear(), Heard::Complete { connected: true }) {}
    met
}

fn server(ours: &Certificate, clients: ClientAuthentication, resumption: ServerResumption) -> Configuration {
    let credential = ServerCredential { identity: identity(ours), clients };
    let made = Configuration::server(&[ALPN], Settings::default(), credential).expect("TLS");
    made.with_resumption(resumption).expect("terms in their ranges")
}

fn on_demand() -> ServerResumption {
    let mut resumption = ServerResumption::default();
    resumption.automatic = 0;
    resumption
}

type MakeClient = fn(&Certificate, &Certificate) -> Client;

/// A client comes twice. What the second time came to.
async fn twice(client: MakeClient, what: &str, terms: ServerResumption, resuming: Resuming) -> Met {
    let (ours, theirs) = (Certificate::new(), Certificate::new());
    let mut client = client(&theirs, &ours);
    let server = OurServer::start(server(&ours, ClientAuthentication::None, terms), resuming);
    assert_eq!(meet(&mut client, &server).await, NEW);
    let met = meet(&mut client, &server).await;
    println!("{:<10} {what:<36} {met:?}", client.name);
    met
}

async fn come_back(client: MakeClient) {
    let resumed = |early_data, ticket: &'static [u8]| Met {
        resumed: true,
        early_data,
        judged: false,
        ticket: Some(Bytes::from_static(ticket)),
    };
    let met = twice(client, "automatic tickets", ServerResumption::default(), Resuming::default()).await;
    assert_eq!(met, resumed(true, b""));

    let mut sessions = ServerResumption::default();
    sessions.level = ResumptionLevel::Sessions;
    let met = twice(client, "tickets without early data", sessions, Resuming::default()).await;
    assert_eq!(met, resumed(false, b""));

    let mut resuming = Resuming { ticket: Some(b"user 7"), resume: Resume::Session };
    let met = twice(client, "tickets on demand", on_demand(), resuming).await;
    assert_eq!(met, resumed(true, b"user 7"));

    resuming.resume = Resume::WithoutEarlyData;
    let met = twice(client, "early data refused", on_demand(), resuming).await;
    assert_eq!(met, resumed(false, b"user 7"));

    resuming.resume = Resume::Refuse;
    let met = twice(client, "tickets refused", on_demand(), resuming).await;
    assert_eq!(met, Met { resumed: false, ..resumed(false, b"user 7") });
}

/// The same keys at two servers; and a ticket whose key is gone.
async fn share_keys(client: MakeClient) {
    let (ours, theirs) = (Certificate::new(), Certificate::new());
    let mut client = client(&theirs, &ours);
    let start = |keys: &[[u8; 32]]| {
        let configuration = server(&ours, ClientAuthentication::None, ServerResumption::default());
        configuration.set_ticket_keys(keys).expect("keys");
        OurServer::start(configuration, Resuming::default())
    };
    let (first, second, third) = (start(&[[1; 32]]), start(&[[2; 32], [1; 32]]), start(&[[3; 32]]));
    assert_eq!(meet(&mut client, &first).await, NEW);
    let met = meet(&mut client, &second).await;
    println!("{:<10} {:<36} {met:?}", client.name, "keys shared by two servers");
    assert_eq!((met.resumed, met.early_data), (true, true));
    let met = meet(&mut client, &third).await;
    println!("{:<10} {:<36} {met:?}", client.name, "a ticket with an unknown key");
    assert_eq!(met, NEW);
}

/// A client whose certificate was judged is not judged again.
async fn judged_once(client: MakeClient) {
    let (ours, theirs) = (Certificate::new(), Certificate::new());
    let mut client = client(&theirs, &ours);
    let clients = ClientAuthentication::Deferred { required: true, advice: None };
    let configuration = server(&ours, clients, on_demand());
    let server = OurServer::start(configuration, Resuming { ticket: Some(b"known"), resume: Resume::Session });
    assert_eq!(meet(&mut client, &server).await, Met { judged: true, ..NEW });
    let met = meet(&mut client, &server).await;
    println!("{:<10} {:<36} {met:?}", client.name, "judged the first time");
    let ticket = Some(Bytes::from_static(b"known"));
    assert_eq!(met, Met { resumed: true, early_data: true, judged: false, ticket });
}

async fn client_of(client: MakeClient) {
    come_back(client).await;
    share_keys(client).await;
    judged_once(client).await;
}

/// A Tercel client asks a server of another stack, and gets a ticket for the next time.
async fn ask(server: &mut Server, client: &Configuration, ticket: Option<&ResumptionTicket>) -> Asked {
    let endpoint = Endpoint::client().expect("workers");
    let mut connect = Connect::new(server.address, "localhost");
    connect.ticket = ticket.cloned();
    let since = Instant::now();
    let connecting = endpoint.connect_with(client, connect).expect("a connection");
    let early = connecting.early();
    let answered = async {
        let (mut send, mut receive) = early.open_bi().await.expect("a stream");
        send.write_all(QUESTION).await.expect("sent");
        send.finish().expect("finished");
        assert_eq!(receive.read_to_end(100).await.expect("an answer"), QUESTION);
        since.elapsed()
    };
    let asked = async { tokio::join!(connecting, answered) };
    let (connection, answered) = tokio::time::timeout(PATIENCE, asked).await.expect("in time");
    let connection = connection.expect("connected");
    let ticket = tokio::time::timeout(PATIENCE, connection.resumption_ticket()).await;
    let ticket = ticket.expect("in time").expect("a ticket");
    connection.close(9u32.into(), b"");
    let end = tokio::time::timeout(PATIENCE, server.ends.recv()).await.expect("in time");
    assert_eq!(end.expect("the server lives").0, Seen::Application(9));
    let (resumed, early_data) = (connection.is_resumed(), connection.is_early_data_accepted());
    Asked { resumed, early_data, ticket, answered }
}

struct Asked {
    resumed: bool,
    early_data: bool,
    ticket: ResumptionTicket,
    answered: Duration,
}

async fn server_of(mut server: Server) {
    let client = || {
        let trust = Trust::roots([server.certificate.clone()]).expect("a certificate");
        Configuration::client(&[ALPN], Settings::default(), trust).expect("TLS")
    };
    let (mindful, forgetful) = (client(), client().without_session_cache());
    let another_process = client().without_session_cache();
    let told = |what: &str, name: &str, asked: &Asked| {
        let Asked { resumed, early_data, answered, .. } = asked;
        println!("{name:<10} {what:<36} resumed: {resumed}, early data: {early_data}, answered after {answered:.2?}");
    };

    let asked = ask(&mut server, &mindful, None).await;
    told("as a server, the first time", server.name, &asked);
    assert!(!asked.resumed && !asked.early_data);
    assert!(asked.ticket.permits_early_data());
    let asked = ask(&mut server, &mindful, None).await;
    told("as a server, by itself", server.name, &asked);
    assert_eq!((asked.resumed, asked.early_data), (true, true));

    let asked = ask(&mut server, &forgetful, None).await;
    assert!(!asked.resumed && !asked.early_data);
    let bytes = asked.ticket.to_bytes();
    let ticket = ResumptionTicket::from_bytes(&bytes).expect("a ticket");
    let asked = ask(&mut server, &another_process, Some(&ticket)).await;
    told("as a server, by the bytes of a ticket", server.name, &asked);
    assert_eq!((asked.resumed, asked.early_data), (true, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn quinn_comes_back() {
    client_of(peers::quinn::client).await;
}

/// s2n-quic with rustls resumes nothing (`peers::s2n` says why): tickets must not disturb it.
#[tokio::test(flavor = "multi_thread")]
async fn s2n_quic_comes_back() {
    let resuming = Resuming { ticket: Some(b"in vain"), resume: Resume::Session };
    let met = twice(peers::s2n::client, "tickets that it does not read", ServerResumption::default(), resuming).await;
    assert_eq!(met, NEW);
}

#[cfg(feature = "msquic")]
#[tokio::test(flavor = "multi_thread")]
async fn msquic_comes_back() {
    client_of(peers::msquic::client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn back_to_quinn() {
    server_of(peers::quinn::server()).await;
}

#[cfg(feature = "msquic")]
#[tokio::test(flavor = "multi_thread")]
async fn back_to_msquic() {
    server_of(peers::msquic::server()).await;
}

/// A ticket that is sent a minute after the handshake: a client counts its age from when it came, TLS at
/// the server from the handshake, and early data is taken only if both agree.
async fn late_ticket(client: MakeClient) {
    let (ours, theirs) = (Certificate::new(), Certificate::new());
    let mut client = client(&theirs, &ours);
    let server = OurServer::start(server(&ours, ClientAuthentication::None, on_demand()), Resuming::default());
    (client.connect)(server.address);
    let (connection, _) = server.client();
    assert_eq!(told(&mut client).await, Told::Answer(Bytes::from_static(QUESTION)));
    for _ in 0..13 {
        tokio::time::sleep(Duration::from_secs(5)).await;
        connection.ping().expect("it lives");
    }
    connection.send_resumption_ticket(Bytes::from_static(b"late")).expect("it lives");
    connection.close_delivered(9u32.into(), Bytes::new(), PATIENCE);
    assert_eq!(told(&mut client).await, Told::End(Seen::Application(9)));
    while !matches!(server.hear(), Heard::Complete { connected: true }) {}
    let met = meet(&mut client, &server).await;
    println!("{:<10} {:<36} {met:?}", client.name, "a ticket sent after 65 s");
    let ticket = Some(Bytes::from_static(b"late"));
    assert_eq!(met, Met { resumed: true, early_data: true, judged: false, ticket });
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute"]
async fn quinn_comes_back_with_a_late_ticket() {
    late_ticket(peers::quinn::client).await;
}

#[cfg(feature = "msquic")]
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute"]
async fn msquic_comes_back_with_a_late_ticket() {
    late_ticket(peers::msquic::client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn aioquic_comes_back() {
    if peers::aioquic::python().is_none() {
        return println!("skipped: TERCEL_AIOQUIC names no Python with aioquic");
    }
    client_of(peers::aioquic::client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn back_to_aioquic() {
    if peers::aioquic::python().is_none() {
        return println!("skipped: TERCEL_AIOQUIC names no Python with aioquic");
    }
    server_of(peers::aioquic::server().await).await;
}
