//! JSON as text, without a tree of values in between: a log holds millions of small numbers.
//!
//! What is constant is copied by its known length once all this is inlined; a number is copied by the
//! length of the longest and then cut. Both are several times cheaper than a call of `memcpy`.

/// Digits of all numbers below 100, two for each.
const PAIRS: &[u8; 200] = b"0001020304050607080910111213141516171819\
2021222324252627282930313233343536373839\
4041424344454647484950515253545556575859\
6061626364656667686970717273747576777879\
8081828384858687888990919293949596979899";

/// The longest number.
const LONGEST: usize = 20;

/// A number's digits, and how many they are.
#[inline]
fn digits(mut value: u64) -> ([u8; LONGEST], usize) {
    let mut digits = [b'0'; LONGEST];
    let len = value.checked_ilog10().unwrap_or(0) as usize + 1;
    let mut at = len;
    while at >= 2 {
        let pair = 2 * (value % 100) as usize;
        value /= 100;
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    }
    if at == 1 {
        digits[0] = b'0' + (value % 10) as u8;
    }
    (digits, len)
}

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
        let (digits, len) = digits(value);
        let end = self.len() + len;
        self.extend_from_slice(&digits);
        self.truncate(end);
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
