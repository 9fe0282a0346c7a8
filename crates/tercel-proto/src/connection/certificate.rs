//! The peer's certificate before the application, and its verdict.

use bytes::Bytes;
use tercel_wire::TransportErrorCode;

use super::closing::Farewell;
use super::handshake::Tls;
use super::{Connection, Event};
use crate::error::{ApiMisuse, CloseReason};
use crate::time::Time;
use crate::tls::{Alert, Presented, Verdict};
use crate::trace::TraceEvent;

impl Connection {
    /// The handshake waits for a verdict on this.
    pub(super) fn on_certificate(&mut self, now: Time, presented: Presented) {
        let limit = self.config.verdict_timeout;
        self.handshake.verdict_deadline = (!limit.is_zero()).then(|| now + limit);
        self.stats.phases.verdict_asked = Some(now);
        self.events.push_back(Event::Certificate(presented));
    }

    /// Whether a verdict on the peer's certificate is awaited.
    pub fn awaits_verdict(&self) -> bool {
        self.phase.is_alive() && matches!(&self.handshake.tls, Tls::Running(tls) if tls.awaits_verdict())
    }

    /// When an awaited verdict comes too late: at the limit for it or at the end of the time for the
    /// handshake, whichever is sooner.
    pub fn verdict_deadline(&self) -> Option<Time> {
        let deadlines = [self.handshake.verdict_deadline, self.idle.handshake_deadline()];
        deadlines.into_iter().flatten().min().filter(|_| self.awaits_verdict())
    }

    /// Answers [`Event::Certificate`].
    ///
    /// # Errors
    /// Nothing is changed if the connection is closing or closed, or awaits no verdict.
    pub fn give_verdict(&mut self, now: Time, verdict: Verdict) -> Result<(), ApiMisuse> {
        self.require_alive()?;
        if !self.awaits_verdict() {
            return Err(ApiMisuse::AlreadyDone);
        }
        self.handshake.verdict_deadline = None;
        self.stats.phases.verdict_given = Some(now);
        if let Some(trace) = &mut self.trace {
            trace.at(now);
            trace.push(TraceEvent::VerdictGiven { accepted: verdict == Verdict::Accept });
        }
        match verdict {
            Verdict::Accept => self.go_on(now),
            Verdict::Reject(alert) => self.reject(now, alert),
        }
        self.trace_changes(now);
        Ok(())
    }

    /// Lets the peer's Finished pass, and what waited for the keys that follow from it.
    fn go_on(&mut self, now: Time) {
        let Tls::Running(tls) = &mut self.handshake.tls else { return };
        if let Err(violation) = tls.accept_certificate().and_then(|()| self.drive_tls(now)) {
            self.close_for(now, violation);
        }
        self.replay_parked(now);
        self.after_input(now);
    }

    fn reject(&mut self, now: Time, alert: Alert) {
        let code = TransportErrorCode::crypto(alert.number());
        let farewell = Farewell::Transport { code, frame: 0, reason: Bytes::new() };
        self.begin_close(now, farewell, CloseReason::Refused { code });
    }

    /// No verdict came in time.
    pub(super) fn on_verdict_timeout(&mut self, now: Time) {
        if self.handshake.verdict_deadline.is_some_and(|deadline| deadline <= now) {
            self.handshake.verdict_deadline = None;
            self.reject(now, Alert::CERTIFICATE_UNKNOWN);
        }
    }
}
