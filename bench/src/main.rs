//! Tercel beside its peers, in one run on one machine.
//!
//! Each measurement is two fresh processes of this program, a server and a client, over loopback;
//! the peers take turns, round by round, so that what else the machine does meets all alike. The
//! result is the median over the rounds, and what counts is the ratio to the peer in the same run.

mod limit;
mod peer;
mod quinn_peer;
mod report;
mod run;
mod scenario;
mod tercel_peer;

use std::time::Duration;

use clap::Parser;

use crate::peer::Stack;
use crate::scenario::Scenario;

/// Tercel beside its peers.
#[derive(Parser)]
struct Args {
    /// Rounds per peer and scenario.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Seconds for each measurement.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Only these scenarios.
    #[arg(long, value_enum)]
    scenario: Vec<Scenario>,
    /// Only these stacks.
    #[arg(long, value_enum)]
    stack: Vec<Stack>,
    /// Where to write the table.
    #[arg(long, default_value = "RESULTS.md")]
    out: String,
    /// Internal: be the server of a stack.
    #[arg(long, hide = true)]
    serve: Option<Stack>,
    /// Internal: be the client of a stack; needs `--scenario` and `--address`.
    #[arg(long, hide = true)]
    drive: Option<Stack>,
    #[arg(long, hide = true)]
    address: Option<std::net::SocketAddr>,
}

fn main() {
    let args = Args::parse();
    let time = Duration::from_secs_f64(args.seconds);
    match (args.serve, args.drive, args.address) {
        (Some(stack), ..) => run::serve(stack),
        (None, Some(stack), Some(address)) => run::drive(stack, args.scenario[0], address, time),
        _ => {
            let pick = |chosen: Vec<Stack>| if chosen.is_empty() { Stack::ALL.to_vec() } else { chosen };
            let scenarios = if args.scenario.is_empty() { Scenario::ALL.to_vec() } else { args.scenario };
            report::write(&run::all(&pick(args.stack), &scenarios, args.rounds, time), &args.out);
        }
    }
}
