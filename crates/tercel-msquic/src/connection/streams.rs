//! The streams of a connection: each remembers its place among them, so that none is searched for. They are named by
//! their handles, which need not be counted; those whose handle is being closed before they are over are kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::abi::Handle;
use crate::handle;
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

enum Entry {
    Empty,
    Open(Handle),
    Closing(Arc<Stream>),
}

/// See the [module](self).
#[derive(Default)]
pub(super) struct Streams {
    entries: Vec<Entry>,
    empty: Vec<usize>,
}

impl Streams {
    pub(super) fn add(&mut self, stream: &Stream) {
        let place = self.empty.pop().unwrap_or_else(|| {
            self.entries.push(Entry::Empty);
            self.entries.len() - 1
        });
        self.entries[place] = Entry::Open(stream.handle());
        stream.place().0.store(place, Ordering::Relaxed);
    }

    /// The handle of one is going to be closed.
    pub(super) fn keep(&mut self, stream: &Arc<Stream>) {
        if let Some(entry) = self.entries.get_mut(stream.place().0.load(Ordering::Relaxed)) {
            *entry = Entry::Closing(stream.clone());
        }
    }

    /// Takes one out, if it is there; gives what was kept of it.
    pub(super) fn remove(&mut self, stream: &Stream) -> Option<Arc<Stream>> {
        let place = stream.place().0.load(Ordering::Relaxed);
        stream.place().0.store(NOWHERE, Ordering::Relaxed);
        let entry = self.entries.get_mut(place)?;
        self.empty.push(place);
        match std::mem::replace(entry, Entry::Empty) {
            Entry::Closing(kept) => Some(kept),
            Entry::Empty | Entry::Open(_) => None,
        }
    }

    pub(super) fn all(&self) -> Vec<Arc<Stream>> {
        let known = |entry: &Entry| match entry {
            Entry::Empty => None,
            // Whose handle is closed by now is over.
            Entry::Open(handle) => handle::get(*handle).ok(),
            Entry::Closing(stream) => Some(stream.clone()),
        };
        self.entries.iter().filter_map(known).collect()
    }
}
