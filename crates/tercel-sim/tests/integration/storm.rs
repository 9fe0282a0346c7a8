//! Servers under attack, in virtual time: what they hold stays within its bounds, nobody is made to
//! amplify, and honest clients get in.

use std::time::Duration;

use tercel::{RegistrationConfig, RetryPolicy};
use tercel_sim::runner::each_seed;
use tercel_sim::workers::storm::{Report, Storm, run};

const SEEDS: u64 = 3;
const LENGTH: Duration = Duration::from_secs(4);

fn storm(registration: RegistrationConfig) -> Storm {
    Storm { registration, length: LENGTH, spoofed: 2, garbage: 2, replayed: 1, silent: 60, honest: 20 }
}

fn registration(retry: RetryPolicy) -> RegistrationConfig {
    let mut config = RegistrationConfig::default();
    config.workers = 1;
    config.retry = retry;
    config
}

/// What must hold whatever happened.
fn check(report: &Report, config: &RegistrationConfig, others: usize) {
    assert!(report.attacks > 15_000, "{} attacks", report.attacks);
    assert!(report.amplification <= 3.0, "{} times", report.amplification);
    assert!(report.most.half_open <= config.max_half_open, "{:?}", report.most);
    // One connection more may have been let in just before the limit was met.
    assert!(report.most.handshake_memory <= config.max_handshake_memory + (256 << 10), "{:?}", report.most);
    // Besides those: the honest ones, and what was closed and lingers.
    assert!(report.most.connections <= config.max_half_open + others, "{:?}", report.most);
    // Honest clients that were not answered come again until their handshake has had its time.
    let seconds = LENGTH.as_secs() + 12;
    let counters = &report.counters;
    assert!(counters.resets_sent <= u64::from(config.stateless_resets_per_second) * seconds, "{counters:?}");
    assert!(counters.version_negotiations_sent <= u64::from(config.version_negotiations_per_second) * seconds);
    assert!(counters.retries_sent <= u64::from(config.retries_per_second) * seconds, "{counters:?}");
    assert!(counters.refusals_sent <= u64::from(config.refusals_per_second) * seconds, "{counters:?}");
    assert_eq!((report.left.half_open, report.left.handshake_memory), (0, 0), "nothing stays");
}

/// Retry begins by itself, and with it made-up addresses get nothing any more; who is honest notices a
/// round trip.
#[test]
fn honest_clients_get_in() {
    each_seed(SEEDS, |seed| {
        let mut config = registration(RetryPolicy::Above(32));
        config.max_half_open = 200;
        config.stateless_resets_per_second = 50;
        config.version_negotiations_per_second = 30;
        let report = run(storm(config.clone()), seed);
        check(&report, &config, 40);
        assert_eq!(report.completed, 20, "{:#?}", report.failed);
        assert!(report.counters.retries_sent > 1000 && report.counters.answers_withheld > 0, "{:?}", report.counters);
        // 60 proved their address and fell silent; no more than the first 32 came without.
        assert!((32..=32 + 60 + 20).contains(&report.most.half_open), "{:?}", report.most);
        assert_eq!(report.shedding, [true, false], "it was told when it began and when it was over");
    });
}

/// The same by the memory that handshakes take.
#[test]
fn memory_alone_makes_retry_begin() {
    each_seed(SEEDS, |seed| {
        let mut config = registration(RetryPolicy::Above(100_000));
        (config.retry_memory, config.max_handshake_memory) = (1 << 20, 8 << 20);
        let report = run(storm(config.clone()), seed);
        check(&report, &config, 40);
        assert_eq!(report.completed, 20, "{:#?}", report.failed);
        assert!(report.counters.retries_sent > 1000, "{:?}", report.counters);
        assert_eq!(report.shedding, [true, false]);
    });
}

/// Without Retry strangers can fill the place for handshakes: then who comes is refused with a word, at a
/// limited rate, and what is held stays within its bound.
#[test]
fn a_full_house_refuses() {
    each_seed(SEEDS, |seed| {
        let mut config = registration(RetryPolicy::Never);
        (config.max_half_open, config.refusals_per_second) = (50, 100);
        let report = run(storm(config.clone()), seed);
        check(&report, &config, 40);
        assert_eq!(report.most.half_open, 50);
        let counters = &report.counters;
        assert!((100..=1600).contains(&counters.refusals_sent) && counters.refused > 1000, "{counters:?}");
        assert!(report.shedding.first() == Some(&true) && report.shedding.last() == Some(&false));
    });
}

/// What all of it takes, the clients and the attacker included.
#[test]
fn memory_is_bounded() {
    let config = registration(RetryPolicy::Above(256));
    let memory = allocation_counter::measure(|| drop(run(storm(config.clone()), 1)));
    assert!(memory.bytes_max < 64 << 20, "{} bytes", memory.bytes_max);
}
