//! The application that most scenarios use, at both ends: it opens streams and sends on them,
//! echoes what comes on the other's two-way streams, reads the other's one-way streams, and checks
//! every byte.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use tercel_proto::connection::{Connection, Event};
use tercel_proto::datagram::{DatagramEvent, DatagramPriority, DatagramSendState};
use tercel_proto::error::{ApiMisuse, CloseReason};
use tercel_proto::path::PathAddress;
use tercel_proto::stream::StreamEvent;
use tercel_proto::time::Time;
use tercel_wire::{ApplicationErrorCode, Direction, Role, StreamId};

use super::Application;
use super::lines::{Fate, Line, STOP};
use crate::random::Random;

/// The code with which an application closes that has reached its goals.
pub const DONE: u32 = 0x7e;

/// How an application reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reading {
    /// Everything at once.
    #[default]
    Eager,
    /// So many bytes of each stream, every so often.
    Slow(usize, Duration),
    /// Nothing until so long after the handshake.
    Stalled(Duration),
}

/// A change in where a client speaks from.
#[derive(Debug, Clone, Copy)]
pub struct Move {
    /// How long after the handshake.
    pub after: Duration,
    /// The local address.
    pub local: SocketAddr,
    /// What is to be done with it.
    pub how: How,
}

/// See [`Move`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// The client moves there at once.
    AtOnce,
    /// It moves there if that works.
    Probed,
    /// It may go on from there when it has to.
    Added,
    /// It may not any more.
    Removed,
}

/// The goals of an application.
#[derive(Debug, Clone)]
pub struct Script {
    /// How many two-way streams to open.
    pub bidi: u64,
    /// How many one-way streams to open.
    pub uni: u64,
    /// How many bytes each of them carries at most; at least half as many.
    pub bytes: u64,
    /// How many bytes of a stream may be queued and not acknowledged.
    pub window: u64,
    /// How it reads.
    pub reading: Reading,
    /// The part of its streams that it resets or stops on the way.
    pub odd: f64,
    /// Whether what it resets is delivered in part.
    pub resets_at: bool,
    /// How many datagrams it sends, and how often one.
    pub datagrams: (u64, Duration),
    /// How long after the handshake it updates the keys.
    pub key_updates: Vec<Duration>,
    /// The moves of a client.
    pub moves: Vec<Move>,
    /// The address of a client that it speaks the other family from.
    pub other_family: Option<SocketAddr>,
    /// How many streams of the other end must be over before it is done.
    pub awaits: u64,
    /// Whether it closes when it is done.
    pub closes: bool,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            bidi: 0,
            uni: 0,
            bytes: 0,
            window: 256 << 10,
            reading: Reading::Eager,
            odd: 0.0,
            resets_at: false,
            datagrams: (0, Duration::ZERO),
            key_updates: Vec::new(),
            moves: Vec::new(),
            other_family: None,
            awaits: 0,
            closes: false,
        }
    }
}

/// One end of a bare connection, with the script that its application follows.
#[derive(Debug)]
pub struct Peer {
    script: Script,
    random: Random,
    chunk: usize,
    connected: Option<Time>,
    ended: bool,
    lines: BTreeMap<StreamId, Line>,
    /// Streams at which something may be done.
    lively: BTreeSet<StreamId>,
    opened: [u64; 2],
    over_mine: u64,
    over_theirs: u64,
    may_open: bool,
    next_tick: Option<Time>,
    datagrams_sent: u64,
    datagram_states: BTreeMap<u64, DatagramSendState>,
    datagrams_seen: BTreeSet<u64>,
    updates_done: usize,
    moves_done: usize,
    closed_at: Option<Time>,
    /// How many bytes came in.
    pub read: u64,
    /// The path that it has moved to last, and when.
    pub path: Option<(Time, PathAddress)>,
}

impl Peer {
    /// An application with these goals.
    pub fn new(script: Script, mut random: Random) -> Self {
        Self {
            chunk: random.one_of(&[500, 4_000, 65_536]),
            script,
            random,
            connected: None,
            ended: false,
            lines: BTreeMap::new(),
            lively: BTreeSet::new(),
            opened: [0; 2],
            over_mine: 0,
            over_theirs: 0,
            may_open: false,
            next_tick: None,
            datagrams_sent: 0,
            datagram_states: BTreeMap::new(),
            datagrams_seen: BTreeSet::new(),
            updates_done: 0,
            moves_done: 0,
            closed_at: None,
            read: 0,
            path: None,
        }
    }

    /// Whether all its goals are reached.
    pub fn is_done(&self) -> bool {
        self.connected.is_some()
            && self.over_mine == self.script.bidi + self.script.uni
            && self.over_theirs >= self.script.awaits
            && self.datagrams_sent == self.script.datagrams.0
            && self.updates_done == self.script.key_updates.len()
            && self.moves_done == self.script.moves.len()
    }

    /// When it closed because it was done.
    pub const fn closed_at(&self) -> Option<Time> {
        self.closed_at
    }

    /// How far it is, for people.
    pub fn progress(&self) -> String {
        let Script { bidi, uni, awaits, .. } = self.script;
        let open: Vec<_> = self.lines.values().take(3).collect();
        format!(
            "{} of {} own and {} of {awaits} of the other's streams are over, {} datagrams sent; open: {open:?}",
            self.over_mine,
            bidi + uni,
            self.over_theirs,
            self.datagrams_sent,
        )
    }

    /// Checks why the connection ended: `true` if because all was done.
    pub fn judge(&self, reason: &CloseReason) -> bool {
        match reason {
            CloseReason::LocalApplication { code } => *code == ApplicationErrorCode::from(DONE) && self.is_done(),
            CloseReason::PeerApplication { code, .. } => *code == ApplicationErrorCode::from(DONE),
            _ => false,
        }
    }

    fn open_streams(&mut self, connection: &mut Connection) -> bool {
        let mut busy = false;
        let wanted = [self.script.bidi, self.script.uni];
        for (kind, direction) in Direction::ALL.into_iter().enumerate() {
            while self.opened[kind] < wanted[kind] {
                let available = connection.streams_available(direction);
                let id = match connection.open_stream(direction) {
                    Ok(id) => id,
                    Err(error) => {
                        assert_eq!((error, available), (ApiMisuse::StreamLimit, 0));
                        break;
                    }
                };
                let len = self.random.within(self.script.bytes / 2..=self.script.bytes);
                let fate = match self.random.chance(self.script.odd) {
                    false => Fate::Whole,
                    true if direction == Direction::Bidirectional && self.random.chance(0.5) => {
                        Fate::Stop(self.random.below(len))
                    }
                    true if self.script.resets_at => {
                        let at = self.random.below(len);
                        Fate::ResetAt(at, self.random.within(0..=at))
                    }
                    true => Fate::Reset(self.random.below(len)),
                };
                if self.random.chance(0.2) {
                    let priority = self.random.below(5) as i32 - 2;
                    assert_eq!(connection.set_priority(id, priority), Ok(()));
                }
                self.lines.insert(id, Line::mine(id, len, fate));
                self.lively.insert(id);
                self.opened[kind] += 1;
                busy = true;
            }
        }
        busy
    }

    fn may_read(&self, now: Time) -> bool {
        match (self.script.reading, self.connected) {
            (Reading::Stalled(stall), Some(connected)) => now >= connected + stall,
            _ => true,
        }
    }

    fn serve(&mut self, now: Time, connection: &mut Connection) -> bool {
        let mut busy = false;
        let slow = matches!(self.script.reading, Reading::Slow(..));
        let most = match self.script.reading {
            _ if !self.may_read(now) => 0,
            Reading::Slow(bytes, _) if self.next_tick.is_some_and(|tick| tick <= now) => bytes,
            Reading::Slow(..) => 0,
            _ => usize::MAX,
        };
        for id in std::mem::take(&mut self.lively) {
            let Some(line) = self.lines.get_mut(&id) else { continue };
            let before = line.input.as_ref().map_or(0, |input| input.read);
            busy |= line.read(now, connection, self.script.window, most);
            self.read += line.input.as_ref().map_or(0, |input| input.read) - before;
            busy |= line.write(connection, self.script.window, self.chunk);
            let waits = line.input.as_ref().is_some_and(|input| !input.over) && (slow || most == 0);
            if waits {
                self.lively.insert(id);
            }
        }
        if let Reading::Slow(_, every) = self.script.reading
            && self.connected.is_some()
            && self.next_tick.is_none_or(|tick| tick <= now)
        {
            self.next_tick = Some(now + every);
        }
        busy
    }

    fn send_datagrams(&mut self, now: Time, connected: Time, connection: &mut Connection) -> bool {
        let (count, every) = self.script.datagrams;
        let mut busy = false;
        while self.datagrams_sent < count && now >= connected + every * self.datagrams_sent as u32 {
            let number = self.datagrams_sent;
            self.datagrams_sent += 1;
            let largest = connection.max_datagram_size().unwrap_or_else(|| panic!("datagrams are off"));
            assert!(largest >= 1000, "datagrams of at most {largest} bytes");
            let priority = if number.is_multiple_of(3) { DatagramPriority::Urgent } else { DatagramPriority::Normal };
            let mut data = vec![number as u8; self.random.within(8..=largest as u64) as usize];
            data[..8].copy_from_slice(&number.to_be_bytes());
            assert_eq!(connection.send_datagram(data.into(), priority), Ok(number));
            busy = true;
        }
        busy
    }

    fn on_datagram(&mut self, event: &DatagramEvent) {
        match event {
            DatagramEvent::Received { data, .. } => {
                let number = data.first_chunk().map(|number| u64::from_be_bytes(*number));
                let number = number.unwrap_or_else(|| panic!("a datagram of {} bytes", data.len()));
                assert!(data[8..].iter().all(|byte| *byte == number as u8), "a damaged datagram");
                assert!(self.datagrams_seen.insert(number), "datagram {number} came twice");
            }
            DatagramEvent::SendState { number, state } => {
                assert!(*number < self.datagrams_sent);
                let before = self.datagram_states.insert(*number, *state);
                let follows = match state {
                    DatagramSendState::Sent | DatagramSendState::Canceled => before.is_none(),
                    DatagramSendState::LostSuspect | DatagramSendState::Acknowledged => {
                        before == Some(DatagramSendState::Sent)
                    }
                    DatagramSendState::LostDiscarded | DatagramSendState::AcknowledgedSpurious => {
                        before == Some(DatagramSendState::LostSuspect)
                    }
                };
                assert!(follows, "datagram {number} is {state:?} after {before:?}");
            }
            _ => {}
        }
    }

    fn on_stream(&mut self, event: StreamEvent, role: Role) {
        match event {
            StreamEvent::Opened(id) => {
                assert_ne!(id.initiator(), role, "{id:?} is ours and cannot be opened by the peer");
                let mut line = Line::theirs(id);
                if self.random.chance(self.script.odd / 2.0) {
                    line.fate = Fate::Stop(self.random.below(self.script.bytes.max(1)));
                }
                self.lines.insert(id, line);
                self.lively.insert(id);
            }
            StreamEvent::Readable(id) => drop(self.lively.insert(id)),
            StreamEvent::Acked { id, offset, fin } => {
                let line = self.lines.get_mut(&id).unwrap_or_else(|| panic!("{id:?} acknowledged, which is unknown"));
                let out = line.out.as_mut().unwrap_or_else(|| panic!("{id:?} acknowledged, which is theirs"));
                assert!(offset >= out.acked && offset <= out.written, "{offset} bytes of {out:?} acknowledged");
                assert!(!fin || (offset == out.written && out.over), "the end of {out:?} acknowledged");
                out.acked = offset;
                out.delivered |= fin;
                self.lively.insert(id);
            }
            StreamEvent::Stopped { id, code } => {
                assert_eq!(code, ApplicationErrorCode::from(STOP));
                if let Some(line) = self.lines.get_mut(&id) {
                    line.stopped = true;
                    if let Some(out) = &mut line.out {
                        out.over = true;
                    }
                    self.lively.insert(id);
                }
            }
            StreamEvent::Closed(id) => {
                if let Some(line) = self.lines.remove(&id) {
                    line.check_end();
                    *if line.mine { &mut self.over_mine } else { &mut self.over_theirs } += 1;
                }
            }
            StreamEvent::Available(_) => self.may_open = true,
            _ => {}
        }
    }

    fn update_keys(&mut self, now: Time, connected: Time, connection: &mut Connection) -> bool {
        let due = self.script.key_updates.get(self.updates_done).is_some_and(|after| now >= connected + *after);
        if !due {
            return false;
        }
        match connection.update_keys() {
            Ok(()) => {
                self.updates_done += 1;
                true
            }
            Err(error) => {
                assert_eq!(error, ApiMisuse::TooEarly);
                let later = now.since(connected) + Duration::from_millis(20);
                self.script.key_updates[self.updates_done] = later;
                // After an update of the other end, something of ours must be acknowledged first.
                connection.ping();
                true
            }
        }
    }
}

impl Peer {
    fn move_on(&mut self, now: Time, connected: Time, connection: &mut Connection) -> bool {
        let Some(Move { after, local, how }) = self.script.moves.get(self.moves_done).copied() else { return false };
        if now < connected + after {
            return false;
        }
        let path = PathAddress { remote: connection.remote_address(), local: Some(local) };
        let moved = match how {
            How::AtOnce => connection.migrate(now, path),
            How::Probed => connection.probe_path(now, path),
            How::Added => connection.add_local_address(now, local),
            How::Removed => connection.remove_local_address(now, local),
        };
        match moved {
            Ok(()) => self.moves_done += 1,
            Err(error) => {
                // Not confirmed, or no connection ID for another path yet.
                assert_eq!(error, ApiMisuse::TooEarly);
                self.script.moves[self.moves_done].after = now.since(connected) + Duration::from_millis(50);
            }
        }
        true
    }
}

impl Application for Peer {
    fn event(&mut self, now: Time, connection: &mut Connection, event: &Event) {
        match event {
            Event::Connected(_) => {
                self.connected = Some(now);
                self.may_open = true;
            }
            Event::Stream(event) => self.on_stream(*event, connection.role()),
            Event::Datagram(event) => self.on_datagram(event),
            Event::PathChanged(path) => self.path = Some((now, *path)),
            Event::LocalAddressWanted { .. } => {
                self.script.other_family.into_iter().for_each(|local| connection.offer_local_address(now, local));
            }
            Event::Closing(_) => self.ended = true,
            _ => {}
        }
    }

    fn act(&mut self, now: Time, connection: &mut Connection) -> bool {
        let Some(connected) = self.connected.filter(|_| !self.ended) else { return false };
        let mut busy = std::mem::take(&mut self.may_open) && self.open_streams(connection);
        busy |= self.serve(now, connection);
        busy |= self.send_datagrams(now, connected, connection);
        busy |= self.update_keys(now, connected, connection);
        busy |= self.move_on(now, connected, connection);
        if self.script.closes && self.is_done() {
            self.ended = true;
            self.closed_at = Some(now);
            connection.close(now, DONE.into(), Bytes::from_static(b"done"));
            busy = true;
        }
        busy
    }

    fn next_time(&self) -> Option<Time> {
        let connected = self.connected.filter(|_| !self.ended)?;
        let read = match self.script.reading {
            Reading::Eager => None,
            Reading::Slow(..) => self.next_tick.filter(|_| !self.lively.is_empty()),
            Reading::Stalled(stall) => Some(connected + stall).filter(|_| !self.lively.is_empty()),
        };
        let (count, every) = self.script.datagrams;
        let datagram = (self.datagrams_sent < count).then(|| connected + every * self.datagrams_sent as u32);
        let update = self.script.key_updates.get(self.updates_done).map(|after| connected + *after);
        let moves = self.script.moves.get(self.moves_done).map(|next| connected + next.after);
        [read, datagram, update, moves].into_iter().flatten().min()
    }
}
