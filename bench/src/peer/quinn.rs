// quinn, and noq, which began as a copy of it: `stack` is one or the other (see mod.rs).

use std::net::SocketAddr;
use std::sync::{Arc, mpsc};

use bytes::Bytes;
use rustls::pki_types::CertificateDer;
use stack::congestion::CubicConfig;
use stack::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use stack::{ClientConfig, Endpoint, EndpointConfig, ServerConfig, TokioRuntime, TransportConfig, VarInt};

use super::{Serving, settings, socket};
use crate::measure::Measured;
use crate::scenario::{Control, Work};
use crate::tls::{self, Identity};
use crate::{Result, exchange};

fn transport(streams: u32, control: Control) -> Result<Arc<TransportConfig>> {
    let mut config = TransportConfig::default();
    config
        .initial_mtu(settings::MTU)
        .mtu_discovery_config(None)
        .stream_receive_window(settings::STREAM_WINDOW.into())
        .receive_window(settings::WINDOW.into())
        .send_window(settings::STREAM_WINDOW.into())
        .max_concurrent_bidi_streams(streams.into())
        .max_idle_timeout(Some(settings::IDLE_TIMEOUT.try_into()?));
    match control {
        Control::Cubic => config.congestion_controller_factory(Arc::new(CubicConfig::default())),
        Control::Bbr => {
            let mut bbr = BbrConfig::default();
            bbr.initial_window(settings::INITIAL_WINDOW);
            config.congestion_controller_factory(Arc::new(bbr))
        }
    };
    Ok(Arc::new(config))
}

fn endpoint(server: Option<ServerConfig>) -> Result<Endpoint> {
    Ok(Endpoint::new(EndpointConfig::default(), server, socket()?, Arc::new(TokioRuntime))?)
}

pub fn serve(identity: Identity, streams: u32, control: Control) -> Result<Serving> {
    let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(identity.server(tls::provider())?)?));
    config.transport_config(transport(streams, control)?);
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        exchange::run(async move {
            let endpoint = endpoint(Some(config))?;
            tell.send(endpoint.local_addr()?)?;
            while let Some(incoming) = endpoint.accept().await {
                tokio::task::spawn_local(async move {
                    if let Ok(connection) = incoming.await {
                        exchange::serve(connection).await;
                    }
                });
            }
            Result::Ok(())
        })
    });
    Ok(Serving { address: told.recv()?, _keeps: Box::new(()) })
}

pub fn work(work: Work, address: SocketAddr, authority: CertificateDer<'static>) -> Result<Measured> {
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls::client(authority, &work, tls::provider())?)?));
    config.transport_config(transport(settings::STREAMS, work.control)?);
    exchange::run(async move {
        let endpoint = endpoint(None)?;
        exchange::work(work, move || {
            let connecting = endpoint.connect_with(config.clone(), address, tls::SERVER_NAME);
            async move {
                let connecting = connecting?;
                if !work.early {
                    return Ok(connecting.await?);
                }
                match connecting.into_0rtt() {
                    Ok((connection, accepted)) => {
                        tokio::task::spawn_local(async move {
                            if accepted.await {
                                tls::early_data_accepted();
                            }
                        });
                        Ok(connection)
                    }
                    Err(connecting) => Ok(connecting.await?),
                }
            }
        })
        .await
    })?
}

impl exchange::Connection for stack::Connection {
    type Send = stack::SendStream;
    type Recv = stack::RecvStream;

    async fn open(&self) -> Result<(Self::Send, Self::Recv)> {
        Ok(self.open_bi().await?)
    }

    async fn accept(&self) -> Option<(Self::Send, Self::Recv)> {
        self.accept_bi().await.ok()
    }

    fn send_datagrams(&self, mut all: impl Iterator<Item = Bytes>) -> Result<()> {
        Ok(all.try_for_each(|data| self.send_datagram(data))?)
    }

    async fn datagrams(&self, into: &mut Vec<Bytes>) -> bool {
        let received = self.read_datagram().await;
        let goes_on = received.is_ok();
        into.extend(received);
        goes_on
    }

    fn close(&self) {
        self.close(VarInt::from_u32(0), b"");
    }
}

impl exchange::Send for stack::SendStream {
    async fn write(&mut self, piece: Bytes) -> Result<()> {
        Ok(self.write_chunk(piece).await?)
    }

    fn finish(&mut self) -> Result<()> {
        Ok(self.finish()?)
    }
}

impl exchange::Recv for stack::RecvStream {
    async fn read(&mut self) -> Result<Option<Bytes>> {
        Ok(next_chunk(self).await?)
    }
}
