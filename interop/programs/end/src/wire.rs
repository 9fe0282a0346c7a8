//! A UDP socket for stacks that have none of their own.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

/// A UDP socket.
pub struct Wire {
    socket: UdpSocket,
    /// The address that it is bound to.
    pub local: SocketAddr,
}

impl Wire {
    /// Bound to this address.
    ///
    /// # Errors
    /// The address is not to be had.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind(address)?;
        let local = socket.local_addr()?;
        Ok(Self { socket, local })
    }

    /// Waits for datagrams, no longer than `timeout` and at least a millisecond, and gives all that are there to
    /// `take`, with where they come from.
    ///
    /// # Errors
    /// What the system says, but not that nobody listens at the other end.
    pub fn receive(&self, timeout: Duration, mut take: impl FnMut(&mut [u8], SocketAddr)) -> io::Result<()> {
        self.socket.set_nonblocking(false)?;
        self.socket.set_read_timeout(Some(timeout.max(Duration::from_millis(1))))?;
        let (mut buffer, mut any) = (vec![0; 65_535], false);
        loop {
            match self.socket.recv_from(&mut buffer) {
                Ok((len, from)) => take(&mut buffer[..len], from),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Ok(()),
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

    /// Sends a datagram. One that cannot be sent is lost.
    pub fn datagram(&self, data: &[u8], to: SocketAddr) {
        let _ = self.socket.set_nonblocking(false);
        let _ = self.socket.send_to(data, to);
    }
}
