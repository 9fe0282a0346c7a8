//! JSON as text, without a tree of values in between: a log holds millions of small numbers.

/// Writes a whole number.
#[inline]
pub(super) fn number(out: &mut String, value: u64) {
    out.push_str(itoa::Buffer::new().format(value));
}

/// Writes nanoseconds as milliseconds, to the microsecond.
pub(super) fn millis(out: &mut String, nanos: u64) {
    number(out, nanos / 1_000_000);
    let micros = nanos / 1000 % 1000;
    if micros > 0 {
        out.push_str(if micros < 10 {
            ".00"
        } else if micros < 100 {
            ".0"
        } else {
            "."
        });
        number(out, micros);
    }
}

/// Writes a text, in quotes.
pub(super) fn text(out: &mut String, value: &str) {
    out.push('"');
    for character in value.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Writes bytes in hexadecimal, in quotes.
pub(super) fn hex(out: &mut String, bytes: &[u8]) {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    out.push('"');
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
    out.push('"');
}

/// Writes `,"key":number`.
#[inline]
pub(super) fn field(out: &mut String, key: &str, value: u64) {
    out.push_str(",\"");
    out.push_str(key);
    out.push_str("\":");
    number(out, value);
}
