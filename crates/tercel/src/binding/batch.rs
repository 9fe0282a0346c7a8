//! Datagrams that leave by one system call, whichever connections made them: the system cuts them apart if they go to one
//! destination, from one source, with one ECN mark, and are of one size, than which only the last may be smaller.

use tercel_proto::connection::Transmit;

use crate::datapath::SocketId;

/// The largest UDP payload over IPv4: no batch for the network is longer.
const MAX_LEN: usize = 65_507;

/// Room for a batch, and behind it for what does not join it and begins the next.
const ROOM: usize = 128 << 10;

/// A datagram makes as much work as one of so many bytes, however small it is: five are a first batch.
pub(super) const LEAST_WORK: usize = 820;

/// A batch in the making.
#[derive(Default)]
pub(super) struct Batch {
    /// Allocated when it is first written to.
    buffer: Vec<u8>,
    /// Where in the buffer the batch begins. What lies before has left.
    start: usize,
    /// Through which socket it leaves, and as what; nothing is in it yet if this is missing.
    whole: Option<(SocketId, Transmit)>,
    /// See [`work`](Self::work).
    work: usize,
    /// The connections that have made it.
    makers: Vec<u32>,
}

/// A batch that leaves.
pub(super) struct Leaving<'a> {
    pub(super) from: SocketId,
    pub(super) transmit: Transmit,
    pub(super) contents: &'a [u8],
    pub(super) makers: std::vec::Drain<'a, u32>,
}

impl Batch {
    /// Whether nothing is in it.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.whole.is_none()
    }

    /// What its peers have to do about it, as if it were so many bytes.
    #[inline]
    pub(super) fn work(&self) -> usize {
        self.work
    }

    /// How many datagrams of up to `largest` bytes it takes besides, if it may have `max_segments`. None if it has to leave
    /// first.
    #[inline]
    pub(super) fn room(&self, max_segments: usize, largest: usize) -> usize {
        let Some((_, whole)) = &self.whole else { return (MAX_LEN / largest.max(1)).min(max_segments).max(1) };
        let segment = segment(whole);
        if whole.mtu_probe || !whole.len.is_multiple_of(segment) {
            return 0;
        }
        let bytes = (MAX_LEN - whole.len.min(MAX_LEN)).min(ROOM - self.start - whole.len);
        (bytes / largest.max(1)).min(max_segments.saturating_sub(whole.len / segment))
    }

    /// Where datagrams are written that may join it.
    #[inline]
    pub(super) fn end(&mut self) -> &mut [u8] {
        if self.buffer.is_empty() {
            self.buffer = vec![0; ROOM];
        }
        let len = match &self.whole {
            Some((_, whole)) => whole.len,
            None => {
                self.start = 0;
                0
            }
        };
        &mut self.buffer[self.start + len..]
    }

    /// Whether what was written to its [end](Self::end) can join it. If not, it has to leave first.
    #[inline]
    pub(super) fn takes(&self, from: SocketId, next: &Transmit) -> bool {
        let Some((socket, whole)) = &self.whole else { return true };
        let joins = (*socket, whole.path, whole.ecn) == (from, next.path, next.ecn);
        joins && !next.mtu_probe && fits(segment(whole), next)
    }

    /// What was written by the connection `maker` joins it, or begins the next if it has just left.
    #[inline]
    pub(super) fn add(&mut self, from: SocketId, maker: u32, next: Transmit) {
        let datagrams = next.segment_size.map_or(1, |size| next.len.div_ceil(size.max(1)));
        self.work += next.len.max(datagrams * LEAST_WORK);
        match &mut self.whole {
            None => self.whole = Some((from, next)),
            Some((_, whole)) => {
                whole.segment_size = Some(segment(whole));
                whole.len += next.len;
            }
        }
        if self.makers.last() != Some(&maker) {
            self.makers.push(maker);
        }
    }

    /// It leaves, and there is none.
    #[inline]
    pub(super) fn take(&mut self) -> Option<Leaving<'_>> {
        let (from, transmit) = self.whole.take()?;
        self.work = 0;
        let start = self.start;
        self.start += transmit.len;
        let contents = &self.buffer[start..self.start];
        Some(Leaving { from, transmit, contents, makers: self.makers.drain(..) })
    }
}

/// The size of the first datagram.
fn segment(transmit: &Transmit) -> usize {
    transmit.segment_size.unwrap_or(transmit.len)
}

/// Whether datagrams can follow such of `segment` bytes: they are as large, or there is one and it is smaller.
fn fits(segment: usize, next: &Transmit) -> bool {
    match next.segment_size {
        Some(size) => size == segment,
        None => next.len <= segment,
    }
}
