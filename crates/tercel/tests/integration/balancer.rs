//! Several servers behind one load balancer: connection IDs that it can read (QUIC-LB), and keys that
//! the servers have in common.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::support::balancer::Balancer;
use crate::support::{
    self, Record, configuration, echo, echo_server, exchange, loopback, pattern, recorder, registration, wait_for,
};
use tercel::{
    Configuration, Connect, Connection, Listener, QuicLb, Registration, RegistrationConfig, RetryPolicy, RoutableIds,
};
use tercel_proto::config::TransportConfig;

struct Server {
    registration: Registration,
    _listener: Listener,
    address: SocketAddr,
}

fn server(config: RegistrationConfig, configuration: &Configuration) -> Server {
    let registration = Registration::new(config).unwrap();
    let listener = echo_server(&registration, configuration, loopback(), &Record::new().0);
    Server { registration, address: listener.local_address(), _listener: listener }
}

fn connect(clients: &Registration, configuration: &Configuration, to: SocketAddr) -> (Connection, Receiver<String>) {
    let (record, heard) = Record::new();
    (clients.connect(configuration, Connect::new(to, "localhost"), recorder(record, echo)).unwrap(), heard)
}

fn balancers(rotation: u8, key: Option<&[u8; 16]>) -> QuicLb {
    QuicLb::new(rotation, 2, 6, key).unwrap().with_length()
}

/// The balancer finds the server in every ID that servers make, wherever a client comes from; and so it
/// goes on when servers go over to another configuration in the midst of it.
#[test]
fn connections_stay_with_their_server() {
    for key in [None, Some([7; 16])] {
        let configuration = configuration(TransportConfig::default());
        let lbs = [0, 1].map(|rotation| balancers(rotation, key.as_ref()));
        let ids = |lb: &QuicLb, server: u8| RoutableIds::new(lb.clone(), [0x10, server]).unwrap();
        let servers = [0, 1].map(|number| {
            let mut config = RegistrationConfig::default();
            (config.workers, config.routable_ids) = (2, vec![ids(&lbs[0], number)]);
            server(config, &configuration)
        });
        let addresses = [0, 1].map(|number: usize| servers[number].address);
        // By number of the configuration: how many datagrams it has routed. And how many came by the old one from a client
        // address that had used the new one.
        let (routed, went_back): (Arc<[AtomicUsize; 2]>, Arc<AtomicUsize>) = Default::default();
        let (counted, readers, relapses) = (routed.clone(), lbs.clone(), went_back.clone());
        let mut newest = std::collections::BTreeMap::new();
        let unknown = Arc::new(AtomicUsize::new(0));
        let strange = unknown.clone();
        let balancer = Balancer::new(Box::new(move |flow, _, datagram| {
            let (is_long, cid) = match datagram[0] & 0x80 {
                0 => (false, &datagram[1..]),
                _ => (true, &datagram[6..6 + usize::from(datagram[5])]),
            };
            let read = readers.iter().position(|lb| lb.server_id(cid).is_some_and(|id| id[0] == 0x10 && id[1] < 2));
            match read {
                Some(lb) => {
                    counted[lb].fetch_add(1, Ordering::Relaxed);
                    let before = newest.insert(flow, lb);
                    relapses.fetch_add(usize::from(before > Some(lb)), Ordering::Relaxed);
                    addresses[usize::from(readers[lb].server_id(cid).unwrap()[1])]
                }
                // What a client made up. Another server for each address that one comes from.
                None => {
                    strange.fetch_add(usize::from(!is_long), Ordering::Relaxed);
                    addresses[flow % 2]
                }
            }
        }));
        let clients = registration(1);
        let connections: Vec<_> = (0..4)
            .map(|_| {
                let (record, heard) = Record::new();
                let mut to = Connect::new(balancer.address(), "localhost");
                to.socket = tercel::SocketChoice::Own;
                let connection = clients.connect(&configuration, to, recorder(record, echo)).unwrap();
                wait_for(&heard, "HandshakeConfirmed");
                (connection, heard)
            })
            .collect();
        let data = pattern(200_000);
        for round in 0..3 {
            for (connection, _) in &connections {
                connection.rebind("0.0.0.0:0".parse().unwrap()).unwrap();
                assert!(exchange(connection, data.clone()).recv_timeout(support::PATIENCE).unwrap() == data);
            }
            if round == 0 {
                for (number, server) in servers.iter().enumerate() {
                    server.registration.set_routable_ids(&[ids(&lbs[1], number as u8)]).unwrap();
                }
            }
        }
        let [first, second] = [0, 1].map(|lb: usize| routed[lb].load(Ordering::Relaxed));
        assert!(first > 100 && second > 100, "{first} and {second} datagrams were routed");
        assert_eq!(unknown.load(Ordering::Relaxed), 0, "IDs that servers made are read");
        let stats = servers.each_ref().map(|server| server.registration.counters().server_connections);
        assert_eq!(stats, [2, 2], "no server got what was another's");
        // The old configuration goes out of use: as soon as the new IDs have arrived, which may have been lost once or twice.
        until("nobody uses the old IDs", || {
            let before = routed[0].load(Ordering::Relaxed);
            for (connection, _) in &connections {
                assert!(exchange(connection, data.clone()).recv_timeout(support::PATIENCE).unwrap() == data);
            }
            routed[0].load(Ordering::Relaxed) == before
        });
        assert_eq!(went_back.load(Ordering::Relaxed), 0, "who has new IDs uses no old one");
    }
}

/// Does it again and again until it says yes.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < support::PATIENCE, "{what}: not in time");
    }
}

/// Whether this is an Initial packet without a token (RFC 9000 section 17.2.2).
fn asks_anew(datagram: &[u8]) -> bool {
    if datagram[0] & 0xf0 != 0xc0 {
        return false;
    }
    let source = 6 + usize::from(datagram[5]);
    let token = source + 1 + usize::from(datagram[source]);
    datagram[token] == 0
}

/// The first flight of each client goes to one server, all that comes after its Retry to another: with a key in common
/// that takes the Retry of the first for its own.
#[test]
fn a_retry_of_one_server_is_good_at_another() {
    let configuration = configuration(TransportConfig::default());
    let retrying = |keys: &[[u8; 32]]| {
        let mut config = RegistrationConfig::default();
        (config.workers, config.retry) = (1, RetryPolicy::Always);
        config.token_keys = keys.to_vec();
        server(config, &configuration)
    };
    let (first, clients) = (retrying(&[[1; 32]]), registration(1));
    for (keys, is_good) in [(&[[2; 32], [1; 32]][..], true), (&[[2; 32]], false)] {
        let second = retrying(keys);
        let addresses = [first.address, second.address];
        let balancer = Balancer::new(Box::new(move |_, _, datagram| addresses[usize::from(!asks_anew(datagram))]));
        let (connection, heard) = connect(&clients, &configuration, balancer.address());
        if is_good {
            wait_for(&heard, "HandshakeConfirmed");
            let (tell, told) = mpsc::channel();
            connection.inspect(move |look| tell.send(look.was_retried()).unwrap()).unwrap();
            assert!(told.recv_timeout(support::PATIENCE).unwrap());
            // What comes later than the handshake is answered in a later turn: it is counted by then.
            assert!(exchange(&connection, pattern(1000)).recv_timeout(support::PATIENCE).unwrap() == pattern(1000));
            assert_eq!(second.registration.counters().handshakes_completed, 1);
        } else {
            // It is no token at all to the other server, which asks again; a client takes one Retry only.
            let word = wait_for(&heard, "ShutdownInitiatedByTransport");
            assert!(word.contains("HandshakeTimeout") || word.contains("PeerTransport"), "{word}");
        }
    }
}

/// A server that is gone, and another that gets its packets and has its key: clients learn it at once.
#[test]
fn a_reset_of_another_server_is_believed() {
    let configuration = configuration(TransportConfig::default());
    let resetting = |keys: &[[u8; 32]]| {
        let mut config = RegistrationConfig::default();
        (config.workers, config.reset_keys) = (1, keys.to_vec());
        server(config, &configuration)
    };
    let (first, second, clients) = (resetting(&[[1; 32]]), resetting(&[[2; 32], [1; 32]]), registration(1));
    let (is_gone, addresses) = (Arc::new(AtomicBool::default()), [first.address, second.address]);
    let gone = is_gone.clone();
    let to = Balancer::new(Box::new(move |_, _, _| addresses[usize::from(gone.load(Ordering::Relaxed))]));
    let (connection, heard) = connect(&clients, &configuration, to.address());
    wait_for(&heard, "HandshakeConfirmed");
    is_gone.store(true, Ordering::Relaxed);
    let _ = exchange(&connection, pattern(5000));
    let word = wait_for(&heard, "ShutdownInitiatedByTransport");
    assert!(word.contains("StatelessReset"), "{word}");
}

/// Another key for resets: connections go on, under new IDs whose tokens it makes.
#[test]
fn open_connections_follow_a_change_of_the_reset_key() {
    let configuration = configuration(TransportConfig::default());
    let server = server(RegistrationConfig::default(), &configuration);
    let seen: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let (note, address) = (seen.clone(), server.address);
    let way = Balancer::new(Box::new(move |_, _, datagram| {
        if datagram[0] & 0x80 == 0 {
            note.lock().unwrap().push(datagram[1..10].to_vec());
        }
        address
    }));
    let clients = registration(1);
    let (connection, heard) = connect(&clients, &configuration, way.address());
    wait_for(&heard, "HandshakeConfirmed");
    let data = pattern(100_000);
    let transfer = || assert!(exchange(&connection, data.clone()).recv_timeout(support::PATIENCE).unwrap() == data);
    transfer();
    server.registration.set_reset_keys(&[[3; 32]]).unwrap();
    let old = seen.lock().unwrap()[0].clone();
    until("the old ID is not used", || {
        let before = seen.lock().unwrap().len();
        transfer();
        seen.lock().unwrap()[before..].iter().all(|id| *id != old)
    });
    let seen = seen.lock().unwrap();
    let new = seen.iter().position(|id| *id != old).unwrap();
    assert!(new > 10 && seen[new..].iter().all(|id| *id == seen[new]), "one after the other");
}
