//! How a session is asked for, and its request stream, which tells of its end.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use h3::error::Code;
use h3::ext::Protocol;
use h3::server::RequestStream;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use tokio::sync::{mpsc, oneshot, watch};

use super::Handler;
use super::capsule::{Capsule, Decoder, Malformed};
use super::router::Router;
use super::session::{Session, SessionEnd, State};
use crate::server::told;
use crate::stream::{BidiStream, RecvStream, SendStream};

/// Whether a request asks for a session (draft-ietf-webtrans-http3-07 section 3.3).
pub(crate) fn is_session(request: &Request<()>) -> bool {
    request.method() == Method::CONNECT && request.extensions().get() == Some(&Protocol::WEB_TRANSPORT)
}

/// A request for a session. Dropped without an answer, it is rejected with status 404.
#[derive(Debug)]
pub struct SessionRequest {
    request: Request<()>,
    state: Arc<State>,
    answer: oneshot::Sender<Answer>,
}

/// What becomes of a request.
#[derive(Debug)]
enum Answer {
    /// It gets its session. Told when the client was.
    Accept {
        close: mpsc::UnboundedReceiver<Capsule>,
        done: oneshot::Sender<()>,
    },
    Reject(StatusCode),
}

impl SessionRequest {
    /// The request; [`RemoteAddress`](crate::RemoteAddress) is among its extensions. Its `origin` tells
    /// of which site the page is that asks.
    pub const fn request(&self) -> &Request<()> {
        &self.request
    }

    /// The URI of the request.
    pub fn uri(&self) -> &Uri {
        self.request.uri()
    }

    /// The header fields of the request.
    pub fn headers(&self) -> &HeaderMap {
        self.request.headers()
    }

    /// Accepts the session.
    ///
    /// # Errors
    /// The client has left.
    pub async fn accept(self) -> Result<Session, SessionEnd> {
        let (close, closed) = mpsc::unbounded_channel();
        let (done, told) = oneshot::channel();
        let session = Session::new(self.request, self.state, close);
        // If nobody takes the answer, nobody tells that it was sent.
        let _ = self.answer.send(Answer::Accept { close: closed, done });
        match told.await {
            Ok(()) => Ok(session),
            Err(_) => Err(session.state().end_with_connection()),
        }
    }

    /// Rejects it with a status of 300 to 599; any other becomes 500.
    pub fn reject(self, status: StatusCode) {
        let is_refusal = status.is_redirection() || status.is_client_error() || status.is_server_error();
        let status = if is_refusal { status } else { StatusCode::INTERNAL_SERVER_ERROR };
        // If nobody takes the answer, the client has left.
        let _ = self.answer.send(Answer::Reject(status));
    }
}

type Sending = RequestStream<SendStream<Bytes>, Bytes>;
type Receiving = RequestStream<RecvStream, Bytes>;

/// Serves a request for a session until the session and its handler have ended.
pub(crate) async fn serve(
    request: Request<()>,
    stream: RequestStream<BidiStream<Bytes>, Bytes>,
    router: &Router,
    handler: Handler,
    stop: watch::Receiver<Option<Duration>>,
) {
    let (id, (mut send, recv)) = (stream.id().into_inner(), stream.split());
    let Some(state) = router.begin(id) else {
        router.end(id);
        return reject(&mut send, StatusCode::TOO_MANY_REQUESTS).await;
    };
    // However this ends, even by a panic of the handler, the session does not stay.
    let _guard = Guard { router, state: &state };
    let (answer, answered) = oneshot::channel();
    let handled = handler(SessionRequest { request, state: state.clone(), answer });
    let driven = async {
        match answered.await {
            Ok(Answer::Accept { close, done }) => {
                if let Some(end) = accept(&mut send, &state, done).await {
                    state.end(end);
                    return;
                }
                Driver { send, recv, state: &state }.drive(close, stop).await;
            }
            Ok(Answer::Reject(status)) => reject(&mut send, status).await,
            Err(_) => reject(&mut send, StatusCode::NOT_FOUND).await,
        }
        router.end(id);
    };
    tokio::join!(handled, driven);
}

/// Takes a session off the connection.
struct Guard<'a> {
    router: &'a Router,
    state: &'a State,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.router.end(self.state.id());
        self.state.end(SessionEnd::Broken("the session's handler has ended".into()));
    }
}

async fn reject(send: &mut Sending, status: StatusCode) {
    let mut response = Response::new(());
    *response.status_mut() = status;
    if send.send_response(response).await.is_ok() {
        // Only the client can be missing now.
        let _ = send.finish().await;
    }
}

/// Tells the client that it has its session; gives why that failed.
async fn accept(send: &mut Sending, state: &State, done: oneshot::Sender<()>) -> Option<SessionEnd> {
    let mut response = Response::new(());
    // Clients of draft 2 want to see it.
    response.headers_mut().insert("sec-webtransport-http3-draft", HeaderValue::from_static("draft02"));
    match send.send_response(response).await {
        Ok(()) => {
            // The handler may have ended.
            let _ = done.send(());
            None
        }
        Err(error) => Some(state.end_with(error.to_string())),
    }
}

/// How long the peer may take to end a session that was closed here.
const FAREWELL: Duration = Duration::from_secs(5);

/// The request stream of a session.
struct Driver<'a> {
    send: Sending,
    recv: Receiving,
    state: &'a State,
}

impl Driver<'_> {
    /// Until the session has ended at both sides.
    async fn drive(mut self, mut close: mpsc::UnboundedReceiver<Capsule>, mut stop: watch::Receiver<Option<Duration>>) {
        let mut capsules = Capsules::default();
        let mut draining = false;
        loop {
            tokio::select! {
                capsule = capsules.next(&mut self.recv) => match capsule {
                    Ok(Capsule::Drain) => self.state.drain(),
                    Ok(Capsule::Close { code, reason }) => {
                        self.state.end(SessionEnd::ClosedByPeer { code, reason });
                        break;
                    }
                    Err(end) => return self.broken(end),
                },
                capsule = close.recv() => {
                    // Nobody holds the session any more, if nobody closed it.
                    self.state.end(SessionEnd::Closed { code: 0, reason: String::new() });
                    return self.farewell(capsule, capsules).await;
                }
                () = told(&mut stop), if !draining => {
                    draining = true;
                    self.state.drain();
                    // If it cannot be sent, reading tells why.
                    let _ = self.send.send_data(Capsule::Drain.encode()).await;
                }
            }
        }
        // If that is not possible the client needs it no more.
        let _ = self.send.finish().await;
    }

    /// Says that the session has ended, and waits a while until the peer has seen it.
    async fn farewell(mut self, capsule: Option<Capsule>, mut capsules: Capsules) {
        let said = async {
            if let Some(capsule) = capsule {
                self.send.send_data(capsule.encode()).await?;
            }
            self.send.finish().await
        };
        if said.await.is_ok() {
            let seen = async { while let Ok(Capsule::Drain) = capsules.next(&mut self.recv).await {} };
            // A peer that does not answer is not waited for.
            let _ = tokio::time::timeout(FAREWELL, seen).await;
        }
        self.recv.stop_sending(Code::H3_NO_ERROR);
    }

    /// The peer left, or broke the rules.
    fn broken(&mut self, end: Broken) {
        let end = match end {
            Broken::Rules(Malformed(what)) => {
                self.send.stop_stream(Code::H3_MESSAGE_ERROR);
                self.recv.stop_sending(Code::H3_MESSAGE_ERROR);
                SessionEnd::Broken(what.into())
            }
            Broken::Stream(error) => {
                self.send.stop_stream(Code::H3_REQUEST_CANCELLED);
                self.state.end_with(error)
            }
        };
        self.state.end(end);
    }
}

/// Why there are no more capsules, though the session has not ended.
enum Broken {
    Rules(Malformed),
    Stream(String),
}

/// The capsules that come by a request stream.
#[derive(Default)]
struct Capsules {
    decoder: Decoder,
    input: Bytes,
}

impl Capsules {
    async fn next(&mut self, recv: &mut Receiving) -> Result<Capsule, Broken> {
        loop {
            if let Some(capsule) = self.decoder.next(&mut self.input).map_err(Broken::Rules)? {
                return Ok(capsule);
            }
            self.input = match recv.recv_data().await {
                Ok(Some(mut data)) => data.copy_to_bytes(data.remaining()),
                // To end the stream is to close the session, with nothing more to say.
                Ok(None) if self.decoder.is_between_capsules() => {
                    return Ok(Capsule::Close { code: 0, reason: String::new() });
                }
                Ok(None) => return Err(Broken::Rules(Malformed("the stream of a session ended within a capsule"))),
                Err(error) => return Err(Broken::Stream(error.to_string())),
            };
        }
    }
}
