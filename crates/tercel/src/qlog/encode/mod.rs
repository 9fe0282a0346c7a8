//! Events as records of a JSON text sequence (RFC 7464), by the drafts `quic-qlog-main-schema-13` and
//! `quic-qlog-quic-events-12`. What the drafts have no name for is in a schema of our own, `tercel`.

mod frame;
mod packet;

use std::time::Duration;

use tercel_proto::error::CloseReason;
use tercel_proto::time::Time;
use tercel_proto::trace::{End, Metrics, PacketRecord, Record, TraceEvent, TraceFrame, TraceState, Way};
use tercel_wire::{Role, SpaceId, TransportErrorCode, TransportParameters, Version};

use self::packet::{Packet, Packets, Piece};

use super::Subject;
use super::json::Json;

/// What the header of a file says beside its title.
const SCHEMAS: &str = r#"["urn:ietf:params:qlog:events:quic-12","urn:tercel:qlog:events:tercel-1"]"#;

/// The `ack_delay_exponent` that Tercel has.
const OUR_EXPONENT: u64 = 3;

/// Writes the events of one connection.
#[derive(Debug)]
pub struct Encoder {
    start: Time,
    subject: Subject,
    /// The peer's `ack_delay_exponent`.
    peer_exponent: u64,
    congestion: &'static str,
    state: &'static str,
    /// How a record of `stamped` begins: many packets are sent at one time.
    stamp: Piece<48>,
    stamped: Time,
    packets: Packets,
}

impl Encoder {
    /// For the connection whose first events these are; `None` if its start is not among them.
    pub fn of(events: impl IntoIterator<Item = (Time, TraceEvent)>) -> Option<(Self, Subject)> {
        let mut events = events.into_iter().peekable();
        let start = events.peek()?.0;
        let subject = events.find_map(|(_, event)| match event {
            TraceEvent::Started(start) => Some(Subject { original_dcid: start.original_dcid, role: start.role }),
            _ => None,
        })?;
        let encoder = Self {
            start,
            subject,
            peer_exponent: 3,
            congestion: "slow_start",
            state: "attempted",
            stamp: stamp(Duration::ZERO),
            stamped: start,
            packets: Packets::default(),
        };
        Some((encoder, subject))
    }

    /// Writes the header that every file begins with. Times of events count from the first of them; the
    /// driver's clock at that time is told as the reference if it counts from 1970.
    pub fn header(&self, out: &mut Vec<u8>) {
        let role = match self.subject.role {
            Role::Client => "client",
            Role::Server => "server",
        };
        out.push_str("\u{1e}{\"file_schema\":\"urn:ietf:params:qlog:file:sequential\",");
        out.push_str("\"serialization_format\":\"application/qlog+json-seq\",\"title\":\"Tercel\",");
        out.push_str("\"trace\":{\"common_fields\":{\"group_id\":");
        out.hex(&self.subject.original_dcid);
        out.push_str(",\"protocol_types\":[\"QUIC\"],\"time_format\":\"relative_to_epoch\",\"reference_time\":");
        out.push_str("{\"clock_type\":\"monotonic\",\"epoch\":\"unknown\",\"wall_clock_time\":\"");
        rfc3339(out, self.start);
        out.push_str("\"}},\"vantage_point\":{\"name\":\"tercel\",\"type\":\"");
        out.push_str(role);
        out.push_str("\"},\"event_schemas\":");
        out.push_str(SCHEMAS);
        out.push_str("}}\n");
    }

    /// Writes an event of a batch: one or more records.
    #[inline]
    pub fn record(&mut self, time: Time, record: Record<'_>, out: &mut Vec<u8>) {
        match record {
            Record::Packet(PacketRecord { way, level, number, len, frames }) => {
                self.packet(time, &Packet { way, level, number, len, frames }, out);
            }
            Record::Other(event) => self.event(time, &event, out),
        }
    }

    fn version(&mut self, time: Time, version: Version, out: &mut Vec<u8>) {
        self.begin(time, "quic:version_information", out);
        out.push_str("\"chosen_version\":");
        out.hex(&version.0.to_be_bytes());
    }

    /// Writes an event: one or more records.
    pub fn event(&mut self, time: Time, event: &TraceEvent, out: &mut Vec<u8>) {
        match event {
            TraceEvent::Started(start) => {
                self.begin(time, "quic:connection_started", out);
                out.push_str("\"local\":{\"connection_ids\":[");
                out.hex(&start.local_cid);
                out.push_str("]},\"remote\":{");
                endpoint(out, start.remote);
                out.push(b'}');
                end(out);
                self.version(time, start.version, out);
            }
            TraceEvent::Version(version) => self.version(time, *version, out),
            TraceEvent::Parameters { of, parameters } => {
                if *of == End::Remote {
                    self.peer_exponent = parameters.ack_delay_exponent;
                }
                self.begin(time, "quic:parameters_set", out);
                parameters_set(out, *of, parameters);
            }
            TraceEvent::Alpn(alpn) => {
                self.begin(time, "quic:alpn_information", out);
                out.push_str("\"chosen_alpn\":{\"byte_value\":");
                out.hex(alpn);
                if let Ok(name) = std::str::from_utf8(alpn) {
                    out.push_str(",\"string_value\":");
                    out.text(name);
                }
                out.push(b'}');
            }
            TraceEvent::PacketSent { level, number, len, mtu_probe, frames } => {
                let frames = frames.iter().cloned();
                let way = Way::Sent { mtu_probe: *mtu_probe };
                return self.packet(time, &Packet { way, level: *level, number: *number, len: *len, frames }, out);
            }
            TraceEvent::PacketReceived { level, number, len, frames } => {
                let (way, frames) = (Way::Received, frames.iter().cloned());
                return self.packet(time, &Packet { way, level: *level, number: *number, len: *len, frames }, out);
            }
            TraceEvent::PacketDropped { why } => {
                self.begin(time, "quic:packet_dropped", out);
                out.push_str("\"trigger\":\"general\",\"details\":");
                out.text(why);
            }
            TraceEvent::PacketBuffered { level, len } => {
                self.begin(time, "quic:packet_buffered", out);
                packet::header(out, *level, None);
                out.push_str(",\"raw\":{\"length\":");
                out.number(u64::from(*len));
                out.push_str("},\"trigger\":\"keys_unavailable\"");
            }
            TraceEvent::PacketLost { level, number, mtu_probe } => {
                self.begin(time, "quic:packet_lost", out);
                packet::header(out, *level, Some(*number));
                if *mtu_probe {
                    out.push_str(",\"is_mtu_probe_packet\":true");
                }
            }
            _ => self.state(time, event, out),
        }
        end(out);
    }

    /// Writes that so many events are missing after the last one.
    pub(super) fn missing(&mut self, count: u64, out: &mut Vec<u8>) {
        self.event(self.stamped, &TraceEvent::Missing(count), out);
    }

    /// Events that are no packets.
    fn state(&mut self, time: Time, event: &TraceEvent, out: &mut Vec<u8>) {
        match event {
            TraceEvent::ProbeTimeout { count } => {
                self.begin(time, "quic:timer_updated", out);
                out.push_str("\"timer_type\":\"pto\",\"event_type\":\"expired\"");
                out.field("timer_id", u64::from(*count));
            }
            TraceEvent::Metrics(metrics) => {
                self.begin(time, "quic:recovery_metrics_updated", out);
                metrics_updated(out, metrics);
            }
            TraceEvent::Congestion(phase) => {
                let new = phase.name();
                self.begin(time, "quic:congestion_state_updated", out);
                change(out, std::mem::replace(&mut self.congestion, new), new);
            }
            TraceEvent::State(state) => {
                let new = match state {
                    TraceState::Handshaking => "handshake_started",
                    TraceState::Complete => "handshake_completed",
                    TraceState::Confirmed => "handshake_confirmed",
                    TraceState::Closing => "closing",
                    TraceState::Draining => "draining",
                    TraceState::Closed => "closed",
                };
                self.begin(time, "quic:connection_state_updated", out);
                change(out, std::mem::replace(&mut self.state, new), new);
            }
            TraceEvent::KeysMade(space) => self.keys(time, "quic:key_updated", *space, "tls", None, out),
            TraceEvent::KeysDiscarded(space) => self.keys(time, "quic:key_discarded", *space, "tls", None, out),
            TraceEvent::KeysUpdated { phase } => {
                self.keys(time, "quic:key_updated", SpaceId::Data, "local_update", Some(*phase), out);
            }
            TraceEvent::Mtu { old, new } => {
                self.begin(time, "quic:mtu_updated", out);
                out.push_str("\"done\":false");
                out.field("old", u64::from(*old));
                out.field("new", u64::from(*new));
            }
            TraceEvent::Path { path, remote } => {
                self.begin(time, "quic:tuple_assigned", out);
                out.push_str("\"tuple_id\":\"");
                out.number(u64::from(*path));
                out.push_str("\",\"tuple_remote\":{");
                endpoint(out, **remote);
                out.push(b'}');
            }
            TraceEvent::Ecn { capable } => {
                self.begin(time, "quic:ecn_state_updated", out);
                out.push_str(if *capable { "\"new\":\"capable\"" } else { "\"new\":\"failed\"" });
            }
            TraceEvent::DataQueued { id, len, fin } => {
                self.begin(time, "quic:stream_data_moved", out);
                out.push_str("\"from\":\"application\",\"to\":\"transport\"");
                moved(out, id.into_wire(), *len, *fin);
            }
            TraceEvent::DataConsumed { id, len } => {
                self.begin(time, "quic:stream_data_moved", out);
                out.push_str("\"from\":\"transport\",\"to\":\"application\"");
                moved(out, id.into_wire(), *len, false);
            }
            TraceEvent::VerdictAsked => self.begin(time, "tercel:verdict_asked", out),
            TraceEvent::VerdictGiven { accepted } => {
                self.begin(time, "tercel:verdict_given", out);
                out.push_str(if *accepted { "\"accepted\":true" } else { "\"accepted\":false" });
            }
            TraceEvent::Ending(reason) => {
                self.begin(time, "quic:connection_closed", out);
                closed(out, reason);
            }
            TraceEvent::Missing(count) => {
                self.begin(time, "tercel:events_missing", out);
                out.push_str("\"count\":");
                out.number(*count);
            }
            _ => self.begin(time, "tercel:unknown", out),
        }
    }

    #[inline]
    fn packet(&mut self, time: Time, packet: &Packet<impl Iterator<Item = TraceFrame> + Clone>, out: &mut Vec<u8>) {
        self.stamp(time, out);
        let exponent = match packet.way {
            Way::Sent { .. } => OUR_EXPONENT,
            Way::Received => self.peer_exponent,
        };
        self.packets.write(packet, exponent, out);
    }

    fn begin(&mut self, time: Time, name: &str, out: &mut Vec<u8>) {
        self.stamp(time, out);
        out.push_str(name);
        out.push_str("\",\"data\":{");
    }

    #[inline]
    fn stamp(&mut self, time: Time, out: &mut Vec<u8>) {
        if self.stamped != time {
            self.stamped = time;
            self.stamp = stamp(time.since(self.start));
        }
        self.stamp.push_to(out);
    }

    fn keys(&mut self, time: Time, name: &str, space: SpaceId, trigger: &str, phase: Option<u64>, out: &mut Vec<u8>) {
        for end_name in ["client", "server"] {
            if end_name == "server" {
                end(out);
            }
            self.begin(time, name, out);
            out.push_str("\"key_type\":\"");
            out.push_str(end_name);
            out.push_str(match space {
                SpaceId::Initial => "_initial_secret",
                SpaceId::Handshake => "_handshake_secret",
                SpaceId::Data => "_1rtt_secret",
            });
            out.push_str("\",\"trigger\":\"");
            out.push_str(trigger);
            out.push(b'"');
            if let Some(phase) = phase {
                out.field("key_phase", phase);
            }
        }
    }
}

/// How a record of this time begins.
fn stamp(since_start: Duration) -> Piece<48> {
    let mut text = Vec::with_capacity(64);
    text.push_str("\u{1e}{\"time\":");
    text.millis(u64::try_from(since_start.as_nanos()).unwrap_or(u64::MAX));
    text.push_str(",\"name\":\"");
    // 9 bytes, at most 14 digits with a point and three more, 9 bytes.
    Piece::of(&text).unwrap_or_default()
}

fn end(out: &mut Vec<u8>) {
    out.push_str("}}\n");
}

fn change(out: &mut Vec<u8>, old: &str, new: &str) {
    out.push_str("\"old\":\"");
    out.push_str(old);
    out.push_str("\",\"new\":\"");
    out.push_str(new);
    out.push(b'"');
}

fn moved(out: &mut Vec<u8>, id: u64, len: u64, fin: bool) {
    out.field("stream_id", id);
    out.push_str(",\"raw\":{\"length\":");
    out.number(len);
    out.push(b'}');
    if fin {
        out.push_str(",\"additional_info\":\"fin_set\"");
    }
}

fn endpoint(out: &mut Vec<u8>, address: std::net::SocketAddr) {
    let version = if address.is_ipv4() { "v4" } else { "v6" };
    out.push_str(&format!("\"ip_{version}\":\"{}\",\"port_{version}\":{}", address.ip(), address.port()));
}

fn metrics_updated(out: &mut Vec<u8>, metrics: &Metrics) {
    let rtts = [
        ("smoothed_rtt", metrics.smoothed_rtt),
        ("min_rtt", metrics.min_rtt),
        ("latest_rtt", metrics.latest_rtt),
        ("rtt_variance", metrics.rtt_variation),
    ];
    out.push_str("\"pto_count\":");
    out.number(u64::from(metrics.pto_count));
    for (name, rtt) in rtts {
        out.push_str(",\"");
        out.push_str(name);
        out.push_str("\":");
        out.millis(1000 * u64::from(rtt));
    }
    out.field("congestion_window", metrics.congestion_window);
    out.field("bytes_in_flight", metrics.bytes_in_flight);
}

fn parameters_set(out: &mut Vec<u8>, of: End, parameters: &TransportParameters) {
    out.push_str("\"initiator\":");
    out.push_str(if of == End::Local { "\"local\"" } else { "\"remote\"" });
    out.push_str(",\"unknown_parameters\":[]");
    for (name, value) in [
        ("max_idle_timeout", parameters.max_idle_timeout),
        ("max_udp_payload_size", parameters.max_udp_payload_size),
        ("ack_delay_exponent", parameters.ack_delay_exponent),
        ("max_ack_delay", parameters.max_ack_delay),
        ("active_connection_id_limit", parameters.active_connection_id_limit),
        ("initial_max_data", parameters.initial_max_data),
        ("initial_max_stream_data_bidi_local", parameters.initial_max_stream_data_bidi_local),
        ("initial_max_stream_data_bidi_remote", parameters.initial_max_stream_data_bidi_remote),
        ("initial_max_stream_data_uni", parameters.initial_max_stream_data_uni),
        ("initial_max_streams_bidi", parameters.initial_max_streams_bidi),
        ("initial_max_streams_uni", parameters.initial_max_streams_uni),
        ("max_datagram_frame_size", parameters.max_datagram_frame_size),
    ] {
        out.field(name, value);
    }
    if parameters.disable_active_migration {
        out.push_str(",\"disable_active_migration\":true");
    }
}

fn closed(out: &mut Vec<u8>, reason: &CloseReason) {
    let (initiator, code, application, trigger) = match reason {
        CloseReason::LocalApplication { code } => ("local", Some(u64::from(*code)), true, "application"),
        CloseReason::PeerApplication { code, .. } => ("remote", Some(u64::from(*code)), true, "application"),
        CloseReason::PeerTransport { code, .. } => ("remote", Some(code.0), false, transport_trigger(*code)),
        CloseReason::Violation(violation) => ("local", Some(violation.code.0), false, "error"),
        CloseReason::Refused { code } => ("local", Some(code.0), false, "error"),
        CloseReason::StatelessReset => ("remote", None, false, "stateless_reset"),
        CloseReason::IdleTimeout => ("local", None, false, "idle_timeout"),
        CloseReason::HandshakeTimeout => ("local", None, false, "handshake_timeout"),
        CloseReason::VersionMismatch => ("local", None, false, "version_mismatch"),
        CloseReason::Silent => ("local", None, false, "clean"),
        _ => ("local", None, false, "error"),
    };
    out.push_str("\"initiator\":\"");
    out.push_str(initiator);
    out.push_str("\",\"trigger\":\"");
    out.push_str(trigger);
    out.push(b'"');
    if let Some(code) = code {
        let kind = if application { "application_error" } else { "connection_error" };
        error_name(out, kind, code, application);
        out.field("error_code", code);
    }
    out.push_str(",\"reason\":");
    out.text(&reason.to_string());
}

const fn transport_trigger(code: TransportErrorCode) -> &'static str {
    if code.0 == 0 { "clean" } else { "error" }
}

/// The drafts' name of an error code, if there is one: those of TLS have only their number.
fn error_name(out: &mut Vec<u8>, key: &str, code: u64, application: bool) {
    const TRANSPORT: [&str; 17] = [
        "no_error",
        "internal_error",
        "connection_refused",
        "flow_control_error",
        "stream_limit_error",
        "stream_state_error",
        "final_size_error",
        "frame_encoding_error",
        "transport_parameter_error",
        "connection_id_limit_error",
        "protocol_violation",
        "invalid_token",
        "application_error",
        "crypto_buffer_exceeded",
        "key_update_error",
        "aead_limit_reached",
        "no_viable_path",
    ];
    let known = match application {
        true => Some(&"unknown"),
        false => usize::try_from(code).ok().and_then(|code| TRANSPORT.get(code)),
    };
    if let Some(name) = known {
        out.push_str(",\"");
        out.push_str(key);
        out.push_str("\":\"");
        out.push_str(name);
        out.push(b'"');
    }
}

/// A time since 1970 as a date (the civil calendar, by the era of 400 years).
fn rfc3339(out: &mut Vec<u8>, time: Time) {
    let seconds = time.as_nanos() / 1_000_000_000;
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let millis = time.as_nanos() / 1_000_000 % 1000;
    out.push_str(&format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{millis:03}Z",
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60
    ));
}
