//! What every controller must do.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

const MTU: u16 = 1200;
const RTT: Duration = Duration::from_millis(50);

fn rtt() -> Rtt {
    let mut rtt = Rtt::new(RTT);
    rtt.update(RTT, Duration::ZERO);
    rtt
}

fn acked(now: Time, bytes: u64, rtt: &Rtt, in_flight: u64) -> Acked<'_> {
    Acked {
        now,
        bytes,
        largest_sent: now - RTT,
        largest_number: 0,
        app_limited: false,
        in_flight_before: in_flight,
        rtt,
    }
}

fn controllers() -> [Controller; 2] {
    [CongestionAlgorithm::NewReno, CongestionAlgorithm::Cubic]
        .map(|algorithm| Controller::new(algorithm, false, 10, MTU))
}

#[test]
fn slow_start_doubles_the_window() {
    let rtt = rtt();
    for mut controller in controllers() {
        let window = controller.window();
        controller.on_acked(acked(Time::from_nanos(1 << 40), window, &rtt, window));
        assert_eq!(controller.window(), 2 * window);
    }
}

#[test]
fn a_window_that_is_not_used_does_not_grow() {
    let rtt = rtt();
    for mut controller in controllers() {
        let window = controller.window();
        let acked = Acked { app_limited: true, ..acked(Time::from_nanos(1 << 40), 1200, &rtt, 1200) };
        controller.on_acked(acked);
        assert_eq!(controller.window(), window);
    }
}

#[test]
fn one_round_trip_of_losses_is_one_cut_and_can_be_taken_back() {
    let now = Time::from_nanos(1 << 40);
    for (mut controller, share) in controllers().into_iter().zip([50, 70]) {
        let window = controller.window();
        assert!(controller.on_loss(now, now - RTT, 0));
        assert!(!controller.on_loss(now + RTT / 2, now - RTT / 2, 0));
        assert_eq!(controller.window(), window * share / 100);
        controller.on_spurious_loss();
        assert_eq!(controller.window(), window);
        assert!(controller.in_slow_start());
    }
}

#[test]
fn persistent_congestion_leaves_two_datagrams() {
    for mut controller in controllers() {
        controller.on_persistent_congestion();
        assert_eq!(controller.window(), 2 * u64::from(MTU));
    }
}

/// RFC 9438 section 4.3: at short round trips CUBIC must not be slower than Reno with its cut.
#[test]
fn cubic_is_no_slower_than_reno_and_recovers_its_window() {
    let rtt = rtt();
    let mut controller = Controller::new(CongestionAlgorithm::Cubic, false, 100, MTU);
    let mut now = Time::from_nanos(1 << 40);
    let before = controller.window();
    controller.on_loss(now, now - RTT, before);
    now += 2 * RTT;
    for _ in 0..(5000 / 50) {
        let window = controller.window();
        controller.on_acked(acked(now, window, &rtt, window));
        now += RTT;
    }
    // K is 4.2 s, so after 5 s the curve is back at its window. Reno's estimate is faster at this
    // round-trip time: 57 round trips of 9/17 segments, and then 43 of one: 143 segments.
    let segments = controller.window() / u64::from(MTU);
    assert!((before / u64::from(MTU)..=144).contains(&segments) && segments >= 140, "{segments}");
}

proptest! {
    #[test]
    fn the_window_stays_in_bounds(steps in proptest::collection::vec((0u8..5, 0u64..200_000, 0u64..200), 0..200)) {
        let rtt = rtt();
        for mut controller in controllers() {
            let mut now = Time::from_nanos(1 << 40);
            for (what, bytes, millis) in &steps {
                now += Duration::from_millis(*millis);
                match what {
                    0 => { controller.on_loss(now, now - Duration::from_millis(*millis), *bytes); }
                    1 => controller.on_spurious_loss(),
                    2 if *bytes < 1000 => controller.on_persistent_congestion(),
                    3 => controller.on_acked(Acked { app_limited: true, ..acked(now, *bytes, &rtt, *bytes) }),
                    _ => controller.on_acked(acked(now, *bytes, &rtt, *bytes)),
                }
                prop_assert!(controller.window() >= 2 * u64::from(MTU));
                prop_assert!(controller.window() < 1 << 48);
            }
        }
    }
}
