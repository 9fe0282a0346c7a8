//! Prague (draft-briscoe-iccrg-prague-congestion-control), for networks with L4S (RFC 9330): queues that
//! mark early and often, so that they stay short.
//!
//! Packets are marked ECT(1). The part of them that come back marked CE is averaged over rounds (alpha),
//! and once a round the window is cut by half of that part: a little, often. A loss is answered as
//! NewReno does, for then something was in the way that knows nothing of L4S (RFC 9331 section 4.3).
//!
//! On paths shorter than [`VIRTUAL_RTT`] the flow behaves as if its round trip took so long: it grows no
//! faster, and cuts no more often, than flows that come from farther (RFC 9331 section 4.3).

use std::time::Duration;

use super::Marks;
use crate::time::Time;

/// The round-trip time as which all shorter ones count.
const VIRTUAL_RTT: Duration = Duration::from_millis(25);

/// Binary places of [`Prague::alpha`].
const PLACES: u32 = 20;

/// A new fraction counts for one sixteenth.
const GAIN_SHIFT: u32 = 4;

#[derive(Debug, Clone, Default)]
pub(super) struct Prague {
    /// The average part of packets that met congestion, with [`PLACES`] binary places; `None` before the
    /// first did.
    alpha: Option<u64>,
    /// Packets of this round, and those of them that met congestion.
    acked: u64,
    ce: u64,
    /// When the round began.
    round_start: Time,
    /// When the window was last cut for marks.
    cut_at: Option<Time>,
    /// What of the growth did not make a whole byte: with 32 binary places.
    rest: u128,
}

impl Prague {
    /// The window after `bytes` were acknowledged in congestion avoidance: a datagram more each round
    /// trip, of which short ones take a smaller part, as their share of the virtual one, squared.
    pub(super) fn grow(&mut self, bytes: u64, window: u64, mtu: u64, rtt: Duration) -> u64 {
        let (rtt, base) = (rtt.min(VIRTUAL_RTT).as_micros(), VIRTUAL_RTT.as_micros());
        let grown = (u128::from(bytes) * u128::from(mtu)) << 32;
        self.rest += grown / u128::from(window.max(1)) * (rtt * rtt) / (base * base);
        let whole = self.rest >> 32;
        self.rest -= whole << 32;
        window.saturating_add(whole as u64)
    }

    /// The window after a loss.
    pub(super) const fn cut(&mut self, window: u64) -> u64 {
        self.rest = 0;
        window / 2
    }

    /// Marked packets were acknowledged. Gives the window if it is to be cut.
    pub(super) fn on_marks(&mut self, marks: Marks, window: u64) -> Option<u64> {
        let round = marks.smoothed.max(VIRTUAL_RTT);
        self.acked += marks.acked.max(marks.ce);
        self.ce += marks.ce;
        if marks.ce > 0 && self.alpha.is_none() {
            // The first mark: nothing is known yet, so it counts in full.
            self.alpha = Some(1 << PLACES);
            (self.acked, self.ce, self.round_start) = (0, 0, marks.now);
        }
        let alpha = self.alpha.as_mut()?;
        if marks.sent >= self.round_start && marks.now >= self.round_start + round {
            let fraction = (self.ce << PLACES).checked_div(self.acked).unwrap_or(0);
            *alpha = *alpha - (*alpha >> GAIN_SHIFT) + (fraction >> GAIN_SHIFT);
            (self.acked, self.ce, self.round_start) = (0, 0, marks.now);
        }
        let answered = self.cut_at.is_some_and(|cut| marks.sent <= cut || marks.now < cut + round);
        if marks.ce == 0 || answered {
            return None;
        }
        self.cut_at = Some(marks.now);
        let less = (u128::from(window) * u128::from(*alpha)) >> (PLACES + 1);
        Some(window - less as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MTU: u64 = 1200;
    const MS: Duration = Duration::from_millis(1);
    const START: Time = Time::from_nanos(1 << 40);

    fn marks(now: Time, rtt: Duration, acked: u64, ce: u64) -> Marks {
        Marks { now, sent: now - rtt, acked, ce, smoothed: rtt }
    }

    /// Rounds of a hundred packets, of which so many are marked.
    fn rounds(prague: &mut Prague, now: &mut Time, rtt: Duration, count: u32, ce: u64) -> u64 {
        let mut window = 100_000;
        for _ in 0..count {
            *now += rtt;
            window = prague.on_marks(marks(*now, rtt, 100, ce), window).unwrap_or(window);
        }
        window
    }

    #[test]
    fn the_first_mark_halves_the_window() {
        let mut prague = Prague::default();
        let mut now = START;
        assert_eq!(rounds(&mut prague, &mut now, 50 * MS, 30, 0), 100_000);
        now += 50 * MS;
        assert_eq!(prague.on_marks(marks(now, 50 * MS, 10, 1), 100_000), Some(50_000));
        assert_eq!(prague.on_marks(marks(now + MS, 50 * MS, 10, 10), 50_000), None, "once a round trip");
    }

    #[test]
    fn the_average_follows_the_marks_and_the_cut_is_half_of_it() {
        let mut prague = Prague::default();
        let mut now = START;
        rounds(&mut prague, &mut now, 50 * MS, 200, 10);
        let alpha = prague.alpha.unwrap() as f64 / f64::from(1 << PLACES);
        assert!((alpha - 0.1).abs() < 0.005, "{alpha}");
        now += 50 * MS;
        let cut = prague.on_marks(marks(now, 50 * MS, 100, 10), 100_000).unwrap();
        assert!((94_500..95_500).contains(&cut), "{cut}");
        // A sixteenth a round.
        let before = prague.alpha.unwrap();
        now += 50 * MS;
        prague.on_marks(marks(now, 50 * MS, 100, 0), 100_000);
        assert_eq!(prague.alpha.unwrap(), before - before / 16);
    }

    #[test]
    fn short_round_trips_count_as_long_ones() {
        let mut prague = Prague::default();
        let mut now = START;
        let mut cuts = 0;
        for _ in 0..1000 {
            now += MS;
            cuts += u32::from(prague.on_marks(marks(now, MS, 10, 1), 100_000).is_some());
        }
        assert!((39..=41).contains(&cuts), "{cuts} in a second: one each 25 ms");
        // Growth: by a datagram in a round trip of 25 ms and more, by 1/25 of 1/25 in one of 1 ms, so that
        // after 25 of these the rate has grown as much.
        let grown = |rtt: Duration, rounds: u32| {
            let mut prague = Prague::default();
            (0..rounds).fold(100 * MTU, |window, _| prague.grow(100 * MTU, window, MTU, rtt)) - 100 * MTU
        };
        assert_eq!((grown(25 * MS, 1), grown(100 * MS, 1)), (MTU, MTU));
        assert!(grown(MS, 625).abs_diff(MTU) <= MTU / 50, "{}", grown(MS, 625));
    }
}
