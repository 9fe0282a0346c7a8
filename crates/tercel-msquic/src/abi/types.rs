//! Plain types: handles, buffers, addresses, flags.

use std::ffi::{c_char, c_void};

/// `HQUIC`: names an object. Never an address; null names none.
#[repr(transparent)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle(pub *mut c_void);

// SAFETY: it is never followed.
unsafe impl Send for Handle {}
// SAFETY: it is never followed.
unsafe impl Sync for Handle {}

impl Handle {
    /// Names no object.
    pub const NULL: Self = Self(std::ptr::null_mut());
}

/// `BOOLEAN`: 0 is false, anything else true.
pub type Boolean = u8;

/// `QUIC_BUFFER`: bytes somewhere.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Buffer {
    /// How many.
    pub length: u32,
    /// Where.
    pub buffer: *mut u8,
}

impl Default for Buffer {
    fn default() -> Self {
        Self { length: 0, buffer: std::ptr::null_mut() }
    }
}

/// `QUIC_ADDR`: an IPv4 or IPv6 address with a port, as the socket interface has it.
#[repr(C)]
#[derive(Clone, Copy)]
pub union Addr {
    /// Its family; that of an unspecified address is `AF_UNSPEC`.
    pub family: libc::sa_family_t,
    /// IPv4.
    pub ipv4: libc::sockaddr_in,
    /// IPv6.
    pub ipv6: libc::sockaddr_in6,
}

/// `QUIC_REGISTRATION_CONFIG`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct RegistrationConfig {
    /// A name for people, or null.
    pub app_name: *const c_char,
    /// One of [`execution_profile`].
    pub execution_profile: u32,
}

/// `QUIC_EXECUTION_PROFILE`.
pub mod execution_profile {
    /// The default.
    pub const LOW_LATENCY: u32 = 0;
    /// Throughput before latency.
    pub const MAX_THROUGHPUT: u32 = 1;
    /// When nothing else wants the processor.
    pub const SCAVENGER: u32 = 2;
    /// Before everything else.
    pub const REAL_TIME: u32 = 3;
}

/// `QUIC_NEW_CONNECTION_INFO`: what is known of a client that wants a connection.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct NewConnectionInfo {
    /// The version of QUIC.
    pub quic_version: u32,
    /// The server's address.
    pub local_address: *const Addr,
    /// The client's address.
    pub remote_address: *const Addr,
    /// Bytes at `crypto_buffer`.
    pub crypto_buffer_length: u32,
    /// Bytes at `client_alpn_list`.
    pub client_alpn_list_length: u16,
    /// Bytes at `server_name`.
    pub server_name_length: u16,
    /// Bytes at `negotiated_alpn`.
    pub negotiated_alpn_length: u8,
    /// The ClientHello.
    pub crypto_buffer: *const u8,
    /// What the client offers, as it stands in the ClientHello.
    pub client_alpn_list: *const u8,
    /// What was chosen, with its length before it in the list.
    pub negotiated_alpn: *const u8,
    /// The name asked for, not terminated, or null.
    pub server_name: *const c_char,
}

/// `QUIC_KEYING_MATERIAL_CONFIG`: what to export.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct KeyingMaterialConfig {
    /// Terminated by zero.
    pub label: *const c_char,
    /// Bytes at `context`.
    pub context_length: u32,
    /// May be null if there are none.
    pub context: *const u8,
    /// How many bytes are wanted.
    pub output_length: u32,
}

/// `QUIC_VERSION_SETTINGS`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct VersionSettings {
    /// Taken from peers.
    pub acceptable_versions: *const u32,
    /// Offered to peers.
    pub offered_versions: *const u32,
    /// Known by every server of the same name (RFC 9368 section 2.4).
    pub fully_deployed_versions: *const u32,
    /// How many are acceptable.
    pub acceptable_versions_length: u32,
    /// How many are offered.
    pub offered_versions_length: u32,
    /// How many are deployed.
    pub fully_deployed_versions_length: u32,
}

/// `QUIC_EXECUTION_CONFIG`: one execution context that the application drives.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct ExecutionConfig {
    /// The processor that it should run on.
    pub ideal_processor: u32,
    /// On Linux an epoll file descriptor.
    pub event_queue: *mut i32,
}

/// `QUIC_GLOBAL_EXECUTION_CONFIG`, up to its list of processors.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct GlobalExecutionConfig {
    /// How workers run.
    pub flags: u32,
    /// How long a worker without work looks for some before it sleeps, in microseconds.
    pub polling_idle_timeout_us: u32,
    /// How many processors follow.
    pub processor_count: u32,
    /// The first of them.
    pub processor_list: [u16; 1],
}

/// `QUIC_CONNECTION_POOL_CONFIG`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct ConnectionPoolConfig {
    /// Where they belong.
    pub registration: Handle,
    /// What they start with.
    pub configuration: Handle,
    /// Hears the events of all.
    pub handler: Option<super::ConnectionCallback>,
    /// A context for each, or null.
    pub context: *mut *mut c_void,
    /// Whom they connect to.
    pub server_name: *const c_char,
    /// Where, or null.
    pub server_address: *const Addr,
    /// Which kind of address.
    pub family: u16,
    /// Which port, in the machine's order of bytes.
    pub server_port: u16,
    /// How many.
    pub number_of_connections: u16,
    /// An ID for each, or null.
    pub cibir_ids: *mut *mut u8,
    /// The length of these.
    pub cibir_id_length: u8,
    /// 1: all of them are closed if one fails.
    pub flags: u32,
}

/// `QUIC_CONNECTION_SHUTDOWN_FLAGS`.
pub mod connection_shutdown {
    /// Without a word to the peer.
    pub const SILENT: u32 = 1;
    /// All of them.
    pub const ALL: u32 = 1;
}

/// `QUIC_STREAM_OPEN_FLAGS`.
pub mod stream_open {
    /// One way only.
    pub const UNIDIRECTIONAL: u32 = 1;
    /// Opened by a 0-RTT packet.
    pub const ZERO_RTT: u32 = 2;
    /// The peer may open another only when the handle is closed.
    pub const DELAY_ID_FC_UPDATES: u32 = 4;
    /// The application provides the room for what is received.
    pub const APP_OWNED_BUFFERS: u32 = 8;
    /// All of them.
    pub const ALL: u32 = 15;
}

/// `QUIC_STREAM_START_FLAGS`.
pub mod stream_start {
    /// The peer hears of it at once.
    pub const IMMEDIATE: u32 = 1;
    /// Not if the peer's limit forbids it now.
    pub const FAIL_BLOCKED: u32 = 2;
    /// A start that fails shuts the stream down.
    pub const SHUTDOWN_ON_FAIL: u32 = 4;
    /// Tell when the peer's limit permits it.
    pub const INDICATE_PEER_ACCEPT: u32 = 8;
    /// Before other work of the connection.
    pub const PRIORITY_WORK: u32 = 16;
    /// All of them.
    pub const ALL: u32 = 31;
}

/// `QUIC_STREAM_SHUTDOWN_FLAGS`.
pub mod stream_shutdown {
    /// No more is sent; what was sent is delivered.
    pub const GRACEFUL: u32 = 1;
    /// The sending part is reset.
    pub const ABORT_SEND: u32 = 2;
    /// The peer is asked to stop.
    pub const ABORT_RECEIVE: u32 = 4;
    /// Both.
    pub const ABORT: u32 = 6;
    /// The end is told without waiting for the peer.
    pub const IMMEDIATE: u32 = 8;
    /// During the call, on a callback.
    pub const INLINE: u32 = 16;
    /// All of them.
    pub const ALL: u32 = 31;
}

/// `QUIC_SEND_FLAGS`.
pub mod send {
    /// As early data, if that is possible.
    pub const ALLOW_0_RTT: u32 = 1;
    /// Starts the stream.
    pub const START: u32 = 2;
    /// The last of the stream.
    pub const FIN: u32 = 4;
    /// Datagrams: before those without.
    pub const DGRAM_PRIORITY: u32 = 8;
    /// More follows soon.
    pub const DELAY_SEND: u32 = 16;
    /// A loss cancels the stream.
    pub const CANCEL_ON_LOSS: u32 = 32;
    /// Before other work of the connection.
    pub const PRIORITY_WORK: u32 = 64;
    /// Datagrams: not if it cannot leave at once.
    pub const CANCEL_ON_BLOCKED: u32 = 128;
}

/// `QUIC_RECEIVE_FLAGS`.
pub mod receive {
    /// It came as early data.
    pub const ZERO_RTT: u32 = 1;
    /// It is the last of the stream.
    pub const FIN: u32 = 2;
}

/// The largest value of a variable-length integer.
pub const UINT62_MAX: u64 = (1 << 62) - 1;
/// The longest application protocol.
pub const MAX_ALPN_LENGTH: usize = 255;
/// The longest server name.
pub const MAX_SNI_LENGTH: usize = 65_535;
/// The most that an application may put into a ticket.
pub const MAX_RESUMPTION_APP_DATA_LENGTH: u16 = 1000;
/// The length of the key of stateless resets.
pub const STATELESS_RESET_KEY_LENGTH: usize = 32;
