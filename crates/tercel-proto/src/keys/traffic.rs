//! Keys of the first phase, made anew.
//!
//! rustls makes them once, and gives the secrets of the phases to come. Who has seen the secrets of the first phase can let
//! go of its keys while they are not in use: an idle connection would hold little else.

use rustls::Tls13CipherSuite;
use rustls::crypto::tls13::OkmBlock;
use rustls::quic::{Algorithm, Keys};
use tercel_wire::{Role, Version};

use super::{LevelKeys, side, tls_version};
use crate::tls::in_place_of_initial;

/// The traffic secrets of the first key phase.
#[derive(Clone)]
pub(crate) struct Traffic {
    client: OkmBlock,
    server: OkmBlock,
    suite: &'static Tls13CipherSuite,
    quic: &'static dyn Algorithm,
    role: Role,
    version: Version,
}

impl Traffic {
    /// Of the client's and the server's, with the suite that repeats what [was observed](crate::tls::observed); `None` if
    /// it is not for QUIC.
    pub(crate) fn new(
        role: Role,
        (client, server): (OkmBlock, OkmBlock),
        suite: &'static Tls13CipherSuite,
        version: Version,
    ) -> Option<Self> {
        Some(Self { client, server, suite, quic: suite.quic?, role, version })
    }

    /// The keys. rustls makes keys of secrets only for Initial packets; these get the secrets of data.
    pub(super) fn keys(&self) -> LevelKeys {
        let (version, side) = (tls_version(self.version), side(self.role));
        let make = || Keys::initial(version, self.suite, self.quic, &[], side);
        in_place_of_initial((&self.client, &self.server), make).into()
    }
}
