//! The dimensions of the matrix and all its cells. A cell has a name, by which it can be run again.

use std::fmt;

use tercel_wire::Role;

macro_rules! dimension {
    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$value_doc])* $value,)*
        }

        impl $name {
            /// All values.
            pub const ALL: &'static [Self] = &[$(Self::$value),*];
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$value => $text,)*
                })
            }
        }
    };
}

dimension! {
    /// How the two ends come together.
    Kind {
        /// A full handshake.
        Full = "full",
        /// The same after a Retry.
        Retry = "retry",
        /// An earlier session is resumed: there is no certificate, and no gate.
        Resumed = "resumed",
        /// It is offered, but the server has forgotten it: a full handshake.
        ResumptionRefused = "resumption-refused",
        /// An earlier session is resumed with 0-RTT data.
        Early = "early",
        /// This is offered, but the server has forgotten the session: a full handshake.
        EarlyRefused = "early-refused",
    }
}

impl Kind {
    /// Whether certificates are shown.
    pub const fn is_gated(self) -> bool {
        !matches!(self, Self::Resumed | Self::Early)
    }

    /// Whether the client sends 0-RTT data.
    pub const fn offers_early_data(self) -> bool {
        matches!(self, Self::Early | Self::EarlyRefused)
    }
}

dimension! {
    /// Who judges whom.
    Judge {
        /// The client judges the server.
        Client = "client",
        /// The server judges the client.
        Server = "server",
        /// Both do; the client's verdict is the one in question, the server accepts at once.
        BothAtClient = "both-at-client",
        /// Both do; the server's verdict is the one in question, the client accepts at once.
        BothAtServer = "both-at-server",
    }
}

impl Judge {
    /// Whose verdict is in question: the judging end.
    pub const fn role(self) -> Role {
        match self {
            Self::Client | Self::BothAtClient => Role::Client,
            Self::Server | Self::BothAtServer => Role::Server,
        }
    }

    /// Whether the end with this role judges the other.
    pub fn judges(self, role: Role) -> bool {
        matches!(self, Self::BothAtClient | Self::BothAtServer) || self.role() == role
    }
}

dimension! {
    /// What the application says to the peer's certificate.
    Answer {
        /// The peer is who it should be.
        Accept = "accept",
        /// It is not: bad_certificate.
        Reject = "reject",
        /// The token is dropped, which rejects with certificate_unknown.
        Drop = "drop",
        /// Nothing: the token is kept until the end.
        Never = "never",
    }
}

dimension! {
    /// What ends the connection, beside the verdict.
    Close {
        /// Nothing: if the verdict lets it live, data flows, and then the client closes.
        None = "none",
        /// The judging end's application closes.
        Application = "application",
        /// It closes without a word.
        Silent = "silent",
        /// It lets go of its handle.
        HandleDropped = "handle-dropped",
        /// The other end's application closes.
        PeerApplication = "peer-application",
        /// The other end's transport closes, because of a frame that it does not know.
        PeerTransport = "peer-transport",
        /// The line is cut, and both ends hear nothing any more.
        Idle = "idle",
        /// The judging end's time for the handshake is over.
        HandshakeTimeout = "handshake-timeout",
        /// The other end's is.
        PeerHandshakeTimeout = "peer-handshake-timeout",
        /// The other end loses its state, and a stateless reset comes.
        StatelessReset = "stateless-reset",
    }
}

impl Close {
    /// Whether it comes by itself, after a time that was set.
    pub const fn is_timeout(self) -> bool {
        matches!(self, Self::HandshakeTimeout | Self::PeerHandshakeTimeout)
    }

    /// Whether the judging end brings it about by a call.
    pub const fn is_call(self) -> bool {
        matches!(self, Self::Application | Self::Silent | Self::HandleDropped)
    }

    /// Whether it begins at the other end.
    pub const fn is_peers(self) -> bool {
        matches!(self, Self::PeerApplication | Self::PeerTransport | Self::StatelessReset)
    }
}

dimension! {
    /// When the close takes effect at the judging end. The verdict comes 60 ms after the question, if
    /// nothing else is said.
    Order {
        /// As soon as whoever closes exists.
        Start = "start",
        /// Half a flight later.
        Midway = "midway",
        /// In the callback that asks, and the verdict behind it. (What comes from the other end begins
        /// there at this moment.)
        Asked = "asked",
        /// In the callback that asks, behind the verdict.
        Answered = "answered",
        /// Half the time from the question to the verdict; timeouts: before the verdict.
        Earlier = "earlier",
        /// Both at the same instant, the close first.
        CloseFirst = "close-first",
        /// Both at the same instant, the verdict first, and the worker has no turn in between.
        VerdictFirst = "verdict-first",
        /// Both at the same instant, the verdict first, and the worker has its turn in between.
        VerdictFlushed = "verdict-flushed",
        /// A quarter of a round trip after the verdict.
        Soon = "soon",
        /// More than two round trips after it; timeouts: not at all, since the handshake is over.
        Late = "late",
    }
}

impl Order {
    /// Whether the close takes effect before the verdict.
    pub const fn closes_first(self) -> bool {
        matches!(self, Self::Start | Self::Midway | Self::Asked | Self::Earlier | Self::CloseFirst)
    }

    /// Whether the verdict is given in the callback.
    pub const fn is_inline(self) -> bool {
        matches!(self, Self::Asked | Self::Answered)
    }
}

/// What the network does to one datagram: the `.1`th (from 0) of this end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// It is faultless.
    None,
    /// It is lost.
    Lost(Role, u32),
    /// It arrives behind those that were sent together with it.
    Swapped(Role, u32),
    /// It arrives more than a round trip late.
    Late(Role, u32),
}

impl Fault {
    /// All that can happen to this datagram.
    pub const fn of(role: Role, number: u32) -> [Self; 3] {
        [Self::Lost(role, number), Self::Swapped(role, number), Self::Late(role, number)]
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, role, number) = match self {
            Self::None => return f.write_str("faultless"),
            Self::Lost(role, number) => ("lost", role, number),
            Self::Swapped(role, number) => ("swapped", role, number),
            Self::Late(role, number) => ("late", role, number),
        };
        let side = if *role == Role::Client { "client" } else { "server" };
        write!(f, "{what}-{side}-{number}")
    }
}

/// One value of each dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    /// How the two ends come together.
    pub kind: Kind,
    /// Who judges whom.
    pub judge: Judge,
    /// The verdict.
    pub answer: Answer,
    /// What else ends the connection.
    pub close: Close,
    /// When.
    pub order: Order,
    /// What the network does.
    pub fault: Fault,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, judge, answer, close, order, fault } = self;
        write!(f, "{kind}/{judge}/{answer}/{close}/{order}/{fault}")
    }
}

impl Cell {
    /// All cells of a faultless network.
    pub fn all() -> Vec<Self> {
        let mut cells = Vec::new();
        for &kind in Kind::ALL {
            for &judge in Judge::ALL {
                for &answer in Answer::ALL {
                    for &close in Close::ALL {
                        for &order in Order::ALL {
                            let cell = Self { kind, judge, answer, close, order, fault: Fault::None };
                            cells.extend(cell.is_one_of_its_own().then_some(cell));
                        }
                    }
                }
            }
        }
        cells
    }

    /// Whether no other cell is the same run. Without a close only the time of the verdict counts; a
    /// verdict that never comes has no order; a timeout is before the verdict, with it, or never.
    fn is_one_of_its_own(&self) -> bool {
        use Order::{Answered, Asked, CloseFirst, Earlier, Late, Midway, Soon, Start, VerdictFirst};
        if !self.kind.is_gated() {
            // Nothing is asked: what else there is to time is timed by the handshake's completion.
            return self.answer == Answer::Never
                && matches!(self.judge, Judge::Client | Judge::Server)
                && match self.close {
                    Close::None => self.order == Late,
                    close if close.is_timeout() => false,
                    _ => matches!(self.order, Start | Midway | Asked | Soon | Late),
                };
        }
        match (self.answer, self.close) {
            (Answer::Never, Close::None) => self.order == Late,
            (_, Close::None) => matches!(self.order, Answered | Late),
            (Answer::Never, close) if close.is_timeout() => self.order == Earlier,
            (_, close) if close.is_timeout() => matches!(self.order, Earlier | CloseFirst | VerdictFirst | Late),
            (Answer::Never, Close::Idle) => matches!(self.order, Start | Midway | Asked | Earlier),
            (Answer::Never, _) => matches!(self.order, Start | Midway | Asked | Earlier),
            _ => true,
        }
    }

    /// The cell of this name.
    pub fn by_name(name: &str) -> Option<Self> {
        let (base, fault) = name.rsplit_once('/')?;
        let base = format!("{base}/{}", Fault::None);
        let cell = Self::all().into_iter().find(|cell| cell.to_string() == base)?;
        let mut parts = fault.split('-');
        let (what, side, number) = (parts.next()?, parts.next(), parts.next().and_then(|number| number.parse().ok()));
        let role = match side {
            Some("client") => Some(Role::Client),
            Some("server") => Some(Role::Server),
            _ => None,
        };
        let fault = match what {
            "faultless" => Fault::None,
            "lost" => Fault::Lost(role?, number?),
            "swapped" => Fault::Swapped(role?, number?),
            "late" => Fault::Late(role?, number?),
            _ => return None,
        };
        Some(Self { fault, ..cell })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_found_by_their_names_and_every_value_occurs() {
        let all = Cell::all();
        let count = |is: &dyn Fn(&Cell) -> bool| all.iter().filter(|cell| is(cell)).count();
        assert!(all.len() > 3_000, "{} cells", all.len());
        Kind::ALL.iter().for_each(|value| assert!(count(&|cell| cell.kind == *value) > 20, "{value}"));
        Judge::ALL.iter().for_each(|value| assert!(count(&|cell| cell.judge == *value) > 500, "{value}"));
        Answer::ALL.iter().for_each(|value| assert!(count(&|cell| cell.answer == *value) > 500, "{value}"));
        Close::ALL.iter().for_each(|value| assert!(count(&|cell| cell.close == *value) > 50, "{value}"));
        Order::ALL.iter().for_each(|value| assert!(count(&|cell| cell.order == *value) > 100, "{value}"));
        for cell in all.iter().step_by(97) {
            for fault in Fault::of(Role::Server, 3) {
                let cell = Cell { fault, ..*cell };
                assert_eq!(Cell::by_name(&cell.to_string()), Some(cell));
            }
        }
        assert_eq!(Cell::by_name("full/client/accept/none/soon/faultless"), None);
    }
}
