//! What the project wants to reach, and whether it has.

use std::fmt::Write as _;
use std::path::Path;

use super::{Better, Figure, Results, Series, Spread};
use crate::peer::Peer;
use crate::process::Run;
use crate::scenario::Scenario;

/// A goal, and what was measured.
struct Goal {
    work: String,
    goal: String,
    measured: String,
    /// `None` for what is only reported, or was not measured.
    met: Option<bool>,
}

/// A bound of a ratio.
#[derive(Clone, Copy)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
    Reported,
}

impl Bound {
    fn met(self, value: f64) -> Option<bool> {
        match self {
            Self::AtLeast(bound) => Some(value >= bound),
            Self::AtMost(bound) => Some(value <= bound),
            Self::Reported => None,
        }
    }

    fn text(self, of: &str) -> String {
        match self {
            Self::AtLeast(bound) => format!("≥ {bound} × {of}"),
            Self::AtMost(bound) => format!("≤ {bound} × {of}"),
            Self::Reported => "reported".into(),
        }
    }
}

const BEST: &str = "the best peer";

fn median_latency(run: &Run) -> f64 {
    run.client.median.as_secs_f64()
}

fn high_latency(run: &Run) -> f64 {
    run.client.high.as_secs_f64()
}

/// Milliseconds from the start of both processes to the end of the first exchange.
pub fn start_up(run: &Run) -> f64 {
    1e3 * (run.started[0] + run.started[1]).as_secs_f64()
}

impl Results {
    pub(super) fn goals(&self, text: &mut String) {
        text.push_str("\n## The goals\n\n| work | goal | measured | met |\n|---|---|---|---|\n");
        for Goal { work, goal, measured, met } in self.all_goals() {
            let met = match met {
                Some(true) => "yes",
                Some(false) => "**no**",
                None => "–",
            };
            let _ = writeln!(text, "| {work} | {goal} | {measured} | {met} |");
        }
    }

    fn all_goals(&self) -> Vec<Goal> {
        use Bound::{AtLeast, AtMost, Reported};
        use Scenario::{
            Connections, Datagrams, Download, Early, Handshakes, Latency, Requests, Requests100, Resumed, Streams,
            Upload,
        };
        let rate = |scenario, bound| self.to_best((scenario, Peer::Tercel, &Run::rate), Better::More, bound, "");
        let mut goals = Vec::new();
        for scenario in [Upload, Download] {
            goals.extend([rate(scenario, AtLeast(2.0)), self.to_limit(scenario)]);
        }
        goals.extend([Streams, Connections(10), Connections(1000)].map(|scenario| rate(scenario, AtLeast(1.8))));
        goals.push(self.many_to_one());
        for scenario in [Requests, Requests100] {
            let of = self.ratio((scenario, Peer::Tercel, &Run::rate), (scenario, Peer::Msquic, &Run::rate));
            goals.push(goal(scenario.title(), of, AtLeast(2.0), "MsQuic", Some(Peer::Msquic)));
        }
        let of = self.ratio((Latency, Peer::Tercel, &median_latency), (Latency, Peer::Udp, &median_latency));
        goals.push(goal(format!("{}: median", Latency.title()), of, AtMost(1.25), "plain UDP", Some(Peer::Udp)));
        goals.push(self.to_best(
            (Latency, Peer::Tercel, &high_latency),
            Better::Less,
            AtMost(1.0),
            ": 99th percentile",
        ));
        goals.extend([rate(Handshakes, AtLeast(1.5)), rate(Resumed, Reported), rate(Early, Reported)]);
        for scenario in [Upload, Download] {
            let less = |figure: Figure<'_>, side| {
                self.to_best((scenario, Peer::Tercel, figure), Better::Less, AtMost(0.5), side)
            };
            goals.push(less(&Run::client_cost, ": CPU of the client"));
            goals.push(less(&Run::server_cost, ": CPU of the server"));
        }
        goals.extend(self.memory(Scenario::Idle, "after its handshake"));
        goals.extend(self.memory(Scenario::Many, "after all were in use at the same time"));
        goals.push(self.held());
        goals.push(rate(Datagrams, AtLeast(1.5)));
        let lossy = Scenario::ALL.into_iter().filter(|scenario| scenario.network().is_some());
        goals.extend(lossy.flat_map(|scenario| {
            [(Peer::Tercel, ""), (Peer::TercelRandomLoss, ", as one that is told that losses are chance")]
                .map(|(ours, what)| self.to_best((scenario, ours, &Run::rate), Better::More, AtLeast(1.0), what))
        }));
        goals.push(self.to_best((Scenario::Start, Peer::Tercel, &start_up), Better::Less, Reported, ""));
        goals.push(size());
        goals
    }

    /// A figure beside the best of the others.
    fn to_best(&self, ours: Series<'_>, better: Better, bound: Bound, what: &str) -> Goal {
        let (scenario, _, figure) = ours;
        let best = self.best(scenario, figure, better);
        let ratio = best.and_then(|best| self.ratio(ours, (scenario, best, figure)));
        goal(format!("{}{what}", scenario.title()), ratio, bound, BEST, best)
    }

    /// A pipeline is as fast as its slower side: on one, a byte costs what plain UDP costs its sender and sealing; on
    /// the other what plain UDP costs its receiver and opening. `protection` seals and opens: half of its time is each.
    fn to_limit(&self, scenario: Scenario) -> Goal {
        let udp = self.figures(Scenario::Upload, Peer::Udp, &|run| run.client_cost().max(run.server_cost()));
        let protection = self.figures(Scenario::Upload, Peer::Protection, &Run::client_cost);
        let ours = self.figures(scenario, Peer::Tercel, &Run::rate).into_iter();
        let (mut shares, mut limits) = (Vec::new(), Vec::new());
        for ((ours, udp), protection) in ours.zip(udp).zip(protection) {
            if let (Some(ours), Some(udp), Some(protection)) = (ours, udp, protection) {
                let limit = 1024.0 / (udp + protection / 2.0);
                limits.push(limit);
                shares.push(ours / limit);
            }
        }
        let (share, limit) = (Spread::of(shares.iter().copied()), Spread::of(limits).median);
        Goal {
            work: format!("{}: of the limit", scenario.title()),
            goal: "≥ 60 % of plain UDP and packet protection".into(),
            measured: match shares.is_empty() {
                true => NOT_MEASURED.into(),
                false => format!("{} of {limit:.0} MiB/s", percents(share)),
            },
            met: (!shares.is_empty()).then_some(share.median >= 0.6),
        }
    }

    fn many_to_one(&self) -> Goal {
        let thousand = Scenario::Connections(1000);
        let share = self.ratio((thousand, Peer::Tercel, &Run::rate), (Scenario::Download, Peer::Tercel, &Run::rate));
        Goal {
            work: "Download, 1,000 connections beside one".into(),
            goal: "≥ 85 % of the rate".into(),
            measured: share.map_or(NOT_MEASURED.into(), percents),
            met: share.map(|share| share.median >= 0.85),
        }
    }

    fn memory(&self, scenario: fn(usize) -> Scenario, when: &str) -> [Goal; 2] {
        let of = |peer| self.memory_per_connection(scenario, peer);
        let others = self.peers.iter().filter(|peer| peer.is_other());
        let best = others.filter_map(|peer| Some((peer, of(*peer)?))).min_by(|a, b| a.1.total_cmp(&b.1));
        let (work, ours) = (format!("Memory per idle connection, at the server, {when}"), of(Peer::Tercel));
        let kib = |bytes: f64| format!("{:.1} KiB", bytes / 1024.0);
        let ratio = ours.zip(best).map(|(ours, (_, theirs))| ours / theirs);
        [
            Goal {
                work: work.clone(),
                goal: "≤ 0.5 × the best peer".into(),
                measured: match (ratio, best) {
                    (Some(ratio), Some((peer, bytes))) => format!("{ratio:.2} of {}, {}", peer.name(), kib(bytes)),
                    _ => NOT_MEASURED.into(),
                },
                met: ratio.map(|ratio| ratio <= 0.5),
            },
            Goal {
                work,
                goal: "≤ 8 KiB".into(),
                measured: ours.map_or(NOT_MEASURED.into(), kib),
                met: ours.map(|ours| ours <= 8192.0),
            },
        ]
    }

    fn held(&self) -> Goal {
        let Scenario::Many(connections) = Scenario::HELD else { unreachable!("many connections are held") };
        let held = self.figures(Scenario::HELD, Peer::Tercel, &|run| run.held.unwrap_or(0) as f64);
        let held = held.first().copied();
        Goal {
            work: "100,000 idle connections held".into(),
            goal: "they are, and requests on them answered later".into(),
            measured: match held {
                Some(Some(bytes)) => format!(
                    "{:.2} GiB of memory at the server, {:.1} KiB for each, all its other memory included",
                    bytes / f64::from(1 << 30),
                    bytes / 1024.0 / connections as f64
                ),
                Some(None) => "failed".into(),
                None => NOT_MEASURED.into(),
            },
            met: held.map(|held| held.is_some()),
        }
    }
}

const NOT_MEASURED: &str = "not measured";

fn percents(share: Spread) -> String {
    format!("{:.0} % ({:.0}–{:.0})", 100.0 * share.median, 100.0 * share.low, 100.0 * share.high)
}

fn goal(work: String, ratio: Option<Spread>, bound: Bound, of: &str, peer: Option<Peer>) -> Goal {
    Goal {
        work,
        goal: bound.text(of),
        measured: match (ratio, peer) {
            (Some(ratio), Some(peer)) => format!("{ratio} of {}", peer.name()),
            _ => NOT_MEASURED.into(),
        },
        met: ratio.and_then(|ratio| bound.met(ratio.median)),
    }
}

/// What `sizes` has written.
fn size() -> Goal {
    let sizes = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("target/sizes.txt"));
    let sizes = sizes.unwrap_or_default();
    let listed: Vec<_> = sizes
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(name, bytes)| Some(format!("{name} {:.1} MiB", bytes.parse::<f64>().ok()? / f64::from(1 << 20))))
        .collect();
    Goal {
        work: "Binary size, a small program without symbols".into(),
        goal: "reported".into(),
        measured: if listed.is_empty() { "not measured (`bench/sizes`)".into() } else { listed.join(", ") },
        met: None,
    }
}
