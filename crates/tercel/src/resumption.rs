//! Resuming sessions: what a server permits, and the memory that keeps early data from being replayed.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use rustls::server::danger::ClientCertVerifier;
use tercel_proto::time::Time;
use tercel_proto::tls::{MAX_TICKET_DATA, OpenedTicket, TicketKeys, TicketTerms};

use crate::datapath::clock;
use crate::status::Error;

pub use tercel_proto::tls::ResumptionTicket;

/// What clients of a server may resume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ResumptionLevel {
    /// Nothing: every handshake is a full one, and no tickets are made.
    None,
    /// Sessions, without early data.
    Sessions,
    /// Sessions, and data may come with the first flight (0-RTT). Early data can be replayed by an
    /// attacker: a server takes it once for each ticket, but several servers with the same ticket keys
    /// do not know of each other. What is done upon early data should be harmless if done twice.
    SessionsAndEarlyData,
}

/// How a server lets clients resume sessions. It keeps nothing for it: all is in the tickets.
///
/// ```
/// use std::time::Duration;
/// use tercel::{Configuration, ResumptionLevel, ServerResumption, Settings};
///
/// # fn identity() -> tercel::Identity {
/// #     let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
/// #     let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
/// #     tercel::Identity::new(vec![made.cert.der().clone()], key.into()).unwrap()
/// # }
///
/// # fn main() -> Result<(), tercel::Error> {
/// let mut resumption = ServerResumption::default();
/// resumption.level = ResumptionLevel::Sessions; // no early data
/// resumption.lifetime = Duration::from_secs(8 * 3600);
/// let server = Configuration::server(&["example"], Settings::default(), identity())?.with_resumption(resumption)?;
/// // The same at every server, so that clients may come back to any.
/// server.set_ticket_keys(&[[1; 32], [2; 32]])?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServerResumption {
    /// What may be resumed. Default [`ResumptionLevel::SessionsAndEarlyData`].
    pub level: ResumptionLevel,
    /// How many tickets each client gets when its handshake is complete, 0 to 16. With 0, tickets are
    /// sent by [`Connection::send_resumption_ticket`](crate::Connection::send_resumption_ticket) alone.
    /// Default 2, so that a client need not show one twice.
    pub automatic: usize,
    /// How long a ticket can be used, from one second to seven days. Default one day.
    pub lifetime: Duration,
}

impl Default for ServerResumption {
    fn default() -> Self {
        Self { level: ResumptionLevel::SessionsAndEarlyData, automatic: 2, lifetime: Duration::from_secs(24 * 3600) }
    }
}

impl ServerResumption {
    /// # Errors
    /// [`Error::InvalidArgument`]: something is out of its range.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.automatic > 16 {
            return Err(Error::InvalidArgument("a server sends no more than 16 tickets by itself"));
        }
        if !(Duration::from_secs(1)..=Duration::from_secs(7 * 24 * 3600)).contains(&self.lifetime) {
            return Err(Error::InvalidArgument("the lifetime of a ticket must be from one second to seven days"));
        }
        Ok(())
    }
}

/// What a server makes of the ticket that a client shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Resume {
    /// The session goes on, with its early data.
    #[default]
    Session,
    /// The session goes on; early data is refused, and the client sends it again.
    WithoutEarlyData,
    /// A full handshake.
    Refuse,
}

/// A ticket that a client shows, and that the keys of a configuration open.
#[derive(Debug, Clone)]
pub struct OfferedTicket {
    pub(crate) opened: OpenedTicket,
    pub(crate) early_data: bool,
}

impl OfferedTicket {
    /// What the application put into the ticket.
    pub const fn data(&self) -> &Bytes {
        self.opened.data()
    }

    /// When the ticket was made, since 1970.
    pub const fn issued(&self) -> Duration {
        self.opened.issued()
    }

    /// Whether the client sends early data with it.
    pub const fn early_data(&self) -> bool {
        self.early_data
    }
}

/// What the connections of a server's configuration share to resume sessions.
#[derive(Debug)]
pub(crate) struct Tickets {
    pub(crate) terms: ServerResumption,
    context: [u8; 32],
    keys: Arc<RwLock<Arc<TicketKeys>>>,
    replays: Arc<Mutex<Uses>>,
}

impl Tickets {
    /// With keys of its own. Tickets are good only where clients are asked for the same certificates, or
    /// known by the same raw public keys.
    ///
    /// # Errors
    /// There is no randomness.
    pub(crate) fn new(clients: &dyn ClientCertVerifier, known_keys: &[Vec<u8>]) -> Result<Self, Error> {
        let secret = clock::seed().map_err(|error| Error::io("cannot make ticket keys", error))?;
        Ok(Self {
            terms: ServerResumption::default(),
            context: context(clients, known_keys),
            keys: Arc::new(RwLock::new(Arc::new(keys(&[secret])?))),
            replays: Arc::new(Mutex::new(Uses::new(REPLAY_WINDOW))),
        })
    }

    pub(crate) fn with_terms(&self, terms: ServerResumption) -> Self {
        Self { terms, context: self.context, keys: self.keys.clone(), replays: self.replays.clone() }
    }

    /// # Errors
    /// See [`Configuration::set_ticket_keys`](crate::Configuration::set_ticket_keys).
    pub(crate) fn set_keys(&self, secrets: &[[u8; 32]]) -> Result<(), Error> {
        let keys = Arc::new(keys(secrets)?);
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }

    fn keys(&self) -> Arc<TicketKeys> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The first of `tickets` that can be resumed.
    pub(crate) fn open(&self, tickets: &[Vec<u8>], now: Time) -> Option<OpenedTicket> {
        if self.terms.level == ResumptionLevel::None {
            return None;
        }
        let keys = self.keys();
        tickets.iter().find_map(|ticket| keys.open(ticket, &self.context, now.since(Time::ZERO)))
    }

    /// Whether this is the first time that early data comes with `ticket`.
    pub(crate) fn is_first_use(&self, ticket: &OpenedTicket, now: Time) -> bool {
        // RFC 9001 section 9.2#1.
        self.replays.lock().unwrap_or_else(PoisonError::into_inner).is_first(ticket.seal(), now)
    }

    /// What to make a ticket with.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`]: there is too much of `data`.
    pub(crate) fn make(&self, data: Bytes) -> Result<(Arc<TicketKeys>, TicketTerms), Error> {
        if data.len() > MAX_TICKET_DATA {
            return Err(Error::InvalidArgument("a ticket takes no more than 4096 bytes of the application's"));
        }
        let early_data = self.terms.level == ResumptionLevel::SessionsAndEarlyData;
        let terms = TicketTerms { lifetime: self.terms.lifetime, early_data, context: self.context, data };
        Ok((self.keys(), terms))
    }
}

fn keys(secrets: &[[u8; 32]]) -> Result<TicketKeys, Error> {
    TicketKeys::new(secrets).ok_or(Error::InvalidArgument("there must be at least one ticket key"))
}

/// Clients that were not asked for a certificate must not resume where one is demanded, even if the
/// servers share their keys; nor those that other authorities vouched for.
fn context(clients: &dyn ClientCertVerifier, known_keys: &[Vec<u8>]) -> [u8; 32] {
    let mut policy = b"tercel ticket ".to_vec();
    if clients.offer_client_auth() {
        policy.push(clients.client_auth_mandatory().into());
        let authorities = clients.root_hint_subjects().iter().map(AsRef::as_ref);
        let keys = known_keys.iter().map(Vec::as_slice);
        for known in authorities.chain(keys) {
            policy.extend_from_slice(&(known.len() as u64).to_be_bytes());
            policy.extend_from_slice(known);
        }
        if clients.requires_raw_public_keys() {
            policy.extend_from_slice(b"of raw public keys");
        }
    } else {
        policy.extend_from_slice(b"of anybody");
    }
    let mut context = [0; 32];
    context.copy_from_slice(digest(&SHA256, &policy).as_ref());
    context
}

/// How long early data could be replayed (RFC 8446 section 8): TLS refuses it anyway if the client's idea
/// of the ticket's age is off by more than a minute, in either direction, so two minutes are enough.
const REPLAY_WINDOW: Duration = Duration::from_secs(120);

/// Remembers what was used, for as long as it could be used again. Two generations follow each other; when
/// one is full nothing more may be used until it has passed.
#[derive(Debug)]
pub(crate) struct Uses {
    window: Duration,
    current: BTreeSet<[u8; 16]>,
    previous: BTreeSet<[u8; 16]>,
    since: Option<Time>,
}

/// How many uses a generation remembers: a few megabytes.
const CAPACITY: usize = 1 << 16;

impl Uses {
    /// For what can be used for `window`.
    pub(crate) const fn new(window: Duration) -> Self {
        Self { window, current: BTreeSet::new(), previous: BTreeSet::new(), since: None }
    }

    /// Whether `thing` may be used now, for the first time.
    pub(crate) fn is_first(&mut self, thing: [u8; 16], now: Time) -> bool {
        let age = now.since(*self.since.get_or_insert(now));
        if age >= self.window {
            self.previous = std::mem::take(&mut self.current);
            if age >= 2 * self.window {
                self.previous.clear();
            }
            self.since = Some(now);
        }
        !self.previous.contains(&thing) && self.current.len() < CAPACITY && self.current.insert(thing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(number: u32) -> [u8; 16] {
        std::array::from_fn(|at| number.to_be_bytes()[at % 4])
    }

    #[test]
    // RFC 9001 section 9.2#1.
    fn early_data_is_taken_once_for_each_ticket() {
        let mut replays = Uses::new(REPLAY_WINDOW);
        let at = |seconds| Time::ZERO + Duration::from_secs(seconds);
        assert!(replays.is_first(ticket(1), at(1000)));
        assert!(!replays.is_first(ticket(1), at(1000)));
        assert!(replays.is_first(ticket(2), at(1119)));
        for second in 1119..1239 {
            assert!(!replays.is_first(ticket(2), at(second)), "{second}");
        }
        // Long after, TLS refuses it by its age.
        assert!(replays.is_first(ticket(2), at(2000)));
    }

    #[test]
    fn a_full_memory_refuses_rather_than_forgets() {
        let mut replays = Uses::new(REPLAY_WINDOW);
        let now = Time::ZERO + Duration::from_secs(1000);
        for number in 0..CAPACITY as u32 {
            assert!(replays.is_first(ticket(number), now));
        }
        assert!(!replays.is_first(ticket(u32::MAX), now));
        assert!(!replays.is_first(ticket(0), now));
        assert!(replays.is_first(ticket(u32::MAX), now + REPLAY_WINDOW));
        assert!(!replays.is_first(ticket(0), now + REPLAY_WINDOW));
    }
}
