//! A worker: connections, their sockets and their timers, driven by calls to [`Worker::turn`].

#[expect(dead_code)]
mod mailbox;
#[expect(dead_code)]
mod ready;
#[expect(dead_code)]
mod timer_wheel;
use tercel_proto::time::Time;

use crate::datapath::SocketId;

/// How long a worker need not be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Park {
    /// Call again at once: there is more to do.
    Now,
    /// Until this time, or until woken or a socket is ready.
    Until(Time),
    /// Until woken or a socket is ready.
    Idle,
    /// For ever: the registration is gone and everything is closed.
    Done,
}

/// Owns connections, and everything that they need while they run. It has no thread: a worker
/// thread is a loop around [`turn`](Self::turn).
pub struct Worker {}

#[allow(unused_variables, clippy::todo)]
impl Worker {
    /// Does what there is to do at `now`, within a budget: queued calls, received datagrams, timers,
    /// and what is to be sent. Says when to be called next.
    pub fn turn(&mut self, now: Time) -> Park {
        todo!()
    }

    /// There may be something to receive on `socket`.
    pub fn readable(&mut self, socket: SocketId) {
        todo!()
    }

    /// There may be room to send on `socket`.
    pub fn writable(&mut self, socket: SocketId) {
        todo!()
    }
}
