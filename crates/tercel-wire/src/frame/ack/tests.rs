use proptest::prelude::*;

use super::*;
use crate::Frame;

fn written(ranges: &[RangeInclusive<u64>], ecn: Option<EcnCounts>, room: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0xee; room];
    let mut writer = Writer::new(&mut bytes);
    let fits = encode_ack(&mut writer, ranges.iter().cloned(), 77, ecn);
    assert!(!writer.overflowed());
    assert!(fits || writer.position() == 0, "nothing is written if it does not fit");
    fits.then(|| writer.written().to_vec())
}

fn read(bytes: &[u8]) -> AckFrame<'_> {
    let mut reader = Reader::new(bytes);
    match Frame::decode(&mut reader) {
        Ok(Frame::Ack(ack)) if reader.is_empty() => ack,
        other => panic!("{other:?}, and {} bytes are left", reader.remaining()),
    }
}

const ECN: EcnCounts = EcnCounts { ect0: 1000, ect1: 0, ce: 7 };

#[test]
fn as_many_ranges_as_fit() {
    let ranges: Vec<_> = (0..100).rev().map(|n| 1000 * n + n..=1000 * n + 5 * n).collect();
    for ecn in [None, Some(ECN)] {
        let whole = written(&ranges, ecn, 1000).unwrap();
        assert_eq!(read(&whole).iter().collect::<Vec<_>>(), ranges);
        let mut told = 0;
        for room in 0..whole.len() {
            let Some(bytes) = written(&ranges, ecn, room) else {
                assert_eq!(told, 0, "room for fewer, but none in {room} bytes");
                continue;
            };
            let ack = read(&bytes);
            assert_eq!((ack.largest, ack.delay, ack.ecn), (*ranges[0].end(), 77, ecn));
            let some: Vec<_> = ack.iter().collect();
            assert_eq!(some, ranges[..some.len()], "the largest, in order");
            assert!(some.len() >= told, "more room, fewer ranges");
            told = some.len();
        }
        assert!(told >= 98, "only {told} of 100 with a byte too little");
    }
}

#[test]
fn no_ranges_no_frame() {
    assert_eq!(written(&[], None, 100), None);
}

#[test]
fn more_ranges_than_the_count_can_tell() {
    let ranges: Vec<_> = (0..17_000).rev().map(|n| 3 * n..=3 * n).collect();
    let bytes = written(&ranges, None, 100_000).unwrap();
    assert_eq!(read(&bytes).iter().count(), 16_384);
}

#[test]
fn all_small_frames_by_brute_force() {
    // Every frame of three ranges with small fields, against sums by hand (section 19.3.1).
    for fields in 0..5u64.pow(5) {
        let field = |at| fields / 5u64.pow(at) % 5;
        let (first, gap, len, gap2, len2) = (field(0), field(1), field(2), field(3), field(4));
        for largest in 0..25 {
            let encoded = [2, largest, 0, 2, first, gap, len, gap2, len2].map(|field| field as u8);
            let smallest = largest as i64 - first as i64;
            let next = smallest - gap as i64 - 2;
            let last = next - len as i64 - gap2 as i64 - 2;
            let bottom = last - len2 as i64;
            match Frame::decode(&mut Reader::new(&encoded)) {
                Ok(Frame::Ack(ack)) => {
                    let expected = [smallest..=largest as i64, next - len as i64..=next, bottom..=last];
                    let found: Vec<_> = ack.iter().map(|range| *range.start() as i64..=*range.end() as i64).collect();
                    assert_eq!(found, expected);
                }
                Err(error) => {
                    assert!(bottom < 0, "{encoded:?}");
                    assert_eq!(error, MALFORMED);
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

proptest! {
    #[test]
    fn a_received_frame_is_written_as_it_came(
        largest in 1000u64..1 << 60, steps in prop::collection::vec((0u64..4, 0u64..200), 0..9), ecn in any::<bool>(),
    ) {
        let mut bytes = [0; 200];
        let mut writer = Writer::new(&mut bytes);
        writer.u8(if ecn { 3 } else { 2 });
        for value in [largest, 5, steps.len() as u64, 2] {
            writer.varint(value);
        }
        for (gap, len) in &steps {
            writer.varint(*gap);
            writer.varint(*len / 2);
        }
        write_ecn(&mut writer, ecn.then_some(ECN));
        let frame = Frame::decode(&mut Reader::new(writer.written()));
        // Few of them reach below 0.
        prop_assume!(frame.is_ok());
        let frame = frame.unwrap();
        let mut again = [0; 200];
        let mut again = Writer::new(&mut again);
        frame.encode(&mut again);
        prop_assert_eq!(again.written(), writer.written());
        prop_assert_eq!(frame.encoded_len(), writer.position());
    }
}
