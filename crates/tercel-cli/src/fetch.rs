//! One exchange as a client: a download into a file, or an upload from one, by HTTP/3 or `hq-interop`,
//! whichever the server speaks.

use std::path::{Path, PathBuf};

use bytes::{Buf as _, Bytes, BytesMut};
use h3::client::{RequestStream, SendRequest};
use http::header::{CONTENT_LENGTH, HOST, USER_AGENT};
use http::{Method, Request, StatusCode};
use tercel::aio::{Connection, ReadError, WriteError};
use tercel_h3::{BidiStream, Opener};
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;

use crate::failure::{Doing as _, Failure, Outcome};
use crate::hq::Refusal;
use crate::partial::{Existing, Partial};
use crate::progress::Progress;
use crate::target::Target;

/// How much of a file is read at a time.
const CHUNK: usize = 1 << 20;

/// What the program calls itself.
const AGENT: &str = concat!("tercel/", env!("CARGO_PKG_VERSION"));

/// What was moved.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moved {
    pub(crate) bytes: u64,
}

/// A server, by the protocol that it chose.
#[derive(Clone)]
pub(crate) enum Server {
    Http3(SendRequest<Opener, Bytes>),
    Hq(Connection),
}

impl Server {
    /// Speaks with the server at the other end of `connection`.
    pub(crate) async fn new(connection: &Connection) -> Outcome<Self> {
        if connection.alpn().as_deref() != Some(tercel_h3::ALPN) {
            return Ok(Self::Hq(connection.clone()));
        }
        let made = h3::client::new(tercel_h3::Connection::new(connection.clone())).await;
        let (mut driver, requests) = made.doing(|| "the server does not speak HTTP/3 well")?;
        tokio::spawn(async move {
            let end = std::future::poll_fn(|context| driver.poll_close(context)).await;
            tracing::debug!(%end, "an HTTP/3 connection has ended");
        });
        Ok(Self::Http3(requests))
    }

    /// Downloads a target into `file`.
    pub(crate) async fn download(
        &self,
        target: &Target,
        file: PathBuf,
        existing: Existing,
        progress: &Progress,
    ) -> Outcome<Moved> {
        // The file first: a directory that cannot be written to should cost no transfer.
        let partial = Partial::create(&file, existing)?;
        match self {
            Self::Http3(requests) => download_http3(requests.clone(), target, partial, progress).await,
            Self::Hq(connection) => download_hq(connection, &target.path, partial, progress).await,
        }
    }

    /// Uploads `file` to a target, under `path`.
    pub(crate) async fn upload(&self, file: &Path, target: &Target, path: &str, progress: &Progress) -> Outcome<Moved> {
        let source = File::open(file).await.doing(|| format!("cannot read {}", file.display()))?;
        match self {
            Self::Http3(requests) => upload_http3(requests.clone(), file, source, target, path, progress).await,
            Self::Hq(connection) => upload_hq(connection, file, source, path, progress).await,
        }
    }
}

type Exchange = RequestStream<BidiStream<Bytes>, Bytes>;

async fn ask(
    mut requests: SendRequest<Opener, Bytes>,
    method: Method,
    target: &Target,
    path: &str,
    len: Option<u64>,
) -> Result<Exchange, Failure> {
    let doing = || format!("cannot ask for {path}");
    let mut request = Request::builder()
        .method(method)
        .uri(format!("https://{}{path}", target.authority()))
        .header(USER_AGENT, AGENT);
    if let Some(len) = len {
        request = request.header(CONTENT_LENGTH, len);
    }
    let mut request = request.body(()).doing(doing)?;
    // The authority says it (RFC 9114 section 4.3.1).
    request.headers_mut().remove(HOST);
    requests.send_request(request).await.doing(doing)
}

/// What a status means that is not what was hoped for.
fn refused(status: StatusCode) -> String {
    match status {
        StatusCode::NOT_FOUND => Refusal::explain(404),
        StatusCode::FORBIDDEN => Refusal::explain(403),
        StatusCode::METHOD_NOT_ALLOWED => Refusal::explain(405),
        StatusCode::CONFLICT => Refusal::explain(409),
        status => format!("the server answers {status}"),
    }
}

async fn download_http3(
    requests: SendRequest<Opener, Bytes>,
    target: &Target,
    mut partial: Partial,
    progress: &Progress,
) -> Outcome<Moved> {
    let doing = || format!("cannot fetch {}", target.path);
    let mut stream = ask(requests, Method::GET, target, &target.path, None).await?;
    // A server may have answered already and want no more of the request (RFC 9114 section 4.1): then there
    // is nothing to finish. If something is wrong the response says so.
    let _ = stream.finish().await;
    let response = stream.recv_response().await.doing(doing)?;
    if !response.status().is_success() {
        let location = response.headers().get(http::header::LOCATION).and_then(|to| to.to_str().ok());
        let why = match location.filter(|_| response.status().is_redirection()) {
            Some(to) => format!("it is at {to}"),
            None => refused(response.status()),
        };
        return Err(Failure::new(doing(), why));
    }
    let promised: Option<u64> = response.headers().get(CONTENT_LENGTH).and_then(|len| len.to_str().ok()?.parse().ok());
    let mut bytes = 0;
    while let Some(mut data) = stream.recv_data().await.doing(doing)? {
        let data = data.copy_to_bytes(data.remaining());
        partial.write(&data).await?;
        bytes += data.len() as u64;
        progress.add(data.len());
    }
    if let Some(promised) = promised.filter(|promised| *promised != bytes) {
        return Err(Failure::new(doing(), format!("{bytes} bytes came of {promised} that were promised")));
    }
    partial.finish().await?;
    Ok(Moved { bytes })
}

async fn upload_http3(
    requests: SendRequest<Opener, Bytes>,
    file: &Path,
    mut source: File,
    target: &Target,
    path: &str,
    progress: &Progress,
) -> Outcome<Moved> {
    let doing = || format!("cannot send {} to {path}", file.display());
    let reading = || format!("cannot read {}", file.display());
    let len = source.metadata().await.doing(reading)?.len();
    let mut stream = ask(requests, Method::PUT, target, path, Some(len)).await?;
    let mut bytes = 0;
    let mut sent = Ok(());
    while sent.is_ok() {
        let chunk = read_chunk(&mut source).await.doing(reading)?;
        if chunk.is_empty() {
            sent = stream.finish().await;
            break;
        }
        let len = chunk.len();
        sent = stream.send_data(chunk).await;
        bytes += len as u64;
        progress.add(len);
    }
    // A server that wants no more says why, and its answer counts.
    match (stream.recv_response().await, sent) {
        (Ok(response), Ok(())) if response.status().is_success() => Ok(Moved { bytes }),
        (Ok(response), _) => Err(Failure::new(doing(), refused(response.status()))),
        (Err(error), _) => Err(Failure::new(doing(), error)),
    }
}

/// Downloads by `hq-interop`.
pub(crate) async fn download_hq(
    connection: &Connection,
    path: &str,
    mut partial: Partial,
    progress: &Progress,
) -> Outcome<Moved> {
    let doing = || format!("cannot fetch {path}");
    let (mut send, mut recv) = connection.open_bi().await.doing(doing)?;
    send.write_all(format!("GET {path}\r\n").as_bytes()).await.doing(doing)?;
    send.finish().doing(doing)?;
    let mut bytes = 0;
    loop {
        match recv.read_chunk(CHUNK).await {
            Ok(Some(chunk)) => {
                partial.write(&chunk).await?;
                bytes += chunk.len() as u64;
                progress.add(chunk.len());
            }
            Ok(None) => break,
            Err(ReadError::Reset(code)) => return Err(Failure::new(doing(), Refusal::explain(code.into_inner()))),
            Err(error) => return Err(Failure::new(doing(), error)),
        }
    }
    partial.finish().await?;
    Ok(Moved { bytes })
}

/// Uploads by `hq-interop`.
pub(crate) async fn upload_hq(
    connection: &Connection,
    file: &Path,
    mut source: File,
    path: &str,
    progress: &Progress,
) -> Outcome<Moved> {
    let doing = || format!("cannot send {} to {path}", file.display());
    let (mut send, mut recv) = connection.open_bi().await.doing(doing)?;
    let mut bytes = 0;
    let mut sent = send.write_all(format!("PUT {path}\r\n").as_bytes()).await;
    while sent.is_ok() {
        let chunk = read_chunk(&mut source).await.doing(|| format!("cannot read {}", file.display()))?;
        if chunk.is_empty() {
            sent = send.finish();
            break;
        }
        let len = chunk.len();
        sent = send.write_chunk(chunk).await;
        bytes += len as u64;
        progress.add(len);
    }
    match sent {
        Ok(()) => {}
        Err(WriteError::Stopped(code)) => return Err(Failure::new(doing(), Refusal::explain(code.into_inner()))),
        Err(error) => return Err(Failure::new(doing(), error)),
    }
    match recv.read_chunk(1).await {
        Ok(None) => Ok(Moved { bytes }),
        Ok(Some(_)) => Err(Failure::new(doing(), "the server's answer makes no sense")),
        Err(ReadError::Reset(code)) => Err(Failure::new(doing(), Refusal::explain(code.into_inner()))),
        Err(error) => Err(Failure::new(doing(), error)),
    }
}

/// The next piece of a file; empty at its end.
pub(crate) async fn read_chunk(file: &mut File) -> std::io::Result<Bytes> {
    let mut chunk = BytesMut::with_capacity(CHUNK);
    while chunk.len() < CHUNK && file.read_buf(&mut chunk).await? > 0 {}
    Ok(chunk.freeze())
}
