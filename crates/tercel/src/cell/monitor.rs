//! Watches, in debug builds, that a connection's events keep their grammar (see [`crate::event`]).

use crate::event::ConnectionEvent;

/// How far the grammar has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
enum Stage {
    #[default]
    Start,
    Judged,
    Connected,
    ShutdownInitiated,
    Complete,
}

/// The monitor of one connection. Panics, in debug builds only, when the grammar is broken: that is
/// a fault of this crate.
#[derive(Default)]
pub(super) struct Monitor {
    stage: Stage,
    open_streams: u64,
}

impl Monitor {
    pub(super) fn connection(&mut self, event: &ConnectionEvent<'_>) {
        if !cfg!(debug_assertions) {
            return;
        }
        let before = self.stage;
        let (allowed, after) = match event {
            ConnectionEvent::PeerCertificate { .. } => (before == Stage::Start, Stage::Judged),
            ConnectionEvent::Connected { .. } => (before <= Stage::Judged, Stage::Connected),
            ConnectionEvent::ShutdownInitiatedByPeer { .. } | ConnectionEvent::ShutdownInitiatedByTransport { .. } => {
                (before < Stage::ShutdownInitiated, Stage::ShutdownInitiated)
            }
            ConnectionEvent::ShutdownComplete { .. } => {
                (before < Stage::Complete && self.open_streams == 0, Stage::Complete)
            }
            // Winding up.
            ConnectionEvent::DatagramSendStateChanged { .. } => (before < Stage::Complete, before),
            _ => (before < Stage::ShutdownInitiated, before),
        };
        assert!(allowed, "{event:?} at {before:?} with {} streams open", self.open_streams);
        self.stage = after;
    }

    /// A stream's handler hears it for the first time.
    pub(super) fn stream_opened(&mut self) {
        self.open_streams += 1;
    }

    /// A stream's handler hears something, for the last time if `last`.
    pub(super) fn stream(&mut self, last: bool) {
        debug_assert!(self.stage < Stage::Complete && self.open_streams > 0, "a stream's event at {:?}", self.stage);
        if last {
            self.open_streams = self.open_streams.saturating_sub(1);
        }
    }
}
