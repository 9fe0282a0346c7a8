//! A directory as a web site: files by `tower-http` (ranges, conditions, types, precompressed files),
//! listings of directories that have no index, and files taken by PUT where that is wanted.

pub(crate) mod echo;
mod listing;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, USER_AGENT};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use tercel_h3::{BoxError, RemoteAddress, RequestBody};
use tower_http::services::ServeDir;
use tower_service::Service as _;

use crate::fingerprint::Fingerprint;
use crate::hq::{self, Refusal};
use crate::partial::{Existing, Partial};

/// What a request is answered with.
pub(crate) type Answer = Response<UnsyncBoxBody<Bytes, BoxError>>;

/// A directory that is served.
#[derive(Clone)]
pub(crate) struct WebSite {
    root: Arc<PathBuf>,
    files: ServeDir,
    writable: bool,
    /// The page that tries the echo, if there is one.
    echo: Option<Bytes>,
}

fn full(status: StatusCode, kind: &'static str, text: impl Into<Bytes>) -> Answer {
    let body = Full::new(text.into()).map_err(|never| match never {}).boxed_unsync();
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

fn plain(status: StatusCode) -> Answer {
    full(status, "text/plain; charset=utf-8", format!("{status}\n"))
}

fn refused(refusal: Refusal) -> Answer {
    plain(StatusCode::from_u16(refusal as u16).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
}

impl WebSite {
    /// Of `root`, which is a canonical path.
    pub(crate) fn new(root: &Path, writable: bool) -> Self {
        let files = ServeDir::new(root).precompressed_br().precompressed_gzip().precompressed_zstd();
        Self { root: Arc::new(root.to_path_buf()), files, writable, echo: None }
    }

    /// With the page of the WebTransport [echo]; browsers are to take `certificate`, if one is given.
    pub(crate) fn with_echo(self, certificate: Option<Fingerprint>) -> Self {
        Self { echo: Some(echo::page(certificate).into()), ..self }
    }

    /// Answers a request, and logs it.
    pub(crate) async fn answer(self, request: Request<RequestBody>) -> Answer {
        let about = About::of(&request);
        let answer = match *request.method() {
            Method::GET | Method::HEAD => self.give(request).await,
            Method::PUT if self.writable => self.take(request).await,
            _ => {
                let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED);
                let allowed = if self.writable { "GET, HEAD, PUT" } else { "GET, HEAD" };
                answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
                answer
            }
        };
        about.log(&answer);
        answer
    }

    async fn give(mut self, request: Request<RequestBody>) -> Answer {
        let path = request.uri().path().to_owned();
        if let Some(page) = self.echo.clone().filter(|_| path == echo::PATH) {
            return full(StatusCode::OK, "text/html; charset=utf-8", page);
        }
        let file = match self.resolve(&path).await {
            Ok(file) => file,
            Err(refusal) => return refused(refusal),
        };
        let is_directory = tokio::fs::metadata(&file).await.is_ok_and(|metadata| metadata.is_dir());
        if is_directory {
            if !path.ends_with('/') {
                return moved(&format!("{path}/"));
            }
            if tokio::fs::metadata(file.join("index.html")).await.is_err() {
                return match listing::page(&file, &path, *self.root == file).await {
                    Ok(page) => full(StatusCode::OK, "text/html; charset=utf-8", page),
                    Err(_) => refused(Refusal::Forbidden),
                };
            }
        }
        match self.files.call(request).await {
            Ok(answer) => answer.map(|body| body.map_err(Into::into).boxed_unsync()),
            Err(never) => match never {},
        }
    }

    /// The file that a path names. A link may lead out of the directory; what it leads to is not served
    /// then.
    async fn resolve(&self, path: &str) -> Result<PathBuf, Refusal> {
        let file = hq::resolve(&self.root, path)?;
        let real = tokio::fs::canonicalize(&file).await.map_err(|error| match error.kind() {
            std::io::ErrorKind::PermissionDenied => Refusal::Forbidden,
            _ => Refusal::NotFound,
        })?;
        if real.starts_with(&*self.root) { Ok(real) } else { Err(Refusal::Forbidden) }
    }

    /// Takes a file: it appears under its name when it is whole, and never in place of another.
    async fn take(&self, request: Request<RequestBody>) -> Answer {
        let path = request.uri().path().to_owned();
        match self.store(&path, request.into_body()).await {
            Ok(()) => {
                let mut answer = full(StatusCode::CREATED, "text/plain; charset=utf-8", "");
                if let Ok(location) = HeaderValue::try_from(path) {
                    answer.headers_mut().insert(LOCATION, location);
                }
                answer
            }
            Err(refusal) => refused(refusal),
        }
    }

    async fn store(&self, path: &str, mut body: RequestBody) -> Result<(), Refusal> {
        if path.ends_with('/') {
            return Err(Refusal::BadRequest);
        }
        let file = hq::resolve(&self.root, path)?;
        let (Some(directory), Some(name)) = (file.parent(), file.file_name()) else { return Err(Refusal::BadRequest) };
        let directory = tokio::fs::canonicalize(directory).await.map_err(|_| Refusal::NotFound)?;
        if !directory.starts_with(&*self.root) {
            return Err(Refusal::Forbidden);
        }
        let file = directory.join(name);
        if tokio::fs::symlink_metadata(&file).await.is_ok() {
            return Err(Refusal::Conflict);
        }
        let mut partial = Partial::create(&file, Existing::Keep).map_err(|_| Refusal::Forbidden)?;
        while let Some(frame) = body.frame().await {
            // A client that leaves half-way leaves nothing behind.
            let frame = frame.map_err(|_| Refusal::BadRequest)?;
            if let Ok(data) = frame.into_data() {
                partial.write(&data).await.map_err(|_| Refusal::InternalError)?;
            }
        }
        partial.finish().await.map_err(|_| Refusal::Conflict)
    }
}

fn moved(to: &str) -> Answer {
    let mut answer = plain(StatusCode::PERMANENT_REDIRECT);
    // A path that begins with two slashes would name another host.
    let to = format!("/{}", to.trim_start_matches('/'));
    if let Ok(to) = HeaderValue::try_from(to) {
        answer.headers_mut().insert(LOCATION, to);
    }
    answer
}

/// What the log says of a request.
struct About {
    remote: String,
    method: Method,
    path: String,
    version: http::Version,
    agent: String,
}

impl About {
    fn of(request: &Request<RequestBody>) -> Self {
        let remote = request.extensions().get::<RemoteAddress>();
        let agent = request.headers().get(USER_AGENT).map(|agent| String::from_utf8_lossy(agent.as_bytes()));
        Self {
            remote: remote.map_or_else(|| "-".into(), |remote| remote.0.to_string()),
            method: request.method().clone(),
            path: request
                .uri()
                .path_and_query()
                .map_or_else(String::new, |path| path.as_str().escape_debug().to_string()),
            version: request.version(),
            agent: agent.unwrap_or_default().escape_debug().to_string(),
        }
    }

    fn log(&self, answer: &Answer) {
        let len = answer.headers().get(CONTENT_LENGTH).and_then(|len| len.to_str().ok()).unwrap_or("-");
        let Self { remote, method, path, version, agent } = self;
        let agent = if agent.is_empty() { String::new() } else { format!(" \"{agent}\"") };
        println!("{remote} {method} {path} {version:?} {} {len}{agent}", answer.status().as_u16());
    }
}
