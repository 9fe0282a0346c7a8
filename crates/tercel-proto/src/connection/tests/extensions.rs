//! Extensions, between two ends that may or may not want them.

use std::collections::BTreeMap;

use super::*;
use crate::datagram::DatagramSendState;

fn observed(events: &[Event]) -> Vec<SocketAddr> {
    let address = |event: &Event| match event {
        Event::AddressObserved { address, .. } => Some(*address),
        _ => None,
    };
    events.iter().filter_map(address).collect()
}

/// draft-ietf-quic-address-discovery: each end learns its address, and the client its next one.
#[test]
fn addresses_are_told_to_those_who_ask() {
    let transport = TransportConfig { report_addresses: true, learn_address: true, ..TransportConfig::default() };
    let mut pair = Pair::new(transport);
    // The first reports are lost, and more.
    pair.lose = Box::new(|number| (2..30).contains(&number) && number.is_multiple_of(2));
    pair.connect();
    pair.upload(100_000);
    assert_eq!(observed(&pair.client_events), [address(1000)]);
    assert_eq!(observed(&pair.server_events), [SERVER.into()]);
    pair.client_address = address(2000);
    pair.upload(100_000);
    assert_eq!(observed(&pair.client_events), [address(1000), address(2000)]);
    assert!(ends(&pair.client_events).is_empty() && ends(&pair.server_events).is_empty());
}

#[test]
fn addresses_are_told_to_nobody_else() {
    for (report_addresses, learn_address) in [(true, false), (false, true), (false, false)] {
        let mut pair = Pair::new(TransportConfig { report_addresses, learn_address, ..TransportConfig::default() });
        pair.connect();
        pair.upload(10_000);
        assert!(observed(&pair.client_events).is_empty() && observed(&pair.server_events).is_empty());
        assert!(ends(&pair.client_events).is_empty() && ends(&pair.server_events).is_empty());
    }
}

/// draft-ietf-quic-ack-frequency section 7: the answer to a probe is not held back.
#[test]
fn a_probe_is_answered_at_once() {
    let mut pair = Pair::new(TransportConfig {
        ack_threshold: 10,
        max_ack_delay: Duration::from_secs(1),
        max_mtu: 1200,
        ..TransportConfig::default()
    });
    pair.connect();
    pair.pass(Duration::from_secs(5));
    let lost = pair.sent + 1;
    pair.lose = Box::new(move |number| number == lost);
    pair.client.ping();
    pair.run("a probe", |pair| pair.client.stats().probe_timeouts > 0);
    let probed = pair.now;
    pair.run("its answer", |pair| !pair.client.recovery.has_ack_eliciting_in_flight());
    assert_eq!(pair.now.since(probed), 2 * DELAY);
}

/// draft-ietf-quic-reliable-stream-reset, with every fourth datagram lost.
#[test]
fn a_reset_delivers_what_it_promises_over_a_bad_line() {
    let mut pair = Pair::new(TransportConfig::default());
    pair.connect();
    pair.lose = Box::new(|number| number.is_multiple_of(4));
    let id = pair.client.open_stream(Direction::Unidirectional).unwrap();
    pair.client.send(id, Bytes::from(vec![7; 50_000]), false).unwrap();
    pair.pass(5 * DELAY);
    pair.client.reset_at(id, 9u32.into(), 30_000).unwrap();
    let mut read = 0;
    pair.run("the reset", |pair| {
        let now = pair.now;
        loop {
            match pair.server.as_mut().map(|server| server.read(id, usize::MAX)) {
                Some(Ok(Read::Data(data))) => {
                    read += data.len() as u64;
                    pair.server().consumed(now, id, data.len() as u64);
                }
                Some(Ok(Read::Reset(code))) => {
                    assert_eq!(code, 9u32.into());
                    return true;
                }
                _ => return false,
            }
        }
    });
    assert!((30_000..=50_000).contains(&read), "{read}");
    pair.run("the end of the stream", |pair| {
        pair.client_events
            .iter()
            .any(|event| matches!(event, Event::Stream(StreamEvent::Closed(closed)) if *closed == id))
    });
}

/// Every datagram has one end, whatever becomes of its packet and of the acknowledgement.
#[test]
fn every_datagram_has_one_end() {
    let mut pair = Pair::new(TransportConfig { max_datagram_frame_size: 65535, ..TransportConfig::default() });
    pair.connect();
    pair.lose = Box::new(|number| number.is_multiple_of(5));
    for number in 0..100u64 {
        assert_eq!(pair.client.send_datagram(Bytes::from(vec![5; 500]), DatagramPriority::Normal), Ok(number));
        pair.pass(Duration::from_millis(10));
    }
    pair.pass(Duration::from_secs(20));
    let mut states: BTreeMap<u64, Vec<DatagramSendState>> = BTreeMap::new();
    for event in &pair.client_events {
        if let Event::Datagram(DatagramEvent::SendState { number, state }) = event {
            states.entry(*number).or_default().push(*state);
        }
    }
    let (mut acknowledged, mut lost) = (0, 0);
    for number in 0..100 {
        match states[&number][..] {
            [DatagramSendState::Sent, DatagramSendState::Acknowledged] => acknowledged += 1,
            [DatagramSendState::Sent, DatagramSendState::LostSuspect, DatagramSendState::LostDiscarded] => lost += 1,
            [DatagramSendState::Sent, DatagramSendState::LostSuspect, DatagramSendState::AcknowledgedSpurious] => {}
            ref other => panic!("{number}: {other:?}"),
        }
    }
    assert!(acknowledged > 50 && lost > 4, "{acknowledged} {lost}");
}
