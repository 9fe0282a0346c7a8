//! What rustls's callbacks are told, and tell, beside TLS itself.
//!
//! One verifier, one session store and one cipher suite serve all connections of a configuration,
//! and rustls does not say for which connection it calls them. But it calls them on the thread that
//! feeds it; so what is between a connection and its callbacks goes by way of that thread, for as
//! long as one message is read.

use std::cell::RefCell;

use bytes::Bytes;
use rustls::client::Tls13ClientSessionValue;
use rustls::crypto::tls13::{Hkdf, OkmBlock};
use rustls::pki_types::UnixTime;
use rustls::{Error, Tls13CipherSuite};
use tercel_wire::Version;

use super::exporter::Exporter;
use super::scoped;
use super::secrets::TlsSecrets;

/// What passes between a connection and rustls's callbacks while TLS reads a message.
#[derive(Default)]
pub(super) struct Aside {
    /// Server, to the session store: the ticket that may be resumed, and its session.
    pub(super) ticket: Option<(Bytes, Bytes)>,
    /// Client, to the session store: the session to resume.
    pub(super) session: Option<Tls13ClientSessionValue>,
    /// To the cipher suite: what to note.
    pub(super) watch: Watch,
    /// To the cipher suite: the secret of the next ticket, in place of the derived one.
    pub(super) psk: Option<OkmBlock>,
    /// To the cipher suite: the version under whose labels packet protection keys are derived, if it is
    /// not that which rustls was told.
    pub(super) labels: Option<Version>,
    /// To a cipher suite that repeats: what stands for client_initial_secret and server_initial_secret.
    pub(super) initial: Option<(OkmBlock, OkmBlock)>,
    /// Client, to the session store: the version that sessions belong to.
    pub(super) version: Option<Version>,
    /// To the verifier: that nobody is there to sign, because a session is being
    /// [restored](super::tickets::restore).
    pub(super) restoring: bool,

    /// A cipher suite of [ours](super::observed) was asked whether it is one.
    pub(super) ours: bool,
    /// Server: a certificate was asked for, and its verdict will be awaited.
    pub(super) asked: bool,
    /// A certificate came.
    pub(super) certificate: Option<Unjudged>,
    /// Server: a session that can be resumed, as rustls encodes it.
    pub(super) resumable: Option<Vec<u8>>,
    /// Client: a session to resume was kept.
    pub(super) kept: Option<Kept>,
    /// The secrets of a ticket.
    pub(super) secrets: Option<TicketSecrets>,
    /// What 1-RTT keys are derived from, with the cipher suite.
    pub(super) client_traffic: Option<OkmBlock>,
    pub(super) server_traffic: Option<(OkmBlock, &'static Tls13CipherSuite)>,
    /// What keying material is derived from.
    pub(super) exporter: Option<Exporter>,
    /// The secrets that were derived, where they are kept.
    pub(super) logged: Option<Box<TlsSecrets>>,
    /// The time by rustls's clock.
    pub(super) time: Option<UnixTime>,
}

/// What a cipher suite is to note.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Watch {
    #[default]
    Nothing,
    /// The secret of tickets.
    Tickets,
    /// What is derived of the master secret.
    Master,
}

/// A certificate that TLS took without a verdict.
#[derive(Debug)]
pub(super) struct Unjudged {
    pub(super) ocsp_response: Bytes,
    /// Client: the name that the server must prove to have.
    pub(super) server_name: Option<String>,
    /// Whether it is a raw public key (RFC 7250).
    pub(super) raw: bool,
    pub(super) builtin: Option<Result<(), Error>>,
}

/// What a client knows of a session that it can resume.
pub(super) struct Kept {
    pub(super) suite: u16,
    pub(super) parameters: Vec<u8>,
}

/// The secrets of tickets (RFC 8446 section 4.6.1).
pub(super) struct TicketSecrets {
    /// The resumption_master_secret, and what makes others of it.
    pub(super) master: OkmBlock,
    pub(super) hkdf: &'static dyn Hkdf,
    /// The pre-shared key of this ticket.
    pub(super) psk: OkmBlock,
}

thread_local! {
    static ASIDE: RefCell<Option<Box<Aside>>> = const { RefCell::new(None) };
}

/// Runs `read`; the callbacks meanwhile are told what `aside` says, and what they tell is given back.
pub(super) fn during<R>(aside: Box<Aside>, read: impl FnOnce() -> R) -> (R, Box<Aside>) {
    let (result, told) = scoped::during(&ASIDE, aside, read);
    (result, told.unwrap_or_default())
}

/// For callbacks: `None` if it is no handshake of ours that they are called for.
pub(super) fn with<R>(callback: impl FnOnce(&mut Aside) -> R) -> Option<R> {
    ASIDE.with_borrow_mut(|aside| aside.as_deref_mut().map(callback))
}
