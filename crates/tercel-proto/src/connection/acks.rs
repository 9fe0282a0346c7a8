//! An ACK frame, or a timeout, settles packets: each frame that they carried goes back to its owner.

use std::time::Duration;

use tercel_wire::frame::AckFrame;
use tercel_wire::{EncryptionLevel, SpaceId};

use super::Connection;
use super::receive::Arrival;
use crate::error::Violation;
use crate::frames::SentFrame;
use crate::recovery::one_way::Sample;
use crate::recovery::{AckOutcome, Rtt, SentPacket};
use crate::time::Time;

impl Connection {
    /// # Errors
    /// PROTOCOL_VIOLATION: a packet was acknowledged that was never sent.
    pub(super) fn on_ack(
        &mut self,
        arrival: &Arrival,
        level: EncryptionLevel,
        ack: &AckFrame<'_>,
    ) -> Result<(), Violation> {
        let Arrival { now, came, .. } = *arrival;
        let space = level.space();
        // RFC 9000 section 13.2.5: Initial and Handshake packets are acknowledged without delay.
        let delay = match space {
            SpaceId::Data => {
                let exponent = self.peer_parameters.ack_delay_exponent;
                Duration::from_micros(ack.delay.saturating_mul(1 << exponent.min(20)))
            }
            _ => Duration::ZERO,
        };
        let mut outcome = self.workspace.take_outcome();
        let rtt_before = *self.recovery.rtt();
        let result = self.recovery.on_ack((now, came), space, ack, delay, &mut outcome);
        if result.is_ok() && !outcome.acked.is_empty() {
            if let Some(numbers) = self.spaces.get_mut(space) {
                numbers.largest_acked = numbers.largest_acked.max(Some(ack.largest));
            }
            if space == SpaceId::Handshake {
                self.handshake.peer_validated = true;
            }
            if let (SpaceId::Data, Some(keys)) = (space, &mut self.spaces.data.one_rtt) {
                keys.on_acked(ack.largest);
            }
            self.check_ecn(now, space, ack, &outcome);
            self.measure_one_way(space, delay, &rtt_before, &outcome);
        }
        self.settle(now, &outcome);
        self.workspace.give_back(outcome);
        if space == SpaceId::Data {
            self.ask_for_acks();
        }
        result
    }

    /// Says how often we want to hear of what we send, if that is worth a word.
    fn ask_for_acks(&mut self) {
        let packets = self.recovery.window() / u64::from(self.paths.active.mtu.current());
        // Before the first loss it is small because it has not grown yet, as with large datagrams.
        let starved = self.recovery.stats().congestion_events > 0 && self.has_data();
        let ask = &mut self.spaces.data.ask;
        ask.consider(packets, self.recovery.rtt().smoothed, starved);
        self.recovery.set_peer_max_ack_delay(ask.max_ack_delay());
    }

    /// Compares the peer's clock with ours, if it has told the time.
    fn measure_one_way(&mut self, space: SpaceId, held: Duration, before: &Rtt, outcome: &AckOutcome) {
        if let (SpaceId::Data, true, Some(sent)) = (space, outcome.rtt_updated, outcome.largest_acked_sent) {
            let rtt = self.recovery.rtt();
            let shortest = !before.is_sampled() || rtt.min < before.min;
            let sent = sent.since(self.handshake.started);
            self.one_way.on_ack(Sample { sent, held, rtt: rtt.adjusted, shortest });
        }
    }

    /// RFC 9000 section 13.4.2: only frames that raise the largest acknowledged number count. We
    /// mark 1-RTT packets only, so that one set of counts tells all.
    // RFC 9000 sections 13.4.2.1#1, 19.3#1.
    fn check_ecn(&mut self, now: Time, space: SpaceId, ack: &AckFrame<'_>, outcome: &AckOutcome) {
        let (SpaceId::Data, Some(sent)) = (space, outcome.largest_acked_sent) else { return };
        let marked = outcome.acked.iter().filter(|packet| packet.ecn_marked).count() as u64;
        let ce = self.paths.active.ecn.on_ack(ack.ecn, marked);
        if marked > 0 || ce > 0 {
            self.recovery.on_marks(now, sent, marked, ce);
        }
    }

    /// Gives every frame of acknowledged and lost packets, and of those that a probe is to repeat, back
    /// to its owner.
    pub(super) fn settle(&mut self, now: Time, outcome: &AckOutcome) {
        for packet in &outcome.acked {
            self.settle_mtu(now, packet, true);
            for frame in outcome.frames(packet) {
                self.frame_acked(packet.level.space(), *frame);
            }
        }
        for packet in &outcome.lost {
            self.trace_lost(now, packet);
            self.settle_mtu(now, packet, false);
            if packet.ecn_marked {
                self.paths.active.ecn.on_lost();
            }
            for frame in outcome.frames(packet) {
                self.frame_lost(packet.level.space(), *frame);
            }
        }
        for (space, frame) in &outcome.repeat {
            self.frame_lost(*space, *frame);
        }
        for frame in &outcome.late {
            if let SentFrame::Datagram { number } = frame {
                self.datagrams.acked_late(*number);
            }
        }
        for frame in &outcome.discarded {
            if let SentFrame::Datagram { number } = frame {
                self.datagrams.discarded(*number);
            }
        }
    }

    fn settle_mtu(&mut self, now: Time, packet: &SentPacket, acked: bool) {
        let path = &mut self.paths.active;
        if packet.path != path.id || says_nothing(packet) {
            return;
        }
        let changed = match acked {
            true => path.mtu.on_acked(now, packet.time, packet.size, packet.mtu_probe),
            false => path.mtu.on_lost(now, packet.time, packet.size, packet.mtu_probe),
        };
        if changed {
            self.on_mtu_changed();
        }
    }

    /// The datagram size of the active path is another.
    pub(super) fn on_mtu_changed(&mut self) {
        self.recovery.mtu_changed(self.paths.active.mtu.current());
        self.datagrams.set_limits(None, self.packet_payload());
    }

    fn frame_acked(&mut self, space: SpaceId, frame: SentFrame) {
        match frame {
            SentFrame::Ack { largest } => {
                if let Some(numbers) = self.spaces.get_mut(space) {
                    numbers.received.forget_up_to(largest);
                }
            }
            SentFrame::Crypto { offset, len } => {
                if let Some(numbers) = self.spaces.get_mut(space) {
                    numbers.crypto.acked(offset, len);
                }
            }
            SentFrame::Stream { .. } | SentFrame::ResetStream { .. } | SentFrame::ResetStreamAt { .. } => {
                self.streams.acked(frame);
            }
            SentFrame::RetireConnectionId { sequence } => self.peer_ids.acked(sequence),
            SentFrame::NewConnectionId { sequence } => self.local_ids.acked(sequence),
            SentFrame::Datagram { number } => self.datagrams.acked(number),
            SentFrame::AckFrequency { sequence } => self.spaces.data.ask.acked(sequence),
            SentFrame::ObservedAddress { sequence } => self.paths.report_settled(sequence, true),
            SentFrame::PathResponse { path } => self.paths.proved(path),
            SentFrame::HandshakeDone
            | SentFrame::NewToken
            | SentFrame::StopSending { .. }
            | SentFrame::MaxData(_)
            | SentFrame::MaxStreamData { .. }
            | SentFrame::MaxStreams { .. }
            | SentFrame::DataBlocked(_)
            | SentFrame::StreamDataBlocked { .. }
            | SentFrame::StreamsBlocked { .. }
            | SentFrame::PathChallenge(_) => {}
        }
    }

    pub(super) fn frame_lost(&mut self, space: SpaceId, frame: SentFrame) {
        match frame {
            // A newer ACK frame says more; a lost challenge is repeated by its own timer, and with it the answer.
            SentFrame::Ack { .. } | SentFrame::PathChallenge(_) | SentFrame::PathResponse { .. } => {}
            SentFrame::Crypto { offset, len } => {
                if let Some(numbers) = self.spaces.get_mut(space) {
                    numbers.crypto.lost(offset, len);
                }
            }
            SentFrame::Stream { .. }
            | SentFrame::ResetStream { .. }
            | SentFrame::ResetStreamAt { .. }
            | SentFrame::StopSending { .. }
            | SentFrame::MaxData(_)
            | SentFrame::MaxStreamData { .. }
            | SentFrame::MaxStreams { .. }
            | SentFrame::DataBlocked(_)
            | SentFrame::StreamDataBlocked { .. }
            | SentFrame::StreamsBlocked { .. } => self.streams.lost(frame),
            SentFrame::NewConnectionId { sequence } => self.local_ids.lost(sequence),
            SentFrame::RetireConnectionId { sequence } => self.peer_ids.lost(sequence),
            SentFrame::NewToken => self.handshake.new_token_due = !self.handshake.new_token.is_empty(),
            // RFC 9000 section 13.3#3.
            SentFrame::HandshakeDone => self.handshake.done_due = true,
            SentFrame::Datagram { number } => self.datagrams.lost(number),
            SentFrame::AckFrequency { sequence } => self.spaces.data.ask.lost(sequence),
            SentFrame::ObservedAddress { sequence } => self.paths.report_settled(sequence, false),
        }
    }
}

/// Packets without anything in flight say nothing about the datagram size.
const fn says_nothing(packet: &SentPacket) -> bool {
    !packet.in_flight
}
