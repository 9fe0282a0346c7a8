//! The provider by itself, between two plain `rustls::quic` connections.

use rustls::quic::{ClientConnection, Connection, ServerConnection, Version};

use super::*;

/// All bytes that both ends write, and how many the ClientHello had.
fn handshake(run: u64, shares: KeyShares) -> (Vec<u8>, usize) {
    seed(run);
    let name = NAME.try_into().unwrap();
    let client = ClientConnection::new(client(shares), Version::V1, name, b"client".to_vec()).unwrap();
    let server = ServerConnection::new(server(shares), Version::V1, b"server".to_vec()).unwrap();
    let mut ends = [Connection::Client(client), Connection::Server(server)];
    let (mut transcript, mut hello) = (Vec::new(), 0);
    for turn in 0..12 {
        let mut flight = Vec::new();
        // Keys separate the levels; this line has none, so the pieces are only kept apart.
        let mut pieces = Vec::new();
        while let change = ends[turn % 2].write_hs(&mut flight)
            && (change.is_some() || !flight.is_empty())
        {
            pieces.push(std::mem::take(&mut flight));
        }
        if turn == 0 {
            hello = pieces.concat().len();
        }
        for piece in pieces {
            ends[(turn + 1) % 2].read_hs(&piece).unwrap();
            transcript.extend(piece);
        }
    }
    assert!(ends.iter().all(|end| !end.is_handshaking()));
    let exported = ends.each_ref().map(|end| end.export_keying_material([0u8; 32], b"label", None).unwrap());
    assert_eq!(exported[0], exported[1]);
    (transcript, hello)
}

#[test]
fn handshakes_complete_and_repeat() {
    for shares in [KeyShares::Small, KeyShares::Hybrid, KeyShares::Retry] {
        let (first, hello) = handshake(1, shares);
        assert_eq!(handshake(1, shares), (first.clone(), hello), "{shares:?}");
        assert_ne!(handshake(2, shares).0, first, "{shares:?}");
        assert_eq!(hello > 1200, shares == KeyShares::Hybrid, "{shares:?}: {hello} bytes");
    }
}

#[test]
fn a_share_of_the_wrong_size_is_refused() {
    assert!(key_exchange::HYBRID.start_and_complete(&[0; 32]).is_err());
    assert!(key_exchange::HYBRID.start().unwrap().complete(&[0; 32]).is_err());
}
