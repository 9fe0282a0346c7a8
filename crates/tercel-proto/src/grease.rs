//! The fixed bit of packets, which may be anything where the peer does not look at it (RFC 9287): so that
//! nobody on the way comes to rely on it.

use crate::entropy::Entropy;

/// Whether packets go without the fixed bit.
#[derive(Debug, Default)]
pub(crate) struct FixedBit {
    /// Whether they may.
    // RFC 9287 section 3.1#5.
    may_clear: bool,
    /// Random bits for the packets to come, and how many.
    bits: u64,
    left: u32,
}

impl FixedBit {
    /// Whether the peer is known not to look at the bit.
    pub(crate) fn set_peer(&mut self, indifferent: bool) {
        self.may_clear = indifferent;
    }

    /// Whether the next packet goes without the bit: if it may, that is left to chance (RFC 9287 section
    /// 3.1).
    #[inline]
    // RFC 9287 section 3.1#1.
    pub(crate) fn clears(&mut self, entropy: &mut Entropy) -> bool {
        self.may_clear && self.toss(entropy)
    }

    fn toss(&mut self, entropy: &mut Entropy) -> bool {
        if self.left == 0 {
            (self.bits, self.left) = (u64::from_be_bytes(entropy.array()), u64::BITS);
        }
        self.left -= 1;
        self.bits >> self.left & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    // RFC 9287 section 3.1#1#5.
    fn it_is_left_to_chance_where_it_may_be() {
        let mut entropy = Entropy::from_seed([5; 32]);
        let mut bit = FixedBit::default();
        let cleared = |bit: &mut FixedBit, entropy: &mut Entropy| (0..10_000).filter(|_| bit.clears(entropy)).count();
        assert_eq!(cleared(&mut bit, &mut entropy), 0);
        bit.set_peer(true);
        let times = cleared(&mut bit, &mut entropy);
        assert!((4_700..5_300).contains(&times), "{times} of 10000");
        bit.set_peer(false);
        assert_eq!(cleared(&mut bit, &mut entropy), 0);
    }
}
