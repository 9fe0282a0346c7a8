//! Workers that the application drives: a loop of its own, and tasks of tokio's.

use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::support;
use tercel::{Bytes, Connect, Connection, ConnectionEvent, Driver, Listen, Listener, ListenerEvent, Park};
use tercel::{CloseReason, Direction, Registration, RegistrationConfig, Stream, StreamEvent, TransportErrorCode};
use tercel::{Configuration, Identity, Rest, Settings, Trust};
use tercel_proto::config::TransportConfig;

fn one_worker() -> (Registration, Driver) {
    one_worker_of(RegistrationConfig::default())
}

fn one_worker_of(mut config: RegistrationConfig) -> (Registration, Driver) {
    config.workers = 1;
    let (registration, mut drivers) = Registration::driven(config).unwrap();
    assert_eq!(drivers.len(), 1);
    (registration, drivers.remove(0))
}

/// A server that takes in whoever comes, and does nothing else.
fn taking_in(server: &Registration, configuration: &tercel::Configuration) -> Listener {
    let configuration = configuration.clone();
    let handler = move |_: &Listener, event: ListenerEvent| {
        if let ListenerEvent::NewConnection(new) = event {
            new.accept(&configuration, |_: &Connection, _: ConnectionEvent<'_>| {}).unwrap().detach();
        }
    };
    server.listen(Listen::new(support::loopback(), [support::ALPN]), handler).unwrap()
}

/// Both ends in one thread, which gives each a turn until the client has heard the end.
#[test]
fn one_thread_drives_two_registrations() {
    let configuration = support::configuration(TransportConfig::default());
    let (server, mut server_driver) = one_worker();
    let (client, mut client_driver) = one_worker();
    let of_server = configuration.clone();
    let listener = server
        .listen(Listen::new(support::loopback(), [support::ALPN]), move |_: &Listener, event: ListenerEvent| {
            if let ListenerEvent::NewConnection(new) = event {
                let accepted = new.accept(&of_server, |connection: &Connection, event: ConnectionEvent<'_>| {
                    if matches!(event, ConnectionEvent::Connected { .. }) {
                        connection.close_delivered(7u32.into(), Bytes::new(), std::time::Duration::from_secs(5));
                    }
                });
                accepted.unwrap().detach();
            }
        })
        .unwrap();
    let (tell, told) = channel();
    let connect = Connect::new(listener.local_address(), "localhost");
    let connection = client
        .connect(&configuration, connect, move |_: &Connection, event: ConnectionEvent<'_>| {
            if let ConnectionEvent::ShutdownInitiatedByPeer { code, .. } = event {
                tell.send(code.into_inner()).unwrap();
            }
        })
        .unwrap();
    let code = loop {
        for driver in [&mut server_driver, &mut client_driver] {
            driver.wait(Park::Now).unwrap();
            assert_ne!(driver.turn(), Park::Done);
        }
        if let Ok(code) = told.try_recv() {
            break code;
        }
    };
    assert_eq!(code, 7);
    drop((connection, client));
    assert_eq!(client_driver.turn(), Park::Done);
    // One that is dropped before its time ends its connections and its listeners, too.
    drop(server_driver);
    let connect = Connect::new(listener.local_address(), "localhost");
    assert!(server.connect(&configuration, connect, |_: &Connection, _: ConnectionEvent<'_>| {}).is_err());
}

/// A worker that lingers for longer than any test lasts hears of what comes, and of what another thread wants, and keeps its
/// own time.
#[test]
fn who_lingers_misses_nothing() {
    let mut config = RegistrationConfig::default();
    config.linger = Duration::from_secs(3600);
    let (client, mut driver) = one_worker_of(config);
    let server = support::registration(1);
    let max_idle_timeout = Duration::from_millis(200);
    let configuration = support::configuration(TransportConfig { max_idle_timeout, ..TransportConfig::default() });
    let listener = taking_in(&server, &configuration);
    let (tell, told) = channel();
    let worker = std::thread::spawn(move || {
        loop {
            match driver.turn() {
                Park::Done => break,
                park => driver.wait(park).unwrap(),
            }
        }
    });
    let connect = Connect::new(listener.local_address(), "localhost");
    let connection = client.connect(&configuration, connect, move |_: &Connection, event: ConnectionEvent<'_>| {
        if let ConnectionEvent::ShutdownInitiatedByTransport { reason } = event {
            tell.send(reason.clone()).unwrap();
        }
    });
    let reason = told.recv_timeout(support::PATIENCE).expect("the worker misses something");
    assert!(matches!(reason, CloseReason::IdleTimeout), "{reason:?}");
    drop((connection, client));
    worker.join().unwrap();
}

/// The answer to a receive and the rest of the stream reach the worker in one turn: the rest is told of once, though the
/// protocol says afterwards that there is something to read.
#[test]
fn an_end_that_comes_with_an_answer_is_told_once() {
    let configuration = support::configuration(TransportConfig::default());
    let (server, mut server_driver) = one_worker();
    let (client, mut client_driver) = one_worker();
    let of_server = configuration.clone();
    let (pend, pended) = channel();
    let (end, ended) = channel();
    let listener = server
        .listen(Listen::new(support::loopback(), [support::ALPN]), move |_: &Listener, event: ListenerEvent| {
            let ListenerEvent::NewConnection(new) = event else { return };
            let (pend, end) = (pend.clone(), end.clone());
            let accepted = new.accept(&of_server, move |_: &Connection, event: ConnectionEvent<'_>| {
                let ConnectionEvent::PeerStreamStarted(new) = event else { return };
                let (pend, end) = (pend.clone(), end.clone());
                let stream = new.accept(move |_: &Stream, event: StreamEvent<'_>| match event {
                    StreamEvent::Receive(mut receive) => {
                        pend.send((receive.len(), receive.fin(), receive.pend().unwrap())).unwrap();
                    }
                    StreamEvent::PeerSendShutdown => end.send(()).unwrap(),
                    _ => {}
                });
                stream.unwrap().detach();
            });
            accepted.unwrap().detach();
        })
        .unwrap();
    let connect = Connect::new(listener.local_address(), "localhost");
    let connection = client.connect(&configuration, connect, |_: &Connection, _: ConnectionEvent<'_>| {}).unwrap();
    let stream = connection.open_stream(Direction::Unidirectional, |_: &Stream, _: StreamEvent<'_>| {}).unwrap();
    let turn = |driver: &mut Driver| {
        driver.wait(Park::Now).unwrap();
        driver.turn();
    };
    stream.send(Bytes::from_static(b"first"), false, 0).unwrap();
    let first = loop {
        turn(&mut client_driver);
        turn(&mut server_driver);
        if let Ok((len, fin, first)) = pended.try_recv() {
            assert_eq!((len, fin), (5, false));
            break first;
        }
    };
    stream.send(Bytes::from_static(b"rest"), true, 0).unwrap();
    // What was sent is at the server's socket when this is over.
    turn(&mut client_driver);
    first.complete_part(2, Rest::AtOnce).unwrap();
    let begun = Instant::now();
    let mut told = Vec::new();
    while ended.try_recv().is_err() {
        assert!(begun.elapsed() < Duration::from_secs(20), "no end after {told:?}");
        turn(&mut server_driver);
        turn(&mut client_driver);
        if let Ok((len, fin, pending)) = pended.try_recv() {
            told.push((len, fin));
            // Only the first: another would be one too many, and its answer in the way of the end.
            if told.len() == 1 { pending.complete() } else { std::mem::forget(pending) }
        }
    }
    assert_eq!(told, [(3 + 4, true)]);
}

/// A parked driver is woken by another thread, once for each time that it said by whom.
#[test]
fn another_thread_wakes_a_parked_driver() {
    let (registration, mut driver) = one_worker();
    assert_eq!(driver.turn(), Park::Idle);
    let other = std::thread::Builder::new().spawn(move || registration.shutdown(0u32.into())).unwrap();
    // Without a task it is the wait that ends.
    driver.wait(Park::Idle).unwrap();
    other.join().unwrap();
    while driver.turn() != Park::Done {
        driver.wait(Park::Now).unwrap();
    }
}

#[cfg(feature = "tokio-tasks")]
mod tokio_tasks {
    use tercel::aio::Endpoint;

    use super::*;

    /// A server that listens and a client, each with one worker that is a task.
    fn ends(configuration: &tercel::Configuration) -> (Endpoint, Endpoint) {
        let mut config = RegistrationConfig::default();
        config.workers = 1;
        let [server, client] = [(); 2].map(|()| Endpoint::of(Registration::in_tasks(config.clone()).unwrap()));
        (server.listen(configuration, support::loopback()).unwrap(), client)
    }

    /// A thousand exchanges and a megabyte, with both ends, their workers and the application in one thread.
    #[tokio::test(flavor = "current_thread")]
    async fn everything_runs_in_one_thread() {
        let configuration = support::configuration(TransportConfig::default());
        let (server, client) = ends(&configuration);
        let address = server.local_address().unwrap();
        let serving = tokio::spawn(async move {
            let connection = server.accept().await.unwrap().accept().unwrap().await.unwrap();
            while let Ok((mut send, mut recv)) = connection.accept_bi().await {
                let data = recv.read_to_end(1 << 20).await.unwrap();
                send.write_all(&data).await.unwrap();
                send.finish().unwrap();
            }
        });
        let connection = client.connect(&configuration, address, "localhost").unwrap().await.unwrap();
        let large = vec![7; 1 << 20];
        for exchange in 0..1000 {
            let data = if exchange == 500 { &large[..] } else { b"hello" };
            let (mut send, mut recv) = connection.open_bi().await.unwrap();
            send.write_all(data).await.unwrap();
            send.finish().unwrap();
            assert_eq!(recv.read_to_end(1 << 20).await.unwrap(), data);
        }
        connection.shutdown(0u32.into(), b"").await;
        serving.await.unwrap();
    }

    /// Two packets are acknowledged at once, but tasks that answer them have their turn before: no packet is sent for the
    /// acknowledgement alone.
    #[tokio::test(flavor = "current_thread")]
    async fn answers_of_tasks_leave_with_the_acknowledgement() {
        const ROUNDS: u64 = 200;
        let configuration = support::configuration(TransportConfig::default());
        let (server, client) = ends(&configuration);
        let address = server.local_address().unwrap();
        let serving = tokio::spawn(async move {
            let connection = server.accept().await.unwrap().accept().unwrap().await.unwrap();
            while let Ok((mut send, mut recv)) = connection.accept_bi().await {
                tokio::spawn(async move {
                    let data = recv.read_to_end(1 << 20).await.unwrap();
                    send.write_all(&data).await.unwrap();
                    send.finish().unwrap();
                });
            }
            connection
        });
        let connection = client.connect(&configuration, address, "localhost").unwrap().await.unwrap();
        let exchange = async || {
            let (mut send, mut recv) = connection.open_bi().await.unwrap();
            // Two do not fit into a packet.
            send.write_all(&[7; 1000]).await.unwrap();
            send.finish().unwrap();
            assert_eq!(recv.read_to_end(1 << 20).await.unwrap(), [7; 1000]);
        };
        for _ in 0..ROUNDS {
            tokio::join!(exchange(), exchange());
        }
        connection.shutdown(0u32.into(), b"").await;
        let serving = serving.await.unwrap();
        serving.closed().await;
        // What a handshake, its tickets and a search for the path's MTU take, and here and there a probe, is far less than
        // a packet for each round.
        for stats in [connection.stats(), serving.stats()] {
            assert!(stats.packets_sent < ROUNDS * 5 / 2, "{stats:?}");
        }
    }
}

/// A worker whose turns come late lets nobody in, and tells its listeners, until it keeps up again.
#[test]
fn a_worker_that_does_not_keep_up_refuses() {
    const MOST: Duration = Duration::from_millis(20);
    let mut config = RegistrationConfig::default();
    (config.workers, config.max_queue_delay) = (1, MOST);
    let (server, mut drivers) = Registration::driven(config).unwrap();
    let mut driver = drivers.remove(0);
    let clients = support::registration(1);
    // So that the worker always means to have a turn soon.
    let keep_alive = Some(Duration::from_millis(1));
    let configuration = support::configuration(TransportConfig { keep_alive, ..TransportConfig::default() });
    let (tell, shedding) = channel();
    let of_server = configuration.clone();
    let listener = server
        .listen(
            Listen::new(support::loopback(), [support::ALPN]),
            move |_: &Listener, event: ListenerEvent| match event {
                ListenerEvent::NewConnection(new) => {
                    new.accept(&of_server, |_: &Connection, _: ConnectionEvent<'_>| {}).unwrap().detach();
                }
                ListenerEvent::LoadShedding { active } => tell.send(active).unwrap(),
                _ => {}
            },
        )
        .unwrap();
    let connect = || {
        let (tell, told) = channel();
        let connection = clients.connect(
            &configuration,
            Connect::new(listener.local_address(), "localhost"),
            move |_: &Connection, event: ConnectionEvent<'_>| match event {
                ConnectionEvent::Connected { .. } => drop(tell.send(None)),
                ConnectionEvent::ShutdownInitiatedByTransport { reason } => drop(tell.send(Some(reason.clone()))),
                _ => {}
            },
        );
        (connection.unwrap(), told)
    };
    // Turns, each late or in time, until there is news.
    fn turns<T>(driver: &mut Driver, late: Option<Duration>, news: &Receiver<T>) -> T {
        let begun = Instant::now();
        while begun.elapsed() < support::PATIENCE {
            let park = driver.turn();
            if let Ok(news) = news.try_recv() {
                return news;
            }
            match late {
                Some(late) => {
                    std::thread::sleep(late);
                    driver.wait(Park::Now).unwrap();
                }
                None => driver.wait(park).unwrap(),
            }
        }
        panic!("nothing is heard")
    }
    let (_first, told) = connect();
    assert_eq!(turns(&mut driver, None, &told), None);
    assert!(turns(&mut driver, Some(4 * MOST), &shedding));
    let (_second, told) = connect();
    let refused = turns(&mut driver, Some(4 * MOST), &told);
    let Some(CloseReason::PeerTransport { code, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(code, TransportErrorCode::CONNECTION_REFUSED);
    assert!(!turns(&mut driver, None, &shedding), "it is over");
    let (_third, told) = connect();
    assert_eq!(turns(&mut driver, None, &told), None);
}

/// What is asked of a connection before its worker has it is done first: so what is sent by that goes as early data.
#[test]
fn what_is_asked_before_a_connection_begins_is_done_first() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let identity = Identity::new(vec![made.cert.der().clone()], key.into()).unwrap();
    let serving = Configuration::server(&[support::ALPN], Settings::default(), identity).unwrap();
    let trust = Trust::roots([made.cert.der().clone()]).unwrap();
    let configuration = Configuration::client(&[support::ALPN], Settings::default(), trust).unwrap();
    let server = support::registration(1);
    let (tell, told) = channel();
    let tell = std::sync::Mutex::new(tell);
    let listener = server
        .listen(Listen::new(support::loopback(), [support::ALPN]), move |_: &Listener, event: ListenerEvent| {
            let ListenerEvent::NewConnection(new) = event else { return };
            let tell = tell.lock().unwrap().clone();
            let accepted = new.accept(&serving, move |_: &Connection, event: ConnectionEvent<'_>| {
                if let ConnectionEvent::PeerStreamStarted(new) = event {
                    tell.send(new.is_early()).unwrap();
                }
            });
            accepted.unwrap().detach();
        })
        .unwrap();
    let (client, mut driver) = one_worker();
    let connect = || Connect::new(listener.local_address(), "localhost");
    let nobody = |_: &Stream, _: StreamEvent<'_>| {};
    for early in [false, true] {
        let (note, ticket) = channel();
        let handler = move |_: &Connection, event: ConnectionEvent<'_>| {
            if matches!(event, ConnectionEvent::ResumptionTicket(_)) {
                note.send(()).unwrap();
            }
        };
        let connection = client.connect_then(&configuration, connect(), handler, |connection| {
            let stream = connection.open_stream(Direction::Unidirectional, nobody).unwrap();
            stream.send(Bytes::from_static(b"early"), true, 0).unwrap();
            stream.detach();
            // The worker has heard of it, and has no such connection.
            driver.turn();
        });
        let begun = Instant::now();
        let (mut had_stream, mut has_ticket) = (None, false);
        while had_stream.is_none() || !has_ticket {
            assert!(begun.elapsed() < Duration::from_secs(20), "{had_stream:?} {has_ticket}");
            driver.wait(Park::Now).unwrap();
            driver.turn();
            had_stream = had_stream.or_else(|| told.try_recv().ok());
            has_ticket |= ticket.try_recv().is_ok();
        }
        assert_eq!(had_stream, Some(early));
        drop(connection);
    }
}

/// A runtime that cannot watch sockets is told so, and endpoints are not made there.
#[cfg(feature = "tokio-tasks")]
#[test]
fn a_runtime_without_drivers_is_refused() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let _within = runtime.enter();
    let refused = Registration::in_tasks(RegistrationConfig::default()).unwrap_err();
    assert!(refused.to_string().contains("enable_all"), "{refused}");
}

/// What several connections to one server have to say together has often one size: the system is given it in one call, and hands
/// it over in one.
#[cfg(target_os = "linux")]
#[test]
fn several_connections_send_in_one_message() {
    let configuration = support::configuration(TransportConfig::default());
    let (client, mut driver) = one_worker();
    let server = support::registration(1);
    let listener = taking_in(&server, &configuration);
    // Stands between the ends, and sees in the end what the client sends.
    let socket = std::net::UdpSocket::bind(support::loopback()).unwrap();
    socket.set_nonblocking(true).unwrap();
    let to = socket.local_addr().unwrap();
    let (tell, told) = channel();
    let connect = || {
        let tell = tell.clone();
        let handler = move |_: &Connection, event: ConnectionEvent<'_>| {
            if matches!(event, ConnectionEvent::HandshakeConfirmed) {
                tell.send(()).unwrap();
            }
        };
        client.connect(&configuration, Connect::new(to, "localhost"), handler).unwrap()
    };
    let connections: Vec<_> = (0..3).map(|_| connect()).collect();
    let (mut confirmed, mut buffer, mut from_client) = (0, vec![0; 1 << 16], to);
    let begun = Instant::now();
    while confirmed < connections.len() {
        assert!(begun.elapsed() < support::PATIENCE);
        driver.wait(Park::Now).unwrap();
        driver.turn();
        while let Ok((len, from)) = socket.recv_from(&mut buffer) {
            let next = match from == listener.local_address() {
                true => from_client,
                false => {
                    from_client = from;
                    listener.local_address()
                }
            };
            socket.send_to(&buffer[..len], next).unwrap();
        }
        confirmed += told.try_iter().count();
    }
    let receiver = quinn_udp::UdpSocketState::new((&socket).into()).unwrap();
    // Acknowledgements and probes may come between at first.
    let mut most = 0;
    while most < connections.len() {
        assert!(begun.elapsed() < support::PATIENCE, "{most}");
        for connection in &connections {
            let stream =
                connection.open_stream(Direction::Unidirectional, |_: &Stream, _: StreamEvent<'_>| {}).unwrap();
            stream.send(Bytes::from_static(&[0; 100]), false, 0).unwrap();
            stream.detach();
        }
        driver.turn();
        let mut meta = [quinn_udp::RecvMeta::default()];
        while receiver.recv((&socket).into(), &mut [std::io::IoSliceMut::new(&mut buffer)], &mut meta).is_ok() {
            let datagrams = buffer[..meta[0].len].chunks(meta[0].stride);
            let ids: std::collections::BTreeSet<_> = datagrams.map(|datagram| datagram[1..9].to_vec()).collect();
            most = most.max(ids.len());
        }
    }
}
