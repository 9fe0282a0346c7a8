//! Which version of QUIC a connection speaks (RFC 9368, RFC 9369 section 4).
//!
//! A client begins with its *original* version. Its first flight can be read as one of another,
//! *compatible* version, too, and its version_information says of which. The server may answer in any of
//! these: whatever it says in the handshake is of the *negotiated* version, by which the client notices.
//! What came and comes of the original version (early data, Initial packets under way) keeps it.
//!
//! A server that cannot read the original version at all says in a Version Negotiation packet what it can
//! read. Anybody could say so; hence the client begins anew once, with the version that it wants most of
//! these, and when the handshake has proved who the server is, checks that it would have chosen the same
//! of what the server then tells.

use tercel_wire::{ConnectionId, EncryptionLevel, Role, TransportErrorCode, Version, VersionInformation};

use crate::entropy::Entropy;
use crate::error::Violation;
use crate::keys::{self, LevelKeys};

/// What an endpoint remembers of the negotiation.
// RFC 9368 section 8#2.
pub(crate) struct Negotiation {
    role: Role,
    /// The versions that this end speaks. A client's are in the order in which it wants them.
    ours: Vec<Version>,
    /// The version of the client's first packet.
    original: Version,
    /// The version in use.
    current: Version,
    /// Client: whether another version can follow without a new first flight.
    compatible: bool,
    /// Client: whether another version may still follow. The server's first CRYPTO data settle it.
    open: bool,
    /// Client: whether this attempt answers a Version Negotiation packet.
    reacted: bool,
    /// The keys of Initial packets of another version than the current one that may come: of the version
    /// that may follow (client), of the original one (server).
    keys: Option<Box<(Version, LevelKeys)>>,
    /// Server: what the client's first flight tells.
    peer: Option<VersionInformation>,
}

/// Of the versions that settings name, those that can be spoken; all if they name none.
pub(crate) fn known(versions: &[Version]) -> Vec<Version> {
    let mut known: Vec<Version> = Vec::new();
    for version in if versions.is_empty() { &Version::SUPPORTED } else { versions } {
        if version.is_supported() && !known.contains(version) {
            known.push(*version);
        }
    }
    known
}

/// The version that whoever wants `wanted` would take of `offered`.
fn select(wanted: &[Version], offered: &[Version]) -> Option<Version> {
    wanted.iter().copied().find(|version| offered.contains(version))
}

const fn error(reason: &'static str) -> Violation {
    Violation::new(TransportErrorCode::VERSION_NEGOTIATION_ERROR, reason)
}

impl Negotiation {
    /// A client that begins with `original` and speaks what `versions` of the settings names. With
    /// `compatible` its TLS can go on in another version.
    pub(crate) fn client(versions: &[Version], original: Version, compatible: bool) -> Self {
        let mut ours = known(versions);
        if !ours.contains(&original) {
            ours.push(original);
        }
        Self { compatible, open: compatible, ..Self::new(Role::Client, ours, original) }
    }

    /// A server that speaks what `versions` of the settings names.
    pub(crate) fn server(versions: &[Version], original: Version) -> Self {
        Self::new(Role::Server, known(versions), original)
    }

    const fn new(role: Role, ours: Vec<Version>, original: Version) -> Self {
        Self {
            role,
            ours,
            original,
            current: original,
            compatible: false,
            open: false,
            reacted: false,
            keys: None,
            peer: None,
        }
    }

    /// Which end this is.
    pub(crate) const fn role(&self) -> Role {
        self.role
    }

    /// The version of the client's first packet, which is also that of early data.
    pub(crate) const fn original(&self) -> Version {
        self.original
    }

    /// The version in use: the negotiated one, once it is known.
    pub(crate) const fn current(&self) -> Version {
        self.current
    }

    /// What our transport parameters say, with a reserved version among the others (RFC 9368 section 3) if
    /// `grease` is given.
    // RFC 9368 section 3#2. RFC 9369 section 4#2.
    pub(crate) fn information(&self, grease: Option<&mut Entropy>) -> VersionInformation {
        let mut available = match self.role {
            Role::Client if !self.compatible => vec![self.original],
            _ => self.ours.clone(),
        };
        if let Some(entropy) = grease {
            let at = entropy.below(available.len() as u64 + 1) as usize;
            available.insert(at, Version::reserved(u32::from_be_bytes(entropy.array())));
        }
        VersionInformation { chosen: self.current, available }
    }

    /// Whether a packet with a long header of this level may have this version now.
    // RFC 9369 section 4.1#8.
    pub(crate) fn may_come(&self, level: EncryptionLevel, version: Version) -> bool {
        match level {
            // RFC 9369 section 4.1: early data are of the original version only.
            EncryptionLevel::ZeroRtt => version == self.original,
            // RFC 9369 section 4.1: the client may have sent them before it knew.
            EncryptionLevel::Initial if self.role == Role::Server && version == self.original => true,
            // RFC 9369 section 4.1: all else is of the negotiated version.
            _ => version == self.current || self.may_follow(version),
        }
    }

    /// Client: whether the server may still go on in this version.
    fn may_follow(&self, version: Version) -> bool {
        self.open && version != self.original && self.ours.contains(&version)
    }

    /// The keys of Initial packets of another version than the current one, if such may come. `dcid` is
    /// what Initial keys follow from.
    pub(crate) fn other_keys(&mut self, version: Version, dcid: &ConnectionId) -> Option<&LevelKeys> {
        let known = self.keys.as_ref().is_some_and(|keys| keys.0 == version);
        if !known && self.may_follow(version) {
            self.keys = keys::initial(version, dcid, self.role).ok().map(|keys| Box::new((version, keys)));
        }
        self.keys.as_deref().filter(|(of, _)| *of == version).map(|(_, keys)| keys)
    }

    /// Forgets the keys of Initial packets of another version: none will come, or others follow.
    pub(crate) fn forget_keys(&mut self) {
        self.keys = None;
    }

    /// Client: the server has sent a packet of this version, and so has chosen it. Gives the new keys of
    /// Initial packets.
    pub(crate) fn follow(&mut self, version: Version) -> Option<LevelKeys> {
        let (_, keys) = *self.keys.take_if(|keys| keys.0 == version)?;
        self.current = version;
        self.open = false;
        Some(keys)
    }

    /// Client: the server has sent CRYPTO data, so it has chosen the current version (RFC 9369 section 4.1).
    pub(crate) fn settle(&mut self) {
        if self.open {
            self.open = false;
            self.keys = None;
        }
    }

    // Server.

    /// What the client's first flight tells of its versions, until one is chosen.
    pub(crate) fn set_peer(&mut self, information: Option<VersionInformation>) {
        self.peer = information;
    }

    /// The version to go on with, for a server that prefers its versions in this order; without any it goes
    /// by the order of the client (RFC 9368 section 3). `None`: there is no version in common.
    // RFC 9368 section 2.3#1. RFC 9369 section 4#3.
    pub(crate) fn choose(&self, preference: &[Version]) -> Option<Version> {
        // RFC 9368 section 2.3: one that the client names, or the original one.
        let compatible = |version: &Version| {
            *version == self.original || self.peer.as_ref().is_some_and(|peer| peer.available.contains(version))
        };
        let can = |version: &Version| self.ours.contains(version) && compatible(version);
        match preference {
            [] => {
                let wanted = self.peer.iter().flat_map(|peer| &peer.available).copied().find(can);
                wanted.or(Some(self.original).filter(can))
            }
            preference => preference.iter().copied().find(can),
        }
    }

    /// Whether the client's first flight can be read as one of another version that this end speaks, too.
    pub(crate) fn may_switch(&self) -> bool {
        let available = self.peer.iter().flat_map(|peer| &peer.available);
        available.into_iter().any(|version| *version != self.current && self.ours.contains(version))
    }

    /// Goes on with another version. `keys` are those of Initial packets of the original one.
    pub(crate) fn switch(&mut self, version: Version, keys: LevelKeys) {
        self.current = version;
        // RFC 9369 section 4.1#6: until the Initial space is discarded, with the first Handshake packet.
        self.keys = Some(Box::new((self.original, keys)));
    }

    // Client.

    /// The version to begin anew with, after a Version Negotiation packet that names `offered`: `None` if
    /// there is none in common. The packet does not name the original version.
    pub(crate) fn select(&self, offered: &[Version]) -> Option<Version> {
        select(&self.ours, offered)
    }

    /// Whether a Version Negotiation packet counts that names `offered`.
    pub(crate) fn heeds(&self, offered: &[Version]) -> bool {
        // RFC 9368 section 4: neither one that names the original version, nor a second one.
        // RFC 9368 sections 2.1#5, 4#1#2.
        self.role == Role::Client && !self.reacted && !offered.contains(&self.original)
    }

    /// Begins anew with this version.
    pub(crate) fn begin_anew(&mut self, version: Version) {
        (self.original, self.current) = (version, version);
        (self.reacted, self.open, self.keys) = (true, self.compatible, None);
    }

    /// Checks what the peer says, now that it cannot have been changed by anybody (RFC 9368 section 4).
    ///
    /// # Errors
    /// VERSION_NEGOTIATION_ERROR: the two ends do not mean the same version, or would have come to another
    /// if nobody had interfered.
    pub(crate) fn check(&self, peer: Option<&VersionInformation>) -> Result<(), Violation> {
        match self.role {
            Role::Server => self.check_client(peer),
            Role::Client => self.check_server(peer),
        }
    }

    fn check_client(&self, client: Option<&VersionInformation>) -> Result<(), Violation> {
        // RFC 9368 section 4: the server may go on if it is missing.
        let Some(VersionInformation { chosen, available }) = client else {
            return match self.current == self.original {
                true => Ok(()),
                false => Err(error("the version was changed for a client that does not permit it")),
            };
        };
        // RFC 9368 section 4#8#9#10.
        if *chosen != self.original {
            return Err(error("the client has chosen another version than that of its packets"));
        }
        // A second ClientHello might say something else than the first one.
        if self.current != self.original && !available.contains(&self.current) {
            return Err(error("the version was changed to one that the client does not permit"));
        }
        Ok(())
    }

    fn check_server(&self, server: Option<&VersionInformation>) -> Result<(), Violation> {
        // RFC 9368 section 8: servers of version 1 need not know of version_information.
        let of_version_1 = VersionInformation { chosen: Version::V1, available: vec![Version::V1] };
        // RFC 9368 sections 4#11#13, 8#1.
        let server = match server {
            Some(server) => server,
            None if self.reacted && self.original == Version::V1 => &of_version_1,
            None if self.reacted || self.current != self.original => {
                return Err(error("the server does not tell which version it has chosen"));
            }
            None => return Ok(()),
        };
        // RFC 9368 section 4#12#17: the current version is one that we have offered.
        if server.chosen != self.current {
            return Err(error("the server has chosen another version than that of its packets"));
        }
        if self.reacted {
            // RFC 9368 section 4#14#15#16.
            let told = [&server.available[..], &[self.current]].concat();
            if server.available.is_empty() || select(&self.ours, &told) != Some(self.original) {
                return Err(error("a Version Negotiation packet hid a version that the server speaks"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
