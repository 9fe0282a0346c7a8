//! Early data that a server rejects (RFC 9001 section 4.6.2; RFC 9000 section 7.4.1): streams begin
//! anew, under limits that may be lower than those remembered.

use super::*;

/// A client whose remembered limits held until now, and then those of `config`.
fn rejected(client: &mut Streams, config: &TransportConfig) {
    client.early_data_rejected();
    client.set_peer_parameters(&parameters(config));
}

/// Carries all that `client` has to say to `server`, and acknowledges it; gives the frames.
fn carry(client: &mut Streams, server: &mut Streams) -> Vec<SentFrame> {
    let mut all = Vec::new();
    while client.wants_to_send() {
        let (bytes, sent) = packet(client, 1200);
        if bytes.is_empty() {
            break;
        }
        deliver(server, &bytes).unwrap();
        sent.iter().for_each(|frame| client.acked(*frame));
        all.extend(sent);
    }
    all
}

fn read_all(server: &mut Streams, id: StreamId) -> Vec<u8> {
    let mut read = Vec::new();
    while let Ok(Read::Data(data)) = server.read(id, 1000) {
        read.extend_from_slice(&data);
        server.consumed(NOW, RTT, id, data.len() as u64);
    }
    read
}

#[test]
// RFC 9001 section 4.6.2#3.
fn everything_is_sent_again_within_the_limits_that_hold() {
    let config = TransportConfig { receive_window: 120, ..small() };
    let mut client = streams(Role::Client, &small());
    let ids: Vec<_> = (0..3).map(|_| client.open(Direction::Bidirectional).unwrap()).collect();
    for id in &ids {
        client.send(*id, Bytes::from(vec![id.index() as u8; 90]), true).unwrap();
    }
    // Some of it leaves, and some is held back by the connection's limit.
    assert!(packet(&mut client, 1200).0.len() > 250);
    rejected(&mut client, &config);
    let mut server = streams(Role::Server, &config);
    let mut read = [const { Vec::new() }; 3];
    for _ in 0..10 {
        carry(&mut client, &mut server);
        for (id, read) in ids.iter().zip(&mut read) {
            read.extend(read_all(&mut server, *id));
        }
        let (bytes, _) = packet(&mut server, 1200);
        deliver(&mut client, &bytes).unwrap();
    }
    for (id, read) in ids.iter().zip(&read) {
        assert_eq!(*read, [id.index() as u8; 90], "{id:?}");
    }
}

/// Streams beyond the limit that holds wait for it, with all that belongs to them.
#[test]
fn streams_that_may_not_be_wait() {
    let one = TransportConfig { max_bidi_streams: 1, ..small() };
    let mut client = streams(Role::Client, &TransportConfig { max_bidi_streams: 7, receive_window: 100, ..small() });
    let ids: Vec<_> = (0..7).map(|_| client.open(Direction::Bidirectional).unwrap()).collect();
    client.send(ids[0], Bytes::from_static(b"first"), true).unwrap();
    client.send(ids[1], Bytes::from_static(b"sent"), true).unwrap();
    client.send(ids[2], Bytes::new(), true).unwrap();
    client.send(ids[3], Bytes::from_static(b"cut off"), false).unwrap();
    client.stop_sending(ids[4], CODE.into()).unwrap();
    // More than the limit of the connection, so that some of it is new still.
    client.send(ids[5], Bytes::from(vec![5; 99]), true).unwrap();
    packet(&mut client, 1200);
    client.reset(ids[3], CODE.into()).unwrap();
    packet(&mut client, 1200);
    client.stop_sending(ids[6], CODE.into()).unwrap();
    rejected(&mut client, &one);
    let mut server = streams(Role::Server, &one);
    for frame in carry(&mut client, &mut server) {
        let may = matches!(frame, SentFrame::Stream { id, .. } if id == ids[0]);
        assert!(may || matches!(frame, SentFrame::StreamsBlocked { limit: 1, .. }), "{frame:?} before it may");
    }
    assert!(!client.wants_to_send(), "and nobody is kept busy meanwhile");
    // The server permits more, first three in all.
    let more = |server: &mut Streams, limit| {
        while server.remote[0].limit() < limit {
            let closed = server.remote[0].limit() + 1000;
            server.remote[0].close(closed);
        }
        assert!(server.remote[0].limit() == limit);
    };
    more(&mut server, 3);
    client.on_max_streams(Direction::Bidirectional, 3);
    for frame in carry(&mut client, &mut server) {
        let may = matches!(frame, SentFrame::Stream { id, .. } if id.index() < 3);
        assert!(may || matches!(frame, SentFrame::StreamsBlocked { limit: 3, .. }), "{frame:?} before it may");
    }
    assert_eq!(read_all(&mut server, ids[1]), b"sent");
    assert_eq!(server.read(ids[2], 1), Ok(Read::Finished));
    more(&mut server, 7);
    client.on_max_streams(Direction::Bidirectional, 7);
    let sent = carry(&mut client, &mut server);
    for frame in [
        SentFrame::ResetStream { id: ids[3] },
        SentFrame::StopSending { id: ids[4] },
        SentFrame::StopSending { id: ids[6] },
    ] {
        assert!(sent.contains(&frame), "{frame:?}");
    }
    assert_eq!(server.read(ids[3], 1), Ok(Read::Reset(CODE.into())));
    assert_eq!(read_all(&mut server, ids[5]), [5; 99]);
}

/// What the server may never have heard is said again.
#[test]
fn requests_to_stop_are_repeated() {
    let mut client = streams(Role::Client, &small());
    let id = client.open(Direction::Bidirectional).unwrap();
    client.stop_sending(id, CODE.into()).unwrap();
    let (_, sent) = packet(&mut client, 1200);
    assert_eq!(sent[..], [SentFrame::StopSending { id }]);
    rejected(&mut client, &small());
    assert_eq!(packet(&mut client, 1200).1[..], [SentFrame::StopSending { id }]);
}
