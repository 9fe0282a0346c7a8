//! qlog: what happened inside connections, as files that tools can draw.
//!
//! The format is that of the drafts `quic-qlog-main-schema` and `quic-qlog-quic-events`, as JSON text
//! sequences (`.sqlog`). Events enter as a worker's connections are traced
//! ([`tercel_proto::trace`]), cross to a thread of their own in batches, and leave there as text. A
//! worker never waits for it: when the thread cannot keep up, batches are dropped, and how many events
//! that were is written in their place.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut config = tercel::RegistrationConfig::default();
//! config.qlog = Some(tercel::qlog::Qlog::directory("/tmp/qlog")?);
//! let registration = tercel::Registration::new(config)?;
//! # Ok(())
//! # }
//! ```

mod directory;
mod encode;
mod json;
mod writer;

pub use directory::{Directory, Limits};
pub use encode::Encoder;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use tercel_proto::time::Time;
use tercel_proto::trace::{Batch, TraceEvent};
use tercel_wire::{ConnectionId, Role};

use self::writer::{Ended, Letter, Line};

/// How many events a connection gathers before it hands them over.
const MANY: usize = 4096;
/// For how long it may keep them while it is busy.
const PATIENCE: Duration = Duration::from_millis(200);
/// How many batches may wait to be written: two million packets of busy connections in some 50 MB.
const QUEUE: usize = 512;

/// Of which connection a log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject {
    /// The destination connection ID of the client's first packet: the same at both ends.
    pub original_dcid: ConnectionId,
    /// At which end it is written.
    pub role: Role,
}

/// Where logs go. Called by the writing thread only.
pub trait Sink: Send + 'static {
    /// Takes the next part of a connection's log: whole records. `None` in place of text once it is
    /// complete.
    ///
    /// # Errors
    /// It could not be kept. This connection's log ends here.
    fn write(&mut self, of: &Subject, text: Option<&[u8]>) -> io::Result<Written>;
}

/// What became of a part of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It is kept.
    Kept,
    /// It is kept, and the next part begins a new file: it must start with a header.
    Rotated,
}

/// Logs of connections: give it to a registration. Cheap to clone; the writing thread ends with the last
/// clone.
#[derive(Clone)]
pub struct Qlog {
    line: Arc<Line>,
}

impl std::fmt::Debug for Qlog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Qlog").finish_non_exhaustive()
    }
}

impl Qlog {
    /// A log that `sink` keeps.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn new(sink: impl Sink) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(QUEUE);
        let line = Line::start(sender, receiver, Box::new(sink))?;
        Ok(Self { line: Arc::new(line) })
    }

    /// One file for each connection in `directory`, which is made if it is not there, with the default
    /// [`Limits`].
    ///
    /// # Errors
    /// The directory cannot be made or read, or the thread cannot be started.
    pub fn directory(directory: impl Into<PathBuf>) -> io::Result<Self> {
        Self::new(Directory::new(directory.into(), Limits::default())?)
    }

    /// Waits until all that was handed over is written, at most `patience`; false if it was not.
    pub fn flush(&self, patience: Duration) -> bool {
        self.line.flush(patience)
    }

    /// How many events were dropped because writing could not keep up.
    pub fn dropped(&self) -> u64 {
        self.line.dropped()
    }

    /// The log of a new connection.
    pub(crate) fn begin(&self, now: Time) -> Tracer {
        Tracer { line: self.line.clone(), id: self.line.next_id(), missed: 0, last: now }
    }
}

/// A connection's way to its log.
pub(crate) struct Tracer {
    line: Arc<Line>,
    id: u64,
    missed: u64,
    last: Time,
}

impl Tracer {
    /// Whether so many events are to be handed over now.
    pub(crate) fn is_due(&self, now: Time, count: usize) -> bool {
        count >= MANY || count > 0 && now.since(self.last) >= PATIENCE
    }

    /// A batch to be filled by a connection of which so many events wait, if it is busy.
    pub(crate) fn batch(&self, count: usize) -> Option<Batch> {
        (count >= MANY).then(|| self.line.batch())
    }

    /// Hands events over, or counts them.
    pub(crate) fn hand_over(&mut self, now: Time, mut events: Batch) {
        self.last = now;
        if events.is_empty() {
            return;
        }
        let count = events.len() as u64;
        if self.missed > 0 {
            events.push(now, TraceEvent::Missing(self.missed));
        }
        match self.line.try_send(Letter::Events(self.id, events)) {
            true => self.missed = 0,
            false => {
                self.missed += count;
                self.line.count_dropped(count);
            }
        }
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        self.line.end(Ended { id: self.id, missed: self.missed });
    }
}

#[cfg(test)]
mod tests;
