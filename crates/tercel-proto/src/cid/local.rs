//! The connection IDs that the peer may send to.

use std::collections::{BTreeMap, VecDeque};

use tercel_wire::frame::NewConnectionId;
use tercel_wire::{ConnectionId, Frame, ResetToken, TransportErrorCode};

use crate::config::ConnectionIdIssuer;
use crate::connection::RouteChange;
use crate::entropy::Entropy;
use crate::error::Violation;
use crate::frames::{FrameSink, SentFrame};

/// So many are kept active, if the peer's limit permits: one in use and some to migrate with.
const TARGET: u64 = 4;

/// The connection IDs that we issued.
#[derive(Debug)]
pub struct LocalIds {
    active: BTreeMap<u64, (ConnectionId, ResetToken)>,
    next_sequence: u64,
    limit: u64,
    /// Sequence numbers to be told, for the first time or again.
    to_tell: Vec<u64>,
    routes: VecDeque<RouteChange>,
}

impl LocalIds {
    /// Begins with the connection ID of the handshake, sequence number 0.
    pub fn new(handshake: ConnectionId, token: ResetToken) -> Self {
        Self {
            active: BTreeMap::from([(0, (handshake, token))]),
            next_sequence: 1,
            limit: 1,
            to_tell: Vec::new(),
            routes: VecDeque::from([RouteChange::Add(handshake)]),
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
        self.routes.push_back(RouteChange::Add(id));
        (id, token)
    }

    /// The peer keeps up to `limit` (its active_connection_id_limit): issues more, up to that.
    pub fn set_limit(&mut self, limit: u64, issuer: &mut dyn ConnectionIdIssuer, entropy: &mut Entropy) {
        self.limit = limit;
        self.replenish(issuer, entropy);
    }

    fn replenish(&mut self, issuer: &mut dyn ConnectionIdIssuer, entropy: &mut Entropy) {
        while !issuer.is_empty() && (self.active.len() as u64) < self.limit.min(TARGET) {
            let (id, token) = issuer.issue(entropy);
            self.active.insert(self.next_sequence, (id, token));
            self.to_tell.push(self.next_sequence);
            self.next_sequence += 1;
            self.routes.push_back(RouteChange::Add(id));
        }
    }

    /// The peer retires one; another takes its place. `used` is the connection ID that the packet
    /// with the frame was sent to.
    ///
    /// # Errors
    /// PROTOCOL_VIOLATION (RFC 9000 section 19.16): one that was never issued, or the one in use by
    /// the very packet.
    pub fn on_retire(
        &mut self,
        sequence: u64,
        used: &ConnectionId,
        issuer: &mut dyn ConnectionIdIssuer,
        entropy: &mut Entropy,
    ) -> Result<(), Violation> {
        let violation = |reason| Err(Violation::new(TransportErrorCode::PROTOCOL_VIOLATION, reason));
        if sequence >= self.next_sequence || issuer.is_empty() {
            return violation("retired a connection ID that was never issued");
        }
        if self.active.get(&sequence).is_some_and(|(id, _)| id == used) {
            return violation("retired the connection ID of the packet itself");
        }
        if let Some((id, _)) = self.active.remove(&sequence) {
            self.routes.push_back(RouteChange::Remove(id));
            self.to_tell.retain(|known| *known != sequence);
            self.replenish(issuer, entropy);
        }
        Ok(())
    }

    /// Whether a NEW_CONNECTION_ID frame is to be sent.
    pub fn wants_to_send(&self) -> bool {
        !self.to_tell.is_empty()
    }

    /// Writes NEW_CONNECTION_ID frames.
    pub fn write(&mut self, sink: &mut FrameSink<'_, '_>) {
        while let Some(sequence) = self.to_tell.last().copied() {
            if let Some((id, reset_token)) = self.active.get(&sequence) {
                let frame = NewConnectionId { sequence, retire_prior_to: 0, id: *id, reset_token: *reset_token };
                if !sink.push(&Frame::NewConnectionId(frame), SentFrame::NewConnectionId { sequence }) {
                    return;
                }
            }
            self.to_tell.pop();
        }
    }

    /// A NEW_CONNECTION_ID frame was lost.
    pub fn lost(&mut self, sequence: u64) {
        if self.active.contains_key(&sequence) && !self.to_tell.contains(&sequence) {
            self.to_tell.push(sequence);
        }
    }

    /// Whether datagrams to `id` are for this connection.
    pub fn contains(&self, id: &ConnectionId) -> bool {
        self.active.values().any(|(known, _)| known == id)
    }

    /// The next change in what belongs to this connection.
    pub fn poll_route(&mut self) -> Option<RouteChange> {
        self.routes.pop_front()
    }

    /// The connection is over: none belongs to it any more.
    pub fn remove_all(&mut self) {
        let active = std::mem::take(&mut self.active);
        self.routes.extend(active.into_values().map(|(id, _)| RouteChange::Remove(id)));
        self.to_tell.clear();
    }
}
