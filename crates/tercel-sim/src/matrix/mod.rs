//! The matrix of verdicts and closes (VERDICT.md section 6): every verdict with every close in every
//! order, with every way to come together and every loss on the way, by whole workers in virtual time.
//!
//! [`cells`] lists the runs; [`run`] makes one by its agenda, with an application at each end ([`side`]); the
//! [`monitor`] watches the grammar of events, the [`observer`] everything that is sent; [`oracle`] says
//! what must come of it; [`check`] compares.

mod agenda;
pub mod cells;
mod keys;
pub mod monitor;
pub mod observer;
pub mod oracle;
pub mod run;
pub mod side;
mod tls;

use std::time::Duration;

use tercel::Role;

use self::agenda::ONE_WAY;
use self::cells::{Cell, Close, Fault};
use self::oracle::{End, Expected, Heard};
use self::run::Finished;
use self::side::{Story, look};

/// What is known after a run.
#[derive(Debug, Clone)]
pub struct Report {
    /// How many datagrams client and server sent until their handshakes were over.
    pub handshake_datagrams: [u32; 2],
    /// How long after the first end the other one knew, where it was told.
    pub learned: Option<Duration>,
    /// A hash of all datagrams.
    pub trace: [u8; 32],
}

/// One round trip and one probe timeout (RFC 9002 section 6.2.1: smoothed round trip, four times its
/// variation of half a round trip at first, and the peer's delay of acknowledgements).
pub const TIME_TO_LEARN: Duration = Duration::from_millis(2 * ONE_WAY.as_millis() as u64 * (1 + 1 + 4 / 2) + 25);

/// Runs a cell and compares what came of it with what must.
///
/// # Errors
/// What was wrong.
pub fn check(cell: Cell) -> Result<Report, Vec<String>> {
    let finished = run::run(cell, None);
    let mut faults = finished.faults.clone();
    let expected = Expected::of(&cell).under(&cell, close_was_hit(&finished));
    let judging = cell.judge.role();
    let [judge, other] = [judging, judging.peer()].map(|role| look(&finished.stories[role as usize]));
    let given = judge.given.map(|given| given.taken);
    if expected.verdict.is_some_and(|verdict| verdict != given) {
        faults.push(format!("the verdict: {:?}, where {:?} is right", judge.given, expected.verdict));
    }
    compare(&judge, &expected.judging, &mut faults);
    compare(&other, &expected.other, &mut faults);
    drop((judge, other));
    let learned = learned(&finished);
    if let Some(learned) = learned.filter(|learned| *learned > TIME_TO_LEARN)
        && close_was_hit(&finished).is_none()
    {
        faults.push(format!("the other end knew only after {learned:?}"));
    }
    let Finished { handshake_datagrams, trace, .. } = finished;
    match faults.is_empty() {
        true => Ok(Report { handshake_datagrams, learned, trace }),
        false => Err(faults),
    }
}

/// Whose CONNECTION_CLOSE the cell's fault has hit, if it has hit one.
fn close_was_hit(finished: &Finished) -> Option<Role> {
    match finished.cell.fault {
        Fault::None => None,
        Fault::Lost(role, number) | Fault::Swapped(role, number) | Fault::Late(role, number) => {
            let hit = finished.closes[role as usize].iter().any(|(close, _)| *close == number);
            hit.then_some(role)
        }
    }
}

/// How `story` ended.
fn heard(story: &Story) -> Heard {
    match (&story.ended, story.vanished) {
        (_, true) => Heard::Vanished,
        (Some((_, reason)), _) => Heard::of(reason),
        (None, _) => Heard::Nothing,
    }
}

fn compare(story: &Story, expected: &End, faults: &mut Vec<String>) {
    let (heard, connected, role) = (heard(story), story.connected.is_some(), story.role);
    if !expected.heard.contains(&heard) {
        faults.push(format!("{role:?} ended with {heard:?}, where {:?} is right: {:?}", expected.heard, story.ended));
    }
    if expected.connected.is_some_and(|expected| expected != connected) {
        faults.push(format!("{role:?} connected: {connected}, where {:?} is right", expected.connected));
    }
}

/// How long after the first end the other one knew, if it was told.
fn learned(finished: &Finished) -> Option<Duration> {
    let [client, server] = [Role::Client, Role::Server].map(|role| look(&finished.stories[role as usize]));
    if finished.cell.close == Close::StatelessReset {
        // Who lost its state has no end.
        return None;
    }
    let end = |story: &Story| story.ended.as_ref().map(|(at, _)| story.called.map_or(*at, |called| called.min(*at)));
    let (first, last) = (end(&client)?.min(end(&server)?), if end(&client)? > end(&server)? { client } else { server });
    heard(&last).is_told().then(|| last.ended.as_ref().map_or(Duration::ZERO, |(at, _)| at.since(first)))
}
