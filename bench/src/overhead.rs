//! What looking inside costs: the same work with qlog off, made at the server but not kept, on at the
//! server, and on at both ends, in turns. The ratio that counts is that of throughput within a round.

use std::path::Path;

use crate::Result;
use crate::peer::Peer;
use crate::process::{self, Logs, Run};
use crate::report::Spread;
use crate::scenario::Scenario;

const WAYS: [&str; 4] = ["off", "made at the server, not kept", "on at the server", "on at both ends"];

/// Measures for so many rounds and prints the result as a table.
pub fn run(rounds: usize, percent: u64, scenarios: &[Scenario], logs: &Path) -> Result<()> {
    let directory = logs.join(format!("tercel-overhead-{}", std::process::id()));
    println!("| work | qlog | rate (median) | ratio within a round | CPU: client | server | ratio | log bytes |");
    println!("|---|---|---:|---:|---:|---:|---:|---:|");
    for scenario in scenarios {
        let mut runs: [Vec<(Run, u64)>; WAYS.len()] = Default::default();
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
                let run = process::run(Peer::Tercel, *scenario, percent, &logs)?;
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
            println!(
                "| {scenario:?} | {name} | {:.0} | {} | {:.2} | {:.2} | {} | {} |",
                median(&Run::rate),
                ratio(&Run::rate),
                median(&Run::client_cost),
                median(&Run::server_cost),
                ratio(&|run| run.client_cost() + run.server_cost()),
                runs[way].last().map_or(0, |(_, written)| *written),
            );
        }
    }
    Ok(())
}

/// Removes the logs; returns how large they were.
fn clear(directory: &Path) -> Result<u64> {
    if !directory.exists() {
        return Ok(0);
    }
    let sizes = std::fs::read_dir(directory)?.map(|entry| Ok(entry?.metadata()?.len()));
    let written = sizes.sum::<std::io::Result<u64>>()?;
    std::fs::remove_dir_all(directory)?;
    Ok(written)
}
