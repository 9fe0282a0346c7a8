//! Which streams there may be, and how much may be sent on them (RFC 9000 sections 2.1, 3 and 4).

use super::*;

// Which streams there may be (sections 2.1, 3 and 4.6).

#[test]
// RFC 9000 sections 4.6#3, 19.4#1, 19.5#1#2, 19.8#1, 19.10#1#2, 19.11#4, 19.13#2.
fn frames_for_streams_that_cannot_be() {
    use Direction::{Bidirectional, Unidirectional};
    let config = small();
    for us in [Role::Client, Role::Server] {
        let fault =
            |act: &dyn Fn(&mut Streams) -> Result<(), Violation>| act(&mut streams(us, &config)).map_err(|v| v.code);
        let state = Err(TransportErrorCode::STREAM_STATE_ERROR);
        let limit = Err(TransportErrorCode::STREAM_LIMIT_ERROR);
        let (ours, theirs) = (us, us.peer());
        // Streams that we have not opened.
        for direction in [Bidirectional, Unidirectional] {
            let unopened = id(ours, direction, 0);
            assert_eq!(fault(&|s| s.on_stream(&data(unopened, 0, b"x", false), Bytes::from_static(b"x"))), state);
            assert_eq!(fault(&|s| s.on_reset_stream(unopened, CODE.into(), 0)), state);
            assert_eq!(fault(&|s| s.on_stop_sending(unopened, CODE.into())), state);
            assert_eq!(fault(&|s| s.on_max_stream_data(unopened, 9)), state);
            assert_eq!(fault(&|s| s.on_stream_data_blocked(unopened)), state);
        }
        // Parts that one-way streams do not have.
        let one_way = id(theirs, Unidirectional, 0);
        assert_eq!(fault(&|s| s.on_stop_sending(one_way, CODE.into())), state);
        assert_eq!(fault(&|s| s.on_max_stream_data(one_way, 9)), state);
        let opened = |act: &dyn Fn(&mut Streams, StreamId) -> Result<(), Violation>| {
            let mut streams = streams(us, &config);
            let opened = streams.open(Unidirectional).unwrap();
            act(&mut streams, opened).map_err(|violation| violation.code)
        };
        assert_eq!(opened(&|s, id| s.on_stream(&data(id, 0, b"x", false), Bytes::from_static(b"x"))), state);
        assert_eq!(opened(&|s, id| s.on_reset_stream(id, CODE.into(), 0)), state);
        assert_eq!(opened(&|s, id| s.on_stream_data_blocked(id)), state);
        // More than permitted.
        for (direction, count) in [(Bidirectional, 3), (Unidirectional, 2)] {
            let stream = |index| data(id(theirs, direction, index), 0, b"", false);
            assert_eq!(fault(&|s| s.on_stream(&stream(count - 1), Bytes::new())), Ok(()));
            assert_eq!(fault(&|s| s.on_stream(&stream(count), Bytes::new())), limit);
            assert_eq!(fault(&|s| s.on_stream(&stream((1 << 60) - 1), Bytes::new())), limit);
        }
    }
}

#[test]
// RFC 9000 section 3.2#1.
fn a_stream_opens_all_below_it() {
    let mut server = streams(Role::Server, &small());
    let third = id(Role::Client, Direction::Bidirectional, 2);
    server.on_stream(&data(third, 0, b"x", false), Bytes::from_static(b"x")).unwrap();
    let opened: Vec<_> = std::iter::from_fn(|| server.poll_event())
        .filter_map(|event| match event {
            StreamEvent::Opened(id) => Some(id.index()),
            _ => None,
        })
        .collect();
    assert_eq!(opened, [0, 1, 2]);
    assert!(server.send(id(Role::Client, Direction::Bidirectional, 0), Bytes::from_static(b"y"), true).is_ok());
}

#[test]
// RFC 9000 sections 4.6#2, 19.11#3.
fn misuse_is_told_and_changes_nothing() {
    let mut client = streams(Role::Client, &small());
    let (uni, theirs) =
        (client.open(Direction::Unidirectional).unwrap(), id(Role::Server, Direction::Unidirectional, 0));
    let unknown = id(Role::Client, Direction::Bidirectional, 0);
    assert!(matches!(client.read(uni, 1), Err(ApiMisuse::NotReceivable)));
    assert_eq!(client.stop_sending(uni, CODE.into()), Err(ApiMisuse::NotReceivable));
    assert_eq!(client.send(theirs, Bytes::new(), true), Err(ApiMisuse::NotSendable));
    assert_eq!(client.reset(theirs, CODE.into()), Err(ApiMisuse::NotSendable));
    assert_eq!(client.set_priority(theirs, 1), Err(ApiMisuse::NotSendable));
    assert_eq!(client.send(unknown, Bytes::new(), true), Err(ApiMisuse::UnknownStream));
    assert!(matches!(client.read(unknown, 1), Err(ApiMisuse::UnknownStream)));
    client.open(Direction::Unidirectional).unwrap();
    assert_eq!(client.open(Direction::Unidirectional), Err(ApiMisuse::StreamLimit));
    client.on_max_streams(Direction::Unidirectional, 3);
    assert!(client.open(Direction::Unidirectional).is_ok());
    // A limit never falls (section 4.1).
    client.on_max_streams(Direction::Unidirectional, 1);
    assert_eq!(client.available(Direction::Unidirectional), 0);
}

// How much may be sent (sections 4.1 and 4.2).

#[test]
// RFC 9000 sections 4.1#2, 19.8#2, 19.9#1#2, 19.10#4.
fn a_peer_that_sends_more_than_it_may() {
    let too_much = TransportErrorCode::FLOW_CONTROL_ERROR;
    let mut server = streams(Role::Server, &small());
    let send = |server: &mut Streams, index, offset, len: usize| {
        let id = id(Role::Client, Direction::Bidirectional, index);
        let bytes = Bytes::from(vec![0; len]);
        let frame = StreamFrame { id, offset, fin: false, data: &[] };
        server.on_stream(&frame, bytes).map_err(|violation| violation.code)
    };
    assert_eq!(send(&mut server, 0, 0, 100), Ok(()));
    assert_eq!(send(&mut server, 0, 0, 100), Ok(()), "the same again is nothing new");
    assert_eq!(send(&mut server, 1, 99, 1), Ok(()), "the gap counts as well");
    assert_eq!(send(&mut server, 2, 0, 50), Ok(()));
    assert_eq!(send(&mut server, 2, 50, 1), Err(too_much), "251 bytes of the connection's 250");
    assert_eq!(send(&mut streams(Role::Server, &small()), 0, 100, 1), Err(too_much), "101 of the stream's 100");
    let mut server = streams(Role::Server, &small());
    let reset = server.on_reset_stream(id(Role::Client, Direction::Bidirectional, 0), CODE.into(), 101);
    assert_eq!(reset.unwrap_err().code, too_much);
}

#[test]
// RFC 9000 sections 2.2#3, 4.1#1#4, 19.10#3, 19.12#1, 19.13#1.
fn what_is_sent_keeps_to_both_limits_and_says_when_it_is_blocked() {
    let mut client = streams(Role::Client, &small());
    let ids: Vec<_> = (0..3).map(|_| client.open(Direction::Bidirectional).unwrap()).collect();
    for id in &ids {
        client.send(*id, Bytes::from(vec![1; 500]), false).unwrap();
    }
    let (bytes, _) = packet(&mut client, 5000);
    let mut reader = Reader::new(&bytes);
    let mut sent = [0; 3];
    while !reader.is_empty() {
        if let Frame::Stream(frame) = Frame::decode(&mut reader).unwrap() {
            sent[frame.id.index() as usize] += frame.data.len();
        }
    }
    assert!(sent.iter().all(|sent| *sent <= 100) && sent.iter().sum::<usize>() == 250, "{sent:?}");
    let (bytes, _) = packet(&mut client, 5000);
    let mut blocked = Vec::new();
    let mut reader = Reader::new(&bytes);
    while !reader.is_empty() {
        blocked.push(Frame::decode(&mut reader).unwrap());
    }
    assert!(blocked.contains(&Frame::DataBlocked(250)));
    assert!(!client.wants_to_send(), "it is said once");
    client.on_max_data(300);
    assert!(client.wants_to_send());
    let (bytes, _) = packet(&mut client, 5000);
    assert!(bytes.len() > 50);
    // The stream's limit alone.
    let mut client = streams(Role::Client, &TransportConfig { receive_window: 1 << 20, ..small() });
    let id = client.open(Direction::Bidirectional).unwrap();
    client.send(id, Bytes::from(vec![1; 500]), false).unwrap();
    packet(&mut client, 5000);
    let (bytes, _) = packet(&mut client, 5000);
    let blocked = Frame::StreamDataBlocked { id, limit: 100 };
    assert_eq!(Frame::decode(&mut Reader::new(&bytes)), Ok(blocked));
    assert!(!client.wants_to_send());
    client.on_max_stream_data(id, 600).unwrap();
    assert!(packet(&mut client, 5000).0.len() > 400);
}

#[test]
// RFC 9000 sections 4.2#1, 4.5#1.
fn credit_comes_back_for_what_is_read_and_for_what_never_will_be() {
    let mut server = streams(Role::Server, &small());
    let stream = |index| id(Role::Client, Direction::Bidirectional, index);
    for index in 0..2 {
        let frame = StreamFrame { id: stream(index), offset: 0, fin: false, data: &[] };
        server.on_stream(&frame, Bytes::from(vec![0; 100])).unwrap();
    }
    let limits = |server: &mut Streams| {
        let (bytes, _) = packet(server, 1000);
        let (mut reader, mut limits) = (Reader::new(&bytes), (None, None));
        while !reader.is_empty() {
            match Frame::decode(&mut reader).unwrap() {
                Frame::MaxData(maximum) => limits.0 = Some(maximum),
                Frame::MaxStreamData { maximum, .. } => limits.1 = Some(maximum),
                _ => {}
            }
        }
        limits
    };
    assert!(matches!(server.read(stream(0), 1000), Ok(Read::Data(data)) if data.len() == 100));
    assert_eq!(limits(&mut server), (None, None), "reading alone gives none");
    server.consumed(NOW, RTT, stream(0), 100);
    assert_eq!(limits(&mut server), (None, Some(200)));
    // The peer resets a stream of which 100 bytes wait unread: 200 of 250 are free again.
    server.on_reset_stream(stream(1), CODE.into(), 100).unwrap();
    assert_eq!(limits(&mut server), (Some(450), None));
    // We stop one that has unread bytes.
    let frame = StreamFrame { id: stream(2), offset: 0, fin: false, data: &[] };
    server.on_stream(&frame, Bytes::from(vec![0; 100])).unwrap();
    server.stop_sending(stream(2), CODE.into()).unwrap();
    server.on_stream(&StreamFrame { id: stream(2), offset: 100, fin: true, data: &[] }, Bytes::new()).unwrap();
    server.consumed(NOW, RTT, stream(0), 50);
    assert_eq!(limits(&mut server).0, Some(600));
}

#[test]
fn windows_grow_while_the_application_keeps_up() {
    let config = TransportConfig { max_stream_receive_window: 1600, max_receive_window: 1 << 20, ..small() };
    let mut server = streams(Role::Server, &TransportConfig { receive_window: 1 << 20, ..config });
    let stream = id(Role::Client, Direction::Bidirectional, 0);
    let (mut offset, mut limit, mut windows) = (0, 100, Vec::new());
    for round in 0..12 {
        let frame = StreamFrame { id: stream, offset, fin: false, data: &[] };
        server.on_stream(&frame, Bytes::from(vec![0; (limit - offset) as usize])).unwrap();
        let read = limit - offset;
        offset = limit;
        while matches!(server.read(stream, 1 << 20), Ok(Read::Data(_))) {}
        server.consumed(NOW + round * RTT, RTT, stream, read);
        let (bytes, _) = packet(&mut server, 1000);
        let mut reader = Reader::new(&bytes);
        while !reader.is_empty() {
            if let Frame::MaxStreamData { maximum, .. } = Frame::decode(&mut reader).unwrap() {
                windows.push(maximum - offset);
                limit = maximum;
            }
        }
    }
    assert_eq!(windows.first(), Some(&100));
    assert_eq!(windows.last(), Some(&1600));
    assert!(windows.is_sorted());
}

/// The frames of the next packet.
fn frames(streams: &mut Streams, see: impl FnOnce(Vec<Frame<'_>>)) -> SentFrames {
    let (bytes, sent) = packet(streams, 5000);
    let (mut reader, mut frames) = (Reader::new(&bytes), Vec::new());
    while !reader.is_empty() {
        frames.push(Frame::decode(&mut reader).unwrap());
    }
    see(frames);
    sent
}

/// RFC 9000 sections 4.6#5, 19.14#1: once for each limit, and again if it is lost while the limit still holds.
#[test]
fn who_wants_more_streams_than_there_may_be_says_so() {
    for ahead in [false, true] {
        let mut client = streams(Role::Client, &small());
        let direction = Direction::Unidirectional;
        assert_eq!([(); 2].map(|()| client.open(direction).is_ok()), [true; 2]);
        assert!(!client.wants_to_send(), "nobody wants more");
        let want = |client: &mut Streams| match ahead {
            true => assert!(!client.open_ahead(direction).1),
            false => assert_eq!(client.open(direction), Err(ApiMisuse::StreamLimit)),
        };
        want(&mut client);
        assert!(client.wants_to_send());
        let at = |limit| move |frames: Vec<Frame<'_>>| assert_eq!(frames, [Frame::StreamsBlocked { direction, limit }]);
        let sent = frames(&mut client, at(2));
        want(&mut client);
        assert!(!client.wants_to_send(), "it is said once");
        client.lost(sent[0]);
        let sent = frames(&mut client, at(2));
        client.on_max_streams(direction, 3);
        assert_eq!(client.wants_to_send(), ahead, "one of two has to wait on");
        client.lost(sent[0]);
        assert_eq!(client.wants_to_send(), ahead, "that limit is history");
        if ahead {
            frames(&mut client, at(3));
        }
        client.on_max_streams(direction, 5);
        frames(&mut client, |frames| assert_eq!(frames, []));
    }
}

/// RFC 9000 section 4.1#5, and 13.3: the frames that tell of limits are repeated if they are lost, or if it has been
/// silent for long, and only while the limits hold.
#[test]
fn limits_that_are_in_the_way_are_spoken_of_again() {
    let mut client = streams(Role::Client, &TransportConfig { receive_window: 200, ..small() });
    let ids: Vec<_> = (0..3).map(|_| client.open(Direction::Bidirectional).unwrap()).collect();
    for (id, len) in ids.iter().zip([500, 50, 200]) {
        client.send(*id, Bytes::from(vec![1; len]), false).unwrap();
    }
    assert!(!client.may_be_limited());
    packet(&mut client, 5000);
    let of_stream = Frame::StreamDataBlocked { id: ids[0], limit: 100 };
    let both = |frames: Vec<Frame<'_>>| {
        assert!(
            frames.contains(&Frame::DataBlocked(200)) && frames.contains(&of_stream) && frames.len() == 2,
            "{frames:?}"
        );
    };
    let sent = frames(&mut client, both);
    assert!(client.may_be_limited() && !client.wants_to_send());
    sent.into_iter().for_each(|frame| client.lost(frame));
    let sent = frames(&mut client, both);
    client.say_limits_again();
    frames(&mut client, both);
    client.on_max_data(10_000);
    client.on_max_stream_data(ids[0], 10_000).unwrap();
    client.on_max_stream_data(ids[2], 10_000).unwrap();
    packet(&mut client, 5000);
    sent.into_iter().for_each(|frame| client.lost(frame));
    client.say_limits_again();
    assert!(!client.wants_to_send() && !client.may_be_limited());
}

/// More may be permitted at any time. Less takes nothing back: it holds once so many have ended.
#[test]
// RFC 9000 section 4.6#6.
fn how_many_streams_the_peer_may_have_can_change() {
    let config = small();
    let (mut client, mut server) = (streams(Role::Client, &config), streams(Role::Server, &config));
    let exchange = |client: &mut Streams, server: &mut Streams| {
        let (bytes, _) = packet(server, 100);
        deliver(client, &bytes).unwrap();
        client.available(Direction::Bidirectional)
    };
    server.reconfigure(&TransportConfig { max_bidi_streams: 5, ..small() });
    assert_eq!(exchange(&mut client, &mut server), 5);
    server.reconfigure(&TransportConfig { max_bidi_streams: 1, ..small() });
    assert_eq!(exchange(&mut client, &mut server), 5);
    // Five end, and only then one more is permitted for each.
    for index in 0..5 {
        let id = client.open(Direction::Bidirectional).unwrap();
        assert_eq!((id.index(), exchange(&mut client, &mut server)), (index, 4 - index));
        server.on_reset_stream(id, CODE.into(), 0).unwrap();
        assert!(matches!(server.read(id, 1), Ok(Read::Reset(_))));
        server.reset(id, CODE.into()).unwrap();
        packet(&mut server, 100).1.into_iter().for_each(|frame| server.acked(frame));
    }
    assert_eq!(exchange(&mut client, &mut server), 1);
}

/// RFC 9000 section 19.14: the application hears once of each limit that is in the peer's way, and not of those that
/// are no more.
#[test]
fn a_peer_that_wants_more_streams_is_heard() {
    let mut server = streams(Role::Server, &small());
    while server.poll_event().is_some() {}
    let wanted = |server: &mut Streams, direction, limit| {
        server.on_streams_blocked(direction, limit);
        let event = server.poll_event();
        assert!(server.poll_event().is_none());
        event == Some(StreamEvent::Wanted(direction))
    };
    let (both, one) = (Direction::Bidirectional, Direction::Unidirectional);
    assert!(!wanted(&mut server, both, 2), "more are permitted");
    assert!(wanted(&mut server, both, 3) && !wanted(&mut server, both, 3));
    assert!(wanted(&mut server, one, 2));
    server.reconfigure(&TransportConfig { max_bidi_streams: 4, ..small() });
    assert!(!wanted(&mut server, both, 3) && wanted(&mut server, both, 4));
}

/// A stream of the peer's that is held counts as open until it is released, over or not.
#[test]
// RFC 9000 section 4.6#6.
fn a_stream_that_is_held_counts_after_its_end() {
    let config = TransportConfig { max_uni_streams: 1, ..small() };
    let mut server = streams(Role::Server, &config);
    let direction = Direction::Unidirectional;
    let end = |server: &mut Streams, id, held| {
        server.on_stream(&data(id, 0, b"", true), Bytes::new()).unwrap();
        if held {
            server.hold(id);
        }
        assert!(matches!(server.read(id, 1), Ok(Read::Finished)));
    };
    let limit = |server: &Streams| server.remote[direction as usize].limit();
    end(&mut server, id(Role::Client, direction, 0), true);
    assert_eq!(limit(&server), 1);
    server.release(id(Role::Client, direction, 0));
    assert_eq!(limit(&server), 2);
    // Released before its end, or never held, it counts no longer than it lives.
    let second = id(Role::Client, direction, 1);
    server.on_stream(&data(second, 0, b"x", false), Bytes::from_static(b"x")).unwrap();
    server.hold(second);
    server.release(second);
    assert_eq!(limit(&server), 2);
    server.on_reset_stream(second, CODE.into(), 1).unwrap();
    assert!(matches!(server.read(second, 1), Ok(Read::Reset(_))));
    assert_eq!(limit(&server), 3);
    end(&mut server, id(Role::Client, direction, 2), false);
    assert_eq!(limit(&server), 4);
    // What is over is not held.
    server.hold(id(Role::Client, direction, 2));
    assert!(server.held.is_empty());
}
