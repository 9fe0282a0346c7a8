//! Much data over real UDP, compared by hash, and a server that sends its clients to another address.
//! `TERCEL_BULK` says how much each way: `64MiB` if not set.

use std::net::SocketAddr;
use std::time::Instant;

use crate::support::*;
use aws_lc_rs::digest::{Context, Digest, SHA256};
use tercel::aio;
use tercel::{Bytes, Listener, Registration, VarInt};
use tercel_proto::config::{PreferredAddress, TransportConfig};

/// How many bytes each way.
fn bulk() -> usize {
    let text = std::env::var("TERCEL_BULK").unwrap_or_else(|_| "64MiB".into());
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let unit = match unit {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        other => panic!("TERCEL_BULK: {other}?"),
    };
    number.parse::<usize>().unwrap() * unit
}

const BLOCK: usize = 1 << 20;

/// Sends `len` bytes, no two blocks of which are alike; gives their hash.
async fn send(connection: aio::Connection, len: usize, salt: u64) -> Digest {
    let block = pattern(BLOCK);
    let mut hash = Context::new(&SHA256);
    let mut stream = connection.open_uni().await.unwrap();
    for at in (0..len).step_by(BLOCK) {
        let mut data = block[..BLOCK.min(len - at)].to_vec();
        let number = (at as u64 ^ salt).to_be_bytes();
        data.iter_mut().zip(number).for_each(|(byte, number)| *byte ^= number);
        hash.update(&data);
        stream.write_chunk(data.into()).await.unwrap();
    }
    stream.finish().unwrap();
    assert_eq!(stream.stopped().await, Ok(None));
    hash.finish()
}

async fn receive(connection: aio::Connection) -> (usize, Digest) {
    let mut hash = Context::new(&SHA256);
    let mut stream = connection.accept_uni().await.unwrap();
    let mut len = 0;
    while let Some(chunk) = stream.read_chunk(usize::MAX).await.unwrap() {
        hash.update(&chunk);
        len += chunk.len();
    }
    (len, hash.finish())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn much_data_both_ways_at_once_is_the_same_by_its_hash() {
    let len = bulk();
    let configuration = configuration(TransportConfig::default());
    let server = aio::Endpoint::of(registration(1)).listen(&configuration, loopback()).unwrap();
    let client = aio::Endpoint::of(registration(1));
    let connecting = client.connect(&configuration, server.local_address().unwrap(), "localhost").unwrap();
    let accepting = async { server.accept().await.unwrap().accept().unwrap().await };
    let (ours, theirs) = tokio::join!(connecting, accepting);
    let (ours, theirs) = (ours.unwrap(), theirs.unwrap());
    let begun = Instant::now();
    let tasks = (
        tokio::spawn(send(ours.clone(), len, 1 << 40)),
        tokio::spawn(send(theirs.clone(), len, 2 << 40)),
        tokio::spawn(receive(ours.clone())),
        // Both ends are held until both have everything: dropping the last handle closes, and the other
        // end would hear of the close instead of the last acknowledgement.
        tokio::spawn(receive(theirs.clone())),
    );
    let (up, down, down_arrived, up_arrived) = tokio::try_join!(tasks.0, tasks.1, tasks.2, tasks.3).unwrap();
    let took = begun.elapsed();
    assert_ne!(up.as_ref(), down.as_ref());
    for (sent, (arrived_len, arrived)) in [(up, up_arrived), (down, down_arrived)] {
        assert_eq!((arrived_len, arrived.as_ref()), (len, sent.as_ref()));
    }
    let rate = len as f64 / took.as_secs_f64() / f64::from(1 << 20);
    println!("{len} bytes each way at once in {took:.1?}: {rate:.0} MiB/s each; client: {:?}", ours.stats());
}

/// Two servers' addresses of one registration: clients come to the first and are told of the second.
struct TwoAddresses {
    _servers: Registration,
    first: Listener,
    second: Listener,
    clients: tercel::Configuration,
}

fn two_addresses(second: Option<SocketAddr>) -> TwoAddresses {
    let servers = registration(2);
    let (record, _) = Record::new();
    let plain = configuration(TransportConfig::default());
    // Which port the second address has is known once it is bound.
    let listener = echo_server(&servers, &plain, loopback(), &record);
    let preferred = second.unwrap_or(listener.local_address());
    let SocketAddr::V4(ipv4) = preferred else { panic!("{preferred}") };
    let transport = TransportConfig {
        preferred_address: Some(PreferredAddress { ipv4: Some(ipv4), ipv6: None }),
        ..TransportConfig::default()
    };
    let clients = configuration(transport);
    let first = echo_server(&servers, &clients, loopback(), &record);
    TwoAddresses { _servers: servers, first, second: listener, clients }
}

#[test]
// RFC 9000 section 9.6.1#1#2.
fn a_client_goes_to_the_preferred_address() {
    let servers = two_addresses(None);
    let registration = registration(1);
    for _ in 0..4 {
        let (record, heard) = Record::new();
        let to = tercel::Connect::new(servers.first.local_address(), "localhost");
        let events = recorder(record, |_, new| drop(new));
        let connection = registration.connect(&servers.clients, to, events).unwrap();
        wait_for(&heard, "Connected");
        let data = pattern(5 << 20);
        let result = exchange(&connection, data.clone());
        let moved = wait_for(&heard, "PeerAddressChanged");
        assert_eq!(moved, format!("PeerAddressChanged({})", servers.second.local_address()));
        assert!(result.recv_timeout(PATIENCE).unwrap() == data);
        assert_eq!(connection.remote_address(), servers.second.local_address());
        // All is well there, and nothing comes from the first address any more.
        let before = connection.stats();
        let result = exchange(&connection, data.clone());
        assert!(result.recv_timeout(PATIENCE).unwrap() == data);
        let after = connection.stats();
        assert_eq!(after.packets_dropped, before.packets_dropped, "{after:?} after {before:?}");
        connection.close(VarInt::from_u32(0), Bytes::new());
        wait_for(&heard, "ShutdownComplete");
    }
}

#[test]
// RFC 9000 sections 9.6.1#3, 9.6.2#1, 21.5.3#1.
fn a_preferred_address_where_nobody_answers_disturbs_nobody() {
    let silent = std::net::UdpSocket::bind(loopback()).unwrap();
    let servers = two_addresses(Some(silent.local_addr().unwrap()));
    let registration = registration(1);
    let (record, heard) = Record::new();
    let to = tercel::Connect::new(servers.first.local_address(), "localhost");
    let events = recorder(record, |_, new| drop(new));
    let connection = registration.connect(&servers.clients, to, events).unwrap();
    wait_for(&heard, "HandshakeConfirmed");
    let data = pattern(2 << 20);
    let result = exchange(&connection, data.clone());
    // The challenge was sent.
    silent.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut buffer = [0; 2048];
    assert_eq!(silent.recv_from(&mut buffer).unwrap().0, 1200);
    assert!(result.recv_timeout(PATIENCE).unwrap() == data);
    assert_eq!(connection.remote_address(), servers.first.local_address());
}
