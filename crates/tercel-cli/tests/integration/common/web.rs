//! Servers that answer as a test wants: by a function, or byte by byte.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tercel::aio::{Connecting, Connection, Endpoint};
use tercel::{Configuration, Identity, Settings};
use tercel_h3::{RequestBody, Server, service_fn};
use tokio::runtime::Runtime;

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// A body that may fail or stall.
#[derive(Default)]
pub(crate) struct Pieces(VecDeque<Piece>);

#[derive(Clone)]
pub(crate) enum Piece {
    Data(Bytes),
    Fail,
    Stall,
    /// The next one comes when this is true.
    When(Arc<dyn Fn() -> bool + Send + Sync>),
}

impl Pieces {
    pub(crate) fn new(pieces: impl IntoIterator<Item = Piece>) -> Self {
        Self(pieces.into_iter().collect())
    }

    pub(crate) fn of(data: impl Into<Bytes>) -> Self {
        Self::new([Piece::Data(data.into())])
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(Piece::When(is_time)) = self.0.front() {
            if !is_time() {
                let waker = context.waker().clone();
                tokio::spawn(async move {
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                    waker.wake();
                });
                return Poll::Pending;
            }
            self.0.pop_front();
        }
        match self.0.pop_front() {
            Some(Piece::Data(data)) => Poll::Ready(Some(Ok(Frame::data(data)))),
            Some(Piece::Fail) => Poll::Ready(Some(Err(std::io::Error::other("broken off")))),
            Some(Piece::Stall | Piece::When(_)) => Poll::Pending,
            None => Poll::Ready(None),
        }
    }
}

/// A server in this process, ended with the test.
pub(crate) struct Web {
    pub(crate) port: u16,
    pub(crate) pin: String,
    pub(crate) seen: Arc<Mutex<Vec<Seen>>>,
    _runtime: Runtime,
}

fn identity() -> (Identity, String) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let identity = Identity::new(vec![made.cert.der().clone()], key.into()).unwrap();
    let pin = identity.fingerprint().iter().map(|byte| format!("{byte:02x}")).collect();
    (identity, pin)
}

impl Web {
    /// A web site whose answers `answer` makes of requests, and of how many came before.
    pub(crate) fn new<F>(answer: F) -> Self
    where
        F: Fn(&Seen, usize) -> Response<Pieces> + Send + Sync + 'static,
    {
        let runtime = Runtime::new().unwrap();
        let (identity, pin) = identity();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let (noted, answer) = (seen.clone(), Arc::new(answer));
        let port = runtime.block_on(async {
            let server = Server::bind("127.0.0.1:0".parse().unwrap(), identity).unwrap();
            let port = server.local_address().port();
            tokio::spawn(server.serve(service_fn(move |request: Request<RequestBody>| {
                let (noted, answer) = (noted.clone(), answer.clone());
                async move {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                    let path = head.uri.path_and_query().map_or_else(String::new, ToString::to_string);
                    let request = Seen { method: head.method, path, headers: head.headers, body };
                    let before = {
                        let mut noted = noted.lock().unwrap();
                        noted.push(request.clone());
                        noted.len() - 1
                    };
                    Ok::<_, Infallible>(answer(&request, before))
                }
            })));
            port
        });
        Self { port, pin, seen, _runtime: runtime }
    }

    /// A server that does with connections what it likes.
    pub(crate) fn raw<F, R>(alpn: &[&str], converse: F) -> Self
    where
        F: Fn(Connection) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let converse = Arc::new(converse);
        Self::taking(alpn, move |connecting| {
            let converse = converse.clone();
            tokio::spawn(async move {
                if let Ok(connection) = connecting.await {
                    converse(connection).await;
                }
            });
        })
    }

    /// A server that does so before their handshakes.
    fn taking(alpn: &[&str], take: impl Fn(Connecting) + Send + 'static) -> Self {
        let runtime = Runtime::new().unwrap();
        let (identity, pin) = identity();
        let port = runtime.block_on(async {
            let configuration = Configuration::server(alpn, Settings::default(), identity).unwrap();
            let endpoint = Endpoint::server(&configuration, "127.0.0.1:0".parse().unwrap()).unwrap();
            let port = endpoint.local_address().unwrap().port();
            tokio::spawn(async move {
                while let Some(incoming) = endpoint.accept().await {
                    if let Ok(connecting) = incoming.accept() {
                        take(connecting);
                    }
                }
            });
            port
        });
        Self { port, pin, seen: Arc::default(), _runtime: runtime }
    }

    /// A web site that reads requests before handshakes are complete, and answers with their paths.
    pub(crate) fn early() -> Self {
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let noted = seen.clone();
        let made = Self::taking(&["h3"], move |connecting| {
            tokio::spawn(answer_early(connecting.early(), noted.clone()));
        });
        Self { seen, ..made }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://localhost:{}/{path}", self.port)
    }

    /// `tercel get` of a path.
    pub(crate) fn get(&self, path: &str, more: &[&str]) -> std::process::Command {
        self.get_at(self.port, path, more)
    }

    /// The same by another port, which leads to this server.
    pub(crate) fn get_at(&self, port: u16, path: &str, more: &[&str]) -> std::process::Command {
        let mut get = super::tercel();
        get.arg("get").arg(format!("https://localhost:{port}/{path}")).args(["--pin", &self.pin]).args(more);
        get
    }

    /// The requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

/// Serves a connection whose handshake need not be complete.
async fn answer_early(early: Connection, noted: Arc<Mutex<Vec<Seen>>>) {
    let Ok(mut connection) = h3::server::Connection::new(tercel_h3::Connection::new(early)).await else { return };
    while let Ok(Some(request)) = connection.accept().await {
        let Ok((request, mut stream)) = request.resolve_request().await else { continue };
        let (head, ()) = request.into_parts();
        let path = head.uri.path().to_owned();
        noted.lock().unwrap().push(Seen {
            method: head.method,
            path: path.clone(),
            headers: head.headers,
            body: Bytes::new(),
        });
        let answer = async {
            stream.send_response(Response::new(())).await?;
            stream.send_data(Bytes::from(path)).await?;
            stream.finish().await
        };
        let _ = answer.await;
    }
}
