//! Runs whole workers to their end, and judges how their connections ended.

use std::net::SocketAddr;
use std::time::Duration;

use tercel::{ApplicationErrorCode, CloseReason, Role, Time, TransportErrorCode};

use super::catalogue::Setup;
use super::player::{DONE, Player};
use super::{CLIENT_LEAVES, Machine, SERVER_LEAVES};
use crate::crypto;
use crate::network::{Nat, Network};
use crate::random::Random;
use crate::scenario::{CLIENT, SERVER, client_address, server_address};
use crate::world::{START, World};

/// The longest that a handshake may take: the setting, and the coarseness of timers.
const HANDSHAKE: Duration = Duration::from_millis(10_100);

/// How the connections of a run must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expectation {
    /// Every client reaches its goals and closes; its server may fail to hear the close.
    Completes,
    /// The same, or a timeout is reported.
    MayTimeOut,
    /// Each end may leave at any time, and the other must hear of it: nothing is lost on the way.
    Leaves,
    /// The same, but some leave without a word, or nobody may be there to answer: timeouts and
    /// stateless resets are fine.
    Vanishes,
}

/// What came of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// A hash of every datagram.
    pub trace: [u8; 32],
    /// How much virtual time passed until everything was over.
    pub elapsed: Duration,
    /// How many clients reached their goals, and how many there were.
    pub completed: (usize, usize),
    /// Datagrams that the hosts sent.
    pub datagrams: u64,
    /// How every connection ended.
    pub ends: Vec<(Role, CloseReason)>,
}

/// Runs `setup` to its end.
///
/// # Panics
/// If something is not as it must be.
pub fn run(setup: Setup, seed: u64) -> Report {
    let (expectation, limit) = (setup.expectation, START + setup.limit);
    let mut world = build(setup, seed);
    while !world.hosts.iter().all(Machine::is_over) {
        assert!(world.step(limit), "not over after {:?}: {}", world.elapsed(), progress(&world));
    }
    let elapsed = world.elapsed();
    // Closing states end, and with them every timer.
    let quiet = world.now + Duration::from_secs(120);
    while world.step(quiet) {}
    assert!(world.now < quiet && world.network.in_flight() == 0, "the hosts come to no rest");
    for host in [CLIENT, SERVER] {
        world.hosts[host].quit();
        world.turn(host);
        world.hosts[host].check_end();
    }
    judge(&world, expectation, elapsed)
}

fn build(setup: Setup, seed: u64) -> World<Machine> {
    crypto::seed(seed);
    let mut random = Random::new(seed ^ 0x776f_726b);
    let mut network = Network::new(random.fork());
    network.watch.guard(SERVER);
    let Setup { mut up, mut down, outside, client, server, shares, .. } = setup;
    let mut seen_at = vec![client_address().ip()];
    if !outside.is_empty() {
        seen_at = outside.iter().map(|(_, address)| address.ip()).collect();
        let (out, back) = Nat::pair(client_address(), outside);
        up.insert(0, Box::new(out));
        down.push(Box::new(back));
    }
    network.link(CLIENT, SERVER, [server_address().ip()], up);
    network.link(SERVER, CLIENT, seen_at, down);
    let mut machine = |at: SocketAddr, setup| Machine::new(START, at, server_address(), setup, shares, random.fork());
    let hosts = vec![machine(client_address(), client), machine(server_address(), server)];
    World::new(network, hosts)
}

fn progress(world: &World<Machine>) -> String {
    let mut text = String::new();
    for host in &world.hosts {
        let players = host.players();
        for player in players.all.iter().filter(|player| player.ended.is_none()).take(3) {
            text += &format!("\n{}", player.progress());
        }
    }
    text
}

fn judge(world: &World<Machine>, expectation: Expectation, elapsed: Duration) -> Report {
    let mut completed = (0, 0);
    let mut ends = Vec::new();
    for host in &world.hosts {
        for player in &host.players().all {
            let Some((at, _, reason)) = &player.ended else { continue };
            let fits = is_meant(player, reason) || is_excused(player, *at, reason, expectation);
            assert!(fits, "this must not end so: {}\n{expectation:?}", player.progress());
            if player.role == Role::Client {
                completed.1 += 1;
                completed.0 += usize::from(player.is_done() && is_meant(player, reason));
            }
            ends.push((player.role, reason.clone()));
        }
    }
    let all_done = completed.0 == completed.1;
    assert!(
        all_done || expectation != Expectation::Completes,
        "only {} of {} clients are done",
        completed.0,
        completed.1
    );
    let watch = &world.network.watch;
    Report { trace: watch.trace(), elapsed, completed, datagrams: watch.sent, ends }
}

fn is_code(code: ApplicationErrorCode, expected: &[u32]) -> bool {
    expected.iter().any(|expected| code == ApplicationErrorCode::from(*expected))
}

/// The client closes when it is done, and the server hears it.
fn is_meant(player: &Player, reason: &CloseReason) -> bool {
    match (player.role, reason) {
        (Role::Client, CloseReason::LocalApplication { code }) => is_code(*code, &[DONE]) && player.is_done(),
        (Role::Server, CloseReason::PeerApplication { code, .. }) => is_code(*code, &[DONE]),
        _ => false,
    }
}

/// Whether an end that was not meant is one that may come in such a run, and came in time.
fn is_excused(player: &Player, at: Time, reason: &CloseReason, expectation: Expectation) -> bool {
    let loses = expectation != Expectation::Leaves;
    let leaves = matches!(expectation, Expectation::Leaves | Expectation::Vanishes);
    let (ours, theirs) = match player.role {
        Role::Client => (CLIENT_LEAVES, SERVER_LEAVES),
        Role::Server => (SERVER_LEAVES, CLIENT_LEAVES),
    };
    match reason {
        CloseReason::LocalApplication { code } => leaves && player.closed_here && is_code(*code, &[ours, 0]),
        CloseReason::PeerApplication { code, .. } => leaves && is_code(*code, &[theirs, 0]),
        CloseReason::Silent => leaves && player.closed_here,
        // RFC 9000 section 10.2.3: what stands in for the application's code as long as the other end's
        // handshake is not complete.
        CloseReason::PeerTransport { code: TransportErrorCode::APPLICATION_ERROR, .. } => !player.is_confirmed(),
        // The other end's handshake took too long.
        CloseReason::PeerTransport { code: TransportErrorCode::NO_ERROR, .. } => {
            loses && expectation != Expectation::Completes
        }
        // A listener that has stopped takes nobody in.
        CloseReason::PeerTransport { .. } => expectation == Expectation::Vanishes && !player.was_connected(),
        // The close of the other end was lost.
        CloseReason::StatelessReset | CloseReason::IdleTimeout => {
            loses && (player.role == Role::Server || expectation != Expectation::Completes)
        }
        CloseReason::HandshakeTimeout => {
            let bound = player.began + HANDSHAKE;
            assert!(at <= bound, "{reason:?} at {at:?}, but {bound:?} would have been right");
            loses && expectation != Expectation::Completes
        }
        _ => false,
    }
}
