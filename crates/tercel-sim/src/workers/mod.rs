//! Hosts that run the whole runtime: workers in virtual time, driven by [`Worker::turn`] over sockets
//! that lead into the simulated network, with applications on the callback face.
//!
//! Nobody turns a worker that was not woken, has nothing to read and whose time has not come: a lost
//! wake-up shows. [`catalogue`] makes the runs, [`run`] judges them.

pub mod catalogue;
mod flow;
mod judge;
mod player;
pub mod storm;
mod ways;
pub(crate) mod wires;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use judge::{Report, run};
pub use player::{DONE, Script};
use tercel::datapath::SocketId;
use tercel::{
    Configuration, Connect, Error, Listen, Listener, ListenerEvent, NewConnection, Park, Registration,
    RegistrationConfig, Role, SocketChoice, Time, Worker,
};

use self::player::{Players, connection_handler};
use self::wires::Wires;
use crate::crypto;
use crate::network::Datagram;
use crate::random::Random;
use crate::world::Host;

/// The codes of applications that close before all is done.
pub const CLIENT_LEAVES: u32 = 0x51;
/// The codes of applications that close before all is done.
pub const SERVER_LEAVES: u32 = 0x52;

/// So many rounds of its workers may one turn of a host take.
const MAX_ROUNDS: u32 = 10_000;

/// How an application leaves a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// With a word to the peer.
    Close,
    /// Without one.
    Silently,
    /// By dropping its handle.
    Drop,
}

/// What an application does that no event brings about.
#[derive(Debug, Clone)]
pub enum Deed {
    /// Connects to the server.
    Connect(Script),
    /// Begins to listen.
    Listen,
    /// Stops listening.
    StopListening,
    /// Leaves the connection of this number, if there is one and it is not over.
    Leave(usize, Leave),
    /// Moves the connection of this number to another socket.
    Rebind(usize),
    /// Closes everything.
    Shutdown,
    /// Drops the registration.
    Quit,
}

/// What a host begins with.
#[derive(Debug)]
pub struct MachineSetup {
    /// How the registration runs.
    pub registration: RegistrationConfig,
    /// The host's settings of connections.
    pub transport: tercel_proto::config::TransportConfig,
    /// What it does with each connection that it accepts.
    pub serves: Script,
    /// Whether some of its connections have a socket of their own.
    pub own_sockets: bool,
    /// The chance that a socket refuses a send for a moment.
    pub blocks: f64,
    /// What it does, and how long after the start.
    pub deeds: Vec<(std::time::Duration, Deed)>,
}

/// A worker, and when it wants its next turn.
struct Post {
    worker: Worker,
    park: Park,
    /// Whether it was woken, or a socket of its is ready.
    called: bool,
}

/// A host with a registration of its own.
pub struct Machine {
    address: SocketAddr,
    server: SocketAddr,
    registration: Option<Registration>,
    posts: Vec<Post>,
    wires: Wires,
    players: player::Shared,
    configuration: Configuration,
    serves: Script,
    own_sockets: bool,
    listeners: Vec<Listener>,
    agenda: BTreeMap<(Time, usize), Deed>,
}

impl Machine {
    /// The host at `address`, whose connections go to `server`.
    ///
    /// # Panics
    /// If the registration does not begin.
    pub fn new(
        start: Time,
        address: SocketAddr,
        server: SocketAddr,
        setup: MachineSetup,
        shares: crypto::KeyShares,
        mut random: Random,
    ) -> Self {
        let wires = Wires::new(address.ip(), setup.blocks, random.fork());
        let (registration, workers) = Registration::manual(setup.registration, Arc::new(wires.clone()), random.array())
            .unwrap_or_else(|error| panic!("the registration does not begin: {error}"));
        let posts = workers.into_iter().map(|worker| Post { worker, park: Park::Now, called: true }).collect();
        let players = Players {
            now: start,
            random: random.fork(),
            all: Vec::new(),
            leaves: false,
            listeners: 0,
            stopped: BTreeSet::new(),
            later: BTreeMap::new(),
            laters: 0,
            shedding: Vec::new(),
        };
        let (client, server_tls) = (crypto::client(shares), crypto::server(shares));
        let deeds = setup.deeds.into_iter().enumerate();
        Self {
            address,
            server,
            registration: Some(registration),
            posts,
            wires,
            players: Arc::new(Mutex::new(players)),
            configuration: Configuration::from_tls(Some(client), Some(server_tls), Arc::new(setup.transport)),
            serves: setup.serves,
            own_sockets: setup.own_sockets,
            listeners: Vec::new(),
            agenda: deeds.map(|(number, (after, deed))| ((start + after, number), deed)).collect(),
        }
    }

    /// # Panics
    /// If a handler saw that a rule was broken.
    fn players(&self) -> MutexGuard<'_, Players> {
        self.players.lock().unwrap_or_else(|_| panic!("a handler has panicked, see above"))
    }

    fn perform(&mut self, deed: Deed) {
        match deed {
            Deed::Connect(script) => self.connect(script),
            Deed::Listen => self.listen(),
            Deed::StopListening => drop(self.listeners.pop()),
            Deed::Leave(index, how) => self.leave(index, how),
            Deed::Rebind(index) => {
                let handle = self.players().all.get(index).and_then(|player| player.handle.clone());
                if let Some(connection) = handle {
                    // Refused if it is over.
                    let _ = connection.rebind(SocketAddr::new([0; 4].into(), 0));
                }
            }
            Deed::Shutdown => {
                let code = self.leaving_code();
                self.players().leave();
                self.registration.as_ref().inspect(|registration| registration.shutdown(code.into()));
            }
            Deed::Quit => {
                self.players().leave();
                self.listeners.clear();
                self.registration = None;
            }
        }
    }

    fn leaving_code(&self) -> u32 {
        if self.address == self.server { SERVER_LEAVES } else { CLIENT_LEAVES }
    }

    fn connect(&mut self, script: Script) {
        let Some(registration) = &self.registration else { return };
        let early = script.early;
        let index = self.players().begin(Role::Client, script);
        let mut connect = Connect::new(self.server, crypto::NAME);
        if self.own_sockets && self.players().random.chance(0.3) {
            connect.socket = SocketChoice::Own;
        }
        let handler = connection_handler(self.players.clone(), index);
        let connection = registration
            .connect(&self.configuration, connect, handler)
            .unwrap_or_else(|error| panic!("connecting fails: {error}"));
        let mut players = self.players();
        let player = &mut players.all[index];
        if early {
            player.open_streams(&self.players, index, &connection);
        }
        player.handle = Some(connection);
    }

    fn listen(&mut self) {
        let Some(registration) = &self.registration else { return };
        let (players, configuration, serves) = (self.players.clone(), self.configuration.clone(), self.serves.clone());
        let number = self.players().listeners;
        let handler = move |_: &Listener, event: ListenerEvent| match event {
            ListenerEvent::NewConnection(new) => accept(&players, &configuration, &serves, number, new),
            ListenerEvent::StopComplete => {
                let mut players = players.lock().unwrap_or_else(PoisonError::into_inner);
                assert!(players.stopped.insert(number), "a listener stops twice");
            }
            ListenerEvent::LoadShedding { active } => {
                players.lock().unwrap_or_else(PoisonError::into_inner).shedding.push(active);
            }
            event => panic!("a listener hears {event:?}"),
        };
        let listener = registration.listen(Listen::new(self.server, [crypto::ALPN]), handler);
        self.listeners.push(listener.unwrap_or_else(|error| panic!("listening fails: {error}")));
        self.players().listeners += 1;
    }

    fn leave(&mut self, index: usize, how: Leave) {
        let code = self.leaving_code();
        let mut players = self.players();
        let Some(player) = players.all.get_mut(index).filter(|player| player.ended.is_none()) else { return };
        let Some(connection) = player.handle.clone() else { return };
        player.closed_here = true;
        match how {
            Leave::Close => connection.close(code.into(), tercel::Bytes::from_static(b"left")),
            Leave::Silently => connection.close_silently(),
            Leave::Drop => player.handle = None,
        }
    }

    /// What its applications have put off until now.
    fn act_later(&mut self, now: Time) {
        loop {
            let mut players = self.players();
            let Some(due) = players.later.first_entry().filter(|entry| entry.key().0 <= now) else { return };
            let act = due.remove();
            // Not under the lock, which handlers take.
            drop(players);
            act();
        }
    }

    /// Whether it has nothing more in mind and all its connections are over.
    pub fn is_over(&self) -> bool {
        self.agenda.is_empty() && self.players().all.iter().all(|player| player.ended.is_some())
    }

    /// Stops listening and drops the registration: everything ends with the next turn.
    pub fn quit(&mut self) {
        self.perform(Deed::Quit);
    }

    /// # Panics
    /// If anything is left after [`quit`](Self::quit) and a turn.
    pub fn check_end(&self) {
        assert!(self.posts.iter().all(|post| post.park == Park::Done), "a worker goes on");
        assert_eq!(self.wires.open_sockets(), 0, "sockets are left");
        let players = self.players();
        assert_eq!(players.stopped.len(), players.listeners, "listeners have not stopped");
    }

    fn post(&mut self, (worker, socket): (usize, SocketId), tell: impl FnOnce(&mut Worker, SocketId)) {
        if let Some(post) = self.posts.get_mut(worker) {
            tell(&mut post.worker, socket);
            post.called = true;
        }
    }
}

/// A client is there.
fn accept(
    players: &player::Shared,
    configuration: &Configuration,
    script: &Script,
    listener: usize,
    new: NewConnection,
) {
    let index = {
        let mut players = players.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(!players.stopped.contains(&listener), "a listener that has stopped takes a connection in");
        players.begin(Role::Server, script.clone())
    };
    let accepted = new.accept(configuration, connection_handler(players.clone(), index));
    let mut players = players.lock().unwrap_or_else(PoisonError::into_inner);
    match accepted {
        Ok(connection) => players.all[index].handle = Some(connection),
        // The client has left meanwhile, and the handler hears nothing.
        Err(Error::Closed | Error::ConnectionClosed(_)) => drop(players.all.pop()),
        Err(error) => panic!("accepting fails: {error}"),
    }
}

impl Host for Machine {
    fn receive(&mut self, _: Time, datagram: Datagram) {
        if let Some(at) = self.wires.deliver(datagram) {
            self.post(at, Worker::readable);
        }
    }

    fn turn(&mut self, now: Time, out: &mut Vec<Datagram>) -> Option<Time> {
        self.players().now = now;
        while let Some(entry) = self.agenda.first_entry().filter(|entry| entry.key().0 <= now) {
            let deed = entry.remove();
            self.perform(deed);
        }
        self.act_later(now);
        for round in 0.. {
            assert!(round < MAX_ROUNDS, "spins: the workers come to no rest");
            for worker in self.wires.take_woken() {
                self.posts[worker].called = true;
            }
            let mut rests = true;
            for post in &mut self.posts {
                let due = match post.park {
                    Park::Now => true,
                    Park::Until(at) => post.called || at <= now,
                    Park::Idle => post.called,
                    Park::Done => false,
                };
                if due {
                    post.called = false;
                    post.park = post.worker.turn(now);
                    rests = false;
                }
            }
            for at in self.wires.take_unblocked() {
                self.post(at, Worker::writable);
                rests = false;
            }
            if rests {
                break;
            }
        }
        out.extend(self.wires.take_sent());
        drop(self.players());
        let parks = self.posts.iter().filter_map(|post| match post.park {
            Park::Until(at) => Some(at),
            _ => None,
        });
        let later = self.players().later.keys().next().map(|(at, _)| *at);
        parks.chain(self.agenda.keys().next().map(|(at, _)| *at)).chain(later).min()
    }
}
