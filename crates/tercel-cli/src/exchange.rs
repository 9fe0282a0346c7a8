//! One request to a server and its answer, by HTTP/3 or `hq-interop`, whichever the server speaks.

use std::future::Future;
use std::path::PathBuf;

use bytes::{Buf as _, Bytes, BytesMut};
use h3::client::{RequestStream, SendRequest};
use h3::error::{ConnectionError, LocalError, StreamError};
use h3::quic::ConnectionErrorIncoming;
use http::header::{CONTENT_LENGTH, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use tercel::aio::{Connection, ReadError, RecvStream, WriteError};
use tercel_h3::{BidiStream, Opener};
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;

use crate::hq::Refusal;
use crate::progress::Progress;
use crate::span::Span;
use crate::target::Target;

/// How much of a file is read at a time.
const CHUNK: usize = 1 << 20;

/// What the program calls itself.
const AGENT: &str = concat!("tercel/", env!("CARGO_PKG_VERSION"));

/// What is asked, wherever that is.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
    pub(crate) content: Content,
}

/// What is sent along.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    None,
    Bytes(Bytes),
    File(PathBuf),
}

impl Ask {
    pub(crate) fn get() -> Self {
        Self { method: Method::GET, headers: HeaderMap::new(), content: Content::None }
    }

    /// Whether it does no harm if it is done twice (RFC 9110 section 9.2.1), as early data may be.
    pub(crate) const fn is_safe(&self) -> bool {
        matches!(self.method, Method::GET | Method::HEAD) && matches!(self.content, Content::None)
    }
}

/// A server, by the protocol that it chose.
#[derive(Clone)]
pub(crate) enum Server {
    Http3(SendRequest<Opener, Bytes>, Connection),
    Hq(Connection),
}

/// What a server answers.
pub(crate) struct Answer {
    /// None by `hq-interop`, which knows success and nothing else.
    pub(crate) head: Option<Response<()>>,
    pub(crate) body: Body,
}

/// The body of an answer, as it comes.
pub(crate) enum Body {
    Http3(Box<Exchange>, Connection),
    Hq(RecvStream),
}

type Exchange = RequestStream<BidiStream<Bytes>, Bytes>;

impl Server {
    /// Speaks HTTP/3 over `connection`, whose handshake need not be complete.
    pub(crate) async fn http3(connection: &Connection) -> Result<Self, String> {
        let made = h3::client::new(tercel_h3::Connection::new(connection.clone())).await;
        let (mut driver, requests) = made.map_err(|error| of_connection(&error, connection))?;
        tokio::spawn(async move {
            let end = std::future::poll_fn(|context| driver.poll_close(context)).await;
            tracing::debug!(%end, "an HTTP/3 connection has ended");
        });
        Ok(Self::Http3(requests, connection.clone()))
    }

    /// Speaks what the server at the other end of `connection` chose.
    pub(crate) async fn new(connection: &Connection) -> Result<Self, String> {
        match connection.alpn().as_deref() == Some(tercel_h3::ALPN) {
            true => Self::http3(connection).await,
            false => Ok(Self::Hq(connection.clone())),
        }
    }

    /// Asks for `target`, with more headers; no step may take longer than `patience`.
    pub(crate) async fn ask(
        &self,
        ask: &Ask,
        target: &Target,
        more: &HeaderMap,
        patience: Span,
        progress: &Progress,
    ) -> Result<Answer, String> {
        match self {
            Self::Http3(requests, connection) => {
                let mut request = Request::builder()
                    .method(ask.method.clone())
                    .uri(target.to_string())
                    .body(())
                    .map_err(|error| error.to_string())?;
                let headers = request.headers_mut();
                for (name, value) in ask.headers.iter().chain(more) {
                    headers.append(name, value.clone());
                }
                headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(AGENT));
                // The authority says it (RFC 9114 section 4.3.1).
                headers.remove(HOST);
                by_http3(requests.clone(), connection, request, &ask.content, patience, progress).await
            }
            Self::Hq(connection) => by_hq(connection, ask, &target.path, patience, progress).await,
        }
    }
}

async fn by_http3(
    mut requests: SendRequest<Opener, Bytes>,
    connection: &Connection,
    mut request: Request<()>,
    content: &Content,
    patience: Span,
    progress: &Progress,
) -> Result<Answer, String> {
    let words = |error: StreamError| of_stream(&error, connection);
    let mut source = Source::open(content).await?;
    if let Some(len) = source.len() {
        request.headers_mut().insert(CONTENT_LENGTH, len.into());
    }
    let mut exchange = within(patience, async { requests.send_request(request).await.map_err(words) }).await?;
    let mut sent = Ok(());
    while sent.is_ok() {
        let chunk = source.next().await?;
        if chunk.is_empty() {
            // A server may have answered already and want no more of the request (RFC 9114 section 4.1): then
            // there is nothing to finish. If something is wrong the response says so.
            let _ = exchange.finish().await;
            break;
        }
        let len = chunk.len();
        sent = within(patience, async { Ok(exchange.send_data(chunk).await) }).await?;
        progress.add(len);
    }
    // A server that wants no more says why, and its answer counts.
    let head = within(patience, async { exchange.recv_response().await.map_err(words) }).await?;
    match sent {
        Err(error) if head.status().is_success() => Err(words(error)),
        _ => Ok(Answer { head: Some(head), body: Body::Http3(Box::new(exchange), connection.clone()) }),
    }
}

async fn by_hq(
    connection: &Connection,
    ask: &Ask,
    path: &str,
    patience: Span,
    progress: &Progress,
) -> Result<Answer, String> {
    if !matches!((&ask.method, &ask.content), (&Method::GET, Content::None) | (&Method::PUT, _)) {
        return Err(format!("the server speaks only {}, which knows nothing but GET and PUT", crate::hq::ALPN));
    }
    let mut source = Source::open(&ask.content).await?;
    let (mut send, recv) =
        within(patience, async { connection.open_bi().await.map_err(|error| error.to_string()) }).await?;
    let mut sent = send.write_all(format!("{} {path}\r\n", ask.method).as_bytes()).await;
    while sent.is_ok() {
        let chunk = source.next().await?;
        if chunk.is_empty() {
            sent = send.finish();
            break;
        }
        let len = chunk.len();
        sent = within(patience, async { Ok(send.write_chunk(chunk).await) }).await?;
        progress.add(len);
    }
    match sent {
        Ok(()) => Ok(Answer { head: None, body: Body::Hq(recv) }),
        Err(WriteError::Stopped(code)) => Err(Refusal::explain(code.into_inner())),
        Err(error) => Err(error.to_string()),
    }
}

impl Body {
    /// The next piece; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, String> {
        match self {
            Self::Http3(exchange, connection) => match exchange.recv_data().await {
                Ok(data) => Ok(data.map(|mut data| data.copy_to_bytes(data.remaining()))),
                Err(error) => Err(of_stream(&error, connection)),
            },
            Self::Hq(recv) => match recv.read_chunk(CHUNK).await {
                Ok(chunk) => Ok(chunk),
                Err(ReadError::Reset(code)) => Err(Refusal::explain(code.into_inner())),
                Err(error) => Err(error.to_string()),
            },
        }
    }
}

/// What comes of `step`, unless it takes longer than `patience`.
pub(crate) async fn within<T>(patience: Span, step: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    match tokio::time::timeout(patience.0, step).await {
        Ok(done) => done,
        Err(_) => Err(format!("the server has stalled: nothing moved for {patience} (see --stall)")),
    }
}

/// What goes out, piece by piece.
enum Source {
    Bytes(Option<Bytes>),
    File { name: PathBuf, file: File, len: u64 },
}

impl Source {
    async fn open(content: &Content) -> Result<Self, String> {
        let Content::File(name) = content else {
            let bytes = if let Content::Bytes(bytes) = content { Some(bytes.clone()) } else { None };
            return Ok(Self::Bytes(bytes));
        };
        let doing = |error| format!("cannot read {}: {error}", name.display());
        let file = File::open(name).await.map_err(doing)?;
        let metadata = file.metadata().await.map_err(doing)?;
        match metadata.is_file() {
            true => Ok(Self::File { name: name.clone(), file, len: metadata.len() }),
            false => Err(format!("cannot read {}: it is no file", name.display())),
        }
    }

    fn len(&self) -> Option<u64> {
        match self {
            Self::Bytes(bytes) => bytes.as_ref().map(|bytes| bytes.len() as u64),
            Self::File { len, .. } => Some(*len),
        }
    }

    /// The next piece; empty at the end.
    async fn next(&mut self) -> Result<Bytes, String> {
        match self {
            Self::Bytes(bytes) => Ok(bytes.take().unwrap_or_default()),
            Self::File { name, file, .. } => {
                read_chunk(file).await.map_err(|error| format!("cannot read {}: {error}", name.display()))
            }
        }
    }
}

/// The next piece of a file; empty at its end.
pub(crate) async fn read_chunk(file: &mut File) -> std::io::Result<Bytes> {
    let mut chunk = BytesMut::with_capacity(CHUNK);
    while chunk.len() < CHUNK && file.read_buf(&mut chunk).await? > 0 {}
    Ok(chunk.freeze())
}

const UNWELL: &str = "the server does not speak HTTP/3 well";

fn of_stream(error: &StreamError, connection: &Connection) -> String {
    match error {
        StreamError::StreamError { code, reason, .. } => format!("{UNWELL}: {reason} ({code})"),
        StreamError::RemoteTerminate { code, .. } => format!("the server ended the stream with {code}"),
        StreamError::ConnectionError(error) => of_connection(error, connection),
        StreamError::RemoteClosing => "the server takes no more requests on this connection".into(),
        StreamError::Undefined(error) => format!("{UNWELL}: {error}"),
        error => error.to_string(),
    }
}

fn of_connection(error: &ConnectionError, connection: &Connection) -> String {
    match error {
        ConnectionError::Local { error: LocalError::Application { code, reason, .. }, .. } => {
            format!("{UNWELL}: {reason} ({code})")
        }
        ConnectionError::Remote(ConnectionErrorIncoming::ApplicationClose { error_code }) => {
            format!("the server closed the connection with {}", h3::error::Code::from(*error_code))
        }
        ConnectionError::Remote(ConnectionErrorIncoming::Undefined(error)) => {
            match error.downcast_ref::<tercel::aio::ConnectionError>() {
                Some(tercel::aio::ConnectionError(reason)) => reason.to_string(),
                // A rule of HTTP/3 that was broken.
                None => format!("{UNWELL}: {error}"),
            }
        }
        error => connection.close_reason().map_or_else(|| error.to_string(), |reason| reason.to_string()),
    }
}
