//! Every parameter against the table of RFC 9000 section 18.2, as typed by hand here.

use proptest::prelude::*;

use super::*;
use crate::{VarInt, Version};

const NONE: u64 = u64::MAX;

/// ID, smallest and largest value (section 18.2, RFC 9221 section 3) of each integer parameter.
const TABLE: &[(u64, u64, u64)] = &[
    (0x01, 0, NONE),
    (0x03, 1200, NONE),
    (0x04, 0, NONE),
    (0x05, 0, NONE),
    (0x06, 0, NONE),
    (0x07, 0, NONE),
    (0x08, 0, 1 << 60),
    (0x09, 0, 1 << 60),
    (0x0a, 0, 20),
    (0x0b, 0, (1 << 14) - 1),
    (0x0e, 2, NONE),
    (0x20, 0, NONE),
];

/// ID, a good value, lengths that are wrong, and whether clients may send it, of each other
/// parameter.
const OTHERS: &[(u64, &[u8], &[usize], bool)] = &[
    (0x00, &[1, 2, 3], &[21, 255], false),
    (0x02, &[7; 16], &[0, 15, 17], false),
    (0x0c, &[], &[1], true),
    (0x0d, &[9; 24 + 1 + 9 + 16], &[], false),
    (0x0f, &[1, 2, 3], &[21], true),
    (0x10, &[1, 2, 3], &[21], false),
    (0x11, &[0, 0, 0, 1, 0, 0, 0, 1], &[0, 3, 5, 9], true),
    (0x2ab2, &[], &[1], true),
];

fn parameter(id: u64, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, id, value);
    out
}

fn integer(id: u64, value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_varint(&mut bytes, value);
    parameter(id, &bytes)
}

fn both(bytes: &[u8]) -> [bool; 2] {
    [Role::Client, Role::Server].map(|sender| TransportParameters::decode(bytes, sender).is_ok())
}

#[test]
fn absent_parameters_have_their_defaults() {
    let parameters = TransportParameters::decode(&[], Role::Client).unwrap();
    assert_eq!(parameters, TransportParameters::default());
    let defaults = (parameters.max_udp_payload_size, parameters.ack_delay_exponent, parameters.max_ack_delay);
    assert_eq!(defaults, (65527, 3, 25));
    assert_eq!((parameters.active_connection_id_limit, parameters.initial_max_data), (2, 0));
}

#[test]
// RFC 9000 sections 4.6#1, 18.2#7#8.
fn integers_keep_their_bounds_for_both_roles() {
    for (id, min, max) in TABLE {
        let (min, max) = (*min, (*max).min(VarInt::MAX.into_inner()));
        assert_eq!(both(&integer(*id, min)), [true; 2], "{id:#x} at its least");
        assert_eq!(both(&integer(*id, max)), [true; 2], "{id:#x} at its most");
        if min > 0 {
            assert_eq!(both(&integer(*id, min - 1)), [false; 2], "{id:#x} below");
        }
        if max < VarInt::MAX.into_inner() {
            assert_eq!(both(&integer(*id, max + 1)), [false; 2], "{id:#x} above");
        }
        let twice = [integer(*id, min), integer(*id, min)].concat();
        assert_eq!(both(&twice), [false; 2], "{id:#x} twice");
        assert_eq!(both(&parameter(*id, &[])), [false; 2], "{id:#x} without a value");
        assert_eq!(both(&parameter(*id, &[0x80, 0, 4])), [false; 2], "{id:#x} cut short");
        assert_eq!(both(&parameter(*id, &[0x44, 0xb0, 0])), [false; 2], "{id:#x} with something behind");
    }
}

#[test]
// RFC 9000 section 18.2#1#9#10.
// RFC 9287 section 3#1.
fn other_parameters_keep_their_form_and_their_sender() {
    for (id, good, wrong, clients) in OTHERS {
        let bytes = parameter(*id, good);
        assert_eq!(both(&bytes), [*clients, true], "{id:#x}");
        assert_eq!(both(&[&bytes[..], &bytes].concat()), [false; 2], "{id:#x} twice");
        for len in *wrong {
            assert_eq!(both(&parameter(*id, &vec![1; *len])), [false; 2], "{id:#x} of {len} bytes");
        }
        for len in 0..bytes.len() {
            assert!(len == 0 || both(&bytes[..len]) == [false; 2], "{id:#x} cut to {len}");
        }
    }
}

#[test]
// RFC 9000 section 18.2#5#6.
fn the_preferred_address_in_parts() {
    let [v4, v6] = [[192, 0, 2, 1, 1, 187].to_vec(), [[0x20; 16].as_slice(), &[1, 187]].concat()];
    let make = |v4: &[u8], v6: &[u8], id: &[u8]| [v4, v6, &[id.len() as u8], id, &[7; 16]].concat();
    let decode = |value: &[u8]| TransportParameters::decode(&parameter(0x0d, value), Role::Server);
    let whole = decode(&make(&v4, &v6, &[5; 8])).unwrap().preferred_address.unwrap();
    assert_eq!(whole.ipv4, Some("192.0.2.1:443".parse().unwrap()));
    assert_eq!(whole.ipv6.map(|address| address.port()), Some(443));
    assert_eq!(decode(&make(&[0; 6], &v6, &[5; 8])).unwrap().preferred_address.unwrap().ipv4, None);
    assert_eq!(decode(&make(&v4, &[0; 18], &[5; 8])).unwrap().preferred_address.unwrap().ipv6, None);
    for id in [&[][..], &[5; 21]] {
        assert!(decode(&make(&v4, &v6, id)).is_err(), "a connection ID of {} bytes", id.len());
    }
    let bytes = make(&v4, &v6, &[5; 8]);
    for len in 0..bytes.len() {
        assert!(decode(&bytes[..len]).is_err());
    }
    assert!(decode(&[&bytes[..], &[0]].concat()).is_err());
}

/// draft-ietf-quic-reliable-stream-reset section 3, with the number that is registered, the one before,
/// and MsQuic's.
#[test]
fn resets_that_deliver_a_part_are_known_by_three_numbers() {
    let decode = |id| TransportParameters::decode(&parameter(id, &[]), Role::Client).unwrap();
    for (id, registered, msquic) in
        [(0x1d, true, false), (0x17_f758_6d2c_b571, true, false), (0x17_f758_6d2c_b570, false, true)]
    {
        assert_eq!((decode(id).reset_stream_at, decode(id).reliable_reset), (registered, msquic), "{id:#x}");
        assert_eq!(both(&parameter(id, &[0])), [false; 2], "{id:#x} with a value");
    }
}

/// draft-ietf-quic-address-discovery.
#[test]
fn address_discovery_has_three_values() {
    for (value, provides, receives) in [(0, true, false), (1, false, true), (2, true, true)] {
        let parameters = TransportParameters::decode(&integer(0x9f81_a176, value), Role::Client).unwrap();
        assert_eq!(parameters.address_discovery, AddressDiscovery::of(provides, receives));
        assert_eq!(parameters.address_discovery.map(AddressDiscovery::receives), Some(receives));
    }
    assert_eq!(both(&integer(0x9f81_a176, 3)), [false; 2]);
    assert_eq!(both(&parameter(0x9f81_a176, &[])), [false; 2]);
    assert_eq!(both(&parameter(0x9f81_a176, &[1, 1])), [false; 2]);
}

/// draft-ietf-quic-ack-frequency section 3: one is in microseconds, the other in milliseconds.
#[test]
fn the_least_delay_is_no_more_than_the_greatest() {
    let min = |micros| integer(0xff04_de1b, micros);
    let decode = |bytes: &[u8]| TransportParameters::decode(bytes, Role::Client);
    assert_eq!(decode(&min(25_000)).unwrap().min_ack_delay, Some(25_000));
    assert_eq!(decode(&[]).unwrap().min_ack_delay, None);
    assert!(decode(&min(25_001)).is_err());
    for bytes in [[min(5001), integer(0x0b, 5)].concat(), [integer(0x0b, 5), min(5001)].concat()] {
        assert!(decode(&bytes).is_err());
    }
    assert!(decode(&[integer(0x0b, 5), min(5000)].concat()).is_ok());
    assert!(decode(&parameter(0xff04_de1b, &[])).is_err());
    assert!(decode(&parameter(0xff04_de1b, &[1, 2])).is_err());
}

#[test]
// RFC 9000 sections 7.4#3, 7.4.2#1.
fn unknown_parameters_are_ignored_unless_they_come_twice() {
    for id in [0x12, 0x1f, 27, 27 + 31 * 999, 0x7157, VarInt::MAX.into_inner()] {
        let bytes = parameter(id, b"whatever");
        assert_eq!(both(&bytes), [true; 2]);
        assert_eq!(both(&[&bytes[..], &bytes].concat()), [false; 2], "{id:#x} twice");
        assert_eq!(both(&[&bytes[..], &integer(0x04, 5)].concat()), [true; 2]);
    }
    // However many unknown ones come before.
    let many: Vec<u8> = (0..500).flat_map(|n| parameter(31 * n + 27, &[])).collect();
    assert_eq!(both(&many), [true; 2]);
    for id in [0x20, 0x2ab2, 27, 27 + 31 * 400, 0x7157] {
        let value: &[u8] = if id == 0x20 { &[5] } else { &[] };
        let again = [&many[..], &parameter(id, value), &parameter(id, value)].concat();
        assert_eq!(both(&again), [false; 2], "{id:#x} twice behind many");
    }
    // A reserved parameter is added on request (section 18.1).
    let greased = TransportParameters::default().encode(Some((u32::MAX, b"grease")));
    let (id, len) = (31 * u64::from(u32::MAX) + 27, greased.len());
    assert_eq!(greased, parameter(id, b"grease"));
    assert_eq!(len, 8 + 1 + 6);
}

#[test]
fn the_client_of_rfc_9001_appendix_a2() {
    let bytes = [
        &[0x04, 8][..],
        &[0xff; 8],
        &[0x05, 4, 0x80, 0, 0xff, 0xff, 0x07, 4, 0x80, 0, 0xff, 0xff, 0x08, 1, 0x10, 0x01, 4, 0x80, 0, 0x75, 0x30],
        &[0x09, 1, 0x10, 0x0f, 8, 0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08, 0x06, 4, 0x80, 0, 0xff, 0xff],
    ]
    .concat();
    let expected = TransportParameters {
        initial_max_data: VarInt::MAX.into_inner(),
        initial_max_stream_data_bidi_local: 65_535,
        initial_max_stream_data_bidi_remote: 65_535,
        initial_max_stream_data_uni: 65_535,
        initial_max_streams_bidi: 16,
        initial_max_streams_uni: 16,
        max_idle_timeout: 30_000,
        initial_source_connection_id: ConnectionId::new(&[0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08]).ok(),
        ..TransportParameters::default()
    };
    assert_eq!(TransportParameters::decode(&bytes, Role::Client), Ok(expected));
}

proptest! {
    #[test]
    // RFC 9000 section 7.4#2.
    fn what_is_written_is_read_again(
        values in prop::collection::vec(0u64..1 << 60, 8),
        exponent in 0u64..=20, delay in 0u64..1 << 14, payload in 1200u64..1 << 40, ids in 2u64..1 << 40,
        flags in any::<[bool; 2]>(), token in any::<[u8; 16]>(), id in prop::collection::vec(any::<u8>(), 0..=20),
        from_server in any::<bool>(),
    ) {
        let id = ConnectionId::new(&id).unwrap();
        let address = PreferredAddress {
            ipv4: flags[0].then(|| "192.0.2.7:4433".parse().unwrap()),
            ipv6: flags[1].then(|| "[2001:db8::7]:4433".parse().unwrap()),
            connection_id: ConnectionId::new(&[3; 8]).unwrap(),
            reset_token: ResetToken(token),
        };
        let parameters = TransportParameters {
            max_idle_timeout: values[0], max_udp_payload_size: payload, initial_max_data: values[1],
            initial_max_stream_data_bidi_local: values[2], initial_max_stream_data_bidi_remote: values[3],
            initial_max_stream_data_uni: values[4], initial_max_streams_bidi: values[5],
            initial_max_streams_uni: values[6], ack_delay_exponent: exponent, max_ack_delay: delay,
            active_connection_id_limit: ids, max_datagram_frame_size: values[7],
            disable_active_migration: flags[0], grease_quic_bit: flags[1],
            initial_source_connection_id: Some(id),
            original_destination_connection_id: from_server.then_some(id),
            retry_source_connection_id: (from_server && flags[0]).then_some(id),
            stateless_reset_token: from_server.then_some(ResetToken(token)),
            preferred_address: from_server.then(|| Box::new(address)),
            min_ack_delay: flags[1].then_some(1000 * delay),
            reset_stream_at: flags[1], reliable_reset: flags[0],
            enable_timestamp: exponent % 4,
            address_discovery: AddressDiscovery::of(flags[0], flags[1]),
            version_information: flags[1].then(|| VersionInformation {
                chosen: Version::V2,
                available: vec![Version::V1, Version::V2],
            }),
        };
        let sender = if from_server { Role::Server } else { Role::Client };
        let bytes = parameters.encode(Some((7, &[1, 2])));
        prop_assert_eq!(TransportParameters::decode(&bytes, sender), Ok(parameters));
    }

    #[test]
    fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = both(&bytes);
    }
}
