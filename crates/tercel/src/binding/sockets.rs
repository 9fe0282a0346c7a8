//! The sockets of a worker, with what waits for them.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use tercel_proto::connection::Transmit;
use tercel_proto::path::PathAddress;

use super::Binding;
use super::batch::Batch;
use super::listener::ListenerShared;
use crate::datapath::buffers::Buffers;
use crate::datapath::{Left, Received, Socket, SocketId};

/// What is sent leaves when there are so many bytes, or five datagrams, so that the peer can begin with them; next when there
/// are twice as many, and so on: what there is much of leaves in long batches. So it is in each turn of a connection, and of the worker.
pub(crate) const FIRST_BATCH: usize = 4 << 10;

/// One socket.
struct Slot {
    socket: Box<dyn Socket>,
    binding: Weak<Binding>,
    listeners: Vec<Arc<ListenerShared>>,
    readable: bool,
    /// Batches that the socket did not take; nothing more is made until it does.
    stalled: VecDeque<(Transmit, Vec<u8>)>,
    /// The connections that wait for it to take more.
    waiting: Vec<u32>,
}

/// What became of an attempt to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// Something was made, and leaves in a batch or is kept for later.
    Batch,
    /// There was nothing to send.
    Nothing,
    /// The socket takes nothing for now, or is not there yet.
    Blocked,
}

/// The sockets of a worker.
#[derive(Default)]
pub(crate) struct Sockets {
    slots: BTreeMap<SocketId, Slot>,
    /// Connections that wait for a socket that is still on its way here.
    orphans: Vec<u32>,
    buffers: Buffers,
    batch: Batch,
    /// How long the batch may get before it leaves.
    enough: usize,
    /// Connections that made what cannot be sent on its path, as the system says.
    failed: Vec<(u32, PathAddress)>,
}

impl Sockets {
    /// A turn begins.
    pub(crate) fn begin(&mut self) {
        self.enough = FIRST_BATCH;
        self.buffers.rewind();
    }

    /// Adds a socket; gives the connections that may have waited for it.
    pub(crate) fn add(&mut self, id: SocketId, socket: Box<dyn Socket>, binding: Weak<Binding>) -> Vec<u32> {
        // What came before the socket was here has been announced to nobody.
        let slot = Slot {
            socket,
            binding,
            listeners: Vec::new(),
            readable: true,
            stalled: VecDeque::new(),
            waiting: Vec::new(),
        };
        self.slots.insert(id, slot);
        std::mem::take(&mut self.orphans)
    }

    pub(crate) fn remove(&mut self, id: SocketId) {
        self.slots.remove(&id);
    }

    pub(crate) fn clear(&mut self) {
        self.slots.clear();
    }

    pub(crate) fn add_listener(&mut self, id: SocketId, listener: Arc<ListenerShared>) {
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.listeners.push(listener);
        }
    }

    /// `false` if it was not there.
    pub(crate) fn remove_listener(&mut self, id: SocketId, listener: &Arc<ListenerShared>) -> bool {
        let Some(slot) = self.slots.get_mut(&id) else { return false };
        let before = slot.listeners.len();
        slot.listeners.retain(|other| !Arc::ptr_eq(other, listener));
        slot.listeners.len() < before
    }

    /// What a socket is bound to.
    pub(crate) fn address(&self, id: SocketId) -> Option<SocketAddr> {
        self.slots.get(&id).map(|slot| slot.socket.local_address())
    }

    /// What every socket is bound to.
    #[cfg(test)]
    pub(crate) fn all_addresses(&self) -> Vec<SocketAddr> {
        self.slots.values().map(|slot| slot.socket.local_address()).collect()
    }

    /// The socket here that is bound to `address`.
    pub(crate) fn at(&self, address: SocketAddr) -> Option<SocketId> {
        let is_at = |slot: &Slot| slot.socket.local_address() == address;
        self.slots.iter().find(|(_, slot)| is_at(slot)).map(|(id, _)| *id)
    }

    /// Whether a socket that was opened is here already. If not, the connection `key` gets a turn when it is.
    pub(crate) fn is_here(&mut self, id: SocketId, key: u32) -> bool {
        let is_here = self.slots.contains_key(&id);
        if !is_here {
            self.orphans.push(key);
        }
        is_here
    }

    /// The socket here from which datagrams leave with the source address `local`, and its binding.
    pub(crate) fn leaving_from(&self, local: SocketAddr) -> Option<(SocketId, Arc<Binding>)> {
        let id = self.id_of(local)?;
        Some((id, self.binding(id)?))
    }

    fn id_of(&self, local: SocketAddr) -> Option<SocketId> {
        self.slots.iter().find(|(_, slot)| leaves_from(slot, local)).map(|(id, _)| *id)
    }

    /// Every listener.
    pub(crate) fn all_listeners(&self) -> Vec<Arc<ListenerShared>> {
        self.slots.values().flat_map(|slot| slot.listeners.iter().cloned()).collect()
    }

    /// Takes every listener out, each once.
    pub(crate) fn take_listeners(&mut self) -> Vec<Arc<ListenerShared>> {
        self.slots.values_mut().flat_map(|slot| std::mem::take(&mut slot.listeners)).collect()
    }

    /// The listeners on a socket, first come first.
    pub(crate) fn listeners(&self, id: SocketId) -> &[Arc<ListenerShared>] {
        self.slots.get(&id).map_or(&[], |slot| &slot.listeners)
    }

    pub(crate) fn binding(&self, id: SocketId) -> Option<Arc<Binding>> {
        self.slots.get(&id)?.binding.upgrade()
    }

    pub(crate) fn readable(&mut self, id: SocketId) {
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.readable = true;
        }
    }

    /// The sockets on which there may be something.
    pub(crate) fn all_readable(&self, into: &mut Vec<SocketId>) {
        into.extend(self.slots.iter().filter(|(_, slot)| slot.readable).map(|(id, _)| *id));
    }

    pub(crate) fn any_readable(&self) -> bool {
        self.slots.values().any(|slot| slot.readable)
    }

    /// One system call's worth, to the end of `into`. `false` if there is no more to be had now.
    pub(crate) fn receive(&mut self, id: SocketId, into: &mut Vec<Received>) -> bool {
        let Some(slot) = self.slots.get_mut(&id) else { return false };
        let result = slot.socket.receive(&mut self.buffers, into);
        slot.readable = match &result {
            Ok(left) => *left == Left::Perhaps,
            // Other errors tell of datagrams sent earlier (ICMP): there may be more to read.
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        };
        matches!(result, Ok(Left::Perhaps))
    }

    /// There may be room again: sends what was kept and gives the connections that wait.
    pub(crate) fn writable(&mut self, id: SocketId) -> Vec<u32> {
        let Some(slot) = self.slots.get_mut(&id) else { return Vec::new() };
        while let Some((transmit, contents)) = slot.stalled.pop_front() {
            if outcome(slot.socket.send(&transmit, &contents)) == Outcome::Blocked {
                slot.stalled.push_front((transmit, contents));
                return Vec::new();
            }
        }
        std::mem::take(&mut slot.waiting)
    }

    /// Has `make` write at most so many datagrams, of up to `largest` bytes, for the connection `key`. They leave in a batch
    /// with those of others, when that is long enough or takes no more, or [`leave`](Self::leave) is called.
    pub(crate) fn transmit(
        &mut self,
        id: SocketId,
        key: u32,
        largest: usize,
        make: impl FnOnce(usize, &mut [u8]) -> Option<Transmit>,
    ) -> Sent {
        let Some(slot) = self.slots.get_mut(&id) else {
            self.orphans.push(key);
            return Sent::Blocked;
        };
        if !slot.stalled.is_empty() {
            if !slot.waiting.contains(&key) {
                slot.waiting.push(key);
            }
            return Sent::Blocked;
        }
        let room = self.batch.room(slot.socket.max_segments(), largest);
        if room == 0 {
            self.leave();
            return self.transmit(id, key, largest, make);
        }
        let Some(transmit) = make(room, self.batch.end()) else { return Sent::Nothing };
        // What is for another path than the active one may leave from another socket.
        let elsewhere = transmit.path.local.filter(|local| !leaves_from(slot, *local));
        let from = elsewhere.and_then(|local| self.id_of(local)).unwrap_or(id);
        if !self.batch.takes(from, &transmit) {
            self.leave();
        }
        self.batch.add(from, key, transmit);
        if self.batch.work() >= self.enough {
            self.enough *= 2;
            self.leave();
        }
        Sent::Batch
    }

    /// Sends what is in the making.
    #[inline]
    pub(crate) fn leave(&mut self) {
        if !self.batch.is_empty() {
            self.send();
        }
    }

    fn send(&mut self) {
        let Some(batch) = self.batch.take() else { return };
        let Some(slot) = self.slots.get_mut(&batch.from) else { return };
        let (path, mut transmit) = (batch.transmit.path, batch.transmit);
        // A client leaves the choice of its address to the system, as its socket does.
        transmit.path.local = path.local.filter(|local| !local.ip().is_unspecified());
        let result = match slot.stalled.is_empty() {
            true => outcome(slot.socket.send(&transmit, batch.contents)),
            false => Outcome::Blocked,
        };
        match result {
            Outcome::Sent => {}
            Outcome::Blocked => slot.stalled.push_back((transmit, batch.contents.to_vec())),
            Outcome::Cut => self.failed.extend(batch.makers.map(|key| (key, path))),
        }
    }

    /// A connection that made what could not be sent on this path.
    pub(crate) fn next_failed(&mut self) -> Option<(u32, PathAddress)> {
        self.failed.pop()
    }

    /// Sends an answer that no connection stands behind, if it can be sent at once.
    pub(crate) fn answer(&mut self, id: SocketId, transmit: &Transmit, contents: &[u8]) {
        if let Some(slot) = self.slots.get_mut(&id).filter(|slot| slot.stalled.is_empty()) {
            // Lost like any datagram if it is not taken.
            let _ = slot.socket.send(transmit, contents);
        }
    }
}

fn leaves_from(slot: &Slot, local: SocketAddr) -> bool {
    let bound = slot.socket.local_address();
    // A socket of IPv6 may serve IPv4 as well.
    let is_any = bound.ip().is_unspecified() && (bound.is_ipv6() || local.is_ipv4());
    bound.port() == local.port() && (bound.ip() == local.ip() || is_any)
}

/// What the system says of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It is on its way, or as good as lost there; recovery will find out.
    Sent,
    /// Not now.
    Blocked,
    /// Not by this socket, or not to this address.
    Cut,
}

fn outcome(result: io::Result<()>) -> Outcome {
    use io::ErrorKind::{
        AddrNotAvailable, HostUnreachable, InvalidInput, NetworkDown, NetworkUnreachable, PermissionDenied, WouldBlock,
    };
    let Err(error) = result else { return Outcome::Sent };
    match error.kind() {
        WouldBlock => Outcome::Blocked,
        // Linux says of a source address that is gone that it is invalid.
        AddrNotAvailable | HostUnreachable | InvalidInput | NetworkDown | NetworkUnreachable | PermissionDenied => {
            tracing::debug!(%error, "cannot be sent");
            Outcome::Cut
        }
        _ => {
            tracing::debug!(%error, "not sent");
            Outcome::Sent
        }
    }
}

#[cfg(test)]
mod tests;
