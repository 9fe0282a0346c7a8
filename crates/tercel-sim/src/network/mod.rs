//! The network: links made of nodes, each of which does one thing to a datagram.
//!
//! A host's datagram enters by [`Network::send`], which finds the link by its destination. It then
//! passes the link's nodes one after the other, each at its own time, and leaves by
//! [`Network::advance`]. The [`watch`] sees what enters and what leaves.

mod bottleneck;
mod damage;
mod delay;
mod nat;
pub mod watch;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::{IpAddr, SocketAddr};

pub use bottleneck::{Bottleneck, HEADERS, Mtu};
use bytes::BytesMut;
pub use damage::{BurstLoss, Corrupt, Duplicate, Ecn, LoseOne, Loss, Outage, corrupt};
pub use delay::{Delay, Reorder};
pub use nat::{Hole, Nat, Severed};
use tercel_proto::path::Ecn as EcnMark;
use tercel_proto::time::Time;

use self::watch::Watch;
use crate::random::Random;

/// A datagram on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// The source address, as seen at this point of the way.
    pub from: SocketAddr,
    /// The destination address, as seen at this point of the way.
    pub to: SocketAddr,
    /// The ECN field.
    pub ecn: EcnMark,
    /// The UDP payload.
    pub data: BytesMut,
    /// Whether a host sent it just so; false once damaged, or if it was injected.
    pub genuine: bool,
    /// When it entered the network.
    pub sent: Time,
    /// The destination that its sender gave it.
    pub aim: SocketAddr,
    /// Whether it proved its sender's address (RFC 9000 section 8.1) when it was sent.
    pub proof: bool,
}

impl Datagram {
    /// A datagram with this payload.
    pub fn new(from: SocketAddr, to: SocketAddr, ecn: EcnMark, data: &[u8]) -> Self {
        Self { from, to, ecn, data: data.into(), genuine: true, sent: Time::ZERO, aim: to, proof: false }
    }
}

/// Something on the way that does one thing to datagrams.
pub trait Node: std::fmt::Debug {
    /// A datagram arrives here. What is put into `onward` arrives at the next node, or at the host,
    /// at the time that stands with it, which is not before `now`.
    fn pass(&mut self, now: Time, datagram: Datagram, random: &mut Random, onward: &mut Vec<(Time, Datagram)>);
}

/// Names a host.
pub type HostId = usize;

/// Names a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkId(usize);

/// One direction to a host.
#[derive(Debug)]
struct Link {
    to: HostId,
    nodes: Vec<Box<dyn Node>>,
}

/// A datagram that is to arrive somewhere.
#[derive(Debug)]
struct Flight {
    at: Time,
    /// In which order those of the same time are handled.
    order: u64,
    link: usize,
    node: usize,
    datagram: Datagram,
}

impl PartialEq for Flight {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}
impl Eq for Flight {}
impl PartialOrd for Flight {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Flight {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// All links, and everything that is on its way.
#[derive(Debug)]
pub struct Network {
    links: Vec<Link>,
    routes: BTreeMap<(HostId, IpAddr), usize>,
    flights: BinaryHeap<Reverse<Flight>>,
    order: u64,
    random: Random,
    onward: Vec<(Time, Datagram)>,
    /// What was seen so far.
    pub watch: Watch,
}

impl Network {
    /// A network without links.
    pub fn new(random: Random) -> Self {
        Self {
            links: Vec::new(),
            routes: BTreeMap::new(),
            flights: BinaryHeap::new(),
            order: 0,
            random,
            onward: Vec::new(),
            watch: Watch::default(),
        }
    }

    /// Takes what host `from` sends to any of `addresses` through `nodes` to host `to`. Gives a name by
    /// which others [`share`](Self::share) the link.
    pub fn link(
        &mut self,
        from: HostId,
        to: HostId,
        addresses: impl IntoIterator<Item = IpAddr>,
        nodes: Vec<Box<dyn Node>>,
    ) -> LinkId {
        self.links.push(Link { to, nodes });
        let link = LinkId(self.links.len() - 1);
        self.share(link, from, addresses);
        link
    }

    /// What host `from` sends to any of `addresses` takes a link that is there already: its nodes, and so
    /// their queues, are shared.
    pub fn share(&mut self, link: LinkId, from: HostId, addresses: impl IntoIterator<Item = IpAddr>) {
        for address in addresses {
            self.routes.insert((from, address), link.0);
        }
    }

    /// Host `from` sends. What has no link is lost.
    pub fn send(&mut self, now: Time, from: HostId, mut datagram: Datagram) {
        datagram.sent = now;
        datagram.proof = watch::proves_address(&datagram.data);
        self.watch.sent(now, from, &datagram);
        if let Some(&link) = self.routes.get(&(from, datagram.to.ip())) {
            self.push(now, link, 0, datagram);
        }
    }

    /// Somebody on the way puts a datagram of his own in front of host `to`.
    pub fn inject(&mut self, at: Time, to: HostId, datagram: Datagram) {
        if let Some(link) = self.links.iter().position(|link| link.to == to) {
            let end = self.links[link].nodes.len();
            self.push(at, link, end, Datagram { genuine: false, proof: false, sent: at, ..datagram });
        }
    }

    fn push(&mut self, at: Time, link: usize, node: usize, datagram: Datagram) {
        self.order += 1;
        self.flights.push(Reverse(Flight { at, order: self.order, link, node, datagram }));
    }

    /// When something happens next.
    pub fn next_time(&self) -> Option<Time> {
        self.flights.peek().map(|Reverse(flight)| flight.at)
    }

    /// How many datagrams are on their way.
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// Lets everything happen that is due by `now`; what arrives at hosts goes into `arrived`.
    pub fn advance(&mut self, now: Time, arrived: &mut Vec<(HostId, Datagram)>) {
        while let Some(Reverse(next)) = self.flights.peek()
            && next.at <= now
            && let Some(Reverse(Flight { at, link, node, datagram, .. })) = self.flights.pop()
        {
            let Link { to, nodes } = &mut self.links[link];
            let Some(passed) = nodes.get_mut(node) else {
                self.watch.arrived(at, *to, &datagram);
                arrived.push((*to, datagram));
                continue;
            };
            let mut onward = std::mem::take(&mut self.onward);
            passed.pass(at, datagram, &mut self.random, &mut onward);
            for (then, datagram) in onward.drain(..) {
                self.push(then.max(at), link, node + 1, datagram);
            }
            self.onward = onward;
        }
    }
}

#[cfg(test)]
mod tests;
