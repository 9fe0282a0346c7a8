//! The frames of a request stream or a control stream: which may come where (RFC 9114 sections 4.1, 6.2.1
//! and 7.2), and how large. Unknown ones are taken out, DATA goes on as it comes, all others when they are
//! whole.

use bytes::{Buf as _, Bytes, BytesMut};
use h3::error::Code;
use tercel_wire::Reader;

use super::{Fault, Role, fields};

/// The largest SETTINGS that is looked at, in bytes.
const MAX_SETTINGS: u64 = 16 << 10;

const DATA: u64 = 0x0;
const HEADERS: u64 = 0x1;
const CANCEL_PUSH: u64 = 0x3;
const SETTINGS: u64 = 0x4;
const PUSH_PROMISE: u64 = 0x5;
const GOAWAY: u64 = 0x7;
const MAX_PUSH_ID: u64 = 0xd;
/// What a stream of a WebTransport session begins with, in place of a frame.
const WEBTRANSPORT: u64 = 0x41;

/// Reads frames, and lets through what is in order.
pub(crate) struct Frames {
    place: Place,
    /// What came and was not looked at.
    input: Bytes,
    /// The part of a frame that waits for more.
    held: BytesMut,
    state: State,
}

enum Place {
    Message { role: Role, progress: Progress, max: u64 },
    Control { role: Role, settings: bool, max_push_id: u64 },
}

/// How far a message is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Nothing,
    Body,
    Trailers,
}

enum State {
    /// In a frame's type and length, or before.
    Head,
    /// In DATA: so much goes on.
    Data(u64),
    /// In an unknown frame: so much is thrown away.
    Unknown(u64),
    /// In a frame that is kept until it is whole.
    Whole { kind: u64, head: usize, len: usize },
    /// Nothing of ours.
    Foreign,
}

/// What is done with a frame.
enum Treatment {
    Data,
    Unknown,
    Whole,
}

const fn unexpected(reason: &'static str) -> Fault {
    Fault::Connection(Code::H3_FRAME_UNEXPECTED, reason)
}

const fn malformed(reason: &'static str) -> Fault {
    Fault::Connection(Code::H3_FRAME_ERROR, reason)
}

impl Frames {
    /// Those of a request stream, whose messages have field sections of `max` bytes at most.
    pub(crate) fn of_message(role: Role, max: u64, head: Bytes) -> Self {
        Self::new(Place::Message { role, progress: Progress::Nothing, max }, head)
    }

    /// Those of the peer's control stream, behind its type.
    pub(crate) fn of_control(role: Role, head: Bytes) -> Self {
        Self::new(Place::Control { role, settings: false, max_push_id: 0 }, head)
    }

    /// A stream that has no frames, or none of ours.
    pub(crate) fn foreign(head: Bytes) -> Self {
        let place = Place::Control { role: Role::Client, settings: false, max_push_id: 0 };
        Self { state: State::Foreign, ..Self::new(place, head) }
    }

    fn new(place: Place, input: Bytes) -> Self {
        Self { place, input, held: BytesMut::new(), state: State::Head }
    }

    /// Takes what came, once [`next`](Self::next) has nothing more to give.
    pub(crate) fn feed(&mut self, chunk: Bytes) {
        debug_assert!(self.input.is_empty(), "what came before goes first");
        self.input = chunk;
    }

    /// The next that may go on; `None` if more must come first.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        while !self.input.is_empty() {
            match &mut self.state {
                State::Foreign => return Ok(Some(std::mem::take(&mut self.input))),
                State::Data(0) | State::Unknown(0) => self.state = State::Head,
                State::Data(left) => return Ok(Some(take(&mut self.input, left))),
                State::Unknown(left) => drop(take(&mut self.input, left)),
                State::Whole { kind, head, len } => {
                    let missing = self.input.len().min(*len - self.held.len());
                    self.held.extend_from_slice(&self.input.split_to(missing));
                    if self.held.len() == *len {
                        let (kind, head, frame) = (*kind, *head, self.held.split().freeze());
                        self.state = State::Head;
                        if self.whole(kind, frame.get(head..).unwrap_or_default())? {
                            return Ok(Some(frame));
                        }
                    }
                }
                State::Head => {
                    if let Some(piece) = self.begin()? {
                        return Ok(Some(piece));
                    }
                }
            }
        }
        Ok(None)
    }

    /// The stream has ended. The end of a critical stream is h3's to judge.
    pub(crate) fn end(&self) -> Result<(), Fault> {
        let within = match self.state {
            State::Head => !self.held.is_empty(),
            State::Data(left) | State::Unknown(left) => left > 0,
            State::Whole { .. } => true,
            State::Foreign => false,
        };
        match self.place {
            // RFC 9114 section 7.1.
            Place::Message { .. } if within => Err(malformed("a stream that ends within a frame")),
            // h3 would end the connection.
            Place::Message { role: Role::Client, progress: Progress::Nothing, .. } if self.is_ours() => {
                Err(Fault::Message("a stream that ends before its response"))
            }
            _ => Ok(()),
        }
    }

    const fn is_ours(&self) -> bool {
        !matches!(self.state, State::Foreign)
    }

    /// Reads type and length of a frame.
    fn begin(&mut self) -> Result<Option<Bytes>, Fault> {
        let (kind, len, head) = if self.held.is_empty() {
            match self.read(&self.input) {
                Some(read) => read,
                None => {
                    // At most 15 bytes.
                    self.held.extend_from_slice(&std::mem::take(&mut self.input));
                    return Ok(None);
                }
            }
        } else {
            loop {
                if let Some(read) = self.read(&self.held) {
                    break read;
                }
                if self.input.is_empty() {
                    return Ok(None);
                }
                self.held.extend_from_slice(&self.input.split_to(1));
            }
        };
        if kind == WEBTRANSPORT && matches!(self.place, Place::Message { progress: Progress::Nothing, .. }) {
            // h3 knows whether there are such streams.
            self.state = State::Foreign;
            return Ok((!self.held.is_empty()).then(|| self.held.split().freeze()));
        }
        match self.treatment(kind, len)? {
            Treatment::Data => {
                self.state = State::Data(len);
                if self.held.is_empty() {
                    self.held.extend_from_slice(&self.input.split_to(head));
                }
                Ok(Some(self.held.split().freeze()))
            }
            Treatment::Unknown => {
                self.state = State::Unknown(len);
                if self.held.is_empty() {
                    self.input.advance(head);
                }
                self.held.clear();
                Ok(None)
            }
            Treatment::Whole => {
                // Within the limits it fits.
                let len = usize::try_from(len).unwrap_or(usize::MAX).saturating_add(head);
                if self.held.is_empty() && self.input.len() >= len {
                    let frame = self.input.split_to(len);
                    return Ok(self.whole(kind, frame.get(head..).unwrap_or_default())?.then_some(frame));
                }
                self.state = State::Whole { kind, head, len };
                if self.held.len() == len {
                    let frame = self.held.split().freeze();
                    self.state = State::Head;
                    return Ok(self.whole(kind, frame.get(head..).unwrap_or_default())?.then_some(frame));
                }
                Ok(None)
            }
        }
    }

    /// Type and length of a frame, and how many bytes they are.
    fn read(&self, bytes: &[u8]) -> Option<(u64, u64, usize)> {
        let mut reader = Reader::new(bytes);
        let kind = reader.varint().ok()?;
        let len = if kind == WEBTRANSPORT { 0 } else { reader.varint().ok()? };
        Some((kind, len, bytes.len() - reader.remaining()))
    }

    /// Whether a frame may come here (RFC 9114 table 1).
    fn treatment(&mut self, kind: u64, len: u64) -> Result<Treatment, Fault> {
        // Types of HTTP/2 are reserved (RFC 9114 section 7.2.8).
        let http2 = matches!(kind, 0x2 | 0x6 | 0x8 | 0x9);
        match &self.place {
            Place::Message { role, progress, max } => match kind {
                // h3 takes an empty one for the end of the body.
                DATA if *progress == Progress::Body && len == 0 => Ok(Treatment::Unknown),
                DATA if *progress == Progress::Body => Ok(Treatment::Data),
                HEADERS if *progress == Progress::Trailers => Err(unexpected("HEADERS after trailers")),
                HEADERS if len > *max => Err(Fault::Connection(Code::H3_EXCESSIVE_LOAD, "a field section too large")),
                HEADERS => Ok(Treatment::Whole),
                // We allow no push (RFC 9114 section 7.2.5).
                PUSH_PROMISE if *role == Role::Client => {
                    Err(Fault::Connection(Code::H3_ID_ERROR, "a push that was not allowed"))
                }
                DATA => Err(unexpected("DATA where there is no body")),
                CANCEL_PUSH | SETTINGS | PUSH_PROMISE | GOAWAY | MAX_PUSH_ID => {
                    Err(unexpected("a frame that does not belong on a request stream"))
                }
                _ if http2 => Err(unexpected("a frame of HTTP/2")),
                _ => Ok(Treatment::Unknown),
            },
            Place::Control { role, settings, .. } => match kind {
                SETTINGS if *settings => Err(unexpected("SETTINGS twice")),
                SETTINGS if len > MAX_SETTINGS => Err(Fault::Connection(Code::H3_EXCESSIVE_LOAD, "SETTINGS too large")),
                SETTINGS => Ok(Treatment::Whole),
                _ if !settings => Err(Fault::Connection(Code::H3_MISSING_SETTINGS, "a frame before SETTINGS")),
                MAX_PUSH_ID if *role == Role::Client => Err(unexpected("MAX_PUSH_ID of a server")),
                CANCEL_PUSH | GOAWAY | MAX_PUSH_ID if len > 8 => Err(malformed("a frame longer than its ID")),
                CANCEL_PUSH | GOAWAY | MAX_PUSH_ID => Ok(Treatment::Whole),
                DATA | HEADERS | PUSH_PROMISE => Err(unexpected("a frame that does not belong on a control stream")),
                _ if http2 => Err(unexpected("a frame of HTTP/2")),
                _ => Ok(Treatment::Unknown),
            },
        }
    }

    /// Judges a frame that is whole: whether it goes on.
    fn whole(&mut self, kind: u64, payload: &[u8]) -> Result<bool, Fault> {
        match &mut self.place {
            Place::Message { role, progress, .. } => {
                match (*progress, *role) {
                    (Progress::Nothing, Role::Server) => fields::request(payload)?,
                    // h3 takes the first response for the last.
                    (Progress::Nothing, Role::Client) => {
                        if fields::response(payload)? == fields::Response::Interim {
                            return Ok(false);
                        }
                    }
                    (Progress::Body | Progress::Trailers, _) => {
                        fields::trailers(payload)?;
                        *progress = Progress::Trailers;
                        return Ok(true);
                    }
                }
                *progress = Progress::Body;
            }
            Place::Control { settings, max_push_id, .. } => {
                if kind == SETTINGS {
                    *settings = true;
                    return judge_settings(payload).map(|()| true);
                }
                let mut reader = Reader::new(payload);
                let id = reader.varint().map_err(|_| malformed("a frame without its ID"))?;
                if reader.remaining() > 0 {
                    return Err(malformed("a frame longer than its ID"));
                }
                match kind {
                    // Nothing is ever promised, and nothing allowed (RFC 9114 section 7.2.3).
                    CANCEL_PUSH => return Err(Fault::Connection(Code::H3_ID_ERROR, "a push that there is not")),
                    MAX_PUSH_ID if id < *max_push_id => {
                        return Err(Fault::Connection(Code::H3_ID_ERROR, "MAX_PUSH_ID goes down"));
                    }
                    MAX_PUSH_ID => *max_push_id = id,
                    _ => {}
                }
            }
        }
        Ok(true)
    }
}

/// RFC 9114 section 7.2.4.1; RFC 9220 section 3 and RFC 9297 section 2.1.1 for two values.
fn judge_settings(payload: &[u8]) -> Result<(), Fault> {
    const EXTENDED_CONNECT: u64 = 0x8;
    const DATAGRAMS: u64 = 0x33;
    let wrong = |reason| Err(Fault::Connection(Code::H3_SETTINGS_ERROR, reason));
    let mut reader = Reader::new(payload);
    let mut seen = Vec::new();
    while reader.remaining() > 0 {
        let cut = |_| malformed("SETTINGS that end within a setting");
        let (id, value) = (reader.varint().map_err(cut)?, reader.varint().map_err(cut)?);
        if matches!(id, 0 | 2..=5) {
            return wrong("a setting of HTTP/2");
        }
        if matches!(id, EXTENDED_CONNECT | DATAGRAMS) && value > 1 {
            return wrong("a setting that is neither 0 nor 1");
        }
        seen.push(id);
    }
    let count = seen.len();
    seen.sort_unstable();
    seen.dedup();
    if seen.len() < count { wrong("a setting twice") } else { Ok(()) }
}

/// The next bytes of `input`, at most `left`, which they are taken off.
fn take(input: &mut Bytes, left: &mut u64) -> Bytes {
    let len = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
    *left -= len as u64;
    input.split_to(len)
}
