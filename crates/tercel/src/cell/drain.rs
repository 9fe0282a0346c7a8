//! A connection's turn: its operations, its datagrams, its timer; then events and what is to be
//! sent, until there is no more or its budget is used up.

use bytes::Bytes;
use tercel_proto::connection::RouteChange;
use tercel_proto::error::CloseReason;
use tercel_proto::path::PathAddress;
use tercel_proto::time::Time;
use tercel_wire::{ApplicationErrorCode, ConnectionId};

use super::deliver::{deliver, end_turn, finish};
use super::{Core, Happening};
use crate::worker::{FIRST_BATCH, Floor, Sent};

/// How many batches a connection may send in one turn.
const BATCHES: usize = 8;

/// How much a first batch has at the most.
const MOST_FIRST: usize = 4 * FIRST_BATCH;

/// So often a first batch is doubled at the most by letting tasks go first.
const MOST_WAYS: u32 = 10;

/// What became of a connection in its turn.
pub(crate) enum Outcome {
    /// It has nothing to do until its deadline, or until something comes for it.
    Waits(Box<Core>),
    /// It has used up its budget and wants another turn.
    Again(Box<Core>),
    /// Its socket takes no more for now.
    Blocked(Box<Core>),
    /// It has ended, but what leads to it must for a while (RFC 9000 section 10.2.2).
    Drains(Box<Core>),
    /// It has ended.
    Gone(Box<Core>),
}

/// Gives `core` its turn.
pub(crate) fn drain(mut core: Box<Core>, now: Time, floor: &mut Floor) -> Outcome {
    let span = core.span.clone();
    let _entered = span.enter();
    let handshakes = core.proto.is_handshaking();
    core.now = now;
    core.borrow(floor);
    core.proto.at(now);
    core.ideal_stale = true;
    if std::mem::take(&mut core.operations_wait) {
        core.take_operations();
    }
    let mut inbox = std::mem::take(&mut core.inbox);
    let mut brought = 0;
    for received in inbox.drain(..) {
        brought += received.data.len();
        core.proto.receive_all(now, received);
    }
    core.inbox = inbox;
    core.note_acknowledged();
    if core.deadline.is_some_and(|deadline| deadline <= now) {
        core.proto.timeout(now);
        if core.proto.take_rested() {
            core.rest();
        }
    }
    let first = first_batch(brought, core.proto.bytes_in_flight());
    let mut rests = false;
    let mut outcome: fn(Box<Core>) -> Outcome = Outcome::Again;
    for batch in 0..BATCHES {
        // When handlers have given that much to send it leaves, before others are called.
        let enough = first << (batch as u32 + core.ways);
        // What it answers leaves before it is told more.
        if !std::mem::take(&mut core.gave_way) {
            let any;
            (core, any) = deliver(core, floor, enough);
            if any && core.give_way(floor) {
                break;
            }
        }
        core.change_paths(floor);
        core.close_if_delivered();
        match core.transmit(floor) {
            Sent::Batch => continue,
            Sent::Blocked => {
                (core, _) = deliver(core, floor, usize::MAX);
                outcome = Outcome::Blocked;
            }
            Sent::Nothing => {
                // Sending may have caused events, and these something to send.
                let any;
                (core, any) = deliver(core, floor, enough);
                if any && core.give_way(floor) {
                    break;
                }
                if core.close_if_delivered() || any {
                    continue;
                }
                outcome = Outcome::Waits;
                core.ways = 0;
                rests = true;
                core.gone |= core.only_drains();
            }
        }
        break;
    }
    if handshakes {
        // The peer can begin: it has more to do about a flight than a system call takes.
        floor.sockets.leave();
    }
    core = end_turn(core);
    let farewell = core.farewell.as_ref().map(|farewell| farewell.deadline);
    core.deadline = core.proto.poll_timeout().into_iter().chain(farewell).min();
    // Whenever it comes to rest, and now and then in a long burst.
    let gone = core.gone;
    core.publish(rests || gone);
    core.hand_over_trace(gone);
    core.borrow(floor);
    match gone {
        true if core.proto.is_draining() => Outcome::Drains(core),
        true => Outcome::Gone(core),
        false => outcome(core),
    }
}

/// How much handlers may give before it leaves for the first time in a turn that has `brought` so many bytes, while so many
/// are under way to the peer: half of the two together. Of requests that come and go these are all that there are, so
/// that either end has half of them to work at; with less in a batch both make more system calls, with more one waits for
/// the other.
fn first_batch(brought: usize, under_way: u64) -> usize {
    let all = brought.saturating_add(usize::try_from(under_way).unwrap_or(usize::MAX));
    (all / 2).clamp(FIRST_BATCH, MOST_FIRST)
}

/// Ends `core` at once, with a word to the peer if it can be sent at once.
pub(crate) fn end(mut core: Box<Core>, now: Time, floor: &mut Floor) -> Box<Core> {
    core.now = now;
    core.take_operations();
    let code = ApplicationErrorCode::default();
    core.close(code, Bytes::new());
    (core, _) = deliver(core, floor, usize::MAX);
    core.transmit(floor);
    core.hand_over_trace(true);
    core = end_turn(finish(core, CloseReason::LocalApplication { code }));
    core.gone = true;
    core.publish(true);
    core
}

impl Core {
    /// Exchanges the room that it works in for the worker's, which others have used before it; and back.
    fn borrow(&mut self, floor: &mut Floor) {
        self.proto.exchange_workspace(&mut floor.workspace);
        std::mem::swap(&mut self.chunks, &mut floor.chunks);
    }

    /// If its application has tasks on this thread these may answer what they were told, before anything is sent.
    fn give_way(&mut self, floor: &mut Floor) -> bool {
        if !floor.give_way() {
            return false;
        }
        self.told = 0;
        self.ways = (self.ways + 1).min(MOST_WAYS);
        self.gave_way = true;
        true
    }

    fn transmit(&mut self, floor: &mut Floor) -> Sent {
        self.unsent = 0;
        let (now, proto) = (self.now, &mut self.proto);
        floor.transmit(self.socket, self.slot, self.largest, |segments, room| proto.poll_transmit(now, segments, room))
    }

    /// The system says that nothing can be sent on a path.
    #[cold]
    pub(crate) fn send_failed(&mut self, now: Time, path: PathAddress) {
        self.proto.send_failed(now, path);
    }

    /// If something was acknowledged, and the application wants to hear of that, it will.
    fn note_acknowledged(&mut self) {
        let Some(told) = &mut self.network_told else { return };
        let acked = self.proto.stats().packets_acked;
        if std::mem::replace(told, acked) < acked && !self.is_closing() {
            self.happened.push_back(Happening::Network);
        }
    }

    /// Its first route, before the protocol has asked for it.
    pub(crate) fn route_first(&mut self, dcid: ConnectionId, floor: &mut Floor) {
        self.reroute(RouteChange::Add(dcid), floor);
    }

    /// Does what other threads have asked for.
    pub(super) fn take_operations(&mut self) {
        self.take_operations_and(|| {});
    }

    /// The same from within a handler, where looks have to wait: they are code of the application's, which does not
    /// expect them there.
    pub(super) fn catch_up(&mut self) {
        let mut operations = std::mem::take(&mut self.operations);
        self.shared.queue.take(&mut operations, || {});
        while let Some(operation) = operations.pop_front() {
            match operation.is_look() {
                true => self.looks.push_back(operation),
                false => self.apply_queued(operation),
            }
        }
        self.operations = operations;
    }

    /// Has those look who had to wait.
    pub(super) fn look(&mut self) {
        while let Some(look) = self.looks.pop_front() {
            self.apply_queued(look);
        }
    }

    /// Does what other threads have asked for, and changes something so that whoever asks later sees it.
    pub(super) fn take_operations_and(&mut self, seal: impl FnOnce()) {
        self.look();
        let mut operations = std::mem::take(&mut self.operations);
        self.shared.queue.take(&mut operations, seal);
        while let Some(operation) = operations.pop_front() {
            self.apply_queued(operation);
        }
        self.operations = operations;
    }

    /// When it must have a turn whatever happens.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.deadline
    }

    /// Where its worker keeps it.
    pub(crate) fn slot(&self) -> u32 {
        self.slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_batch_is_half_of_what_came_and_what_is_under_way() {
        assert_eq!(first_batch(20_000, 0), 10_000);
        assert_eq!(first_batch(0, 20_000), 10_000);
        assert_eq!(first_batch(8_000, 6_000), 7_000);
    }

    #[test]
    fn a_first_batch_has_bounds() {
        assert_eq!(first_batch(0, 0), FIRST_BATCH);
        assert_eq!(first_batch(4_000, 4_000), FIRST_BATCH);
        assert_eq!(first_batch(100_000, 0), MOST_FIRST);
        assert_eq!(first_batch(usize::MAX, u64::MAX), MOST_FIRST);
    }
}
