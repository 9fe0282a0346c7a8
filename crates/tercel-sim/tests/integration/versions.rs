//! Versions of QUIC (RFC 9368, RFC 9369) between whole connections: who ends up with which, whatever is
//! lost on the way, and what becomes of those who interfere; and what is left to chance (RFC 9287).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::BytesMut;
use tercel_proto::config::TransportConfig;
use tercel_proto::error::CloseReason;
use tercel_proto::keys;
use tercel_proto::path::Ecn;
use tercel_proto::time::Time;
use tercel_sim::crypto::KeyShares;
use tercel_sim::host::{Endpoint, Peer, Script};
use tercel_sim::network::{Datagram, Delay, LoseOne, Node};
use tercel_sim::random::Random;
use tercel_sim::scenario::{CLIENT, Expectation, SERVER, Setup, build, client_address, go_on, judge, server_address};
use tercel_sim::world::{START, World};
use tercel_wire::packet::invariant::LongHeader;
use tercel_wire::packet::version_negotiation::encode;
use tercel_wire::packet::{FirstPacket, Header, Protected};
use tercel_wire::{ConnectionId, Role, TransportErrorCode, Version, Writer};

const V1: Version = Version::V1;
const V2: Version = Version::V2;
const CLIENTS: [&[Version]; 4] = [&[V1], &[V2], &[V1, V2], &[V2, V1]];
const SERVERS: [&[Version]; 5] = [&[], &[V1], &[V2], &[V1, V2], &[V2, V1]];
const DELAY: Duration = Duration::from_millis(10);

fn transport(versions: &[Version]) -> TransportConfig {
    TransportConfig { versions: versions.to_vec(), ..TransportConfig::default() }
}

/// A short conversation between a client and a server that speak these versions.
fn setup(client: &[Version], server: &[Version], shares: KeyShares) -> Setup {
    let way = || -> Vec<Box<dyn Node>> { vec![Box::new(Delay::steady(DELAY))] };
    let key_updates = vec![Duration::from_millis(100)];
    Setup {
        client: Script { bidi: 1, bytes: 3_000, closes: true, key_updates, ..Script::default() },
        server: Script::default(),
        client_transport: transport(client),
        server_transport: transport(server),
        shares,
        up: way(),
        down: way(),
        outside: Vec::new(),
        expectation: Expectation::Completes,
        limit: Duration::from_secs(60),
    }
}

/// The version that a client and a server come to, by the text of the RFCs.
fn expected(client: &[Version], server: &[Version]) -> Option<Version> {
    let takes = |version: &Version| server.is_empty() || server.contains(version);
    // The client begins with what it wants most, or what it wants most of what it is told.
    let begun = client.iter().find(|version| takes(version))?;
    // The server takes what it wants most of what the client offers.
    server.iter().find(|version| client.contains(version)).or(Some(begun)).copied()
}

/// The version that both ends have come to.
fn versions(world: &World<Endpoint<Peer>>) -> [Version; 2] {
    [CLIENT, SERVER].map(|host| world.hosts[host].sessions[0].version)
}

fn end(world: &World<Endpoint<Peer>>, host: usize) -> CloseReason {
    world.hosts[host].sessions[0].ended.clone().unwrap().1
}

fn violation(world: &World<Endpoint<Peer>>, host: usize) -> TransportErrorCode {
    match end(world, host) {
        CloseReason::Violation(violation) => violation.code,
        other => panic!("{other:?}"),
    }
}

/// Whichever datagram of the handshake is lost, in either direction, with and without a Retry, for every
/// client and every server: they come to the version that they should, and understand each other.
// RFC 9000 section 6.2#1. RFC 9368 section 2.1#2#3#4. RFC 9369 section 4.1#3#7.
fn all_come_to_their_version(shares: KeyShares, losses: u64) {
    for (client, server) in CLIENTS.into_iter().flat_map(|client| SERVERS.map(|server| (client, server))) {
        for retries in [false, true] {
            for lost in (0..=2 * losses).map(|n| n.checked_sub(1)) {
                let mut setup = setup(client, server, shares);
                if let Some(lost) = lost {
                    let way = if lost % 2 == 0 { &mut setup.up } else { &mut setup.down };
                    way.push(Box::new(LoseOne(lost / 2)));
                }
                let case = format!("{client:?} {server:?} retries: {retries}, lost: {lost:?}");
                let mut world = build(setup, 1);
                world.hosts[SERVER].retries = retries;
                go_on(&mut world, Duration::from_secs(60));
                match expected(client, server) {
                    Some(version) => {
                        let outcome = std::panic::AssertUnwindSafe(|| judge(&world, Expectation::Completes));
                        assert!(std::panic::catch_unwind(outcome).is_ok(), "{case}");
                        assert_eq!(versions(&world), [version; 2], "{case}");
                    }
                    None => {
                        assert!(world.hosts[SERVER].sessions.is_empty(), "{case}");
                        assert_eq!(end(&world, CLIENT), CloseReason::VersionMismatch, "{case}");
                    }
                }
            }
        }
    }
}

/// A ClientHello of one datagram.
#[test]
fn all_come_to_their_version_small() {
    all_come_to_their_version(KeyShares::Small, 8);
}

/// A ClientHello of two datagrams: the server must answer the first one before it can choose.
#[test]
fn all_come_to_their_version_hybrid() {
    all_come_to_their_version(KeyShares::Hybrid, 10);
}

/// A HelloRetryRequest: the version changes before there are keys.
#[test]
fn all_come_to_their_version_hello_retry() {
    all_come_to_their_version(KeyShares::Retry, 10);
}

/// RFC 9368 section 2.5: a client begins with what most servers know, and wants something else more.
#[test]
// RFC 9368 section 2.5#1#2.
fn a_client_may_begin_with_less_than_it_wants() {
    for (wanted, begun) in [(V1, V2), (V2, V1)] {
        let cases: [(&[Version], Version, u32); 5] = [
            (&[], wanted, 1),
            (&[begun, wanted], begun, 1),
            (&[wanted, begun], wanted, 1),
            (&[begun], begun, 1),
            (&[wanted], wanted, 2),
        ];
        for (server, expected, trips) in cases {
            let mut setup = setup(&[wanted, begun], server, KeyShares::Small);
            setup.client_transport.original_version = Some(begun);
            let mut world = build(setup, 1);
            go_on(&mut world, Duration::from_secs(60));
            judge(&world, Expectation::Completes);
            let took = world.hosts[CLIENT].sessions[0].stats.handshake.unwrap();
            assert_eq!((versions(&world), took), ([expected; 2], 2 * trips * DELAY), "{server:?}");
        }
    }
}

/// How many round trips it takes: none more where versions are compatible, one more where the server must
/// tell its versions first.
#[test]
// RFC 9369 section 4#3.
fn what_a_change_of_version_costs() {
    for (client, server) in CLIENTS.into_iter().flat_map(|client| SERVERS.map(|server| (client, server))) {
        if expected(client, server).is_none() {
            continue;
        }
        let mut world = build(setup(client, server, KeyShares::Small), 1);
        go_on(&mut world, Duration::from_secs(60));
        let trips = if server.is_empty() || server.contains(&client[0]) { 1 } else { 2 };
        let took = world.hosts[CLIENT].sessions[0].stats.handshake.unwrap();
        assert_eq!(took, 2 * trips * DELAY, "{client:?} {server:?}");
    }
}

// Somebody on the way.

/// Sees what passes.
#[derive(Debug, Default, Clone)]
struct Tap(Arc<Mutex<Vec<BytesMut>>>);

impl Node for Tap {
    fn pass(&mut self, now: Time, datagram: Datagram, _: &mut Random, onward: &mut Vec<(Time, Datagram)>) {
        self.0.lock().unwrap().push(datagram.data.clone());
        onward.push((now, datagram));
    }
}

impl Tap {
    fn seen(&self) -> Vec<BytesMut> {
        self.0.lock().unwrap().clone()
    }
}

/// A client and a server, and in front of the client, at this time, a Version Negotiation packet that
/// nobody but an onlooker sent.
fn forged(client: &[Version], server: &[Version], named: &[Version], after: Duration) -> World<Endpoint<Peer>> {
    let tap = Tap::default();
    let mut setup = setup(client, server, KeyShares::Small);
    setup.up.insert(0, Box::new(tap.clone()));
    let mut world = build(setup, 1);
    while world.step(START + after) {}
    let first = &tap.seen()[0];
    let (header, _) = LongHeader::decode(first).unwrap();
    let packet = encode(header.scid, header.dcid, named, 0);
    let datagram = Datagram::new(server_address(), client_address(), Ecn::NotEct, &packet);
    world.network.inject(world.now, CLIENT, datagram);
    go_on(&mut world, Duration::from_secs(60));
    world
}

#[test]
// RFC 9368 section 4#14#15. RFC 9369 section 4#2.
fn a_downgrade_by_a_forged_packet_is_seen() {
    for (wanted, other) in [(V1, V2), (V2, V1)] {
        for server in [&[][..], &[V1, V2], &[V2, V1]] {
            let world = forged(&[wanted, other], server, &[other], Duration::ZERO);
            assert_eq!(violation(&world, CLIENT), TransportErrorCode::VERSION_NEGOTIATION_ERROR, "{server:?}");
            // The server was told, or has heard nothing of the attempt that went on.
            let told = world.hosts[SERVER].sessions.iter().any(|session| {
                let code = TransportErrorCode::VERSION_NEGOTIATION_ERROR;
                matches!(&session.ended, Some((_, CloseReason::PeerTransport { code: told, .. })) if *told == code)
            });
            assert!(told, "{server:?}");
        }
        // What the server does not speak cannot be taken away.
        let world = forged(&[wanted, other], &[other], &[other], Duration::ZERO);
        assert_eq!(versions(&world), [other; 2]);
        judge(&world, Expectation::Completes);
    }
}

#[test]
// RFC 9368 section 4#1.
fn forged_packets_that_mean_nothing_are_ignored() {
    const RESERVED: Version = Version(0x1a2a_3a4a);
    for (client, server) in CLIENTS.into_iter().flat_map(|client| [(client, [].as_slice()), (client, client)]) {
        // One that names what the client has begun with; one that comes when the server has been heard.
        let late = Duration::from_millis(25);
        for (named, after) in [
            (&[V1, V2, RESERVED][..], Duration::ZERO),
            (&[client[0]], Duration::ZERO),
            (&[V2], late),
            (&[V1], late),
            (&[RESERVED], late),
        ] {
            let world = forged(client, server, named, after);
            judge(&world, Expectation::Completes);
            assert_eq!(versions(&world), [expected(client, server).unwrap(); 2], "{client:?} {named:?}");
        }
        // One that names nothing known, in time, is believed: whoever can see the first packet can do this
        // to every client of RFC 9000 (section 21.6).
        let world = forged(client, server, &[RESERVED], Duration::ZERO);
        assert_eq!(end(&world, CLIENT), CloseReason::VersionMismatch);
    }
}

/// A second Version Negotiation packet never counts, whatever it names.
#[test]
// RFC 9368 section 4#2.
fn one_refusal_is_enough() {
    let tap = Tap::default();
    let mut setup = setup(&[V1, V2], &[V2], KeyShares::Small);
    setup.up.insert(0, Box::new(tap.clone()));
    let mut world = build(setup, 1);
    while world.step(START + 2 * DELAY) {}
    let seen = tap.seen();
    let (header, _) = LongHeader::decode(seen.last().unwrap()).unwrap();
    assert_eq!(header.version, V2, "the client has begun anew");
    for named in [&[V1][..], &[Version(0x1a2a_3a4a)]] {
        let packet = encode(header.scid, header.dcid, named, 0);
        let datagram = Datagram::new(server_address(), client_address(), Ecn::NotEct, &packet);
        world.network.inject(world.now, CLIENT, datagram);
    }
    go_on(&mut world, Duration::from_secs(60));
    judge(&world, Expectation::Completes);
    assert_eq!(versions(&world), [V2; 2]);
}

/// Changes the frames of a packet; tells whether it did.
type Forgery = Box<dyn Fn(&mut Vec<u8>) -> bool>;

/// Rewrites the client's Initial packets, whose keys everybody can know.
struct Rewrite {
    /// Changes the frames; says whether there was something to change.
    frames: Forgery,
    /// Whether the fixed bit is cleared.
    clears: bool,
    /// How many packets are still to be rewritten.
    left: Arc<Mutex<u32>>,
}

impl std::fmt::Debug for Rewrite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rewrite")
    }
}

impl Rewrite {
    fn rewritten(&self, data: &BytesMut) -> Option<BytesMut> {
        let mut rest = data.clone();
        let Ok(FirstPacket::Protected(mut packet)) = Protected::split_first(&mut rest, 8) else { return None };
        let Header::Initial { version, dcid, .. } = packet.header().clone() else { return None };
        let server = keys::initial(version, &dcid, Role::Server).unwrap();
        let opened = packet.unprotect(&server.remote.header, None).ok()?.open(&server.remote.packet)?;
        let mut frames = opened.payload.to_vec();
        if !(self.frames)(&mut frames) {
            return None;
        }
        let client = keys::initial(version, &dcid, Role::Client).unwrap();
        let mut made = vec![0; 1500];
        let mut writer = Writer::new(&mut made);
        let start = opened.header.begin(&mut writer, opened.number, None);
        writer.bytes(&frames);
        if self.clears {
            start.clear_fixed_bit(&mut writer);
        }
        let len = start.finish(&mut writer, &client.local.header, &client.local.packet).unwrap();
        Some([&made[..len], &rest].concat().as_slice().into())
    }
}

impl Node for Rewrite {
    fn pass(&mut self, now: Time, mut datagram: Datagram, _: &mut Random, onward: &mut Vec<(Time, Datagram)>) {
        let mut left = self.left.lock().unwrap();
        if *left > 0
            && let Some(data) = self.rewritten(&datagram.data)
        {
            *left -= 1;
            datagram.data = data;
        }
        onward.push((now, datagram));
    }
}

/// What the client says of its versions, as it stands in the ClientHello.
fn said(chosen: Version, available: &[Version]) -> Vec<u8> {
    let versions = [&[chosen], available].concat();
    let value: Vec<u8> = versions.iter().flat_map(|version| version.0.to_be_bytes()).collect();
    [&[0x11, value.len() as u8], &value[..]].concat()
}

#[test]
// RFC 9368 section 4#3#4#5#6#8#9#10.
fn who_strips_versions_of_a_client_hello_ends_the_handshake() {
    let cases = [
        // The server would have gone on in another version, and now cannot know of it: the keys of the
        // handshake, which follow from all that was said, are not the same at the two ends.
        (said(V1, &[V1, V1]), None, CLIENT),
        // A client that means another version than that of its packets.
        (said(V2, &[V1, V2]), Some(TransportErrorCode::VERSION_NEGOTIATION_ERROR), SERVER),
        // What cannot be read.
        (said(V1, &[V2, V2]), Some(TransportErrorCode::TRANSPORT_PARAMETER_ERROR), SERVER),
        (said(V1, &[V1, Version(0)]), Some(TransportErrorCode::TRANSPORT_PARAMETER_ERROR), SERVER),
    ];
    for (to, code, judge) in cases {
        let mut setup = setup(&[V1, V2], &[V2, V1], KeyShares::Small);
        // No reserved version stands among those that the attacker looks for.
        setup.client_transport.grease = false;
        let (from, into, left) = (said(V1, &[V1, V2]), to.clone(), Arc::new(Mutex::new(u32::MAX)));
        let frames = Box::new(move |frames: &mut Vec<u8>| {
            let at = frames.windows(from.len()).position(|window| window == from);
            at.map(|at| frames[at..at + into.len()].copy_from_slice(&into)).is_some()
        });
        setup.up.push(Box::new(Rewrite { frames, clears: false, left: left.clone() }));
        let mut world = build(setup, 1);
        go_on(&mut world, Duration::from_secs(60));
        assert!(*left.lock().unwrap() < u32::MAX);
        match code {
            Some(code) => assert_eq!(violation(&world, judge), code, "{to:x?}"),
            None => assert_eq!(end(&world, judge), CloseReason::HandshakeTimeout, "{to:x?}"),
        }
    }
}

// The fixed bit (RFC 9287).

/// How many datagrams went with and without the fixed bit, up and down.
fn fixed_bits(client: bool, server: bool) -> [[usize; 2]; 2] {
    let (up, down) = (Tap::default(), Tap::default());
    let mut setup = setup(&[V1, V2], &[V2, V1], KeyShares::Hybrid);
    setup.client.bidi = 5;
    setup.client.bytes = 60_000;
    setup.client_transport.grease = client;
    setup.server_transport.grease = server;
    setup.up.push(Box::new(up.clone()));
    setup.down.push(Box::new(down.clone()));
    let mut world = build(setup, 1);
    go_on(&mut world, Duration::from_secs(60));
    judge(&world, Expectation::Completes);
    // RFC 9287 section 3.1: not before it is known that the server does not look.
    let first_flight = up
        .seen()
        .iter()
        .filter(|data| LongHeader::decode(data).is_ok_and(|(header, _)| header.is_initial()))
        .take(2)
        .all(|data| data[0] & 0x40 != 0);
    assert!(first_flight);
    [up, down].map(|tap| {
        let (set, clear): (Vec<_>, Vec<_>) = tap.seen().into_iter().partition(|data| data[0] & 0x40 != 0);
        [set.len(), clear.len()]
    })
}

#[test]
// RFC 9287 section 3.1#1#5.
fn the_fixed_bit_is_left_to_chance_where_both_agree() {
    for (set, clear) in fixed_bits(true, true).map(|[set, clear]| (set, clear)) {
        assert!(set > 20 && clear > 20, "{set} with it, {clear} without");
    }
    for (client, server) in [(true, false), (false, true), (false, false)] {
        assert!(fixed_bits(client, server).iter().all(|[_, clear]| *clear == 0), "{client} {server}");
    }
}

/// Who has not said that he does not look drops what goes without it, though it is authentic; who has said
/// so takes it.
#[test]
// RFC 9000 section 17.2#1. RFC 9287 section 3#2.
fn who_looks_at_the_fixed_bit_drops_what_lacks_it() {
    for grease in [false, true] {
        let mut setup = setup(&[], &[], KeyShares::Small);
        setup.server_transport.grease = grease;
        let left = Arc::new(Mutex::new(1));
        setup.up.push(Box::new(Rewrite { frames: Box::new(|_| true), clears: true, left: left.clone() }));
        let mut world = build(setup, 1);
        go_on(&mut world, Duration::from_secs(60));
        judge(&world, Expectation::Completes);
        assert_eq!(*left.lock().unwrap(), 0);
        let took = world.hosts[CLIENT].sessions[0].stats.handshake.unwrap();
        assert_eq!(took == 2 * DELAY, grease, "{took:?}");
    }
}

#[test]
// RFC 9368 section 2.1#1.
fn a_first_packet_of_nobodys_version_is_answered_with_ours() {
    let id = ConnectionId::new(&[9; 8]).unwrap();
    let header = Header::Initial { version: V1, dcid: id, scid: id, token: bytes::Bytes::new() };
    let mut datagram = vec![0; 1200];
    let mut writer = Writer::new(&mut datagram);
    let _ = header.begin(&mut writer, 0, None);
    datagram[1..5].copy_from_slice(&0x1a2a_3a4a_u32.to_be_bytes());
    for server in SERVERS {
        let tap = Tap::default();
        let mut setup = setup(&[V1], server, KeyShares::Small);
        setup.down.push(Box::new(tap.clone()));
        let mut world = build(setup, 1);
        let first = Datagram::new(client_address(), server_address(), Ecn::NotEct, &datagram);
        world.network.inject(START, SERVER, first);
        while world.step(START + 2 * DELAY) {}
        let answers = tap.seen();
        let told = answers.iter().find_map(|data| match Protected::split_first(&mut data.clone(), 8) {
            Ok(FirstPacket::VersionNegotiation(packet)) if packet.scid == id.as_slice() => Some(packet.versions),
            _ => None,
        });
        let mut told = told.unwrap();
        told.retain(|version| !version.is_reserved());
        let expected = if server.is_empty() { &Version::SUPPORTED } else { server };
        assert_eq!(told, expected);
    }
}
