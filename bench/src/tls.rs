//! TLS for every peer: the same cipher, key exchange and certificate, and no resumption.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{Ticketer, cipher_suite, default_provider, kx_group};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};

use crate::Result;

pub const ALPN: &[u8] = b"bench";
pub const SERVER_NAME: &str = "localhost";

/// With `BENCH_HYBRID` in the environment keys are exchanged as Tercel's C interface does it, which cannot be told.
pub fn provider() -> Arc<CryptoProvider> {
    let group = match std::env::var_os("BENCH_HYBRID") {
        Some(_) => kx_group::X25519MLKEM768,
        None => kx_group::X25519,
    };
    Arc::new(CryptoProvider {
        cipher_suites: vec![cipher_suite::TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![group],
        ..default_provider()
    })
}

/// A server's certificate and key, made anew.
pub struct Identity {
    pub certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    /// Whether sessions may be resumed.
    pub resumable: bool,
}

impl Identity {
    pub fn new(resumable: bool) -> Result<Self> {
        let made = rcgen::generate_simple_self_signed(vec![SERVER_NAME.into()])?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        Ok(Self { certificate: made.cert.der().clone(), key, resumable })
    }

    /// The key, as PKCS #8.
    pub fn key_der(&self) -> &[u8] {
        self.key.secret_der()
    }

    pub fn server(self) -> Result<ServerConfig> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate], self.key)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.send_tls13_tickets = 0;
        if self.resumable {
            config.send_tls13_tickets = 2;
            config.ticketer = Ticketer::new()?;
        }
        Ok(config)
    }
}

/// Takes servers with this certificate.
pub fn verifier(certificate: CertificateDer<'static>) -> Result<Arc<WebPkiServerVerifier>> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate)?;
    Ok(WebPkiServerVerifier::builder_with_provider(roots.into(), provider()).build()?)
}

pub fn client(certificate: CertificateDer<'static>, resumed: bool) -> Result<ClientConfig> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Counting(verifier(certificate)?)))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    if !resumed {
        config.resumption = rustls::client::Resumption::disabled();
    }
    Ok(config)
}

/// How many certificates this process has verified: a resumed session needs none.
pub fn verified() -> usize {
    VERIFIED.load(Ordering::Relaxed)
}

static VERIFIED: AtomicUsize = AtomicUsize::new(0);

/// Counts.
#[derive(Debug)]
struct Counting(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for Counting {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        VERIFIED.fetch_add(1, Ordering::Relaxed);
        self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
