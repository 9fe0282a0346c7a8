//! The secrets of a handshake, for whoever asked to have them: to decrypt what was captured, or to give
//! packet protection to other hardware.
//!
//! rustls tells a key log of every secret as it derives it. Where a configuration
//! [keeps secrets](SecretsKept), they are noted [beside](super::aside) for the connection, too.

use std::sync::Arc;

use rustls::KeyLog;

use super::aside;

/// A secret of TLS 1.3, as long as the hash of the cipher suite: 32 or 48 bytes.
pub type Secret = Vec<u8>;

/// The secrets of a connection's handshake (RFC 8446 section 7.1), those that there are so far. Whoever has
/// them can read and forge everything on the connection.
#[derive(Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TlsSecrets {
    /// The random of the ClientHello, by which key logs name a connection.
    pub client_random: [u8; 32],
    /// client_early_traffic_secret, if early data was offered.
    pub client_early_traffic: Option<Secret>,
    /// client_handshake_traffic_secret.
    pub client_handshake_traffic: Option<Secret>,
    /// server_handshake_traffic_secret.
    pub server_handshake_traffic: Option<Secret>,
    /// client_application_traffic_secret_0: that of the first key phase.
    pub client_traffic: Option<Secret>,
    /// server_application_traffic_secret_0.
    pub server_traffic: Option<Secret>,
    /// exporter_master_secret.
    pub exporter: Option<Secret>,
}

impl TlsSecrets {
    fn place(&mut self, label: &str) -> Option<&mut Option<Secret>> {
        // The labels of key logs (SSLKEYLOGFILE).
        Some(match label {
            "CLIENT_EARLY_TRAFFIC_SECRET" => &mut self.client_early_traffic,
            "CLIENT_HANDSHAKE_TRAFFIC_SECRET" => &mut self.client_handshake_traffic,
            "SERVER_HANDSHAKE_TRAFFIC_SECRET" => &mut self.server_handshake_traffic,
            "CLIENT_TRAFFIC_SECRET_0" => &mut self.client_traffic,
            "SERVER_TRAFFIC_SECRET_0" => &mut self.server_traffic,
            "EXPORTER_SECRET" => &mut self.exporter,
            _ => return None,
        })
    }

    /// Adds those of `later`.
    pub(super) fn add(&mut self, later: Self) {
        self.client_random = later.client_random;
        let later = [
            (&mut self.client_early_traffic, later.client_early_traffic),
            (&mut self.client_handshake_traffic, later.client_handshake_traffic),
            (&mut self.server_handshake_traffic, later.server_handshake_traffic),
            (&mut self.client_traffic, later.client_traffic),
            (&mut self.server_traffic, later.server_traffic),
            (&mut self.exporter, later.exporter),
        ];
        for (to, secret) in later {
            *to = secret.or(to.take());
        }
    }
}

/// Tells which secrets there are, and none of them.
impl std::fmt::Debug for TlsSecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsSecrets")
            .field("client_early_traffic", &self.client_early_traffic.is_some())
            .field("client_traffic", &self.client_traffic.is_some())
            .finish_non_exhaustive()
    }
}

/// A key log by which the connections of a configuration keep their secrets, and that passes them on to
/// another.
#[derive(Debug)]
pub struct SecretsKept(Arc<dyn KeyLog>);

impl SecretsKept {
    /// Passes everything on to `log`.
    pub fn new(log: Arc<dyn KeyLog>) -> Self {
        Self(log)
    }
}

impl KeyLog for SecretsKept {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        aside::with(|aside| {
            let secrets = aside.logged.get_or_insert_default();
            if let (Some(place), Ok(client_random)) = (secrets.place(label), client_random.try_into()) {
                *place = Some(secret.to_vec());
                secrets.client_random = client_random;
            }
        });
        if self.0.will_log(label) {
            self.0.log(label, client_random, secret);
        }
    }
}
