//! The NewSessionTicket message (RFC 8446 section 4.6.1), which TLS makes and reads by itself; here
//! it is also written for servers that send tickets when they like, and read for clients that keep
//! them.

use crate::{DecodeError, Reader};

/// The longest lifetime that is permitted, in seconds: seven days.
pub const MAX_LIFETIME: u32 = 7 * 24 * 3600;

/// The type of the handshake message.
const TYPE: u8 = 4;

const EARLY_DATA: u16 = 42;

/// The only limit of early data that QUIC knows (RFC 9001 section 4.6.1).
// RFC 9001 section 4.6.1#1.
const UNLIMITED: u32 = u32::MAX;

/// A ticket by which a client can resume the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSessionTicket {
    /// For how many seconds it can be used; at most [`MAX_LIFETIME`].
    pub lifetime: u32,
    /// What the client adds to the age of the ticket, in milliseconds, to hide it.
    pub age_add: u32,
    /// Of this and the session the pre-shared key is made: another for each ticket of a session.
    pub nonce: Vec<u8>,
    /// What the client shows to resume; 1 to 65,535 bytes.
    pub ticket: Vec<u8>,
    /// Whether early data may be sent when it is shown.
    pub early_data: bool,
}

impl NewSessionTicket {
    /// The message with its header.
    ///
    /// # Errors
    /// The nonce or the ticket is too long, or the ticket is empty.
    pub fn encode(&self) -> Result<Vec<u8>, DecodeError> {
        let nonce_len = u8::try_from(self.nonce.len()).map_err(|_| DecodeError::Malformed("ticket nonce"))?;
        let ticket_len = u16::try_from(self.ticket.len()).map_err(|_| DecodeError::Malformed("ticket"))?;
        if ticket_len == 0 {
            return Err(DecodeError::Malformed("ticket"));
        }
        let mut body = Vec::with_capacity(32 + self.nonce.len() + self.ticket.len());
        body.extend_from_slice(&self.lifetime.to_be_bytes());
        body.extend_from_slice(&self.age_add.to_be_bytes());
        body.push(nonce_len);
        body.extend_from_slice(&self.nonce);
        body.extend_from_slice(&ticket_len.to_be_bytes());
        body.extend_from_slice(&self.ticket);
        if self.early_data {
            body.extend_from_slice(&8u16.to_be_bytes());
            body.extend_from_slice(&EARLY_DATA.to_be_bytes());
            body.extend_from_slice(&4u16.to_be_bytes());
            body.extend_from_slice(&UNLIMITED.to_be_bytes());
        } else {
            body.extend_from_slice(&0u16.to_be_bytes());
        }
        let [_, len @ ..] = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes();
        Ok([&[TYPE][..], &len, &body].concat())
    }

    /// Reads a message, header included.
    ///
    /// # Errors
    /// It is no NewSessionTicket, or not one alone.
    pub fn decode(message: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(message);
        let [ty, len @ ..] = reader.u32()?.to_be_bytes();
        let len = u32::from_be_bytes([0, len[0], len[1], len[2]]) as usize;
        if ty != TYPE || len != reader.remaining() {
            return Err(DecodeError::Malformed("not a NewSessionTicket"));
        }
        let (lifetime, age_add) = (reader.u32()?, reader.u32()?);
        let nonce = reader.u8()?;
        let nonce = reader.bytes(nonce.into())?.to_vec();
        let ticket = reader.u16()?;
        let ticket = reader.bytes(ticket.into())?.to_vec();
        let extensions = reader.u16()?;
        let mut extensions = Reader::new(reader.bytes(extensions.into())?);
        let mut early_data = false;
        while !extensions.is_empty() {
            let (ty, len) = (extensions.u16()?, extensions.u16()?);
            let body = extensions.bytes(len.into())?;
            early_data |= ty == EARLY_DATA && body == UNLIMITED.to_be_bytes();
        }
        match ticket.is_empty() || !reader.is_empty() {
            true => Err(DecodeError::Malformed("ticket")),
            false => Ok(Self { lifetime, age_add, nonce, ticket, early_data }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ticket() -> NewSessionTicket {
        NewSessionTicket { lifetime: 7200, age_add: 5, nonce: vec![1, 2], ticket: vec![7; 300], early_data: true }
    }

    #[test]
    fn what_is_written_is_read() {
        for early_data in [false, true] {
            let ticket = NewSessionTicket { early_data, ..ticket() };
            assert_eq!(NewSessionTicket::decode(&ticket.encode().unwrap()), Ok(ticket));
        }
        // As RFC 8446 section 4.6.1 lays it out.
        let bytes = NewSessionTicket { ticket: vec![9], ..ticket() }.encode().unwrap();
        let head = [4, 0, 0, 24, 0, 0, 0x1c, 0x20, 0, 0, 0, 5, 2, 1, 2, 0, 1, 9];
        assert_eq!(bytes, [&head[..], &[0, 8, 0, 42, 0, 4, 255, 255, 255, 255]].concat());
    }

    #[test]
    fn what_is_none_is_refused() {
        let bytes = ticket().encode().unwrap();
        for len in 0..bytes.len() {
            assert!(NewSessionTicket::decode(&bytes[..len]).is_err(), "{len} bytes");
        }
        assert!(NewSessionTicket::decode(&[&bytes[..], &[0]].concat()).is_err());
        for fault in [
            NewSessionTicket { nonce: vec![0; 256], ..ticket() },
            NewSessionTicket { ticket: vec![], ..ticket() },
            NewSessionTicket { ticket: vec![0; 65_536], ..ticket() },
        ] {
            assert!(fault.encode().is_err());
        }
    }

    proptest! {
        #[test]
        fn nothing_that_a_server_sends_breaks_it(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = NewSessionTicket::decode(&bytes);
            let message = [&[TYPE, 0, 0, bytes.len() as u8][..], &bytes].concat();
            if let Ok(ticket) = NewSessionTicket::decode(&message) {
                prop_assert!(ticket.encode().is_ok());
            }
        }
    }
}
