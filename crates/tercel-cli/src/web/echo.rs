//! A WebTransport echo, and a page that tries it from a browser: at the same path, one by a session and
//! the other by a GET.

use tercel_h3::RemoteAddress;
use tercel_h3::webtransport::{ReadError, RecvStream, SendStream, Session, SessionEnd, SessionRequest, WriteError};
use tokio::task::JoinSet;

use crate::access_log;
use crate::fingerprint::Fingerprint;

/// Where it is.
pub(crate) const PATH: &str = "/.well-known/tercel/echo";

/// How much is read at a time.
const CHUNK: usize = 64 << 10;

/// The page; `certificate` is that of a server whose certificate was made for browsers to pin.
pub(super) fn page(certificate: Option<Fingerprint>) -> String {
    let hash = certificate.map_or_else(String::new, |hash| hash.to_string().replace(':', ""));
    include_str!("echo.html").replace("{{certificate}}", &hash)
}

/// Serves whoever asks for a session.
pub(crate) async fn serve(request: SessionRequest) {
    let remote = request.request().extensions().get::<RemoteAddress>();
    let remote = remote.map_or_else(|| "-".into(), |remote| remote.0.to_string());
    if request.uri().path() != PATH {
        access_log::line(format_args!("{remote} WebTransport {} 404", request.uri().path().escape_debug()));
        return request.reject(http::StatusCode::NOT_FOUND);
    }
    let Ok(session) = request.accept().await else { return };
    access_log::line(format_args!("{remote} WebTransport {PATH} 200"));
    let (mut streams, mut datagrams) = (0u64, 0u64);
    let end = echo(&session, &mut streams, &mut datagrams).await;
    access_log::line(format_args!("{remote} WebTransport {PATH} {streams} streams, {datagrams} datagrams; {end}"));
}

/// Until the session ends, or the server.
async fn echo(session: &Session, streams: &mut u64, datagrams: &mut u64) -> SessionEnd {
    let mut under_way = JoinSet::new();
    let end = loop {
        tokio::select! {
            datagram = session.read_datagram() => match datagram {
                Ok(datagram) => {
                    *datagrams += 1;
                    // One that cannot be sent is lost, as any may be.
                    let _ = session.send_datagram(datagram);
                }
                Err(end) => break end,
            },
            stream = session.accept_bi() => match stream {
                Ok((send, recv)) => {
                    *streams += 1;
                    under_way.spawn(async move { answer(send, recv).await });
                }
                Err(end) => break end,
            },
            stream = session.accept_uni() => match stream {
                Ok(recv) => {
                    *streams += 1;
                    let session = session.clone();
                    under_way.spawn(async move {
                        if let Ok(send) = session.open_uni().await {
                            answer(send, recv).await;
                        }
                    });
                }
                Err(end) => break end,
            },
            Some(_) = under_way.join_next(), if !under_way.is_empty() => {}
            () = session.draining() => {
                session.close(0, "the server stops");
                break session.closed().await;
            }
        }
    };
    // What has arrived may be answered no more.
    under_way.shutdown().await;
    end
}

/// Sends back what comes, and its end, whichever it is.
async fn answer(mut send: SendStream, mut recv: RecvStream) {
    loop {
        let chunk = match recv.read_chunk(CHUNK).await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break,
            Err(error) => {
                if let ReadError::Reset(code) = error {
                    // A session that has ended has ended its streams.
                    let _ = send.reset(code.unwrap_or(0));
                }
                return;
            }
        };
        if let Err(error) = send.write_chunk(chunk).await {
            if let WriteError::Stopped(code) = error {
                let _ = recv.stop(code.unwrap_or(0));
            }
            return;
        }
    }
    // Whoever is not there any more needs no end.
    let _ = send.finish();
}
