//! A run of everything: scenario by scenario, peers in turns, failures noted.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use crate::Result;
use crate::peer::Peer;
use crate::process::{self, Directory, Logs, Run};
use crate::report::Results;
use crate::scenario::{Control, Scenario};

/// What is run, and where the results go.
pub struct Plan<'a> {
    pub rounds: usize,
    pub percent: u64,
    pub scenarios: Vec<Scenario>,
    pub peers: Vec<Peer>,
    /// Peers of the scenario with the most connections, which takes long; none for all.
    pub holding: Vec<Peer>,
    pub output: &'a Path,
}

impl Plan<'_> {
    /// How often a scenario is run: those that show how cost grows less often, because what counts there is not a
    /// difference of some hundredths, and those with very many connections once. Those with BBR take a minute for some
    /// peers.
    fn rounds(&self, scenario: Scenario) -> usize {
        match scenario {
            Scenario::Many(10_000..) | Scenario::Idle(10_000..) => 1,
            Scenario::Loss(_, Control::Bbr) => self.rounds.min(3),
            _ if scenario.is_growth() => self.rounds.min(2),
            _ => self.rounds,
        }
    }

    /// Who has a turn.
    fn peers(&self, scenario: Scenario) -> Vec<Peer> {
        let fits = |peer: &Peer| {
            peer.missing().is_none()
                && peer.cannot(scenario).is_none()
                && !((scenario.is_growth() || scenario.control() == Control::Bbr) && peer.is_another_face())
                && (scenario != Scenario::HELD || self.holding.contains(peer))
        };
        self.peers.iter().copied().filter(fits).collect()
    }

    pub fn run(&self) -> Result<()> {
        let directory = Directory::with_identity()?;
        let mut progress = Progress::new(
            self.scenarios.iter().map(|scenario| self.rounds(*scenario) * self.peers(*scenario).len()).sum(),
        );
        for peer in &self.peers {
            if let Some(why) = peer.missing() {
                eprintln!("{} is left out: {why}", peer.name());
            }
        }
        let mut results = Results::new(self.rounds, self.percent, &self.peers);
        for scenario in self.scenarios.iter().copied() {
            // Who has failed twice fails.
            let (mut failed, mut failing) = (BTreeSet::new(), BTreeSet::new());
            for round in 0..self.rounds(scenario) {
                let mut peers = self.peers(scenario);
                // Whoever goes first finds another machine than whoever goes last.
                let turn = round % peers.len().max(1);
                peers.rotate_left(turn);
                let number = peers.len();
                peers.retain(|peer| !failing.contains(peer));
                progress.skip(number - peers.len());
                for (peer, run) in self.turns(scenario, &peers, round, &directory.0) {
                    progress.tell(scenario, round, peer, &run);
                    if run.is_err() && !failed.insert(peer) {
                        failing.insert(peer);
                    }
                    results.add(scenario, peer, round, run);
                }
            }
            // What there is so far is kept if the rest is not waited for.
            results.write(self.output)?;
        }
        eprintln!("written to {}", self.output.display());
        Ok(())
    }

    /// One round. Where a network is the limit, and nobody's processor, all run at the same time; but with BBR, which
    /// fills it.
    fn turns<'a>(
        &self,
        scenario: Scenario,
        peers: &'a [Peer],
        round: usize,
        identity: &'a Path,
    ) -> Box<dyn Iterator<Item = (Peer, std::result::Result<Run, String>)> + 'a> {
        let percent = self.percent;
        let run = move |peer: Peer| {
            let run = process::run(peer, scenario, percent, identity, round as u64, &Logs::default());
            (peer, run.map_err(|error| error.to_string()))
        };
        if scenario.network().is_none() || scenario.control() == Control::Bbr {
            return Box::new(peers.iter().copied().map(run));
        }
        let runs: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = peers.iter().map(|peer| scope.spawn(move || run(*peer))).collect();
            threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
        });
        Box::new(runs.into_iter())
    }
}

/// How far it is.
struct Progress {
    began: Instant,
    done: usize,
    all: usize,
}

impl Progress {
    fn new(all: usize) -> Self {
        Self { began: Instant::now(), done: 0, all }
    }

    fn skip(&mut self, runs: usize) {
        self.done += runs;
    }

    fn tell(&mut self, scenario: Scenario, round: usize, peer: Peer, run: &std::result::Result<Run, String>) {
        self.done += 1;
        let (all, seconds) = (self.all, self.began.elapsed().as_secs());
        eprint!("{}/{all}, {seconds} s: {scenario}, round {}, {}: ", self.done, round + 1, peer.name());
        match run {
            Ok(run) => eprintln!("{run}"),
            Err(why) => eprintln!("FAILED: {why}"),
        }
    }
}
