//! What a connection tells of itself.

use std::net::SocketAddr;

use bytes::Bytes;
use tercel_wire::{ConnectionId, Role, SpaceId, TransportParameters, Version};

use super::Connection;
use super::handshake::Tls;
use super::phase::Phase;
use crate::close::HandshakeState;
use crate::config::TransportConfig;
use crate::error::{ApiMisuse, CloseReason};
use crate::path::{Path, Validation};
use crate::stats::{ConnectionStats, PathCongestion, PathState, PathStats};
use crate::tls;

impl Connection {
    /// Which end this is.
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Where the peer is.
    pub const fn remote_address(&self) -> SocketAddr {
        self.paths.active.address.remote
    }

    /// Whether the handshake is not complete.
    pub const fn is_handshaking(&self) -> bool {
        !self.is_complete()
    }

    /// Whether the handshake is confirmed (RFC 9001 section 4.1.2), and the connection not over.
    pub fn is_confirmed(&self) -> bool {
        self.phase.is_alive() && self.handshake.state == HandshakeState::Confirmed
    }

    /// Server: whether the peer has acknowledged every ticket that was sent.
    pub const fn are_tickets_delivered(&self) -> bool {
        self.spaces.data.numbers.crypto.is_delivered()
    }

    /// How many bytes of packets and TLS messages the handshake keeps. The state of connection and TLS comes
    /// on top.
    pub fn handshake_bytes(&self) -> usize {
        let hello = match &self.handshake.tls {
            Tls::AwaitHello(hello) | Tls::AwaitDecision(hello) => hello.capacity(),
            Tls::Running(_) | Tls::Over(_) => 0,
        };
        let spaces = [SpaceId::Initial, SpaceId::Handshake, SpaceId::Data];
        let crypto = spaces.into_iter().filter_map(|id| self.spaces.get(id)).map(|numbers| numbers.crypto.held());
        hello + self.parked.held() + crypto.sum::<usize>()
    }

    /// Why the connection ended, if it did.
    pub fn close_reason(&self) -> Option<&CloseReason> {
        self.close_reason.as_deref()
    }

    /// Whether the peer has closed, which was told, and all that is left is to let pass what it has sent before, until
    /// [`poll_timeout`](Self::poll_timeout) (RFC 9000 section 10.2.2).
    pub const fn is_draining(&self) -> bool {
        matches!(self.phase, Phase::Draining { .. }) && self.pending_end.is_none()
    }

    /// Figures.
    pub fn stats(&self) -> ConnectionStats {
        let (counts, recovery, rtt) = (&self.stats, self.recovery.stats(), self.recovery.rtt());
        let path = &self.paths.active;
        ConnectionStats {
            packets_acked: recovery.packets_acked,
            packets_lost: recovery.packets_lost,
            packets_lost_spuriously: recovery.packets_lost_spuriously,
            congestion_events: recovery.congestion_events,
            persistent_congestion: recovery.persistent_congestion,
            probe_timeouts: recovery.probe_timeouts,
            congestion_window: self.recovery.window(),
            bytes_in_flight: self.recovery.bytes_in_flight(),
            congestion_phase: self.recovery.congestion_phase(),
            pacing_rate: self.recovery.pacing_rate(),
            rtt: rtt.smoothed,
            min_rtt: rtt.min,
            latest_rtt: rtt.adjusted,
            rtt_variation: rtt.var,
            rtt_samples: rtt.samples,
            mtu: path.mtu.current(),
            mtu_black_holes: path.mtu.black_holes(),
            key_updates: self.spaces.data.one_rtt.as_ref().map_or(0, |keys| keys.updates()),
            ecn_capable: path.ecn.is_capable(),
            one_way_delay: self.one_way.smoothed(),
            latest_one_way_delay: self.one_way.latest(),
            stream_bytes_retransmitted: self.streams.retransmitted_bytes(),
            handshake: counts.completed.map(|completed| completed.since(self.handshake.started)),
            phases: counts.phases.since(self.handshake.started),
            datagrams_sent: counts.datagrams_sent,
            datagrams_received: counts.datagrams_received,
            bytes_sent: counts.bytes_sent,
            bytes_received: counts.bytes_received,
            packets_sent: counts.packets_sent,
            packets_received: counts.packets_received,
            packets_dropped: counts.packets_dropped,
        }
    }

    /// How much is under way to the peer: sent, and neither acknowledged nor lost (RFC 9002 section 2).
    pub const fn bytes_in_flight(&self) -> u64 {
        self.recovery.bytes_in_flight()
    }

    /// The congestion window of the path in use, in bytes: one of [`stats`](Self::stats), without the others.
    pub const fn congestion_window(&self) -> u64 {
        self.recovery.window()
    }

    /// The paths of the connection, the one in use first.
    pub fn paths(&self) -> Vec<PathStats> {
        let (rtt, active) = (self.recovery.rtt(), self.paths.active.id);
        let stats = |path: &Path| PathStats {
            id: path.id,
            remote: path.address.remote,
            local: path.address.local,
            state: match (path.id == active, self.paths.previous.as_ref().is_some_and(|old| old.id == path.id)) {
                (true, _) => PathState::Active,
                (_, true) => PathState::Previous,
                _ if path.validation == Validation::Done => PathState::Ready,
                _ => PathState::Probed,
            },
            validated: path.amplification.is_validated() && !matches!(path.validation, Validation::Pending { .. }),
            bytes_sent: path.bytes_sent,
            bytes_received: path.bytes_received,
            mtu: path.mtu.current(),
            ecn_capable: path.ecn.is_capable(),
            congestion: (path.id == active).then(|| PathCongestion {
                rtt: rtt.smoothed,
                min_rtt: rtt.min,
                rtt_samples: rtt.samples,
                congestion_window: self.recovery.window(),
                bytes_in_flight: self.recovery.bytes_in_flight(),
            }),
        };
        self.paths.iter().map(stats).collect()
    }

    /// The destination connection ID of the client's first packet: the same at both ends.
    pub const fn original_dcid(&self) -> ConnectionId {
        self.handshake.original_dcid
    }

    /// The name of the server as the client calls it, if it does.
    pub fn server_name(&self) -> Option<&str> {
        self.handshake.server_name.as_deref()
    }

    /// The application protocol, once chosen.
    pub fn alpn(&self) -> Option<&[u8]> {
        match &self.handshake.tls {
            Tls::Running(tls) => tls.session().alpn(),
            Tls::Over(agreed) => agreed.alpn(),
            _ => None,
        }
    }

    /// The version in use: the one that the two ends have negotiated, once they have.
    pub const fn version(&self) -> Version {
        self.versions.current()
    }

    /// The version of the client's first packet, which is also that of early data (RFC 9368 section 2.3).
    pub const fn original_version(&self) -> Version {
        self.versions.original()
    }

    /// Server, before [`accept`](Self::accept): the version that the connection will go on with under these
    /// settings. It is that of tokens and tickets that the client is given (RFC 9369 section 5).
    pub fn version_under(&self, settings: &TransportConfig) -> Version {
        self.versions.choose(&settings.versions).unwrap_or(self.versions.original())
    }

    /// What TLS agreed on, once it has.
    pub fn negotiated(&self) -> Option<tls::Negotiated> {
        match &self.handshake.tls {
            Tls::Running(tls) => tls.session().negotiated(),
            Tls::Over(agreed) => agreed.negotiated(),
            _ => None,
        }
    }

    /// The peer's transport parameters, or what is remembered of them while early data is sent; `None`
    /// while nothing is known.
    pub fn peer_parameters(&self) -> Option<&TransportParameters> {
        Some(&self.peer_parameters).filter(|parameters| **parameters != TransportParameters::default())
    }

    /// Whether the server asked for a Retry (RFC 9000 section 8.1.2).
    pub const fn was_retried(&self) -> bool {
        self.handshake.retry_scid.is_some()
    }

    /// The peer's certificates (DER, leaf first), once known.
    pub fn peer_certificates(&self) -> Option<Vec<Bytes>> {
        match &self.handshake.tls {
            Tls::Running(tls) => tls.session().peer_certificates(),
            Tls::Over(agreed) => agreed.peer_certificates(),
            _ => None,
        }
    }

    /// The secrets of the handshake so far, if the TLS configuration has them kept.
    pub fn tls_secrets(&self) -> Option<&tls::TlsSecrets> {
        match &self.handshake.tls {
            Tls::Running(tls) => tls.secrets(),
            Tls::Over(agreed) => agreed.secrets(),
            _ => None,
        }
    }

    /// Keying material that only the two ends know (RFC 8446 section 7.5).
    ///
    /// # Errors
    /// [`ApiMisuse::TooEarly`]: the handshake is not complete. [`ApiMisuse::InvalidArgument`]: nothing was asked
    /// for, or more than 255 times the length of the cipher suite's hash; or `label` has more than 249 bytes.
    pub fn export_keying_material(&self, out: &mut [u8], label: &[u8], context: &[u8]) -> Result<(), ApiMisuse> {
        if label.len() > tls::MAX_LABEL {
            return Err(ApiMisuse::InvalidArgument("a label has no more than 249 bytes"));
        }
        let exported = match &self.handshake.tls {
            Tls::Running(tls) if tls.is_complete() => tls.session().export_keying_material(out, label, context),
            Tls::Over(agreed) => agreed.export_keying_material(out, label, context),
            _ => return Err(ApiMisuse::TooEarly),
        };
        match exported {
            true => Ok(()),
            false => Err(ApiMisuse::InvalidArgument("so much keying material cannot be exported")),
        }
    }

    /// Client: the ECH configurations to try again with, if the server refused the encrypted ClientHello.
    pub(crate) fn ech_rejection(&self) -> Option<Bytes> {
        match &self.handshake.tls {
            Tls::Running(tls) => tls.ech_rejection().cloned(),
            _ => None,
        }
    }
}
