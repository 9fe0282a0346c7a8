//! Whom a client trusts: the server with a pinned certificate, authorities of a file, or whom the
//! operating system trusts.

use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use tercel::aio::OffThread;
use tercel::{Configuration, Settings, Trust};

use crate::failure::{Doing as _, Failure, Outcome};
use crate::fingerprint::Fingerprint;
use crate::judge::Judge;

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

/// A client's configuration, and who judges the certificates that its connections meet. What the operating
/// system trusts it judges itself, which may take its time.
pub(crate) fn client<P: AsRef<[u8]>>(
    alpn: &[P],
    settings: Settings,
    pin: Option<&Fingerprint>,
    ca: Option<&Path>,
) -> Outcome<(Configuration, Judge)> {
    let (trust, judge) = match named(pin, ca)? {
        Some(trust) => (trust.deferred(), Judge::Advised),
        None => (Trust::application(), Judge::System(OffThread::platform().map_err(Failure::plain)?)),
    };
    let configuration = Configuration::client(alpn, settings, trust).doing(|| "cannot set up TLS")?;
    Ok((configuration, judge))
}

/// What tells this trust from any other: a session goes on only under the trust that it began under.
pub(crate) fn distinction(pin: Option<&Fingerprint>, ca: Option<&Path>) -> Outcome<String> {
    match (pin, ca) {
        (Some(pin), _) => Ok(format!("pin {pin}")),
        (None, Some(file)) => {
            let authorities = std::fs::read(file).doing(|| format!("cannot read {}", file.display()))?;
            let mut hash = [0; 32];
            hash.copy_from_slice(digest(&SHA256, &authorities).as_ref());
            Ok(format!("authorities {}", Fingerprint(hash)))
        }
        (None, None) => Ok("system".into()),
    }
}
