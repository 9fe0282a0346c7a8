//! The results as Markdown: first what the goals say, then scenario by scenario. Rates are medians over the rounds,
//! ratios are taken within each round.

mod goals;
mod growth;
mod plot;
mod tables;

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::path::Path;

use crate::Result;
use crate::peer::Peer;
use crate::process::Run;
use crate::scenario::Scenario;

/// What the runs have brought.
pub struct Results {
    rounds: usize,
    percent: u64,
    peers: Vec<Peer>,
    /// By round; `None` where the peer failed or had no turn.
    runs: BTreeMap<Scenario, BTreeMap<Peer, Vec<Option<Run>>>>,
    /// How often a peer failed, and how at last.
    failures: BTreeMap<(Scenario, Peer), (usize, String)>,
}

/// The median, and the quartiles.
#[derive(Debug, Clone, Copy)]
pub struct Spread {
    pub low: f64,
    pub median: f64,
    pub high: f64,
}

impl Spread {
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let value = |at: usize| values.get(at).or(values.last()).copied().unwrap_or(0.0);
        // Between two values in proportion.
        let at = |quarter: usize| {
            let fourths = quarter * values.len().saturating_sub(1);
            let (low, high) = (value(fourths / 4), value(fourths / 4 + 1));
            low + (high - low) * (fourths % 4) as f64 / 4.0
        };
        Self { low: at(1), median: at(2), high: at(3) }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} ({:.2}–{:.2})", self.median, self.low, self.high)
    }
}

/// A figure of a run.
type Figure<'a> = &'a dyn Fn(&Run) -> f64;

/// What a peer has of a figure in a scenario.
type Series<'a> = (Scenario, Peer, Figure<'a>);

/// Whether more of a figure is better.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Better {
    More,
    Less,
}

fn both(run: &Run) -> f64 {
    run.client_cost() + run.server_cost()
}

impl Results {
    pub fn new(rounds: usize, percent: u64, peers: &[Peer]) -> Self {
        Self { rounds, percent, peers: peers.to_vec(), runs: BTreeMap::new(), failures: BTreeMap::new() }
    }

    pub fn add(&mut self, scenario: Scenario, peer: Peer, round: usize, run: std::result::Result<Run, String>) {
        let runs = self.runs.entry(scenario).or_default().entry(peer).or_default();
        runs.resize(runs.len().max(round + 1), None);
        match run {
            Ok(run) => runs[round] = Some(run),
            Err(why) => {
                let failure = self.failures.entry((scenario, peer)).or_default();
                *failure = (failure.0 + 1, why);
            }
        }
    }

    /// A peer's figures, by round.
    fn figures(&self, scenario: Scenario, peer: Peer, figure: Figure<'_>) -> Vec<Option<f64>> {
        let runs = self.runs.get(&scenario).and_then(|peers| peers.get(&peer));
        runs.into_iter().flatten().map(|run| run.as_ref().map(figure)).collect()
    }

    fn spread(&self, scenario: Scenario, peer: Peer, figure: Figure<'_>) -> Option<Spread> {
        let figures: Vec<f64> = self.figures(scenario, peer, figure).into_iter().flatten().collect();
        (!figures.is_empty()).then(|| Spread::of(figures))
    }

    /// Figures, each divided by another of the same round.
    fn ratio(&self, (scenario, peer, figure): Series<'_>, to: Series<'_>) -> Option<Spread> {
        let pairs = self.figures(scenario, peer, figure).into_iter().zip(self.figures(to.0, to.1, to.2));
        let ratios: Vec<f64> = pairs.filter_map(|(ours, theirs)| Some(ours? / theirs?)).collect();
        (!ratios.is_empty()).then(|| Spread::of(ratios))
    }

    /// The best of the others, by medians.
    fn best(&self, scenario: Scenario, figure: Figure<'_>, better: Better) -> Option<Peer> {
        let others = self.peers.iter().copied().filter(|peer| peer.is_other());
        let with_median = others.filter_map(|peer| Some((peer, self.spread(scenario, peer, figure)?.median)));
        let by_median = |a: &(Peer, f64), b: &(Peer, f64)| a.1.total_cmp(&b.1);
        let best = if better == Better::More { with_median.max_by(by_median) } else { with_median.min_by(by_median) };
        best.map(|(peer, _)| peer)
    }

    pub fn write(&self, output: &Path) -> Result<()> {
        if let Some(directory) = output.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let mut text = String::from(HEAD);
        let _ = writeln!(
            text,
            "\nRounds: {} ({} where it is shown how cost grows, 1 with 10,000 connections and more, 3 at the most with BBR), at {} % of the usual \
             work, on {}.",
            self.rounds,
            self.rounds.min(2),
            self.percent,
            machine()
        );
        for peer in &self.peers {
            if let Some(why) = peer.missing() {
                let _ = writeln!(text, "\n**{} is left out:** {why}.", peer.name());
            }
        }
        self.goals(&mut text);
        self.links(&mut text);
        self.growth(&mut text, output)?;
        for scenario in self.runs.keys().filter(|scenario| !scenario.is_growth()) {
            self.table(&mut text, *scenario);
        }
        Ok(std::fs::write(output, text)?)
    }
}

/// The processor and the system.
fn machine() -> String {
    let read = |file| std::fs::read_to_string(file).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("?", |(_, name)| name.trim());
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{count} x {model}, Linux {}", read("/proc/sys/kernel/osrelease").trim())
}

const HEAD: &str = "\
# Results

Written by `just bench`; how it is measured is told in [README.md](README.md). Ratios are medians (and quartiles) of the
ratios within each round, because the machine's other users come and go; the best of the others is who has the best
median. CPU is processor time of all threads of a process, in user mode and in the system. Tercel is its callback face
where nothing else is said. `udp` and `protection` are limits, not peers: UDP alone with segmentation offload, and the
cipher alone.
";

#[cfg(test)]
mod tests {
    use super::Spread;

    #[test]
    fn the_median_of_an_even_number_lies_in_the_middle() {
        let of = |values: &[f64]| {
            let Spread { low, median, high } = Spread::of(values.iter().copied());
            [low, median, high]
        };
        assert_eq!(of(&[4.0, 1.0, 3.0, 2.0]), [1.75, 2.5, 3.25]);
        assert_eq!(of(&[5.0, 1.0, 3.0, 2.0, 4.0]), [2.0, 3.0, 4.0]);
        assert_eq!(of(&[1.0, 3.0]), [1.5, 2.0, 2.5]);
        assert_eq!(of(&[7.0]), [7.0; 3]);
        assert_eq!(of(&[]), [0.0; 3]);
    }
}
