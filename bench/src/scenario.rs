//! The scenarios, each defined once, and the bytes that they move.
//!
//! All work is made of exchanges. An exchange is a bidirectional stream: the client sends 8 bytes
//! that say how long an answer it wants, then `up` bytes; the server, once it has read them, sends 8
//! bytes that say how many came, then `down` bytes. What comes is compared with what must come,
//! byte by byte.

use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};
use clap::ValueEnum;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Scenario {
    /// One stream to the server.
    Upload,
    /// One stream to the client.
    Download,
    /// A hundred streams to the client at once.
    Streams,
    /// One stream to the client on each of ten connections.
    Connections10,
    /// The same on each of a thousand.
    Connections1000,
    /// Requests and answers of 512 bytes, 50 under way at a time.
    Requests,
    /// The same on a hundred connections, one under way on each.
    Requests100,
    /// Requests and answers of 512 bytes, one at a time.
    Latency,
    /// Connections, 8 under way at a time: each is made, carries one exchange and is closed.
    Handshakes,
    /// The same, but each goes on with the session of an earlier one.
    Resumed,
    /// Datagrams of 64 bytes there and back, 64 under way at a time.
    Datagrams,
    /// A thousand connections, each used once and then left alone.
    Idle,
}

/// What a client is to do.
#[derive(Debug, Clone, Copy)]
pub struct Work {
    /// How many exchanges there are.
    pub exchanges: usize,
    /// How many of them are under way at a time.
    pub at_once: usize,
    /// How many bytes go to the server in each.
    pub up: u64,
    /// And how many come back.
    pub down: u64,
    /// What carries them.
    pub connections: Connections,
    /// Whether connections go on with the sessions of earlier ones.
    pub resumed: bool,
    /// Whether each is a datagram of `up` bytes and its echo.
    pub datagrams: bool,
}

/// What carries exchanges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connections {
    /// So many, made before the clock starts, in turns.
    Kept(usize),
    /// One for each.
    Each,
}

impl Scenario {
    pub fn work(self, percent: u64) -> Work {
        const MIB: u64 = 1 << 20;
        let some = |usual: usize| (usual * percent as usize / 100).max(1);
        let bytes = |usual: u64| (usual * percent / 100).max(1);
        let work = Work {
            exchanges: 1,
            at_once: 1,
            up: 0,
            down: 0,
            connections: Connections::Kept(1),
            resumed: false,
            datagrams: false,
        };
        match self {
            Self::Upload => Work { up: bytes(512 * MIB), ..work },
            Self::Download => Work { down: bytes(512 * MIB), ..work },
            Self::Streams => Work { exchanges: 100, at_once: 100, down: bytes(5 * MIB), ..work },
            Self::Connections10 => {
                Work { exchanges: 10, at_once: 10, down: bytes(50 * MIB), connections: Connections::Kept(10), ..work }
            }
            Self::Connections1000 => Work {
                exchanges: 1000,
                at_once: 1000,
                down: bytes(MIB / 2),
                connections: Connections::Kept(1000),
                ..work
            },
            Self::Requests => Work { exchanges: some(40_000), at_once: 50, up: 512, down: 512, ..work },
            Self::Requests100 => Work {
                exchanges: some(40_000),
                at_once: 100,
                up: 512,
                down: 512,
                connections: Connections::Kept(100),
                ..work
            },
            Self::Latency => Work { exchanges: some(8_000), up: 512, down: 512, ..work },
            Self::Datagrams => Work { exchanges: some(100_000), at_once: 64, up: 64, datagrams: true, ..work },
            Self::Resumed => Work { resumed: true, ..Self::Handshakes.work(percent) },
            Self::Idle => {
                Work { exchanges: some(1000), at_once: some(1000), connections: Connections::Kept(some(1000)), ..work }
            }
            Self::Handshakes => Work { exchanges: some(600), at_once: 8, connections: Connections::Each, ..work },
        }
    }

    /// Whether it is about how many bytes get through (else: how many exchanges).
    pub fn is_bulk(self) -> bool {
        matches!(self, Self::Upload | Self::Download | Self::Streams | Self::Connections10 | Self::Connections1000)
    }

    pub fn title(self) -> &'static str {
        match self {
            Self::Upload => "Upload, one stream",
            Self::Download => "Download, one stream",
            Self::Streams => "Download, 100 streams at once",
            Self::Connections10 => "Download, 10 connections at once",
            Self::Connections1000 => "Download, 1,000 connections at once",
            Self::Requests => "Requests of 512 bytes each way, 50 at a time",
            Self::Requests100 => "Requests of 512 bytes each way on 100 connections, one at a time on each",
            Self::Latency => "Requests of 512 bytes each way, one at a time",
            Self::Resumed => "The same with resumed sessions",
            Self::Datagrams => "Datagrams of 64 bytes and their echoes, 64 at a time",
            Self::Idle => "Connections used once and left alone",
            Self::Handshakes => "Connections made, used once and closed, 8 at a time",
        }
    }
}

/// The body of every message repeats after so many bytes; a prime, so that no mistake in offsets
/// hides behind sizes that computers like.
const PERIOD: u64 = 65_521;

/// The longest piece that is given to a peer at once.
pub const PIECE: u64 = 64 << 10;

static PATTERN: LazyLock<Bytes> = LazyLock::new(|| {
    let byte = |at: u64| ((at % PERIOD).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8;
    (0..2 * PERIOD.max(PIECE)).map(byte).collect()
});

/// `len` bytes of a body, from `offset` on. Not copied.
fn body(offset: u64, len: u64) -> Bytes {
    let from = (offset % PERIOD) as usize;
    PATTERN.slice(from..from + len as usize)
}

/// A message on its way out.
pub struct Outgoing {
    header: Option<u64>,
    sent: u64,
    len: u64,
    finished: bool,
}

impl Outgoing {
    /// `header`, and then a body of `len` bytes.
    pub fn new(header: u64, len: u64) -> Self {
        Self { header: Some(header), sent: 0, len, finished: false }
    }

    /// The next piece, and whether it is the last.
    pub fn next(&mut self) -> Option<(Bytes, bool)> {
        if self.finished {
            return None;
        }
        let piece = match self.header.take() {
            Some(header) => {
                let first = self.len.min(4096);
                let mut piece = BytesMut::with_capacity(8 + first as usize);
                piece.extend_from_slice(&header.to_le_bytes());
                piece.extend_from_slice(&body(0, first));
                self.sent = first;
                piece.freeze()
            }
            None => {
                let len = (self.len - self.sent).min(PIECE);
                let piece = body(self.sent, len);
                self.sent += len;
                piece
            }
        };
        self.finished = self.sent == self.len;
        Some((piece, self.finished))
    }
}

/// A message on its way in.
#[derive(Default)]
pub struct Incoming {
    header: [u8; 8],
    header_len: usize,
    len: u64,
}

impl Incoming {
    /// The next piece of it. Panics if it is not what must come.
    pub fn take(&mut self, mut piece: &[u8]) {
        let of_header = piece.len().min(8 - self.header_len);
        self.header[self.header_len..self.header_len + of_header].copy_from_slice(&piece[..of_header]);
        self.header_len += of_header;
        piece = &piece[of_header..];
        for part in piece.chunks(PIECE as usize) {
            assert!(*part == body(self.len, part.len() as u64), "wrong bytes behind {}", self.len);
            self.len += part.len() as u64;
        }
    }

    /// At the end of an exchange's request: the answer.
    pub fn answer(&self) -> Outgoing {
        assert_eq!(self.header_len, 8, "the header is not whole");
        Outgoing::new(self.len, u64::from_le_bytes(self.header))
    }

    /// At the end of an exchange's answer. Panics if it is not the one to `work`.
    pub fn check(&self, work: &Work) {
        assert_eq!(self.header_len, 8, "the header is not whole");
        assert_eq!(u64::from_le_bytes(self.header), work.up, "bytes that the server got");
        assert_eq!(self.len, work.down, "bytes that the client got");
    }
}

impl Work {
    /// A datagram.
    pub fn datagram(&self) -> Bytes {
        body(0, self.up)
    }

    /// The request of an exchange.
    pub fn request(&self) -> Outgoing {
        Outgoing::new(self.down, self.up)
    }
}
