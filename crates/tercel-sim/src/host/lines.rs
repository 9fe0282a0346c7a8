//! One stream of a [`Peer`](super::Peer): what it is to carry, and how far it is.

use tercel_proto::connection::{Connection, Read};
use tercel_proto::time::Time;
use tercel_wire::{Direction, Role, StreamId};

use super::pattern;

/// Codes that the simulated applications use.
pub(super) const RESET: u32 = 0x21;
pub(super) const STOP: u32 = 0x22;
/// The code of a reset that delivers so many bytes is so much larger.
const RESET_AT: u32 = 1 << 24;

/// What a stream's opener has in mind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// All bytes go and come.
    Whole,
    /// It is reset after so many bytes.
    Reset(u64),
    /// It is reset after so many bytes, and so many of these are delivered.
    ResetAt(u64, u64),
    /// After so many bytes of the answer no more are wanted.
    Stop(u64),
}

/// The sending part.
#[derive(Debug)]
pub(super) struct Out {
    /// How many bytes will be sent in all; `None` as long as they are those that come in.
    pub(super) len: Option<u64>,
    pub(super) written: u64,
    pub(super) acked: u64,
    /// Whether nothing more is to be written: finished, reset or stopped.
    pub(super) over: bool,
    /// Whether the end was acknowledged.
    pub(super) delivered: bool,
}

/// The receiving part.
#[derive(Debug)]
pub(super) struct In {
    pub(super) read: u64,
    /// Whether nothing more is to be read.
    pub(super) over: bool,
    /// Whether it came to its proper end.
    pub(super) finished: bool,
}

/// A stream.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) id: StreamId,
    pub(super) mine: bool,
    pub(super) fate: Fate,
    pub(super) stopped: bool,
    pub(super) out: Option<Out>,
    pub(super) input: Option<In>,
}

impl Line {
    pub(super) fn mine(id: StreamId, len: u64, fate: Fate) -> Self {
        Self { mine: true, fate, ..Self::new(id, Some(len), true) }
    }

    pub(super) fn theirs(id: StreamId) -> Self {
        Self::new(id, None, false)
    }

    fn new(id: StreamId, len: Option<u64>, mine: bool) -> Self {
        let both = id.direction() == Direction::Bidirectional;
        let out = Out { len, written: 0, acked: 0, over: false, delivered: false };
        let input = In { read: 0, over: false, finished: false };
        Self {
            id,
            mine,
            fate: Fate::Whole,
            stopped: false,
            out: (both || mine).then_some(out),
            input: (both || !mine).then_some(input),
        }
    }

    /// Queues what there is to send, up to `window` bytes that are not acknowledged. Says whether
    /// anything was done.
    pub(super) fn write(&mut self, connection: &mut Connection, window: u64, chunk: usize) -> bool {
        let echo = self.input.as_ref().map_or(0, |input| input.read);
        let Some(out) = &mut self.out else { return false };
        let mut busy = false;
        while !out.over {
            if let Fate::Reset(at) = self.fate
                && out.written >= at
            {
                out.over = true;
                assert_eq!(connection.reset(self.id, RESET.into()), Ok(()));
                return true;
            }
            if let Fate::ResetAt(at, reliable) = self.fate
                && out.written >= at
            {
                out.over = true;
                // The code tells the other end what it must have got by then.
                let code = RESET_AT + reliable as u32;
                assert_eq!(connection.reset_at(self.id, code.into(), reliable), Ok(()));
                return true;
            }
            let room = window.saturating_sub(out.written - out.acked);
            let there = out.len.unwrap_or(echo) - out.written;
            let wanted = there.min(room).min(chunk as u64);
            let last = |written| out.len == Some(written);
            if wanted == 0 && !last(out.written) {
                break;
            }
            let data = match wanted {
                0 => bytes::Bytes::new(),
                _ => pattern::bytes(self.id, out.written, wanted as usize),
            };
            out.written += data.len() as u64;
            let fin = last(out.written);
            assert_eq!(connection.send(self.id, data, fin), Ok(()), "{:?}", self.id);
            out.over = fin;
            busy = true;
        }
        busy
    }

    /// Reads up to `most` bytes, while what is echoed does not pile up beyond `window`. Says whether
    /// anything was done.
    pub(super) fn read(&mut self, now: Time, connection: &mut Connection, window: u64, most: usize) -> bool {
        let Some(input) = &mut self.input else { return false };
        let (mut busy, mut left) = (false, most);
        while !input.over && left > 0 {
            if let Fate::Stop(at) = self.fate
                && input.read >= at
            {
                input.over = true;
                assert_eq!(connection.stop_sending(self.id, STOP.into()), Ok(()));
                // There will be nothing more to echo.
                if let Some(out) = self.out.as_mut().filter(|out| out.len.is_none() && !out.over) {
                    out.over = true;
                    assert_eq!(connection.reset(self.id, STOP.into()), Ok(()));
                }
                return true;
            }
            // Only at one end: two ends that read no more before the other has read could each fill the
            // connection's window with what the other will not read.
            let holds_back = !self.mine && self.id.initiator() == Role::Client;
            let echoed = self.out.as_ref().filter(|out| holds_back && !out.over);
            let piled = echoed.map_or(0, |out| input.read - out.acked);
            if piled >= window {
                break;
            }
            match connection.read(self.id, left) {
                Ok(Read::Data(data)) => {
                    assert!(!data.is_empty() && data.len() <= left, "{} bytes read of {left}", data.len());
                    assert!(pattern::matches(self.id, input.read, &data), "{:?}: wrong bytes", self.id);
                    input.read += data.len() as u64;
                    left -= data.len();
                    connection.consumed(now, self.id, data.len() as u64);
                }
                Ok(Read::Blocked) => break,
                Ok(Read::Finished) => {
                    (input.over, input.finished) = (true, true);
                    if let Some(out) = &mut self.out {
                        out.len.get_or_insert(input.read);
                    }
                }
                Ok(Read::Reset(code)) => {
                    input.over = true;
                    let promised = u64::from(code).saturating_sub(RESET_AT.into());
                    assert!(self.mine || input.read >= promised, "{:?}: {} bytes of {promised}", self.id, input.read);
                    self.stopped |= code == STOP.into();
                    if let Some(out) = self.out.as_mut().filter(|out| !out.over) {
                        out.over = true;
                        assert_eq!(connection.reset(self.id, code), Ok(()));
                    }
                }
                Err(error) => panic!("{:?} cannot be read: {error}", self.id),
            }
            busy = true;
        }
        busy
    }

    /// The stream is closed: checks that all is as it was meant.
    pub(super) fn check_end(&self) {
        if !self.mine || self.fate != Fate::Whole || self.stopped {
            return;
        }
        if let Some(out) = &self.out {
            assert!(out.delivered, "{:?} was closed before all was delivered: {out:?}", self.id);
        }
        if let (Some(input), Some(out)) = (&self.input, &self.out) {
            assert!(input.finished, "{:?} was closed before all was read: {input:?}", self.id);
            assert_eq!(Some(input.read), out.len, "{:?}: the echo has another length", self.id);
        }
    }
}
