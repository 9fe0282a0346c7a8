//! Where streams are found by their IDs.

use tercel_wire::StreamId;

use super::blocked::StreamStats;
use super::id_map::IdMap;
use super::recv::Recv;
use super::send::Send;
use crate::rare_queue::RareQueue;

/// One stream: the parts that it has at this end.
#[derive(Debug)]
// RFC 9000 section 4.4#1: its parts end each by itself.
pub(super) struct Stream {
    pub(super) send: Option<Send>,
    pub(super) recv: Option<Recv>,
}

impl Stream {
    pub(super) fn is_done(&self) -> bool {
        self.send.as_ref().is_none_or(Send::is_done) && self.recv.as_ref().is_none_or(Recv::is_done)
    }

    /// What it has done so far, but for what is measured.
    pub(super) fn stats(&self) -> StreamStats {
        let (bytes_sent, bytes_retransmitted) = self.send.as_ref().map(Send::bytes).unwrap_or_default();
        let bytes_received = self.recv.as_ref().map(Recv::received).unwrap_or_default();
        StreamStats { bytes_sent, bytes_retransmitted, bytes_received, ..StreamStats::default() }
    }
}

/// The streams of a connection. There may be a hundred thousand: whatever concerns one of them must
/// not look at the others, which the tests see to by counting.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// Boxed, for the places of streams that are gone take memory, too.
    streams: IdMap<Box<Stream>>,
    /// The memory of streams that are gone, for those to come: of no more than there are.
    spare: RareQueue<Box<Stream>>,
    #[cfg(test)]
    looks: std::cell::Cell<u64>,
}

impl Table {
    #[cfg(test)]
    fn count(&self, looks: usize) {
        self.looks.set(self.looks.get() + looks as u64);
    }

    #[cfg(not(test))]
    #[allow(clippy::unused_self)]
    const fn count(&self, _: usize) {}

    pub(super) fn get(&self, id: StreamId) -> Option<&Stream> {
        self.count(1);
        self.streams.get(id).map(|stream| &**stream)
    }

    pub(super) fn get_mut(&mut self, id: StreamId) -> Option<&mut Stream> {
        self.count(1);
        self.streams.get_mut(id).map(|stream| &mut **stream)
    }

    pub(super) fn contains(&self, id: StreamId) -> bool {
        self.count(1);
        self.streams.contains(id)
    }

    /// A new stream, whose parts are made where they stay: they are not small.
    pub(super) fn insert(&mut self, id: StreamId, make_parts: impl FnOnce(&mut Stream)) {
        self.count(1);
        let mut place = self.spare.pop_front().unwrap_or_else(|| Box::new(Stream { send: None, recv: None }));
        make_parts(&mut place);
        self.streams.insert(id, place);
    }

    pub(super) fn remove(&mut self, id: StreamId) {
        self.count(1);
        if let Some(mut stream) = self.streams.remove(id)
            && self.spare.len() < self.streams.len()
        {
            *stream = Stream { send: None, recv: None };
            self.spare.push_back(stream);
        }
    }

    /// Lets go of room that is not in use.
    pub(super) fn rest(&mut self) {
        self.streams.rest();
        self.spare.clear();
    }

    /// The IDs of all streams.
    pub(super) fn ids(&mut self) -> Vec<StreamId> {
        self.count(self.streams.len());
        self.streams.ids()
    }

    /// All streams.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (StreamId, &mut Stream)> {
        self.count(self.streams.len());
        self.streams.iter_mut().map(|(id, stream)| (id, &mut **stream))
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.streams.len()
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// How many times a stream was looked at.
    #[cfg(test)]
    pub(super) const fn looks(&self) -> u64 {
        self.looks.get()
    }
}

#[cfg(test)]
mod tests {
    use tercel_wire::{Direction, Role};

    use super::*;

    #[test]
    fn memory_is_kept_for_no_more_streams_than_there_are() {
        let id = |index| StreamId::new(Role::Client, Direction::Bidirectional, index);
        let mut table = Table::default();
        (0..10).for_each(|index| table.insert(id(index), |_| {}));
        let kept = (0..10).map(|index| {
            table.remove(id(index));
            table.spare.len()
        });
        assert_eq!(kept.collect::<Vec<_>>(), [1, 2, 3, 4, 5, 5, 5, 5, 5, 5]);
        table.insert(id(10), |stream| stream.send = Some(Send::new(1)));
        assert_eq!((table.spare.len(), table.len()), (4, 1));
        assert!(table.get(id(10)).is_some_and(|stream| stream.send.is_some()));
        table.rest();
        assert_eq!(table.spare.len(), 0);
    }
}
