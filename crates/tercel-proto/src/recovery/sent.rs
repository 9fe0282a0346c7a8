//! The packets of a space that are under way, found by number.
//!
//! Numbers are consecutive, so the packets lie in a ring where the place follows from the number.
//! A packet leaves the ring from the front once it is settled. Lost packets stay a while as a note,
//! so that a late acknowledgement is recognised as proof of a spurious loss.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::frames::SentFrames;
use crate::time::Time;

/// A packet that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentPacket {
    /// Its number.
    pub number: u64,
    /// When it was sent.
    pub time: Time,
    /// Its size in bytes.
    pub size: u16,
    /// Whether the peer must acknowledge it.
    pub ack_eliciting: bool,
    /// Whether it counts as in flight.
    pub in_flight: bool,
    /// Whether it was marked ECT(0).
    pub ecn_marked: bool,
    /// The path that it was sent on.
    pub path: u32,
    /// Whether it probes for a larger datagram size.
    pub mtu_probe: bool,
    /// Whether it was sent as early data.
    pub early: bool,
    /// Whether it was declared lost before it was acknowledged.
    pub was_lost: bool,
    /// What it carried.
    pub frames: SentFrames,
}

#[derive(Debug)]
enum Slot {
    /// Under way.
    Sent(SentPacket),
    /// Declared lost at this time.
    Lost(Time),
    /// Acknowledged, withdrawn, or never used.
    Settled,
}

/// The packets of a space that are under way.
#[derive(Debug, Default)]
pub(super) struct SentWindow {
    base: u64,
    slots: VecDeque<Slot>,
    largest_acked: Option<u64>,
    loss_time: Option<Time>,
    ack_eliciting: usize,
    /// How many notes of lost packets the ring holds.
    lost_notes: usize,
    forgotten_below: u64,
}

impl SentWindow {
    /// The lowest number in the ring.
    pub(super) const fn base(&self) -> u64 {
        self.base
    }

    /// Numbers below are settled for good.
    pub(super) const fn forgotten_below(&self) -> u64 {
        self.forgotten_below
    }

    /// The lowest number never sent.
    pub(super) fn next_number(&self) -> u64 {
        self.base + self.slots.len() as u64
    }

    pub(super) const fn loss_time(&self) -> Option<Time> {
        self.loss_time
    }

    pub(super) const fn ack_eliciting_in_flight(&self) -> usize {
        self.ack_eliciting
    }

    pub(super) fn push(&mut self, packet: SentPacket) {
        if self.slots.is_empty() {
            self.base = packet.number.max(self.base);
        }
        // Numbers that were skipped were never sent, and need no slot that could be acknowledged.
        while self.next_number() < packet.number {
            self.slots.push_back(Slot::Settled);
        }
        self.ack_eliciting += usize::from(packet.ack_eliciting && packet.in_flight);
        self.slots.push_back(Slot::Sent(packet));
    }

    /// Takes the packets of `range` out as acknowledged; returns how many of them had been declared
    /// lost.
    pub(super) fn acknowledge(&mut self, range: RangeInclusive<u64>, acked: &mut Vec<SentPacket>) -> u64 {
        let mut spurious = 0;
        let start = range.start().saturating_sub(self.base);
        let Some(end) = (range.end() + 1).checked_sub(self.base) else { return 0 };
        let (start, end) = (start as usize, (end as usize).min(self.slots.len()));
        if start >= end {
            return 0;
        }
        for slot in self.slots.range_mut(start..end) {
            match std::mem::replace(slot, Slot::Settled) {
                Slot::Sent(packet) => {
                    self.ack_eliciting -= usize::from(packet.ack_eliciting && packet.in_flight);
                    acked.push(packet);
                }
                Slot::Lost(_) => {
                    self.lost_notes -= 1;
                    spurious += 1;
                }
                Slot::Settled => {}
            }
        }
        self.trim();
        spurious
    }

    pub(super) fn on_largest_acked(&mut self, largest: u64) {
        self.largest_acked = self.largest_acked.max(Some(largest));
    }

    /// Takes out what is lost, and notes when the next packet will be, if no acknowledgement comes.
    pub(super) fn detect_losses(&mut self, now: Time, delay: Duration, threshold: u64, lost: &mut Vec<SentPacket>) {
        self.loss_time = None;
        let Some(largest) = self.largest_acked else { return };
        let end = ((largest + 1).saturating_sub(self.base) as usize).min(self.slots.len());
        for slot in self.slots.range_mut(..end) {
            let Slot::Sent(packet) = slot else { continue };
            let lost_at = packet.time + delay;
            if packet.number + threshold > largest && lost_at > now {
                self.loss_time = Some(lost_at);
                break;
            }
            if let Slot::Sent(mut packet) = std::mem::replace(slot, Slot::Lost(now)) {
                self.lost_notes += 1;
                self.ack_eliciting -= usize::from(packet.ack_eliciting && packet.in_flight);
                packet.was_lost = true;
                lost.push(packet);
            }
        }
    }

    /// Forgets losses that were noted before `time`.
    pub(super) fn forget_lost_before(&mut self, time: Time) {
        if self.lost_notes == 0 {
            return;
        }
        for slot in &mut self.slots {
            match slot {
                Slot::Lost(at) if *at < time => {
                    *slot = Slot::Settled;
                    self.lost_notes -= 1;
                }
                Slot::Lost(_) => break,
                _ => {}
            }
        }
        self.trim();
    }

    /// Whether packet `number` is lost, or was never sent.
    pub(super) fn is_lost_or_silent(&self, number: u64, lost: &[SentPacket]) -> bool {
        let slot = number.checked_sub(self.base).and_then(|at| self.slots.get(at as usize));
        matches!(slot, Some(Slot::Lost(_))) || lost.iter().any(|packet| packet.number == number)
    }

    /// Takes out every packet that `chosen` says yes to.
    pub(super) fn withdraw(&mut self, chosen: impl Fn(&SentPacket) -> bool, withdrawn: &mut Vec<SentPacket>) {
        for slot in &mut self.slots {
            if matches!(slot, Slot::Sent(packet) if chosen(packet))
                && let Slot::Sent(packet) = std::mem::replace(slot, Slot::Settled)
            {
                self.ack_eliciting -= usize::from(packet.ack_eliciting && packet.in_flight);
                withdrawn.push(packet);
            }
        }
        self.trim();
    }

    /// Counts the packets under way for another path.
    pub(super) fn adopt(&mut self, path: u32) {
        for slot in &mut self.slots {
            if let Slot::Sent(packet) = slot {
                packet.path = path;
            }
        }
    }

    /// Every packet under way.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = SentPacket> + '_ {
        self.slots.drain(..).filter_map(|slot| match slot {
            Slot::Sent(packet) => Some(packet),
            _ => None,
        })
    }

    fn trim(&mut self) {
        while matches!(self.slots.front(), Some(Slot::Settled)) {
            self.slots.pop_front();
            self.base += 1;
        }
        self.forgotten_below = self.base;
    }
}
