//! What handlers on the workers and futures elsewhere share.
//!
//! A state is locked for a few instructions at a time, and wakers are called after the lock is
//! gone. Whoever finds nothing to do leaves its waker under the same lock, so no wake-up is lost.

use std::collections::{BTreeMap, VecDeque};
use std::mem::take;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use bytes::Bytes;
use smallvec::SmallVec;
use tercel_proto::datagram::DatagramSendState;
use tercel_proto::error::CloseReason;
use tercel_proto::short_queue::ShortQueue;
use tercel_wire::ApplicationErrorCode;

use crate::cell::MIN_IDEAL;
use crate::certificate::{PeerCertificate, PendingVerdict};
use crate::event::{ConnectionEvent, ConnectionHandler, StreamEvent, StreamHandler};
use crate::resumption::ResumptionTicket;
use crate::status::Error;
use crate::stream::Stream;

/// A lock that outlives a panic of whoever held it: the states are valid at every moment.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tasks that wait for the same thing: mostly one.
#[derive(Debug, Default)]
pub(super) struct Wakers(SmallVec<[Waker; 1]>);

impl Wakers {
    pub(super) fn wait(&mut self, context: &Context<'_>) {
        if !self.0.iter().any(|waker| waker.will_wake(context.waker())) {
            self.0.push(context.waker().clone());
        }
    }

    /// Takes the tasks out, to be woken once the lock is gone.
    pub(super) fn take(&mut self) -> Self {
        std::mem::take(self)
    }
}

pub(super) fn wake(wakers: Wakers) {
    wakers.0.into_iter().for_each(Waker::wake);
}

/// The one task that has a part of a stream to itself and waits for it.
#[derive(Debug, Default)]
pub(super) struct Owner(Option<Waker>);

impl Owner {
    pub(super) fn wait(&mut self, context: &Context<'_>) {
        match &mut self.0 {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
    }
}

/// Whom an event of a stream wakes, once the lock is gone.
#[derive(Default)]
struct Woken {
    writer: Owner,
    reader: Owner,
    others: Wakers,
}

impl Woken {
    fn wake(self) {
        self.writer.0.into_iter().chain(self.reader.0).for_each(Waker::wake);
        wake(self.others);
    }
}

/// A stream of the peer's that nobody has accepted yet.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) stream: Stream,
    pub(super) state: Arc<Mutex<StreamState>>,
}

/// So many datagrams wait to be read; beyond, the oldest are dropped.
const MAX_DATAGRAMS: usize = 4096;

/// The state of a connection.
#[derive(Debug, Default)]
pub(super) struct ConnectionState {
    /// The peer's certificate, until somebody judges it.
    pub(super) question: Option<(PeerCertificate, PendingVerdict)>,
    /// Whether nobody is left who could.
    pub(super) unjudged: bool,
    pub(super) connected: bool,
    pub(super) resumed: bool,
    pub(super) early_data_accepted: bool,
    pub(super) confirmed: bool,
    /// Why the connection is ending, or has ended.
    pub(super) ending: Option<CloseReason>,
    pub(super) ended: bool,
    /// By [`tercel_wire::Direction`].
    pub(super) arrived: [VecDeque<Arrived>; 2],
    pub(super) datagrams: VecDeque<Bytes>,
    /// Sent datagrams of which somebody wants to know what became, by context.
    pub(super) awaited: BTreeMap<u64, Option<DatagramSendState>>,
    pub(super) last_context: u64,
    /// The newest token for another connection to the same server.
    pub(super) token: Option<Bytes>,
    /// The newest ticket that nobody took.
    pub(super) ticket: Option<ResumptionTicket>,
    /// Sending parts that are not done.
    pub(super) sending: usize,
    /// Who waits for streams, by [`tercel_wire::Direction`].
    pub(super) acceptors: [Wakers; 2],
    /// Who waits for datagrams.
    pub(super) readers: Wakers,
    /// Who waits for anything else.
    pub(super) wakers: Wakers,
}

impl ConnectionState {
    /// Everybody, for the connection is ending.
    fn all(&mut self) -> Wakers {
        let [one, other] = &mut self.acceptors;
        let all = [one, other, &mut self.readers, &mut self.wakers];
        Wakers(all.into_iter().flat_map(|wakers| take(&mut wakers.0)).collect())
    }
}

/// Puts what happens to a connection into its state.
pub(super) struct ConnectionFeed {
    pub(super) state: Arc<Mutex<ConnectionState>>,
    pub(super) send_buffer: usize,
}

impl ConnectionHandler for ConnectionFeed {
    fn datagrams(&mut self, _connection: &crate::Connection, received: std::vec::Drain<'_, Bytes>) {
        let mut state = lock(&self.state);
        state.datagrams.extend(received);
        let too_many = state.datagrams.len().saturating_sub(MAX_DATAGRAMS);
        state.datagrams.drain(..too_many);
        let wakers = state.readers.take();
        drop(state);
        wake(wakers);
    }

    fn event(&mut self, _connection: &crate::Connection, event: ConnectionEvent<'_>) {
        let mut state = lock(&self.state);
        match event {
            // The verdict is dropped, which rejects.
            ConnectionEvent::PeerCertificate { .. } if state.unjudged => return,
            ConnectionEvent::PeerCertificate { certificate, verdict } => {
                state.question = Some((certificate, verdict));
            }
            ConnectionEvent::Connected { resumed, early_data_accepted, .. } => {
                state.connected = true;
                (state.resumed, state.early_data_accepted) = (resumed, early_data_accepted);
            }
            ConnectionEvent::HandshakeConfirmed => state.confirmed = true,
            ConnectionEvent::PeerStreamStarted(new) => {
                let direction = new.direction();
                let sends = direction == tercel_wire::Direction::Bidirectional;
                state.sending += usize::from(sends);
                drop(state);
                let stream_state = StreamState::new(self.send_buffer, sends.then(|| self.state.clone()));
                let feed = StreamFeed { state: stream_state.clone() };
                // If the connection has ended there is nobody to give the stream to.
                let Ok(stream) = new.accept(feed) else { return };
                state = lock(&self.state);
                state.arrived[direction as usize].push_back(Arrived { stream, state: stream_state });
                let wakers = state.acceptors[direction as usize].take();
                drop(state);
                return wake(wakers);
            }
            // They come to `datagrams`.
            ConnectionEvent::DatagramReceived(_) => return,
            ConnectionEvent::DatagramSendStateChanged { context, state: end } => {
                match state.awaited.get_mut(&context) {
                    Some(known) if end.is_final() => *known = Some(end),
                    _ => return,
                }
            }
            // Whoever waits for another value looks for it.
            ConnectionEvent::DatagramStateChanged { .. } | ConnectionEvent::AddressObserved(_) => {}
            ConnectionEvent::NewToken(token) => state.token = Some(token.clone()),
            ConnectionEvent::ResumptionTicket(ticket) => state.ticket = Some(ticket.clone()),
            ConnectionEvent::ShutdownInitiatedByPeer { code, reason } => {
                state.ending = Some(CloseReason::PeerApplication { code, reason: reason.clone() });
            }
            ConnectionEvent::ShutdownInitiatedByTransport { reason } => state.ending = Some(reason.clone()),
            ConnectionEvent::ShutdownComplete { reason, .. } => {
                state.ending = Some(reason.clone());
                state.ended = true;
                // What nobody accepted is of no use any more.
                let arrived = (std::mem::take(&mut state.arrived), state.question.take());
                let wakers = state.all();
                drop(state);
                drop(arrived);
                wake(wakers);
                return;
            }
            _ => return,
        }
        let wakers = if state.ending.is_some() { state.all() } else { state.wakers.take() };
        drop(state);
        wake(wakers);
    }
}

/// How a part of a stream ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// As both ends wanted.
    Finished,
    /// The peer reset or stopped it.
    ByPeer(ApplicationErrorCode),
    /// At this end.
    Here,
    /// By a loss, as was asked for.
    Lost,
    /// With its connection.
    Connection(CloseReason),
}

/// The state of a stream: both parts.
#[derive(Debug)]
pub(super) struct StreamState {
    pub(super) started: Option<Result<(), Error>>,
    pub(super) opener: Wakers,
    // Sending.
    /// Bytes written and not acknowledged, and how many there may be.
    pub(super) outstanding: usize,
    pub(super) limit: usize,
    /// Whether the limit follows what keeps the path busy.
    follows_path: bool,
    /// Whether it lasts as long as its connection, so that its end is not waited for.
    lasting: bool,
    pub(super) send_end: Option<End>,
    /// With which code a loss ends it, if one does.
    pub(super) cancel_on_loss: Option<ApplicationErrorCode>,
    /// Whether the peer has everything, or never will.
    pub(super) send_done: bool,
    pub(super) writer: Owner,
    // Receiving.
    pub(super) chunks: ShortQueue<Bytes>,
    pub(super) receive_end: Option<End>,
    pub(super) reader: Owner,
    /// The connection, to be told when the sending part is done.
    connection: Option<Arc<Mutex<ConnectionState>>>,
}

impl StreamState {
    /// `limit` is that of the settings; `connection` is told when the sending part, if there is one, is
    /// done.
    pub(super) fn new(limit: usize, connection: Option<Arc<Mutex<ConnectionState>>>) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            started: None,
            opener: Wakers::default(),
            outstanding: 0,
            limit: if limit == 0 { MIN_IDEAL as usize } else { limit },
            follows_path: limit == 0,
            lasting: false,
            send_end: None,
            cancel_on_loss: None,
            send_done: false,
            writer: Owner::default(),
            chunks: ShortQueue::default(),
            receive_end: None,
            reader: Owner::default(),
            connection,
        }))
    }

    /// So many bytes were written.
    pub(super) fn written(&mut self, len: usize) {
        if self.lasting
            && self.outstanding == 0
            && let Some(connection) = &self.connection
        {
            lock(connection).sending += 1;
        }
        self.outstanding += len;
    }

    /// So many bytes were acknowledged, or never will be.
    fn settled(&mut self, len: usize) -> Wakers {
        let before = self.outstanding;
        self.outstanding = before.saturating_sub(len);
        if self.lasting && before > 0 && self.outstanding == 0 { self.not_awaited() } else { Wakers::default() }
    }

    /// From now on a shutdown of the connection does not wait for the end of the stream.
    pub(super) fn lasts(&mut self) -> Wakers {
        let first = !std::mem::replace(&mut self.lasting, true);
        if first && self.outstanding == 0 { self.not_awaited() } else { Wakers::default() }
    }

    fn sending_done(&mut self) -> Wakers {
        self.send_done = true;
        let wakers = if self.lasting && self.outstanding == 0 { Wakers::default() } else { self.not_awaited() };
        self.connection = None;
        wakers
    }

    /// A shutdown of the connection does not wait for the stream.
    fn not_awaited(&self) -> Wakers {
        let Some(connection) = &self.connection else { return Wakers::default() };
        let mut connection = lock(connection);
        connection.sending = connection.sending.saturating_sub(1);
        // Who waits for that waits for all.
        if connection.sending == 0 { connection.wakers.take() } else { Wakers::default() }
    }
}

/// Puts what happens to a stream into its state.
pub(super) struct StreamFeed {
    pub(super) state: Arc<Mutex<StreamState>>,
}

impl StreamHandler for StreamFeed {
    fn event(&mut self, stream: &Stream, event: StreamEvent<'_>) {
        let mut state = lock(&self.state);
        let mut woken = Woken::default();
        match event {
            StreamEvent::Started(result) => {
                state.started = Some(result.map(drop));
                woken.others = state.opener.take();
            }
            StreamEvent::Receive(mut receive) => {
                receive.defer();
                receive.take().for_each(|chunk| state.chunks.push_back(chunk));
                if receive.fin() {
                    state.receive_end.get_or_insert(End::Finished);
                }
                woken.reader = take(&mut state.reader);
            }
            StreamEvent::PeerSendShutdown => {
                state.receive_end.get_or_insert(End::Finished);
                woken.reader = take(&mut state.reader);
            }
            StreamEvent::PeerSendAborted(code) => {
                state.receive_end.get_or_insert(End::ByPeer(code));
                woken.reader = take(&mut state.reader);
            }
            StreamEvent::PeerReceiveAborted(code) => {
                state.send_end = Some(End::ByPeer(code));
                woken.writer = take(&mut state.writer);
            }
            StreamEvent::IdealSendBufferSize(bytes) if state.follows_path => {
                state.limit = usize::try_from(bytes).unwrap_or(usize::MAX);
                woken.writer = take(&mut state.writer);
            }
            StreamEvent::CanceledByLoss(code) => {
                *code = state.cancel_on_loss.unwrap_or_default();
                state.send_end.get_or_insert(End::Lost);
                woken.writer = take(&mut state.writer);
            }
            StreamEvent::SendComplete { context, .. } => {
                woken.others = state.settled(context as usize);
                // A writer that is woken for every packet would do little each time.
                if state.outstanding <= state.limit / 4 * 3 {
                    woken.writer = take(&mut state.writer);
                }
            }
            StreamEvent::SendShutdownComplete { graceful } => {
                if graceful {
                    state.send_end = Some(End::Finished);
                }
                woken = Woken { writer: take(&mut state.writer), others: state.sending_done(), ..woken };
            }
            StreamEvent::ShutdownComplete => {
                if (state.receive_end.is_none() || state.send_end.is_none())
                    && let Some(reason) = stream.connection().close_reason()
                {
                    state.receive_end.get_or_insert(End::Connection(reason.clone()));
                    state.send_end.get_or_insert(End::Connection(reason));
                }
                state.started.get_or_insert(Err(Error::Closed));
                (woken.writer, woken.reader) = (take(&mut state.writer), take(&mut state.reader));
                woken.others = state.sending_done();
                woken.others.0.append(&mut state.opener.take().0);
            }
            _ => return,
        }
        drop(state);
        woken.wake();
    }
}
