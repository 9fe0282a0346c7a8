//! Packets that came before their keys. They wait, up to a number of bytes, and are then processed
//! as if they came now; none that is within the limit is lost.

use tercel_wire::EncryptionLevel;

use crate::rare_queue::RareQueue;

/// Packets that wait for keys. `T` is a packet with whatever is to be remembered of its arrival.
#[derive(Debug)]
pub struct Parked<T> {
    packets: RareQueue<(EncryptionLevel, usize, T)>,
    bytes: usize,
    limit: usize,
}

impl<T: 'static> Parked<T> {
    /// An empty place for packets of `limit` bytes in all.
    pub const fn new(limit: usize) -> Self {
        Self { packets: RareQueue::new(), bytes: 0, limit }
    }

    /// Keeps a packet of `len` bytes for later; false, and the packet is dropped, if there is no
    /// room.
    pub fn park(&mut self, level: EncryptionLevel, len: usize, packet: T) -> bool {
        let fits = self.bytes + len <= self.limit;
        if fits {
            self.bytes += len;
            self.packets.push_back((level, len, packet));
        }
        fits
    }

    /// The first packet whose level is one that `ready` says yes to.
    pub fn take(&mut self, ready: impl Fn(EncryptionLevel) -> bool) -> Option<T> {
        let at = self.packets.iter().position(|(level, ..)| ready(*level))?;
        let (_, len, packet) = self.packets.remove(at)?;
        self.bytes -= len;
        Some(packet)
    }

    /// How many bytes wait.
    pub const fn held(&self) -> usize {
        self.bytes
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Forgets the packets of a level whose keys will never come.
    pub fn discard(&mut self, level: EncryptionLevel) {
        while self.take(|parked| parked == level).is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_kept_in_order() {
        let mut parked = Parked::new(100);
        assert!(parked.park(EncryptionLevel::OneRtt, 60, 'a'));
        assert!(parked.park(EncryptionLevel::Handshake, 30, 'b'));
        assert!(!parked.park(EncryptionLevel::OneRtt, 20, 'c'));
        assert!(parked.park(EncryptionLevel::OneRtt, 10, 'd'));
        let one_rtt = |level| level == EncryptionLevel::OneRtt;
        assert_eq!((parked.take(one_rtt), parked.take(one_rtt), parked.take(one_rtt)), (Some('a'), Some('d'), None));
        assert!(parked.park(EncryptionLevel::OneRtt, 70, 'e'));
        parked.discard(EncryptionLevel::OneRtt);
        assert_eq!(parked.take(|_| true), Some('b'));
        assert!(parked.is_empty());
    }
}
