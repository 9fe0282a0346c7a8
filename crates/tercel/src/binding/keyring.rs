//! The keys of a registration that may change while it runs, and that servers behind one balancer may
//! have in common.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tercel_proto::entropy::Entropy;
use tercel_proto::token::TokenKeys;

use super::cid_layout::{CidKeys, derive_bytes};
use super::routable::{RoutableIds, RoutableIssuer};
use crate::registration::RegistrationConfig;
use crate::status::Error;

/// So many keys may be good at the same time.
const MAX_KEYS: usize = 4;

/// See the module.
pub(crate) struct Keyring {
    workers: usize,
    ids: Mutex<(Arc<CidKeys>, Entropy)>,
    tokens: RwLock<Arc<TokenKeys>>,
}

impl Keyring {
    /// What `config` says, and where it says nothing, keys from `secret`.
    pub(crate) fn new(
        config: &RegistrationConfig,
        workers: usize,
        secret: &[u8; 32],
        entropy: Entropy,
    ) -> Result<Self, Error> {
        let made = [derive_bytes(secret, b"tercel address token")];
        let tokens = if config.token_keys.is_empty() { &made[..] } else { &config.token_keys };
        let keyring = Self {
            workers,
            ids: Mutex::new((Arc::new(CidKeys::new(secret)), entropy)),
            tokens: RwLock::new(token_keys(tokens)?),
        };
        if !config.reset_keys.is_empty() {
            keyring.set_reset_keys(&config.reset_keys)?;
        }
        if !config.routable_ids.is_empty() {
            keyring.set_routable(&config.routable_ids, false)?;
        }
        Ok(keyring)
    }

    pub(crate) fn cid_keys(&self) -> Arc<CidKeys> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    pub(crate) fn tokens(&self) -> Arc<TokenKeys> {
        self.tokens.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_token_keys(&self, keys: &[[u8; 32]]) -> Result<(), Error> {
        let keys = token_keys(keys)?;
        *self.tokens.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }

    pub(crate) fn set_reset_keys(&self, keys: &[[u8; 32]]) -> Result<(), Error> {
        check(keys)?;
        self.change(|ids, _| Ok(ids.with_reset_keys(keys)))
    }

    pub(crate) fn set_routable_ids(&self, ids: &[RoutableIds]) -> Result<(), Error> {
        self.set_routable(ids, true)
    }

    /// `same_len`: connections are there that know the length of their IDs.
    fn set_routable(&self, routable: &[RoutableIds], same_len: bool) -> Result<(), Error> {
        self.change(|ids, entropy| {
            let len = routable.first().map_or(ids.cid_len(), RoutableIds::cid_len);
            if routable.iter().any(|ids| ids.cid_len() != len) || same_len && len != ids.cid_len() {
                return Err(Error::InvalidArgument("connection IDs of a registration must all have one length"));
            }
            let mut issuers = Vec::new();
            for ids in routable {
                let issuer = RoutableIssuer::new(ids.clone(), self.workers, entropy);
                let issuer = issuer.ok_or_else(|| Error::tls("the crypto library makes no keys"))?;
                if issuers.iter().any(|other: &Arc<RoutableIssuer>| other.rotation() == issuer.rotation()) {
                    return Err(Error::InvalidArgument("two QUIC-LB configurations have one codepoint"));
                }
                issuers.push(Arc::new(issuer));
            }
            Ok(ids.with_routable(issuers, len))
        })
    }

    fn change(&self, make: impl FnOnce(CidKeys, &mut Entropy) -> Result<CidKeys, Error>) -> Result<(), Error> {
        let mut held = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        let (current, entropy) = &mut *held;
        *current = Arc::new(make(CidKeys::clone(current), entropy)?);
        Ok(())
    }
}

fn check(keys: &[[u8; 32]]) -> Result<(), Error> {
    match (1..=MAX_KEYS).contains(&keys.len()) {
        true => Ok(()),
        false => Err(Error::InvalidArgument("there must be 1 to 4 keys")),
    }
}

fn token_keys(keys: &[[u8; 32]]) -> Result<Arc<TokenKeys>, Error> {
    check(keys)?;
    TokenKeys::new(keys).map(Arc::new).ok_or_else(|| Error::tls("the crypto library makes no keys"))
}

#[cfg(test)]
mod tests {
    use tercel_proto::cid::quic_lb::QuicLb;

    use super::*;

    fn keyring(config: &RegistrationConfig) -> Result<Keyring, Error> {
        Keyring::new(config, 2, &[1; 32], Entropy::from_seed([2; 32]))
    }

    fn ids(rotation: u8, nonce_len: usize) -> RoutableIds {
        RoutableIds::new(QuicLb::new(rotation, 2, nonce_len, None).unwrap(), [0, 1]).unwrap()
    }

    #[test]
    fn what_does_not_fit_is_refused_and_changes_nothing() {
        let ring = keyring(&RegistrationConfig::default()).unwrap();
        assert!(ring.set_token_keys(&[]).is_err() && ring.set_reset_keys(&[[0; 32]; 5]).is_err());
        assert!(ring.set_routable_ids(&[ids(0, 5)]).is_err(), "eight bytes, and there were nine");
        assert!(ring.set_routable_ids(&[ids(0, 6), ids(0, 6)]).is_err(), "one codepoint");
        assert_eq!(ring.cid_keys().cid_len(), 9);
        assert!(ring.set_routable_ids(&[ids(0, 6), ids(1, 6)]).is_ok());

        let config = RegistrationConfig { routable_ids: vec![ids(3, 10)], ..RegistrationConfig::default() };
        let ring = keyring(&config).unwrap();
        assert_eq!(ring.cid_keys().cid_len(), 13);
        let cid = ring.cid_keys().issue(1, None, &mut Entropy::from_seed([3; 32]));
        assert!(ring.set_routable_ids(&[]).is_ok());
        assert_eq!(ring.cid_keys().cid_len(), 13, "the length stays");
        assert!(ring.cid_keys().worker_of(&cid).is_some());
        let mixed = RegistrationConfig { routable_ids: vec![ids(3, 10), ids(4, 11)], ..RegistrationConfig::default() };
        assert!(keyring(&mixed).is_err());
    }
}
