//! What may be sent now.

use tercel_wire::SpaceId;

use crate::time::Time;

/// What may be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowance {
    /// An ack-eliciting packet in `space`, whatever the window says (RFC 9002 section 7.5).
    Probe {
        /// Where the peer is to be made to answer.
        space: SpaceId,
    },
    /// So many bytes in flight more.
    Send {
        /// Room in the congestion window, at least one datagram.
        bytes: u64,
    },
    /// Nothing that counts as in flight.
    Blocked {
        /// When the pacer lets more through; `None` if the window is full.
        until: Option<Time>,
    },
}
