//! The client.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use quiche::{Config, Connection, RecvInfo, h3};
use tercel_interop_end::{Arguments, DATAGRAMS, KEEP_ALIVE, SERVER_NAME, Wire, request, tell};

use crate::wire::{connection_id, reset_token, send};
use crate::{Failure, Outgoing, config, log_keys, receive};

/// Does what the case says, once.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    arguments.cannot(&["keyupdate"], "its application cannot ask for a key update");
    arguments.cannot(&["chacha20"], "BoringSSL offers all suites of TLS 1.3");
    let mut config = config(arguments)?;
    // Early data is for the cases that ask for it: while nothing else is under way, quiche arms no timer
    // (`pto_time_and_space`), and waits for ever if the server may send no more before it hears from the client.
    let goes_on = arguments.is(&["resumption", "zerortt"]);
    let mut session = None;
    for paths in arguments.connections() {
        session = One::new(arguments, &mut config, session.filter(|_| goes_on))?.run(paths)?;
    }
    Ok(())
}

fn local(arguments: &Arguments) -> SocketAddr {
    (arguments.address.ip(), 0).into()
}

/// One connection.
struct One<'a> {
    arguments: &'a Arguments,
    connection: Connection,
    /// The second one is there once the client has moved.
    wires: Vec<Wire>,
    outgoing: Outgoing,
    incoming: BTreeMap<u64, Vec<u8>>,
    http: Option<h3::Connection>,
}

impl<'a> One<'a> {
    fn new(arguments: &'a Arguments, config: &mut Config, session: Option<Vec<u8>>) -> Result<Self, Failure> {
        let wire = Wire::open(local(arguments))?;
        let id = connection_id();
        let mut connection = quiche::connect(Some(SERVER_NAME), &id, wire.local, arguments.address, config)?;
        log_keys(&mut connection);
        if let Some(session) = session {
            connection.set_session(&session)?;
        }
        let (outgoing, incoming) = (Outgoing::default(), BTreeMap::new());
        Ok(Self { arguments, connection, wires: vec![wire], outgoing, incoming, http: None })
    }

    /// Sends, waits no longer than `most`, and takes what came.
    fn turn(&mut self, most: Duration) -> Result<(), Failure> {
        for wire in &self.wires {
            send(wire, &mut self.connection)?;
        }
        let most = if self.wires.len() > 1 { Duration::from_millis(2) } else { most };
        let timeout = self.connection.timeout().unwrap_or(most).min(most);
        for wire in &self.wires {
            wire.receive(timeout, |data, from| {
                let _ = self.connection.recv(data, RecvInfo { from, to: wire.local });
            })?;
        }
        if self.connection.timeout() == Some(Duration::ZERO) {
            self.connection.on_timeout();
        }
        for wire in &self.wires {
            send(wire, &mut self.connection)?;
        }
        match self.connection.is_closed() {
            true => {
                Err(format!("closed: {:?} {:?}", self.connection.peer_error(), self.connection.local_error()).into())
            }
            false => Ok(()),
        }
    }

    fn run(mut self, paths: &[String]) -> Result<Option<Vec<u8>>, Failure> {
        let moment = Duration::from_millis(20);
        self.turn(Duration::from_millis(1))?;
        while !self.connection.is_established() && !self.connection.is_in_early_data() {
            self.turn(moment)?;
        }
        if self.arguments.is(&["datagrams"]) {
            self.datagrams()?;
        }
        let (mut left, began) = (paths.iter(), Instant::now());
        let (mut names, mut missing, mut pinged) = (BTreeMap::new(), paths.len(), Instant::now());
        while missing > 0 {
            if self.arguments.is(&["http3"]) {
                missing -= self.http(&mut left, &mut names)?;
            } else {
                missing -= self.hq(&mut left, &mut names)?;
            }
            if self.arguments.is(&["migration"])
                && self.wires.len() == 1
                && began.elapsed() > Duration::from_millis(500)
            {
                self.migrate()?;
            }
            if self.arguments.is(&["reset"]) && pinged.elapsed() > Duration::from_millis(KEEP_ALIVE) {
                self.connection.send_ack_eliciting()?;
                pinged = Instant::now();
            }
            if missing > 0 {
                self.turn(moment)?;
            }
        }
        // For tickets.
        let until = Instant::now() + Duration::from_millis(100);
        while self.connection.session().is_none() && Instant::now() < until {
            self.turn(moment)?;
        }
        let session = self.connection.session().map(<[u8]>::to_vec);
        self.connection.close(true, 0, b"")?;
        for wire in &self.wires {
            send(wire, &mut self.connection)?;
        }
        Ok(session)
    }

    /// Asks for what the peer permits. How many answers are whole.
    fn hq(
        &mut self,
        left: &mut std::slice::Iter<'_, String>,
        names: &mut BTreeMap<u64, String>,
    ) -> Result<usize, Failure> {
        let early = self.connection.is_in_early_data();
        let permitted = self.connection.peer_streams_left_bidi() as usize;
        for path in left.by_ref().take(permitted) {
            let stream = names.len() as u64 * 4;
            names.insert(stream, path.clone());
            self.outgoing.push(stream, request(path));
            self.outgoing.send(&mut self.connection)?;
        }
        if early {
            tell("asked in early data");
        }
        self.outgoing.send(&mut self.connection)?;
        let (arguments, mut whole) = (self.arguments, 0);
        receive(&mut self.connection, &mut self.incoming, |stream, answer| {
            if let Some(name) = names.get(&stream) {
                arguments.store(name, &answer);
                whole += 1;
            }
        })?;
        Ok(whole)
    }

    /// The same over HTTP/3.
    fn http(
        &mut self,
        left: &mut std::slice::Iter<'_, String>,
        names: &mut BTreeMap<u64, String>,
    ) -> Result<usize, Failure> {
        let http = match &mut self.http {
            Some(http) => http,
            none => none.insert(h3::Connection::with_transport(&mut self.connection, &h3::Config::new()?)?),
        };
        for path in left {
            let path_with_slash = format!("/{path}");
            let headers =
                [(":method", "GET"), (":scheme", "https"), (":authority", SERVER_NAME), (":path", &path_with_slash)];
            let headers = headers.map(|(name, value)| h3::Header::new(name.as_bytes(), value.as_bytes()));
            names.insert(http.send_request(&mut self.connection, &headers, true)?, path.clone());
        }
        let (mut whole, mut piece) = (0, [0; 16 << 10]);
        loop {
            match http.poll(&mut self.connection) {
                Ok((stream, h3::Event::Data)) => {
                    while let Ok(len) = http.recv_body(&mut self.connection, stream, &mut piece) {
                        self.incoming.entry(stream).or_default().extend_from_slice(&piece[..len]);
                    }
                }
                Ok((stream, h3::Event::Finished)) => {
                    let answer = self.incoming.remove(&stream).unwrap_or_default();
                    self.arguments.store(&names[&stream], &answer);
                    whole += 1;
                }
                Ok(_) => {}
                Err(h3::Error::Done) => return Ok(whole),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// To another socket.
    fn migrate(&mut self) -> Result<(), Failure> {
        if self.connection.available_dcids() == 0 {
            return Ok(());
        }
        let id = connection_id();
        if self.connection.scids_left() > 0 {
            self.connection.new_scid(&id, reset_token(&id), false)?;
        }
        let wire = Wire::open(local(self.arguments))?;
        self.connection.migrate_source(wire.local)?;
        self.wires.push(wire);
        Ok(())
    }

    /// Sends them one after the other, and wants each back.
    fn datagrams(&mut self) -> Result<(), Failure> {
        let mut back = 0;
        for number in 0..DATAGRAMS {
            let data = vec![number as u8; 100 + number * 20];
            self.connection.dgram_send(&data)?;
            let (mut echo, until) = ([0; 1500], Instant::now() + Duration::from_millis(500));
            while Instant::now() < until {
                self.turn(Duration::from_millis(20))?;
                if let Ok(len) = self.connection.dgram_recv(&mut echo) {
                    back += usize::from(echo[..len] == data[..]);
                    break;
                }
            }
        }
        tell(&format!("datagrams back: {back}"));
        match back == DATAGRAMS {
            true => Ok(()),
            false => Err("not all datagrams came back".into()),
        }
    }
}
