//! Recovery against RFC 9002's rules.

use std::time::Duration;

use proptest::prelude::*;
use tercel_wire::{Frame, Reader, Writer, frame::encode_ack};

use super::*;
use crate::frames::SentFrames;
use crate::ranges::RangeSet;

const MS: Duration = Duration::from_millis(1);

fn packet(number: u64, time: Time) -> SentPacket {
    SentPacket {
        number,
        time,
        size: 1200,
        ack_eliciting: true,
        in_flight: true,
        ecn_marked: false,
        path: 0,
        mtu_probe: false,
        early: false,
        was_lost: false,
        frames: SentFrames::new(),
    }
}

fn confirmed() -> Progress {
    Progress { has_handshake_keys: true, confirmed: true, peer_validated: true, blocked: false }
}

fn recovery() -> Recovery {
    let mut recovery = Recovery::new(Role::Client, &TransportConfig { hystart: false, ..TransportConfig::default() });
    recovery.set_progress(Time::ZERO, confirmed());
    recovery
}

fn ack(recovery: &mut Recovery, now: Time, numbers: &[u64], outcome: &mut AckOutcome) -> Result<(), Violation> {
    let mut set = RangeSet::new();
    numbers.iter().for_each(|number| set.insert(*number..number + 1));
    let mut bytes = [0; 2000];
    let mut writer = Writer::new(&mut bytes);
    assert!(encode_ack(&mut writer, set.iter().rev().map(|range| range.start..=range.end - 1), 0, None));
    let Ok(Frame::Ack(frame)) = Frame::decode(&mut Reader::new(writer.written())) else { panic!() };
    recovery.on_ack(now, SpaceId::Data, &frame, Duration::ZERO, outcome)
}

fn numbers(packets: &[SentPacket]) -> Vec<u64> {
    packets.iter().map(|packet| packet.number).collect()
}

#[test]
fn three_packets_behind_is_lost() {
    let (mut recovery, mut outcome) = (recovery(), AckOutcome::default());
    let now = Time::from_nanos(1 << 40);
    (0..5).for_each(|number| recovery.on_packet_sent(SpaceId::Data, packet(number, now)));
    ack(&mut recovery, now + 100 * MS, &[3], &mut outcome).unwrap();
    assert_eq!((numbers(&outcome.acked), numbers(&outcome.lost)), (vec![3], vec![0]));
    assert_eq!(recovery.bytes_in_flight(), 3 * 1200);
    // The others follow when 9/8 of the round-trip time has passed.
    assert_eq!(recovery.next_timeout(), Some(now + 100 * MS * 9 / 8));
    recovery.timeout(now + 100 * MS * 9 / 8, &mut outcome);
    assert_eq!(numbers(&outcome.lost), [1, 2]);
    assert_eq!(recovery.stats().congestion_events, 1);
}

#[test]
fn an_acknowledgement_of_the_future_is_a_violation() {
    let (mut recovery, mut outcome) = (recovery(), AckOutcome::default());
    recovery.on_packet_sent(SpaceId::Data, packet(0, Time::ZERO));
    assert!(ack(&mut recovery, Time::ZERO + MS, &[1], &mut outcome).is_err());
    assert!(ack(&mut recovery, Time::ZERO + MS, &[0], &mut outcome).is_ok());
}

#[test]
fn probes_back_off_and_an_answer_ends_it() {
    let (mut recovery, mut outcome) = (recovery(), AckOutcome::default());
    let mut now = Time::from_nanos(1 << 40);
    recovery.on_packet_sent(SpaceId::Data, packet(0, now));
    // Before a sample: 333 ms + 4 * 166.5 ms + 25 ms.
    let pto = Duration::from_micros(333_000 + 666_000 + 25_000);
    for (count, number) in (1..5).zip([1, 3, 5, 7]) {
        let due = recovery.next_timeout().unwrap();
        assert_eq!(due.since(now), pto * (1 << (count - 1)));
        recovery.timeout(due, &mut outcome);
        assert_eq!(recovery.pto_count(), count);
        for probe in 0..2 {
            assert_eq!(recovery.allowance(due), Allowance::Probe { space: SpaceId::Data });
            recovery.on_packet_sent(SpaceId::Data, packet(number + probe, due));
            recovery.on_probe_sent(SpaceId::Data);
        }
        assert!(!recovery.owes_probe(SpaceId::Data));
        now = due;
    }
    ack(&mut recovery, now + 10 * MS, &[8], &mut outcome).unwrap();
    assert_eq!(recovery.pto_count(), 0);
}

#[test]
fn a_client_probes_with_nothing_in_flight_until_the_server_has_validated_it() {
    let mut recovery = Recovery::new(Role::Client, &TransportConfig::default());
    let mut outcome = AckOutcome::default();
    assert!(recovery.next_timeout().is_some());
    recovery.timeout(Time::ZERO + 10_000 * MS, &mut outcome);
    assert!(recovery.owes_probe(SpaceId::Initial));
    recovery.set_progress(Time::ZERO, confirmed());
    assert_eq!(recovery.next_timeout(), None);
    let server = Recovery::new(Role::Server, &TransportConfig::default());
    assert_eq!(server.next_timeout(), None);
}

#[test]
fn a_late_acknowledgement_takes_the_cut_back() {
    let (mut recovery, mut outcome) = (recovery(), AckOutcome::default());
    let now = Time::from_nanos(1 << 40);
    let window = recovery.window();
    (0..8).for_each(|number| recovery.on_packet_sent(SpaceId::Data, packet(number, now)));
    ack(&mut recovery, now + 50 * MS, &[4, 5, 6, 7], &mut outcome).unwrap();
    assert_eq!(numbers(&outcome.lost), [0, 1, 2, 3]);
    assert!(recovery.window() < window);
    ack(&mut recovery, now + 55 * MS, &[0, 1, 2, 3], &mut outcome).unwrap();
    assert!(recovery.window() >= window);
    assert_eq!((recovery.stats().spurious, recovery.stats().lost), (4, 4));
}

/// RFC 9002 section 7.6.3: the example there, with a PTO that makes the duration 3 x (1 s + 4 x
/// 0.5 s + 25 ms): packets lost over longer than that are persistent congestion, if nothing in
/// between arrived.
#[test]
fn losses_over_a_long_time_are_persistent_congestion() {
    for (arrived, persistent) in [(None, true), (Some(4), false)] {
        let (mut recovery, mut outcome) = (recovery(), AckOutcome::default());
        let start = Time::from_nanos(1 << 40);
        recovery.on_packet_sent(SpaceId::Data, packet(0, start));
        ack(&mut recovery, start + 1000 * MS, &[0], &mut outcome).unwrap();
        for number in 1..=9 {
            recovery.on_packet_sent(SpaceId::Data, packet(number, start + (1000 + number as u32 * 2000) * MS));
        }
        let acked: Vec<u64> = arrived.into_iter().chain([9]).collect();
        ack(&mut recovery, start + 21_000 * MS, &acked, &mut outcome).unwrap();
        assert_eq!(recovery.stats().persistent_congestion > 0, persistent, "{arrived:?}");
        // Two datagrams, and one more for the packet that was acknowledged.
        assert_eq!(recovery.window() == 3600, persistent);
    }
}

#[test]
fn a_lost_size_probe_cuts_nothing() {
    let (mut recovery, mut outcome) = (recovery(), AckOutcome::default());
    let now = Time::from_nanos(1 << 40);
    recovery.on_packet_sent(SpaceId::Data, SentPacket { mtu_probe: true, ..packet(0, now) });
    (1..5).for_each(|number| recovery.on_packet_sent(SpaceId::Data, packet(number, now)));
    ack(&mut recovery, now + 20 * MS, &[1, 2, 3, 4], &mut outcome).unwrap();
    assert_eq!(numbers(&outcome.lost), [0]);
    assert_eq!(recovery.stats().congestion_events, 0);
}

#[test]
fn packets_of_an_older_path_do_not_count() {
    let (mut recovery, mut outcome) = (recovery(), AckOutcome::default());
    let now = Time::from_nanos(1 << 40);
    (0..4).for_each(|number| recovery.on_packet_sent(SpaceId::Data, packet(number, now)));
    recovery.path_changed(1, 1200, false);
    assert_eq!(recovery.bytes_in_flight(), 0);
    recovery.on_packet_sent(SpaceId::Data, SentPacket { path: 1, ..packet(4, now) });
    ack(&mut recovery, now + 20 * MS, &[3], &mut outcome).unwrap();
    assert_eq!(recovery.bytes_in_flight(), 1200);
    assert!(!recovery.rtt().is_sampled());
}

#[test]
fn a_discarded_space_leaves_the_flight() {
    let mut recovery = recovery();
    let now = Time::from_nanos(1 << 40);
    (0..3).for_each(|number| recovery.on_packet_sent(SpaceId::Initial, packet(number, now)));
    recovery.on_packet_sent(SpaceId::Data, packet(0, now));
    recovery.discard_space(SpaceId::Initial);
    assert_eq!(recovery.bytes_in_flight(), 1200);
}

proptest! {
    /// Bytes in flight are always those of the packets neither acknowledged nor lost.
    #[test]
    fn the_flight_is_the_sum_of_its_packets(
        steps in proptest::collection::vec((0u8..4, 0u64..40, 1u64..8, 0u32..80), 1..150)
    ) {
        let (mut recovery, mut outcome) = (recovery(), AckOutcome::default());
        let (mut now, mut next) = (Time::from_nanos(1 << 40), 0);
        let mut flight = std::collections::BTreeSet::new();
        for (what, start, len, millis) in steps {
            now += millis * MS;
            match what {
                0 | 1 => for _ in 0..len {
                    recovery.on_packet_sent(SpaceId::Data, packet(next, now));
                    flight.insert(next);
                    next += 1;
                },
                2 if next > 0 => {
                    let acked: Vec<u64> = (next.saturating_sub(start + 1)..next).take(len as usize).collect();
                    ack(&mut recovery, now, &acked, &mut outcome).unwrap();
                }
                _ => recovery.timeout(now, &mut outcome),
            }
            for packet in outcome.acked.drain(..).chain(outcome.lost.drain(..)) {
                prop_assert!(flight.remove(&packet.number), "settled twice");
            }
            prop_assert_eq!(recovery.bytes_in_flight(), flight.len() as u64 * 1200);
            prop_assert!(recovery.window() >= 2400);
        }
    }
}
