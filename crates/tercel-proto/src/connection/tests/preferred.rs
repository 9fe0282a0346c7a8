//! A server's preferred address.

use super::*;
use crate::config::PreferredAddress;

const PREFERRED: std::net::SocketAddrV4 = std::net::SocketAddrV4::new(std::net::Ipv4Addr::new(198, 51, 100, 2), 443);

/// Over the other family than the connection begins with.
const FAR: std::net::SocketAddrV6 = std::net::SocketAddrV6::new(v6(2), 443, 0, 0);

const fn v6(host: u16) -> std::net::Ipv6Addr {
    std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host)
}

fn pair() -> Pair {
    preferring(Some(PREFERRED), None, TransportConfig::default())
}

fn preferring(
    ipv4: Option<std::net::SocketAddrV4>,
    ipv6: Option<std::net::SocketAddrV6>,
    transport: TransportConfig,
) -> Pair {
    let mut pair = Pair::new(TransportConfig { change_family: transport.change_family, ..TransportConfig::default() });
    let preferred_address = Some(PreferredAddress { ipv4, ipv6 });
    pair.server_transport = Arc::new(TransportConfig { preferred_address, ..transport });
    pair
}

fn wants_address(events: &[Event]) -> bool {
    has(events, |event| matches!(event, Event::LocalAddressWanted { remote } if *remote == FAR.into()))
}

/// Between which addresses the client sends.
fn of_client(pair: &Pair) -> (SocketAddr, Option<SocketAddr>) {
    let PathAddress { remote, local } = pair.client.paths.active.address;
    (remote, local)
}

/// From which address the server sends.
fn of_server(pair: &mut Pair) -> Option<SocketAddr> {
    pair.server().paths.active.address.local
}

/// RFC 9000 sections 9.6.1#1#2, 9.6.2#1#2#3, 9.6.3#4: each end goes there once it has validated the path, and the
/// server begins to as soon as it is probed there.
#[test]
fn both_ends_validate_the_path_before_they_go() {
    let mut pair = pair();
    pair.run("the move", |pair| {
        if of_client(pair).0 == PREFERRED.into() {
            assert_eq!(pair.client.paths.active.validation, Validation::Done);
        }
        if pair.server.is_some() && of_server(pair) == Some(PREFERRED.into()) {
            assert_eq!(pair.server().paths.active.validation, Validation::Done);
            return true;
        }
        false
    });
    let at = |event: &Event| matches!(event, Event::PathValidated(path) if path.local == Some(PREFERRED.into()));
    assert_eq!(pair.server_events.iter().filter(|event| at(event)).count(), 1);
    assert_eq!(of_client(&pair), (PREFERRED.into(), Some(HOME)));
    pair.upload(100_000);
    assert_eq!((pair.client.paths().len(), pair.client.paths.goals.is_empty()), (1, true));
}

/// RFC 9000 section 9.6.2#2, where the client comes without having been asked: the server goes on from its first
/// address until it has asked.
#[test]
fn a_server_does_not_leave_its_address_for_a_packet_alone() {
    let mut pair = pair();
    pair.run("the handshake", |pair| pair.client.handshake.state == HandshakeState::Confirmed);
    pair.client.paths.candidates.clear();
    pair.client.paths.goals.clear();
    pair.pass(Duration::from_secs(1));
    let now = pair.now;
    pair.client.migrate(now, PathAddress { remote: PREFERRED.into(), local: Some(HOME) }).unwrap();
    pair.flush(true);
    pair.now += DELAY;
    pair.deliver();
    assert!(pair.server().paths().len() == 2 && of_server(&mut pair) == Some(SERVER.into()));
    pair.run("the move", |pair| {
        let (moved, done) = (of_server(pair) == Some(PREFERRED.into()), Validation::Done);
        assert!(!moved || pair.server().paths.active.validation == done);
        moved
    });
    pair.upload(100_000);
}

/// RFC 9000 section 9.6.2#4.
#[test]
fn nothing_new_is_taken_at_the_address_that_was_left() {
    let mut pair = pair();
    pair.connect();
    pair.run("the move", |pair| of_server(pair) == Some(PREFERRED.into()));
    pair.client.ping();
    pair.flush(true);
    let (_, data, path) = pair.to_server.pop_back().unwrap();
    let path = PathAddress { local: Some(SERVER.into()), ..path };
    let (now, before) = (pair.now, pair.server().stats().packets_dropped);
    pair.server().receive(now, Datagram { path, ecn: Ecn::NotEct, data: BytesMut::from(&data[..]) });
    assert_eq!(pair.server().stats().packets_dropped, before + 1);
    assert_eq!(of_server(&mut pair), Some(PREFERRED.into()));
    pair.upload(10_000);
}

/// RFC 9000 sections 9.6.3#1#2#3: a client that moves on its way there tries both addresses from its new one, at the
/// same time, and then nothing but the preferred one.
#[test]
fn a_client_that_moves_tries_both_addresses() {
    for how in 0..3 {
        let mut pair = pair();
        pair.run("the handshake", |pair| {
            !pair.client.paths.goals.is_empty() && pair.client.local_ids.peer_has_unused(1)
        });
        let (now, local) = (pair.now, Some(address(2000)));
        let moved = PathAddress { remote: SERVER.into(), local };
        match how {
            0 => pair.client.migrate(now, moved).unwrap(),
            1 => pair.client.probe_path(now, moved).unwrap(),
            _ => pair.client.local_address_changed(now, local).unwrap(),
        }
        let begun = |path: &crate::path::Path| matches!(path.validation, Validation::Pending { .. });
        let tried: Vec<_> = pair.client.paths.iter().filter(|path| begun(path)).map(|path| path.address).collect();
        let both = [moved, PathAddress { remote: PREFERRED.into(), local }];
        assert!(both.iter().all(|path| tried.contains(path)), "{how}: {tried:?}");
        pair.run("the move", |pair| of_client(pair) == (PREFERRED.into(), local));
        assert_eq!(pair.client.paths().len(), 1, "{how}: the other is given up");
        pair.upload(100_000);
        assert_eq!((of_server(&mut pair), pair.server().remote_address()), (Some(PREFERRED.into()), address(2000)));
    }
}

/// RFC 9000 section 9.6.1#3.
#[test]
fn a_client_that_does_not_get_there_stays() {
    let mut pair = pair();
    pair.run("the handshake", |pair| !pair.client.paths.goals.is_empty());
    let lose = |pair: &mut Pair| pair.to_server.retain(|(.., path)| path.local == Some(SERVER.into()));
    let failed = |pair: &mut Pair| pair.client_events.iter().any(|event| matches!(event, Event::PathFailed(_)));
    for _ in 0..100_000 {
        if failed(&mut pair) {
            break;
        }
        lose(&mut pair);
        pair.step();
    }
    assert!(failed(&mut pair) && pair.client.paths.goals.is_empty());
    assert_eq!(of_client(&pair), (SERVER.into(), Some(HOME)));
    pair.upload(10_000);
    let now = pair.now;
    pair.client.migrate(now, PathAddress { remote: SERVER.into(), local: Some(address(2000)) }).unwrap();
    assert!(pair.client.paths.candidates.is_empty(), "it is not tried again");
    pair.upload(10_000);
}

/// RFC 9000 section 9.6.2#1: the one of the family in use comes first, the other takes its turn if nobody answers there;
/// and that although the client must not leave the address of the handshake otherwise (section 18.2#3).
#[test]
fn the_other_family_comes_second() {
    for near_fails in [true, false] {
        let near = Some(PREFERRED).filter(|_| near_fails);
        let mut pair = preferring(near, Some(FAR), TransportConfig { migration: false, ..TransportConfig::default() });
        let wrong = SocketAddr::from((v6(1), 2000));
        while !wants_address(&pair.client_events) {
            // Not before it is asked for.
            let now = pair.now;
            pair.client.offer_local_address(now, wrong);
            assert_eq!(of_client(&pair), (SERVER.into(), Some(HOME)));
            pair.to_server.retain(|(.., path)| path.local != Some(PREFERRED.into()));
            assert!(pair.step());
        }
        let failed = pair.client_events.iter().filter(|event| matches!(event, Event::PathFailed(_))).count();
        assert_eq!(failed, usize::from(near_fails));
        pair.upload(10_000);
        assert_eq!(of_client(&pair).0, SERVER.into(), "without an address it stays where it is");
        let (now, local) = (pair.now, SocketAddr::from((v6(1), 3000)));
        pair.client.offer_local_address(now, address(9));
        pair.client.offer_local_address(now, local);
        pair.client.offer_local_address(now, wrong);
        pair.run("the move", |pair| of_client(pair) == (FAR.into(), Some(local)));
        pair.upload(100_000);
        assert_eq!((of_server(&mut pair), pair.server().remote_address()), (Some(FAR.into()), local));
        assert_eq!((pair.client.paths().len(), pair.client.paths.goals.len()), (1, 0));
    }
}

#[test]
fn nobody_changes_the_family_in_vain() {
    // Where the same family works, or the settings say so.
    for (near, change_family) in [(Some(PREFERRED), true), (None, false)] {
        let mut pair = preferring(near, Some(FAR), TransportConfig { change_family, ..TransportConfig::default() });
        pair.connect();
        pair.pass(Duration::from_secs(5));
        assert!(!wants_address(&pair.client_events));
        assert_eq!(of_client(&pair).0, near.map_or(SERVER.into(), SocketAddr::V4));
    }
    // RFC 9000 section 9.6.1#3: where it does not work the connection is left alone.
    for by_system in [false, true] {
        let mut pair = preferring(None, Some(FAR), TransportConfig::default());
        pair.run("the wish", |pair| wants_address(&pair.client_events));
        let (now, local) = (pair.now, SocketAddr::from((v6(1), 3000)));
        pair.client.offer_local_address(now, local);
        if by_system {
            pair.client.send_failed(now, PathAddress { remote: FAR.into(), local: Some(local) });
            pair.flush(true);
            assert!(has(&pair.client_events, |event| matches!(event, Event::PathFailed(_))));
        }
        pair.hole = Some(local);
        pair.run("the end of it", |pair| has(&pair.client_events, |event| matches!(event, Event::PathFailed(_))));
        assert_eq!((of_client(&pair), pair.client.paths.goals.len()), ((SERVER.into(), Some(HOME)), 0));
        pair.upload(10_000);
        pair.client.offer_local_address(now, local);
        assert_eq!(pair.client.paths().len(), 1, "it is not tried again");
    }
}

/// RFC 9000 section 9.6.3#5: from an address of the other family to the preferred address of that family.
#[test]
fn an_address_of_the_other_family_leads_to_the_preferred_address_of_that() {
    let mut pair = preferring(Some(PREFERRED), Some(FAR), TransportConfig::default());
    pair.run("the move", |pair| of_client(pair).0 == PREFERRED.into());
    let (now, local) = (pair.now, SocketAddr::from((v6(1), 3000)));
    pair.client.add_local_address(now, local).unwrap();
    let is_ready = |path: &crate::stats::PathStats| path.state == crate::stats::PathState::Ready;
    pair.run("readiness", |pair| pair.client.paths().iter().any(is_ready));
    pair.client.remove_local_address(now, HOME).unwrap();
    pair.upload(10_000);
    assert_eq!((of_client(&pair), pair.server().remote_address()), ((FAR.into(), Some(local)), local));
}

/// RFC 9000 section 9.6.3#1#2: paths that are held ready to the first address are not, once that is left.
#[test]
fn paths_held_ready_follow_to_the_preferred_address() {
    let mut pair = pair();
    let now = pair.now;
    pair.client.add_local_address(now, address(2000)).unwrap();
    let is_ready = |path: &crate::stats::PathStats| {
        path.state == crate::stats::PathState::Ready && path.remote == SocketAddr::from(PREFERRED)
    };
    pair.run("readiness", |pair| pair.client.paths().iter().any(is_ready));
    assert!(of_client(&pair).0 == PREFERRED.into() && pair.client.paths().len() == 2);
    pair.hole = Some(address(1000));
    pair.upload(10_000);
    assert_eq!((of_server(&mut pair), pair.server().remote_address()), (Some(PREFERRED.into()), address(2000)));
}

/// RFC 9000 section 21.5.6#1: a server elsewhere does not send its clients to themselves.
#[test]
fn nobody_goes_to_a_loopback_address_of_another_host() {
    let mut pair = pair();
    let preferred_address = Some(PreferredAddress { ipv4: Some("127.0.0.1:53".parse().unwrap()), ipv6: None });
    pair.server_transport = Arc::new(TransportConfig { preferred_address, ..TransportConfig::default() });
    pair.connect();
    pair.pass(Duration::from_secs(5));
    assert!(pair.client.peer_parameters.preferred_address.is_some());
    assert_eq!((pair.client.paths().len(), of_client(&pair).0), (1, SERVER.into()));
}
