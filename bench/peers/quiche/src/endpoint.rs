//! Connections that share a socket: whose a datagram is, whose turn it is, when a timer runs out.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::net::SocketAddr;
use std::time::Instant;

use quiche::{Config, Connection, ConnectionId, Header, RecvInfo, Type};
use tercel_bench_work::polled::Messages;
use tercel_bench_work::wire::Wire;
use tercel_bench_work::{Result, settings};

/// The length of our connection IDs.
const ID: usize = 16;

pub struct Endpoint {
    wire: Wire,
    pub table: Table,
    timers: BinaryHeap<Reverse<(Instant, usize)>>,
}

/// The connections.
pub struct Table {
    config: Config,
    is_server: bool,
    pub connections: BTreeMap<usize, One>,
    ids: HashMap<Vec<u8>, usize>,
    /// Those that something has happened to, each once.
    dirty: Vec<usize>,
    count: usize,
}

/// A connection.
pub struct One {
    pub connection: Connection,
    pub messages: Messages,
    /// How many requests a client has sent.
    pub asked: u64,
    ids: Vec<Vec<u8>>,
    is_dirty: bool,
    /// When it is looked at next.
    due: Option<Instant>,
}

fn connection_id() -> ConnectionId<'static> {
    ConnectionId::from_vec(fastrand::u128(..).to_ne_bytes().to_vec())
}

impl Table {
    fn insert(&mut self, connection: Connection, ids: Vec<Vec<u8>>) -> usize {
        let number = self.count;
        self.count += 1;
        self.ids.extend(ids.iter().map(|id| (id.clone(), number)));
        let one = One { connection, messages: Messages::default(), asked: 0, ids, is_dirty: false, due: None };
        self.connections.insert(number, one);
        self.touch(number);
        number
    }

    /// Something has happened to it: it will send.
    pub fn touch(&mut self, number: usize) {
        if let Some(one) = self.connections.get_mut(&number)
            && !one.is_dirty
        {
            one.is_dirty = true;
            self.dirty.push(number);
        }
    }

    /// A datagram has come.
    fn take(&mut self, data: &mut [u8], info: RecvInfo) {
        if let Some(number) = self.whose(data, info)
            && let Some(one) = self.connections.get_mut(&number)
        {
            // What is not understood is dropped.
            let _ = one.connection.recv(data, info);
            self.touch(number);
        }
    }

    /// Whose datagram it is; a new client's if it begins a connection.
    fn whose(&mut self, data: &mut [u8], info: RecvInfo) -> Option<usize> {
        let header = Header::from_slice(data, ID).ok()?;
        if let Some(number) = self.ids.get(&*header.dcid) {
            return Some(*number);
        }
        if !self.is_server || header.ty != Type::Initial {
            return None;
        }
        let id = connection_id();
        let connection = quiche::accept(&id, None, info.to, info.from, &mut self.config).ok()?;
        Some(self.insert(connection, vec![id.to_vec(), header.dcid.to_vec()]))
    }

    fn remove(&mut self, number: usize) {
        for id in self.connections.remove(&number).into_iter().flat_map(|one| one.ids) {
            self.ids.remove(&id);
        }
    }
}

impl Endpoint {
    pub fn new(config: Config, is_server: bool) -> Result<Self> {
        let (connections, ids, dirty) = (BTreeMap::new(), HashMap::new(), Vec::new());
        let table = Table { config, is_server, connections, ids, dirty, count: 0 };
        Ok(Self { wire: Wire::open()?, table, timers: BinaryHeap::new() })
    }

    pub fn local(&self) -> SocketAddr {
        self.wire.local
    }

    pub fn connect(&mut self, to: SocketAddr, session: Option<&[u8]>) -> Result<usize> {
        let (id, config) = (connection_id(), &mut self.table.config);
        let mut connection = quiche::connect(Some(settings::SERVER_NAME), &id, self.wire.local, to, config)?;
        if let Some(session) = session {
            connection.set_session(session)?;
        }
        Ok(self.table.insert(connection, vec![id.to_vec()]))
    }

    /// Waits for datagrams or timers, but not beyond `until`, and takes what came. Those that it came to.
    pub fn receive(&mut self, until: Option<Instant>) -> Result<Vec<usize>> {
        let Self { wire, table, timers } = self;
        let timer = timers.peek().map(|Reverse((at, _))| *at);
        let until = match table.dirty.is_empty() {
            true => timer.into_iter().chain(until).min(),
            false => Some(Instant::now()),
        };
        let local = wire.local;
        wire.receive(until, |data, from| table.take(data, RecvInfo { from, to: local }))?;
        let now = Instant::now();
        while let Some(Reverse((at, number))) = timers.peek().copied()
            && at <= now
        {
            timers.pop();
            if let Some(one) = table.connections.get_mut(&number)
                && one.due == Some(at)
            {
                one.due = None;
                if one.connection.timeout_instant().is_some_and(|timeout| timeout <= now) {
                    one.connection.on_timeout();
                }
                table.touch(number);
            }
        }
        Ok(table.dirty.clone())
    }

    /// Those that something has happened to send what they have to.
    pub fn send(&mut self) {
        for number in std::mem::take(&mut self.table.dirty) {
            let Some(one) = self.table.connections.get_mut(&number) else { continue };
            one.is_dirty = false;
            loop {
                match one.connection.send(self.wire.room()) {
                    Ok((len, info)) => self.wire.push(len, info.to),
                    Err(_) => {
                        self.wire.drop_room();
                        break;
                    }
                }
            }
            // What leaves in one system call is one connection's: that all have the same peer is so in a bench only.
            self.wire.flush();
            if one.connection.is_closed() {
                self.table.remove(number);
            } else if let Some(timeout) = one.connection.timeout_instant()
                && one.due.is_none_or(|due| timeout < due)
            {
                one.due = Some(timeout);
                self.timers.push(Reverse((timeout, number)));
            }
        }
    }
}
