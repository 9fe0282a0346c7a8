//! Packets with keys that hide nothing, so that every byte can be seen; packet numbers by the vectors
//! of RFC 9000 appendix A.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::header::{KEY_PHASE, SPIN};
use super::invariant::{Invariant, LongHeader};
use super::protection::{HeaderKey, PacketKey};
use super::*;
use crate::{ConnectionId, DecodeError, ResetToken, Version, Writer};

/// A header key whose mask is the first bytes of the sample.
struct Mask;

impl HeaderKey for Mask {
    fn sample_len(&self) -> usize {
        16
    }

    fn protect(&self, sample: &[u8], first: &mut u8, number: &mut [u8]) {
        *first ^= sample[0] & if *first & 0x80 == 0 { 0x1f } else { 0x0f };
        number.iter_mut().zip(&sample[1..]).for_each(|(byte, mask)| *byte ^= mask);
    }

    fn unprotect(&self, sample: &[u8], first: &mut u8, number: &mut [u8]) {
        *first ^= sample[0] & if *first & 0x80 == 0 { 0x1f } else { 0x0f };
        let len = usize::from(*first & 3) + 1;
        number[..len].iter_mut().zip(&sample[1..]).for_each(|(byte, mask)| *byte ^= mask);
    }
}

/// A packet key whose tag is a sum over number, header and payload.
struct Sum;

fn sum(number: u64, parts: [&[u8]; 2]) -> [u8; 16] {
    let mut sum = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for byte in parts.concat() {
        sum = (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    let mut tag = [0; 16];
    tag[..8].copy_from_slice(&sum.to_be_bytes());
    tag
}

impl PacketKey for Sum {
    fn tag_len(&self) -> usize {
        16
    }

    fn seal(&self, number: u64, header: &[u8], payload: &mut [u8], tag: &mut [u8]) {
        tag.copy_from_slice(&sum(number, [header, payload]));
    }

    fn open(&self, number: u64, header: &[u8], payload: &mut [u8]) -> Option<usize> {
        let len = payload.len().checked_sub(16)?;
        (payload[len..] == sum(number, [header, &payload[..len]])).then_some(len)
    }
}

fn id(bytes: &[u8]) -> ConnectionId {
    ConnectionId::new(bytes).unwrap()
}

fn headers() -> Vec<Header> {
    headers_of(Version::V1)
}

fn headers_of(version: Version) -> Vec<Header> {
    let (dcid, scid) = (id(&[1; 8]), id(&[2; 5]));
    vec![
        Header::Initial { version, dcid, scid, token: Bytes::new() },
        Header::Initial { version, dcid, scid: id(&[]), token: Bytes::from(vec![7; 100]) },
        Header::ZeroRtt { version, dcid, scid },
        Header::Handshake { version, dcid: id(&[9; 20]), scid },
        Header::OneRtt { dcid, spin: false, key_phase: false },
        Header::OneRtt { dcid, spin: true, key_phase: true },
    ]
}

fn write(header: &Header, number: u64, acked: Option<u64>, frames: &[u8], min_len: usize, out: &mut Vec<u8>) {
    let at = out.len();
    out.resize(at + 1500, 0);
    let mut writer = Writer::new(&mut out[at..]);
    let start = header.begin(&mut writer, number, acked);
    writer.bytes(frames);
    start.pad(&mut writer, min_len, 16);
    let len = start.finish(&mut writer, &Mask, &Sum).unwrap();
    out.truncate(at + len);
}

/// A packet that was read.
struct Read {
    header: Header,
    number: u64,
    payload: Bytes,
    reserved_bits: bool,
}

fn read(datagram: &mut BytesMut, largest: Option<u64>) -> Option<Read> {
    match Protected::split_first(datagram, 8) {
        Ok(FirstPacket::Protected(mut packet)) => {
            let Opened { header, number, payload, reserved_bits } =
                packet.unprotect(&Mask, largest).ok()?.open(&Sum)?;
            let read = Read { header: header.clone(), number, payload, reserved_bits };
            assert!(packet.unprotect(&Mask, largest).is_err(), "taken");
            Some(read)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn packet_numbers_of_the_appendix() {
    // A.2: the number 0xac5c02 after 0xabe8b3 takes 2 bytes, 0xace8fe takes 3.
    assert_eq!(number::encoded_len(0xac5c02, Some(0xabe8b3)), 2);
    assert_eq!(number::encoded_len(0xace8fe, Some(0xabe8b3)), 3);
    // A.3: 0x9b32 after 0xa82f30ea.
    assert_eq!(number::expand(0x9b32, 2, Some(0xa82f30ea)), 0xa82f9b32);
    assert_eq!((number::encoded_len(0, None), number::expand(0, 1, None)), (1, 0));
}

#[test]
fn every_number_near_another_is_recovered() {
    for largest in [0, 1, 127, 128, 255, 256, 65_535, 65_536, 1 << 24, (1 << 32) - 2, 1 << 40, (1 << 62) - 3] {
        for ahead in (1..600).chain([1 << 15, (1 << 22) - 1]) {
            let number = largest + ahead;
            if number >= 1 << 62 {
                continue;
            }
            // The peer has acknowledged `largest`; it may have received anything from there to just
            // before `number`.
            let len = number::encoded_len(number, Some(largest));
            let truncated = (number & ((1u64 << (8 * len)) - 1)) as u32;
            for received in [largest, largest + ahead / 2, number - 1] {
                assert_eq!(number::expand(truncated, len, Some(received)), number, "{number} after {received}");
            }
        }
    }
}

#[test]
// RFC 9000 sections 17.2#8, 17.3.1#2.
fn packets_survive_the_wire() {
    for header in Version::SUPPORTED.into_iter().flat_map(headers_of) {
        for (number, acked) in [(0, None), (5, Some(4)), (70_000, Some(69_000)), (1 << 30, Some(1)), (9, Some(0))] {
            let mut datagram = Vec::new();
            write(&header, number, acked, b"frames", 0, &mut datagram);
            assert!(datagram.len() <= header.max_len() + 6 + 16);
            let mut datagram = BytesMut::from(&datagram[..]);
            let opened = read(&mut datagram, acked).unwrap();
            assert_eq!((&opened.header, opened.number), (&header, number));
            assert!(opened.payload.starts_with(b"frames") && !opened.reserved_bits && datagram.is_empty());
        }
    }
}

#[test]
// RFC 9000 section 12.2#1.
fn coalesced_packets_are_cut_apart() {
    // While the version changes, packets of both may share a datagram.
    let (mut all, last) = (headers_of(Version::V2), headers());
    all.truncate(4);
    all.extend_from_slice(&last[..5]);
    let mut datagram = Vec::new();
    for header in &all {
        write(header, 3, None, b"x", 0, &mut datagram);
    }
    let mut rest = BytesMut::from(&datagram[..]);
    for header in &all {
        let opened = read(&mut rest, None).unwrap();
        // PADDING makes room for the sample.
        assert_eq!((&opened.header, &opened.payload[..]), (header, &b"x\0\0"[..]));
    }
    assert!(rest.is_empty());
}

#[test]
fn padding_fills_to_the_size_asked_for_and_no_further() {
    for header in headers() {
        for size in [200, 1200, 1500] {
            let mut datagram = Vec::new();
            write(&header, 0, None, b"x", size, &mut datagram);
            assert_eq!(datagram.len(), size);
        }
    }
}

#[test]
// RFC 9001 section 5.4.2#1.
fn what_is_changed_or_cut_does_not_open() {
    for header in headers() {
        let mut datagram = Vec::new();
        write(&header, 77, Some(70), &[1; 40], 0, &mut datagram);
        for at in 0..datagram.len() * 8 {
            let mut changed = BytesMut::from(&datagram[..]);
            changed[at / 8] ^= 1 << (at % 8);
            if let Ok(FirstPacket::Protected(mut packet)) = Protected::split_first(&mut changed, 8)
                && let Ok(sealed) = packet.unprotect(&Mask, Some(70))
            {
                assert!(sealed.open(&Sum).is_none(), "bit {at} of {header:?}");
            }
        }
        for len in 0..datagram.len() {
            let mut cut = BytesMut::from(&datagram[..len]);
            if let Ok(FirstPacket::Protected(mut packet)) = Protected::split_first(&mut cut, 8)
                && let Ok(sealed) = packet.unprotect(&Mask, Some(70))
            {
                assert!(sealed.open(&Sum).is_none(), "cut to {len}");
            }
        }
    }
}

#[test]
// RFC 9000 sections 17.2#9, 17.3.1#3.
fn reserved_bits_are_told_of_authentic_packets() {
    for (header, bit) in [(headers()[0].clone(), 0x04), (headers()[3].clone(), 0x08), (headers()[4].clone(), 0x10)] {
        let mut buf = vec![0; 200];
        let mut writer = Writer::new(&mut buf);
        let start = header.begin(&mut writer, 0, None);
        writer.bytes(&[1; 30]);
        writer.written_mut()[0] |= bit;
        let len = start.finish(&mut writer, &Mask, &Sum).unwrap();
        assert!(read(&mut BytesMut::from(&buf[..len]), None).unwrap().reserved_bits);
    }
    assert_eq!((SPIN, KEY_PHASE), (0x20, 0x04));
}

/// RFC 9287: the bit is told, and protected like the rest of the header.
#[test]
fn packets_without_the_fixed_bit() {
    for header in Version::SUPPORTED.into_iter().flat_map(headers_of) {
        for clear in [false, true] {
            let mut buf = vec![0; 300];
            let mut writer = Writer::new(&mut buf);
            let start = header.begin(&mut writer, 9, None);
            writer.bytes(&[1; 30]);
            if clear {
                start.clear_fixed_bit(&mut writer);
            }
            let len = start.finish(&mut writer, &Mask, &Sum).unwrap();
            assert_eq!(buf[0] & 0x40 == 0, clear);
            for set in [false, true] {
                let mut datagram = BytesMut::from(&buf[..len]);
                datagram[0] = datagram[0] & !0x40 | if set { 0x40 } else { 0 };
                let Ok(FirstPacket::Protected(mut packet)) = Protected::split_first(&mut datagram, 8) else { panic!() };
                assert_eq!((packet.has_fixed_bit(), packet.header().version()), (set, header.version()));
                let opened = packet.unprotect(&Mask, None).unwrap().open(&Sum);
                assert_eq!(opened.is_some(), set != clear, "{header:?}");
            }
        }
    }
}

#[test]
// RFC 9000 sections 10.3#6, 17.2#1, 17.3.1#1.
fn what_is_no_packet_of_ours() {
    let first = |bytes: &[u8]| Protected::split_first(&mut BytesMut::from(bytes), 8);
    // Connection IDs of more than 20 bytes, in version 1.
    assert!(first(&[&[0xc0, 0, 0, 0, 1, 21][..], &[0; 60]].concat()).is_err());
    // A length beyond the datagram.
    assert!(first(&[&[0xe0, 0, 0, 0, 1, 0, 0, 0x40, 60][..], &[0; 40]].concat()).is_err());
    let other = first(&[&[0xc0, 0xba, 0xba, 0xba, 0xba, 0, 0][..], &[0; 40]].concat());
    assert!(matches!(other, Ok(FirstPacket::Unsupported(Version(0xbaba_baba)))));
    assert!(first(&[]).is_err());
}

#[test]
// RFC 9000 section 17.2#4#7.
fn version_negotiation_and_invariants_know_long_connection_ids() {
    let (long, short) = ([7; 255], [8; 3]);
    let versions = [Version::V1, Version(0x0a0a_0a0a)];
    let packet = version_negotiation::encode(&long, &short, &versions, 0x15);
    let Ok(FirstPacket::VersionNegotiation(read)) = Protected::split_first(&mut BytesMut::from(&packet[..]), 8) else {
        panic!()
    };
    assert_eq!((&read.dcid[..], &read.scid[..], &read.versions[..]), (&long[..], &short[..], &versions[..]));
    let Ok(Invariant::Long(LongHeader { version, dcid, scid, .. })) = Invariant::peek(&packet, 8) else { panic!() };
    assert_eq!((version, dcid, scid), (Version::NEGOTIATION, &long[..], &short[..]));
    for len in 0..packet.len() - 8 {
        assert!(Protected::split_first(&mut BytesMut::from(&packet[..len]), 8).is_err(), "cut to {len}");
    }
    assert_eq!(Invariant::peek(&[0x40, 1, 2, 3, 4, 5], 4), Ok(Invariant::Short { dcid: id(&[1, 2, 3, 4]) }));
    assert_eq!(Invariant::peek(&[0x40, 1, 2], 4), Err(DecodeError::UnexpectedEnd));
}

#[test]
// RFC 9000 section 10.3#7.
fn stateless_resets_look_like_short_packets() {
    let token = ResetToken([5; 16]);
    for first in 0..=255 {
        let datagram = stateless_reset::encode(vec![first, 1, 2, 3, 4], token);
        assert_eq!(datagram[0] & 0xc0, 0x40);
        assert_eq!(stateless_reset::token_of(&datagram), Some(token));
    }
    let short = stateless_reset::encode(vec![0x40, 1, 2, 3], token);
    assert_eq!(stateless_reset::token_of(&short), None, "shorter than 21 bytes");
    // RFC 9000 section 10.3#8: another version may have it behind a long header.
    assert_eq!(stateless_reset::token_of(&[0xff; 40]), Some(ResetToken([0xff; 16])));
}

proptest! {
    #[test]
    fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..300), local in 0usize..=20) {
        let mut rest = BytesMut::from(&bytes[..]);
        while !rest.is_empty() {
            let before = rest.len();
            match Protected::split_first(&mut rest, local) {
                Ok(FirstPacket::Protected(mut packet)) => {
                    if let Ok(sealed) = packet.unprotect(&Mask, Some(9)) {
                        let _ = sealed.open(&Sum);
                    }
                }
                _ => break,
            }
            prop_assert!(rest.len() < before);
        }
        let _ = Invariant::peek(&bytes, local);
        let _ = stateless_reset::token_of(&bytes);
        let _ = crate::client_hello::parse(&bytes);
    }
}
