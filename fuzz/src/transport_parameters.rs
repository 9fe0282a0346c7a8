//! The extension of TLS: the input is what one end sent.

use tercel_wire::{Role, TransportParameters};

/// What one end may say is within bounds, and is the same when it is written and read again.
pub fn transport_parameters(data: &[u8]) {
    let server = TransportParameters::decode(data, Role::Server);
    let client = TransportParameters::decode(data, Role::Client);
    if let Ok(client) = &client {
        assert_eq!(server.as_ref(), Ok(client), "a server may say whatever a client may");
    }
    for (sender, parameters) in [(Role::Client, client), (Role::Server, server)] {
        let Ok(parameters) = parameters else { continue };
        assert!(parameters.max_udp_payload_size >= 1200);
        assert!(parameters.ack_delay_exponent <= 20);
        assert!(parameters.max_ack_delay < 1 << 14);
        assert!(parameters.min_ack_delay.is_none_or(|min| min <= 1000 * parameters.max_ack_delay));
        assert!(parameters.active_connection_id_limit >= 2);
        assert!(parameters.initial_max_streams_bidi <= 1 << 60 && parameters.initial_max_streams_uni <= 1 << 60);
        assert!(parameters.preferred_address.as_ref().is_none_or(|address| !address.connection_id.is_empty()));
        let bytes = parameters.encode(None);
        assert_eq!(TransportParameters::decode(&bytes, sender), Ok(parameters));
    }
}
