//! The access log: a line for each request, on standard output.
//!
//! ```text
//! 192.0.2.7:40312 GET /films/a.mkv HTTP/3.0 200 1048576 "tercel/0.1.0" 2026-11-27T18:05:33Z 12ms
//! ```
//!
//! Address, method, path with query, version, status, bytes of the body that were sent, what the client calls
//! itself (`-` if it does not say), the time of day when the request came, and how long the answer took.
//! Quotes, line ends and whatever else could deceive is escaped. The line is written before the last byte is
//! sent, or when the client breaks off.

use std::fmt::Display;
use std::io::Write as _;
use std::time::{Instant, SystemTime};

use bytes::Buf as _;
use http::header::{CONTENT_LENGTH, USER_AGENT};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use tercel_h3::{RemoteAddress, RequestBody};

use crate::now;
use crate::web::Answer;

/// Prints a line; if nobody reads any more there is nobody to tell.
pub(crate) fn line(line: impl Display) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// What is known of a request before it is answered.
pub(crate) struct About {
    remote: String,
    method: Method,
    path: String,
    version: http::Version,
    agent: String,
    begun: Instant,
    time: String,
}

impl About {
    #[expect(clippy::disallowed_methods, reason = "a log tells the time of day")]
    pub(crate) fn of(request: &Request<RequestBody>) -> Self {
        let remote = request.extensions().get::<RemoteAddress>();
        let agent = request.headers().get(USER_AGENT).map(|agent| String::from_utf8_lossy(agent.as_bytes()));
        let path = request.uri().path_and_query().map_or("", |path| path.as_str());
        Self {
            remote: remote.map_or_else(|| "-".into(), |remote| remote.0.to_string()),
            method: request.method().clone(),
            path: path.escape_debug().to_string(),
            version: request.version(),
            agent: agent.map_or_else(|| "-".into(), |agent| agent.escape_debug().to_string()),
            begun: now(),
            time: utc(SystemTime::now()),
        }
    }

    /// Lets `answer` write the line as it goes out.
    pub(crate) fn log(self, answer: Answer) -> Answer {
        let promised = number(&answer, CONTENT_LENGTH);
        let empty = self.method == Method::HEAD || answer.status() == StatusCode::NOT_MODIFIED;
        let promised = if empty { Some(0) } else { promised };
        let mut entry = Entry { about: self, status: answer.status(), promised, sent: 0, is_written: false };
        entry.write_if_done();
        answer.map(|body| {
            let counted = body.map_frame(move |frame| {
                entry.sent += frame.data_ref().map_or(0, |data| data.remaining() as u64);
                entry.write_if_done();
                frame
            });
            counted.boxed_unsync()
        })
    }
}

fn number<B>(answer: &Response<B>, name: http::HeaderName) -> Option<u64> {
    answer.headers().get(name)?.to_str().ok()?.parse().ok()
}

/// A line that is not complete.
struct Entry {
    about: About,
    status: StatusCode,
    promised: Option<u64>,
    sent: u64,
    is_written: bool,
}

impl Entry {
    fn write_if_done(&mut self) {
        if self.promised == Some(self.sent) {
            self.write();
        }
    }

    fn write(&mut self) {
        if std::mem::replace(&mut self.is_written, true) {
            return;
        }
        let About { remote, method, path, version, agent, begun, time } = &self.about;
        let (status, sent, took) = (self.status.as_u16(), self.sent, begun.elapsed().as_millis());
        line(format_args!("{remote} {method} {path} {version:?} {status} {sent} \"{agent}\" {time} {took}ms"));
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.write();
    }
}

/// As RFC 3339 has it: `2026-11-27T18:05:33Z`.
fn utc(time: SystemTime) -> String {
    crate::web::day(time, "T", 8) + "Z"
}
