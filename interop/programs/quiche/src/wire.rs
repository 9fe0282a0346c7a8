//! Sockets, and the datagrams of connections over them.

use std::hash::{BuildHasher as _, DefaultHasher, Hash as _, Hasher as _, RandomState};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use quiche::{Connection, ConnectionId, RecvInfo};
use tercel_interop_end::RESET_KEY;

use crate::Failure;

/// A UDP socket.
pub struct Wire {
    socket: UdpSocket,
    pub local: SocketAddr,
    buffer: Vec<u8>,
}

impl Wire {
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind(address)?;
        let local = socket.local_addr()?;
        Ok(Self { socket, local, buffer: vec![0; 65_535] })
    }

    /// Waits for datagrams, no longer than `timeout`, and gives all that are there to `take`. Says whether
    /// there were some.
    pub fn receive(&mut self, timeout: Duration, mut take: impl FnMut(&mut [u8], RecvInfo)) -> io::Result<bool> {
        self.socket.set_nonblocking(false)?;
        self.socket.set_read_timeout(Some(timeout.max(Duration::from_millis(1))))?;
        let mut any = false;
        loop {
            match self.socket.recv_from(&mut self.buffer) {
                Ok((len, from)) => take(&mut self.buffer[..len], RecvInfo { from, to: self.local }),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Ok(any),
                // The other end is gone for a while.
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionRefused) => continue,
                Err(error) => return Err(error),
            }
            if !any {
                self.socket.set_nonblocking(true)?;
                any = true;
            }
        }
    }

    /// Sends a datagram.
    pub fn datagram(&self, data: &[u8], to: SocketAddr) {
        let _ = self.socket.set_nonblocking(false);
        let _ = self.socket.send_to(data, to);
    }

    /// Sends all that a connection has to send from this address.
    pub fn send(&self, connection: &mut Connection) -> Result<(), Failure> {
        let mut datagram = [0; 1350];
        let paths: Vec<SocketAddr> = connection.paths_iter(self.local).collect();
        for peer in paths {
            loop {
                match connection.send_on_path(&mut datagram, Some(self.local), Some(peer)) {
                    Ok((len, to)) => self.datagram(&datagram[..len], to.to),
                    Err(quiche::Error::Done) => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }
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
