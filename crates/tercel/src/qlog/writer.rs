//! The thread that turns batches of events into text and gives it to the sink.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tercel_proto::trace::Batch;

use super::{Encoder, MANY, Sink, Subject, Written};

/// How often the thread looks for connections whose end found the queue full.
const LOOK: Duration = Duration::from_millis(500);

pub(super) enum Letter {
    Events(u64, Batch),
    End(Ended),
    Flush(SyncSender<()>),
}

/// A connection that is over.
pub(super) struct Ended {
    pub(super) id: u64,
    /// How many of its last events were dropped.
    pub(super) missed: u64,
}

/// What workers and the thread share.
#[derive(Default)]
struct Shared {
    /// Connections that are over and found the queue full.
    ended: Mutex<Vec<Ended>>,
    dropped: AtomicU64,
    next: AtomicU64,
    /// Batches that are written, to be filled again.
    spare: Mutex<Vec<Batch>>,
}

/// How much text is made before it is written: little enough to stay near the processor.
const CHUNK: usize = 16 << 10;

/// How many written batches are kept: what a few busy connections fill while one is written.
const SPARE: usize = 16;

/// The way to the thread; dropping it waits until all is written.
pub(super) struct Line {
    sender: Option<SyncSender<Letter>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Line {
    pub(super) fn start(
        sender: SyncSender<Letter>,
        receiver: Receiver<Letter>,
        sink: Box<dyn Sink>,
    ) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let theirs = shared.clone();
        let run = move || Scribe { sink, shared: theirs, logs: BTreeMap::new(), text: Vec::new() }.run(&receiver);
        let thread = std::thread::Builder::new().name("tercel-qlog".into()).spawn(run)?;
        Ok(Self { sender: Some(sender), shared, thread: Some(thread) })
    }

    pub(super) fn next_id(&self) -> u64 {
        self.shared.next.fetch_add(1, Ordering::Relaxed)
    }

    /// False if there is no room, and nothing was sent.
    pub(super) fn try_send(&self, letter: Letter) -> bool {
        self.sender.as_ref().is_some_and(|sender| sender.try_send(letter).is_ok())
    }

    /// A batch to be filled, used before if there is one.
    pub(super) fn batch(&self) -> Batch {
        // The thread may have been interrupted while it has this: a new one does as well.
        self.shared.spare.try_lock().ok().and_then(|mut spare| spare.pop()).unwrap_or_default()
    }

    pub(super) fn end(&self, ended: Ended) {
        let Some(sender) = &self.sender else { return };
        if let Err(TrySendError::Full(Letter::End(ended))) = sender.try_send(Letter::End(ended)) {
            self.shared.ended.lock().unwrap_or_else(PoisonError::into_inner).push(ended);
        }
    }

    pub(super) fn count_dropped(&self, count: u64) {
        self.shared.dropped.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    pub(super) fn flush(&self, patience: Duration) -> bool {
        let (done, wait) = std::sync::mpsc::sync_channel(1);
        let Some(sender) = &self.sender else { return false };
        sender.send(Letter::Flush(done)).is_ok() && wait.recv_timeout(patience).is_ok()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}

/// Lowers the priority of this thread, so that it takes time that no worker wants: what it has to do can
/// wait. Where the processors are never free it falls behind, and what finds the queue full is dropped.
fn yield_to_all() {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        use thread_priority::{NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy};
        let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
        let this = thread_priority::thread_native_id();
        if let Err(error) = thread_priority::set_thread_priority_and_policy(this, ThreadPriority::Min, idle) {
            tracing::debug!(?error, "the thread that writes qlog keeps its priority");
        }
    }
}

/// The thread's own.
struct Scribe {
    sink: Box<dyn Sink>,
    shared: Arc<Shared>,
    logs: BTreeMap<u64, Log>,
    text: Vec<u8>,
}

struct Log {
    encoder: Encoder,
    subject: Subject,
    /// The next part begins a file.
    fresh: bool,
    /// It could not be kept.
    broken: bool,
}

impl Scribe {
    fn run(mut self, receiver: &Receiver<Letter>) {
        yield_to_all();
        loop {
            match receiver.recv_timeout(LOOK) {
                Ok(Letter::Events(id, events)) => {
                    self.write(id, &events);
                    self.spare(events);
                }
                Ok(Letter::End(ended)) => self.close(&ended),
                Ok(Letter::Flush(done)) => {
                    self.close_ended();
                    // Whoever asked may have given up.
                    let _ = done.try_send(());
                }
                // What is queued comes before what has ended: whoever ends has handed over all.
                Err(RecvTimeoutError::Timeout) => self.close_ended(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.close_ended();
    }

    fn write(&mut self, id: u64, events: &Batch) {
        let log = match self.logs.entry(id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                // A log whose start was dropped has no name.
                let Some((encoder, subject)) = Encoder::of(events.events()) else { return };
                place.insert(Log { encoder, subject, fresh: true, broken: false })
            }
        };
        if log.broken {
            return;
        }
        let mut records = events.records().peekable();
        while records.peek().is_some() && !log.broken {
            self.text.clear();
            if std::mem::take(&mut log.fresh) {
                log.encoder.header(&mut self.text);
            }
            while self.text.len() < CHUNK
                && let Some((time, record)) = records.next()
            {
                log.encoder.record(time, record, &mut self.text);
            }
            match self.sink.write(&log.subject, Some(&self.text)) {
                Ok(Written::Kept) => {}
                Ok(Written::Rotated) => log.fresh = true,
                Err(error) => {
                    tracing::warn!(%error, "a connection's qlog ends early");
                    log.broken = true;
                }
            }
        }
    }

    fn spare(&self, events: Batch) {
        let mut spare = self.shared.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < SPARE && events.len() >= MANY {
            spare.push(events);
        }
    }

    fn close_ended(&mut self) {
        let ended = std::mem::take(&mut *self.shared.ended.lock().unwrap_or_else(PoisonError::into_inner));
        ended.iter().for_each(|ended| self.close(ended));
    }

    fn close(&mut self, ended: &Ended) {
        let Some(mut log) = self.logs.remove(&ended.id) else { return };
        let mut written = Ok(Written::Kept);
        if ended.missed > 0 && !log.broken {
            self.text.clear();
            if log.fresh {
                log.encoder.header(&mut self.text);
            }
            log.encoder.missing(ended.missed, &mut self.text);
            written = self.sink.write(&log.subject, Some(&self.text));
        }
        if let Err(error) = written.and_then(|_| self.sink.write(&log.subject, None)) {
            tracing::warn!(%error, "a connection's qlog ends early");
        }
    }
}
