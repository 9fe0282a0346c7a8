//! What is told of a stream.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tercel::{Direction, StreamEvent, StreamHandler, VarInt};

use super::receive::Behind;
use super::{Stage, Stream, spare};
use crate::abi::{
    self, SendComplete, StartComplete, Status, StreamEventBody, StreamShutdownComplete, stream_event as kind,
    stream_start,
};
use crate::boundary::Context;
use crate::outcome::{is_local, is_remote, of_end, status_of};

/// Whether the connection of a stream that ends has ended.
#[derive(Clone, Copy)]
pub(super) enum Ending {
    No,
    Maybe,
}

const fn event(event_type: u32, body: StreamEventBody) -> abi::StreamEvent {
    abi::StreamEvent { event_type, body }
}

/// One that says nothing more.
const fn plain(event_type: u32) -> abi::StreamEvent {
    event(event_type, StreamEventBody { ideal_send_buffer_size: 0 })
}

fn sent(context: Context, canceled: bool) -> abi::StreamEvent {
    let send_complete = SendComplete { canceled: canceled.into(), client_context: context.0 };
    event(kind::SEND_COMPLETE, StreamEventBody { send_complete })
}

fn send_ended(graceful: bool) -> abi::StreamEvent {
    event(kind::SEND_SHUTDOWN_COMPLETE, StreamEventBody { send_shutdown_complete: graceful.into() })
}

/// Hears a stream of Tercel's.
pub(super) struct Events {
    /// Until this has ended.
    stream: Option<Arc<Stream>>,
    /// It could not be started: for the application it is as it was before.
    failed: bool,
    /// The application wants to hear that the peer permits it.
    tells_accepted: bool,
}

impl Events {
    pub(super) fn new(stream: Arc<Stream>, start_flags: u32) -> Self {
        let tells_accepted = start_flags & stream_start::INDICATE_PEER_ACCEPT != 0;
        Self { stream: Some(stream), failed: false, tells_accepted }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        if let Some(stream) = self.stream.take() {
            spare::let_go(stream);
        }
    }
}

impl StreamHandler for Events {
    fn event(&mut self, live: &tercel::Stream, what: StreamEvent<'_>) {
        let Some(stream) = &self.stream else { return };
        // Taken and told in one: who settles the stream from another thread would not tell what is taken.
        if !stream.connection.gate().is_mine() {
            return self.come_in(live, what);
        }
        let mut told = match what {
            StreamEvent::Started(Err(error)) => {
                self.failed = stream.not_started(status_of(&error));
                return;
            }
            // Of a stream that has not started for the application.
            _ if self.failed => return,
            StreamEvent::Started(Ok(id)) => stream.started(live, id.into_wire()),
            StreamEvent::Receive(receive) => return stream.received(receive),
            StreamEvent::SendComplete { context, canceled } => match stream.take_sent(context) {
                Some(context) => sent(context, canceled),
                None => return,
            },
            StreamEvent::PeerSendShutdown if stream.holds_back(Behind::End) => return,
            StreamEvent::PeerSendShutdown => plain(kind::PEER_SEND_SHUTDOWN),
            StreamEvent::SendShutdownComplete { graceful } => {
                if stream.connection.may_send_early() {
                    stream.count_early(live);
                }
                match stream.ends_sending() {
                    true => send_ended(graceful),
                    false => return,
                }
            }
            StreamEvent::ShutdownComplete => {
                let connection = match live.connection_has_ended() {
                    true => Ending::Maybe,
                    false => Ending::No,
                };
                return spare::last(stream, || stream.ended(connection));
            }
            StreamEvent::IdealSendBufferSize(ideal) => {
                stream.ideal.store(ideal, Ordering::Relaxed);
                event(kind::IDEAL_SEND_BUFFER_SIZE, StreamEventBody { ideal_send_buffer_size: ideal })
            }
            StreamEvent::PeerAccepted if !self.tells_accepted => return,
            StreamEvent::PeerAccepted => plain(kind::PEER_ACCEPTED),
            seldom => return stream.heard(seldom),
        };
        stream.tell_inside(&mut told);
    }

    fn boxed(self) -> Box<dyn StreamHandler> {
        spare::boxed(self)
    }

    fn unboxed(mut self: Box<Self>) {
        if let Some(stream) = self.stream.take() {
            spare::let_go(stream);
        }
        spare::unboxed(self);
    }
}

impl Events {
    /// Something is told without a turn.
    #[cold]
    fn come_in(&mut self, live: &tercel::Stream, what: StreamEvent<'_>) {
        if let Some(connection) = self.stream.as_ref().map(|stream| stream.connection.clone()) {
            let _pass = connection.gate().enter();
            self.event(live, what);
        }
    }
}

impl Stream {
    /// What most streams do not tell.
    #[cold]
    fn heard(self: &Arc<Self>, what: StreamEvent<'_>) {
        match what {
            StreamEvent::PeerSendAborted(code) => {
                let body = StreamEventBody { peer_send_aborted: code.into_inner() };
                self.tell(&mut event(kind::PEER_SEND_ABORTED, body));
            }
            StreamEvent::PeerReceiveAborted(code) => {
                self.state().sends.stop(&self.first);
                let body = StreamEventBody { peer_receive_aborted: code.into_inner() };
                self.tell(&mut event(kind::PEER_RECEIVE_ABORTED, body));
            }
            StreamEvent::CanceledByLoss(code) => {
                let mut told = event(kind::CANCEL_ON_LOSS, StreamEventBody { cancel_on_loss: 0 });
                self.tell(&mut told);
                // SAFETY: this part of the union was written above; the application may have changed it.
                *code = VarInt::saturating(unsafe { told.body.cancel_on_loss });
            }
            // An application counts for itself what it has lent.
            StreamEvent::ReceiveMemoryNeeded { bytes: 0 } => {}
            StreamEvent::ReceiveMemoryNeeded { bytes } => {
                let body = StreamEventBody { receive_buffer_needed: bytes };
                self.tell(&mut event(kind::RECEIVE_BUFFER_NEEDED, body));
            }
            _ => {}
        }
    }

    /// A send is done with. By who is inside the gate, and tells it.
    fn take_sent(&self, number: u64) -> Option<Context> {
        self.first.take(number).or_else(|| self.state().sends.take(&self.first, number))
    }

    /// Remembers how many bytes were sent as early data.
    #[cold]
    fn count_early(self: &Arc<Self>, live: &tercel::Stream) {
        let counted = self.clone();
        // In a handler it is run at once.
        let _ = live.inspect(move |stats| counted.state().early = stats.bytes_early);
    }

    fn started(&self, live: &tercel::Stream, id: u64) -> abi::StreamEvent {
        self.id.store(id, Ordering::Release);
        let peer_accepted = (live.is_permitted() || Self::is_permitted_early(live, id)).into();
        let start_complete = StartComplete { status: Status::SUCCESS, id, peer_accepted };
        event(kind::START_COMPLETE, StreamEventBody { start_complete })
    }

    /// Whether the peer permits it as far as is known while the handshake is under way.
    fn is_permitted_early(live: &tercel::Stream, id: u64) -> bool {
        let accepted = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (found, id) = (accepted.clone(), tercel::StreamId::from_wire(id));
        // In a handler it is run at once.
        let _ = live.connection().inspect(move |look| found.store(look.permits_stream(id), Ordering::Relaxed));
        accepted.load(Ordering::Relaxed)
    }

    /// Tells that it could not be started. Gives whether it is as it was before, for the application.
    fn not_started(self: &Arc<Self>, status: Status) -> bool {
        let ends = {
            let mut state = self.state();
            let ends = state.start_flags & stream_start::SHUTDOWN_ON_FAIL != 0;
            if !ends {
                state.stage = Stage::OPENED;
            }
            ends
        };
        let start_complete = StartComplete { status, id: u64::MAX, peer_accepted: 0 };
        self.tell(&mut event(kind::START_COMPLETE, StreamEventBody { start_complete }));
        !ends
    }

    /// There is no connection to start it on.
    pub(super) fn never_started(self: &Arc<Self>, status: Status) {
        if !self.not_started(status) {
            self.settle();
        }
    }

    pub(super) fn tell_plain(self: &Arc<Self>, event_type: u32) {
        self.tell(&mut plain(event_type));
    }

    /// By who is inside the gate.
    pub(super) fn tell_sent(self: &Arc<Self>, context: Context, canceled: bool) {
        self.tell_inside(&mut sent(context, canceled));
    }

    /// The sending part is done. Whether that is still to be told. By who is inside the gate, and tells it.
    fn ends_sending(&self) -> bool {
        let untold = !self.send_ended.load(Ordering::Relaxed);
        if untold {
            self.send_ended.store(true, Ordering::Release);
        }
        untold
    }

    /// Tells, once, that the sending part is done, without the peer's having everything. By who is inside the gate.
    pub(super) fn tell_send_ended(self: &Arc<Self>) {
        if self.ends_sending() {
            self.tell_inside(&mut send_ended(false));
        }
    }

    /// Tells SHUTDOWN_COMPLETE, as the last event. By who is inside the gate.
    pub(super) fn tell_complete(self: &Arc<Self>, connection: Ending) {
        // From now on, that is also in this callback, nothing more is told.
        self.over.store(true, Ordering::Release);
        let closing = self.closing.load(Ordering::Acquire);
        let describe = |reason: Option<&tercel::CloseReason>| {
            let by_peer = |reason: &_| matches!(reason, tercel::CloseReason::PeerApplication { .. });
            let by_application = reason.is_some_and(|reason| by_peer(reason) || is_local(reason));
            let remotely = reason.is_some_and(is_remote);
            let (status, code) = reason.map_or((Status::SUCCESS, 0), of_end);
            StreamShutdownComplete {
                connection_shutdown: reason.is_some().into(),
                flags: u8::from(closing) | u8::from(by_application) << 1 | u8::from(remotely) << 2,
                connection_error_code: code,
                connection_close_status: status,
            }
        };
        let shutdown_complete = match connection {
            Ending::No => describe(None),
            Ending::Maybe => self.connection.with_close_reason(describe),
        };
        self.call_application(&mut event(kind::SHUTDOWN_COMPLETE, StreamEventBody { shutdown_complete }));
    }

    /// Whether this end can send on it.
    pub(super) fn sends(&self) -> bool {
        self.local || self.direction == Direction::Bidirectional
    }
}
