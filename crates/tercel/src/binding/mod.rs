//! Bindings: UDP addresses, the sockets that workers have on them, and whom an arriving datagram is
//! for. Datagrams enter at [`sockets`], are matched by [`routes`] and [`cid_layout`], and where no
//! connection is found are answered, if at all, without state by [`stateless`].

mod batch;
pub(crate) mod cid_layout;
pub(crate) mod keyring;
pub(crate) mod listener;
pub(crate) mod ration;
pub(crate) mod routable;
pub(crate) mod routes;
pub(crate) mod sockets;
pub(crate) mod stateless;
pub(crate) mod token_uses;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::datapath::{Bind, Datapath, Share, SocketId};
use crate::status::Error;
use crate::worker::{Letter, Mailbox};

/// An address that sockets are bound to. When the last listener and connection let go of it, its
/// sockets are closed.
pub(crate) struct Binding {
    pub(crate) address: SocketAddr,
    sockets: Vec<(Arc<Mailbox<Letter>>, SocketId)>,
    /// The workers of the sockets, in the same order.
    workers: Vec<usize>,
}

impl Binding {
    /// A worker that has a socket here, another one for each `turn` in turns.
    pub(crate) fn worker(&self, turn: usize) -> Option<usize> {
        self.workers.get(turn.checked_rem(self.workers.len())?).copied()
    }

    /// How many workers have a socket here.
    pub(crate) fn workers(&self) -> usize {
        self.workers.len()
    }

    /// The socket of a worker.
    pub(crate) fn socket_of(&self, worker: usize) -> Option<SocketId> {
        let at = self.workers.iter().position(|of| *of == worker)?;
        self.sockets.get(at).map(|(_, id)| *id)
    }
}

impl Drop for Binding {
    fn drop(&mut self) {
        for (mailbox, id) in &self.sockets {
            // A worker that is gone has closed its sockets.
            let _ = mailbox.send(Letter::CloseSocket(*id));
        }
    }
}

/// The bindings of a registration.
pub(crate) struct Bindings {
    datapath: Arc<dyn Datapath>,
    mailboxes: Vec<Arc<Mailbox<Letter>>>,
    next_socket: AtomicU32,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    /// Those that can be shared, by address.
    bound: BTreeMap<SocketAddr, Weak<Binding>>,
    /// The socket that a worker's client connections share, for IPv4 and for IPv6.
    shared: BTreeMap<(usize, bool), Arc<Binding>>,
}

impl Bindings {
    pub(crate) fn new(datapath: Arc<dyn Datapath>, mailboxes: Vec<Arc<Mailbox<Letter>>>) -> Self {
        Self { datapath, mailboxes, next_socket: AtomicU32::new(0), table: Mutex::default() }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The binding of `address` by every worker (where the system lets several sockets share an
    /// address and spreads what arrives; else by the first), found or made.
    pub(crate) fn bound(&self, address: SocketAddr) -> Result<Arc<Binding>, Error> {
        let mut table = self.table();
        if let Some(binding) = table.bound.get(&address).and_then(Weak::upgrade) {
            return Ok(binding);
        }
        let workers: Vec<usize> = (0..if CAN_SHARE { self.mailboxes.len() } else { 1 }).collect();
        let binding = self.open(address, &workers)?;
        table.bound.retain(|_, binding| binding.strong_count() > 0);
        table.bound.insert(binding.address, Arc::downgrade(&binding));
        Ok(binding)
    }

    /// The socket that the client connections of `worker` to servers like `remote` share.
    pub(crate) fn shared(&self, worker: usize, remote: SocketAddr) -> Result<Arc<Binding>, Error> {
        let mut table = self.table();
        let key = (worker, remote.is_ipv6());
        if let Some(binding) = table.shared.get(&key) {
            return Ok(binding.clone());
        }
        let binding = self.own(worker, any_address(remote))?;
        table.shared.insert(key, binding.clone());
        Ok(binding)
    }

    /// A socket of `worker` alone.
    pub(crate) fn own(&self, worker: usize, address: SocketAddr) -> Result<Arc<Binding>, Error> {
        self.open(address, &[worker])
    }

    fn open(&self, mut address: SocketAddr, workers: &[usize]) -> Result<Arc<Binding>, Error> {
        let mut opened = Vec::new();
        for (index, worker) in workers.iter().enumerate() {
            let shared = match (workers.len(), index) {
                (1, _) => None,
                (_, 0) => Some(Share::First),
                _ => Some(Share::Joins),
            };
            let id = SocketId(self.next_socket.fetch_add(1, Ordering::Relaxed));
            let socket = self
                .datapath
                .open(*worker, id, Bind { address, shared })
                .map_err(|error| Error::io(format!("cannot bind UDP {address}"), error))?;
            address = socket.local_address();
            opened.push((*worker, id, socket));
        }
        let mut sockets = Vec::new();
        let mut letters = Vec::new();
        for (worker, id, socket) in opened {
            sockets.push((self.mailboxes[worker].clone(), id));
            letters.push((worker, id, socket));
        }
        let binding = Arc::new(Binding { address, sockets, workers: workers.to_vec() });
        for (worker, id, socket) in letters {
            let letter = Letter::OpenSocket { id, socket, binding: Arc::downgrade(&binding) };
            self.mailboxes[worker].send(letter).map_err(|_| Error::Closed)?;
        }
        Ok(binding)
    }

    /// Lets go of the sockets that are kept for client connections.
    pub(crate) fn release(&self) {
        let shared = std::mem::take(&mut self.table().shared);
        drop(shared);
    }
}

/// Whether several sockets can share an address.
const CAN_SHARE: bool = cfg!(unix);

/// The address to bind to for speaking to `remote` from anywhere.
pub(crate) fn any_address(remote: SocketAddr) -> SocketAddr {
    let any: IpAddr = match remote {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    SocketAddr::new(any, 0)
}

/// `remote` as it is to be given to a socket bound to `local`.
pub(crate) fn reachable(remote: SocketAddr, local: SocketAddr) -> Result<SocketAddr, Error> {
    match (remote.ip(), local.ip()) {
        (IpAddr::V4(ip), IpAddr::V6(_)) => Ok(SocketAddr::new(ip.to_ipv6_mapped().into(), remote.port())),
        (IpAddr::V6(_), IpAddr::V4(_)) => Err(Error::InvalidArgument("an IPv4 socket cannot reach an IPv6 address")),
        _ => Ok(remote),
    }
}
