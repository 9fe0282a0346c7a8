//! The timeouts of silence: idle (RFC 9000 section 10.1), handshake, and keep-alive.

use std::time::Duration;

use crate::time::Time;

/// After so long a silence a connection rests that has rested before: see [`Idle::rests`].
const REST: Duration = Duration::from_millis(500);

/// How long a silence it takes until a connection rests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// Two probe timeouts, in which an answer would have come and been acknowledged: many connections are made and then
    /// silent for long.
    New,
    /// [`REST`]: who was used after a rest is used again, and to wake costs more than the memory is worth.
    Used,
}

/// What a deadline that has passed asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expired {
    /// Nothing was heard for the idle timeout: the connection is over.
    Idle,
    /// The handshake took too long: the connection is over.
    Handshake,
    /// A PING is due to keep the connection alive.
    KeepAlive,
    /// The peer's limits are to be spoken of again, to keep the connection alive.
    Limited,
}

/// Watches for silence.
#[derive(Debug)]
pub struct Idle {
    /// What this end bears, and what the peer does; zero for everything.
    own: Duration,
    peer: Duration,
    keep_alive: Option<Duration>,
    handshake_deadline: Option<Time>,
    /// When the idle timeout ends the connection, unless something is heard.
    deadline: Option<Time>,
    keep_alive_at: Option<Time>,
    /// When whoever is held back by the peer's limits is to say so again.
    limited_at: Option<Time>,
    /// When all of these began the last time, after the handshake.
    restarted_at: Option<Time>,
    patience: Patience,
    /// When the connection comes to rest; `None` while it rests, and in the handshake.
    rest_at: Option<Time>,
    /// Whether an ack-eliciting packet was sent since the last one was received.
    sent_since_receipt: bool,
}

impl Idle {
    /// Begins to watch. `pto` is three times the probe timeout's least: see
    /// [`on_received`](Self::on_received).
    pub fn new(now: Time, timeout: Duration, handshake_timeout: Duration, keep_alive: Option<Duration>) -> Self {
        Self {
            own: timeout,
            peer: Duration::ZERO,
            keep_alive,
            handshake_deadline: Some(now + handshake_timeout),
            deadline: (!timeout.is_zero()).then(|| now + timeout.max(handshake_timeout)),
            keep_alive_at: None,
            limited_at: None,
            restarted_at: None,
            patience: Patience::New,
            rest_at: None,
            sent_since_receipt: false,
        }
    }

    /// The peer's max_idle_timeout: the smaller one holds; zero is none (section 10.1).
    pub const fn set_peer_timeout(&mut self, peer: Duration) {
        self.peer = peer;
    }

    /// This end bears silence for another time from now on, and keeps it from coming up in another way. `pto` as for
    /// [`on_received`](Self::on_received).
    pub fn change(&mut self, now: Time, pto: Duration, timeout: Duration, keep_alive: Option<Duration>) {
        if (self.own, self.keep_alive) == (timeout, keep_alive) {
            return;
        }
        (self.own, self.keep_alive) = (timeout, keep_alive);
        if self.handshake_deadline.is_none() {
            self.restart(now, pto);
        }
    }

    /// How long the two ends bear silence; zero for ever.
    pub fn timeout_of_both(&self) -> Duration {
        match (self.own.is_zero(), self.peer.is_zero()) {
            (_, true) => self.own,
            (true, false) => self.peer,
            (false, false) => self.own.min(self.peer),
        }
    }

    /// When the handshake has taken too long.
    pub const fn handshake_deadline(&self) -> Option<Time> {
        self.handshake_deadline
    }

    /// The handshake is complete.
    pub fn on_handshake_complete(&mut self, now: Time, pto: Duration) {
        self.handshake_deadline = None;
        self.restart(now, pto);
    }

    /// A packet was received and processed.
    pub fn on_received(&mut self, now: Time, pto: impl FnOnce() -> Duration) {
        self.sent_since_receipt = false;
        // Of those that came together the first has done it.
        if self.restarted_at != Some(now) {
            self.restart(now, pto());
        }
    }

    /// An ack-eliciting packet was sent: the first since the last receipt restarts the timer.
    pub fn on_ack_eliciting_sent(&mut self, now: Time, pto: impl FnOnce() -> Duration) {
        if !self.sent_since_receipt {
            self.sent_since_receipt = true;
            self.restart(now, pto());
        }
    }

    /// Something was sent or came, though it may be no more than an acknowledgement, or not authentic: a connection that
    /// was at rest has taken up again what it had let go of, and is to rest once more.
    pub fn wake(&mut self, now: Time) {
        if self.handshake_deadline.is_none() && self.rest_at.is_none() {
            self.rest_at = Some(now + REST);
        }
    }

    // RFC 9000 section 10.1#1.
    fn restart(&mut self, now: Time, pto: Duration) {
        // Section 10.1: at least three times the probe timeout.
        let timeout = self.timeout_of_both();
        self.deadline = (!timeout.is_zero()).then(|| now + timeout.max(3 * pto));
        if self.handshake_deadline.is_none() {
            self.restarted_at = Some(now);
            self.rest_at = Some(match self.patience {
                Patience::New => now + (2 * pto).min(REST),
                Patience::Used => now + REST,
            });
            self.keep_alive_at = self.keep_alive.map(|after| now + after);
            self.limited_at = (!timeout.is_zero()).then(|| now + timeout / 3);
        }
    }

    /// When [`rests`](Self::rests) is to be asked.
    pub const fn rest_at(&self) -> Option<Time> {
        self.rest_at
    }

    /// Whether there has been silence for a while by now, so that what is kept only to be at hand can be let go of. Once
    /// for each silence.
    pub fn rests(&mut self, now: Time) -> bool {
        let rests = self.rest_at.take_if(|at| *at <= now).is_some();
        if rests {
            self.patience = Patience::Used;
        }
        rests
    }

    /// When [`timeout`](Self::timeout) is due. `limited` is whether the peer's limits keep this end from sending.
    pub fn next_timeout(&self, limited: bool) -> Option<Time> {
        let limited_at = self.limited_at.filter(|_| limited);
        [self.deadline, self.handshake_deadline, self.keep_alive_at, limited_at].into_iter().flatten().min()
    }

    /// What has expired by now.
    pub fn timeout(&mut self, now: Time, limited: bool) -> Option<Expired> {
        let due = |at: Option<Time>| at.is_some_and(|at| at <= now);
        if due(self.handshake_deadline) {
            return Some(Expired::Handshake);
        }
        if due(self.deadline) {
            return Some(Expired::Idle);
        }
        if due(self.keep_alive_at) {
            self.keep_alive_at = self.keep_alive.map(|after| now + after);
            return Some(Expired::KeepAlive);
        }
        if limited && due(self.limited_at) {
            let timeout = self.timeout_of_both();
            self.limited_at = (!timeout.is_zero()).then(|| now + timeout / 3);
            return Some(Expired::Limited);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);
    const PTO: Duration = Duration::from_millis(100);

    fn idle(timeout: Duration, keep_alive: Option<Duration>) -> Idle {
        let mut idle = Idle::new(Time::ZERO, timeout, 10 * S, keep_alive);
        idle.on_handshake_complete(Time::ZERO, PTO);
        idle
    }

    #[test]
    fn the_smaller_timeout_holds_and_zero_is_none() {
        for (ours, theirs, both) in
            [(30, 10, Some(10)), (10, 30, Some(10)), (0, 7, Some(7)), (7, 0, Some(7)), (0, 0, None)]
        {
            let mut idle = idle(ours * S, None);
            idle.set_peer_timeout(theirs * S);
            idle.on_received(Time::ZERO + S, || PTO);
            assert_eq!(idle.next_timeout(false), both.map(|both| Time::ZERO + (1 + both) * S));
        }
    }

    #[test]
    fn only_the_first_packet_since_the_last_receipt_restarts_it() {
        let mut idle = idle(10 * S, None);
        idle.on_ack_eliciting_sent(Time::ZERO + S, || PTO);
        idle.on_ack_eliciting_sent(Time::ZERO + 2 * S, || PTO);
        assert_eq!(idle.next_timeout(false), Some(Time::ZERO + 11 * S));
        idle.on_received(Time::ZERO + 3 * S, || PTO);
        assert_eq!(idle.next_timeout(false), Some(Time::ZERO + 13 * S));
        assert_eq!(idle.timeout(Time::ZERO + 13 * S, false), Some(Expired::Idle));
    }

    #[test]
    // RFC 9000 section 10.1#1.
    fn it_is_never_shorter_than_three_probe_timeouts() {
        let mut idle = idle(S, None);
        idle.on_received(Time::ZERO + S, || 2 * S);
        assert_eq!(idle.next_timeout(false), Some(Time::ZERO + 7 * S));
    }

    #[test]
    fn packets_that_come_together_restart_it_once_and_each_is_a_receipt() {
        let mut idle = idle(10 * S, None);
        let mut asked = 0;
        for _ in 0..3 {
            idle.on_received(Time::ZERO + S, || {
                asked += 1;
                PTO
            });
        }
        assert_eq!((asked, idle.next_timeout(false)), (1, Some(Time::ZERO + 11 * S)));
        idle.on_ack_eliciting_sent(Time::ZERO + 2 * S, || PTO);
        assert_eq!(idle.next_timeout(false), Some(Time::ZERO + 12 * S));
        idle.on_received(Time::ZERO + 2 * S, || PTO);
        idle.on_ack_eliciting_sent(Time::ZERO + 3 * S, || PTO);
        assert_eq!(idle.next_timeout(false), Some(Time::ZERO + 13 * S));
    }

    #[test]
    fn a_handshake_that_takes_too_long_ends() {
        let mut idle = Idle::new(Time::ZERO, 30 * S, 10 * S, None);
        idle.on_received(Time::ZERO + 9 * S, || PTO);
        assert_eq!(idle.timeout(Time::ZERO + 9 * S, false), None);
        assert_eq!(idle.timeout(Time::ZERO + 10 * S, false), Some(Expired::Handshake));
    }

    #[test]
    fn what_this_end_bears_may_change() {
        let mut idle = idle(10 * S, None);
        idle.set_peer_timeout(20 * S);
        idle.change(Time::ZERO + S, PTO, 30 * S, Some(7 * S));
        assert_eq!(idle.next_timeout(false), Some(Time::ZERO + 8 * S));
        idle.change(Time::ZERO + 2 * S, PTO, 30 * S, None);
        assert_eq!(idle.next_timeout(false), Some(Time::ZERO + 22 * S));
        idle.change(Time::ZERO + 3 * S, PTO, 5 * S, None);
        assert_eq!(idle.next_timeout(false), Some(Time::ZERO + 8 * S));
        // The handshake has a time of its own.
        let mut idle = Idle::new(Time::ZERO, 30 * S, 10 * S, None);
        idle.change(Time::ZERO, PTO, S, Some(S));
        assert_eq!(idle.next_timeout(false), Some(Time::ZERO + 10 * S));
    }

    #[test]
    fn it_rests_once_for_each_silence() {
        let mut idle = Idle::new(Time::ZERO, 30 * S, 10 * S, None);
        // Not in the handshake.
        assert_eq!(idle.rest_at(), None);
        idle.on_handshake_complete(Time::ZERO, PTO);
        idle.on_received(Time::ZERO + S, || PTO);
        assert_eq!(idle.rest_at(), Some(Time::ZERO + S + 2 * PTO));
        assert!(!idle.rests(Time::ZERO + S + PTO));
        assert!(idle.rests(Time::ZERO + S + 2 * PTO));
        assert!(!idle.rests(Time::ZERO + S + 3 * PTO));
        // Who is used again is waited for.
        idle.on_ack_eliciting_sent(Time::ZERO + 5 * S, || PTO);
        assert!(!idle.rests(Time::ZERO + 5 * S + REST / 2));
        assert!(idle.rests(Time::ZERO + 5 * S + REST));
    }

    #[test]
    fn who_is_woken_rests_again_but_is_no_less_idle() {
        let mut idle = idle(10 * S, None);
        idle.wake(Time::ZERO + PTO);
        assert_eq!(idle.rest_at(), Some(Time::ZERO + 2 * PTO));
        assert!(idle.rests(Time::ZERO + 2 * PTO));
        idle.wake(Time::ZERO + S);
        idle.wake(Time::ZERO + S + PTO);
        assert_eq!(idle.rest_at(), Some(Time::ZERO + S + REST));
        assert_eq!(idle.next_timeout(false), Some(Time::ZERO + 10 * S));
        let mut idle = Idle::new(Time::ZERO, 30 * S, 10 * S, None);
        idle.wake(Time::ZERO + S);
        assert_eq!(idle.rest_at(), None);
    }

    #[test]
    fn no_answer_is_waited_for_so_long_that_it_does_not_rest() {
        let mut idle = idle(30 * S, None);
        idle.on_received(Time::ZERO + S, || 3 * S);
        assert_eq!(idle.rest_at(), Some(Time::ZERO + S + REST));
    }

    #[test]
    fn keep_alive_comes_again() {
        let mut idle = idle(10 * S, Some(3 * S));
        assert_eq!(idle.timeout(Time::ZERO + 3 * S, false), Some(Expired::KeepAlive));
        assert_eq!(idle.timeout(Time::ZERO + 3 * S, false), None);
        assert_eq!(idle.next_timeout(false), Some(Time::ZERO + 6 * S));
    }

    /// RFC 9000 section 4.1#5: only whoever is held back is asked, a third of the timeout after the last word, and again.
    #[test]
    fn who_is_limited_speaks_in_time() {
        let mut idle = idle(9 * S, None);
        assert_eq!(
            (idle.next_timeout(false), idle.next_timeout(true)),
            (Some(Time::ZERO + 9 * S), Some(Time::ZERO + 3 * S))
        );
        assert_eq!(idle.timeout(Time::ZERO + 3 * S, false), None);
        assert_eq!(idle.timeout(Time::ZERO + 3 * S, true), Some(Expired::Limited));
        assert_eq!((idle.timeout(Time::ZERO + 3 * S, true), idle.next_timeout(true)), (None, Some(Time::ZERO + 6 * S)));
        idle.on_received(Time::ZERO + 4 * S, || PTO);
        assert_eq!(idle.next_timeout(true), Some(Time::ZERO + 7 * S));
        assert_eq!(idle.timeout(Time::ZERO + 13 * S, true), Some(Expired::Idle));
    }
}
