//! The peers. To add one: a variant here, and a module with `serve` and `work` (for a peer with an
//! async interface: an implementation of [`crate::exchange`]'s traits).

mod c;

mod quinn {
    use quinn as stack;

    async fn next_chunk(stream: &mut stack::RecvStream) -> std::result::Result<Option<Bytes>, stack::ReadError> {
        Ok(stream.read_chunk(usize::MAX, true).await?.map(|chunk| chunk.bytes))
    }

    include!("quinn.rs");
}

mod noq {
    use noq as stack;

    async fn next_chunk(stream: &mut stack::RecvStream) -> std::result::Result<Option<Bytes>, stack::ReadError> {
        stream.read_chunk(usize::MAX).await
    }

    include!("quinn.rs");
}

mod s2n;
mod tercel;
mod tercel_async;

use std::any::Any;
use std::net::{SocketAddr, UdpSocket};

use clap::ValueEnum;
use rustls::pki_types::CertificateDer;

pub use self::tercel::finish_log;
use self::c::Whose;
use self::tercel_async::Driven;
use crate::measure::Measured;
use crate::scenario::{Scenario, Work};
use crate::tls::Identity;
use crate::{Result, limit};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Peer {
    /// Tercel by callbacks: one worker thread on each side does everything.
    Tercel,
    /// Tercel by `await`: one worker thread, and the application on tokio's current-thread runtime.
    TercelAsync,
    /// Tercel by `await`, its worker a task beside the application's: one thread on each side does everything.
    TercelTask,
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

/// The settings that all peers share.
pub mod settings {
    /// The size of every UDP payload: fits IPv6 over Ethernet. Fixed, no discovery.
    pub const MTU: u16 = 1452;
    /// The receive window of a stream, from the start.
    pub const STREAM_WINDOW: u32 = 8 << 20;
    /// The receive window of a connection, from the start.
    pub const WINDOW: u32 = 16 << 20;
    /// How many streams a client may have open at once.
    pub const STREAMS: u32 = 200;
    /// What the system is asked to hold for a socket in each direction.
    pub const SOCKET_BUFFER: usize = 4 << 20;
}

/// A socket for a peer that does not make its own.
pub fn socket() -> Result<UdpSocket> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let options = socket2::SockRef::from(&socket);
    options.set_recv_buffer_size(settings::SOCKET_BUFFER)?;
    options.set_send_buffer_size(settings::SOCKET_BUFFER)?;
    Ok(socket)
}

impl Peer {
    pub fn name(self) -> &'static str {
        match self {
            Self::Tercel => "tercel",
            Self::TercelAsync => "tercel-async",
            Self::TercelTask => "tercel-task",
            Self::TercelC => "tercel-c",
            Self::Msquic => "msquic",
            Self::Quinn => "quinn",
            Self::Noq => "noq",
            Self::S2nQuic => "s2n-quic",
            Self::Udp => "udp",
            Self::Protection => "protection",
        }
    }

    /// Whether this is another stack, with which Tercel is compared.
    pub fn is_other(self) -> bool {
        matches!(self, Self::Msquic | Self::Quinn | Self::Noq | Self::S2nQuic)
    }

    pub fn does(self, scenario: Scenario) -> bool {
        match self {
            Self::Udp => matches!(scenario, Scenario::Upload | Scenario::Latency),
            Self::Protection => scenario == Scenario::Upload,
            // Its rustls session ends with the handshake, before tickets.
            Self::S2nQuic => scenario != Scenario::Resumed,
            // There are neither tickets nor datagrams in that adapter.
            Self::TercelC => !matches!(scenario, Scenario::Resumed | Scenario::Datagrams),
            Self::Msquic => c::is_there() && !matches!(scenario, Scenario::Resumed | Scenario::Datagrams),
            _ => true,
        }
    }

    pub fn serve(self, identity: Identity) -> Result<Serving> {
        match self {
            Self::Tercel => tercel::serve(identity),
            Self::TercelAsync => tercel_async::serve(identity, Driven::ByThread),
            Self::TercelTask => tercel_async::serve(identity, Driven::ByTask),
            Self::TercelC => c::serve(Whose::Ours, &identity),
            Self::Msquic => c::serve(Whose::MsQuic, &identity),
            Self::Quinn => quinn::serve(identity),
            Self::Noq => noq::serve(identity),
            Self::S2nQuic => s2n::serve(identity),
            Self::Udp => limit::udp::serve(),
            Self::Protection => limit::protection::serve(),
        }
    }

    pub fn work(self, work: Work, address: SocketAddr, certificate: CertificateDer<'static>) -> Result<Measured> {
        match self {
            Self::Tercel => tercel::work(work, address, certificate),
            Self::TercelAsync => tercel_async::work(work, address, certificate, Driven::ByThread),
            Self::TercelTask => tercel_async::work(work, address, certificate, Driven::ByTask),
            Self::TercelC => c::work(Whose::Ours, work, address, &certificate),
            Self::Msquic => c::work(Whose::MsQuic, work, address, &certificate),
            Self::Quinn => quinn::work(work, address, certificate),
            Self::Noq => noq::work(work, address, certificate),
            Self::S2nQuic => s2n::work(work, address, certificate),
            Self::Udp => limit::udp::work(work, address),
            Self::Protection => limit::protection::work(work),
        }
    }
}
