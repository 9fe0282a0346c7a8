//! A certificate that a client does not trust: both ends are told why, in words.

use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tercel::aio::Endpoint;
use tercel::{Configuration, Identity, Settings, Trust};

/// A certificate that signs itself.
fn made(common_name: &str, valid: (i32, i32)) -> (Identity, CertificateDer<'static>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".into()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, common_name);
    (params.not_before, params.not_after) = (date_time_ymd(valid.0, 1, 1), date_time_ymd(valid.1, 1, 1));
    let certificate = params.self_signed(&key).unwrap().der().clone();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    (Identity::new(vec![certificate.clone()], key.into()).unwrap(), certificate)
}

#[tokio::test]
// RFC 9001 sections 4.4#1, 4.8#1.
async fn both_ends_are_told_what_is_wrong_with_a_certificate() {
    let (good, root) = made("good", (2000, 4000));
    let (_, stranger) = made("stranger", (2000, 4000));
    let (old, old_root) = made("old", (2000, 2001));
    let (early, early_root) = made("early", (3999, 4000));
    let roots = |root: &CertificateDer<'static>| Trust::roots([root.clone()]).unwrap();
    let client = Endpoint::client().unwrap();
    for (identity, trust, name, why) in [
        (&good, roots(&root), "elsewhere.test", "the certificate is for another name"),
        (&good, roots(&stranger), "localhost", "no authority that is trusted here has signed the certificate"),
        (&good, Trust::Pinned([7; 32]), "localhost", "the certificate is not the one expected"),
        (&old, roots(&old_root), "localhost", "the certificate has expired"),
        (&early, roots(&early_root), "localhost", "the certificate is not valid yet"),
    ] {
        let server = Configuration::server(&["test"], Settings::default(), identity.clone()).unwrap();
        let server = Endpoint::server(&server, "127.0.0.1:0".parse().unwrap()).unwrap();
        let configuration = Configuration::client(&["test"], Settings::default(), trust).unwrap();
        let connecting = client.connect(&configuration, server.local_address().unwrap(), name).unwrap();
        let accepting = async { server.accept().await.unwrap().accept().unwrap().await };
        let (ours, theirs) = tokio::join!(connecting, accepting);
        for (end, told) in [("client", ours.unwrap_err().to_string()), ("server", theirs.unwrap_err().to_string())] {
            assert!(told.ends_with(why), "the {end} was told {told:?} in place of {why:?}");
        }
    }
}
