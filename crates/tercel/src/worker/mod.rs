//! A worker: connections, their sockets and their timers, driven by calls to [`Worker::turn`].

pub(crate) mod current;
mod dispatch;
mod driver;
mod floor;
mod load;
mod mailbox;
mod patience;
mod ready;
#[cfg(test)]
mod tests;
pub(crate) mod thread;
mod timer_wheel;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use tercel_proto::config::TransportConfig;
use tercel_proto::connection as proto;
use tercel_proto::connection::{ClientStart, Datagram, RouteChange, ServerStart};
use tercel_proto::entropy::Entropy;
use tercel_proto::error::{CloseReason, Violation};
use tercel_proto::time::Time;
use tercel_wire::{ApplicationErrorCode, Role, TransportErrorCode};
use tracing::Span;

pub use self::driver::Driver;
pub(crate) use self::floor::{Floor, Way};
use self::load::Load;
pub(crate) use self::load::{Charge, Demand};
pub(crate) use self::mailbox::Mailbox;
#[cfg(all(unix, feature = "tokio-tasks"))]
pub(crate) use self::patience::Patience;
use crate::binding::Binding;
use crate::binding::listener::ListenerShared;
use crate::binding::ration::Rations;
pub(crate) use crate::binding::sockets::{FIRST_BATCH, Sent};
use crate::binding::stateless::FirstFlight;
use crate::cell::{ConnectionShared, Core, CoreStart, Outcome, drain, end};
use crate::connection::Connection;
use crate::counters::Facade;
use crate::datapath::{Received, Socket, SocketId};
use crate::event::{ConnectionEvent, ConnectionHandler};
use crate::operation::ConnectionOperation;
use crate::qlog::Tracer;
use crate::registration::{Holdings, RegistrationConfig, RegistrationShared, RegistrationStats};

/// So many connections have their turn in one of the worker's at the most. What comes meanwhile waits, and the time is that
/// of its beginning for all of them: round trips and timers are no finer than that.
const TURNS: usize = 128;

/// How long a worker need not be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Park {
    /// Call again at once: there is more to do.
    Now,
    /// Until this time, or until woken or a socket is ready.
    Until(Time),
    /// Until woken or a socket is ready.
    Idle,
    /// For ever: the registration is gone and everything is closed.
    Done,
}

/// What other threads leave for a worker.
pub(crate) enum Letter {
    /// The connection's queue holds operations.
    Run(Arc<ConnectionShared>),
    Connect(Box<NewClient>),
    /// A datagram that came to another worker and names this one.
    Datagram {
        socket: SocketAddr,
        datagram: Datagram,
    },
    OpenSocket {
        id: SocketId,
        socket: Box<dyn Socket>,
        binding: Weak<Binding>,
    },
    CloseSocket(SocketId),
    Listen(Arc<ListenerShared>),
    StopListening(Arc<ListenerShared>),
    /// Connection IDs are made in another way from now on.
    Identify,
    /// Other limits hold.
    Limit(Arc<RegistrationConfig>),
    /// Close every connection, and take no more.
    Shutdown(ApplicationErrorCode),
    /// The registration is gone.
    Quit,
}

/// A client connection to begin.
pub(crate) struct NewClient {
    pub(crate) shared: Arc<ConnectionShared>,
    pub(crate) handler: Box<dyn ConnectionHandler>,
    pub(crate) socket: SocketId,
    pub(crate) binding: Arc<Binding>,
    pub(crate) transport: Arc<TransportConfig>,
    pub(crate) start: ClientStart,
}

/// The span of a new connection: `id` is the destination connection ID of the client's first packet, the
/// same at both ends and in the name of a qlog.
fn span(role: Role, proto: &proto::Connection) -> Span {
    let (id, remote) = (proto.original_dcid(), proto.remote_address());
    tracing::debug_span!("connection", ?role, %id, %remote)
}

/// Owns connections, and everything that they need while they run. It has no thread: a worker
/// thread is a loop around [`turn`](Self::turn).
pub struct Worker {
    index: usize,
    registration: Arc<RegistrationShared>,
    holdings: Arc<Holdings>,
    mailbox: Arc<Mailbox<Letter>>,
    letters: Vec<Letter>,
    cells: Vec<Option<Box<Core>>>,
    /// What is left of connections that drain: until when it leads to their slots, which are taken and empty, and what.
    drained: BTreeMap<u32, (Time, Box<[RouteChange]>)>,
    free: Vec<u32>,
    load: Load,
    readable: Vec<SocketId>,
    received: Vec<Received>,
    floor: Floor,
    facade: Facade,
    shut_down: bool,
    quitting: bool,
}

impl Worker {
    pub(crate) fn new(index: usize, registration: Arc<RegistrationShared>, entropy: Entropy) -> Self {
        let mailbox = registration.mailboxes[index].clone();
        let floor = Floor::new(index, &registration, entropy);
        let load = Load::new(&registration.config);
        Self {
            index,
            holdings: registration.holdings[index].clone(),
            registration,
            mailbox,
            letters: Vec::new(),
            cells: Vec::new(),
            drained: BTreeMap::new(),
            free: Vec::new(),
            load,
            readable: Vec::new(),
            received: Vec::new(),
            floor,
            facade: Facade::new(),
            shut_down: false,
            quitting: false,
        }
    }

    /// Does what there is to do at `now`, within a budget: queued calls, received datagrams, timers,
    /// and what is to be sent. Says when to be called next.
    pub fn turn(&mut self, now: Time) -> Park {
        self.floor.begin(now, &self.registration.config);
        self.load.turn_begins(now);
        self.read_letters();
        self.receive();
        self.floor.expire();
        for _ in 0..self.floor.ready.len().min(TURNS) {
            if let Some(slot) = self.floor.ready.pop() {
                self.drain(slot);
            }
        }
        self.send();
        let park = match self.quitting {
            true => self.quit(),
            false => self.park(),
        };
        if let Some(active) = self.load.look(now) {
            self.shedding_changed(active);
        }
        let park = self.load.turn_ends(now, park);
        let held = self.stats();
        self.holdings.publish(held);
        self.facade.tell(&self.floor.counters, held, &self.registration.counters[self.index]);
        park
    }

    /// Sends what connections have made and waits still; those whose path is cut hear of it.
    fn send(&mut self) {
        self.floor.sockets.leave();
        while let Some((slot, path)) = self.floor.sockets.next_failed() {
            if let Some(Some(core)) = self.cells.get_mut(slot as usize) {
                core.send_failed(self.floor.now, path);
                self.floor.ready.push(slot);
            }
        }
    }

    /// The application runs on the same thread between turns.
    #[cfg(all(unix, feature = "tokio-tasks"))]
    pub(crate) fn shares_its_thread(&mut self) {
        self.floor.way = Way::Open;
    }

    /// Whether others are to run before the next turn, of which the last one knew.
    #[cfg(all(unix, feature = "tokio-tasks"))]
    pub(crate) fn gave_way(&mut self) -> bool {
        let given = self.floor.way == Way::Given;
        if given {
            self.floor.way = Way::Open;
        }
        given
    }

    fn stats(&self) -> RegistrationStats {
        RegistrationStats {
            connections: self.cells.len() - self.free.len(),
            half_open: self.load.half_open(),
            handshake_memory: self.load.memory(),
            shedding: usize::from(self.load.is_shedding()),
            routes: self.floor.routes.len(),
        }
    }

    /// Clients are kept away because of the load, or are let in again: listeners hear of it.
    fn shedding_changed(&mut self, active: bool) {
        tracing::info!(active, load = ?self.load, "load is shed");
        self.floor.counters.shedding_begun += u64::from(active);
        for listener in self.floor.sockets.all_listeners() {
            listener.shedding_by_worker(active);
        }
    }

    fn park(&mut self) -> Park {
        if self.floor.ready.len() > 0 || self.floor.sockets.any_readable() || !self.mailbox.sleep() {
            return Park::Now;
        }
        self.floor.next_timer().map_or(Park::Idle, Park::Until)
    }

    /// There may be something to receive on `socket`.
    pub fn readable(&mut self, socket: SocketId) {
        self.floor.sockets.readable(socket);
    }

    /// There may be room to send on `socket`.
    pub fn writable(&mut self, socket: SocketId) {
        for slot in self.floor.sockets.writable(socket) {
            self.floor.ready.push(slot);
        }
    }

    fn read_letters(&mut self) {
        let mut letters = std::mem::take(&mut self.letters);
        self.mailbox.collect(&mut letters);
        for letter in letters.drain(..) {
            self.read(letter);
        }
        self.letters = letters;
    }

    fn read(&mut self, letter: Letter) {
        match letter {
            Letter::Run(shared) => {
                if let Some(core) = self.cell(&shared) {
                    core.operations_wait();
                    let slot = core.slot();
                    self.floor.ready.push(slot);
                }
            }
            Letter::Connect(new) => self.connect(*new),
            Letter::Datagram { socket, datagram } => self.forwarded(socket, datagram),
            Letter::OpenSocket { id, socket, binding } => {
                for slot in self.floor.sockets.add(id, socket, binding) {
                    self.floor.ready.push(slot);
                }
            }
            Letter::CloseSocket(id) => self.floor.sockets.remove(id),
            Letter::Listen(listener) => {
                if let Some(id) = listener.binding.socket_of(self.index) {
                    if self.load.is_shedding() {
                        listener.shedding_by_worker(true);
                    }
                    self.floor.sockets.add_listener(id, listener);
                }
            }
            Letter::StopListening(listener) => {
                let id = listener.binding.socket_of(self.index);
                if id.is_some_and(|id| self.floor.sockets.remove_listener(id, &listener)) {
                    listener.stopped_by_worker();
                }
            }
            Letter::Identify => self.identify(),
            Letter::Limit(config) => {
                self.load.limit(&config);
                self.floor.rations = Some(Rations::new(&config, self.floor.now));
            }
            Letter::Shutdown(code) => self.shut_down(code),
            Letter::Quit => self.quitting = true,
        }
    }

    fn cell(&mut self, shared: &Arc<ConnectionShared>) -> Option<&mut Box<Core>> {
        let cell = self.cells.get_mut(shared.slot()? as usize)?.as_mut()?;
        Arc::ptr_eq(cell.shared(), shared).then_some(cell)
    }

    fn drain(&mut self, slot: u32) {
        let Some(core) = self.cells.get_mut(slot as usize).and_then(Option::take) else {
            return self.forget_drained(slot);
        };
        let outcome = drain(core, self.floor.now, &mut self.floor);
        let mut core = match outcome {
            Outcome::Gone(mut core) => {
                self.settle_end(&mut core);
                return self.forget(core);
            }
            Outcome::Drains(mut core) => {
                self.settle_end(&mut core);
                return self.let_drain(core);
            }
            Outcome::Again(core) => {
                self.floor.ready.push(slot);
                core
            }
            // A blocked connection has left its slot with its socket.
            Outcome::Waits(core) | Outcome::Blocked(core) => core,
        };
        self.count(&mut core);
        let charge = core.charge();
        self.load.settle(core.charge_held(), charge);
        self.floor.set_timer(slot, core.deadline());
        self.cells[slot as usize] = Some(core);
    }

    fn count(&mut self, core: &mut Core) {
        core.count(&mut self.floor.counters, &self.facade);
    }

    /// It counts for nothing any more.
    fn settle_end(&mut self, core: &mut Core) {
        self.count(core);
        self.load.settle(core.charge_held(), Charge::default());
    }

    /// What leads to it stays, and what comes by that is dropped: so it is not taken for something unknown.
    // RFC 9000 section 10.2.2#1#2.
    fn let_drain(&mut self, core: Box<Core>) {
        let (slot, until) = (core.slot(), core.deadline().unwrap_or(self.floor.now));
        self.drained.insert(slot, (until, core.routes().into()));
        self.floor.set_timer(slot, Some(until));
        // The application's handlers are dropped here, outside of any borrow.
        drop(core);
    }

    /// If the connection of an empty slot drains, and has for long enough.
    fn forget_drained(&mut self, slot: u32) {
        match self.drained.get(&slot) {
            Some((until, routes)) if *until <= self.floor.now => {
                self.floor.forget(slot, routes);
                self.drained.remove(&slot);
                self.free.push(slot);
            }
            Some((until, _)) => self.floor.set_timer(slot, Some(*until)),
            None => {}
        }
    }

    fn forget(&mut self, core: Box<Core>) {
        self.floor.forget(core.slot(), core.routes());
        self.free.push(core.slot());
        // The application's handlers are dropped here, outside of any borrow.
        drop(core);
    }

    fn new_slot(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.cells.push(None);
            self.cells.len() as u32 - 1
        })
    }

    fn insert(&mut self, core: Box<Core>) {
        let slot = core.slot();
        self.floor.ready.push(slot);
        self.cells[slot as usize] = Some(core);
    }

    // --- connections begin

    fn connect(&mut self, new: NewClient) {
        let NewClient { shared, mut handler, socket, binding, transport, start } = new;
        let proto = match self.shut_down {
            true => Err(CloseReason::Silent),
            false => proto::Connection::client(self.floor.now, self.floor.shared(transport.clone(), None), start)
                .map_err(|_| CloseReason::Violation(Violation::new(TransportErrorCode::INTERNAL_ERROR, "TLS refused"))),
        };
        match proto {
            Ok(mut proto) => {
                let tracer = self.trace(&mut proto);
                let span = span(Role::Client, &proto);
                let mut core = Core::new(CoreStart {
                    proto,
                    shared,
                    handler: Some(handler),
                    slot: self.new_slot(),
                    role: Role::Client,
                    socket,
                    binding,
                    transport,
                    entropy: self.floor.entropy.array(),
                    now: self.floor.now,
                    tracer,
                    span,
                });
                self.floor.counters.client_connections += 1;
                // What was asked of it before it was here.
                core.operations_wait();
                self.insert(core);
            }
            Err(reason) => {
                shared.ends(reason.clone());
                drop(shared.queue.end());
                let handle = Connection { shared };
                let told = current::guard(|| {
                    handler.event(&handle, ConnectionEvent::ShutdownInitiatedByTransport { reason: &reason });
                    let complete = ConnectionEvent::ShutdownComplete { handshake_completed: false, reason: &reason };
                    handler.event(&handle, complete);
                });
                if told.is_err() {
                    tracing::error!("a connection's handler panicked");
                }
            }
        }
    }

    /// Traces a new connection if there is a log.
    fn trace(&self, proto: &mut proto::Connection) -> Option<Tracer> {
        let qlog = self.registration.config.qlog.as_ref()?;
        proto.start_trace(self.floor.now);
        Some(qlog.begin(self.floor.now))
    }

    fn begin_server(&mut self, socket: SocketId, first: FirstFlight, datagram: Datagram) {
        let Some(binding) = self.floor.sockets.binding(socket) else { return };
        let transport = self.registration.transport.clone();
        let start = ServerStart {
            version: first.version,
            path: datagram.path,
            initial_dcid: first.dcid,
            peer_cid: first.scid,
            original_dcid: first.original_dcid,
            validated: first.validated,
        };
        let remote = datagram.path.remote;
        let local = datagram.path.local.unwrap_or(binding.address);
        let shared = self.floor.shared(transport.clone(), Some(local.ip()));
        let Ok(mut proto) = proto::Connection::server(self.floor.now, shared, start) else { return };
        let tracer = self.trace(&mut proto);
        proto.receive(self.floor.now, datagram);
        if proto.stats().packets_received == 0 {
            // Nothing in it was authentic: it costs no state.
            return;
        }
        if let Some(path) = first.path {
            proto.set_saved_path(path);
        }
        let span = span(Role::Server, &proto);
        let shared = ConnectionShared::new(self.registration.clone(), self.index, remote, local);
        // Until a listener is asked nobody but the worker has a handle.
        let mut core = Core::new(CoreStart {
            proto,
            shared,
            handler: None,
            slot: self.new_slot(),
            role: Role::Server,
            socket,
            binding,
            transport,
            entropy: self.floor.entropy.array(),
            now: self.floor.now,
            tracer,
            span,
        });
        let charge = core.charge();
        self.load.settle(core.charge_held(), charge);
        self.floor.counters.server_connections += 1;
        // Further datagrams of the first flight must find it before its first turn.
        core.route_first(first.dcid, &mut self.floor);
        self.insert(core);
    }

    /// If connection IDs are made in another way by now, open connections go over to new ones.
    fn identify(&mut self) {
        let keys = self.registration.keyring.cid_keys();
        if Arc::ptr_eq(&keys, &self.floor.keys) {
            return;
        }
        self.floor.keys = keys;
        for core in self.cells.iter_mut().flatten() {
            let local = core.local_of_server();
            core.renew_ids(Box::new(self.floor.issuer(local)));
            self.floor.ready.push(core.slot());
        }
    }

    // --- the end

    fn shut_down(&mut self, code: ApplicationErrorCode) {
        self.shut_down = true;
        for core in self.cells.iter().flatten() {
            // In order behind what was asked before.
            let close = ConnectionOperation::Close { code, reason: Bytes::new() };
            let _ = core.shared().submit(close);
        }
    }

    /// Nobody will give it another turn.
    pub(crate) fn end(&mut self) {
        self.quit();
    }

    /// Ends everything at once. Connections get one last chance to tell their peers.
    fn quit(&mut self) -> Park {
        self.shut_down = true;
        let mut letters: VecDeque<Letter> = self.mailbox.close().into();
        while let Some(letter) = letters.pop_front() {
            self.read(letter);
        }
        for slot in 0..self.cells.len() {
            if let Some(core) = self.cells[slot].take() {
                let mut core = end(core, self.floor.now, &mut self.floor);
                self.settle_end(&mut core);
                self.forget(core);
            }
        }
        for (slot, (_, routes)) in std::mem::take(&mut self.drained) {
            self.floor.forget(slot, &routes);
            self.free.push(slot);
        }
        for listener in self.floor.sockets.take_listeners() {
            listener.stopped_by_worker();
        }
        self.floor.sockets.leave();
        self.floor.sockets.clear();
        self.registration.bindings.release();
        Park::Done
    }
}
