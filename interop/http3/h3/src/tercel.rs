//! Tercel's ends, for what `tercel get` and `tercel serve` have no words for.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt as _, Full};
use tercel::aio::Endpoint;
use tercel::{Configuration, Identity, Settings, Trust};
use tercel_h3::{RemoteAddress, RequestBody, Server, service_fn};

use crate::{Outcome, client, site};

/// The client of [`client`] over Tercel.
pub async fn client(port: u16, ca: &str, plan: &str, parallel: usize) -> Outcome {
    let configuration = Configuration::client(&[tercel_h3::ALPN], Settings::default(), Trust::from_file(ca)?)?;
    let endpoint = Endpoint::client()?;
    let connection = endpoint.connect(&configuration, ([127, 0, 0, 1], port).into(), "localhost")?.await?;
    client::run(tercel_h3::Connection::new(connection.clone()), port, plan, parallel).await?;
    connection.shutdown(0x100u32.into(), b"").await;
    Ok(())
}

/// A service of `tercel_h3::Server`. Connections are told by their addresses.
pub async fn server(directory: &str, certificate: &str, key: &str) -> Outcome {
    let server = Server::bind("127.0.0.1:0".parse()?, Identity::from_files(certificate, key)?)?;
    println!("listening {}", server.local_address().port());
    let directory = Arc::new(PathBuf::from(directory));
    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    let service = service_fn(move |request: http::Request<RequestBody>| {
        let (directory, seen) = (directory.clone(), seen.clone());
        async move {
            let remote = request.extensions().get::<RemoteAddress>().map(|remote| remote.0);
            if seen.lock().is_ok_and(|mut seen| seen.insert(remote)) {
                println!("connection");
            }
            let (head, body) = request.into_parts();
            let body = body.collect().await?;
            let trailers = body.trailers().cloned();
            let request = http::Request::from_parts(head, body.to_bytes());
            let answer = site::answer(&directory, &request, trailers);
            let trailers = answer.trailers.map(Ok::<_, Infallible>);
            let body = Full::new(answer.body).with_trailers(std::future::ready(trailers));
            Ok::<_, tercel_h3::BoxError>(answer.head.map(|()| body))
        }
    });
    server.serve(service).await?;
    Ok(())
}
