//! What each operation does. Nothing here calls a handler: what there is to tell is noted and told
//! by [`super::deliver`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tercel_proto::congestion::SavedPath;
use tercel_proto::connection::{Connection as Protocol, ServerAccept};
use tercel_proto::datagram::{DatagramPriority, DatagramSendState};
use tercel_proto::error::ApiMisuse;
use tercel_proto::stream::{EndedStats, Flush};
use tercel_wire::{ApplicationErrorCode, Direction, Role, StreamId, TransportErrorCode};

use super::deliver::HURRY;
use super::streams::{Entry, Listening, Note, Pending, ReceivePart, SendPart, StreamKey};
use super::{Core, Farewell, Happening, Phase, StreamShared, index};
use crate::connection::Inspect;
use crate::event::StreamHandler;
use crate::operation::{Acceptance, ConnectionOperation, Datagram, Operation, Promise, Resumption, StreamOperation};
use crate::receive::Space;
use crate::status::Error;
use crate::stream::{AtLimit, SendOptions, StreamOptions};
use crate::worker::current;

/// Where an operation comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// A handler of the connection, which learns at once whether it succeeds.
    Handler,
    /// The queue, which has accepted it.
    Queue,
}

impl Core {
    /// A call from the connection's own handler.
    pub(crate) fn call(&mut self, operation: ConnectionOperation) -> Result<(), Error> {
        self.refuse_late()?;
        self.apply_to_connection(operation, Origin::Handler)
    }

    /// The same on a stream. What other threads have asked of it was asked before, and comes before it.
    pub(crate) fn call_stream(&mut self, stream: &Arc<StreamShared>, operation: StreamOperation) -> Result<(), Error> {
        if self.shared.queue.waits() {
            self.catch_up();
        }
        self.refuse_late()?;
        self.apply_to_stream(stream, operation)
    }

    /// Nothing more is asked of a connection that is over.
    fn refuse_late(&self) -> Result<(), Error> {
        match self.is_closing() {
            true => Err(self.shared.closed()),
            false => Ok(()),
        }
    }

    /// Sends a datagram.
    pub(crate) fn send_datagram(&mut self, datagram: Datagram) -> Result<(), Error> {
        self.refuse_late()?;
        let Datagram { data, context, priority } = datagram;
        self.unsent += HURRY * data.len();
        match context {
            Some(context) => {
                let number = self.proto.send_datagram(data, priority)?;
                self.datagrams.insert(number, (context, false));
            }
            None => self.proto.send_datagram_untold(data, priority)?,
        }
        Ok(())
    }

    /// Sends datagrams of which nothing is told, up to the first that cannot be sent.
    pub(crate) fn send_datagrams(&mut self, all: impl IntoIterator<Item = Bytes>) -> Result<(), Error> {
        self.refuse_late()?;
        for data in all {
            self.unsent += HURRY * data.len();
            self.proto.send_datagram_untold(data, DatagramPriority::Normal)?;
        }
        Ok(())
    }

    /// An operation from the queue: it was accepted, so a failure now is told by an event.
    pub(super) fn apply_queued(&mut self, operation: Operation) {
        let promise = operation.promise();
        if self.apply(operation, Origin::Queue).is_err() {
            match promise {
                Promise::None => {}
                Promise::Send { stream, context } => {
                    self.note(stream, Note::SendComplete { context, canceled: true });
                }
                Promise::Datagram { context } => {
                    let state = DatagramSendState::Canceled;
                    self.happened.push_back(Happening::Datagram { context, state });
                }
            }
        }
    }

    fn apply(&mut self, operation: Operation, origin: Origin) -> Result<(), Error> {
        match operation {
            Operation::Connection(operation) => self.apply_to_connection(operation, origin),
            Operation::Stream(stream, operation) => self.apply_to_stream(&stream, operation),
        }
    }

    fn apply_to_connection(&mut self, operation: ConnectionOperation, origin: Origin) -> Result<(), Error> {
        match operation {
            ConnectionOperation::Accept(acceptance) => self.accept(*acceptance, origin)?,
            ConnectionOperation::Refuse { code } => {
                self.answered();
                self.proto.refuse(self.now, code)?;
            }
            ConnectionOperation::SendTicket { data } => self.send_ticket(data)?,
            ConnectionOperation::SendDatagram(datagram) => self.send_datagram(datagram)?,
            ConnectionOperation::SendDatagrams(all) => self.send_datagrams(all)?,
            ConnectionOperation::Close { code, reason } => {
                self.shared.note_close_called();
                self.close(code, reason);
            }
            ConnectionOperation::CloseDelivered { code, reason, within } => {
                self.proto.flush();
                let deadline = self.now + within;
                // The first call says how the connection is closed.
                self.farewell.get_or_insert_with(|| Box::new(Farewell { code, reason, deadline }));
            }
            ConnectionOperation::CloseSilently => {
                self.shared.note_close_called();
                self.proto.close_silently(self.now);
            }
            ConnectionOperation::Verdict(verdict) => {
                self.question = None;
                self.proto.give_verdict(self.now, verdict)?;
            }
            ConnectionOperation::Ping => self.proto.ping(),
            ConnectionOperation::UpdateKeys => self.proto.update_keys()?,
            ConnectionOperation::SetStreamScheduling(scheduling) => self.proto.set_stream_scheduling(scheduling),
            ConnectionOperation::ChangeSettings(transport) => self.proto.reconfigure(self.now, &transport),
            ConnectionOperation::HoldStream { id, holds: true } => self.proto.hold_stream(id),
            ConnectionOperation::HoldStream { id, holds: false } => self.proto.release_stream(id),
            ConnectionOperation::TellNetwork(tells) => {
                self.network_told = tells.then(|| self.proto.stats().packets_acked);
            }
            ConnectionOperation::ChangePath(_) if self.role == Role::Server => {
                return Err(ApiMisuse::WrongRole.into());
            }
            ConnectionOperation::ChangePath(change) => self.ask_for(change),
            ConnectionOperation::Inspect(look) => {
                if current::guard(|| look(&Inspect { proto: &self.proto })).is_err() {
                    self.panicked();
                }
            }
            ConnectionOperation::Dropped if self.shared.handles.are_detached() => {}
            ConnectionOperation::Dropped if self.handler.is_none() => {
                self.shared.note_close_called();
                // A client that was never answered.
                let refused = self.proto.refuse(self.now, TransportErrorCode::CONNECTION_REFUSED);
                if refused.is_err() {
                    self.close(ApplicationErrorCode::default(), Bytes::new());
                }
            }
            ConnectionOperation::Dropped => {
                self.shared.note_close_called();
                self.close(ApplicationErrorCode::default(), Bytes::new());
            }
        }
        Ok(())
    }

    /// The client's next connection should know what was learnt of its path.
    pub(super) fn remember_path(&mut self, path: SavedPath) {
        self.renew_token(self.remote(), Some(path));
    }

    /// Server: gives the client, which is at `remote`, another token.
    pub(super) fn renew_token(&mut self, remote: SocketAddr, path: Option<SavedPath>) {
        self.token_for = Some(remote.ip());
        let version = self.proto.version();
        let token = self.shared.registration.new_token(version, self.now, remote, path, &mut self.entropy);
        self.proto.renew_token(token);
    }

    fn accept(&mut self, acceptance: Acceptance, origin: Origin) -> Result<(), Error> {
        self.answered();
        let Acceptance { tls, transport, handler, resumption } = acceptance;
        let Resumption { tickets, ticket, early_data } = resumption;
        self.largest = super::largest(&transport);
        let version = self.proto.version_under(&transport);
        let remote = self.remote();
        self.token_for = Some(remote.ip());
        let new_token = self.shared.registration.new_token(version, self.now, remote, None, &mut self.entropy);
        let used = |ticket| tickets.as_ref().is_some_and(|tickets| !tickets.is_first_use(ticket, self.now));
        let early_data = early_data && !ticket.as_ref().is_some_and(used);
        self.tickets = tickets;
        let accept = ServerAccept { tls, transport: Some(transport), new_token, ticket, early_data };
        let accepted = self.proto.accept(self.now, accept);
        if accepted.is_ok() || origin == Origin::Queue {
            // The client may have left. Who was told "accepted" hears of the end.
            self.handler = Some(handler);
        }
        Ok(accepted?)
    }

    /// The question that the application was asked is answered.
    fn answered(&mut self) {
        if let Some(question) = self.question.take() {
            question.settle();
        }
    }

    fn send_ticket(&mut self, data: Bytes) -> Result<(), Error> {
        if self.role == Role::Client {
            return Err(ApiMisuse::WrongRole.into());
        }
        let tickets = self.tickets.as_ref().ok_or(ApiMisuse::ResumptionUnavailable)?;
        let (keys, terms) = tickets.make(data)?;
        Ok(self.proto.send_ticket(self.now, &keys, &terms)?)
    }

    /// Server: what the configuration sends by itself.
    pub(super) fn send_automatic_tickets(&mut self) {
        let automatic = self.tickets.as_ref().map_or(0, |tickets| tickets.terms.automatic);
        for _ in 0..automatic {
            if self.send_ticket(Bytes::new()).is_err() {
                // A client that cannot resume gets none.
                return;
            }
        }
    }

    pub(super) fn close(&mut self, code: ApplicationErrorCode, reason: Bytes) {
        self.proto.close(self.now, code, reason);
    }

    /// Closes as was asked for once everything is delivered, or time is up. Tells whether it did.
    pub(super) fn close_if_delivered(&mut self) -> bool {
        let (now, streams, proto) = (self.now, &self.streams, &self.proto);
        let delivered = || streams.are_delivered() && proto.are_tickets_delivered();
        let due = |farewell: &mut Box<Farewell>| farewell.deadline <= now || delivered();
        let Some(farewell) = self.farewell.take_if(due) else { return false };
        let Farewell { code, reason, .. } = *farewell;
        self.shared.note_close_called();
        self.close(code, reason);
        true
    }

    fn open(
        &mut self,
        stream: Arc<StreamShared>,
        handler: Box<dyn StreamHandler>,
        options: StreamOptions,
        into: Option<Space>,
    ) -> Result<(), Error> {
        self.monitor.stream_opened();
        let mut entry = Entry::new(stream, None, Listening::Handler(Some(handler)));
        if options.announce {
            entry.wait().announce = true;
        }
        if options.priority != 0 {
            entry.wait().priority = Some(options.priority);
        }
        let key = self.streams.insert(entry);
        if let Some(space) = into {
            self.provide(key, space)?;
        }
        self.start(key, options.at_limit);
        Ok(())
    }

    fn apply_to_stream(&mut self, stream: &Arc<StreamShared>, operation: StreamOperation) -> Result<(), Error> {
        if let StreamOperation::Open { handler, options, into } = operation {
            return self.open(stream.clone(), handler, options, into);
        }
        let key = stream.key();
        let unknown = Error::Misuse(ApiMisuse::UnknownStream);
        let Some(entry) = self.streams.get(key) else {
            let released = match operation {
                StreamOperation::Consumed(len) => self.streams.release(key, len),
                StreamOperation::CompleteReceive { len, .. } => self.streams.release(key, len as u64),
                StreamOperation::Dropped => self.streams.release(key, u64::MAX),
                _ => return Err(unknown),
            };
            if let Some((id, len)) = released {
                self.proto.consumed(self.now, id, len);
            }
            return Ok(());
        };
        match operation {
            StreamOperation::Open { .. } => {}
            StreamOperation::Accept(handler) => {
                self.monitor.stream_opened();
                let before = std::mem::replace(&mut entry.listening, Listening::Handler(Some(handler)));
                if let Listening::Unanswered(notes) = before {
                    self.happened.extend(notes.into_iter().map(|note| Happening::Stream(key, note)));
                }
                self.tell_ideal(key);
            }
            StreamOperation::Send { data, options } => self.send(key, data, options)?,
            StreamOperation::Reset(code) => self.reset(key, code)?,
            StreamOperation::ResetAt { code, reliable_size } => self.reset_at(key, code, reliable_size)?,
            StreamOperation::StopSending(code) => self.stop(key, code)?,
            StreamOperation::Consumed(len) => self.consume(key, len),
            // Nobody is to hear of the rest.
            StreamOperation::CompleteReceive { len, .. } if entry.forgotten => self.consume(key, len as u64),
            StreamOperation::CompleteReceive { accepted, rest, .. } => self.complete_receive(key, accepted, rest),
            StreamOperation::Provide(space) => self.provide(key, space)?,
            StreamOperation::SetReceiveEnabled(enabled) => {
                entry.receive_enabled = enabled;
                entry.readable |= enabled && !entry.kept.is_empty();
                if enabled && entry.readable {
                    self.note(key, Note::Pump);
                }
            }
            StreamOperation::SetPriority(priority) => match entry.id {
                Some(id) => self.proto.set_priority(id, priority)?,
                None => entry.wait().priority = Some(priority),
            },
            StreamOperation::Inspect(look) => {
                let id = entry.id;
                let ended = entry.ended_stats.as_ref().map(EndedStats::read);
                let stats = ended.or_else(|| self.proto.stream_stats(id?)).unwrap_or_default();
                if current::guard(|| look(&stats)).is_err() {
                    self.panicked();
                }
            }
            StreamOperation::Dropped if entry.forgotten => self.consume(key, u64::MAX),
            StreamOperation::Dropped if stream.handles.are_detached() => {}
            StreamOperation::Dropped => {
                if matches!(entry.listening, Listening::Unanswered(_)) {
                    entry.listening = Listening::Nobody;
                }
                let (send, receive) = (entry.send, entry.receive);
                if send == SendPart::Open {
                    self.reset(key, ApplicationErrorCode::default())?;
                }
                if receive == ReceivePart::Open {
                    self.stop(key, ApplicationErrorCode::default())?;
                }
            }
        }
        Ok(())
    }

    fn send(&mut self, key: StreamKey, data: Bytes, options: SendOptions) -> Result<(), Error> {
        let early = self.phase == Phase::Handshaking;
        let Some(entry) = self.streams.get(key) else { return Ok(()) };
        if entry.send != SendPart::Open {
            return Err(ApiMisuse::SendClosed.into());
        }
        let len = data.len() as u64;
        self.unsent += data.len();
        let held = early && options.after_handshake;
        match entry.id.filter(|_| !held && !entry.has_data_waiting()) {
            Some(id) => give(&mut self.proto, id, data, options)?,
            None => {
                entry.wait().data.push_back((data, options));
                if held && entry.id.is_some() {
                    self.streams.after_handshake.push_back(key);
                }
            }
        }
        let Some(entry) = self.streams.get(key) else { return Ok(()) };
        entry.given += len;
        if options.fin {
            entry.send = SendPart::Finished;
            entry.shared.send_closed.store(true, Ordering::Relaxed);
        }
        if let Some(context) = options.context.filter(|_| options.done_when_taken) {
            self.note(key, Note::SendComplete { context, canceled: false });
        } else if let Some(context) = options.context {
            entry.sends.push_back(Pending { end: entry.given, fin: options.fin, context });
            // An empty send may be done with at once.
            if let Some(note) = entry.complete(false) {
                self.note(key, note);
            }
        }
        Ok(())
    }

    pub(super) fn reset(&mut self, key: StreamKey, code: ApplicationErrorCode) -> Result<(), Error> {
        let Some(entry) = self.streams.get(key) else { return Ok(()) };
        match entry.send {
            SendPart::Open | SendPart::Finished | SendPart::Truncated => {}
            SendPart::Aborted | SendPart::Done => return Err(ApiMisuse::SendClosed.into()),
        }
        match entry.id {
            Some(id) => self.proto.reset(id, code)?,
            None => entry.wait().reset = Some(code),
        }
        self.abort_sends(key);
        Ok(())
    }

    fn reset_at(&mut self, key: StreamKey, code: ApplicationErrorCode, size: u64) -> Result<(), Error> {
        if size == 0 {
            return self.reset(key, code);
        }
        let Some(entry) = self.streams.get(key) else { return Ok(()) };
        match entry.send {
            SendPart::Open | SendPart::Finished | SendPart::Truncated => {}
            SendPart::Aborted | SendPart::Done => return Err(ApiMisuse::SendClosed.into()),
        }
        if size > entry.given {
            return Err(ApiMisuse::InvalidArgument("more is to be delivered than was given to send").into());
        }
        match entry.id {
            Some(id) => self.proto.reset_at(id, code, size)?,
            None => {
                let waiting = entry.wait();
                let (code, before) = waiting.reset_at.unwrap_or((code, size));
                waiting.reset_at = Some((code, size.min(before)));
            }
        }
        entry.send = SendPart::Truncated;
        entry.shared.send_closed.store(true, Ordering::Relaxed);
        for send in entry.sends.split_off(|send| send.end <= size && !send.fin) {
            self.note(key, Note::SendComplete { context: send.context, canceled: true });
        }
        Ok(())
    }

    /// Nothing more is sent: every send that waits is canceled.
    pub(super) fn abort_sends(&mut self, key: StreamKey) {
        let Some(entry) = self.streams.get(key) else { return };
        entry.send = SendPart::Aborted;
        entry.shared.send_closed.store(true, Ordering::Relaxed);
        if let Some(waiting) = &mut entry.waiting {
            waiting.data.clear();
        }
        for send in std::mem::take(&mut entry.sends) {
            self.note(key, Note::SendComplete { context: send.context, canceled: true });
        }
    }

    pub(super) fn stop(&mut self, key: StreamKey, code: ApplicationErrorCode) -> Result<(), Error> {
        let Some(entry) = self.streams.get(key) else { return Ok(()) };
        if entry.receive == ReceivePart::Done {
            return Err(ApiMisuse::ReceiveClosed.into());
        }
        match entry.id {
            // The protocol has everything already.
            Some(_) if entry.finished => {}
            Some(id) => self.proto.stop_sending(id, code)?,
            None => entry.wait().stop = Some(code),
        }
        self.stop_receiving(key);
        self.wind_up_if_gone(key);
        Ok(())
    }

    /// Starts a stream, or does what it is to do at the peer's limit.
    fn start(&mut self, key: StreamKey, at_limit: AtLimit) {
        let Some(direction) = self.streams.get(key).map(|entry| entry.shared.direction) else { return };
        if self.is_closing() {
            // It is wound up with the others, when all that was asked of it is known.
        } else if at_limit == AtLimit::Ahead {
            self.start_ahead(key, direction);
        } else if !self.streams.opening[index(direction)].is_empty() || !self.try_start(key) {
            match at_limit {
                AtLimit::Fail => self.wind_up_for(key, Some(ApiMisuse::StreamLimit.into())),
                _ => self.streams.opening[index(direction)].push_back(key),
            }
        }
    }

    /// Starts a stream whether the peer permits it or not.
    fn start_ahead(&mut self, key: StreamKey, direction: Direction) {
        let Ok((id, accepted)) = self.proto.open_stream_ahead(direction) else { return self.wind_up(key) };
        self.streams.started(key, id);
        self.note(key, Note::Started { result: Ok(id), accepted });
        self.release(key, id);
    }

    /// Starts what waits for the peer's permission, as far as it goes.
    pub(super) fn start_waiting(&mut self) {
        for direction in 0..self.streams.opening.len() {
            while let Some(key) = self.streams.opening[direction].front().copied() {
                if !self.try_start(key) {
                    break;
                }
                self.streams.opening[direction].pop_front();
            }
        }
    }

    /// `false` if the stream has to wait.
    fn try_start(&mut self, key: StreamKey) -> bool {
        let Some(entry) = self.streams.get(key) else { return true };
        match self.proto.open_stream(entry.shared.direction) {
            Ok(id) => {
                self.streams.started(key, id);
                self.note(key, Note::Started { result: Ok(id), accepted: false });
                self.release(key, id);
                true
            }
            Err(ApiMisuse::StreamLimit | ApiMisuse::TooEarly) => false,
            Err(_) => {
                self.wind_up(key);
                true
            }
        }
    }

    /// Does what has waited for the ID, or for the end of the handshake.
    fn release(&mut self, key: StreamKey, id: StreamId) {
        let early = self.phase == Phase::Handshaking;
        let Some(entry) = self.streams.get(key) else { return };
        let Some(mut waiting) = entry.waiting.take() else {
            let _ = self.tell_space(key);
            return;
        };
        if let Some(priority) = waiting.priority {
            let _ = self.proto.set_priority(id, priority);
        }
        if waiting.announce {
            let _ = self.proto.announce_stream(id);
        }
        let _ = self.tell_space(key);
        while let Some((data, options)) = waiting.data.pop_front() {
            if early && options.after_handshake {
                waiting.data.push_front((data, options));
                break;
            }
            if give(&mut self.proto, id, data, options).is_err() {
                waiting.data.clear();
                self.abort_sends(key);
            }
        }
        if !waiting.data.is_empty()
            && let Some(entry) = self.streams.get(key)
        {
            entry.wait().data = waiting.data;
            self.streams.after_handshake.push_back(key);
        }
        if let Some(code) = waiting.reset {
            let _ = self.proto.reset(id, code);
        } else if let Some((code, size)) = waiting.reset_at {
            let _ = self.proto.reset_at(id, code, size);
        }
        if let Some(code) = waiting.stop {
            let _ = self.proto.stop_sending(id, code);
        }
    }

    /// The handshake is complete: sends what has waited for that.
    pub(super) fn release_after_handshake(&mut self) {
        let mut waiting = std::mem::take(&mut self.streams.after_handshake);
        while let Some(key) = waiting.pop_front() {
            if let Some(id) = self.streams.get(key).and_then(|entry| entry.id) {
                self.release(key, id);
            }
        }
    }

    /// The stream is over, or never starts: cancels what waits and tells its last events.
    pub(super) fn wind_up(&mut self, key: StreamKey) {
        self.wind_up_for(key, None);
    }

    /// The same; `error` says why it never starts, if it has not and that is not for the end of the connection.
    fn wind_up_for(&mut self, key: StreamKey, error: Option<Error>) {
        let Some(entry) = self.streams.get(key).filter(|entry| !entry.over) else { return };
        entry.over = true;
        let (send, never_started) = (entry.send, entry.id.is_none());
        self.stop_receiving(key);
        if never_started {
            let error = error.unwrap_or_else(|| self.shared.closed());
            self.note(key, Note::Started { result: Err(Box::new(error)), accepted: false });
        }
        if send != SendPart::Done {
            self.abort_sends(key);
            self.send_shut_down(key, false);
        }
        self.note(key, Note::ShutdownComplete);
    }

    /// The sending part is done.
    pub(super) fn send_shut_down(&mut self, key: StreamKey, graceful: bool) {
        if let Some(entry) = self.streams.get(key).filter(|entry| entry.send != SendPart::Done) {
            entry.send = SendPart::Done;
            entry.shared.send_closed.store(true, Ordering::Relaxed);
            self.note(key, Note::SendShutdownComplete { graceful });
        }
    }
}

/// Gives data to the protocol.
fn give(proto: &mut Protocol, id: StreamId, data: Bytes, options: SendOptions) -> Result<(), ApiMisuse> {
    if options.cancel_on_loss {
        proto.cancel_on_loss(id)?;
    }
    let flush = if options.more_follows && !options.fin { Flush::WithNext } else { Flush::Now };
    proto.send_with(id, data, options.fin, flush)
}
