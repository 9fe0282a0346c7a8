//! Connection IDs that name their worker.
//!
//! A connection ID is eight random bytes and one more: the worker's number, masked by a keyed hash
//! of the eight. Nobody without the key can tell two IDs of one connection, or two workers, from
//! noise (RFC 9000 section 5.1). Where load balancers are to find the server in the ID, its form is
//! theirs, and the worker stands in the nonce ([`super::routable`]).
//!
//! The stateless reset token of an ID is another keyed hash of it (section 10.3.2), so that it can be
//! made again without any state: after a restart, or by another server, if the key is the same.

use std::net::IpAddr;
use std::sync::Arc;

use aws_lc_rs::hmac;
use tercel_proto::cid::quic_lb::{UNROUTABLE, first_octet};
use tercel_proto::config::ConnectionIdIssuer;
use tercel_proto::entropy::Entropy;
use tercel_wire::{ConnectionId, ResetToken};

use super::routable::RoutableIssuer;

const RANDOM_LEN: usize = 8;

/// The length of connection IDs that are not made for load balancers, in bytes.
// RFC 9000 sections 5.1#3, 10.3.2#2.
const PLAIN_LEN: usize = RANDOM_LEN + 1;

/// The keys behind connection IDs and reset tokens of a registration. Values that never change:
/// another set of keys is another `CidKeys`.
#[derive(Clone)]
pub(crate) struct CidKeys {
    mask: hmac::Key,
    /// The first makes tokens; the others made those of connection IDs that may be in use yet.
    reset: Vec<hmac::Key>,
    /// The first that has IDs left makes them. Empty: they are not made for balancers.
    routable: Vec<Arc<RoutableIssuer>>,
    /// Those that made IDs which may be in use yet.
    former: Vec<Arc<RoutableIssuer>>,
    len: usize,
}

impl CidKeys {
    /// Keys of their own for each secret.
    pub(crate) fn new(secret: &[u8; 32]) -> Self {
        let (mask, reset) = (derive(secret, b"tercel cid mask"), vec![derive(secret, b"tercel reset token")]);
        Self { mask, reset, routable: Vec::new(), former: Vec::new(), len: PLAIN_LEN }
    }

    /// The same with other keys for reset tokens; the first is used.
    pub(crate) fn with_reset_keys(self, keys: &[[u8; 32]]) -> Self {
        Self { reset: keys.iter().map(|key| derive(key, b"tercel reset token")).collect(), ..self }
    }

    /// The same with IDs of this form from now on. What was issued before is still understood.
    pub(crate) fn with_routable(self, routable: Vec<Arc<RoutableIssuer>>, len: usize) -> Self {
        let mut former = self.routable;
        former.extend(self.former);
        // A codepoint that has a new meaning has lost the old one.
        former.retain(|old| routable.iter().all(|new| new.rotation() != old.rotation()));
        Self { routable, former, len, ..self }
    }

    /// The length of every connection ID made here, in bytes.
    pub(crate) const fn cid_len(&self) -> usize {
        self.len
    }

    /// The reset token that `cid` is issued with.
    pub(crate) fn reset_token(&self, cid: &ConnectionId) -> ResetToken {
        self.reset_tokens(cid).next().unwrap_or(ResetToken([0; ResetToken::LEN]))
    }

    /// The tokens that `cid` may have been issued with, the likeliest first.
    pub(crate) fn reset_tokens(&self, cid: &ConnectionId) -> impl Iterator<Item = ResetToken> {
        self.reset.iter().map(move |key| {
            let tag = hmac::sign(key, cid);
            let mut token = [0; ResetToken::LEN];
            token.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
            ResetToken(token)
        })
    }

    /// The worker that `cid` names, if it can be one of ours.
    pub(crate) fn worker_of(&self, cid: &ConnectionId) -> Option<u8> {
        if cid.len() != self.len {
            return None;
        }
        let rotation = cid.first()? >> 5;
        if self.routable.is_empty() || rotation == UNROUTABLE {
            let (last, random) = cid.split_last()?;
            return Some(last ^ self.mask(random));
        }
        let mut issuers = self.routable.iter().chain(&self.former);
        issuers.find(|issuer| issuer.rotation() == rotation)?.worker_of(cid)
    }

    /// A new connection ID, for who came to `local`, that names `worker`.
    // RFC 9000 section 5.1#1#2.
    pub(crate) fn issue(&self, worker: u8, local: Option<IpAddr>, entropy: &mut Entropy) -> ConnectionId {
        let routable = self.routable.iter().find_map(|issuer| issuer.issue(worker, local, entropy));
        routable.unwrap_or_else(|| self.issue_unroutable(worker, entropy))
    }

    /// A connection ID that no balancer can read. For those of Retry packets, which strangers can make us
    /// use up; a balancer goes by addresses then. And for when no nonces are left (draft-ietf-quic-
    /// load-balancers-21 section 9.7).
    pub(crate) fn issue_unroutable(&self, worker: u8, entropy: &mut Entropy) -> ConnectionId {
        let mut bytes = [0; ConnectionId::MAX_LEN];
        let bytes = bytes.get_mut(..self.len).unwrap_or_default();
        if let Some((last, random)) = bytes.split_last_mut() {
            entropy.fill(random);
            if let (Some(first), false) = (random.first_mut(), self.routable.is_empty()) {
                *first = first_octet(UNROUTABLE, self.len as u8 - 1);
            }
            *last = worker ^ self.mask(random);
        }
        ConnectionId::new(bytes).unwrap_or(ConnectionId::EMPTY)
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

/// Issues the connection IDs of a connection.
pub(crate) struct Issuer {
    pub(crate) keys: Arc<CidKeys>,
    pub(crate) worker: u8,
    /// Where its client came to, if it is a server's.
    pub(crate) local: Option<IpAddr>,
}

impl ConnectionIdIssuer for Issuer {
    fn issue(&mut self, entropy: &mut Entropy) -> (ConnectionId, ResetToken) {
        let cid = self.keys.issue(self.worker, self.local, entropy);
        (cid, self.keys.reset_token(&cid))
    }

    fn len(&self) -> usize {
        self.keys.cid_len()
    }
}

#[cfg(test)]
mod tests {
    use tercel_proto::cid::quic_lb::QuicLb;

    use super::super::routable::RoutableIds;
    use super::*;

    #[test]
    // RFC 9000 section 5.1#1#2.
    fn names_its_worker_and_hides_it() {
        let keys = CidKeys::new(&[7; 32]);
        let mut entropy = Entropy::from_seed([1; 32]);
        let mut last = Vec::new();
        for worker in 0..=255 {
            let cid = keys.issue(worker, None, &mut entropy);
            assert_eq!(cid.len(), PLAIN_LEN);
            assert_eq!(keys.worker_of(&cid), Some(worker));
            last.push(cid[RANDOM_LEN] == worker);
        }
        assert!(last.iter().filter(|same| **same).count() < 10);
        assert_eq!(keys.worker_of(&ConnectionId::EMPTY), None);
    }

    fn routable(keys: CidKeys, rotation: u8, key: u8) -> (CidKeys, QuicLb) {
        let balancer = QuicLb::new(rotation, 3, 6, Some(&[key; 16])).unwrap();
        let ids = RoutableIds::new(balancer.clone(), [1, 2, 3]).unwrap();
        let issuer = RoutableIssuer::new(ids, 200, &mut Entropy::from_seed([9; 32])).unwrap();
        (keys.with_routable(vec![Arc::new(issuer)], balancer.cid_len()), balancer)
    }

    /// In whatever form, an ID names its worker; what was issued under an earlier configuration is
    /// understood until its codepoint is given to another.
    #[test]
    fn balancers_and_we_read_the_same_id() {
        let mut entropy = Entropy::from_seed([1; 32]);
        let (keys, balancer) = routable(CidKeys::new(&[7; 32]), 0, 1);
        let old = keys.issue(100, None, &mut entropy);
        assert_eq!((keys.worker_of(&old), balancer.server_id(&old)), (Some(100), Some(vec![1, 2, 3])));
        let of_retry = keys.issue_unroutable(101, &mut entropy);
        assert_eq!((of_retry.len(), of_retry[0]), (10, 0b1110_1001));
        assert_eq!((keys.worker_of(&of_retry), balancer.server_id(&of_retry)), (Some(101), None));
        let (keys, next) = routable(keys, 1, 2);
        let new = keys.issue(102, None, &mut entropy);
        assert_eq!(next.server_id(&new), Some(vec![1, 2, 3]));
        assert_eq!([old, of_retry, new].map(|cid| keys.worker_of(&cid)), [Some(100), Some(101), Some(102)]);
        let (keys, _) = routable(keys, 0, 3);
        assert_ne!(keys.worker_of(&old), Some(100));
    }

    /// Draft section 9.7: the next configuration, and at the end the codepoint that no balancer reads.
    #[test]
    fn when_nonces_are_used_up_the_next_configuration_follows() {
        let mut entropy = Entropy::from_seed([1; 32]);
        let issuers: Vec<_> = [4, 5]
            .map(|rotation| {
                let ids = RoutableIds::new(QuicLb::new(rotation, 3, 4, None).unwrap(), [1, 2, 3]).unwrap();
                Arc::new(RoutableIssuer::new(ids, 1, &mut entropy).unwrap())
            })
            .into();
        issuers.iter().for_each(|issuer| issuer.leave(0, 2));
        let keys = CidKeys::new(&[7; 32]).with_routable(issuers, 8);
        let ids = [0; 6].map(|_| keys.issue(0, None, &mut entropy));
        assert_eq!(ids.map(|cid| cid[0] >> 5), [4, 4, 5, 5, 7, 7]);
        assert_eq!(ids.map(|cid| (cid.len(), keys.worker_of(&cid))), [(8, Some(0)); 6]);
    }

    #[test]
    fn an_earlier_key_makes_earlier_tokens() {
        let cid = ConnectionId::new(&[1; 9]).unwrap();
        let before = CidKeys::new(&[7; 32]).with_reset_keys(&[[1; 32]]);
        let after = before.clone().with_reset_keys(&[[2; 32], [1; 32]]);
        assert_ne!(after.reset_token(&cid), before.reset_token(&cid));
        assert!(after.reset_tokens(&cid).any(|token| token == before.reset_token(&cid)));
        // By another server, whatever its own secret.
        let elsewhere = CidKeys::new(&[8; 32]).with_reset_keys(&[[2; 32]]);
        assert_eq!(elsewhere.reset_token(&cid), after.reset_token(&cid));
    }

    #[test]
    // RFC 9000 section 10.3.2#1#5.
    fn tokens_depend_on_secret_and_id_alone() {
        let mut entropy = Entropy::from_seed([1; 32]);
        let cid = CidKeys::new(&[7; 32]).issue(0, None, &mut entropy);
        let other = CidKeys::new(&[7; 32]).issue(0, None, &mut entropy);
        let token = CidKeys::new(&[7; 32]).reset_token(&cid);
        assert_eq!(token, CidKeys::new(&[7; 32]).reset_token(&cid));
        assert_ne!(token, CidKeys::new(&[8; 32]).reset_token(&cid));
        assert_ne!(token, CidKeys::new(&[7; 32]).reset_token(&other));
    }
}
