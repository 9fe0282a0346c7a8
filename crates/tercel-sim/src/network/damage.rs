//! Nodes that lose, repeat, damage and mark.

use std::time::Duration;

use tercel_proto::path::Ecn as EcnMark;
use tercel_proto::time::Time;

use super::{Datagram, Node};
use crate::random::Random;

/// Loses each datagram with the same chance.
#[derive(Debug, Clone)]
pub struct Loss(pub f64);

impl Node for Loss {
    fn pass(&mut self, now: Time, datagram: Datagram, random: &mut Random, onward: &mut Vec<(Time, Datagram)>) {
        if !random.chance(self.0) {
            onward.push((now, datagram));
        }
    }
}

/// Loses one datagram: that which comes after so many others.
#[derive(Debug, Clone)]
pub struct LoseOne(pub u64);

impl Node for LoseOne {
    fn pass(&mut self, now: Time, datagram: Datagram, _: &mut Random, onward: &mut Vec<(Time, Datagram)>) {
        match self.0.checked_sub(1) {
            Some(left) => {
                self.0 = left;
                onward.push((now, datagram));
            }
            // From now on none is the one.
            None => self.0 = u64::MAX,
        }
    }
}

/// Loses datagrams in bursts (the model of Gilbert and Elliott): while good none, while bad most.
#[derive(Debug, Clone)]
pub struct BurstLoss {
    /// The chance per datagram that a burst begins.
    pub begins: f64,
    /// The chance per datagram that it ends.
    pub ends: f64,
    /// The chance that a datagram of a burst is lost.
    pub loss: f64,
    /// Whether a burst is on.
    pub bad: bool,
}

impl Node for BurstLoss {
    fn pass(&mut self, now: Time, datagram: Datagram, random: &mut Random, onward: &mut Vec<(Time, Datagram)>) {
        if random.chance(if self.bad { self.ends } else { self.begins }) {
            self.bad = !self.bad;
        }
        if !(self.bad && random.chance(self.loss)) {
            onward.push((now, datagram));
        }
    }
}

/// Loses everything for a while.
#[derive(Debug, Clone)]
pub struct Outage {
    /// When it begins.
    pub from: Time,
    /// When it is over.
    pub until: Time,
}

impl Node for Outage {
    fn pass(&mut self, now: Time, datagram: Datagram, _: &mut Random, onward: &mut Vec<(Time, Datagram)>) {
        if !(self.from..self.until).contains(&now) {
            onward.push((now, datagram));
        }
    }
}

/// Delivers some datagrams twice, the second time later.
#[derive(Debug, Clone)]
pub struct Duplicate {
    /// The part that is repeated.
    pub chance: f64,
    /// How much later the copy comes at most.
    pub most: Duration,
}

impl Node for Duplicate {
    fn pass(&mut self, now: Time, datagram: Datagram, random: &mut Random, onward: &mut Vec<(Time, Datagram)>) {
        if random.chance(self.chance) {
            let later = now + random.part_of(self.most);
            onward.push((later, datagram.clone()));
        }
        onward.push((now, datagram));
    }
}

/// Damages some datagrams: a bit flipped, bytes overwritten, the end cut off or something added.
#[derive(Debug, Clone)]
pub struct Corrupt {
    /// The part that is damaged.
    pub chance: f64,
    /// Whether a good copy is delivered as well, as if somebody had injected the bad one.
    pub and_good: bool,
}

/// Damages `data` in one of many ways.
pub fn corrupt(data: &mut bytes::BytesMut, random: &mut Random) {
    let len = data.len() as u64;
    match random.below(5) {
        0 | 1 if len > 0 => {
            // The header is a small part of the packet; without this it would seldom be hit.
            let within = if random.chance(0.5) { len.min(48) } else { len };
            data[random.below(within) as usize] ^= 1 << random.below(8);
        }
        2 if len > 0 => {
            let (start, count) = (random.below(len) as usize, random.within(1..=16) as usize);
            let end = data.len().min(start + count);
            random.fill(&mut data[start..end]);
        }
        3 => data.truncate(random.below(len) as usize),
        _ => {
            let more: [u8; 40] = random.array();
            data.extend_from_slice(&more[..random.within(1..=40) as usize]);
        }
    }
}

impl Node for Corrupt {
    fn pass(&mut self, now: Time, mut datagram: Datagram, random: &mut Random, onward: &mut Vec<(Time, Datagram)>) {
        if !random.chance(self.chance) {
            return onward.push((now, datagram));
        }
        let good = self.and_good.then(|| datagram.clone());
        corrupt(&mut datagram.data, random);
        datagram.genuine = false;
        onward.push((now, datagram));
        onward.extend(good.map(|good| (now, good)));
    }
}

/// What a network does to the ECN field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Ecn {
    /// Erases it.
    Bleach,
    /// Turns this part of the ECN-capable datagrams into CE.
    Mark(f64),
    /// Loses everything that is ECN-capable.
    Drop,
    /// Turns ECT(0) into ECT(1).
    Mangle,
}

impl Node for Ecn {
    fn pass(&mut self, now: Time, mut datagram: Datagram, random: &mut Random, onward: &mut Vec<(Time, Datagram)>) {
        let capable = datagram.ecn != EcnMark::NotEct;
        match *self {
            Self::Bleach => datagram.ecn = EcnMark::NotEct,
            Self::Mark(chance) if capable && random.chance(chance) => datagram.ecn = EcnMark::Ce,
            Self::Drop if capable => return,
            Self::Mangle if capable => datagram.ecn = EcnMark::Ect1,
            _ => {}
        }
        onward.push((now, datagram));
    }
}
