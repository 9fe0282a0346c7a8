//! Certificate verifiers for TLS that leave the verdict to the gate.
//!
//! TLS wants a verdict at once; the application's may take its time. These verifiers check the
//! peer's signature, ask built-in validation if there is any and note what it says, and let the
//! handshake go on - as far as the [gate](super), which closes because something was noted. Outside
//! a handshake of ours nobody would close it, so there built-in validation decides, and without any
//! the answer is no.

use std::sync::Arc;

use bytes::Bytes;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::aside::{self, Unjudged};

/// Leaves the verdict to the gate if there is one.
fn leave(unjudged: Unjudged) -> Result<(), Error> {
    let mut unjudged = Some(unjudged);
    let left = aside::with(|aside| aside.certificate = unjudged.take());
    let builtin = unjudged.and_then(|unjudged| unjudged.builtin);
    let refused = || Err(CertificateError::ApplicationVerificationFailure.into());
    left.map_or_else(|| builtin.unwrap_or_else(refused), Ok)
}

fn no_tls12() -> Result<HandshakeSignatureValid, Error> {
    Err(Error::General("QUIC has no TLS 1.2".into()))
}

/// For clients: leaves the verdict on the server's certificate to the gate.
#[derive(Debug)]
pub struct DeferredServerVerifier {
    builtin: Option<Arc<dyn ServerCertVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl DeferredServerVerifier {
    /// With what `builtin` says, if given, for whoever judges to know.
    pub fn new(builtin: Option<Arc<dyn ServerCertVerifier>>, provider: Arc<CryptoProvider>) -> Self {
        Self { builtin, provider }
    }
}

impl ServerCertVerifier for DeferredServerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verify = |builtin: &Arc<dyn ServerCertVerifier>| {
            builtin.verify_server_cert(leaf, intermediates, server_name, ocsp_response, now).map(drop)
        };
        leave(Unjudged {
            ocsp_response: Bytes::copy_from_slice(ocsp_response),
            server_name: Some(server_name.to_str().into_owned()),
            raw: self.requires_raw_public_keys(),
            builtin: self.builtin.as_ref().map(verify),
        })
        .map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match &self.builtin {
            Some(builtin) => builtin.verify_tls13_signature(message, certificate, signature),
            None => verify_tls13_signature(
                message,
                certificate,
                signature,
                &self.provider.signature_verification_algorithms,
            ),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        match &self.builtin {
            Some(builtin) => builtin.supported_verify_schemes(),
            None => self.provider.signature_verification_algorithms.supported_schemes(),
        }
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.builtin.as_ref().is_some_and(|builtin| builtin.requires_raw_public_keys())
    }
}

/// For servers: asks clients for a certificate and leaves the verdict on it to the gate. A client
/// that shows none, where it need not, is not judged.
#[derive(Debug)]
pub struct DeferredClientVerifier {
    builtin: Option<Arc<dyn ClientCertVerifier>>,
    mandatory: bool,
    provider: Arc<CryptoProvider>,
}

impl DeferredClientVerifier {
    /// With what `builtin` says, if given, for whoever judges to know. If `mandatory`, a client
    /// without a certificate is refused.
    pub fn new(builtin: Option<Arc<dyn ClientCertVerifier>>, mandatory: bool, provider: Arc<CryptoProvider>) -> Self {
        Self { builtin, mandatory, provider }
    }
}

impl ClientCertVerifier for DeferredClientVerifier {
    fn offer_client_auth(&self) -> bool {
        aside::with(|aside| aside.asked = true);
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.builtin.as_ref().map_or(&[], |builtin| builtin.root_hint_subjects())
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verify =
            |builtin: &Arc<dyn ClientCertVerifier>| builtin.verify_client_cert(leaf, intermediates, now).map(drop);
        leave(Unjudged {
            ocsp_response: Bytes::new(),
            server_name: None,
            raw: self.requires_raw_public_keys(),
            builtin: self.builtin.as_ref().map(verify),
        })
        .map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match &self.builtin {
            Some(builtin) => builtin.verify_tls13_signature(message, certificate, signature),
            None => verify_tls13_signature(
                message,
                certificate,
                signature,
                &self.provider.signature_verification_algorithms,
            ),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        match &self.builtin {
            Some(builtin) => builtin.supported_verify_schemes(),
            None => self.provider.signature_verification_algorithms.supported_schemes(),
        }
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.builtin.as_ref().is_some_and(|builtin| builtin.requires_raw_public_keys())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without a gate behind it, a verifier that defers must not wave anybody through.
    #[test]
    fn outside_a_handshake_of_ours_the_answer_is_no() {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let certificate = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap().cert;
        let name = ServerName::try_from("localhost").unwrap();
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1 << 31));
        let verify = |verifier: &DeferredServerVerifier| {
            verifier.verify_server_cert(certificate.der(), &[], &name, b"ocsp", now).is_ok()
        };
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        let builtin =
            rustls::client::WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
        let (alone, asking) = (
            DeferredServerVerifier::new(None, provider.clone()),
            DeferredServerVerifier::new(Some(builtin.unwrap()), provider.clone()),
        );
        assert!(!verify(&alone));
        assert!(verify(&asking), "built-in validation decides");
        let (passed, note) = aside::during(Box::default(), || verify(&alone));
        let noted = note.certificate.unwrap();
        assert!(passed && noted.builtin.is_none() && noted.ocsp_response == b"ocsp"[..]);
        assert!(!verify(&alone), "the note is over");
        let client = DeferredClientVerifier::new(None, true, provider);
        assert!(client.verify_client_cert(certificate.der(), &[], now).is_err());
    }
}
