//! The pacer (RFC 9002 section 7.7): spreads packets over the round trip, in whole bursts.
//!
//! A bucket fills at the rate that the controller says and empties with what is sent. Once empty it
//! stays shut until a burst is together: about a millisecond's worth as a rule, so that datagrams can
//! leave the system in one call and timers, which are hardly finer than that, never bound the rate. It
//! holds two such bursts, so that a timer that fires late loses nothing; where the round trip is as
//! short as that, the window alone governs. A worker that is busy with a thousand connections comes to
//! each only every few milliseconds: what was due in the meantime leaves then, up to a batch, or the rate
//! would be that of one burst in each round of the worker, however many it would take. That is more at
//! once than the initial window, which section 7.7 recommends as the limit, but never more than the rate
//! gives. It is no credit for silence: after two round trips without a word nothing was due. The latest of
//! them counts if it was longer than they are on the whole: who has waited for that has not been silent.

use super::{Controller, Pace, Rate};
use crate::recovery::Rtt;
use crate::time::Time;

/// How many bursts the bucket holds, to make up for late timers.
const BURSTS_HELD: u64 = 2;

/// The bucket holds so many datagrams at least: the burst that section 7.7 permits.
// RFC 9002 section 7.7#3.
const MIN_CAPACITY_PACKETS: u64 = 10;

/// Who comes late sends so many datagrams at the most: as many as leave by one system call.
const MOST_LATE_PACKETS: u64 = 64;

/// So many round trips after it was last asked nothing was due but a burst at the start.
const SILENT_RTTS: u32 = 2;

/// The pacer of a path.
#[derive(Debug)]
pub struct Pacer {
    enabled: bool,
    /// Bytes that may be sent at once.
    tokens: u64,
    /// Until when the tokens are reckoned; `None` before the first packet that is paced.
    filled: Option<Time>,
    /// When last asked; asking again for the same batch costs nothing.
    asked: Time,
    /// Waiting for a whole burst.
    shut: bool,
}

impl Pacer {
    /// A pacer with a full bucket; one that is not `enabled` never waits.
    pub const fn new(enabled: bool) -> Self {
        Self { enabled, tokens: 0, filled: None, asked: Time::ZERO, shut: false }
    }

    /// A packet that counts as in flight was sent.
    pub(crate) fn on_sent(&mut self, size: u16) {
        self.tokens = self.tokens.saturating_sub(u64::from(size));
    }

    /// How many bytes may be sent at once, at least a datagram; or when to ask again.
    ///
    /// # Errors
    /// The time at which the next burst is due, later than `now`.
    // RFC 9002 section 7.7#1#2.
    pub(crate) fn release(&mut self, now: Time, rtt: &Rtt, controller: &Controller) -> Result<u64, Time> {
        // Until there is a round-trip time there is no rate; the initial window is a burst that is
        // permitted.
        if !self.enabled || !rtt.is_sampled() {
            return Ok(u64::MAX);
        }
        let mtu = u64::from(controller.mtu());
        if now == self.asked && !self.shut && self.tokens >= mtu {
            return Ok(self.tokens);
        }
        let silent = now.since(self.asked) > SILENT_RTTS * rtt.smoothed.max(rtt.latest);
        self.asked = now;
        let Pace { rate, burst, least } = controller.pace(rtt);
        let burst = rate.bytes_in(burst).max(least * mtu);
        let packets = if self.shut { MOST_LATE_PACKETS } else { MIN_CAPACITY_PACKETS };
        let capacity = burst.saturating_mul(BURSTS_HELD).max(packets * mtu);
        self.fill(now, rate, capacity, if silent { 0 } else { MOST_LATE_PACKETS * mtu });
        let wanted = if self.shut { burst } else { mtu };
        self.shut = self.tokens < wanted;
        if self.shut { Err(now + rate.time_for(burst - self.tokens)) } else { Ok(self.tokens) }
    }

    /// Adds what was due since it was last filled. All of that may stay in it if it is no more than `late`.
    fn fill(&mut self, now: Time, rate: Rate, capacity: u64, late: u64) {
        let Some(filled) = self.filled else {
            (self.tokens, self.filled) = (capacity, Some(now));
            return;
        };
        let earned = rate.bytes_in(now.since(filled));
        let capacity = capacity.max(earned.min(late));
        self.tokens = self.tokens.saturating_add(earned);
        if self.tokens >= capacity {
            (self.tokens, self.filled) = (capacity, Some(now));
        } else if earned > 0 {
            // Whole bytes only: the time of the rest counts at the next call, or frequent calls
            // would slow the rate.
            self.filled = Some((filled + rate.time_for(earned)).min(now));
        }
    }
}
