//! What the connection tells its trace: see [`crate::trace`].

use std::time::Duration;

use tercel_wire::EncryptionLevel;
use tercel_wire::packet::Opened;

use super::phase::Phase;
use super::receive::Dropped;
use super::{Connection, Tls, handshake};
use crate::close::HandshakeState;
use crate::recovery::SentPacket;
use crate::time::Time;
use crate::trace::{Batch, End, Metrics, Once, Packet, Snapshot, Trace, TraceEvent, TraceStart, TraceState};

impl Connection {
    /// Begins to keep what happens, for [`take_trace`](Self::take_trace). Best called at once after the
    /// connection was made.
    pub fn start_trace(&mut self, now: Time) {
        let mut trace = Box::new(Trace::new(now, self.snapshot()));
        trace.push(TraceEvent::Started(Box::new(TraceStart {
            role: self.role,
            version: self.versions.original(),
            original_dcid: self.handshake.original_dcid,
            local_cid: self.handshake.local_scid,
            remote: self.paths.active.address.remote,
        })));
        trace.push_once(
            Once::LocalParameters,
            TraceEvent::Parameters {
                of: End::Local,
                parameters: Box::new(handshake::parameters(&self.config, self.handshake.local_scid)),
            },
        );
        self.trace = Some(trace);
    }

    /// How many events wait to be taken.
    pub fn trace_len(&self) -> usize {
        self.trace.as_ref().map_or(0, |trace| trace.len())
    }

    /// What happened since it was last asked, in order. Nothing unless [`start_trace`](Self::start_trace)
    /// was called. At most some ten thousand events are kept; beyond them only their number is told, as
    /// [`TraceEvent::Missing`]. With `fill`, an old batch is filled: a busy connection does not grow a
    /// new one each time, a quiet one holds none.
    pub fn take_trace(&mut self, fill: Option<Batch>) -> Batch {
        self.trace.as_mut().map_or_else(Batch::default, |trace| trace.take(fill))
    }

    /// What a datagram has changed. Once the handshake is confirmed this waits for the answer to all
    /// datagrams that came together: their packets are told at once, and no more changes but figures.
    #[inline]
    pub(super) fn trace_changes_of_datagram(&mut self, now: Time) {
        if let Some(trace) = &mut self.trace {
            if trace.told_confirmed() {
                trace.owe();
            } else {
                self.compare_with_trace(now);
            }
        }
    }

    /// What is still to be told of datagrams that came in.
    #[inline]
    pub(super) fn trace_owed(&mut self, now: Time) {
        if self.trace.as_mut().is_some_and(|trace| trace.take_owed()) {
            self.compare_with_trace(now);
        }
    }

    /// Tells what has changed; after every other input.
    #[inline]
    pub(super) fn trace_changes(&mut self, now: Time) {
        if self.trace.is_some() {
            self.compare_with_trace(now);
        }
    }

    #[cold]
    fn compare_with_trace(&mut self, now: Time) {
        let Some(mut trace) = self.trace.take() else { return };
        trace.at(now);
        if trace.wants(Once::RemoteParameters)
            && let Some(parameters) = self.peer_parameters()
            && self.handshake.peer_scid.is_some()
        {
            let parameters = Box::new(parameters.clone());
            trace.push_once(Once::RemoteParameters, TraceEvent::Parameters { of: End::Remote, parameters });
        }
        if trace.wants(Once::Alpn)
            && let Some(alpn) = self.alpn()
        {
            trace.push_once(Once::Alpn, TraceEvent::Alpn(alpn.into()));
        }
        trace.compare(self.snapshot());
        if trace.wants(Once::Ending)
            && let Some(reason) = &self.close_reason
        {
            trace.push_once(Once::Ending, TraceEvent::Ending(reason.clone()));
        }
        self.trace = Some(trace);
    }

    #[inline]
    pub(super) fn trace_sent(&mut self, now: Time, packet: Packet, mtu_probe: bool) {
        if let Some(trace) = &mut self.trace {
            trace.at(now);
            trace.sent(packet, mtu_probe);
        }
    }

    #[inline]
    pub(super) fn trace_received(&mut self, now: Time, level: EncryptionLevel, opened: &Opened<'_>) {
        if let Some(trace) = &mut self.trace {
            trace.at(now);
            trace.received(Packet { level, number: opened.number, len: opened.payload.len() }, &opened.payload);
        }
    }

    pub(super) fn trace_dropped(&mut self, now: Time, why: Dropped) {
        if let Some(trace) = &mut self.trace {
            trace.at(now);
            trace.push(TraceEvent::PacketDropped { why: why.text() });
        }
    }

    pub(super) fn trace_parked(&mut self, now: Time, level: EncryptionLevel, len: usize) {
        if let Some(trace) = &mut self.trace {
            trace.at(now);
            trace.push(TraceEvent::PacketBuffered { level, len: len as u16 });
        }
    }

    pub(super) fn trace_lost(&mut self, now: Time, packet: &SentPacket) {
        if let Some(trace) = &mut self.trace {
            let SentPacket { level, number, mtu_probe, .. } = *packet;
            trace.at(now);
            trace.push(TraceEvent::PacketLost { level, number, mtu_probe });
        }
    }

    fn snapshot(&self) -> Snapshot {
        let (rtt, path) = (self.recovery.rtt(), &self.paths.active);
        Snapshot {
            state: match (&self.phase, self.handshake.state) {
                (Phase::Closing(_), _) => TraceState::Closing,
                (Phase::Draining { .. }, _) => TraceState::Draining,
                (Phase::Closed, _) => TraceState::Closed,
                (Phase::Alive, HandshakeState::Incomplete) => TraceState::Handshaking,
                (Phase::Alive, HandshakeState::Complete) => TraceState::Complete,
                (Phase::Alive, HandshakeState::Confirmed) => TraceState::Confirmed,
            },
            metrics: Metrics {
                min_rtt: micros(rtt.min),
                smoothed_rtt: micros(rtt.smoothed),
                latest_rtt: micros(rtt.latest),
                rtt_variation: micros(rtt.var),
                congestion_window: self.recovery.window(),
                bytes_in_flight: self.recovery.bytes_in_flight(),
                pto_count: self.recovery.pto_count(),
            },
            congestion: self.recovery.congestion_phase(),
            probe_timeouts: self.recovery.stats().probe_timeouts,
            keys: [self.spaces.initial.is_some(), self.spaces.handshake.is_some(), self.spaces.data.one_rtt.is_some()],
            key_updates: self.spaces.data.one_rtt.as_ref().map_or(0, |keys| keys.updates()),
            mtu: path.mtu.current(),
            path: path.id,
            remote: path.address.remote,
            ecn_capable: path.ecn.is_capable(),
            version: self.versions.current(),
            awaits_verdict: matches!(&self.handshake.tls, Tls::Running(tls) if tls.awaits_verdict()),
        }
    }
}

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

impl Dropped {
    /// For people.
    const fn text(self) -> &'static str {
        match self {
            Self::Unreadable => "header not readable, or of another version",
            Self::Misaddressed => "for another connection ID, or from another address",
            Self::NoKeys => "no keys",
            Self::Forged => "not authentic",
            Self::Duplicate => "number seen before",
            Self::Unexpected => "makes no sense in this state",
        }
    }
}
