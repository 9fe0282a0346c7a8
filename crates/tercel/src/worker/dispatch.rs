//! Datagrams come in: whom each is for, and what is done about those that are for nobody here.

use std::net::SocketAddr;

use tercel_proto::connection::Datagram;
use tercel_proto::entropy::Entropy;
use tercel_wire::ConnectionId;
use tercel_wire::packet::invariant::{Invariant, LongHeader};
use tercel_wire::packet::stateless_reset;

use super::{Letter, Worker};
use crate::binding::stateless::{Answer, Situation, first_datagram};
use crate::datapath::{Received, SocketId};

/// How many bytes of a socket one turn takes in, about: not more than the processor's cache holds until the
/// connections have had their turn.
const BYTES: usize = 256 << 10;

/// And how many messages. The more, the more of them may be for the same connection, which then answers them at once.
const MESSAGES: usize = 128;

impl Worker {
    pub(super) fn receive(&mut self) {
        let mut readable = std::mem::take(&mut self.readable);
        let mut received = std::mem::take(&mut self.received);
        self.floor.sockets.all_readable(&mut readable);
        for socket in readable.drain(..) {
            let (mut bytes, mut messages, mut more) = (0, 0, true);
            while more && bytes < BYTES && messages < MESSAGES {
                more = self.floor.sockets.receive(socket, &mut received);
                for received in received.drain(..) {
                    bytes += received.data.len();
                    messages += 1;
                    self.split(socket, received);
                }
            }
        }
        (self.readable, self.received) = (readable, received);
    }

    fn split(&mut self, socket: SocketId, received: Received) {
        let Received { path, ecn, mut data, segment_size } = received;
        let cid_len = self.floor.keys.cid_len();
        let bound = self.floor.sockets.address(socket);
        while !data.is_empty() {
            // Datagrams that were received together are nearly always of one connection.
            let data = match of_one_connection(&data, segment_size.max(1), cid_len) {
                len if len < data.len() => data.split_to(len),
                _ => std::mem::take(&mut data),
            };
            self.dispatch(socket, bound, Received { path, ecn, data, segment_size });
        }
    }

    /// For the connection in `slot`, by a socket that is bound to `bound`.
    fn arrive(&mut self, slot: u32, bound: Option<SocketAddr>, datagrams: Received) {
        if let Some(Some(core)) = self.cells.get_mut(slot as usize) {
            core.arrive(bound, datagrams);
            self.floor.ready.push(slot);
        }
    }

    /// Finds whom datagrams are for, which are all for the same connection.
    fn dispatch(&mut self, socket: SocketId, bound: Option<SocketAddr>, mut datagrams: Received) {
        let (path, ecn) = (datagrams.path, datagrams.ecn);
        match Invariant::peek(&datagrams.data, self.floor.keys.cid_len()) {
            Err(_) => {}
            Ok(Invariant::Short { dcid }) => match self.floor.routes.connection(&dcid) {
                Some(slot) => self.arrive(slot, bound, datagrams),
                None => {
                    while !datagrams.data.is_empty() {
                        let data = datagrams.cut_first();
                        self.unknown_short(Some(socket), dcid, Datagram { path, ecn, data });
                    }
                }
            },
            Ok(Invariant::Long(header)) => {
                let dcid = ConnectionId::new(header.dcid).ok();
                if let Some(slot) = dcid.and_then(|dcid| self.floor.routes.connection(&dcid)) {
                    return self.arrive(slot, bound, datagrams);
                }
                let datagram = Datagram { path, ecn, data: datagrams.data };
                // Perhaps of a connection of another worker. If that knows it neither, it is
                // the beginning of one, there as well as here.
                let here = match dcid {
                    Some(dcid) => self.forward(socket, &dcid, datagram),
                    None => Some(datagram),
                };
                if let Some(datagram) = here {
                    self.unknown_long(socket, datagram);
                }
            }
        }
    }

    // RFC 9000 sections 17.2.1#7, 17.2.5.1#4: an answer for each datagram at most.
    fn unknown_long(&mut self, socket: SocketId, datagram: Datagram) {
        let Ok((header, _)) = LongHeader::decode(&datagram.data) else { return };
        if self.is_reset(&datagram) || self.shut_down || self.floor.sockets.listeners(socket).is_empty() {
            return;
        }
        let tokens = self.registration.keyring.tokens();
        let Some(rations) = &mut self.floor.rations else { return };
        let mut situation = Situation {
            now: self.floor.now,
            remote: datagram.path.remote,
            tokens: &tokens,
            uses: &self.registration.token_uses,
            versions: &self.registration.versions,
            demand: self.load.demand(),
            rations,
        };
        let (keys, worker) = (self.floor.keys.clone(), self.index as u8);
        let own_scid = |entropy: &mut Entropy| keys.issue_unroutable(worker, entropy);
        let counters = &mut self.floor.counters;
        match first_datagram(&datagram.data, &header, &mut situation, &mut self.floor.entropy, own_scid) {
            Answer::Drop => {}
            Answer::Withhold => counters.answers_withheld += 1,
            Answer::Refuse(contents) => {
                counters.refused += 1;
                if let Some(contents) = contents {
                    counters.refusals_sent += 1;
                    self.floor.answer(socket, datagram.path, &contents);
                }
            }
            Answer::NegotiateVersion(contents) => {
                counters.version_negotiations_sent += 1;
                self.floor.answer(socket, datagram.path, &contents);
            }
            Answer::Retry(contents) => {
                counters.retries_sent += 1;
                self.floor.answer(socket, datagram.path, &contents);
            }
            Answer::Begin(first) => self.begin_server(socket, first, datagram),
        }
    }

    /// A short header without a connection: a stateless reset for us, or something of another
    /// worker, or of a connection that is no more.
    // RFC 9000 section 11#3.
    fn unknown_short(&mut self, socket: Option<SocketId>, dcid: ConnectionId, datagram: Datagram) {
        if self.is_reset(&datagram) {
            return;
        }
        let Some(socket) = socket else { return };
        let Some(datagram) = self.forward(socket, &dcid, datagram) else { return };
        self.reset(socket, &dcid, &datagram);
    }

    /// Whether a datagram is a stateless reset of a connection of ours, which then ends.
    fn is_reset(&mut self, datagram: &Datagram) -> bool {
        let reset = stateless_reset::token_of(&datagram.data).and_then(|token| self.floor.routes.reset(&token));
        if let Some(Some(core)) = reset.and_then(|slot| self.cells.get_mut(slot as usize)) {
            core.stateless_reset(self.floor.now);
        }
        reset.inspect(|slot| self.floor.ready.push(*slot)).is_some()
    }

    /// Hands a datagram to the worker that `dcid` names; gives it back if that is this one or none.
    fn forward(&mut self, socket: SocketId, dcid: &ConnectionId, datagram: Datagram) -> Option<Datagram> {
        // Another worker, and its clients, may have heard before this one of another way to make them.
        self.identify();
        let worker = usize::from(self.floor.keys.worker_of(dcid).unwrap_or(self.index as u8));
        if worker == self.index {
            return Some(datagram);
        }
        let (Some(mailbox), Some(binding)) =
            (self.registration.mailboxes.get(worker), self.floor.sockets.binding(socket))
        else {
            return Some(datagram);
        };
        mailbox.send_unless_full(Letter::Datagram { socket: binding.address, datagram });
        None
    }

    /// A datagram from another worker; it is not passed on again.
    pub(super) fn forwarded(&mut self, address: SocketAddr, datagram: Datagram) {
        let Ok(header) = Invariant::peek(&datagram.data, self.floor.keys.cid_len()) else { return };
        match header {
            Invariant::Short { dcid } => match self.floor.routes.connection(&dcid) {
                Some(slot) => self.arrive(slot, Some(address), datagram.into()),
                None => match self.floor.sockets.at(address) {
                    Some(socket) if stateless_reset::token_of(&datagram.data).is_some() => {
                        self.reset(socket, &dcid, &datagram);
                    }
                    _ => {}
                },
            },
            Invariant::Long(header) => {
                let slot = ConnectionId::new(header.dcid).ok().and_then(|dcid| self.floor.routes.connection(&dcid));
                match (slot, self.floor.sockets.at(address)) {
                    (Some(slot), _) => self.arrive(slot, Some(address), datagram.into()),
                    (None, Some(socket)) => self.unknown_long(socket, datagram),
                    (None, None) => {}
                }
            }
        }
    }

    fn reset(&mut self, socket: SocketId, dcid: &ConnectionId, datagram: &Datagram) {
        let keys = self.floor.keys.clone();
        for token in keys.reset_tokens(dcid) {
            if let Some(contents) = self.floor.stateless_reset(token, datagram.data.len()) {
                self.floor.answer(socket, datagram.path, &contents);
            }
        }
    }
}

/// How many bytes the datagrams at the front have together that are for the same connection: those with short headers and
/// one connection ID; or else the first.
fn of_one_connection(data: &[u8], segment_size: usize, cid_len: usize) -> usize {
    let short = |datagram: &[u8]| datagram.first().is_some_and(|first| first & 0x80 == 0);
    let first = data.get(..segment_size).unwrap_or(data);
    match first.get(1..=cid_len).filter(|_| short(first)) {
        None => first.len(),
        Some(cid) => {
            let same = |datagram: &&[u8]| short(datagram) && datagram.get(1..=cid_len) == Some(cid);
            data.chunks(segment_size).take_while(same).map(<[u8]>::len).sum()
        }
    }
}
