//! Resuming sessions (RFC 8446 section 2.2, RFC 9001 sections 4.5 and 4.6).
//!
//! A server keeps nothing: what it must know later goes to the client, sealed by [`TicketKeys`], in a
//! ticket that is [made](Issuer) when the application wants, with data of the application's in it.
//! A client gets a [`ResumptionTicket`]: bytes with all that another connection, perhaps of another
//! process, needs to go on with the session.

mod client;
mod issuer;
mod keys;
mod restore;

use std::sync::Arc;

use rustls::client::{ClientSessionMemoryCache, ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::{ServerName, UnixTime};
use rustls::server::StoresServerSessions;
use rustls::time_provider::TimeProvider;
use tercel_wire::Version;

use super::aside::{self, Kept};

pub(super) use client::Received;
pub use client::ResumptionTicket;
pub(crate) use issuer::Issuer;
pub use issuer::{MAX_TICKET_DATA, TicketTerms};
pub use keys::{OpenedTicket, TicketKeys};
pub use restore::{ResumableVerifier, restore};

/// For servers: keeps no session, but hands it over for a ticket to be made, and takes it back from a
/// ticket that was opened.
#[derive(Debug)]
pub struct SessionsInTickets;

impl StoresServerSessions for SessionsInTickets {
    fn put(&self, _key: Vec<u8>, value: Vec<u8>) -> bool {
        aside::with(|aside| aside.resumable = Some(value)).is_some()
    }

    fn get(&self, _key: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        let (ticket, session) = aside::with(|aside| aside.ticket.clone()).flatten()?;
        (ticket == key).then(|| session.to_vec())
    }

    fn can_cache(&self) -> bool {
        true
    }
}

/// For clients: keeps the sessions of this process, resumes the one that was handed over, if any, and
/// tells of every new one.
#[derive(Debug)]
// RFC 9369 section 5#1.
pub struct ClientSessions {
    /// One for each version, as in [`Version::SUPPORTED`]: a session does not change it (RFC 9369 section
    /// 5). `None`: only what is handed over is resumed.
    caches: Option<[ClientSessionMemoryCache; Version::SUPPORTED.len()]>,
    servers: usize,
}

impl ClientSessions {
    /// Keeps sessions of up to `servers` servers for each version; with 0, none.
    pub fn new(servers: usize) -> Self {
        let caches = (servers > 0).then(|| Version::SUPPORTED.map(|_| ClientSessionMemoryCache::new(servers)));
        Self { caches, servers }
    }

    /// As many, and none kept so far.
    #[must_use]
    pub fn anew(&self) -> Self {
        Self::new(self.servers)
    }

    fn cache(&self, version: Option<Version>) -> Option<&ClientSessionMemoryCache> {
        let version = version.unwrap_or(Version::V1);
        let at = Version::SUPPORTED.iter().position(|supported| *supported == version)?;
        self.caches.as_ref()?.get(at)
    }

    /// A session with `server` that is kept, of the first of `versions` that has one. A connection that
    /// resumes it begins with that version.
    pub fn take(
        &self,
        server: &ServerName<'static>,
        versions: &[Version],
    ) -> Option<(Version, Tls13ClientSessionValue)> {
        versions.iter().find_map(|version| {
            let session = self.cache(Some(*version))?.take_tls13_ticket(server)?;
            Some((*version, session))
        })
    }
}

impl ClientSessionStore for ClientSessions {
    fn set_kx_hint(&self, server: ServerName<'static>, group: rustls::NamedGroup) {
        // What groups a server takes has nothing to do with versions.
        if let Some([cache, ..]) = &self.caches {
            cache.set_kx_hint(server, group);
        }
    }

    fn kx_hint(&self, server: &ServerName<'_>) -> Option<rustls::NamedGroup> {
        self.caches.as_ref()?.first()?.kx_hint(server)
    }

    fn set_tls12_session(&self, _server: ServerName<'static>, _session: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _server: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _server: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, server: ServerName<'static>, session: Tls13ClientSessionValue) {
        let version = aside::with(|aside| {
            let suite = session.suite().common.suite.into();
            aside.kept = Some(Kept { suite, parameters: session.quic_params() });
            aside.version
        });
        if let Some(cache) = self.cache(version.flatten()) {
            cache.insert_tls13_ticket(server, session);
        }
    }

    // RFC 9001 section 4.5#1: each once.
    fn take_tls13_ticket(&self, server: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        let (handed, version) = aside::with(|aside| (aside.session.take(), aside.version)).unwrap_or_default();
        handed.or_else(|| self.cache(version)?.take_tls13_ticket(server))
    }
}

/// A clock for rustls which also tells what it showed: the age of a ticket is counted by it.
#[derive(Debug)]
pub struct ToldTime(Arc<dyn TimeProvider>);

impl ToldTime {
    /// Shows what `clock` shows.
    pub fn new(clock: Arc<dyn TimeProvider>) -> Arc<Self> {
        Arc::new(Self(clock))
    }
}

impl TimeProvider for ToldTime {
    fn current_time(&self) -> Option<UnixTime> {
        let now = self.0.current_time();
        aside::with(|aside| aside.time = now);
        now
    }
}
