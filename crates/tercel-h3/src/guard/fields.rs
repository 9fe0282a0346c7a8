//! The rules of field sections (RFC 9114 sections 4.2 to 4.4) that hold for the names of fields, their
//! order and number. A section is walked, not decoded: h3 decodes it afterwards, and judges values.
//!
//! Neither end uses a dynamic table (RFC 9204 section 3.2), so every name is in the section itself or in the
//! static table. Of Huffman codes those of up to seven bits are known here, which is what names that matter
//! are made of.

use std::borrow::Cow;

use h3::error::Code;

use super::Fault;

/// What a response is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Response {
    /// Another will follow (RFC 9114 section 4.1).
    Interim,
    Final,
}

const UNDECODABLE: Fault =
    Fault::Connection(Code::QPACK_DECOMPRESSION_FAILED, "a field section that cannot be decoded");

/// The last index of the static table (RFC 9204 appendix A).
const LAST_STATIC: u64 = 98;

/// A field line as far as rules ask. What is `None` is no name or value that they know.
struct Line<'a> {
    name: Option<Cow<'a, str>>,
    value: Option<Cow<'a, str>>,
}

/// Judges the field section of a request.
pub(super) fn request(section: &[u8]) -> Result<(), Fault> {
    let mut pseudo = Pseudo::default();
    let mut connect = false;
    for line in Lines::new(section)? {
        let line = line?;
        let Some(field) = pseudo.next(&line)? else {
            regular(&line)?;
            continue;
        };
        match field {
            Field::Method => connect = line.value.as_deref() == Some("CONNECT"),
            Field::Status => return Err(Fault::Message(":status in a request")),
            Field::Path if line.value.as_deref() == Some("") => return Err(Fault::Message("an empty :path")),
            Field::Scheme | Field::Path | Field::Authority | Field::Protocol => {}
        }
    }
    let has = |field| pseudo.has(field);
    match () {
        () if !has(Field::Method) => Err(Fault::Message("no :method")),
        () if has(Field::Protocol) && !connect => Err(Fault::Message(":protocol without CONNECT")),
        // RFC 9114 section 4.4; extended CONNECT (RFC 9220) is like other requests.
        () if connect && !has(Field::Protocol) => match has(Field::Scheme) || has(Field::Path) {
            true => Err(Fault::Message("CONNECT with :scheme or :path")),
            false if !has(Field::Authority) => Err(Fault::Message("CONNECT without :authority")),
            false => Ok(()),
        },
        () if !has(Field::Scheme) || !has(Field::Path) => Err(Fault::Message("no :scheme or no :path")),
        () => Ok(()),
    }
}

/// Judges the field section of a response.
pub(super) fn response(section: &[u8]) -> Result<Response, Fault> {
    let mut pseudo = Pseudo::default();
    let mut response = Response::Final;
    for line in Lines::new(section)? {
        let line = line?;
        match pseudo.next(&line)? {
            None => regular(&line)?,
            Some(Field::Status) => match line.value.as_deref() {
                // RFC 9114 section 4.5.
                Some("101") => return Err(Fault::Message("status 101")),
                Some(status) if status.len() == 3 && status.starts_with('1') => response = Response::Interim,
                _ => {}
            },
            Some(_) => return Err(Fault::Message("a pseudo-header field of requests in a response")),
        }
    }
    if pseudo.has(Field::Status) { Ok(response) } else { Err(Fault::Message("no :status")) }
}

/// Judges trailers: they have no pseudo-header fields.
pub(super) fn trailers(section: &[u8]) -> Result<(), Fault> {
    for line in Lines::new(section)? {
        let line = line?;
        match Pseudo::default().next(&line)? {
            None => regular(&line)?,
            Some(_) => return Err(Fault::Message("a pseudo-header field in trailers")),
        }
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Method,
    Scheme,
    Authority,
    Path,
    Protocol,
    Status,
}

/// The pseudo-header fields so far: each once, and all before the others (RFC 9114 section 4.3).
#[derive(Default)]
struct Pseudo {
    seen: Vec<Field>,
    over: bool,
}

impl Pseudo {
    fn next(&mut self, line: &Line<'_>) -> Result<Option<Field>, Fault> {
        let field = match line.name.as_deref() {
            Some(":method") => Field::Method,
            Some(":scheme") => Field::Scheme,
            Some(":authority") => Field::Authority,
            Some(":path") => Field::Path,
            Some(":protocol") => Field::Protocol,
            Some(":status") => Field::Status,
            Some(name) if name.starts_with(':') => return Err(Fault::Message("an unknown pseudo-header field")),
            _ => {
                self.over = true;
                return Ok(None);
            }
        };
        if self.over {
            return Err(Fault::Message("a pseudo-header field after others"));
        }
        if self.has(field) {
            return Err(Fault::Message("a pseudo-header field twice"));
        }
        self.seen.push(field);
        Ok(Some(field))
    }

    fn has(&self, field: Field) -> bool {
        self.seen.contains(&field)
    }
}

/// Fields of HTTP/1.1 connections are malformed (RFC 9114 section 4.2).
fn regular(line: &Line<'_>) -> Result<(), Fault> {
    match line.name.as_deref() {
        Some("connection" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade") => {
            Err(Fault::Message("a field of a connection of HTTP/1.1"))
        }
        Some("te") if line.value.as_deref() != Some("trailers") => Err(Fault::Message("te with another value")),
        _ => Ok(()),
    }
}

/// The lines of a section (RFC 9204 section 4.5).
struct Lines<'a>(&'a [u8]);

impl<'a> Lines<'a> {
    fn new(section: &'a [u8]) -> Result<Self, Fault> {
        let mut lines = Self(section);
        let required = lines.integer(8)?;
        let negative = lines.0.first().is_some_and(|byte| byte & 0x80 != 0);
        lines.integer(7)?;
        // Nothing was ever inserted, and the base is not below zero.
        if required != 0 || negative { Err(UNDECODABLE) } else { Ok(lines) }
    }

    /// An integer with a prefix of so many bits (RFC 7541 section 5.1).
    fn integer(&mut self, bits: u32) -> Result<u64, Fault> {
        integer(&mut self.0, bits).flatten().ok_or(UNDECODABLE)
    }

    /// A string whose length has a prefix of so many bits, below the one that tells of Huffman codes.
    fn string(&mut self, bits: u32) -> Result<Option<Cow<'a, str>>, Fault> {
        let huffman = self.0.first().is_some_and(|byte| byte >> bits & 1 == 1);
        let len = usize::try_from(self.integer(bits)?).map_err(|_| UNDECODABLE)?;
        let (string, rest) = self.0.split_at_checked(len).ok_or(UNDECODABLE)?;
        self.0 = rest;
        Ok(if huffman { decode(string).map(Cow::Owned) } else { std::str::from_utf8(string).ok().map(Cow::Borrowed) })
    }

    fn index(&mut self, bits: u32) -> Result<u64, Fault> {
        self.integer(bits).and_then(|index| if index <= LAST_STATIC { Ok(index) } else { Err(UNDECODABLE) })
    }

    fn line(&mut self, first: u8) -> Result<Line<'a>, Fault> {
        match first {
            // Indexed, in the static table.
            0xc0.. => {
                let (name, value) = known(self.index(6)?);
                Ok(Line { name: name.map(Cow::Borrowed), value: value.map(Cow::Borrowed) })
            }
            // With a name of the static table.
            0x50..=0x5f | 0x70..=0x7f => {
                let name = known(self.index(4)?).0.map(Cow::Borrowed);
                Ok(Line { name, value: self.string(7)? })
            }
            0x20..=0x3f => Ok(Line { name: self.string(3)?, value: self.string(7)? }),
            // All others are of a dynamic table.
            _ => Err(UNDECODABLE),
        }
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = Result<Line<'a>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        let first = *self.0.first()?;
        Some(self.line(first))
    }
}

/// Reads an integer with a prefix of so many bits; `None` if there is not enough, `Some(None)` if it is too
/// large.
pub(super) fn integer(bytes: &mut &[u8], bits: u32) -> Option<Option<u64>> {
    let (first, mut rest) = bytes.split_first()?;
    let mask = u8::MAX >> (8 - bits);
    let mut value = u64::from(first & mask);
    if first & mask == mask {
        for shift in (0..).step_by(7) {
            let (byte, after) = rest.split_first()?;
            rest = after;
            // Larger than any of QPACK's needs (RFC 9204 section 4.1.1: 62 bits).
            if shift > 56 {
                return Some(None);
            }
            value += u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
    }
    *bytes = rest;
    Some(Some(value))
}

/// Name and value of an entry of the static table, of those that rules ask about.
const fn known(index: u64) -> (Option<&'static str>, Option<&'static str>) {
    match index {
        0 => (Some(":authority"), None),
        1 => (Some(":path"), Some("/")),
        15 => (Some(":method"), Some("CONNECT")),
        16..=21 => (Some(":method"), None),
        22 | 23 => (Some(":scheme"), None),
        24 => (Some(":status"), Some("103")),
        63 => (Some(":status"), Some("100")),
        25..=28 | 64..=71 => (Some(":status"), None),
        _ => (None, None),
    }
}

/// Decodes Huffman codes of up to seven bits (RFC 7541 appendix B); `None` if there are others.
fn decode(bytes: &[u8]) -> Option<String> {
    const FIVE: &[u8] = b"012aceiost";
    const SIX: &[u8] = b" %-./3456789=A_bdfghlmnpru";
    const SEVEN: &[u8] = b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz";
    let mut text = String::new();
    let (mut bits, mut count) = (0u32, 0u32);
    let mut bytes = bytes.iter();
    loop {
        while count < 7 {
            let Some(byte) = bytes.next() else { break };
            bits = (bits << 8 | u32::from(*byte)) & 0xffff;
            count += 8;
        }
        let top = |n: u32| count.checked_sub(n).map(|below| bits >> below & ((1 << n) - 1));
        let symbol = |n: u32, first: u32, symbols: &'static [u8]| {
            let code = top(n)?.checked_sub(first)?;
            symbols.get(usize::try_from(code).ok()?).map(|symbol| (*symbol, n))
        };
        match symbol(5, 0, FIVE).or_else(|| symbol(6, 0x14, SIX)).or_else(|| symbol(7, 0x5c, SEVEN)) {
            Some((symbol, used)) => {
                text.push(char::from(symbol));
                count -= used;
            }
            // The end is padded with ones.
            None if count < 7 && top(count) == Some((1 << count) - 1) => return Some(text),
            None => return None,
        }
    }
}
