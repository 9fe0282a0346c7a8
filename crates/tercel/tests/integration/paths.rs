//! Connections that change their path, over real UDP.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};

use crate::support::balancer::Balancer;
use crate::support::{
    PATIENCE, Record, configuration, configurations, echo, echo_server, exchange, loopback, pattern, recorder,
    registration, wait_for, wait_for_all,
};
use tercel::{Configuration, Connect, Connection, Error, MAX_LOCAL_ADDRESSES, PathState, PathStats, Registration};
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
        // The server follows, and asks in its turn, as a rule before that.
        wait_for_all(&server_heard, &["PeerAddressChanged", "PathValidated"]);
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
    // What is asked for before the server has said so comes to nothing. Now and then it has said so already.
    let early = connection.rebind(any());
    assert!(matches!(early, Ok(()) | Err(Error::InvalidArgument(_))), "{early:?}");
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

/// RFC 9000 section 9.6.2: the other family is as good, where the client can speak it. The client's first socket is of IPv4.
#[test]
fn a_client_goes_to_the_preferred_address_of_the_other_family() {
    let Ok(probe) = UdpSocket::bind("[::1]:0") else { return println!("this system has no IPv6") };
    let (servers, clients) = (registration(2), registration(1));
    let transport = TransportConfig { initial_rtt: std::time::Duration::from_millis(50), ..TransportConfig::default() };
    let [plain] = configurations([transport.clone()]);
    let listener = echo_server(&servers, &plain, "[::1]:0".parse().unwrap(), &Record::new().0);
    // Nobody is at the other one.
    for (preferred, reached) in [(listener.local_address(), true), (probe.local_addr().unwrap(), false)] {
        let SocketAddr::V6(ipv6) = preferred else { panic!() };
        let preferring = TransportConfig {
            migration: false,
            preferred_address: Some(PreferredAddress { ipv4: None, ipv6: Some(ipv6) }),
            ..transport.clone()
        };
        let [free, preferring] = configurations([transport.clone(), preferring]);
        let first = echo_server(&servers, &preferring, loopback(), &Record::new().0);
        let (connection, heard) = connect(&clients, &free, first.local_address());
        let data = pattern(1 << 20);
        let result = exchange(&connection, data.clone());
        if reached {
            let word = wait_for(&heard, "PeerAddressChanged");
            assert!(word.contains(&preferred.to_string()), "{word}");
            wait_for(&heard, "LocalAddressChanged");
            assert!(connection.local_address().is_ipv6());
        } else {
            let word = wait_for(&heard, "PathFailed");
            assert!(word.contains(&preferred.to_string()), "{word}");
            assert!(connection.local_address().is_ipv4());
        }
        assert_eq!(connection.remote_address(), if reached { preferred } else { first.local_address() });
        assert!(result.recv_timeout(PATIENCE).unwrap() == data);
        assert!(exchange(&connection, data.clone()).recv_timeout(PATIENCE).unwrap() == data);
        assert_eq!(paths(&connection).len(), 1);
    }
}

/// The first path is cut in the midst of a transfer, and then the second one's address is taken away.
#[test]
fn a_client_goes_on_from_its_other_address() {
    let configuration = configuration(TransportConfig::default());
    let (servers, clients) = (registration(2), registration(1));
    let listener = echo_server(&servers, &configuration, loopback(), &Record::new().0);
    let nowhere = UdpSocket::bind(loopback()).unwrap();
    let to = [listener.local_address(), nowhere.local_addr().unwrap()];
    let is_cut = Arc::new(AtomicBool::default());
    let cut = is_cut.clone();
    let way = Balancer::new(Box::new(move |flow, _, _| to[usize::from(flow == 0 && cut.load(Ordering::Relaxed))]));
    let (connection, heard) = connect(&clients, &configuration, way.address());
    let first = connection.local_address();
    let second = connection.add_local_address("127.0.0.2:0".parse().unwrap()).unwrap();
    assert_eq!(connection.local_addresses(), [first, second]);
    let word = wait_for(&heard, "PathValidated");
    assert!(word.contains(&second.to_string()), "{word}");
    let states: Vec<_> = paths(&connection).iter().map(|path| (path.local, path.state)).collect();
    assert_eq!(states, [(Some(first), PathState::Active), (Some(second), PathState::Ready)]);

    let data = pattern(4 << 20);
    let result = exchange(&connection, data.clone());
    is_cut.store(true, Ordering::Relaxed);
    let word = wait_for(&heard, "PathFailed");
    assert!(word.contains(&first.to_string()), "{word}");
    let word = wait_for(&heard, "LocalAddressChanged");
    assert!(word.contains(&second.to_string()), "{word}");
    assert!(result.recv_timeout(PATIENCE).unwrap() == data);
    assert_eq!(connection.local_addresses(), [second, first]);

    // It works again, and is gone back to when the other one is no more.
    is_cut.store(false, Ordering::Relaxed);
    while !wait_for(&heard, "PathValidated").contains(&first.to_string()) {}
    let result = exchange(&connection, data.clone());
    connection.remove_local_address(second).unwrap();
    wait_for(&heard, "LocalAddressChanged");
    assert!(result.recv_timeout(PATIENCE).unwrap() == data);
    assert_eq!((connection.local_addresses(), paths(&connection).len()), (vec![first], 1));
    // Its socket is closed: the address can be had again.
    while UdpSocket::bind(second).is_err() {}
}

#[test]
fn misuse_of_local_addresses_is_told() {
    let [free, settled] =
        configurations([true, false].map(|migration| TransportConfig { migration, ..TransportConfig::default() }));
    let (servers, clients) = (registration(1), registration(1));
    let listener = echo_server(&servers, &free, loopback(), &Record::new().0);
    let (connection, heard) = connect(&clients, &free, listener.local_address());
    let first = connection.local_address();
    for refused in [first, any()] {
        assert!(matches!(connection.remove_local_address(refused), Err(Error::InvalidArgument(_))));
    }
    let taken = UdpSocket::bind(any()).unwrap().local_addr().unwrap();
    let keeper = UdpSocket::bind(taken).unwrap();
    assert!(matches!(connection.add_local_address(taken), Err(Error::Io { .. })));
    drop(keeper);
    for _ in 1..MAX_LOCAL_ADDRESSES {
        connection.add_local_address(any()).unwrap();
    }
    assert!(matches!(connection.add_local_address(any()), Err(Error::InvalidArgument(_))));
    wait_for(&heard, "PathValidated");
    let data = pattern(100_000);
    assert!(exchange(&connection, data.clone()).recv_timeout(PATIENCE).unwrap() == data);
    assert_eq!(connection.local_addresses().len(), MAX_LOCAL_ADDRESSES);

    let listener = echo_server(&servers, &settled, loopback(), &Record::new().0);
    let (connection, heard) = connect(&clients, &free, listener.local_address());
    // What is asked for before the server has said so comes to nothing.
    let early = connection.add_local_address(any()).is_ok();
    wait_for(&heard, "HandshakeConfirmed");
    assert!(matches!(connection.add_local_address(any()), Err(Error::InvalidArgument(_))));
    assert!(exchange(&connection, data.clone()).recv_timeout(PATIENCE).unwrap() == data);
    assert_eq!(paths(&connection).len(), 1, "asked for early: {early}");
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
