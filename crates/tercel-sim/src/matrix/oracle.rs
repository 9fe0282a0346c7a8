//! What must come of a cell on a faultless network, written from the text of VERDICT.md (sections 1
//! to 4), not from the code.
//!
//! Each end hears of the end in one of the ways listed, is connected or not (`None`: what the text
//! leaves open), and the verdict was in time or not.

use tercel::{CloseReason, Role, TransportErrorCode};

use super::cells::{Answer, Cell, Close, Fault, Judge, Kind, Order};
use super::side::{CODE, DONE, PEER_CODE};

/// How an end hears of the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Heard {
    /// Its own application closed with this code.
    Called(u64),
    /// The peer's application did, as its transport tells.
    Told(u64),
    /// APPLICATION_ERROR, which stands in for such a code.
    StandIn,
    /// It refused the peer.
    Refused(u64),
    /// It was refused, with this alert.
    Alert(u64),
    /// It left without a word.
    Silent,
    /// It heard nothing for too long.
    Idle,
    /// The handshake took too long.
    Timeout,
    /// It took the peer too long.
    PeerTimeout,
    /// The peer broke a rule.
    Violation,
    /// The peer says that it broke a rule.
    PeerViolation,
    /// The peer lost its state.
    Reset,
    /// There never was a connection.
    Nothing,
    /// It lost its state itself, and what it heard is of no interest.
    Vanished,
    /// Something that must never come.
    Else,
}

impl Heard {
    /// How `reason` sounds here.
    pub fn of(reason: &CloseReason) -> Self {
        const CRYPTO: u64 = 0x100;
        match reason {
            CloseReason::LocalApplication { code } => Self::Called((*code).into()),
            CloseReason::PeerApplication { code, .. } => Self::Told((*code).into()),
            CloseReason::PeerTransport { code, .. } => match *code {
                TransportErrorCode::APPLICATION_ERROR => Self::StandIn,
                TransportErrorCode::NO_ERROR => Self::PeerTimeout,
                TransportErrorCode::FRAME_ENCODING_ERROR => Self::PeerViolation,
                code if (CRYPTO..CRYPTO + 0x100).contains(&code.0) => Self::Alert(code.0 - CRYPTO),
                _ => Self::Else,
            },
            CloseReason::Violation(violation) if violation.code == TransportErrorCode::FRAME_ENCODING_ERROR => {
                Self::Violation
            }
            CloseReason::Refused { code } => Self::Refused(code.0.wrapping_sub(CRYPTO)),
            CloseReason::StatelessReset => Self::Reset,
            CloseReason::IdleTimeout => Self::Idle,
            CloseReason::HandshakeTimeout => Self::Timeout,
            CloseReason::Silent => Self::Silent,
            _ => Self::Else,
        }
    }

    /// Whether the other end told it.
    pub const fn is_told(self) -> bool {
        matches!(
            self,
            Self::Told(_) | Self::StandIn | Self::Alert(_) | Self::PeerTimeout | Self::PeerViolation | Self::Reset
        )
    }
}

/// What an end must come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// In one of these ways.
    pub heard: Vec<Heard>,
    /// Whether Connected came.
    pub connected: Option<bool>,
}

/// What must come of a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Whether the verdict was in time: `Some(None)` if it was never given, `None` if that is open.
    pub verdict: Option<Option<bool>>,
    /// The judging end.
    pub judging: End,
    /// The other.
    pub other: End,
}

fn end(heard: &[Heard], connected: impl Into<Option<bool>>) -> End {
    End { heard: heard.to_vec(), connected: connected.into() }
}

/// The codes of CRYPTO_ERROR by which a verdict refuses (section 2: a dropped token says
/// certificate_unknown).
const fn alert(answer: Answer) -> u64 {
    match answer {
        Answer::Drop => 46,
        _ => 42,
    }
}

impl Expected {
    /// What must come of `cell`, its fault aside.
    pub fn of(cell: &Cell) -> Self {
        if !cell.kind.is_gated() {
            return ungated(cell);
        }
        // When nothing is known of the question: before it there is no verdict.
        let early = matches!(cell.order, Order::Start | Order::Midway);
        match verdict_counts(cell) {
            Some(true) => after_verdict(cell),
            Some(false) => without_verdict(cell, if early { None } else { Some(too_late(cell)) }),
            None => Self::first_of_both(cell),
        }
    }
}

impl Expected {
    /// The same on a network that has the cell's fault, which has `hit` a close of this end: what was to
    /// be heard may then come in its place, and what was to be completed may be late.
    pub fn under(mut self, cell: &Cell, hit: Option<Role>) -> Self {
        if cell.fault == Fault::None {
            return self;
        }
        let judging = cell.judge.role();
        let gated = cell.kind.is_gated();
        if gated && cell.answer != Answer::Never && self.verdict != Some(Some(true)) && hit == Some(judging.peer()) {
            // The verdict was given before the close came.
            self = Self::first_of_both(cell);
        }
        if cell.close == Close::StatelessReset {
            // It came before it could be recognised.
            let both = if gated && cell.answer != Answer::Never { Self::first_of_both(cell) } else { self };
            self = Self { verdict: None, ..both };
            self.judging.heard.extend([Heard::Idle, Heard::Timeout]);
        }
        let lost = hit.filter(|_| matches!(cell.fault, Fault::Lost(..)));
        for (role, end) in [(judging, &mut self.judging), (judging.peer(), &mut self.other)] {
            end.soften(cell, role, lost);
            // Without a yes there is no Connected, whatever the network does.
            if end.connected == Some(true) || role != judging {
                end.connected = None;
            }
        }
        self
    }

    fn first_of_both(cell: &Cell) -> Self {
        let (one, other) = (after_verdict(cell), without_verdict(cell, None));
        Self { verdict: None, judging: either(one.judging, other.judging), other: either(one.other, other.other) }
    }
}

impl End {
    /// What else the end with this role may hear when the network has a fault, which has `lost` a close.
    fn soften(&mut self, cell: &Cell, role: Role, lost: Option<Role>) {
        let hears = |is: &dyn Fn(&Heard) -> bool| self.heard.iter().any(is);
        let mut more = Vec::new();
        // The application's own code can be read only by who has all of the handshake.
        if hears(&|heard| matches!(heard, Heard::Told(_))) {
            more.push(Heard::StandIn);
        }
        // Which of the two timers goes off is a matter of how far the handshake came.
        if hears(&|heard| matches!(heard, Heard::Idle | Heard::Timeout)) {
            more.extend([Heard::Idle, Heard::Timeout]);
        }
        // Who was not told learns it by his own timers, or by a reset when he speaks again.
        if hears(&|heard| heard.is_told()) && lost == Some(role.peer()) {
            more.extend([Heard::Idle, Heard::Timeout, Heard::Reset]);
        }
        // A refusal comes too late to who closes on his own.
        if hears(&|heard| matches!(heard, Heard::Alert(_))) && cell.order == Order::Late {
            match cell.close {
                Close::PeerApplication => more.push(Heard::Called(PEER_CODE.into())),
                Close::PeerTransport => more.push(Heard::Violation),
                _ => {}
            }
        }
        // What begins a connection may come too late.
        if role == Role::Server && matches!(cell.order, Order::Start | Order::Midway) {
            more.push(Heard::Nothing);
        }
        self.heard.extend(more);
    }
}

fn either(one: End, other: End) -> End {
    let connected = if one.connected == other.connected { one.connected } else { None };
    End { heard: [one.heard, other.heard].concat(), connected }
}

const fn too_late(cell: &Cell) -> Option<bool> {
    match cell.answer {
        Answer::Never => None,
        _ => Some(false),
    }
}

/// Whether the other end is a client, which is complete before its server judges it.
fn other_is_client(cell: &Cell) -> bool {
    cell.judge.role() == Role::Server
}

/// Whether the judging end's verdict comes before anything has ended the connection there; `None` if
/// both come at the same instant from places that have no order (a call and the network, or a timer).
fn verdict_counts(cell: &Cell) -> Option<bool> {
    let Cell { answer, close, order, .. } = *cell;
    if answer == Answer::Never {
        return Some(false);
    }
    match close {
        Close::None => Some(true),
        // A client that has Finished has no handshake that could take too long.
        Close::PeerHandshakeTimeout if other_is_client(cell) => Some(true),
        Close::HandshakeTimeout | Close::PeerHandshakeTimeout if order == Order::VerdictFirst => None,
        // It learns of the cut only by its timeout.
        Close::Idle => Some(!matches!(order, Order::Start | Order::Midway | Order::Earlier)),
        // A server knows no reset token of its client that it could recognise.
        Close::StatelessReset if other_is_client(cell) => Some(!matches!(order, Order::Start | Order::Midway)),
        _ if close.is_peers() && order == Order::VerdictFirst => None,
        _ => Some(!order.closes_first()),
    }
}

/// The verdict comes first.
fn after_verdict(cell: &Cell) -> Expected {
    let verdict = Some(Some(true));
    if cell.answer == Answer::Accept {
        let (judging, other) = accepted(cell);
        return Expected { verdict, judging, other };
    }
    // "Reject(alert), then close(code): the peer sees CRYPTO_ERROR (0x0100 + alert), not the
    // application's code." The first close wins.
    let alert = alert(cell.answer);
    let client = other_is_client(cell);
    let other = match (cell.close, cell.order) {
        (Close::StatelessReset, Order::Late) => end(&[Heard::Vanished, Heard::Alert(alert)], None),
        (Close::StatelessReset, _) => end(&[Heard::Vanished], None),
        (_, Order::Late) => end(&[Heard::Alert(alert)], client),
        // It has closed before it can hear of the verdict.
        (Close::PeerApplication, _) => end(&[Heard::Called(PEER_CODE.into())], client),
        (Close::PeerTransport, _) => end(&[Heard::Violation], client),
        // The line was cut before the alert was sent, or at that instant.
        (Close::Idle, Order::Asked | Order::CloseFirst) => end(&[Heard::Idle], client),
        (Close::Idle, Order::Answered | Order::VerdictFirst | Order::VerdictFlushed) => {
            end(&[Heard::Idle, Heard::Alert(alert)], client)
        }
        _ => end(&[Heard::Alert(alert)], client),
    };
    Expected { verdict, judging: end(&[Heard::Refused(alert)], false), other }
}

/// "Accept, then close(code): the handshake completes (Finished is sent), then the connection closes
/// with the application's code." And "no CONNECTED after a shutdown call has returned".
fn accepted(cell: &Cell) -> (End, End) {
    use Heard::{Called, Idle, PeerViolation, Reset, Silent, StandIn, Timeout, Told, Vanished, Violation};
    let (client, order) = (other_is_client(cell), cell.order);
    let connected = !matches!(order, Order::Answered | Order::VerdictFirst);
    let at_once = !connected || order == Order::VerdictFlushed;
    match cell.close {
        Close::None | Close::HandshakeTimeout | Close::PeerHandshakeTimeout => {
            let (closes, hears) = (end(&[Called(DONE.into())], true), end(&[Told(DONE.into())], true));
            if client { (hears, closes) } else { (closes, hears) }
        }
        // A server that judges, too, can read nothing but a stand-in when the close comes right behind
        // Finished, ahead of its own verdict.
        Close::Application if cell.judge == Judge::BothAtClient && at_once => {
            (end(&[Called(CODE.into())], connected), end(&[Told(CODE.into()), StandIn], None))
        }
        Close::HandleDropped if cell.judge == Judge::BothAtClient && at_once => {
            (end(&[Called(0)], connected), end(&[Told(0), StandIn], None))
        }
        Close::Application => (end(&[Called(CODE.into())], connected), end(&[Told(CODE.into())], true)),
        Close::HandleDropped => (end(&[Called(0)], connected), end(&[Told(0)], true)),
        // Nothing is said behind a silent close, which may keep Finished back, too.
        Close::Silent if connected => (end(&[Silent], true), end(&[Idle], true)),
        Close::Silent => (end(&[Silent], false), end(&[Idle, Timeout], None)),
        // What a server can say before it has the client's Finished is only a stand-in.
        Close::PeerApplication if order == Order::Late || client => {
            (end(&[Told(PEER_CODE.into())], true), end(&[Called(PEER_CODE.into())], true))
        }
        Close::PeerApplication => (end(&[StandIn], true), end(&[Called(PEER_CODE.into())], false)),
        Close::PeerTransport => (end(&[PeerViolation], true), end(&[Violation], client || order == Order::Late)),
        Close::Idle => (end(&[Idle], true), end(&[Idle, Timeout], None)),
        Close::StatelessReset if client => (end(&[Idle], true), end(&[Vanished], None)),
        Close::StatelessReset => (end(&[Reset], true), end(&[Vanished], None)),
    }
}

/// No verdict counts: "Close(code), then accept: no CONNECTED, no Finished; the peer sees the
/// transport close."
fn without_verdict(cell: &Cell, verdict: Option<Option<bool>>) -> Expected {
    use Heard::{
        Alert, Called, Idle, Nothing, PeerTimeout, PeerViolation, Refused, Reset, Silent, StandIn, Timeout, Vanished,
        Violation,
    };
    let (client, order) = (other_is_client(cell), cell.order);
    // All is over before the server has a connection; with a Retry that comes a round trip later.
    let start = order == Order::Start || (order == Order::Midway && cell.kind == Kind::Retry);
    // A client is complete before it is judged, but not when all ends at the start.
    let complete = match order {
        Order::Start => Some(false),
        Order::Midway => None,
        _ => Some(client),
    };
    // A server may never hear of a client that closes at once.
    let server = |heard: Heard| if client || !start { vec![heard] } else { vec![heard, Nothing] };
    let (judging, other) = match cell.close {
        Close::None | Close::HandshakeTimeout => (vec![Timeout], vec![PeerTimeout]),
        Close::PeerHandshakeTimeout if client => (vec![Timeout], vec![PeerTimeout]),
        Close::PeerHandshakeTimeout => (vec![PeerTimeout], vec![Timeout]),
        Close::Application => (vec![Called(CODE.into())], server(StandIn)),
        Close::HandleDropped => (vec![Called(0)], server(StandIn)),
        // Silence is heard by whoever waits, when his own time is over.
        Close::Silent if start => (vec![Silent], vec![Idle, Timeout, Nothing]),
        Close::Silent if client => (vec![Silent], vec![Idle]),
        Close::Silent => (vec![Silent], vec![Timeout]),
        Close::PeerApplication => {
            let judging = if client && start { vec![StandIn, Nothing] } else { vec![StandIn] };
            (judging, vec![Called(PEER_CODE.into())])
        }
        Close::PeerTransport => (vec![PeerViolation], vec![Violation]),
        Close::Idle if start && !client => (vec![Idle], vec![Idle, Nothing]),
        Close::Idle => (vec![Idle], vec![Idle]),
        Close::StatelessReset if client => (vec![Idle, Timeout, Nothing], vec![Vanished]),
        Close::StatelessReset => (vec![Reset], vec![Vanished]),
    };
    let mut expected = Expected { verdict, judging: end(&judging, false), other: end(&other, complete) };
    // The answer comes in the callback, although the close is only on its way.
    if cell.close == Close::PeerTransport && client && start {
        // A client that breaks off at once may do so before its first packet has arrived.
        expected.judging.heard.push(Nothing);
    }
    if matches!(cell.close, Close::Idle | Close::StatelessReset) {
        expected.other.connected = None;
    }
    debug_assert!(!expected.judging.heard.contains(&Alert(0)) && !expected.other.heard.contains(&Refused(0)));
    expected
}

/// Nothing is asked (section 1: "resumption has no certificate and no gate"); closes go by section 4.
fn ungated(cell: &Cell) -> Expected {
    use Heard::{Called, Idle, Nothing, PeerViolation, Reset, Silent, StandIn, Timeout, Told, Vanished, Violation};
    let (client, order) = (other_is_client(cell), cell.order);
    let early = matches!(order, Order::Start | Order::Midway);
    let late = order == Order::Late;
    // With 0-RTT a server may read the application's own close before the handshake is complete.
    let told = |code: u32| match (early, cell.kind) {
        (true, Kind::Early) => vec![StandIn, Told(code.into()), Nothing],
        (true, _) => vec![StandIn, Nothing],
        (false, _) => vec![Told(code.into())],
    };
    let stand_in = |code: u32| if late { vec![Told(code.into())] } else { vec![StandIn, Told(code.into())] };
    let (judging, other) = match cell.close {
        Close::None | Close::HandshakeTimeout | Close::PeerHandshakeTimeout => {
            let (closes, hears) = (vec![Called(DONE.into())], vec![Told(DONE.into())]);
            if client { (hears, closes) } else { (closes, hears) }
        }
        Close::Application => (vec![Called(CODE.into())], told(CODE)),
        Close::HandleDropped => (vec![Called(0)], told(0)),
        Close::Silent => (vec![Silent], vec![Idle, Timeout, Nothing]),
        Close::PeerApplication if early => (told(PEER_CODE), vec![Called(PEER_CODE.into())]),
        Close::PeerApplication => (stand_in(PEER_CODE), vec![Called(PEER_CODE.into())]),
        Close::PeerTransport => (vec![PeerViolation], vec![Violation]),
        Close::Idle => (vec![Idle], vec![Idle, Timeout, Nothing]),
        Close::StatelessReset if client => (vec![Idle, Timeout, Nothing], vec![Vanished]),
        Close::StatelessReset => (vec![Reset], vec![Vanished]),
    };
    let connected = if early { None } else { Some(true) };
    let both = matches!(cell.judge, Judge::BothAtClient | Judge::BothAtServer);
    debug_assert!(!both, "without certificates nobody judges");
    let other_connected = if late { connected } else { None };
    Expected { verdict: Some(None), judging: end(&judging, connected), other: end(&other, other_connected) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(name: &str) -> Expected {
        Expected::of(&Cell::by_name(name).unwrap())
    }

    /// The sentences of section 3, one by one.
    #[test]
    fn the_sentences_of_the_law() {
        let accept_then_close = expected("full/client/accept/application/verdict-first/faultless");
        assert_eq!(accept_then_close.other, end(&[Heard::Told(0x11)], true));
        let reject_then_close = expected("full/client/reject/application/verdict-first/faultless");
        assert_eq!(reject_then_close.other, end(&[Heard::Alert(42)], false));
        let close_then_accept = expected("full/client/accept/application/close-first/faultless");
        assert_eq!(close_then_accept.verdict, Some(Some(false)));
        assert_eq!(close_then_accept.judging, end(&[Heard::Called(0x11)], false));
        assert_eq!(close_then_accept.other, end(&[Heard::StandIn], false));
        let dropped = expected("full/server/drop/none/late/faultless");
        assert_eq!(dropped.other, end(&[Heard::Alert(46)], true));
    }

    #[test]
    fn every_cell_has_an_answer() {
        for cell in Cell::all() {
            let expected = Expected::of(&cell);
            assert!(!expected.judging.heard.is_empty() && !expected.other.heard.is_empty(), "{cell}");
            let accepts = cell.answer == Answer::Accept && cell.kind.is_gated();
            assert!(!cell.kind.is_gated() || accepts || expected.judging.connected == Some(false), "{cell}");
        }
    }
}
