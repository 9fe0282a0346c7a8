//! Acknowledgements against RFC 9000 section 13.2 and draft-ietf-quic-ack-frequency.

use tercel_wire::{Frame, Reader};

use super::*;

const DELAY: Duration = Duration::from_millis(25);

fn policy() -> AckPolicy {
    AckPolicy::new(2, DELAY)
}

/// Receives packets as a space does.
fn receive_marked(
    acks: &mut AckPolicy,
    received: &mut Received,
    now: Time,
    number: u64,
    ack_eliciting: bool,
    ecn: Ecn,
) {
    let largest_before = received.largest();
    received.insert(number);
    acks.on_packet(now, AckedPacket { number, ack_eliciting, ecn, largest_before }, received);
}

fn receive(acks: &mut AckPolicy, received: &mut Received, now: Time, number: u64, ack_eliciting: bool) {
    receive_marked(acks, received, now, number, ack_eliciting, Ecn::NotEct);
}

/// Tells the peer, if that is urgent.
fn told(acks: &mut AckPolicy, received: &Received) -> bool {
    let due = acks.urgency(Time::ZERO) == Urgency::Now;
    assert!(!due || acks.write(Time::ZERO, received, 3, &mut Writer::new(&mut [0; 400])).is_some());
    due
}

#[test]
// RFC 9000 sections 13.2.1#1, 13.2.2#1.
// RFC 9221 section 5.2#1.
fn the_first_packet_waits_and_the_second_is_due() {
    let (mut acks, mut received) = (policy(), Received::default());
    receive(&mut acks, &mut received, Time::ZERO, 0, true);
    assert_eq!(acks.urgency(Time::ZERO), Urgency::By(Time::ZERO + DELAY));
    assert_eq!(acks.urgency(Time::ZERO + DELAY), Urgency::Now);
    receive(&mut acks, &mut received, Time::ZERO, 1, true);
    assert_eq!(acks.urgency(Time::ZERO), Urgency::Now);
}

#[test]
// RFC 9000 section 13.2.1#4.
fn nothing_is_due_for_packets_that_elicit_nothing() {
    let (mut acks, mut received) = (policy(), Received::default());
    for number in 0..10 {
        receive(&mut acks, &mut received, Time::ZERO, number, false);
    }
    assert_eq!(acks.urgency(Time::ZERO), Urgency::None);
}

#[test]
// RFC 9000 section 13.2.1#7#8.
fn disorder_and_congestion_are_told_at_once() {
    for (number, ecn) in [(3, Ecn::NotEct), (7, Ecn::NotEct), (6, Ecn::Ce), (4, Ecn::NotEct)] {
        let (mut acks, mut received) = (policy(), Received::default());
        [0, 5].into_iter().for_each(|number| receive(&mut acks, &mut received, Time::ZERO, number, false));
        receive_marked(&mut acks, &mut received, Time::ZERO, number, true, ecn);
        assert_eq!(acks.urgency(Time::ZERO), Urgency::Now, "{number} {ecn:?}");
    }
}

#[test]
// RFC 9000 sections 13.2.3#1#5, 13.2.5#1, 13.4.1#1, 19.3#1.
fn the_frame_says_what_was_received_and_how_long_ago() {
    let (mut acks, mut received) = (policy(), Received::default());
    receive_marked(&mut acks, &mut received, Time::ZERO, 4, true, Ecn::Ect0);
    let mut bytes = [0; 64];
    let mut writer = Writer::new(&mut bytes);
    let now = Time::ZERO + Duration::from_micros(800);
    assert_eq!(acks.write(now, &received, 3, &mut writer), Some(4));
    let mut reader = Reader::new(writer.written());
    let Ok(Frame::Ack(ack)) = Frame::decode(&mut reader) else { panic!() };
    assert_eq!((ack.largest, ack.delay, ack.ecn.unwrap().ect0), (4, 100, 1));
    assert_eq!(acks.urgency(now), Urgency::None);
}

/// Section 13.2.1: within max_ack_delay of the first that waits, however many come that elicit
/// nothing, and however late the next.
#[test]
// RFC 9000 section 13.2.1#1#2.
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
// RFC 9000 section 13.2.1#3.
fn the_threshold_counts_since_the_last_frame() {
    for threshold in 1..5u32 {
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
// RFC 9000 section 13.2.1#2.
fn handshakes_do_not_wait() {
    let (mut acks, mut received) = (AckPolicy::immediate(), Received::default());
    receive(&mut acks, &mut received, Time::ZERO, 0, true);
    assert_eq!(acks.urgency(Time::ZERO), Urgency::Now);
}

/// The delay is that of the largest number, not of what came later.
#[test]
// RFC 9000 section 13.2.5#1#3.
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
        let mut reader = Reader::new(writer.written());
        let Ok(Frame::Ack(ack)) = Frame::decode(&mut reader) else { panic!() };
        assert_eq!((ack.largest, ack.delay, ack.ecn), (5, delay, None));
    }
}

fn ask(sequence: u64, threshold: u64, max_ack_delay: u64, reordering_threshold: u64) -> AckFrequency {
    AckFrequency { sequence, threshold, max_ack_delay, reordering_threshold }
}

/// Which of these packets are told of at once by one who asked for that only when the order demands it.
fn told_for_disorder(reordering: u64, numbers: &[u64]) -> Vec<u64> {
    let (mut acks, mut received) = (policy(), Received::default());
    acks.on_frequency(&ask(0, 1000, 25_000, reordering)).unwrap();
    let tell = |number: &u64| {
        receive(&mut acks, &mut received, Time::ZERO, *number, true);
        told(&mut acks, &received)
    };
    numbers.iter().copied().filter(tell).collect()
}

/// The draft's tables 1 and 2.
#[test]
fn disorder_is_told_when_a_packet_can_be_taken_for_lost() {
    assert_eq!(told_for_disorder(3, &[0, 1, 3, 4, 5, 8, 9, 10]), [5, 9, 10]);
    assert_eq!(told_for_disorder(5, &[0, 1, 3, 5, 6, 7, 8, 9]), [7, 9]);
}

/// The draft's section 6.2: never; as RFC 9000 has it; and when a packet comes that was taken for lost.
#[test]
fn disorder_is_told_as_far_as_the_peer_asked() {
    assert_eq!(told_for_disorder(0, &[0, 5, 1, 3, 2]), []);
    assert_eq!(told_for_disorder(1, &[0, 1, 3, 4, 2]), [3, 2]);
    assert_eq!(told_for_disorder(3, &[0, 2, 3, 1]), []);
    assert_eq!(told_for_disorder(3, &[0, 2, 3, 4, 5, 1]), [4, 1]);
}

#[test]
fn the_peer_says_how_many_packets_and_how_long() {
    let (mut acks, mut received) = (policy(), Received::default());
    let at = |ms| Time::ZERO + Duration::from_millis(ms);
    receive(&mut acks, &mut received, at(0), 0, true);
    // What waits already waits no longer than it is to from now on.
    acks.on_frequency(&ask(7, 3, 10_000, 1)).unwrap();
    assert_eq!(acks.next_timeout(), Some(at(10)));
    acks.on_frequency(&ask(8, 3, 40_000, 1)).unwrap();
    assert_eq!(acks.next_timeout(), Some(at(10)));
    for number in 1..4 {
        assert!(!told(&mut acks, &received));
        receive(&mut acks, &mut received, at(1), number, true);
    }
    assert!(told(&mut acks, &received), "more than three");
    receive(&mut acks, &mut received, at(2), 4, true);
    assert_eq!(acks.next_timeout(), Some(at(42)));
    // The draft's section 4: what is not newer is ignored; a threshold of 0 is every packet.
    acks.on_frequency(&ask(8, 0, 1000, 1)).unwrap();
    acks.on_frequency(&ask(2, 0, 1000, 1)).unwrap();
    assert_eq!(acks.next_timeout(), Some(at(42)));
    acks.on_frequency(&ask(9, 0, 1000, 1)).unwrap();
    receive(&mut acks, &mut received, at(2), 5, true);
    assert!(told(&mut acks, &received));
    acks.on_frequency(&ask(u64::MAX, u64::MAX, 1000, u64::MAX)).unwrap();
    receive(&mut acks, &mut received, at(2), 900, true);
    assert_eq!(acks.next_timeout(), Some(at(3)), "no threshold is too high");
}

/// The draft's section 4.
#[test]
fn delays_out_of_bounds_are_violations() {
    for (delay, good) in [(0, false), (999, false), (1000, true), (16_383_999, true), (16_384_000, false)] {
        assert_eq!(policy().on_frequency(&ask(0, 1, delay, 1)).is_ok(), good, "{delay}");
    }
    assert!(AckPolicy::new(2, Duration::ZERO).on_frequency(&ask(0, 1, 0, 1)).is_ok());
    let violation = policy().on_frequency(&ask(0, 1, u64::MAX, 1)).unwrap_err();
    assert_eq!(violation.code, TransportErrorCode::PROTOCOL_VIOLATION);
}

#[test]
fn an_immediate_acknowledgement_is_of_its_own_packet_only() {
    let (mut acks, mut received) = (policy(), Received::default());
    acks.on_frequency(&ask(0, 10, 25_000, 3)).unwrap();
    receive(&mut acks, &mut received, Time::ZERO, 0, true);
    acks.on_immediate();
    receive(&mut acks, &mut received, Time::ZERO, 1, true);
    assert!(told(&mut acks, &received));
    receive(&mut acks, &mut received, Time::ZERO, 2, true);
    assert!(!told(&mut acks, &received));
}

/// The draft's section 6.3: of a row of marks the first is told at once; and every one, as RFC 9000 has
/// it, to who did not ask for fewer.
#[test]
fn congestion_is_told_when_it_begins() {
    let marks = [Ecn::Ect0, Ecn::Ce, Ecn::Ce, Ecn::Ect0, Ecn::Ce, Ecn::Ce];
    for (wish, expected) in [(Some(10), vec![1, 4]), (Some(1), vec![1, 2, 4, 5]), (None, vec![1, 2, 4, 5])] {
        let (mut acks, mut received) = (AckPolicy::new(5, DELAY), Received::default());
        if let Some(threshold) = wish {
            acks.on_frequency(&ask(0, threshold, 25_000, 3)).unwrap();
        }
        let tell = |(number, mark): (u64, Ecn)| {
            receive_marked(&mut acks, &mut received, Time::ZERO, number, true, mark);
            (told(&mut acks, &received)).then_some(number)
        };
        let told: Vec<u64> = (0..).zip(marks).filter_map(tell).collect();
        assert_eq!(told, expected, "{wish:?}");
    }
}
