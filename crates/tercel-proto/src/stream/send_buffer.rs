//! What a stream has to send, until it is acknowledged. The application's bytes are kept as they
//! came, by reference, and copied once: into a packet.

use std::ops::Range;

use bytes::Bytes;

use crate::ranges::RangeSet;
use crate::short_queue::ShortQueue;

#[derive(Debug, Default)]
// RFC 9000 section 2.2#2.
pub(super) struct SendBuffer {
    /// Each with its offset; those acknowledged whole are gone.
    chunks: ShortQueue<(u64, Bytes)>,
    /// Before so many of them was the first byte never sent when it was last looked for.
    at: usize,
    /// Where the next byte of the application will be.
    end: u64,
    /// The first byte never sent.
    next: u64,
    /// Everything below is acknowledged.
    acked_to: u64,
    /// Acknowledged above that.
    acked: RangeSet,
    lost: RangeSet,
}

impl SendBuffer {
    pub(super) const fn end(&self) -> u64 {
        self.end
    }

    pub(super) const fn next(&self) -> u64 {
        self.next
    }

    pub(super) const fn acked_to(&self) -> u64 {
        self.acked_to
    }

    pub(super) fn push(&mut self, data: Bytes) {
        if !data.is_empty() {
            let offset = self.end;
            self.end += data.len() as u64;
            self.chunks.push_back((offset, data));
        }
    }

    /// The first byte that is to be sent again.
    pub(super) fn first_lost(&self) -> Option<u64> {
        self.lost.first().map(|range| range.start)
    }

    /// Takes at most `max` bytes to send again.
    pub(super) fn take_lost(&mut self, max: u64) -> Option<Range<u64>> {
        self.lost.pop_first(max)
    }

    /// Takes at most `max` bytes to send for the first time.
    pub(super) fn take_new(&mut self, max: u64) -> Range<u64> {
        let range = self.next..self.end.min(self.next.saturating_add(max));
        while self.chunks.get(self.at).is_some_and(|chunk| is_before(chunk, range.start)) {
            self.at += 1;
        }
        self.next = range.end;
        range
    }

    /// The bytes of a range, in pieces.
    pub(super) fn slices(&self, range: Range<u64>) -> impl Iterator<Item = &[u8]> {
        // Mostly it is the one just taken.
        let at = match self.chunks.get(self.at) {
            Some((offset, data)) if (*offset..offset + data.len() as u64).contains(&range.start) => self.at,
            _ => self.chunks.partition_point(|chunk| is_before(chunk, range.start)),
        };
        let chunks = (at..).map_while(|at| self.chunks.get(at));
        chunks.take_while(move |(offset, _)| *offset < range.end).map(move |(offset, data)| {
            let start = range.start.saturating_sub(*offset) as usize;
            let end = ((range.end - offset) as usize).min(data.len());
            &data[start..end]
        })
    }

    // RFC 9000 section 13.3#6.
    pub(super) fn acked(&mut self, range: Range<u64>) {
        self.lost.remove(range.clone());
        if range.start <= self.acked_to && self.acked.is_empty() {
            self.acked_to = self.acked_to.max(range.end);
        } else {
            self.acked.insert(range.start.max(self.acked_to)..range.end);
            if let Some(first) = self.acked.first().filter(|first| first.start <= self.acked_to) {
                self.acked_to = self.acked_to.max(first.end);
                self.acked.drop_first();
            }
        }
        while self.chunks.front().is_some_and(|(offset, data)| offset + data.len() as u64 <= self.acked_to) {
            self.chunks.pop_front();
            self.at = self.at.saturating_sub(1);
        }
    }

    pub(super) fn lost(&mut self, range: Range<u64>) {
        let range = range.start.max(self.acked_to)..range.end;
        if range.is_empty() {
            return;
        }
        let missing: Vec<_> = self.acked.missing_in(range).collect();
        missing.into_iter().for_each(|range| self.lost.insert(range));
    }

    /// Nothing that was sent arrived, nor will.
    pub(super) fn rewind(&mut self) {
        self.next = self.acked_to;
        self.at = 0;
        self.lost = RangeSet::new();
        self.acked = RangeSet::new();
    }

    /// What lies at `len` or behind is not sent any more.
    pub(super) fn truncate(&mut self, len: u64) {
        self.lost.remove(len..u64::MAX);
        self.end = self.end.min(len.max(self.next));
        while let Some((offset, data)) = self.chunks.back_mut() {
            if *offset < len {
                data.truncate((len - *offset).try_into().unwrap_or(usize::MAX));
                return;
            }
            self.chunks.pop_back();
        }
    }

    /// Nothing more will be sent.
    pub(super) fn clear(&mut self) {
        self.chunks.clear();
        self.lost = RangeSet::new();
    }
}

/// Whether a chunk ends before an offset.
const fn is_before((offset, data): &(u64, Bytes), at: u64) -> bool {
    *offset + data.len() as u64 <= at
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use std::collections::VecDeque;

    use super::*;

    fn bytes(from: u64, len: u64) -> Vec<u8> {
        (from..from + len).map(|at| (at * 7 + at / 256) as u8).collect()
    }

    proptest! {
        /// However sending, loss and acknowledgement follow each other, a range has its bytes.
        #[test]
        // RFC 9000 section 2.2#2.
        fn a_range_has_its_bytes(steps in prop::collection::vec((0u8..6, 1u64..700), 1..200)) {
            let mut buffer = SendBuffer::default();
            let mut under_way = VecDeque::new();
            for (step, len) in steps {
                let sent = match step {
                    0 => {
                        buffer.push(bytes(buffer.end(), len).into());
                        None
                    }
                    1 | 2 => Some(buffer.take_new(len)),
                    3 => buffer.take_lost(len),
                    4 => {
                        let at = len as usize % 3;
                        under_way.remove(at).into_iter().for_each(|range| buffer.acked(range));
                        None
                    }
                    _ => {
                        under_way.pop_front().into_iter().for_each(|range| buffer.lost(range));
                        None
                    }
                };
                if let Some(range) = sent.filter(|range| !range.is_empty()) {
                    let found = buffer.slices(range.clone()).collect::<Vec<_>>().concat();
                    prop_assert_eq!(found, bytes(range.start, range.end - range.start));
                    under_way.push_back(range);
                }
            }
        }
    }
}
