//! s2n-quic.

use std::time::Instant;

use s2n_quic::connection::Error;
use s2n_quic::provider::event::{ConnectionInfo, ConnectionMeta, Subscriber, events};
use tokio::sync::mpsc::UnboundedSender;

use crate::{Certificate, Seen, Server};

/// Tells how connections end, those included whose handshake never was complete.
struct Ends(UnboundedSender<(Seen, Instant)>);

impl Subscriber for Ends {
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
        let _ = self.0.send((seen, Instant::now()));
    }
}

/// Starts a server.
pub fn server() -> Server {
    let (tell, ends) = tokio::sync::mpsc::unbounded_channel();
    let tls = s2n_quic::provider::tls::rustls::Server::from(Certificate::new().server_tls());
    let mut server = s2n_quic::Server::builder()
        .with_tls(tls)
        .expect("TLS")
        .with_event(Ends(tell))
        .expect("a subscriber")
        .with_io("127.0.0.1:0")
        .expect("an address")
        .start()
        .expect("a server");
    let address = server.local_addr().expect("an address");
    let task = tokio::spawn(async move {
        while let Some(mut connection) = server.accept().await {
            tokio::spawn(async move {
                // Until it ends.
                while let Ok(Some(_)) = connection.accept().await {}
            });
        }
    });
    Server { name: "s2n-quic", address, ends, keep: Box::new(task) }
}
