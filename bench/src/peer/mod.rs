//! The peers. To add one: a variant here, and a module with `serve` and `work` (for a peer with an
//! async interface: an implementation of [`crate::exchange`]'s traits).

mod c;

mod quinn {
    use quinn as stack;
    use quinn::congestion::BbrConfig;

    async fn next_chunk(stream: &mut stack::RecvStream) -> std::result::Result<Option<Bytes>, stack::ReadError> {
        Ok(stream.read_chunk(usize::MAX, true).await?.map(|chunk| chunk.bytes))
    }

    include!("quinn.rs");
}

mod noq {
    use noq as stack;
    use noq::congestion::Bbr3Config as BbrConfig;

    async fn next_chunk(stream: &mut stack::RecvStream) -> std::result::Result<Option<Bytes>, stack::ReadError> {
        stream.read_chunk(usize::MAX).await
    }

    include!("quinn.rs");
}

mod s2n;
mod tercel;
mod tercel_async;

use std::any::Any;
use std::error::Error;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;

use clap::ValueEnum;

use self::c::Whose;
use self::tercel::Losses;
pub use self::tercel::finish_log;
use self::tercel_async::Driven;
use crate::exchange::AT_ONCE;
use crate::measure::Measured;
use crate::scenario::{Control, Scenario, Work};
use crate::tls::{self, Identity};
pub use crate::wire::socket;
use crate::{Result, limit, settings};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Peer {
    /// Tercel by callbacks: one worker thread on each side does everything.
    Tercel,
    /// Tercel by `await`: one worker thread, and the application on tokio's current-thread runtime.
    TercelAsync,
    /// Tercel by `await`, its worker a task beside the application's: one thread on each side does everything.
    TercelTask,
    /// Tercel by callbacks, told that losses are chance where there is no queue.
    TercelRandomLoss,
    /// Tercel by MsQuic's C interface: one worker thread on each side does everything.
    TercelC,
    /// MsQuic, whose library `MSQUIC_LIBRARY` names, in the same way.
    Msquic,
    /// quinn on tokio's current-thread runtime: one thread on each side does everything.
    Quinn,
    /// noq, in the same way.
    Noq,
    /// s2n-quic, in the same way.
    S2nQuic,
    /// quiche, in a program of its own: one thread on each side does everything.
    Quiche,
    /// tquic, in the same way.
    Tquic,
    /// No QUIC: datagrams of the same size with segmentation offload, and credit for a window.
    Udp,
    /// No network: the packet protection of the same bytes, sealed and opened in one thread.
    Protection,
}

/// A server that runs in other threads for as long as this lives.
pub struct Serving {
    pub address: SocketAddr,
    pub _keeps: Box<dyn Any>,
}

/// What `build-peers` has built.
fn built(name: &str) -> Option<PathBuf> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers").join(name);
    built.exists().then_some(built)
}

/// MsQuic's library: that of the environment, or what `build-peers` has built.
pub fn msquic_library() -> Option<PathBuf> {
    std::env::var_os("MSQUIC_LIBRARY").map(PathBuf::from).or_else(|| built("libmsquic.so.2"))
}

const NOT_HERE: &str = "it has a program of its own";

/// So many connections by callbacks, a batch of which is made at a time; of each is told when it stands.
fn connected<C, T, E>(
    count: usize,
    told: &Receiver<std::result::Result<T, E>>,
    connect: impl Fn() -> Result<C>,
) -> Result<Vec<C>>
where
    Box<dyn Error + Send + Sync>: From<E>,
{
    let mut connections = Vec::new();
    while connections.len() < count {
        let batch = AT_ONCE.min(count - connections.len());
        for _ in 0..batch {
            connections.push(connect()?);
        }
        for _ in 0..batch {
            told.recv()??;
        }
    }
    Ok(connections)
}

impl Peer {
    pub fn name(self) -> &'static str {
        match self {
            Self::Tercel => "tercel",
            Self::TercelAsync => "tercel-async",
            Self::TercelTask => "tercel-task",
            Self::TercelRandomLoss => "tercel-random-loss",
            Self::TercelC => "tercel-c",
            Self::Msquic => "msquic",
            Self::Quinn => "quinn",
            Self::Noq => "noq",
            Self::S2nQuic => "s2n-quic",
            Self::Quiche => "quiche",
            Self::Tquic => "tquic",
            Self::Udp => "udp",
            Self::Protection => "protection",
        }
    }

    /// Whether this is another stack, with which Tercel is compared.
    pub fn is_other(self) -> bool {
        matches!(self, Self::Msquic | Self::Quinn | Self::Noq | Self::S2nQuic | Self::Quiche | Self::Tquic)
    }

    /// The program of a peer that cannot be in this one (there can be one BoringSSL only).
    pub fn program(self) -> Option<PathBuf> {
        match self {
            Self::Quiche | Self::Tquic => built(&format!("tercel-bench-{}", self.name())),
            _ => None,
        }
    }

    /// Why it must be left out.
    pub fn missing(self) -> Option<&'static str> {
        match self {
            Self::Msquic if !c::is_there() && msquic_library().is_none() => {
                Some("`build-peers msquic` has built no library")
            }
            Self::Quiche if self.program().is_none() => Some("`build-peers quiche` has built no program"),
            Self::Tquic if self.program().is_none() => Some("`build-peers tquic` has built no program"),
            _ => None,
        }
    }

    /// Why it does not do `scenario`; `None` if it does.
    pub fn cannot(self, scenario: Scenario) -> Option<&'static str> {
        use Scenario::{Datagrams, Early, Latency, Resumed, Upload, Wide};
        match (self, scenario) {
            (Self::Udp, Upload | Latency) | (Self::Protection, Upload) => None,
            (Self::Udp | Self::Protection, _) => Some("it is a limit of other work"),
            (Self::TercelRandomLoss, scenario) if scenario.network().is_none() => Some("nothing is lost by chance"),
            (Self::S2nQuic, Resumed | Early) => Some("its rustls session ends with the handshake, before tickets"),
            (Self::TercelC | Self::Msquic, Resumed | Early) => Some("the adapter has no tickets"),
            (Self::TercelC | Self::Msquic, Datagrams) => Some("the adapter has no datagrams"),
            (Self::TercelC | Self::Msquic, Wide(number)) if number > 65_535 => {
                Some("no more than 65,535 can be permitted")
            }
            (Self::TercelC | Self::Msquic, Scenario::HELD) => Some("the adapter's connections end after 30 seconds"),
            (Self::Tquic, Datagrams) => Some("it has no datagrams"),
            _ => None,
        }
    }

    /// Of the faces of Tercel, all that are not the one with the goals.
    pub fn is_another_face(self) -> bool {
        matches!(self, Self::TercelAsync | Self::TercelTask | Self::TercelC)
    }

    pub fn serve(self, identity: Identity, streams: u32, control: Control) -> Result<Serving> {
        match self {
            Self::Tercel => tercel::serve(identity, streams, control, Losses::OfQueues),
            Self::TercelRandomLoss => tercel::serve(identity, streams, control, Losses::ByChance),
            Self::TercelAsync => tercel_async::serve(identity, streams, control, Driven::ByThread),
            Self::TercelTask => tercel_async::serve(identity, streams, control, Driven::ByTask),
            Self::TercelC => c::serve(Whose::Ours, &identity, streams, control),
            Self::Msquic => c::serve(Whose::MsQuic, &identity, streams, control),
            Self::Quinn => quinn::serve(identity, streams, control),
            Self::Noq => noq::serve(identity, streams, control),
            Self::S2nQuic => s2n::serve(identity, streams, control),
            Self::Quiche | Self::Tquic => Err(NOT_HERE.into()),
            Self::Udp => limit::udp::serve(),
            Self::Protection => limit::protection::serve(),
        }
    }

    /// Does work with a server whose authority's certificate is in `identity`.
    pub fn work(self, work: Work, address: SocketAddr, identity: &Path) -> Result<Measured> {
        let authority = tls::authority(identity)?;
        match self {
            Self::Tercel | Self::TercelRandomLoss => tercel::work(work, address, authority),
            Self::TercelAsync => tercel_async::work(work, address, authority, Driven::ByThread),
            Self::TercelTask => tercel_async::work(work, address, authority, Driven::ByTask),
            Self::TercelC => c::work(Whose::Ours, work, address, identity),
            Self::Msquic => c::work(Whose::MsQuic, work, address, identity),
            Self::Quinn => quinn::work(work, address, authority),
            Self::Noq => noq::work(work, address, authority),
            Self::S2nQuic => s2n::work(work, address, authority),
            Self::Quiche | Self::Tquic => Err(NOT_HERE.into()),
            Self::Udp => limit::udp::work(work, address),
            Self::Protection => limit::protection::work(work),
        }
    }
}
