//! `tercel get`: fetches files, or asks anything else of servers, in parallel over one connection for each
//! server.
//!
//! A [`session`] is that connection; a [`transfer`] is what becomes of one URL; a [`part`] is a file that is
//! not whole yet; [`timings`] are what is told in the end.

mod part;
mod session;
mod timings;
mod transfer;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method};
use tercel::Settings;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use self::part::Existing;
use self::session::{ALPN, Client, Sessions};
pub(crate) use self::timings::Form;
use self::timings::Timings;
use self::transfer::{Getting, Into};
use crate::cache::Cache;
use crate::exchange::{Ask, Content};
use crate::failure::{Failure, Outcome};
use crate::progress::{Progress, Total};
use crate::signals::Signals;
use crate::size::{Size, rate, short};
use crate::target::Target;
use crate::{args, now, observe, trust};

/// What one URL came to.
type Done = (Timings, Outcome);

pub(crate) async fn run(arguments: args::Get) -> Outcome {
    check(&arguments)?;
    let signals = Signals::catch()?;
    let targets = targets(&arguments);
    let progress = match arguments.quiet || arguments.writes_to_stdout() {
        true => Progress::hidden(),
        false => Progress::new("fetching", Total::Unknown),
    };
    let getting = Arc::new(getting(&arguments, progress.clone())?);
    let started = now();
    let (done, stopped) = fetch_all(&getting, &targets, &arguments, signals).await;
    progress.done();
    let time = started.elapsed();
    getting.sessions.leave().await;
    report(&arguments, &done, time);
    let kept = match &getting.into {
        Into::Directory(to) => targets.iter().filter(|target| part::is_kept(&to.join(target.file_name()))).count(),
        Into::Stdout | Into::Nowhere => 0,
    };
    match stopped {
        Some(failure) if kept > 0 => Err(failure.and("what came is kept, and the same command goes on from there")),
        Some(failure) => Err(failure),
        None => outcome(done),
    }
}

/// What can be known to fail before anything is done.
fn check(arguments: &args::Get) -> Outcome {
    let one = arguments.urls.len() == 1;
    if arguments.writes_to_stdout() {
        if !one {
            return Err(Failure::plain("--output - needs exactly one URL"));
        }
    } else if !arguments.output.is_dir() {
        let why = if arguments.output.exists() { "it is no directory" } else { "there is no such directory" };
        return Err(Failure::new(format!("cannot write to {}", arguments.output.display()), why));
    }
    if arguments.upload.is_some() && !one {
        return Err(Failure::plain("--upload needs exactly one URL"));
    }
    let mut names = BTreeSet::new();
    match arguments.urls.iter().find(|target| !names.insert(target.file_name())) {
        Some(twice) if !arguments.head => {
            Err(Failure::plain(format!("two URLs would be stored as {}", twice.file_name())))
        }
        _ => Ok(()),
    }
}

/// What is asked for. An upload to a directory keeps the name of the file.
fn targets(arguments: &args::Get) -> Vec<Target> {
    let mut targets = arguments.urls.clone();
    if let (Some(file), Some(target)) = (arguments.upload.as_deref().and_then(Path::file_name), targets.first_mut())
        && target.path.ends_with('/')
    {
        target.path.push_str(&encoded(&file.to_string_lossy()));
    }
    targets
}

/// As a part of a path (RFC 3986 section 3.3).
fn encoded(name: &str) -> String {
    name.bytes().fold(String::new(), |mut out, byte| {
        match byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte) {
            true => out.push(char::from(byte)),
            false => out.push_str(&format!("%{byte:02X}")),
        }
        out
    })
}

fn getting(arguments: &args::Get, progress: Progress) -> Outcome<Getting> {
    let (pin, ca) = (arguments.pin.as_ref(), arguments.ca.as_deref());
    let ask = ask(arguments);
    let mut settings = Settings::default();
    if let Some(limit) = arguments.timeout {
        settings.handshake_timeout = settings.handshake_timeout.min(limit.0.max(Duration::from_millis(100)));
    }
    let (configuration, judge) = trust::client(&ALPN, settings, pin, ca)?;
    let client = Client {
        endpoint: observe::endpoint()?,
        configuration: configuration.without_session_cache(),
        judge,
        cache: if arguments.no_cache { None } else { Cache::of_user() },
        trust: trust::distinction(pin, ca)?,
        early: ask.is_safe(),
    };
    let into = match () {
        () if arguments.upload.is_some() || ask.method == Method::HEAD => Into::Nowhere,
        () if arguments.writes_to_stdout() => Into::Stdout,
        () => Into::Directory(arguments.output.clone()),
    };
    Ok(Getting {
        sessions: Sessions::new(client),
        ask,
        into,
        existing: if arguments.force { Existing::Replace } else { Existing::Keep },
        shows_head: arguments.include || arguments.head,
        follows: arguments.location,
        stall: arguments.stall,
        progress,
    })
}

fn ask(arguments: &args::Get) -> Ask {
    let content = match (&arguments.data, arguments.data_file.as_ref().or(arguments.upload.as_ref())) {
        (Some(data), _) => Content::Bytes(data.clone().into()),
        (None, Some(file)) => Content::File(file.clone()),
        (None, None) => Content::None,
    };
    let usual = match &content {
        _ if arguments.head => Method::HEAD,
        _ if arguments.upload.is_some() => Method::PUT,
        Content::None => Method::GET,
        Content::Bytes(_) | Content::File(_) => Method::POST,
    };
    let mut headers = HeaderMap::new();
    for header in &arguments.headers {
        headers.append(header.0.clone(), header.1.clone());
    }
    Ask { method: arguments.method.clone().unwrap_or(usual), headers, content }
}

/// Fetches everything; gives what was done, and what put an end to it before all was done.
async fn fetch_all(
    getting: &Arc<Getting>,
    targets: &[Target],
    arguments: &args::Get,
    mut signals: Signals,
) -> (Vec<Done>, Option<Failure>) {
    let permits = Arc::new(Semaphore::new(arguments.parallel.into()));
    let mut tasks = JoinSet::new();
    for target in targets {
        let (target, getting, permits) = (target.clone(), getting.clone(), permits.clone());
        tasks.spawn(async move {
            let _permit = permits.acquire().await;
            let (started, mut timings) = (now(), Timings { url: target.to_string(), ..Timings::default() });
            let fetched = getting.fetch(&target, &mut timings).await;
            timings.total = started.elapsed();
            (timings, fetched)
        });
    }
    let limit = async {
        match arguments.timeout {
            Some(limit) => tokio::time::sleep(limit.0).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(limit);
    let mut done = Vec::new();
    let stopped = loop {
        tokio::select! {
            ended = tasks.join_next() => match ended {
                Some(Ok(one)) => done.push(one),
                Some(Err(error)) => {
                    done.push((Timings::default(), Err(Failure::new("a transfer ended abnormally", error))));
                }
                None => break None,
            },
            () = signals.next() => break Some(Failure::interrupted("interrupted")),
            () = &mut limit => {
                let limit = arguments.timeout.map(|limit| limit.to_string()).unwrap_or_default();
                break Some(Failure::plain(format!("not done after {limit} (see --timeout)")));
            }
        }
    };
    // What was under way is written down as far as it came.
    tasks.shutdown().await;
    (done, stopped)
}

/// Tells what was done.
fn report(arguments: &args::Get, done: &[Done], time: Duration) {
    let all: Vec<Timings> = done.iter().map(|(timings, _)| timings.clone()).collect();
    if let Some(form) = arguments.timings {
        eprintln!("{}", timings::told(&all, form));
    }
    let files = done.iter().filter(|(_, outcome)| outcome.is_ok()).count();
    if arguments.quiet || arguments.head || arguments.writes_to_stdout() || files == 0 {
        return;
    }
    let bytes = match arguments.upload.as_ref().and_then(|file| file.metadata().ok()) {
        Some(sent) => sent.len(),
        None => all.iter().map(|timings| timings.bytes).sum(),
    };
    let plural = if files == 1 { "file" } else { "files" };
    println!("{files} {plural}, {} in {} ({})", Size(bytes), short(time), rate(bytes, time));
}

/// The end of a run in which everything was tried.
fn outcome(done: Vec<Done>) -> Outcome {
    let all = done.len();
    let mut failures: Vec<Failure> = done.into_iter().filter_map(|(_, outcome)| outcome.err()).collect();
    match failures.len() {
        0 => Ok(()),
        1 if all == 1 => Err(failures.remove(0)),
        count => {
            // A server that cannot be reached is told of once.
            let texts: BTreeSet<String> = failures.iter().map(ToString::to_string).collect();
            texts.iter().for_each(|text| eprintln!("tercel: {text}"));
            Err(Failure::incomplete(format!("{count} of {all} failed")))
        }
    }
}
