//! Congestion control (RFC 9002 section 7): how many bytes may be in flight on a path, and how fast
//! they may leave.
//!
//! Facts enter from recovery: sent, acknowledged, lost, marked by ECN. A window and a pace leave. There
//! are two families. `windowed` controllers enlarge a window until something is lost (NewReno, CUBIC)
//! or marked (Prague). `bbr` models the path, its rate and its delay, and sends by the model.

mod bbr;
mod pacer;
mod random_loss;
mod rate;
mod resume;
mod undo;
mod windowed;

use std::time::Duration;

use self::bbr::Bbr;
pub use self::bbr::Delivery;
pub use self::pacer::Pacer;
pub(crate) use self::rate::{Pace, Rate};
pub use self::resume::SavedPath;
use self::windowed::{AckedBytes, Windowed};
use crate::config::{CongestionAlgorithm, TransportConfig};
use crate::recovery::{Rtt, SentPacket};
use crate::time::Time;
use crate::trace::CongestionPhase;

/// The datagram size up to which the initial window is a number of datagrams; with larger ones it
/// is as many bytes as with these (section 7.2: 14720 bytes for 10).
const INITIAL_WINDOW_MTU: u64 = 1472;

/// The smallest window, in datagrams (kMinimumWindow).
// RFC 9002 section 7.2#4.
const MIN_WINDOW_PACKETS: u64 = 2;

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
    /// Whether losses by chance are told from others.
    pub random_loss: bool,
    /// Whether packets are paced.
    pub pacing: bool,
    /// Whether a path that was saved is resumed, and a path is observed to be saved.
    pub careful_resume: bool,
    /// What a controller that needs chance draws it from.
    pub seed: u64,
}

impl From<&TransportConfig> for Settings {
    fn from(config: &TransportConfig) -> Self {
        Self {
            initial_rtt: config.initial_rtt,
            algorithm: config.congestion,
            initial_window_packets: config.initial_window_packets,
            hystart: config.hystart,
            random_loss: config.random_loss,
            pacing: config.pacing,
            careful_resume: config.careful_resume,
            seed: 0,
        }
    }
}

/// Section 7.2: the initial window in bytes.
// RFC 9002 section 7.2#1.
fn initial_window(packets: u32, mtu: u64) -> u64 {
    let bytes = u64::from(packets) * mtu.min(INITIAL_WINDOW_MTU);
    bytes.clamp(MIN_WINDOW_PACKETS * mtu, MAX_WINDOW)
}

/// What an ACK frame says of the path as a whole.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ack<'a> {
    pub(crate) now: Time,
    /// What is in flight still.
    pub(crate) bytes_in_flight: u64,
    /// The round-trip time that the frame gave, if it gave one.
    pub(crate) sample: Option<Duration>,
    /// What all of them gave.
    pub(crate) rtt: &'a Rtt,
}

/// What an ACK frame says of marked packets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Marks {
    pub(crate) now: Time,
    /// When the largest packet that it acknowledges was sent.
    pub(crate) sent: Time,
    /// So many packets were sent with a mark and newly acknowledged.
    pub(crate) acked: u64,
    /// So many of them met congestion (CE).
    pub(crate) ce: u64,
    /// The smoothed round-trip time.
    pub(crate) smoothed: Duration,
}

/// The congestion controller of a path.
#[derive(Debug)]
pub struct Controller(Kind);

#[derive(Debug)]
enum Kind {
    Windowed(Box<Windowed>),
    Bbr(Box<Bbr>),
}

impl Controller {
    /// A controller at its start, for a path with datagrams of `mtu` bytes.
    pub fn new(settings: Settings, mtu: u16) -> Self {
        Self(match settings.algorithm {
            CongestionAlgorithm::Bbr => Kind::Bbr(Box::new(Bbr::new(settings, mtu))),
            _ => Kind::Windowed(Box::new(Windowed::new(settings, mtu))),
        })
    }

    /// The congestion window in bytes.
    pub const fn window(&self) -> u64 {
        match &self.0 {
            Kind::Windowed(windowed) => windowed.window(),
            Kind::Bbr(bbr) => bbr.window(),
        }
    }

    /// The datagram size in bytes.
    pub const fn mtu(&self) -> u16 {
        match &self.0 {
            Kind::Windowed(windowed) => windowed.mtu(),
            Kind::Bbr(bbr) => bbr.mtu(),
        }
    }

    /// How packets are to be paced.
    pub(crate) fn pace(&self, rtt: &Rtt) -> Pace {
        match &self.0 {
            Kind::Windowed(windowed) => windowed.pace(rtt),
            Kind::Bbr(bbr) => bbr.pace(rtt),
        }
    }

    /// What it does. `oldest` is when the oldest packet under way was sent.
    pub(crate) fn phase(&self, oldest: Option<Time>) -> CongestionPhase {
        match &self.0 {
            Kind::Windowed(windowed) => windowed.phase(oldest),
            Kind::Bbr(bbr) => bbr.phase(),
        }
    }

    /// The number of the last reaction to a loss, by which [`on_spurious_loss`](Self::on_spurious_loss)
    /// knows it again.
    pub(crate) const fn epoch(&self) -> u32 {
        match &self.0 {
            Kind::Windowed(windowed) => windowed.epoch(),
            Kind::Bbr(bbr) => bbr.epoch(),
        }
    }

    /// The path is one that was seen before (RFC 9959), if nothing was learnt of it yet. BBR makes no use of
    /// that: it finds the rate of a path in a few rounds.
    pub(crate) fn resume(&mut self, saved: SavedPath) {
        if let Kind::Windowed(windowed) = &mut self.0 {
            windowed.resume(saved);
        }
    }

    /// How many bytes the path is known to take in flight; 0 before it is.
    pub(crate) fn observed(&self) -> u64 {
        match &self.0 {
            Kind::Windowed(windowed) => windowed.observed(),
            Kind::Bbr(bbr) => bbr.observed(),
        }
    }

    /// Sending ended for lack of data, with this much in flight; or it did not.
    pub(crate) fn set_app_limited(&mut self, limited: bool, bytes_in_flight: u64) {
        match &mut self.0 {
            Kind::Windowed(windowed) => windowed.set_app_limited(limited),
            Kind::Bbr(bbr) => bbr.set_app_limited(limited, bytes_in_flight),
        }
    }

    /// The datagram size changed (section 7.2).
    pub(crate) fn set_mtu(&mut self, mtu: u16) {
        match &mut self.0 {
            Kind::Windowed(windowed) => windowed.set_mtu(mtu),
            Kind::Bbr(bbr) => bbr.set_mtu(mtu),
        }
    }

    /// A packet of `size` bytes was sent, so that this much is in flight. What is returned is to be kept
    /// until it is acknowledged or lost.
    pub(crate) fn on_sent(&mut self, now: Time, size: u16, bytes_in_flight: u64) -> Option<Delivery> {
        match &mut self.0 {
            Kind::Windowed(windowed) => {
                windowed.on_sent(bytes_in_flight);
                None
            }
            Kind::Bbr(bbr) => Some(bbr.on_sent(now, size, bytes_in_flight)),
        }
    }

    /// Packets were acknowledged; what was kept of them is in `deliveries`.
    pub(crate) fn on_acked<'a>(
        &mut self,
        ack: Ack<'_>,
        packets: impl Iterator<Item = &'a SentPacket>,
        deliveries: &[Delivery],
    ) {
        match &mut self.0 {
            Kind::Windowed(windowed) => {
                let mut acked: Option<AckedBytes> = None;
                for packet in packets {
                    let acked = acked.get_or_insert(AckedBytes { bytes: 0, all: 0, newest: packet.time });
                    acked.newest = acked.newest.max(packet.time);
                    acked.all += u64::from(packet.size);
                    // What was sent before the window was cut earns nothing (section 7.3.2).
                    if !windowed.in_recovery(packet.time) {
                        acked.bytes += u64::from(packet.size);
                    }
                }
                if let Some(acked) = acked {
                    windowed.on_acked(ack.now, acked, ack.bytes_in_flight, ack.sample, ack.rtt.smoothed);
                }
            }
            Kind::Bbr(bbr) => bbr.on_acked(ack, packets, deliveries),
        }
    }

    /// Packets were lost. Returns whether that is a new sign of congestion, and not one of those that
    /// were answered already: there is at most one a round trip (section 7.3.2).
    pub(crate) fn on_lost<'a>(
        &mut self,
        now: Time,
        rtt: &Rtt,
        packets: impl Iterator<Item = &'a SentPacket>,
        deliveries: &[Delivery],
    ) -> bool {
        match &mut self.0 {
            Kind::Windowed(windowed) => {
                let (newest, count) =
                    packets.fold((None, 0), |(newest, count), packet| (Some(packet.time).max(newest), count + 1));
                newest.is_some_and(|newest| windowed.on_loss(now, newest, count, rtt))
            }
            Kind::Bbr(bbr) => bbr.on_lost(now, rtt, packets, deliveries),
        }
    }

    /// Marked packets were acknowledged. Returns whether that is a new sign of congestion.
    pub(crate) fn on_marks(&mut self, marks: Marks) -> bool {
        match &mut self.0 {
            Kind::Windowed(windowed) => windowed.on_marks(marks),
            Kind::Bbr(bbr) => bbr.on_marks(marks),
        }
    }

    /// A packet whose loss belonged to the reaction `epoch` has arrived after all. When all of them
    /// have, it is taken back.
    pub(crate) fn on_spurious_loss(&mut self, epoch: Option<u32>) {
        match &mut self.0 {
            Kind::Windowed(windowed) => windowed.on_spurious_loss(epoch),
            Kind::Bbr(bbr) => bbr.on_spurious_loss(epoch),
        }
    }

    /// A packet whose loss belonged to the reaction `epoch` never arrived: the reaction stands.
    pub(crate) fn on_true_loss(&mut self, epoch: Option<u32>) {
        match &mut self.0 {
            Kind::Windowed(windowed) => windowed.on_true_loss(epoch),
            Kind::Bbr(bbr) => bbr.on_true_loss(epoch),
        }
    }

    /// Nothing came through for long (section 7.6).
    pub(crate) fn on_persistent_congestion(&mut self, now: Time) {
        match &mut self.0 {
            Kind::Windowed(windowed) => windowed.on_persistent_congestion(),
            Kind::Bbr(bbr) => bbr.on_persistent_congestion(now),
        }
    }
}

#[cfg(test)]
mod tests;
