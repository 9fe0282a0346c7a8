//! Events, and the functions of applications that hear them. Fields marked `inout` in the header are read
//! again when the function has returned.

use std::ffi::c_void;

use super::{Addr, Boolean, Buffer, Handle, NewConnectionInfo, Status};

/// `QUIC_LISTENER_CALLBACK`.
pub type ListenerCallback =
    unsafe extern "C" fn(listener: Handle, context: *mut c_void, event: *mut ListenerEvent) -> Status;
/// `QUIC_CONNECTION_CALLBACK`.
pub type ConnectionCallback =
    unsafe extern "C" fn(connection: Handle, context: *mut c_void, event: *mut ConnectionEvent) -> Status;
/// `QUIC_STREAM_CALLBACK`.
pub type StreamCallback = unsafe extern "C" fn(stream: Handle, context: *mut c_void, event: *mut StreamEvent) -> Status;
/// `QUIC_REGISTRATION_CLOSE_CALLBACK`.
pub type RegistrationCloseCallback = unsafe extern "C" fn(context: *mut c_void);

/// `QUIC_LISTENER_EVENT_TYPE`.
pub mod listener_event {
    /// A client wants a connection.
    pub const NEW_CONNECTION: u32 = 0;
    /// It has stopped.
    pub const STOP_COMPLETE: u32 = 1;
    /// Clients must prove their addresses from now on, or need not any more.
    pub const DOS_MODE_CHANGED: u32 = 2;
}

/// `QUIC_LISTENER_EVENT`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ListenerEvent {
    /// One of [`listener_event`].
    pub event_type: u32,
    /// By its type.
    pub body: ListenerEventBody,
}

/// What a [`ListenerEvent`] says.
#[repr(C)]
#[derive(Clone, Copy)]
pub union ListenerEventBody {
    /// NEW_CONNECTION.
    pub new_connection: NewConnection,
    /// STOP_COMPLETE: bit 0, the application is closing the listener.
    pub stop_complete: Boolean,
    /// DOS_MODE_CHANGED: bit 0, it has begun.
    pub dos_mode_changed: Boolean,
}

/// See [`ListenerEventBody`].
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct NewConnection {
    /// Who wants it.
    pub info: *const NewConnectionInfo,
    /// Its handle, the application's if it accepts.
    pub connection: Handle,
}

/// `QUIC_CONNECTION_EVENT_TYPE`.
pub mod connection_event {
    /// The handshake is complete.
    pub const CONNECTED: u32 = 0;
    /// The transport ends the connection.
    pub const SHUTDOWN_INITIATED_BY_TRANSPORT: u32 = 1;
    /// The peer's application ends the connection.
    pub const SHUTDOWN_INITIATED_BY_PEER: u32 = 2;
    /// It is over, and the handle may be closed.
    pub const SHUTDOWN_COMPLETE: u32 = 3;
    /// This end has another address.
    pub const LOCAL_ADDRESS_CHANGED: u32 = 4;
    /// The peer has another address.
    pub const PEER_ADDRESS_CHANGED: u32 = 5;
    /// The peer opened a stream.
    pub const PEER_STREAM_STARTED: u32 = 6;
    /// The peer permits more streams.
    pub const STREAMS_AVAILABLE: u32 = 7;
    /// The peer would open more streams.
    pub const PEER_NEEDS_STREAMS: u32 = 8;
    /// The connection has moved to another processor.
    pub const IDEAL_PROCESSOR_CHANGED: u32 = 9;
    /// What can be sent as a datagram has changed.
    pub const DATAGRAM_STATE_CHANGED: u32 = 10;
    /// A datagram came.
    pub const DATAGRAM_RECEIVED: u32 = 11;
    /// What became of a datagram.
    pub const DATAGRAM_SEND_STATE_CHANGED: u32 = 12;
    /// Server: the client comes back with a ticket.
    pub const RESUMED: u32 = 13;
    /// Client: a ticket to come back with.
    pub const RESUMPTION_TICKET_RECEIVED: u32 = 14;
    /// The peer's certificate, to be judged.
    pub const PEER_CERTIFICATE_RECEIVED: u32 = 15;
    /// Whether streams can be reset reliably.
    pub const RELIABLE_RESET_NEGOTIATED: u32 = 16;
    /// Whether one-way delays are measured.
    pub const ONE_WAY_DELAY_NEGOTIATED: u32 = 17;
    /// How the network does.
    pub const NETWORK_STATISTICS: u32 = 18;
}

/// `QUIC_CONNECTION_EVENT`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ConnectionEvent {
    /// One of [`connection_event`].
    pub event_type: u32,
    /// By its type.
    pub body: ConnectionEventBody,
}

/// What a [`ConnectionEvent`] says.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(missing_docs)] // They are named after their types.
pub union ConnectionEventBody {
    pub connected: Connected,
    pub shutdown_initiated_by_transport: ShutdownByTransport,
    pub shutdown_initiated_by_peer: u64,
    /// Bits: the handshake was completed; the peer acknowledged the end; the application is closing it.
    pub shutdown_complete: Boolean,
    pub address_changed: *const Addr,
    pub peer_stream_started: PeerStreamStarted,
    pub streams_available: StreamsAvailable,
    /// Whether it would be bidirectional.
    pub peer_needs_streams: Boolean,
    pub ideal_processor_changed: IdealProcessorChanged,
    pub datagram_state_changed: DatagramStateChanged,
    pub datagram_received: DatagramReceived,
    pub datagram_send_state_changed: DatagramSendStateChanged,
    pub resumed: Resumed,
    pub resumption_ticket_received: TicketReceived,
    pub peer_certificate_received: PeerCertificateReceived,
    pub reliable_reset_negotiated: Boolean,
    pub one_way_delay_negotiated: OneWayDelayNegotiated,
    pub network_statistics: NetworkStatistics,
}

/// See [`ConnectionEventBody`].
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Connected {
    /// Whether a session goes on.
    pub session_resumed: Boolean,
    /// Bytes at `negotiated_alpn`.
    pub negotiated_alpn_length: u8,
    /// The application protocol.
    pub negotiated_alpn: *const u8,
}

/// See [`ConnectionEventBody`].
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct ShutdownByTransport {
    /// Why.
    pub status: Status,
    /// The code on the wire.
    pub error_code: u64,
}

/// See [`ConnectionEventBody`].
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct PeerStreamStarted {
    /// Its handle.
    pub stream: Handle,
    /// Some of [`super::stream_open`]; the application may add DELAY_ID_FC_UPDATES.
    pub flags: u32,
}

/// See [`ConnectionEventBody`].
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct StreamsAvailable {
    /// That can be opened now.
    pub bidirectional_count: u16,
    /// That can be opened now.
    pub unidirectional_count: u16,
}

/// See [`ConnectionEventBody`].
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct IdealProcessorChanged {
    /// Where the application had best do its part.
    pub ideal_processor: u16,
    /// The worker.
    pub partition_index: u16,
}

/// See [`ConnectionEventBody`].
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct DatagramStateChanged {
    /// Whether datagrams can be sent.
    pub send_enabled: Boolean,
    /// The largest.
    pub max_send_length: u16,
}

/// See [`ConnectionEventBody`].
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct DatagramReceived {
    /// The datagram.
    pub buffer: *const Buffer,
    /// Some of [`super::receive`].
    pub flags: u32,
}

/// See [`ConnectionEventBody`].
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct DatagramSendStateChanged {
    /// As it was given; the application may change it.
    pub client_context: *mut c_void,
    /// One of [`datagram_send_state`].
    pub state: u32,
}

/// `QUIC_DATAGRAM_SEND_STATE`. From LOST_DISCARDED on a state is final.
pub mod datagram_send_state {
    /// Not yet sent.
    pub const UNKNOWN: u32 = 0;
    /// Sent.
    pub const SENT: u32 = 1;
    /// Believed to be lost.
    pub const LOST_SUSPECT: u32 = 2;
    /// Given up.
    pub const LOST_DISCARDED: u32 = 3;
    /// Arrived.
    pub const ACKNOWLEDGED: u32 = 4;
    /// Arrived after all.
    pub const ACKNOWLEDGED_SPURIOUS: u32 = 5;
    /// Never sent.
    pub const CANCELED: u32 = 6;
}

/// See [`ConnectionEventBody`].
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Resumed {
    /// Bytes at `resumption_state`.
    pub resumption_state_length: u16,
    /// What the application put into the ticket.
    pub resumption_state: *const u8,
}

/// See [`ConnectionEventBody`].
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct TicketReceived {
    /// Bytes at `resumption_ticket`.
    pub resumption_ticket_length: u32,
    /// The ticket.
    pub resumption_ticket: *const u8,
}

/// See [`ConnectionEventBody`].
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct PeerCertificateReceived {
    /// A [`Buffer`] of DER with portable certificates.
    pub certificate: *mut c_void,
    /// Always 0.
    pub deferred_error_flags: u32,
    /// What validation says, with DEFER_CERTIFICATE_VALIDATION.
    pub deferred_status: Status,
    /// A [`Buffer`] of PKCS #7 with portable certificates.
    pub chain: *mut c_void,
}

/// See [`ConnectionEventBody`].
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct OneWayDelayNegotiated {
    /// This end sends timestamps.
    pub send_negotiated: Boolean,
    /// The peer does.
    pub receive_negotiated: Boolean,
}

/// See [`ConnectionEventBody`].
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct NetworkStatistics {
    /// Sent and not acknowledged.
    pub bytes_in_flight: u32,
    /// Given and not acknowledged.
    pub posted_bytes: u64,
    /// To be given, so that the path is busy.
    pub ideal_bytes: u64,
    /// In microseconds.
    pub smoothed_rtt: u64,
    /// In bytes.
    pub congestion_window: u32,
    /// In bytes a second.
    pub bandwidth: u64,
}

/// `QUIC_STREAM_EVENT_TYPE`.
pub mod stream_event {
    /// The stream has an ID, or never will.
    pub const START_COMPLETE: u32 = 0;
    /// Data came.
    pub const RECEIVE: u32 = 1;
    /// A send is done with.
    pub const SEND_COMPLETE: u32 = 2;
    /// The peer has sent everything.
    pub const PEER_SEND_SHUTDOWN: u32 = 3;
    /// The peer reset its part.
    pub const PEER_SEND_ABORTED: u32 = 4;
    /// The peer wants no more.
    pub const PEER_RECEIVE_ABORTED: u32 = 5;
    /// The sending part is done.
    pub const SEND_SHUTDOWN_COMPLETE: u32 = 6;
    /// It is over, and the handle may be closed.
    pub const SHUTDOWN_COMPLETE: u32 = 7;
    /// How much to have under way.
    pub const IDEAL_SEND_BUFFER_SIZE: u32 = 8;
    /// The peer's limit permits it now.
    pub const PEER_ACCEPTED: u32 = 9;
    /// A loss cancels it.
    pub const CANCEL_ON_LOSS: u32 = 10;
    /// More came than there is room for in the application's memory.
    pub const RECEIVE_BUFFER_NEEDED: u32 = 11;
}

/// `QUIC_STREAM_EVENT`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct StreamEvent {
    /// One of [`stream_event`].
    pub event_type: u32,
    /// By its type.
    pub body: StreamEventBody,
}

/// What a [`StreamEvent`] says.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(missing_docs)] // They are named after their types.
pub union StreamEventBody {
    pub start_complete: StartComplete,
    pub receive: Receive,
    pub send_complete: SendComplete,
    pub peer_send_aborted: u64,
    pub peer_receive_aborted: u64,
    pub send_shutdown_complete: Boolean,
    pub shutdown_complete: StreamShutdownComplete,
    pub ideal_send_buffer_size: u64,
    /// Set by the application.
    pub cancel_on_loss: u64,
    /// How many more bytes of room would do.
    pub receive_buffer_needed: u64,
}

/// See [`StreamEventBody`].
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct StartComplete {
    /// Whether it was started.
    pub status: Status,
    /// Its ID.
    pub id: u64,
    /// Bit 0: the peer's limit permits it.
    pub peer_accepted: Boolean,
}

/// See [`StreamEventBody`].
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Receive {
    /// Where in the stream.
    pub absolute_offset: u64,
    /// How many bytes; the application may write how many it took.
    pub total_buffer_length: u64,
    /// The bytes.
    pub buffers: *const Buffer,
    /// In how many pieces.
    pub buffer_count: u32,
    /// Some of [`super::receive`].
    pub flags: u32,
}

/// See [`StreamEventBody`].
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct SendComplete {
    /// Whether the peer may not have it.
    pub canceled: Boolean,
    /// As it was given.
    pub client_context: *mut c_void,
}

/// See [`StreamEventBody`].
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct StreamShutdownComplete {
    /// Because the connection ends.
    pub connection_shutdown: Boolean,
    /// Bits: the application is closing it; it was the application that ended the connection; it was the
    /// other end that did.
    pub flags: Boolean,
    /// The code on the wire.
    pub connection_error_code: u64,
    /// Why.
    pub connection_close_status: Status,
}
