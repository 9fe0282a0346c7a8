//! The packets of one space that are under way, found by number.
//!
//! Numbers are nearly consecutive, so the packets lie in a ring where the place follows from the
//! number. Everything more than the packet threshold below the largest acknowledged number is
//! settled by then and has left the ring at its front; so an ACK frame, however far its ranges
//! reach down, costs no more than the packets that it newly acknowledges.
//!
//! Slots leave the front in order of number, which is also when runs of losses are measured, for
//! persistent congestion (RFC 9002 section 7.6).
//!
//! What the packets carried, and what the congestion controller remembers of them, lies in [rings](super::attached) beside.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::time::Duration;

use tercel_wire::EncryptionLevel;

use super::AckOutcome;
use super::attached::{Attached, Stretch};
use crate::congestion::Delivery;
use crate::frames::SentFrame;
use crate::time::Time;

/// A packet this far below the largest acknowledged number is lost (kPacketThreshold, RFC 9002
/// section 6.1.1).
// RFC 9002 section 6.1.1#1#2.
pub const PACKET_THRESHOLD: u64 = 3;

/// How many skipped packet numbers are remembered.
const MAX_SKIPPED: usize = 8;

/// A packet that was sent, and what it carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SentPacket {
    /// The packet number.
    pub number: u64,
    /// When it was sent.
    pub time: Time,
    /// The size in bytes, with header and AEAD tag.
    pub size: u16,
    /// The encryption level, which also names the packet number space.
    pub level: EncryptionLevel,
    /// The path that it was sent on.
    pub path: u32,
    /// Whether the peer must acknowledge it.
    pub ack_eliciting: bool,
    /// Whether it counts as in flight: it is ack-eliciting or holds PADDING (RFC 9002 section 2).
    pub in_flight: bool,
    /// Whether it was marked ECT(0) or ECT(1).
    pub ecn_marked: bool,
    /// Whether it probes for a larger datagram size, so that its loss is no sign of congestion (RFC
    /// 9000 section 14.4).
    pub mtu_probe: bool,
    /// Where that is which the congestion controller remembers of it, if it does; recovery fills it in.
    pub delivery: Stretch,
    /// Which frames are those that it carried; recovery fills it in.
    pub frames: Stretch,
}

#[derive(Debug)]
enum Slot {
    /// Under way.
    Sent(SentPacket),
    Acked,
    /// Lost; with the time of sending if it counts for persistent congestion.
    Lost(Option<Time>),
    /// Never sent, or taken back without a verdict.
    Void,
}

/// The packets of a space that are under way.
#[derive(Debug, Default)]
pub(super) struct SentWindow {
    /// The number of the first slot.
    base: u64,
    slots: VecDeque<Slot>,
    frames: Attached<SentFrame>,
    deliveries: Attached<Delivery>,
    skipped: VecDeque<u64>,
    largest_acked: Option<u64>,
    loss_time: Option<Time>,
    ack_eliciting: usize,
    /// When the first packet of the current run of losses was sent.
    run_start: Option<Time>,
    /// When the newest packet of another space that was acknowledged was sent.
    acked_elsewhere: Option<Time>,
    longest_run: Duration,
}

impl SentWindow {
    /// The lowest number never sent.
    pub(super) fn next_number(&self) -> u64 {
        self.base + self.slots.len() as u64
    }

    /// All packets below are settled.
    pub(super) const fn base(&self) -> u64 {
        self.base
    }

    /// When the oldest packet below the largest acknowledged is lost, if nothing comes before.
    pub(super) const fn loss_time(&self) -> Option<Time> {
        self.loss_time
    }

    pub(super) const fn has_ack_eliciting(&self) -> bool {
        self.ack_eliciting > 0
    }

    /// The packets under way.
    pub(super) fn packets(&self) -> impl Iterator<Item = &SentPacket> {
        self.slots.iter().filter_map(|slot| match slot {
            Slot::Sent(packet) => Some(packet),
            _ => None,
        })
    }

    /// Adds a packet, its frames, and what the congestion controller remembers of it. Its number must be above all before it;
    /// numbers in between count as skipped.
    // RFC 9000 section 17.2.3#2.
    pub(super) fn push(&mut self, mut packet: SentPacket, frames: &[SentFrame], delivery: Option<Delivery>) {
        if packet.number < self.next_number() {
            debug_assert!(false, "packet numbers go up");
            return;
        }
        for number in self.next_number()..packet.number {
            self.slots.push_back(Slot::Void);
            if self.skipped.len() == MAX_SKIPPED {
                self.skipped.pop_front();
            }
            self.skipped.push_back(number);
        }
        self.ack_eliciting += usize::from(packet.ack_eliciting);
        packet.frames = self.frames.push(frames);
        packet.delivery = self.deliveries.push(delivery.as_slice());
        self.slots.push_back(Slot::Sent(packet));
    }

    /// Whether the range holds a number that was skipped: proof that the peer acknowledges what it
    /// never received (RFC 9000 section 21.4).
    // RFC 9000 section 13.1#2.
    pub(super) fn was_skipped(&self, range: &RangeInclusive<u64>) -> bool {
        self.skipped.iter().any(|number| range.contains(number))
    }

    /// Takes the packets of `range` out as acknowledged.
    pub(super) fn acknowledge(&mut self, range: &RangeInclusive<u64>, outcome: &mut AckOutcome) {
        let (first, end) = ((*range.start()).max(self.base), range.end().saturating_add(1).min(self.next_number()));
        if first >= end {
            return;
        }
        for slot in self.slots.range_mut((first - self.base) as usize..(end - self.base) as usize) {
            if let Slot::Sent(packet) = slot {
                self.ack_eliciting -= usize::from(packet.ack_eliciting);
                let packet = hand_over(packet, &self.frames, &self.deliveries, outcome);
                outcome.acked.push(packet);
                *slot = Slot::Acked;
            }
        }
    }

    /// Lets go of room that is not in use.
    pub(super) fn rest(&mut self) {
        self.slots.shrink_to_fit();
        self.frames.rest();
        self.deliveries.rest();
        self.skipped.shrink_to_fit();
    }

    /// Notes the largest number of an ACK frame. Returns whether it is a new one.
    pub(super) fn raise_largest_acked(&mut self, largest: u64) -> bool {
        let raised = self.largest_acked.is_none_or(|known| known < largest);
        if raised {
            self.largest_acked = Some(largest);
        }
        raised
    }

    /// Takes out what is lost by now (RFC 9002 section 6.1) and notes when the next packet will be.
    /// `counts` tells whether a lost packet counts for persistent congestion.
    pub(super) fn detect_losses(
        &mut self,
        now: Time,
        delay: Duration,
        counts: impl Fn(&SentPacket) -> bool,
        outcome: &mut AckOutcome,
    ) {
        self.loss_time = None;
        let Some(largest) = self.largest_acked else { return };
        let below = (largest.saturating_sub(self.base) as usize).min(self.slots.len());
        for slot in self.slots.range_mut(..below) {
            let Slot::Sent(packet) = slot else { continue };
            let lost_at = packet.time + delay;
            if packet.number + PACKET_THRESHOLD > largest && lost_at > now {
                // Packets are sent in order of number, so none behind this one can be lost.
                // RFC 9002 section 6.1.2#3.
                self.loss_time = Some(lost_at);
                break;
            }
            // RFC 9002 section 6.1.2#1.
            let record = Slot::Lost(counts(packet).then_some(packet.time));
            self.ack_eliciting -= usize::from(packet.ack_eliciting);
            let packet = hand_over(packet, &self.frames, &self.deliveries, outcome);
            outcome.lost.push(packet);
            *slot = record;
        }
        self.trim();
    }

    /// Drops the settled slots at the front.
    fn trim(&mut self) {
        while let Some(slot) = self.slots.front() {
            match slot {
                Slot::Sent(_) => break,
                Slot::Acked => self.run_start = None,
                Slot::Lost(Some(time)) if self.acked_elsewhere < Some(*time) => {
                    let start = *self.run_start.get_or_insert(*time);
                    self.longest_run = self.longest_run.max(time.since(start));
                }
                Slot::Lost(_) | Slot::Void => {}
            }
            self.slots.pop_front();
            self.base += 1;
        }
        let (frame, delivery) = match self.slots.front() {
            Some(Slot::Sent(packet)) => (packet.frames.first, packet.delivery.first),
            _ => (self.frames.end(), self.deliveries.end()),
        };
        self.frames.trim(frame);
        self.deliveries.trim(delivery);
    }

    /// The longest time between two lost packets without an acknowledged one in between, among the
    /// runs that ended or grew since the last call.
    pub(super) const fn take_longest_run(&mut self) -> Duration {
        std::mem::replace(&mut self.longest_run, Duration::ZERO)
    }

    /// A packet sent at `time` was acknowledged in another space: no run reaches across it.
    pub(super) fn break_run(&mut self, time: Time) {
        self.acked_elsewhere = self.acked_elsewhere.max(Some(time));
        self.run_start = self.run_start.filter(|start| *start > time);
    }

    /// What was lost so far counts for no run to come.
    pub(super) const fn forget_run(&mut self) {
        self.run_start = None;
        self.longest_run = Duration::ZERO;
    }

    /// Takes the repeatable frames out of the oldest `count` ack-eliciting packets that still hold
    /// some. The packets stay under way; each frame is in one packet at a time.
    pub(super) fn take_oldest_frames(
        &mut self,
        count: usize,
        may_repeat: impl Fn(&SentFrame) -> bool,
        mut take: impl FnMut(SentFrame),
    ) {
        let mut holders = 0;
        for packet in packets_mut(&mut self.slots) {
            let left = self.frames.take(packet.frames, |frame| {
                let taken = is_repeatable(frame) && may_repeat(frame);
                if taken {
                    take(*frame);
                }
                taken
            });
            holders += usize::from(left.count < packet.frames.count);
            packet.frames = left;
            if holders == count {
                break;
            }
        }
    }

    /// Takes out every packet that `chosen` names as lost, without a verdict.
    pub(super) fn withdraw(&mut self, chosen: impl Fn(&SentPacket) -> bool, outcome: &mut AckOutcome) {
        for slot in &mut self.slots {
            if let Slot::Sent(packet) = slot
                && chosen(packet)
            {
                self.ack_eliciting -= usize::from(packet.ack_eliciting);
                let packet = hand_over(packet, &self.frames, &self.deliveries, outcome);
                outcome.lost.push(packet);
                *slot = Slot::Void;
            }
        }
        self.loss_time = self.loss_time.filter(|_| self.packets().next().is_some());
        self.trim();
    }

    /// Packets of path `from` count as packets of path `to` from now on.
    pub(super) fn relabel(&mut self, from: u32, to: u32) {
        packets_mut(&mut self.slots).filter(|packet| packet.path == from).for_each(|packet| packet.path = to);
    }
}

fn packets_mut(slots: &mut VecDeque<Slot>) -> impl Iterator<Item = &mut SentPacket> {
    slots.iter_mut().filter_map(|slot| match slot {
        Slot::Sent(packet) => Some(packet),
        _ => None,
    })
}

/// Copies what belongs to a packet into an outcome, and gives the packet as it is there.
fn hand_over(
    packet: &SentPacket,
    frames: &Attached<SentFrame>,
    deliveries: &Attached<Delivery>,
    outcome: &mut AckOutcome,
) -> SentPacket {
    SentPacket {
        frames: frames.hand_over(packet.frames, &mut outcome.frames),
        delivery: deliveries.hand_over(packet.delivery, &mut outcome.deliveries),
        ..*packet
    }
}

/// Whether a probe may carry the frame again. Acknowledgements are made fresh, a DATAGRAM is sent
/// once, and a PATH_CHALLENGE has a timer of its own, and with it its response.
const fn is_repeatable(frame: &SentFrame) -> bool {
    !matches!(
        frame,
        SentFrame::Ack { .. }
            | SentFrame::Datagram { .. }
            | SentFrame::PathChallenge(_)
            | SentFrame::PathResponse { .. }
    )
}
