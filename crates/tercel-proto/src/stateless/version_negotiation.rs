//! Version Negotiation (RFC 9000 section 6).

use tercel_wire::Version;
use tercel_wire::packet::invariant::LongHeader;
use tercel_wire::packet::version_negotiation::encode;

use crate::entropy::Entropy;

/// The versions that we speak, with one that nobody does, so that peers stay used to those (section
/// 6.3).
fn versions(entropy: &mut Entropy) -> [Version; 2] {
    let [a, b, c, d] = entropy.array::<4>().map(|byte| byte & 0xf0 | 0x0a);
    [Version::V1, Version(u32::from_be_bytes([a, b, c, d]))]
}

/// The answer to a datagram of a version that we do not speak; `None` if it deserves none: a
/// datagram smaller than a first flight (section 6.1; it also keeps the answer from being larger
/// than the question), or itself a Version Negotiation packet.
pub fn respond(header: &LongHeader<'_>, datagram_len: usize, entropy: &mut Entropy) -> Option<Vec<u8>> {
    if datagram_len < 1200 || header.version == Version::NEGOTIATION || header.version.is_supported() {
        return None;
    }
    let [unused] = entropy.array();
    Some(encode(header.scid, header.dcid, &versions(entropy), unused))
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use tercel_wire::packet::{FirstPacket, Protected};

    use super::*;

    #[test]
    fn a_client_of_another_version_is_told_ours() {
        let mut entropy = Entropy::from_seed([1; 32]);
        let header = LongHeader { first: 0xc0, version: Version(0xbaba_baba), dcid: &[1; 30], scid: &[2; 8] };
        let packet = respond(&header, 1200, &mut entropy).unwrap();
        let Ok(FirstPacket::VersionNegotiation(packet)) = Protected::split_first(&mut BytesMut::from(&packet[..]), 8)
        else {
            panic!()
        };
        assert_eq!((packet.dcid, packet.scid), (vec![2; 8], vec![1; 30]));
        assert!(packet.versions.contains(&Version::V1) && packet.versions.iter().any(|version| version.is_reserved()));
        assert_eq!(respond(&header, 1199, &mut entropy), None);
        let own = LongHeader { version: Version::V1, ..header };
        assert_eq!(respond(&own, 1200, &mut entropy), None);
    }
}
