//! Datagrams that belong to no connection here, and what a worker does about them without keeping
//! any state: nothing that it sends is larger than what it received, and all of it is rationed.

use std::time::Duration;

use tercel_proto::congestion::SavedPath;
use tercel_proto::entropy::Entropy;
use tercel_proto::stateless::{refusal, retry, version_negotiation};
use tercel_proto::time::Time;
use tercel_proto::token::{Token, TokenError, TokenKeys};
use tercel_wire::packet::invariant::LongHeader;
use tercel_wire::{ConnectionId, Reader, TransportErrorCode, Version};

use super::ration::Rations;
use super::token_uses::TokenUses;
use crate::worker::Demand;

/// The least that a client's first datagram must have (RFC 9000 section 14.1), in bytes.
const MIN_FIRST_DATAGRAM: usize = 1200;

/// The least that a client's first destination connection ID must have (section 7.2), in bytes.
// RFC 9000 section 7.2#1.
const MIN_FIRST_DCID: usize = 8;

/// What to do about a datagram with a long header and no connection.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Nothing.
    Drop,
    /// Nothing, because there were too many answers of its kind.
    Withhold,
    /// Send this Version Negotiation packet.
    NegotiateVersion(Vec<u8>),
    /// Send this Retry.
    Retry(Vec<u8>),
    /// The client is not let in. Send this, which says so, unless there were too many of its kind.
    Refuse(Option<Vec<u8>>),
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
    /// What the token says of the path. It serves one connection only (RFC 9959), for the token does.
    pub(crate) path: Option<SavedPath>,
}

/// What a worker knows when a first datagram comes.
pub(crate) struct Situation<'a> {
    pub(crate) now: Time,
    pub(crate) remote: std::net::SocketAddr,
    pub(crate) tokens: &'a TokenKeys,
    /// The tokens that were shown before.
    pub(crate) uses: &'a TokenUses,
    /// The versions that connections may begin with.
    pub(crate) versions: &'a [Version],
    /// What the load asks of those who come next.
    pub(crate) demand: Demand,
    pub(crate) rations: &'a mut Rations,
}

/// What to do about `datagram`, which begins with `header`. `own_scid` makes a connection ID that is used
/// once.
// RFC 9001 section 4.7#1: by Retry.
pub(crate) fn first_datagram(
    datagram: &[u8],
    header: &LongHeader<'_>,
    situation: &mut Situation<'_>,
    entropy: &mut Entropy,
    own_scid: impl FnOnce(&mut Entropy) -> ConnectionId,
) -> Answer {
    let (now, uses, rations) = (situation.now, situation.uses, &mut *situation.rations);
    let version = header.version;
    // RFC 9000 sections 5.2.2#1#3, 17.2.1#6.
    if !situation.versions.contains(&version) {
        return match version_negotiation::respond(header, datagram.len(), situation.versions, entropy) {
            None => Answer::Drop,
            Some(answer) if rations.version_negotiations.take(now) => Answer::NegotiateVersion(answer),
            Some(_) => Answer::Withhold,
        };
    }
    // RFC 9000 sections 5.2.2#5#6, 14.1#3.
    if !header.is_initial() || datagram.len() < MIN_FIRST_DATAGRAM {
        return Answer::Drop;
    }
    let (Ok(dcid), Ok(scid), Some(token)) =
        (ConnectionId::new(header.dcid), ConnectionId::new(header.scid), token_of(datagram))
    else {
        return Answer::Drop;
    };
    let client = scid;
    let mut refuse = |code, entropy: &mut Entropy| {
        let may = rations.refusals.take(now);
        let answer = |entropy: &mut Entropy| {
            // Any will do: the client never sends to it.
            let scid = ConnectionId::new(&entropy.array::<8>()).ok()?;
            refusal::respond(header.version, &client, &dcid, &scid, code)
        };
        Answer::Refuse(may.then(|| answer(entropy)).flatten())
    };
    if situation.demand == Demand::Refuse {
        // RFC 9000 section 5.2.2.
        return refuse(TransportErrorCode::CONNECTION_REFUSED, entropy);
    }
    // RFC 9000 section 8.1.3#10.
    let known = match token {
        [] => Err(TokenError::Unknown),
        token => situation.tokens.open(token, version, situation.remote, unix_time(now)),
    };
    let mut first = FirstFlight { version, dcid, scid, original_dcid: None, validated: true, path: None };
    match known {
        Ok(Token::Retry { original_dcid, retry_scid }) if retry_scid == dcid => {
            first.original_dcid = Some(original_dcid);
            return Answer::Begin(first);
        }
        // RFC 9000 sections 8.1.3#12, 8.1.4#8.
        Ok(Token::New { path }) if dcid.len() >= MIN_FIRST_DCID && is_first(token, uses, now) => {
            first.path = path;
            return Answer::Begin(first);
        }
        // RFC 9000 section 8.1.2: a client accepts one Retry only, so another would not help it.
        Ok(Token::Retry { .. }) | Err(TokenError::InvalidRetry) => {
            // RFC 9000 section 8.1.2#2.
            return refuse(TransportErrorCode::INVALID_TOKEN, entropy);
        }
        _ if dcid.len() < MIN_FIRST_DCID => return Answer::Drop,
        // RFC 9000 sections 8.1.3#11, 8.1.4#5.
        _ => first.validated = false,
    }
    if situation.demand == Demand::Nothing {
        return Answer::Begin(first);
    }
    if !rations.retries.take(now) {
        return Answer::Withhold;
    }
    // RFC 9000 section 17.2.5.1#1.
    let retry_scid = own_scid(entropy);
    let token = Token::Retry { original_dcid: dcid, retry_scid };
    let token = situation.tokens.seal(&token, version, situation.remote, unix_time(now), entropy);
    // RFC 9369 section 4.1#1.
    retry::respond(version, &scid, &dcid, &retry_scid, &token).map_or(Answer::Drop, Answer::Retry)
}

fn is_first(token: &[u8], uses: &TokenUses, now: Time) -> bool {
    token.first_chunk().is_some_and(|token| uses.is_first(*token, now))
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
        tokens: TokenKeys,
        uses: TokenUses,
        versions: Vec<Version>,
        entropy: Entropy,
        demand: Demand,
        rations: Rations,
        now: Time,
        remote: SocketAddr,
    }

    impl Fixture {
        fn new(demand: Demand) -> Self {
            let now = Time::ZERO + Duration::from_secs(1_700_000_000);
            Self {
                tokens: TokenKeys::new(&[[5; 32]]).unwrap(),
                uses: TokenUses::default(),
                versions: Version::SUPPORTED.to_vec(),
                entropy: Entropy::from_seed([0; 32]),
                demand,
                rations: Rations::new(&crate::registration::RegistrationConfig::default(), now),
                now,
                remote: "192.0.2.1:4433".parse().unwrap(),
            }
        }

        fn answer(&mut self, datagram: &[u8]) -> Answer {
            let (header, _) = LongHeader::decode(datagram).unwrap();
            let mut situation = Situation {
                now: self.now,
                remote: self.remote,
                tokens: &self.tokens,
                uses: &self.uses,
                versions: &self.versions,
                demand: self.demand,
                rations: &mut self.rations,
            };
            first_datagram(datagram, &header, &mut situation, &mut self.entropy, |_| {
                ConnectionId::new(&[7; 9]).unwrap()
            })
        }
    }

    #[test]
    // RFC 9000 sections 5.2.2#2#6, 7.2#1, 14.1#3.
    fn nothing_is_sent_for_what_is_too_small() {
        let mut fixture = Fixture::new(Demand::Proof);
        for version in [Version::V1, Version(0x1a2a_3a4a), Version::NEGOTIATION] {
            assert!(matches!(fixture.answer(&initial(version, &[1; 8], b"", 1199)), Answer::Drop), "{version:?}");
        }
        assert!(matches!(fixture.answer(&initial(Version::V1, &[1; 7], b"", 1200)), Answer::Drop));
        let Answer::NegotiateVersion(negotiation) = fixture.answer(&initial(Version(0x1a2a_3a4a), &[1; 30], b"", 1200))
        else {
            panic!()
        };
        assert!(negotiation.len() < 1200);
    }

    #[test]
    fn what_a_server_does_not_take_it_is_asked_for_in_vain() {
        for taken in Version::SUPPORTED {
            let mut fixture = Fixture::new(Demand::Nothing);
            fixture.versions = vec![taken];
            for version in Version::SUPPORTED {
                let answer = fixture.answer(&initial(version, &[1; 8], b"", 1200));
                match version == taken {
                    true => assert!(matches!(answer, Answer::Begin(first) if first.version == version)),
                    false => assert!(matches!(answer, Answer::NegotiateVersion(_))),
                }
            }
        }
    }

    #[test]
    // RFC 9000 sections 8.1.2#2, 8.1.3#10, 8.1.4#3#7, 17.2.5.1#1. RFC 9001 section 4.7#1.
    // RFC 9369 section 4.1#1#2.
    fn a_retry_is_accepted_from_where_it_was_sent_to() {
        Version::SUPPORTED.into_iter().for_each(a_retry_of);
    }

    fn a_retry_of(version: Version) {
        let [other] = Version::SUPPORTED.into_iter().filter(|other| *other != version).collect::<Vec<_>>()[..] else {
            panic!()
        };
        let mut fixture = Fixture::new(Demand::Nothing);
        let first = initial(version, &[1; 8], b"", 1200);
        assert!(matches!(fixture.answer(&first), Answer::Begin(FirstFlight { validated: false, .. })));
        fixture.demand = Demand::Proof;
        let Answer::Retry(retry) = fixture.answer(&first) else { panic!() };
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
        let changed = fixture.answer(&initial(other, &retry.scid, &retry.token, 1200));
        assert!(matches!(changed, Answer::Refuse(Some(_))));
        // Another destination, another address, too late, too many.
        assert!(matches!(fixture.answer(&initial(version, &[1; 8], &retry.token, 1200)), Answer::Refuse(Some(_))));
        fixture.remote.set_port(1);
        assert!(!matches!(fixture.answer(&again), Answer::Begin(_)));
        fixture.remote.set_port(4433);
        fixture.demand = Demand::Refuse;
        assert!(matches!(fixture.answer(&again), Answer::Refuse(Some(packet)) if packet.len() < 120));
        fixture.demand = Demand::Proof;
        fixture.now += Duration::from_secs(60);
        assert!(matches!(fixture.answer(&again), Answer::Refuse(Some(_))));
    }

    #[test]
    // RFC 9000 sections 8.1.3#11#12, 8.1.4#4#8.
    fn a_token_of_an_earlier_connection_saves_the_retry() {
        let mut fixture = Fixture::new(Demand::Proof);
        let seal = |fixture: &mut Fixture, remote: &str| {
            let (remote, now) = (remote.parse().unwrap(), unix_time(fixture.now));
            fixture.tokens.seal(&Token::New { path: None }, Version::V1, remote, now, &mut fixture.entropy)
        };
        // From the same address and another port.
        let token = seal(&mut fixture, "192.0.2.1:1");
        let answer = fixture.answer(&initial(Version::V1, &[1; 8], &token, 1200));
        assert!(matches!(answer, Answer::Begin(FirstFlight { validated: true, original_dcid: None, .. })));
        assert!(matches!(fixture.answer(&initial(Version::V1, &[2; 8], &token, 1200)), Answer::Retry(_)), "once");
        let token = seal(&mut fixture, "192.0.2.1:1");
        // RFC 9369 section 5#2.
        assert!(matches!(fixture.answer(&initial(Version::V2, &[1; 8], &token, 1200)), Answer::Retry(_)));
        let token = seal(&mut fixture, "192.0.2.2:4433");
        assert!(matches!(fixture.answer(&initial(Version::V1, &[1; 8], &token, 1200)), Answer::Retry(_)));
    }

    /// Strangers can make us answer without end: each kind of answer has its ration, and the others do not
    /// suffer from it.
    #[test]
    fn answers_are_rationed() {
        let mut fixture = Fixture::new(Demand::Proof);
        fixture.rations.version_negotiations = crate::binding::ration::Ration::new(2, fixture.now);
        let (unknown, first) =
            (initial(Version(0x1a2a_3a4a), &[1; 8], b"", 1200), initial(Version::V1, &[1; 8], b"", 1200));
        let sent = (0..5).filter(|_| matches!(fixture.answer(&unknown), Answer::NegotiateVersion(_))).count();
        assert_eq!(sent, 2);
        assert!(matches!(fixture.answer(&unknown), Answer::Withhold));
        assert!(matches!(fixture.answer(&first), Answer::Retry(_)));
        fixture.rations.retries = crate::binding::ration::Ration::new(0, fixture.now);
        assert!(matches!(fixture.answer(&first), Answer::Withhold));
        fixture.rations.refusals = crate::binding::ration::Ration::new(1, fixture.now);
        fixture.demand = Demand::Refuse;
        assert!(matches!(fixture.answer(&first), Answer::Refuse(Some(_))));
        assert!(matches!(fixture.answer(&first), Answer::Refuse(None)));
    }
}
