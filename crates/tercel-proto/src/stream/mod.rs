//! Streams (RFC 9000 sections 2, 3 and 4): the sole owner of everything about them.
//!
//! The application's calls and the peer's STREAM, RESET_STREAM, RESET_STREAM_AT, STOP_SENDING and limit frames come
//! in; frames leave by [`Streams::write_control`] and [`Streams::write_data`], and events by
//! [`Streams::poll_event`]. A stream has up to two parts, `send` and `recv`, each a state
//! machine of section 3; this file finds them, and keeps the limits that streams share.

mod blocked;
mod flow;
mod id_limits;
mod id_map;
mod packets;
mod peer;
mod recv;
mod schedule;
mod send;
mod send_buffer;
mod table;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use tercel_wire::frame::ResetStreamAtType;
use tercel_wire::{ApplicationErrorCode, Direction, Role, StreamId, TransportErrorCode, TransportParameters};

use self::blocked::{Meter, Watches};
use self::flow::{ReceiveWindow, SendLimit};
use self::id_limits::{LocalIds, RemoteIds};
use self::recv::Recv;
use self::schedule::{Place, Schedule};
use self::send::Send;
use self::table::Table;
use crate::config::TransportConfig;
use crate::error::{ApiMisuse, Violation};
use crate::rare_queue::RareQueue;
use crate::time::Time;

pub use self::blocked::{BlockedTimes, EndedStats, Hindrance, StreamStats};
pub use self::id_map::IdMap;
pub use self::schedule::StreamScheduling;

/// What a read gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// The next bytes.
    Data(Bytes),
    /// Nothing yet; a `Readable` event follows when there is.
    Blocked,
    /// Everything was read and the peer sent no more (FIN).
    Finished,
    /// The peer reset the stream.
    Reset(ApplicationErrorCode),
}

/// What happened on a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum StreamEvent {
    /// The peer opened it.
    Opened(StreamId),
    /// There is something to read (data, end or reset). Not repeated until a read was blocked.
    Readable(StreamId),
    /// All bytes before `offset` were acknowledged; with `fin`, the end too: the sending part is
    /// done.
    Acked { id: StreamId, offset: u64, fin: bool },
    /// The peer wants no more data on it; the sending part was reset with the same code.
    Stopped { id: StreamId, code: ApplicationErrorCode },
    /// The peer has acknowledged our reset, and what it promised to deliver: the sending part is done.
    ResetAcked(StreamId),
    /// Both parts are done; the ID means nothing any more.
    Closed(StreamId),
    /// The peer permits more streams.
    Available(Direction),
    /// The peer would open more streams than it may. Once for each limit.
    Wanted(Direction),
    /// The peer permits a stream that was opened ahead of its limit.
    Accepted(StreamId),
    /// Something that was sent on it is lost, and that was to be its end: nothing more is sent, and the
    /// sending part waits to be reset with a code of the application's choice.
    CanceledByLoss(StreamId),
}

/// When data is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Flush {
    /// As soon as may be.
    #[default]
    Now,
    /// With what follows: on any stream, or because something else is to be sent.
    WithNext,
}

/// Receive windows of streams at their start.
#[derive(Debug, Clone, Copy)]
struct Windows {
    initial: u64,
    max: u64,
}

/// All streams of a connection.
#[derive(Debug)]
pub struct Streams {
    role: Role,
    windows: Windows,
    streams: Table,
    local: [LocalIds; 2],
    remote: [RemoteIds; 2],
    /// The peer's limit on the data of all streams.
    send_limit: SendLimit,
    receive_window: ReceiveWindow,
    /// The sum of the highest offsets received.
    received: u64,
    /// The peer's first limits on the data of a stream: that we opened in both directions, that it
    /// opened, that we opened in one.
    peer_limits: PeerLimits,
    /// The type by which the peer knows RESET_STREAM_AT, if it does.
    reset_at: Option<ResetStreamAtType>,
    /// Streams with something to send that uses up no credit, and streams with new data. What is
    /// repeated must not wait behind what is held back by the connection's limit: the peer may be
    /// unable to raise it before.
    repeats: Schedule,
    schedule: Schedule,
    scheduling: StreamScheduling,
    /// How many bytes the stream whose turn it is may still send before the next has its turn.
    turn_left: u64,
    /// How many bytes wait only for more to follow ([`Flush::WithNext`]); 0 if nothing does.
    lingering: u64,
    /// Streams opened ahead of the peer's limit.
    ahead: BTreeSet<StreamId>,
    /// Streams of the peer's that count as open until they are released, and whether they are over.
    held: BTreeMap<StreamId, bool>,
    /// Streams with a control frame to say.
    control: BTreeSet<StreamId>,
    /// Streams that the peer's limit on their data has stopped; some may have gone on since.
    limited: BTreeSet<StreamId>,
    events: VecDeque<StreamEvent>,
    retransmitted: u64,
    /// Measures what keeps streams from sending, if anybody wants to know.
    watches: Option<Box<Watches>>,
    /// What streams that have ended have done, until the application has heard of their end, and of the last of which it
    /// has, if it is still there.
    ended: RareQueue<(StreamId, EndedStats)>,
    heard_of_ended: bool,
}

/// How many bytes a stream sends in its turn: enough that sender, receiver and the receiver's
/// application do more than a packet's worth of work on it before they go on to the next.
const TURN: u64 = 16 << 10;

/// So many bytes do not wait for more to follow.
const MAX_LINGERING: u64 = 16 << 10;

#[derive(Debug, Clone, Copy, Default)]
struct PeerLimits {
    bidi_ours: u64,
    bidi_theirs: u64,
    uni: u64,
}

impl Streams {
    /// No streams yet; the peer's limits are all 0.
    pub fn new(role: Role, config: &TransportConfig) -> Self {
        Self {
            role,
            windows: Windows { initial: config.stream_receive_window, max: config.max_stream_receive_window },
            streams: Table::default(),
            local: [LocalIds::default(), LocalIds::default()],
            remote: [RemoteIds::new(config.max_bidi_streams), RemoteIds::new(config.max_uni_streams)],
            send_limit: SendLimit::default(),
            receive_window: ReceiveWindow::new(config.receive_window, config.max_receive_window),
            received: 0,
            peer_limits: PeerLimits::default(),
            reset_at: None,
            repeats: Schedule::default(),
            schedule: Schedule::default(),
            scheduling: config.stream_scheduling,
            turn_left: TURN,
            lingering: 0,
            ahead: BTreeSet::new(),
            held: BTreeMap::new(),
            control: BTreeSet::new(),
            limited: BTreeSet::new(),
            events: VecDeque::new(),
            retransmitted: 0,
            watches: config.stream_statistics.then(|| Box::new(Watches::new())),
            ended: RareQueue::new(),
            heard_of_ended: false,
        }
    }

    /// The peer's transport parameters, or those remembered for early data.
    pub fn set_peer_parameters(&mut self, parameters: &TransportParameters) {
        self.peer_limits = PeerLimits {
            // Local and remote are from the point of view of who sent the parameters.
            bidi_ours: parameters.initial_max_stream_data_bidi_remote,
            bidi_theirs: parameters.initial_max_stream_data_bidi_local,
            uni: parameters.initial_max_stream_data_uni,
        };
        self.reset_at = match (parameters.reset_stream_at, parameters.reliable_reset) {
            (true, _) => Some(ResetStreamAtType::Registered),
            (false, true) => Some(ResetStreamAtType::MsQuic),
            (false, false) => None,
        };
        let reset_at = self.reset_at;
        self.send_limit.raise(parameters.initial_max_data);
        let limits = [parameters.initial_max_streams_bidi, parameters.initial_max_streams_uni];
        for (direction, limit) in Direction::ALL.into_iter().zip(limits) {
            self.on_max_streams(direction, limit);
        }
        let ids = self.streams.ids();
        for id in ids {
            let limit = self.initial_send_limit(id);
            if let Some(send) = self.send_mut(id) {
                send.raise_limit(limit);
                send.set_reset_at(reset_at);
            }
            self.reschedule(id);
        }
    }

    /// Nothing will be sent any more: lets go of what the application has given to send.
    pub(crate) fn forget_sends(&mut self) {
        for (_, stream) in self.streams.iter_mut() {
            if let Some(send) = &mut stream.send {
                send.forget_data();
            }
        }
    }

    /// The server rejected early data (RFC 9001 section 4.6.2): nothing was received, the remembered
    /// limits never held, and everything is sent again.
    // RFC 9001 section 4.6.2#3.
    pub fn early_data_rejected(&mut self) {
        self.send_limit = SendLimit::default();
        self.local.iter_mut().for_each(LocalIds::forget_limit);
        // Under the limits that hold, some of the streams may have to wait.
        (self.repeats, self.schedule) = (Schedule::default(), Schedule::default());
        for (id, stream) in self.streams.iter_mut() {
            if let Some(send) = &mut stream.send {
                send.rewind();
                (send.place_of_repeats, send.place) = (Place::default(), Place::default());
                if let Some(meter) = &mut send.meter {
                    meter.refuse_early();
                }
            }
            if let Some(recv) = &mut stream.recv {
                recv.stop_lost();
            }
            self.control.insert(id);
        }
        self.limited.clear();
    }

    fn initial_send_limit(&self, id: StreamId) -> u64 {
        match (id.direction(), id.initiator() == self.role) {
            (Direction::Bidirectional, true) => self.peer_limits.bidi_ours,
            (Direction::Bidirectional, false) => self.peer_limits.bidi_theirs,
            (Direction::Unidirectional, _) => self.peer_limits.uni,
        }
    }

    // The application.

    /// Opens a stream.
    ///
    /// # Errors
    /// [`ApiMisuse::StreamLimit`]: the peer permits no more; an `Available` event follows.
    pub fn open(&mut self, direction: Direction) -> Result<StreamId, ApiMisuse> {
        let index = self.local[direction as usize].open().ok_or(ApiMisuse::StreamLimit)?;
        let id = StreamId::new(self.role, direction, index);
        self.create(id);
        Ok(id)
    }

    /// Opens a stream even if the peer permits no more for now. Then nothing is sent on it until the
    /// peer does, of which [`StreamEvent::Accepted`] tells. Gives whether the peer permits it already.
    pub fn open_ahead(&mut self, direction: Direction) -> (StreamId, bool) {
        let id = StreamId::new(self.role, direction, self.local[direction as usize].open_ahead());
        self.create(id);
        let accepted = !self.is_held_back(id);
        if !accepted {
            self.ahead.insert(id);
        }
        (id, accepted)
    }

    /// Whether the peer's limit permits a stream that this end has opened.
    pub const fn permits(&self, id: StreamId) -> bool {
        id.index() < self.local[id.direction() as usize].limit()
    }

    /// How many more streams can be opened now.
    pub const fn available(&self, direction: Direction) -> u64 {
        self.local[direction as usize].available()
    }

    /// How many streams the peer permits in all, those that were opened included.
    pub const fn limit(&self, direction: Direction) -> u64 {
        self.local[direction as usize].limit()
    }

    /// Queues data, and with `fin` the end.
    ///
    /// # Errors
    /// There is no such stream, or its sending part does not exist or has ended.
    pub fn send(&mut self, id: StreamId, data: Bytes, fin: bool) -> Result<(), ApiMisuse> {
        self.send_with(id, data, fin, Flush::Now)
    }

    /// The same, and `flush` says when.
    ///
    /// # Errors
    /// As for [`send`](Self::send).
    pub fn send_with(&mut self, id: StreamId, data: Bytes, fin: bool, flush: Flush) -> Result<(), ApiMisuse> {
        let len = data.len() as u64;
        let lingers = flush == Flush::WithNext && !self.wants_to_send_data() && self.lingering + len < MAX_LINGERING;
        self.sending_part(id)?.push(data, fin)?;
        self.lingering = if lingers { self.lingering + len.max(1) } else { 0 };
        self.reschedule(id);
        Ok(())
    }

    /// What waits only for more to follow waits no longer.
    pub const fn flush(&mut self) {
        self.lingering = 0;
    }

    /// From now on the stream is given up when something that was sent on it is lost, of which
    /// [`StreamEvent::CanceledByLoss`] tells.
    ///
    /// # Errors
    /// There is no such stream, or its sending part does not exist.
    pub fn cancel_on_loss(&mut self, id: StreamId) -> Result<(), ApiMisuse> {
        self.sending_part(id)?.cancel_on_loss();
        Ok(())
    }

    /// Tells the peer of a stream at once, with an empty STREAM frame, though there is no data yet.
    ///
    /// # Errors
    /// There is no such stream, or its sending part does not exist.
    pub fn announce(&mut self, id: StreamId) -> Result<(), ApiMisuse> {
        self.sending_part(id)?.announce();
        self.reschedule(id);
        Ok(())
    }

    /// The sending part of a stream, for the application.
    fn sending_part(&mut self, id: StreamId) -> Result<&mut Send, ApiMisuse> {
        if self.is_remote_uni(id) {
            return Err(ApiMisuse::NotSendable);
        }
        self.create_if_open(id);
        self.send_mut(id).ok_or(ApiMisuse::UnknownStream)
    }

    /// Takes the next bytes in order, at most `max`, without giving credit for them.
    ///
    /// # Errors
    /// There is no such stream, or its receiving part does not exist, was stopped, or its end or reset
    /// was read before.
    pub fn read(&mut self, id: StreamId, max: usize) -> Result<Read, ApiMisuse> {
        if self.is_local_uni(id) {
            return Err(ApiMisuse::NotReceivable);
        }
        self.create_if_open(id);
        let stream = self.streams.get_mut(id).ok_or(ApiMisuse::UnknownStream)?;
        let read = stream.recv.as_mut().ok_or(ApiMisuse::UnknownStream)?.read(max)?;
        if !matches!(read, Read::Data(_)) {
            self.close_if_done(id);
        }
        Ok(read)
    }

    /// Takes the bytes that are there, in order and at most `max`, and adds them to `into` in the pieces that they came in.
    /// Gives how many. What follows them, [`read`](Self::read) tells.
    pub fn read_pieces(&mut self, id: StreamId, max: usize, into: &mut Vec<Bytes>) -> usize {
        self.recv_mut(id).map_or(0, |recv| recv.read_pieces(max, into))
    }

    /// The code of a reset by the peer that was not read, without reading data.
    pub fn read_reset(&mut self, id: StreamId) -> Option<ApplicationErrorCode> {
        let code = self.recv_mut(id)?.read_reset()?;
        self.close_if_done(id);
        Some(code)
    }

    /// Whether the end of a stream is next to be read; it is read then.
    pub fn read_end(&mut self, id: StreamId) -> bool {
        let whole = self.recv_mut(id).is_some_and(Recv::read_end);
        if whole {
            self.close_if_done(id);
        }
        whole
    }

    /// What has come of a stream up to `end` was early data.
    pub fn note_early(&mut self, id: StreamId, end: u64) {
        if let Some(recv) = self.recv_mut(id) {
            recv.note_early(end);
        }
    }

    /// Up to which offset a stream came as early data, if anything of it did and it is not over.
    pub fn early(&self, id: StreamId) -> Option<u64> {
        self.streams.get(id)?.recv.as_ref()?.early()
    }

    /// How many bytes up to the highest offset that came in were not read yet, those that are missing included.
    pub fn unread(&self, id: StreamId) -> u64 {
        self.streams.get(id).and_then(|stream| stream.recv.as_ref()).map_or(0, Recv::unread)
    }

    /// The application has provided space for so many more bytes of a stream. From the first such call
    /// on the peer's limit on the stream is all that was provided, instead of a window that follows
    /// what is consumed; only what it was permitted before stays.
    ///
    /// # Errors
    /// There is no such stream, or its receiving part does not exist.
    pub fn provide(&mut self, id: StreamId, bytes: u64) -> Result<(), ApiMisuse> {
        if self.is_local_uni(id) {
            return Err(ApiMisuse::NotReceivable);
        }
        self.create_if_open(id);
        if self.recv_mut(id).ok_or(ApiMisuse::UnknownStream)?.provide(bytes) {
            self.control.insert(id);
        }
        Ok(())
    }

    /// A stream of the peer's counts as open, also when it is over, until it is [released](Self::release).
    pub fn hold(&mut self, id: StreamId) {
        if id.initiator() != self.role && self.streams.contains(id) {
            self.held.insert(id, false);
        }
    }

    /// A stream of the peer's counts no longer than it lives.
    pub fn release(&mut self, id: StreamId) {
        if self.held.remove(&id) == Some(true) {
            self.remote[id.direction() as usize].close(id.index());
        }
    }

    /// Takes over how many streams the peer may have open, and how far windows may grow.
    pub fn reconfigure(&mut self, config: &TransportConfig) {
        self.remote[Direction::Bidirectional as usize].set_concurrent(config.max_bidi_streams);
        self.remote[Direction::Unidirectional as usize].set_concurrent(config.max_uni_streams);
        self.windows.max = config.max_stream_receive_window;
        self.receive_window.set_max(config.max_receive_window);
    }

    /// Gives the peer credit for bytes that were read and are now consumed.
    pub fn consumed(&mut self, now: Time, rtt: Duration, id: StreamId, len: u64) {
        self.receive_window.consume(now, rtt, len);
        if let Some(recv) = self.streams.get_mut(id).and_then(|stream| stream.recv.as_mut())
            && recv.consumed(now, rtt, len)
        {
            self.control.insert(id);
        }
    }

    /// Ends the sending part abruptly.
    ///
    /// # Errors
    /// There is no such stream, or its sending part does not exist or has ended.
    pub fn reset(&mut self, id: StreamId, code: ApplicationErrorCode) -> Result<(), ApiMisuse> {
        self.sending_part(id)?.reset(code)?;
        self.measure(id);
        self.control.insert(id);
        Ok(())
    }

    /// Ends the sending part abruptly, but delivers the first `size` bytes.
    ///
    /// # Errors
    /// As for [`reset`](Self::reset); or the peer does not understand it; or `size` is more than was given
    /// to send, or than before.
    pub fn reset_at(&mut self, id: StreamId, code: ApplicationErrorCode, size: u64) -> Result<(), ApiMisuse> {
        if size == 0 {
            return self.reset(id, code);
        }
        let ty = self.reset_at.ok_or(ApiMisuse::ResetAtUnsupported)?;
        let send = self.sending_part(id)?;
        send.reset_at(ty, code, size)?;
        if send.owes_reset_at() {
            self.control.insert(id);
        }
        // What is promised may have been given up before.
        self.reschedule(id);
        Ok(())
    }

    /// Whether the peer understands [`reset_at`](Self::reset_at).
    pub const fn can_reset_at(&self) -> bool {
        self.reset_at.is_some()
    }

    /// Asks the peer to send no more; what still comes is dropped.
    ///
    /// # Errors
    /// There is no such stream, or its receiving part does not exist or has ended.
    // RFC 9000 section 3.5#1.
    pub fn stop_sending(&mut self, id: StreamId, code: ApplicationErrorCode) -> Result<(), ApiMisuse> {
        if self.is_local_uni(id) {
            return Err(ApiMisuse::NotReceivable);
        }
        self.create_if_open(id);
        let stream = self.streams.get_mut(id).ok_or(ApiMisuse::UnknownStream)?;
        let unread = stream.recv.as_mut().ok_or(ApiMisuse::UnknownStream)?.stop(code)?;
        self.receive_window.consume_silently(unread);
        self.control.insert(id);
        self.close_if_done(id);
        Ok(())
    }

    /// Sets which streams go first: higher before lower.
    ///
    /// # Errors
    /// There is no such stream, or its sending part does not exist.
    // RFC 9000 section 2.3#1.
    pub fn set_priority(&mut self, id: StreamId, priority: i32) -> Result<(), ApiMisuse> {
        self.sending_part(id)?;
        if let Some(send) = self.streams.get_mut(id).and_then(|stream| stream.send.as_mut()) {
            self.repeats.remove(&mut send.place_of_repeats, send.priority);
            self.schedule.remove(&mut send.place, send.priority);
            send.priority = priority;
        }
        self.reschedule(id);
        Ok(())
    }

    /// Sets in which order streams of equal priority send.
    pub const fn set_scheduling(&mut self, scheduling: StreamScheduling) {
        self.scheduling = scheduling;
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<StreamEvent> {
        let event = self.events.pop_front()?;
        if matches!(event, StreamEvent::Closed(_)) && !self.ended.is_empty() {
            // Nobody wants to know of the one before.
            if std::mem::replace(&mut self.heard_of_ended, true) {
                self.ended.pop_front();
            }
        }
        Some(event)
    }

    /// Lets go of room that is not in use.
    pub fn rest(&mut self) {
        self.streams.rest();
        self.remote.iter_mut().for_each(RemoteIds::rest);
        self.repeats.rest();
        self.schedule.rest();
        self.events.shrink_to_fit();
        self.ended.rest();
    }

    // Measuring.

    /// It is `now`: for what is measured.
    pub fn at(&mut self, now: Time) {
        if let Some(watches) = &mut self.watches {
            watches.now = now;
        }
    }

    /// What keeps the connection from sending, from now until the next call.
    pub fn hindered(&mut self, hindrance: Hindrance) {
        let has_something = self.repeats.first().is_some() || self.schedule.first().is_some();
        let at_limit = self.repeats.first().is_none() && self.send_limit.room() == 0;
        if let Some(watches) = &mut self.watches {
            watches.hinder(match hindrance {
                _ if !has_something => Hindrance::Nothing,
                Hindrance::Nothing if at_limit => Hindrance::FlowControl,
                hindrance => hindrance,
            });
        }
    }

    /// What a stream has done so far; also of one that has ended, until another's end is heard of, if times
    /// are measured.
    pub fn stats(&self, id: StreamId) -> Option<StreamStats> {
        let Some(stream) = self.streams.get(id) else {
            return self.ended.iter().find(|(ended, _)| *ended == id).map(|(_, stats)| stats.read());
        };
        let meter = stream.send.as_ref().and_then(|send| send.meter.as_ref());
        let blocked = self.watches.as_ref().map(|watches| meter.map(|meter| watches.read(meter)).unwrap_or_default());
        let bytes_early = meter.map_or(0, Meter::early);
        Some(StreamStats { bytes_early, blocked, ..stream.stats() })
    }

    /// What a stream has done of whose end was heard last, if times are measured. It is not known any more after this.
    pub fn take_ended_stats(&mut self, id: StreamId) -> Option<EndedStats> {
        let is_first = self.heard_of_ended && self.ended.front().is_some_and(|(ended, _)| *ended == id);
        if !is_first {
            return None;
        }
        self.heard_of_ended = false;
        self.ended.pop_front().map(|(_, stats)| stats)
    }

    /// Notes what keeps a stream from sending now.
    fn measure(&mut self, id: StreamId) {
        if self.watches.is_none() {
            return;
        }
        let held = self.is_held_back(id);
        if let (Some(watches), Some(stream)) = (&mut self.watches, self.streams.get_mut(id))
            && let Some(send) = &mut stream.send
        {
            watches.note(send, held);
        }
    }

    /// Stream bytes sent again because they were lost.
    pub const fn retransmitted_bytes(&self) -> u64 {
        self.retransmitted
    }

    // Finding streams.

    fn is_remote_uni(&self, id: StreamId) -> bool {
        id.direction() == Direction::Unidirectional && id.initiator() != self.role
    }

    fn is_local_uni(&self, id: StreamId) -> bool {
        id.direction() == Direction::Unidirectional && id.initiator() == self.role
    }

    /// Whether a stream that was opened under limits that turned out not to hold must wait.
    fn is_held_back(&self, id: StreamId) -> bool {
        id.initiator() == self.role && id.index() >= self.local[id.direction() as usize].limit()
    }

    fn send_mut(&mut self, id: StreamId) -> Option<&mut Send> {
        self.streams.get_mut(id)?.send.as_mut()
    }

    fn recv_mut(&mut self, id: StreamId) -> Option<&mut Recv> {
        self.streams.get_mut(id)?.recv.as_mut()
    }

    fn create(&mut self, id: StreamId) {
        let sends = (!self.is_remote_uni(id)).then(|| self.initial_send_limit(id));
        let receives = !self.is_local_uni(id);
        let (held, windows, watches) = (self.is_held_back(id), self.windows, &mut self.watches);
        self.streams.insert(id, |stream| {
            if receives {
                stream.recv = Some(Recv::new(windows.initial, windows.max));
            }
            if let Some(limit) = sends {
                let send = stream.send.insert(Send::new(limit));
                send.meter = watches.as_mut().map(|watches| watches.begin(held));
            }
        });
    }

    /// The peer's streams exist from when a higher one was used, but take memory only when touched.
    fn create_if_open(&mut self, id: StreamId) {
        let untouched = id.initiator() != self.role
            && self.remote[id.direction() as usize].is_open(id.index())
            && !self.streams.contains(id);
        if untouched {
            self.create(id);
        }
    }

    /// Makes sure that a stream that the peer names exists or existed: false if it is closed.
    fn find_for_peer(&mut self, id: StreamId) -> Result<bool, Violation> {
        if self.streams.contains(id) {
            return Ok(true);
        }
        let (direction, index) = (id.direction(), id.index());
        if id.initiator() == self.role {
            return match self.local[direction as usize].was_opened(index) {
                true => Ok(false),
                false => Err(Violation::new(
                    TransportErrorCode::STREAM_STATE_ERROR,
                    // RFC 9000 sections 19.5#1, 19.8#1, 19.10#1.
                    "frame for a stream that was not opened",
                )),
            };
        }
        for opened in self.remote[direction as usize].open_up_to(index)? {
            self.events.push_back(StreamEvent::Opened(StreamId::new(self.role.peer(), direction, opened)));
        }
        self.create_if_open(id);
        Ok(self.streams.contains(id))
    }

    // RFC 9000 sections 19.4#1, 19.8#1, 19.13#2.
    fn recv_of_peer(&mut self, id: StreamId) -> Result<Option<&mut Recv>, Violation> {
        if self.is_local_uni(id) {
            return Err(Violation::new(
                TransportErrorCode::STREAM_STATE_ERROR,
                "data on a stream that only this end sends on",
            ));
        }
        self.find_for_peer(id)?;
        Ok(self.recv_mut(id))
    }

    // RFC 9000 sections 19.5#1#2, 19.10#1#2.
    fn send_of_peer(&mut self, id: StreamId) -> Result<Option<&mut Send>, Violation> {
        if self.is_remote_uni(id) {
            return Err(Violation::new(
                TransportErrorCode::STREAM_STATE_ERROR,
                "limit or stop for a stream that only the peer sends on",
            ));
        }
        self.find_for_peer(id)?;
        Ok(self.send_mut(id))
    }

    /// Puts a stream that has something to send into its place in the schedule.
    fn reschedule(&mut self, id: StreamId) {
        let held = self.is_held_back(id);
        let Some(send) = self.streams.get_mut(id).and_then(|stream| stream.send.as_mut()) else { return };
        if let Some(watches) = &mut self.watches {
            watches.note(send, held);
        }
        if held {
            return;
        }
        let (priority, repeat, new) = (send.priority, send.has_repeat(), send.has_new());
        if repeat {
            self.repeats.insert(id, &mut send.place_of_repeats, priority);
        }
        if new {
            self.schedule.insert(id, &mut send.place, priority);
        }
    }

    fn close_if_done(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        if stream.is_done() {
            if let Some(watches) = &mut self.watches {
                let meter = stream.send.as_mut().and_then(|send| send.meter.take());
                self.ended.push_back((id, watches.end(stream.stats(), meter)));
            }
            self.streams.remove(id);
            self.control.remove(&id);
            self.limited.remove(&id);
            match self.held.get_mut(&id) {
                Some(over) => *over = true,
                None if id.initiator() != self.role => self.remote[id.direction() as usize].close(id.index()),
                None => {}
            }
            self.events.push_back(StreamEvent::Closed(id));
        }
    }
}

#[cfg(test)]
mod tests;
