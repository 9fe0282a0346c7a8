//! When to acknowledge (RFC 9000 section 13.2).
//!
//! An acknowledgement is due at once for the second ack-eliciting packet, for a packet out of
//! order, and for one marked CE; otherwise within `max_ack_delay`. Whatever packet leaves earlier
//! takes it along. The peer may ask for fewer (draft-ietf-quic-ack-frequency, "the draft" below), and
//! for one at once.

use std::time::Duration;

use tercel_wire::frame::{AckFrequency, EcnCounts, encode_ack};
use tercel_wire::{TransportErrorCode, Writer};

use super::Received;
use crate::error::Violation;
use crate::path::Ecn;
use crate::recovery::GRANULARITY;
use crate::time::Time;

/// How urgent an acknowledgement is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// Nothing is to be acknowledged.
    None,
    /// It can wait until this time, for company.
    By(Time),
    /// It is due.
    Now,
}

/// A packet that was received, as far as that matters here.
#[derive(Debug, Clone, Copy)]
pub struct AckedPacket {
    /// Its number.
    pub number: u64,
    /// Whether it is to be acknowledged.
    pub ack_eliciting: bool,
    /// Its mark.
    pub ecn: Ecn,
    /// The largest number received before it.
    pub largest_before: Option<u64>,
}

/// Values of max_ack_delay must be below this (RFC 9000 section 18.2).
const MAX_DELAY: Duration = Duration::from_millis(1 << 14);

/// Decides when packets of a space are acknowledged, and counts their ECN marks.
#[derive(Debug)]
pub struct AckPolicy {
    /// So many ack-eliciting packets are acknowledged at once.
    threshold: u64,
    max_delay: Duration,
    /// The least that the peer may ask `max_delay` to be.
    min_delay: Duration,
    /// How far a packet is overtaken when that is told at once; 0 for never, 1 for the rule of RFC 9000.
    reordering: u64,
    /// The sequence number of the peer's latest wish.
    asked: Option<u64>,
    /// The peer wants an acknowledgement of the packet that is being read.
    immediate: bool,
    urgency: Urgency,
    /// Ack-eliciting packets since the last ACK frame.
    unacknowledged: u64,
    /// The largest ack-eliciting packet, and the largest in an ACK frame.
    largest_eliciting: Option<u64>,
    largest_told: Option<u64>,
    /// Whether the packet before was marked CE.
    congested: bool,
    largest_at: Time,
    ecn: EcnCounts,
}

impl AckPolicy {
    /// Acknowledges every `threshold` ack-eliciting packets, or after `max_delay`.
    pub const fn new(threshold: u32, max_delay: Duration) -> Self {
        Self {
            threshold: threshold as u64,
            max_delay,
            min_delay: Self::min_delay(max_delay),
            reordering: 1,
            asked: None,
            immediate: false,
            urgency: Urgency::None,
            unacknowledged: 0,
            largest_eliciting: None,
            largest_told: None,
            congested: false,
            largest_at: Time::ZERO,
            ecn: EcnCounts { ect0: 0, ect1: 0, ce: 0 },
        }
    }

    /// Acknowledges at once, as Initial and Handshake packets must be (section 13.2.1).
    // RFC 9000 section 13.2.1#2.
    pub const fn immediate() -> Self {
        Self::new(1, Duration::ZERO)
    }

    /// The shortest delay that a peer may ask of one whose own is `max_delay`: timers are no finer (the
    /// draft's section 3).
    pub const fn min_delay(max_delay: Duration) -> Duration {
        if max_delay.as_millis() > 0 { GRANULARITY } else { Duration::ZERO }
    }

    /// An ACK_FREQUENCY frame came in.
    ///
    /// # Errors
    /// PROTOCOL_VIOLATION: a delay that may not be asked for (the draft's section 4).
    pub fn on_frequency(&mut self, frame: &AckFrequency) -> Result<(), Violation> {
        let delay = Duration::from_micros(frame.max_ack_delay);
        if delay < self.min_delay || delay >= MAX_DELAY {
            return Err(Violation::new(TransportErrorCode::PROTOCOL_VIOLATION, "a max_ack_delay out of its bounds"));
        }
        // The draft's section 4: only a newer frame than the newest counts.
        if self.asked >= Some(frame.sequence) {
            return Ok(());
        }
        if let Urgency::By(at) = self.urgency {
            self.urgency = Urgency::By(at.min(at - self.max_delay + delay));
        }
        self.asked = Some(frame.sequence);
        self.threshold = frame.threshold.saturating_add(1);
        self.max_delay = delay;
        self.reordering = frame.reordering_threshold;
        Ok(())
    }

    /// An IMMEDIATE_ACK frame came in, in the packet that [`on_packet`](Self::on_packet) tells of next.
    pub const fn on_immediate(&mut self) {
        self.immediate = true;
    }

    /// A packet was received, and is in `received` already.
    pub fn on_packet(&mut self, now: Time, packet: AckedPacket, received: &Received) {
        let AckedPacket { number, ack_eliciting, ecn, largest_before } = packet;
        // RFC 9000 sections 13.4.1#1, 19.3#1.
        match ecn {
            Ecn::NotEct => {}
            Ecn::Ect0 => self.ecn.ect0 += 1,
            Ecn::Ect1 => self.ecn.ect1 += 1,
            Ecn::Ce => self.ecn.ce += 1,
        }
        let before = std::mem::replace(&mut self.congested, ecn == Ecn::Ce);
        // The draft's section 6.3: who wants few acknowledgements is told of the first mark of a row.
        let congestion = self.congested && !(before && self.asked.is_some() && self.threshold > 2);
        if largest_before.is_none_or(|largest| number > largest) {
            self.largest_at = now;
        }
        // RFC 9000 section 13.2.1#4.
        if !ack_eliciting {
            return;
        }
        self.unacknowledged += 1;
        self.largest_eliciting = self.largest_eliciting.max(Some(number));
        let immediate = std::mem::take(&mut self.immediate);
        // RFC 9000 sections 13.2.1#7#8, 13.2.2#1.
        let due = self.unacknowledged >= self.threshold
            || immediate
            || congestion
            || self.is_out_of_order(number, largest_before, received);
        self.urgency = match (due, self.urgency) {
            (true, _) | (_, Urgency::Now) => Urgency::Now,
            // RFC 9221 section 5.2#1.
            (false, Urgency::By(at)) => Urgency::By(at),
            // RFC 9000 section 13.2.1#1#2.
            (false, Urgency::None) => Urgency::By(now + self.max_delay),
        };
    }

    /// Whether the order of packets is to be told at once.
    fn is_out_of_order(&self, number: u64, largest_before: Option<u64>, received: &Received) -> bool {
        match self.reordering {
            0 => false,
            // RFC 9000 section 13.2.1: behind a larger number, or with a gap before it.
            1 => {
                largest_before.is_some_and(|largest| number < largest || (received.has_gaps() && number > largest + 1))
            }
            // The draft's section 6.2: when the peer can take a packet for lost, or has done so in error.
            window => {
                let reported = self.largest_told.and_then(|told| told.checked_sub(window));
                let missing = received.first_missing_from(reported.map_or(0, |reported| reported + 1));
                let overtaken = self.largest_eliciting.and_then(|largest| largest.checked_sub(missing));
                overtaken >= Some(window) || reported >= Some(number)
            }
        }
    }

    /// How urgent an ACK frame is.
    pub fn urgency(&self, now: Time) -> Urgency {
        match self.urgency {
            Urgency::By(at) if at <= now => Urgency::Now,
            urgency => urgency,
        }
    }

    /// When an acknowledgement that can wait is due.
    pub const fn next_timeout(&self) -> Option<Time> {
        match self.urgency {
            Urgency::By(at) => Some(at),
            _ => None,
        }
    }

    /// Writes an ACK frame if it fits; returns the largest number acknowledged.
    pub fn write(&mut self, now: Time, received: &Received, exponent: u32, writer: &mut Writer<'_>) -> Option<u64> {
        // RFC 9000 section 13.2.5#1#3.
        let delay = (now.since(self.largest_at).as_micros() as u64).min(1 << 30) >> exponent;
        let ecn = (self.ecn != EcnCounts::default()).then_some(self.ecn);
        if !encode_ack(writer, received.ranges(), delay, ecn) {
            return None;
        }
        // RFC 9000 section 13.2.1#3.
        self.urgency = Urgency::None;
        self.unacknowledged = 0;
        self.largest_told = received.largest();
        self.largest_told
    }
}

#[cfg(test)]
mod tests;
