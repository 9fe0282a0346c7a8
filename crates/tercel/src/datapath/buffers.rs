//! Receive buffers that are used again once everything cut from them is gone.

use bytes::BytesMut;

/// Room for the longest run of datagrams that the kernel hands over at once.
pub const READ_LEN: usize = 64 << 10;

/// How many buffers may be lent out at a time before further ones are simply made and forgotten.
const KEPT: usize = 32;

/// Buffers of [`READ_LEN`] bytes.
///
/// A read fills a buffer from its start and [`split`](Buffers::split) cuts the filled part off, to be
/// passed on without copying; the rest of the buffer stays here. When all that was cut off has been
/// dropped the whole buffer can be reclaimed, which `bytes` finds out by its reference count.
#[derive(Default)]
pub struct Buffers {
    kept: Vec<BytesMut>,
    next: usize,
}

impl Buffers {
    /// None yet; they are made as needed.
    pub fn new() -> Self {
        Self::default()
    }

    /// A whole buffer to read into.
    pub fn whole(&mut self) -> &mut BytesMut {
        // The last read may have brought nothing.
        let untouched = self.kept.get(self.next).is_some_and(|buffer| buffer.len() == READ_LEN);
        if !untouched {
            self.find();
        }
        let buffer = &mut self.kept[self.next];
        buffer.resize(READ_LEN, 0);
        buffer
    }

    fn find(&mut self) {
        // Few tries: one that is still lent out was probably lent after those before it.
        for _ in 0..self.kept.len().min(4) {
            if self.kept[self.next].try_reclaim(READ_LEN) {
                break;
            }
            self.next = (self.next + 1) % self.kept.len();
        }
        let reclaimed = self.kept.get(self.next).is_some_and(|buffer| buffer.capacity() >= READ_LEN);
        if !reclaimed {
            let fresh = BytesMut::with_capacity(READ_LEN);
            if self.kept.len() < KEPT {
                self.next = self.kept.len();
                self.kept.push(fresh);
            } else {
                self.kept[self.next] = fresh;
            }
        }
    }

    /// Cuts the first `len` bytes off the buffer that was read into last.
    pub fn split(&mut self, len: usize) -> BytesMut {
        let Some(buffer) = self.kept.get_mut(self.next) else { return BytesMut::new() };
        let filled = buffer.split_to(len.min(buffer.len()));
        buffer.clear();
        filled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_when_its_pieces_are_gone() {
        let mut buffers = Buffers::new();
        let first = buffers.whole().as_ptr();
        let piece = buffers.split(1000).freeze();
        assert_ne!(buffers.whole().as_ptr(), first);
        drop(buffers.split(10));
        drop(piece);
        let reused: Vec<_> = (0..4)
            .map(|_| {
                let at = buffers.whole().as_ptr();
                drop(buffers.split(READ_LEN));
                at
            })
            .collect();
        assert!(buffers.kept.len() <= 2, "{reused:?}");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut buffers = Buffers::new();
        let pieces: Vec<_> = (0..100)
            .map(|_| {
                buffers.whole();
                buffers.split(1)
            })
            .collect();
        assert_eq!((buffers.kept.len(), pieces.len()), (KEPT, 100));
    }
}
