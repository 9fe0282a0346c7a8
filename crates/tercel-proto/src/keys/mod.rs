//! Packet protection keys (RFC 9001 section 5).
//!
//! rustls derives them; here they take the form that tercel-wire's packets ask for. Keys are never
//! marked as discarded: they are dropped.

mod secrets;
#[cfg(test)]
mod tests;
mod traffic;
mod update;

pub use secrets::Secrets;
pub(crate) use traffic::Traffic;
pub use update::OneRttKeys;

use tercel_wire::packet::protection;
use tercel_wire::{ConnectionId, Role, Version};

/// A header protection key.
pub struct HeaderKey(Box<dyn rustls::quic::HeaderProtectionKey>);

/// A packet protection key.
pub struct PacketKey(Box<dyn rustls::quic::PacketKey>);

/// The keys of one direction.
pub struct DirectionalKeys {
    /// For the header.
    pub header: HeaderKey,
    /// For the payload.
    pub packet: PacketKey,
}

/// The keys of an encryption level, both directions.
pub struct LevelKeys {
    /// For what we send.
    pub local: DirectionalKeys,
    /// For what we receive.
    pub remote: DirectionalKeys,
}

impl protection::HeaderKey for HeaderKey {
    fn sample_len(&self) -> usize {
        self.0.sample_len()
    }

    fn protect(&self, sample: &[u8], first: &mut u8, packet_number: &mut [u8]) {
        // Fails only for a sample of the wrong length, and ours is made by `sample_len`.
        let _ = self.0.encrypt_in_place(sample, first, packet_number);
    }

    fn unprotect(&self, sample: &[u8], first: &mut u8, packet_number: &mut [u8]) {
        let _ = self.0.decrypt_in_place(sample, first, packet_number);
    }
}

impl protection::PacketKey for PacketKey {
    fn tag_len(&self) -> usize {
        self.0.tag_len()
    }

    fn seal(&self, packet_number: u64, header: &[u8], payload: &mut [u8], tag: &mut [u8]) {
        match self.0.encrypt_in_place(packet_number, header, payload) {
            Ok(made) => tag.copy_from_slice(made.as_ref()),
            // Nothing readable may leave if encryption fails.
            Err(_) => payload.fill(0),
        }
    }

    fn open(&self, packet_number: u64, header: &[u8], payload: &mut [u8]) -> Option<usize> {
        self.0.decrypt_in_place(packet_number, header, payload).ok().map(<[u8]>::len)
    }
}

impl PacketKey {
    /// How many packets may be sealed with the key (RFC 9001 section 6.6).
    pub fn confidentiality_limit(&self) -> u64 {
        self.0.confidentiality_limit()
    }

    /// How many packets may fail to open before the connection must end (RFC 9001 section 6.6).
    pub fn integrity_limit(&self) -> u64 {
        self.0.integrity_limit()
    }
}

impl From<rustls::quic::DirectionalKeys> for DirectionalKeys {
    fn from(keys: rustls::quic::DirectionalKeys) -> Self {
        Self { header: HeaderKey(keys.header), packet: PacketKey(keys.packet) }
    }
}

impl From<rustls::quic::Keys> for LevelKeys {
    fn from(keys: rustls::quic::Keys) -> Self {
        Self { local: keys.local.into(), remote: keys.remote.into() }
    }
}

/// The Initial keys that follow from the destination connection ID of the client's first packet
/// (RFC 9001 section 5.2).
///
/// # Errors
/// The crypto provider lacks AES-128-GCM, which every provider has.
// RFC 9001 section 5.2#2.
pub fn initial(version: Version, dcid: &ConnectionId, role: Role) -> Result<LevelKeys, rustls::Error> {
    let suite = rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256
        .tls13()
        .and_then(|suite| suite.quic_suite())
        .ok_or_else(|| rustls::Error::General("no cipher suite for Initial packets".into()))?;
    Ok(suite.keys(dcid, side(role), tls_version(version)).into())
}

/// The end, in the words of rustls.
pub(crate) const fn side(role: Role) -> rustls::Side {
    match role {
        Role::Client => rustls::Side::Client,
        Role::Server => rustls::Side::Server,
    }
}

/// The version, in the words of rustls. Others than ours never come this far.
pub(crate) const fn tls_version(version: Version) -> rustls::quic::Version {
    match version {
        Version::V2 => rustls::quic::Version::V2,
        _ => rustls::quic::Version::V1,
    }
}
