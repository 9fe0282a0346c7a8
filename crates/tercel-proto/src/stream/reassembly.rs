//! Received data in order. Data that is next in line is handed on as it lies in the packet; data
//! that came too early waits. Small pieces are copied, so that none holds on to a large receive
//! buffer.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Buf as _, Bytes};
use tercel_wire::TransportErrorCode;

use crate::error::Violation;

/// Pieces below this are copied.
const SMALL: usize = 512;

/// So many pieces may wait out of order. An honest peer whose window of 16 MiB is all in flight has
/// fewer packets than that.
const MAX_PIECES: usize = 16 << 10;

#[derive(Debug, Default)]
pub(super) struct Reassembly {
    /// In order, from `read`.
    ready: VecDeque<Bytes>,
    waiting: BTreeMap<u64, Bytes>,
    /// The next byte that the application reads, and the first byte that is not `ready`.
    read: u64,
    next: u64,
}

impl Reassembly {
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// How many bytes from the start are there without a gap.
    pub(super) const fn contiguous(&self) -> u64 {
        self.next
    }

    pub(super) const fn read_offset(&self) -> u64 {
        self.read
    }

    pub(super) fn insert(&mut self, offset: u64, mut data: Bytes) -> Result<(), Violation> {
        let end = offset + data.len() as u64;
        if end <= self.next {
            return Ok(());
        }
        if data.len() < SMALL {
            data = Bytes::copy_from_slice(&data);
        }
        if offset <= self.next {
            self.append(offset, data);
            while let Some(entry) = self.waiting.first_entry().filter(|entry| *entry.key() <= self.next) {
                let (offset, data) = entry.remove_entry();
                self.append(offset, data);
            }
            return Ok(());
        }
        let known = self.waiting.entry(offset).or_default();
        if known.len() < data.len() {
            *known = data;
        }
        match self.waiting.len() <= MAX_PIECES {
            true => Ok(()),
            false => Err(Violation::new(TransportErrorCode::INTERNAL_ERROR, "too many gaps in a stream")),
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
    pub(super) fn take(&mut self, max: usize) -> Option<Bytes> {
        let first = self.ready.front_mut()?;
        let data = if first.len() <= max { self.ready.pop_front()? } else { first.split_to(max) };
        self.read += data.len() as u64;
        Some(data)
    }

    /// Drops everything.
    pub(super) fn clear(&mut self) {
        self.ready.clear();
        self.waiting.clear();
    }
}
