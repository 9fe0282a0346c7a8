//! The peer's certificate before the application, and the token by which it is answered.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tercel_proto::tls::{Alert, Verdict};

use crate::cell::ConnectionShared;
use crate::operation::ConnectionOperation;
use crate::status::Error;

/// A certificate whose owner the peer has proved to be, and that is to be judged. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PeerCertificate {
    pub(crate) chain: Vec<Bytes>,
    pub(crate) ocsp_response: Bytes,
    pub(crate) advice: Option<Result<(), rustls::Error>>,
    pub(crate) server_name: Option<Arc<str>>,
    pub(crate) raw: bool,
    pub(crate) alpn: Bytes,
}

impl PeerCertificate {
    /// The raw public key (RFC 7250) that the peer has in place of a certificate, if it is one that is to be
    /// judged: a SubjectPublicKeyInfo in DER.
    pub fn public_key(&self) -> Option<&[u8]> {
        self.raw.then(|| self.leaf())
    }

    /// The peer's own certificate, in DER; or its [public key](Self::public_key).
    pub fn leaf(&self) -> &[u8] {
        self.chain.first().map(Bytes::as_ref).unwrap_or_default()
    }

    /// All that the peer sent, in DER, leaf first; the rest should lead from there to an authority.
    pub fn chain(&self) -> &[Bytes] {
        &self.chain
    }

    /// The SHA-256 fingerprint of the leaf.
    pub fn fingerprint(&self) -> [u8; 32] {
        crate::credential::fingerprint(self.leaf())
    }

    /// The OCSP response (RFC 6960, in DER) that the server sent along, or nothing.
    pub fn ocsp_response(&self) -> &[u8] {
        &self.ocsp_response
    }

    /// What built-in validation says, if the credential names somebody to ask
    /// ([`Trust::deferred`](crate::Trust::deferred)); its error tells why it would refuse.
    pub fn advice(&self) -> Option<Result<(), &rustls::Error>> {
        self.advice.as_ref().map(|advice| advice.as_ref().copied())
    }

    /// The verdict that follows the advice. Without advice it is no.
    pub fn advised_verdict(&self) -> Verdict {
        match &self.advice {
            Some(Ok(())) => Verdict::Accept,
            Some(Err(error)) => Verdict::Reject(Alert::of(error)),
            None => Verdict::Reject(Alert::CERTIFICATE_UNKNOWN),
        }
    }

    /// The server name that the client asked for. For a client it is the one that the certificate must be
    /// for: if the server refused an encrypted ClientHello, the public name of the ECH configuration.
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// The application protocol that was chosen.
    pub fn alpn(&self) -> &[u8] {
        &self.alpn
    }
}

/// What the token and the connection share.
pub(crate) struct Question {
    connection: Arc<ConnectionShared>,
    state: Mutex<State>,
    limit: Option<Duration>,
}

#[derive(Default)]
struct State {
    /// The verdict has been given or can no longer matter.
    settled: bool,
    wakers: Vec<Waker>,
}

impl Question {
    pub(crate) fn new(connection: Arc<ConnectionShared>, limit: Option<Duration>) -> Arc<Self> {
        Arc::new(Self { connection, state: Mutex::default(), limit })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The verdict can no longer matter: wakes whoever works on it.
    pub(crate) fn settle(&self) {
        let mut state = self.state();
        state.settled = true;
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.state().settled || self.connection.is_close_called()
    }
}

/// The answer that a [`PeerCertificate`] waits for: to be given once, from any thread, now or later.
/// Dropping it rejects with certificate_unknown. It does not keep the connection open, and may
/// outlive it: an answer that comes too late does nothing but say so.
///
/// ```
/// use tercel::{Alert, Connection, ConnectionEvent, PeerCertificate, PendingVerdict};
///
/// /// A handler that has certificates judged on another thread.
/// fn handler(_: &Connection, event: ConnectionEvent<'_>) {
///     if let ConnectionEvent::PeerCertificate { certificate, verdict } = event {
///         std::thread::spawn(move || judge(&certificate, verdict));
///     }
/// }
///
/// fn judge(certificate: &PeerCertificate, verdict: PendingVerdict) {
///     let known = ask_somebody(certificate.leaf());
///     if verdict.is_cancelled() {
///         return; // the connection has ended meanwhile
///     }
///     let given = match known {
///         true => verdict.accept(),
///         false => verdict.reject(Alert::UNKNOWN_CA),
///     };
///     if let Err(too_late) = given {
///         println!("{too_late}");
///     }
/// }
/// # fn ask_somebody(_: &[u8]) -> bool { true }
/// ```
#[must_use = "dropping it rejects the certificate"]
pub struct PendingVerdict {
    /// Gone once the answer is given.
    question: Option<Arc<Question>>,
}

impl PendingVerdict {
    pub(crate) const fn new(question: Arc<Question>) -> Self {
        Self { question: Some(question) }
    }

    /// The peer is who it should be: the handshake goes on.
    ///
    /// # Errors
    /// [`Error::Closed`] or [`Error::ConnectionClosed`]: the connection has ended, or was closed by a
    /// call before this one; nothing happens.
    pub fn accept(self) -> Result<(), Error> {
        self.give(Verdict::Accept)
    }

    /// The peer is not who it should be: the connection closes with CRYPTO_ERROR and this alert.
    ///
    /// # Errors
    /// As for [`accept`](Self::accept).
    pub fn reject(self, alert: Alert) -> Result<(), Error> {
        self.give(Verdict::Reject(alert))
    }

    /// One or the other.
    ///
    /// # Errors
    /// As for [`accept`](Self::accept).
    pub fn give(mut self, verdict: Verdict) -> Result<(), Error> {
        self.question.take().map_or(Err(Error::Closed), |question| answer(&question, verdict))
    }

    /// Whether the answer no longer matters: the connection has ended or was closed. Who works long
    /// on the answer should look now and then, or wait for [`cancelled`](Self::cancelled) beside.
    pub fn is_cancelled(&self) -> bool {
        self.question.as_ref().is_none_or(|question| question.is_settled())
    }

    /// Waits until the answer no longer matters, because the connection has ended or because it was
    /// given. Does not borrow, so that it can be waited for while the answer is worked on.
    pub fn cancelled(&self) -> Cancelled {
        Cancelled(self.question.clone())
    }

    /// How long after the event the answer comes too late: the setting `verdict_timeout`, or what
    /// was left of the time for the handshake, whichever is less. The peer may lose patience sooner.
    pub fn time_limit(&self) -> Option<Duration> {
        self.question.as_ref().and_then(|question| question.limit)
    }
}

impl Drop for PendingVerdict {
    fn drop(&mut self) {
        if let Some(question) = self.question.take() {
            // Too late is as good.
            let _ = answer(&question, Verdict::Reject(Alert::CERTIFICATE_UNKNOWN));
        }
    }
}

fn answer(question: &Question, verdict: Verdict) -> Result<(), Error> {
    let result = question.connection.submit(ConnectionOperation::Verdict(verdict));
    question.settle();
    result
}

impl std::fmt::Debug for PendingVerdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PendingVerdict").field("cancelled", &self.is_cancelled()).finish_non_exhaustive()
    }
}

/// A future that is ready when an answer no longer matters.
#[must_use = "futures do nothing unless awaited"]
pub struct Cancelled(Option<Arc<Question>>);

impl Cancelled {
    pub(crate) const fn of(question: Arc<Question>) -> Self {
        Self(Some(question))
    }
}

impl Future for Cancelled {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Some(question) = &self.0 else { return Poll::Ready(()) };
        let mut state = question.state();
        if state.settled {
            return Poll::Ready(());
        }
        if !state.wakers.iter().any(|waker| waker.will_wake(context.waker())) {
            state.wakers.push(context.waker().clone());
        }
        Poll::Pending
    }
}

impl std::fmt::Debug for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Question").field("settled", &self.is_settled()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Cancelled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cancelled")
    }
}
