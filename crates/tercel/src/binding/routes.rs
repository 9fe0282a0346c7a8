//! Which connection a datagram belongs to: by connection ID, or by the reset token at its end.

use std::hash::{BuildHasher, DefaultHasher, Hasher};

use tercel_proto::connection::RouteChange;
use tercel_proto::entropy::Entropy;
use tercel_wire::{ConnectionId, ResetToken};

#[expect(clippy::disallowed_types, reason = "keyed from the worker's entropy, so that runs repeat, and never iterated")]
type Map<K> = std::collections::HashMap<K, u32, Keyed>;

/// A hash that cannot be predicted without the key: peers choose some of the IDs that it is for.
#[derive(Clone)]
struct Keyed([u8; 16]);

impl BuildHasher for Keyed {
    type Hasher = DefaultHasher;
    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write(&self.0);
        hasher
    }
}

/// The routes to a worker's connections, given by their slots.
pub(crate) struct Routes {
    ids: Map<ConnectionId>,
    tokens: Map<ResetToken>,
}

impl Routes {
    pub(crate) fn new(entropy: &mut Entropy) -> Self {
        let keyed = Keyed(entropy.array());
        Self { ids: Map::with_hasher(keyed.clone()), tokens: Map::with_hasher(keyed) }
    }

    /// Does what the connection in slot `key` asks for. A route that stands for another connection
    /// is neither replaced nor removed.
    pub(crate) fn apply(&mut self, key: u32, change: RouteChange) {
        match change {
            RouteChange::Add(id) => add(&mut self.ids, id, key),
            RouteChange::Remove(id) => remove(&mut self.ids, &id, key),
            RouteChange::AddResetToken(token) => add(&mut self.tokens, token, key),
            RouteChange::RemoveResetToken(token) => remove(&mut self.tokens, &token, key),
        }
    }

    /// The connection that datagrams to `id` are for.
    pub(crate) fn connection(&self, id: &ConnectionId) -> Option<u32> {
        self.ids.get(id).copied()
    }

    /// The connection that a stateless reset with `token` ends.
    pub(crate) fn reset(&self, token: &ResetToken) -> Option<u32> {
        self.tokens.get(token).copied()
    }

    /// How many routes there are.
    pub(crate) fn len(&self) -> usize {
        self.ids.len() + self.tokens.len()
    }
}

fn add<K: std::hash::Hash + Eq>(map: &mut Map<K>, route: K, key: u32) {
    map.entry(route).or_insert(key);
}

fn remove<K: std::hash::Hash + Eq>(map: &mut Map<K>, route: &K, key: u32) {
    if map.get(route) == Some(&key) {
        map.remove(route);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_belongs_to_who_came_first() {
        let mut routes = Routes::new(&mut Entropy::from_seed([0; 32]));
        let id = ConnectionId::new(&[1; 8]).unwrap();
        routes.apply(1, RouteChange::Add(id));
        routes.apply(2, RouteChange::Add(id));
        routes.apply(2, RouteChange::Remove(id));
        assert_eq!(routes.connection(&id), Some(1));
        routes.apply(1, RouteChange::Remove(id));
        assert_eq!(routes.connection(&id), None);
        let token = ResetToken([3; 16]);
        routes.apply(4, RouteChange::AddResetToken(token));
        assert_eq!(routes.reset(&token), Some(4));
        routes.apply(4, RouteChange::RemoveResetToken(token));
        assert_eq!(routes.len(), 0);
    }
}
