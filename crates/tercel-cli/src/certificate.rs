//! A certificate in words.

use tercel::credential::fingerprint;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::fingerprint::Fingerprint;

/// One line about each thing that people ask of a certificate.
pub(crate) fn describe(der: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    match X509Certificate::from_der(der) {
        Ok((_, certificate)) => {
            lines.push(format!("{} (issued by {})", certificate.subject(), certificate.issuer()));
            let names = names(&certificate);
            if !names.is_empty() {
                lines.push(format!("for {}", names.join(", ")));
            }
            let validity = certificate.validity();
            lines.push(format!("from {} to {}", validity.not_before, validity.not_after));
        }
        Err(_) => lines.push("a certificate that cannot be read".into()),
    }
    lines.push(format!("SHA-256 {}", Fingerprint(fingerprint(der))));
    lines
}

/// Why a certificate is not trusted, and what a person can do about it.
pub(crate) fn explain(error: &rustls::Error) -> String {
    use rustls::CertificateError as E;
    let rustls::Error::InvalidCertificate(error) = error else { return error.to_string() };
    match error {
        E::UnknownIssuer => "no authority that you trust has signed it (see --ca and --pin)".into(),
        E::Expired | E::ExpiredContext { .. } => "it has expired".into(),
        E::NotValidYet | E::NotValidYetContext { .. } => "it is not valid yet; is this machine's clock right?".into(),
        E::NotValidForName | E::NotValidForNameContext { .. } => "it is not for this name".into(),
        E::Revoked => "it was revoked".into(),
        E::ApplicationVerificationFailure => "it has another fingerprint than the one pinned".into(),
        error => error.to_string(),
    }
}

/// The end of a certificate's validity, in seconds since 1970.
pub(crate) fn valid_until(der: &[u8]) -> Option<i64> {
    X509Certificate::from_der(der).ok().map(|(_, certificate)| certificate.validity().not_after.timestamp())
}

/// How many names are shown.
const NAMES: usize = 8;

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    let all = &extension.value.general_names;
    let mut names: Vec<_> = all.iter().take(NAMES).filter_map(name).collect();
    if all.len() > NAMES {
        names.push(format!("{} more", all.len() - NAMES));
    }
    names
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|bytes| std::net::Ipv4Addr::from(bytes).to_string()),
            _ => <[u8; 16]>::try_from(*bytes).ok().map(|bytes| std::net::Ipv6Addr::from(bytes).to_string()),
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_in_words() {
        let made = rcgen::generate_simple_self_signed(vec!["example.org".into(), "192.0.2.1".into()]);
        let Ok(made) = made else { panic!("no certificate") };
        let lines = describe(made.cert.der());
        assert!(lines[0].contains("CN=rcgen self signed cert (issued by CN=rcgen self signed cert"), "{lines:?}");
        assert_eq!(lines[1], "for example.org, 192.0.2.1");
        assert!(lines[2].starts_with("from ") && lines[2].contains("4096"), "{lines:?}");
        assert!(lines[3].starts_with("SHA-256 ") && lines[3].len() == 8 + 95, "{lines:?}");
        assert_eq!(describe(b"no certificate")[0], "a certificate that cannot be read");
    }
}
