//! Tickets sealed and opened.

use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use tercel_wire::new_session_ticket::MAX_LIFETIME;
use tercel_wire::{DecodeError, Reader, Role, TransportParameters, Version};

use crate::entropy::Entropy;

/// How many bytes of a ticket name the key that sealed it.
const NAME_LEN: usize = 8;

/// The keys that seal tickets. All servers that have them resume each other's sessions.
///
/// A key may seal 2^32 tickets, and whoever learns it can read what early data was sent under its
/// tickets: change it every few days or hours.
pub struct TicketKeys(Vec<Key>);

struct Key {
    name: [u8; NAME_LEN],
    aead: LessSafeKey,
}

impl Key {
    fn new(secret: &[u8; 32]) -> Option<Self> {
        let named = digest(&SHA256, &[b"tercel ticket key", &secret[..]].concat());
        let name = named.as_ref().first_chunk().copied()?;
        Some(Self { name, aead: LessSafeKey::new(UnboundKey::new(&AES_256_GCM, secret).ok()?) })
    }
}

/// What a server puts into a ticket.
pub(super) struct Contents<'a> {
    /// Since 1970.
    pub(super) issued: Duration,
    /// In seconds.
    pub(super) lifetime: u32,
    pub(super) early_data: bool,
    pub(super) version: Version,
    /// What the client will remember (RFC 9000 section 7.4.1).
    pub(super) parameters: &'a TransportParameters,
    pub(super) data: &'a [u8],
    pub(super) session: &'a [u8],
}

/// A ticket of ours that a client shows.
#[derive(Clone)]
pub struct OpenedTicket {
    pub(in crate::tls) ticket: Bytes,
    pub(in crate::tls) session: Bytes,
    parameters: TransportParameters,
    version: Version,
    issued: Duration,
    data: Bytes,
    early_data: bool,
}

impl std::fmt::Debug for OpenedTicket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenedTicket").field("issued", &self.issued).field("data", &self.data).finish_non_exhaustive()
    }
}

impl OpenedTicket {
    /// What the application put into it.
    pub const fn data(&self) -> &Bytes {
        &self.data
    }

    /// When it was made, since 1970.
    pub const fn issued(&self) -> Duration {
        self.issued
    }

    /// What tells it from every other ticket.
    pub fn seal(&self) -> [u8; 16] {
        self.ticket.last_chunk().copied().unwrap_or_default()
    }

    /// Whether early data may be sent with it.
    pub const fn permits_early_data(&self) -> bool {
        self.early_data
    }

    /// Whether it is for connections of this version: a session does not change it (RFC 9369
    /// section 5).
    // RFC 9369 section 5#2.
    pub(crate) fn is_for(&self, version: Version) -> bool {
        self.version == version
    }

    /// Whether early data may be taken under these parameters: the client goes by those that it
    /// remembers, so none of these may be smaller now (RFC 9000 section 7.4.1, RFC 9221 section 3).
    // RFC 9000 section 7.4.1#5#6#8.
    // RFC 9221 section 3#6.
    pub(crate) fn limits_hold(&self, now: &TransportParameters) -> bool {
        let limits = |parameters: &TransportParameters| {
            [
                parameters.initial_max_data,
                parameters.initial_max_stream_data_bidi_local,
                parameters.initial_max_stream_data_bidi_remote,
                parameters.initial_max_stream_data_uni,
                parameters.initial_max_streams_bidi,
                parameters.initial_max_streams_uni,
                parameters.active_connection_id_limit,
                parameters.max_datagram_frame_size,
                // draft-ietf-quic-reliable-stream-reset section 3.
                parameters.reset_stream_at.into(),
                parameters.reliable_reset.into(),
            ]
        };
        // draft-ietf-quic-address-discovery: neither disabled nor changed.
        let discovery = self.parameters.address_discovery;
        let same = discovery.is_none() || discovery == now.address_discovery;
        same && limits(&self.parameters).iter().zip(limits(now)).all(|(before, now)| *before <= now)
    }
}

impl TicketKeys {
    /// Keys of these bytes, which must be secret and random. The first one seals; all of them open.
    /// `None` if there is none, or if the crypto library cannot make keys.
    pub fn new(secrets: &[[u8; 32]]) -> Option<Self> {
        let keys = secrets.iter().map(Key::new).collect::<Option<Vec<_>>>()?;
        (!keys.is_empty()).then_some(Self(keys))
    }

    /// A ticket; nobody can open it who does not give the same `context`.
    pub(super) fn seal(&self, contents: &Contents<'_>, context: &[u8; 32], entropy: &mut Entropy) -> Option<Vec<u8>> {
        let key = self.0.first()?;
        let nonce: [u8; NONCE_LEN] = entropy.array();
        let parameters = contents.parameters.encode(None);
        let mut ticket = [&key.name[..], &nonce].concat();
        let mut plain = Vec::with_capacity(64 + parameters.len() + contents.data.len() + contents.session.len());
        plain.extend_from_slice(&contents.issued.as_secs().to_be_bytes());
        plain.extend_from_slice(&contents.lifetime.to_be_bytes());
        plain.push(contents.early_data.into());
        plain.extend_from_slice(&contents.version.0.to_be_bytes());
        for part in [&parameters[..], contents.data] {
            plain.extend_from_slice(&u16::try_from(part.len()).ok()?.to_be_bytes());
            plain.extend_from_slice(part);
        }
        plain.extend_from_slice(contents.session);
        let nonce = Nonce::assume_unique_for_key(nonce);
        key.aead.seal_in_place_append_tag(nonce, Aad::from(context), &mut plain).ok()?;
        ticket.append(&mut plain);
        Some(ticket)
    }

    /// What a ticket says, if one of these keys sealed it, in this `context`, and it has not expired.
    pub fn open(&self, ticket: &[u8], context: &[u8; 32], unix_time: Duration) -> Option<OpenedTicket> {
        let (name, rest) = ticket.split_first_chunk::<NAME_LEN>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let key = self.0.iter().find(|key| key.name == *name)?;
        let mut sealed = sealed.to_vec();
        let plain =
            key.aead.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(context), &mut sealed).ok()?;
        let (opened, lifetime) = read(ticket, plain).ok()?;
        // A clock that was set back makes nothing younger than new.
        (unix_time.saturating_sub(opened.issued) <= lifetime).then_some(opened)
    }
}

fn read(ticket: &[u8], plain: &[u8]) -> Result<(OpenedTicket, Duration), DecodeError> {
    let mut reader = Reader::new(plain);
    let issued = Duration::from_secs(u64::from_be_bytes(reader.array()?));
    let lifetime = Duration::from_secs(reader.u32()?.min(MAX_LIFETIME).into());
    let early_data = reader.u8()? == 1;
    let version = Version(reader.u32()?);
    let mut part = || -> Result<_, DecodeError> {
        let len = reader.u16()?;
        reader.bytes(len.into())
    };
    let parameters = TransportParameters::decode(part()?, Role::Server)?;
    let data = Bytes::copy_from_slice(part()?);
    let session = Bytes::copy_from_slice(reader.rest());
    let ticket = Bytes::copy_from_slice(ticket);
    Ok((OpenedTicket { ticket, session, parameters, version, issued, data, early_data }, lifetime))
}

impl std::fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TicketKeys(..)")
    }
}
