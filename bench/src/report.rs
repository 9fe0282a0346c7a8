//! The results as Markdown: medians over the rounds, and ratios to quinn within each round.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::peer::Peer;
use crate::process::Run;
use crate::scenario::Scenario;

#[derive(Default)]
pub struct Results {
    runs: BTreeMap<Scenario, BTreeMap<Peer, Vec<Run>>>,
}

/// The median, and the quartiles.
pub struct Spread {
    pub low: f64,
    pub median: f64,
    pub high: f64,
}

impl Spread {
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at =
            |quarter: usize| values.get((values.len().saturating_sub(1) * quarter + 2) / 4).copied().unwrap_or(0.0);
        Self { low: at(1), median: at(2), high: at(3) }
    }
}

impl Results {
    pub fn add(&mut self, scenario: Scenario, peer: Peer, _round: usize, run: Run) {
        self.runs.entry(scenario).or_default().entry(peer).or_default().push(run);
    }

    pub fn to_markdown(&self, rounds: usize, percent: u64) -> String {
        let mut text = String::from(HEAD);
        let _ = writeln!(text, "\n{rounds} rounds at {percent} % of the usual work, on {}.", machine());
        self.summary(&mut text);
        for (scenario, peers) in &self.runs {
            scenario_to_markdown(&mut text, *scenario, peers);
        }
        text
    }
}

/// What a figure of Tercel's is of the best of the others', round by round: median and quartiles. Which is the best is
/// decided by medians.
fn to_best(peers: &BTreeMap<Peer, Vec<Run>>, of: Peer, figure: &dyn Fn(&Run) -> f64, more: bool) -> Option<String> {
    let ours = peers.get(&of)?;
    let median = |runs: &Vec<Run>| Spread::of(runs.iter().map(figure)).median;
    let others = peers.iter().filter(|(peer, _)| peer.is_other());
    let by_median = |a: &(&Peer, &Vec<Run>), b: &(&Peer, &Vec<Run>)| median(a.1).total_cmp(&median(b.1));
    let (name, best) = if more { others.max_by(by_median)? } else { others.min_by(by_median)? };
    let ratio = Spread::of(ours.iter().zip(best).map(|(run, other)| figure(run) / figure(other)));
    Some(format!("{:.2} ({:.2}–{:.2}) of {}", ratio.median, ratio.low, ratio.high, name.name()))
}

fn both(run: &Run) -> f64 {
    run.client_cost() + run.server_cost()
}

impl Results {
    /// Tercel beside the best of the others.
    fn summary(&self, text: &mut String) {
        text.push_str(
            "\n## Tercel beside the best of the others\n\n| work | face | rate | processor time | memory |\n",
        );
        text.push_str("|---|---|---:|---:|---:|\n");
        for (scenario, peers) in &self.runs {
            for ours in [Peer::Tercel, Peer::TercelTask] {
                let Some(rate) = to_best(peers, ours, &Run::rate, true) else { continue };
                let cost = to_best(peers, ours, &both, false).unwrap_or_default();
                let memory = match scenario {
                    Scenario::Idle => to_best(peers, ours, &|run| run.memory as f64, false).unwrap_or_default(),
                    _ => "–".into(),
                };
                let _ = writeln!(text, "| {} | {} | {rate} | {cost} | {memory} |", scenario.title(), ours.name());
            }
        }
    }
}

fn scenario_to_markdown(text: &mut String, scenario: Scenario, peers: &BTreeMap<Peer, Vec<Run>>) {
    let (rate, cost) = match scenario.is_bulk() {
        true => ("MiB/s", "CPU s/GiB"),
        false => ("per second", "CPU s/10,000"),
    };
    let _ = writeln!(text, "\n## {}\n", scenario.title());
    let _ = writeln!(
        text,
        "| peer | {rate} | quartiles | ratio to quinn | {cost}: client | server | both | ratio to quinn | latency median, 99 % | server's memory per connection |"
    );
    text.push_str("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n");
    let quinn = peers.get(&Peer::Quinn);
    for (peer, runs) in peers {
        let ratio = |figure: &dyn Fn(&Run) -> f64| match quinn {
            Some(quinn) => {
                let spread = Spread::of(runs.iter().zip(quinn).map(|(run, other)| figure(run) / figure(other)));
                format!("{:.2} ({:.2}–{:.2})", spread.median, spread.low, spread.high)
            }
            None => "–".into(),
        };
        let rate = Spread::of(runs.iter().map(Run::rate));
        let median = |figure: &dyn Fn(&Run) -> f64| Spread::of(runs.iter().map(figure)).median;
        let micros = |figure: &dyn Fn(&Run) -> f64| match scenario.is_bulk() {
            true => "–".into(),
            false => format!("{:.0} µs", 1e6 * median(figure)),
        };
        let memory = match scenario {
            Scenario::Idle => format!("{:.1} KiB", median(&|run| run.memory as f64 / run.exchanges as f64 / 1024.0)),
            _ => "–".into(),
        };
        let _ = writeln!(
            text,
            "| {} | {:.0} | {:.0}–{:.0} | {} | {:.2} | {:.2} | {:.2} | {} | {}, {} | {memory} |",
            peer.name(),
            rate.median,
            rate.low,
            rate.high,
            ratio(&Run::rate),
            median(&Run::client_cost),
            median(&Run::server_cost),
            median(&both),
            ratio(&both),
            micros(&|run| run.client.median.as_secs_f64()),
            micros(&|run| run.client.high.as_secs_f64()),
        );
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

Written by `cargo run --release`; how it is measured is told in `README.md`. Rates are medians over the
rounds; ratios are medians (and quartiles) of the ratios within each round, because the machine's other
users come and go. CPU is processor time of all threads of a process, in user mode and in the system.
`udp` and `protection` are limits, not peers: UDP alone with segmentation offload, and the cipher alone.
";
