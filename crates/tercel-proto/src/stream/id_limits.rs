//! How many streams there may be (RFC 9000 section 4.6).

use std::ops::Range;

use tercel_wire::{Direction, Frame, TransportErrorCode};

use super::flow::{Blocked, Say};
use crate::error::Violation;
use crate::frames::{FrameSink, SentFrame};
use crate::ranges::RangeSet;

/// A larger limit could not be told (section 4.6).
const MAX_STREAMS: u64 = 1 << 60;

/// Streams of one direction that we open.
#[derive(Debug, Default)]
pub(super) struct LocalIds {
    opened: u64,
    limit: u64,
    blocked: Blocked,
}

impl LocalIds {
    pub(super) const fn limit(&self) -> u64 {
        self.limit
    }

    /// How many were opened: more than the limit if that turned out not to hold.
    pub(super) const fn opened(&self) -> u64 {
        self.opened
    }

    pub(super) const fn available(&self) -> u64 {
        self.limit.saturating_sub(self.opened)
    }

    // RFC 9000 sections 2.1#1, 4.6#2, 19.11#3.
    pub(super) fn open(&mut self) -> Option<u64> {
        if self.opened >= self.limit {
            // RFC 9000 sections 4.6#5, 19.14#1.
            self.blocked.note(self.limit);
            return None;
        }
        self.opened += 1;
        Some(self.opened - 1)
    }

    /// Opens one whatever the limit; it may have to wait for the peer's permission.
    pub(super) const fn open_ahead(&mut self) -> u64 {
        if self.opened >= self.limit {
            self.blocked.note(self.limit);
        }
        self.opened += 1;
        self.opened - 1
    }

    pub(super) const fn is_blocked_due(&self) -> bool {
        self.blocked.is_due(self.limit)
    }

    pub(super) fn write_blocked(&mut self, direction: Direction, sink: &mut FrameSink<'_, '_>) {
        let limit = self.limit;
        let frame = Frame::StreamsBlocked { direction, limit };
        self.blocked.write(limit, sink, &frame, SentFrame::StreamsBlocked { direction, limit });
    }

    /// STREAMS_BLOCKED at a limit was lost, or is to be repeated.
    pub(super) const fn blocked_again(&mut self, at: u64) -> bool {
        self.blocked.again(at, self.limit)
    }

    pub(super) const fn was_opened(&self, index: u64) -> bool {
        index < self.opened
    }

    /// The peer permits so many; true if that is more than before.
    // RFC 9000 sections 4.6#4, 19.11#2, 13.3#5.
    pub(super) const fn raise(&mut self, limit: u64) -> bool {
        let more = limit > self.limit;
        if more {
            self.limit = limit;
            // Those that were opened ahead may have to wait on.
            if self.opened > limit {
                self.blocked.note(limit);
            }
        }
        more
    }

    pub(super) const fn forget_limit(&mut self) {
        (self.limit, self.blocked) = (0, Blocked::No);
    }
}

/// Streams of one direction that the peer opens.
#[derive(Debug)]
pub(super) struct RemoteIds {
    opened: u64,
    limit: u64,
    /// How many may be open at once.
    concurrent: u64,
    closed: RangeSet,
    closed_count: u64,
    /// The limit at which the peer was last known to want more.
    wanted_at: Option<u64>,
    pub(super) say: Say,
}

impl RemoteIds {
    pub(super) fn new(concurrent: u64) -> Self {
        let concurrent = concurrent.min(MAX_STREAMS);
        Self {
            opened: 0,
            limit: concurrent,
            concurrent,
            closed: RangeSet::new(),
            closed_count: 0,
            wanted_at: None,
            say: Say::Said,
        }
    }

    pub(super) const fn limit(&self) -> u64 {
        self.limit
    }

    /// Lets go of room that is not in use.
    pub(super) fn rest(&mut self) {
        self.closed.rest();
    }

    /// The peer uses stream `index`: opens it and all below (section 3.2), and gives those that are
    /// new.
    // RFC 9000 sections 3.2#1, 4.6#3, 19.11#4.
    pub(super) fn open_up_to(&mut self, index: u64) -> Result<Range<u64>, Violation> {
        if index >= self.limit {
            return Err(Violation::new(TransportErrorCode::STREAM_LIMIT_ERROR, "more streams than allowed"));
        }
        let new = self.opened..(index + 1).max(self.opened);
        self.opened = new.end;
        Ok(new)
    }

    pub(super) fn is_open(&self, index: u64) -> bool {
        index < self.opened && !self.closed.contains(index)
    }

    /// A stream is over: the peer may open another. It is told when an eighth of the streams have
    /// ended, so that a frame pays.
    // RFC 9000 section 4.6#6.
    pub(super) fn close(&mut self, index: u64) {
        if self.closed.insert_one(index) {
            self.closed_count += 1;
        }
        self.raise((self.concurrent / 8).max(1));
    }

    /// So many may be open at once from now on. What the peer was permitted stays.
    pub(super) fn set_concurrent(&mut self, concurrent: u64) {
        self.concurrent = concurrent.min(MAX_STREAMS);
        self.raise(1);
    }

    /// Raises the limit to what may be, if that is at least `least` more.
    fn raise(&mut self, least: u64) {
        let limit = (self.closed_count + self.concurrent).min(MAX_STREAMS);
        if limit.saturating_sub(self.limit) >= least {
            self.limit = limit;
            self.say = Say::Due;
        }
    }

    /// The peer says that `limit` keeps it from opening more. True if that is so, and news.
    pub(super) fn on_blocked(&mut self, limit: u64) -> bool {
        limit == self.limit && self.wanted_at.replace(limit) != Some(limit)
    }
}
