//! Two ends of [`Handshake`], joined without packets: what comes out, in which order, and what is
//! refused with which alert.

mod faults;
mod gate;
mod resumption;
mod tickets;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tercel_wire::packet::protection::PacketKey as _;

use super::*;
use crate::keys::PacketKey;

/// A certificate that signs itself, with its key.
struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivatePkcs8KeyDer<'static>,
}

impl Identity {
    fn new() -> Self {
        Self::valid_until(2100)
    }

    fn valid_until(year: i32) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
        parameters.not_after = rcgen::date_time_ymd(year, 1, 1);
        // A name of its own: else another's certificate would pass for its issuer's.
        let name = format!("{:?}", key.public_key_raw());
        parameters.distinguished_name.push(rcgen::DnType::CommonName, &name[..60]);
        let certificate = parameters.self_signed(&key).unwrap();
        Self { certificate: certificate.der().clone(), key: key.serialize_der().into() }
    }

    fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.certificate.clone()]
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.key.clone_key())
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        roots
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

const VERSIONS: [&rustls::SupportedProtocolVersion; 1] = [&rustls::version::TLS13];

fn server_config(identity: &Identity) -> ServerConfig {
    let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&VERSIONS).unwrap();
    let mut config = builder.with_no_client_auth().with_single_cert(identity.chain(), identity.key()).unwrap();
    config.alpn_protocols = vec![b"test".to_vec()];
    config.max_early_data_size = u32::MAX;
    config
}

/// A server that takes clients with this certificate only.
fn mutual_server_config(identity: &Identity, client: &Identity) -> ServerConfig {
    let verifier = WebPkiClientVerifier::builder_with_provider(client.roots().into(), provider()).build().unwrap();
    let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&VERSIONS).unwrap();
    let mut config =
        builder.with_client_cert_verifier(verifier).with_single_cert(identity.chain(), identity.key()).unwrap();
    config.alpn_protocols = vec![b"test".to_vec()];
    config
}

/// A client that trusts `server`, and shows `identity` if asked.
fn client_config(server: &Identity, identity: Option<&Identity>) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&VERSIONS).unwrap();
    let builder = builder.with_root_certificates(server.roots());
    let mut config = match identity {
        Some(identity) => builder.with_client_auth_cert(identity.chain(), identity.key()).unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"test".to_vec()];
    config.enable_early_data = true;
    config
}

fn parameters(max_data: u64) -> TransportParameters {
    TransportParameters { initial_max_data: max_data, ..TransportParameters::default() }
}

fn encoded(parameters: &TransportParameters) -> Vec<u8> {
    parameters.encode(None)
}

/// The kind of an [`Output`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Crypto(EncryptionLevel),
    EarlyKeys,
    HandshakeKeys,
    OneRttKeys,
    Parameters,
    Certificate,
    Complete,
    Ticket,
}

/// One end, with what came out of it.
struct End {
    tls: Handshake,
    /// CRYPTO data that has not left.
    unsent: Vec<(EncryptionLevel, Vec<u8>)>,
    outputs: Vec<Kind>,
    early: Option<DirectionalKeys>,
    handshake: Option<LevelKeys>,
    one_rtt: Option<LevelKeys>,
    parameters: Option<TransportParameters>,
    presented: Option<Presented>,
    tickets: Vec<ResumptionTicket>,
}

impl End {
    fn new(tls: Handshake) -> Self {
        Self {
            tls,
            unsent: Vec::new(),
            outputs: Vec::new(),
            early: None,
            handshake: None,
            one_rtt: None,
            parameters: None,
            presented: None,
            tickets: Vec::new(),
        }
    }

    fn client(config: impl Into<Arc<ClientConfig>>) -> Self {
        Self::client_of("localhost", config, encoded(&parameters(1)))
    }

    fn client_of(name: &'static str, config: impl Into<Arc<ClientConfig>>, parameters: Vec<u8>) -> Self {
        let name = name.try_into().unwrap();
        Self::new(Handshake::client(config.into(), Version::V1, name, parameters, None).unwrap())
    }

    fn server(config: impl Into<Arc<ServerConfig>>) -> Self {
        Self::new(Handshake::server(config.into(), Version::V1, encoded(&parameters(2)), None).unwrap())
    }

    /// Takes what came out.
    fn poll(&mut self) {
        while let Some(output) = self.tls.poll() {
            self.outputs.push(match output {
                Output::Crypto(level, bytes) => {
                    assert!(!bytes.is_empty());
                    self.unsent.push((level, bytes));
                    Kind::Crypto(level)
                }
                Output::EarlyKeys(keys) => {
                    self.early = Some(keys);
                    Kind::EarlyKeys
                }
                Output::HandshakeKeys(keys) => {
                    self.handshake = Some(keys);
                    Kind::HandshakeKeys
                }
                Output::OneRttKeys(keys, _) => {
                    self.one_rtt = Some(keys);
                    Kind::OneRttKeys
                }
                Output::PeerParameters(parameters) => {
                    self.parameters = Some(parameters);
                    Kind::Parameters
                }
                Output::Certificate(presented) => {
                    self.presented = Some(presented);
                    Kind::Certificate
                }
                Output::Complete => Kind::Complete,
                Output::Ticket(ticket) => {
                    self.tickets.push(*ticket);
                    Kind::Ticket
                }
            });
        }
    }

    /// The CRYPTO data to send, by level.
    fn take(&mut self) -> Vec<(EncryptionLevel, Vec<u8>)> {
        self.poll();
        std::mem::take(&mut self.unsent)
    }

    /// Feeds CRYPTO data in pieces of `piece` bytes.
    fn feed(&mut self, data: &[(EncryptionLevel, Vec<u8>)], piece: usize) -> Result<(), Violation> {
        for (level, bytes) in data {
            for bytes in bytes.chunks(piece) {
                self.tls.feed(*level, bytes)?;
            }
        }
        self.poll();
        Ok(())
    }
}

/// With their secrets kept, both ends have the same; and none without.
#[test]
fn secrets_are_kept_where_they_are_wanted() {
    let identity = Identity::new();
    let kept = || Arc::new(SecretsKept::new(Arc::new(rustls::NoKeyLog)));
    let (mut trust, mut config) = (client_config(&identity, None), server_config(&identity));
    (trust.key_log, config.key_log) = (kept(), kept());
    let (mut client, mut server) = (End::client(trust), End::server(config));
    complete(&mut client, &mut server);
    let secrets = client.tls.secrets().unwrap();
    assert_eq!(Some(secrets), server.tls.secrets());
    let TlsSecrets { client_early_traffic, client_traffic, server_traffic, exporter, client_random, .. } = secrets;
    assert!(client_early_traffic.is_none() && client_traffic != server_traffic && exporter.is_some());
    assert_ne!(*client_random, [0; 32]);
    let (mut client, mut server) = (End::client(client_config(&identity, None)), End::server(server_config(&identity)));
    complete(&mut client, &mut server);
    assert!(client.tls.secrets().is_none() && server.tls.secrets().is_none());
}

/// Messages go to and fro until there are no more; the first violation, and whose it is found by.
fn run(client: &mut End, server: &mut End, piece: usize) -> Result<(), (Role, Violation)> {
    loop {
        let (ours, theirs) = (client.take(), server.take());
        if ours.is_empty() && theirs.is_empty() {
            return Ok(());
        }
        server.feed(&ours, piece).map_err(|violation| (Role::Server, violation))?;
        client.feed(&theirs, piece).map_err(|violation| (Role::Client, violation))?;
    }
}

const ALL: usize = usize::MAX;

fn complete(client: &mut End, server: &mut End) {
    run(client, server, ALL).unwrap();
    assert!(client.tls.is_complete() && server.tls.is_complete());
}

/// Whether what `seal` seals `open` opens.
fn fits(seal: &PacketKey, open: &PacketKey) -> bool {
    let (mut payload, mut tag) = (b"payload".to_vec(), [0; 16]);
    seal.seal(7, b"header", &mut payload, &mut tag);
    assert_ne!(payload, b"payload");
    payload.extend(tag);
    let opened = open.open(7, b"header", &mut payload);
    opened.is_some_and(|len| payload[..len] == *b"payload")
}

fn keys_fit(client: &LevelKeys, server: &LevelKeys) -> bool {
    fits(&client.local.packet, &server.remote.packet) && fits(&server.local.packet, &client.remote.packet)
}

/// The messages in the CRYPTO data of a level.
fn messages(mut data: &[u8]) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    while let Some((&[_, a, b, c], _)) = data.split_first_chunk() {
        let (message, rest) = data.split_at(4 + u32::from_be_bytes([0, a, b, c]) as usize);
        messages.push(message.to_vec());
        data = rest;
    }
    messages
}

#[test]
fn messages_may_come_in_any_pieces() {
    use EncryptionLevel::{Handshake, Initial, OneRtt};
    let identity = Identity::new();
    let (config, trust) = (Arc::new(server_config(&identity)), Arc::new(client_config(&identity, None)));
    for piece in [1, 2, 3, 4, 5, 63, 500, ALL] {
        // A ticket of the run before must not be used.
        let mut trust = ClientConfig::clone(&trust);
        trust.resumption = rustls::client::Resumption::disabled();
        let (mut client, mut server) = (End::client(trust), End::server(config.clone()));
        run(&mut client, &mut server, piece).unwrap();
        assert!(client.tls.is_complete() && server.tls.is_complete(), "{piece}");
        // RFC 9001 section 4.1.4: keys become available as TLS moves on, and no sooner.
        assert_eq!(
            client.outputs,
            [
                Kind::Crypto(Initial),
                Kind::HandshakeKeys,
                Kind::Parameters,
                Kind::Crypto(Handshake),
                Kind::OneRttKeys,
                Kind::Complete
            ],
            "{piece}"
        );
        let tickets = server.outputs.iter().filter(|kind| **kind == Kind::Crypto(OneRtt)).count();
        assert!(tickets > 0);
        server.outputs.retain(|kind| *kind != Kind::Crypto(OneRtt));
        assert_eq!(
            server.outputs,
            [
                Kind::Parameters,
                Kind::Crypto(Initial),
                Kind::HandshakeKeys,
                Kind::Crypto(Handshake),
                Kind::OneRttKeys,
                Kind::Complete
            ],
            "{piece}"
        );
        assert!(keys_fit(&client.handshake.unwrap(), &server.handshake.unwrap()));
        assert!(keys_fit(&client.one_rtt.unwrap(), &server.one_rtt.unwrap()));
        assert_eq!(client.parameters.unwrap().initial_max_data, 2);
        assert_eq!(server.parameters.unwrap().initial_max_data, 1);
        for end in [&client.tls, &server.tls] {
            assert_eq!(end.session().alpn(), Some(&b"test"[..]));
            assert!(!end.session().is_resumed() && !end.session().early_data_accepted());
        }
        assert_eq!(client.tls.session().peer_certificates().unwrap(), [&identity.certificate[..]]);
        assert_eq!(server.tls.session().peer_certificates(), None);
    }
}

#[test]
fn both_ends_export_the_same() {
    let identity = Identity::new();
    let (mut client, mut server) = (End::client(client_config(&identity, None)), End::server(server_config(&identity)));
    let export = |end: &End, label: &[u8], context: &[u8]| {
        let mut out = [0; 32];
        end.tls.session().export_keying_material(&mut out, label, context).then_some(out)
    };
    assert_eq!(export(&client, b"label", b""), None, "there is nothing to export yet");
    complete(&mut client, &mut server);
    let ours = export(&client, b"label", b"context").unwrap();
    assert_eq!(export(&server, b"label", b"context"), Some(ours));
    assert_ne!(export(&server, b"label", b"other"), Some(ours));
    assert_ne!(export(&server, b"other", b"context"), Some(ours));
}

#[test]
fn both_ends_may_show_certificates() {
    let (ours, theirs) = (Identity::new(), Identity::new());
    for piece in [1, ALL] {
        let mut client = End::client(client_config(&theirs, Some(&ours)));
        let mut server = End::server(mutual_server_config(&theirs, &ours));
        run(&mut client, &mut server, piece).unwrap();
        assert!(client.tls.is_complete() && server.tls.is_complete());
        assert_eq!(server.tls.session().peer_certificates().unwrap(), [&ours.certificate[..]]);
        assert!(!server.outputs.contains(&Kind::Certificate), "TLS judges it");
    }
}

/// A server that wants another key share sends HelloRetryRequest (RFC 8446 section 4.1.4): another
/// round trip at the Initial level.
#[test]
fn a_second_client_hello_is_no_second_handshake() {
    let identity = Identity::new();
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.kx_groups = vec![rustls::crypto::aws_lc_rs::kx_group::SECP384R1];
    let builder = ServerConfig::builder_with_provider(provider.into()).with_protocol_versions(&VERSIONS).unwrap();
    let mut config = builder.with_no_client_auth().with_single_cert(identity.chain(), identity.key()).unwrap();
    config.alpn_protocols = vec![b"test".to_vec()];
    let config = Arc::new(config);
    for piece in [1, ALL] {
        let mut client = End::client(client_config(&identity, None));
        let mut server = End::server(config.clone());
        run(&mut client, &mut server, piece).unwrap();
        assert!(client.tls.is_complete() && server.tls.is_complete());
        for end in [&client, &server] {
            let count = |kind| end.outputs.iter().filter(|output| **output == kind).count();
            assert_eq!(count(Kind::Crypto(EncryptionLevel::Initial)), 2);
            assert_eq!((count(Kind::Parameters), count(Kind::HandshakeKeys), count(Kind::Complete)), (1, 1, 1));
        }
        assert!(keys_fit(&client.one_rtt.unwrap(), &server.one_rtt.unwrap()));
    }
}
