//! A certificate that another service judges: the client asks it by HTTP, and the handshake waits for
//! the answer without holding up a thread.
//!
//! `cargo run -p tercel --example verdict_by_http`
//!
//! Three servers are visited: one that the service knows, one that it does not know, and one about
//! which it thinks for so long that the client closes while the question is out.

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use http_body_util::Full;
use hyper::body::Incoming as Body;
use hyper::{Request, Response, StatusCode};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::PrivatePkcs8KeyDer;
use tercel::aio::{Connection, Endpoint};
use tercel::{Alert, Bytes, Configuration, Identity, PeerCertificate, Settings, Trust, Verdict};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let (known, unknown, doubtful) = (identity()?, identity()?, identity()?);
    let (tell, mut told) = mpsc::unbounded_channel();
    let opinions = Opinions { known: known.fingerprint(), doubtful: doubtful.fingerprint(), tell };
    let judge =
        Judge { service: start_service(opinions).await?, http: Client::builder(TokioExecutor::new()).build_http() };

    // Trust::application() leaves the judgement to us, and the verifier is who judges.
    let client = Configuration::client(&["example"], Settings::default(), Trust::application())?;
    let client = client.judged_by(move |certificate| {
        let judge = judge.clone();
        async move { judge.verdict(certificate).await }
    });
    let endpoint = Endpoint::client()?;

    let (address, _) = start_server(known)?;
    let connection = endpoint.connect(&client, address, "localhost")?.await?;
    println!("a known server: connected");
    connection.shutdown(0u32.into(), b"").await;

    let (address, mut fate) = start_server(unknown)?;
    if let Err(error) = endpoint.connect(&client, address, "localhost")?.await {
        println!("an unknown server: {error}");
        println!("  the server learnt: {}", fate.recv().await.unwrap_or_default());
    }

    let (address, mut fate) = start_server(doubtful)?;
    let connecting = endpoint.connect(&client, address, "localhost")?;
    let early: Connection = connecting.early();
    let connecting = tokio::spawn(connecting);
    println!("a doubtful server: {}", told.recv().await.unwrap_or_default());
    early.close(7u32.into(), b"nobody waits that long");
    // All three learn of it at once: this future, the server, and the service that still thinks.
    if let Err(error) = connecting.await? {
        println!("  the client: {error}");
    }
    println!("  the server learnt: {}", fate.recv().await.unwrap_or_default());
    println!("  the service learnt: {}", told.recv().await.unwrap_or_default());
    Ok(())
}

/// Client: asks the service about certificates.
#[derive(Clone)]
struct Judge {
    service: SocketAddr,
    http: Client<HttpConnector, Full<Bytes>>,
}

impl Judge {
    /// Who cannot be asked about is not trusted.
    async fn verdict(&self, certificate: PeerCertificate) -> Verdict {
        match self.ask(&certificate).await {
            Ok(true) => Verdict::Accept,
            Ok(false) => Verdict::Reject(Alert::ACCESS_DENIED),
            Err(_) => Verdict::Reject(Alert::CERTIFICATE_UNKNOWN),
        }
    }

    /// When the connection has no more need of the answer this future is dropped, and with it the
    /// request.
    async fn ask(&self, certificate: &PeerCertificate) -> Outcome<bool> {
        let fingerprint: String = certificate.fingerprint().iter().map(|byte| format!("{byte:02x}")).collect();
        let question = Request::post(format!("http://{}/certificates/{fingerprint}", self.service))
            .body(Full::from(Bytes::copy_from_slice(certificate.leaf())))?;
        Ok(self.http.request(question).await?.status() == StatusCode::OK)
    }
}

/// What the service thinks of certificates, by their fingerprints.
struct Opinions {
    known: [u8; 32],
    doubtful: [u8; 32],
    tell: mpsc::UnboundedSender<String>,
}

/// The service: answers 200 for yes and 403 for no.
async fn start_service(opinions: Opinions) -> Outcome<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (address, opinions) = (listener.local_addr()?, Arc::new(opinions));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let opinions = opinions.clone();
            let answer = hyper::service::service_fn(move |request| answer(request, opinions.clone()));
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
        }
    });
    Ok(address)
}

async fn answer(request: Request<Body>, opinions: Arc<Opinions>) -> Result<Response<Full<Bytes>>, Infallible> {
    let is = |fingerprint: [u8; 32]| {
        let fingerprint: String = fingerprint.iter().map(|byte| format!("{byte:02x}")).collect();
        request.uri().path() == format!("/certificates/{fingerprint}")
    };
    if is(opinions.doubtful) {
        let _told_when_dropped = Thinking(opinions.tell.clone());
        let _ = opinions.tell.send("the service thinks".into());
        std::future::pending::<()>().await;
    }
    let mut response = Response::new(Full::default());
    if !is(opinions.known) {
        *response.status_mut() = StatusCode::FORBIDDEN;
    }
    Ok(response)
}

/// A question that the service works on. It is dropped when whoever asked has gone.
struct Thinking(mpsc::UnboundedSender<String>);

impl Drop for Thinking {
    fn drop(&mut self) {
        let _ = self.0.send("whoever asked has gone".into());
    }
}

/// A QUIC server. What comes out of the channel is how its connection ended.
fn start_server(identity: Identity) -> Outcome<(SocketAddr, mpsc::UnboundedReceiver<String>)> {
    let (tell, fate) = mpsc::unbounded_channel();
    let server = Configuration::server(&["example"], Settings::default(), identity)?;
    let server = Endpoint::server(&server, "127.0.0.1:0".parse()?)?;
    let address = server.local_address().ok_or("the server listens nowhere")?;
    tokio::spawn(async move {
        let connecting = server.accept().await?.accept().ok()?;
        let end = match connecting.await {
            Ok(connection) => connection.closed().await.to_string(),
            Err(error) => error.to_string(),
        };
        tell.send(end).ok()
    });
    Ok((address, fate))
}

/// A certificate made on the spot.
fn identity() -> Outcome<Identity> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()])?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    Ok(Identity::new(vec![made.cert.der().clone()], key.into())?)
}
