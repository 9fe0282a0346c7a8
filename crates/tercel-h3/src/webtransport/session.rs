//! A session: what arrives for it waits here until the application asks.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, Uri};
use tercel::{CloseReason, VarInt, aio};
use tercel_wire::Writer;
use tokio::sync::{Notify, mpsc};

use super::capsule::{Capsule, fitting};
use super::code::SESSION_GONE;
use super::router::Incoming;
use super::stream::{RecvStream, SendStream};

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionEnd {
    /// It was closed at this end.
    Closed {
        /// The application's code.
        code: u32,
        /// The application's reason.
        reason: String,
    },
    /// The peer closed it.
    ClosedByPeer {
        /// The application's code; 0 if the peer gave none.
        code: u32,
        /// The application's reason.
        reason: String,
    },
    /// The peer left, or broke the rules of sessions: as is said.
    Broken(String),
    /// Its connection has ended.
    Connection(CloseReason),
}

impl std::fmt::Display for SessionEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed { code, reason } => write!(f, "the session was closed with code {code}: {reason:?}"),
            Self::ClosedByPeer { code, reason } => {
                write!(f, "the peer closed the session with code {code}: {reason:?}")
            }
            Self::Broken(how) => f.write_str(how),
            Self::Connection(reason) => reason.fmt(f),
        }
    }
}

impl std::error::Error for SessionEnd {}

/// A datagram was not sent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendDatagramError {
    /// The peer takes none.
    NotAvailable,
    /// It is longer than [`Session::max_datagram_size`].
    TooLarge,
    /// The session has ended.
    Session(SessionEnd),
}

impl std::fmt::Display for SendDatagramError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotAvailable => f.write_str("the peer takes no datagrams"),
            Self::TooLarge => f.write_str("the datagram is too large"),
            Self::Session(end) => end.fmt(f),
        }
    }
}

impl std::error::Error for SendDatagramError {}

/// A session; cheap to clone.
///
/// It ends when either side [closes](Self::close) it, with its connection, or, with code 0, when the
/// last clone and the last of its streams are dropped. With it end its streams: what was not
/// acknowledged by then may be lost, so wait for what matters
/// ([`SendStream::stopped`]) before closing. What has arrived before can still be accepted and read.
#[derive(Debug, Clone)]
pub struct Session(Arc<Handle>);

#[derive(Debug)]
struct Handle {
    request: Request<()>,
    state: Arc<State>,
    /// To whoever drives the session. Its end tells that nobody holds the session any more.
    close: mpsc::UnboundedSender<Capsule>,
}

impl Session {
    pub(super) fn new(request: Request<()>, state: Arc<State>, close: mpsc::UnboundedSender<Capsule>) -> Self {
        Self(Arc::new(Handle { request, state, close }))
    }

    /// The request by which it was asked for; [`RemoteAddress`](crate::RemoteAddress) is among its
    /// extensions.
    pub fn request(&self) -> &Request<()> {
        &self.0.request
    }

    /// The URI of the request.
    pub fn uri(&self) -> &Uri {
        self.0.request.uri()
    }

    /// The header fields of the request.
    pub fn headers(&self) -> &HeaderMap {
        self.0.request.headers()
    }

    pub(super) fn state(&self) -> &State {
        &self.0.state
    }

    /// The next bidirectional stream that the peer opens.
    ///
    /// # Errors
    /// The session has ended.
    pub async fn accept_bi(&self) -> Result<(SendStream, RecvStream), SessionEnd> {
        let state = self.state();
        let (send, recv, head) = state.next(&state.bidirectional, |arrived| arrived.bidirectional.pop_front()).await?;
        Ok((SendStream::new(send, self.clone()), RecvStream::new(recv, head, self.clone())))
    }

    /// The next unidirectional stream that the peer opens.
    ///
    /// # Errors
    /// The session has ended.
    pub async fn accept_uni(&self) -> Result<RecvStream, SessionEnd> {
        let state = self.state();
        let (recv, head) = state.next(&state.unidirectional, |arrived| arrived.unidirectional.pop_front()).await?;
        Ok(RecvStream::new(recv, head, self.clone()))
    }

    /// Opens a bidirectional stream; waits while the peer permits no more. The peer learns of it at once.
    ///
    /// # Errors
    /// The session has ended.
    pub async fn open_bi(&self) -> Result<(SendStream, RecvStream), SessionEnd> {
        let (mut send, recv) = self.state().until_end(self.state().connection.open_bi()).await?;
        self.announce(&mut send, BIDIRECTIONAL).await?;
        Ok((SendStream::new(send, self.clone()), RecvStream::new(recv, Bytes::new(), self.clone())))
    }

    /// Opens a unidirectional stream; waits while the peer permits no more. The peer learns of it at once.
    ///
    /// # Errors
    /// The session has ended.
    pub async fn open_uni(&self) -> Result<SendStream, SessionEnd> {
        let mut send = self.state().until_end(self.state().connection.open_uni()).await?;
        self.announce(&mut send, UNIDIRECTIONAL).await?;
        Ok(SendStream::new(send, self.clone()))
    }

    /// Says at the beginning of a stream whose it is.
    async fn announce(&self, send: &mut aio::SendStream, signal: u64) -> Result<(), SessionEnd> {
        let mut head = [0; 16];
        let mut writer = Writer::new(&mut head);
        writer.varint(signal);
        writer.varint(self.state().id);
        match send.write_all(writer.written()).await {
            // Whoever writes to it finds that it was stopped.
            Ok(()) | Err(aio::WriteError::Stopped(_)) => Ok(()),
            Err(_) => Err(self.state().end_with_connection()),
        }
    }

    /// Sends a datagram: once, unordered, without a promise.
    ///
    /// # Errors
    /// The session has ended, it is too large, or the peer takes none.
    pub fn send_datagram(&self, data: impl Into<Bytes>) -> Result<(), SendDatagramError> {
        let (state, data) = (self.state(), data.into());
        if let Some(end) = state.end.get() {
            return Err(SendDatagramError::Session(end.clone()));
        }
        if data.len() > self.max_datagram_size().ok_or(SendDatagramError::NotAvailable)? {
            return Err(SendDatagramError::TooLarge);
        }
        let mut head = [0; 8];
        let mut writer = Writer::new(&mut head);
        writer.varint(state.id / 4);
        let mut datagram = BytesMut::with_capacity(writer.position() + data.len());
        datagram.extend_from_slice(writer.written());
        datagram.extend_from_slice(&data);
        let sent = state.connection.send_datagram(datagram.freeze());
        sent.map_err(|_| SendDatagramError::Session(state.end_with_connection()))
    }

    /// The largest datagram that can be sent now, in bytes; `None` if the peer takes none.
    pub fn max_datagram_size(&self) -> Option<usize> {
        let max = self.state().connection.max_datagram_size()?;
        max.checked_sub(VarInt::encoded_len(self.state().id / 4))
    }

    /// The next datagram of the peer. If too many wait to be read
    /// ([`Limits::max_unread_datagrams`](crate::Limits::max_unread_datagrams)) the oldest are dropped.
    ///
    /// # Errors
    /// The session has ended.
    pub async fn read_datagram(&self) -> Result<Bytes, SessionEnd> {
        let state = self.state();
        state.next(&state.datagram, |arrived| arrived.datagrams.pop_front()).await
    }

    /// How many datagrams were dropped because nobody read them in time.
    pub fn dropped_datagrams(&self) -> u64 {
        self.state().arrived().dropped
    }

    /// Ends the session, with the first 1,024 bytes of `reason`. The first close wins.
    pub fn close(&self, code: u32, reason: &str) {
        let reason = fitting(reason).to_owned();
        if self.state().end(SessionEnd::Closed { code, reason: reason.clone() }) {
            // Whoever drives a session that has ended needs not be told.
            let _ = self.0.close.send(Capsule::Close { code, reason });
        }
    }

    /// Waits for the end; gives how it came.
    pub async fn closed(&self) -> SessionEnd {
        self.state().ended().await
    }

    /// Waits until the session should end soon: the server [stops](crate::Handle::stop), the peer asks
    /// for it, or the session has ended. What is left of it when the server's time is over ends with its connection.
    pub async fn draining(&self) {
        let state = self.state();
        state
            .when(&state.changed, || {
                (state.draining.load(Ordering::Acquire) || state.end.get().is_some()).then_some(())
            })
            .await;
    }
}

/// WEBTRANSPORT_STREAM, the signal at the beginning of a bidirectional stream of a session.
pub(super) const BIDIRECTIONAL: u64 = 0x41;
/// The stream type of a unidirectional stream of a session.
pub(super) const UNIDIRECTIONAL: u64 = 0x54;

/// What those share who drive a session, who bring what arrives for it, and who use it.
#[derive(Debug)]
pub(super) struct State {
    id: u64,
    connection: aio::Connection,
    max_datagrams: usize,
    arrived: Mutex<Arrived>,
    end: OnceLock<SessionEnd>,
    draining: AtomicBool,
    // Told when there is something new: of each kind, and that it drains or has ended.
    bidirectional: Notify,
    unidirectional: Notify,
    datagram: Notify,
    pub(super) changed: Arc<Notify>,
}

/// What nobody has asked for yet. The peer's credit bounds the streams.
#[derive(Debug, Default)]
struct Arrived {
    bidirectional: VecDeque<(aio::SendStream, aio::RecvStream, Bytes)>,
    unidirectional: VecDeque<(aio::RecvStream, Bytes)>,
    datagrams: VecDeque<Bytes>,
    dropped: u64,
}

impl State {
    pub(super) fn new(id: u64, connection: aio::Connection, max_datagrams: usize) -> Self {
        Self {
            id,
            connection,
            max_datagrams,
            arrived: Mutex::default(),
            end: OnceLock::new(),
            draining: AtomicBool::new(false),
            bidirectional: Notify::new(),
            unidirectional: Notify::new(),
            datagram: Notify::new(),
            changed: Arc::new(Notify::new()),
        }
    }

    fn arrived(&self) -> MutexGuard<'_, Arrived> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) const fn id(&self) -> u64 {
        self.id
    }

    /// A stream has arrived.
    pub(super) fn stream(&self, stream: Incoming) {
        if self.end.get().is_some() {
            return stream.refuse(SESSION_GONE);
        }
        match stream.send {
            Some(send) => {
                self.arrived().bidirectional.push_back((send, stream.recv, stream.head));
                self.bidirectional.notify_waiters();
            }
            None => {
                self.arrived().unidirectional.push_back((stream.recv, stream.head));
                self.unidirectional.notify_waiters();
            }
        }
    }

    /// A datagram has arrived.
    pub(super) fn datagram(&self, data: Bytes) {
        let mut arrived = self.arrived();
        arrived.datagrams.push_back(data);
        if arrived.datagrams.len() > self.max_datagrams {
            arrived.datagrams.pop_front();
            arrived.dropped += 1;
        }
        drop(arrived);
        self.datagram.notify_waiters();
    }

    /// The session ends so, unless it has ended before.
    pub(super) fn end(&self, end: SessionEnd) -> bool {
        let is_first = self.end.set(end).is_ok();
        for waiting in [&self.bidirectional, &self.unidirectional, &self.datagram, &*self.changed] {
            waiting.notify_waiters();
        }
        is_first
    }

    /// The session should end soon.
    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        self.changed.notify_waiters();
    }

    /// How it ended, if it has.
    pub(super) fn ending(&self) -> Option<&SessionEnd> {
        self.end.get()
    }

    /// Why the session is of no use after an error of its connection.
    pub(super) fn end_with_connection(&self) -> SessionEnd {
        if let Some(reason) = self.connection.close_reason() {
            self.end(SessionEnd::Connection(reason));
        }
        let unknown = || SessionEnd::Broken("the stream of the session has ended".into());
        self.end.get().cloned().unwrap_or_else(unknown)
    }

    /// How the session ends by an error of its request stream.
    pub(super) fn end_with(&self, error: String) -> SessionEnd {
        self.connection.close_reason().map_or(SessionEnd::Broken(error), SessionEnd::Connection)
    }

    /// Waits until `look` finds something, which may be so whenever `changed` tells.
    async fn when<T>(&self, changed: &Notify, look: impl Fn() -> Option<T>) -> T {
        loop {
            // Made before the look, so that nothing is missed after it.
            let notified = pin!(changed.notified());
            if let Some(found) = look() {
                return found;
            }
            notified.await;
        }
    }

    /// The next of what arrives; what has arrived goes before the end.
    async fn next<T>(&self, new: &Notify, take: impl Fn(&mut Arrived) -> Option<T>) -> Result<T, SessionEnd> {
        let look = || match take(&mut self.arrived()) {
            Some(taken) => Some(Ok(taken)),
            None => self.end.get().cloned().map(Err),
        };
        self.when(new, look).await
    }

    /// Waits for the end.
    async fn ended(&self) -> SessionEnd {
        self.when(&self.changed, || self.end.get().cloned()).await
    }

    /// What comes of `future`, unless the session ends before.
    async fn until_end<T>(
        &self,
        future: impl Future<Output = Result<T, aio::ConnectionError>>,
    ) -> Result<T, SessionEnd> {
        tokio::select! {
            biased;
            end = self.ended() => Err(end),
            result = future => result.map_err(|_| self.end_with_connection()),
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        let arrived = std::mem::take(&mut *self.arrived());
        for (send, recv, head) in arrived.bidirectional {
            Incoming { send: Some(send), recv, head }.refuse(SESSION_GONE);
        }
        for (recv, head) in arrived.unidirectional {
            Incoming { send: None, recv, head }.refuse(SESSION_GONE);
        }
    }
}
