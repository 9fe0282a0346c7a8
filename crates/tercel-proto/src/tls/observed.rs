//! Cipher suites that let the secrets of tickets be seen.
//!
//! rustls derives the pre-shared key of a ticket deep inside and shows it to nobody. All of it goes
//! through the key derivation of the cipher suite, which is ours to give: this one passes everything
//! on, and while somebody [watches](super::aside) it notes what is derived under the one label that
//! tickets have (RFC 8446 section 4.6.1).

use rustls::crypto::tls13::{Hkdf, HkdfExpander, OkmBlock, OutputLengthError};
use rustls::crypto::{CryptoProvider, SharedSecret, hmac};
use rustls::{SupportedCipherSuite, Tls13CipherSuite};

use super::aside::{self, TicketSecrets};

/// The same provider with TLS 1.3 suites that let the secrets of tickets be seen. They are kept for
/// as long as the process lives: call this once, and share what it gives.
pub fn observed(provider: CryptoProvider) -> CryptoProvider {
    let cipher_suites = provider
        .cipher_suites
        .iter()
        .filter_map(|suite| match suite {
            SupportedCipherSuite::Tls13(suite) => Some(SupportedCipherSuite::Tls13(observe(suite))),
            // QUIC has no TLS 1.2.
            #[allow(unreachable_patterns, reason = "TLS 1.2 is a feature of rustls")]
            _ => None,
        })
        .collect();
    CryptoProvider { cipher_suites, ..provider }
}

fn observe(suite: &'static Tls13CipherSuite) -> &'static Tls13CipherSuite {
    let hkdf: &'static dyn Hkdf = Box::leak(Box::new(Observed(suite.hkdf_provider)));
    Box::leak(Box::new(Tls13CipherSuite {
        common: rustls::crypto::CipherSuiteCommon {
            suite: suite.common.suite,
            hash_provider: suite.common.hash_provider,
            confidentiality_limit: suite.common.confidentiality_limit,
        },
        hkdf_provider: hkdf,
        aead_alg: suite.aead_alg,
        quic: suite.quic,
    }))
}

struct Observed(&'static dyn Hkdf);

impl Hkdf for Observed {
    fn extract_from_zero_ikm(&self, salt: Option<&[u8]>) -> Box<dyn HkdfExpander> {
        self.0.extract_from_zero_ikm(salt)
    }

    fn extract_from_secret(&self, salt: Option<&[u8]>, secret: &[u8]) -> Box<dyn HkdfExpander> {
        self.0.extract_from_secret(salt, secret)
    }

    fn extract_from_kx_shared_secret(
        &self,
        salt: Option<&[u8]>,
        kx: Box<dyn rustls::crypto::ActiveKeyExchange>,
        peer_pub_key: &[u8],
    ) -> Result<Box<dyn HkdfExpander>, rustls::Error> {
        self.0.extract_from_kx_shared_secret(salt, kx, peer_pub_key)
    }

    fn expander_for_okm(&self, okm: &OkmBlock) -> Box<dyn HkdfExpander> {
        let inner = self.0.expander_for_okm(okm);
        match aside::with(|aside| aside.watch) {
            Some(true) => Box::new(Watched { inner, okm: okm.clone(), hkdf: self.0 }),
            _ => inner,
        }
    }

    fn hmac_sign(&self, key: &OkmBlock, message: &[u8]) -> hmac::Tag {
        self.0.hmac_sign(key, message)
    }

    fn fips(&self) -> bool {
        self.0.fips()
    }
}

struct Watched {
    inner: Box<dyn HkdfExpander>,
    okm: OkmBlock,
    hkdf: &'static dyn Hkdf,
}

impl HkdfExpander for Watched {
    fn expand_slice(&self, info: &[&[u8]], output: &mut [u8]) -> Result<(), OutputLengthError> {
        self.inner.expand_slice(info, output)
    }

    fn expand_block(&self, info: &[&[u8]]) -> OkmBlock {
        let derived = self.inner.expand_block(info);
        if !is_of_ticket(&info.concat()) {
            return derived;
        }
        let noted = aside::with(|aside| {
            let psk = aside.psk.take().unwrap_or_else(|| derived.clone());
            aside.secrets = Some(TicketSecrets { master: self.okm.clone(), hkdf: self.hkdf, psk: psk.clone() });
            psk
        });
        noted.unwrap_or(derived)
    }

    fn hash_len(&self) -> usize {
        self.inner.hash_len()
    }
}

/// The label under which the pre-shared key of a ticket is derived.
const LABEL: &[u8] = b"tls13 resumption";

/// Whether an HkdfLabel (RFC 8446 section 7.1) is that of a ticket.
fn is_of_ticket(info: &[u8]) -> bool {
    info.get(2..)
        .and_then(<[u8]>::split_first)
        .is_some_and(|(len, rest)| usize::from(*len) == LABEL.len() && rest.starts_with(LABEL))
}

/// The pre-shared key of the ticket with this nonce.
pub(super) fn ticket_psk(hkdf: &dyn Hkdf, master: &OkmBlock, nonce: &[u8]) -> OkmBlock {
    let expander = hkdf.expander_for_okm(master);
    let len = u16::try_from(expander.hash_len()).unwrap_or(u16::MAX).to_be_bytes();
    let nonce_len = u8::try_from(nonce.len()).unwrap_or(u8::MAX);
    expander.expand_block(&[&len, &[LABEL.len() as u8], LABEL, &[nonce_len], nonce])
}

/// A key exchange without keys, for a handshake with oneself.
#[derive(Debug)]
pub(super) struct NoExchange;

impl rustls::crypto::SupportedKxGroup for NoExchange {
    fn start(&self) -> Result<Box<dyn rustls::crypto::ActiveKeyExchange>, rustls::Error> {
        Ok(Box::new(Self))
    }

    fn name(&self) -> rustls::NamedGroup {
        rustls::NamedGroup::X25519
    }
}

impl rustls::crypto::ActiveKeyExchange for NoExchange {
    fn complete(self: Box<Self>, _peer: &[u8]) -> Result<SharedSecret, rustls::Error> {
        Ok(SharedSecret::from(&[0; 32][..]))
    }

    fn pub_key(&self) -> &[u8] {
        &[0; 32]
    }

    fn group(&self) -> rustls::NamedGroup {
        rustls::NamedGroup::X25519
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_label_of_tickets_counts() {
        let info = |label: &[u8], context: &[u8]| {
            [&[0, 32, label.len() as u8][..], label, &[context.len() as u8], context].concat()
        };
        assert!(is_of_ticket(&info(b"tls13 resumption", b"nonce")));
        assert!(!is_of_ticket(&info(b"tls13 res master", b"")));
        assert!(!is_of_ticket(&info(b"tls13 resumptions", b"")));
        assert!(!is_of_ticket(&info(b"tls13 quic key", b"tls13 resumption")));
        assert!(!is_of_ticket(&[0, 32]) && !is_of_ticket(&[]));
    }

    /// RFC 8448 section 3: the resumption_master_secret, the nonce 00 00 and the key of the ticket.
    #[test]
    fn the_key_of_a_ticket_is_that_of_rfc_8448() {
        let master = hex("7df235f2031d2a051287d02b0241b0bfdaf86cc856231f2d5aba46c434ec196c");
        let psk = hex("4ecd0eb6ec3b4d87f5d6028f922ca4c5851a277fd41311c9e62d2c9492e1c4f3");
        let suite = rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256.tls13().unwrap();
        assert_eq!(ticket_psk(suite.hkdf_provider, &OkmBlock::new(&master), &[0, 0]).as_ref(), psk);
    }

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }
}
