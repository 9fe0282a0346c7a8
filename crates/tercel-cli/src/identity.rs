//! A certificate made on the spot, for one run.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::PrivatePkcs8KeyDer;
use tercel::Identity;

use crate::failure::{Doing as _, Outcome};

/// How long a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Validity {
    /// For ever, as far as anybody cares.
    Always,
    /// So short that a page may pin it: 14 days at most (W3C WebTransport, `serverCertificateHashes`).
    ForBrowsers,
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A self-signed certificate for these names or addresses, with a key on P-256.
#[expect(clippy::disallowed_methods, reason = "validity is a matter of the time of day")]
pub(crate) fn made_for(names: &[String], validity: Validity) -> Outcome<Identity> {
    let doing = || format!("cannot make a certificate for {}", names.join(", "));
    let mut params = rcgen::CertificateParams::new(names.to_vec()).doing(doing)?;
    if validity == Validity::ForBrowsers {
        let now = rcgen::date_time_ymd(1970, 1, 1) + SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // Clocks differ.
        (params.not_before, params.not_after) = (now - DAY, now + 12 * DAY);
    }
    let key = rcgen::KeyPair::generate().doing(doing)?;
    let certificate = params.self_signed(&key).doing(doing)?;
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    Identity::new(vec![certificate.der().clone()], key.into()).doing(doing)
}
