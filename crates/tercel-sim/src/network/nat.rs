//! A network address translator that forgets, and addresses from which nothing gets through.

use std::net::{IpAddr, SocketAddr};

use tercel_proto::time::Time;

use super::{Datagram, Node};
use crate::random::Random;

/// One direction of a NAT with one host behind it. From time to time the host gets another outside
/// address; what is still sent to an earlier one is lost.
#[derive(Debug, Clone)]
pub struct Nat {
    inside: SocketAddr,
    outside: Vec<(Time, SocketAddr)>,
    outward: bool,
}

impl Nat {
    /// The two directions, outward and inward, for the host at `inside`. `outside` says from when on
    /// it is seen at which address; the first holds from the beginning.
    pub fn pair(inside: SocketAddr, outside: Vec<(Time, SocketAddr)>) -> (Self, Self) {
        let nat = Self { inside, outside, outward: true };
        (nat.clone(), Self { outward: false, ..nat })
    }

    fn seen_at(&self, now: Time) -> SocketAddr {
        let current = self.outside.iter().rev().find(|(from, _)| *from <= now);
        current.or(self.outside.first()).map_or(self.inside, |(_, address)| *address)
    }
}

impl Node for Nat {
    fn pass(&mut self, now: Time, mut datagram: Datagram, _: &mut Random, onward: &mut Vec<(Time, Datagram)>) {
        let seen = self.seen_at(now);
        if self.outward && datagram.from == self.inside {
            datagram.from = seen;
        } else if !self.outward && datagram.to == seen {
            datagram.to = self.inside;
        } else {
            return;
        }
        onward.push((now, datagram));
    }
}

/// Swallows what comes from these addresses or goes to them.
#[derive(Debug, Clone)]
pub struct Hole(pub Vec<SocketAddr>);

impl Node for Hole {
    fn pass(&mut self, now: Time, datagram: Datagram, _: &mut Random, onward: &mut Vec<(Time, Datagram)>) {
        if !self.0.contains(&datagram.from) && !self.0.contains(&datagram.to) {
            onward.push((now, datagram));
        }
    }
}

/// Swallows what comes from this host or goes to it, from a time on.
#[derive(Debug, Clone)]
pub struct Severed {
    /// The host.
    pub host: IpAddr,
    /// When its link dies.
    pub from: Time,
}

impl Node for Severed {
    fn pass(&mut self, now: Time, datagram: Datagram, _: &mut Random, onward: &mut Vec<(Time, Datagram)>) {
        if now < self.from || ![datagram.from.ip(), datagram.to.ip()].contains(&self.host) {
            onward.push((now, datagram));
        }
    }
}
