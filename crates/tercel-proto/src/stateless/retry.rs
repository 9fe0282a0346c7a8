//! Retry packets (RFC 9000 section 8.1.2) and their integrity tag (RFC 9001 section 5.8).

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use tercel_wire::packet::retry::{RetryPacket, TAG_LEN, encode};
use tercel_wire::{ConnectionId, Version};

/// The tag over a Retry packet without its tag.
fn tag(version: Version, original_dcid: &ConnectionId, packet: &[u8]) -> Option<[u8; TAG_LEN]> {
    let specifics = version.specifics()?;
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &specifics.retry_key).ok()?);
    let pseudo_packet = RetryPacket::pseudo_packet(original_dcid, packet);
    let nonce = Nonce::assume_unique_for_key(specifics.retry_nonce);
    let tag = key.seal_in_place_separate_tag(nonce, Aad::from(pseudo_packet), &mut []).ok()?;
    tag.as_ref().try_into().ok()
}

/// A Retry packet in answer to an Initial packet from `client_cid` to `original_dcid`: the client is
/// to come again with `token`, to `scid`.
pub fn respond(
    version: Version,
    client_cid: &ConnectionId,
    original_dcid: &ConnectionId,
    scid: &ConnectionId,
    token: &[u8],
) -> Option<Vec<u8>> {
    let mut packet = encode(version, client_cid, scid, token);
    let tag = tag(version, original_dcid, &packet)?;
    packet.extend_from_slice(&tag);
    Some(packet)
}

/// Whether a Retry packet is from someone who saw the Initial packet to `original_dcid`.
pub fn is_authentic(retry: &RetryPacket, original_dcid: &ConnectionId) -> bool {
    tag(retry.version, original_dcid, &retry.packet).is_some_and(|tag| tag == retry.tag)
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use tercel_wire::packet::{FirstPacket, Protected};

    use super::*;

    /// RFC 9001 appendix A.4, RFC 9369 appendix A.4.
    #[test]
    fn the_packets_of_the_rfcs() {
        let original = ConnectionId::new(&[0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08]).unwrap();
        let scid = ConnectionId::new(&[0xf0, 0x67, 0xa5, 0x50, 0x2a, 0x42, 0x62, 0xb5]).unwrap();
        for (version, expected) in [
            (Version::V1, "ff000000010008f067a5502a4262b5746f6b656e04a265ba2eff4d829058fb3f0f2496ba"),
            (Version::V2, "cf6b3343cf0008f067a5502a4262b5746f6b656ec8646ce8bfe33952d955543665dcc7b6"),
        ] {
            let packet = respond(version, &ConnectionId::EMPTY, &original, &scid, b"token").unwrap();
            let hex: String = packet.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, expected);
            let Ok(FirstPacket::Retry(mut retry)) = Protected::split_first(&mut BytesMut::from(&packet[..]), 0) else {
                panic!()
            };
            assert_eq!((retry.version, &retry.token[..], retry.scid), (version, &b"token"[..], scid));
            assert!(is_authentic(&retry, &original) && !is_authentic(&retry, &scid));
            retry.tag[3] ^= 1;
            assert!(!is_authentic(&retry, &original));
        }
    }
}
