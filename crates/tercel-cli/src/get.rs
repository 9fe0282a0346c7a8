//! `tercel get`: fetches files, in parallel over one connection for each server.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use tercel::aio::{ConnectError, Connection, Endpoint};
use tercel::{CloseReason, Configuration, Settings, TransportErrorCode};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::args;
use crate::failure::{Doing as _, Failure, Outcome};
use crate::fetch::{Moved, Server};
use crate::hq;
use crate::observe;
use crate::partial::Existing;
use crate::progress::{Progress, Total};
use crate::size::{Size, rate, short};
use crate::target::Target;
use crate::trust;

pub(crate) async fn run(arguments: args::Get) -> Outcome {
    check(&arguments)?;
    let (pin, ca) = (arguments.pin.as_ref(), arguments.ca.as_deref());
    let configuration = trust::client(&[tercel_h3::ALPN, hq::ALPN.as_bytes()], Settings::default(), pin, ca)?;
    let endpoint = observe::endpoint()?;
    let progress = match arguments.quiet {
        true => Progress::hidden(),
        false => Progress::new("fetching", Total::Unknown),
    };
    let started = now();
    let mut servers: BTreeMap<(String, u16), Vec<Target>> = BTreeMap::new();
    for target in &arguments.urls {
        servers.entry((target.host.clone(), target.port)).or_default().push(target.clone());
    }
    let arguments = Arc::new(arguments);
    let (mut bytes, mut files, mut failures) = (0, 0, Vec::new());
    let mut connections = Vec::new();
    for targets in servers.into_values() {
        let Some(first) = targets.first() else { continue };
        let connection = match connect(&endpoint, &configuration, first).await {
            Ok(connection) => connection,
            Err(failure) => {
                failures.push(failure);
                continue;
            }
        };
        let server = match Server::new(&connection).await {
            Ok(server) => server,
            Err(failure) => {
                failures.push(failure);
                continue;
            }
        };
        let results = from_server(&server, targets, &arguments, &progress).await;
        connections.push(connection);
        for result in results {
            match result {
                Ok(moved) => {
                    bytes += moved.bytes;
                    files += 1;
                }
                Err(failure) => failures.push(failure),
            }
        }
    }
    progress.done();
    let time = now().duration_since(started);
    for connection in connections {
        connection.shutdown(0u32.into(), b"").await;
    }
    if !arguments.quiet && files > 0 {
        let plural = if files == 1 { "file" } else { "files" };
        println!("{files} {plural}, {} in {} ({})", Size(bytes), short(time), rate(bytes, time));
    }
    match (failures.len(), files) {
        (0, _) => Ok(()),
        (1, 0) => Err(failures.remove(0)),
        (count, _) => {
            failures.iter().for_each(|failure| eprintln!("tercel: {failure}"));
            Err(Failure::incomplete(format!("{count} of {} failed", count + files)))
        }
    }
}

/// What can be known to fail before anything is done.
fn check(arguments: &args::Get) -> Outcome {
    if !arguments.output.is_dir() {
        let why = if arguments.output.exists() { "it is no directory" } else { "there is no such directory" };
        return Err(Failure::new(format!("cannot write to {}", arguments.output.display()), why));
    }
    if arguments.upload.is_some() && arguments.urls.len() != 1 {
        return Err(Failure::plain("--upload needs exactly one URL"));
    }
    let mut names = BTreeSet::new();
    match arguments.urls.iter().find(|target| !names.insert(target.file_name())) {
        Some(twice) => Err(Failure::plain(format!("two URLs would be stored as {}", twice.file_name()))),
        None => Ok(()),
    }
}

/// Everything from one server, over one connection.
async fn from_server(
    server: &Server,
    targets: Vec<Target>,
    arguments: &Arc<args::Get>,
    progress: &Progress,
) -> Vec<Outcome<Moved>> {
    let permits = Arc::new(Semaphore::new(arguments.parallel.into()));
    let mut tasks = JoinSet::new();
    for target in targets {
        let (server, permits, progress) = (server.clone(), permits.clone(), progress.clone());
        let arguments = arguments.clone();
        tasks.spawn(async move {
            let _permit = permits.acquire().await;
            exchange(&server, &target, &arguments, &progress).await
        });
    }
    let mut results = Vec::new();
    while let Some(result) = tasks.join_next().await {
        results.push(result.unwrap_or_else(|error| Err(Failure::new("a transfer ended abnormally", error))));
    }
    results
}

async fn exchange(server: &Server, target: &Target, arguments: &args::Get, progress: &Progress) -> Outcome<Moved> {
    match &arguments.upload {
        Some(file) => {
            let path = upload_path(target, file);
            server.upload(file, target, &path, progress).await
        }
        None => {
            let existing = if arguments.force { Existing::Replace } else { Existing::Keep };
            let file = arguments.output.join(target.file_name());
            server.download(target, file, existing, progress).await
        }
    }
}

/// An upload to a directory keeps the name of the file.
fn upload_path(target: &Target, file: &Path) -> String {
    match (target.path.ends_with('/'), file.file_name()) {
        (true, Some(name)) => format!("{}{}", target.path, name.to_string_lossy().replace(' ', "%20")),
        _ => target.path.clone(),
    }
}

/// Connects to the first of a host's addresses that answers.
async fn connect(endpoint: &Endpoint, configuration: &Configuration, target: &Target) -> Outcome<Connection> {
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((target.host.as_str(), target.port))
        .await
        .doing(|| format!("cannot find {}", target.host))?
        .collect();
    let mut last = Failure::new(format!("cannot find {}", target.host), "it has no address");
    for address in addresses {
        let doing = || format!("cannot connect to {} ({address})", target.authority());
        let connecting = match endpoint.connect(configuration, address, &target.host) {
            Ok(connecting) => connecting,
            Err(error) => {
                last = Failure::new(doing(), error);
                continue;
            }
        };
        match connecting.await {
            Ok(connection) => return Ok(connection),
            Err(error) => last = Failure::new(doing(), explain(&error)),
        }
    }
    Err(last)
}

/// What went wrong, and what a person can do about it.
pub(crate) fn explain(error: &ConnectError) -> String {
    match error {
        ConnectError::Connection(CloseReason::HandshakeTimeout) => "nobody answers there".into(),
        ConnectError::Connection(CloseReason::Violation(violation)) => {
            refusal(violation.code).map_or_else(|| violation.to_string(), Into::into)
        }
        ConnectError::Connection(reason @ CloseReason::Refused { code }) => {
            refusal(*code).map_or_else(|| reason.to_string(), Into::into)
        }
        ConnectError::Connection(CloseReason::PeerTransport { code, .. }) if code.alert() == Some(120) => {
            format!("the server speaks neither HTTP/3 nor {}", hq::ALPN)
        }
        error => error.to_string(),
    }
}

/// Why we refuse a certificate, by the alert that says so.
fn refusal(code: TransportErrorCode) -> Option<&'static str> {
    match code.alert()? {
        48 => Some("no authority that you trust has signed its certificate (see --ca and --pin)"),
        49 => Some("its certificate has another fingerprint than the one pinned"),
        45 => Some("its certificate has expired"),
        44 => Some("its certificate was revoked"),
        42 => Some("its certificate is not for this name"),
        _ => None,
    }
}

/// The time, for a person to read.
#[expect(clippy::disallowed_methods, reason = "the program is not the core: it tells people how long things took")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
