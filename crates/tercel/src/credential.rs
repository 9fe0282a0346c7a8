//! Credentials: who we are, and whom we trust.
//!
//! Certificates and keys come from files or memory, PEM or DER. Every error names the file and what
//! is wrong with it.

mod identities;
mod known_signatures;
mod public_keys;

use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tercel_proto::tls::DeferredServerVerifier;

use crate::status::Error;

pub(crate) use identities::Identities;
pub(crate) use known_signatures::remembering;
pub(crate) use public_keys::PublicKeysVerifier;

/// A certificate chain and its private key; or a key alone, to be known by its public half (RFC 7250).
///
/// ```no_run
/// # fn main() -> Result<(), tercel::Error> {
/// let identity = tercel::Identity::from_files("chain.pem", "key.pem")?;
/// println!("{:02x?}", identity.fingerprint());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Identity {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
    /// There is no certificate: the chain is a SubjectPublicKeyInfo.
    raw: bool,
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key(), raw: self.raw }
    }
}

impl Identity {
    /// A chain (leaf first) and a key, in DER.
    ///
    /// # Errors
    /// [`Error::Tls`]: there is no certificate, or the key is of no known kind or not that of the
    /// leaf.
    pub fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self, Error> {
        if chain.is_empty() {
            return Err(Error::tls("there is no certificate"));
        }
        let identity = Self { chain, key, raw: false };
        identity.check("the certificate", "the private key")?;
        Ok(identity)
    }

    /// Reads a chain and a key from files, PEM or DER.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Tls`] with the name of the file and what is wrong with it.
    pub fn from_files(chain: impl AsRef<Path>, key: impl AsRef<Path>) -> Result<Self, Error> {
        let (chain_file, key_file) = (chain.as_ref(), key.as_ref());
        let identity = Self { chain: certificates(chain_file)?, key: private_key(key_file)?, raw: false };
        identity.check(&chain_file.display().to_string(), &key_file.display().to_string())?;
        Ok(identity)
    }

    /// A private key without a certificate: the peer is shown the raw public key (RFC 7250), and must
    /// know it ([`Trust::public_keys`], [`ClientAuthentication::PublicKeys`]).
    ///
    /// [`ClientAuthentication::PublicKeys`]: crate::ClientAuthentication::PublicKeys
    ///
    /// A client that has such an identity connects only to servers that ask for raw public keys.
    ///
    /// # Errors
    /// [`Error::Tls`]: the key is of no known kind.
    pub fn raw(key: PrivateKeyDer<'static>) -> Result<Self, Error> {
        let mut identity = Self { chain: Vec::new(), key, raw: true };
        identity.chain.push(CertificateDer::from(identity.public_key()?));
        Ok(identity)
    }

    /// The same without its certificate: as [`raw`](Self::raw).
    ///
    /// # Errors
    /// As for [`raw`](Self::raw).
    pub fn without_certificate(self) -> Result<Self, Error> {
        Self::raw(self.key)
    }

    /// The certificates in DER, leaf first; or the public key if there is none.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The public key: a SubjectPublicKeyInfo in DER, by which peers know who shows it raw.
    ///
    /// # Errors
    /// [`Error::Tls`]: the key is of no known kind.
    pub fn public_key(&self) -> Result<Vec<u8>, Error> {
        let certified = self.certified()?;
        let key =
            certified.key.public_key().ok_or_else(|| Error::tls("the private key does not tell its public half"))?;
        Ok(key.as_ref().to_vec())
    }

    /// Whether it is a key without a certificate.
    pub(crate) const fn is_raw(&self) -> bool {
        self.raw
    }

    /// In the form that TLS signs with.
    pub(crate) fn certified(&self) -> Result<CertifiedKey, Error> {
        let signing = rustls::crypto::aws_lc_rs::sign::any_supported_type(&self.key)
            .map_err(|_| Error::tls("the private key is of a kind that cannot be used"))?;
        Ok(CertifiedKey::new(self.chain.clone(), signing))
    }

    /// The SHA-256 fingerprint of the leaf, or of the public key if there is no certificate.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.chain.first().map_or([0; 32], |leaf| fingerprint(leaf))
    }

    /// Whether the key is one that can be used, and that of the leaf.
    fn check(&self, chain: &str, key: &str) -> Result<(), Error> {
        let signing = rustls::crypto::aws_lc_rs::sign::any_supported_type(&self.key)
            .map_err(|_| Error::tls(format!("{key} is of a kind that cannot be used")))?;
        let certified = CertifiedKey::new(self.chain.clone(), signing);
        certified.keys_match().map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => Error::tls(format!("{key} is not the key of {chain}")),
            error => Error::tls(format!("{chain} is not a certificate that can be used: {error}")),
        })
    }
}

/// The SHA-256 fingerprint of a certificate in DER.
pub fn fingerprint(certificate: &[u8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, certificate).as_ref());
    bytes
}

fn read(file: &Path) -> Result<Vec<u8>, Error> {
    let bytes = std::fs::read(file).map_err(|error| Error::io(format!("cannot read {}", file.display()), error))?;
    match bytes.is_empty() {
        true => Err(Error::tls(format!("{} is empty", file.display()))),
        false => Ok(bytes),
    }
}

fn is_pem(bytes: &[u8]) -> bool {
    bytes.windows(11).any(|part| part == b"-----BEGIN ")
}

/// The certificates of a file.
fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let bytes = read(file)?;
    if !is_pem(&bytes) {
        // DER begins with a SEQUENCE.
        return match bytes.first() {
            Some(0x30) => Ok(vec![CertificateDer::from(bytes)]),
            _ => Err(Error::tls(format!("{} is neither PEM nor DER", file.display()))),
        };
    }
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| Error::tls(format!("{} is broken: {error}", file.display())))?;
    match (certificates.is_empty(), PrivateKeyDer::from_pem_slice(&bytes).is_ok()) {
        (false, _) => Ok(certificates),
        (true, true) => Err(Error::tls(format!("{} holds a private key and no certificate", file.display()))),
        (true, false) => Err(Error::tls(format!("{} holds no certificate", file.display()))),
    }
}

/// The private key of a file.
fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    let bytes = read(file)?;
    let wrong = |what: &str| Error::tls(format!("{} {what}", file.display()));
    if !is_pem(&bytes) {
        return PrivateKeyDer::try_from(bytes).map_err(|_| wrong("is no private key"));
    }
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| {
        let text = String::from_utf8_lossy(&bytes);
        if text.contains("ENCRYPTED") {
            wrong("is encrypted; decrypt it first")
        } else if text.contains("CERTIFICATE") {
            wrong("holds a certificate and no private key")
        } else {
            wrong("holds no private key")
        }
    })
}

/// Whom a client trusts.
///
/// ```no_run
/// use tercel::Trust;
///
/// # fn main() -> Result<(), tercel::Error> {
/// let public = Trust::system()?;
/// let ours = Trust::from_file("our-authority.pem")?;
/// let exactly_that_one = Trust::Pinned([0x6f; 32]);
/// let as_we_judge = Trust::application();
/// let as_we_judge_with_advice = Trust::system()?.deferred();
/// let one_that_has_no_certificate = Trust::public_keys([b"its SubjectPublicKeyInfo in DER"]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Trust {
    /// Servers whose certificates these authorities have signed.
    Roots(Arc<RootCertStore>),
    /// The one server whose leaf certificate has this SHA-256 fingerprint, whatever its name.
    Pinned([u8; 32]),
    /// Servers without a certificate that own one of these raw public keys (RFC 7250), whatever their names;
    /// each a SubjectPublicKeyInfo in DER.
    PublicKeys(Arc<[Vec<u8>]>),
    /// Servers that the application accepts, at [`ConnectionEvent::PeerCertificate`], at
    /// [`Connecting::certificate`] or by the verifier of [`Configuration::judged_by`]. It is told
    /// what this trust, if any, advises.
    ///
    /// [`ConnectionEvent::PeerCertificate`]: crate::ConnectionEvent::PeerCertificate
    /// [`Connecting::certificate`]: crate::aio::Connecting::certificate
    /// [`Configuration::judged_by`]: crate::Configuration::judged_by
    Deferred(Option<Box<Trust>>),
}

impl Trust {
    /// Leaves the verdict to the application, which is told what `self` advises.
    #[must_use]
    pub fn deferred(self) -> Self {
        match self {
            Self::Deferred(advice) => Self::Deferred(advice),
            advice => Self::Deferred(Some(Box::new(advice))),
        }
    }

    /// Leaves the verdict to the application, without any advice.
    pub const fn application() -> Self {
        Self::Deferred(None)
    }

    /// Servers without a certificate that own one of these raw public keys (RFC 7250), each a
    /// SubjectPublicKeyInfo in DER, as [`Identity::public_key`] gives it. For the application to judge keys
    /// that are not known beforehand: `Trust::public_keys::<Vec<u8>>([]).deferred()`.
    pub fn public_keys<K: AsRef<[u8]>>(known: impl IntoIterator<Item = K>) -> Self {
        Self::PublicKeys(known.into_iter().map(|key| key.as_ref().to_vec()).collect())
    }

    /// The verifier for TLS.
    // RFC 9001 section 4.4#1.
    pub(crate) fn verifier(self, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, Error> {
        Ok(match self {
            Self::Roots(roots) => WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
                .build()
                .map_err(|error| Error::tls(error.to_string()))?,
            Self::Pinned(fingerprint) => Arc::new(PinnedVerifier { fingerprint, provider: provider.clone() }),
            Self::PublicKeys(known) => Arc::new(PublicKeysVerifier::new(known, provider.clone())),
            Self::Deferred(advice) => {
                let advice = advice.map(|advice| advice.verifier(provider)).transpose()?;
                Arc::new(DeferredServerVerifier::new(advice, provider.clone()))
            }
        })
    }

    /// The authorities that the system trusts.
    ///
    /// # Errors
    /// [`Error::Tls`]: the system has none that can be read.
    pub fn system() -> Result<Self, Error> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(found.certs);
        match roots.is_empty() {
            true => {
                Err(Error::tls("this system has no trusted certificate authorities; name one, or pin a fingerprint"))
            }
            false => Ok(Self::Roots(Arc::new(roots))),
        }
    }

    /// These authorities, in DER.
    ///
    /// # Errors
    /// [`Error::Tls`]: one is not a certificate.
    pub fn roots(authorities: impl IntoIterator<Item = CertificateDer<'static>>) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots.add(authority).map_err(|error| Error::tls(format!("not a certificate authority: {error}")))?;
        }
        Ok(Self::Roots(Arc::new(roots)))
    }

    /// The authorities of a file, PEM or DER.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Tls`] with the name of the file and what is wrong with it.
    pub fn from_file(file: impl AsRef<Path>) -> Result<Self, Error> {
        let file = file.as_ref();
        let mut roots = RootCertStore::empty();
        for certificate in certificates(file)? {
            roots
                .add(certificate)
                .map_err(|error| Error::tls(format!("{} holds what is no certificate: {error}", file.display())))?;
        }
        Ok(Self::Roots(Arc::new(roots)))
    }
}

/// Takes exactly one certificate.
#[derive(Debug)]
struct PinnedVerifier {
    fingerprint: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinnedVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match fingerprint(leaf) == self.fingerprint {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("QUIC has no TLS 1.2".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(result: Result<Identity, Error>) -> String {
        result.map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn files_are_read_and_faults_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let file = directory.path().join(name);
            std::fs::write(&file, bytes).unwrap();
            file
        };
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        let other = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        let cert = write("cert.pem", made.cert.pem().as_bytes());
        let key = write("key.pem", made.signing_key.serialize_pem().as_bytes());
        let cert_der = write("cert.der", made.cert.der());
        let key_der = write("key.der", &made.signing_key.serialize_der());
        let other_key = write("other.pem", other.signing_key.serialize_pem().as_bytes());
        let empty = write("empty", b"");
        let text = write("text", b"hello");
        let encrypted =
            write("encrypted", b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n");

        for (cert, key) in [(&cert, &key), (&cert_der, &key_der), (&cert, &key_der)] {
            let identity = Identity::from_files(cert, key).unwrap();
            assert_eq!(identity.fingerprint(), fingerprint(made.cert.der()));
        }
        for (cert, key, part) in [
            (&cert, &other_key, "other.pem is not the key of"),
            (&empty, &key, "empty is empty"),
            (&key, &key, "key.pem holds a private key and no certificate"),
            (&cert, &cert, "cert.pem holds a certificate and no private key"),
            (&text, &key, "text is neither PEM nor DER"),
            (&cert, &text, "text is no private key"),
            (&cert, &encrypted, "encrypted is encrypted"),
            (&directory.path().join("none"), &key, "none: No such file"),
        ] {
            let error = error_of(Identity::from_files(cert, key));
            assert!(error.contains(part), "{error} should say: {part}");
        }
        assert!(Trust::from_file(&key).unwrap_err().to_string().contains("no certificate"));
        assert!(Trust::from_file(&cert).is_ok());
    }
}
