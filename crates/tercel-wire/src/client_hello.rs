//! What a ClientHello asks for (RFC 8446 section 4.1.2), read before TLS is set up, so that a
//! server can choose its configuration by it. TLS reads the same bytes again, and is the judge of
//! everything else in them.

use crate::{DecodeError, Reader};

/// The longest handshake message that is accepted, in bytes.
pub const MAX_LEN: usize = 0xffff;

/// What a ClientHello asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientHello {
    /// The server name (RFC 6066 section 3), if any.
    pub server_name: Option<String>,
    /// The application protocols (RFC 7301), most wanted first.
    pub alpn: Vec<Vec<u8>>,
    /// The tickets of earlier sessions (RFC 8446 section 4.2.11), most wanted first; no more than
    /// [`MAX_TICKETS`].
    pub tickets: Vec<Vec<u8>>,
    /// Whether early data is offered (RFC 8446 section 4.2.10).
    pub early_data: bool,
    /// The QUIC transport parameters as bytes (RFC 9001 section 8.2), if any.
    pub transport_parameters: Option<Vec<u8>>,
}

/// How many tickets of a ClientHello are told. Clients offer one, rarely two.
pub const MAX_TICKETS: usize = 4;

const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const PRE_SHARED_KEY: u16 = 41;
const EARLY_DATA: u16 = 42;
const TRANSPORT_PARAMETERS: u16 = 57;

/// Reads the ClientHello at the front of the bytes that CRYPTO frames have brought so far; `None`
/// if it is not whole yet.
///
/// # Errors
/// The bytes are no ClientHello (TLS alert decode_error or unexpected_message).
pub fn parse(crypto: &[u8]) -> Result<Option<ClientHello>, DecodeError> {
    let Some((&[ty, a, b, c], rest)) = crypto.split_first_chunk() else {
        return Ok(None);
    };
    let len = u32::from_be_bytes([0, a, b, c]) as usize;
    if ty != 1 || len > MAX_LEN {
        return Err(DecodeError::Malformed("not a ClientHello"));
    }
    rest.get(..len).map(|body| parse_body(&mut Reader::new(body))).transpose()
}

/// Bytes behind a length of one byte.
fn vec8<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], DecodeError> {
    let len = reader.u8()?;
    reader.bytes(len.into())
}

/// Bytes behind a length of two bytes.
fn vec16<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], DecodeError> {
    let len = reader.u16()?;
    reader.bytes(len.into())
}

fn parse_body(reader: &mut Reader<'_>) -> Result<ClientHello, DecodeError> {
    const VERSION_AND_RANDOM: usize = 2 + 32;
    reader.bytes(VERSION_AND_RANDOM)?;
    let (_session_id, _cipher_suites, _compression) = (vec8(reader)?, vec16(reader)?, vec8(reader)?);
    let mut extensions = Reader::new(vec16(reader)?);
    let mut hello = ClientHello::default();
    while !extensions.is_empty() {
        let (ty, body) = (extensions.u16()?, vec16(&mut extensions)?);
        match ty {
            SERVER_NAME => hello.server_name = server_name(&mut Reader::new(body))?,
            ALPN => hello.alpn = protocols(&mut Reader::new(body))?,
            PRE_SHARED_KEY => hello.tickets = tickets(&mut Reader::new(body))?,
            EARLY_DATA => hello.early_data = true,
            TRANSPORT_PARAMETERS => hello.transport_parameters = Some(body.to_vec()),
            _ => {}
        }
    }
    Ok(hello)
}

fn server_name(reader: &mut Reader<'_>) -> Result<Option<String>, DecodeError> {
    let mut names = Reader::new(vec16(reader)?);
    while !names.is_empty() {
        let (ty, name) = (names.u8()?, vec16(&mut names)?);
        if ty == 0 {
            let name = std::str::from_utf8(name).map_err(|_| DecodeError::Malformed("server name"))?;
            return Ok(Some(name.to_ascii_lowercase()));
        }
    }
    Ok(None)
}

fn protocols(reader: &mut Reader<'_>) -> Result<Vec<Vec<u8>>, DecodeError> {
    let mut list = Reader::new(vec16(reader)?);
    let mut protocols = Vec::new();
    while !list.is_empty() {
        match vec8(&mut list)? {
            [] => return Err(DecodeError::Malformed("empty application protocol")),
            protocol => protocols.push(protocol.to_vec()),
        }
    }
    Ok(protocols)
}

fn tickets(reader: &mut Reader<'_>) -> Result<Vec<Vec<u8>>, DecodeError> {
    let mut identities = Reader::new(vec16(reader)?);
    let mut tickets = Vec::new();
    while !identities.is_empty() {
        let (ticket, _obfuscated_age) = (vec16(&mut identities)?, identities.u32()?);
        if tickets.len() < MAX_TICKETS {
            tickets.push(ticket.to_vec());
        }
    }
    Ok(tickets)
}

#[cfg(test)]
mod tests;
