use proptest::prelude::*;

use super::*;

fn varint(bytes: &[u8]) -> Result<u64, DecodeError> {
    Reader::new(bytes).varint()
}

#[test]
fn all_integers_of_one_and_two_bytes() {
    for first in 0..=0xff_u8 {
        match first >> 6 {
            0 => assert_eq!(varint(&[first]), Ok(first.into())),
            _ => assert_eq!(varint(&[first]), Err(DecodeError::UnexpectedEnd), "{first:#x}"),
        }
    }
    for value in 0..1 << 14 {
        let bytes = (value as u16 | 0x4000).to_be_bytes();
        assert_eq!(varint(&bytes), Ok(value));
        let mut written = [0; 2];
        Writer::new(&mut written).varint_two_bytes(value as u16);
        assert_eq!(written, bytes);
    }
}

#[test]
fn integers_may_take_more_bytes_than_they_need() {
    // RFC 9000 section 16: only frame types must be short.
    for value in [0, 1, 63, 64, 16_383, 16_384, (1 << 30) - 1] {
        assert_eq!(varint(&(value as u32 | 0x8000_0000).to_be_bytes()), Ok(value));
        assert_eq!(varint(&(value | 0xc000_0000_0000_0000).to_be_bytes()), Ok(value));
    }
    assert_eq!(varint(&[0xff; 8]), Ok(VarInt::MAX.into_inner()));
    assert_eq!((VarInt::saturating(u64::MAX), VarInt::saturating(5)), (VarInt::MAX, VarInt::from_u32(5)));
}

#[test]
fn what_fails_to_be_read_stays() {
    let bytes = [0x80, 1, 2];
    let mut reader = Reader::new(&bytes);
    assert_eq!(reader.varint(), Err(DecodeError::UnexpectedEnd));
    assert_eq!(reader.u32(), Err(DecodeError::UnexpectedEnd));
    assert_eq!(reader.bytes(4), Err(DecodeError::UnexpectedEnd));
    assert_eq!(reader.array::<4>(), Err(DecodeError::UnexpectedEnd));
    assert_eq!((reader.remaining(), reader.peek()), (3, &bytes[..]));
    assert_eq!((reader.u16(), reader.u8(), reader.is_empty()), (Ok(0x8001), Ok(2), true));
    assert_eq!((reader.rest(), reader.bytes(0)), (&[][..], Ok(&[][..])));
}

#[test]
fn a_length_beyond_all_memory_is_an_end() {
    let mut bytes = [0xff; 12];
    assert_eq!(Reader::new(&bytes).length_prefixed(), Err(DecodeError::UnexpectedEnd));
    bytes[0] = 11;
    assert_eq!(Reader::new(&bytes).length_prefixed(), Ok(&[0xff; 11][..]));
    bytes[0] = 12;
    assert_eq!(Reader::new(&bytes).length_prefixed(), Err(DecodeError::UnexpectedEnd));
}

#[test]
fn a_writer_stays_within_its_limit() {
    let mut bytes = [0xee; 16];
    let mut writer = Writer::resume(&mut bytes, 3);
    assert_eq!((writer.position(), writer.remaining()), (3, 13));
    writer.limit(20);
    assert_eq!(writer.remaining(), 13, "a limit never makes room");
    writer.limit(5);
    writer.u16(0x0102);
    writer.zeros(9);
    assert_eq!((writer.position(), writer.remaining(), writer.overflowed()), (8, 0, false));
    assert_eq!(bytes[3..9], [1, 2, 0, 0, 0, 0xee], "zeros as many as fit");
    assert!(Writer::resume(&mut bytes, 17).overflowed(), "a position outside");
}

#[cfg(not(debug_assertions))]
#[test]
fn what_does_not_fit_is_remembered_and_not_written() {
    let mut bytes = [0; 4];
    let mut writer = Writer::new(&mut bytes);
    writer.u8(1);
    writer.u32(5);
    assert_eq!((writer.written(), writer.overflowed()), (&[1][..], true));
}

proptest! {
    #[test]
    fn every_integer_survives_the_wire(value in (0u32..62).prop_flat_map(|bits| 0..=(1u64 << bits)), more in any::<[u8; 3]>()) {
        let mut bytes = [0; 11];
        let mut writer = Writer::new(&mut bytes);
        writer.varint(value);
        writer.bytes(&more);
        let mut reader = Reader::new(writer.written());
        prop_assert_eq!((reader.varint(), reader.rest()), (Ok(value), &more[..]));
    }
}
