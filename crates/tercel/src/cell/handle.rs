//! What the handles of a connection or stream share with the worker that owns it: the operation
//! queue, the count of handles, and a few facts to look at from anywhere.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tercel_proto::error::CloseReason;
use tercel_proto::stats::ConnectionStats;
use tercel_wire::{Direction, StreamId, Version};

use super::Core;
use super::streams::StreamKey;
use crate::configuration::EchStatus;
use crate::handshake_info::HandshakeInfo;
use crate::operation::{ConnectionOperation, Operation, Queue};
use crate::registration::RegistrationShared;
use crate::status::Error;
use crate::worker::{Letter, Mailbox, current};

/// What handles may look at.
pub(crate) struct Facts {
    pub(crate) remote: SocketAddr,
    pub(crate) local: SocketAddr,
    /// Client: its other addresses, those included that its worker is still to hear of.
    pub(crate) others: Vec<SocketAddr>,
    pub(crate) alpn: Option<Bytes>,
    pub(crate) handshake: Option<Box<HandshakeInfo>>,
    /// Client: what becomes of an encrypted ClientHello if the handshake completes.
    pub(crate) ech: EchStatus,
    pub(crate) version: Option<Version>,
    /// Whether the peer forbids that the connection moves.
    pub(crate) settled: bool,
    pub(crate) max_datagram: Option<usize>,
    /// Where the peer says that it sees this end.
    pub(crate) observed: Option<Box<SocketAddr>>,
    /// Whether the peer understands resets that deliver a part.
    pub(crate) can_reset_at: bool,
    pub(crate) close_reason: Option<Box<CloseReason>>,
    pub(crate) stats: ConnectionStats,
}

/// Counts the handles that the application holds, beside the worker's own.
pub(crate) struct Handles {
    count: AtomicUsize,
    detached: AtomicBool,
}

impl Handles {
    /// The worker's own and one for the application.
    fn new() -> Self {
        Self { count: AtomicUsize::new(2), detached: AtomicBool::new(false) }
    }

    pub(crate) fn add(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the application's last handle goes with this one.
    pub(crate) fn remove(&self) -> bool {
        self.count.fetch_sub(1, Ordering::SeqCst) == 2
    }

    /// Whether the application has none.
    pub(crate) fn are_gone(&self) -> bool {
        self.count.load(Ordering::SeqCst) < 2
    }

    pub(crate) fn detach(&self) {
        self.detached.store(true, Ordering::Release);
    }

    /// Whether the object lives on without handles.
    pub(crate) fn are_detached(&self) -> bool {
        self.detached.load(Ordering::Acquire)
    }
}

/// The shared part of a connection.
pub(crate) struct ConnectionShared {
    pub(crate) registration: Arc<RegistrationShared>,
    pub(crate) worker: usize,
    pub(crate) queue: Queue<Operation>,
    pub(crate) handles: Handles,
    /// Whether the application has called for the end. Set under the lock of the queue, so that a
    /// verdict given after it is refused.
    close_called: AtomicBool,
    /// Whether it is known why it ends.
    ended: AtomicBool,
    slot: AtomicU64,
    /// By direction: how many streams handles were told to open, and how many the peer permits.
    openings: [Openings; 2],
    facts: Mutex<Facts>,
}

/// See [`ConnectionShared`]. Streams that could not be opened count, too: so there may be room for more than is
/// thought, and never for less.
#[derive(Default)]
struct Openings {
    asked_for: AtomicU64,
    permitted: AtomicU64,
}

impl ConnectionShared {
    pub(crate) fn new(
        registration: Arc<RegistrationShared>,
        worker: usize,
        remote: SocketAddr,
        local: SocketAddr,
    ) -> Arc<Self> {
        let facts = Facts {
            remote,
            local,
            others: Vec::new(),
            alpn: None,
            handshake: None,
            ech: EchStatus::NotOffered,
            version: None,
            settled: false,
            max_datagram: None,
            observed: None,
            can_reset_at: false,
            close_reason: None,
            stats: ConnectionStats::default(),
        };
        Arc::new(Self {
            registration,
            worker,
            queue: Queue::new(),
            handles: Handles::new(),
            close_called: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            slot: AtomicU64::new(u64::MAX),
            openings: Default::default(),
            facts: Mutex::new(facts),
        })
    }

    /// Has the operation done: at once if this is the connection's own callback, else by its worker.
    pub(crate) fn submit(self: &Arc<Self>, operation: ConnectionOperation) -> Result<(), Error> {
        self.submit_as(operation, Core::call, Operation::Connection)
    }

    /// The same for what is done often: `at_once` if this is the connection's own callback, else it is made an operation.
    pub(crate) fn submit_as<T>(
        self: &Arc<Self>,
        call: T,
        at_once: impl FnOnce(&mut Core, T) -> Result<(), Error>,
        operation: impl FnOnce(T) -> Operation,
    ) -> Result<(), Error> {
        match current::with(self, call, at_once) {
            Ok(result) => result,
            Err(call) => self.enqueue(operation(call)),
        }
    }

    fn enqueue(self: &Arc<Self>, operation: Operation) -> Result<(), Error> {
        let is_late = |operation: &Operation| {
            if operation.is_close() || (operation.is_letting_go() && !self.handles.are_detached()) {
                self.close_called.store(true, Ordering::Release);
            }
            operation.is_late() || (operation.is_verdict() && self.is_close_called())
        };
        match self.queue.put(operation, is_late, Operation::join) {
            Ok(false) => Ok(()),
            Ok(true) => {
                // A worker that takes no letters any more is about to end the queue, and sees to what lies
                // there: the operation is accepted, and must not be called a failure.
                let _ = self.mailbox().send(Letter::Run(self.clone()));
                Ok(())
            }
            Err(_) => Err(self.closed()),
        }
    }

    /// Whether the application has called for the end.
    pub(crate) fn is_close_called(&self) -> bool {
        self.close_called.load(Ordering::Acquire)
    }

    /// The same, called from a handler.
    pub(crate) fn note_close_called(&self) {
        self.close_called.store(true, Ordering::Release);
    }

    /// It ends.
    pub(crate) fn ends(&self, reason: CloseReason) {
        self.facts().close_reason = Some(Box::new(reason));
        self.ended.store(true, Ordering::Release);
    }

    /// Whether it has ended or is about to.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    fn mailbox(&self) -> &Mailbox<Letter> {
        &self.registration.mailboxes[self.worker]
    }

    /// A stream is to be opened. Tells whether it is certain that the peer permits it already.
    pub(crate) fn count_opening(&self, direction: Direction) -> bool {
        let openings = &self.openings[direction as usize];
        openings.asked_for.fetch_add(1, Ordering::Relaxed) < openings.permitted.load(Ordering::Relaxed)
    }

    /// Whether it is certain that the peer permits this stream of ours.
    pub(crate) fn permits(&self, id: StreamId) -> bool {
        id.index() < self.openings[id.direction() as usize].permitted.load(Ordering::Relaxed)
    }

    /// The peer permits so many streams in all.
    pub(crate) fn permit_openings(&self, direction: Direction, limit: u64) {
        self.openings[direction as usize].permitted.store(limit, Ordering::Relaxed);
    }

    /// The error of a call that comes too late.
    pub(crate) fn closed(&self) -> Error {
        self.facts().close_reason.as_deref().cloned().map_or(Error::Closed, Error::ConnectionClosed)
    }

    pub(crate) fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where its worker keeps it.
    pub(crate) fn slot(&self) -> Option<u32> {
        u32::try_from(self.slot.load(Ordering::Relaxed)).ok()
    }

    pub(crate) fn set_slot(&self, slot: u32) {
        self.slot.store(slot.into(), Ordering::Relaxed);
    }
}

/// The shared part of a stream.
pub(crate) struct StreamShared {
    pub(crate) connection: Arc<ConnectionShared>,
    pub(crate) direction: Direction,
    /// Whether this end opened it.
    pub(crate) local: bool,
    pub(crate) handles: Handles,
    /// Whether the application may not send any more, or never could.
    pub(crate) send_closed: AtomicBool,
    /// Whether the application wants no more data, or there never is any.
    pub(crate) receive_closed: AtomicBool,
    /// Whether it receives into buffers of the application.
    pub(crate) receives_into: AtomicBool,
    /// Whether it has ended and takes no more operations. Changed under the lock of the queue.
    pub(crate) sealed: AtomicBool,
    /// Whether its last event was told before all that was received was consumed: what is left is given up with the
    /// last handle. In one order with their number: who goes later sees the other.
    owes: AtomicBool,
    key: AtomicU64,
    id: AtomicU64,
}

impl StreamShared {
    pub(crate) fn new(connection: Arc<ConnectionShared>, direction: Direction, local: bool) -> Arc<Self> {
        let one_way = direction == Direction::Unidirectional;
        Arc::new(Self {
            connection,
            direction,
            local,
            handles: Handles::new(),
            send_closed: AtomicBool::new(one_way && !local),
            receive_closed: AtomicBool::new(one_way && local),
            receives_into: AtomicBool::new(false),
            sealed: AtomicBool::new(false),
            owes: AtomicBool::new(false),
            key: AtomicU64::new(u64::MAX),
            id: AtomicU64::new(u64::MAX),
        })
    }

    /// Its last event was told, and not all that was received is consumed.
    pub(crate) fn note_debt(&self) {
        self.owes.store(true, Ordering::SeqCst);
    }

    /// Whether nobody is left to receive what is received.
    pub(crate) fn is_left(&self) -> bool {
        self.handles.are_gone() && !self.handles.are_detached()
    }

    /// Whether its worker has to know that the last handle is gone: because there is something to abort, or to give up.
    pub(crate) fn depends_on_handles(&self) -> bool {
        let may_go_on = || !self.send_closed.load(Ordering::Relaxed) || !self.receive_closed.load(Ordering::SeqCst);
        self.owes.load(Ordering::SeqCst) || (!self.handles.are_detached() && may_go_on())
    }

    pub(crate) fn id(&self) -> Option<StreamId> {
        Some(self.id.load(Ordering::Acquire)).filter(|id| *id != u64::MAX).map(StreamId::from_wire)
    }

    pub(crate) fn set_id(&self, id: StreamId) {
        self.id.store(id.into_wire(), Ordering::Release);
    }

    /// Where its connection keeps it.
    pub(crate) fn key(&self) -> StreamKey {
        StreamKey(self.key.load(Ordering::Relaxed))
    }

    pub(crate) fn set_key(&self, key: StreamKey) {
        self.key.store(key.0, Ordering::Relaxed);
    }
}
