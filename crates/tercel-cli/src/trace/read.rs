//! Reads qlog of the current drafts and of older ones: JSON text sequences, lines of JSON, or one JSON
//! document; names with or without the old categories; data of either shape.

use serde_json::{Value, json};

/// The events of a log and what its header says, in the form that the page draws.
pub(super) fn log(text: &str, file: &str) -> Result<Value, String> {
    let (header, events) = records(text)?;
    let trace = header.get("trace").or_else(|| header.pointer("/traces/0")).unwrap_or(&header);
    let role = trace.pointer("/vantage_point/type").and_then(Value::as_str).unwrap_or("unknown");
    let title = trace
        .pointer("/vantage_point/name")
        .or(trace.get("title"))
        .or(header.get("title"))
        .and_then(Value::as_str)
        .unwrap_or("");
    let mut out: Vec<Value> = events.iter().filter_map(event).collect();
    if out.is_empty() {
        return Err("it has no event".into());
    }
    let start = out.iter().filter_map(|event| event["t"].as_f64()).fold(f64::INFINITY, f64::min);
    for event in &mut out {
        // Older logs count from 1970.
        let time = event["t"].as_f64().unwrap_or(start) - start;
        event["t"] = json!((time * 1e6).round() / 1e6);
    }
    let wall = trace.pointer("/common_fields/reference_time/wall_clock_time").cloned().unwrap_or(Value::Null);
    Ok(json!({ "file": file, "role": role, "title": title, "wall": wall, "events": out }))
}

fn records(text: &str) -> Result<(Value, Vec<Value>), String> {
    if let Ok(Value::Object(mut document)) = serde_json::from_str(text) {
        let events = document
            .get_mut("traces")
            .and_then(|traces| traces.get_mut(0))
            .and_then(|trace| trace.get_mut("events"))
            .map(Value::take);
        let Some(Value::Array(events)) = events else { return Err("there are no traces in it".into()) };
        return Ok((Value::Object(document), events));
    }
    if let Some(salvaged) = salvage(text) {
        return Ok(salvaged);
    }
    let mut records = text.split(['\u{1e}', '\n']).map(str::trim).filter(|record| !record.is_empty());
    let header = records.next().ok_or("it is empty")?;
    let header = serde_json::from_str(header).map_err(|error| format!("its header cannot be read: {error}"))?;
    // The last record of a log that was cut short is not whole.
    Ok((header, records.filter_map(|record| serde_json::from_str(record).ok()).collect()))
}

/// What there is of one JSON document that was cut short, as by a process that ended while it wrote: the header as
/// far as it stands before the events, and all events that are whole.
fn salvage(text: &str) -> Option<(Value, Vec<Value>)> {
    let key = "\"events\"";
    let (at, array) = text.match_indices(key).find_map(|(at, _)| {
        let array = text[at + key.len()..].trim_start().strip_prefix(':')?.trim_start().strip_prefix('[')?;
        Some((at, array))
    })?;
    let header = serde_json::from_str(&format!("{}{key}:[]}}]}}", &text[..at])).ok()?;
    let (mut events, mut rest) = (Vec::new(), array);
    loop {
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
        let Some(Ok(event)) = values.next() else { return Some((header, events)) };
        events.push(event);
        rest = rest[values.byte_offset()..].trim_start().trim_start_matches(',');
    }
}

fn event(event: &Value) -> Option<Value> {
    let time = event.get("time")?.as_f64().or_else(|| event["time"].as_str()?.parse().ok())?;
    let name = event.get("name")?.as_str()?;
    let name = name.rsplit(':').next().unwrap_or(name);
    let empty = Value::Null;
    let data = event.get("data").unwrap_or(&empty);
    let kind = match name {
        "packet_sent" => "s",
        "packet_received" => "r",
        "packet_lost" => "l",
        "packet_dropped" => "d",
        "packet_buffered" => "b",
        "recovery_metrics_updated" | "metrics_updated" => "m",
        _ => "e",
    };
    Some(match kind {
        "s" | "r" | "l" | "d" | "b" => packet(time, kind, data),
        "m" => {
            let mut out = json!({ "t": time, "k": "m" });
            for (key, short) in [
                ("congestion_window", "w"),
                ("bytes_in_flight", "f"),
                ("smoothed_rtt", "srtt"),
                ("latest_rtt", "rtt"),
                ("min_rtt", "min"),
            ] {
                if let Some(value) = data.get(key).and_then(Value::as_f64) {
                    out[short] = json!(value);
                }
            }
            out
        }
        _ => json!({ "t": time, "k": "e", "n": name, "x": data }),
    })
}

fn packet(time: f64, kind: &str, data: &Value) -> Value {
    let empty = Value::Null;
    let header = data.get("header").unwrap_or(&empty);
    let level = header.get("packet_type").or(data.get("packet_type")).and_then(Value::as_str).unwrap_or("unknown");
    let level = match level {
        "1RTT" | "onertt" => "1RTT",
        "0RTT" | "zerortt" => "0RTT",
        other => other,
    };
    let number = header.get("packet_number").and_then(Value::as_u64);
    let length = ["/raw/length", "/raw/payload_length", "/header/packet_size"];
    let length = length.iter().find_map(|at| data.pointer(at)).and_then(Value::as_u64);
    let frames: Vec<Value> = data.get("frames").and_then(Value::as_array).into_iter().flatten().map(frame).collect();
    let why = data.get("details").or(data.get("trigger")).cloned().unwrap_or(Value::Null);
    let mut out = json!({ "t": time, "k": kind, "l": level, "f": frames });
    for (key, value) in [("p", json!(number)), ("z", json!(length)), ("y", why)] {
        if !value.is_null() {
            out[key] = value;
        }
    }
    out
}

/// A frame: its name, and of a stream what the waterfall needs.
fn frame(frame: &Value) -> Value {
    let text = |field| frame.get(field).and_then(Value::as_str);
    // What has no name in the drafts has one of ours.
    let name = match text("frame_type") {
        None | Some("unknown") => text("name").unwrap_or("unknown"),
        Some(name) => name,
    };
    let number = |key: &str| frame.get(key).and_then(Value::as_u64);
    let length = ["/raw/payload_length", "/raw/length", "/length", "/payload_length"];
    let length = length.iter().find_map(|at| frame.pointer(at)).and_then(Value::as_u64);
    match name {
        "stream" | "stream_data_blocked" | "reset_stream" | "stop_sending" | "max_stream_data" => {
            json!([name, number("stream_id"), number("offset"), length, frame.get("fin") == Some(&Value::Bool(true))])
        }
        "connection_close" => json!([
            name,
            frame.get("error_space"),
            number("error_code").or(number("raw_error_code")),
            frame.get("reason")
        ]),
        "ack" => {
            let ranges = frame.get("acked_ranges").and_then(Value::as_array);
            let largest = ranges.into_iter().flatten().filter_map(|range| range.as_array()?.last()?.as_u64()).max();
            json!([name, largest])
        }
        _ => json!([name, Value::Null, Value::Null, length]),
    }
}
