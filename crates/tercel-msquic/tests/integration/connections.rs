//! What there is to connections besides streams: many at once, what is told of them, what changes while they run, and
//! what they tell of their secrets.

use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use crate::support::*;
use tercel_msquic::abi::settings::{flags, is_set};
use tercel_msquic::abi::*;

fn pool_config(stage: &Stage) -> ConnectionPoolConfig {
    ConnectionPoolConfig {
        registration: stage.registration,
        configuration: stage.client,
        handler: Some(on_connection),
        context: std::ptr::null_mut(),
        server_name: c"localhost".as_ptr(),
        server_address: std::ptr::null(),
        family: libc::AF_INET as u16,
        server_port: stage.port,
        number_of_connections: 4,
        cibir_ids: std::ptr::null_mut(),
        cibir_id_length: 0,
        // All of them or none.
        flags: 1,
    }
}

fn create(config: &mut ConnectionPoolConfig, pool: &mut [Handle]) -> Status {
    unsafe { (api().connection_pool_create)(config, pool.as_mut_ptr()) }
}

#[test]
fn pools_that_make_no_sense() {
    let stage = stage();
    let (program, _heard) = quiet();
    let mut pool = [Handle::NULL; 4];
    let good = pool_config(&stage);
    let mut without_credential = Handle::NULL;
    let mut id = [0u8; 3];
    let mut ids = [id.as_mut_ptr(); 4];
    unsafe {
        let alpn = buffer(ALPN);
        let open = api().configuration_open;
        open(stage.registration, &alpn, 1, std::ptr::null(), 0, std::ptr::null_mut(), &mut without_credential);
        let create = api().connection_pool_create;
        assert_eq!(create(std::ptr::null_mut(), pool.as_mut_ptr()), Status::INVALID_PARAMETER);
        assert_eq!(create(&mut { good }, std::ptr::null_mut()), Status::INVALID_PARAMETER);
    }
    for mut wrong in [
        ConnectionPoolConfig { registration: Handle::NULL, ..good },
        ConnectionPoolConfig { configuration: Handle::NULL, ..good },
        ConnectionPoolConfig { configuration: without_credential, ..good },
        ConnectionPoolConfig { number_of_connections: 0, ..good },
        ConnectionPoolConfig { handler: None, ..good },
        ConnectionPoolConfig { server_name: std::ptr::null(), ..good },
        ConnectionPoolConfig { server_port: 0, ..good },
        ConnectionPoolConfig { family: 77, ..good },
        ConnectionPoolConfig { cibir_ids: ids.as_mut_ptr(), ..good },
        ConnectionPoolConfig { cibir_id_length: 3, ..good },
    ] {
        assert_eq!(create(&mut wrong, &mut pool), Status::INVALID_PARAMETER);
    }
    assert!(program.words().is_empty());
    unsafe { (api().configuration_close)(without_credential) };
}

/// (MsQuic can do it only where it knows how network cards spread packets over processors.)
#[test]
fn a_pool_of_connections_each_with_its_port_and_context() {
    if is_other() {
        return;
    }
    let stage = stage();
    let programs: Vec<_> = (0..4).map(|_| quiet()).collect();
    let mut contexts: Vec<*mut c_void> = programs.iter().map(|(program, _)| program.context()).collect();
    let address = loopback(1);
    for server_address in [std::ptr::null(), &raw const address] {
        let mut pool = [Handle::NULL; 4];
        let context = contexts.as_mut_ptr();
        let mut config = ConnectionPoolConfig { context, server_address, ..pool_config(&stage) };
        assert_eq!(create(&mut config, &mut pool), Status::SUCCESS);
        let (mut ports, mut processors) = (Vec::new(), Vec::new());
        for (connection, (_, heard)) in pool.into_iter().zip(&programs) {
            assert_eq!(heard.wait_for("CONNECTED").handle, connection.0 as usize);
            let local: Addr = get(connection, param::CONN_LOCAL_ADDRESS).unwrap();
            ports.push(unsafe { local.ipv4.sin_port });
            processors.push(get::<u16>(connection, param::CONN_IDEAL_PROCESSOR).unwrap());
            unsafe { (api().connection_close)(connection) };
        }
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 4, "one port for two");
    }
}

#[test]
fn a_pool_that_cannot_be_made_leaves_nothing_if_it_is_told_so() {
    if is_other() {
        return;
    }
    let stage = stage();
    let (program, _heard) = quiet();
    let mut id = [0u8; 3];
    let mut ids = [id.as_mut_ptr(); 4];
    let mut pool = [stage.listener; 4];
    let with_ids = ConnectionPoolConfig { cibir_ids: ids.as_mut_ptr(), cibir_id_length: 3, ..pool_config(&stage) };
    assert_eq!(create(&mut { with_ids }, &mut pool), Status::NOT_SUPPORTED);
    assert_eq!(pool, [Handle::NULL; 4]);
    let nowhere = c"there.is.no.such.host.invalid";
    let mut config = ConnectionPoolConfig { server_name: nowhere.as_ptr(), ..pool_config(&stage) };
    assert_eq!(create(&mut config, &mut pool), Status::NOT_FOUND);
    assert!(program.words().is_empty(), "{:?}", program.words());
}

unsafe extern "C" fn on_closed(context: *mut c_void) {
    let tell = unsafe { &*context.cast::<mpsc::Sender<()>>() };
    tell.send(()).unwrap();
}

/// (It is newer than MsQuic 2.5.)
#[test]
fn a_registration_tells_when_the_last_of_it_is_closed() {
    if is_other() {
        return;
    }
    let api = api();
    let (tell, told) = mpsc::channel::<()>();
    let context: *mut c_void = (&raw const tell).cast_mut().cast();
    // With nothing left, at once.
    let empty = registration();
    unsafe { (api.registration_close2)(empty, Some(on_closed), context) };
    told.recv_timeout(PATIENCE).unwrap();
    // With something, when that is closed; and the call does not wait for it, not even within a callback.
    let registration = registration();
    let (closing, closed) = Program::new(move |program, event| unsafe {
        if let Event::Connection(handle, event) = event
            && event.event_type == connection_event::SHUTDOWN_COMPLETE
        {
            (api.connection_close)(handle);
            program.say(handle, "CLOSED");
        }
        Status::SUCCESS
    });
    let connection = open_connection(registration, closing);
    let (program, heard) = quiet();
    let other = open_connection(registration, program);
    unsafe {
        (api.registration_close2)(registration, Some(on_closed), context);
        // The handle is stale: what would join comes too late.
        let mut late = Handle::NULL;
        let opened = (api.connection_open)(registration, Some(on_connection), program.context(), &mut late);
        assert_eq!(opened, Status::INVALID_PARAMETER);
        (api.connection_shutdown)(connection, 0, 0);
        closed.wait_for("CLOSED");
        assert!(told.try_recv().is_err(), "something is left");
        (api.connection_close)(other);
    }
    told.recv_timeout(PATIENCE).unwrap();
    // Neither without somebody to tell, nor twice.
    unsafe { (api.registration_close2)(registration, Some(on_closed), context) };
    let left = self::registration();
    unsafe {
        (api.registration_close2)(left, None, context);
        (api.registration_close)(left);
    }
    assert!(told.try_recv().is_err());
    assert!(heard.is_silent() || program.words().iter().all(|word| word.starts_with("SHUTDOWN_COMPLETE")));
}

/// The peer says that it wants more streams; the application permits them while the connection runs.
#[test]
fn a_peer_that_needs_streams_is_given_some() {
    let few = Settings { peer_bidi_stream_count: 1, peer_unidi_stream_count: 1, ..settings() };
    for (direction, bidirectional) in [(0, 1), (stream_open::UNIDIRECTIONAL, 0)] {
        let stage = stage_with(&few, move |_, event| {
            if let Event::Connection(handle, event) = event
                && event.event_type == connection_event::PEER_NEEDS_STREAMS
                && unsafe { event.body.peer_needs_streams } == bidirectional
            {
                let more = Settings {
                    is_set: is_set::PEER_BIDI_STREAM_COUNT | is_set::PEER_UNIDI_STREAM_COUNT,
                    peer_bidi_stream_count: 2,
                    peer_unidi_stream_count: 2,
                    ..Settings::default()
                };
                assert_eq!(set(*handle, param::CONN_SETTINGS, more), Status::SUCCESS);
            }
            None
        });
        let (program, heard) = quiet();
        let connection = stage.connect(program, &heard);
        let streams = [0, 1].map(|_| open_stream(connection, direction, program));
        for stream in streams {
            let flags = stream_start::IMMEDIATE | stream_start::INDICATE_PEER_ACCEPT;
            assert_eq!(unsafe { (api().stream_start)(stream, flags) }, Status::PENDING);
            heard.wait_for("START_COMPLETE SUCCESS");
        }
        stage.heard.wait_for(&format!("PEER_NEEDS_STREAMS {bidirectional}"));
        assert_eq!(heard.wait_for("PEER_ACCEPTED").handle, streams[1].0 as usize);
        for stream in streams {
            unsafe { (api().stream_close)(stream) };
        }
        unsafe { (api().connection_close)(connection) };
    }
}

/// Also in a callback a stream comes too late after a shutdown; and of one that was started before, the end is told.
#[test]
fn in_a_callback_no_stream_follows_a_shutdown() {
    let stage = stage_with(&settings(), |_, _| None);
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let (program, heard) = Program::new(move |program, event| {
        if let Event::Connection(connection, event) = event
            && event.event_type == connection_event::CONNECTED
        {
            let stream = open_stream(connection, 0, program);
            assert_eq!(unsafe { (api().stream_start)(stream, 0) }, Status::PENDING);
            unsafe { (api().connection_shutdown)(connection, 0, 0) };
            let (context, mut late) = (program.context(), Handle::NULL);
            let opened = unsafe { (api().stream_open)(connection, 0, Some(on_stream), context, &mut late) };
            tell.lock().unwrap().send((stream.0 as usize, opened)).unwrap();
        }
        Status::SUCCESS
    });
    let connection = open_connection(stage.registration, program);
    start(connection, stage.client, stage.port);
    let (stream, late) = told.recv().unwrap();
    assert_eq!(late, Status::INVALID_STATE);
    assert_eq!(heard.wait_for("SHUTDOWN_COMPLETE").handle, stream);
    assert_eq!(heard.wait_for("SHUTDOWN_COMPLETE").handle, connection.0 as usize);
    unsafe {
        (api().stream_close)(Handle(std::ptr::without_provenance_mut(stream)));
        (api().connection_close)(connection);
    }
}

/// What is told of the attempts that failed is not taken for the stream's, however often it is tried, and from where.
#[test]
fn a_stream_that_could_not_start_is_as_it_was() {
    let few = Settings { peer_bidi_stream_count: 1, ..settings() };
    let stage = stage_with(&few, |_, _| None);
    let tried = AtomicUsize::new(0);
    let (program, heard) = Program::new(move |_, event| {
        if let Event::Stream(stream, event) = event
            && event.event_type == stream_event::START_COMPLETE
            && unsafe { event.body.start_complete.status } == Status::STREAM_LIMIT_REACHED
        {
            // At last it waits.
            let last = tried.fetch_add(1, Ordering::Relaxed) == 70;
            let flags = if last { stream_start::IMMEDIATE } else { stream_start::FAIL_BLOCKED };
            assert_eq!(unsafe { (api().stream_start)(stream, flags) }, Status::PENDING);
        }
        Status::SUCCESS
    });
    let connection = stage.connect(program, &heard);
    let streams = [0, 1].map(|_| open_stream(connection, 0, program));
    assert_eq!(unsafe { (api().stream_start)(streams[0], stream_start::IMMEDIATE) }, Status::PENDING);
    heard.wait_for("START_COMPLETE SUCCESS");
    assert_eq!(unsafe { (api().stream_start)(streams[1], stream_start::FAIL_BLOCKED) }, Status::PENDING);
    assert_eq!(heard.wait_for("START_COMPLETE SUCCESS").handle, streams[1].0 as usize);
    for stream in streams {
        assert!(!program.words().iter().any(|word| *word == "SEND_SHUTDOWN_COMPLETE 0"));
        assert_eq!(send(stream, b"x", send::FIN, 0), Status::PENDING);
        assert_eq!(heard.wait_for("SHUTDOWN_COMPLETE").handle, stream.0 as usize);
    }
    let failed = program.words().iter().filter(|word| *word == "START_COMPLETE STREAM_LIMIT_REACHED").count();
    assert_eq!(failed, 71);
    unsafe {
        for stream in streams {
            (api().stream_close)(stream);
        }
        (api().connection_close)(connection);
    }
}

/// A stream that is over counts until its handle is closed, if the application wants that.
#[test]
fn the_peers_next_stream_may_wait_for_the_handle_of_the_last() {
    let few = Settings { peer_bidi_stream_count: 1, ..settings() };
    let kept = AtomicBool::new(false);
    let stage = stage_with(&few, move |program, event| match event {
        Event::Connection(_, event) if event.event_type == connection_event::PEER_STREAM_STARTED => {
            let started = unsafe { &mut event.body.peer_stream_started };
            if started.flags & stream_open::UNIDIRECTIONAL == 0 {
                started.flags |= stream_open::DELAY_ID_FC_UPDATES;
            }
            None
        }
        // The first is closed by the test.
        Event::Stream(handle, event)
            if event.event_type == stream_event::SHUTDOWN_COMPLETE && !kept.swap(true, Ordering::Relaxed) =>
        {
            program.say(*handle, "OVER");
            Some(Status::SUCCESS)
        }
        _ => None,
    });
    let (program, heard) = quiet();
    let connection = stage.connect(program, &heard);
    let streams = [0, 1].map(|_| open_stream(connection, 0, program));
    assert_eq!(send(streams[0], b"x", send::START | send::FIN, 0), Status::PENDING);
    heard.wait_for("SHUTDOWN_COMPLETE 0 0");
    let over = stage.heard.wait_for("OVER").handle;
    let flags = stream_start::IMMEDIATE | stream_start::INDICATE_PEER_ACCEPT;
    assert_eq!(unsafe { (api().stream_start)(streams[1], flags) }, Status::PENDING);
    stage.heard.wait_for("PEER_NEEDS_STREAMS 1");
    // There and back, by a stream of another kind.
    let other = open_stream(connection, stream_open::UNIDIRECTIONAL, program);
    assert_eq!(send(other, b"x", send::START | send::FIN, 0), Status::PENDING);
    heard.wait_for("SHUTDOWN_COMPLETE 0 0");
    assert!(!program.words().iter().any(|word| word == "PEER_ACCEPTED"));
    unsafe { (api().stream_close)(Handle(std::ptr::without_provenance_mut(over))) };
    assert_eq!(heard.wait_for("PEER_ACCEPTED").handle, streams[1].0 as usize);
    unsafe {
        for stream in [streams[0], streams[1], other] {
            (api().stream_close)(stream);
        }
        (api().connection_close)(connection);
    }
}

/// What a connection hears of where it is: the server's, as soon as it is taken on.
#[test]
fn the_processor_is_told_and_can_be_chosen() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let to = told.clone();
    let stage = stage_with(&settings(), move |_, event| {
        if let Event::Connection(handle, event) = event
            && event.event_type == connection_event::IDEAL_PROCESSOR_CHANGED
        {
            let event = unsafe { event.body.ideal_processor_changed };
            let found: u16 = get(*handle, param::CONN_IDEAL_PROCESSOR).unwrap();
            to.lock().unwrap().push((event.ideal_processor, event.partition_index, found));
        }
        None
    });
    let processors = std::thread::available_parallelism().unwrap().get() as u16;
    let (program, heard) = quiet();
    let open = api().connection_open_in_partition;
    let mut connection = Handle::NULL;
    let opened = unsafe { open(stage.registration, 1000, Some(on_connection), program.context(), &mut connection) };
    assert_eq!(opened, Status::INVALID_PARAMETER);
    for partition in 0..processors {
        let opened =
            unsafe { open(stage.registration, partition, Some(on_connection), program.context(), &mut connection) };
        assert_eq!(opened, Status::SUCCESS);
        start(connection, stage.client, stage.port);
        heard.wait_for("CONNECTED");
        if !is_other() {
            // There the network may have moved it.
            assert_eq!(get::<u16>(connection, param::CONN_IDEAL_PROCESSOR), Ok(partition));
        }
        let words = stage.heard.until("CONNECTED");
        assert!(words.iter().any(|word| word.what == "IDEAL_PROCESSOR_CHANGED"), "{words:?}");
        unsafe { (api().connection_close)(connection) };
    }
    for (ideal, partition, found) in told.lock().unwrap().iter() {
        assert!(*ideal < processors && *partition < processors && ideal == found);
    }
}

#[test]
fn how_the_network_does_is_told_to_who_asks() {
    let settings = Settings {
        is_set: settings().is_set | is_set::NET_STATS_EVENT_ENABLED,
        flags: flags::NET_STATS_EVENT_ENABLED,
        ..settings()
    };
    let stage = stage();
    let client = client_configuration_with(stage.registration, &settings);
    let told = Arc::new(Mutex::new(Vec::new()));
    let to = told.clone();
    let (program, heard) = Program::new(move |_, event| {
        if let Event::Connection(_, event) = event
            && event.event_type == connection_event::NETWORK_STATISTICS
        {
            to.lock().unwrap().push(unsafe { event.body.network_statistics });
        }
        Status::SUCCESS
    });
    let connection = open_connection(stage.registration, program);
    start(connection, client, stage.port);
    heard.wait_for("CONNECTED");
    let stream = open_stream(connection, 0, program);
    assert_eq!(send(stream, &[7; 200_000], send::START | send::FIN, 0), Status::PENDING);
    heard.wait_for("SHUTDOWN_COMPLETE 0 0");
    let told = told.lock().unwrap().clone();
    assert!(told.len() > 2, "{told:?}");
    assert!(told.iter().all(|stats| stats.smoothed_rtt > 0 && stats.congestion_window > 1000), "{told:?}");
    assert!(told.iter().any(|stats| stats.posted_bytes > 0 && stats.ideal_bytes > 0), "{told:?}");
    // Who did not ask hears nothing, until it asks.
    let (quiet, silent) = quiet();
    let other = stage.connect(quiet, &silent);
    let echo = |stream, words: &Heard| {
        assert_eq!(send(stream, b"x", send::START | send::FIN, 0), Status::PENDING);
        words.until("SHUTDOWN_COMPLETE 0 0")
    };
    let streams = [0, 1].map(|_| open_stream(other, 0, quiet));
    let words = echo(streams[0], &silent);
    assert!(!words.iter().any(|word| word.what == "NETWORK_STATISTICS"), "{words:?}");
    assert_eq!(set(other, param::CONN_SETTINGS, settings), Status::SUCCESS);
    let words = echo(streams[1], &silent);
    assert!(words.iter().any(|word| word.what == "NETWORK_STATISTICS"), "{words:?}");
    unsafe {
        for stream in [stream, streams[0], streams[1]] {
            (api().stream_close)(stream);
        }
        (api().connection_close)(connection);
        (api().connection_close)(other);
        (api().configuration_close)(client);
    }
}

/// Silence is borne for less time than at the start, but where it is broken.
#[test]
fn settings_change_while_a_connection_runs() {
    let stage = stage();
    let (program, heard) = quiet();
    let idle = Settings { is_set: is_set::IDLE_TIMEOUT_MS, idle_timeout_ms: 1000, ..Settings::default() };
    let alive = Settings {
        is_set: is_set::IDLE_TIMEOUT_MS | is_set::KEEP_ALIVE_INTERVAL_MS,
        keep_alive_interval_ms: 200,
        ..idle
    };
    let (kept, words) = quiet();
    let lasting = stage.connect(kept, &words);
    let ending = stage.connect(program, &heard);
    for (connection, settings) in [(lasting, alive), (ending, idle)] {
        assert_eq!(set(connection, param::CONN_SETTINGS, settings), Status::SUCCESS);
        let held: Settings = get(connection, param::CONN_SETTINGS).unwrap();
        assert_eq!((held.idle_timeout_ms, held.keep_alive_interval_ms), (1000, settings.keep_alive_interval_ms));
        // MsQuic looks at it when something comes.
        let stream = open_stream(connection, 0, if connection == lasting { kept } else { program });
        assert_eq!(send(stream, b"x", send::START | send::FIN, 0), Status::PENDING);
        let heard = if connection == lasting { &words } else { &heard };
        heard.wait_for("SHUTDOWN_COMPLETE 0 0");
        unsafe { (api().stream_close)(stream) };
    }
    heard.wait_for("SHUTDOWN_INITIATED_BY_TRANSPORT CONNECTION_IDLE");
    heard.wait_for("SHUTDOWN_COMPLETE 1");
    // The other one has borne as much.
    eprintln!("{:?} {:?}", kept.words(), program.words());
    let stream = open_stream(lasting, 0, kept);
    assert_eq!(send(stream, b"x", send::START | send::FIN, 0), Status::PENDING);
    words.wait_for("SHUTDOWN_COMPLETE 0 0");
    // What the first packets were made with stays.
    for wrong in [
        Settings { is_set: is_set::MINIMUM_MTU, minimum_mtu: 1300, ..Settings::default() },
        Settings { is_set: is_set::MAXIMUM_MTU, maximum_mtu: 1400, ..Settings::default() },
        Settings { is_set: is_set::ECN_ENABLED, bits: 1 << 7, ..Settings::default() },
        Settings { is_set: is_set::MAX_ACK_DELAY_MS, max_ack_delay_ms: 1 << 14, ..Settings::default() },
    ] {
        assert_eq!(set(lasting, param::CONN_SETTINGS, wrong), Status::INVALID_PARAMETER, "{wrong:?}");
    }
    unsafe {
        (api().stream_close)(stream);
        (api().connection_close)(lasting);
        (api().connection_close)(ending);
    }
}

#[test]
fn a_new_connection_shows_its_client_hello() {
    let hello = Collected::default();
    let to = hello.clone();
    let stage = stage_with(&settings(), move |_, event| {
        if let Event::Listener(_, event) = event
            && event.event_type == listener_event::NEW_CONNECTION
        {
            let info = unsafe { &*event.body.new_connection.info };
            let bytes = unsafe { std::slice::from_raw_parts(info.crypto_buffer, info.crypto_buffer_length as usize) };
            to.lock().unwrap().extend(bytes);
        }
        None
    });
    let (program, heard) = quiet();
    let connection = stage.connect(program, &heard);
    let hello = hello.lock().unwrap().clone();
    // RFC 8446 section 4: the type, three bytes of length, and the message.
    let [1, a, b, c, body @ ..] = hello.as_slice() else { panic!("{hello:?}") };
    assert_eq!(u32::from_be_bytes([0, *a, *b, *c]) as usize, body.len());
    for part in [b"localhost".as_slice(), b"\x04test"] {
        assert!(body.windows(part.len()).any(|bytes| bytes == part));
    }
    unsafe { (api().connection_close)(connection) };
}

#[test]
fn versions_are_given_back_as_lists() {
    let stage = stage();
    let connection = {
        let (program, _heard) = quiet();
        open_connection(stage.registration, program)
    };
    let (acceptable, offered, deployed) = ([1u32, 0x6b33_43cf], [0x6b33_43cfu32], [1u32]);
    let settings = VersionSettings {
        acceptable_versions: acceptable.as_ptr(),
        offered_versions: offered.as_ptr(),
        fully_deployed_versions: deployed.as_ptr(),
        acceptable_versions_length: 2,
        offered_versions_length: 1,
        fully_deployed_versions_length: 1,
    };
    let unknown = [2u32];
    let wrong = VersionSettings { offered_versions: unknown.as_ptr(), ..settings };
    for (handle, parameter) in
        [(stage.client, param::CONFIGURATION_VERSION_SETTINGS), (connection, param::CONN_VERSION_SETTINGS)]
    {
        assert_eq!(set(handle, parameter, wrong), Status::INVALID_PARAMETER);
        assert_eq!(set(handle, parameter, settings), Status::SUCCESS);
        let mut room = [0u64; 8];
        let mut len = 40;
        let read = |room: &mut [u64; 8], len: &mut u32| unsafe {
            (api().get_param)(handle, parameter, len, room.as_mut_ptr().cast())
        };
        assert_eq!((read(&mut room, &mut len), len), (Status::BUFFER_TOO_SMALL, 56));
        assert_eq!(read(&mut room, &mut len), Status::SUCCESS);
        let found = unsafe { room.as_ptr().cast::<VersionSettings>().read() };
        let list = |at: *const u32, len| unsafe { std::slice::from_raw_parts(at, len as usize) }.to_vec();
        // As they go over the network.
        let swapped = |list: &[u32]| list.iter().map(|version| version.swap_bytes()).collect::<Vec<_>>();
        assert_eq!(list(found.acceptable_versions, found.acceptable_versions_length), swapped(&acceptable));
        assert_eq!(list(found.offered_versions, found.offered_versions_length), swapped(&offered));
        assert_eq!(list(found.fully_deployed_versions, found.fully_deployed_versions_length), swapped(&deployed));
    }
    unsafe { (api().connection_close)(connection) };
}

/// Both ends write the same secrets, and what each is for.
#[test]
fn secrets_of_tls_are_written_where_the_application_wants_them() {
    let empty = || -> &'static mut TlsSecrets { Box::leak(Box::new(unsafe { std::mem::zeroed() })) };
    let of_server = std::ptr::from_mut(empty()) as usize;
    let stage = stage_with(&settings(), move |_, event| {
        if let Event::Listener(_, event) = event
            && event.event_type == listener_event::NEW_CONNECTION
        {
            let connection = unsafe { event.body.new_connection.connection };
            let len = size_of::<TlsSecrets>() as u32;
            let set =
                unsafe { (api().set_param)(connection, param::CONN_TLS_SECRETS, len, of_server as *const c_void) };
            assert_eq!(set, Status::SUCCESS);
        }
        None
    });
    let (program, heard) = quiet();
    let connection = open_connection(stage.registration, program);
    let of_client = std::ptr::from_mut(empty());
    let set = |len| unsafe { (api().set_param)(connection, param::CONN_TLS_SECRETS, len, of_client.cast()) };
    let len = size_of::<TlsSecrets>() as u32;
    assert_eq!(set(len - 1), Status::INVALID_PARAMETER);
    assert_eq!(set(len), Status::SUCCESS);
    start(connection, stage.client, stage.port);
    heard.wait_for("CONNECTED");
    stage.heard.wait_for("CONNECTED");
    assert_eq!(set(len), Status::INVALID_STATE);
    let (client, server) = unsafe { (of_client.read(), (of_server as *const TlsSecrets).read()) };
    let secrets = |of: &TlsSecrets| {
        [
            of.client_handshake_traffic_secret,
            of.server_handshake_traffic_secret,
            of.client_traffic_secret0,
            of.server_traffic_secret0,
        ]
    };
    for side in [&client, &server] {
        // The client's random, and all but the secret of early data, which was not sent.
        assert_eq!(side.is_set, 0b11_1101);
        assert!([32, 48].contains(&side.secret_length) && side.client_random != [0; 32]);
        let found = secrets(side);
        assert!(found.iter().all(|secret| secret[..32] != [0; 32]));
        assert!(found[0] != found[1] && found[2] != found[3] && found[0] != found[2]);
    }
    assert!(secrets(&client) == secrets(&server) && client.client_random == server.client_random);
    unsafe { (api().connection_close)(connection) };
}

/// RFC 5705: both ends make the same of a label and a context, and something else of others. (It is newer than MsQuic
/// 2.5.)
#[test]
fn keying_material_is_exported_alike_at_both_ends() {
    if is_other() {
        return;
    }
    fn export(connection: Handle, label: &std::ffi::CStr, context: &[u8], len: u32) -> Result<Vec<u8>, Status> {
        let config = KeyingMaterialConfig {
            label: label.as_ptr(),
            context_length: context.len() as u32,
            context: context.as_ptr(),
            output_length: len,
        };
        let mut out = vec![0; len as usize];
        match unsafe { (api().connection_export_keying_material)(connection, &config, out.as_mut_ptr()) } {
            Status::SUCCESS => Ok(out),
            status => Err(status),
        }
    }
    let of_server = Collected::default();
    let to = of_server.clone();
    let stage = stage_with(&settings(), move |program, event| {
        if let Event::Connection(handle, event) = event
            && event.event_type == connection_event::CONNECTED
        {
            to.lock().unwrap().extend(export(*handle, c"EXPORTER-test", b"context", 48).unwrap());
            program.say(*handle, "EXPORTED");
        }
        None
    });
    let (program, heard) = quiet();
    let connection = open_connection(stage.registration, program);
    assert_eq!(export(connection, c"EXPORTER-test", b"", 32), Err(Status::INVALID_STATE));
    start(connection, stage.client, stage.port);
    heard.wait_for("CONNECTED");
    stage.heard.wait_for("EXPORTED");
    let material = export(connection, c"EXPORTER-test", b"context", 48).unwrap();
    assert_eq!(*of_server.lock().unwrap(), material);
    assert_ne!(export(connection, c"EXPORTER-test", b"other", 48).unwrap(), material);
    assert_ne!(export(connection, c"EXPORTER-other", b"context", 48).unwrap(), material);
    assert_eq!(export(connection, c"EXPORTER-test", b"context", 0), Err(Status::INVALID_PARAMETER));
    let config = KeyingMaterialConfig {
        label: std::ptr::null(),
        context_length: 0,
        context: std::ptr::null(),
        output_length: 1,
    };
    let (mut out, export) = ([0; 1], api().connection_export_keying_material);
    unsafe {
        assert_eq!(export(connection, &config, out.as_mut_ptr()), Status::INVALID_PARAMETER);
        assert_eq!(export(connection, std::ptr::null(), out.as_mut_ptr()), Status::INVALID_PARAMETER);
        let config = KeyingMaterialConfig { label: c"EXPORTER-test".as_ptr(), ..config };
        assert_eq!(export(connection, &config, std::ptr::null_mut()), Status::INVALID_PARAMETER);
        let config = KeyingMaterialConfig { context_length: 1, ..config };
        assert_eq!(export(connection, &config, out.as_mut_ptr()), Status::INVALID_PARAMETER);
        (api().connection_close)(connection);
    }
}

/// What was sent before a reset is delivered all the same, if the two ends have agreed on that.
#[test]
fn a_reliable_reset_delivers_what_it_promised() {
    let settings = Settings {
        is_set: settings().is_set | is_set::RELIABLE_RESET_ENABLED,
        flags: flags::RELIABLE_RESET_ENABLED,
        ..settings()
    };
    let stage = stage_with(&settings, |_, event| match event {
        // Nothing is sent back.
        Event::Stream(_, event) if event.event_type == stream_event::RECEIVE => Some(Status::SUCCESS),
        _ => None,
    });
    let (program, heard) = quiet();
    let connection = open_connection(stage.registration, program);
    start(connection, stage.client, stage.port);
    let words = heard.until("CONNECTED");
    assert!(words.iter().any(|word| word.what == "RELIABLE_RESET_NEGOTIATED 1"), "{words:?}");
    let stream = open_stream(connection, stream_open::UNIDIRECTIONAL, program);
    assert_eq!(get::<u64>(stream, param::STREAM_RELIABLE_OFFSET), Err(Status::INVALID_STATE));
    assert_eq!(send(stream, &[7; 5000], send::START, 0), Status::PENDING);
    assert_eq!(set(stream, param::STREAM_RELIABLE_OFFSET, 5000u64), Status::SUCCESS);
    assert_eq!(get::<u64>(stream, param::STREAM_RELIABLE_OFFSET), Ok(5000));
    // More than fits into the peer's window: this is given up.
    assert_eq!(send(stream, &[8; 1 << 20], 0, 1), Status::PENDING);
    unsafe {
        let reset = (api().stream_shutdown)(stream, stream_shutdown::ABORT_SEND, 9);
        assert_eq!(reset, Status::PENDING);
    }
    let words = stage.heard.until("PEER_SEND_ABORTED 9");
    let came =
        words.iter().filter_map(|word| word.what.strip_prefix("RECEIVE ")?.split_once(' ')?.1.parse::<u64>().ok());
    assert!((5000..1 << 20).contains(&came.sum::<u64>()), "{words:?}");
    heard.wait_for("SEND_COMPLETE 1 1");
    unsafe {
        (api().stream_close)(stream);
        (api().connection_close)(connection);
    }
    // A peer that has not agreed to it.
    let other = self::stage();
    let connection = open_connection(stage.registration, program);
    start(connection, stage.client, other.port);
    let words = heard.until("CONNECTED");
    assert!(words.iter().any(|word| word.what == "RELIABLE_RESET_NEGOTIATED 0"), "{words:?}");
    unsafe { (api().connection_close)(connection) };
}
