//! TLS that repeats: rustls and aws-lc-rs as the product uses them, but with randomness from the
//! run's seed, a clock that stands still, one certificate, and a key exchange without mathematics.
//!
//! Only tests may use this: whoever listens knows every secret. What is exchanged has the size of
//! what it stands for, so that by default the ClientHello spans two datagrams as it does with
//! X25519MLKEM768. It also makes a handshake cheap, and thousands of seeds affordable.

mod certificate;
mod key_exchange;
mod randomness;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

pub use certificate::{NAME, chain, key, roots, server_name};
pub use randomness::seed;
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use tercel_proto::tls::observed;

/// The application protocol of all simulated hosts.
pub const ALPN: &[u8] = b"tercel-sim";

/// How large the key shares are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyShares {
    /// As X25519MLKEM768: 1216 bytes of the client, 1120 of the server.
    #[default]
    Hybrid,
    /// As X25519: 32 bytes each.
    Small,
    /// The client begins with the small ones, the server wants the large ones: a HelloRetryRequest.
    Retry,
}

/// A crypto provider of the client or the server.
fn provider(groups: Vec<&'static dyn SupportedKxGroup>) -> CryptoProvider {
    // As the product's suites, and like them made once.
    static REAL: LazyLock<CryptoProvider> = LazyLock::new(|| observed(rustls::crypto::aws_lc_rs::default_provider()));
    let mut provider = REAL.clone();
    // The cheapest first.
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
    CryptoProvider { kx_groups: groups, secure_random: &randomness::Seeded, ..provider }
}

/// A crypto provider of either end with the small key shares.
pub(crate) fn small_provider() -> CryptoProvider {
    provider(vec![key_exchange::SMALL])
}

/// A clock that stands still.
pub(crate) fn standstill() -> Arc<dyn TimeProvider> {
    Arc::new(Standstill)
}

/// A clock that stands still within the certificate's life.
#[derive(Debug)]
struct Standstill;

impl TimeProvider for Standstill {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000)))
    }
}

const FAULTLESS: &str = "constants of the simulator";

/// A server's TLS. Each call gives one with a session store of its own.
#[allow(clippy::expect_used)]
pub fn server(shares: KeyShares) -> Arc<rustls::ServerConfig> {
    static SMALL: LazyLock<rustls::ServerConfig> = LazyLock::new(|| build(vec![key_exchange::SMALL]));
    static HYBRID: LazyLock<rustls::ServerConfig> =
        LazyLock::new(|| build(vec![key_exchange::HYBRID, key_exchange::SMALL]));
    static RETRY: LazyLock<rustls::ServerConfig> = LazyLock::new(|| build(vec![key_exchange::HYBRID]));
    fn build(groups: Vec<&'static dyn SupportedKxGroup>) -> rustls::ServerConfig {
        let mut config = rustls::ServerConfig::builder_with_details(provider(groups).into(), Arc::new(Standstill))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect(FAULTLESS)
            .with_no_client_auth()
            .with_single_cert(chain(), key())
            .expect(FAULTLESS);
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.max_early_data_size = u32::MAX;
        // On wherever some crate of the workspace wants it; brotli takes 32 MiB for it.
        config.cert_compressors.clear();
        config
    }
    let mut config = match shares {
        KeyShares::Small => SMALL.clone(),
        KeyShares::Hybrid => HYBRID.clone(),
        KeyShares::Retry => RETRY.clone(),
    };
    config.session_storage = rustls::server::ServerSessionMemoryCache::new(64);
    Arc::new(config)
}

/// A client's TLS. Each call gives one with a session store of its own.
#[allow(clippy::expect_used)]
pub fn client(shares: KeyShares) -> Arc<rustls::ClientConfig> {
    static SMALL: LazyLock<rustls::ClientConfig> =
        LazyLock::new(|| build(vec![key_exchange::SMALL, key_exchange::HYBRID]));
    static HYBRID: LazyLock<rustls::ClientConfig> =
        LazyLock::new(|| build(vec![key_exchange::HYBRID, key_exchange::SMALL]));
    fn build(groups: Vec<&'static dyn SupportedKxGroup>) -> rustls::ClientConfig {
        let mut config = rustls::ClientConfig::builder_with_details(provider(groups).into(), Arc::new(Standstill))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect(FAULTLESS)
            .with_root_certificates(roots())
            .with_no_client_auth();
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.enable_early_data = true;
        config.cert_decompressors.clear();
        config
    }
    let mut config = match shares {
        KeyShares::Hybrid => HYBRID.clone(),
        KeyShares::Small | KeyShares::Retry => SMALL.clone(),
    };
    config.resumption = rustls::client::Resumption::in_memory_sessions(8);
    Arc::new(config)
}

#[cfg(test)]
mod tests;
