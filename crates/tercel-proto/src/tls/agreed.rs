//! What a server keeps of TLS when the handshake is over.
//!
//! From then on a client has nothing to say in CRYPTO frames that would not be an error (RFC 9001 sections 4.4 and 6,
//! RFC 8446 section 4.6): its keys are updated by packets, it is asked for no certificate, and tickets are for servers
//! to send, which need [an issuer](super::tickets) for that and not TLS.

use bytes::Bytes;

use super::exporter::Exporter;
use super::tickets::Issuer;
use super::{Negotiated, TlsSecrets, alert, tls_error};
use crate::error::Violation;

/// What is wrong with whatever else comes in CRYPTO frames.
// RFC 9001 section 6#2: a KeyUpdate among it.
pub(crate) const UNEXPECTED: Violation = tls_error(alert::UNEXPECTED_MESSAGE, "a TLS message after the handshake");

/// What the two ends agreed on, and what more is made of it later.
pub(crate) struct Agreed {
    pub(super) alpn: Option<Box<[u8]>>,
    pub(super) negotiated: Option<Negotiated>,
    pub(super) peer_certificates: Option<Vec<Bytes>>,
    pub(super) exporter: Box<Exporter>,
    pub(super) issuer: Option<Box<Issuer>>,
    pub(super) secrets: Option<Box<TlsSecrets>>,
}

impl Agreed {
    /// The application protocol.
    pub(crate) fn alpn(&self) -> Option<&[u8]> {
        self.alpn.as_deref()
    }

    /// Of the rest.
    pub(crate) const fn negotiated(&self) -> Option<Negotiated> {
        self.negotiated
    }

    /// The client's certificates (DER, leaf first), if it has shown any.
    pub(crate) fn peer_certificates(&self) -> Option<Vec<Bytes>> {
        self.peer_certificates.clone()
    }

    /// The secrets of the handshake, if they are kept.
    pub(crate) fn secrets(&self) -> Option<&TlsSecrets> {
        self.secrets.as_deref()
    }

    /// What makes tickets, if the session can be resumed.
    pub(crate) fn issuer(&mut self) -> Option<&mut Issuer> {
        self.issuer.as_deref_mut()
    }

    /// Keying material for the application; false if it cannot be so much.
    pub(crate) fn export_keying_material(&self, out: &mut [u8], label: &[u8], context: &[u8]) -> bool {
        self.exporter.export(out, label, context)
    }
}
