//! Runs a scenario for many seeds, and says how to repeat the run that failed.
//!
//! - `TERCEL_SEEDS=1000` says for how many seeds, and `TERCEL_FIRST_SEED` from which on;
//! - `TERCEL_SEED=7` runs this seed alone, and `TERCEL_TRACE=1` prints every datagram.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable} is not a number: {value}")))
}

/// The number in the environment variable `variable`, or `default`.
pub fn count(variable: &str, default: u64) -> u64 {
    number(variable).unwrap_or(default)
}

/// Calls `run` for each seed: `default` many, unless the environment says otherwise. For tests in this crate's
/// `tests/integration`.
///
/// # Panics
/// If a run does; the seed is printed before.
pub fn each_seed(default: u64, mut run: impl FnMut(u64)) {
    let seeds = match number("TERCEL_SEED") {
        Some(seed) => seed..seed + 1,
        None => {
            let first = count("TERCEL_FIRST_SEED", 0);
            first..first + count("TERCEL_SEEDS", default)
        }
    };
    for seed in seeds {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(seed))) {
            // A test's thread has its path for a name.
            let thread = std::thread::current();
            let test = thread.name().unwrap_or_default();
            eprintln!(
                "seed {seed} failed; again:\n    TERCEL_SEED={seed} cargo test -p tercel-sim --test integration -- --exact {test} --nocapture"
            );
            resume_unwind(panic);
        }
    }
}
