//! What is lost and what becomes of it (RFC 9000 section 13.3).

use super::*;

/// The frames of a packet.
fn frames(bytes: &[u8]) -> Vec<Frame<'_>> {
    let (mut reader, mut frames) = (Reader::new(bytes), Vec::new());
    while !reader.is_empty() {
        frames.push(Frame::decode(&mut reader).unwrap());
    }
    frames
}

fn lose(streams: &mut Streams, sent: SentFrames) {
    sent.into_iter().for_each(|frame| streams.lost(frame));
}

#[test]
// RFC 9000 section 13.3#4#6.
fn lost_data_is_repeated_without_credit_and_acknowledged_data_never() {
    let mut client = streams(Role::Client, &small());
    let id = client.open(Direction::Bidirectional).unwrap();
    client.send(id, Bytes::from((0..100).collect::<Vec<u8>>()), true).unwrap();
    let packets: Vec<_> = std::iter::from_fn(|| client.wants_to_send().then(|| packet(&mut client, 24))).collect();
    assert!(packets.len() >= 5 && client.send_limit.room() == 150);
    for (at, (_, sent)) in packets.iter().enumerate() {
        sent.iter().for_each(|frame| if at % 2 == 0 { client.acked(*frame) } else { client.lost(*frame) });
    }
    // The credit of the connection is gone meanwhile; repeats need none.
    let other = client.open(Direction::Bidirectional).unwrap();
    client.send(other, Bytes::from(vec![0; 100]), false).unwrap();
    let third = client.open(Direction::Bidirectional).unwrap();
    client.send(third, Bytes::from(vec![0; 100]), false).unwrap();
    client.send_limit.use_up(client.send_limit.room());
    let (bytes, sent) = packet(&mut client, 1200);
    let mut repeated: Vec<u8> = Vec::new();
    for frame in frames(&bytes) {
        match frame {
            Frame::Stream(frame) => {
                assert_eq!(frame.id, id);
                assert_eq!(u64::from(frame.data[0]), frame.offset);
                repeated.extend(frame.data);
            }
            Frame::DataBlocked(_) => {}
            other => panic!("{other:?}"),
        }
    }
    let lost: Vec<u8> = packets.iter().skip(1).step_by(2).flat_map(|(bytes, _)| stream_data(bytes)).collect();
    assert_eq!(repeated, lost);
    assert_eq!(client.retransmitted_bytes(), lost.len() as u64);
    // What is acknowledged late is not repeated either: lost, then acknowledged after all.
    lose(&mut client, sent.clone());
    sent.into_iter().for_each(|frame| client.acked(frame));
    assert!(stream_data(&packet(&mut client, 1200).0).is_empty() && !client.wants_to_send_data());
    let events: Vec<_> = std::iter::from_fn(|| client.poll_event()).collect();
    assert!(events.contains(&StreamEvent::Acked { id, offset: 100, fin: true }));
}

fn stream_data(bytes: &[u8]) -> Vec<u8> {
    let data = |frame| if let Frame::Stream(frame) = frame { frame.data.to_vec() } else { Vec::new() };
    frames(bytes).into_iter().flat_map(data).collect()
}

#[test]
fn a_lost_end_is_repeated_alone() {
    let mut client = streams(Role::Client, &small());
    let id = client.open(Direction::Bidirectional).unwrap();
    client.send(id, Bytes::from_static(b"data"), false).unwrap();
    let (_, data) = packet(&mut client, 100);
    client.send(id, Bytes::new(), true).unwrap();
    let (_, end) = packet(&mut client, 100);
    assert_eq!(end[..], [SentFrame::Stream { id, offset: 4, len: 0, fin: true }]);
    data.into_iter().for_each(|frame| client.acked(frame));
    lose(&mut client, end);
    assert_eq!(packet(&mut client, 100).1[..], [SentFrame::Stream { id, offset: 4, len: 0, fin: true }]);
}

#[test]
// RFC 9000 sections 3.3#2, 3.5#3, 13.3#1.
fn nothing_is_repeated_of_a_stream_that_was_reset() {
    let mut client = streams(Role::Client, &small());
    let id = client.open(Direction::Unidirectional).unwrap();
    client.send(id, Bytes::from_static(b"data"), false).unwrap();
    let (_, data) = packet(&mut client, 100);
    client.on_stop_sending(id, CODE.into()).unwrap();
    assert!(
        std::iter::from_fn(|| client.poll_event()).any(|event| event == StreamEvent::Stopped { id, code: CODE.into() })
    );
    lose(&mut client, data);
    let (bytes, sent) = packet(&mut client, 100);
    // Section 4.5: its final size is what was sent.
    assert_eq!(frames(&bytes), [Frame::ResetStream { id, error: CODE.into(), final_size: 4 }]);
    lose(&mut client, sent.clone());
    assert_eq!(packet(&mut client, 100).1, sent);
    sent.iter().for_each(|frame| client.acked(*frame));
    // Acknowledged, it is over, and a late loss revives nothing.
    let events: Vec<_> = std::iter::from_fn(|| client.poll_event()).collect();
    assert_eq!(events, [StreamEvent::ResetAcked(id), StreamEvent::Closed(id)]);
    lose(&mut client, sent);
    assert!(!client.wants_to_send());
}

/// Of limits only the newest is repeated, and of requests only what still counts.
#[test]
// RFC 9000 section 13.3#2.
fn limits_and_requests_are_repeated_while_they_count() {
    let mut server = streams(Role::Server, &small());
    let stream = id(Role::Client, Direction::Bidirectional, 0);
    let fill = |server: &mut Streams, offset| {
        server
            .on_stream(&StreamFrame { id: stream, offset, fin: false, data: &[] }, Bytes::from(vec![0; 100]))
            .unwrap();
        assert!(matches!(server.read(stream, 100), Ok(Read::Data(_))));
        server.consumed(NOW, RTT, stream, 100);
        packet(server, 100).1
    };
    let (first, second) = (fill(&mut server, 0), fill(&mut server, 100));
    assert_eq!(first[..], [SentFrame::MaxStreamData { id: stream, maximum: 200 }]);
    assert!(second.contains(&SentFrame::MaxStreamData { id: stream, maximum: 300 }));
    assert!(second.contains(&SentFrame::MaxData(450)));
    lose(&mut server, first);
    assert!(!server.wants_to_send(), "an older limit says nothing");
    lose(&mut server, second.clone());
    assert_eq!(packet(&mut server, 100).1, second);
    // Once the size is known nobody needs more credit for it (section 13.3).
    server.on_stream(&StreamFrame { id: stream, offset: 250, fin: true, data: &[] }, Bytes::new()).unwrap();
    lose(&mut server, second);
    assert_eq!(packet(&mut server, 100).1[..], [SentFrame::MaxData(450)]);
    // A request to stop counts until the peer has said how much there is.
    let other = id(Role::Client, Direction::Bidirectional, 1);
    server.on_stream(&data(other, 0, b"x", false), Bytes::from_static(b"x")).unwrap();
    server.stop_sending(other, CODE.into()).unwrap();
    let (_, stop) = packet(&mut server, 100);
    assert_eq!(stop[..], [SentFrame::StopSending { id: other }]);
    lose(&mut server, stop.clone());
    assert_eq!(packet(&mut server, 100).1, stop);
    server.on_reset_stream(other, CODE.into(), 1).unwrap();
    lose(&mut server, stop);
    assert!(!server.wants_to_send());
}
