//! A web server of a tower service: HTTP/3, and HTTP/1.1 and HTTP/2 over TCP at the same port number,
//! which tell browsers of HTTP/3 by `Alt-Svc` (RFC 7838).

mod http3;
mod measured;
mod tcp;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use tercel::aio::{self, Endpoint};
use tercel::{Configuration, Error, Identity, Registration, RegistrationConfig, Settings};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tower_service::Service;

use crate::body::{BoxError, RequestBody};
use crate::webtransport::{Handler, SessionRequest};

/// What a server bears.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Limits {
    /// The largest header section of a request, in bytes as RFC 9114 section 4.2.2 counts. Default
    /// 65,536.
    pub max_header_size: u64,
    /// How long a client over TCP may take for its TLS handshake, and for a header. Default 15 seconds.
    pub patience: Duration,
    /// How many TCP connections there may be at once; more wait to be accepted. Default 10,000.
    pub max_tcp_connections: usize,
    /// How many sessions of WebTransport a connection may have at once; more are answered with status
    /// 429. Default 16.
    pub max_sessions: u64,
    /// How many datagrams of a session may wait to be read; beyond, the oldest are dropped. Default 1,024.
    pub max_unread_datagrams: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_header_size: 65_536,
            patience: Duration::from_secs(15),
            max_tcp_connections: 10_000,
            max_sessions: 16,
            max_unread_datagrams: 1024,
        }
    }
}

/// A web server that is bound, and does not serve yet.
///
/// An axum router, until Ctrl-C:
///
/// ```no_run
/// use std::time::Duration;
/// use axum::{Router, routing::get};
/// use tercel::Identity;
/// use tercel_h3::Server;
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let router = Router::new().route("/", get(async || "hello over HTTP/3, and over TCP"));
/// let server = Server::bind("[::]:443".parse()?, Identity::from_files("chain.pem", "key.pem")?)?;
/// let handle = server.handle();
/// tokio::spawn(async move {
///     let _ = tokio::signal::ctrl_c().await;
///     handle.stop(Duration::from_secs(10)); // finishes what is under way
/// });
/// server.serve(router).await?;
/// # Ok(())
/// # }
/// ```
///
/// With settings of one's own, more kinds of connections and sessions of WebTransport:
///
/// ```no_run
/// use tercel::{Configuration, RegistrationConfig, Settings};
/// use tercel_h3::{ALPN, Server};
///
/// # async fn run(identity: tercel::Identity) -> Result<(), Box<dyn std::error::Error>> {
/// let settings = Settings { max_bidi_streams: 1000, max_datagram_size: 65_535, ..Settings::default() };
/// let configuration = Configuration::server(&[ALPN, b"chat"], settings, identity)?;
/// let server = Server::with_configuration("[::]:443".parse()?, &configuration, RegistrationConfig::default())?
///     .other_protocols(|chat| println!("somebody at {} wants to chat", chat.remote_address()))
///     .webtransport(async |request| request.reject(http::StatusCode::NOT_FOUND));
/// # Ok(())
/// # }
/// ```
pub struct Server {
    configuration: Configuration,
    endpoint: Endpoint,
    tcp: std::net::TcpListener,
    address: SocketAddr,
    limits: Limits,
    others: Option<Others>,
    sessions: Option<Handler>,
    stop: Arc<watch::Sender<Option<Duration>>>,
}

/// Who serves connections of other protocols than HTTP/3.
type Others = Arc<dyn Fn(aio::Connection) + Send + Sync>;

/// Where the client of a request is; in the request's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemoteAddress(pub SocketAddr);

/// Stops a server, and changes its certificate.
#[derive(Debug, Clone)]
pub struct Handle {
    stop: Arc<watch::Sender<Option<Duration>>>,
    configuration: Configuration,
}

impl Handle {
    /// Takes no more connections and requests, finishes those that are under way, and ends what is left
    /// after `within`. What a client of HTTP/3 sent before it heard of this counts as under way, so that a stop
    /// loses no request; a connection is kept for two round trips and a tenth of a second for that. Called again it
    /// sets the time anew.
    pub fn stop(&self, within: Duration) {
        self.stop.send_replace(Some(within));
    }

    /// Shows another certificate to clients that come from now on.
    ///
    /// # Errors
    /// See [`Configuration::set_identity`].
    pub fn set_identity(&self, identity: &Identity) -> Result<(), Error> {
        self.configuration.set_identity(identity)
    }
}

/// What the connections of a server share.
#[derive(Clone)]
struct Shared {
    limits: Limits,
    others: Option<Others>,
    sessions: Option<Handler>,
    /// Set when the server is to stop, to how long it may take.
    stop: watch::Receiver<Option<Duration>>,
    /// Held by whatever must end before the server has ended.
    _alive: mpsc::Sender<()>,
}

impl Server {
    /// Binds to `address` for UDP and TCP, showing `identity`. Port 0 chooses one that is free for both.
    ///
    /// # Errors
    /// The address cannot be bound, or TLS cannot use the identity.
    pub fn bind(address: SocketAddr, identity: Identity) -> Result<Self, Error> {
        let settings = Settings { max_datagram_size: 65_535, ..Settings::default() };
        let configuration = Configuration::server(&[crate::ALPN], settings, identity)?;
        Self::with_configuration(address, &configuration, RegistrationConfig::default())
    }

    /// The same with a configuration, whose protocol should be [`ALPN`](crate::ALPN), and so many workers.
    ///
    /// # Errors
    /// As for [`bind`](Self::bind).
    pub fn with_configuration(
        address: SocketAddr,
        configuration: &Configuration,
        registration: RegistrationConfig,
    ) -> Result<Self, Error> {
        /// A port that is free for UDP may be taken for TCP.
        const ATTEMPTS: usize = 20;
        measured::describe();
        let registration = Registration::new(registration)?;
        let mut attempt = 1;
        loop {
            let endpoint = Endpoint::of(registration.clone()).listen(configuration, address)?;
            let bound = endpoint.local_address().ok_or(Error::Closed)?;
            match std::net::TcpListener::bind(bound) {
                Ok(tcp) => {
                    let (stop, configuration) = (Arc::new(watch::channel(None).0), configuration.clone());
                    return Ok(Self {
                        configuration,
                        endpoint,
                        tcp,
                        address: bound,
                        limits: Limits::default(),
                        others: None,
                        sessions: None,
                        stop,
                    });
                }
                Err(_) if address.port() == 0 && attempt < ATTEMPTS => attempt += 1,
                Err(error) => return Err(Error::io(format!("cannot listen at {bound} over TCP"), error)),
            }
        }
    }

    /// With other limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Gives connections whose application protocol is not [`ALPN`](crate::ALPN) to `serve`, which should
    /// not block. Without it they are closed.
    #[must_use]
    pub fn other_protocols(mut self, serve: impl Fn(aio::Connection) + Send + Sync + 'static) -> Self {
        self.others = Some(Arc::new(serve));
        self
    }

    /// Takes sessions of [WebTransport](crate::webtransport), which `handler` accepts or rejects, and
    /// serves: a task for each. The configuration must take datagrams
    /// ([`Settings::max_datagram_size`]), as that of [`bind`](Self::bind) does.
    ///
    /// A request that the handler drops without an answer is rejected with status 404.
    #[must_use]
    pub fn webtransport<F, R>(mut self, handler: F) -> Self
    where
        F: Fn(SessionRequest) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        self.sessions = Some(Arc::new(move |request| Box::pin(handler(request))));
        self
    }

    /// The address that it is bound to.
    pub const fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// By which it can be stopped, and its certificate changed.
    pub fn handle(&self) -> Handle {
        Handle { stop: self.stop.clone(), configuration: self.configuration.clone() }
    }

    /// Serves until it is [stopped](Handle::stop). Each request is a task of its own; an error of the
    /// service is answered with status 500.
    ///
    /// Requests in early data (0-RTT) wait until the handshake is complete, which a replay never is.
    ///
    /// # Errors
    /// The TCP socket cannot be used.
    pub async fn serve<S, B>(self, service: S) -> Result<(), Error>
    where
        S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let unusable = |error| Error::io("cannot listen over TCP", error);
        self.tcp.set_nonblocking(true).map_err(unusable)?;
        let tcp = TcpListener::from_std(self.tcp).map_err(unusable)?;
        let tls = self.configuration.tls_over_tcp(&["h2", "http/1.1"])?;
        let (alive, mut all_gone) = mpsc::channel(1);
        let shared = Shared {
            limits: self.limits,
            others: self.others,
            sessions: self.sessions,
            stop: self.stop.subscribe(),
            _alive: alive,
        };
        let mut stop = shared.stop.clone();
        tokio::spawn(http3::accept(self.endpoint.clone(), service.clone(), shared.clone()));
        tokio::spawn(tcp::accept(tcp, tls, self.address.port(), service, shared));
        told(&mut stop).await;
        loop {
            let within = stop.borrow_and_update().unwrap_or_default();
            tokio::select! {
                _ = all_gone.recv() => break,
                () = tokio::time::sleep(within) => break,
                _ = stop.changed() => {}
            }
        }
        self.endpoint.close(H3_NO_ERROR.into());
        Ok(())
    }
}

/// Waits until the server is to stop.
pub(crate) async fn told(stop: &mut watch::Receiver<Option<Duration>>) {
    // The sender lives as long as the server.
    let _ = stop.wait_for(Option::is_some).await;
}

/// RFC 9114 section 8.1.
const H3_NO_ERROR: u32 = 0x100;

/// RFC 9114 section 8.1.
const H3_REQUEST_REJECTED: u32 = 0x10b;

/// The answer of a service, once it is ready to be asked.
async fn ask<S, B>(mut service: S, request: Request<RequestBody>) -> Result<Response<B>, BoxError>
where
    S: Service<Request<RequestBody>, Response = Response<B>>,
    S::Error: Into<BoxError>,
{
    let measured = measured::Measured::begin(&request);
    std::future::poll_fn(|context| service.poll_ready(context)).await.map_err(Into::into)?;
    let answer = service.call(request).await.map_err(Into::into);
    measured.end(answer.as_ref().map_or(StatusCode::INTERNAL_SERVER_ERROR, Response::status));
    answer
}

/// A service made of a function.
#[derive(Debug, Clone, Copy)]
pub struct ServiceFn<F>(F);

/// A service made of a function from a request to a future of a response.
pub const fn service_fn<F>(function: F) -> ServiceFn<F> {
    ServiceFn(function)
}

impl<F, R, T, E> Service<Request<RequestBody>> for ServiceFn<F>
where
    F: FnMut(Request<RequestBody>) -> R,
    R: Future<Output = Result<T, E>>,
{
    type Response = T;
    type Error = E;
    type Future = R;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), E>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody>) -> R {
        (self.0)(request)
    }
}
