//! In which order events may come.

use std::collections::BTreeSet;

use tercel_proto::connection::Event;
use tercel_proto::stream::StreamEvent;
use tercel_wire::StreamId;

/// Checks the events of one connection.
#[derive(Debug, Default)]
pub struct Grammar {
    hello: bool,
    connected: bool,
    confirmed: bool,
    closing: bool,
    closed: bool,
    opened: BTreeSet<StreamId>,
    gone: BTreeSet<StreamId>,
}

impl Grammar {
    /// Takes the next event.
    ///
    /// # Panics
    /// If it must not come now.
    pub fn check(&mut self, event: &Event) {
        assert!(!self.closed, "{event:?} after Closed");
        let once = |seen: &mut bool| assert!(!std::mem::replace(seen, true), "{event:?} came twice");
        match event {
            Event::ClientHello(_) => once(&mut self.hello),
            Event::Connected(_) => {
                once(&mut self.connected);
                assert!(!self.closing, "Connected after Closing");
            }
            Event::Confirmed => {
                once(&mut self.confirmed);
                assert!(self.connected, "Confirmed before Connected");
            }
            Event::Closing(_) => once(&mut self.closing),
            Event::Closed => {
                once(&mut self.closed);
                assert!(self.closing, "Closed without Closing");
            }
            Event::Stream(event) => {
                assert!(!self.closing, "{event:?} after Closing");
                self.check_stream(*event);
            }
            _ => {}
        }
    }

    fn check_stream(&mut self, event: StreamEvent) {
        let id = match event {
            StreamEvent::Opened(id) => {
                assert!(self.opened.insert(id), "{id:?} was opened twice");
                id
            }
            StreamEvent::Readable(id)
            | StreamEvent::Acked { id, .. }
            | StreamEvent::Stopped { id, .. }
            | StreamEvent::ResetAcked(id)
            | StreamEvent::Closed(id) => id,
            _ => return,
        };
        assert!(!self.gone.contains(&id), "{event:?} after the stream was closed");
        if let StreamEvent::Closed(_) = event {
            self.gone.insert(id);
        }
    }

    /// Whether the handshake was completed.
    pub const fn is_connected(&self) -> bool {
        self.connected
    }

    /// Whether the connection has ended for good.
    pub const fn is_over(&self) -> bool {
        self.closed
    }
}
