//! What happened in a trial, sampled on a grid in time, and figures of it.

use std::ops::Range;
use std::time::Duration;

use tercel_proto::congestion::SavedPath;
use tercel_proto::trace::CongestionPhase;

use super::Path;
use super::station::{Bulk, Meter};
use crate::host::Session;

/// A flow at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FlowSample {
    /// The congestion window, in bytes.
    pub window: u64,
    /// Bytes in flight.
    pub in_flight: u64,
    /// Bytes that have arrived so far, with the headers of IP and UDP.
    pub arrived: u64,
    /// Bytes of its stream acknowledged so far, without gaps.
    pub acked: u64,
    /// Packets declared lost so far.
    pub lost: u64,
    /// The smoothed round-trip time.
    pub rtt: Duration,
    /// What the controller does.
    pub phase: CongestionPhase,
}

/// The queue since the sample before.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QueueSample {
    /// The longest wait of a datagram that arrived.
    pub longest: Duration,
    /// The mean wait.
    pub mean: Duration,
    /// The part of datagrams that arrived with a CE mark.
    pub marked: f64,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Course {
    /// The path.
    pub path: Path,
    /// How far apart samples are; the first is one such time after the start.
    pub grid: Duration,
    /// Of each flow.
    pub flows: Vec<Vec<FlowSample>>,
    /// Of the queue.
    pub queue: Vec<QueueSample>,
    /// Bytes that the receiver has read of all streams so far, in order.
    pub read: Vec<u64>,
    /// What flow 0 has learnt of the path in the end.
    pub observed: Option<SavedPath>,
}

impl Course {
    pub(super) fn new(path: Path, flows: usize, grid: Duration) -> Self {
        Self { path, grid, flows: vec![Vec::new(); flows], queue: Vec::new(), read: Vec::new(), observed: None }
    }

    pub(super) fn take<'a>(
        &mut self,
        senders: impl Iterator<Item = Option<&'a Session<Bulk>>>,
        receivers: &[Session<Bulk>],
        meter: &mut Meter,
    ) {
        self.read.push(receivers.iter().map(|session| session.application.read).sum());
        for ((flow, sender), arrived) in self.flows.iter_mut().zip(senders).zip(&meter.arrived) {
            let stats = sender.map(|session| session.stats).unwrap_or_default();
            flow.push(FlowSample {
                window: stats.congestion_window,
                in_flight: stats.bytes_in_flight,
                arrived: *arrived,
                acked: sender.map_or(0, |session| session.application.acked),
                lost: stats.packets_lost,
                rtt: stats.rtt,
                phase: stats.congestion_phase,
            });
        }
        self.queue.push(QueueSample {
            longest: meter.longest,
            mean: meter.sum.checked_div(meter.count).unwrap_or_default(),
            marked: f64::from(meter.marked) / f64::from(meter.count.max(1)),
        });
        meter.reset();
    }

    /// The time of a sample.
    pub fn time(&self, sample: usize) -> Duration {
        self.grid * (sample as u32 + 1)
    }

    /// The samples between two times.
    fn samples(&self, from: Duration, to: Duration) -> Range<usize> {
        let index = |time: Duration| (time.as_nanos() / self.grid.as_nanos().max(1)) as usize;
        index(from).min(self.queue.len())..index(to).min(self.queue.len())
    }

    /// A flow at a time.
    pub fn sample(&self, flow: usize, at: Duration) -> FlowSample {
        let index = self.samples(Duration::ZERO, at).end.saturating_sub(1);
        self.flows[flow][index]
    }

    /// What the receiver had read at a time, in order.
    pub fn read(&self, at: Duration) -> u64 {
        self.read[self.samples(Duration::ZERO, at).end.saturating_sub(1)]
    }

    /// Bytes of a flow that arrived between two times.
    pub fn arrived(&self, flow: usize, from: Duration, to: Duration) -> u64 {
        let samples = self.samples(from, to);
        let upto = |end: usize| end.checked_sub(1).map_or(0, |last| self.flows[flow][last].arrived);
        upto(samples.end) - upto(samples.start)
    }

    /// The part of what the path could have carried between two times that it did carry, over all flows.
    pub fn utilisation(&self, from: Duration, to: Duration) -> f64 {
        let bytes: u64 = (0..self.flows.len()).map(|flow| self.arrived(flow, from, to)).sum();
        let seconds = (self.grid * self.samples(from, to).len() as u32).as_secs_f64();
        bytes as f64 / (self.path.rate as f64 * seconds)
    }

    /// Jain's index of fairness between two times: 1 if all flows got the same, and one over their number
    /// if one got all.
    pub fn fairness(&self, from: Duration, to: Duration) -> f64 {
        let shares: Vec<f64> = (0..self.flows.len()).map(|flow| self.arrived(flow, from, to) as f64).collect();
        let sum: f64 = shares.iter().sum();
        let squares: f64 = shares.iter().map(|share| share * share).sum();
        sum * sum / (shares.len() as f64 * squares)
    }

    /// The longest wait in the queue between two times.
    pub fn longest_wait(&self, from: Duration, to: Duration) -> Duration {
        self.queue[self.samples(from, to)].iter().map(|sample| sample.longest).max().unwrap_or_default()
    }

    /// The mean wait in the queue between two times.
    pub fn mean_wait(&self, from: Duration, to: Duration) -> Duration {
        let samples = &self.queue[self.samples(from, to)];
        let sum: Duration = samples.iter().map(|sample| sample.mean).sum();
        sum.checked_div(samples.len() as u32).unwrap_or_default()
    }

    /// When flow 0 first did this.
    pub fn first(&self, wanted: impl Fn(&FlowSample) -> bool) -> Option<(Duration, FlowSample)> {
        let at = self.flows[0].iter().position(wanted)?;
        Some((self.time(at), self.flows[0][at]))
    }
}
