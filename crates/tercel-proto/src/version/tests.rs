//! Every choice and every check, for all lists of two versions of ours and two of others.

use super::*;

const V1: Version = Version::V1;
const V2: Version = Version::V2;
const RESERVED: Version = Version(0x1a2a_3a4a);
const FUTURE: Version = Version(0x0000_00ff);

/// Every list without repetition of any length.
fn lists() -> Vec<Vec<Version>> {
    let all = [V1, V2, RESERVED, FUTURE];
    let mut lists = vec![vec![]];
    let mut at = 0;
    while at < lists.len() {
        let list: Vec<Version> = lists[at].clone();
        lists.extend(
            all.iter().filter(|version| !list.contains(version)).map(|version| [&list[..], &[*version]].concat()),
        );
        at += 1;
    }
    lists
}

fn ours(list: &[Version]) -> Vec<Version> {
    let ours: Vec<_> = list.iter().copied().filter(|version| [V1, V2].contains(version)).collect();
    if list.is_empty() { vec![V1, V2] } else { ours }
}

fn told(chosen: Version, available: &[Version]) -> VersionInformation {
    VersionInformation { chosen, available: available.to_vec() }
}

const WRONG: Option<TransportErrorCode> = Some(TransportErrorCode::VERSION_NEGOTIATION_ERROR);

fn code(result: Result<(), Violation>) -> Option<TransportErrorCode> {
    result.err().map(|violation| violation.code)
}

#[test]
fn there_are_so_many_lists() {
    assert_eq!(lists().len(), 1 + 4 + 12 + 24 + 24);
}

#[test]
// RFC 9368 section 2.3#1.
fn a_server_takes_what_it_prefers_of_what_the_client_permits() {
    for (speaks, preference) in lists().iter().flat_map(|one| lists().into_iter().map(move |other| (one, other))) {
        for (original, available) in [V1, V2].into_iter().flat_map(|v| lists().into_iter().map(move |list| (v, list))) {
            let mut server = Negotiation::server(speaks, original);
            let silent = available.is_empty();
            server.set_peer((!silent).then(|| told(original, &available)));
            let both = ours(speaks);
            let permitted: Vec<_> =
                both.iter().copied().filter(|version| *version == original || available.contains(version)).collect();
            let chosen = server.choose(&preference);
            let case = format!("{speaks:?} {preference:?} {original:?} {available:?}: {chosen:?}");
            let Some(chosen) = chosen else {
                let none = permitted.is_empty()
                    || !preference.is_empty() && preference.iter().all(|version| !permitted.contains(version));
                assert!(none, "{case}");
                continue;
            };
            assert!(permitted.contains(&chosen), "{case}");
            match preference.iter().position(|version| *version == chosen) {
                Some(at) => assert!(preference[..at].iter().all(|version| !permitted.contains(version)), "{case}"),
                // Without a preference, that of the client holds.
                None => {
                    let first = available.iter().find(|version| permitted.contains(version)).unwrap_or(&original);
                    assert!(preference.is_empty() && chosen == *first, "{case}");
                }
            }
        }
    }
}

#[test]
// RFC 9368 section 4#8#9#10.
fn a_server_checks_that_the_client_means_the_same() {
    let keys = || keys::initial(V1, &ConnectionId::EMPTY, Role::Server).unwrap();
    for (original, current) in [(V1, V1), (V1, V2), (V2, V1), (V2, V2)] {
        let mut server = Negotiation::server(&[], original);
        if current != original {
            server.switch(current, keys());
        }
        let expected = (current != original).then_some(WRONG).flatten();
        assert_eq!(code(server.check(None)), expected, "{original:?} {current:?}");
        for chosen in [V1, V2, RESERVED, FUTURE] {
            for available in lists().into_iter().filter(|list| list.contains(&chosen)) {
                let good = chosen == original && (current == original || available.contains(&current));
                let expected = (!good).then_some(WRONG).flatten();
                let result = server.check(Some(&told(chosen, &available)));
                assert_eq!(code(result), expected, "{original:?} {current:?} {chosen:?} {available:?}");
            }
        }
    }
}

/// A client in `original`, whom the server moves to `current`.
fn client(versions: &[Version], original: Version, current: Version) -> Negotiation {
    let mut client = Negotiation::client(versions, original, true);
    if current != original {
        assert!(client.other_keys(current, &ConnectionId::EMPTY).is_some());
        assert!(client.follow(current).is_some());
    }
    client
}

#[test]
// RFC 9368 section 4#12#17.
fn a_client_checks_that_the_server_means_the_same() {
    for (original, current) in [(V1, V1), (V1, V2), (V2, V1), (V2, V2)] {
        let client = client(&[], original, current);
        assert_eq!(code(client.check(None)), (current != original).then_some(WRONG).flatten());
        for chosen in [V1, V2, RESERVED, FUTURE] {
            // Whatever else the server speaks: nobody has told the client otherwise.
            for available in lists() {
                let expected = (chosen != current).then_some(WRONG).flatten();
                let result = client.check(Some(&told(chosen, &available)));
                assert_eq!(code(result), expected, "{original:?} {current:?} {chosen:?} {available:?}");
            }
        }
    }
}

/// The heart of section 4: for every packet that may have been forged and everything that the server may
/// tell afterwards.
#[test]
// RFC 9368 sections 2.1#2, 4#1#2#11#13#14#15#16, 8#1.
fn a_client_that_was_refused_would_choose_the_same_again() {
    for (wanted, first) in [([V1, V2], V1), ([V2, V1], V2), ([V1, V2], V2), ([V2, V1], V1)] {
        for named in lists() {
            let mut client = Negotiation::client(&wanted, first, true);
            assert_eq!(client.heeds(&named), !named.contains(&first), "{named:?}");
            if !client.heeds(&named) {
                continue;
            }
            let Some(second) = client.select(&named) else {
                assert!(named.iter().all(|version| ![V1, V2].contains(version)), "{named:?}");
                continue;
            };
            assert!(second != first && named.contains(&second));
            client.begin_anew(second);
            assert!(lists().iter().all(|list| !client.heeds(list)), "one is enough");
            // Section 8: of a server that tells nothing, version 1 is taken.
            assert_eq!(code(client.check(None)), (second != V1).then_some(WRONG).flatten());
            for available in lists() {
                let would = wanted.iter().find(|version| available.contains(version) || **version == second);
                let good = !available.is_empty() && would == Some(&second);
                let result = client.check(Some(&told(second, &available)));
                assert_eq!(code(result), (!good).then_some(WRONG).flatten(), "{wanted:?} {named:?} {available:?}");
            }
        }
    }
}

/// The example of section 4, in the versions that we have: a forged packet takes the preferred one away.
#[test]
// RFC 9368 section 4#14#15#16.
fn a_downgrade_is_seen() {
    let mut client = Negotiation::client(&[V2, V1], V2, true);
    client.begin_anew(V1);
    assert_eq!(code(client.check(Some(&told(V1, &[V1])))), None, "the server has no version 2");
    assert_eq!(code(client.check(Some(&told(V1, &[V1, V2])))), WRONG, "it has");
    assert_eq!(code(client.check(Some(&told(V1, &[])))), WRONG, "it does not tell");
    // Nor does it help to go on from there.
    assert!(client.other_keys(V2, &ConnectionId::EMPTY).is_some() && client.follow(V2).is_some());
    assert_eq!(code(client.check(Some(&told(V2, &[V1, V2])))), WRONG);
}

#[test]
// RFC 9369 section 4.1#8.
fn which_packets_may_come_when() {
    use EncryptionLevel::{Handshake, Initial, ZeroRtt};
    let may = |negotiation: &Negotiation| {
        [Initial, Handshake, ZeroRtt].map(|level| [V1, V2, FUTURE].map(|version| negotiation.may_come(level, version)))
    };
    let mut client = Negotiation::client(&[], V1, true);
    assert_eq!(may(&client), [[true, true, false], [true, true, false], [true, false, false]]);
    assert!(client.follow(V2).is_none(), "a packet of it has not been opened");
    assert!(client.other_keys(FUTURE, &ConnectionId::EMPTY).is_none());
    assert!(client.other_keys(V2, &ConnectionId::EMPTY).is_some() && client.follow(V2).is_some());
    assert_eq!(may(&client), [[false, true, false], [false, true, false], [true, false, false]]);
    let mut client = Negotiation::client(&[], V1, true);
    client.settle();
    assert_eq!(may(&client), [[true, false, false]; 3]);
    assert!(client.other_keys(V2, &ConnectionId::EMPTY).is_none());
    // What settings or TLS do not permit.
    assert_eq!(may(&Negotiation::client(&[V1], V1, true)), [[true, false, false]; 3]);
    assert_eq!(may(&Negotiation::client(&[], V1, false)), [[true, false, false]; 3]);
    let mut server = Negotiation::server(&[], V1);
    assert_eq!(may(&server), [[true, false, false]; 3]);
    server.switch(V2, keys::initial(V1, &ConnectionId::EMPTY, Role::Server).unwrap());
    assert_eq!(may(&server), [[true, true, false], [false, true, false], [true, false, false]]);
    assert!(server.other_keys(V1, &ConnectionId::EMPTY).is_some());
    server.forget_keys();
    assert!(server.other_keys(V1, &ConnectionId::EMPTY).is_none());
}

#[test]
// RFC 9368 section 3#2.
fn what_is_told() {
    let mut entropy = Entropy::from_seed([3; 32]);
    assert_eq!(Negotiation::client(&[V2, V1], V1, true).information(None), told(V1, &[V2, V1]));
    assert_eq!(Negotiation::client(&[V2, V1], V1, false).information(None), told(V1, &[V1]));
    assert_eq!(Negotiation::client(&[V2], V1, true).information(None), told(V1, &[V2, V1]));
    assert_eq!(Negotiation::server(&[V2], V2).information(None), told(V2, &[V2]));
    let mut places = [0; 3];
    for _ in 0..100 {
        let VersionInformation { chosen, available } =
            Negotiation::client(&[], V1, true).information(Some(&mut entropy));
        let at = available.iter().position(|version| version.is_reserved()).unwrap();
        places[at] += 1;
        assert_eq!((chosen, available.len()), (V1, 3));
    }
    assert!(places.iter().all(|times| *times > 10), "{places:?}");
}
