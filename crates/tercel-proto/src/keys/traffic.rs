//! Keys of the first phase, made anew.
//!
//! rustls makes them once, and gives the secrets of the phases to come. Who has seen the secrets of the first phase can let
//! go of its keys while they are not in use: an idle connection would hold little else. What was derived of the secrets is
//! kept in their place from then on: it is shorter, and to derive it again would take longer than all else about a packet.

use rustls::Tls13CipherSuite;
use rustls::crypto::tls13::OkmBlock;
use rustls::quic::{Algorithm, Keys};
use tercel_wire::{Role, Version};

use super::{LevelKeys, side, tls_version};
use crate::tls::{Derived, in_place_of_initial};

/// What the keys of the first key phase are made of.
#[derive(Clone)]
pub(crate) struct Traffic {
    of: Of,
    suite: &'static Tls13CipherSuite,
    quic: &'static dyn Algorithm,
    role: Role,
    version: Version,
}

#[derive(Clone)]
enum Of {
    /// The traffic secrets of the client and the server.
    Secrets(Box<(OkmBlock, OkmBlock)>),
    /// What was derived of them.
    Derived(Derived),
}

impl Traffic {
    /// Of the client's and the server's secrets, with the suite that repeats what
    /// [was observed](crate::tls::observed); `None` if it is not for QUIC.
    pub(crate) fn new(
        role: Role,
        secrets: (OkmBlock, OkmBlock),
        suite: &'static Tls13CipherSuite,
        version: Version,
    ) -> Option<Self> {
        Some(Self { of: Of::Secrets(Box::new(secrets)), suite, quic: suite.quic?, role, version })
    }

    /// The keys. rustls makes keys of secrets only for Initial packets; these get the secrets of data.
    pub(super) fn keys(&self) -> LevelKeys {
        let (version, side) = (tls_version(self.version), side(self.role));
        let make = || Keys::initial(version, self.suite, self.quic, &[], side);
        match &self.of {
            Of::Secrets(secrets) => in_place_of_initial((&secrets.0, &secrets.1), make).into(),
            Of::Derived(derived) => derived.again(make).into(),
        }
    }

    /// From now on the keys are made without deriving anything.
    pub(super) fn derive(&mut self) {
        if let Of::Secrets(_) = &self.of {
            self.of = Of::Derived(Derived::note(|| drop(self.keys())).1);
        }
    }
}
