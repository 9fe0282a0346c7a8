//! The matrix of verdicts and closes (`tercel_sim::matrix`): every cell on a faultless network, and
//! again with each datagram of its handshake lost, overtaken or late.
//!
//! `TERCEL_CELL=full/client/accept/application/soon/lost-server-1` runs this one alone, and
//! `TERCEL_TRACE=1` prints its datagrams. Debug builds make every 20th of the runs with a fault.
//!
//! What was planted by hand to see that it is caught, each by hundreds of runs or at least by those of one
//! order: a 1-RTT close before the handshake is complete; 0x1d in Initial and Handshake packets; a gate
//! that never closes; a close that overtakes an earlier verdict; a verdict after a close that is not
//! refused; a silent close that speaks; a dropped token that is forgotten; Connected after a close was
//! called; no close in Initial, and none in Handshake packets; the
//! application's reason in a stand-in; a full close that does not wait for Finished.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use tercel::Role;
use tercel_sim::matrix::cells::{Cell, Fault, Judge};
use tercel_sim::matrix::{Report, TIME_TO_LEARN, check};

/// So many of the runs with a fault are left out for each that is made.
const EVERY: usize = if cfg!(debug_assertions) { 20 } else { 1 };
/// At least so many runs are made for each who may judge.
const LEAST: usize = if cfg!(debug_assertions) { 1_500 } else { 10_000 };

#[derive(Debug, Default)]
struct Summary {
    cells: usize,
    runs: usize,
    failures: Vec<String>,
    /// The longest that an end took to learn of the end, faultless and not, and where.
    worst: BTreeMap<bool, (Duration, String)>,
}

impl Summary {
    fn run(&mut self, cell: Cell) -> Option<Report> {
        self.runs += 1;
        let faults = match catch_unwind(AssertUnwindSafe(|| check(cell))) {
            Ok(Ok(report)) => {
                let worst = self.worst.entry(cell.fault == Fault::None).or_default();
                if let Some(learned) = report.learned.filter(|learned| *learned > worst.0) {
                    *worst = (learned, cell.to_string());
                }
                return Some(report);
            }
            Ok(Err(faults)) => faults.join("\n    "),
            Err(_) => "a panic, see above".into(),
        };
        self.failures.push(format!(
            "{cell}\n    {faults}\n    again: TERCEL_CELL={cell} cargo test -p tercel-sim --test integration matrix::one_cell"
        ));
        None
    }

    fn with_faults(&mut self, cell: Cell) {
        self.cells += 1;
        let Some(report) = self.run(cell) else { return };
        let positions = [Role::Client, Role::Server]
            .into_iter()
            .flat_map(|role| (0..report.handshake_datagrams[role as usize]).map(move |number| (role, number)));
        for (at, fault) in positions.flat_map(|(role, number)| Fault::of(role, number)).enumerate() {
            if (self.cells + at).is_multiple_of(EVERY) {
                self.run(Cell { fault, ..cell });
            }
        }
    }
}

fn sweep(judge: Judge) {
    let mut summary = Summary::default();
    for cell in Cell::all().into_iter().filter(|cell| cell.judge == judge) {
        summary.with_faults(cell);
    }
    let Summary { cells, runs, failures, worst } = &summary;
    println!("{judge}: {cells} cells, {runs} runs, {} failures", failures.len());
    for (faultless, (learned, cell)) in worst {
        let network = if *faultless { "faultless" } else { "with a fault" };
        println!("{judge}: {network}, the other end knew within {learned:?} ({cell})");
    }
    failures.iter().take(10).for_each(|failure| println!("{failure}"));
    assert!(failures.is_empty(), "{} of {runs} runs failed", failures.len());
    assert!(*runs >= LEAST, "only {runs} runs");
    assert!(worst[&true].0 <= TIME_TO_LEARN);
}

#[test]
fn client_judges() {
    sweep(Judge::Client);
}

#[test]
fn server_judges() {
    sweep(Judge::Server);
}

#[test]
fn both_judge_and_the_client_decides() {
    sweep(Judge::BothAtClient);
}

#[test]
fn both_judge_and_the_server_decides() {
    sweep(Judge::BothAtServer);
}

/// Cells that once failed: a verdict was taken although the handle had been let go of; a refusal was
/// never told because a silent close came right behind it.
const REGRESSIONS: [&str; 4] = [
    "full/client/accept/handle-dropped/close-first/faultless",
    "full/server/accept/handle-dropped/asked/faultless",
    "full/client/reject/silent/verdict-first/faultless",
    "full/server/drop/silent/answered/faultless",
];

#[test]
fn regressions() {
    for name in REGRESSIONS {
        check(Cell::by_name(name).unwrap()).unwrap();
    }
}

#[test]
fn one_cell() {
    let Ok(name) = std::env::var("TERCEL_CELL") else { return };
    let cell = Cell::by_name(&name).unwrap_or_else(|| panic!("there is no cell {name}"));
    println!("{:?}", check(cell).unwrap_or_else(|faults| panic!("{cell}\n    {}", faults.join("\n    "))));
}

#[test]
fn one_cell_gives_one_run() {
    for cell in Cell::all().into_iter().filter(|cell| cell.kind.to_string() == "full").step_by(41) {
        assert_eq!(check(cell).unwrap().trace, check(cell).unwrap().trace, "{cell}");
    }
}
