//! A worker's thread: a loop around [`Worker::turn`].

use std::io;
use std::thread::JoinHandle;
use std::time::Duration;

use mio::{Events, Poll};

use super::{Park, Worker};
use crate::datapath::SocketId;
use crate::datapath::clock::Clock;
use crate::datapath::udp::WAKE;

/// Waits shorter than this are spent polling: the system's own waits are a millisecond or more, and
/// paced sending cannot wait that long.
const SPIN: Duration = Duration::from_micros(100);

/// Starts the thread of `worker`, which waits at `poll`.
pub(crate) fn spawn(index: usize, worker: Worker, poll: Poll, clock: Clock) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(format!("tercel-{index}")).spawn(move || run(worker, poll, &clock))
}

fn run(mut worker: Worker, mut poll: Poll, clock: &Clock) {
    let mut events = Events::with_capacity(256);
    loop {
        let timeout = match worker.turn(clock.now()) {
            Park::Done => return,
            Park::Now => Some(Duration::ZERO),
            Park::Idle => None,
            Park::Until(time) => match time.since(clock.now()) {
                wait if wait < SPIN => Some(Duration::ZERO),
                wait => Some(wait),
            },
        };
        match poll.poll(&mut events, timeout) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                tracing::error!(%error, "a worker cannot wait for its sockets and ends");
                return;
            }
            _ => {}
        }
        for event in &events {
            if event.token() == WAKE {
                continue;
            }
            let Ok(socket) = u32::try_from(event.token().0).map(SocketId) else { continue };
            if event.is_readable() {
                worker.readable(socket);
            }
            if event.is_writable() {
                worker.writable(socket);
            }
        }
    }
}
