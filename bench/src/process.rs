//! Each end in a process of its own: the program starts itself twice for every run, or the program of a peer that is
//! built by itself. What they say to each other is told in `work/src/end.rs`.

use std::fmt;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use crate::end::{self, Task, Terms};
use crate::link::{Account, Link};
use crate::measure::Measured;
use crate::peer::{Peer, msquic_library};
use crate::scenario::Scenario;
use crate::tls::{self, Identity};
use crate::{Result, peer};

/// No run takes longer than this, unless something hangs. Connections to be made count extra.
const PATIENCE: Duration = Duration::from_secs(45);

/// The figures of one run.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    pub client: Measured,
    /// The server's processor time.
    pub server: Duration,
    /// By how many bytes the server's memory grew, at the most.
    pub memory: u64,
    /// How many bytes of memory the server had while its connections were left alone.
    pub held: Option<u64>,
    /// From the start of the server to its address, and of the client to its end.
    pub started: [Duration; 2],
    /// What the network between them did, on the way to the server and to the client.
    pub link: Option<[Account; 2]>,
    pub bytes: u64,
    pub exchanges: usize,
    pub is_bulk: bool,
    /// Whether it is about streams that are open at a time.
    pub is_wide: bool,
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
struct Kept {
    child: Child,
    /// To where it waits for a word, or for the end.
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    until: Instant,
}

impl Drop for Kept {
    fn drop(&mut self) {
        // It has ended already unless something failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory for the logs of each end, or none.
#[derive(Default)]
pub struct Logs<'a> {
    pub server: Option<&'a Path>,
    pub client: Option<&'a Path>,
}

impl Kept {
    fn start(peer: Peer, args: &[&str], logs: Option<&Path>, patience: Duration) -> Result<Self> {
        let mut command = match peer.program() {
            Some(program) => Command::new(program),
            None => Command::new(std::env::current_exe()?),
        };
        command.arg(args[0]);
        if peer.program().is_none() {
            command.arg(peer.name());
        }
        command.args(&args[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).env_remove("QLOGDIR");
        if let Some(library) = msquic_library() {
            command.env("MSQUIC_LIBRARY", library);
        }
        if let Some(logs) = logs {
            command.env("QLOGDIR", logs);
        }
        let mut child = command.spawn()?;
        let (input, output) = (child.stdin.take(), child.stdout.take().ok_or("there is no output")?);
        let (tell, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(std::io::Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, input, lines, until: Instant::now() + patience })
    }

    /// What it says next.
    fn line(&mut self) -> Result<String> {
        match self.lines.recv_timeout(self.until.saturating_duration_since(Instant::now())) {
            Ok(line) => Ok(line),
            Err(mpsc::RecvTimeoutError::Timeout) => Err("takes too long".into()),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(format!("failed: {}", self.child.wait()?).into()),
        }
    }

    /// What memory it has, in bytes.
    fn memory(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
        Ok(1024 * resident.ok_or("there is no VmRSS")?.parse::<u64>()?)
    }
}

/// One run of `scenario` with `peer`, whose certificate is in `identity`. `seed` is that of a network's chance.
pub fn run(peer: Peer, scenario: Scenario, percent: u64, identity: &Path, seed: u64, logs: &Logs<'_>) -> Result<Run> {
    let who = |end: &'static str| move |error: crate::Error| format!("the {end} {error}");
    let work = scenario.work(percent);
    let (name, percent, identity) = (scenario.to_string(), percent.to_string(), identity.display().to_string());
    let patience = PATIENCE + Duration::from_millis(2) * work.connections.kept() as u32;
    let began = Instant::now();
    let mut server =
        Kept::start(peer, &["server", &name, "--identity", &identity], logs.server, patience).map_err(who("server"))?;
    let mut address = server.line().map_err(who("server"))?;
    let ready = began.elapsed();
    let link = match scenario.network() {
        Some(network) => Some(Link::new(network, address.parse()?, seed)?),
        None => None,
    };
    if let Some(link) = &link {
        address = link.front.to_string();
    }
    let began = Instant::now();
    let args = ["client", &name, &percent, &address, "--identity", &identity];
    let mut client = Kept::start(peer, &args, logs.client, patience).map_err(who("client"))?;
    let mut said = client.line().map_err(who("client"))?;
    let first = began.elapsed();
    let mut held = None;
    if said == "quiet" {
        held = Some(server.memory()?);
        client.input.as_mut().ok_or("there is no input")?.write_all(b"\n")?;
        said = client.line().map_err(who("client"))?;
    }
    client.child.wait()?;
    drop(server.input.take());
    let (used, memory) = end::read_served(&server.line().map_err(who("server"))?)?;
    let link = link.map(|link| link.end().try_into().map_err(|_| "a way of the link is missing")).transpose()?;
    Ok(Run {
        client: end::read_measured(&said)?,
        server: used,
        memory,
        held,
        started: [ready, first],
        link,
        bytes: work.exchanges as u64 * (work.up + work.down),
        exchanges: work.exchanges,
        is_bulk: scenario.is_bulk(),
        is_wide: matches!(scenario, Scenario::Wide(_)),
    })
}

/// The part of the server.
pub fn serve(peer: Peer, terms: &Terms) -> Result<()> {
    if !end::authority(&terms.identity).exists() {
        tls::make_identity(&terms.identity)?;
    }
    tls::gather_randomness()?;
    // How much work it is does not matter here.
    let identity = Identity::of(&terms.identity, &terms.scenario.work(100))?;
    let serving = peer.serve(identity, terms.scenario.streams(), terms.scenario.control())?;
    end::serving(serving.address, peer::finish_log)
}

/// The part of the client.
pub fn work(peer: Peer, task: &Task) -> Result<()> {
    tls::gather_randomness()?;
    let work = task.scenario.work(task.percent);
    let mut measured = peer.work(work, task.address, &task.identity)?;
    // The first handshakes find no ticket yet.
    if work.resumed && tls::verified() > 2 * work.at_once {
        return Err(format!("{} certificates were verified", tls::verified()).into());
    }
    if work.early && tls::early() + 4 * work.at_once < work.exchanges {
        return Err(format!("early data was taken {} times only", tls::early()).into());
    }
    // What is done later was caused by this work all the same.
    let before = crate::measure::processor_time();
    peer::finish_log();
    measured.processor += crate::measure::processor_time().saturating_sub(before);
    end::worked(&measured)
}

/// A directory with a certificate, for as long as this lives.
pub struct Directory(pub PathBuf);

impl Directory {
    pub fn with_identity() -> Result<Self> {
        let directory = std::env::temp_dir().join(format!("tercel-bench-{}", std::process::id()));
        tls::make_identity(&directory)?;
        Ok(Self(directory))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What cannot be removed is a temporary directory's.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
