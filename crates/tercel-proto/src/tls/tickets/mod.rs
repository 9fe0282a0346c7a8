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
pub struct ClientSessions {
    /// `None`: only what is handed over is resumed.
    cache: Option<ClientSessionMemoryCache>,
}

impl ClientSessions {
    /// Keeps sessions of up to `servers` servers; with 0, none.
    pub fn new(servers: usize) -> Self {
        Self { cache: (servers > 0).then(|| ClientSessionMemoryCache::new(servers)) }
    }
}

impl ClientSessionStore for ClientSessions {
    fn set_kx_hint(&self, server: ServerName<'static>, group: rustls::NamedGroup) {
        if let Some(cache) = &self.cache {
            cache.set_kx_hint(server, group);
        }
    }

    fn kx_hint(&self, server: &ServerName<'_>) -> Option<rustls::NamedGroup> {
        self.cache.as_ref()?.kx_hint(server)
    }

    fn set_tls12_session(&self, _server: ServerName<'static>, _session: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _server: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _server: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, server: ServerName<'static>, session: Tls13ClientSessionValue) {
        aside::with(|aside| {
            let suite = session.suite().common.suite.into();
            aside.kept = Some(Kept { suite, parameters: session.quic_params() });
        });
        if let Some(cache) = &self.cache {
            cache.insert_tls13_ticket(server, session);
        }
    }

    fn take_tls13_ticket(&self, server: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        let handed = aside::with(|aside| aside.session.take()).flatten();
        handed.or_else(|| self.cache.as_ref()?.take_tls13_ticket(server))
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
