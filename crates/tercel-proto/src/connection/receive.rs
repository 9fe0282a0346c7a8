//! A datagram comes in: it is cut into packets, each packet goes `Protected -> Sealed -> Opened`,
//! and its frames go to `frames`. What is merely of no use is dropped or parked and changes
//! nothing.

use bytes::BytesMut;
use tercel_wire::packet::stateless_reset::token_of;
use tercel_wire::packet::{FirstPacket, Header, Opened, Protected};
use tercel_wire::{ConnectionId, EncryptionLevel, ResetToken, Role, SpaceId, TransportErrorCode};

use super::Connection;
use super::handshake::Tls;
use super::phase::Phase;
use super::transmit::MIN_INITIAL_DATAGRAM;
use crate::close::HandshakeState;
use crate::error::{CloseReason, Violation};
use crate::path::{Ecn, PathAddress};
use crate::space::AckedPacket;
use crate::time::Time;

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was authentic and its frames were processed.
    Opened,
    /// It waits for keys.
    Parked,
    /// It was of no use.
    Dropped(Dropped),
}

/// Why a packet was of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dropped {
    /// Its header could not be read, or is of another version.
    Unreadable,
    /// It is for another connection ID than the datagram's first packet or than ours, or from
    /// another address than it may be.
    Misaddressed,
    /// Its keys are gone or will never come, or there is no room to wait for them.
    NoKeys,
    /// It is not authentic.
    Forged,
    /// Its number was seen before.
    Duplicate,
    /// It makes no sense in this state.
    Unexpected,
}

/// How a packet reached us; the same for all packets of a datagram.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    pub(super) now: Time,
    /// When it came: earlier than now if it had to wait for keys.
    pub(super) came: Time,
    pub(super) path: PathAddress,
    pub(super) ecn: Ecn,
    /// The size of the whole datagram.
    pub(super) datagram_len: usize,
}

/// A packet that waits for keys.
pub(super) type Waiting = (Arrival, Protected);

impl Connection {
    pub(super) fn receive_datagram(&mut self, arrival: &Arrival, data: &mut BytesMut) {
        let Arrival { now, path, .. } = arrival;
        self.stats.datagrams_received += 1;
        self.stats.bytes_received += data.len() as u64;
        if !self.may_come_from(path) {
            self.stats.packets_dropped += 1;
            return;
        }
        self.paths.on_datagram(path, data.len());
        self.idle.wake(*now);
        if let Phase::Closing(said) = &mut self.phase {
            said.closing.on_datagram();
        }
        let token = token_of(data);
        if !self.receive_packets(arrival, data) {
            self.check_stateless_reset(*now, token);
        }
        self.replay_parked(*now);
    }

    /// A client talks only to addresses that it chose; a server lets its client move only once the
    /// handshake is confirmed (RFC 9000 section 9).
    // RFC 9000 sections 9#5, 9.6#1.
    fn may_come_from(&mut self, path: &PathAddress) -> bool {
        match self.role {
            Role::Client => self.paths.is_known_remote(path.remote),
            Role::Server if self.paths.active.address.is_same(path) => true,
            // RFC 9000 section 21.5.6#1#2.
            Role::Server => self.handshake.state == HandshakeState::Confirmed && !self.paths.leads_inside(path.remote),
        }
    }

    /// Every packet of a datagram in turn; true if any was opened or parked. All must carry the
    /// destination connection ID of the first (RFC 9000 section 12.2).
    // RFC 9000 section 12.2#4#5#6.
    fn receive_packets(&mut self, arrival: &Arrival, rest: &mut BytesMut) -> bool {
        let mut first_dcid: Option<ConnectionId> = None;
        let mut useful = false;
        while !rest.is_empty() && !matches!(self.phase, Phase::Closed) {
            if let Some(packet) = &mut Protected::short(rest, self.issuer.len(), self.local_ids.last_used()) {
                let outcome = match first_dcid.as_ref().is_none_or(|first| first == packet.header().dcid()) {
                    true => self.receive_packet(arrival, packet),
                    false => Outcome::Dropped(Dropped::Misaddressed),
                };
                useful |= self.note_outcome(arrival.now, outcome);
                break;
            }
            let outcome = match Protected::split_first(rest, self.issuer.len()) {
                Ok(FirstPacket::Protected(mut packet)) => {
                    let dcid = *packet.header().dcid();
                    match *first_dcid.get_or_insert(dcid) == dcid {
                        true => self.receive_packet(arrival, &mut packet),
                        false => Outcome::Dropped(Dropped::Misaddressed),
                    }
                }
                Ok(FirstPacket::Retry(retry)) => {
                    rest.clear();
                    self.on_retry(arrival.now, &retry)
                }
                Ok(FirstPacket::VersionNegotiation(packet)) => {
                    rest.clear();
                    self.on_version_negotiation(arrival.now, &packet)
                }
                // RFC 9000 section 5.2.1#1.
                Ok(FirstPacket::Unsupported(_)) | Err(_) => {
                    rest.clear();
                    Outcome::Dropped(Dropped::Unreadable)
                }
            };
            useful |= self.note_outcome(arrival.now, outcome);
        }
        useful
    }

    /// Whether a packet was of use; one that was not is counted.
    fn note_outcome(&mut self, now: Time, outcome: Outcome) -> bool {
        let Outcome::Dropped(why) = outcome else { return true };
        tracing::trace!(?why, "packet dropped");
        self.stats.packets_dropped += 1;
        self.trace_dropped(now, why);
        false
    }

    // RFC 9000 section 10.3.1#1.
    fn check_stateless_reset(&mut self, now: Time, token: Option<ResetToken>) {
        if token.is_some_and(|token| self.peer_ids.is_reset_token(token)) {
            self.on_stateless_reset(now);
        }
    }

    // RFC 9000 section 10.3.1#4.
    pub(super) fn on_stateless_reset(&mut self, now: Time) {
        if matches!(self.phase, Phase::Alive | Phase::Closing(_)) {
            self.enter_draining(now, CloseReason::StatelessReset);
        }
    }

    fn is_ours(&self, dcid: &ConnectionId, level: EncryptionLevel) -> bool {
        // A client that has not heard of us yet sends to the connection ID that it made up.
        let made_up = self.role == Role::Server
            && matches!(level, EncryptionLevel::Initial | EncryptionLevel::ZeroRtt)
            && *dcid == self.handshake.initial_dcid;
        made_up || self.local_ids.contains(dcid)
    }

    pub(super) fn receive_packet(&mut self, arrival: &Arrival, packet: &mut Protected) -> Outcome {
        let level = packet.level();
        // Only who says so does not look at the fixed bit.
        // RFC 9000 section 17.2#1.
        // RFC 9287 section 3#2.
        if !(packet.has_fixed_bit() || self.config.grease) {
            return Outcome::Dropped(Dropped::Unreadable);
        }
        if packet.header().version().is_some_and(|version| !self.versions.may_come(level, version)) {
            return Outcome::Dropped(Dropped::Unexpected);
        }
        if !self.is_ours(packet.header().dcid(), level) {
            return Outcome::Dropped(Dropped::Misaddressed);
        }
        // RFC 9000 sections 8.2.1#6, 14#4.
        let too_small = arrival.datagram_len < MIN_INITIAL_DATAGRAM;
        match level {
            // RFC 9000 section 14.1.
            EncryptionLevel::Initial if self.role == Role::Server && too_small => {
                return Outcome::Dropped(Dropped::Unexpected);
            }
            // RFC 9001 section 5.6#5.
            EncryptionLevel::ZeroRtt if self.role == Role::Client => return Outcome::Dropped(Dropped::Unexpected),
            // RFC 9000 section 17.2.2#1: only clients have tokens.
            EncryptionLevel::Initial if self.role == Role::Client && packet.has_token() => {
                return Outcome::Dropped(Dropped::Unexpected);
            }
            _ => {}
        }
        if !self.can_open(level) {
            return self.park(arrival, packet.take());
        }
        match self.open(arrival.now, packet) {
            Ok(Ok(opened)) => self.on_opened(arrival, level, opened),
            Ok(Err(why)) => Outcome::Dropped(why),
            Err(violation) => {
                self.close_for(arrival.now, violation);
                Outcome::Opened
            }
        }
    }

    /// Whether there are keys with which packets of a level may be opened now. 1-RTT packets may be
    /// opened only once the handshake is complete (RFC 9001 section 5.7).
    // RFC 9001 section 5.7#1#2#3.
    fn can_open(&self, level: EncryptionLevel) -> bool {
        match level {
            EncryptionLevel::Initial => self.spaces.initial.is_some(),
            EncryptionLevel::Handshake => self.spaces.handshake.is_some(),
            EncryptionLevel::ZeroRtt => self.spaces.data.early.is_some(),
            EncryptionLevel::OneRtt => {
                self.spaces.data.one_rtt.is_some() && self.handshake.state != HandshakeState::Incomplete
            }
        }
    }

    /// Keeps a packet whose keys may still come.
    // RFC 9001 section 4.1.4#1#2.
    fn park(&mut self, arrival: &Arrival, packet: Protected) -> Outcome {
        let may_come = self.phase.is_alive()
            && self.handshake.state == HandshakeState::Incomplete
            && packet.level() != EncryptionLevel::Initial;
        let (level, len) = (packet.level(), packet.len());
        match may_come && self.parked.park(level, len, (*arrival, packet)) {
            true => {
                if self.role == Role::Client && self.spaces.handshake.is_none() {
                    // The server's Initial packets were lost.
                    self.speed_up_handshake();
                }
                self.trace_parked(arrival.now, level, len);
                Outcome::Parked
            }
            false => Outcome::Dropped(Dropped::NoKeys),
        }
    }

    /// Processes the packets whose keys have come.
    pub(super) fn replay_parked(&mut self, now: Time) {
        while !self.parked.is_empty() {
            let ready = [EncryptionLevel::Handshake, EncryptionLevel::ZeroRtt, EncryptionLevel::OneRtt]
                .map(|level| (level, self.can_open(level)));
            let waiting = self.parked.take(|level| ready.contains(&(level, true)));
            let Some((arrival, mut packet)) = waiting else { return };
            if let Outcome::Dropped(why) = self.receive_packet(&Arrival { now, ..arrival }, &mut packet) {
                self.stats.packets_dropped += 1;
                self.trace_dropped(now, why);
            }
        }
    }

    /// Header protection off, payload decrypted, duplicates out.
    fn open<'a>(&mut self, now: Time, packet: &'a mut Protected) -> Result<Result<Opened<'a>, Dropped>, Violation> {
        let level = packet.level();
        let Some(numbers) = self.spaces.get(level.space()) else { return Ok(Err(Dropped::NoKeys)) };
        let largest = numbers.received.largest();
        let data = &self.spaces.data;
        let other = packet.header().version().filter(|version| *version != self.versions.current());
        let keys = match (level, other) {
            (EncryptionLevel::Initial, Some(version)) => {
                self.versions.other_keys(version, &self.handshake.initial_dcid).map(|keys| &keys.remote)
            }
            (EncryptionLevel::Initial, None) => self.spaces.initial.as_ref().map(|space| &space.keys.remote),
            (EncryptionLevel::Handshake, _) => self.spaces.handshake.as_ref().map(|space| &space.keys.remote),
            (EncryptionLevel::ZeroRtt, _) => data.early.as_ref(),
            (EncryptionLevel::OneRtt, _) => None,
        };
        let header = keys.map(|keys| &keys.header).or(data.one_rtt.as_ref().map(|keys| keys.remote_header()));
        let Some(header) = header else { return Ok(Err(Dropped::NoKeys)) };
        let Ok(sealed) = packet.unprotect(header, largest) else { return Ok(Err(Dropped::Unreadable)) };
        // RFC 9000 section 12.3#5, RFC 9001 section 9.5#1: how long a packet takes must not tell whether its number
        // is known.
        let duplicate = numbers.received.is_duplicate(sealed.number());
        let opened = match keys {
            Some(keys) => sealed.open(&keys.packet),
            None => {
                let Some(keys) = &mut self.spaces.data.one_rtt else { return Ok(Err(Dropped::NoKeys)) };
                let recovery = &self.recovery;
                let opened = keys.open(now, || recovery.pto(SpaceId::Data), sealed)?;
                keys.check_limits()?;
                opened
            }
        };
        match opened {
            Some(_) if duplicate => Ok(Err(Dropped::Duplicate)),
            // RFC 9000 sections 17.2#9, 17.3.1#3: checked only once the packet is authentic.
            Some(opened) if opened.reserved_bits => {
                Err(Violation::new(TransportErrorCode::PROTOCOL_VIOLATION, "reserved bits are set"))
            }
            Some(opened) => Ok(Ok(opened)),
            None => Ok(Err(Dropped::Forged)),
        }
    }

    // RFC 9000 section 5.2#1.
    #[inline]
    fn on_opened(&mut self, arrival: &Arrival, level: EncryptionLevel, opened: Opened<'_>) -> Outcome {
        let late = level == EncryptionLevel::OneRtt && self.paths.is_too_new_for(arrival.path.local, opened.number);
        if late || !self.check_source(opened.header) {
            return Outcome::Dropped(Dropped::Misaddressed);
        }
        let now = arrival.now;
        if self.role == Role::Client && level == EncryptionLevel::Initial {
            self.handshake.again = None;
            self.follow_version(opened.header);
        }
        self.stats.packets_received += 1;
        self.stats.phases.first_packet.get_or_insert(now);
        self.trace_received(now, level, &opened);
        if !self.phase.is_alive() {
            self.look_for_close(now, level, &opened.payload);
            return Outcome::Opened;
        }
        let recovery = &self.recovery;
        self.idle.on_received(now, || recovery.pto(SpaceId::Data));
        if self.role == Role::Server && level == EncryptionLevel::Handshake {
            self.on_client_validated(now);
        }
        if self.role == Role::Server && level == EncryptionLevel::OneRtt && self.spaces.data.early.is_some() {
            self.spaces.data.forget_early_at(now + 3 * self.recovery.pto(SpaceId::Data));
        }
        let dcid = opened.header.dcid();
        self.local_ids.on_used(dcid);
        let digest = match self.on_frames(arrival, level, dcid, opened.payload) {
            Ok(digest) => digest,
            Err(violation) => {
                self.close_for(now, violation);
                return Outcome::Opened;
            }
        };
        let Some(numbers) = self.spaces.get_mut(level.space()) else { return Outcome::Opened };
        let largest_before = numbers.received.largest();
        // RFC 9000 section 13.1#1.
        numbers.received.insert(opened.number);
        let packet = AckedPacket {
            number: opened.number,
            ack_eliciting: digest.ack_eliciting,
            ecn: arrival.ecn,
            largest_before,
        };
        // RFC 9000 section 13.2.5#2: the peer is told of the time that the packet waited.
        numbers.acks.on_packet(arrival.came, packet, &numbers.received);
        let newest = largest_before.is_none_or(|largest| opened.number > largest);
        if level == EncryptionLevel::OneRtt && newest && digest.non_probing {
            self.follow_peer(arrival, *dcid, digest);
        }
        Outcome::Opened
    }

    /// The peer's connection ID is fixed by its first packet; packets with another are not its (RFC
    /// 9000 section 7.2).
    // RFC 9000 section 7.2#3#6.
    fn check_source(&mut self, header: &Header) -> bool {
        let (Header::Initial { scid, .. } | Header::Handshake { scid, .. } | Header::ZeroRtt { scid, .. }) = header
        else {
            return true;
        };
        match self.handshake.peer_scid {
            Some(known) => known == *scid,
            None => {
                self.handshake.peer_scid = Some(*scid);
                self.peer_ids.set_initial(*scid);
                true
            }
        }
    }

    /// Client: the server goes on in another version (RFC 9368 section 2.3), and so do we.
    fn follow_version(&mut self, header: &Header) {
        if let Some(version) = header.version()
            && version != self.versions.current()
            && let Some(space) = &mut self.spaces.initial
            && let Some(keys) = self.versions.follow(version)
            && let Tls::Running(tls) = &mut self.handshake.tls
        {
            // RFC 9369 section 4.1#5.
            space.keys = keys;
            tls.go_on_in(version);
        }
    }
}
