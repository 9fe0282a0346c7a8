//! The client.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tercel_bench_work::end::{self, Task};
use tercel_bench_work::measure::Measured;
use tercel_bench_work::polled::{Messages, Progress};
use tercel_bench_work::scenario::{Connections, LATER, QUIET, Work};
use tercel_bench_work::wire::Wire;
use tercel_bench_work::{Result, settings};
use tquic::{Connection, Endpoint, Error, TransportHandler};

use crate::{Of, Out, config, receive};

/// For how long the loop sleeps at most.
const MOMENT: Duration = Duration::from_millis(200);

pub fn work(task: &Task) -> Result<Measured> {
    let work = task.scenario.work(task.percent);
    if work.datagrams {
        return Err("it has no datagrams".into());
    }
    let config = config(&task.identity, false, &work, settings::STREAMS)?;
    let wire = Rc::new(RefCell::new(Wire::open()?));
    let told = Rc::new(RefCell::new(Told::new(work)));
    let handler = Box::new(Handler(told.clone()));
    let endpoint = Endpoint::new(Box::new(config), false, handler, Rc::new(Out(wire.clone())));
    let is_lossy = task.scenario.network().is_some();
    Client { work, endpoint, wire, told, server: task.address, is_lossy, kept: Vec::new() }.run()
}

/// What the endpoint has told, and what is to be done upon that.
struct Told {
    work: Work,
    connections: HashMap<u64, One>,
    /// Connections that are established.
    established: usize,
    session: Option<Vec<u8>>,
    not_resumed: usize,
    /// Exchanges that have ended, and on which connection.
    ended: Vec<(u64, Duration)>,
    failed: Option<String>,
    /// How far it is, once the clock has started.
    progress: Option<Progress>,
}

/// A connection.
#[derive(Default)]
struct One {
    messages: Messages,
    /// Exchanges that wait until the connection may send, with when they began.
    waiting: VecDeque<Instant>,
    /// How long the first exchange took, if another is behind it.
    first: Option<Duration>,
    is_closing: bool,
}

impl Told {
    fn new(work: Work) -> Self {
        Self {
            work,
            connections: HashMap::new(),
            established: 0,
            session: None,
            not_resumed: 0,
            ended: Vec::new(),
            failed: None,
            progress: None,
        }
    }

    /// Sends the requests that wait, as far as the connection may.
    fn ask(&mut self, connection: &mut Connection) -> Result<()> {
        let Some(one) = self.connections.get_mut(&connection.index().unwrap_or_default()) else { return Ok(()) };
        let may = connection.is_established() || self.work.early && connection.is_in_early_data();
        if !may {
            return Ok(());
        }
        while let Some(began) = one.waiting.front().copied() {
            let stream = match connection.stream_bidi_new(0, true) {
                Ok(stream) => stream,
                Err(Error::StreamLimitError) => break,
                Err(error) => return Err(error.into()),
            };
            one.waiting.pop_front();
            one.messages.ask(&mut Of(connection), stream, &self.work, began)?;
        }
        Ok(())
    }

    /// There is something to read.
    fn readable(&mut self, connection: &mut Connection, stream: u64) -> Result<()> {
        let number = connection.index().unwrap_or_default();
        let Some(one) = self.connections.get_mut(&number) else { return Ok(()) };
        match one.messages.answered(&mut Of(connection), stream, &self.work)? {
            Some(latency) => self.answered(connection, number, latency),
            None => Ok(()),
        }
    }

    /// An exchange has ended. Another on the same connection follows at once, so that it leaves with the acknowledgement.
    fn answered(&mut self, connection: &mut Connection, number: u64, latency: Duration) -> Result<()> {
        let Some(one) = self.connections.get_mut(&number) else { return Ok(()) };
        if self.work.early && one.first.is_none() {
            one.first = Some(latency);
            one.waiting.push_back(Instant::now());
            return self.ask(connection);
        }
        let latency = one.first.unwrap_or(latency);
        match (&mut self.progress, self.work.connections) {
            (Some(progress), Connections::Kept(_)) => {
                progress.finished(latency);
                if progress.take().is_some() {
                    one.waiting.push_back(Instant::now());
                }
            }
            _ => self.ended.push((number, latency)),
        }
        self.ask(connection)
    }

    fn note(&mut self, result: Result<()>) {
        if let Err(error) = result {
            self.failed = Some(error.to_string());
        }
    }
}

struct Client {
    work: Work,
    endpoint: Endpoint,
    wire: Rc<RefCell<Wire>>,
    told: Rc<RefCell<Told>>,
    server: SocketAddr,
    /// Whether the network loses datagrams.
    is_lossy: bool,
    /// The connections that are made before the clock starts.
    kept: Vec<u64>,
}

impl Client {
    fn connect(&mut self) -> Result<u64> {
        let (local, session) = (self.wire.borrow().local, self.told.borrow().session.clone());
        let name = Some(settings::SERVER_NAME);
        let session = session.as_deref().filter(|_| self.work.resumed);
        let number = self.endpoint.connect(local, self.server, name, session, None, None)?;
        self.told.borrow_mut().connections.insert(number, One::default());
        Ok(number)
    }

    /// Takes what comes, and sends.
    fn turn(&mut self, most: Duration) -> Result<()> {
        receive(&mut self.endpoint, &self.wire, most)?;
        self.endpoint.process_connections()?;
        if self.is_lossy {
            self.look_for_ends()?;
        }
        match self.told.borrow_mut().failed.take() {
            Some(why) => Err(why.into()),
            None => Ok(()),
        }
    }

    fn look_for_ends(&mut self) -> Result<()> {
        for number in self.kept.clone() {
            let Some(connection) = self.endpoint.conn_get_mut(number) else { continue };
            let mut told = self.told.borrow_mut();
            let work = told.work;
            let Some(one) = told.connections.get_mut(&number) else { continue };
            for latency in one.messages.ended(&Of(connection), &work) {
                told.answered(connection, number, latency)?;
            }
        }
        Ok(())
    }

    /// Begins an exchange, on a connection of its own if there is no other.
    fn begin(&mut self, connection: Option<usize>) -> Result<()> {
        let number = match connection {
            Some(at) => self.kept[at],
            None => self.connect()?,
        };
        let mut told = self.told.borrow_mut();
        if let Some(one) = told.connections.get_mut(&number) {
            one.waiting.push_back(Instant::now());
        }
        match self.endpoint.conn_get_mut(number) {
            Some(connection) => told.ask(connection),
            None => Err(format!("connection {number} has ended").into()),
        }
    }

    fn run(mut self) -> Result<Measured> {
        if self.work.resumed {
            self.first_session()?;
        }
        while self.kept.len() < self.work.connections.kept() {
            let batch = settings::AT_ONCE.min(self.work.connections.kept() - self.kept.len());
            for _ in 0..batch {
                let number = self.connect()?;
                self.kept.push(number);
            }
            self.endpoint.process_connections()?;
            while self.told.borrow().established < self.kept.len() {
                self.turn(MOMENT)?;
            }
        }
        self.told.borrow_mut().progress = Some(Progress::start(self.work));
        for turn in 0..self.work.at_once {
            if let Some(number) = self.take() {
                self.begin(self.work.connections.of(turn, number))?;
            }
        }
        self.endpoint.process_connections()?;
        while !self.told.borrow().progress.as_ref().is_some_and(Progress::is_over) {
            self.turn(MOMENT)?;
            self.go_on()?;
        }
        let progress = self.told.borrow_mut().progress.take().ok_or("the clock has not started")?;
        let measured = progress.stop();
        if self.work.quiet {
            self.leave_alone()?;
        }
        let (not_resumed, permitted) = (self.told.borrow().not_resumed, 2 * self.work.at_once);
        match self.work.resumed && not_resumed > permitted {
            true => Err(format!("{not_resumed} connections were not resumed").into()),
            false => Ok(measured),
        }
    }

    fn take(&self) -> Option<usize> {
        self.told.borrow_mut().progress.as_mut()?.take()
    }

    /// What follows exchanges that have ended, on other connections.
    fn go_on(&mut self) -> Result<()> {
        let ended = std::mem::take(&mut self.told.borrow_mut().ended);
        if ended.is_empty() {
            return Ok(());
        }
        for (number, latency) in ended {
            if let Some(progress) = &mut self.told.borrow_mut().progress {
                progress.finished(latency);
            }
            if self.work.connections == Connections::Each {
                self.close(number);
            }
            if let Some(next) = self.take() {
                self.begin(self.work.connections.of(0, next))?;
            }
        }
        Ok(self.endpoint.process_connections()?)
    }

    fn close(&mut self, number: u64) {
        let mut told = self.told.borrow_mut();
        if let Some(one) = told.connections.get_mut(&number) {
            one.is_closing = true;
        }
        if let Some(connection) = self.endpoint.conn_get_mut(number) {
            if !connection.is_resumed() {
                told.not_resumed += 1;
            }
            if let Some(session) = connection.session() {
                told.session = Some(session.to_vec());
            }
            // It is closed already otherwise.
            let _ = connection.close(true, 0, b"");
        }
    }

    /// A connection for the first ticket.
    fn first_session(&mut self) -> Result<()> {
        let number = self.connect()?;
        self.endpoint.process_connections()?;
        while self.endpoint.conn_get_mut(number).is_some_and(|connection| connection.session().is_none()) {
            self.turn(MOMENT)?;
        }
        self.close(number);
        self.endpoint.process_connections()?;
        self.told.borrow_mut().established = 0;
        Ok(())
    }

    /// Nothing happens for a while; then some connections are asked once more.
    fn leave_alone(&mut self) -> Result<()> {
        let until = Instant::now() + QUIET;
        while Instant::now() < until {
            self.turn(until.saturating_duration_since(Instant::now()))?;
        }
        end::quiet()?;
        for at in (0..self.kept.len()).step_by((self.kept.len() / LATER).max(1)) {
            self.begin(Some(at))?;
            self.endpoint.process_connections()?;
            while self.told.borrow().ended.is_empty() {
                self.turn(MOMENT)?;
            }
            self.told.borrow_mut().ended.clear();
        }
        Ok(())
    }
}

/// Whom the endpoint tells.
struct Handler(Rc<RefCell<Told>>);

impl TransportHandler for Handler {
    fn on_conn_created(&mut self, _: &mut Connection) {}

    fn on_conn_established(&mut self, connection: &mut Connection) {
        let mut told = self.0.borrow_mut();
        told.established += 1;
        let asked = told.ask(connection);
        told.note(asked);
    }

    fn on_conn_closed(&mut self, connection: &mut Connection) {
        let mut told = self.0.borrow_mut();
        let one = told.connections.remove(&connection.index().unwrap_or_default());
        if !one.is_some_and(|one| one.is_closing) {
            told.failed = Some(format!("closed: {:?} {:?}", connection.peer_error(), connection.local_error()));
        }
    }

    fn on_stream_created(&mut self, _: &mut Connection, _: u64) {}

    fn on_stream_readable(&mut self, connection: &mut Connection, stream: u64) {
        let mut told = self.0.borrow_mut();
        let read = told.readable(connection, stream);
        told.note(read);
    }

    fn on_stream_writable(&mut self, connection: &mut Connection, stream: u64) {
        let mut told = self.0.borrow_mut();
        let written = connection.stream_want_write(stream, false).map_err(Into::into).and_then(|()| {
            match told.connections.get_mut(&connection.index().unwrap_or_default()) {
                Some(one) => one.messages.writable(&mut Of(connection), stream),
                None => Ok(()),
            }
        });
        told.note(written);
    }

    fn on_stream_closed(&mut self, connection: &mut Connection, _: u64) {
        let mut told = self.0.borrow_mut();
        let asked = told.ask(connection);
        told.note(asked);
    }

    fn on_new_token(&mut self, _: &mut Connection, _: Vec<u8>) {}
}
