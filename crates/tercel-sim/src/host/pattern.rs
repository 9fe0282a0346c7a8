//! What is sent: bytes that are known from the stream and the offset alone.

use std::sync::LazyLock;

use bytes::Bytes;
use tercel_wire::StreamId;

use crate::random::Random;

/// A prime, so that no offset wrong by a round number goes unseen.
const PERIOD: usize = 65_521;

static TABLE: LazyLock<Bytes> = LazyLock::new(|| {
    let mut table = vec![0; PERIOD];
    Random::new(0x7e1).fill(&mut table);
    table.into()
});

fn position(id: StreamId, offset: u64) -> usize {
    ((id.into_wire().wrapping_mul(4099).wrapping_add(offset)) % PERIOD as u64) as usize
}

/// Up to `max` bytes (more than none) of the stream from `offset` on. Nothing is copied.
pub(crate) fn bytes(id: StreamId, offset: u64, max: usize) -> Bytes {
    let start = position(id, offset);
    TABLE.slice(start..PERIOD.min(start + max))
}

/// Whether `data` is what belongs there.
pub(crate) fn matches(id: StreamId, mut offset: u64, mut data: &[u8]) -> bool {
    while !data.is_empty() {
        let expected = bytes(id, offset, data.len());
        let (now, later) = data.split_at(expected.len());
        if now != expected {
            return false;
        }
        offset += now.len() as u64;
        data = later;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_knows_its_place() {
        let id = |n: u64| StreamId::from_wire(n);
        let mut all = Vec::new();
        while all.len() < 200_000 {
            all.extend_from_slice(&bytes(id(4), all.len() as u64, 1000));
        }
        assert!(matches(id(4), 0, &all));
        assert!(matches(id(4), 150, &all[150..]));
        assert!(!matches(id(8), 0, &all));
        assert!(!matches(id(4), 1, &all));
    }
}
