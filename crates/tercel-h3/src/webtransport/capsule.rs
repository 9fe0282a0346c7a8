//! Capsules (RFC 9297 section 3.2) of a session's request stream. Bytes go in as they come, and what
//! matters to a session comes out; a capsule of another type is skipped without being kept.

use bytes::{Buf as _, Bytes, BytesMut};
use tercel_wire::{Reader, Writer};

/// CLOSE_WEBTRANSPORT_SESSION.
const CLOSE: u64 = 0x2843;
/// DRAIN_WEBTRANSPORT_SESSION.
const DRAIN: u64 = 0x78ae;
/// The longest reason, in bytes.
const MAX_REASON: usize = 1024;

/// What a peer says of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Capsule {
    /// It has ended.
    Close { code: u32, reason: String },
    /// It should end soon.
    Drain,
}

/// A capsule that breaks the rules.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

/// Takes capsules out of a stream of bytes.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// The beginning of a capsule; never more than a capsule that is kept can be long.
    held: BytesMut,
    /// Bytes yet to come of a capsule that is skipped.
    skip: u64,
}

impl Decoder {
    /// The next capsule; `None` when `input` is used up.
    pub(super) fn next(&mut self, input: &mut Bytes) -> Result<Option<Capsule>, Malformed> {
        loop {
            let skipped = self.skip.min(input.len() as u64);
            input.advance(usize::try_from(skipped).unwrap_or(input.len()));
            self.skip -= skipped;
            let mut header = Reader::new(&self.held);
            let (Ok(kind), Ok(len)) = (header.varint(), header.varint()) else {
                if input.is_empty() {
                    return Ok(None);
                }
                // One byte after the other: what follows the length may be long, and not be kept.
                self.held.extend_from_slice(&input.split_to(1));
                continue;
            };
            match (kind, len) {
                (CLOSE, len) if !(4..=4 + MAX_REASON as u64).contains(&len) => {
                    return Err(Malformed("the length of a capsule that closes a session is wrong"));
                }
                (DRAIN, 1..) => return Err(Malformed("a capsule that drains a session has contents")),
                (CLOSE, len) => {
                    let missing = usize::try_from(len).unwrap_or(usize::MAX).saturating_sub(header.remaining());
                    self.held.extend_from_slice(&input.split_to(missing.min(input.len())));
                    let Some(capsule) = close(&self.held) else { return Ok(None) };
                    self.held.clear();
                    return capsule.map(Some);
                }
                (DRAIN, 0) => {
                    self.held.clear();
                    return Ok(Some(Capsule::Drain));
                }
                (_, len) => {
                    self.held.clear();
                    self.skip = len;
                }
            }
        }
    }

    /// Whether the stream may end here.
    pub(super) fn is_between_capsules(&self) -> bool {
        self.skip == 0 && self.held.is_empty()
    }
}

/// A whole capsule of this kind, if it is whole.
fn close(bytes: &[u8]) -> Option<Result<Capsule, Malformed>> {
    let mut reader = Reader::new(bytes);
    reader.varint().ok()?;
    let mut body = Reader::new(reader.length_prefixed().ok()?);
    let code = body.u32().ok()?;
    let reason = std::str::from_utf8(body.rest()).map(str::to_owned);
    Some(match reason {
        Ok(reason) => Ok(Capsule::Close { code, reason }),
        Err(_) => Err(Malformed("the reason of a session's end is not UTF-8")),
    })
}

/// The longest beginning of `reason` that fits.
pub(super) fn fitting(reason: &str) -> &str {
    let mut end = reason.len().min(MAX_REASON);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    &reason[..end]
}

impl Capsule {
    /// As it is sent.
    pub(super) fn encode(&self) -> Bytes {
        let mut buffer = [0; MAX_REASON + 16];
        let mut writer = Writer::new(&mut buffer);
        match self {
            Self::Close { code, reason } => {
                let reason = fitting(reason);
                writer.varint(CLOSE);
                writer.varint(4 + reason.len() as u64);
                writer.u32(*code);
                writer.bytes(reason.as_bytes());
            }
            Self::Drain => {
                writer.varint(DRAIN);
                writer.varint(0);
            }
        }
        Bytes::copy_from_slice(writer.written())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8], piece: usize) -> Result<(Vec<Capsule>, bool), Malformed> {
        let (mut decoder, mut found) = (Decoder::default(), Vec::new());
        for piece in bytes.chunks(piece) {
            let mut input = Bytes::copy_from_slice(piece);
            while let Some(capsule) = decoder.next(&mut input)? {
                found.push(capsule);
            }
            assert!(decoder.held.len() < MAX_REASON + 32);
        }
        Ok((found, decoder.is_between_capsules()))
    }

    #[test]
    fn capsules_come_back_however_they_are_cut() {
        let close = Capsule::Close { code: 0x0102_0304, reason: "über".repeat(200) };
        // A capsule of a type that nobody knows, an empty one, and both kinds.
        let mut bytes = vec![0x40, 0x77, 0x43, 0xe8];
        bytes.extend_from_slice(&[7; 1000]);
        bytes.extend_from_slice(&[0x17, 0]);
        bytes.extend_from_slice(&Capsule::Drain.encode());
        bytes.extend_from_slice(&close.encode());
        for piece in [1, 2, 3, 7, 100, 5000] {
            assert_eq!(decode(&bytes, piece), Ok((vec![Capsule::Drain, close.clone()], true)), "{piece}");
        }
        assert_eq!(decode(&bytes[..bytes.len() - 1], 64), Ok((vec![Capsule::Drain], false)));
        assert_eq!(decode(&bytes[..500], 64), Ok((vec![], false)));
        assert_eq!(decode(&bytes[..1006], 64), Ok((vec![], true)));
    }

    #[test]
    fn a_drain_is_seen_before_anything_follows() {
        assert_eq!(decode(&Capsule::Drain.encode(), 64), Ok((vec![Capsule::Drain], true)));
    }

    #[test]
    fn what_breaks_the_rules_is_refused() {
        // 0x2843 with a length of 3, of 1029; with bytes that are no UTF-8. 0x78ae with contents.
        for wrong in [
            &[0x68, 0x43, 3, 0, 0, 0][..],
            &[0x68, 0x43, 0x44, 0x05, 0],
            &[0x68, 0x43, 5, 0, 0, 0, 1, 0xff],
            &[0x80, 0, 0x78, 0xae, 1, 1],
        ] {
            assert!(decode(wrong, 1).is_err() && decode(wrong, 64).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_long_reason_is_cut_between_letters() {
        let reason = "ä".repeat(600);
        assert_eq!(fitting(&reason).len(), 1024);
        assert_eq!(fitting(&format!("x{reason}")).len(), 1023);
        let sent = Capsule::Close { code: 1, reason: format!("x{reason}") }.encode();
        let (found, _) = decode(&sent, 64).unwrap();
        assert!(matches!(&found[..], [Capsule::Close { code: 1, reason }] if reason.len() == 1023));
    }
}
