//! A datagram: the first byte of the input is the length of our connection IDs, the rest the
//! datagram.

use bytes::BytesMut;
use tercel_wire::packet::invariant::Invariant;
use tercel_wire::packet::{FirstPacket, Header, Opened, Protected, retry, stateless_reset, version_negotiation};
use tercel_wire::{ConnectionId, DecodeError, Writer};

use crate::transparent::Transparent;

/// Cuts a datagram into packets and opens them. What opens is the same when it is written and read
/// again; what anyone can read of the first agrees with what we read.
pub fn packets(data: &[u8]) {
    let Some((len, datagram)) = data.split_first() else { return };
    let cid_len = usize::from(*len) % (ConnectionId::MAX_LEN + 1);
    let invariant = Invariant::peek(datagram, cid_len);
    let token = stateless_reset::token_of(datagram);
    assert!(token.is_none() || datagram.len() >= stateless_reset::MIN_LEN);
    let mut rest = BytesMut::from(datagram);
    let mut is_first = true;
    while !rest.is_empty() {
        let before = rest.len();
        let packet = Protected::split_first(&mut rest, cid_len);
        if is_first {
            check_first(datagram, invariant, &packet);
        }
        let Ok(FirstPacket::Protected(mut packet)) = packet else { return };
        assert!(rest.len() < before, "a packet has bytes");
        assert_eq!((packet.len(), packet.is_empty()), (before - rest.len(), false));
        is_first = false;
        let largest = Some(u64::from(*len)).filter(|largest| *largest > 20);
        if let Ok(sealed) = packet.unprotect(&Transparent, largest)
            && let Some(opened) = sealed.open(&Transparent)
        {
            check_again(&opened, largest, cid_len);
        }
    }
}

fn check_first(
    datagram: &[u8],
    invariant: Result<Invariant<'_>, DecodeError>,
    packet: &Result<FirstPacket, DecodeError>,
) {
    let Ok(packet) = packet else { return };
    let invariant = invariant.unwrap_or_else(|error| panic!("{packet:?} has no invariant header: {error}"));
    match (invariant, packet) {
        (Invariant::Short { dcid }, FirstPacket::Protected(packet)) => {
            assert!(matches!(packet.header(), Header::OneRtt { .. }));
            assert_eq!(packet.header().dcid(), &dcid);
        }
        (Invariant::Long(long), FirstPacket::Protected(packet)) => {
            assert_eq!((Some(long.version), long.dcid), (packet.header().version(), packet.header().dcid().as_slice()));
            assert_eq!(long.is_initial(), matches!(packet.header(), Header::Initial { .. }));
            assert_eq!(long.is_zero_rtt(), matches!(packet.header(), Header::ZeroRtt { .. }));
        }
        (Invariant::Long(long), FirstPacket::Retry(packet)) => {
            assert_eq!((long.dcid, long.scid), (&packet.dcid[..], &packet.scid[..]));
            let again = retry::encode(packet.version, &packet.dcid, &packet.scid, &packet.token);
            assert_eq!((&again[1..], &packet.packet[..]), (&packet.packet[1..], &datagram[..datagram.len() - 16]));
        }
        (Invariant::Long(long), FirstPacket::VersionNegotiation(packet)) => {
            assert_eq!((long.dcid, long.scid), (&packet.dcid[..], &packet.scid[..]));
            let again = version_negotiation::encode(&packet.dcid, &packet.scid, &packet.versions, 0);
            assert_eq!(again[1..], datagram[1..]);
        }
        (Invariant::Long(long), FirstPacket::Unsupported(version)) => {
            assert!(long.version == *version && !version.is_supported());
        }
        (invariant, packet) => panic!("{packet:?} begins as {invariant:?}"),
    }
}

fn check_again(opened: &Opened, largest: Option<u64>, cid_len: usize) {
    if opened.number >= 1 << 62 || opened.payload.is_empty() {
        return;
    }
    let mut buf = vec![0; opened.header.max_len() + opened.payload.len() + 64];
    let mut writer = Writer::new(&mut buf);
    // As many bytes of the number as it takes to tell it from `largest` by far.
    let acked = largest.filter(|largest| *largest < opened.number && opened.number - largest < 1 << 30);
    if acked.is_none() && opened.number > 1 << 30 {
        return;
    }
    let start = opened.header.begin(&mut writer, opened.number, acked);
    writer.bytes(&opened.payload);
    start.pad(&mut writer, 0, 16);
    let Some(len) = start.finish(&mut writer, &Transparent, &Transparent) else {
        assert!(opened.payload.len() > 16_000, "{opened:?} cannot be written");
        return;
    };
    let mut again = BytesMut::from(&buf[..len]);
    let Ok(FirstPacket::Protected(mut packet)) = Protected::split_first(&mut again, cid_len) else {
        panic!("{opened:?} cannot be read again")
    };
    assert!(again.is_empty());
    let again = packet.unprotect(&Transparent, acked).ok().and_then(|sealed| sealed.open(&Transparent));
    let again = again.unwrap_or_else(|| panic!("{opened:?} cannot be opened again"));
    assert_eq!((again.header, again.number), (opened.header, opened.number));
    assert!(again.payload.starts_with(&opened.payload) && !again.reserved_bits);
    assert!(again.payload[opened.payload.len()..].iter().all(|byte| *byte == 0));
}
