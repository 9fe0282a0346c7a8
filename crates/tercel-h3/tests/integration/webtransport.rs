//! WebTransport, by a client that is written byte by byte, so that it can break every rule.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tercel::aio::{Connection, Endpoint, ReadError as RawReadError, RecvStream as RawRecv, SendStream as RawSend};
use tercel::{CloseReason, Configuration, Identity, Settings, Trust};
use tercel_h3::webtransport::{ReadError, SendDatagramError, Session, SessionEnd, SessionRequest, WriteError};
use tercel_h3::{Handle, Limits, Server, service_fn};
use tercel_wire::{Reader, Writer};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

const PATIENCE: Duration = Duration::from_secs(30);

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("too late: {what}"))
}

const BIDIRECTIONAL: u64 = 0x41;
const UNIDIRECTIONAL: u64 = 0x54;
const SESSION_GONE: u64 = 0x170d_7b68;
const BUFFERED_STREAM_REJECTED: u64 = 0x3994_bd84;
/// The code of a stream for 0 of the application.
const FIRST: u64 = 0x52e4_a40f_a8db;

fn varints(values: &[u64]) -> Vec<u8> {
    let mut bytes = vec![0; values.len() * 8];
    let mut writer = Writer::new(&mut bytes);
    values.iter().for_each(|value| writer.varint(*value));
    let len = writer.position();
    bytes.truncate(len);
    bytes
}

fn frame(kind: u64, body: &[u8]) -> Vec<u8> {
    [varints(&[kind, body.len() as u64]), body.to_vec()].concat()
}

/// A field section of literals (RFC 9204 section 4.5.6).
fn section(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = vec![0, 0];
    for (name, value) in fields {
        // The length of a name has a prefix of 3 bits, that of a value one of 7.
        assert!(value.len() < 127);
        match name.len() {
            len @ 0..7 => bytes.push(0x20 | len as u8),
            len => bytes.extend([0x27, len as u8 - 7]),
        }
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(value.len() as u8);
        bytes.extend_from_slice(value.as_bytes());
    }
    frame(1, &bytes)
}

fn is_answer(bytes: &[u8]) -> bool {
    // Behind it there may be a frame to be ignored.
    bytes.windows(9).any(|part| part == b"an answer")
}

struct Running {
    sessions: mpsc::UnboundedReceiver<SessionRequest>,
    handle: Handle,
    task: tokio::task::JoinHandle<()>,
    configuration: Configuration,
    address: std::net::SocketAddr,
}

/// A server that hands out those who ask for sessions.
fn start(limits: Limits) -> Running {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let identity = Identity::new(vec![made.cert.der().clone()], key.into()).unwrap();
    let (sender, sessions) = mpsc::unbounded_channel();
    let server =
        Server::bind("127.0.0.1:0".parse().unwrap(), identity).unwrap().limits(limits).webtransport(move |request| {
            let sender = sender.clone();
            async move {
                assert_ne!(request.uri().path(), "/panic", "as wanted");
                if request.uri().path() != "/dropped" {
                    sender.send(request).unwrap();
                }
            }
        });
    let (address, handle) = (server.local_address(), server.handle());
    let service = service_fn(|_| async { Ok::<_, Infallible>(Response::new(Full::from("an answer"))) });
    let task = tokio::spawn(async move { server.serve(service).await.unwrap() });
    let settings = Settings { max_datagram_size: 65_535, ..Settings::default() };
    let trust = Trust::roots([made.cert.der().clone()]).unwrap();
    let configuration = Configuration::client(&[tercel_h3::ALPN], settings, trust).unwrap();
    Running { sessions, handle, task, configuration, address }
}

impl Running {
    async fn client(&self) -> Client {
        let endpoint = Endpoint::client().unwrap();
        let connection = endpoint.connect(&self.configuration, self.address, "localhost").unwrap().await.unwrap();
        let mut control = connection.open_uni().await.unwrap();
        let settings = varints(&[0x08, 1, 0x33, 1, 0x2b60_3742, 1]);
        control.write_all(&[vec![0], frame(4, &settings)].concat()).await.unwrap();
        Client { connection, _control: control, _endpoint: endpoint }
    }

    async fn next(&mut self) -> SessionRequest {
        soon("a request for a session", self.sessions.recv()).await.unwrap()
    }

    /// A client, and a session at both ends.
    async fn session(&mut self) -> (Client, Asked, Session) {
        let client = self.client().await;
        let (asked, session) = self.another(&client).await;
        (client, asked, session)
    }

    async fn another(&mut self, client: &Client) -> (Asked, Session) {
        let mut asked = client.ask("/session").await;
        let session = soon("acceptance", self.next().await.accept()).await.unwrap();
        assert_eq!(asked.status().await, StatusCode::OK);
        (asked, session)
    }
}

struct Client {
    connection: Connection,
    _control: RawSend,
    _endpoint: Endpoint,
}

/// A request for a session.
struct Asked {
    id: u64,
    send: RawSend,
    recv: RawRecv,
    read: Vec<u8>,
}

impl Client {
    async fn ask(&self, path: &str) -> Asked {
        let (mut send, recv) = self.connection.open_bi().await.unwrap();
        let fields = [
            (":method", "CONNECT"),
            (":protocol", "webtransport"),
            (":scheme", "https"),
            (":authority", "localhost"),
            (":path", path),
            ("origin", "https://localhost"),
        ];
        send.write_all(&section(&fields)).await.unwrap();
        send.started().await.unwrap();
        Asked { id: send.id().unwrap().into_wire(), send, recv, read: Vec::new() }
    }

    /// Whether an ordinary request is answered.
    async fn answers(&self) -> bool {
        let (mut send, mut recv) = self.connection.open_bi().await.unwrap();
        let fields = [(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", "/")];
        send.write_all(&section(&fields)).await.unwrap();
        send.finish().unwrap();
        is_answer(&soon("an answer", recv.read_to_end(1000)).await.unwrap())
    }

    async fn open_bi(&self, session: u64) -> (RawSend, RawRecv) {
        let (mut send, recv) = soon("a stream", self.connection.open_bi()).await.unwrap();
        send.write_all(&varints(&[BIDIRECTIONAL, session])).await.unwrap();
        (send, recv)
    }

    async fn open_uni(&self, session: u64) -> RawSend {
        let mut send = soon("a stream", self.connection.open_uni()).await.unwrap();
        send.write_all(&varints(&[UNIDIRECTIONAL, session])).await.unwrap();
        send
    }

    /// The next unidirectional stream of a session; those of HTTP/3 are left aside.
    async fn accept_uni(&self) -> (u64, RawRecv) {
        loop {
            let mut recv = soon("a stream", self.connection.accept_uni()).await.unwrap();
            let kind = varint(&mut recv).await;
            if kind == UNIDIRECTIONAL {
                return (varint(&mut recv).await, recv);
            }
            std::mem::forget(recv);
        }
    }

    fn datagram(&self, session: u64, data: &[u8]) {
        self.connection.send_datagram([&varints(&[session / 4]), data].concat().into()).unwrap();
    }

    async fn read_datagram(&self) -> (u64, Bytes) {
        let data = soon("a datagram", self.connection.read_datagram()).await.unwrap();
        let mut reader = Reader::new(&data);
        (reader.varint().unwrap() * 4, Bytes::copy_from_slice(reader.rest()))
    }

    /// The code with which the server closes the connection.
    async fn closed(&self) -> u64 {
        match soon("the end", self.connection.closed()).await {
            CloseReason::PeerApplication { code, .. } => code.into_inner(),
            reason => panic!("{reason}"),
        }
    }
}

async fn varint(recv: &mut RawRecv) -> u64 {
    let mut bytes = soon("a byte", recv.read_chunk(1)).await.unwrap().unwrap().to_vec();
    while bytes.len() < 1 << (bytes[0] >> 6) {
        bytes.extend_from_slice(&soon("a byte", recv.read_chunk(1)).await.unwrap().unwrap());
    }
    Reader::new(&bytes).varint().unwrap()
}

impl Asked {
    /// The next frame that is not there to be ignored; `None` at the end.
    async fn frame(&mut self) -> Option<(u64, Vec<u8>)> {
        loop {
            let mut reader = Reader::new(&self.read);
            if let (Ok(kind), Ok(body)) = (reader.varint(), reader.length_prefixed()) {
                let body = body.to_vec();
                self.read.drain(..self.read.len() - reader.remaining());
                if kind > 1 {
                    continue;
                }
                return Some((kind, body));
            }
            self.read.extend_from_slice(&soon("a frame", self.recv.read_chunk(1000)).await.unwrap()?);
        }
    }

    async fn status(&mut self) -> StatusCode {
        let (kind, body) = self.frame().await.unwrap();
        assert_eq!(kind, 1);
        // Those of the static table that the server sends, or a literal behind the table's name.
        match body[2..] {
            [0xd9, ..] => StatusCode::OK,
            [0xdb, ..] => StatusCode::NOT_FOUND,
            [0xff, 0x05, ..] => StatusCode::FORBIDDEN,
            [0x5f, 0x09, 0x83, 0x68, 0x4f, 0xff, ..] => StatusCode::TOO_MANY_REQUESTS,
            _ => panic!("{body:x?}"),
        }
    }

    async fn capsule(&mut self, capsule: &[u8]) {
        self.send.write_all(&frame(0, capsule)).await.unwrap();
    }
}

fn close(code: u32, reason: &str) -> Vec<u8> {
    let head = varints(&[0x2843, 4 + reason.len() as u64]);
    [&head, &code.to_be_bytes()[..], reason.as_bytes()].concat()
}

fn message(number: usize) -> Vec<u8> {
    format!("message {number} ").repeat(1 + number % 50).into_bytes()
}

/// Echoes everything until the session ends.
async fn echo(session: Session) -> SessionEnd {
    loop {
        tokio::select! {
            datagram = session.read_datagram() => match datagram {
                Ok(datagram) => session.send_datagram(datagram).unwrap(),
                Err(end) => return end,
            },
            stream = session.accept_bi() => match stream {
                Ok((mut send, mut recv)) => {
                    tokio::spawn(async move { tokio::io::copy(&mut recv, &mut send).await });
                }
                Err(end) => return end,
            },
            stream = session.accept_uni() => match stream {
                Ok(mut recv) => {
                    let session = session.clone();
                    tokio::spawn(async move {
                        let all = recv.read_to_end(1 << 20).await.unwrap();
                        session.open_uni().await.unwrap().write_chunk(all.into()).await.unwrap();
                    });
                }
                Err(end) => return end,
            },
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_messages_and_a_thousand_datagrams_come_back() {
    let mut running = start(Limits::default());
    let (client, mut asked, session) = running.session().await;
    assert_eq!(
        (session.uri().path(), &session.headers()["origin"]),
        ("/session", &"https://localhost".parse().unwrap())
    );
    assert!(session.request().extensions().get::<tercel_h3::RemoteAddress>().is_some());
    let echoing = tokio::spawn(echo(session));
    let client = std::sync::Arc::new(client);
    let mut messages = JoinSet::new();
    for from in 0..10 {
        let (client, id) = (client.clone(), asked.id);
        messages.spawn(async move {
            for number in (from..500).step_by(10) {
                let (mut send, mut recv) = client.open_bi(id).await;
                send.write_all(&message(number)).await.unwrap();
                send.finish().unwrap();
                let back = soon("an echo", recv.read_to_end(1 << 20)).await.unwrap();
                assert!(back == message(number), "{number}");
                let mut send = client.open_uni(id).await;
                send.write_all(&message(number)).await.unwrap();
                send.finish().unwrap();
            }
        });
    }
    let mut back = Vec::new();
    for _ in 0..500 {
        let (session, mut recv) = client.accept_uni().await;
        assert_eq!(session, asked.id);
        back.push(soon("an echo", recv.read_to_end(1 << 20)).await.unwrap());
    }
    let mut sent: Vec<_> = (0..500).map(message).collect();
    sent.sort();
    back.sort();
    assert!(sent == back);
    while let Some(done) = messages.join_next().await {
        done.unwrap();
    }
    for number in 0..1000 {
        client.datagram(asked.id, &message(number)[..8 + number % 3]);
        assert_eq!(client.read_datagram().await, (asked.id, message(number)[..8 + number % 3].to_vec().into()));
    }
    // And requests go on working beside it.
    assert!(client.answers().await);
    asked.capsule(&close(7, "enough")).await;
    let end = soon("the end", echoing).await.unwrap();
    assert_eq!(end, SessionEnd::ClosedByPeer { code: 7, reason: "enough".into() });
    assert_eq!(asked.frame().await, None);
    assert!(client.answers().await);
}

#[tokio::test]
async fn sessions_of_one_connection_are_kept_apart() {
    let mut running = start(Limits::default());
    let (client, first, one) = running.session().await;
    let (second, two) = running.another(&client).await;
    let mut answers = Vec::new();
    for (asked, text) in [(&second, "two"), (&first, "one")] {
        client.datagram(asked.id, text.as_bytes());
        client.open_uni(asked.id).await.write_all(text.as_bytes()).await.unwrap();
        let (mut send, recv) = client.open_bi(asked.id).await;
        send.write_all(text.as_bytes()).await.unwrap();
        answers.push(recv);
    }
    for (session, asked, text) in [(&one, &first, "one"), (&two, &second, "two")] {
        assert_eq!(soon("a datagram", session.read_datagram()).await.unwrap(), text);
        let mut recv = soon("a stream", session.accept_uni()).await.unwrap();
        assert_eq!(soon("its data", recv.read_to_end(10)).await.unwrap(), text.as_bytes());
        let (mut send, mut recv) = soon("a stream", session.accept_bi()).await.unwrap();
        assert_eq!(soon("its data", recv.read_to_end(10)).await.unwrap(), text.as_bytes());
        send.write_all(b"back").await.unwrap();
        session.send_datagram(text).unwrap();
        assert_eq!(client.read_datagram().await, (asked.id, text.into()));
        let (mut send, mut recv) = session.open_bi().await.unwrap();
        send.write_all(text.as_bytes()).await.unwrap();
        let (mut answer, mut asking) = soon("a stream", client.connection.accept_bi()).await.unwrap();
        assert_eq!((varint(&mut asking).await, varint(&mut asking).await), (BIDIRECTIONAL, asked.id));
        answer.write_all(b"answer").await.unwrap();
        answer.finish().unwrap();
        assert_eq!(soon("an answer", recv.read_to_end(10)).await.unwrap(), b"answer");
    }
    // The end of one is not that of the other.
    one.close(0, "");
    assert_eq!(soon("the end", one.closed()).await, SessionEnd::Closed { code: 0, reason: String::new() });
    two.send_datagram("still here").unwrap();
    assert_eq!(client.read_datagram().await, (second.id, "still here".into()));
}

#[tokio::test]
async fn sessions_are_refused_with_a_status() {
    let mut limits = Limits::default();
    limits.max_sessions = 2;
    let mut running = start(limits);
    let client = running.client().await;
    let mut asked = client.ask("/forbidden").await;
    running.next().await.reject(StatusCode::FORBIDDEN);
    assert_eq!((asked.status().await, asked.frame().await), (StatusCode::FORBIDDEN, None));
    // Dropped by the handler, and by whoever got it.
    let mut asked = client.ask("/dropped").await;
    assert_eq!((asked.status().await, asked.frame().await), (StatusCode::NOT_FOUND, None));
    let mut asked = client.ask("/session").await;
    drop(running.next().await);
    assert_eq!((asked.status().await, asked.frame().await), (StatusCode::NOT_FOUND, None));
    // There is room for two, and then again when one has ended.
    let (_first, one) = running.another(&client).await;
    let (_second, _two) = running.another(&client).await;
    assert_eq!(client.ask("/session").await.status().await, StatusCode::TOO_MANY_REQUESTS);
    one.close(0, "");
    drop(one);
    drop(_first);
    loop {
        // The server learns of the end in its own time.
        let mut asked = client.ask("/session").await;
        tokio::select! {
            biased;
            request = running.sessions.recv() => {
                let _third = request.unwrap().accept().await.unwrap();
                assert_eq!(asked.status().await, StatusCode::OK);
                break;
            }
            status = asked.status() => assert_eq!(status, StatusCode::TOO_MANY_REQUESTS),
        }
    }
    // A handler that panics harms nobody else.
    let client = running.client().await;
    let mut asked = client.ask("/panic").await;
    assert_eq!(soon("an end", asked.recv.read_chunk(10)).await.unwrap_or(None), None);
    assert!(client.answers().await);
}

#[tokio::test]
async fn the_server_closes_with_a_code_and_a_reason() {
    let mut running = start(Limits::default());
    let (client, mut asked, session) = running.session().await;
    let (mut send, mut recv) = client.open_bi(asked.id).await;
    send.write_all(b"x").await.unwrap();
    let (mut its_send, mut its_recv) = soon("a stream", session.accept_bi()).await.unwrap();
    assert_eq!(soon("its data", its_recv.read_chunk(10)).await.unwrap().unwrap(), "x");
    let reading = tokio::spawn(async move { its_recv.read_chunk(10).await });
    tokio::task::yield_now().await;
    session.close(0x0102_0304, "bye");
    session.close(5, "too late");
    let end = SessionEnd::Closed { code: 0x0102_0304, reason: "bye".into() };
    assert_eq!(session.closed().await, end);
    assert_eq!(asked.frame().await, Some((0, close(0x0102_0304, "bye"))));
    assert_eq!(asked.frame().await, None);
    // Streams end with their session: for who waits, for who writes, and for the peer.
    assert_eq!(soon("the end", reading).await.unwrap(), Err(ReadError::Session(end.clone())));
    assert_eq!(its_send.write_all(b"y").await, Err(WriteError::Session(end.clone())));
    assert_eq!(its_send.finish(), Err(WriteError::Session(end.clone())));
    assert_eq!(soon("a reset", recv.read_chunk(10)).await, Err(RawReadError::Reset(code(SESSION_GONE))));
    assert_eq!(soon("a stop", send.stopped()).await, Ok(Some(code(SESSION_GONE))));
    assert_eq!(session.open_uni().await.err(), Some(end.clone()));
    assert_eq!(session.accept_uni().await.err(), Some(end.clone()));
    assert_eq!(session.read_datagram().await, Err(end.clone()));
    assert_eq!(session.send_datagram("x"), Err(SendDatagramError::Session(end)));
    // What comes for it now is refused.
    let (mut late, _recv) = client.open_bi(asked.id).await;
    assert_eq!(soon("a stop", late.stopped()).await, Ok(Some(code(SESSION_GONE))));
    client.datagram(asked.id, b"late");
    assert!(client.answers().await);
}

fn code(code: u64) -> tercel::ApplicationErrorCode {
    code.try_into().unwrap()
}

#[tokio::test]
async fn the_client_leaves_with_streams_open() {
    let mut running = start(Limits::default());
    // By a capsule, by the end of the request's stream, by its reset, with the connection.
    for way in 0..4 {
        let (client, mut asked, session) = running.session().await;
        let (mut send, _recv) = client.open_bi(asked.id).await;
        send.write_all(b"unread").await.unwrap();
        let mut finished = client.open_uni(asked.id).await;
        finished.write_all(b"whole").await.unwrap();
        finished.finish().unwrap();
        let (mut its_send, mut its_recv) = soon("a stream", session.accept_bi()).await.unwrap();
        assert_eq!(its_recv.read_chunk(10).await.unwrap().unwrap(), "unread");
        // Until everything is acknowledged, so that it has arrived.
        assert_eq!(soon("an acknowledgement", finished.stopped()).await, Ok(None));
        match way {
            0 => asked.capsule(&close(9, "über")).await,
            1 => asked.send.finish().unwrap(),
            2 => asked.send.reset(code(0x10c)).unwrap(),
            _ => client.connection.close(code(0x100), b"away"),
        }
        let end = soon("the end", session.closed()).await;
        match (way, &end) {
            (0, SessionEnd::ClosedByPeer { code: 9, reason }) => assert_eq!(reason, "über"),
            (1, SessionEnd::ClosedByPeer { code: 0, .. }) | (2, SessionEnd::Broken(_)) => {}
            (3, SessionEnd::Connection(CloseReason::PeerApplication { .. })) => {}
            (way, end) => panic!("{way}: {end}"),
        }
        assert_eq!(soon("an error", its_recv.read_chunk(10)).await, Err(ReadError::Session(end.clone())));
        assert_eq!(soon("an error", its_send.write_all(b"x")).await, Err(WriteError::Session(end.clone())));
        // What had arrived can still be accepted and read.
        let mut recv = soon("a stream", session.accept_uni()).await.unwrap();
        assert_eq!(soon("its data", recv.read_to_end(10)).await.unwrap(), b"whole");
        if way < 3 {
            assert!(client.answers().await);
        }
        assert_eq!(session.accept_uni().await.err(), Some(end));
    }
}

#[tokio::test]
async fn a_session_that_nobody_holds_is_closed() {
    let mut running = start(Limits::default());
    let (client, mut asked, session) = running.session().await;
    let mut stream = session.open_uni().await.unwrap();
    drop(session);
    // A stream holds it.
    stream.write_all(b"the last").await.unwrap();
    let (_, mut recv) = client.accept_uni().await;
    assert_eq!(soon("its data", recv.read_chunk(20)).await.unwrap().unwrap(), "the last");
    drop(stream);
    assert_eq!(asked.frame().await, None);
    assert_eq!(soon("the end", recv.read_chunk(20)).await, Ok(None));
}

#[tokio::test]
async fn codes_of_streams_reach_the_other_side() {
    let mut running = start(Limits::default());
    let (client, asked, session) = running.session().await;
    let (mut send, mut recv) = client.open_bi(asked.id).await;
    let (mut its_send, mut its_recv) = soon("a stream", session.accept_bi()).await.unwrap();
    // 30 lies behind the first reserved value.
    its_send.reset(30).unwrap();
    its_recv.stop(29).unwrap();
    assert_eq!(soon("a reset", recv.read_chunk(10)).await, Err(RawReadError::Reset(code(FIRST + 31))));
    assert_eq!(soon("a stop", send.stopped()).await, Ok(Some(code(FIRST + 29))));
    let (mut send, mut recv) = client.open_bi(asked.id).await;
    let (mut its_send, mut its_recv) = soon("a stream", session.accept_bi()).await.unwrap();
    send.reset(code(FIRST + 31)).unwrap();
    recv.stop(code(5)).unwrap();
    assert_eq!(soon("a reset", its_recv.read_chunk(10)).await, Err(ReadError::Reset(Some(30))));
    assert_eq!(soon("a stop", its_send.stopped()).await, Err(WriteError::Stopped(None)));
    // Dropped unread, a stream is stopped with code 0.
    let mut send = client.open_uni(asked.id).await;
    drop(soon("a stream", session.accept_uni()).await.unwrap());
    assert_eq!(soon("a stop", send.stopped()).await, Ok(Some(code(FIRST))));
}

/// A client may send all at once: streams and datagrams may come before their session.
#[tokio::test]
async fn what_comes_before_its_session_waits_for_it() {
    let mut running = start(Limits::default());
    let client = running.client().await;
    // The session will be on the second bidirectional stream.
    let (mut first, _recv) = client.connection.open_bi().await.unwrap();
    first.write_all(&varints(&[BIDIRECTIONAL, 4])).await.unwrap();
    first.write_all(b"bidirectional").await.unwrap();
    let mut uni = client.open_uni(4).await;
    uni.write_all(b"unidirectional").await.unwrap();
    client.datagram(4, b"datagram");
    // Something after them has arrived.
    let (mut other, mut answer) = client.connection.open_bi().await.unwrap();
    other.started().await.unwrap();
    assert_eq!(other.id().unwrap().into_wire(), 4);
    let (mut get, mut got) = client.connection.open_bi().await.unwrap();
    let fields = [(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", "/")];
    get.write_all(&section(&fields)).await.unwrap();
    get.finish().unwrap();
    assert!(is_answer(&soon("an answer", got.read_to_end(1000)).await.unwrap()));
    let fields = [
        (":method", "CONNECT"),
        (":protocol", "webtransport"),
        (":scheme", "https"),
        (":authority", "localhost"),
        (":path", "/"),
    ];
    other.write_all(&section(&fields)).await.unwrap();
    let session = running.next().await.accept().await.unwrap();
    assert!(soon("an answer", answer.read_chunk(100)).await.unwrap().is_some());
    assert_eq!(soon("a datagram", session.read_datagram()).await.unwrap(), "datagram");
    let (_, mut recv) = soon("a stream", session.accept_bi()).await.unwrap();
    assert_eq!(soon("its data", recv.read_chunk(100)).await.unwrap().unwrap(), "bidirectional");
    let mut recv = soon("a stream", session.accept_uni()).await.unwrap();
    assert_eq!(soon("its data", recv.read_chunk(100)).await.unwrap().unwrap(), "unidirectional");
}

#[tokio::test]
async fn streams_of_sessions_that_never_come_are_bounded() {
    let mut running = start(Limits::default());
    let (client, asked, session) = running.session().await;
    let mut streams = Vec::new();
    for number in 0..70u64 {
        streams.push(client.open_uni(4000 + 4 * number).await);
        client.datagram(4000, &[7; 500]);
    }
    for stream in &mut streams[..6] {
        assert_eq!(soon("a stop", stream.stopped()).await, Ok(Some(code(BUFFERED_STREAM_REJECTED))));
    }
    // What is for a session goes its way all the same.
    client.open_uni(asked.id).await.write_all(b"x").await.unwrap();
    assert!(soon("a stream", session.accept_uni()).await.is_ok());
    // A request that asks for no session takes with it what waits for one.
    let (mut send, mut recv) = client.connection.open_bi().await.unwrap();
    send.started().await.unwrap();
    let mut waiting = client.open_uni(send.id().unwrap().into_wire()).await;
    waiting.write_all(b"x").await.unwrap();
    let fields = [(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", "/")];
    send.write_all(&section(&fields)).await.unwrap();
    send.finish().unwrap();
    assert!(is_answer(&soon("an answer", recv.read_to_end(1000)).await.unwrap()));
    let stopped = soon("a stop", waiting.stopped()).await.unwrap();
    assert!([SESSION_GONE, BUFFERED_STREAM_REJECTED].map(code).contains(&stopped.unwrap()), "{stopped:?}");
}

#[tokio::test]
async fn unread_datagrams_are_bounded() {
    let mut limits = Limits::default();
    limits.max_unread_datagrams = 10;
    let mut running = start(limits);
    let (client, asked, session) = running.session().await;
    for number in 0..100u8 {
        client.datagram(asked.id, &[number]);
        // One after the other; each is there before the next is sent.
        while session.dropped_datagrams() + 10 < u64::from(number) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    while session.dropped_datagrams() < 90 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for number in 90..100u8 {
        assert_eq!(soon("a datagram", session.read_datagram()).await.unwrap()[..], [number]);
    }
    assert_eq!(session.dropped_datagrams(), 90);
    let max = session.max_datagram_size().unwrap();
    assert_eq!(session.send_datagram(vec![0; max + 1]), Err(SendDatagramError::TooLarge));
    session.send_datagram(vec![1; max]).unwrap();
    assert_eq!(client.read_datagram().await.1.len(), max);
}

#[tokio::test]
async fn who_breaks_the_rules_is_told_which() {
    let mut running = start(Limits::default());
    // No session can have such an ID (RFC 9114 section 8.1, H3_ID_ERROR).
    for id in [1, 2, 3, 7] {
        let client = running.client().await;
        client.open_uni(id).await;
        assert_eq!(client.closed().await, 0x108);
    }
    let client = running.client().await;
    client.open_bi(2).await;
    assert_eq!(client.closed().await, 0x108);
    // Datagrams that name no request, or one that cannot be (RFC 9297 section 2.1).
    for data in [&[][..], &[0x40], &[0xff; 8]] {
        let client = running.client().await;
        client.connection.send_datagram(Bytes::copy_from_slice(data)).unwrap();
        assert_eq!(client.closed().await, 0x33, "{data:x?}");
    }
    // Capsules that cannot be (RFC 9297 section 3.3, H3_MESSAGE_ERROR).
    for capsule in [&[0x68, 0x43, 3, 0, 0, 0][..], &[0x68, 0x43, 5, 0, 0, 0, 1, 0xff], &[0x68, 0x43, 8, 0]] {
        let (client, mut asked, session) = running.session().await;
        asked.capsule(capsule).await;
        if capsule.len() == 4 {
            asked.send.finish().unwrap();
        }
        assert!(matches!(soon("the end", session.closed()).await, SessionEnd::Broken(_)), "{capsule:x?}");
        assert_eq!(soon("a reset", asked.recv.read_chunk(9)).await, Err(RawReadError::Reset(code(0x10e))));
        assert!(client.answers().await);
    }
    // Capsules that nobody knows are skipped, however long they say they are.
    let (_client, mut asked, session) = running.session().await;
    asked.capsule(&varints(&[0x7777, 3, 0x01, 0x02, 0x03, 0x17, 1 << 40])).await;
    for _ in 0..100 {
        asked.capsule(&[9; 10_000]).await;
    }
    assert!(session.send_datagram("x").is_ok());
    // A stream that never tells whose it is harms nobody, nor does one that ends before.
    let (client, _asked, session) = running.session().await;
    let mut silent = client.connection.open_uni().await.unwrap();
    silent.write_all(&[0x40]).await.unwrap();
    let mut short = client.connection.open_uni().await.unwrap();
    short.write_all(&[0x40, 0x54]).await.unwrap();
    short.finish().unwrap();
    assert!(client.answers().await);
    assert!(session.send_datagram("x").is_ok());
}

/// A stop asks sessions to end, and waits for them as for requests.
#[tokio::test]
async fn a_stop_drains_sessions() {
    let mut running = start(Limits::default());
    let (client, mut asked, session) = running.session().await;
    let mut control = soon("a stream", client.connection.accept_uni()).await.unwrap();
    assert_eq!((varint(&mut control).await, varint(&mut control).await), (0, 4));
    let settings = varint(&mut control).await;
    for _ in 0..settings {
        soon("a byte", control.read_chunk(1)).await.unwrap();
    }
    running.handle.stop(10 * PATIENCE);
    soon("draining", session.draining()).await;
    // GOAWAY (RFC 9114 section 5.2) comes early and names no request; the next names the first that is not served,
    // and that is not served.
    for (len, id) in [(8, (1 << 62) - 4), (1, asked.id + 4)] {
        let goaway = (varint(&mut control).await, varint(&mut control).await, varint(&mut control).await);
        assert_eq!(goaway, (7, len, id));
    }
    let mut late = client.ask("/session").await;
    assert_eq!(late.id, asked.id + 4);
    assert_eq!(soon("a rejection", late.recv.read_chunk(9)).await, Err(RawReadError::Reset(code(0x10b))));
    // DRAIN_WEBTRANSPORT_SESSION.
    assert_eq!(asked.frame().await, Some((0, varints(&[0x78ae, 0]))));
    // What is under way goes on.
    let (mut send, _recv) = client.open_bi(asked.id).await;
    send.write_all(b"the last").await.unwrap();
    let (_, mut recv) = soon("a stream", session.accept_bi()).await.unwrap();
    assert_eq!(soon("its data", recv.read_chunk(20)).await.unwrap().unwrap(), "the last");
    drop(recv);
    session.close(3, "stopping");
    assert_eq!(asked.frame().await, Some((0, close(3, "stopping"))));
    asked.send.finish().unwrap();
    assert_eq!(client.closed().await, 0x100);
    soon("the end of the server", running.task).await.unwrap();
    // The client may ask for it as well.
    let mut running = start(Limits::default());
    let (_client, mut asked, session) = running.session().await;
    asked.capsule(&varints(&[0x78ae, 0])).await;
    soon("draining", session.draining()).await;
    assert!(session.send_datagram("x").is_ok());
    // A session that does not end by itself ends with the time.
    running.handle.stop(Duration::from_millis(50));
    assert!(matches!(soon("the end", session.closed()).await, SessionEnd::Connection(_)));
    soon("the end of the server", running.task).await.unwrap();
}
