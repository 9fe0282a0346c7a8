//! The h3 crate over Tercel, at both ends and with quinn at the other.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::{HeaderMap, Request, Response, StatusCode};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tercel::aio::Endpoint;
use tercel::{Configuration, Identity, Settings, Trust};
use tercel_h3::ALPN;

const PATIENCE: Duration = Duration::from_secs(30);

struct Certificate {
    der: CertificateDer<'static>,
    key: Vec<u8>,
}

impl Certificate {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        Self { der: made.cert.der().clone(), key: made.signing_key.serialize_der() }
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.clone()).into()
    }

    fn server(&self) -> Configuration {
        let identity = Identity::new(vec![self.der.clone()], self.key()).unwrap();
        Configuration::server(&[ALPN], Settings::default(), identity).unwrap()
    }

    fn client(&self) -> Configuration {
        Configuration::client(&[ALPN], Settings::default(), Trust::roots([self.der.clone()]).unwrap()).unwrap()
    }
}

/// Answers with the body that came, and says in a trailer how long it was; `/huge` is as long as asked.
async fn answer<C>(connection: C)
where
    C: h3::quic::Connection<Bytes> + 'static,
    C::BidiStream: h3::quic::BidiStream<Bytes> + Send + 'static,
    <C::BidiStream as h3::quic::BidiStream<Bytes>>::SendStream: Send,
    <C::BidiStream as h3::quic::BidiStream<Bytes>>::RecvStream: Send,
    C::SendStream: Send,
    C::RecvStream: Send,
    C::OpenStreams: Send,
{
    let mut connection = h3::server::Connection::new(connection).await.unwrap();
    while let Ok(Some(resolver)) = connection.accept().await {
        tokio::spawn(async move {
            let (request, mut stream) = resolver.resolve_request().await.unwrap();
            let mut body = Vec::new();
            while let Some(mut data) = stream.recv_data().await.unwrap() {
                body.extend_from_slice(&data.copy_to_bytes(data.remaining()));
            }
            if request.uri().path() == "/none" {
                let response = Response::builder().status(StatusCode::NOT_FOUND).body(()).unwrap();
                stream.send_response(response).await.unwrap();
                return stream.finish().await.unwrap();
            }
            let response = Response::builder().header("x-path", request.uri().path()).body(()).unwrap();
            stream.send_response(response).await.unwrap();
            let len = body.len();
            stream.send_data(Bytes::from(body)).await.unwrap();
            let mut trailers = HeaderMap::new();
            trailers.insert("x-len", len.into());
            stream.send_trailers(trailers).await.unwrap();
        });
    }
}

/// What a client asks: a few requests at once, with bodies and without, small and large.
async fn ask<C, O>(connection: C)
where
    C: h3::quic::Connection<Bytes, OpenStreams = O> + Send + 'static,
    C::SendStream: Send,
    C::RecvStream: Send,
    C::BidiStream: Send,
    O: h3::quic::OpenStreams<Bytes> + Clone + Send + 'static,
    O::BidiStream: h3::quic::BidiStream<Bytes> + Send,
{
    let (mut driver, mut requests) = h3::client::new(connection).await.unwrap();
    let driver = tokio::spawn(async move { std::future::poll_fn(|context| driver.poll_close(context)).await });
    for (path, len) in [("/a", 0), ("/b", 1), ("/c", 100_000), ("/d", 5 << 20)] {
        let request = Request::post(format!("https://localhost{path}")).body(()).unwrap();
        let mut stream = requests.send_request(request).await.unwrap();
        let body: Bytes = (0..len).map(|at: usize| ((at * 31) >> 3) as u8).collect();
        stream.send_data(body.clone()).await.unwrap();
        stream.finish().await.unwrap();
        let response = stream.recv_response().await.unwrap();
        assert_eq!((response.status(), response.headers()["x-path"].to_str().unwrap()), (StatusCode::OK, path));
        let mut back = Vec::new();
        while let Some(mut data) = stream.recv_data().await.unwrap() {
            back.extend_from_slice(&data.copy_to_bytes(data.remaining()));
        }
        assert!(back == body, "{path}");
        let trailers = stream.recv_trailers().await.unwrap().unwrap();
        assert_eq!(trailers["x-len"], len.to_string());
    }
    let request = Request::get("https://localhost/none").body(()).unwrap();
    let mut stream = requests.send_request(request).await.unwrap();
    stream.finish().await.unwrap();
    assert_eq!(stream.recv_response().await.unwrap().status(), StatusCode::NOT_FOUND);
    drop((stream, requests));
    let end = driver.await.unwrap();
    assert!(end.is_h3_no_error(), "{end}");
}

async fn soon(what: &str, future: impl Future<Output = ()>) {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("too late: {what}"));
}

fn tercel_server(certificate: &Certificate) -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let endpoint = Endpoint::server(&certificate.server(), "127.0.0.1:0".parse().unwrap()).unwrap();
    let address = endpoint.local_address().unwrap();
    let task = tokio::spawn(async move {
        let connection = endpoint.accept().await.unwrap().accept().unwrap().await.unwrap();
        answer(tercel_h3::Connection::new(connection)).await;
    });
    (address, task)
}

async fn tercel_client(certificate: &Certificate, address: SocketAddr) {
    let endpoint = Endpoint::client().unwrap();
    let connection = endpoint.connect(&certificate.client(), address, "localhost").unwrap().await.unwrap();
    ask(tercel_h3::Connection::new(connection)).await;
}

#[tokio::test]
async fn both_ends() {
    let certificate = Certificate::new();
    let (address, server) = tercel_server(&certificate);
    soon("the client", tercel_client(&certificate, address)).await;
    soon("the server", async { server.await.unwrap() }).await;
}

#[tokio::test]
async fn a_client_of_quinn() {
    let certificate = Certificate::new();
    let (address, server) = tercel_server(&certificate);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.der.clone()).unwrap();
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let config = quinn::crypto::rustls::QuicClientConfig::try_from(tls).unwrap();
    let mut endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(config)));
    let connection = endpoint.connect(address, "localhost").unwrap().await.unwrap();
    soon("the client", ask(h3_quinn::Connection::new(connection))).await;
    soon("the server", async { server.await.unwrap() }).await;
}

#[tokio::test]
async fn a_server_of_quinn() {
    let certificate = Certificate::new();
    let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der.clone()], certificate.key())
        .unwrap();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let config = quinn::crypto::rustls::QuicServerConfig::try_from(tls).unwrap();
    let endpoint =
        quinn::Endpoint::server(quinn::ServerConfig::with_crypto(Arc::new(config)), "127.0.0.1:0".parse().unwrap());
    let endpoint = endpoint.unwrap();
    let address = endpoint.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let connection = endpoint.accept().await.unwrap().await.unwrap();
        answer(h3_quinn::Connection::new(connection)).await;
    });
    soon("the client", tercel_client(&certificate, address)).await;
    soon("the server", async { server.await.unwrap() }).await;
}
