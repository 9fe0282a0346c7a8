//! What a server shows: one identity for everybody, and others for those who ask for certain names. They can
//! be changed while it runs.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::pki_types::DnsName;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::Identity;
use crate::status::Error;

/// The identities of a server.
#[derive(Debug)]
pub(crate) struct Identities {
    /// Whether they are raw public keys: a server shows the one kind or the other.
    raw: bool,
    shown: RwLock<Shown>,
}

#[derive(Debug)]
struct Shown {
    to_all: Arc<CertifiedKey>,
    /// By name, in lower case; `.example.net` stands for the names directly below.
    by_name: BTreeMap<String, Arc<CertifiedKey>>,
}

impl Identities {
    pub(crate) fn new(identity: &Identity) -> Result<Self, Error> {
        let shown = Shown { to_all: Arc::new(identity.certified()?), by_name: BTreeMap::new() };
        Ok(Self { raw: identity.is_raw(), shown: RwLock::new(shown) })
    }

    /// Shows `identity` to those who ask for `name`, or to all others.
    pub(crate) fn set(&self, name: Option<&str>, identity: &Identity) -> Result<(), Error> {
        if identity.is_raw() != self.raw {
            return Err(Error::tls("a server shows certificates or raw public keys, not both"));
        }
        let name = name.map(key).transpose()?;
        let certified = Arc::new(identity.certified()?);
        let mut shown = self.shown.write().unwrap_or_else(PoisonError::into_inner);
        match name {
            Some(name) => drop(shown.by_name.insert(name, certified)),
            None => shown.to_all = certified,
        }
        Ok(())
    }

    pub(crate) fn remove(&self, name: &str) -> bool {
        let mut shown = self.shown.write().unwrap_or_else(PoisonError::into_inner);
        key(name).is_ok_and(|name| shown.by_name.remove(&name).is_some())
    }

    fn find(&self, name: Option<&str>) -> Arc<CertifiedKey> {
        let shown = self.shown.read().unwrap_or_else(PoisonError::into_inner);
        let found = name.and_then(|name| {
            let name = name.to_ascii_lowercase();
            // A wildcard stands for one label (RFC 9525 section 6.3).
            let above = || name.find('.').and_then(|dot| shown.by_name.get(&name[dot..]));
            shown.by_name.get(&name).or_else(above)
        });
        found.unwrap_or(&shown.to_all).clone()
    }
}

/// How a name is kept.
fn key(name: &str) -> Result<String, Error> {
    let wildcard = name.strip_prefix("*.");
    let is_name = DnsName::try_from(wildcard.unwrap_or(name)).is_ok();
    let is_name = is_name && !name.ends_with('.');
    match (is_name, wildcard) {
        (false, _) => Err(Error::InvalidArgument("an identity is for a DNS name, or for all names below one (*.name)")),
        (true, Some(below)) => Ok(format!(".{}", below.to_ascii_lowercase())),
        (true, None) => Ok(name.to_ascii_lowercase()),
    }
}

impl ResolvesServerCert for Identities {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.find(hello.server_name()))
    }

    fn only_raw_public_keys(&self) -> bool {
        self.raw
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::PrivatePkcs8KeyDer;

    use super::*;

    fn identity() -> Identity {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        Identity::new(vec![made.cert.der().clone()], key.into()).unwrap()
    }

    #[test]
    fn the_nearest_name_wins() {
        let [all, one, below, deeper] = [(); 4].map(|()| identity());
        let identities = Identities::new(&all).unwrap();
        identities.set(Some("One.Example.net"), &one).unwrap();
        identities.set(Some("*.example.net"), &below).unwrap();
        identities.set(Some("*.deep.example.net"), &deeper).unwrap();
        let shown = |name| {
            let leaf = identities.find(name).cert[0].clone();
            [&all, &one, &below, &deeper].iter().position(|identity| identity.chain[0] == leaf).unwrap()
        };
        for (name, expected) in [
            (None, 0),
            (Some("elsewhere.test"), 0),
            (Some("one.example.net"), 1),
            (Some("ONE.example.NET"), 1),
            (Some("two.example.net"), 2),
            (Some("a.deep.example.net"), 3),
            // One label, not two; and not none.
            (Some("a.b.example.net"), 0),
            (Some("example.net"), 0),
            (Some("deep.example.net"), 2),
            // The names of wildcards are no names.
            (Some("*"), 0),
            (Some(""), 0),
            (Some(".example.net"), 2),
        ] {
            assert_eq!(shown(name), expected, "{name:?}");
        }
        assert!(identities.remove("*.example.NET") && !identities.remove("*.example.net"));
        assert_eq!(shown(Some("two.example.net")), 0);
        assert_eq!(shown(Some("one.example.net")), 1);
        identities.set(None, &one).unwrap();
        assert_eq!(shown(Some("two.example.net")), 1);
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let identities = Identities::new(&identity()).unwrap();
        for name in ["", "*", "*.", "a.*.net", "**.net", "192.0.2.1:443", "with space", "dot.at.the.end.", ".net"] {
            assert!(identities.set(Some(name), &identity()).is_err(), "{name:?}");
        }
    }

    #[test]
    fn certificates_and_raw_keys_do_not_mix() {
        let raw = Identity::raw(identity().key).unwrap();
        assert!(Identities::new(&identity()).unwrap().set(None, &raw).is_err());
        assert!(Identities::new(&raw).unwrap().set(Some("a.example"), &identity()).is_err());
        assert!(Identities::new(&raw).unwrap().set(Some("a.example"), &raw).is_ok());
    }
}
