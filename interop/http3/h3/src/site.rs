//! What the servers answer.

use std::path::Path;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use sha2::{Digest as _, Sha256};

use crate::client::{TRAILER, hex};

/// A response whole: its head, its body, and its trailers if it has some.
pub struct Answer {
    pub head: Response<()>,
    pub body: Bytes,
    pub trailers: Option<HeaderMap>,
}

/// Whether GOAWAY comes before the answer.
pub fn says_goaway<B>(request: &Request<B>) -> bool {
    request.uri().path().starts_with("/goaway/")
}

/// Tells of a request, and answers it.
pub fn answer(directory: &Path, request: &Request<Bytes>, trailers: Option<HeaderMap>) -> Answer {
    let (path, body) = (request.uri().path(), request.body());
    let trailer = trailers.as_ref().and_then(|trailers| trailers.get(TRAILER)?.to_str().ok()).unwrap_or("-");
    println!("request {} {path} {} {} {trailer}", request.method(), body.len(), hex(&Sha256::digest(body)));
    match request.method().as_str() {
        "PUT" => whole(StatusCode::CREATED, Bytes::new(), None),
        "POST" => whole(StatusCode::OK, body.clone(), trailers),
        _ => file(directory, request),
    }
}

fn whole(status: StatusCode, body: Bytes, trailers: Option<HeaderMap>) -> Answer {
    let head = Response::builder().status(status).header("content-length", body.len());
    Answer { head: head.body(()).expect("a response"), body, trailers }
}

fn file(directory: &Path, request: &Request<Bytes>) -> Answer {
    let path = request.uri().path();
    let name = ["/goaway/", "/trailers/", "/"].iter().find_map(|prefix| path.strip_prefix(prefix)).unwrap_or_default();
    let Ok(body) = std::fs::read(directory.join(name)) else {
        return whole(StatusCode::NOT_FOUND, "not found\n".into(), None);
    };
    let body = Bytes::from(body);
    let range = request.headers().get("range").and_then(|range| {
        let (first, last) = range.to_str().ok()?.strip_prefix("bytes=")?.split_once('-')?;
        Some((first.parse::<usize>().ok()?, last.parse::<usize>().ok()?))
    });
    let mut answer = match range {
        Some((first, last)) => {
            let mut answer = whole(StatusCode::PARTIAL_CONTENT, body.slice(first..=last), None);
            let range = HeaderValue::try_from(format!("bytes {first}-{last}/{}", body.len())).expect("a value");
            answer.head.headers_mut().insert("content-range", range);
            answer
        }
        None => whole(StatusCode::OK, body, None),
    };
    if path.starts_with("/trailers/") {
        let hash = HeaderValue::try_from(hex(&Sha256::digest(&answer.body))).expect("a value");
        answer.trailers = Some(HeaderMap::from_iter([(TRAILER.parse().expect("a name"), hash)]));
    }
    if request.method() == http::Method::HEAD {
        answer.body = Bytes::new();
    }
    answer
}
