//! TLS, by rustls.

use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tercel_interop_end::{ALPN, Arguments};

use crate::Failure;

fn chain(arguments: &Arguments) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Failure> {
    let chain = CertificateDer::pem_file_iter(&arguments.certificate)?.collect::<Result<_, _>>()?;
    Ok((chain, PrivateKeyDer::from_pem_file(&arguments.key)?))
}

fn authorities(arguments: &Arguments) -> Result<rustls::RootCertStore, Failure> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&arguments.authority)?)?;
    Ok(roots)
}

/// A client's.
pub fn client(arguments: &Arguments) -> Result<QuicClientConfig, Failure> {
    let mut provider = default_provider();
    if arguments.is(&["chacha20"]) {
        provider.cipher_suites = vec![cipher_suite::TLS13_CHACHA20_POLY1305_SHA256];
    }
    let builder = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(authorities(arguments)?);
    let mut tls = if arguments.is(&["clientcert", "verdict"]) {
        let (chain, key) = chain(arguments)?;
        builder.with_client_auth_cert(chain, key)?
    } else {
        builder.with_no_client_auth()
    };
    tls.alpn_protocols = vec![ALPN.to_vec()];
    tls.enable_early_data = arguments.is(&["zerortt"]);
    tls.key_log = Arc::new(rustls::KeyLogFile::new());
    let initial = cipher_suite::TLS13_AES_128_GCM_SHA256.tls13().and_then(|suite| suite.quic_suite());
    Ok(QuicClientConfig::with_initial(Arc::new(tls), initial.ok_or("no suite")?)?)
}

/// A server's.
pub fn server(arguments: &Arguments) -> Result<QuicServerConfig, Failure> {
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
    let mut tls = builder.with_single_cert(chain, key)?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    tls.max_early_data_size = u32::MAX;
    tls.key_log = Arc::new(rustls::KeyLogFile::new());
    Ok(QuicServerConfig::try_from(tls)?)
}
