//! What one stream costs, counted in streams looked at, is the same among many as alone.

use super::*;

/// A client with so many open streams; `each` is called with each.
fn client_with(count: u64, mut each: impl FnMut(&mut Streams, StreamId)) -> (Streams, Vec<StreamId>) {
    let config = TransportConfig {
        max_bidi_streams: count,
        receive_window: 1 << 40,
        max_receive_window: 1 << 40,
        ..TransportConfig::default()
    };
    let mut client = streams(Role::Client, &config);
    let ids: Vec<_> = (0..count).map(|_| client.open(Direction::Bidirectional).unwrap()).collect();
    for id in &ids {
        each(&mut client, *id);
    }
    (client, ids)
}

/// How many streams `act` looks at.
fn looks(client: &mut Streams, act: impl FnOnce(&mut Streams)) -> u64 {
    let before = client.streams.looks();
    act(client);
    client.streams.looks() - before
}

const COUNTS: [u64; 4] = [2, 100, 10_000, 100_000];

/// Asserts that `act` on one of the streams looks at as many streams whatever their number.
fn is_flat(what: &str, setup: impl Fn(&mut Streams, StreamId), act: impl Fn(&mut Streams, StreamId)) {
    let costs = COUNTS.map(|count| {
        let (mut client, ids) = client_with(count, &setup);
        while client.poll_event().is_some() {}
        looks(&mut client, |client| act(client, ids[ids.len() / 2]))
    });
    assert!(costs[0] <= 20 && costs.iter().all(|cost| *cost == costs[0]), "{what}: {costs:?}");
}

fn nothing(_: &mut Streams, _: StreamId) {}

fn some_data(client: &mut Streams, id: StreamId) {
    client.send(id, Bytes::from_static(b"some data"), false).unwrap();
}

#[test]
fn one_stream_costs_the_same_among_many() {
    is_flat("an exchange among idle streams", nothing, |client, id| {
        some_data(client, id);
        let (_, sent) = packet(client, 1200);
        assert_eq!(sent.len(), 1);
        sent.into_iter().for_each(|frame| client.acked(frame));
        client.on_stream(&data(id, 0, b"answer", true), Bytes::from_static(b"answer")).unwrap();
        assert!(matches!(client.read(id, 100), Ok(Read::Data(_))));
        client.consumed(NOW, RTT, id, 6);
        assert!(matches!(client.read(id, 100), Ok(Read::Finished)));
    });
    is_flat("a packet among streams that all have data", some_data, |client, _| {
        assert_eq!(packet(client, 15).1.len(), 1);
    });
    is_flat("a loss among streams that all have data", some_data, |client, _| {
        let (_, sent) = packet(client, 15);
        sent.into_iter().for_each(|frame| client.lost(frame));
        assert_eq!(packet(client, 15).1.len(), 1);
    });
    is_flat("a priority among streams that all have data", some_data, |client, id| client.set_priority(id, 3).unwrap());
    is_flat("a higher limit on streams", nothing, |client, _| {
        client.on_max_streams(Direction::Bidirectional, 1 << 30);
    });
    is_flat("a reset and its acknowledgement", some_data, |client, id| {
        client.reset(id, CODE.into()).unwrap();
        let (_, sent) = packet(client, 12);
        sent.into_iter().for_each(|frame| client.acked(frame));
    });
    is_flat("a higher limit on a stream that is blocked", nothing, |client, id| {
        client.on_max_stream_data(id, 1 << 30).unwrap();
    });
}
