//! The vectors of appendix A of RFC 9001 and of RFC 9369, through the packets of tercel-wire; and key updates.

use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use rustls::crypto::cipher::{AeadKey, Iv};
use tercel_wire::packet::{FirstPacket, Header, Protected};
use tercel_wire::{TransportErrorCode, Writer};

use super::*;
use crate::time::Time;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

fn id(text: &str) -> ConnectionId {
    ConnectionId::new(&hex(text)).unwrap()
}

fn seal(
    header: &Header,
    number: u64,
    acked: Option<u64>,
    frames: &[u8],
    len: usize,
    keys: &DirectionalKeys,
) -> Vec<u8> {
    let mut packet = vec![0; 1500];
    let mut writer = Writer::new(&mut packet);
    let start = header.begin(&mut writer, number, acked);
    writer.bytes(frames);
    start.pad(&mut writer, len, 16);
    let len = start.finish(&mut writer, &keys.header, &keys.packet).unwrap();
    packet.truncate(len);
    packet
}

fn cut(packet: &[u8]) -> Protected {
    match Protected::split_first(&mut BytesMut::from(packet), 0) {
        Ok(FirstPacket::Protected(packet)) => packet,
        other => panic!("{other:?}"),
    }
}

const DCID: &str = "8394c8f03e515708";

/// A.2: the CRYPTO frame of the client's Initial packet.
const CLIENT_HELLO: &str = "060040f1010000ed0303ebf8fa56f12939b9584a3896472ec40bb863cfd3e868
    04fe3a47f06a2b69484c00000413011302010000c000000010000e00000b6578
    616d706c652e636f6dff01000100000a00080006001d00170018001000070005
    04616c706e000500050100000000003300260024001d00209370b2c9caa47fba
    baf4559fedba753de171fa71f50f1ce15d43e994ec74d748002b000302030400
    0d0010000e0403050306030203080408050806002d00020101001c0002400100
    3900320408ffffffffffffffff05048000ffff07048000ffff08011001048000
    75300901100f088394c8f03e51570806048000ffff";

/// Of the client's Initial packet: the header before and after protection, the sample that protects it, how
/// the payload goes on behind the sample, and the tag.
const A2: [(Version, &str, &str, &str, &str, &str); 2] = [
    (
        Version::V1,
        "c300000001088394c8f03e5157080000449e00000002",
        "c000000001088394c8f03e5157080000449e7b9aec34",
        "d1b1c98dd7689fb8ec11d242b123dc9b",
        "d8bab936b47d92ec356c0bab7df5976d",
        "e221af44860018ab0856972e194cd934",
    ),
    (
        Version::V2,
        "d36b3343cf088394c8f03e5157080000449e00000002",
        "d76b3343cf088394c8f03e5157080000449ea0c95e82",
        "ffe67b6abcdb4298b485dd04de806071",
        "bf03dceebfa162e75d6c96058bdbfb12",
        "a18b2faa745b6fe189cf772a9f84cbfc",
    ),
];

#[test]
// RFC 9001 section 5.2#2.
fn a2_the_clients_initial_packet() {
    for (version, plain, protected, sample, rest, tag) in A2 {
        let client = initial(version, &id(DCID), Role::Client).unwrap();
        let header = Header::Initial { version, dcid: id(DCID), scid: id(""), token: Bytes::new() };
        // The packet number takes 4 bytes there, as if nothing was acknowledged for long.
        let frames = hex(CLIENT_HELLO);
        assert_eq!(frames.len(), 245);
        let mut packet = vec![0; 1200];
        let plain = [&hex(plain)[..], &frames].concat();
        packet[..plain.len()].copy_from_slice(&plain);
        let (head, behind) = packet.split_at_mut(22);
        let (payload, made) = behind.split_at_mut(1162);
        protection::PacketKey::seal(&client.local.packet, 2, head, payload, made);
        let taken: [u8; 16] = packet[22..38].try_into().unwrap();
        assert_eq!(taken[..], hex(sample));
        let (first, behind) = packet.split_first_mut().unwrap();
        protection::HeaderKey::protect(&client.local.header, &taken, first, &mut behind[17..21]);
        assert_eq!(packet[..22], hex(protected));
        assert_eq!(packet[38..54], hex(rest));
        assert_eq!(packet[1184..], hex(tag));
        // And the server reads it.
        let server = initial(version, &id(DCID), Role::Server).unwrap();
        let mut packet = cut(&packet);
        let sealed = packet.unprotect(&server.remote.header, None).unwrap();
        assert_eq!(sealed.number(), 2);
        let opened = sealed.open(&server.remote.packet).unwrap();
        assert_eq!(*opened.header, header);
        assert!(opened.payload.starts_with(&frames) && opened.payload[frames.len()..].iter().all(|byte| *byte == 0));
    }
}

/// The server's Initial packet.
const A3: [(Version, &str); 2] = [
    (
        Version::V1,
        "cf000000010008f067a5502a4262b5004075c0d95a482cd0991cd25b0aac406a
         5816b6394100f37a1c69797554780bb38cc5a99f5ede4cf73c3ec2493a1839b3
         dbcba3f6ea46c5b7684df3548e7ddeb9c3bf9c73cc3f3bded74b562bfb19fb84
         022f8ef4cdd93795d77d06edbb7aaf2f58891850abbdca3d20398c276456cbc4
         2158407dd074ee",
    ),
    (
        Version::V2,
        "dc6b3343cf0008f067a5502a4262b5004075d92faaf16f05d8a4398c47089698
         baeea26b91eb761d9b89237bbf87263017915358230035f7fd3945d88965cf17
         f9af6e16886c61bfc703106fbaf3cb4cfa52382dd16a393e42757507698075b2
         c984c707f0a0812d8cd5a6881eaf21ceda98f4bd23f6fe1a3e2c43edd9ce7ca8
         4bed8521e2e140",
    ),
];

#[test]
fn a3_the_servers_initial_packet() {
    for (version, expected) in A3 {
        let server = initial(version, &id(DCID), Role::Server).unwrap();
        let header = Header::Initial { version, dcid: id(""), scid: id("f067a5502a4262b5"), token: Bytes::new() };
        let frames = hex("02000000000600405a020000560303eefce7f7b37ba1d1632e96677825ddf739
            88cfc79825df566dc5430b9a045a1200130100002e00330024001d00209d3c94
            0d89690b84d08a60993c144eca684d1081287c834d5311bcf32bb9da1a002b00
            020304");
        // Packet 1 in two bytes: as if 200 packets were under way.
        let packet = seal(&header, 1, None, &frames, 0, &server.local);
        let expected = hex(expected);
        let client = initial(version, &id(DCID), Role::Client).unwrap();
        let mut known = cut(&expected);
        let sealed = known.unprotect(&client.remote.header, None).unwrap();
        assert_eq!(sealed.number(), 1);
        let opened = sealed.open(&client.remote.packet).unwrap();
        assert_eq!((opened.header, &opened.payload[..]), (&header, &frames[..]));
        // Ours is a byte shorter, since one byte is enough for the number.
        assert_eq!(packet.len(), expected.len() - 1);
        let mut packet = cut(&packet);
        let opened = packet.unprotect(&client.remote.header, None).unwrap().open(&client.remote.packet).unwrap();
        assert_eq!(opened.payload, frames);
    }
}

/// Of the packet with a short header: key, nonce and header key (which `tls::observed` derives in its test
/// from the secret that both appendices have), and the packet.
const A5: [(&str, &str, &str, &str); 2] = [
    (
        "c6d98ff3441c3fe1b2182094f69caa2ed4b716b65488960a7a984979fb23e1c8",
        "e0459b3474bdd0e44a41c144",
        "25a282b9e82f06f21f488917a4fc8f1b73573685608597d0efcb076b0ab7a7a4",
        "4cfe4189655e5cd55c41f69080575d7999c25a5bfb",
    ),
    (
        "3bfcddd72bcf02541d7fa0dd1f5f9eeea817e09a6963a0e6c7df0f9a1bab90f2",
        "a6b5bc6ab7dafce30ffff5dd",
        "d659760d2ba434a226fd37b35c69e2da8211d10c4f12538787d65645d5d1b8e2",
        "5558b1c60ae7b6b932bc27d786f4bc2bb20f2162ba",
    ),
];

#[test]
fn a5_a_short_header_with_chacha20() {
    let suite = rustls::crypto::aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256.tls13().unwrap();
    let quic = suite.quic.unwrap();
    let aead_key = |text: &str| AeadKey::from(<[u8; 32]>::try_from(hex(text)).unwrap());
    for (key, iv, header_key, expected) in A5 {
        let iv = Iv::from(<[u8; 12]>::try_from(hex(iv)).unwrap());
        let keys = DirectionalKeys {
            header: HeaderKey(quic.header_protection_key(aead_key(header_key))),
            packet: PacketKey(quic.packet_key(aead_key(key), iv)),
        };
        let header = Header::OneRtt { dcid: id(""), spin: false, key_phase: false };
        let number = 654_360_564;
        // Three bytes of the number: about 2^17 packets under way.
        let packet = seal(&header, number, Some(number - (1 << 17)), &[1], 0, &keys);
        assert_eq!(packet, hex(expected));
        let mut cut = cut(&packet);
        let opened = cut.unprotect(&keys.header, Some(number - 1)).unwrap().open(&keys.packet).unwrap();
        assert_eq!((opened.number, &opened.payload[..]), (number, &[1][..]));
    }
}

// Key updates (section 6).

const PTO: Duration = Duration::from_millis(100);
const NOW: Time = Time::from_nanos(1 << 40);

/// The two ends' 1-RTT keys after a handshake of rustls.
fn pair() -> (OneRttKeys, OneRttKeys) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let versions = [&rustls::version::TLS13];
    let server = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "localhost".try_into().unwrap();
    let version = rustls::quic::Version::V1;
    let mut client = rustls::quic::Connection::from(
        rustls::quic::ClientConnection::new(client.into(), version, name, vec![]).unwrap(),
    );
    let mut server =
        rustls::quic::Connection::from(rustls::quic::ServerConnection::new(server.into(), version, vec![]).unwrap());
    let (mut ours, mut theirs) = (None, None);
    for _ in 0..10 {
        exchange(&mut client, &mut server, &mut ours);
        exchange(&mut server, &mut client, &mut theirs);
    }
    (ours.unwrap(), theirs.unwrap())
}

fn exchange(from: &mut rustls::quic::Connection, to: &mut rustls::quic::Connection, keys: &mut Option<OneRttKeys>) {
    loop {
        let mut bytes = Vec::new();
        let change = from.write_hs(&mut bytes);
        if !bytes.is_empty() {
            to.read_hs(&bytes).unwrap();
        }
        match change {
            Some(rustls::quic::KeyChange::OneRtt { keys: level, next }) => {
                *keys = Some(OneRttKeys::new(level.into(), next.into()));
            }
            Some(_) => {}
            None if bytes.is_empty() => return,
            None => {}
        }
    }
}

fn send(from: &mut OneRttKeys, number: u64) -> Vec<u8> {
    let header = Header::OneRtt { dcid: ConnectionId::EMPTY, spin: false, key_phase: from.phase() };
    let (header_key, packet_key) = from.local();
    let mut packet = vec![0; 100];
    let mut writer = Writer::new(&mut packet);
    let start = header.begin(&mut writer, number, None);
    writer.bytes(&number.to_be_bytes());
    let len = start.finish(&mut writer, header_key, packet_key).unwrap();
    from.on_sealed(number, len);
    packet.truncate(len);
    packet
}

/// The payload, if the packet opens.
fn receive(to: &mut OneRttKeys, now: Time, packet: &[u8]) -> Result<Option<Bytes>, crate::error::Violation> {
    let mut packet = cut(packet);
    let sealed = packet.unprotect(to.remote_header(), None).unwrap();
    to.open(now, || PTO, sealed).map(|opened| opened.map(|opened| opened.payload))
}

/// A packet there and its acknowledgement back.
fn round(from: &mut OneRttKeys, to: &mut OneRttKeys, number: u64) {
    let packet = send(from, number);
    let opened = receive(to, NOW, &packet).unwrap().unwrap();
    assert_eq!(opened, number.to_be_bytes()[..]);
    from.on_acked(number);
}

#[test]
// RFC 9001 sections 6.1#3#4, 6.2#1#2, 6.5#1#2#3.
fn an_update_is_followed_and_old_packets_are_read_for_three_ptos() {
    let (mut client, mut server) = pair();
    assert!(!client.may_update(), "nothing was acknowledged yet (section 6.1)");
    round(&mut client, &mut server, 0);
    round(&mut server, &mut client, 0);
    let late = send(&mut client, 1);
    assert!(client.may_update());
    client.update();
    assert!(client.phase() && !client.may_update(), "an update at a time");
    let first = send(&mut client, 2);
    assert!(receive(&mut server, NOW, &first).unwrap().is_some());
    assert!(server.phase() && server.updates() == 1, "the server follows");
    // What was under way is still read, and once only for three probe timeouts.
    assert!(receive(&mut server, NOW, &late).unwrap().is_some());
    assert_eq!(server.next_timeout(), Some(NOW + 3 * PTO));
    server.timeout(NOW + 3 * PTO);
    assert!(receive(&mut server, NOW, &late).unwrap().is_none(), "the old keys are gone");
    // Old packets of the server reach the client until it has answered with the new keys.
    client.on_acked(2);
    assert!(!client.may_update(), "the old keys are still held");
    let answer = send(&mut server, 1);
    assert!(receive(&mut client, NOW, &answer).unwrap().is_some());
    client.timeout(NOW + 3 * PTO);
    assert!(client.may_update());
    for number in 3..10 {
        round(&mut client, &mut server, number);
        round(&mut server, &mut client, number);
    }
}

/// The key of the next phase is made with the second packet that comes, whatever its phase, be it after one that is not
/// authentic: of a peer that updates with its very first packet, that packet alone is lost.
#[test]
fn the_second_packet_makes_the_next_key() {
    let (mut client, mut server) = pair();
    assert_eq!(server.at_hand(), 2);
    round(&mut client, &mut server, 0);
    assert_eq!(server.at_hand(), 2);
    round(&mut client, &mut server, 1);
    assert_eq!(server.at_hand(), 3);
    server.update();
    let first = send(&mut server, 0);
    assert_eq!(receive(&mut client, NOW, &first).unwrap(), None);
    assert_eq!((client.at_hand(), client.forged), (2, 1));
    round(&mut server, &mut client, 1);
    assert_eq!((client.updates(), client.phase()), (1, true));
    // The wrong phase under the right key is not authentic.
    let (mut client, mut server) = pair();
    client.phase = true;
    let packet = send(&mut client, 0);
    assert_eq!(receive(&mut server, NOW, &packet).unwrap(), None);
}

#[test]
fn many_updates_by_both_ends() {
    let (mut client, mut server) = pair();
    let (mut number, mut now) = (0, NOW);
    for turn in 0..20 {
        // Whoever did not begin the last update follows in the first, and is answered in the second.
        for _ in 0..2 {
            round(&mut client, &mut server, number);
            round(&mut server, &mut client, number);
            number += 1;
        }
        now += 10 * PTO;
        client.timeout(now);
        server.timeout(now);
        let updating = if turn % 2 == 0 { &mut client } else { &mut server };
        assert!(updating.may_update(), "turn {turn}");
        updating.update();
    }
    round(&mut client, &mut server, number);
    round(&mut server, &mut client, number);
    assert_eq!((client.updates(), server.updates()), (20, 20));
}

/// Section 6.2: a peer that updates again before it can know that we have followed.
#[test]
// RFC 9001 section 6.1#2.
fn an_update_upon_an_update_is_a_fault() {
    let (mut client, mut server) = pair();
    round(&mut client, &mut server, 0);
    client.update();
    let packet = send(&mut client, 1);
    assert!(receive(&mut server, NOW, &packet).unwrap().is_some());
    server.timeout(NOW + 3 * PTO);
    client.update();
    let packet = send(&mut client, 2);
    let violation = receive(&mut server, NOW, &packet).unwrap_err();
    assert_eq!(violation.code, TransportErrorCode::KEY_UPDATE_ERROR);
}

#[test]
// RFC 9001 sections 5.5#1#2, 6.6#6.
fn forged_packets_change_nothing_and_are_counted() {
    let (mut client, mut server) = pair();
    round(&mut client, &mut server, 0);
    for phase in [false, true] {
        let mut packet = send(&mut client, 1);
        if phase {
            client.update();
            packet = send(&mut client, 2);
        }
        let last = packet.len() - 1;
        packet[last] ^= 1;
        assert!(receive(&mut server, NOW, &packet).unwrap().is_none());
        assert_eq!((server.phase(), server.updates()), (false, 0));
    }
    assert!(server.check_limits().is_ok());
    assert_eq!(server.forged, 2);
}

/// Section 6.6: what the keys may protect, and how many forgeries they may meet.
#[test]
// RFC 9001 sections 5.3#3, 6.6#1#2#3#5#7.
fn keys_are_used_up() {
    let (mut client, mut server) = pair();
    round(&mut client, &mut server, 0);
    assert!(!client.should_update(1 << 30) && client.check_limits().is_ok());
    assert!(client.should_update(10), "after so many bytes");
    let limit = client.sealed_limit;
    assert!((1 << 23..=1 << 62).contains(&limit));
    client.sealed = limit / 2;
    assert!(client.should_update(u64::MAX));
    client.sealed = limit;
    assert_eq!(client.check_limits().unwrap_err().code, TransportErrorCode::AEAD_LIMIT_REACHED);
    server.forged = server.forged_limit;
    assert!(server.check_limits().is_ok());
    server.forged += 1;
    assert_eq!(server.check_limits().unwrap_err().code, TransportErrorCode::AEAD_LIMIT_REACHED);
}

/// Section 6.4: what was sent before an update may arrive after it, and even first.
#[test]
// RFC 9001 sections 6.3#2#3, 6.4#1.
fn packets_may_overtake_an_update_at_both_ends() {
    let (mut client, mut server) = pair();
    round(&mut client, &mut server, 0);
    round(&mut server, &mut client, 0);
    // Both update at the same time, with packets under way.
    let (ours, theirs) = (send(&mut client, 1), send(&mut server, 1));
    client.update();
    server.update();
    assert!(receive(&mut client, NOW, &theirs).unwrap().is_some(), "of the phase before");
    let (new_ours, new_theirs) = (send(&mut client, 2), send(&mut server, 2));
    assert!(receive(&mut server, NOW, &new_ours).unwrap().is_some());
    assert!(receive(&mut server, NOW, &ours).unwrap().is_some());
    assert!(receive(&mut client, NOW, &new_theirs).unwrap().is_some());
    assert_eq!((client.updates(), server.updates()), (1, 1), "one update, not two");
    // Time runs from the first packet of the new phase, not from the last.
    assert!(receive(&mut client, NOW + 2 * PTO, &send(&mut server, 3)).unwrap().is_some());
    assert_eq!(client.next_timeout(), Some(NOW + 3 * PTO));
    client.timeout(NOW + 3 * PTO - Duration::from_nanos(1));
    assert!(receive(&mut client, NOW, &theirs).unwrap().is_some());
    client.timeout(NOW + 3 * PTO);
    assert!(receive(&mut client, NOW, &theirs).unwrap().is_none());
}

/// Section 6.4: a packet of old keys behind one of new keys is never read.
#[test]
// RFC 9001 sections 5.5#1, 6.4#2.
fn old_keys_are_not_for_new_packets() {
    let (mut client, mut server) = pair();
    round(&mut client, &mut server, 0);
    let back = send(&mut client, 5);
    client.update();
    let first = send(&mut client, 4);
    assert!(receive(&mut server, NOW, &first).unwrap().is_some());
    assert!(receive(&mut server, NOW, &back).unwrap().is_none());
    assert_eq!(server.updates(), 1);
}

/// A packet on its way: when it arrives, and the largest number that it acknowledges.
struct Flying {
    arrives: Time,
    packet: Vec<u8>,
    acknowledges: Option<u64>,
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 40, ..Default::default() })]
    /// Two ends that update whenever they may, over a line that loses and reorders: every packet that
    /// arrives within two probe timeouts is read, and nobody sees a fault.
    #[test]
    fn updates_lose_no_packet(steps in proptest::collection::vec((0u8..2, 0u64..200, 0u8..8), 50..300)) {
        let (client, server) = pair();
        let mut ends = [client, server];
        let mut lines: [Vec<Flying>; 2] = [Vec::new(), Vec::new()];
        let (mut now, mut numbers, mut received) = (NOW, [0; 2], [None; 2]);
        for (end, delay, what) in steps {
            let end = usize::from(end);
            now += Duration::from_millis(20);
            for (to, line) in lines.iter_mut().enumerate().map(|(from, line)| (1 - from, line)) {
                let due = |flying: &mut Flying| flying.arrives <= now;
                for flying in line.extract_if(.., due).collect::<Vec<_>>() {
                    let opened = receive(&mut ends[to], now, &flying.packet).unwrap();
                    let number = opened.expect("it is read").get_u64();
                    received[to] = received[to].max(Some(number));
                    flying.acknowledges.into_iter().for_each(|largest| ends[to].on_acked(largest));
                }
                ends[to].timeout(now);
            }
            if what == 0 && ends[end].may_update() {
                ends[end].update();
            }
            let packet = send(&mut ends[end], numbers[end]);
            numbers[end] += 1;
            if what != 1 {
                let arrives = now + Duration::from_millis(delay).min(2 * PTO - Duration::from_millis(20));
                lines[end].push(Flying { arrives, packet, acknowledges: received[end] });
            }
        }
        proptest::prop_assert!(ends.iter().all(|end| end.forged == 0));
        proptest::prop_assert!(ends[0].updates().abs_diff(ends[1].updates()) <= 1);
    }
}

/// What was derived once is not derived again, and the same keys come of it.
#[test]
fn keys_that_are_known_are_the_same() {
    let suites = crate::tls::observed(rustls::crypto::aws_lc_rs::default_provider()).cipher_suites;
    assert_eq!(suites.len(), 3);
    for suite in suites.iter().filter_map(rustls::SupportedCipherSuite::tls13) {
        let make = |role| {
            let keys = || {
                rustls::quic::Keys::initial(tls_version(Version::V1), suite, suite.quic.unwrap(), &[7; 8], side(role))
            };
            let (first, derived) = crate::tls::Derived::note(|| LevelKeys::from(keys()));
            let copy = derived.clone();
            drop(derived);
            // In place of what would come of other IDs.
            let other = || {
                rustls::quic::Keys::initial(tls_version(Version::V2), suite, suite.quic.unwrap(), &[8; 8], side(role))
            };
            let known = || copy.again(|| LevelKeys::from(other()));
            [first, known(), known()]
        };
        let (clients, servers) = (make(Role::Client), make(Role::Server));
        for (client, server) in clients.iter().flat_map(|client| servers.iter().map(move |server| (client, server))) {
            for (from, to) in [(&client.local, &server.remote), (&server.local, &client.remote)] {
                let mut sealed = b"something".to_vec();
                let tag = from.packet.0.encrypt_in_place(3, b"header", &mut sealed).unwrap();
                sealed.extend_from_slice(tag.as_ref());
                assert_eq!(to.packet.0.decrypt_in_place(3, b"header", &mut sealed).unwrap(), b"something");
                let (mut first, mut number) = (0x40, [1, 2, 3, 4]);
                from.header.0.encrypt_in_place(&[9; 16], &mut first, &mut number).unwrap();
                to.header.0.decrypt_in_place(&[9; 16], &mut first, &mut number).unwrap();
                assert_eq!((first, number), (0x40, [1, 2, 3, 4]));
            }
        }
    }
}
