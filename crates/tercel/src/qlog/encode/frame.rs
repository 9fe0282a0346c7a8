//! Frames within the record of a packet.

use tercel_proto::trace::TraceFrame;
use tercel_wire::{Direction, StreamId};

use super::error_name;
use crate::qlog::json::Json;

const fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::Bidirectional => "bidirectional",
        Direction::Unidirectional => "unidirectional",
    }
}

#[inline]
fn payload(out: &mut Vec<u8>, len: u16) {
    out.push_str(",\"raw\":{\"payload_length\":");
    out.number(u64::from(len));
    out.push(b'}');
}

/// Begins the frame of an extension: qlog's drafts know it by its number only.
fn extension(out: &mut Vec<u8>, ty: u64, name: &str) {
    out.push_str("{\"frame_type\":\"unknown\"");
    out.field("frame_type_bytes", ty);
    out.push_str(",\"name\":\"");
    out.push_str(name);
    out.push(b'"');
}

/// Writes a frame. `exponent` is that of the delay of acknowledgements, of whoever sent it.
pub(super) fn frame(out: &mut Vec<u8>, frame: &TraceFrame, exponent: u64) {
    let name = |out: &mut Vec<u8>, name: &str| {
        out.push_str("{\"frame_type\":\"");
        out.push_str(name);
        out.push(b'"');
    };
    match frame {
        TraceFrame::Padding { len } => {
            name(out, "padding");
            payload(out, *len);
        }
        TraceFrame::Ping => name(out, "ping"),
        TraceFrame::Ack(ack) => {
            out.push_str("{\"frame_type\":\"ack\",\"ack_delay\":");
            out.millis(ack.delay.saturating_mul(1000 << exponent.min(20)));
            out.push_str(",\"acked_ranges\":[");
            for (at, range) in ack.ranges.iter().enumerate() {
                out.push_str(if at > 0 { ",[" } else { "[" });
                out.number(*range.start());
                if range.end() > range.start() {
                    out.push(b',');
                    out.number(*range.end());
                }
                out.push(b']');
            }
            out.push(b']');
            if let Some(ecn) = &ack.ecn {
                out.field("ect0", ecn.ect0);
                out.field("ect1", ecn.ect1);
                out.field("ce", ecn.ce);
            }
        }
        TraceFrame::ResetStream(reset) => {
            name(out, "reset_stream");
            out.field("stream_id", reset.id.into_wire());
            out.push_str(",\"error\":\"unknown\"");
            out.field("error_code", u64::from(reset.error));
            out.field("final_size", reset.final_size);
        }
        TraceFrame::StopSending { id, error } => {
            name(out, "stop_sending");
            out.field("stream_id", id.into_wire());
            out.push_str(",\"error\":\"unknown\"");
            out.field("error_code", u64::from(*error));
        }
        TraceFrame::Crypto { offset, len } => {
            name(out, "crypto");
            out.field("offset", *offset);
            payload(out, *len);
        }
        TraceFrame::NewToken { len } => {
            name(out, "new_token");
            out.push_str(",\"token\":{\"type\":\"resumption\",\"raw\":{\"length\":");
            out.number(u64::from(*len));
            out.push_str("}}");
        }
        TraceFrame::Stream { id, offset, len, fin } => {
            stream_until_offset(out, *id);
            out.number(*offset);
            stream_after_offset(out, *len, *fin);
            return;
        }
        TraceFrame::HandshakeDone => name(out, "handshake_done"),
        TraceFrame::Datagram { len } => {
            name(out, "datagram");
            payload(out, *len);
        }
        _ => rarer_frame(out, frame, name),
    }
    out.push(b'}');
}

fn rarer_frame(out: &mut Vec<u8>, frame: &TraceFrame, name: impl Fn(&mut Vec<u8>, &str)) {
    let streams = |out: &mut Vec<u8>, frame: &str, direction: Direction, key: &str, value: u64| {
        name(out, frame);
        out.push_str(",\"stream_type\":\"");
        out.push_str(direction_name(direction));
        out.push(b'"');
        out.field(key, value);
    };
    let of_stream = |out: &mut Vec<u8>, frame: &str, id: u64, key: &str, value: u64| {
        name(out, frame);
        out.field("stream_id", id);
        out.field(key, value);
    };
    let close = |out: &mut Vec<u8>, space: &str, code: u64, reason: &[u8]| {
        name(out, "connection_close");
        out.push_str(",\"error_space\":\"");
        out.push_str(space);
        out.push(b'"');
        error_name(out, "error", code, space == "application");
        out.field("error_code", code);
        out.push_str(",\"reason\":");
        out.text(&String::from_utf8_lossy(reason));
    };
    match frame {
        TraceFrame::MaxData(maximum) => {
            name(out, "max_data");
            out.field("maximum", *maximum);
        }
        TraceFrame::MaxStreamData { id, maximum } => {
            of_stream(out, "max_stream_data", id.into_wire(), "maximum", *maximum);
        }
        TraceFrame::MaxStreams { direction, maximum } => streams(out, "max_streams", *direction, "maximum", *maximum),
        TraceFrame::DataBlocked(limit) => {
            name(out, "data_blocked");
            out.field("limit", *limit);
        }
        TraceFrame::StreamDataBlocked { id, limit } => {
            of_stream(out, "stream_data_blocked", id.into_wire(), "limit", *limit);
        }
        TraceFrame::StreamsBlocked { direction, limit } => streams(out, "streams_blocked", *direction, "limit", *limit),
        TraceFrame::NewConnectionId(new) => {
            name(out, "new_connection_id");
            out.field("sequence_number", new.sequence);
            out.field("retire_prior_to", new.retire_prior_to);
            out.push_str(",\"connection_id\":");
            out.hex(&new.id);
        }
        TraceFrame::RetireConnectionId { sequence } => {
            name(out, "retire_connection_id");
            out.field("sequence_number", *sequence);
        }
        TraceFrame::PathChallenge(data) => {
            name(out, "path_challenge");
            out.push_str(",\"data\":");
            out.hex(data);
        }
        TraceFrame::PathResponse(data) => {
            name(out, "path_response");
            out.push_str(",\"data\":");
            out.hex(data);
        }
        TraceFrame::TransportClose { error, reason } => close(out, "transport", error.0, reason),
        TraceFrame::ApplicationClose { error, reason } => close(out, "application", u64::from(*error), reason),
        TraceFrame::AckFrequency(ask) => {
            extension(out, 0xaf, "ack_frequency");
            out.field("sequence_number", ask.sequence);
            out.field("ack_eliciting_threshold", ask.threshold);
            out.field("requested_max_ack_delay", ask.max_ack_delay);
            out.field("reordering_threshold", ask.reordering_threshold);
        }
        TraceFrame::ResetStreamAt(reset) => {
            extension(out, 0x24, "reset_stream_at");
            out.field("stream_id", reset.id.into_wire());
            out.push_str(",\"error\":\"unknown\"");
            out.field("error_code", u64::from(reset.error));
            out.field("final_size", reset.final_size);
            out.field("reliable_size", reset.reliable_size);
        }
        TraceFrame::ObservedAddress(report) => {
            let ty = if report.address.is_ipv4() { 0x9f_81a6 } else { 0x9f_81a7 };
            extension(out, ty, "observed_address");
            out.field("sequence_number", report.sequence);
            out.push_str(",\"ip\":");
            out.text(&report.address.ip().to_string());
            out.field("port", report.address.port().into());
        }
        TraceFrame::Timestamp(time) => {
            extension(out, 0x2f5, "timestamp");
            out.field("timestamp", *time);
        }
        TraceFrame::ImmediateAck => extension(out, 0x1f, "immediate_ack"),
        _ => name(out, "unknown"),
    }
}

#[inline]
pub(super) fn stream_until_offset(out: &mut Vec<u8>, id: StreamId) {
    out.push_str("{\"frame_type\":\"stream\",\"stream_id\":");
    out.number(id.into_wire());
    out.push_str(",\"offset\":");
}

#[inline]
pub(super) fn stream_after_offset(out: &mut Vec<u8>, len: u16, fin: bool) {
    if fin {
        out.push_str(",\"fin\":true");
    }
    payload(out, len);
    out.push(b'}');
}
