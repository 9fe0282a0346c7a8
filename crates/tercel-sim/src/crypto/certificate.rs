//! The one certificate of all simulated servers. Its key is a constant, so that it and its
//! signatures (Ed25519 draws no random numbers) are the same in every process.

use std::sync::LazyLock;

use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};

/// The name that the certificate is for.
pub const NAME: &str = "sim.example";

/// RFC 8410 section 7: what stands before the 32 bytes of an Ed25519 key in PKCS #8.
const PKCS8_ED25519: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

fn pkcs8() -> Vec<u8> {
    [&PKCS8_ED25519[..], &[0x7e; 32]].concat()
}

#[allow(clippy::expect_used)]
static CERTIFICATE: LazyLock<CertificateDer<'static>> = LazyLock::new(|| {
    let key = PrivatePkcs8KeyDer::from(pkcs8());
    let key = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&key, &rcgen::PKCS_ED25519).expect("an Ed25519 key");
    let mut params = rcgen::CertificateParams::new(vec![NAME.to_owned()]).expect("a DNS name");
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2090, 1, 1);
    params.self_signed(&key).expect("a certificate").der().clone()
});

/// The server's certificate chain.
pub fn chain() -> Vec<CertificateDer<'static>> {
    vec![CERTIFICATE.clone()]
}

/// The server's key.
pub fn key() -> PrivateKeyDer<'static> {
    PrivatePkcs8KeyDer::from(pkcs8()).into()
}

/// What clients trust.
#[allow(clippy::expect_used)]
pub fn roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(CERTIFICATE.clone()).expect("a certificate");
    roots
}

/// [`NAME`] as rustls takes it.
#[allow(clippy::expect_used)]
pub fn server_name() -> ServerName<'static> {
    NAME.try_into().expect("a DNS name")
}
