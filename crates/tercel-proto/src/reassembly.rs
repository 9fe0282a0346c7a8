//! Received data in order, of STREAM and of CRYPTO frames. Data that is next in line is handed on as
//! it lies in the packet; data that came too early waits. No byte is kept twice, however a peer
//! repeats it. Small pieces are copied, and so is all that waits: a piece holds on to the receive buffer
//! that it lies in, which may be a hundred times as large, and how long a gap stays open is for the
//! peer to say.

use std::collections::BTreeMap;

use bytes::{Buf as _, Bytes};
use tercel_wire::TransportErrorCode;

use crate::error::Violation;
use crate::short_queue::ShortQueue;

/// Pieces below this are copied, even if they are next in line.
const SMALL: usize = 512;

/// So many pieces may wait out of order, or, if that is more, one for each [`SMALL`] bytes that they span.
/// An honest peer, however large its window and all of it in flight, has fewer packets than that.
const MAX_PIECES: usize = 16 << 10;

#[derive(Debug, Default)]
pub(crate) struct Reassembly {
    /// In order, from `read`.
    ready: ShortQueue<Bytes>,
    /// What came too early, in memory of its own.
    waiting: BTreeMap<u64, Bytes>,
    /// The next byte that the application reads, and the first byte that is not `ready`.
    read: u64,
    next: u64,
}

impl Reassembly {
    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// How many bytes from the start are there without a gap.
    pub(crate) const fn contiguous(&self) -> u64 {
        self.next
    }

    /// How many bytes are kept.
    pub(crate) fn held(&self) -> usize {
        self.ready.iter().chain(self.waiting.values()).map(Bytes::len).sum()
    }

    pub(crate) const fn read_offset(&self) -> u64 {
        self.read
    }

    // RFC 9000 section 2.2#1.
    pub(crate) fn insert(&mut self, offset: u64, mut data: Bytes) -> Result<(), Violation> {
        let end = offset + data.len() as u64;
        if end <= self.next {
            return Ok(());
        }
        if offset <= self.next {
            data.advance((self.next - offset) as usize);
            self.append(self.next, own_if_small(data));
            while let Some(entry) = self.waiting.first_entry().filter(|entry| *entry.key() <= self.next) {
                let (offset, data) = entry.remove_entry();
                self.append(offset, data);
            }
            return Ok(());
        }
        self.wait(offset, &data);
        let span = self.waiting.last_key_value().map_or(0, |(last, _)| last - self.next) as usize;
        match self.waiting.len() <= MAX_PIECES.max(span / SMALL) {
            true => Ok(()),
            false => Err(Violation::new(TransportErrorCode::INTERNAL_ERROR, "too many gaps in a stream")),
        }
    }

    /// Keeps what of `data` fills gaps.
    // RFC 9000 section 21.7#1.
    fn wait(&mut self, offset: u64, data: &Bytes) {
        let end = offset + data.len() as u64;
        let end_of = |(start, known): (&u64, &Bytes)| *start + known.len() as u64;
        let mut at = self.waiting.range(..=offset).next_back().map_or(offset, |known| end_of(known).max(offset));
        while at < end {
            let known = self.waiting.range(at..end).next();
            let gap = at..known.map_or(end, |(start, _)| *start);
            at = known.map_or(end, end_of);
            if !gap.is_empty() {
                let piece = &data[(gap.start - offset) as usize..(gap.end - offset) as usize];
                self.waiting.insert(gap.start, Bytes::copy_from_slice(piece));
            }
        }
    }

    /// Adds what of `data` is new; it begins at or before the next byte.
    fn append(&mut self, offset: u64, mut data: Bytes) {
        let old = self.next - offset;
        if old < data.len() as u64 {
            data.advance(old as usize);
            self.next += data.len() as u64;
            self.ready.push_back(data);
        }
    }

    /// Takes the next bytes, at most `max`.
    pub(crate) fn take(&mut self, max: usize) -> Option<Bytes> {
        let first = self.ready.front_mut()?;
        let data = if first.len() <= max { self.ready.pop_front()? } else { first.split_to(max) };
        self.read += data.len() as u64;
        Some(data)
    }

    /// Takes what is next in line, at most `max` bytes, piece by piece; gives how many bytes.
    pub(crate) fn take_all(&mut self, max: usize, into: &mut Vec<Bytes>) -> usize {
        let mut taken = 0;
        while taken < max
            && let Some(data) = self.take(max - taken)
        {
            taken += data.len();
            into.push(data);
        }
        taken
    }

    /// Drops what lies at `end` or behind; nothing of it was taken yet.
    pub(crate) fn truncate(&mut self, end: u64) {
        self.waiting.split_off(&end);
        if let Some(mut last) = self.waiting.last_entry() {
            let len = (end - last.key()) as usize;
            last.get_mut().truncate(len);
        }
        while self.next > end
            && let Some(last) = self.ready.back_mut()
        {
            let surplus = (self.next - end) as usize;
            let len = last.len();
            last.truncate(len.saturating_sub(surplus));
            self.next -= surplus.min(len) as u64;
            if last.is_empty() {
                self.ready.pop_back();
            }
        }
    }

    /// Drops everything.
    pub(crate) fn clear(&mut self) {
        self.ready.clear();
        self.waiting.clear();
    }
}

fn own_if_small(data: Bytes) -> Bytes {
    if data.len() < SMALL { Bytes::copy_from_slice(&data) } else { data }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(from: u64, len: u64) -> Bytes {
        (from..from + len).map(|at| (at * 7 + at / 256) as u8).collect()
    }

    impl Reassembly {
        fn waiting_bytes(&self) -> u64 {
            self.waiting.values().map(|data| data.len() as u64).sum()
        }
    }

    proptest! {
        /// Against the plainest model: which bytes were received.
        #[test]
        // RFC 9000 section 2.2#1.
        fn every_byte_comes_once_and_in_order(
            pieces in prop::collection::vec((0u64..3000, 0u64..900, any::<bool>(), 1usize..2000), 0..60),
        ) {
            let (mut reassembly, mut model) = (Reassembly::default(), vec![false; 4000]);
            let mut read = 0;
            for (offset, len, reads, max) in pieces {
                reassembly.insert(offset, bytes(offset, len)).unwrap();
                model[offset as usize..(offset + len) as usize].fill(true);
                let contiguous = model.iter().position(|received| !received).unwrap() as u64;
                prop_assert_eq!(reassembly.contiguous(), contiguous);
                let known = model.iter().filter(|received| **received).count() as u64;
                prop_assert_eq!(reassembly.waiting_bytes(), known - contiguous, "no byte is kept twice");
                while reads && let Some(data) = reassembly.take(max) {
                    prop_assert!(!data.is_empty() && data.len() <= max);
                    prop_assert_eq!(&data, &bytes(read, data.len() as u64));
                    read += data.len() as u64;
                    prop_assert_eq!(reassembly.read_offset(), read);
                }
                prop_assert_eq!(reassembly.has_ready(), read < contiguous);
            }
        }
    }

    #[test]
    fn what_is_cut_off_is_gone() {
        for end in [0, 5, 10, 15, 20, 25, 30, 35, 40, 50] {
            let mut reassembly = Reassembly::default();
            for offset in [0, 10, 30] {
                reassembly.insert(offset, bytes(offset, 10)).unwrap();
            }
            reassembly.truncate(end);
            assert_eq!(reassembly.contiguous(), end.min(20));
            assert_eq!(reassembly.waiting_bytes(), end.clamp(30, 40) - 30);
            reassembly.insert(20, bytes(20, 10)).unwrap();
            let mut read = 0;
            while let Some(data) = reassembly.take(7) {
                assert_eq!(data, bytes(read, data.len() as u64));
                read += data.len() as u64;
            }
        }
    }

    #[test]
    // RFC 9000 section 21.7#1.
    fn a_peer_that_repeats_itself_takes_no_more_memory() {
        let mut reassembly = Reassembly::default();
        for offset in 1..10_000 {
            reassembly.insert(offset, bytes(offset, 1200)).unwrap();
        }
        assert_eq!(reassembly.waiting_bytes(), 9_999 + 1199);
        reassembly.insert(0, bytes(0, 1)).unwrap();
        assert_eq!(reassembly.contiguous(), 9_999 + 1200);
    }

    /// 1 Gbit/s over 200 ms, and the first packet is lost.
    #[test]
    fn a_large_window_may_all_be_out_of_order() {
        let (mut reassembly, packet) = (Reassembly::default(), bytes(0, 1400));
        for number in 1..40_000 {
            reassembly.insert(number * 1400, packet.clone()).unwrap();
        }
        reassembly.insert(0, packet).unwrap();
        assert_eq!(reassembly.contiguous(), 40_000 * 1400);
    }

    #[test]
    // RFC 9000 section 21.7#1.
    fn gaps_are_bounded() {
        let mut reassembly = Reassembly::default();
        let refused = (1..).find(|gap| reassembly.insert(2 * gap, bytes(2 * gap, 1)).is_err());
        assert_eq!(refused, Some(MAX_PIECES as u64 + 1));
    }

    /// However a peer cuts what it sends too early, the memory held is that of the bytes that count
    /// against its limits, and not that of the buffers they came in.
    #[test]
    fn only_large_pieces_next_in_line_are_kept_as_they_lie() {
        let packet = bytes(0, 1400);
        let inside = |data: &Bytes| packet.as_ptr_range().contains(&data.as_ptr());
        for (len, offset, kept) in [
            (SMALL - 1, 0, false),
            (SMALL, 0, true),
            (1400, 0, true),
            (SMALL - 1, 10_000, false),
            (SMALL, 10_000, false),
            (1400, 10_000, false),
        ] {
            let mut reassembly = Reassembly::default();
            reassembly.insert(offset, packet.slice(..len)).unwrap();
            let data = reassembly.ready.front().or(reassembly.waiting.values().next()).unwrap();
            assert_eq!(inside(data), kept, "{len} {offset}");
            // And stays so when the gap is closed.
            reassembly.insert(0, bytes(0, offset)).unwrap();
            assert_eq!(inside(reassembly.ready.back_mut().unwrap()), kept, "{len} {offset}");
        }
    }
}
