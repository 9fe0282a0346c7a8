//! A map for a handful of elements, which lie in a row in the order of their keys. A tree has room for eleven as soon as
//! there is one.

/// A map.
#[derive(Debug, Clone)]
pub(crate) struct SmallMap<K, V>(Vec<(K, V)>);

impl<K, V> Default for SmallMap<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Ord, V> SmallMap<K, V> {
    /// With one element.
    pub(crate) fn of(key: K, value: V) -> Self {
        Self(vec![(key, value)])
    }

    /// Where a key is, or would be. Looked for one by one: it mostly is the first.
    fn at(&self, key: &K) -> Result<usize, usize> {
        match self.0.iter().position(|(known, _)| known >= key) {
            Some(at) if self.0[at].0 == *key => Ok(at),
            Some(at) => Err(at),
            None => Err(self.0.len()),
        }
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.0.get(self.at(key).ok()?).map(|(_, value)| value)
    }

    /// The value of a key.
    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let at = self.at(key).ok()?;
        self.0.get_mut(at).map(|(_, value)| value)
    }

    /// Whether there is a value.
    pub(crate) fn contains_key(&self, key: &K) -> bool {
        self.at(key).is_ok()
    }

    /// Adds an element, in place of what has the same key.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        match self.at(&key) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => self.0.insert(at, (key, value)),
        }
    }

    /// Takes an element out.
    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let at = self.at(key).ok()?;
        Some(self.0.remove(at).1)
    }

    /// The elements in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    /// The keys in order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.0.iter().map(|(key, _)| key)
    }

    /// The values, in the order of their keys.
    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.0.iter().map(|(_, value)| value)
    }

    /// The values, in the order of their keys.
    pub(crate) fn into_values(self) -> impl Iterator<Item = V> {
        self.0.into_iter().map(|(_, value)| value)
    }

    /// How many elements there are.
    pub(crate) const fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes all out.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Lets go of room that is not in use.
    pub(crate) fn rest(&mut self) {
        self.0.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn as_a_tree(steps in proptest::collection::vec((0..3u8, 0..12u8, any::<u8>()), 0..60)) {
            let (mut map, mut tree) = (SmallMap::default(), BTreeMap::new());
            for (what, key, value) in steps {
                match what {
                    0 => prop_assert_eq!(map.remove(&key), tree.remove(&key)),
                    1 => map.get_mut(&key).into_iter().chain(tree.get_mut(&key)).for_each(|known| *known = value),
                    _ => {
                        map.insert(key, value);
                        tree.insert(key, value);
                    }
                }
                prop_assert!(map.iter().eq(tree.iter()) && map.keys().eq(tree.keys()) && map.values().eq(tree.values()));
                prop_assert_eq!((map.len(), map.get(&key)), (tree.len(), tree.get(&key)));
                prop_assert_eq!(map.contains_key(&key), tree.contains_key(&key));
            }
            prop_assert!(map.clone().into_values().eq(tree.into_values()));
            map.clear();
            prop_assert_eq!(map.len(), 0);
        }
    }
}
