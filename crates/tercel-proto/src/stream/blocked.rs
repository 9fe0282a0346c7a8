//! What keeps streams from sending, and for how long.
//!
//! At any time there is at most one reason that holds for the whole connection, and one of each stream's
//! own. Each is a stopwatch with several dials, one for each reason: when the reason changes, what has passed
//! is added to the dial of the one before. What the connection's dials showed when a stream began is kept once for
//! all streams that began since they had last moved, and a stream has dials of its own only once there is something
//! to show: most streams are never kept from sending. All of this only if the settings want it.

use std::time::Duration;

use super::send::Send;
use crate::time::Time;

/// For how long something has kept a stream from sending, by what that was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct BlockedTimes {
    /// The connection waited for its turn or its socket.
    pub scheduling: Duration,
    /// The pacer spread packets out.
    pub pacing: Duration,
    /// The peer's address is not validated (RFC 9000 section 8.1).
    pub amplification: Duration,
    /// The congestion window was full.
    pub congestion_control: Duration,
    /// The peer's limit on the data of all streams was reached (section 4.1).
    pub connection_flow_control: Duration,
    /// The peer's limit on the number of streams was reached (section 4.6).
    pub stream_limit: Duration,
    /// The peer's limit on the data of the stream was reached (section 4.1).
    pub stream_flow_control: Duration,
    /// The application gave nothing to send.
    pub application: Duration,
}

/// What a stream has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct StreamStats {
    /// Bytes sent, each counted once.
    pub bytes_sent: u64,
    /// Bytes sent again because they were lost.
    pub bytes_retransmitted: u64,
    /// Bytes that were first sent as early data which the server did not refuse, if the
    /// [setting](crate::config::TransportConfig::stream_statistics) is on.
    pub bytes_early: u64,
    /// Bytes that the peer has sent and of which this end knows.
    pub bytes_received: u64,
    /// What has kept it from sending, if the [setting](crate::config::TransportConfig::stream_statistics)
    /// is on.
    pub blocked: Option<BlockedTimes>,
}

/// What keeps all streams of a connection from sending although they have something to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Hindrance {
    /// Nothing, or there is nothing to send.
    #[default]
    Nothing,
    /// The connection waits for its turn.
    Scheduling,
    /// The pacer.
    Pacing,
    /// An address that is not validated.
    Amplification,
    /// A full congestion window.
    Congestion,
    /// The peer's limit on all data.
    FlowControl,
}

/// What keeps one stream from sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Own {
    /// Nothing of its own, or it has ended.
    #[default]
    Nothing,
    /// The peer's limit on streams.
    StreamLimit,
    /// The peer's limit on its data.
    FlowControl,
    /// The application gives nothing.
    Application,
}

/// What the connection's dials showed, in nanoseconds; the first, for no reason, stays at zero.
#[derive(Debug)]
struct Mark {
    totals: [u64; 6],
    /// How many streams that have not ended began then.
    streams: u32,
}

impl Mark {
    const fn new(totals: [u64; 6]) -> Self {
        Self { totals, streams: 0 }
    }
}

/// The stopwatch of a connection, and the time.
#[derive(Debug)]
pub(super) struct Watches {
    pub(super) now: Time,
    hindrance: Hindrance,
    since: Time,
    /// What it shows is the mark at `last`. Others are there as long as there are streams that began then.
    marks: Vec<Mark>,
    last: u32,
    free: Vec<u32>,
}

impl Watches {
    pub(super) fn new() -> Self {
        Self {
            now: Time::ZERO,
            hindrance: Hindrance::Nothing,
            since: Time::ZERO,
            marks: vec![Mark::new([0; 6])],
            last: 0,
            free: Vec::new(),
        }
    }

    pub(super) fn hinder(&mut self, hindrance: Hindrance) {
        if hindrance != self.hindrance {
            self.move_on();
            (self.hindrance, self.since) = (hindrance, self.now);
        }
    }

    /// The dials move to what they show now.
    fn move_on(&mut self) {
        if self.hindrance == Hindrance::Nothing || self.since == self.now {
            return;
        }
        let totals = self.read_all();
        self.since = self.now;
        let last = &mut self.marks[self.last as usize];
        match (last.streams, self.free.pop()) {
            (0, _) => last.totals = totals,
            (_, Some(free)) => {
                self.marks[free as usize] = Mark::new(totals);
                self.last = free;
            }
            (_, None) => {
                self.last = self.marks.len() as u32;
                self.marks.push(Mark::new(totals));
            }
        }
    }

    /// What the dials show now.
    fn read_all(&self) -> [u64; 6] {
        let mut totals = self.marks[self.last as usize].totals;
        if self.hindrance != Hindrance::Nothing {
            totals[self.hindrance as usize] += passed(self.since, self.now);
        }
        totals
    }

    /// Notes what keeps a stream from sending now; `held`: it waits for the peer's permission.
    #[inline]
    pub(super) fn note(&self, send: &mut Send, held: bool) {
        let own = if held { Own::StreamLimit } else { send.hindrance() };
        if let Some(meter) = &mut send.meter {
            meter.turn(self.now, own);
        }
    }

    /// What is measured of a stream that begins now, with nothing to send.
    #[inline]
    pub(super) fn begin(&mut self, held: bool) -> Meter {
        if self.hindrance != Hindrance::Nothing {
            self.move_on();
        }
        self.marks[self.last as usize].streams += 1;
        let own = if held { Own::StreamLimit } else { Own::Application };
        Meter { own, began: self.last, since: self.now, more: None }
    }

    /// What has kept a stream from sending.
    pub(super) fn read(&self, meter: &Meter) -> BlockedTimes {
        times(self.passed(meter).unwrap_or_default(), meter.read(self.now))
    }

    /// What the dials have moved by since a stream began, if they have.
    fn passed(&self, meter: &Meter) -> Option<[u64; 6]> {
        if meter.began == self.last && self.hindrance == Hindrance::Nothing {
            return None;
        }
        let mut passed = self.read_all();
        let before = self.marks[meter.began as usize].totals;
        passed.iter_mut().zip(before).for_each(|(now, before)| *now -= before);
        Some(passed)
    }

    /// A stream ends that has done so much.
    #[inline]
    pub(super) fn end(&mut self, bytes: StreamStats, meter: Option<Meter>) -> EndedStats {
        let measured = meter.and_then(|meter| {
            // As of most streams.
            let nothing = meter.began == self.last
                && self.hindrance == Hindrance::Nothing
                && meter.own == Own::Nothing
                && meter.more.is_none();
            let measured = if nothing { None } else { self.measure(&meter) };
            self.forget(meter.began);
            measured
        });
        EndedStats {
            bytes_sent: bytes.bytes_sent,
            bytes_retransmitted: bytes.bytes_retransmitted,
            bytes_received: bytes.bytes_received,
            measured,
        }
    }

    /// What was measured of a stream, if it is anything.
    fn measure(&self, meter: &Meter) -> Option<Box<Measured>> {
        let passed = self.passed(meter).filter(|passed| *passed != [0; 6]);
        let nothing = passed.is_none() && meter.more.is_none() && meter.is_running(self.now).is_none();
        let connection = passed.unwrap_or_default();
        (!nothing).then(|| Box::new(Measured { early: meter.early(), connection, own: meter.read(self.now) }))
    }

    /// How many marks there are.
    #[cfg(test)]
    pub(super) fn marks(&self) -> usize {
        self.marks.len() - self.free.len()
    }

    /// A stream has ended that began then.
    #[inline]
    fn forget(&mut self, began: u32) {
        let mark = &mut self.marks[began as usize];
        mark.streams -= 1;
        if mark.streams == 0 && began != self.last {
            self.free.push(began);
        }
    }
}

/// So many nanoseconds.
fn passed(since: Time, now: Time) -> u64 {
    now.as_nanos().saturating_sub(since.as_nanos())
}

/// What the dials of both stopwatches say.
fn times(connection: [u64; 6], own: [u64; 4]) -> BlockedTimes {
    let all = |hindrance: Hindrance| Duration::from_nanos(connection[hindrance as usize]);
    let own = |own_reason: Own| Duration::from_nanos(own[own_reason as usize]);
    BlockedTimes {
        scheduling: all(Hindrance::Scheduling),
        pacing: all(Hindrance::Pacing),
        amplification: all(Hindrance::Amplification),
        congestion_control: all(Hindrance::Congestion),
        connection_flow_control: all(Hindrance::FlowControl),
        stream_limit: own(Own::StreamLimit),
        stream_flow_control: own(Own::FlowControl),
        application: own(Own::Application),
    }
}

/// What is measured of a stream.
#[derive(Debug)]
pub(super) struct Meter {
    own: Own,
    /// Which mark of the connection's is from when it began.
    began: u32,
    /// Since when there has been its own reason.
    since: Time,
    more: Option<Box<More>>,
}

/// What is there only once it is not nothing.
#[derive(Debug, Default)]
struct More {
    /// Bytes sent as early data.
    early: u64,
    /// Its own dials, in nanoseconds.
    totals: [u64; 4],
}

impl Meter {
    #[inline]
    fn turn(&mut self, now: Time, own: Own) {
        if own == self.own {
            return;
        }
        if let Some(passed) = self.is_running(now) {
            self.move_on(passed);
        }
        (self.own, self.since) = (own, now);
    }

    /// The dial of the present reason moves.
    #[cold]
    fn move_on(&mut self, passed: u64) {
        self.more.get_or_insert_default().totals[self.own as usize] += passed;
    }

    /// By how much the dial of the present reason is to move.
    fn is_running(&self, now: Time) -> Option<u64> {
        Some(passed(self.since, now)).filter(|passed| *passed > 0 && self.own != Own::Nothing)
    }

    /// What the dials show.
    fn read(&self, now: Time) -> [u64; 4] {
        let mut totals = self.more.as_ref().map_or([0; 4], |more| more.totals);
        totals[self.own as usize] += self.is_running(now).unwrap_or(0);
        totals
    }

    /// Bytes sent as early data.
    pub(super) fn early(&self) -> u64 {
        self.more.as_ref().map_or(0, |more| more.early)
    }

    /// So many more were.
    pub(super) fn count_early(&mut self, bytes: u64) {
        self.more.get_or_insert_default().early += bytes;
    }

    /// They were refused.
    pub(super) fn refuse_early(&mut self) {
        if let Some(more) = &mut self.more {
            more.early = 0;
        }
    }
}

/// What a stream has done that has ended.
#[derive(Debug)]
pub struct EndedStats {
    bytes_sent: u64,
    bytes_retransmitted: u64,
    bytes_received: u64,
    /// Nothing of it, if this is not there.
    measured: Option<Box<Measured>>,
}

/// What was measured of it: bytes sent as early data, and what the dials showed.
#[derive(Debug, Clone, Copy, Default)]
struct Measured {
    early: u64,
    connection: [u64; 6],
    own: [u64; 4],
}

impl EndedStats {
    /// What it has done.
    pub fn read(&self) -> StreamStats {
        let Measured { early, connection, own } = self.measured.as_deref().copied().unwrap_or_default();
        StreamStats {
            bytes_sent: self.bytes_sent,
            bytes_retransmitted: self.bytes_retransmitted,
            bytes_early: early,
            bytes_received: self.bytes_received,
            blocked: Some(times(connection, own)),
        }
    }
}
