//! The connection IDs that we may send to.

use std::collections::{BTreeMap, VecDeque};

use tercel_wire::frame::NewConnectionId;
use tercel_wire::{ConnectionId, Frame, ResetToken, TransportErrorCode};

use crate::connection::RouteChange;
use crate::error::Violation;
use crate::frames::{FrameSink, SentFrame};

/// So many retirements may wait to be told (RFC 9000 section 5.1.2): a peer that makes us retire
/// more without acknowledging is up to no good.
const MAX_RETIRING: usize = 64;

/// The connection IDs that the peer issued.
#[derive(Debug)]
pub struct PeerIds {
    current: u64,
    /// The current one, and those after it; what came before is retired.
    known: BTreeMap<u64, (ConnectionId, Option<ResetToken>)>,
    limit: u64,
    /// Sequence numbers to be told as retired, and those told but not acknowledged.
    to_retire: Vec<u64>,
    retiring: Vec<u64>,
    routes: VecDeque<RouteChange>,
}

impl PeerIds {
    /// Begins with the connection ID of the handshake, sequence number 0. `limit` is our
    /// active_connection_id_limit.
    pub fn new(id: ConnectionId, limit: u64) -> Self {
        Self {
            current: 0,
            known: BTreeMap::from([(0, (id, None))]),
            limit,
            to_retire: Vec::new(),
            retiring: Vec::new(),
            routes: VecDeque::new(),
        }
    }

    /// The connection ID to send to.
    pub fn current(&self) -> ConnectionId {
        self.known.get(&self.current).map_or(ConnectionId::EMPTY, |(id, _)| *id)
    }

    /// During the handshake the peer's choice of its own connection ID replaces the one we began
    /// with (RFC 9000 section 7.2).
    pub fn set_initial(&mut self, id: ConnectionId) {
        self.known.insert(0, (id, None));
    }

    /// The server's transport parameters give the token of the connection ID of the handshake.
    pub fn set_initial_token(&mut self, token: ResetToken) {
        if let Some((_, known)) = self.known.get_mut(&0) {
            *known = Some(token);
            if self.current == 0 {
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
        if self.current().is_empty() {
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
        if frame.sequence < self.current {
            // It was retired before, or is so late that its successors are in use already.
            self.retire(frame.sequence);
            return self.check_retiring();
        }
        self.known.entry(frame.sequence).or_insert(new);
        if frame.retire_prior_to > self.current {
            let kept = self.known.split_off(&frame.retire_prior_to);
            let retired = std::mem::replace(&mut self.known, kept);
            if let Some((next, (_, token))) = self.known.first_key_value() {
                if let Some((_, Some(old))) = retired.get(&self.current) {
                    self.routes.push_back(RouteChange::RemoveResetToken(*old));
                }
                self.current = *next;
                self.routes.extend(token.map(RouteChange::AddResetToken));
            }
            retired.into_keys().for_each(|sequence| self.retire(sequence));
        }
        if self.known.len() as u64 > self.limit {
            return Err(Violation::new(
                TransportErrorCode::CONNECTION_ID_LIMIT_ERROR,
                "more connection IDs than allowed",
            ));
        }
        self.check_retiring()
    }

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
    }

    /// Goes on to a connection ID that was not used before, as a new path asks for (RFC 9000 section
    /// 9.5), and retires the one in use. False if there is none.
    pub fn rotate(&mut self) -> bool {
        let Some((next, token)) = self.known.range(self.current + 1..).next().map(|(next, (_, token))| (*next, *token))
        else {
            // A peer without connection IDs has nothing to rotate.
            return self.current().is_empty();
        };
        if let Some((_, Some(old))) = self.known.remove(&self.current) {
            self.routes.push_back(RouteChange::RemoveResetToken(old));
        }
        let old = std::mem::replace(&mut self.current, next);
        self.retire(old);
        self.routes.extend(token.map(RouteChange::AddResetToken));
        true
    }

    /// The connection ID that [`rotate`](Self::rotate) would go on to: for probes of another path.
    pub fn next(&self) -> Option<ConnectionId> {
        match self.current().is_empty() {
            true => Some(ConnectionId::EMPTY),
            false => self.known.range(self.current + 1..).next().map(|(_, (id, _))| *id),
        }
    }

    /// Whether a datagram that ends with `token` is a stateless reset of this connection.
    pub fn is_reset_token(&self, token: ResetToken) -> bool {
        self.known.get(&self.current).is_some_and(|(_, known)| *known == Some(token))
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

    /// The connection is over: its reset tokens mean nothing any more.
    pub fn remove_all(&mut self) {
        if let Some((_, Some(token))) = self.known.get(&self.current) {
            self.routes.push_back(RouteChange::RemoveResetToken(*token));
        }
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
    fn a_peer_cannot_make_us_retire_without_end() {
        let mut ids = PeerIds::new(id(0), 4);
        let refused = (1..200).find(|sequence| ids.on_new(&frame(*sequence, *sequence)).is_err());
        assert_eq!(refused, Some(MAX_RETIRING as u64 + 1));
    }

    #[test]
    fn each_path_gets_its_own() {
        let mut ids = PeerIds::new(id(0), 4);
        assert!(!ids.rotate());
        ids.on_new(&frame(1, 0)).unwrap();
        assert!(ids.rotate());
        assert_eq!((ids.current(), ids.to_retire.clone()), (id(1), vec![0]));
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
        assert!(ids.rotate() && ids.rotate());
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

    /// One that comes behind those that were used after it could never be used.
    #[test]
    fn one_that_comes_too_late_is_retired() {
        let mut ids = PeerIds::new(id(0), 4);
        ids.on_new(&frame(2, 0)).unwrap();
        assert!(ids.rotate());
        ids.on_new(&frame(1, 0)).unwrap();
        assert_eq!((ids.current(), tell(&mut ids)), (id(2), vec![0, 1]));
        assert_eq!(ids.next(), None);
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
        let change = |from, to| [RouteChange::RemoveResetToken(token(from)), RouteChange::AddResetToken(token(to))];
        assert!(ids.rotate());
        assert_eq!(routes(&mut ids), change(9, 1));
        assert!(ids.is_reset_token(token(1)) && !ids.is_reset_token(token(9)));
        ids.on_new(&frame(2, 2)).unwrap();
        assert_eq!(routes(&mut ids), change(1, 2));
        ids.remove_all();
        assert_eq!(routes(&mut ids), [RouteChange::RemoveResetToken(token(2))]);
        assert!(!ids.is_reset_token(token(2)));
    }

    #[test]
    fn that_of_the_preferred_address_is_the_next() {
        let mut ids = PeerIds::new(id(0), 4);
        ids.add_preferred(id(1), ResetToken([1; 16]));
        assert_eq!((ids.current(), ids.next()), (id(0), Some(id(1))));
        ids.on_new(&frame(1, 0)).unwrap();
        assert!(ids.rotate());
        assert_eq!(ids.current(), id(1));
    }

    #[test]
    fn a_peer_without_connection_ids_moves_freely() {
        let mut ids = PeerIds::new(ConnectionId::EMPTY, 4);
        assert_eq!((ids.next(), ids.rotate()), (Some(ConnectionId::EMPTY), true));
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
                        let before = ids.current;
                        if ids.rotate() {
                            proptest::prop_assert!(ids.current > before);
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
                proptest::prop_assert!(ids.known.contains_key(&ids.current));
                proptest::prop_assert!(ids.known.keys().all(|sequence| *sequence >= ids.current));
                proptest::prop_assert!(ids.known.keys().all(|sequence| active.contains(sequence)));
            }
        }
    }
}
