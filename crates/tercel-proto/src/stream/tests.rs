//! The state machines of RFC 9000 section 3 against tables written from their figures, the limits of
//! section 4, and two ends joined by a line that loses, repeats and reorders frames.

use proptest::prelude::*;
use tercel_wire::{Reader, Writer};

use super::*;
use crate::frames::SentFrames;

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
    streams.write_data(&mut sink);
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

// The sending part (section 3.1).

/// The states of figure 2; "Ready" is "Send" here, since nothing observable differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SendState {
    Send,
    DataSent,
    ResetSent,
    DataRecvd,
    ResetRecvd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SendInput {
    Write,
    WriteFin,
    Reset,
    StopSending,
    AckAll,
    AckReset,
    LoseAll,
    LoseReset,
}

fn send_state(send: &Send) -> SendState {
    match send.state() {
        send::State::Send => SendState::Send,
        send::State::DataSent { .. } => SendState::DataSent,
        send::State::ResetSent { .. } => SendState::ResetSent,
        send::State::DataRecvd => SendState::DataRecvd,
        send::State::ResetRecvd => SendState::ResetRecvd,
    }
}

fn write_all(send: &mut Send) {
    let (mut bytes, mut sent) = (vec![0; 1000], SentFrames::new());
    let mut writer = Writer::new(&mut bytes);
    let mut sink = FrameSink::new(&mut writer, &mut sent);
    let id = StreamId::new(Role::Client, Direction::Bidirectional, 0);
    assert!(send.write_control(id, &mut sink));
    while send.has_repeat() {
        send.write_repeat(id, &mut sink);
    }
    while send.has_new() {
        send.write_new(id, &mut sink, 1000);
    }
}

/// A sending part in a state, with everything said that there is to say.
fn send_in(state: SendState) -> Send {
    let mut send = Send::new(1000);
    send.push(Bytes::from_static(b"0123456789"), state == SendState::DataSent || state == SendState::DataRecvd)
        .unwrap();
    write_all(&mut send);
    match state {
        SendState::Send | SendState::DataSent => {}
        SendState::DataRecvd => assert!(send.acked(0, 10, true).is_some()),
        SendState::ResetSent | SendState::ResetRecvd => {
            send.reset(CODE.into()).unwrap();
            write_all(&mut send);
            if state == SendState::ResetRecvd {
                assert!(send.reset_acked());
            }
        }
    }
    assert_eq!(send_state(&send), state);
    send
}

fn apply_to_send(send: &mut Send, input: SendInput) -> bool {
    match input {
        SendInput::Write => send.push(Bytes::from_static(b"more"), false).is_ok(),
        SendInput::WriteFin => send.push(Bytes::new(), true).is_ok(),
        SendInput::Reset => send.reset(CODE.into()).is_ok(),
        SendInput::StopSending => send.on_stop(CODE.into()),
        SendInput::AckAll => send.acked(0, 10, true).is_some(),
        SendInput::AckReset => send.reset_acked(),
        SendInput::LoseAll => {
            send.lost(0, 10, true);
            send.has_repeat()
        }
        SendInput::LoseReset => send.reset_lost(),
    }
}

#[test]
fn the_sending_part_is_that_of_figure_2() {
    use SendInput::*;
    use SendState::*;
    // What each input leads to, and whether it has an effect; everything not named has none.
    let table = [
        (Send, Write, Send),
        (Send, WriteFin, DataSent),
        (Send, Reset, ResetSent),
        // Section 3.5: STOP_SENDING is answered with RESET_STREAM in "Ready", "Send" and "Data Sent".
        (Send, StopSending, ResetSent),
        (Send, LoseAll, Send),
        (DataSent, Reset, ResetSent),
        (DataSent, StopSending, ResetSent),
        (DataSent, AckAll, DataRecvd),
        (DataSent, LoseAll, DataSent),
        (ResetSent, AckReset, ResetRecvd),
        (ResetSent, LoseReset, ResetSent),
    ];
    for state in [Send, DataSent, ResetSent, DataRecvd, ResetRecvd] {
        for input in [Write, WriteFin, Reset, StopSending, AckAll, AckReset, LoseAll, LoseReset] {
            // Without an end nothing was sent with FIN, so no such acknowledgement can come.
            if (state, input) == (Send, AckAll) {
                continue;
            }
            let mut send = send_in(state);
            let had_effect = apply_to_send(&mut send, input);
            let expected = table.iter().find(|(from, with, _)| (*from, *with) == (state, input));
            let after = if (state, input) == (Send, LoseAll) {
                // `LoseAll` claims a FIN that was never sent; only the data counts here.
                Send
            } else {
                send_state(&send)
            };
            assert_eq!(after, expected.map_or(state, |(.., to)| *to), "{input:?} in {state:?}");
            assert_eq!(had_effect, expected.is_some(), "{input:?} in {state:?}");
            assert_eq!(send.is_done(), matches!(after, DataRecvd | ResetRecvd));
        }
    }
}

// The receiving part (section 3.2).

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RecvState {
    Recv,
    SizeKnown,
    DataRecvd,
    DataRead,
    ResetRecvd,
    ResetRead,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RecvInput {
    /// Bytes 0 to 5 of 10, again.
    First,
    /// Bytes 5 to 10, with FIN.
    LastFin,
    Reset,
    /// Reads as much as there is, and then once more.
    Read,
    Stop,
}

fn recv_state(recv: &Recv) -> RecvState {
    match recv.state() {
        recv::State::Recv => RecvState::Recv,
        recv::State::SizeKnown { .. } => RecvState::SizeKnown,
        recv::State::DataRecvd { .. } => RecvState::DataRecvd,
        recv::State::DataRead => RecvState::DataRead,
        recv::State::ResetRecvd { .. } => RecvState::ResetRecvd,
        recv::State::ResetRead => RecvState::ResetRead,
    }
}

fn apply_to_recv(recv: &mut Recv, input: RecvInput) -> Result<(), ()> {
    match input {
        RecvInput::First => recv.on_data(0, Bytes::from_static(b"01234"), false).map(drop).map_err(drop),
        RecvInput::LastFin => recv.on_data(5, Bytes::from_static(b"56789"), true).map(drop).map_err(drop),
        RecvInput::Reset => recv.on_reset(CODE.into(), 10).map(drop).map_err(drop),
        RecvInput::Read => loop {
            match recv.read(100) {
                Ok(Read::Data(_)) => {}
                Ok(_) => break Ok(()),
                Err(_) => break Err(()),
            }
        },
        RecvInput::Stop => recv.stop(CODE.into()).map(drop).map_err(drop),
    }
}

/// The inputs that lead to each state by the shortest way.
fn recv_in(state: RecvState) -> Recv {
    use RecvInput::{First, LastFin, Read, Reset};
    let way: &[RecvInput] = match state {
        RecvState::Recv => &[First],
        RecvState::SizeKnown => &[LastFin],
        RecvState::DataRecvd => &[First, LastFin],
        RecvState::DataRead => &[First, LastFin, Read],
        RecvState::ResetRecvd => &[First, Reset],
        RecvState::ResetRead => &[First, Reset, Read],
    };
    let mut recv = Recv::new(1000, 1000);
    way.iter().for_each(|input| apply_to_recv(&mut recv, *input).unwrap());
    assert_eq!(recv_state(&recv), state);
    recv
}

#[test]
fn the_receiving_part_is_that_of_figure_3() {
    use RecvInput::*;
    use RecvState::*;
    let table = [
        (Recv, LastFin, DataRecvd),
        (Recv, RecvInput::Reset, ResetRecvd),
        (SizeKnown, First, DataRecvd),
        (SizeKnown, RecvInput::Reset, ResetRecvd),
        (DataRecvd, RecvInput::Read, DataRead),
        (ResetRecvd, RecvInput::Read, ResetRead),
        // Stopped, nothing of it is of use any more once its size is known (section 3.5).
        (SizeKnown, Stop, DataRead),
        (DataRecvd, Stop, DataRead),
        (ResetRecvd, Stop, ResetRead),
    ];
    for state in [Recv, SizeKnown, DataRecvd, DataRead, ResetRecvd, ResetRead] {
        for input in [First, LastFin, RecvInput::Reset, RecvInput::Read, Stop] {
            let mut recv = recv_in(state);
            let result = apply_to_recv(&mut recv, input);
            let expected = table.iter().find(|(from, with, _)| (*from, *with) == (state, input));
            assert_eq!(recv_state(&recv), expected.map_or(state, |(.., to)| *to), "{input:?} in {state:?}");
            assert_eq!(recv.is_done(), matches!(recv_state(&recv), DataRead | ResetRead));
            // What ended cannot be stopped; everything else that comes late is ignored.
            assert_eq!(
                result.is_err(),
                input == Stop && matches!(state, DataRead | ResetRead),
                "{input:?} in {state:?}"
            );
        }
    }
}

#[test]
fn a_stopped_part_ends_with_what_the_peer_says() {
    for (input, end) in [(RecvInput::LastFin, RecvState::DataRead), (RecvInput::Reset, RecvState::ResetRead)] {
        let mut recv = recv_in(RecvState::Recv);
        recv.stop(CODE.into()).unwrap();
        assert!(recv.stop(CODE.into()).is_err(), "once is enough");
        assert!(recv.read(10).is_err());
        apply_to_recv(&mut recv, input).unwrap();
        assert_eq!(recv_state(&recv), end);
    }
}

#[test]
fn the_final_size_is_final() {
    // Section 4.5, in every state in which it is known.
    for state in
        [RecvState::SizeKnown, RecvState::DataRecvd, RecvState::DataRead, RecvState::ResetRecvd, RecvState::ResetRead]
    {
        let code = |result: Result<recv::Receipt, Violation>| result.unwrap_err().code;
        let beyond = recv_in(state).on_data(8, Bytes::from_static(b"xyz"), false);
        assert_eq!(code(beyond), TransportErrorCode::FINAL_SIZE_ERROR, "{state:?}");
        let shorter = recv_in(state).on_data(8, Bytes::from_static(b"x"), true);
        assert_eq!(code(shorter), TransportErrorCode::FINAL_SIZE_ERROR, "{state:?}");
        for size in [9, 11] {
            let changed = recv_in(state).on_reset(CODE.into(), size);
            assert_eq!(code(changed), TransportErrorCode::FINAL_SIZE_ERROR, "{state:?}");
        }
        assert!(recv_in(state).on_reset(CODE.into(), 10).is_ok());
    }
    let mut recv = recv_in(RecvState::Recv);
    assert_eq!(recv.on_reset(CODE.into(), 4).unwrap_err().code, TransportErrorCode::FINAL_SIZE_ERROR);
    assert_eq!(recv.on_data(2, Bytes::new(), true).unwrap_err().code, TransportErrorCode::FINAL_SIZE_ERROR);
}

// Which streams there may be (sections 2.1, 3 and 4.6).

fn id(role: Role, direction: Direction, index: u64) -> StreamId {
    StreamId::new(role, direction, index)
}

#[test]
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

// Turns.

#[test]
fn higher_priority_goes_first_and_equals_take_turns() {
    let mut client = streams(Role::Client, &TransportConfig::default());
    let ids: Vec<_> = (0..3).map(|_| client.open(Direction::Bidirectional).unwrap()).collect();
    for id in &ids {
        client.send(*id, Bytes::from(vec![1; 100_000]), true).unwrap();
    }
    client.set_priority(ids[2], 5).unwrap();
    let mut order = Vec::new();
    while client.wants_to_send() {
        let (bytes, _) = packet(&mut client, 1000);
        let Frame::Stream(frame) = Frame::decode(&mut Reader::new(&bytes)).unwrap() else { panic!() };
        order.push(frame.id.index());
    }
    let first = order.partition_point(|index| *index == 2);
    assert!((100..110).contains(&first) && order[first..].iter().all(|index| *index != 2), "{order:?}");
    let changes = order[first..].windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!((10..16).contains(&changes), "{changes} turns for 200,000 bytes");
}

#[test]
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

// Two ends and a bad line.

#[derive(Debug, Clone, Copy)]
enum Step {
    Open(bool, bool),
    Send(bool, u8, u16),
    Finish(bool, u8),
    Reset(bool, u8),
    Stop(bool, u8),
    Read(bool, u8, u16),
    Priority(bool, u8, i8),
    /// A packet leaves and arrives, now or behind what is sent later, or never, or twice.
    Transmit(bool, u16, Fate),
    /// Something late arrives.
    Late(bool),
}

#[derive(Debug, Clone, Copy)]
enum Fate {
    Arrives,
    Late,
    Lost,
    Twice,
    /// It arrives and its acknowledgement does not; it counts as lost.
    Unconfirmed,
}

fn step() -> impl Strategy<Value = Step> {
    let fate = prop_oneof![
        4 => Just(Fate::Arrives), 1 => Just(Fate::Late), 1 => Just(Fate::Lost), 1 => Just(Fate::Twice),
        1 => Just(Fate::Unconfirmed),
    ];
    prop_oneof![
        2 => any::<(bool, bool)>().prop_map(|(end, uni)| Step::Open(end, uni)),
        6 => any::<(bool, u8, u16)>().prop_map(|(end, at, len)| Step::Send(end, at, len % 400)),
        2 => any::<(bool, u8)>().prop_map(|(end, at)| Step::Finish(end, at)),
        1 => any::<(bool, u8)>().prop_map(|(end, at)| Step::Reset(end, at)),
        1 => any::<(bool, u8)>().prop_map(|(end, at)| Step::Stop(end, at)),
        6 => any::<(bool, u8, u16)>().prop_map(|(end, at, max)| Step::Read(end, at, max % 300 + 1)),
        1 => any::<(bool, u8, i8)>().prop_map(|(end, at, value)| Step::Priority(end, at, value)),
        8 => (any::<bool>(), 60u16..1400, fate).prop_map(|(end, size, fate)| Step::Transmit(end, size, fate)),
        2 => any::<bool>().prop_map(Step::Late),
    ]
}

/// One direction of one stream, as the applications know it.
#[derive(Debug, Default, Clone, Copy)]
struct Flow {
    written: u64,
    finished: bool,
    reset: bool,
    stopped: bool,
    read: u64,
    ended: bool,
}

#[derive(Default)]
struct End {
    known: Vec<StreamId>,
    late: Vec<(Vec<u8>, SentFrames)>,
}

fn byte(id: StreamId, sender: Role, at: u64) -> u8 {
    (id.into_wire() * 31 + u64::from(sender == Role::Client) * 17 + at * 7 + at / 256) as u8
}

struct Line {
    ends: [Streams; 2],
    sides: [End; 2],
    flows: BTreeMap<(StreamId, bool), Flow>,
}

impl Line {
    fn new(config: &TransportConfig) -> Self {
        Self {
            ends: [streams(Role::Client, config), streams(Role::Server, config)],
            sides: [End::default(), End::default()],
            flows: BTreeMap::new(),
        }
    }

    fn pick(&self, end: bool, at: u8) -> Option<StreamId> {
        let known = &self.sides[usize::from(end)].known;
        (!known.is_empty()).then(|| known[usize::from(at) % known.len()])
    }

    const fn role(end: bool) -> Role {
        if end { Role::Server } else { Role::Client }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Open(end, uni) => {
                let direction = if uni { Direction::Unidirectional } else { Direction::Bidirectional };
                if let Ok(id) = self.ends[usize::from(end)].open(direction) {
                    self.sides[usize::from(end)].known.push(id);
                }
            }
            Step::Send(end, at, len) => {
                let Some(id) = self.pick(end, at) else { return };
                let flow = self.flows.entry((id, end)).or_default();
                let data: Bytes = (0..u64::from(len)).map(|i| byte(id, Self::role(end), flow.written + i)).collect();
                if self.ends[usize::from(end)].send(id, data, false).is_ok() {
                    flow.written += u64::from(len);
                }
            }
            Step::Finish(end, at) => {
                let Some(id) = self.pick(end, at) else { return };
                let done = self.ends[usize::from(end)].send(id, Bytes::new(), true).is_ok();
                self.flows.entry((id, end)).or_default().finished |= done;
            }
            Step::Reset(end, at) => {
                let Some(id) = self.pick(end, at) else { return };
                let done = self.ends[usize::from(end)].reset(id, CODE.into()).is_ok();
                self.flows.entry((id, end)).or_default().reset |= done;
            }
            Step::Stop(end, at) => {
                let Some(id) = self.pick(end, at) else { return };
                let done = self.ends[usize::from(end)].stop_sending(id, CODE.into()).is_ok();
                self.flows.entry((id, !end)).or_default().stopped |= done;
            }
            Step::Read(end, at, max) => {
                let Some(id) = self.pick(end, at) else { return };
                self.read(end, id, max.into());
            }
            Step::Priority(end, at, value) => {
                let Some(id) = self.pick(end, at) else { return };
                let _ = self.ends[usize::from(end)].set_priority(id, value.into());
            }
            Step::Transmit(end, size, fate) => self.transmit(end, size.into(), fate),
            Step::Late(end) => {
                let late = &mut self.sides[usize::from(end)].late;
                if !late.is_empty() {
                    let (bytes, sent) = late.swap_remove(late.len() / 2);
                    self.arrive(end, &bytes);
                    sent.into_iter().for_each(|frame| self.ends[usize::from(end)].acked(frame));
                }
            }
        }
        for end in [false, true] {
            while let Some(event) = self.ends[usize::from(end)].poll_event() {
                if let StreamEvent::Opened(id) = event {
                    self.sides[usize::from(end)].known.push(id);
                }
            }
        }
    }

    fn read(&mut self, end: bool, id: StreamId, max: usize) {
        let streams = &mut self.ends[usize::from(end)];
        let flow = self.flows.entry((id, !end)).or_default();
        match streams.read(id, max) {
            Ok(Read::Data(data)) => {
                assert!(data.len() <= max && !data.is_empty());
                for (i, read) in data.iter().enumerate() {
                    assert_eq!(*read, byte(id, Self::role(!end), flow.read + i as u64), "{id:?}");
                }
                flow.read += data.len() as u64;
                assert!(flow.read <= flow.written);
                streams.consumed(NOW, RTT, id, data.len() as u64);
            }
            Ok(Read::Finished) => {
                assert!(flow.finished && flow.read == flow.written && !flow.ended);
                flow.ended = true;
            }
            Ok(Read::Reset(_)) => {
                assert!((flow.reset || flow.stopped) && !flow.ended);
                flow.ended = true;
            }
            Ok(Read::Blocked) | Err(_) => {}
        }
    }

    fn arrive(&mut self, from: bool, bytes: &[u8]) {
        deliver(&mut self.ends[usize::from(!from)], bytes).unwrap();
    }

    fn transmit(&mut self, end: bool, size: usize, fate: Fate) {
        let (bytes, sent) = packet(&mut self.ends[usize::from(end)], size);
        if bytes.is_empty() {
            return;
        }
        match fate {
            Fate::Late => return self.sides[usize::from(end)].late.push((bytes, sent)),
            Fate::Lost => {}
            Fate::Arrives | Fate::Unconfirmed => self.arrive(end, &bytes),
            Fate::Twice => {
                self.arrive(end, &bytes);
                self.arrive(end, &bytes);
            }
        }
        let confirmed = matches!(fate, Fate::Arrives | Fate::Twice);
        for frame in sent {
            match confirmed {
                true => self.ends[usize::from(end)].acked(frame),
                false => self.ends[usize::from(end)].lost(frame),
            }
        }
    }

    /// Everything is finished, and the line is good: all must arrive, and nothing be left.
    fn settle(&mut self) {
        for end in [false, true] {
            for id in self.sides[usize::from(end)].known.clone() {
                let _ = self.ends[usize::from(end)].send(id, Bytes::new(), true).map(|()| {
                    self.flows.entry((id, end)).or_default().finished = true;
                });
            }
        }
        for _ in 0..5000 {
            for end in [false, true] {
                while !self.sides[usize::from(end)].late.is_empty() {
                    self.take(Step::Late(end));
                }
                self.take(Step::Transmit(end, 1200, Fate::Arrives));
                for id in self.sides[usize::from(end)].known.clone() {
                    let _ = self.ends[usize::from(end)].send(id, Bytes::new(), true).map(|()| {
                        self.flows.entry((id, end)).or_default().finished = true;
                    });
                    self.read(end, id, 5000);
                }
            }
            if self.ends.iter().all(|end| end.streams.is_empty() && !end.wants_to_send()) {
                break;
            }
        }
        for (at, end) in self.ends.iter().enumerate() {
            assert!(end.streams.is_empty(), "end {at} still has {:?}", end.streams);
            assert!(!end.wants_to_send());
        }
        for ((id, _), flow) in &self.flows {
            let whole = flow.finished && !flow.reset && !flow.stopped;
            assert!(!whole || flow.ended && flow.read == flow.written, "{id:?} {flow:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn two_ends_agree_whatever_the_line_does(
        steps in prop::collection::vec(step(), 0..300),
        window in prop::sample::select(vec![50u64, 400, 100_000]),
    ) {
        let config = TransportConfig {
            stream_receive_window: window, max_stream_receive_window: window * 2, receive_window: window * 2,
            max_receive_window: window * 4, max_bidi_streams: 4, max_uni_streams: 4, ..TransportConfig::default()
        };
        let mut line = Line::new(&config);
        for step in steps {
            line.take(step);
        }
        line.settle();
    }
}
