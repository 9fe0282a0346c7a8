//! Versions of QUIC, as programs say which to speak (`QUIC_VERSION_SETTINGS`): three lists.

use tercel::Version;

/// The lists as they were given. Empty ones: all versions that there are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct VersionLists {
    /// Taken from peers.
    pub(crate) acceptable: Vec<u32>,
    /// Offered to peers.
    pub(crate) offered: Vec<u32>,
    /// Known by every server of the same name (RFC 9368 section 2.4).
    pub(crate) fully_deployed: Vec<u32>,
}

impl VersionLists {
    /// Whether they say nothing.
    pub(crate) const fn are_empty(&self) -> bool {
        self.acceptable.is_empty() && self.offered.is_empty() && self.fully_deployed.is_empty()
    }

    /// Which versions to speak, most wanted first: those that are offered and known here; none is all.
    pub(crate) fn spoken(&self) -> Vec<Version> {
        let mut spoken = Vec::new();
        for version in self.offered.iter().map(|version| Version(*version)) {
            if version.is_supported() && !spoken.contains(&version) {
                spoken.push(version);
            }
        }
        spoken
    }
}
