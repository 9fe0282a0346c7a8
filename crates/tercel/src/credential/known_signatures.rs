//! Signatures of certificates that were found right once are not computed again.
//!
//! Who connects to the same servers again and again is shown the same chains, and whether the signature of a certificate is
//! right depends on nothing but the signer's key, the certificate and the signature: of those that were, a digest of
//! all three is kept, for the whole process. All else that makes a certificate valid (times, names, use, revocation)
//! is looked at every time, and so is what its owner signs in each handshake.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest::{Context, SHA256};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{AlgorithmIdentifier, FipsStatus, InvalidSignature, SignatureVerificationAlgorithm};

/// So many signatures are known at the most: twice this, and never fewer than this once there were.
const GENERATION: usize = 128;

/// The same provider, by which certificates are verified so. It is kept for as long as the process lives.
pub(crate) fn remembering(provider: CryptoProvider) -> CryptoProvider {
    let known = Arc::new(KnownSignatures::default());
    let WebPkiSupportedAlgorithms { all, mapping } = provider.signature_verification_algorithms;
    let all = all.iter().enumerate().map(|(number, algorithm)| {
        let number = number as u64;
        &*Box::leak(Box::new(Remembering { algorithm: *algorithm, number, known: known.clone() }))
            as &dyn SignatureVerificationAlgorithm
    });
    // By `mapping` signatures of handshakes are verified, each of which is made once.
    let all = Box::leak(all.collect());
    CryptoProvider { signature_verification_algorithms: WebPkiSupportedAlgorithms { all, mapping }, ..provider }
}

/// The digests of those that were right: the younger ones, and those before them.
#[derive(Debug, Default)]
struct KnownSignatures(Mutex<[BTreeSet<[u8; 32]>; 2]>);

impl KnownSignatures {
    /// Whether it is known; it is then among the younger ones.
    fn has(&self, digest: &[u8; 32]) -> bool {
        let [young, old] = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        young.contains(digest) || old.remove(digest) && young.insert(*digest)
    }

    fn add(&self, digest: [u8; 32]) {
        let [young, old] = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if young.len() == GENERATION {
            *old = std::mem::take(young);
        }
        young.insert(digest);
    }
}

#[derive(Debug)]
struct Remembering {
    algorithm: &'static dyn SignatureVerificationAlgorithm,
    /// Tells it from the others.
    number: u64,
    known: Arc<KnownSignatures>,
}

impl Remembering {
    /// Every part with its length before it, so that no two triples are written alike.
    fn digest(&self, parts: [&[u8]; 3]) -> Option<[u8; 32]> {
        let mut context = Context::new(&SHA256);
        context.update(&self.number.to_be_bytes());
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        context.finish().as_ref().try_into().ok()
    }
}

impl SignatureVerificationAlgorithm for Remembering {
    fn verify_signature(&self, public_key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let digest = self.digest([public_key, message, signature]);
        if digest.is_some_and(|digest| self.known.has(&digest)) {
            return Ok(());
        }
        self.algorithm.verify_signature(public_key, message, signature)?;
        digest.into_iter().for_each(|digest| self.known.add(digest));
        Ok(())
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.signature_alg_id()
    }

    fn fips(&self) -> bool {
        self.algorithm.fips()
    }

    fn fips_status(&self) -> FipsStatus {
        self.algorithm.fips_status()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use rustls::RootCertStore;
    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier as _;
    use rustls::pki_types::UnixTime;

    use super::*;

    /// Takes what ends with its key, and counts how often it is asked.
    #[derive(Debug, Default)]
    struct Counted(AtomicUsize);

    impl SignatureVerificationAlgorithm for Counted {
        fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
            self.0.fetch_add(1, Ordering::Relaxed);
            (signature == [message, key].concat()).then_some(()).ok_or(InvalidSignature)
        }

        fn public_key_alg_id(&self) -> AlgorithmIdentifier {
            AlgorithmIdentifier::from_slice(b"key")
        }

        fn signature_alg_id(&self) -> AlgorithmIdentifier {
            AlgorithmIdentifier::from_slice(b"signature")
        }
    }

    /// The algorithms of a provider that has two of these, and these.
    fn two() -> (&'static [&'static dyn SignatureVerificationAlgorithm], [&'static Counted; 2]) {
        let counted = [(); 2].map(|()| &*Box::leak(Box::new(Counted::default())));
        let all = Box::leak(Box::new(counted.map(|one| one as &dyn SignatureVerificationAlgorithm)));
        let algorithms = WebPkiSupportedAlgorithms { all, mapping: &[] };
        let provider = CryptoProvider {
            signature_verification_algorithms: algorithms,
            ..rustls::crypto::aws_lc_rs::default_provider()
        };
        (remembering(provider).signature_verification_algorithms.all, counted)
    }

    fn asked(counted: [&Counted; 2]) -> [usize; 2] {
        counted.map(|one| one.0.swap(0, Ordering::Relaxed))
    }

    #[test]
    fn what_was_right_is_not_computed_again_and_nothing_else_is_taken_for_it() {
        let (algorithms, counted) = two();
        for time in 0..3 {
            assert!(algorithms[0].verify_signature(b"k", b"message", b"messagek").is_ok());
            assert_eq!(asked(counted), [usize::from(time == 0), 0]);
        }
        // The same bytes, parted elsewhere; another algorithm; and each of the three changed.
        let others =
            [(0, "km", "essage", "messagek"), (0, "k", "messagem", "essagek"), (0, "j", "message", "messagek")];
        for (which, key, message, signature) in others.into_iter().chain([(0, "k", "massage", "messagek")]) {
            let verified = algorithms[which].verify_signature(key.as_bytes(), message.as_bytes(), signature.as_bytes());
            assert_eq!((verified.is_err(), asked(counted)), (true, [1, 0]), "{key} {message} {signature}");
        }
        assert!(algorithms[1].verify_signature(b"k", b"message", b"messagek").is_ok());
        assert_eq!(asked(counted), [0, 1]);
    }

    #[test]
    fn what_was_wrong_is_computed_every_time() {
        let (algorithms, counted) = two();
        for _ in 0..3 {
            assert!(algorithms[0].verify_signature(b"k", b"message", b"wrong").is_err());
            assert_eq!(asked(counted), [1, 0]);
        }
    }

    #[test]
    fn what_is_used_stays_and_the_rest_is_forgotten() {
        let (algorithms, counted) = two();
        let verify = |number: usize| {
            let message = number.to_be_bytes();
            algorithms[0].verify_signature(b"k", &message, &[&message[..], b"k"].concat()).unwrap();
            asked(counted)[0] == 0
        };
        let found = (0..10 * GENERATION).filter(|number| verify(*number) | (number % 50 == 0 && verify(0))).count();
        assert_eq!(found, 10 * GENERATION / 50 + 1);
        assert!(!verify(1), "it is long ago");
        assert!(verify(0));
    }

    #[test]
    fn a_known_signature_makes_no_certificate_valid() {
        let issuer = |name: &str| {
            let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap()
        };
        let (authority, other) = (issuer("authority"), issuer("other"));
        let mut params = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(2030, 1, 1));
        let leaf = params.signed_by(&rcgen::KeyPair::generate().unwrap(), &authority).unwrap();
        let provider = Arc::new(remembering(rustls::crypto::aws_lc_rs::default_provider()));
        let verifier = |issuer: &rcgen::CertifiedIssuer<'_, rcgen::KeyPair>| {
            let mut roots = RootCertStore::empty();
            roots.add(issuer.der().clone()).unwrap();
            WebPkiServerVerifier::builder_with_provider(roots.into(), provider.clone()).build().unwrap()
        };
        let verify = |issuer, name: &'static str, year: u64| {
            let now = UnixTime::since_unix_epoch(Duration::from_secs((year - 1970) * 31_557_600));
            verifier(issuer).verify_server_cert(leaf.der(), &[], &name.try_into().unwrap(), &[], now)
        };
        for _ in 0..2 {
            assert!(verify(&authority, "localhost", 2025).is_ok());
            assert!(verify(&authority, "localhost", 2031).is_err());
            assert!(verify(&authority, "localhost", 2019).is_err());
            assert!(verify(&authority, "remotehost", 2025).is_err());
            assert!(verify(&other, "localhost", 2025).is_err());
        }
        let mut changed = leaf.der().to_vec();
        *changed.last_mut().unwrap() ^= 1;
        let now = UnixTime::since_unix_epoch(Duration::from_secs(55 * 31_557_600));
        let verified =
            verifier(&authority).verify_server_cert(&changed.into(), &[], &"localhost".try_into().unwrap(), &[], now);
        assert!(verified.is_err());
    }
}
