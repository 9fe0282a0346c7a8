//! A server by h3 over quinn.

use std::path::Path;
use std::sync::Arc;

use bytes::{Buf as _, Bytes, BytesMut};
use h3::server::{RequestResolver, RequestStream};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::{mpsc, oneshot};

use crate::Outcome;
use crate::client::transport;
use crate::site;

/// Serves a directory until the process ends.
pub async fn over_quinn(directory: &str, certificate: &str, key: &str) -> Outcome {
    let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<_, _>>()?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let tls = quinn::crypto::rustls::QuicServerConfig::try_from(tls)?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(tls));
    config.transport_config(transport("server")?);
    let endpoint = quinn::Endpoint::server(config, "127.0.0.1:0".parse()?)?;
    println!("listening {}", endpoint.local_addr()?.port());
    while let Some(incoming) = endpoint.accept().await {
        let directory = directory.to_owned();
        tokio::spawn(async move {
            if let Err(error) = serve(incoming, &directory).await {
                eprintln!("{error}");
            }
        });
    }
    Ok(())
}

async fn serve(incoming: quinn::Incoming, directory: &str) -> Outcome {
    let transport = incoming.await?;
    println!("connection");
    let mut connection = h3::server::Connection::new(h3_quinn::Connection::new(transport.clone())).await?;
    let (leave, mut leaving) = mpsc::channel::<oneshot::Sender<()>>(1);
    loop {
        tokio::select! {
            accepted = connection.accept() => {
                let Some(resolver) = accepted? else { break };
                let (leave, directory) = (leave.clone(), directory.to_owned());
                tokio::spawn(async move {
                    if let Err(error) = exchange(resolver, Path::new(&directory), leave).await {
                        eprintln!("{error}");
                    }
                });
            }
            Some(said) = leaving.recv() => {
                // One beyond the latest: that one is served.
                connection.shutdown(1).await?;
                let _ = said.send(());
            }
        }
    }
    // h3 closes when it is dropped, and with that what has not arrived yet would be lost.
    transport.closed().await;
    Ok(())
}

async fn exchange(
    resolver: RequestResolver<h3_quinn::Connection, Bytes>,
    directory: &Path,
    leave: mpsc::Sender<oneshot::Sender<()>>,
) -> Outcome {
    let (request, mut stream): (_, RequestStream<_, Bytes>) = resolver.resolve_request().await?;
    let mut body = BytesMut::new();
    while let Some(data) = stream.recv_data().await? {
        body.extend_from_slice(data.chunk());
    }
    let trailers = stream.recv_trailers().await?;
    let request = request.map(|()| body.freeze());
    if site::says_goaway(&request) {
        let (say, said) = oneshot::channel();
        leave.send(say).await?;
        said.await?;
    }
    let answer = site::answer(directory, &request, trailers);
    stream.send_response(answer.head).await?;
    if !answer.body.is_empty() {
        stream.send_data(answer.body).await?;
    }
    if let Some(trailers) = answer.trailers {
        stream.send_trailers(trailers).await?;
    }
    stream.finish().await?;
    Ok(())
}
