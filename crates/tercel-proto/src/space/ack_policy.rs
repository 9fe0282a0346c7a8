//! When to acknowledge (RFC 9000 section 13.2).
//!
//! An acknowledgement is due at once for the second ack-eliciting packet, for a packet out of
//! order, and for one marked CE; otherwise within `max_ack_delay`. Whatever packet leaves earlier
//! takes it along.

use std::time::Duration;

use tercel_wire::Writer;
use tercel_wire::frame::{EcnCounts, encode_ack};

use super::Received;
use crate::path::Ecn;
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

/// Decides when packets of a space are acknowledged, and counts their ECN marks.
#[derive(Debug)]
pub struct AckPolicy {
    threshold: u32,
    max_delay: Duration,
    urgency: Urgency,
    /// Ack-eliciting packets since the last ACK frame.
    unacknowledged: u32,
    largest_at: Time,
    ecn: EcnCounts,
}

impl AckPolicy {
    /// Acknowledges every `threshold` ack-eliciting packets, or after `max_delay`.
    pub const fn new(threshold: u32, max_delay: Duration) -> Self {
        Self {
            threshold,
            max_delay,
            urgency: Urgency::None,
            unacknowledged: 0,
            largest_at: Time::ZERO,
            ecn: EcnCounts { ect0: 0, ect1: 0, ce: 0 },
        }
    }

    /// Acknowledges at once, as Initial and Handshake packets must be (section 13.2.1).
    pub const fn immediate() -> Self {
        Self::new(1, Duration::ZERO)
    }

    /// A packet was received. `largest_before` is the largest number received before it, and `gaps`
    /// whether numbers are missing.
    pub fn on_packet(
        &mut self,
        now: Time,
        number: u64,
        ack_eliciting: bool,
        ecn: Ecn,
        largest_before: Option<u64>,
        gaps: bool,
    ) {
        match ecn {
            Ecn::NotEct => {}
            Ecn::Ect0 => self.ecn.ect0 += 1,
            Ecn::Ect1 => self.ecn.ect1 += 1,
            Ecn::Ce => self.ecn.ce += 1,
        }
        if largest_before.is_none_or(|largest| number > largest) {
            self.largest_at = now;
        }
        if !ack_eliciting {
            return;
        }
        self.unacknowledged += 1;
        // Section 13.2.1: out of order, either behind a larger number or with a gap before it.
        let reordered = largest_before.is_some_and(|largest| number < largest || (gaps && number > largest + 1));
        let due = self.unacknowledged >= self.threshold || reordered || ecn == Ecn::Ce;
        self.urgency = match (due, self.urgency) {
            (true, _) | (_, Urgency::Now) => Urgency::Now,
            (false, Urgency::By(at)) => Urgency::By(at),
            (false, Urgency::None) => Urgency::By(now + self.max_delay),
        };
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
        let delay = (now.since(self.largest_at).as_micros() as u64).min(1 << 30) >> exponent;
        let ecn = (self.ecn != EcnCounts::default()).then_some(self.ecn);
        if !encode_ack(writer, received.ranges(), delay, ecn) {
            return None;
        }
        self.urgency = Urgency::None;
        self.unacknowledged = 0;
        received.largest()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_millis(25);

    fn policy() -> AckPolicy {
        AckPolicy::new(2, DELAY)
    }

    #[test]
    fn the_first_packet_waits_and_the_second_is_due() {
        let mut acks = policy();
        acks.on_packet(Time::ZERO, 0, true, Ecn::NotEct, None, false);
        assert_eq!(acks.urgency(Time::ZERO), Urgency::By(Time::ZERO + DELAY));
        assert_eq!(acks.urgency(Time::ZERO + DELAY), Urgency::Now);
        acks.on_packet(Time::ZERO, 1, true, Ecn::NotEct, Some(0), false);
        assert_eq!(acks.urgency(Time::ZERO), Urgency::Now);
    }

    #[test]
    fn nothing_is_due_for_packets_that_elicit_nothing() {
        let mut acks = policy();
        for number in 0..10 {
            acks.on_packet(Time::ZERO, number, false, Ecn::NotEct, number.checked_sub(1), false);
        }
        assert_eq!(acks.urgency(Time::ZERO), Urgency::None);
    }

    #[test]
    fn disorder_and_congestion_are_told_at_once() {
        for (number, ecn, largest, gaps) in
            [(3, Ecn::NotEct, 5, true), (7, Ecn::NotEct, 5, true), (6, Ecn::Ce, 5, false), (4, Ecn::NotEct, 5, false)]
        {
            let mut acks = policy();
            acks.on_packet(Time::ZERO, number, true, ecn, Some(largest), gaps);
            assert_eq!(acks.urgency(Time::ZERO), Urgency::Now, "{number} {ecn:?}");
        }
    }

    #[test]
    fn the_frame_says_what_was_received_and_how_long_ago() {
        let mut acks = policy();
        let mut received = Received::default();
        received.insert(4);
        acks.on_packet(Time::ZERO, 4, true, Ecn::Ect0, None, false);
        let mut bytes = [0; 64];
        let mut writer = Writer::new(&mut bytes);
        let now = Time::ZERO + Duration::from_micros(800);
        assert_eq!(acks.write(now, &received, 3, &mut writer), Some(4));
        let mut reader = tercel_wire::Reader::new(writer.written());
        let Ok(tercel_wire::Frame::Ack(ack)) = tercel_wire::Frame::decode(&mut reader) else { panic!() };
        assert_eq!((ack.largest, ack.delay, ack.ecn.unwrap().ect0), (4, 100, 1));
        assert_eq!(acks.urgency(now), Urgency::None);
    }

    /// Receives packets as a space does.
    fn receive(acks: &mut AckPolicy, received: &mut Received, now: Time, number: u64, ack_eliciting: bool) {
        let before = received.largest();
        received.insert(number);
        acks.on_packet(now, number, ack_eliciting, Ecn::NotEct, before, received.has_gaps());
    }

    /// Section 13.2.1: within max_ack_delay of the first that waits, however many come that elicit
    /// nothing, and however late the next.
    #[test]
    fn an_acknowledgement_is_never_put_off() {
        let (mut acks, mut received) = (AckPolicy::new(10, DELAY), Received::default());
        let at = |ms| Time::ZERO + Duration::from_millis(ms);
        receive(&mut acks, &mut received, at(0), 0, false);
        assert_eq!((acks.urgency(at(100)), acks.next_timeout()), (Urgency::None, None));
        receive(&mut acks, &mut received, at(1), 1, true);
        for (ms, number) in (2..9).zip(2..) {
            receive(&mut acks, &mut received, at(ms), number, number % 2 == 0);
            assert_eq!(acks.next_timeout(), Some(at(26)));
            assert_eq!(acks.urgency(at(25)), Urgency::By(at(26)));
            assert_eq!(acks.urgency(at(26)), Urgency::Now);
        }
        let mut bytes = [0; 64];
        assert_eq!(acks.write(at(9), &received, 3, &mut Writer::new(&mut bytes)), Some(8));
        assert_eq!((acks.urgency(at(100)), acks.next_timeout()), (Urgency::None, None));
    }

    #[test]
    fn the_threshold_counts_since_the_last_frame() {
        for threshold in 1..5 {
            let (mut acks, mut received) = (AckPolicy::new(threshold, DELAY), Received::default());
            let mut number = 0;
            for _ in 0..3 {
                for count in 1..=threshold {
                    receive(&mut acks, &mut received, Time::ZERO, number, true);
                    number += 1;
                    assert_eq!(acks.urgency(Time::ZERO) == Urgency::Now, count == threshold);
                }
                let mut bytes = [0; 64];
                assert!(acks.write(Time::ZERO, &received, 3, &mut Writer::new(&mut [0; 2])).is_none());
                assert_eq!(acks.urgency(Time::ZERO), Urgency::Now, "what does not fit is still due");
                assert!(acks.write(Time::ZERO, &received, 3, &mut Writer::new(&mut bytes)).is_some());
            }
        }
    }

    /// Section 13.2.1: packets of the handshake are acknowledged at once.
    #[test]
    fn handshakes_do_not_wait() {
        let (mut acks, mut received) = (AckPolicy::immediate(), Received::default());
        receive(&mut acks, &mut received, Time::ZERO, 0, true);
        assert_eq!(acks.urgency(Time::ZERO), Urgency::Now);
    }

    /// The delay is that of the largest number, not of what came later.
    #[test]
    fn the_delay_is_that_of_the_largest() {
        let (mut acks, mut received) = (policy(), Received::default());
        let at = |micros| Time::ZERO + Duration::from_micros(micros);
        for (micros, number) in [(0, 3), (800, 5), (1600, 4), (2400, 0)] {
            receive(&mut acks, &mut received, at(micros), number, true);
        }
        for (exponent, delay) in [(0, 2200), (3, 275), (10, 2)] {
            let mut bytes = [0; 64];
            let mut writer = Writer::new(&mut bytes);
            acks.write(at(3000), &received, exponent, &mut writer);
            let mut reader = tercel_wire::Reader::new(writer.written());
            let Ok(tercel_wire::Frame::Ack(ack)) = tercel_wire::Frame::decode(&mut reader) else { panic!() };
            assert_eq!((ack.largest, ack.delay, ack.ecn), (5, delay, None));
        }
    }
}
