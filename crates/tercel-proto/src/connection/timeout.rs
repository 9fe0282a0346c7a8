//! Time passes: every component is asked what is due.

use super::Connection;
use super::phase::Phase;
use crate::error::CloseReason;
use crate::idle::Expired;
use crate::space::Urgency;
use crate::time::Time;

impl Connection {
    pub(super) fn on_timeout(&mut self, now: Time) {
        self.tell_pending_end(now);
        if self.end_of_phase().is_some_and(|until| until <= now) {
            self.phase = Phase::Closed;
            self.on_closed();
        }
        if !self.phase.is_alive() {
            return;
        }
        if self.blocked_until.is_some_and(|until| until <= now) {
            self.blocked_until = None;
        }
        self.on_verdict_timeout(now);
        match self.idle.timeout(now, self.streams.may_be_limited()) {
            Some(Expired::Idle) => return self.end(CloseReason::IdleTimeout),
            Some(Expired::Handshake) => return self.on_handshake_timeout(now),
            Some(Expired::KeepAlive) => self.ping_due = true,
            // What is under way will be answered, or asked for again.
            Some(Expired::Limited) if self.recovery.bytes_in_flight() > 0 => {}
            Some(Expired::Limited) => self.streams.say_limits_again(),
            None => {}
        }
        self.on_recovery_timeout(now);
        self.spaces.data.timeout(now);
        self.on_path_timeout(now);
        self.ask_peer(now);
        self.after_input(now);
        if self.idle.rests(now) {
            self.rest();
        }
    }

    /// Lets go of what is kept only to be at hand: room that emptied queues and tables hold, and the keys of the phase to
    /// come. Most connections of a server are silent most of the time, and this is the greater part of what they take.
    fn rest(&mut self) {
        self.rested = true;
        self.events.rest();
        self.routes.rest();
        self.local_ids.rest();
        self.peer_ids.rest();
        self.entropy.rest();
        self.recovery.rest();
        self.streams.rest();
        self.datagrams.rest();
        self.handshake.rest(self.recovery.bytes_in_flight() == 0);
        let data = &mut self.spaces.data;
        data.numbers.received.rest();
        data.numbers.crypto.rest();
        if let Some(keys) = &mut data.one_rtt {
            keys.rest();
        }
    }

    /// A handshake that takes too long is closed with a word, in case the peer can hear it.
    fn on_handshake_timeout(&mut self, now: Time) {
        let farewell = super::closing::Farewell::Transport {
            code: tercel_wire::TransportErrorCode::NO_ERROR,
            frame: 0,
            reason: bytes::Bytes::from_static(b"handshake timeout"),
        };
        self.begin_close(now, farewell, CloseReason::HandshakeTimeout);
    }

    fn on_recovery_timeout(&mut self, now: Time) {
        let mut outcome = self.workspace.take_outcome();
        self.recovery.timeout(now, |frame| self.streams.may_repeat(frame), &mut outcome);
        self.settle(now, &outcome);
        self.workspace.give_back(outcome);
    }

    pub(super) fn next_timeout(&self) -> Option<Time> {
        if !self.phase.is_alive() {
            return self.next_end();
        }
        let acks = match self.spaces.data.numbers.acks.urgency(Time::ZERO) {
            // One that was due and could not be sent waits for what lets it go: bytes from the
            // peer's new address, or its validation.
            Urgency::By(at) if self.spaces.data.one_rtt.is_some() && at > self.silent_at => Some(at),
            _ => None,
        };
        let times = [
            self.recovery.next_timeout(),
            self.idle.next_timeout(self.streams.may_be_limited()),
            self.idle.rest_at(),
            self.handshake.verdict_deadline,
            self.paths.next_timeout(self.silent_at),
            self.blocked_until,
            acks,
            self.spaces.data.next_timeout(),
        ];
        times.into_iter().flatten().min()
    }
}
