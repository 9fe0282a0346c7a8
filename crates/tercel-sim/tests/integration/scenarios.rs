//! Every scenario, for many seeds: every byte arrives or a timeout is reported within its bound,
//! nothing panics, nothing spins, memory stays bounded, and nobody amplifies.

use tercel_sim::runner::each_seed;
use tercel_sim::scenario::catalogue::{ALL, by_name};
use tercel_sim::scenario::run;

/// Seeds per scenario unless `TERCEL_SEEDS` says otherwise.
const SEEDS: u64 = 25;
/// The most memory that the two ends and all that is on its way may take at any time in a run.
const MOST_MEMORY: u64 = 24 << 20;

fn check(name: &str) {
    let scenario = by_name(name).unwrap();
    let (mut runs, mut completed, mut most) = (0, 0, 0);
    each_seed(SEEDS, |seed| {
        let mut report = None;
        let memory = allocation_counter::measure(|| report = Some(run(scenario.setup(seed), seed)));
        assert!(memory.bytes_max < MOST_MEMORY, "{} bytes of memory", memory.bytes_max);
        let report = report.unwrap();
        (runs, completed) = (runs + 1, completed + u64::from(report.completed));
        most = most.max(memory.bytes_max);
    });
    println!("{name}: {completed} of {runs} runs completed, at most {most} bytes of memory");
    // What may time out may not do so all the time.
    assert!(runs < 20 || completed * 10 >= runs * 7, "only {completed} of {runs} runs of {name} completed");
}

/// Runs that once failed: the window full of data that nobody could acknowledge, while Finished was
/// lost; the window full of what went to an old address, while the new one was to be validated; what
/// is repeated behind what the peer's limit holds back; a close ahead of Finished; a server's probes
/// without the ServerHello that its client lacked; three probe timeouts longer than the idle timeout.
const REGRESSIONS: [(&str, u64); 11] = [
    ("thousand_streams", 445),
    ("nat_rebinding", 31),
    ("nat_rebinding", 208),
    ("stalled_reader", 976),
    ("loss", 192),
    ("reordering", 192),
    ("handshake_loss", 167),
    ("one_way_outage", 11_683),
    ("migration", 506),
    ("failing_links", 1379),
    ("handshake_loss", 885),
];

#[test]
fn regressions() {
    for (name, seed) in REGRESSIONS {
        run(by_name(name).unwrap().setup(seed), seed);
    }
}

scenarios! {
    ALL;
    loss reordering duplication corruption mtu_black_hole nat_rebinding migration black_holes failing_links
    preferred_address one_way_outage bufferbloat asymmetric_paths stalled_reader thousand_streams handshake_loss extensions
}

#[test]
fn one_seed_gives_one_run() {
    for scenario in ALL {
        let once = || run(scenario.setup(5), 5);
        assert_eq!(once(), once(), "{}", scenario.name);
    }
}
