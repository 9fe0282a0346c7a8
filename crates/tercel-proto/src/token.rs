//! Address validation tokens (RFC 9000 section 8.1): of Retry, for now, and of NEW_TOKEN, for later.
//!
//! A token is sealed, so that only who made it can read it, and bound to the client's address, so
//! that nobody else can use it: address and port for a Retry, the address alone for a later
//! connection, which will come from another port.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use bytes::Bytes;
use tercel_wire::{ConnectionId, DecodeError, Reader, Version};

use crate::congestion::SavedPath;
use crate::entropy::Entropy;

/// How long the token of a Retry is good for: as long as a handshake may take.
pub const RETRY_LIFETIME: Duration = Duration::from_secs(15);

/// How long the token of a NEW_TOKEN frame is good for.
// RFC 9000 sections 8.1.3#3, 8.1.4#6, 21.3#1.
pub const NEW_TOKEN_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// How long a path is remembered that was learnt: it may have other users since.
pub const PATH_LIFETIME: Duration = Duration::from_secs(3600);

/// What a token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
// RFC 9000 section 8.1.1#1.
pub enum Token {
    /// The client was sent a Retry.
    Retry {
        /// The destination connection ID of its first Initial packet.
        original_dcid: ConnectionId,
        /// The source connection ID of the Retry.
        retry_scid: ConnectionId,
    },
    /// The client was connected before.
    New {
        /// What was learnt of its path (RFC 9959).
        path: Option<SavedPath>,
    },
}

/// Why a token is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenError {
    /// It is not one of ours. RFC 9000 section 8.1.3: as if there were none.
    Unknown,
    /// It is of a Retry, and of another address or version, or too old: the connection must be refused with
    /// INVALID_TOKEN (section 8.1.2).
    InvalidRetry,
    /// It is of NEW_TOKEN, and of another address or version, or too old: as if there were none.
    Stale,
}

/// Seals and opens tokens: the first key seals, each can open.
pub struct TokenKeys(Vec<LessSafeKey>);

impl TokenKeys {
    /// Keys of these bytes; `None` only if the crypto library cannot make keys.
    pub fn new(secrets: &[[u8; 32]]) -> Option<Self> {
        secrets.iter().map(key).collect::<Option<_>>().map(Self)
    }

    /// A token for a client, for connections of `version`. `unix_time` is the time since 1970.
    pub fn seal(
        &self,
        token: &Token,
        version: Version,
        client: SocketAddr,
        unix_time: Duration,
        entropy: &mut Entropy,
    ) -> Vec<u8> {
        let mut plain = Vec::with_capacity(64);
        plain.extend_from_slice(&unix_time.as_secs().to_be_bytes());
        plain.extend_from_slice(&version.0.to_be_bytes());
        match token {
            Token::Retry { original_dcid, retry_scid } => {
                plain.push(0);
                plain.extend_from_slice(&client.port().to_be_bytes());
                for id in [original_dcid, retry_scid] {
                    plain.push(id.len() as u8);
                    plain.extend_from_slice(id);
                }
            }
            Token::New { path } => {
                plain.push(1);
                // Without a path as long as with one: nobody is to learn from it.
                let SavedPath { window, rtt } = path.unwrap_or(SavedPath { window: 0, rtt: Duration::ZERO });
                let micros = u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX);
                plain.extend_from_slice(&window.to_be_bytes());
                plain.extend_from_slice(&micros.to_be_bytes());
            }
        }
        // RFC 9000 sections 8.1.3#4#5, 8.1.4#1.
        let nonce: [u8; NONCE_LEN] = entropy.array();
        let aad = Aad::from(address(client.ip()));
        // Sealing fails only for absurd lengths; an empty token is no token.
        let Some(key) = self.0.first() else { return Vec::new() };
        // RFC 9000 section 8.1.4#2#4.
        match key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut plain) {
            Ok(()) => [&nonce[..], &plain].concat(),
            Err(_) => Vec::new(),
        }
    }

    /// What a token that `client` shows in a packet of `version` says.
    ///
    /// # Errors
    /// Why it does not count.
    pub fn open(
        &self,
        token: &[u8],
        version: Version,
        client: SocketAddr,
        unix_time: Duration,
    ) -> Result<Token, TokenError> {
        let (nonce, sealed) = token.split_first_chunk::<NONCE_LEN>().ok_or(TokenError::Unknown)?;
        let plain = self
            .0
            .iter()
            .find_map(|key| {
                let mut sealed = sealed.to_vec();
                let aad = Aad::from(address(client.ip()));
                let nonce = Nonce::assume_unique_for_key(*nonce);
                key.open_in_place(nonce, aad, &mut sealed).ok().map(|plain| plain.to_vec())
            })
            .ok_or(TokenError::Unknown)?;
        decode(&plain, version, client, unix_time)
    }
}

/// How long a client may take it that a server does not look at the fixed bit (RFC 9287 section 3.1).
pub const GREASE_LIFETIME: Duration = Duration::from_secs(604_800);

/// The token of a NEW_TOKEN frame as a client keeps it for a later connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptToken {
    /// The version that it is for (RFC 9369 section 5).
    pub version: Version,
    /// When it came, since 1970.
    pub received: Duration,
    /// Whether the server did not look at the fixed bit then (RFC 9287).
    pub greased: bool,
    /// The token.
    pub token: Bytes,
}

impl KeptToken {
    /// The first byte: how the rest is written.
    const FORMAT: u8 = 1;

    /// As bytes.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = vec![Self::FORMAT, self.greased.into()];
        out.extend_from_slice(&self.version.0.to_be_bytes());
        out.extend_from_slice(&self.received.as_secs().to_be_bytes());
        out.extend_from_slice(&self.token);
        out.into()
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    ///
    /// # Errors
    /// It was written by something else.
    pub fn from_bytes(bytes: &Bytes) -> Result<Self, DecodeError> {
        let malformed = DecodeError::Malformed("kept token");
        let mut reader = Reader::new(bytes);
        if reader.u8()? != Self::FORMAT {
            return Err(malformed);
        }
        let greased = reader.u8()? == 1;
        let version = Version(reader.u32()?);
        let received = Duration::from_secs(u64::from_be_bytes(reader.array()?));
        match reader.rest() {
            [] => Err(malformed),
            token => Ok(Self { version, received, greased, token: bytes.slice_ref(token) }),
        }
    }
}

fn key(secret: &[u8; 32]) -> Option<LessSafeKey> {
    UnboundKey::new(&AES_256_GCM, secret).ok().map(LessSafeKey::new)
}

/// IPv4 addresses in one form, however they came.
fn address(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => Ipv4Addr::to_ipv6_mapped(&ip).octets(),
        IpAddr::V6(ip) => Ipv6Addr::octets(&ip),
    }
}

fn decode(plain: &[u8], version: Version, client: SocketAddr, unix_time: Duration) -> Result<Token, TokenError> {
    let unknown = |_| TokenError::Unknown;
    let mut reader = Reader::new(plain);
    let made = Duration::from_secs(u64::from_be_bytes(reader.array().map_err(unknown)?));
    let age = unix_time.saturating_sub(made);
    // RFC 9369 sections 4.1#2, 5#2: neither kind is good for another version.
    let fits = Version(reader.u32().map_err(unknown)?) == version;
    match reader.u8().map_err(unknown)? {
        0 => {
            let port = reader.u16().map_err(unknown)?;
            let mut id = || -> Result<ConnectionId, DecodeError> {
                let len = reader.u8()?;
                ConnectionId::new(reader.bytes(len.into())?)
            };
            let (original_dcid, retry_scid) = (id().map_err(unknown)?, id().map_err(unknown)?);
            // RFC 9000 section 8.1.4#3#7.
            match fits && port == client.port() && age <= RETRY_LIFETIME {
                true => Ok(Token::Retry { original_dcid, retry_scid }),
                false => Err(TokenError::InvalidRetry),
            }
        }
        _ if fits && age <= NEW_TOKEN_LIFETIME => {
            let mut number = || Ok(u64::from_be_bytes(reader.array().map_err(unknown)?));
            let (window, rtt) = (number()?, Duration::from_micros(number()?));
            let path = (window > 0 && age <= PATH_LIFETIME).then_some(SavedPath { window, rtt });
            Ok(Token::New { path })
        }
        _ => Err(TokenError::Stale),
    }
}

impl std::fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenKeys(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_800_000_000);

    fn retry() -> Token {
        Token::Retry {
            original_dcid: ConnectionId::new(&[1; 20]).unwrap(),
            retry_scid: ConnectionId::new(&[2; 8]).unwrap(),
        }
    }

    #[test]
    // RFC 9000 sections 8.1.1#1, 8.1.3#3, 8.1.4#3#4#6#7, 21.3#1.
    fn who_may_use_a_token_and_when() {
        let key = TokenKeys::new(&[[3; 32]]).unwrap();
        let mut entropy = Entropy::from_seed([0; 32]);
        let client: SocketAddr = "192.0.2.1:1000".parse().unwrap();
        let port: SocketAddr = "192.0.2.1:1001".parse().unwrap();
        let other: SocketAddr = "192.0.2.2:1000".parse().unwrap();
        let mapped: SocketAddr = "[::ffff:192.0.2.1]:1000".parse().unwrap();
        let new = Token::New { path: None };
        let known = Token::New { path: Some(SavedPath { window: 1 << 20, rtt: Duration::from_millis(80) }) };
        let cases = [
            (retry(), client, 15, Ok(retry())),
            (retry(), mapped, 0, Ok(retry())),
            (retry(), client, 16, Err(TokenError::InvalidRetry)),
            (retry(), port, 0, Err(TokenError::InvalidRetry)),
            (retry(), other, 0, Err(TokenError::Unknown)),
            (new, port, 24 * 3600, Ok(new)),
            (new, port, 24 * 3600 + 1, Err(TokenError::Stale)),
            (new, other, 0, Err(TokenError::Unknown)),
            (known, port, 3600, Ok(known)),
            (known, port, 3601, Ok(new)),
        ];
        for (token, shown_by, age, result) in cases {
            for version in Version::SUPPORTED {
                let sealed = key.seal(&token, version, client, NOW, &mut entropy);
                let shown = |version| key.open(&sealed, version, shown_by, NOW + Duration::from_secs(age));
                assert_eq!(shown(version), result, "{token:?} {shown_by} {age}");
                // RFC 9369 sections 4.1#2, 5#2.
                let refused = match token {
                    _ if shown_by.ip() == other.ip() => TokenError::Unknown,
                    Token::Retry { .. } => TokenError::InvalidRetry,
                    Token::New { .. } => TokenError::Stale,
                };
                for another in [Version(0), Version(version.0 ^ 1)] {
                    assert_eq!(shown(another), Err(refused), "{token:?} {another:?}");
                }
            }
        }
    }

    #[test]
    // RFC 9000 section 8.1.4#1#2.
    fn what_was_changed_or_made_up_is_unknown() {
        let key = TokenKeys::new(&[[3; 32]]).unwrap();
        let client: SocketAddr = "192.0.2.1:1000".parse().unwrap();
        let sealed = key.seal(&retry(), Version::V1, client, NOW, &mut Entropy::from_seed([0; 32]));
        for at in 0..sealed.len() {
            for bit in 0..8 {
                let mut changed = sealed.clone();
                changed[at] ^= 1 << bit;
                assert_eq!(key.open(&changed, Version::V1, client, NOW), Err(TokenError::Unknown));
            }
            assert_eq!(key.open(&sealed[..at], Version::V1, client, NOW), Err(TokenError::Unknown));
            assert_eq!(key.open(&vec![at as u8; at], Version::V1, client, NOW), Err(TokenError::Unknown));
        }
        let longer = [&sealed[..], &[0]].concat();
        assert_eq!(key.open(&longer, Version::V1, client, NOW), Err(TokenError::Unknown));
        let forged = TokenKeys::new(&[[4; 32]]).unwrap();
        assert_eq!(forged.open(&sealed, Version::V1, client, NOW), Err(TokenError::Unknown), "of another server");
    }

    #[test]
    fn what_a_client_keeps_is_read_again() {
        for (version, greased) in Version::SUPPORTED.into_iter().flat_map(|version| [(version, false), (version, true)])
        {
            let kept = KeptToken { version, greased, received: NOW, token: Bytes::from_static(b"token") };
            let bytes = kept.to_bytes();
            assert_eq!(KeptToken::from_bytes(&bytes), Ok(kept));
            for len in 0..bytes.len() - b"oken".len() {
                assert!(KeptToken::from_bytes(&bytes.slice(..len)).is_err(), "{len}");
            }
        }
        assert!(KeptToken::from_bytes(&Bytes::from_static(b"a token as it came, of another program")).is_err());
    }

    /// Section 8.1.4: nobody can tell from two tokens that they are of one client.
    #[test]
    // RFC 9000 section 8.1.3#4#5.
    fn tokens_of_one_client_have_nothing_in_common() {
        let key = TokenKeys::new(&[[3; 32]]).unwrap();
        let mut entropy = Entropy::from_seed([0; 32]);
        let client: SocketAddr = "192.0.2.1:1000".parse().unwrap();
        let [one, other] = [(); 2].map(|()| key.seal(&retry(), Version::V1, client, NOW, &mut entropy));
        assert_eq!(one.len(), other.len());
        let same = one.iter().zip(&other).filter(|(a, b)| a == b).count();
        assert!(same < 8, "{same} of {} bytes", one.len());
    }

    #[test]
    fn connection_ids_of_all_lengths_are_carried() {
        let key = TokenKeys::new(&[[3; 32]]).unwrap();
        let mut entropy = Entropy::from_seed([0; 32]);
        let client: SocketAddr = "[2001:db8::1]:1000".parse().unwrap();
        for (original, scid) in (0..=20).flat_map(|original| [0, 1, 20].map(|scid| (original, scid))) {
            let id = |len| ConnectionId::new(&vec![7; len]).unwrap();
            let token = Token::Retry { original_dcid: id(original), retry_scid: id(scid) };
            let sealed = key.seal(&token, Version::V2, client, NOW, &mut entropy);
            assert_eq!(key.open(&sealed, Version::V2, client, NOW), Ok(token));
        }
    }

    #[test]
    fn the_first_key_seals_and_each_opens() {
        let client: SocketAddr = "[2001:db8::1]:1000".parse().unwrap();
        let keys =
            |secrets: &[u8]| TokenKeys::new(&secrets.iter().map(|secret| [*secret; 32]).collect::<Vec<_>>()).unwrap();
        let sealed =
            keys(&[3]).seal(&Token::New { path: None }, Version::V1, client, NOW, &mut Entropy::from_seed([0; 32]));
        for (secrets, result) in [(&[4, 3][..], Ok(Token::New { path: None })), (&[5, 4], Err(TokenError::Unknown))] {
            assert_eq!(keys(secrets).open(&sealed, Version::V1, client, NOW), result);
        }
        let sealed =
            keys(&[4, 3]).seal(&Token::New { path: None }, Version::V1, client, NOW, &mut Entropy::from_seed([0; 32]));
        assert_eq!(keys(&[3]).open(&sealed, Version::V1, client, NOW), Err(TokenError::Unknown));
    }
}
