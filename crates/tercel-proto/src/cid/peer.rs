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
    known: BTreeMap<u64, (ConnectionId, Option<ResetToken>)>,
    retire_prior_to: u64,
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
            retire_prior_to: 0,
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
        if frame.sequence < self.retire_prior_to {
            self.retire(frame.sequence);
            return self.check_retiring();
        }
        let retired = self.to_retire.contains(&frame.sequence) || self.retiring.contains(&frame.sequence);
        if !retired {
            self.known.entry(frame.sequence).or_insert(new);
        }
        if frame.retire_prior_to > self.retire_prior_to {
            self.retire_prior_to = frame.retire_prior_to;
            let kept = self.known.split_off(&frame.retire_prior_to);
            let retired = std::mem::replace(&mut self.known, kept);
            if self.current < frame.retire_prior_to
                && let Some((next, (_, token))) = self.known.first_key_value()
            {
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
    use super::*;

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
}
