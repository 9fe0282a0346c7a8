//! What a connection tells those who look inside: packets with their frames, and every change of state.
//!
//! A connection that is traced owns a `Trace`; events enter it from the connection's wiring and leave
//! by [`Connection::take_trace`](crate::connection::Connection::take_trace) to the driver, which makes
//! files or figures of them. One that is not traced pays for a branch where a packet is sent, received
//! or lost.
//!
//! Packets are told as they happen. State is compared with what was told of it last, after every
//! input: so no component needs to know that it is watched.

mod batch;
mod frame;

pub(crate) use batch::Packet;
pub use batch::{Batch, PacketRecord, Record, Records, Way};
pub use frame::{AckedRanges, Frames, TraceAck, TraceConnectionId, TraceFrame, TraceFrames, TraceReset};

use std::net::SocketAddr;

use tercel_wire::{ConnectionId, EncryptionLevel, Role, SpaceId, StreamId, TransportParameters, Version};

use crate::error::CloseReason;
use crate::time::Time;

/// How many events are kept until the driver takes them; what happens beyond is only counted.
const MOST_EVENTS: usize = 32_768;

/// Which of the two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// This one.
    Local,
    /// The peer.
    Remote,
}

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TraceState {
    /// Packets are exchanged to agree on keys.
    Handshaking,
    /// The handshake is complete at this end (RFC 9001 section 4.1.1).
    Complete,
    /// It is complete at both (section 4.1.2).
    Confirmed,
    /// This end has said CONNECTION_CLOSE.
    Closing,
    /// The peer has.
    Draining,
    /// Nothing is left to do.
    Closed,
}

/// What the congestion controller does: the first three are those of controllers with a window, the
/// others those of BBR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum CongestionPhase {
    /// The window grows with every byte acknowledged.
    #[default]
    SlowStart,
    /// The window grows by the rule of the algorithm.
    Avoidance,
    /// What was sent before the window was cut is still under way.
    Recovery,
    /// The rate doubles each round.
    Startup,
    /// What that has queued goes away.
    Drain,
    /// A little slower than the path delivers: what a probe has queued goes away.
    ProbeBwDown,
    /// As fast as the path delivers.
    ProbeBwCruise,
    /// The pipe is filled, to probe for more.
    ProbeBwRefill,
    /// Faster than the path delivers, to see whether there is more.
    ProbeBwUp,
    /// Little is in flight, to measure the round-trip time without queues.
    ProbeRtt,
}

impl CongestionPhase {
    /// Its name in logs and figures.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SlowStart => "slow_start",
            Self::Avoidance => "congestion_avoidance",
            Self::Recovery => "recovery",
            Self::Startup => "startup",
            Self::Drain => "drain",
            Self::ProbeBwDown => "probe_bw_down",
            Self::ProbeBwCruise => "probe_bw_cruise",
            Self::ProbeBwRefill => "probe_bw_refill",
            Self::ProbeBwUp => "probe_bw_up",
            Self::ProbeRtt => "probe_rtt",
        }
    }
}

/// Figures of loss recovery (RFC 9002). Times are whole microseconds, at most those of 71 minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metrics {
    /// The least round-trip time.
    pub min_rtt: u32,
    /// The smoothed one.
    pub smoothed_rtt: u32,
    /// The last one.
    pub latest_rtt: u32,
    /// How much it varies.
    pub rtt_variation: u32,
    /// The congestion window, in bytes.
    pub congestion_window: u64,
    /// Bytes in flight.
    pub bytes_in_flight: u64,
    /// Probe timeouts since the last acknowledgement.
    pub pto_count: u32,
}

/// Something that happened inside a connection.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum TraceEvent {
    /// The first of all.
    Started(Box<TraceStart>),
    /// Transport parameters became known: ours as they are sent, or the peer's.
    Parameters { of: End, parameters: Box<TransportParameters> },
    /// The connection goes on in another version of QUIC than it was begun with.
    Version(Version),
    /// The application protocol was agreed on.
    Alpn(Box<[u8]>),
    /// A packet was sealed, to be sent; `len` is its size in bytes.
    PacketSent { level: EncryptionLevel, number: u64, len: u16, mtu_probe: bool, frames: TraceFrames },
    /// An authentic packet was read; `len` is its payload in bytes.
    PacketReceived { level: EncryptionLevel, number: u64, len: u16, frames: TraceFrames },
    /// A received packet was of no use.
    PacketDropped { why: &'static str },
    /// A received packet waits for its keys.
    PacketBuffered { level: EncryptionLevel, len: u16 },
    /// A packet was declared lost.
    PacketLost { level: EncryptionLevel, number: u64, mtu_probe: bool },
    /// A probe timeout fired.
    ProbeTimeout { count: u32 },
    /// Figures of recovery changed.
    Metrics(Metrics),
    /// The congestion controller does something else.
    Congestion(CongestionPhase),
    /// The life of the connection goes on.
    State(TraceState),
    /// Keys of a space came into being.
    KeysMade(SpaceId),
    /// Keys of a space were discarded.
    KeysDiscarded(SpaceId),
    /// 1-RTT keys were updated, for the `phase`th time.
    KeysUpdated { phase: u64 },
    /// The size of datagrams changed.
    Mtu { old: u16, new: u16 },
    /// The peer is somewhere else now, or is reached from elsewhere.
    Path { path: u32, remote: Box<SocketAddr> },
    /// Whether the path is known to carry ECN marks changed.
    Ecn { capable: bool },
    /// The application gave data of a stream to be sent.
    DataQueued { id: StreamId, len: u64, fin: bool },
    /// The application has taken in data of a stream.
    DataConsumed { id: StreamId, len: u64 },
    /// The application is asked about the peer's certificate.
    VerdictAsked,
    /// It has answered.
    VerdictGiven { accepted: bool },
    /// The connection ends.
    Ending(Box<CloseReason>),
    /// So many events found no room.
    Missing(u64),
}

/// What a connection knows of itself at its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceStart {
    /// Which end this is.
    pub role: Role,
    /// The version of QUIC that the client's first packet has.
    pub version: Version,
    /// The destination connection ID of the client's first packet.
    pub original_dcid: ConnectionId,
    /// This end's first connection ID.
    pub local_cid: ConnectionId,
    /// Where the peer is.
    pub remote: SocketAddr,
}

/// The state of which changes are told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Snapshot {
    pub(crate) state: TraceState,
    pub(crate) metrics: Metrics,
    pub(crate) congestion: CongestionPhase,
    pub(crate) probe_timeouts: u64,
    pub(crate) keys: [bool; 3],
    pub(crate) key_updates: u64,
    pub(crate) mtu: u16,
    pub(crate) path: u32,
    pub(crate) remote: SocketAddr,
    pub(crate) ecn_capable: bool,
    pub(crate) awaits_verdict: bool,
    pub(crate) version: Version,
}

/// Events of a connection, until the driver takes them.
#[derive(Debug)]
pub(crate) struct Trace {
    events: Batch,
    /// The frames of the packet that is being made.
    frames: Vec<u8>,
    missing: u64,
    now: Time,
    seen: Snapshot,
    /// What changed since is not told yet.
    owed: bool,
    local_told: bool,
    remote_told: bool,
    alpn_told: bool,
    ending_told: bool,
}

impl Trace {
    pub(crate) fn new(now: Time, seen: Snapshot) -> Self {
        let mut trace = Self {
            events: Batch::default(),
            frames: Vec::new(),
            missing: 0,
            now,
            seen,
            owed: false,
            local_told: false,
            remote_told: false,
            alpn_told: false,
            ending_told: false,
        };
        trace.push(TraceEvent::State(seen.state));
        trace
    }

    /// The time of what is told from here on.
    pub(crate) fn at(&mut self, now: Time) {
        self.now = self.now.max(now);
    }

    #[inline]
    pub(crate) fn push(&mut self, event: TraceEvent) {
        match self.events.len() < MOST_EVENTS {
            true => self.events.push(self.now, event),
            false => self.missing += 1,
        }
    }

    /// Notes the frames of a packet that is about to be sealed.
    pub(crate) fn draft(&mut self, payload: &[u8]) {
        self.frames.clear();
        frame::pack(payload, &mut self.frames);
    }

    /// Tells that the packet whose frames were noted last is sealed.
    pub(crate) fn sent(&mut self, packet: Packet, mtu_probe: bool) {
        match self.events.len() < MOST_EVENTS {
            true => self.events.sent(self.now, packet, mtu_probe, &self.frames),
            false => self.missing += 1,
        }
    }

    pub(crate) fn received(&mut self, packet: Packet, payload: &[u8]) {
        self.draft(payload);
        match self.events.len() < MOST_EVENTS {
            true => self.events.received(self.now, packet, &self.frames),
            false => self.missing += 1,
        }
    }

    /// Whether something that comes but once is to be told now.
    pub(crate) fn wants(&self, once: Once) -> bool {
        !match once {
            Once::LocalParameters => self.local_told,
            Once::RemoteParameters => self.remote_told,
            Once::Alpn => self.alpn_told,
            Once::Ending => self.ending_told,
        }
    }

    /// Tells something that comes but once.
    pub(crate) fn push_once(&mut self, once: Once, event: TraceEvent) {
        match once {
            Once::LocalParameters => self.local_told = true,
            Once::RemoteParameters => self.remote_told = true,
            Once::Alpn => self.alpn_told = true,
            Once::Ending => self.ending_told = true,
        }
        self.push(event);
    }

    /// Tells what is different from what was told last.
    pub(crate) fn compare(&mut self, new: Snapshot) {
        if new == self.seen {
            return;
        }
        let old = std::mem::replace(&mut self.seen, new);
        if new.version != old.version {
            self.push(TraceEvent::Version(new.version));
        }
        for space in SpaceId::ALL {
            match (old.keys[space as usize], new.keys[space as usize]) {
                (false, true) => self.push(TraceEvent::KeysMade(space)),
                (true, false) => self.push(TraceEvent::KeysDiscarded(space)),
                _ => {}
            }
        }
        if new.awaits_verdict && !old.awaits_verdict {
            self.push(TraceEvent::VerdictAsked);
        }
        if new.key_updates > old.key_updates {
            self.push(TraceEvent::KeysUpdated { phase: new.key_updates });
        }
        if (new.path, new.remote) != (old.path, old.remote) {
            self.push(TraceEvent::Path { path: new.path, remote: Box::new(new.remote) });
        }
        if new.mtu != old.mtu {
            self.push(TraceEvent::Mtu { old: old.mtu, new: new.mtu });
        }
        if new.ecn_capable != old.ecn_capable {
            self.push(TraceEvent::Ecn { capable: new.ecn_capable });
        }
        if new.probe_timeouts > old.probe_timeouts {
            self.push(TraceEvent::ProbeTimeout { count: new.metrics.pto_count });
        }
        if new.metrics != old.metrics {
            self.push(TraceEvent::Metrics(new.metrics));
        }
        if new.congestion != old.congestion {
            self.push(TraceEvent::Congestion(new.congestion));
        }
        if new.state != old.state {
            self.push(TraceEvent::State(new.state));
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }

    pub(crate) const fn told_confirmed(&self) -> bool {
        matches!(self.seen.state, TraceState::Confirmed)
    }

    /// Changes are to be told later.
    pub(crate) const fn owe(&mut self) {
        self.owed = true;
    }

    pub(crate) const fn take_owed(&mut self) -> bool {
        std::mem::replace(&mut self.owed, false)
    }

    /// All events. If there is a batch to fill, they are copied to it, and the place of this one is kept.
    pub(crate) fn take(&mut self, fill: Option<Batch>) -> Batch {
        if self.missing > 0 {
            let missing = std::mem::take(&mut self.missing);
            self.events.push(self.now, TraceEvent::Missing(missing));
        }
        match fill {
            Some(mut batch) => {
                self.events.move_to(&mut batch);
                batch
            }
            None => std::mem::take(&mut self.events),
        }
    }
}

/// Facts that are told once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Once {
    LocalParameters,
    RemoteParameters,
    Alpn,
    Ending,
}
