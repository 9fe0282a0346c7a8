//! Spans of time as people write them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A span of time, longer than none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("\"{text}\" is not a span of time such as 500ms, 30s, 5m or 2h");
        let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let milliseconds = match unit.trim() {
            "ms" => 1,
            "" | "s" => 1000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            _ => return Err(wrong()),
        };
        match number.checked_mul(milliseconds).filter(|span| (1..=MOST).contains(span)) {
            Some(span) => Ok(Self(Duration::from_millis(span))),
            None => Err(format!("\"{text}\" is not from 1 ms to a year")),
        }
    }
}

/// A year, in milliseconds.
const MOST: u64 = 366 * 24 * 3_600_000;

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_millis() {
            span if span.is_multiple_of(1000) => write!(f, "{} s", span / 1000),
            span => write!(f, "{span} ms"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_written() {
        for (text, milliseconds, shown) in [
            ("500ms", 500, "500 ms"),
            ("30s", 30_000, "30 s"),
            ("7", 7000, "7 s"),
            ("2m", 120_000, "120 s"),
            ("1h", 3_600_000, "3600 s"),
        ] {
            let span: Span = text.parse().unwrap();
            assert_eq!((span.0, span.to_string().as_str()), (Duration::from_millis(milliseconds), shown), "{text}");
        }
        for text in ["", "s", "-1s", "0", "1.5s", "1d", "99999999999999999999s", "9999999999h"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }
}
