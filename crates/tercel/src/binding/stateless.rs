//! Datagrams that belong to no connection here, and what a worker does about them without keeping
//! any state: nothing that it sends is larger than what it received, and resets are rationed.

use std::time::Duration;

use tercel_proto::entropy::Entropy;
use tercel_proto::stateless::{reset, retry, version_negotiation};
use tercel_proto::time::Time;
use tercel_proto::token::{Token, TokenError, TokenKey};
use tercel_wire::packet::invariant::LongHeader;
use tercel_wire::{ConnectionId, Reader, ResetToken, Version};

use crate::registration::RetryPolicy;

/// The least that a client's first datagram must have (RFC 9000 section 14.1), in bytes.
const MIN_FIRST_DATAGRAM: usize = 1200;

/// The least that a client's first destination connection ID must have (section 7.2), in bytes.
const MIN_FIRST_DCID: usize = 8;

/// What to do about a datagram with a long header and no connection.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Nothing.
    Drop,
    /// Nothing, because too many handshakes are under way.
    Refuse,
    /// Send this.
    Send(Vec<u8>),
    /// Begin a connection.
    Begin(FirstFlight),
}

/// What the first datagram of a connection says.
#[derive(Debug)]
pub(crate) struct FirstFlight {
    pub(crate) version: Version,
    pub(crate) dcid: ConnectionId,
    pub(crate) scid: ConnectionId,
    /// From the token of our Retry.
    pub(crate) original_dcid: Option<ConnectionId>,
    /// Whether a token proved the client's address.
    pub(crate) validated: bool,
}

/// What a worker knows when a first datagram comes.
pub(crate) struct Situation<'a> {
    pub(crate) now: Time,
    pub(crate) remote: std::net::SocketAddr,
    pub(crate) tokens: &'a TokenKey,
    /// The versions that connections may begin with.
    pub(crate) versions: &'a [Version],
    pub(crate) retry: RetryPolicy,
    pub(crate) half_open: usize,
    pub(crate) max_half_open: usize,
}

/// What to do about `datagram`, which begins with `header`. `retry_scid` makes the connection ID of a
/// Retry.
pub(crate) fn first_datagram(
    datagram: &[u8],
    header: &LongHeader<'_>,
    situation: &Situation<'_>,
    entropy: &mut Entropy,
    retry_scid: impl FnOnce(&mut Entropy) -> ConnectionId,
) -> Answer {
    let version = header.version;
    if !situation.versions.contains(&version) {
        let answer = version_negotiation::respond(header, datagram.len(), situation.versions, entropy);
        return answer.map_or(Answer::Drop, Answer::Send);
    }
    if !header.is_initial() || datagram.len() < MIN_FIRST_DATAGRAM {
        return Answer::Drop;
    }
    if situation.half_open >= situation.max_half_open {
        return Answer::Refuse;
    }
    let (Ok(dcid), Ok(scid), Some(token)) =
        (ConnectionId::new(header.dcid), ConnectionId::new(header.scid), token_of(datagram))
    else {
        return Answer::Drop;
    };
    let known = match token {
        [] => Err(TokenError::Unknown),
        token => situation.tokens.open(token, version, situation.remote, unix_time(situation.now)),
    };
    let mut first = FirstFlight { version, dcid, scid, original_dcid: None, validated: true };
    match known {
        Ok(Token::Retry { original_dcid, retry_scid }) if retry_scid == dcid => {
            first.original_dcid = Some(original_dcid);
            return Answer::Begin(first);
        }
        Ok(Token::New) if dcid.len() >= MIN_FIRST_DCID => return Answer::Begin(first),
        // A client accepts one Retry only: another would not help it.
        Ok(Token::Retry { .. }) | Err(TokenError::InvalidRetry) => return Answer::Drop,
        _ if dcid.len() < MIN_FIRST_DCID => return Answer::Drop,
        _ => first.validated = false,
    }
    let demand = match situation.retry {
        RetryPolicy::Never => false,
        RetryPolicy::Always => true,
        RetryPolicy::Above(limit) => situation.half_open >= limit,
    };
    if !demand {
        return Answer::Begin(first);
    }
    let retry_scid = retry_scid(entropy);
    let token = Token::Retry { original_dcid: dcid, retry_scid };
    let token = situation.tokens.seal(&token, version, situation.remote, unix_time(situation.now), entropy);
    retry::respond(version, &scid, &dcid, &retry_scid, &token).map_or(Answer::Drop, Answer::Send)
}

/// The token of an Initial packet.
fn token_of(datagram: &[u8]) -> Option<&[u8]> {
    let (_, mut reader): (_, Reader<'_>) = LongHeader::decode(datagram).ok()?;
    reader.length_prefixed().ok()
}

/// The clock of workers counts from 1970.
pub(crate) fn unix_time(now: Time) -> Duration {
    now.since(Time::ZERO)
}

/// Rations stateless resets: so many in a second, and that many at once after a quiet second.
pub(crate) struct Resets {
    per_second: u32,
    left: u32,
    since: Time,
}

impl Resets {
    pub(crate) fn new(per_second: u32, now: Time) -> Self {
        Self { per_second, left: per_second, since: now }
    }

    /// The stateless reset with `token` in answer to a datagram of `len` bytes, if one may be sent.
    pub(crate) fn answer(
        &mut self,
        now: Time,
        token: impl FnOnce() -> ResetToken,
        len: usize,
        entropy: &mut Entropy,
    ) -> Option<Vec<u8>> {
        if now.since(self.since) >= Duration::from_secs(1) {
            *self = Self::new(self.per_second, now);
        }
        self.left = self.left.checked_sub(1)?;
        reset::respond(token(), len, entropy)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tercel_wire::Writer;

    use super::*;

    fn initial(version: Version, dcid: &[u8], token: &[u8], len: usize) -> Vec<u8> {
        let mut datagram = vec![0; len.max(64)];
        let mut writer = Writer::new(&mut datagram);
        writer.u8(if version == Version::V2 { 0xd0 } else { 0xc0 });
        writer.u32(version.0);
        writer.u8(dcid.len() as u8);
        writer.bytes(dcid);
        writer.u8(4);
        writer.bytes(&[9; 4]);
        writer.length_prefixed(token);
        datagram.truncate(len);
        datagram
    }

    struct Fixture {
        tokens: TokenKey,
        versions: Vec<Version>,
        entropy: Entropy,
        retry: RetryPolicy,
        half_open: usize,
        now: Time,
        remote: SocketAddr,
    }

    impl Fixture {
        fn new(retry: RetryPolicy) -> Self {
            Self {
                tokens: TokenKey::new(&[5; 32]).unwrap(),
                versions: Version::SUPPORTED.to_vec(),
                entropy: Entropy::from_seed([0; 32]),
                retry,
                half_open: 0,
                now: Time::ZERO + Duration::from_secs(1_700_000_000),
                remote: "192.0.2.1:4433".parse().unwrap(),
            }
        }

        fn answer(&mut self, datagram: &[u8]) -> Answer {
            let (header, _) = LongHeader::decode(datagram).unwrap();
            let situation = Situation {
                now: self.now,
                remote: self.remote,
                tokens: &self.tokens,
                versions: &self.versions,
                retry: self.retry,
                half_open: self.half_open,
                max_half_open: 10,
            };
            first_datagram(datagram, &header, &situation, &mut self.entropy, |_| ConnectionId::new(&[7; 9]).unwrap())
        }
    }

    #[test]
    fn nothing_is_sent_for_what_is_too_small() {
        let mut fixture = Fixture::new(RetryPolicy::Always);
        for version in [Version::V1, Version(0x1a2a_3a4a), Version::NEGOTIATION] {
            assert!(matches!(fixture.answer(&initial(version, &[1; 8], b"", 1199)), Answer::Drop), "{version:?}");
        }
        assert!(matches!(fixture.answer(&initial(Version::V1, &[1; 7], b"", 1200)), Answer::Drop));
        let Answer::Send(negotiation) = fixture.answer(&initial(Version(0x1a2a_3a4a), &[1; 30], b"", 1200)) else {
            panic!()
        };
        assert!(negotiation.len() < 1200);
    }

    #[test]
    fn what_a_server_does_not_take_it_is_asked_for_in_vain() {
        for taken in Version::SUPPORTED {
            let mut fixture = Fixture::new(RetryPolicy::Never);
            fixture.versions = vec![taken];
            for version in Version::SUPPORTED {
                let answer = fixture.answer(&initial(version, &[1; 8], b"", 1200));
                match version == taken {
                    true => assert!(matches!(answer, Answer::Begin(first) if first.version == version)),
                    false => assert!(matches!(answer, Answer::Send(_))),
                }
            }
        }
    }

    #[test]
    fn a_retry_is_accepted_from_where_it_was_sent_to() {
        Version::SUPPORTED.into_iter().for_each(a_retry_of);
    }

    fn a_retry_of(version: Version) {
        let [other] = Version::SUPPORTED.into_iter().filter(|other| *other != version).collect::<Vec<_>>()[..] else {
            panic!()
        };
        let mut fixture = Fixture::new(RetryPolicy::Above(3));
        let first = initial(version, &[1; 8], b"", 1200);
        assert!(matches!(fixture.answer(&first), Answer::Begin(FirstFlight { validated: false, .. })));
        fixture.half_open = 3;
        let Answer::Send(retry) = fixture.answer(&first) else { panic!() };
        let mut bytes = bytes::BytesMut::from(&retry[..]);
        let Ok(tercel_wire::packet::FirstPacket::Retry(retry)) =
            tercel_wire::packet::Protected::split_first(&mut bytes, 4)
        else {
            panic!()
        };
        assert_eq!(retry.dcid.as_slice(), [9; 4]);
        let again = initial(version, &retry.scid, &retry.token, 1200);
        let Answer::Begin(begun) = fixture.answer(&again) else { panic!() };
        assert!(begun.validated);
        assert_eq!(begun.original_dcid, Some(ConnectionId::new(&[1; 8]).unwrap()));
        // RFC 9369 section 4.1: a client must not change the version behind a Retry.
        assert_eq!(retry.version, version);
        assert!(matches!(fixture.answer(&initial(other, &retry.scid, &retry.token, 1200)), Answer::Drop));
        // Another destination, another address, too late, too many.
        assert!(matches!(fixture.answer(&initial(version, &[1; 8], &retry.token, 1200)), Answer::Drop));
        fixture.remote.set_port(1);
        assert!(!matches!(fixture.answer(&again), Answer::Begin(_)));
        fixture.remote.set_port(4433);
        fixture.half_open = 10;
        assert!(matches!(fixture.answer(&again), Answer::Refuse));
        fixture.half_open = 0;
        fixture.now += Duration::from_secs(60);
        assert!(matches!(fixture.answer(&again), Answer::Drop));
    }

    #[test]
    fn a_token_of_an_earlier_connection_saves_the_retry() {
        let mut fixture = Fixture::new(RetryPolicy::Always);
        let seal = |fixture: &mut Fixture, remote: &str| {
            let (remote, now) = (remote.parse().unwrap(), unix_time(fixture.now));
            fixture.tokens.seal(&Token::New, Version::V1, remote, now, &mut fixture.entropy)
        };
        // From the same address and another port.
        let token = seal(&mut fixture, "192.0.2.1:1");
        let answer = fixture.answer(&initial(Version::V1, &[1; 8], &token, 1200));
        assert!(matches!(answer, Answer::Begin(FirstFlight { validated: true, original_dcid: None, .. })));
        // RFC 9369 section 5.
        assert!(matches!(fixture.answer(&initial(Version::V2, &[1; 8], &token, 1200)), Answer::Send(_)));
        let token = seal(&mut fixture, "192.0.2.2:4433");
        assert!(matches!(fixture.answer(&initial(Version::V1, &[1; 8], &token, 1200)), Answer::Send(_)));
    }

    #[test]
    fn resets_are_rationed_and_smaller_than_their_cause() {
        let mut entropy = Entropy::from_seed([0; 32]);
        let now = Time::from_nanos(5);
        let mut resets = Resets::new(3, now);
        let sent = |resets: &mut Resets, now, entropy: &mut Entropy| {
            (0..10).filter_map(|_| resets.answer(now, || ResetToken([1; 16]), 100, entropy)).collect::<Vec<_>>()
        };
        let first = sent(&mut resets, now, &mut entropy);
        assert_eq!(first.len(), 3);
        assert!(first.iter().all(|reset| reset.len() < 100 && reset.ends_with(&[1; 16])));
        assert_eq!(sent(&mut resets, now + Duration::from_millis(999), &mut entropy).len(), 0);
        assert_eq!(sent(&mut resets, now + Duration::from_secs(1), &mut entropy).len(), 3);
    }
}
