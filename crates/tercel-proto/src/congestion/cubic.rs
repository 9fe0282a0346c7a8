//! CUBIC (RFC 9438), in integers.
//!
//! After a loss the window grows along a cubic curve of the time since: fast up to where the loss
//! was, flat around it, and then fast again. Where Reno would be faster (short round trips, small
//! windows), an estimate of Reno's window is followed instead. Growth depends on time, so flows of
//! different round-trip times share fairly.

use std::time::Duration;

use super::Acked;
use crate::time::Time;

/// The cut: beta = 0.7 (section 4.6).
const BETA_NUMERATOR: u64 = 7;
const BETA_DENOMINATOR: u64 = 10;

#[derive(Debug, Clone, Default)]
pub(super) struct Cubic {
    /// The window before the last cut (W_max), in bytes.
    w_max: u64,
    /// How long the curve takes back to `w_max` (K).
    k: Duration,
    /// When the curve began.
    epoch: Option<Time>,
    /// Reno's window as it would be (W_est), in bytes, and what was acknowledged of its next step.
    w_est: u64,
    reno_credit: u64,
    /// Bytes that growth has earned but not given, in units of 1/window.
    credit: u64,
    limited_since: Option<Time>,
}

impl Cubic {
    /// The window after a loss (sections 4.6 and 4.7).
    pub(super) fn on_loss(&mut self, window: u64, mtu: u64) -> u64 {
        // Fast convergence: a flow that could not reach its old window makes room for others.
        self.w_max = match window < self.w_max {
            true => window * (BETA_DENOMINATOR + BETA_NUMERATOR) / (2 * BETA_DENOMINATOR),
            false => window,
        };
        let cut = window * BETA_NUMERATOR / BETA_DENOMINATOR;
        // K = cbrt((W_max - cwnd) / C) with C = 0.4 segments per second cubed (section 4.2):
        // in milliseconds, cbrt(bytes / mtu * 2.5 * 10^9).
        let distance = self.w_max.saturating_sub(cut);
        let cubed = u128::from(distance) * 2_500_000_000 / u128::from(mtu);
        self.k = Duration::from_millis(cube_root(cubed));
        self.epoch = None;
        self.w_est = cut;
        self.reno_credit = 0;
        self.credit = 0;
        cut
    }

    /// The application did not fill the window: the curve waits (section 5.8).
    pub(super) fn on_app_limited(&mut self, now: Time) {
        self.limited_since.get_or_insert(now);
    }

    /// By how many bytes the window grows.
    pub(super) fn on_acked(&mut self, acked: &Acked<'_>, window: u64, mtu: u64) -> u64 {
        let now = acked.now;
        if let (Some(epoch), Some(since)) = (&mut self.epoch, self.limited_since.take()) {
            *epoch += now.since(since);
        }
        if self.epoch.is_none() && self.w_max < window {
            // Out of slow start without a loss: the curve begins at its flat part.
            self.w_max = window;
            self.k = Duration::ZERO;
            self.w_est = window;
        }
        let epoch = *self.epoch.get_or_insert(now);
        let reno = self.reno_window(acked.bytes, window, mtu);
        // The target is where the curve will be a round trip from now, at most half as much again
        // (section 4.4).
        let target = self.curve(now.since(epoch) + acked.rtt.smoothed, mtu).clamp(window, window + window / 2);
        if reno > target {
            return reno.saturating_sub(window);
        }
        // (target - window) / window for each byte acknowledged, without losing the remainders.
        self.credit += (target - window) * acked.bytes.min(window) / mtu.max(1);
        let growth = (u128::from(self.credit) * u128::from(mtu) / u128::from(window.max(1))) as u64;
        self.credit -= (u128::from(growth) * u128::from(window) / u128::from(mtu.max(1))) as u64;
        growth
    }

    /// Section 4.3: Reno with CUBIC's cut would grow by alpha segments a window.
    fn reno_window(&mut self, bytes: u64, window: u64, mtu: u64) -> u64 {
        // alpha = 3 (1 - beta) / (1 + beta) = 9/17, and 1 from where the loss was.
        let step = if self.w_est < self.w_max { mtu * 9 / 17 } else { mtu };
        self.reno_credit += bytes;
        while self.reno_credit >= window {
            self.reno_credit -= window;
            self.w_est += step;
        }
        self.w_est
    }

    /// W_cubic(t) = C (t - K)^3 + W_max (section 4.2), in bytes.
    fn curve(&self, t: Duration, mtu: u64) -> u64 {
        let (t, k) = (t.as_millis() as i128, self.k.as_millis() as i128);
        let offset = (t - k).clamp(-10_000_000, 10_000_000);
        // C = 0.4 per second cubed = 4 / 10^10 per millisecond cubed.
        let bytes = offset * offset * offset * 4 * i128::from(mtu) / 10_000_000_000;
        u64::try_from((i128::from(self.w_max) + bytes).max(0)).unwrap_or(u64::MAX >> 8).min(u64::MAX >> 8)
    }
}

/// The largest integer whose cube is at most `value`.
fn cube_root(value: u128) -> u64 {
    let mut root = 0u128;
    for bit in (0..42).rev() {
        let candidate = root | 1 << bit;
        if candidate * candidate * candidate <= value {
            root = candidate;
        }
    }
    root as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cube_roots_are_exact() {
        for root in [0u128, 1, 2, 3, 10, 999, 1_000_000] {
            let cube = root * root * root;
            assert_eq!(u128::from(cube_root(cube)), root);
            assert_eq!(u128::from(cube_root(cube + 1)), if root == 0 { 1 } else { root });
            if root > 0 {
                assert_eq!(u128::from(cube_root(cube - 1)), root - 1);
            }
        }
    }

    /// K for a window of 100 segments: cbrt(30 / 0.4) = 4.217 s; at K the curve is at W_max, at 0
    /// at the cut window.
    #[test]
    fn the_curve_is_that_of_the_rfc() {
        let (mut cubic, mtu) = (Cubic::default(), 1200);
        let cut = cubic.on_loss(100 * mtu, mtu);
        assert_eq!(cut, 70 * mtu);
        assert_eq!(cubic.k.as_millis(), 4217);
        assert_eq!(cubic.curve(cubic.k, mtu), 100 * mtu);
        assert!(cubic.curve(Duration::ZERO, mtu).abs_diff(cut) <= mtu / 10);
        // One second behind K: 0.4 segments more; ten seconds: 400.
        assert_eq!(cubic.curve(cubic.k + Duration::from_secs(1), mtu), 100 * mtu + mtu * 4 / 10);
        assert_eq!(cubic.curve(cubic.k + Duration::from_secs(10), mtu), 500 * mtu);
    }

    #[test]
    fn a_second_loss_below_the_first_makes_room() {
        let (mut cubic, mtu) = (Cubic::default(), 1000);
        cubic.on_loss(100 * mtu, mtu);
        cubic.on_loss(80 * mtu, mtu);
        assert_eq!(cubic.w_max, 68 * mtu);
    }
}
