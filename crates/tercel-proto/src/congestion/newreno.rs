//! NewReno (RFC 9002 section 7.3): one datagram more each round trip, half as much after a loss.

#[derive(Debug, Clone, Default)]
pub(super) struct NewReno {
    /// Bytes acknowledged that have not made the window grow yet.
    credit: u64,
}

impl NewReno {
    /// By how many bytes the window grows.
    pub(super) const fn on_acked(&mut self, bytes: u64, window: u64, mtu: u64) -> u64 {
        self.credit += bytes;
        if self.credit < window {
            return 0;
        }
        self.credit -= window;
        mtu
    }

    /// The window after a loss.
    pub(super) const fn on_loss(&mut self, window: u64) -> u64 {
        self.credit = 0;
        window / 2
    }
}
