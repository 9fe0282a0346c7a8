//! Statistics and what is known of a handshake.

/// `QUIC_STATISTICS`, the first version.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)] // They are MsQuic's, and documented there.
pub struct Statistics {
    pub correlation_id: u64,
    /// See [`statistics_bits`], the first four.
    pub bits: u32,
    pub rtt: u32,
    pub min_rtt: u32,
    pub max_rtt: u32,
    pub timing_start: u64,
    pub timing_initial_flight_end: u64,
    pub timing_handshake_flight_end: u64,
    pub handshake_client_flight1_bytes: u32,
    pub handshake_server_flight1_bytes: u32,
    pub handshake_client_flight2_bytes: u32,
    pub send: SendStatistics,
    pub recv: ReceiveStatistics,
    /// A struct of its own in the header.
    pub misc: MiscStatistics,
}

/// See [`Statistics`].
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct SendStatistics {
    pub path_mtu: u16,
    pub total_packets: u64,
    pub retransmittable_packets: u64,
    pub suspected_lost_packets: u64,
    pub spurious_lost_packets: u64,
    pub total_bytes: u64,
    pub total_stream_bytes: u64,
    pub congestion_count: u32,
    pub persistent_congestion_count: u32,
}

/// See [`Statistics`].
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct ReceiveStatistics {
    pub total_packets: u64,
    pub reordered_packets: u64,
    pub dropped_packets: u64,
    pub duplicate_packets: u64,
    pub total_bytes: u64,
    pub total_stream_bytes: u64,
    pub decryption_failures: u64,
    pub valid_ack_frames: u64,
}

/// See [`Statistics`].
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct MiscStatistics {
    pub key_update_count: u32,
}

/// `QUIC_STATISTICS_V2`. It has grown at its end; see [`STATISTICS_V2_SIZES`].
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct StatisticsV2 {
    pub correlation_id: u64,
    /// See [`statistics_bits`].
    pub bits: u32,
    pub rtt: u32,
    pub min_rtt: u32,
    pub max_rtt: u32,
    pub timing_start: u64,
    pub timing_initial_flight_end: u64,
    pub timing_handshake_flight_end: u64,
    pub handshake_client_flight1_bytes: u32,
    pub handshake_server_flight1_bytes: u32,
    pub handshake_client_flight2_bytes: u32,
    pub send_path_mtu: u16,
    pub send_total_packets: u64,
    pub send_retransmittable_packets: u64,
    pub send_suspected_lost_packets: u64,
    pub send_spurious_lost_packets: u64,
    pub send_total_bytes: u64,
    pub send_total_stream_bytes: u64,
    pub send_congestion_count: u32,
    pub send_persistent_congestion_count: u32,
    pub recv_total_packets: u64,
    pub recv_reordered_packets: u64,
    pub recv_dropped_packets: u64,
    pub recv_duplicate_packets: u64,
    pub recv_total_bytes: u64,
    pub recv_total_stream_bytes: u64,
    pub recv_decryption_failures: u64,
    pub recv_valid_ack_frames: u64,
    pub key_update_count: u32,
    pub send_congestion_window: u32,
    pub dest_cid_update_count: u32,
    pub send_ecn_congestion_count: u32,
    pub handshake_hop_limit_ttl: u8,
    pub rtt_variance: u32,
}

/// The sizes that [`StatisticsV2`] has had: with the versions 2.0, 2.1, 2.2 and 2.5.
pub const STATISTICS_V2_SIZES: [usize; 4] = [
    std::mem::offset_of!(StatisticsV2, key_update_count) + 4,
    std::mem::offset_of!(StatisticsV2, dest_cid_update_count) + 4,
    std::mem::offset_of!(StatisticsV2, send_ecn_congestion_count) + 4,
    std::mem::offset_of!(StatisticsV2, rtt_variance) + 4,
];

/// The bits of [`Statistics::bits`] and [`StatisticsV2::bits`].
#[allow(missing_docs)]
pub mod statistics_bits {
    pub const VERSION_NEGOTIATION: u32 = 1;
    pub const STATELESS_RETRY: u32 = 1 << 1;
    pub const RESUMPTION_ATTEMPTED: u32 = 1 << 2;
    pub const RESUMPTION_SUCCEEDED: u32 = 1 << 3;
    pub const GREASE_BIT_NEGOTIATED: u32 = 1 << 4;
    pub const ECN_CAPABLE: u32 = 1 << 5;
    pub const ENCRYPTION_OFFLOADED: u32 = 1 << 6;
}

/// `QUIC_LISTENER_STATISTICS`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct ListenerStatistics {
    pub total_accepted_connections: u64,
    pub total_rejected_connections: u64,
    pub binding_recv_dropped_packets: u64,
}

/// `QUIC_STREAM_STATISTICS`: for how long what held a stream back, in microseconds.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct StreamStatistics {
    pub conn_blocked_by_scheduling_us: u64,
    pub conn_blocked_by_pacing_us: u64,
    pub conn_blocked_by_amplification_prot_us: u64,
    pub conn_blocked_by_congestion_control_us: u64,
    pub conn_blocked_by_flow_control_us: u64,
    pub stream_blocked_by_id_flow_control_us: u64,
    pub stream_blocked_by_flow_control_us: u64,
    pub stream_blocked_by_app_us: u64,
}

/// `QUIC_HANDSHAKE_INFO`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HandshakeInfo {
    /// 0x3000: TLS 1.3.
    pub tls_protocol_version: u32,
    /// 0x660e AES-128, 0x6610 AES-256, 0x6612 ChaCha20.
    pub cipher_algorithm: u32,
    /// In bits.
    pub cipher_strength: i32,
    /// 0x800c SHA-256, 0x800d SHA-384.
    pub hash: u32,
    /// Always 0.
    pub hash_strength: i32,
    /// Always 0.
    pub key_exchange_algorithm: u32,
    /// Always 0.
    pub key_exchange_strength: i32,
    /// As IANA numbers them.
    pub cipher_suite: u32,
    /// As IANA numbers them.
    pub tls_group: u32,
}

/// The longest secret in [`TlsSecrets`].
pub const MAX_SECRET: usize = 64;

/// `QUIC_TLS_SECRETS`: what SSLKEYLOGFILE would have. Bits of `is_set` in the order of the fields.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(missing_docs)]
pub struct TlsSecrets {
    pub secret_length: u8,
    pub is_set: u8,
    pub client_random: [u8; 32],
    pub client_early_traffic_secret: [u8; MAX_SECRET],
    pub client_handshake_traffic_secret: [u8; MAX_SECRET],
    pub server_handshake_traffic_secret: [u8; MAX_SECRET],
    pub client_traffic_secret0: [u8; MAX_SECRET],
    pub server_traffic_secret0: [u8; MAX_SECRET],
}

/// How many counters `GLOBAL_PERF_COUNTERS` has.
pub const PERF_COUNTERS: usize = 32;
