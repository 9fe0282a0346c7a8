//! `tercel demo --verdict`: a certificate is judged by the application, perhaps while somebody closes
//! the connection; and a time line shows what both ends sent and saw.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use tercel::{
    Alert, Bytes, Configuration, Connect, Connection, ConnectionEvent, Listen, Listener, ListenerEvent, PendingVerdict,
    Registration, Settings, Trust,
};
use tercel_wire::EncryptionLevel;
use tercel_wire::packet::{FirstPacket, Protected};
use tokio::net::UdpSocket;
use tokio::sync::Notify;

use crate::args::{Close, Verdict};
use crate::failure::{Doing as _, Failure, Outcome};
use crate::identity;
use crate::timeline::{Place, Timeline};

/// The code with which the demo closes.
const CODE: u32 = 42;
/// How long a slow verdict takes, and how long a connection is left open that nobody closes.
const SLOW: Duration = Duration::from_millis(300);
/// How long a verdict may take.
const LIMIT: Duration = Duration::from_secs(2);
/// The length of the connection IDs that Tercel gives out.
const CID_LEN: usize = 9;

/// What the client's handler gives to the demo.
#[derive(Debug, Default)]
struct Asked {
    verdict: Mutex<Option<PendingVerdict>>,
    came: Notify,
}

/// Who has heard the last event.
#[derive(Debug, Default)]
struct Over {
    client: Notify,
    server: Notify,
}

pub(crate) async fn run(verdict: Verdict, close: Option<Close>) -> Outcome {
    let timeline = Timeline::new();
    let over = Arc::new(Over::default());
    let identity = identity::made_for(&["localhost".into()], identity::Validity::Always)?;
    let settings = Settings { verdict_timeout: LIMIT, ..Settings::default() };
    let server = Configuration::server(&["demo"], settings.clone(), identity).doing(|| "cannot set up TLS")?;
    let client = Configuration::client(&["demo"], settings, Trust::application()).doing(|| "cannot set up TLS")?;
    let registration = |doing: &'static str| {
        let mut config = crate::observe::registration();
        config.workers = 1;
        Registration::new(config).doing(|| doing)
    };
    let (ours, theirs) = (registration("cannot start the client")?, registration("cannot start the server")?);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = theirs
        .listen(Listen::new(address, ["demo"]), accept(server, timeline.clone(), over.clone()))
        .doing(|| "cannot start the server")?;
    let way = relay(listener.local_address(), timeline.clone()).await?;

    let asked = Arc::new(Asked::default());
    timeline.note(Place::Client, "connects");
    let connection = ours
        .connect(&client, Connect::new(way, "localhost"), judge(asked.clone(), timeline.clone(), over.clone()))
        .doing(|| "cannot connect")?;
    asked.came.notified().await;
    let pending = asked.verdict.lock().unwrap_or_else(PoisonError::into_inner).take();
    let pending = pending.ok_or_else(|| Failure::plain("there was no certificate"))?;
    act(verdict, close, pending, &connection, &timeline).await;

    let ended = async { tokio::join!(over.client.notified(), over.server.notified()) };
    let at_once = tokio::time::timeout(3 * LIMIT, ended).await.is_ok();
    print!("{}", timeline.page());
    println!();
    match at_once {
        true => println!("Both ends know that it is over, and why. Nobody waited for a timeout."),
        false => println!("One end does not know that it is over."),
    }
    if at_once { Ok(()) } else { Err(Failure::plain("an end was left waiting")) }
}

/// The verdict and the close, in the order asked for.
async fn act(
    verdict: Verdict,
    close: Option<Close>,
    pending: PendingVerdict,
    connection: &Connection,
    timeline: &Timeline,
) {
    let shut = |timeline: &Timeline, connection: &Connection| {
        timeline.note(Place::Client, format!("closes with code {CODE}"));
        connection.close(CODE.into(), Bytes::from_static(b"the demo is over"));
    };
    match close {
        Some(Close::Before) => {
            shut(timeline, connection);
            answer(verdict, pending, timeline).await;
        }
        Some(Close::Race) => {
            let (other, line) = (connection.clone(), timeline.clone());
            let closing = tokio::task::spawn_blocking(move || shut(&line, &other));
            answer(verdict, pending, timeline).await;
            // It cannot fail but by a panic, which is printed.
            let _ = closing.await;
        }
        Some(Close::After) => {
            answer(verdict, pending, timeline).await;
            shut(timeline, connection);
        }
        None => {
            answer(verdict, pending, timeline).await;
            tokio::time::sleep(SLOW).await;
            // Does nothing if it has ended.
            if connection.close_reason().is_none() {
                shut(timeline, connection);
            }
        }
    }
}

async fn answer(verdict: Verdict, pending: PendingVerdict, timeline: &Timeline) {
    let tell = |what: &str, given: Result<(), tercel::Error>| match given {
        Ok(()) => timeline.note(Place::Client, format!("verdict: {what}")),
        Err(_) => timeline.note(Place::Client, format!("verdict: {what} (too late, it says)")),
    };
    match verdict {
        Verdict::Accept => tell("accept", pending.accept()),
        Verdict::Reject => tell("reject, unknown_ca", pending.reject(Alert::UNKNOWN_CA)),
        Verdict::Drop => {
            timeline.note(Place::Client, "drops the pending verdict");
            drop(pending);
        }
        Verdict::Slow => {
            timeline.note(Place::Client, "thinks");
            tokio::time::sleep(SLOW).await;
            tell("accept", pending.accept());
        }
        Verdict::Never => {
            timeline.note(Place::Client, "never answers");
            pending.cancelled().await;
            timeline.note(Place::Client, "learns that no answer is needed");
        }
    }
}

fn accept(
    configuration: Configuration,
    timeline: Timeline,
    over: Arc<Over>,
) -> impl Fn(&Listener, ListenerEvent) + Send + Sync {
    move |_, event| {
        let ListenerEvent::NewConnection(new) = event else { return };
        timeline.note(Place::Server, "a client wants a connection");
        let (timeline, over) = (timeline.clone(), over.clone());
        let accepted = new.accept(&configuration, move |_: &Connection, event: ConnectionEvent<'_>| {
            if let Some(what) = describe(&event) {
                timeline.note(Place::Server, what);
            }
            if matches!(event, ConnectionEvent::ShutdownComplete { .. }) {
                over.server.notify_one();
            }
        });
        if let Ok(connection) = accepted {
            connection.detach();
        }
    }
}

fn judge(
    asked: Arc<Asked>,
    timeline: Timeline,
    over: Arc<Over>,
) -> impl FnMut(&Connection, ConnectionEvent<'_>) + Send {
    move |_, event| {
        if let Some(what) = describe(&event) {
            timeline.note(Place::Client, what);
        }
        match event {
            ConnectionEvent::PeerCertificate { verdict, .. } => {
                *asked.verdict.lock().unwrap_or_else(PoisonError::into_inner) = Some(verdict);
                asked.came.notify_one();
            }
            ConnectionEvent::ShutdownComplete { .. } => over.client.notify_one(),
            _ => {}
        }
    }
}

/// An event in few words, if it matters here.
fn describe(event: &ConnectionEvent<'_>) -> Option<String> {
    Some(match event {
        ConnectionEvent::PeerCertificate { .. } => "event: a certificate to judge".into(),
        ConnectionEvent::Connected { .. } => "event: connected".into(),
        ConnectionEvent::ShutdownInitiatedByPeer { code, reason } => {
            format!("event: closed by the peer, code {code}: {}", String::from_utf8_lossy(reason))
        }
        ConnectionEvent::ShutdownInitiatedByTransport { reason } => format!("event: {reason}"),
        ConnectionEvent::ShutdownComplete { .. } => "event: over".into(),
        _ => return None,
    })
}

/// Passes datagrams between whoever writes to the address that it gives and `server`, and notes what
/// packets they hold.
async fn relay(server: SocketAddr, timeline: Timeline) -> Outcome<SocketAddr> {
    let bind = || UdpSocket::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let doing = || "cannot open a socket";
    let (inside, outside) = (bind().await.doing(doing)?, bind().await.doing(doing)?);
    let address = inside.local_addr().doing(doing)?;
    tokio::spawn(async move {
        let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
        let mut client = None;
        loop {
            // What cannot be passed on is lost, as on any way.
            tokio::select! {
                Ok((len, from)) = inside.recv_from(&mut up) => {
                    client = Some(from);
                    timeline.note(Place::Up, levels(&up[..len]));
                    let _ = outside.send_to(&up[..len], server).await;
                }
                Ok((len, _)) = outside.recv_from(&mut down) => {
                    timeline.note(Place::Down, levels(&down[..len]));
                    if let Some(client) = client {
                        let _ = inside.send_to(&down[..len], client).await;
                    }
                }
            }
        }
    });
    Ok(address)
}

/// The encryption levels of a datagram's packets.
fn levels(datagram: &[u8]) -> String {
    let mut rest = BytesMut::from(datagram);
    let mut names = Vec::new();
    while !rest.is_empty() {
        match Protected::split_first(&mut rest, CID_LEN) {
            Ok(FirstPacket::Protected(packet)) => names.push(match packet.level() {
                EncryptionLevel::Initial => "Initial",
                EncryptionLevel::ZeroRtt => "0-RTT",
                EncryptionLevel::Handshake => "Handshake",
                EncryptionLevel::OneRtt => "1-RTT",
            }),
            _ => break,
        }
    }
    names.join(" + ")
}
