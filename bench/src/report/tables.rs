//! Scenario by scenario, peer by peer.

use std::fmt::Write as _;
use std::time::Duration;

use super::goals::start_up;
use super::{Figure, Results, both};
use crate::peer::Peer;
use crate::process::Run;
use crate::scenario::{Network, Scenario};

impl Results {
    pub(super) fn table(&self, text: &mut String, scenario: Scenario) {
        let (rate, cost) = match scenario.is_bulk() {
            true => ("MiB/s", "CPU s/GiB"),
            false => ("per second", "CPU s/10,000"),
        };
        let _ = writeln!(text, "\n## {}\n", scenario.title());
        if scenario == Scenario::Start {
            return self.start_table(text);
        }
        let _ = writeln!(
            text,
            "| peer | {rate} | quartiles | Tercel's to it | {cost}: client | server | both | Tercel's to it | latency median, 99 % |"
        );
        text.push_str("|---|---:|---:|---:|---:|---:|---:|---:|---:|\n");
        for peer in self.peers.iter().copied() {
            let Some(rate) = self.spread(scenario, peer, &Run::rate) else {
                self.failing(text, scenario, peer);
                continue;
            };
            let median = |figure: Figure<'_>| self.spread(scenario, peer, figure).map_or(0.0, |spread| spread.median);
            let ratio = |figure: Figure<'_>| match peer {
                Peer::Tercel => "–".into(),
                _ => {
                    let ratio = self.ratio((scenario, Peer::Tercel, figure), (scenario, peer, figure));
                    ratio.map_or("–".into(), |ratio| ratio.to_string())
                }
            };
            let micros = |figure: fn(&Run) -> Duration| match median(&|run| figure(run).as_secs_f64()) {
                0.0 => "–".into(),
                _ if scenario.is_bulk() => "–".into(),
                time => format!("{:.1} µs", 1e6 * time),
            };
            let digits = if rate.median < 100.0 { 2 } else { 0 };
            let _ = writeln!(
                text,
                "| {} | {:.digits$} | {:.digits$}–{:.digits$} | {} | {:.3} | {:.3} | {:.3} | {} | {}, {} |{}",
                peer.name(),
                rate.median,
                rate.low,
                rate.high,
                ratio(&Run::rate),
                median(&Run::client_cost),
                median(&Run::server_cost),
                median(&both),
                ratio(&both),
                micros(|run| run.client.median),
                micros(|run| run.client.high),
                match self.failures.get(&(scenario, peer)) {
                    Some((times, why)) => format!(" failed {times} times: {why} |"),
                    None => String::new(),
                }
            );
        }
    }

    /// A peer without a figure.
    fn failing(&self, text: &mut String, scenario: Scenario, peer: Peer) {
        if let Some((_, why)) = self.failures.get(&(scenario, peer)) {
            let _ = writeln!(text, "| {} | **fails:** {why} |", peer.name());
        } else if peer.missing().is_none()
            && let Some(why) = peer.cannot(scenario)
            && !matches!(peer, Peer::Udp | Peer::Protection | Peer::TercelRandomLoss)
        {
            let _ = writeln!(text, "| {} | cannot: {why} |", peer.name());
        }
    }

    fn start_table(&self, text: &mut String) {
        text.push_str("| peer | server listens, ms | client has its answer, ms | both, ms |\n|---|---:|---:|---:|\n");
        for peer in self.peers.iter().copied() {
            let millis = |at: usize| move |run: &Run| 1e3 * run.started[at].as_secs_f64();
            let median = |figure: Figure<'_>| Some(self.spread(Scenario::Start, peer, figure)?.median);
            match (median(&millis(0)), median(&millis(1)), median(&start_up)) {
                (Some(server), Some(client), Some(both)) => {
                    let _ = writeln!(text, "| {} | {server:.1} | {client:.1} | {both:.1} |", peer.name());
                }
                _ => self.failing(text, Scenario::Start, peer),
            }
        }
    }

    /// Whether the networks were the networks that they should be.
    pub(super) fn links(&self, text: &mut String) {
        let runs = self.runs.iter().filter(|(scenario, _)| scenario.network().is_some());
        let ways: Vec<_> = runs
            .flat_map(|(_, peers)| peers.values().flatten().flatten())
            .filter_map(|run| Some((run, run.link?)))
            .collect();
        if ways.is_empty() {
            return;
        }
        let late = ways.iter().flat_map(|(_, link)| link.map(|way| way.late)).max().unwrap_or_default();
        let late = late.as_secs_f64() * 1e3;
        let overflowed: u64 = ways.iter().flat_map(|(_, link)| link.map(|way| way.overflowed)).sum();
        let used = ways.iter().map(|(run, _)| run.rate() * 8.0 * f64::from(1 << 20) / Network::RATE as f64);
        let used = 100.0 * used.fold(0.0, f64::max);
        let (taken, lost) = ways
            .iter()
            .flat_map(|(_, link)| *link)
            .fold((0, 0), |(taken, lost), way| (taken + way.taken, lost + way.lost));
        let _ = writeln!(
            text,
            "\nThe simulated links ({} Mbit/s) had no more than {used:.0} % of their rate to carry on average over a run; \
             {lost} of {taken} datagrams were lost by chance, and {overflowed} because {} waited already; the latest was {late:.1} ms late.",
            Network::RATE / 1_000_000,
            Network::QUEUE,
        );
    }
}
