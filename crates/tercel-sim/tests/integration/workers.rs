//! Whole workers in virtual time, for many seeds: every connection ends as it must, the law of events
//! holds, nothing panics, spins or is left behind, and nobody amplifies.

use tercel_sim::runner::each_seed;
use tercel_sim::workers::catalogue::{ALL, by_name};
use tercel_sim::workers::run;

/// Seeds per scenario unless `TERCEL_SEEDS` says otherwise.
const SEEDS: u64 = 25;
/// The most memory that the two ends and all that is on its way may take at any time in a run.
const MOST_MEMORY: u64 = 64 << 20;

fn check(name: &str) {
    let scenario = by_name(name).unwrap();
    let (mut completed, mut clients, mut runs, mut most) = (0, 0, 0, 0);
    each_seed(SEEDS, |seed| {
        if seed % scenario.cost != 0 {
            return;
        }
        let mut report = None;
        let memory = allocation_counter::measure(|| report = Some(run(scenario.setup(seed), seed)));
        assert!(memory.bytes_max < MOST_MEMORY, "{} bytes of memory", memory.bytes_max);
        let report = report.unwrap();
        (completed, clients) = (completed + report.completed.0, clients + report.completed.1);
        (runs, most) = (runs + 1, most.max(memory.bytes_max));
    });
    println!("{name}: {runs} runs, {completed} of {clients} clients completed, at most {most} bytes of memory");
}

/// Runs that once failed: streams that never started and were not told so; a move to another socket
/// during the handshake, and three moves in a breath; handles used just when the connection was over.
const REGRESSIONS: [(&str, u64); 7] = [
    ("listener_stop", 4),
    ("vanishing", 258),
    ("vanishing", 2484),
    ("vanishing", 2855),
    ("nat_rebinding", 14),
    ("nat_rebinding", 2185),
    ("close_races", 5),
];

#[test]
fn regressions() {
    for (name, seed) in REGRESSIONS {
        run(by_name(name).unwrap().setup(seed), seed);
    }
}

scenarios! {
    ALL;
    transfer loss nat_rebinding many_connections close_races vanishing listener_stop streams
}

#[test]
fn one_seed_gives_one_run() {
    for scenario in ALL {
        let once = || run(scenario.setup(5), 5);
        assert_eq!(once(), once(), "{}", scenario.name);
    }
}
