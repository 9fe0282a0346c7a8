//! The EncryptedExtensions message (RFC 8446 section 4.3.1), as far as a client looks into it beside TLS: for
//! the ECH configurations of a server that could not read an encrypted ClientHello.

use crate::{DecodeError, Reader};

/// The type of the handshake message.
const TYPE: u8 = 8;

/// encrypted_client_hello (RFC 9849 section 11.1).
const ECH: u16 = 0xfe0d;

/// The ECHConfigList with which the server would have a client try again (RFC 9849 section 5), or nothing.
///
/// # Errors
/// It is no EncryptedExtensions message.
pub fn ech_retry_configs(message: &[u8]) -> Result<&[u8], DecodeError> {
    let mut reader = Reader::new(message);
    let [ty, len @ ..] = reader.u32()?.to_be_bytes();
    let len = u32::from_be_bytes([0, len[0], len[1], len[2]]) as usize;
    if ty != TYPE || len != reader.remaining() {
        return Err(DecodeError::Malformed("not EncryptedExtensions"));
    }
    let extensions = reader.u16()?;
    let mut extensions = Reader::new(reader.bytes(extensions.into())?);
    while !extensions.is_empty() {
        let (ty, len) = (extensions.u16()?, extensions.u16()?);
        let body = extensions.bytes(len.into())?;
        if ty == ECH {
            return Ok(body);
        }
    }
    Ok(&[])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(extensions: &[u8]) -> Vec<u8> {
        let len = extensions.len() as u16;
        [&[8, 0][..], &(len + 2).to_be_bytes(), &len.to_be_bytes(), extensions].concat()
    }

    #[test]
    fn configurations_are_found_and_nothing_else() {
        let alpn = [0, 16, 0, 5, 0, 3, 2, b'h', b'3'];
        let ech = [0xfe, 0x0d, 0, 4, 0, 2, 1, 2];
        assert_eq!(ech_retry_configs(&message(&[&alpn[..], &ech].concat())), Ok(&[0, 2, 1, 2][..]));
        assert_eq!(ech_retry_configs(&message(&alpn)), Ok(&[][..]));
        assert_eq!(ech_retry_configs(&message(&[])), Ok(&[][..]));
    }

    #[test]
    fn what_is_cut_short_is_refused() {
        let whole = message(&[0xfe, 0x0d, 0, 4, 0, 2, 1, 2]);
        for len in 0..whole.len() {
            assert!(ech_retry_configs(&whole[..len]).is_err(), "{len}");
        }
        assert!(ech_retry_configs(&message(&[0xfe, 0x0d, 0, 4, 0])).is_err());
        assert!(ech_retry_configs(&[&[11][..], &whole[1..]].concat()).is_err(), "another message");
    }
}
