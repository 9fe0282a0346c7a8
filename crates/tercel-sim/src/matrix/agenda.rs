//! The director's agenda: what is to be done when, as soon as it is known.

use std::collections::BTreeMap;
use std::time::Duration;

use tercel::{Role, Time};

use super::cells::{Answer, Cell, Close, Order};
use crate::world::START;

/// The way takes so long.
pub(super) const ONE_WAY: Duration = Duration::from_millis(20);
/// From the question to the verdict.
const THINKING: Duration = Duration::from_millis(60);
/// The time for the handshake where the cell is about it, and how long after it a late verdict comes.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(3);
const AFTER_HANDSHAKE: Duration = Duration::from_millis(500);
/// When a verdict comes after an idle timeout.
const AFTER_IDLE: Duration = Duration::from_secs(20);
/// When the client closes that has everything.
const LONG_AFTER: Duration = Duration::from_secs(8);

/// What the director does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    Answer,
    Close,
    /// The verdict and the close by two calls, one right after the other.
    CloseThenAnswer,
    AnswerThenClose,
    /// The worker has its turn between the two calls.
    AnswerTurnClose,
    /// The other end's application closes, or its transport, or it loses its state.
    PeerCloses,
    /// A stateless reset reaches the judging end.
    Reset,
    Cut,
    /// The client has everything and closes.
    Done,
}

/// What is known of the run so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    /// The time.
    pub(super) now: Time,
    /// Since when the judging end has its connection.
    pub(super) began: Option<Time>,
    /// Since when the other end has.
    pub(super) other_began: Option<Time>,
    /// When the judging end was asked (where nothing is asked: when it was connected).
    pub(super) question: Option<Time>,
    /// Whether it was told of its end.
    pub(super) told: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Agenda {
    cell: Cell,
    /// When, whether behind what arrives at that instant, and in which order.
    deeds: BTreeMap<(Time, bool, usize), Deed>,
    count: usize,
    planned_start: bool,
    planned_rest: bool,
    planned_after: bool,
}

impl Agenda {
    /// Of a cell; nothing is known yet.
    pub(super) fn new(cell: Cell) -> Self {
        let (planned_start, planned_rest, planned_after) = (false, false, false);
        Self { cell, deeds: BTreeMap::new(), count: 0, planned_start, planned_rest, planned_after }
    }

    fn add(&mut self, at: Time, before_arrivals: bool, deed: Deed) {
        self.count += 1;
        self.deeds.insert((at, !before_arrivals, self.count), deed);
    }

    /// Until when the world may go on before the next deed.
    pub(super) fn until(&self) -> Option<Time> {
        let (&(at, behind, _), _) = self.deeds.first_key_value()?;
        Some(if behind { at } else { Time::from_nanos(at.as_nanos() - 1) })
    }

    /// The next deed, and when it is due.
    pub(super) fn pop(&mut self) -> Option<(Time, Deed)> {
        self.deeds.pop_first().map(|((at, ..), deed)| (at, deed))
    }

    /// Puts down what is now known to be due.
    pub(super) fn plan(&mut self, known: &Known) {
        let closer = if self.cell.close.is_peers() { known.other_began } else { known.began };
        if !self.planned_start
            && let Some(began) = closer
        {
            self.planned_start = true;
            self.plan_start(began);
        }
        if !self.planned_rest
            && let Some(question) = known.question
        {
            self.planned_rest = true;
            self.plan_close(question);
            self.plan_answer(question, known.began, known.other_began);
        }
        let after = self.cell.close.is_timeout() && self.cell.order == Order::CloseFirst;
        if known.told && after && !self.planned_after {
            self.planned_after = true;
            self.add(known.now, false, Deed::Answer);
        }
    }

    /// What is timed by the connection's beginning.
    fn plan_start(&mut self, began: Time) {
        let Cell { close, order, .. } = self.cell;
        if close == Close::None || close.is_timeout() {
            self.add(START + LONG_AFTER, false, Deed::Done);
        }
        let at = match order {
            Order::Start => began,
            Order::Midway => began + ONE_WAY / 2,
            _ => return,
        };
        match close {
            // Done by the application itself, in the very call.
            Close::PeerApplication if order == Order::Start => {}
            _ if close.is_call() && order == Order::Start => {}
            _ if close.is_call() => self.add(at, false, Deed::Close),
            Close::Idle => self.add(at, false, Deed::Cut),
            // It has to send something first by which others know it.
            Close::PeerTransport => self.plan_peers(at + Duration::from_micros(1)),
            _ if close.is_peers() => self.plan_peers(at),
            _ => {}
        }
    }

    fn plan_peers(&mut self, at: Time) {
        self.add(at, true, Deed::PeerCloses);
        if self.cell.close == Close::StatelessReset {
            self.add(at + ONE_WAY, false, Deed::Reset);
        }
    }

    /// Whether a timeout ends the connection: not the other end's if that is a client, which is complete.
    fn tells_timeout(&self) -> bool {
        self.cell.close == Close::HandshakeTimeout || self.cell.judge.role() == Role::Client
    }

    fn plan_answer(&mut self, asked: Time, began: Option<Time>, other_began: Option<Time>) {
        let Cell { answer, close, order, .. } = self.cell;
        if answer == Answer::Never {
            return;
        }
        let expires = match close {
            Close::HandshakeTimeout => began.map(|began| began + HANDSHAKE),
            Close::PeerHandshakeTimeout => other_began.map(|began| began + HANDSHAKE + ONE_WAY),
            _ => None,
        };
        let usual = asked + THINKING;
        match (close, order, expires) {
            (Close::None, Order::Answered, _) => {}
            (_, Order::Earlier, Some(expires)) => self.add(expires + AFTER_HANDSHAKE, false, Deed::Answer),
            // As soon as the application is told; see `plan`.
            (_, Order::CloseFirst, Some(_)) if self.tells_timeout() => {}
            (_, Order::VerdictFirst, Some(expires)) => self.add(expires, true, Deed::Answer),
            (Close::Idle, Order::Earlier, _) => self.add(asked + AFTER_IDLE, false, Deed::Answer),
            (_, Order::CloseFirst, _) if close.is_call() => self.add(usual, false, Deed::CloseThenAnswer),
            (_, Order::VerdictFirst, _) if close.is_call() => self.add(usual, false, Deed::AnswerThenClose),
            (_, Order::VerdictFlushed, _) if close.is_call() => self.add(usual, false, Deed::AnswerTurnClose),
            (_, Order::VerdictFirst | Order::VerdictFlushed, _) => self.add(usual, true, Deed::Answer),
            (Close::Application | Close::Silent | Close::HandleDropped, Order::Asked | Order::Answered, _) => {}
            (_, Order::Answered, _) => {}
            _ => self.add(usual, false, Deed::Answer),
        }
    }

    /// When the close takes effect that is timed by the question (without one: by Connected).
    fn plan_close(&mut self, question: Time) {
        let Cell { close, order, .. } = self.cell;
        let gated = self.cell.kind.is_gated();
        let thinking = if gated { THINKING } else { Duration::ZERO };
        let after = match order {
            Order::Start | Order::Midway => return,
            // Done in the callback.
            Order::Asked | Order::Answered if close.is_call() => return,
            Order::Asked if !gated && close == Close::PeerApplication => return,
            Order::Asked | Order::Answered => Duration::ZERO,
            Order::Earlier if close == Close::Idle => Duration::ZERO,
            Order::Earlier => thinking / 2,
            Order::CloseFirst | Order::VerdictFirst | Order::VerdictFlushed if close.is_call() => return,
            Order::CloseFirst | Order::VerdictFirst | Order::VerdictFlushed => thinking,
            Order::Soon => thinking + ONE_WAY / 2,
            Order::Late => thinking + 5 * ONE_WAY,
        };
        let at = question + after;
        match close {
            Close::Idle => self.add(at, order == Order::CloseFirst, Deed::Cut),
            _ if close.is_call() => self.add(at, false, Deed::Close),
            // It begins at the other end, so that it arrives at its time.
            _ if close.is_peers() => {
                let begins = if after < ONE_WAY || !gated { at } else { question + (after - ONE_WAY) };
                self.plan_peers(begins);
            }
            _ => {}
        }
    }
}
