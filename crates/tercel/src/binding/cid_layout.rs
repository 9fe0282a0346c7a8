//! Connection IDs that name their worker.
//!
//! A connection ID is eight random bytes and one more: the worker's number, masked by a keyed hash
//! of the eight. Nobody without the key can tell two IDs of one connection, or two workers, from
//! noise (RFC 9000 section 5.1). The stateless reset token of an ID is another keyed hash of it
//! (section 10.3.2), so that it can be made again without any state, even after a restart if the
//! secret is the same.

use aws_lc_rs::hmac;
use tercel_proto::config::ConnectionIdIssuer;
use tercel_proto::entropy::Entropy;
use tercel_wire::{ConnectionId, ResetToken};

const RANDOM_LEN: usize = 8;

/// The length of every connection ID made here, in bytes.
pub(crate) const CID_LEN: usize = RANDOM_LEN + 1;

/// The keys behind connection IDs and reset tokens of a registration.
#[derive(Clone)]
pub(crate) struct CidKeys {
    mask: hmac::Key,
    reset: hmac::Key,
}

impl CidKeys {
    pub(crate) fn new(secret: &[u8; 32]) -> Self {
        Self { mask: derive(secret, b"tercel cid mask"), reset: derive(secret, b"tercel reset token") }
    }

    /// The reset token of `cid`.
    pub(crate) fn reset_token(&self, cid: &ConnectionId) -> ResetToken {
        let tag = hmac::sign(&self.reset, cid);
        let mut token = [0; ResetToken::LEN];
        token.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
        ResetToken(token)
    }

    /// The worker that `cid` names, if it can be one of ours.
    pub(crate) fn worker_of(&self, cid: &ConnectionId) -> Option<u8> {
        match cid.as_slice() {
            [random @ .., masked] if random.len() == RANDOM_LEN => Some(masked ^ self.mask(random)),
            _ => None,
        }
    }

    /// A new connection ID that names `worker`.
    pub(crate) fn issue(&self, worker: u8, entropy: &mut Entropy) -> ConnectionId {
        let mut bytes = [0; CID_LEN];
        let (random, last) = bytes.split_at_mut(RANDOM_LEN);
        entropy.fill(random);
        last[0] = worker ^ self.mask(random);
        ConnectionId::new(&bytes).unwrap_or(ConnectionId::EMPTY)
    }

    fn mask(&self, random: &[u8]) -> u8 {
        hmac::sign(&self.mask, random).as_ref().first().copied().unwrap_or(0)
    }
}

/// A key for one purpose, from the registration's secret.
pub(crate) fn derive(secret: &[u8; 32], purpose: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, &derive_bytes(secret, purpose))
}

/// The bytes of a key for one purpose.
pub(crate) fn derive_bytes(secret: &[u8; 32], purpose: &[u8]) -> [u8; 32] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), purpose);
    let mut bytes = [0; 32];
    bytes.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
    bytes
}

/// Issues the connection IDs of one worker's connections.
pub(crate) struct Issuer {
    pub(crate) keys: CidKeys,
    pub(crate) worker: u8,
}

impl ConnectionIdIssuer for Issuer {
    fn issue(&mut self, entropy: &mut Entropy) -> (ConnectionId, ResetToken) {
        let cid = self.keys.issue(self.worker, entropy);
        (cid, self.keys.reset_token(&cid))
    }

    fn len(&self) -> usize {
        CID_LEN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_its_worker_and_hides_it() {
        let keys = CidKeys::new(&[7; 32]);
        let mut entropy = Entropy::from_seed([1; 32]);
        let mut last = Vec::new();
        for worker in 0..=255 {
            let cid = keys.issue(worker, &mut entropy);
            assert_eq!(cid.len(), CID_LEN);
            assert_eq!(keys.worker_of(&cid), Some(worker));
            last.push(cid[RANDOM_LEN] == worker);
        }
        assert!(last.iter().filter(|same| **same).count() < 10);
        assert_eq!(keys.worker_of(&ConnectionId::EMPTY), None);
    }

    #[test]
    fn tokens_depend_on_secret_and_id_alone() {
        let mut entropy = Entropy::from_seed([1; 32]);
        let cid = CidKeys::new(&[7; 32]).issue(0, &mut entropy);
        let other = CidKeys::new(&[7; 32]).issue(0, &mut entropy);
        let token = CidKeys::new(&[7; 32]).reset_token(&cid);
        assert_eq!(token, CidKeys::new(&[7; 32]).reset_token(&cid));
        assert_ne!(token, CidKeys::new(&[8; 32]).reset_token(&cid));
        assert_ne!(token, CidKeys::new(&[7; 32]).reset_token(&other));
    }
}
