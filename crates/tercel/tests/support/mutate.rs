//! Bad datagrams, made from good ones: corrupt, cut, spliced, replayed, random, and such as are sealed
//! with the keys of Initial packets, which everybody can compute (RFC 9001 section 5.2).
#![allow(clippy::unwrap_used, dead_code, reason = "for tests")]

use std::sync::{Arc, Mutex};

use rustls::Side;
use rustls::quic::{Keys, Version};
use tercel_proto::entropy::Entropy;

use super::relay::{Seen, To};

/// The least size of a client's first datagram.
const FULL: usize = 1200;

pub(crate) struct Mutator {
    random: Entropy,
    seen: Arc<Mutex<Seen>>,
    /// What the first Initial packets of an honest client held, and what it called itself there, and
    /// again within.
    hello: Vec<Vec<u8>>,
    honest_scid: Vec<u8>,
    /// Connection IDs of Initial packets that were sealed here, so that several go to one connection.
    dcid: Vec<u8>,
    scid: Vec<u8>,
    number: u32,
}

impl Mutator {
    pub(crate) fn new(seed: [u8; 32], seen: Arc<Mutex<Seen>>) -> Self {
        let honest = seen.clone();
        let honest = honest.lock().unwrap();
        let first = honest.of(To::Server);
        let hello: Vec<_> = first.iter().filter_map(|datagram| open_initial(datagram)).collect();
        let honest_scid = first.iter().find_map(|datagram| Some(Initial::parse(datagram)?.scid.to_vec()));
        assert!(hello.len() >= 2, "no handshake was seen");
        Self {
            random: Entropy::from_seed(seed),
            seen,
            hello,
            honest_scid: honest_scid.unwrap_or_default(),
            dcid: vec![1; 8],
            scid: vec![2; 8],
            number: 0,
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.random.below(bound as u64) as usize
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.random.fill(&mut bytes);
        bytes
    }

    /// A datagram that was seen: mostly one to the same end.
    fn good(&mut self, to: To) -> Vec<u8> {
        let to = match (self.below(8), to) {
            (0, To::Server) => To::Client,
            (0, To::Client) => To::Server,
            _ => to,
        };
        let seen = self.seen.clone();
        let seen = seen.lock().unwrap();
        let from = seen.of(to);
        // The handshake is the first of it.
        let among = if self.below(3) == 0 { from.len().min(32) } else { from.len() };
        from.get(self.below(among)).cloned().unwrap_or_default()
    }

    /// The next bad datagram for one end.
    pub(crate) fn next(&mut self, to: To) -> Vec<u8> {
        let mut datagram = self.good(to);
        match self.below(64) {
            0..8 => {}
            8..16 => self.flip(&mut datagram),
            16..22 => self.overwrite(&mut datagram),
            22..28 => datagram.truncate(self.below(datagram.len() + 1)),
            28..36 => datagram = self.splice(datagram, to),
            36..40 => datagram.extend(self.good(to)),
            40..46 => {
                let len = self.below(1500);
                datagram = self.bytes(len);
            }
            46..52 => self.replace_payload(&mut datagram),
            52..57 => datagram = self.long_header(),
            57..61 => {
                let len = self.below(1500);
                datagram.extend(self.bytes(len));
            }
            61..63 => datagram = self.initial_of_frames(to),
            _ => datagram = self.initial_of_hello(),
        }
        datagram.truncate(65_000);
        datagram
    }

    fn flip(&mut self, datagram: &mut [u8]) {
        for _ in 0..=self.below(8) {
            let at = self.below(datagram.len());
            let bit = 1 << self.below(8);
            if let Some(byte) = datagram.get_mut(at) {
                *byte ^= bit;
            }
        }
    }

    fn overwrite(&mut self, datagram: &mut [u8]) {
        let from = self.below(datagram.len());
        let len = self.below((datagram.len() - from).min(64) + 1);
        self.random.fill(&mut datagram[from..from + len]);
    }

    fn splice(&mut self, mut head: Vec<u8>, to: To) -> Vec<u8> {
        let tail = self.good(to);
        head.truncate(self.below(head.len() + 1));
        let from = self.below(tail.len() + 1);
        head.extend(&tail[from..]);
        head
    }

    /// Another payload, or only another packet number, behind a header that leads somewhere.
    fn replace_payload(&mut self, datagram: &mut [u8]) {
        let from = if datagram.first().is_some_and(|first| first & 0x80 == 0) { 10 } else { 30 };
        if let Some(payload) = datagram.get_mut(from..) {
            self.random.fill(payload);
        }
    }

    /// Any version, any connection IDs, any token.
    fn long_header(&mut self) -> Vec<u8> {
        let mut datagram = vec![0x80 | self.below(128) as u8];
        let version = match self.below(4) {
            0 => 0,
            1 => 0x6b33_43cf,
            2 => 0x0a1a_2a3a,
            _ => 1u32,
        };
        datagram.extend(version.to_be_bytes());
        for _ in 0..2 {
            let longest = if self.below(4) == 0 { 256 } else { 21 };
            let len = self.below(longest);
            datagram.push(len as u8);
            datagram.extend(self.bytes(len));
        }
        let len = self.below(100);
        datagram.extend(self.bytes(len));
        if self.below(2) == 0 {
            let missing = FULL.saturating_sub(datagram.len());
            datagram.extend(self.bytes(missing));
        }
        datagram
    }

    /// An Initial packet, as authentic as any, whose frames make no sense.
    fn initial_of_frames(&mut self, to: To) -> Vec<u8> {
        let mut frames = Vec::new();
        for _ in 0..=self.below(6) {
            self.frame(&mut frames);
        }
        match to {
            To::Server => self.seal(&frames, Side::Client),
            To::Client => self.seal(&frames, Side::Server),
        }
    }

    fn frame(&mut self, frames: &mut Vec<u8>) {
        const LIKELY: [u8; 8] = [0x00, 0x01, 0x02, 0x03, 0x06, 0x06, 0x1c, 0x06];
        let kind = match self.below(4) {
            0 => self.below(0x40) as u8,
            _ => LIKELY[self.below(LIKELY.len())],
        };
        frames.push(kind);
        for _ in 0..self.below(6) {
            match self.below(3) {
                0 => frames.push(self.below(64) as u8),
                1 => frames.extend((0x4000 | self.below(0x4000) as u16).to_be_bytes()),
                _ => frames.extend((0xc000_0000_0000_0000 | self.random.below(1 << 62)).to_be_bytes()),
            }
        }
        if self.below(2) == 0 {
            let len = self.below(80);
            frames.extend(self.bytes(len));
        }
    }

    /// An authentic Initial packet with a ClientHello, or a part of one, that may be corrupt.
    fn initial_of_hello(&mut self) -> Vec<u8> {
        let at = self.below(self.hello.len());
        let mut frames = self.hello[at].clone();
        if self.below(4) > 0 {
            self.flip(&mut frames);
        }
        if self.below(2) == 0 {
            self.scid = self.honest_scid.clone();
            return self.seal_here(&frames, Side::Client);
        }
        self.seal(&frames, Side::Client)
    }

    /// The first datagrams of a client that never answers.
    pub(crate) fn first_flight(&mut self) -> Vec<Vec<u8>> {
        self.dcid = self.bytes(8);
        self.scid = self.honest_scid.clone();
        // An honest client's first two hold all of its ClientHello.
        self.hello.clone().iter().take(2).map(|frames| self.seal_here(frames, Side::Client)).collect()
    }

    /// To a connection of before, or to a new one.
    fn seal(&mut self, frames: &[u8], side: Side) -> Vec<u8> {
        if self.below(3) > 0 {
            let len = 8 + self.below(13);
            self.dcid = self.bytes(len);
            let len = self.below(21);
            self.scid = self.bytes(len);
        }
        self.seal_here(frames, side)
    }

    fn seal_here(&mut self, frames: &[u8], side: Side) -> Vec<u8> {
        self.number = self.number.wrapping_add(1);
        seal(&keys(&self.dcid, side), (&self.dcid, &self.scid), self.number, frames)
    }

    /// Now and then: frames that make no sense, in an Initial packet of the server whose client has sent
    /// `first`.
    pub(crate) fn forged_answer(&mut self, first: &[u8]) -> Option<Vec<u8>> {
        let initial = Initial::parse(first).filter(|_| self.below(4) == 0)?;
        let mut frames = Vec::new();
        for _ in 0..=self.below(4) {
            self.frame(&mut frames);
        }
        let scid = self.bytes(8);
        let number = self.below(1000) as u32;
        Some(seal(&keys(initial.dcid, Side::Server), (initial.scid, &scid), number, &frames))
    }

    /// A datagram of a version that nobody speaks; every server answers it, and names `scid`.
    pub(crate) fn probe(&mut self, scid: &[u8; 8]) -> Vec<u8> {
        let mut datagram = vec![0xc0, 0x1a, 0x2a, 0x3a, 0x4a, 8];
        datagram.extend(self.bytes(8));
        datagram.push(8);
        datagram.extend(scid);
        datagram.resize(FULL, 0);
        datagram
    }

    /// `bytes` as a number, for names.
    pub(crate) fn name(&mut self) -> [u8; 8] {
        self.random.array()
    }
}

/// Whether `datagram` is the Version Negotiation packet for whoever called itself `scid`.
pub(crate) fn answers(datagram: &[u8], scid: &[u8; 8]) -> bool {
    datagram.first().is_some_and(|first| first & 0x80 != 0)
        && datagram.get(1..6) == Some(&[0, 0, 0, 0, 8])
        && datagram.get(6..14) == Some(scid)
}

fn keys(dcid: &[u8], side: Side) -> Keys {
    let suite = rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256.tls13().unwrap();
    suite.quic_suite().unwrap().keys(dcid, side, Version::V1)
}

fn seal(keys: &Keys, (dcid, scid): (&[u8], &[u8]), number: u32, frames: &[u8]) -> Vec<u8> {
    let mut datagram = vec![0xc3, 0, 0, 0, 1, dcid.len() as u8];
    datagram.extend(dcid);
    datagram.push(scid.len() as u8);
    datagram.extend(scid);
    datagram.push(0);
    let tag = keys.local.packet.tag_len();
    // Length, packet number, frames, tag: at least a full first datagram.
    let padded = frames.len().max(FULL - tag - 6 - datagram.len());
    datagram.extend((0x4000 | (4 + padded + tag) as u16).to_be_bytes());
    let at = datagram.len();
    datagram.extend(number.to_be_bytes());
    let mut payload = frames.to_vec();
    payload.resize(padded, 0);
    let tag = keys.local.packet.encrypt_in_place(number.into(), &datagram, &mut payload).unwrap();
    datagram.extend(payload);
    datagram.extend(tag.as_ref());
    let (head, rest) = datagram.split_at_mut(at + 4);
    let (first, number) = head.split_at_mut(at);
    keys.local.header.encrypt_in_place(&rest[..16], &mut first[0], number).unwrap();
    datagram
}

struct Initial<'a> {
    dcid: &'a [u8],
    scid: &'a [u8],
    /// Where the length stands.
    at: usize,
}

impl<'a> Initial<'a> {
    fn parse(datagram: &'a [u8]) -> Option<Self> {
        let is_initial = datagram.first()? & 0xf0 == 0xc0 && datagram.get(1..5)? == [0, 0, 0, 1];
        let dcid = datagram.get(6..6 + usize::from(*datagram.get(5)?))?;
        let at = 6 + dcid.len();
        let scid = datagram.get(at + 1..at + 1 + usize::from(*datagram.get(at)?))?;
        let at = at + 1 + scid.len();
        // Without a token, and with a length of two bytes, as we make them.
        let plain = *datagram.get(at)? == 0 && datagram.get(at + 1)? & 0xc0 == 0x40;
        (is_initial && plain).then_some(Self { dcid, scid, at: at + 1 })
    }
}

/// The frames of a client's first Initial packets (those to the connection ID that it made up).
fn open_initial(datagram: &[u8]) -> Option<Vec<u8>> {
    let Initial { dcid, at, .. } = Initial::parse(datagram)?;
    let keys = keys(dcid, Side::Server);
    let len = usize::from(u16::from_be_bytes([datagram[at] & 0x3f, datagram[at + 1]]));
    let mut packet = datagram.get(..at + 2 + len)?.to_vec();
    let sample: [u8; 16] = packet.get(at + 6..at + 22)?.try_into().ok()?;
    let (head, rest) = packet.split_at_mut(at + 2);
    keys.remote.header.decrypt_in_place(&sample, &mut head[0], &mut rest[..4]).ok()?;
    let number_len = usize::from(head[0] & 3) + 1;
    let number = rest[..number_len].iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    let header = packet[..at + 2 + number_len].to_vec();
    let payload = &mut packet[at + 2 + number_len..];
    Some(keys.remote.packet.decrypt_in_place(number, &header, payload).ok()?.to_vec())
}
