//! What every controller must do, and what the pacer lets through.

use proptest::prelude::*;

use super::*;
use crate::recovery::Rtt;

const MTU: u64 = 1200;
const RTT: Duration = Duration::from_millis(50);
const START: Time = Time::from_nanos(1 << 40);

fn settings(algorithm: CongestionAlgorithm) -> Settings {
    Settings { algorithm, hystart: false, ..Settings::from(&TransportConfig::default()) }
}

fn controllers() -> [Controller; 2] {
    [CongestionAlgorithm::NewReno, CongestionAlgorithm::Cubic].map(|which| Controller::new(settings(which), MTU as u16))
}

/// The whole window is sent, and acknowledged a round trip later.
fn round(controller: &mut Controller, sent: Time) {
    controller.on_sent(controller.window());
    let acked = AckedBytes { bytes: controller.window(), newest: sent };
    controller.on_acked(sent + RTT, acked, 0, Some(RTT), RTT);
}

#[test]
fn the_initial_window_follows_section_7_2() {
    for (mtu, window) in [(1200, 12_000), (1472, 14_720), (1500, 14_720), (9000, 18_000)] {
        let mut controller = Controller::new(settings(CongestionAlgorithm::NewReno), mtu);
        assert_eq!(controller.window(), window);
        // Untouched, it follows the datagram size; later it only keeps its minimum.
        controller.set_mtu(1200);
        assert_eq!(controller.window(), 12_000);
        controller.on_loss(START, START, 1);
        let cut = controller.window();
        controller.set_mtu(1400);
        assert_eq!(controller.window(), cut);
        controller.set_mtu(9000);
        assert_eq!(controller.window(), 18_000);
    }
}

#[test]
fn slow_start_doubles_the_window_and_ends_at_the_threshold() {
    for mut controller in controllers() {
        round(&mut controller, START);
        assert_eq!(controller.window(), 20 * MTU);
        controller.ssthresh = 30 * MTU;
        round(&mut controller, START + RTT);
        assert_eq!(controller.window(), 30 * MTU);
        round(&mut controller, START + 2 * RTT);
        assert!(controller.window() <= 31 * MTU);
    }
}

#[test]
fn newreno_grows_by_a_datagram_each_round_trip() {
    let [mut newreno, _] = controllers();
    newreno.on_loss(START, START, 1);
    assert_eq!(newreno.window(), 5 * MTU);
    for round_trips in 1..=20 {
        round(&mut newreno, START + round_trips * RTT);
        assert_eq!(newreno.window(), (5 + u64::from(round_trips)) * MTU);
    }
}

#[test]
fn a_window_that_is_not_used_does_not_grow() {
    for mut controller in controllers() {
        for (slow_start, start) in [(true, START), (false, START + 100 * RTT)] {
            let window = controller.window();
            // A request now and then, for many round trips.
            for round_trips in 1..50 {
                controller.on_sent(2 * MTU);
                let acked = AckedBytes { bytes: 2 * MTU, newest: start + round_trips * RTT };
                controller.on_acked(start + (round_trips + 1) * RTT, acked, 0, Some(RTT), RTT);
            }
            assert_eq!(controller.window(), window, "slow start: {slow_start}");
            // All of it at once is use for every acknowledgement of that round trip.
            let sent = start + 60 * RTT;
            controller.on_sent(window);
            for left in (0..window / MTU).rev() {
                let acked = AckedBytes { bytes: MTU, newest: sent };
                controller.on_acked(sent + RTT, acked, left * MTU, Some(RTT), RTT);
            }
            assert!(controller.window() > window, "slow start: {slow_start}");
            controller.on_loss(sent + 2 * RTT, sent + 2 * RTT, 1);
        }
    }
}

#[test]
fn a_sender_with_data_left_uses_its_window_by_definition() {
    for mut controller in controllers() {
        controller.set_app_limited(false);
        let acked = AckedBytes { bytes: MTU, newest: START };
        controller.on_acked(START + RTT, acked, 0, Some(RTT), RTT);
        assert_eq!(controller.window(), 11 * MTU);
    }
}

#[test]
fn one_round_trip_of_losses_is_one_cut() {
    for (mut controller, tenths) in controllers().into_iter().zip([5, 7]) {
        let (window, avoidance) = (controller.window(), format!("{:?}", controller.avoidance));
        assert!(controller.on_loss(START, START - RTT, 3));
        assert!(!controller.on_loss(START + RTT / 2, START, 2));
        assert_eq!(controller.window(), window * tenths / 10);
        assert!(!controller.in_slow_start());
        // Five were lost; four arrive after all, and then the last.
        let epoch = Some(controller.epoch());
        for _ in 0..4 {
            controller.on_spurious_loss(epoch);
            assert_eq!(controller.window(), window * tenths / 10);
        }
        controller.on_spurious_loss(epoch);
        assert_eq!(controller.window(), window);
        assert!(controller.in_slow_start() && !controller.in_recovery(START));
        assert_eq!(format!("{:?}", controller.avoidance), avoidance);
    }
}

#[test]
fn only_the_last_cut_can_be_taken_back() {
    for mut controller in controllers() {
        controller.on_loss(START, START, 1);
        let (first, between) = (controller.epoch(), controller.window());
        controller.on_loss(START + RTT, START + RTT, 1);
        let window = controller.window();
        controller.on_spurious_loss(Some(first));
        controller.on_spurious_loss(None);
        assert_eq!(controller.window(), window);
        controller.on_spurious_loss(Some(controller.epoch()));
        assert_eq!(controller.window(), between);
    }
}

#[test]
fn persistent_congestion_leaves_two_datagrams_and_slow_start() {
    for mut controller in controllers() {
        (0..6).for_each(|round_trips| round(&mut controller, START + round_trips * RTT));
        let now = START + 6 * RTT;
        controller.on_loss(now, now, 1);
        let threshold = controller.window();
        controller.on_persistent_congestion();
        assert_eq!(controller.window(), 2 * MTU);
        round(&mut controller, now);
        assert_eq!(controller.window(), 4 * MTU);
        controller.on_spurious_loss(Some(controller.epoch()));
        assert_eq!((controller.window(), controller.ssthresh), (4 * MTU, threshold));
    }
}

#[test]
fn hystart_ends_the_first_slow_start_only() {
    let with_hystart = Settings { hystart: true, ..settings(CongestionAlgorithm::Cubic) };
    let mut controller = Controller::new(with_hystart, MTU as u16);
    let mut now = START;
    let mut rounds = |controller: &mut Controller, count: u32| {
        for _ in 0..count {
            // The delay grows by a quarter in every round.
            let (sent, rtt) = (now, RTT + RTT * now.since(START).as_millis() as u32 / 200);
            now += rtt;
            let bytes = controller.window() / 10;
            controller.on_sent(10 * bytes);
            for _ in 0..10 {
                controller.on_acked(now, AckedBytes { bytes, newest: sent }, 0, Some(rtt), rtt);
            }
        }
    };
    rounds(&mut controller, 8);
    assert!(!controller.in_slow_start() && controller.window() < 100 * MTU, "{}", controller.window());
    controller.on_persistent_congestion();
    let threshold = controller.ssthresh;
    rounds(&mut controller, 2);
    assert_eq!(controller.window(), threshold.min(8 * MTU));
}

// --- the pacer

fn sampled(rtt: Duration) -> Rtt {
    let mut estimate = Rtt::new(rtt);
    estimate.update(rtt, Duration::ZERO);
    estimate
}

/// A controller in congestion avoidance whose window is `window`.
fn avoiding(window: u64) -> Controller {
    let [mut controller, _] = controllers();
    (controller.window, controller.ssthresh) = (window, window);
    controller
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
    fn the_window_stays_in_bounds(
        steps in proptest::collection::vec((0u8..7, 0u64..1 << 42, 0u64..100_000), 0..200),
    ) {
        for mut controller in controllers() {
            let mut now = START;
            for (what, bytes, micros) in &steps {
                let gap = Duration::from_micros(*micros);
                now += gap;
                match what {
                    0 => { controller.on_loss(now, now - gap, *bytes as u32); }
                    1 => controller.on_spurious_loss(Some(controller.epoch())),
                    2 if *bytes < 1 << 36 => controller.on_persistent_congestion(),
                    3 => { controller.on_ecn_ce(now, now - gap); }
                    4 => controller.set_mtu(1200 + (*bytes % 8000) as u16),
                    _ => {
                        controller.set_app_limited(what % 2 == 0);
                        controller.on_sent(*bytes);
                        let acked = AckedBytes { bytes: *bytes, newest: now - gap };
                        controller.on_acked(now, acked, bytes / 2, Some(gap), gap);
                    }
                }
                prop_assert!(controller.window() >= 2 * u64::from(controller.mtu()));
                prop_assert!(controller.window() <= MAX_WINDOW);
            }
        }
    }
}
