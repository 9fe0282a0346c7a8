//! Sizes and offsets on 64-bit systems, checked when this is compiled. Where every field follows from its
//! neighbours by the rules of C, the size and the last offset tell.

#![cfg(target_pointer_width = "64")]

use std::mem::{align_of, offset_of, size_of};

use super::*;

macro_rules! layout {
    ($($ty:ty: $size:literal, align $align:literal { $($($field:ident).+ @ $offset:literal),* $(,)? })*) => {
        $(const _: () = {
            assert!(size_of::<$ty>() == $size);
            assert!(align_of::<$ty>() == $align);
            $(assert!(offset_of!($ty, $($field).+) == $offset);)*
        };)*
    };
}

layout! {
    Handle: 8, align 8 {}
    Status: 4, align 4 {}
    Buffer: 16, align 8 { length @ 0, buffer @ 8 }
    Addr: 28, align 4 {}
    RegistrationConfig: 16, align 8 { app_name @ 0, execution_profile @ 8 }
    NewConnectionInfo: 72, align 8 {
        quic_version @ 0, local_address @ 8, remote_address @ 16, crypto_buffer_length @ 24,
        client_alpn_list_length @ 28, server_name_length @ 30, negotiated_alpn_length @ 32,
        crypto_buffer @ 40, client_alpn_list @ 48, negotiated_alpn @ 56, server_name @ 64,
    }
    KeyingMaterialConfig: 32, align 8 { label @ 0, context_length @ 8, context @ 16, output_length @ 24 }
    VersionSettings: 40, align 8 {
        acceptable_versions @ 0, offered_versions @ 8, fully_deployed_versions @ 16,
        acceptable_versions_length @ 24, offered_versions_length @ 28, fully_deployed_versions_length @ 32,
    }
    ExecutionConfig: 16, align 8 { ideal_processor @ 0, event_queue @ 8 }
    GlobalExecutionConfig: 16, align 4 {
        flags @ 0, polling_idle_timeout_us @ 4, processor_count @ 8, processor_list @ 12,
    }
    ConnectionPoolConfig: 72, align 8 {
        registration @ 0, configuration @ 8, handler @ 16, context @ 24, server_name @ 32, server_address @ 40,
        family @ 48, server_port @ 50, number_of_connections @ 52, cibir_ids @ 56, cibir_id_length @ 64, flags @ 68,
    }
    CertificateFile: 16, align 8 { private_key_file @ 0, certificate_file @ 8 }
    CertificateFileProtected: 24, align 8 { private_key_file @ 0, certificate_file @ 8, private_key_password @ 16 }
    CertificatePkcs12: 24, align 8 { asn1_blob @ 0, asn1_blob_length @ 8, private_key_password @ 16 }
    CredentialConfig: 56, align 8 {
        credential_type @ 0, flags @ 4, certificate @ 8, principal @ 16, reserved @ 24, async_handler @ 32,
        allowed_cipher_suites @ 40, ca_certificate_file @ 48,
    }
    TicketKeyConfig: 81, align 1 { id @ 0, material @ 16, material_length @ 80 }
    Settings: 144, align 8 {
        is_set @ 0, max_bytes_per_key @ 8, handshake_idle_timeout_ms @ 16, idle_timeout_ms @ 24,
        mtu_discovery_search_complete_timeout_us @ 32, tls_client_max_send_buffer @ 40,
        tls_server_max_send_buffer @ 44, stream_recv_window_default @ 48, stream_recv_buffer_default @ 52,
        conn_flow_control_window @ 56, max_worker_queue_delay_us @ 60, max_stateless_operations @ 64,
        initial_window_packets @ 68, send_idle_timeout_ms @ 72, initial_rtt_ms @ 76, max_ack_delay_ms @ 80,
        disconnect_timeout_ms @ 84, keep_alive_interval_ms @ 88, congestion_control_algorithm @ 92,
        peer_bidi_stream_count @ 94, peer_unidi_stream_count @ 96, max_binding_stateless_operations @ 98,
        stateless_operation_expiration_ms @ 100, minimum_mtu @ 102, maximum_mtu @ 104, bits @ 106,
        max_operations_per_drain @ 107, mtu_discovery_missing_probe_count @ 108,
        dest_cid_update_idle_timeout_ms @ 112, flags @ 120, stream_recv_window_bidi_local_default @ 128,
        stream_recv_window_bidi_remote_default @ 132, stream_recv_window_unidi_default @ 136,
    }
    GlobalSettings: 16, align 8 { is_set @ 0, retry_memory_limit @ 8, load_balancing_mode @ 10, fixed_server_id @ 12 }
    Statistics: 200, align 8 {
        correlation_id @ 0, bits @ 8, rtt @ 12, min_rtt @ 16, max_rtt @ 20, timing_start @ 24,
        handshake_client_flight1_bytes @ 48, send @ 64, recv @ 128, misc @ 192,
    }
    SendStatistics: 64, align 8 { path_mtu @ 0, total_packets @ 8, congestion_count @ 56 }
    ReceiveStatistics: 64, align 8 { total_packets @ 0, valid_ack_frames @ 56 }
    StatisticsV2: 208, align 8 {
        correlation_id @ 0, bits @ 8, rtt @ 12, timing_start @ 24, handshake_client_flight1_bytes @ 48,
        send_path_mtu @ 60, send_total_packets @ 64, send_congestion_count @ 112, recv_total_packets @ 120,
        recv_valid_ack_frames @ 176, key_update_count @ 184, send_congestion_window @ 188,
        dest_cid_update_count @ 192, send_ecn_congestion_count @ 196, handshake_hop_limit_ttl @ 200,
        rtt_variance @ 204,
    }
    ListenerStatistics: 24, align 8 {}
    StreamStatistics: 64, align 8 {}
    HandshakeInfo: 36, align 4 { cipher_suite @ 28, tls_group @ 32 }
    TlsSecrets: 354, align 1 { is_set @ 1, client_random @ 2, server_traffic_secret0 @ 290 }
    ListenerEvent: 24, align 8 { event_type @ 0, body @ 8 }
    NewConnection: 16, align 8 { info @ 0, connection @ 8 }
    ConnectionEvent: 56, align 8 { event_type @ 0, body @ 8 }
    Connected: 16, align 8 { session_resumed @ 0, negotiated_alpn_length @ 1, negotiated_alpn @ 8 }
    ShutdownByTransport: 16, align 8 { status @ 0, error_code @ 8 }
    PeerStreamStarted: 16, align 8 { stream @ 0, flags @ 8 }
    StreamsAvailable: 4, align 2 {}
    IdealProcessorChanged: 4, align 2 {}
    DatagramStateChanged: 4, align 2 { send_enabled @ 0, max_send_length @ 2 }
    DatagramReceived: 16, align 8 { buffer @ 0, flags @ 8 }
    DatagramSendStateChanged: 16, align 8 { client_context @ 0, state @ 8 }
    Resumed: 16, align 8 { resumption_state_length @ 0, resumption_state @ 8 }
    TicketReceived: 16, align 8 { resumption_ticket_length @ 0, resumption_ticket @ 8 }
    PeerCertificateReceived: 24, align 8 {
        certificate @ 0, deferred_error_flags @ 8, deferred_status @ 12, chain @ 16,
    }
    OneWayDelayNegotiated: 2, align 1 {}
    NetworkStatistics: 48, align 8 {
        bytes_in_flight @ 0, posted_bytes @ 8, ideal_bytes @ 16, smoothed_rtt @ 24, congestion_window @ 32,
        bandwidth @ 40,
    }
    StreamEvent: 40, align 8 { event_type @ 0, body @ 8 }
    StartComplete: 24, align 8 { status @ 0, id @ 8, peer_accepted @ 16 }
    Receive: 32, align 8 { absolute_offset @ 0, total_buffer_length @ 8, buffers @ 16, buffer_count @ 24, flags @ 28 }
    SendComplete: 16, align 8 { canceled @ 0, client_context @ 8 }
    StreamShutdownComplete: 24, align 8 {
        connection_shutdown @ 0, flags @ 1, connection_error_code @ 8, connection_close_status @ 16,
    }
    ApiTable: 312, align 8 {
        set_param @ 24, registration_open @ 40, configuration_open @ 64, listener_open @ 88, connection_open @ 120,
        stream_open @ 168, stream_receive_set_enabled @ 216, datagram_send @ 224,
        connection_certificate_validation_complete @ 240, connection_open_in_partition @ 248,
        stream_provide_receive_buffers @ 256, execution_create @ 272, registration_close2 @ 296,
        connection_export_keying_material @ 304,
    }
}

const _: () = {
    let sizes = STATISTICS_V2_SIZES;
    assert!(sizes[0] == 188 && sizes[1] == 196 && sizes[2] == 200 && sizes[3] == 208);
};
