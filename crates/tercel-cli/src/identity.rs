//! A certificate made on the spot, for one run.

use rustls::pki_types::PrivatePkcs8KeyDer;
use tercel::Identity;

use crate::failure::{Doing as _, Outcome};

/// A self-signed certificate for these names or addresses.
pub(crate) fn made_for(names: &[String]) -> Outcome<Identity> {
    let doing = || format!("cannot make a certificate for {}", names.join(", "));
    let made = rcgen::generate_simple_self_signed(names.to_vec()).doing(doing)?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    Identity::new(vec![made.cert.der().clone()], key.into()).doing(doing)
}
