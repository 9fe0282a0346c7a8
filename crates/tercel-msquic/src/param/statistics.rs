//! Statistics of a connection, as far as Tercel counts the same things. What it does not count is 0.

use std::time::Duration;

use tercel::ConnectionStats;

use super::{Got, Missing, value};
use crate::abi::{ReceiveStatistics, STATISTICS_V2_SIZES, SendStatistics, Statistics, StatisticsV2, statistics_bits};

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

fn small(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// What is known beside what Tercel counts.
#[derive(Clone, Copy)]
pub(super) struct Known {
    pub(super) correlation: u64,
    pub(super) retried: bool,
    pub(super) resumed: bool,
}

/// The first version.
pub(super) fn first(stats: &ConnectionStats, known: Known) -> Statistics {
    let all = second(stats, known);
    Statistics {
        correlation_id: all.correlation_id,
        bits: all.bits & 0xf,
        rtt: all.rtt,
        min_rtt: all.min_rtt,
        max_rtt: all.max_rtt,
        timing_start: all.timing_start,
        timing_initial_flight_end: all.timing_initial_flight_end,
        timing_handshake_flight_end: all.timing_handshake_flight_end,
        send: SendStatistics {
            path_mtu: all.send_path_mtu,
            total_packets: all.send_total_packets,
            suspected_lost_packets: all.send_suspected_lost_packets,
            spurious_lost_packets: all.send_spurious_lost_packets,
            total_bytes: all.send_total_bytes,
            congestion_count: all.send_congestion_count,
            persistent_congestion_count: all.send_persistent_congestion_count,
            ..SendStatistics::default()
        },
        recv: ReceiveStatistics {
            total_packets: all.recv_total_packets,
            dropped_packets: all.recv_dropped_packets,
            total_bytes: all.recv_total_bytes,
            ..ReceiveStatistics::default()
        },
        misc: crate::abi::MiscStatistics { key_update_count: all.key_update_count },
        ..Statistics::default()
    }
}

fn second(stats: &ConnectionStats, known: Known) -> StatisticsV2 {
    let bit = |on: bool, bit| if on { bit } else { 0 };
    let bits = bit(known.retried, statistics_bits::STATELESS_RETRY)
        | bit(known.resumed, statistics_bits::RESUMPTION_ATTEMPTED | statistics_bits::RESUMPTION_SUCCEEDED)
        | bit(stats.ecn_capable, statistics_bits::ECN_CAPABLE);
    let since_start = |time: Option<Duration>| time.map_or(0, |time| u64::from(micros(time)));
    StatisticsV2 {
        correlation_id: known.correlation,
        bits,
        rtt: micros(stats.rtt),
        min_rtt: micros(stats.min_rtt),
        max_rtt: micros(stats.rtt.max(stats.latest_rtt)),
        timing_initial_flight_end: since_start(stats.phases.handshake_keys),
        timing_handshake_flight_end: since_start(stats.handshake),
        send_path_mtu: stats.mtu.saturating_add(28),
        send_total_packets: stats.packets_sent,
        send_suspected_lost_packets: stats.packets_lost,
        send_spurious_lost_packets: stats.packets_lost_spuriously,
        send_total_bytes: stats.bytes_sent,
        send_congestion_count: small(stats.congestion_events),
        send_persistent_congestion_count: small(stats.persistent_congestion),
        recv_total_packets: stats.packets_received,
        recv_dropped_packets: stats.packets_dropped,
        recv_total_bytes: stats.bytes_received,
        key_update_count: small(stats.key_updates),
        send_congestion_window: small(stats.congestion_window),
        rtt_variance: micros(stats.rtt_variation),
        ..StatisticsV2::default()
    }
}

/// The second version, as much of it as the program knows.
pub(super) fn second_value(stats: &ConnectionStats, known: Known, room: usize) -> Got {
    let mut bytes = value(second(stats, known));
    match room {
        0 => return Err(Missing::TooSmall(bytes.len())),
        room if room < STATISTICS_V2_SIZES[0] => return Err(Missing::TooSmall(STATISTICS_V2_SIZES[0])),
        room => bytes.truncate(room),
    }
    Ok(bytes)
}
