//! What a client keeps of a session, as bytes.

use std::time::Duration;

use bytes::Bytes;
use tercel_wire::new_session_ticket::NewSessionTicket;
use tercel_wire::{DecodeError, Reader, Role, TransportParameters, Version};

/// The first byte: how the rest is written.
const FORMAT: u8 = 1;

/// All that a client needs to go on with a session in a later connection, of this process or another.
///
/// It holds the secret of the session: keep it as you would a password. Of several connections that
/// show the same ticket an onlooker can tell that they are of the same client (RFC 8446 appendix C.4).
#[derive(Clone, PartialEq, Eq)]
pub struct ResumptionTicket {
    pub(super) server_name: String,
    pub(super) version: Version,
    /// In seconds since 1970 by the clock that TLS counts with.
    pub(super) received: u64,
    pub(super) suite: u16,
    pub(super) psk: Vec<u8>,
    /// The NewSessionTicket message.
    pub(super) message: Vec<u8>,
    pub(super) parameters: Vec<u8>,
    pub(super) chain: Vec<Bytes>,
    ticket: NewSessionTicket,
}

impl std::fmt::Debug for ResumptionTicket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResumptionTicket")
            .field("server_name", &self.server_name)
            .field("expires", &self.expires())
            .finish_non_exhaustive()
    }
}

/// What TLS knows of a ticket that came.
#[derive(Debug)]
pub(in crate::tls) struct Received {
    pub(in crate::tls) received: u64,
    pub(in crate::tls) suite: u16,
    pub(in crate::tls) psk: Vec<u8>,
    pub(in crate::tls) message: Vec<u8>,
    pub(in crate::tls) parameters: Vec<u8>,
    pub(in crate::tls) chain: Vec<Bytes>,
}

impl ResumptionTicket {
    pub(in crate::tls) fn new(server_name: String, version: Version, received: Received) -> Result<Self, DecodeError> {
        let ticket = NewSessionTicket::decode(&received.message)?;
        let Received { received, suite, psk, message, parameters, chain } = received;
        Ok(Self { server_name, version, received, suite, psk, message, parameters, chain, ticket })
    }

    /// The name or address of the server, for which alone it can be used.
    pub fn server_name(&self) -> &str {
        &self.server_name
    }

    /// Until when it can be used, since 1970.
    pub fn expires(&self) -> Duration {
        Duration::from_secs(self.received.saturating_add(self.ticket.lifetime.into()))
    }

    /// Whether early data can be sent with it.
    pub const fn permits_early_data(&self) -> bool {
        self.ticket.early_data
    }

    /// The version of QUIC that it belongs to (RFC 9369 section 5).
    pub const fn version(&self) -> Version {
        self.version
    }

    /// As bytes, to be kept in secret.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![FORMAT];
        out.extend_from_slice(&self.version.0.to_be_bytes());
        out.extend_from_slice(&self.received.to_be_bytes());
        out.extend_from_slice(&self.suite.to_be_bytes());
        let parts = [self.server_name.as_bytes(), &self.psk, &self.message, &self.parameters];
        for part in parts.into_iter().chain(self.chain.iter().map(|certificate| &certificate[..])) {
            out.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            out.extend_from_slice(part);
        }
        out
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    ///
    /// # Errors
    /// It is no ticket, or one of another release.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let malformed = DecodeError::Malformed("resumption ticket");
        let mut reader = Reader::new(bytes);
        if reader.u8()? != FORMAT {
            return Err(malformed);
        }
        let version = Version(reader.u32()?);
        let received = u64::from_be_bytes(reader.array()?);
        let suite = reader.u16()?;
        let mut part = || -> Result<Vec<u8>, DecodeError> {
            let len = reader.u32()? as usize;
            reader.bytes(len).map(<[u8]>::to_vec)
        };
        let server_name = String::from_utf8(part()?).map_err(|_| malformed)?;
        let (psk, message, parameters) = (part()?, part()?, part()?);
        TransportParameters::decode(&parameters, Role::Server)?;
        let mut chain = Vec::new();
        while !reader.is_empty() {
            let len = reader.u32()? as usize;
            chain.push(Bytes::copy_from_slice(reader.bytes(len)?));
        }
        Self::new(server_name, version, Received { received, suite, psk, message, parameters, chain })
    }
}
