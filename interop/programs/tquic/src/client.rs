//! The client.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tercel_interop_end::{Arguments, KEEP_ALIVE, SERVER_NAME, Wire, request, tell};
use tquic::h3::connection::Http3Connection;
use tquic::h3::{Header, Http3Config, Http3Error, Http3Event};
use tquic::{Connection, Endpoint, Error, TransportHandler};

use crate::streams::Streams;
use crate::{Failure, Out, config, log_keys, receive};

/// For how long the loop sleeps at most.
const MOMENT: Duration = Duration::from_millis(20);

/// Does what the case says, once.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    arguments.cannot(&["keyupdate"], "its application cannot ask for a key update");
    arguments.cannot(&["chacha20"], "BoringSSL offers all suites of TLS 1.3");
    arguments.cannot(&["versionnegotiation"], "its client begins with version 1");
    arguments.cannot(&["connectionmigration"], "its client does not move to preferred addresses");
    arguments.cannot(&["migration"], "its client cannot be moved");
    // Early data is for the cases that ask for it: while nothing else is under way, tquic arms no timer
    // (`get_pto_time_and_space`), and waits for ever if the server may send no more before it hears from the client.
    let goes_on = arguments.is(&["resumption", "zerortt"]);
    let mut session = None;
    for paths in arguments.connections() {
        session = one(arguments, paths, session.filter(|_| goes_on))?;
    }
    Ok(())
}

/// One connection, which goes on with this session. What the next one can go on with.
fn one(arguments: &Arguments, paths: &[String], session: Option<Vec<u8>>) -> Result<Option<Vec<u8>>, Failure> {
    let wire = Rc::new(Wire::open(SocketAddr::new(arguments.address.ip(), 0))?);
    let fetching = Rc::new(RefCell::new(Fetching::new(arguments, paths)));
    let handler = Box::new(Handler(fetching.clone()));
    let mut endpoint = Endpoint::new(Box::new(config(arguments)?), false, handler, Rc::new(Out(wire.clone())));
    let index = endpoint.connect(wire.local, arguments.address, Some(SERVER_NAME), session.as_deref(), None, None)?;
    let mut pinged = Instant::now();
    while fetching.borrow().missing > 0 {
        if let Some(connection) = endpoint.conn_get_mut(index) {
            fetching.borrow_mut().look_after(connection)?;
            if arguments.is(&["reset"]) && pinged.elapsed() > Duration::from_millis(KEEP_ALIVE) {
                connection.ping(None)?;
                // A ping alone does not have the endpoint look at the connection.
                let _ = connection.stream_want_read(0, true);
                pinged = Instant::now();
            }
        }
        turn(&mut endpoint, &wire, &fetching)?;
    }
    // For tickets.
    let until = Instant::now() + Duration::from_millis(100);
    let mut session = None;
    while let Some(connection) = endpoint.conn_get_mut(index) {
        session = connection.session().map(<[u8]>::to_vec);
        if session.is_some() || Instant::now() >= until {
            connection.close(true, 0, b"")?;
            endpoint.process_connections()?;
            break;
        }
        turn(&mut endpoint, &wire, &fetching)?;
    }
    Ok(session)
}

fn turn(endpoint: &mut Endpoint, wire: &Wire, fetching: &RefCell<Fetching>) -> Result<(), Failure> {
    endpoint.process_connections()?;
    if fetching.borrow().missing > 0 {
        receive(endpoint, wire, MOMENT)?;
        endpoint.process_connections()?;
    }
    match fetching.borrow_mut().failed.take() {
        Some(why) => Err(why.into()),
        None => Ok(()),
    }
}

/// What a connection is to bring.
struct Fetching {
    arguments: Arguments,
    left: VecDeque<String>,
    names: BTreeMap<u64, String>,
    streams: Streams,
    bodies: BTreeMap<u64, Vec<u8>>,
    http: Option<Http3Connection>,
    missing: usize,
    failed: Option<String>,
}

impl Fetching {
    fn new(arguments: &Arguments, paths: &[String]) -> Self {
        Self {
            arguments: arguments.clone(),
            left: paths.iter().cloned().collect(),
            names: BTreeMap::new(),
            streams: Streams::default(),
            bodies: BTreeMap::new(),
            http: None,
            missing: paths.len(),
            failed: None,
        }
    }

    fn look_after(&mut self, connection: &mut Connection) -> Result<(), Failure> {
        for (stream, answer) in self.streams.ended(connection) {
            self.whole(stream, &answer);
        }
        self.ask(connection)
    }

    /// Asks for as much as the server permits.
    fn ask(&mut self, connection: &mut Connection) -> Result<(), Failure> {
        if !connection.is_established() && !connection.is_in_early_data() {
            return Ok(());
        }
        if !connection.is_established() && !self.left.is_empty() {
            tell("asked in early data");
        }
        while let Some(path) = self.left.front() {
            let stream = if self.arguments.is(&["http3"]) {
                self.ask_http(connection, path.clone())?
            } else {
                let stream = match connection.stream_bidi_new(0, true) {
                    Ok(stream) => stream,
                    Err(Error::StreamLimitError) => return Ok(()),
                    Err(error) => return Err(error.into()),
                };
                self.streams.write(connection, stream, request(path))?;
                stream
            };
            self.names.extend(self.left.pop_front().map(|path| (stream, path)));
        }
        Ok(())
    }

    fn ask_http(&mut self, connection: &mut Connection, path: String) -> Result<u64, Failure> {
        let http = match &mut self.http {
            Some(http) => http,
            none => none.insert(Http3Connection::new_with_quic_conn(connection, &Http3Config::new()?)?),
        };
        let path = format!("/{path}");
        let headers = [(":method", "GET"), (":scheme", "https"), (":authority", SERVER_NAME), (":path", &path)];
        let headers = headers.map(|(name, value)| Header::new(name.as_bytes(), value.as_bytes()));
        let stream = http.stream_new(connection)?;
        http.send_headers(connection, stream, &headers, true)?;
        Ok(stream)
    }

    fn readable(&mut self, connection: &mut Connection, stream: u64) -> Result<(), Failure> {
        if self.http.is_some() {
            return self.readable_http(connection);
        }
        if let Some(answer) = self.streams.read(connection, stream)? {
            self.whole(stream, &answer);
        }
        Ok(())
    }

    fn readable_http(&mut self, connection: &mut Connection) -> Result<(), Failure> {
        let mut piece = [0; 16 << 10];
        while let Some(http) = &mut self.http {
            match http.poll(connection) {
                Ok((stream, Http3Event::Data)) => {
                    while let Ok(len) = http.recv_body(connection, stream, &mut piece) {
                        self.bodies.entry(stream).or_default().extend_from_slice(&piece[..len]);
                    }
                }
                Ok((stream, Http3Event::Finished)) => {
                    let answer = self.bodies.remove(&stream).unwrap_or_default();
                    self.whole(stream, &answer);
                }
                Ok(_) => {}
                Err(Http3Error::Done) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn whole(&mut self, stream: u64, answer: &[u8]) {
        if let Some(name) = self.names.get(&stream) {
            self.arguments.store(name, answer);
            self.missing -= 1;
        }
    }
}

/// Whom the endpoint tells.
struct Handler(Rc<RefCell<Fetching>>);

impl TransportHandler for Handler {
    fn on_conn_created(&mut self, connection: &mut Connection) {
        log_keys(connection);
    }

    fn on_conn_established(&mut self, _: &mut Connection) {}

    fn on_conn_closed(&mut self, connection: &mut Connection) {
        let mut fetching = self.0.borrow_mut();
        if fetching.missing > 0 {
            let (theirs, ours) = (connection.peer_error(), connection.local_error());
            let why = if connection.is_reset() { "reset" } else { "closed" };
            fetching.failed = Some(format!("{why}: {theirs:?} {ours:?}"));
        }
    }

    fn on_stream_created(&mut self, _: &mut Connection, _: u64) {}

    fn on_stream_readable(&mut self, connection: &mut Connection, stream: u64) {
        let mut fetching = self.0.borrow_mut();
        if let Err(error) = fetching.readable(connection, stream) {
            fetching.failed = Some(error.to_string());
        }
    }

    fn on_stream_writable(&mut self, connection: &mut Connection, stream: u64) {
        let mut fetching = self.0.borrow_mut();
        if fetching.http.is_none() {
            let _ = fetching.streams.go_on(connection, stream);
        }
    }

    fn on_stream_closed(&mut self, _: &mut Connection, _: u64) {}

    fn on_new_token(&mut self, _: &mut Connection, _: Vec<u8>) {}
}
