//! What a handshake has come to.

use bytes::Bytes;
use tercel_proto::tls::Negotiated;
use tercel_wire::Version;

use crate::configuration::EchStatus;

/// What the two ends have agreed on, once the handshake is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandshakeInfo {
    /// The version of QUIC.
    pub version: Version,
    /// What TLS agreed on: cipher suite and key exchange.
    pub tls: Negotiated,
    /// The application protocol.
    pub alpn: Bytes,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
    /// Whether early data was sent and taken.
    pub early_data_accepted: bool,
    /// Client: what became of an encrypted ClientHello.
    pub ech: EchStatus,
}
