//! The applications of one simulated host: what its connections are to do, how far they are, and the
//! law of their events.
//!
//! Handlers only lock the [`Players`] and pass on what they hear. Every broken rule panics there, which
//! poisons the lock: so the [`Machine`](super::Machine) finds out although workers survive the panics
//! of handlers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tercel::{
    AtLimit, Bytes, CloseReason, Connection, ConnectionEvent, DatagramPriority, DatagramSendState, Direction,
    NewStream, Role, Stream, StreamEvent, StreamId, StreamOptions, Time,
};

use super::flow::{Ends, Fate, Flow, REFUSE};
use super::ways::Later;
use crate::random::Random;

/// The code with which an application closes that has reached its goals.
pub const DONE: u32 = 0x7e;

/// What an application wants with a connection.
#[derive(Debug, Clone)]
pub struct Script {
    /// How many two-way streams to open.
    pub bidi: u64,
    /// How many one-way streams to open.
    pub uni: u64,
    /// How many bytes each of them carries at most; at least half as many.
    pub bytes: u64,
    /// How many bytes of a stream may be under way.
    pub window: u64,
    /// The part of its streams that it resets, stops or refuses.
    pub odd: f64,
    /// How many datagrams to send.
    pub datagrams: u64,
    /// How many streams of the other end must be over before it is done.
    pub awaits: u64,
    /// Whether it closes when it is done.
    pub closes: bool,
    /// Whether it opens its streams without waiting for the handshake.
    pub early: bool,
    /// Whether its streams send and receive in every way that there is.
    pub ways: bool,
}

/// A connection of a host.
pub(super) struct Player {
    pub(super) role: Role,
    pub(super) began: Time,
    script: Script,
    random: Random,
    /// The application's handle; `None` once let go of.
    pub(super) handle: Option<Connection>,
    connected: Option<Time>,
    confirmed: bool,
    /// Whether a ShutdownInitiated event came.
    initiated: bool,
    /// Whether this end has closed it.
    pub(super) closed_here: bool,
    /// When a stream did not start, so that the connection must be over at that very time.
    over_since: Option<Time>,
    /// How it ended.
    pub(super) ended: Option<(Time, bool, CloseReason)>,
    flows: Vec<(Flow, Option<Stream>)>,
    open_flows: usize,
    over: [u64; 2],
    opened: [u64; 2],
    theirs: BTreeSet<StreamId>,
    /// Datagrams that were sent and are not settled, and whether they left.
    datagrams: BTreeMap<u64, bool>,
    datagrams_seen: BTreeSet<u64>,
}

/// All connections of a host.
pub(super) struct Players {
    pub(super) now: Time,
    pub(super) random: Random,
    pub(super) all: Vec<Player>,
    /// Whether the host closes whatever comes.
    pub(super) leaves: bool,
    /// How many listeners were started, and which of them have stopped.
    pub(super) listeners: usize,
    pub(super) stopped: BTreeSet<usize>,
    /// What the applications are about to do, by the time and in order.
    pub(super) later: BTreeMap<(Time, u64), Box<dyn FnOnce() + Send>>,
    pub(super) laters: u64,
    /// What listeners heard of load being shed.
    pub(super) shedding: Vec<bool>,
}

/// The same, as handlers hold it.
pub(super) type Shared = Arc<Mutex<Players>>;

fn with<T>(players: &Shared, look: impl FnOnce(&mut Players) -> T) -> T {
    // Poisoned: what broke a rule before must not hide behind what follows from it.
    look(&mut players.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Players {
    /// From now on everything is closed.
    pub(super) fn leave(&mut self) {
        self.leaves = true;
        self.all.iter_mut().for_each(|player| player.closed_here = true);
    }

    /// A new connection's place.
    pub(super) fn begin(&mut self, role: Role, script: Script) -> usize {
        let random = self.random.fork();
        self.all.push(Player {
            role,
            began: self.now,
            script,
            random,
            handle: None,
            connected: None,
            confirmed: false,
            initiated: false,
            closed_here: self.leaves,
            over_since: None,
            ended: None,
            flows: Vec::new(),
            open_flows: 0,
            over: [0; 2],
            opened: [0; 2],
            theirs: BTreeSet::new(),
            datagrams: BTreeMap::new(),
            datagrams_seen: BTreeSet::new(),
        });
        self.all.len() - 1
    }
}

/// The handler of a connection.
pub(super) fn connection_handler(
    players: Shared,
    index: usize,
) -> impl FnMut(&Connection, ConnectionEvent<'_>) + Send + 'static {
    move |connection, event| {
        let lock = players.clone();
        with(&players, |players| {
            let now = players.now;
            players.all[index].event(now, &lock, index, connection, event);
        });
    }
}

fn stream_handler(players: Shared, index: usize, flow: usize) -> impl FnMut(&Stream, StreamEvent<'_>) + Send + 'static {
    move |stream, event| {
        with(&players, |players| {
            let now = players.now;
            let later = players.all[index].stream_event(now, flow, stream, event);
            for Later { after, act } in later {
                players.later.insert((now + after, players.laters), act);
                players.laters += 1;
            }
        });
    }
}

impl Player {
    /// Opens its streams.
    pub(super) fn open_streams(&mut self, players: &Shared, index: usize, connection: &Connection) {
        let wanted = [self.script.bidi, self.script.uni];
        for direction in Direction::ALL {
            while self.opened[direction as usize] < wanted[direction as usize] {
                let id = StreamId::new(self.role, direction, self.opened[direction as usize]);
                let len = self.random.within(self.script.bytes / 2..=self.script.bytes);
                let mut flow = Flow::mine(id, len, self.fate(len, direction), self.script.window, &mut self.random);
                if self.script.ways {
                    flow = flow.in_every_way(self.random.fork());
                }
                let buffers = flow.buffers();
                self.opened[direction as usize] += 1;
                self.open_flows += 1;
                let at = self.flows.len();
                self.flows.push((flow, None));
                let handler = stream_handler(players.clone(), index, at);
                let at_limit = if self.script.ways { AtLimit::Ahead } else { AtLimit::Wait };
                let options = StreamOptions { at_limit, announce: self.script.ways, ..StreamOptions::default() };
                let opened = match buffers {
                    Some(buffers) => connection.open_stream_into(options, buffers, handler),
                    None => connection.open_stream_with(direction, options, handler),
                };
                let Ok(stream) = opened else {
                    // The connection is over: the handler hears nothing.
                    assert!(self.is_closing() || self.closed_here, "{id:?} cannot be opened");
                    self.open_flows -= 1;
                    return;
                };
                if self.random.chance(0.2) {
                    let _ = stream.set_priority(self.random.below(5) as i32 - 2);
                }
                if self.random.chance(0.5) {
                    self.flows[at].0.write(&stream);
                }
                self.flows[at].1 = Some(stream);
            }
        }
    }

    fn fate(&mut self, len: u64, direction: Direction) -> Fate {
        match self.random.chance(self.script.odd) {
            false => Fate::Whole,
            true if direction == Direction::Bidirectional && self.random.chance(0.5) => {
                Fate::Stop(self.random.below(len))
            }
            true => Fate::Reset(self.random.below(len)),
        }
    }

    fn is_closing(&self) -> bool {
        self.initiated || self.ended.is_some()
    }

    fn event(
        &mut self,
        now: Time,
        players: &Shared,
        index: usize,
        connection: &Connection,
        event: ConnectionEvent<'_>,
    ) {
        assert!(self.ended.is_none(), "{event:?} after the last event");
        let winds_up = matches!(
            event,
            ConnectionEvent::DatagramSendStateChanged { .. } | ConnectionEvent::ShutdownComplete { .. }
        );
        assert!(!self.initiated || winds_up, "{event:?} although the connection is over");
        match event {
            ConnectionEvent::Connected { alpn, .. } => {
                assert!(self.connected.replace(now).is_none(), "connected twice");
                assert_eq!(alpn, crate::crypto::ALPN);
                self.open_streams(players, index, connection);
                self.send_datagrams(connection);
                self.check_done(connection);
            }
            ConnectionEvent::HandshakeConfirmed => {
                assert!(self.connected.is_some() && !std::mem::replace(&mut self.confirmed, true), "confirmed twice");
            }
            ConnectionEvent::PeerStreamStarted(new) => {
                self.accept(players, index, new);
                self.check_done(connection);
            }
            ConnectionEvent::DatagramReceived(data) => {
                let number = data.first_chunk().map_or(u64::MAX, |number| u64::from_be_bytes(*number));
                assert!(data.iter().skip(8).all(|byte| *byte == number as u8), "a damaged datagram");
                assert!(self.datagrams_seen.insert(number), "datagram {number} came twice");
            }
            ConnectionEvent::DatagramSendStateChanged { context, state } => match state {
                DatagramSendState::Sent => {
                    assert_eq!(self.datagrams.insert(context, true), Some(false), "{context} is sent");
                }
                DatagramSendState::LostSuspect => assert_eq!(self.datagrams.get(&context), Some(&true)),
                DatagramSendState::Canceled => assert_eq!(self.datagrams.remove(&context), Some(false)),
                _ => assert!(self.datagrams.remove(&context).is_some(), "datagram {context} is settled twice"),
            },
            ConnectionEvent::ShutdownInitiatedByPeer { .. } | ConnectionEvent::ShutdownInitiatedByTransport { .. } => {
                self.initiated = true;
                // The word of the peer's application may be awaited for a moment.
                let bound = self.over_since.map(|since| since + Duration::from_millis(60));
                assert!(bound.is_none_or(|bound| now <= bound), "a stream did not start, for no reason");
            }
            ConnectionEvent::ShutdownComplete { handshake_completed, reason } => {
                assert_eq!(handshake_completed, self.connected.is_some());
                assert_eq!(self.open_flows, 0, "the connection ends before its streams");
                assert!(self.datagrams.is_empty(), "datagrams without an end: {:?}", self.datagrams);
                self.ended = Some((now, handshake_completed, reason.clone()));
                let here = matches!(reason, CloseReason::LocalApplication { .. } | CloseReason::Silent);
                assert!(here != self.initiated, "{reason:?}, and initiated by the other end: {}", self.initiated);
                assert!(!here || self.closed_here, "{reason:?}, but nobody here has closed it");
            }
            _ => {}
        }
    }

    /// The peer has opened a stream.
    fn accept(&mut self, players: &Shared, index: usize, new: NewStream) {
        let id = new.id();
        assert!(id.initiator() != self.role && self.theirs.insert(id), "{id:?} cannot be opened by the peer");
        if self.random.chance(self.script.odd / 4.0) {
            self.over[1] += 1;
            return match self.random.chance(0.5) {
                true => new.refuse(REFUSE.into()),
                false => drop(new),
            };
        }
        let fate = match self.random.chance(self.script.odd / 4.0) {
            true => Fate::Stop(self.random.below(self.script.bytes.max(1))),
            false => Fate::Whole,
        };
        let at = self.flows.len();
        let mut flow = Flow::theirs(id, fate, self.script.window, &mut self.random);
        if self.script.ways {
            flow = flow.in_every_way(self.random.fork());
        }
        let buffers = flow.buffers();
        self.flows.push((flow, None));
        let handler = stream_handler(players.clone(), index, at);
        let accepted = match buffers {
            Some(buffers) => new.accept_into(buffers, handler),
            None => new.accept(handler),
        };
        match accepted {
            Ok(stream) if self.random.chance(0.5) => stream.detach(),
            Ok(stream) => self.flows[at].1 = Some(stream),
            Err(error) => panic!("{id:?} cannot be accepted: {error}"),
        }
        self.open_flows += 1;
    }

    /// Gives what the application does later because of it.
    fn stream_event(&mut self, now: Time, at: usize, stream: &Stream, event: StreamEvent<'_>) -> Vec<Later> {
        if matches!(event, StreamEvent::Started(Err(_))) && !self.closed_here {
            self.over_since.get_or_insert(now);
        }
        let ends = Ends { told: self.initiated, asked: self.closed_here || self.over_since.is_some() };
        let Some((flow, handle)) = self.flows.get_mut(at) else { return Vec::new() };
        flow.event(stream, event, ends);
        let later = flow.later();
        if !flow.over {
            return later;
        }
        if !(ends.told || ends.asked) {
            flow.check_end();
        }
        self.over[usize::from(!flow.mine)] += 1;
        self.open_flows -= 1;
        drop(handle.take());
        self.check_done(&stream.connection());
        later
    }

    fn send_datagrams(&mut self, connection: &Connection) {
        let Some(largest) = connection.max_datagram_size() else { return };
        for number in 0..self.script.datagrams {
            let mut data = vec![number as u8; self.random.within(8..=largest as u64) as usize];
            data[..8].copy_from_slice(&number.to_be_bytes());
            let priority = if number.is_multiple_of(3) { DatagramPriority::Urgent } else { DatagramPriority::Normal };
            self.datagrams.insert(number, false);
            if connection.send_datagram_with(Bytes::from(data), number, priority).is_err() {
                self.datagrams.remove(&number);
            }
        }
    }

    /// Whether all its goals are reached.
    pub(super) fn is_done(&self) -> bool {
        self.connected.is_some()
            && self.over[0] == self.script.bidi + self.script.uni
            && self.over[1] >= self.script.awaits
    }

    fn check_done(&mut self, connection: &Connection) {
        if self.script.closes && !self.closed_here && !self.is_closing() && self.is_done() {
            self.closed_here = true;
            connection.close(DONE.into(), Bytes::from_static(b"done"));
        }
    }

    /// Whether its handshake was completed.
    pub(super) const fn was_connected(&self) -> bool {
        self.connected.is_some()
    }

    /// Whether its handshake was confirmed.
    pub(super) const fn is_confirmed(&self) -> bool {
        self.confirmed
    }

    /// How far it is, for people.
    pub(super) fn progress(&self) -> String {
        let Script { bidi, uni, awaits, .. } = self.script;
        let open: Vec<_> = self.flows.iter().map(|(flow, _)| flow).filter(|flow| !flow.over).take(2).collect();
        let [mine, theirs] = self.over;
        let (role, connected, ended) = (self.role, self.connected, &self.ended);
        let wanted = bidi + uni;
        format!(
            "{role:?}: connected {connected:?}, {mine} of {wanted} own and {theirs} of {awaits} of the other's \
             streams are over, ended {ended:?}; open: {open:?}"
        )
    }
}
