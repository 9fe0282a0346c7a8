//! Encrypted ClientHello (RFC 9849): a client hides which server it asks for, and all else of its ClientHello,
//! from everybody but the servers behind one public name.

use std::sync::Arc;

use bytes::Bytes;
use rustls::ClientConfig;
use rustls::client::{EchConfig, EchGreaseConfig, EchMode};
use rustls::crypto::aws_lc_rs::hpke;
use rustls::crypto::hpke::Hpke as _;
use rustls::pki_types::EchConfigListBytes;

use super::choices::{client, ready_made};
use super::{Configuration, tls_error};
use crate::status::Error;

/// How a client hides its ClientHello.
///
/// ```no_run
/// use tercel::aio::{ConnectError, Connection, Endpoint};
/// use tercel::{Bytes, CloseReason, Configuration, Connect, Ech};
///
/// /// Connects with the ECH configurations of the server's HTTPS record in the DNS; if they are out of date,
/// /// with those that the server gives in their place.
/// async fn connect(endpoint: &Endpoint, client: &Configuration, configs: Bytes) -> Result<Connection, ConnectError> {
///     let mut connect = Connect::new(([192, 0, 2, 1], 443).into(), "secret.example");
///     connect.ech = Some(Ech::Configs(configs));
///     match endpoint.connect_with(client, connect.clone())?.await {
///         Err(ConnectError::Connection(CloseReason::EchRejected { retry_configs })) if !retry_configs.is_empty() => {
///             connect.ech = Some(Ech::Configs(retry_configs));
///             endpoint.connect_with(client, connect)?.await
///         }
///         other => other,
///     }
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ech {
    /// Not at all.
    Off,
    /// As if it did, with what nobody can read, so that who really does is not conspicuous (RFC 9849 section
    /// 6.2). The server name is sent in the open.
    Grease,
    /// By the first of these ECH configurations that it can use; an ECHConfigList (RFC 9849 section 4) as
    /// in the parameter `ech` of an HTTPS record in the DNS. A server that cannot read it is not talked to: the
    /// connection ends with [`CloseReason::EchRejected`](crate::CloseReason::EchRejected).
    Configs(Bytes),
}

/// What became of an encrypted ClientHello, once the handshake is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum EchStatus {
    /// None was sent; or this is a server.
    #[default]
    NotOffered,
    /// One that nobody can read was sent.
    Grease,
    /// The server has read it.
    Accepted,
}

impl Ech {
    /// # Errors
    /// See [`Configuration::with_ech`].
    pub(crate) fn mode(&self) -> Result<Option<EchMode>, Error> {
        Ok(match self {
            Self::Off => None,
            Self::Grease => {
                let suite = hpke::DH_KEM_X25519_HKDF_SHA256_AES_128;
                let (key, _) = suite.generate_key_pair().map_err(tls_error)?;
                Some(EchGreaseConfig::new(suite, key).into())
            }
            Self::Configs(list) => {
                let list = EchConfigListBytes::from(list.as_ref());
                Some(EchConfig::new(list, hpke::ALL_SUPPORTED_SUITES).map_err(tls_error)?.into())
            }
        })
    }

    /// What becomes of it when a handshake is complete.
    pub(crate) const fn status(mode: Option<&EchMode>) -> EchStatus {
        match mode {
            None => EchStatus::NotOffered,
            Some(EchMode::Grease(_)) => EchStatus::Grease,
            // Were it not read, the handshake would have failed.
            Some(EchMode::Enable(_)) => EchStatus::Accepted,
        }
    }
}

impl Configuration {
    /// Client: hides its ClientHello so, unless [`Connect::ech`](crate::Connect::ech) says otherwise. Default
    /// [`Ech::Off`].
    ///
    /// # Errors
    /// [`Error::Tls`]: these are no ECH configurations, or none that can be used here; or the configuration is
    /// no client's, or was made by [`from_tls`](Self::from_tls).
    pub fn with_ech(mut self, ech: &Ech) -> Result<Self, Error> {
        self.ech = ech.mode()?;
        let (tls, verifier) = (self.client_tls()?, self.restorer.as_ref().ok_or_else(ready_made)?);
        let new = client(&tls, verifier, tls.crypto_provider().clone(), self.ech.clone())?;
        self.client = Some(new.into());
        Ok(self)
    }

    /// TLS for a connection with this ECH in place of the configuration's, and what becomes of that if the
    /// handshake completes.
    pub(crate) fn client_tls_with(&self, ech: Option<&Ech>) -> Result<(Arc<ClientConfig>, EchStatus), Error> {
        let tls = self.client_tls()?;
        let Some(ech) = ech else { return Ok((tls, Ech::status(self.ech.as_ref()))) };
        let (mode, verifier) = (ech.mode()?, self.restorer.as_ref().ok_or_else(ready_made)?);
        let status = Ech::status(mode.as_ref());
        let new = client(&tls, verifier, tls.crypto_provider().clone(), mode)?;
        Ok((Arc::new(new), status))
    }
}
