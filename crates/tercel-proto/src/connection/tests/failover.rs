//! Several local addresses.

use super::paths::{assert_unlinkable, to};
use super::*;
use crate::stats::PathState;

fn connected(transport: TransportConfig) -> Pair {
    let mut pair = Pair::new(transport);
    pair.connect();
    pair.upload(50_000);
    pair
}

/// A client that has connected from [`HOME`] and holds a path from each of these ports ready.
fn ready(ports: &[u16]) -> Pair {
    let mut pair = connected(TransportConfig::default());
    for port in ports {
        let now = pair.now;
        pair.client.add_local_address(now, address(*port)).unwrap();
    }
    pair.run("readiness", |pair| states(&pair.client, PathState::Ready) == ports.len());
    pair
}

fn states(connection: &Connection, state: PathState) -> usize {
    connection.paths().iter().filter(|path| path.state == state).count()
}

fn locals(pair: &Pair) -> Vec<SocketAddr> {
    pair.client.local_addresses().collect()
}

/// What was told of paths since the last time.
fn path_events(pair: &mut Pair) -> Vec<String> {
    let word = |event: Event| {
        let (word, path) = match event {
            Event::PathChanged(path) => ("changed", path),
            Event::PathFailed(path) => ("failed", path),
            Event::PathValidated(path) => ("validated", path),
            _ => return None,
        };
        Some(format!("{word} {}", path.local.unwrap().port()))
    };
    pair.client_events.drain(..).filter_map(word).collect()
}

/// RFC 9000 sections 5.1.1#7, 9.1, 9.5#1: each path has connection IDs of its own, and both ends keep one for a move.
#[test]
fn added_addresses_are_held_ready() {
    let mut pair = ready(&[2000, 3000]);
    assert_eq!(path_events(&mut pair), ["validated 2000", "validated 3000"]);
    pair.pass(Duration::from_secs(1));
    assert_eq!(states(pair.server(), PathState::Ready), 2);
    let now = pair.now;
    pair.client.add_local_address(now, address(4000)).unwrap();
    pair.pass(Duration::from_secs(1));
    assert_eq!((states(&pair.client, PathState::Ready), pair.client.peer_ids.spares()), (2, 1));
    assert_eq!(locals(&pair), [HOME, address(2000), address(3000), address(4000)]);
    pair.upload(50_000);
    assert_eq!(pair.server().remote_address(), address(1000), "nobody has moved");
    // The move takes the place of the address that is left; the others stay.
    let now = pair.now;
    pair.client.probe_path(now, to(address(5000))).unwrap();
    pair.run("the move", |pair| pair.server().remote_address() == address(5000));
    assert_eq!(locals(&pair), [address(5000), address(2000), address(3000), address(4000)]);
    pair.upload(50_000);
    assert_eq!(states(&pair.client, PathState::Ready), 2);
    assert_unlinkable(&pair);
}

/// What is asked for before the handshake is done after it.
#[test]
fn an_address_may_be_added_early() {
    let mut pair = Pair::new(TransportConfig::default());
    let now = pair.now;
    pair.client.add_local_address(now, address(2000)).unwrap();
    assert_eq!(pair.client.remove_local_address(now, HOME), Err(ApiMisuse::TooEarly));
    pair.run("readiness", |pair| states(&pair.client, PathState::Ready) == 1);
    pair.upload(10_000);
}

#[test]
fn a_connection_goes_on_from_another_address_and_back() {
    let mut pair = ready(&[2000]);
    path_events(&mut pair);
    for (dead, lives, there) in [(1000, 2000, [address(2000), HOME]), (2000, 1000, [HOME, address(2000)])] {
        pair.hole = Some(address(dead));
        let began = pair.now;
        pair.upload(100_000);
        let took = pair.now.since(began);
        assert!(took < Duration::from_secs(1), "{took:?}");
        assert_eq!((pair.server().remote_address(), locals(&pair)), (address(lives), there.to_vec()));
        assert_eq!(path_events(&mut pair), [format!("failed {dead}"), format!("changed {lives}")]);
        // The one that was left is asked again, in vain at first.
        pair.run("another try", |pair| has(&pair.client_events, |event| matches!(event, Event::PathFailed(_))));
        pair.hole = None;
        pair.run("readiness", |pair| states(&pair.client, PathState::Ready) == 1);
        path_events(&mut pair);
    }
    assert_unlinkable(&pair);
    assert!(ends(&pair.client_events).is_empty() && ends(&pair.server_events).is_empty());
}

/// Who only receives has nothing under way that would be missed.
#[test]
fn who_only_receives_asks_a_server_that_falls_silent() {
    let mut pair = ready(&[2000]);
    let id = pair.server().open_stream(Direction::Unidirectional).unwrap();
    pair.server().send(id, Bytes::from(vec![7; 1_000_000]), true).unwrap();
    let (mut read, mut began) = (0, None);
    pair.run("the download", |pair| {
        let now = pair.now;
        let finished = loop {
            match pair.client.read(id, usize::MAX) {
                Ok(Read::Data(bytes)) => {
                    pair.client.consumed(now, id, bytes.len() as u64);
                    read += bytes.len();
                }
                read => break read == Ok(Read::Finished),
            }
        };
        if read > 200_000 && pair.hole.is_none() {
            // Nothing of the client's that would be acknowledged is under way: all that it says from now on is lost.
            pair.hole = Some(address(1000));
            began = Some(now);
        }
        finished
    });
    let took = pair.now.since(began.unwrap());
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_eq!((read, pair.server().remote_address()), (1_000_000, address(2000)));
    // It is asked once, and then nobody says anything.
    pair.hole = None;
    pair.run("readiness", |pair| states(&pair.client, PathState::Ready) == 1);
    pair.pass(Duration::from_secs(2));
    let sent = pair.client.stats().packets_sent;
    pair.pass(Duration::from_secs(20));
    assert_eq!(pair.client.stats().packets_sent, sent);
}

#[test]
fn an_address_that_is_removed_is_left_first() {
    let mut pair = ready(&[2000, 3000]);
    path_events(&mut pair);
    let now = pair.now;
    pair.client.remove_local_address(now, HOME).unwrap();
    pair.hole = Some(address(1000));
    let began = pair.now;
    pair.upload(20_000);
    assert!(pair.now.since(began) < 20 * DELAY, "nothing is waited for");
    assert_eq!(locals(&pair), [address(2000), address(3000)]);
    // One that is not in use.
    let now = pair.now;
    pair.client.remove_local_address(now, address(3000)).unwrap();
    assert_eq!((locals(&pair), pair.client.paths().len()), (vec![address(2000)], 1));
    assert_eq!(path_events(&mut pair), ["changed 2000"]);
    // That it was left does not keep it from being added again.
    pair.hole = None;
    pair.client.add_local_address(now, HOME).unwrap();
    pair.run("readiness", |pair| states(&pair.client, PathState::Ready) == 1);
    assert_unlinkable(&pair);
}

/// One from which there was no answer is better than one that is gone.
#[test]
fn an_address_that_rests_is_gone_to_in_need() {
    let mut pair = connected(TransportConfig::default());
    let now = pair.now;
    pair.hole = Some(address(2000));
    pair.client.add_local_address(now, address(2000)).unwrap();
    assert_eq!(pair.client.remove_local_address(now, HOME), Err(ApiMisuse::TooEarly), "it is being probed");
    pair.run("the end of it", |pair| has(&pair.client_events, |event| matches!(event, Event::PathFailed(_))));
    pair.hole = None;
    let now = pair.now;
    pair.client.remove_local_address(now, HOME).unwrap();
    pair.upload(10_000);
    assert_eq!((pair.server().remote_address(), locals(&pair)), (address(2000), vec![address(2000)]));
}

#[test]
fn what_the_system_says_is_believed() {
    let mut pair = ready(&[2000, 3000]);
    path_events(&mut pair);
    let now = pair.now;
    // A path that is held ready.
    pair.client.send_failed(now, to(address(2000)));
    pair.flush(true);
    assert_eq!(path_events(&mut pair), ["failed 2000"]);
    // One that is not known, and the one in use.
    pair.client.send_failed(now, to(address(4000)));
    pair.client.send_failed(now, to(HOME));
    pair.flush(true);
    assert_eq!(path_events(&mut pair), ["failed 1000", "changed 3000"]);
    pair.hole = Some(address(1000));
    pair.upload(10_000);
    assert_eq!(locals(&pair), [address(3000), address(2000), HOME]);
    assert_unlinkable(&pair);
    // Nowhere to go, for a while, and nothing happens; a server stays as well.
    let now = pair.now;
    pair.client.send_failed(now, to(address(3000)));
    pair.client.send_failed(now, to(address(3000)));
    let path = pair.server().paths.active.address;
    pair.server().send_failed(now, path);
    pair.hole = None;
    path_events(&mut pair);
    pair.upload(10_000);
    // It works after all, so it is not left when another can be had.
    pair.run("readiness", |pair| states(&pair.client, PathState::Ready) == 1);
    assert_eq!(pair.server().remote_address(), address(3000));
}

/// Of a server that gives two connection IDs at a time one is in use, and the other is for a move.
#[test]
fn without_connection_ids_to_spare_an_address_that_was_not_tried_is_gone_to() {
    let mut pair = connected(TransportConfig { active_connection_id_limit: 2, ..TransportConfig::default() });
    let now = pair.now;
    pair.client.add_local_address(now, address(2000)).unwrap();
    pair.pass(Duration::from_secs(1));
    assert_eq!(pair.client.paths().len(), 1);
    path_events(&mut pair);
    pair.hole = Some(address(1000));
    let began = pair.now;
    pair.upload(50_000);
    let took = pair.now.since(began);
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(path_events(&mut pair), ["failed 1000", "changed 2000", "validated 2000"]);
    assert_eq!(locals(&pair), [address(2000), HOME]);
    assert_unlinkable(&pair);
}

/// It goes to and fro at ease, and ends as it would from a single address.
#[test]
fn nothing_helps_where_no_path_works() {
    let mut pair = ready(&[2000]);
    pair.client.ping();
    let (began, sent) = (pair.now, pair.client.stats().packets_sent);
    pair.lose = Box::new(|_| true);
    pair.run("the end", |pair| !ends(&pair.client_events).is_empty());
    assert_eq!(ends(&pair.client_events), [&CloseReason::IdleTimeout]);
    assert!(pair.now.since(began) < Duration::from_secs(60));
    let sent = pair.client.stats().packets_sent - sent;
    assert!(sent < 150, "{sent} packets");
    let now = pair.now;
    assert_eq!(pair.client.add_local_address(now, address(3000)), Err(ApiMisuse::ConnectionClosed));
}

#[test]
fn misuse_is_told() {
    let mut pair = ready(&[2000]);
    let now = pair.now;
    let refused = |result: Result<(), ApiMisuse>| matches!(result, Err(ApiMisuse::InvalidArgument(_)));
    for known in [HOME, address(2000)] {
        assert_eq!(pair.client.add_local_address(now, known), Err(ApiMisuse::AlreadyDone));
    }
    assert!(refused(pair.client.remove_local_address(now, address(9))));
    assert_eq!(pair.server().add_local_address(now, address(9)), Err(ApiMisuse::WrongRole));
    assert_eq!(pair.server().remove_local_address(now, SERVER.into()), Err(ApiMisuse::WrongRole));
    for port in 3000..3006 {
        assert_eq!(pair.client.add_local_address(now, address(port)), Ok(()));
    }
    assert!(refused(pair.client.add_local_address(now, address(9))));
    assert_eq!(locals(&pair).len(), crate::path::MAX_LOCAL_ADDRESSES);
    for port in (3000..3006).chain([2000]) {
        assert_eq!(pair.client.remove_local_address(now, address(port)), Ok(()));
    }
    assert!(refused(pair.client.remove_local_address(now, HOME)), "the only one");
    pair.upload(10_000);
}

/// RFC 9000 sections 9.5#3, 18.2#3.
#[test]
fn who_must_not_move_holds_nothing_ready() {
    let refused = |result: Result<(), ApiMisuse>| matches!(result, Err(ApiMisuse::InvalidArgument(_)));
    let mut pair = Pair::new(TransportConfig { migration: false, ..TransportConfig::default() });
    let now = pair.now;
    assert_eq!(pair.client.add_local_address(now, address(2000)), Ok(()), "nobody knows yet");
    pair.connect();
    pair.pass(Duration::from_secs(1));
    let now = pair.now;
    assert!(refused(pair.client.add_local_address(now, address(3000))));
    assert!(refused(pair.client.remove_local_address(now, HOME)));
    pair.client.send_failed(now, to(HOME));
    pair.upload(10_000);
    assert_eq!((pair.client.paths().len(), pair.server().remote_address()), (1, address(1000)));
    let mut pair = connected(TransportConfig::default());
    pair.client.peer_ids = PeerIds::new(ConnectionId::EMPTY, 4);
    let now = pair.now;
    assert!(refused(pair.client.add_local_address(now, address(2000))));
}
