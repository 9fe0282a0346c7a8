//! Every interleaving of the threads that meet at a connection: the worker and two of the
//! application's, at the operation queue, the mailbox and the verdict's token.
//!
//! The files of `tercel` that make them work are compiled here as they are, with loom's primitives
//! in place of the standard library's (`build.rs`); what surrounds them is in `model`, and the laws
//! of verdicts and closes in `model/laws.rs`. Beside the sound variant there is one for each planted
//! bug, which the laws must catch: else they could not fail.
//!
//! `cargo test -p tercel-interleavings` checks every interleaving in which threads are interrupted no
//! more than four times, in seconds; `TERCEL_INTERLEAVINGS=all` in its environment checks those with more,
//! too, in minutes.
#![forbid(unsafe_code)]
#![allow(unused, missing_docs, clippy::all, clippy::unwrap_used, clippy::disallowed_methods)]

include!(concat!(env!("OUT_DIR"), "/variants.rs"));

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::{PLANTED, sound::laws};

    macro_rules! laws {
        ($($law:ident)*) => {$(
            #[test]
            fn $law() {
                laws::$law();
            }
        )*};
    }

    laws! {
        a_verdict_and_a_close_of_one_thread_keep_their_order
        a_verdict_after_a_close_is_too_late
        a_verdict_and_a_close_of_two_threads_agree_on_an_outcome
        a_dropped_token_rejects
        a_dropped_token_and_a_close_end_it_once
        who_waits_learns_that_it_no_longer_matters
        every_accepted_send_completes_once
        a_send_that_waits_for_the_verdict_completes_once
        the_first_close_wins
        calls_from_handlers_do_not_call_handlers
        a_call_that_fails_leaves_nothing_behind
        no_letter_is_lost
    }

    /// Says which planted bug the second process is to run.
    const BUG: &str = "TERCEL_PLANTED_BUG";

    /// The second process of the test below; without the name of a bug it does nothing.
    #[test]
    fn run_planted_bug() {
        let Ok(name) = std::env::var(BUG) else { return };
        for (_, laws) in PLANTED.iter().filter(|(planted, _)| *planted == name) {
            laws();
        }
    }

    /// A process for each bug, because a model that fails may take its process with it.
    #[test]
    fn every_planted_bug_is_caught() {
        for (name, _) in PLANTED {
            let run = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "tests::run_planted_bug", "--nocapture"])
                .env(BUG, name)
                .env("RUST_BACKTRACE", "0")
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&run.stderr);
            let reason = said.lines().find(|line| line.contains("law:") || line.contains("deadlock"));
            println!("{name}: {}", reason.unwrap_or("not caught").trim());
            assert!(!run.status.success() && reason.is_some(), "{name} is not caught: {said}");
        }
    }
}
