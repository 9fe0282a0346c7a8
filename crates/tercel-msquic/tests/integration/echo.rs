//! Programs that talk to each other through the table of functions: what is sent comes back, events come in their
//! order, and nothing comes after a close.

use std::ffi::c_void;
use std::sync::{Arc, Mutex};

use crate::support::*;
use tercel_msquic::abi::*;

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + at / 256) as u8).collect()
}

#[test]
fn what_is_sent_comes_back_and_events_come_in_order() {
    let stage = stage();
    let (program, heard, collected) = collector();
    let connection = stage.connect(program, &heard);
    let stream = open_stream(connection, 0, program);
    assert_eq!(unsafe { (api().stream_start)(stream, 0) }, Status::PENDING);
    let data = pattern(1 << 20);
    assert_eq!(send(stream, &data[..5], 0, 41), Status::PENDING);
    assert_eq!(send(stream, &data[5..], send::FIN, 42), Status::PENDING);
    let words = heard.until("SHUTDOWN_COMPLETE");
    let of_stream = words.into_iter().filter(|word| word.handle == stream.0 as usize);
    let words: Vec<_> = of_stream.map(|word| word.what).collect();
    assert!(*collected.lock().unwrap() == data, "what came back differs");
    let at = |what: &str| {
        words.iter().position(|word| word.starts_with(what)).unwrap_or_else(|| panic!("{what}: {words:?}"))
    };
    assert_eq!(at("START_COMPLETE SUCCESS"), 0, "{words:?}");
    assert!(at("SEND_COMPLETE 41 0") < at("SEND_COMPLETE 42 0"));
    assert!(at("SEND_COMPLETE 42 0") < at("SEND_SHUTDOWN_COMPLETE 1"));
    assert!(at("PEER_SEND_SHUTDOWN") < words.len() - 1);
    assert_eq!(words.last().unwrap(), "SHUTDOWN_COMPLETE 0 0");
    unsafe {
        (api().stream_close)(stream);
        (api().connection_shutdown)(connection, 0, 7);
    }
    heard.wait_for("SHUTDOWN_COMPLETE 1");
    assert!(heard.is_silent());
    stage.heard.wait_for("SHUTDOWN_INITIATED_BY_PEER 7");
    unsafe { (api().connection_close)(connection) };
    assert!(heard.is_silent());
}

/// Whatever lies between them, and behind the last: with few bytes, which are copied, and with many, which are not.
#[test]
fn a_send_may_have_empty_buffers() {
    let stage = stage();
    let (program, heard, collected) = collector();
    let connection = stage.connect(program, &heard);
    for (number, len) in [10, 1 << 20].into_iter().enumerate() {
        let data = pattern(len);
        let (one, two) = data.split_at(len / 3);
        for pieces in [&[one, &[], two, &[], &[]][..], &[&[], one, two], &[&[], &data, &[]], &[&data, &[]]] {
            let stream = open_stream(connection, 0, program);
            assert_eq!(send_all(stream, pieces, send::START | send::FIN, number), Status::PENDING);
            let words = heard.until("SHUTDOWN_COMPLETE");
            let completions = words.iter().filter(|word| word.what.starts_with("SEND_COMPLETE"));
            let completions: Vec<_> = completions.map(|word| word.what.as_str()).collect();
            assert_eq!(completions, [format!("SEND_COMPLETE {number} 0")]);
            assert!(std::mem::take(&mut *collected.lock().unwrap()) == data, "what came back differs");
            unsafe { (api().stream_close)(stream) };
        }
    }
    unsafe { (api().connection_close)(connection) };
}

#[test]
fn a_stream_may_be_opened_started_and_sent_on_before_the_connection_starts() {
    let stage = stage();
    let (program, heard, collected) = collector();
    let connection = open_connection(stage.registration, program);
    let stream = open_stream(connection, 0, program);
    assert_eq!(send(stream, b"first", send::START, 1), Status::PENDING);
    assert_eq!(send(stream, b" last", send::FIN, 2), Status::PENDING);
    start(connection, stage.client, stage.port);
    heard.wait_for("SHUTDOWN_COMPLETE 0 0");
    assert_eq!(*collected.lock().unwrap(), b"first last");
    unsafe {
        (api().stream_close)(stream);
        (api().connection_close)(connection);
    }
    program.say(connection, "GONE");
    let words = heard.until("GONE");
    assert_eq!(words[words.len() - 2].what, "SHUTDOWN_COMPLETE 5");
    assert!(heard.is_silent(), "{:?}", program.words());
}

/// Who closes has every send back before the call returns, whatever state it is in; and hears nothing afterwards.
#[test]
fn a_close_gives_everything_back_before_it_returns() {
    for from_callback in [false, true] {
        let stage = stage();
        let closes = Arc::new(Mutex::new(None::<[Handle; 3]>));
        let of = closes.clone();
        let (program, heard) = Program::new(move |program, event| {
            if let Event::Stream(handle, event) = event
                && event.event_type == stream_event::START_COMPLETE
                && let Some([stream, connection, other]) = *of.lock().unwrap()
                && handle == other
            {
                unsafe {
                    (api().stream_close)(stream);
                    program.say(stream, "CLOSED");
                    (api().connection_close)(connection);
                    program.say(connection, "GONE");
                }
            }
            Status::SUCCESS
        });
        let connection = stage.connect(program, &heard);
        let stream = open_stream(connection, 0, program);
        let other = open_stream(connection, 0, program);
        let data = pattern(10 << 20);
        if from_callback {
            *closes.lock().unwrap() = Some([stream, connection, other]);
        }
        assert_eq!(send(other, &data, 0, 7), Status::PENDING);
        assert_eq!(send(stream, &data, 0, 8), Status::PENDING);
        assert_eq!(send(stream, b"", send::START, 10), Status::PENDING);
        assert_eq!(send(other, b"", send::START, 9), Status::PENDING);
        if !from_callback {
            unsafe {
                (api().stream_close)(stream);
                program.say(stream, "CLOSED");
                (api().connection_close)(connection);
                program.say(connection, "GONE");
            }
        }
        let words = heard.until("GONE");
        let of = |handle: Handle| {
            words
                .iter()
                .filter(|word| word.handle == handle.0 as usize)
                .map(|word| word.what.as_str())
                .collect::<Vec<_>>()
        };
        let stream_words = of(stream);
        let completions = |words: &[&str], number: usize| {
            words.iter().filter(|word| word.starts_with(&format!("SEND_COMPLETE {number} "))).count()
        };
        assert_eq!((completions(&stream_words, 8), completions(&stream_words, 10)), (1, 1), "{stream_words:?}");
        let end = &stream_words[stream_words.len() - 2..];
        assert_eq!(end, ["SHUTDOWN_COMPLETE 0 1", "CLOSED"], "{stream_words:?}");
        let other_words = of(other);
        assert_eq!((completions(&other_words, 7), completions(&other_words, 9)), (1, 1), "{other_words:?}");
        assert_eq!(other_words.last(), Some(&"SHUTDOWN_COMPLETE 1 0"), "{other_words:?}");
        let connection_words = of(connection);
        assert!(connection_words.ends_with(&["SHUTDOWN_COMPLETE 5", "GONE"]), "{connection_words:?}");
        unsafe { (api().stream_close)(other) };
        assert!(heard.is_silent());
    }
}

#[test]
fn datagrams_come_and_tell_what_became_of_them() {
    let stage = stage();
    let (program, heard) = quiet();
    let connection = stage.connect(program, &heard);
    let sent = unsafe {
        let data = buffer(b"datagram");
        (api().datagram_send)(connection, &data, 1, 0, 5 as *mut c_void)
    };
    assert_eq!(sent, Status::PENDING);
    heard.wait_for("DATAGRAM_SEND_STATE_CHANGED 1");
    heard.wait_for("DATAGRAM_SEND_STATE_CHANGED 4");
    stage.heard.wait_for("DATAGRAM_RECEIVED");
    unsafe { (api().connection_close)(connection) };
}

/// Every way to answer a RECEIVE.
#[test]
fn receives_are_taken_in_parts_and_later() {
    let stage = stage();
    let pending = Arc::new(Mutex::new(0u32));
    let seen = pending.clone();
    let (program, heard) = Program::new(move |_, event| {
        let Event::Stream(_, event) = event else { return Status::SUCCESS };
        if event.event_type != stream_event::RECEIVE {
            return Status::SUCCESS;
        }
        let mut turn = seen.lock().unwrap();
        *turn += 1;
        match *turn {
            // A part, and the rest when it is wanted.
            1 => {
                event.body.receive.total_buffer_length = 2;
                Status::SUCCESS
            }
            // A part, and the rest at once.
            2 => {
                event.body.receive.total_buffer_length = 3;
                Status::CONTINUE
            }
            // Later.
            3 => Status::PENDING,
            _ => Status::SUCCESS,
        }
    });
    let connection = stage.connect(program, &heard);
    let stream = open_stream(connection, 0, program);
    assert_eq!(send(stream, b"0123456789", send::START, 0), Status::PENDING);
    heard.wait_for("RECEIVE 0 10");
    unsafe { (api().stream_receive_set_enabled)(stream, 1) };
    heard.wait_for("RECEIVE 2 8");
    heard.wait_for("RECEIVE 5 5");
    unsafe { (api().stream_receive_complete)(stream, 4) };
    assert_eq!(send(stream, b"", send::FIN, 0), Status::PENDING);
    unsafe { (api().stream_receive_set_enabled)(stream, 1) };
    let words = heard.until("SHUTDOWN_COMPLETE");
    let received: Vec<_> =
        words.iter().filter(|word| word.what.starts_with("RECEIVE")).map(|word| &*word.what).collect();
    assert!(received == ["RECEIVE 9 1"] || received == ["RECEIVE 9 1", "RECEIVE 10 0"], "{received:?}");
    unsafe {
        (api().stream_close)(stream);
        (api().connection_close)(connection);
    }
}

#[test]
fn a_stream_is_reset_and_stopped() {
    let stage = stage();
    let (program, heard) = quiet();
    let connection = stage.connect(program, &heard);
    let stream = open_stream(connection, 0, program);
    assert_eq!(send(stream, b"x", send::START, 0), Status::PENDING);
    heard.wait_for("RECEIVE 0 1");
    let both = stream_shutdown::ABORT_SEND | stream_shutdown::ABORT_RECEIVE;
    assert_eq!(unsafe { (api().stream_shutdown)(stream, both, 9) }, Status::PENDING);
    stage.heard.wait_for("PEER_SEND_ABORTED 9");
    heard.wait_for("SHUTDOWN_COMPLETE 0 0");
    assert!(send(stream, b"y", 0, 0).is_failure());
    let immediate = open_stream(connection, 0, program);
    assert_eq!(send(immediate, b"x", send::START, 77), Status::PENDING);
    let at_once = both | stream_shutdown::IMMEDIATE;
    assert_eq!(unsafe { (api().stream_shutdown)(immediate, at_once, 9) }, Status::PENDING);
    heard.wait_for("SEND_COMPLETE 77");
    heard.wait_for("SEND_SHUTDOWN_COMPLETE 0");
    heard.wait_for("SHUTDOWN_COMPLETE 0 0");
    unsafe {
        (api().stream_close)(stream);
        (api().stream_close)(immediate);
        (api().connection_close)(connection);
    }
}

#[test]
fn a_server_that_nobody_runs_and_a_name_that_nobody_has_are_told_of() {
    let registration = registration();
    let client = client_configuration(registration);
    let (program, heard) = quiet();
    let connection = open_connection(registration, program);
    let started = unsafe { (api().connection_start)(connection, client, 0, c"nobody.invalid".as_ptr(), 443) };
    assert_eq!(started, Status::PENDING);
    let words = heard.until("SHUTDOWN_COMPLETE");
    assert!(words[0].what.starts_with("SHUTDOWN_INITIATED_BY_TRANSPORT"), "{words:?}");
    assert_eq!(words[1].what, "SHUTDOWN_COMPLETE 0");
    unsafe {
        (api().connection_close)(connection);
        (api().configuration_close)(client);
        (api().registration_close)(registration);
    }
}

#[test]
fn an_application_refuses_connections_and_streams() {
    let registration = registration();
    let (program, heard) = Program::new(|_, _| Status::CONNECTION_REFUSED);
    let (listener, port) = listen(registration, program);
    let client = client_configuration(registration);
    let (asking, asked) = quiet();
    let connection = open_connection(registration, asking);
    start(connection, client, port);
    heard.wait_for("NEW_CONNECTION");
    asked.wait_for("SHUTDOWN_INITIATED_BY_TRANSPORT CONNECTION_REFUSED");
    asked.wait_for("SHUTDOWN_COMPLETE 0");
    unsafe {
        (api().connection_close)(connection);
        (api().listener_stop)(listener);
        heard.wait_for("STOP_COMPLETE 0");
        (api().listener_close)(listener);
        (api().configuration_close)(client);
        (api().registration_close)(registration);
    }
    assert!(heard.is_silent());
}

/// What a stream lay in is used for another: the handle of the one before names nothing, and what is asked of it does
/// nothing to the other.
#[test]
fn a_handle_stays_stale_though_another_stream_has_its_place() {
    const STREAMS: usize = 100;
    let stage = stage();
    let before = Arc::new(Mutex::new((None::<(Handle, &'static Program)>, Vec::new())));
    let known = before.clone();
    let (program, heard) = Program::new(move |program, event| {
        let Event::Stream(handle, event) = event else { return Status::SUCCESS };
        if event.event_type != stream_event::SHUTDOWN_COMPLETE {
            return Status::SUCCESS;
        }
        let (Some((connection, this)), ref mut closed) = *known.lock().unwrap() else { return Status::SUCCESS };
        unsafe { (api().stream_close)(handle) };
        closed.push(handle);
        if closed.len() == STREAMS {
            program.say(handle, "DONE");
            return Status::SUCCESS;
        }
        let next = open_stream(connection, 0, this);
        for stale in closed.iter() {
            let asked = [
                send(*stale, b"stale", 0, 1),
                unsafe { (api().stream_start)(*stale, 0) },
                get::<u16>(*stale, param::STREAM_PRIORITY).err().unwrap_or(Status::SUCCESS),
            ];
            unsafe { (api().stream_close)(*stale) };
            if asked != [Status::INVALID_PARAMETER; 3] || *stale == next {
                program.say(handle, "WRONG");
            }
        }
        if get(next, param::STREAM_PRIORITY) != Ok(0x7fff_u16) || get::<u64>(next, param::STREAM_ID).is_ok() {
            program.say(next, "WRONG");
        }
        assert_eq!(set(next, param::STREAM_PRIORITY, closed.len() as u16), Status::SUCCESS);
        send(next, b"next", send::START | send::FIN, closed.len());
        Status::SUCCESS
    });
    let connection = stage.connect(program, &heard);
    before.lock().unwrap().0 = Some((connection, program));
    let first = open_stream(connection, 0, program);
    assert_eq!(send(first, b"first", send::START | send::FIN, 0), Status::PENDING);
    let words = heard.until("DONE");
    assert!(words.iter().all(|word| word.what != "WRONG"), "{words:?}");
    let count = |start: &str| words.iter().filter(|word| word.what.starts_with(start)).count();
    assert_eq!(count("START_COMPLETE SUCCESS"), STREAMS);
    assert_eq!(count("SEND_COMPLETE"), STREAMS);
    assert_eq!(count("PEER_SEND_SHUTDOWN"), STREAMS);
    unsafe { (api().connection_close)(connection) };
}

/// The handle of a stream stays good when that of its connection is closed, and what is made then is something else.
#[test]
fn the_handle_of_a_stream_outlasts_that_of_its_connection() {
    // (MsQuic wants streams to be closed before.)
    if is_other() {
        return;
    }
    let stage = stage();
    let (program, heard) = quiet();
    let connection = stage.connect(program, &heard);
    let streams = [0, 1].map(|_| open_stream(connection, 0, program));
    for (number, stream) in streams.into_iter().enumerate() {
        assert_eq!(set(stream, param::STREAM_PRIORITY, number as u16), Status::SUCCESS);
        assert_eq!(send(stream, b"there", send::START, number), Status::PENDING);
    }
    unsafe { (api().connection_close)(connection) };
    // More than the table has parts, so that they would lie where the first lay.
    let others = [(); 40].map(|()| open_connection(stage.registration, program));
    let mut more = Handle::NULL;
    let on_closed = unsafe { (api().stream_open)(connection, 0, Some(on_stream), program.context(), &mut more) };
    assert_eq!(on_closed, Status::INVALID_PARAMETER);
    for (number, stream) in streams.into_iter().enumerate() {
        assert_eq!(get(stream, param::STREAM_PRIORITY), Ok(number as u16));
        unsafe { (api().stream_close)(stream) };
        assert_eq!(get::<u16>(stream, param::STREAM_PRIORITY), Err(Status::INVALID_PARAMETER));
    }
    // Each place is given to one: twice, for what went wrong when the first went is seen by the second.
    let mut connections = others;
    for _ in 0..2 {
        let all = connections.map(|other| (other, open_stream(other, 0, program)));
        for (number, (other, stream)) in all.into_iter().enumerate() {
            assert!(!streams.contains(&stream) && other != connection);
            assert_eq!(set(stream, param::STREAM_PRIORITY, number as u16), Status::SUCCESS);
        }
        for (number, (other, stream)) in all.into_iter().enumerate() {
            assert_eq!(get(stream, param::STREAM_PRIORITY), Ok(number as u16));
            unsafe {
                (api().connection_close)(other);
                (api().stream_close)(stream);
            }
        }
        connections = [(); 40].map(|()| open_connection(stage.registration, program));
    }
    for other in connections {
        unsafe { (api().connection_close)(other) };
    }
}
