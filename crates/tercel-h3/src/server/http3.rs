//! Connections of HTTP/3 and their requests.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use h3::error::Code;
use h3::frame::FrameStreamError;
use h3::quic::{RecvStream as _, SendStream as _, StreamErrorIncoming};
use h3::server::{RequestResolver, RequestStream};
use http::header::{CONTENT_LENGTH, DATE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use tercel::aio::{self, Endpoint};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower_service::Service;

use super::{H3_NO_ERROR, H3_REQUEST_REJECTED, RemoteAddress, Shared, ask, told};
use crate::body::{BoxError, RequestBody};
use crate::connection::Connection;
use crate::stream::{BidiStream, SendStream};
use crate::webtransport::{self, Handler, Router};

/// Takes connections until the server stops.
pub(super) async fn accept<S, B>(endpoint: Endpoint, service: S, shared: Shared)
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let mut stop = shared.stop.clone();
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            () = told(&mut stop) => None,
        };
        let Some(incoming) = incoming else { break };
        let (service, shared) = (service.clone(), shared.clone());
        tokio::spawn(async move {
            match incoming.accept() {
                Ok(connecting) => match connecting.await {
                    Ok(connection) if connection.alpn().as_deref() == Some(crate::ALPN) => {
                        serve(connection, service, shared).await;
                    }
                    Ok(connection) => {
                        if let Some(others) = &shared.others {
                            others(connection);
                        }
                    }
                    Err(error) => tracing::debug!(%error, "a client did not complete its handshake"),
                },
                Err(error) => tracing::debug!(%error, "a client has left"),
            }
        });
    }
    endpoint.stop_listening();
}

/// Which requests were taken. With sessions of WebTransport beside they may come out of order.
#[derive(Debug, Default)]
struct Ids {
    latest: u64,
    /// The first above all.
    next: u64,
}

impl Ids {
    /// Notes a request; not if it comes after the last one that is served.
    fn take(&mut self, id: u64, refuses: bool) -> bool {
        if refuses && id >= self.next {
            return false;
        }
        (self.latest, self.next) = (id, self.next.max(id + 4));
        true
    }

    /// How far behind the latest request GOAWAY names one: the first that is not served (RFC 9114
    /// section 5.2), where h3 by itself would name the latest that is.
    fn beyond_latest(&self) -> usize {
        usize::try_from((self.next - self.latest) / 4).unwrap_or(usize::MAX)
    }
}

/// What sessions of WebTransport need.
#[derive(Clone)]
struct Sessions {
    router: Arc<Router>,
    handler: Handler,
    stop: watch::Receiver<Option<Duration>>,
}

async fn serve<S, B>(transport: aio::Connection, service: S, shared: Shared)
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let (resumed, early_data) = (transport.is_resumed(), transport.is_early_data_accepted());
    tracing::debug!(remote = %transport.remote_address(), resumed, early_data, "a connection is served");
    let mut builder = h3::server::builder();
    // h3 0.0.8 opens its stream of grease once; one that does not open at once stays there unused.
    builder.max_field_section_size(shared.limits.max_header_size).send_grease(false);
    let sessions = shared.sessions.clone().map(|handler| Sessions {
        router: Router::new(transport.clone(), shared.limits.clone()),
        handler,
        stop: shared.stop.clone(),
    });
    let mut datagrams = JoinSet::new();
    let over = match &sessions {
        None => Connection::with_max_header(transport.clone(), shared.limits.max_header_size),
        Some(sessions) => {
            builder.enable_webtransport(true).enable_extended_connect(true).enable_datagram(true);
            builder.max_webtransport_sessions(shared.limits.max_sessions);
            datagrams.spawn(webtransport::pump(transport.clone(), sessions.router.clone()));
            Connection::with_max_header(transport.clone(), shared.limits.max_header_size)
                .and_sessions(sessions.router.clone())
        }
    };
    let built = builder.build(over).await;
    let mut connection = match built {
        Ok(connection) => connection,
        Err(error) => return tracing::debug!(%error, "a client does not speak HTTP/3 well"),
    };
    let mut stop = shared.stop.clone();
    let mut requests = JoinSet::new();
    let remote = RemoteAddress(transport.remote_address());
    let mut stage = Stage::Serving;
    let mut ids = Ids::default();
    loop {
        tokio::select! {
            accepted = connection.accept() => match accepted {
                Ok(Some(resolver)) => {
                    if !ids.take(resolver.frame_stream.id().into_inner(), stage.refuses()) {
                        refuse(resolver);
                        continue;
                    }
                    let (service, sessions) = (service.clone(), sessions.clone());
                    requests.spawn(async move {
                        if let Err(error) = request(resolver, remote, service, sessions).await {
                            tracing::debug!(error, "a request came to nothing");
                        }
                    });
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::debug!(%error, "a connection has ended");
                    break;
                }
            },
            Some(_) = requests.join_next(), if !requests.is_empty() => {
                if matches!(stage, Stage::Finishing) && requests.is_empty() {
                    break;
                }
            }
            () = told(&mut stop), if matches!(stage, Stage::Serving) => {
                stage = Stage::after_goaway(&ids, 2 * transport.stats().rtt + LATE);
                // As far away as can be; h3 refuses everything by it where there was no request yet.
                if connection.shutdown(usize::MAX).await.is_err() {
                    break;
                }
            }
            () = stage.is_over() => {
                stage = Stage::Finishing;
                if connection.shutdown(ids.beyond_latest()).await.is_err() || requests.is_empty() {
                    break;
                }
            }
        }
    }
    while requests.join_next().await.is_some() {}
    leave(connection, &transport).await;
}

/// How far a connection of a server that stops has come. GOAWAY goes out twice (RFC 9114 section 5.2): the first tells
/// the client to ask for nothing more, and what it sent before it hears of that is served; the second names the first
/// request that is not served.
enum Stage {
    Serving,
    /// After the first GOAWAY.
    Stopping {
        refuses: bool,
        over: Pin<Box<tokio::time::Sleep>>,
    },
    /// After the second.
    Finishing,
}

impl Stage {
    fn after_goaway(ids: &Ids, wait: Duration) -> Self {
        Self::Stopping { refuses: ids.next == 0, over: Box::pin(tokio::time::sleep(wait)) }
    }

    const fn refuses(&self) -> bool {
        matches!(self, Self::Finishing | Self::Stopping { refuses: true, .. })
    }

    /// Waits until what was sent before the client heard of GOAWAY is here.
    async fn is_over(&mut self) {
        match self {
            Self::Stopping { over, .. } => over.await,
            _ => std::future::pending().await,
        }
    }
}

/// How long a client may take to hear of GOAWAY beside two round trips: programs are slow, too.
const LATE: Duration = Duration::from_millis(100);

/// Ends a connection on which nothing is under way.
async fn leave(mut connection: h3::server::Connection<Connection, Bytes>, transport: &aio::Connection) {
    // What was sent is delivered first; it would wait for what nobody takes, too.
    let mut end = pin!(transport.shutdown(H3_NO_ERROR.into(), b""));
    // h3 takes GOAWAY of a client for its last word, which it need not be.
    let mut h3_has_ended = false;
    loop {
        tokio::select! {
            () = &mut end => return,
            accepted = connection.accept(), if !h3_has_ended => match accepted {
                Ok(Some(resolver)) => refuse(resolver),
                Ok(None) | Err(_) => h3_has_ended = true,
            },
            Ok((mut send, mut recv)) = transport.accept_bi(), if h3_has_ended => {
                let _ = (send.reset(H3_REQUEST_REJECTED.into()), recv.stop(H3_REQUEST_REJECTED.into()));
            }
        }
    }
}

/// The client was told that it would not be served, or will have been when it hears of this: it may ask again
/// elsewhere (RFC 9114 section 4.1.1).
fn refuse(mut resolver: RequestResolver<Connection, Bytes>) {
    resolver.frame_stream.reset(H3_REQUEST_REJECTED.into());
    resolver.frame_stream.stream.stop_sending(H3_REQUEST_REJECTED.into());
}

async fn request<S, B>(
    resolver: RequestResolver<Connection, Bytes>,
    remote: RemoteAddress,
    service: S,
    sessions: Option<Sessions>,
) -> Result<(), BoxError>
where
    S: Service<Request<RequestBody>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let (mut request, mut stream) = resolve(resolver).await?;
    request.extensions_mut().insert(remote);
    let protocol = request.extensions().get::<h3::ext::Protocol>().is_some();
    if malformed(&request) || (protocol && sessions.is_none()) {
        // RFC 9114 section 4.1.2; RFC 9220 section 3 for a protocol where there is none.
        stream.stop_sending(Code::H3_MESSAGE_ERROR);
        stream.stop_stream(Code::H3_MESSAGE_ERROR);
        return Err("a malformed request".into());
    }
    if let Some(Sessions { router, handler, stop }) = sessions {
        if webtransport::is_session(&request) {
            webtransport::serve(request, stream, &router, handler, stop).await;
            return Ok(());
        }
        router.is_no_session(stream.id().into_inner());
        if protocol {
            // RFC 9220 section 3.
            let mut response = Response::new(());
            *response.status_mut() = StatusCode::NOT_IMPLEMENTED;
            stream.send_response(dated(response)).await?;
            stream.stop_sending(Code::H3_NO_ERROR);
            return Ok(stream.finish().await?);
        }
    }
    let (send, recv) = stream.split();
    let mut send = Unfinished(send);
    let len = request.headers().get(CONTENT_LENGTH).and_then(length);
    let is_head = request.method() == Method::HEAD;
    let request = request.map(|()| RequestBody::h3(recv, len));
    let response = match ask(service, request).await {
        Ok(response) => response,
        Err(error) => {
            tracing::error!(error, "a service failed");
            let mut response = Response::new(());
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            send.0.send_response(dated(response)).await?;
            return Ok(send.0.finish().await?);
        }
    };
    let (parts, body) = response.into_parts();
    send.0.send_response(dated(Response::from_parts(parts, ()))).await?;
    match is_head {
        // RFC 9110 section 9.3.2: no content, whatever the service gives for a GET.
        true => Ok(send.0.finish().await?),
        false => send_body(&mut send.0, body).await,
    }
}

/// Reads the field section. What is wrong with it ends the stream (RFC 9114 section 4.1.2).
async fn resolve(mut resolver: RequestResolver<Connection, Bytes>) -> Result<(Request<()>, Exchange), BoxError> {
    let frame = std::future::poll_fn(|context| resolver.frame_stream.poll_next(context)).await;
    if let Err(FrameStreamError::Quic(StreamErrorIncoming::Unknown(_))) = &frame {
        resolver.frame_stream.reset(Code::H3_MESSAGE_ERROR.value());
    }
    Ok(resolver.accept_with_frame(frame)?.resolve().await?)
}

/// A request's stream, before its two directions are taken apart.
type Exchange = RequestStream<BidiStream<Bytes>, Bytes>;

/// What content-length says; `None` for what says nothing (RFC 9110 section 8.6).
fn length(len: &HeaderValue) -> Option<u64> {
    let text = len.to_str().ok()?;
    // A number may have a sign for Rust, and not for HTTP.
    text.bytes().all(|digit| digit.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Whether a request contradicts itself in ways that its names alone do not show.
fn malformed(request: &Request<()>) -> bool {
    let lengths = request.headers().get_all(CONTENT_LENGTH);
    let mut lengths = lengths.iter().map(length);
    let first = lengths.next();
    // RFC 9110 section 4.2.4: no names and passwords; RFC 9114 section 4.3.1.
    let with_user = request.uri().authority().is_some_and(|authority| authority.as_str().contains('@'));
    first == Some(None) || lengths.any(|len| Some(len) != first) || with_user
}

/// A response under way. One that is not sent to its end, because its body failed or its service panicked,
/// must not be taken for whole (RFC 9114 section 4.1.1).
struct Unfinished(RequestStream<SendStream<Bytes>, Bytes>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        // What was finished needs no end.
        self.0.stop_stream(Code::H3_INTERNAL_ERROR);
    }
}

async fn send_body<B>(send: &mut RequestStream<SendStream<Bytes>, Bytes>, body: B) -> Result<(), BoxError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let mut body = pin!(body);
    while let Some(frame) =
        std::future::poll_fn(|context| body.as_mut().poll_frame(context).map_err(Into::<BoxError>::into)).await
    {
        match frame?.into_data() {
            Ok(data) if data.is_empty() => {}
            Ok(data) => send.send_data(data).await?,
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    send.send_trailers(trailers).await?;
                    break;
                }
            }
        }
    }
    Ok(send.finish().await?)
}

/// RFC 9110 section 6.6.1.
#[expect(clippy::disallowed_methods, reason = "the header tells the time of day")]
fn dated(mut response: Response<()>) -> Response<()> {
    if !response.headers().contains_key(DATE)
        && let Ok(now) = HeaderValue::try_from(httpdate::fmt_http_date(SystemTime::now()))
    {
        response.headers_mut().insert(DATE, now);
    }
    response
}
