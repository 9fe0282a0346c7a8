//! Which versions a server speaks: asked by a packet of a version that nobody does (RFC 9000
//! section 6.3).

use std::net::SocketAddr;
use std::time::Duration;

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use bytes::BytesMut;
use tercel::Version;
use tercel_wire::packet::{FirstPacket, Protected};
use tokio::net::UdpSocket;

/// The versions that the server tells, or nothing if it does not answer.
pub(super) async fn ask(server: SocketAddr, patience: Duration) -> Vec<Version> {
    tokio::time::timeout(patience, exchange(server)).await.ok().flatten().unwrap_or_default()
}

async fn exchange(server: SocketAddr) -> Option<Vec<Version>> {
    let any: SocketAddr = if server.is_ipv4() { ([0; 4], 0).into() } else { ([0; 16], 0).into() };
    let socket = UdpSocket::bind(any).await.ok()?;
    socket.connect(server).await.ok()?;
    let mut ids = [0; 16];
    SystemRandom::new().fill(&mut ids).ok()?;
    let (dcid, scid) = ids.split_at(8);
    let mut question = vec![0xc0, 0x1a, 0x2a, 0x3a, 0x4a, 8];
    question.extend_from_slice(dcid);
    question.push(8);
    question.extend_from_slice(scid);
    // No server answers what is smaller than a first flight.
    question.resize(1200, 0);
    let mut answer = BytesMut::zeroed(1500);
    // Datagrams get lost.
    for _ in 0..3 {
        socket.send(&question).await.ok()?;
        if let Ok(Ok(len)) = tokio::time::timeout(Duration::from_millis(500), socket.recv(&mut answer)).await {
            let mut datagram = BytesMut::from(&answer[..len]);
            if let Ok(FirstPacket::VersionNegotiation(packet)) = Protected::split_first(&mut datagram, 8)
                && packet.dcid == scid
                && packet.scid == dcid
            {
                return Some(packet.versions);
            }
        }
    }
    None
}

/// A version as people call it.
pub(super) fn name(version: Version) -> Option<String> {
    match version.0 {
        1 => Some("1".into()),
        0x6b33_43cf => Some("2".into()),
        // RFC 9000 section 15: only there to be ignored.
        reserved if reserved & 0x0f0f_0f0f == 0x0a0a_0a0a => None,
        draft if draft & 0xffff_ff00 == 0xff00_0000 => Some(format!("draft-{}", draft & 0xff)),
        other => Some(format!("{other:#010x}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_names() {
        for (version, wanted) in [
            (1, Some("1")),
            (0x6b33_43cf, Some("2")),
            (0xff00_001d, Some("draft-29")),
            (0x5130_3530, Some("0x51303530")),
            (0xbaba_3a4a, None),
        ] {
            assert_eq!(name(Version(version)).as_deref(), wanted);
        }
    }
}
