//! The server.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tercel_interop_end::{Arguments, Wire, file, ready};
use tquic::h3::connection::Http3Connection;
use tquic::h3::{Header, Http3Config, Http3Error, Http3Event, NameValue as _};
use tquic::{Connection, Endpoint, TransportHandler};

use crate::streams::Streams;
use crate::{Failure, Out, config, log_keys, receive};

/// For how long the loop sleeps at most.
const MOMENT: Duration = Duration::from_secs(1);

/// Serves until the process is ended.
pub fn run(arguments: Arguments) -> Result<(), Failure> {
    arguments.cannot(&["connectionmigration"], "its server has no preferred address");
    let wire = Rc::new(Wire::open(arguments.address)?);
    let clients = Rc::new(RefCell::new(BTreeMap::new()));
    let config = Box::new(config(&arguments)?);
    let handler = Box::new(Handler { arguments: arguments.clone(), clients: clients.clone() });
    let mut endpoint = Endpoint::new(config, true, handler, Rc::new(Out(wire.clone())));
    ready();
    loop {
        receive(&mut endpoint, &wire, MOMENT)?;
        if arguments.is(&["halfrtt"]) {
            for (index, client) in clients.borrow_mut().iter_mut() {
                if let Some(connection) = endpoint.conn_get_mut(*index) {
                    client.greet(connection);
                }
            }
        }
        endpoint.process_connections()?;
        for (index, client) in clients.borrow_mut().iter_mut() {
            if let Some(connection) = endpoint.conn_get_mut(*index) {
                client.answer_ended(&arguments, connection)?;
            }
        }
        endpoint.process_connections()?;
    }
}

/// A connection.
#[derive(Default)]
struct Client {
    streams: Streams,
    http: Option<Http3Connection>,
    bodies: BTreeMap<u64, Bytes>,
    greeted: bool,
}

impl Client {
    fn answer_ended(&mut self, arguments: &Arguments, connection: &mut Connection) -> Result<(), Failure> {
        let mut ended = self.streams.ended(connection).into_iter();
        ended.try_for_each(|(stream, request)| self.answer(arguments, connection, stream, &request))
    }

    /// Sends before it is asked, as soon as the client's limits are known.
    fn greet(&mut self, connection: &mut Connection) {
        if !self.greeted
            && let Ok(stream) = connection.stream_uni_new(0, true)
        {
            let greeting = b"before you have finished".to_vec();
            self.greeted = self.streams.write(connection, stream, greeting).is_ok();
        }
    }

    fn readable(&mut self, arguments: &Arguments, connection: &mut Connection, stream: u64) -> Result<(), Failure> {
        if arguments.is(&["http3"]) {
            return self.readable_http(arguments, connection);
        }
        match self.streams.read(connection, stream)? {
            Some(request) => self.answer(arguments, connection, stream, &request),
            None => Ok(()),
        }
    }

    fn answer(
        &mut self,
        arguments: &Arguments,
        connection: &mut Connection,
        stream: u64,
        request: &[u8],
    ) -> Result<(), Failure> {
        let answer = arguments.answer(request).ok_or("what was asked is not understood")?;
        Ok(self.streams.write(connection, stream, answer)?)
    }

    fn readable_http(&mut self, arguments: &Arguments, connection: &mut Connection) -> Result<(), Failure> {
        let http = match &mut self.http {
            Some(http) => http,
            none => none.insert(Http3Connection::new_with_quic_conn(connection, &Http3Config::new()?)?),
        };
        loop {
            match http.poll(connection) {
                Ok((stream, Http3Event::Headers { headers, .. })) => {
                    let path = headers.iter().find(|header| header.name() == b":path");
                    let path = String::from_utf8(path.map(|path| path.value().to_vec()).unwrap_or_default())?;
                    let body = file(&arguments.directory, path.trim_start_matches('/')).ok_or("no such file")?;
                    http.send_headers(connection, stream, &[Header::new(b":status", b"200")], false)?;
                    self.bodies.insert(stream, body.into());
                }
                Ok(_) => {}
                Err(Http3Error::Done) => break,
                Err(error) => return Err(error.into()),
            }
        }
        let streams: Vec<u64> = self.bodies.keys().copied().collect();
        streams.into_iter().try_for_each(|stream| self.body(connection, stream))
    }

    /// Sends of a body as much as is possible now.
    fn body(&mut self, connection: &mut Connection, stream: u64) -> Result<(), Failure> {
        let (Some(http), Some(left)) = (&mut self.http, self.bodies.get_mut(&stream)) else { return Ok(()) };
        match http.send_body(connection, stream, left.clone(), true) {
            Ok(sent) => drop(left.split_to(sent)),
            // When the stream is writable.
            Err(Http3Error::Done | Http3Error::NoError | Http3Error::StreamBlocked) => {}
            Err(error) => return Err(error.into()),
        }
        if left.is_empty() {
            self.bodies.remove(&stream);
        }
        Ok(())
    }

    fn writable(&mut self, arguments: &Arguments, connection: &mut Connection, stream: u64) -> Result<(), Failure> {
        match arguments.is(&["http3"]) {
            true => self.body(connection, stream),
            false => Ok(self.streams.go_on(connection, stream)?),
        }
    }
}

/// Whom the endpoint tells. Clients go by the number of the connection.
struct Handler {
    arguments: Arguments,
    clients: Rc<RefCell<BTreeMap<u64, Client>>>,
}

impl Handler {
    fn with_client(
        &self,
        connection: &mut Connection,
        act: impl FnOnce(&mut Client, &Arguments, &mut Connection) -> Result<(), Failure>,
    ) {
        let mut clients = self.clients.borrow_mut();
        let client = clients.entry(connection.index().unwrap_or_default()).or_default();
        if let Err(error) = act(client, &self.arguments, connection) {
            eprintln!("{error}");
            let _ = connection.close(true, 1, b"");
        }
    }
}

impl TransportHandler for Handler {
    fn on_conn_created(&mut self, connection: &mut Connection) {
        log_keys(connection);
        self.with_client(connection, |_, _, _| Ok(()));
    }

    fn on_conn_established(&mut self, _: &mut Connection) {}

    fn on_conn_closed(&mut self, connection: &mut Connection) {
        self.clients.borrow_mut().remove(&connection.index().unwrap_or_default());
    }

    fn on_stream_created(&mut self, _: &mut Connection, _: u64) {}

    fn on_stream_readable(&mut self, connection: &mut Connection, stream: u64) {
        self.with_client(connection, |client, arguments, connection| client.readable(arguments, connection, stream));
    }

    fn on_stream_writable(&mut self, connection: &mut Connection, stream: u64) {
        self.with_client(connection, |client, arguments, connection| client.writable(arguments, connection, stream));
    }

    fn on_stream_closed(&mut self, _: &mut Connection, _: u64) {}

    fn on_new_token(&mut self, _: &mut Connection, _: Vec<u8>) {}
}
