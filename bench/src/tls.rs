//! TLS for every peer: the same cipher, key exchange and certificate, and no resumption.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{Ticketer, cipher_suite, default_provider, kx_group};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ServerSessionMemoryCache;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use tercel::Configuration;

use crate::scenario::Work;
use crate::{Result, end};

pub use crate::settings::{ALPN, SERVER_NAME};

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

/// The same, as Tercel's own configurations have it: `Configuration::from_tls` takes what it is given.
pub fn tercels() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(Configuration::crypto_provider(CryptoProvider::clone(&provider()))));
    PROVIDER.clone()
}

/// The first random bytes of a process take aws-lc some twenty milliseconds: not while something else is measured.
pub fn gather_randomness() -> Result<()> {
    Ok(provider().secure_random.fill(&mut [0; 32]).map_err(|_| "there is no randomness")?)
}

/// A server's certificate and key.
pub struct Identity {
    /// Where they lie.
    pub directory: PathBuf,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    /// Whether sessions may be resumed.
    pub resumable: bool,
    /// Whether resumed ones may begin with early data.
    pub early: bool,
}

/// Puts a new certificate, its key and the certificate of who has signed it into a directory. (A certificate that had
/// signed itself some libraries would verify, and others not.)
pub fn make_identity(directory: &Path) -> Result<()> {
    let mut authority = rcgen::CertificateParams::new(vec![])?;
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    authority.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    authority.distinguished_name.push(rcgen::DnType::CommonName, "The bench's authority");
    let authority = rcgen::CertifiedIssuer::self_signed(authority, rcgen::KeyPair::generate()?)?;
    let key = rcgen::KeyPair::generate()?;
    let server = rcgen::CertificateParams::new(vec![SERVER_NAME.into()])?.signed_by(&key, &authority)?;
    std::fs::create_dir_all(directory)?;
    std::fs::write(end::chain(directory), server.pem())?;
    std::fs::write(end::key(directory), key.serialize_pem())?;
    Ok(std::fs::write(end::authority(directory), authority.pem())?)
}

/// The certificate that clients trust.
pub fn authority(directory: &Path) -> Result<CertificateDer<'static>> {
    Ok(CertificateDer::from_pem_file(end::authority(directory))?)
}

impl Identity {
    /// That of a directory, for this work.
    pub fn of(directory: &Path, work: &Work) -> Result<Self> {
        let key = PrivateKeyDer::from_pem_file(end::key(directory))?;
        let certificate = CertificateDer::from_pem_file(end::chain(directory))?;
        Ok(Self { directory: directory.into(), certificate, key, resumable: work.resumed, early: work.early })
    }

    pub fn server(self, provider: Arc<CryptoProvider>) -> Result<ServerConfig> {
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate], self.key)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.send_tls13_tickets = 0;
        if self.resumable {
            config.send_tls13_tickets = 2;
            match self.early {
                // rustls takes early data only of sessions that it remembers itself.
                true => {
                    config.session_storage = ServerSessionMemoryCache::new(4096);
                    config.max_early_data_size = u32::MAX;
                }
                false => config.ticketer = Ticketer::new()?,
            }
        }
        Ok(config)
    }
}

/// Takes servers whose certificate this authority has signed.
pub fn verifier(
    authority: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>> {
    let mut roots = RootCertStore::empty();
    roots.add(authority)?;
    Ok(WebPkiServerVerifier::builder_with_provider(roots.into(), provider).build()?)
}

pub fn client(authority: CertificateDer<'static>, work: &Work, provider: Arc<CryptoProvider>) -> Result<ClientConfig> {
    let verifier = Counting(verifier(authority, provider.clone())?);
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    if !work.resumed {
        config.resumption = rustls::client::Resumption::disabled();
    }
    config.enable_early_data = work.early;
    Ok(config)
}

/// How many certificates this process has verified: a resumed session needs none.
pub fn verified() -> usize {
    VERIFIED.load(Ordering::Relaxed)
}

static VERIFIED: AtomicUsize = AtomicUsize::new(0);

/// A connection's early data was taken.
pub fn early_data_accepted() {
    EARLY.fetch_add(1, Ordering::Relaxed);
}

/// How many connections' early data was taken.
pub fn early() -> usize {
    EARLY.load(Ordering::Relaxed)
}

static EARLY: AtomicUsize = AtomicUsize::new(0);

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
