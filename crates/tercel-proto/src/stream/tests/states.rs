//! The state machines of RFC 9000 section 3 against tables written from their figures.

use super::*;

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
        send::State::DataSent { .. } | send::State::ResetAtSent(_) => SendState::DataSent,
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
// RFC 9000 sections 3.3#1#2, 3.5#2, 4.5#2.
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
        recv::State::SizeKnown { .. } | recv::State::ResetAt { .. } => RecvState::SizeKnown,
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
        RecvInput::Reset => recv.on_reset(CODE.into(), 10, 0).map(drop).map_err(drop),
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
// RFC 9000 section 3.5#1#5.
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
            // What ended cannot be stopped or read; everything else that comes late is ignored.
            assert_eq!(
                result.is_err(),
                matches!(input, Stop | RecvInput::Read) && matches!(state, DataRead | ResetRead),
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
// RFC 9000 section 4.5#3#4.
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
            let changed = recv_in(state).on_reset(CODE.into(), size, 0);
            assert_eq!(code(changed), TransportErrorCode::FINAL_SIZE_ERROR, "{state:?}");
        }
        assert!(recv_in(state).on_reset(CODE.into(), 10, 0).is_ok());
    }
    let mut recv = recv_in(RecvState::Recv);
    assert_eq!(recv.on_reset(CODE.into(), 4, 0).unwrap_err().code, TransportErrorCode::FINAL_SIZE_ERROR);
    assert_eq!(recv.on_data(2, Bytes::new(), true).unwrap_err().code, TransportErrorCode::FINAL_SIZE_ERROR);
}
