//! A kept ticket becomes a session that rustls can resume.
//!
//! rustls has no way to build one from bytes. But it builds one at the end of every handshake, of
//! the ticket that comes then; so the client here shakes hands with itself, without public-key work,
//! at the time when the real ticket came, with a server that has the real one's certificates and
//! parameters; it is given the real ticket; and where the secret of that ticket is derived it is given
//! the real secret. The certificates are judged again by the trust of this client, so that a ticket
//! never opens a door that its trust would not.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::crypto::CryptoProvider;
use rustls::crypto::tls13::OkmBlock;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::quic::{ClientConnection, ServerConnection, Version};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::time_provider::TimeProvider;
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureAlgorithm, SignatureScheme,
    SupportedCipherSuite,
};

use super::ResumptionTicket;
use crate::tls::aside::{self, Aside, Watch};
use crate::tls::observed::NoExchange;

/// A verifier under which sessions can be restored. It asks another; only where a session is being
/// restored, and nobody is there to sign, it asks for no signature.
#[derive(Debug)]
pub struct ResumableVerifier(Arc<dyn ServerCertVerifier>);

impl ResumableVerifier {
    /// Asks `verifier`.
    pub fn new(verifier: Arc<dyn ServerCertVerifier>) -> Arc<Self> {
        Arc::new(Self(verifier))
    }
}

impl ServerCertVerifier for ResumableVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.0.verify_server_cert(leaf, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match aside::with(|aside| aside.restoring) {
            Some(true) => Ok(HandshakeSignatureValid::assertion()),
            _ => self.0.verify_tls13_signature(message, certificate, signature),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.0.requires_raw_public_keys()
    }
}

/// The session of `ticket`, for connections of `config`, whose verifier is `verifier`. `None` if the
/// trust of `config` would not take the server, or has no such cipher suite.
pub fn restore(
    ticket: &ResumptionTicket,
    config: &ClientConfig,
    verifier: &Arc<ResumableVerifier>,
) -> Option<Tls13ClientSessionValue> {
    let suite = config.crypto_provider().cipher_suites.iter().find_map(|suite| match suite {
        SupportedCipherSuite::Tls13(tls13) if u16::from(suite.suite()) == ticket.suite => Some(*tls13),
        _ => None,
    })?;
    if ticket.psk.len() != suite.common.hash_provider.output_len() {
        return None;
    }
    let provider = Arc::new(CryptoProvider {
        cipher_suites: vec![SupportedCipherSuite::Tls13(suite)],
        kx_groups: vec![&NoExchange],
        ..CryptoProvider::clone(config.crypto_provider())
    });
    let client = client_config(ticket, config, verifier, &provider).ok()?;
    let raw = [verifier.requires_raw_public_keys(), config.client_auth_cert_resolver.only_raw_public_keys()];
    let server = server_config(ticket, raw, &provider).ok()?;
    let name = ServerName::try_from(ticket.server_name.clone()).ok()?;
    let aside = Box::new(Aside { restoring: true, ..Aside::default() });
    let (client, _) = aside::during(aside, || shake_hands(client, server, name, ticket.parameters.clone()));
    let mut client = client.ok()?;
    let psk = Some(OkmBlock::new(&ticket.psk));
    let aside = Box::new(Aside { watch: Watch::Tickets, psk, ..Aside::default() });
    let (read, aside) = aside::during(aside, || client.read_hs(&ticket.message));
    read.ok().and(aside.session)
}

fn client_config(
    ticket: &ResumptionTicket,
    config: &ClientConfig,
    verifier: &Arc<ResumableVerifier>,
    provider: &Arc<CryptoProvider>,
) -> Result<ClientConfig, Error> {
    let time = Arc::new(Then(ticket.received));
    let mut client = ClientConfig::builder_with_details(provider.clone(), time)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier.clone())
        .with_client_cert_resolver(config.client_auth_cert_resolver.clone());
    client.resumption = Resumption::store(Arc::new(HandOver));
    client.cert_compressors.clear();
    client.cert_decompressors.clear();
    Ok(client)
}

/// `raw` says whether server and client are known by raw public keys.
fn server_config(
    ticket: &ResumptionTicket,
    raw: [bool; 2],
    provider: &Arc<CryptoProvider>,
) -> Result<ServerConfig, Error> {
    let chain = ticket.chain.iter().map(|certificate| CertificateDer::from(certificate.to_vec())).collect();
    let identity = CertifiedKey::new(chain, Arc::new(NoKey));
    let mut server = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(AskNobody { raw: raw[1] }))
        .with_cert_resolver(Arc::new(Always { identity: Arc::new(identity), raw: raw[0] }));
    server.send_tls13_tickets = 0;
    server.cert_compressors.clear();
    server.cert_decompressors.clear();
    Ok(server)
}

/// A handshake in memory; gives the client.
fn shake_hands(
    client: ClientConfig,
    server: ServerConfig,
    name: ServerName<'static>,
    parameters: Vec<u8>,
) -> Result<ClientConnection, Error> {
    let mut client = ClientConnection::new(Arc::new(client), Version::V1, name, Vec::new())?;
    let mut server = ServerConnection::new(Arc::new(server), Version::V1, parameters)?;
    let mut bytes = Vec::new();
    macro_rules! flight {
        ($from:ident => $to:ident) => {
            loop {
                bytes.clear();
                let change = $from.write_hs(&mut bytes);
                if bytes.is_empty() && change.is_none() {
                    break;
                }
                if !bytes.is_empty() {
                    $to.read_hs(&bytes)?;
                }
            }
        };
    }
    flight!(client => server);
    flight!(server => client);
    match client.is_handshaking() {
        true => Err(Error::HandshakeNotComplete),
        false => Ok(client),
    }
}

/// Hands the session on to whoever restores it.
#[derive(Debug)]
struct HandOver;

impl ClientSessionStore for HandOver {
    fn set_kx_hint(&self, _server: ServerName<'static>, _group: rustls::NamedGroup) {}

    fn kx_hint(&self, _server: &ServerName<'_>) -> Option<rustls::NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _server: ServerName<'static>, _session: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _server: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _server: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _server: ServerName<'static>, session: Tls13ClientSessionValue) {
        aside::with(|aside| aside.session = Some(session));
    }

    fn take_tls13_ticket(&self, _server: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        None
    }
}

/// A clock that stands.
#[derive(Debug)]
struct Then(u64);

impl TimeProvider for Then {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(self.0)))
    }
}

#[derive(Debug)]
struct Always {
    identity: Arc<CertifiedKey>,
    raw: bool,
}

impl ResolvesServerCert for Always {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.identity.clone())
    }

    fn only_raw_public_keys(&self) -> bool {
        self.raw
    }
}

/// Asks clients for nothing, and agrees on the kind of what it would ask for.
#[derive(Debug)]
struct AskNobody {
    raw: bool,
}

impl ClientCertVerifier for AskNobody {
    fn offer_client_auth(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Err(Error::NoCertificatesPresented)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::NoCertificatesPresented)
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::NoCertificatesPresented)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.raw
    }
}

/// Signs with nothing.
#[derive(Debug)]
struct NoKey;

impl SigningKey for NoKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.first().map(|scheme| Box::new(NoSignature(*scheme)) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::Anonymous
    }
}

#[derive(Debug)]
struct NoSignature(SignatureScheme);

impl Signer for NoSignature {
    fn sign(&self, _message: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(Vec::new())
    }

    fn scheme(&self) -> SignatureScheme {
        self.0
    }
}
