//! What every stack must offer to be measured, and the settings that all have in common.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// The stacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Stack {
    /// Tercel, by its async face.
    Tercel,
    /// quinn.
    Quinn,
}

impl Stack {
    pub const ALL: [Self; 2] = [Self::Tercel, Self::Quinn];

    pub fn name(self) -> &'static str {
        match self {
            Self::Tercel => "tercel",
            Self::Quinn => "quinn",
        }
    }
}

pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// UDP payload of every datagram: no search for more, for anybody.
pub const MTU: u16 = 1452;
/// Windows of every stream and connection, in bytes, for everybody.
pub const STREAM_WINDOW: u32 = 8 << 20;
pub const WINDOW: u32 = 16 << 20;
pub const STREAMS: u32 = 1000;
pub const ALPN: &[u8] = b"bench";
pub const NAME: &str = "localhost";

/// One stack's end of things.
pub trait Peer: Send + Sync + Sized + 'static {
    type Connection: Connection;
    fn server() -> Result<Self>;
    fn client() -> Result<Self>;
    fn address(&self) -> SocketAddr;
    fn connect(&self, to: SocketAddr) -> impl Future<Output = Result<Self::Connection>> + Send;
    fn accept(&self) -> impl Future<Output = Option<Self::Connection>> + Send;
}

pub trait Connection: Clone + Send + Sync + 'static {
    type Send: SendStream;
    type Recv: RecvStream;
    fn open(&self) -> impl Future<Output = Result<(Self::Send, Self::Recv)>> + Send;
    fn accept(&self) -> impl Future<Output = Result<(Self::Send, Self::Recv)>> + Send;
    fn close(&self) -> impl Future<Output = ()> + Send;
}

pub trait SendStream: Send + 'static {
    fn write(&mut self, chunk: Bytes) -> impl Future<Output = Result<()>> + Send;
    fn finish(&mut self) -> Result<()>;
}

pub trait RecvStream: Send + 'static {
    fn read(&mut self) -> impl Future<Output = Result<Option<Bytes>>> + Send;
}

/// AES-128-GCM and X25519, for everybody.
fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    use rustls::crypto::aws_lc_rs;
    Arc::new(rustls::crypto::CryptoProvider {
        cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![aws_lc_rs::kx_group::X25519],
        ..aws_lc_rs::default_provider()
    })
}

pub fn server_tls() -> rustls::ServerConfig {
    let made = rcgen::generate_simple_self_signed(vec![NAME.into()]).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let mut tls = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a certificate with its key");
    tls.alpn_protocols = vec![ALPN.to_vec()];
    // Every handshake is to be a full one.
    tls.send_tls13_tickets = 0;
    tls
}

pub fn client_tls() -> rustls::ClientConfig {
    let mut tls = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(provider())))
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    tls.resumption = rustls::client::Resumption::disabled();
    tls
}

/// Checks the signature and trusts whoever made it: the same work for everybody.
#[derive(Debug)]
struct Anyone(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> std::result::Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> std::result::Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.3 only".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> std::result::Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
