//! The rate at which the path delivers (draft-ietf-ccwg-bbr-06 section 4.1).
//!
//! Every packet remembers how much had been delivered when it was sent, and when. Once it is
//! acknowledged, what was delivered since then, over the time that this took, is a sample of the
//! path's rate. Acknowledgements that come in a bunch would make the rate look too high, so the time
//! that sending took counts if it was longer. Samples from a time without enough data to send tell less
//! than the path can do, and say so.

use std::time::Duration;

use crate::recovery::SentPacket;
use crate::time::Time;

/// What a packet remembers of when it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Delivery {
    /// Bytes delivered by then, and when the last of them were.
    delivered: u64,
    delivered_at: Time,
    /// When the newest packet that was delivered by then had been sent.
    first_sent: Time,
    /// Bytes in flight, this packet included.
    in_flight: u64,
    /// Bytes lost by then.
    lost: u64,
    app_limited: bool,
}

impl Delivery {
    /// That of a packet, of those that were kept. Of one that was sent under another controller nothing is known.
    pub(super) fn of(packet: &SentPacket, kept: &[Self]) -> Self {
        packet.delivery.of(kept).first().copied().unwrap_or_default()
    }

    /// Bytes in flight when the packet was sent, it included.
    pub(super) const fn in_flight(&self) -> u64 {
        self.in_flight
    }

    pub(super) const fn app_limited(&self) -> bool {
        self.app_limited
    }
}

/// What an ACK frame says of the path's rate (RS in the draft).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sample {
    /// Bytes each second; 0 if the sample tells none.
    pub(super) rate: u64,
    /// Bytes delivered over the time of the sample.
    pub(super) delivered: u64,
    /// Bytes delivered before the newest packet was sent.
    pub(super) prior_delivered: u64,
    /// Bytes acknowledged by this frame.
    pub(super) newly_acked: u64,
    /// Bytes lost since the newest packet was sent.
    pub(super) lost: u64,
    /// Bytes in flight when the newest packet was sent.
    pub(super) in_flight: u64,
    pub(super) app_limited: bool,
}

/// The delivery of a path (C in the draft).
#[derive(Debug, Default)]
pub(super) struct Sampler {
    delivered: u64,
    delivered_at: Time,
    first_sent: Time,
    lost: u64,
    /// Until so much is delivered, samples are those of a sender without enough data.
    app_limited_until: Option<u64>,
}

impl Sampler {
    /// Bytes delivered so far.
    pub(super) const fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Bytes lost since the packet of this was sent.
    pub(super) const fn lost_since(&self, packet: &Delivery) -> u64 {
        self.lost.saturating_sub(packet.lost)
    }

    pub(super) const fn is_app_limited(&self) -> bool {
        self.app_limited_until.is_some()
    }

    /// There is nothing to send, or less is sent on purpose, with this much in flight.
    pub(super) fn mark_app_limited(&mut self, bytes_in_flight: u64) {
        self.app_limited_until = Some((self.delivered + bytes_in_flight).max(1));
    }

    /// Section 4.1.2.2: a packet was sent, so that this much is in flight.
    pub(super) fn on_sent(&mut self, now: Time, size: u64, bytes_in_flight: u64) -> Delivery {
        if bytes_in_flight <= size {
            (self.first_sent, self.delivered_at) = (now, now);
        }
        Delivery {
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            first_sent: self.first_sent,
            in_flight: bytes_in_flight,
            lost: self.lost,
            app_limited: self.is_app_limited(),
        }
    }

    pub(super) const fn on_lost(&mut self, bytes: u64) {
        self.lost += bytes;
    }

    /// Section 4.1.2.3: packets were acknowledged. Gives the sample and the newest of them, or nothing if
    /// there are none.
    pub(super) fn on_acked<'a>(
        &mut self,
        now: Time,
        min_rtt: Duration,
        packets: impl Iterator<Item = &'a SentPacket>,
        deliveries: &[Delivery],
    ) -> Option<(Sample, &'a SentPacket)> {
        let (mut newest, mut newly_acked) = (None::<&SentPacket>, 0);
        for packet in packets {
            newly_acked += u64::from(packet.size);
            if newest.is_none_or(|newest| (packet.time, packet.number) > (newest.time, newest.number)) {
                newest = Some(packet);
            }
        }
        let newest = newest?;
        self.delivered += newly_acked;
        self.delivered_at = now;
        self.first_sent = self.first_sent.max(newest.time);
        if self.app_limited_until.is_some_and(|until| self.delivered > until) {
            self.app_limited_until = None;
        }
        let before = &Delivery::of(newest, deliveries);
        let (sending, acking) = (newest.time.since(before.first_sent), now.since(before.delivered_at));
        // A packet of before the path was left and taken again may remember more than was delivered since.
        let (interval, delivered) = (sending.max(acking), self.delivered.saturating_sub(before.delivered));
        // Shorter than the round trip itself: not to be relied on.
        let reliable = interval >= min_rtt && !interval.is_zero();
        let sample = Sample {
            rate: if reliable { per_second(delivered, interval) } else { 0 },
            delivered,
            prior_delivered: before.delivered,
            newly_acked,
            lost: self.lost_since(before),
            in_flight: before.in_flight,
            app_limited: before.app_limited,
        };
        Some((sample, newest))
    }
}

fn per_second(bytes: u64, time: Duration) -> u64 {
    let rate = u128::from(bytes) * 1_000_000_000 / time.as_nanos().max(1);
    u64::try_from(rate).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use tercel_wire::EncryptionLevel;

    use super::*;
    use crate::recovery::Stretch;

    const MS: Duration = Duration::from_millis(1);
    const START: Time = Time::from_nanos(1 << 40);
    const SIZE: u64 = 1000;

    #[derive(Default)]
    struct Flow {
        sampler: Sampler,
        in_flight: u64,
        packets: Vec<SentPacket>,
        deliveries: Vec<Delivery>,
    }

    impl Flow {
        fn send(&mut self, now: Time) {
            self.in_flight += SIZE;
            self.deliveries.push(self.sampler.on_sent(now, SIZE, self.in_flight));
            self.packets.push(SentPacket {
                number: self.packets.len() as u64,
                time: now,
                size: SIZE as u16,
                level: EncryptionLevel::OneRtt,
                path: 0,
                ack_eliciting: true,
                in_flight: true,
                ecn_marked: false,
                mtu_probe: false,
                delivery: Stretch::one(self.packets.len() as u32),
                frames: Stretch::default(),
            });
        }

        fn ack(&mut self, now: Time, numbers: std::ops::Range<usize>) -> Sample {
            self.in_flight -= SIZE * numbers.len() as u64;
            self.sampler.on_acked(now, 10 * MS, self.packets[numbers].iter(), &self.deliveries).unwrap().0
        }
    }

    #[test]
    fn what_is_delivered_over_time_is_the_rate() {
        let mut flow = Flow::default();
        // A packet each millisecond, acknowledged 20 ms later: 1000 bytes each millisecond.
        for at in 0..60 {
            flow.send(START + at * MS);
            if let Some(acked) = at.checked_sub(20) {
                let sample = flow.ack(START + at * MS, acked as usize..acked as usize + 1);
                let exact = 1000 * SIZE;
                assert!(acked <= 20 || sample.rate.abs_diff(exact) <= exact / 20, "{at}: {sample:?}");
                assert_eq!((sample.newly_acked, sample.app_limited), (SIZE, false));
            }
        }
    }

    #[test]
    fn acknowledgements_in_a_bunch_tell_no_more_than_was_sent() {
        let mut flow = Flow::default();
        (0..20).for_each(|at| flow.send(START + at * MS));
        flow.ack(START + 20 * MS, 0..1);
        // The other 19 at once, just after: 19 ms of sending.
        let sample = flow.ack(START + 39 * MS, 1..20);
        assert_eq!(sample.delivered, 20 * SIZE);
        assert_eq!(sample.rate, 20 * SIZE * 1000 / 39);
    }

    #[test]
    fn a_sample_shorter_than_the_round_trip_tells_no_rate() {
        let mut flow = Flow::default();
        flow.send(START);
        assert_eq!(flow.ack(START + 9 * MS, 0..1).rate, 0);
        flow.send(START + 9 * MS);
        assert_eq!(flow.ack(START + 19 * MS, 1..2).rate, SIZE * 100);
    }

    #[test]
    fn a_bubble_marks_samples_until_it_is_acknowledged() {
        let mut flow = Flow::default();
        flow.send(START);
        flow.sampler.mark_app_limited(flow.in_flight);
        flow.send(START + 5 * MS);
        assert!(!flow.ack(START + 20 * MS, 0..1).app_limited, "sent before");
        assert!(flow.sampler.is_app_limited(), "exactly what was in flight is not more");
        assert!(flow.ack(START + 25 * MS, 1..2).app_limited);
        assert!(!flow.sampler.is_app_limited());
        flow.send(START + 30 * MS);
        assert!(!flow.ack(START + 50 * MS, 2..3).app_limited);
    }

    #[test]
    fn after_silence_time_begins_with_the_next_packet() {
        let mut flow = Flow::default();
        flow.send(START);
        flow.ack(START + 20 * MS, 0..1);
        flow.send(START + 5000 * MS);
        assert_eq!(flow.ack(START + 5020 * MS, 1..2).rate, SIZE * 50);
    }

    #[test]
    fn a_packet_of_before_the_path_was_left_does_no_harm() {
        let mut before = Flow::default();
        (0..9).for_each(|at| before.send(START + at * MS));
        before.ack(START + 30 * MS, 0..8);
        before.send(START + 31 * MS);
        // It remembers more than the new sampler will have seen delivered.
        let (packets, deliveries) = (before.packets.split_off(9), before.deliveries);
        let mut after = Flow { packets, deliveries, in_flight: SIZE, ..Flow::default() };
        let sample = after.ack(START + 60 * MS, 0..1);
        assert_eq!((sample.rate, sample.delivered), (0, 0));
    }

    #[test]
    fn losses_count_from_when_the_packet_was_sent() {
        let mut flow = Flow::default();
        flow.send(START);
        flow.sampler.on_lost(300);
        flow.send(START + MS);
        flow.sampler.on_lost(200);
        assert_eq!(flow.sampler.lost_since(&flow.deliveries[0]), 500);
        let sample = flow.ack(START + 20 * MS, 1..2);
        assert_eq!((sample.lost, sample.in_flight), (200, 2 * SIZE));
    }
}
