//! Connection IDs that a load balancer can read (QUIC-LB, draft-ietf-quic-load-balancers-21).
//!
//! Such an ID is one octet that names a configuration, and then a server ID and a nonce, plain or
//! encrypted. Who has the configuration finds the server in the ID, and who has not sees noise.
//! Where both together have 16 bytes they are one block of AES-128; every other length goes through
//! a Feistel network of four rounds, whose round function is the same cipher over one half.
//!
//! Pure: servers encode ([`QuicLb::encode`]), balancers decode ([`QuicLb::decode`]). How a server of
//! ours chooses its nonces is not said here.

use std::sync::Arc;

use aws_lc_rs::cipher::{AES_128, DecryptingKey, DecryptionContext, EncryptingKey, UnboundCipherKey};
use tercel_wire::ConnectionId;

use crate::error::ApiMisuse;

/// The codepoint of connection IDs that no balancer can read (section 3.2).
pub const UNROUTABLE: u8 = 7;

/// The longest server ID and nonce together: an ID of QUIC has 20 bytes at most (section 5.3).
const MAX_PLAIN: usize = 19;

const BLOCK: usize = 16;

/// A QUIC-LB configuration, as balancers and servers share it: all but the server ID. Cheap to clone.
#[derive(Clone)]
pub struct QuicLb {
    rotation: u8,
    server_id_len: usize,
    nonce_len: usize,
    encodes_length: bool,
    cipher: Arc<Cipher>,
}

enum Cipher {
    /// The server ID can be read by anybody.
    Plain,
    /// Section 5.4.1.
    SinglePass(Box<(EncryptingKey, DecryptingKey)>),
    /// Section 5.4.2.
    FourPass(Box<Permutation>),
}

/// What a connection ID says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    plain: [u8; MAX_PLAIN],
    server_id_len: usize,
    len: usize,
}

impl Parts {
    /// The ID of the server that made the connection ID.
    pub fn server_id(&self) -> &[u8] {
        self.plain.get(..self.server_id_len).unwrap_or_default()
    }

    /// What the server told it from others by.
    pub fn nonce(&self) -> &[u8] {
        self.plain.get(self.server_id_len..self.len).unwrap_or_default()
    }
}

impl std::fmt::Debug for QuicLb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QuicLb")
            .field("rotation", &self.rotation)
            .field("server_id_len", &self.server_id_len)
            .field("nonce_len", &self.nonce_len)
            .field("encodes_length", &self.encodes_length)
            .field("encrypted", &self.is_encrypted())
            .finish()
    }
}

impl QuicLb {
    /// A configuration: its codepoint `rotation` (0 to 6), the lengths of server IDs (1 to 15 bytes)
    /// and nonces (4 to 18 bytes), 19 together at most, and the key, without which server IDs can be
    /// read by anybody.
    ///
    /// # Errors
    /// [`ApiMisuse::InvalidArgument`]: a value is out of its range.
    pub fn new(
        rotation: u8,
        server_id_len: usize,
        nonce_len: usize,
        key: Option<&[u8; BLOCK]>,
    ) -> Result<Self, ApiMisuse> {
        if rotation >= UNROUTABLE {
            return Err(ApiMisuse::InvalidArgument("config rotation goes from 0 to 6"));
        }
        let fits = (1..=15).contains(&server_id_len) && (4..=18).contains(&nonce_len);
        if !fits || server_id_len + nonce_len > MAX_PLAIN {
            return Err(ApiMisuse::InvalidArgument(
                "a server ID has 1 to 15 bytes, a nonce 4 to 18, and both together 19 at most",
            ));
        }
        let refused = ApiMisuse::InvalidArgument("the crypto library makes no such key");
        let cipher = match key {
            None => Some(Cipher::Plain),
            Some(key) if server_id_len + nonce_len == BLOCK => single_pass(key),
            Some(key) => Permutation::new(key).map(|permutation| Cipher::FourPass(Box::new(permutation))),
        };
        let cipher = cipher.ok_or(refused)?;
        Ok(Self { rotation, server_id_len, nonce_len, encodes_length: false, cipher: Arc::new(cipher) })
    }

    /// The same, with the length of the ID in the other bits of its first octet, for hardware that
    /// wants to see it there (section 3.3); otherwise these bits are random.
    #[must_use]
    pub fn with_length(self) -> Self {
        Self { encodes_length: true, ..self }
    }

    /// The codepoint of this configuration.
    pub const fn rotation(&self) -> u8 {
        self.rotation
    }

    /// Whether there is a key.
    pub fn is_encrypted(&self) -> bool {
        !matches!(*self.cipher, Cipher::Plain)
    }

    /// The length of a server ID, in bytes.
    pub const fn server_id_len(&self) -> usize {
        self.server_id_len
    }

    /// The length of a nonce, in bytes.
    pub const fn nonce_len(&self) -> usize {
        self.nonce_len
    }

    /// The length of connection IDs, in bytes.
    pub const fn cid_len(&self) -> usize {
        1 + self.plain_len()
    }

    const fn plain_len(&self) -> usize {
        self.server_id_len + self.nonce_len
    }

    /// The connection ID of `server_id` and `nonce`, which is to be used once. `random` fills the bits
    /// of the first octet that say nothing. `None` if a length is not that of the configuration.
    pub fn encode(&self, server_id: &[u8], nonce: &[u8], random: u8) -> Option<ConnectionId> {
        if (server_id.len(), nonce.len()) != (self.server_id_len, self.nonce_len) {
            return None;
        }
        let mut bytes = [0; 1 + MAX_PLAIN];
        let (first, rest) = bytes.split_first_mut()?;
        *first = first_octet(self.rotation, if self.encodes_length { self.plain_len() as u8 } else { random });
        let plain = rest.get_mut(..self.plain_len())?;
        let (server, unique) = plain.split_at_mut(self.server_id_len);
        server.copy_from_slice(server_id);
        unique.copy_from_slice(nonce);
        match &*self.cipher {
            Cipher::Plain => {}
            Cipher::SinglePass(keys) => drop(keys.0.encrypt(plain).ok()?),
            Cipher::FourPass(permutation) => permutation.apply(plain)?,
        }
        ConnectionId::new(bytes.get(..self.cid_len())?).ok()
    }

    /// What `cid`, or what begins with it, says, if it can be of this configuration: it names its codepoint,
    /// and is long enough. Any such ID can be decoded, a client's invention, too: whether the server ID is one of
    /// those that were given out, the caller knows.
    pub fn decode(&self, cid: &[u8]) -> Option<Parts> {
        let (first, rest) = cid.split_first()?;
        let len = self.plain_len();
        let read = rest.get(..len)?;
        // Section 4.1: where the length is encoded it must be enough. What follows in a packet is not known
        // to be of the ID or not.
        let is_odd = self.encodes_length && usize::from(first & 0x1f) < len;
        if first >> 5 != self.rotation || is_odd {
            return None;
        }
        let mut parts = Parts { plain: [0; MAX_PLAIN], server_id_len: self.server_id_len, len };
        let plain = parts.plain.get_mut(..len)?;
        plain.copy_from_slice(read);
        match &*self.cipher {
            Cipher::Plain => {}
            Cipher::SinglePass(keys) => drop(keys.1.decrypt(plain, DecryptionContext::None).ok()?),
            Cipher::FourPass(permutation) => permutation.undo(plain)?,
        }
        Some(parts)
    }

    /// The server ID in `cid`; see [`decode`](Self::decode). With this a balancer can be tested.
    pub fn server_id(&self, cid: &[u8]) -> Option<Vec<u8>> {
        self.decode(cid).map(|parts| parts.server_id().to_vec())
    }
}

/// The first octet: a codepoint, and five bits of something else.
pub const fn first_octet(rotation: u8, rest: u8) -> u8 {
    rotation << 5 | rest & 0x1f
}

fn single_pass(key: &[u8; BLOCK]) -> Option<Cipher> {
    let unbound = || UnboundCipherKey::new(&AES_128, key).ok();
    Some(Cipher::SinglePass(Box::new((EncryptingKey::ecb(unbound()?).ok()?, DecryptingKey::ecb(unbound()?).ok()?))))
}

/// A keyed permutation of the byte strings of a length from 2 to 19: four rounds of AES-128 (section
/// 5.4.2).
pub struct Permutation(EncryptingKey);

impl Permutation {
    /// That of `key`; `None` only if the crypto library cannot make keys.
    pub fn new(key: &[u8; BLOCK]) -> Option<Self> {
        EncryptingKey::ecb(UnboundCipherKey::new(&AES_128, key).ok()?).ok().map(Self)
    }

    /// Permutes; `None` if the length is out of its range.
    pub fn apply(&self, bytes: &mut [u8]) -> Option<()> {
        self.network(bytes.len())?.encrypt(bytes)
    }

    /// The way back.
    pub fn undo(&self, bytes: &mut [u8]) -> Option<()> {
        self.network(bytes.len())?.decrypt(bytes)
    }

    fn network(&self, len: usize) -> Option<Feistel<'_>> {
        (2..=MAX_PLAIN).contains(&len).then_some(Feistel { encrypt: &self.0, len })
    }
}

/// The rounds for one length. An odd length is cut in the middle of a byte.
struct Feistel<'a> {
    encrypt: &'a EncryptingKey,
    len: usize,
}

type Half = [u8; MAX_PLAIN.div_ceil(2)];

impl Feistel<'_> {
    const fn half(&self) -> usize {
        self.len.div_ceil(2)
    }

    const fn is_odd(&self) -> bool {
        self.len % 2 == 1
    }

    fn encrypt(&self, bytes: &mut [u8]) -> Option<()> {
        let (mut left, mut right) = self.split(bytes)?;
        self.round(1, &left, &mut right, false)?;
        self.round(2, &right, &mut left, true)?;
        self.round(3, &left, &mut right, false)?;
        self.round(4, &right, &mut left, true)?;
        self.join(&left, &right, bytes)
    }

    fn decrypt(&self, bytes: &mut [u8]) -> Option<()> {
        let (mut left, mut right) = self.split(bytes)?;
        self.round(4, &right, &mut left, true)?;
        self.round(3, &left, &mut right, false)?;
        self.round(2, &right, &mut left, true)?;
        self.round(1, &left, &mut right, false)?;
        self.join(&left, &right, bytes)
    }

    fn split(&self, bytes: &[u8]) -> Option<(Half, Half)> {
        let (mut left, mut right) = (Half::default(), Half::default());
        left.get_mut(..self.half())?.copy_from_slice(bytes.get(..self.half())?);
        right.get_mut(..self.half())?.copy_from_slice(bytes.get(self.len - self.half()..)?);
        self.trim(&mut left, true);
        self.trim(&mut right, false);
        Some((left, right))
    }

    fn join(&self, left: &Half, right: &Half, bytes: &mut [u8]) -> Option<()> {
        bytes.get_mut(..self.half())?.copy_from_slice(left.get(..self.half())?);
        let (first, rest) = right.get(..self.half())?.split_first()?;
        let from = self.len - self.half();
        // The middle byte of an odd length is of both.
        let middle = bytes.get_mut(from)?;
        *middle = if self.is_odd() { *middle | first } else { *first };
        bytes.get_mut(from + 1..)?.copy_from_slice(rest);
        Some(())
    }

    /// What `from` makes of `to` in this pass.
    fn round(&self, pass: u8, from: &Half, to: &mut Half, to_left: bool) -> Option<()> {
        let mut block = [0; BLOCK];
        block.get_mut(..self.half())?.copy_from_slice(from.get(..self.half())?);
        [block[BLOCK - 2], block[BLOCK - 1]] = [self.len as u8, pass];
        drop(self.encrypt.encrypt(&mut block).ok()?);
        to.iter_mut().zip(block).take(self.half()).for_each(|(to, mask)| *to ^= mask);
        self.trim(to, to_left);
        Some(())
    }

    /// Of an odd length half a byte belongs to the other side.
    fn trim(&self, half: &mut Half, is_left: bool) {
        if self.is_odd() {
            match is_left {
                true => half[self.half() - 1] &= 0xf0,
                false => half[0] &= 0x0f,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    fn key(hex: &str) -> [u8; BLOCK] {
        bytes(hex).try_into().unwrap()
    }

    fn check(rotation: u8, key: Option<&[u8; BLOCK]>, server_id: &str, nonce: &str, cid: &str) {
        let (server_id, nonce, cid) = (bytes(server_id), bytes(nonce), bytes(cid));
        let lb = QuicLb::new(rotation, server_id.len(), nonce.len(), key).unwrap().with_length();
        let encoded = lb.encode(&server_id, &nonce, 0).unwrap();
        assert_eq!(encoded.as_slice(), cid);
        assert_eq!(lb.server_id(&cid), Some(server_id));
        assert_eq!(lb.decode(&cid).unwrap().nonce(), nonce);
    }

    /// Appendix B.1. Its second row lacks a digit.
    #[test]
    fn the_plain_id_of_the_draft() {
        check(0, None, "c4605e", "4504cc4f", "07c4605e4504cc4f");
    }

    /// Appendix B.2. The table's last row says rotation 3, its ID is of 0.
    #[test]
    fn the_encrypted_ids_of_the_draft() {
        let key = key("8f95f09245765f80256934e50c66207f");
        check(0, Some(&key), "ed793a", "ee080dbf", "0720b1d07b359d3c");
        check(1, Some(&key), "ed793a51d49b8f5fab65", "ee080dbf48", "2fcc381bc74cb4fbad2823a3d1f8fed2");
        check(2, Some(&key), "ed793a51d49b8f5f", "ee080dbf48c0d1e5", "504dd2d05a7b0de9b2b9907afb5ecf8cc3");
        check(0, Some(&key), "ed793a51d49b8f5fab", "ee080dbf48c0d1e55d", "125779c9cc86beb3a3a4a3ca96fce4bfe0cdbc");
    }

    /// The example of section 5.4.2, of an odd length.
    #[test]
    fn the_example_of_the_draft() {
        let key = key("fdf726a9893ec05c0632d3956680baf0");
        check(0, Some(&key), "31441a", "9c69c275", "0767947d29be054a");
    }

    #[test]
    fn a_permutation_of_every_length_and_of_no_other() {
        let permutation = Permutation::new(&[3; BLOCK]).unwrap();
        for len in 0..=30 {
            let mut bytes = vec![0x5a; len];
            assert_eq!(permutation.apply(&mut bytes).is_some(), (2..=19).contains(&len), "{len}");
            assert!(bytes != vec![0x5a; len] || !(2..=19).contains(&len));
            permutation.undo(&mut bytes);
            assert_eq!(bytes, vec![0x5a; len]);
        }
        let mut seen: std::collections::BTreeSet<[u8; 2]> = std::collections::BTreeSet::new();
        for value in 0..=u16::MAX {
            let mut bytes = value.to_be_bytes();
            permutation.apply(&mut bytes).unwrap();
            assert!(seen.insert(bytes), "{value} meets another");
        }
    }

    proptest! {
        /// Every length there and back; another server or nonce makes another ID.
        #[test]
        fn every_id_can_be_read(
            server_id_len in 1usize..=15,
            nonce_len in 4usize..=18,
            is_encrypted in any::<bool>(),
            fill in any::<[u8; 38]>(),
        ) {
            prop_assume!(server_id_len + nonce_len <= MAX_PLAIN);
            let lb = QuicLb::new(5, server_id_len, nonce_len, is_encrypted.then_some(&[9; BLOCK])).unwrap();
            let (server_id, rest) = fill.split_at(server_id_len);
            let nonce = &rest[..nonce_len];
            let cid = lb.encode(server_id, nonce, 0xff).unwrap();
            prop_assert_eq!((cid.len(), cid[0]), (lb.cid_len(), 0b1011_1111));
            let parts = lb.decode(&cid).unwrap();
            prop_assert_eq!((parts.server_id(), parts.nonce()), (server_id, nonce));
            let mut other = nonce.to_vec();
            other[0] ^= 1;
            prop_assert_ne!(lb.encode(server_id, &other, 0xff).unwrap(), cid);
        }

        /// Bytes of a stranger are read or not, whatever they are.
        #[test]
        fn nothing_that_arrives_does_harm(cid in proptest::collection::vec(any::<u8>(), 0..=20)) {
            for (key, server_id_len) in [(None, 3), (Some(&[1; BLOCK]), 3), (Some(&[1; BLOCK]), 12)] {
                let lb = QuicLb::new(0, server_id_len, 4, key).unwrap();
                prop_assert_eq!(lb.decode(&cid).is_some(), cid.len() >= lb.cid_len() && cid[0] < 0x20);
            }
        }
    }

    #[test]
    fn what_is_out_of_range_is_refused() {
        for (rotation, server_id_len, nonce_len) in
            [(7, 3, 4), (8, 3, 4), (0, 0, 4), (0, 16, 4), (0, 3, 3), (0, 1, 19), (0, 15, 5), (0, usize::MAX, 4)]
        {
            assert!(QuicLb::new(rotation, server_id_len, nonce_len, None).is_err());
        }
        let lb = QuicLb::new(6, 15, 4, None).unwrap().with_length();
        assert_eq!(lb.encode(&[0; 14], &[0; 4], 0), None);
        assert_eq!(lb.encode(&[0; 15], &[0; 5], 0), None);
        let cid = lb.encode(&[1; 15], &[2; 4], 0).unwrap();
        assert_eq!(lb.server_id(&cid[..19]), None, "cut off");
        let packet = [&cid[..], &[7; 30]].concat();
        assert_eq!(lb.server_id(&packet), Some(vec![1; 15]), "as a balancer sees it, its end unknown");
        assert!(!format!("{lb:?}").contains('['), "keys are not for logs");
    }
}
