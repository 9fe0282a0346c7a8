//! Virtual time: a network, hosts, and a loop that goes from one event to the next.

use std::time::Duration;

use tercel_proto::time::Time;

use crate::network::{Datagram, HostId, Network};

/// Something with addresses that sends and receives.
pub trait Host {
    /// A datagram arrives. [`turn`](Self::turn) follows at the same time.
    fn receive(&mut self, now: Time, datagram: Datagram);

    /// Does what is due, puts what it sends into `out`, and says when it is to be called again if
    /// nothing arrives before.
    fn turn(&mut self, now: Time, out: &mut Vec<Datagram>) -> Option<Time>;
}

/// When every run begins: not at zero, so that subtracting from a time shows its faults.
pub const START: Time = Time::from_nanos(1_000_000_000_000);

/// So often may a host's timer go off in a second without anything sent or received.
const IDLE_TURNS: u32 = 200;
/// So often may a host's timer go off in a second.
const TURNS_PER_SECOND: u32 = 100_000;

/// How a host's timer behaves.
#[derive(Debug, Clone, Default)]
struct Pulse {
    wakeup: Option<Time>,
    second: u64,
    /// Turns by timer within the second, and since something was last received or sent.
    turns: u32,
    idle_turns: u32,
}

/// Hosts and their network.
#[derive(Debug)]
pub struct World<H> {
    /// The time.
    pub now: Time,
    /// The network.
    pub network: Network,
    /// The hosts, by their [`HostId`].
    pub hosts: Vec<H>,
    pulses: Vec<Pulse>,
    arrived: Vec<(HostId, Datagram)>,
    out: Vec<Datagram>,
}

impl<H: Host> World<H> {
    /// Hosts that all have their first turn at [`START`].
    pub fn new(network: Network, hosts: Vec<H>) -> Self {
        let pulses = vec![Pulse { wakeup: Some(START), ..Pulse::default() }; hosts.len()];
        Self { now: START, network, hosts, pulses, arrived: Vec::new(), out: Vec::new() }
    }

    /// How much time has passed.
    pub fn elapsed(&self) -> Duration {
        self.now.since(START)
    }

    /// Goes to the next event, unless there is none before `limit`. Says whether there was.
    ///
    /// # Panics
    /// If a host spins.
    pub fn step(&mut self, limit: Time) -> bool {
        let wakeups = self.pulses.iter().filter_map(|pulse| pulse.wakeup);
        let Some(next) = wakeups.chain(self.network.next_time()).min() else { return false };
        if next > limit {
            return false;
        }
        self.now = self.now.max(next);
        self.network.advance(self.now, &mut self.arrived);
        let mut received = 0u64;
        for (host, datagram) in self.arrived.drain(..) {
            received |= 1 << host;
            self.hosts[host].receive(self.now, datagram);
        }
        for host in 0..self.hosts.len() {
            let due = self.pulses[host].wakeup.is_some_and(|wakeup| wakeup <= self.now);
            if received & 1 << host != 0 {
                self.pulses[host].idle_turns = 0;
                self.turn(host);
            } else if due {
                self.count_turn(host);
                self.turn(host);
            }
        }
        true
    }

    /// Gives a host a turn now, after something was done to it from outside.
    pub fn turn(&mut self, host: HostId) {
        let wakeup = self.hosts[host].turn(self.now, &mut self.out);
        self.pulses[host].wakeup = wakeup;
        if !self.out.is_empty() {
            self.pulses[host].idle_turns = 0;
        }
        for datagram in self.out.drain(..) {
            self.network.send(self.now, host, datagram);
        }
    }

    fn count_turn(&mut self, host: HostId) {
        let (second, pulse) = (self.now.as_nanos() / 1_000_000_000, &mut self.pulses[host]);
        if pulse.second != second {
            *pulse = Pulse { second, ..Pulse::default() };
        }
        pulse.turns += 1;
        pulse.idle_turns += 1;
        assert!(pulse.idle_turns <= IDLE_TURNS, "host {host} spins: its timer goes off and nothing comes of it");
        assert!(pulse.turns <= TURNS_PER_SECOND, "host {host} spins: {} turns in one second", pulse.turns);
    }
}
