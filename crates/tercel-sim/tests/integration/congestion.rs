//! What is claimed of congestion control, one test a claim: see `docs/congestion/README.md`. In release
//! builds only, for they move gigabytes:
//!
//! ```text
//! cargo test --release -p tercel-sim --test integration congestion -- --nocapture
//! ```
//!
//! `TERCEL_CONGESTION=all` runs the whole grid of rates and round-trip times, which takes some minutes.

use std::time::Duration;

use tercel_proto::config::CongestionAlgorithm::{self, Bbr, Cubic, NewReno, Prague};
use tercel_proto::trace::CongestionPhase;
use tercel_sim::congestion::{Course, Flow, MTU, Path, Trial};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn everything() -> bool {
    std::env::var("TERCEL_CONGESTION").is_ok_and(|value| value == "all")
}

/// After slow start, or Startup and Drain.
fn warm_up(path: &Path) -> Duration {
    30 * path.rtt + SECOND
}

/// A flow alone, for eight of BBR's probes for the round-trip time and 50 round trips after its warm-up: of two probes a
/// part more or less falls into the time, as chance has it, and is a third of a percent.
fn alone(path: Path, congestion: CongestionAlgorithm) -> (Course, Duration, Duration) {
    let from = warm_up(&path);
    let to = from + (40 * SECOND).max(50 * path.rtt);
    (Trial::alone(path, congestion, to).run(), from, to)
}

/// The grid of the claim, or a few of it that stand for all.
fn fills(congestion: CongestionAlgorithm, few: &[(u64, u64)], most: u64) {
    const RATES: [u64; 7] = [1, 3, 10, 30, 100, 300, 1000];
    const RTTS: [u64; 6] = [1, 5, 20, 50, 100, 200];
    let all = RATES.iter().flat_map(|rate| RTTS.map(|rtt| (*rate, rtt))).filter(|(rate, rtt)| rate * rtt <= most);
    let grid = if everything() { all.collect() } else { few.to_vec() };
    let mut bad = Vec::new();
    println!("{congestion:?}: Mbit/s, ms; used, longest and mean wait, packets lost");
    for (rate, rtt) in grid {
        let (course, from, to) = alone(Path::new(rate, rtt as u32 * MS), congestion);
        let used = course.utilisation(from, to);
        println!(
            "{rate:5} {rtt:4}  {:5.1} %  {:7.2?} {:7.2?} {:6}",
            used * 100.0,
            course.longest_wait(from, to),
            course.mean_wait(from, to),
            course.flows[0].last().unwrap().lost,
        );
        if used < 0.95 {
            bad.push((rate, rtt, used));
        }
    }
    assert!(bad.is_empty(), "{congestion:?} leaves more than 5 % unused: {bad:?}");
}

const FEW: &[(u64, u64)] = &[(1, 1), (1, 200), (10, 20), (30, 200), (100, 1), (100, 50)];

#[test]
#[cfg_attr(debug_assertions, ignore = "moves gigabytes: for release builds")]
fn cubic_fills_clean_links() {
    fills(Cubic, FEW, u64::MAX);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "moves gigabytes: for release builds")]
fn bbr_fills_clean_links() {
    fills(Bbr, FEW, u64::MAX);
}

/// Where theory lets it: it adds a datagram each round trip, so that after slow start, which ends early,
/// it needs as many round trips as the path holds datagrams to fill the queue. Nothing is left unused
/// meanwhile on a clean link, for slow start ends beyond what the path itself holds.
#[test]
#[cfg_attr(debug_assertions, ignore = "moves gigabytes: for release builds")]
fn newreno_fills_clean_links() {
    fills(NewReno, &[(1, 20), (10, 20), (100, 1)], 20_000);
}

/// A gigabit: 85,000 packets each second, with what CI has time for.
#[test]
#[cfg_attr(debug_assertions, ignore = "moves gigabytes: for release builds")]
fn a_gigabit_is_filled() {
    for (congestion, rtt) in [(Cubic, 20), (Bbr, 20)] {
        let path = Path::new(1000, rtt * MS);
        let (from, to) = (warm_up(&path), warm_up(&path) + 4 * SECOND);
        let course = Trial::alone(path, congestion, to).run();
        let used = course.utilisation(from, to);
        println!("{congestion:?}: {:.1} % of 1 Gbit/s over {rtt} ms", used * 100.0);
        assert!(used >= 0.95, "{congestion:?}: {used}");
    }
}

#[test]
#[cfg_attr(debug_assertions, ignore = "moves gigabytes: for release builds")]
fn flows_of_cubic_share_fairly() {
    let path = Path::new(20, 20 * MS);
    let flows = (0..4).map(|flow| Flow::new(Cubic).starting(flow * 500 * MS)).collect();
    let trial = Trial { path, flows, lasts: 40 * SECOND, grid: 20 * MS, seed: 1 };
    let course = trial.run();
    let (from, to) = (20 * SECOND, 40 * SECOND);
    let (fairness, used) = (course.fairness(from, to), course.utilisation(from, to));
    println!("Jain {fairness:.3}, used {:.1} %", used * 100.0);
    assert!(fairness >= 0.95, "{fairness}");
    assert!(used >= 0.95, "{used}");
}

/// A path by radio: 100 Mbit/s of which each way loses datagrams by chance. What is read in ten seconds, with and without
/// the setting, of that which gets through. The window of RFC 9438 is some root of 1.5 over the loss there.
#[test]
#[cfg_attr(debug_assertions, ignore = "moves gigabytes: for release builds")]
fn losses_by_chance_cost_little_if_they_may_be_told() {
    // How many times as much, and what part of all, at least.
    for (congestion, percent, rtt, times, part) in [
        (Cubic, 1, 20, 8.0, 0.6),
        (Cubic, 1, 100, 20.0, 0.4),
        (Cubic, 5, 20, 8.0, 0.25),
        (Cubic, 5, 100, 30.0, 0.25),
        (Bbr, 1, 20, 1.0, 0.8),
        (Bbr, 5, 20, 2.0, 0.85),
        (Bbr, 5, 100, 2.0, 0.8),
    ] {
        let path = Path::new(100, rtt * MS).with_loss(f64::from(percent) / 100.0);
        let read = |flow: Flow| -> f64 {
            let run = |seed| Trial { path, flows: vec![flow], lasts: 10 * SECOND, grid: 100 * MS, seed }.run();
            (1..=5).map(|seed| *run(seed).read.last().unwrap() as f64 / 5.0).sum()
        };
        let (with, without) = (read(Flow::new(congestion).telling_random_loss()), read(Flow::new(congestion)));
        let most = path.rate as f64 * 10.0;
        println!(
            "{congestion:?}, {percent} % lost, {rtt} ms: {:.1} % of all, {:.1} times as much",
            100.0 * with / most,
            with / without
        );
        assert!(with >= times * without && with >= part * most, "{with} and {without} of {most}");
    }
}

/// BBR version 3 takes what each probe loses beyond 2 % for a sign that it went too high, so on a path that loses 5 % it ends
/// up by the rate of its smallest window. There it stays: it is slow, and never silent for long.
#[test]
#[cfg_attr(debug_assertions, ignore = "moves gigabytes: for release builds")]
fn where_chance_takes_too_much_for_bbr_it_is_slow_but_never_silent() {
    let path = Path::new(100, 100 * MS).with_loss(0.05);
    for seed in 1..=20 {
        let course = Trial { seed, ..Trial::alone(path, Bbr, 60 * SECOND) }.run();
        let arrived: Vec<u64> = course.flows[0].iter().map(|flow| flow.arrived).collect();
        // From the first second, which a lost packet of the handshake can take.
        let (mut silence, mut longest) = (Duration::ZERO, Duration::ZERO);
        for two in arrived.windows(2).skip(100) {
            silence = if two[1] == two[0] { silence + course.grid } else { Duration::ZERO };
            longest = longest.max(silence);
        }
        // Four datagrams a round trip.
        let (least, rate) = (40 * u64::from(MTU), course.arrived(0, 40 * SECOND, 60 * SECOND) / 20);
        println!("{seed}: {} kB/s in the end, silent for {longest:?} at most", rate / 1000);
        assert!(longest < 5 * path.rtt, "{seed}: {longest:?}");
        assert!(rate > least, "{seed}: {rate} bytes each second, not {least}");
    }
}

/// Beside flows that answer every loss, in queues of what the path holds and of as little as ten datagrams.
#[test]
#[cfg_attr(debug_assertions, ignore = "moves gigabytes: for release builds")]
fn who_tells_losses_by_chance_leaves_others_their_share() {
    let (plain, telling) = (Flow::new(Cubic), Flow::new(Cubic).telling_random_loss());
    for buffer in [1.0, 0.5, 0.25, 0.125, 0.0] {
        let path = Path::new(100, 20 * MS).with_buffer(buffer);
        let run = |flows| Trial { path, flows, lasts: 30 * SECOND, grid: 20 * MS, seed: 1 }.run();
        let (from, to) = (5 * SECOND, 30 * SECOND);
        let usual = run(vec![plain, plain.starting(2 * SECOND)]).fairness(from, to);
        for flows in [[telling, plain], [plain, telling], [telling, telling]] {
            let course = run(vec![flows[0], flows[1].starting(2 * SECOND)]);
            let shares = [0, 1].map(|flow| course.arrived(flow, from, to) as f64 / (path.rate as f64 * 25.0));
            let (fairness, used) = (course.fairness(from, to), course.utilisation(from, to));
            println!("a buffer of {buffer} BDP: shares {shares:.2?}, Jain {fairness:.3} (without {usual:.3})");
            assert!(fairness >= 0.95_f64.min(usual - 0.005), "{fairness} instead of {usual}");
            assert!(used >= 0.85, "{used}");
        }
    }
}

/// The part of the link that CUBIC has beside it, in queues of what the path holds, of an eighth of that, and of ten
/// datagrams.
#[test]
#[cfg_attr(debug_assertions, ignore = "moves gigabytes: for release builds")]
fn bbr_that_tells_losses_by_chance_leaves_cubic_its_share() {
    // Of what CUBIC has beside BBR without it, at least.
    for (buffer, part) in [(1.0, 0.9), (0.125, 0.9), (0.0, 0.6)] {
        let path = Path::new(100, 20 * MS).with_buffer(buffer);
        let (from, to) = (5 * SECOND, 30 * SECOND);
        // When a probe of BBR's meets the end of CUBIC's growth is chance: three seeds.
        let share = |bbr: Flow| -> f64 {
            let arrived = |seed| {
                let flows = vec![bbr, Flow::new(Cubic).starting(2 * SECOND)];
                Trial { path, flows, lasts: to, grid: 20 * MS, seed }.run().arrived(1, from, to) as f64
            };
            (1..=3).map(arrived).sum::<f64>() / (3.0 * path.rate as f64 * (to - from).as_secs_f64())
        };
        let [usual, beside] = [Flow::new(Bbr), Flow::new(Bbr).telling_random_loss()].map(share);
        println!("a buffer of {buffer} BDP: CUBIC has {beside:.3} of the link (beside BBR without it {usual:.3})");
        assert!(beside >= part * usual, "{beside} instead of {usual}");
    }
}

/// In a queue that would hold four times as much as the path: Startup's window is twice of it, and
/// afterwards a probe adds a quarter.
#[test]
#[cfg_attr(debug_assertions, ignore = "moves gigabytes: for release builds")]
fn the_queue_of_bbr_stays_below_one_and_a_half_times_the_path() {
    for (rate, rtt) in [(10, 40 * MS), (50, 20 * MS), (100, 40 * MS)] {
        let path = Path::new(rate, rtt).with_buffer(4.0);
        let (course, from, to) = alone(path, Bbr);
        let (ever, later) = (course.longest_wait(Duration::ZERO, to), course.longest_wait(from, to));
        println!("{rate} Mbit/s {rtt:?}: queue of {ever:.1?} at most, {later:.1?} after the start");
        assert!(ever < 3 * rtt / 2, "{ever:?} on a path of {rtt:?}");
        assert!(course.mean_wait(from, to) < rtt / 2);
        // What CUBIC does there.
        assert!(alone(path, Cubic).0.longest_wait(from, to) > 3 * rtt / 2);
    }
}

#[test]
#[cfg_attr(debug_assertions, ignore = "moves gigabytes: for release builds")]
fn what_a_burst_of_losses_took_is_back_within_three_round_trips() {
    for congestion in [NewReno, Cubic, Bbr, Prague] {
        let at = 8 * SECOND;
        let mut path = Path::new(20, 40 * MS);
        // Five milliseconds: nine datagrams, or, of a burst, more.
        path.outage = Some((at, 5 * MS));
        let trial = Trial { grid: 5 * MS, ..Trial::alone(path, congestion, 10 * SECOND) };
        let course = trial.run();
        // The round trip as it was, with what waited in the queue.
        let rtt = course.sample(0, at).rtt;
        let lost = course.sample(0, at + 3 * rtt).lost - course.sample(0, at).lost;
        // Everything that was sent before the outage ended has been read, in order.
        let sent = course.sample(0, at + 5 * MS).acked + course.sample(0, at + 5 * MS).in_flight;
        let read = course.read(at + 5 * MS + 3 * rtt);
        println!("{congestion:?}: {lost} lost, {} bytes still missing after 3 RTT", sent.saturating_sub(read));
        assert!(lost >= 5, "{congestion:?}: {lost} lost");
        assert!(read >= sent, "{congestion:?}: {read} of {sent} bytes read");
        // And the link is full, as it was. Half a window, which is what the others are left with, may be
        // less than the path holds.
        let used = course.utilisation(at + 3 * rtt, at + 10 * rtt);
        assert!(used >= if matches!(congestion, Cubic | Bbr) { 0.95 } else { 0.75 }, "{congestion:?}: {used}");
    }
}

/// With a buffer of what the path holds, on paths that hold a hundred datagrams or more: on smaller ones a
/// window is over before eight samples have come.
#[test]
#[cfg_attr(debug_assertions, ignore = "moves gigabytes: for release builds")]
fn hystart_leaves_slow_start_before_the_queue_overflows() {
    for (rate, rtt) in [(50, 40), (100, 40), (20, 100), (60, 100), (40, 60), (100, 20)] {
        let path = Path::new(rate, rtt * MS);
        let run = |hystart| {
            let flows = vec![Flow { hystart, ..Flow::new(Cubic) }];
            Trial { path, flows, lasts: 2 * SECOND, grid: MS, seed: 1 }.run()
        };
        let (course, without) = (run(true), run(false));
        let (at, left) = course.first(|sample| sample.phase != CongestionPhase::SlowStart).unwrap();
        let lost = [&course, &without].map(|course| course.sample(0, at + 5 * path.rtt).lost);
        let window = left.window as f64 / path.bdp() as f64;
        println!("{rate} Mbit/s {rtt} ms: left after {at:?} with {window:.2} BDP; {lost:?} lost, with and without");
        assert_eq!((left.phase, left.lost), (CongestionPhase::Avoidance, 0), "left by itself, and not by a loss");
        assert!((0.9..2.2).contains(&window), "{window}");
        // Path and buffer hold two. Beyond, what it loses is little.
        let most = if window < 2.0 { 0 } else { lost[1] / 10 };
        assert!(lost[0] <= most, "{lost:?}");
    }
}

/// Before a queue that marks what waits for more than a millisecond, as L4S has it.
#[test]
#[cfg_attr(debug_assertions, ignore = "moves gigabytes: for release builds")]
fn prague_keeps_a_marking_queue_shallow() {
    for (rate, rtt) in [(20, 10), (50, 20), (100, 40)] {
        let mut path = Path::new(rate, rtt * MS).with_buffer(2.0);
        path.marks_after = Some(MS);
        let (course, from, to) = alone(path, Prague);
        let (used, mean) = (course.utilisation(from, to), course.mean_wait(from, to));
        let longest = course.longest_wait(from, to);
        println!("{rate} Mbit/s {rtt} ms: {:.1} % used, waits {mean:.2?}, {longest:.2?} at most", used * 100.0);
        assert_eq!(course.flows[0].last().unwrap().lost, 0);
        assert!(mean <= 3 * MS / 2, "{mean:?}");
        assert!(longest <= 5 * MS, "{longest:?}");
        assert!(used >= 0.9, "{used}");
    }
}

#[test]
#[cfg_attr(debug_assertions, ignore = "moves gigabytes: for release builds")]
fn prague_answers_losses_as_newreno_does_where_no_one_marks() {
    let path = Path::new(20, 40 * MS);
    let (course, from, to) = alone(path, Prague);
    assert!(course.utilisation(from, to) >= 0.95);
    let windows: Vec<u64> = course.flows[0].iter().map(|sample| sample.window).collect();
    let halved = windows.windows(2).any(|two| two[1] < two[0] * 6 / 10 + u64::from(MTU));
    let lost = course.flows[0].last().unwrap().lost;
    assert!(lost == 0 || halved, "{lost} lost, and the window was never halved");
}

/// A satellite's path: 50 Mbit/s, 600 ms. Slow start takes nine round trips to fill it.
#[test]
#[cfg_attr(debug_assertions, ignore = "moves gigabytes: for release builds")]
fn careful_resume_saves_round_trips_and_retreats_where_it_must() {
    let path = Path::new(50, 600 * MS);
    let run = |path, saved| {
        let flows = vec![Flow { saved, ..Flow::new(Cubic) }];
        Trial { path, flows, lasts: 12 * SECOND, grid: 50 * MS, seed: 1 }.run()
    };
    let first = run(path, None);
    let saved = first.observed.unwrap();
    assert!((path.bdp()..=21 * path.bdp() / 10).contains(&saved.window), "{saved:?}");
    let again = run(path, Some(saved));
    let early = |course: &Course| course.arrived(0, Duration::ZERO, 4 * SECOND);
    println!("in 4 s: {} bytes at first, {} again", early(&first), early(&again));
    assert!(early(&again) > 3 * early(&first));
    assert!(again.sample(0, 4 * SECOND).lost == 0);
    // Another path than that: a tenth of the rate, with a small buffer.
    let worse = Path::new(5, 600 * MS);
    let course = run(worse, Some(saved));
    let normal = run(worse, None);
    let (lost, usual) = (course.sample(0, 12 * SECOND).lost, normal.sample(0, 12 * SECOND).lost);
    println!("where it is too much: {lost} lost, {usual} without");
    let retreat = course.flows[0].windows(2).any(|two| two[1].window < two[0].window / 4);
    assert!(retreat, "the jump was not taken back");
    assert!(course.utilisation(6 * SECOND, 12 * SECOND) > 0.8);
    // What proved to be too much is lost once.
    assert!(lost * u64::from(MTU) < saved.window / 2, "{lost}");
}

#[test]
#[cfg_attr(debug_assertions, ignore = "moves gigabytes: for release builds")]
fn one_seed_gives_one_course() {
    let trial = Trial::alone(Path::new(10, 20 * MS), Bbr, 3 * SECOND);
    assert_eq!(trial.run(), trial.run());
}
