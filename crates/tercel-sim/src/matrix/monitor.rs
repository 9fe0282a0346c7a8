//! The monitor: whether the events of one connection keep the grammar. It knows no more of the
//! runtime than what an application sees, and works in release builds too.

use std::collections::{BTreeMap, BTreeSet};

/// What an application sees or does that the grammar speaks of. Streams and sends are named by
/// numbers of the application's choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// A handler is called.
    Enter,
    /// It returns.
    Leave,
    /// The certificate is to be judged.
    Certificate,
    /// The verdict was accepted by the call that gave it: it is yes or no.
    Verdict(bool),
    /// The handshake is complete.
    Connected,
    /// Any other event of a connection that is alive.
    Other,
    /// A call that closes has returned.
    CloseCalled,
    /// The peer or the transport ends the connection.
    ShutdownInitiated,
    /// A stream was opened by a call, or accepted, so that a handler hears of it.
    StreamBegun(u64),
    /// A stream's event, but the last.
    Stream(u64),
    /// A send was accepted on a stream.
    SendAccepted(u64, u64),
    /// It is complete.
    SendComplete(u64, u64),
    /// The stream's last event.
    StreamComplete(u64),
    /// The connection's last event, and whether it says that the handshake was completed.
    Complete(bool),
}

/// How far the grammar has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
enum Stage {
    #[default]
    Start,
    Asked,
    Connected,
    Initiated,
    Complete,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Monitor {
    /// Whether this end judges its peer.
    judges: bool,
    stage: Stage,
    inside: bool,
    accepted: bool,
    connected: bool,
    close_called: bool,
    streams: BTreeMap<u64, BTreeSet<u64>>,
    gone: BTreeSet<u64>,
}

impl Monitor {
    /// Of an end that judges its peer or does not.
    pub fn new(judges: bool) -> Self {
        Self { judges, ..Self::default() }
    }

    /// Takes the next thing seen.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn see(&mut self, seen: Seen) -> Result<(), String> {
        let fits = match seen {
            Seen::Enter => !std::mem::replace(&mut self.inside, true),
            Seen::Leave => std::mem::replace(&mut self.inside, false),
            Seen::Verdict(accepts) => {
                self.accepted |= accepts;
                self.stage == Stage::Asked && !self.close_called
            }
            Seen::CloseCalled => {
                self.close_called = true;
                true
            }
            Seen::Certificate => self.judges && !self.close_called && self.advance(Stage::Start, Stage::Asked),
            Seen::Connected => self.connect(),
            Seen::Other => self.stage < Stage::Initiated,
            Seen::ShutdownInitiated => self.advance(Stage::Connected, Stage::Initiated),
            Seen::StreamBegun(_) | Seen::Stream(_) | Seen::SendAccepted(..) => self.stream(seen),
            Seen::SendComplete(stream, context) => {
                self.stage < Stage::Complete
                    && self.streams.get_mut(&stream).is_some_and(|sends| sends.remove(&context))
            }
            Seen::StreamComplete(stream) => {
                self.gone.insert(stream);
                self.stage < Stage::Complete && self.streams.remove(&stream).is_some_and(|sends| sends.is_empty())
            }
            Seen::Complete(handshake_completed) => {
                // The handshake may be completed without Connected only if a call has closed before.
                let tells = handshake_completed == self.connected || (handshake_completed && self.close_called);
                tells && self.streams.is_empty() && self.advance(Stage::Initiated, Stage::Complete)
            }
        };
        match fits {
            true => Ok(()),
            false => Err(format!("{seen:?} against the grammar: {self:?}")),
        }
    }

    /// Goes on to `to`, if no more than `most` was reached.
    fn advance(&mut self, most: Stage, to: Stage) -> bool {
        let may = self.stage <= most;
        self.stage = to;
        may
    }

    fn connect(&mut self) -> bool {
        self.connected = true;
        let judged = !self.judges || (self.accepted && self.stage == Stage::Asked);
        judged && !self.close_called && self.advance(Stage::Asked, Stage::Connected)
    }

    fn stream(&mut self, seen: Seen) -> bool {
        let alive = self.stage < Stage::Complete;
        alive
            && match seen {
                Seen::StreamBegun(stream) => {
                    !self.gone.contains(&stream) && self.streams.insert(stream, BTreeSet::new()).is_none()
                }
                Seen::SendAccepted(stream, context) => {
                    self.streams.get_mut(&stream).is_some_and(|sends| sends.insert(context))
                }
                Seen::Stream(stream) => self.streams.contains_key(&stream),
                _ => false,
            }
    }

    /// Whether the last event came.
    pub fn is_complete(&self) -> bool {
        self.stage == Stage::Complete
    }

    /// Whether nothing came at all.
    pub fn is_untouched(&self) -> bool {
        self.stage == Stage::Start
    }
}

#[cfg(test)]
mod tests {
    use super::Seen::*;
    use super::*;

    fn watch(judges: bool, seen: &[Seen]) -> Result<Monitor, (usize, String)> {
        let mut monitor = Monitor::new(judges);
        for (at, seen) in seen.iter().enumerate() {
            monitor.see(*seen).map_err(|error| (at, error))?;
        }
        Ok(monitor)
    }

    #[test]
    fn what_is_right_passes() {
        let life = [
            Enter,
            Certificate,
            Verdict(true),
            Leave,
            Connected,
            StreamBegun(1),
            SendAccepted(1, 7),
            Stream(1),
            SendComplete(1, 7),
            StreamComplete(1),
            Other,
            ShutdownInitiated,
            Complete(true),
        ];
        assert!(watch(true, &life).unwrap().is_complete());
        assert!(watch(true, &[Certificate, Verdict(false), ShutdownInitiated, Complete(false)]).is_ok());
        assert!(watch(true, &[Certificate, Verdict(true), CloseCalled, Complete(true)]).is_ok());
        assert!(watch(false, &[Connected, CloseCalled, Complete(true)]).is_ok());
        assert!(watch(false, &[Complete(false)]).unwrap().is_complete());
    }

    #[test]
    fn each_broken_law_is_caught_where_it_is_broken() {
        let broken: [(&str, bool, &[Seen]); 18] = [
            ("a verdict in time after a close", true, &[Certificate, CloseCalled, Verdict(true)]),
            ("Connected without a verdict", true, &[Certificate, Connected]),
            ("Connected after a no", true, &[Certificate, Verdict(false), Connected]),
            ("Connected without a question", true, &[Connected]),
            ("Connected twice", false, &[Connected, Connected]),
            ("Connected after a close", false, &[CloseCalled, Connected]),
            ("Connected after the end began", false, &[ShutdownInitiated, Connected]),
            ("a question that nobody wanted", false, &[Certificate]),
            ("a question asked twice", true, &[Certificate, Certificate]),
            ("a question after Connected", true, &[Certificate, Verdict(true), Connected, Certificate]),
            ("a question after a close", true, &[CloseCalled, Certificate]),
            ("the end told twice", false, &[ShutdownInitiated, ShutdownInitiated]),
            ("something after the last event", false, &[Complete(false), Other]),
            ("the last event before its streams'", false, &[Connected, StreamBegun(1), Complete(true)]),
            ("a send that is never complete", false, &[StreamBegun(1), SendAccepted(1, 1), StreamComplete(1)]),
            (
                "a send that is complete twice",
                false,
                &[StreamBegun(1), SendAccepted(1, 1), SendComplete(1, 1), SendComplete(1, 1)],
            ),
            ("a stream's event after its last", false, &[StreamBegun(1), StreamComplete(1), Stream(1)]),
            ("a callback within a callback", false, &[Enter, Enter]),
        ];
        for (what, judges, seen) in broken {
            let caught = watch(judges, seen).expect_err(what);
            assert_eq!(caught.0, seen.len() - 1, "{what}: {}", caught.1);
        }
    }
}
