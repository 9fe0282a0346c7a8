//! What TLS may negotiate, and who is told its secrets.
//!
//! rustls takes cipher suites, groups and ECH when a configuration is built, and not after; so here it is
//! built anew, of the same verifier and the same identity. (Sessions are bound to those; what is built anew
//! resumes what the old one could.)

use std::sync::Arc;

use rustls::client::{EchMode, Resumption};
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs::kx_group};
use rustls::server::danger::ClientCertVerifier;
use rustls::{ClientConfig, KeyLog, ServerConfig};
use tercel_proto::tls::{ResumableVerifier, SecretsKept};

use super::{Configuration, tls_error};
use crate::status::Error;

/// A cipher suite of TLS 1.3 (RFC 8446 appendix B.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
// RFC 9001 section 5.3#1.
pub enum CipherSuite {
    /// TLS_AES_128_GCM_SHA256, the fastest where the processor has instructions for AES.
    Aes128GcmSha256,
    /// TLS_AES_256_GCM_SHA384.
    Aes256GcmSha384,
    /// TLS_CHACHA20_POLY1305_SHA256, the fastest where it has none.
    Chacha20Poly1305Sha256,
}

impl CipherSuite {
    const fn name(self) -> rustls::CipherSuite {
        match self {
            Self::Aes128GcmSha256 => rustls::CipherSuite::TLS13_AES_128_GCM_SHA256,
            Self::Aes256GcmSha384 => rustls::CipherSuite::TLS13_AES_256_GCM_SHA384,
            Self::Chacha20Poly1305Sha256 => rustls::CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
        }
    }
}

/// A group in which the two ends agree on keys (RFC 8446 section 4.2.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyExchange {
    /// X25519MLKEM768: X25519 and ML-KEM together, so that who records today does not read when there are
    /// quantum computers. Makes a client's first flight two packets long.
    X25519MlKem768,
    /// X25519.
    X25519,
    /// The NIST curve P-256.
    Secp256r1,
    /// The NIST curve P-384.
    Secp384r1,
}

impl KeyExchange {
    fn group(self) -> &'static dyn SupportedKxGroup {
        match self {
            Self::X25519MlKem768 => kx_group::X25519MLKEM768,
            Self::X25519 => kx_group::X25519,
            Self::Secp256r1 => kx_group::SECP256R1,
            Self::Secp384r1 => kx_group::SECP384R1,
        }
    }
}

/// There is something, and nothing twice.
fn is_list<T: PartialEq>(items: &[T]) -> bool {
    !items.is_empty() && items.iter().enumerate().all(|(at, item)| !items[..at].contains(item))
}

impl Configuration {
    /// Uses these cipher suites and no others, in this order of preference. It is the server's order that
    /// counts if the server's configuration was given one. Sessions that this configuration remembers are
    /// forgotten. By default all three are used, with AES-256 first and the client's order counting. (The
    /// first packets of a connection are protected by AES-128 in any case, with keys that everybody knows:
    /// RFC 9001 section 5.2.)
    ///
    /// # Errors
    /// [`Error::InvalidArgument`]: there is none, or one twice. [`Error::Tls`]: the configuration was made by
    /// [`from_tls`](Self::from_tls).
    pub fn with_cipher_suites(self, suites: &[CipherSuite]) -> Result<Self, Error> {
        if !is_list(suites) {
            return Err(Error::InvalidArgument("there must be at least one cipher suite, and none twice"));
        }
        let mut new = self.with_provider(|provider| {
            let all = super::provider();
            let find = |suite: &CipherSuite| all.cipher_suites.iter().find(|one| one.suite() == suite.name());
            provider.cipher_suites = suites.iter().filter_map(find).copied().collect();
        })?;
        if let Some(tls) = &mut new.server {
            Arc::make_mut(tls).ignore_client_order = true;
        }
        Ok(new)
    }

    /// Agrees on keys in these groups and no others, in this order of preference. A client sends a key for
    /// the first one, and one for X25519 beside X25519MLKEM768; if the server wants another of them the
    /// handshake takes a round trip more. By default X25519MLKEM768, X25519, P-256 and P-384.
    ///
    /// # Errors
    /// As for [`with_cipher_suites`](Self::with_cipher_suites).
    pub fn with_key_exchange(self, groups: &[KeyExchange]) -> Result<Self, Error> {
        if !is_list(groups) {
            return Err(Error::InvalidArgument(
                "there must be at least one group for the key exchange, and none twice",
            ));
        }
        self.with_provider(|provider| provider.kx_groups = groups.iter().map(|group| group.group()).collect())
    }

    /// Tells `log` every secret of TLS, in place of the file that SSLKEYLOGFILE names. Whoever has the log can
    /// read the connections.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use tercel::{Configuration, KeyLog, Settings, Trust};
    ///
    /// #[derive(Debug)]
    /// struct Print;
    ///
    /// impl KeyLog for Print {
    ///     fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
    ///         println!("{label} {client_random:02x?} {secret:02x?}");
    ///     }
    /// }
    ///
    /// # fn main() -> Result<(), tercel::Error> {
    /// let client = Configuration::client(&["h3"], Settings::default(), Trust::Pinned([7; 32]))?;
    /// let client = client.with_key_log(Arc::new(Print));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_key_log(mut self, log: Arc<dyn KeyLog>) -> Self {
        self.replace_key_log(|_| log.clone());
        self
    }

    /// Has every connection keep the secrets of its handshake, for
    /// [`Inspect::tls_secrets`](crate::connection::Inspect::tls_secrets). For a single connection give it a
    /// clone of the configuration.
    #[must_use]
    pub fn with_tls_secrets_kept(mut self) -> Self {
        self.replace_key_log(|log| Arc::new(SecretsKept::new(log)));
        self
    }

    fn replace_key_log(&mut self, replace: impl Fn(Arc<dyn KeyLog>) -> Arc<dyn KeyLog>) {
        if let Some(tls) = &mut self.client {
            let log = replace(tls.key_log.clone());
            Arc::make_mut(tls).key_log = log;
        }
        if let Some(tls) = &mut self.server {
            let log = replace(tls.key_log.clone());
            Arc::make_mut(tls).key_log = log;
        }
    }

    /// Sends its certificate compressed to peers that can read that, and lets them do the same (RFC 8879), by
    /// brotli or zlib: a chain of certificates is often what makes a server's first flight too long for the
    /// three datagrams that it may answer one of an unknown client with. What a peer claims to have compressed
    /// from more than 64 KiB is refused unread. Needs the feature `certificate-compression`.
    #[cfg(feature = "certificate-compression")]
    #[must_use]
    pub fn with_certificate_compression(mut self) -> Self {
        use rustls::compress::{default_cert_compressors, default_cert_decompressors};
        if let Some(tls) = &mut self.client {
            let tls = Arc::make_mut(tls);
            tls.cert_compressors = default_cert_compressors().to_vec();
            tls.cert_decompressors = default_cert_decompressors().to_vec();
        }
        if let Some(tls) = &mut self.server {
            let tls = Arc::make_mut(tls);
            tls.cert_compressors = default_cert_compressors().to_vec();
            tls.cert_decompressors = default_cert_decompressors().to_vec();
        }
        self
    }

    /// The same with another provider of cryptography.
    fn with_provider(mut self, change: impl Fn(&mut CryptoProvider)) -> Result<Self, Error> {
        let changed = |provider: &Arc<CryptoProvider>| {
            let mut provider = CryptoProvider::clone(provider);
            change(&mut provider);
            Arc::new(provider)
        };
        if let Some(tls) = &mut self.client {
            let verifier = self.restorer.as_ref().ok_or_else(ready_made)?;
            let mut new = client(tls, verifier, changed(tls.crypto_provider()), self.ech.clone())?;
            if let Some(sessions) = &mut self.sessions {
                // A session must not go on under a suite that is no longer wanted.
                *sessions = Arc::new(sessions.anew());
                new.resumption = Resumption::store(sessions.clone());
            }
            *tls = Arc::new(new);
        }
        if let Some(tls) = &mut self.server {
            let clients = self.clients.as_ref().ok_or_else(ready_made)?;
            *tls = Arc::new(server(tls, clients.clone(), changed(tls.crypto_provider()))?);
        }
        Ok(self)
    }
}

pub(super) fn ready_made() -> Error {
    Error::tls("the configuration was made of ready TLS; choose there")
}

/// `old` with another provider and ECH.
pub(super) fn client(
    old: &ClientConfig,
    verifier: &Arc<ResumableVerifier>,
    provider: Arc<CryptoProvider>,
    ech: Option<EchMode>,
) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_details(provider, old.time_provider.clone());
    let builder = match ech {
        Some(mode) => builder.with_ech(mode),
        None => builder.with_protocol_versions(&[&rustls::version::TLS13]),
    };
    let mut new = builder
        .map_err(tls_error)?
        .dangerous()
        .with_custom_certificate_verifier(verifier.clone())
        .with_client_cert_resolver(old.client_auth_cert_resolver.clone());
    new.alpn_protocols.clone_from(&old.alpn_protocols);
    new.resumption = old.resumption.clone();
    new.key_log = old.key_log.clone();
    new.enable_early_data = old.enable_early_data;
    new.cert_compressors.clone_from(&old.cert_compressors);
    new.cert_decompressors.clone_from(&old.cert_decompressors);
    new.cert_compression_cache = old.cert_compression_cache.clone();
    Ok(new)
}

/// `old` with another provider.
fn server(
    old: &ServerConfig,
    clients: Arc<dyn ClientCertVerifier>,
    provider: Arc<CryptoProvider>,
) -> Result<ServerConfig, Error> {
    let mut new = ServerConfig::builder_with_details(provider, old.time_provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(tls_error)?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(old.cert_resolver.clone());
    new.alpn_protocols.clone_from(&old.alpn_protocols);
    new.ignore_client_order = old.ignore_client_order;
    new.key_log = old.key_log.clone();
    new.session_storage = old.session_storage.clone();
    new.max_early_data_size = old.max_early_data_size;
    new.send_tls13_tickets = old.send_tls13_tickets;
    new.cert_compressors.clone_from(&old.cert_compressors);
    new.cert_decompressors.clone_from(&old.cert_decompressors);
    new.cert_compression_cache = old.cert_compression_cache.clone();
    Ok(new)
}
