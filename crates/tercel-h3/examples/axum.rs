//! An axum router over HTTP/3, and over HTTP/2 and HTTP/1.1 at the same port number, as browsers want it.
//!
//! `cargo run -p tercel-h3 --example axum` asks it over HTTP/3 and over TCP and ends;
//! `cargo run -p tercel-h3 --example axum -- '[::]:4433'` serves until Ctrl-C.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Extension, Path};
use axum::http::{Request, Version};
use axum::routing::{get, post};
use bytes::{Buf, Bytes};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use tercel::aio::Endpoint;
use tercel::{Configuration, Identity, Settings, Trust};
use tercel_h3::{ALPN, RemoteAddress, Server};
use tokio::net::TcpStream;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// An axum application as any other.
fn application() -> Router {
    Router::new()
        .route("/", get(async |version: Version| format!("welcome over {version:?}")))
        .route("/greet/{name}", get(async |Path(name): Path<String>| format!("hello, {name}")))
        .route("/length", post(async |body: Bytes| format!("{} bytes", body.len())))
        .route("/whoami", get(async |Extension(RemoteAddress(address))| format!("you are at {address}")))
}

#[tokio::main]
async fn main() -> Outcome<()> {
    // A certificate made on the spot; for a real one see Identity::from_files.
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()])?;
    let certificate = made.cert.der().clone();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let identity = Identity::new(vec![certificate.clone()], key.into())?;

    let stay: Option<SocketAddr> = std::env::args().nth(1).map(|address| address.parse()).transpose()?;
    let server = Server::bind(stay.unwrap_or(([127, 0, 0, 1], 0).into()), identity)?;
    let (address, handle) = (server.local_address(), server.handle());
    let serving = tokio::spawn(server.serve(application()));
    if stay.is_some() {
        println!("https://localhost:{}/", address.port());
        tokio::signal::ctrl_c().await?;
    } else {
        over_http3(address, certificate.clone()).await?;
        over_tcp(address, certificate).await?;
    }
    handle.stop(Duration::from_secs(5));
    serving.await??;
    println!("the server has finished what was under way");
    Ok(())
}

/// Asks by the h3 crate, everything at once over one connection.
async fn over_http3(address: SocketAddr, certificate: CertificateDer<'static>) -> Outcome<()> {
    let client = Configuration::client(&[ALPN], Settings::default(), Trust::roots([certificate])?)?;
    let endpoint = Endpoint::client()?;
    let connection = endpoint.connect(&client, address, "localhost")?.await?;
    let (mut driver, requests) = h3::client::new(tercel_h3::Connection::new(connection)).await?;
    let driving = tokio::spawn(async move { std::future::poll_fn(|context| driver.poll_close(context)).await });

    let get = |path| Request::get(format!("https://localhost{path}")).body(Bytes::new());
    let upload = Request::post("https://localhost/length").body(Bytes::from(vec![b'x'; 1_000_000]));
    let answers = tokio::try_join!(
        ask(requests.clone(), get("/")?),
        ask(requests.clone(), get("/greet/Ada")?),
        ask(requests.clone(), upload?),
        ask(requests.clone(), get("/whoami")?),
        ask(requests.clone(), get("/missing")?),
    )?;
    for answer in <[String; 5]>::from(answers) {
        println!("{answer}");
    }
    // The connection ends with the last handle that could ask.
    drop(requests);
    driving.await?;
    Ok(())
}

/// One request; gives its path, status and answer.
async fn ask(
    mut requests: h3::client::SendRequest<tercel_h3::Opener, Bytes>,
    request: Request<Bytes>,
) -> Outcome<String> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let mut stream = requests.send_request(Request::from_parts(head, ())).await?;
    // A server may stop a request that it need not read to its end; its answer counts all the same
    // (RFC 9114 section 4.1).
    if stream.send_data(body).await.is_ok() {
        let _ = stream.finish().await;
    }
    let status = stream.recv_response().await?.status().as_u16();
    let mut answer = Vec::new();
    while let Some(mut data) = stream.recv_data().await? {
        answer.extend_from_slice(&data.copy_to_bytes(data.remaining()));
    }
    Ok(format!("{path}: {status} {}", String::from_utf8(answer)?))
}

/// Asks as a browser that has not heard of HTTP/3 yet.
async fn over_tcp(address: SocketAddr, certificate: CertificateDer<'static>) -> Outcome<()> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost")?;
    let tcp = TcpStream::connect(address).await?;
    let stream = tokio_rustls::TlsConnector::from(Arc::new(tls)).connect(name, tcp).await?;
    let (mut requests, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::get("/").header("host", "localhost").body(Empty::<Bytes>::new())?;
    let response = requests.send_request(request).await?;
    let alternative = response.headers().get("alt-svc").ok_or("no word of HTTP/3")?.to_str()?.to_owned();
    let answer = response.into_body().collect().await?.to_bytes();
    println!("/ over TCP: {}, and alt-svc: {alternative}", String::from_utf8_lossy(&answer));
    Ok(())
}
