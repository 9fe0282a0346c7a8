//! Moves between paths.

use std::collections::BTreeMap;

use super::*;

pub(super) fn to(local: SocketAddr) -> PathAddress {
    PathAddress { remote: SERVER.into(), local: Some(local) }
}

/// No connection ID may be seen at two addresses.
pub(super) fn assert_unlinkable(pair: &Pair) {
    let mut places: BTreeMap<(bool, &[u8]), SocketAddr> = BTreeMap::new();
    for (client, address, id) in &pair.seen {
        let first = places.entry((*client, id)).or_insert(*address);
        assert_eq!(first, address, "{id:?} of the {} links two paths", if *client { "client" } else { "server" });
    }
}

/// RFC 9000 section 9.5, of both ends, for paths that are probed and for those that are moved to.
#[test]
fn every_path_has_connection_ids_of_its_own() {
    let mut pair = Pair::new(TransportConfig::default());
    pair.connect();
    pair.upload(50_000);
    for (port, probed) in [(2000, true), (3000, false), (4000, true), (5000, false)] {
        pair.client_events.clear();
        let now = pair.now;
        match probed {
            true => pair.client.probe_path(now, to(address(port))).unwrap(),
            false => pair.client.migrate(now, to(address(port))).unwrap(),
        }
        pair.run("the move", |pair| has(&pair.client_events, |event| matches!(event, Event::PathValidated(_))));
        pair.upload(50_000);
        assert_eq!(
            (pair.server().remote_address(), pair.client.paths.active.address),
            (address(port), to(address(port)))
        );
        let [path] = &pair.client.paths()[..] else { panic!("{:?}", pair.client.paths()) };
        assert!(path.validated && path.bytes_sent >= 50_000 && path.bytes_received > 0 && path.congestion.is_some());
    }
    assert_unlinkable(&pair);
    assert!(ends(&pair.server_events).is_empty());
    let validated = pair.server_events.iter().filter(|event| matches!(event, Event::PathValidated(_))).count();
    assert_eq!(validated, 4, "the server asks as well");
}

/// RFC 9000 section 9.1: a probe moves nobody.
#[test]
fn a_server_answers_probes_and_stays() {
    let mut pair = Pair::new(TransportConfig::default());
    pair.connect();
    let now = pair.now;
    // What the server says to the new address is lost, so the client cannot go on to move.
    pair.hole = None;
    pair.client.probe_path(now, to(address(2000))).unwrap();
    pair.flush(true);
    pair.hole = Some(address(2000));
    pair.pass(3 * DELAY);
    let state = |path: &crate::stats::PathStats| (path.remote, path.state, path.validated, path.bytes_sent);
    let paths: Vec<_> = pair.server().paths().iter().map(state).collect();
    assert_eq!(paths.len(), 2);
    assert_eq!((paths[0].0, paths[0].1), (address(1000), PathState::Active));
    assert_eq!(paths[1], (address(2000), PathState::Probed, false, 2400), "answer and question are accounted for");
    assert_unlinkable(&pair);
    pair.run("the end of it", |pair| has(&pair.client_events, |event| matches!(event, Event::PathFailed(_))));
    pair.upload(50_000);
    assert_eq!((pair.server().remote_address(), pair.client.paths().len()), (address(1000), 1));
}

/// RFC 9000 section 9.3.2, and as a client: where nobody answers, the path before is gone back to, and with
/// it to its connection ID.
#[test]
fn a_path_that_does_not_work_is_left() {
    let mut pair =
        Pair::new(TransportConfig { keep_alive: Some(Duration::from_secs(1)), ..TransportConfig::default() });
    pair.connect();
    pair.upload(50_000);
    let (id, now) = (pair.client.peer_ids.current(), pair.now);
    pair.hole = Some(address(2000));
    pair.client.migrate(now, to(address(2000))).unwrap();
    // And to another one before that is known of the first.
    pair.pass(Duration::from_millis(500));
    let now = pair.now;
    pair.client.migrate(now, to(address(2000))).unwrap();
    // For each the server may have to take an ID of its own; it has three to spare.
    pair.client.migrate(now, to(address(2000))).unwrap();
    assert_eq!(pair.client.migrate(now, to(address(2000))), Err(ApiMisuse::TooEarly));
    assert_ne!(pair.client.peer_ids.current(), id);
    pair.run("the end of it", |pair| has(&pair.client_events, |event| matches!(event, Event::PathFailed(_))));
    assert_eq!(pair.client.peer_ids.current(), id);
    pair.upload(50_000);
    assert_eq!(pair.server().remote_address(), address(1000));
    assert_unlinkable(&pair);
}

/// RFC 9000 section 9.5#2 lets us keep our connection ID where the peer has kept its own (a NAT has
/// forgotten), and only there.
#[test]
fn without_a_spare_connection_id_the_peer_is_followed_only_if_it_kept_its_own() {
    let mut pair = Pair::new(TransportConfig::default());
    pair.connect();
    pair.upload(10_000);
    let mut paths = 100..;
    while pair.server().peer_ids.assign(paths.next().unwrap()) {}
    let id = pair.server().peer_ids.current();
    pair.client_address = address(2000);
    pair.upload(10_000);
    assert_eq!((pair.server().remote_address(), pair.server().peer_ids.current()), (address(2000), id));
    let now = pair.now;
    pair.client.migrate(now, to(address(3000))).unwrap();
    pair.run("the end of it", |pair| has(&pair.client_events, |event| matches!(event, Event::PathFailed(_))));
    assert_eq!((pair.server().remote_address(), pair.server().peer_ids.current()), (address(2000), id));
    pair.upload(10_000);
}

/// RFC 9000 section 9.5: "a migrating endpoint could include a NEW_CONNECTION_ID frame in all packets sent on a new
/// network path".
#[test]
fn who_brings_a_connection_id_along_is_followed() {
    for brings_one in [true, false] {
        let mut pair = Pair::new(TransportConfig::default());
        pair.connect();
        pair.upload(10_000);
        let mut paths = 100..;
        while pair.server().peer_ids.assign(paths.next().unwrap()) {}
        if brings_one {
            pair.server().peer_ids.release(100);
            pair.flush(false);
            pair.now += DELAY;
            pair.deliver();
            assert!(pair.client.local_ids.wants_to_send());
        }
        let now = pair.now;
        let path = pair.client.take_path(to(address(3000)), AntiAmplification::Validated, 0);
        pair.client.switch(now, path);
        pair.client.ping();
        pair.pass(3 * DELAY);
        assert_eq!(pair.server().remote_address() == address(3000), brings_one);
        assert_unlinkable(&pair);
    }
}

/// RFC 9000 sections 5.1.1#7, 9.5#1: who moves waits until both ends have another connection ID for it.
#[test]
fn nobody_moves_without_another_connection_id() {
    let mut pair = Pair::new(TransportConfig::default());
    pair.connect();
    pair.upload(10_000);
    let now = pair.now;
    let refused = |pair: &mut Pair| {
        let moves = [
            pair.client.local_address_changed(now, Some(address(2000))),
            pair.client.probe_path(now, to(address(2000))),
            pair.client.migrate(now, to(address(2000))),
        ];
        assert_eq!(moves, [Err(ApiMisuse::TooEarly); 3]);
    };
    let mut paths = 100..103;
    paths.clone().for_each(|path| assert!(pair.client.peer_ids.assign(path)));
    refused(&mut pair);
    // Others come as these are retired.
    paths.by_ref().for_each(|path| pair.client.peer_ids.release(path));
    pair.pass(Duration::from_secs(1));
    // The server has used all of its own.
    let ids: Vec<_> = pair.server().peer_ids.known().collect();
    ids.iter().for_each(|id| pair.client.local_ids.on_used(id));
    refused(&mut pair);
    let mut paths = 200..203;
    paths.clone().for_each(|path| assert!(pair.server().peer_ids.assign(path)));
    paths.by_ref().for_each(|path| pair.server().peer_ids.release(path));
    pair.pass(Duration::from_secs(1));
    let now = pair.now;
    pair.client_address = address(2000);
    assert_eq!(pair.client.local_address_changed(now, Some(address(2000))), Ok(()));
    pair.upload(10_000);
    assert_unlinkable(&pair);
}

/// RFC 9000 section 9.5#3.
#[test]
fn nobody_moves_whose_paths_could_not_be_told_apart() {
    let mut pair = Pair::new(TransportConfig::default());
    pair.connect();
    pair.client.peer_ids = PeerIds::new(ConnectionId::EMPTY, 4);
    let now = pair.now;
    let moves = [
        pair.client.local_address_changed(now, Some(address(2000))),
        pair.client.probe_path(now, to(address(2000))),
        pair.client.migrate(now, to(address(2000))),
    ];
    assert!(moves.iter().all(|moved| matches!(moved, Err(ApiMisuse::InvalidArgument(_)))), "{moves:?}");
}

/// RFC 9000 sections 8.2.1#5, 8.2.3#1: a few bytes came from the new address, so the first challenge is small.
#[test]
fn a_path_is_validated_again_by_a_datagram_large_enough() {
    let mut pair = Pair::new(TransportConfig::default());
    pair.connect();
    pair.pass(Duration::from_secs(1));
    pair.server_events.clear();
    pair.client_address = address(2000);
    pair.client.ping();
    let mut sizes = Vec::new();
    for _ in 0..2 {
        pair.pass(DELAY);
        pair.flush(false);
        assert!(matches!(pair.server().paths.active.validation, Validation::Pending { .. }));
        assert!(!has(&pair.server_events, |event| matches!(event, Event::PathValidated(_))));
        sizes.extend(pair.to_client.iter().map(|(_, data, _)| data.len()));
        pair.pass(DELAY);
    }
    pair.pass(DELAY);
    let small = sizes.iter().position(|size| *size < 100).unwrap();
    assert!(sizes[small..].contains(&1200), "{sizes:?}");
    assert_eq!(pair.server().paths.active.validation, Validation::Done);
    assert!(has(&pair.server_events, |event| matches!(event, Event::PathValidated(_))));
}

/// RFC 9000 section 9.3.2#1: a packet that somebody sends on from elsewhere moves a quiet connection, and not for long.
#[test]
fn a_server_goes_back_to_where_its_client_was() {
    let mut pair = Pair::new(TransportConfig::default());
    pair.connect();
    pair.upload(10_000);
    pair.pass(Duration::from_secs(1));
    pair.client.ping();
    pair.client_address = address(2000);
    pair.flush(true);
    pair.client_address = address(1000);
    pair.hole = Some(address(2000));
    // The client hears nothing of it, lest it says that it is where it was.
    pair.pass(DELAY);
    assert_eq!(pair.server().remote_address(), address(2000));
    pair.lose = Box::new(|_| true);
    pair.pass(Duration::from_secs(5));
    assert!(has(&pair.server_events, |event| matches!(event, Event::PathFailed(_))));
    assert_eq!(pair.server().remote_address(), address(1000));
    pair.lose = Box::new(|_| false);
    pair.upload(10_000);
}

/// RFC 9000 section 21.5.6#1.
#[test]
fn nobody_is_followed_to_a_loopback_address() {
    let mut pair = Pair::new(TransportConfig::default());
    pair.connect();
    for inside in ["127.0.0.1:53", "[::1]:53", "[::ffff:127.0.0.1]:53"] {
        pair.client.ping();
        pair.flush(true);
        let (_, data, path) = pair.to_server.pop_back().unwrap();
        let path = PathAddress { remote: inside.parse().unwrap(), ..path };
        let (now, before) = (pair.now, pair.server().stats().packets_dropped);
        pair.server().receive(now, Datagram { path, ecn: Ecn::NotEct, data: BytesMut::from(&data[..]) });
        assert_eq!(pair.server().stats().packets_dropped, before + 1);
    }
    assert_eq!((pair.server().remote_address(), pair.server().paths().len()), (address(1000), 1));
}

/// RFC 9000 section 9.5: who probes with another connection ID gets an answer with another, or none.
#[test]
fn without_a_spare_connection_id_a_probe_is_not_answered() {
    let mut pair = Pair::new(TransportConfig::default());
    pair.connect();
    pair.upload(10_000);
    let mut paths = 100..;
    while pair.server().peer_ids.assign(paths.next().unwrap()) {}
    let now = pair.now;
    pair.client.probe_path(now, to(address(2000))).unwrap();
    pair.run("the end of it", |pair| has(&pair.client_events, |event| matches!(event, Event::PathFailed(_))));
    assert!(pair.seen.iter().any(|seen| *seen == (true, address(2000), seen.2.clone())), "it was probed");
    assert!(!pair.seen.iter().any(|(client, place, _)| !client && *place == address(2000)));
    assert_unlinkable(&pair);
}

#[test]
fn who_must_not_move_does_not() {
    let mut pair = Pair::new(TransportConfig { migration: false, ..TransportConfig::default() });
    let now = pair.now;
    assert_eq!(pair.client.local_address_changed(now, None), Err(ApiMisuse::TooEarly));
    pair.connect();
    let forbidden = |moved| matches!(moved, Err(ApiMisuse::InvalidArgument(_)));
    assert!(pair.client.is_settled());
    assert!(forbidden(pair.client.local_address_changed(now, None)));
    assert!(forbidden(pair.client.probe_path(now, to(address(2000)))));
    assert!(forbidden(pair.client.migrate(now, to(address(2000)))));
    assert_eq!(pair.server().migrate(now, to(address(2000))), Err(ApiMisuse::WrongRole));
    assert_eq!(pair.client.paths().len(), 1);
}

/// RFC 9002 section 6.2.3: what came with the ServerHello cannot be read without it, so the client says its
/// part again at once, and hearing that the server does so, too. Nobody waits for a probe timeout.
#[test]
fn a_lost_server_hello_is_missed_at_once() {
    let mut pair = Pair::new(TransportConfig::default());
    let began = pair.now;
    pair.flush(true);
    let of_server = pair.sent + 1;
    pair.lose = Box::new(move |number| number == of_server);
    pair.connect();
    let took = pair.now.since(began);
    assert!(took < Duration::from_millis(200), "{took:?}");
    assert!(pair.client.handshake.sped_up && pair.server().handshake.sped_up);
    assert_eq!(pair.client.stats().probe_timeouts + pair.server().stats().probe_timeouts, 0);
}

/// It is done once: a peer that repeats itself is not answered each time.
#[test]
fn a_handshake_is_sped_up_once() {
    let mut pair = Pair::new(TransportConfig::default());
    pair.flush(true);
    let hello: Vec<_> = pair.to_server.iter().map(|(_, data, _)| data.clone()).collect();
    pair.now += DELAY;
    pair.deliver();
    pair.flush(false);
    assert!(!pair.server().handshake.sped_up);
    let crypto = |pair: &mut Pair| {
        let spaces = &pair.server().spaces;
        [&spaces.initial, &spaces.handshake].map(|space| space.as_ref().unwrap().numbers.crypto.wants_to_send())
    };
    assert_eq!(crypto(&mut pair), [false, false], "all was sent");
    pair.server().speed_up_handshake();
    assert_eq!(crypto(&mut pair), [true, true]);
    pair.flush(false);
    pair.server().speed_up_handshake();
    assert_eq!(crypto(&mut pair), [false, false]);
    // Copies of the same datagrams are duplicates, and say nothing.
    for data in hello {
        let path = PathAddress { remote: address(1000), local: None };
        let now = pair.now;
        pair.server().receive(now, Datagram { path, ecn: Ecn::NotEct, data: BytesMut::from(&data[..]) });
    }
    assert_eq!(crypto(&mut pair), [false, false]);
}

/// RFC 9000 sections 8.1 and 9.3: a server may spend all its credit on data, and cannot ask again if its challenge is lost.
#[test]
fn a_client_that_has_moved_and_hears_nothing_gives_the_server_credit() {
    const SILENCE: Duration = Duration::from_secs(20);
    let full = |pair: &mut Pair| {
        let asked = std::mem::take(&mut pair.asked).into_iter();
        asked.filter(|(from, size)| *from == address(2000) && *size >= 1200).count()
    };
    for server_hears in [false, true] {
        let config = TransportConfig { max_mtu: 1200, ..TransportConfig::default() };
        let mut pair = Pair::new(config);
        pair.connect();
        pair.pass(SILENCE / 2);
        let now = pair.now;
        pair.client.migrate(now, to(address(2000))).unwrap();
        // The server's question comes with its answer.
        pair.pass(2 * DELAY - Duration::from_nanos(1));
        if !server_hears {
            pair.hole = Some(address(2000));
        }
        full(&mut pair);
        pair.pass(SILENCE);
        assert!(has(&pair.client_events, |event| matches!(event, Event::PathValidated(_))));
        assert_eq!(full(&mut pair), if server_hears { 1 } else { 5 }, "the answer, and what is given");
        assert_eq!(pair.server().paths.active.validation == Validation::Done, server_hears);
        assert!(!pair.client.paths.owes_credit() && pair.client.paths.next_timeout(pair.now).is_none());
    }
}
