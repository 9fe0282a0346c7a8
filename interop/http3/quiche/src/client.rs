//! The client.

use std::collections::BTreeMap;
use std::time::Instant;

use quiche::h3::{self, Event, Header};

use crate::Outcome;
use crate::message::{Message, TRAILER};
use crate::outgoing::Outgoing;
use crate::wire::{Wire, connection_id};

/// A request of the plan.
struct Ask {
    out: Outgoing,
    /// Stop in the middle of the body until GOAWAY comes.
    half: bool,
}

fn read(plan: &str, port: u16) -> Result<Vec<Ask>, Box<dyn std::error::Error>> {
    let text = std::fs::read_to_string(plan)?;
    text.lines()
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let [method, path, range, body, trailer] = words[..] else { return Err("a line has five words".into()) };
            let authority = format!("localhost:{port}");
            let mut headers = vec![
                Header::new(b":method", method.as_bytes()),
                Header::new(b":scheme", b"https"),
                Header::new(b":authority", authority.as_bytes()),
                Header::new(b":path", path.as_bytes()),
                Header::new(b"user-agent", b"quiche"),
            ];
            if range != "-" {
                headers.push(Header::new(b"range", format!("bytes={range}").as_bytes()));
            }
            let half = body.starts_with("half:");
            let body = match body.strip_prefix("half:").unwrap_or(body) {
                "-" => Vec::new(),
                file => std::fs::read(file)?,
            };
            if !body.is_empty() {
                headers.push(Header::new(b"content-length", body.len().to_string().as_bytes()));
            }
            let trailers = match trailer {
                "-" => Vec::new(),
                trailer => vec![Header::new(TRAILER.as_bytes(), trailer.as_bytes())],
            };
            let mut out = Outgoing::new(headers, body, trailers);
            if half {
                out.limit /= 2;
            }
            Ok(Ask { out, half })
        })
        .collect()
}

/// The requests that are under way and what came of the others.
struct Exchanges {
    asks: std::iter::Enumerate<std::vec::IntoIter<Ask>>,
    /// One that found no stream yet.
    next: Option<(usize, Ask)>,
    open: BTreeMap<u64, (usize, Ask, Message)>,
    results: BTreeMap<usize, String>,
    parallel: usize,
    goaway: bool,
}

impl Exchanges {
    /// Asks for more, and sends what can be sent.
    fn send(&mut self, http: &mut h3::Connection, connection: &mut quiche::Connection) -> Outcome {
        while self.open.len() < self.parallel && !self.goaway {
            let Some((at, mut ask)) = self.next.take().or_else(|| self.asks.next()) else { break };
            let headers = ask.out.headers.as_deref().unwrap_or_default();
            match http.send_request(connection, headers, ask.out.is_bare()) {
                Ok(stream) => {
                    ask.out.done = ask.out.is_bare();
                    self.open.insert(stream, (at, ask, Message::default()));
                }
                Err(h3::Error::StreamBlocked | h3::Error::TransportError(quiche::Error::StreamLimit)) => {
                    self.next = Some((at, ask));
                    break;
                }
                Err(error) => return Err(error.into()),
            }
        }
        for (stream, (_, ask, _)) in &mut self.open {
            ask.out.pump(http, connection, *stream)?;
            if ask.half && ask.out.sent == ask.out.limit {
                ask.half = false;
                println!("half");
            }
        }
        Ok(())
    }

    /// Takes what has come.
    fn receive(&mut self, http: &mut h3::Connection, connection: &mut quiche::Connection) -> Outcome {
        loop {
            let (stream, event) = match http.poll(connection) {
                Err(h3::Error::Done) => return Ok(()),
                event => event?,
            };
            if matches!(event, Event::GoAway) {
                self.goaway = true;
                self.open.values_mut().for_each(|(_, ask, _)| ask.out.limit = ask.out.body.len());
                continue;
            }
            let Some((at, _, message)) = self.open.get_mut(&stream) else { continue };
            let result = match event {
                Event::Headers { list, .. } => {
                    message.take_headers(list);
                    continue;
                }
                Event::Data => {
                    message.take_body(http, connection, stream);
                    continue;
                }
                Event::Finished => format!("{} {}", message.header(":status").unwrap_or("?"), message.told()),
                Event::Reset(code) => format!("error reset with {code:#x}"),
                _ => continue,
            };
            self.results.insert(*at, result);
            self.open.remove(&stream);
        }
    }
}

/// Asks for everything in the plan over one connection, and prints what came.
pub fn run(port: u16, ca: &str, plan: &str, parallel: usize) -> Outcome {
    let asks = read(plan, port)?;
    let count = asks.len();
    let mut config = crate::config()?;
    config.load_verify_locations_from_file(ca)?;
    config.verify_peer(true);
    let mut wire = Wire::new()?;
    let peer = ([127, 0, 0, 1], port).into();
    let mut connection = quiche::connect(Some("localhost"), &connection_id(), wire.local, peer, &mut config)?;
    let mut http = None;
    let mut started = Instant::now();
    let mut exchanges = Exchanges {
        asks: asks.into_iter().enumerate(),
        next: None,
        open: BTreeMap::new(),
        results: BTreeMap::new(),
        parallel,
        goaway: false,
    };
    wire.send(&mut connection)?;
    while exchanges.results.len() < count {
        let mut bad = None;
        let timeout = connection.timeout();
        let came = wire.receive(timeout, |datagram, info| {
            bad = connection.recv(datagram, info).err().filter(|error| *error != quiche::Error::Done).or(bad);
        })?;
        if !came {
            connection.on_timeout();
        }
        if connection.is_closed() || connection.is_draining() {
            return Err(format!("the connection ended: {:?} {bad:?}", connection.peer_error()).into());
        }
        if http.is_none() && connection.is_established() {
            http = Some(h3::Connection::with_transport(&mut connection, &h3::Config::new()?)?);
            started = Instant::now();
        }
        if let Some(http) = &mut http {
            exchanges.receive(http, &mut connection)?;
            exchanges.send(http, &mut connection)?;
        }
        wire.send(&mut connection)?;
    }
    let time = started.elapsed();
    connection.close(true, 0x100, b"")?;
    wire.send(&mut connection)?;
    exchanges.results.values().for_each(|result| println!("{result}"));
    println!("done {:.3}", time.as_secs_f64());
    Ok(())
}
