//! What s2n-quic is made of, as a case wants it.

use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use s2n_quic::provider::datagram::default as datagram;
use s2n_quic::provider::endpoint_limits::{ConnectionAttempt, Limiter, Outcome};
use s2n_quic::provider::limits::Limits;
use s2n_quic::provider::stateless_reset_token::{Generator, Provider};
use s2n_quic::provider::tls::rustls as tls;
use tercel_interop_end::{ALPN, Arguments, DATAGRAMS, KEEP_ALIVE, PATIENCE, RESET_KEY};

use crate::Failure;

/// Tokens that are the same after a restart. What is hashed is no secret here.
#[derive(Debug, Default)]
pub struct Tokens;

impl Generator for Tokens {
    fn generate(&mut self, id: &[u8]) -> s2n_quic_core::stateless_reset::Token {
        let half = |salt: u8| {
            let mut hasher = DefaultHasher::new();
            (RESET_KEY, salt, id).hash(&mut hasher);
            hasher.finish().to_be_bytes()
        };
        let mut token = [0; 16];
        token[..8].copy_from_slice(&half(0));
        token[8..].copy_from_slice(&half(1));
        token.into()
    }
}

impl Provider for Tokens {
    type Generator = Self;
    type Error = Infallible;

    fn start(self) -> Result<Self, Infallible> {
        Ok(self)
    }
}

/// Demands a Retry of everybody, or of nobody.
pub struct Gate {
    /// Of everybody.
    pub retry: bool,
}

impl Limiter for Gate {
    fn on_connection_attempt(&mut self, _: &ConnectionAttempt<'_>) -> Outcome {
        if self.retry { Outcome::retry() } else { Outcome::allow() }
    }
}

/// For both roles.
pub fn limits(arguments: &Arguments) -> Result<Limits, Failure> {
    let streams = if arguments.is(&["multiplexing", "streams"]) { 1000 } else { 100 };
    Ok(Limits::new()
        .with_max_handshake_duration(Duration::from_millis(PATIENCE))?
        .with_max_keep_alive_period(Duration::from_millis(KEEP_ALIVE))?
        .with_max_open_local_bidirectional_streams(2000)?
        .with_max_open_remote_bidirectional_streams(streams)?)
}

/// With room for all that are under way.
pub fn datagrams() -> Result<datagram::Endpoint, Failure> {
    Ok(datagram::Endpoint::builder().with_send_capacity(DATAGRAMS)?.with_recv_capacity(DATAGRAMS)?.build()?)
}

fn chain(arguments: &Arguments) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Failure> {
    let chain = CertificateDer::pem_file_iter(&arguments.certificate)?.collect::<Result<_, _>>()?;
    Ok((chain, PrivateKeyDer::from_pem_file(&arguments.key)?))
}

fn authorities(arguments: &Arguments) -> Result<rustls::RootCertStore, Failure> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&arguments.authority)?)?;
    Ok(roots)
}

/// A client's TLS.
pub fn client_tls(arguments: &Arguments) -> Result<tls::Client, Failure> {
    let mut provider = default_provider();
    if arguments.is(&["chacha20"]) {
        provider.cipher_suites = vec![cipher_suite::TLS13_CHACHA20_POLY1305_SHA256];
    }
    let builder = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(authorities(arguments)?);
    let mut config = if arguments.is(&["clientcert", "verdict"]) {
        let (chain, key) = chain(arguments)?;
        builder.with_client_auth_cert(chain, key)?
    } else {
        builder.with_no_client_auth()
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config.into())
}

/// A server's TLS.
pub fn server_tls(arguments: &Arguments) -> Result<tls::Server, Failure> {
    let provider = Arc::new(default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?;
    let builder = if arguments.is(&["clientcert"]) {
        let roots = Arc::new(authorities(arguments)?);
        builder.with_client_cert_verifier(WebPkiClientVerifier::builder_with_provider(roots, provider).build()?)
    } else {
        builder.with_no_client_auth()
    };
    let (chain, key) = chain(arguments)?;
    let mut config = builder.with_single_cert(chain, key)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config.into())
}
