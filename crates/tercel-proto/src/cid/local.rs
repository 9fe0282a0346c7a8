//! The connection IDs that the peer may send to.

use tercel_wire::frame::NewConnectionId;
use tercel_wire::{ConnectionId, Frame, ResetToken, TransportErrorCode};

use crate::config::ConnectionIdIssuer;
use crate::connection::RouteChange;
use crate::entropy::Entropy;
use crate::error::Violation;
use crate::frames::{FrameSink, SentFrame};
use crate::rare_queue::RareQueue;
use crate::small_map::SmallMap;

/// So many are kept active at first, if the peer's limit permits: one in use and one to migrate with. Many connections
/// are over before they need another.
const FIRST: u64 = 2;

/// So many are kept active once the peer has acknowledged one.
const TARGET: u64 = 4;

/// The connection IDs that we issued.
#[derive(Debug)]
pub struct LocalIds {
    active: SmallMap<u64, (ConnectionId, ResetToken)>,
    next_sequence: u64,
    /// The peer is to use none before this one any more.
    retire_prior_to: u64,
    /// So many may be active, by the peer's limit, and are wanted.
    limit: u64,
    wanted: u64,
    /// There are fewer.
    lacking: bool,
    /// Sequence numbers to be told, for the first time or again.
    to_tell: Vec<u64>,
    /// Those that the peer has and has not used yet; and the one that it used last.
    unused: Vec<u64>,
    last_used: ConnectionId,
    routes: RareQueue<RouteChange>,
}

impl LocalIds {
    /// Begins with the connection ID of the handshake, sequence number 0.
    pub fn new(handshake: ConnectionId, token: ResetToken) -> Self {
        Self {
            active: SmallMap::of(0, (handshake, token)),
            next_sequence: 1,
            retire_prior_to: 0,
            limit: 1,
            wanted: FIRST,
            lacking: false,
            to_tell: Vec::new(),
            unused: Vec::new(),
            last_used: handshake,
            routes: RareQueue::from_iter([RouteChange::Add(handshake)]),
        }
    }

    /// The preferred address carries the connection ID with sequence number 1 (RFC 9000 section
    /// 5.1.1): issues it, and it is told there.
    pub fn issue_for_preferred_address(
        &mut self,
        issuer: &mut dyn ConnectionIdIssuer,
        entropy: &mut Entropy,
    ) -> (ConnectionId, ResetToken) {
        let (id, token) = issuer.issue(entropy);
        self.active.insert(self.next_sequence, (id, token));
        self.next_sequence += 1;
        self.want_all();
        self.routes.push_back(RouteChange::Add(id));
        (id, token)
    }

    /// The peer keeps up to `limit` (its active_connection_id_limit).
    pub fn set_limit(&mut self, limit: u64) {
        self.limit = limit;
        self.count();
    }

    /// The peer will soon move, or have us move: all that are to be active are, from the beginning.
    pub fn want_all(&mut self) {
        self.wanted = TARGET;
        self.count();
    }

    /// Has the peer go over to others.
    pub fn renew(&mut self) {
        // RFC 9000 section 5.1.1: those that are to be retired do not count.
        self.retire_prior_to = self.next_sequence;
        self.to_tell.clear();
        self.count();
    }

    // RFC 9000 sections 5.1.1#1#3#4#7, 9.5#5.
    fn count(&mut self) {
        let active = self.active.keys().filter(|sequence| **sequence >= self.retire_prior_to).count();
        // RFC 9000 section 19.15#2.
        self.lacking = !self.last_used.is_empty() && (active as u64) < self.limit.min(self.wanted);
    }

    /// Issues what is lacking.
    pub fn replenish(&mut self, issuer: &mut dyn ConnectionIdIssuer, entropy: &mut Entropy) {
        while self.lacking {
            let (id, token) = issuer.issue(entropy);
            self.active.insert(self.next_sequence, (id, token));
            self.to_tell.push(self.next_sequence);
            self.next_sequence += 1;
            self.routes.push_back(RouteChange::Add(id));
            self.count();
        }
    }

    /// The peer retires one; another will take its place. `used` is the connection ID that the packet
    /// with the frame was sent to.
    ///
    /// # Errors
    /// PROTOCOL_VIOLATION (RFC 9000 section 19.16): one that was never issued, or the one in use by
    /// the very packet.
    pub fn on_retire(&mut self, sequence: u64, used: &ConnectionId) -> Result<(), Violation> {
        let violation = |reason| Err(Violation::new(TransportErrorCode::PROTOCOL_VIOLATION, reason));
        // RFC 9000 section 19.16#1#3.
        if sequence >= self.next_sequence || used.is_empty() {
            return violation("retired a connection ID that was never issued");
        }
        if self.active.get(&sequence).is_some_and(|(id, _)| id == used) {
            return violation("retired the connection ID of the packet itself");
        }
        if let Some((id, _)) = self.active.remove(&sequence) {
            self.routes.push_back(RouteChange::Remove(id));
            // RFC 9000 section 5.1.1#6.
            self.to_tell.retain(|known| *known != sequence);
            self.unused.retain(|known| *known != sequence);
            self.count();
        }
        Ok(())
    }

    /// Whether a NEW_CONNECTION_ID frame is to be sent.
    pub fn wants_to_send(&self) -> bool {
        self.lacking || !self.to_tell.is_empty()
    }

    /// Writes NEW_CONNECTION_ID frames.
    pub fn write(&mut self, sink: &mut FrameSink<'_, '_>) {
        while let Some(sequence) = self.to_tell.last().copied() {
            if let Some((id, reset_token)) = self.active.get(&sequence) {
                // RFC 9000 sections 5.1.2#7, 19.15#5.
                let frame = NewConnectionId {
                    sequence,
                    retire_prior_to: self.retire_prior_to.min(sequence),
                    id: *id,
                    reset_token: *reset_token,
                };
                if !sink.push(&Frame::NewConnectionId(frame), SentFrame::NewConnectionId { sequence }) {
                    return;
                }
            }
            self.to_tell.pop();
        }
    }

    /// A NEW_CONNECTION_ID frame was acknowledged.
    pub fn acked(&mut self, sequence: u64) {
        if self.wanted < TARGET {
            self.want_all();
        }
        if self.active.get(&sequence).is_some_and(|(id, _)| *id != self.last_used) && !self.unused.contains(&sequence) {
            self.unused.push(sequence);
        }
    }

    /// To which the peer has sent its latest packet, as far as it is known.
    pub const fn last_used(&self) -> &ConnectionId {
        &self.last_used
    }

    /// The peer has sent a packet to `id`.
    pub fn on_used(&mut self, id: &ConnectionId) {
        if self.last_used != *id {
            self.last_used = *id;
            let active = &self.active;
            self.unused.retain(|sequence| active.get(sequence).is_some_and(|(known, _)| known != id));
        }
    }

    /// Whether the peer could speak to us on another path by a connection ID of its own, when it may be about to do so
    /// on as many as `claimed`.
    // RFC 9000 section 5.1.1#7.
    pub fn peer_has_unused(&self, claimed: usize) -> bool {
        let uses_none = self.active.values().all(|(id, _)| id.is_empty());
        uses_none || self.unused.iter().filter(|sequence| **sequence >= self.retire_prior_to).count() > claimed
    }

    /// A NEW_CONNECTION_ID frame was lost.
    pub fn lost(&mut self, sequence: u64) {
        let is_of_use = sequence >= self.retire_prior_to && self.active.contains_key(&sequence);
        if is_of_use && !self.to_tell.contains(&sequence) {
            self.to_tell.push(sequence);
        }
    }

    /// Whether datagrams to `id` are for this connection.
    // RFC 9000 sections 5.1.1#2, 5.1.2#2.
    pub fn contains(&self, id: &ConnectionId) -> bool {
        self.active.values().any(|(known, _)| known == id)
    }

    /// The next change in what belongs to this connection.
    pub fn poll_route(&mut self) -> Option<RouteChange> {
        self.routes.pop_front()
    }

    /// Lets go of room that is not in use.
    pub fn rest(&mut self) {
        self.active.rest();
        self.to_tell.shrink_to_fit();
        self.unused.shrink_to_fit();
        self.routes.rest();
    }

    /// The connection is over: none belongs to it any more.
    pub fn remove_all(&mut self) {
        let active = std::mem::take(&mut self.active);
        self.routes.extend(active.into_values().map(|(id, _)| RouteChange::Remove(id)));
        self.to_tell.clear();
        self.lacking = false;
    }
}

#[cfg(test)]
mod tests {
    use tercel_wire::{Reader, Writer};

    use super::*;
    use crate::frames::SentFrames;

    /// Numbers its connection IDs, which have `len` bytes.
    struct Issuer {
        len: usize,
        issued: u8,
    }

    impl ConnectionIdIssuer for Issuer {
        fn issue(&mut self, _: &mut Entropy) -> (ConnectionId, ResetToken) {
            self.issued += 1;
            (id(self.issued), ResetToken([self.issued; 16]))
        }

        fn len(&self) -> usize {
            self.len
        }
    }

    fn id(value: u8) -> ConnectionId {
        ConnectionId::new(&[value; 8]).unwrap()
    }

    struct Ids {
        ids: LocalIds,
        issuer: Issuer,
        entropy: Entropy,
    }

    impl Ids {
        fn new(len: usize, limit: u64) -> Self {
            let handshake = if len == 0 { ConnectionId::EMPTY } else { id(0) };
            let mut ids = LocalIds::new(handshake, ResetToken([0; 16]));
            ids.set_limit(limit);
            Self { ids, issuer: Issuer { len, issued: 0 }, entropy: Entropy::from_seed([0; 32]) }
        }

        /// After the peer has acknowledged the first that it was told.
        fn acknowledged(limit: u64) -> Self {
            let mut ids = Self::new(8, limit);
            ids.ids.acked(0);
            ids
        }

        fn retire(&mut self, sequence: u64, used: u8) -> Result<(), TransportErrorCode> {
            let used = if self.issuer.len == 0 { ConnectionId::EMPTY } else { id(used) };
            let result = self.ids.on_retire(sequence, &used);
            result.map_err(|violation| violation.code)
        }

        /// The sequence numbers told in one packet.
        fn tell(&mut self, size: usize) -> Vec<u64> {
            let (mut bytes, mut sent) = (vec![0; size], SentFrames::new());
            let mut writer = Writer::new(&mut bytes);
            self.ids.replenish(&mut self.issuer, &mut self.entropy);
            self.ids.write(&mut FrameSink::new(&mut writer, &mut sent));
            let mut reader = Reader::new(writer.written());
            let mut told = Vec::new();
            while !reader.is_empty() {
                let Ok(Frame::NewConnectionId(frame)) = Frame::decode(&mut reader) else { panic!() };
                // Connection ID and token belong together.
                assert_eq!(frame.id[0], frame.reset_token.0[0]);
                told.push(frame.sequence);
            }
            let recorded: Vec<_> =
                told.iter().map(|sequence| SentFrame::NewConnectionId { sequence: *sequence }).collect();
            assert_eq!(sent[..], recorded[..]);
            told
        }

        fn routes(&mut self) -> Vec<RouteChange> {
            std::iter::from_fn(|| self.ids.poll_route()).collect()
        }
    }

    #[test]
    // RFC 9000 sections 5.1.1#1#3#4#7, 9.5#5, 19.15#2.
    fn as_many_are_issued_as_the_peer_keeps() {
        for (limit, issued) in [(2, 1), (3, 2), (4, 3), (8, 3), (1 << 60, 3)] {
            let mut ids = Ids::new(8, limit);
            assert_eq!(ids.tell(1000), [1], "one to begin with");
            assert!(!ids.ids.wants_to_send());
            ids.ids.acked(1);
            assert_eq!(ids.tell(1000).len(), issued - 1);
            assert!(!ids.ids.wants_to_send());
            assert_eq!(ids.routes().len(), 1 + issued);
        }
        let mut none = Ids::new(0, 8);
        assert!(!none.ids.wants_to_send() && none.tell(1000).is_empty());
    }

    #[test]
    // RFC 9000 sections 5.1.1#2#6, 5.1.2#2.
    fn what_is_retired_is_replaced() {
        let mut ids = Ids::acknowledged(4);
        ids.tell(1000);
        ids.routes();
        ids.retire(1, 0).unwrap();
        assert_eq!(ids.tell(1000), [4]);
        assert_eq!(ids.routes(), [RouteChange::Remove(id(1)), RouteChange::Add(id(4))]);
        assert!(!ids.ids.contains(&id(1)) && ids.ids.contains(&id(4)));
        // RETIRE_CONNECTION_ID may come again.
        ids.retire(1, 0).unwrap();
        assert!(ids.routes().is_empty() && !ids.ids.wants_to_send());
        // The one of the handshake, in a packet to another.
        ids.retire(0, 2).unwrap();
        assert_eq!(ids.tell(1000), [5]);
        for sequence in 2..200 {
            ids.retire(sequence, sequence.wrapping_add(1) as u8).unwrap();
            ids.tell(1000);
            assert_eq!(ids.ids.active.len(), 4);
        }
    }

    /// Section 19.16.
    #[test]
    // RFC 9000 section 19.16#1#3.
    fn what_cannot_be_retired() {
        let violation = Err(TransportErrorCode::PROTOCOL_VIOLATION);
        let mut ids = Ids::acknowledged(4);
        assert_eq!(ids.retire(4, 0), violation, "never issued");
        assert_eq!(ids.retire(0, 0), violation, "the one in use");
        ids.ids.replenish(&mut ids.issuer, &mut ids.entropy);
        assert_eq!(ids.retire(3, 0), Ok(()), "issued, though not told yet");
        assert_eq!(Ids::new(0, 4).retire(0, 9), violation, "there are none");
    }

    #[test]
    fn what_is_lost_is_told_again_while_it_is_of_use() {
        let mut ids = Ids::acknowledged(4);
        let one = ids.tell(40);
        assert_eq!(one.len(), 1, "a frame is never cut");
        let rest = ids.tell(1000);
        assert_eq!(rest.len(), 2);
        ids.ids.lost(one[0]);
        ids.ids.lost(one[0]);
        assert_eq!(ids.tell(1000), one);
        ids.retire(rest[0], 0).unwrap();
        assert_eq!(ids.tell(1000), [4]);
        ids.ids.lost(rest[0]);
        assert!(!ids.ids.wants_to_send());
        // One that is retired before it is told is not told.
        ids.ids.lost(rest[1]);
        ids.retire(rest[1], 0).unwrap();
        assert_eq!(ids.tell(1000), [5]);
    }

    #[test]
    fn that_of_the_preferred_address_is_the_second() {
        let mut ids = Ids::acknowledged(1);
        let (preferred, token) = ids.ids.issue_for_preferred_address(&mut ids.issuer, &mut ids.entropy);
        assert_eq!((preferred, token), (id(1), ResetToken([1; 16])));
        assert!(!ids.ids.wants_to_send(), "it is told in the transport parameters");
        ids.ids.set_limit(4);
        let mut told = ids.tell(1000);
        told.sort_unstable();
        assert_eq!(told, [2, 3]);
        ids.retire(1, 0).unwrap();
        assert_eq!(ids.tell(1000), [4]);
    }

    /// RFC 9000 sections 5.1.1 and 19.15: the peer's limit holds for those that it is to keep.
    #[test]
    fn all_can_be_replaced() {
        let mut ids = Ids::acknowledged(4);
        ids.tell(1000);
        ids.routes();
        ids.ids.renew();
        ids.ids.replenish(&mut ids.issuer, &mut ids.entropy);
        assert_eq!(ids.routes(), [4, 5, 6, 7].map(|value| RouteChange::Add(id(value))));
        let mut bytes = vec![0; 1000];
        let mut writer = Writer::new(&mut bytes);
        ids.ids.write(&mut FrameSink::new(&mut writer, &mut SentFrames::new()));
        let mut reader = Reader::new(writer.written());
        while !reader.is_empty() {
            let Ok(Frame::NewConnectionId(frame)) = Frame::decode(&mut reader) else { panic!() };
            assert_eq!((frame.retire_prior_to, (4..8).contains(&frame.sequence)), (4, true));
        }
        ids.ids.lost(2);
        assert!(!ids.ids.wants_to_send(), "it is to be retired");
        for sequence in 0..4 {
            assert!(ids.ids.contains(&id(sequence)), "until the peer has done so");
            ids.retire(sequence.into(), 4).unwrap();
            assert!(!ids.ids.contains(&id(sequence)) && !ids.ids.wants_to_send());
        }
    }

    #[test]
    fn at_the_end_none_is_left() {
        let mut ids = Ids::acknowledged(4);
        ids.tell(1000);
        ids.routes();
        ids.ids.remove_all();
        assert_eq!(ids.routes(), [0, 1, 2, 3].map(|value| RouteChange::Remove(id(value))));
        assert!(!ids.ids.wants_to_send() && !ids.ids.contains(&id(0)));
    }
}
