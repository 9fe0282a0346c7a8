//! The socket, and the datagrams of a connection over it.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use quiche::{Connection, ConnectionId};

/// A UDP socket on this machine.
pub struct Wire {
    socket: UdpSocket,
    pub local: SocketAddr,
    buffer: Vec<u8>,
}

impl Wire {
    pub fn new() -> io::Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        let local = socket.local_addr()?;
        Ok(Self { socket, local, buffer: vec![0; 65_535] })
    }

    /// Waits for datagrams, no longer than `timeout`, and gives all that are there to `take`. Says whether
    /// there were some.
    pub fn receive(
        &mut self,
        timeout: Option<Duration>,
        mut take: impl FnMut(&mut [u8], quiche::RecvInfo),
    ) -> io::Result<bool> {
        self.socket.set_nonblocking(false)?;
        self.socket.set_read_timeout(timeout.map(|timeout| timeout.max(Duration::from_millis(1))))?;
        let mut any = false;
        loop {
            match self.socket.recv_from(&mut self.buffer) {
                Ok((len, from)) => take(&mut self.buffer[..len], quiche::RecvInfo { from, to: self.local }),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Ok(any),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            if !any {
                self.socket.set_nonblocking(true)?;
                any = true;
            }
        }
    }

    /// Sends all that a connection has to send.
    pub fn send(&mut self, connection: &mut Connection) -> Result<(), Box<dyn std::error::Error>> {
        let mut datagram = [0; 1350];
        self.socket.set_nonblocking(false)?;
        loop {
            match connection.send(&mut datagram) {
                Ok((len, to)) => self.socket.send_to(&datagram[..len], to.to)?,
                Err(quiche::Error::Done) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
        }
    }
}

/// A connection ID that nobody else has.
pub fn connection_id() -> ConnectionId<'static> {
    use std::hash::{BuildHasher as _, RandomState};
    let random = || RandomState::new().hash_one(0).to_ne_bytes();
    ConnectionId::from_vec([random(), random()].concat())
}
