//! Cipher suites that let the secrets of tickets, of data and of exporters be seen, and whose keys can be those of another version.
//!
//! rustls derives the pre-shared key of a ticket deep inside and shows it to nobody. All of it goes
//! through the key derivation of the cipher suite, which is ours to give: this one passes everything
//! on, and while somebody [watches](super::aside) it notes what is derived under the one label that
//! tickets have (RFC 8446 section 4.6.1), or what is derived of the master secret (section 7.1): the secrets that
//! packets are protected with, and that of keying material for the application.
//!
//! It is told once, at the start, which version of QUIC it serves. All that follows from it are the labels
//! under which packet protection keys are derived (RFC 9001 section 5.1, RFC 9369 section 3.3.2). A client
//! whose server goes on in another version (RFC 9368 section 2.3) says so when it asks for keys, and these
//! labels, and no others, are replaced here. And it makes no keys of [records](super::records), which QUIC has none of.

use rustls::crypto::tls13::{Hkdf, HkdfExpander, OkmBlock, OutputLengthError};
use rustls::crypto::{CryptoProvider, SharedSecret, hmac};
use rustls::{SupportedCipherSuite, Tls13CipherSuite};
use tercel_wire::Version;

use super::aside::{self, Aside, TicketSecrets, Watch};
use super::derived::{self, Known};
use super::exporter::Exporter;
use super::records::{Expander, OfOthers};

/// The same provider with TLS 1.3 suites that let the secrets of tickets and exporters be seen, and keys be
/// those of another version. They are kept for as long as the process lives: call this once, and share what it
/// gives.
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
    let hkdf = suite.hkdf_provider;
    let repeating = with_hkdf(suite, Repeating(hkdf));
    with_hkdf(suite, Observed { hkdf, repeating })
}

/// The same suite with another key derivation.
fn with_hkdf(suite: &Tls13CipherSuite, hkdf: impl Hkdf + 'static) -> &'static Tls13CipherSuite {
    Box::leak(Box::new(Tls13CipherSuite {
        common: rustls::crypto::CipherSuiteCommon {
            suite: suite.common.suite,
            hash_provider: suite.common.hash_provider,
            confidentiality_limit: suite.common.confidentiality_limit,
        },
        hkdf_provider: Box::leak(Box::new(hkdf)),
        aead_alg: Box::leak(Box::new(OfOthers(suite.aead_alg))),
        quic: suite.quic,
    }))
}

struct Observed {
    hkdf: &'static dyn Hkdf,
    repeating: &'static Tls13CipherSuite,
}

impl Hkdf for Observed {
    fn extract_from_zero_ikm(&self, salt: Option<&[u8]>) -> Box<dyn HkdfExpander> {
        let inner = self.hkdf.extract_from_zero_ikm(salt);
        // So the master secret is made.
        match aside::with(|aside| aside.watch) {
            Some(Watch::Master) if salt.is_some() => Box::new(Master { inner, suite: self.repeating }),
            _ => inner,
        }
    }

    fn extract_from_secret(&self, salt: Option<&[u8]>, secret: &[u8]) -> Box<dyn HkdfExpander> {
        self.hkdf.extract_from_secret(salt, secret)
    }

    fn extract_from_kx_shared_secret(
        &self,
        salt: Option<&[u8]>,
        kx: Box<dyn rustls::crypto::ActiveKeyExchange>,
        peer_pub_key: &[u8],
    ) -> Result<Box<dyn HkdfExpander>, rustls::Error> {
        self.hkdf.extract_from_kx_shared_secret(salt, kx, peer_pub_key)
    }

    fn expander_for_okm(&self, okm: &OkmBlock) -> Box<dyn HkdfExpander> {
        derived::expander(|| match aside::with(|aside| (aside.watch, aside.labels)) {
            None => self.hkdf.expander_for_okm(okm),
            Some((Watch::Tickets, _)) => {
                let inner = Expander::new(self.hkdf, okm);
                Box::new(Watched { inner, okm: okm.clone(), hkdf: self.hkdf })
            }
            Some((_, Some(version))) => Box::new(Relabelled { inner: self.hkdf.expander_for_okm(okm), version }),
            Some((_, None)) => Box::new(Expander::new(self.hkdf, okm)),
        })
    }

    fn hmac_sign(&self, key: &OkmBlock, message: &[u8]) -> hmac::Tag {
        self.hkdf.hmac_sign(key, message)
    }

    fn fips(&self) -> bool {
        aside::with(|aside| aside.ours = true);
        self.hkdf.fips()
    }
}

/// Makes the same of secrets, but where [those of Initial packets](in_place_of_initial) would come from gives others.
struct Repeating(&'static dyn Hkdf);

impl Hkdf for Repeating {
    fn extract_from_zero_ikm(&self, salt: Option<&[u8]>) -> Box<dyn HkdfExpander> {
        self.0.extract_from_zero_ikm(salt)
    }

    fn extract_from_secret(&self, salt: Option<&[u8]>, secret: &[u8]) -> Box<dyn HkdfExpander> {
        match aside::with(|aside| aside.initial.take()).flatten() {
            _ if derived::is_known() => Box::new(Known),
            Some((client, server)) => Box::new(Secrets { client, server }),
            None => self.0.extract_from_secret(salt, secret),
        }
    }

    fn expander_for_okm(&self, okm: &OkmBlock) -> Box<dyn HkdfExpander> {
        derived::expander(|| self.0.expander_for_okm(okm))
    }

    fn hmac_sign(&self, key: &OkmBlock, message: &[u8]) -> hmac::Tag {
        self.0.hmac_sign(key, message)
    }
}

/// What stands for the initial_secret (RFC 9001 section 5.2).
struct Secrets {
    client: OkmBlock,
    server: OkmBlock,
}

impl HkdfExpander for Secrets {
    fn expand_slice(&self, _: &[&[u8]], _: &mut [u8]) -> Result<(), OutputLengthError> {
        Err(OutputLengthError)
    }

    fn expand_block(&self, info: &[&[u8]]) -> OkmBlock {
        if has_label(info, b"tls13 client in") { self.client.clone() } else { self.server.clone() }
    }

    fn hash_len(&self) -> usize {
        self.client.as_ref().len()
    }
}

/// Lets TLS make keys as of Initial packets, with a suite that repeats, of these secrets of the client and the server.
pub(crate) fn in_place_of_initial<R>((client, server): (&OkmBlock, &OkmBlock), make: impl FnOnce() -> R) -> R {
    aside::during(Aside { initial: Some((client.clone(), server.clone())), ..Aside::default() }.into(), make).0
}

struct Watched {
    inner: Expander,
    okm: OkmBlock,
    hkdf: &'static dyn Hkdf,
}

impl HkdfExpander for Watched {
    fn expand_slice(&self, info: &[&[u8]], output: &mut [u8]) -> Result<(), OutputLengthError> {
        self.inner.expand_slice(info, output)
    }

    fn expand_block(&self, info: &[&[u8]]) -> OkmBlock {
        let derived = self.inner.expand_block(info);
        if !has_label(info, LABEL) {
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

/// The master secret of a handshake.
struct Master {
    inner: Box<dyn HkdfExpander>,
    suite: &'static Tls13CipherSuite,
}

impl HkdfExpander for Master {
    fn expand_slice(&self, info: &[&[u8]], output: &mut [u8]) -> Result<(), OutputLengthError> {
        self.inner.expand_slice(info, output)
    }

    fn expand_block(&self, info: &[&[u8]]) -> OkmBlock {
        let derived = self.inner.expand_block(info);
        aside::with(|aside| {
            if has_label(info, CLIENT_TRAFFIC) {
                aside.client_traffic = Some(derived.clone());
            } else if has_label(info, SERVER_TRAFFIC) {
                aside.server_traffic = Some((derived.clone(), self.suite));
            } else if has_label(info, EXPORTER) {
                aside.exporter = Some(Exporter { master: derived.clone(), suite: self.suite });
            }
        });
        derived
    }

    fn hash_len(&self) -> usize {
        self.inner.hash_len()
    }
}

/// Derives packet protection keys under the labels of a version.
struct Relabelled {
    inner: Box<dyn HkdfExpander>,
    version: Version,
}

impl HkdfExpander for Relabelled {
    fn expand_slice(&self, info: &[&[u8]], output: &mut [u8]) -> Result<(), OutputLengthError> {
        self.inner.expand_slice(&[&relabel(info.concat(), self.version)], output)
    }

    fn expand_block(&self, info: &[&[u8]]) -> OkmBlock {
        self.inner.expand_block(&[&relabel(info.concat(), self.version)])
    }

    fn hash_len(&self) -> usize {
        self.inner.hash_len()
    }
}

/// An HkdfLabel (RFC 8446 section 7.1) under the label of `version`, if it is one of packet protection; else
/// as it is.
fn relabel(info: Vec<u8>, version: Version) -> Vec<u8> {
    let relabelled = || {
        let (len, rest) = info.split_first_chunk::<2>()?;
        let (label_len, rest) = rest.split_first()?;
        let (label, context) = rest.split_at_checked((*label_len).into())?;
        let what = Version::SUPPORTED.iter().filter_map(|version| version.specifics()).find_map(|specifics| {
            let name = label.strip_prefix(b"tls13 ")?.strip_prefix(specifics.label_prefix.as_bytes())?;
            [b" key".as_slice(), b" iv", b" hp", b" ku"].contains(&name).then_some(name)
        })?;
        let label = [b"tls13 ", version.specifics()?.label_prefix.as_bytes(), what].concat();
        Some([&len[..], &[u8::try_from(label.len()).ok()?], &label, context].concat())
    };
    relabelled().unwrap_or(info)
}

/// Whether keys of another version can be had of all suites of `provider`.
pub(super) fn relabels(provider: &CryptoProvider) -> bool {
    // The question is of no interest; who answers it for us notes that.
    let is_ours = |suite: &Tls13CipherSuite| aside::during(Box::default(), || suite.hkdf_provider.fips()).1.ours;
    provider.cipher_suites.iter().filter_map(SupportedCipherSuite::tls13).all(is_ours)
}

/// The label under which the pre-shared key of a ticket is derived.
const LABEL: &[u8] = b"tls13 resumption";
/// That of the exporter_master_secret.
const EXPORTER: &[u8] = b"tls13 exp master";
/// Those of client_application_traffic_secret_0 and server_application_traffic_secret_0.
const CLIENT_TRAFFIC: &[u8] = b"tls13 c ap traffic";
const SERVER_TRAFFIC: &[u8] = b"tls13 s ap traffic";

/// Whether an HkdfLabel (RFC 8446 section 7.1), which comes in parts, has this label.
pub(super) fn has_label(info: &[&[u8]], label: &[u8]) -> bool {
    // The parts of rustls.
    if let [_, [len], prefix, name, ..] = info {
        return usize::from(*len) == label.len() && label.strip_prefix(*prefix) == Some(*name);
    }
    let mut rest = info.iter().copied().flatten().skip(2);
    rest.next().is_some_and(|len| usize::from(*len) == label.len()) && rest.take(label.len()).eq(label)
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
        let is_of_ticket = |info: &[u8]| {
            let whole = has_label(&[info], LABEL);
            assert!((0..info.len()).all(|at| has_label(&[&info[..at], &info[at..]], LABEL) == whole));
            whole
        };
        assert!(is_of_ticket(&info(b"tls13 resumption", b"nonce")));
        assert!(!is_of_ticket(&info(b"tls13 res master", b"")));
        assert!(!is_of_ticket(&info(b"tls13 resumptions", b"")));
        assert!(!is_of_ticket(&info(b"tls13 quic key", b"tls13 resumption")));
        assert!(!is_of_ticket(&[0, 32]) && !is_of_ticket(&[]));
        assert!(!is_of_ticket(&info(EXPORTER, b"")) && has_label(&[&info(EXPORTER, b"hash")], EXPORTER));
    }

    /// RFC 8448 section 3: the resumption_master_secret, the nonce 00 00 and the key of the ticket.
    #[test]
    fn the_key_of_a_ticket_is_that_of_rfc_8448() {
        let master = hex("7df235f2031d2a051287d02b0241b0bfdaf86cc856231f2d5aba46c434ec196c");
        let psk = hex("4ecd0eb6ec3b4d87f5d6028f922ca4c5851a277fd41311c9e62d2c9492e1c4f3");
        let suite = rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256.tls13().unwrap();
        assert_eq!(ticket_psk(suite.hkdf_provider, &OkmBlock::new(&master), &[0, 0]).as_ref(), psk);
    }

    fn expand(suite: &Tls13CipherSuite, labels: Option<Version>, label: &str, len: u8) -> Vec<u8> {
        // RFC 9001 appendix A.5, RFC 9369 appendix A.5.
        let secret = hex("9ac312a7f877468ebe69422748ad00a15443f18203a07d6060f688f30f21632b");
        let (label, mut out) = (format!("tls13 {label}"), vec![0; len.into()]);
        let derive = || {
            let expander = suite.hkdf_provider.expander_for_okm(&OkmBlock::new(&secret));
            let info = [&[0, len][..], &[label.len() as u8], label.as_bytes(), &[0]];
            assert!(expander.expand_slice(&info, &mut out).is_ok());
            assert!(usize::from(len) != expander.hash_len() || expander.expand_block(&info).as_ref() == out);
        };
        aside::during(Aside { labels, ..Aside::default() }.into(), derive);
        out
    }

    /// The keys of both appendices A.5 come of one secret: whatever version rustls was told, those of the
    /// version that is asked for come out.
    #[test]
    fn keys_of_either_version_from_one_secret() {
        let plain = rustls::crypto::aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256.tls13().unwrap();
        let suite = observe(plain);
        let (v1, v2) = (Version::V1, Version::V2);
        for (version, prefix, key, iv, hp, ku) in [
            (
                v1,
                "quic",
                "c6d98ff3441c3fe1b2182094f69caa2ed4b716b65488960a7a984979fb23e1c8",
                "e0459b3474bdd0e44a41c144",
                "25a282b9e82f06f21f488917a4fc8f1b73573685608597d0efcb076b0ab7a7a4",
                "1223504755036d556342ee9361d253421a826c9ecdf3c7148684b36b714881f9",
            ),
            (
                v2,
                "quicv2",
                "3bfcddd72bcf02541d7fa0dd1f5f9eeea817e09a6963a0e6c7df0f9a1bab90f2",
                "a6b5bc6ab7dafce30ffff5dd",
                "d659760d2ba434a226fd37b35c69e2da8211d10c4f12538787d65645d5d1b8e2",
                "c69374c49e3d2a9466fa689e49d476db5d0dfbc87d32ceeaa6343fd0ae4c7d88",
            ),
        ] {
            for (name, expected) in [("key", key), ("iv", iv), ("hp", hp), ("ku", ku)] {
                let (expected, len) = (hex(expected), (expected.len() / 2) as u8);
                assert_eq!(expand(suite, None, &format!("{prefix} {name}"), len), expected, "{prefix} {name}");
                for told in ["quic", "quicv2"] {
                    let label = format!("{told} {name}");
                    assert_eq!(expand(suite, Some(version), &label, len), expected, "{label} as {version:?}");
                }
            }
        }
        for label in ["derived", "c hs traffic", "quic", "quic keys", "quicv3 key", "quicv2"] {
            let as_it_is = expand(suite, None, label, 32);
            assert!([v1, v2].iter().all(|version| expand(suite, Some(*version), label, 32) == as_it_is), "{label}");
        }
    }

    #[test]
    fn whose_suites_can_do_it() {
        let plain = rustls::crypto::aws_lc_rs::default_provider();
        assert!(!relabels(&plain));
        let ours = observed(plain.clone());
        assert!(relabels(&ours));
        let mixed =
            CryptoProvider { cipher_suites: [&ours.cipher_suites[..1], &plain.cipher_suites].concat(), ..plain };
        assert!(!relabels(&mixed));
    }

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }
}
