//! A key exchange in form only: random bytes for shares, and a hash of both for the secret.

use aws_lc_rs::digest::{SHA256, digest};
use rustls::crypto::{ActiveKeyExchange, CompletedKeyExchange, SharedSecret, SupportedKxGroup};
use rustls::{Error, NamedGroup, PeerMisbehaved};

use super::randomness;

/// With the shares of X25519.
pub(super) const SMALL: &dyn SupportedKxGroup = &Group { name: NamedGroup::X25519, client: 32, server: 32 };
/// With the shares of X25519MLKEM768.
pub(super) const HYBRID: &dyn SupportedKxGroup =
    &Group { name: NamedGroup::X25519MLKEM768, client: 1216, server: 1120 };

#[derive(Debug)]
struct Group {
    name: NamedGroup,
    client: usize,
    server: usize,
}

fn secret(client: &[u8], server: &[u8]) -> SharedSecret {
    digest(&SHA256, &[client, server].concat()).as_ref().into()
}

fn share(len: usize) -> Vec<u8> {
    let mut share = vec![0; len];
    randomness::fill(&mut share);
    share
}

impl SupportedKxGroup for Group {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        Ok(Box::new(Started { name: self.name, share: share(self.client), theirs: self.server }))
    }

    fn start_and_complete(&self, peer: &[u8]) -> Result<CompletedKeyExchange, Error> {
        if peer.len() != self.client {
            return Err(PeerMisbehaved::InvalidKeyShare.into());
        }
        let ours = share(self.server);
        let secret = secret(peer, &ours);
        Ok(CompletedKeyExchange { group: self.name, pub_key: ours, secret })
    }

    fn name(&self) -> NamedGroup {
        self.name
    }
}

struct Started {
    name: NamedGroup,
    share: Vec<u8>,
    theirs: usize,
}

impl ActiveKeyExchange for Started {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        if peer.len() != self.theirs {
            return Err(PeerMisbehaved::InvalidKeyShare.into());
        }
        Ok(secret(&self.share, peer))
    }

    fn pub_key(&self) -> &[u8] {
        &self.share
    }

    fn group(&self) -> NamedGroup {
        self.name
    }
}
