//! Early data that the server does not take.

use super::*;
use crate::datagram::{DatagramPriority, DatagramSendState};

/// A client that remembers a session of a server that, this time, takes no early data and has these
/// settings.
fn refused(remembered: TransportConfig, now: TransportConfig) -> Pair {
    let (server, client) = tls();
    let mut first = Pair::with_tls(remembered.clone(), server.clone(), client.clone(), Time::from_nanos(1 << 40));
    first.connect();
    first.pass(Duration::from_secs(1));
    let mut server = rustls::ServerConfig::clone(&server);
    server.max_early_data_size = 0;
    let mut pair = Pair::with_tls(remembered, server.into(), client, first.now);
    pair.accept_with = Some(now.into());
    pair
}

fn was_rejected(pair: &Pair) -> bool {
    let rejected = pair.client_events.iter().filter(|event| matches!(event, Event::EarlyDataRejected)).count();
    assert!(rejected <= 1);
    rejected == 1
}

#[test]
// RFC 9001 sections 4.6.2#1, 5.6#3.
fn what_was_sent_early_is_sent_again() {
    let mut pair = refused(TransportConfig::default(), TransportConfig::default());
    let id = pair.client.open_stream(Direction::Bidirectional).unwrap();
    pair.client.send(id, Bytes::from_static(b"early"), true).unwrap();
    pair.flush(true);
    pair.now += DELAY;
    pair.deliver();
    // What came with the first flight can be read, and is not.
    assert!(pair.client.handshake.early_sent && pair.server().spaces.data.early.is_none());
    assert_eq!(pair.server().streams.poll_event(), None);
    pair.upload(5000);
    assert!(was_rejected(&pair));
    pair.connect();
}

/// Whoever sent a datagram hears what became of it, also of one that was sent in vain.
#[test]
fn datagrams_sent_early_are_lost() {
    let config = TransportConfig { max_datagram_frame_size: 1200, ..TransportConfig::default() };
    let mut pair = refused(config.clone(), config);
    let early = pair.client.send_datagram(Bytes::from_static(b"early"), DatagramPriority::Normal).unwrap();
    pair.connect();
    assert!(was_rejected(&pair));
    let states: Vec<_> = pair
        .client_events
        .iter()
        .filter_map(|event| match event {
            Event::Datagram(DatagramEvent::SendState { number, state }) => Some((*number, *state)),
            _ => None,
        })
        .collect();
    assert_eq!(states, [(early, DatagramSendState::Sent), (early, DatagramSendState::LostDiscarded)]);
    // As large as can be: more than fits an early packet, so that it leaves later.
    let largest = pair.client.max_datagram_size().unwrap();
    let config = TransportConfig { max_datagram_frame_size: 1200, ..TransportConfig::default() };
    let mut pair = refused(config.clone(), config);
    pair.client.send_datagram(Bytes::from(vec![7; largest.min(1180)]), DatagramPriority::Normal).unwrap();
    pair.run("the datagram", |pair| {
        let received =
            |event: &Event| matches!(event, Event::Datagram(DatagramEvent::Received { data, .. }) if data[0] == 7);
        let lost = DatagramEvent::SendState { number: 0, state: DatagramSendState::LostDiscarded };
        pair.server_events.iter().any(received)
            || pair.client_events.iter().any(|event| matches!(event, Event::Datagram(event) if *event == lost))
    });
}

/// Streams beyond the limit that holds now wait until the server permits them.
#[test]
// RFC 9000 section 7.4.1#3#4.
fn limits_may_be_lower_than_those_remembered() {
    let few = TransportConfig { max_uni_streams: 2, receive_window: 2000, ..TransportConfig::default() };
    let mut pair = refused(TransportConfig::default(), few);
    let ids: Vec<_> = (0..8).map(|_| pair.client.open_stream(Direction::Unidirectional).unwrap()).collect();
    for (at, id) in ids.iter().enumerate() {
        if at % 3 == 2 {
            pair.client.reset(*id, 7u32.into()).unwrap();
        } else {
            pair.client.send(*id, Bytes::from(vec![at as u8; 1000]), true).unwrap();
        }
    }
    let mut read = vec![Vec::new(); 8];
    let mut ended = [false; 8];
    pair.run("all streams", |pair| {
        let now = pair.now;
        let Some(server) = &mut pair.server else { return false };
        for (at, id) in ids.iter().enumerate() {
            match server.read(*id, usize::MAX) {
                Ok(Read::Data(data)) => {
                    server.consumed(now, *id, data.len() as u64);
                    read[at].extend(data);
                }
                Ok(Read::Finished | Read::Reset(_)) => ended[at] = true,
                _ => {}
            }
        }
        ended.iter().all(|ended| *ended)
    });
    assert!(was_rejected(&pair));
    for (at, read) in read.iter().enumerate() {
        assert_eq!(*read, vec![at as u8; if at % 3 == 2 { 0 } else { 1000 }]);
    }
    assert!(ends(&pair.client_events).is_empty() && ends(&pair.server_events).is_empty());
}

/// What came early is known as that also when it is read after the handshake; what came later is not.
#[test]
fn what_came_early_is_known_as_that_for_good() {
    let config = TransportConfig { max_datagram_frame_size: 1200, ..TransportConfig::default() };
    let (server, client) = tls();
    let mut first = Pair::with_tls(config.clone(), server.clone(), client.clone(), Time::from_nanos(1 << 40));
    first.connect();
    first.pass(Duration::from_secs(1));
    let mut pair = Pair::with_tls(config, server, client, first.now);
    let early = pair.client.open_stream(Direction::Unidirectional).unwrap();
    pair.client.send(early, Bytes::from_static(b"early"), false).unwrap();
    pair.client.send_datagram(Bytes::from_static(b"early"), DatagramPriority::Normal).unwrap();
    let was_told = |pair: &Pair| {
        let received = |event: &Event| matches!(event, Event::Datagram(DatagramEvent::Received { .. }));
        pair.server_events.iter().filter(|event| received(event)).count()
    };
    pair.run("the early datagram", |pair| was_told(pair) == 1);
    assert!(pair.server().is_datagram_early());
    pair.connect();
    let later = pair.client.open_stream(Direction::Unidirectional).unwrap();
    pair.client.send(later, Bytes::from_static(b"later"), false).unwrap();
    pair.client.send(early, Bytes::from_static(b" later"), true).unwrap();
    pair.client.send_datagram(Bytes::from_static(b"later"), DatagramPriority::Normal).unwrap();
    pair.run("the later datagram", |pair| was_told(pair) == 2);
    assert!(!pair.server().is_datagram_early());
    assert_eq!([early, later].map(|id| pair.server().early(id)), [Some(5), None]);
    assert_eq!(pair.server().read(early, 100), Ok(Read::Data(Bytes::from_static(b"early"))));
}
