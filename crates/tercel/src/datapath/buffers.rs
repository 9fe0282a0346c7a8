//! Receive buffers that are used again once everything cut from them is gone.

use std::slice::ChunksExactMut;

use bytes::BytesMut;

/// The longest run of datagrams that the kernel hands over at once, and the size of a buffer.
pub const READ_LEN: usize = 64 << 10;

/// How many buffers are kept for use again; beyond, further ones are made and forgotten.
const KEPT: usize = 32;

/// A place to read into, and the buffers that what was read is passed on in.
///
/// A read goes to the [`scratch`](Self::scratch), which stays in the processor's cache, and is
/// then copied into a buffer, behind what earlier reads brought. That is cheaper than it looks: the
/// length of a read is known only afterwards, so that reading straight into buffers would mean to
/// clear 64 KiB for each, and to pin as many for a single small datagram. When all that was cut from
/// a buffer has been dropped it can be reclaimed, which `bytes` finds out by its reference count.
#[derive(Default)]
pub struct Buffers {
    scratch: Vec<u8>,
    kept: Vec<BytesMut>,
    next: usize,
}

impl Buffers {
    /// None yet; they are made as needed.
    pub fn new() -> Self {
        Self::default()
    }

    /// Where to read to: so many places of [`READ_LEN`] bytes.
    pub fn scratch(&mut self, places: usize) -> ChunksExactMut<'_, u8> {
        if self.scratch.len() < places * READ_LEN {
            // Anew: the system gives zeros, and memory only for what is read to.
            self.scratch = vec![0; places * READ_LEN];
        }
        self.scratch[..places * READ_LEN].chunks_exact_mut(READ_LEN)
    }

    /// A turn begins: what was read in the last ones is mostly gone, and the same few buffers serve again, which are in the
    /// processor's cache.
    pub fn rewind(&mut self) {
        self.next = 0;
    }

    /// The first `len` bytes of a place of the scratch, to be passed on.
    pub fn keep(&mut self, place: usize, len: usize) -> BytesMut {
        let read = self.scratch.get(place * READ_LEN..).unwrap_or_default();
        let len = len.min(READ_LEN).min(read.len());
        find(&mut self.kept, &mut self.next, len);
        let buffer = &mut self.kept[self.next];
        buffer.extend_from_slice(&read[..len]);
        buffer.split()
    }
}

/// Makes `next` point at a buffer with room for `len` bytes.
fn find(kept: &mut Vec<BytesMut>, next: &mut usize, len: usize) {
    if kept.get(*next).is_some_and(|buffer| buffer.capacity() >= len) {
        return;
    }
    // Few tries: one that is still lent out was probably lent out before those after it.
    for _ in 0..kept.len().min(4) {
        *next = (*next + 1) % kept.len();
        if kept[*next].try_reclaim(READ_LEN) {
            return;
        }
    }
    let fresh = BytesMut::with_capacity(READ_LEN);
    if kept.len() < KEPT {
        *next = kept.len();
        kept.push(fresh);
    } else {
        kept[*next] = fresh;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(buffers: &mut Buffers, len: usize) -> BytesMut {
        buffers.scratch(1).for_each(|place| place[..len].fill(7));
        buffers.keep(0, len)
    }

    #[test]
    fn small_reads_share_a_buffer_and_it_comes_back_when_they_are_gone() {
        let mut buffers = Buffers::new();
        let pieces: Vec<_> = (0..60).map(|_| read(&mut buffers, 1000)).collect();
        assert!(pieces.iter().all(|piece| piece.len() == 1000 && piece.iter().all(|byte| *byte == 7)));
        assert_eq!(buffers.kept.len(), 1);
        let more = read(&mut buffers, 10_000);
        assert_eq!(buffers.kept.len(), 2);
        drop((pieces, more));
        for _ in 0..100 {
            drop(read(&mut buffers, READ_LEN));
        }
        assert_eq!(buffers.kept.len(), 2);
    }

    #[test]
    fn after_a_turn_that_took_many_the_first_few_serve_again() {
        let mut buffers = Buffers::new();
        drop((0..20).map(|_| read(&mut buffers, READ_LEN)).collect::<Vec<_>>());
        let places = |buffers: &mut Buffers| -> Vec<_> {
            buffers.rewind();
            let pieces: Vec<_> = (0..3).map(|_| read(buffers, READ_LEN)).collect();
            pieces.iter().map(|piece| piece.as_ptr()).collect()
        };
        let first = places(&mut buffers);
        assert!((0..10).all(|_| places(&mut buffers) == first));
        // Those that are lent out for longer are left alone.
        buffers.rewind();
        let long: Vec<_> = (0..10).map(|_| read(&mut buffers, READ_LEN)).collect();
        let others = places(&mut buffers);
        assert!(others.iter().all(|place| !long.iter().any(|piece| piece.as_ptr() == *place)));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut buffers = Buffers::new();
        let pieces: Vec<_> = (0..100).map(|_| read(&mut buffers, READ_LEN)).collect();
        assert_eq!((buffers.kept.len(), pieces.len()), (KEPT, 100));
    }
}
