//! Tercel against real peers that are heavy to build. What is shown is in `tests/`; this crate holds
//! what the tests share.

pub mod peers;

use std::time::Duration;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// The application protocol of all tests.
pub const ALPN: &[u8] = b"interop";

/// How a connection ended, as the peer saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// The handshake was completed, and the application closed with this code.
    Application(u64),
    /// The transport closed with this code, before the handshake was complete or after.
    Transport(u64),
    /// The other end closed, and the stack tells no code.
    Closed,
    /// Anything else, in the peer's words: a timeout, for example.
    Other(String),
}

/// A server of another stack on this machine.
pub struct Server {
    /// Its name.
    pub name: &'static str,
    /// Where it listens.
    pub address: std::net::SocketAddr,
    /// How each of its connections ended, and when.
    pub ends: tokio::sync::mpsc::UnboundedReceiver<(Seen, std::time::Instant)>,
    /// What keeps it alive.
    pub keep: Box<dyn std::any::Any + Send>,
}

/// How long a peer's own timeouts are at the least: who learns sooner was told.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A certificate for `localhost`.
pub struct Certificate {
    /// In DER.
    pub der: CertificateDer<'static>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
}

impl Certificate {
    /// Makes one.
    pub fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).expect("a certificate");
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        Self { der: made.cert.der().clone(), key: key.into() }
    }

    /// A server's TLS with it, for stacks that use rustls.
    pub fn server_tls(&self) -> rustls::ServerConfig {
        let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_no_client_auth()
            .with_single_cert(vec![self.der.clone()], self.key.clone_key())
            .expect("a certificate with its key");
        tls.alpn_protocols = vec![ALPN.to_vec()];
        tls
    }
}

impl Default for Certificate {
    fn default() -> Self {
        Self::new()
    }
}
