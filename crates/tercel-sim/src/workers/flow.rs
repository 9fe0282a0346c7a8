//! One stream, as the application at one of its ends sees it: what it is to carry, how far it is, and
//! the law of its events.
//!
//! Every check here panics: in a handler, from where the [`Machine`](super::Machine) finds out.

use std::collections::VecDeque;

use bytes::Bytes;
use tercel::{
    ApplicationErrorCode, BytesMut, Direction, Error, FilledBuffer, Receive, Role, SendOptions, Stream, StreamEvent,
    StreamId,
};

use super::ways::{Later, Taking, Ways};

use crate::host::pattern;
use crate::random::Random;

/// The codes that the applications use for streams.
pub(super) const RESET: u32 = 0x21;
pub(super) const STOP: u32 = 0x22;
pub(super) const REFUSE: u32 = 0x23;

/// What the application has in mind with a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// All bytes go and come.
    Whole,
    /// It is reset after so many bytes sent.
    Reset(u64),
    /// After so many bytes received no more are wanted.
    Stop(u64),
}

/// How near the end of the connection is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    /// The application was told that it is over: from then on everything is only wound up.
    pub(super) told: bool,
    /// The application has closed it, or has seen that it must be over.
    pub(super) asked: bool,
}

/// The sending part.
#[derive(Debug, Default)]
struct Out {
    /// How many bytes will be sent in all; `None` as long as they are those that come in.
    len: Option<u64>,
    written: u64,
    /// Sends that are not complete: context and length.
    sends: VecDeque<(u64, u64)>,
    under_way: u64,
    next_context: u64,
    /// Finished, reset, or refused by a call because it is over.
    over: bool,
    canceled: bool,
    /// How it ended, once told.
    shut_down: Option<bool>,
}

/// The receiving part.
#[derive(Debug, Default)]
struct In {
    read: u64,
    /// Received without giving credit for it yet.
    withheld: u64,
    stopped: bool,
    finished: bool,
    aborted: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) id: StreamId,
    pub(super) mine: bool,
    pub(super) fate: Fate,
    window: u64,
    chunk: u64,
    /// Whether credit for what is echoed is given only when the echo has arrived.
    defers: bool,
    started: bool,
    out: Option<Out>,
    input: Option<In>,
    pub(super) over: bool,
    /// If it sends and receives in every way that there is: the choices.
    ways: Option<Ways>,
}

impl Flow {
    /// A stream of this end, which will get this ID.
    pub(super) fn mine(id: StreamId, len: u64, fate: Fate, window: u64, random: &mut Random) -> Self {
        Self { mine: true, ..Self::new(id, Some(len), fate, window, random, true) }
    }

    /// A stream of the other end.
    pub(super) fn theirs(id: StreamId, fate: Fate, window: u64, random: &mut Random) -> Self {
        Self { started: true, ..Self::new(id, None, fate, window, random, false) }
    }

    fn new(id: StreamId, len: Option<u64>, fate: Fate, window: u64, random: &mut Random, mine: bool) -> Self {
        let both = id.direction() == Direction::Bidirectional;
        Self {
            id,
            mine: false,
            fate,
            window,
            chunk: random.one_of(&[700, 5_000, 65_536]),
            // Only at one end: two ends that both wait for their echoes could each fill the connection's
            // window with what the other waits for.
            defers: random.chance(0.5) && id.initiator() == Role::Client,
            started: false,
            out: (both || mine).then(|| Out { len, ..Out::default() }),
            input: (both || !mine).then(In::default),
            over: false,
            ways: None,
        }
    }

    /// The same, and it sends and receives in every way that there is.
    pub(super) fn in_every_way(mut self, random: Random) -> Self {
        self.defers &= self.mine;
        self.ways = Some(Ways::new(random, self.fate == Fate::Whole && self.mine));
        self
    }

    /// Buffers to receive into from the start, if it is such a stream.
    pub(super) fn buffers(&mut self) -> Option<Vec<BytesMut>> {
        self.input.as_ref()?;
        self.ways.as_mut()?.first_buffers()
    }

    /// What its application does a little later.
    pub(super) fn later(&mut self) -> Vec<Later> {
        self.ways.as_mut().map(Ways::take_later).unwrap_or_default()
    }

    /// Sends what there is to send, up to the window.
    pub(super) fn write(&mut self, stream: &Stream) {
        let echo = self.input.as_ref().map_or(0, |input| input.read);
        let Some(out) = &mut self.out else { return };
        while !out.over {
            if let Fate::Reset(at) = self.fate
                && out.written >= at
            {
                out.over = true;
                // Over already if the peer wanted no more, of which the event is still to come.
                let _ = stream.reset(RESET.into());
                return;
            }
            let room = self.window.saturating_sub(out.under_way);
            let there = out.len.unwrap_or(echo) - out.written;
            let wanted = there.min(room).min(self.chunk);
            if wanted == 0 && out.len != Some(out.written) {
                return;
            }
            let data = match wanted {
                0 => Bytes::new(),
                _ => pattern::bytes(self.id, out.written, wanted as usize),
            };
            let len = data.len() as u64;
            let fin = out.len == Some(out.written + len);
            let context = out.next_context;
            let more_follows = wanted < there.min(room);
            let options = SendOptions { fin, context: Some(context), ..SendOptions::default() };
            let options = self.ways.as_mut().map_or(options, |ways| ways.send_options(options, more_follows));
            match stream.send_with(data, options) {
                Ok(()) => {
                    out.next_context += 1;
                    out.written += len;
                    out.under_way += len;
                    out.sends.push_back((context, len));
                    out.over = fin;
                }
                Err(Error::Misuse(_) | Error::Closed | Error::ConnectionClosed(_)) => out.over = true,
                Err(error) => panic!("{:?}: a send failed with {error}", self.id),
            }
        }
    }

    /// What the stream's handler hears.
    ///
    /// # Panics
    /// If it must not hear it now.
    pub(super) fn event(&mut self, stream: &Stream, event: StreamEvent<'_>, ends: Ends) {
        let id = self.id;
        assert!(!self.over, "{id:?}: {event:?} after the last event");
        let winds_up = matches!(
            event,
            StreamEvent::Started(Err(_))
                | StreamEvent::SendComplete { canceled: true, .. }
                | StreamEvent::SendShutdownComplete { graceful: false }
                | StreamEvent::ShutdownComplete
        );
        assert!(!ends.told || winds_up, "{id:?}: {event:?} although the connection is over");
        match event {
            StreamEvent::Started(_) => assert!(!self.started, "{id:?} starts twice"),
            // A reset that did not wait for the start.
            StreamEvent::SendComplete { canceled: true, .. } => {}
            _ => assert!(self.started, "{id:?}: {event:?} before its start"),
        }
        match event {
            StreamEvent::Started(result) => {
                self.started = true;
                match result {
                    Ok(started) => assert_eq!(started, id, "streams start in the order in which they were opened"),
                    Err(_) => {
                        assert!(ends.told || ends.asked, "{id:?} does not start on a connection that is not over")
                    }
                }
                self.write(stream);
            }
            StreamEvent::Receive(receive) => self.receive(stream, receive),
            StreamEvent::ReceiveBuffer(filled) => self.receive_buffer(stream, filled),
            StreamEvent::ReceiveBufferNeeded => {
                self.ways.as_mut().unwrap_or_else(|| panic!("{id:?} needs no buffers")).need_buffers(stream);
            }
            StreamEvent::CanceledByLoss(code) => {
                let cancels = self.ways.as_ref().is_some_and(|ways| ways.cancels);
                assert!(cancels, "{id:?} is not given up for a loss");
                *code = RESET.into();
                (self.out().over, self.out().canceled) = (true, true);
            }
            StreamEvent::PeerSendShutdown => {
                self.input().finished(id);
                self.ended(stream);
            }
            StreamEvent::PeerSendAborted(code) => {
                let input = self.input();
                assert!(!input.stopped && !input.finished && !input.aborted, "{id:?}: aborted after {input:?}");
                assert!([RESET, STOP, REFUSE, 0].map(ApplicationErrorCode::from).contains(&code), "{id:?}: {code}");
                input.aborted = true;
                // There will be no more to echo.
                if self.out.as_ref().is_some_and(|out| !out.over) {
                    let _ = stream.reset(code);
                    self.out().over = true;
                }
            }
            StreamEvent::PeerReceiveAborted(code) => {
                assert!([STOP, REFUSE, 0].map(ApplicationErrorCode::from).contains(&code), "{id:?}: {code}");
                (self.out().over, self.out().canceled) = (true, true);
                // What will not be echoed may nevertheless go on coming.
                self.give_credit(stream, u64::MAX);
            }
            StreamEvent::SendComplete { context, canceled } => {
                let out = self.out();
                let Some((expected, len)) = out.sends.pop_front() else { panic!("{id:?}: {context} was not open") };
                assert_eq!(context, expected, "{id:?}: sends complete in order, each once");
                assert!(out.shut_down.is_none(), "{id:?}: a send completes after the sending part is done");
                out.under_way -= len;
                out.canceled |= canceled;
                self.give_credit(stream, len);
                self.write(stream);
            }
            StreamEvent::SendShutdownComplete { graceful } => {
                let out = self.out();
                assert!(out.shut_down.is_none() && out.sends.is_empty(), "{id:?}: {out:?} shuts down");
                assert!(!(graceful && out.canceled), "{id:?}: {out:?} is no graceful end");
                out.shut_down = Some(graceful);
                out.over = true;
            }
            StreamEvent::ShutdownComplete => {
                self.over = true;
                let unfinished = self.out.as_ref().is_some_and(|out| out.shut_down.is_none() || !out.sends.is_empty());
                assert!(!unfinished, "{id:?} has ended, but not its sending part: {:?}", self.out);
            }
            _ => {}
        }
    }

    fn out(&mut self) -> &mut Out {
        self.out.as_mut().unwrap_or_else(|| panic!("an event of the sending part of {:?}, which has none", self.id))
    }

    fn input(&mut self) -> &mut In {
        self.input.as_mut().unwrap_or_else(|| panic!("an event of the receiving part of {:?}, which has none", self.id))
    }

    /// The end of a stream whose data came into buffers, of which no other event tells.
    fn ended(&mut self, stream: &Stream) {
        let read = self.input().read;
        if let Some(out) = self.out.as_mut().filter(|out| !self.mine && !out.over && out.len.is_none()) {
            out.len = Some(read);
            self.write(stream);
        }
    }

    fn receive_buffer(&mut self, stream: &Stream, filled: FilledBuffer) {
        let id = self.id;
        let used_up = filled.is_used_up();
        let input = self.input();
        assert!(!input.stopped && !input.finished && !input.aborted, "{id:?}: data after {input:?}");
        assert_eq!(filled.offset(), input.read, "{id:?}: data out of order");
        assert!(!filled.data().is_empty() && pattern::matches(id, input.read, filled.data()), "{id:?}: wrong bytes");
        input.read += filled.data().len() as u64;
        let read = input.read;
        if let Some(ways) = &mut self.ways {
            ways.filled(stream, used_up);
        }
        self.stop_if_enough(stream, read);
        self.write(stream);
    }

    fn stop_if_enough(&mut self, stream: &Stream, read: u64) {
        if let Fate::Stop(at) = self.fate
            && read >= at
        {
            let echoes = self.out.as_ref().is_some_and(|out| !self.mine && !out.over);
            // Refused if the peer has aborted it, of which the event is still to come.
            self.input().stopped = stream.stop_sending(STOP.into()).is_ok();
            if echoes {
                self.out().over = true;
                let _ = stream.reset(STOP.into());
            }
        }
    }

    fn receive(&mut self, stream: &Stream, mut receive: Receive<'_>) {
        assert!(!receive.is_empty() || receive.fin(), "{:?}: nothing was received", self.id);
        let taking = self.ways.as_mut().map_or(Taking::Whole, |ways| ways.answer(stream, &mut receive));
        let (id, mut len, mut fin) = (self.id, receive.len() as u64, receive.fin());
        let echoes = self.out.as_ref().is_some_and(|out| !self.mine && !out.over);
        let defers = self.defers && echoes;
        let input = self.input();
        assert!(!input.stopped && !input.finished && !input.aborted, "{id:?}: data after {input:?}");
        assert_eq!(receive.offset(), input.read, "{id:?}: data out of order");
        let (offset, mut checked) = (input.read, input.read);
        for chunk in receive.take() {
            assert!(pattern::matches(id, checked, &chunk), "{id:?}: wrong bytes at {checked}");
            checked += chunk.len() as u64;
        }
        assert_eq!(receive.offset() + len, checked, "{id:?}: the length is not that of the pieces");
        if let Taking::Part(accepted) = taking {
            // The rest comes again.
            fin &= accepted == len;
            len = accepted;
        }
        input.read = offset + len;
        if defers {
            input.withheld += len;
            receive.defer();
        }
        let read = input.read;
        if !fin {
            self.stop_if_enough(stream, read);
        }
        if fin && echoes {
            self.out().len = Some(read);
        }
        self.write(stream);
    }

    /// What was echoed has arrived: the peer may send as much anew.
    fn give_credit(&mut self, stream: &Stream, len: u64) {
        let Some(input) = self.input.as_mut().filter(|_| !self.mine) else { return };
        let len = len.min(input.withheld);
        if len > 0 {
            input.withheld -= len;
            stream.consumed(len);
        }
    }

    /// Whether it is over with all that it was to carry: judged at its end, on a connection that goes
    /// on.
    ///
    /// # Panics
    /// If something is missing that nobody gave up.
    pub(super) fn check_end(&self) {
        let out_given_up = self.out.as_ref().is_some_and(|out| out.canceled || out.shut_down == Some(false));
        let in_given_up = self.input.as_ref().is_some_and(|input| input.aborted || input.stopped);
        if let Some(out) = &self.out {
            let whole = out.shut_down == Some(true) && out.len == Some(out.written) && out.sends.is_empty();
            assert!(whole || out_given_up || in_given_up, "{:?} ended before all was delivered: {out:?}", self.id);
        }
        if let Some(input) = &self.input {
            assert!(input.finished || in_given_up, "{:?} ended before all was read: {input:?}", self.id);
        }
        if let (Some(out), Some(input)) = (&self.out, &self.input)
            && !out_given_up
            && !in_given_up
        {
            assert_eq!(Some(input.read), out.len, "{:?}: the echo has another length", self.id);
        }
    }
}

impl In {
    fn finished(&mut self, id: StreamId) {
        assert!(!self.stopped && !self.finished && !self.aborted, "{id:?}: finished after {self:?}");
        self.finished = true;
    }
}
