//! s2n-quic with rustls. It resumes nothing: its rustls session is dropped when the handshake is complete,
//! before a server has written tickets and before a client has read them (s2n-quic-rustls 0.91 leaves
//! `process_post_handshake_message` empty), and 0-RTT packets are not read.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use s2n_quic::client::Connect;
use s2n_quic::connection::Error;
use s2n_quic::provider::event::{ConnectionInfo, ConnectionMeta, Subscriber, events};
use s2n_quic::provider::tls::rustls as tls;
use tokio::sync::Mutex;
use tokio::sync::mpsc::unbounded_channel;

use crate::{Certificate, Client, QUESTION, Seen, Server, Told};

/// Tells how connections end, those included whose handshake never was complete.
struct Ends<F>(F);

impl<F: FnMut(Seen, Instant) + Send + 'static> Subscriber for Ends<F> {
    type ConnectionContext = ();

    fn create_connection_context(&mut self, _: &ConnectionMeta, _: &ConnectionInfo) {}

    fn on_connection_closed(&mut self, (): &mut (), _: &ConnectionMeta, event: &events::ConnectionClosed) {
        let seen = match event.error {
            Error::Application { error, .. } => Seen::Application(error.into()),
            // It says so of NO_ERROR and of APPLICATION_ERROR.
            Error::Closed { .. } => Seen::Closed,
            Error::Transport { code, .. } => Seen::Transport(code.as_u64()),
            other => Seen::Other(other.to_string()),
        };
        (self.0)(seen, Instant::now());
    }
}

/// Starts a server.
pub fn server() -> Server {
    let (tell, ends) = unbounded_channel();
    let identity = Certificate::new();
    let mut server = s2n_quic::Server::builder()
        .with_tls(tls::Server::from(identity.server_tls(false)))
        .expect("TLS")
        .with_event(Ends(move |seen, at| drop(tell.send((seen, at)))))
        .expect("a subscriber")
        .with_io("127.0.0.1:0")
        .expect("an address")
        .start()
        .expect("a server");
    let address = server.local_addr().expect("an address");
    let task = tokio::spawn(async move {
        while let Some(mut connection) = server.accept().await {
            tokio::spawn(async move {
                while let Ok(Some(mut stream)) = connection.accept_bidirectional_stream().await {
                    while let Ok(Some(question)) = stream.receive().await {
                        let _ = stream.send(question).await;
                    }
                    let _ = stream.finish();
                }
            });
        }
    });
    Server { name: "s2n-quic", address, certificate: identity.der, ends, keep: Box::new(task) }
}

/// A client that shows `identity` to the server of the certificate `trusted`.
pub fn client(identity: &Certificate, trusted: &Certificate) -> Client {
    let (tell, told) = unbounded_channel();
    let (tell_end, ends) = unbounded_channel();
    let ends = Arc::new(Mutex::new(ends));
    let client = s2n_quic::Client::builder()
        .with_tls(tls::Client::from(identity.client_tls(trusted, false)))
        .expect("TLS")
        .with_event(Ends(move |seen, at| drop(tell_end.send((Told::End(seen), at)))))
        .expect("a subscriber")
        .with_io("127.0.0.1:0")
        .expect("an address")
        .start()
        .expect("a client");
    let connect = move |address: SocketAddr| {
        let (client, tell, ends) = (client.clone(), tell.clone(), ends.clone());
        tokio::spawn(async move {
            let mut connection = client.connect(Connect::new(address).with_server_name("localhost")).await;
            if let Ok(connection) = &mut connection
                && let Ok(mut stream) = connection.open_bidirectional_stream().await
            {
                let _ = stream.send(QUESTION.into()).await;
                let _ = stream.finish();
                let mut answer = Vec::new();
                while let Ok(Some(piece)) = stream.receive().await {
                    answer.extend_from_slice(&piece);
                }
                if !answer.is_empty() {
                    let _ = tell.send((Told::Answer(answer.into()), Instant::now()));
                }
            }
            // What came before the end is told before it.
            if let Some(end) = ends.lock().await.recv().await {
                let _ = tell.send(end);
            }
        });
    };
    Client { name: "s2n-quic", told, connect: Box::new(connect) }
}
