//! The peer's certificate: what the credential says of it, and what the application does.

use std::ffi::c_void;
use std::sync::Arc;

use tercel::{Alert, PeerCertificate, PendingVerdict, Verdict};

use super::Connection;
use crate::abi::{Buffer, ConnectionEventBody, PeerCertificateReceived, Status, connection_event};

impl Connection {
    pub(super) fn certificate(self: &Arc<Self>, certificate: &PeerCertificate, verdict: PendingVerdict) {
        let configuration = self.state().configuration.clone();
        let judgement = configuration.and_then(|configuration| configuration.credential()).map(|of| of.judgement());
        // Dropping the verdict rejects.
        let Some(judgement) = judgement else { return };
        let advised = if judgement.none { Verdict::Accept } else { certificate.advised_verdict() };
        if !judgement.indicated || (advised != Verdict::Accept && !judgement.deferred) {
            // Who has left meanwhile needs no verdict.
            let _ = verdict.give(advised);
            return;
        }
        let deferred_status = match advised {
            Verdict::Accept => Status::SUCCESS,
            Verdict::Reject(alert) => match alert {
                Alert::CERTIFICATE_EXPIRED => Status::CERT_EXPIRED,
                Alert::UNKNOWN_CA => Status::CERT_UNTRUSTED_ROOT,
                alert => Status::of_alert(alert.number()),
            },
        };
        self.state().verdict = Some(verdict);
        let mut leaf = certificate.leaf().to_vec();
        let mut chain = pkcs7(certificate.chain());
        let buffer = |bytes: &mut Vec<u8>| Buffer { length: bytes.len() as u32, buffer: bytes.as_mut_ptr() };
        let (mut leaf, mut chain) = (buffer(&mut leaf), buffer(&mut chain));
        let pointer = |buffer: &mut Buffer| (&raw mut *buffer).cast::<c_void>();
        let (leaf, chain) = match judgement.portable {
            true => (pointer(&mut leaf), pointer(&mut chain)),
            // There are no objects of OpenSSL here.
            false => (std::ptr::null_mut(), std::ptr::null_mut()),
        };
        let peer_certificate_received =
            PeerCertificateReceived { certificate: leaf, deferred_error_flags: 0, deferred_status, chain };
        let body = ConnectionEventBody { peer_certificate_received };
        let (status, _) = self.tell(connection_event::PEER_CERTIFICATE_RECEIVED, body);
        let verdict = match status {
            Status::PENDING => return,
            status if status.is_failure() => Verdict::Reject(Alert::BAD_CERTIFICATE),
            _ => Verdict::Accept,
        };
        self.judge(verdict);
    }

    /// Gives the verdict, if it is waited for. Tells whether it was.
    pub(super) fn judge(&self, verdict: Verdict) -> bool {
        let pending = self.state().verdict.take();
        pending.is_some_and(|pending| pending.give(verdict).is_ok())
    }
}

/// A PKCS #7 structure (RFC 2315) that signs nothing and holds nothing but certificates.
fn pkcs7(chain: &[bytes::Bytes]) -> Vec<u8> {
    const SIGNED_DATA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
    const DATA: &[u8] = &[0x30, 0x0b, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];
    const VERSION_1: &[u8] = &[0x02, 0x01, 0x01];
    const NO_SET: &[u8] = &[0x31, 0x00];
    let certificates = der(0xa0, &chain.concat());
    let signed = der(0x30, &[VERSION_1, NO_SET, DATA, &certificates, NO_SET].concat());
    der(0x30, &[SIGNED_DATA, &der(0xa0, &signed)].concat())
}

/// One element of DER.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = content.len().to_be_bytes();
    let significant = &len[len.iter().position(|byte| *byte != 0).unwrap_or(len.len() - 1)..];
    let mut element = vec![tag];
    if content.len() < 0x80 {
        element.push(content.len() as u8);
    } else {
        element.push(0x80 | significant.len() as u8);
        element.extend_from_slice(significant);
    }
    element.extend_from_slice(content);
    element
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_der_are_as_short_as_can_be() {
        assert_eq!(der(4, &[7; 3]), [4, 3, 7, 7, 7]);
        assert_eq!(der(4, &[0; 0x7f])[..2], [4, 0x7f]);
        assert_eq!(der(4, &[0; 0x80])[..3], [4, 0x81, 0x80]);
        assert_eq!(der(4, &[0; 0x1234])[..4], [4, 0x82, 0x12, 0x34]);
        assert_eq!(der(4, &[]), [4, 0]);
    }
}
