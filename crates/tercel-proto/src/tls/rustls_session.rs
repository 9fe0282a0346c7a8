//! TLS by rustls.

use bytes::Bytes;
use rustls::quic::Connection;
use rustls::{CertificateError, Error, HandshakeKind, PeerMisbehaved};
use tercel_wire::TransportErrorCode;

use super::{KeyChange, Negotiated, Session, alert, tls_error};
use crate::error::Violation;
use crate::keys::DirectionalKeys;

/// A TLS session of rustls.
pub struct RustlsSession(Connection);

impl RustlsSession {
    /// Wraps a session, client or server.
    pub const fn new(connection: Connection) -> Self {
        Self(connection)
    }
}

/// What went wrong, for people; rustls's own texts may hold data of the peer.
const fn describe(error: &Error) -> &'static str {
    match error {
        Error::InvalidCertificate(error) => describe_certificate(error),
        Error::NoCertificatesPresented => "the peer showed no certificate",
        Error::NoApplicationProtocol => "no application protocol in common",
        Error::PeerIncompatible(_) => "the peer's TLS cannot do what is needed",
        Error::PeerMisbehaved(_) => "the peer broke a rule of TLS",
        Error::InvalidMessage(_) => "the peer's TLS message could not be read",
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            "the peer sent a TLS message out of turn"
        }
        _ => "the TLS handshake failed",
    }
}

/// In words that are right at both ends: the peer is told, too.
const fn describe_certificate(error: &CertificateError) -> &'static str {
    use CertificateError as E;
    match error {
        E::UnknownIssuer => "no authority that is trusted here has signed the certificate",
        E::Expired | E::ExpiredContext { .. } => "the certificate has expired",
        E::NotValidYet | E::NotValidYetContext { .. } => "the certificate is not valid yet",
        E::NotValidForName | E::NotValidForNameContext { .. } => "the certificate is for another name",
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => "the certificate is for another purpose",
        E::Revoked => "the certificate was revoked",
        E::ApplicationVerificationFailure => "the certificate is not the one expected",
        E::BadSignature => "a signature of the certificate's chain is wrong",
        _ => "the certificate is not valid",
    }
}

/// The alert for errors that rustls raises without one.
const fn fallback_alert(error: &Error) -> u8 {
    match error {
        Error::InvalidMessage(_) => alert::DECODE_ERROR,
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => alert::UNEXPECTED_MESSAGE,
        Error::NoApplicationProtocol => alert::NO_APPLICATION_PROTOCOL,
        _ => alert::INTERNAL_ERROR,
    }
}

impl Session for RustlsSession {
    // RFC 9001 section 4.8#1: whatever TLS finds ends the connection.
    fn read(&mut self, message: &[u8]) -> Result<(), Violation> {
        self.0.read_hs(message).map_err(|error| {
            tracing::debug!(%error, "TLS failed");
            if let Error::PeerMisbehaved(PeerMisbehaved::InvalidMaxEarlyDataSize) = error {
                // RFC 9001 section 4.6.1#2.
                let what = "a ticket limits early data, which QUIC does otherwise";
                return Violation::new(TransportErrorCode::PROTOCOL_VIOLATION, what);
            }
            let alert = self.0.alert().map_or(fallback_alert(&error), u8::from);
            tls_error(alert, describe(&error))
        })
    }

    fn write(&mut self, out: &mut Vec<u8>) -> Option<KeyChange> {
        Some(match self.0.write_hs(out)? {
            rustls::quic::KeyChange::Handshake { keys } => KeyChange::Handshake(keys.into()),
            rustls::quic::KeyChange::OneRtt { keys, next } => KeyChange::OneRtt(keys.into(), Box::new(next.into())),
        })
    }

    fn peer_parameters(&self) -> Option<&[u8]> {
        self.0.quic_transport_parameters()
    }

    fn early_keys(&self) -> Option<DirectionalKeys> {
        self.0.zero_rtt_keys().map(DirectionalKeys::from)
    }

    fn is_handshaking(&self) -> bool {
        self.0.is_handshaking()
    }

    fn early_data_accepted(&self) -> bool {
        match &self.0 {
            Connection::Client(client) => client.is_early_data_accepted(),
            Connection::Server(server) => server.zero_rtt_keys().is_some(),
        }
    }

    fn refuse_early_data(&mut self) {
        if let Connection::Server(server) = &mut self.0
            && server.is_handshaking()
        {
            server.reject_early_data();
        }
    }

    fn is_resumed(&self) -> bool {
        self.0.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    fn negotiated(&self) -> Option<Negotiated> {
        const NAMELESS: &str = "unknown";
        let suite = self.0.negotiated_cipher_suite()?.suite();
        let group = self.0.negotiated_key_exchange_group().map(|group| group.name());
        Some(Negotiated {
            cipher_suite: (suite.into(), suite.as_str().unwrap_or(NAMELESS)),
            key_exchange: group.map(|group| (group.into(), group.as_str().unwrap_or(NAMELESS))),
            hello_retry: self.0.handshake_kind() == Some(HandshakeKind::FullWithHelloRetryRequest),
        })
    }

    fn alpn(&self) -> Option<&[u8]> {
        self.0.alpn_protocol()
    }

    fn peer_certificates(&self) -> Option<Vec<Bytes>> {
        let chain = self.0.peer_certificates()?;
        Some(chain.iter().map(|certificate| Bytes::copy_from_slice(certificate)).collect())
    }

    fn export_keying_material(&self, out: &mut [u8], label: &[u8], context: &[u8]) -> bool {
        self.0.export_keying_material(out, label, Some(context)).is_ok()
    }
}
