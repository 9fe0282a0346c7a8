//! A connection that is refused before it begins (RFC 9000 section 5.2.2).

use tercel_wire::frame::ConnectionClose;
use tercel_wire::packet::Header;
use tercel_wire::packet::protection::PacketKey as _;
use tercel_wire::{ConnectionId, Frame, Role, TransportErrorCode, Version, Writer};

use crate::keys;

/// An Initial packet with CONNECTION_CLOSE and `code`, in answer to an Initial packet from `client_cid` to
/// `dcid`. It is much smaller than what it answers, which has 1200 bytes.
pub fn respond(
    version: Version,
    client_cid: &ConnectionId,
    dcid: &ConnectionId,
    scid: &ConnectionId,
    code: TransportErrorCode,
) -> Option<Vec<u8>> {
    let keys = keys::initial(version, dcid, Role::Server).ok()?.local;
    let header = Header::Initial { version, dcid: *client_cid, scid: *scid, token: bytes::Bytes::new() };
    let mut packet = vec![0; 128];
    let mut writer = Writer::new(&mut packet);
    let start = header.begin(&mut writer, 0, None);
    Frame::ConnectionClose(ConnectionClose::Transport { error: code, frame_type: 0, reason: b"" }).encode(&mut writer);
    start.pad(&mut writer, 0, keys.packet.tag_len());
    let len = start.finish(&mut writer, &keys.header, &keys.packet)?;
    packet.truncate(len);
    Some(packet)
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use tercel_wire::Reader;
    use tercel_wire::packet::{FirstPacket, Protected};

    use super::*;

    #[test]
    fn the_client_can_read_why() {
        let id = |byte, len| ConnectionId::new(&vec![byte; len]).unwrap();
        for len in [0, 8, 20] {
            let (client, dcid, scid) = (id(1, len), id(2, 8), id(3, 20));
            let code = TransportErrorCode::CONNECTION_REFUSED;
            let packet = respond(Version::V1, &client, &dcid, &scid, code).unwrap();
            assert!(packet.len() < 120, "{} bytes", packet.len());
            let Ok(FirstPacket::Protected(mut packet)) = Protected::split_first(&mut BytesMut::from(&packet[..]), len)
            else {
                panic!()
            };
            assert_eq!(packet.header().dcid(), &client);
            let keys = keys::initial(Version::V1, &dcid, Role::Client).unwrap().remote;
            let opened = packet.unprotect(&keys.header, None).ok().unwrap().open(&keys.packet).unwrap();
            let frame = Frame::decode(&mut Reader::new(&opened.payload)).unwrap();
            let close = ConnectionClose::Transport { error: code, frame_type: 0, reason: b"" };
            assert_eq!(frame, Frame::ConnectionClose(close));
        }
    }
}
