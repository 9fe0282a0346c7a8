//! quinn.

use std::sync::Arc;
use std::time::Instant;

use crate::{Certificate, Seen, Server};

/// Starts a server.
pub fn server() -> Server {
    let crypto = quinn::crypto::rustls::QuicServerConfig::try_from(Certificate::new().server_tls()).expect("TLS");
    let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    let endpoint = quinn::Endpoint::server(config, "127.0.0.1:0".parse().expect("an address")).expect("a server");
    let (tell, ends) = tokio::sync::mpsc::unbounded_channel();
    let accepting = endpoint.clone();
    tokio::spawn(async move {
        while let Some(incoming) = accepting.accept().await {
            let tell = tell.clone();
            tokio::spawn(async move {
                let error = match incoming.await {
                    Ok(connection) => connection.closed().await,
                    Err(error) => error,
                };
                let seen = match error {
                    quinn::ConnectionError::ApplicationClosed(close) => Seen::Application(close.error_code.into()),
                    quinn::ConnectionError::ConnectionClosed(close) => Seen::Transport(close.error_code.into()),
                    other => Seen::Other(other.to_string()),
                };
                let _ = tell.send((seen, Instant::now()));
            });
        }
    });
    let address = endpoint.local_addr().expect("an address");
    Server { name: "quinn", address, ends, keep: Box::new(endpoint) }
}
