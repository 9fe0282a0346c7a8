//! Events, from what the transport tells and from what calls have caused, to the application's
//! handlers. While a handler runs the connection is lent to [`current`]; so everything here hands
//! the connection through by value.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use tercel_proto::connection::{ClientHello, Connected, Event, RouteChange};
use tercel_proto::datagram::{DatagramEvent, DatagramSendState};
use tercel_proto::error::CloseReason;
use tercel_proto::stream::StreamEvent as TransportStreamEvent;
use tercel_proto::tls::Presented;
use tercel_wire::{ApplicationErrorCode, Direction, TransportErrorCode};

use super::paths::path_event;
use super::receive::pump;
use super::streams::{Entry, Listening, Note, SendPart, StreamKey};
use super::{Core, Happening, Phase, StreamId, ideal};
use crate::certificate::{PeerCertificate, PendingVerdict, Question};
use crate::connection::Connection;
use crate::event::{
    ConnectionEvent, ConnectionHandler, ListenerEvent, NewConnection, NewStream, StreamEvent, StreamHandler,
};
use crate::handshake_info::HandshakeInfo;
use crate::stream::Stream;
use crate::worker::{FIRST_BATCH, Floor, Way, current};

/// Routes and events, until there are none, or handlers have given `enough` bytes to send, or tasks were told of as many.
/// Tells whether a handler may have been called.
pub(super) fn deliver(mut core: Box<Core>, floor: &mut Floor, enough: usize) -> (Box<Core>, bool) {
    let mut any = false;
    core.follow_routes(floor);
    while core.unsent < enough && (floor.way == Way::Kept || core.told < enough) {
        core.look();
        core = if let Some(happening) = core.happened.pop_front() {
            happened(core, happening)
        } else if let Some(event) = core.proto.poll_stream_event() {
            stream_event(core, event)
        } else {
            core.follow_routes(floor);
            let Some(event) = core.proto.poll_event() else { return (core, any) };
            transport_event(core, event, floor)
        };
        any = true;
    }
    (core, any)
}

/// Ends the connection for the application whatever the protocol would still do.
pub(super) fn finish(mut core: Box<Core>, reason: CloseReason) -> Box<Core> {
    core = begin_closing(core, reason);
    while let Some(happening) = core.happened.pop_front() {
        core = happened(core, happening);
    }
    complete(core)
}

impl Core {
    fn follow_routes(&mut self, floor: &mut Floor) {
        while let Some(change) = self.proto.poll_route() {
            self.reroute(change, floor);
        }
    }

    pub(super) fn reroute(&mut self, change: RouteChange, floor: &mut Floor) {
        floor.routes.apply(self.slot, change);
        let removed = match change {
            RouteChange::Remove(id) => RouteChange::Add(id),
            RouteChange::RemoveResetToken(token) => RouteChange::AddResetToken(token),
            added if self.routes.contains(&added) => return,
            added => return self.routes.push(added),
        };
        if let Some(at) = self.routes.iter().position(|route| *route == removed) {
            self.routes.swap_remove(at);
        }
    }
}

fn happened(core: Box<Core>, happening: Happening) -> Box<Core> {
    match happening {
        Happening::Stream(key, note) => stream_note(core, key, note),
        Happening::Datagram { context, state } => {
            tell(core, ConnectionEvent::DatagramSendStateChanged { context, state })
        }
        Happening::Network if core.is_closing() => core,
        Happening::Network => {
            let stats = core.proto.stats();
            let (posted, ideal) = (core.streams.posted(), ideal::bytes(stats.congestion_window));
            tell(core, ConnectionEvent::Network { stats: &stats, posted, ideal })
        }
        Happening::Complete => complete(core),
    }
}

fn transport_event(mut core: Box<Core>, event: Event, floor: &mut Floor) -> Box<Core> {
    if core.is_closing() {
        // The application has heard that it is over; only the protocol's own end matters now.
        return if matches!(event, Event::Closed) { gone(core) } else { core };
    }
    match event {
        Event::ClientHello(hello) => client_hello(core, hello, floor),
        Event::Certificate(presented) => certificate(core, presented),
        Event::Connected(connected) => connected_event(core, &connected),
        Event::Confirmed => tell(core, ConnectionEvent::HandshakeConfirmed),
        Event::EarlyDataRejected => tell(core, ConnectionEvent::EarlyDataRejected),
        Event::Stream(event) => stream_event(core, event),
        Event::Datagram(event) => datagram_event(core, event),
        Event::PathChanged(_) | Event::PathValidated(_) | Event::PathFailed(_) | Event::LocalAddressWanted { .. } => {
            path_event(core, &event, floor)
        }
        Event::AddressObserved { address, .. } => {
            core.shared.facts().observed = Some(Box::new(address));
            tell(core, ConnectionEvent::AddressObserved(address))
        }
        Event::Ticket(ticket) => tell(core, ConnectionEvent::ResumptionTicket(&ticket)),
        Event::NewToken(token) => tell(core, ConnectionEvent::NewToken(&token)),
        Event::PathObserved(path) => {
            core.remember_path(path);
            core
        }
        Event::Closing(reason) => begin_closing(core, reason),
        Event::Closed => gone(core),
        _ => core,
    }
}

fn client_hello(mut core: Box<Core>, hello: ClientHello, floor: &Floor) -> Box<Core> {
    let Some(listener) = floor.listener_for(core.socket, &hello.alpn) else {
        let code = match floor.sockets.listeners(core.socket) {
            // The last listener has stopped meanwhile.
            [] => TransportErrorCode::CONNECTION_REFUSED,
            _ => TransportErrorCode::crypto(NO_APPLICATION_PROTOCOL),
        };
        // Refused already if this fails.
        let _ = core.proto.refuse(core.now, code);
        return core;
    };
    // The count of handles began with one for whoever answers.
    let connection = Connection { shared: core.shared.clone() };
    let question = Question::new(core.shared.clone(), None);
    core.question = Some(question.clone());
    let new = NewConnection::new(connection, hello, question, core.now, core.proto.version());
    let (core, result) = current::lend(core, || listener.tell(ListenerEvent::NewConnection(new)));
    if result.is_err() {
        tracing::error!("a listener's handler panicked");
    }
    core
}

fn certificate(mut core: Box<Core>, presented: Presented) -> Box<Core> {
    // A close that was called before now leaves nothing to judge.
    core.take_operations();
    if !core.proto.awaits_verdict() {
        return core;
    }
    let limit = core.proto.verdict_deadline().map(|deadline| deadline.since(core.now));
    let question = Question::new(core.shared.clone(), limit);
    core.question = Some(question.clone());
    let Presented { chain, ocsp_response, server_name, raw, builtin } = presented;
    let certificate = PeerCertificate {
        chain,
        ocsp_response,
        advice: builtin,
        server_name: server_name.as_deref().or(core.proto.server_name()).map(Into::into),
        raw,
        alpn: core.proto.alpn().map(Bytes::copy_from_slice).unwrap_or_default(),
    };
    let verdict = PendingVerdict::new(question);
    tell(core, ConnectionEvent::PeerCertificate { certificate, verdict })
}

/// The TLS alert for want of a common application protocol (RFC 7301 section 3.2).
const NO_APPLICATION_PROTOCOL: u8 = 120;

fn connected_event(mut core: Box<Core>, connected: &Connected) -> Box<Core> {
    // A close that was called before now must not be followed by Connected.
    core.take_operations();
    if matches!(core.proto.close_reason(), Some(CloseReason::LocalApplication { .. } | CloseReason::Silent)) {
        return core;
    }
    core.phase = Phase::Connected;
    core.handshake_completed = true;
    let settled = core.proto.is_settled();
    let mut facts = core.shared.facts();
    (facts.alpn, facts.settled) = (Some(Bytes::copy_from_slice(&connected.alpn)), settled);
    facts.version = Some(connected.version);
    // The event that tells of it comes later, and who hears of Connected may ask at once.
    facts.max_datagram = core.proto.max_datagram_size();
    facts.can_reset_at = core.proto.can_reset_at();
    facts.handshake = core.proto.negotiated().map(|tls| {
        let alpn = Bytes::copy_from_slice(&connected.alpn);
        let &Connected { resumed, early_data_accepted, .. } = connected;
        Box::new(HandshakeInfo {
            version: core.proto.version(),
            tls,
            alpn,
            resumed,
            early_data_accepted,
            ech: facts.ech,
        })
    });
    drop(facts);
    core.publish(true);
    core.permit_openings();
    core.start_waiting();
    core.release_after_handshake();
    core.resumed = connected.resumed;
    core.send_automatic_tickets();
    tell(
        core,
        ConnectionEvent::Connected {
            alpn: &connected.alpn,
            resumed: connected.resumed,
            early_data_accepted: connected.early_data_accepted,
            version: connected.version,
        },
    )
}

fn datagram_event(mut core: Box<Core>, event: DatagramEvent) -> Box<Core> {
    match event {
        DatagramEvent::Received { data, .. } => datagrams_received(core, data),
        DatagramEvent::MaxSizeChanged(max_size) => {
            core.shared.facts().max_datagram = max_size;
            tell(core, ConnectionEvent::DatagramStateChanged { max_size })
        }
        DatagramEvent::SendState { number, state } => {
            let context = match state {
                DatagramSendState::Sent => core.datagrams.get_mut(&number).map(|(context, sent)| {
                    *sent = true;
                    *context
                }),
                DatagramSendState::LostSuspect => core.datagrams.get(&number).map(|(context, _)| *context),
                _ => core.datagrams.remove(&number).map(|(context, _)| context),
            };
            match context {
                Some(context) => tell(core, ConnectionEvent::DatagramSendStateChanged { context, state }),
                None => core,
            }
        }
        _ => core,
    }
}

/// A byte of a datagram counts for so many of a stream in what is [enough](FIRST_BATCH) to leave: who sends datagrams does
/// not want them to wait for others, and two ends that echo few each other's have both something to do only if these are
/// on their way in several parts. The first part of small ones fills two packets.
pub(super) const HURRY: usize = 3;

/// Of so many bytes of datagrams, if all are like the first, is told at a time, and what handlers answer twice as many with
/// is enough to leave.
const DATAGRAMS: usize = FIRST_BATCH / HURRY;

/// And of no more than so many.
const MOST_DATAGRAMS: usize = 32;

/// A datagram takes tasks as long as so many bytes of a stream at least.
const DATAGRAM: usize = 512;

/// Tells of a datagram, and of those behind it.
fn datagrams_received(mut core: Box<Core>, first: Bytes) -> Box<Core> {
    let mut all = std::mem::take(&mut core.chunks);
    let most = (DATAGRAMS / first.len().max(1)).min(MOST_DATAGRAMS);
    all.push(first);
    core.proto.take_datagrams(&mut all, most);
    core.told += all.iter().map(|data| data.len().max(DATAGRAM)).sum::<usize>();
    core.monitor.connection(&ConnectionEvent::DatagramReceived(Bytes::new()));
    core = tell_by(core, |handler, handle| {
        handler.datagrams(handle, all.drain(..));
    });
    core.chunks = all;
    core
}

fn stream_event(mut core: Box<Core>, event: TransportStreamEvent) -> Box<Core> {
    if core.is_closing() {
        return core;
    }
    match event {
        TransportStreamEvent::Opened(id) => {
            let stream = core.add_peer_stream(id);
            let early = core.proto.early(id).is_some();
            tell(core, ConnectionEvent::PeerStreamStarted(NewStream::new(stream, id, early)))
        }
        TransportStreamEvent::Readable(id) => match core.streams.by_id(id) {
            Some(entry) => {
                entry.readable = true;
                let key = entry.key();
                stream_note(core, key, Note::Pump)
            }
            None => core,
        },
        TransportStreamEvent::Acked { id, offset, fin } => {
            core.acked(id, offset, fin);
            core
        }
        TransportStreamEvent::Stopped { id, code } => {
            if let Some(key) = core.streams.by_id(id).map(|entry| entry.key()) {
                core.note(key, Note::PeerReceiveAborted(code));
                core.abort_sends(key);
            }
            core
        }
        TransportStreamEvent::ResetAcked(id) => {
            if let Some(key) = core.streams.by_id(id).map(|entry| entry.key()) {
                core.send_shut_down(key, false);
            }
            core
        }
        TransportStreamEvent::Closed(id) => {
            let stats = core.proto.take_ended_stream_stats(id);
            if let Some(entry) = core.streams.by_id(id) {
                let (key, holds) = (entry.key(), entry.holds_data());
                entry.gone = true;
                entry.ended_stats = stats;
                if !holds {
                    core.wind_up(key);
                }
            }
            core
        }
        TransportStreamEvent::Accepted(id) => {
            if let Some(key) = core.streams.by_id(id).map(|entry| entry.key()) {
                core.note(key, Note::PeerAccepted);
            }
            core
        }
        TransportStreamEvent::CanceledByLoss(id) => {
            if let Some(key) = core.streams.by_id(id).map(|entry| entry.key()) {
                core.note(key, Note::CanceledByLoss);
            }
            core
        }
        TransportStreamEvent::Wanted(direction) => tell(core, ConnectionEvent::PeerNeedsStreams(direction)),
        TransportStreamEvent::Available(_) => {
            core.permit_openings();
            core.start_waiting();
            let [bidirectional, unidirectional] =
                Direction::ALL.map(|direction| core.proto.streams_available(direction));
            tell(core, ConnectionEvent::StreamsAvailable { bidirectional, unidirectional })
        }
        _ => core,
    }
}

impl Core {
    /// Lets handles know how many streams the peer permits.
    fn permit_openings(&self) {
        // Before the end of the handshake limits may turn out not to hold.
        if self.phase == Phase::Connected {
            for direction in Direction::ALL {
                self.shared.permit_openings(direction, self.proto.stream_limit(direction));
            }
        }
    }

    fn acked(&mut self, id: StreamId, offset: u64, fin: bool) {
        if std::mem::take(&mut self.ideal_stale) {
            self.ideal = ideal::bytes(self.proto.congestion_window());
        }
        let Some(entry) = self.streams.by_id(id) else { return };
        let key = entry.key();
        entry.acked = entry.acked.max(offset);
        while let Some(note) = entry.complete(fin) {
            self.happened.push_back(Happening::Stream(key, note));
        }
        match fin {
            true => self.send_shut_down(key, true),
            false => self.tell_ideal(key),
        }
    }

    /// Tells a stream how much to have under way, if that is more than it knows.
    pub(super) fn tell_ideal(&mut self, key: StreamKey) {
        let ideal = self.ideal;
        let news = |entry: &&mut Entry| entry.send == SendPart::Open && ideal > entry.ideal;
        let Some(entry) = self.streams.get(key).filter(news) else { return };
        entry.ideal = ideal;
        self.note(key, Note::IdealSendBufferSize(ideal));
    }
}

fn stream_note(mut core: Box<Core>, key: StreamKey, note: Note) -> Box<Core> {
    let last = matches!(note, Note::ShutdownComplete);
    let closing = core.is_closing();
    let Some(entry) = core.streams.get(key) else { return core };
    if last && !closing && !entry.shared.sealed.load(Ordering::Relaxed) {
        // What was accepted before now is completed before the last event; no more is accepted. (A
        // connection that is closing has ended its queue.)
        let shared = entry.shared.clone();
        core.take_operations_and(|| shared.sealed.store(true, Ordering::Relaxed));
        if !core.happened.is_empty() {
            core.note(key, note);
            return core;
        }
    }
    let Some(entry) = core.streams.get(key) else { return core };
    match &mut entry.listening {
        Listening::Unanswered(notes) if !last => {
            notes.push(note);
            return core;
        }
        // Who sends no more need not know.
        Listening::Handler(_) if matches!(note, Note::IdealSendBufferSize(_)) && entry.send != SendPart::Open => {}
        Listening::Handler(_) => {
            core.monitor.stream(last);
            core = match note {
                Note::Pump => pump(core, key),
                Note::Started { result, accepted } => {
                    let has_started = result.is_ok();
                    let mut core = tell_stream_by(core, key, |handler, stream| {
                        handler.event(stream, StreamEvent::Started(result.map_err(|error| *error)));
                        if accepted {
                            handler.event(stream, StreamEvent::PeerAccepted);
                        }
                    });
                    if has_started {
                        core.tell_ideal(key);
                    }
                    core
                }
                Note::PeerAccepted => tell_stream(core, key, StreamEvent::PeerAccepted),
                Note::CanceledByLoss => canceled_by_loss(core, key),
                Note::PeerReceiveAborted(code) => tell_stream(core, key, StreamEvent::PeerReceiveAborted(code)),
                Note::SendComplete { context, canceled } => {
                    let end = core.next_is_end_of_sends(key);
                    tell_stream_by(core, key, |handler, stream| {
                        handler.event(stream, StreamEvent::SendComplete { context, canceled });
                        if let Some(graceful) = end {
                            handler.event(stream, StreamEvent::SendShutdownComplete { graceful });
                        }
                    })
                }
                Note::SendShutdownComplete { graceful } => {
                    tell_stream(core, key, StreamEvent::SendShutdownComplete { graceful })
                }
                Note::IdealSendBufferSize(bytes) => tell_stream(core, key, StreamEvent::IdealSendBufferSize(bytes)),
                Note::ShutdownComplete => tell_stream(core, key, StreamEvent::ShutdownComplete),
            };
        }
        Listening::Unanswered(_) | Listening::Nobody => {}
    }
    if last {
        core.forget(key);
    }
    core
}

impl Core {
    /// Whether the next thing to tell is the end of this stream's sends, which then is told with what precedes it; and
    /// whether all of them were delivered.
    fn next_is_end_of_sends(&mut self, key: StreamKey) -> Option<bool> {
        let Some(Happening::Stream(next, Note::SendShutdownComplete { graceful })) = self.happened.front() else {
            return None;
        };
        let graceful = (*next == key).then_some(*graceful)?;
        self.happened.pop_front();
        Some(graceful)
    }
}

/// Asks with which code to reset a stream that a loss ends, and does it.
fn canceled_by_loss(mut core: Box<Core>, key: StreamKey) -> Box<Core> {
    let sends = |entry: &mut Entry| matches!(entry.send, SendPart::Open | SendPart::Finished);
    if !core.streams.get(key).is_some_and(sends) {
        // Reset meanwhile.
        return core;
    }
    let mut code = ApplicationErrorCode::default();
    let mut core = tell_stream(core, key, StreamEvent::CanceledByLoss(&mut code));
    // Unless the handler has reset it, or everything was acknowledged after all.
    let _ = core.reset(key, code);
    core
}

fn begin_closing(mut core: Box<Core>, reason: CloseReason) -> Box<Core> {
    if core.is_closing() {
        return core;
    }
    core.phase = Phase::Closing;
    core.shared.ends(reason.clone());
    core.publish(true);
    if let Some(question) = core.question.take() {
        question.settle();
    }
    for operation in core.shared.queue.end() {
        core.apply_queued(operation);
    }
    for key in core.streams.keys() {
        core.wind_up(key);
    }
    for (_, (context, sent)) in std::mem::take(&mut core.datagrams) {
        let state = if sent { DatagramSendState::LostDiscarded } else { DatagramSendState::Canceled };
        core.happened.push_back(Happening::Datagram { context, state });
    }
    match &reason {
        // The end of our own close is the end of the protocol: the peer may not have heard of it yet.
        CloseReason::LocalApplication { .. } => core,
        // Nobody is to hear of it.
        CloseReason::Silent => {
            core.happened.push_back(Happening::Complete);
            core
        }
        CloseReason::PeerApplication { code, reason } => {
            core.happened.push_back(Happening::Complete);
            tell(core, ConnectionEvent::ShutdownInitiatedByPeer { code: *code, reason })
        }
        reason => {
            core.happened.push_back(Happening::Complete);
            tell(core, ConnectionEvent::ShutdownInitiatedByTransport { reason })
        }
    }
}

/// The application hears the last event.
fn complete(mut core: Box<Core>) -> Box<Core> {
    if core.phase == Phase::Complete {
        return core;
    }
    core.phase = Phase::Complete;
    core.publish(true);
    let reason = core.shared.facts().close_reason.as_deref().cloned().unwrap_or(CloseReason::Silent);
    let handshake_completed = core.handshake_completed;
    core = tell(core, ConnectionEvent::ShutdownComplete { handshake_completed, reason: &reason });
    core.handler = None;
    core
}

/// The protocol has ended.
fn gone(mut core: Box<Core>) -> Box<Core> {
    let reason = core.proto.close_reason().cloned().unwrap_or(CloseReason::Silent);
    core = finish(core, reason);
    core.gone = true;
    core
}

pub(super) fn tell(mut core: Box<Core>, event: ConnectionEvent<'_>) -> Box<Core> {
    if core.handler.is_some() {
        core.monitor.connection(&event);
    }
    tell_by(core, |handler, handle| handler.event(handle, event))
}

/// Has `tell` tell the connection's handler something, with the connection's handle.
fn tell_by(core: Box<Core>, tell: impl FnOnce(&mut dyn ConnectionHandler, &Connection)) -> Box<Core> {
    call(begin_turn(core), tell)
}

/// The handler learns that events follow, if it has not yet.
#[inline]
fn begin_turn(core: Box<Core>) -> Box<Core> {
    match core.telling || core.handler.is_none() {
        true => core,
        false => begin_telling(core),
    }
}

#[inline(never)]
fn begin_telling(mut core: Box<Core>) -> Box<Core> {
    core.telling = true;
    call(core, |handler, _| handler.turn_begins())
}

/// The handler learns that no more events follow, if it knows of any.
pub(super) fn end_turn(mut core: Box<Core>) -> Box<Core> {
    match std::mem::take(&mut core.telling) {
        true => call(core, |handler, _| handler.turn_ends()),
        false => core,
    }
}

/// Lends the connection to what calls its handler.
fn call(mut core: Box<Core>, tell: impl FnOnce(&mut dyn ConnectionHandler, &Connection)) -> Box<Core> {
    let Some(mut handler) = core.handler.take() else { return core };
    let Some(handle) = core.handle.take() else { return core };
    let (mut core, result) = current::lend(core, || tell(&mut *handler, &handle));
    core.handle = Some(handle);
    match result {
        Ok(()) => core.handler = Some(handler),
        Err(current::Panicked) => core.panicked(),
    }
    core
}

pub(super) fn tell_stream(core: Box<Core>, key: StreamKey, event: StreamEvent<'_>) -> Box<Core> {
    tell_stream_by(core, key, |handler, stream| handler.event(stream, event))
}

/// Has `tell` tell a stream's handler something, with the stream's handle.
pub(super) fn tell_stream_by(
    core: Box<Core>,
    key: StreamKey,
    tell: impl FnOnce(&mut dyn StreamHandler, &Stream),
) -> Box<Core> {
    let mut core = begin_turn(core);
    let Some(entry) = core.streams.get(key) else { return core };
    let Listening::Handler(listener) = &mut entry.listening else { return core };
    let Some(mut handler) = listener.take() else { return core };
    let Some(handle) = entry.handle.take() else { return core };
    let (mut core, result) = current::lend(core, || tell(&mut *handler, &handle));
    if let Some(entry) = core.streams.get(key) {
        entry.handle = Some(handle);
        if let (Ok(()), Listening::Handler(place @ None)) = (&result, &mut entry.listening) {
            *place = Some(handler);
        }
    }
    if result.is_err() {
        core.panicked();
    }
    core
}

impl Core {
    /// A handler panicked: what it leaves behind cannot be trusted, and the worker has other
    /// connections to serve.
    pub(super) fn panicked(&mut self) {
        tracing::error!("a handler panicked; its connection is closed");
        self.close(ApplicationErrorCode::default(), Bytes::new());
    }
}
