//! What is told of a stream.

use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tercel::{Direction, StreamEvent, StreamHandler, VarInt};

use super::{Stage, Stream, spare};
use crate::abi::{
    SendComplete, StartComplete, Status, StreamEventBody, StreamShutdownComplete, stream_event as kind, stream_start,
};
use crate::boundary::Context;
use crate::outcome::{is_local, is_remote, of_end, status_of};

/// Hears a stream of Tercel's.
pub(super) struct Events {
    stream: ManuallyDrop<Arc<Stream>>,
    /// It could not be started: for the application it is as it was before.
    failed: bool,
    /// The application wants to hear that the peer permits it.
    tells_accepted: bool,
}

impl Events {
    pub(super) fn new(stream: Arc<Stream>, start_flags: u32) -> Self {
        let tells_accepted = start_flags & stream_start::INDICATE_PEER_ACCEPT != 0;
        Self { stream: ManuallyDrop::new(stream), failed: false, tells_accepted }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        // SAFETY: it is not used after this.
        spare::let_go(unsafe { ManuallyDrop::take(&mut self.stream) });
    }
}

impl StreamHandler for Events {
    fn event(&mut self, live: &tercel::Stream, event: StreamEvent<'_>) {
        let stream: &Arc<Stream> = &self.stream;
        stream.connection.gate().is_worked_here();
        match event {
            StreamEvent::Started(Ok(id)) => stream.started(live, id.into_wire()),
            StreamEvent::Started(Err(error)) => self.failed = stream.not_started(status_of(&error)),
            // Of a stream that has not started for the application.
            _ if self.failed => {}
            StreamEvent::Receive(receive) => stream.received(receive),
            StreamEvent::SendComplete { context, canceled } => {
                // Taken and told in one: who settles the stream from another thread would not tell it.
                let _pass = stream.connection.gate().enter();
                let context = stream.state().sends.take(context);
                if let Some(context) = context {
                    stream.tell_sent(context, canceled);
                }
            }
            StreamEvent::PeerSendShutdown => stream.received_all(),
            StreamEvent::PeerSendAborted(code) => {
                let body = StreamEventBody { peer_send_aborted: code.into_inner() };
                stream.tell(kind::PEER_SEND_ABORTED, body);
            }
            StreamEvent::PeerReceiveAborted(code) => {
                stream.state().sends.stop();
                let body = StreamEventBody { peer_receive_aborted: code.into_inner() };
                stream.tell(kind::PEER_RECEIVE_ABORTED, body);
            }
            StreamEvent::SendShutdownComplete { graceful } => {
                if stream.connection.may_send_early() {
                    let counted = Arc::clone(stream);
                    // In a handler it is run at once.
                    let _ = live.inspect(move |stats| counted.state().early = stats.bytes_early);
                }
                stream.tell_send_ended(graceful);
            }
            StreamEvent::IdealSendBufferSize(ideal) => {
                stream.state().ideal = ideal;
                stream.tell(kind::IDEAL_SEND_BUFFER_SIZE, StreamEventBody { ideal_send_buffer_size: ideal });
            }
            StreamEvent::PeerAccepted if self.tells_accepted => stream.tell_plain(kind::PEER_ACCEPTED),
            StreamEvent::CanceledByLoss(code) => {
                let (_, body) = stream.tell(kind::CANCEL_ON_LOSS, StreamEventBody { cancel_on_loss: 0 });
                // SAFETY: this part of the union was written above; the application may have changed it.
                *code = VarInt::saturating(unsafe { body.cancel_on_loss });
            }
            // An application counts for itself what it has lent.
            StreamEvent::ReceiveMemoryNeeded { bytes: 0 } => {}
            StreamEvent::ReceiveMemoryNeeded { bytes } => {
                stream.tell(kind::RECEIVE_BUFFER_NEEDED, StreamEventBody { receive_buffer_needed: bytes });
            }
            StreamEvent::ShutdownComplete => stream.ended(),
            _ => {}
        }
    }
}

impl Stream {
    fn started(self: &Arc<Self>, live: &tercel::Stream, id: u64) {
        self.state().id = Some(id);
        let peer_accepted = (live.is_permitted() || Self::is_permitted_early(live, id)).into();
        let start_complete = StartComplete { status: Status::SUCCESS, id, peer_accepted };
        self.tell(kind::START_COMPLETE, StreamEventBody { start_complete });
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
                state.stage = Stage::Opened(Vec::new());
            }
            ends
        };
        let start_complete = StartComplete { status, id: u64::MAX, peer_accepted: 0 };
        self.tell(kind::START_COMPLETE, StreamEventBody { start_complete });
        !ends
    }

    /// There is no connection to start it on.
    pub(super) fn never_started(self: &Arc<Self>, status: Status) {
        if !self.not_started(status) {
            self.settle();
        }
    }

    pub(super) fn tell_plain(self: &Arc<Self>, event: u32) {
        self.tell(event, StreamEventBody { ideal_send_buffer_size: 0 });
    }

    pub(super) fn tell_sent(self: &Arc<Self>, context: Context, canceled: bool) {
        let send_complete = SendComplete { canceled: canceled.into(), client_context: context.0 };
        self.tell(kind::SEND_COMPLETE, StreamEventBody { send_complete });
    }

    /// Tells, once, that the sending part is done.
    pub(super) fn tell_send_ended(self: &Arc<Self>, graceful: bool) {
        let told = std::mem::replace(&mut self.state().send_ended, true);
        if !told {
            self.tell(kind::SEND_SHUTDOWN_COMPLETE, StreamEventBody { send_shutdown_complete: graceful.into() });
        }
    }

    /// Tells SHUTDOWN_COMPLETE, as the last event.
    pub(super) fn tell_complete(self: &Arc<Self>) {
        // From now on, that is also in this callback, nothing more is told.
        if self.over.swap(true, Ordering::AcqRel) {
            return;
        }
        let closing = self.closing.load(Ordering::Acquire);
        let shutdown_complete = self.connection.with_close_reason(|reason| {
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
        });
        self.call_application(kind::SHUTDOWN_COMPLETE, StreamEventBody { shutdown_complete });
    }

    /// Whether this end can send on it.
    pub(super) fn sends(&self) -> bool {
        self.local || self.direction == Direction::Bidirectional
    }
}
