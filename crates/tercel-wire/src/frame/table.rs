//! RFC 9000 Table 3 (and RFC 9221 section 4, and the drafts of the extensions): which frame may be in which packet, and what it means
//! for acknowledgement and congestion control.

use super::{ConnectionClose, Frame};
use crate::EncryptionLevel::{self, Handshake, Initial, OneRtt, ZeroRtt};

impl Frame<'_> {
    /// Whether packets at `level` may hold this frame (the column "Pkts").
    ///
    /// ACK, CRYPTO, HANDSHAKE_DONE, NEW_TOKEN, PATH_RESPONSE and RETIRE_CONNECTION_ID cannot be in
    /// 0-RTT packets (RFC 9000 section 12.5).
    // RFC 9000 section 12.5#1#2.
    pub const fn is_allowed_in(&self, level: EncryptionLevel) -> bool {
        match self {
            Self::Padding(_) | Self::Ping => true,
            // RFC 9001 section 8.3#2.
            Self::Ack(_) | Self::Crypto { .. } => matches!(level, Initial | Handshake | OneRtt),
            Self::ConnectionClose(ConnectionClose::Transport { .. }) => true,
            Self::NewToken { .. } | Self::PathResponse(_) | Self::RetireConnectionId { .. } | Self::HandshakeDone => {
                matches!(level, OneRtt)
            }
            // draft-ietf-quic-ack-frequency section 3: not in 0-RTT packets.
            Self::AckFrequency(_) | Self::ImmediateAck => matches!(level, OneRtt),
            // MsQuic sends it beside 1-RTT acknowledgements only.
            Self::Timestamp(_) => matches!(level, OneRtt),
            Self::ResetStream { .. }
            | Self::ResetStreamAt(_)
            | Self::ObservedAddress(_)
            | Self::StopSending { .. }
            | Self::Stream(_)
            | Self::MaxData(_)
            | Self::MaxStreamData { .. }
            | Self::MaxStreams { .. }
            | Self::DataBlocked(_)
            | Self::StreamDataBlocked { .. }
            | Self::StreamsBlocked { .. }
            | Self::NewConnectionId(_)
            | Self::PathChallenge(_)
            | Self::ConnectionClose(ConnectionClose::Application { .. })
            // RFC 9221 sections 5#3, 6#1.
            | Self::Datagram { .. } => matches!(level, ZeroRtt | OneRtt),
        }
    }

    /// Whether a packet with this frame is to be acknowledged (no "N" in the column "Spec").
    pub const fn is_ack_eliciting(&self) -> bool {
        !matches!(self, Self::Padding(_) | Self::Ack(_) | Self::ConnectionClose(_) | Self::Timestamp(_))
    }

    /// Whether a packet with only such frames counts as in flight (no "C" in the column "Spec").
    pub const fn is_in_flight(&self) -> bool {
        !matches!(self, Self::Ack(_) | Self::ConnectionClose(_) | Self::Timestamp(_))
    }

    /// Whether the frame probes a path without moving to it ("P" in the column "Spec"; RFC 9000
    /// section 9.1).
    pub const fn is_probing(&self) -> bool {
        matches!(
            self,
            Self::Padding(_)
                | Self::NewConnectionId(_)
                | Self::PathChallenge(_)
                | Self::PathResponse(_)
                | Self::ObservedAddress(_)
        )
    }
}
