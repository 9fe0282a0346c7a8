//! The end: what is said, what is heard, and when everything can be forgotten (RFC 9000 section 10).

use std::time::Duration;

use bytes::Bytes;
use tercel_wire::frame::ConnectionClose;
use tercel_wire::{ApplicationErrorCode, EncryptionLevel, Frame, Role, SpaceId, TransportErrorCode};

use super::packetize::Sending;
use super::phase::{Phase, Said};
use super::transmit::MIN_INITIAL_DATAGRAM;
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
                // RFC 9000 section 10.2.3#6.
                ConnectionClose::Transport { error: TransportErrorCode::APPLICATION_ERROR, frame_type: 0, reason: &[] }
            }
        })
    }
}

/// An end that the peer brought about and that is still to be told.
#[derive(Debug)]
pub(super) struct PendingEnd {
    reason: CloseReason,
    /// Until when something better may come; at once if not set.
    wait: Option<Time>,
}

impl PendingEnd {
    /// Whether the reason only stands in for the application's own (RFC 9000 section 10.2.3).
    fn is_stand_in(&self) -> bool {
        matches!(self.reason, CloseReason::PeerTransport { code: TransportErrorCode::APPLICATION_ERROR, .. })
    }
}

impl Connection {
    /// The peer broke a rule.
    // RFC 9000 sections 10.3#1, 11#1#2, 11.1#1.
    pub(super) fn close_for(&mut self, now: Time, violation: Violation) {
        tracing::debug!(%violation, "closing");
        let Violation { code, frame, reason } = violation;
        let reason = Bytes::from_static(reason.as_bytes());
        let why = match self.ech_rejection() {
            Some(retry_configs) => CloseReason::EchRejected { retry_configs },
            None => CloseReason::Violation(violation),
        };
        self.begin_close(now, Farewell::Transport { code, frame, reason }, why);
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
        let closing = Closing::new(now, self.recovery.pto(SpaceId::Data), packets);
        self.phase = Phase::Closing(Box::new(Said { closing, farewell }));
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
        match (&self.phase, &mut self.pending_end) {
            (Phase::Alive | Phase::Closing(_), _) => {
                self.enter_draining(now, reason);
                self.await_full_close(now, level);
            }
            (Phase::Draining { .. }, Some(end)) if end.is_stand_in() => {
                if matches!(reason, CloseReason::PeerApplication { .. }) {
                    **end = PendingEnd { reason, wait: None };
                }
            }
            _ => {}
        }
    }

    /// The close that carries the application's own code may follow the one that stands in for it,
    /// in the same datagram or in the next.
    fn await_full_close(&mut self, now: Time, level: EncryptionLevel) {
        let readable = self.spaces.data.one_rtt.is_some() && self.is_complete();
        let wait = (self.recovery.rtt().smoothed / 4).clamp(Duration::from_millis(1), Duration::from_millis(50));
        match &mut self.pending_end {
            Some(end) if readable && level != EncryptionLevel::OneRtt && end.is_stand_in() => {
                end.wait = Some(now + wait);
            }
            _ => {}
        }
    }

    pub(super) fn enter_draining(&mut self, now: Time, reason: CloseReason) {
        let was_alive = self.phase.is_alive();
        let until = match &self.phase {
            Phase::Closing(said) => said.closing.until(),
            _ => now + 3 * self.recovery.pto(SpaceId::Data),
        };
        self.phase = Phase::Draining { until };
        if was_alive {
            self.pending_end = Some(Box::new(PendingEnd { reason, wait: None }));
        }
    }

    /// Ends for the application; hears out what the peer still sends, and says nothing.
    pub(super) fn vanish(&mut self, now: Time) {
        match &self.phase {
            Phase::Alive => {
                let patience = self.idle.timeout_of_both().max(3 * self.recovery.pto(SpaceId::Data));
                self.phase = Phase::Draining { until: now + patience };
                self.on_ending(CloseReason::Silent);
            }
            // The first close wins: what it has to say may not have been sent yet.
            Phase::Closing(_) | Phase::Draining { .. } | Phase::Closed => {}
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
    pub(super) fn tell_pending_end(&mut self, now: Time) {
        if let Some(end) = self.pending_end.take_if(|end| end.wait.is_none_or(|until| until <= now)) {
            self.on_ending(end.reason);
        }
    }

    fn on_ending(&mut self, reason: CloseReason) {
        // Nothing is sent any more but the close: the application may have its memory back.
        self.streams.forget_sends();
        self.datagrams.cancel_all();
        while let Some(event) = self.datagrams.poll_event() {
            self.events.push_back(Event::Datagram(event));
        }
        self.close_reason.get_or_insert_with(|| Box::new(reason.clone()));
        self.events.push_back(Event::Closing(reason));
    }

    // RFC 9000 section 10.2#3.
    pub(super) fn on_closed(&mut self) {
        if let Some(end) = self.pending_end.take() {
            self.on_ending(end.reason);
        }
        self.local_ids.remove_all();
        self.peer_ids.remove_all();
        if self.role == Role::Server && self.spaces.initial.is_some() {
            self.routes.push_back(super::RouteChange::Remove(self.handshake.initial_dcid));
        }
        self.events.push_back(Event::Closed);
    }

    /// The next datagram of the close.
    // RFC 9000 section 10.2.1#3.
    pub(super) fn transmit_close(&mut self, now: Time, buf: &mut [u8]) -> Option<Transmit> {
        let path = &self.paths.active;
        let allowed = usize::try_from(path.amplification.allowance()).unwrap_or(usize::MAX);
        let size = usize::from(path.mtu.current()).min(allowed);
        let (id, address) = (path.id, path.address);
        let sending = Sending { path: id, mtu_probe: false, ecn: Ecn::NotEct, pad_to: 0 };
        let datagram = buf.get_mut(..size)?;
        let Phase::Closing(said) = &self.phase else { return None };
        let mut len = 0;
        if said.closing.is_full_close_due() {
            // The peer can read it only once it has our Finished.
            len = self.write_rest_of_flight(now, datagram, sending);
        }
        if len == 0 || !self.has_rest_of_flight() {
            len = self.write_close(now, len, datagram, sending);
        }
        self.paths.active.on_sent(len);
        (len > 0).then_some(Transmit { path: address, ecn: Ecn::NotEct, len, segment_size: None, mtu_probe: false })
    }

    /// Whether something of our last flight of the handshake was never sent.
    fn has_rest_of_flight(&self) -> bool {
        self.spaces.handshake.as_ref().is_some_and(|space| space.numbers.crypto.wants_to_send())
    }

    /// A Handshake packet with what of our last flight was not sent before the close. Window and pacer
    /// are not asked: it is little, and sent once.
    fn write_rest_of_flight(&mut self, now: Time, datagram: &mut [u8], sending: Sending) -> usize {
        const LEVEL: EncryptionLevel = EncryptionLevel::Handshake;
        if !self.has_rest_of_flight() {
            return 0;
        }
        let Some(tag_len) = self.tag_len(LEVEL) else { return 0 };
        let draft = self.draft_with(LEVEL, &self.header(LEVEL), 0, datagram, tag_len, |connection, sink| {
            if let Some(space) = &mut connection.spaces.handshake {
                space.numbers.crypto.write(sink);
            }
        });
        draft.map_or(0, |draft| self.finish(now, &draft, datagram, sending))
    }

    /// The close behind the first `len` bytes, in every packet of this datagram.
    fn write_close(&mut self, now: Time, mut len: usize, datagram: &mut [u8], sending: Sending) -> usize {
        let Phase::Closing(said) = &mut self.phase else { return len };
        let (packets, farewell) = (said.closing.take_datagram(), said.farewell.clone());
        let has_initial = packets.iter().any(|(level, _)| *level == EncryptionLevel::Initial);
        let last = packets.len().saturating_sub(1);
        for (at, (level, form)) in packets.into_iter().enumerate() {
            let Some(tag_len) = self.tag_len(level) else { continue };
            let header = self.header(level);
            let Some(room) = datagram.get_mut(len..) else { break };
            let draft = self.draft_with(level, &header, len, room, tag_len, |_, sink| {
                let frame = farewell.frame(form, sink.remaining());
                sink.push(&frame, None);
            });
            // A client's datagram with an Initial packet is full-sized (RFC 9000 section 14.1).
            let pad = at == last && has_initial && self.role == Role::Client;
            let pad_to = if pad { MIN_INITIAL_DATAGRAM.min(datagram.len()) } else { 0 };
            if let Some(draft) = draft {
                len = self.finish(now, &draft, datagram, Sending { pad_to, ..sending });
            }
        }
        len
    }

    /// When the next step of the end is due.
    pub(super) fn next_end(&self) -> Option<Time> {
        let told = self.pending_end.as_ref().and_then(|end| end.wait);
        [told, self.end_of_phase()].into_iter().flatten().min()
    }

    /// Where the closing states end.
    pub(super) const fn end_of_phase(&self) -> Option<Time> {
        match &self.phase {
            Phase::Closing(said) => Some(said.closing.until()),
            Phase::Draining { until } => Some(*until),
            Phase::Alive | Phase::Closed => None,
        }
    }

    /// The state of the handshake is of no use to who closes before it began.
    // RFC 9000 section 5.2.2#4.
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
