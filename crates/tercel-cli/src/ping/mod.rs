//! `tercel ping`: all about a server and the way to it, on one screen.
//!
//! One connection for the handshake, the certificate and the path; a second one to see what it resumes;
//! and a bare datagram to learn which versions the server speaks. No application data is sent, so a
//! certificate that nobody would trust is looked at like any other, and judged in the report.

mod report;
mod versions;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tercel::aio::{ConnectError, Connection, Endpoint};
use tercel::{Configuration, Connect, ConnectionStats, Negotiated, PeerCertificate, Settings, TransportParameters};
use tercel::{Verdict, Version};

use self::report::Report;
use crate::failure::{Doing as _, Failure, Outcome};
use crate::judge::explain;
use crate::now;
use crate::target::Target;
use crate::trust;
use crate::{args, connect};

/// How long the answer to a ping, a ticket or a list of versions is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the certificate is, and what the trust of the caller says of it.
#[derive(Debug, Clone, Default)]
struct Judgement(Arc<Mutex<Option<PeerCertificate>>>);

impl Judgement {
    fn take(&self) -> Option<PeerCertificate> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What a connection knows of itself.
struct Facts {
    stats: ConnectionStats,
    original_version: Version,
    version: Version,
    negotiated: Option<Negotiated>,
    parameters: Option<TransportParameters>,
    retried: bool,
}

pub(crate) async fn run(arguments: args::Ping) -> Outcome {
    let target = target(&arguments.host)?;
    let trust = trust::advisor(arguments.pin.as_ref(), arguments.ca.as_deref())?;
    let begun = now();
    let addresses = connect::resolve(&target.host, target.port).await?;
    let resolved = begun.elapsed();
    let judgement = Judgement::default();
    let settings = Settings { max_datagram_size: 65_535, ..Settings::default() };
    let seen = judgement.clone();
    let configuration = Configuration::client(&arguments.alpn, settings, trust.deferred())
        .doing(|| "cannot set up TLS")?
        .without_session_cache()
        .judged_by(move |certificate: PeerCertificate| {
            *seen.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(certificate);
            async { Verdict::Accept }
        });
    let endpoint = crate::observe::endpoint()?;

    let mut report = Report::new(&target.authority());
    report.addresses(&addresses, resolved);
    let (address, connection) = connect(&endpoint, &configuration, &target, &addresses, &mut report).await?;
    report.answers(address);
    let samples = measure(&connection, arguments.count).await;
    // A search for the largest datagram, if there is one, has had its time.
    let facts = facts(&connection).await?;
    report.handshake(&facts.stats);
    report.round_trips(&samples, &facts.stats);
    report.versions(facts.original_version, facts.version, &versions::ask(address, PATIENCE).await);
    report.protocol(connection.alpn().as_deref(), &arguments.alpn, facts.negotiated);
    let certificate = judgement.take();
    let trusted = match &certificate {
        Some(certificate) => report.certificate(certificate),
        None => true,
    };
    report.parameters(facts.parameters.as_ref());
    report.path(&facts.stats, facts.retried);
    report.resumption(resume(&endpoint, &configuration, &connection, &target, address).await);
    report.migration(migrate(&connection, facts.parameters.as_ref(), address).await);
    connection.close(0u32.into(), b"");
    connection.closed().await;
    match trusted {
        true => Ok(()),
        false => Err(Failure::plain("you would not trust this server's certificate")),
    }
}

/// A host, with or without a port, or a URL.
fn target(host: &str) -> Outcome<Target> {
    let url = match host.contains("://") {
        true => host.to_owned(),
        // An IPv6 address without brackets.
        false if host.parse::<std::net::Ipv6Addr>().is_ok() => format!("https://[{host}]"),
        false => format!("https://{host}"),
    };
    url.parse().map_err(Failure::plain)
}

/// Connects to the address that answers first; the report tells of those that had failed by then.
async fn connect(
    endpoint: &Endpoint,
    configuration: &Configuration,
    target: &Target,
    addresses: &[SocketAddr],
    report: &mut Report,
) -> Outcome<(SocketAddr, Connection)> {
    let race = connect::race(addresses, |address| {
        let connecting = endpoint.connect(configuration, address, &target.host);
        async move {
            let connection = connecting.map_err(|error| error.to_string())?.await.map_err(|error| explain(&error))?;
            match connection.handshake_confirmed().await {
                Ok(()) => Ok(connection),
                Err(error) => Err(explain(&ConnectError::Connection(error.0))),
            }
        }
    })
    .await;
    for (address, why) in &race.failed {
        report.silent(*address, why);
    }
    race.won.ok_or_else(|| Failure::plain(format!("{} cannot be reached", target.authority())))
}

/// Round trips, one after the other.
async fn measure(connection: &Connection, count: u16) -> Vec<Duration> {
    let mut samples = Vec::new();
    for _ in 0..count {
        match ping(connection).await {
            Some(sample) => samples.push(sample),
            None => break,
        }
    }
    samples
}

/// One round trip: a PING, and the sample that its acknowledgement gives.
async fn ping(connection: &Connection) -> Option<Duration> {
    let before = facts(connection).await.ok()?.stats.rtt_samples;
    connection.handle().ping().ok()?;
    let begun = now();
    while begun.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_micros(500)).await;
        let stats = facts(connection).await.ok()?.stats;
        // A new path begins to count anew.
        if stats.rtt_samples != before && stats.rtt_samples > 0 {
            return Some(stats.latest_rtt);
        }
    }
    None
}

async fn facts(connection: &Connection) -> Outcome<Facts> {
    let (tell, heard) = tokio::sync::oneshot::channel();
    let look = move |inspect: &tercel::connection::Inspect<'_>| {
        // Whoever asked has left: nobody misses the answer.
        let _ = tell.send(Facts {
            stats: inspect.stats(),
            original_version: inspect.original_version(),
            version: inspect.version(),
            negotiated: inspect.negotiated(),
            parameters: inspect.peer_parameters().cloned(),
            retried: inspect.was_retried(),
        });
    };
    connection.handle().inspect(look).doing(|| "the connection has ended")?;
    heard.await.doing(|| "the connection has ended")
}

/// What a second connection can resume.
enum Resumed {
    /// No ticket came.
    NoTicket,
    /// The ticket was not taken.
    No,
    /// The session went on.
    Yes { early_data_offered: bool, early_data_accepted: bool },
    /// The second connection failed.
    Failed(String),
}

async fn resume(
    endpoint: &Endpoint,
    configuration: &Configuration,
    connection: &Connection,
    target: &Target,
    address: SocketAddr,
) -> Resumed {
    let Ok(Ok(ticket)) = tokio::time::timeout(PATIENCE, connection.resumption_ticket()).await else {
        return Resumed::NoTicket;
    };
    let early_data_offered = ticket.permits_early_data();
    let mut connect = Connect::new(address, target.host.clone());
    connect.ticket = Some(ticket);
    let second = match endpoint.connect_with(configuration, connect) {
        Ok(connecting) => connecting.await,
        Err(error) => return Resumed::Failed(error.to_string()),
    };
    match second {
        Ok(second) => {
            second.close(0u32.into(), b"");
            let early_data_accepted = second.is_early_data_accepted();
            match second.is_resumed() {
                true => Resumed::Yes { early_data_offered, early_data_accepted },
                false => Resumed::No,
            }
        }
        Err(error) => Resumed::Failed(explain(&error)),
    }
}

/// Whether the connection lives on from another port.
enum Migrated {
    Forbidden,
    Yes(Duration),
    No,
}

async fn migrate(connection: &Connection, parameters: Option<&TransportParameters>, address: SocketAddr) -> Migrated {
    if parameters.is_some_and(|parameters| parameters.disable_active_migration) {
        return Migrated::Forbidden;
    }
    let any = match address {
        SocketAddr::V4(_) => SocketAddr::from(([0; 4], 0)),
        SocketAddr::V6(_) => SocketAddr::from(([0; 16], 0)),
    };
    match connection.rebind(any) {
        Ok(()) => ping(connection).await.map_or(Migrated::No, Migrated::Yes),
        Err(_) => Migrated::No,
    }
}
