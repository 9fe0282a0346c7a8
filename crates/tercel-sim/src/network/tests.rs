use std::time::Duration;

use super::*;

const MS: Duration = Duration::from_millis(1);

fn address(last: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], port))
}

fn datagram(len: usize) -> Datagram {
    Datagram::new(address(1, 1), address(2, 2), EcnMark::Ect0, &vec![0x40; len])
}

fn at(millis: u32) -> Time {
    Time::ZERO + MS * millis
}

/// Sends `datagrams`, 1 ms apart, through `nodes`; gives what arrives, and when.
fn through(nodes: Vec<Box<dyn Node>>, datagrams: impl IntoIterator<Item = Datagram>) -> Vec<(Time, Datagram)> {
    let mut network = Network::new(Random::new(3));
    network.link(0, 1, [address(2, 0).ip()], nodes);
    for (millis, datagram) in datagrams.into_iter().enumerate() {
        network.send(at(millis as u32), 0, datagram);
    }
    let (mut all, mut arrived) = (Vec::new(), Vec::new());
    while let Some(now) = network.next_time() {
        network.advance(now, &mut arrived);
        all.extend(arrived.drain(..).map(|(_, datagram)| (now, datagram)));
    }
    all
}

#[test]
fn delays_add_up_and_jitter_keeps_the_order() {
    let nodes: Vec<Box<dyn Node>> = vec![Box::new(Delay::steady(5 * MS)), Box::new(Delay::jittery(MS, 20 * MS))];
    let arrived = through(nodes, (1..100).map(datagram));
    assert_eq!(arrived.iter().map(|(_, d)| d.data.len()).collect::<Vec<_>>(), (1..100).collect::<Vec<_>>());
    assert!(arrived.iter().all(|(when, d)| when.since(d.sent) >= 6 * MS && when.since(d.sent) <= 126 * MS));
}

#[test]
fn reordering_loses_nothing() {
    let arrived = through(vec![Box::new(Reorder { chance: 0.3, most: 10 * MS })], (1..500).map(datagram));
    let mut lens: Vec<_> = arrived.iter().map(|(_, d)| d.data.len()).collect();
    assert!(!lens.is_sorted());
    lens.sort_unstable();
    assert_eq!(lens, (1..500).collect::<Vec<_>>());
}

#[test]
fn loss_outage_and_bursts() {
    let count = |node: Box<dyn Node>| through(vec![node], (0..2000).map(|_| datagram(9))).len();
    assert!((1300..1500).contains(&count(Box::new(Loss(0.3)))));
    assert_eq!(count(Box::new(Outage { from: at(100), until: at(300) })), 1800);
    let bursts = count(Box::new(BurstLoss { begins: 0.02, ends: 0.2, loss: 1.0, bad: false }));
    assert!((1600..1950).contains(&bursts), "{bursts}");
}

#[test]
fn copies_and_damage() {
    let arrived = through(vec![Box::new(Duplicate { chance: 1.0, most: MS })], (1..50).map(datagram));
    assert_eq!(arrived.len(), 98);
    let arrived = through(vec![Box::new(Corrupt { chance: 1.0, and_good: false })], (0..200).map(|_| datagram(100)));
    assert_eq!(arrived.len(), 200);
    assert!(arrived.iter().all(|(_, d)| !d.genuine));
    assert!(arrived.iter().filter(|(_, d)| d.data != datagram(100).data).count() > 195);
}

#[test]
fn a_bottleneck_takes_its_time_and_drops_what_does_not_fit() {
    // 128 bytes with headers take 10 ms, and 10 of them fit.
    let arrived = through(vec![Box::new(Bottleneck::new(12_800, 1280))], (0..40).map(|_| datagram(100)));
    for pair in arrived.windows(2) {
        assert_eq!(pair[1].0.since(pair[0].0), 10 * MS);
    }
    // 4 left while 40 came, and 10 wait at the end; the rest is lost.
    assert!((13..=15).contains(&arrived.len()), "{}", arrived.len());
    let marking = Bottleneck::new(12_800, 1280).marking_above(600);
    let arrived = through(vec![Box::new(marking)], (0..40).map(|_| datagram(100)));
    assert_eq!(arrived[0].1.ecn, EcnMark::Ect0);
    assert_eq!(arrived.last().unwrap().1.ecn, EcnMark::Ce);
}

#[test]
fn a_black_hole_appears() {
    let mtu = Mtu { limit: 1500, then: Some((at(10), 1300)) };
    assert_eq!(through(vec![Box::new(mtu)], (0..30).map(|_| datagram(1400))).len(), 10);
}

#[test]
fn ecn_is_bleached_marked_dropped_and_mangled() {
    let marks = |node| through(vec![Box::new(node)], (0..100).map(|_| datagram(1))).into_iter().map(|(_, d)| d.ecn);
    assert!(marks(Ecn::Bleach).all(|mark| mark == EcnMark::NotEct));
    assert!((30..70).contains(&marks(Ecn::Mark(0.5)).filter(|mark| *mark == EcnMark::Ce).count()));
    assert_eq!(marks(Ecn::Drop).count(), 0);
    assert!(marks(Ecn::Mangle).all(|mark| mark == EcnMark::Ect1));
}

#[test]
fn a_nat_renames_and_forgets() {
    let (inside, first, second) = (address(1, 1), address(9, 100), address(9, 200));
    let (out, _) = Nat::pair(inside, vec![(Time::ZERO, first), (at(10), second)]);
    let seen: Vec<_> = through(vec![Box::new(out)], (0..20).map(|_| datagram(1))).into_iter().collect();
    assert!(seen.iter().all(|(when, d)| d.from == if *when < at(10) { first } else { second }));
    let to_first = (0..20).map(|_| Datagram { to: address(2, 100), ..datagram(1) });
    let (_, back) = Nat::pair(inside, vec![(Time::ZERO, address(2, 100)), (at(10), address(2, 200))]);
    let reached = through(vec![Box::new(back)], to_first);
    assert_eq!(reached.len(), 10);
    assert!(reached.iter().all(|(_, d)| d.to == inside));
}

#[test]
#[should_panic(expected = "amplification")]
fn the_watch_sees_amplification() {
    let mut network = Network::new(Random::new(3));
    network.link(0, 1, [address(2, 0).ip()], vec![]);
    network.link(1, 0, [address(1, 0).ip()], vec![]);
    network.watch.guard(1);
    network.send(at(0), 0, datagram(100));
    network.advance(at(0), &mut Vec::new());
    for _ in 0..4 {
        network.send(at(1), 1, Datagram::new(address(2, 2), address(1, 1), EcnMark::NotEct, &[0x40; 90]));
    }
}

#[test]
fn what_comes_back_validates_an_address() {
    let mut network = Network::new(Random::new(3));
    network.link(0, 1, [address(2, 0).ip()], vec![]);
    network.link(1, 0, [address(1, 0).ip()], vec![]);
    network.watch.guard(1);
    network.send(at(0), 0, datagram(100));
    network.advance(at(0), &mut Vec::new());
    let answer = || Datagram::new(address(2, 2), address(1, 1), EcnMark::NotEct, &[0x40; 300]);
    network.send(at(1), 1, answer());
    network.advance(at(1), &mut Vec::new());
    network.send(at(2), 0, datagram(10));
    network.advance(at(2), &mut Vec::new());
    for _ in 0..10 {
        network.send(at(3), 1, answer());
    }
    assert_eq!(network.watch.worst_amplification, 3.0);
}
