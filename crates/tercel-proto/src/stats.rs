//! Figures of a connection, for people and for tests.

use std::net::SocketAddr;
use std::time::Duration;

use crate::time::Time;
use crate::trace::CongestionPhase;

/// What a connection has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ConnectionStats {
    /// How long the handshake took until it was complete at this end.
    pub handshake: Option<Duration>,
    /// How far it had come when.
    pub phases: HandshakePhases,
    /// UDP datagrams sent.
    pub datagrams_sent: u64,
    /// UDP datagrams received.
    pub datagrams_received: u64,
    /// UDP payload bytes sent.
    pub bytes_sent: u64,
    /// UDP payload bytes received.
    pub bytes_received: u64,
    /// Packets sent.
    pub packets_sent: u64,
    /// Packets received and authenticated.
    pub packets_received: u64,
    /// Packets that the peer has acknowledged.
    pub packets_acked: u64,
    /// Packets declared lost.
    pub packets_lost: u64,
    /// Of these, packets whose acknowledgement came after all.
    pub packets_lost_spuriously: u64,
    /// Received packets that were of no use (undecryptable, duplicate, too old).
    pub packets_dropped: u64,
    /// Times that the congestion window was cut.
    pub congestion_events: u64,
    /// Times that persistent congestion was found.
    pub persistent_congestion: u64,
    /// Probe timeouts fired.
    pub probe_timeouts: u64,
    /// The congestion window in bytes.
    pub congestion_window: u64,
    /// Bytes in flight.
    pub bytes_in_flight: u64,
    /// What the congestion controller does.
    pub congestion_phase: CongestionPhase,
    /// The rate at which packets are paced, in bytes each second; 0 if they are not.
    pub pacing_rate: u64,
    /// The smoothed round-trip time.
    pub rtt: Duration,
    /// The smallest round-trip time seen.
    pub min_rtt: Duration,
    /// The last round-trip time measured, without the time for which the peer held its acknowledgement
    /// back.
    pub latest_rtt: Duration,
    /// The mean variation of the round-trip time.
    pub rtt_variation: Duration,
    /// How many round-trip times were measured on this path.
    pub rtt_samples: u64,
    /// How long our packets take to the peer, smoothed and at last, if that is measured
    /// ([`one_way_delay`](crate::config::TransportConfig::one_way_delay)). The clocks of the two ends are
    /// compared when a round trip was the shortest so far: that one is taken to be as long each way.
    pub one_way_delay: Option<Duration>,
    /// See [`one_way_delay`](Self::one_way_delay).
    pub latest_one_way_delay: Option<Duration>,
    /// The datagram size in use, bytes of UDP payload.
    pub mtu: u16,
    /// Times that a black hole was found and the datagram size fell back.
    pub mtu_black_holes: u64,
    /// Key updates, by either end.
    pub key_updates: u64,
    /// Whether the path passed ECN validation.
    pub ecn_capable: bool,
    /// Stream bytes sent again because they were lost.
    pub stream_bytes_retransmitted: u64,
}

/// What is counted while it happens; the rest of the figures is known elsewhere.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// When the handshake was complete at this end.
    pub(crate) completed: Option<Time>,
    pub(crate) phases: HandshakeTimes,
    pub(crate) datagrams_sent: u64,
    pub(crate) datagrams_received: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
    pub(crate) packets_sent: u64,
    pub(crate) packets_received: u64,
    pub(crate) packets_dropped: u64,
}

/// When the handshake came how far, each since the connection began; `None` for what has not been, or
/// is not for this end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct HandshakePhases {
    /// The peer's first packet was authenticated.
    pub first_packet: Option<Duration>,
    /// There were Handshake keys: the ClientHello and the ServerHello are here.
    pub handshake_keys: Option<Duration>,
    /// The peer's certificate was put before the application.
    pub verdict_asked: Option<Duration>,
    /// The application's verdict on it came.
    pub verdict_given: Option<Duration>,
    /// The handshake was confirmed (RFC 9001 section 4.1.2).
    pub confirmed: Option<Duration>,
}

/// The same by the clock, in half the room.
#[derive(Debug, Default)]
pub(crate) struct HandshakeTimes {
    pub(crate) first_packet: Option<Time>,
    pub(crate) handshake_keys: Option<Time>,
    pub(crate) verdict_asked: Option<Time>,
    pub(crate) verdict_given: Option<Time>,
    pub(crate) confirmed: Option<Time>,
}

impl HandshakeTimes {
    /// Of a connection that began at `start`.
    pub(crate) fn since(&self, start: Time) -> HandshakePhases {
        let after = |time: Option<Time>| time.map(|time| time.since(start));
        HandshakePhases {
            first_packet: after(self.first_packet),
            handshake_keys: after(self.handshake_keys),
            verdict_asked: after(self.verdict_asked),
            verdict_given: after(self.verdict_given),
            confirmed: after(self.confirmed),
        }
    }
}

/// What a path is to its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathState {
    /// It is in use.
    Active,
    /// It was, and is fallen back to if the active one does not work.
    Previous,
    /// It is probed, by this end or by the peer.
    Probed,
    /// It was, and is held ready, at a client for when the active one fails, at a server for when its client comes
    /// there.
    Ready,
}

/// Figures of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PathStats {
    /// Tells it from other paths of the connection; 0 is that of the handshake.
    pub id: u32,
    /// The peer's address.
    pub remote: SocketAddr,
    /// This end's address, where it is known; possibly a wildcard.
    pub local: Option<SocketAddr>,
    /// What it is to the connection.
    pub state: PathState,
    /// Whether the peer is known to be there (RFC 9000 section 8).
    pub validated: bool,
    /// UDP payload bytes sent to it.
    pub bytes_sent: u64,
    /// UDP payload bytes received from it.
    pub bytes_received: u64,
    /// The datagram size in use, bytes of UDP payload.
    pub mtu: u16,
    /// Whether it passed ECN validation.
    pub ecn_capable: bool,
    /// What congestion control knows of it: of the active path only (RFC 9000 section 9.4).
    pub congestion: Option<PathCongestion>,
}

/// What congestion control knows of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PathCongestion {
    /// The smoothed round-trip time.
    pub rtt: Duration,
    /// The smallest round-trip time seen.
    pub min_rtt: Duration,
    /// How many round-trip times were measured.
    pub rtt_samples: u64,
    /// The congestion window in bytes.
    pub congestion_window: u64,
    /// Bytes in flight.
    pub bytes_in_flight: u64,
}
