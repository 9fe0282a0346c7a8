//! Reads the bindings of the `msquic` crate and writes a row for each size, alignment, offset, constant and bit: what
//! it is, what it is there, and the expression that says what it is here. What is there and not here stops the build,
//! unless it is among those that are left out on purpose.

#![allow(clippy::unwrap_used, reason = "a build that cannot go on must stop")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

/// Structs: theirs, and ours.
const STRUCTS: &[(&str, &str)] = &[
    ("QUIC_BUFFER", "Buffer"),
    ("QUIC_REGISTRATION_CONFIG", "RegistrationConfig"),
    ("QUIC_NEW_CONNECTION_INFO", "NewConnectionInfo"),
    ("QUIC_VERSION_SETTINGS", "VersionSettings"),
    ("QUIC_EXECUTION_CONFIG", "ExecutionConfig"),
    ("QUIC_GLOBAL_EXECUTION_CONFIG", "GlobalExecutionConfig"),
    ("QUIC_CONNECTION_POOL_CONFIG", "ConnectionPoolConfig"),
    ("QUIC_CERTIFICATE_FILE", "CertificateFile"),
    ("QUIC_CERTIFICATE_FILE_PROTECTED", "CertificateFileProtected"),
    ("QUIC_CERTIFICATE_PKCS12", "CertificatePkcs12"),
    ("QUIC_CREDENTIAL_CONFIG", "CredentialConfig"),
    ("QUIC_TICKET_KEY_CONFIG", "TicketKeyConfig"),
    ("QUIC_SETTINGS", "Settings"),
    ("QUIC_GLOBAL_SETTINGS", "GlobalSettings"),
    ("QUIC_STATISTICS", "Statistics"),
    ("QUIC_STATISTICS_V2", "StatisticsV2"),
    ("QUIC_LISTENER_STATISTICS", "ListenerStatistics"),
    ("QUIC_STREAM_STATISTICS", "StreamStatistics"),
    ("QUIC_HANDSHAKE_INFO", "HandshakeInfo"),
    ("QUIC_TLS_SECRETS", "TlsSecrets"),
    ("QUIC_LISTENER_EVENT", "ListenerEvent"),
    ("QUIC_CONNECTION_EVENT", "ConnectionEvent"),
    ("QUIC_STREAM_EVENT", "StreamEvent"),
    ("QUIC_API_TABLE", "ApiTable"),
];

/// Structs without a name there, by the field that they are of, which have one here.
const NAMED_HERE: &[(&str, &str)] = &[
    ("QUIC_STATISTICS.Send", "SendStatistics"),
    ("QUIC_STATISTICS.Recv", "ReceiveStatistics"),
    ("QUIC_STATISTICS.Misc", "MiscStatistics"),
    ("QUIC_LISTENER_EVENT.NEW_CONNECTION", "NewConnection"),
    ("QUIC_CONNECTION_EVENT.CONNECTED", "Connected"),
    ("QUIC_CONNECTION_EVENT.SHUTDOWN_INITIATED_BY_TRANSPORT", "ShutdownByTransport"),
    ("QUIC_CONNECTION_EVENT.PEER_STREAM_STARTED", "PeerStreamStarted"),
    ("QUIC_CONNECTION_EVENT.STREAMS_AVAILABLE", "StreamsAvailable"),
    ("QUIC_CONNECTION_EVENT.IDEAL_PROCESSOR_CHANGED", "IdealProcessorChanged"),
    ("QUIC_CONNECTION_EVENT.DATAGRAM_STATE_CHANGED", "DatagramStateChanged"),
    ("QUIC_CONNECTION_EVENT.DATAGRAM_RECEIVED", "DatagramReceived"),
    ("QUIC_CONNECTION_EVENT.DATAGRAM_SEND_STATE_CHANGED", "DatagramSendStateChanged"),
    ("QUIC_CONNECTION_EVENT.RESUMED", "Resumed"),
    ("QUIC_CONNECTION_EVENT.RESUMPTION_TICKET_RECEIVED", "TicketReceived"),
    ("QUIC_CONNECTION_EVENT.PEER_CERTIFICATE_RECEIVED", "PeerCertificateReceived"),
    ("QUIC_CONNECTION_EVENT.ONE_WAY_DELAY_NEGOTIATED", "OneWayDelayNegotiated"),
    ("QUIC_CONNECTION_EVENT.NETWORK_STATISTICS", "NetworkStatistics"),
    ("QUIC_STREAM_EVENT.START_COMPLETE", "StartComplete"),
    ("QUIC_STREAM_EVENT.RECEIVE", "Receive"),
    ("QUIC_STREAM_EVENT.SEND_COMPLETE", "SendComplete"),
    ("QUIC_STREAM_EVENT.SHUTDOWN_COMPLETE", "StreamShutdownComplete"),
];

/// Of the unions of events: theirs, and ours.
const BODIES: &[(&str, &str)] = &[
    ("QUIC_LISTENER_EVENT", "ListenerEventBody"),
    ("QUIC_CONNECTION_EVENT", "ConnectionEventBody"),
    ("QUIC_STREAM_EVENT", "StreamEventBody"),
];

/// Fields that are called otherwise here.
const FIELDS: &[(&str, &str)] = &[
    ("QUIC_EXECUTION_CONFIG.EventQ", "event_queue"),
    ("QUIC_CREDENTIAL_CONFIG.Type", "credential_type"),
    ("QUIC_CREDENTIAL_CONFIG.__bindgen_anon_1", "certificate"),
    ("QUIC_SETTINGS.__bindgen_anon_1", "is_set"),
    ("QUIC_SETTINGS.__bindgen_anon_2", "flags"),
    ("QUIC_GLOBAL_SETTINGS.__bindgen_anon_1", "is_set"),
    ("QUIC_STATISTICS.Timing", "timing_start"),
    ("QUIC_STATISTICS.Handshake", "handshake_client_flight1_bytes"),
    ("QUIC_LISTENER_EVENT.Type", "event_type"),
    ("QUIC_LISTENER_EVENT.__bindgen_anon_1", "body"),
    ("QUIC_CONNECTION_EVENT.Type", "event_type"),
    ("QUIC_CONNECTION_EVENT.__bindgen_anon_1", "body"),
    ("QUIC_STREAM_EVENT.Type", "event_type"),
    ("QUIC_STREAM_EVENT.__bindgen_anon_1", "body"),
    ("QUIC_CONNECTION_EVENT.LOCAL_ADDRESS_CHANGED", "address_changed"),
    ("QUIC_CONNECTION_EVENT.PEER_ADDRESS_CHANGED", "address_changed"),
];

/// Fields of structs within structs that lie side by side here: the struct, what their names begin with, and the first.
const FLAT: &[(&str, &str, &str, &str)] = &[
    ("QUIC_STATISTICS.Timing", "Statistics", "timing_", "timing_start"),
    ("QUIC_STATISTICS.Handshake", "Statistics", "handshake_", "handshake_client_flight1_bytes"),
];

/// Structs that no function of this platform takes or gives, and helpers of programs.
const NOT_HERE: &[&str] = &[
    "QUIC_ADDR_STR",
    "QUIC_SQE",
    "QUIC_CERTIFICATE_HASH",
    "QUIC_CERTIFICATE_HASH_STORE",
    "QUIC_SCHANNEL_CREDENTIAL_ATTRIBUTE_W",
];

/// Constants: what theirs begin with, and the module of ours.
const CONSTANTS: &[(&str, &str)] = &[
    ("QUIC_EXECUTION_PROFILE_QUIC_EXECUTION_PROFILE_TYPE_", "execution_profile"),
    ("QUIC_EXECUTION_PROFILE_QUIC_EXECUTION_PROFILE_", "execution_profile"),
    ("QUIC_CREDENTIAL_TYPE_QUIC_CREDENTIAL_TYPE_", "credential_type"),
    ("QUIC_CREDENTIAL_FLAGS_QUIC_CREDENTIAL_FLAG_", "credential_flags"),
    ("QUIC_ALLOWED_CIPHER_SUITE_FLAGS_QUIC_ALLOWED_CIPHER_SUITE_", "cipher_suites"),
    ("QUIC_CONNECTION_SHUTDOWN_FLAGS_QUIC_CONNECTION_SHUTDOWN_FLAG_", "connection_shutdown"),
    ("QUIC_STREAM_OPEN_FLAGS_QUIC_STREAM_OPEN_FLAG_", "stream_open"),
    ("QUIC_STREAM_START_FLAGS_QUIC_STREAM_START_FLAG_", "stream_start"),
    ("QUIC_STREAM_SHUTDOWN_FLAGS_QUIC_STREAM_SHUTDOWN_FLAG_", "stream_shutdown"),
    ("QUIC_RECEIVE_FLAGS_QUIC_RECEIVE_FLAG_", "receive"),
    ("QUIC_SEND_FLAGS_QUIC_SEND_FLAG_", "send"),
    ("QUIC_DATAGRAM_SEND_STATE_QUIC_DATAGRAM_SEND_", "datagram_send_state"),
    ("QUIC_LISTENER_EVENT_TYPE_QUIC_LISTENER_EVENT_", "listener_event"),
    ("QUIC_CONNECTION_EVENT_TYPE_QUIC_CONNECTION_EVENT_", "connection_event"),
    ("QUIC_STREAM_EVENT_TYPE_QUIC_STREAM_EVENT_", "stream_event"),
    ("QUIC_PARAM_", "param"),
];

/// Constants that stand alone.
const ALONE: &[(&str, &str)] = &[
    ("QUIC_UINT62_MAX", "UINT62_MAX"),
    ("QUIC_MAX_ALPN_LENGTH", "MAX_ALPN_LENGTH"),
    ("QUIC_MAX_SNI_LENGTH", "MAX_SNI_LENGTH"),
    ("QUIC_MAX_RESUMPTION_APP_DATA_LENGTH", "MAX_RESUMPTION_APP_DATA_LENGTH"),
    ("QUIC_STATELESS_RESET_KEY_LENGTH", "STATELESS_RESET_KEY_LENGTH"),
    ("QUIC_MAX_TICKET_KEY_COUNT", "MAX_TICKET_KEY_COUNT"),
    ("QUIC_TLS_SECRETS_MAX_SECRET_LEN", "MAX_SECRET"),
    ("QUIC_PERFORMANCE_COUNTERS_QUIC_PERF_COUNTER_MAX", "PERF_COUNTERS"),
];

/// Constants that are called otherwise here.
const CALLED: &[(&str, &str)] = &[
    ("QUIC_PARAM_GLOBAL_LOAD_BALACING_MODE", "GLOBAL_LOAD_BALANCING_MODE"),
    ("QUIC_STREAM_OPEN_FLAGS_QUIC_STREAM_OPEN_FLAG_0_RTT", "ZERO_RTT"),
    ("QUIC_RECEIVE_FLAGS_QUIC_RECEIVE_FLAG_0_RTT", "ZERO_RTT"),
];

/// Constants without a name here: beginnings. Numbers that stand where they are used, and what other platforms have.
const NO_NAME: &[&str] = &[
    "QUIC_ADDRESS_FAMILY_",
    "QUIC_CERTIFICATE_",
    "QUIC_API_VERSION_",
    "QUIC_TLS_PROVIDER_",
    "QUIC_LOAD_BALANCING_MODE_",
    "QUIC_TLS_ALERT_CODES_",
    "QUIC_SERVER_RESUMPTION_LEVEL_",
    "QUIC_SEND_RESUMPTION_FLAGS_",
    "QUIC_STREAM_SCHEDULING_SCHEME_",
    "QUIC_GLOBAL_EXECUTION_CONFIG_FLAGS_",
    "QUIC_TLS_PROTOCOL_VERSION_",
    "QUIC_CIPHER_",
    "QUIC_HASH_ALGORITHM_",
    "QUIC_KEY_EXCHANGE_ALGORITHM_",
    "QUIC_TLS_GROUP_",
    "QUIC_CONGESTION_CONTROL_ALGORITHM_",
    "QUIC_PERFORMANCE_COUNTERS_",
    "QUIC_CONNECTION_POOL_FLAGS_",
    "QUIC_PARAM_CONFIGURATION_SCHANNEL_",
    "QUIC_STATUS_FILE_NOT_FOUND",
];

/// Bits of fields: the struct there, the module here, and whether that has shift and width rather than the bit.
const BITS: &[(&str, &str, bool)] = &[
    ("QUIC_SETTINGS__bindgen_ty_1__bindgen_ty_1", "settings::is_set", false),
    ("QUIC_SETTINGS__bindgen_ty_2__bindgen_ty_1", "settings::flags", false),
    ("QUIC_SETTINGS", "settings::bits", true),
    ("QUIC_STATISTICS_V2", "statistics_bits", false),
];

/// The bindings, with single spaces between words.
fn bindings() -> String {
    let metadata =
        Command::new(env::var("CARGO").unwrap()).args(["metadata", "--format-version", "1"]).output().unwrap();
    let metadata = String::from_utf8(metadata.stdout).unwrap();
    let manifest =
        between(&metadata, "msquic-2.5.1-beta/Cargo.toml", "").map(|(start, _)| start).expect("the msquic crate");
    let from = metadata[..manifest].rfind('"').unwrap() + 1;
    let root = PathBuf::from(&metadata[from..manifest + "msquic-2.5.1-beta".len()]);
    let file = root.join("src/rs/ffi/linux_bindings.rs");
    println!("cargo::rerun-if-changed={}", file.display());
    fs::read_to_string(file).unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Where `start` stands, and what stands between it and `end`.
fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<(usize, &'a str)> {
    let at = text.find(start)?;
    let rest = &text[at + start.len()..];
    Some((at, &rest[..rest.find(end)?]))
}

fn all_between<'a>(text: &'a str, start: &'a str, end: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(start).skip(1).filter_map(move |rest| rest.find(end).map(|at| &rest[..at]))
}

fn find<'a>(table: &[(&'static str, &'static str)], key: &'a str) -> Option<&'static str> {
    table.iter().find(|(theirs, _)| *theirs == key).map(|(_, ours)| *ours)
}

/// `MinRtt` as `min_rtt`.
fn snake(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut snake = String::new();
    for (at, letter) in letters.iter().enumerate() {
        let after_small = at > 0 && (letters[at - 1].is_lowercase() || letters[at - 1].is_ascii_digit());
        let begins_word =
            at > 0 && letters[at - 1].is_uppercase() && letters.get(at + 1).is_some_and(|next| next.is_lowercase());
        if letter.is_uppercase() && (after_small || begins_word) {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

/// What is known of a struct there.
#[derive(Default)]
struct Struct {
    size: usize,
    align: usize,
    offsets: Vec<(String, usize)>,
    /// The types of its fields.
    types: BTreeMap<String, String>,
}

fn number(text: &str) -> usize {
    text.trim_end_matches("usize").parse().unwrap()
}

fn structs(text: &str) -> BTreeMap<String, Struct> {
    let mut structs: BTreeMap<String, Struct> = BTreeMap::new();
    for row in all_between(text, "[\"Size of ", "usize]") {
        let name = row.split('"').next().unwrap();
        structs.entry(name.into()).or_default().size = number(row.rsplit("- ").next().unwrap());
    }
    for row in all_between(text, "[\"Alignment of ", "usize]") {
        let name = row.split('"').next().unwrap();
        structs.entry(name.into()).or_default().align = number(row.rsplit("- ").next().unwrap());
    }
    for row in all_between(text, "[\"Offset of field: ", "usize]") {
        let (name, field) = row.split('"').next().unwrap().split_once("::").unwrap();
        let offset = number(row.rsplit("- ").next().unwrap());
        structs.entry(name.into()).or_default().offsets.push((field.into(), offset));
    }
    for (name, of) in &mut structs {
        let body = between(text, &format!("pub struct {name} {{"), "}")
            .or_else(|| between(text, &format!("pub union {name} {{"), "}"));
        for field in body.map_or("", |(_, body)| body).split(", ") {
            if let Some((field, ty)) = field.trim().trim_start_matches("pub ").split_once(": ") {
                of.types.insert(field.into(), ty.trim_end_matches(',').trim().into());
            }
        }
    }
    structs
}

struct Rows(String);

impl Rows {
    fn add(&mut self, what: &str, theirs: impl std::fmt::Display, ours: &str) {
        writeln!(self.0, "    ({what:?}, {theirs}, ({ours}) as u64),").unwrap();
    }
}

/// A struct without a name there, which is the type of a field.
fn nested(
    rows: &mut Rows,
    structs: &BTreeMap<String, Struct>,
    of: &str,
    field: &str,
    ty: &str,
    done: &mut Vec<String>,
) {
    let Some(inner) = structs.get(ty) else { return };
    done.push(ty.into());
    let path = format!("{of}.{field}");
    if let Some(ours) = find(NAMED_HERE, &path) {
        rows.add(&format!("size of {path}"), inner.size, &format!("size_of::<{ours}>()"));
        rows.add(&format!("alignment of {path}"), inner.align, &format!("align_of::<{ours}>()"));
        for (field, offset) in &inner.offsets {
            rows.add(&format!("{path}.{field}"), offset, &format!("offset_of!({ours}, {})", snake(field)));
        }
    } else if let Some((_, ours, prefix, first)) = FLAT.iter().find(|(theirs, ..)| *theirs == path) {
        for (field, offset) in &inner.offsets {
            let ours = format!("offset_of!({ours}, {prefix}{}) - offset_of!({ours}, {first})", snake(field));
            rows.add(&format!("{path}.{field}"), offset, &ours);
        }
    } else if let Some(body) = find(BODIES, of) {
        // One number, of which the struct there is made.
        let ours = find(FIELDS, &path).map_or_else(|| field.to_lowercase(), str::to_owned);
        rows.add(
            &format!("size of {path}"),
            inner.size,
            &format!("size_of_field(|body: &{body}| &raw const body.{ours})"),
        );
        assert!(inner.offsets.iter().all(|(_, offset)| *offset == 0) && inner.offsets.len() <= 1, "{path}");
    } else {
        assert!(
            inner.offsets.is_empty() || of.contains("SETTINGS") || of.contains("CREDENTIAL"),
            "{path} is not known"
        );
    }
}

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let text = bindings();
    let structs = structs(&text);
    let mut rows = Rows(String::new());
    let mut done: Vec<String> = Vec::new();
    for (theirs, ours) in STRUCTS {
        let of = &structs[*theirs];
        done.push((*theirs).into());
        // Ours has functions that came after these bindings.
        if *theirs != "QUIC_API_TABLE" {
            rows.add(&format!("size of {theirs}"), of.size, &format!("size_of::<{ours}>()"));
        }
        rows.add(&format!("alignment of {theirs}"), of.align, &format!("align_of::<{ours}>()"));
        for (field, offset) in &of.offsets {
            let path = format!("{theirs}.{field}");
            let name = find(FIELDS, &path).map_or_else(|| snake(field), str::to_owned);
            rows.add(&path, offset, &format!("offset_of!({ours}, {name})"));
            nested(&mut rows, &structs, theirs, field, &of.types[field], &mut done);
        }
    }
    for (theirs, ours) in BODIES {
        let union = format!("{theirs}__bindgen_ty_1");
        let of = &structs[&union];
        rows.add(&format!("size of the union of {theirs}"), of.size, &format!("size_of::<{ours}>()"));
        for (field, ty) in &of.types {
            nested(&mut rows, &structs, theirs, field, ty, &mut done);
        }
        done.push(union);
    }
    for name in structs.keys() {
        let is_part = name.contains("__bindgen_ty_")
            && (name.contains("SETTINGS") || name.contains("SECRETS") || name.contains("CREDENTIAL"));
        assert!(done.contains(name) || NOT_HERE.contains(&name.as_str()) || is_part, "{name} is not known");
    }
    for constant in all_between(&text, "pub const QUIC_", ";") {
        let (name, value) = constant.split_once(": ").unwrap();
        let name = format!("QUIC_{name}");
        let value = value.rsplit("= ").next().unwrap();
        let ours = if let Some(alone) = find(ALONE, &name) {
            alone.to_owned()
        } else if NO_NAME.iter().any(|start| name.starts_with(start))
            || name.ends_with("_FLAG_NONE")
            || name.ends_with("SUITE_NONE")
        {
            continue;
        } else if let Some(status) = name.strip_prefix("QUIC_STATUS_") {
            format!("Status::{status}.0")
        } else if let Some((start, module)) = CONSTANTS.iter().find(|(start, _)| name.starts_with(start)) {
            format!("{module}::{}", find(CALLED, &name).unwrap_or(&name[start.len()..]))
        } else {
            panic!("{name} is not known");
        };
        rows.add(&name, format!("{value}u64"), &ours);
    }
    for (theirs, module, has_width) in BITS {
        let (_, methods) = between(&text, &format!("impl {theirs} {{"), " impl ").unwrap_or_else(|| panic!("{theirs}"));
        for setter in all_between(methods, "pub fn set_", "u8, val") {
            let name = setter.split('(').next().unwrap();
            if matches!(name, "RESERVED" | "ReservedFlags") || !setter.contains("_bitfield_1") {
                continue;
            }
            let numbers: Vec<usize> = setter.rsplit("set(").next().unwrap().split(", ").map(number).collect();
            let ours = format!("{module}::{}", snake(name).replace("hy_start", "hystart").to_uppercase());
            let what = format!("{theirs}.{name}");
            match has_width {
                true => {
                    rows.add(&format!("{what}, shift"), numbers[0], &format!("{ours}.0"));
                    rows.add(&format!("{what}, width"), numbers[1], &format!("{ours}.1"));
                }
                false => rows.add(&what, format!("1u64 << {}", numbers[0]), &ours),
            }
        }
    }
    let out = PathBuf::from(env::var("OUT_DIR").unwrap()).join("rows.rs");
    fs::write(out, format!("&[\n{}]\n", rows.0)).unwrap();
}
