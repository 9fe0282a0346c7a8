//! A worker beside the sockets that it waits at: what a thread drives in a loop, or the application.

use std::io;
use std::time::Duration;

use mio::{Events, Poll};

use super::patience::Patience;
use super::{Park, Worker};
use crate::datapath::SocketId;
use crate::datapath::clock::Clock;
use crate::datapath::udp::WAKE;

/// Waits shorter than this are spent polling: the system's own waits are a millisecond or more, and
/// paced sending cannot wait that long.
const SPIN: Duration = Duration::from_micros(100);

/// How many sockets may speak up at once.
const EVENTS: usize = 256;

/// A worker and the sockets that it waits at, for an application that gives it a thread of its own
/// choice, or time between other work. [`Registration::driven`](crate::Registration::driven) makes
/// one for each worker. Dropping it ends the worker and its connections.
///
/// ```
/// use tercel::{Park, Registration, RegistrationConfig};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut config = RegistrationConfig::default();
/// config.workers = 1;
/// let (registration, mut drivers) = Registration::driven(config)?;
/// let mut driver = drivers.remove(0);
/// drop(registration); // or use it from other threads, and from handlers
/// loop {
///     match driver.turn() {
///         Park::Done => break,
///         park => driver.wait(park)?,
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub struct Driver {
    worker: Worker,
    poll: Poll,
    events: Events,
    clock: Clock,
    patience: Patience,
    done: bool,
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").field("done", &self.done).finish_non_exhaustive()
    }
}

impl Driver {
    pub(crate) fn new(worker: Worker, poll: Poll, clock: Clock, linger: Duration) -> Self {
        let events = Events::with_capacity(EVENTS);
        Self { worker, poll, events, clock, patience: Patience::new(linger), done: false }
    }

    /// Does what there is to do, without waiting, and says when to be called again. Handlers of the
    /// application run within.
    pub fn turn(&mut self) -> Park {
        let park = self.worker.turn(self.clock.now());
        self.done = park == Park::Done;
        park
    }

    /// How long to wait at most, as the last [`turn`](Self::turn) said: for other event loops. `None`: until a socket
    /// is ready, or another thread wants something.
    pub fn until(&self, park: Park) -> Option<Duration> {
        match park {
            Park::Now => Some(Duration::ZERO),
            Park::Until(time) => Some(time.since(self.clock.now())),
            Park::Idle | Park::Done => None,
        }
    }

    /// Waits as the last [`turn`](Self::turn) said: until its time has come, a socket is ready, or
    /// another thread wants something. [`Park::Now`] only looks which sockets are ready. While what comes mostly comes
    /// within [`RegistrationConfig::linger`](crate::RegistrationConfig::linger) it is waited for without rest.
    ///
    /// # Errors
    /// Those of the system; the worker cannot go on then.
    pub fn wait(&mut self, park: Park) -> io::Result<()> {
        if self.timeout(park) != Some(Duration::ZERO) {
            let due = if let Park::Until(time) = park { Some(time) } else { None };
            while self.patience.looks(self.clock.now(), due) {
                if self.poll(Some(Duration::ZERO))? {
                    self.patience.found();
                    return Ok(());
                }
            }
        }
        self.poll(self.timeout(park))?;
        Ok(())
    }

    fn timeout(&self, park: Park) -> Option<Duration> {
        match self.until(park) {
            Some(wait) if wait < SPIN => Some(Duration::ZERO),
            wait => wait,
        }
    }

    /// Waits for so long at most, and notes which sockets are ready. `true` if something has ended the wait.
    fn poll(&mut self, mut timeout: Option<Duration>) -> io::Result<bool> {
        let mut any = false;
        loop {
            match self.poll.poll(&mut self.events, timeout) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(true),
                result => result?,
            }
            for event in &self.events {
                any = true;
                if event.token() == WAKE {
                    continue;
                }
                let Ok(socket) = u32::try_from(event.token().0).map(SocketId) else { continue };
                if event.is_readable() {
                    self.worker.readable(socket);
                }
                if event.is_writable() {
                    self.worker.writable(socket);
                }
            }
            if self.events.iter().count() < EVENTS {
                return Ok(any);
            }
            // Who waits for this poll at another one is told of what is new only, so nothing may be left here.
            timeout = Some(Duration::ZERO);
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if !self.done {
            self.worker.end();
        }
    }
}

/// What becomes ready for reading when [`Driver::wait`] would return at once: for other event loops.
#[cfg(unix)]
impl std::os::fd::AsRawFd for Driver {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.poll.as_raw_fd()
    }
}
