//! Keying material for the application (RFC 8446 section 7.5), when TLS itself is gone.

use rustls::Tls13CipherSuite;
use rustls::crypto::tls13::OkmBlock;

/// The longest label, in bytes.
pub(crate) const MAX_LABEL: usize = 255 - PREFIX.len();
/// What all labels of TLS 1.3 begin with (RFC 8446 section 7.1).
const PREFIX: &[u8] = b"tls13 ";
/// The label of what is exported.
const EXPORTER: &[u8] = b"exporter";

/// What keying material is derived from.
pub(crate) struct Exporter {
    /// The exporter_master_secret.
    pub(super) master: OkmBlock,
    pub(super) suite: &'static Tls13CipherSuite,
}

impl Exporter {
    /// Fills `out`; false if it is empty, longer than 255 times the hash, or if the label is too long.
    pub(super) fn export(&self, out: &mut [u8], label: &[u8], context: &[u8]) -> bool {
        let (Ok(len), false) = (u16::try_from(out.len()), out.is_empty()) else { return false };
        let (hkdf, hash) = (self.suite.hkdf_provider, self.suite.common.hash_provider);
        let (secret, context) = (hkdf.expander_for_okm(&self.master), hash.hash(context));
        let hash_len = u16::try_from(secret.hash_len()).unwrap_or(u16::MAX);
        let secret = with_label(hash_len, label, hash.hash(&[]).as_ref(), |info| secret.expand_block(info));
        let Some(secret) = secret.map(|secret| hkdf.expander_for_okm(&secret)) else { return false };
        let filled = with_label(len, EXPORTER, context.as_ref(), |info| secret.expand_slice(info, out));
        matches!(filled, Some(Ok(())))
    }
}

/// Gives `expand` an HkdfLabel (RFC 8446 section 7.1), if `label` is not too long.
fn with_label<R>(len: u16, label: &[u8], context: &[u8], expand: impl FnOnce(&[&[u8]]) -> R) -> Option<R> {
    let label_len = u8::try_from(PREFIX.len() + label.len()).ok()?;
    let context_len = u8::try_from(context.len()).ok()?;
    Some(expand(&[&len.to_be_bytes(), &[label_len], PREFIX, label, &[context_len], context]))
}
