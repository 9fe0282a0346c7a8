//! The gate before the peer's Finished.

/// Whether the peer's Finished may reach TLS. Before it does, TLS can neither complete the
/// handshake nor derive what follows from its completion, so a closed gate withholds our Finished,
/// 1-RTT data and everything else by construction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// It may: certificates are judged within TLS, or were accepted.
    Open,
    /// It may not: the application is to judge the certificate, when there is one.
    Closed,
    /// It may not: the certificate is known and its verdict is awaited.
    Awaiting,
}

impl Gate {
    /// Whether Finished may pass. A handshake without a certificate (a resumption) finds the gate
    /// closed with nothing to judge, and passes.
    pub(super) const fn lets_finished_pass(self) -> bool {
        !matches!(self, Self::Awaiting)
    }

    /// The certificate is known; true if it is now to be judged.
    pub(super) fn await_verdict(&mut self) -> bool {
        let closed = *self == Self::Closed;
        if closed {
            *self = Self::Awaiting;
        }
        closed
    }
}
