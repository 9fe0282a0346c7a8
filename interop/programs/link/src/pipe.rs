//! One way through the network: what is harmed, the queue, the bottleneck, the delay.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use quinn_udp::EcnCodepoint;

use crate::Toward;
use crate::options::{Harm, Options};
use crate::socket::Datagram;

/// What becomes of a datagram.
pub enum Fate {
    /// It arrives at this time.
    Arrives(Instant),
    /// It does not.
    Lost,
}

/// Chance that does not strike more often in a row than it may.
struct Chance {
    percent: u32,
    burst: u32,
    in_a_row: u32,
}

impl Chance {
    fn strikes(&mut self, random: &mut fastrand::Rng) -> bool {
        let strikes = random.u32(..100) < self.percent && self.in_a_row < self.burst;
        self.in_a_row = if strikes { self.in_a_row + 1 } else { 0 };
        strikes
    }
}

/// Whether this is a Version Negotiation packet (RFC 9000 section 17.2.1): nothing in it is protected, and a
/// client that reads other versions than were written gives up, as section 6.2 has it.
fn negotiates_version(data: &[u8]) -> bool {
    matches!(data, [0x80..=0xff, 0, 0, 0, 0, ..])
}

/// One way through the network.
pub struct Pipe {
    delay: Duration,
    rate: u64,
    queue: usize,
    harm: Harm,
    loss: Chance,
    corruption: Chance,
    blackhole: Option<(Duration, Duration)>,
    congested: u64,
    random: fastrand::Rng,
    /// When those in the queue have passed the bottleneck.
    leaving: VecDeque<Instant>,
    taken: u64,
    markable: u64,
    lost: u64,
    overflowed: u64,
    corrupted: u64,
}

impl Pipe {
    /// As the options say for this way.
    pub fn new(options: &Options, toward: Toward) -> Self {
        let (harm, seed) = match toward {
            Toward::Server => (&options.to_server, options.seed),
            Toward::Client => (&options.to_client, options.seed ^ 0x5eed),
        };
        let chance = |percent| Chance { percent, burst: options.burst, in_a_row: 0 };
        Self {
            delay: options.delay,
            rate: options.rate,
            queue: options.queue,
            loss: chance(harm.loss),
            corruption: chance(harm.corruption),
            harm: harm.clone(),
            blackhole: options.blackhole,
            congested: options.congested,
            random: fastrand::Rng::with_seed(seed),
            leaving: VecDeque::new(),
            taken: 0,
            markable: 0,
            lost: 0,
            overflowed: 0,
            corrupted: 0,
        }
    }

    /// A datagram enters, so long after the first one of all.
    pub fn take(&mut self, now: Instant, age: Duration, datagram: &mut Datagram) -> Fate {
        self.taken += 1;
        let swallowed = self.blackhole.is_some_and(|(on, off)| {
            let at = age.as_millis() % (on + off).as_millis();
            at >= on.as_millis()
        });
        if swallowed || self.harm.drops.contains(&self.taken) || self.loss.strikes(&mut self.random) {
            self.lost += 1;
            return Fate::Lost;
        }
        let first = usize::from(self.harm.spare_types);
        if self.corruption.strikes(&mut self.random)
            && datagram.data.len() > first
            && !negotiates_version(&datagram.data)
        {
            self.corrupted += 1;
            let at = self.random.usize(first..datagram.data.len());
            datagram.data[at] ^= self.random.u8(1..);
        }
        if datagram.ecn.is_some() {
            self.markable += 1;
            if self.congested > 0 && self.markable.is_multiple_of(self.congested) {
                datagram.ecn = Some(EcnCodepoint::Ce);
            }
        }
        match self.enqueue(now, datagram.data.len()) {
            Some(at) => Fate::Arrives(at),
            None => Fate::Lost,
        }
    }

    /// When so many bytes arrive, unless the queue is full.
    pub fn enqueue(&mut self, now: Instant, bytes: usize) -> Option<Instant> {
        while self.leaving.front().is_some_and(|leaves| *leaves <= now) {
            self.leaving.pop_front();
        }
        if self.leaving.len() > self.queue {
            self.overflowed += 1;
            return None;
        }
        // 28 bytes are those of IPv4 and UDP.
        let takes = Duration::from_nanos((bytes as u64 + 28) * 8 * 1_000_000_000 / self.rate);
        let leaves = self.leaving.back().map_or(now, |last| (*last).max(now)) + takes;
        self.leaving.push_back(leaves);
        Some(leaves + self.delay)
    }

    /// What happened here.
    pub fn account(&self) -> String {
        let Self { taken, lost, overflowed, corrupted, .. } = self;
        format!("{taken} datagrams, {lost} lost, {overflowed} beyond the queue, {corrupted} corrupted")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_negotiation_packet_is_never_corrupted() {
        let options = Options { to_client: Harm { corruption: 100, ..Harm::default() }, ..Options::default() };
        let mut pipe = Pipe::new(&options, Toward::Client);
        let mut through = |data: &[u8]| {
            let mut datagram = Datagram { data: data.to_vec(), ecn: None };
            pipe.take(Instant::now(), Duration::ZERO, &mut datagram);
            datagram.data
        };
        let negotiation = [0xc0, 0, 0, 0, 0, 1, 7, 1, 9, 0, 0, 0, 1];
        let initial = [0xc0, 0, 0, 0, 1, 1, 7, 1, 9, 0, 0, 0, 1];
        assert_eq!(through(&negotiation), negotiation);
        assert_ne!(through(&initial), initial);
    }
}
