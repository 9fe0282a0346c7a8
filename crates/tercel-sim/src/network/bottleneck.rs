//! Nodes with limits: of rate, of queue, of size.

use std::time::Duration;

use tercel_proto::path::Ecn as EcnMark;
use tercel_proto::time::Time;

use super::{Datagram, Node};
use crate::random::Random;

/// What IP and UDP add to a datagram.
pub const HEADERS: usize = 28;

/// A line of limited rate with a queue in front of it. What does not fit is lost.
#[derive(Debug, Clone)]
pub struct Bottleneck {
    bytes_per_second: u64,
    queue: usize,
    mark_above: Option<usize>,
    free: Time,
}

impl Bottleneck {
    /// A line of `bytes_per_second` with a queue of `queue` bytes.
    pub const fn new(bytes_per_second: u64, queue: usize) -> Self {
        Self { bytes_per_second, queue, mark_above: None, free: Time::ZERO }
    }

    /// Marks ECN-capable datagrams as CE that meet more than `queued` bytes.
    pub fn marking_above(self, queued: usize) -> Self {
        Self { mark_above: Some(queued), ..self }
    }

    /// Marks ECN-capable datagrams as CE that will wait for longer than `wait`: the step of an L4S queue
    /// (RFC 9332 section 2.4), which wants no more than a millisecond or so.
    pub fn marking_after(self, wait: Duration) -> Self {
        let queued = wait.as_nanos() * u128::from(self.bytes_per_second) / 1_000_000_000;
        self.marking_above(usize::try_from(queued).unwrap_or(usize::MAX))
    }

    fn takes(&self, bytes: usize) -> Duration {
        Duration::from_nanos(bytes as u64 * 1_000_000_000 / self.bytes_per_second)
    }

    fn queued(&self, now: Time) -> usize {
        let nanos = self.free.since(now).as_nanos();
        usize::try_from(nanos * u128::from(self.bytes_per_second) / 1_000_000_000).unwrap_or(usize::MAX)
    }
}

impl Node for Bottleneck {
    fn pass(&mut self, now: Time, mut datagram: Datagram, _: &mut Random, onward: &mut Vec<(Time, Datagram)>) {
        let (len, queued) = (datagram.data.len() + HEADERS, self.queued(now));
        // An empty queue takes anything: otherwise a small one would pass nothing at all.
        if queued > 0 && queued + len > self.queue {
            return;
        }
        if self.mark_above.is_some_and(|most| queued > most) && datagram.ecn != EcnMark::NotEct {
            datagram.ecn = EcnMark::Ce;
        }
        self.free = self.free.max(now) + self.takes(len);
        onward.push((self.free, datagram));
    }
}

/// Loses what is longer than a limit, without a word (a black hole), and may change it on the way.
#[derive(Debug, Clone)]
pub struct Mtu {
    /// The longest UDP payload that passes.
    pub limit: usize,
    /// When it becomes another one, and which.
    pub then: Option<(Time, usize)>,
}

impl Node for Mtu {
    fn pass(&mut self, now: Time, datagram: Datagram, _: &mut Random, onward: &mut Vec<(Time, Datagram)>) {
        let limit = self.then.filter(|(from, _)| *from <= now).map_or(self.limit, |(_, limit)| limit);
        if datagram.data.len() <= limit {
            onward.push((now, datagram));
        }
    }
}
