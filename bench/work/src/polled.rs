//! The exchanges of stacks that are polled: they have neither sockets nor threads nor tasks, and read from and write to
//! streams as far as is possible now.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes};

use crate::Result;
use crate::measure::{Measured, Stopwatch};
use crate::scenario::{Connections, Incoming, Outgoing, Work};

/// A connection.
pub trait Streams {
    /// Reads; `None` if there is nothing now, else how many bytes, and whether they are the last.
    ///
    /// # Errors
    /// The stream or the connection has failed.
    fn read(&mut self, stream: u64, into: &mut [u8]) -> Result<Option<(usize, bool)>>;
    /// Writes; how many bytes found room. When there is room for more the stack says that the stream is writable.
    ///
    /// # Errors
    /// The stream or the connection has failed.
    fn write(&mut self, stream: u64, piece: &Bytes, last: bool) -> Result<usize>;
    /// Whether all has been read of a stream, as far as the stack knows.
    fn is_read(&self, stream: u64) -> bool;
}

/// How much is read at once.
const READ: usize = 64 << 10;

/// The messages on the streams of a connection.
#[derive(Default)]
pub struct Messages {
    streams: HashMap<u64, Message>,
    buffer: Vec<u8>,
}

struct Message {
    began: Instant,
    incoming: Incoming,
    outgoing: Option<Outgoing>,
    /// What found no room yet.
    piece: Option<(Bytes, bool)>,
}

impl Message {
    fn new(outgoing: Option<Outgoing>, began: Instant) -> Self {
        Self { began, incoming: Incoming::default(), outgoing, piece: None }
    }

    fn pump(&mut self, connection: &mut impl Streams, stream: u64) -> Result<()> {
        let Some(outgoing) = &mut self.outgoing else { return Ok(()) };
        while let Some((mut piece, last)) = self.piece.take().or_else(|| outgoing.next()) {
            let written = connection.write(stream, &piece, last)?;
            if written < piece.len() {
                piece.advance(written);
                self.piece = Some((piece, last));
                return Ok(());
            }
        }
        Ok(())
    }
}

impl Messages {
    /// A client's request.
    ///
    /// # Errors
    /// The connection's.
    pub fn ask(&mut self, connection: &mut impl Streams, stream: u64, work: &Work, began: Instant) -> Result<()> {
        let message = self.streams.entry(stream).or_insert(Message::new(Some(work.request()), began));
        message.pump(connection, stream)
    }

    /// There is room to write.
    ///
    /// # Errors
    /// The connection's.
    pub fn writable(&mut self, connection: &mut impl Streams, stream: u64) -> Result<()> {
        match self.streams.get_mut(&stream) {
            Some(message) => message.pump(connection, stream),
            None => Ok(()),
        }
    }

    /// There is something to read. The message, once it is whole.
    fn read(&mut self, connection: &mut impl Streams, stream: u64) -> Result<Option<&mut Message>> {
        self.buffer.resize(READ, 0);
        let message = self.streams.entry(stream).or_insert(Message::new(None, Instant::now()));
        while let Some((len, last)) = connection.read(stream, &mut self.buffer)? {
            message.incoming.take(&self.buffer[..len]);
            if last {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    /// At a server: there is something to read. The request is answered once it is whole.
    ///
    /// # Errors
    /// The connection's.
    pub fn serve(&mut self, connection: &mut impl Streams, stream: u64) -> Result<()> {
        if let Some(message) = self.read(connection, stream)? {
            message.outgoing = Some(message.incoming.answer());
            message.pump(connection, stream)?;
        }
        self.forget_sent(stream);
        Ok(())
    }

    /// At a server, after it has written: what has been sent is over.
    pub fn forget_sent(&mut self, stream: u64) {
        if self.streams.get(&stream).is_some_and(|message| {
            message.piece.is_none() && message.outgoing.as_ref().is_some_and(Outgoing::is_finished)
        }) {
            self.streams.remove(&stream);
        }
    }

    /// At a client: there is something to read. How long the exchange took, once it is whole.
    ///
    /// # Errors
    /// The connection's.
    pub fn answered(&mut self, connection: &mut impl Streams, stream: u64, work: &Work) -> Result<Option<Duration>> {
        Ok(self.read(connection, stream)?.is_some().then(|| self.end(stream, work)).flatten())
    }

    fn end(&mut self, stream: u64, work: &Work) -> Option<Duration> {
        let message = self.streams.remove(&stream)?;
        message.incoming.check(work);
        Some(message.began.elapsed())
    }

    /// At a client, where much is lost: exchanges whose ends have come although nobody was told. Of a frame whose data
    /// was read before, quiche and tquic drop the end, too, and do not say that the stream is readable.
    pub fn ended(&mut self, connection: &impl Streams, work: &Work) -> Vec<Duration> {
        let ended: Vec<u64> = self.streams.keys().copied().filter(|stream| connection.is_read(*stream)).collect();
        ended.into_iter().filter_map(|stream| self.end(stream, work)).collect()
    }
}

/// How far a client is.
pub struct Progress {
    /// What it is to do.
    pub work: Work,
    begun: usize,
    latencies: Vec<Duration>,
    stopwatch: Stopwatch,
}

impl Progress {
    /// The clock starts.
    pub fn start(work: Work) -> Self {
        Self { work, begun: 0, latencies: Vec::with_capacity(work.exchanges), stopwatch: Stopwatch::start() }
    }

    /// The number of another exchange, if there is one to begin.
    pub fn take(&mut self) -> Option<usize> {
        (self.begun < self.work.exchanges).then(|| {
            self.begun += 1;
            self.begun - 1
        })
    }

    /// An exchange has ended that took so long.
    pub fn finished(&mut self, latency: Duration) {
        self.latencies.push(latency);
    }

    /// How many have ended.
    pub fn count(&self) -> usize {
        self.latencies.len()
    }

    /// Whether all have ended.
    pub fn is_over(&self) -> bool {
        self.latencies.len() >= self.work.exchanges
    }

    /// Which connection carries an exchange, `last` having carried the one before it; `None` for one of its own.
    pub fn next_connection(&self, number: usize, last: usize) -> Option<usize> {
        match self.work.connections {
            Connections::Each => None,
            Connections::InTurns(connections) => Some(number % connections),
            Connections::Kept(_) => Some(last),
        }
    }

    /// The clock stops. There are no latencies of datagrams.
    pub fn stop(self) -> Measured {
        self.stopwatch.stop(if self.work.datagrams { Vec::new() } else { self.latencies })
    }
}
