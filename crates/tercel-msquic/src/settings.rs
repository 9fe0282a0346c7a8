//! Settings: what programs give, laid over what held before, and said in Tercel's words.

use std::mem::{offset_of, size_of};
use std::time::Duration;

use tercel::StreamScheduling;
use tercel_proto::config::CongestionAlgorithm;

use crate::abi::settings::{bits, flags, is_set};
use crate::abi::{Settings, Status};

/// The least that a program must know of the struct.
const LEAST: usize = offset_of!(Settings, mtu_discovery_missing_probe_count) + size_of::<u8>();

/// Which fields a struct of the given size does not have.
fn beyond(size: usize) -> u64 {
    let mut fields = 0;
    if size < offset_of!(Settings, dest_cid_update_idle_timeout_ms) + 4 {
        fields |= is_set::DEST_CID_UPDATE_IDLE_TIMEOUT_MS;
    }
    if size < offset_of!(Settings, flags) + 8 {
        fields |= FLAGS.iter().fold(0, |fields, (set, _)| fields | set);
    }
    if size < offset_of!(Settings, stream_recv_window_unidi_default) + 4 {
        fields |= is_set::STREAM_RECV_WINDOW_BIDI_LOCAL_DEFAULT
            | is_set::STREAM_RECV_WINDOW_BIDI_REMOTE_DEFAULT
            | is_set::STREAM_RECV_WINDOW_UNIDI_DEFAULT;
    }
    fields
}

/// Reads as much of a struct as the program knows of it.
///
/// # Errors
/// [`Status::INVALID_PARAMETER`]: it knows too little.
pub(crate) fn read(bytes: &[u8]) -> Result<Settings, Status> {
    if bytes.len() < LEAST {
        return Err(Status::INVALID_PARAMETER);
    }
    let mut settings = Settings::default();
    let len = bytes.len().min(size_of::<Settings>());
    // SAFETY: the struct is made of numbers, for which any bytes do; `len` is within both.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), (&raw mut settings).cast::<u8>(), len) };
    settings.is_set &= !beyond(bytes.len());
    Ok(settings)
}

/// The bytes that a program that has room for `len` gets, or how many there should be.
///
/// # Errors
/// How much room there must be at least.
pub(crate) fn write(settings: &Settings, len: usize) -> Result<Vec<u8>, usize> {
    match len {
        0 => Err(size_of::<Settings>()),
        len if len < LEAST => Err(LEAST),
        len => {
            let len = len.min(size_of::<Settings>());
            let mut known = *settings;
            known.is_set &= !beyond(len);
            let mut bytes = vec![0; len];
            put_fields(&known, &mut bytes);
            Ok(bytes)
        }
    }
}

const BITS: [(u64, (u32, u32)); 7] = [
    (is_set::SEND_BUFFERING_ENABLED, bits::SEND_BUFFERING_ENABLED),
    (is_set::PACING_ENABLED, bits::PACING_ENABLED),
    (is_set::MIGRATION_ENABLED, bits::MIGRATION_ENABLED),
    (is_set::DATAGRAM_RECEIVE_ENABLED, bits::DATAGRAM_RECEIVE_ENABLED),
    (is_set::SERVER_RESUMPTION_LEVEL, bits::SERVER_RESUMPTION_LEVEL),
    (is_set::GREASE_QUIC_BIT_ENABLED, bits::GREASE_QUIC_BIT_ENABLED),
    (is_set::ECN_ENABLED, bits::ECN_ENABLED),
];

const FLAGS: [(u64, u64); 9] = [
    (is_set::HYSTART_ENABLED, flags::HYSTART_ENABLED),
    (is_set::ENCRYPTION_OFFLOAD_ALLOWED, flags::ENCRYPTION_OFFLOAD_ALLOWED),
    (is_set::RELIABLE_RESET_ENABLED, flags::RELIABLE_RESET_ENABLED),
    (is_set::ONE_WAY_DELAY_ENABLED, flags::ONE_WAY_DELAY_ENABLED),
    (is_set::NET_STATS_EVENT_ENABLED, flags::NET_STATS_EVENT_ENABLED),
    (is_set::STREAM_MULTI_RECEIVE_ENABLED, flags::STREAM_MULTI_RECEIVE_ENABLED),
    (is_set::XDP_ENABLED, flags::XDP_ENABLED),
    (is_set::QTIP_ENABLED, flags::QTIP_ENABLED),
    (is_set::RIO_ENABLED, flags::RIO_ENABLED),
];

const fn bit(settings: &Settings, (shift, width): (u32, u32)) -> u8 {
    settings.bits >> shift & ((1 << width) - 1)
}

const fn set_bit(settings: &mut Settings, (shift, width): (u32, u32), value: u8) {
    let mask = ((1 << width) - 1) << shift;
    settings.bits = settings.bits & !mask | value << shift & mask;
}

fn put_field(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(room) = bytes.get_mut(at..at + value.len()) {
        room.copy_from_slice(value);
    }
}

macro_rules! fields {
    ($($field:ident, $set:ident, $default:expr, |$value:ident| $good:expr;)*) => {
        /// What holds if nothing is said; nothing counts as set.
        pub(crate) fn defaults() -> Settings {
            let mut settings = Settings { $($field: $default,)* ..Settings::default() };
            set_bit(&mut settings, bits::SEND_BUFFERING_ENABLED, 1);
            set_bit(&mut settings, bits::PACING_ENABLED, 1);
            set_bit(&mut settings, bits::MIGRATION_ENABLED, 1);
            settings
        }

        /// Writes the fields for which there is room.
        fn put_fields(settings: &Settings, bytes: &mut [u8]) {
            $(put_field(bytes, offset_of!(Settings, $field), &settings.$field.to_ne_bytes());)*
            put_field(bytes, offset_of!(Settings, is_set), &settings.is_set.to_ne_bytes());
            put_field(bytes, offset_of!(Settings, bits), &settings.bits.to_ne_bytes());
            put_field(bytes, offset_of!(Settings, flags), &settings.flags.to_ne_bytes());
        }

        /// Lays what is set in `new`, and was checked, over `settings`.
        pub(crate) fn overlay(settings: &mut Settings, new: &Settings) {
            $(if new.is_set & is_set::$set != 0 {
                settings.$field = new.$field;
                settings.is_set |= is_set::$set;
            })*
            for (set, place) in BITS.into_iter().filter(|(set, _)| new.is_set & set != 0) {
                set_bit(settings, place, bit(new, place));
                settings.is_set |= set;
            }
            for (set, flag) in FLAGS.into_iter().filter(|(set, _)| new.is_set & set != 0) {
                settings.flags = settings.flags & !flag | new.flags & flag;
                settings.is_set |= set;
            }
        }

        /// Checks what is set in `new`, and lays it over `settings`.
        ///
        /// # Errors
        /// [`Status::INVALID_PARAMETER`]: a value is out of its range. Nothing has changed.
        pub(crate) fn apply(settings: &mut Settings, new: &Settings) -> Result<(), Status> {
            $(if new.is_set & is_set::$set != 0 {
                let $value = new.$field;
                if !$good {
                    return Err(Status::INVALID_PARAMETER);
                }
            })*
            let mut result = *settings;
            overlay(&mut result, new);
            if bit(&result, bits::SERVER_RESUMPTION_LEVEL) > 2 || result.minimum_mtu > result.maximum_mtu {
                return Err(Status::INVALID_PARAMETER);
            }
            if new.is_set & is_set::STREAM_RECV_WINDOW_DEFAULT != 0 {
                spread_window(&mut result);
            }
            *settings = result;
            Ok(())
        }
    };
}

/// The window of all streams is that of each kind of which nothing is said.
const fn spread_window(settings: &mut Settings) {
    let window = settings.stream_recv_window_default;
    if settings.is_set & is_set::STREAM_RECV_WINDOW_BIDI_LOCAL_DEFAULT == 0 {
        settings.stream_recv_window_bidi_local_default = window;
    }
    if settings.is_set & is_set::STREAM_RECV_WINDOW_BIDI_REMOTE_DEFAULT == 0 {
        settings.stream_recv_window_bidi_remote_default = window;
    }
    if settings.is_set & is_set::STREAM_RECV_WINDOW_UNIDI_DEFAULT == 0 {
        settings.stream_recv_window_unidi_default = window;
    }
}

const VARINT_MAX: u64 = crate::abi::UINT62_MAX;

fields! {
    max_bytes_per_key, MAX_BYTES_PER_KEY, 0x40_0000_0000, |value| value <= 0x40_0000_0000;
    handshake_idle_timeout_ms, HANDSHAKE_IDLE_TIMEOUT_MS, 10_000, |value| value <= VARINT_MAX;
    idle_timeout_ms, IDLE_TIMEOUT_MS, 30_000, |value| value <= VARINT_MAX;
    mtu_discovery_search_complete_timeout_us, MTU_DISCOVERY_SEARCH_COMPLETE_TIMEOUT_US, 600_000_000, |_value| true;
    tls_client_max_send_buffer, TLS_CLIENT_MAX_SEND_BUFFER, 4096, |_value| true;
    tls_server_max_send_buffer, TLS_SERVER_MAX_SEND_BUFFER, 8192, |_value| true;
    stream_recv_window_default, STREAM_RECV_WINDOW_DEFAULT, 65_536, |value| value.is_power_of_two();
    stream_recv_buffer_default, STREAM_RECV_BUFFER_DEFAULT, 4096, |value| value >= 4096;
    conn_flow_control_window, CONN_FLOW_CONTROL_WINDOW, 16_777_216, |_value| true;
    max_worker_queue_delay_us, MAX_WORKER_QUEUE_DELAY_US, 250_000, |_value| true;
    max_stateless_operations, MAX_STATELESS_OPERATIONS, 16, |_value| true;
    initial_window_packets, INITIAL_WINDOW_PACKETS, 10, |_value| true;
    send_idle_timeout_ms, SEND_IDLE_TIMEOUT_MS, 1000, |_value| true;
    initial_rtt_ms, INITIAL_RTT_MS, 333, |value| value > 0;
    max_ack_delay_ms, MAX_ACK_DELAY_MS, 25, |value| value < 1 << 14;
    disconnect_timeout_ms, DISCONNECT_TIMEOUT_MS, 16_000, |value| (1..=600_000).contains(&value);
    keep_alive_interval_ms, KEEP_ALIVE_INTERVAL_MS, 0, |_value| true;
    congestion_control_algorithm, CONGESTION_CONTROL_ALGORITHM, 0, |_value| true;
    peer_bidi_stream_count, PEER_BIDI_STREAM_COUNT, 0, |_value| true;
    peer_unidi_stream_count, PEER_UNIDI_STREAM_COUNT, 0, |_value| true;
    max_binding_stateless_operations, MAX_BINDING_STATELESS_OPERATIONS, 100, |_value| true;
    stateless_operation_expiration_ms, STATELESS_OPERATION_EXPIRATION_MS, 100, |_value| true;
    minimum_mtu, MINIMUM_MTU, 1288, |value| (1248..=1500).contains(&value);
    maximum_mtu, MAXIMUM_MTU, 1500, |value| (1248..=1500).contains(&value);
    max_operations_per_drain, MAX_OPERATIONS_PER_DRAIN, 16, |value| value > 0;
    mtu_discovery_missing_probe_count, MTU_DISCOVERY_MISSING_PROBE_COUNT, 3, |_value| true;
    dest_cid_update_idle_timeout_ms, DEST_CID_UPDATE_IDLE_TIMEOUT_MS, 20_000, |_value| true;
    stream_recv_window_bidi_local_default, STREAM_RECV_WINDOW_BIDI_LOCAL_DEFAULT, 65_536,
        |value| value.is_power_of_two();
    stream_recv_window_bidi_remote_default, STREAM_RECV_WINDOW_BIDI_REMOTE_DEFAULT, 65_536,
        |value| value.is_power_of_two();
    stream_recv_window_unidi_default, STREAM_RECV_WINDOW_UNIDI_DEFAULT, 65_536, |value| value.is_power_of_two();
}

/// How far a server lets clients resume: 0 not, 1 sessions, 2 with early data.
pub(crate) const fn resumption_level(settings: &Settings) -> u8 {
    bit(settings, bits::SERVER_RESUMPTION_LEVEL)
}

/// Whether sends are copied, and done with at once.
pub(crate) const fn buffers_sends(settings: &Settings) -> bool {
    bit(settings, bits::SEND_BUFFERING_ENABLED) != 0
}

/// Whether several receives may be outstanding on a stream.
pub(crate) const fn receives_many(settings: &Settings) -> bool {
    settings.flags & flags::STREAM_MULTI_RECEIVE_ENABLED != 0
}

/// Headers of IPv6 and UDP, which sizes here include and Tercel's do not.
const HEADERS: u16 = 48;
/// Those of IPv4 and UDP.
const LEAST_HEADERS: u16 = 28;

/// What these settings are called there. What Tercel keeps within a range is put within it.
pub(crate) fn translate(settings: &Settings) -> tercel::Settings {
    let within = |millis: u64, min: u64, max: u64| Duration::from_millis(millis.clamp(min, max));
    let on = |place| bit(settings, place) != 0;
    let flag = |flag| settings.flags & flag != 0;
    let stream_window = u64::from(
        settings
            .stream_recv_window_bidi_local_default
            .max(settings.stream_recv_window_bidi_remote_default)
            .max(settings.stream_recv_window_unidi_default),
    );
    let window = u64::from(settings.conn_flow_control_window.max(1));
    let handshake = if settings.handshake_idle_timeout_ms == 0 { u64::MAX } else { settings.handshake_idle_timeout_ms };
    tercel::Settings {
        max_idle_timeout: within(settings.idle_timeout_ms, 0, 86_400_000),
        handshake_timeout: within(handshake, 100, 600_000),
        keep_alive: Some(u64::from(settings.keep_alive_interval_ms)).filter(|ms| *ms > 0).map(Duration::from_millis),
        max_bidi_streams: settings.peer_bidi_stream_count.into(),
        max_uni_streams: settings.peer_unidi_stream_count.into(),
        stream_statistics: true,
        stream_receive_window: stream_window.min(1 << 30),
        max_stream_receive_window: stream_window.max(window).min(1 << 30),
        receive_window: window,
        max_receive_window: window,
        max_datagram_size: if on(bits::DATAGRAM_RECEIVE_ENABLED) { u16::MAX } else { 0 },
        initial_rtt: within(settings.initial_rtt_ms.into(), 1, 10_000),
        initial_window_packets: settings.initial_window_packets.clamp(2, 1000),
        hystart: flag(flags::HYSTART_ENABLED),
        pacing: on(bits::PACING_ENABLED),
        ecn: on(bits::ECN_ENABLED),
        initial_mtu: (settings.minimum_mtu - HEADERS).max(1200),
        // Where both are the same there is nothing to look for.
        max_mtu: match settings.minimum_mtu == settings.maximum_mtu {
            true => (settings.minimum_mtu - HEADERS).max(1200),
            false => settings.maximum_mtu - LEAST_HEADERS,
        },
        max_ack_delay: within(settings.max_ack_delay_ms.into(), 0, 16_383),
        reset_stream_at: flag(flags::RELIABLE_RESET_ENABLED),
        one_way_delay: flag(flags::ONE_WAY_DELAY_ENABLED),
        migration: on(bits::MIGRATION_ENABLED),
        key_update_bytes: settings.max_bytes_per_key.max(65_536),
        grease: on(bits::GREASE_QUIC_BIT_ENABLED),
        congestion: match settings.congestion_control_algorithm {
            1 => CongestionAlgorithm::Bbr,
            _ => CongestionAlgorithm::Cubic,
        },
        stream_scheduling: StreamScheduling::Fifo,
        ..tercel::Settings::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_as_documented_and_tercel_takes_it() {
        let settings = defaults();
        assert_eq!((settings.is_set, settings.peer_bidi_stream_count, settings.idle_timeout_ms), (0, 0, 30_000));
        assert!(buffers_sends(&settings) && !receives_many(&settings) && resumption_level(&settings) == 0);
        let translated = translate(&settings);
        translated.transport().unwrap();
        assert_eq!((translated.initial_mtu, translated.max_mtu), (1240, 1472));
    }

    #[test]
    fn extremes_are_refused_or_put_within_what_tercel_takes() {
        let extremes = Settings {
            is_set: u64::MAX,
            max_bytes_per_key: 0,
            handshake_idle_timeout_ms: VARINT_MAX,
            idle_timeout_ms: VARINT_MAX,
            stream_recv_window_default: 1 << 31,
            stream_recv_window_bidi_local_default: 1,
            stream_recv_window_bidi_remote_default: 1,
            stream_recv_window_unidi_default: 1,
            stream_recv_buffer_default: u32::MAX,
            conn_flow_control_window: u32::MAX,
            initial_window_packets: u32::MAX,
            initial_rtt_ms: u32::MAX,
            disconnect_timeout_ms: 1,
            peer_bidi_stream_count: u16::MAX,
            peer_unidi_stream_count: u16::MAX,
            minimum_mtu: 1500,
            maximum_mtu: 1500,
            max_operations_per_drain: 1,
            keep_alive_interval_ms: u32::MAX,
            bits: 0b1010_1111,
            flags: u64::MAX,
            ..Settings::default()
        };
        let mut settings = defaults();
        apply(&mut settings, &extremes).unwrap();
        let translated = translate(&settings);
        translated.transport().unwrap();
        // Where both are the same nothing is looked for.
        assert_eq!((translated.initial_mtu, translated.max_mtu), (1452, 1452));
        for wrong in [
            Settings { is_set: is_set::INITIAL_RTT_MS, ..Settings::default() },
            Settings { is_set: is_set::MINIMUM_MTU, minimum_mtu: 1247, ..Settings::default() },
            Settings {
                is_set: is_set::STREAM_RECV_WINDOW_DEFAULT,
                stream_recv_window_default: 3,
                ..Settings::default()
            },
            Settings { is_set: is_set::SERVER_RESUMPTION_LEVEL, bits: 0b11_0000, ..Settings::default() },
        ] {
            let before = settings;
            assert_eq!(apply(&mut settings, &wrong), Err(Status::INVALID_PARAMETER));
            assert_eq!(settings, before);
        }
    }

    #[test]
    fn a_program_that_knows_less_is_not_asked_for_more() {
        let bytes = vec![0xff; size_of::<Settings>()];
        assert_eq!(read(&bytes[..LEAST - 1]).unwrap_err(), Status::INVALID_PARAMETER);
        let old = read(&bytes[..LEAST]).unwrap();
        assert_eq!(old.is_set & (is_set::HYSTART_ENABLED | is_set::DEST_CID_UPDATE_IDLE_TIMEOUT_MS), 0);
        assert_eq!((old.flags, old.max_operations_per_drain), (0, 0xff));
        assert_eq!(write(&defaults(), 0), Err(size_of::<Settings>()));
        assert_eq!(write(&defaults(), LEAST - 1), Err(LEAST));
        let all = write(&defaults(), 1000).unwrap();
        assert_eq!((all.len(), read(&all).unwrap()), (size_of::<Settings>(), defaults()));
    }
}
