//! Datagrams cut into packets, before any key is needed.

use super::*;

fn first(bytes: &[u8]) -> Result<FirstPacket, DecodeError> {
    Protected::split_first(&mut BytesMut::from(bytes), 8)
}

/// A long header of version 1 with connection IDs of 3 and 2 bytes.
fn long(first: u8, rest: &[u8]) -> Vec<u8> {
    [&[first, 0, 0, 0, 1, 3, 1, 2, 3, 2, 4, 5], rest].concat()
}

fn hex(text: &str) -> Vec<u8> {
    text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[test]
fn retry_of_rfc_9001_appendix_a4() {
    let bytes = hex("ff000000010008f067a5502a4262b5746f6b656e04a265ba2eff4d829058fb3f0f2496ba");
    let Ok(FirstPacket::Retry(retry)) = first(&bytes) else { panic!() };
    assert_eq!((retry.version, retry.dcid.len()), (Version::V1, 0));
    assert_eq!((&retry.scid[..], &retry.token[..]), (&hex("f067a5502a4262b5")[..], &b"token"[..]));
    assert_eq!(retry.tag[..], bytes[bytes.len() - 16..]);
    assert_eq!(retry.packet[..], bytes[..bytes.len() - 16]);
    assert_eq!(crate::packet::retry::encode(retry.version, &retry.dcid, &retry.scid, &retry.token), retry.packet);
    // The client drops a Retry without a token; here it is only empty.
    for len in 0..bytes.len() {
        match first(&bytes[..len]) {
            Ok(FirstPacket::Retry(cut)) => assert_eq!(cut.token.len() + bytes.len() - len, 5),
            other => assert!(other.is_err() && len < bytes.len() - 5, "cut to {len}"),
        }
    }
    assert!(retry.has_fixed_bit());
    // RFC 9000 section 17.2.5: the last four bits are unused.
    for low in 0..16 {
        assert!(matches!(first(&[&[0xf0 | low], &bytes[1..]].concat()), Ok(FirstPacket::Retry(_))));
    }
}

#[test]
fn retry_of_rfc_9369_appendix_a4() {
    let bytes = hex("cf6b3343cf0008f067a5502a4262b5746f6b656ec8646ce8bfe33952d955543665dcc7b6");
    let Ok(FirstPacket::Retry(retry)) = first(&bytes) else { panic!() };
    assert_eq!((retry.version, &retry.token[..]), (Version::V2, &b"token"[..]));
    assert_eq!(crate::packet::retry::encode(retry.version, &retry.dcid, &retry.scid, &retry.token), retry.packet);
    // What is a Retry in version 1 is a Handshake packet here.
    assert!(first(&[&[0xff], &bytes[1..]].concat()).is_err());
}

#[test]
fn types_by_their_bits() {
    for (bits, level) in [(0xd0, EncryptionLevel::ZeroRtt), (0xe0, EncryptionLevel::Handshake)] {
        let Ok(FirstPacket::Protected(packet)) = first(&long(bits, &[3, 9, 9, 9])) else { panic!() };
        assert_eq!((packet.level(), packet.len(), packet.header().dcid().as_slice()), (level, 16, &[1, 2, 3][..]));
    }
}

#[test]
fn tokens_and_lengths_in_every_form() {
    // Lengths need not be in their shortest form.
    let forms = |value: u8| -> [Vec<u8>; 4] {
        [vec![value], vec![0x40, value], vec![0x80, 0, 0, value], vec![0xc0, 0, 0, 0, 0, 0, 0, value]]
    };
    for token_len in forms(5) {
        for length in forms(4) {
            let whole = long(0xc0, &[&token_len[..], b"token", &length, &[9; 4]].concat());
            let mut datagram = BytesMut::from(&[&whole[..], b"next"].concat()[..]);
            let Ok(FirstPacket::Protected(packet)) = Protected::split_first(&mut datagram, 8) else { panic!() };
            let Header::Initial { token, scid, .. } = packet.header() else { panic!() };
            assert_eq!((&token[..], scid.as_slice()), (&b"token"[..], &[4, 5][..]));
            assert_eq!((packet.len(), &datagram[..]), (whole.len(), &b"next"[..]));
            for len in 0..whole.len() {
                assert_eq!(first(&whole[..len]).unwrap_err(), DecodeError::UnexpectedEnd, "cut to {len}");
            }
        }
    }
    let huge = [0xff; 8];
    assert!(first(&long(0xc0, &[&huge[..], &[9; 40]].concat())).is_err(), "a token beyond all memory");
    assert!(first(&long(0xe0, &[&huge[..], &[9; 40]].concat())).is_err(), "a packet beyond all memory");
}

#[test]
fn connection_ids_of_every_length() {
    for dcid in 0..=25_u8 {
        for scid in 0..=25_u8 {
            let ids = [&[dcid][..], &vec![1; dcid.into()], &[scid], &vec![2; scid.into()]].concat();
            let bytes = [&[0xe0, 0, 0, 0, 1][..], &ids, &[2, 9, 9]].concat();
            assert_eq!(first(&bytes).is_ok(), dcid <= 20 && scid <= 20, "{dcid} and {scid} bytes");
        }
    }
    for local in 0..=20 {
        let bytes = [&[0x40][..], &[7; 20]].concat();
        let Ok(FirstPacket::Protected(packet)) = Protected::split_first(&mut BytesMut::from(&bytes[..]), local) else {
            panic!()
        };
        assert_eq!((packet.header().dcid().as_slice(), packet.len()), (&[7; 20][..local], 21));
        let short = Protected::split_first(&mut BytesMut::from(&bytes[..local]), local);
        assert_eq!(short.unwrap_err(), DecodeError::UnexpectedEnd);
    }
}

#[test]
// RFC 9000 section 17.2.1#1.
fn a_version_negotiation_packet_needs_no_fixed_bit() {
    // RFC 8999 section 6: all bits but the first are unused.
    for bits in 0x80..=0xff {
        let bytes = [&[bits, 0, 0, 0, 0, 1, 7, 1, 8][..], &[0, 0, 0, 1]].concat();
        let Ok(FirstPacket::VersionNegotiation(packet)) = first(&bytes) else { panic!() };
        assert_eq!((packet.dcid, packet.scid, packet.versions), (vec![7], vec![8], vec![Version::V1]));
    }
    assert!(first(&[0x80, 0, 0, 0, 0, 0, 0]).is_err(), "no versions");
    for extra in 1..4 {
        assert!(first(&[&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1][..], &vec![0; extra]].concat()).is_err());
    }
}

#[test]
fn other_versions_have_whole_connection_ids_too() {
    let bytes = [&[0xc0, 0, 0, 0, 0x52, 30][..], &[1; 30], &[2, 8, 8]].concat();
    for len in 0..=bytes.len() {
        match first(&bytes[..len]) {
            Ok(FirstPacket::Unsupported(version)) => assert_eq!((version, len), (Version(0x52), bytes.len())),
            other => assert_eq!(other.unwrap_err(), DecodeError::UnexpectedEnd, "cut to {len}"),
        }
    }
}
