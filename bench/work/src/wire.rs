//! Sockets: for peers that do not make their own, and for stacks that have none.

use std::io::{self, ErrorKind, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};
use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};

use crate::settings;

/// A socket for a peer that does not make its own.
///
/// # Errors
/// What the system says.
pub fn socket() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let options = socket2::SockRef::from(&socket);
    options.set_recv_buffer_size(settings::SOCKET_BUFFER)?;
    options.set_send_buffer_size(settings::SOCKET_BUFFER)?;
    Ok(socket)
}

/// A socket for a stack that has none: datagrams leave in batches that the kernel cuts (GSO) and come in batches that it
/// has joined (GRO), as far as the stack makes them equally long.
pub struct Wire {
    socket: mio::net::UdpSocket,
    state: UdpSocketState,
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    /// What leaves with the next system call, and where to.
    batch: Vec<u8>,
    to: Option<SocketAddr>,
    /// The length of its datagrams, but for the last.
    segment: usize,
    /// Whether the last is shorter, so that nothing may follow.
    closed: bool,
    /// The address that it is bound to.
    pub local: SocketAddr,
}

/// No more fits into one message of the system's.
const MOST: usize = 65_507;

impl Wire {
    /// At an address of the system's choice.
    ///
    /// # Errors
    /// What the system says.
    pub fn open() -> io::Result<Self> {
        let socket = socket()?;
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        let local = socket.local_addr()?;
        let (mut socket, poll) = (mio::net::UdpSocket::from_std(socket), Poll::new()?);
        poll.registry().register(&mut socket, Token(0), Interest::READABLE)?;
        Ok(Self {
            socket,
            state,
            poll,
            events: Events::with_capacity(1),
            buffer: vec![0; 1 << 16],
            batch: Vec::with_capacity(MOST),
            to: None,
            segment: 0,
            closed: false,
            local,
        })
    }

    /// Gives all datagrams that are there, up to some hundreds, to `take`, with where they come from. If there are none
    /// it waits for some, but not beyond `until`.
    ///
    /// # Errors
    /// What the system says.
    pub fn receive(&mut self, until: Option<Instant>, mut take: impl FnMut(&mut [u8], SocketAddr)) -> io::Result<()> {
        const TURN: usize = 16;
        for turn in 0..TURN {
            let mut meta = [RecvMeta::default()];
            match self.state.recv(UdpSockRef::from(&self.socket), &mut [IoSliceMut::new(&mut self.buffer)], &mut meta) {
                Ok(_) => {
                    let [meta] = meta;
                    for data in self.buffer[..meta.len].chunks_mut(meta.stride.max(1)) {
                        take(data, meta.addr);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock && turn == 0 => {
                    let most = until.map(|until| until.saturating_duration_since(Instant::now()));
                    if most == Some(Duration::ZERO) {
                        return Ok(());
                    }
                    match self.poll.poll(&mut self.events, most) {
                        Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                        _ if self.events.is_empty() => return Ok(()),
                        _ => {}
                    }
                }
                // The other end is gone for a while, or a signal came.
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionRefused) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Where the next datagram, of no more than [`settings::MTU`] bytes, is to be written; [`push`](Self::push) follows.
    pub fn room(&mut self) -> &mut [u8] {
        let mtu = usize::from(settings::MTU);
        if self.batch.len() + mtu > MOST {
            self.flush();
        }
        let len = self.batch.len();
        self.batch.resize(len + mtu, 0);
        &mut self.batch[len..]
    }

    /// So many bytes of the room are a datagram to `to`.
    pub fn push(&mut self, len: usize, to: SocketAddr) {
        let mut at = self.batch.len() - usize::from(settings::MTU);
        let fits = self.to == Some(to) && !self.closed && len <= self.segment && at < 64 * self.segment;
        if at > 0 && !fits {
            let next = self.batch.split_off(at);
            self.flush();
            (self.batch, at) = (next, 0);
        }
        self.batch.truncate(at + len);
        if at == 0 {
            (self.to, self.segment) = (Some(to), len);
        }
        self.closed = len < self.segment;
    }

    /// The room is not needed.
    pub fn drop_room(&mut self) {
        let len = self.batch.len() - usize::from(settings::MTU);
        self.batch.truncate(len);
    }

    /// A datagram.
    pub fn send(&mut self, data: &[u8], to: SocketAddr) {
        let room = self.room();
        room[..data.len()].copy_from_slice(data);
        self.push(data.len(), to);
    }

    /// Sends what there is. What the system does not take is lost, as networks lose.
    pub fn flush(&mut self) {
        if let Some(destination) = self.to.take() {
            let transmit = Transmit {
                destination,
                ecn: None,
                contents: &self.batch,
                segment_size: (self.batch.len() > self.segment).then_some(self.segment),
                src_ip: None,
            };
            let _ = self.state.send(UdpSockRef::from(&self.socket), &transmit);
        }
        self.batch.clear();
        self.closed = false;
    }
}
