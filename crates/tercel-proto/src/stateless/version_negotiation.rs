//! Version Negotiation (RFC 9000 section 6).

use tercel_wire::Version;
use tercel_wire::packet::invariant::LongHeader;
use tercel_wire::packet::version_negotiation::encode;

use crate::entropy::Entropy;

/// The answer to a datagram of a version that is not among `versions`, those that this server takes:
/// these, with one that nobody speaks, so that clients stay used to such (section 6.3). `None` if the
/// datagram deserves no answer: it is smaller than a first flight (section 6.1; that also keeps the answer
/// from being larger than the question), or itself a Version Negotiation packet.
pub fn respond(
    header: &LongHeader<'_>,
    datagram_len: usize,
    versions: &[Version],
    entropy: &mut Entropy,
) -> Option<Vec<u8>> {
    // RFC 9000 sections 5.2.2#2, 6.1#1.
    // RFC 9368 section 2.1#5.
    if datagram_len < 1200 || header.version == Version::NEGOTIATION || versions.contains(&header.version) {
        return None;
    }
    // RFC 9368 section 2.1#1.
    let reserved = Version::reserved(u32::from_be_bytes(entropy.array()));
    let at = entropy.below(versions.len() as u64 + 1) as usize;
    let (before, behind) = versions.split_at_checked(at)?;
    let [unused] = entropy.array();
    // RFC 9000 section 17.2.1#4#5.
    Some(encode(header.scid, header.dcid, &[before, &[reserved], behind].concat(), unused))
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use tercel_wire::packet::{FirstPacket, Protected};

    use super::*;

    #[test]
    // RFC 9000 sections 5.2.2#1#3, 6.1#1, 17.2.1#2#3#4#5#6.
    // RFC 9368 section 2.1#1.
    fn a_client_of_another_version_is_told_ours() {
        let mut entropy = Entropy::from_seed([1; 32]);
        let header = LongHeader { first: 0xc0, version: Version(0xbaba_baba), dcid: &[1; 30], scid: &[2; 8] };
        let packet = respond(&header, 1200, &Version::SUPPORTED, &mut entropy).unwrap();
        let Ok(FirstPacket::VersionNegotiation(packet)) = Protected::split_first(&mut BytesMut::from(&packet[..]), 8)
        else {
            panic!()
        };
        assert_eq!((packet.dcid, packet.scid), (vec![2; 8], vec![1; 30]));
        let (reserved, ours): (Vec<_>, Vec<_>) = packet.versions.iter().partition(|version| version.is_reserved());
        assert_eq!((reserved.len(), ours), (1, Version::SUPPORTED.to_vec()));
        assert_eq!(respond(&header, 1199, &Version::SUPPORTED, &mut entropy), None);
        for own in Version::SUPPORTED {
            let header = LongHeader { version: own, ..header };
            assert_eq!(respond(&header, 1200, &Version::SUPPORTED, &mut entropy), None);
            let others = Version::SUPPORTED.map(|version| if version == own { Version(0xbaba_baba) } else { version });
            assert!(respond(&header, 1200, &others, &mut entropy).is_some(), "one that this server does not take");
        }
    }
}
