//! A server makes tickets for a session.
//!
//! rustls gives the session once, as the bytes that it will want back: with the pre-shared key of one
//! ticket, the time and a number by which the age of the ticket is hidden. Each ticket gets its own of
//! the three (RFC 8446 section 4.6.1: another nonce, and so another key, for each), put where rustls
//! has them. If they are not found there, because another release of rustls writes them otherwise, no
//! ticket is made.

use std::time::Duration;

use bytes::Bytes;
use rustls::crypto::tls13::{Hkdf, OkmBlock};
use tercel_wire::new_session_ticket::{MAX_LIFETIME, NewSessionTicket};
use tercel_wire::{Reader, TransportParameters, Version};

use super::keys::{Contents, TicketKeys};
use crate::entropy::Entropy;
use crate::error::ApiMisuse;
use crate::tls::aside::TicketSecrets;
use crate::tls::observed::ticket_psk;

/// How many bytes an application can put into a ticket. The client sends them back in its first
/// flight, so a datagram or two is all that is wise.
pub const MAX_TICKET_DATA: usize = 4096;

/// What a ticket is to be like.
#[derive(Debug, Clone)]
pub struct TicketTerms {
    /// How long it can be used: from one second to seven days (RFC 8446 section 4.6.1).
    pub lifetime: Duration,
    /// Whether early data may be sent with it.
    pub early_data: bool,
    /// Whoever opens the ticket must give the same.
    pub context: [u8; 32],
    /// For the application to have when the ticket is shown; at most [`MAX_TICKET_DATA`] bytes.
    pub data: Bytes,
}

/// Makes the tickets of a session.
pub(crate) struct Issuer {
    hkdf: &'static dyn Hkdf,
    master: OkmBlock,
    /// The session without its pre-shared key, up to it and from it on.
    head: Vec<u8>,
    middle: Vec<u8>,
    /// When the session began, in seconds since 1970 by rustls's clock.
    created: u64,
    issued: u32,
}

/// The time and the number at the end of a session.
const TAIL: usize = 8 + 4;

impl Issuer {
    pub(in crate::tls) fn new(session: &[u8], secrets: TicketSecrets) -> Option<Self> {
        let TicketSecrets { master, hkdf, psk } = secrets;
        let mut reader = Reader::new(session);
        if reader.u8().ok()? == 1 {
            let name = reader.u8().ok()?;
            reader.bytes(name.into()).ok()?;
        }
        const VERSION_AND_SUITE: usize = 4;
        reader.bytes(VERSION_AND_SUITE).ok()?;
        let len = reader.u8().ok()?;
        let head = session.len() - reader.remaining();
        if reader.bytes(len.into()).ok()? != psk.as_ref() {
            return None;
        }
        let (middle, tail) = reader.rest().split_last_chunk::<TAIL>()?;
        let created = u64::from_be_bytes(*tail.first_chunk()?);
        Some(Self { hkdf, master, head: session.get(..head)?.to_vec(), middle: middle.to_vec(), created, issued: 0 })
    }

    /// A NewSessionTicket. `age` is that of the session, and `parameters` are those that the client has
    /// of us.
    // RFC 9001 section 9.2#2: sealed, so that only servers can read what a server put in.
    pub(crate) fn issue(
        &mut self,
        age: Duration,
        unix_time: Duration,
        about: (Version, &TransportParameters),
        keys: &TicketKeys,
        terms: &TicketTerms,
        entropy: &mut Entropy,
    ) -> Result<Vec<u8>, ApiMisuse> {
        let lifetime = u32::try_from(terms.lifetime.as_secs()).unwrap_or(u32::MAX);
        if !(1..=MAX_LIFETIME).contains(&lifetime) {
            return Err(ApiMisuse::InvalidArgument("the lifetime of a ticket must be from one second to seven days"));
        }
        if terms.data.len() > MAX_TICKET_DATA {
            return Err(ApiMisuse::InvalidArgument("a ticket takes no more than 4096 bytes of the application's"));
        }
        let nonce = self.issued.to_be_bytes();
        let age_add = u32::from_be_bytes(entropy.array());
        let psk = ticket_psk(self.hkdf, &self.master, &nonce);
        let created = self.created.saturating_add(age.as_secs());
        let session =
            [&self.head[..], psk.as_ref(), &self.middle, &created.to_be_bytes(), &age_add.to_be_bytes()].concat();
        let (version, parameters) = about;
        let contents = Contents {
            issued: unix_time,
            lifetime,
            early_data: terms.early_data,
            version,
            parameters,
            data: &terms.data,
            session: &session,
        };
        let ticket = keys.seal(&contents, &terms.context, entropy).ok_or(ApiMisuse::ResumptionUnavailable)?;
        let message =
            NewSessionTicket { lifetime, age_add, nonce: nonce.to_vec(), ticket, early_data: terms.early_data };
        // Only a client whose certificates fill it makes a ticket too long.
        let message = message.encode().map_err(|_| ApiMisuse::ResumptionUnavailable)?;
        self.issued = self.issued.checked_add(1).ok_or(ApiMisuse::ResumptionUnavailable)?;
        Ok(message)
    }
}
