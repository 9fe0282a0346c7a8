//! Rules of the RFCs that only a peer with something wrong about it would break.

use tercel_wire::EncryptionLevel;
use tercel_wire::packet::{FirstPacket, Protected};

use super::*;
use crate::connection::receive::{Arrival, Dropped, Outcome};

/// RFC 9000 section 12.3#5: whether a number is known shows only if the packet is authentic.
#[test]
fn duplicates_are_told_from_forgeries_by_their_keys_first() {
    let mut pair = Pair::new(TransportConfig::default());
    pair.connect();
    pair.client.ping();
    pair.flush(true);
    let (_, data, path) = pair.to_server.back().cloned().unwrap();
    pair.pass(2 * DELAY);
    let now = pair.now;
    let mut receive = |data: &[u8]| {
        let Ok(FirstPacket::Protected(mut packet)) = Protected::split_first(&mut BytesMut::from(data), 8) else {
            panic!()
        };
        let arrival = Arrival { now, came: now, path, ecn: Ecn::NotEct, datagram_len: data.len() };
        pair.server().receive_packet(&arrival, &mut packet)
    };
    assert_eq!(receive(&data), Outcome::Dropped(Dropped::Duplicate));
    let mut changed = data;
    *changed.last_mut().unwrap() ^= 1;
    assert_eq!(receive(&changed), Outcome::Dropped(Dropped::Forged));
}

/// RFC 9000 section 10.3#3: 22 bytes more than the connection ID, which has 8.
#[test]
fn no_packet_is_shorter_than_a_stateless_reset() {
    let mut pair = Pair::new(TransportConfig::default());
    pair.connect();
    pair.pass(Duration::from_secs(1));
    pair.client.ping();
    pair.flush(true);
    let shortest = pair.to_server.iter().map(|(_, data, _)| data.len()).min().unwrap();
    assert_eq!(shortest, 30);
}

/// RFC 9000 section 4.1#5.
#[test]
fn who_waits_for_credit_keeps_the_connection() {
    let config =
        TransportConfig { stream_receive_window: 1000, max_stream_receive_window: 1000, ..TransportConfig::default() };
    let mut pair = Pair::new(TransportConfig { max_idle_timeout: Duration::from_secs(10), ..config });
    pair.connect();
    let id = pair.client.open_stream(Direction::Unidirectional).unwrap();
    pair.client.send(id, Bytes::from(vec![1; 2000]), true).unwrap();
    // The server's application reads after a minute.
    pair.pass(Duration::from_secs(60));
    assert_eq!(ends(&pair.client_events).len() + ends(&pair.server_events).len(), 0);
    assert!(matches!(pair.server().read(id, 2000), Ok(Read::Data(data)) if data.len() == 1000));
    let now = pair.now;
    pair.server().consumed(now, id, 1000);
    pair.pass(Duration::from_secs(1));
    assert!(matches!(pair.server().read(id, 2000), Ok(Read::Data(data)) if data.len() == 1000));
    // Then nobody waits for anything.
    pair.pass(Duration::from_secs(60));
    assert_eq!(ends(&pair.client_events), [&CloseReason::IdleTimeout]);
}

/// RFC 9000 section 18.2#2: an acknowledgement may come later than it is meant to, by as much as timers are late.
#[test]
fn the_peer_is_told_how_late_acknowledgements_are_at_worst() {
    for (held, told) in [(25, 26), (0, 1), (16_383, 16_383)] {
        let max_ack_delay = Duration::from_millis(held);
        let mut pair = Pair::new(TransportConfig { max_ack_delay, ..TransportConfig::default() });
        pair.connect();
        assert_eq!(pair.client.peer_parameters.max_ack_delay, told);
    }
}

/// RFC 9000 section 12.3#3.
#[test]
fn who_has_no_packet_number_left_falls_silent() {
    let mut pair = Pair::new(TransportConfig::default());
    pair.connect();
    pair.pass(Duration::from_secs(1));
    pair.client.spaces.data.numbers.next_number = (1 << 62) - 1;
    let sent = pair.client.stats().datagrams_sent;
    pair.client.ping();
    pair.flush(true);
    let now = pair.now;
    pair.client.close(now, ApplicationErrorCode::default(), Bytes::new());
    pair.flush(true);
    assert_eq!(pair.client.stats().datagrams_sent, sent);
    let mut pair = Pair::new(TransportConfig::default());
    pair.connect();
    pair.pass(Duration::from_secs(1));
    pair.client.spaces.data.numbers.next_number = (1 << 62) - 1;
    let (now, sent) = (pair.now, pair.client.stats().datagrams_sent);
    pair.client.timeout(now);
    pair.flush(true);
    assert_eq!(pair.client.stats().datagrams_sent, sent);
    assert!(matches!(ends(&pair.client_events)[..], [CloseReason::Violation(_)]));
}

/// RFC 9000 section 17.2.2#1.
#[test]
fn a_server_that_sends_a_token_in_an_initial_packet_is_not_heard() {
    let mut pair = Pair::new(TransportConfig::default());
    pair.flush(true);
    pair.now += DELAY;
    pair.deliver();
    pair.server().handshake.token = Bytes::from_static(b"token");
    pair.pass(Duration::from_secs(1));
    assert!(pair.client.stats().packets_dropped > 0);
    assert_eq!(pair.client.handshake.state, HandshakeState::Incomplete);
    pair.server().handshake.token = Bytes::new();
    pair.connect();
}

/// RFC 9000 section 10.3#8.
#[test]
fn a_stateless_reset_may_have_any_header() {
    for first in [0x40, 0x00, 0xc0, 0xff] {
        let mut pair = Pair::new(TransportConfig::default());
        pair.connect();
        let mut data = [&[first][..], &[0xba; 4], &[0; 30]].concat();
        data.extend(pair.server().local_reset_token.0);
        let path = PathAddress { remote: SERVER.into(), local: None };
        let data = BytesMut::from(&data[..]);
        pair.client.receive(pair.now, Datagram { path, ecn: Ecn::NotEct, data });
        pair.flush(true);
        assert_eq!(ends(&pair.client_events), [&CloseReason::StatelessReset], "{first:#x}");
    }
}

/// A client that comes back, with early data, to a server that has these settings now.
fn again(remembered: TransportConfig, now: TransportConfig) -> Pair {
    let (server, client) = tls();
    let mut first = Pair::with_tls(remembered.clone(), server.clone(), client.clone(), Time::from_nanos(1 << 40));
    first.connect();
    first.pass(Duration::from_secs(1));
    let mut pair = Pair::with_tls(remembered, server, client, first.now);
    pair.accept_with = Some(now.into());
    let id = pair.client.open_stream(Direction::Unidirectional).unwrap();
    pair.client.send(id, Bytes::from_static(b"early"), true).unwrap();
    pair
}

/// RFC 9001 section 4.9.3#2.
#[test]
fn a_server_forgets_the_keys_of_early_data_soon() {
    let mut pair = again(TransportConfig::default(), TransportConfig::default());
    pair.connect();
    assert!(pair.server().spaces.data.early.is_some(), "what was overtaken is still read");
    pair.client.ping();
    let pto = pair.server().recovery.pto(SpaceId::Data);
    pair.pass(4 * pto);
    assert!(pair.server().spaces.data.early.is_none());
}

/// RFC 9221 section 3#7.
#[test]
fn a_server_that_takes_early_data_takes_datagrams_as_large_as_before() {
    let with = |max_datagram_frame_size| TransportConfig { max_datagram_frame_size, ..TransportConfig::default() };
    for (now, breaks) in [(1000, false), (1200, false), (999, true), (0, true)] {
        let mut pair = again(with(1000), with(now));
        pair.pass(Duration::from_millis(100));
        let violation = match ends(&pair.client_events)[..] {
            [CloseReason::Violation(violation)] => Some(violation.code),
            _ => None,
        };
        assert_eq!(violation, breaks.then_some(TransportErrorCode::PROTOCOL_VIOLATION), "{now}");
    }
}

/// RFC 9000 section 7.4.1#9, RFC 9001 section 5.6#6.
#[test]
fn new_limits_are_not_for_early_data() {
    let mut pair = again(TransportConfig::default(), TransportConfig::default());
    pair.flush(true);
    assert!(pair.client.sending_keys(EncryptionLevel::ZeroRtt).is_some());
    pair.client.handshake.parameters_known = true;
    assert!(pair.client.sending_keys(EncryptionLevel::ZeroRtt).is_none());
}
