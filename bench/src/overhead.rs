//! What looking inside costs: the same work with qlog off, made at the server but not kept, on at the
//! server, and on at both ends, in turns. The ratio that counts is that of throughput within a round.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use crate::Result;
use crate::peer::Peer;
use crate::process::{self, Directory, Logs, Run};
use crate::report::Spread;
use crate::scenario::Scenario;

const WAYS: [&str; 4] = ["off", "made at the server, not kept", "on at the server", "on at both ends"];

/// Measures for so many rounds and prints the result as a table.
pub fn run(rounds: usize, percent: u64, scenarios: &[Scenario], logs: &Path) -> Result<()> {
    let identity = Directory::with_identity()?;
    let directory = logs.join(format!("tercel-overhead-{}", std::process::id()));
    println!(
        "| work | qlog | rate (median) | ratio within a round | CPU: client | server | ratio | log, MiB | events missing |"
    );
    println!("|---|---|---:|---:|---:|---:|---:|---:|---:|");
    for scenario in scenarios {
        let mut runs: [Vec<(Run, Written)>; WAYS.len()] = Default::default();
        for round in 0..rounds + 1 {
            for turn in 0..WAYS.len() {
                let way = (round + turn) % WAYS.len();
                let kept = Some(directory.as_path());
                let logs = match way {
                    0 => Logs::default(),
                    1 => Logs { server: Some(Path::new("/dev/null")), client: None },
                    2 => Logs { server: kept, client: None },
                    _ => Logs { server: kept, client: kept },
                };
                let run = process::run(Peer::Tercel, *scenario, percent, &identity.0, 0, &logs)?;
                let written = clear(&directory)?;
                eprintln!("{scenario:?} {round} {}: {run}", WAYS[way]);
                // The first round warms up.
                if round > 0 {
                    runs[way].push((run, written));
                }
            }
        }
        for (way, name) in WAYS.iter().enumerate() {
            let median = |figure: &dyn Fn(&Run) -> f64| Spread::of(runs[way].iter().map(|(run, _)| figure(run))).median;
            let ratio = |figure: &dyn Fn(&Run) -> f64| {
                let pairs = runs[way].iter().zip(&runs[0]);
                let spread = Spread::of(pairs.map(|((run, _), (off, _))| figure(run) / figure(off)));
                format!("{:.3} ({:.3}–{:.3})", spread.median, spread.low, spread.high)
            };
            let (bytes, records, missing) =
                runs[way].iter().fold((0, 0, 0), |(bytes, records, missing), (_, written)| {
                    (bytes + written.bytes, records + written.records, missing + written.missing)
                });
            println!(
                "| {scenario:?} | {name} | {:.0} | {} | {:.2} | {:.2} | {} | {} | {:.1} % |",
                median(&Run::rate),
                ratio(&Run::rate),
                median(&Run::client_cost),
                median(&Run::server_cost),
                ratio(&|run| run.client_cost() + run.server_cost()),
                (bytes / rounds.max(1) as u64) >> 20,
                100.0 * missing as f64 / (records + missing).max(1) as f64,
            );
        }
    }
    Ok(())
}

/// What logs came to.
#[derive(Clone, Copy, Default)]
struct Written {
    bytes: u64,
    records: u64,
    /// Events that were dropped, as the logs tell.
    missing: u64,
}

/// Reads the logs and removes them.
fn clear(directory: &Path) -> Result<Written> {
    let mut written = Written::default();
    if !directory.exists() {
        return Ok(written);
    }
    for entry in std::fs::read_dir(directory)? {
        for record in BufReader::new(File::open(entry?.path())?).split(b'\n') {
            let record = record?;
            written.bytes += record.len() as u64 + 1;
            written.records += 1;
            if record.windows(MISSING.len()).any(|part| part == MISSING) {
                let mut count = record.split(|byte| !byte.is_ascii_digit()).filter(|digits| !digits.is_empty());
                let count = count.next_back().and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
                written.missing += count.unwrap_or(0u64);
            }
        }
    }
    std::fs::remove_dir_all(directory)?;
    Ok(written)
}

const MISSING: &[u8] = b"tercel:events_missing";
