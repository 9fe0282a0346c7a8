//! JSON as text, without a tree of values in between: a log holds millions of small numbers.
//!
//! What is constant is copied by its known length once all this is inlined, and so are the eight digits
//! that are made of a number at a time, of which the leading zeros are shifted out and the rest is cut:
//! several times cheaper than a call of `memcpy` for what is short.

/// Below this, eight digits are enough.
const EIGHT_DIGITS: u64 = 100_000_000;

/// The eight digits of a number below 10^8, each a byte's value, the first in the lowest byte.
///
/// All are made at once: the number is split into two of four digits, those into four of two, and those
/// into eight of one, each part in a lane of its own. Division is multiplication with a reciprocal that
/// is exact for a lane's range.
#[inline]
const fn eight(value: u64) -> u64 {
    let fours = (value / 10_000) | (value % 10_000) << 32;
    let hundreds = ((fours * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let pairs = hundreds | (fours - 100 * hundreds) << 16;
    let tens = ((pairs * 103) >> 10) & 0x000f_000f_000f_000f;
    tens | (pairs - 10 * tens) << 8
}

const ASCII_ZEROS: u64 = 0x3030_3030_3030_3030;

/// Text that grows by pieces of JSON.
pub(super) trait Json {
    fn push_str(&mut self, text: &str);
    /// A whole number.
    fn number(&mut self, value: u64);
    /// Nanoseconds as milliseconds, to the microsecond.
    fn millis(&mut self, nanos: u64);
    /// A text, in quotes.
    fn text(&mut self, value: &str);
    /// Bytes in hexadecimal, in quotes.
    fn hex(&mut self, bytes: &[u8]);
    /// `,"key":number`.
    fn field(&mut self, key: &str, value: u64);
}

impl Json for Vec<u8> {
    #[inline(always)]
    fn push_str(&mut self, text: &str) {
        self.extend_from_slice(text.as_bytes());
    }

    #[inline]
    fn number(&mut self, value: u64) {
        if value < EIGHT_DIGITS {
            let digits = eight(value);
            // The last digit stands even if it is zero.
            let zeros = (digits | 1 << 56).trailing_zeros() / 8;
            let end = self.len() + 8 - zeros as usize;
            self.extend_from_slice(&((digits | ASCII_ZEROS) >> (8 * zeros)).to_le_bytes());
            self.truncate(end);
        } else {
            self.number(value / EIGHT_DIGITS);
            self.extend_from_slice(&(eight(value % EIGHT_DIGITS) | ASCII_ZEROS).to_le_bytes());
        }
    }

    fn millis(&mut self, nanos: u64) {
        self.number(nanos / 1_000_000);
        let micros = nanos / 1000 % 1000;
        if micros > 0 {
            self.push_str(match micros {
                ..10 => ".00",
                10..100 => ".0",
                _ => ".",
            });
            self.number(micros);
        }
    }

    fn text(&mut self, value: &str) {
        self.push(b'"');
        for character in value.chars() {
            match character {
                '"' => self.push_str("\\\""),
                '\\' => self.push_str("\\\\"),
                c if (c as u32) < 0x20 => self.push_str(&format!("\\u{:04x}", c as u32)),
                c => self.push_str(c.encode_utf8(&mut [0; 4])),
            }
        }
        self.push(b'"');
    }

    fn hex(&mut self, bytes: &[u8]) {
        const DIGITS: [u8; 16] = *b"0123456789abcdef";
        self.push(b'"');
        for byte in bytes {
            self.push(DIGITS[usize::from(byte >> 4)]);
            self.push(DIGITS[usize::from(byte & 15)]);
        }
        self.push(b'"');
    }

    #[inline(always)]
    fn field(&mut self, key: &str, value: u64) {
        self.push_str(",\"");
        self.push_str(key);
        self.push_str("\":");
        self.number(value);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn told(of: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        of(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_are_those_of_display() {
        let mut value = 1u64;
        for _ in 0..20 {
            for near in [value - 1, value, value + 1, value.wrapping_mul(7)] {
                assert_eq!(told(|out| out.number(near)), near.to_string());
            }
            value = value.saturating_mul(10).min(u64::MAX - 1);
        }
        assert_eq!(told(|out| out.number(u64::MAX)), u64::MAX.to_string());
    }

    #[test]
    fn milliseconds_have_a_fraction_where_there_is_one() {
        for (nanos, expected) in [
            (0, "0"),
            (999, "0"),
            (1000, "0.001"),
            (12_000, "0.012"),
            (123_456, "0.123"),
            (5_000_000, "5"),
            (5_100_000, "5.100"),
            (77_000_003_000_000, "77000003"),
        ] {
            assert_eq!(told(|out| out.millis(nanos)), expected);
        }
    }

    #[test]
    fn texts_and_bytes_are_quoted() {
        assert_eq!(told(|out| out.text("a\"b\\c\nd\u{e9}")), "\"a\\\"b\\\\c\\u000ad\u{e9}\"");
        assert_eq!(told(|out| out.hex(&[0, 0xab, 0xff])), "\"00abff\"");
        assert_eq!(told(|out| out.field("key", 7)), ",\"key\":7");
    }
}
