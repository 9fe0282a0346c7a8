//! Writes the inputs that the fuzzer begins with to `seeds`: `cargo run --example seeds`.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use rustls::quic;
use tercel_fuzz::transparent::Transparent;
use tercel_sim::crypto::{self, KeyShares};
use tercel_wire::packet::{Header, retry, stateless_reset, version_negotiation};
use tercel_wire::transport_parameters::{AddressDiscovery, PreferredAddress};
use tercel_wire::{ConnectionId, ResetToken, TransportParameters, Version, Writer};

/// A frame of every type, by RFC 9000 section 19, RFC 9221 section 4 and the drafts of the extensions.
const FRAMES: &[(&str, &[u8])] = &[
    ("padding", &[0, 0, 0]),
    ("ping", &[1]),
    ("ack", &[2, 3, 0, 0, 3]),
    ("ack_ranges", &[2, 9, 5, 2, 0, 0, 1, 1, 1]),
    ("ack_ecn", &[3, 3, 0, 0, 3, 2, 0, 1]),
    ("reset_stream", &[4, 0, 1, 9]),
    ("stop_sending", &[5, 0, 1]),
    ("crypto", &[6, 0, 4, 4, 0, 0, 0]),
    ("crypto_far", &[6, 0x60, 0, 1, 7]),
    ("new_token", &[7, 3, 1, 2, 3]),
    ("stream", &[8, 0, b'd', b'a', b't', b'a']),
    ("stream_fin", &[0x0b, 1, 2, b'o', b'k']),
    ("stream_offset", &[0x0e, 2, 0x41, 0, 1, b'x']),
    ("stream_end", &[0x0f, 3, 5, 0]),
    ("max_data", &[0x10, 0x80, 1, 0, 0]),
    ("max_stream_data", &[0x11, 0, 0x80, 1, 0, 0]),
    ("max_streams", &[0x12, 0x3f, 0x13, 0x3f]),
    ("data_blocked", &[0x14, 9]),
    ("stream_data_blocked", &[0x15, 0, 9]),
    ("streams_blocked", &[0x16, 9, 0x17, 9]),
    ("new_connection_id", &[0x18, 4, 1, 8, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9]),
    ("retire_connection_id", &[0x19, 1]),
    ("path_challenge", &[0x1a, 1, 2, 3, 4, 5, 6, 7, 8]),
    ("path_response", &[0x1b, 1, 2, 3, 4, 5, 6, 7, 8]),
    ("connection_close", &[0x1c, 7, 6, 3, b'b', b'y', b'e']),
    ("application_close", &[0x1d, 7, 3, b'b', b'y', b'e']),
    ("handshake_done", &[0x1e]),
    ("datagram", &[0x30, 1, 2, 3]),
    ("datagram_len", &[0x31, 2, 1, 2]),
    ("immediate_ack", &[0x1f]),
    ("ack_frequency", &[0x40, 0xaf, 1, 9, 0x59, 0x88, 3]),
    ("reset_stream_at", &[0x24, 0, 1, 9, 5]),
    ("reliable_reset", &[0x21, 0, 1, 9, 5]),
    ("observed_ipv4", &[0x80, 0x9f, 0x81, 0xa6, 1, 0xc0, 0, 2, 1, 1, 0xbb]),
    ("observed_ipv6", &[0x80, 0x9f, 0x81, 0xa7, 2, 0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 1, 0xbb]),
    ("timestamp", &[0x42, 0xf5, 0x80, 1, 2, 3]),
];

fn write(target: &str, name: &str, bytes: &[u8]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    fs::create_dir_all(&folder).expect("a folder for seeds");
    fs::write(folder.join(name), bytes).expect("a file in it");
}

fn frames() {
    for (name, bytes) in FRAMES {
        write("frames", name, bytes);
    }
    let closed: Vec<u8> = FRAMES
        .iter()
        .filter(|(_, bytes)| ![8, 0x30].contains(&bytes[0]))
        .flat_map(|(_, bytes)| bytes.iter().copied())
        .collect();
    write("frames", "all", &closed);
}

fn packet(header: &Header, number: u64, out: &mut Vec<u8>) {
    let mut buf = [0; 300];
    let mut writer = Writer::new(&mut buf);
    let start = header.begin(&mut writer, number, None);
    writer.bytes(b"frames");
    start.pad(&mut writer, 0, 16);
    let len = start.finish(&mut writer, &Transparent, &Transparent).expect("there is room");
    out.extend_from_slice(&buf[..len]);
}

fn packets() {
    let id = |bytes: &[u8]| ConnectionId::new(bytes).expect("a short ID");
    let (version, dcid, scid) = (Version::V1, id(&[1; 8]), id(&[2; 4]));
    let headers = [
        ("initial", Header::Initial { version, dcid, scid, token: Bytes::new() }),
        ("initial_token", Header::Initial { version, dcid, scid: id(&[]), token: Bytes::from_static(b"token") }),
        ("zero_rtt", Header::ZeroRtt { version, dcid, scid }),
        ("handshake", Header::Handshake { version, dcid, scid: id(&[3; 20]) }),
        ("one_rtt", Header::OneRtt { dcid, spin: true, key_phase: true }),
    ];
    let mut all = vec![8];
    for (number, (name, header)) in headers.iter().enumerate() {
        let mut bytes = vec![8];
        packet(header, 100 * number as u64, &mut bytes);
        write("packets", name, &bytes);
        packet(header, 7, &mut all);
    }
    write("packets", "coalesced", &all);
    let reset = stateless_reset::encode(vec![7; 9], ResetToken([9; 16]));
    let negotiation = version_negotiation::encode(&[1; 30], &[2; 3], &[version, Version(0x0a1a_2a3a)], 5);
    let retry = [retry::encode(version, &dcid, &scid, b"token"), vec![9; 16]].concat();
    for (name, bytes) in [("reset", reset), ("version_negotiation", negotiation), ("retry", retry)] {
        write("packets", name, &[&[8], &bytes[..]].concat());
    }
    write("packets", "unsupported", &[8, 0xc0, 0, 0, 0, 2, 1, 7, 1, 8, 0]);
}

fn transport_parameters() {
    let id = ConnectionId::new(&[7; 8]).ok();
    let client = TransportParameters {
        max_idle_timeout: 30_000,
        max_udp_payload_size: 1472,
        initial_max_data: 1 << 20,
        initial_max_stream_data_bidi_local: 1 << 16,
        initial_max_stream_data_bidi_remote: 1 << 16,
        initial_max_stream_data_uni: 1 << 16,
        initial_max_streams_bidi: 100,
        initial_max_streams_uni: 3,
        ack_delay_exponent: 10,
        max_ack_delay: 5,
        active_connection_id_limit: 8,
        max_datagram_frame_size: 65_535,
        enable_timestamp: 3,
        initial_source_connection_id: id,
        disable_active_migration: true,
        grease_quic_bit: true,
        min_ack_delay: Some(1000),
        reset_stream_at: true,
        reliable_reset: true,
        address_discovery: AddressDiscovery::of(true, true),
        ..TransportParameters::default()
    };
    let server = TransportParameters {
        original_destination_connection_id: id,
        retry_source_connection_id: id,
        stateless_reset_token: Some(ResetToken([5; 16])),
        preferred_address: Some(Box::new(PreferredAddress {
            ipv4: "192.0.2.1:443".parse().ok(),
            ipv6: "[2001:db8::1]:443".parse().ok(),
            connection_id: ConnectionId::new(&[6; 5]).unwrap_or(ConnectionId::EMPTY),
            reset_token: ResetToken([4; 16]),
        })),
        ..client.clone()
    };
    write("transport_parameters", "client", &client.encode(None));
    write("transport_parameters", "server", &server.encode(Some((3, b"grease"))));
    write(
        "transport_parameters",
        "little",
        &TransportParameters { initial_source_connection_id: id, ..Default::default() }.encode(None),
    );
}

fn client_hello() {
    for (name, shares) in [("small", KeyShares::Small), ("hybrid", KeyShares::Hybrid)] {
        crypto::seed(1);
        let config = crypto::client(shares);
        let parameters = TransportParameters::default().encode(Some((1, &[])));
        let mut client = quic::ClientConnection::new(config, quic::Version::V1, crypto::server_name(), parameters)
            .expect("TLS starts");
        let mut hello = Vec::new();
        client.write_hs(&mut hello);
        write("client_hello", name, &hello);
        write("client_hello", &format!("{name}_half"), &hello[..hello.len() / 2]);
    }
}

/// The first byte of a program: where to begin, and what goes by itself.
const HELLO: u8 = 0x30;
const CONFIRMED: u8 = 0x31;
const STREAMS: u8 = 0x32;
const EARLY: u8 = 0x33;
/// Steps; with the highest bit they are for the client.
const DELIVER: u8 = 0;
const DROP: u8 = 1;
const REPEAT: u8 = 2;
const DAMAGE: u8 = 3;
const CUT: u8 = 4;
const REWRITE: u8 = 5;
const FORGE: u8 = 6;
const RAW: u8 = 7;
const RESET: u8 = 8;
const RETRY: u8 = 0x89;
const NEGOTIATE: u8 = 9;
const READDRESS: u8 = 10;
const MARK: u8 = 11;
const WAIT: u8 = 12;
const FLOW: u8 = 13;
const ACT: u8 = 14;
const CLIENT: u8 = 0x80;

fn connection() {
    for (name, setup) in [("hello", HELLO), ("confirmed", CONFIRMED), ("streams", STREAMS), ("early", EARLY)] {
        write("connection", name, &[setup]);
    }
    write("connection", "hello_hybrid", &[HELLO | 4]);
    write("connection", "hello_again", &[HELLO | 8]);
    write("connection", "hesitates", &[HELLO | 0x40, DELIVER, 0, WAIT, 1, 0, FLOW, 2, ACT | CLIENT, 14]);
    write("connection", "refuses", &[HELLO | 0x40, DELIVER, 0, ACT | CLIENT, 15]);
    // Every frame: into a packet of its own, or to others that are under way.
    for (at, (name, frame)) in FRAMES.iter().enumerate() {
        let to = if at % 2 == 0 { 0 } else { CLIENT };
        let forged = [&[STREAMS, FORGE | to, 0, 0, frame.len() as u8][..], frame].concat();
        write("connection", &format!("forge_{name}"), &forged);
        let ping = ACT | (to ^ CLIENT) ^ CLIENT;
        let edit = ((at % 3) << 4) as u8;
        let rewritten = [&[STREAMS, ping, 10, REWRITE | to, 0, edit, frame.len() as u8][..], frame].concat();
        write("connection", &format!("rewrite_{name}"), &rewritten);
    }
    let crypto = [6, 0, 4, 1, 0, 0, 9];
    for (name, how) in [("initial", 0x40), ("zero_rtt", 0x80), ("handshake", 0xc0)] {
        write(
            "connection",
            &format!("forge_at_{name}"),
            &[&[HELLO, DELIVER, 0, FORGE, how, 3, 7][..], &crypto].concat(),
        );
    }
    for action in 0..21 {
        write("connection", &format!("act_{action}"), &[STREAMS, ACT, action, 0, 40, 1, ACT | CLIENT, action, 1, 0, 9]);
    }
    for (name, steps) in [
        (
            "network",
            &[
                HELLO,
                DELIVER,
                0,
                REPEAT | CLIENT,
                0,
                DROP | CLIENT,
                0,
                DAMAGE | CLIENT,
                0,
                0,
                9,
                1,
                CUT | CLIENT,
                0,
                4,
                0,
                WAIT,
                2,
                0,
            ][..],
        ),
        ("reset", &[STREAMS, RESET | CLIENT, 0]),
        ("raw", &[CONFIRMED, RAW, 3, 0x40, 1, 2, RAW | CLIENT, 1, 0xff]),
        ("retry", &[HELLO, RETRY, 5, DELIVER, 1]),
        ("negotiate", &[HELLO, NEGOTIATE, 2]),
        ("marks", &[CONFIRMED, ACT, 10, MARK, 0, 3, ACT, 10, MARK, 1, 1, FLOW, 3]),
        ("rebind", &[STREAMS, ACT, 10, READDRESS, 0, 1, 0, DELIVER, 0, FLOW, 5]),
        ("migrate", &[STREAMS, ACT, 12, 1, FLOW, 9, ACT, 12, 2, FLOW, 9]),
        ("updates", &[STREAMS, ACT, 11, FLOW, 9, ACT | CLIENT, 11, FLOW, 9, WAIT, 4, 0, ACT, 11, FLOW, 9]),
    ] {
        write("connection", name, steps);
    }
}

fn main() {
    frames();
    packets();
    transport_parameters();
    client_hello();
    connection();
}
