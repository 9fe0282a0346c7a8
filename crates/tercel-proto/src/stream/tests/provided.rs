//! Limits that follow the space that the application provides.

use proptest::prelude::*;

use super::*;

/// The limit on a stream that a packet tells the peer of, if it does.
fn told(streams: &mut Streams) -> Option<u64> {
    let (bytes, _) = packet(streams, 1200);
    let (mut reader, mut told) = (Reader::new(&bytes), None);
    while !reader.is_empty() {
        if let Frame::MaxStreamData { maximum, .. } = Frame::decode(&mut reader).unwrap() {
            told = Some(maximum);
        }
    }
    told
}

#[test]
fn the_limit_is_what_was_provided_and_is_never_taken_back() {
    let mut server = streams(Role::Server, &small());
    let stream = id(Role::Client, Direction::Bidirectional, 0);
    server.on_stream(&data(stream, 0, b"", false), Bytes::new()).unwrap();
    server.provide(stream, 40).unwrap();
    assert_eq!(told(&mut server), None, "100 were promised before");
    server.provide(stream, 60).unwrap();
    assert_eq!(told(&mut server), None);
    server.provide(stream, 25).unwrap();
    assert_eq!(told(&mut server), Some(125));
    // What is consumed raises nothing.
    server.on_stream(&data(stream, 0, &[7; 125], false), Bytes::from_static(&[7; 125])).unwrap();
    assert!(matches!(server.read(stream, 1000), Ok(Read::Data(_))));
    server.consumed(NOW, RTT, stream, 125);
    assert_eq!(told(&mut server), None);
    let beyond = server.on_stream(&data(stream, 125, b"x", false), Bytes::from_static(b"x"));
    assert_eq!(beyond.unwrap_err().code, TransportErrorCode::FLOW_CONTROL_ERROR);
    server.provide(stream, 1).unwrap();
    assert_eq!(told(&mut server), Some(126));
    // The end is known: more space is of no use to the peer.
    server.on_stream(&data(stream, 125, b"x", true), Bytes::from_static(b"x")).unwrap();
    server.provide(stream, 100).unwrap();
    assert_eq!(told(&mut server), None);
    assert!(!server.read_end(stream), "there is data before");
    assert!(matches!(server.read(stream, 1000), Ok(Read::Data(_))));
    assert!(server.read_end(stream) && !server.read_end(stream));
    let ours = server.open(Direction::Unidirectional).unwrap();
    assert_eq!(server.provide(ours, 1), Err(ApiMisuse::NotReceivable));
}

#[test]
fn a_reset_is_read_without_data() {
    let mut server = streams(Role::Server, &small());
    let stream = id(Role::Client, Direction::Unidirectional, 0);
    server.on_stream(&data(stream, 0, b"data", false), Bytes::from_static(b"data")).unwrap();
    assert_eq!(server.read_reset(stream), None);
    server.on_reset_stream(stream, CODE.into(), 10).unwrap();
    assert_eq!(server.read_reset(stream), Some(CODE.into()));
    assert_eq!(server.read_reset(stream), None);
    assert!(server.streams.is_empty());
}

proptest! {
    /// However space is provided and used, the peer is never told of more than there is, but for what it
    /// was promised at the start; and in the end of all of it.
    #[test]
    fn the_limit_never_exceeds_the_space(steps in prop::collection::vec((any::<bool>(), 1u64..5000), 1..60)) {
        let config = TransportConfig { stream_receive_window: 3000, ..TransportConfig::default() };
        let mut server = streams(Role::Server, &config);
        let stream = id(Role::Client, Direction::Bidirectional, 0);
        server.on_stream(&data(stream, 0, b"", false), Bytes::new()).unwrap();
        server.provide(stream, 0).unwrap();
        let (mut provided, mut limit, mut sent) = (0, 3000, 0);
        for (provides, amount) in steps {
            if provides {
                server.provide(stream, amount).unwrap();
                provided += amount;
            } else {
                let len = amount.min(limit - sent);
                let bytes = Bytes::from(vec![0; len as usize]);
                let frame = StreamFrame { id: stream, offset: sent, fin: false, data: &bytes };
                server.on_stream(&frame, bytes.clone()).unwrap();
                sent += len;
                while let Ok(Read::Data(data)) = server.read(stream, 1000) {
                    server.consumed(NOW, RTT, stream, data.len() as u64);
                }
            }
            if let Some(told) = told(&mut server) {
                prop_assert!(told > limit);
                limit = told;
            }
            prop_assert_eq!(limit, provided.max(3000));
        }
    }
}
