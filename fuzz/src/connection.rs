//! Two ends of a connection and a network that does what the input says: see [`program`](crate::program).
//!
//! TLS is real, packet protection is [transparent](crate::transparent), so that any frame can be put
//! into any packet. Whatever happens, neither end may panic, break the grammar of its events, send
//! or raise events without end, take more memory than [`MOST_MEMORY`], or live on when nothing comes
//! any more.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tercel_proto::connection::{ClientStart, Connection, ServerAccept, ServerStart};
use tercel_proto::datagram::DatagramPriority;
use tercel_proto::error::ApiMisuse;
use tercel_proto::keys;
use tercel_proto::path::{Ecn, PathAddress};
use tercel_proto::stateless;
use tercel_proto::time::Time;
use tercel_proto::tls::Verdict;
use tercel_sim::crypto::{self, KeyShares};
use tercel_wire::packet::invariant::{Invariant, LongHeader};
use tercel_wire::packet::protection::{HeaderKey, PacketKey};
use tercel_wire::packet::{FirstPacket, Header, Opened, Protected, version_negotiation};
use tercel_wire::{ConnectionId, Direction, EncryptionLevel, ResetToken, Role, TransportErrorCode, Version, Writer};

use crate::end::{CID_LEN, End, Wire, address};
use crate::program::{Action, Edit, Program, Setup, Start, Step};
use crate::transparent::{self, Transparent};

/// What both ends and the datagrams under way may take in memory at any time.
pub const MOST_MEMORY: u64 = 1 << 20;
/// So often may timers fire until both ends are over, when nothing else happens.
const MOST_TIMERS: u32 = 400;
/// So much may applications send in a run.
const MOST_DATA: usize = 256 << 10;

/// Runs the program that the input is.
pub fn connection(data: &[u8]) {
    let peak = peak_memory(data);
    assert!(peak <= MOST_MEMORY, "{peak} bytes of memory");
}

/// The most memory that was in use during the run.
pub fn peak_memory(data: &[u8]) -> u64 {
    // What lasts for ever is not counted.
    LazyLock::force(&TLS);
    allocation_counter::measure(|| run(data)).bytes_max
}

type Tls = (Arc<rustls::ClientConfig>, Arc<rustls::ServerConfig>);

static TLS: LazyLock<[Tls; 3]> = LazyLock::new(|| {
    [KeyShares::Small, KeyShares::Hybrid, KeyShares::Retry]
        .map(|shares| (transparent::client(shares), transparent::server(shares)))
});

/// TLS that remembers nothing of earlier runs.
fn fresh_tls(shares: u8) -> Tls {
    let (client, server) = &TLS[usize::from(shares) % 3];
    let (mut client, mut server) = (client.as_ref().clone(), server.as_ref().clone());
    client.resumption = rustls::client::Resumption::in_memory_sessions(4);
    server.session_storage = rustls::server::ServerSessionMemoryCache::new(4);
    (client.into(), server.into())
}

fn run(data: &[u8]) {
    let (setup, program) = Program::new(data);
    crypto::seed(7);
    let mut tls = fresh_tls(setup.shares);
    if setup.start == Start::Early {
        let mut earlier = Pair::new(Setup { start: Start::Hello, hesitates: false, ..setup }, tls, 1);
        earlier.flow(40);
        tls = earlier.tls;
    }
    let mut pair = Pair::new(setup, tls, 0);
    pair.begin(setup.start);
    for step in program {
        pair.step(step);
    }
    if setup.flows {
        pair.flow(100);
    }
    pair.fall_silent();
}

struct Pair {
    now: Time,
    setup: Setup,
    tls: Tls,
    run: u8,
    client: End,
    server: End,
    /// The connection ID that Initial keys are made from, and the first such.
    initial_dcid: ConnectionId,
    original_dcid: ConnectionId,
    /// The connection IDs in long headers.
    client_scid: ConnectionId,
    server_scid: ConnectionId,
    /// The largest packet number sent to the client and to the server, by space.
    largest: [[Option<u64>; 3]; 2],
    data_left: usize,
}

/// A packet that was opened.
struct Legible {
    header: Header,
    number: u64,
    payload: Bytes,
}

impl Pair {
    fn new(setup: Setup, tls: Tls, run: u8) -> Self {
        let now = Time::ZERO + Duration::from_secs(1);
        let mut client = End::new(Role::Client, setup.reads);
        let start = ClientStart {
            tls: tls.0.clone(),
            server_name: crypto::server_name(),
            version: Version::V1,
            path: PathAddress { remote: address(Role::Server, 0), local: None },
            token: Bytes::new(),
            session: None,
        };
        client.connection = Some(Connection::client(now, client.shared(run), start).expect("TLS starts"));
        let mut pair = Self {
            now,
            setup,
            tls,
            run,
            client,
            server: End::new(Role::Server, setup.reads),
            initial_dcid: ConnectionId::EMPTY,
            original_dcid: ConnectionId::EMPTY,
            client_scid: ConnectionId::EMPTY,
            server_scid: ConnectionId::EMPTY,
            largest: [[None; 3]; 2],
            data_left: MOST_DATA,
        };
        if setup.start == Start::Early {
            pair.act(Role::Client, Action::Open { bidi: true });
            pair.act(Role::Client, Action::Send { stream: 0, len: 5, fin: false });
        }
        pair.settle();
        pair
    }

    fn begin(&mut self, start: Start) {
        if matches!(start, Start::Hello | Start::Early) {
            return;
        }
        let hesitates = std::mem::replace(&mut self.setup.hesitates, false);
        self.flow(40);
        for end in [Role::Client, Role::Server].into_iter().filter(|_| start == Start::Streams) {
            for bidi in [true, true, false] {
                self.act(end, Action::Open { bidi });
                self.act(end, Action::Send { stream: 0, len: 1, fin: false });
            }
            self.flow(20);
        }
        self.setup.hesitates = hesitates;
    }

    fn end(&mut self, role: Role) -> &mut End {
        match role {
            Role::Client => &mut self.client,
            Role::Server => &mut self.server,
        }
    }

    /// Polls both ends; what they send joins the lines.
    fn settle(&mut self) {
        for role in [Role::Client, Role::Server] {
            let now = self.now;
            if self.server.asked && !self.setup.hesitates {
                self.act(Role::Server, Action::Accept);
            }
            for wire in self.end(role).poll(now) {
                self.note(role, &wire.data);
                self.end(role.peer()).enqueue(wire);
            }
        }
    }

    /// Remembers what the headers of a sent datagram say.
    fn note(&mut self, from: Role, data: &[u8]) {
        if let Ok((long, _)) = LongHeader::decode(data) {
            let id = |bytes| ConnectionId::new(bytes).expect("ours are short");
            match from {
                Role::Client => {
                    if self.original_dcid.is_empty() {
                        self.original_dcid = id(long.dcid);
                        self.initial_dcid = id(long.dcid);
                    }
                    self.client_scid = id(long.scid);
                }
                Role::Server => self.server_scid = id(long.scid),
            }
        }
        for opened in self.open(from.peer(), data) {
            let space = opened.header.level().space() as usize;
            let largest = &mut self.largest[from.peer() as usize][space];
            *largest = (*largest).max(Some(opened.number));
        }
    }

    // What the network sees and changes.

    /// The packets of a datagram to an end, as far as they can be opened.
    fn open(&self, to: Role, data: &[u8]) -> Vec<Legible> {
        let mut rest = BytesMut::from(data);
        let mut packets = Vec::new();
        while !rest.is_empty() {
            let Ok(FirstPacket::Protected(mut packet)) = Protected::split_first(&mut rest, CID_LEN) else { break };
            let largest = self.largest[to as usize][packet.level().space() as usize];
            let opened = match packet.level() {
                EncryptionLevel::Initial => {
                    let keys = keys::initial(Version::V1, &self.initial_dcid, to).expect("Initial keys").remote;
                    packet.unprotect(&keys.header, largest).ok().and_then(|sealed| sealed.open(&keys.packet))
                }
                _ => packet.unprotect(&Transparent, largest).ok().and_then(|sealed| sealed.open(&Transparent)),
            };
            packets.extend(opened.map(|Opened { header, number, payload, .. }| Legible {
                header: header.clone(),
                number,
                payload,
            }));
        }
        packets
    }

    /// Writes a packet to an end behind what is in `out`.
    fn seal(&self, to: Role, header: &Header, number: u64, frames: &[u8], out: &mut Vec<u8>) {
        let at = out.len();
        out.resize(at + header.max_len() + frames.len() + 1400, 0);
        let mut writer = Writer::new(&mut out[at..]);
        let start = header.begin(&mut writer, number, None);
        writer.bytes(frames);
        let initial;
        let (header_key, packet_key): (&dyn HeaderKey, &dyn PacketKey) = match header.level() {
            EncryptionLevel::Initial => {
                initial = keys::initial(Version::V1, &self.initial_dcid, to.peer()).expect("Initial keys").local;
                start.pad(&mut writer, 1200, 16);
                (&initial.header, &initial.packet)
            }
            _ => {
                start.pad(&mut writer, 0, 16);
                (&Transparent, &Transparent)
            }
        };
        let len = start.finish(&mut writer, header_key, packet_key).unwrap_or(0);
        out.truncate(at + len);
    }

    fn rewrite(&mut self, to: Role, place: usize, target: u8, edit: Edit, frames: &[u8]) {
        let data = self.end(to).line[place].data.clone();
        let packets = self.open(to, &data);
        let Some(target) = usize::from(target).checked_rem(packets.len()) else { return };
        let mut out = Vec::new();
        for (at, Legible { header, number, payload }) in packets.iter().enumerate() {
            let payload = match edit {
                _ if at != target => payload.to_vec(),
                Edit::Replace => frames.to_vec(),
                Edit::Append => [payload, frames].concat(),
                Edit::Prepend => [frames, payload].concat(),
            };
            self.seal(to, header, *number, &payload, &mut out);
        }
        self.end(to).line[place].data = out;
    }

    fn forge(&mut self, to: Role, level: EncryptionLevel, id: u8, ahead: u8, frames: &[u8]) {
        let ids = &self.end(to).ids;
        let dcid = usize::from(id).checked_rem(ids.len()).and_then(|at| ids.get(at)).copied();
        let version = Version::V1;
        let dcid = dcid.unwrap_or(self.initial_dcid);
        let scid = if to == Role::Server { self.client_scid } else { self.server_scid };
        let header = match level {
            EncryptionLevel::Initial => Header::Initial { version, dcid, scid, token: Bytes::new() },
            EncryptionLevel::ZeroRtt => Header::ZeroRtt { version, dcid, scid },
            EncryptionLevel::Handshake => Header::Handshake { version, dcid, scid },
            EncryptionLevel::OneRtt => Header::OneRtt { dcid, spin: id & 0x20 != 0, key_phase: id & 0x10 != 0 },
        };
        let largest = self.largest[to as usize][level.space() as usize];
        let number = largest.map_or(0, |largest| largest + 1) + u64::from(ahead);
        let mut data = Vec::new();
        self.seal(to, &header, number, frames, &mut data);
        self.arrive(to, data);
    }

    /// A datagram arrives as if from the other end.
    fn arrive(&mut self, to: Role, data: Vec<u8>) {
        let wire = Wire { from: address(to.peer(), 0), to: address(to, 0), ecn: Ecn::NotEct, data };
        self.deliver(to, &wire);
    }

    fn deliver(&mut self, to: Role, wire: &Wire) {
        let now = self.now;
        if to == Role::Server && self.server.connection.is_none() && !self.server.is_over() {
            self.server.connection = self.answer(wire);
            self.server.receive(now, wire);
            // What is not authentic costs no state.
            if self.server.connection.as_ref().is_some_and(|connection| connection.stats().packets_received == 0) {
                self.server.connection = None;
            }
        } else {
            self.end(to).receive(now, wire);
        }
        self.settle();
    }

    /// A server's connection for a first datagram.
    fn answer(&self, wire: &Wire) -> Option<Connection> {
        let Ok(Invariant::Long(header)) = Invariant::peek(&wire.data, CID_LEN) else { return None };
        if !header.is_initial() || wire.data.len() < 1200 || header.dcid.len() < 8 {
            return None;
        }
        let initial_dcid = ConnectionId::new(header.dcid).ok()?;
        let retried = initial_dcid == self.initial_dcid && initial_dcid != self.original_dcid;
        let start = ServerStart {
            version: header.version,
            path: PathAddress { remote: wire.from, local: Some(wire.to) },
            initial_dcid,
            peer_cid: ConnectionId::new(header.scid).ok()?,
            original_dcid: retried.then_some(self.original_dcid),
            validated: retried,
        };
        Connection::server(self.now, self.server.shared(self.run), start).ok()
    }

    fn retry(&mut self, token: u8) {
        let scid = ConnectionId::new(&[0xc5 ^ token; 8]).expect("8 bytes");
        let token = vec![token; usize::from(token)];
        let retry = stateless::retry::respond(Version::V1, &self.client_scid, &self.original_dcid, &scid, &token);
        self.arrive(Role::Client, retry.expect("a Retry packet"));
        // Whether the client took it shows in what it sends next.
        let follows = self.server.line.iter().any(|wire| match LongHeader::decode(&wire.data) {
            Ok((long, _)) => long.is_initial() && long.dcid == scid.as_slice(),
            Err(_) => false,
        });
        if follows {
            self.initial_dcid = scid;
        }
    }

    fn step(&mut self, step: Step<'_>) {
        match step {
            Step::Deliver { to, nth } => {
                if let Some(wire) = self.take(to, nth) {
                    self.deliver(to, &wire);
                }
            }
            Step::Drop { to, nth } => drop(self.take(to, nth)),
            Step::Repeat { to, nth } => {
                if let Some(wire) = self.place(to, nth).map(|place| self.end(to).line[place].clone()) {
                    self.end(to).enqueue(wire);
                }
            }
            Step::Forge { to, level, id, ahead, frames } => self.forge(to, level, id, ahead, frames),
            Step::Raw { to, bytes } => self.arrive(to, bytes.to_vec()),
            Step::Reset { to, which } => {
                let tokens = &self.end(to).tokens;
                let token = usize::from(which).checked_rem(tokens.len()).map_or(ResetToken([0; 16]), |at| tokens[at]);
                self.arrive(to, [&[0x55; 30][..], &token.0].concat());
            }
            Step::Retry { token } => self.retry(token),
            Step::Negotiate { version } => {
                let versions = [Version(u32::from(version)), Version(0x1a2a_3a4a)];
                let packet = version_negotiation::encode(&self.client_scid, &self.original_dcid, &versions, 0);
                self.arrive(Role::Client, packet);
            }
            Step::Wait { millis } => {
                self.now += Duration::from_millis(millis.into());
                self.fire();
            }
            Step::Flow { rounds } => self.flow((rounds % 32).into()),
            Step::Act { end, action } => self.act(end, action),
            step => self.change(step),
        }
    }

    /// Steps that change a datagram where it stands in the line.
    fn change(&mut self, step: Step<'_>) {
        let (Step::Damage { to, nth, .. }
        | Step::Cut { to, nth, .. }
        | Step::Rewrite { to, nth, .. }
        | Step::Readdress { to, nth, .. }
        | Step::Mark { to, nth, .. }) = step
        else {
            return;
        };
        let Some(place) = self.place(to, nth) else { return };
        let wire = &mut self.end(to).line[place];
        match step {
            Step::Damage { at, with, .. } => {
                if let Some(at) = usize::from(at).checked_rem(wire.data.len()) {
                    wire.data[at] ^= with;
                }
            }
            Step::Cut { len, .. } => wire.data.truncate(len.into()),
            Step::Rewrite { packet, edit, frames, .. } => self.rewrite(to, place, packet, edit, frames),
            Step::Readdress { from, at, .. } => (wire.from, wire.to) = (address(to.peer(), from), address(to, at)),
            Step::Mark { ecn, .. } => wire.ecn = [Ecn::NotEct, Ecn::Ect0, Ecn::Ect1, Ecn::Ce][usize::from(ecn % 4)],
            _ => {}
        }
    }

    fn place(&mut self, to: Role, nth: u8) -> Option<usize> {
        self.end(to).place(nth)
    }

    fn take(&mut self, to: Role, nth: u8) -> Option<Wire> {
        let place = self.place(to, nth)?;
        self.end(to).line.remove(place)
    }

    // What the applications do.

    fn act(&mut self, role: Role, action: Action) {
        let now = self.now;
        let accept = ServerAccept {
            tls: self.tls.1.clone(),
            transport: None,
            new_token: Bytes::from_static(b"come again"),
            ticket: None,
            early_data: true,
        };
        let mut data_left = self.data_left;
        let end = self.end(role);
        let Some(mut connection) = end.connection.take() else { return };
        match action {
            Action::Open { bidi } => {
                let direction = if bidi { Direction::Bidirectional } else { Direction::Unidirectional };
                let available = connection.streams_available(direction);
                match connection.open_stream(direction) {
                    Ok(id) => {
                        assert!(available > 0);
                        end.streams.insert(0, id);
                    }
                    Err(ApiMisuse::StreamLimit) => assert_eq!(available, 0),
                    // The peer has closed; the reason may be told a little later.
                    Err(error) => assert_eq!(error, ApiMisuse::ConnectionClosed),
                }
            }
            Action::Send { stream, len, fin } => {
                let len = (usize::from(len) * usize::from(len)).min(data_left);
                if connection.send(end.stream(stream), vec![0xda; len].into(), fin).is_ok() {
                    data_left -= len;
                }
            }
            Action::Read { stream, max } => _ = connection.read(end.stream(stream), max.into()),
            Action::Consume { stream, len } => connection.consumed(now, end.stream(stream), len.into()),
            Action::Reset { stream, code } => _ = connection.reset(end.stream(stream), u32::from(code).into()),
            Action::ResetAt { stream, code, size } => {
                let _ = connection.reset_at(end.stream(stream), u32::from(code).into(), size.into());
            }
            Action::Stop { stream, code } => _ = connection.stop_sending(end.stream(stream), u32::from(code).into()),
            Action::Priority { stream, priority } => {
                let _ = connection.set_priority(end.stream(stream), i32::from(priority) - 128);
            }
            Action::Datagram { len } => {
                let priority = if len % 2 == 0 { DatagramPriority::Normal } else { DatagramPriority::Urgent };
                let _ = connection.send_datagram(vec![0xdd; usize::from(len) % 2048].into(), priority);
            }
            Action::Close { code, reason } => {
                connection.close(now, u32::from(code).into(), vec![b'x'; 8 * usize::from(reason)].into());
            }
            Action::CloseSilently => connection.close_silently(now),
            Action::Ping => connection.ping(),
            Action::UpdateKeys => _ = connection.update_keys(),
            Action::Migrate { address: number } => {
                let [remote, local] = [address(Role::Server, number >> 4 & 1), address(Role::Client, number)];
                let _ = connection.migrate(now, PathAddress { remote, local: Some(local) });
            }
            Action::Rebind => _ = connection.local_address_changed(now, None),
            Action::Accept => {
                end.asked = false;
                let _ = connection.accept(now, accept);
            }
            Action::Refuse => _ = connection.refuse(now, TransportErrorCode::CONNECTION_REFUSED),
            Action::StatelessReset => connection.stateless_reset(now),
            Action::Verdict { accept } => {
                let verdict =
                    if accept { Verdict::Accept } else { Verdict::Reject(tercel_proto::tls::Alert::UNKNOWN_CA) };
                let _ = connection.give_verdict(now, verdict);
            }
            Action::Timeout => connection.timeout(now),
            Action::Look => look(&connection),
        }
        end.connection = Some(connection);
        self.data_left = data_left;
        if !matches!(action, Action::Accept) {
            self.settle();
        }
    }

    // Time.

    /// Calls every end whose time has come.
    fn fire(&mut self) {
        let now = self.now;
        for role in [Role::Client, Role::Server] {
            let end = self.end(role);
            if end.deadline.is_some_and(|deadline| deadline <= now)
                && let Some(connection) = &mut end.connection
            {
                connection.timeout(now);
            }
        }
        self.settle();
    }

    /// Time goes on to the next timer, if there is one.
    fn next_timer(&mut self) -> bool {
        let deadlines = [&self.client, &self.server].map(|end| end.deadline.filter(|_| end.connection.is_some()));
        let Some(next) = deadlines.into_iter().flatten().min() else { return false };
        self.now = self.now.max(next);
        self.fire();
        true
    }

    /// All that is under way arrives in its order; when nothing is, time goes on a little.
    fn flow(&mut self, rounds: u32) {
        for _ in 0..rounds {
            let mut quiet = true;
            for to in [Role::Server, Role::Client] {
                for _ in 0..self.end(to).line.len() {
                    if let Some(wire) = self.take(to, 0) {
                        quiet = false;
                        self.deliver(to, &wire);
                    }
                }
            }
            self.now += Duration::from_millis(10);
            self.fire();
            let confirmed = [&self.client, &self.server].iter().all(|end| end.grammar.is_connected());
            if quiet && confirmed {
                break;
            }
        }
    }

    /// Nothing arrives any more: both ends must come to their end.
    fn fall_silent(&mut self) {
        for count in 0.. {
            assert!(count < MOST_TIMERS, "timers without end");
            self.client.line.clear();
            self.server.line.clear();
            if !self.next_timer() {
                break;
            }
        }
        for end in [&self.client, &self.server] {
            assert!(end.connection.is_none(), "the {:?} lives on without a timer", end.role);
        }
    }
}

fn look(connection: &Connection) {
    let _ = (connection.stats(), connection.remote_address(), connection.is_handshaking(), connection.alpn());
    let _ = (connection.server_name(), connection.peer_certificates(), connection.max_datagram_size());
    let _ = (connection.awaits_verdict(), connection.verdict_deadline(), connection.close_reason());
    let _ = connection.export_keying_material(&mut [0; 16], b"label", b"context");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(first: u8) -> Pair {
        let (setup, _) = Program::new(&[first]);
        crypto::seed(7);
        let mut pair = Pair::new(setup, fresh_tls(setup.shares), 0);
        pair.begin(setup.start);
        pair
    }

    #[test]
    fn runs_begin_where_they_should() {
        for shares in [0, 4, 8] {
            for (first, streams) in [(0x31, 0), (0x32, 6)] {
                let pair = begun(first | shares);
                for end in [&pair.client, &pair.server] {
                    let connection = end.connection.as_ref().unwrap();
                    assert!(!connection.is_handshaking() && end.streams.len() == streams, "{:?}", end.streams);
                    assert_eq!(connection.close_reason(), None);
                    assert!(end.ids.len() > 1 && end.streams.is_empty() == (streams == 0));
                }
            }
        }
        assert!(begun(0x30).server.connection.is_none());
    }

    #[test]
    fn forged_and_rewritten_frames_are_taken() {
        let codes = |pair: &Pair| {
            [&pair.client, &pair.server].map(|end| end.connection.as_ref().unwrap().close_reason().cloned())
        };
        let mut pair = begun(0x32);
        pair.step(Step::Forge { to: Role::Server, level: EncryptionLevel::OneRtt, id: 0, ahead: 0, frames: &[0x1e] });
        let [client, server] = codes(&pair);
        assert!(client.is_none() && format!("{server:?}").contains("HANDSHAKE_DONE"), "{server:?}");
        let mut pair = begun(0x32);
        pair.act(Role::Server, Action::Ping);
        pair.step(Step::Rewrite { to: Role::Client, nth: 0, packet: 0, edit: Edit::Append, frames: &[0x2f] });
        pair.step(Step::Deliver { to: Role::Client, nth: 0 });
        assert!(format!("{:?}", codes(&pair)[0]).contains("unknown frame"), "{:?}", codes(&pair));
        let mut pair = begun(0x30);
        pair.step(Step::Forge { to: Role::Server, level: EncryptionLevel::Initial, id: 0, ahead: 9, frames: &[0x1e] });
        assert!(pair.server.connection.as_ref().unwrap().close_reason().is_some());
    }

    #[test]
    fn early_data_is_on_its_way() {
        let (setup, _) = Program::new(&[0x33]);
        crypto::seed(7);
        let mut earlier = Pair::new(Setup { start: Start::Hello, ..setup }, fresh_tls(0), 1);
        earlier.flow(40);
        let mut pair = Pair::new(setup, earlier.tls, 0);
        let packets = pair.server.line.iter().flat_map(|wire| pair.open(Role::Server, &wire.data));
        let levels: Vec<_> = packets.map(|opened| opened.header.level()).collect();
        assert_eq!(levels, [EncryptionLevel::Initial, EncryptionLevel::ZeroRtt]);
        pair.flow(10);
        assert_eq!(pair.server.streams.len(), 1);
    }
}
