//! The client.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tercel_bench_work::end::{self, Task};
use tercel_bench_work::measure::Measured;
use tercel_bench_work::polled::Progress;
use tercel_bench_work::scenario::{Connections, LATER, QUIET, Work};
use tercel_bench_work::{Result, settings};

use crate::endpoint::{Endpoint, One};
use crate::{Of, config};

pub fn work(task: &Task) -> Result<Measured> {
    let work = task.scenario.work(task.percent);
    let config = config(&task.identity, false, &work, settings::STREAMS)?;
    let mut client = Client {
        work,
        endpoint: Endpoint::new(config, false)?,
        server: task.address,
        is_lossy: task.scenario.network().is_some(),
        session: None,
        kept: Vec::new(),
        otherwise: 0,
        waiting: HashMap::new(),
        first: HashMap::new(),
    };
    client.run()
}

struct Client {
    work: Work,
    endpoint: Endpoint,
    server: SocketAddr,
    /// Whether the network loses datagrams.
    is_lossy: bool,
    session: Option<Vec<u8>>,
    /// The connections that are made before the clock starts.
    kept: Vec<usize>,
    /// How many were resumed where they should not have been, or were not where they should.
    otherwise: usize,
    /// Exchanges that wait for their connections until these may send, with when they began.
    waiting: HashMap<usize, VecDeque<Instant>>,
    /// Connections whose first exchange took so long, and has another behind it.
    first: HashMap<usize, Duration>,
}

impl Client {
    fn run(&mut self) -> Result<Measured> {
        if self.work.resumed {
            self.first_session()?;
        }
        while self.kept.len() < self.work.connections.kept() {
            let batch = settings::AT_ONCE.min(self.work.connections.kept() - self.kept.len());
            let batch: Vec<usize> =
                (0..batch).map(|_| self.endpoint.connect(self.server, None)).collect::<Result<_>>()?;
            while !batch.iter().all(|number| self.is_established(*number)) {
                self.endpoint.receive(None)?;
                self.endpoint.send();
                self.check(&batch)?;
            }
            self.kept.extend(batch);
        }
        let mut progress = Progress::start(self.work);
        if self.work.datagrams {
            return self.datagrams(progress);
        }
        for turn in 0..self.work.at_once {
            if let Some(number) = progress.take() {
                self.begin(self.work.connections.of(turn, number))?;
            }
        }
        self.endpoint.send();
        while !progress.is_over() {
            self.turn(None, &mut progress)?;
        }
        let measured = progress.stop();
        if self.work.quiet {
            self.leave_alone()?;
        }
        let permitted = if self.work.resumed { 2 * self.work.at_once } else { 0 };
        match self.otherwise <= permitted {
            true => Ok(measured),
            false => {
                Err(format!("{} connections were resumed or not, against what is measured", self.otherwise).into())
            }
        }
    }

    fn is_established(&self, number: usize) -> bool {
        self.endpoint.table.connections.get(&number).is_some_and(|one| one.connection.is_established())
    }

    /// Fails if one of these connections has ended.
    fn check(&self, numbers: &[usize]) -> Result<()> {
        match numbers.iter().find(|number| !self.endpoint.table.connections.contains_key(number)) {
            Some(number) => Err(format!("connection {number} has ended").into()),
            None => Ok(()),
        }
    }

    /// A connection for the first ticket.
    fn first_session(&mut self) -> Result<()> {
        let number = self.endpoint.connect(self.server, None)?;
        while self.session.is_none() {
            self.endpoint.receive(None)?;
            self.check(&[number])?;
            self.session = self.endpoint.table.connections[&number].connection.session().map(<[u8]>::to_vec);
            self.endpoint.send();
        }
        self.close(number);
        Ok(())
    }

    fn close(&mut self, number: usize) {
        if let Some(one) = self.endpoint.table.connections.get_mut(&number) {
            if one.connection.is_resumed() != self.work.resumed {
                self.otherwise += 1;
            }
            if let Some(session) = one.connection.session() {
                self.session = Some(session.to_vec());
            }
            // It is closed already otherwise.
            let _ = one.connection.close(true, 0, b"");
        }
        self.endpoint.table.touch(number);
    }

    /// Begins an exchange, on a connection of its own if there is no other.
    fn begin(&mut self, connection: Option<usize>) -> Result<()> {
        let number = match connection {
            Some(at) => self.kept[at],
            None => self.endpoint.connect(self.server, self.session.as_deref().filter(|_| self.work.resumed))?,
        };
        self.waiting.entry(number).or_default().push_back(Instant::now());
        // Early data follows the first flight, which is made by sending.
        if connection.is_none() && self.work.early {
            self.endpoint.send();
        }
        self.ask(number)
    }

    /// Sends the requests that wait, as far as the connection may.
    fn ask(&mut self, number: usize) -> Result<()> {
        let Some(waiting) = self.waiting.get_mut(&number) else { return Ok(()) };
        let Some(one) = self.endpoint.table.connections.get_mut(&number) else {
            return Err(format!("connection {number} has ended").into());
        };
        let may = one.connection.is_established() || self.work.early && one.connection.is_in_early_data();
        if !may {
            return Ok(());
        }
        while one.connection.peer_streams_left_bidi() > 0
            && let Some(began) = waiting.pop_front()
        {
            let stream = 4 * one.asked;
            one.asked += 1;
            one.messages.ask(&mut Of(&mut one.connection), stream, &self.work, began)?;
        }
        if waiting.is_empty() {
            self.waiting.remove(&number);
        }
        self.endpoint.table.touch(number);
        Ok(())
    }

    /// Takes what comes, begins what may follow, sends.
    fn turn(&mut self, until: Option<Instant>, progress: &mut Progress) -> Result<()> {
        for number in self.endpoint.receive(until)? {
            self.ask(number)?;
            for latency in self.answers(number)? {
                if self.work.early && !self.first.contains_key(&number) {
                    self.first.insert(number, latency);
                    self.waiting.entry(number).or_default().push_back(Instant::now());
                    self.ask(number)?;
                    continue;
                }
                progress.finished(self.first.remove(&number).unwrap_or(latency));
                if self.work.connections == Connections::Each {
                    self.close(number);
                }
                if let Some(next) = progress.take() {
                    let last = self.kept.binary_search(&number).unwrap_or_default();
                    self.begin(progress.next_connection(next, last))?;
                }
            }
        }
        self.endpoint.send();
        self.check(&self.kept)
    }

    /// How long those exchanges took that have ended.
    fn answers(&mut self, number: usize) -> Result<Vec<Duration>> {
        let Some(One { connection, messages, .. }) = self.endpoint.table.connections.get_mut(&number) else {
            return Ok(Vec::new());
        };
        let mut ended = Vec::new();
        for stream in connection.readable() {
            ended.extend(messages.answered(&mut Of(connection), stream, &self.work)?);
        }
        for stream in connection.writable() {
            messages.writable(&mut Of(connection), stream)?;
        }
        if self.is_lossy {
            ended.extend(messages.ended(&Of(connection), &self.work));
        }
        Ok(ended)
    }

    /// Nothing happens for a while; then some connections are asked once more.
    fn leave_alone(&mut self) -> Result<()> {
        let until = Instant::now() + QUIET;
        while Instant::now() < until {
            self.endpoint.receive(Some(until))?;
            self.endpoint.send();
        }
        end::quiet()?;
        for at in (0..self.kept.len()).step_by((self.kept.len() / LATER).max(1)) {
            self.begin(Some(at))?;
            self.endpoint.send();
            let mut answered = false;
            while !answered {
                self.endpoint.receive(None)?;
                answered = !self.answers(self.kept[at])?.is_empty();
                self.endpoint.send();
                self.check(&self.kept[at..=at])?;
            }
        }
        Ok(())
    }

    /// Sends datagrams and waits for their echoes.
    fn datagrams(&mut self, mut progress: Progress) -> Result<Measured> {
        const PATIENCE: Duration = Duration::from_millis(200);
        let (number, expected) = (self.kept[0], self.work.datagram());
        let (mut sent, mut back, mut lost, mut last) = (0, 0, 0, Instant::now());
        while back + lost < self.work.exchanges {
            let Some(one) = self.endpoint.table.connections.get_mut(&number) else {
                return Err("the connection has ended".into());
            };
            while sent < self.work.exchanges && sent < back + lost + self.work.at_once {
                one.connection.dgram_send(&expected)?;
                sent += 1;
            }
            self.endpoint.table.touch(number);
            self.endpoint.send();
            self.endpoint.receive(Some(last + PATIENCE))?;
            let (mut datagram, mut came) = ([0; 1500], 0);
            if let Some(one) = self.endpoint.table.connections.get_mut(&number) {
                while let Ok(len) = one.connection.dgram_recv(&mut datagram) {
                    assert!(datagram[..len] == expected, "another datagram came back");
                    came += 1;
                }
            }
            back += came;
            (0..came).for_each(|_| progress.finished(Duration::ZERO));
            if came > 0 {
                last = Instant::now();
            } else if last.elapsed() >= PATIENCE {
                (lost, last) = (sent - back, Instant::now());
            }
        }
        match lost * 100 > self.work.exchanges {
            true => Err(format!("{lost} datagrams were lost").into()),
            false => Ok(progress.stop()),
        }
    }
}
