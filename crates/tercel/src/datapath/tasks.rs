//! UDP by tokio: sockets whose readiness a runtime watches, for workers that are its tasks.
//!
//! Nothing is waited for twice: a socket that has nothing for now leaves its waker with the runtime, and the
//! waker notes the socket and wakes the worker's task. So does whoever else wants something of the worker.

use std::future::poll_fn;
use std::io;
use std::panic::catch_unwind;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use quinn_udp::UdpSockRef;
use tercel_proto::time::Time;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::runtime::Handle;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

use super::clock::Clock;
use super::udp::{Io, OsSocket, bound};
use super::{Bind, Datapath, Left, Socket, SocketId};
use crate::worker::{Park, Patience, Worker};

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
        UdpSocket::from_std(socket)
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
        let socket = UdpSocket::from_std(bound(bind)?)?;
        let address = socket.local_addr()?;
        let watch = |why| Waker::from(Arc::new(Watch { task: task.clone(), socket: id, why }));
        OsSocket::boxed(Watched { socket, read: watch(For::Reading), write: watch(For::Writing) }, address)
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
    socket: UdpSocket,
    read: Waker,
    write: Waker,
}

impl Io for Watched {
    fn socket(&self) -> UdpSockRef<'_> {
        UdpSockRef::from(&self.socket)
    }

    fn reading(
        &mut self,
        mut read: impl FnMut(UdpSockRef<'_>) -> io::Result<(usize, Left)>,
    ) -> io::Result<(usize, Left)> {
        loop {
            let mut last = None;
            let read = || match read(self.socket())? {
                (count, Left::Nothing) => {
                    last = Some(count);
                    // So that the runtime knows that nothing is left.
                    Err(io::ErrorKind::WouldBlock.into())
                }
                some => Ok(some),
            };
            match self.socket.try_io(Interest::READABLE, read) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
            match (last, self.socket.poll_recv_ready(&mut Context::from_waker(&self.read))) {
                (Some(count), Poll::Pending) => return Ok((count, Left::Nothing)),
                (Some(count), Poll::Ready(_)) => return Ok((count, Left::Perhaps)),
                (None, Poll::Pending) => return Err(io::ErrorKind::WouldBlock.into()),
                (None, Poll::Ready(ready)) => ready?,
            }
        }
    }

    fn writing(&mut self, mut write: impl FnMut(UdpSockRef<'_>) -> io::Result<()>) -> io::Result<()> {
        loop {
            match self.socket.try_io(Interest::WRITABLE, || write(self.socket())) {
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
pub(crate) async fn run(worker: Worker, task: Arc<Task>, clock: Clock, mut patience: Patience) {
    let mut worker = Ending(worker);
    worker.0.shares_its_thread();
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
                if state.waker.replace(context.waker().clone()).is_none() {
                    patience.found();
                }
            }
            for (socket, why) in ready.drain(..) {
                match why {
                    For::Reading => worker.0.readable(socket),
                    For::Writing => worker.0.writable(socket),
                }
            }
            match worker.0.turn(clock.now()) {
                Park::Done => return Poll::Ready(()),
                Park::Now if worker.0.gave_way() => break,
                Park::Now => continue,
                Park::Idle if patience.looks(clock.now(), None) => break,
                Park::Idle => return Poll::Pending,
                Park::Until(time) if patience.looks(clock.now(), Some(time)) => break,
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
        // Behind all tasks that wait for their turn, also those of a `LocalSet`, which a plain wake-up would overtake.
        let _ = pin!(yield_now()).poll(context);
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

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::atomic::{AtomicBool, Ordering};

    use quinn_udp::{RecvMeta, UdpSocketState};

    use super::*;

    /// Notes that it was woken.
    #[derive(Default)]
    struct Noted(AtomicBool);

    impl Wake for Noted {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// However a read ends, what comes in later wakes who reads.
    #[tokio::test]
    async fn a_socket_wakes_its_reader_when_something_comes() {
        let other = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        let came = Arc::new(Noted::default());
        let mut watched = Watched { socket, read: came.clone().into(), write: Waker::noop().clone() };
        let state = UdpSocketState::new(UdpSockRef::from(&other)).unwrap();
        let mut buffer = [0; 16];
        let mut reading = |watched: &mut Watched, left| {
            watched.reading(|socket| {
                let mut buffer = [io::IoSliceMut::new(&mut buffer)];
                Ok((state.recv(socket, &mut buffer, &mut [RecvMeta::default()])?, left))
            })
        };
        for left in [Left::Nothing, Left::Nothing, Left::Perhaps, Left::Nothing, Left::Perhaps] {
            let nothing = reading(&mut watched, left).unwrap_err();
            assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
            other.send_to(b"datagram", address).unwrap();
            while !came.0.swap(false, Ordering::Relaxed) {
                tokio::task::yield_now().await;
            }
            assert_eq!(reading(&mut watched, left).unwrap(), (1, left));
        }
    }
}
