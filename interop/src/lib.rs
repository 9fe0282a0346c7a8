//! Tercel against real peers that are heavy to build. What is shown is in `tests/`; this crate holds
//! what the tests share: the peers as servers and as clients, each with the same small application,
//! and the Tercel end of it.
//!
//! The application: a client opens a stream as soon as it may, asks with [`QUESTION`], and is answered
//! with the same bytes.
#![allow(clippy::disallowed_methods, reason = "it is measured how soon peers learn")]

pub mod ours;
pub mod peers;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tercel::Bytes;
use tokio::sync::mpsc::UnboundedReceiver;

/// The application protocol of all tests.
pub const ALPN: &[u8] = b"interop";

/// What a client asks.
pub const QUESTION: &[u8] = b"are you there?";

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

/// What a client of another stack tells of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// The answer to its question, whole.
    Answer(Bytes),
    /// The connection has ended; nothing follows.
    End(Seen),
}

/// A server of another stack on this machine.
pub struct Server {
    /// Its name.
    pub name: &'static str,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its certificate.
    pub certificate: CertificateDer<'static>,
    /// How each of its connections ended, and when.
    pub ends: UnboundedReceiver<(Seen, Instant)>,
    /// What keeps it alive.
    pub keep: Box<dyn std::any::Any + Send>,
}

/// Clients of another stack on this machine, with one configuration, so that they resume each other's
/// sessions.
pub struct Client {
    /// Its name.
    pub name: &'static str,
    /// What its connections tell, and when.
    pub told: UnboundedReceiver<(Told, Instant)>,
    /// Begins a connection.
    pub connect: Box<dyn Fn(SocketAddr) + Send + Sync>,
}

/// How long a peer's own timeouts are at the least: who learns sooner was told.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A certificate for `localhost`.
pub struct Certificate {
    /// In DER.
    pub der: CertificateDer<'static>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
    /// Both in PEM.
    pub pem: Pem,
}

/// A certificate and its key in PEM.
pub struct Pem {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl Certificate {
    /// Makes one.
    pub fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).expect("a certificate");
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let pem = Pem { certificate: made.cert.pem(), key: made.signing_key.serialize_pem() };
        Self { der: made.cert.der().clone(), key: key.into(), pem }
    }

    /// A server's TLS with it, for stacks that use rustls.
    pub fn server_tls(&self, early_data: bool) -> rustls::ServerConfig {
        let mut tls = rustls::ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_no_client_auth()
            .with_single_cert(vec![self.der.clone()], self.key.clone_key())
            .expect("a certificate with its key");
        tls.alpn_protocols = vec![ALPN.to_vec()];
        tls.max_early_data_size = if early_data { u32::MAX } else { 0 };
        tls
    }

    /// TLS of a client that shows it to the server of the certificate `trusted`, for stacks that use
    /// rustls.
    pub fn client_tls(&self, trusted: &Self, early_data: bool) -> rustls::ClientConfig {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(trusted.der.clone()).expect("a certificate");
        let mut tls = rustls::ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![self.der.clone()], self.key.clone_key())
            .expect("a certificate with its key");
        tls.alpn_protocols = vec![ALPN.to_vec()];
        tls.enable_early_data = early_data;
        tls
    }
}

impl Default for Certificate {
    fn default() -> Self {
        Self::new()
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
