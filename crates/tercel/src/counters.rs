//! What the workers of a registration have done so far, and how others learn of it.
//!
//! A worker counts in [`Counters`] of its own. At the end of each turn it stores them where
//! [`Registration::counters`](crate::Registration::counters) adds them up, and tells the difference to the
//! `metrics` facade, where whatever recorder the program has installed takes it on.

use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{Counter, Gauge, Histogram, Unit};
use tercel_proto::error::CloseReason;
use tercel_proto::stats::ConnectionStats;

use crate::registration::RegistrationStats;

/// One table of what is counted: the field, its name for the facade, and what it is.
macro_rules! counters {
    ($($field:ident, $name:literal, $what:literal;)*) => {
        /// What the workers of a registration have done since it was made; see
        /// [`Registration::counters`](crate::Registration::counters).
        ///
        /// Figures of packets and bytes are added up when a connection comes to rest, while it is busy ten
        /// times a second, and when it ends.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        #[non_exhaustive]
        pub struct Counters {
            $(#[doc = $what] pub $field: u64,)*
        }

        /// Names and descriptions, in the order of the fields.
        const COUNTERS: [(&str, &str); [$($name),*].len()] = [$(($name, $what)),*];

        impl Counters {
            const fn values(&self) -> [u64; COUNTERS.len()] {
                [$(self.$field),*]
            }

            fn values_mut(&mut self) -> [&mut u64; COUNTERS.len()] {
                [$(&mut self.$field),*]
            }
        }
    };
}

counters! {
    client_connections, "tercel_client_connections_total", "Connections begun as a client.";
    server_connections, "tercel_server_connections_total", "Connections begun as a server: the client's first packet was authentic.";
    handshakes_completed, "tercel_handshakes_completed_total", "Handshakes completed at this end (RFC 9001 section 4.1.1).";
    handshakes_failed, "tercel_handshakes_failed_total", "Connections that ended before.";
    handshakes_resumed, "tercel_handshakes_resumed_total", "Of the completed handshakes, those that resumed a session.";
    refused, "tercel_refused_total", "First packets of clients that were not let in: because of the load, or because the token of their Retry was not good.";
    refusals_sent, "tercel_refusals_sent_total", "Of these, those that were answered.";
    retries_sent, "tercel_retries_sent_total", "Retry packets sent.";
    version_negotiations_sent, "tercel_version_negotiations_sent_total", "Version Negotiation packets sent.";
    answers_withheld, "tercel_answers_withheld_total", "Retry and Version Negotiation packets and stateless resets not sent because there were too many in a second.";
    shedding_begun, "tercel_shedding_begun_total", "Times that a worker began to keep clients away because of its load.";
    resets_sent, "tercel_stateless_resets_sent_total", "Stateless resets sent.";
    datagrams_sent, "tercel_datagrams_sent_total", "UDP datagrams sent by connections.";
    datagrams_received, "tercel_datagrams_received_total", "UDP datagrams received by connections.";
    bytes_sent, "tercel_bytes_sent_total", "Bytes of UDP payload sent by connections.";
    bytes_received, "tercel_bytes_received_total", "Bytes of UDP payload received by connections.";
    packets_sent, "tercel_packets_sent_total", "Packets sent.";
    packets_received, "tercel_packets_received_total", "Packets received and authenticated.";
    packets_lost, "tercel_packets_lost_total", "Packets declared lost.";
    packets_lost_spuriously, "tercel_packets_lost_spuriously_total", "Of these, packets whose acknowledgement came after all.";
    packets_dropped, "tercel_packets_dropped_total", "Received packets that were of no use: not decryptable, duplicate, too old.";
    congestion_events, "tercel_congestion_events_total", "Times that a congestion window was cut.";
    probe_timeouts, "tercel_probe_timeouts_total", "Probe timeouts fired.";
    stream_bytes_retransmitted, "tercel_stream_bytes_retransmitted_total", "Stream bytes sent again because they were lost.";
}

/// Of a connection's figures those that are added up.
pub(crate) type Traffic = [u64; 12];

pub(crate) const fn traffic(of: &ConnectionStats) -> Traffic {
    [
        of.datagrams_sent,
        of.datagrams_received,
        of.bytes_sent,
        of.bytes_received,
        of.packets_sent,
        of.packets_received,
        of.packets_lost,
        of.packets_lost_spuriously,
        of.packets_dropped,
        of.congestion_events,
        of.probe_timeouts,
        of.stream_bytes_retransmitted,
    ]
}

impl Counters {
    /// Adds what a connection has done since its figures were `before`.
    pub(crate) fn add(&mut self, before: Traffic, now: Traffic) {
        let sums = [
            &mut self.datagrams_sent,
            &mut self.datagrams_received,
            &mut self.bytes_sent,
            &mut self.bytes_received,
            &mut self.packets_sent,
            &mut self.packets_received,
            &mut self.packets_lost,
            &mut self.packets_lost_spuriously,
            &mut self.packets_dropped,
            &mut self.congestion_events,
            &mut self.probe_timeouts,
            &mut self.stream_bytes_retransmitted,
        ];
        for (sum, (before, now)) in sums.into_iter().zip(before.into_iter().zip(now)) {
            *sum += now.saturating_sub(before);
        }
    }
}

/// The counters of one worker, for others to read. The worker alone writes them.
#[derive(Debug, Default)]
pub(crate) struct SharedCounters([AtomicU64; COUNTERS.len()]);

impl SharedCounters {
    fn store(&self, counters: &Counters) {
        self.0.iter().zip(counters.values()).for_each(|(to, value)| to.store(value, Ordering::Relaxed));
    }

    pub(crate) fn add_to(&self, sum: &mut Counters) {
        self.0.iter().zip(sum.values_mut()).for_each(|(from, sum)| *sum += from.load(Ordering::Relaxed));
    }
}

/// A worker's way to the `metrics` facade.
pub(crate) struct Facade {
    counters: [Counter; COUNTERS.len()],
    told: Counters,
    gauges: [Gauge; 5],
    held: RegistrationStats,
    handshake: Histogram,
    verdict: Histogram,
    rtt: Histogram,
}

impl Facade {
    /// What is told later goes to the recorder that is installed now.
    pub(crate) fn new() -> Self {
        for (name, what) in COUNTERS {
            metrics::describe_counter!(name, what);
        }
        metrics::describe_gauge!(CONNECTIONS, "Connections, those included that linger after their end.");
        metrics::describe_gauge!(HALF_OPEN, "Connections of servers whose handshake is not complete, or never was.");
        metrics::describe_gauge!(HANDSHAKE_MEMORY, Unit::Bytes, "What the half-open connections take, about.");
        metrics::describe_gauge!(SHEDDING, "Workers that keep clients away because of their load.");
        metrics::describe_gauge!(ROUTES, "Connection IDs and reset tokens that lead to connections.");
        metrics::describe_histogram!(HANDSHAKE, Unit::Seconds, "How long handshakes took until complete at this end.");
        metrics::describe_histogram!(VERDICT, Unit::Seconds, "How long the application took to judge a certificate.");
        metrics::describe_histogram!(RTT, Unit::Seconds, "The smoothed round-trip time of connections at their end.");
        metrics::describe_counter!(ENDED, "Connections ended, by what ended them.");
        Self {
            counters: COUNTERS.map(|(name, _)| metrics::counter!(name)),
            told: Counters::default(),
            gauges: [CONNECTIONS, HALF_OPEN, ROUTES, HANDSHAKE_MEMORY, SHEDDING].map(|name| metrics::gauge!(name)),
            held: RegistrationStats::default(),
            handshake: metrics::histogram!(HANDSHAKE),
            verdict: metrics::histogram!(VERDICT),
            rtt: metrics::histogram!(RTT),
        }
    }

    /// Tells what has changed.
    pub(crate) fn tell(&mut self, counters: &Counters, held: RegistrationStats, shared: &SharedCounters) {
        if *counters != self.told {
            let changes = counters.values().into_iter().zip(self.told.values());
            for (counter, (now, before)) in self.counters.iter().zip(changes) {
                if now != before {
                    counter.increment(now - before);
                }
            }
            shared.store(counters);
            self.told = *counters;
        }
        if held != self.held {
            let changes = gauges(held).into_iter().zip(gauges(self.held));
            for (gauge, (now, before)) in self.gauges.iter().zip(changes) {
                gauge.increment(now - before);
            }
            self.held = held;
        }
    }

    /// Tells of a handshake that is complete.
    pub(crate) fn handshake(&self, stats: &ConnectionStats) {
        if let Some(time) = stats.handshake {
            self.handshake.record(time);
        }
        if let (Some(asked), Some(given)) = (stats.phases.verdict_asked, stats.phases.verdict_given) {
            self.verdict.record(given.saturating_sub(asked));
        }
    }

    /// Tells of a connection that has ended.
    pub(crate) fn ended(&self, reason: Option<&CloseReason>, stats: &ConnectionStats) {
        metrics::counter!(ENDED, "cause" => cause(reason)).increment(1);
        if stats.rtt_samples > 0 {
            self.rtt.record(stats.rtt);
        }
    }
}

impl Drop for Facade {
    /// What a worker held it holds no more.
    fn drop(&mut self) {
        let told = self.told;
        self.tell(&told, RegistrationStats::default(), &SharedCounters::default());
    }
}

const CONNECTIONS: &str = "tercel_connections";
const HALF_OPEN: &str = "tercel_half_open_connections";
const HANDSHAKE_MEMORY: &str = "tercel_handshake_memory_bytes";
const SHEDDING: &str = "tercel_shedding_workers";
const ROUTES: &str = "tercel_routes";
const HANDSHAKE: &str = "tercel_handshake_seconds";
const VERDICT: &str = "tercel_verdict_seconds";
const RTT: &str = "tercel_rtt_seconds";
const ENDED: &str = "tercel_connections_ended_total";

fn gauges(held: RegistrationStats) -> [f64; 5] {
    [held.connections, held.half_open, held.routes, held.handshake_memory, held.shedding].map(|value| value as f64)
}

/// What ended a connection, in one word.
const fn cause(reason: Option<&CloseReason>) -> &'static str {
    match reason {
        Some(CloseReason::LocalApplication { .. }) => "local_application",
        Some(CloseReason::PeerApplication { .. }) => "peer_application",
        Some(CloseReason::PeerTransport { .. }) => "peer_transport",
        Some(CloseReason::Violation(_)) => "violation",
        Some(CloseReason::Refused { .. }) => "refused",
        Some(CloseReason::StatelessReset) => "stateless_reset",
        Some(CloseReason::IdleTimeout) => "idle_timeout",
        Some(CloseReason::HandshakeTimeout) => "handshake_timeout",
        Some(CloseReason::VersionMismatch) => "version_mismatch",
        _ => "silent",
    }
}
