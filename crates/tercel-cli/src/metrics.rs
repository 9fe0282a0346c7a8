//! `--metrics`: what the program does, for Prometheus to fetch.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tercel::Bytes;
use tokio::net::TcpListener;

use crate::failure::{Doing as _, Outcome};

/// Upper bounds for times in seconds: from round trips within a rack to a person's patience.
const SECONDS: [f64; 14] = [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0, 3.0, 10.0, 30.0];

/// How often samples are sorted into their buckets: else they would gather until somebody asks.
const UPKEEP: Duration = Duration::from_secs(5);

/// How long a client may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(10);

/// Answers at `http://address/metrics` from now on; gives the address. To be called before registrations
/// are made: they tell the recorder that they find.
pub(crate) async fn serve(address: SocketAddr) -> Outcome<SocketAddr> {
    let doing = || format!("cannot serve metrics on {address}");
    let listener = TcpListener::bind(address).await.doing(doing)?;
    let bound = listener.local_addr().doing(doing)?;
    let figures = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)
        .and_then(PrometheusBuilder::install_recorder)
        .doing(doing)?;
    let upkeep = figures.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP).await;
            upkeep.run_upkeep();
        }
    });
    tokio::spawn(accept(listener, figures));
    Ok(bound)
}

async fn accept(listener: TcpListener, figures: PrometheusHandle) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection for metrics");
                // Most likely there are too many open files, and soon fewer.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let figures = figures.clone();
        tokio::spawn(async move {
            let answer = hyper::service::service_fn(move |request| {
                let answer = answer(&request, &figures);
                async move { Ok::<_, Infallible>(answer) }
            });
            let serving = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .serve_connection(TokioIo::new(stream), answer);
            if let Err(error) = serving.await {
                tracing::debug!(%error, "a connection for metrics has ended");
            }
        });
    }
}

fn answer(request: &Request<Incoming>, figures: &PrometheusHandle) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    if request.uri().path() != "/metrics" {
        *response.status_mut() = StatusCode::NOT_FOUND;
    } else if matches!(*request.method(), Method::GET | Method::HEAD) {
        // As the text format of Prometheus is called.
        const TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4");
        response.headers_mut().insert(CONTENT_TYPE, TEXT);
        *response.body_mut() = figures.render().into();
    } else {
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}
