//! Our types of MsQuic's interface beside the bindings that the `msquic` crate publishes: the size and the alignment of
//! every struct that crosses the boundary, the offset of every field, the value of every constant, and every bit of
//! settings and statistics. `build.rs` reads them from the bindings: `cargo test --manifest-path interop/abi/layout/Cargo.toml`.

#![cfg(all(test, target_os = "linux", target_pointer_width = "64"))]

#[allow(dead_code)]
#[path = "../../../../crates/tercel-msquic/src/abi/mod.rs"]
mod abi;

use std::mem::offset_of;

use abi::*;

/// The size of what a pointer leads to.
fn size_of_field<T, F>(_: impl Fn(&T) -> *const F) -> usize {
    size_of::<F>()
}

/// What it is, how it is there, and how it is here.
type Row = (&'static str, u64, u64);

#[rustfmt::skip]
fn rows() -> Vec<Row> {
    let rows: &[Row] = include!(concat!(env!("OUT_DIR"), "/rows.rs"));
    rows.to_vec()
}

fn differences(rows: &[Row]) -> Vec<Row> {
    rows.iter().filter(|(_, theirs, ours)| theirs != ours).copied().collect()
}

#[test]
fn everything_is_as_in_the_bindings() {
    let rows = rows();
    println!("{} sizes, offsets, values and bits", rows.len());
    assert!(rows.len() > 500, "the bindings were not read: {}", rows.len());
    assert_eq!(differences(&rows), []);
}

/// Of each kind of row one is made wrong: it is found, and nothing else is.
#[test]
fn a_difference_is_told() {
    for what in [
        "size of QUIC_SETTINGS",
        "alignment of QUIC_TICKET_KEY_CONFIG",
        "QUIC_NEW_CONNECTION_INFO.NegotiatedAlpn",
        "QUIC_STATISTICS.Send.TotalBytes",
        "QUIC_STATISTICS.Timing.InitialFlightEnd",
        "QUIC_STREAM_EVENT.RECEIVE.BufferCount",
        "size of QUIC_CONNECTION_EVENT.SHUTDOWN_INITIATED_BY_PEER",
        "QUIC_API_TABLE.ExecutionPoll",
        "QUIC_PARAM_CONN_STATISTICS_V2",
        "QUIC_STATUS_ALPN_IN_USE",
        "QUIC_SETTINGS__bindgen_ty_1__bindgen_ty_1.StreamMultiReceiveEnabled",
        "QUIC_SETTINGS.EcnEnabled, shift",
    ] {
        let mut rows = rows();
        let row = rows.iter_mut().find(|(name, ..)| *name == what).unwrap_or_else(|| panic!("there is no {what}"));
        row.2 += 1;
        let wrong = *row;
        assert_eq!(differences(&rows), [wrong]);
    }
}
