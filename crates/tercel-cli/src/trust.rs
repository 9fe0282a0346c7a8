//! Whom a client trusts: the server with a pinned certificate, authorities of a file, or whom the
//! operating system trusts.

use std::path::Path;

use tercel::aio::OffThread;
use tercel::{Configuration, Settings, Trust};

use crate::failure::{Doing as _, Failure, Outcome};
use crate::fingerprint::Fingerprint;

/// What the command line names, if it names something.
fn named(pin: Option<&Fingerprint>, ca: Option<&Path>) -> Outcome<Option<Trust>> {
    match (pin, ca) {
        (Some(pin), _) => Ok(Some(Trust::Pinned(pin.0))),
        (None, Some(file)) => match Trust::from_file(file) {
            Ok(trust) => Ok(Some(trust)),
            Err(error) => Err(Failure::plain(format!("cannot use --ca: {error}"))),
        },
        (None, None) => Ok(None),
    }
}

/// As a value, to be asked for advice.
pub(crate) fn advisor(pin: Option<&Fingerprint>, ca: Option<&Path>) -> Outcome<Trust> {
    named(pin, ca)?.map_or_else(|| Trust::system().map_err(Failure::plain), Ok)
}

/// A client's configuration. What the operating system trusts it judges itself, which may take its
/// time.
pub(crate) fn client<P: AsRef<[u8]>>(
    alpn: &[P],
    settings: Settings,
    pin: Option<&Fingerprint>,
    ca: Option<&Path>,
) -> Outcome<Configuration> {
    let doing = || "cannot set up TLS";
    match named(pin, ca)? {
        Some(trust) => Configuration::client(alpn, settings, trust).doing(doing),
        None => {
            let platform = OffThread::platform().map_err(Failure::plain)?;
            Ok(Configuration::client(alpn, settings, Trust::application()).doing(doing)?.judged_by(platform))
        }
    }
}
