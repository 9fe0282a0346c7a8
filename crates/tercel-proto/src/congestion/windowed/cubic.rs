//! CUBIC (RFC 9438), in whole numbers.
//!
//! After a cut the window follows a cubic curve over time: steep at first, flat around the size at
//! which the last loss happened (`w_max`), then steeper again in search of more. On paths where
//! NewReno would be faster (short or slow ones) the window follows an estimate of NewReno's instead.
//! Growth depends on time and not on the round trip, so flows of different length share fairly.
//!
//! Bytes that add up from many small steps carry 16 binary places; times on the curve are in
//! milliseconds.

use std::time::Duration;

use crate::time::Time;

/// The window after a cut is this many tenths of that before (beta_cubic).
const BETA_TENTHS: u64 = 7;

/// The binary places of a [`Fixed`].
const PLACES: u32 = 16;

/// Bytes with [`PLACES`] binary places.
type Fixed = u128;

#[derive(Debug, Clone, Default)]
pub(super) struct Cubic {
    /// Where the plateau of the curve lies; 0 before the first loss, and after persistent
    /// congestion.
    w_max: u64,
    /// The window before the last cut.
    prior: u64,
    epoch: Option<Epoch>,
}

/// A stretch of congestion avoidance without a loss.
#[derive(Debug, Clone)]
struct Epoch {
    /// When it began, later by as long as the application left the window unused.
    start: Time,
    unused_since: Option<Time>,
    /// The plateau, and when the curve reaches it, in milliseconds from the start (K).
    plateau: u64,
    plateau_at: u64,
    /// The window that NewReno would have by now.
    w_est: Fixed,
    /// What of the growth did not make a whole byte.
    rest: Fixed,
}

impl Cubic {
    /// The window after `bytes` were acknowledged in congestion avoidance (section 4.2 to 4.5).
    pub(super) fn grow(&mut self, now: Time, bytes: u64, window: u64, mtu: u64, rtt: Duration) -> u64 {
        let (w_max, prior) = (self.w_max, self.prior);
        let epoch = self.epoch.get_or_insert_with(|| Epoch::new(now, window, w_max, mtu));
        if let Some(since) = epoch.unused_since.take() {
            epoch.start += now.since(since);
        }
        let reno = epoch.grow_reno(bytes, window, prior, mtu);
        let elapsed = now.since(epoch.start);
        if epoch.curve(elapsed, mtu) < reno {
            return window.max(reno);
        }
        // Section 4.4 and 4.5: toward where the curve will be a round trip from now, at most half
        // the window more in that time.
        let target = epoch.curve(elapsed + rtt, mtu).clamp(window, window + window / 2);
        epoch.rest += ((Fixed::from(target - window) * Fixed::from(bytes)) << PLACES) / Fixed::from(window.max(1));
        let whole = epoch.rest >> PLACES;
        epoch.rest -= whole << PLACES;
        window + whole as u64
    }

    /// The window was not used: the curve stands still meanwhile (section 5.8).
    pub(super) fn on_app_limited(&mut self, now: Time) {
        if let Some(epoch) = &mut self.epoch {
            epoch.unused_since.get_or_insert(now);
        }
    }

    /// The window after a loss (section 4.6).
    pub(super) const fn cut(&mut self, window: u64) -> u64 {
        // Fast convergence (section 4.7): a flow that did not reach its last plateau has to make
        // room for others, and lets go of more.
        self.w_max = if window < self.w_max { window * (10 + BETA_TENTHS) / 20 } else { window };
        self.prior = window;
        self.epoch = None;
        window * BETA_TENTHS / 10
    }
}

impl Epoch {
    fn new(now: Time, window: u64, w_max: u64, mtu: u64) -> Self {
        let plateau = w_max.max(window);
        // K = cbrt((plateau - window) / C) seconds with C = 0.4 datagrams per cubic second (section
        // 4.2); 10^9 cubic milliseconds are one cubic second. Zero where slow start ended without a
        // loss, or after persistent congestion.
        let cubed = u128::from(plateau - window) * 2_500_000_000 / u128::from(mtu);
        Self {
            start: now,
            unused_since: None,
            plateau,
            plateau_at: cube_root(u64::try_from(cubed).unwrap_or(u64::MAX)),
            w_est: Fixed::from(window) << PLACES,
            rest: 0,
        }
    }

    /// Section 4.3: NewReno's window, had it the same cut: 9/17 of a datagram more each round trip
    /// until it is back where it was, and then one.
    fn grow_reno(&mut self, bytes: u64, window: u64, prior: u64, mtu: u64) -> u64 {
        let (numerator, denominator) = if self.w_est >> PLACES < Fixed::from(prior) { (9, 17) } else { (1, 1) };
        let step = (Fixed::from(bytes) * Fixed::from(mtu) * numerator) << PLACES;
        self.w_est += step / (Fixed::from(window.max(1)) * denominator);
        (self.w_est >> PLACES) as u64
    }

    /// The curve at a time since the start: plateau + C * (t - K)^3.
    fn curve(&self, at: Duration, mtu: u64) -> u64 {
        /// From the plateau on, after this many milliseconds the curve is beyond any window.
        const FAR: u64 = 1 << 24;
        let at = at.as_millis().min(u128::from(2 * FAR)) as u64;
        let distance = u128::from(at.abs_diff(self.plateau_at).min(FAR));
        let height = distance * distance * distance * 4 / 10 * u128::from(mtu) / 1_000_000_000;
        let height = u64::try_from(height).unwrap_or(u64::MAX);
        if at < self.plateau_at { self.plateau.saturating_sub(height) } else { self.plateau.saturating_add(height) }
    }
}

/// The largest whole number whose cube is at most `cube`, found bit by bit.
const fn cube_root(cube: u64) -> u64 {
    let mut root = 0u64;
    let mut bit = 1 << 21;
    while bit > 0 {
        let larger = root | bit;
        // Roots have up to 22 bits, so cubes of candidates need more than 64.
        if (larger as u128) * (larger as u128) * (larger as u128) <= cube as u128 {
            root = larger;
        }
        bit >>= 1;
    }
    root
}

#[cfg(test)]
mod tests {
    use super::*;

    const MTU: u64 = 1200;
    const RTT: Duration = Duration::from_millis(100);

    /// The same curve in floating point.
    fn curve(seconds: f64, plateau: f64, k: f64) -> f64 {
        (plateau + 0.4 * (seconds - k).powi(3)) * MTU as f64
    }

    #[test]
    fn roots_of_cubes() {
        for (cube, root) in [(0, 0), (1, 1), (7, 1), (8, 2), (26, 2), (27, 3), (u64::MAX, 2_642_245)] {
            assert_eq!(cube_root(cube), root);
        }
        for root in [1000u64, 12_345, 2_000_000] {
            assert_eq!((cube_root(root.pow(3) - 1), cube_root(root.pow(3))), (root - 1, root));
        }
    }

    #[test]
    fn a_cut_leaves_seven_tenths_and_converges_fast() {
        let mut cubic = Cubic::default();
        assert_eq!((cubic.cut(100_000), cubic.w_max), (70_000, 100_000));
        // Below the last plateau: less is claimed.
        assert_eq!((cubic.cut(80_000), cubic.w_max), (56_000, 68_000));
        assert_eq!((cubic.cut(68_000), cubic.w_max), (47_600, 68_000));
    }

    #[test]
    // RFC 9002 section 7#1.
    fn the_curve_is_that_of_the_rfc() {
        // K = cbrt(300 / 0.4) = 9.086 s for a window of 1000 datagrams cut to 700.
        let epoch = Epoch::new(Time::ZERO, 700 * MTU, 1000 * MTU, MTU);
        assert_eq!(epoch.plateau_at, 9085);
        for millis in [0u64, 500, 4_000, 9_085, 9_100, 12_000, 60_000] {
            let exact = curve(millis as f64 / 1e3, 1000.0, (750f64).cbrt());
            let whole = epoch.curve(Duration::from_millis(millis), MTU) as f64;
            assert!((whole - exact).abs() < 0.001 * exact, "{millis} ms: {whole} instead of {exact}");
        }
        // Far beyond all windows nothing overflows.
        assert!(epoch.curve(Duration::MAX, u64::from(u16::MAX)) > 1 << 40);
    }

    /// Follows a flow that is never limited by anything else for `seconds`.
    fn run(cubic: &mut Cubic, mut window: u64, rtt: Duration, seconds: u64) -> u64 {
        let mut now = Time::ZERO;
        while now < Time::ZERO + Duration::from_secs(seconds) {
            now += rtt;
            let mut left = window;
            while left > 0 {
                let step = left.min(2 * MTU);
                window = cubic.grow(now, step, window, MTU, rtt);
                left -= step;
            }
        }
        window
    }

    #[test]
    fn the_window_follows_the_curve_on_a_long_path() {
        let mut cubic = Cubic::default();
        let cut = cubic.cut(1000 * MTU);
        let window = run(&mut cubic, cut, RTT, 9) as f64;
        assert!((window / (1000 * MTU) as f64 - 1.0).abs() < 0.01, "on the plateau at K: {window}");
        let mut cubic = Cubic::default();
        let cut = cubic.cut(1000 * MTU);
        let window = run(&mut cubic, cut, RTT, 15) as f64;
        let exact = curve(15.0, 1000.0, (750f64).cbrt());
        assert!((window / exact - 1.0).abs() < 0.02, "{window} instead of {exact}");
    }

    #[test]
    fn the_window_follows_reno_on_a_short_path() {
        let mut cubic = Cubic::default();
        let cut = cubic.cut(20 * MTU);
        // 100 round trips of 1 ms: 9/17 of a datagram each for the first 11 or so, then one each.
        let mut window = cut;
        for round in 1..=100 {
            let now = Time::ZERO + Duration::from_millis(round);
            window = cubic.grow(now, window, window, MTU, Duration::from_millis(1));
        }
        let rounds_back = 6.0 * 17.0 / 9.0;
        let exact = (20.0 + (100.0 - rounds_back)) * MTU as f64;
        assert!((window as f64 / exact - 1.0).abs() < 0.03, "{window} instead of {exact}");
    }

    #[test]
    fn the_window_aims_a_round_trip_ahead() {
        let mut cubic = Cubic::default();
        let window = cubic.cut(10_000 * MTU);
        cubic.grow(Time::ZERO, 1, window, MTU, RTT);
        let grown = cubic.grow(Time::ZERO + Duration::from_secs(1), window, window, MTU, RTT) as f64;
        let [then, ahead] = [1.0, 1.1].map(|at| curve(at, 10_000.0, 7_500f64.cbrt()));
        assert!((grown - ahead).abs() < 0.1 * (ahead - then), "{grown} instead of {ahead}, not {then}");
    }

    #[test]
    fn small_steps_add_up() {
        // One datagram acknowledged of a 100 MB window moves it by less than a byte.
        let mut cubic = Cubic::default();
        let start = 100_000_000;
        let mut window = cubic.cut(start);
        let now = Time::ZERO + Duration::from_millis(10);
        for _ in 0..1_000 {
            window = cubic.grow(now, MTU, window, MTU, Duration::from_millis(10));
        }
        assert!(window > start * 7 / 10, "{window}");
    }

    #[test]
    fn growth_is_at_most_half_a_window_each_round_trip() {
        let mut cubic = Cubic::default();
        let window = cubic.cut(100 * MTU);
        cubic.grow(Time::ZERO, 1, window, MTU, RTT);
        let grown = cubic.grow(Time::ZERO + Duration::from_secs(1000), window, window, MTU, RTT);
        assert!(grown <= window + window / 2 + MTU);
    }

    #[test]
    fn the_curve_stands_still_while_the_window_is_unused() {
        let busy = |idle: Duration| {
            let mut cubic = Cubic::default();
            let window = cubic.cut(1000 * MTU);
            cubic.grow(Time::ZERO, MTU, window, MTU, RTT);
            let at = Time::ZERO + Duration::from_secs(1);
            cubic.on_app_limited(at);
            cubic.on_app_limited(at + idle / 2);
            cubic.grow(at + idle, window, window, MTU, RTT)
        };
        assert_eq!(busy(Duration::ZERO), busy(Duration::from_secs(100)));
    }
}
