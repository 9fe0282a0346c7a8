//! The scenarios. Each draws its numbers from the seed.

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::time::Duration;

use tercel_proto::config::{CongestionAlgorithm, PreferredAddress, TransportConfig};

use super::{Expectation, Setup, client_address};
use crate::crypto::KeyShares;
use crate::host::{How, Move, Reading, Script};
use crate::network::{
    Bottleneck, BurstLoss, Corrupt, Delay, Duplicate, Ecn, Hole, Loss, Mtu, Node, Outage, Reorder, Severed,
};
use crate::random::Random;
use crate::world::START;

/// A scenario.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// Its name, which is also that of its test.
    pub name: &'static str,
    /// What it is made of.
    pub make: fn(&mut Random) -> Setup,
}

impl Scenario {
    /// The setup of `seed`.
    pub fn setup(&self, seed: u64) -> Setup {
        (self.make)(&mut Random::new(seed))
    }
}

/// All scenarios.
pub const ALL: [Scenario; 17] = [
    Scenario { name: "loss", make: loss },
    Scenario { name: "reordering", make: reordering },
    Scenario { name: "duplication", make: duplication },
    Scenario { name: "corruption", make: corruption },
    Scenario { name: "mtu_black_hole", make: mtu_black_hole },
    Scenario { name: "nat_rebinding", make: nat_rebinding },
    Scenario { name: "migration", make: migration },
    Scenario { name: "black_holes", make: black_holes },
    Scenario { name: "failing_links", make: failing_links },
    Scenario { name: "preferred_address", make: preferred_address },
    Scenario { name: "one_way_outage", make: one_way_outage },
    Scenario { name: "bufferbloat", make: bufferbloat },
    Scenario { name: "asymmetric_paths", make: asymmetric_paths },
    Scenario { name: "stalled_reader", make: stalled_reader },
    Scenario { name: "thousand_streams", make: thousand_streams },
    Scenario { name: "handshake_loss", make: handshake_loss },
    Scenario { name: "extensions", make: extensions },
];

/// The scenario of this name.
pub fn by_name(name: &str) -> Option<Scenario> {
    ALL.into_iter().find(|scenario| scenario.name == name)
}

const MS: Duration = Duration::from_millis(1);

pub(crate) fn transport(random: &mut Random) -> TransportConfig {
    TransportConfig {
        congestion: random.one_of(&[CongestionAlgorithm::Cubic, CongestionAlgorithm::NewReno]),
        pacing: random.chance(0.8),
        hystart: random.chance(0.8),
        initial_mtu: random.one_of(&[1200, 1200, 1250]),
        max_datagram_frame_size: 65_535,
        stream_receive_window: random.one_of(&[8 << 10, 64 << 10, 256 << 10]),
        receive_window: random.one_of(&[16 << 10, 128 << 10, 1 << 20]),
        active_connection_id_limit: random.one_of(&[2, 4, 8]),
        ack_threshold: random.one_of(&[1, 2, 2, 10]),
        ..TransportConfig::default()
    }
}

pub(crate) fn line(random: &mut Random, delay: Duration) -> Vec<Box<dyn Node>> {
    let mut nodes: Vec<Box<dyn Node>> = Vec::new();
    if random.chance(0.6) {
        let rate = random.within(100..=2_000) * 1_000;
        nodes.push(Box::new(Bottleneck::new(rate, random.within(20..=200) as usize * 1_000)));
    }
    nodes.push(Box::new(Delay::jittery(delay, random.one_of(&[Duration::ZERO, MS, 5 * MS]))));
    if random.chance(0.4) {
        nodes.push(Box::new(random.one_of(&[Ecn::Bleach, Ecn::Mark(0.02), Ecn::Mark(1.0), Ecn::Mangle])));
    }
    nodes
}

/// A line of the usual kind, and a transfer both ways with all that an application may do.
fn usual(random: &mut Random) -> Setup {
    let delay = random.millis(1..=80);
    let odd = random.one_of(&[0.0, 0.0, 0.3]);
    let script = |random: &mut Random, streams: u64| Script {
        bidi: random.within(0..=streams),
        uni: random.within(0..=2),
        bytes: random.one_of(&[1, 1_000, 20_000, 60_000]),
        window: random.one_of(&[2_000, 16 << 10, 256 << 10]),
        odd,
        datagrams: (random.one_of(&[0, 0, 10]), random.millis(1..=10)),
        key_updates: (0..random.within(0..=2)).map(|_| random.millis(0..=1_000)).collect(),
        ..Script::default()
    };
    let server = script(random, 1);
    let client = Script { awaits: server.bidi + server.uni, closes: true, ..script(random, 4) };
    Setup {
        client,
        server,
        client_transport: transport(random),
        server_transport: transport(random),
        shares: random.one_of(&[KeyShares::Hybrid, KeyShares::Hybrid, KeyShares::Small, KeyShares::Retry]),
        up: line(random, delay),
        down: line(random, delay),
        outside: Vec::new(),
        expectation: Expectation::Completes,
        limit: Duration::from_secs(300),
    }
}

/// Windows large enough, and losses rare enough, that each end asks the other for fewer
/// acknowledgements; and every other extension at work.
fn extensions(random: &mut Random) -> Setup {
    let mut setup = usual(random);
    for transport in [&mut setup.client_transport, &mut setup.server_transport] {
        transport.ack_frequency = random.chance(0.8);
        transport.one_way_delay = random.chance(0.8);
        (transport.report_addresses, transport.learn_address) = (random.chance(0.8), random.chance(0.8));
        (transport.stream_receive_window, transport.receive_window) = (1 << 20, 4 << 20);
    }
    // Where every packet is marked two packets a round trip are all that is left: more would take too long.
    let bytes = random.within(200_000..=1_000_000);
    let odd = random.one_of(&[0.0, 0.5]);
    let more = Script { bidi: random.within(1..=3), bytes, window: 1 << 20, odd, resets_at: true, ..setup.client };
    setup.client = Script { datagrams: (random.one_of(&[0, 50]), random.millis(1..=20)), ..more };
    for way in [&mut setup.up, &mut setup.down] {
        way.push(Box::new(Loss(random.within(0..=20) as f64 / 1000.0)));
        if random.chance(0.5) {
            way.push(Box::new(Reorder { chance: random.within(1..=10) as f64 / 100.0, most: random.millis(1..=30) }));
        }
    }
    setup
}

/// From none to 30 %, alone or in bursts.
fn loss(random: &mut Random) -> Setup {
    let mut setup = usual(random);
    let part = random.within(0..=300) as f64 / 1000.0;
    let mut bursts = false;
    let mut node = |random: &mut Random| -> Box<dyn Node> {
        match random.chance(0.7) {
            true => Box::new(Loss(part)),
            // As much in all, but together.
            false => {
                bursts = true;
                Box::new(BurstLoss { begins: 0.1 * part / (1.0 - part), ends: 0.1, loss: 1.0, bad: false })
            }
        }
    };
    setup.up.push(node(random));
    setup.down.push(node(random));
    // A burst may swallow all that a handshake can try in its time.
    if part > 0.05 || bursts {
        setup.expectation = Expectation::MayTimeOut;
    }
    setup
}

/// Up to half of the datagrams are held up, for up to several round trips.
fn reordering(random: &mut Random) -> Setup {
    let mut setup = usual(random);
    for way in [&mut setup.up, &mut setup.down] {
        way.push(Box::new(Reorder { chance: random.within(1..=50) as f64 / 100.0, most: random.millis(1..=200) }));
    }
    setup
}

/// Up to all datagrams come twice, the second time up to a second later.
// RFC 9000 section 12.3#4.
fn duplication(random: &mut Random) -> Setup {
    let mut setup = usual(random);
    for way in [&mut setup.up, &mut setup.down] {
        way.push(Box::new(Duplicate {
            chance: random.within(10..=100) as f64 / 100.0,
            most: random.millis(0..=1_000),
        }));
    }
    setup
}

/// Up to a fifth of the datagrams are damaged, or joined by damaged copies.
// RFC 9000 section 12.2#6.
fn corruption(random: &mut Random) -> Setup {
    let mut setup = usual(random);
    let and_good = random.chance(0.5);
    for way in [&mut setup.up, &mut setup.down] {
        way.push(Box::new(Corrupt { chance: random.within(1..=20) as f64 / 100.0, and_good }));
    }
    if !and_good {
        setup.expectation = Expectation::MayTimeOut;
    }
    setup
}

/// The path carries less than was found, from the start or from some time on.
// RFC 9000 section 14.2#1#3.
fn mtu_black_hole(random: &mut Random) -> Setup {
    let mut setup = usual(random);
    setup.client.bidi += 1;
    setup.client.bytes = 60_000;
    for transport in [&mut setup.client_transport, &mut setup.server_transport] {
        transport.initial_mtu = 1200;
        transport.max_mtu = random.one_of(&[1200, 1452, 1472, 9000]);
    }
    for way in [&mut setup.up, &mut setup.down] {
        let limit = random.one_of(&[1200, 1252, 1452, 1472, 9000]);
        let then = (START + random.millis(50..=1_500), random.within(1200..=1500) as usize);
        way.push(Box::new(Mtu { limit, then: random.chance(0.8).then_some(then) }));
    }
    setup
}

/// The client's address changes during the transfer, once or more often: the port, or all of it.
// RFC 9000 sections 9#4, 9.3#1.
fn nat_rebinding(random: &mut Random) -> Setup {
    let mut setup = usual(random);
    setup.client.bidi += 1;
    setup.client.bytes = 60_000;
    // Without something to send a client never learns that it must: the server's data would go
    // nowhere until a keep-alive.
    setup.client_transport.keep_alive = Some(Duration::from_secs(2));
    let mut at = START;
    // The design of QUIC relies on a stable address during the handshake (RFC 9000 section 9).
    let mut stays = random.millis(700..=2_000);
    let mut host = 1;
    for _ in 0..random.within(2..=4) {
        host += random.below(2) as u8;
        let port = random.within(1_024..=65_000) as u16;
        setup.outside.push((at, SocketAddr::from(([203, 0, 113, host], port))));
        at += stays;
        stays = random.millis(200..=1_500);
    }
    setup
}

/// Addresses of the client's beside its first: other ports, other hosts.
fn other_address(random: &mut Random) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, random.within(1..=3) as u8], random.within(50_001..=60_000) as u16))
}

fn moves(random: &mut Random, addresses: &[SocketAddr]) -> Vec<Move> {
    let mut after = Duration::ZERO;
    let next = |local: &SocketAddr| {
        after += random.millis(0..=1_500);
        Move { after, local: *local, how: random.one_of(&[How::AtOnce, How::Probed]) }
    };
    addresses.iter().map(next).collect()
}

/// The client moves in the midst of a transfer, more than once and perhaps back, on a network that loses.
fn migration(random: &mut Random) -> Setup {
    let mut setup = usual(random);
    setup.client.bidi += 1;
    setup.client.bytes = 60_000;
    let mut addresses: Vec<_> = (0..random.within(1..=4)).map(|_| other_address(random)).collect();
    if random.chance(0.5) {
        addresses.push(client_address());
        addresses.push(addresses[0]);
    }
    setup.client.moves = moves(random, &addresses);
    let part = random.one_of(&[0.0, 0.01, 0.05, 0.1]);
    for way in [&mut setup.up, &mut setup.down] {
        way.push(Box::new(Loss(part)));
    }
    if part > 0.05 {
        setup.expectation = Expectation::MayTimeOut;
    }
    setup
}

/// The client moves to where nothing gets through, one way or both: it comes back.
fn black_holes(random: &mut Random) -> Setup {
    let mut setup = usual(random);
    setup.client.bidi += 1;
    setup.client.bytes = 60_000;
    setup.client_transport.keep_alive = Some(Duration::from_secs(2));
    let addresses: Vec<_> = (0..random.within(1..=2)).map(|_| other_address(random)).collect();
    setup.client.moves = moves(random, &addresses);
    let hole = Hole(addresses);
    let ways = random.below(3);
    if ways != 0 {
        setup.up.insert(0, Box::new(hole.clone()));
    }
    if ways != 1 {
        setup.down.insert(0, Box::new(hole));
    }
    setup
}

/// The client has two links or three. One after the other dies or is taken away, but the last.
fn failing_links(random: &mut Random) -> Setup {
    let mut setup = usual(random);
    setup.client.bidi += 1;
    // On a path that marks all that passes two packets go in a round trip: more would not be over in time.
    setup.client.bytes = random.within(60..=500) * 1_000;
    setup.client.window = 256 << 10;
    let links = random.within(2..=3) as u8;
    if links > 2 {
        // With two connection IDs nobody can leave a link that was dead when it was gone to: there is none for another, and
        // none can be brought.
        setup.client_transport.active_connection_id_limit = 8;
        setup.server_transport.active_connection_id_limit = 4;
    }
    let link = |number: u8| SocketAddr::from(([10, 0, number, 1], 50_000 + u16::from(number)));
    let mut after = Duration::ZERO;
    for number in 1..links {
        after += random.millis(0..=300);
        setup.client.moves.push(Move { after, local: link(number), how: How::Added });
    }
    let mut dying = client_address();
    // Not in the midst of the handshake.
    let mut when = random.millis(1_500..=2_500);
    for number in 1..links {
        when += random.millis(200..=2_500);
        if random.chance(0.7) {
            for way in [&mut setup.up, &mut setup.down] {
                way.insert(0, Box::new(Severed { host: dying.ip(), from: START + when }));
            }
        }
        // The system may notice, sooner or later; its word is needed for a link that works.
        after = after.max(when + random.millis(0..=3_000));
        setup.client.moves.push(Move { after, local: dying, how: How::Removed });
        dying = link(number);
    }
    let part = random.one_of(&[0.0, 0.0, 0.01, 0.05]);
    for way in [&mut setup.up, &mut setup.down] {
        way.push(Box::new(Loss(part)));
    }
    setup
}

/// The server would rather be reached elsewhere, by either family, and not always is.
// RFC 9000 sections 9.6.1#1#2#3, 9.6.2#2#4.
fn preferred_address(random: &mut Random) -> Setup {
    let mut setup = usual(random);
    setup.client.bidi += 1;
    setup.client.bytes = 60_000;
    let host = |number: u16| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number);
    let near = SocketAddrV4::new([198, 51, 100, 2].into(), 443);
    let far = SocketAddrV6::new(host(2), 443, 0, 0);
    let (ipv4, ipv6) = (Some(near).filter(|_| random.chance(0.6)), Some(far).filter(|_| random.chance(0.8)));
    setup.server_transport.preferred_address = Some(PreferredAddress { ipv4, ipv6 });
    setup.server_transport.migration = random.chance(0.5);
    setup.client.other_family = Some(SocketAddr::from((host(1), 50_006))).filter(|_| random.chance(0.8));
    let holes: Vec<SocketAddr> = [near.into(), far.into()].into_iter().filter(|_| random.chance(0.3)).collect();
    let part = random.one_of(&[0.0, 0.0, 0.02, 0.1]);
    for way in [&mut setup.up, &mut setup.down] {
        way.insert(0, Box::new(Hole(holes.clone())));
        way.push(Box::new(Loss(part)));
    }
    if setup.server_transport.migration && random.chance(0.3) {
        let how = random.one_of(&[How::AtOnce, How::Probed, How::Added]);
        setup.client.moves.push(Move { after: random.millis(0..=500), local: other_address(random), how });
    }
    if part > 0.05 {
        setup.expectation = Expectation::MayTimeOut;
    }
    setup
}

/// For a while nothing gets through in one direction.
fn one_way_outage(random: &mut Random) -> Setup {
    let mut setup = usual(random);
    let from = START + random.millis(0..=1_000);
    let length = random.millis(100..=20_000);
    let outage = Box::new(Outage { from, until: from + length });
    if random.chance(0.5) { &mut setup.up } else { &mut setup.down }.push(outage);
    if length > Duration::from_secs(4) {
        setup.expectation = Expectation::MayTimeOut;
    }
    setup
}

/// A slow line with a queue of seconds in front of it, that may mark.
fn bufferbloat(random: &mut Random) -> Setup {
    let mut setup = usual(random);
    setup.client.bidi += 1;
    setup.client.bytes = 60_000;
    let delay = random.millis(5..=40);
    for way in [&mut setup.up, &mut setup.down] {
        let mut line = Bottleneck::new(random.within(20..=100) * 1_000, random.within(50..=400) as usize * 1_000);
        if random.chance(0.3) {
            line = line.marking_above(random.within(5..=20) as usize * 1_000);
        }
        *way = vec![Box::new(line), Box::new(Delay::steady(delay))];
    }
    setup
}

/// The two ways differ by far in rate and delay.
fn asymmetric_paths(random: &mut Random) -> Setup {
    let mut setup = usual(random);
    let slow: Vec<Box<dyn Node>> = vec![
        Box::new(Bottleneck::new(random.within(5..=40) * 1_000, random.within(5..=50) as usize * 1_000)),
        Box::new(Delay::jittery(random.millis(50..=400), random.millis(0..=50))),
    ];
    let fast: Vec<Box<dyn Node>> = vec![Box::new(Delay::steady(random.millis(1..=20)))];
    (setup.up, setup.down) = if random.chance(0.6) { (slow, fast) } else { (fast, slow) };
    setup.client.bytes = setup.client.bytes.min(20_000);
    setup.server.bytes = setup.server.bytes.min(20_000);
    setup
}

/// One end does not read for up to a minute, or only little by little.
fn stalled_reader(random: &mut Random) -> Setup {
    let mut setup = usual(random);
    setup.client.bidi += 1;
    setup.client.bytes = 60_000;
    setup.client_transport.keep_alive = Some(Duration::from_secs(10));
    let reading = match random.chance(0.5) {
        true => Reading::Stalled(random.millis(100..=60_000)),
        false => Reading::Slow(random.within(1_000..=10_000) as usize, random.millis(50..=1_000)),
    };
    if random.chance(0.5) { &mut setup.client } else { &mut setup.server }.reading = reading;
    setup
}

/// A thousand streams, a few of them at once.
fn thousand_streams(random: &mut Random) -> Setup {
    let mut setup = usual(random);
    let bidi = random.within(0..=1_000);
    setup.client = Script { bidi, uni: 1_000 - bidi, bytes: random.within(0..=100), odd: 0.01, ..setup.client };
    setup.server_transport.max_bidi_streams = random.within(10..=1_000);
    setup.server_transport.max_uni_streams = random.within(10..=1_000);
    setup.up.push(Box::new(Loss(random.one_of(&[0.0, 0.02]))));
    setup
}

/// Between 30 and 60 % of everything is lost until the handshake has had its time.
// RFC 9000 sections 8.1#4, 13.3#3.
fn handshake_loss(random: &mut Random) -> Setup {
    let mut setup = usual(random);
    for way in [&mut setup.up, &mut setup.down] {
        way.push(Box::new(Loss(random.within(300..=600) as f64 / 1000.0)));
    }
    for script in [&mut setup.client, &mut setup.server] {
        script.bytes = script.bytes.min(1_000);
    }
    setup.expectation = Expectation::MayTimeOut;
    setup
}
