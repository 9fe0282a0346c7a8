//! The streams of a connection: each remembers its place among them, so that none is searched for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::stream::Stream;

/// Where a stream is in the list of its connection. Changed under the lock of that list.
pub(crate) struct Place(AtomicUsize);

const NOWHERE: usize = usize::MAX;

impl Place {
    /// In no list.
    pub(crate) const fn nowhere() -> Self {
        Self(AtomicUsize::new(NOWHERE))
    }

    pub(super) fn is_nowhere(&self) -> bool {
        self.0.load(Ordering::Relaxed) == NOWHERE
    }
}

/// See the [module](self).
#[derive(Default)]
pub(super) struct Streams(Vec<Arc<Stream>>);

impl Streams {
    pub(super) fn add(&mut self, stream: &Arc<Stream>) {
        stream.place().0.store(self.0.len(), Ordering::Relaxed);
        self.0.push(stream.clone());
    }

    /// Takes one out, if it is there. The last takes its place.
    pub(super) fn remove(&mut self, stream: &Stream) -> Option<Arc<Stream>> {
        let place = stream.place().0.load(Ordering::Relaxed);
        stream.place().0.store(NOWHERE, Ordering::Relaxed);
        let removed = (place < self.0.len()).then(|| self.0.swap_remove(place));
        if let Some(moved) = self.0.get(place) {
            moved.place().0.store(place, Ordering::Relaxed);
        }
        removed
    }

    pub(super) fn all(&self) -> Vec<Arc<Stream>> {
        self.0.clone()
    }
}
