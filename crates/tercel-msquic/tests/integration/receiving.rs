//! What is received: into memory of the application's, and several receives at a time.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::support::*;
use tercel_msquic::abi::settings::{flags, is_set};
use tercel_msquic::abi::*;

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + at / 256) as u8).collect()
}

/// Memory that lives as long as the process.
#[derive(Clone, Copy)]
struct Memory(&'static [AtomicU8]);

impl Memory {
    fn new(len: usize) -> Self {
        Self(Box::leak((0..len).map(|_| AtomicU8::new(0)).collect::<Box<[_]>>()))
    }

    fn buffer(self) -> Buffer {
        Buffer { length: self.0.len() as u32, buffer: self.0.as_ptr().cast_mut().cast() }
    }

    fn bytes(self) -> Vec<u8> {
        self.0.iter().map(|byte| byte.load(Ordering::Relaxed)).collect()
    }
}

fn provide(stream: Handle, memory: &[Memory]) -> Status {
    let buffers: Vec<Buffer> = memory.iter().map(|memory| memory.buffer()).collect();
    unsafe { (api().stream_provide_receive_buffers)(stream, buffers.len() as u32, buffers.as_ptr()) }
}

/// The pieces that a RECEIVE shows.
fn shown(event: &StreamEvent) -> Vec<(usize, usize)> {
    let receive = unsafe { event.body.receive };
    if receive.buffer_count == 0 {
        return Vec::new();
    }
    let buffers = unsafe { std::slice::from_raw_parts(receive.buffers, receive.buffer_count as usize) };
    buffers.iter().map(|buffer| (buffer.buffer as usize, buffer.length as usize)).collect()
}

/// Where what was shown lies.
type Places = Arc<Mutex<Vec<(usize, usize)>>>;

/// A client that notes where everything lies that it is shown.
fn noting() -> (&'static Program, Heard, Places) {
    let places = Places::default();
    let to = places.clone();
    let (program, heard) = Program::new(move |_, event| {
        if let Event::Stream(_, event) = event
            && event.event_type == stream_event::RECEIVE
        {
            to.lock().unwrap().extend(shown(event));
        }
        Status::SUCCESS
    });
    (program, heard, places)
}

#[test]
fn data_is_put_into_the_applications_memory_and_shown_there() {
    let stage = stage();
    let (program, heard, places) = noting();
    let connection = stage.connect(program, &heard);
    let stream = open_stream(connection, stream_open::APP_OWNED_BUFFERS, program);
    let memory = [Memory::new(1000), Memory::new(5000)];
    assert_eq!(provide(stream, &memory), Status::SUCCESS);
    let data = pattern(4000);
    assert_eq!(send(stream, &data, send::START | send::FIN, 0), Status::PENDING);
    heard.wait_for("SHUTDOWN_COMPLETE 0 0");
    let (first, second) = (memory[0].bytes(), memory[1].bytes());
    assert!(first == data[..1000] && second[..3000] == data[1000..], "it lies elsewhere");
    assert!(second[3000..].iter().all(|byte| *byte == 0));
    // Shown from the front to the back, without a gap.
    let mut next = memory[0].buffer().buffer as usize;
    let mut left = 1000;
    for (at, len) in places.lock().unwrap().iter().copied() {
        assert_eq!(at, next);
        (next, left) = (next + len, left - len as isize);
        if left == 0 {
            (next, left) = (memory[1].buffer().buffer as usize, 5000);
        }
    }
    assert_eq!(left, 2000);
    unsafe {
        (api().stream_close)(stream);
        (api().connection_close)(connection);
    }
}

#[test]
fn memory_that_makes_no_sense_or_comes_too_late() {
    let late = Arc::new(Mutex::new(Vec::new()));
    let found = late.clone();
    let stage = stage_with(&settings(), move |_, event| {
        if let Event::Stream(handle, event) = event
            && event.event_type == stream_event::RECEIVE
        {
            found.lock().unwrap().push(provide(*handle, &[Memory::new(10)]));
        }
        None
    });
    let (program, heard) = quiet();
    let connection = stage.connect(program, &heard);
    let ordinary = open_stream(connection, 0, program);
    let lent = open_stream(connection, stream_open::APP_OWNED_BUFFERS, program);
    let memory = Memory::new(10);
    let provide_receive_buffers = api().stream_provide_receive_buffers;
    for stream in [ordinary, lent] {
        let empty = Buffer { length: 0, ..memory.buffer() };
        unsafe {
            assert_eq!(provide_receive_buffers(stream, 0, &memory.buffer()), Status::INVALID_PARAMETER);
            assert_eq!(provide_receive_buffers(stream, 1, std::ptr::null()), Status::INVALID_PARAMETER);
            assert_eq!(provide_receive_buffers(stream, 1, &empty), Status::INVALID_PARAMETER);
        }
    }
    if !is_other() {
        assert_eq!(provide(connection, &[memory]), Status::INVALID_PARAMETER);
        // More than can be counted. (MsQuic says so by the end of the connection.)
        let huge = [Buffer { length: u32::MAX, ..memory.buffer() }; 2];
        assert_eq!(unsafe { provide_receive_buffers(lent, 2, huge.as_ptr()) }, Status::INVALID_PARAMETER);
    }
    assert_eq!(provide(ordinary, &[memory]), Status::INVALID_STATE);
    assert_eq!(provide(lent, &[memory]), Status::SUCCESS);
    assert_eq!(send(ordinary, b"x", send::START | send::FIN, 0), Status::PENDING);
    heard.wait_for("SHUTDOWN_COMPLETE 0 0");
    assert_eq!(late.lock().unwrap().first(), Some(&Status::INVALID_STATE));
    unsafe {
        (api().stream_close)(lent);
        (api().stream_close)(ordinary);
        (api().connection_close)(connection);
    }
}

/// A stream of the peer's: within its event it is told to receive into memory. What is taken in part comes again from
/// where it lies, and what is taken later frees nothing before.
#[test]
fn a_stream_of_the_peers_receives_into_memory_part_by_part() {
    const LEN: usize = 3000;
    let memory = Memory::new(LEN);
    let (steps, at, taken) = (AtomicUsize::new(0), AtomicU64::new(0), Collected::default());
    let kept = taken.clone();
    let stage = stage_with(&settings(), move |program, event| match event {
        Event::Connection(_, event) if event.event_type == connection_event::PEER_STREAM_STARTED => {
            let stream = unsafe { event.body.peer_stream_started.stream };
            assert_eq!(provide(stream, &[memory]), Status::SUCCESS);
            None
        }
        Event::Stream(handle, event) if event.event_type == stream_event::RECEIVE => {
            let pieces = shown(event);
            let receive = unsafe { event.body.receive };
            assert_eq!(receive.absolute_offset, at.load(Ordering::Relaxed));
            if let Some((place, _)) = pieces.first() {
                assert_eq!(*place - memory.buffer().buffer as usize, receive.absolute_offset as usize);
            }
            let wanted = receive.total_buffer_length.min(100);
            kept.lock().unwrap().extend(&received(event)[..wanted as usize]);
            at.fetch_add(wanted, Ordering::Relaxed);
            event.body.receive.total_buffer_length = wanted;
            Some(match steps.fetch_add(1, Ordering::Relaxed) % 3 {
                0 => Status::CONTINUE,
                1 => {
                    // Else nothing would come before this was called.
                    unsafe { (api().stream_receive_set_enabled)(*handle, 1) };
                    Status::SUCCESS
                }
                _ => {
                    // From another thread, a little later.
                    program.say(*handle, format!("LATER {wanted}"));
                    Status::PENDING
                }
            })
        }
        _ => None,
    });
    let (program, heard) = quiet();
    let connection = stage.connect(program, &heard);
    let stream = open_stream(connection, stream_open::UNIDIRECTIONAL, program);
    let data = pattern(LEN);
    assert_eq!(send(stream, &data, send::START | send::FIN, 0), Status::PENDING);
    loop {
        let word = stage.heard.next();
        if let Some(wanted) = word.what.strip_prefix("LATER ") {
            let handle = Handle(std::ptr::without_provenance_mut(word.handle));
            unsafe {
                (api().stream_receive_complete)(handle, wanted.parse().unwrap());
                (api().stream_receive_set_enabled)(handle, 1);
            }
        } else if word.what.starts_with("PEER_SEND_SHUTDOWN") {
            break;
        }
    }
    assert!(*taken.lock().unwrap() == data && memory.bytes() == data);
    unsafe {
        (api().stream_close)(stream);
        (api().connection_close)(connection);
    }
}

/// The room is what limits the peer: so memory that is filled again and again takes in more than it holds.
#[test]
fn memory_may_be_provided_again_and_again() {
    const ROOM: usize = 65_536;
    let memory = Memory::new(ROOM);
    let (filled, same) = (AtomicU64::new(0), Arc::new(AtomicBool::new(true)));
    let data: &'static [u8] = Box::leak(pattern(20 * ROOM).into_boxed_slice());
    let ours = same.clone();
    let (program, heard) = Program::new(move |_, event| {
        if let Event::Stream(handle, event) = event
            && event.event_type == stream_event::RECEIVE
        {
            let bytes = received(event);
            let at = filled.fetch_add(bytes.len() as u64, Ordering::Relaxed) as usize;
            ours.fetch_and(data[at..].starts_with(&bytes), Ordering::Relaxed);
            if !bytes.is_empty() && (at + bytes.len()).is_multiple_of(ROOM) {
                assert_eq!(provide(handle, &[memory]), Status::SUCCESS);
            }
        }
        Status::SUCCESS
    });
    let stage = stage();
    let connection = stage.connect(program, &heard);
    let stream = open_stream(connection, stream_open::APP_OWNED_BUFFERS, program);
    assert_eq!(provide(stream, &[memory]), Status::SUCCESS);
    assert_eq!(send(stream, data, send::START | send::FIN, 0), Status::PENDING);
    let words = heard.until("PEER_SEND_SHUTDOWN");
    assert!(same.load(Ordering::Relaxed), "what came is not what was sent");
    assert!(!words.iter().any(|word| word.what.starts_with("RECEIVE_BUFFER_NEEDED")), "{words:?}");
    unsafe {
        (api().stream_close)(stream);
        (api().connection_close)(connection);
    }
}

/// More comes than there is room for: the application hears of it, and may see to it at once or later. (MsQuic 2.5
/// ends the connection; later versions ask first, and take an answer at once only.)
#[test]
fn more_than_there_is_room_for_is_asked_for() {
    if is_other() {
        return;
    }
    for at_once in [true, false] {
        let memory = [Memory::new(100), Memory::new(2000)];
        let (program, heard) = Program::new(move |_, event| {
            if let Event::Stream(handle, event) = event
                && event.event_type == stream_event::RECEIVE_BUFFER_NEEDED
                && at_once
            {
                assert_eq!(provide(handle, &memory[1..]), Status::SUCCESS);
            }
            Status::SUCCESS
        });
        let stage = stage();
        let connection = stage.connect(program, &heard);
        let stream = open_stream(connection, stream_open::APP_OWNED_BUFFERS, program);
        assert_eq!(provide(stream, &memory[..1]), Status::SUCCESS);
        let data = pattern(1100);
        assert_eq!(send(stream, &data, send::START | send::FIN, 0), Status::PENDING);
        let asked = heard.wait_for("RECEIVE_BUFFER_NEEDED").what;
        let needed: usize = asked.rsplit(' ').next().unwrap().parse().unwrap();
        assert!((1..=1000).contains(&needed), "{asked}");
        if !at_once {
            assert_eq!(provide(stream, &memory[1..]), Status::SUCCESS);
        }
        heard.wait_for("SHUTDOWN_COMPLETE 0 0");
        assert!(memory[0].bytes() == data[..100] && memory[1].bytes()[..1000] == data[100..]);
        let needs = program.words().into_iter().filter(|word| word.starts_with("RECEIVE_BUFFER_NEEDED"));
        assert_eq!(needs.count(), 1);
        unsafe {
            (api().stream_close)(stream);
            (api().connection_close)(connection);
        }
    }
}

/// Who closes a stream has its memory back before that returns, while data is on its way.
#[test]
fn memory_is_the_applications_again_after_a_close() {
    let stage = stage();
    for _ in 0..20 {
        let (program, heard) = quiet();
        let connection = stage.connect(program, &heard);
        let stream = open_stream(connection, stream_open::APP_OWNED_BUFFERS, program);
        let memory = Memory::new(1 << 20);
        assert_eq!(provide(stream, &[memory]), Status::SUCCESS);
        assert_eq!(send(stream, &pattern(1 << 20), send::START | send::FIN, 0), Status::PENDING);
        heard.wait_for("RECEIVE ");
        unsafe { (api().stream_close)(stream) };
        let before = memory.bytes();
        // A round trip of the same connection, by another stream.
        let other = open_stream(connection, 0, program);
        assert_eq!(send(other, b"x", send::START | send::FIN, 0), Status::PENDING);
        let word = |heard: &Heard| heard.wait_for("SHUTDOWN_COMPLETE").handle;
        while word(&heard) != other.0 as usize {}
        assert!(memory.bytes() == before, "written to after the close");
        unsafe {
            (api().stream_close)(other);
            (api().connection_close)(connection);
        }
    }
}

#[test]
fn several_receives_may_be_outstanding() {
    let settings = Settings {
        is_set: settings().is_set | is_set::STREAM_MULTI_RECEIVE_ENABLED,
        flags: flags::STREAM_MULTI_RECEIVE_ENABLED,
        ..settings()
    };
    let stage = stage_with(&settings, |_, _| None);
    let collected = Collected::default();
    let to = collected.clone();
    let places = Arc::new(Mutex::new(Vec::new()));
    let found = places.clone();
    let (program, heard) = Program::new(move |program, event| {
        if let Event::Stream(handle, event) = event
            && event.event_type == stream_event::RECEIVE
        {
            to.lock().unwrap().extend(received(event));
            found.lock().unwrap().extend(shown(event));
            let receive = unsafe { event.body.receive };
            program.say(handle, format!("SHOWN {} {}", receive.absolute_offset, receive.total_buffer_length));
            // The end alone is done with at once.
            let end = unsafe { event.body.receive.total_buffer_length } == 0;
            return if end { Status::SUCCESS } else { Status::PENDING };
        }
        Status::SUCCESS
    });
    let connection = stage.connect(program, &heard);
    let stream = open_stream(connection, 0, program);
    // Each comes back while all before it are outstanding.
    let data = pattern(600);
    assert_eq!(send(stream, &data[..100], send::START, 0), Status::PENDING);
    heard.wait_for("SHOWN 0 100");
    assert_eq!(send(stream, &data[100..300], 0, 0), Status::PENDING);
    heard.wait_for("SHOWN 100 200");
    assert_eq!(send(stream, &data[300..], 0, 0), Status::PENDING);
    heard.wait_for("SHOWN 300 300");
    assert!(*collected.lock().unwrap() == data);
    // What is outstanding lies where it was shown.
    let still: Vec<u8> = places.lock().unwrap().iter().flat_map(|(at, len)| read(*at, *len)).collect();
    assert!(still == data);
    // Completed across their borders, and not shown again.
    unsafe {
        (api().stream_receive_complete)(stream, 150);
        (api().stream_receive_complete)(stream, 450);
    }
    assert_eq!(send(stream, b"", send::FIN, 0), Status::PENDING);
    heard.wait_for("PEER_SEND_SHUTDOWN");
    heard.wait_for("SHUTDOWN_COMPLETE 0 0");
    assert_eq!(collected.lock().unwrap().len(), 600);
    unsafe {
        (api().stream_close)(stream);
        (api().connection_close)(connection);
    }
}

fn read(at: usize, len: usize) -> Vec<u8> {
    unsafe { std::slice::from_raw_parts(std::ptr::with_exposed_provenance::<u8>(at), len) }.to_vec()
}
