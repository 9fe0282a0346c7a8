//! The secrets of key phases (RFC 9001 section 6.1).

use rustls::quic::PacketKeySet;
use tercel_wire::Version;

use super::traffic::Traffic;
use crate::tls::in_words_of;

/// What the keys of later phases are derived from.
#[derive(Clone)]
pub struct Secrets {
    secrets: rustls::quic::Secrets,
    /// The version under whose labels to derive, if it is not that which rustls was told.
    labels: Option<Version>,
    /// What those of the first phase are, if it was seen.
    pub(super) first: Option<Box<Traffic>>,
}

impl Secrets {
    /// The same, for a connection that has gone on to another version than rustls was told.
    #[must_use]
    pub(crate) fn labelled(self, labels: Option<Version>) -> Self {
        Self { labels, ..self }
    }

    /// The same, with those of the first phase.
    #[must_use]
    pub(crate) fn with_first(self, first: Option<Box<Traffic>>) -> Self {
        Self { first, ..self }
    }

    /// The packet protection keys of the next phase.
    pub fn next_packet_keys(&mut self) -> PacketKeySet {
        in_words_of(self.labels, || self.secrets.next_packet_keys())
    }
}

impl From<rustls::quic::Secrets> for Secrets {
    fn from(secrets: rustls::quic::Secrets) -> Self {
        Self { secrets, labels: None, first: None }
    }
}
