//! What the extensions are for, seen over lines of which everything is known.

use std::time::Duration;

use tercel_proto::config::TransportConfig;
use tercel_sim::crypto::KeyShares;
use tercel_sim::host::Script;
use tercel_sim::network::{Bottleneck, Delay, Loss, Node};
use tercel_sim::scenario::{Expectation, Report, Setup, run};

const MS: Duration = Duration::from_millis(1);

/// A client that sends `bytes` over a line of 100 Mbit/s and 40 ms with this part lost.
fn upload(bytes: u64, loss: f64, transport: &TransportConfig, seed: u64) -> Report {
    let transport = || TransportConfig {
        stream_receive_window: 8 << 20,
        receive_window: 8 << 20,
        max_datagram_frame_size: 65_535,
        ..transport.clone()
    };
    let way = |loss: f64| -> Vec<Box<dyn Node>> {
        vec![
            Box::new(Bottleneck::new(12_500_000, 600_000)),
            Box::new(Delay::jittery(20 * MS, Duration::ZERO)),
            Box::new(Loss(loss)),
        ]
    };
    let client = Script { uni: 1, bytes, window: 8 << 20, closes: true, ..Script::default() };
    let setup = Setup {
        client,
        server: Script::default(),
        client_transport: transport(),
        server_transport: transport(),
        shares: KeyShares::Small,
        up: way(loss),
        down: way(0.0),
        outside: Vec::new(),
        expectation: Expectation::Completes,
        limit: Duration::from_secs(120),
    };
    run(setup, seed)
}

/// draft-ietf-quic-ack-frequency: the receiver says much less, and the sender is as fast.
#[test]
fn fewer_acknowledgements_cost_no_speed() {
    for (loss, factor) in [(0.0, 4), (0.0005, 2)] {
        for seed in 0..3 {
            let upload = |ack_frequency| {
                let transport = TransportConfig { ack_frequency, ..TransportConfig::default() };
                upload(10_000_000, loss, &transport, seed)
            };
            let (every_other, few) = (upload(false), upload(true));
            let acks = |report: &Report| report.server.unwrap().packets_sent;
            println!(
                "{loss}: {} acknowledgements in {:?} and {} in {:?}",
                acks(&every_other),
                every_other.elapsed,
                acks(&few),
                few.elapsed
            );
            assert!(acks(&few) * factor < acks(&every_other), "{} of {}", acks(&few), acks(&every_other));
            assert!(few.elapsed < every_other.elapsed.mul_f64(1.1), "{:?} for {:?}", few.elapsed, every_other.elapsed);
        }
    }
}

/// The other way round: what is sent next waits for what is acknowledged, so the receiver is asked to tell of every packet.
/// Where nothing is lost it tells of every second one, as usual.
#[test]
fn a_small_window_does_not_wait_for_acknowledgements() {
    for seed in 0..3 {
        let told = |loss| {
            let report = upload(2_000_000, loss, &TransportConfig::default(), seed);
            let (client, server) = (report.client, report.server.unwrap());
            let arrived = client.packets_sent - client.packets_lost;
            println!("{loss}: {} acknowledgements of {arrived} packets in {:?}", server.packets_sent, report.elapsed);
            server.packets_sent as f64 / arrived as f64
        };
        let (clean, lossy) = (told(0.0), told(0.05));
        assert!(clean < 0.6 && lossy > 0.7, "{clean:.2} and {lossy:.2}");
    }
}

/// draft-huitema-quic-ts: a queue on the way there is seen by the delay of that way, and one on the way
/// back is not.
#[test]
fn the_delay_of_one_way_is_that_way_s() {
    let transport = TransportConfig { one_way_delay: true, hystart: false, ..TransportConfig::default() };
    let report = upload(5_000_000, 0.0, &transport, 1);
    let (client, server) = (report.client, report.server.unwrap());
    println!("{:?} of {:?}, and {:?} of {:?}", client.one_way_delay, client.rtt, server.one_way_delay, server.rtt);
    // 20 ms each way, and a queue of up to 48 ms before the client's data.
    let there = client.one_way_delay.unwrap();
    assert!(there > 24 * MS && there < client.rtt - 15 * MS, "{there:?} of {:?}", client.rtt);
    let back = server.one_way_delay.unwrap();
    assert!(back > 15 * MS && back < 24 * MS, "{back:?} of {:?}", server.rtt);
    // Both ends must want it.
    let report = upload(100_000, 0.0, &TransportConfig::default(), 1);
    assert_eq!((report.client.one_way_delay, report.server.unwrap().one_way_delay), (None, None));
}
