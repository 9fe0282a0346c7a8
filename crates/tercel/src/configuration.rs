//! What connections are made with: settings, application protocols and a credential.

use std::sync::Arc;

use tercel_proto::config::TransportConfig;

use crate::status::Error;

/// Settings, application protocols and a credential; cheap to clone.
#[derive(Clone)]
pub struct Configuration {}

#[allow(clippy::todo)]
impl Configuration {
    /// The settings of its connections.
    pub(crate) fn transport(&self) -> Arc<TransportConfig> {
        todo!()
    }

    /// TLS of a client.
    pub(crate) fn client_tls(&self) -> Result<Arc<rustls::ClientConfig>, Error> {
        todo!()
    }

    /// TLS of a server.
    pub(crate) fn server_tls(&self) -> Result<Arc<rustls::ServerConfig>, Error> {
        todo!()
    }
}
