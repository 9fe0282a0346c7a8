//! The streams of a connection as the application sees them: who hears their events, which sends
//! wait for completion, and what waits for the stream to start.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use tercel_proto::rare_queue::RareQueue;
use tercel_proto::short_queue::ShortQueue;
use tercel_proto::stream::{EndedStats, IdMap};
use tercel_wire::{ApplicationErrorCode, Direction, StreamId};

use super::handle::StreamShared;
use super::ideal::MIN_IDEAL;
use crate::event::StreamHandler;
use crate::receive::{Rest, Space};
use crate::status::Error;
use crate::stream::{SendOptions, Stream};

/// Names a stream within its connection, and never another one later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StreamKey(pub(super) u64);

/// Something to tell a stream's handler.
#[derive(Debug)]
pub(super) enum Note {
    Started {
        result: Result<StreamId, Box<Error>>,
        /// It was opened ahead, and the peer permits it already.
        accepted: bool,
    },
    PeerAccepted,
    CanceledByLoss,
    /// There may be data to deliver.
    Pump,
    PeerReceiveAborted(ApplicationErrorCode),
    SendComplete {
        context: u64,
        canceled: bool,
    },
    SendShutdownComplete {
        graceful: bool,
    },
    IdealSendBufferSize(u64),
    ShutdownComplete,
}

/// A send that waits for completion: done when everything before `end` (and the end of the stream,
/// with `fin`) is acknowledged.
pub(super) struct Pending {
    pub(super) end: u64,
    pub(super) fin: bool,
    pub(super) context: u64,
}

/// The sending part, as the application sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SendPart {
    Open,
    Finished,
    /// Reset, but its beginning is still to be delivered.
    Truncated,
    Aborted,
    Done,
}

/// The receiving part, as the application sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReceivePart {
    Open,
    Done,
}

/// Who hears a stream.
pub(super) enum Listening {
    /// The application has not answered the peer's stream; what there is to tell waits.
    Unanswered(Vec<Note>),
    /// Its handler, or nobody while that very handler runs.
    Handler(Option<Box<dyn StreamHandler>>),
    /// Nobody: the application refused the stream.
    Nobody,
}

/// What waits until the stream has an ID.
#[derive(Default)]
pub(super) struct Waiting {
    /// Also what must not leave before the handshake is complete, and everything behind it.
    pub(super) data: VecDeque<(Bytes, SendOptions)>,
    pub(super) announce: bool,
    pub(super) priority: Option<i32>,
    pub(super) reset: Option<ApplicationErrorCode>,
    pub(super) reset_at: Option<(ApplicationErrorCode, u64)>,
    pub(super) stop: Option<ApplicationErrorCode>,
}

/// Space of the application.
pub(super) struct Provided {
    /// The first of it is being filled.
    pub(super) space: Space,
    /// Space of which the protocol does not know yet.
    pub(super) untold: u64,
    /// How much of the need for more the application was told.
    pub(super) told: Need,
}

/// Why there should be more space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) enum Need {
    #[default]
    None,
    /// All of it is used up.
    UsedUp,
    /// And data waits for more.
    DataWaits,
}

/// One stream.
pub(super) struct Entry {
    pub(super) shared: Arc<StreamShared>,
    /// The worker's own handle, lent to the handler.
    pub(super) handle: Option<Stream>,
    pub(super) listening: Listening,
    pub(super) id: Option<StreamId>,
    pub(super) waiting: Option<Box<Waiting>>,
    pub(super) send: SendPart,
    /// How many bytes the application has given to send.
    pub(super) given: u64,
    pub(super) acked: u64,
    pub(super) sends: ShortQueue<Pending>,
    /// How much should be under way, as the application knows it.
    pub(super) ideal: u64,
    pub(super) receive: ReceivePart,
    pub(super) receive_enabled: bool,
    pub(super) readable: bool,
    /// How many bytes were delivered, and how many of these are not consumed yet.
    pub(super) delivered: u64,
    pub(super) deferred: u64,
    /// Up to where it came as early data.
    pub(super) early: u64,
    /// Delivered and not accepted: it comes again before anything else.
    pub(super) kept: RareQueue<Bytes>,
    /// A receive whose answer is still to come; or the answer, if it came before its handler returned.
    pub(super) pended: Option<Vec<Bytes>>,
    pub(super) answered_early: Option<(usize, Rest)>,
    /// Everything was read, and the application has not heard of the end, or of the reset.
    pub(super) finished: bool,
    pub(super) reset: Option<ApplicationErrorCode>,
    /// What to receive into, if the application provides it.
    pub(super) provided: Option<Box<Provided>>,
    /// It is over for the protocol.
    pub(super) gone: bool,
    /// What it had done when it ended, if times are measured.
    pub(super) ended_stats: Option<EndedStats>,
    /// Its last event is on its way.
    pub(super) over: bool,
    /// Its last event was told; it stays only while `deferred` is not zero.
    pub(super) forgotten: bool,
    key: StreamKey,
}

impl Entry {
    pub(super) fn new(shared: Arc<StreamShared>, id: Option<StreamId>, listening: Listening) -> Self {
        let one_way = shared.direction == Direction::Unidirectional;
        Self {
            handle: Some(Stream { shared: shared.clone() }),
            listening,
            id,
            waiting: None,
            send: if one_way && !shared.local { SendPart::Done } else { SendPart::Open },
            given: 0,
            acked: 0,
            sends: ShortQueue::default(),
            ideal: MIN_IDEAL,
            receive: if one_way && shared.local { ReceivePart::Done } else { ReceivePart::Open },
            receive_enabled: true,
            readable: false,
            delivered: 0,
            deferred: 0,
            early: 0,
            kept: RareQueue::new(),
            pended: None,
            answered_early: None,
            finished: false,
            reset: None,
            provided: None,
            gone: false,
            ended_stats: None,
            over: false,
            forgotten: false,
            key: StreamKey(u64::MAX),
            shared,
        }
    }

    pub(super) fn key(&self) -> StreamKey {
        self.key
    }

    /// What waits until it has an ID, to be added to.
    pub(super) fn wait(&mut self) -> &mut Waiting {
        self.waiting.get_or_insert_default()
    }

    /// Whether there is data that waits for that, or for the end of the handshake.
    pub(super) fn has_data_waiting(&self) -> bool {
        self.waiting.as_ref().is_some_and(|waiting| !waiting.data.is_empty())
    }

    /// The next send that is done with, if any.
    pub(super) fn complete(&mut self, fin_acked: bool) -> Option<Note> {
        let done = self.sends.front().is_some_and(|send| send.end <= self.acked && (!send.fin || fin_acked));
        if !done {
            return None;
        }
        self.sends.pop_front().map(|send| Note::SendComplete { context: send.context, canceled: false })
    }
}

/// Where a stream lies in memory.
type Place = Box<Option<Entry>>;

/// The streams of a connection.
#[derive(Default)]
pub(super) struct StreamTable {
    slots: Vec<Option<Place>>,
    /// The slots of streams that are gone, which keep their memory for those to come: of no more than there are.
    free: Vec<u32>,
    by_id: IdMap<u32>,
    serial: u32,
    /// Bytes of streams that are over which the application still holds: the connection's credit for
    /// them waits.
    held: BTreeMap<u64, (StreamId, u64)>,
    /// Opened here and waiting for the peer's permission, per direction, first come first served.
    pub(super) opening: [RareQueue<StreamKey>; 2],
    /// Those with data that waits for the end of the handshake.
    pub(super) after_handshake: RareQueue<StreamKey>,
}

impl StreamTable {
    /// Lets go of room that is not in use.
    pub(super) fn rest(&mut self) {
        if self.free.len() == self.slots.len() {
            (self.slots, self.free) = (Vec::new(), Vec::new());
        }
        for slot in &self.free {
            self.slots[*slot as usize] = None;
        }
        self.by_id.rest();
        self.opening.iter_mut().for_each(RareQueue::rest);
        self.after_handshake.rest();
    }

    pub(super) fn insert(&mut self, mut entry: Entry) -> StreamKey {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() as u32 - 1
        });
        let key = StreamKey(u64::from(self.serial) << 32 | u64::from(slot));
        self.serial = self.serial.wrapping_add(1);
        entry.key = key;
        entry.shared.set_key(key);
        if let Some(id) = entry.id {
            self.by_id.insert(id, slot);
        }
        self.slots[slot as usize].get_or_insert_default().get_or_insert(entry);
        key
    }

    pub(super) fn get(&mut self, key: StreamKey) -> Option<&mut Entry> {
        let slot = (key.0 & u64::from(u32::MAX)) as usize;
        self.slots.get_mut(slot)?.as_deref_mut()?.as_mut().filter(|entry| entry.key == key)
    }

    pub(super) fn by_id(&mut self, id: StreamId) -> Option<&mut Entry> {
        let slot = *self.by_id.get(id)?;
        self.slots.get_mut(slot as usize)?.as_deref_mut()?.as_mut()
    }

    /// The stream has an ID now.
    pub(super) fn started(&mut self, key: StreamKey, id: StreamId) {
        self.by_id.insert(id, (key.0 & u64::from(u32::MAX)) as u32);
        if let Some(entry) = self.get(key) {
            entry.id = Some(id);
            entry.shared.set_id(id);
        }
    }

    pub(super) fn remove(&mut self, key: StreamKey) {
        let Some(entry) = self.get(key) else { return };
        let deferred = entry.deferred;
        if let Some(id) = entry.id {
            self.by_id.remove(id);
            if deferred > 0 {
                self.held.insert(key.0, (id, deferred));
            }
        }
        let slot = (key.0 & u64::from(u32::MAX)) as u32;
        self.free.push(slot);
        let there_are = self.slots.len() - self.free.len();
        let Some(place) = self.slots.get_mut(slot as usize) else { return };
        match place {
            Some(place) if self.free.len() <= there_are => **place = None,
            _ => *place = None,
        }
    }

    /// The application has consumed `len` bytes of a stream that is over; gives its ID, and how many
    /// bytes these can be at most.
    pub(super) fn release(&mut self, key: StreamKey, len: u64) -> Option<(StreamId, u64)> {
        let (id, held) = self.held.get_mut(&key.0)?;
        let (id, len) = (*id, len.min(*held));
        *held -= len;
        if *held == 0 {
            self.held.remove(&key.0);
        }
        Some((id, len))
    }

    /// Whether the peer has acknowledged everything that was given to send.
    pub(super) fn are_delivered(&self) -> bool {
        self.entries().all(|entry| match entry.send {
            SendPart::Open => entry.acked == entry.given,
            SendPart::Finished | SendPart::Truncated => false,
            SendPart::Aborted | SendPart::Done => true,
        })
    }

    /// How many bytes were given to send and are not acknowledged.
    pub(super) fn posted(&self) -> u64 {
        let posted = |entry: &Entry| match entry.send {
            SendPart::Open | SendPart::Finished | SendPart::Truncated => entry.given.saturating_sub(entry.acked),
            SendPart::Aborted | SendPart::Done => 0,
        };
        self.entries().map(posted).sum()
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.slots.iter().flatten().filter_map(|place| place.as_ref().as_ref())
    }

    /// The keys of all streams.
    pub(super) fn keys(&self) -> Vec<StreamKey> {
        self.entries().map(|entry| entry.key).collect()
    }
}
