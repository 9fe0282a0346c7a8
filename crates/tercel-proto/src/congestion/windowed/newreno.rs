//! NewReno (RFC 9002 section 7.3): one datagram more each round trip, half the window at a loss.

#[derive(Debug, Clone, Default)]
pub(super) struct NewReno {
    /// Bytes acknowledged since the window last grew.
    acked: u64,
}

impl NewReno {
    /// The window after `bytes` were acknowledged in congestion avoidance.
    // RFC 9002 section 7.3.3#1.
    pub(super) const fn grow(&mut self, bytes: u64, window: u64, mtu: u64) -> u64 {
        self.acked = self.acked.saturating_add(bytes);
        if self.acked < window {
            return window;
        }
        self.acked -= window;
        window + mtu
    }

    /// The window after a loss.
    pub(super) const fn cut(&mut self, window: u64) -> u64 {
        self.acked = 0;
        window / 2
    }
}
