//! From the state of the connection to datagrams: which kind is due, and how many fit one batch.
//!
//! The order is the priority: a close; a probe of another path; a probe for a larger datagram size;
//! and then the ordinary batch of equally large datagrams on the active path, which the driver can
//! hand to the system in one call. What goes into one datagram is `packetize`'s business.

use tercel_wire::packet::Header;
use tercel_wire::{ConnectionId, EncryptionLevel, Frame, Role, SpaceId};

use super::packetize::{Permit, Sending, spin};
use super::phase::Phase;
use super::{Connection, Event, Transmit};
use crate::close::HandshakeState;
use crate::congestion::SavedPath;
use crate::frames::SentFrame;
use crate::path::mtu::BASE;
use crate::path::{ChallengeSize, Ecn, Path, PathAddress, Response};
use crate::recovery::Allowance;
use crate::stream::Hindrance;
use crate::time::Time;

/// The smallest size to which a datagram with an Initial packet or a path probe is padded (RFC 9000
/// sections 14.1 and 8.2.1).
pub(super) const MIN_INITIAL_DATAGRAM: usize = 1200;

/// After so many probe timeouts without an answer, datagrams are kept to the size that every path
/// carries: the path may have become a black hole for larger ones.
const CAUTIOUS_AFTER: u32 = 2;

/// The path number of packets to addresses that are no path: an answer to a challenge from there.
const NO_PATH: u32 = u32::MAX;

impl Connection {
    pub(super) fn transmit(&mut self, now: Time, max_datagrams: usize, buf: &mut [u8]) -> Option<Transmit> {
        self.streams.at(now);
        let transmit = match self.phase {
            // RFC 9000 section 10.2.2#1#2.
            Phase::Closed | Phase::Draining { .. } => None,
            Phase::Closing(_) => self.transmit_close(now, buf),
            Phase::Alive => self
                .transmit_path_probe(now, buf)
                .or_else(|| self.transmit_mtu_probe(now, buf))
                .or_else(|| self.transmit_batch(now, max_datagrams.max(1), buf)),
        };
        if self.config.stream_statistics {
            let hindrance = self.hindrance(now, transmit.is_some());
            self.streams.hindered(hindrance);
        }
        let Some(transmit) = transmit else {
            self.silent_at = now;
            return None;
        };
        let datagrams = transmit.segment_size.map_or(1, |size| transmit.len.div_ceil(size));
        self.stats.datagrams_sent += datagrams as u64;
        self.stats.bytes_sent += transmit.len as u64;
        Some(transmit)
    }

    /// Datagrams of one size on the active path, as many as there is data, window and buffer for.
    fn transmit_batch(&mut self, now: Time, max_datagrams: usize, buf: &mut [u8]) -> Option<Transmit> {
        let full = usize::from(self.paths.active.mtu.current());
        let cautious = self.recovery.pto_count() >= CAUTIOUS_AFTER;
        let size = if cautious { full.min(usize::from(BASE)) } else { full };
        let ecn = self.ecn_mark();
        let (mut len, mut segment, mut most) = (0, None, Permit::All);
        for _ in 0..max_datagrams {
            // RFC 9000 sections 8#1, 14.1#4.
            let allowed = self.active_allowance(now);
            let end = len + size.min(segment.unwrap_or(size)).min(allowed);
            let Some(datagram) = buf.get_mut(len..end) else { break };
            let written = self.write_datagram(now, ecn, most, datagram);
            if written == 0 {
                break;
            }
            self.paths.active.on_sent(written);
            len += written;
            // Only the last datagram of a batch may be smaller than the first.
            if *segment.get_or_insert(written) != written {
                break;
            }
            if most == Permit::All && self.has_only_data(now) {
                most = Permit::Data;
            }
        }
        self.note_end_of_batch(now, len);
        let segment_size = segment.filter(|size| len > *size);
        (len > 0).then_some(Transmit { path: self.paths.active.address, ecn, len, segment_size, mtu_probe: false })
    }

    /// How many bytes may go to the active path. While its validation waits for an answer enough is kept back to ask
    /// once more in a datagram of full size: a peer that only listens gives hardly any credit, and would not know that
    /// the question was lost.
    fn active_allowance(&self, now: Time) -> usize {
        let path = &self.paths.active;
        let allowance = usize::try_from(path.amplification.allowance()).unwrap_or(usize::MAX);
        match path.validation.next_challenge() {
            Some(at) if at > now && !path.amplification.is_validated() => {
                allowance.saturating_sub(MIN_INITIAL_DATAGRAM)
            }
            _ => allowance,
        }
    }

    /// Remembers why sending ended: for want of data, or of window.
    fn note_end_of_batch(&mut self, now: Time, len: usize) {
        if len == 0 {
            let blocked = matches!(self.recovery.allowance(now), Allowance::Blocked { .. });
            // RFC 9002 section 7.8#2: whom the pacer held back had data.
            let idle = !blocked || !self.has_data();
            self.recovery.set_app_limited(idle);
            if idle {
                self.blocked_until = None;
                self.tell_path();
            }
        }
        self.update_progress(now);
    }

    /// What keeps the streams from sending more now, if they have more.
    fn hindrance(&mut self, now: Time, sent: bool) -> Hindrance {
        match self.recovery.allowance(now) {
            // Asked again at once it would go on.
            _ if sent => Hindrance::Scheduling,
            Allowance::Blocked { until: Some(_) } => Hindrance::Pacing,
            Allowance::Blocked { until: None } => Hindrance::Congestion,
            _ if !self.paths.active.amplification.is_validated() => Hindrance::Amplification,
            _ => Hindrance::Nothing,
        }
    }

    /// Tells what was learnt of the path when all is sent for now, if it is news: twice what was told
    /// last, or half of it.
    fn tell_path(&mut self) {
        let server = self.role == Role::Server && self.handshake.state == HandshakeState::Confirmed;
        if !(server && self.config.careful_resume) {
            return;
        }
        let told = self.handshake.told_window;
        let news = |path: &SavedPath| path.window >= 2 * told || path.window <= told / 2;
        if let Some(path) = self.recovery.observed_path().filter(news) {
            self.handshake.told_window = path.window;
            self.events.push_back(Event::PathObserved(path));
        }
    }

    pub(super) fn has_data(&self) -> bool {
        self.streams.wants_to_send()
            || self.datagrams.wants_to_send()
            || self.spaces.data.numbers.crypto.wants_to_send()
    }

    /// Marks are told by the peer for each space on its own; only 1-RTT packets are marked.
    fn ecn_mark(&self) -> Ecn {
        match self.handshake.state {
            HandshakeState::Confirmed => self.paths.active.ecn.mark(),
            _ => Ecn::NotEct,
        }
    }

    /// A PING, or what is answered sooner, padded to a size that is to be tried.
    fn transmit_mtu_probe(&mut self, now: Time, buf: &mut [u8]) -> Option<Transmit> {
        let ready = self.handshake.state == HandshakeState::Confirmed
            && self.paths.active.amplification.is_validated()
            && self.recovery.pto_count() == 0;
        let path = &mut self.paths.active;
        let size = if ready { path.mtu.next_probe(now)? } else { return None };
        if !matches!(self.recovery.allowance(now), Allowance::Send { bytes } if bytes >= u64::from(size)) {
            return None;
        }
        let (id, address, header) = (path.id, path.address, self.header(EncryptionLevel::OneRtt));
        let ask = self.spaces.data.ask.clone();
        let len = self.transmit_alone(now, header, usize::from(size), id, true, buf, |sink| {
            // draft-ietf-quic-ack-frequency section 8.3: a probe's answer is not worth waiting for others.
            if !ask.write_immediate(sink) {
                sink.push(&Frame::Ping, None);
            }
        })?;
        self.paths.active.on_sent(len);
        self.paths.active.mtu.on_probe_sent(size);
        Some(Transmit { path: address, ecn: Ecn::NotEct, len, segment_size: None, mtu_probe: true })
    }

    /// A PATH_RESPONSE or PATH_CHALLENGE for another path than the active one.
    fn transmit_path_probe(&mut self, now: Time, buf: &mut [u8]) -> Option<Transmit> {
        self.spaces.data.one_rtt.as_ref()?;
        if self.handshake.state != HandshakeState::Confirmed {
            return None;
        }
        while let Some(response) = self.paths.take_response_elsewhere() {
            let Some(header) = self.response_header(&response) else { continue };
            // RFC 9000 section 8.2.2#5#6: padded, unless that would amplify.
            let size = MIN_INITIAL_DATAGRAM.min(response.budget);
            let path = self.paths.find_mut(&response.address).map(|path| path.id);
            let record = path.map(|path| SentFrame::PathResponse { path });
            let mut reports = std::mem::take(&mut self.paths.reports);
            let len = self.transmit_alone(now, header, size, NO_PATH, false, buf, |sink| {
                sink.push(&Frame::PathResponse(response.data), record);
                reports.write_for(response.address.remote, sink);
            });
            self.paths.reports = reports;
            let len = len?;
            if let Some(path) = self.paths.find_mut(&response.address) {
                path.on_sent(len);
            }
            return Some(Transmit {
                path: response.address,
                ecn: Ecn::NotEct,
                len,
                segment_size: None,
                mtu_probe: false,
            });
        }
        let pto = self.recovery.pto(SpaceId::Data);
        let entropy = &mut self.entropy;
        let mut challenge = |path: &mut Path| -> Option<(u32, PathAddress, usize, [u8; 8])> {
            let room = usize::try_from(path.amplification.allowance()).unwrap_or(usize::MAX);
            // RFC 9000 section 8.2.1#4.
            if room < MIN_INITIAL_DATAGRAM {
                return None;
            }
            let data = path.validation.take_challenge(now, pto, ChallengeSize::Full, entropy)?;
            path.on_sent(MIN_INITIAL_DATAGRAM);
            Some((path.id, path.address, MIN_INITIAL_DATAGRAM, data))
        };
        let paths = &mut self.paths;
        let mut probed =
            paths.candidates.iter_mut().map(|candidate| &mut candidate.path).chain(paths.previous.as_deref_mut());
        let (id, address, size, data) = probed.find_map(&mut challenge)?;
        let header = self.header_to(self.peer_ids.of(id)?);
        let mut reports = std::mem::take(&mut self.paths.reports);
        let len = self.transmit_alone(now, header, size, id, false, buf, |sink| {
            sink.push(&Frame::PathChallenge(data), SentFrame::PathChallenge(data));
            // draft-ietf-quic-address-discovery: bundled with what probes.
            reports.write_for(address.remote, sink);
        });
        self.paths.reports = reports;
        let len = len?;
        Some(Transmit { path: address, ecn: Ecn::NotEct, len, segment_size: None, mtu_probe: false })
    }

    /// RFC 9000 section 9.5: another path is spoken to by another connection ID, unless the peer has kept
    /// its own, as it does if it knows of no change. `None` if there is none.
    // RFC 9000 section 9.5#1#2.
    fn response_header(&mut self, response: &Response) -> Option<Header> {
        let path = self.paths.find_mut(&response.address).map(|path| path.id);
        let own = path.and_then(|path| self.peer_ids.of(path));
        let kept = self.paths.heard_at == Some(response.asked_at);
        let dcid = own.or_else(|| kept.then(|| self.peer_ids.current()))?;
        Some(self.header_to(dcid))
    }

    /// The header of a 1-RTT packet to a connection ID.
    fn header_to(&self, to: ConnectionId) -> Header {
        match self.header(EncryptionLevel::OneRtt) {
            Header::OneRtt { key_phase, .. } => Header::OneRtt { dcid: to, spin: spin(&to), key_phase },
            header => header,
        }
    }

    /// A datagram of one 1-RTT packet, padded to `size`.
    #[allow(clippy::too_many_arguments)]
    fn transmit_alone(
        &mut self,
        now: Time,
        header: Header,
        size: usize,
        path: u32,
        mtu_probe: bool,
        buf: &mut [u8],
        write: impl FnOnce(&mut crate::frames::FrameSink<'_, '_>),
    ) -> Option<usize> {
        let datagram = buf.get_mut(..size)?;
        self.workspace.drafted.clear();
        let level = EncryptionLevel::OneRtt;
        let tag_len = self.tag_len(level)?;
        let draft = self.draft_with(level, &header, 0, datagram, tag_len, |_, sink| write(sink))?;
        let sending = Sending { path, mtu_probe, ecn: Ecn::NotEct, pad_to: size };
        Some(self.finish(now, &draft, datagram, sending))
    }
}
