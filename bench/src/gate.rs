//! What the certificate gate costs: handshakes in memory, TLS alone, both ends in one thread.
//!
//! Three ways take turns, a few handshakes each: rustls fed with whole flights, as a stack without a
//! gate would; Tercel's message-wise feeding with built-in validation; and with the verdict left to
//! the application, which accepts at once. TLS is about half of a whole handshake, so what the gate
//! costs of that is less still.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use rustls::ServerConfig;
use rustls::quic::{ClientConnection, KeyChange, ServerConnection, Version as TlsVersion};
use tercel_proto::tls::{DeferredServerVerifier, Handshake, Output};
use tercel_wire::{EncryptionLevel, Role, TransportParameters, Version};

use crate::process::Directory;
use crate::scenario::Scenario;
use crate::{Result, tls};

/// Handshakes in one turn of one way.
const TURN: usize = 10;

#[derive(Clone, Copy)]
enum Way {
    Rustls,
    BuiltIn,
    Deferred,
}

const WAYS: [Way; 3] = [Way::Rustls, Way::BuiltIn, Way::Deferred];

struct Configs {
    server: Arc<ServerConfig>,
    built_in: Arc<ClientConfig>,
    deferred: Arc<ClientConfig>,
    parameters: Vec<u8>,
}

/// Measures for so many rounds and prints the result as a table.
pub fn run(rounds: usize) -> Result<()> {
    let (directory, work) = (Directory::with_identity()?, Scenario::Handshakes.work(100));
    let (identity, authority) = (tls::Identity::of(&directory.0, &work)?, tls::authority(&directory.0)?);
    let built_in = tls::client(authority.clone(), &work, tls::provider())?;
    let roots = tls::verifier(authority, tls::provider())?;
    let deferred = DeferredServerVerifier::new(Some(roots), tls::provider());
    let mut deferring = built_in.clone();
    deferring.dangerous().set_certificate_verifier(Arc::new(deferred));
    let configs = Configs {
        server: Arc::new(identity.server(tls::provider())?),
        built_in: Arc::new(built_in),
        deferred: Arc::new(deferring),
        parameters: TransportParameters::default().encode(None),
    };
    let mut times: [Vec<Duration>; 3] = Default::default();
    for round in 0..rounds + 5 {
        for turn in 0..WAYS.len() {
            // Whoever goes first finds another machine than whoever goes last.
            let at = (round + turn) % WAYS.len();
            let begun = Instant::now();
            for _ in 0..TURN {
                handshake(WAYS[at], &configs)?;
            }
            // The first few warm up.
            if round >= 5 {
                times[at].push(begun.elapsed());
            }
        }
    }
    println!("| way | handshakes/s (median) | ratio within a round (median) | ratio of the best tenths |");
    println!("|---|---:|---:|---:|");
    for (at, name) in ["rustls, no gate", "gate, built-in validation", "gate, verdict deferred, accepted at once"]
        .into_iter()
        .enumerate()
    {
        let ratios = times[0].iter().zip(&times[at]).map(|(base, time)| base.as_secs_f64() / time.as_secs_f64());
        let rate = TURN as f64 / quantile(times[at].iter().map(Duration::as_secs_f64), 0.5);
        let best = |at: usize| quantile(times[at].iter().map(Duration::as_secs_f64), 0.1);
        println!("| {name} | {rate:.0} | {:.3} | {:.3} |", quantile(ratios, 0.5), best(0) / best(at));
    }
    Ok(())
}

fn quantile(values: impl Iterator<Item = f64>, at: f64) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * at) as usize]
}

fn handshake(way: Way, configs: &Configs) -> Result<()> {
    match way {
        Way::Rustls => plain(configs),
        Way::BuiltIn => gated(configs, configs.built_in.clone()),
        Way::Deferred => gated(configs, configs.deferred.clone()),
    }
}

fn plain(configs: &Configs) -> Result<()> {
    let name = tls::SERVER_NAME.try_into()?;
    let parameters = || configs.parameters.clone();
    let mut client = ClientConnection::new(configs.built_in.clone(), TlsVersion::V1, name, parameters())?;
    let mut server = ServerConnection::new(configs.server.clone(), TlsVersion::V1, parameters())?;
    let mut keys = 0;
    let mut bytes = Vec::new();
    while client.is_handshaking() || server.is_handshaking() {
        macro_rules! flight {
            ($from:ident => $to:ident) => {
                loop {
                    bytes.clear();
                    let change = $from.write_hs(&mut bytes);
                    if bytes.is_empty() && change.is_none() {
                        break;
                    }
                    keys += usize::from(matches!(change, Some(KeyChange::OneRtt { .. })));
                    if !bytes.is_empty() {
                        $to.read_hs(&bytes)?;
                    }
                }
            };
        }
        flight!(client => server);
        flight!(server => client);
    }
    while client.write_hs(&mut bytes).is_some_and(|change| {
        keys += usize::from(matches!(change, KeyChange::OneRtt { .. }));
        true
    }) {}
    // As any stack must.
    for (bytes, sender) in
        [(client.quic_transport_parameters(), Role::Server), (server.quic_transport_parameters(), Role::Client)]
    {
        TransportParameters::decode(bytes.ok_or("no parameters")?, sender).map_err(|error| error.to_string())?;
    }
    if keys == 2 { Ok(()) } else { Err(format!("{keys} ends have keys").into()) }
}

fn gated(configs: &Configs, client: Arc<ClientConfig>) -> Result<()> {
    let name = tls::SERVER_NAME.try_into()?;
    let parameters = || configs.parameters.clone();
    let mut client = Handshake::client(client, Version::V1, name, parameters(), None)?;
    let mut server = Handshake::server(configs.server.clone(), Version::V1, parameters(), None)?;
    let mut flights: [Vec<(EncryptionLevel, Vec<u8>)>; 2] = Default::default();
    let mut keys = 0;
    while !(client.is_complete() && server.is_complete()) {
        for (at, end) in [&mut client, &mut server].into_iter().enumerate() {
            for (level, bytes) in std::mem::take(&mut flights[1 - at]) {
                end.feed(level, &bytes).map_err(|violation| violation.to_string())?;
            }
            while let Some(output) = end.poll() {
                match output {
                    Output::Crypto(level, bytes) => flights[at].push((level, bytes)),
                    Output::Certificate(_) => end.accept_certificate().map_err(|violation| violation.to_string())?,
                    Output::OneRttKeys(..) => keys += 1,
                    _ => {}
                }
            }
        }
    }
    if keys == 2 { Ok(()) } else { Err(format!("{keys} ends have keys").into()) }
}
