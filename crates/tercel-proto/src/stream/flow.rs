//! Flow control (RFC 9000 section 4): limits on what may be sent, and windows for what is received.

use std::time::Duration;

use tercel_wire::{Frame, VarInt};

use crate::frames::{FrameSink, SentFrame};
use crate::time::Time;

/// Whether a value is to be told to the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Say {
    /// The peer knows, or will unless a packet is lost.
    #[default]
    Said,
    /// It is to be told, or told again.
    Due,
}

impl Say {
    pub(super) const fn is_due(self) -> bool {
        matches!(self, Self::Due)
    }

    /// Writes `frame` if it is due; false if it is and does not fit.
    pub(super) fn write(&mut self, sink: &mut FrameSink<'_, '_>, frame: &Frame<'_>, record: SentFrame) -> bool {
        if self.is_due() && !sink.push(frame, record) {
            return false;
        }
        *self = Self::Said;
        true
    }
}

/// Whether this end was kept from going on by a limit of the peer's, and has said so (a *_BLOCKED frame).
///
/// It is said once for each limit, again if that was lost, and again when the connection has been silent for so
/// long that it might be taken for dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Blocked {
    /// Not that is known.
    #[default]
    No,
    /// At this limit, which is to be said.
    Due(u64),
    /// At this limit, which the peer knows or will unless a packet is lost.
    Said(u64),
}

impl Blocked {
    /// The limit stands in the way.
    pub(super) const fn note(&mut self, at: u64) {
        if !matches!(*self, Self::Due(known) | Self::Said(known) if known == at) {
            *self = Self::Due(at);
        }
    }

    /// Whether it is to be said that `limit`, which holds now, stands in the way.
    pub(super) const fn is_due(self, limit: u64) -> bool {
        matches!(self, Self::Due(at) if at == limit)
    }

    /// Writes `frame` if it is due at `limit`; false if it is and does not fit.
    pub(super) fn write(
        &mut self,
        limit: u64,
        sink: &mut FrameSink<'_, '_>,
        frame: &Frame<'_>,
        record: SentFrame,
    ) -> bool {
        if !self.is_due(limit) {
            return true;
        }
        let written = sink.push(frame, record);
        if written {
            *self = Self::Said(limit);
        }
        written
    }

    /// What was said at limit `at` is to be said again, if it still holds, at `limit`. True if so.
    // RFC 9000 section 13.3: only while the limit stands in the way.
    pub(super) const fn again(&mut self, at: u64, limit: u64) -> bool {
        let again = at == limit && matches!(*self, Self::Said(said) if said == at);
        if again {
            *self = Self::Due(at);
        }
        again
    }
}

/// The peer's limit on the data of all streams.
#[derive(Debug, Default)]
pub(super) struct SendLimit {
    limit: u64,
    used: u64,
    blocked: Blocked,
}

impl SendLimit {
    pub(super) fn raise(&mut self, limit: u64) {
        // RFC 9000 sections 4.1#3, 13.3#5.
        self.limit = self.limit.max(limit);
    }

    pub(super) const fn room(&self) -> u64 {
        self.limit.saturating_sub(self.used)
    }

    pub(super) const fn use_up(&mut self, bytes: u64) {
        self.used += bytes;
    }

    // RFC 9000 sections 4.1#4, 19.12#1.
    pub(super) const fn note_blocked(&mut self) {
        self.blocked.note(self.limit);
    }

    pub(super) const fn is_blocked_due(&self) -> bool {
        self.blocked.is_due(self.limit)
    }

    pub(super) fn write_blocked(&mut self, sink: &mut FrameSink<'_, '_>) {
        let limit = self.limit;
        self.blocked.write(limit, sink, &Frame::DataBlocked(limit), SentFrame::DataBlocked(limit));
    }

    /// DATA_BLOCKED at a limit was lost, or is to be repeated.
    pub(super) const fn blocked_again(&mut self, at: u64) -> bool {
        self.blocked.again(at, self.limit)
    }

    pub(super) const fn limit(&self) -> u64 {
        self.limit
    }
}

/// How much the peer may send. The window grows, up to a bound, while the application consumes a
/// window's worth in less than two round trips: then the window is what holds the peer back. Where the
/// application provides the space that data comes into, that is the window, and nothing grows by itself.
#[derive(Debug)]
pub(super) struct ReceiveWindow {
    limit: u64,
    consumed: u64,
    window: u64,
    max: u64,
    raised_at: Option<Time>,
    /// How much space the application has provided in all, if it does.
    provided: Option<u64>,
    pub(super) say: Say,
}

impl ReceiveWindow {
    pub(super) fn new(window: u64, max: u64) -> Self {
        Self {
            limit: window,
            consumed: 0,
            window,
            max: max.max(window),
            raised_at: None,
            provided: None,
            say: Say::Said,
        }
    }

    /// It may grow up to `max`, or stays as large as it is.
    pub(super) fn set_max(&mut self, max: u64) {
        self.max = max.max(self.window);
    }

    /// The application has provided space, and from now on the limit follows that alone. It is never
    /// taken back (RFC 9000 section 4.1), so at first it may be higher than all that was provided. True if
    /// the peer is to be told of a higher limit.
    pub(super) fn provide(&mut self, bytes: u64) -> bool {
        let provided = self.provided.unwrap_or(0).saturating_add(bytes).min(VarInt::MAX.into_inner());
        self.provided = Some(provided);
        let raised = provided > self.limit;
        if raised {
            self.limit = provided;
            self.say = Say::Due;
        }
        raised
    }

    /// The highest offset that the peer may reach.
    pub(super) const fn limit(&self) -> u64 {
        self.limit
    }

    /// The application consumed bytes. True if the peer is to be told of a higher limit.
    // RFC 9000 section 4.2#1: nobody has to ask.
    pub(super) fn consume(&mut self, now: Time, rtt: Duration, bytes: u64) -> bool {
        self.consumed += bytes;
        if self.provided.is_some() || !self.is_half_used() {
            return false;
        }
        if self.raised_at.is_some_and(|at| now.since(at) < 2 * rtt) {
            self.window = (self.window * 2).min(self.max);
        }
        self.raised_at = Some(now);
        self.raise();
        true
    }

    /// Bytes that nobody will consume: they count as consumed, and say nothing about speed.
    pub(super) fn consume_silently(&mut self, bytes: u64) {
        self.consumed += bytes;
        if bytes > 0 && self.provided.is_none() && self.is_half_used() {
            self.raise();
        }
    }

    const fn is_half_used(&self) -> bool {
        self.limit.saturating_sub(self.consumed) <= self.window / 2
    }

    fn raise(&mut self) {
        let limit = (self.consumed + self.window).min(VarInt::MAX.into_inner());
        if limit > self.limit {
            self.limit = limit;
            self.say = Say::Due;
        }
    }
}
