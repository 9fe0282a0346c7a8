//! Sockets that tell and set the ECN marks of datagrams.

use std::io::IoSliceMut;
use std::net::SocketAddr;
use std::sync::Arc;

use quinn_udp::{EcnCodepoint, RecvMeta, Transmit, UdpSocketState};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::mpsc::UnboundedSender;

/// A datagram.
#[derive(Debug, Clone)]
pub struct Datagram {
    /// Its bytes.
    pub data: Vec<u8>,
    /// Its mark.
    pub ecn: Option<EcnCodepoint>,
}

/// A datagram that has come.
#[derive(Debug)]
pub struct Arrival {
    /// To the socket of this number.
    pub socket: usize,
    /// From here.
    pub from: SocketAddr,
    /// It.
    pub datagram: Datagram,
}

/// A socket that is being read.
pub struct Socket {
    io: UdpSocket,
    state: UdpSocketState,
}

impl Socket {
    /// Binds and reads it: everything that comes is told under this number.
    ///
    /// # Errors
    /// The address is not to be had.
    pub fn open(number: usize, address: SocketAddr, tell: UnboundedSender<Arrival>) -> std::io::Result<Arc<Self>> {
        let std = std::net::UdpSocket::bind(address)?;
        std.set_nonblocking(true)?;
        let io = UdpSocket::from_std(std)?;
        let state = UdpSocketState::new((&io).into())?;
        let _ = state.set_recv_buffer_size((&io).into(), 4 << 20);
        let _ = state.set_send_buffer_size((&io).into(), 4 << 20);
        let socket = Arc::new(Self { io, state });
        let reader = socket.clone();
        tokio::spawn(async move {
            let mut buffer = vec![0; 1 << 16];
            while reader.io.readable().await.is_ok() {
                let mut meta = [RecvMeta::default()];
                let read = reader.io.try_io(Interest::READABLE, || {
                    reader.state.recv((&reader.io).into(), &mut [IoSliceMut::new(&mut buffer)], &mut meta)
                });
                if read.is_err() {
                    continue;
                }
                let [meta] = meta;
                for data in buffer[..meta.len].chunks(meta.stride.max(1)) {
                    let datagram = Datagram { data: data.to_vec(), ecn: meta.ecn };
                    if tell.send(Arrival { socket: number, from: meta.addr, datagram }).is_err() {
                        return;
                    }
                }
            }
        });
        Ok(socket)
    }

    /// Where it is bound.
    ///
    /// # Errors
    /// The socket is gone.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.io.local_addr()
    }

    /// Sends, or loses what finds no room, as networks do.
    pub fn send(&self, datagram: &Datagram, to: SocketAddr) {
        let transmit =
            Transmit { destination: to, ecn: datagram.ecn, contents: &datagram.data, segment_size: None, src_ip: None };
        let _ = self.state.send((&self.io).into(), &transmit);
    }
}
