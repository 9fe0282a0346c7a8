//! quinn.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;

use crate::peer::{self, Connection, MTU, NAME, Peer, RecvStream, Result, SendStream};

pub struct Quinn(quinn::Endpoint);

fn transport() -> Arc<quinn::TransportConfig> {
    let mut transport = quinn::TransportConfig::default();
    transport
        .initial_mtu(MTU)
        .min_mtu(1200)
        .mtu_discovery_config(None)
        .stream_receive_window(peer::STREAM_WINDOW.into())
        .receive_window(peer::WINDOW.into())
        .send_window(u64::from(peer::WINDOW))
        .max_concurrent_bidi_streams(peer::STREAMS.into());
    Arc::new(transport)
}

impl Peer for Quinn {
    type Connection = quinn::Connection;

    fn server() -> Result<Self> {
        let crypto = quinn::crypto::rustls::QuicServerConfig::try_from(peer::server_tls())?;
        let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        config.transport_config(transport());
        Ok(Self(quinn::Endpoint::server(config, "127.0.0.1:0".parse()?)?))
    }

    fn client() -> Result<Self> {
        let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(peer::client_tls())?;
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        config.transport_config(transport());
        let mut endpoint = quinn::Endpoint::client("127.0.0.1:0".parse()?)?;
        endpoint.set_default_client_config(config);
        Ok(Self(endpoint))
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("an endpoint has an address")
    }

    async fn connect(&self, to: SocketAddr) -> Result<quinn::Connection> {
        Ok(self.0.connect(to, NAME)?.await?)
    }

    async fn accept(&self) -> Option<quinn::Connection> {
        loop {
            if let Ok(connection) = self.0.accept().await?.await {
                return Some(connection);
            }
        }
    }
}

impl Connection for quinn::Connection {
    type Send = quinn::SendStream;
    type Recv = quinn::RecvStream;

    async fn open(&self) -> Result<(quinn::SendStream, quinn::RecvStream)> {
        Ok(self.open_bi().await?)
    }

    async fn accept(&self) -> Result<(quinn::SendStream, quinn::RecvStream)> {
        Ok(self.accept_bi().await?)
    }

    async fn close(&self) {
        quinn::Connection::close(self, 0u32.into(), b"");
    }
}

impl SendStream for quinn::SendStream {
    async fn write(&mut self, chunk: Bytes) -> Result<()> {
        Ok(self.write_chunk(chunk).await?)
    }

    fn finish(&mut self) -> Result<()> {
        Ok(quinn::SendStream::finish(self)?)
    }
}

impl RecvStream for quinn::RecvStream {
    async fn read(&mut self) -> Result<Option<Bytes>> {
        Ok(self.read_chunk(usize::MAX, true).await?.map(|chunk| chunk.bytes))
    }
}
