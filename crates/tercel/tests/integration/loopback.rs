//! Clients and servers over real UDP, by the callback face.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::*;
use tercel::{
    Bytes, Connect, Connection, Direction, Listen, Listener, ListenerEvent, NewConnection, NewStream,
    RegistrationConfig, RetryPolicy, SocketChoice, Stream, StreamEvent, TransportErrorCode, VarInt,
};
use tercel_proto::config::TransportConfig;

fn connect(
    registration: &tercel::Registration,
    configuration: &tercel::Configuration,
    server: std::net::SocketAddr,
) -> (Connection, Record, mpsc::Receiver<String>) {
    let (record, heard) = Record::new();
    let connection = registration
        .connect(configuration, Connect::new(server, "localhost"), recorder(record.clone(), |_, new| drop(new)))
        .unwrap();
    (connection, record, heard)
}

#[test]
fn an_exchange_and_a_close() {
    let configuration = configuration(TransportConfig::default());
    let registration = registration(1);
    let (server_record, server_heard) = Record::new();
    let listener = echo_server(&registration, &configuration, loopback(), &server_record);
    let (connection, record, heard) = connect(&registration, &configuration, listener.local_address());
    wait_for(&heard, "Connected");
    assert_eq!(connection.alpn().as_deref(), Some(ALPN));
    let data = pattern(3 << 20);
    let result = exchange(&connection, data.clone());
    assert!(result.recv_timeout(PATIENCE).unwrap() == data, "what came back differs");
    connection.close(VarInt::from_u32(7), Bytes::from_static(b"enough"));
    connection.close(VarInt::from_u32(8), Bytes::new());
    let end = wait_for(&heard, "ShutdownComplete");
    assert!(end.contains("true LocalApplication { code: 7 }"), "{end}");
    wait_for(&server_heard, "ShutdownInitiatedByPeer 7");
    wait_for(&server_heard, "ShutdownComplete");
    assert!(connection.ping().is_err());
    let shutdowns = record.words().iter().filter(|word| word.starts_with("Shutdown")).count();
    assert_eq!(shutdowns, 1, "{:?}", record.words());
}

#[test]
fn many_connections_of_one_socket_to_one_port_of_two_workers() {
    const CONNECTIONS: usize = 1000;
    let configuration = configuration(TransportConfig::default());
    let (servers, clients) = (registration(2), registration(1));
    let (server_record, _server_heard) = Record::new();
    let listener = echo_server(&servers, &configuration, loopback(), &server_record);
    // Not all at once: a handshake has its time, and a server refuses clients when it is behind for long.
    let connections: Vec<_> = (0..CONNECTIONS / 40)
        .flat_map(|_| {
            let some: Vec<_> = (0..40).map(|_| connect(&clients, &configuration, listener.local_address())).collect();
            some.iter().for_each(|(_, _, heard)| drop(wait_for(heard, "Connected")));
            some
        })
        .collect();
    let data = pattern(10_000);
    let results: Vec<_> = connections.iter().map(|(connection, ..)| exchange(connection, data.clone())).collect();
    for result in results {
        assert!(result.recv_timeout(PATIENCE).unwrap() == data);
    }
    let locals: std::collections::BTreeSet<_> =
        connections.iter().map(|(connection, ..)| connection.local_address()).collect();
    assert_eq!(locals.len(), 1);
}

#[test]
// RFC 9000 sections 8.1.2#1, 17.2.5.1#3, 17.2.5.3#1.
fn retry_is_demanded_and_passed() {
    let configuration = configuration(TransportConfig::default());
    let mut config = RegistrationConfig::default();
    config.workers = 1;
    config.retry = RetryPolicy::Always;
    let registration = tercel::Registration::new(config).unwrap();
    let (server_record, _server_heard) = Record::new();
    let listener = echo_server(&registration, &configuration, loopback(), &server_record);
    let (connection, _, heard) = connect(&registration, &configuration, listener.local_address());
    wait_for(&heard, "Connected");
    let result = exchange(&connection, pattern(1000));
    assert!(result.recv_timeout(PATIENCE).unwrap() == pattern(1000));
}

#[test]
fn a_listener_may_answer_later_and_from_elsewhere() {
    let configuration = configuration(TransportConfig::default());
    let registration = registration(1);
    let (waiting, asked) = mpsc::channel::<NewConnection>();
    let waiting = Mutex::new(waiting);
    let listener = registration
        .listen(Listen::new(loopback(), [ALPN]), move |_: &Listener, event| {
            if let ListenerEvent::NewConnection(new) = event {
                waiting.lock().unwrap().send(new).unwrap();
            }
        })
        .unwrap();
    // Accepted.
    let (_connection, _, heard) = connect(&registration, &configuration, listener.local_address());
    let new = asked.recv_timeout(PATIENCE).unwrap();
    assert_eq!(new.server_name(), Some("localhost"));
    assert_eq!(new.alpn().collect::<Vec<_>>(), [ALPN]);
    assert!(heard.recv_timeout(std::time::Duration::from_millis(50)).is_err());
    let (record, _heard) = Record::new();
    let accepted = new.accept(&configuration, recorder(record, |_, new| drop(new))).unwrap();
    // Before that the code would travel as APPLICATION_ERROR.
    wait_for(&heard, "HandshakeConfirmed");
    drop(accepted);
    wait_for(&heard, "ShutdownInitiatedByPeer 0");
    // Refused, and dropped, which refuses as well.
    for explicit in [true, false] {
        let (_connection, _, heard) = connect(&registration, &configuration, listener.local_address());
        let new = asked.recv_timeout(PATIENCE).unwrap();
        if explicit {
            new.refuse(TransportErrorCode::CONNECTION_REFUSED);
        } else {
            drop(new);
        }
        let word = wait_for(&heard, "ShutdownInitiatedByTransport");
        assert!(word.contains("CONNECTION_REFUSED"), "{word}");
        wait_for(&heard, "ShutdownComplete false");
    }
}

#[test]
fn listeners_of_one_port_are_chosen_by_protocol() {
    let configuration = configuration(TransportConfig::default());
    let registration = registration(2);
    let hits = Arc::new(Mutex::new(Vec::new()));
    let listen = |address, alpn: &'static [u8]| {
        let (configuration, hits) = (configuration.clone(), hits.clone());
        registration
            .listen(Listen::new(address, [alpn]), move |_: &Listener, event| {
                if let ListenerEvent::NewConnection(new) = event {
                    hits.lock().unwrap().push(alpn);
                    let (record, _) = Record::new();
                    if let Ok(connection) = new.accept(&configuration, recorder(record, echo)) {
                        connection.detach();
                    }
                }
            })
            .unwrap()
    };
    let other = listen(loopback(), b"other");
    let address = other.local_address();
    // Nobody serves what the client offers.
    let (_connection, _, heard) = connect(&registration, &configuration, address);
    let word = wait_for(&heard, "ShutdownInitiatedByTransport");
    assert!(word.contains("alert 120"), "{word}");
    let wanted = listen(address, ALPN);
    let (_connection, _, heard) = connect(&registration, &configuration, address);
    wait_for(&heard, "Connected");
    assert_eq!(*hits.lock().unwrap(), [ALPN]);
    drop(wanted);
}

#[test]
fn client_and_server_on_one_socket() {
    let configuration = configuration(TransportConfig::default());
    let registration = registration(2);
    let (record, _heard) = Record::new();
    let here = echo_server(&registration, &configuration, loopback(), &record);
    let there = echo_server(&registration, &configuration, loopback(), &record);
    for _ in 0..4 {
        let mut to = Connect::new(there.local_address(), "localhost");
        to.socket = SocketChoice::Bound(here.local_address());
        let (client, _heard) = Record::new();
        let connection = registration.connect(&configuration, to, recorder(client, |_, new| drop(new))).unwrap();
        assert_eq!(connection.local_address(), here.local_address());
        let result = exchange(&connection, pattern(100_000));
        assert!(result.recv_timeout(PATIENCE).unwrap() == pattern(100_000));
    }
}

#[test]
fn ipv4_clients_of_a_dual_stack_server() {
    let configuration = configuration(TransportConfig::default());
    let registration = registration(1);
    let (record, _heard) = Record::new();
    let Ok(listener) = try_echo_server(&registration, &configuration, "[::]:0".parse().unwrap(), &record) else {
        // No IPv6 here.
        return;
    };
    let port = listener.local_address().port();
    for address in ["127.0.0.1", "::1"] {
        let to = std::net::SocketAddr::new(address.parse().unwrap(), port);
        let (connection, _, _heard) = connect(&registration, &configuration, to);
        let result = exchange(&connection, pattern(50_000));
        assert!(result.recv_timeout(PATIENCE).unwrap() == pattern(50_000));
    }
}

#[test]
fn every_send_completes_once_also_when_it_is_aborted() {
    let configuration = configuration(TransportConfig::default());
    let registration = registration(1);
    // The server takes the stream and never reads.
    let server = configuration.clone();
    let listener = registration
        .listen(Listen::new(loopback(), [ALPN]), move |_: &Listener, event| {
            let ListenerEvent::NewConnection(new) = event else { return };
            let (record, _) = Record::new();
            let kept = Mutex::new(Vec::<NewStream>::new());
            let accepted = new.accept(&server, recorder(record, move |_, new| kept.lock().unwrap().push(new)));
            if let Ok(connection) = accepted {
                connection.detach();
            }
        })
        .unwrap();
    let (connection, _, _heard) = connect(&registration, &configuration, listener.local_address());
    let (record, heard) = Record::new();
    let events = record.clone();
    let stream = connection
        .open_stream(Direction::Unidirectional, move |_: &Stream, event: StreamEvent<'_>| {
            events.note(format!("{event:?}"));
        })
        .unwrap();
    for context in 0..100 {
        stream.send(pattern(100_000), false, context).unwrap();
    }
    wait_for(&heard, "SendComplete { context: 0, canceled: false }");
    stream.reset(VarInt::from_u32(5)).unwrap();
    assert!(stream.send(Bytes::new(), false, 1000).is_err());
    wait_for(&heard, "ShutdownComplete");
    let words = record.words();
    for context in 0..100 {
        let of = format!("SendComplete {{ context: {context}, ");
        assert_eq!(words.iter().filter(|word| word.starts_with(&of)).count(), 1, "{context}: {words:?}");
    }
    assert!(words.contains(&"SendComplete { context: 99, canceled: true }".to_string()));
    assert!(words.contains(&"SendShutdownComplete { graceful: false }".to_string()));
    // Dropping the last handle closes.
    drop(stream);
    drop(connection);
}

#[test]
fn calls_from_a_handler_take_effect_at_once_and_call_nobody_back() {
    let configuration = configuration(TransportConfig::default());
    let registration = registration(1);
    let (server_record, _server_heard) = Record::new();
    let listener = echo_server(&registration, &configuration, loopback(), &server_record);
    let (said, heard) = mpsc::channel();
    let inside = Arc::new(Mutex::new(()));
    let connection = registration
        .connect(
            &configuration,
            Connect::new(listener.local_address(), "localhost"),
            move |connection: &Connection, event: tercel::ConnectionEvent<'_>| {
                // Would block for ever if it were called from within itself.
                let _inside = inside.try_lock().unwrap();
                if let tercel::ConnectionEvent::Connected { .. } = event {
                    let stream_inside = inside.clone();
                    let said = said.clone();
                    let stream = connection
                        .open_stream(Direction::Bidirectional, move |_: &Stream, event: StreamEvent<'_>| {
                            let _inside = stream_inside.try_lock().unwrap();
                            if let StreamEvent::Receive(receive) = event {
                                said.send(receive.len()).unwrap();
                            }
                        })
                        .unwrap();
                    // Inline: the stream has its ID before the call is over.
                    assert!(stream.id().is_some());
                    stream.send(Bytes::from_static(b"hello"), true, 0).unwrap();
                    assert!(stream.send(Bytes::new(), true, 0).is_err());
                    stream.detach();
                }
            },
        )
        .unwrap();
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), 5);
    drop(connection);
}

/// What a thread has sent before a handler sends stands before it in the stream, though it waits in the queue.
#[test]
fn a_send_from_a_handler_does_not_overtake_that_of_a_thread() {
    let configuration = configuration(TransportConfig::default());
    let registration = registration(1);
    let (server_record, _server_heard) = Record::new();
    let listener = echo_server(&registration, &configuration, loopback(), &server_record);
    let (connection, _record, heard) = connect(&registration, &configuration, listener.local_address());
    wait_for(&heard, "Connected");
    let (started, has_started) = mpsc::channel();
    let (sent, is_sent) = mpsc::channel::<()>();
    let (said, echoed) = mpsc::channel();
    let mut back = Vec::new();
    let stream = connection
        .open_stream(Direction::Bidirectional, move |stream: &Stream, event: StreamEvent<'_>| match event {
            StreamEvent::Started(_) => {
                started.send(()).unwrap();
                is_sent.recv_timeout(PATIENCE).unwrap();
                stream.send(Bytes::from_static(b"second"), true, 2).unwrap();
            }
            StreamEvent::Receive(receive) => {
                receive.chunks().iter().for_each(|chunk| back.extend_from_slice(chunk));
                if receive.fin() {
                    said.send(std::mem::take(&mut back)).unwrap();
                }
            }
            _ => {}
        })
        .unwrap();
    // The handler runs, and waits for this.
    has_started.recv_timeout(PATIENCE).unwrap();
    stream.send(Bytes::from_static(b"first "), false, 1).unwrap();
    sent.send(()).unwrap();
    assert_eq!(echoed.recv_timeout(PATIENCE).unwrap(), b"first second");
}

/// A stream that is opened, and sent on, when the end of the connection is there and not yet told.
#[test]
fn a_send_that_meets_the_end_of_the_connection_is_completed_before_the_last_event() {
    let configuration = configuration(TransportConfig::default());
    let registration = registration(1);
    let (server_record, _server_heard) = Record::new();
    let listener = echo_server(&registration, &configuration, loopback(), &server_record);
    let (connection, _record, heard) = connect(&registration, &configuration, listener.local_address());
    wait_for(&heard, "Connected");
    let (said, words) = mpsc::channel();
    let open = {
        let connection = connection.clone();
        move || {
            let handler = move |_: &Stream, event: StreamEvent<'_>| said.send(format!("{event:?}")).unwrap();
            let stream = connection.open_stream(Direction::Bidirectional, handler).unwrap();
            stream.send(Bytes::from_static(b"too late"), false, 1).unwrap();
            stream.detach();
        }
    };
    // What is called within a look is queued: the close and the second look; and what that calls, behind the close.
    let again = connection.clone();
    let first = move || {
        again.close_silently();
        again.inspect(move |_| open()).unwrap();
    };
    connection.inspect(move |_| first()).unwrap();
    let mut told = Vec::new();
    while !told.last().is_some_and(|word: &String| word.starts_with("ShutdownComplete")) {
        told.push(words.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{told:?}")));
    }
    assert!(told.iter().any(|word| word.starts_with("SendComplete")), "{told:?}");
}

#[test]
fn a_transfer_survives_a_rebind() {
    let configuration = configuration(TransportConfig::default());
    let (servers, clients) = (registration(2), registration(1));
    let (server_record, _server_heard) = Record::new();
    let listener = echo_server(&servers, &configuration, loopback(), &server_record);
    let (connection, _, heard) = connect(&clients, &configuration, listener.local_address());
    wait_for(&heard, "HandshakeConfirmed");
    let before = connection.local_address();
    let data = pattern(60 << 20);
    let result = exchange(&connection, data.clone());
    for _ in 0..3 {
        assert!(result.recv_timeout(std::time::Duration::from_millis(15)).is_err(), "done before it was disturbed");
        connection.rebind("0.0.0.0:0".parse().unwrap()).unwrap();
    }
    assert!(result.recv_timeout(PATIENCE).unwrap() == data);
    assert_ne!(connection.local_address(), before);
}

#[test]
// RFC 9000 sections 10.3.1#1#4, 11#3.
fn a_server_that_lost_its_state_resets() {
    let configuration = configuration(TransportConfig::default());
    let server = |address| {
        let mut config = RegistrationConfig::default();
        config.workers = 1;
        config.secret = Some([1; 32]);
        let registration = tercel::Registration::new(config).unwrap();
        let (configuration, (accepted, connections)) = (configuration.clone(), mpsc::channel());
        let accepted = Mutex::new(accepted);
        let listener = registration
            .listen(Listen::new(address, [ALPN]), move |_: &Listener, event| {
                let ListenerEvent::NewConnection(new) = event else { return };
                let (record, _) = Record::new();
                let connection = new.accept(&configuration, recorder(record, echo)).unwrap();
                accepted.lock().unwrap().send(connection).unwrap();
            })
            .unwrap();
        (registration, listener, connections)
    };
    let (before, listener, connections) = server(loopback());
    let address = listener.local_address();
    let clients = registration(1);
    let (connection, _, heard) = connect(&clients, &configuration, address);
    wait_for(&heard, "HandshakeConfirmed");
    // As after a crash: gone without a word, and begun again with the same secret.
    connections.recv_timeout(PATIENCE).unwrap().close_silently();
    drop((listener, before));
    let (_after, _listener, _connections) = server(address);
    let _ = exchange(&connection, pattern(5000));
    let word = wait_for(&heard, "ShutdownInitiatedByTransport");
    assert!(word.contains("StatelessReset"), "{word}");
}

/// A close that waits for delivery: the peer has all that was sent before it, and then the code; and
/// if the peer takes nothing, the wait has an end.
#[test]
fn a_close_may_wait_for_delivery() {
    for (reads, within) in [(true, PATIENCE), (false, Duration::from_millis(300))] {
        let configuration = configuration(TransportConfig::default());
        let (server, client) = (registration(1), registration(1));
        let (record, heard) = Record::new();
        let (total, accepting) = (Arc::new(AtomicUsize::new(0)), configuration.clone());
        let counted = total.clone();
        let listener = server
            .listen(Listen::new(loopback(), [ALPN]), move |_: &Listener, event| {
                let ListenerEvent::NewConnection(new) = event else { return };
                let counted = counted.clone();
                let handler = recorder(record.clone(), move |_, new: NewStream| {
                    let counted = counted.clone();
                    let stream = new.accept(move |_: &Stream, event: StreamEvent<'_>| {
                        if let StreamEvent::Receive(receive) = event {
                            counted.fetch_add(receive.len(), Ordering::SeqCst);
                        }
                    });
                    let stream = stream.unwrap();
                    stream.set_receive_enabled(reads);
                    stream.detach();
                });
                new.accept(&accepting, handler).unwrap().detach();
            })
            .unwrap();
        let (connection, _, _) = connect(&client, &configuration, listener.local_address());
        let stream = connection.open_stream(Direction::Unidirectional, |_: &Stream, _: StreamEvent<'_>| {}).unwrap();
        let begun = Instant::now();
        stream.send(pattern(3 << 20), true, 0).unwrap();
        connection.close_delivered(5u32.into(), Bytes::from_static(b"all said"), within);
        let word = wait_for(&heard, "ShutdownComplete");
        assert!(word.contains("PeerApplication") && word.contains("all said"), "{word}");
        match reads {
            true => assert_eq!(total.load(Ordering::SeqCst), 3 << 20),
            false => assert!(begun.elapsed() >= within && begun.elapsed() < PATIENCE),
        }
    }
}
