//! The server.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use quiche::h3::{self, Event, Header};
use sha2::{Digest as _, Sha256};

use crate::Outcome;
use crate::message::{Message, TRAILER, hex};
use crate::outgoing::Outgoing;
use crate::wire::{Wire, connection_id};

/// A client, known by its address: nobody here changes it.
struct Client {
    connection: quiche::Connection,
    http: Option<h3::Connection>,
    requests: BTreeMap<u64, Message>,
    answers: BTreeMap<u64, Outgoing>,
}

/// Serves a directory until the process ends.
pub fn run(directory: &str, certificate: &str, key: &str) -> Outcome {
    let mut config = crate::config()?;
    config.load_cert_chain_from_pem_file(certificate)?;
    config.load_priv_key_from_pem_file(key)?;
    let directory = PathBuf::from(directory);
    let mut wire = Wire::new()?;
    println!("listening {}", wire.local.port());
    let mut clients: BTreeMap<SocketAddr, Client> = BTreeMap::new();
    loop {
        let timeout = clients.values().filter_map(|client| client.connection.timeout()).min();
        let came = wire.receive(timeout, |datagram, info| {
            let client = clients.entry(info.from).or_insert_with(|| Client {
                connection: quiche::accept(&connection_id(), None, info.to, info.from, &mut config)
                    .expect("a connection can be made"),
                http: None,
                requests: BTreeMap::new(),
                answers: BTreeMap::new(),
            });
            let _ = client.connection.recv(datagram, info);
        })?;
        for client in clients.values_mut() {
            if !came {
                client.connection.on_timeout();
            }
            if let Err(error) = client.turn(&directory) {
                eprintln!("{error}");
                let _ = client.connection.close(true, 0x102, b"");
            }
            wire.send(&mut client.connection)?;
        }
        clients.retain(|_, client| !client.connection.is_closed());
    }
}

impl Client {
    fn turn(&mut self, directory: &Path) -> Outcome {
        if self.http.is_none() && self.connection.is_established() {
            println!("connection");
            self.http = Some(h3::Connection::with_transport(&mut self.connection, &h3::Config::new()?)?);
        }
        let Some(http) = &mut self.http else { return Ok(()) };
        loop {
            let (stream, event) = match http.poll(&mut self.connection) {
                Err(h3::Error::Done) => break,
                event => event?,
            };
            match event {
                Event::Headers { list, .. } => self.requests.entry(stream).or_default().take_headers(list),
                Event::Data => {
                    self.requests.entry(stream).or_default().take_body(http, &mut self.connection, stream);
                }
                Event::Finished => {
                    let Some(request) = self.requests.remove(&stream) else { continue };
                    if request.header(":path").is_some_and(|path| path.starts_with("/goaway/")) {
                        http.send_goaway(&mut self.connection, stream + 4)?;
                    }
                    self.answers.insert(stream, answer(directory, request));
                }
                Event::Reset(_) => {
                    self.requests.remove(&stream);
                }
                _ => {}
            }
        }
        for (stream, answer) in &mut self.answers {
            if let Some(headers) = answer.headers.take() {
                match http.send_response(&mut self.connection, *stream, &headers, answer.is_bare()) {
                    Ok(()) => answer.done = answer.is_bare(),
                    Err(h3::Error::StreamBlocked) => {
                        answer.headers = Some(headers);
                        continue;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            answer.pump(http, &mut self.connection, *stream)?;
        }
        self.answers.retain(|_, answer| !answer.done);
        Ok(())
    }
}

fn whole(status: &str, body: Vec<u8>, trailers: Vec<Header>) -> Outgoing {
    let len = body.len().to_string();
    let headers = vec![
        Header::new(b":status", status.as_bytes()),
        Header::new(b"server", b"quiche"),
        Header::new(b"content-length", len.as_bytes()),
    ];
    Outgoing::new(headers, body, trailers)
}

/// Tells of a request, and answers it.
fn answer(directory: &Path, request: Message) -> Outgoing {
    let (method, path) = (request.header(":method").unwrap_or("?"), request.header(":path").unwrap_or("?"));
    println!("request {method} {path} {}", request.told());
    match method {
        "PUT" => return whole("201", Vec::new(), Vec::new()),
        "POST" => return whole("200", request.body, request.trailers),
        _ => {}
    }
    let name = ["/goaway/", "/trailers/", "/"].iter().find_map(|prefix| path.strip_prefix(prefix)).unwrap_or_default();
    let Ok(body) = std::fs::read(directory.join(name)) else { return whole("404", b"not found\n".into(), Vec::new()) };
    let range = request.header("range").and_then(|range| {
        let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
        Some((first.parse::<usize>().ok()?, last.parse::<usize>().ok()?))
    });
    let mut answer = match range {
        Some((first, last)) => {
            let mut answer = whole("206", body[first..=last].to_vec(), Vec::new());
            let range = format!("bytes {first}-{last}/{}", body.len());
            answer.headers.get_or_insert_default().push(Header::new(b"content-range", range.as_bytes()));
            answer
        }
        None => whole("200", body, Vec::new()),
    };
    if path.starts_with("/trailers/") {
        answer.trailers = vec![Header::new(TRAILER.as_bytes(), hex(&Sha256::digest(&answer.body)).as_bytes())];
    }
    if method == "HEAD" {
        (answer.body, answer.limit) = (Vec::new(), 0);
    }
    answer
}
