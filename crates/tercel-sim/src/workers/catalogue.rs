//! The scenarios of whole workers. Each draws its numbers from the seed.

use std::net::SocketAddr;
use std::time::Duration;

use tercel::{RegistrationConfig, RetryPolicy, StreamScheduling, Time};

use super::judge::Expectation;
use super::{Deed, Leave, MachineSetup, Script};
use crate::crypto::KeyShares;
use crate::network::{BurstLoss, Corrupt, Delay, Duplicate, Loss, Node, Reorder};
use crate::random::Random;
use crate::scenario::catalogue::{line, transport};
use crate::world::START;

/// What a run is made of.
#[derive(Debug)]
pub struct Setup {
    /// The client's host.
    pub client: MachineSetup,
    /// The server's host.
    pub server: MachineSetup,
    /// The size of the key shares.
    pub shares: KeyShares,
    /// The way from the client to the server.
    pub up: Vec<Box<dyn Node>>,
    /// The way back.
    pub down: Vec<Box<dyn Node>>,
    /// The client's addresses as the server sees them, and from when on. Empty: its own.
    pub outside: Vec<(Time, SocketAddr)>,
    /// How the connections must end.
    pub expectation: Expectation,
    /// In how much time.
    pub limit: Duration,
}

/// A scenario.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// Its name, which is also that of its test.
    pub name: &'static str,
    /// What it is made of.
    pub make: fn(&mut Random) -> Setup,
    /// How much dearer a run is than others: so many times fewer are made.
    pub cost: u64,
}

impl Scenario {
    /// The setup of `seed`.
    pub fn setup(&self, seed: u64) -> Setup {
        (self.make)(&mut Random::new(seed))
    }
}

/// All scenarios.
pub const ALL: [Scenario; 8] = [
    Scenario { name: "transfer", make: transfer, cost: 1 },
    Scenario { name: "loss", make: loss, cost: 1 },
    Scenario { name: "nat_rebinding", make: nat_rebinding, cost: 1 },
    Scenario { name: "many_connections", make: many_connections, cost: 50 },
    Scenario { name: "close_races", make: close_races, cost: 1 },
    Scenario { name: "vanishing", make: vanishing, cost: 1 },
    Scenario { name: "listener_stop", make: listener_stop, cost: 2 },
    Scenario { name: "streams", make: streams, cost: 1 },
];

/// The scenario of this name.
pub fn by_name(name: &str) -> Option<Scenario> {
    ALL.into_iter().find(|scenario| scenario.name == name)
}

fn machine(random: &mut Random, workers: &[usize], serves: Script) -> MachineSetup {
    let mut registration = RegistrationConfig::default();
    registration.workers = random.one_of(workers);
    registration.retry = random.one_of(&[RetryPolicy::Never, RetryPolicy::Never, RetryPolicy::Always]);
    let blocks = random.one_of(&[0.0, 0.0, 0.2]);
    MachineSetup { registration, transport: transport(random), serves, own_sockets: true, blocks, deeds: Vec::new() }
}

/// A client's script, and that of its server.
fn scripts(random: &mut Random) -> (Script, Script) {
    let bytes = random.one_of(&[1, 1_000, 20_000, 60_000]);
    let script = Script {
        bidi: random.within(0..=4),
        uni: random.within(0..=2),
        bytes,
        window: random.one_of(&[2_000, 16 << 10, 256 << 10]),
        odd: random.one_of(&[0.0, 0.0, 0.3]),
        datagrams: random.one_of(&[0, 0, 10]),
        awaits: 0,
        closes: false,
        early: random.chance(0.3),
        ways: false,
    };
    let serves = Script { bidi: random.within(0..=1), uni: random.within(0..=1), early: false, ..script.clone() };
    (Script { awaits: serves.bidi + serves.uni, closes: true, ..script }, serves)
}

/// A few connections, at once or one after the other, over a line of the usual kind.
fn transfer(random: &mut Random) -> Setup {
    let (script, serves) = scripts(random);
    let (mut client, mut server) = (machine(random, &[1, 1, 2], script.clone()), machine(random, &[1, 2], serves));
    server.deeds.push((Duration::ZERO, Deed::Listen));
    let apart = random.one_of(&[0, 1_000]);
    for _ in 0..random.within(1..=3) {
        client.deeds.push((random.millis(0..=apart), Deed::Connect(script.clone())));
    }
    let delay = random.millis(1..=80);
    Setup {
        client,
        server,
        shares: random.one_of(&[KeyShares::Hybrid, KeyShares::Hybrid, KeyShares::Small, KeyShares::Retry]),
        up: line(random, delay),
        down: line(random, delay),
        outside: Vec::new(),
        expectation: Expectation::Completes,
        limit: Duration::from_secs(300),
    }
}

/// Everything that a bad network does, each in some of the runs.
fn loss(random: &mut Random) -> Setup {
    let mut setup = transfer(random);
    for way in [&mut setup.up, &mut setup.down] {
        if random.chance(0.6) {
            way.push(Box::new(Loss(random.within(0..=150) as f64 / 1000.0)));
        }
        if random.chance(0.2) {
            way.push(Box::new(BurstLoss { begins: 0.01, ends: 0.1, loss: 1.0, bad: false }));
        }
        if random.chance(0.3) {
            let chance = random.within(1..=30) as f64 / 100.0;
            way.push(Box::new(Reorder { chance, most: random.millis(1..=200) }));
        }
        if random.chance(0.3) {
            way.push(Box::new(Duplicate { chance: 0.3, most: random.millis(0..=1_000) }));
        }
        if random.chance(0.3) {
            way.push(Box::new(Corrupt { chance: 0.05, and_good: random.chance(0.5) }));
        }
    }
    setup.expectation = Expectation::MayTimeOut;
    setup
}

/// The client's address changes: by a NAT's doing, or because it takes another socket.
fn nat_rebinding(random: &mut Random) -> Setup {
    let mut setup = transfer(random);
    setup.client.registration.workers = 1;
    let (script, serves) = scripts(random);
    let script = Script { bidi: script.bidi + 1, bytes: 60_000, ..script };
    setup.server.serves = serves;
    setup.client.transport.keep_alive = Some(Duration::from_secs(2));
    setup.client.deeds = vec![(Duration::ZERO, Deed::Connect(script))];
    // The design of QUIC relies on a stable address during the handshake (RFC 9000 section 9).
    let mut at = random.millis(1_200..=2_500);
    if random.chance(0.5) {
        setup.client.own_sockets = false;
        // A Retry that is not taken by the socket is lost, and the handshake late.
        setup.server.blocks = 0.0;
        let mut from = START;
        let mut host = 1;
        for _ in 0..random.within(2..=4) {
            host += random.below(2) as u8;
            let port = random.within(1_024..=65_000) as u16;
            setup.outside.push((from, SocketAddr::from(([203, 0, 113, host], port))));
            from = START + at;
            at += random.millis(200..=1_500);
        }
    } else {
        for _ in 0..random.within(1..=3) {
            setup.client.deeds.push((at, Deed::Rebind(0)));
            at += random.millis(0..=1_500);
        }
    }
    setup
}

fn lossless(delay: Duration) -> Vec<Box<dyn Node>> {
    vec![Box::new(Delay::steady(delay))]
}

/// A hundred connections over two workers.
fn many_connections(random: &mut Random) -> Setup {
    let mut setup = transfer(random);
    let (script, serves) = scripts(random);
    let bytes = random.one_of(&[1, 1_000, 4_000]);
    let script = Script { bytes, datagrams: 0, ..script };
    setup.server.serves = Script { bytes, datagrams: 0, ..serves };
    (setup.client.registration.workers, setup.server.registration.workers) = (2, 2);
    setup.client.deeds.clear();
    let over = random.one_of(&[0, 100, 3_000]);
    for _ in 0..100 {
        setup.client.deeds.push((random.millis(0..=over), Deed::Connect(script.clone())));
    }
    // So many flows at once need their queue.
    let delay = random.millis(1..=40);
    (setup.up, setup.down) = (lossless(delay), lossless(delay));
    setup
}

/// Either end, or both, leave at any time.
fn close_races(random: &mut Random) -> Setup {
    let mut setup = transfer(random);
    let delay = random.millis(1..=40);
    (setup.up, setup.down) = (lossless(delay), lossless(delay));
    let round_trips = 2 * delay.as_millis() as u64 * random.within(0..=6);
    leaves(random, &mut setup, round_trips, &[Leave::Close, Leave::Close, Leave::Drop]);
    setup.expectation = Expectation::Leaves;
    setup
}

fn leaves(random: &mut Random, setup: &mut Setup, within: u64, how: &[Leave]) {
    for index in 0..3 {
        if random.chance(0.6) {
            let at = random.part_of(Duration::from_millis(within + 1));
            setup.client.deeds.push((at, Deed::Leave(index, random.one_of(how))));
        }
        if random.chance(0.6) {
            let at = random.part_of(Duration::from_millis(within + 1));
            setup.server.deeds.push((at, Deed::Leave(index, random.one_of(how))));
        }
    }
}

/// The same, and some leave without a word, or with all that they have, on a network that loses.
fn vanishing(random: &mut Random) -> Setup {
    let mut setup = loss(random);
    let within = random.within(0..=1_000);
    leaves(random, &mut setup, within, &[Leave::Close, Leave::Drop, Leave::Silently]);
    let end = random.one_of(&[Deed::Shutdown, Deed::Quit]);
    match random.below(3) {
        0 => setup.client.deeds.push((random.millis(1_000..=2_000), end)),
        1 => setup.server.deeds.push((random.millis(0..=2_000), end)),
        _ => {}
    }
    setup.expectation = Expectation::Vanishes;
    setup
}

/// Clients keep coming while the listener stops, and perhaps another begins.
fn listener_stop(random: &mut Random) -> Setup {
    let mut setup = transfer(random);
    let Some((_, Deed::Connect(script))) = setup.client.deeds.first().cloned() else { return setup };
    setup.client.deeds.clear();
    for _ in 0..10 {
        setup.client.deeds.push((random.millis(0..=500), Deed::Connect(script.clone())));
    }
    let stop = random.millis(0..=500);
    setup.server.deeds.push((stop, Deed::StopListening));
    if random.chance(0.5) {
        setup.server.deeds.push((stop + random.millis(0..=200), Deed::Listen));
    }
    setup.expectation = Expectation::Vanishes;
    setup
}

/// Streams that send and receive in every way that there is, on networks that lose and those that do not.
fn streams(random: &mut Random) -> Setup {
    let mut setup = if random.chance(0.5) { loss(random) } else { transfer(random) };
    let scheduling = random.one_of(&[StreamScheduling::Fifo, StreamScheduling::RoundRobin]);
    setup.client.transport.stream_scheduling = scheduling;
    setup.client.serves.ways = true;
    setup.server.serves.ways = true;
    for (_, deed) in &mut setup.client.deeds {
        if let Deed::Connect(script) = deed {
            script.ways = true;
        }
    }
    setup
}
