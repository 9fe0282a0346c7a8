#![allow(clippy::unwrap_used)]

use tercel_wire::frame::{ConnectionClose, EcnCounts, NewConnectionId, StreamFrame, encode_ack};
use tercel_wire::{ApplicationErrorCode, ConnectionId, Direction, Frame, ResetToken, TransportErrorCode, Writer};

use super::*;
use crate::trace::{TraceFrame, TraceState};

fn at(micros: u64) -> Time {
    Time::from_nanos(1000 * micros)
}

/// A payload with these frames, as it is sealed.
fn payload(frames: &[Frame<'_>]) -> Vec<u8> {
    let mut buffer = vec![0; 4000];
    let mut writer = Writer::new(&mut buffer);
    frames.iter().for_each(|frame| frame.encode(&mut writer));
    let len = writer.written().len();
    buffer.truncate(len);
    buffer
}

fn packed(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::pack(payload, &mut out);
    out
}

/// What a packet with this payload tells of its frames.
fn told(payload: &[u8]) -> Vec<TraceFrame> {
    let mut batch = Batch::default();
    batch.received(at(1), Packet { level: EncryptionLevel::OneRtt, number: 7, len: 9 }, &packed(payload));
    match &batch.events().collect::<Vec<_>>()[..] {
        [(_, TraceEvent::PacketReceived { level: EncryptionLevel::OneRtt, number: 7, len: 9, frames })] => {
            frames.to_vec()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_frame_comes_back_without_its_data() {
    let id = StreamId::from_wire(1 << 40);
    let error = ApplicationErrorCode::from(77u32);
    let connection_id = ConnectionId::new(&[5; 20]).unwrap();
    let (limit, data) = ((1 << 62) - 1, [9u8; 300]);
    let stream = |offset, data, fin| Frame::Stream(StreamFrame { id, offset, data, fin });
    let new_id =
        NewConnectionId { sequence: 3, retire_prior_to: 2, id: connection_id, reset_token: ResetToken([1; 16]) };
    let close = ConnectionClose::Transport { error: TransportErrorCode(10), frame_type: 6, reason: b"why" };
    let frames = [
        Frame::Ping,
        Frame::ResetStream { id, error, final_size: limit },
        Frame::StopSending { id, error },
        Frame::Crypto { offset: 1200, data: &data },
        Frame::NewToken { token: &data },
        stream(0, &data[..0], true),
        stream(limit - 300, &data, false),
        Frame::MaxData(limit),
        Frame::MaxStreamData { id, maximum: limit },
        Frame::MaxStreams { direction: Direction::Unidirectional, maximum: 1 << 60 },
        Frame::DataBlocked(63),
        Frame::StreamDataBlocked { id, limit: 64 },
        Frame::StreamsBlocked { direction: Direction::Bidirectional, limit: 16_384 },
        Frame::NewConnectionId(new_id),
        Frame::RetireConnectionId { sequence: 16_383 },
        Frame::PathChallenge([1; 8]),
        Frame::PathResponse([2; 8]),
        Frame::HandshakeDone,
        Frame::Datagram { data: &data },
        Frame::ConnectionClose(close),
        Frame::ConnectionClose(ConnectionClose::Application { error, reason: b"" }),
        Frame::Padding(500),
    ];
    let expected: Vec<TraceFrame> = frames.iter().map(TraceFrame::from).collect();
    assert_eq!(told(&payload(&frames)), expected);
    for frame in &frames {
        assert_eq!(told(&payload(std::slice::from_ref(frame))), [TraceFrame::from(frame)]);
    }
    assert!(packed(&payload(&frames)).len() < 400, "what the frames carry is not packed");
}

#[test]
fn acknowledgements_come_back() {
    let mut buffer = [0; 200];
    let mut writer = Writer::new(&mut buffer);
    let ecn = Some(EcnCounts { ect0: 70, ect1: 0, ce: 3 });
    assert!(encode_ack(&mut writer, [90..=100, 50..=50, 0..=9].into_iter(), 8000, ecn));
    let told = told(writer.written());
    let [TraceFrame::Ack(ack)] = &told[..] else { panic!("{told:?}") };
    assert_eq!(ack.ranges.to_vec(), [90..=100, 50..=50, 0..=9]);
    assert_eq!((ack.delay, ack.ecn), (8000, ecn));
}

#[test]
fn a_payload_that_ends_early_tells_what_is_whole() {
    let whole = payload(&[Frame::Ping, Frame::MaxData(70_000)]);
    assert_eq!(told(&whole[..whole.len() - 1]), [TraceFrame::Ping]);
}

fn metrics(figure: u64) -> TraceEvent {
    let rtt = figure as u32;
    TraceEvent::Metrics(Metrics {
        min_rtt: rtt,
        smoothed_rtt: rtt + 1,
        latest_rtt: u32::MAX,
        rtt_variation: 0,
        congestion_window: figure << 20,
        bytes_in_flight: figure,
        pto_count: 3,
    })
}

/// Events of every kind, with their times.
fn events() -> Vec<(Time, TraceEvent)> {
    let id = StreamId::from_wire(4);
    vec![
        (at(5), TraceEvent::State(TraceState::Handshaking)),
        (at(5), metrics(63)),
        (at(6), TraceEvent::DataQueued { id, len: 1 << 30, fin: false }),
        (at(6), TraceEvent::DataQueued { id, len: 0, fin: true }),
        (at(70_000), TraceEvent::DataConsumed { id, len: 16_384 }),
        (at(70_001), TraceEvent::PacketDropped { why: "no keys" }),
        (at(70_001), TraceEvent::Missing(9)),
    ]
}

#[test]
fn events_come_back_in_order_with_their_times() {
    let mut batch = Batch::default();
    events().into_iter().for_each(|(time, event)| batch.push(time, event));
    let packet = |number| Packet { level: EncryptionLevel::Handshake, number, len: 1200 };
    batch.sent(at(70_002), packet(1), true, &packed(&payload(&[Frame::Ping])));
    batch.sent(at(70_002), packet(1 << 33), false, &[]);
    let mut expected = events();
    for (number, mtu_probe) in [(1, true), (1 << 33, false)] {
        let frames = if mtu_probe { vec![TraceFrame::Ping] } else { vec![] }.into();
        let level = EncryptionLevel::Handshake;
        expected.push((at(70_002), TraceEvent::PacketSent { level, number, len: 1200, mtu_probe, frames }));
    }
    assert_eq!(batch.len(), expected.len());
    assert_eq!(batch.events().collect::<Vec<_>>(), expected);
}

#[test]
fn a_batch_that_is_moved_is_empty_and_takes_the_place_of_what_was_there() {
    let (mut batch, mut other) = (Batch::default(), Batch::default());
    other.push(at(1), TraceEvent::VerdictAsked);
    for _ in 0..2 {
        events().into_iter().for_each(|(time, event)| batch.push(time, event));
        batch.move_to(&mut other);
        assert!(batch.is_empty() && batch.events().next().is_none());
        assert_eq!(other.events().collect::<Vec<_>>(), events());
    }
}
