//! Tercel beside its peers: the same work over the same settings, each end in a process of its own.
//!
//! `cargo run --release` runs every scenario with every peer in turns and writes `RESULTS.md`; see
//! `README.md` for the method.

mod exchange;
mod gate;
mod limit;
mod measure;
mod overhead;
mod peer;
mod process;
mod report;
mod scenario;
mod tls;

use std::net::SocketAddr;

use clap::{Parser, Subcommand};

use self::peer::Peer;
use self::report::Results;
use self::scenario::Scenario;

pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[derive(Parser)]
#[command(about = "Tercel beside its peers")]
struct Args {
    #[command(subcommand)]
    part: Option<Part>,
    /// How often every scenario is run with every peer.
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// How much work a run does, in hundredths of the usual.
    #[arg(long, default_value_t = 100)]
    percent: u64,
    /// Only these scenarios.
    #[arg(long, value_delimiter = ',')]
    scenarios: Vec<Scenario>,
    /// Only these peers.
    #[arg(long, value_delimiter = ',')]
    peers: Vec<Peer>,
    /// Where the results go.
    #[arg(long, default_value = "RESULTS.md")]
    output: std::path::PathBuf,
}

/// What the program starts itself for; also of use by hand, to look at one end with a profiler.
#[derive(Subcommand)]
enum Part {
    /// Serves until its input ends.
    Server {
        peer: Peer,
        /// Sessions may be resumed.
        #[arg(long)]
        resumable: bool,
    },
    /// What the certificate gate costs in handshakes, TLS alone.
    Gate {
        /// How often each way has its turn.
        #[arg(long, default_value_t = 300)]
        rounds: usize,
    },
    /// What qlog costs: off, at the server, at both ends.
    Overhead {
        /// How often each way has its turn.
        #[arg(long, default_value_t = 15)]
        rounds: usize,
        /// Where the logs go for a while.
        #[arg(long, default_value = "/tmp")]
        logs: std::path::PathBuf,
    },
    /// Does a scenario's work once.
    Client { peer: Peer, scenario: Scenario, percent: u64, address: SocketAddr, certificate: String },
}

fn main() -> Result<()> {
    let args = Args::parse();
    match args.part {
        Some(Part::Server { peer, resumable }) => process::serve(peer, resumable),
        Some(Part::Client { peer, scenario, percent, address, certificate }) => {
            process::work(peer, scenario, percent, address, &certificate)
        }
        Some(Part::Gate { rounds }) => gate::run(rounds),
        Some(Part::Overhead { rounds, logs }) => overhead::run(rounds, args.percent, &or_all(&args.scenarios), &logs),
        None => compare(&args),
    }
}

fn or_all<T: clap::ValueEnum + Clone>(chosen: &[T]) -> Vec<T> {
    if chosen.is_empty() { T::value_variants().to_vec() } else { chosen.to_vec() }
}

fn compare(args: &Args) -> Result<()> {
    let mut results = Results::default();
    let peers = or_all(&args.peers);
    for scenario in or_all(&args.scenarios) {
        let peers: Vec<Peer> = peers.iter().copied().filter(|peer| peer.does(scenario)).collect();
        for round in 0..args.rounds {
            // Whoever goes first finds another machine than whoever goes last.
            for turn in 0..peers.len() {
                let peer = peers[(round + turn) % peers.len()];
                let run = process::run(peer, scenario, args.percent, &process::Logs::default())?;
                eprintln!("{scenario:?} {round} {peer:?}: {run}");
                results.add(scenario, peer, round, run);
            }
        }
    }
    std::fs::write(&args.output, results.to_markdown(args.rounds, args.percent))?;
    eprintln!("written to {}", args.output.display());
    Ok(())
}
