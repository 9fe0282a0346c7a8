//! What may be sent now.

use tercel_wire::SpaceId;

use crate::time::Time;

/// What may be sent now, as the probe timeout, the congestion window and the pacer see it. Packets
/// that do not count as in flight (acknowledgements alone) may always be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowance {
    /// One datagram with an ack-eliciting packet of `space`, whatever the window says (RFC 9002
    /// section 7.5): data if there is any, else a PING. Packets of other spaces may share the
    /// datagram (section 6.2.4).
    Probe {
        /// Where the peer is to be made to answer.
        space: SpaceId,
    },
    /// So many bytes in flight more, in one batch: at least one full datagram.
    Send {
        /// What fits the congestion window and the pacer's burst.
        bytes: u64,
    },
    /// Nothing that counts as in flight.
    Blocked {
        /// When the pacer releases the next burst; `None` if the window is full, so that only an
        /// acknowledgement or a timeout can help.
        until: Option<Time>,
    },
}
