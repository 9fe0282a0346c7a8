//! Stream IDs (RFC 9000 section 2.1).

/// Which end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// The end that sends the first packet.
    Client,
    /// The end that answers.
    Server,
}

impl Role {
    /// The other end.
    pub const fn peer(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// Whether a stream carries data one way or both ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// Both ends send.
    Bidirectional,
    /// Only the end that opened it sends.
    Unidirectional,
}

impl Direction {
    /// Both directions, in the order of their code points.
    pub const ALL: [Self; 2] = [Self::Bidirectional, Self::Unidirectional];
}

/// A stream ID: who opened the stream, its direction and its number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(u64);

impl StreamId {
    /// The ID of the stream number `index` (from 0) that `initiator` opens in `direction`.
    pub const fn new(initiator: Role, direction: Direction, index: u64) -> Self {
        Self((index << 2) | ((direction as u64) << 1) | initiator as u64)
    }

    /// The ID with this value on the wire.
    pub const fn from_wire(value: u64) -> Self {
        Self(value)
    }

    /// The value on the wire.
    pub const fn into_wire(self) -> u64 {
        self.0
    }

    /// Who opened the stream.
    pub const fn initiator(self) -> Role {
        if self.0 & 1 == 0 { Role::Client } else { Role::Server }
    }

    /// Whether it carries data both ways.
    pub const fn direction(self) -> Direction {
        if self.0 & 2 == 0 { Direction::Bidirectional } else { Direction::Unidirectional }
    }

    /// Its number among the streams of its initiator and direction, from 0.
    pub const fn index(self) -> u64 {
        self.0 >> 2
    }
}

impl std::fmt::Debug for StreamId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

impl std::fmt::Display for StreamId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (initiator, direction) = (self.initiator(), self.direction());
        write!(f, "{initiator:?} {direction:?} stream {}", self.index())
    }
}
