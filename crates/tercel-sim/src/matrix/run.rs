//! Runs a cell: two whole workers and their network, and a director who does what the cell says when
//! its time has come.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tercel::{
    Configuration, Connect, Error, Listen, Listener, ListenerEvent, RegistrationConfig, RetryPolicy, Role, Time,
};
use tercel_proto::config::TransportConfig;
use tercel_proto::path::Ecn;
use tercel_wire::EncryptionLevel;

use super::agenda::{Agenda, Deed, HANDSHAKE, Known, ONE_WAY};
use super::cells::{Answer, Cell, Close, Fault, Kind, Order};
use super::observer::Observer;
use super::side::{DONE, Shared, Side, Story, handler, look, take_recursions};
use super::tls::{self, Tls};
use crate::crypto;
use crate::network::{Datagram, Delay, Network, Node};
use crate::random::Random;
use crate::scenario::{client_address, server_address};
use crate::world::{START, World};

/// The idle timeout where the cell is about it.
const IDLE: Duration = Duration::from_secs(4);
/// Until when everything must be quiet.
const LIMIT: Duration = Duration::from_secs(300);
/// A frame of a type that nobody knows.
const UNKNOWN_FRAME: &[u8] = &[0x40, 0x77];

/// The way from one end to the other: takes its time, has the cell's fault, and may be cut.
#[derive(Debug)]
struct Way {
    from: Role,
    fault: Fault,
    number: u32,
    delay: Delay,
    cut: Rc<RefCell<bool>>,
}

impl Node for Way {
    fn pass(&mut self, now: Time, datagram: Datagram, random: &mut Random, onward: &mut Vec<(Time, Datagram)>) {
        let (number, from) = (self.number, self.from);
        self.number += 1;
        if *self.cut.borrow() || self.fault == Fault::Lost(from, number) {
            return;
        }
        // Held back here, it does not hold up those behind it.
        let later = match self.fault {
            Fault::Swapped(role, which) if (role, which) == (from, number) => Duration::from_millis(1),
            Fault::Late(role, which) if (role, which) == (from, number) => 3 * ONE_WAY,
            _ => return self.delay.pass(now, datagram, random, onward),
        };
        onward.push((now + ONE_WAY + later, datagram));
    }
}

/// A run that is over.
pub struct Finished {
    /// The cell.
    pub cell: Cell,
    /// What each end came to, client first.
    pub stories: [Shared; 2],
    /// How many datagrams each sent until its handshake was over.
    pub handshake_datagrams: [u32; 2],
    /// Which datagrams carried a close.
    pub closes: [Vec<(u32, Time)>; 2],
    /// What observer, monitor and the rest found wrong.
    pub faults: Vec<String>,
    /// A hash of all datagrams.
    pub trace: [u8; 32],
}

struct Director {
    cell: Cell,
    world: World<Side>,
    stories: [Shared; 2],
    observer: Rc<RefCell<Observer>>,
    cut: Rc<RefCell<bool>>,
    agenda: Agenda,
    listener: Option<Listener>,
}

/// Runs a cell to its end; with other TLS than its own if `tls` says so.
///
/// # Panics
/// If the runtime comes to no rest.
pub(super) fn run(cell: Cell, tls: Option<Tls>) -> Finished {
    if tls.is_none() && !matches!(cell.kind, Kind::Full | Kind::Retry) {
        let judge = cell.judge;
        tls::provide_session(judge, |tls| {
            let (kind, answer, close) = (Kind::Full, Answer::Accept, Close::None);
            let first = Cell { kind, judge, answer, close, order: Order::Late, fault: Fault::None };
            let finished = run(first, Some(tls));
            assert!(finished.faults.is_empty(), "{:?}", finished.faults);
        });
    }
    tls::forget_secrets();
    take_recursions();
    crypto::seed(7);
    let mut director = Director::new(cell, tls.unwrap_or_else(|| Tls::of(cell.kind, cell.judge)));
    director.direct();
    director.finish()
}

fn transport(cell: &Cell, role: Role) -> Arc<TransportConfig> {
    let judging = role == cell.judge.role();
    let seconds = Duration::from_secs;
    let handshake_timeout = match (cell.close, judging) {
        (Close::HandshakeTimeout, true) | (Close::PeerHandshakeTimeout, false) => HANDSHAKE,
        (Close::Idle, _) => seconds(60),
        (_, true) => seconds(7),
        (_, false) => seconds(12),
    };
    let max_idle_timeout = if cell.close == Close::Idle { IDLE } else { seconds(30) };
    // The MTU is not at issue.
    Arc::new(TransportConfig { handshake_timeout, max_idle_timeout, max_mtu: 1200, ..TransportConfig::default() })
}

impl Director {
    fn new(cell: Cell, tls: Tls) -> Self {
        let mut random = Random::new(11);
        let observer = Rc::new(RefCell::new(Observer::default()));
        let cut = Rc::new(RefCell::new(false));
        let mut network = Network::new(random.fork());
        network.watch.guard(1);
        let way = |from| -> Vec<Box<dyn Node>> {
            let delay = Delay::steady(ONE_WAY);
            vec![Box::new(Way { from, fault: cell.fault, number: 0, delay, cut: cut.clone() })]
        };
        network.link(0, 1, [server_address().ip()], way(Role::Client));
        network.link(1, 0, [client_address().ip()], way(Role::Server));
        let stories = [Role::Client, Role::Server].map(|role| Story::new(role, cell, START));
        let retry = if cell.kind == Kind::Retry { RetryPolicy::Always } else { RetryPolicy::Never };
        let mut registration = RegistrationConfig::default();
        (registration.workers, registration.retry) = (1, retry);
        let mut side = |story: &Shared, address: SocketAddr| {
            Side::new(story.clone(), address, registration.clone(), observer.clone(), random.fork())
        };
        let sides = vec![side(&stories[0], client_address()), side(&stories[1], server_address())];
        let world = World::new(network, sides);
        let mut director = Self { cell, world, stories, observer, cut, agenda: Agenda::new(cell), listener: None };
        director.listen(&tls);
        director.connect(&tls);
        director
    }

    fn listen(&mut self, tls: &Tls) {
        let configuration =
            Configuration::from_tls(None, Some(tls.server.clone()), transport(&self.cell, Role::Server));
        let story = self.stories[1].clone();
        let cell = self.cell;
        let hear = move |_: &Listener, event: ListenerEvent| {
            let ListenerEvent::NewConnection(new) = event else { return };
            match new.accept(&configuration, handler(story.clone())) {
                Ok(connection) => {
                    let mut story = story.lock().unwrap_or_else(PoisonError::into_inner);
                    let now = story.now;
                    let again = story.began.replace(now).is_some();
                    if again {
                        story.faults.push("a second connection".into());
                    }
                    story.handle = Some(connection);
                    story.start(cell);
                }
                // The client has left meanwhile, and the handler hears nothing.
                Err(Error::Closed | Error::ConnectionClosed(_)) => {}
                Err(error) => panic!("accepting fails: {error}"),
            }
        };
        let registration = self.world.hosts[1].registration.as_ref();
        let listener =
            registration.map(|registration| registration.listen(Listen::new(server_address(), [crypto::ALPN]), hear));
        self.listener = listener.and_then(Result::ok);
        assert!(self.listener.is_some(), "listening fails");
        self.world.turn(1);
    }

    fn connect(&mut self, tls: &Tls) {
        let configuration =
            Configuration::from_tls(Some(tls.client.clone()), None, transport(&self.cell, Role::Client));
        let story = &self.stories[0];
        let connect = Connect::new(server_address(), crypto::NAME);
        let Some(registration) = &self.world.hosts[0].registration else { return };
        let connection = registration.connect(&configuration, connect, handler(story.clone()));
        let connection = connection.unwrap_or_else(|error| panic!("connecting fails: {error}"));
        let mut story = look(story);
        story.began = Some(START);
        if self.cell.kind.offers_early_data() {
            story.open(&self.stories[0], &connection);
        }
        story.handle = Some(connection);
        story.start(self.cell);
    }

    fn role(&self, judging: bool) -> usize {
        let role = self.cell.judge.role();
        (if judging { role } else { role.peer() }) as usize
    }

    fn direct(&mut self) {
        let limit = START + LIMIT;
        loop {
            self.agenda.plan(&self.known());
            if self.world.step(self.agenda.until().unwrap_or(limit)) {
                continue;
            }
            let Some((at, deed)) = self.agenda.pop() else { break };
            self.world.now = self.world.now.max(at);
            self.perform(deed);
        }
        assert!(!self.world.step(limit + LIMIT), "the ends come to no rest");
    }

    /// What the agenda may know now.
    fn known(&self) -> Known {
        let [judging, other] = [true, false].map(|judging| &self.stories[self.role(judging)]);
        let other_began = look(other).began;
        let judging = look(judging);
        let question = if self.cell.kind.is_gated() { judging.asked } else { judging.connected };
        Known { now: self.world.now, began: judging.began, other_began, question, told: judging.ended.is_some() }
    }

    fn perform(&mut self, deed: Deed) {
        let (judging, other, now) = (self.role(true), self.role(false), self.world.now);
        self.stories.iter().for_each(|story| look(story).now = now);
        let answer = |director: &Self| look(&director.stories[judging]).answer(director.cell.answer);
        let close = |director: &Self| look(&director.stories[judging]).close();
        match deed {
            Deed::Answer => {
                answer(self);
                // What arrives at the same instant shares the worker's turn.
                if self.cell.order == Order::VerdictFirst {
                    while self.world.step(now) {}
                }
            }
            Deed::Close => close(self),
            Deed::CloseThenAnswer => {
                close(self);
                answer(self);
            }
            Deed::AnswerThenClose => {
                answer(self);
                close(self);
            }
            Deed::AnswerTurnClose => {
                answer(self);
                self.world.turn(judging);
                close(self);
            }
            Deed::PeerCloses => return self.peer_closes(judging, other),
            Deed::Reset => return self.reset(judging, other),
            Deed::Cut => *self.cut.borrow_mut() = true,
            Deed::Done => {
                self.done();
                self.world.turn(0);
                return;
            }
        }
        self.world.turn(judging);
    }

    fn done(&mut self) {
        let [alive, complete] = [|story: &Story| story.ended.is_none(), Story::has_everything];
        let both = |is: fn(&Story) -> bool| self.stories.iter().all(|story| is(&look(story)));
        if !both(|story| story.connected.is_some()) || !both(alive) {
            return;
        }
        let all = both(complete);
        let mut client = look(&self.stories[0]);
        if !all {
            client.faults.push("not everything has arrived".into());
        }
        let now = client.now;
        client.called = Some(now);
        if let Some(connection) = &client.handle {
            connection.close(DONE.into(), tercel::Bytes::new());
        }
        client.see(super::monitor::Seen::CloseCalled);
    }

    fn peer_closes(&mut self, judging: usize, other: usize) {
        match self.cell.close {
            Close::PeerApplication => {
                look(&self.stories[other]).close();
                self.world.turn(other);
            }
            Close::StatelessReset => look(&self.stories[other]).vanished = true,
            _ => {
                let accepted = !self.cell.kind.is_gated() || self.cell.answer == Answer::Accept;
                let level = match self.cell.order {
                    Order::Start | Order::Midway => EncryptionLevel::Initial,
                    Order::Late if accepted => EncryptionLevel::OneRtt,
                    _ => EncryptionLevel::Handshake,
                };
                let from = self.world.hosts[judging].role;
                let forged = self.observer.borrow_mut().forge(from, level, UNKNOWN_FRAME);
                if let Some(forged) = forged {
                    self.inject(judging, other, &forged);
                }
            }
        }
    }

    /// The other end, or who stands in for it, has no state for what the judging end sends.
    fn reset(&mut self, judging: usize, other: usize) {
        let token = self.observer.borrow().server_reset_token;
        let Some(token) = token.filter(|_| other == 1) else { return };
        let datagram = [&[0x55; 26][..], &token].concat();
        self.inject(other, judging, &datagram);
    }

    fn inject(&mut self, from: usize, to: usize, datagram: &[u8]) {
        let address = [client_address(), server_address()];
        let datagram = Datagram::new(address[from], address[to], Ecn::NotEct, datagram);
        self.world.network.inject(self.world.now, to, datagram);
    }

    fn finish(mut self) -> Finished {
        let mut faults = std::mem::take(&mut self.observer.borrow_mut().faults);
        self.listener = None;
        for end in [0, 1] {
            // After the end the token and the handle may be let go of.
            let held = {
                let mut story = look(&self.stories[end]);
                (story.handle.take(), story.pending.take())
            };
            drop(held);
            self.world.hosts[end].registration = None;
            self.world.turn(end);
            self.world.hosts[end].check_end();
            if self.stories[end].is_poisoned() {
                faults.push("a handler has panicked, see above".into());
            }
            faults.append(&mut look(&self.stories[end]).faults);
            if !look(&self.stories[end]).is_over() {
                faults.push(format!("{:?} has not ended", self.world.hosts[end].role));
            }
        }
        if take_recursions() > 0 {
            faults.push("a handler was called within another".into());
        }
        let hosts = &mut self.world.hosts;
        let handshake_datagrams = [hosts[0].sent_in_handshake, hosts[1].sent_in_handshake];
        let closes = [std::mem::take(&mut hosts[0].closes), std::mem::take(&mut hosts[1].closes)];
        let trace = self.world.network.watch.trace();
        Finished { cell: self.cell, stories: self.stories, handshake_datagrams, closes, faults, trace }
    }
}

impl Story {
    /// The connection exists: who closes at the start does it now.
    fn start(&mut self, cell: Cell) {
        if cell.order == Order::Start && self.closes() {
            self.close();
        }
    }
}
