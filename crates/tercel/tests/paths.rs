//! Connections that change their path, over real UDP.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "for tests, which have threads of their own")]

#[path = "support/balancer.rs"]
mod balancer;
mod support;

use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc::{self, Receiver};

use balancer::Balancer;
use support::{
    PATIENCE, Record, configuration, configurations, echo, echo_server, exchange, loopback, pattern, recorder,
    registration, wait_for,
};
use tercel::{Configuration, Connect, Connection, Error, PathState, PathStats, Registration};
use tercel_proto::config::{PreferredAddress, TransportConfig};

fn connect(clients: &Registration, configuration: &Configuration, to: SocketAddr) -> (Connection, Receiver<String>) {
    let (record, heard) = Record::new();
    (clients.connect(configuration, Connect::new(to, "localhost"), recorder(record, echo)).unwrap(), heard)
}

fn paths(connection: &Connection) -> Vec<PathStats> {
    let (tell, told) = mpsc::channel();
    connection.inspect(move |look| tell.send(look.paths()).unwrap()).unwrap();
    told.recv_timeout(PATIENCE).unwrap()
}

fn any() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

#[test]
fn a_client_moves_in_mid_transfer_when_the_server_answers() {
    let configuration = configuration(TransportConfig::default());
    let (servers, clients) = (registration(2), registration(1));
    let (record, server_heard) = Record::new();
    let listener = echo_server(&servers, &configuration, loopback(), &record);
    let (connection, heard) = connect(&clients, &configuration, listener.local_address());
    wait_for(&heard, "HandshakeConfirmed");
    let data = pattern(30 << 20);
    let result = exchange(&connection, data.clone());
    for _ in 0..3 {
        let before = connection.local_address();
        connection.migrate(any()).unwrap();
        wait_for(&heard, "PathValidated");
        let word = wait_for(&heard, "LocalAddressChanged");
        assert_ne!(connection.local_address(), before);
        assert!(word.contains(&connection.local_address().to_string()), "{word}");
        // The server follows and asks in its turn.
        wait_for(&server_heard, "PeerAddressChanged");
        wait_for(&server_heard, "PathValidated");
    }
    assert!(result.recv_timeout(PATIENCE).unwrap() == data);
    let paths = paths(&connection);
    let [path] = &paths[..] else { panic!("{paths:?}") };
    assert_eq!((path.state, path.validated), (PathState::Active, true));
    assert_eq!((path.remote, path.local), (listener.local_address(), Some(connection.local_address())));
    assert!(path.id > 0 && path.bytes_sent > 0 && path.bytes_received > 0);
    assert!(path.congestion.is_some_and(|congestion| congestion.rtt_samples > 0));
}

/// The server is not reached from the second address: everything goes on from the first.
#[test]
fn a_path_that_leads_nowhere_is_not_taken() {
    let configuration = configuration(TransportConfig {
        initial_rtt: std::time::Duration::from_millis(50),
        ..TransportConfig::default()
    });
    let (servers, clients) = (registration(1), registration(1));
    let listener = echo_server(&servers, &configuration, loopback(), &Record::new().0);
    let nowhere = UdpSocket::bind(loopback()).unwrap();
    let to = [listener.local_address(), nowhere.local_addr().unwrap()];
    let way = Balancer::new(Box::new(move |flow, _, _| to[flow.min(1)]));
    let (connection, heard) = connect(&clients, &configuration, way.address());
    wait_for(&heard, "HandshakeConfirmed");
    let before = connection.local_address();
    let data = pattern(1 << 20);
    connection.migrate(any()).unwrap();
    assert!(exchange(&connection, data.clone()).recv_timeout(PATIENCE).unwrap() == data);
    let word = wait_for(&heard, "PathFailed");
    assert!(!word.contains(&before.to_string()), "{word}");
    assert_eq!(connection.local_address(), before);
    assert!(exchange(&connection, data.clone()).recv_timeout(PATIENCE).unwrap() == data);
    assert_eq!(paths(&connection).len(), 1, "the path that was probed is given up");
}

#[test]
fn a_server_that_forbids_it_is_obeyed() {
    let [free, settled] =
        configurations([true, false].map(|migration| TransportConfig { migration, ..TransportConfig::default() }));
    let (servers, clients) = (registration(1), registration(1));
    let listener = echo_server(&servers, &settled, loopback(), &Record::new().0);
    let (connection, heard) = connect(&clients, &free, listener.local_address());
    let before = connection.local_address();
    // What is asked for before the server has said so comes to nothing.
    connection.rebind(any()).unwrap();
    wait_for(&heard, "HandshakeConfirmed");
    for moved in [connection.rebind(any()), connection.migrate(any())] {
        assert!(matches!(moved, Err(Error::InvalidArgument(_))), "{moved:?}");
    }
    let data = pattern(100_000);
    assert!(exchange(&connection, data.clone()).recv_timeout(PATIENCE).unwrap() == data);
    assert_eq!((connection.local_address(), paths(&connection)[0].id), (before, 0));
}

/// RFC 9000 section 9.6: the client goes to the preferred address, and may move about from there although
/// it must not before.
#[test]
fn a_client_goes_to_the_preferred_address() {
    let (servers, clients) = (registration(2), registration(1));
    let transport = TransportConfig::default();
    let [plain] = configurations([transport.clone()]);
    // Only to have an address there.
    let listener = echo_server(&servers, &plain, "127.0.0.2:0".parse().unwrap(), &Record::new().0);
    let preferred = listener.local_address();
    let SocketAddr::V4(ipv4) = preferred else { panic!() };
    let preferring = TransportConfig {
        migration: false,
        preferred_address: Some(PreferredAddress { ipv4: Some(ipv4), ipv6: None }),
        ..transport.clone()
    };
    let [free, preferring] = configurations([transport, preferring]);
    let (record, server_heard) = Record::new();
    let first = echo_server(&servers, &preferring, loopback(), &record);
    let (connection, heard) = connect(&clients, &free, first.local_address());
    let word = wait_for(&heard, "PeerAddressChanged");
    assert!(word.contains(&preferred.to_string()), "{word}");
    assert_eq!(connection.remote_address(), preferred);
    let word = wait_for(&server_heard, "LocalAddressChanged");
    assert!(word.contains(&preferred.to_string()), "{word}");
    let data = pattern(1 << 20);
    assert!(exchange(&connection, data.clone()).recv_timeout(PATIENCE).unwrap() == data);
    connection.migrate(any()).unwrap();
    wait_for(&heard, "LocalAddressChanged");
    assert!(exchange(&connection, data.clone()).recv_timeout(PATIENCE).unwrap() == data);
}

/// RFC 9000 section 9.3#3: a token is good for one address, so another address asks for another token; another port
/// does not.
#[test]
fn a_client_that_has_proved_another_address_gets_another_token() {
    let configuration = configuration(TransportConfig { careful_resume: false, ..TransportConfig::default() });
    let (servers, clients) = (registration(1), registration(1));
    let (record, server_heard) = Record::new();
    let listener = echo_server(&servers, &configuration, loopback(), &record);
    let (connection, heard) = connect(&clients, &configuration, listener.local_address());
    wait_for(&heard, "NewToken");
    connection.rebind("127.0.0.2:0".parse().unwrap()).unwrap();
    wait_for(&heard, "NewToken");
    wait_for(&server_heard, "PathValidated");
    connection.rebind("127.0.0.2:0".parse().unwrap()).unwrap();
    wait_for(&server_heard, "PathValidated");
    let data = pattern(100_000);
    assert!(exchange(&connection, data.clone()).recv_timeout(PATIENCE).unwrap() == data);
    assert!(heard.try_iter().all(|word| !word.contains("NewToken")));
}
