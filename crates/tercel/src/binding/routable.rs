//! Connection IDs that a load balancer can read, as one server makes them (QUIC-LB).
//!
//! A nonce is the worker's number and a count, so that none is used twice; so the server finds the
//! worker in an ID, and the balancer finds the server. Under a key the count may be seen by nobody.
//! Without a key the whole nonce is permuted by a key of this process, so that it tells strangers
//! nothing.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use tercel_proto::cid::quic_lb::{Permutation, QuicLb};
use tercel_proto::entropy::Entropy;
use tercel_wire::ConnectionId;

use crate::status::Error;

/// What a server is to load balancers that read connection IDs: a configuration, and this server's ID
/// in it. Connection IDs then also tell this server, and nobody else, which of its workers they are for.
///
/// A configuration that was in use under the same key and server ID, by a process before this one, say,
/// should not be used long again: its nonces, which begin at random, might repeat.
#[derive(Debug, Clone)]
pub struct RoutableIds {
    balancer: QuicLb,
    server_id: ServerId,
}

/// What this server is to balancers.
#[derive(Debug, Clone)]
enum ServerId {
    /// Always the same.
    Fixed(Vec<u8>),
    /// The address that the client came to.
    Address,
}

/// The length of the server ID that an address makes.
const ADDRESS_ID_LEN: usize = 4;

/// The server ID that an address makes: it itself, or the end of it.
fn address_id(local: Option<IpAddr>) -> [u8; ADDRESS_ID_LEN] {
    match local {
        Some(IpAddr::V4(v4)) => v4.octets(),
        Some(IpAddr::V6(v6)) => v6.octets()[12..].try_into().unwrap_or_default(),
        None => [0; ADDRESS_ID_LEN],
    }
}

impl RoutableIds {
    /// This server is `server_id` to balancers that know `balancer`.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`]: the server ID has not the length that the configuration says.
    pub fn new(balancer: QuicLb, server_id: impl Into<Vec<u8>>) -> Result<Self, Error> {
        let server_id = server_id.into();
        match server_id.len() == balancer.server_id_len() {
            true => Ok(Self { balancer, server_id: ServerId::Fixed(server_id) }),
            false => Err(Error::InvalidArgument("the server ID has another length than its configuration says")),
        }
    }

    /// To balancers that know `balancer` this server is the address that a client came to: an IPv4 address, or the
    /// last four bytes of an IPv6 address; and zero where the address is not known, as in the IDs of its own clients.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`]: the configuration does not say that server IDs have four bytes.
    pub fn by_address(balancer: QuicLb) -> Result<Self, Error> {
        match balancer.server_id_len() == ADDRESS_ID_LEN {
            true => Ok(Self { balancer, server_id: ServerId::Address }),
            false => Err(Error::InvalidArgument("an address makes a server ID of four bytes")),
        }
    }

    /// What this server is in IDs of who came to `local`.
    fn encode(&self, local: Option<IpAddr>, nonce: &[u8], random: u8) -> Option<ConnectionId> {
        match &self.server_id {
            ServerId::Fixed(id) => self.balancer.encode(id, nonce, random),
            ServerId::Address => self.balancer.encode(&address_id(local), nonce, random),
        }
    }

    /// Whether this server may be meant.
    fn may_be(&self, server_id: &[u8]) -> bool {
        match &self.server_id {
            ServerId::Fixed(id) => id == server_id,
            // It may have any address.
            ServerId::Address => true,
        }
    }

    /// The length of the connection IDs, in bytes.
    pub(crate) const fn cid_len(&self) -> usize {
        self.balancer.cid_len()
    }
}

/// How far a worker has come with its nonces. That worker alone counts.
struct Count {
    start: u64,
    used: AtomicU64,
}

/// The makers of routable IDs under one configuration, for all workers.
pub(crate) struct RoutableIssuer {
    ids: RoutableIds,
    /// Hides the nonces that are not encrypted.
    permutation: Option<Permutation>,
    counts: Vec<Count>,
}

impl RoutableIssuer {
    /// For so many workers.
    pub(crate) fn new(ids: RoutableIds, workers: usize, entropy: &mut Entropy) -> Option<Self> {
        let permutation = match ids.balancer.is_encrypted() {
            true => None,
            false => Some(Permutation::new(&entropy.array())?),
        };
        let mut count = || Count { start: u64::from_be_bytes(entropy.array()), used: AtomicU64::new(0) };
        let counts = (0..workers).map(|_| count()).collect();
        Some(Self { ids, permutation, counts })
    }

    /// The codepoint of its configuration.
    pub(crate) const fn rotation(&self) -> u8 {
        self.ids.balancer.rotation()
    }

    /// How many IDs a worker can have.
    const fn capacity(&self) -> u64 {
        match 8 * (self.ids.balancer.nonce_len() as u32 - 1) {
            bits @ 0..64 => 1 << bits,
            _ => u64::MAX,
        }
    }

    /// A new ID, for who came to `local`, that names `worker`; `None` once all are used up.
    pub(crate) fn issue(&self, worker: u8, local: Option<IpAddr>, entropy: &mut Entropy) -> Option<ConnectionId> {
        let count = self.counts.get(usize::from(worker))?;
        let used = count.used.load(Ordering::Relaxed);
        if used >= self.capacity() {
            return None;
        }
        count.used.store(used + 1, Ordering::Relaxed);
        if used + 1 == self.capacity() {
            tracing::warn!(rotation = self.rotation(), worker, "the last connection ID of a QUIC-LB configuration");
        }
        let value = count.start.wrapping_add(used).to_be_bytes();
        let mut nonce = [0; 18];
        let nonce = nonce.get_mut(..self.ids.balancer.nonce_len())?;
        let (first, rest) = nonce.split_first_mut()?;
        *first = worker;
        rest.iter_mut().rev().zip(value.iter().rev()).for_each(|(to, from)| *to = *from);
        if let Some(permutation) = &self.permutation {
            permutation.apply(nonce)?;
        }
        let [random] = entropy.array();
        self.ids.encode(local, nonce, random)
    }

    /// The worker that `cid` names, if it is of this server.
    pub(crate) fn worker_of(&self, cid: &ConnectionId) -> Option<u8> {
        let parts = self.ids.balancer.decode(cid)?;
        if !self.ids.may_be(parts.server_id()) {
            return None;
        }
        let mut nonce = [0; 18];
        let nonce = nonce.get_mut(..parts.nonce().len())?;
        nonce.copy_from_slice(parts.nonce());
        if let Some(permutation) = &self.permutation {
            permutation.undo(nonce)?;
        }
        nonce.first().copied()
    }

    /// Pretends that a worker has used all but so many.
    #[cfg(test)]
    pub(crate) fn leave(&self, worker: u8, left: u64) {
        self.counts[usize::from(worker)].used.store(self.capacity() - left, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn issuer(key: Option<&[u8; 16]>, nonce_len: usize) -> RoutableIssuer {
        let ids = RoutableIds::new(QuicLb::new(2, 3, nonce_len, key).unwrap(), [1, 2, 3]).unwrap();
        RoutableIssuer::new(ids, 3, &mut Entropy::from_seed([4; 32])).unwrap()
    }

    #[test]
    fn an_id_names_server_and_worker() {
        for (key, nonce_len) in [(None, 4), (None, 16), (Some(&[7; 16]), 4), (Some(&[7; 16]), 13), (Some(&[7; 16]), 16)]
        {
            let (issuer, mut entropy) = (issuer(key, nonce_len), Entropy::from_seed([5; 32]));
            let mut seen = BTreeSet::new();
            for worker in (0..3).cycle().take(3000) {
                let cid = issuer.issue(worker, None, &mut entropy).unwrap();
                assert_eq!((cid.len(), cid[0] >> 5), (4 + nonce_len, 2));
                assert_eq!(issuer.ids.balancer.server_id(&cid), Some(vec![1, 2, 3]));
                assert_eq!(issuer.worker_of(&cid), Some(worker));
                assert!(seen.insert(cid[1..].to_vec()), "twice");
            }
            assert_eq!(issuer.issue(3, None, &mut entropy), None, "there is no such worker");
        }
    }

    /// Draft section 5.3: what is plain must not be linkable: here, that IDs in a row share no more bits
    /// than chance has it.
    #[test]
    fn plain_nonces_tell_nothing() {
        let (issuer, mut entropy) = (issuer(None, 8), Entropy::from_seed([5; 32]));
        let nonces: Vec<[u8; 8]> =
            (0..1000).map(|_| issuer.issue(0, None, &mut entropy).unwrap()[4..].try_into().unwrap()).collect();
        let differing = |pair: &[[u8; 8]]| (u64::from_be_bytes(pair[0]) ^ u64::from_be_bytes(pair[1])).count_ones();
        let mean = nonces.windows(2).map(differing).sum::<u32>() / 999;
        assert!((30..=34).contains(&mean), "{mean} of 64 bits differ");
    }

    #[test]
    fn ids_end() {
        let (issuer, mut entropy) = (issuer(Some(&[7; 16]), 4), Entropy::from_seed([5; 32]));
        issuer.leave(1, 2);
        assert_eq!([0; 3].map(|_| issuer.issue(1, None, &mut entropy).is_some()), [true, true, false]);
        assert!(issuer.issue(0, None, &mut entropy).is_some(), "each worker has its own");
    }

    #[test]
    fn of_another_server_is_of_no_worker() {
        let balancer = QuicLb::new(2, 3, 5, Some(&[7; 16])).unwrap();
        let other = RoutableIds::new(balancer.clone(), [1, 2, 4]).unwrap();
        let other = RoutableIssuer::new(other, 1, &mut Entropy::from_seed([4; 32])).unwrap();
        let cid = other.issue(0, None, &mut Entropy::from_seed([5; 32])).unwrap();
        assert_eq!(issuer(Some(&[7; 16]), 5).worker_of(&cid), None);
        assert!(RoutableIds::new(balancer, [1, 2]).is_err());
    }

    #[test]
    fn an_address_is_a_server() {
        let (balancer, mut entropy) = (QuicLb::new(0, 4, 8, None).unwrap(), Entropy::from_seed([5; 32]));
        assert!(RoutableIds::by_address(QuicLb::new(0, 3, 8, None).unwrap()).is_err());
        let ids = RoutableIds::by_address(balancer.clone()).unwrap();
        let issuer = RoutableIssuer::new(ids, 3, &mut Entropy::from_seed([4; 32])).unwrap();
        for (local, id) in
            [(Some("192.0.2.7"), [192, 0, 2, 7]), (Some("2001:db8::1:203"), [0, 1, 2, 3]), (None, [0; 4])]
        {
            let local = local.map(|local| local.parse().unwrap());
            let cid = issuer.issue(2, local, &mut entropy).unwrap();
            assert_eq!((balancer.server_id(&cid), issuer.worker_of(&cid)), (Some(id.to_vec()), Some(2)));
        }
    }
}
