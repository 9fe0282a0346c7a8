//! Congestion control (RFC 9002 section 7): how many bytes may be under way.
//!
//! What every controller shares is here: the window, slow start (with HyStart++), recovery periods,
//! persistent congestion, and taking back a cut that proves to have been for nothing. What differs,
//! growth in congestion avoidance and the depth of a cut, is an [`Avoidance`].

mod cubic;
mod hystart;
mod newreno;
mod pacer;

pub use pacer::Pacer;

use tercel_wire::SpaceId;

use self::cubic::Cubic;
use self::hystart::HyStart;
use self::newreno::NewReno;
use crate::config::CongestionAlgorithm;
use crate::recovery::Rtt;
use crate::time::Time;

/// The smallest window, in packets (kMinimumWindow).
const MIN_WINDOW_PACKETS: u64 = 2;

/// Packets newly acknowledged, in sum.
#[derive(Debug, Clone, Copy)]
pub struct Acked<'a> {
    /// Now.
    pub now: Time,
    /// Their bytes.
    pub bytes: u64,
    /// When the newest of them was sent.
    pub largest_sent: Time,
    /// Its number.
    pub largest_number: u64,
    /// Whether the application rather than the window limits what is under way.
    pub app_limited: bool,
    /// Bytes in flight before the acknowledgement.
    pub in_flight_before: u64,
    /// The round-trip time.
    pub rtt: &'a Rtt,
}

/// What tells one congestion controller from another.
#[derive(Debug, Clone)]
enum Avoidance {
    NewReno(NewReno),
    Cubic(Cubic),
}

/// What a cut of the window changed, to be restored if it was for nothing.
#[derive(Debug, Clone)]
struct Undo {
    window: u64,
    ssthresh: u64,
    avoidance: Avoidance,
}

/// The congestion controller of a path.
#[derive(Debug)]
pub struct Controller {
    window: u64,
    ssthresh: u64,
    mtu: u64,
    /// Losses of packets sent before this time belong to a cut already made.
    recovery_start: Option<Time>,
    avoidance: Avoidance,
    hystart: Option<HyStart>,
    undo: Option<Undo>,
    last_number: u64,
}

impl Controller {
    /// A controller in slow start, with a window of `initial_packets` datagrams, at most 14720
    /// bytes or two datagrams if larger (section 7.2) for the default of 10.
    pub fn new(algorithm: CongestionAlgorithm, hystart: bool, initial_packets: u32, mtu: u16) -> Self {
        let mtu = u64::from(mtu);
        Self {
            window: (u64::from(initial_packets) * mtu).max(MIN_WINDOW_PACKETS * mtu),
            ssthresh: u64::MAX,
            mtu,
            recovery_start: None,
            avoidance: match algorithm {
                CongestionAlgorithm::Cubic => Avoidance::Cubic(Cubic::default()),
                CongestionAlgorithm::NewReno => Avoidance::NewReno(NewReno::default()),
            },
            hystart: hystart.then(HyStart::default),
            undo: None,
            last_number: 0,
        }
    }

    /// The congestion window in bytes.
    pub const fn window(&self) -> u64 {
        self.window
    }

    /// Whether the window still grows by what is acknowledged.
    pub const fn in_slow_start(&self) -> bool {
        self.window < self.ssthresh
    }

    /// The datagram size changed.
    pub fn set_mtu(&mut self, mtu: u16) {
        self.mtu = u64::from(mtu);
        self.window = self.window.max(MIN_WINDOW_PACKETS * self.mtu);
    }

    /// A packet that counts was sent.
    pub const fn on_packet_sent(&mut self, number: u64, space: SpaceId) {
        if matches!(space, SpaceId::Data) {
            self.last_number = number;
        }
    }

    /// A round-trip time sample was taken.
    pub fn on_rtt(&mut self, sample: std::time::Duration) {
        if let Some(hystart) = &mut self.hystart {
            hystart.on_rtt(sample);
        }
    }

    /// Packets were acknowledged.
    pub fn on_acked(&mut self, acked: Acked<'_>) {
        if self.recovery_start.is_some_and(|start| acked.largest_sent <= start) {
            return;
        }
        // Section 7.8: a window that is not used does not grow. In slow start half used is used.
        let used = if self.in_slow_start() { acked.in_flight_before * 2 } else { acked.in_flight_before + 3 * self.mtu };
        let unused = acked.app_limited && used < self.window;
        if unused {
            if let Avoidance::Cubic(cubic) = &mut self.avoidance {
                cubic.on_app_limited(acked.now);
            }
            return;
        }
        if self.in_slow_start() {
            self.grow_in_slow_start(&acked);
        } else {
            self.window += match &mut self.avoidance {
                Avoidance::NewReno(newreno) => newreno.on_acked(acked.bytes, self.window, self.mtu),
                Avoidance::Cubic(cubic) => cubic.on_acked(&acked, self.window, self.mtu),
            };
        }
    }

    fn grow_in_slow_start(&mut self, acked: &Acked<'_>) {
        let growth = match &mut self.hystart {
            Some(hystart) => hystart.on_acked(acked.bytes, acked.largest_number, self.last_number),
            None => hystart::Growth::Grow(acked.bytes),
        };
        match growth {
            hystart::Growth::Grow(bytes) => self.window = self.window.saturating_add(bytes).min(self.ssthresh),
            hystart::Growth::LeaveSlowStart => self.ssthresh = self.window,
        }
    }

    /// A packet sent at `sent` was lost, or marked CE. Returns whether the window was cut: once a
    /// round trip (section 7.3.2).
    pub fn on_loss(&mut self, now: Time, sent: Time, _in_flight: u64) -> bool {
        if self.recovery_start.is_some_and(|start| sent <= start) {
            return false;
        }
        self.undo =
            Some(Undo { window: self.window, ssthresh: self.ssthresh, avoidance: self.avoidance.clone() });
        self.recovery_start = Some(now);
        let cut = match &mut self.avoidance {
            Avoidance::NewReno(newreno) => newreno.on_loss(self.window),
            Avoidance::Cubic(cubic) => cubic.on_loss(self.window, self.mtu),
        };
        self.window = cut.max(MIN_WINDOW_PACKETS * self.mtu);
        self.ssthresh = self.window;
        true
    }

    /// Packets that were declared lost arrived after all: the last cut was for nothing.
    pub fn on_spurious_loss(&mut self) {
        let Some(undo) = self.undo.take() else { return };
        if undo.window > self.window {
            self.window = undo.window;
            self.ssthresh = undo.ssthresh;
            self.avoidance = undo.avoidance;
            self.recovery_start = None;
        }
    }

    /// Section 7.6.2: the window falls to its minimum, and slow start begins again.
    pub fn on_persistent_congestion(&mut self) {
        self.window = MIN_WINDOW_PACKETS * self.mtu;
        self.recovery_start = None;
        self.undo = None;
        if let Avoidance::Cubic(cubic) = &mut self.avoidance {
            *cubic = Cubic::default();
        }
        if let Some(hystart) = &mut self.hystart {
            *hystart = HyStart::default();
        }
    }
}

#[cfg(test)]
mod tests;
