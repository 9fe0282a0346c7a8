//! How soon a transfer goes on when the client's link dies, and where a client with a preferred address ends up.

use std::net::SocketAddr;
use std::time::Duration;

use tercel_proto::config::{CongestionAlgorithm, TransportConfig};
use tercel_proto::time::Time;
use tercel_sim::crypto::KeyShares;
use tercel_sim::host::{How, Move, Script};
use tercel_sim::network::{Bottleneck, Delay, Node, Severed};
use tercel_sim::random::Random;
use tercel_sim::runner::each_seed;
use tercel_sim::scenario::catalogue::by_name;
use tercel_sim::scenario::{CLIENT, Expectation, Setup, build, client_address, go_on, judge};
use tercel_sim::world::START;

/// Two links of which the first dies, or does not, in the midst of a transfer that takes some seconds, up or down; when it
/// dies, and the delay.
fn two_links(seed: u64, dies: bool) -> (Setup, Time, Duration) {
    let mut random = Random::new(seed);
    let delay = random.millis(1..=150);
    let script = Script { uni: 1, bytes: 8_000_000, window: 1 << 20, ..Script::default() };
    let (client, server) = match random.chance(0.5) {
        true => (script, Script::default()),
        false => (Script { awaits: 1, ..Script::default() }, script),
    };
    let other = SocketAddr::from(([10, 0, 1, 1], 50_001));
    let moves = vec![Move { after: Duration::ZERO, local: other, how: How::Added }];
    let mut way = || -> Vec<Box<dyn Node>> {
        let line = Bottleneck::new(random.within(800..=1_500) * 1_000, 100_000);
        vec![Box::new(line), Box::new(Delay::steady(delay))]
    };
    let (mut up, mut down) = (way(), way());
    let from = START + random.millis(1_800..=2_300);
    if dies {
        let severed = Severed { host: client_address().ip(), from };
        up.insert(0, Box::new(severed.clone()));
        down.insert(0, Box::new(severed));
    }
    let transport = TransportConfig { congestion: CongestionAlgorithm::Cubic, ..TransportConfig::default() };
    let setup = Setup {
        client: Script { moves, closes: true, ..client },
        server,
        client_transport: transport.clone(),
        server_transport: transport,
        shares: KeyShares::Small,
        up,
        down,
        outside: Vec::new(),
        expectation: Expectation::Completes,
        limit: Duration::from_secs(60),
    };
    (setup, from, delay)
}

/// The client notices within seven probe timeouts, and ten if it only receives. A probe timeout is a round trip, the
/// variation of it, which is less than half of it, twice, and 25 ms.
#[test]
fn a_transfer_goes_on_soon() {
    let mut longest = Duration::ZERO;
    each_seed(40, |seed| {
        let [_, moved] = [false, true].map(|dies| {
            let (setup, from, delay) = two_links(seed, dies);
            let mut world = build(setup, seed);
            go_on(&mut world, Duration::from_secs(60));
            judge(&world, Expectation::Completes);
            let path = world.hosts[CLIENT].sessions[0].application.path;
            assert_eq!(path.is_some(), dies, "who has no need to does not move, and who has does: {path:?}");
            path.map(|(when, _)| (when.since(from), delay))
        });
        let (after, delay) = moved.unwrap();
        // What the queue of 100 kB holds takes an eighth of a second at most.
        let round_trip = 2 * delay + Duration::from_millis(125);
        assert!(after < 10 * (2 * round_trip + Duration::from_millis(25)), "{after:?} with a delay of {delay:?}");
        longest = longest.max(after);
    });
    println!("the client moved after {longest:?} at most");
}

/// Clients get to where they can be.
#[test]
fn preferred_addresses_are_gone_to() {
    let [mut near, mut far, mut runs] = [0, 0, 0];
    each_seed(40, |seed| {
        let setup = by_name("preferred_address").unwrap().setup(seed);
        let (expectation, limit) = (setup.expectation, setup.limit);
        let mut world = build(setup, seed);
        go_on(&mut world, limit);
        judge(&world, expectation);
        let path = world.hosts[CLIENT].sessions[0].application.path;
        let remote = path.map(|(_, path)| path.remote);
        runs += 1;
        near += u32::from(remote == Some("198.51.100.2:443".parse().unwrap()));
        far += u32::from(remote.is_some_and(|remote| remote.is_ipv6()));
    });
    println!("{near} of {runs} clients went to the near address, {far} to the other");
    assert!(runs < 20 || near * 10 > runs && far * 10 > runs);
}
