//! What keeps streams from sending, measured by a clock that the test turns.

use super::*;

const TICK: Duration = Duration::from_millis(1);

struct Bench {
    client: Streams,
    now: Time,
}

impl Bench {
    fn new() -> Self {
        let config = TransportConfig { stream_statistics: true, ..small() };
        let mut client = streams(Role::Client, &config);
        client.at(NOW);
        while client.poll_event().is_some() {}
        Self { client, now: NOW }
    }

    fn pass(&mut self, ticks: u32) {
        self.now += TICK * ticks;
        self.client.at(self.now);
    }

    /// What has kept a stream from sending, in ticks, in the order of the fields.
    fn blocked(&self, id: StreamId) -> [u128; 8] {
        let times = self.client.stats(id).unwrap().blocked.unwrap();
        [
            times.scheduling,
            times.pacing,
            times.amplification,
            times.congestion_control,
            times.connection_flow_control,
            times.stream_limit,
            times.stream_flow_control,
            times.application,
        ]
        .map(|time| time.as_millis())
    }
}

#[test]
fn a_streams_own_reasons_follow_each_other() {
    let mut bench = Bench::new();
    let id = bench.client.open(Direction::Bidirectional).unwrap();
    bench.pass(3);
    assert_eq!(bench.blocked(id), [0, 0, 0, 0, 0, 0, 0, 3], "while it lasts, too");
    bench.client.send(id, vec![0; 150].into(), false).unwrap();
    // Nothing keeps it but that nobody writes a packet.
    bench.pass(5);
    packet(&mut bench.client, 1200);
    // The stream's limit is 100.
    bench.pass(7);
    bench.client.on_max_stream_data(id, 1000).unwrap();
    packet(&mut bench.client, 1200);
    bench.pass(11);
    assert_eq!(bench.blocked(id), [0, 0, 0, 0, 0, 0, 7, 14]);
    bench.client.send(id, Bytes::new(), true).unwrap();
    bench.pass(13);
    packet(&mut bench.client, 1200);
    bench.pass(17);
    assert_eq!(bench.blocked(id), [0, 0, 0, 0, 0, 0, 7, 14], "an end is no lack of data");
    let reset = bench.client.open(Direction::Bidirectional).unwrap();
    bench.pass(1);
    bench.client.reset(reset, CODE.into()).unwrap();
    bench.pass(1);
    assert_eq!(bench.blocked(reset), [0, 0, 0, 0, 0, 0, 0, 1]);
}

/// While something is to be said again nothing is lacking; as soon as it was, the application is waited for again.
#[test]
fn what_is_said_again_is_no_longer_in_the_way() {
    let mut bench = Bench::new();
    let id = bench.client.open(Direction::Bidirectional).unwrap();
    bench.client.send(id, "lost".into(), false).unwrap();
    let (_, sent) = packet(&mut bench.client, 1200);
    bench.pass(3);
    sent.into_iter().for_each(|frame| bench.client.lost(frame));
    bench.pass(5);
    packet(&mut bench.client, 1200);
    bench.pass(7);
    assert_eq!(bench.blocked(id), [0, 0, 0, 0, 0, 0, 0, 10]);
}

#[test]
fn the_limit_on_streams_counts_before_all_else() {
    let mut bench = Bench::new();
    let ids: Vec<_> = (0..4).map(|_| bench.client.open_ahead(Direction::Bidirectional).0).collect();
    bench.pass(2);
    bench.client.send(ids[3], "data".into(), false).unwrap();
    bench.pass(3);
    bench.client.on_max_streams(Direction::Bidirectional, 4);
    packet(&mut bench.client, 1200);
    bench.pass(4);
    assert_eq!(bench.blocked(ids[3]), [0, 0, 0, 0, 0, 5, 0, 4]);
    assert_eq!(bench.blocked(ids[0]), [0, 0, 0, 0, 0, 0, 0, 9]);
}

#[test]
fn what_keeps_all_counts_for_each_from_when_it_began() {
    let mut bench = Bench::new();
    let first = bench.client.open(Direction::Bidirectional).unwrap();
    bench.client.send(first, vec![0; 100].into(), false).unwrap();
    let reasons =
        [Hindrance::Scheduling, Hindrance::Pacing, Hindrance::Amplification, Hindrance::Congestion, Hindrance::Nothing];
    for (ticks, reason) in (1..).zip(reasons) {
        bench.client.hindered(reason);
        bench.pass(ticks);
    }
    assert_eq!(bench.blocked(first), [1, 2, 3, 4, 0, 0, 0, 0]);
    let second = bench.client.open(Direction::Bidirectional).unwrap();
    bench.client.hindered(Hindrance::Pacing);
    bench.pass(6);
    bench.client.hindered(Hindrance::Nothing);
    assert_eq!(bench.blocked(second)[..5], [0, 6, 0, 0, 0]);
    // Without anything to send nothing is in the way.
    packet(&mut bench.client, 1200);
    bench.client.hindered(Hindrance::Congestion);
    bench.pass(7);
    assert_eq!(bench.blocked(second)[..5], [0, 6, 0, 0, 0]);
    // The limit of all streams is 250.
    for id in [first, second] {
        bench.client.on_max_stream_data(id, 1000).unwrap();
        bench.client.send(id, vec![0; 100].into(), false).unwrap();
    }
    packet(&mut bench.client, 1200);
    bench.client.hindered(Hindrance::Nothing);
    bench.pass(8);
    assert_eq!(bench.blocked(second)[..5], [0, 6, 0, 0, 8]);
    bench.client.on_max_data(1000);
    bench.client.hindered(Hindrance::Nothing);
    bench.pass(9);
    assert_eq!(bench.blocked(second)[..5], [0, 6, 0, 0, 8]);
}

#[test]
fn bytes_are_counted_and_known_until_the_end_was_heard_of() {
    for measures in [false, true] {
        let config = TransportConfig { stream_statistics: measures, ..TransportConfig::default() };
        let mut client = streams(Role::Client, &config);
        let id = client.open(Direction::Bidirectional).unwrap();
        client.send(id, vec![0; 500].into(), true).unwrap();
        let (_, sent) = packet(&mut client, 1200);
        sent.iter().for_each(|frame| client.lost(*frame));
        let (_, sent) = packet(&mut client, 1200);
        client.on_stream(&data(id, 0, b"answer", true), Bytes::from_static(b"answer")).unwrap();
        let stats = client.stats(id).unwrap();
        assert_eq!((stats.bytes_sent, stats.bytes_retransmitted, stats.bytes_received), (500, 500, 6));
        assert_eq!(stats.blocked.is_some(), measures);
        sent.iter().for_each(|frame| client.acked(*frame));
        while !matches!(client.read(id, 100), Ok(Read::Finished)) {}
        assert_eq!(client.stats(id).map(|stats| stats.bytes_sent), measures.then_some(500));
        while client.poll_event().is_some_and(|event| event != StreamEvent::Closed(id)) {}
        assert_eq!(client.stats(id).map(|stats| stats.bytes_sent), measures.then_some(500));
        assert_eq!(client.take_ended_stats(id).map(|stats| stats.read().bytes_sent), measures.then_some(500));
        assert!(client.take_ended_stats(id).is_none() && client.stats(id).is_none() && client.ended.is_empty());
    }
}

/// However long one stream lives, what is remembered for it does not grow with those that come and go meanwhile.
#[test]
fn what_the_connections_dials_showed_is_kept_for_streams_that_live() {
    let mut bench = Bench::new();
    let long = bench.client.open(Direction::Unidirectional).unwrap();
    bench.client.send(long, "data".into(), false).unwrap();
    for _ in 0..100 {
        let short = bench.client.open(Direction::Unidirectional).unwrap();
        bench.client.hindered(Hindrance::Pacing);
        bench.pass(1);
        bench.client.hindered(Hindrance::Congestion);
        bench.pass(2);
        bench.client.hindered(Hindrance::Nothing);
        assert_eq!(bench.blocked(short)[..5], [0, 1, 0, 2, 0]);
        bench.client.reset(short, CODE.into()).unwrap();
        let (_, sent) = packet(&mut bench.client, 1200);
        sent.iter().for_each(|frame| bench.client.acked(*frame));
        while bench.client.poll_event().is_some_and(|event| event != StreamEvent::Closed(short)) {}
        assert_eq!(bench.client.take_ended_stats(short).unwrap().read().blocked.unwrap().pacing, TICK);
        bench.client.on_max_streams(Direction::Unidirectional, short.index() + 2);
        bench.client.send(long, "data".into(), false).unwrap();
    }
    assert_eq!(bench.blocked(long)[..5], [0, 100, 0, 200, 0]);
    assert_eq!(bench.client.watches.as_ref().map(|watches| watches.marks()), Some(2));
}
