//! Tercel beside its peers: the same work over the same settings, each end in a process of its own.
//!
//! `cargo run --release` runs every scenario with every peer in turns and writes `RESULTS.md`; see
//! `README.md` for the method.

mod compare;
mod exchange;
mod gate;
mod limit;
mod link;
mod overhead;
mod peer;
mod process;
mod report;
mod tls;

use clap::{Parser, Subcommand, ValueEnum as _};
use tercel_bench_work::{Result, end, measure, scenario, settings, wire};

use self::peer::Peer;
use self::scenario::Scenario;

pub type Error = Box<dyn std::error::Error + Send + Sync>;

#[derive(Parser)]
#[command(about = "Tercel beside its peers")]
struct Args {
    #[command(subcommand)]
    part: Option<Part>,
    /// How often every scenario is run with every peer.
    #[arg(long, default_value_t = 5)]
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
    /// Who holds 100,000 connections.
    #[arg(long, value_delimiter = ',', default_value = "tercel,quinn")]
    holding: Vec<Peer>,
    /// Where the results go; plots go to `plots` beside it.
    #[arg(long, default_value = "RESULTS.md")]
    output: std::path::PathBuf,
}

/// What the program starts itself for; also of use by hand, to look at one end with a profiler.
#[derive(Subcommand)]
enum Part {
    /// Serves until its input ends.
    Server {
        peer: Peer,
        #[command(flatten)]
        terms: end::Terms,
    },
    /// Does a scenario's work once.
    Client {
        peer: Peer,
        #[command(flatten)]
        task: end::Task,
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
}

fn main() -> Result<()> {
    let args = Args::parse();
    match args.part {
        Some(Part::Server { peer, terms }) => process::serve(peer, &terms),
        Some(Part::Client { peer, task }) => process::work(peer, &task),
        Some(Part::Gate { rounds }) => gate::run(rounds),
        Some(Part::Overhead { rounds, logs }) => {
            overhead::run(rounds, args.percent, &or_all(&args.scenarios, &Scenario::ALL), &logs)
        }
        None => {
            let everything = [&Scenario::ALL[..], &Scenario::GROWTH, &[Scenario::HELD]].concat();
            let plan = compare::Plan {
                rounds: args.rounds,
                percent: args.percent,
                scenarios: or_all(&args.scenarios, &everything),
                peers: or_all(&args.peers, Peer::value_variants()),
                holding: or_all(&args.holding, Peer::value_variants()),
                output: &args.output,
            };
            plan.run()
        }
    }
}

fn or_all<T: Clone>(chosen: &[T], all: &[T]) -> Vec<T> {
    if chosen.is_empty() { all.to_vec() } else { chosen.to_vec() }
}
