//! Anti-amplification (RFC 9000 section 8): to an address that is not validated, at most three
//! times the bytes are sent that came from it.

/// The account of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AntiAmplification {
    /// The peer has proved that it receives at the address.
    Validated,
    /// It has not.
    Limited {
        /// Bytes received from the address.
        received: u64,
        /// Bytes sent to it.
        sent: u64,
    },
}

impl AntiAmplification {
    /// An account of an address from which nothing came yet.
    pub const fn limited() -> Self {
        Self::Limited { received: 0, sent: 0 }
    }

    /// A datagram came from the address.
    // RFC 9000 section 8.1#2.
    pub const fn on_received(&mut self, len: usize) {
        if let Self::Limited { received, .. } = self {
            *received += len as u64;
        }
    }

    /// A datagram was sent to the address.
    pub const fn on_sent(&mut self, len: usize) {
        if let Self::Limited { sent, .. } = self {
            *sent += len as u64;
        }
    }

    /// How many bytes may be sent now.
    // RFC 9000 sections 8#1, 8.1#1.
    pub const fn allowance(&self) -> u64 {
        match self {
            Self::Validated => u64::MAX,
            Self::Limited { received, sent } => received.saturating_mul(3).saturating_sub(*sent),
        }
    }

    /// Whether the address is validated.
    pub const fn is_validated(&self) -> bool {
        matches!(self, Self::Validated)
    }
}
