//! One URL: what is asked, where the answer goes, and what is done if it is not the one hoped for.

use std::io::Write as _;
use std::path::PathBuf;

use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, COOKIE, DATE, ETAG, IF_RANGE, LAST_MODIFIED, LOCATION, RANGE,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use super::part::{Existing, Notes, Part};
use super::session::Sessions;
use super::timings::Timings;
use crate::exchange::{Answer, Ask, Body, Content, within};
use crate::failure::{Failure, Outcome};
use crate::hq::Refusal;
use crate::now;
use crate::progress::Progress;
use crate::span::Span;
use crate::target::Target;

/// So many redirections are followed.
const REDIRECTIONS: usize = 10;

/// What is done with every URL.
pub(super) struct Getting {
    pub(super) sessions: Sessions,
    pub(super) ask: Ask,
    pub(super) into: Into,
    pub(super) existing: Existing,
    /// Whether the head of the answer is shown.
    pub(super) shows_head: bool,
    pub(super) follows: bool,
    pub(super) stall: Span,
    pub(super) progress: Progress,
}

/// Where answers go.
pub(super) enum Into {
    Directory(PathBuf),
    Stdout,
    /// Nowhere: something was sent, or only the head is wanted.
    Nowhere,
}

/// Where an answer goes.
enum Place {
    File(Box<Part>),
    Stdout,
    Nowhere,
}

impl Getting {
    /// Fetches `target`; what there is to tell of it goes into `timings`.
    pub(super) async fn fetch(&self, target: &Target, timings: &mut Timings) -> Outcome {
        let fetched = self.try_fetch(target, timings).await;
        if let Err(failure) = &fetched {
            timings.error = Some(failure.to_string());
        }
        fetched
    }

    async fn try_fetch(&self, target: &Target, timings: &mut Timings) -> Outcome {
        // The file first: what cannot be written should cost no transfer.
        let mut place = match &self.into {
            Into::Directory(directory) => {
                let name = directory.join(target.file_name());
                Place::File(Box::new(Part::open(&name, self.existing, &target.to_string())?))
            }
            Into::Stdout => Place::Stdout,
            Into::Nowhere => Place::Nowhere,
        };
        let received = self.follow(target, &mut place, timings).await;
        match (received, place) {
            (Ok(()), Place::File(part)) => part.finish(),
            (Ok(()), _) => Ok(()),
            (Err(failure), Place::File(part)) => Err(match part.resumable() {
                Some((notes, len)) => failure
                    .and(format!("{len} of {} bytes are kept, and the same command goes on from there", notes.total)),
                None => failure,
            }),
            (Err(failure), _) => Err(failure),
        }
    }

    /// Asks `target`, and wherever it sends us to.
    async fn follow(&self, target: &Target, place: &mut Place, timings: &mut Timings) -> Outcome {
        let (mut target, mut ask) = (target.clone(), self.ask.clone());
        for _ in 0..=REDIRECTIONS {
            let doing =
                || format!("cannot {} {}", if ask.method == Method::GET { "fetch" } else { "ask for" }, target.path);
            let answer = self.ask(&target, &ask, place, timings).await?;
            let to = answer.head.as_ref().filter(|head| head.status().is_redirection()).and_then(location);
            let Some(to) = to.filter(|_| self.follows) else {
                return self.receive(answer, place, timings).await.map_err(|why| Failure::new(doing(), why));
            };
            let next = target.join(to).map_err(|why| Failure::new(doing(), why))?;
            let same_server = (&next.host, next.port) == (&target.host, target.port);
            redirect(&mut ask, answer.head.as_ref().map_or(StatusCode::FOUND, Response::status), same_server);
            target = next;
        }
        Err(Failure::new(format!("cannot fetch {}", target.path), format!("more than {REDIRECTIONS} redirections")))
    }

    /// One answer of a server that we may go on with: what it does not take for a range is asked for anew.
    async fn ask(&self, target: &Target, ask: &Ask, place: &mut Place, timings: &mut Timings) -> Outcome<Answer> {
        let answer = self.ask_once(target, ask, &range(ask, place), timings).await?;
        let Place::File(part) = &*place else { return Ok(answer) };
        let (Some((notes, len)), Some(head)) = (part.resumable(), &answer.head) else { return Ok(answer) };
        let goes_on = match head.status() {
            StatusCode::PARTIAL_CONTENT => continues(head, notes, len),
            StatusCode::RANGE_NOT_SATISFIABLE => false,
            _ => true,
        };
        if goes_on {
            return Ok(answer);
        }
        drop(answer);
        if let Place::File(part) = place {
            part.begin(None)?;
        }
        self.ask_once(target, ask, &HeaderMap::new(), timings).await
    }

    /// Asks; early if that does no harm, and again if it was too early.
    async fn ask_once(&self, target: &Target, ask: &Ask, more: &HeaderMap, timings: &mut Timings) -> Outcome<Answer> {
        let doing = |why| Failure::new(format!("cannot ask for {}", target.path), why);
        let session = self.sessions.of(&target.host, target.port);
        let (server, early) = session.server(ask.is_safe()).await?;
        let begun = now();
        let mut answer = if early {
            tokio::select! {
                answer = server.ask(ask, target, more, self.stall, &self.progress) => answer.ok(),
                () = session.early_is_lost() => None,
            }
        } else {
            Some(server.ask(ask, target, more, self.stall, &self.progress).await.map_err(doing)?)
        };
        // RFC 8470 section 5.2: what was too early may be asked again when the handshake is complete.
        let is_too_early =
            answer.as_ref().is_none_or(|answer| is_status(answer, StatusCode::TOO_EARLY) && ask.is_safe());
        if is_too_early {
            let open = session.opened().await?;
            answer = Some(open.server.ask(ask, target, more, self.stall, &self.progress).await.map_err(doing)?);
        }
        timings.first_byte = Some(begun.elapsed());
        let open = session.opened().await?;
        if session.is_first_told() {
            timings.facts = Some(open.facts.clone());
        }
        timings.status = answer.as_ref().and_then(|answer| Some(answer.head.as_ref()?.status().as_u16()));
        answer.ok_or_else(|| doing("there is no answer".into()))
    }

    /// Takes an answer that is the last.
    async fn receive(&self, answer: Answer, place: &mut Place, timings: &mut Timings) -> Result<(), String> {
        let Answer { head, mut body } = answer;
        let promised = head.as_ref().and_then(|head| number(head.headers().get(CONTENT_LENGTH)?));
        if let Some(head) = &head {
            if self.shows_head {
                show(head)?;
            }
            if !head.status().is_success() {
                if let Place::Stdout = place {
                    // Who reads the answer may want to know why.
                    self.copy(&mut body, place, timings).await?;
                }
                return Err(unwanted(head));
            }
        }
        let is_part = head.as_ref().is_some_and(|head| head.status() == StatusCode::PARTIAL_CONTENT);
        match place {
            Place::File(part) if is_part && part.resumable().is_none() && !self.ask.headers.contains_key(RANGE) => {
                return Err("the server sent a part that nobody asked for".into());
            }
            Place::File(part) => match &head {
                Some(_) if is_part && part.resumable().is_some() => {
                    timings.resumed_at = part.resumable().map_or(0, |(_, len)| len);
                }
                head => part
                    .begin(head.as_ref().and_then(|head| self.notes(head, promised, timings)))
                    .map_err(|failure| failure.to_string())?,
            },
            Place::Stdout | Place::Nowhere => {}
        }
        self.copy(&mut body, place, timings).await?;
        match promised.filter(|promised| *promised != timings.bytes && self.ask.method != Method::HEAD) {
            Some(promised) => Err(format!("{} bytes came of {promised} that were promised", timings.bytes)),
            None => Ok(()),
        }
    }

    /// By what an answer could be gone on with later.
    fn notes(&self, head: &Response<()>, promised: Option<u64>, timings: &Timings) -> Option<Notes> {
        let total = promised.filter(|total| *total > 0 && is_resumable(&self.ask))?;
        Some(Notes { url: timings.url.clone(), validator: validator(head.headers())?, total })
    }

    async fn copy(&self, body: &mut Body, place: &mut Place, timings: &mut Timings) -> Result<(), String> {
        while let Some(data) = within(self.stall, body.next()).await? {
            match place {
                Place::File(part) => part.write(&data).map_err(|failure| failure.to_string())?,
                Place::Stdout => to_stdout(data.clone()).await?,
                Place::Nowhere => {}
            }
            timings.bytes += data.len() as u64;
            self.progress.add(data.len());
        }
        Ok(())
    }
}

fn is_status(answer: &Answer, status: StatusCode) -> bool {
    answer.head.as_ref().is_some_and(|head| head.status() == status)
}

/// Writes to standard output, which may make us wait.
async fn to_stdout(data: Bytes) -> Result<(), String> {
    let written = tokio::task::spawn_blocking(move || {
        let mut out = std::io::stdout().lock();
        out.write_all(&data).and_then(|()| out.flush())
    });
    match written.await {
        Ok(written) => written.map_err(|error| format!("cannot write to standard output: {error}")),
        Err(error) => Err(error.to_string()),
    }
}

/// Whether what is asked can be asked for in parts.
fn is_resumable(ask: &Ask) -> bool {
    let conditions = [RANGE, IF_RANGE, http::header::IF_MATCH, http::header::IF_UNMODIFIED_SINCE];
    ask.method == Method::GET
        && matches!(ask.content, Content::None)
        && !conditions.iter().any(|name| ask.headers.contains_key(name))
}

/// Asks for the rest of what is there, if it is still the same (RFC 9110 section 13.1.5).
fn range(ask: &Ask, place: &Place) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Place::File(part) = place
        && is_resumable(ask)
        && let Some((notes, len)) = part.resumable()
        && let (Ok(range), Ok(validator)) =
            (HeaderValue::try_from(format!("bytes={len}-")), HeaderValue::try_from(&notes.validator))
    {
        headers.insert(RANGE, range);
        headers.insert(IF_RANGE, validator);
    }
    headers
}

/// Whether a range is the rest of what is there (RFC 9110 section 14.4). Another entity tag than that of our
/// part would be a server's mistake.
fn continues(head: &Response<()>, notes: &Notes, len: u64) -> bool {
    let range = head.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
    let wanted = format!("bytes {len}-{}/{}", notes.total - 1, notes.total);
    let tag = head.headers().get(ETAG).and_then(|tag| tag.to_str().ok());
    let is_same = tag.is_none_or(|tag| !notes.validator.starts_with('"') || tag == notes.validator);
    range.is_some_and(|range| range.eq_ignore_ascii_case(&wanted)) && is_same
}

/// A strong validator, as `If-Range` wants it: an entity tag that is not weak, or a date that is at least a
/// second older than the answer, so that no two versions can have it (RFC 9110 section 8.8.2.2).
fn validator(headers: &HeaderMap) -> Option<String> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    if let Some(tag) = text(ETAG) {
        return (tag.starts_with('"') && tag.ends_with('"') && tag.len() > 1).then(|| tag.to_owned());
    }
    let modified = text(LAST_MODIFIED)?;
    let (changed, sent) = (httpdate::parse_http_date(modified).ok()?, httpdate::parse_http_date(text(DATE)?).ok()?);
    sent.duration_since(changed).ok().filter(|age| age.as_secs() >= 1).map(|_| modified.to_owned())
}

fn number(value: &HeaderValue) -> Option<u64> {
    value.to_str().ok().filter(|text| text.bytes().all(|digit| digit.is_ascii_digit()))?.parse().ok()
}

fn location(head: &Response<()>) -> Option<&str> {
    head.headers().get(LOCATION)?.to_str().ok()
}

/// What is asked where a redirection leads (RFC 9110 section 15.4).
fn redirect(ask: &mut Ask, status: StatusCode, same_server: bool) {
    if !same_server {
        // What is meant for one server is no other's business.
        ask.headers.remove(AUTHORIZATION);
        ask.headers.remove(COOKIE);
    }
    let becomes_get = match status {
        StatusCode::SEE_OTHER => ask.method != Method::HEAD,
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => ask.method == Method::POST,
        _ => false,
    };
    if becomes_get {
        (ask.method, ask.content) = (Method::GET, Content::None);
        ask.headers.remove(http::header::CONTENT_TYPE);
    }
}

/// What a status means that is not what was hoped for.
fn unwanted(head: &Response<()>) -> String {
    match head.status() {
        status if status.is_redirection() && location(head).is_some() => {
            format!("it is at {} (see --location)", location(head).unwrap_or_default())
        }
        StatusCode::NOT_FOUND => Refusal::explain(404),
        StatusCode::FORBIDDEN => Refusal::explain(403),
        StatusCode::METHOD_NOT_ALLOWED => Refusal::explain(405),
        StatusCode::CONFLICT => Refusal::explain(409),
        StatusCode::INSUFFICIENT_STORAGE => Refusal::explain(507),
        status => format!("the server answers {status}"),
    }
}

/// Shows the head of an answer.
fn show(head: &Response<()>) -> Result<(), String> {
    let mut text = format!("HTTP/3 {}\n", head.status()).into_bytes();
    for (name, value) in head.headers() {
        text.extend_from_slice(name.as_str().as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value.as_bytes());
        text.push(b'\n');
    }
    text.push(b'\n');
    let written = std::io::stdout().lock().write_all(&text);
    written.map_err(|error| format!("cannot write to standard output: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(headers: &[(&'static str, &str)]) -> Response<()> {
        let mut head = Response::new(());
        for (name, value) in headers {
            head.headers_mut().append(*name, HeaderValue::from_str(value).unwrap());
        }
        head
    }

    #[test]
    fn only_strong_validators_are_trusted() {
        const OLD: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
        const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";
        for (headers, wanted) in [
            (&[("etag", "\"a\"")][..], Some("\"a\"")),
            (&[("etag", "W/\"a\""), ("last-modified", OLD), ("date", LATER)], None),
            (&[("etag", "a")], None),
            (&[("etag", "\"")], None),
            (&[("last-modified", OLD), ("date", LATER)], Some(OLD)),
            (&[("last-modified", OLD), ("date", OLD)], None),
            (&[("last-modified", LATER), ("date", OLD)], None),
            (&[("last-modified", OLD)], None),
            (&[("last-modified", "yesterday"), ("date", LATER)], None),
            (&[], None),
        ] {
            assert_eq!(validator(head(headers).headers()).as_deref(), wanted, "{headers:?}");
        }
    }

    #[test]
    fn a_range_must_be_the_rest_and_of_the_same() {
        let notes = Notes { url: String::new(), validator: "\"v\"".into(), total: 10 };
        for (range, tag, goes_on) in [
            (Some("bytes 4-9/10"), Some("\"v\""), true),
            (Some("bytes 4-9/10"), None, true),
            (Some("bytes 4-9/10"), Some("\"w\""), false),
            (Some("bytes 4-9/10"), Some("W/\"v\""), false),
            (Some("bytes 0-9/10"), Some("\"v\""), false),
            (Some("bytes 4-8/10"), Some("\"v\""), false),
            (Some("bytes 4-9/11"), Some("\"v\""), false),
            (Some("bytes 4-9/*"), Some("\"v\""), false),
            (Some("bytes */10"), Some("\"v\""), false),
            (None, Some("\"v\""), false),
        ] {
            let headers: Vec<_> = [("content-range", range), ("etag", tag)]
                .into_iter()
                .filter_map(|(name, value)| Some((name, value?)))
                .collect();
            assert_eq!(continues(&head(&headers), &notes, 4), goes_on, "{headers:?}");
        }
    }

    #[test]
    fn redirections_change_what_is_asked_as_the_rfc_says() {
        let post = Ask { method: Method::POST, headers: HeaderMap::new(), content: Content::Bytes(Bytes::new()) };
        for (status, method) in
            [(301, Method::GET), (302, Method::GET), (303, Method::GET), (307, Method::POST), (308, Method::POST)]
        {
            let mut ask = post.clone();
            redirect(&mut ask, StatusCode::from_u16(status).unwrap(), true);
            let is_empty = matches!(ask.content, Content::None);
            assert_eq!((&ask.method, is_empty), (&method, method == Method::GET), "{status}");
        }
        let mut head = Ask { method: Method::HEAD, ..Ask::get() };
        for (name, value) in [(AUTHORIZATION, "a"), (COOKIE, "b"), (http::header::ACCEPT, "c")] {
            head.headers.insert(name, HeaderValue::from_static(value));
        }
        redirect(&mut head, StatusCode::SEE_OTHER, true);
        assert_eq!((&head.method, head.headers.len()), (&Method::HEAD, 3));
        redirect(&mut head, StatusCode::SEE_OTHER, false);
        assert_eq!((head.headers.len(), head.headers.contains_key(http::header::ACCEPT)), (1, true));
    }
}
