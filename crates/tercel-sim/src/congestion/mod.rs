//! Congestion control at work: bulk transfers that share a bottleneck, and what is measured of them.
//!
//! A [`Trial`] is a path and the flows that share it: whole connections, from one host each, over
//!
//! ```text
//! sender 1 --.
//! sender 2 ---+--> [ outage, loss ] --> [ queue | rate ] --> [ half the round trip ] --> receiver
//! sender 3 --'                                                                        |
//!    ^----------------------- [ half the round trip, no limit ] <--------------------'
//! ```
//!
//! [`Trial::run`] gives its [`Course`]: samples of every flow and of the queue on a grid in time. All
//! figures are computed from them. Limits of flow control are far away, so that only congestion control
//! decides.

mod course;
mod station;

use std::net::SocketAddr;
use std::time::Duration;

pub use course::{Course, FlowSample, QueueSample};
use tercel_proto::config::{CongestionAlgorithm, TransportConfig};
use tercel_proto::congestion::SavedPath;

use self::station::{Bulk, Meter, Station};
use crate::crypto::{self, KeyShares};
use crate::host::{Endpoint, Service};
use crate::network::{Bottleneck, Delay, Loss, Network, Node, Outage};
use crate::random::Random;
use crate::world::{START, World};

/// The size of datagrams, in bytes of UDP payload: Ethernet over IPv4. It is not probed for.
pub const MTU: u16 = 1472;

/// The way from the senders to the receiver, and back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Path {
    /// Bytes each second, with the headers of IP and UDP.
    pub rate: u64,
    /// The round-trip time without queues.
    pub rtt: Duration,
    /// How many bytes the queue holds.
    pub buffer: usize,
    /// How long a datagram waits that is marked CE, if it is ECN-capable.
    pub marks_after: Option<Duration>,
    /// When everything is lost, and for how long.
    pub outage: Option<(Duration, Duration)>,
    /// The chance of each datagram to be lost, whatever waits: on the way, and on the way back.
    pub loss: f64,
}

impl Path {
    /// A path of so many Mbit/s, with a buffer that holds as much as the path itself, but ten
    /// datagrams at least.
    pub fn new(mbits: u64, rtt: Duration) -> Self {
        let path = Self { rate: mbits * 125_000, rtt, buffer: 0, marks_after: None, outage: None, loss: 0.0 };
        path.with_buffer(1.0)
    }

    /// The same with a buffer of so many times what the path itself holds.
    pub fn with_buffer(self, times: f64) -> Self {
        let bytes = (self.bdp() as f64 * times) as usize;
        Self { buffer: bytes.max(10 * usize::from(MTU + 28)), ..self }
    }

    /// The same, losing each datagram with this chance, either way.
    pub const fn with_loss(self, loss: f64) -> Self {
        Self { loss, ..self }
    }

    /// What the path itself holds, in bytes: rate times delay.
    pub fn bdp(&self) -> u64 {
        (u128::from(self.rate) * self.rtt.as_nanos() / 1_000_000_000) as u64
    }
}

/// One transfer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Flow {
    /// Its congestion controller.
    pub congestion: CongestionAlgorithm,
    /// When it begins.
    pub starts: Duration,
    /// Whether slow start may end early.
    pub hystart: bool,
    /// Whether losses by chance are told from others.
    pub random_loss: bool,
    /// How much longer its round trip is than that of the path.
    pub farther: Duration,
    /// What is known of the path from an earlier connection.
    pub saved: Option<SavedPath>,
}

impl Flow {
    /// A flow that begins at once.
    pub const fn new(congestion: CongestionAlgorithm) -> Self {
        Self {
            congestion,
            starts: Duration::ZERO,
            hystart: true,
            random_loss: false,
            farther: Duration::ZERO,
            saved: None,
        }
    }

    /// The same, telling losses by chance from others.
    pub const fn telling_random_loss(self) -> Self {
        Self { random_loss: true, ..self }
    }

    /// The same, beginning later.
    pub const fn starting(self, starts: Duration) -> Self {
        Self { starts, ..self }
    }
}

/// What is run.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// The path that all flows share.
    pub path: Path,
    /// The flows.
    pub flows: Vec<Flow>,
    /// How long.
    pub lasts: Duration,
    /// How far apart samples are.
    pub grid: Duration,
    /// Where chance comes from.
    pub seed: u64,
}

impl Trial {
    /// One flow, alone.
    pub fn alone(path: Path, congestion: CongestionAlgorithm, lasts: Duration) -> Self {
        Self { path, flows: vec![Flow::new(congestion)], lasts, grid: Duration::from_millis(10), seed: 1 }
    }

    fn transport(&self, flow: Option<&Flow>) -> TransportConfig {
        const FAR: u64 = 1 << 40;
        TransportConfig {
            congestion: flow.map_or(CongestionAlgorithm::Cubic, |flow| flow.congestion),
            hystart: flow.is_none_or(|flow| flow.hystart),
            random_loss: flow.is_some_and(|flow| flow.random_loss),
            careful_resume: true,
            initial_mtu: MTU,
            max_mtu: MTU,
            stream_receive_window: FAR,
            max_stream_receive_window: FAR,
            receive_window: FAR,
            max_receive_window: FAR,
            ..TransportConfig::default()
        }
    }

    /// Runs it.
    ///
    /// # Panics
    /// If a connection fails.
    pub fn run(&self) -> Course {
        let mut world = self.build();
        let (tls, receiver) = (crypto::client(KeyShares::Small), self.flows.len());
        let mut course = Course::new(self.path, self.flows.len(), self.grid);
        let mut waiting: Vec<_> = self.flows.iter().enumerate().collect();
        waiting.sort_by_key(|(_, flow)| flow.starts);
        let mut waiting = waiting.into_iter().peekable();
        let mut at = Duration::ZERO;
        while at < self.lasts {
            while let Some((index, _)) = waiting.next_if(|(_, flow)| flow.starts <= at) {
                let window = 4 * (self.path.bdp() + self.path.buffer as u64) + (1 << 20);
                world.now = world.now.max(START + at);
                let now = world.now;
                world.hosts[index].endpoint.connect(now, address(receiver), tls.clone(), Bulk::sender(window));
                world.turn(index);
            }
            at += self.grid;
            while world.step(START + at) {}
            let (senders, receivers) = world.hosts.split_at_mut(receiver);
            let [Station { endpoint, meter: Some(meter) }] = receivers else { break };
            let first = senders.first().and_then(|sender| sender.endpoint.sessions.first());
            course.observed = first.and_then(|session| session.connection.as_ref()?.observed_path());
            course.take(senders.iter().map(|sender| sender.endpoint.sessions.first()), &endpoint.sessions, meter);
        }
        course
    }

    fn build(&self) -> World<Station> {
        crypto::seed(self.seed);
        let mut random = Random::new(self.seed);
        let mut network = Network::new(random.fork());
        network.watch.do_not_trace();
        let receiver = self.flows.len();
        let mut bottleneck = Bottleneck::new(self.path.rate, self.path.buffer);
        if let Some(wait) = self.path.marks_after {
            bottleneck = bottleneck.marking_after(wait);
        }
        let mut up: Vec<Box<dyn Node>> = vec![Box::new(bottleneck), Box::new(Delay::steady(self.path.rtt / 2))];
        if self.path.loss > 0.0 {
            up.insert(0, Box::new(Loss(self.path.loss)));
        }
        if let Some((after, lasts)) = self.path.outage {
            up.insert(0, Box::new(Outage { from: START + after, until: START + after + lasts }));
        }
        let shared = network.link(0, receiver, [address(receiver).ip()], up);
        let mut hosts = Vec::new();
        for (index, flow) in self.flows.iter().enumerate() {
            network.share(shared, index, [address(receiver).ip()]);
            let back = Delay::steady(self.path.rtt - self.path.rtt / 2 + flow.farther);
            let mut down: Vec<Box<dyn Node>> = vec![Box::new(back)];
            if self.path.loss > 0.0 {
                down.push(Box::new(Loss(self.path.loss)));
            }
            network.link(receiver, index, [address(index).ip()], down);
            let mut endpoint = Endpoint::new(address(index), self.transport(Some(flow)), random.fork());
            (endpoint.segments, endpoint.saved_path) = (10, flow.saved);
            hosts.push(Station { endpoint, meter: None });
        }
        let service = Service { tls: crypto::server(KeyShares::Small), application: Box::new(|_| Bulk::receiver()) };
        let endpoint = Endpoint::new(address(receiver), self.transport(None), random.fork()).serving(service);
        let meter = Meter::new(self.path, (0..receiver).map(|index| address(index).ip()).collect());
        hosts.push(Station { endpoint, meter: Some(meter) });
        World::new(network, hosts)
    }
}

fn address(host: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1 + host as u8], 443))
}
