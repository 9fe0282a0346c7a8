//! The network as the workers of one simulated host see it: sockets with queues, in front of the
//! network of the [`World`](crate::World).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;
use tercel::datapath::buffers::Buffers;
use tercel::datapath::{Bind, Datapath, Left, Received, Socket, SocketId};
use tercel_proto::connection::Transmit;
use tercel_proto::path::PathAddress;

use crate::network::Datagram;
use crate::random::Random;

/// The first port that is given to who asks for any.
const FIRST_PORT: u16 = 50_000;
/// How many bytes a socket's receive queue holds; what comes beyond is lost.
const QUEUE: usize = 1 << 20;
/// How many bytes one read gives at most.
const READ: usize = 32 << 10;

/// The sockets of a host. Clones are the same.
#[derive(Clone)]
pub(crate) struct Wires(Arc<Mutex<State>>);

struct State {
    ip: IpAddr,
    next_port: u16,
    sockets: BTreeMap<SocketId, Port>,
    out: Vec<Datagram>,
    woken: BTreeSet<usize>,
    /// The chance that a socket refuses a send for now, and those that did.
    blocks: f64,
    blocked: BTreeSet<SocketId>,
    segments: usize,
    random: Random,
}

struct Port {
    worker: usize,
    address: SocketAddr,
    queue: VecDeque<Datagram>,
    queued: usize,
}

impl Wires {
    /// The sockets of the host at `ip`, none yet. A send is refused for a moment with the chance
    /// `blocks`.
    pub(crate) fn new(ip: IpAddr, blocks: f64, mut random: Random) -> Self {
        let segments = random.one_of(&[1, 4, 10]);
        let state = State {
            ip,
            next_port: FIRST_PORT,
            sockets: BTreeMap::new(),
            out: Vec::new(),
            woken: BTreeSet::new(),
            blocks,
            blocked: BTreeSet::new(),
            segments,
            random,
        };
        Self(Arc::new(Mutex::new(state)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A datagram arrives at the host. Tells which worker's socket has it now, if any.
    pub(crate) fn deliver(&self, datagram: Datagram) -> Option<(usize, SocketId)> {
        let mut state = self.state();
        let at: Vec<SocketId> = state
            .sockets
            .iter()
            .filter(|(_, port)| port.address.port() == datagram.to.port())
            .map(|(id, _)| *id)
            .collect();
        // As systems do it: sockets that share an address get what one remote address sends always
        // at the same one.
        let spread = usize::from(datagram.from.port()) + last_byte(datagram.from.ip());
        let id = *at.get(spread.checked_rem(at.len())?)?;
        let port = state.sockets.get_mut(&id)?;
        if port.queued + datagram.data.len() > QUEUE {
            return None;
        }
        port.queued += datagram.data.len();
        port.queue.push_back(datagram);
        Some((port.worker, id))
    }

    /// What was sent since the last call.
    pub(crate) fn take_sent(&self) -> Vec<Datagram> {
        std::mem::take(&mut self.state().out)
    }

    /// The workers that were woken since the last call.
    pub(crate) fn take_woken(&self) -> BTreeSet<usize> {
        std::mem::take(&mut self.state().woken)
    }

    /// The sockets, with their workers, that refused a send since the last call and now take more.
    pub(crate) fn take_unblocked(&self) -> Vec<(usize, SocketId)> {
        let mut state = self.state();
        let blocked = std::mem::take(&mut state.blocked);
        blocked.into_iter().filter_map(|id| Some((state.sockets.get(&id)?.worker, id))).collect()
    }

    /// How many sockets are open.
    pub(crate) fn open_sockets(&self) -> usize {
        self.state().sockets.len()
    }
}

fn last_byte(ip: IpAddr) -> usize {
    match ip {
        IpAddr::V4(ip) => ip.octets()[3].into(),
        IpAddr::V6(ip) => ip.octets()[15].into(),
    }
}

impl Datapath for Wires {
    fn open(&self, worker: usize, id: SocketId, bind: Bind) -> io::Result<Box<dyn Socket>> {
        let mut state = self.state();
        let mut address = bind.address;
        if address.port() == 0 {
            address.set_port(state.next_port);
            state.next_port += 1;
        }
        let taken = state.sockets.values().any(|port| port.address.port() == address.port());
        if taken && !matches!(bind.shared, Some(tercel::datapath::Share::Joins)) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let port = Port { worker, address, queue: VecDeque::new(), queued: 0 };
        assert!(state.sockets.insert(id, port).is_none(), "{id:?} names two sockets");
        Ok(Box::new(Wire { wires: self.clone(), id, address }))
    }

    fn wake(&self, worker: usize) {
        self.state().woken.insert(worker);
    }
}

/// A socket.
struct Wire {
    wires: Wires,
    id: SocketId,
    address: SocketAddr,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.wires.state().sockets.remove(&self.id);
    }
}

impl Socket for Wire {
    fn local_address(&self) -> SocketAddr {
        self.address
    }

    fn max_segments(&self) -> usize {
        self.wires.state().segments
    }

    fn send(&mut self, transmit: &Transmit, contents: &[u8]) -> io::Result<()> {
        let mut state = self.wires.state();
        let chance = state.blocks;
        if state.random.chance(chance) {
            state.blocked.insert(self.id);
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let size = transmit.segment_size.unwrap_or(contents.len());
        assert!(contents.len() == transmit.len && (1..=9000).contains(&size), "a malformed send: {transmit:?}");
        assert!(contents.len().div_ceil(size) <= state.segments, "more segments than asked for: {transmit:?}");
        let from = SocketAddr::new(transmit.path.local.map_or(state.ip, |local| local.ip()), self.address.port());
        let datagrams = contents.chunks(size).map(|data| Datagram::new(from, transmit.path.remote, transmit.ecn, data));
        state.out.extend(datagrams);
        Ok(())
    }

    fn receive(&mut self, _: &mut Buffers, into: &mut Vec<Received>) -> io::Result<Left> {
        let mut state = self.wires.state();
        let join = state.random.chance(0.7);
        let port = state.sockets.get_mut(&self.id).ok_or(io::ErrorKind::NotConnected)?;
        let first = port.queue.pop_front().ok_or(io::ErrorKind::WouldBlock)?;
        let segment_size = first.data.len().max(1);
        let mut data = BytesMut::from(&first.data[..]);
        // Like GRO: equally large ones together, of which the last may be smaller.
        let fits = |next: &Datagram, len: usize| {
            (next.from, next.to, next.ecn) == (first.from, first.to, first.ecn)
                && (1..=segment_size).contains(&next.data.len())
                && len.is_multiple_of(segment_size)
                && len + next.data.len() <= READ
        };
        while join && port.queue.front().is_some_and(|next| fits(next, data.len())) {
            data.extend(port.queue.pop_front().map(|next| next.data).unwrap_or_default());
        }
        port.queued -= data.len();
        let path = PathAddress { remote: first.from, local: Some(first.to) };
        into.push(Received { path, ecn: first.ecn, data, segment_size });
        Ok(Left::Perhaps)
    }
}
