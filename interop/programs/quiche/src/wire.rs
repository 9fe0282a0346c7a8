//! The datagrams of connections, and what is in them that we choose.

use std::hash::{BuildHasher as _, DefaultHasher, Hash as _, Hasher as _, RandomState};
use std::net::SocketAddr;

use quiche::{Connection, ConnectionId};
use tercel_interop_end::{RESET_KEY, Wire};

use crate::Failure;

/// Sends all that a connection has to send from the address of this socket.
pub fn send(wire: &Wire, connection: &mut Connection) -> Result<(), Failure> {
    let mut datagram = [0; 1350];
    let paths: Vec<SocketAddr> = connection.paths_iter(wire.local).collect();
    for peer in paths {
        loop {
            match connection.send_on_path(&mut datagram, Some(wire.local), Some(peer)) {
                Ok((len, to)) => wire.datagram(&datagram[..len], to.to),
                Err(quiche::Error::Done) => break,
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

/// A connection ID that nobody else has.
pub fn connection_id() -> ConnectionId<'static> {
    let random = || RandomState::new().hash_one(0).to_ne_bytes();
    ConnectionId::from_vec([random(), random()].concat())
}

/// The token of a connection ID's stateless reset: the same after a restart. What is hashed is no secret here.
pub fn reset_token(id: &[u8]) -> u128 {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (RESET_KEY, salt, id).hash(&mut hasher);
        u128::from(hasher.finish())
    };
    half(0) << 64 | half(1)
}
