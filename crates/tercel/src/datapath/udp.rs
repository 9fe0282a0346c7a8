//! Real UDP: `quinn-udp` for GSO, GRO, ECN and packet-info, `mio` to wait.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use mio::{Interest, Poll, Registry, Token, Waker};
use quinn_udp::{EcnCodepoint, RecvMeta, UdpSockRef, UdpSocketState};
use smallvec::SmallVec;
use tercel_proto::connection::Transmit;
use tercel_proto::path::{Ecn, PathAddress};

use super::buffers::{Buffers, READ_LEN};
use super::{Bind, Datapath, Left, Received, Share, Socket, SocketId};

/// The token by which a worker's own waker speaks up.
pub(crate) const WAKE: Token = Token(usize::MAX);

/// What the system is asked to hold for a socket, in each direction. It may give less.
const SYSTEM_BUFFER: usize = 4 << 20;

/// So many messages a system call may bring, if they are small.
const MESSAGES: usize = 16;

/// The sockets of the operating system. Each worker waits at a `mio::Poll` of its own.
pub struct UdpDatapath {
    workers: Vec<(Arc<Registry>, Waker)>,
}

impl UdpDatapath {
    /// A datapath for this many workers, and what each waits at.
    ///
    /// # Errors
    /// Those of the system.
    pub fn new(workers: usize) -> io::Result<(Self, Vec<Poll>)> {
        let polls = (0..workers).map(|_| Poll::new()).collect::<io::Result<Vec<_>>>()?;
        let workers = polls
            .iter()
            .map(|poll| Ok((Arc::new(poll.registry().try_clone()?), Waker::new(poll.registry(), WAKE)?)))
            .collect::<io::Result<Vec<_>>>()?;
        Ok((Self { workers }, polls))
    }
}

impl Datapath for UdpDatapath {
    fn open(&self, worker: usize, id: SocketId, bind: Bind) -> io::Result<Box<dyn Socket>> {
        let (registry, _) = self.workers.get(worker).ok_or(io::ErrorKind::NotFound)?;
        let (mut socket, token) = (mio::net::UdpSocket::from_std(bound(bind)?), Token(id.0 as usize));
        registry.register(&mut socket, token, Interest::READABLE)?;
        let address = socket.local_addr()?;
        OsSocket::boxed(Polled { socket, registry: registry.clone(), token, waits_for_room: false }, address)
    }

    fn wake(&self, worker: usize) {
        if let Some((_, waker)) = self.workers.get(worker) {
            // It can only fail if the poll is gone, and then nobody sleeps there.
            let _ = waker.wake();
        }
    }
}

/// A socket bound as wanted, that does not block.
// RFC 9000 sections 14#2#3, 9.7#1#2: the system marks so, and labels flows.
pub(super) fn bound(bind: Bind) -> io::Result<UdpSocket> {
    let domain = socket2::Domain::for_address(bind.address);
    let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, Some(socket2::Protocol::UDP))?;
    if bind.address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // The first socket is bound without SO_REUSEPORT, so that an address that another program has is
    // found out; those that join it find the option set afterwards.
    #[cfg(all(unix, not(any(target_os = "solaris", target_os = "illumos"))))]
    if bind.shared == Some(Share::Joins) {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&bind.address.into())?;
    #[cfg(all(unix, not(any(target_os = "solaris", target_os = "illumos"))))]
    if bind.shared == Some(Share::First) {
        socket.set_reuse_port(true)?;
    }
    // As much as the system gives; the default serves as well, only with more losses.
    let _ = socket.set_recv_buffer_size(SYSTEM_BUFFER);
    let _ = socket.set_send_buffer_size(SYSTEM_BUFFER);
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// How a socket is read and written when it may have to wait.
pub(super) trait Io {
    /// The socket.
    fn socket(&self) -> UdpSockRef<'_>;
    /// Reads so many messages; if that leaves nothing, or there was nothing ([`io::ErrorKind::WouldBlock`]), sees to it
    /// that the worker is told when there is something.
    fn reading(&mut self, read: impl FnMut(UdpSockRef<'_>) -> io::Result<(usize, Left)>) -> io::Result<(usize, Left)>;
    /// Writes; on [`io::ErrorKind::WouldBlock`] sees to it that the worker is told when there is room.
    fn writing(&mut self, write: impl FnMut(UdpSockRef<'_>) -> io::Result<()>) -> io::Result<()>;
}

/// A socket at a poll of mio's, which tells by itself of what comes in. It tells of room only while that is waited for:
/// else each datagram that the system has done with would wake the worker.
struct Polled {
    socket: mio::net::UdpSocket,
    registry: Arc<Registry>,
    token: Token,
    waits_for_room: bool,
}

impl Io for Polled {
    fn socket(&self) -> UdpSockRef<'_> {
        UdpSockRef::from(&self.socket)
    }

    fn reading(
        &mut self,
        mut read: impl FnMut(UdpSockRef<'_>) -> io::Result<(usize, Left)>,
    ) -> io::Result<(usize, Left)> {
        self.socket.try_io(|| read(self.socket()))
    }

    fn writing(&mut self, mut write: impl FnMut(UdpSockRef<'_>) -> io::Result<()>) -> io::Result<()> {
        let result = self.socket.try_io(|| write(self.socket()));
        let blocked = result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        if std::mem::replace(&mut self.waits_for_room, blocked) != blocked {
            let interest = if blocked { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
            let changed = self.registry.reregister(&mut self.socket, self.token, interest);
            // To hear of room that nobody waits for does no harm.
            if blocked {
                changed?
            }
        }
        result
    }
}

/// A socket of the operating system.
pub(super) struct OsSocket<I> {
    io: I,
    state: UdpSocketState,
    address: SocketAddr,
    /// How many messages to read at a time: as many as are no larger together than one of the longest, if they are
    /// like those before. More would push each other out of the processor's cache.
    at_once: usize,
}

impl<I: Io + Send + 'static> OsSocket<I> {
    /// A socket that is bound to `address`.
    pub(super) fn boxed(io: I, address: SocketAddr) -> io::Result<Box<dyn Socket>> {
        let state = UdpSocketState::new(io.socket())?;
        Ok(Box::new(Self { io, state, address, at_once: 1 }))
    }
}

impl<I: Io> OsSocket<I> {
    fn send_one(&mut self, transmit: &Transmit, contents: &[u8], segment_size: Option<usize>) -> io::Result<()> {
        let outgoing = quinn_udp::Transmit {
            destination: transmit.path.remote,
            ecn: match transmit.ecn {
                Ecn::NotEct => None,
                Ecn::Ect0 => Some(EcnCodepoint::Ect0),
                Ecn::Ect1 => Some(EcnCodepoint::Ect1),
                Ecn::Ce => Some(EcnCodepoint::Ce),
            },
            contents,
            segment_size,
            src_ip: transmit.path.local.map(|local| local.ip()),
        };
        self.io.writing(|socket| self.state.try_send(socket, &outgoing))
    }
}

impl<I: Io + Send> Socket for OsSocket<I> {
    fn local_address(&self) -> SocketAddr {
        self.address
    }

    fn max_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    fn send(&mut self, transmit: &Transmit, contents: &[u8]) -> io::Result<()> {
        let size = transmit.segment_size.filter(|size| *size > 0 && *size < contents.len());
        let Some(size) = size else { return self.send_one(transmit, contents, None) };
        let segments = contents.len().div_ceil(size);
        if segments <= self.state.max_gso_segments() {
            match self.send_one(transmit, contents, Some(size)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
                Err(_) if segments > self.state.max_gso_segments() => {}
                result => return result,
            }
        }
        // The system has turned out not to segment, now or after the datagrams were made.
        for (index, datagram) in contents.chunks(size).enumerate() {
            match self.send_one(transmit, datagram, None) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && index > 0 => break,
                result => result?,
            }
        }
        Ok(())
    }

    fn receive(&mut self, buffers: &mut Buffers, into: &mut Vec<Received>) -> io::Result<Left> {
        let mut meta = [RecvMeta::default(); MESSAGES];
        let mut places: SmallVec<[IoSliceMut<'_>; MESSAGES]> =
            buffers.scratch(self.at_once).map(IoSliceMut::new).collect();
        // A call that brings fewer than it might has found no more; on some systems it never brings more than one.
        let most = self.at_once.min(quinn_udp::BATCH_SIZE);
        let (count, left) = self.io.reading(|socket| {
            let count = self.state.recv(socket, &mut places, &mut meta[..self.at_once])?;
            Ok((count, if count < most { Left::Nothing } else { Left::Perhaps }))
        })?;
        drop(places);
        let meta = meta.get(..count).unwrap_or(&meta);
        let longest = meta.iter().map(|meta| meta.len).max().unwrap_or(READ_LEN);
        self.at_once = (READ_LEN / longest.max(1)).clamp(1, MESSAGES);
        into.extend(meta.iter().enumerate().map(|(place, meta)| Received {
            path: PathAddress {
                remote: meta.addr,
                local: meta.dst_ip.map(|ip| SocketAddr::new(ip, self.address.port())),
            },
            ecn: match meta.ecn {
                None => Ecn::NotEct,
                Some(EcnCodepoint::Ect0) => Ecn::Ect0,
                Some(EcnCodepoint::Ect1) => Ecn::Ect1,
                Some(EcnCodepoint::Ce) => Ecn::Ce,
            },
            data: buffers.keep(place, meta.len),
            segment_size: meta.stride.max(1),
        }));
        Ok(left)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;

    const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    fn open(datapath: &UdpDatapath, worker: usize, address: SocketAddr, shared: Option<Share>) -> Box<dyn Socket> {
        datapath.open(worker, SocketId(worker as u32), Bind { address, shared }).unwrap()
    }

    fn receive(poll: &mut Poll, socket: &mut dyn Socket, buffers: &mut Buffers) -> Vec<Received> {
        let mut all = Vec::new();
        loop {
            match socket.receive(buffers, &mut all) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    poll.poll(&mut mio::Events::with_capacity(8), Some(Duration::from_secs(5))).unwrap();
                }
                received => {
                    received.unwrap();
                    return all;
                }
            }
        }
    }

    #[test]
    fn a_batch_arrives_whole_with_its_mark() {
        let (datapath, mut polls) = UdpDatapath::new(2).unwrap();
        let mut sender = open(&datapath, 0, ANY, None);
        let mut receiver = open(&datapath, 1, ANY, None);
        let contents: Vec<u8> = (0..10 * 1200 + 300).map(|at| (at / 1200) as u8).collect();
        let segments = sender.max_segments().min(11);
        let contents = &contents[..contents.len().min(segments * 1200)];
        let transmit = Transmit {
            path: PathAddress { remote: receiver.local_address(), local: None },
            ecn: Ecn::Ect0,
            len: contents.len(),
            segment_size: Some(1200),
            mtu_probe: false,
        };
        sender.send(&transmit, contents).unwrap();
        let mut buffers = Buffers::new();
        let mut got = Vec::new();
        while got.len() < contents.len() {
            for received in receive(&mut polls[1], receiver.as_mut(), &mut buffers) {
                assert_eq!(received.path.remote, sender.local_address());
                assert_eq!(received.path.local, Some(receiver.local_address()));
                assert_eq!(received.ecn, Ecn::Ect0);
                assert!(received.segment_size == 1200 || received.data.len() < 1200);
                got.extend_from_slice(&received.data);
            }
        }
        assert_eq!(got, contents);
        let nothing = receiver.receive(&mut buffers, &mut Vec::new()).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
    }

    /// Of many small messages one system call brings several, and none is lost or changes places.
    #[test]
    fn small_messages_arrive_together_and_in_order() {
        let (datapath, mut polls) = UdpDatapath::new(2).unwrap();
        let mut sender = open(&datapath, 0, ANY, None);
        let mut receiver = open(&datapath, 1, ANY, None);
        let path = PathAddress { remote: receiver.local_address(), local: None };
        // Of changing lengths, which the system does not put together.
        let messages: Vec<Vec<u8>> = (0..100).map(|number| vec![number; 40 + usize::from(number % 7) * 60]).collect();
        for message in &messages {
            sender
                .send(
                    &Transmit { path, ecn: Ecn::NotEct, len: message.len(), segment_size: None, mtu_probe: false },
                    message,
                )
                .unwrap();
        }
        let (mut buffers, mut got, mut reads) = (Buffers::new(), Vec::new(), 0);
        while got.len() < messages.len() {
            got.extend(
                receive(&mut polls[1], receiver.as_mut(), &mut buffers).into_iter().map(|received| received.data),
            );
            reads += 1;
        }
        assert_eq!(got, messages);
        assert!(reads <= 20, "{reads} reads");
    }

    /// Whether a poll hears of room at a socket.
    fn hears_of_room(poll: &mut Poll) -> bool {
        let mut events = mio::Events::with_capacity(8);
        poll.poll(&mut events, Some(Duration::from_millis(20))).unwrap();
        events.iter().any(mio::event::Event::is_writable)
    }

    #[test]
    fn room_is_told_of_to_who_waits_for_it_and_to_nobody_else() {
        let mut poll = Poll::new().unwrap();
        let (socket, token) = (mio::net::UdpSocket::bind(ANY).unwrap(), Token(0));
        let registry = Arc::new(poll.registry().try_clone().unwrap());
        let mut polled = Polled { socket, registry, token, waits_for_room: false };
        polled.registry.register(&mut polled.socket, token, Interest::READABLE).unwrap();
        assert!(!hears_of_room(&mut poll));
        for _ in 0..2 {
            let refused = polled.writing(|_| Err(io::ErrorKind::WouldBlock.into())).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
            assert!(hears_of_room(&mut poll));
            polled.writing(|_| Ok(())).unwrap();
            assert!(!hears_of_room(&mut poll));
        }
    }

    #[test]
    fn a_read_that_might_have_brought_more_says_that_nothing_is_left() {
        let (datapath, mut polls) = UdpDatapath::new(2).unwrap();
        let mut sender = open(&datapath, 0, ANY, None);
        let mut receiver = open(&datapath, 1, ANY, None);
        let path = PathAddress { remote: receiver.local_address(), local: None };
        let mut send = |len| {
            let transmit = Transmit { path, ecn: Ecn::NotEct, len, segment_size: None, mtu_probe: false };
            sender.send(&transmit, &vec![7; len]).unwrap();
        };
        let mut buffers = Buffers::new();
        // As many are asked for as those before let expect.
        send(100);
        receive(&mut polls[1], receiver.as_mut(), &mut buffers);
        for _ in 0..3 {
            send(100);
            polls[1].poll(&mut mio::Events::with_capacity(8), Some(Duration::from_secs(5))).unwrap();
            let mut got = Vec::new();
            let left = receiver.receive(&mut buffers, &mut got).unwrap();
            assert_eq!((got.len(), left == Left::Nothing), (1, quinn_udp::BATCH_SIZE > 1));
        }
    }

    #[test]
    fn an_address_is_shared_by_workers_but_not_with_others() {
        let (datapath, _polls) = UdpDatapath::new(3).unwrap();
        let first = open(&datapath, 0, ANY, Some(Share::First));
        let address = first.local_address();
        let second = open(&datapath, 1, address, Some(Share::Joins));
        assert_eq!(second.local_address(), address);
        for shared in [None, Some(Share::First)] {
            let refused = datapath.open(2, SocketId(2), Bind { address, shared }).err().unwrap();
            assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
        }
    }

    #[test]
    fn a_wake_ends_the_wait() {
        let (datapath, mut polls) = UdpDatapath::new(1).unwrap();
        datapath.wake(0);
        let mut events = mio::Events::with_capacity(8);
        polls[0].poll(&mut events, Some(Duration::from_secs(5))).unwrap();
        assert_eq!(events.iter().next().map(mio::event::Event::token), Some(WAKE));
    }
}
