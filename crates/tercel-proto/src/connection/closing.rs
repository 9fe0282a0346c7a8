//! The end: what is said, what is heard, and when everything can be forgotten (RFC 9000 section 10).

use bytes::Bytes;
use tercel_wire::frame::ConnectionClose;
use tercel_wire::packet::protection::PacketKey as _;
use tercel_wire::{ApplicationErrorCode, EncryptionLevel, Frame, Role, SpaceId, TransportErrorCode};

use super::packetize::Sending;
use super::phase::Phase;
use super::transmit::{MIN_INITIAL_DATAGRAM, reserve};
use super::{Connection, Event, Transmit};
use crate::close::{CloseFrame, CloseKind, Closing, HandshakeState, KeysHeld, close_packets};
use crate::error::{CloseReason, Violation};
use crate::path::Ecn;
use crate::time::Time;

/// What a CONNECTION_CLOSE of ours says.
#[derive(Debug, Clone)]
pub(super) enum Farewell {
    Application { code: ApplicationErrorCode, reason: Bytes },
    Transport { code: TransportErrorCode, frame: u64, reason: Bytes },
}

impl Farewell {
    const fn kind(&self) -> CloseKind {
        match self {
            Self::Application { .. } => CloseKind::Application,
            Self::Transport { .. } => CloseKind::Transport,
        }
    }

    /// The frame for one packet, its reason cut to what fits.
    fn frame(&self, form: CloseFrame, room: usize) -> Frame<'_> {
        const OVERHEAD: usize = 1 + 8 + 8 + 2;
        let fit = |reason: &Bytes| reason.len().min(room.saturating_sub(OVERHEAD));
        Frame::ConnectionClose(match (form, self) {
            (CloseFrame::Application, Self::Application { code, reason }) => {
                ConnectionClose::Application { error: *code, reason: &reason[..fit(reason)] }
            }
            (CloseFrame::Transport, Self::Transport { code, frame, reason }) => {
                ConnectionClose::Transport { error: *code, frame_type: *frame, reason: &reason[..fit(reason)] }
            }
            _ => {
                ConnectionClose::Transport { error: TransportErrorCode::APPLICATION_ERROR, frame_type: 0, reason: &[] }
            }
        })
    }
}

impl Connection {
    /// The peer broke a rule.
    pub(super) fn close_for(&mut self, now: Time, violation: Violation) {
        tracing::debug!(%violation, "closing");
        let Violation { code, frame, reason } = violation;
        let reason = Bytes::from_static(reason.as_bytes());
        self.begin_close(now, Farewell::Transport { code, frame, reason }, CloseReason::Violation(violation));
    }

    /// Says farewell, unless that was done already: the first close wins.
    pub(super) fn begin_close(&mut self, now: Time, farewell: Farewell, reason: CloseReason) {
        if !self.phase.is_alive() {
            return;
        }
        let keys = KeysHeld {
            initial: self.spaces.initial.is_some(),
            zero_rtt: self.handshake.early_sent && self.spaces.data.early.is_some(),
            handshake: self.spaces.handshake.is_some(),
            one_rtt: self.spaces.data.one_rtt.is_some(),
        };
        let packets = close_packets(self.role, keys, self.handshake.state, farewell.kind());
        self.farewell = Some(farewell);
        self.phase = Phase::Closing(Closing::new(now, self.recovery.pto(SpaceId::Data), packets));
        self.on_ending(reason);
    }

    /// A CONNECTION_CLOSE came in.
    pub(super) fn on_connection_close(&mut self, now: Time, level: EncryptionLevel, close: &ConnectionClose<'_>) {
        let reason = match close {
            ConnectionClose::Application { error, reason } => {
                CloseReason::PeerApplication { code: *error, reason: Bytes::copy_from_slice(reason) }
            }
            ConnectionClose::Transport { error, frame_type, reason } => CloseReason::PeerTransport {
                code: peer_code(*error, level),
                frame: *frame_type,
                reason: Bytes::copy_from_slice(reason),
            },
        };
        match (&self.phase, &self.pending_end) {
            (Phase::Alive | Phase::Closing(_), _) => self.enter_draining(now, reason),
            // The application's own code may follow the stand-in for it in the same datagram.
            (Phase::Draining { .. }, Some(CloseReason::PeerTransport { code, .. }))
                if *code == TransportErrorCode::APPLICATION_ERROR =>
            {
                if matches!(reason, CloseReason::PeerApplication { .. }) {
                    self.pending_end = Some(reason);
                }
            }
            _ => {}
        }
    }

    pub(super) fn enter_draining(&mut self, now: Time, reason: CloseReason) {
        let was_alive = self.phase.is_alive();
        let until = match &self.phase {
            Phase::Closing(closing) => closing.until(),
            _ => now + 3 * self.recovery.pto(SpaceId::Data),
        };
        self.phase = Phase::Draining { until };
        if was_alive {
            self.pending_end = Some(reason);
        }
    }

    /// Ends at once, without a word.
    pub(super) fn end(&mut self, reason: CloseReason) {
        if matches!(self.phase, Phase::Closed) {
            return;
        }
        let was_alive = self.phase.is_alive();
        self.phase = Phase::Closed;
        if was_alive {
            self.on_ending(reason);
        }
        self.on_closed();
    }

    /// Tells the driver of an end that the peer brought about, once its datagram is read.
    pub(super) fn tell_pending_end(&mut self) {
        if let Some(reason) = self.pending_end.take() {
            self.on_ending(reason);
        }
    }

    fn on_ending(&mut self, reason: CloseReason) {
        self.datagrams.cancel_all();
        while let Some(event) = self.datagrams.poll_event() {
            self.events.push_back(Event::Datagram(event));
        }
        self.close_reason.get_or_insert(reason.clone());
        self.events.push_back(Event::Closing(reason));
    }

    pub(super) fn on_closed(&mut self) {
        self.local_ids.remove_all();
        self.peer_ids.remove_all();
        if self.role == Role::Server && self.spaces.initial.is_some() {
            self.routes.push_back(super::RouteChange::Remove(self.handshake.initial_dcid));
        }
        self.events.push_back(Event::Closed);
    }

    /// The close, in every packet in which the peer may be able to read it.
    pub(super) fn transmit_close(&mut self, now: Time, buf: &mut Vec<u8>) -> Option<Transmit> {
        let Phase::Closing(closing) = &mut self.phase else { return None };
        let packets = closing.take_pending()?.clone();
        let farewell = self.farewell.clone()?;
        let path = &self.paths.active;
        let allowed = usize::try_from(path.amplification.allowance()).unwrap_or(usize::MAX);
        let size = usize::from(path.mtu.current()).min(allowed);
        let (path, address) = (path.id, path.address);
        reserve(buf, size);
        let datagram = buf.get_mut(..size)?;
        let mut len = 0;
        let last = packets.len().checked_sub(1)?;
        let has_initial = packets.iter().any(|(level, _)| *level == EncryptionLevel::Initial);
        for (at, (level, form)) in packets.into_iter().enumerate() {
            let Some(tag_len) = self.sending_keys(level).map(|keys| keys.1.tag_len()) else { continue };
            let header = self.header(level);
            let Some(room) = datagram.get_mut(len..) else { break };
            let draft = self.draft_with(level, header, len, room, tag_len, |_, sink| {
                let frame = farewell.frame(form, sink.remaining());
                sink.push(&frame, None);
            });
            // A client's datagram with an Initial packet is full-sized (RFC 9000 section 14.1).
            let pad = at == last && has_initial && self.role == Role::Client;
            let pad_to = if pad { MIN_INITIAL_DATAGRAM.min(size) } else { 0 };
            if let Some(draft) = draft {
                len = self.finish(now, draft, datagram, Sending { path, mtu_probe: false, ecn: Ecn::NotEct, pad_to });
            }
        }
        self.paths.active.amplification.on_sent(len);
        (len > 0).then_some(Transmit { path: address, ecn: Ecn::NotEct, len, segment_size: None })
    }

    /// Where the closing states end.
    pub(super) const fn end_of_phase(&self) -> Option<Time> {
        match &self.phase {
            Phase::Closing(closing) => Some(closing.until()),
            Phase::Draining { until } => Some(*until),
            Phase::Alive | Phase::Closed => None,
        }
    }

    /// The state of the handshake is of no use to who closes before it began.
    pub(super) fn refuse_hello(&mut self, now: Time, code: TransportErrorCode) {
        debug_assert!(self.handshake.state == HandshakeState::Incomplete);
        let farewell = Farewell::Transport { code, frame: 0, reason: Bytes::new() };
        self.begin_close(now, farewell, CloseReason::Refused { code });
    }
}

/// MsQuic says INVALID_TOKEN where it means APPLICATION_ERROR; in a Handshake packet it can mean
/// nothing else.
fn peer_code(code: TransportErrorCode, level: EncryptionLevel) -> TransportErrorCode {
    match (code, level) {
        (TransportErrorCode::INVALID_TOKEN, EncryptionLevel::Handshake) => TransportErrorCode::APPLICATION_ERROR,
        _ => code,
    }
}
