//! MsQuic's C interface, called as a program in C calls it, of our library or of any other that has its table: handles,
//! functions that are called back with a context, memory that is lent until a send is complete. What C leaves to the
//! program is seen to here, so that the bench needs no unsafe code: contexts live as long as they can be called back, and
//! handles are closed once.
#![warn(missing_docs)]

mod connection;
mod spare;
mod stream;

use std::ffi::{CStr, CString, c_void};
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;

use tercel_msquic::abi::settings::{bits, flags, is_set};
use tercel_msquic::abi::{
    Addr, ApiTable, Buffer, CertificateFile, CertificateSource, CredentialConfig, Handle, ListenerEvent,
    RegistrationConfig, Settings, Status, cipher_suites, credential_flags, credential_type, listener_event, param,
};

pub use self::connection::{Connection, ConnectionEvent, ConnectionHandler, NewStream};
pub use self::stream::{Stream, StreamEvent, StreamHandler};

/// A function failed.
#[derive(Debug)]
pub struct Failed(&'static str, Status);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}", self.0, self.1)
    }
}

impl std::error::Error for Failed {}

fn succeeded(what: &'static str, status: Status) -> Result<(), Failed> {
    if status.is_failure() { Err(Failed(what, status)) } else { Ok(()) }
}

/// A table of functions.
#[derive(Clone, Copy)]
pub struct Library(&'static ApiTable, u16);

type OpenVersion = unsafe extern "C" fn(u32, *mut *const c_void) -> Status;

impl Library {
    /// Ours.
    ///
    /// # Errors
    /// What the library says.
    pub fn ours() -> Result<Self, Failed> {
        Self::open(tercel_msquic::MsQuicOpenVersion, 48)
    }

    /// One that lies at `path`, which is `libmsquic.so.2` or does as that does.
    ///
    /// # Errors
    /// It cannot be loaded.
    pub fn at(path: &Path) -> Result<Self, Failed> {
        let path = CString::new(path.as_os_str().as_encoded_bytes()).map_err(|_| Failed("path", Status::NOT_FOUND))?;
        // SAFETY: the path ends with a zero. What the library does when it is loaded is its own.
        let library = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
        if library.is_null() {
            return Err(Failed("dlopen", Status::NOT_FOUND));
        }
        // SAFETY: the library is loaded, and stays.
        let symbol = unsafe { libc::dlsym(library, c"MsQuicOpenVersion".as_ptr()) };
        if symbol.is_null() {
            return Err(Failed("dlsym", Status::NOT_FOUND));
        }
        // SAFETY: this is what the function of this name is.
        Self::open(unsafe { std::mem::transmute::<*mut c_void, OpenVersion>(symbol) }, 28)
    }

    /// `headers`: what sizes of packets include beside the UDP payload, over IPv4.
    fn open(open: OpenVersion, headers: u16) -> Result<Self, Failed> {
        let mut table = std::ptr::null();
        // SAFETY: there is room for the pointer.
        succeeded("MsQuicOpenVersion", unsafe { open(2, &raw mut table) })?;
        // SAFETY: version 2 is this table, and it is never given back.
        Ok(Self(unsafe { &*table.cast::<ApiTable>() }, headers))
    }

    /// Has the library use this processor and no other: one worker. Before anything else.
    ///
    /// # Errors
    /// What the library says.
    pub fn use_processor(self, processor: u16) -> Result<(), Failed> {
        let mut config = [0u8; 16];
        config[8..12].copy_from_slice(&1u32.to_ne_bytes());
        config[12..14].copy_from_slice(&processor.to_ne_bytes());
        // SAFETY: as many bytes are there as said, the head of the struct and one processor.
        let set =
            unsafe { (self.0.set_param)(Handle::NULL, param::GLOBAL_EXECUTION_CONFIG, 14, config.as_ptr().cast()) };
        succeeded("GLOBAL_EXECUTION_CONFIG", set)
    }

    /// Opens a registration.
    ///
    /// # Errors
    /// What the library says.
    pub fn registration(self) -> Result<Registration, Failed> {
        let config = RegistrationConfig { app_name: c"bench".as_ptr(), execution_profile: 0 };
        let mut handle = Handle::NULL;
        // SAFETY: the config is whole and there is room for the handle.
        succeeded("RegistrationOpen", unsafe { (self.0.registration_open)(&raw const config, &raw mut handle) })?;
        Ok(Registration { library: self, handle })
    }
}

/// Where objects belong. Never closed: the process ends.
#[derive(Clone, Copy)]
pub struct Registration {
    library: Library,
    handle: Handle,
}

/// What both ends agree on.
#[derive(Clone, Copy)]
pub struct Transport {
    /// The size of every UDP payload.
    pub payload: u16,
    /// The receive window of a stream, from the start.
    pub stream_window: u32,
    /// That of a connection.
    pub window: u32,
    /// How many streams the peer may have open.
    pub streams: u16,
    /// Whether slow start ends early when the delay rises.
    pub hystart: bool,
    /// Whether ECN is used.
    pub ecn: bool,
    /// Whether congestion control is BBR, and not CUBIC.
    pub bbr: bool,
}

impl Transport {
    fn settings(self, headers: u16) -> Settings {
        let mtu = self.payload + headers;
        Settings {
            is_set: is_set::MINIMUM_MTU
                | is_set::MAXIMUM_MTU
                | is_set::STREAM_RECV_WINDOW_DEFAULT
                | is_set::CONN_FLOW_CONTROL_WINDOW
                | is_set::PEER_BIDI_STREAM_COUNT
                | is_set::SEND_BUFFERING_ENABLED
                | is_set::PACING_ENABLED
                | is_set::SERVER_RESUMPTION_LEVEL
                | is_set::ECN_ENABLED
                | is_set::HYSTART_ENABLED
                | is_set::CONGESTION_CONTROL_ALGORITHM
                | is_set::IDLE_TIMEOUT_MS,
            minimum_mtu: mtu,
            maximum_mtu: mtu,
            stream_recv_window_default: self.stream_window,
            conn_flow_control_window: self.window,
            peer_bidi_stream_count: self.streams,
            idle_timeout_ms: 30_000,
            congestion_control_algorithm: u16::from(self.bbr),
            // Sends are read where they lie; paced, without tickets.
            bits: 1 << bits::PACING_ENABLED.0 | u8::from(self.ecn) << bits::ECN_ENABLED.0,
            flags: if self.hystart { flags::HYSTART_ENABLED } else { 0 },
            ..Settings::default()
        }
    }
}

/// Settings and a credential. Never closed.
#[derive(Clone, Copy)]
pub struct Configuration(Handle);

fn path(path: &Path) -> CString {
    // A path with a zero in it is none; the library will not find it.
    CString::new(path.as_os_str().as_encoded_bytes()).unwrap_or_default()
}

fn loopback(port: u16) -> Addr {
    // SAFETY: an address of the unspecified family is all zeros; IPv4 is one of its forms.
    let mut address: Addr = unsafe { std::mem::zeroed() };
    // SAFETY: the union is of plain numbers, and this form is what is meant.
    let ipv4 = unsafe { &mut address.ipv4 };
    ipv4.sin_family = libc::AF_INET as libc::sa_family_t;
    ipv4.sin_port = port.to_be();
    ipv4.sin_addr.s_addr = u32::from(std::net::Ipv4Addr::LOCALHOST).to_be();
    address
}

fn buffer(bytes: &[u8]) -> Buffer {
    Buffer { length: bytes.len() as u32, buffer: bytes.as_ptr().cast_mut() }
}

impl Registration {
    fn configuration(
        self,
        protocol: &[u8],
        transport: Transport,
        credential: &CredentialConfig,
    ) -> Result<Configuration, Failed> {
        let (alpn, settings) = (buffer(protocol), transport.settings(self.library.1));
        let mut handle = Handle::NULL;
        // SAFETY: everything is whole and as long as said, and there is room for the handle.
        let opened = unsafe {
            (self.library.0.configuration_open)(
                self.handle,
                &raw const alpn,
                1,
                &raw const settings,
                size_of::<Settings>() as u32,
                std::ptr::null_mut(),
                &raw mut handle,
            )
        };
        succeeded("ConfigurationOpen", opened)?;
        // SAFETY: the credential and what it leads to are whole.
        let loaded = unsafe { (self.library.0.configuration_load_credential)(handle, credential) };
        succeeded("ConfigurationLoadCredential", loaded)?;
        Ok(Configuration(handle))
    }

    /// A server's configuration, with the files of its certificate and key.
    ///
    /// # Errors
    /// What the library says.
    pub fn server(
        self,
        protocol: &[u8],
        transport: Transport,
        chain: &Path,
        key: &Path,
    ) -> Result<Configuration, Failed> {
        let (chain, key) = (path(chain), path(key));
        let file = CertificateFile { private_key_file: key.as_ptr(), certificate_file: chain.as_ptr() };
        let config = CredentialConfig {
            certificate: CertificateSource { file: &raw const file },
            ..credential(credential_type::CERTIFICATE_FILE, 0)
        };
        self.configuration(protocol, transport, &config)
    }

    /// A client's configuration, with the file of the certificate that it trusts.
    ///
    /// # Errors
    /// What the library says.
    pub fn client(self, protocol: &[u8], transport: Transport, authority: &Path) -> Result<Configuration, Failed> {
        let authority = path(authority);
        let flags = credential_flags::CLIENT | credential_flags::SET_CA_CERTIFICATE_FILE;
        let config =
            CredentialConfig { ca_certificate_file: authority.as_ptr(), ..credential(credential_type::NONE, flags) };
        self.configuration(protocol, transport, &config)
    }

    /// Listens at a port of 127.0.0.1 of the system's choice. `accept` makes the handler of each connection.
    ///
    /// # Errors
    /// What the library says.
    pub fn listen(
        self,
        protocol: &[u8],
        configuration: Configuration,
        accept: impl Fn() -> Box<dyn ConnectionHandler> + Send + Sync + 'static,
    ) -> Result<SocketAddr, Failed> {
        // Listeners are never closed, so their contexts stay.
        let context = Box::leak(Box::new(Listening { library: self.library, configuration, accept: Box::new(accept) }));
        let mut handle = Handle::NULL;
        let alpn = buffer(protocol);
        let mut address = loopback(0);
        let mut len = size_of::<Addr>() as u32;
        // SAFETY: the function takes the context that it is given with; everything else is whole and as long as said.
        unsafe {
            let context: *mut Listening = context;
            let opened =
                (self.library.0.listener_open)(self.handle, Some(on_listener), context.cast(), &raw mut handle);
            succeeded("ListenerOpen", opened)?;
            succeeded(
                "ListenerStart",
                (self.library.0.listener_start)(handle, &raw const alpn, 1, &raw const address),
            )?;
            let found = (self.library.0.get_param)(
                handle,
                param::LISTENER_LOCAL_ADDRESS,
                &raw mut len,
                (&raw mut address).cast(),
            );
            succeeded("LISTENER_LOCAL_ADDRESS", found)?;
            Ok(([127, 0, 0, 1], u16::from_be(address.ipv4.sin_port)).into())
        }
    }

    /// Connects to a server.
    ///
    /// # Errors
    /// What the library says.
    pub fn connect(
        self,
        configuration: Configuration,
        name: &CStr,
        server: SocketAddr,
        handler: Box<dyn ConnectionHandler>,
    ) -> Result<Connection, Failed> {
        Connection::connect(self.library, self.handle, configuration.0, name, server, handler)
    }
}

fn credential(credential_type: u32, flags: u32) -> CredentialConfig {
    CredentialConfig {
        credential_type,
        flags: flags | credential_flags::SET_ALLOWED_CIPHER_SUITES,
        certificate: CertificateSource { other: std::ptr::null() },
        principal: std::ptr::null(),
        reserved: std::ptr::null_mut(),
        async_handler: None,
        allowed_cipher_suites: cipher_suites::AES_128_GCM_SHA256,
        ca_certificate_file: std::ptr::null(),
    }
}

struct Listening {
    library: Library,
    configuration: Configuration,
    accept: Box<dyn Fn() -> Box<dyn ConnectionHandler> + Send + Sync>,
}

/// # Safety
/// `context` leads to a [`Listening`].
unsafe extern "C" fn on_listener(_: Handle, context: *mut c_void, event: *mut ListenerEvent) -> Status {
    // SAFETY: as demanded of the caller; the event is whole.
    let (listening, event) = unsafe { (&*context.cast::<Listening>(), &mut *event) };
    if event.event_type != listener_event::NEW_CONNECTION {
        return Status::SUCCESS;
    }
    // SAFETY: this part of the union is that of this event.
    let connection = unsafe { event.body.new_connection.connection };
    Connection::accept(listening.library, connection, listening.configuration.0, (listening.accept)())
}
