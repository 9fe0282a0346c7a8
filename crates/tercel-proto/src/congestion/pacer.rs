//! Pacing (RFC 9002 section 7.7): a window is spread over its round trip, in bursts large enough
//! for the system to take them in one call.
//!
//! A bucket of bytes fills at 5/4 of window/RTT (twice that in slow start, so that pacing does not
//! hold back growth) up to one burst. Sending may go on while anything is in the bucket, and may
//! overdraw it by one batch; it then waits until the bucket would again hold half a burst. So a
//! timer that is late, or coarse, costs no throughput.

use std::time::Duration;

use crate::time::Time;

/// A burst is what is sent in this time, but at least and at most so many datagrams.
const BURST_TIME: Duration = Duration::from_millis(2);
const MIN_BURST: u64 = 10;
const MAX_BURST: u64 = 256;

/// Spreads a window over its round trip.
#[derive(Debug)]
pub struct Pacer {
    enabled: bool,
    /// Bytes in the bucket; below zero when overdrawn.
    tokens: i64,
    filled_at: Option<Time>,
}

impl Pacer {
    /// A pacer with a full bucket.
    pub const fn new(enabled: bool) -> Self {
        Self { enabled, tokens: 0, filled_at: None }
    }

    /// `size` bytes were sent.
    pub const fn on_sent(&mut self, size: u16) {
        if self.enabled {
            self.tokens -= size as i64;
        }
    }

    /// `None` if something may be sent, or else when to ask again.
    pub fn check(&mut self, now: Time, rtt: Duration, window: u64, mtu: u16, slow_start: bool) -> Option<Time> {
        if !self.enabled {
            return None;
        }
        let mtu = u64::from(mtu);
        // Bytes a second.
        let gain = if slow_start { 250 } else { 125 };
        let rate = (u128::from(window) * gain * 10_000_000 / rtt.as_nanos().max(1)).max(u128::from(mtu));
        let rate = u64::try_from(rate).unwrap_or(u64::MAX);
        let burst = (u128::from(rate) * BURST_TIME.as_nanos() / 1_000_000_000) as u64;
        let burst = i64::try_from(burst.clamp(MIN_BURST * mtu, MAX_BURST * mtu)).unwrap_or(i64::MAX);
        self.tokens = match self.filled_at {
            None => burst,
            Some(at) => {
                let earned = u128::from(rate) * now.since(at).as_nanos() / 1_000_000_000;
                self.tokens.saturating_add(i64::try_from(earned).unwrap_or(i64::MAX)).min(burst)
            }
        };
        self.filled_at = Some(now);
        if self.tokens > 0 {
            return None;
        }
        let missing = (burst / 2 - self.tokens).unsigned_abs();
        let wait = u128::from(missing) * 1_000_000_000 / u128::from(rate);
        Some(now + Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX).max(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends as much as it may for a second of virtual time, with timers that are up to
    /// `lateness` late.
    fn sent_in_a_second(window: u64, rtt: Duration, lateness: Duration) -> u64 {
        let (mut pacer, mut now, mut sent) = (Pacer::new(true), Time::ZERO, 0);
        while now < Time::ZERO + Duration::from_secs(1) {
            match pacer.check(now, rtt, window, 1200, false) {
                None => {
                    pacer.on_sent(1200);
                    sent += 1200;
                }
                Some(until) => {
                    assert!(until > now);
                    now = until + lateness;
                }
            }
        }
        sent
    }

    #[test]
    fn a_window_takes_four_fifths_of_a_round_trip() {
        for (window, rtt) in [(120_000, 100), (1_200_000, 50), (12_000, 20)] {
            let expected = window * 1000 / rtt * 5 / 4;
            let sent = sent_in_a_second(window, Duration::from_millis(rtt), Duration::ZERO);
            assert!(sent >= expected && sent <= expected + expected / 4 + 20 * 1200, "{sent} for {expected}");
        }
    }

    #[test]
    fn late_timers_cost_little() {
        let rtt = Duration::from_millis(20);
        let sent = sent_in_a_second(400_000, rtt, Duration::from_micros(500));
        assert!(sent >= 400_000 * 50, "{sent}");
    }

    #[test]
    fn nothing_waits_when_pacing_is_off() {
        let mut pacer = Pacer::new(false);
        for _ in 0..1000 {
            assert_eq!(pacer.check(Time::ZERO, Duration::from_millis(1), 2400, 1200, false), None);
            pacer.on_sent(1200);
        }
    }
}
