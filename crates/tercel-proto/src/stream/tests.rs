//! Streams without a connection around them.

mod early_data;
mod limits;
mod line;
mod measures;
mod provided;
mod repeats;
mod reset_at;
mod scale;
mod schedules;
mod send_modes;
mod states;

use tercel_wire::frame::StreamFrame;
use tercel_wire::{Frame, Reader, Writer};

use super::*;
use crate::frames::{FrameSink, SentFrame, SentFrames};

const RTT: Duration = Duration::from_millis(10);
const NOW: Time = Time::from_nanos(1 << 40);
const CODE: u32 = 7;

fn parameters(config: &TransportConfig) -> TransportParameters {
    TransportParameters {
        initial_max_data: config.receive_window,
        initial_max_stream_data_bidi_local: config.stream_receive_window,
        initial_max_stream_data_bidi_remote: config.stream_receive_window,
        initial_max_stream_data_uni: config.stream_receive_window,
        initial_max_streams_bidi: config.max_bidi_streams,
        initial_max_streams_uni: config.max_uni_streams,
        reset_stream_at: true,
        ..TransportParameters::default()
    }
}

fn small() -> TransportConfig {
    TransportConfig {
        stream_receive_window: 100,
        max_stream_receive_window: 100,
        receive_window: 250,
        max_receive_window: 250,
        max_bidi_streams: 3,
        max_uni_streams: 2,
        ..TransportConfig::default()
    }
}

fn streams(role: Role, config: &TransportConfig) -> Streams {
    let mut streams = Streams::new(role, config);
    streams.set_peer_parameters(&parameters(config));
    streams
}

/// One packet: its bytes and what is remembered of it.
fn packet(streams: &mut Streams, size: usize) -> (Vec<u8>, SentFrames) {
    let (mut bytes, mut sent) = (vec![0; size], SentFrames::new());
    let mut writer = Writer::new(&mut bytes);
    let mut sink = FrameSink::new(&mut writer, &mut sent);
    streams.write_control(&mut sink);
    streams.write_data(false, &mut sink);
    let len = writer.position();
    bytes.truncate(len);
    (bytes, sent)
}

fn deliver(streams: &mut Streams, packet: &[u8]) -> Result<(), Violation> {
    let mut reader = Reader::new(packet);
    while !reader.is_empty() {
        match Frame::decode(&mut reader).unwrap() {
            Frame::Stream(frame) => streams.on_stream(&frame, Bytes::copy_from_slice(frame.data))?,
            Frame::ResetStream { id, error, final_size } => streams.on_reset_stream(id, error, final_size)?,
            Frame::ResetStreamAt(frame) => streams.on_reset_stream_at(&frame)?,
            Frame::StopSending { id, error } => streams.on_stop_sending(id, error)?,
            Frame::MaxData(maximum) => streams.on_max_data(maximum),
            Frame::MaxStreamData { id, maximum } => streams.on_max_stream_data(id, maximum)?,
            Frame::MaxStreams { direction, maximum } => streams.on_max_streams(direction, maximum),
            Frame::StreamDataBlocked { id, .. } => streams.on_stream_data_blocked(id)?,
            Frame::DataBlocked(_) | Frame::StreamsBlocked { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    Ok(())
}

fn data(id: StreamId, offset: u64, bytes: &'static [u8], fin: bool) -> StreamFrame<'static> {
    StreamFrame { id, offset, fin, data: bytes }
}
fn id(role: Role, direction: Direction, index: u64) -> StreamId {
    StreamId::new(role, direction, index)
}

#[test]
// RFC 9000 sections 2.1#1, 4.6#6.
fn a_hundred_thousand_streams_come_and_go() {
    let config = TransportConfig::default();
    let (mut client, mut server) = (streams(Role::Client, &config), streams(Role::Server, &config));
    for round in 0..100_000 {
        let id = client.open(Direction::Unidirectional).unwrap();
        assert_eq!(id.index(), round);
        client.send(id, Bytes::from_static(b"x"), true).unwrap();
        let (bytes, sent) = packet(&mut client, 100);
        deliver(&mut server, &bytes).unwrap();
        sent.into_iter().for_each(|frame| client.acked(frame));
        assert!(matches!(server.read(id, 10), Ok(Read::Data(_))));
        server.consumed(NOW, RTT, id, 1);
        assert!(matches!(server.read(id, 10), Ok(Read::Finished)));
        let (bytes, sent) = packet(&mut server, 100);
        deliver(&mut client, &bytes).unwrap();
        sent.into_iter().for_each(|frame| server.acked(frame));
        while client.poll_event().is_some() {}
        while server.poll_event().is_some() {}
    }
    assert_eq!((client.streams.len(), server.streams.len()), (0, 0));
    assert!(client.control.is_empty() && server.control.is_empty());
    assert_eq!(client.repeats.first().or(client.schedule.first()), None);
}
