//! Exchanges over a peer with an async interface.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::LocalSet;

use crate::measure::{Measured, Stopwatch};
use crate::scenario::{Incoming, LATER, Outgoing, QUIET, Work};
use crate::{Result, end};

/// A connection.
pub trait Connection: Clone + 'static {
    type Send: Send;
    type Recv: Recv;
    /// Opens a bidirectional stream.
    fn open(&self) -> impl Future<Output = Result<(Self::Send, Self::Recv)>>;
    /// The next bidirectional stream of the peer's; `None` when the connection has ended.
    fn accept(&self) -> impl Future<Output = Option<(Self::Send, Self::Recv)>>;
    /// Sends datagrams, in the quickest way that the peer has.
    fn send_datagrams(&self, all: impl Iterator<Item = Bytes>) -> Result<()>;
    /// Datagrams of the peer's, in the quickest way: waits for one, and puts it and some that are there, too, into
    /// `into`; `false` when the connection has ended.
    fn datagrams(&self, into: &mut Vec<Bytes>) -> impl Future<Output = bool>;
    /// Closes it with code 0.
    fn close(&self);
}

/// The sending part of a stream.
pub trait Send: 'static {
    /// Sends `piece`; waits for room.
    fn write(&mut self, piece: Bytes) -> impl Future<Output = Result<()>>;
    /// Ends it.
    fn finish(&mut self) -> Result<()>;
}

/// The receiving part of a stream.
pub trait Recv: 'static {
    /// The next piece, not copied; `None` at the end.
    fn read(&mut self) -> impl Future<Output = Result<Option<Bytes>>>;
}

/// Runs `future` and whatever it spawns on this thread.
pub fn run<T>(future: impl Future<Output = T>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(LocalSet::new().block_on(&runtime, future))
}

async fn send(stream: &mut impl Send, message: Outgoing) -> Result<()> {
    for (piece, last) in message {
        if !piece.is_empty() {
            stream.write(piece).await?;
        }
        if last {
            stream.finish()?;
        }
    }
    Ok(())
}

async fn receive(stream: &mut impl Recv) -> Result<Incoming> {
    let mut message = Incoming::default();
    while let Some(piece) = stream.read().await? {
        message.take(&piece);
    }
    Ok(message)
}

/// Serves a connection until it ends.
pub async fn serve(connection: impl Connection) {
    let echoing = connection.clone();
    tokio::task::spawn_local(async move {
        let mut received = Vec::new();
        while echoing.datagrams(&mut received).await {
            echoing.send_datagrams(received.drain(..))?;
        }
        Result::Ok(())
    });
    while let Some((mut to, mut from)) = connection.accept().await {
        tokio::task::spawn_local(async move {
            let request = receive(&mut from).await?;
            send(&mut to, request.answer()).await
        });
    }
}

async fn exchange(connection: &impl Connection, work: &Work) -> Result<Duration> {
    let began = Instant::now();
    let (mut to, mut from) = connection.open().await?;
    send(&mut to, work.request()).await?;
    receive(&mut from).await?.check(work);
    Ok(began.elapsed())
}

/// Sends datagrams and waits for their echoes.
async fn datagrams(connection: &impl Connection, work: &Work) -> Result<()> {
    const PATIENCE: Duration = Duration::from_millis(200);
    let (mut sent, mut back, mut lost, mut seen) = (0, 0, 0, 0);
    let mut received = Vec::new();
    let mut alarm = tokio::time::interval(PATIENCE);
    while back + lost < work.exchanges {
        let until = work.exchanges.min(back + lost + work.at_once);
        connection.send_datagrams((sent..until).map(|_| work.datagram()))?;
        sent = sent.max(until);
        tokio::select! {
            goes_on = connection.datagrams(&mut received) => {
                if !goes_on {
                    return Err("the connection has ended".into());
                }
                back += received.len();
                received.drain(..).for_each(|echo| assert!(echo == work.datagram(), "another datagram came back"));
            }
            _ = alarm.tick() => {
                if seen == back {
                    lost = sent - back;
                }
                seen = back;
            }
        }
    }
    if lost * 100 > work.exchanges { Err(format!("{lost} datagrams were lost").into()) } else { Ok(()) }
}

pub use crate::settings::AT_ONCE;

/// Does the work of a client over connections that `connect` makes.
pub async fn work<C: Connection, F: Future<Output = Result<C>> + 'static>(
    work: Work,
    connect: impl Fn() -> F + 'static,
) -> Result<Measured> {
    let connect = Rc::new(connect);
    let mut kept = Vec::new();
    while kept.len() < work.connections.kept() {
        let batch = (kept.len()..work.connections.kept()).take(AT_ONCE);
        let batch: Vec<_> = batch.map(|_| tokio::task::spawn_local(connect())).collect();
        for connecting in batch {
            kept.push(connecting.await??);
        }
    }
    if work.resumed {
        // For the first tickets.
        let connection = connect().await?;
        exchange(&connection, &work).await?;
        connection.close();
    }
    let kept = Rc::new(kept);
    let stopwatch = Stopwatch::start();
    if work.datagrams {
        let connection = kept.first().ok_or("no connection")?;
        datagrams(connection, &work).await?;
        return Ok(stopwatch.stop(Vec::new()));
    }
    let left = Rc::new(Cell::new(work.exchanges));
    let latencies = Rc::new(RefCell::new(Vec::with_capacity(work.exchanges)));
    let tasks: Vec<_> = (0..work.at_once)
        .map(|turn| {
            let (kept, connect) = (kept.clone(), connect.clone());
            let (left, latencies) = (left.clone(), latencies.clone());
            tokio::task::spawn_local(async move {
                while left.get() > 0 {
                    left.set(left.get() - 1);
                    let number = work.exchanges - left.get() - 1;
                    let latency = match work.connections.of(turn, number) {
                        Some(at) => exchange(&kept[at], &work).await?,
                        None => {
                            let began = Instant::now();
                            let connection = connect().await?;
                            exchange(&connection, &work).await?;
                            let latency = began.elapsed();
                            if work.early {
                                exchange(&connection, &work).await?;
                            }
                            connection.close();
                            latency
                        }
                    };
                    latencies.borrow_mut().push(latency);
                }
                Result::Ok(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    let measured = stopwatch.stop(latencies.take());
    if work.quiet {
        tokio::time::sleep(QUIET).await;
        end::quiet()?;
        for connection in kept.iter().step_by((kept.len() / LATER).max(1)) {
            exchange(connection, &work).await?;
        }
    }
    Ok(measured)
}
