//! One datagram: which packets go into it, and which frames into each.
//!
//! A datagram is a run of packets, one for each encryption level that has something to say. A
//! packet is drafted (header and frames) before it is finished (padding, encryption), and finished
//! only when the next draft exists or none follows, because padding belongs into the last packet.
//!
//! Within a packet, reading order is priority: [`Connection::write_frames`] is the list of writers.

use std::ops::Range;

use tercel_wire::packet::protection::PacketKey as _;
use tercel_wire::packet::{Header, PacketStart};
use tercel_wire::{ConnectionId, EncryptionLevel, Frame, Role, SpaceId, Writer};

use super::Connection;
use super::transmit::MIN_INITIAL_DATAGRAM;
use crate::close::HandshakeState;
use crate::frames::{FrameSink, SentFrame};
use crate::keys::{HeaderKey, PacketKey};
use crate::path::{ChallengeSize, Ecn};
use crate::recovery::{Allowance, SentPacket, Stretch};
use crate::space::{PacketNumberSpace, Urgency};
use crate::time::Time;
use crate::trace::Packet;

/// If a datagram lacks no more bytes than this and more is to be sent, it is filled up: its batch can go on then, for
/// only the last of a batch may be smaller.
const FILL: usize = 32;

/// The spin bit of packets to a connection ID.
// RFC 9000 section 17.4#1#5: it is not used, and has a value that the connection ID gives by chance.
pub(super) fn spin(dcid: &ConnectionId) -> bool {
    dcid.last().is_some_and(|byte| byte & 1 == 1)
}

/// The order of packets in a datagram (RFC 9000 section 12.2).
// RFC 9000 section 12.2#2.
const LEVELS: [EncryptionLevel; 4] =
    [EncryptionLevel::Initial, EncryptionLevel::Handshake, EncryptionLevel::ZeroRtt, EncryptionLevel::OneRtt];

/// A packet with its frames, neither padded nor encrypted yet.
pub(super) struct Draft {
    level: EncryptionLevel,
    start: PacketStart,
    /// Where it begins in the datagram, and how far its frames reach, counted from there.
    begin: usize,
    len: usize,
    /// Where its frames begin, counted from there.
    payload: usize,
    tag_len: usize,
    /// Which of the connection's drafted frames are in it.
    frames: Range<usize>,
    ack_eliciting: bool,
}

/// What a packet may carry now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Permit {
    /// Whatever is waiting.
    All,
    /// Whatever is waiting, and a PING if nothing is: a probe (RFC 9002 section 6.2.4).
    Probe,
    /// What streams and DATAGRAM frames have: the datagram before, of the same batch, has left nothing else.
    Data,
    /// Only what need not ask the window: acknowledgements, and challenges and responses of path
    /// validation. These are few, and a window that is full of what went to an address where the peer
    /// no longer is opens only once its new address is validated.
    Exempt,
}

/// Facts of a packet that recovery is told beside its contents.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sending {
    pub(super) path: u32,
    pub(super) mtu_probe: bool,
    pub(super) ecn: Ecn,
    /// The size to pad the datagram to.
    pub(super) pad_to: usize,
}

impl Connection {
    /// Writes one datagram for the active path to `datagram` and returns its length: 0 if nothing
    /// is to be said, or nothing may be. `most` is what it may carry if nothing keeps it from that.
    // RFC 9001 section 4#2.
    pub(super) fn write_datagram(&mut self, now: Time, ecn: Ecn, most: Permit, datagram: &mut [u8]) -> usize {
        let allowance = self.recovery.allowance(now);
        if let Allowance::Probe { space } = allowance {
            self.say_again(now, space);
        }
        self.blocked_until = match allowance {
            Allowance::Blocked { until } => until,
            _ => None,
        };
        self.pad_datagram = false;
        self.workspace.drafted.clear();
        self.challenge_size = match datagram.len() >= MIN_INITIAL_DATAGRAM {
            true => ChallengeSize::Full,
            false => ChallengeSize::Small,
        };
        let (mut written, mut has_initial) = (0, false);
        let mut open: Option<Draft> = None;
        let sending = Sending { path: self.paths.active.id, mtu_probe: false, ecn, pad_to: 0 };
        for &level in self.levels() {
            let begin = open.as_ref().map_or(0, |draft| draft.begin + draft.len + draft.tag_len);
            let Some(room) = datagram.get_mut(begin..) else { break };
            let Some(draft) = self.draft(now, level, permit(allowance, level, most), begin, room) else { continue };
            if let Some(previous) = open.replace(draft) {
                self.finish(now, &previous, datagram, sending);
            }
            // RFC 9000 sections 8.1#3, 14.1#1#2: a server pads only what is to be acknowledged.
            has_initial |= level == EncryptionLevel::Initial
                && (self.role == Role::Client || open.as_ref().is_some_and(|draft| draft.ack_eliciting));
        }
        if let Some(last) = open {
            // RFC 9001 section 9.3#1.
            let pad = has_initial || self.pad_datagram;
            let lacking = datagram.len().saturating_sub(last.begin + last.len + last.tag_len);
            let pad_to = match lacking {
                _ if pad => MIN_INITIAL_DATAGRAM.min(datagram.len()),
                1..=FILL if last.ack_eliciting && self.has_data() => datagram.len(),
                _ => 0,
            };
            written = self.finish(now, &last, datagram, Sending { pad_to, ..sending });
        }
        let may_discard = self.spaces.initial.is_some() && self.role == Role::Client;
        if written > 0 && may_discard && self.handshake.handshake_sent {
            // RFC 9001 section 4.9.1#1#2.
            self.discard(SpaceId::Initial);
        }
        written
    }

    /// The levels at which there may be something to say.
    const fn levels(&self) -> &'static [EncryptionLevel] {
        let spaces = &self.spaces;
        match spaces.initial.is_none() && spaces.handshake.is_none() && spaces.data.one_rtt.is_some() {
            true => &[EncryptionLevel::OneRtt],
            false => &LEVELS,
        }
    }

    /// RFC 9002 section 6.2.4: a probe should carry data. A second one of the handshake, for which the first
    /// has left nothing, says the same again: the peer may hear but this one, and make nothing of a PING.
    fn say_again(&mut self, now: Time, space: SpaceId) {
        let silent = |numbers: &PacketNumberSpace| !numbers.crypto.wants_to_send();
        if space != SpaceId::Data && self.spaces.get(space).is_some_and(silent) {
            let mut outcome = self.workspace.take_outcome();
            self.recovery.repeat(space, &mut outcome);
            self.settle(now, &outcome);
            self.workspace.give_back(outcome);
        }
    }

    // RFC 9000 section 12.2#3.
    pub(super) fn header(&self, level: EncryptionLevel) -> Header {
        let (versions, handshake) = (&self.versions, &self.handshake);
        let dcid = self.peer_ids.current();
        match level {
            // RFC 9000 sections 8.1.2#1, 8.1.3#1.
            EncryptionLevel::Initial => Header::Initial {
                version: versions.current(),
                dcid,
                scid: handshake.local_scid,
                token: handshake.token.clone(),
            },
            // RFC 9369 section 4.1#9: whatever the server goes on with.
            EncryptionLevel::ZeroRtt => {
                Header::ZeroRtt { version: versions.original(), dcid, scid: handshake.local_scid }
            }
            // RFC 9369 section 4.1#7.
            EncryptionLevel::Handshake => {
                Header::Handshake { version: versions.current(), dcid, scid: handshake.local_scid }
            }
            EncryptionLevel::OneRtt => {
                let key_phase = self.spaces.data.one_rtt.as_ref().is_some_and(|keys| keys.phase());
                Header::OneRtt { dcid, spin: spin(&dcid), key_phase }
            }
        }
    }

    /// The keys to send with at a level, if they may be used.
    pub(super) fn sending_keys(&self, level: EncryptionLevel) -> Option<(&HeaderKey, &PacketKey)> {
        let data = &self.spaces.data;
        let keys = match level {
            EncryptionLevel::Initial => &self.spaces.initial.as_ref()?.keys.local,
            EncryptionLevel::Handshake => &self.spaces.handshake.as_ref()?.keys.local,
            EncryptionLevel::ZeroRtt if self.may_send_early() => data.early.as_ref()?,
            EncryptionLevel::ZeroRtt => return None,
            EncryptionLevel::OneRtt if self.handshake.withholds_one_rtt() => return None,
            EncryptionLevel::OneRtt => return data.one_rtt.as_ref().map(|keys| keys.local()),
        };
        Some((&keys.header, &keys.packet))
    }

    /// How long the tag of packets of a level is, if its keys may be used. Keys that rest go on resting.
    pub(super) fn tag_len(&self, level: EncryptionLevel) -> Option<usize> {
        match (level, &self.spaces.data.one_rtt) {
            (EncryptionLevel::OneRtt, Some(keys)) if !self.handshake.withholds_one_rtt() => Some(keys.tag_len()),
            (EncryptionLevel::OneRtt, _) => None,
            _ => Some(self.sending_keys(level)?.1.tag_len()),
        }
    }

    /// Whether 0-RTT packets may be sent: by clients, before they have 1-RTT keys, and before the server's new limits
    /// hold, which are not for early data.
    // RFC 9001 sections 5.6#4#6. RFC 9000 sections 7.4.1#9, 17.2.3#3.
    const fn may_send_early(&self) -> bool {
        matches!(self.role, Role::Client) && self.spaces.data.one_rtt.is_none() && !self.handshake.parameters_known
    }

    /// Drafts a packet of `level` at the front of `room`; `None` if it would be empty.
    fn draft(
        &mut self,
        now: Time,
        level: EncryptionLevel,
        permit: Permit,
        begin: usize,
        room: &mut [u8],
    ) -> Option<Draft> {
        let tag_len = self.tag_len(level)?;
        // RFC 9002 section 6.2.4#4: a probe takes new data along.
        if permit != Permit::Probe && !self.has_something_for(now, level, permit) {
            return None;
        }
        self.draft_with(level, &self.header(level), begin, room, tag_len, |connection, sink| {
            connection.write_frames(now, level, permit, sink);
        })
    }

    /// Drafts a packet whose frames `write` writes.
    pub(super) fn draft_with(
        &mut self,
        level: EncryptionLevel,
        header: &Header,
        begin: usize,
        room: &mut [u8],
        tag_len: usize,
        write: impl FnOnce(&mut Self, &mut FrameSink<'_, '_>),
    ) -> Option<Draft> {
        // A packet that cannot hold a few bytes of frames is not worth its header.
        const WORTHWHILE: usize = 16;
        let frames_room = room.len().checked_sub(header.max_len() + tag_len)?;
        if frames_room < WORTHWHILE {
            return None;
        }
        let numbers = self.spaces.get(level.space()).filter(|numbers| !numbers.is_used_up())?;
        let mut writer = Writer::new(room);
        writer.limit(header.max_len() + frames_room);
        let shortest = header.dcid().len() + 22;
        let start = header.begin(&mut writer, numbers.next_number, numbers.largest_acked);
        if self.fixed_bit.clears(&mut self.entropy) {
            start.clear_fixed_bit(&mut writer);
        }
        let mut drafted = std::mem::take(&mut self.workspace.drafted);
        let (first, before) = (drafted.len(), writer.position());
        let mut sink = FrameSink::new(&mut writer, &mut drafted);
        write(self, &mut sink);
        let ack_eliciting = sink.ack_eliciting();
        let frames = first..drafted.len();
        self.workspace.drafted = drafted;
        // RFC 9000 section 12.4#1.
        if writer.position() == before {
            return None;
        }
        // RFC 9000 section 10.3#3: no shorter than a stateless reset that the peer may have to send.
        start.pad(&mut writer, shortest, tag_len);
        let len = writer.position();
        Some(Draft { level, start, begin, len, payload: before, tag_len, frames, ack_eliciting })
    }

    /// Pads and seals a packet, and tells recovery. Returns the length of the datagram up to its
    /// end.
    pub(super) fn finish(&mut self, now: Time, draft: &Draft, datagram: &mut [u8], sending: Sending) -> usize {
        let &Draft { level, start, begin, len, payload, tag_len, ref frames, ack_eliciting } = draft;
        let Some(region) = datagram.get_mut(begin..) else { return begin };
        let mut writer = Writer::resume(region, len);
        start.pad(&mut writer, sending.pad_to.saturating_sub(begin), tag_len);
        let padded = writer.position() > len;
        let number = start.number();
        if let Some(trace) = &mut self.trace {
            trace.draft(writer.written().get(payload..).unwrap_or_default());
        }
        let sealed = match self.sending_keys(level) {
            Some((header, packet)) => start.finish(&mut writer, header, packet),
            None => None,
        };
        let Some(size) = sealed else {
            tracing::error!(?level, number, "packet could not be sealed");
            return begin;
        };
        if let Some(numbers) = self.spaces.get_mut(level.space()) {
            numbers.take_number();
        }
        if let (EncryptionLevel::OneRtt, Some(keys)) = (level, &mut self.spaces.data.one_rtt) {
            keys.on_sealed(number, size);
        }
        self.handshake.handshake_sent |= level == EncryptionLevel::Handshake;
        self.handshake.early_sent |= level == EncryptionLevel::ZeroRtt;
        let marked = sending.ecn != Ecn::NotEct && level == EncryptionLevel::OneRtt;
        if marked {
            self.paths.active.ecn.on_sent();
        }
        let in_flight = ack_eliciting || padded;
        let packet = SentPacket {
            number,
            time: now,
            size: size as u16,
            level,
            path: sending.path,
            ack_eliciting,
            in_flight,
            ecn_marked: marked,
            mtu_probe: sending.mtu_probe,
            delivery: Stretch::default(),
            frames: Stretch::default(),
        };
        self.recovery.on_packet_sent(packet, self.workspace.drafted.get(frames.clone()).unwrap_or_default());
        self.stats.packets_sent += 1;
        self.trace_sent(now, Packet { level, number, len: size }, sending.mtu_probe);
        self.idle.wake(now);
        if ack_eliciting {
            let recovery = &self.recovery;
            self.idle.on_ack_eliciting_sent(now, || recovery.pto(SpaceId::Data));
        }
        begin + size
    }

    /// Whether a packet of `level` would not be empty.
    fn has_something_for(&self, now: Time, level: EncryptionLevel, permit: Permit) -> bool {
        let Some(numbers) = self.spaces.get(level.space()) else { return false };
        if permit == Permit::Data {
            return self.streams.wants_to_send() || self.datagrams.wants_to_send();
        }
        if level == EncryptionLevel::Initial && self.awaits_version() {
            return false;
        }
        let ack_due = level != EncryptionLevel::ZeroRtt && numbers.acks.urgency(now) == Urgency::Now;
        let path_frames = level == EncryptionLevel::OneRtt && self.has_path_frames(now);
        if permit == Permit::Exempt {
            return ack_due || path_frames;
        }
        let data = matches!(level, EncryptionLevel::ZeroRtt | EncryptionLevel::OneRtt);
        let crypto = level != EncryptionLevel::ZeroRtt && numbers.crypto.wants_to_send();
        ack_due || crypto || (data && self.has_data_for(now, level))
    }

    fn has_data_for(&self, now: Time, level: EncryptionLevel) -> bool {
        self.ping_due
            || self.streams.wants_to_send()
            || self.datagrams.wants_to_send()
            || level == EncryptionLevel::OneRtt && self.has_news(now)
    }

    /// Whether there is something to say that only 1-RTT packets carry, and that is no data.
    fn has_news(&self, now: Time) -> bool {
        self.local_ids.wants_to_send()
            || self.peer_ids.wants_to_send()
            || self.spaces.data.ask.wants_to_send()
            || self.handshake.done_due
            || self.handshake.new_token_due
            || self.paths.owes_report()
            || self.has_path_frames(now)
    }

    /// Whether all that is left to say is what streams and DATAGRAM frames have, until something is received.
    pub(super) fn has_only_data(&self, now: Time) -> bool {
        let numbers = &self.spaces.data.numbers;
        matches!(self.levels(), [EncryptionLevel::OneRtt])
            && numbers.acks.urgency(now) == Urgency::None
            && !numbers.crypto.wants_to_send()
            && !self.ping_due
            && !self.has_news(now)
    }

    fn has_path_frames(&self, now: Time) -> bool {
        self.paths.active.validation.is_due(now) || self.paths.peek_response().is_some() || self.paths.owes_credit()
    }

    /// The writers, most important first.
    fn write_frames(&mut self, now: Time, level: EncryptionLevel, permit: Permit, sink: &mut FrameSink<'_, '_>) {
        if permit == Permit::Data {
            return self.write_data(level, sink);
        }
        self.write_ack(now, level, permit, sink);
        if permit == Permit::Exempt {
            if level == EncryptionLevel::OneRtt {
                self.write_path_frames(now, sink);
            }
            return;
        }
        if level != EncryptionLevel::ZeroRtt
            && let Some(numbers) = self.spaces.get_mut(level.space())
            && numbers.crypto.wants_to_send()
        {
            numbers.crypto.write(sink);
        }
        if level == EncryptionLevel::OneRtt && self.has_news(now) {
            self.write_handshake_end(sink);
            self.write_path_frames(now, sink);
            self.paths.write_report(sink);
            self.peer_ids.write(sink);
            self.local_ids.replenish(self.issuer.as_mut(), &mut self.entropy);
            self.local_ids.write(sink);
            self.spaces.data.ask.write(sink);
        }
        if level == EncryptionLevel::OneRtt && permit == Permit::Probe {
            // draft-ietf-quic-ack-frequency section 7: so that the answer is not held back.
            self.spaces.data.ask.write_immediate(sink);
        }
        if matches!(level, EncryptionLevel::OneRtt | EncryptionLevel::ZeroRtt) {
            self.write_data(level, sink);
            if self.ping_due {
                self.ping_due = !sink.ack_eliciting() && !sink.push(&Frame::Ping, None);
            }
        }
        // RFC 9002 section 6.2.4#1#2#5.
        if permit == Permit::Probe && !sink.ack_eliciting() {
            sink.push(&Frame::Ping, None);
        }
    }

    fn write_data(&mut self, level: EncryptionLevel, sink: &mut FrameSink<'_, '_>) {
        self.streams.write_control(sink);
        // RFC 9221 sections 5#1, 5.4#1.
        if self.datagrams.wants_to_send() {
            self.datagrams.write(sink);
        }
        self.streams.write_data(level == EncryptionLevel::ZeroRtt, sink);
    }

    /// A probe says once more what was received: if our packets were lost, an acknowledgement may have been, and
    /// the peer may be waiting longer for its next probe than for our next.
    // RFC 9000 sections 13.2#1, 13.2.1#5, 13.2.6#1#2#3.
    fn write_ack(&mut self, now: Time, level: EncryptionLevel, permit: Permit, sink: &mut FrameSink<'_, '_>) {
        // Our ack_delay_exponent is the default of 3.
        // RFC 9000 section 17.2.3#4.
        const EXPONENT: u32 = 3;
        // A timestamp must not take an acknowledgement's place.
        const WITH_TIMESTAMP: usize = 100;
        if level == EncryptionLevel::ZeroRtt {
            return;
        }
        if let Some(numbers) = self.spaces.get_mut(level.space())
            && (numbers.acks.urgency(now) != Urgency::None
                || permit == Permit::Probe && numbers.received.largest().is_some())
        {
            let (acks, received) = (&mut numbers.acks, &numbers.received);
            if level == EncryptionLevel::OneRtt && self.one_way.sends() && sink.remaining() >= WITH_TIMESTAMP {
                let time = now.since(self.handshake.started).as_micros() as u64;
                sink.push(&Frame::Timestamp(time), None);
            }
            sink.push_ack(|writer| acks.write(now, received, EXPONENT, writer));
        }
    }

    fn write_handshake_end(&mut self, sink: &mut FrameSink<'_, '_>) {
        let handshake = &mut self.handshake;
        if handshake.done_due && sink.push(&Frame::HandshakeDone, SentFrame::HandshakeDone) {
            handshake.done_due = false;
        }
        if handshake.new_token_due && sink.push(&Frame::NewToken { token: &handshake.new_token }, SentFrame::NewToken) {
            handshake.new_token_due = false;
        }
    }

    // RFC 9000 sections 8.2.2#2, 9.3.3#2.
    fn write_path_frames(&mut self, now: Time, sink: &mut FrameSink<'_, '_>) {
        const LEN: usize = 9;
        while sink.remaining() >= LEN
            && let Some(data) = self.paths.peek_response()
        {
            sink.push(&Frame::PathResponse(data), SentFrame::PathResponse { path: self.paths.active.id });
            self.paths.response_written(data);
            self.pad_datagram = true;
        }
        if sink.remaining() >= LEN
            && self.paths.active.validation.is_due(now)
            // RFC 9000 section 8.2.1#1.
            && let Some(data) =
                self.paths.active.validation.take_challenge(now, self.recovery.pto(SpaceId::Data), self.challenge_size, &mut self.entropy)
        {
            sink.push(&Frame::PathChallenge(data), SentFrame::PathChallenge(data));
            self.pad_datagram = true;
        }
        if self.paths.owes_credit() && (sink.ack_eliciting() || sink.push(&Frame::Ping, None)) {
            self.paths.credit_given(now, self.recovery.pto(SpaceId::Data));
            self.pad_datagram = true;
        }
    }

    /// How many bytes of frames a 1-RTT packet of the current datagram size carries at least.
    pub(super) fn packet_payload(&self) -> usize {
        const TAG: usize = 16;
        let header = 1 + self.peer_ids.current().len() + 4;
        usize::from(self.paths.active.mtu.current()).saturating_sub(header + TAG)
    }

    /// The handshake state, for who may only look.
    pub(super) const fn is_complete(&self) -> bool {
        !matches!(self.handshake.state, HandshakeState::Incomplete)
    }
}

const fn permit(allowance: Allowance, level: EncryptionLevel, most: Permit) -> Permit {
    match allowance {
        Allowance::Probe { space } if space as u8 == level.space() as u8 => Permit::Probe,
        // RFC 9002 section 7.7#4.
        Allowance::Blocked { .. } => Permit::Exempt,
        // RFC 9002 section 6.2.4: a probe takes what other spaces have to say along, for the peer may
        // be able to read only that.
        // RFC 9002 section 6.2.4#3.
        Allowance::Probe { .. } | Allowance::Send { .. } => most,
    }
}
