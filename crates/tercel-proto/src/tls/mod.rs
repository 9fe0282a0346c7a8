//! TLS as the transport sees it (RFC 9001 section 4).
//!
//! CRYPTO bytes go in, in order; out come CRYPTO bytes, keys, the peer's transport parameters and
//! the completion of the handshake. Messages are fed to TLS one at a time, which is what lets a gate
//! stand before the peer's Finished: while it is closed, the handshake cannot complete, nothing that
//! follows from its completion exists, and so nothing of it can leak. The gate closes by itself when
//! TLS takes a certificate without a verdict, which only the verifiers in `deferred` let it do.

mod agreed;
mod aside;
mod deferred;
mod derived;
mod exporter;
mod observed;
mod records;
mod rustls_session;
mod scoped;
mod secrets;
mod tickets;
mod verdict;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use tercel_wire::encrypted_extensions::ech_retry_configs;
use tercel_wire::{EncryptionLevel, Role, TransportErrorCode, TransportParameters, Version};

use crate::error::Violation;
use crate::keys::{self, DirectionalKeys, LevelKeys, Secrets, Traffic};

use aside::{Aside, Unjudged, Watch};
use exporter::Exporter;
use tickets::{Issuer, Received};
use verdict::Gate;

pub(crate) use agreed::{Agreed, UNEXPECTED};
pub use deferred::{DeferredClientVerifier, DeferredServerVerifier};
pub(crate) use derived::Derived;
pub(crate) use exporter::MAX_LABEL;
pub(crate) use observed::in_place_of_initial;
pub use observed::observed;
pub use rustls_session::RustlsSession;
pub use secrets::{Secret, SecretsKept, TlsSecrets};
pub use tickets::{
    ClientSessions, MAX_TICKET_DATA, OpenedTicket, ResumableVerifier, ResumptionTicket, SessionsInTickets, TicketKeys,
    TicketTerms, ToldTime, restore,
};
pub use verdict::{Alert, Presented, Verdict};

/// TLS alerts (RFC 8446 section 6) that the transport itself raises.
pub mod alert {
    /// A message came where it cannot be.
    pub const UNEXPECTED_MESSAGE: u8 = 10;
    /// A message could not be read.
    pub const DECODE_ERROR: u8 = 50;
    /// Something failed that is no fault of the peer's.
    pub const INTERNAL_ERROR: u8 = 80;
    /// The peer sent no transport parameters.
    pub const MISSING_EXTENSION: u8 = 109;
    /// The two ends have no application protocol in common.
    pub const NO_APPLICATION_PROTOCOL: u8 = 120;
    /// The server did not take the encrypted ClientHello (RFC 9849 section 5).
    pub const ECH_REQUIRED: u8 = 121;
}

/// The type of a handshake message (RFC 8446 section 4).
mod message {
    pub(super) const CLIENT_HELLO: u8 = 1;
    pub(super) const NEW_SESSION_TICKET: u8 = 4;
    pub(super) const ENCRYPTED_EXTENSIONS: u8 = 8;
    pub(super) const CERTIFICATE_REQUEST: u8 = 13;
    pub(super) const CERTIFICATE_VERIFY: u8 = 15;
    pub(super) const FINISHED: u8 = 20;
}

/// The longest handshake message, header excluded, in bytes.
const MAX_MESSAGE: usize = 0xffff;

/// What TLS can do. One implementation stands on rustls; the trait keeps the rest of this crate
/// from knowing that.
// RFC 9000 section 7#1: those of TLS 1.3.
pub trait Session: Send {
    /// Reads one whole handshake message.
    ///
    /// # Errors
    /// What is wrong, as CRYPTO_ERROR with TLS's alert.
    fn read(&mut self, message: &[u8]) -> Result<(), Violation>;
    /// Appends what is to be sent at the current level to `out`, and gives new keys, which hold for
    /// what is written after.
    fn write(&mut self, out: &mut Vec<u8>) -> Option<KeyChange>;
    /// The peer's transport parameters as bytes, once known. A client that offers early data knows
    /// those of the last connection first.
    fn peer_parameters(&self) -> Option<&[u8]>;
    /// 0-RTT keys, if early data is offered (client) or may be accepted (server).
    fn early_keys(&self) -> Option<DirectionalKeys>;
    /// Whether the handshake is under way.
    fn is_handshaking(&self) -> bool;
    /// Whether the server accepted early data (known from when EncryptedExtensions were read).
    fn early_data_accepted(&self) -> bool;
    /// Server, before the ClientHello is read: takes no early data, whatever is offered.
    fn refuse_early_data(&mut self);
    /// Whether an earlier session was resumed.
    fn is_resumed(&self) -> bool;
    /// What the two ends agreed on, once they have.
    fn negotiated(&self) -> Option<Negotiated>;
    /// The application protocol, once chosen.
    fn alpn(&self) -> Option<&[u8]>;
    /// The peer's certificates (DER, leaf first), once known.
    fn peer_certificates(&self) -> Option<Vec<Bytes>>;
    /// Keying material for the application (RFC 8446 section 7.5); false before the handshake is
    /// complete.
    fn export_keying_material(&self, out: &mut [u8], label: &[u8], context: &[u8]) -> bool;
}

/// What the two ends of a TLS handshake agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Negotiated {
    /// The cipher suite, as its number (RFC 8446 appendix B.4) and its name.
    pub cipher_suite: (u16, &'static str),
    /// The group of the key exchange, as its number (RFC 8446 section 4.2.7) and its name; `None` while
    /// it is not known, or if there was no key exchange.
    pub key_exchange: Option<(u16, &'static str)>,
    /// Whether the server asked for another ClientHello.
    pub hello_retry: bool,
}

/// Keys that TLS has derived.
pub enum KeyChange {
    /// Of the Handshake level.
    Handshake(LevelKeys),
    /// Of the 1-RTT level, and the secrets of later phases.
    OneRtt(LevelKeys, Box<Secrets>),
}

/// What comes out of TLS, in order.
pub enum Output {
    /// Bytes for the CRYPTO stream of a level.
    Crypto(EncryptionLevel, Vec<u8>),
    /// 0-RTT keys for a server to receive with.
    EarlyKeys(DirectionalKeys),
    /// Handshake keys.
    HandshakeKeys(LevelKeys),
    /// 1-RTT keys. A server may send with them; it must not open packets before
    /// [`Complete`](Self::Complete) (RFC 9001 section 5.7).
    OneRttKeys(LevelKeys, Box<Secrets>),
    /// The peer's transport parameters.
    PeerParameters(TransportParameters),
    /// The peer has proved that it owns this certificate, and the gate is closed: judge it.
    Certificate(Presented),
    /// The handshake is complete at this end (RFC 9001 section 4.1.1).
    Complete,
    /// Client: a ticket for a later connection.
    Ticket(Box<ResumptionTicket>),
}

/// The TLS handshake of a connection, and what follows it.
pub struct Handshake {
    role: Role,
    session: Box<dyn Session>,
    gate: Gate,
    /// A certificate whose owner is still to be proved.
    unjudged: Option<Unjudged>,
    /// Server: whether a certificate was asked for whose verdict will be awaited.
    asked: bool,
    /// The version in use, which is also that of tickets; that of early data; and that which the session
    /// was told.
    version: Version,
    original: Version,
    told: Version,
    server_name: String,
    /// Server: the ticket that may be resumed.
    ticket: Option<Box<OpenedTicket>>,
    /// Server: makes tickets of this session; and whether those that TLS makes are to go nowhere,
    /// because they name sessions that are kept nowhere.
    issuer: Option<Box<Issuer>>,
    tickets_are_ours: bool,
    /// What 1-RTT keys are derived from, until they are made, and what keying material is, if the cipher suite has shown
    /// it.
    traffic: Option<Box<Traffic>>,
    exporter: Option<Box<Exporter>>,
    /// Client: the ECH configurations that the server offers for another attempt, and whether it proved
    /// to be the one to offer them, and refused those that the client had.
    retry_configs: Bytes,
    ech_rejected: bool,
    /// What was derived, if it is kept.
    secrets: Option<Box<TlsSecrets>>,
    /// The level whose bytes TLS reads next, and what of the next message is there.
    reading: EncryptionLevel,
    partial: Vec<u8>,
    writing: EncryptionLevel,
    outputs: VecDeque<Output>,
    parameters_told: bool,
    complete: bool,
}

impl Handshake {
    /// The client's TLS. Its ClientHello is the first output. It goes on with `session` if that is given
    /// and the session store of `config` is a [`ClientSessions`].
    ///
    /// # Errors
    /// The configuration does not suit QUIC.
    pub fn client(
        config: Arc<rustls::ClientConfig>,
        version: Version,
        server_name: ServerName<'static>,
        parameters: Vec<u8>,
        session: Option<rustls::client::Tls13ClientSessionValue>,
    ) -> Result<Self, rustls::Error> {
        let aside = Box::new(Aside { session, version: Some(version), ..Aside::default() });
        let name = server_name.to_str().into_owned();
        let (connection, aside) = aside::during(aside, || {
            rustls::quic::ClientConnection::new(config, keys::tls_version(version), server_name, parameters)
        });
        let session = Box::new(RustlsSession::new(connection?.into()));
        let secrets = aside.logged;
        let mut handshake = Self { server_name: name, secrets, ..Self::new(Role::Client, version, session) };
        handshake.pump();
        Ok(handshake)
    }

    /// The server's TLS; it waits for the ClientHello. It can resume the session of `ticket` if the
    /// session store of `config` is [`SessionsInTickets`].
    ///
    /// # Errors
    /// The configuration does not suit QUIC.
    pub fn server(
        config: Arc<rustls::ServerConfig>,
        version: Version,
        parameters: Vec<u8>,
        ticket: Option<OpenedTicket>,
    ) -> Result<Self, rustls::Error> {
        let connection = rustls::quic::ServerConnection::new(config, keys::tls_version(version), parameters)?;
        let ticket = ticket.map(Box::new);
        Ok(Self { ticket, ..Self::new(Role::Server, version, Box::new(RustlsSession::new(connection.into()))) })
    }

    /// A handshake over any TLS that makes the keys of `version`.
    pub fn new(role: Role, version: Version, session: Box<dyn Session>) -> Self {
        Self {
            role,
            session,
            gate: Gate::Open,
            unjudged: None,
            asked: false,
            version,
            original: version,
            told: version,
            server_name: String::new(),
            ticket: None,
            issuer: None,
            tickets_are_ours: false,
            traffic: None,
            exporter: None,
            retry_configs: Bytes::new(),
            ech_rejected: false,
            secrets: None,
            reading: EncryptionLevel::Initial,
            partial: Vec::new(),
            writing: EncryptionLevel::Initial,
            outputs: VecDeque::new(),
            parameters_told: false,
            complete: false,
        }
    }

    /// Server: the client began with another version than the one in use, and its early data are of that
    /// (RFC 9369 section 4.1).
    pub(crate) fn begun_in(&mut self, original: Version) {
        self.original = original;
    }

    /// Client: the server goes on in this version (RFC 9368 section 2.3), before any key but those of early
    /// data is made.
    pub(crate) fn go_on_in(&mut self, version: Version) {
        self.version = version;
    }

    /// The labels to ask for, if keys are to be of `version`.
    fn labels(&self, version: Version) -> Option<Version> {
        (version != self.told).then_some(version)
    }

    /// The peer's certificate was accepted: goes on with what waited. Does nothing if no verdict is
    /// awaited.
    ///
    /// # Errors
    /// As for [`feed`](Self::feed).
    pub fn accept_certificate(&mut self) -> Result<(), Violation> {
        if self.gate == Gate::Awaiting {
            self.gate = Gate::Open;
        }
        self.process()
    }

    /// Server, before the ClientHello: takes no early data, whatever is offered.
    pub(crate) fn refuse_early_data(&mut self) {
        self.session.refuse_early_data();
    }

    /// Server, when the handshake is complete: what makes tickets, if the session can be resumed.
    pub(crate) fn issuer(&mut self) -> Option<&mut Issuer> {
        self.issuer.as_deref_mut()
    }

    /// Whether a verdict is awaited.
    pub fn awaits_verdict(&self) -> bool {
        self.gate == Gate::Awaiting
    }

    /// Whether 1-RTT packets must wait for completion although there may be keys for them: a server
    /// that will await a verdict says nothing to a client that it does not know.
    pub const fn withholds_one_rtt(&self) -> bool {
        self.asked && !self.complete
    }

    /// Whether the handshake is complete at this end.
    pub const fn is_complete(&self) -> bool {
        self.complete
    }

    /// Client: whether the server has refused the encrypted ClientHello, which ends the handshake; then
    /// the ECH configurations (an ECHConfigList, or nothing) with which to try again (RFC 9849 section 6.1.6).
    pub fn ech_rejection(&self) -> Option<&Bytes> {
        self.ech_rejected.then_some(&self.retry_configs)
    }

    /// The secrets derived so far, if the configuration has them [kept](SecretsKept).
    pub fn secrets(&self) -> Option<&TlsSecrets> {
        self.secrets.as_deref()
    }

    /// What TLS knows.
    pub fn session(&self) -> &dyn Session {
        self.session.as_ref()
    }

    /// Server, when the handshake is complete and all outputs are taken: what is kept of it, once. Without the secret of the
    /// exporter TLS itself has to stay.
    pub(crate) fn conclude(&mut self) -> Option<Agreed> {
        let over = self.role == Role::Server && self.complete && self.outputs.is_empty();
        Some(Agreed {
            exporter: self.exporter.take_if(|_| over)?,
            alpn: self.session.alpn().map(Box::from),
            negotiated: self.session.negotiated(),
            peer_certificates: self.session.peer_certificates(),
            issuer: self.issuer.take(),
            secrets: self.secrets.take(),
        })
    }

    /// Bytes of the CRYPTO stream of `level`, in order.
    ///
    /// # Errors
    /// CRYPTO_ERROR with the alert that TLS raises, or PROTOCOL_VIOLATION for bytes at a level that
    /// is over (RFC 9001 section 4.1.3).
    pub fn feed(&mut self, level: EncryptionLevel, bytes: &[u8]) -> Result<(), Violation> {
        // RFC 9001 section 4.1.3#1#2.
        if level != self.reading {
            return Err(Violation::new(TransportErrorCode::PROTOCOL_VIOLATION, "CRYPTO data at the wrong level"));
        }
        self.partial.extend_from_slice(bytes);
        self.process()
    }

    /// Lets go of room that is not in use.
    pub fn rest(&mut self) {
        self.outputs.shrink_to_fit();
        self.partial.shrink_to_fit();
    }

    /// The next output.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Feeds whole messages to TLS while there are any and the gate lets them pass.
    fn process(&mut self) -> Result<(), Violation> {
        let mut data = std::mem::take(&mut self.partial);
        let mut read = 0;
        while let Some(message) = self.next_message(data.get(read..).unwrap_or_default())? {
            let Some(message) = data.get(read..read + message) else { break };
            read += message.len();
            let level = self.reading;
            self.read(message)?;
            // RFC 9001 section 4.1.3#3.
            if self.reading != level && read < data.len() {
                // A message must not straddle a change of keys (RFC 8446 section 5.1).
                return Err(tls_error(alert::UNEXPECTED_MESSAGE, "handshake data behind a change of keys"));
            }
        }
        data.drain(..read);
        self.partial = data;
        Ok(())
    }

    /// The length of the message at the front of `data`, if it is whole and may be read now.
    fn next_message(&self, data: &[u8]) -> Result<Option<usize>, Violation> {
        let Some((&[ty, a, b, c], body)) = data.split_first_chunk() else { return Ok(None) };
        let len = u32::from_be_bytes([0, a, b, c]) as usize;
        if len > MAX_MESSAGE {
            return Err(tls_error(alert::DECODE_ERROR, "handshake message too long"));
        }
        let waits = body.len() < len || (ty == message::FINISHED && self.must_wait(body.len() > len)?);
        Ok((!waits).then_some(4 + len))
    }

    /// Lets TLS read one message, and takes what comes of it.
    fn read(&mut self, message: &[u8]) -> Result<(), Violation> {
        let ty = message.first().copied().unwrap_or_default();
        self.check_for_quic(ty, message)?;
        let (result, aside) = aside::during(self.say(ty), || self.session.read(message));
        if let (Role::Client, message::ENCRYPTED_EXTENSIONS) = (self.role, ty) {
            self.retry_configs = ech_retry_configs(message).map(Bytes::copy_from_slice).unwrap_or_default();
        }
        // TLS says so once the server has proved that it may, with its Finished.
        let ech_required = TransportErrorCode::crypto(alert::ECH_REQUIRED);
        self.ech_rejected = matches!(&result, Err(violation) if violation.code == ech_required);
        result?;
        self.heed(message, aside);
        self.after(ty)
    }

    /// What TLS permits over TCP, and not over QUIC.
    fn check_for_quic(&self, ty: u8, message: &[u8]) -> Result<(), Violation> {
        const SESSION_ID_LEN_AT: usize = 4 + 2 + 32;
        let forbidden = |what| Err(Violation::new(TransportErrorCode::PROTOCOL_VIOLATION, what));
        match (self.role, ty) {
            // RFC 9001 section 8.4#2.
            (Role::Server, message::CLIENT_HELLO) if message.get(SESSION_ID_LEN_AT).is_some_and(|len| *len > 0) => {
                forbidden("the ClientHello asks for TLS's compatibility mode")
            }
            // RFC 9001 section 4.4#3.
            (Role::Client, message::CERTIFICATE_REQUEST) if self.complete => {
                forbidden("a certificate was asked for after the handshake")
            }
            _ => Ok(()),
        }
    }

    /// Whether the peer's Finished waits. It is the last of its level: whoever sends more behind it
    /// must not fill memory until there is a verdict.
    fn must_wait(&self, more_behind: bool) -> Result<bool, Violation> {
        match self.gate {
            Gate::Open => Ok(false),
            Gate::Closed => Err(tls_error(alert::UNEXPECTED_MESSAGE, "Finished before the certificate was proved")),
            Gate::Awaiting if more_behind => Err(tls_error(alert::UNEXPECTED_MESSAGE, "data behind Finished")),
            Gate::Awaiting => Ok(true),
        }
    }

    /// What TLS's callbacks need to know while it reads a message of this type.
    fn say(&self, ty: u8) -> Box<Aside> {
        let watch = match (self.role, ty) {
            (Role::Server, message::CLIENT_HELLO) | (Role::Client, message::FINISHED) => Watch::Master,
            (Role::Server, message::FINISHED) | (Role::Client, message::NEW_SESSION_TICKET) => Watch::Tickets,
            _ => Watch::Nothing,
        };
        let ticket = self.ticket.as_ref().filter(|_| ty == message::CLIENT_HELLO);
        let ticket = ticket.map(|opened| (opened.ticket.clone(), opened.session.clone()));
        Box::new(Aside { watch, ticket, version: Some(self.version), ..Aside::default() })
    }

    /// What TLS's callbacks had to say. The gate closes as soon as TLS has taken what it would not judge.
    fn heed(&mut self, message: &[u8], aside: Box<Aside>) {
        self.asked |= aside.asked;
        if let (Some(client), Some((server, suite))) = (aside.client_traffic, aside.server_traffic) {
            self.traffic = Traffic::new(self.role, (client, server), suite, self.version).map(Box::new);
        }
        self.exporter = aside.exporter.map(Box::new).or(self.exporter.take());
        if let Some(logged) = aside.logged {
            self.secrets.get_or_insert_default().add(*logged);
        }
        if let Some(certificate) = aside.certificate {
            self.gate = Gate::Closed;
            self.unjudged = Some(certificate);
        }
        if let Some(session) = aside.resumable {
            self.tickets_are_ours = true;
            self.issuer = aside.secrets.and_then(|secrets| Issuer::new(&session, secrets)).map(Box::new);
        } else if let (Some(kept), Some(secrets), Some(time)) = (aside.kept, aside.secrets, aside.time) {
            let received = Received {
                received: time.as_secs(),
                suite: kept.suite,
                psk: secrets.psk.as_ref().to_vec(),
                message: message.to_vec(),
                parameters: kept.parameters,
                chain: self.session.peer_certificates().unwrap_or_default(),
            };
            let ticket = ResumptionTicket::new(self.server_name.clone(), self.version, received);
            self.outputs.extend(ticket.ok().map(|ticket| Output::Ticket(Box::new(ticket))));
        }
    }

    /// What may have become known by a message of this type.
    fn after(&mut self, ty: u8) -> Result<(), Violation> {
        if matches!(
            (self.role, ty),
            (Role::Server, message::CLIENT_HELLO) | (Role::Client, message::ENCRYPTED_EXTENSIONS)
        ) {
            self.tell_parameters()?;
        }
        if ty == message::CERTIFICATE_VERIFY
            && let Some(Unjudged { ocsp_response, server_name, raw, builtin }) = self.unjudged.take()
        {
            self.gate = Gate::Awaiting;
            let chain = self.session.peer_certificates().unwrap_or_default();
            self.outputs.push_back(Output::Certificate(Presented { chain, ocsp_response, server_name, raw, builtin }));
        }
        self.pump();
        if !self.complete && !self.session.is_handshaking() {
            self.complete = true;
            self.ticket = None;
            self.reading = EncryptionLevel::OneRtt;
            // RFC 9001 section 8.2#1.
            if !self.parameters_told {
                return Err(tls_error(alert::MISSING_EXTENSION, "no transport parameters"));
            }
            self.outputs.push_back(Output::Complete);
        }
        Ok(())
    }

    /// Tells the peer's parameters, once, as soon as TLS has read them.
    fn tell_parameters(&mut self) -> Result<(), Violation> {
        let Some(bytes) = self.session.peer_parameters().filter(|_| !self.parameters_told) else {
            // A ClientHello that is answered with HelloRetryRequest tells nothing yet.
            return Ok(());
        };
        let parameters = TransportParameters::decode(bytes, self.role.peer()).map_err(|error| Violation {
            // RFC 9000 sections 7.4#1, 18.2#6#8#10.
            code: TransportErrorCode::TRANSPORT_PARAMETER_ERROR,
            ..Violation::from(error)
        })?;
        // RFC 9000 section 7#2.
        if self.session.alpn().is_none() {
            // RFC 9001 section 8.1#1#2#3#5#6.
            return Err(tls_error(alert::NO_APPLICATION_PROTOCOL, "no application protocol in common"));
        }
        self.parameters_told = true;
        self.outputs.push_back(Output::PeerParameters(parameters));
        if self.role == Role::Server
            && let Some(keys) = in_words_of(self.labels(self.original), || self.session.early_keys())
        {
            self.outputs.push_back(Output::EarlyKeys(keys));
        }
        Ok(())
    }

    /// Takes everything that TLS has to say.
    // RFC 9001 section 4.9#2.
    fn pump(&mut self) {
        loop {
            let mut bytes = Vec::new();
            let labels = self.labels(self.version);
            let change = in_words_of(labels, || self.session.write(&mut bytes));
            let silent = bytes.is_empty() && change.is_none();
            let discarded = self.tickets_are_ours && self.writing == EncryptionLevel::OneRtt;
            if !bytes.is_empty() && !discarded {
                self.outputs.push_back(Output::Crypto(self.writing, bytes));
            }
            match change {
                Some(KeyChange::Handshake(keys)) => {
                    self.writing = EncryptionLevel::Handshake;
                    self.reading = EncryptionLevel::Handshake;
                    self.outputs.push_back(Output::HandshakeKeys(keys));
                }
                Some(KeyChange::OneRtt(keys, secrets)) => {
                    self.writing = EncryptionLevel::OneRtt;
                    let secrets = secrets.labelled(labels).with_first(self.traffic.take());
                    self.outputs.push_back(Output::OneRttKeys(keys, Box::new(secrets)));
                }
                None => {}
            }
            if silent {
                return;
            }
        }
    }
}

/// Whether TLS with this provider can go on in another version than it was begun with.
pub(crate) fn can_go_on(provider: &CryptoProvider) -> bool {
    observed::relabels(provider)
}

/// Lets TLS derive packet protection keys under the labels of another version than it was told, if one is
/// given.
pub(crate) fn in_words_of<R>(labels: Option<Version>, derive: impl FnOnce() -> R) -> R {
    match labels {
        None => derive(),
        Some(_) => aside::during(Aside { labels, ..Aside::default() }.into(), derive).0,
    }
}

/// CRYPTO_ERROR with an alert.
pub(crate) const fn tls_error(alert: u8, reason: &'static str) -> Violation {
    Violation::new(TransportErrorCode::crypto(alert), reason)
}

#[cfg(test)]
mod tests;
