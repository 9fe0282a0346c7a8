//! What this crate needs of keys (RFC 9001 section 5): two traits that the key schedule implements.

/// A header protection key (RFC 9001 section 5.4).
pub trait HeaderKey {
    /// How many bytes of ciphertext the mask is made from.
    fn sample_len(&self) -> usize;
    /// Applies the mask to the first byte and the packet number of a packet to send.
    fn protect(&self, sample: &[u8], first: &mut u8, packet_number: &mut [u8]);
    /// Removes the mask from the first byte and then from as many bytes of `packet_number` (four)
    /// as the first byte says.
    fn unprotect(&self, sample: &[u8], first: &mut u8, packet_number: &mut [u8]);
}

/// A packet protection key (RFC 9001 section 5.3).
pub trait PacketKey {
    /// How many bytes the authentication tag takes.
    fn tag_len(&self) -> usize;
    /// Encrypts `payload` in place; the tag goes to `tag`, of [`tag_len`](Self::tag_len) bytes.
    fn seal(&self, packet_number: u64, header: &[u8], payload: &mut [u8], tag: &mut [u8]);
    /// Decrypts `payload` (ciphertext and tag) in place and returns the length of the plaintext, or
    /// `None` if it is not authentic.
    fn open(&self, packet_number: u64, header: &[u8], payload: &mut [u8]) -> Option<usize>;
}
