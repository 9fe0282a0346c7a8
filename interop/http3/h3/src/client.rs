//! A client by h3, over whatever h3 goes over.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes};
use futures_util::{StreamExt as _, stream};
use h3::client::SendRequest;
use h3::quic::{Connection, OpenStreams};
use http::{HeaderMap, HeaderValue, Request};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};

use crate::Outcome;
use crate::plan::{self, Ask};

/// The name under which the trailer goes.
pub const TRAILER: &str = "x-trailer";

/// A hash as it is printed.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Asks for everything in the plan over one connection, and prints what came.
pub async fn run<C>(connection: C, port: u16, plan: &str, parallel: usize) -> Outcome
where
    C: Connection<Bytes>,
    C::OpenStreams: Clone,
{
    let asks = plan::read(plan)?;
    let (mut driver, requests) = h3::client::new(connection).await?;
    let started = Instant::now();
    let all = stream::iter(asks.iter().enumerate())
        .map(|(at, ask)| {
            let requests = requests.clone();
            async move { (at, exchange(requests, port, ask).await.unwrap_or_else(|error| format!("error {error}"))) }
        })
        .buffer_unordered(parallel)
        .collect::<Vec<_>>();
    // What is under way ends by itself when the connection does; the driver must not end it before.
    let end = async {
        std::future::poll_fn(|context| driver.poll_close(context)).await;
        std::future::pending::<()>().await;
    };
    let mut results = tokio::select! {
        results = all => results,
        () = end => unreachable!("it is pending for ever"),
    };
    let time = started.elapsed();
    results.sort_unstable();
    let lines: String = results.into_iter().map(|(_, line)| line + "\n").collect();
    println!("{lines}done {:.3}", time.as_secs_f64());
    Ok(())
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn exchange<O>(mut requests: SendRequest<O, Bytes>, port: u16, ask: &Ask) -> Result<String, Failure>
where
    O: OpenStreams<Bytes> + Clone,
{
    let mut request = Request::builder().method(&ask.method).uri(format!("https://localhost:{port}{}", ask.path));
    if let Some(range) = &ask.range {
        request = request.header("range", format!("bytes={range}"));
    }
    if let Some(body) = &ask.body {
        request = request.header("content-length", body.len());
    }
    let mut stream = requests.send_request(request.body(())?).await?;
    // A server that wants no more of a request answers it nevertheless.
    let _ = async {
        if let Some(mut body) = ask.body.clone() {
            if ask.half {
                stream.send_data(body.split_to(body.len() / 2)).await?;
                println!("half");
                goaway(&mut requests, port).await;
            }
            stream.send_data(body).await?;
        }
        if let Some(trailer) = &ask.trailer {
            let trailer = HeaderValue::from_str(trailer).expect("a value");
            stream.send_trailers(HeaderMap::from_iter([(TRAILER.parse().expect("a name"), trailer)])).await?;
        }
        stream.finish().await
    }
    .await;
    let response = stream.recv_response().await?;
    let (mut hash, mut len) = (Sha256::new(), 0);
    while let Some(mut data) = stream.recv_data().await? {
        let data = data.copy_to_bytes(data.remaining());
        len += data.len();
        hash.update(&data);
    }
    let trailers = stream.recv_trailers().await?.unwrap_or_default();
    let trailer = trailers.get(TRAILER).map_or("-", |trailer| trailer.to_str().unwrap_or("?"));
    Ok(format!("{} {len} {} {trailer}", response.status().as_u16(), hex(&hash.finalize())))
}

/// Waits until the server has sent GOAWAY: h3 tells it by refusing to ask for more.
async fn goaway<O: OpenStreams<Bytes>>(requests: &mut SendRequest<O, Bytes>, port: u16) {
    loop {
        let request = Request::head(format!("https://localhost:{port}/one")).body(()).expect("a request");
        let Ok(mut probe) = requests.send_request(request).await else { return };
        let _ = probe.finish().await;
        let _ = probe.recv_response().await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Over quinn.
pub async fn over_quinn(port: u16, ca: &str, plan: &str, parallel: usize) -> Outcome {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca)?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let mut config = quinn::ClientConfig::new(Arc::new(quinn::crypto::rustls::QuicClientConfig::try_from(tls)?));
    config.transport_config(transport("client")?);
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse()?)?;
    let connection = endpoint.connect_with(config, ([127, 0, 0, 1], port).into(), "localhost")?.await?;
    run(h3_quinn::Connection::new(connection.clone()), port, plan, parallel).await?;
    connection.close(0x100u32.into(), b"");
    endpoint.wait_idle().await;
    Ok(())
}

/// With a qlog file if one is wanted.
pub fn transport(role: &str) -> Result<Arc<quinn::TransportConfig>, Failure> {
    let mut transport = quinn::TransportConfig::default();
    if let Some(directory) = std::env::var_os("QLOGDIR").filter(|directory| !directory.is_empty()) {
        let name = format!("quinn-{role}-{}.sqlog", std::process::id());
        let file = std::fs::File::create(std::path::Path::new(&directory).join(name))?;
        let mut qlog = quinn::QlogConfig::default();
        qlog.writer(Box::new(std::io::LineWriter::new(file))).title(Some(format!("quinn, {role}")));
        transport.qlog_stream(qlog.into_stream());
    }
    Ok(Arc::new(transport))
}
