//! Each end in a process of its own: the program starts itself twice for every run.
//!
//! A server says its address and certificate on one line, serves until its input ends, and says how
//! much processor time it used. A client says what it measured on one line.

use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;

use crate::Result;
use crate::measure::{Measured, peak_memory, processor_time};
use crate::peer::Peer;
use crate::scenario::Scenario;
use crate::tls::{self, Identity};

/// No run takes longer than this, unless something hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// The figures of one run.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    pub client: Measured,
    /// The server's processor time.
    pub server: Duration,
    /// By how many bytes the server's memory grew, at the most.
    pub memory: u64,
    pub bytes: u64,
    pub exchanges: usize,
    pub is_bulk: bool,
}

impl Run {
    /// MiB or exchanges per second.
    pub fn rate(&self) -> f64 {
        let what = if self.is_bulk { self.bytes as f64 / f64::from(1 << 20) } else { self.exchanges as f64 };
        what / self.client.elapsed.as_secs_f64()
    }

    /// Seconds of processor time per GiB or per 10,000 exchanges.
    fn cost(&self, processor: Duration) -> f64 {
        let per = if self.is_bulk { self.bytes as f64 / f64::from(1 << 30) } else { self.exchanges as f64 / 1e4 };
        processor.as_secs_f64() / per
    }

    pub fn client_cost(&self) -> f64 {
        self.cost(self.client.processor)
    }

    pub fn server_cost(&self) -> f64 {
        self.cost(self.server)
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (client, server) = (self.client_cost(), self.server_cost());
        write!(f, "{:.0}/s, processor {client:.4} + {server:.4}, {:?}", self.rate(), self.client.median)
    }
}

/// A process that does not outlive the run.
struct Kept(Child);

impl Drop for Kept {
    fn drop(&mut self) {
        // It has ended already unless something failed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A directory for the logs of each end, or none.
#[derive(Default)]
pub struct Logs<'a> {
    pub server: Option<&'a Path>,
    pub client: Option<&'a Path>,
}

fn start(args: &[&str], stdin: Stdio, logs: Option<&Path>) -> Result<Kept> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(args).stdin(stdin).stdout(Stdio::piped()).env_remove("QLOGDIR");
    if let Some(logs) = logs {
        command.env("QLOGDIR", logs);
    }
    Ok(Kept(command.spawn()?))
}

fn wait(process: &mut Kept, what: &str) -> Result<String> {
    let began = Instant::now();
    let status = loop {
        match process.0.try_wait()? {
            Some(status) => break status,
            None if began.elapsed() > PATIENCE => return Err(format!("{what} does not end").into()),
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    let mut said = String::new();
    if let Some(mut output) = process.0.stdout.take() {
        output.read_to_string(&mut said)?;
    }
    if status.success() { Ok(said) } else { Err(format!("{what} failed: {status}").into()) }
}

fn micros(number: &str) -> Result<Duration> {
    Ok(Duration::from_micros(number.parse()?))
}

/// One run of `scenario` with `peer`.
pub fn run(peer: Peer, scenario: Scenario, percent: u64, logs: &Logs<'_>) -> Result<Run> {
    let what = format!("{scenario:?} with {peer:?}");
    let work = scenario.work(percent);
    let mut args = vec!["server", peer.name()];
    args.extend(work.resumed.then_some("--resumable"));
    let mut server = start(&args, Stdio::piped(), logs.server)?;
    let mut output = BufReader::new(server.0.stdout.take().ok_or("the server has no output")?);
    let mut line = String::new();
    output.read_line(&mut line)?;
    let (address, certificate) = line.trim().split_once(' ').ok_or("the server has said nothing")?;
    let percent_text = percent.to_string();
    let scenario_name = clap::ValueEnum::to_possible_value(&scenario).ok_or("the scenario has no name")?;
    let args = ["client", peer.name(), scenario_name.get_name(), &percent_text, address, certificate];
    let said = wait(&mut start(&args, Stdio::null(), logs.client)?, &format!("the client of {what}"))?;
    drop(server.0.stdin.take());
    let mut used = String::new();
    output.read_to_string(&mut used)?;
    wait(&mut server, &format!("the server of {what}"))?;
    let figures: Vec<_> = said.split_whitespace().map(micros).collect::<Result<_>>()?;
    let [elapsed, processor, median, high] = figures[..] else { return Err("the client has said too little".into()) };
    let (used, memory) = used.trim().split_once(' ').ok_or("the server has said too little")?;
    Ok(Run {
        client: Measured { elapsed, processor, median, high },
        server: micros(used)?,
        memory: memory.parse()?,
        bytes: work.exchanges as u64 * (work.up + work.down),
        exchanges: work.exchanges,
        is_bulk: scenario.is_bulk(),
    })
}

/// The part of the server.
pub fn serve(peer: Peer, resumable: bool) -> Result<()> {
    let identity = Identity::new(resumable)?;
    let certificate = identity.certificate.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let serving = peer.serve(identity)?;
    let (before, memory) = (processor_time(), peak_memory());
    println!("{} {certificate}", serving.address);
    std::io::stdout().flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    crate::peer::finish_log();
    let used = processor_time().saturating_sub(before).as_micros();
    println!("{used} {}", peak_memory().saturating_sub(memory));
    Ok(())
}

/// The part of the client.
pub fn work(peer: Peer, scenario: Scenario, percent: u64, address: SocketAddr, certificate: &str) -> Result<()> {
    let byte = |at: usize| u8::from_str_radix(&certificate[at..at + 2], 16);
    let certificate: Vec<u8> =
        (0..certificate.len() / 2).map(|at| byte(2 * at)).collect::<std::result::Result<_, _>>()?;
    let work = scenario.work(percent);
    let measured = peer.work(work, address, CertificateDer::from(certificate))?;
    // The first handshakes find no ticket yet.
    if work.resumed && tls::verified() > 2 * work.at_once {
        return Err(format!("{} certificates were verified", tls::verified()).into());
    }
    let Measured { elapsed, mut processor, median, high } = measured;
    // What is done later was caused by this work all the same.
    let before = processor_time();
    crate::peer::finish_log();
    processor += processor_time().saturating_sub(before);
    let [elapsed, processor, median, high] = [elapsed, processor, median, high].map(|time| time.as_micros());
    println!("{elapsed} {processor} {median} {high}");
    Ok(())
}
