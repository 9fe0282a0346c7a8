//! A decrypted payload: the input is a sequence of frames.

use tercel_wire::{EncryptionLevel, Frame, Reader, Writer};

/// Reads frames until one is malformed. Each takes at least a byte, and is the same when it is
/// written and read again.
pub fn frames(data: &[u8]) {
    let mut reader = Reader::new(data);
    while !reader.is_empty() {
        let before = reader.remaining();
        let Ok(frame) = Frame::decode(&mut reader) else { return };
        let taken = before - reader.remaining();
        assert!(taken > 0, "{frame:?} of no bytes");
        check(&frame, taken);
    }
}

fn check(frame: &Frame<'_>, taken: usize) {
    use EncryptionLevel::{Handshake, Initial, OneRtt, ZeroRtt};
    assert!(frame.is_allowed_in(OneRtt), "everything may be in 1-RTT packets: {frame:?}");
    assert!(frame.is_allowed_in(Initial) == frame.is_allowed_in(Handshake));
    assert!(
        !frame.is_allowed_in(Initial) || matches!(frame, Frame::Ack(_) | Frame::Crypto { .. }) || {
            frame.is_allowed_in(ZeroRtt)
        }
    );
    assert!(!frame.is_ack_eliciting() || frame.is_in_flight(), "{frame:?} would never be declared lost");
    let len = frame.encoded_len();
    // Lengths that were left out may be added.
    assert!(len <= taken + 8, "{frame:?} came in {taken} bytes and takes {len}");
    let mut bytes = vec![0xee; len];
    let mut writer = Writer::new(&mut bytes);
    frame.encode(&mut writer);
    assert!(!writer.overflowed() && writer.remaining() == 0, "the length of {frame:?} is not {len}");
    let mut reader = Reader::new(&bytes);
    assert_eq!(Frame::decode(&mut reader).as_ref(), Ok(frame));
    assert!(reader.is_empty());
    if let Frame::Ack(ack) = frame {
        let mut below = None;
        let mut count = 0;
        for range in ack.iter() {
            assert!(range.start() <= range.end());
            assert!(below.is_none_or(|below| range.end() + 1 < below), "ranges descend and do not touch");
            below = Some(*range.start());
            count += 1;
        }
        assert_eq!(count, ack.range_count + 1);
    }
}
