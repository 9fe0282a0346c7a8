//! What every controller with a window must do.

use super::*;
use crate::config::TransportConfig;

const MTU: u64 = 1200;
const RTT: Duration = Duration::from_millis(50);
const START: Time = Time::from_nanos(1 << 40);

fn settings(algorithm: CongestionAlgorithm) -> Settings {
    Settings { algorithm, hystart: false, ..Settings::from(&TransportConfig::default()) }
}

fn controllers() -> [Windowed; 2] {
    [CongestionAlgorithm::NewReno, CongestionAlgorithm::Cubic].map(|which| Windowed::new(settings(which), MTU as u16))
}

/// What is known after a round trip that took `latest`, on a path that takes [`RTT`].
fn measured(latest: Duration) -> Rtt {
    let mut rtt = Rtt::new(RTT);
    (0..50).for_each(|_| rtt.update(RTT, Duration::ZERO));
    rtt.update(latest, Duration::ZERO);
    rtt
}

/// The whole window is sent, and acknowledged a round trip later.
fn round(controller: &mut Windowed, sent: Time) {
    controller.on_sent(controller.window());
    let acked = AckedBytes { bytes: controller.window(), all: controller.window(), newest: sent };
    controller.on_acked(sent + RTT, acked, 0, Some(RTT), RTT);
}

#[test]
// RFC 9002 section 7.2#1#2#3#4.
fn the_initial_window_follows_section_7_2() {
    for (mtu, window) in [(1200, 12_000), (1472, 14_720), (1500, 14_720), (9000, 18_000)] {
        let mut controller = Windowed::new(settings(CongestionAlgorithm::NewReno), mtu);
        assert_eq!(controller.window(), window);
        // Untouched, it follows the datagram size; later it only keeps its minimum.
        controller.set_mtu(1200);
        assert_eq!(controller.window(), 12_000);
        controller.on_loss(START, START, 1, &measured(RTT));
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
// RFC 9002 section 7.3.3#1.
fn newreno_grows_by_a_datagram_each_round_trip() {
    let [mut newreno, _] = controllers();
    newreno.on_loss(START, START, 1, &measured(RTT));
    assert_eq!(newreno.window(), 5 * MTU);
    for round_trips in 1..=20 {
        round(&mut newreno, START + round_trips * RTT);
        assert_eq!(newreno.window(), (5 + u64::from(round_trips)) * MTU);
    }
}

#[test]
// RFC 9002 section 7.8#1.
fn a_window_that_is_not_used_does_not_grow() {
    for mut controller in controllers() {
        for (slow_start, start) in [(true, START), (false, START + 100 * RTT)] {
            let window = controller.window();
            // A request now and then, for many round trips.
            for round_trips in 1..50 {
                controller.on_sent(2 * MTU);
                let acked = AckedBytes { bytes: 2 * MTU, all: 2 * MTU, newest: start + round_trips * RTT };
                controller.on_acked(start + (round_trips + 1) * RTT, acked, 0, Some(RTT), RTT);
            }
            assert_eq!(controller.window(), window, "slow start: {slow_start}");
            // All of it at once is use for every acknowledgement of that round trip.
            let sent = start + 60 * RTT;
            controller.on_sent(window);
            for left in (0..window / MTU).rev() {
                let acked = AckedBytes { bytes: MTU, all: MTU, newest: sent };
                controller.on_acked(sent + RTT, acked, left * MTU, Some(RTT), RTT);
            }
            assert!(controller.window() > window, "slow start: {slow_start}");
            controller.on_loss(sent + 2 * RTT, sent + 2 * RTT, 1, &measured(RTT));
        }
    }
}

#[test]
// RFC 9002 section 7.8#2.
fn a_sender_with_data_left_uses_its_window_by_definition() {
    for mut controller in controllers() {
        controller.set_app_limited(false);
        let acked = AckedBytes { bytes: MTU, all: MTU, newest: START };
        controller.on_acked(START + RTT, acked, 0, Some(RTT), RTT);
        assert_eq!(controller.window(), 11 * MTU);
    }
}

#[test]
// RFC 9002 sections 7.3.1#1, 7.3.2#1#2.
fn one_round_trip_of_losses_is_one_cut() {
    for (mut controller, tenths) in controllers().into_iter().zip([5, 7]) {
        let (window, avoidance) = (controller.window(), format!("{:?}", controller.avoidance));
        assert!(controller.on_loss(START, START - RTT, 3, &measured(RTT)));
        assert!(!controller.on_loss(START + RTT / 2, START, 2, &measured(RTT)));
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
fn losses_by_chance_leave_the_window_if_that_is_set() {
    for algorithm in [CongestionAlgorithm::NewReno, CongestionAlgorithm::Cubic] {
        let set = Settings { random_loss: true, ..settings(algorithm) };
        let controller = || Windowed::new(set, MTU as u16).avoiding(80 * MTU);
        let mut kept = controller();
        for round_trips in 0..20 {
            let now = START + round_trips * RTT;
            assert!(!kept.on_loss(now, now - RTT / 2, 10, &measured(RTT)));
        }
        assert_eq!(kept.window(), 80 * MTU);
        // A queue, or too many, and it is as without.
        assert!(controller().on_loss(START, START, 1, &measured(2 * RTT)));
        assert!(controller().on_loss(START, START, 11, &measured(RTT)));
        let mut both = controller();
        assert!(!both.on_loss(START, START - RTT, 10, &measured(RTT)));
        assert!(both.on_loss(START, START - RTT, 1, &measured(RTT)));
        assert!(both.window() < 80 * MTU);
        // Not what a jump has lost.
        let mut resumed = Windowed::new(set, MTU as u16);
        resumed.resume(SavedPath { window: 400 * MTU, rtt: RTT });
        assert!(resumed.on_loss(START, START, 1, &measured(RTT)));
    }
}

#[test]
fn only_the_last_cut_can_be_taken_back() {
    for mut controller in controllers() {
        controller.on_loss(START, START, 1, &measured(RTT));
        let (first, between) = (controller.epoch(), controller.window());
        controller.on_loss(START + RTT, START + RTT, 1, &measured(RTT));
        let window = controller.window();
        controller.on_spurious_loss(Some(first));
        controller.on_spurious_loss(None);
        assert_eq!(controller.window(), window);
        controller.on_spurious_loss(Some(controller.epoch()));
        assert_eq!(controller.window(), between);
    }
}

#[test]
// RFC 9002 section 7.6.2#4.
fn persistent_congestion_leaves_two_datagrams_and_slow_start() {
    for mut controller in controllers() {
        (0..6).for_each(|round_trips| round(&mut controller, START + round_trips * RTT));
        let now = START + 6 * RTT;
        controller.on_loss(now, now, 1, &measured(RTT));
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
    let mut controller = Windowed::new(with_hystart, MTU as u16);
    let mut now = START;
    let mut rounds = |controller: &mut Windowed, count: u32| {
        for _ in 0..count {
            // The delay grows by a quarter in every round.
            let (sent, rtt) = (now, RTT + RTT * now.since(START).as_millis() as u32 / 200);
            now += rtt;
            let bytes = controller.window() / 10;
            controller.on_sent(10 * bytes);
            for _ in 0..10 {
                controller.on_acked(now, AckedBytes { bytes, all: bytes, newest: sent }, 0, Some(rtt), rtt);
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

#[test]
fn a_path_that_is_known_is_resumed_by_a_jump() {
    for mut controller in controllers() {
        controller.resume(SavedPath { window: 400 * MTU, rtt: RTT });
        controller.set_app_limited(false);
        round(&mut controller, START);
        assert_eq!(controller.window(), 200 * MTU);
        // Evenly: 200 datagrams in a round trip, and not 400.
        let mut rtt = Rtt::new(RTT);
        rtt.update(RTT, Duration::ZERO);
        assert_eq!(controller.pace(&rtt).rate.bytes_in(RTT), 200 * MTU);
        // Another jump is not made, and what arrives lets it go on.
        round(&mut controller, START + RTT + Duration::from_millis(1));
        assert!(controller.window() >= 200 * MTU, "{}", controller.window());
    }
}

#[test]
fn a_jump_that_was_too_far_is_taken_back_for_good() {
    for mut controller in controllers() {
        controller.resume(SavedPath { window: 400 * MTU, rtt: RTT });
        controller.set_app_limited(false);
        round(&mut controller, START);
        let now = START + 3 * RTT / 2;
        assert!(controller.on_loss(now, now, 5, &measured(RTT)));
        assert_eq!(controller.window(), 5 * MTU, "half of the ten that arrived");
        let epoch = Some(controller.epoch());
        (0..5).for_each(|_| controller.on_spurious_loss(epoch));
        assert_eq!(controller.window(), 5 * MTU);
        // What was sent on trust is settled: slow start, up to what has arrived.
        let acked = AckedBytes { bytes: MTU, all: MTU, newest: now + Duration::from_millis(1) };
        controller.on_acked(now + RTT, acked, 0, Some(RTT), RTT);
        assert!(controller.in_slow_start() && controller.ssthresh >= 10 * MTU);
    }
}
