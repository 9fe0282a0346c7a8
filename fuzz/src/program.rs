//! The input of the connection target, read as a program: how to begin, then steps for the network
//! and the two applications. Any bytes are a program; arguments that are missing are 0.

use tercel_wire::EncryptionLevel::{self, Handshake, Initial, OneRtt, ZeroRtt};
use tercel_wire::Role;

/// How far the two have come before the first step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The client has written its first flight.
    Hello,
    /// The handshake is confirmed at both ends.
    Confirmed,
    /// The same, and each end has opened streams.
    Streams,
    /// The client remembers an earlier connection, and its first flight carries early data.
    Early,
}

/// How the run is set up: the first byte.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    /// How far to go first.
    pub start: Start,
    /// 0 to 2: small key shares, large ones, HelloRetryRequest.
    pub shares: u8,
    /// Whether applications read all that comes.
    pub reads: bool,
    /// Whether all that is under way arrives in the end.
    pub flows: bool,
    /// Whether the server answers the ClientHello only by an action.
    pub hesitates: bool,
}

/// What becomes of a packet's frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edit {
    /// Others stand in their place.
    Replace,
    /// Others come behind them.
    Append,
    /// Others come before them.
    Prepend,
}

/// What an application does. Streams are told by their place among those that it knows, then by
/// their ID.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub enum Action {
    Open { bidi: bool },
    Send { stream: u8, len: u8, fin: bool },
    Read { stream: u8, max: u16 },
    Consume { stream: u8, len: u16 },
    Reset { stream: u8, code: u8 },
    ResetAt { stream: u8, code: u8, size: u8 },
    Stop { stream: u8, code: u8 },
    Priority { stream: u8, priority: u8 },
    Datagram { len: u16 },
    Close { code: u8, reason: u8 },
    CloseSilently,
    Ping,
    UpdateKeys,
    Migrate { address: u8 },
    Rebind,
    Accept,
    Refuse,
    StatelessReset,
    Verdict { accept: bool },
    Timeout,
    Look,
}

/// One step. Datagrams are told by their place in the line `to` an end.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub enum Step<'a> {
    Deliver {
        to: Role,
        nth: u8,
    },
    Drop {
        to: Role,
        nth: u8,
    },
    Repeat {
        to: Role,
        nth: u8,
    },
    Damage {
        to: Role,
        nth: u8,
        at: u16,
        with: u8,
    },
    Cut {
        to: Role,
        nth: u8,
        len: u16,
    },
    /// Changes the frames of one packet of a datagram; its header and number stay.
    Rewrite {
        to: Role,
        nth: u8,
        packet: u8,
        edit: Edit,
        frames: &'a [u8],
    },
    /// An authentic packet of its own, `ahead` numbers after the sender's last.
    Forge {
        to: Role,
        level: EncryptionLevel,
        id: u8,
        ahead: u8,
        frames: &'a [u8],
    },
    Raw {
        to: Role,
        bytes: &'a [u8],
    },
    /// A stateless reset with a token that `to` knows.
    Reset {
        to: Role,
        which: u8,
    },
    Retry {
        token: u8,
    },
    Negotiate {
        version: u8,
    },
    /// The datagram comes from, and goes to, another address.
    Readdress {
        to: Role,
        nth: u8,
        from: u8,
        at: u8,
    },
    Mark {
        to: Role,
        nth: u8,
        ecn: u8,
    },
    Wait {
        millis: u16,
    },
    /// Everything arrives, and time goes on, for so many rounds.
    Flow {
        rounds: u8,
    },
    Act {
        end: Role,
        action: Action,
    },
}

/// Reads a program.
pub struct Program<'a> {
    rest: &'a [u8],
}

impl<'a> Program<'a> {
    /// The setup, and the steps that follow.
    pub fn new(bytes: &'a [u8]) -> (Setup, Self) {
        let mut program = Self { rest: bytes };
        let first = program.u8();
        let setup = Setup {
            start: [Start::Hello, Start::Confirmed, Start::Streams, Start::Early][usize::from(first & 3)],
            shares: first >> 2 & 3,
            reads: first & 0x10 != 0,
            flows: first & 0x20 != 0,
            hesitates: first & 0x40 != 0,
        };
        (setup, program)
    }

    fn u8(&mut self) -> u8 {
        let Some((first, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        *first
    }

    fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.u8(), self.u8()])
    }

    fn bytes(&mut self) -> &'a [u8] {
        let len = usize::from(self.u8()).min(self.rest.len());
        let (bytes, rest) = self.rest.split_at(len);
        self.rest = rest;
        bytes
    }

    fn action(&mut self) -> Action {
        match self.u8() % 21 {
            0 => Action::Open { bidi: self.u8() & 1 == 0 },
            1 => Action::Send { stream: self.u8(), len: self.u8(), fin: self.u8() & 1 == 1 },
            2 => Action::Read { stream: self.u8(), max: self.u16() },
            3 => Action::Consume { stream: self.u8(), len: self.u16() },
            4 => Action::Reset { stream: self.u8(), code: self.u8() },
            5 => Action::Stop { stream: self.u8(), code: self.u8() },
            6 => Action::Priority { stream: self.u8(), priority: self.u8() },
            7 => Action::Datagram { len: self.u16() },
            8 => Action::Close { code: self.u8(), reason: self.u8() },
            9 => Action::CloseSilently,
            10 => Action::Ping,
            11 => Action::UpdateKeys,
            12 => Action::Migrate { address: self.u8() },
            13 => Action::Rebind,
            14 => Action::Accept,
            15 => Action::Refuse,
            16 => Action::StatelessReset,
            17 => Action::Verdict { accept: self.u8() & 1 == 0 },
            18 => Action::Timeout,
            19 => Action::Look,
            _ => Action::ResetAt { stream: self.u8(), code: self.u8(), size: self.u8() },
        }
    }
}

impl<'a> Iterator for Program<'a> {
    type Item = Step<'a>;

    fn next(&mut self) -> Option<Step<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let first = self.u8();
        let to = if first & 0x80 == 0 { Role::Server } else { Role::Client };
        Some(match first & 0x0f {
            0 => Step::Deliver { to, nth: self.u8() },
            1 => Step::Drop { to, nth: self.u8() },
            2 => Step::Repeat { to, nth: self.u8() },
            3 => Step::Damage { to, nth: self.u8(), at: self.u16(), with: self.u8() },
            4 => Step::Cut { to, nth: self.u8(), len: self.u16() },
            5 => {
                let (nth, how) = (self.u8(), self.u8());
                let edit = [Edit::Append, Edit::Prepend, Edit::Replace][usize::from(how >> 4) % 3];
                Step::Rewrite { to, nth, packet: how & 0x0f, edit, frames: self.bytes() }
            }
            6 => {
                let (how, ahead) = (self.u8(), self.u8());
                let level = [OneRtt, Initial, ZeroRtt, Handshake][usize::from(how >> 6)];
                Step::Forge { to, level, id: how & 0x3f, ahead, frames: self.bytes() }
            }
            7 => Step::Raw { to, bytes: self.bytes() },
            8 => Step::Reset { to, which: self.u8() },
            9 if to == Role::Client => Step::Retry { token: self.u8() },
            9 => Step::Negotiate { version: self.u8() },
            10 => Step::Readdress { to, nth: self.u8(), from: self.u8(), at: self.u8() },
            11 => Step::Mark { to, nth: self.u8(), ecn: self.u8() },
            12 => Step::Wait { millis: self.u16() },
            13 => Step::Flow { rounds: self.u8() },
            _ => Step::Act { end: to.peer(), action: self.action() },
        })
    }
}
