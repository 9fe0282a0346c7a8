//! Cross traffic: a flow with the congestion control of Reno TCP (RFC 5681), which always has something
//! to send. Its packets exist in the bottleneck's queue only.

use std::time::{Duration, Instant};

/// The sender.
pub struct Cross {
    window: f64,
    threshold: f64,
    in_flight: u32,
    halved: Option<Instant>,
    arrived: u64,
}

impl Default for Cross {
    fn default() -> Self {
        Self { window: 10.0, threshold: f64::INFINITY, in_flight: 0, halved: None, arrived: 0 }
    }
}

impl Cross {
    /// The size of its packets.
    pub const PACKET: usize = 1472;

    /// Whether the window has room; if so, a packet is taken to be under way.
    pub fn may_send(&mut self) -> bool {
        let may = f64::from(self.in_flight) < self.window;
        self.in_flight += u32::from(may);
        may
    }

    /// A packet has arrived, or was lost.
    pub fn learns(&mut self, arrived: bool, now: Instant) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if arrived {
            self.arrived += 1;
            self.window += if self.window < self.threshold { 1.0 } else { 1.0 / self.window };
            return;
        }
        // Once in a round trip.
        if self.halved.is_none_or(|at| now.duration_since(at) > Duration::from_millis(60)) {
            self.window = (self.window / 2.0).max(2.0);
            self.threshold = self.window;
            self.halved = Some(now);
        }
    }

    /// What it has brought.
    pub fn bytes(&self) -> u64 {
        self.arrived * Self::PACKET as u64
    }
}
