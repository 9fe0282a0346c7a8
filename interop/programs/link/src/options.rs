//! The command line: what kind of network it is.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::exit;
use std::time::Duration;

/// How a NAT forgets a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rebind {
    /// Its datagrams come from another port.
    Port,
    /// They come from another address.
    Address,
}

/// What happens to datagrams that go one way.
#[derive(Debug, Clone, Default)]
pub struct Harm {
    /// How many of a hundred are lost.
    pub loss: u32,
    /// How many of a hundred have a byte changed.
    pub corruption: u32,
    /// Whether the first byte, with the type of the packet, is never the one.
    pub spare_types: bool,
    /// These are lost, counted from 1.
    pub drops: Vec<u64>,
}

/// The network.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where clients connect to.
    pub fronts: Vec<SocketAddr>,
    /// Where the server listens.
    pub server: SocketAddr,
    /// How long a datagram travels.
    pub delay: Duration,
    /// The rate of the bottleneck in bits per second.
    pub rate: u64,
    /// Of the client nothing is heard for so many datagrams, once the server has begun its flight.
    pub silence: u32,
    /// How many datagrams wait before it.
    pub queue: usize,
    /// Every so-manieth datagram that permits it is marked as having met congestion (RFC 3168); 0 for none.
    pub congested: u64,
    /// What happens on the way to the server.
    pub to_server: Harm,
    /// What happens on the way to the client.
    pub to_client: Harm,
    /// No more than so many in a row are harmed by chance.
    pub burst: u32,
    /// Everything passes for the first time and nothing for the second, again and again.
    pub blackhole: Option<(Duration, Duration)>,
    /// What is forgotten of a client at the first time, and again after every second one.
    pub rebind: Option<(Rebind, Duration, Duration)>,
    /// Whether a flow like that of TCP shares the way to the client.
    pub cross_traffic: bool,
    /// Where the traces go.
    pub trace: PathBuf,
    /// Of what chance is made.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            fronts: Vec::new(),
            server: ([127, 0, 0, 1], 0).into(),
            delay: Duration::from_millis(15),
            rate: 10_000_000,
            silence: 0,
            queue: 25,
            congested: 0,
            to_server: Harm::default(),
            to_client: Harm::default(),
            burst: 3,
            blackhole: None,
            rebind: None,
            cross_traffic: false,
            trace: ".".into(),
            seed: 1,
        }
    }
}

impl Options {
    /// Of this process. Times are in milliseconds.
    pub fn read() -> Self {
        let mut options = Self::default();
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let value = words.next().unwrap_or_default();
            options.set(&word, &value).unwrap_or_else(|| {
                eprintln!("{word} {value} is not understood; src/options.rs tells what is");
                exit(2)
            });
        }
        options
    }

    fn set(&mut self, name: &str, value: &str) -> Option<()> {
        let pair = || value.split_once(',').and_then(|(one, two)| Some((millis(one)?, millis(two)?)));
        match name {
            "--front" => self.fronts.push(value.parse().ok()?),
            "--server" => self.server = value.parse().ok()?,
            "--delay" => self.delay = millis(value)?,
            "--rate" => self.rate = value.parse().ok()?,
            "--silence" => self.silence = value.parse().ok()?,
            "--queue" => self.queue = value.parse().ok()?,
            "--congested" => self.congested = value.parse().ok()?,
            "--loss" => (self.to_server.loss, self.to_client.loss) = (value.parse().ok()?, value.parse().ok()?),
            "--corruption" => {
                (self.to_server.corruption, self.to_client.corruption) = (value.parse().ok()?, value.parse().ok()?);
            }
            "--drop-to-server" => self.to_server.drops = list(value)?,
            "--drop-to-client" => self.to_client.drops = list(value)?,
            "--spare-types" => match value {
                "to-server" => self.to_server.spare_types = true,
                "to-client" => self.to_client.spare_types = true,
                _ => return None,
            },
            "--burst" => self.burst = value.parse().ok()?,
            "--blackhole" => self.blackhole = Some(pair()?),
            "--rebind-port" => self.rebind = pair().map(|(first, then)| (Rebind::Port, first, then)),
            "--rebind-address" => self.rebind = pair().map(|(first, then)| (Rebind::Address, first, then)),
            "--cross-traffic" => self.cross_traffic = value == "yes",
            "--trace" => self.trace = value.into(),
            "--seed" => self.seed = value.parse().ok()?,
            _ => return None,
        }
        Some(())
    }
}

fn millis(value: &str) -> Option<Duration> {
    value.parse().ok().map(Duration::from_millis)
}

fn list(value: &str) -> Option<Vec<u64>> {
    value.split(',').map(|number| number.parse().ok()).collect()
}
