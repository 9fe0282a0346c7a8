//! A server of a tower service, over HTTP/3 and over TCP.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Either, Empty, Full, StreamBody};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tercel::aio::Endpoint;
use tercel::{Configuration, Identity, Settings, Trust};
use tercel_h3::{ALPN, BoxError, Handle, RequestBody, Server, service_fn};

const PATIENCE: Duration = Duration::from_secs(30);

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("too late: {what}"))
}

fn identity() -> (CertificateDer<'static>, Identity) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    (made.cert.der().clone(), Identity::new(vec![made.cert.der().clone()], key.into()).unwrap())
}

type Answer = Response<Either<Full<Bytes>, http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>>>;

/// Echoes a body; and a few paths that do otherwise.
async fn site(request: Request<RequestBody>) -> Result<Answer, BoxError> {
    let text = |text: &str| Either::Left(Full::from(text.to_owned()));
    match request.uri().path() {
        "/fail" => Err("as wanted".into()),
        "/slow" => {
            tokio::time::sleep(Duration::from_millis(300)).await;
            Ok(Response::new(text("at last")))
        }
        "/half" => {
            // A body that breaks off.
            let frames = [Ok(http_body::Frame::data(Bytes::from_static(b"half"))), Err::<_, BoxError>("broken".into())];
            let mut frames = frames.into_iter();
            let body = StreamBody::new(futures_stream(move || frames.next()));
            Ok(Response::new(Either::Right(body.boxed_unsync())))
        }
        _ => {
            let version = format!("{:?}", request.version());
            let body = request.into_body().collect().await?.to_bytes();
            let response = Response::builder().header("x-version", version);
            Ok(response.body(Either::Left(Full::from(body))).unwrap())
        }
    }
}

fn futures_stream<T: Unpin>(next: impl FnMut() -> Option<T> + Unpin) -> impl futures_core::Stream<Item = T> {
    struct Of<F>(F);
    impl<T, F: FnMut() -> Option<T> + Unpin> futures_core::Stream for Of<F> {
        type Item = T;
        fn poll_next(mut self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<Option<T>> {
            std::task::Poll::Ready((self.0)())
        }
    }
    Of(next)
}

struct Running {
    address: SocketAddr,
    certificate: CertificateDer<'static>,
    handle: Handle,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    fn site(&self) -> (SocketAddr, CertificateDer<'static>) {
        (self.address, self.certificate.clone())
    }
}

fn start() -> Running {
    let (certificate, identity) = identity();
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), identity).unwrap();
    let (address, handle) = (server.local_address(), server.handle());
    let task = tokio::spawn(async move { server.serve(service_fn(site)).await.unwrap() });
    Running { address, certificate, handle, task }
}

type Requests = h3::client::SendRequest<tercel_h3::Opener, Bytes>;

/// A client of HTTP/3; what ends it comes out of the second.
async fn client(running: &Running) -> (Requests, tokio::task::JoinHandle<String>) {
    let trust = Trust::roots([running.certificate.clone()]).unwrap();
    let configuration = Configuration::client(&[ALPN], Settings::default(), trust).unwrap();
    let endpoint = Endpoint::client().unwrap();
    let connection = endpoint.connect(&configuration, running.address, "localhost").unwrap().await.unwrap();
    let (mut driver, requests) = h3::client::new(tercel_h3::Connection::new(connection)).await.unwrap();
    let driven = tokio::spawn(async move {
        let end = std::future::poll_fn(|context| driver.poll_close(context)).await;
        drop(endpoint);
        end.to_string()
    });
    (requests, driven)
}

/// One exchange.
async fn ask(mut requests: Requests, method: Method, path: &str, body: Bytes) -> Result<Response<Vec<u8>>, BoxError> {
    let request = Request::builder().method(method).uri(format!("https://localhost{path}")).body(()).unwrap();
    let mut stream = requests.send_request(request).await?;
    if !body.is_empty() {
        stream.send_data(body).await?;
    }
    stream.finish().await?;
    let response = stream.recv_response().await?;
    let mut back = Vec::new();
    while let Some(mut data) = stream.recv_data().await? {
        back.extend_from_slice(&data.copy_to_bytes(data.remaining()));
    }
    Ok(response.map(|()| back))
}

#[tokio::test]
async fn requests_over_http3() {
    let running = start();
    let (requests, _driver) = client(&running).await;
    for len in [0, 1, 1 << 20] {
        let body = Bytes::from(vec![7; len]);
        let response = soon("an answer", ask(requests.clone(), Method::POST, "/", body.clone())).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert!(response.headers().contains_key("date"));
        assert_eq!(response.headers()["x-version"], "HTTP/3.0");
        assert!(response.body() == &body, "{len}");
    }
    let head = soon("an answer", ask(requests.clone(), Method::HEAD, "/slow", Bytes::new())).await.unwrap();
    assert_eq!((head.status(), head.body().len()), (StatusCode::OK, 0));
    let failed = soon("an answer", ask(requests.clone(), Method::GET, "/fail", Bytes::new())).await.unwrap();
    assert_eq!(failed.status(), StatusCode::INTERNAL_SERVER_ERROR);
    // A part is not taken for the whole.
    let half = soon("an answer", ask(requests.clone(), Method::GET, "/half", Bytes::new())).await;
    assert!(half.is_err());
    // And none of it harms the connection.
    assert!(soon("an answer", ask(requests, Method::GET, "/", Bytes::new())).await.is_ok());
}

/// A server may answer before it has all of a request, and want no more of it (RFC 9114 section 4.1).
#[tokio::test]
async fn an_answer_may_come_before_the_end_of_the_request() {
    let running = start();
    let (mut requests, _driver) = client(&running).await;
    let request = Request::get("https://localhost/slow").body(()).unwrap();
    let mut stream = soon("the request", requests.send_request(request)).await.unwrap();
    assert_eq!(soon("the answer", stream.recv_response()).await.unwrap().status(), StatusCode::OK);
    let mut back = Vec::new();
    while let Some(mut data) = soon("its data", stream.recv_data()).await.unwrap() {
        back.extend_from_slice(&data.copy_to_bytes(data.remaining()));
    }
    assert_eq!(back, b"at last");
    // The stop that comes with it says that nothing is wrong.
    let stopped = async {
        loop {
            if let Err(error) = stream.send_data(Bytes::from_static(b"more")).await {
                break error;
            }
            tokio::task::yield_now().await;
        }
    };
    let error = soon("the stop", stopped).await;
    assert!(error.to_string().contains("H3_NO_ERROR"), "{error}");
}

#[tokio::test]
async fn ten_thousand_requests_over_one_connection() {
    let running = start();
    let (requests, _driver) = client(&running).await;
    let done = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..50)
        .map(|task| {
            let (requests, done) = (requests.clone(), done.clone());
            tokio::spawn(async move {
                for number in 0..200 {
                    let body = Bytes::from(format!("{task} {number}"));
                    let response = ask(requests.clone(), Method::POST, "/", body.clone()).await.unwrap();
                    assert_eq!(response.body(), &body);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for task in tasks {
        soon("a task", task).await.unwrap();
    }
    assert_eq!(done.load(Ordering::Relaxed), 10_000);
}

async fn over_tcp(site: (SocketAddr, CertificateDer<'static>), alpn: &'static [u8], path: &str) -> Response<Bytes> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(site.1).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![alpn.to_vec()];
    let stream = tokio::net::TcpStream::connect(site.0).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(tls));
    let stream = TokioIo::new(connector.connect("localhost".try_into().unwrap(), stream).await.unwrap());
    let request = Request::get(format!("https://localhost{path}")).header("host", "localhost");
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let response = if alpn == b"h2" {
        let (mut send, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        tokio::spawn(connection);
        send.send_request(request).await.unwrap()
    } else {
        let (mut send, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        send.send_request(request).await.unwrap()
    };
    let (parts, body) = response.into_parts();
    Response::from_parts(parts, body.collect().await.unwrap().to_bytes())
}

#[tokio::test]
async fn browsers_that_come_over_tcp_are_told_of_http3() {
    let running = start();
    for (alpn, version) in [(&b"h2"[..], "HTTP/2.0"), (b"http/1.1", "HTTP/1.1")] {
        let response = soon("an answer", over_tcp(running.site(), alpn, "/")).await;
        assert_eq!((response.status(), &response.headers()["x-version"]), (StatusCode::OK, &version.parse().unwrap()));
        let alt_svc = format!("h3=\":{}\"; ma=86400", running.address.port());
        assert_eq!(response.headers()["alt-svc"], alt_svc);
        assert_eq!(soon("an answer", over_tcp(running.site(), alpn, "/fail")).await.status(), 500);
    }
}

#[tokio::test]
async fn a_stop_finishes_what_is_under_way() {
    let running = start();
    let (requests, driver) = client(&running).await;
    let slow = tokio::spawn(ask(requests.clone(), Method::GET, "/slow", Bytes::new()));
    let h2 = tokio::spawn(over_tcp(running.site(), b"h2", "/slow"));
    let h1 = tokio::spawn(over_tcp(running.site(), b"http/1.1", "/slow"));
    tokio::time::sleep(Duration::from_millis(150)).await;
    running.handle.stop(Duration::from_secs(20));
    assert_eq!(soon("the answer", slow).await.unwrap().unwrap().body(), b"at last");
    for tcp in [h2, h1] {
        assert_eq!(soon("the answer over TCP", tcp).await.unwrap().body(), &b"at last"[..]);
    }
    drop(requests);
    soon("the client's end", driver).await.unwrap();
    let Running { task, .. } = running;
    soon("the server's end", task).await.unwrap();
}

/// A request that meets the stop is served, or refused if it is the first of its connection; and that at once: it
/// neither hangs until the server's time is up nor keeps the server from ending.
#[tokio::test]
async fn a_request_that_meets_the_stop_hears_of_it() {
    for round in 0..30 {
        let running = start();
        let (requests, driver) = client(&running).await;
        let is_first = round % 2 == 0;
        if !is_first {
            soon("an answer", ask(requests.clone(), Method::GET, "/", Bytes::new())).await.unwrap();
        }
        let request = tokio::spawn(ask(requests.clone(), Method::POST, "/", Bytes::from_static(b"late")));
        for _ in 0..round % 5 {
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
        running.handle.stop(10 * PATIENCE);
        match soon("an end of the request", request).await.unwrap() {
            Ok(answer) => assert_eq!(answer.body(), b"late"),
            // H3_REQUEST_REJECTED (RFC 9114 section 4.1.1): it may be sent again elsewhere.
            Err(error) => assert!(is_first && error.to_string().contains("REJECTED"), "{error}"),
        }
        drop(requests);
        soon("the client's end", driver).await.unwrap();
        soon("the server's end", running.task).await.unwrap();
    }
}

#[tokio::test]
async fn a_stop_does_not_wait_for_ever() {
    let running = start();
    let (requests, driver) = client(&running).await;
    let slow = tokio::spawn(ask(requests, Method::GET, "/slow", Bytes::new()));
    tokio::time::sleep(Duration::from_millis(50)).await;
    running.handle.stop(Duration::from_millis(20));
    let Running { task, .. } = running;
    soon("the server's end", task).await.unwrap();
    assert!(soon("the request's end", slow).await.unwrap().is_err());
    soon("the client's end", driver).await.unwrap();
}

#[tokio::test]
async fn the_certificate_can_be_changed() {
    let mut running = start();
    let (_, _driver) = client(&running).await;
    let (certificate, identity) = identity();
    running.handle.set_identity(&identity).unwrap();
    running.certificate = certificate;
    let (requests, _driver) = client(&running).await;
    assert!(soon("an answer", ask(requests, Method::GET, "/", Bytes::new())).await.is_ok());
    assert_eq!(soon("an answer", over_tcp(running.site(), b"h2", "/")).await.status(), 200);
}

/// What a client can do wrong ends its connection with the right code, and nobody else's.
#[tokio::test]
async fn a_client_that_breaks_rules_is_told_which() {
    let running = start();
    let trust = Trust::roots([running.certificate.clone()]).unwrap();
    let configuration = Configuration::client(&[ALPN], Settings::default(), trust).unwrap();
    let endpoint = Endpoint::client().unwrap();
    // RFC 9114 sections 6.2.1, 7.2 and RFC 9204 section 2.2; what is sent on which stream, and the code.
    let cases: [(&str, &[u8], &[u8], u64); 5] = [
        ("DATA on the control stream", &[0, 4, 0, 0, 1, 7], &[], 0x105),
        ("no SETTINGS first", &[0, 7, 1, 0], &[], 0x10a),
        ("SETTINGS twice", &[0, 4, 0, 4, 0], &[], 0x105),
        ("a frame of HTTP/2", &[0, 4, 0, 6, 0], &[], 0x105),
        ("QPACK that refers to nothing", &[0, 4, 0], &[1, 3, 0, 0, 0xff], 0x200),
    ];
    for (what, on_control, on_request, code) in cases {
        let connection = endpoint.connect(&configuration, running.address, "localhost").unwrap().await.unwrap();
        let mut stream = connection.open_uni().await.unwrap();
        stream.write_all(on_control).await.unwrap();
        let mut request = None;
        if !on_request.is_empty() {
            let (mut send, recv) = connection.open_bi().await.unwrap();
            send.write_all(on_request).await.unwrap();
            send.finish().unwrap();
            request = Some(recv);
        }
        let end = soon(what, connection.closed()).await;
        match end {
            tercel::CloseReason::PeerApplication { code: actual, .. } => {
                assert_eq!(actual.into_inner(), code, "{what}");
            }
            other => panic!("{what}: {other}"),
        }
        drop((stream, request));
    }
    let (requests, _driver) = client(&running).await;
    assert!(soon("an answer", ask(requests, Method::GET, "/", Bytes::new())).await.is_ok());
}

#[allow(dead_code)]
fn services_may_be_infallible(server: Server) -> impl Future {
    server.serve(service_fn(|_: Request<RequestBody>| async {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("hello")))
    }))
}
