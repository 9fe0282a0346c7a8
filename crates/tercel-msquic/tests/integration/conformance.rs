//! What each function answers to arguments that make no sense and in states that do not fit. The same runs against
//! another library (`TERCEL_MSQUIC_LIBRARY`); where that answers otherwise, [`differs`] says so and why.

use std::ffi::c_void;

use crate::support::*;
use tercel_msquic::abi::settings::is_set;
use tercel_msquic::abi::*;

const NOBODY: *mut c_void = std::ptr::null_mut();

/// A status that is not the other library's: its programs cannot rely on it.
#[track_caller]
fn differs(found: Status, ours: Status, theirs: Status) {
    assert_eq!(found, if is_other() { theirs } else { ours });
}

/// Handles that name nothing. (MsQuic follows them, so it is not asked.)
fn wrong_handles() -> Vec<Handle> {
    let made_up = [1usize, 2, 0x1000, usize::MAX, 1 << 30, (1 << 62) - 1];
    made_up.into_iter().map(|bits| Handle(std::ptr::without_provenance_mut(bits))).collect()
}

#[test]
fn versions_and_tables() {
    let mut table = std::ptr::null();
    for version in [0, 1, 3, u32::MAX] {
        assert_eq!(unsafe { open_version()(version, &mut table) }, Status::NOT_SUPPORTED);
    }
    assert!(table.is_null());
    assert_eq!(unsafe { open_version()(2, std::ptr::null_mut()) }, Status::INVALID_PARAMETER);
    if !is_other() {
        unsafe {
            tercel_msquic::MsQuicClose(std::ptr::null());
            tercel_msquic::MsQuicClose((&raw const table).cast());
        }
    }
}

#[test]
fn stale_null_and_wrong_handles_are_told_from_good_ones() {
    if is_other() {
        return;
    }
    let stage = stage();
    let (program, heard) = quiet();
    let connection = stage.connect(program, &heard);
    let stream = open_stream(connection, 0, program);
    let stale = {
        let stream = open_stream(connection, 0, program);
        unsafe { (api().stream_close)(stream) };
        stream
    };
    let api = api();
    let good = [stage.registration, stage.server, stage.listener, connection, stream];
    let nothing: Vec<Handle> = wrong_handles().into_iter().chain([Handle::NULL, stale]).collect();
    let all = || good.iter().chain(&nothing).copied();
    let mut out = Handle::NULL;
    let (alpn, data) = (buffer(ALPN), buffer(b"x"));
    unsafe {
        for handle in all().filter(|handle| *handle != stage.registration) {
            let opened = (api.configuration_open)(handle, &alpn, 1, std::ptr::null(), 0, NOBODY, &mut out);
            assert_eq!(opened, Status::INVALID_PARAMETER);
            assert_eq!((api.listener_open)(handle, Some(on_listener), NOBODY, &mut out), Status::INVALID_PARAMETER);
            assert_eq!((api.connection_open)(handle, Some(on_connection), NOBODY, &mut out), Status::INVALID_PARAMETER);
            (api.registration_shutdown)(handle, 0, 0);
            (api.registration_close)(handle);
        }
        for handle in all().filter(|handle| *handle != stage.server) {
            let none = credential(credential_type::NONE, credential_flags::CLIENT);
            assert_eq!((api.configuration_load_credential)(handle, &none), Status::INVALID_PARAMETER);
            assert_eq!((api.connection_set_configuration)(connection, handle), Status::INVALID_PARAMETER);
            (api.configuration_close)(if handle == stage.client { Handle::NULL } else { handle });
        }
        for handle in all().filter(|handle| *handle != stage.listener) {
            assert_eq!((api.listener_start)(handle, &alpn, 1, std::ptr::null()), Status::INVALID_PARAMETER);
            (api.listener_stop)(handle);
            (api.listener_close)(handle);
        }
        // A stream stands for its connection.
        for handle in all().filter(|handle| ![connection, stream].contains(handle)) {
            let started = (api.connection_start)(handle, stage.client, 0, c"localhost".as_ptr(), 1);
            assert_eq!(started, Status::INVALID_PARAMETER);
            assert_eq!((api.connection_set_configuration)(handle, stage.server), Status::INVALID_PARAMETER);
            let ticket = (api.connection_send_resumption_ticket)(handle, 0, 0, std::ptr::null());
            assert_eq!(ticket, Status::INVALID_PARAMETER);
            assert_eq!((api.stream_open)(handle, 0, Some(on_stream), NOBODY, &mut out), Status::INVALID_PARAMETER);
            assert_eq!((api.connection_resumption_ticket_validation_complete)(handle, 1), Status::INVALID_PARAMETER);
            assert_eq!((api.connection_certificate_validation_complete)(handle, 1, 0), Status::INVALID_PARAMETER);
            (api.connection_shutdown)(handle, 0, 0);
        }
        for handle in all().filter(|handle| *handle != connection) {
            assert_eq!((api.datagram_send)(handle, &data, 1, 0, NOBODY), Status::INVALID_PARAMETER);
            (api.connection_close)(handle);
        }
        for handle in all().filter(|handle| *handle != stream) {
            assert_eq!((api.stream_start)(handle, 0), Status::INVALID_PARAMETER);
            assert_eq!((api.stream_shutdown)(handle, stream_shutdown::ABORT, 0), Status::INVALID_PARAMETER);
            assert_eq!((api.stream_send)(handle, &data, 1, 0, NOBODY), Status::INVALID_PARAMETER);
            assert_eq!((api.stream_receive_set_enabled)(handle, 1), Status::INVALID_PARAMETER);
            (api.stream_receive_complete)(handle, 1);
            (api.stream_close)(handle);
        }
        for handle in nothing {
            (api.set_context)(handle, std::ptr::without_provenance_mut(1));
            (api.set_callback_handler)(handle, on_stream as *mut c_void, NOBODY);
            assert!((api.get_context)(handle).is_null());
        }
        // What was not closed is as it was.
        assert_eq!((api.get_context)(stream), program.context());
        (api.stream_close)(stream);
        (api.connection_close)(connection);
    }
}

#[test]
fn arguments_that_make_no_sense() {
    let registration = registration();
    let api = api();
    let mut out = Handle::NULL;
    unsafe {
        assert_eq!((api.registration_open)(std::ptr::null(), std::ptr::null_mut()), Status::INVALID_PARAMETER);
        let alpn = buffer(ALPN);
        let (empty, long) = (buffer(b""), buffer(&[7; 256]));
        let many: Vec<Buffer> = (0..257).map(|_| buffer(&[7; 255])).collect();
        for (list, count) in [
            (std::ptr::null(), 1),
            (&raw const alpn, 0),
            (&raw const empty, 1),
            (&raw const long, 1),
            (many.as_ptr(), 257),
        ] {
            let opened = (api.configuration_open)(registration, list, count, std::ptr::null(), 0, NOBODY, &mut out);
            assert_eq!(opened, Status::INVALID_PARAMETER);
        }
        let opened =
            (api.configuration_open)(registration, &alpn, 1, std::ptr::null(), 0, NOBODY, std::ptr::null_mut());
        assert_eq!(opened, Status::INVALID_PARAMETER);
        for wrong in [
            Settings { is_set: is_set::INITIAL_RTT_MS, ..Settings::default() },
            Settings {
                is_set: is_set::STREAM_RECV_WINDOW_DEFAULT,
                stream_recv_window_default: 3,
                ..Settings::default()
            },
            Settings { is_set: is_set::MAX_ACK_DELAY_MS, max_ack_delay_ms: 1 << 14, ..Settings::default() },
            Settings { is_set: is_set::DISCONNECT_TIMEOUT_MS, ..Settings::default() },
            Settings { is_set: is_set::IDLE_TIMEOUT_MS, idle_timeout_ms: 1 << 62, ..Settings::default() },
        ] {
            let size = size_of::<Settings>() as u32;
            let opened = (api.configuration_open)(registration, &alpn, 1, &wrong, size, NOBODY, &mut out);
            assert_eq!(opened, Status::INVALID_PARAMETER, "{wrong:?}");
        }
        let old = (api.configuration_open)(registration, &alpn, 1, &settings(), 100, NOBODY, &mut out);
        assert_eq!(old, Status::INVALID_PARAMETER);

        assert_eq!((api.listener_open)(registration, None, NOBODY, &mut out), Status::INVALID_PARAMETER);
        let opened = (api.listener_open)(registration, Some(on_listener), NOBODY, std::ptr::null_mut());
        assert_eq!(opened, Status::INVALID_PARAMETER);
        assert_eq!((api.connection_open)(registration, None, NOBODY, &mut out), Status::INVALID_PARAMETER);
        let opened = (api.connection_open)(registration, Some(on_connection), NOBODY, std::ptr::null_mut());
        assert_eq!(opened, Status::INVALID_PARAMETER);
        (api.registration_close)(registration);
    }
}

#[test]
fn credentials_that_cannot_be_loaded() {
    let registration = registration();
    let mut configuration = Handle::NULL;
    let alpn = buffer(ALPN);
    let api = api();
    let load = api.configuration_load_credential;
    unsafe {
        let opened = (api.configuration_open)(registration, &alpn, 1, std::ptr::null(), 0, NOBODY, &mut configuration);
        assert_eq!(opened, Status::SUCCESS);
        assert_eq!(load(configuration, std::ptr::null()), Status::INVALID_PARAMETER);
        // A server without a certificate; and what is of Windows only.
        assert_eq!(load(configuration, &credential(credential_type::NONE, 0)), Status::INVALID_PARAMETER);
        for kind in [
            credential_type::CERTIFICATE_HASH,
            credential_type::CERTIFICATE_HASH_STORE,
            credential_type::CERTIFICATE_CONTEXT,
        ] {
            assert!(load(configuration, &credential(kind, 0)).is_failure());
        }
        // Nobody to tell.
        let flags = credential_flags::CLIENT | credential_flags::LOAD_ASYNCHRONOUS;
        assert_eq!(load(configuration, &credential(credential_type::NONE, flags)), Status::INVALID_PARAMETER);
        let file = CertificateFile { private_key_file: c"/no/key".as_ptr(), certificate_file: c"/no/chain".as_ptr() };
        let mut config = credential(credential_type::CERTIFICATE_FILE, 0);
        config.certificate = CertificateSource { file: &file };
        assert_eq!(load(configuration, &config), Status::TLS_ERROR);
        // A connection needs a credential.
        let (program, _heard) = quiet();
        let connection = open_connection(registration, program);
        let started = (api.connection_start)(connection, configuration, 0, c"localhost".as_ptr(), 1);
        assert_eq!(started, Status::INVALID_PARAMETER);
        (api.connection_close)(connection);
        (api.configuration_close)(configuration);
        (api.registration_close)(registration);
    }
}

/// Every form of a server's credential that Linux has.
#[test]
fn credentials_in_every_form() {
    let registration = registration();
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/credentials");
    let chain = c_path(&directory.join("chain.pem"));
    let encrypted = c_path(&directory.join("encrypted.pem"));
    let wrong = c"wrong";
    let mut handles = Vec::new();
    for password in [c"secret", wrong] {
        let protected = CertificateFileProtected {
            private_key_file: encrypted.as_ptr(),
            certificate_file: chain.as_ptr(),
            private_key_password: password.as_ptr(),
        };
        let mut file = credential(credential_type::CERTIFICATE_FILE_PROTECTED, 0);
        file.certificate = CertificateSource { protected: &protected };
        let archives = ["archive.p12", "old.p12"].map(|name| std::fs::read(directory.join(name)).unwrap());
        let archives = archives.each_ref().map(|archive| CertificatePkcs12 {
            asn1_blob: archive.as_ptr(),
            asn1_blob_length: archive.len() as u32,
            private_key_password: password.as_ptr(),
        });
        let mut archive = credential(credential_type::CERTIFICATE_PKCS12, 0);
        archive.certificate = CertificateSource { pkcs12: &archives[0] };
        let mut old = credential(credential_type::CERTIFICATE_PKCS12, 0);
        old.certificate = CertificateSource { pkcs12: &archives[1] };
        // The old form needs what OpenSSL has turned off.
        let configs = if is_other() { vec![file, archive] } else { vec![file, archive, old] };
        for config in configs {
            if password == wrong {
                let mut configuration = Handle::NULL;
                let alpn = buffer(ALPN);
                unsafe {
                    let open = api().configuration_open;
                    open(registration, &alpn, 1, std::ptr::null(), 0, NOBODY, &mut configuration);
                    assert_eq!((api().configuration_load_credential)(configuration, &config), Status::TLS_ERROR);
                    (api().configuration_close)(configuration);
                }
            } else {
                handles.push(configuration(registration, &settings(), &config));
            }
        }
    }
    for server in handles {
        let (program, _heard) = echo(server);
        let (listener, port) = listen(registration, program);
        let client = client_configuration(registration);
        let (asking, asked) = quiet();
        let connection = open_connection(registration, asking);
        start(connection, client, port);
        asked.wait_for("CONNECTED 0");
        unsafe {
            (api().connection_close)(connection);
            (api().listener_close)(listener);
            (api().configuration_close)(client);
            (api().configuration_close)(server);
        }
    }
    unsafe {
        (api().registration_shutdown)(registration, 0, 0);
        (api().registration_close)(registration);
    }
}

#[test]
fn states_that_do_not_fit() {
    let stage = stage();
    let api = api();
    let (program, heard) = quiet();
    unsafe {
        // Listeners.
        let alpn = buffer(ALPN);
        assert_eq!((api.listener_start)(stage.listener, &alpn, 1, &loopback(0)), Status::INVALID_STATE);
        let mut rival = Handle::NULL;
        (api.listener_open)(stage.registration, Some(on_listener), program.context(), &mut rival);
        assert_eq!((api.listener_start)(rival, &alpn, 1, &loopback(stage.port)), Status::ALPN_IN_USE);
        let other = buffer(b"other");
        assert_eq!((api.listener_start)(rival, &other, 1, &loopback(stage.port)), Status::SUCCESS);
        (api.listener_stop)(rival);
        heard.wait_for("STOP_COMPLETE 0");
        assert_eq!((api.listener_start)(rival, &other, 1, &loopback(stage.port)), Status::SUCCESS);
        (api.listener_close)(rival);
        heard.wait_for("STOP_COMPLETE 1");

        // Connections that are not started.
        let connection = open_connection(stage.registration, program);
        let start = |family, name: *const _, port| (api.connection_start)(connection, stage.client, family, name, port);
        assert_eq!(start(77, c"localhost".as_ptr(), stage.port), Status::INVALID_PARAMETER);
        assert_eq!(start(0, std::ptr::null(), stage.port), Status::INVALID_PARAMETER);
        assert_eq!((api.connection_set_configuration)(connection, stage.server), Status::INVALID_PARAMETER);
        let ticket = (api.connection_send_resumption_ticket)(connection, 0, 0, std::ptr::null());
        assert_eq!(ticket, Status::INVALID_PARAMETER);
        assert_eq!((api.connection_resumption_ticket_validation_complete)(connection, 1), Status::INVALID_PARAMETER);
        assert_eq!(start(libc::AF_INET as u16, c"localhost".as_ptr(), stage.port), Status::PENDING);
        let again = start(libc::AF_INET as u16, c"localhost".as_ptr(), stage.port);
        // MsQuic takes it, and does nothing, until its worker has come to the first.
        assert!(again == Status::INVALID_STATE || is_other() && again == Status::PENDING, "{again:?}");
        heard.wait_for("CONNECTED");

        // Streams.
        let mut stream = Handle::NULL;
        assert_eq!((api.stream_open)(connection, 0, None, NOBODY, &mut stream), Status::INVALID_PARAMETER);
        let opened = (api.stream_open)(connection, 0, Some(on_stream), NOBODY, std::ptr::null_mut());
        assert_eq!(opened, Status::INVALID_PARAMETER);
        let stream = open_stream(connection, 0, program);
        assert_eq!((api.stream_start)(stream, 0), Status::PENDING);
        heard.wait_for("START_COMPLETE SUCCESS");
        assert_eq!((api.stream_start)(stream, 0), Status::INVALID_STATE);
        assert_eq!((api.stream_send)(stream, std::ptr::null(), 1, 0, NOBODY), Status::INVALID_PARAMETER);
        for (flags, code) in [
            (0, 0),
            (stream_shutdown::GRACEFUL | stream_shutdown::ABORT_SEND, 0),
            (stream_shutdown::GRACEFUL | stream_shutdown::IMMEDIATE, 0),
            (stream_shutdown::IMMEDIATE | stream_shutdown::ABORT_SEND, 0),
            (stream_shutdown::ABORT, 1 << 62),
        ] {
            assert_eq!((api.stream_shutdown)(stream, flags, code), Status::INVALID_PARAMETER, "{flags} {code}");
        }
        assert_eq!(send(stream, b"x", send::FIN, 0), Status::PENDING);
        heard.wait_for("SHUTDOWN_COMPLETE 0 0");
        assert_eq!(send(stream, b"x", 0, 0), Status::INVALID_STATE);

        // Datagrams.
        let data = buffer(b"x");
        assert_eq!((api.datagram_send)(connection, std::ptr::null(), 1, 0, NOBODY), Status::INVALID_PARAMETER);
        assert_eq!((api.datagram_send)(connection, &data, 0, 0, NOBODY), Status::INVALID_PARAMETER);
        let large = vec![0; 65_536];
        let large = buffer(&large);
        assert_eq!((api.datagram_send)(connection, &large, 1, 0, NOBODY), Status::INVALID_PARAMETER);

        // After the end.
        (api.connection_shutdown)(connection, 0, 0);
        heard.wait_for("SHUTDOWN_COMPLETE 1");
        let late = (api.stream_open)(connection, 0, Some(on_stream), NOBODY, &mut rival);
        assert_eq!(late, Status::INVALID_STATE);
        (api.stream_close)(stream);
        (api.connection_close)(connection);
    }
    assert!(heard.is_silent());
}

/// Each parameter that can be read, with room of each length.
#[test]
fn parameters_tell_how_much_room_they_need() {
    let stage = stage();
    let (program, heard) = quiet();
    let connection = stage.connect(program, &heard);
    let stream = open_stream(connection, 0, program);
    assert_eq!(send(stream, b"x", send::START, 0), Status::PENDING);
    heard.wait_for("RECEIVE");
    let get = |handle, parameter, room: Option<usize>, len: u32| {
        let (mut bytes, mut len) = (vec![0u8; room.unwrap_or(0)], len);
        let to = if room.is_some() { bytes.as_mut_ptr().cast() } else { NOBODY };
        let status = unsafe { (api().get_param)(handle, parameter, &mut len, to) };
        (status, len)
    };
    let none = Handle::NULL;
    for (handle, parameter, size) in [
        (none, param::GLOBAL_RETRY_MEMORY_PERCENT, 2),
        (none, param::GLOBAL_LOAD_BALANCING_MODE, 2),
        (none, param::GLOBAL_LIBRARY_VERSION, 16),
        (none, param::GLOBAL_TLS_PROVIDER, 4),
        (stage.listener, param::LISTENER_LOCAL_ADDRESS, 28),
        (stage.listener, param::LISTENER_STATS, 24),
        (stage.listener, param::DOS_MODE_EVENTS, 1),
        (connection, param::CONN_QUIC_VERSION, 4),
        (connection, param::CONN_LOCAL_ADDRESS, 28),
        (connection, param::CONN_REMOTE_ADDRESS, 28),
        (connection, param::CONN_IDEAL_PROCESSOR, 2),
        (connection, param::CONN_STATISTICS, 200),
        (connection, param::CONN_SHARE_UDP_BINDING, 1),
        (connection, param::CONN_LOCAL_BIDI_STREAM_COUNT, 2),
        (connection, param::CONN_LOCAL_UNIDI_STREAM_COUNT, 2),
        (connection, param::CONN_STREAM_SCHEDULING_SCHEME, 4),
        (connection, param::CONN_DATAGRAM_RECEIVE_ENABLED, 1),
        (connection, param::CONN_DATAGRAM_SEND_ENABLED, 1),
        (connection, param::TLS_NEGOTIATED_ALPN, 4),
        (stream, param::STREAM_ID, 8),
        (stream, param::STREAM_IDEAL_SEND_BUFFER_SIZE, 8),
        (stream, param::STREAM_PRIORITY, 2),
        (stream, param::STREAM_STATISTICS, 64),
    ] {
        if is_other() && parameter == param::TLS_NEGOTIATED_ALPN {
            // It wants a buffer even to say how large one.
            continue;
        }
        let named = format!("{parameter:#x}");
        assert_eq!(
            get(handle, parameter, Some(size - 1), size as u32 - 1),
            (Status::BUFFER_TOO_SMALL, size as u32),
            "{named}"
        );
        assert_eq!(get(handle, parameter, None, 0), (Status::BUFFER_TOO_SMALL, size as u32), "{named}");
        assert_eq!(get(handle, parameter, None, size as u32).0, Status::INVALID_PARAMETER, "{named}");
        assert_eq!(get(handle, parameter, Some(1000), 1000), (Status::SUCCESS, size as u32), "{named}");
        // Neither without its object, nor with one of another kind.
        let wrong = if handle == none { stage.listener } else { none };
        assert_eq!(get(wrong, parameter, Some(1000), 1000).0, Status::INVALID_PARAMETER, "{named}");
        let no_length = unsafe { (api().get_param)(handle, parameter, std::ptr::null_mut(), NOBODY) };
        assert_eq!(no_length, Status::INVALID_PARAMETER, "{named}");
    }
    // Structs that have grown.
    for (parameter, sizes, least, all) in [
        (param::CONN_STATISTICS_V2, vec![188, 196, 200, 208], 188, 208),
        (param::CONN_SETTINGS, vec![109, 144], 109, 144),
    ] {
        assert_eq!(get(connection, parameter, None, 0), (Status::BUFFER_TOO_SMALL, all));
        assert_eq!(get(connection, parameter, Some(200), least - 1), (Status::BUFFER_TOO_SMALL, least));
        for size in sizes {
            assert_eq!(get(connection, parameter, Some(300), size).0, Status::SUCCESS, "{parameter:#x} {size}");
        }
    }
    assert_eq!(get(none, param::GLOBAL_PERF_COUNTERS, None, 0), (Status::BUFFER_TOO_SMALL, 256));
    assert_eq!(get(none, param::GLOBAL_PERF_COUNTERS, Some(300), 20), (Status::SUCCESS, 16));
    // What there is none of.
    assert_eq!(get(connection, param::CONN_CLOSE_REASON_PHRASE, Some(9), 9).0, Status::NOT_FOUND);
    assert_eq!(get(stream, param::STREAM_RELIABLE_OFFSET, Some(9), 9).0, Status::INVALID_STATE);
    for (handle, parameter) in [
        (none, 0x0100_00ff),
        (stage.client, 0x0300_00ff),
        (stage.listener, 0x0400_00ff),
        (connection, 0x0500_00ff),
        (stream, 0x0800_00ff),
    ] {
        assert_eq!(get(handle, parameter, Some(99), 99).0, Status::INVALID_PARAMETER);
    }
    unsafe {
        (api().stream_close)(stream);
        (api().connection_close)(connection);
    }
}

#[test]
fn parameters_are_set_where_they_can_be() {
    let stage = stage();
    let (program, heard) = quiet();
    let before = open_connection(stage.registration, program);
    let after = stage.connect(program, &heard);
    let set = |handle, parameter, bytes: &[u8]| unsafe {
        (api().set_param)(handle, parameter, bytes.len() as u32, bytes.as_ptr().cast())
    };
    for (parameter, good, then) in [
        (param::CONN_SHARE_UDP_BINDING, &[1][..], Status::INVALID_STATE),
        (param::CONN_DATAGRAM_RECEIVE_ENABLED, &[1], Status::INVALID_STATE),
        (param::CONN_STREAM_SCHEDULING_SCHEME, &[1, 0, 0, 0], Status::SUCCESS),
        (param::CONN_CLOSE_REASON_PHRASE, b"enough\0", Status::SUCCESS),
    ] {
        let named = format!("{parameter:#x}");
        assert_eq!(set(before, parameter, good), Status::SUCCESS, "{named}");
        assert_eq!(set(after, parameter, good), then, "{named}");
        assert_eq!(set(before, parameter, &[1; 600]), Status::INVALID_PARAMETER, "{named}");
        assert_eq!(set(stage.listener, parameter, good), Status::INVALID_PARAMETER, "{named}");
        assert_eq!(set(Handle::NULL, parameter, good), Status::INVALID_PARAMETER, "{named}");
    }
    assert_eq!(set(before, param::CONN_CLOSE_REASON_PHRASE, b"no end"), Status::INVALID_PARAMETER);
    assert_eq!(set(before, param::CONN_STREAM_SCHEDULING_SCHEME, &[2, 0, 0, 0]), Status::INVALID_PARAMETER);
    assert_eq!(set(before, param::CONN_RESUMPTION_TICKET, &[]), Status::INVALID_PARAMETER);
    assert!(set(before, param::CONN_RESUMPTION_TICKET, b"no ticket").is_failure());
    assert_eq!(set(after, param::CONN_RESUMPTION_TICKET, b"no ticket"), Status::INVALID_STATE);
    differs(set(before, param::CONN_SEND_DSCP, &[1]), Status::NOT_SUPPORTED, Status::SUCCESS);
    assert_eq!(set(stage.server, param::CONFIGURATION_TICKET_KEYS, &[0; 80]), Status::INVALID_PARAMETER);
    let mut key = [7; 81];
    key[80] = 32;
    assert_eq!(set(stage.server, param::CONFIGURATION_TICKET_KEYS, &key), Status::SUCCESS);
    assert_eq!(set(stage.listener, param::DOS_MODE_EVENTS, &[1]), Status::SUCCESS);
    assert_eq!(set(stage.listener, param::DOS_MODE_EVENTS, &[1, 0]), Status::INVALID_PARAMETER);
    assert_eq!(set(Handle::NULL, param::GLOBAL_LOAD_BALANCING_MODE, &[1]), Status::INVALID_PARAMETER);
    assert_eq!(set(Handle::NULL, param::GLOBAL_STATELESS_RESET_KEY, &[1; 31]), Status::INVALID_PARAMETER);
    assert_eq!(set(Handle::NULL, param::GLOBAL_STATELESS_RESET_KEY, &[1; 32]), Status::SUCCESS);
    unsafe {
        (api().connection_close)(before);
        (api().connection_close)(after);
    }
}
