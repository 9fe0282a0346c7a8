//! Congestion control (RFC 9002 section 7): how many bytes may be in flight on a path.
//!
//! Facts enter from recovery (sent, acknowledged, lost); the window leaves. What all controllers
//! share is here: slow start (which HyStart++ may end early), recovery periods, the
//! minimum, windows that are not used, persistent congestion, and taking back a cut that proves to
//! have been for nothing. What differs, growth after slow start and the depth of a cut, is an
//! `Avoidance`.

mod cubic;
mod hystart;
mod newreno;
mod pacer;

pub use pacer::Pacer;

use std::time::Duration;

use self::cubic::Cubic;
use self::hystart::HyStart;
use self::newreno::NewReno;
use crate::config::{CongestionAlgorithm, TransportConfig};
use crate::time::Time;

/// The smallest window, in datagrams (kMinimumWindow).
const MIN_WINDOW_PACKETS: u64 = 2;

/// The datagram size up to which the initial window is a number of datagrams; with larger ones it
/// is as many bytes as with these (section 7.2: 14720 bytes for 10).
const INITIAL_WINDOW_MTU: u64 = 1472;

/// The largest window; beyond what any path carries, and within what the arithmetic can.
const MAX_WINDOW: u64 = 1 << 40;

/// What recovery and its controllers need of the settings, kept for the paths to come.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// The round-trip time assumed before one is measured.
    pub initial_rtt: Duration,
    /// The controller.
    pub algorithm: CongestionAlgorithm,
    /// The initial window in datagrams.
    pub initial_window_packets: u32,
    /// Whether slow start may end early.
    pub hystart: bool,
    /// Whether packets are paced.
    pub pacing: bool,
}

impl From<&TransportConfig> for Settings {
    fn from(config: &TransportConfig) -> Self {
        Self {
            initial_rtt: config.initial_rtt,
            algorithm: config.congestion,
            initial_window_packets: config.initial_window_packets,
            hystart: config.hystart,
            pacing: config.pacing,
        }
    }
}

/// What an ACK frame acknowledged on the path.
#[derive(Debug, Clone, Copy)]
pub struct AckedBytes {
    /// How many bytes, without those sent before the window was last cut.
    pub bytes: u64,
    /// When the newest of the packets was sent, these included.
    pub newest: Time,
}

/// What tells one controller from another: congestion avoidance.
#[derive(Debug, Clone)]
enum Avoidance {
    NewReno(NewReno),
    Cubic(Cubic),
}

/// The state before a cut, to be restored should every loss since turn out to be a mere delay.
#[derive(Debug)]
struct Undo {
    window: u64,
    ssthresh: u64,
    recovery_start: Option<Time>,
    avoidance: Avoidance,
    /// Lost packets that have not arrived yet.
    missing: u32,
}

/// The congestion controller of a path.
#[derive(Debug)]
pub struct Controller {
    mtu: u64,
    initial_packets: u64,
    window: u64,
    ssthresh: u64,
    avoidance: Avoidance,
    hystart: Option<HyStart>,
    /// When the window was last cut. Losses of packets sent before belong to that cut.
    recovery_start: Option<Time>,
    /// Counts the cuts.
    epoch: u32,
    undo: Option<Undo>,
    app_limited: bool,
    usage: Usage,
}

/// How much of the window was used during this round trip and the last.
#[derive(Debug, Default)]
struct Usage {
    round_start: Time,
    peak: u64,
    last_peak: u64,
}

impl Controller {
    /// A controller in slow start for a path with datagrams of `mtu` bytes.
    pub fn new(settings: Settings, mtu: u16) -> Self {
        let mut controller = Self {
            mtu: u64::from(mtu).max(1),
            initial_packets: u64::from(settings.initial_window_packets),
            window: 0,
            ssthresh: u64::MAX,
            avoidance: match settings.algorithm {
                CongestionAlgorithm::Cubic => Avoidance::Cubic(Cubic::default()),
                CongestionAlgorithm::NewReno => Avoidance::NewReno(NewReno::default()),
            },
            hystart: settings.hystart.then(|| HyStart::new(settings.pacing)),
            recovery_start: None,
            epoch: 0,
            undo: None,
            app_limited: true,
            usage: Usage::default(),
        };
        controller.window = controller.initial_window();
        controller
    }

    /// Section 7.2.
    fn initial_window(&self) -> u64 {
        let bytes = self.initial_packets * self.mtu.min(INITIAL_WINDOW_MTU);
        bytes.clamp(self.min_window(), MAX_WINDOW)
    }

    const fn min_window(&self) -> u64 {
        MIN_WINDOW_PACKETS * self.mtu
    }

    /// The congestion window in bytes.
    pub const fn window(&self) -> u64 {
        self.window
    }

    /// The datagram size in bytes.
    pub const fn mtu(&self) -> u16 {
        self.mtu as u16
    }

    /// Whether the window grows by what is acknowledged.
    pub const fn in_slow_start(&self) -> bool {
        self.window < self.ssthresh
    }

    /// Whether a packet sent at `sent` was sent before the window was last cut (section 7.3.2).
    pub fn in_recovery(&self, sent: Time) -> bool {
        self.recovery_start.is_some_and(|start| sent <= start)
    }

    /// The number of the last cut.
    pub(crate) const fn epoch(&self) -> u32 {
        self.epoch
    }

    pub(crate) const fn set_app_limited(&mut self, limited: bool) {
        self.app_limited = limited;
    }

    /// The datagram size changed (section 7.2).
    pub(crate) fn set_mtu(&mut self, mtu: u16) {
        let untouched = self.ssthresh == u64::MAX && self.window == self.initial_window();
        self.mtu = u64::from(mtu).max(1);
        self.window = if untouched { self.initial_window() } else { self.window.max(self.min_window()) };
    }

    /// Packets were sent, so that this much is in flight.
    pub(crate) fn on_sent(&mut self, bytes_in_flight: u64) {
        self.usage.peak = self.usage.peak.max(bytes_in_flight);
    }

    /// Packets were acknowledged; `bytes_in_flight` are left. `sample` is the round-trip time that
    /// the ACK frame gave, if it gave one, and `smoothed` the smoothed one.
    pub(crate) fn on_acked(
        &mut self,
        now: Time,
        acked: AckedBytes,
        bytes_in_flight: u64,
        sample: Option<Duration>,
        smoothed: Duration,
    ) {
        let round_ended = acked.newest >= self.usage.round_start;
        let used = self.uses_window();
        if round_ended {
            self.usage = Usage { round_start: now, peak: bytes_in_flight, last_peak: self.usage.peak };
        }
        // RFC 9406 section 4.3: only for the first slow start.
        let hystart = self.hystart.as_mut().filter(|_| self.ssthresh == u64::MAX);
        let mut growth = acked.bytes;
        if let Some(hystart) = hystart {
            match hystart.on_acked(acked.bytes, self.mtu, sample, round_ended) {
                hystart::Verdict::Grow(bytes) => growth = bytes,
                hystart::Verdict::LeaveSlowStart => self.ssthresh = self.window,
            }
        }
        if acked.bytes == 0 {
            return;
        }
        if !used {
            if let Avoidance::Cubic(cubic) = &mut self.avoidance {
                cubic.on_app_limited(now);
            }
        } else if self.in_slow_start() {
            self.window = self.window.saturating_add(growth).min(self.ssthresh);
        } else {
            self.window = match &mut self.avoidance {
                Avoidance::NewReno(newreno) => newreno.grow(acked.bytes, self.window, self.mtu),
                Avoidance::Cubic(cubic) => cubic.grow(now, acked.bytes, self.window, self.mtu, smoothed),
            };
        }
        self.window = self.window.min(MAX_WINDOW);
    }

    /// Section 7.8: a window that is not used gives no reason to enlarge it. Half of it is use
    /// enough in slow start, where it doubles before a sender can fill it.
    fn uses_window(&self) -> bool {
        let peak = self.usage.peak.max(self.usage.last_peak);
        let wanted = if self.in_slow_start() { self.window / 2 } else { self.window.saturating_sub(3 * self.mtu) };
        !self.app_limited || peak >= wanted
    }

    /// `count` packets were lost, the newest of them sent at `newest`. Returns whether the window
    /// was cut: at most once a round trip (section 7.3.2).
    pub(crate) fn on_loss(&mut self, now: Time, newest: Time, count: u32) -> bool {
        let cut = !self.in_recovery(newest);
        if cut {
            self.undo = Some(Undo {
                window: self.window,
                ssthresh: self.ssthresh,
                recovery_start: self.recovery_start,
                avoidance: self.avoidance.clone(),
                missing: 0,
            });
            self.cut(now);
        }
        if let Some(undo) = &mut self.undo {
            undo.missing = undo.missing.saturating_add(count);
        }
        cut
    }

    /// A packet sent at `sent` met congestion without being lost. Returns whether the window was
    /// cut. Other than a loss, this mark cannot prove to be an error.
    pub(crate) fn on_ecn_ce(&mut self, now: Time, sent: Time) -> bool {
        self.undo = None;
        let cut = !self.in_recovery(sent);
        if cut {
            self.cut(now);
        }
        cut
    }

    fn cut(&mut self, now: Time) {
        self.epoch = self.epoch.wrapping_add(1);
        self.recovery_start = Some(now);
        let window = match &mut self.avoidance {
            Avoidance::NewReno(newreno) => newreno.cut(self.window),
            Avoidance::Cubic(cubic) => cubic.cut(self.window),
        };
        self.window = window.max(self.min_window());
        self.ssthresh = self.window;
    }

    /// A packet whose loss belonged to the cut `epoch` has arrived after all. When all of that cut
    /// have, it is taken back (RFC 9438 section 4.9).
    pub(crate) fn on_spurious_loss(&mut self, epoch: Option<u32>) {
        if epoch != Some(self.epoch) {
            return;
        }
        let Some(undo) = &mut self.undo else { return };
        undo.missing = undo.missing.saturating_sub(1);
        if undo.missing == 0
            && let Some(undo) = self.undo.take()
        {
            self.window = self.window.max(undo.window);
            self.ssthresh = undo.ssthresh;
            self.recovery_start = undo.recovery_start;
            self.avoidance = undo.avoidance;
        }
    }

    /// A packet whose loss belonged to the cut `epoch` never arrived: the cut stands.
    pub(crate) fn on_true_loss(&mut self, epoch: Option<u32>) {
        if epoch == Some(self.epoch) {
            self.undo = None;
        }
    }

    /// Section 7.6.2: the window falls to its minimum and slow start begins again, up to the
    /// threshold that the losses have set.
    pub(crate) fn on_persistent_congestion(&mut self) {
        self.window = self.min_window();
        self.recovery_start = None;
        self.undo = None;
        if let Avoidance::Cubic(cubic) = &mut self.avoidance {
            *cubic = Cubic::default();
        }
    }
}

#[cfg(test)]
mod tests;
