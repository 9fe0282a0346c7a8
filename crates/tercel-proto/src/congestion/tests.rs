//! What holds for every controller, and what the pacer lets through.

use proptest::prelude::*;
use tercel_wire::EncryptionLevel;

use super::*;

const MTU: u64 = 1200;
const RTT: Duration = Duration::from_millis(50);
const START: Time = Time::from_nanos(1 << 40);

fn settings(algorithm: CongestionAlgorithm) -> Settings {
    Settings { algorithm, hystart: false, ..Settings::from(&TransportConfig::default()) }
}

const ALL: [CongestionAlgorithm; 4] =
    [CongestionAlgorithm::NewReno, CongestionAlgorithm::Cubic, CongestionAlgorithm::Prague, CongestionAlgorithm::Bbr];

// --- the pacer

fn sampled(rtt: Duration) -> Rtt {
    let mut estimate = Rtt::new(rtt);
    estimate.update(rtt, Duration::ZERO);
    estimate
}

/// A controller in congestion avoidance whose window is `window`.
fn avoiding(window: u64) -> Controller {
    let windowed = Windowed::new(settings(CongestionAlgorithm::Cubic), MTU as u16);
    Controller(Kind::Windowed(Box::new(windowed.avoiding(window))))
}

/// Sends as the pacer allows for a second, with timers that fire only every `grain`, in batches of
/// up to 64 datagrams. Returns the bytes sent and how many batches it took.
fn pace(controller: &Controller, rtt: &Rtt, grain: Duration) -> (u64, u64) {
    let mut pacer = Pacer::new(true);
    let (mut now, mut bytes, mut batches) = (START, 0, 0);
    while now < START + Duration::from_secs(1) {
        match pacer.release(now, rtt, controller) {
            Ok(burst) => {
                assert!(burst >= MTU);
                for _ in 0..(burst / MTU).min(64) {
                    pacer.on_sent(MTU as u16);
                    bytes += MTU;
                }
                batches += 1;
            }
            Err(until) => {
                assert!(until > now);
                let grains = until.since(START).as_nanos().div_ceil(grain.as_nanos());
                now = START + grain * grains as u32;
            }
        }
    }
    (bytes, batches)
}

#[test]
// RFC 9002 section 7.7#1#2.
fn the_pacer_keeps_the_rate_whatever_the_timers() {
    let rtt = Duration::from_millis(40);
    // From 240 kbit/s to 24 Gbit/s.
    for packets in [1, 10, 100, 1000, 10_000, 100_000] {
        let controller = avoiding(packets * MTU);
        for grain in [Duration::from_micros(1), Duration::from_millis(1)] {
            let (bytes, batches) = pace(&controller, &sampled(rtt), grain);
            let exact = controller.window() * 5 / 4 * 25;
            let credit = 10 * MTU + exact / 250;
            assert!(
                bytes + credit / 2 >= exact && bytes <= exact + credit,
                "{packets} with {grain:?}: {bytes} instead of {exact}"
            );
            // Batches as large as a millisecond allows.
            let least = (bytes / MTU).min(1000) + bytes / (64 * MTU);
            assert!(batches <= least + 10, "{packets} with {grain:?}: {batches} batches, {least} would do");
        }
    }
}

#[test]
fn being_asked_often_does_not_slow_the_pacer() {
    // 37.5 bytes a millisecond, asked every 40 us.
    let (controller, rtt) = (avoiding(2 * MTU), sampled(Duration::from_millis(80)));
    let (mut pacer, mut sent) = (Pacer::new(true), 0);
    for step in 0..100_000 {
        while pacer.release(START + step * Duration::from_micros(40), &rtt, &controller).is_ok() {
            pacer.on_sent(MTU as u16);
            sent += 1;
        }
    }
    // In four seconds, after the burst at the start.
    assert!((10 + 124..=10 + 126).contains(&sent), "{sent}");
}

#[test]
fn on_a_short_path_only_the_window_counts() {
    // A window each 100 us, for which no timer is fine enough: the pacer never waits.
    let (controller, rtt) = (avoiding(1000 * MTU), sampled(Duration::from_micros(100)));
    let mut pacer = Pacer::new(true);
    for round_trip in 0..1000 {
        let mut left = controller.window();
        while left > 0 {
            let burst = pacer.release(START + round_trip * Duration::from_micros(100), &rtt, &controller).unwrap();
            for _ in 0..(burst.min(left) / MTU).min(64) {
                pacer.on_sent(MTU as u16);
                left -= MTU;
            }
        }
    }
}

#[test]
// RFC 9002 section 7.7#2#3.
fn silence_earns_no_more_than_a_burst() {
    let (controller, rtt) = (avoiding(1000 * MTU), sampled(RTT));
    let mut pacer = Pacer::new(true);
    // 1.25 windows each 50 ms: 25 datagrams in a millisecond, held twice.
    for now in [START, START + Duration::from_secs(1000)] {
        assert_eq!(pacer.release(now, &rtt, &controller), Ok(2 * 25 * MTU));
        (0..50).for_each(|_| pacer.on_sent(MTU as u16));
        assert_eq!(pacer.release(now, &rtt, &controller), Err(now + Duration::from_millis(1)));
        // An acknowledgement in between does not tear the burst apart.
        let early = now + Duration::from_micros(900);
        assert_eq!(pacer.release(early, &rtt, &controller), Err(now + Duration::from_millis(1)));
        assert_eq!(pacer.release(now + Duration::from_millis(1), &rtt, &controller), Ok(25 * MTU));
        (0..25).for_each(|_| pacer.on_sent(MTU as u16));
    }
}

#[test]
// RFC 9002 section 7.7#1#2.
fn who_comes_late_sends_what_was_due_meanwhile_but_no_more_than_a_batch() {
    // 2.5 datagrams in a millisecond, and 125 in a round trip.
    let (controller, rtt) = (avoiding(100 * MTU), sampled(Duration::from_millis(50)));
    let millis = Duration::from_millis;
    for (late, due) in [(millis(16), 40), (millis(40), 64), (millis(1_000_000), 64)] {
        let mut pacer = Pacer::new(true);
        assert_eq!(pacer.release(START, &rtt, &controller), Ok(10 * MTU));
        (0..10).for_each(|_| pacer.on_sent(MTU as u16));
        assert_eq!(pacer.release(START, &rtt, &controller), Err(START + millis(1)));
        assert_eq!(pacer.release(START + late, &rtt, &controller), Ok(due * MTU));
    }
    // The same if it was not the pacer that had kept it waiting, unless it was silent: what was left before counts as part of it.
    for (late, due) in [(2, 10), (4, 10), (16, 40), (40, 64), (100, 64), (101, 10), (1_000_000, 10)] {
        for left in [1, 10] {
            let mut pacer = Pacer::new(true);
            assert_eq!(pacer.release(START, &rtt, &controller), Ok(10 * MTU));
            (left..10).for_each(|_| pacer.on_sent(MTU as u16));
            let now = START + millis(late);
            assert_eq!(
                pacer.release(now, &rtt, &controller),
                Ok((left * MTU + late * MTU * 5 / 2).min(due * MTU)),
                "{late} ms, {left}"
            );
        }
    }
}

#[test]
fn who_has_waited_for_a_longer_round_trip_than_ever_was_not_silent() {
    let millis = Duration::from_millis;
    let controller = avoiding(100 * MTU);
    let mut rtt = sampled(millis(10));
    rtt.update(millis(80), Duration::ZERO);
    // Some 18.75 ms on the whole: 6.67 datagrams in a millisecond.
    assert!(2 * rtt.smoothed < millis(80));
    for (late, due) in [(8, 53), (80, 64), (160, 64), (161, 13), (1_000_000, 13)] {
        let mut pacer = Pacer::new(true);
        let held = pacer.release(START, &rtt, &controller).unwrap() / MTU;
        (0..held).for_each(|_| pacer.on_sent(MTU as u16));
        let now = START + millis(late);
        assert_eq!(pacer.release(now, &rtt, &controller).map(|bytes| bytes / MTU), Ok(due), "{late} ms");
    }
}

#[test]
// RFC 9002 section 7.7#1.
fn who_comes_late_again_and_again_has_the_rate_and_not_more() {
    // 250 datagrams in 100 ms, asked for every 16 ms.
    let (controller, rtt) = (avoiding(100 * MTU), sampled(Duration::from_millis(50)));
    let (mut pacer, mut sent) = (Pacer::new(true), 0);
    for turn in 0..1000 {
        if let Ok(bytes) = pacer.release(START + turn * Duration::from_millis(16), &rtt, &controller) {
            assert!(bytes <= 40 * MTU, "{bytes}");
            for _ in 0..bytes / MTU {
                pacer.on_sent(MTU as u16);
                sent += 1;
            }
        }
    }
    assert!((999 * 40..=999 * 40 + 10).contains(&sent), "{sent}");
}

#[test]
fn without_a_round_trip_time_or_turned_off_nothing_waits() {
    let controller = avoiding(10 * MTU);
    for (mut pacer, rtt) in [(Pacer::new(true), Rtt::new(RTT)), (Pacer::new(false), sampled(RTT))] {
        for _ in 0..1000 {
            assert_eq!(pacer.release(START, &rtt, &controller), Ok(u64::MAX));
            pacer.on_sent(MTU as u16);
        }
    }
}

proptest! {
    #[test]
    fn window_and_pace_stay_in_bounds(
        steps in proptest::collection::vec((0u8..8, 0u64..1 << 42, 0u64..100_000), 0..200),
    ) {
        for algorithm in ALL {
            let mut controller = Controller::new(settings(algorithm), MTU as u16);
            let (mut now, mut number) = (START, 0);
            let mut rtt = Rtt::new(RTT);
            for (what, bytes, micros) in &steps {
                let gap = Duration::from_micros(*micros);
                let sent = now;
                now += gap;
                number += 1;
                let packet = SentPacket {
                    number,
                    time: sent,
                    size: (*bytes % 1500) as u16,
                    level: EncryptionLevel::OneRtt,
                    path: 0,
                    ack_eliciting: true,
                    in_flight: true,
                    ecn_marked: true,
                    mtu_probe: false,
                    // The first of those that are kept.
                    delivery: crate::recovery::Stretch::one(0),
                    frames: crate::recovery::Stretch::default(),
                };
                let kept = controller.on_sent(sent, packet.size, *bytes);
                match what {
                    0 => { controller.on_lost(now, &rtt, std::iter::once(&packet), kept.as_slice()); }
                    1 => controller.on_spurious_loss(Some(controller.epoch())),
                    2 if *bytes < 1 << 36 => controller.on_persistent_congestion(now),
                    3 => {
                        let marks = Marks { now, sent, acked: 2, ce: bytes % 3, smoothed: gap };
                        controller.on_marks(marks);
                    }
                    4 => controller.set_mtu(1200 + (*bytes % 8000) as u16),
                    _ => {
                        controller.set_app_limited(what % 2 == 0, *bytes);
                        rtt.update(gap, Duration::ZERO);
                        let ack = Ack { now, bytes_in_flight: bytes / 2, sample: Some(gap), rtt: &rtt };
                        controller.on_acked(ack, std::iter::once(&packet), kept.as_slice());
                    }
                }
                prop_assert!(controller.window() >= 2 * u64::from(controller.mtu()));
                prop_assert!(controller.window() <= MAX_WINDOW);
                prop_assert!(controller.pace(&rtt).rate.time_for(MTU) < Duration::MAX);
            }
        }
    }
}
