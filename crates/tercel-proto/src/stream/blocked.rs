//! What keeps streams from sending, and for how long.
//!
//! At any time there is at most one reason that holds for the whole connection, and one of each stream's
//! own. Each is a stopwatch with several dials, one for each reason: when the reason changes, what has passed
//! is added to the dial of the one before. A stream remembers what the connection's dials showed when it
//! began. All of this only if the settings want it.

use std::time::Duration;

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

/// A stopwatch with a dial for each reason, in nanoseconds; the first is for none.
#[derive(Debug)]
struct Watch<const N: usize> {
    dial: usize,
    since: Time,
    totals: [u64; N],
}

impl<const N: usize> Watch<N> {
    const fn new(now: Time) -> Self {
        Self { dial: 0, since: now, totals: [0; N] }
    }

    fn turn(&mut self, now: Time, dial: usize) {
        if dial != self.dial {
            self.totals[self.dial] += now.as_nanos().saturating_sub(self.since.as_nanos());
            (self.dial, self.since) = (dial, now);
        }
    }

    /// What the dials show.
    fn read(&self, now: Time) -> [u64; N] {
        let mut totals = self.totals;
        totals[self.dial] += now.as_nanos().saturating_sub(self.since.as_nanos());
        totals
    }
}

/// The stopwatch of a connection, and the time.
#[derive(Debug)]
pub(super) struct Watches {
    pub(super) now: Time,
    connection: Watch<6>,
}

impl Watches {
    pub(super) const fn new() -> Self {
        Self { now: Time::ZERO, connection: Watch::new(Time::ZERO) }
    }

    pub(super) fn hinder(&mut self, hindrance: Hindrance) {
        self.connection.turn(self.now, hindrance as usize);
    }

    /// The stopwatch of a stream that begins now.
    pub(super) fn begin(&self) -> Box<Meter> {
        Box::new(Meter { early: 0, before: self.connection.read(self.now), own: Watch::new(self.now) })
    }

    /// What has kept a stream from sending.
    pub(super) fn read(&self, meter: &Meter) -> BlockedTimes {
        times(self.passed(meter), meter.own.read(self.now))
    }

    /// What the connection's stopwatch has shown since a stream began.
    fn passed(&self, meter: &Meter) -> [u64; 6] {
        let mut passed = self.connection.read(self.now);
        passed.iter_mut().zip(meter.before).for_each(|(now, before)| *now = now.saturating_sub(before));
        passed
    }

    /// A stream ends that has done so much.
    pub(super) fn end(&self, bytes: StreamStats, mut meter: Option<Box<Meter>>) -> EndedStats {
        if let Some(meter) = &mut meter {
            meter.before = self.passed(meter);
            meter.own.turn(self.now, Own::Nothing as usize);
        }
        EndedStats {
            bytes_sent: bytes.bytes_sent,
            bytes_retransmitted: bytes.bytes_retransmitted,
            bytes_received: bytes.bytes_received,
            meter,
        }
    }
}

impl Meter {
    pub(super) fn turn(&mut self, now: Time, own: Own) {
        self.own.turn(now, own as usize);
    }
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

/// The stopwatch of a stream, and what else is counted only if it is wanted.
#[derive(Debug)]
pub(super) struct Meter {
    /// Bytes sent as early data.
    pub(super) early: u64,
    /// What the connection's showed when the stream began.
    before: [u64; 6],
    own: Watch<4>,
}

/// What a stream has done that has ended: kept as it was measured, and made readable only if anybody asks.
#[derive(Debug)]
pub struct EndedStats {
    bytes_sent: u64,
    bytes_retransmitted: u64,
    bytes_received: u64,
    /// It runs no more; what was `before` is what has passed from then to the end.
    meter: Option<Box<Meter>>,
}

impl EndedStats {
    /// What it has done.
    pub fn read(&self) -> StreamStats {
        let times = |meter: &Meter| times(meter.before, meter.own.totals);
        StreamStats {
            bytes_sent: self.bytes_sent,
            bytes_retransmitted: self.bytes_retransmitted,
            bytes_early: self.meter.as_ref().map_or(0, |meter| meter.early),
            bytes_received: self.bytes_received,
            blocked: Some(self.meter.as_deref().map(times).unwrap_or_default()),
        }
    }
}
