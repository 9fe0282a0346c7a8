//! How cost grows with connections and with streams: tables and plots.

use std::fmt::Write as _;
use std::path::Path;

use super::plot::{Line, Plot};
use super::{Figure, Results};
use crate::Result;
use crate::peer::Peer;
use crate::process::Run;
use crate::scenario::{Scenario, grouped};

const MEMORY: &str = "
## Memory of an idle connection at the server

By what 9,000 more of them add to 1,000, left alone for three seconds: when they have been made (and a hundred of them carried a request), and when
all of them carried requests in turns until then, so that all were in use at the same time.

| peer | made, KiB | used, KiB |
|---|---:|---:|
";

/// What grows.
struct Growing {
    title: &'static str,
    /// What a plot's file is called.
    name: &'static str,
    unit: &'static str,
    sizes: Vec<usize>,
    scenario: fn(usize) -> Scenario,
}

/// A figure that is shown.
struct Shown {
    title: &'static str,
    name: &'static str,
    unit: &'static str,
    /// Of a run with so many.
    figure: fn(&Run, usize) -> Option<f64>,
}

const SHOWN: [Shown; 3] = [
    Shown { title: "Requests per second", name: "rate", unit: "requests/s", figure: |run, _| Some(run.rate()) },
    Shown {
        title: "Processor time of a request, both ends",
        name: "cpu",
        unit: "µs",
        figure: |run, _| Some(100.0 * super::both(run)),
    },
    Shown {
        title: "Server's memory for each",
        name: "memory",
        unit: "KiB",
        // Connections that are left alone; for streams, the most there was while they were open.
        figure: |run, number| {
            let bytes = run.held.or((run.is_wide && number >= 1000).then_some(run.memory))?;
            Some(bytes as f64 / 1024.0 / number as f64)
        },
    },
];

impl Results {
    fn growing(&self) -> [Growing; 2] {
        let sizes = |of: fn(Scenario) -> Option<usize>| self.runs.keys().copied().filter_map(of).collect();
        [
            Growing {
                title: "connections",
                name: "connections",
                unit: "connections",
                sizes: sizes(|scenario| if let Scenario::Many(number) = scenario { Some(number) } else { None }),
                scenario: Scenario::Many,
            },
            Growing {
                title: "streams of one connection",
                name: "streams",
                unit: "streams at a time",
                sizes: sizes(|scenario| if let Scenario::Wide(number) = scenario { Some(number) } else { None }),
                scenario: Scenario::Wide,
            },
        ]
    }

    fn median(&self, scenario: Scenario, peer: Peer, figure: &dyn Fn(&Run) -> Option<f64>) -> Option<f64> {
        let figure: Figure<'_> = &|run| figure(run).unwrap_or(f64::NAN);
        Some(self.spread(scenario, peer, figure)?.median).filter(|median| !median.is_nan())
    }

    /// How much more memory the server has with ten thousand idle connections of a scenario than with a thousand, for
    /// each, in bytes: so what there is but once does not count, nor what lasts only for a handshake.
    pub(super) fn memory_per_connection(&self, scenario: fn(usize) -> Scenario, peer: Peer) -> Option<f64> {
        const FEW: usize = 1000;
        const MANY: usize = 10_000;
        let held = |number| self.median(scenario(number), peer, &|run| Some(run.held? as f64));
        Some((held(MANY)? - held(FEW)?) / (MANY - FEW) as f64)
    }

    pub(super) fn growth(&self, text: &mut String, output: &Path) -> Result<()> {
        for growing in self.growing() {
            if growing.sizes.is_empty() {
                continue;
            }
            let _ = writeln!(text, "\n## How cost grows with {}\n", growing.title);
            for shown in &SHOWN {
                self.plot(text, &growing, shown, output)?;
            }
            for shown in &SHOWN {
                self.growth_table(text, &growing, shown);
            }
        }
        let of = |peer| [Scenario::Idle, Scenario::Many].map(|scenario| self.memory_per_connection(scenario, peer));
        let with_memory: Vec<_> = (self.peers.iter())
            .map(|peer| (peer, of(*peer)))
            .filter(|(_, bytes)| bytes.iter().any(Option::is_some))
            .collect();
        if !with_memory.is_empty() {
            text.push_str(MEMORY);
        }
        for (peer, bytes) in with_memory {
            let [made, used] = bytes.map(|bytes| bytes.map_or("–".into(), |bytes| format!("{:.1}", bytes / 1024.0)));
            let _ = writeln!(text, "| {} | {made} | {used} |", peer.name());
        }
        Ok(())
    }

    fn growth_table(&self, text: &mut String, growing: &Growing, shown: &Shown) {
        let _ = write!(text, "\n{} ({}), by {}:\n\n| peer |", shown.title, shown.unit, growing.unit);
        for size in &growing.sizes {
            let _ = write!(text, " {} |", grouped(*size));
        }
        let _ = writeln!(text, "\n|---|{}", "---:|".repeat(growing.sizes.len()));
        for peer in self.grown_peers() {
            let _ = write!(text, "| {} |", peer.name());
            for size in &growing.sizes {
                let scenario = (growing.scenario)(*size);
                let value = self.median(scenario, peer, &|run| (shown.figure)(run, *size));
                let _ = match value {
                    Some(value) if value >= 1000.0 => write!(text, " {value:.0} |"),
                    Some(value) => write!(text, " {value:.1} |"),
                    None if self.failures.contains_key(&(scenario, peer)) => write!(text, " **fails** |"),
                    None => write!(text, " – |"),
                };
            }
            text.push('\n');
        }
        for ((scenario, peer), (times, why)) in &self.failures {
            if shown.name == "rate" && growing.sizes.iter().any(|size| (growing.scenario)(*size) == *scenario) {
                let _ = writeln!(text, "\n{} failed {times} times with {scenario}: {why}.", peer.name());
            }
        }
    }

    fn grown_peers(&self) -> impl Iterator<Item = Peer> {
        self.peers.iter().copied().filter(|peer| *peer == Peer::Tercel || peer.is_other())
    }

    fn plot(&self, text: &mut String, growing: &Growing, shown: &Shown, output: &Path) -> Result<()> {
        let points = |peer: Peer| {
            let point = |size: &usize| {
                let value = self.median((growing.scenario)(*size), peer, &|run| (shown.figure)(run, *size))?;
                Some((*size as f64, value))
            };
            growing.sizes.iter().filter_map(point).collect::<Vec<_>>()
        };
        let lines: Vec<_> = self
            .grown_peers()
            .map(|peer| Line { name: peer.name(), points: points(peer) })
            .filter(|line| !line.points.is_empty())
            .collect();
        if lines.is_empty() {
            return Ok(());
        }
        let plot = Plot { title: shown.title, x: growing.unit, y: shown.unit, lines };
        let directory = output.parent().unwrap_or(Path::new("")).join("plots");
        std::fs::create_dir_all(&directory)?;
        let file = format!("{}-{}.svg", growing.name, shown.name);
        std::fs::write(directory.join(&file), plot.to_svg())?;
        let _ = writeln!(text, "![{} by {}](plots/{file})", shown.title, growing.unit);
        Ok(())
    }
}
