//! A directory as a web site: files by `tower-http` (ranges, conditions, types, precompressed files),
//! listings of directories that have no index, and files taken by PUT where that is wanted.

pub(crate) mod echo;
mod listing;

use std::path::Path;

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, ALLOW, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_RANGE, LAST_MODIFIED, LOCATION, RANGE,
};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full};
use tercel_h3::{BoxError, RequestBody};
use tower_http::services::ServeDir;
use tower_http::services::fs::DefaultServeDirFallback;
use tower_service::Service as _;

pub(crate) use self::listing::day;
use crate::access_log::About;
use crate::fingerprint::Fingerprint;
use crate::hq::Refusal;
use crate::inside::Inside;
use crate::partial::Partial;

/// What a request is answered with.
pub(crate) type Answer = Response<UnsyncBoxBody<Bytes, BoxError>>;

/// A directory that is served.
#[derive(Clone)]
pub(crate) struct WebSite {
    inside: Inside,
    files: ServeDir<DefaultServeDirFallback, Inside>,
    writable: bool,
    /// The page that tries the echo, if there is one.
    echo: Option<Bytes>,
}

fn full(status: StatusCode, kind: &'static str, text: impl Into<Bytes>) -> Answer {
    let text = text.into();
    let len = text.len();
    let body = Full::new(text).map_err(|never| match never {}).boxed_unsync();
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer.headers_mut().insert(CONTENT_LENGTH, len.into());
    answer
}

fn plain(status: StatusCode) -> Answer {
    full(status, "text/plain; charset=utf-8", format!("{status}\n"))
}

fn refused(refusal: Refusal) -> Answer {
    plain(StatusCode::from_u16(refusal as u16).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
}

impl WebSite {
    pub(crate) fn new(inside: &Inside, writable: bool) -> Self {
        let files = ServeDir::with_backend(inside.root(), inside.clone());
        let files = files.precompressed_br().precompressed_gzip().precompressed_zstd();
        // RFC 9110 section 14.2: who does not want to send several ranges sends everything.
        Self { inside: inside.clone(), files: files.ignore_multi_range_requests(true), writable, echo: None }
    }

    /// With the page of the WebTransport [echo]; browsers are to take `certificate`, if one is given.
    pub(crate) fn with_echo(self, certificate: Option<Fingerprint>) -> Self {
        Self { echo: Some(echo::page(certificate).into()), ..self }
    }

    /// Answers a request, and logs it.
    pub(crate) async fn answer(self, request: Request<RequestBody>) -> Answer {
        let about = About::of(&request);
        let is_head = request.method() == Method::HEAD;
        let answer = match *request.method() {
            Method::GET | Method::HEAD => self.give(request.into_parts().0).await,
            Method::PUT if self.writable => self.take(request).await,
            _ => {
                let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED);
                let allowed = if self.writable { "GET, HEAD, PUT" } else { "GET, HEAD" };
                answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
                answer
            }
        };
        // RFC 9110 section 9.3.2: no content, whatever the header tells of its length.
        let answer = match is_head {
            true => answer.map(|_| Empty::new().map_err(|never| match never {}).boxed_unsync()),
            false => answer,
        };
        about.log(answer)
    }

    async fn give(mut self, mut request: Parts) -> Answer {
        let path = request.uri.path().to_owned();
        if let Some(page) = self.echo.clone().filter(|_| path == echo::PATH) {
            return full(StatusCode::OK, "text/html; charset=utf-8", page);
        }
        let file = match self.inside.find(&path).await {
            Ok(file) => file,
            Err(refusal) => return refused(refusal),
        };
        let is_directory = tokio::fs::metadata(&file).await.is_ok_and(|metadata| metadata.is_dir());
        if is_directory {
            if !path.ends_with('/') {
                return moved(&path, request.uri.query());
            }
            if self.inside.real(&file.join("index.html")).await.is_err() {
                return self.list(&file, &path).await;
            }
        }
        if !is_range(&request) || (request.headers.contains_key(IF_RANGE) && !self.is_still(&request).await) {
            request.headers.remove(RANGE);
        }
        match self.files.call(Request::from_parts(request, Empty::<Bytes>::new())).await {
            Ok(answer) => answer.map(|body| body.map_err(Into::into).boxed_unsync()),
            Err(never) => match never {},
        }
    }

    async fn list(&self, directory: &Path, path: &str) -> Answer {
        match listing::page(&self.inside, directory, path).await {
            Ok(page) => full(StatusCode::OK, "text/html; charset=utf-8", page),
            Err(_) => refused(Refusal::Forbidden),
        }
    }

    /// Whether what `If-Range` names is what there is (RFC 9110 section 13.1.5): only then is a range of it
    /// wanted. It must be our entity tag, which is strong, or our date exactly, if that is so old that the file
    /// cannot have changed since within the same second.
    async fn is_still(&mut self, request: &Parts) -> bool {
        let mut head = Request::new(Empty::<Bytes>::new());
        (*head.method_mut(), *head.uri_mut()) = (Method::HEAD, request.uri.clone());
        if let Some(encodings) = request.headers.get(ACCEPT_ENCODING) {
            head.headers_mut().insert(ACCEPT_ENCODING, encodings.clone());
        }
        let Ok(head) = self.files.call(head).await;
        let (Some(wanted), headers) = (request.headers.get(IF_RANGE), head.headers()) else { return false };
        if headers.get(ETAG) == Some(wanted) {
            return true;
        }
        headers.get(LAST_MODIFIED) == Some(wanted) && is_old(wanted)
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
        let file = self.inside.place(path).await?;
        let of = |error: std::io::Error| Refusal::of(&error);
        let mut partial = Partial::create(&file).map_err(of)?;
        while let Some(frame) = body.frame().await {
            // A client that leaves half-way leaves nothing behind.
            let frame = frame.map_err(|_| Refusal::BadRequest)?;
            if let Ok(data) = frame.into_data() {
                partial.write(&data).await.map_err(of)?;
            }
        }
        partial.finish().await.map_err(of)
    }
}

/// Whether a range is one to be heeded: in a unit that we know, and of something that is sent (RFC 9110 section
/// 14.2).
fn is_range(request: &Parts) -> bool {
    let unit = request.headers.get(RANGE).and_then(|range| range.as_bytes().split_at_checked(6)).map(|(unit, _)| unit);
    request.method == Method::GET && unit.is_some_and(|unit| unit.eq_ignore_ascii_case(b"bytes="))
}

/// Whether a date is a second ago, at least.
#[expect(clippy::disallowed_methods, reason = "dates are compared with the time of day")]
fn is_old(date: &HeaderValue) -> bool {
    let date = date.to_str().ok().and_then(|date| httpdate::parse_http_date(date).ok());
    let age = date.and_then(|date| std::time::SystemTime::now().duration_since(date).ok());
    // The date has lost its fraction.
    age.is_some_and(|age| age.as_secs() >= 2)
}

fn moved(path: &str, query: Option<&str>) -> Answer {
    let mut answer = plain(StatusCode::PERMANENT_REDIRECT);
    // A path that begins with two slashes would name another host.
    let query = query.map_or_else(String::new, |query| format!("?{query}"));
    if let Ok(to) = HeaderValue::try_from(format!("/{}/{query}", path.trim_start_matches('/'))) {
        answer.headers_mut().insert(LOCATION, to);
    }
    answer
}
