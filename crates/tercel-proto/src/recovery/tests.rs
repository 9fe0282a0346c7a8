//! Recovery against the rules of RFC 9002, and against a model that only counts.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tercel_wire::{Frame, Reader, Writer, frame::encode_ack};

use super::*;
use crate::ranges::RangeSet;

const MS: Duration = Duration::from_millis(1);
const START: Time = Time::from_nanos(1 << 40);
const SIZE: u64 = 1200;
const DATA: SpaceId = SpaceId::Data;

pub(super) fn packet(number: u64, time: Time) -> SentPacket {
    SentPacket {
        number,
        time,
        size: SIZE as u16,
        level: EncryptionLevel::OneRtt,
        path: 0,
        ack_eliciting: true,
        in_flight: true,
        ecn_marked: false,
        mtu_probe: false,
        delivery: Stretch::default(),
        frames: Stretch::default(),
    }
}

fn initial(number: u64, time: Time) -> SentPacket {
    SentPacket { level: EncryptionLevel::Initial, ..packet(number, time) }
}

fn handshake(number: u64, time: Time) -> SentPacket {
    SentPacket { level: EncryptionLevel::Handshake, ..packet(number, time) }
}

pub(super) const CONFIRMED: Progress =
    Progress { has_handshake_keys: true, confirmed: true, peer_validated: true, crypto_waits: false, blocked: false };

/// A client's recovery with the handshake behind it, and an outcome to use.
fn confirmed() -> (Recovery, AckOutcome) {
    let mut recovery = Recovery::new(Role::Client, &TransportConfig { hystart: false, ..TransportConfig::default() });
    recovery.set_progress(START, CONFIRMED);
    (recovery, AckOutcome::default())
}

/// The same with a round-trip time of 100 ms, known from packet 0, which was sent at `START`; it is
/// 100 ms later now.
fn measured() -> (Recovery, AckOutcome, Time) {
    let (mut recovery, mut outcome) = confirmed();
    recovery.on_packet_sent(packet(0, START), &[]);
    let now = START + 100 * MS;
    ack(&mut recovery, now, DATA, &[0], &mut outcome).unwrap();
    (recovery, outcome, now)
}

fn send(recovery: &mut Recovery, numbers: std::ops::Range<u64>, now: Time) {
    numbers.for_each(|number| recovery.on_packet_sent(packet(number, now), &[]));
}

fn ack_delayed(
    recovery: &mut Recovery,
    (now, delay): (Time, Duration),
    space: SpaceId,
    numbers: &[u64],
    outcome: &mut AckOutcome,
) -> Result<(), Violation> {
    let mut set = RangeSet::new();
    numbers.iter().for_each(|number| set.insert(*number..number + 1));
    let mut bytes = [0; 2000];
    let mut writer = Writer::new(&mut bytes);
    assert!(encode_ack(&mut writer, set.iter().rev().map(|range| range.start..=range.end - 1), 0, None));
    let Ok(Frame::Ack(frame)) = Frame::decode(&mut Reader::new(writer.written())) else { panic!() };
    recovery.on_ack((now, now), space, &frame, delay, outcome)
}

pub(super) fn ack(
    recovery: &mut Recovery,
    now: Time,
    space: SpaceId,
    numbers: &[u64],
    outcome: &mut AckOutcome,
) -> Result<(), Violation> {
    ack_delayed(recovery, (now, Duration::ZERO), space, numbers, outcome)
}

fn numbers(packets: &[SentPacket]) -> Vec<u64> {
    packets.iter().map(|packet| packet.number).collect()
}

// --- loss detection, section 6.1

#[test]
// RFC 9002 sections 6.1.1#1#2, 6.1.2#1#3#4.
fn three_packets_behind_is_lost_and_the_rest_when_it_is_late() {
    let (mut recovery, mut outcome) = confirmed();
    send(&mut recovery, 0..5, START);
    ack(&mut recovery, START + 100 * MS, DATA, &[3], &mut outcome).unwrap();
    assert_eq!((numbers(&outcome.acked), numbers(&outcome.lost)), (vec![3], vec![0]));
    assert_eq!(recovery.bytes_in_flight(), 3 * SIZE);
    // 9/8 of the round-trip time after they were sent, and not a moment before.
    let late = START + 100 * MS * 9 / 8;
    assert_eq!(recovery.next_timeout(), Some(late));
    recovery.timeout(late - Duration::from_nanos(1), |_| true, &mut outcome);
    assert!(outcome.lost.is_empty());
    recovery.timeout(late, |_| true, &mut outcome);
    assert_eq!(numbers(&outcome.lost), [1, 2]);
    assert_eq!((recovery.stats().congestion_events, recovery.stats().packets_lost), (1, 3));
    // Packet 4 is above the largest acknowledged: only a probe can tell.
    assert_eq!(recovery.next_timeout(), Some(START + recovery.pto(DATA)));
}

#[test]
// RFC 9000 section 13.1#2.
fn acknowledgements_of_packets_that_were_never_sent_are_violations() {
    let (mut recovery, mut outcome) = confirmed();
    send(&mut recovery, 0..1, START);
    recovery.on_packet_sent(packet(2, START), &[]);
    for never in [1, 3, 1 << 61] {
        let violation = ack(&mut recovery, START + MS, DATA, &[never], &mut outcome).unwrap_err();
        assert_eq!(violation.code, TransportErrorCode::PROTOCOL_VIOLATION);
    }
    assert!(ack(&mut recovery, START + MS, SpaceId::Initial, &[0], &mut outcome).is_err());
    assert!(ack(&mut recovery, START + MS, DATA, &[0, 2], &mut outcome).is_ok());
    assert_eq!(numbers(&outcome.acked), [2, 0]);
}

#[test]
// RFC 9000 section 13.4.2.1#1.
// RFC 9002 section 5.1#1.
fn an_acknowledgement_counts_once() {
    let (mut recovery, mut outcome, now) = measured();
    send(&mut recovery, 1..3, now);
    ack(&mut recovery, now + 50 * MS, DATA, &[0, 1], &mut outcome).unwrap();
    assert_eq!((numbers(&outcome.acked), outcome.largest_acked_sent), (vec![1], Some(now)));
    let rtt = *recovery.rtt();
    ack(&mut recovery, now + 90 * MS, DATA, &[0, 1], &mut outcome).unwrap();
    assert!(outcome.acked.is_empty() && !outcome.rtt_updated && outcome.largest_acked_sent.is_none());
    assert_eq!(*recovery.rtt(), rtt);
    // An ACK frame that was overtaken by another raises nothing.
    send(&mut recovery, 3..5, now);
    ack(&mut recovery, now + 95 * MS, DATA, &[4], &mut outcome).unwrap();
    assert_eq!(outcome.largest_acked_sent, Some(now));
    ack(&mut recovery, now + 96 * MS, DATA, &[3], &mut outcome).unwrap();
    assert_eq!((numbers(&outcome.acked), outcome.largest_acked_sent), (vec![3], None));
}

#[test]
// RFC 9002 section 5.1#2.
fn packets_with_acknowledgements_only_are_neither_timed_nor_in_flight() {
    let (mut recovery, mut outcome, now) = measured();
    let (rtt, window) = (*recovery.rtt(), recovery.window());
    for number in 1..6 {
        recovery.on_packet_sent(SentPacket { ack_eliciting: false, in_flight: false, ..packet(number, now) }, &[]);
    }
    assert_eq!((recovery.bytes_in_flight(), recovery.next_timeout()), (0, None));
    ack(&mut recovery, now + MS, DATA, &[5], &mut outcome).unwrap();
    assert_eq!(numbers(&outcome.lost), [1, 2]);
    assert_eq!((*recovery.rtt(), recovery.window()), (rtt, window));
}

#[test]
// RFC 9000 section 14.4#1.
fn a_lost_size_probe_cuts_nothing() {
    let (mut recovery, mut outcome) = confirmed();
    recovery.on_packet_sent(SentPacket { mtu_probe: true, ..packet(0, START) }, &[]);
    send(&mut recovery, 1..5, START);
    ack(&mut recovery, START + 20 * MS, DATA, &[1, 2, 3, 4], &mut outcome).unwrap();
    assert_eq!(numbers(&outcome.lost), [0]);
    assert_eq!((recovery.stats().congestion_events, recovery.bytes_in_flight()), (0, 0));
}

// --- round-trip time, section 5

#[test]
// RFC 9002 sections 5.2#1, 5.3#3#4.
fn round_trip_times_follow_section_5_3() {
    let (mut recovery, mut outcome) = confirmed();
    let mut now = START;
    // Sample and delay told; smoothed, variation and smallest after it, in microseconds.
    for (number, (sample, delay, smoothed, var, min)) in [
        (100, 0, 100_000, 50_000, 100_000),
        // The delay is subtracted: |100 - 120| = 20.
        (140, 20, 102_500, 42_500, 100_000),
        // No more than max_ack_delay, 25 ms, is believed: 135.
        (160, 400, 106_562, 40_000, 100_000),
        // Subtracting would go below the smallest.
        (110, 20, 106_992, 30_859, 100_000),
        // A smaller sample than all before.
        (50, 10, 99_868, 37_392, 50_000),
    ]
    .into_iter()
    .enumerate()
    {
        send(&mut recovery, number as u64..number as u64 + 1, now);
        now += sample * MS;
        ack_delayed(&mut recovery, (now, delay * MS), DATA, &[number as u64], &mut outcome).unwrap();
        let rtt = recovery.rtt();
        let micros = [rtt.smoothed, rtt.var, rtt.min].map(|time| time.as_micros());
        assert_eq!((rtt.latest, micros), (sample * MS, [smoothed, var, min]));
    }
}

#[test]
// RFC 9002 section 5.3#1#2.
fn the_delay_is_believed_in_full_before_confirmation_and_never_for_initial_packets() {
    for (space, adjusted) in [(SpaceId::Initial, 200), (SpaceId::Handshake, 120)] {
        let mut recovery = Recovery::new(Role::Server, &TransportConfig::default());
        let mut outcome = AckOutcome::default();
        for (number, sent, acked) in [(0, START, START + 100 * MS), (1, START + 100 * MS, START + 300 * MS)] {
            let make = if space == SpaceId::Initial { initial } else { handshake };
            recovery.on_packet_sent(make(number, sent), &[]);
            ack_delayed(&mut recovery, (acked, 80 * MS), space, &[number], &mut outcome).unwrap();
        }
        assert_eq!(recovery.rtt().smoothed, (7 * 100 * MS + adjusted * MS) / 8);
    }
}

// --- probe timeout, section 6.2

#[test]
// RFC 9002 sections 6.2#1, 6.2.1#5, 6.2.2#1, 7.5#1.
fn probes_back_off_and_an_answer_ends_it() {
    let (mut recovery, mut outcome) = confirmed();
    let mut now = START;
    send(&mut recovery, 0..1, now);
    // Before a sample: 333 ms + 4 * 166.5 ms + 25 ms.
    let pto = Duration::from_micros(333_000 + 666_000 + 25_000);
    for (count, number) in (1..5).zip([1, 3, 5, 7]) {
        let due = recovery.next_timeout().unwrap();
        assert_eq!(due.since(now), pto * (1 << (count - 1)));
        recovery.timeout(due, |_| true, &mut outcome);
        assert!(outcome.lost.is_empty());
        assert_eq!(recovery.pto_count(), count);
        for probe in 0..2 {
            assert_eq!(recovery.allowance(due), Allowance::Probe { space: DATA });
            recovery.on_packet_sent(packet(number + probe, due), &[]);
        }
        assert!(!recovery.owes_probe(DATA));
        now = due;
    }
    ack(&mut recovery, now + 10 * MS, DATA, &[8], &mut outcome).unwrap();
    assert_eq!((recovery.pto_count(), recovery.stats().probe_timeouts), (0, 4));
}

#[test]
fn a_timer_that_fires_late_fires_once() {
    let (mut recovery, mut outcome) = confirmed();
    send(&mut recovery, 0..1, START);
    let late = START + Duration::from_secs(1000);
    recovery.timeout(late, |_| true, &mut outcome);
    assert!(recovery.next_timeout().unwrap() > late);
    recovery.timeout(late, |_| true, &mut outcome);
    assert_eq!(recovery.pto_count(), 1);
}

#[test]
// RFC 9002 sections 6.2.1#2#3#4, 6.2.2#3, 6.2.2.1#1, 6.4#1.
fn the_earliest_space_probes_and_data_only_when_confirmed() {
    let mut recovery = Recovery::new(Role::Server, &TransportConfig::default());
    let mut outcome = AckOutcome::default();
    assert_eq!(recovery.next_timeout(), None);
    send(&mut recovery, 0..1, START);
    assert_eq!(recovery.next_timeout(), None, "application data before confirmation");
    recovery.on_packet_sent(handshake(0, START + 2 * MS), &[]);
    recovery.on_packet_sent(initial(0, START + 3 * MS), &[]);
    assert_eq!(recovery.next_timeout(), Some(START + 2 * MS + recovery.pto(SpaceId::Handshake)));
    // The peer acknowledges handshake packets at once.
    assert_eq!(recovery.pto(DATA), recovery.pto(SpaceId::Handshake) + 25 * MS);

    recovery.set_progress(START, Progress { blocked: true, ..Progress::default() });
    assert_eq!(recovery.next_timeout(), None, "a blocked server cannot probe");
    recovery.set_progress(START, Progress::default());
    recovery.timeout(START + 2000 * MS, |_| true, &mut outcome);
    assert!(recovery.owes_probe(SpaceId::Handshake) && !recovery.owes_probe(SpaceId::Initial));

    recovery.discard_space(SpaceId::Handshake);
    recovery.discard_space(SpaceId::Initial);
    assert_eq!((recovery.pto_count(), recovery.bytes_in_flight()), (0, SIZE));
    assert!(!recovery.owes_probe(SpaceId::Handshake));
    assert_eq!(recovery.next_timeout(), None);
    recovery.set_progress(START, CONFIRMED);
    assert_eq!(recovery.next_timeout(), Some(START + recovery.pto(DATA)));
}

/// Application data that the peer cannot acknowledge yet may fill the window; the lost Finished that
/// it lacks has to get through nevertheless.
#[test]
fn handshake_data_is_probed_for_while_application_data_fills_the_window() {
    let mut recovery = Recovery::new(Role::Client, &TransportConfig::default());
    let mut outcome = AckOutcome::default();
    let progress = Progress { has_handshake_keys: true, peer_validated: true, ..Progress::default() };
    recovery.set_progress(START, progress);
    send(&mut recovery, 0..10, START);
    assert_eq!(recovery.next_timeout(), None);
    recovery.set_progress(START, Progress { crypto_waits: true, ..progress });
    assert!(matches!(recovery.allowance(START), Allowance::Blocked { .. }));
    recovery.timeout(recovery.next_timeout().unwrap(), |_| true, &mut outcome);
    assert_eq!(recovery.allowance(START), Allowance::Probe { space: SpaceId::Handshake });
}

#[test]
// RFC 9002 sections 6.2.1#4, 6.2.2.1#2#3.
fn a_client_probes_with_nothing_in_flight_until_the_server_has_validated_it() {
    let mut recovery = Recovery::new(Role::Client, &TransportConfig::default());
    let mut outcome = AckOutcome::default();
    assert_eq!(recovery.next_timeout(), None);
    recovery.on_packet_sent(initial(0, START), &[]);
    ack(&mut recovery, START + 40 * MS, SpaceId::Initial, &[0], &mut outcome).unwrap();
    // 40 ms + 4 * 20 ms from the acknowledgement.
    let due = START + 160 * MS;
    assert_eq!(recovery.next_timeout(), Some(due));
    recovery.timeout(due, |_| true, &mut outcome);
    assert_eq!(recovery.allowance(due), Allowance::Probe { space: SpaceId::Initial });
    recovery.on_packet_sent(initial(1, due), &[]);
    recovery.on_packet_sent(initial(2, due), &[]);
    // Section 6.2.1: such an acknowledgement does not end the backoff.
    ack(&mut recovery, due + 40 * MS, SpaceId::Initial, &[2], &mut outcome).unwrap();
    assert_eq!(recovery.pto_count(), 1);

    recovery.set_progress(due, Progress { has_handshake_keys: true, ..Progress::default() });
    recovery.timeout(due + 10_000 * MS, |_| true, &mut outcome);
    recovery.timeout(due + 20_000 * MS, |_| true, &mut outcome);
    assert!(recovery.owes_probe(SpaceId::Handshake));
    recovery.on_packet_sent(handshake(0, due + 20_000 * MS), &[]);
    ack(&mut recovery, due + 20_040 * MS, SpaceId::Handshake, &[0], &mut outcome).unwrap();
    assert_eq!((recovery.pto_count(), recovery.next_timeout()), (0, None));
}

#[test]
// RFC 9002 section 6.2.4#3.
fn a_probe_carries_the_oldest_data_of_every_space_once() {
    let mut recovery = Recovery::new(Role::Server, &TransportConfig::default());
    let mut outcome = AckOutcome::default();
    let crypto = |offset| SentFrame::Crypto { offset, len: 1000 };
    let silent = [SentFrame::Ack { largest: 7 }, SentFrame::Datagram { number: 1 }, SentFrame::PathChallenge([0; 8])];
    recovery.on_packet_sent(SentPacket { ..initial(0, START) }, &[crypto(0), silent[0]]);
    for number in 0..3 {
        let frames = [&[crypto(number * 1000)][..], &silent].concat();
        recovery.on_packet_sent(SentPacket { ..handshake(number, START) }, &frames);
    }
    let due = recovery.next_timeout().unwrap();
    recovery.timeout(due, |_| true, &mut outcome);
    let hand = SpaceId::Handshake;
    assert_eq!(outcome.repeat, [(SpaceId::Initial, crypto(0)), (hand, crypto(0)), (hand, crypto(1000))]);
    assert_eq!(recovery.bytes_in_flight(), 4 * SIZE);
    // Each frame is in one packet only; what is left stays with its packet.
    ack(&mut recovery, due + MS, hand, &[0, 1, 2], &mut outcome).unwrap();
    let frames: Vec<_> = outcome.acked.iter().flat_map(|packet| outcome.frames(packet).to_vec()).collect();
    assert_eq!(frames, [&silent[..], &silent[..], &[crypto(2000)], &silent[..]].concat());
}

// --- persistent congestion, section 7.6

/// Sends packets 1 to 9 two seconds apart, with a round-trip time of 1 s, so that persistent
/// congestion takes about 3 * (1 s + 4 * 0.5 s + 25 ms); then acknowledges 9 and `arrived`.
fn outage(change: impl Fn(u64, SentPacket) -> SentPacket, arrived: &[u64]) -> (Recovery, AckOutcome) {
    let (mut recovery, mut outcome) = confirmed();
    send(&mut recovery, 0..1, START);
    ack(&mut recovery, START + 1000 * MS, DATA, &[0], &mut outcome).unwrap();
    for number in 1..=9 {
        let time = START + (1000 + number as u32 * 2000) * MS;
        recovery.on_packet_sent(change(number, packet(number, time)), &[]);
    }
    let mut acked = arrived.to_vec();
    acked.push(9);
    ack(&mut recovery, START + 21_000 * MS, DATA, &acked, &mut outcome).unwrap();
    (recovery, outcome)
}

#[test]
// RFC 9002 sections 5.2#2, 7.6.1#1, 7.6.2#4.
fn losses_over_a_long_time_are_persistent_congestion() {
    // It takes 11 s by then. 1 to 8 lie 14 s apart, 5 to 8 only 6 s, 1 to 7 again 12 s.
    for (arrived, persistent) in [(vec![], true), (vec![4], false), (vec![8], true), (vec![3, 6], false)] {
        let (recovery, outcome) = outage(|_, packet| packet, &arrived);
        assert_eq!(outcome.persistent_congestion, persistent, "{arrived:?}");
        assert_eq!(recovery.stats().persistent_congestion, u64::from(persistent));
        assert!((recovery.window() <= 4 * SIZE) == persistent, "{}", recovery.window());
        // 1000 ms before; packet 9 took 2000 ms.
        assert_eq!(recovery.rtt().min, if persistent { 2000 } else { 1000 } * MS);
    }
}

#[test]
// RFC 9002 section 7.6.2#1.
fn only_what_must_be_answered_on_the_path_makes_persistent_congestion() {
    let at_the_ends = |number: u64| !(3..=6).contains(&number);
    let silent =
        outage(|number, packet| SentPacket { ack_eliciting: !at_the_ends(number) || number == 9, ..packet }, &[]);
    let elsewhere = outage(|number, packet| SentPacket { path: u32::from(number < 9), ..packet }, &[]);
    let probes = outage(|number, packet| SentPacket { mtu_probe: number < 9, ..packet }, &[]);
    for (name, (recovery, outcome)) in [("silent", silent), ("elsewhere", elsewhere), ("probes", probes)] {
        assert!(!outcome.persistent_congestion, "{name}");
        assert_eq!(recovery.stats().packets_lost, 8);
    }
}

#[test]
// RFC 9002 section 7.6.2#3.
fn a_run_of_losses_may_be_found_piece_by_piece_and_another_space_breaks_it() {
    for break_it in [false, true] {
        let (mut recovery, mut outcome) = confirmed();
        send(&mut recovery, 0..1, START);
        ack(&mut recovery, START + 1000 * MS, DATA, &[0], &mut outcome).unwrap();
        let mut found = false;
        for round in 0..6 {
            let now = START + (2000 + 3000 * round) * MS;
            let number = 1 + 2 * u64::from(round);
            recovery.on_packet_sent(packet(number, now), &[]);
            recovery
                .on_packet_sent(SentPacket { ack_eliciting: false, in_flight: false, ..packet(number + 1, now) }, &[]);
            if break_it && round == 2 {
                recovery.on_packet_sent(handshake(0, now + MS), &[]);
                ack(&mut recovery, now + 1000 * MS, SpaceId::Handshake, &[0], &mut outcome).unwrap();
            }
            // No packet of this space arrives, but the timer of the other space reveals that the
            // older ones are gone.
            let _ = recovery.spaces[DATA as usize].as_mut().unwrap().sent.raise_largest_acked(number);
            recovery.detect_losses(now + 2500 * MS, DATA, &mut outcome);
            found |= std::mem::take(&mut outcome.persistent_congestion);
            outcome.clear();
        }
        assert_eq!(found, !break_it);
    }
}

#[test]
// RFC 9002 section 7.6.2#2.
fn without_a_round_trip_time_nothing_is_persistent() {
    let (mut recovery, mut outcome) = confirmed();
    for number in 0..10 {
        send(&mut recovery, number..number + 1, START + number as u32 * 5000 * MS);
    }
    ack(&mut recovery, START + 50_000 * MS, DATA, &[9], &mut outcome).unwrap();
    assert_eq!(numbers(&outcome.lost).len(), 9);
    assert!(!outcome.persistent_congestion);
}

// --- losses that were none

#[test]
fn a_cut_is_taken_back_when_every_lost_packet_arrives_after_all() {
    let (mut recovery, mut outcome, now) = measured();
    let window = recovery.window();
    send(&mut recovery, 1..9, now);
    ack(&mut recovery, now + 100 * MS, DATA, &[5, 6, 7, 8], &mut outcome).unwrap();
    assert_eq!(numbers(&outcome.lost), [1, 2, 3, 4]);
    let cut = recovery.window();
    assert!(cut < window);
    ack(&mut recovery, now + 105 * MS, DATA, &[1, 2, 4, 8], &mut outcome).unwrap();
    assert!(outcome.acked.is_empty());
    assert_eq!((recovery.window(), recovery.stats().packets_lost_spuriously), (cut, 3));
    // Again the same says nothing new.
    ack(&mut recovery, now + 106 * MS, DATA, &[1, 2, 4, 8], &mut outcome).unwrap();
    assert_eq!((recovery.window(), recovery.stats().packets_lost_spuriously), (cut, 3));
    ack(&mut recovery, now + 107 * MS, DATA, &[1, 2, 3, 4, 8], &mut outcome).unwrap();
    assert!(recovery.window() >= window);
    assert_eq!(recovery.stats().packets_lost_spuriously, 4);
}

#[test]
fn a_cut_stands_when_proof_comes_too_late_or_the_network_says_so_itself() {
    for by_ecn in [false, true] {
        let (mut recovery, mut outcome, now) = measured();
        send(&mut recovery, 1..9, now);
        ack(&mut recovery, now + 100 * MS, DATA, &[5, 6, 7, 8], &mut outcome).unwrap();
        let mut later = now + 105 * MS;
        if by_ecn {
            recovery.on_marks(later, now, 1, 1);
        } else {
            later = now + 5000 * MS;
            send(&mut recovery, 9..10, later);
            recovery.set_app_limited(true);
            ack(&mut recovery, later + 100 * MS, DATA, &[9], &mut outcome).unwrap();
        }
        let cut = recovery.window();
        ack(&mut recovery, later + 101 * MS, DATA, &[1, 2, 3, 4, 8], &mut outcome).unwrap();
        assert_eq!(recovery.window(), cut);
    }
}

#[test]
fn a_size_probe_that_was_late_proves_nothing() {
    let (mut recovery, mut outcome, now) = measured();
    recovery.on_packet_sent(SentPacket { mtu_probe: true, ..packet(1, now) }, &[]);
    send(&mut recovery, 2..9, now);
    ack(&mut recovery, now + 100 * MS, DATA, &[5, 6, 7, 8], &mut outcome).unwrap();
    assert_eq!(numbers(&outcome.lost), [1, 2, 3, 4]);
    let cut = recovery.window();
    ack(&mut recovery, now + 105 * MS, DATA, &[1, 2, 3, 8], &mut outcome).unwrap();
    assert_eq!((recovery.window(), recovery.stats().packets_lost_spuriously), (cut, 3));
}

#[test]
fn what_was_sent_before_a_cut_earns_nothing() {
    let (mut recovery, mut outcome, now) = measured();
    send(&mut recovery, 1..11, now);
    ack(&mut recovery, now + 100 * MS, DATA, &[4], &mut outcome).unwrap();
    let cut = recovery.window();
    send(&mut recovery, 11..12, now + 101 * MS);
    ack(&mut recovery, now + 102 * MS, DATA, &[2, 3, 4, 5, 6, 7, 8, 9, 10], &mut outcome).unwrap();
    assert_eq!((recovery.window(), recovery.bytes_in_flight()), (cut, SIZE));
    recovery.set_app_limited(false);
    ack(&mut recovery, now + 201 * MS, DATA, &[11], &mut outcome).unwrap();
    assert!(recovery.window() > cut);
}

#[test]
// RFC 9002 section 7.3.1#1.
fn a_mark_cuts_once_a_round_trip() {
    let (mut recovery, _, now) = measured();
    send(&mut recovery, 1..9, now);
    recovery.on_marks(now + 50 * MS, now, 1, 1);
    let cut = recovery.window();
    recovery.on_marks(now + 60 * MS, now + 50 * MS, 1, 1);
    assert_eq!((recovery.window(), recovery.stats().congestion_events), (cut, 1));
    recovery.on_marks(now + 120 * MS, now + 51 * MS, 1, 1);
    assert!(recovery.window() < cut);
}

/// Sends packets of one DATAGRAM frame each; the datagram has the number of its packet.
fn send_datagrams(recovery: &mut Recovery, numbers: std::ops::Range<u64>, now: Time) {
    for number in numbers {
        let frames = [SentFrame::Datagram { number }];
        recovery.on_packet_sent(SentPacket { ..packet(number, now) }, &frames);
    }
}

fn datagrams(frames: &[SentFrame]) -> Vec<u64> {
    let number = |frame: &SentFrame| match frame {
        SentFrame::Datagram { number } => *number,
        _ => panic!("{frame:?} is not awaited"),
    };
    frames.iter().map(number).collect()
}

/// A lost datagram is told once more: when its acknowledgement comes after all, or when nobody waits
/// for that any more; and the latter though nothing else happens on the connection.
#[test]
fn lost_datagrams_are_late_or_discarded() {
    let (mut recovery, mut outcome, now) = measured();
    send_datagrams(&mut recovery, 1..4, now);
    send(&mut recovery, 4..7, now);
    ack(&mut recovery, now + 100 * MS, DATA, &[4, 5, 6], &mut outcome).unwrap();
    assert_eq!(numbers(&outcome.lost), [1, 2, 3]);
    assert!(outcome.late.is_empty() && outcome.discarded.is_empty());
    ack(&mut recovery, now + 101 * MS, DATA, &[2, 6], &mut outcome).unwrap();
    assert_eq!((datagrams(&outcome.late), datagrams(&outcome.discarded)), (vec![2], vec![]));
    ack(&mut recovery, now + 102 * MS, DATA, &[2, 6], &mut outcome).unwrap();
    assert!(outcome.late.is_empty(), "told once");
    let end = recovery.next_timeout().unwrap();
    assert!(end > now + 400 * MS && end < now + 1000 * MS, "{:?}", end.since(now));
    recovery.timeout(end - Duration::from_nanos(1), |_| true, &mut outcome);
    assert!(outcome.discarded.is_empty());
    recovery.timeout(end, |_| true, &mut outcome);
    assert_eq!(datagrams(&outcome.discarded), [1, 3]);
    assert_eq!(recovery.next_timeout(), None);
    ack(&mut recovery, end + MS, DATA, &[1, 6], &mut outcome).unwrap();
    assert!(outcome.late.is_empty());
}

/// Also on another path, and after a Retry.
#[test]
fn lost_datagrams_are_discarded_whatever_becomes_of_their_path() {
    let (mut recovery, mut outcome, now) = measured();
    send_datagrams(&mut recovery, 1..2, now);
    send(&mut recovery, 2..5, now);
    ack(&mut recovery, now + 100 * MS, DATA, &[2, 3, 4], &mut outcome).unwrap();
    recovery.path_changed(1, 1200, false);
    let end = recovery.next_timeout().unwrap();
    recovery.timeout(end, |_| true, &mut outcome);
    assert_eq!(datagrams(&outcome.discarded), [1]);

    let mut recovery = Recovery::new(Role::Client, &TransportConfig::default());
    recovery.on_packet_sent(initial(0, START), &[]);
    let frames = [SentFrame::Datagram { number: 0 }];
    recovery.on_packet_sent(SentPacket { level: EncryptionLevel::ZeroRtt, ..packet(0, START) }, &frames);
    recovery.retry_received(START + 10 * MS, &mut outcome);
    assert_eq!(outcome.lost.len(), 2);
    while outcome.discarded.is_empty() {
        let next = recovery.next_timeout().unwrap();
        recovery.timeout(next, |_| true, &mut outcome);
    }
    assert_eq!(datagrams(&outcome.discarded), [0]);
}

// --- paths, Retry and early data

#[test]
// RFC 9000 section 9.4#1#2.
fn packets_of_an_older_path_do_not_count() {
    let (mut recovery, mut outcome) = confirmed();
    send(&mut recovery, 0..4, START);
    // A probe of the new path was under way before the change.
    recovery.on_packet_sent(SentPacket { path: 1, ..packet(4, START) }, &[]);
    assert_eq!(recovery.bytes_in_flight(), 4 * SIZE);
    recovery.path_changed(1, 1200, false);
    assert_eq!(recovery.bytes_in_flight(), SIZE);
    let window = recovery.window();
    ack(&mut recovery, START + 20 * MS, DATA, &[3], &mut outcome).unwrap();
    assert_eq!(numbers(&outcome.lost), [0]);
    assert_eq!((recovery.bytes_in_flight(), recovery.window()), (SIZE, window));
    assert!(!recovery.rtt().is_sampled());
    ack(&mut recovery, START + 30 * MS, DATA, &[3, 4], &mut outcome).unwrap();
    assert_eq!(recovery.rtt().latest, 30 * MS);
}

#[test]
// RFC 9000 section 9.4#2.
fn a_change_of_port_keeps_everything() {
    let (mut recovery, mut outcome, now) = measured();
    let before = (*recovery.rtt(), recovery.window());
    send(&mut recovery, 1..4, now);
    recovery.path_changed(7, 1200, true);
    assert_eq!((*recovery.rtt(), recovery.window(), recovery.bytes_in_flight()), (before.0, before.1, 3 * SIZE));
    ack(&mut recovery, now + 80 * MS, DATA, &[1, 2, 3], &mut outcome).unwrap();
    assert_eq!((recovery.bytes_in_flight(), recovery.rtt().latest), (0, 80 * MS));
    assert!(outcome.acked.iter().all(|packet| packet.path == 7));
}

#[test]
// RFC 9000 sections 17.2.3#1#2, 17.2.5.3#2.
fn a_retry_takes_everything_back_and_hints_at_the_round_trip() {
    let mut recovery = Recovery::new(Role::Client, &TransportConfig::default());
    let mut outcome = AckOutcome::default();
    recovery.on_packet_sent(initial(0, START), &[]);
    recovery.on_packet_sent(SentPacket { level: EncryptionLevel::ZeroRtt, ..packet(0, START) }, &[]);
    recovery.retry_received(START + 30 * MS, &mut outcome);
    assert_eq!(outcome.lost.len(), 2);
    assert_eq!((recovery.bytes_in_flight(), recovery.stats().packets_lost), (0, 0));
    assert_eq!(recovery.rtt().smoothed, 30 * MS);
    // Numbers go on where they were.
    recovery.on_packet_sent(initial(1, START + 30 * MS), &[]);
    ack(&mut recovery, START + 50 * MS, SpaceId::Initial, &[1], &mut outcome).unwrap();
    assert_eq!((numbers(&outcome.acked), recovery.rtt().latest), (vec![1], 20 * MS));
}

#[test]
fn rejected_early_data_is_taken_back_without_blame() {
    let mut recovery = Recovery::new(Role::Client, &TransportConfig::default());
    let (mut outcome, window) = (AckOutcome::default(), recovery.window());
    for number in 0..3 {
        recovery.on_packet_sent(SentPacket { level: EncryptionLevel::ZeroRtt, ..packet(number, START) }, &[]);
    }
    recovery.on_packet_sent(packet(3, START), &[]);
    recovery.lose_early_data(&mut outcome);
    assert_eq!(numbers(&outcome.lost), [0, 1, 2]);
    assert_eq!((recovery.bytes_in_flight(), recovery.window()), (SIZE, window));
    // RFC 9001 section 4.6.2#2.
    let violation = ack(&mut recovery, START + MS, DATA, &[2, 3], &mut outcome).unwrap_err();
    assert_eq!(violation.code, TransportErrorCode::PROTOCOL_VIOLATION);
    assert!(ack(&mut recovery, START + MS, DATA, &[3], &mut outcome).is_ok());
}

// --- allowance

#[test]
// RFC 9002 section 7#2.
fn the_window_bounds_what_is_in_flight_to_the_byte() {
    let (mut recovery, mut outcome) = confirmed();
    assert_eq!(recovery.allowance(START), Allowance::Send { bytes: 10 * SIZE });
    send(&mut recovery, 0..9, START);
    assert_eq!(recovery.allowance(START), Allowance::Send { bytes: SIZE });
    recovery.on_packet_sent(SentPacket { size: 1, ..packet(9, START) }, &[]);
    assert_eq!(recovery.allowance(START), Allowance::Blocked { until: None });
    ack(&mut recovery, START + 10 * MS, DATA, &[0], &mut outcome).unwrap();
    assert!(matches!(recovery.allowance(START + 10 * MS), Allowance::Send { .. }));
}

/// What may happen to a connection.
#[derive(Debug, Clone)]
enum Step {
    Send { space: usize, count: u64, skip: u64, size: u16, path: u32, kind: u8 },
    Ack { space: usize, pick: u64, upto: u64 },
    Timeout,
    Ce,
    Path { path: u32, keep: bool },
    Mtu(u16),
    EarlyRejected,
    Retry,
    Discard(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let send = (0usize..3, 1u64..20, 0u64..2, 40u16..1500, 0u32..3, 0u8..6)
        .prop_map(|(space, count, skip, size, path, kind)| Step::Send { space, count, skip, size, path, kind });
    prop_oneof![
        30 => send,
        30 => (0usize..3, any::<u64>(), 0u64..40).prop_map(|(space, pick, upto)| Step::Ack { space, pick, upto }),
        20 => Just(Step::Timeout),
        3 => Just(Step::Ce),
        3 => (0u32..3, any::<bool>()).prop_map(|(path, keep)| Step::Path { path, keep }),
        2 => (1200u16..9000).prop_map(Step::Mtu),
        1 => Just(Step::EarlyRejected),
        1 => Just(Step::Retry),
        1 => (0usize..2).prop_map(Step::Discard),
    ]
}

/// The packets that a connection knows to be under way: path and size of those in flight.
#[derive(Default)]
struct Model {
    flight: BTreeMap<(SpaceId, u64), (u32, u64)>,
    next: [u64; 3],
    sent: [Vec<u64>; 3],
    repeated: Vec<(SpaceId, SentFrame)>,
    path: u32,
}

impl Model {
    fn settle(&mut self, outcome: &AckOutcome) {
        for packet in outcome.acked.iter().chain(&outcome.lost) {
            let known = self.flight.remove(&(packet.level.space(), packet.number));
            assert!(known.is_some(), "settled twice: {packet:?}");
            // What a probe is to repeat is no more its packet's.
            let crypto = SentFrame::Crypto { offset: packet.number, len: 1 };
            let kept = !self.repeated.contains(&(packet.level.space(), crypto));
            let frames = [SentFrame::Ack { largest: packet.number }].into_iter().chain(kept.then_some(crypto));
            assert_eq!(outcome.frames(packet), frames.collect::<Vec<_>>());
        }
        self.repeated.extend(&outcome.repeat);
    }

    fn take(&mut self, recovery: &mut Recovery, now: Time, step: Step, outcome: &mut AckOutcome) {
        match step {
            Step::Send { space, count, skip, size, path, kind } => {
                if recovery.spaces[space].is_none() {
                    return;
                }
                self.next[space] += skip;
                for _ in 0..count {
                    let number = self.next[space];
                    let level = match (space, kind) {
                        (0, _) => EncryptionLevel::Initial,
                        (1, _) => EncryptionLevel::Handshake,
                        (_, 1) => EncryptionLevel::ZeroRtt,
                        _ => EncryptionLevel::OneRtt,
                    };
                    let (ack_eliciting, in_flight, mtu_probe) = (kind > 1, kind > 0, kind == 5);
                    let frames = [SentFrame::Ack { largest: number }, SentFrame::Crypto { offset: number, len: 1 }];
                    recovery.on_packet_sent(
                        SentPacket { size, level, path, ack_eliciting, in_flight, mtu_probe, ..packet(number, now) },
                        &frames,
                    );
                    let counted = if in_flight { u64::from(size) } else { 0 };
                    self.flight.insert((level.space(), number), (path, counted));
                    self.sent[space].push(number);
                    self.next[space] += 1;
                }
            }
            Step::Ack { space, pick, upto } => {
                let sent = &self.sent[space];
                let newest = sent.len().saturating_sub(upto as usize);
                let window = &sent[newest.saturating_sub(64)..newest];
                let acked: Vec<u64> = window
                    .iter()
                    .enumerate()
                    .filter(|(at, _)| pick >> at & 1 == 1)
                    .map(|(_, number)| *number)
                    .collect();
                if !acked.is_empty() {
                    ack(recovery, now, SpaceId::ALL[space], &acked, outcome).unwrap();
                }
            }
            Step::Timeout => recovery.timeout(now, |_| true, outcome),
            Step::Ce => recovery.on_marks(now, now - 10 * MS, 1, 1),
            Step::Path { path, keep } => {
                let old = std::mem::replace(&mut self.path, path);
                for (of, _) in self.flight.values_mut().filter(|_| keep) {
                    *of = if *of == old { path } else { *of };
                }
                recovery.path_changed(path, 1200, keep);
            }
            Step::Mtu(mtu) => recovery.mtu_changed(mtu),
            Step::EarlyRejected => {
                recovery.lose_early_data(outcome);
                let refused = numbers(&outcome.lost);
                self.sent[DATA as usize].retain(|number| !refused.contains(number));
            }
            Step::Retry => recovery.retry_received(now, outcome),
            Step::Discard(space) => {
                self.flight.retain(|(of, _), _| *of as usize != space);
                recovery.discard_space(SpaceId::ALL[space]);
            }
        }
    }

    fn bytes_in_flight(&self) -> u64 {
        self.flight.values().filter(|(path, _)| *path == self.path).map(|(_, size)| size).sum()
    }
}

proptest! {
    /// Whatever happens, even a clock that runs backwards: bytes in flight are the sum of the
    /// packets under way, every packet is settled at most once, the window stays in its bounds, and
    /// timers end.
    #[test]
    // RFC 9002 sections 7.4#1, 7.5#2.
    fn whatever_happens_the_books_balance(
        steps in proptest::collection::vec((step(), -20i64..120), 1..120),
        client: bool, which in 0..3usize, pacing: bool,
    ) {
        let role = if client { Role::Client } else { Role::Server };
        use crate::config::CongestionAlgorithm::{Bbr, Cubic, NewReno};
        let congestion = [Cubic, NewReno, Bbr][which];
        let mut recovery = Recovery::new(role, &TransportConfig { congestion, pacing, ..TransportConfig::default() });
        let (mut model, mut outcome, mut now) = (Model::default(), AckOutcome::default(), START);
        for (at, (step, millis)) in steps.into_iter().enumerate() {
            now = if millis < 0 { now - millis.unsigned_abs() as u32 * MS } else { now + millis as u32 * MS };
            if at == 40 {
                recovery.set_progress(now, CONFIRMED);
            }
            outcome.clear();
            model.take(&mut recovery, now, step, &mut outcome);
            model.settle(&outcome);
            prop_assert_eq!(recovery.bytes_in_flight(), model.bytes_in_flight());
            prop_assert!(recovery.window() >= 2400 && recovery.window() <= 1 << 40);
            match recovery.allowance(now) {
                Allowance::Send { bytes } => prop_assert!(bytes >= 1200),
                Allowance::Blocked { until: Some(until) } => prop_assert!(until > now),
                _ => {}
            }
        }
        // Without answers timers fire ever more rarely.
        let mut fired = 0;
        while let Some(due) = recovery.next_timeout().filter(|due| *due <= now + Duration::from_secs(600)) {
            recovery.timeout(due.max(now), |_| true, &mut outcome);
            fired += 1;
            prop_assert!(fired < 200, "timers spin");
        }
    }
}
