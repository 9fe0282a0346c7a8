//! Controllers with a window that grows until there is a sign of congestion.
//!
//! What all of them share is here: slow start (which HyStart++ may end early), recovery periods, the
//! minimum, windows that are not used, persistent congestion, and taking back a cut that proves to
//! have been for nothing. What differs, growth after slow start and the depth of a cut, is an
//! `Avoidance`.

mod cubic;
mod hystart;
mod newreno;
mod prague;

use std::time::Duration;

use self::cubic::Cubic;
use self::hystart::HyStart;
use self::newreno::NewReno;
use self::prague::Prague;
use super::random_loss::RandomLoss;
use super::resume::{Acked, Resume, SavedPath, Step};
use super::undo::Undo;
use super::{MAX_WINDOW, MIN_WINDOW_PACKETS, Marks, Pace, Rate, Settings, initial_window};
use crate::config::CongestionAlgorithm;
use crate::recovery::Rtt;
use crate::time::Time;
use crate::trace::CongestionPhase;

/// What is released at once is what the rate gives in this time.
const BURST: Duration = Duration::from_millis(1);

/// The same where a millisecond is what a queue may hold.
const SHORT_BURST: Duration = Duration::from_micros(250);

/// What an ACK frame acknowledged on the path.
#[derive(Debug, Clone, Copy)]
pub(super) struct AckedBytes {
    /// How many bytes, without those sent before the window was last cut.
    pub(super) bytes: u64,
    /// How many with those.
    pub(super) all: u64,
    /// When the newest of the packets was sent, these included.
    pub(super) newest: Time,
}

/// What tells one controller from another: congestion avoidance.
#[derive(Debug, Clone)]
// RFC 9002 section 7#1: CUBIC is that of RFC 9438.
enum Avoidance {
    NewReno(NewReno),
    Cubic(Cubic),
    Prague(Prague),
}

/// The state before a cut.
#[derive(Debug)]
struct Before {
    window: u64,
    ssthresh: u64,
    recovery_start: Option<Time>,
    avoidance: Avoidance,
}

/// A controller with a window.
#[derive(Debug)]
pub(super) struct Windowed {
    mtu: u64,
    initial_packets: u32,
    window: u64,
    ssthresh: u64,
    avoidance: Avoidance,
    hystart: Option<HyStart>,
    /// When the window was last cut. Losses of packets sent before belong to that cut.
    recovery_start: Option<Time>,
    undo: Undo<Before>,
    app_limited: bool,
    usage: Usage,
    /// The resumption of a path that was seen before.
    resume: Option<Resume>,
    /// `None` where every loss is a sign of congestion.
    random_loss: Option<Box<RandomLoss>>,
}

/// How much of the window was used during this round trip and the last.
#[derive(Debug, Default)]
struct Usage {
    round_start: Time,
    peak: u64,
    last_peak: u64,
}

impl Windowed {
    /// A controller in slow start for a path with datagrams of `mtu` bytes.
    pub(super) fn new(settings: Settings, mtu: u16) -> Self {
        let mut controller = Self {
            mtu: u64::from(mtu).max(1),
            initial_packets: settings.initial_window_packets,
            window: 0,
            ssthresh: u64::MAX,
            avoidance: match settings.algorithm {
                CongestionAlgorithm::NewReno => Avoidance::NewReno(NewReno::default()),
                CongestionAlgorithm::Prague => Avoidance::Prague(Prague::default()),
                _ => Avoidance::Cubic(Cubic::default()),
            },
            hystart: settings.hystart.then(|| HyStart::new(settings.pacing)),
            recovery_start: None,
            undo: Undo::default(),
            app_limited: true,
            usage: Usage::default(),
            resume: None,
            random_loss: settings.random_loss.then(Box::default),
        };
        controller.window = controller.initial_window();
        controller
    }

    fn initial_window(&self) -> u64 {
        initial_window(self.initial_packets, self.mtu)
    }

    const fn min_window(&self) -> u64 {
        MIN_WINDOW_PACKETS * self.mtu
    }

    /// The congestion window in bytes.
    pub(super) const fn window(&self) -> u64 {
        self.window
    }

    /// The datagram size in bytes.
    pub(super) const fn mtu(&self) -> u16 {
        self.mtu as u16
    }

    /// Whether the window grows by what is acknowledged.
    const fn in_slow_start(&self) -> bool {
        self.window < self.ssthresh
    }

    /// Whether a packet sent at `sent` was sent before the window was last cut (section 7.3.2).
    pub(super) fn in_recovery(&self, sent: Time) -> bool {
        self.recovery_start.is_some_and(|start| sent <= start)
    }

    /// The number of the last cut.
    pub(super) const fn epoch(&self) -> u32 {
        self.undo.epoch()
    }

    /// Section 7.7: a quarter more than the window each round trip, or twice of it in slow start, which
    /// has to double it. Prague, for whose queue a quarter is much, sends little more than the window.
    pub(super) fn pace(&self, rtt: &Rtt) -> Pace {
        let unvalidated = self.resume.is_some_and(|resume| resume.is_unvalidated());
        let (percent, burst) = match (&self.avoidance, self.in_slow_start()) {
            // RFC 9959: evenly over the round trip.
            _ if unvalidated => (100, BURST),
            (Avoidance::Prague(_), slow_start) => (if slow_start { 200 } else { 103 }, SHORT_BURST),
            (_, true) => (200, BURST),
            (_, false) => (125, BURST),
        };
        Pace { rate: Rate::new(self.window / 4 * percent / 25, rtt.smoothed), burst, least: 1 }
    }

    pub(super) fn phase(&self, oldest: Option<Time>) -> CongestionPhase {
        match (oldest.is_some_and(|oldest| self.in_recovery(oldest)), self.in_slow_start()) {
            (true, _) => CongestionPhase::Recovery,
            (false, true) => CongestionPhase::SlowStart,
            (false, false) => CongestionPhase::Avoidance,
        }
    }

    pub(super) fn resume(&mut self, saved: SavedPath) {
        if self.is_untouched() {
            self.resume = Some(Resume::new(saved));
        }
    }

    /// What was in flight in the last round; a window alone may be more than the path takes.
    pub(super) fn observed(&self) -> u64 {
        if self.resume.is_some() { 0 } else { self.window.min(self.usage.last_peak) }
    }

    fn is_untouched(&self) -> bool {
        self.ssthresh == u64::MAX && self.window == self.initial_window()
    }

    pub(super) const fn set_app_limited(&mut self, limited: bool) {
        self.app_limited = limited;
    }

    /// The datagram size changed (section 7.2).
    // RFC 9002 section 7.2#2#3.
    pub(super) fn set_mtu(&mut self, mtu: u16) {
        let untouched = self.is_untouched();
        self.mtu = u64::from(mtu).max(1);
        self.window = if untouched { self.initial_window() } else { self.window.max(self.min_window()) };
    }

    /// Packets were sent, so that this much is in flight.
    pub(super) fn on_sent(&mut self, bytes_in_flight: u64) {
        self.usage.peak = self.usage.peak.max(bytes_in_flight);
    }

    /// Packets were acknowledged; `bytes_in_flight` are left. `sample` is the round-trip time that
    /// the ACK frame gave, if it gave one, and `smoothed` the smoothed one.
    pub(super) fn on_acked(
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
        if self.go_on_resuming(now, &acked, bytes_in_flight, sample, smoothed) || acked.bytes == 0 {
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
                Avoidance::Prague(prague) => prague.grow(acked.bytes, self.window, self.mtu, smoothed),
            };
        }
        self.window = self.window.min(MAX_WINDOW);
    }

    /// Returns whether the window is decided by resumption.
    fn go_on_resuming(
        &mut self,
        now: Time,
        acked: &AckedBytes,
        in_flight: u64,
        sample: Option<Duration>,
        smoothed: Duration,
    ) -> bool {
        let Some(resume) = &mut self.resume else { return false };
        let ack = Acked {
            now,
            bytes: acked.all,
            newest: acked.newest,
            in_flight,
            sample,
            smoothed,
            window: self.window,
            initial: initial_window(self.initial_packets, self.mtu),
            limited: !self.app_limited,
        };
        match resume.on_acked(ack) {
            Step::Wait => !resume.may_grow(),
            Step::Window(window) => {
                self.window = window.clamp(self.min_window(), MAX_WINDOW);
                true
            }
            Step::Over { threshold } => {
                if let Some(threshold) = threshold {
                    self.ssthresh = threshold.max(self.window);
                }
                self.resume = None;
                false
            }
        }
    }

    /// Section 7.8: a window that is not used gives no reason to enlarge it. Half of it is use
    /// enough in slow start, where it doubles before a sender can fill it.
    // RFC 9002 section 7.8#1.
    fn uses_window(&self) -> bool {
        let peak = self.usage.peak.max(self.usage.last_peak);
        let wanted = if self.in_slow_start() { self.window / 2 } else { self.window.saturating_sub(3 * self.mtu) };
        !self.app_limited || peak >= wanted
    }

    /// `count` packets were lost, the newest of them sent at `newest`. Returns whether the window
    /// was cut: at most once a round trip (section 7.3.2).
    // RFC 9002 section 7.3.1#1.
    pub(super) fn on_loss(&mut self, now: Time, newest: Time, count: u32, rtt: &Rtt) -> bool {
        let packets = self.window / self.mtu;
        // RFC 9959: what a jump was worth is for losses to judge.
        let random_loss = self.random_loss.as_mut().filter(|_| self.resume.is_none());
        let chance = random_loss.is_some_and(|losses| losses.is_chance(now, newest, count, packets, rtt));
        let cut = !chance && !self.in_recovery(newest);
        if cut {
            let before = Before {
                window: self.window,
                ssthresh: self.ssthresh,
                recovery_start: self.recovery_start,
                avoidance: self.avoidance.clone(),
            };
            self.cut(now, Some(before));
        }
        self.undo.lost(count);
        cut
    }

    /// Marked packets were acknowledged. Returns whether the window was cut. Other than a loss, a mark
    /// cannot prove to be an error.
    // RFC 9002 section 7.3.1#1.
    pub(super) fn on_marks(&mut self, marks: Marks) -> bool {
        let recovers = self.in_recovery(marks.sent);
        if let (Avoidance::Prague(prague), None) = (&mut self.avoidance, &self.resume) {
            let window = prague.on_marks(marks, self.window).filter(|_| !recovers);
            if let Some(window) = window {
                self.undo.begin(None);
                self.window = window.max(self.min_window());
                self.ssthresh = self.window;
            }
            return window.is_some();
        }
        if marks.ce == 0 {
            return false;
        }
        self.undo.settle();
        if !recovers {
            self.cut(marks.now, None);
        }
        !recovers
    }

    // RFC 9002 section 7.3.2#1#2: half for NewReno, and seven tenths for CUBIC (RFC 9438 section 4.6).
    fn cut(&mut self, now: Time, before: Option<Before>) {
        self.recovery_start = Some(now);
        if let Some(window) = self.resume.as_mut().and_then(|resume| resume.on_congestion(now)) {
            // RFC 9959: a retreat is for good.
            self.undo.begin(None);
            self.window = window.max(self.min_window());
            self.ssthresh = self.window;
            return;
        }
        self.resume = None;
        self.undo.begin(before);
        let window = match &mut self.avoidance {
            Avoidance::NewReno(newreno) => newreno.cut(self.window),
            Avoidance::Cubic(cubic) => cubic.cut(self.window),
            Avoidance::Prague(prague) => prague.cut(self.window),
        };
        self.window = window.max(self.min_window());
        self.ssthresh = self.window;
    }

    /// A packet whose loss belonged to the cut `epoch` has arrived after all. When all of that cut
    /// have, it is taken back (RFC 9438 section 4.9).
    pub(super) fn on_spurious_loss(&mut self, epoch: Option<u32>) {
        if let Some(before) = self.undo.arrived(epoch) {
            self.window = self.window.max(before.window);
            self.ssthresh = before.ssthresh;
            self.recovery_start = before.recovery_start;
            self.avoidance = before.avoidance;
        }
    }

    /// A packet whose loss belonged to the cut `epoch` never arrived: the cut stands.
    pub(super) fn on_true_loss(&mut self, epoch: Option<u32>) {
        self.undo.gone(epoch);
    }

    /// Section 7.6.2: the window falls to its minimum and slow start begins again, up to the
    /// threshold that the losses have set.
    // RFC 9002 section 7.6.2#4.
    pub(super) fn on_persistent_congestion(&mut self) {
        self.window = self.min_window();
        self.resume = None;
        self.recovery_start = None;
        self.undo.settle();
        if let Avoidance::Cubic(cubic) = &mut self.avoidance {
            *cubic = Cubic::default();
        }
    }
}

#[cfg(test)]
impl Windowed {
    /// The same in congestion avoidance, with this window.
    pub(super) fn avoiding(self, window: u64) -> Self {
        Self { window, ssthresh: window, ..self }
    }
}

#[cfg(test)]
mod tests;
