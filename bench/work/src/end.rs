//! What an end says to the harness, and what it is told: a server says its address on one line, serves until its input
//! ends, and says how much processor time and memory it used. A client says what it measured on one line; before that,
//! if the work has a quiet time, `quiet` on another, and goes on when it is answered.

use std::io::{Read as _, Write as _, stdin, stdout};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::Result;
use crate::measure::{Measured, peak_memory, processor_time};
use crate::scenario::Scenario;

/// What a server is told.
#[derive(Debug, Clone, Args)]
pub struct Terms {
    /// For what it is.
    pub scenario: Scenario,
    /// The directory of its certificate and key, and of the authority's certificate.
    #[arg(long, default_value_os_t = std::env::temp_dir().join("tercel-bench"))]
    pub identity: PathBuf,
}

/// What a client is told.
#[derive(Debug, Clone, Args)]
pub struct Task {
    /// Whose work it does.
    pub scenario: Scenario,
    /// How much of it, in hundredths of the usual.
    pub percent: u64,
    /// Where the server is.
    pub address: SocketAddr,
    /// The directory of the authority's certificate.
    #[arg(long, default_value_os_t = std::env::temp_dir().join("tercel-bench"))]
    pub identity: PathBuf,
}

/// The file of the certificate that clients trust, in PEM.
pub fn authority(identity: &Path) -> PathBuf {
    identity.join("authority.pem")
}

/// The file of the server's, which the authority has signed.
pub fn chain(identity: &Path) -> PathBuf {
    identity.join("server.pem")
}

/// The file of its key.
pub fn key(identity: &Path) -> PathBuf {
    identity.join("server-key.pem")
}

/// A program that has one peer.
#[derive(Parser)]
struct Program {
    #[command(subcommand)]
    part: Part,
}

#[derive(Subcommand)]
enum Part {
    /// Serves until its input ends.
    Server(Terms),
    /// Does a scenario's work once.
    Client(Task),
}

/// The program of a peer: `serve` begins to serve in a thread, `work` does the work.
///
/// # Errors
/// What they say.
pub fn run(
    serve: impl FnOnce(&Terms) -> Result<SocketAddr>,
    work: impl FnOnce(&Task) -> Result<Measured>,
) -> Result<()> {
    match Program::parse().part {
        Part::Server(terms) => serving(serve(&terms)?, || {}),
        Part::Client(task) => worked(&work(&task)?),
    }
}

/// A server listens at `address`: says so, and what it has used once its input has ended and `finish` is done.
///
/// # Errors
/// Nobody listens or speaks.
pub fn serving(address: SocketAddr, finish: impl FnOnce()) -> Result<()> {
    let (before, memory) = (processor_time(), peak_memory());
    println!("{address}");
    stdout().flush()?;
    stdin().read_to_end(&mut Vec::new())?;
    finish();
    let used = processor_time().saturating_sub(before).as_nanos();
    println!("{used} {}", peak_memory().saturating_sub(memory));
    Ok(())
}

/// A client has done its work.
///
/// # Errors
/// Nobody listens.
pub fn worked(measured: &Measured) -> Result<()> {
    let Measured { elapsed, processor, median, high } = *measured;
    let [elapsed, processor, median, high] = [elapsed, processor, median, high].map(|time| time.as_nanos());
    println!("{elapsed} {processor} {median} {high}");
    Ok(())
}

/// A client's connections have been left alone for a while: waits until the server has been looked at.
///
/// # Errors
/// Nobody listens or answers.
pub fn quiet() -> Result<()> {
    println!("quiet");
    stdout().flush()?;
    let mut answer = String::new();
    stdin().read_line(&mut answer)?;
    Ok(())
}

/// The four figures of a client.
///
/// # Errors
/// It has said something else.
pub fn read_measured(line: &str) -> Result<Measured> {
    let figures: Vec<_> = line.split_whitespace().map(nanos).collect::<Result<_>>()?;
    let [elapsed, processor, median, high] = figures[..] else {
        return Err(format!("the client has said {line:?}").into());
    };
    Ok(Measured { elapsed, processor, median, high })
}

/// A server's processor time, and by how much its memory has grown at the most.
///
/// # Errors
/// It has said something else.
pub fn read_served(line: &str) -> Result<(Duration, u64)> {
    let (used, memory) = line.trim().split_once(' ').ok_or_else(|| format!("the server has said {line:?}"))?;
    Ok((nanos(used)?, memory.parse()?))
}

fn nanos(number: &str) -> Result<Duration> {
    Ok(Duration::from_nanos(number.parse()?))
}
