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

/// A stopwatch with a dial for each reason; the first is for none.
#[derive(Debug)]
struct Watch<const N: usize> {
    dial: usize,
    since: Time,
    totals: [Duration; N],
}

impl<const N: usize> Watch<N> {
    const fn new(now: Time) -> Self {
        Self { dial: 0, since: now, totals: [Duration::ZERO; N] }
    }

    fn turn(&mut self, now: Time, dial: usize) {
        if dial != self.dial {
            self.totals = self.read(now);
            (self.dial, self.since) = (dial, now);
        }
    }

    /// What the dials show.
    fn read(&self, now: Time) -> [Duration; N] {
        let mut totals = self.totals;
        totals[self.dial] += now.since(self.since);
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
        let (all, own) = (self.connection.read(self.now), meter.own.read(self.now));
        let of = |hindrance: Hindrance| all[hindrance as usize].saturating_sub(meter.before[hindrance as usize]);
        BlockedTimes {
            scheduling: of(Hindrance::Scheduling),
            pacing: of(Hindrance::Pacing),
            amplification: of(Hindrance::Amplification),
            congestion_control: of(Hindrance::Congestion),
            connection_flow_control: of(Hindrance::FlowControl),
            stream_limit: own[Own::StreamLimit as usize],
            stream_flow_control: own[Own::FlowControl as usize],
            application: own[Own::Application as usize],
        }
    }
}

/// The stopwatch of a stream, and what else is counted only if it is wanted.
#[derive(Debug)]
pub(super) struct Meter {
    /// Bytes sent as early data.
    pub(super) early: u64,
    /// What the connection's showed when the stream began.
    before: [Duration; 6],
    own: Watch<4>,
}

impl Meter {
    pub(super) fn turn(&mut self, now: Time, own: Own) {
        self.own.turn(now, own as usize);
    }
}
