//! A server that needs TLS no more.

use super::*;
use crate::tls::observed;

/// A pair whose server lets go of TLS, by this cipher suite.
fn pair_by(at: usize) -> Pair {
    pair_in(at, &[Version::V1], &[Version::V1])
}

/// The same where the two ends speak these versions.
fn pair_in(at: usize, client: &[Version], server: &[Version]) -> Pair {
    let mut provider = observed(rustls::crypto::aws_lc_rs::default_provider());
    provider.cipher_suites = vec![provider.cipher_suites[at]];
    let (server_tls, client_tls) = tls_by(provider);
    let speaking = |versions: &[Version]| TransportConfig { versions: versions.to_vec(), ..TransportConfig::default() };
    let mut pair = Pair::with_tls(speaking(client), server_tls, client_tls, Time::from_nanos(1 << 40));
    pair.server_transport = speaking(server).into();
    pair.connect();
    assert_eq!(pair.client.version(), server[0]);
    pair
}

const fn lets_go(connection: &Connection) -> bool {
    matches!(connection.handshake.tls, Tls::Over(_))
}

/// What the server makes of the secret that it has kept is what rustls makes at the client.
#[test]
fn what_is_known_stays_known() {
    for suite in 0..3 {
        let mut pair = pair_by(suite);
        let (client, server) = (&pair.client, pair.server.as_ref().unwrap());
        assert!(lets_go(server) && !lets_go(client), "the client may get tickets");
        assert_eq!(server.alpn(), Some(&b"test"[..]));
        assert_eq!((server.negotiated(), server.peer_certificates()), (client.negotiated(), None));
        assert!(server.negotiated().is_some() && server.tls_secrets().is_none());
        let (hash_len, long) = (if suite == 0 { 48 } else { 32 }, [b'l'; 249]);
        for len in [1, 20, 32, 33, 48, 255 * hash_len] {
            for label in [&b"EXPORTER-test"[..], b"", &long] {
                for context in [&b""[..], b"context", &[7; 1000]] {
                    let export = |end: &Connection| {
                        let mut out = vec![0; len];
                        end.export_keying_material(&mut out, label, context).map(|()| out)
                    };
                    assert_eq!(export(server).unwrap(), export(client).unwrap(), "{suite} {len} {label:?}");
                }
            }
        }
        for (len, label_len) in [(0, 5), (255 * hash_len + 1, 5), (32, 250), (1 << 17, 5)] {
            for end in [client, server] {
                let error = end.export_keying_material(&mut vec![0; len], &vec![b'l'; label_len], b"").unwrap_err();
                assert!(matches!(error, ApiMisuse::InvalidArgument(_)), "{suite} {len} {label_len}");
            }
        }
        pair.upload(10_000);
    }
}

/// A suite that does not show the secret of its exporter: TLS stays, and all that it knows.
#[test]
fn tls_stays_where_it_is_needed() {
    let mut pair = Pair::new(TransportConfig::default());
    pair.connect();
    let (client, server) = (&pair.client, pair.server.as_ref().unwrap());
    assert!(!lets_go(server));
    let (mut ours, mut theirs) = ([0; 32], [1; 32]);
    client.export_keying_material(&mut ours, b"label", b"").unwrap();
    server.export_keying_material(&mut theirs, b"label", b"").unwrap();
    assert_eq!(ours, theirs);
}

/// Whatever a client says in CRYPTO frames when the handshake is over is an error, and the same one.
#[test]
// RFC 9001 section 6#2.
fn nothing_more_is_said_to_a_server() {
    const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 0];
    const CERTIFICATE_REQUEST: [u8; 7] = [13, 0, 0, 3, 0, 0, 0];
    for message in [&KEY_UPDATE[..], &CERTIFICATE_REQUEST, &[4]] {
        let mut pair = pair_by(1);
        pair.client.spaces.data.numbers.crypto.send(message);
        pair.run("the end", |pair| pair.server().close_reason().is_some());
        let unexpected = TransportErrorCode::crypto(crate::tls::alert::UNEXPECTED_MESSAGE);
        let reason = pair.server().close_reason();
        let refused = matches!(reason, Some(CloseReason::Violation(violation)) if violation.code == unexpected);
        assert!(refused, "{message:?}: {reason:?}");
    }
}

/// How many packet protection keys the two ends have at hand.
fn at_hand(pair: &Pair) -> [usize; 2] {
    [Some(&pair.client), pair.server.as_ref()].map(|end| {
        let keys = end.and_then(|end| end.spaces.data.one_rtt.as_ref());
        keys.map_or(usize::MAX, |keys| keys.at_hand())
    })
}

/// Keys of the first phase are let go of in silence, and the same are made again; those of later phases stay.
#[test]
fn keys_are_made_anew() {
    let (v1, v2) = (Version::V1, Version::V2);
    for suite in 0..3 {
        for (client, server) in [(&[v1][..], &[v1][..]), (&[v2], &[v2]), (&[v1, v2], &[v2, v1]), (&[v2, v1], &[v1, v2])]
        {
            let mut pair = pair_in(suite, client, server);
            pair.upload(5_000);
            assert_eq!(at_hand(&pair), [3, 3]);
            for _ in 0..3 {
                pair.pass(Duration::from_secs(5));
                assert_eq!(at_hand(&pair), [0, 0]);
                pair.upload(5_000);
            }
            pair.pass(Duration::from_secs(5));
            pair.client.update_keys().unwrap();
            pair.upload(5_000);
            assert_eq!((pair.client.stats().key_updates, pair.server().stats().key_updates), (1, 1));
            for _ in 0..2 {
                pair.pass(Duration::from_secs(5));
                assert_eq!(at_hand(&pair), [2, 2]);
                pair.upload(5_000);
            }
            assert_eq!((pair.client.stats().packets_dropped, pair.server().stats().packets_dropped), (0, 0));
        }
    }
}

/// Keys that a packet was tried with are let go of again, though it was not authentic and is no reason to wait for more.
#[test]
fn who_is_woken_by_a_forgery_rests_again() {
    let mut pair = pair_by(1);
    pair.client.ping();
    pair.flush(true);
    let (_, mut forged, path) = pair.to_server.back().cloned().unwrap();
    *forged.last_mut().unwrap() ^= 1;
    pair.pass(Duration::from_secs(5));
    assert_eq!(at_hand(&pair), [0, 0]);
    pair.to_server.push_back((pair.now, forged, path));
    pair.pass(Duration::from_millis(10));
    assert_eq!((at_hand(&pair), pair.server().stats().packets_dropped), ([0, 3], 1));
    pair.pass(Duration::from_secs(1));
    assert_eq!(at_hand(&pair), [0, 0]);
}
