//! The datagram size of a path (DPLPMTUD, RFC 8899; RFC 9000 section 14.3).
//!
//! Starting from a size that must work, probes (a PING in a padded packet) look for a larger one: a
//! binary search between the largest size that arrived and the smallest that did not. A size counts
//! as too large when three probes of it are lost. Much later the search begins again, since paths
//! change. When full-sized packets are lost one after the other and none arrives, the path has
//! become a black hole for them, and the size falls back to the base.

use std::time::Duration;

use crate::time::Time;

/// Every path of QUIC carries this (RFC 9000 section 14).
// RFC 9000 sections 14#1, 14.3#1.
pub const BASE: u16 = 1200;

/// So many lost probes prove a size too large (MAX_PROBES).
const MAX_PROBES: u32 = 3;
/// The search ends when it has come this close.
const PRECISION: u16 = 8;
/// When a search that ended begins again (PMTU_RAISE_TIMER).
const RAISE: Duration = Duration::from_secs(600);
/// When it does after a black hole.
const RAISE_AFTER_BLACK_HOLE: Duration = Duration::from_secs(60);
/// So many large packets lost in a row, with none acknowledged, are a black hole.
const BLACK_HOLE: u32 = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Search {
    /// Looking between the current size and `high` (too large, or one above the limit).
    Searching { high: u16, lost: u32 },
    /// Done until then.
    Complete { again_at: Time },
    /// Turned off.
    Off,
}

/// The datagram size of a path.
#[derive(Debug, Clone)]
// RFC 9000 section 14.2#1#2#3#5.
pub struct Mtu {
    current: u16,
    max: u16,
    search: Search,
    /// The probe under way: its size.
    probe: Option<u16>,
    large_lost: u32,
    /// When the newest of the larger packets that arrived was sent.
    large_arrived: Time,
    black_holes: u64,
}

impl Mtu {
    /// Begins at `initial`, and looks for up to `max`.
    pub fn new(initial: u16, max: u16) -> Self {
        let initial = initial.max(BASE);
        let search = if max > initial { Search::Searching { high: max + 1, lost: 0 } } else { Search::Off };
        Self { current: initial, max, search, probe: None, large_lost: 0, large_arrived: Time::ZERO, black_holes: 0 }
    }

    /// The size in use.
    pub const fn current(&self) -> u16 {
        self.current
    }

    /// How many black holes there were.
    pub const fn black_holes(&self) -> u64 {
        self.black_holes
    }

    /// The peer takes no larger datagrams than this.
    pub fn set_peer_max(&mut self, max: u16) {
        self.max = self.max.min(max);
        self.current = self.current.min(self.max).max(BASE);
        self.search = match self.search {
            Search::Searching { high, lost } if self.max > self.current => {
                Search::Searching { high: high.min(self.max + 1), lost }
            }
            Search::Searching { .. } => Search::Off,
            other => other,
        };
    }

    /// The size to probe for now, if any.
    pub fn next_probe(&mut self, now: Time) -> Option<u16> {
        if let Search::Complete { again_at } = self.search
            && again_at <= now
            && self.max > self.current
        {
            self.search = Search::Searching { high: self.max + 1, lost: 0 };
        }
        let Search::Searching { high, .. } = self.search else { return None };
        if self.probe.is_some() {
            return None;
        }
        // The largest is tried first: most paths carry it, and then the search is over.
        let middle = if high == self.max + 1 { self.max } else { self.current + (high - self.current) / 2 };
        Some(middle)
    }

    /// When the search begins again.
    pub const fn next_timeout(&self) -> Option<Time> {
        match self.search {
            Search::Complete { again_at } if self.max > self.current => Some(again_at),
            _ => None,
        }
    }

    /// A probe left.
    pub const fn on_probe_sent(&mut self, size: u16) {
        self.probe = Some(size);
    }

    /// A packet was acknowledged. Returns whether the size has changed.
    pub fn on_acked(&mut self, now: Time, sent: Time, size: u16, is_probe: bool) -> bool {
        if size > BASE {
            self.large_lost = 0;
            self.large_arrived = self.large_arrived.max(sent);
        }
        if !is_probe {
            return false;
        }
        self.probe = None;
        if size <= self.current {
            return false;
        }
        self.current = size;
        if let Search::Searching { high, .. } = self.search {
            self.search = Search::Searching { high, lost: 0 };
            self.check_complete(now);
        }
        true
    }

    /// A packet was lost. Returns whether the size has changed: a black hole.
    pub fn on_lost(&mut self, now: Time, sent: Time, size: u16, is_probe: bool) -> bool {
        if is_probe {
            self.probe = None;
            if let Search::Searching { high, lost } = self.search {
                self.search = match lost + 1 >= MAX_PROBES {
                    true => Search::Searching { high: size.min(high), lost: 0 },
                    false => Search::Searching { high, lost: lost + 1 },
                };
                self.check_complete(now);
            }
            return false;
        }
        // What was lost while others of its size arrived was lost for another reason.
        if size <= BASE || self.current <= BASE || sent <= self.large_arrived {
            return false;
        }
        self.large_lost += 1;
        if self.large_lost < BLACK_HOLE {
            return false;
        }
        self.large_lost = 0;
        self.black_holes += 1;
        self.current = BASE;
        self.search = Search::Complete { again_at: now + RAISE_AFTER_BLACK_HOLE };
        true
    }

    fn check_complete(&mut self, now: Time) {
        if let Search::Searching { high, .. } = self.search
            && high.saturating_sub(self.current) <= PRECISION
        {
            self.search = Search::Complete { again_at: now + RAISE };
        }
        if self.current >= self.max {
            self.search = Search::Complete { again_at: now + RAISE };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Probes a path that carries `true_mtu` until the search rests; gives the size found.
    fn search(mtu: &mut Mtu, true_mtu: u16, mut now: Time) -> u16 {
        for _ in 0..200 {
            let Some(size) = mtu.next_probe(now) else { break };
            mtu.on_probe_sent(size);
            assert_eq!(mtu.next_probe(now), None, "one probe at a time");
            now += Duration::from_millis(10);
            if size <= true_mtu {
                mtu.on_acked(now, now, size, true);
            } else {
                mtu.on_lost(now, now, size, true);
            }
        }
        assert_eq!(mtu.next_probe(now), None, "the search ends");
        mtu.current()
    }

    #[test]
    // RFC 9000 sections 14.2#1, 14.3#1.
    fn every_size_is_found() {
        for true_mtu in (1200..9100).step_by(7) {
            let found = search(&mut Mtu::new(1200, 9000), true_mtu, Time::ZERO);
            assert!(found <= true_mtu.min(9000) && found + PRECISION >= true_mtu.min(9000), "{found} for {true_mtu}");
        }
    }

    #[test]
    fn one_lost_probe_is_not_the_end() {
        let mut mtu = Mtu::new(1200, 1472);
        for _ in 0..2 {
            assert_eq!(mtu.next_probe(Time::ZERO), Some(1472));
            mtu.on_probe_sent(1472);
            mtu.on_lost(Time::ZERO, Time::ZERO, 1472, true);
        }
        assert_eq!(mtu.next_probe(Time::ZERO), Some(1472));
        mtu.on_probe_sent(1472);
        assert!(mtu.on_acked(Time::ZERO, Time::ZERO, 1472, true));
        assert_eq!((mtu.current(), mtu.next_probe(Time::ZERO)), (1472, None));
    }

    #[test]
    // RFC 9000 section 14#1.
    fn a_black_hole_falls_back_and_is_tried_again_later() {
        let mut mtu = Mtu::new(1200, 1472);
        search(&mut mtu, 1472, Time::ZERO);
        let [early, late] = [1, 2].map(|second| Time::ZERO + Duration::from_secs(second));
        assert!(!(0..7).any(|_| mtu.on_lost(late, late, 1472, false)));
        mtu.on_acked(late, early, 1472, false);
        assert!(!(0..7).any(|_| mtu.on_lost(late, late, 1472, false)), "one that arrives breaks the run");
        let congested = (0..100).any(|_| mtu.on_lost(late, early, 1472, false));
        assert!(!congested, "lost beside one that arrived: for another reason than their size");
        assert!(mtu.on_lost(Time::ZERO, late, 1472, false));
        assert_eq!((mtu.current(), mtu.black_holes(), mtu.next_probe(Time::ZERO)), (1200, 1, None));
        let later = mtu.next_timeout().unwrap();
        assert_eq!(search(&mut mtu, 1400, later), 1396.max(mtu.current()));
    }

    #[test]
    fn the_peers_limit_holds() {
        let mut mtu = Mtu::new(1200, 9000);
        mtu.set_peer_max(1300);
        assert_eq!(search(&mut mtu, 9000, Time::ZERO), 1300);
        let mut mtu = Mtu::new(1400, 9000);
        mtu.set_peer_max(1200);
        assert_eq!((mtu.current(), mtu.next_probe(Time::ZERO)), (1200, None));
    }
}
