//! Clients that send nonsense where sessions of WebTransport are served: nothing panics, and others are
//! served all the while.
#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tercel::aio::Endpoint;
use tercel::{Configuration, Identity, Settings, Trust};
use tercel_h3::webtransport::{SessionEnd, SessionRequest};
use tercel_h3::{ALPN, Server, service_fn};

static PANICS: AtomicUsize = AtomicUsize::new(0);
/// Sessions, and what came for them: the nonsense must get that far.
static SESSIONS: AtomicUsize = AtomicUsize::new(0);
static STREAMS: AtomicUsize = AtomicUsize::new(0);

/// A request for a session: CONNECT by WebTransport, https, localhost, /.
const CONNECT: &[u8] = b"\x01\x40\x58\0\0\x27\x00:method\x07CONNECT\x27\x02:protocol\x0cwebtransport\x27\x00:scheme\x05https\x27\x03:authority\x09localhost\x25:path\x01/";

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.unwrap_or_else(|_| panic!("too late: {what}"))
}

/// Numbers that are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }

    /// Bytes that look right for a while: signals, small IDs, frames, capsules.
    fn bytes(&mut self) -> Vec<u8> {
        const LIKELY: [&[u8]; 14] = [
            &[0x40, 0x41],
            &[0x40, 0x54],
            &[0x00],
            &[0x04],
            &[0x01],
            &[0x68, 0x43],
            &[0x80, 0x00, 0x78, 0xae],
            &[0xff; 8],
            &[0x40],
            &[0x07, 0x01, 0x00],
            CONNECT,
            &[0x00, 0x06, 0x68, 0x43, 0x04, 0, 0, 0],
            &[0x00, 0x04, 0x80, 0x00, 0x78, 0xae],
            &[0x00, 0x40, 0x40],
        ];
        let mut bytes = Vec::new();
        if self.next(3) == 0 {
            // A stream or a datagram of the first session.
            bytes.extend_from_slice([&[0x40, 0x41, 0][..], &[0x40, 0x54, 0], &[0]][self.next(3) as usize]);
        }
        for _ in 0..=self.next(5) {
            match self.next(3) {
                0 => bytes.push(self.next(256) as u8),
                1 => bytes.push(4 * self.next(4) as u8),
                _ => bytes.extend_from_slice(LIKELY[self.next(LIKELY.len() as u64) as usize]),
            }
        }
        bytes
    }
}

async fn echo(request: SessionRequest) -> Result<(), SessionEnd> {
    let session = request.accept().await?;
    SESSIONS.fetch_add(1, Ordering::Relaxed);
    loop {
        tokio::select! {
            datagram = session.read_datagram() => drop(session.send_datagram(datagram?)),
            stream = session.accept_bi() => {
                let (mut send, mut recv) = stream?;
                STREAMS.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move { tokio::io::copy(&mut recv, &mut send).await });
            }
            stream = session.accept_uni() => drop(stream?.read_to_end(10).await),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_harms_nobody_else() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        before(panic);
    }));
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let identity = Identity::new(vec![made.cert.der().clone()], key.into()).unwrap();
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), identity).unwrap().webtransport(|request| async {
        // However it ends.
        let _ = echo(request).await;
    });
    let (address, handle) = (server.local_address(), server.handle());
    let service = service_fn(|_| async { Ok::<_, Infallible>(Response::new(Full::from("an answer"))) });
    let serving = tokio::spawn(async move { server.serve(service).await.unwrap() });
    let settings = Settings { max_datagram_size: 65_535, ..Settings::default() };
    let trust = Trust::roots([made.cert.der().clone()]).unwrap();
    let configuration = Configuration::client(&[ALPN], settings, trust).unwrap();
    let endpoint = Endpoint::client().unwrap();
    let connect = || endpoint.connect(&configuration, address, "localhost").unwrap();
    let good = soon("a connection", connect()).await.unwrap();
    let (mut driver, mut requests) = h3::client::new(tercel_h3::Connection::new(good)).await.unwrap();
    tokio::spawn(async move { std::future::poll_fn(|context| driver.poll_close(context)).await });
    let mut numbers = Numbers(std::env::var("SEED").map_or(4, |seed| seed.parse().unwrap()));
    // The server has time for those that are kept.
    let mut kept = VecDeque::new();
    for round in 0..1000 {
        let bad = soon("a connection", connect()).await.unwrap();
        let mut control = bad.open_uni().await.unwrap();
        control.write_all(&[0, 4, 2, 0x33, 1]).await.unwrap();
        let mut streams = Vec::new();
        if numbers.next(2) == 0 {
            let (mut send, recv) = bad.open_bi().await.unwrap();
            send.write_all(CONNECT).await.unwrap();
            streams.push((send, Some(recv)));
        }
        // Every one of these fails once the server has had enough.
        for _ in 0..numbers.next(12) {
            let sent = match numbers.next(3) {
                0 => bad.send_datagram(numbers.bytes().into()).is_ok(),
                1 => match bad.open_uni().await {
                    Ok(mut send) => {
                        let sent = send.write_all(&numbers.bytes()).await.is_ok();
                        streams.push((send, None));
                        sent
                    }
                    Err(_) => false,
                },
                _ => match bad.open_bi().await {
                    Ok((mut send, recv)) => {
                        let sent = send.write_all(&numbers.bytes()).await.is_ok();
                        streams.push((send, Some(recv)));
                        sent
                    }
                    Err(_) => false,
                },
            };
            if !streams.is_empty() && numbers.next(3) == 0 {
                let (mut send, _) = streams.swap_remove(numbers.next(streams.len() as u64) as usize);
                let _ = if numbers.next(2) == 0 { send.finish() } else { send.reset(7u32.into()) };
            }
            if !sent && bad.close_reason().is_some() {
                break;
            }
        }
        kept.push_back((bad, control, streams));
        if kept.len() > 16 {
            kept.pop_front();
        }
        if round % 10 == 0 {
            let request = Request::get("https://localhost/").body(()).unwrap();
            let mut stream: h3::client::RequestStream<_, Bytes> = requests.send_request(request).await.unwrap();
            // It fails if the answer did not wait for it.
            let _ = stream.finish().await;
            assert_eq!(soon("an answer", stream.recv_response()).await.unwrap().status(), 200);
        }
    }
    handle.stop(Duration::from_millis(200));
    soon("the end of the server", serving).await.unwrap();
    let (sessions, streams) = (SESSIONS.load(Ordering::Relaxed), STREAMS.load(Ordering::Relaxed));
    assert!(sessions > 100 && streams > 5, "{sessions} sessions, {streams} streams");
    assert_eq!(PANICS.load(Ordering::Relaxed), 0);
}
