//! quinn.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ConnectionError, Endpoint};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::{Certificate, Client, QUESTION, Seen, Server, Told};

impl From<ConnectionError> for Seen {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::ApplicationClosed(close) => Self::Application(close.error_code.into()),
            ConnectionError::ConnectionClosed(close) => Self::Transport(close.error_code.into()),
            other => Self::Other(other.to_string()),
        }
    }
}

/// Starts a server.
pub fn server() -> Server {
    let identity = Certificate::new();
    let crypto = QuicServerConfig::try_from(identity.server_tls(true)).expect("TLS");
    let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    let endpoint = Endpoint::server(config, (Ipv4Addr::LOCALHOST, 0).into()).expect("a server");
    let (tell, ends) = unbounded_channel();
    let accepting = endpoint.clone();
    tokio::spawn(async move {
        while let Some(incoming) = accepting.accept().await {
            let tell = tell.clone();
            tokio::spawn(async move {
                let error = match incoming.await {
                    Ok(connection) => {
                        answer(&connection).await;
                        connection.closed().await
                    }
                    Err(error) => error,
                };
                let _ = tell.send((error.into(), Instant::now()));
            });
        }
    });
    let address = endpoint.local_addr().expect("an address");
    Server { name: "quinn", address, certificate: identity.der, ends, keep: Box::new(endpoint) }
}

/// Answers every question until the connection ends.
async fn answer(connection: &quinn::Connection) {
    while let Ok((mut send, mut receive)) = connection.accept_bi().await {
        if let Ok(question) = receive.read_to_end(1 << 20).await {
            let _ = send.write_all(&question).await;
            let _ = send.finish();
        }
    }
}

/// A client that shows `identity` to the server of the certificate `trusted`.
pub fn client(identity: &Certificate, trusted: &Certificate) -> Client {
    let crypto = QuicClientConfig::try_from(identity.client_tls(trusted, true)).expect("TLS");
    let mut endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).expect("a client");
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(crypto)));
    let (tell, told) = unbounded_channel();
    let connect = move |address: SocketAddr| {
        let (endpoint, tell) = (endpoint.clone(), tell.clone());
        tokio::spawn(async move {
            let connecting = endpoint.connect(address, "localhost").expect("a connection");
            // With a ticket that permits it, the question goes out before the handshake.
            let connection = match connecting.into_0rtt() {
                Ok((connection, _)) => Ok(connection),
                Err(connecting) => connecting.await,
            };
            let (error, at) = match connection {
                Ok(connection) => {
                    let asking = tokio::spawn(ask(connection.clone(), tell.clone()));
                    let end = (connection.closed().await, Instant::now());
                    // What came before the end is told before it.
                    let _ = asking.await;
                    end
                }
                Err(error) => (error, Instant::now()),
            };
            let _ = tell.send((Told::End(error.into()), at));
        });
    };
    Client { name: "quinn", told, connect: Box::new(connect) }
}

/// Early data that the server refuses is asked again: quinn leaves that to the application.
async fn ask(connection: quinn::Connection, tell: UnboundedSender<(Told, Instant)>) {
    for _ in 0..2 {
        let Ok((mut send, mut receive)) = connection.open_bi().await else { return };
        if send.write_all(QUESTION).await.is_ok() && send.finish().is_ok() {
            match receive.read_to_end(1 << 20).await {
                Ok(answer) => return drop(tell.send((Told::Answer(answer.into()), Instant::now()))),
                Err(quinn::ReadToEndError::Read(quinn::ReadError::ZeroRttRejected)) => {}
                Err(_) => return,
            }
        }
    }
}
