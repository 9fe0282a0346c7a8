//! The scenarios, each defined once, and the bytes that they move.
//!
//! All work is made of exchanges. An exchange is a bidirectional stream: the client sends 8 bytes
//! that say how long an answer it wants, then `up` bytes; the server, once it has read them, sends 8
//! bytes that say how many came, then `down` bytes. What comes is compared with what must come,
//! byte by byte.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scenario {
    /// One stream to the server.
    Upload,
    /// One stream to the client.
    Download,
    /// A hundred streams to the client at once.
    Streams,
    /// One stream to the client on each of so many connections.
    Connections(usize),
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
    /// The same, and the request comes with the first flight; another request comes later, so that it is sure that the
    /// handshake is complete and the ticket for another connection has come.
    Early,
    /// Datagrams of 64 bytes there and back, 64 under way at a time.
    Datagrams,
    /// One stream to the client through a network, with a congestion controller.
    Loss(Network, Control),
    /// So many connections: requests by turns, then nothing for a while, then requests on some.
    Many(usize),
    /// So many connections, of which few carry a request, then nothing for a while, then requests on some.
    Idle(usize),
    /// Requests on so many streams of a connection at a time.
    Wide(usize),
    /// One exchange: how long it takes from the start of the processes.
    Start,
}

/// A network that loses datagrams by chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Network {
    /// How many of a hundred, each way.
    pub loss: u32,
    /// There and back, in milliseconds.
    pub round_trip: u32,
}

impl Network {
    /// What it lets through, in bits per second each way.
    pub const RATE: u64 = 100_000_000;
    /// How many datagrams wait before it: a little more than are under way at 100 ms.
    pub const QUEUE: usize = 1000;
}

/// A congestion controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Control {
    /// What all have, and all but `Loss` use.
    Cubic,
    /// Of whatever version a peer has.
    Bbr,
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Upload => f.write_str("upload"),
            Self::Download => f.write_str("download"),
            Self::Streams => f.write_str("streams"),
            Self::Connections(number) => write!(f, "connections-{number}"),
            Self::Requests => f.write_str("requests"),
            Self::Requests100 => f.write_str("requests100"),
            Self::Latency => f.write_str("latency"),
            Self::Handshakes => f.write_str("handshakes"),
            Self::Resumed => f.write_str("resumed"),
            Self::Early => f.write_str("early"),
            Self::Datagrams => f.write_str("datagrams"),
            Self::Loss(Network { loss, round_trip }, Control::Cubic) => write!(f, "loss-{loss}-{round_trip}"),
            Self::Loss(Network { loss, round_trip }, Control::Bbr) => write!(f, "loss-{loss}-{round_trip}-bbr"),
            Self::Many(number) => write!(f, "many-{number}"),
            Self::Idle(number) => write!(f, "idle-{number}"),
            Self::Wide(number) => write!(f, "wide-{number}"),
            Self::Start => f.write_str("start"),
        }
    }
}

impl FromStr for Scenario {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, number) = text.split_once('-').map_or((text, None), |(name, number)| (name, Some(number)));
        let number = number.map_or(Ok(1), str::parse);
        Ok(match (name, number) {
            ("upload", _) => Self::Upload,
            ("download", _) => Self::Download,
            ("streams", _) => Self::Streams,
            ("connections", Ok(number)) => Self::Connections(number),
            ("requests", _) => Self::Requests,
            ("requests100", _) => Self::Requests100,
            ("latency", _) => Self::Latency,
            ("handshakes", _) => Self::Handshakes,
            ("resumed", _) => Self::Resumed,
            ("early", _) => Self::Early,
            ("datagrams", _) => Self::Datagrams,
            ("many", Ok(number)) => Self::Many(number),
            ("idle", Ok(number)) => Self::Idle(number),
            ("wide", Ok(number)) => Self::Wide(number),
            ("start", _) => Self::Start,
            ("loss", _) => {
                let numbers: Vec<u32> = text.split('-').filter_map(|number| number.parse().ok()).collect();
                let [loss, round_trip] = numbers[..] else {
                    return Err(format!("{text}: loss-PERCENT-MILLISECONDS, and -bbr or not"));
                };
                let control = if text.ends_with("-bbr") { Control::Bbr } else { Control::Cubic };
                Self::Loss(Network { loss, round_trip }, control)
            }
            _ => return Err(format!("there is no scenario {text}")),
        })
    }
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
    /// Whether exchanges begin before the handshake is complete; each has another behind it.
    pub early: bool,
    /// Whether each is a datagram of `up` bytes and its echo.
    pub datagrams: bool,
    /// Whether nothing happens for [`QUIET`] after the exchanges; then the server's memory is looked at, and
    /// [`LATER`] more exchanges must come back, each on another connection.
    pub quiet: bool,
    /// Who decides how much is under way.
    pub control: Control,
}

/// For how long connections are left alone: for longer than any peer waits before it sends a last acknowledgement, or
/// lets go of what an idle connection does not need.
pub const QUIET: Duration = Duration::from_secs(3);

/// How many exchanges come later.
pub const LATER: usize = 100;

/// What carries exchanges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connections {
    /// So many, made before the clock starts; each carries its share, one exchange after the other.
    Kept(usize),
    /// So many, made before the clock starts; each exchange is on the next one.
    InTurns(usize),
    /// One for each.
    Each,
}

impl Connections {
    /// How many are made before the clock starts.
    pub fn kept(self) -> usize {
        match self {
            Self::Kept(number) | Self::InTurns(number) => number,
            Self::Each => 0,
        }
    }

    /// Which of them carries exchange `number`, which comes in the `turn`th of those sequences that are under way at a
    /// time; `None` for one of its own.
    pub fn of(self, turn: usize, number: usize) -> Option<usize> {
        match self {
            Self::Kept(connections) => Some(turn % connections),
            Self::InTurns(connections) => Some(number % connections),
            Self::Each => None,
        }
    }
}

impl Scenario {
    /// Those that are compared, in the order of the report.
    pub const ALL: [Self; 21] = [
        Self::Upload,
        Self::Download,
        Self::Streams,
        Self::Connections(10),
        Self::Connections(1000),
        Self::Requests,
        Self::Requests100,
        Self::Latency,
        Self::Handshakes,
        Self::Resumed,
        Self::Early,
        Self::Datagrams,
        Self::Loss(Network { loss: 1, round_trip: 20 }, Control::Cubic),
        Self::Loss(Network { loss: 1, round_trip: 100 }, Control::Cubic),
        Self::Loss(Network { loss: 5, round_trip: 20 }, Control::Cubic),
        Self::Loss(Network { loss: 5, round_trip: 100 }, Control::Cubic),
        Self::Loss(Network { loss: 1, round_trip: 20 }, Control::Bbr),
        Self::Loss(Network { loss: 1, round_trip: 100 }, Control::Bbr),
        Self::Loss(Network { loss: 5, round_trip: 20 }, Control::Bbr),
        Self::Loss(Network { loss: 5, round_trip: 100 }, Control::Bbr),
        Self::Start,
    ];

    /// Those that show how cost grows.
    pub const GROWTH: [Self; 13] = [
        Self::Many(1),
        Self::Many(10),
        Self::Many(100),
        Self::Many(1000),
        Self::Many(10_000),
        Self::Idle(1000),
        Self::Idle(10_000),
        Self::Wide(1),
        Self::Wide(10),
        Self::Wide(100),
        Self::Wide(1000),
        Self::Wide(10_000),
        Self::Wide(100_000),
    ];

    /// As many connections as the machine must hold.
    pub const HELD: Self = Self::Many(100_000);

    pub fn work(self, percent: u64) -> Work {
        const MIB: u64 = 1 << 20;
        const GIB: u64 = 1 << 30;
        let some = |usual: usize| (usual * percent as usize / 100).max(1);
        let bytes = |usual: u64| (usual * percent / 100).max(1);
        let work = Work {
            exchanges: 1,
            at_once: 1,
            up: 0,
            down: 0,
            connections: Connections::Kept(1),
            resumed: false,
            early: false,
            datagrams: false,
            quiet: false,
            control: self.control(),
        };
        match self {
            Self::Upload => Work { up: bytes(GIB), ..work },
            Self::Download => Work { down: bytes(GIB), ..work },
            Self::Streams => Work { exchanges: 100, at_once: 100, down: bytes(10 * MIB), ..work },
            Self::Connections(number) => Work {
                exchanges: number,
                at_once: number,
                down: bytes(GIB / number as u64),
                connections: Connections::Kept(number),
                ..work
            },
            Self::Requests => Work { exchanges: some(160_000), at_once: 50, up: 512, down: 512, ..work },
            Self::Requests100 => Work {
                exchanges: some(160_000),
                at_once: 100,
                up: 512,
                down: 512,
                connections: Connections::Kept(100),
                ..work
            },
            Self::Latency => Work { exchanges: some(32_000), up: 512, down: 512, ..work },
            Self::Datagrams => Work { exchanges: some(500_000), at_once: 64, up: 64, datagrams: true, ..work },
            Self::Handshakes => Work { exchanges: some(2_400), at_once: 8, connections: Connections::Each, ..work },
            Self::Resumed => Work { resumed: true, ..Self::Handshakes.work(percent) },
            Self::Early => Work { early: true, up: 512, down: 512, ..Self::Resumed.work(percent) },
            // Some twenty seconds for a sender that halves its window on every loss (Mathis et al. 1997: a rate of 1.2
            // datagrams by round trip and root of the loss).
            Self::Loss(Network { loss, round_trip }, Control::Cubic) => {
                let root = f64::from(loss.max(1)).sqrt();
                Work { down: bytes((320.0 * MIB as f64 / (f64::from(round_trip.max(1)) * root)) as u64), ..work }
            }
            // A second and a half of the link's rate.
            Self::Loss(_, Control::Bbr) => Work { down: bytes(16 * MIB), ..work },
            Self::Many(number) => Work {
                // Some for each connection, so that what comes but once for each does not weigh much.
                exchanges: number.max((5 * number).min(50_000)).max(some(20_000)),
                at_once: number.min(100),
                up: 512,
                down: 512,
                connections: Connections::InTurns(number),
                quiet: number >= 1000,
                ..work
            },
            Self::Idle(number) => Work { exchanges: number.min(LATER), ..Self::Many(number).work(percent) },
            Self::Wide(number) => {
                Work { exchanges: number.max(some(20_000)), at_once: number, up: 512, down: 512, ..work }
            }
            Self::Start => work,
        }
    }

    /// How many streams a server must permit.
    pub fn streams(self) -> u32 {
        match self {
            Self::Wide(number) => number.max(200) as u32,
            _ => 200,
        }
    }

    /// Whether it is about how many bytes get through (else: how many exchanges).
    pub fn is_bulk(self) -> bool {
        matches!(self, Self::Upload | Self::Download | Self::Streams | Self::Connections(_) | Self::Loss(..))
    }

    /// Whether it shows how cost grows.
    pub fn is_growth(self) -> bool {
        matches!(self, Self::Many(_) | Self::Idle(_) | Self::Wide(_))
    }

    pub fn network(self) -> Option<Network> {
        match self {
            Self::Loss(network, _) => Some(network),
            _ => None,
        }
    }

    pub fn control(self) -> Control {
        match self {
            Self::Loss(_, control) => control,
            _ => Control::Cubic,
        }
    }

    pub fn title(self) -> String {
        match self {
            Self::Upload => "Upload, one stream".into(),
            Self::Download => "Download, one stream".into(),
            Self::Streams => "Download, 100 streams at once".into(),
            Self::Connections(number) => format!("Download, {} connections at once", grouped(number)),
            Self::Requests => "Requests of 512 bytes each way, 50 at a time".into(),
            Self::Requests100 => "Requests of 512 bytes each way on 100 connections, one at a time on each".into(),
            Self::Latency => "Requests of 512 bytes each way, one at a time".into(),
            Self::Handshakes => "Connections made, used once and closed, 8 at a time".into(),
            Self::Resumed => "The same with resumed sessions".into(),
            Self::Early => "The same with a request of 512 bytes as 0-RTT data, and another later".into(),
            Self::Datagrams => "Datagrams of 64 bytes and their echoes, 64 at a time".into(),
            Self::Loss(Network { loss, round_trip }, control) => {
                let with = if control == Control::Bbr { ", with BBR" } else { "" };
                format!("Download, {loss} % of all datagrams lost, {round_trip} ms there and back{with}")
            }
            Self::Many(number) => {
                format!("Requests in turns on {} connections, {} at a time", grouped(number), number.min(100))
            }
            Self::Idle(number) => format!("{} connections made and left alone", grouped(number)),
            Self::Wide(number) => format!("Requests on {} streams at a time", grouped(number)),
            Self::Start => "From the start of both processes to the end of the first exchange".into(),
        }
    }
}

/// A number with commas.
pub fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
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

/// Where in the pattern `len` bytes of a body are, from `offset` on.
fn place(offset: u64, len: u64) -> Range<usize> {
    let from = (offset % PERIOD) as usize;
    from..from + len as usize
}

/// `len` bytes of a body, from `offset` on, to keep. Not copied.
fn body(offset: u64, len: u64) -> Bytes {
    PATTERN.slice(place(offset, len))
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

    /// Whether there is no further piece.
    pub fn is_finished(&self) -> bool {
        self.finished
    }
}

/// Its pieces, and whether each is the last.
impl Iterator for Outgoing {
    type Item = (Bytes, bool);

    fn next(&mut self) -> Option<(Bytes, bool)> {
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
            assert!(*part == PATTERN[place(self.len, part.len() as u64)], "wrong bytes behind {}", self.len);
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
