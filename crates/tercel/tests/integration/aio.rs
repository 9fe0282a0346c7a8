//! The async face over real UDP.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use tercel::aio::{ConnectError, Connection, Endpoint, ReadError, WriteError};
use tercel::{
    ClientAuthentication, ClientCredential, CloseReason, Configuration, DatagramPriority, DatagramSendState, Identity,
    ServerCredential, Settings, TransportErrorCode, Trust,
};

const ALPN: &[&str] = &["test"];

fn identity(name: &str) -> Identity {
    let made = rcgen::generate_simple_self_signed(vec![name.into()]).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    Identity::new(vec![made.cert.der().clone()], key.into()).unwrap()
}

fn settings() -> Settings {
    Settings { max_datagram_size: 65535, max_idle_timeout: Duration::from_secs(20), ..Settings::default() }
}

fn local() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// A server and the configuration of a client that trusts it.
fn pair() -> (Endpoint, Configuration) {
    pair_with(settings())
}

fn pair_with(settings: Settings) -> (Endpoint, Configuration) {
    let identity = identity("localhost");
    let trust = Trust::Pinned(identity.fingerprint());
    let server = Configuration::server(ALPN, settings.clone(), identity).unwrap();
    let client = Configuration::client(ALPN, settings, trust).unwrap();
    (Endpoint::server(&server, local()).unwrap(), client)
}

/// A connection: the client's end and the server's. The client's endpoint must be kept.
async fn connect(server: &Endpoint, configuration: &Configuration) -> (Endpoint, Connection, Connection) {
    let client = Endpoint::client().unwrap();
    let connecting = client.connect(configuration, server.local_address().unwrap(), "localhost").unwrap();
    let accepting = async { server.accept().await.unwrap().accept().unwrap().await.unwrap() };
    let (ours, theirs) = tokio::join!(connecting, accepting);
    (client, ours.unwrap(), theirs)
}

/// Fails loudly in place of hanging for ever.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(60), future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within a minute"),
    }
}

#[tokio::test]
async fn what_is_sent_comes_back() {
    let (server, configuration) = pair();
    let (_endpoint, client, theirs) = connect(&server, &configuration).await;
    assert_eq!(client.alpn().as_deref(), Some(&b"test"[..]));
    let echo = tokio::spawn(async move {
        let (mut send, mut recv) = theirs.accept_bi().await.unwrap();
        while let Some(chunk) = recv.read_chunk(usize::MAX).await.unwrap() {
            send.write_chunk(chunk).await.unwrap();
        }
        send.finish().unwrap();
        theirs.closed().await
    });
    let (mut send, mut recv) = client.open_bi().await.unwrap();
    send.write_all(b"hello").await.unwrap();
    send.finish().unwrap();
    assert_eq!(soon("echo", recv.read_to_end(100)).await.unwrap(), b"hello");
    client.close(7u32.into(), b"done");
    let reason = CloseReason::PeerApplication { code: 7u32.into(), reason: Bytes::from_static(b"done") };
    assert_eq!(soon("close", echo).await.unwrap(), reason);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_mebibytes_arrive_each_way() {
    const LEN: usize = 100 << 20;
    let (server, configuration) = pair();
    let (_endpoint, client, theirs) = connect(&server, &configuration).await;
    let chunk: Bytes =
        (0..1 << 20).map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect::<Vec<_>>().into();
    for (from, to) in [(client.clone(), theirs.clone()), (theirs, client)] {
        let data = chunk.clone();
        let sending = tokio::spawn(async move {
            let mut send = from.open_uni().await.unwrap();
            for _ in 0..LEN / data.len() {
                send.write_chunk(data.clone()).await.unwrap();
            }
            send.finish().unwrap();
            assert_eq!(send.stopped().await, Ok(None));
        });
        let mut recv = soon("the stream", to.accept_uni()).await.unwrap();
        let mut read = 0;
        while let Some(piece) = soon("data", recv.read_chunk(usize::MAX)).await.unwrap() {
            let at = read % chunk.len();
            let first = piece.len().min(chunk.len() - at);
            assert!(piece[..first] == chunk[at..at + first] && piece[first..] == chunk[..piece.len() - first]);
            read += piece.len();
        }
        assert_eq!(read, LEN);
        soon("the end", sending).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_streams_at_a_limit_of_a_hundred() {
    let (server, configuration) = pair();
    let (_endpoint, client, theirs) = connect(&server, &configuration).await;
    tokio::spawn(async move {
        while let Ok((mut send, mut recv)) = theirs.accept_bi().await {
            tokio::spawn(async move {
                let all = recv.read_to_end(1 << 20).await.unwrap();
                send.write_all(&all).await.unwrap();
                send.finish().unwrap();
            });
        }
    });
    let mut tasks = Vec::new();
    for number in 0..500u32 {
        let client = client.clone();
        tasks.push(tokio::spawn(async move {
            let (mut send, mut recv) = client.open_bi().await.unwrap();
            let data = number.to_be_bytes().repeat(1000);
            send.write_all(&data).await.unwrap();
            send.finish().unwrap();
            assert_eq!(recv.read_to_end(1 << 20).await.unwrap(), data);
        }));
    }
    for task in tasks {
        soon("a stream", task).await.unwrap();
    }
}

/// What the peer permits is opened at once, without a turn of the worker, and what it does not waits.
#[tokio::test]
async fn a_permitted_stream_is_opened_at_once() {
    let (server, configuration) = pair_with(Settings { max_uni_streams: 3, ..settings() });
    let (_client, ours, theirs) = connect(&server, &configuration).await;
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let mut opened = Vec::new();
    for _ in 0..3 {
        match ours.open_uni().as_mut().poll(&mut context) {
            std::task::Poll::Ready(stream) => opened.push(stream.unwrap()),
            std::task::Poll::Pending => panic!("it waits for its worker"),
        }
    }
    let mut fourth = ours.open_uni();
    assert!(fourth.as_mut().poll(&mut context).is_pending());
    for send in &mut opened {
        soon("an ID", send.started()).await.unwrap();
        assert!(send.id().is_some());
        send.write_all(b"hello").await.unwrap();
        send.finish().unwrap();
    }
    for _ in 0..3 {
        let mut recv = soon("a stream", theirs.accept_uni()).await.unwrap();
        assert_eq!(soon("data", recv.read_to_end(100)).await.unwrap(), b"hello");
    }
    let fourth = soon("permission", fourth).await.unwrap();
    assert!(fourth.id() > opened[2].id());
    ours.close(0u32.into(), b"");
    soon("the end", ours.closed()).await;
    assert!(ours.open_uni().await.is_err());
}

#[tokio::test]
async fn datagrams_cross() {
    let (server, configuration) = pair();
    let (_endpoint, client, theirs) = connect(&server, &configuration).await;
    for len in [0, 1, 1000] {
        client.send_datagram(Bytes::from(vec![9; len])).unwrap();
        assert_eq!(soon("a datagram", theirs.read_datagram()).await.unwrap(), vec![9; len]);
    }
    let sent = client.send_datagram_with(Bytes::from_static(b"and?"), DatagramPriority::Urgent).unwrap();
    assert_eq!(soon("an acknowledgement", sent).await, DatagramSendState::Acknowledged);
    assert_eq!(soon("a datagram", theirs.read_datagram()).await.unwrap(), "and?");
    let large = client.send_datagram_with(Bytes::from(vec![9; 70_000]), DatagramPriority::Normal).unwrap();
    assert_eq!(soon("a refusal", large).await, DatagramSendState::Canceled);
    // Many at a time.
    let numbered: Vec<Bytes> = (0..100).map(|number| Bytes::from(vec![number; 10])).collect();
    client.send_datagrams(numbered.iter().cloned()).unwrap();
    let mut received = Vec::new();
    while received.len() < numbered.len() {
        let before = received.len();
        let count = soon("datagrams", theirs.read_datagrams(&mut received, 7)).await.unwrap();
        assert!((1..=7).contains(&count) && received.len() == before + count);
    }
    assert_eq!(received, numbered);
    assert_eq!(theirs.read_datagrams(&mut received, 0).await.unwrap(), 0);
    // The path is found to take more than at first.
    let size = soon("another size", client.max_datagram_size_changed(Some(1))).await.unwrap();
    assert!(size.is_some_and(|size| size > 1000));
    client.close(0u32.into(), b"");
    assert!(soon("the end", theirs.read_datagrams(&mut received, 7)).await.is_err());
    soon("the end", client.closed()).await;
    assert!(client.send_datagrams(numbered).is_err());
}

#[tokio::test]
// RFC 9000 section 3.5#1#4.
async fn a_reset_and_a_stop_are_heard() {
    let (server, configuration) = pair();
    let (_endpoint, client, theirs) = connect(&server, &configuration).await;
    let (mut send, mut recv) = client.open_bi().await.unwrap();
    send.write_all(b"x").await.unwrap();
    let (mut their_send, mut their_recv) = soon("the stream", theirs.accept_bi()).await.unwrap();
    send.reset(3u32.into()).unwrap();
    let error = loop {
        match soon("the reset", their_recv.read_chunk(10)).await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("an end in place of a reset"),
            Err(error) => break error,
        }
    };
    assert_eq!(error, ReadError::Reset(3u32.into()));
    recv.stop(4u32.into()).unwrap();
    assert_eq!(soon("the stop", their_send.stopped()).await, Ok(Some(4u32.into())));
    assert_eq!(their_send.write_all(b"y").await, Err(WriteError::Stopped(4u32.into())));
}

/// draft-ietf-quic-reliable-stream-reset: what was promised is read before the reset; a shutdown waits
/// for it; and where it is off the writer is told.
#[tokio::test]
async fn a_reset_delivers_what_it_promises() {
    let (server, configuration) = pair();
    let (_client, ours, theirs) = connect(&server, &configuration).await;
    let mut send = ours.open_uni().await.unwrap();
    send.write_all(&[7; 300_000]).await.unwrap();
    assert_eq!(send.reset_at(9u32.into(), 200_000), Ok(()));
    assert_eq!(send.write(b"more").await, Err(WriteError::Ended));
    let closing = tokio::spawn(async move { ours.shutdown(0u32.into(), b"").await });
    let mut recv = soon("a stream", theirs.accept_uni()).await.unwrap();
    let mut read = 0;
    let end = loop {
        match soon("data", recv.read_chunk(usize::MAX)).await {
            Ok(Some(chunk)) => read += chunk.len(),
            Ok(None) => panic!("finished"),
            Err(error) => break error,
        }
    };
    assert!((200_000..=300_000).contains(&read), "{read}");
    assert_eq!(end, ReadError::Reset(9u32.into()));
    soon("the end", closing).await.unwrap();

    let (server, configuration) = pair_with(Settings { reset_stream_at: false, ..settings() });
    let (_client, ours, _theirs) = connect(&server, &configuration).await;
    let mut send = ours.open_uni().await.unwrap();
    send.write_all(b"all or nothing").await.unwrap();
    assert_eq!(send.reset_at(9u32.into(), 5), Err(WriteError::Unsupported));
    send.write_all(b"as before").await.unwrap();
}

/// draft-ietf-quic-address-discovery: each end learns where the other sees it; after a move, again.
#[tokio::test]
async fn observed_addresses_are_told() {
    let (server, configuration) = pair_with(Settings { report_addresses: true, learn_address: true, ..settings() });
    let (_client, ours, theirs) = connect(&server, &configuration).await;
    let first = soon("our address", ours.observed_address_changed(None)).await.unwrap();
    assert_eq!(first, theirs.remote_address());
    let server_address = soon("the server's", theirs.observed_address_changed(None)).await.unwrap();
    assert_eq!(Some(server_address), server.local_address());
    soon("confirmation", ours.handshake_confirmed()).await.unwrap();
    ours.rebind(local()).unwrap();
    let second = soon("our next address", ours.observed_address_changed(Some(first))).await.unwrap();
    assert_eq!(second, theirs.remote_address());
    assert_eq!(ours.observed_address(), Some(second));
}

#[tokio::test]
async fn dropping_a_stream_delivers_what_was_written() {
    let (server, configuration) = pair();
    let (_endpoint, client, theirs) = connect(&server, &configuration).await;
    let mut send = client.open_uni().await.unwrap();
    send.write_all(&[5; 100_000]).await.unwrap();
    drop(send);
    let mut recv = soon("the stream", theirs.accept_uni()).await.unwrap();
    assert_eq!(soon("data", recv.read_to_end(1 << 20)).await.unwrap(), [5; 100_000]);
}

#[tokio::test]
async fn a_graceful_shutdown_delivers_first() {
    let (server, configuration) = pair();
    let (_endpoint, client, theirs) = connect(&server, &configuration).await;
    let mut send = client.open_uni().await.unwrap();
    send.write_all(&[5; 1_000_000]).await.unwrap();
    send.finish().unwrap();
    let reading = tokio::spawn(async move {
        let mut recv = theirs.accept_uni().await.unwrap();
        recv.read_to_end(2 << 20).await.map(|all| all.len())
    });
    soon("the shutdown", client.shutdown(0u32.into(), b"")).await;
    assert_eq!(soon("the reader", reading).await.unwrap(), Ok(1_000_000));
}

#[tokio::test]
async fn a_graceful_shutdown_does_not_wait_for_the_end_of_a_lasting_stream() {
    let (server, configuration) = pair();
    let (_endpoint, client, theirs) = connect(&server, &configuration).await;
    let mut send = client.open_uni().await.unwrap();
    send.write_all(b"first").await.unwrap();
    send.set_lasting();
    send.set_lasting();
    let mut recv = soon("the stream", theirs.accept_uni()).await.unwrap();
    assert_eq!(soon("data", recv.read_chunk(10)).await.unwrap().unwrap(), "first");
    // What is written to it is delivered all the same.
    send.write_all(&[5; 1_000_000]).await.unwrap();
    let reading = tokio::spawn(async move {
        let mut len = 0;
        while let Ok(Some(chunk)) = recv.read_chunk(usize::MAX).await {
            len += chunk.len();
        }
        len
    });
    soon("the shutdown", client.shutdown(0u32.into(), b"")).await;
    assert_eq!(soon("the reader", reading).await.unwrap(), 1_000_000);
}

#[tokio::test]
async fn dropping_the_connection_closes_it() {
    let (server, configuration) = pair();
    let (_endpoint, client, theirs) = connect(&server, &configuration).await;
    drop(client);
    let reason = CloseReason::PeerApplication { code: 0u32.into(), reason: Bytes::new() };
    assert_eq!(soon("the close", theirs.closed()).await, reason);
    assert!(theirs.open_uni().await.is_err() && theirs.accept_bi().await.is_err());
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_refused() {
    let (server, _) = pair();
    let wrong = Configuration::client(ALPN, settings(), Trust::Pinned([0; 32])).unwrap();
    let client = Endpoint::client().unwrap();
    let connecting = client.connect(&wrong, server.local_address().unwrap(), "localhost").unwrap();
    tokio::spawn(async move { server.accept().await.unwrap().accept().unwrap().await.map(drop) });
    let Err(ConnectError::Connection(CloseReason::Violation(violation))) = soon("the refusal", connecting).await else {
        panic!("not refused");
    };
    assert_eq!(violation.code.alert(), Some(49));
}

#[tokio::test]
async fn another_protocol_is_refused() {
    let (server, _) = pair();
    let other = Configuration::client(&["other"], settings(), Trust::Pinned([0; 32])).unwrap();
    let client = Endpoint::client().unwrap();
    let connecting = client.connect(&other, server.local_address().unwrap(), "localhost").unwrap();
    let Err(ConnectError::Connection(CloseReason::PeerTransport { code, .. })) = soon("the refusal", connecting).await
    else {
        panic!("not refused");
    };
    assert_eq!(code, TransportErrorCode::crypto(120));
}

#[tokio::test]
async fn clients_must_show_a_certificate_where_it_is_required() {
    let mine = identity("localhost");
    let theirs = identity("client");
    let mut roots = rustls::RootCertStore::empty();
    let made = rcgen::generate_simple_self_signed(vec!["client".into()]).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    roots.add(made.cert.der().clone()).unwrap();
    let known = Identity::new(vec![made.cert.der().clone()], key.into()).unwrap();
    let trust = Trust::Pinned(mine.fingerprint());
    let credential = ServerCredential { identity: mine, clients: ClientAuthentication::Required(roots.into()) };
    let server = Configuration::server(ALPN, settings(), credential).unwrap();
    let server = Endpoint::server(&server, local()).unwrap();
    for (identity, welcome) in [(Some(known), true), (Some(theirs), false), (None, false)] {
        let credential = ClientCredential { trust: trust.clone(), identity };
        let configuration = Configuration::client(ALPN, settings(), credential).unwrap();
        let client = Endpoint::client().unwrap();
        let connecting = client.connect(&configuration, server.local_address().unwrap(), "localhost").unwrap();
        let accepting = async { server.accept().await.unwrap().accept().unwrap().await };
        // A client is complete before the server has judged it; the server's answer counts.
        let (ours, theirs) = soon("the handshake", async { tokio::join!(connecting, accepting) }).await;
        assert_eq!(theirs.is_ok(), welcome);
        if let (Ok(ours), false) = (ours, welcome) {
            assert!(matches!(soon("the close", ours.closed()).await, CloseReason::PeerTransport { .. }));
        }
    }
}

#[tokio::test]
async fn a_transfer_survives_a_new_socket() {
    let (server, configuration) = pair();
    let (_endpoint, client, theirs) = connect(&server, &configuration).await;
    let reading = tokio::spawn(async move {
        let mut recv = theirs.accept_uni().await.unwrap();
        let mut read = 0;
        let mut addresses = std::collections::BTreeSet::new();
        while let Some(chunk) = recv.read_chunk(usize::MAX).await.unwrap() {
            read += chunk.len();
            addresses.insert(theirs.remote_address());
        }
        (read, addresses.len())
    });
    let mut send = client.open_uni().await.unwrap();
    for round in 0..20 {
        send.write_all(&[7; 1 << 20]).await.unwrap();
        if round % 7 == 3 {
            client.rebind("127.0.0.1:0".parse().unwrap()).unwrap();
        }
    }
    send.finish().unwrap();
    let (read, addresses) = soon("the transfer", reading).await.unwrap();
    assert_eq!(read, 20 << 20);
    assert!(addresses > 1, "the server saw {addresses} address");
}

#[tokio::test]
// RFC 9000 section 9#2.
// RFC 9000 section 18.2#3.
async fn a_server_that_forbids_migration_is_obeyed() {
    let (server, configuration) = pair_with(Settings { migration: false, ..settings() });
    let (_endpoint, client, _theirs) = connect(&server, &configuration).await;
    let error = client.rebind("127.0.0.1:0".parse().unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "the server does not permit migration");
}

/// The last listener stops while a ClientHello, which takes two datagrams, has half arrived: the client is
/// refused, and not told that it speaks the wrong protocol.
#[tokio::test]
async fn who_comes_as_the_listener_stops_is_refused() {
    let (server, configuration) = pair();
    let target = server.local_address().unwrap();
    let relay = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = relay.local_addr().unwrap();
    let endpoint = Endpoint::client().unwrap();
    let connecting = endpoint.connect(&configuration, address, "localhost").unwrap();
    let relaying = tokio::spawn(async move {
        let mut buf = [0; 2000];
        let (len, client) = relay.recv_from(&mut buf).await.unwrap();
        relay.send_to(&buf[..len], target).await.unwrap();
        // The answer, an acknowledgement, says that it has arrived.
        loop {
            let (len, from) = relay.recv_from(&mut buf).await.unwrap();
            if from == target {
                relay.send_to(&buf[..len], client).await.unwrap();
                break;
            }
        }
        server.stop_listening();
        while server.accept().await.is_some() {}
        loop {
            let (len, from) = relay.recv_from(&mut buf).await.unwrap();
            relay.send_to(&buf[..len], if from == target { client } else { target }).await.unwrap();
        }
    });
    let error = soon("the end", connecting).await.unwrap_err();
    relaying.abort();
    assert!(
        matches!(&error, ConnectError::Connection(CloseReason::PeerTransport { code, .. })
            if *code == TransportErrorCode::CONNECTION_REFUSED),
        "{error}"
    );
}

/// What can be sent is known as soon as it may be sent.
#[test]
fn the_size_of_datagrams_is_known_when_the_connection_is() {
    let identity = identity("localhost");
    let trust = Trust::Pinned(identity.fingerprint());
    let settings = Settings { max_datagram_size: 1000, ..settings() };
    let server = Configuration::server(ALPN, settings.clone(), identity).unwrap();
    let _server = Endpoint::server(&server, local()).unwrap();
    let address = _server.local_address().unwrap();
    let accepting = _server.clone();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.spawn(async move { accepting.accept().await.unwrap().accept().unwrap().await.unwrap().closed().await });
    let client = Configuration::client(ALPN, settings, trust).unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let events = move |connection: &tercel::Connection, event: tercel::ConnectionEvent<'_>| {
        if let tercel::ConnectionEvent::Connected { .. } = event {
            let _ = tell.send(connection.max_datagram_size());
        }
    };
    let registration = tercel::Registration::new(tercel::RegistrationConfig::default()).unwrap();
    let _connection = registration.connect(&client, tercel::Connect::new(address, "localhost"), events).unwrap();
    assert!(told.recv_timeout(Duration::from_secs(20)).unwrap().is_some());
}

/// `send_buffer: 0`: a stream takes what keeps the path busy, little at first and more as the path shows what it can
/// carry; and no more than that while nothing is acknowledged.
#[tokio::test]
async fn a_stream_takes_what_keeps_the_path_busy() {
    let mut settings = settings();
    // The path's window becomes hardly more than twice this, and what is taken twice that, up to the next power of two:
    // 16 MiB at the most.
    (settings.send_buffer, settings.max_stream_receive_window) = (0, 2 << 20);
    let (server, configuration) = pair_with(settings);
    let (_endpoint, ours, theirs) = connect(&server, &configuration).await;
    let data = vec![7; 32 << 20];
    let mut stream = ours.open_uni().await.unwrap();
    // A write copies 256 KiB at most, of which there is no room for all yet.
    assert_eq!(soon("a write", stream.write(&data)).await.unwrap(), 128 << 10);
    let (sent, received) = tokio::join!(
        async {
            soon("the rest", stream.write_all(&data[128 << 10..])).await.unwrap();
            stream.finish().unwrap();
        },
        async { soon("all", theirs.accept_uni().await.unwrap().read_to_end(data.len())).await.unwrap() }
    );
    let ((), true) = (sent, received == data) else { panic!("something else came") };
    let mut stream = ours.open_uni().await.unwrap();
    let (mut taken, mut writes) = (0, 0);
    // Nobody reads now, so that the receiver's window is an end to it as well.
    while let Ok(len) = tokio::time::timeout(Duration::from_millis(300), stream.write(&data)).await {
        (taken, writes) = (taken + len.unwrap(), writes + 1);
    }
    assert!(taken > 128 << 10 && taken < 32 << 20, "{taken} bytes in {writes} writes");
}
