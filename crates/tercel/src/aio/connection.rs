//! A connection of the async face.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use tercel_proto::datagram::DatagramPriority;
use tercel_proto::error::CloseReason;
use tercel_proto::stats::ConnectionStats;
use tercel_wire::{ApplicationErrorCode, Direction, Version};

use super::answer::Answer;
use super::datagram::SentDatagram;
use super::error::{ConnectError, ConnectionError};
use super::recv::RecvStream;
use super::send::SendStream;
use super::state::{ConnectionState, StreamFeed, StreamState, lock};
use super::verifier::{AnyVerifier, Verifying};
use crate::certificate::{PeerCertificate, PendingVerdict};
use crate::connection::Inspect;
use crate::handshake_info::HandshakeInfo;
use crate::resumption::ResumptionTicket;
use crate::status::Error;
use crate::stream::{Stream, StreamOptions};

/// A connection; cheap to clone. It closes, with code 0, when the last clone and the last of its
/// streams are dropped.
///
/// ```
/// use tercel::aio::{Connection, ConnectionError};
///
/// async fn use_it(connection: &Connection) -> Result<(), Box<dyn std::error::Error>> {
///     // A request and its answer.
///     let (mut send, mut recv) = connection.open_bi().await?;
///     send.write_all(b"how are you?").await?;
///     send.finish()?;
///     println!("{}", String::from_utf8_lossy(&recv.read_to_end(1 << 16).await?));
///
///     // A datagram, which may be lost; both ends must have set max_datagram_size.
///     if connection.max_datagram_size().is_some_and(|max| max >= 4) {
///         connection.send_datagram("tick".into())?;
///     }
///
///     // Waits until all is delivered.
///     connection.shutdown(0u32.into(), b"done").await;
///     println!("{} packets, {} of them lost", connection.stats().packets_sent, connection.stats().packets_lost);
///     Ok(())
/// }
///
/// async fn wait(connection: &Connection) {
///     println!("{}", connection.closed().await);
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Connection {
    inner: crate::Connection,
    state: Arc<Mutex<ConnectionState>>,
    send_buffer: usize,
}

/// A connection whose handshake is under way: a future of the [`Connection`].
///
/// ```
/// use tercel::aio::{ConnectError, Connecting, Connection};
/// use tercel::{Alert, PeerCertificate};
///
/// /// Where it was left to the application (Trust::application), this is one way to judge a certificate.
/// async fn judged(mut connecting: Connecting) -> Result<Connection, ConnectError> {
///     if let Some((certificate, verdict)) = connecting.certificate().await {
///         // Too late means that the connection has ended, which the await below tells.
///         let _ = match is_welcome(&certificate).await {
///             true => verdict.accept(),
///             false => verdict.reject(Alert::ACCESS_DENIED),
///         };
///     }
///     connecting.await
/// }
/// # async fn is_welcome(_: &PeerCertificate) -> bool { true }
/// ```
#[must_use = "futures do nothing unless awaited; dropping it closes the connection"]
pub struct Connecting {
    connection: Connection,
    /// Who judges the peer's certificate, if that was left to the application; and the judgement.
    verifier: Option<Arc<dyn AnyVerifier>>,
    verifying: Option<(Verifying, PendingVerdict)>,
}

impl std::fmt::Debug for Connecting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connecting").field("connection", &self.connection).finish_non_exhaustive()
    }
}

impl Drop for Connecting {
    fn drop(&mut self) {
        // A verdict that nobody works out any more rejects, before the handle closes.
        self.verifying = None;
        let mut state = lock(&self.connection.state);
        state.unjudged = true;
        let question = state.question.take();
        drop(state);
        drop(question);
    }
}

impl Connecting {
    pub(super) const fn new(connection: Connection, verifier: Option<Arc<dyn AnyVerifier>>) -> Self {
        Self { connection, verifier, verifying: None }
    }

    /// The connection before its handshake is complete: a client that resumes can send early data on
    /// it. Early data can be replayed by an attacker; send only what may be done twice.
    // RFC 9001 section 5.6#1: early data is what the application sends then.
    pub fn early(&self) -> Connection {
        self.connection.clone()
    }

    /// Waits for the peer's certificate, if the credential leaves it to the application to judge it;
    /// `None` if there is nothing to judge, because TLS does, because a session was resumed or because
    /// the connection has ended. A certificate that is neither taken here nor judged by a verifier
    /// ([`Configuration::judged_by`](crate::Configuration::judged_by)) is rejected.
    pub async fn certificate(&mut self) -> Option<(PeerCertificate, PendingVerdict)> {
        poll_fn(|context| {
            let mut state = lock(&self.connection.state);
            let question = state.question.take();
            if question.is_some() || state.connected || state.ending.is_some() {
                return Poll::Ready(question);
            }
            state.wakers.wait(context);
            Poll::Pending
        })
        .await
    }

    /// Goes on with the verdict.
    fn judge(&mut self, context: &mut Context<'_>) {
        if let Some((verifying, _)) = &mut self.verifying
            && let Poll::Ready(verdict) = verifying.as_mut().poll(context)
            && let Some((_, pending)) = self.verifying.take()
        {
            // If it comes too late the end is told below.
            let _ = pending.give(verdict);
        }
    }
}

impl Future for Connecting {
    type Output = Result<Connection, ConnectError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let question = {
            let mut state = lock(&self.connection.state);
            if let (false, Some(reason)) = (state.connected, &state.ending) {
                let reason = reason.clone();
                drop(state);
                self.verifying = None;
                return Poll::Ready(Err(ConnectError::Connection(reason)));
            }
            if state.connected {
                drop(state);
                return Poll::Ready(Ok(self.connection.clone()));
            }
            state.wakers.wait(context);
            state.question.take()
        };
        if let Some((certificate, pending)) = question
            && let Some(verifier) = self.verifier.clone()
        {
            self.verifying = Some((verifier.begin(certificate), pending));
        }
        self.judge(context);
        Poll::Pending
    }
}

/// A stream of the peer's.
type Arrival = (Stream, Arc<Mutex<StreamState>>);

/// A bidirectional stream being opened.
pub type OpenBi = Pin<Box<dyn Future<Output = Result<(SendStream, RecvStream), ConnectionError>> + Send + Sync>>;

/// A unidirectional stream being opened.
pub type OpenUni = Pin<Box<dyn Future<Output = Result<SendStream, ConnectionError>> + Send + Sync>>;

/// The end of a connection.
pub type Closed = Pin<Box<dyn Future<Output = CloseReason> + Send>>;

impl Connection {
    pub(super) const fn new(inner: crate::Connection, state: Arc<Mutex<ConnectionState>>, send_buffer: usize) -> Self {
        Self { inner, state, send_buffer }
    }

    fn error(&self) -> ConnectionError {
        let reason = lock(&self.state).ending.clone().or_else(|| self.inner.close_reason());
        ConnectionError(reason.unwrap_or(CloseReason::LocalApplication { code: 0u32.into() }))
    }

    async fn open(self, direction: Direction) -> Result<(Stream, Arc<Mutex<StreamState>>), ConnectionError> {
        let state = StreamState::new(self.send_buffer, Some(self.state.clone()));
        lock(&self.state).sending += 1;
        let opened = self.inner.open(direction, StreamOptions::default(), StreamFeed { state: state.clone() });
        let Ok((stream, permitted)) = opened else {
            lock(&self.state).sending -= 1;
            return Err(self.error());
        };
        if permitted {
            // What is asked of it waits behind its opening, without a turn of the worker in between.
            return Ok((stream, state));
        }
        let started = poll_fn(|context| {
            let mut state = lock(&state);
            match state.started.take() {
                Some(result) => Poll::Ready(result),
                None => {
                    state.opener.wait(context);
                    Poll::Pending
                }
            }
        });
        match started.await {
            Ok(()) => Ok((stream, state)),
            Err(_) => Err(self.error()),
        }
    }

    /// Opens a bidirectional stream; waits while the peer permits no more. The peer learns of it when
    /// something is sent. It gets its [ID](SendStream::id) when its worker has its next turn, for which
    /// [`SendStream::started`] waits.
    pub fn open_bi(&self) -> OpenBi {
        let opening = self.clone().open(Direction::Bidirectional);
        Box::pin(async move {
            let (stream, state) = opening.await?;
            Ok((SendStream::new(stream.clone(), state.clone()), RecvStream::new(stream, state)))
        })
    }

    /// Opens a unidirectional stream; waits while the peer permits no more. The peer learns of it
    /// when something is sent. It gets its [ID](SendStream::id) when its worker has its next turn, for which
    /// [`SendStream::started`] waits.
    pub fn open_uni(&self) -> OpenUni {
        let opening = self.clone().open(Direction::Unidirectional);
        Box::pin(async move { opening.await.map(|(stream, state)| SendStream::new(stream, state)) })
    }

    fn poll_accept(&self, context: &Context<'_>, direction: Direction) -> Poll<Result<Arrival, ConnectionError>> {
        let mut state = lock(&self.state);
        if let Some(arrived) = state.arrived[direction as usize].pop_front() {
            return Poll::Ready(Ok((arrived.stream, arrived.state)));
        }
        if let Some(reason) = &state.ending {
            return Poll::Ready(Err(ConnectionError(reason.clone())));
        }
        state.acceptors[direction as usize].wait(context);
        Poll::Pending
    }

    /// The form of [`accept_bi`](Self::accept_bi) for those who write futures by hand.
    pub fn poll_accept_bi(&self, context: &Context<'_>) -> Poll<Result<(SendStream, RecvStream), ConnectionError>> {
        self.poll_accept(context, Direction::Bidirectional)
            .map_ok(|(stream, state)| (SendStream::new(stream.clone(), state.clone()), RecvStream::new(stream, state)))
    }

    /// The form of [`accept_uni`](Self::accept_uni) for those who write futures by hand.
    pub fn poll_accept_uni(&self, context: &Context<'_>) -> Poll<Result<RecvStream, ConnectionError>> {
        self.poll_accept(context, Direction::Unidirectional).map_ok(|(stream, state)| RecvStream::new(stream, state))
    }

    /// The form of [`read_datagram`](Self::read_datagram) for those who write futures by hand.
    pub fn poll_read_datagram(&self, context: &Context<'_>) -> Poll<Result<Bytes, ConnectionError>> {
        let mut state = lock(&self.state);
        if let Some(data) = state.datagrams.pop_front() {
            return Poll::Ready(Ok(data));
        }
        if let Some(reason) = &state.ending {
            return Poll::Ready(Err(ConnectionError(reason.clone())));
        }
        state.readers.wait(context);
        Poll::Pending
    }

    /// The next bidirectional stream that the peer opens.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn accept_bi(&self) -> Result<(SendStream, RecvStream), ConnectionError> {
        poll_fn(|context| self.poll_accept_bi(context)).await
    }

    /// The next unidirectional stream that the peer opens.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn accept_uni(&self) -> Result<RecvStream, ConnectionError> {
        poll_fn(|context| self.poll_accept_uni(context)).await
    }

    /// Sends a datagram (RFC 9221): once, unordered, without a promise.
    ///
    /// # Errors
    /// The connection has ended.
    pub fn send_datagram(&self, data: Bytes) -> Result<(), Error> {
        self.inner.send_datagram(data, None)
    }

    /// Sends datagrams, in this order: for many small ones this costs less than a call for each.
    ///
    /// ```
    /// use tercel::Error;
    /// use tercel::aio::Connection;
    ///
    /// /// Sends everything back, as many at a time as there are.
    /// async fn echo(connection: &Connection) -> Result<(), Error> {
    ///     let mut received = Vec::new();
    ///     while connection.read_datagrams(&mut received, 64).await.is_ok() {
    ///         connection.send_datagrams(received.drain(..))?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// The connection has ended.
    pub fn send_datagrams(&self, datagrams: impl IntoIterator<Item = Bytes>) -> Result<(), Error> {
        self.inner.send_datagrams(datagrams)
    }

    /// Sends a datagram, perhaps ahead of those that wait already, and lets the caller learn what became
    /// of it.
    ///
    /// # Errors
    /// The connection has ended. A datagram that is too large, or that cannot be sent because the peer
    /// takes none, is canceled.
    pub fn send_datagram_with(&self, data: Bytes, priority: DatagramPriority) -> Result<SentDatagram, Error> {
        let sent = SentDatagram::new(self.state.clone());
        self.inner.send_datagram_with(data, sent.context(), priority)?;
        Ok(sent)
    }

    /// The next datagram of the peer.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn read_datagram(&self) -> Result<Bytes, ConnectionError> {
        poll_fn(|context| self.poll_read_datagram(context)).await
    }

    /// The next datagrams of the peer, one at least and `most` at most (none at all if that is 0), to the end of `into`.
    /// Gives how many.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn read_datagrams(&self, into: &mut Vec<Bytes>, most: usize) -> Result<usize, ConnectionError> {
        poll_fn(|context| self.poll_read_datagrams(context, into, most)).await
    }

    /// The form of [`read_datagrams`](Self::read_datagrams) for those who write futures by hand.
    pub fn poll_read_datagrams(
        &self,
        context: &Context<'_>,
        into: &mut Vec<Bytes>,
        most: usize,
    ) -> Poll<Result<usize, ConnectionError>> {
        let mut state = lock(&self.state);
        let count = state.datagrams.len().min(most);
        if count > 0 || most == 0 {
            into.extend(state.datagrams.drain(..count));
            return Poll::Ready(Ok(count));
        }
        if let Some(reason) = &state.ending {
            return Poll::Ready(Err(ConnectionError(reason.clone())));
        }
        state.readers.wait(context);
        Poll::Pending
    }

    /// The largest datagram that can be sent now, in bytes; `None` if none can be.
    pub fn max_datagram_size(&self) -> Option<usize> {
        self.inner.max_datagram_size()
    }

    /// Waits until that is another than `known`: the peer or the path takes larger ones, or smaller ones
    /// only.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn max_datagram_size_changed(&self, known: Option<usize>) -> Result<Option<usize>, ConnectionError> {
        poll_fn(|context| {
            let mut state = lock(&self.state);
            if let Some(reason) = &state.ending {
                return Poll::Ready(Err(ConnectionError(reason.clone())));
            }
            state.wakers.wait(context);
            drop(state);
            match self.max_datagram_size() {
                size if size != known => Poll::Ready(Ok(size)),
                _ => Poll::Pending,
            }
        })
        .await
    }

    /// Closes at once; what was not delivered is lost. The first close wins.
    pub fn close(&self, code: ApplicationErrorCode, reason: &[u8]) {
        self.inner.close(code, Bytes::copy_from_slice(reason));
    }

    /// Closes gracefully: waits until the peer has acknowledged all that finished streams have sent,
    /// and closes then. Streams that were not finished are waited for, too; drop them first, or mark those
    /// that [last](SendStream::set_lasting) as long as the connection.
    pub async fn shutdown(&self, code: ApplicationErrorCode, reason: &[u8]) {
        poll_fn(|context| {
            let mut state = lock(&self.state);
            if state.sending == 0 || state.ending.is_some() {
                return Poll::Ready(());
            }
            state.wakers.wait(context);
            Poll::Pending
        })
        .await;
        self.close(code, reason);
        self.closed().await;
    }

    /// Waits for the end; gives its reason.
    pub fn closed(&self) -> Closed {
        let state = self.state.clone();
        Box::pin(poll_fn(move |context| {
            let mut state = lock(&state);
            match (state.ended, &state.ending) {
                (true, Some(reason)) => Poll::Ready(reason.clone()),
                _ => {
                    state.wakers.wait(context);
                    Poll::Pending
                }
            }
        }))
    }

    /// Waits until the handshake is confirmed.
    ///
    /// # Errors
    /// The connection ended before.
    pub async fn handshake_confirmed(&self) -> Result<(), ConnectionError> {
        poll_fn(|context| {
            let mut state = lock(&self.state);
            match (&state.ending, state.confirmed) {
                (_, true) => Poll::Ready(Ok(())),
                (Some(reason), false) => Poll::Ready(Err(ConnectionError(reason.clone()))),
                _ => {
                    state.wakers.wait(context);
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Whether an earlier session was resumed. Known once the handshake is complete.
    pub fn is_resumed(&self) -> bool {
        lock(&self.state).resumed
    }

    /// Whether early data was sent and the server took it. Known once the handshake is complete.
    pub fn is_early_data_accepted(&self) -> bool {
        lock(&self.state).early_data_accepted
    }

    /// Why the connection is ending or has ended.
    pub fn close_reason(&self) -> Option<CloseReason> {
        lock(&self.state).ending.clone()
    }

    /// Client: the newest token of the server, for [`crate::Connect::token`] of a later connection.
    pub fn token(&self) -> Option<Bytes> {
        lock(&self.state).token.clone()
    }

    /// Client: waits for a ticket by which a later connection can go on with the session
    /// ([`crate::Connect::ticket`]); of several that came since the last call, the newest.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn resumption_ticket(&self) -> Result<ResumptionTicket, ConnectionError> {
        poll_fn(|context| {
            let mut state = lock(&self.state);
            if let Some(ticket) = state.ticket.take() {
                return Poll::Ready(Ok(ticket));
            }
            if let Some(reason) = &state.ending {
                return Poll::Ready(Err(ConnectionError(reason.clone())));
            }
            state.wakers.wait(context);
            Poll::Pending
        })
        .await
    }

    /// Server: sends a ticket by which the client can resume the session, with `data` (at most 4096
    /// bytes) for the application to have then ([`Incoming::ticket`](super::Incoming::ticket)).
    ///
    /// # Errors
    /// There is too much data, or the connection has ended.
    pub fn send_resumption_ticket(&self, data: Bytes) -> Result<(), Error> {
        self.inner.send_resumption_ticket(data)
    }

    /// The peer's address.
    pub fn remote_address(&self) -> SocketAddr {
        self.inner.remote_address()
    }

    /// The address at which the peer says that it sees this end, once it has
    /// ([`Settings::learn_address`](crate::Settings::learn_address)); its word only.
    pub fn observed_address(&self) -> Option<SocketAddr> {
        self.inner.observed_address()
    }

    /// Waits until that is another than `known`.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn observed_address_changed(&self, known: Option<SocketAddr>) -> Result<SocketAddr, ConnectionError> {
        poll_fn(|context| {
            let mut state = lock(&self.state);
            if let Some(reason) = &state.ending {
                return Poll::Ready(Err(ConnectionError(reason.clone())));
            }
            state.wakers.wait(context);
            drop(state);
            match self.observed_address() {
                Some(address) if Some(address) != known => Poll::Ready(Ok(address)),
                _ => Poll::Pending,
            }
        })
        .await
    }

    /// The application protocol.
    pub fn alpn(&self) -> Option<Bytes> {
        self.inner.alpn()
    }

    /// What the two ends have agreed on, once the handshake is complete.
    pub fn handshake_info(&self) -> Option<HandshakeInfo> {
        self.inner.handshake_info()
    }

    /// Fills `out` with keying material for the application (RFC 5705, RFC 8446 section 7.5): what only the two
    /// ends of this connection know, the same at both for the same label, context and length.
    ///
    /// # Errors
    /// [`Error::Misuse`] before the handshake is complete, [`Error::InvalidArgument`] if `out` is empty or longer
    /// than 255 hashes of the cipher suite, [`Error::ConnectionClosed`] or [`Error::Closed`] if the connection
    /// has ended.
    pub async fn export_keying_material(&self, out: &mut [u8], label: &[u8], context: &[u8]) -> Result<(), Error> {
        let (label, context, mut material) = (label.to_vec(), context.to_vec(), vec![0; out.len()]);
        let export = move |look: &Inspect<'_>| {
            let result = look.export_keying_material(&mut material, &label, &context);
            result.map(|()| material)
        };
        out.copy_from_slice(&self.inspect(export).await??);
        Ok(())
    }

    /// Runs `look` on the worker that owns the connection, and gives what it says. It must not block.
    ///
    /// # Errors
    /// [`Error::ConnectionClosed`] or [`Error::Closed`] if the connection has ended.
    pub async fn inspect<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Inspect<'_>) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let answer = Answer::new();
        let teller = answer.teller();
        self.inner.inspect(move |inspect| teller.tell(look(inspect)))?;
        answer.await.ok_or_else(|| self.inner.close_reason().map_or(Error::Closed, Error::ConnectionClosed))
    }

    /// The version of QUIC that the two ends have negotiated.
    pub fn version(&self) -> Option<Version> {
        self.inner.version()
    }

    /// What the connection has done so far, at most about 100 ms old while it is active.
    pub fn stats(&self) -> ConnectionStats {
        self.inner.stats()
    }

    /// Client: moves the connection to a new socket bound to `local` (port 0 for any).
    ///
    /// # Errors
    /// The socket cannot be opened, or the connection has ended.
    pub fn rebind(&self, local: SocketAddr) -> Result<(), Error> {
        self.inner.rebind(local)
    }

    /// Client: moves the connection to a new socket bound to `local` (port 0 for any), if the server
    /// answers there: see [`Connection::migrate`](crate::Connection::migrate).
    ///
    /// # Errors
    /// The socket cannot be opened, or the connection has ended.
    pub fn migrate(&self, local: SocketAddr) -> Result<(), Error> {
        self.inner.migrate(local)
    }

    /// Client: another socket bound to `local` (port 0 for any), from which the connection goes on by itself when
    /// the path in use fails: see [`Connection::add_local_address`](crate::Connection::add_local_address). Gives
    /// the address with its port.
    ///
    /// # Errors
    /// There are too many, the server forbids migration, the socket cannot be opened, or the connection has ended.
    pub fn add_local_address(&self, local: SocketAddr) -> Result<SocketAddr, Error> {
        self.inner.add_local_address(local)
    }

    /// Client: takes one of its local addresses from the connection, which first goes on from another if it is the one
    /// in use.
    ///
    /// # Errors
    /// It is none of them, or the only one; or the connection has ended.
    pub fn remove_local_address(&self, local: SocketAddr) -> Result<(), Error> {
        self.inner.remove_local_address(local)
    }

    /// The addresses that this end is bound to, the one in use first.
    pub fn local_addresses(&self) -> Vec<SocketAddr> {
        self.inner.local_addresses()
    }

    /// The address that this end is bound to (possibly a wildcard).
    pub fn local_address(&self) -> SocketAddr {
        self.inner.local_address()
    }

    /// The handle of the callback face.
    pub const fn handle(&self) -> &crate::Connection {
        &self.inner
    }
}
