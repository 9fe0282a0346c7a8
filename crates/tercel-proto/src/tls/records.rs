//! No record protection.
//!
//! QUIC protects packets and not TLS's records (RFC 9001 section 5), but rustls makes the keys of records all the same,
//! four at each end of a handshake, and keeps two. For connections of ours it is given none: neither are they derived, nor
//! is anything made of them, and whatever were to be protected by them fails.

use std::sync::OnceLock;

use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, InboundPlainMessage, Iv, MessageDecrypter, MessageEncrypter, OutboundOpaqueMessage,
    OutboundPlainMessage, Tls13AeadAlgorithm, UnsupportedOperationError,
};
use rustls::crypto::tls13::{Hkdf, HkdfExpander, OkmBlock, OutputLengthError};
use rustls::{ConnectionTrafficSecrets, Error};

use super::aside;
use super::observed::has_label;

/// Whether TLS is of a connection of ours, and so makes keys of records for nothing.
fn are_of_no_use() -> bool {
    aside::with(|_| ()).is_some()
}

/// An algorithm that protects records of others only.
pub(super) struct OfOthers(pub(super) &'static dyn Tls13AeadAlgorithm);

impl Tls13AeadAlgorithm for OfOthers {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        if are_of_no_use() { Box::new(Nothing) } else { self.0.encrypter(key, iv) }
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        if are_of_no_use() { Box::new(Nothing) } else { self.0.decrypter(key, iv) }
    }

    fn key_len(&self) -> usize {
        self.0.key_len()
    }

    fn extract_keys(&self, key: AeadKey, iv: Iv) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.0.extract_keys(key, iv)
    }

    fn fips(&self) -> bool {
        self.0.fips()
    }
}

/// Protects nothing.
struct Nothing;

impl MessageEncrypter for Nothing {
    fn encrypt(&mut self, _: OutboundPlainMessage<'_>, _: u64) -> Result<OutboundOpaqueMessage, Error> {
        Err(Error::EncryptError)
    }

    fn encrypted_payload_len(&self, payload_len: usize) -> usize {
        payload_len
    }
}

impl MessageDecrypter for Nothing {
    fn decrypt<'a>(&mut self, _: InboundOpaqueMessage<'a>, _: u64) -> Result<InboundPlainMessage<'a>, Error> {
        Err(Error::DecryptError)
    }
}

/// Derives from a secret, but no keys of records of ours: these are zeros. Most secrets are asked for nothing else.
pub(super) struct Expander {
    hkdf: &'static dyn Hkdf,
    secret: OkmBlock,
    inner: OnceLock<Box<dyn HkdfExpander>>,
}

impl Expander {
    /// Of a connection of ours.
    pub(super) fn new(hkdf: &'static dyn Hkdf, secret: &OkmBlock) -> Self {
        Self { hkdf, secret: secret.clone(), inner: OnceLock::new() }
    }

    fn inner(&self) -> &dyn HkdfExpander {
        self.inner.get_or_init(|| self.hkdf.expander_for_okm(&self.secret)).as_ref()
    }
}

impl HkdfExpander for Expander {
    fn expand_slice(&self, info: &[&[u8]], output: &mut [u8]) -> Result<(), OutputLengthError> {
        if has_label(info, b"tls13 key") || has_label(info, b"tls13 iv") {
            output.fill(0);
            return Ok(());
        }
        self.inner().expand_slice(info, output)
    }

    fn expand_block(&self, info: &[&[u8]]) -> OkmBlock {
        self.inner().expand_block(info)
    }

    fn hash_len(&self) -> usize {
        self.inner().hash_len()
    }
}

#[cfg(test)]
mod tests {
    use rustls::crypto::cipher::OutboundChunks;
    use rustls::crypto::tls13::{Hkdf, OkmBlock};
    use rustls::{ContentType, ProtocolVersion};

    use super::*;
    use crate::tls::observed;

    /// The HkdfLabel of 16 bytes of the key of records.
    const KEY: [&[u8]; 6] = [&[0, 16], &[9], b"tls13 ", b"key", &[0], &[]];

    fn derived(hkdf: &dyn Hkdf) -> [u8; 16] {
        let mut key = [7; 16];
        assert!(hkdf.expander_for_okm(&OkmBlock::new(&[1; 32])).expand_slice(&KEY, &mut key).is_ok());
        key
    }

    fn seals(aead: &dyn Tls13AeadAlgorithm) -> bool {
        let mut encrypter = aead.encrypter(AeadKey::from([1; 32]), Iv::from([2; 12]));
        let payload = OutboundChunks::Single(b"record");
        let record = OutboundPlainMessage { typ: ContentType::Handshake, version: ProtocolVersion::TLSv1_2, payload };
        encrypter.encrypt(record, 0).is_ok()
    }

    /// TLS over TCP with the same suites has records as ever; a connection of ours has no keys for them, and nothing that
    /// would take them.
    #[test]
    fn only_connections_of_ours_have_none() {
        let provider = observed(rustls::crypto::aws_lc_rs::default_provider());
        let suite = |of: &rustls::crypto::CryptoProvider, at: usize| of.cipher_suites[at].tls13().unwrap();
        // AES-128-GCM for what is derived, AES-256-GCM, whose key fills its place, for what is sealed.
        let (ours, plain) = (suite(&provider, 1), suite(&rustls::crypto::aws_lc_rs::default_provider(), 1));
        let (hkdf, aead) = (ours.hkdf_provider, suite(&provider, 0).aead_alg);
        let real = derived(plain.hkdf_provider);
        assert!(derived(hkdf) == real && seals(aead));
        let (none, _) = aside::during(Box::default(), || (derived(hkdf), seals(aead)));
        assert_eq!(none, ([0; 16], false));
        assert!(derived(hkdf) == real && seals(aead));
    }
}
