//! What connections are made with: settings, application protocols and a credential.

use std::sync::Arc;

use tercel_proto::config::TransportConfig;

use crate::status::Error;

/// Settings, application protocols and a credential; cheap to clone.
#[derive(Clone)]
pub struct Configuration {
    client: Option<Arc<rustls::ClientConfig>>,
    server: Option<Arc<rustls::ServerConfig>>,
    transport: Arc<TransportConfig>,
}

impl Configuration {
    /// Of ready-made TLS configurations, for a client, a server or both, with ALPN protocols set.
    pub fn from_tls(
        client: Option<Arc<rustls::ClientConfig>>,
        server: Option<Arc<rustls::ServerConfig>>,
        transport: Arc<TransportConfig>,
    ) -> Self {
        Self { client, server, transport }
    }

    /// The settings of its connections.
    pub(crate) fn transport(&self) -> Arc<TransportConfig> {
        self.transport.clone()
    }

    /// TLS of a client.
    pub(crate) fn client_tls(&self) -> Result<Arc<rustls::ClientConfig>, Error> {
        self.client.clone().ok_or_else(|| Error::tls("the configuration does not serve a client"))
    }

    /// TLS of a server.
    pub(crate) fn server_tls(&self) -> Result<Arc<rustls::ServerConfig>, Error> {
        self.server.clone().ok_or_else(|| Error::tls("the configuration has no credential for a server"))
    }
}
