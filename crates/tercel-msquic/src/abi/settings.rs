//! `QUIC_SETTINGS` and `QUIC_GLOBAL_SETTINGS`. A program says how much of the struct it knows by its size:
//! fields beyond that are not read and not written.

/// `QUIC_SETTINGS`. Bits of `is_set` say which fields hold a value; see [`is_set`].
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)] // They are MsQuic's, and documented there.
pub struct Settings {
    pub is_set: u64,
    pub max_bytes_per_key: u64,
    pub handshake_idle_timeout_ms: u64,
    pub idle_timeout_ms: u64,
    pub mtu_discovery_search_complete_timeout_us: u64,
    pub tls_client_max_send_buffer: u32,
    pub tls_server_max_send_buffer: u32,
    pub stream_recv_window_default: u32,
    pub stream_recv_buffer_default: u32,
    pub conn_flow_control_window: u32,
    pub max_worker_queue_delay_us: u32,
    pub max_stateless_operations: u32,
    pub initial_window_packets: u32,
    pub send_idle_timeout_ms: u32,
    pub initial_rtt_ms: u32,
    pub max_ack_delay_ms: u32,
    pub disconnect_timeout_ms: u32,
    pub keep_alive_interval_ms: u32,
    pub congestion_control_algorithm: u16,
    pub peer_bidi_stream_count: u16,
    pub peer_unidi_stream_count: u16,
    pub max_binding_stateless_operations: u16,
    pub stateless_operation_expiration_ms: u16,
    pub minimum_mtu: u16,
    pub maximum_mtu: u16,
    /// See [`bits`].
    pub bits: u8,
    pub max_operations_per_drain: u8,
    pub mtu_discovery_missing_probe_count: u8,
    pub dest_cid_update_idle_timeout_ms: u32,
    /// See [`flags`].
    pub flags: u64,
    pub stream_recv_window_bidi_local_default: u32,
    pub stream_recv_window_bidi_remote_default: u32,
    pub stream_recv_window_unidi_default: u32,
}

/// The bits of [`Settings::bits`]: shift and width of each.
#[allow(missing_docs)]
pub mod bits {
    pub const SEND_BUFFERING_ENABLED: (u32, u32) = (0, 1);
    pub const PACING_ENABLED: (u32, u32) = (1, 1);
    pub const MIGRATION_ENABLED: (u32, u32) = (2, 1);
    pub const DATAGRAM_RECEIVE_ENABLED: (u32, u32) = (3, 1);
    pub const SERVER_RESUMPTION_LEVEL: (u32, u32) = (4, 2);
    pub const GREASE_QUIC_BIT_ENABLED: (u32, u32) = (6, 1);
    pub const ECN_ENABLED: (u32, u32) = (7, 1);
}

/// The bits of [`Settings::flags`].
#[allow(missing_docs)]
pub mod flags {
    pub const HYSTART_ENABLED: u64 = 1;
    pub const ENCRYPTION_OFFLOAD_ALLOWED: u64 = 1 << 1;
    pub const RELIABLE_RESET_ENABLED: u64 = 1 << 2;
    pub const ONE_WAY_DELAY_ENABLED: u64 = 1 << 3;
    pub const NET_STATS_EVENT_ENABLED: u64 = 1 << 4;
    pub const STREAM_MULTI_RECEIVE_ENABLED: u64 = 1 << 5;
    pub const XDP_ENABLED: u64 = 1 << 6;
    pub const QTIP_ENABLED: u64 = 1 << 7;
    pub const RIO_ENABLED: u64 = 1 << 8;
}

/// The bits of [`Settings::is_set`].
#[allow(missing_docs)]
pub mod is_set {
    pub const MAX_BYTES_PER_KEY: u64 = 1;
    pub const HANDSHAKE_IDLE_TIMEOUT_MS: u64 = 1 << 1;
    pub const IDLE_TIMEOUT_MS: u64 = 1 << 2;
    pub const MTU_DISCOVERY_SEARCH_COMPLETE_TIMEOUT_US: u64 = 1 << 3;
    pub const TLS_CLIENT_MAX_SEND_BUFFER: u64 = 1 << 4;
    pub const TLS_SERVER_MAX_SEND_BUFFER: u64 = 1 << 5;
    pub const STREAM_RECV_WINDOW_DEFAULT: u64 = 1 << 6;
    pub const STREAM_RECV_BUFFER_DEFAULT: u64 = 1 << 7;
    pub const CONN_FLOW_CONTROL_WINDOW: u64 = 1 << 8;
    pub const MAX_WORKER_QUEUE_DELAY_US: u64 = 1 << 9;
    pub const MAX_STATELESS_OPERATIONS: u64 = 1 << 10;
    pub const INITIAL_WINDOW_PACKETS: u64 = 1 << 11;
    pub const SEND_IDLE_TIMEOUT_MS: u64 = 1 << 12;
    pub const INITIAL_RTT_MS: u64 = 1 << 13;
    pub const MAX_ACK_DELAY_MS: u64 = 1 << 14;
    pub const DISCONNECT_TIMEOUT_MS: u64 = 1 << 15;
    pub const KEEP_ALIVE_INTERVAL_MS: u64 = 1 << 16;
    pub const CONGESTION_CONTROL_ALGORITHM: u64 = 1 << 17;
    pub const PEER_BIDI_STREAM_COUNT: u64 = 1 << 18;
    pub const PEER_UNIDI_STREAM_COUNT: u64 = 1 << 19;
    pub const MAX_BINDING_STATELESS_OPERATIONS: u64 = 1 << 20;
    pub const STATELESS_OPERATION_EXPIRATION_MS: u64 = 1 << 21;
    pub const MINIMUM_MTU: u64 = 1 << 22;
    pub const MAXIMUM_MTU: u64 = 1 << 23;
    pub const SEND_BUFFERING_ENABLED: u64 = 1 << 24;
    pub const PACING_ENABLED: u64 = 1 << 25;
    pub const MIGRATION_ENABLED: u64 = 1 << 26;
    pub const DATAGRAM_RECEIVE_ENABLED: u64 = 1 << 27;
    pub const SERVER_RESUMPTION_LEVEL: u64 = 1 << 28;
    pub const MAX_OPERATIONS_PER_DRAIN: u64 = 1 << 29;
    pub const MTU_DISCOVERY_MISSING_PROBE_COUNT: u64 = 1 << 30;
    pub const DEST_CID_UPDATE_IDLE_TIMEOUT_MS: u64 = 1 << 31;
    pub const GREASE_QUIC_BIT_ENABLED: u64 = 1 << 32;
    pub const ECN_ENABLED: u64 = 1 << 33;
    pub const HYSTART_ENABLED: u64 = 1 << 34;
    pub const STREAM_RECV_WINDOW_BIDI_LOCAL_DEFAULT: u64 = 1 << 35;
    pub const STREAM_RECV_WINDOW_BIDI_REMOTE_DEFAULT: u64 = 1 << 36;
    pub const STREAM_RECV_WINDOW_UNIDI_DEFAULT: u64 = 1 << 37;
    pub const ENCRYPTION_OFFLOAD_ALLOWED: u64 = 1 << 38;
    pub const RELIABLE_RESET_ENABLED: u64 = 1 << 39;
    pub const ONE_WAY_DELAY_ENABLED: u64 = 1 << 40;
    pub const NET_STATS_EVENT_ENABLED: u64 = 1 << 41;
    pub const STREAM_MULTI_RECEIVE_ENABLED: u64 = 1 << 42;
    pub const XDP_ENABLED: u64 = 1 << 43;
    pub const QTIP_ENABLED: u64 = 1 << 44;
    pub const RIO_ENABLED: u64 = 1 << 45;
}

/// `QUIC_GLOBAL_SETTINGS`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GlobalSettings {
    /// Bits in the order of the fields.
    pub is_set: u64,
    /// The share of memory for handshakes beyond which clients must prove their addresses; 65535 is all.
    pub retry_memory_limit: u16,
    /// 0 none, 1 the server's address, 2 a fixed ID, within connection IDs.
    pub load_balancing_mode: u16,
    /// The fixed ID.
    pub fixed_server_id: u32,
}
