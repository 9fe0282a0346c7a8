//! The server.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use quiche::h3::{self, NameValue as _};
use quiche::{Config, Connection, ConnectionId, Header, RecvInfo, Type};
use tercel_interop_end::{Arguments, Wire, file, ready};

use crate::wire::{connection_id, reset_token};
use crate::{Failure, Outgoing, config, log_keys, receive};

struct Client {
    connection: Connection,
    http: Option<h3::Connection>,
    incoming: BTreeMap<u64, Vec<u8>>,
    outgoing: Outgoing,
}

/// The length of our connection IDs.
const ID: usize = 16;

/// The connections, by number, and the numbers by connection ID.
#[derive(Default)]
struct Clients {
    clients: BTreeMap<usize, Client>,
    ids: BTreeMap<Vec<u8>, usize>,
    /// How many there were.
    count: usize,
}

/// Serves until the process is ended.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    arguments.cannot(&["halfrtt"], "its server sends nothing before the handshake is complete");
    let mut config = config(arguments)?;
    let wire = Wire::open(arguments.address)?;
    ready();
    let mut known = Clients::default();
    loop {
        let timeout = known.clients.values().filter_map(|client| client.connection.timeout()).min();
        let mut arrived = Vec::new();
        wire.receive(timeout.unwrap_or(Duration::from_secs(1)), |data, from| {
            arrived.push((data.to_vec(), RecvInfo { from, to: wire.local }));
        })?;
        for (mut data, info) in arrived {
            let client = whose(arguments, &mut config, &wire, &mut known, &mut data, info);
            let closed = client.is_some_and(|client| {
                let _ = client.connection.recv(&mut data, info);
                client.connection.is_closed()
            });
            if closed {
                known.forget_closed();
            }
        }
        let Clients { clients, ids, .. } = &mut known;
        for (number, client) in clients {
            if client.connection.timeout() == Some(Duration::ZERO) {
                client.connection.on_timeout();
            }
            if let Err(error) = client.turn(arguments) {
                eprintln!("{error}");
                let _ = client.connection.close(true, 1, b"");
            }
            while client.connection.is_established() && client.connection.scids_left() > 0 {
                let id = connection_id();
                if client.connection.new_scid(&id, reset_token(&id), false).is_err() {
                    break;
                }
                ids.insert(id.to_vec(), *number);
            }
            let mut datagram = [0; 1350];
            while let Ok((len, to)) = client.connection.send(&mut datagram) {
                wire.datagram(&datagram[..len], to.to);
            }
        }
        known.forget_closed();
    }
}

impl Clients {
    fn insert(&mut self, ids: [&[u8]; 2], connection: Connection) -> Option<&mut Client> {
        let number = self.count;
        self.count += 1;
        self.ids.extend(ids.map(|id| (id.to_vec(), number)));
        let client = Client { connection, http: None, incoming: BTreeMap::new(), outgoing: Outgoing::default() };
        self.clients.insert(number, client);
        self.clients.get_mut(&number)
    }

    /// A connection whose first packet cannot be opened is closed at once (`drop_pkt_on_err`): the next Initial packet
    /// with the same connection ID must begin another one.
    fn forget_closed(&mut self) {
        self.clients.retain(|_, client| !client.connection.is_closed());
        self.ids.retain(|_, number| self.clients.contains_key(number));
    }
}

/// Whose datagram it is; a new client's if it begins a connection. Others are answered without state.
fn whose<'a>(
    arguments: &Arguments,
    config: &mut Config,
    wire: &Wire,
    known: &'a mut Clients,
    data: &mut [u8],
    info: RecvInfo,
) -> Option<&'a mut Client> {
    let header = Header::from_slice(data, ID).ok()?;
    if let Some(number) = known.ids.get(&*header.dcid) {
        return known.clients.get_mut(number);
    }
    let mut answer = [0; 1500];
    if header.ty == Type::Short {
        // RFC 9000 section 10.3: shorter than what it answers, and no shorter than 21 bytes.
        let len = (data.len() - 1).clamp(21, 43);
        let mut reset: Vec<u8> = [connection_id().to_vec(), connection_id().to_vec()].concat();
        reset.truncate(len - 16);
        reset[0] = 0x40 | reset[0] & 0x3f;
        reset.extend(reset_token(&header.dcid).to_be_bytes());
        wire.datagram(&reset, info.from);
        return None;
    }
    if !quiche::version_is_supported(header.version) {
        let len = quiche::negotiate_version(&header.scid, &header.dcid, &mut answer).ok()?;
        wire.datagram(&answer[..len], info.from);
        return None;
    }
    if header.ty != Type::Initial {
        return None;
    }
    let (mut id, mut original) = (connection_id(), None);
    if arguments.is(&["retry"]) {
        let token = header.token.clone().unwrap_or_default();
        if token.is_empty() {
            let token = [&address_bytes(info.from)[..], &header.dcid].concat();
            let len = quiche::retry(&header.scid, &header.dcid, &id, &token, header.version, &mut answer).ok()?;
            wire.datagram(&answer[..len], info.from);
            return None;
        }
        let dcid = token.strip_prefix(&address_bytes(info.from)[..])?;
        original = Some(ConnectionId::from_vec(dcid.to_vec()));
        id = ConnectionId::from_vec(header.dcid.to_vec());
    }
    config.set_stateless_reset_token(Some(reset_token(&id)));
    let mut connection = quiche::accept(&id, original.as_ref(), info.to, info.from, config).ok()?;
    log_keys(&mut connection);
    known.insert([&id, &header.dcid], connection)
}

fn address_bytes(address: SocketAddr) -> Vec<u8> {
    format!("{address} ").into_bytes()
}

impl Client {
    fn turn(&mut self, arguments: &Arguments) -> Result<(), Failure> {
        let connection = &mut self.connection;
        if !connection.is_established() && !connection.is_in_early_data() {
            return Ok(());
        }
        if arguments.is(&["http3"]) {
            return self.http(arguments);
        }
        let outgoing = &mut self.outgoing;
        receive(connection, &mut self.incoming, |stream, request| {
            if let Some(answer) = arguments.answer(&request) {
                outgoing.push(stream, answer);
            }
        })?;
        outgoing.send(connection)?;
        let mut datagram = [0; 1500];
        while let Ok(len) = connection.dgram_recv(&mut datagram) {
            let _ = connection.dgram_send(&datagram[..len]);
        }
        Ok(())
    }

    fn http(&mut self, arguments: &Arguments) -> Result<(), Failure> {
        let http = match &mut self.http {
            Some(http) => http,
            none => none.insert(h3::Connection::with_transport(&mut self.connection, &h3::Config::new()?)?),
        };
        loop {
            match http.poll(&mut self.connection) {
                Ok((stream, h3::Event::Headers { list, .. })) => {
                    let path =
                        list.iter().find(|header| header.name() == b":path").map(|header| header.value().to_vec());
                    let path = String::from_utf8(path.unwrap_or_default())?;
                    let body = file(&arguments.directory, path.trim_start_matches('/')).ok_or("no such file")?;
                    http.send_response(&mut self.connection, stream, &[h3::Header::new(b":status", b"200")], false)?;
                    self.outgoing.push(stream, body);
                }
                Ok(_) => {}
                Err(h3::Error::Done) => break,
                Err(error) => return Err(error.into()),
            }
        }
        for (stream, (data, sent)) in &mut self.outgoing.0 {
            match http.send_body(&mut self.connection, *stream, &data[*sent..], true) {
                Ok(more) => *sent += more,
                Err(h3::Error::Done) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.outgoing.0.retain(|_, (data, sent)| *sent < data.len());
        Ok(())
    }
}
