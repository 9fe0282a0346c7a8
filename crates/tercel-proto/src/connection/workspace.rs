//! Room that a connection works in while it has its turn.

use crate::frames::SentFrames;
use crate::recovery::AckOutcome;

/// Room that a connection works in while it has its turn, and that holds nothing in between. A connection has its own, unless
/// it is [lent](super::Connection::exchange_workspace) one: whoever has many connections lends all of them the same, which
/// stays in the processor's cache.
#[derive(Debug, Default)]
pub struct Workspace {
    /// What acknowledgements settle, while nobody uses it.
    outcome: Option<Box<AckOutcome>>,
    /// The frames of the packets of a datagram that is being written.
    pub(super) drafted: SentFrames,
}

impl Workspace {
    /// To be [given back](Self::give_back).
    #[inline]
    pub(super) fn take_outcome(&mut self) -> Box<AckOutcome> {
        self.outcome.take().unwrap_or_default()
    }

    #[inline]
    pub(super) fn give_back(&mut self, outcome: Box<AckOutcome>) {
        self.outcome = Some(outcome);
    }
}
