//! Processes: a server and a client for each measurement, and what they used.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use crate::limit;
use crate::peer::{Peer, Stack};
use crate::quinn_peer::Quinn;
use crate::scenario::{self, Outcome, Scenario};
use crate::tercel_peer::Tercel;

/// One measurement.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    pub stack: Stack,
    pub scenario: Scenario,
    pub outcome: Outcome,
    /// Processor seconds of the client and of the server.
    pub client_cpu: f64,
    pub server_cpu: f64,
}

/// All samples, and the limit that was measured between them, in Gbit/s.
pub struct Run {
    pub samples: Vec<Sample>,
    pub limits: Vec<limit::Limit>,
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

pub fn serve(stack: Stack) {
    fn with<P: Peer>() {
        runtime().block_on(async {
            let peer = Arc::new(P::server().expect("a server"));
            println!("{}", peer.address());
            scenario::serve(peer).await;
        });
    }
    match stack {
        Stack::Tercel => with::<Tercel>(),
        Stack::Quinn => with::<Quinn>(),
    }
}

pub fn drive(stack: Stack, scenario: Scenario, to: SocketAddr, time: Duration) {
    fn with<P: Peer>(scenario: Scenario, to: SocketAddr, time: Duration) -> Outcome {
        runtime().block_on(async {
            let peer = P::client().expect("a client");
            scenario::drive(peer, scenario, to, time).await.unwrap_or_else(|error| {
                eprintln!("{}: {error}", scenario.name());
                std::process::exit(1);
            })
        })
    }
    let outcome = match stack {
        Stack::Tercel => with::<Tercel>(scenario, to, time),
        Stack::Quinn => with::<Quinn>(scenario, to, time),
    };
    println!("{} {} {}", outcome.value, outcome.bytes, cpu("self"));
}

/// Processor seconds of a process, user and system.
fn cpu(process: &str) -> f64 {
    const TICKS: f64 = 100.0;
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / TICKS
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One measurement, in fresh processes.
fn measure(stack: Stack, scenario: Scenario, time: Duration) -> Result<Sample, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let server = Command::new(&program)
        .args(["--serve", stack.name()])
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let mut server = Server(server);
    let mut address = String::new();
    let out = server.0.stdout.take().ok_or("no output")?;
    BufReader::new(out).read_line(&mut address).map_err(|error| error.to_string())?;
    let idle = cpu(&server.0.id().to_string());
    let name = clap::ValueEnum::to_possible_value(&scenario).ok_or("no name")?;
    let seconds = time.as_secs_f64().to_string();
    let output = Command::new(&program)
        .args(["--drive", stack.name(), "--scenario", name.get_name(), "--address", address.trim()])
        .args(["--seconds", &seconds])
        .output()
        .map_err(|error| error.to_string())?;
    let server_cpu = cpu(&server.0.id().to_string()) - idle;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [value, bytes, client_cpu] = numbers[..] else {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    };
    let outcome = Outcome { value, bytes: bytes as u64 };
    Ok(Sample { stack, scenario, outcome, client_cpu, server_cpu })
}

/// Every stack in every scenario, in turns.
pub fn all(stacks: &[Stack], scenarios: &[Scenario], rounds: usize, time: Duration) -> Run {
    let mut run = Run { samples: Vec::new(), limits: Vec::new() };
    for round in 0..rounds {
        run.limits.push(limit::measure());
        for scenario in scenarios {
            // Who begins changes from round to round.
            for at in 0..stacks.len() {
                let stack = stacks[(at + round) % stacks.len()];
                match measure(stack, *scenario, time) {
                    Ok(sample) => {
                        let (unit, _) = scenario.unit();
                        let value = sample.outcome.value;
                        eprintln!("round {round}: {}: {} {value:.2} {unit}", scenario.name(), stack.name());
                        run.samples.push(sample);
                    }
                    Err(error) => eprintln!("round {round}: {}: {} FAILED: {error}", scenario.name(), stack.name()),
                }
            }
        }
    }
    run
}
