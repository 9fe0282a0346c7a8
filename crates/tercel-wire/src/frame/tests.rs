//! Frames against RFC 9000 section 19 and Table 3, as typed by hand here.

use proptest::prelude::*;

use super::*;
use crate::EncryptionLevel::{Handshake, Initial, OneRtt, ZeroRtt};
use crate::{DecodeError, EncryptionLevel, Reader, Role, VarInt, Writer};

/// A frame of every type, with the columns "Pkts" and "Spec" of Table 3: where it may be, N for not
/// ack-eliciting, C for not in flight, P for probing. The RFC's text (section 12.5) takes
/// RETIRE_CONNECTION_ID out of 0-RTT packets again, and that of RFC 9002 (section 2) counts only
/// ack-eliciting packets and PADDING as in flight, so that CONNECTION_CLOSE has a C as well.
const TABLE: &[(&[u8], &str, &str)] = &[
    (&[0x00], "IH01", "NP"),
    (&[0x01], "IH01", ""),
    (&[0x02, 5, 0, 0, 5], "IH_1", "NC"),
    (&[0x03, 5, 0, 0, 5, 1, 2, 3], "IH_1", "NC"),
    (&[0x04, 0, 1, 2], "__01", ""),
    (&[0x05, 0, 1], "__01", ""),
    (&[0x06, 0, 1, b'x'], "IH_1", ""),
    (&[0x07, 1, b'x'], "___1", ""),
    (&[0x08, 0, b'x'], "__01", ""),
    (&[0x09, 0, b'x'], "__01", ""),
    (&[0x0a, 0, 1, b'x'], "__01", ""),
    (&[0x0b, 0, 1, b'x'], "__01", ""),
    (&[0x0c, 0, 9, b'x'], "__01", ""),
    (&[0x0d, 0, 9, b'x'], "__01", ""),
    (&[0x0e, 0, 9, 1, b'x'], "__01", ""),
    (&[0x0f, 0, 9, 1, b'x'], "__01", ""),
    (&[0x10, 1], "__01", ""),
    (&[0x11, 0, 1], "__01", ""),
    (&[0x12, 1], "__01", ""),
    (&[0x13, 1], "__01", ""),
    (&[0x14, 1], "__01", ""),
    (&[0x15, 0, 1], "__01", ""),
    (&[0x16, 1], "__01", ""),
    (&[0x17, 1], "__01", ""),
    (&[0x18, 1, 0, 1, 7, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15], "__01", "P"),
    (&[0x19, 1], "___1", ""),
    (&[0x1a, 1, 2, 3, 4, 5, 6, 7, 8], "__01", "P"),
    (&[0x1b, 1, 2, 3, 4, 5, 6, 7, 8], "___1", "P"),
    (&[0x1c, 1, 0, 1, b'x'], "IH01", "NC"),
    (&[0x1d, 1, 1, b'x'], "__01", "NC"),
    (&[0x1e], "___1", ""),
    (&[0x1f], "___1", ""),
    (&[0x21, 0, 1, 9, 8], "__01", ""),
    (&[0x24, 0, 1, 9, 9], "__01", ""),
    (&[0x30, b'x'], "__01", ""),
    (&[0x31, 1, b'x'], "__01", ""),
    (&[0x80, 0x9f, 0x81, 0xa6, 1, 192, 0, 2, 1, 1, 187], "__01", "P"),
    (&[0x80, 0x9f, 0x81, 0xa7, 1, 32, 1, 13, 184, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 1, 187], "__01", "P"),
    (&[0x42, 0xf5, 0x80, 1, 2, 3], "___1", "NC"),
    (&[0x40, 0xaf, 1, 9, 0x59, 0x88, 3], "___1", ""),
];

fn decode(bytes: &[u8]) -> Result<Frame<'_>, DecodeError> {
    Frame::decode(&mut Reader::new(bytes))
}

fn encode(frame: &Frame<'_>) -> Vec<u8> {
    let mut bytes = vec![0; frame.encoded_len() + 8];
    let mut writer = Writer::new(&mut bytes);
    match frame {
        // Received ranges are not sent on; ours are written from a set.
        Frame::Ack(ack) => assert!(encode_ack(&mut writer, ack.iter(), ack.delay, ack.ecn)),
        frame => frame.encode(&mut writer),
    }
    assert!(!writer.overflowed());
    writer.written().to_vec()
}

#[test]
// RFC 9000 sections 12.4#3, 12.5#1#2, 17.2.4#1.
// RFC 9221 sections 5#3, 6#1.
// RFC 9001 section 8.3#2.
fn every_type_is_where_table_3_allows_it_and_means_what_it_says() {
    for (bytes, packets, spec) in TABLE {
        let frame = decode(bytes).unwrap_or_else(|error| panic!("{bytes:x?}: {error}"));
        let levels: [(char, EncryptionLevel); 4] = [('I', Initial), ('H', Handshake), ('0', ZeroRtt), ('1', OneRtt)];
        for (letter, level) in levels {
            assert_eq!(frame.is_allowed_in(level), packets.contains(letter), "{frame:?} in {level:?}");
        }
        assert_eq!(frame.is_ack_eliciting(), !spec.contains('N'), "{frame:?}");
        assert_eq!(frame.is_in_flight(), !spec.contains('C'), "{frame:?}");
        assert_eq!(frame.is_probing(), spec.contains('P'), "{frame:?}");
    }
}

#[test]
// RFC 9000 section 12.4#4.
fn all_other_types_are_unknown() {
    let known: Vec<u64> = TABLE.iter().map(|(bytes, ..)| Reader::new(bytes).varint().unwrap()).collect();
    for ty in (0..0x4000).chain([0x2ab2, 1 << 30, VarInt::MAX.into_inner()]).filter(|ty| !known.contains(ty)) {
        let mut bytes = [0; 40];
        Writer::new(&mut bytes).varint(ty);
        assert_eq!(decode(&bytes), Err(DecodeError::UnknownFrame(ty)), "{ty:#x}");
    }
}

#[test]
// RFC 9000 section 12.4#5.
fn a_type_must_have_its_shortest_encoding() {
    // RFC 9000 section 12.4.
    for (bytes, ..) in TABLE {
        for prefix in [&[0x40][..], &[0x80, 0, 0], &[0xc0, 0, 0, 0, 0, 0, 0]] {
            let long = [prefix, bytes].concat();
            assert!(decode(&long).is_err(), "{long:x?}");
        }
    }
}

/// Types whose data reaches to the end of the packet: cut short, they are shorter frames.
fn is_open_ended(ty: u8) -> bool {
    matches!(ty, 0x00 | 0x08 | 0x09 | 0x0c | 0x0d | 0x30)
}

#[test]
fn every_truncation_is_an_error() {
    for (bytes, ..) in TABLE.iter().filter(|(bytes, ..)| !is_open_ended(bytes[0])) {
        for len in 0..bytes.len() {
            assert!(decode(&bytes[..len]).is_err(), "{:x?} of {bytes:x?}", &bytes[..len]);
        }
    }
}

#[test]
fn what_is_written_is_read_again() {
    for (bytes, ..) in TABLE {
        let frame = decode(bytes).unwrap();
        let written = encode(&frame);
        assert_eq!(decode(&written).as_ref(), Ok(&frame), "{written:x?}");
        let exact = !matches!(frame, Frame::Padding(_) | Frame::Ack(_));
        assert!(!exact || frame.encoded_len() == written.len(), "{frame:?}");
        // Behind it the reader stands at what follows.
        if !is_open_ended(bytes[0]) {
            let more = [bytes, &[1][..]].concat();
            let mut reader = Reader::new(&more);
            assert_eq!(Frame::decode(&mut reader), Ok(frame));
            assert_eq!(reader.rest(), [1]);
        }
    }
}

#[test]
fn padding_is_taken_in_one_piece() {
    let mut reader = Reader::new(&[0, 0, 0, 1]);
    assert_eq!(Frame::decode(&mut reader), Ok(Frame::Padding(3)));
    assert_eq!(Frame::decode(&mut reader), Ok(Frame::Ping));
    assert!(reader.is_empty());
}

/// draft-ietf-quic-reliable-stream-reset section 4.
#[test]
fn no_more_is_delivered_than_there_is() {
    for ty in [0x21, 0x24] {
        for (reliable, good) in [(0, true), (9, true), (10, false)] {
            assert_eq!(decode(&[ty, 0, 1, 9, reliable]).is_ok(), good, "{ty:#x} {reliable}");
        }
    }
}

#[test]
fn an_observed_address_is_of_either_family() {
    for (bytes, address) in [
        (&[0x80, 0x9f, 0x81, 0xa6, 1, 192, 0, 2, 1, 1, 187][..], "192.0.2.1:443"),
        (&[0x80, 0x9f, 0x81, 0xa7, 1, 32, 1, 13, 184, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 1, 187], "[2001:db8::9]:443"),
    ] {
        let frame = ObservedAddress { sequence: 1, address: address.parse().unwrap() };
        assert_eq!(decode(bytes), Ok(Frame::ObservedAddress(frame)));
    }
}

#[test]
// RFC 9000 sections 4.6#1, 19.6#1, 19.7#2, 19.8#2, 19.11#1, 19.14#2, 19.15#1#6.
fn bounds_of_fields() {
    let max = VarInt::MAX.into_inner();
    let frame = |ty: u8, values: &[u64]| {
        let mut bytes = vec![0; 64];
        let mut writer = Writer::new(&mut bytes);
        writer.u8(ty);
        values.iter().for_each(|value| writer.varint(*value));
        writer.written().to_vec()
    };
    let is_ok = |bytes: &[u8]| decode(bytes).is_ok();
    // Stream counts up to 2^60 (sections 19.11 and 19.14).
    for ty in [0x12, 0x13, 0x16, 0x17] {
        assert!(is_ok(&frame(ty, &[1 << 60])) && !is_ok(&frame(ty, &[(1 << 60) + 1])), "{ty:#x}");
    }
    // No data beyond 2^62 - 1 (sections 19.6 and 19.8).
    for ty in [0x06, 0x0e] {
        let with = |offset, len: u64| {
            let values = if ty == 6 { vec![offset, len] } else { vec![0, offset, len] };
            [frame(ty, &values), vec![0; len as usize]].concat()
        };
        assert!(is_ok(&with(max - 1, 1)) && !is_ok(&with(max, 1)), "{ty:#x}");
    }
    // A token is not empty (section 19.7).
    assert!(!is_ok(&frame(0x07, &[0])));
    // Acknowledged numbers do not fall below 0 (section 19.3.1).
    assert!(is_ok(&frame(0x02, &[5, 0, 0, 5])) && !is_ok(&frame(0x02, &[5, 0, 0, 6])));
    assert!(is_ok(&frame(0x02, &[9, 0, 1, 2, 3, 2])) && !is_ok(&frame(0x02, &[9, 0, 1, 2, 3, 3])));
    assert!(!is_ok(&frame(0x02, &[9, 0, 1, 2, 6, 0])));
    // A count of ranges that are not there.
    assert!(!is_ok(&frame(0x02, &[9, 0, max, 2])));
    // Connection IDs of 1 to 20 bytes; retire_prior_to not above the sequence number (section 19.15).
    let new_id = |sequence: u8, retire: u8, len: u8| {
        [&[0x18, sequence, retire, len][..], &vec![7; len.into()], &[9; 16]].concat()
    };
    assert!(is_ok(&new_id(3, 3, 1)) && is_ok(&new_id(3, 0, 20)));
    assert!(!is_ok(&new_id(3, 4, 8)) && !is_ok(&new_id(3, 0, 0)) && !is_ok(&new_id(3, 0, 21)));
}

#[test]
// RFC 9000 section 19.3.1#1.
fn ranges_of_an_acknowledgement() {
    // RFC 9000 section 19.3.1: largest = previous_smallest - gap - 2.
    let Ok(Frame::Ack(ack)) = decode(&[0x02, 20, 7, 2, 3, 0, 1, 4, 0]) else { panic!() };
    let ranges: Vec<_> = ack.iter().collect();
    assert_eq!(ranges, [17..=20, 14..=15, 8..=8]);
    assert_eq!((ack.largest, ack.delay, ack.ecn), (20, 7, None));
}

fn varint() -> impl Strategy<Value = u64> {
    (0u64..62).prop_flat_map(|bits| 0..=(1u64 << bits))
}

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..50);
    let id = || varint().prop_map(StreamId::from_wire);
    let direction = || prop_oneof![Just(Direction::Bidirectional), Just(Direction::Unidirectional)];
    let code = || varint().prop_map(|code| ApplicationErrorCode::from(VarInt::saturating(code)));
    let limit = || 0..=(1u64 << 60);
    prop_oneof![
        (id(), code(), varint()).prop_map(|(id, error, final_size)| encode(&Frame::ResetStream {
            id,
            error,
            final_size
        })),
        (id(), code()).prop_map(|(id, error)| encode(&Frame::StopSending { id, error })),
        (0..=(1u64 << 61), bytes()).prop_map(|(offset, data)| encode(&Frame::Crypto { offset, data: &data })),
        (id(), 0..=(1u64 << 61), any::<bool>(), bytes())
            .prop_map(|(id, offset, fin, data)| encode(&Frame::Stream(StreamFrame { id, offset, fin, data: &data }))),
        varint().prop_map(|value| encode(&Frame::MaxData(value))),
        (id(), varint()).prop_map(|(id, maximum)| encode(&Frame::MaxStreamData { id, maximum })),
        (direction(), limit()).prop_map(|(direction, maximum)| encode(&Frame::MaxStreams { direction, maximum })),
        (direction(), limit()).prop_map(|(direction, limit)| encode(&Frame::StreamsBlocked { direction, limit })),
        (id(), varint()).prop_map(|(id, limit)| encode(&Frame::StreamDataBlocked { id, limit })),
        (code(), bytes()).prop_map(|(error, reason)| {
            encode(&Frame::ConnectionClose(ConnectionClose::Application { error, reason: &reason }))
        }),
        (varint(), varint(), bytes()).prop_map(|(error, frame_type, reason)| {
            let error = TransportErrorCode(error);
            encode(&Frame::ConnectionClose(ConnectionClose::Transport { error, frame_type, reason: &reason }))
        }),
        bytes().prop_map(|data| encode(&Frame::Datagram { data: &data })),
    ]
}

proptest! {
    #[test]
    fn any_frame_survives_the_wire(bytes in any_frame()) {
        let frame = decode(&bytes).unwrap();
        prop_assert_eq!(encode(&frame), bytes);
    }

    #[test]
    fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut reader = Reader::new(&bytes);
        while !reader.is_empty() {
            let before = reader.remaining();
            let Ok(frame) = Frame::decode(&mut reader) else { break };
            prop_assert!(reader.remaining() < before, "a frame has bytes");
            if let Frame::Ack(ack) = &frame {
                let mut last = None;
                for range in ack.iter() {
                    prop_assert!(range.start() <= range.end());
                    prop_assert!(last.is_none_or(|last| *range.end() + 1 < last));
                    last = Some(*range.start());
                }
            }
        }
    }

    #[test]
    fn ranges_survive_the_wire(steps in prop::collection::vec((0u64..5, 2u64..9), 1..60), delay in 0u64..1 << 20) {
        let mut next = 1000;
        let mut ranges = Vec::new();
        for (len, gap) in steps {
            ranges.push(next - len..=next);
            next -= len + gap;
        }
        let mut bytes = [0; 1000];
        let mut writer = Writer::new(&mut bytes);
        prop_assert!(encode_ack(&mut writer, ranges.clone().into_iter(), delay, None));
        let Ok(Frame::Ack(ack)) = decode(writer.written()) else { panic!() };
        prop_assert_eq!(ack.iter().collect::<Vec<_>>(), ranges);
    }
}

#[test]
fn stream_ids_tell_initiator_and_direction() {
    // RFC 9000 Table 1.
    for (id, initiator, direction) in [
        (0, Role::Client, Direction::Bidirectional),
        (1, Role::Server, Direction::Bidirectional),
        (2, Role::Client, Direction::Unidirectional),
        (3, Role::Server, Direction::Unidirectional),
    ] {
        let id = StreamId::from_wire(id + 4 * 7);
        assert_eq!((id.initiator(), id.direction()), (initiator, direction));
    }
}
