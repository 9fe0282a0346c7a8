//! Tercel, by its async face.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use tercel::aio;
use tercel::{Configuration, Registration, RegistrationConfig, RetryPolicy, Settings};

use crate::peer::{self, Connection, MTU, NAME, Peer, RecvStream, Result, SendStream};

pub struct Tercel {
    endpoint: aio::Endpoint,
    configuration: Configuration,
}

fn settings() -> Settings {
    Settings {
        initial_mtu: MTU,
        max_mtu: MTU,
        stream_receive_window: peer::STREAM_WINDOW.into(),
        max_stream_receive_window: peer::STREAM_WINDOW.into(),
        receive_window: peer::WINDOW.into(),
        max_receive_window: peer::WINDOW.into(),
        send_buffer: peer::STREAM_WINDOW as usize,
        max_bidi_streams: peer::STREAMS.into(),
        ..Settings::default()
    }
}

fn registration() -> Result<Registration> {
    let mut config = RegistrationConfig::default();
    config.workers = 1;
    config.retry = RetryPolicy::Never;
    Ok(Registration::new(config)?)
}

impl Peer for Tercel {
    type Connection = aio::Connection;

    fn server() -> Result<Self> {
        let configuration =
            Configuration::from_tls(None, Some(Arc::new(peer::server_tls())), settings().transport()?);
        let address = "127.0.0.1:0".parse()?;
        let endpoint = aio::Endpoint::of(registration()?).listen(&configuration, address)?;
        Ok(Self { endpoint, configuration })
    }

    fn client() -> Result<Self> {
        let configuration =
            Configuration::from_tls(Some(Arc::new(peer::client_tls())), None, settings().transport()?);
        Ok(Self { endpoint: aio::Endpoint::of(registration()?), configuration })
    }

    fn address(&self) -> SocketAddr {
        self.endpoint.local_address().expect("a server listens")
    }

    async fn connect(&self, to: SocketAddr) -> Result<aio::Connection> {
        Ok(self.endpoint.connect(&self.configuration, to, NAME)?.await?)
    }

    async fn accept(&self) -> Option<aio::Connection> {
        loop {
            let incoming = self.endpoint.accept().await?;
            if let Ok(connecting) = incoming.accept()
                && let Ok(connection) = connecting.await
            {
                return Some(connection);
            }
        }
    }
}

impl Connection for aio::Connection {
    type Send = aio::SendStream;
    type Recv = aio::RecvStream;

    async fn open(&self) -> Result<(aio::SendStream, aio::RecvStream)> {
        Ok(self.open_bi().await?)
    }

    async fn accept(&self) -> Result<(aio::SendStream, aio::RecvStream)> {
        Ok(self.accept_bi().await?)
    }

    async fn close(&self) {
        aio::Connection::close(self, 0u32.into(), b"");
    }
}

impl SendStream for aio::SendStream {
    async fn write(&mut self, chunk: Bytes) -> Result<()> {
        Ok(self.write_chunk(chunk).await?)
    }

    fn finish(&mut self) -> Result<()> {
        Ok(aio::SendStream::finish(self)?)
    }
}

impl RecvStream for aio::RecvStream {
    async fn read(&mut self) -> Result<Option<Bytes>> {
        Ok(self.read_chunk(usize::MAX).await?)
    }
}
