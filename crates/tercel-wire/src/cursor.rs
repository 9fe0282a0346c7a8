//! The only place with offset arithmetic: a [`Reader`] over received bytes and a [`Writer`] over the
//! bytes of a packet to send.

use crate::{DecodeError, VarInt};

/// Reads values from the front of a slice.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader at the start of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// How many bytes are left.
    pub const fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Whether no byte is left.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The bytes left, without consuming them.
    pub const fn peek(&self) -> &'a [u8] {
        self.rest
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    /// [`DecodeError::UnexpectedEnd`] if fewer are left; nothing is consumed then.
    pub fn bytes(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (head, tail) = self.rest.split_at_checked(len).ok_or(DecodeError::UnexpectedEnd)?;
        self.rest = tail;
        Ok(head)
    }

    /// The next `N` bytes as an array.
    ///
    /// # Errors
    /// [`DecodeError::UnexpectedEnd`] if fewer are left.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, tail) = self.rest.split_first_chunk().ok_or(DecodeError::UnexpectedEnd)?;
        self.rest = tail;
        Ok(*head)
    }

    /// One byte.
    ///
    /// # Errors
    /// [`DecodeError::UnexpectedEnd`] if none is left.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.array::<1>()?[0])
    }

    /// Two bytes, in network order.
    ///
    /// # Errors
    /// [`DecodeError::UnexpectedEnd`] if fewer are left.
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    /// Four bytes, in network order.
    ///
    /// # Errors
    /// [`DecodeError::UnexpectedEnd`] if fewer are left.
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    /// A variable-length integer (RFC 9000 section 16).
    ///
    /// # Errors
    /// [`DecodeError::UnexpectedEnd`] if its bytes are not all there; nothing is consumed then.
    pub fn varint(&mut self) -> Result<u64, DecodeError> {
        let first = *self.rest.first().ok_or(DecodeError::UnexpectedEnd)?;
        Ok(match first >> 6 {
            0 => u64::from(self.u8()?),
            1 => u64::from(self.u16()? & 0x3fff),
            2 => u64::from(self.u32()? & 0x3fff_ffff),
            _ => u64::from_be_bytes(self.array()?) & VarInt::MAX.into_inner(),
        })
    }

    /// A variable-length integer that gives the length of the bytes behind it, and those bytes.
    ///
    /// # Errors
    /// [`DecodeError::UnexpectedEnd`] if they are not all there.
    pub fn length_prefixed(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.varint()?;
        self.bytes(usize::try_from(len).map_err(|_| DecodeError::UnexpectedEnd)?)
    }
}

/// Writes values to the front of a fixed slice.
///
/// Whoever writes asks [`remaining`](Self::remaining) first: a packet has a size that nothing may
/// exceed. Writing past the end is a fault of this program, not of its input; it writes nothing and
/// is remembered in [`overflowed`](Self::overflowed), so that the packet is never sent.
#[derive(Debug)]
pub struct Writer<'a> {
    buf: &'a mut [u8],
    pos: usize,
    overflowed: bool,
}

impl<'a> Writer<'a> {
    /// A writer at the start of `buf`.
    pub const fn new(buf: &'a mut [u8]) -> Self {
        Self { buf, pos: 0, overflowed: false }
    }

    /// A writer that goes on behind the first `position` bytes of `buf`.
    pub fn resume(buf: &'a mut [u8], position: usize) -> Self {
        let pos = position.min(buf.len());
        Self { buf, pos, overflowed: pos < position }
    }

    /// How many bytes have been written.
    pub const fn position(&self) -> usize {
        self.pos
    }

    /// How many bytes still fit.
    pub const fn remaining(&self) -> usize {
        self.buf.len() - self.pos
    }

    /// Whether something was written that did not fit.
    pub const fn overflowed(&self) -> bool {
        self.overflowed
    }

    /// The bytes written so far.
    pub fn written(&self) -> &[u8] {
        &self.buf[..self.pos]
    }

    /// The bytes written so far, to be changed in place.
    pub fn written_mut(&mut self) -> &mut [u8] {
        &mut self.buf[..self.pos]
    }

    /// Lowers the end of the writable range so that at most `len` bytes still fit.
    pub fn limit(&mut self, len: usize) {
        if len < self.remaining() {
            let buf = std::mem::take(&mut self.buf);
            self.buf = &mut buf[..self.pos + len];
        }
    }

    /// Writes `bytes`.
    pub fn bytes(&mut self, bytes: &[u8]) {
        debug_assert!(bytes.len() <= self.remaining(), "packet overflow");
        match self.buf.get_mut(self.pos..self.pos + bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.pos += bytes.len();
            }
            None => self.overflowed = true,
        }
    }

    /// Writes one byte.
    pub fn u8(&mut self, value: u8) {
        self.bytes(&[value]);
    }

    /// Writes two bytes in network order.
    pub fn u16(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    /// Writes four bytes in network order.
    pub fn u32(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }

    /// Writes `value` as the shortest variable-length integer (RFC 9000 section 16). Values above
    /// [`VarInt::MAX`] are a fault of this program and are written as that maximum.
    pub fn varint(&mut self, value: u64) {
        debug_assert!(value <= VarInt::MAX.into_inner());
        let value = VarInt::saturating(value).into_inner();
        match VarInt::encoded_len(value) {
            1 => self.u8(value as u8),
            2 => self.u16(value as u16 | 0x4000),
            4 => self.u32(value as u32 | 0x8000_0000),
            _ => self.bytes(&(value | 0xc000_0000_0000_0000).to_be_bytes()),
        }
    }

    /// Writes a variable-length integer of two bytes whatever its value, so that it can be filled
    /// in later. Values above 16383 do not fit and are a fault of this program.
    pub fn varint_two_bytes(&mut self, value: u16) {
        debug_assert!(value < 1 << 14);
        self.u16((value & 0x3fff) | 0x4000);
    }

    /// Writes the length of `bytes` as a variable-length integer and then `bytes`.
    pub fn length_prefixed(&mut self, bytes: &[u8]) {
        self.varint(bytes.len() as u64);
        self.bytes(bytes);
    }

    /// Passes over `len` bytes (as many as fit), which are to be written later and are whatever they were.
    pub fn skip(&mut self, len: usize) {
        self.pos += len.min(self.remaining());
    }

    /// Writes `len` zero bytes (as many as fit).
    pub fn zeros(&mut self, len: usize) {
        let len = len.min(self.remaining());
        self.buf[self.pos..self.pos + len].fill(0);
        self.pos += len;
    }
}

#[cfg(test)]
mod tests;
