//! Random calls from several threads on random handles in random states: nothing crashes, hangs or is lost.
//!
//! `TERCEL_SEED` repeats a run as far as threads permit, `TERCEL_STRESS_SECONDS` makes it longer.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "for tests")]

mod support;

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use support::*;
use tercel_msquic::abi::*;

/// A small generator (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ bits >> 31
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        match of {
            [] => None,
            of => Some(of[self.below(of.len() as u64) as usize]),
        }
    }
}

/// What the threads share.
#[derive(Default)]
struct World {
    connections: Mutex<Vec<Handle>>,
    streams: Mutex<Vec<Handle>>,
    /// Sends that were accepted and whose completion was not told.
    sends: AtomicI64,
    datagrams: AtomicI64,
    /// Objects whose last event was told: nothing may follow.
    ended: Mutex<BTreeMap<usize, ()>>,
}

impl World {
    fn any(&self, list: &Mutex<Vec<Handle>>, random: &mut Random) -> Handle {
        match random.below(20) {
            0 => Handle(std::ptr::without_provenance_mut(random.next() as usize)),
            1 => Handle::NULL,
            _ => random.one(&list.lock().unwrap()).unwrap_or(Handle::NULL),
        }
    }

    fn take(&self, list: &Mutex<Vec<Handle>>, random: &mut Random) -> Option<Handle> {
        let mut list = list.lock().unwrap();
        let at = random.below(list.len().max(1) as u64) as usize;
        (at < list.len()).then(|| list.swap_remove(at))
    }

    fn begin(&self, handle: Handle) {
        self.ended.lock().unwrap().remove(&(handle.0 as usize));
    }

    fn heard(&self, handle: Handle, last: bool) {
        let mut ended = self.ended.lock().unwrap();
        let before = match last {
            true => ended.insert(handle.0 as usize, ()).is_some(),
            false => ended.contains_key(&(handle.0 as usize)),
        };
        assert!(!before, "an event after the last one");
    }
}

static WORLD: std::sync::LazyLock<World> = std::sync::LazyLock::new(World::default);

unsafe extern "C" fn connection_event(handle: Handle, server: *mut c_void, event: *mut ConnectionEvent) -> Status {
    let event = unsafe { &mut *event };
    WORLD.heard(handle, event.event_type == connection_event::SHUTDOWN_COMPLETE);
    match event.event_type {
        connection_event::PEER_STREAM_STARTED => unsafe {
            let stream = event.body.peer_stream_started.stream;
            WORLD.begin(stream);
            (api().set_callback_handler)(stream, stream_event as *mut c_void, std::ptr::without_provenance_mut(1));
        },
        connection_event::DATAGRAM_SEND_STATE_CHANGED => {
            let state = unsafe { event.body.datagram_send_state_changed.state };
            if state >= datagram_send_state::LOST_DISCARDED {
                WORLD.datagrams.fetch_sub(1, Ordering::Relaxed);
            }
        }
        connection_event::SHUTDOWN_COMPLETE => {
            let closing = unsafe { event.body.shutdown_complete } & 4 != 0;
            if !server.is_null() && !closing {
                unsafe { (api().connection_close)(handle) };
            }
        }
        _ => {}
    }
    Status::SUCCESS
}

/// The context of a stream tells whether it is the server's, which is closed when it ends.
unsafe extern "C" fn stream_event(handle: Handle, server: *mut c_void, event: *mut StreamEvent) -> Status {
    let event = unsafe { &mut *event };
    WORLD.heard(handle, event.event_type == stream_event::SHUTDOWN_COMPLETE);
    match event.event_type {
        stream_event::SEND_COMPLETE => {
            WORLD.sends.fetch_sub(1, Ordering::Relaxed);
            drop(unsafe { Box::from_raw(event.body.send_complete.client_context.cast::<Sent>()) });
        }
        stream_event::RECEIVE => {
            let receive = unsafe { event.body.receive };
            if !server.is_null() {
                let (data, last) = (received(event), receive.flags & receive::FIN != 0);
                send_some(handle, data, if last { send::FIN } else { 0 });
            } else if receive.absolute_offset % 3 == 1 {
                return Status::PENDING;
            } else if receive.absolute_offset % 3 == 2 {
                event.body.receive.total_buffer_length = receive.total_buffer_length / 2;
                return Status::CONTINUE;
            }
        }
        stream_event::SHUTDOWN_COMPLETE => {
            let closing = unsafe { event.body.shutdown_complete }.flags & 1 != 0;
            if !server.is_null() && !closing {
                unsafe { (api().stream_close)(handle) };
            }
        }
        _ => {}
    }
    Status::SUCCESS
}

unsafe extern "C" fn listening(_: Handle, server: *mut c_void, event: *mut ListenerEvent) -> Status {
    let event = unsafe { &mut *event };
    if event.event_type != listener_event::NEW_CONNECTION {
        return Status::SUCCESS;
    }
    unsafe {
        let connection = event.body.new_connection.connection;
        WORLD.begin(connection);
        let context = std::ptr::without_provenance_mut(1);
        (api().set_callback_handler)(connection, connection_event as *mut c_void, context);
        (api().connection_set_configuration)(connection, Handle(server))
    }
}

/// Memory that is being sent, freed by its completion.
struct Sent {
    _data: Vec<u8>,
    buffer: Buffer,
}

// A pointer into its own memory.
unsafe impl Send for Sent {}

fn send_some(stream: Handle, data: Vec<u8>, flags: u32) {
    let sent = Box::new(Sent { buffer: buffer(&data), _data: data });
    let sent = Box::into_raw(sent);
    WORLD.sends.fetch_add(1, Ordering::Relaxed);
    let status = unsafe { (api().stream_send)(stream, &(*sent).buffer, 1, flags, sent.cast()) };
    if status.is_failure() {
        WORLD.sends.fetch_sub(1, Ordering::Relaxed);
        drop(unsafe { Box::from_raw(sent) });
    }
}

fn step(random: &mut Random, registration: Handle, client: Handle, port: u16) {
    let api = api();
    let connection = WORLD.any(&WORLD.connections, random);
    let stream = WORLD.any(&WORLD.streams, random);
    let flags = random.below(64) as u32;
    unsafe {
        match random.below(24) {
            0..=2 if WORLD.connections.lock().unwrap().len() < 20 => {
                let mut made = Handle::NULL;
                let handler = Some(connection_event as ConnectionCallback);
                // No event comes before it is started.
                if (api.connection_open)(registration, handler, std::ptr::null_mut(), &mut made) == Status::SUCCESS {
                    WORLD.begin(made);
                    WORLD.connections.lock().unwrap().push(made);
                }
            }
            3..=5 => {
                let _ = (api.connection_start)(connection, client, 2, c"localhost".as_ptr(), port);
            }
            6 => (api.connection_shutdown)(connection, flags & 1, random.below(100)),
            7 => {
                if let Some(taken) = WORLD.take(&WORLD.connections, random) {
                    (api.connection_close)(taken);
                }
            }
            8..=10 if WORLD.streams.lock().unwrap().len() < 100 => {
                let mut made = Handle::NULL;
                let handler = Some(stream_event as StreamCallback);
                let opened = (api.stream_open)(connection, flags & 1, handler, std::ptr::null_mut(), &mut made);
                if opened == Status::SUCCESS {
                    WORLD.begin(made);
                    WORLD.streams.lock().unwrap().push(made);
                }
            }
            11 => {
                let _ = (api.stream_start)(stream, flags & stream_start::ALL);
            }
            12..=15 => {
                let len = [0, 1, 1000, 100_000][random.below(4) as usize];
                send_some(stream, vec![7; len], flags & 0x77 | send::START);
            }
            16 => {
                let _ = (api.stream_shutdown)(stream, flags & stream_shutdown::ALL, random.below(100));
            }
            17 => {
                if let Some(taken) = WORLD.take(&WORLD.streams, random) {
                    (api.stream_close)(taken);
                }
            }
            18 => (api.stream_receive_complete)(stream, random.below(2000)),
            19 => {
                let _ = (api.stream_receive_set_enabled)(stream, (flags & 1) as u8);
            }
            20 => {
                let data = buffer(b"datagram");
                WORLD.datagrams.fetch_add(1, Ordering::Relaxed);
                if (api.datagram_send)(connection, &data, 1, flags & send::DGRAM_PRIORITY, std::ptr::null_mut())
                    .is_failure()
                {
                    WORLD.datagrams.fetch_sub(1, Ordering::Relaxed);
                }
            }
            21 => {
                let parameter = [0x0500_0000, 0x0600_0000, 0x0800_0000][random.below(3) as usize] + (flags & 31);
                let (mut room, mut len) = ([0u8; 400], 400);
                let of = if parameter >> 24 == 8 { stream } else { connection };
                let _ = (api.get_param)(of, parameter, &mut len, room.as_mut_ptr().cast());
            }
            22 => {
                let _ = (api.connection_certificate_validation_complete)(connection, 1, 0);
            }
            _ => {
                let _ = (api.connection_resumption_ticket_validation_complete)(connection, 1);
            }
        }
    }
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
    let steps = Arc::new(AtomicI64::new(0));
    let begun = Instant::now();
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let steps = steps.clone();
            std::thread::spawn(move || {
                let mut random = Random(seed ^ thread << 56);
                while begun.elapsed() < time {
                    step(&mut random, registration, client, port);
                    steps.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let mut random = Random(seed);
    unsafe {
        while let Some(stream) = WORLD.take(&WORLD.streams, &mut random) {
            (api().stream_close)(stream);
        }
        while let Some(connection) = WORLD.take(&WORLD.connections, &mut random) {
            (api().connection_close)(connection);
        }
        (api().listener_close)(listener);
        (api().registration_shutdown)(registration, 0, 0);
        (api().configuration_close)(server);
        (api().configuration_close)(client);
        // Returns when every object is closed.
        (api().registration_close)(registration);
    }
    eprintln!("{} steps", steps.load(Ordering::Relaxed));
    assert_eq!(WORLD.sends.load(Ordering::Relaxed), 0, "every accepted send is completed");
    assert_eq!(WORLD.datagrams.load(Ordering::Relaxed), 0, "every accepted datagram has come to its end");
}
