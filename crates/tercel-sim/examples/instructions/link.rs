//! A network in memory: two hosts with a socket each; what one sends lies at the other at once.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tercel::datapath::buffers::Buffers;
use tercel::datapath::{Bind, Datapath, Left, Received, Socket, SocketId};
use tercel_proto::connection::Transmit;
use tercel_proto::path::{Ecn, PathAddress};

/// As Linux does it.
const SEGMENTS: usize = 64;

/// What lies at each of the two hosts, and whether their workers were woken.
#[derive(Default)]
struct State {
    queues: [VecDeque<Batch>; 2],
    woken: [bool; 2],
    datagrams: [u64; 2],
    spare: Vec<Vec<u8>>,
}

struct Batch {
    from: SocketAddr,
    ecn: Ecn,
    contents: Vec<u8>,
    segment_size: usize,
}

/// One end of the link.
#[derive(Clone)]
pub(crate) struct End {
    state: Arc<Mutex<State>>,
    host: usize,
}

/// Both ends.
pub(crate) fn link() -> [End; 2] {
    let state = Arc::<Mutex<State>>::default();
    [0, 1].map(|host| End { state: state.clone(), host })
}

/// The address of a host's socket.
pub(crate) fn address(host: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, host as u8 + 1], 4433))
}

impl End {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether something lies here.
    pub(crate) fn has_something(&self) -> bool {
        !self.state().queues[self.host].is_empty()
    }

    /// Whether the worker here was woken since the last call.
    pub(crate) fn take_woken(&self) -> bool {
        std::mem::take(&mut self.state().woken[self.host])
    }

    /// How many datagrams were sent from here.
    pub(crate) fn datagrams(&self) -> u64 {
        self.state().datagrams[self.host]
    }

    /// What a system does when something is sent.
    #[inline(never)]
    fn not_counted_send(&self, transmit: &Transmit, contents: &[u8]) {
        let mut state = self.state();
        let segment_size = transmit.segment_size.unwrap_or(contents.len()).max(1);
        let mut copy = state.spare.pop().unwrap_or_default();
        copy.clear();
        copy.extend_from_slice(contents);
        let batch = Batch { from: address(self.host), ecn: transmit.ecn, contents: copy, segment_size };
        state.queues[1 - self.host].push_back(batch);
        state.datagrams[self.host] += contents.len().div_ceil(segment_size) as u64;
    }

    /// What a system does when something is received.
    #[inline(never)]
    fn not_counted_receive(&self, into: &mut [u8]) -> Option<(SocketAddr, Ecn, usize, usize)> {
        let mut state = self.state();
        let batch = state.queues[self.host].pop_front()?;
        let len = batch.contents.len();
        into[..len].copy_from_slice(&batch.contents);
        state.spare.push(batch.contents);
        Some((batch.from, batch.ecn, len, batch.segment_size))
    }
}

impl Datapath for End {
    fn open(&self, _: usize, _: SocketId, _: Bind) -> io::Result<Box<dyn Socket>> {
        Ok(Box::new(self.clone()))
    }

    fn wake(&self, _: usize) {
        self.state().woken[self.host] = true;
    }
}

impl Socket for End {
    fn local_address(&self) -> SocketAddr {
        address(self.host)
    }

    fn max_segments(&self) -> usize {
        SEGMENTS
    }

    fn send(&mut self, transmit: &Transmit, contents: &[u8]) -> io::Result<()> {
        self.not_counted_send(transmit, contents);
        Ok(())
    }

    fn receive(&mut self, buffers: &mut Buffers, into: &mut Vec<Received>) -> io::Result<Left> {
        let got = buffers.scratch(1).next().and_then(|place| self.not_counted_receive(place));
        let (remote, ecn, len, segment_size) = got.ok_or(io::ErrorKind::WouldBlock)?;
        let path = PathAddress { remote, local: Some(address(self.host)) };
        into.push(Received { path, ecn, data: buffers.keep(0, len), segment_size });
        Ok(Left::Perhaps)
    }
}
