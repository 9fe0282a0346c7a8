//! Scenarios: what a run is made of, and what must come out of it.
//!
//! A scenario turns a seed into a [`Setup`] ([`catalogue`]); [`run`] builds the world, lets it go on
//! until both ends are over, and judges. It panics if a rule is broken; the [`runner`](crate::runner)
//! then tells how to repeat the run.

pub mod catalogue;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tercel_proto::config::TransportConfig;
use tercel_proto::error::CloseReason;
use tercel_proto::stats::ConnectionStats;
use tercel_proto::time::Time;
use tercel_wire::TransportErrorCode;

use crate::crypto::{self, KeyShares};
use crate::host::{Endpoint, Peer, Script, Service, Session};
use crate::network::{Nat, Network, Node};
use crate::random::Random;
use crate::world::{START, World};

/// The hosts' places in the world.
pub const CLIENT: usize = 0;
/// The hosts' places in the world.
pub const SERVER: usize = 1;

/// Where the client is.
pub fn client_address() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 50_000))
}

/// Where the server is.
pub fn server_address() -> SocketAddr {
    SocketAddr::from(([198, 51, 100, 1], 443))
}

/// How a run must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expectation {
    /// Every byte arrives.
    Completes,
    /// Every byte arrives, or a timeout is reported at both ends.
    MayTimeOut,
}

/// What a run is made of.
#[derive(Debug)]
pub struct Setup {
    /// What the client wants.
    pub client: Script,
    /// What the server wants.
    pub server: Script,
    /// The client's settings.
    pub client_transport: TransportConfig,
    /// The server's settings.
    pub server_transport: TransportConfig,
    /// The size of the key shares.
    pub shares: KeyShares,
    /// The way from the client to the server.
    pub up: Vec<Box<dyn Node>>,
    /// The way back.
    pub down: Vec<Box<dyn Node>>,
    /// The client's addresses as the server sees them, and from when on. Empty: its own.
    pub outside: Vec<(Time, SocketAddr)>,
    /// How it must end.
    pub expectation: Expectation,
    /// In how much time.
    pub limit: Duration,
}

/// What came of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// A hash of every datagram.
    pub trace: [u8; 32],
    /// How much virtual time passed.
    pub elapsed: Duration,
    /// Whether every byte arrived (otherwise there was a timeout that was permitted).
    pub completed: bool,
    /// Datagrams that the hosts sent.
    pub datagrams: u64,
    /// The client's figures at its end.
    pub client: ConnectionStats,
    /// The server's, if it ever had a connection.
    pub server: Option<ConnectionStats>,
}

/// Runs `setup` to its end.
///
/// # Panics
/// If something is not as it must be.
pub fn run(setup: Setup, seed: u64) -> Report {
    let (expectation, limit) = (setup.expectation, setup.limit);
    let mut world = build(setup, seed);
    go_on(&mut world, limit);
    judge(&world, expectation)
}

/// Lets the world go on until both ends are over.
pub fn go_on(world: &mut World<Endpoint<Peer>>, limit: Duration) {
    let end = START + limit;
    while world.step(end) {
        if world.hosts.iter().all(Endpoint::is_over) && !world.hosts[SERVER].sessions.is_empty() {
            break;
        }
    }
}

/// Two hosts and their network, ready to start.
pub fn build(setup: Setup, seed: u64) -> World<Endpoint<Peer>> {
    crypto::seed(seed);
    let mut random = Random::new(seed ^ 0x0073_696d);
    let mut network = Network::new(random.fork());
    network.watch.guard(SERVER);
    let Setup { mut up, mut down, outside, client, server, .. } = setup;
    let mut seen_at: Vec<_> = client.moves.iter().map(|next| next.local.ip()).collect();
    seen_at.push(client_address().ip());
    seen_at.extend(client.other_family.map(|local| local.ip()));
    if !outside.is_empty() {
        seen_at = outside.iter().map(|(_, address)| address.ip()).collect();
        let (out, back) = Nat::pair(client_address(), outside);
        up.insert(0, Box::new(out));
        down.push(Box::new(back));
    }
    let preferred = setup.server_transport.preferred_address;
    let ipv4 = preferred.and_then(|preferred| preferred.ipv4).map(|address| IpAddr::from(*address.ip()));
    let ipv6 = preferred.and_then(|preferred| preferred.ipv6).map(|address| IpAddr::from(*address.ip()));
    network.link(CLIENT, SERVER, [Some(server_address().ip()), ipv4, ipv6].into_iter().flatten(), up);
    network.link(SERVER, CLIENT, seen_at, down);

    let service = Service {
        tls: crypto::server(setup.shares),
        application: Box::new(move |random| Peer::new(server.clone(), random.fork())),
    };
    let server = Endpoint::new(server_address(), setup.server_transport, random.fork()).serving(service);
    let application = Peer::new(client, random.fork());
    let mut client = Endpoint::new(client_address(), setup.client_transport, random.fork());
    client.connect(START, server_address(), crypto::client(setup.shares), application);
    World::new(network, vec![client, server])
}

/// Judges what came of a world.
///
/// # Panics
/// If something is not as it must be.
pub fn judge(world: &World<Endpoint<Peer>>, expectation: Expectation) -> Report {
    let sessions = || world.hosts.iter().flat_map(|host| &host.sessions);
    for session in sessions() {
        assert!(
            session.connection.is_none(),
            "not over after {:?}: {}; {:?}",
            world.elapsed(),
            session.application.progress(),
            session.stats
        );
    }
    let client = &world.hosts[CLIENT].sessions[0];
    let completed = ended_as_meant(client);
    assert!(
        completed || expectation == Expectation::MayTimeOut,
        "ended with {:?} and {}; {:?}",
        client.ended,
        client.application.progress(),
        client.stats
    );
    for host in &world.hosts {
        for session in &host.sessions {
            check_end(session, &host.transport, completed);
        }
    }
    Report {
        trace: world.network.watch.trace(),
        elapsed: world.elapsed(),
        completed,
        datagrams: world.network.watch.sent,
        client: client.stats,
        server: world.hosts[SERVER].sessions.first().map(|session| session.stats),
    }
}

fn ended_as_meant(session: &Session<Peer>) -> bool {
    session.ended.as_ref().is_some_and(|(_, reason)| session.application.judge(reason))
}

/// Whether an end that was not meant is one that may be, and came in time.
fn check_end(session: &Session<Peer>, transport: &TransportConfig, completed: bool) {
    if ended_as_meant(session) {
        return;
    }
    let Some((when, reason)) = &session.ended else { panic!("over, but no reason was given") };
    let bound = match reason {
        // RFC 9000 section 10.1: the time begins anew with the first packet sent after the last one
        // received, which may be a while later, and is three probe timeouts at least: many seconds, where what was
        // acknowledged late has made the round trip seem long.
        CloseReason::IdleTimeout => {
            let (idle, stats) = (transport.max_idle_timeout, &session.stats);
            let sent_by = session.last_received + idle * 2 + Duration::from_secs(10);
            sent_by + idle.max(3 * (stats.rtt + 4 * stats.rtt_variation))
        }
        CloseReason::HandshakeTimeout => START + transport.handshake_timeout * 2 + Duration::from_secs(5),
        // The server's handshake was over, the client's not; or the other way around.
        CloseReason::PeerTransport { .. } if !completed => *when,
        // RFC 9000 section 10.2.3: an end whose handshake is not over may hear of the application's
        // close only by what stands in for it.
        CloseReason::PeerTransport { code: TransportErrorCode::APPLICATION_ERROR, .. }
            if session.stats.handshake.is_none() =>
        {
            *when
        }
        _ => panic!("ended with {reason:?}; {}; {:?}", session.application.progress(), session.stats),
    };
    assert!(*when <= bound, "{reason:?} was reported at {when:?}, but {bound:?} would have been right");
}
