//! `tercel demo`: the main job in one command. A server and a client on this machine, over real
//! UDP, move a real file, and its hash is checked at the end.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use tercel::aio::{Connection, Endpoint};
use tercel::{Configuration, ConnectionStats, Registration, Settings, Trust};

use crate::args;
use crate::exchange::{Ask, Content, Server, read_chunk, within};
use crate::failure::{Doing as _, Failure, Outcome};
use crate::fingerprint::Fingerprint;
use crate::hq;
use crate::identity;
use crate::now;
use crate::partial::Partial;
use crate::progress::{Progress, Total};
use crate::serve::{self, Site};
use crate::size::{Size, rate, short};
use crate::span::Span;
use crate::target::Target;

/// What there is to send.
struct Exhibit {
    file: PathBuf,
    size: u64,
    hash: Fingerprint,
}

pub(crate) async fn run(arguments: args::Demo) -> Outcome {
    if let Some(verdict) = arguments.verdict {
        return crate::verdict::run(verdict, arguments.close).await;
    }
    let scratch = tempfile::Builder::new().prefix("tercel-demo-").tempdir().doing(|| "cannot make a directory")?;
    let (from, to) = (scratch.path().join("from"), scratch.path().join("to"));
    for directory in [&from, &to] {
        std::fs::create_dir(directory).doing(|| format!("cannot make {}", directory.display()))?;
    }
    let exhibit = match arguments.file {
        Some(file) => given(&file, &from).await?,
        None => made(&from.join("data"), arguments.size).await?,
    };
    let identity = identity::made_for(&["localhost".into()], identity::Validity::Always)?;
    let trust = Trust::Pinned(identity.fingerprint());
    let root = if arguments.upload { &to } else { &from };
    let site = Arc::new(Site::new(root, arguments.upload, true)?);
    let workers = |doing| {
        let mut config = crate::observe::registration();
        config.workers = 1;
        Registration::new(config).doing(|| doing)
    };
    let server = Endpoint::of(workers("cannot start the server")?)
        .listen(&serve::configuration(identity)?, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        .doing(|| "cannot start the server")?;
    let address = server.local_address().ok_or_else(|| Failure::plain("the server has no address"))?;
    let client = Endpoint::of(workers("cannot start the client")?);
    let configuration = Configuration::client(&[hq::ALPN], Settings::default(), trust).doing(|| "cannot set up TLS")?;
    let serving = tokio::spawn(async move { serve::serve(&server, &site).await });

    println!("A server listens on {address}; a client connects to it, over UDP, with QUIC version 1.");
    let connection = client
        .connect(&configuration, address, "localhost")
        .doing(|| "cannot connect")?
        .await
        .doing(|| "cannot connect")?;
    let label = if arguments.upload { "client to server" } else { "server to client" };
    let progress = Progress::new(label, Total::Known(exhibit.size));
    let started = now();
    let moved = match arguments.upload {
        true => upload(&connection, &exhibit, &progress).await,
        false => download(&connection, &to.join("data"), &progress).await,
    };
    let time = now().duration_since(started);
    progress.done();
    let moved = moved?;
    connection.shutdown(0u32.into(), b"done").await;
    let arrived = hash_of(&to.join("data")).await?;
    summary(&connection, &exhibit, moved, arrived, time);
    serving.abort();
    match arrived == exhibit.hash {
        true => Ok(()),
        false => Err(Failure::plain("the file that arrived is not the file that was sent")),
    }
}

/// What is served, and how long it may take until something moves.
fn data() -> Outcome<(Target, Span)> {
    let target = "https://localhost/data".parse().map_err(Failure::plain)?;
    Ok((target, Span(Duration::from_secs(30))))
}

/// Sends the file; gives how many bytes that were.
async fn upload(connection: &Connection, exhibit: &Exhibit, progress: &Progress) -> Outcome<u64> {
    let doing = || "cannot send the file";
    let (target, patience) = data()?;
    let ask = Ask { method: http::Method::PUT, content: Content::File(exhibit.file.clone()), ..Ask::get() };
    let server = Server::Hq(connection.clone());
    let mut answer = server.ask(&ask, &target, &ask.headers, patience, progress).await.doing(doing)?;
    match within(patience, answer.body.next()).await.doing(doing)? {
        None => Ok(exhibit.size),
        Some(_) => Err(Failure::new(doing(), "the server's answer makes no sense")),
    }
}

/// Fetches the file; gives how many bytes came.
async fn download(connection: &Connection, to: &Path, progress: &Progress) -> Outcome<u64> {
    let doing = || "cannot fetch the file";
    let (target, patience) = data()?;
    let (ask, mut partial) = (Ask::get(), Partial::create(to).doing(doing)?);
    let server = Server::Hq(connection.clone());
    let mut answer = server.ask(&ask, &target, &ask.headers, patience, progress).await.doing(doing)?;
    let mut bytes = 0;
    while let Some(data) = within(patience, answer.body.next()).await.doing(doing)? {
        partial.write(&data).await.doing(doing)?;
        bytes += data.len() as u64;
        progress.add(data.len());
    }
    partial.finish().await.doing(doing)?;
    Ok(bytes)
}

/// A file of the user's, under the name that the server serves.
async fn given(file: &Path, directory: &Path) -> Outcome<Exhibit> {
    let doing = || format!("cannot read {}", file.display());
    let metadata = std::fs::metadata(file).doing(doing)?;
    if !metadata.is_file() {
        return Err(Failure::new(doing(), "it is no file"));
    }
    let hash = hash_of(file).await?;
    let name = directory.join("data");
    // A copy: the server serves nothing from outside of its directory.
    std::fs::hard_link(file, &name).or_else(|_| std::fs::copy(file, &name).map(drop)).doing(doing)?;
    Ok(Exhibit { file: name, size: metadata.len(), hash })
}

/// A file of this size, of numbers that do not repeat.
async fn made(file: &Path, size: Size) -> Outcome<Exhibit> {
    let doing = || format!("cannot write {} ({size})", file.display());
    let mut out = std::io::BufWriter::with_capacity(1 << 20, std::fs::File::create(file).doing(doing)?);
    let mut hash = Context::new(&SHA256);
    let (mut state, mut left) = (0x9e37_79b9_7f4a_7c15u64, size.0);
    let mut block = vec![0; 1 << 16];
    while left > 0 {
        for word in block.chunks_exact_mut(8) {
            // xorshift64: fast, and nothing that could be compressed or mistaken.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
        hash.update(&block[..len]);
        out.write_all(&block[..len]).doing(doing)?;
        left -= len as u64;
    }
    out.flush().doing(doing)?;
    Ok(Exhibit { file: file.to_path_buf(), size: size.0, hash: Fingerprint::from_digest(hash) })
}

async fn hash_of(file: &Path) -> Outcome<Fingerprint> {
    let doing = || format!("cannot read {}", file.display());
    let mut source = tokio::fs::File::open(file).await.doing(doing)?;
    let mut hash = Context::new(&SHA256);
    loop {
        let chunk = read_chunk(&mut source).await.doing(doing)?;
        if chunk.is_empty() {
            return Ok(Fingerprint::from_digest(hash));
        }
        hash.update(&chunk);
    }
}

/// What happened, for a person to read.
fn summary(connection: &Connection, exhibit: &Exhibit, moved: u64, arrived: Fingerprint, time: Duration) {
    let stats: ConnectionStats = connection.stats();
    let same = arrived == exhibit.hash && moved == exhibit.size;
    let check = if same { "the same at both ends" } else { "DIFFERENT at the two ends" };
    let hash: String = exhibit.hash.to_string().replace(':', "").chars().take(16).collect();
    println!();
    println!("  moved        {} in {}", Size(moved), short(time));
    println!("  throughput   {}", rate(moved, time));
    println!("  SHA-256      {hash}..., {check}");
    println!("  handshake    {} (TLS 1.3, X25519MLKEM768)", stats.handshake.map_or("-".into(), short));
    println!("  round trip   {} smoothed, {} at best", short(stats.rtt), short(stats.min_rtt));
    println!(
        "  datagrams    {} of up to {} bytes received, {} sent",
        stats.datagrams_received, stats.mtu, stats.datagrams_sent
    );
    let ecn = if stats.ecn_capable { "in use" } else { "not in use" };
    println!("  losses       {} packets, {} congestion events; ECN {ecn}", stats.packets_lost, stats.congestion_events);
    println!();
}
