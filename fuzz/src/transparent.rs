//! Packet protection that hides nothing and proves nothing, so that the fuzzer's changes reach what
//! lies behind it. Initial packets keep their real protection, with keys that anyone can make.

use std::sync::{Arc, LazyLock};

use rustls::crypto::CryptoProvider;
use rustls::crypto::cipher::{AeadKey, Iv};
use rustls::quic::{self, Tag};
use rustls::{Error, SupportedCipherSuite, Tls13CipherSuite};
use tercel_sim::crypto::{self, KeyShares};
use tercel_wire::packet::protection;

const TAG: [u8; 16] = [0x7a; 16];
const SAMPLE_LEN: usize = 16;
/// Small enough that a run can come near it (RFC 9001 section 6.6).
const LIMIT: u64 = 300;

/// Both kinds of key, and how they are made.
pub struct Transparent;

impl quic::Algorithm for Transparent {
    fn packet_key(&self, _key: AeadKey, _iv: Iv) -> Box<dyn quic::PacketKey> {
        Box::new(Self)
    }

    fn header_protection_key(&self, _key: AeadKey) -> Box<dyn quic::HeaderProtectionKey> {
        Box::new(Self)
    }

    fn aead_key_len(&self) -> usize {
        16
    }
}

impl quic::HeaderProtectionKey for Transparent {
    fn encrypt_in_place(&self, _sample: &[u8], _first: &mut u8, _number: &mut [u8]) -> Result<(), Error> {
        Ok(())
    }

    fn decrypt_in_place(&self, _sample: &[u8], _first: &mut u8, _number: &mut [u8]) -> Result<(), Error> {
        Ok(())
    }

    fn sample_len(&self) -> usize {
        SAMPLE_LEN
    }
}

impl quic::PacketKey for Transparent {
    fn encrypt_in_place(&self, _number: u64, _header: &[u8], _payload: &mut [u8]) -> Result<Tag, Error> {
        Ok(Tag::from(&TAG[..]))
    }

    fn decrypt_in_place<'a>(&self, _number: u64, _header: &[u8], payload: &'a mut [u8]) -> Result<&'a [u8], Error> {
        payload.strip_suffix(&TAG).ok_or(Error::DecryptError)
    }

    fn tag_len(&self) -> usize {
        TAG.len()
    }

    fn confidentiality_limit(&self) -> u64 {
        LIMIT
    }

    fn integrity_limit(&self) -> u64 {
        LIMIT
    }
}

impl protection::HeaderKey for Transparent {
    fn sample_len(&self) -> usize {
        SAMPLE_LEN
    }

    fn protect(&self, _sample: &[u8], _first: &mut u8, _number: &mut [u8]) {}

    fn unprotect(&self, _sample: &[u8], _first: &mut u8, _number: &mut [u8]) {}
}

impl protection::PacketKey for Transparent {
    fn tag_len(&self) -> usize {
        TAG.len()
    }

    fn seal(&self, _number: u64, _header: &[u8], _payload: &mut [u8], tag: &mut [u8]) {
        tag.copy_from_slice(&TAG);
    }

    fn open(&self, _number: u64, _header: &[u8], payload: &mut [u8]) -> Option<usize> {
        payload.strip_suffix(&TAG).map(<[u8]>::len)
    }
}

/// The simulator's provider with this protection in place of AES.
fn provider(base: &CryptoProvider) -> Arc<CryptoProvider> {
    static SUITE: LazyLock<Tls13CipherSuite> = LazyLock::new(|| {
        let real = rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
        let Tls13CipherSuite { common, hkdf_provider, aead_alg, .. } = real.tls13().expect("a suite of TLS 1.3");
        let common = rustls::crypto::CipherSuiteCommon { ..*common };
        Tls13CipherSuite { common, hkdf_provider: *hkdf_provider, aead_alg: *aead_alg, quic: Some(&Transparent) }
    });
    Arc::new(CryptoProvider { cipher_suites: vec![SupportedCipherSuite::Tls13(&SUITE)], ..base.clone() })
}

/// A client's TLS.
pub fn client(shares: KeyShares) -> Arc<rustls::ClientConfig> {
    let base = crypto::client(shares);
    let builder =
        rustls::ClientConfig::builder_with_details(provider(base.crypto_provider()), base.time_provider.clone());
    let versions = builder.with_protocol_versions(&[&rustls::version::TLS13]).expect("TLS 1.3");
    let mut config = versions.with_root_certificates(crypto::roots()).with_no_client_auth();
    config.alpn_protocols = base.alpn_protocols.clone();
    config.enable_early_data = true;
    Arc::new(config)
}

/// A server's TLS.
pub fn server(shares: KeyShares) -> Arc<rustls::ServerConfig> {
    let base = crypto::server(shares);
    let builder =
        rustls::ServerConfig::builder_with_details(provider(base.crypto_provider()), base.time_provider.clone());
    let versions = builder.with_protocol_versions(&[&rustls::version::TLS13]).expect("TLS 1.3");
    let config = versions.with_no_client_auth().with_single_cert(crypto::chain(), crypto::key());
    let mut config = config.expect("the simulator's certificate");
    config.alpn_protocols = base.alpn_protocols.clone();
    config.max_early_data_size = u32::MAX;
    Arc::new(config)
}
