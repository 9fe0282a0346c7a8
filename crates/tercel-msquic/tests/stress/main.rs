//! Random calls from several threads, and from callbacks, on random handles in random states: nothing crashes, hangs or is
//! lost. `tests/address-sanitizer` runs it under the address sanitizer.
//!
//! `TERCEL_SEED` repeats a run as far as threads permit, `TERCEL_STRESS_SECONDS` makes it longer.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "for tests")]

mod callbacks;
mod steps;
#[path = "../support/mod.rs"]
mod support;
mod world;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use support::*;
use tercel_msquic::abi::*;

use self::callbacks::listening;
use self::steps::{Stage, step};
use self::world::{Random, WORLD};

/// Of the library's counters: the connections and the streams that there are.
fn objects(api: &ApiTable) -> [u64; 2] {
    let mut counters = [0u64; PERF_COUNTERS];
    let mut len = size_of_val(&counters) as u32;
    let room = counters.as_mut_ptr().cast();
    let got = unsafe { (api.get_param)(Handle::NULL, param::GLOBAL_PERF_COUNTERS, &mut len, room) };
    assert_eq!(got, Status::SUCCESS);
    [counters[4], counters[8]]
}

#[test]
fn random_calls_lose_nothing() {
    if is_other() {
        // It follows wrong handles.
        return;
    }
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("TERCEL_SEED").unwrap_or(1);
    let time = Duration::from_secs(number("TERCEL_STRESS_SECONDS").unwrap_or(3));
    eprintln!("TERCEL_SEED={seed}");
    world::seed_callbacks(seed);
    let registration = registration();
    // What is sent is read where it lies, so that the sanitizer sees who reads too long.
    let server = server_configuration(registration);
    let client = client_configuration(registration);
    let mut listener = Handle::NULL;
    let port = unsafe {
        assert_eq!((api().listener_open)(registration, Some(listening), server.0, &mut listener), Status::SUCCESS);
        let alpn = buffer(ALPN);
        assert_eq!((api().listener_start)(listener, &alpn, 1, &loopback(0)), Status::SUCCESS);
        let (mut at, mut len) = (loopback(0), size_of::<Addr>() as u32);
        (api().get_param)(listener, param::LISTENER_LOCAL_ADDRESS, &mut len, (&raw mut at).cast());
        u16::from_be(at.ipv4.sin_port)
    };
    let stage = Stage { registration, server, client, port };
    let begun = Instant::now();
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            std::thread::spawn(move || {
                let mut random = Random(seed ^ thread << 56);
                while begun.elapsed() < time {
                    step(&mut random, stage);
                    WORLD.calls.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let mut random = Random(seed);
    unsafe {
        while let Some(stream) = WORLD.take(&WORLD.streams, &mut random) {
            WORLD.close_stream(stream);
        }
        while let Some(connection) = WORLD.take(&WORLD.connections, &mut random) {
            (api().connection_close)(connection);
        }
        // Callbacks may have opened some meanwhile.
        while let Some(stream) = WORLD.take(&WORLD.streams, &mut random) {
            WORLD.close_stream(stream);
        }
        while let Some(other) = WORLD.take(&WORLD.listeners, &mut random) {
            (api().listener_close)(other);
        }
        while let Some(configuration) = WORLD.take(&WORLD.configurations, &mut random) {
            (api().configuration_close)(configuration);
        }
        (api().listener_close)(listener);
        (api().registration_shutdown)(registration, 0, 0);
        (api().configuration_close)(server);
        (api().configuration_close)(client);
        // Returns when every object is closed.
        (api().registration_close)(registration);
    }
    while let Some(stream) = WORLD.take(&WORLD.streams, &mut random) {
        WORLD.close_stream(stream);
    }
    WORLD.wait_until_settled();
    eprintln!("{} calls, {} events", WORLD.calls.load(Ordering::Relaxed), WORLD.events.load(Ordering::Relaxed));
    assert_eq!(WORLD.sends.load(Ordering::Relaxed), 0, "every accepted send is completed");
    assert_eq!(WORLD.datagrams.load(Ordering::Relaxed), 0, "every accepted datagram has come to its end");
    // With the last table the workers end, and with them whatever they still hold.
    let mut another = std::ptr::null();
    unsafe {
        tercel_msquic::MsQuicClose(std::ptr::from_ref(api()).cast());
        assert_eq!(open_version()(2, &mut another), Status::SUCCESS);
        assert_eq!(objects(&*another.cast()), [0, 0], "connections and streams that nobody has");
        tercel_msquic::MsQuicClose(another);
    }
}
