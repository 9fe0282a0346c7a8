//! Which stream sends when: schemes, priorities, and changes of both on the way.

use super::*;

/// The streams whose data packets of 1000 bytes carry, in order, until there is nothing to send.
fn order(client: &mut Streams) -> Vec<u64> {
    let mut order = Vec::new();
    while client.wants_to_send() {
        order.push(next(client));
    }
    order
}

fn next(client: &mut Streams) -> u64 {
    let (bytes, _) = packet(client, 1000);
    let Frame::Stream(frame) = Frame::decode(&mut Reader::new(&bytes)).unwrap() else { panic!() };
    frame.id.index()
}

/// A client with three streams of 100,000 bytes each.
fn three(scheduling: StreamScheduling) -> (Streams, Vec<StreamId>) {
    let config = TransportConfig { stream_scheduling: scheduling, ..TransportConfig::default() };
    let mut client = streams(Role::Client, &config);
    let ids: Vec<_> = (0..3).map(|_| client.open(Direction::Bidirectional).unwrap()).collect();
    for id in &ids {
        client.send(*id, Bytes::from(vec![1; 100_000]), true).unwrap();
    }
    (client, ids)
}

fn changes(order: &[u64]) -> usize {
    order.windows(2).filter(|pair| pair[0] != pair[1]).count()
}

#[test]
// RFC 9000 section 2.3#1.
fn higher_priority_goes_first_and_equals_take_turns() {
    let (mut client, ids) = three(StreamScheduling::RoundRobin);
    client.set_priority(ids[2], 5).unwrap();
    let order = order(&mut client);
    let first = order.partition_point(|index| *index == 2);
    assert!((100..110).contains(&first) && order[first..].iter().all(|index| *index != 2), "{order:?}");
    let changes = changes(&order[first..]);
    assert!((10..16).contains(&changes), "{changes} turns for 200,000 bytes");
}

#[test]
fn first_come_is_first_served_within_a_priority() {
    let (mut client, ids) = three(StreamScheduling::Fifo);
    client.set_priority(ids[2], 5).unwrap();
    let order = order(&mut client);
    assert_eq!(changes(&order), 2, "{order:?}");
    assert_eq!((order.first(), order.last()), (Some(&2), Some(&1)));
}

#[test]
fn who_has_nothing_more_comes_again_behind_the_others() {
    let (mut client, ids) = three(StreamScheduling::Fifo);
    let fourth = client.open(Direction::Bidirectional).unwrap();
    client.send(fourth, Bytes::from(vec![1; 500]), false).unwrap();
    client.set_priority(fourth, 1).unwrap();
    // 500 bytes of the fourth, and the first begins behind it in the same packet.
    assert_eq!(next(&mut client), fourth.index());
    client.send(fourth, Bytes::from(vec![1; 500]), true).unwrap();
    assert_eq!(next(&mut client), fourth.index(), "a higher priority interrupts");
    client.set_priority(ids[0], -1).unwrap();
    let order = order(&mut client);
    assert_eq!(changes(&order), 2, "{order:?}");
    assert_eq!((order.first(), order.last()), (Some(&1), Some(&0)), "priorities can change on the way");
}

#[test]
fn the_scheme_can_change_on_the_way() {
    let (mut client, _) = three(StreamScheduling::Fifo);
    for _ in 0..50 {
        assert_eq!(next(&mut client), 0);
    }
    client.set_scheduling(StreamScheduling::RoundRobin);
    let turns: Vec<_> = (0..60).map(|_| next(&mut client)).collect();
    assert!(changes(&turns) >= 3 && [0, 1, 2].iter().all(|index| turns.contains(index)), "{turns:?}");
    client.set_scheduling(StreamScheduling::Fifo);
    let rest = order(&mut client);
    assert_eq!(changes(&rest), 2, "{rest:?}");
}

#[test]
fn turns_are_fair_whatever_the_streams_have_to_send() {
    let (mut client, _) = three(StreamScheduling::RoundRobin);
    let mut sent = [0; 3];
    for _ in 0..150 {
        sent[next(&mut client) as usize] += 1;
        let (most, least) = (sent.iter().max().unwrap(), sent.iter().min().unwrap());
        // A turn is 16 KiB: 17 packets, and one that two turns share.
        assert!(most - least <= 18, "{sent:?}");
    }
}

/// A stream at its limit makes way, and comes back behind those that wait.
#[test]
fn a_stream_at_its_limit_makes_way() {
    for scheduling in [StreamScheduling::Fifo, StreamScheduling::RoundRobin] {
        let config = TransportConfig {
            stream_scheduling: scheduling,
            stream_receive_window: 5000,
            ..TransportConfig::default()
        };
        let mut client = streams(Role::Client, &config);
        let ids: Vec<_> = (0..2).map(|_| client.open(Direction::Bidirectional).unwrap()).collect();
        for id in &ids {
            client.send(*id, Bytes::from(vec![1; 10_000]), true).unwrap();
        }
        let mut sent = [0, 0];
        while client.wants_to_send() {
            let (_, frames) = packet(&mut client, 1000);
            for frame in frames {
                let SentFrame::Stream { id, len, .. } = frame else { continue };
                assert!(id == ids[0] || sent[0] == 5000, "the second begins when the first is at its limit");
                sent[id.index() as usize] += len;
            }
        }
        assert_eq!(sent, [5000, 5000]);
        client.on_max_stream_data(ids[0], 10_000).unwrap();
        assert_eq!(next(&mut client), 0);
    }
}
