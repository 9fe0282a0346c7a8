//! The network as workers see it. [`udp`] is the real one; the simulator brings its own.

pub mod buffers;
pub mod clock;
#[cfg(all(unix, feature = "tokio-tasks"))]
pub(crate) mod tasks;
pub mod udp;

use std::io;
use std::net::SocketAddr;

pub use tercel_proto::connection::Received;
use tercel_proto::connection::Transmit;

use self::buffers::Buffers;

/// Names a socket within its worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SocketId(pub u32);

/// What a socket is to be bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bind {
    /// The address; port 0 for any.
    pub address: SocketAddr,
    /// If several workers' sockets are bound to the same address, so that arriving datagrams are
    /// spread over them: which of them this is.
    pub shared: Option<Share>,
}

/// A socket's part in an address that several workers share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// The first; fails if another program has the address.
    First,
    /// One that joins the first.
    Joins,
}

/// Opens sockets and wakes workers. One for all workers of a registration.
pub trait Datapath: Send + Sync + 'static {
    /// Opens a socket that `worker` will know as `id`. Called on the application's thread.
    ///
    /// # Errors
    /// Those of the system.
    fn open(&self, worker: usize, id: SocketId, bind: Bind) -> io::Result<Box<dyn Socket>>;

    /// Makes the worker's next (or present) park end, so that [`crate::Worker::turn`] is called soon.
    fn wake(&self, worker: usize);
}

/// What a [`Socket::receive`] has left at its socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// There may be more.
    Perhaps,
    /// There was no more, and [`crate::Worker::readable`] will be called when there is.
    Nothing,
}

/// A UDP socket of one worker. Nothing here blocks.
pub trait Socket: Send {
    /// The address that it is bound to.
    fn local_address(&self) -> SocketAddr;

    /// How many datagrams of equal size one [`send`](Self::send) takes.
    fn max_segments(&self) -> usize {
        1
    }

    /// Sends `contents`, cut into datagrams as `transmit` says. What the network loses is no error.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`]: nothing was sent, and [`crate::Worker::writable`] will be
    /// called when there is room. Other errors: nothing was or will be sent.
    fn send(&mut self, transmit: &Transmit, contents: &[u8]) -> io::Result<()>;

    /// Receives what is there, at most one system call's worth, into some of the worker's `buffers` (or any
    /// other memory), and puts it behind what is in `into`. Says whether there may be more.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`]: nothing is there, and [`crate::Worker::readable`] will be
    /// called when there is. Other errors are passing and tell of nothing received.
    fn receive(&mut self, buffers: &mut Buffers, into: &mut Vec<Received>) -> io::Result<Left>;
}
