//! A connection inside its worker: the protocol, the application's handlers, and what stands between
//! them. Calls enter by [`apply`], events leave by [`deliver`], and [`drain`] gives a connection its
//! turn.

mod apply;
mod deliver;
mod drain;
mod handle;
mod ideal;
mod monitor;
mod paths;
mod receive;
mod streams;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tercel_proto::config::{ConnectionIdIssuer, TransportConfig};
use tercel_proto::connection as proto;
use tercel_proto::connection::{Received, RouteChange};
use tercel_proto::datagram::DatagramSendState;
use tercel_proto::entropy::Entropy;
use tercel_proto::error::CloseReason;
use tercel_proto::rare_queue::RareQueue;
use tercel_proto::time::Time;
use tercel_wire::{ApplicationErrorCode, Direction, Role, StreamId};
use tracing::Span;

use self::monitor::Monitor;
use self::streams::{Entry, Listening, Note, StreamTable};
use crate::binding::Binding;
use crate::certificate::Question;
use crate::connection::Connection;
use crate::counters::{Counters, Facade, Traffic, traffic};
use crate::datapath::SocketId;
use crate::event::ConnectionHandler;
use crate::operation::Operation;
use crate::qlog::Tracer;
use crate::resumption::Tickets;
use crate::stream::Stream;
use crate::worker::Charge;

pub(crate) use self::drain::{Outcome, drain, end};
pub(crate) use self::handle::{ConnectionShared, StreamShared};
pub(crate) use self::ideal::MIN_IDEAL;
use self::paths::Beside;
pub(crate) use self::streams::StreamKey;

/// What an unfinished handshake takes in memory beside the bytes that it keeps, in bytes: the state of the
/// connection and of TLS, about.
const HANDSHAKE_MEMORY: usize = 24 << 10;

/// How far a connection has come, as the application sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Up to the end of the handshake.
    Handshaking,
    /// Data may flow.
    Connected,
    /// Over; streams and datagrams are being wound up.
    Closing,
    /// The application has heard the last event.
    Complete,
}

/// Something to tell because of a call, ahead of what the transport has to tell.
enum Happening {
    Stream(StreamKey, Note),
    Datagram {
        context: u64,
        state: DatagramSendState,
    },
    /// Something was acknowledged, and the application wants to know how the network does.
    Network,
    /// Everything is wound up, and the protocol's own end needs not be awaited.
    Complete,
}

/// A close that waits until all that was sent is delivered.
struct Farewell {
    code: ApplicationErrorCode,
    reason: Bytes,
    deadline: Time,
}

/// A connection inside its worker.
pub(crate) struct Core {
    proto: proto::Connection,
    shared: Arc<ConnectionShared>,
    /// The worker's own handle, lent to the handler.
    handle: Option<Connection>,
    handler: Option<Box<dyn ConnectionHandler>>,
    /// The handler knows that events follow, and not that they have ended.
    telling: bool,
    slot: u32,
    role: Role,
    phase: Phase,
    handshake_completed: bool,
    /// The handshake resumed a session.
    resumed: bool,
    /// Server: the client's address that its token for the next connection is good for.
    token_for: Option<IpAddr>,
    /// A close that waits for delivery, and for how long.
    farewell: Option<Box<Farewell>>,
    /// What the application was asked: about the client, or about the peer's certificate.
    question: Option<Arc<Question>>,
    /// Server: what makes tickets.
    tickets: Option<Arc<Tickets>>,
    streams: StreamTable,
    happened: VecDeque<Happening>,
    /// Datagrams on their way, by number: the application's context, and whether it left.
    datagrams: BTreeMap<u64, (u64, bool)>,
    /// How much should be under way, and whether it has to be computed anew.
    ideal: u64,
    ideal_stale: bool,
    /// How many packets were acknowledged when the application was last told how the network does, if it wants to
    /// hear of that.
    network_told: Option<u64>,
    /// Room for what a read gives, used again and again.
    chunks: Vec<Bytes>,
    inbox: Vec<Received>,
    /// How many bytes were given to send since something was last sent.
    unsent: usize,
    /// How many bytes its application was told of since it last was let go first, and how often it was since the
    /// connection last had nothing to do.
    told: usize,
    ways: u32,
    /// Its application has just been let go first.
    gave_way: bool,
    /// Room for operations, exchanged with the queue's.
    operations: VecDeque<Operation>,
    operations_wait: bool,
    /// Looks that came while a handler ran.
    looks: RareQueue<Operation>,
    socket: SocketId,
    binding: Arc<Binding>,
    /// Its other sockets.
    beside: Beside,
    /// How many bytes a datagram of it may have.
    largest: usize,
    charged: Charge,
    routes: Vec<RouteChange>,
    deadline: Option<Time>,
    entropy: Entropy,
    now: Time,
    looked: Time,
    counted: Counted,
    /// The protocol has nothing more to do: it can be dropped.
    gone: bool,
    monitor: Monitor,
    /// The way to its log, if it has one.
    tracer: Option<Tracer>,
    /// What is traced in its turns belongs to it.
    span: Span,
}

/// What the worker's counters have of a connection.
#[derive(Default)]
struct Counted {
    traffic: Traffic,
    /// The handshake is among those that were completed.
    handshake: bool,
    /// There is more to count.
    stale: bool,
}

/// What a [`Core`] begins with.
pub(crate) struct CoreStart {
    pub(crate) proto: proto::Connection,
    pub(crate) shared: Arc<ConnectionShared>,
    pub(crate) handler: Option<Box<dyn ConnectionHandler>>,
    pub(crate) slot: u32,
    pub(crate) role: Role,
    pub(crate) socket: SocketId,
    pub(crate) binding: Arc<Binding>,
    pub(crate) transport: Arc<TransportConfig>,
    pub(crate) entropy: [u8; 32],
    pub(crate) now: Time,
    pub(crate) tracer: Option<Tracer>,
    pub(crate) span: Span,
}

impl Core {
    pub(crate) fn new(start: CoreStart) -> Box<Self> {
        start.shared.set_slot(start.slot);
        Box::new(Self {
            handle: Some(Connection { shared: start.shared.clone() }),
            proto: start.proto,
            shared: start.shared,
            handler: start.handler,
            telling: false,
            slot: start.slot,
            role: start.role,
            phase: Phase::Handshaking,
            handshake_completed: false,
            resumed: false,
            token_for: None,
            farewell: None,
            question: None,
            tickets: None,
            streams: StreamTable::default(),
            happened: VecDeque::new(),
            datagrams: BTreeMap::new(),
            ideal: 0,
            ideal_stale: true,
            network_told: None,
            chunks: Vec::new(),
            inbox: Vec::new(),
            unsent: 0,
            told: 0,
            ways: 0,
            gave_way: false,
            operations: VecDeque::new(),
            operations_wait: false,
            looks: RareQueue::new(),
            socket: start.socket,
            binding: start.binding,
            beside: Beside::default(),
            largest: largest(&start.transport),
            charged: Charge::default(),
            routes: Vec::new(),
            deadline: None,
            entropy: Entropy::from_seed(start.entropy),
            now: start.now,
            looked: start.now,
            counted: Counted::default(),
            gone: false,
            monitor: Monitor::default(),
            tracer: start.tracer,
            span: start.span,
        })
    }

    pub(crate) fn shared(&self) -> &Arc<ConnectionShared> {
        &self.shared
    }

    /// Datagrams for it came in, by a socket that is bound to `bound`.
    pub(crate) fn arrive(&mut self, bound: Option<SocketAddr>, mut received: Received) {
        if self.role == Role::Client {
            // A client lets the system choose its address: it knows its paths by what its sockets are bound to.
            received.path.local = bound;
        }
        if self.inbox.capacity() == 0 {
            // Mostly one comes and is taken before the next.
            self.inbox.reserve_exact(1);
        }
        self.inbox.push(received);
    }

    /// Its queue holds operations.
    pub(crate) fn operations_wait(&mut self) {
        self.operations_wait = true;
    }

    /// Lets go of room that is not in use.
    pub(crate) fn rest(&mut self) {
        self.streams.rest();
        self.entropy.rest();
        self.looks.rest();
        self.happened.shrink_to_fit();
        self.inbox.shrink_to_fit();
        self.operations.shrink_to_fit();
        self.routes.shrink_to_fit();
        self.shared.queue.rest();
    }

    /// A stateless reset of it came in.
    pub(crate) fn stateless_reset(&mut self, now: Time) {
        self.proto.stateless_reset(now);
    }

    /// A server's: where its client came to.
    pub(crate) fn local_of_server(&self) -> Option<IpAddr> {
        (self.role == Role::Server).then(|| self.shared.facts().local.ip())
    }

    /// Its connection IDs are to be replaced by others.
    pub(crate) fn renew_ids(&mut self, issuer: Box<dyn ConnectionIdIssuer>) {
        self.proto.renew_connection_ids(issuer);
    }

    /// Whether this is a server's connection whose handshake was not completed. One that failed counts
    /// until it is forgotten: anybody can have as many as are allowed.
    pub(crate) fn is_half_open(&self) -> bool {
        self.role == Role::Server && !self.handshake_completed
    }

    /// Whether its application has heard the last event, and it neither says nor does anything any more. One whose
    /// handshake failed counts in the load until it is forgotten.
    fn only_drains(&self) -> bool {
        self.phase == Phase::Complete && self.proto.is_draining() && !self.is_half_open()
    }

    /// What it counts for in the load of its worker.
    pub(crate) fn charge(&self) -> Charge {
        match self.is_half_open() {
            true => Charge { half_open: true, memory: HANDSHAKE_MEMORY + self.proto.handshake_bytes() },
            false => Charge::default(),
        }
    }

    /// What it was charged with last.
    pub(crate) const fn charge_held(&mut self) -> &mut Charge {
        &mut self.charged
    }

    /// What still leads to it.
    pub(crate) fn routes(&self) -> &[RouteChange] {
        &self.routes
    }

    fn is_closing(&self) -> bool {
        self.phase >= Phase::Closing
    }

    fn remote(&self) -> SocketAddr {
        self.proto.remote_address()
    }

    /// Adds a stream that the peer opened, and makes the handle by which the application answers.
    fn add_peer_stream(&mut self, id: StreamId) -> Stream {
        let shared = StreamShared::new(self.shared.clone(), id.direction(), false);
        shared.set_id(id);
        self.streams.insert(Entry::new(shared.clone(), Some(id), Listening::Unanswered(Vec::new())));
        Stream { shared }
    }

    /// Tells a stream's handler, in its turn.
    fn note(&mut self, key: StreamKey, note: Note) {
        self.happened.push_back(Happening::Stream(key, note));
    }

    /// Hands events over to the log, where there is one, when there are enough or at the end.
    fn hand_over_trace(&mut self, surely: bool) {
        if let Some(tracer) = &mut self.tracer
            && (surely || tracer.is_due(self.now, self.proto.trace_len()))
        {
            let events = self.proto.take_trace(tracer.batch(self.proto.trace_len()));
            tracer.hand_over(self.now, events);
        }
    }

    /// Refreshes what handles may look at: not more often than every 100 ms unless `surely`.
    fn publish(&mut self, surely: bool) {
        if surely || self.now.since(self.looked) >= Duration::from_millis(100) {
            self.looked = self.now;
            self.shared.facts().stats = self.proto.stats();
            self.counted.stale = true;
        }
    }

    /// Adds to the worker's counters what is new.
    pub(crate) fn count(&mut self, counters: &mut Counters, facade: &Facade) {
        if !std::mem::take(&mut self.counted.stale) {
            return;
        }
        let stats = self.shared.facts().stats;
        counters.add(std::mem::replace(&mut self.counted.traffic, traffic(&stats)), traffic(&stats));
        if self.handshake_completed && !std::mem::replace(&mut self.counted.handshake, true) {
            tracing::debug!(parent: &self.span, resumed = self.resumed, took = ?stats.handshake, "handshake complete");
            counters.handshakes_completed += 1;
            counters.handshakes_resumed += u64::from(self.resumed);
            facade.handshake(&stats);
        }
        if self.gone {
            let reason = self.proto.close_reason().unwrap_or(&CloseReason::Silent);
            tracing::debug!(parent: &self.span, %reason, handshake = self.handshake_completed, "connection ended");
            counters.handshakes_failed += u64::from(!self.handshake_completed);
            facade.ended(self.proto.close_reason(), &stats);
        }
    }
}

/// How many bytes a datagram may have.
fn largest(transport: &TransportConfig) -> usize {
    transport.max_mtu.max(transport.initial_mtu).max(1200).into()
}

/// The place of a direction in a pair.
const fn index(direction: Direction) -> usize {
    direction as usize
}
