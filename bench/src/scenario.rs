//! What is measured. The first bytes of a stream say what its server is to do: take everything and
//! say how much it was, send so many bytes, or answer with as many bytes as were asked with.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes, BytesMut};

use crate::peer::{Connection, Peer, RecvStream, Result, SendStream};

/// The scenarios.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Scenario {
    /// One stream, from the client.
    Upload,
    /// One stream, to the client.
    Download,
    /// A hundred streams at once, to the client.
    Download100,
    /// 512 bytes each way, 50 at a time on one connection.
    Requests,
    /// 512 bytes each way, one at a time.
    Latency,
    /// One full handshake after the other.
    Handshakes,
}

impl Scenario {
    pub const ALL: [Self; 6] =
        [Self::Upload, Self::Download, Self::Download100, Self::Requests, Self::Latency, Self::Handshakes];

    pub fn name(self) -> &'static str {
        match self {
            Self::Upload => "upload, one stream",
            Self::Download => "download, one stream",
            Self::Download100 => "download, 100 streams",
            Self::Requests => "requests, 50 at a time",
            Self::Latency => "one request at a time",
            Self::Handshakes => "full handshakes, one at a time",
        }
    }

    /// The unit of [`Outcome::value`], and whether more is better.
    pub fn unit(self) -> (&'static str, bool) {
        match self {
            Self::Upload | Self::Download | Self::Download100 => ("Gbit/s", true),
            Self::Requests | Self::Handshakes => ("/s", true),
            Self::Latency => ("us median", false),
        }
    }
}

/// What a client measured.
#[derive(Debug, Clone, Copy, Default)]
pub struct Outcome {
    /// In the scenario's unit.
    pub value: f64,
    /// Bytes moved, for the bulk scenarios.
    pub bytes: u64,
}

const TAKE: u64 = 1;
const GIVE: u64 = 2;
const ECHO: u64 = 3;
const HEAD: usize = 16;
const SIZE: usize = 512;

fn head(what: u64, len: u64) -> Bytes {
    Bytes::from([what.to_be_bytes(), len.to_be_bytes()].concat())
}

fn chunk() -> Bytes {
    static CHUNK: [u8; 64 << 10] = [0x5a; 64 << 10];
    Bytes::from_static(&CHUNK)
}

/// Serves until the process is ended.
pub async fn serve<P: Peer>(peer: Arc<P>) {
    while let Some(connection) = peer.accept().await {
        tokio::spawn(async move {
            while let Ok((send, recv)) = connection.accept().await {
                tokio::spawn(async move {
                    // A client that has seen enough leaves in mid-stream.
                    let _ = answer(send, recv).await;
                });
            }
        });
    }
}

async fn answer(mut send: impl SendStream, mut recv: impl RecvStream) -> Result<()> {
    let mut begin = BytesMut::new();
    while begin.len() < HEAD {
        begin.extend_from_slice(&recv.read().await?.ok_or("a stream without a head")?);
    }
    let (what, len) = (begin.get_u64(), begin.get_u64());
    let mut rest = begin.len() as u64;
    match what {
        TAKE => {
            while let Some(chunk) = recv.read().await? {
                rest += chunk.len() as u64;
            }
            send.write(Bytes::from(rest.to_be_bytes().to_vec())).await?;
        }
        GIVE => give(&mut send, len).await?,
        _ => {
            while let Some(chunk) = recv.read().await? {
                rest += chunk.len() as u64;
            }
            send.write(chunk().slice(..rest as usize)).await?;
        }
    }
    send.finish()
}

async fn give(send: &mut impl SendStream, mut len: u64) -> Result<()> {
    while len > 0 {
        let now = len.min(chunk().len() as u64);
        send.write(chunk().slice(..now as usize)).await?;
        len -= now;
    }
    Ok(())
}

/// Measures for about `time`.
pub async fn drive<P: Peer>(peer: P, scenario: Scenario, to: SocketAddr, time: Duration) -> Result<Outcome> {
    match scenario {
        Scenario::Upload => upload(&peer.connect(to).await?, time).await,
        Scenario::Download => download(&peer.connect(to).await?, time, 1).await,
        Scenario::Download100 => download(&peer.connect(to).await?, time, 100).await,
        Scenario::Requests => requests(&peer.connect(to).await?, time).await,
        Scenario::Latency => latency(&peer.connect(to).await?, time).await,
        Scenario::Handshakes => handshakes(&peer, to, time).await,
    }
}

fn gigabits(bytes: u64, time: Duration) -> Outcome {
    Outcome { value: bytes as f64 * 8.0 / time.as_secs_f64() / 1e9, bytes }
}

async fn upload(connection: &impl Connection, time: Duration) -> Result<Outcome> {
    let begun = Instant::now();
    let (mut send, mut recv) = connection.open().await?;
    send.write(head(TAKE, 0)).await?;
    let mut bytes = 0;
    while begun.elapsed() < time {
        for _ in 0..16 {
            send.write(chunk()).await?;
            bytes += chunk().len() as u64;
        }
    }
    send.finish()?;
    let mut count = BytesMut::new();
    while let Some(chunk) = recv.read().await? {
        count.extend_from_slice(&chunk);
    }
    if count.len() != 8 || count.get_u64() != bytes {
        return Err("not all that was sent arrived".into());
    }
    Ok(gigabits(bytes, begun.elapsed()))
}

/// Streams of a size are fetched one after the other, `count` at a time.
async fn download(connection: &impl Connection, time: Duration, count: u64) -> Result<Outcome> {
    let each = (256 << 20) / count;
    let begun = Instant::now();
    let tasks: Vec<_> = (0..count)
        .map(|_| {
            let connection = connection.clone();
            tokio::spawn(async move {
                let mut bytes = 0;
                while begun.elapsed() < time {
                    let (mut send, mut recv) = connection.open().await?;
                    send.write(head(GIVE, each)).await?;
                    send.finish()?;
                    let mut got = 0;
                    while let Some(chunk) = recv.read().await? {
                        got += chunk.len() as u64;
                    }
                    if got != each {
                        return Err::<u64, Box<dyn std::error::Error + Send + Sync>>("not all arrived".into());
                    }
                    bytes += got;
                }
                Ok(bytes)
            })
        })
        .collect();
    let mut bytes = 0;
    for task in tasks {
        bytes += task.await??;
    }
    Ok(gigabits(bytes, begun.elapsed()))
}

async fn request(connection: &impl Connection) -> Result<()> {
    let (mut send, mut recv) = connection.open().await?;
    let mut question = BytesMut::from(&head(ECHO, 0)[..]);
    question.extend_from_slice(&chunk()[..SIZE]);
    send.write(question.freeze()).await?;
    send.finish()?;
    let mut got = 0;
    while let Some(chunk) = recv.read().await? {
        got += chunk.len();
    }
    if got == SIZE { Ok(()) } else { Err("a wrong answer".into()) }
}

async fn requests(connection: &impl Connection, time: Duration) -> Result<Outcome> {
    let (begun, count) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let (connection, count) = (connection.clone(), count.clone());
            tokio::spawn(async move {
                while begun.elapsed() < time {
                    request(&connection).await?;
                    count.fetch_add(1, Ordering::Relaxed);
                }
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    let count = count.load(Ordering::Relaxed) as f64;
    Ok(Outcome { value: count / begun.elapsed().as_secs_f64(), bytes: 0 })
}

async fn latency(connection: &impl Connection, time: Duration) -> Result<Outcome> {
    let (begun, mut times) = (Instant::now(), Vec::new());
    while begun.elapsed() < time {
        let one = Instant::now();
        request(connection).await?;
        times.push(one.elapsed());
    }
    times.sort();
    Ok(Outcome { value: times[times.len() / 2].as_secs_f64() * 1e6, bytes: 0 })
}

async fn handshakes<P: Peer>(peer: &P, to: SocketAddr, time: Duration) -> Result<Outcome> {
    let (begun, mut count) = (Instant::now(), 0);
    while begun.elapsed() < time {
        peer.connect(to).await?.close().await;
        count += 1;
    }
    Ok(Outcome { value: f64::from(count) / begun.elapsed().as_secs_f64(), bytes: 0 })
}
