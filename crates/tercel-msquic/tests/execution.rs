//! A program that has no threads: it drives the workers from its own loop, beside an epoll instance of its own.
//! The library has the workers of whoever is first to ask for some, so this is a process of its own.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "for tests")]

mod support;

use std::time::Instant;

use support::*;
use tercel_msquic::abi::*;

/// `QUIC_SQE`.
#[repr(C)]
struct Entry {
    fd: i32,
    completion: unsafe extern "C" fn(*mut libc::epoll_event),
}

/// Whether a word begins with this one; or is it, if that ends with a point.
fn says(word: &str, wanted: &str) -> bool {
    wanted.strip_suffix('.').map_or_else(|| word.starts_with(wanted), |wanted| word == wanted)
}

#[test]
fn an_application_drives_the_workers() {
    let mut queue = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    assert!(queue >= 0);
    let api = api();
    let mut config = ExecutionConfig { ideal_processor: 0, event_queue: &mut queue };
    let mut execution = std::ptr::null_mut();
    unsafe {
        // MsQuic looks at neither.
        if !is_other() {
            let none = (api.execution_create)(0, 0, 0, &mut config, &mut execution);
            assert_eq!(none, Status::INVALID_PARAMETER);
            // All of them or none: a queue that is none leaves nothing behind.
            let mut nowhere = -1;
            let bad = ExecutionConfig { ideal_processor: 0, event_queue: &mut nowhere };
            let good = ExecutionConfig { ideal_processor: 0, event_queue: &mut queue };
            let (mut configs, mut executions) = ([good, bad], [std::ptr::null_mut(); 2]);
            let failed = (api.execution_create)(0, 0, 2, configs.as_mut_ptr(), executions.as_mut_ptr());
            assert!(failed.is_failure());
        }
        assert_eq!((api.execution_create)(0, 0, 1, &mut config, &mut execution), Status::SUCCESS);
    }
    let until = |program: &Program, words: &[&str]| {
        let begun = Instant::now();
        while !words.iter().all(|wanted| program.words().iter().any(|word| says(word, wanted))) {
            assert!(begun.elapsed() < PATIENCE, "no {words:?} in {:?}", program.words());
            unsafe {
                let wait = (api.execution_poll)(execution);
                let mut events: [libc::epoll_event; 8] = std::mem::zeroed();
                let count = libc::epoll_wait(queue, events.as_mut_ptr(), 8, wait.min(100) as i32);
                for event in &mut events[..count.max(0) as usize] {
                    let entry = event.u64 as *const Entry;
                    ((*entry).completion)(event);
                }
            }
        }
    };
    let registration = registration();
    let server = server_configuration(registration);
    let (serving, _) = echo(server);
    let (listener, port) = listen(registration, serving);
    let client = client_configuration(registration);
    let (program, heard) = quiet();
    let connection = open_connection(registration, program);
    start(connection, client, port);
    until(program, &["CONNECTED 0"]);
    let stream = open_stream(connection, 0, program);
    assert_eq!(send(stream, b"driven", send::START | send::FIN, 3), Status::PENDING);
    until(program, &["SEND_COMPLETE 3 0", "RECEIVE 0 6", "PEER_SEND_SHUTDOWN", "SHUTDOWN_COMPLETE 0 0"]);
    let open = open_stream(connection, 0, program);
    assert_eq!(send(open, &[7; 100_000], send::START, 4), Status::PENDING);
    unsafe {
        let mut stats = [0u64; 26];
        let mut len = size_of_val(&stats) as u32;
        let got = (api.get_param)(connection, param::CONN_STATISTICS_V2, &mut len, stats.as_mut_ptr().cast());
        assert_eq!(got, Status::SUCCESS);
        // What would wait for a worker drives it.
        (api.stream_close)(stream);
        (api.stream_close)(open);
        program.say(open, "CLOSED");
        (api.connection_close)(connection);
        program.say(connection, "GONE");
    }
    let words = heard.until("GONE");
    let at = |what: &str| {
        words.iter().position(|word| word.what.starts_with(what)).unwrap_or_else(|| panic!("{what}: {words:?}"))
    };
    assert!(at("SEND_COMPLETE 4") < at("CLOSED"));
    assert_eq!(words[words.len() - 2].what, "SHUTDOWN_COMPLETE 5");
    // The server's end of it hears nothing of a silent close.
    unsafe { (api.registration_shutdown)(registration, 0, 0) };
    until(serving, &["SHUTDOWN_COMPLETE 1."]);
    unsafe {
        (api.listener_close)(listener);
        (api.configuration_close)(server);
        (api.configuration_close)(client);
        (api.registration_close)(registration);
        if !is_other() {
            // MsQuic 2.5.1 waits here for what ends with its last table.
            (api.execution_delete)(1, &mut execution);
        }
        libc::close(queue);
    }
}
