//! Sends that wait for more, streams that a loss ends, and streams opened ahead of the limit or of data.

use super::*;

fn client() -> (Streams, StreamId) {
    let mut client = streams(Role::Client, &TransportConfig::default());
    let id = client.open(Direction::Bidirectional).unwrap();
    events(&mut client);
    (client, id)
}

fn events(streams: &mut Streams) -> Vec<StreamEvent> {
    std::iter::from_fn(|| streams.poll_event()).collect()
}

/// What is done, how, and whether data that lingers leaves because of it.
type Way = (&'static str, fn(&mut Streams, StreamId), bool);

#[test]
fn data_lingers_until_something_is_sent_anyway() {
    let data = || Bytes::from_static(b"0123456789");
    // What makes it leave, if anything.
    let ways: [Way; 6] = [
        (
            "more that may wait",
            |client, id| client.send_with(id, "more".into(), false, Flush::WithNext).unwrap(),
            false,
        ),
        ("an empty send", |client, id| client.send(id, Bytes::new(), false).unwrap(), true),
        ("the end", |client, id| client.send(id, Bytes::new(), true).unwrap(), true),
        ("a call", |client, _| client.flush(), true),
        (
            "its amount",
            |client, id| client.send_with(id, vec![0; 16 << 10].into(), false, Flush::WithNext).unwrap(),
            true,
        ),
        (
            "another stream's data",
            |client, _| {
                let other = client.open(Direction::Unidirectional).unwrap();
                client.send(other, "now".into(), false).unwrap();
            },
            true,
        ),
    ];
    for (way, act, leaves) in ways {
        let (mut client, id) = client();
        client.send_with(id, data(), false, Flush::WithNext).unwrap();
        assert!(!client.wants_to_send(), "{way}");
        act(&mut client, id);
        assert_eq!(client.wants_to_send(), leaves, "{way}");
        // It goes along with any packet.
        assert!(packet(&mut client, 1200).0.len() > 10, "{way}");
        assert!(client.schedule.first().is_none() || client.wants_to_send(), "{way}");
    }
    // Behind data that is about to leave nothing lingers.
    let (mut client, id) = client();
    client.send(id, data(), false).unwrap();
    client.send_with(id, data(), false, Flush::WithNext).unwrap();
    assert!(client.wants_to_send() && packet(&mut client, 15).0.len() == 15 && client.wants_to_send());
    // A loss is repeated at once whatever lingers.
    let (mut client, id) = self::client();
    client.send(id, data(), false).unwrap();
    let (_, sent) = packet(&mut client, 1200);
    client.send_with(id, data(), false, Flush::WithNext).unwrap();
    assert!(!client.wants_to_send());
    sent.into_iter().for_each(|frame| client.lost(frame));
    assert!(client.wants_to_send());
}

/// What happens on a stream that a loss ends, in every state of its sending part.
#[test]
fn a_loss_ends_the_stream_once() {
    for fin in [false, true] {
        for (acked, lost_again) in [(false, false), (false, true), (true, false)] {
            let (mut client, id) = client();
            client.cancel_on_loss(id).unwrap();
            client.send(id, Bytes::from(vec![7; 2000]), fin).unwrap();
            let (first, second) = (packet(&mut client, 1200).1, packet(&mut client, 1200).1);
            if acked {
                // An acknowledgement that comes first leaves nothing to lose.
                first.iter().for_each(|frame| client.acked(*frame));
            }
            first.iter().for_each(|frame| client.lost(*frame));
            if lost_again {
                second.iter().for_each(|frame| client.lost(*frame));
            }
            let canceled =
                events(&mut client).iter().filter(|event| **event == StreamEvent::CanceledByLoss(id)).count();
            assert_eq!(canceled, usize::from(!acked), "{fin} {acked} {lost_again}");
            assert!(!client.wants_to_send(), "nothing is repeated");
            if !acked {
                // More is accepted, for nobody knows yet, and not sent.
                assert_eq!(client.send(id, "more".into(), false).is_ok(), !fin);
                assert!(packet(&mut client, 1200).0.is_empty());
                client.reset(id, CODE.into()).unwrap();
                let (bytes, sent) = packet(&mut client, 1200);
                let frame = Frame::decode(&mut Reader::new(&bytes)).unwrap();
                assert_eq!(frame, Frame::ResetStream { id, error: CODE.into(), final_size: 2000 });
                // The reset itself is repeated.
                sent.into_iter().for_each(|frame| client.lost(frame));
                assert!(client.wants_to_send() && !packet(&mut client, 1200).0.is_empty());
            }
        }
    }
}

#[test]
fn a_lost_end_alone_ends_the_stream_too() {
    let (mut client, id) = client();
    client.cancel_on_loss(id).unwrap();
    client.send(id, Bytes::new(), true).unwrap();
    let (_, sent) = packet(&mut client, 1200);
    sent.into_iter().for_each(|frame| client.lost(frame));
    assert_eq!(events(&mut client), [StreamEvent::CanceledByLoss(id)]);
    assert!(!client.wants_to_send());
}

#[test]
fn what_was_acknowledged_after_all_ends_as_it_should() {
    let (mut client, id) = client();
    client.cancel_on_loss(id).unwrap();
    client.send(id, "data".into(), true).unwrap();
    let (_, sent) = packet(&mut client, 1200);
    sent.iter().for_each(|frame| client.lost(*frame));
    sent.iter().for_each(|frame| client.acked(*frame));
    assert!(events(&mut client).contains(&StreamEvent::Acked { id, offset: 4, fin: true }));
    assert_eq!(client.reset(id, CODE.into()), Err(ApiMisuse::SendClosed));
}

#[test]
fn a_stream_can_be_announced_without_data() {
    let (mut client, id) = client();
    assert!(!client.wants_to_send());
    client.announce(id).unwrap();
    let (bytes, sent) = packet(&mut client, 1200);
    let Frame::Stream(frame) = Frame::decode(&mut Reader::new(&bytes)).unwrap() else { panic!() };
    assert_eq!((frame.id, frame.offset, frame.fin, frame.data.len()), (id, 0, false, 0));
    let mut server = streams(Role::Server, &TransportConfig::default());
    events(&mut server);
    deliver(&mut server, &bytes).unwrap();
    assert_eq!(events(&mut server), [StreamEvent::Opened(id)]);
    assert!(!client.wants_to_send());
    // Lost it is said again; data says it as well.
    sent.iter().for_each(|frame| client.lost(*frame));
    assert!(client.wants_to_send());
    client.send(id, "data".into(), true).unwrap();
    let (bytes, sent) = packet(&mut client, 1200);
    deliver(&mut server, &bytes).unwrap();
    assert!(!client.wants_to_send());
    sent.iter().for_each(|frame| client.acked(*frame));
    assert_eq!(events(&mut client), [StreamEvent::Acked { id, offset: 4, fin: true }]);
}

#[test]
fn a_stream_opened_ahead_waits_for_the_peer() {
    let mut client = streams(Role::Client, &small());
    events(&mut client);
    let ids: Vec<_> = (0..5).map(|_| client.open_ahead(Direction::Bidirectional)).collect();
    assert_eq!(ids.iter().map(|(_, accepted)| *accepted).collect::<Vec<_>>(), [true, true, true, false, false]);
    assert_eq!(client.open(Direction::Bidirectional), Err(ApiMisuse::StreamLimit));
    for (id, _) in &ids {
        client.send(*id, "data".into(), true).unwrap();
        client.announce(*id).unwrap();
    }
    client.reset(ids[4].0, CODE.into()).unwrap();
    let sent_on = |client: &mut Streams| {
        let (bytes, _) = packet(client, 1200);
        let (mut reader, mut on) = (Reader::new(&bytes), Vec::new());
        while !reader.is_empty() {
            on.extend(match Frame::decode(&mut reader).unwrap() {
                Frame::Stream(frame) => Some(frame.id.index()),
                Frame::ResetStream { id, .. } => Some(id.index()),
                Frame::StreamsBlocked { .. } => None,
                other => panic!("{other:?}"),
            });
        }
        on
    };
    assert_eq!(sent_on(&mut client), [0, 1, 2]);
    assert!(!client.wants_to_send());
    client.on_max_streams(Direction::Bidirectional, 4);
    assert_eq!(
        events(&mut client),
        [StreamEvent::Available(Direction::Bidirectional), StreamEvent::Accepted(ids[3].0)]
    );
    assert_eq!(sent_on(&mut client), [3]);
    client.on_max_streams(Direction::Bidirectional, 10);
    assert_eq!(
        events(&mut client),
        [StreamEvent::Available(Direction::Bidirectional), StreamEvent::Accepted(ids[4].0)]
    );
    assert_eq!(sent_on(&mut client), [4]);
    assert_eq!(client.available(Direction::Bidirectional), 5);
}
