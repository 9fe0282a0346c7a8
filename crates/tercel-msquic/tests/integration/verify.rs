//! Certificates that the application judges, and sessions that go on.

use std::sync::{Arc, Mutex};

use crate::support::*;
use tercel_msquic::abi::*;

/// What a program does about the peer's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Yes,
    No,
    Later(bool),
    InCallback(bool),
}

/// The certificate and the chain, as they were shown.
type Shown = Arc<Mutex<Vec<Vec<u8>>>>;

/// Notes what is shown, and answers. `None`: it is another event.
fn judged(connection: Handle, event: &ConnectionEvent, answer: Answer, to: &Shown) -> Option<Status> {
    if event.event_type != connection_event::PEER_CERTIFICATE_RECEIVED {
        return None;
    }
    let told = unsafe { event.body.peer_certificate_received };
    for part in [told.certificate, told.chain] {
        let buffer = unsafe { *part.cast::<Buffer>() };
        let bytes = unsafe { std::slice::from_raw_parts(buffer.buffer, buffer.length as usize) };
        to.lock().unwrap().push(bytes.to_vec());
    }
    Some(match answer {
        Answer::Yes => Status::SUCCESS,
        Answer::No => Status::BAD_CERTIFICATE,
        Answer::Later(_) => Status::PENDING,
        Answer::InCallback(yes) => {
            let complete = api().connection_certificate_validation_complete;
            assert_eq!(unsafe { complete(connection, yes.into(), 45) }, Status::PENDING);
            Status::PENDING
        }
    })
}

fn judging(answer: Answer) -> (&'static Program, Heard, Shown) {
    let shown = Shown::default();
    let to = shown.clone();
    let (program, heard) = Program::new(move |_, event| {
        let Event::Connection(connection, event) = event else { return Status::SUCCESS };
        judged(connection, event, answer, &to).unwrap_or(Status::SUCCESS)
    });
    (program, heard, shown)
}

#[test]
fn the_application_judges_the_server_at_once_or_later() {
    let stage = stage();
    let flags = credential_flags::INDICATE_CERTIFICATE_RECEIVED
        | credential_flags::DEFER_CERTIFICATE_VALIDATION
        | credential_flags::USE_PORTABLE_CERTIFICATES;
    let client = trusting_configuration(stage.registration, flags);
    for answer in [
        Answer::Yes,
        Answer::No,
        Answer::Later(true),
        Answer::Later(false),
        Answer::InCallback(true),
        Answer::InCallback(false),
    ] {
        let (program, heard, shown) = judging(answer);
        let connection = open_connection(stage.registration, program);
        start(connection, client, stage.port);
        heard.wait_for("PEER_CERTIFICATE_RECEIVED SUCCESS");
        let complete = api().connection_certificate_validation_complete;
        let accepted = match answer {
            Answer::Yes => true,
            Answer::No => false,
            Answer::Later(yes) => {
                assert_eq!(unsafe { complete(connection, yes.into(), 45) }, Status::PENDING);
                yes
            }
            Answer::InCallback(yes) => yes,
        };
        match accepted {
            true => drop(heard.wait_for("CONNECTED 0")),
            false => {
                heard.wait_for("SHUTDOWN_INITIATED_BY_TRANSPORT");
                heard.wait_for("SHUTDOWN_COMPLETE 0");
            }
        }
        // Once is enough. (MsQuic takes it and does nothing.)
        assert_eq!(unsafe { complete(connection, 1, 0) } == Status::PENDING, is_other());
        let shown = shown.lock().unwrap();
        let der = &shown[0];
        assert!(shown[1].windows(der.len()).any(|part| part == der), "the chain holds the certificate");
        unsafe { (api().connection_close)(connection) };
    }
    unsafe { (api().configuration_close)(client) };
}

#[test]
fn a_server_that_is_not_trusted_is_left() {
    let stage = stage();
    let registration = stage.registration;
    let stranger = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("stranger.pem");
    std::fs::write(&file, stranger.cert.pem()).unwrap();
    let path = c_path(&file);
    let mut config =
        credential(credential_type::NONE, credential_flags::CLIENT | credential_flags::SET_CA_CERTIFICATE_FILE);
    config.ca_certificate_file = path.as_ptr();
    let client = configuration(registration, &settings(), &config);
    let (program, heard) = quiet();
    let connection = open_connection(registration, program);
    start(connection, client, stage.port);
    heard.wait_for("SHUTDOWN_INITIATED_BY_TRANSPORT Status");
    heard.wait_for("SHUTDOWN_COMPLETE 0");
    unsafe {
        (api().connection_close)(connection);
        (api().configuration_close)(client);
    }
}

/// What a server does about the client's certificate: the same answers, with validation of its own before the
/// application is asked, or with what that would say told beside.
#[test]
fn the_application_judges_the_client_at_once_or_later() {
    let registration = registration();
    let indicated = credential_flags::REQUIRE_CLIENT_AUTHENTICATION
        | credential_flags::INDICATE_CERTIFICATE_RECEIVED
        | credential_flags::USE_PORTABLE_CERTIFICATES;
    let client = client_with_certificate(registration);
    for (flags, says) in [
        (indicated | credential_flags::SET_CA_CERTIFICATE_FILE, "PEER_CERTIFICATE_RECEIVED SUCCESS"),
        (indicated | credential_flags::DEFER_CERTIFICATE_VALIDATION, "PEER_CERTIFICATE_RECEIVED "),
    ] {
        for answer in [
            Answer::Yes,
            Answer::No,
            Answer::Later(true),
            Answer::Later(false),
            Answer::InCallback(true),
            Answer::InCallback(false),
        ] {
            let shown = Shown::default();
            let to = shown.clone();
            let server = server_that_asks(registration, flags);
            let (program, heard) = echo_but(server, move |_, event| {
                let Event::Connection(connection, event) = event else { return None };
                judged(*connection, event, answer, &to)
            });
            let (listener, port) = listen(registration, program);
            let (asking, asked) = quiet();
            let connection = open_connection(registration, asking);
            start(connection, client, port);
            let word = heard.wait_for(says);
            let unknown_issuer = flags & credential_flags::DEFER_CERTIFICATE_VALIDATION != 0;
            assert_eq!(word.what.ends_with(" SUCCESS"), !unknown_issuer, "{}", word.what);
            let of_server = Handle(std::ptr::without_provenance_mut(word.handle));
            let complete = api().connection_certificate_validation_complete;
            let accepted = match answer {
                Answer::Yes => true,
                Answer::No => false,
                Answer::Later(yes) => {
                    assert!(!program.words().iter().any(|word| word.starts_with("CONNECTED")));
                    assert_eq!(unsafe { complete(of_server, yes.into(), 45) }, Status::PENDING);
                    yes
                }
                Answer::InCallback(yes) => yes,
            };
            if accepted {
                heard.wait_for("CONNECTED 0");
                asked.wait_for("CONNECTED 0");
                let stream = open_stream(connection, 0, asking);
                assert_eq!(send(stream, b"x", send::START | send::FIN, 0), Status::PENDING);
                asked.wait_for("SHUTDOWN_COMPLETE 0 0");
                unsafe { (api().stream_close)(stream) };
            } else {
                // The client may have been connected before it was judged.
                asked.wait_for("SHUTDOWN_INITIATED_BY_TRANSPORT");
                asked.wait_for("SHUTDOWN_COMPLETE");
                heard.wait_for("SHUTDOWN_COMPLETE 0");
                assert!(!program.words().iter().any(|word| word.starts_with("CONNECTED")));
            }
            let certificate = first_certificate(&certificate().chain);
            assert_eq!(shown.lock().unwrap()[0], certificate);
            unsafe {
                (api().connection_close)(connection);
                (api().listener_close)(listener);
                (api().configuration_close)(server);
            }
        }
    }
    unsafe {
        (api().configuration_close)(client);
        (api().registration_shutdown)(registration, 0, 0);
        (api().registration_close)(registration);
    }
}

/// A client that shows none is refused, and nobody is asked.
#[test]
fn a_client_without_a_certificate_is_refused() {
    let registration = registration();
    let flags = credential_flags::REQUIRE_CLIENT_AUTHENTICATION
        | credential_flags::INDICATE_CERTIFICATE_RECEIVED
        | credential_flags::USE_PORTABLE_CERTIFICATES
        | credential_flags::SET_CA_CERTIFICATE_FILE;
    let server = server_that_asks(registration, flags);
    let (program, heard) = echo(server);
    let (listener, port) = listen(registration, program);
    let client = client_configuration(registration);
    let (asking, asked) = quiet();
    let connection = open_connection(registration, asking);
    start(connection, client, port);
    asked.wait_for("SHUTDOWN_INITIATED_BY_TRANSPORT");
    asked.wait_for("SHUTDOWN_COMPLETE");
    heard.wait_for("SHUTDOWN_COMPLETE 0");
    let words = program.words();
    assert!(!words.iter().any(|word| word.starts_with("CONNECTED") || word.starts_with("PEER_CERT")), "{words:?}");
    unsafe {
        (api().connection_close)(connection);
        (api().listener_close)(listener);
        (api().registration_shutdown)(registration, 0, 0);
        (api().configuration_close)(server);
        (api().configuration_close)(client);
        (api().registration_close)(registration);
    }
}

/// A server with the certificate of the tests, which it trusts at clients, too, if `flags` say so.
fn server_that_asks(registration: Handle, flags: u32) -> Handle {
    let (chain, key) = (c_path(&certificate().chain), c_path(&certificate().key));
    let file = CertificateFile { private_key_file: key.as_ptr(), certificate_file: chain.as_ptr() };
    let mut config = credential(credential_type::CERTIFICATE_FILE, flags);
    config.certificate = CertificateSource { file: &file };
    if flags & credential_flags::SET_CA_CERTIFICATE_FILE != 0 {
        config.ca_certificate_file = chain.as_ptr();
    }
    configuration(registration, &settings(), &config)
}

/// A client that shows the certificate of the tests, and trusts everybody.
fn client_with_certificate(registration: Handle) -> Handle {
    let (chain, key) = (c_path(&certificate().chain), c_path(&certificate().key));
    let file = CertificateFile { private_key_file: key.as_ptr(), certificate_file: chain.as_ptr() };
    let flags = credential_flags::CLIENT | credential_flags::NO_CERTIFICATE_VALIDATION;
    let mut config = credential(credential_type::CERTIFICATE_FILE, flags);
    config.certificate = CertificateSource { file: &file };
    configuration(registration, &settings(), &config)
}

/// The first certificate of a file.
fn first_certificate(path: &std::path::Path) -> Vec<u8> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    CertificateDer::from_pem_file(path).unwrap().to_vec()
}

/// The server gives a ticket, the client comes back with it and with early data, and the server is asked what it makes
/// of it.
#[test]
fn a_session_goes_on_with_early_data() {
    let registration = registration();
    let server = server_configuration(registration);
    let tickets = Arc::new(Mutex::new(Vec::new()));
    let resumed: Collected = Arc::default();
    let seen = resumed.clone();
    let (program, heard) = Program::new(move |program, event| unsafe {
        match event {
            Event::Listener(_, event) if event.event_type == listener_event::NEW_CONNECTION => {
                let connection = event.body.new_connection.connection;
                (api().set_callback_handler)(connection, on_connection as *mut _, program.context());
                return (api().connection_set_configuration)(connection, server);
            }
            Event::Connection(handle, event) => match event.event_type {
                connection_event::CONNECTED => {
                    let sent = (api().connection_send_resumption_ticket)(handle, 0, 4, b"mine".as_ptr());
                    assert_eq!(sent, Status::SUCCESS);
                }
                connection_event::RESUMED => {
                    let state = event.body.resumed;
                    let len = usize::from(state.resumption_state_length);
                    seen.lock().unwrap().extend(std::slice::from_raw_parts(state.resumption_state, len));
                }
                connection_event::PEER_STREAM_STARTED => {
                    let stream = event.body.peer_stream_started.stream;
                    (api().set_callback_handler)(stream, on_stream as *mut _, program.context());
                }
                connection_event::SHUTDOWN_COMPLETE => (api().connection_close)(handle),
                _ => {}
            },
            Event::Stream(handle, event) if event.event_type == stream_event::SHUTDOWN_COMPLETE => {
                (api().stream_close)(handle);
            }
            _ => {}
        }
        Status::SUCCESS
    });
    let (listener, port) = listen(registration, program);
    let client = trusting_configuration(registration, 0);
    let to = tickets.clone();
    let (asking, asked) = Program::new(move |_, event| {
        if let Event::Connection(_, event) = event
            && event.event_type == connection_event::RESUMPTION_TICKET_RECEIVED
        {
            let ticket = unsafe { event.body.resumption_ticket_received };
            let len = ticket.resumption_ticket_length as usize;
            let bytes = unsafe { std::slice::from_raw_parts(ticket.resumption_ticket, len) };
            *to.lock().unwrap() = bytes.to_vec();
        }
        Status::SUCCESS
    });
    let first = open_connection(registration, asking);
    start(first, client, port);
    asked.wait_for("CONNECTED 0");
    asked.wait_for("RESUMPTION_TICKET_RECEIVED");
    unsafe {
        (api().connection_shutdown)(first, 0, 0);
        asked.wait_for("SHUTDOWN_COMPLETE 1");
        (api().connection_close)(first);
    }
    let second = open_connection(registration, asking);
    let ticket = tickets.lock().unwrap().clone();
    let set = unsafe {
        (api().set_param)(second, param::CONN_RESUMPTION_TICKET, ticket.len() as u32, ticket.as_ptr().cast())
    };
    assert_eq!(set, Status::SUCCESS);
    let stream = open_stream(second, stream_open::UNIDIRECTIONAL, asking);
    assert_eq!(send(stream, b"early", send::START | send::FIN | send::ALLOW_0_RTT, 0), Status::PENDING);
    start(second, client, port);
    asked.wait_for("CONNECTED 1");
    heard.wait_for("RESUMED");
    heard.wait_for("RECEIVE 0 5");
    assert_eq!(*resumed.lock().unwrap(), b"mine");
    asked.wait_for("SHUTDOWN_COMPLETE 0 0");
    // All of it; of what was sent later, nothing.
    assert_eq!(get::<u64>(stream, param::STREAM_0RTT_LENGTH), Ok(5));
    let later = open_stream(second, stream_open::UNIDIRECTIONAL, asking);
    assert_eq!(get::<u64>(later, param::STREAM_0RTT_LENGTH), Err(Status::INVALID_STATE));
    assert_eq!(send(later, b"later", send::START | send::FIN | send::ALLOW_0_RTT, 0), Status::PENDING);
    asked.wait_for("SHUTDOWN_COMPLETE 0 0");
    assert_eq!(get::<u64>(later, param::STREAM_0RTT_LENGTH), Ok(0));
    unsafe {
        (api().stream_close)(stream);
        (api().stream_close)(later);
        (api().connection_close)(second);
        (api().listener_close)(listener);
        (api().registration_shutdown)(registration, 0, 0);
        (api().configuration_close)(server);
        (api().configuration_close)(client);
        (api().registration_close)(registration);
    }
}
