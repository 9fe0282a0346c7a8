//! Who is who: clients at the fronts, and for each the socket from which its datagrams reach the server.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use crate::Toward;
use crate::options::{Options, Rebind};
use crate::socket::{Arrival, Datagram, Socket};

/// A way through the NAT.
#[derive(Debug, Clone, Copy)]
pub struct Way {
    /// The client's address.
    pub client: SocketAddr,
    /// The number of the front that it talks to.
    pub front: usize,
    /// The number of the socket from which the server hears it. Paths of QUIC, as the server sees them,
    /// are these.
    pub back: usize,
}

/// The sockets and who uses them.
pub struct Nat {
    server: SocketAddr,
    /// The fronts first, then the backs as they come.
    sockets: Vec<Arc<Socket>>,
    fronts: usize,
    /// What the backs belong to; none of those that were forgotten.
    backs: BTreeMap<usize, (SocketAddr, usize)>,
    current: BTreeMap<(SocketAddr, usize), usize>,
    rebind: Option<(Rebind, Duration, Duration)>,
    rebindings: u64,
    hosts: u8,
    tell: UnboundedSender<Arrival>,
}

impl Nat {
    /// Opens the fronts.
    ///
    /// # Errors
    /// An address is not to be had.
    pub fn open(options: &Options, tell: UnboundedSender<Arrival>) -> std::io::Result<Self> {
        let sockets: Vec<_> = (options.fronts.iter().enumerate())
            .map(|(number, address)| Socket::open(number, *address, tell.clone()))
            .collect::<Result<_, _>>()?;
        let (fronts, server) = (sockets.len(), options.server);
        let (backs, current) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { server, sockets, fronts, backs, current, rebind: options.rebind, rebindings: 0, hosts: 1, tell })
    }

    /// Where clients connect to.
    pub fn fronts(&self) -> Vec<SocketAddr> {
        self.sockets[..self.fronts].iter().filter_map(|socket| socket.address().ok()).collect()
    }

    /// How often clients were forgotten.
    pub const fn rebindings(&self) -> u64 {
        self.rebindings
    }

    /// The way of a datagram that has come so long after the first one of all; none if it was for a client that
    /// is forgotten.
    pub fn way(&mut self, arrival: &Arrival, age: Duration) -> Option<(Toward, Way)> {
        if arrival.socket >= self.fronts {
            let (client, front) = *self.backs.get(&arrival.socket)?;
            return Some((Toward::Client, Way { client, front, back: arrival.socket }));
        }
        if let Some((what, at, then)) = &mut self.rebind
            && *at <= age
        {
            *at = age + *then;
            self.hosts += u8::from(*what == Rebind::Address);
            self.rebindings += 1;
            self.current.clear();
            self.backs.clear();
        }
        let (client, front) = (arrival.from, arrival.socket);
        let back = match self.current.get(&(client, front)) {
            Some(back) => *back,
            None => self.map(client, front)?,
        };
        Some((Toward::Server, Way { client, front, back }))
    }

    fn map(&mut self, client: SocketAddr, front: usize) -> Option<usize> {
        let host = match self.server.ip() {
            IpAddr::V4(_) => IpAddr::from([127, 0, 0, self.hosts]),
            v6 @ IpAddr::V6(_) => v6,
        };
        let back = self.sockets.len();
        self.sockets.push(Socket::open(back, (host, 0).into(), self.tell.clone()).ok()?);
        self.backs.insert(back, (client, front));
        self.current.insert((client, front), back);
        Some(back)
    }

    /// Sends it on. Not to a client that is forgotten.
    pub fn deliver(&self, datagram: &Datagram, toward: Toward, way: &Way) -> bool {
        let known = toward == Toward::Server || self.backs.contains_key(&way.back);
        match toward {
            _ if !known => {}
            Toward::Server => self.sockets[way.back].send(datagram, self.server),
            Toward::Client => self.sockets[way.front].send(datagram, way.client),
        }
        known
    }
}
