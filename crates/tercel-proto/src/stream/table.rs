//! Where streams are found by their IDs.

use tercel_wire::StreamId;

use super::blocked::StreamStats;
use super::id_map::IdMap;
use super::recv::Recv;
use super::send::Send;

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

    pub(super) fn insert(&mut self, id: StreamId, stream: Stream) {
        self.count(1);
        self.streams.insert(id, Box::new(stream));
    }

    pub(super) fn remove(&mut self, id: StreamId) {
        self.count(1);
        self.streams.remove(id);
    }

    /// Lets go of room that is not in use.
    pub(super) fn rest(&mut self) {
        self.streams.rest();
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
