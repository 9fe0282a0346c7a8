//! The observer on the line: reads every packet of both ends with the secrets that TLS logs, and
//! knows what must not be said (VERDICT.md sections 1 and 4).

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use bytes::{Bytes, BytesMut};
use tercel_wire::frame::ConnectionClose;
use tercel_wire::packet::{FirstPacket, Header, Protected};
use tercel_wire::{
    ConnectionId, EncryptionLevel, Frame, Reader, Role, SpaceId, TransportErrorCode, TransportParameters, Version,
    Writer,
};

use super::keys::{Keys, TAG_LEN};

/// How long the connection IDs of tercel are.
const CID_LEN: usize = 9;
/// The numbers of injected packets begin here, so that they collide with none of the connection's.
const INJECTED: u64 = 10_000;
/// What applications give as the reason of a close: for the peer's application alone.
pub const REASON: &[u8] = b"between applications";

/// What is known of who sends a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sender {
    /// It judges its peer, and the verdict was not yes (yet).
    pub withholds: bool,
    /// It knows that early data was refused: a certificate came.
    pub refused_early: bool,
    /// It has closed without a word, and nothing else had closed it before.
    pub is_silent: bool,
    /// It may send stateless resets: its connection has ended, or it was sent one that it did not know.
    pub is_over: bool,
}

/// A packet, read.
#[derive(Debug)]
pub struct Packet {
    /// Its level.
    pub level: EncryptionLevel,
    /// Its frames.
    pub payload: Bytes,
}

/// What was seen of one end.
#[derive(Debug, Default)]
struct Flow {
    /// CRYPTO data in Handshake packets, as far as it was sent.
    crypto: BTreeMap<u64, u8>,
    /// Up to where it was cut into messages.
    cut: u64,
    finished_sent: bool,
    /// Of the latest packets: from whom to whom.
    scid: Option<ConnectionId>,
}

/// Reads all packets of both ends, and judges them.
#[derive(Default)]
pub struct Observer {
    /// The client's first connection ID for the server, then that of a Retry, and what follows from each.
    initial: Vec<(ConnectionId, [Keys; 2])>,
    /// Which of them the client uses.
    began: usize,
    keys: BTreeMap<(Role, EncryptionLevel), Keys>,
    largest: BTreeMap<(Role, SpaceId), u64>,
    flows: [Flow; 2],
    injected: u64,
    /// The reset token of the server's first connection ID.
    pub server_reset_token: Option<[u8; 16]>,
    /// What was wrong.
    pub faults: Vec<String>,
}

impl std::fmt::Debug for Observer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Observer").field("faults", &self.faults).finish_non_exhaustive()
    }
}

impl Observer {
    /// A datagram leaves `from`. Says whether it carries a CONNECTION_CLOSE.
    pub fn sent(&mut self, from: Role, datagram: &[u8], sender: Sender) -> bool {
        if sender.is_silent {
            self.faults.push(format!("{from:?} sent {} bytes after it closed silently", datagram.len()));
        }
        let packets = self.read(from, datagram, sender);
        let mut closes = false;
        for packet in &packets {
            closes |= self.judge(from, packet, sender);
        }
        closes
    }

    /// Judges a packet. Says whether it carries a CONNECTION_CLOSE.
    pub fn judge(&mut self, from: Role, packet: &Packet, sender: Sender) -> bool {
        let Packet { level, payload } = packet;
        let mut faults = Vec::new();
        if sender.withholds && *level == EncryptionLevel::OneRtt {
            faults.push("a 1-RTT packet before the verdict");
        }
        if sender.refused_early && *level == EncryptionLevel::ZeroRtt {
            faults.push("0-RTT after its refusal");
        }
        if *level <= EncryptionLevel::Handshake && *level != EncryptionLevel::ZeroRtt && contains(payload, REASON) {
            faults.push("the application's reason where others may read it");
        }
        let mut closes = false;
        let mut reader = Reader::new(payload);
        while !reader.is_empty() {
            let Ok(frame) = Frame::decode(&mut reader) else {
                faults.push("a frame that cannot be read");
                break;
            };
            closes |= matches!(frame, Frame::ConnectionClose(_));
            if let Frame::Crypto { offset, data } = frame
                && *level == EncryptionLevel::Handshake
            {
                self.on_crypto(from, offset, data);
            }
            faults.extend(self.judge_frame(from, *level, &frame, sender));
        }
        // A server's Finished belongs to its first flight and is sent ahead of the client's
        // certificate; what it withholds is everything that comes of the client's Finished.
        if sender.withholds && from == Role::Client && self.flows[from as usize].finished_sent {
            faults.push("Finished before the verdict");
        }
        self.faults.extend(faults.into_iter().map(|fault| format!("{from:?} sent {fault}, at {level:?}")));
        closes
    }

    fn judge_frame(
        &self,
        from: Role,
        level: EncryptionLevel,
        frame: &Frame<'_>,
        sender: Sender,
    ) -> Option<&'static str> {
        let low = matches!(level, EncryptionLevel::Initial | EncryptionLevel::Handshake);
        match frame {
            Frame::ConnectionClose(ConnectionClose::Application { .. }) if low => Some("0x1d"),
            Frame::ConnectionClose(ConnectionClose::Application { .. })
                if level == EncryptionLevel::OneRtt && !self.flows[from.peer() as usize].finished_sent =>
            {
                Some("0x1d before the handshake can be complete")
            }
            Frame::ConnectionClose(ConnectionClose::Transport { error, reason, .. })
                if *error == TransportErrorCode::APPLICATION_ERROR && !reason.is_empty() =>
            {
                Some("a reason phrase with APPLICATION_ERROR")
            }
            Frame::ConnectionClose(ConnectionClose::Transport { error, .. })
                if *error == TransportErrorCode::INVALID_TOKEN =>
            {
                Some("0x0b where 0x0c belongs")
            }
            Frame::Stream(_) | Frame::Datagram { .. } if sender.withholds && level == EncryptionLevel::OneRtt => {
                Some("application data before the verdict")
            }
            Frame::Stream(_) | Frame::Datagram { .. } if low => Some("application data"),
            Frame::HandshakeDone if from == Role::Client || sender.withholds => Some("HANDSHAKE_DONE"),
            _ => None,
        }
    }

    /// Cuts what was sent in CRYPTO frames into handshake messages.
    fn on_crypto(&mut self, from: Role, offset: u64, data: &[u8]) {
        const ENCRYPTED_EXTENSIONS: u8 = 8;
        const FINISHED: u8 = 20;
        let flow = &mut self.flows[from as usize];
        flow.crypto.extend((offset..).zip(data.iter().copied()));
        while let Some(&kind) = flow.crypto.get(&flow.cut) {
            let at = |at: u64| flow.crypto.get(&(flow.cut + at)).copied();
            flow.finished_sent |= kind == FINISHED;
            let Some(len) = (1..4).map(at).try_fold(0, |len, byte| Some(len << 8 | u64::from(byte?))) else { return };
            let Some(body) = (4..4 + len).map(at).collect::<Option<Vec<u8>>>() else { return };
            if from == Role::Server && kind == ENCRYPTED_EXTENSIONS {
                self.server_reset_token = reset_token(&body).or(self.server_reset_token);
            }
            flow.cut += 4 + len;
        }
    }

    /// Reads the packets of a datagram. What cannot be read is a fault.
    fn read(&mut self, from: Role, datagram: &[u8], sender: Sender) -> Vec<Packet> {
        let mut rest = BytesMut::from(datagram);
        let mut packets = Vec::new();
        while !rest.is_empty() {
            let packet = match Protected::split_first(&mut rest, CID_LEN) {
                Ok(FirstPacket::Protected(packet)) => packet,
                Ok(FirstPacket::Retry(retry)) => {
                    self.begin(&retry.scid);
                    return packets;
                }
                other => {
                    self.faults.push(format!("{from:?} sent {other:?}"));
                    return packets;
                }
            };
            if let Header::Initial { dcid, scid, .. } | Header::Handshake { dcid, scid, .. } = packet.header() {
                if self.initial.is_empty() {
                    self.begin(&dcid.clone());
                }
                self.flows[from as usize].scid = Some(*scid);
            }
            match self.open(from, packet) {
                Ok(packet) => packets.push(packet),
                Err(EncryptionLevel::OneRtt) if sender.is_over => {}
                Err(level) => self.faults.push(format!("{from:?} sent what cannot be opened, at {level:?}")),
            }
        }
        packets
    }

    /// From now on Initial keys follow from this ID.
    fn begin(&mut self, id: &ConnectionId) {
        self.initial.push((*id, [Role::Client, Role::Server].map(|from| Keys::initial(id, from))));
    }

    fn keys(&mut self, from: Role, level: EncryptionLevel) -> Option<&Keys> {
        if level == EncryptionLevel::Initial {
            return self.initial.get(self.began).map(|(_, keys)| &keys[from as usize]);
        }
        match self.keys.entry((from, level)) {
            Entry::Occupied(known) => Some(known.into_mut()),
            Entry::Vacant(unknown) => Some(unknown.insert(Keys::of(from, level)?)),
        }
    }

    fn open(&mut self, from: Role, mut packet: Protected) -> Result<Packet, EncryptionLevel> {
        let level = packet.level();
        let largest = self.largest.get(&(from, level.space())).copied();
        // Whether the client has a Retry, and which if there were several, shows in what it sends.
        let dcid = packet.header().dcid();
        self.began = self.initial.iter().position(|(id, _)| id == dcid).unwrap_or(self.began);
        let keys = self.keys(from, level).ok_or(level)?;
        let opened = packet.unprotect(keys, largest).ok().and_then(|sealed| sealed.open(keys)).ok_or(level)?;
        let largest = self.largest.entry((from, level.space())).or_default();
        *largest = (*largest).max(opened.number);
        Ok(Packet { level, payload: opened.payload })
    }

    /// Makes a datagram as if `from` had sent it: a packet of `level` with these frames. `None` if nobody
    /// knows the keys, or the ends' connection IDs.
    pub fn forge(&mut self, from: Role, level: EncryptionLevel, frames: &[u8]) -> Option<Vec<u8>> {
        const ROOM: usize = 1200;
        let version = Version::V1;
        let [client, server] = [0, 1].map(|role: usize| self.flows[role].scid);
        // A server that has not spoken yet is known by the ID that the client made up for it.
        let (client, server) = (client?, server.or_else(|| Some(self.initial.get(self.began)?.0))?);
        let (dcid, scid) = if from == Role::Client { (server, client) } else { (client, server) };
        let header = match level {
            EncryptionLevel::Initial => Header::Initial { version, dcid, scid, token: Bytes::new() },
            EncryptionLevel::Handshake => Header::Handshake { version, dcid, scid },
            EncryptionLevel::ZeroRtt => Header::ZeroRtt { version, dcid, scid },
            EncryptionLevel::OneRtt => Header::OneRtt { dcid, spin: false, key_phase: false },
        };
        self.injected += 1;
        let number = INJECTED + self.injected;
        let keys = self.keys(from, level)?;
        let mut datagram = vec![0; ROOM];
        let mut writer = Writer::new(&mut datagram);
        let start = header.begin(&mut writer, number, None);
        writer.bytes(frames);
        start.pad(&mut writer, ROOM, TAG_LEN);
        start.finish(&mut writer, keys, keys)?;
        Some(datagram)
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|part| part == needle)
}

/// The stateless reset token among a server's EncryptedExtensions.
fn reset_token(extensions: &[u8]) -> Option<[u8; 16]> {
    const QUIC_TRANSPORT_PARAMETERS: u16 = 0x39;
    let mut reader = Reader::new(extensions.get(2..)?);
    while !reader.is_empty() {
        let kind = u16::from_be_bytes(reader.bytes(2).ok()?.try_into().ok()?);
        let len = u16::from_be_bytes(reader.bytes(2).ok()?.try_into().ok()?);
        let body = reader.bytes(len.into()).ok()?;
        if kind == QUIC_TRANSPORT_PARAMETERS {
            let parameters = TransportParameters::decode(body, Role::Server).ok()?;
            return parameters.stateless_reset_token.map(|token| token.0);
        }
    }
    None
}

#[cfg(test)]
mod tests;
