//! What connections are made with: settings, application protocols and a credential.

mod choices;
mod ech;

use std::sync::{Arc, LazyLock};

use rustls::client::{AlwaysResolvesClientRawPublicKeys, EchMode, Resumption, Tls13ClientSessionValue};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::time_provider::DefaultTimeProvider;
use rustls::{ClientConfig, KeyLogFile, RootCertStore, ServerConfig};
use tercel_proto::config::TransportConfig;
use tercel_proto::tls::{
    ClientSessions, DeferredClientVerifier, ResumableVerifier, ResumptionTicket, SessionsInTickets, ToldTime, observed,
    restore,
};
use tercel_wire::Version;

use crate::aio::CertificateVerifier;
use crate::aio::verifier::AnyVerifier;
use crate::credential::{Identities, Identity, PublicKeysVerifier, Trust, remembering};
use crate::resumption::{ResumptionLevel, ServerResumption, Tickets};
use crate::settings::Settings;
use crate::status::Error;

pub use choices::{CipherSuite, KeyExchange};
pub use ech::{Ech, EchStatus};

/// Settings, application protocols and a credential; cheap to clone. One configuration can serve a
/// client, a server, or both.
///
/// ```
/// use std::time::Duration;
/// use tercel::{Configuration, Settings, Trust};
///
/// # fn main() -> Result<(), tercel::Error> {
/// let settings = Settings { max_idle_timeout: Duration::from_secs(60), max_bidi_streams: 10, ..Settings::default() };
/// let client = Configuration::client(&["h3", "hq-interop"], settings, Trust::Pinned([0x6f; 32]))?;
///
/// let wrong = Settings { initial_mtu: 100, ..Settings::default() };
/// let error = Configuration::client(&["h3"], wrong, Trust::Pinned([0x6f; 32])).unwrap_err();
/// assert_eq!(error.to_string(), "setting initial_mtu must be from 1200 to 65_527 bytes");
/// # Ok(())
/// # }
/// ```
///
/// A server whose clients must show a certificate that some authority has signed:
///
/// ```no_run
/// use std::sync::Arc;
/// use tercel::{ClientAuthentication, Configuration, Identity, ServerCredential, Settings, Trust};
///
/// # fn main() -> Result<(), tercel::Error> {
/// let Trust::Roots(authorities) = Trust::from_file("clients.pem")? else { unreachable!() };
/// let credential = ServerCredential {
///     identity: Identity::from_files("chain.pem", "key.pem")?,
///     clients: ClientAuthentication::Required(authorities),
/// };
/// let server = Configuration::server(&["example"], Settings::default(), credential)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Configuration {
    client: Option<Arc<ClientConfig>>,
    server: Option<Arc<ServerConfig>>,
    transport: Arc<TransportConfig>,
    send_buffer: usize,
    verifier: Option<Verifier>,
    /// Client: under which tickets can be restored.
    restorer: Option<Arc<ResumableVerifier>>,
    /// Server: how sessions are resumed.
    tickets: Option<Arc<Tickets>>,
    /// Server: what it shows.
    identities: Option<Arc<Identities>>,
    /// Server: who judges clients within TLS.
    clients: Option<Arc<dyn ClientCertVerifier>>,
    /// Client: the sessions that it keeps by itself; none if it resumes nothing.
    sessions: Option<Arc<ClientSessions>>,
    /// Client: how it hides its ClientHello.
    ech: Option<EchMode>,
}

#[derive(Clone)]
struct Verifier(Arc<dyn AnyVerifier>);

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Verifier")
    }
}

/// A client's credential.
#[derive(Debug, Clone)]
pub struct ClientCredential {
    /// Whom it trusts.
    pub trust: Trust,
    /// Its own certificate, for servers that ask for one. None in most cases.
    pub identity: Option<Identity>,
}

/// A server's credential.
#[derive(Debug, Clone)]
pub struct ServerCredential {
    /// Its certificate.
    pub identity: Identity,
    /// Whether clients must show a certificate.
    pub clients: ClientAuthentication,
}

/// Whether clients must show a certificate.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ClientAuthentication {
    /// They are not asked.
    None,
    /// They may show one; if they do, one of these authorities must have signed it.
    Optional(Arc<RootCertStore>),
    /// They must show one that one of these authorities has signed.
    Required(Arc<RootCertStore>),
    /// They are asked for one, and the application judges it, at
    /// [`ConnectionEvent::PeerCertificate`](crate::ConnectionEvent::PeerCertificate), at
    /// [`Connecting::certificate`](crate::aio::Connecting::certificate) or by the verifier of
    /// [`Configuration::judged_by`].
    Deferred {
        /// Whether they must show one. Who need not and does not is not judged.
        required: bool,
        /// The application is told what validation by these authorities says.
        advice: Option<Arc<RootCertStore>>,
    },
    /// They must prove that they own a raw public key (RFC 7250), one of `known`; each a SubjectPublicKeyInfo
    /// in DER, as [`Identity::public_key`] gives it.
    PublicKeys {
        /// The keys.
        known: Vec<Vec<u8>>,
        /// Whether the application judges the key, as for [`Deferred`](Self::Deferred); it is told whether
        /// the key is known.
        deferred: bool,
    },
}

impl From<Trust> for ClientCredential {
    fn from(trust: Trust) -> Self {
        Self { trust, identity: None }
    }
}

impl From<Identity> for ServerCredential {
    fn from(identity: Identity) -> Self {
        Self { identity, clients: ClientAuthentication::None }
    }
}

/// TLS 1.3 by aws-lc-rs, X25519MLKEM768 first.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(Configuration::crypto_provider(rustls::crypto::aws_lc_rs::default_provider())));
    PROVIDER.clone()
}

/// Of so many servers a client keeps sessions.
const SESSIONS: usize = 256;

fn tls_error(error: impl std::fmt::Display) -> Error {
    Error::tls(error.to_string())
}

fn protocols<P: AsRef<[u8]>>(alpn: &[P]) -> Result<Vec<Vec<u8>>, Error> {
    let protocols: Vec<Vec<u8>> = alpn.iter().map(|protocol| protocol.as_ref().to_vec()).collect();
    match !protocols.is_empty() && protocols.iter().all(|protocol| (1..=255).contains(&protocol.len())) {
        true => Ok(protocols),
        false => Err(Error::InvalidArgument("a configuration needs application protocols of 1 to 255 bytes")),
    }
}

impl Configuration {
    /// For clients. SSLKEYLOGFILE in the environment, if set, names a file for TLS keys.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a setting or protocol out of range, [`Error::Tls`] for a
    /// credential that cannot be used.
    // RFC 9001 section 4.2#1#2: nothing but TLS 1.3.
    pub fn client<P: AsRef<[u8]>>(
        alpn: &[P],
        settings: Settings,
        credential: impl Into<ClientCredential>,
    ) -> Result<Self, Error> {
        let ClientCredential { trust, identity } = credential.into();
        let provider = provider();
        let clock = ToldTime::new(Arc::new(DefaultTimeProvider));
        let builder = ClientConfig::builder_with_details(provider.clone(), clock)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(tls_error)?;
        let restorer = ResumableVerifier::new(trust.verifier(&provider)?);
        let builder = builder.dangerous().with_custom_certificate_verifier(restorer.clone());
        let mut tls = match identity {
            Some(identity) if identity.is_raw() => {
                let key = Arc::new(identity.certified()?);
                builder.with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(key)))
            }
            Some(Identity { chain, key, .. }) => builder.with_client_auth_cert(chain, key).map_err(tls_error)?,
            None => builder.with_no_client_auth(),
        };
        tls.alpn_protocols = protocols(alpn)?;
        tls.enable_early_data = true;
        tls.key_log = Arc::new(KeyLogFile::new());
        let sessions = Arc::new(ClientSessions::new(SESSIONS));
        tls.resumption = Resumption::store(sessions.clone());
        // Only who asks for compression has it, whatever rustls was built with.
        tls.cert_compressors.clear();
        tls.cert_decompressors.clear();
        let client = Self { client: Some(Arc::new(tls)), restorer: Some(restorer), ..Self::of(settings)? };
        Ok(Self { sessions: Some(sessions), ..client })
    }

    /// For servers. SSLKEYLOGFILE in the environment, if set, names a file for TLS keys.
    ///
    /// # Errors
    /// As for [`client`](Self::client).
    // RFC 9001 section 4.2#2.
    pub fn server<P: AsRef<[u8]>>(
        alpn: &[P],
        settings: Settings,
        credential: impl Into<ServerCredential>,
    ) -> Result<Self, Error> {
        let ServerCredential { identity, clients } = credential.into();
        let provider = provider();
        let verifier = |roots| WebPkiClientVerifier::builder_with_provider(roots, provider.clone());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(tls_error)?;
        let mut known_keys = &Vec::new();
        let clients: Arc<dyn ClientCertVerifier> = match &clients {
            ClientAuthentication::None => WebPkiClientVerifier::no_client_auth(),
            ClientAuthentication::Optional(roots) => {
                verifier(roots.clone()).allow_unauthenticated().build().map_err(tls_error)?
            }
            ClientAuthentication::Required(roots) => verifier(roots.clone()).build().map_err(tls_error)?,
            ClientAuthentication::Deferred { required, advice } => {
                let advice = advice.clone().map(|roots| verifier(roots).build()).transpose().map_err(tls_error)?;
                Arc::new(DeferredClientVerifier::new(advice, *required, provider.clone()))
            }
            ClientAuthentication::PublicKeys { known, deferred } => {
                known_keys = known;
                let keys = Arc::new(PublicKeysVerifier::new(known.as_slice().into(), provider.clone()));
                match deferred {
                    true => Arc::new(DeferredClientVerifier::new(Some(keys), true, provider.clone())),
                    false => keys,
                }
            }
        };
        let tickets = Tickets::new(&*clients, known_keys)?;
        let identities = Arc::new(Identities::new(&identity)?);
        let mut tls = builder.with_client_cert_verifier(clients.clone()).with_cert_resolver(identities.clone());
        tls.alpn_protocols = protocols(alpn)?;
        tls.key_log = Arc::new(KeyLogFile::new());
        tls.session_storage = Arc::new(SessionsInTickets);
        tls.cert_compressors.clear();
        tls.cert_decompressors.clear();
        let server = Self { server: Some(Arc::new(tls)), tickets: Some(Arc::new(tickets)), ..Self::of(settings)? };
        let server = Self { identities: Some(identities), clients: Some(clients), ..server };
        server.with_resumption(ServerResumption::default())
    }

    fn of(settings: Settings) -> Result<Self, Error> {
        let (transport, send_buffer) = (settings.transport()?, settings.send_buffer);
        Ok(Self { send_buffer, ..Self::from_tls(None, None, transport) })
    }

    /// `provider` as configurations of [`client`](Self::client) and [`server`](Self::server) have it, for
    /// [`from_tls`](Self::from_tls). It has TLS 1.3 alone, lets go of secrets that nobody needs any more, and does not verify the
    /// signature of a certificate again that it has found right before (of the last 128 to 256 in the process): times, names,
    /// use and revocation are looked at every time.
    ///
    /// Parts of it are kept for as long as the process lives: call this once, and share what it gives.
    pub fn crypto_provider(provider: CryptoProvider) -> CryptoProvider {
        remembering(observed(provider))
    }

    /// Of ready-made TLS configurations, for a client, a server or both, with ALPN protocols set. They
    /// resume sessions as they say themselves, without [`ResumptionTicket`]s.
    ///
    /// With a provider of [`crypto_provider`](Self::crypto_provider) handshakes take less time and idle connections half as
    /// much memory.
    pub fn from_tls(
        client: Option<Arc<ClientConfig>>,
        server: Option<Arc<ServerConfig>>,
        transport: Arc<TransportConfig>,
    ) -> Self {
        Self {
            client,
            server,
            transport,
            send_buffer: Settings::default().send_buffer,
            verifier: None,
            restorer: None,
            tickets: None,
            identities: None,
            clients: None,
            sessions: None,
            ech: None,
        }
    }

    /// The same with other settings, for a single connection or for those to come.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a setting out of range.
    pub fn with_settings(mut self, settings: &Settings) -> Result<Self, Error> {
        (self.transport, self.send_buffer) = (settings.transport()?, settings.send_buffer);
        Ok(self)
    }

    /// The async face asks `verifier` about certificates that the credential leaves to the
    /// application. (The callback face tells its handler of them.)
    #[must_use]
    pub fn judged_by(mut self, verifier: impl CertificateVerifier) -> Self {
        self.verifier = Some(Verifier(Arc::new(verifier)));
        self
    }

    /// Whom the async face asks.
    pub(crate) fn verifier(&self) -> Option<Arc<dyn AnyVerifier>> {
        self.verifier.as_ref().map(|verifier| verifier.0.clone())
    }

    /// Server: how clients may resume sessions.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for terms out of their ranges; [`Error::Tls`] if this is no
    /// configuration made by [`server`](Self::server).
    pub fn with_resumption(mut self, resumption: ServerResumption) -> Result<Self, Error> {
        resumption.check()?;
        let (Some(tls), Some(tickets)) = (&mut self.server, &mut self.tickets) else {
            return Err(Error::tls("the configuration makes no tickets of its own"));
        };
        let tls = Arc::make_mut(tls);
        // TLS makes one, of which all others are made.
        tls.send_tls13_tickets = (resumption.level > ResumptionLevel::None).into();
        tls.max_early_data_size = match resumption.level {
            ResumptionLevel::SessionsAndEarlyData => u32::MAX,
            _ => 0,
        };
        *tickets = Arc::new(tickets.with_terms(resumption));
        Ok(self)
    }

    /// Server: shows another certificate from now on, in every clone of this configuration: a certificate
    /// that was renewed needs no restart. Connections that exist are not touched.
    ///
    /// # Errors
    /// [`Error::Tls`] if the key cannot be used, if one is a raw public key and the other is none, or if this is
    /// no configuration made by [`server`](Self::server).
    pub fn set_identity(&self, identity: &Identity) -> Result<(), Error> {
        self.identities()?.set(None, identity)
    }

    /// Server: shows this certificate to clients that ask for `name` (by SNI, RFC 6066 section 3), from now
    /// on, in every clone of this configuration. `*.example.net` is for every name that has one label more
    /// than `example.net`, unless that name has an identity of its own. Whoever asks for no name, or for one
    /// that is not known here, is shown that of the credential.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if `name` is no DNS name; otherwise as for [`set_identity`](Self::set_identity).
    pub fn set_identity_for(&self, name: &str, identity: &Identity) -> Result<(), Error> {
        self.identities()?.set(Some(name), identity)
    }

    /// Server: takes back what [`set_identity_for`](Self::set_identity_for) said of `name`. Tells whether it had
    /// said anything.
    pub fn remove_identity_for(&self, name: &str) -> bool {
        self.identities().is_ok_and(|identities| identities.remove(name))
    }

    fn identities(&self) -> Result<&Arc<Identities>, Error> {
        self.identities.as_ref().ok_or_else(|| Error::tls("the configuration shows no identity"))
    }

    /// Server: TLS for a listener over TCP beside, such as one for HTTP/2, that shows the same certificate,
    /// also after [`set_identity`](Self::set_identity). It asks clients for none.
    ///
    /// # Errors
    /// As for [`set_identity`](Self::set_identity).
    pub fn tls_over_tcp<P: AsRef<[u8]>>(&self, alpn: &[P]) -> Result<Arc<ServerConfig>, Error> {
        let (identities, provider) = (self.identities()?.clone(), self.server_tls()?.crypto_provider().clone());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut tls = builder.map_err(tls_error)?.with_no_client_auth().with_cert_resolver(identities);
        tls.alpn_protocols = protocols(alpn)?;
        tls.key_log = Arc::new(KeyLogFile::new());
        Ok(Arc::new(tls))
    }

    /// Server: the keys that seal tickets, secret and random. The first one seals, all of them open, so
    /// that keys can be changed without a break: put the new one first, and the last one out when what
    /// it sealed has expired. Servers with the same keys resume each other's sessions, if they ask
    /// clients for the same certificates. Holds at once, for every clone of this configuration. Without
    /// it each configuration has a key of its own.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if there is no key; [`Error::Tls`] if this is no configuration made by
    /// [`server`](Self::server).
    pub fn set_ticket_keys(&self, keys: &[[u8; 32]]) -> Result<(), Error> {
        self.tickets.as_ref().ok_or_else(|| Error::tls("the configuration makes no tickets of its own"))?.set_keys(keys)
    }

    /// Server: makes no tickets, resumes nothing and takes no early data. Client: resumes nothing.
    #[must_use]
    pub fn without_resumption(mut self) -> Self {
        if let Some(tls) = &mut self.server {
            let tls = Arc::make_mut(tls);
            tls.send_tls13_tickets = 0;
            tls.max_early_data_size = 0;
        }
        self.tickets = None;
        if let Some(tls) = &mut self.client {
            Arc::make_mut(tls).resumption = Resumption::disabled();
        }
        self.sessions = None;
        self
    }

    /// Client: keeps no sessions by itself; only what [`Connect::ticket`](crate::Connect::ticket) names
    /// is resumed.
    #[must_use]
    pub fn without_session_cache(mut self) -> Self {
        if let (Some(tls), Some(sessions)) = (&mut self.client, &mut self.sessions) {
            *sessions = Arc::new(ClientSessions::new(0));
            Arc::make_mut(tls).resumption = Resumption::store(sessions.clone());
        }
        self
    }

    /// Server: how sessions are resumed.
    pub(crate) fn tickets(&self) -> Option<Arc<Tickets>> {
        self.tickets.clone()
    }

    /// Client: the session of a ticket.
    ///
    /// # Errors
    /// The configuration was made of ready TLS, or resumes nothing.
    pub(crate) fn restore(&self, ticket: &ResumptionTicket) -> Result<Option<Tls13ClientSessionValue>, Error> {
        match (&self.client, &self.restorer, &self.sessions) {
            (Some(tls), Some(restorer), Some(_)) => Ok(restore(ticket, tls, restorer)),
            _ => Err(Error::InvalidArgument("the configuration cannot use a resumption ticket")),
        }
    }

    /// Client: a session with `server` of the first of `versions` of which one is remembered.
    pub(crate) fn remembered(
        &self,
        server: &ServerName<'static>,
        versions: &[Version],
    ) -> Option<(Version, Tls13ClientSessionValue)> {
        self.sessions.as_ref()?.take(server, versions)
    }

    /// The settings of its connections.
    pub(crate) fn transport(&self) -> Arc<TransportConfig> {
        self.transport.clone()
    }

    /// How many bytes a stream of the async face takes before writers wait.
    pub(crate) const fn send_buffer(&self) -> usize {
        self.send_buffer
    }

    /// The application protocols of a server.
    pub(crate) fn server_alpn(&self) -> Vec<Vec<u8>> {
        self.server.as_ref().map(|tls| tls.alpn_protocols.clone()).unwrap_or_default()
    }

    /// TLS of a client.
    pub(crate) fn client_tls(&self) -> Result<Arc<ClientConfig>, Error> {
        self.client.clone().ok_or_else(|| Error::tls("the configuration does not serve a client"))
    }

    /// TLS of a server.
    pub(crate) fn server_tls(&self) -> Result<Arc<ServerConfig>, Error> {
        self.server.clone().ok_or_else(|| Error::tls("the configuration has no credential for a server"))
    }
}
