//! The frames of an opened packet: one match, each frame to its owner.

use bytes::{Buf as _, Bytes};
use tercel_wire::frame::{ObservedAddress, ResetStreamAt, StreamFrame};
use tercel_wire::{ConnectionId, EncryptionLevel, Frame, Reader, Role, TransportErrorCode};

use super::receive::Arrival;
use super::{Connection, Event};
use crate::error::Violation;
use crate::time::Time;
use crate::token::KeptToken;

/// What the frames of one packet meant for the packet itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Digest {
    /// Whether the packet is to be acknowledged (RFC 9002 section 2).
    pub(super) ack_eliciting: bool,
    /// Whether it holds a frame other than the probing ones (RFC 9000 section 9.1).
    pub(super) non_probing: bool,
}

impl Connection {
    /// Processes the frames of one packet.
    ///
    /// # Errors
    /// The first rule that the peer broke.
    pub(super) fn on_frames(
        &mut self,
        arrival: &Arrival,
        level: EncryptionLevel,
        dcid: &ConnectionId,
        mut payload: Bytes,
    ) -> Result<Digest, Violation> {
        if payload.is_empty() {
            // RFC 9000 section 12.4#2.
            return Err(Violation::new(TransportErrorCode::PROTOCOL_VIOLATION, "packet without frames"));
        }
        let mut digest = Digest::default();
        self.one_way.begin_packet();
        let mut reader = Reader::new(&payload);
        let last = loop {
            let at = reader.clone();
            let ty = || at.clone().varint().unwrap_or_default();
            let decoded = Frame::decode(&mut reader);
            // Most packets hold one STREAM frame and nothing else, which then is not moved.
            if let Ok(frame @ Frame::Stream(StreamFrame { id, offset, fin, data })) = &decoded
                && reader.is_empty()
                && frame.is_allowed_in(level)
            {
                digest = Digest { ack_eliciting: true, non_probing: true };
                break Some((ty(), StreamFrame { id: *id, offset: *offset, fin: *fin, data: &[] }, data.len()));
            }
            let frame = decoded.map_err(|error| Violation::from(error).in_frame(ty()))?;
            // RFC 9000 sections 12.4#3, 12.5#2, 17.2.4#1.
            if !frame.is_allowed_in(level) {
                return Err(Violation::new(
                    TransportErrorCode::PROTOCOL_VIOLATION,
                    "frame not permitted in this packet type",
                )
                .in_frame(ty()));
            }
            digest.ack_eliciting |= frame.is_ack_eliciting();
            digest.non_probing |= !frame.is_probing();
            self.on_frame(arrival, level, dcid, &payload, frame).map_err(|violation| within(violation, ty()))?;
            if reader.is_empty() {
                break None;
            }
        };
        if let Some((ty, frame, len)) = last {
            // To hand on what is there is cheaper than another reference to it.
            payload.advance(payload.len() - len);
            self.on_stream(level, &frame, payload).map_err(|violation| within(violation, ty))?;
        }
        Ok(digest)
    }

    /// A STREAM frame with this data.
    fn on_stream(&mut self, level: EncryptionLevel, frame: &StreamFrame<'_>, data: Bytes) -> Result<(), Violation> {
        let end = frame.offset + data.len() as u64;
        self.streams.on_stream(frame, data)?;
        if level == EncryptionLevel::ZeroRtt {
            self.streams.note_early(frame.id, end);
        }
        Ok(())
    }

    fn on_frame(
        &mut self,
        arrival: &Arrival,
        level: EncryptionLevel,
        dcid: &ConnectionId,
        payload: &Bytes,
        frame: Frame<'_>,
    ) -> Result<(), Violation> {
        let now = arrival.now;
        match frame {
            Frame::Padding(_) | Frame::Ping | Frame::DataBlocked(_) => {}
            Frame::StreamsBlocked { direction, limit } => self.streams.on_streams_blocked(direction, limit),
            Frame::Ack(ack) => self.on_ack(arrival, level, &ack)?,
            Frame::Crypto { offset, data } => self.on_crypto(now, level, offset, payload.slice_ref(data))?,
            Frame::Stream(frame) => self.on_stream(level, &frame, payload.slice_ref(frame.data))?,
            Frame::ResetStream { id, error, final_size } => self.streams.on_reset_stream(id, error, final_size)?,
            Frame::ResetStreamAt(frame) => self.on_reset_stream_at(&frame)?,
            Frame::ObservedAddress(report) => self.on_observed_address(arrival, report)?,
            Frame::Timestamp(time) => self.on_timestamp(time)?,
            Frame::StopSending { id, error } => self.streams.on_stop_sending(id, error)?,
            Frame::MaxData(maximum) => self.streams.on_max_data(maximum),
            Frame::MaxStreamData { id, maximum } => self.streams.on_max_stream_data(id, maximum)?,
            Frame::MaxStreams { direction, maximum } => self.streams.on_max_streams(direction, maximum),
            Frame::StreamDataBlocked { id, .. } => self.streams.on_stream_data_blocked(id)?,
            Frame::Datagram { data } => {
                self.datagrams.on_datagram(payload.slice_ref(data), level == EncryptionLevel::ZeroRtt)?
            }
            Frame::NewConnectionId(frame) => self.peer_ids.on_new(&frame)?,
            Frame::RetireConnectionId { sequence } => {
                self.local_ids.on_retire(sequence, dcid)?;
                self.on_peer_retired(arrival.path);
            }
            Frame::PathChallenge(data) => {
                self.on_probe(arrival);
                self.paths.on_challenge(arrival.path, arrival.datagram_len, data, *dcid);
            }
            Frame::PathResponse(data) => self.on_path_response(now, data),
            Frame::NewToken { token } => self.on_new_token(now, token)?,
            Frame::HandshakeDone => self.on_handshake_done(now)?,
            Frame::AckFrequency(frame) => self.spaces.data.numbers.acks.on_frequency(&frame)?,
            Frame::ImmediateAck => self.spaces.data.numbers.acks.on_immediate(),
            Frame::ConnectionClose(close) => self.on_connection_close(now, level, &close),
        }
        Ok(())
    }

    /// The connection is over at this end: all that still counts is whether the peer says so too.
    pub(super) fn look_for_close(&mut self, now: Time, level: EncryptionLevel, payload: &Bytes) {
        let mut reader = Reader::new(payload);
        while let Ok(frame) = Frame::decode(&mut reader) {
            if let Frame::ConnectionClose(close) = frame
                && Frame::ConnectionClose(close.clone()).is_allowed_in(level)
            {
                self.on_connection_close(now, level, &close);
            }
        }
    }

    /// To who did not ask for it the frame is unknown (RFC 9000 section 12.4).
    fn on_reset_stream_at(&mut self, frame: &ResetStreamAt) -> Result<(), Violation> {
        if !self.config.reset_stream_at {
            return Err(Violation::new(TransportErrorCode::FRAME_ENCODING_ERROR, "RESET_STREAM_AT is not in use"));
        }
        self.streams.on_reset_stream_at(frame)
    }

    /// The peer says where it sees us.
    fn on_observed_address(&mut self, arrival: &Arrival, report: ObservedAddress) -> Result<(), Violation> {
        if !self.config.learn_address {
            // draft-ietf-quic-address-discovery: only who asked for it may be told.
            return Err(Violation::new(TransportErrorCode::PROTOCOL_VIOLATION, "an address that was not asked for"));
        }
        let path = arrival.path;
        if self.paths.find_mut(&path).is_none_or(|path| path.heard.on_report(report)) {
            self.events.push_back(Event::AddressObserved { path, address: report.address });
        }
        Ok(())
    }

    /// To who did not ask for it the frame is unknown (RFC 9000 section 12.4).
    fn on_timestamp(&mut self, time: u64) -> Result<(), Violation> {
        if !self.one_way.receives() {
            return Err(Violation::new(TransportErrorCode::FRAME_ENCODING_ERROR, "TIMESTAMP is not in use"));
        }
        self.one_way.on_timestamp(time);
        Ok(())
    }

    /// RFC 9000 section 19.7: only a server sends it.
    // RFC 9000 section 19.7#3#4.
    fn on_new_token(&mut self, now: Time, token: &[u8]) -> Result<(), Violation> {
        if self.role == Role::Server {
            return Err(Violation::new(TransportErrorCode::PROTOCOL_VIOLATION, "NEW_TOKEN from a client"));
        }
        let kept = KeptToken {
            version: self.versions.current(),
            received: now.since(Time::ZERO),
            greased: self.peer_parameters.grease_quic_bit,
            token: Bytes::copy_from_slice(token),
        };
        self.events.push_back(Event::NewToken(kept.to_bytes()));
        Ok(())
    }
}

/// A violation in a frame of this type, unless it is known to be in another.
const fn within(violation: Violation, ty: u64) -> Violation {
    if violation.frame == 0 { violation.in_frame(ty) } else { violation }
}
