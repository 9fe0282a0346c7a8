//! The server.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use quiche::h3::{self, NameValue as _};
use quiche::{Config, Connection, ConnectionId, Header, RecvInfo, Type};
use tercel_interop_end::{Arguments, file, ready};

use crate::wire::{Wire, connection_id, reset_token};
use crate::{Failure, Outgoing, config, log_keys, receive};

struct Client {
    connection: Connection,
    http: Option<h3::Connection>,
    incoming: BTreeMap<u64, Vec<u8>>,
    outgoing: Outgoing,
}

/// The length of our connection IDs.
const ID: usize = 16;

/// Serves until the process is ended.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    arguments.cannot(&["halfrtt"], "its server sends nothing before the handshake is complete");
    let mut config = config(arguments)?;
    let mut wire = Wire::open(arguments.address)?;
    ready();
    let (mut clients, mut ids): (Vec<Client>, BTreeMap<Vec<u8>, usize>) = Default::default();
    loop {
        let timeout = clients.iter().filter_map(|client| client.connection.timeout()).min();
        let mut arrived = Vec::new();
        wire.receive(timeout.unwrap_or(Duration::from_secs(1)), |data, info| arrived.push((data.to_vec(), info)))?;
        for (mut data, info) in arrived {
            let Some(index) = whose(arguments, &mut config, &wire, &mut clients, &mut ids, &mut data, info) else {
                continue;
            };
            let _ = clients[index].connection.recv(&mut data, info);
        }
        for (index, client) in clients.iter_mut().enumerate() {
            if client.connection.timeout() == Some(Duration::ZERO) {
                client.connection.on_timeout();
            }
            if client.connection.is_closed() {
                continue;
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
                ids.insert(id.to_vec(), index);
            }
            wire.send(&mut client.connection)?;
        }
    }
}

/// Whose datagram it is; a new client's if it begins a connection. Others are answered without state.
fn whose(
    arguments: &Arguments,
    config: &mut Config,
    wire: &Wire,
    clients: &mut Vec<Client>,
    ids: &mut BTreeMap<Vec<u8>, usize>,
    data: &mut [u8],
    info: RecvInfo,
) -> Option<usize> {
    let header = Header::from_slice(data, ID).ok()?;
    if let Some(index) = ids.get(&*header.dcid) {
        return Some(*index);
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
    ids.insert(id.to_vec(), clients.len());
    ids.insert(header.dcid.to_vec(), clients.len());
    clients.push(Client { connection, http: None, incoming: BTreeMap::new(), outgoing: Outgoing::default() });
    Some(clients.len() - 1)
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
