//! draft-ietf-quic-reliable-stream-reset.

use tercel_wire::frame::{ResetStreamAt, ResetStreamAtType};

use super::*;

/// A client and a server, with a stream that the client has opened and given `len` bytes.
fn pair(len: u64, config: &TransportConfig) -> (Streams, Streams, StreamId) {
    let (mut client, server) = (streams(Role::Client, config), streams(Role::Server, config));
    let id = client.open(Direction::Unidirectional).unwrap();
    client.send(id, pattern(0, len), false).unwrap();
    (client, server, id)
}

fn pattern(from: u64, len: u64) -> Bytes {
    (from..from + len).map(|at| (at * 7 + at / 256) as u8).collect()
}

/// All that can be read now, and what follows it.
fn read_all(streams: &mut Streams, id: StreamId) -> (u64, Read) {
    let mut read = 0;
    loop {
        match streams.read(id, 300) {
            Ok(Read::Data(data)) => {
                assert_eq!(data, pattern(read, data.len() as u64));
                read += data.len() as u64;
                streams.consumed(NOW, RTT, id, data.len() as u64);
            }
            Ok(end) => return (read, end),
            Err(error) => panic!("{error}"),
        }
    }
}

fn events(streams: &mut Streams) -> Vec<StreamEvent> {
    std::iter::from_fn(|| streams.poll_event()).collect()
}

fn reset_at(id: StreamId, final_size: u64, reliable_size: u64) -> ResetStreamAt {
    ResetStreamAt { ty: ResetStreamAtType::Registered, id, error: CODE.into(), final_size, reliable_size }
}

/// Frames of reset in a packet.
fn resets(packet: &[u8]) -> Vec<(u64, u64)> {
    let mut reader = Reader::new(packet);
    let mut found = Vec::new();
    while !reader.is_empty() {
        match Frame::decode(&mut reader).unwrap() {
            Frame::ResetStreamAt(frame) => found.push((frame.final_size, frame.reliable_size)),
            Frame::ResetStream { final_size, .. } => found.push((final_size, 0)),
            _ => {}
        }
    }
    found
}

/// The bytes up to the reliable size arrive, the reset after them, and then the sender is done.
#[test]
fn the_beginning_is_delivered_and_then_the_reset() {
    let (mut client, mut server, id) = pair(3000, &TransportConfig::default());
    let (first, first_sent) = packet(&mut client, 1000);
    client.reset_at(id, CODE.into(), 1500).unwrap();
    assert_eq!(client.send(id, pattern(0, 1), false), Err(ApiMisuse::SendClosed));
    let (second, second_sent) = packet(&mut client, 1000);
    assert!(resets(&first).is_empty() && resets(&second).is_empty(), "not before its bytes were sent");
    let (third, third_sent) = packet(&mut client, 1000);
    assert_eq!(resets(&third), [(1500, 1500)]);
    assert!(!client.wants_to_send());
    for bytes in [third, first] {
        deliver(&mut server, &bytes).unwrap();
    }
    let (read, next) = read_all(&mut server, id);
    assert_eq!((read > 900 && read < 1000, next), (true, Read::Blocked));
    deliver(&mut server, &second).unwrap();
    assert_eq!(server.read(id, 10_000).map(|read| matches!(read, Read::Data(_))), Ok(true));
    assert_eq!(server.read(id, 10_000), Ok(Read::Reset(CODE.into())));
    assert!(events(&mut server).contains(&StreamEvent::Closed(id)));
    for frame in third_sent.into_iter().chain(first_sent) {
        client.acked(frame);
    }
    assert!(!events(&mut client).contains(&StreamEvent::ResetAcked(id)), "bytes are missing");
    second_sent.into_iter().for_each(|frame| client.acked(frame));
    let told = events(&mut client);
    assert_eq!(told[told.len() - 2..], [StreamEvent::ResetAcked(id), StreamEvent::Closed(id)]);
}

/// What was sent before and lies behind is not sent again, and belongs to the final size.
#[test]
fn what_lies_behind_is_left_to_its_fate() {
    let (mut client, mut server, id) = pair(3000, &TransportConfig::default());
    let sent: Vec<_> = (0..4).map(|_| packet(&mut client, 1000)).collect();
    client.reset_at(id, CODE.into(), 1200).unwrap();
    sent.iter().flat_map(|(_, frames)| frames).for_each(|frame| client.lost(*frame));
    let mut seen = 0;
    while client.wants_to_send() {
        let (bytes, frames) = packet(&mut client, 1000);
        for (final_size, reliable) in resets(&bytes) {
            assert_eq!((final_size, reliable), (3000, 1200));
            seen += 1;
        }
        deliver(&mut server, &bytes).unwrap();
        frames.into_iter().for_each(|frame| client.acked(frame));
    }
    assert_eq!(seen, 1);
    assert_eq!(client.retransmitted_bytes(), 1200);
    assert_eq!(read_all(&mut server, id), (1200, Read::Reset(CODE.into())));
    // The connection's credit for the rest is back.
    assert_eq!((server.received, server.receive_window.limit()), (3000, TransportConfig::default().receive_window));
    assert!(events(&mut client).contains(&StreamEvent::ResetAcked(id)));
}

/// Section 5.2: the size may shrink, down to a plain reset, never grow; the code stays; and what is said
/// about a size that no longer holds settles nothing.
#[test]
fn the_reliable_size_shrinks() {
    let (mut client, mut server, id) = pair(3000, &TransportConfig::default());
    for _ in 0..4 {
        let (bytes, _) = packet(&mut client, 1000);
        deliver(&mut server, &bytes).unwrap();
    }
    let misuse = |result: Result<(), ApiMisuse>| matches!(result, Err(ApiMisuse::InvalidArgument(_)));
    assert!(misuse(client.reset_at(id, CODE.into(), 3001)));
    client.reset_at(id, CODE.into(), 2000).unwrap();
    let (first, first_sent) = packet(&mut client, 100);
    assert!(misuse(client.reset_at(id, CODE.into(), 2001)));
    client.reset_at(id, 99u32.into(), 2000).unwrap();
    assert!(!client.wants_to_send());
    client.reset_at(id, 99u32.into(), 500).unwrap();
    first_sent.into_iter().for_each(|frame| client.acked(frame));
    let (second, second_sent) = packet(&mut client, 100);
    assert_eq!((resets(&first), resets(&second)), (vec![(3000, 2000)], vec![(3000, 500)]));
    client.reset(id, 99u32.into()).unwrap();
    second_sent.into_iter().for_each(|frame| client.acked(frame));
    let (third, third_sent) = packet(&mut client, 100);
    assert_eq!(resets(&third), [(3000, 0)]);
    third_sent.into_iter().for_each(|frame| client.acked(frame));
    assert_eq!(events(&mut client).last(), Some(&StreamEvent::Closed(id)));
    assert_eq!(client.reset_at(id, CODE.into(), 1), Err(ApiMisuse::UnknownStream));
    for bytes in [second, first] {
        deliver(&mut server, &bytes).unwrap();
    }
    let Ok(Read::Data(data)) = server.read(id, 300) else { panic!() };
    assert_eq!(data.len(), 300);
    deliver(&mut server, &third).unwrap();
    assert_eq!(server.read(id, 300), Ok(Read::Reset(CODE.into())), "the first code");
    server.consumed(NOW, RTT, id, 300);
    assert_eq!(server.received, 3000);
}

/// The peer asks to stop, or does not want to read any more: both need no more bytes.
#[test]
fn nobody_waits_for_what_is_not_wanted() {
    let (mut client, mut server, id) = pair(3000, &TransportConfig::default());
    let (bytes, _) = packet(&mut client, 1000);
    deliver(&mut server, &bytes).unwrap();
    client.reset_at(id, CODE.into(), 2000).unwrap();
    server.on_reset_stream_at(&reset_at(id, 2500, 2000)).unwrap();
    server.stop_sending(id, 3u32.into()).unwrap();
    assert!(events(&mut server).contains(&StreamEvent::Closed(id)));
    assert!(!server.wants_to_send(), "the peer sends no more than what it promised");
    client.on_stop_sending(id, 3u32.into()).unwrap();
    let (bytes, _) = packet(&mut client, 1000);
    assert_eq!(resets(&bytes).len(), 1);
    assert!(!client.wants_to_send(), "section 5.4: a plain reset");
}

/// Section 4: limits hold for the final size; section 5.2: neither it nor the code may change.
#[test]
fn violations_are_found() {
    let config = small();
    let fails = |frames: &[ResetStreamAt]| {
        let mut server = streams(Role::Server, &config);
        frames.iter().find_map(|frame| server.on_reset_stream_at(frame).err()).map(|violation| violation.code)
    };
    let uni = id(Role::Client, Direction::Unidirectional, 0);
    assert_eq!(fails(&[reset_at(uni, 100, 50)]), None);
    assert_eq!(fails(&[reset_at(uni, 101, 50)]), Some(TransportErrorCode::FLOW_CONTROL_ERROR));
    let ids: Vec<_> = (0..3).map(|index| id(Role::Client, Direction::Bidirectional, index)).collect();
    let frames: Vec<_> = ids.iter().map(|id| reset_at(*id, 90, 50)).collect();
    assert_eq!(fails(&frames), Some(TransportErrorCode::FLOW_CONTROL_ERROR), "of the connection");
    assert_eq!(fails(&[reset_at(uni, 90, 50), reset_at(uni, 91, 50)]), Some(TransportErrorCode::FINAL_SIZE_ERROR));
    let other = ResetStreamAt { error: 1u32.into(), ..reset_at(uni, 90, 50) };
    assert_eq!(fails(&[reset_at(uni, 90, 50), other]), Some(TransportErrorCode::STREAM_STATE_ERROR));
    assert_eq!(fails(&[reset_at(uni, 90, 50), reset_at(uni, 90, 60)]), None);
    let ours = id(Role::Server, Direction::Unidirectional, 0);
    assert_eq!(fails(&[reset_at(ours, 1, 1)]), Some(TransportErrorCode::STREAM_STATE_ERROR));
}

/// A peer is told by the type that it knows; one that knows none cannot be told.
#[test]
fn each_peer_is_told_in_its_own_way() {
    let peer = |reset_stream_at, reliable_reset| {
        let mut client = Streams::new(Role::Client, &TransportConfig::default());
        let parameters = parameters(&TransportConfig::default());
        client.set_peer_parameters(&TransportParameters { reset_stream_at, reliable_reset, ..parameters });
        let id = client.open(Direction::Unidirectional).unwrap();
        client.send(id, pattern(0, 10), false).unwrap();
        client.reset_at(id, CODE.into(), 10)?;
        let bytes = [packet(&mut client, 100).0, packet(&mut client, 100).0].concat();
        Ok(bytes.into_iter().rev().nth(4))
    };
    assert_eq!(peer(false, false), Err(ApiMisuse::ResetAtUnsupported));
    assert_eq!([peer(true, false), peer(true, true), peer(false, true)], [0x24, 0x24, 0x21].map(|ty| Ok(Some(ty))));
    let mut client = Streams::new(Role::Client, &TransportConfig::default());
    client.set_peer_parameters(&TransportParameters { reset_stream_at: false, ..parameters(&small()) });
    let id = client.open(Direction::Unidirectional).unwrap();
    client.reset_at(id, CODE.into(), 0).unwrap();
    assert_eq!(resets(&packet(&mut client, 100).0), [(0, 0)], "nothing to deliver is a plain reset");
}

/// With the peer's limits in its way a reset waits until what it promises could be sent.
#[test]
fn a_reset_waits_for_credit() {
    let (mut client, mut server, id) = pair(150, &small());
    client.reset_at(id, CODE.into(), 120).unwrap();
    let (bytes, _) = packet(&mut client, 1000);
    assert!(resets(&bytes).is_empty());
    deliver(&mut server, &bytes).unwrap();
    assert_eq!(read_all(&mut server, id), (100, Read::Blocked));
    let (credit, _) = packet(&mut server, 1000);
    deliver(&mut client, &credit).unwrap();
    let mut told = Vec::new();
    while client.wants_to_send() {
        let (bytes, _) = packet(&mut client, 1000);
        told.extend(resets(&bytes));
        deliver(&mut server, &bytes).unwrap();
    }
    assert_eq!(told, [(120, 120)]);
    let Ok(Read::Data(rest)) = server.read(id, 1000) else { panic!() };
    assert_eq!(rest, pattern(100, 20));
    assert_eq!(server.read(id, 1000), Ok(Read::Reset(CODE.into())));
}

/// The server did not take early data: the bytes and the reset are sent again; and if it does not
/// understand it now, a plain one.
#[test]
fn early_resets_are_said_again() {
    for understood in [true, false] {
        let config = TransportConfig::default();
        let (mut client, mut server, id) = pair(3000, &config);
        let _ = packet(&mut client, 1000);
        client.reset_at(id, CODE.into(), 500).unwrap();
        let _ = packet(&mut client, 1000);
        client.early_data_rejected();
        client.set_peer_parameters(&TransportParameters { reset_stream_at: understood, ..parameters(&config) });
        let mut told = Vec::new();
        while client.wants_to_send() {
            let (bytes, _) = packet(&mut client, 1000);
            told.extend(resets(&bytes));
            deliver(&mut server, &bytes).unwrap();
        }
        match understood {
            true => assert_eq!((told, read_all(&mut server, id)), (vec![(500, 500)], (500, Read::Reset(CODE.into())))),
            false => assert_eq!((told, server.read(id, 9)), (vec![(0, 0)], Ok(Read::Reset(CODE.into())))),
        }
    }
}
