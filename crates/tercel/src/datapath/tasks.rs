//! UDP by tokio: sockets whose readiness a runtime watches, for workers that are its tasks.
//!
//! Nothing is waited for twice: a socket that has nothing for now leaves its waker with the runtime, and the
//! waker notes the socket and wakes the worker's task. So does whoever else wants something of the worker.

use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::catch_unwind;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tercel_proto::time::Time;
use tokio::io::Interest;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

use super::clock::Clock;
use super::udp::{Io, OsSocket, bound};
use super::{Bind, Datapath, Socket, SocketId};
use crate::worker::{Park, Worker};

/// So many turns without letting other tasks have theirs.
const TURNS: usize = 16;

/// The sockets of workers that are tasks of one runtime.
pub(crate) struct TaskDatapath {
    runtime: Handle,
    tasks: Vec<Arc<Task>>,
}

/// What can wake the task of a worker.
#[derive(Default)]
pub(crate) struct Task(Mutex<State>);

#[derive(Default)]
struct State {
    waker: Option<Waker>,
    ready: Vec<(SocketId, For)>,
}

/// For what a socket is ready.
#[derive(Debug, Clone, Copy)]
enum For {
    Reading,
    Writing,
}

impl TaskDatapath {
    /// For so many workers, within the runtime that this is called in.
    ///
    /// # Errors
    /// This is not called within a runtime.
    pub(crate) fn new(workers: usize) -> io::Result<Self> {
        let runtime = Handle::try_current().map_err(io::Error::other)?;
        has_drivers()?;
        Ok(Self { runtime, tasks: (0..workers).map(|_| Arc::default()).collect() })
    }

    /// What wakes each worker.
    pub(crate) fn tasks(&self) -> Vec<Arc<Task>> {
        self.tasks.clone()
    }
}

/// Whether the runtime watches sockets and clocks. There is no way to ask but to try, which panics if it does not.
fn has_drivers() -> io::Result<()> {
    let socket = std::net::UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
    socket.set_nonblocking(true)?;
    let tried = catch_unwind(|| {
        drop(sleep(Duration::ZERO));
        tokio::net::UdpSocket::from_std(socket)
    });
    match tried {
        Ok(socket) => socket.map(drop),
        Err(_) => Err(io::Error::other("the runtime has no drivers of I/O and time (enable_all)")),
    }
}

impl Datapath for TaskDatapath {
    fn open(&self, worker: usize, id: SocketId, bind: Bind) -> io::Result<Box<dyn Socket>> {
        let task = self.tasks.get(worker).ok_or(io::ErrorKind::NotFound)?;
        // Any thread may call, and a socket belongs to the runtime from the start.
        let _within = self.runtime.enter();
        let socket = tokio::net::UdpSocket::from_std(bound(bind)?)?;
        let watch = |why| Waker::from(Arc::new(Watch { task: task.clone(), socket: id, why }));
        OsSocket::boxed(Watched { socket, read: watch(For::Reading), write: watch(For::Writing) })
    }

    fn wake(&self, worker: usize) {
        if let Some(task) = self.tasks.get(worker) {
            task.wake();
        }
    }
}

impl Task {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        let waker = self.state().waker.take();
        // Without one it is running, or on its way.
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Left with the runtime by a socket that has to wait.
struct Watch {
    task: Arc<Task>,
    socket: SocketId,
    why: For,
}

impl Wake for Watch {
    fn wake(self: Arc<Self>) {
        self.task.state().ready.push((self.socket, self.why));
        self.task.wake();
    }
}

/// A socket of the runtime's, with what it leaves there.
struct Watched {
    socket: tokio::net::UdpSocket,
    read: Waker,
    write: Waker,
}

impl AsFd for Watched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Io for Watched {
    fn reading<R>(&self, mut read: impl FnMut() -> io::Result<R>) -> io::Result<R> {
        loop {
            match self.socket.try_io(Interest::READABLE, &mut read) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
            match self.socket.poll_recv_ready(&mut Context::from_waker(&self.read)) {
                Poll::Ready(ready) => ready?,
                Poll::Pending => return Err(io::ErrorKind::WouldBlock.into()),
            }
        }
    }

    fn writing<R>(&self, mut write: impl FnMut() -> io::Result<R>) -> io::Result<R> {
        loop {
            match self.socket.try_io(Interest::WRITABLE, &mut write) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
            match self.socket.poll_send_ready(&mut Context::from_waker(&self.write)) {
                Poll::Ready(ready) => ready?,
                Poll::Pending => return Err(io::ErrorKind::WouldBlock.into()),
            }
        }
    }
}

/// Gives a worker its turns until it is done. Dropped before, it ends the worker and its connections.
pub(crate) async fn run(worker: Worker, task: Arc<Task>, clock: Clock) {
    let mut worker = Ending(worker);
    let mut timer = pin!(sleep(Duration::ZERO));
    // For when it is set. Deadlines mostly move away: it is not set anew each time, but goes off now and then with
    // nothing due yet.
    let mut set_for = None::<Time>;
    let mut ready = Vec::new();
    poll_fn(|context| {
        for _ in 0..TURNS {
            {
                let mut state = task.state();
                std::mem::swap(&mut ready, &mut state.ready);
                // A wake-up from now on is for the next turn, this one may miss its cause.
                state.waker = Some(context.waker().clone());
            }
            for (socket, why) in ready.drain(..) {
                match why {
                    For::Reading => worker.0.readable(socket),
                    For::Writing => worker.0.writable(socket),
                }
            }
            match worker.0.turn(clock.now()) {
                Park::Done => return Poll::Ready(()),
                Park::Now => continue,
                Park::Idle => return Poll::Pending,
                Park::Until(time) => {
                    if set_for.is_none_or(|set| time < set) {
                        set_for = Some(time);
                        timer.as_mut().reset(after(time.since(clock.now())));
                    }
                    if timer.as_mut().poll(context).is_pending() {
                        return Poll::Pending;
                    }
                    set_for = None;
                }
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// A worker that ends in good order, whatever becomes of its task.
struct Ending(Worker);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end();
    }
}

fn after(wait: Duration) -> Instant {
    Instant::now() + wait
}
