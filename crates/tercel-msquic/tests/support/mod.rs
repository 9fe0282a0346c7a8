//! A program in C's place: it knows the library by its table of functions alone. With `TERCEL_MSQUIC_LIBRARY` in the
//! environment that is the table of the library which it names, and not ours.
#![allow(dead_code, clippy::unwrap_used, reason = "for tests, and not every one uses everything")]

pub(crate) mod processes;

use std::ffi::{CString, c_char, c_void};
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tercel_msquic::abi::*;

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const ALPN: &[u8] = b"test";

/// The table of functions.
pub(crate) fn api() -> &'static ApiTable {
    static API: OnceLock<usize> = OnceLock::new();
    let table = *API.get_or_init(|| {
        let mut table = std::ptr::null();
        assert_eq!(unsafe { open_version()(2, &mut table) }, Status::SUCCESS);
        table as usize
    });
    unsafe { &*(table as *const ApiTable) }
}

type OpenVersion = unsafe extern "C" fn(u32, *mut *const c_void) -> Status;

/// `MsQuicOpenVersion` of the library under test.
pub(crate) fn open_version() -> OpenVersion {
    let Some(library) = std::env::var_os("TERCEL_MSQUIC_LIBRARY") else { return tercel_msquic::MsQuicOpenVersion };
    let path = CString::new(library.into_encoded_bytes()).unwrap();
    unsafe {
        let library = libc::dlopen(path.as_ptr(), libc::RTLD_NOW);
        assert!(!library.is_null(), "cannot load {path:?}");
        let symbol = libc::dlsym(library, c"MsQuicOpenVersion".as_ptr());
        assert!(!symbol.is_null(), "{path:?} has no MsQuicOpenVersion");
        std::mem::transmute::<*mut c_void, OpenVersion>(symbol)
    }
}

/// Whether another library than ours is under test.
pub(crate) fn is_other() -> bool {
    std::env::var_os("TERCEL_MSQUIC_LIBRARY").is_some()
}

/// What happened, in one word and perhaps a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Word {
    /// Of which object.
    pub(crate) handle: usize,
    pub(crate) what: String,
}

/// What a program does about events.
type Act = dyn Fn(&Program, Event<'_>) -> Status + Send + Sync;

/// A program's context of an object: what it does about events, and what it tells of them.
pub(crate) struct Program {
    words: Mutex<Vec<Word>>,
    tell: Mutex<Sender<Word>>,
    pub(crate) act: Box<Act>,
}

/// An event of any object.
pub(crate) enum Event<'a> {
    Listener(Handle, &'a mut ListenerEvent),
    Connection(Handle, &'a mut ConnectionEvent),
    Stream(Handle, &'a mut StreamEvent),
}

/// What a program hears, in order.
pub(crate) struct Heard(Receiver<Word>);

impl Heard {
    /// Waits for a word that begins with `start`.
    pub(crate) fn wait_for(&self, start: &str) -> Word {
        self.until(start).pop().unwrap()
    }

    /// The next word.
    pub(crate) fn next(&self) -> Word {
        self.0.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no word"))
    }

    /// All words up to one that begins with `start`.
    pub(crate) fn until(&self, start: &str) -> Vec<Word> {
        let mut words = Vec::new();
        loop {
            let word = self.0.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no {start} after {words:?}"));
            let found = word.what.starts_with(start);
            words.push(word);
            if found {
                return words;
            }
        }
    }

    /// Whether nothing more was said.
    pub(crate) fn is_silent(&self) -> bool {
        self.0.try_recv().is_err()
    }
}

impl Program {
    /// A program that lives as long as the process: callbacks may come whenever they want.
    pub(crate) fn new(
        act: impl Fn(&Program, Event<'_>) -> Status + Send + Sync + 'static,
    ) -> (&'static Program, Heard) {
        let (tell, heard) = mpsc::channel();
        let program = Program { words: Mutex::default(), tell: Mutex::new(tell), act: Box::new(act) };
        (Box::leak(Box::new(program)), Heard(heard))
    }

    pub(crate) fn context(&self) -> *mut c_void {
        std::ptr::from_ref(self).cast_mut().cast()
    }

    pub(crate) fn say(&self, handle: Handle, what: impl Into<String>) {
        let word = Word { handle: handle.0 as usize, what: what.into() };
        self.words.lock().unwrap().push(word.clone());
        let _ = self.tell.lock().unwrap().send(word);
    }

    pub(crate) fn words(&self) -> Vec<String> {
        self.words.lock().unwrap().iter().map(|word| word.what.clone()).collect()
    }
}

pub(crate) unsafe extern "C" fn on_listener(handle: Handle, context: *mut c_void, event: *mut ListenerEvent) -> Status {
    let (program, event) = unsafe { (&*context.cast::<Program>(), &mut *event) };
    match event.event_type {
        listener_event::STOP_COMPLETE => {
            program.say(handle, format!("STOP_COMPLETE {}", unsafe { event.body.stop_complete } & 1))
        }
        listener_event::NEW_CONNECTION => program.say(handle, "NEW_CONNECTION"),
        other => program.say(handle, format!("LISTENER {other}")),
    }
    (program.act)(program, Event::Listener(handle, event))
}

pub(crate) unsafe extern "C" fn on_connection(
    handle: Handle,
    context: *mut c_void,
    event: *mut ConnectionEvent,
) -> Status {
    let (program, event) = unsafe { (&*context.cast::<Program>(), &mut *event) };
    program.say(handle, connection_word(event));
    (program.act)(program, Event::Connection(handle, event))
}

pub(crate) unsafe extern "C" fn on_stream(handle: Handle, context: *mut c_void, event: *mut StreamEvent) -> Status {
    let (program, event) = unsafe { (&*context.cast::<Program>(), &mut *event) };
    program.say(handle, stream_word(event));
    (program.act)(program, Event::Stream(handle, event))
}

pub(crate) fn connection_word(event: &ConnectionEvent) -> String {
    unsafe {
        match event.event_type {
            connection_event::CONNECTED => format!("CONNECTED {}", event.body.connected.session_resumed),
            connection_event::SHUTDOWN_INITIATED_BY_TRANSPORT => {
                format!("SHUTDOWN_INITIATED_BY_TRANSPORT {:?}", event.body.shutdown_initiated_by_transport.status)
            }
            connection_event::SHUTDOWN_INITIATED_BY_PEER => {
                format!("SHUTDOWN_INITIATED_BY_PEER {}", event.body.shutdown_initiated_by_peer)
            }
            connection_event::SHUTDOWN_COMPLETE => format!("SHUTDOWN_COMPLETE {}", event.body.shutdown_complete & 5),
            connection_event::PEER_STREAM_STARTED => "PEER_STREAM_STARTED".into(),
            connection_event::DATAGRAM_RECEIVED => "DATAGRAM_RECEIVED".into(),
            connection_event::DATAGRAM_SEND_STATE_CHANGED => {
                format!("DATAGRAM_SEND_STATE_CHANGED {}", event.body.datagram_send_state_changed.state)
            }
            connection_event::RESUMED => "RESUMED".into(),
            connection_event::RESUMPTION_TICKET_RECEIVED => "RESUMPTION_TICKET_RECEIVED".into(),
            connection_event::PEER_CERTIFICATE_RECEIVED => {
                format!("PEER_CERTIFICATE_RECEIVED {:?}", event.body.peer_certificate_received.deferred_status)
            }
            connection_event::PEER_NEEDS_STREAMS => format!("PEER_NEEDS_STREAMS {}", event.body.peer_needs_streams),
            connection_event::IDEAL_PROCESSOR_CHANGED => "IDEAL_PROCESSOR_CHANGED".into(),
            connection_event::NETWORK_STATISTICS => "NETWORK_STATISTICS".into(),
            connection_event::RELIABLE_RESET_NEGOTIATED => {
                format!("RELIABLE_RESET_NEGOTIATED {}", event.body.reliable_reset_negotiated)
            }
            other => format!("EVENT {other}"),
        }
    }
}

pub(crate) fn stream_word(event: &StreamEvent) -> String {
    unsafe {
        match event.event_type {
            stream_event::START_COMPLETE => format!("START_COMPLETE {:?}", event.body.start_complete.status),
            stream_event::RECEIVE => {
                format!("RECEIVE {} {}", event.body.receive.absolute_offset, event.body.receive.total_buffer_length)
            }
            stream_event::SEND_COMPLETE => format!(
                "SEND_COMPLETE {} {}",
                event.body.send_complete.client_context as usize, event.body.send_complete.canceled
            ),
            stream_event::PEER_SEND_SHUTDOWN => "PEER_SEND_SHUTDOWN".into(),
            stream_event::PEER_SEND_ABORTED => format!("PEER_SEND_ABORTED {}", event.body.peer_send_aborted),
            stream_event::PEER_RECEIVE_ABORTED => format!("PEER_RECEIVE_ABORTED {}", event.body.peer_receive_aborted),
            stream_event::SEND_SHUTDOWN_COMPLETE => {
                format!("SEND_SHUTDOWN_COMPLETE {}", event.body.send_shutdown_complete)
            }
            stream_event::SHUTDOWN_COMPLETE => format!(
                "SHUTDOWN_COMPLETE {} {}",
                event.body.shutdown_complete.connection_shutdown,
                event.body.shutdown_complete.flags & 1
            ),
            stream_event::IDEAL_SEND_BUFFER_SIZE => "IDEAL_SEND_BUFFER_SIZE".into(),
            stream_event::PEER_ACCEPTED => "PEER_ACCEPTED".into(),
            stream_event::RECEIVE_BUFFER_NEEDED => {
                format!("RECEIVE_BUFFER_NEEDED {}", event.body.receive_buffer_needed)
            }
            other => format!("STREAM {other}"),
        }
    }
}

/// A certificate for `localhost`, in files.
pub(crate) struct Certificate {
    _directory: tempfile::TempDir,
    pub(crate) chain: PathBuf,
    pub(crate) key: PathBuf,
}

pub(crate) fn certificate() -> &'static Certificate {
    static CERTIFICATE: OnceLock<Certificate> = OnceLock::new();
    CERTIFICATE.get_or_init(|| {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let (chain, key) = (directory.path().join("chain.pem"), directory.path().join("key.pem"));
        std::fs::write(&chain, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        Certificate { _directory: directory, chain, key }
    })
}

/// A path for C.
pub(crate) fn c_path(path: &std::path::Path) -> CString {
    CString::new(path.as_os_str().as_encoded_bytes()).unwrap()
}

pub(crate) fn buffer(bytes: &[u8]) -> Buffer {
    Buffer { length: bytes.len() as u32, buffer: bytes.as_ptr().cast_mut() }
}

pub(crate) fn registration() -> Handle {
    let config = RegistrationConfig { app_name: c"test".as_ptr(), execution_profile: 0 };
    let mut registration = Handle::NULL;
    assert_eq!(unsafe { (api().registration_open)(&config, &mut registration) }, Status::SUCCESS);
    registration
}

/// Settings of a test: streams and datagrams are permitted, tickets with early data.
pub(crate) fn settings() -> Settings {
    use tercel_msquic::abi::settings::{bits, is_set};
    Settings {
        is_set: is_set::PEER_BIDI_STREAM_COUNT
            | is_set::PEER_UNIDI_STREAM_COUNT
            | is_set::DATAGRAM_RECEIVE_ENABLED
            | is_set::SERVER_RESUMPTION_LEVEL
            | is_set::SEND_BUFFERING_ENABLED,
        peer_bidi_stream_count: 10,
        peer_unidi_stream_count: 10,
        bits: 1 << bits::DATAGRAM_RECEIVE_ENABLED.0 | 2 << bits::SERVER_RESUMPTION_LEVEL.0,
        ..Settings::default()
    }
}

pub(crate) fn configuration(registration: Handle, settings: &Settings, credential: &CredentialConfig) -> Handle {
    let mut configuration = Handle::NULL;
    let (alpn, size) = (buffer(ALPN), size_of::<Settings>() as u32);
    let opened = unsafe {
        (api().configuration_open)(registration, &alpn, 1, settings, size, std::ptr::null_mut(), &mut configuration)
    };
    assert_eq!(opened, Status::SUCCESS);
    assert_eq!(unsafe { (api().configuration_load_credential)(configuration, credential) }, Status::SUCCESS);
    configuration
}

pub(crate) fn credential(credential_type: u32, flags: u32) -> CredentialConfig {
    CredentialConfig {
        credential_type,
        flags,
        certificate: CertificateSource { other: std::ptr::null() },
        principal: std::ptr::null(),
        reserved: std::ptr::null_mut(),
        async_handler: None,
        allowed_cipher_suites: 0,
        ca_certificate_file: std::ptr::null(),
    }
}

pub(crate) fn server_configuration_with(registration: Handle, settings: &Settings, flags: u32) -> Handle {
    let (chain, key) = (c_path(&certificate().chain), c_path(&certificate().key));
    let file = CertificateFile { private_key_file: key.as_ptr(), certificate_file: chain.as_ptr() };
    let mut config = credential(credential_type::CERTIFICATE_FILE, flags);
    config.certificate = CertificateSource { file: &file };
    configuration(registration, settings, &config)
}

pub(crate) fn server_configuration(registration: Handle) -> Handle {
    server_configuration_with(registration, &settings(), 0)
}

/// A client that trusts everybody.
pub(crate) fn client_configuration(registration: Handle) -> Handle {
    client_configuration_with(registration, &settings())
}

pub(crate) fn client_configuration_with(registration: Handle, settings: &Settings) -> Handle {
    let flags = credential_flags::CLIENT | credential_flags::NO_CERTIFICATE_VALIDATION;
    configuration(registration, settings, &credential(credential_type::NONE, flags))
}

/// A client that trusts the certificate of the tests.
pub(crate) fn trusting_configuration(registration: Handle, flags: u32) -> Handle {
    let file = c_path(&certificate().chain);
    let flags = credential_flags::CLIENT | credential_flags::SET_CA_CERTIFICATE_FILE | flags;
    let mut config = credential(credential_type::NONE, flags);
    config.ca_certificate_file = file.as_ptr();
    configuration(registration, &settings(), &config)
}

pub(crate) fn loopback(port: u16) -> Addr {
    let mut address: Addr = unsafe { std::mem::zeroed() };
    let to = unsafe { &mut address.ipv4 };
    to.sin_family = libc::AF_INET as libc::sa_family_t;
    to.sin_port = port.to_be();
    to.sin_addr.s_addr = u32::from(std::net::Ipv4Addr::LOCALHOST).to_be();
    address
}

/// Begins to listen; gives the listener and its port.
pub(crate) fn listen(registration: Handle, program: &'static Program) -> (Handle, u16) {
    let mut listener = Handle::NULL;
    unsafe {
        let opened = (api().listener_open)(registration, Some(on_listener), program.context(), &mut listener);
        assert_eq!(opened, Status::SUCCESS);
        let (alpn, address) = (buffer(ALPN), loopback(0));
        assert_eq!((api().listener_start)(listener, &alpn, 1, &address), Status::SUCCESS);
        let mut at: Addr = std::mem::zeroed();
        let mut len = size_of::<Addr>() as u32;
        let found = (api().get_param)(listener, param::LISTENER_LOCAL_ADDRESS, &mut len, (&raw mut at).cast());
        assert_eq!(found, Status::SUCCESS);
        (listener, u16::from_be(at.ipv4.sin_port))
    }
}

/// Opens a connection that is not started.
pub(crate) fn open_connection(registration: Handle, program: &'static Program) -> Handle {
    let mut connection = Handle::NULL;
    let opened =
        unsafe { (api().connection_open)(registration, Some(on_connection), program.context(), &mut connection) };
    assert_eq!(opened, Status::SUCCESS);
    connection
}

pub(crate) fn start(connection: Handle, configuration: Handle, port: u16) {
    let name: *const c_char = c"localhost".as_ptr();
    let started = unsafe { (api().connection_start)(connection, configuration, libc::AF_INET as u16, name, port) };
    assert!(!started.is_failure(), "{started:?}");
}

pub(crate) fn open_stream(connection: Handle, flags: u32, program: &Program) -> Handle {
    let mut stream = Handle::NULL;
    let opened = unsafe { (api().stream_open)(connection, flags, Some(on_stream), program.context(), &mut stream) };
    assert_eq!(opened, Status::SUCCESS);
    stream
}

/// Sends bytes that live as long as the process; `context` comes back with the completion.
pub(crate) fn send(stream: Handle, data: &[u8], flags: u32, context: usize) -> Status {
    send_all(stream, &[data], flags, context)
}

/// The same from several buffers.
pub(crate) fn send_all(stream: Handle, pieces: &[&[u8]], flags: u32, context: usize) -> Status {
    let leaked = |piece: &&[u8]| buffer(Box::leak(piece.to_vec().into_boxed_slice()));
    let buffers: &'static [Buffer] = Box::leak(pieces.iter().map(leaked).collect());
    let count = buffers.len() as u32;
    unsafe { (api().stream_send)(stream, buffers.as_ptr(), count, flags, context as *mut c_void) }
}

/// The bytes of a RECEIVE.
pub(crate) fn received(event: &StreamEvent) -> Vec<u8> {
    let receive = unsafe { event.body.receive };
    if receive.buffer_count == 0 {
        return Vec::new();
    }
    let buffers = unsafe { std::slice::from_raw_parts(receive.buffers, receive.buffer_count as usize) };
    let bytes = |buffer: &Buffer| unsafe { std::slice::from_raw_parts(buffer.buffer, buffer.length as usize) };
    buffers.iter().flat_map(|buffer| bytes(buffer).to_vec()).collect()
}

/// A server that takes every connection with `configuration`, gives what its streams bring back, and closes what has
/// ended.
pub(crate) fn echo(configuration: Handle) -> (&'static Program, Heard) {
    echo_but(configuration, |_, _| None)
}

/// The same, but `other` is asked first: what it answers is the answer.
pub(crate) fn echo_but(
    configuration: Handle,
    other: impl Fn(&Program, &mut Event<'_>) -> Option<Status> + Send + Sync + 'static,
) -> (&'static Program, Heard) {
    Program::new(move |program, mut event| unsafe {
        if let Some(status) = other(program, &mut event) {
            return status;
        }
        match event {
            Event::Listener(_, event) if event.event_type == listener_event::NEW_CONNECTION => {
                let connection = event.body.new_connection.connection;
                let handler = on_connection as *mut c_void;
                (api().set_callback_handler)(connection, handler, program.context());
                return (api().connection_set_configuration)(connection, configuration);
            }
            Event::Connection(_, event) if event.event_type == connection_event::PEER_STREAM_STARTED => {
                let stream = event.body.peer_stream_started.stream;
                (api().set_callback_handler)(stream, on_stream as *mut c_void, program.context());
            }
            Event::Connection(handle, event) if event.event_type == connection_event::SHUTDOWN_COMPLETE => {
                (api().connection_close)(handle);
            }
            Event::Stream(handle, event) if event.event_type == stream_event::RECEIVE => {
                let data = received(event);
                let fin = event.body.receive.flags & receive::FIN != 0;
                if !data.is_empty() || fin {
                    // One-way streams cannot be answered.
                    let _ = send(handle, &data, if fin { send::FIN } else { 0 }, 0);
                }
            }
            Event::Stream(handle, event) if event.event_type == stream_event::SHUTDOWN_COMPLETE => {
                (api().stream_close)(handle);
            }
            _ => {}
        }
        Status::SUCCESS
    })
}

/// A program that only listens.
pub(crate) fn quiet() -> (&'static Program, Heard) {
    Program::new(|_, _| Status::SUCCESS)
}

/// Everything that a test needs: an echo server and a client's configuration.
pub(crate) struct Stage {
    pub(crate) registration: Handle,
    pub(crate) server: Handle,
    pub(crate) client: Handle,
    pub(crate) listener: Handle,
    pub(crate) port: u16,
    pub(crate) heard: Heard,
}

pub(crate) fn stage() -> Stage {
    stage_with(&settings(), |_, _| None)
}

/// The same with other settings at both ends, and a server that does something else besides.
pub(crate) fn stage_with(
    settings: &Settings,
    other: impl Fn(&Program, &mut Event<'_>) -> Option<Status> + Send + Sync + 'static,
) -> Stage {
    let registration = registration();
    let server = server_configuration_with(registration, settings, 0);
    let (program, heard) = echo_but(server, other);
    let (listener, port) = listen(registration, program);
    let client = client_configuration_with(registration, settings);
    Stage { registration, server, client, listener, port, heard }
}

/// Sets a parameter to a plain value.
pub(crate) fn set<T: Copy>(handle: Handle, parameter: u32, value: T) -> Status {
    unsafe { (api().set_param)(handle, parameter, size_of::<T>() as u32, (&raw const value).cast()) }
}

/// Reads a parameter that is a plain value: numbers, for which zero will do.
pub(crate) fn get<T: Copy>(handle: Handle, parameter: u32) -> Result<T, Status> {
    let mut value: T = unsafe { std::mem::zeroed() };
    let mut len = size_of::<T>() as u32;
    match unsafe { (api().get_param)(handle, parameter, &mut len, (&raw mut value).cast()) } {
        Status::SUCCESS => Ok(value),
        status => Err(status),
    }
}

impl Stage {
    /// A client of the server, connected.
    pub(crate) fn connect(&self, program: &'static Program, heard: &Heard) -> Handle {
        let connection = open_connection(self.registration, program);
        start(connection, self.client, self.port);
        heard.wait_for("CONNECTED");
        connection
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        unsafe {
            (api().listener_close)(self.listener);
            (api().registration_shutdown)(self.registration, 0, 0);
            (api().configuration_close)(self.server);
            (api().configuration_close)(self.client);
            (api().registration_close)(self.registration);
        }
    }
}

/// Bytes shared between a callback and a test.
pub(crate) type Collected = Arc<Mutex<Vec<u8>>>;

/// A client that collects what comes back.
pub(crate) fn collector() -> (&'static Program, Heard, Collected) {
    let collected = Collected::default();
    let to = collected.clone();
    let (program, heard) = Program::new(move |_, event| {
        if let Event::Stream(_, event) = event
            && event.event_type == stream_event::RECEIVE
        {
            to.lock().unwrap().extend(received(event));
        }
        Status::SUCCESS
    });
    (program, heard, collected)
}
