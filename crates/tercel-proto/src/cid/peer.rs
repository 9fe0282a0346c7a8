//! The connection IDs that we may send to.
//!
//! Each path has one of its own (RFC 9000 section 9.5), lent from those that the peer gave and retired
//! when the path is given up: so nobody can tell by them that two paths are of one connection. (With
//! multipath each path would have a set of these.)

use tercel_wire::frame::NewConnectionId;
use tercel_wire::{ConnectionId, Frame, ResetToken, TransportErrorCode};

use crate::connection::RouteChange;
use crate::error::Violation;
use crate::frames::{FrameSink, SentFrame};
use crate::ranges::RangeSet;
use crate::rare_queue::RareQueue;
use crate::small_map::SmallMap;

/// So many retirements may wait to be told (RFC 9000 section 5.1.2): a peer that makes us retire
/// more without acknowledging is up to no good.
// RFC 9000 section 5.1.2#4#5.
const MAX_RETIRING: usize = 64;

/// The path of the handshake.
const FIRST_PATH: u32 = 0;

/// The connection IDs that the peer issued.
#[derive(Debug)]
pub struct PeerIds {
    known: SmallMap<u64, (ConnectionId, Option<ResetToken>)>,
    /// By path: the sequence number of the ID that is used there.
    lent: SmallMap<u32, u64>,
    /// The path in use.
    active: u32,
    /// The peer wants none before this one to be used.
    retire_prior_to: u64,
    /// Sequence numbers of those that are retired.
    spent: RangeSet,
    limit: u64,
    /// Sequence numbers to be told as retired, and those told but not acknowledged.
    to_retire: Vec<u64>,
    retiring: Vec<u64>,
    routes: RareQueue<RouteChange>,
}

impl PeerIds {
    /// Begins with the connection ID of the handshake, sequence number 0, on path 0. `limit` is our
    /// active_connection_id_limit.
    pub fn new(id: ConnectionId, limit: u64) -> Self {
        Self {
            known: SmallMap::of(0, (id, None)),
            lent: SmallMap::of(FIRST_PATH, 0),
            active: FIRST_PATH,
            retire_prior_to: 0,
            spent: RangeSet::new(),
            limit,
            to_retire: Vec::new(),
            retiring: Vec::new(),
            routes: RareQueue::new(),
        }
    }

    /// The connection ID to send to on the path in use.
    pub fn current(&self) -> ConnectionId {
        self.of(self.active).unwrap_or(ConnectionId::EMPTY)
    }

    /// The connection ID to send to on `path`, if it has one.
    pub fn of(&self, path: u32) -> Option<ConnectionId> {
        self.known.get(self.lent.get(&path)?).map(|(id, _)| *id)
    }

    /// Whether the peer uses no connection IDs.
    pub fn is_empty(&self) -> bool {
        self.known.get(&0).is_some_and(|(id, _)| id.is_empty())
    }

    /// During the handshake the peer's choice of its own connection ID replaces the one we began
    /// with (RFC 9000 section 7.2).
    // RFC 9000 section 7.2#2#4#5.
    pub fn set_initial(&mut self, id: ConnectionId) {
        self.known.insert(0, (id, None));
    }

    /// The server's transport parameters give the token of the connection ID of the handshake.
    pub fn set_initial_token(&mut self, token: ResetToken) {
        let is_used = self.is_lent(0);
        if let Some((_, known)) = self.known.get_mut(&0) {
            *known = Some(token);
            if is_used {
                self.routes.push_back(RouteChange::AddResetToken(token));
            }
        }
    }

    /// A server's preferred address brings the connection ID with sequence number 1.
    pub fn add_preferred(&mut self, id: ConnectionId, token: ResetToken) {
        self.known.insert(1, (id, Some(token)));
    }

    /// A NEW_CONNECTION_ID frame came in.
    ///
    /// # Errors
    /// PROTOCOL_VIOLATION: the peer uses no connection IDs, or gave another for the same sequence
    /// number; CONNECTION_ID_LIMIT_ERROR: more than we keep (RFC 9000 sections 5.1.1 and 19.15).
    pub fn on_new(&mut self, frame: &NewConnectionId) -> Result<(), Violation> {
        // RFC 9000 section 19.15#3.
        if self.is_empty() {
            return Err(Violation::new(
                TransportErrorCode::PROTOCOL_VIOLATION,
                "a connection ID from a peer that uses none",
            ));
        }
        let new = (frame.id, Some(frame.reset_token));
        let conflict = match self.known.get(&frame.sequence) {
            Some(known) => *known != new && known.1.is_some(),
            None => self.known.values().any(|(id, _)| *id == frame.id),
        };
        if conflict {
            return Err(Violation::new(
                TransportErrorCode::PROTOCOL_VIOLATION,
                "another connection ID for the same number, or the same for another",
            ));
        }
        if frame.sequence < self.retire_prior_to || self.spent.contains(frame.sequence) {
            // RFC 9000 section 19.15#8: retired before it came, or it comes again.
            self.retire(frame.sequence);
            return self.check_retiring();
        }
        // RFC 9000 section 19.15#4.
        if !self.known.contains_key(&frame.sequence) {
            self.known.insert(frame.sequence, new);
        }
        // RFC 9000 sections 5.1.2#3, 19.15#7.
        if frame.retire_prior_to > self.retire_prior_to {
            self.retire_prior_to(frame.retire_prior_to);
        }
        // RFC 9000 section 5.1.1#5.
        if self.known.len() as u64 > self.limit {
            return Err(Violation::new(
                TransportErrorCode::CONNECTION_ID_LIMIT_ERROR,
                "more connection IDs than allowed",
            ));
        }
        self.check_retiring()
    }

    /// RFC 9000 section 5.1.2: paths that use what is to be retired go on to others, the one in use first.
    fn retire_prior_to(&mut self, sequence: u64) {
        self.retire_prior_to = sequence;
        let mut moving: Vec<u32> =
            self.lent.iter().filter(|(_, used)| **used < sequence).map(|(path, _)| *path).collect();
        moving.sort_by_key(|path| *path != self.active);
        for path in &moving {
            self.release(*path);
        }
        let old: Vec<u64> = self.known.keys().copied().filter(|known| *known < sequence).collect();
        old.into_iter().for_each(|sequence| self.spend(sequence));
        for path in moving {
            // Without a spare one a path beside the one in use is not probed any more.
            self.assign(path);
        }
    }

    // RFC 9000 section 5.1.2#6.
    fn check_retiring(&self) -> Result<(), Violation> {
        match self.to_retire.len() + self.retiring.len() <= MAX_RETIRING {
            true => Ok(()),
            false => {
                Err(Violation::new(TransportErrorCode::CONNECTION_ID_LIMIT_ERROR, "too many connection IDs retired"))
            }
        }
    }

    fn retire(&mut self, sequence: u64) {
        if !self.to_retire.contains(&sequence) && !self.retiring.contains(&sequence) {
            self.to_retire.push(sequence);
        }
        self.spent.insert_one(sequence);
    }

    /// Forgets one, and tells the peer.
    fn spend(&mut self, sequence: u64) {
        if self.known.remove(&sequence).is_some() {
            self.retire(sequence);
        }
    }

    fn is_lent(&self, sequence: u64) -> bool {
        self.lent.values().any(|used| *used == sequence)
    }

    fn spare(&self) -> Option<u64> {
        self.known.keys().copied().find(|sequence| !self.is_lent(*sequence))
    }

    /// Whether another path could have a connection ID of its own.
    pub fn has_spare(&self) -> bool {
        self.is_empty() || self.spare().is_some()
    }

    /// For how many more paths there are connection IDs; none if the peer uses none.
    pub fn spares(&self) -> usize {
        match self.is_empty() {
            true => 0,
            false => self.known.keys().filter(|sequence| !self.is_lent(**sequence)).count(),
        }
    }

    /// Gives `path` a connection ID that was not used before, unless it has one. False if there is none.
    // RFC 9000 section 9.5#1#2.
    pub fn assign(&mut self, path: u32) -> bool {
        if self.lent.contains_key(&path) {
            return true;
        }
        // A peer without connection IDs has but one.
        let sequence = if self.is_empty() { Some(0) } else { self.spare() };
        let Some(sequence) = sequence else { return false };
        self.lent.insert(path, sequence);
        let token = self.known.get(&sequence).and_then(|(_, token)| *token);
        self.routes.extend(token.map(RouteChange::AddResetToken));
        true
    }

    /// `path` is the one in use. If there is no connection ID for it, it goes on with that of the path
    /// before: RFC 9000 section 9.5 permits it where the peer did not change its own; where it did, nobody may go
    /// there.
    pub fn activate(&mut self, path: u32) {
        let before = std::mem::replace(&mut self.active, path);
        if !self.assign(path)
            && let Some(sequence) = self.lent.get(&before).copied()
        {
            self.lent.insert(path, sequence);
        }
    }

    /// A path has another number now.
    pub fn rename(&mut self, from: u32, to: u32) {
        if let Some(sequence) = self.lent.remove(&from) {
            self.lent.insert(to, sequence);
        }
    }

    /// `path` is given up: its connection ID is retired.
    // RFC 9000 sections 5.1.2#1, 19.16#2: told in a packet to another.
    pub fn release(&mut self, path: u32) {
        let Some(sequence) = self.lent.remove(&path) else { return };
        if self.is_empty() || self.is_lent(sequence) {
            return;
        }
        if let Some((_, Some(token))) = self.known.get(&sequence) {
            self.routes.push_back(RouteChange::RemoveResetToken(*token));
        }
        self.spend(sequence);
    }

    /// Whether a datagram that ends with `token` is a stateless reset of this connection (RFC 9000 section
    /// 10.3.1: those of the IDs that were used).
    // RFC 9000 section 10.3.1#2.
    pub fn is_reset_token(&self, token: ResetToken) -> bool {
        self.lent.values().filter_map(|sequence| self.known.get(sequence)).any(|(_, known)| *known == Some(token))
    }

    /// All that the peer gave and that are not retired.
    #[cfg(test)]
    pub fn known(&self) -> impl Iterator<Item = ConnectionId> {
        self.known.values().map(|(id, _)| *id)
    }

    /// Whether a RETIRE_CONNECTION_ID frame is to be sent.
    pub fn wants_to_send(&self) -> bool {
        !self.to_retire.is_empty()
    }

    /// Writes RETIRE_CONNECTION_ID frames.
    pub fn write(&mut self, sink: &mut FrameSink<'_, '_>) {
        while let Some(sequence) = self.to_retire.last().copied() {
            if !sink.push(&Frame::RetireConnectionId { sequence }, SentFrame::RetireConnectionId { sequence }) {
                return;
            }
            self.to_retire.pop();
            self.retiring.push(sequence);
        }
    }

    /// A RETIRE_CONNECTION_ID frame was acknowledged.
    pub fn acked(&mut self, sequence: u64) {
        self.retiring.retain(|known| *known != sequence);
    }

    /// A RETIRE_CONNECTION_ID frame was lost.
    pub fn lost(&mut self, sequence: u64) {
        if self.retiring.contains(&sequence) {
            self.retiring.retain(|known| *known != sequence);
            self.to_retire.push(sequence);
        }
    }

    /// The next change in what belongs to this connection.
    pub fn poll_route(&mut self) -> Option<RouteChange> {
        self.routes.pop_front()
    }

    /// Lets go of room that is not in use.
    pub fn rest(&mut self) {
        self.known.rest();
        self.lent.rest();
        self.to_retire.shrink_to_fit();
        self.retiring.shrink_to_fit();
        self.routes.rest();
    }

    /// The connection is over: its reset tokens mean nothing any more.
    pub fn remove_all(&mut self) {
        let used = std::mem::take(&mut self.lent).into_values().collect::<std::collections::BTreeSet<_>>();
        let tokens = used.into_iter().filter_map(|sequence| self.known.get(&sequence)?.1);
        self.routes.extend(tokens.map(RouteChange::RemoveResetToken));
        self.known.clear();
        self.to_retire.clear();
    }
}

#[cfg(test)]
mod tests {
    use tercel_wire::Writer;

    use super::*;
    use crate::frames::SentFrames;

    fn id(value: u8) -> ConnectionId {
        ConnectionId::new(&[value; 8]).unwrap()
    }

    fn frame(sequence: u64, retire_prior_to: u64) -> NewConnectionId {
        let (id, reset_token) = (id(sequence as u8), ResetToken([sequence as u8; 16]));
        NewConnectionId { sequence, retire_prior_to, id, reset_token }
    }

    #[test]
    // RFC 9000 sections 5.1.2#3, 19.15#7#8.
    fn retire_prior_to_moves_on() {
        let mut ids = PeerIds::new(id(0), 4);
        for sequence in 1..4 {
            ids.on_new(&frame(sequence, 0)).unwrap();
        }
        assert_eq!(ids.current(), id(0));
        ids.on_new(&frame(4, 3)).unwrap();
        assert_eq!(ids.current(), id(3));
        ids.to_retire.sort_unstable();
        assert_eq!(ids.to_retire, [0, 1, 2]);
        // One that comes late is retired at once.
        ids.on_new(&frame(2, 0)).unwrap();
        assert_eq!(ids.known.len(), 2);
    }

    #[test]
    // RFC 9000 sections 5.1.1#5, 19.15#3#4.
    fn rules_are_kept() {
        let mut ids = PeerIds::new(id(0), 2);
        ids.on_new(&frame(1, 0)).unwrap();
        ids.on_new(&frame(1, 0)).unwrap();
        let error = |result: Result<(), Violation>| result.unwrap_err().code;
        assert_eq!(error(ids.on_new(&frame(2, 0))), TransportErrorCode::CONNECTION_ID_LIMIT_ERROR);
        let mut ids = PeerIds::new(id(0), 4);
        ids.on_new(&frame(1, 0)).unwrap();
        let other = NewConnectionId { id: id(9), ..frame(1, 0) };
        assert_eq!(error(ids.on_new(&other)), TransportErrorCode::PROTOCOL_VIOLATION);
        let same = NewConnectionId { sequence: 2, ..frame(1, 0) };
        assert_eq!(error(ids.on_new(&same)), TransportErrorCode::PROTOCOL_VIOLATION);
        let mut none = PeerIds::new(ConnectionId::EMPTY, 4);
        assert_eq!(error(none.on_new(&frame(1, 0))), TransportErrorCode::PROTOCOL_VIOLATION);
    }

    #[test]
    // RFC 9000 section 5.1.2#4#5#6.
    fn a_peer_cannot_make_us_retire_without_end() {
        let mut ids = PeerIds::new(id(0), 4);
        let refused = (1..200).find(|sequence| ids.on_new(&frame(*sequence, *sequence)).is_err());
        assert_eq!(refused, Some(MAX_RETIRING as u64 + 1));
    }

    /// Moves to another path for good.
    fn rotate(ids: &mut PeerIds) -> bool {
        let before = ids.active;
        let is_new = ids.assign(before + 1);
        ids.activate(before + 1);
        ids.release(before);
        is_new
    }

    #[test]
    // RFC 9000 sections 5.1.2#1, 9.5#1#2, 19.16#2.
    fn each_path_gets_its_own() {
        let mut ids = PeerIds::new(id(0), 4);
        assert!(!ids.has_spare() && !ids.assign(1));
        for sequence in 1..3 {
            ids.on_new(&frame(sequence, 0)).unwrap();
        }
        // One is probed, another is moved to, and the first is kept to fall back to.
        assert!(ids.assign(5) && ids.assign(6) && !ids.assign(7) && ids.assign(5));
        assert_eq!([0, 5, 6, 7].map(|path| ids.of(path)), [Some(id(0)), Some(id(1)), Some(id(2)), None]);
        ids.activate(6);
        assert_eq!((ids.current(), ids.to_retire.len()), (id(2), 0));
        ids.release(0);
        ids.release(5);
        assert_eq!((ids.of(0), ids.of(5), tell(&mut ids)), (None, None, vec![0, 1]));
        ids.rename(6, 8);
        ids.activate(8);
        assert_eq!((ids.current(), ids.of(6)), (id(2), None));
    }

    /// RFC 9000 section 9.5: where nothing is left, what the old path had goes on, and is retired with the
    /// last path that uses it.
    #[test]
    fn for_want_of_another_the_same_is_used() {
        let mut ids = PeerIds::new(id(0), 4);
        ids.activate(1);
        assert_eq!((ids.current(), ids.of(0)), (id(0), Some(id(0))));
        ids.release(0);
        assert_eq!((ids.current(), ids.wants_to_send()), (id(0), false));
        ids.on_new(&frame(1, 0)).unwrap();
        assert!(rotate(&mut ids));
        assert_eq!(tell(&mut ids), [0]);
    }

    /// RFC 9000 section 5.1.2: the path in use comes first.
    #[test]
    fn paths_move_on_when_the_peer_wants_theirs_back() {
        let mut ids = PeerIds::new(id(0), 4);
        ids.on_new(&frame(1, 0)).unwrap();
        assert!(ids.assign(1));
        ids.activate(1);
        ids.on_new(&frame(2, 2)).unwrap();
        assert_eq!((ids.current(), ids.of(0), tell(&mut ids)), (id(2), None, vec![0, 1]));
        ids.on_new(&frame(3, 2)).unwrap();
        assert_eq!((ids.assign(0), ids.of(0)), (true, Some(id(3))));
    }

    /// Tells the peer of what is retired; gives the sequence numbers, ascending.
    fn tell(ids: &mut PeerIds) -> Vec<u64> {
        let (mut bytes, mut sent) = ([0; 1000], SentFrames::new());
        ids.write(&mut FrameSink::new(&mut Writer::new(&mut bytes), &mut sent));
        let mut told: Vec<u64> = sent
            .iter()
            .map(|frame| if let SentFrame::RetireConnectionId { sequence } = frame { *sequence } else { panic!() })
            .collect();
        told.sort_unstable();
        told
    }

    fn routes(ids: &mut PeerIds) -> Vec<RouteChange> {
        std::iter::from_fn(|| ids.poll_route()).collect()
    }

    #[test]
    fn what_was_retired_does_not_come_back() {
        let mut ids = PeerIds::new(id(0), 3);
        ids.on_new(&frame(1, 0)).unwrap();
        ids.on_new(&frame(2, 0)).unwrap();
        assert!(rotate(&mut ids) && rotate(&mut ids));
        assert_eq!((ids.current(), tell(&mut ids)), (id(2), vec![0, 1]));
        // Known to be retired; and retired so long ago that nothing is remembered of it.
        for _ in 0..2 {
            ids.on_new(&frame(1, 0)).unwrap();
            ids.on_new(&frame(3, 0)).unwrap();
            ids.on_new(&frame(4, 0)).unwrap();
            assert_eq!((ids.known.len(), ids.current()), (3, id(2)));
            ids.acked(0);
            ids.acked(1);
        }
        // Section 19.15: it is retired, if need be again.
        assert_eq!(tell(&mut ids), [1]);
    }

    /// One that comes behind those that were used after it is as good as any.
    #[test]
    fn one_that_comes_late_can_be_used() {
        let mut ids = PeerIds::new(id(0), 4);
        ids.on_new(&frame(2, 0)).unwrap();
        assert!(rotate(&mut ids));
        ids.on_new(&frame(1, 0)).unwrap();
        assert_eq!((ids.current(), tell(&mut ids)), (id(2), vec![0]));
        assert!(rotate(&mut ids));
        assert_eq!((ids.current(), tell(&mut ids)), (id(1), vec![2]));
    }

    #[test]
    fn retirements_are_told_until_they_are_acknowledged() {
        let mut ids = PeerIds::new(id(0), 4);
        ids.on_new(&frame(1, 1)).unwrap();
        assert_eq!(tell(&mut ids), [0]);
        assert!(!ids.wants_to_send());
        ids.lost(0);
        assert_eq!(tell(&mut ids), [0]);
        ids.acked(0);
        ids.lost(0);
        assert!(!ids.wants_to_send());
    }

    /// Section 10.3.1: a token counts while its connection ID is in use.
    #[test]
    // RFC 9000 section 10.3.1#2.
    fn reset_tokens_follow_the_connection_id_in_use() {
        let token = |value| ResetToken([value; 16]);
        let mut ids = PeerIds::new(id(0), 4);
        assert!(!ids.is_reset_token(token(0)), "none is known yet");
        ids.set_initial(id(9));
        ids.set_initial_token(token(9));
        assert_eq!((ids.current(), routes(&mut ids)), (id(9), vec![RouteChange::AddResetToken(token(9))]));
        assert!(ids.is_reset_token(token(9)));
        ids.on_new(&frame(1, 0)).unwrap();
        assert!(!ids.is_reset_token(token(1)) && routes(&mut ids).is_empty());
        let change = |to, from| [RouteChange::AddResetToken(token(to)), RouteChange::RemoveResetToken(token(from))];
        assert!(rotate(&mut ids));
        assert_eq!(routes(&mut ids), change(1, 9));
        assert!(ids.is_reset_token(token(1)) && !ids.is_reset_token(token(9)));
        ids.on_new(&frame(2, 2)).unwrap();
        let mut changes = routes(&mut ids);
        changes.reverse();
        assert_eq!(changes, change(2, 1));
        ids.remove_all();
        assert_eq!(routes(&mut ids), [RouteChange::RemoveResetToken(token(2))]);
        assert!(!ids.is_reset_token(token(2)));
    }

    #[test]
    fn that_of_the_preferred_address_is_the_next() {
        let mut ids = PeerIds::new(id(0), 4);
        ids.add_preferred(id(1), ResetToken([1; 16]));
        assert_eq!((ids.current(), ids.has_spare()), (id(0), true));
        ids.on_new(&frame(1, 0)).unwrap();
        assert!(rotate(&mut ids));
        assert_eq!(ids.current(), id(1));
    }

    #[test]
    fn a_peer_without_connection_ids_moves_freely() {
        let mut ids = PeerIds::new(ConnectionId::EMPTY, 4);
        assert!(ids.has_spare() && rotate(&mut ids) && ids.assign(9));
        assert_eq!((ids.current(), ids.of(9)), (ConnectionId::EMPTY, Some(ConnectionId::EMPTY)));
        assert!(!ids.wants_to_send());
    }

    proptest::proptest! {
        /// An honest peer, whose frames come late, twice and in any order, is never refused, and what
        /// it counts as active is what is known here or will be retired.
        #[test]
        fn an_honest_peer_is_never_refused(steps in proptest::collection::vec((0u8..4, 0usize..8), 0..120)) {
            const LIMIT: u64 = 4;
            let mut ids = PeerIds::new(id(0), LIMIT);
            // What the peer counts as active, what it will say next, and what it has said.
            let (mut active, mut next, mut prior) = (vec![0u64], 1u64, 0u64);
            let mut flying: Vec<NewConnectionId> = Vec::new();
            for (what, at) in steps {
                match what {
                    0 if (active.iter().filter(|sequence| **sequence >= prior).count() as u64) < LIMIT && next < 200 => {
                        // Now and then it wants old ones gone.
                        if at == 0 {
                            prior = prior.max(next.saturating_sub(1));
                        }
                        active.push(next);
                        flying.push(frame(next, prior));
                        next += 1;
                    }
                    1 if !flying.is_empty() => {
                        let at = at % flying.len();
                        let new = if at.is_multiple_of(3) { flying[at] } else { flying.swap_remove(at) };
                        ids.on_new(&new).unwrap();
                    }
                    2 => {
                        let before = ids.current();
                        if rotate(&mut ids) {
                            proptest::prop_assert!(ids.current() != before);
                        }
                    }
                    3 => {
                        for sequence in tell(&mut ids) {
                            active.retain(|known| *known != sequence);
                            if at % 2 == 0 { ids.acked(sequence) } else { ids.lost(sequence) }
                        }
                    }
                    _ => {}
                }
                proptest::prop_assert!(ids.of(ids.active).is_some());
                proptest::prop_assert!(ids.known.keys().all(|sequence| *sequence >= ids.retire_prior_to));
                proptest::prop_assert!(ids.known.keys().all(|sequence| active.contains(sequence)));
            }
        }
    }
}
