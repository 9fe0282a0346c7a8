//! One end: a host with one worker, its application, and what came of it.
//!
//! Handlers only write down what they hear and do what the cell says is to be done within them; all
//! else is done by the [director](super::run) between the turns, as another thread would.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tercel::datapath::SocketId;
use tercel::{
    Alert, CloseReason, Connection, ConnectionEvent, Direction, NewStream, Park, PendingVerdict, Registration, Role,
    Stream, StreamEvent, Time, Worker,
};

use super::cells::{Answer, Cell, Close, Order};
use super::monitor::{Monitor, Seen};
use super::observer::{Observer, REASON, Sender};
use crate::network::Datagram;
use crate::random::Random;
use crate::workers::wires::Wires;
use crate::world::Host;

/// The code with which the judging end's application closes.
pub const CODE: u32 = 0x11;
/// The code with which the other end's does.
pub const PEER_CODE: u32 = 0x22;
/// The code with which the client closes that has everything.
pub const DONE: u32 = 0x7e;
/// What every stream carries.
const STREAM_LEN: usize = 700;

/// A verdict that was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Given {
    /// When.
    pub at: Time,
    /// Whether the call was in time.
    pub taken: bool,
}

/// What an end's application has, did and heard.
#[derive(Debug)]
pub struct Story {
    pub(super) role: Role,
    cell: Cell,
    pub(super) now: Time,
    /// Since when it has a connection.
    pub(super) began: Option<Time>,
    pub(super) handle: Option<Connection>,
    pub(super) pending: Option<PendingVerdict>,
    pub(super) asked: Option<Time>,
    pub(super) given: Option<Given>,
    accepted: bool,
    pub(super) connected: Option<Time>,
    pub(super) initiated: Option<Time>,
    pub(super) ended: Option<(Time, CloseReason)>,
    /// When it called for its end, or refused the peer.
    pub(super) called: Option<Time>,
    pub(super) silent: bool,
    /// It lost its state.
    pub(super) vanished: bool,
    monitor: Monitor,
    /// How many bytes came on each stream, and whether that was all.
    streams: u64,
    received: BTreeMap<u64, (usize, bool)>,
    pub(super) faults: Vec<String>,
}

/// The same, as handlers hold it.
pub type Shared = Arc<Mutex<Story>>;

thread_local! {
    /// How often a handler was called within another of the same connection, or after one has panicked.
    static RECURSIONS: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

/// How often that was since the last call.
pub fn take_recursions() -> u32 {
    RECURSIONS.take()
}

/// A look at the story from outside of handlers.
pub fn look(story: &Shared) -> MutexGuard<'_, Story> {
    story.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A call from a handler. No other can be under way at the same time.
fn within(story: &Shared, act: impl FnOnce(&mut Story)) {
    let Ok(mut story) = story.try_lock() else { return RECURSIONS.set(RECURSIONS.get() + 1) };
    story.see(Seen::Enter);
    act(&mut story);
    story.see(Seen::Leave);
}

impl Story {
    /// Of an end that has no connection yet.
    pub fn new(role: Role, cell: Cell, now: Time) -> Shared {
        Arc::new(Mutex::new(Self {
            role,
            cell,
            now,
            began: None,
            handle: None,
            pending: None,
            asked: None,
            given: None,
            accepted: false,
            connected: None,
            initiated: None,
            ended: None,
            called: None,
            silent: false,
            vanished: false,
            monitor: Monitor::new(cell.kind.is_gated() && cell.judge.judges(role)),
            streams: 0,
            received: BTreeMap::new(),
            faults: Vec::new(),
        }))
    }

    /// Whether this is the end whose verdict is in question.
    pub(super) fn is_judging(&self) -> bool {
        self.role == self.cell.judge.role()
    }

    /// Whether this end's application is the one that closes.
    pub(super) fn closes(&self) -> bool {
        match self.cell.close {
            close if close.is_call() => self.is_judging(),
            Close::PeerApplication => !self.is_judging(),
            _ => false,
        }
    }

    pub(super) fn see(&mut self, seen: Seen) {
        if let Err(fault) = self.monitor.see(seen) {
            self.faults.push(fault);
        }
    }

    /// What the observer may know of this end.
    fn sender(&self) -> Sender {
        Sender {
            withholds: self.cell.kind.is_gated() && self.cell.judge.judges(self.role) && !self.accepted,
            refused_early: self.asked.is_some(),
            is_silent: self.silent,
            is_over: self.ended.is_some() || self.cell.close == Close::StatelessReset,
        }
    }

    /// Whether it needs nothing more: its connection is over, or there is none.
    pub(super) fn is_over(&self) -> bool {
        self.vanished || self.ended.is_some() || self.began.is_none()
    }

    /// Whether everything came that its peer had to send.
    pub(super) fn has_everything(&self) -> bool {
        let early = self.role == Role::Server && self.cell.kind.offers_early_data();
        self.received.values().filter(|(_, all)| *all).count() == 1 + usize::from(early)
    }

    /// Gives the verdict.
    pub(super) fn answer(&mut self, answer: Answer) {
        let Some(verdict) = self.pending.take() else { return };
        let cancelled = verdict.is_cancelled();
        let accepts = answer == Answer::Accept;
        let result = match answer {
            Answer::Accept => verdict.accept(),
            Answer::Reject => verdict.reject(Alert::BAD_CERTIFICATE),
            Answer::Drop => {
                drop(verdict);
                // Nobody says whether it was in time.
                if cancelled { Err(tercel::Error::Closed) } else { Ok(()) }
            }
            Answer::Never => return self.pending = Some(verdict),
        };
        let taken = result.is_ok();
        if taken == cancelled {
            self.faults.push(format!("{result:?}, though cancelled was {cancelled}"));
        }
        self.given = Some(Given { at: self.now, taken });
        if taken {
            self.accepted = accepts;
            self.see(Seen::Verdict(accepts));
            if !accepts {
                self.called.get_or_insert(self.now);
            }
        }
    }

    /// Closes as the cell says.
    pub(super) fn close(&mut self) {
        let close = self.cell.close;
        if self.ended.is_some() {
            return;
        }
        match (close, &self.handle) {
            (Close::Silent, Some(connection)) => {
                // A close before it is not undone.
                self.silent = self.called.is_none() && self.initiated.is_none();
                connection.close_silently();
            }
            (Close::HandleDropped, _) => {}
            (_, Some(connection)) => {
                let code = if self.is_judging() { CODE } else { PEER_CODE };
                connection.close(code.into(), Bytes::from_static(REASON));
            }
            (_, None) => {}
        }
        if close == Close::HandleDropped {
            self.handle = None;
        }
        self.called.get_or_insert(self.now);
        self.see(Seen::CloseCalled);
    }

    /// Opens a stream with all its data.
    pub(super) fn open(&mut self, story: &Shared, connection: &Connection) {
        let number = self.streams;
        let Ok(stream) = connection.open_stream(Direction::Unidirectional, stream_handler(story.clone(), number))
        else {
            return;
        };
        self.streams += 1;
        self.see(Seen::StreamBegun(number));
        if stream.send(Bytes::from(vec![self.role as u8; STREAM_LEN]), true, 1).is_ok() {
            self.see(Seen::SendAccepted(number, 1));
        }
        stream.detach();
    }

    fn event(&mut self, story: &Shared, connection: &Connection, event: ConnectionEvent<'_>) {
        match event {
            ConnectionEvent::PeerCertificate { verdict, .. } => {
                self.see(Seen::Certificate);
                self.asked = Some(self.now);
                self.pending = Some(verdict);
                self.on_asked();
            }
            ConnectionEvent::Connected { resumed, .. } => {
                self.see(Seen::Connected);
                self.connected = Some(self.now);
                if resumed == self.cell.kind.is_gated() {
                    self.faults.push(format!("resumed: {resumed}"));
                }
                self.open(story, connection);
                if !self.cell.kind.is_gated() && self.cell.order == Order::Asked && self.closes() {
                    self.close();
                }
            }
            ConnectionEvent::PeerStreamStarted(new) => {
                self.see(Seen::Other);
                self.accept(story, new);
            }
            ConnectionEvent::ShutdownInitiatedByPeer { .. } | ConnectionEvent::ShutdownInitiatedByTransport { .. } => {
                self.see(Seen::ShutdownInitiated);
                self.initiated = Some(self.now);
            }
            ConnectionEvent::ShutdownComplete { handshake_completed, reason } => {
                self.see(Seen::Complete(handshake_completed));
                self.ended = Some((self.now, reason.clone()));
                if self.pending.as_ref().is_some_and(|verdict| !verdict.is_cancelled()) {
                    self.faults.push("the question is still open after the last event".into());
                }
            }
            _ => self.see(Seen::Other),
        }
    }

    /// What is done in the callback that asks.
    fn on_asked(&mut self) {
        let Cell { answer, order, .. } = self.cell;
        if !self.is_judging() {
            return self.answer(Answer::Accept);
        }
        match order {
            Order::Asked if self.closes() => {
                self.close();
                self.answer(answer);
            }
            // On its way from the other end, if it does not come from here.
            Order::Answered => {
                self.answer(answer);
                if self.closes() {
                    self.close();
                }
            }
            _ => {}
        }
    }

    /// The peer has opened a stream.
    fn accept(&mut self, story: &Shared, new: NewStream) {
        let number = self.streams;
        self.streams += 1;
        self.received.insert(number, (0, false));
        if let Ok(stream) = new.accept(stream_handler(story.clone(), number)) {
            self.see(Seen::StreamBegun(number));
            stream.detach();
        }
    }

    fn stream_event(&mut self, number: u64, event: StreamEvent<'_>) {
        match event {
            StreamEvent::SendComplete { context, .. } => self.see(Seen::SendComplete(number, context)),
            StreamEvent::ShutdownComplete => self.see(Seen::StreamComplete(number)),
            StreamEvent::Receive(data) => {
                self.see(Seen::Stream(number));
                let sender = self.role.peer() as u8;
                if data.chunks().iter().flatten().any(|byte| *byte != sender) {
                    self.faults.push("damaged data".into());
                }
                let (len, all) = self.received.entry(number).or_default();
                *len += data.len();
                *all = *len == STREAM_LEN;
            }
            _ => self.see(Seen::Stream(number)),
        }
    }
}

/// The handler of the connection.
pub fn handler(story: Shared) -> impl FnMut(&Connection, ConnectionEvent<'_>) + Send + 'static {
    move |connection, event| within(&story, |told| told.event(&story, connection, event))
}

fn stream_handler(story: Shared, number: u64) -> impl FnMut(&Stream, StreamEvent<'_>) + Send + 'static {
    move |_, event| within(&story, |told| told.stream_event(number, event))
}

/// See the module.
pub struct Side {
    pub(super) role: Role,
    pub(super) registration: Option<Registration>,
    worker: Worker,
    park: Park,
    called: bool,
    wires: Wires,
    pub(super) story: Shared,
    observer: Rc<RefCell<Observer>>,
    /// The numbers of the datagrams that carried a CONNECTION_CLOSE, and when they left.
    pub(super) closes: Vec<(u32, Time)>,
    pub(super) sent: u32,
    /// How many had been sent when the handshake was over for this end.
    pub(super) sent_in_handshake: u32,
}

impl Side {
    /// # Panics
    /// If the registration does not begin.
    pub fn new(
        story: Shared,
        address: SocketAddr,
        config: tercel::RegistrationConfig,
        observer: Rc<RefCell<Observer>>,
        mut random: Random,
    ) -> Self {
        let wires = Wires::new(address.ip(), 0.0, random.fork());
        let (registration, workers) = Registration::manual(config, Arc::new(wires.clone()), random.array())
            .unwrap_or_else(|error| panic!("the registration does not begin: {error}"));
        let worker = workers.into_iter().next().unwrap_or_else(|| panic!("no worker"));
        let role = look(&story).role;
        let (registration, park) = (Some(registration), Park::Now);
        let (closes, sent, sent_in_handshake) = (Vec::new(), 0, 0);
        Self { role, registration, worker, park, called: true, wires, story, observer, closes, sent, sent_in_handshake }
    }

    /// # Panics
    /// If anything is left after the registration was dropped and a turn.
    pub fn check_end(&self) {
        assert!(self.park == Park::Done && self.wires.open_sockets() == 0, "{:?} leaves something behind", self.role);
    }

    fn send(&mut self, now: Time, out: &mut Vec<Datagram>) {
        let sent = self.wires.take_sent();
        let story = look(&self.story);
        if story.vanished {
            return;
        }
        let sender = story.sender();
        for datagram in sent {
            if self.observer.borrow_mut().sent(self.role, &datagram.data, sender) {
                self.closes.push((self.sent, now));
            }
            self.sent += 1;
            if story.connected.is_none_or(|at| at == now) {
                self.sent_in_handshake = self.sent;
            }
            out.push(datagram);
        }
    }
}

impl Host for Side {
    fn receive(&mut self, _: Time, datagram: Datagram) {
        if look(&self.story).vanished {
            return;
        }
        if let Some((_, socket)) = self.wires.deliver(datagram) {
            let socket: SocketId = socket;
            self.worker.readable(socket);
            self.called = true;
        }
    }

    fn turn(&mut self, now: Time, out: &mut Vec<Datagram>) -> Option<Time> {
        look(&self.story).now = now;
        for round in 0.. {
            assert!(round < 1_000, "{:?} spins", self.role);
            self.called |= !self.wires.take_woken().is_empty();
            let due = match self.park {
                Park::Now => true,
                Park::Until(at) => self.called || at <= now,
                Park::Idle => self.called,
                Park::Done => false,
            };
            if !due {
                break;
            }
            self.called = false;
            self.park = self.worker.turn(now);
        }
        self.send(now, out);
        match self.park {
            Park::Until(at) => Some(at),
            _ => None,
        }
    }
}
