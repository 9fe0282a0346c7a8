//! HTTP/3 written by hand.

/// A variable-length integer (RFC 9000 section 16).
pub(crate) fn varint(value: u64) -> Vec<u8> {
    match value {
        0..0x40 => vec![value as u8],
        0x40..0x4000 => (value as u16 | 0x4000).to_be_bytes().to_vec(),
        0x4000..0x4000_0000 => (value as u32 | 0x8000_0000).to_be_bytes().to_vec(),
        _ => (value | 0xc000_0000_0000_0000).to_be_bytes().to_vec(),
    }
}

/// A frame of so many bytes, of which only those of `payload` are here.
pub(crate) fn frame_of(kind: u64, len: u64, payload: &[u8]) -> Vec<u8> {
    [&varint(kind)[..], &varint(len), payload].concat()
}

pub(crate) fn frame(kind: u64, payload: &[u8]) -> Vec<u8> {
    frame_of(kind, payload.len() as u64, payload)
}

/// An integer with a prefix (RFC 7541 section 5.1), below `first`'s bits.
pub(crate) fn prefixed(first: u8, bits: u32, value: u64) -> Vec<u8> {
    let mask = (1u64 << bits) - 1;
    if value < mask {
        return vec![first | value as u8];
    }
    let (mut bytes, mut rest) = (vec![first | mask as u8], value - mask);
    while rest >= 128 {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes
}

/// A field line as literals (RFC 9204 section 4.5.6).
pub(crate) fn line(name: &str, value: &str) -> Vec<u8> {
    let (name_len, value_len) = (prefixed(0x20, 3, name.len() as u64), prefixed(0, 7, value.len() as u64));
    [&name_len[..], name.as_bytes(), &value_len, value.as_bytes()].concat()
}

/// HEADERS of such fields.
pub(crate) fn headers(fields: &[(&str, &str)]) -> Vec<u8> {
    let lines: Vec<u8> = fields.iter().flat_map(|(name, value)| line(name, value)).collect();
    section(&lines)
}

/// HEADERS of such lines.
pub(crate) fn section(lines: &[u8]) -> Vec<u8> {
    frame(1, &[&[0, 0], lines].concat())
}

pub(crate) const BEGIN: [(&str, &str); 4] =
    [(":method", "POST"), (":scheme", "https"), (":authority", "localhost"), (":path", "/")];

/// A request in order, with more fields.
pub(crate) fn post(more: &[(&str, &str)]) -> Vec<u8> {
    headers(&[&BEGIN, more].concat())
}

/// A request in order but for one field, which is another, or not there.
pub(crate) fn post_but(name: &str, value: Option<&str>) -> Vec<u8> {
    let fields = BEGIN.iter().filter_map(|field| if field.0 == name { Some((name, value?)) } else { Some(*field) });
    headers(&fields.collect::<Vec<_>>())
}

/// The control stream, with more behind empty SETTINGS.
pub(crate) fn control(more: &[u8]) -> Vec<u8> {
    [&[0, 4, 0], more].concat()
}

pub(crate) fn settings(pairs: &[(u64, u64)]) -> Vec<u8> {
    let payload: Vec<u8> = pairs.iter().flat_map(|(id, value)| [varint(*id), varint(*value)].concat()).collect();
    [&[0][..], &frame(4, &payload)].concat()
}
