//! Peers that break the rules of HTTP/3, byte by byte, toward a server and toward a client: what each is
//! answered with, by RFC. Whatever comes, nothing panics or hangs, and the next is served.

mod client;
mod server;
mod written;

use std::time::Duration;

use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tercel::aio::{Connection, RecvStream, SendStream};
use tercel::{CloseReason, Identity};

/// Codes of RFC 9114 section 8.1.
const NO_ERROR: u64 = 0x100;
const STREAM_CREATION_ERROR: u64 = 0x103;
const CLOSED_CRITICAL_STREAM: u64 = 0x104;
const FRAME_UNEXPECTED: u64 = 0x105;
const FRAME_ERROR: u64 = 0x106;
const EXCESSIVE_LOAD: u64 = 0x107;
const ID_ERROR: u64 = 0x108;
const SETTINGS_ERROR: u64 = 0x109;
const MISSING_SETTINGS: u64 = 0x10a;
const REQUEST_INCOMPLETE: u64 = 0x10d;
const MESSAGE_ERROR: u64 = 0x10e;
/// And of RFC 9204 section 6.
const DECOMPRESSION_FAILED: u64 = 0x200;
const ENCODER_STREAM_ERROR: u64 = 0x201;
const DECODER_STREAM_ERROR: u64 = 0x202;

/// What a peer does.
#[derive(Debug, Clone)]
enum Act {
    /// A unidirectional stream that begins so, and goes on.
    Uni(Vec<u8>),
    /// One that ends.
    UniEnds(Vec<u8>),
    /// One that is reset.
    UniReset(Vec<u8>),
    /// A bidirectional stream that begins so, and goes on.
    Bi(Vec<u8>),
    /// One that ends.
    BiEnds(Vec<u8>),
    /// One that ends a while after its last byte.
    BiEndsLater(Vec<u8>),
    /// One that is reset.
    BiReset(Vec<u8>),
    Datagram(Vec<u8>),
}

/// What comes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// The connection is closed with a code.
    Close(u64),
    /// The last stream is reset with a code, and the connection goes on.
    Reset(u64),
    /// The last stream is to be stopped with a code, and the connection goes on.
    Stop(u64),
    /// The last stream is answered, and the connection goes on.
    Answer,
    /// Nothing: the connection goes on.
    Nothing,
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.unwrap_or_else(|_| panic!("too late: {what}"))
}

fn identity() -> (Identity, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    (Identity::new(vec![made.cert.der().clone()], key.into()).unwrap(), made.cert.der().clone())
}

/// Streams that are kept open.
#[derive(Default)]
struct Kept {
    uni: Vec<SendStream>,
    bi: Vec<(SendStream, RecvStream)>,
}

impl Act {
    /// Does it; a connection that has ended by then is what a row may want.
    async fn perform(&self, connection: &Connection, kept: &mut Kept) {
        match self {
            Self::Uni(bytes) | Self::UniEnds(bytes) | Self::UniReset(bytes) => {
                let Ok(mut send) = connection.open_uni().await else { return };
                let _ = send.write_all(bytes).await;
                if let Self::UniReset(_) = self {
                    // A reset takes back what has not arrived.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                match self {
                    Self::UniEnds(_) => drop(send.finish()),
                    Self::UniReset(_) => drop(send.reset(7u32.into())),
                    _ => {}
                }
                kept.uni.push(send);
            }
            Self::Datagram(bytes) => drop(connection.send_datagram(bytes.clone().into())),
            Self::Bi(bytes) | Self::BiEnds(bytes) | Self::BiEndsLater(bytes) | Self::BiReset(bytes) => {
                let Ok((mut send, recv)) = connection.open_bi().await else { return };
                self.converse(&mut send, bytes).await;
                kept.bi.push((send, recv));
            }
        }
    }

    async fn converse(&self, send: &mut SendStream, bytes: &[u8]) {
        let _ = send.write_all(bytes).await;
        match self {
            Self::BiEndsLater(_) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
                drop(send.finish());
            }
            Self::BiEnds(_) => drop(send.finish()),
            Self::BiReset(_) => drop(send.reset(7u32.into())),
            _ => {}
        }
    }
}

/// The code that a connection was closed with by the other end.
async fn closed(connection: &Connection) -> u64 {
    match connection.closed().await {
        CloseReason::PeerApplication { code, .. } => code.into_inner(),
        reason => panic!("another end: {reason:?}"),
    }
}
