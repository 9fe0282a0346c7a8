//! HTTP/1.1 and HTTP/2 over TLS and TCP: how browsers come, until they are told of HTTP/3.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::ALT_SVC;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{Either, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tower_service::Service;

use super::{RemoteAddress, Shared, ask, told};
use crate::body::{BoxError, RequestBody};

/// How long nobody is accepted after the system had no more room for sockets.
const RESPITE: Duration = Duration::from_millis(100);

/// Takes connections until the server stops.
pub(super) async fn accept<S, B>(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    port: u16,
    service: S,
    shared: Shared,
) where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let acceptor = TlsAcceptor::from(tls);
    let room = Arc::new(Semaphore::new(shared.limits.max_tcp_connections));
    let alt_svc = HeaderValue::try_from(format!("h3=\":{port}\"; ma=86400")).ok();
    let mut stop = shared.stop.clone();
    loop {
        let accepted = tokio::select! {
            accepted = async {
                let permit = room.clone().acquire_owned().await;
                (listener.accept().await, permit)
            } => accepted,
            () = told(&mut stop) => return,
        };
        match accepted {
            (Ok((stream, remote)), permit) => {
                let (acceptor, service, shared) = (acceptor.clone(), service.clone(), shared.clone());
                let alt_svc = alt_svc.clone();
                tokio::spawn(async move {
                    serve((stream, RemoteAddress(remote)), acceptor, alt_svc, service, shared).await;
                    drop(permit);
                });
            }
            (Err(error), _) => {
                tracing::warn!(%error, "cannot accept a TCP connection");
                tokio::time::sleep(RESPITE).await;
            }
        }
    }
}

async fn serve<S, B>(
    (stream, remote): (TcpStream, RemoteAddress),
    acceptor: TlsAcceptor,
    alt_svc: Option<HeaderValue>,
    service: S,
    shared: Shared,
) where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    // Small answers must not wait for more.
    let _ = stream.set_nodelay(true);
    let stream = match tokio::time::timeout(shared.limits.patience, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => return tracing::debug!("a TLS handshake took too long"),
    };
    let answer = hyper::service::service_fn(move |mut request: Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(remote);
        let (service, alt_svc) = (service.clone(), alt_svc.clone());
        async move {
            let mut response = match ask(service, request.map(RequestBody::tcp)).await {
                Ok(response) => response.map(Either::Left),
                Err(error) => {
                    tracing::error!(error, "a service failed");
                    let mut response = Response::new(Either::Right(Empty::<Bytes>::new()));
                    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                    response
                }
            };
            if let Some(alt_svc) = alt_svc {
                response.headers_mut().entry(ALT_SVC).or_insert(alt_svc);
            }
            Ok::<_, Infallible>(response)
        }
    });
    let max_header = usize::try_from(shared.limits.max_header_size).unwrap_or(usize::MAX);
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(shared.limits.patience)
        .max_buf_size(max_header.max(16 << 10));
    builder.http2().timer(TokioTimer::new()).max_header_list_size(u32::try_from(max_header).unwrap_or(u32::MAX));
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), answer));
    let mut stop = shared.stop.clone();
    let mut stopping = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(error, "a TCP connection has ended");
                }
                return;
            }
            () = told(&mut stop), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}
