//! Tercel's async face.

use std::net::SocketAddr;

use bytes::Bytes;
use rustls::pki_types::CertificateDer;
use tercel::Registration;
use tercel::aio::{Connection, Endpoint, RecvStream, SendStream};

use super::tercel::{Losses, configuration, registration, registration_config};
use super::{Serving, settings};
use crate::measure::Measured;
use crate::scenario::{Control, Work};
use crate::tls::{self, Identity};
use crate::{Result, exchange};

/// Who gives the worker its turns.
#[derive(Debug, Clone, Copy)]
pub enum Driven {
    /// A thread of its own.
    ByThread,
    /// A task of the application's runtime.
    ByTask,
}

/// Within the runtime.
fn endpoint(driven: Driven) -> Result<Endpoint> {
    let registration = match driven {
        Driven::ByThread => registration()?,
        Driven::ByTask => Registration::in_tasks(registration_config()?)?,
    };
    Ok(Endpoint::of(registration))
}

pub fn serve(identity: Identity, streams: u32, control: Control, driven: Driven) -> Result<Serving> {
    let configuration =
        configuration(None, Some(identity.server(tls::tercels())?), streams, control, Losses::OfQueues)?;
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        exchange::run(async move {
            let listening = endpoint(driven)
                .and_then(|endpoint| Ok(endpoint.listen(&configuration, "127.0.0.1:0".parse()?)?))
                .map_err(|error| error.to_string());
            let serving = listening.as_ref().ok().cloned();
            let _ = tell.send(listening);
            let Some(serving) = serving else { return };
            while let Some(incoming) = serving.accept().await {
                tokio::task::spawn_local(async move {
                    exchange::serve(incoming.accept()?.await?).await;
                    Result::Ok(())
                });
            }
        })
    });
    let endpoint = told.recv()??;
    let address = endpoint.local_address().ok_or("it does not listen")?;
    Ok(Serving { address, _keeps: Box::new(endpoint) })
}

pub fn work(work: Work, address: SocketAddr, authority: CertificateDer<'static>, driven: Driven) -> Result<Measured> {
    let configuration = configuration(
        Some(tls::client(authority, &work, tls::tercels())?),
        None,
        settings::STREAMS,
        work.control,
        Losses::OfQueues,
    )?;
    exchange::run(async move {
        let endpoint = endpoint(driven)?;
        let connect = move || {
            let connecting = endpoint.connect(&configuration, address, tls::SERVER_NAME);
            async move {
                let connecting = connecting?;
                if !work.early {
                    return Ok(connecting.await?);
                }
                let early = connecting.early();
                tokio::task::spawn_local(async move {
                    if connecting.await.is_ok_and(|connection| connection.is_early_data_accepted()) {
                        tls::early_data_accepted();
                    }
                });
                Ok(early)
            }
        };
        exchange::work(work, connect).await
    })?
}

impl exchange::Connection for Connection {
    type Send = SendStream;
    type Recv = RecvStream;

    async fn open(&self) -> Result<(SendStream, RecvStream)> {
        Ok(self.open_bi().await?)
    }

    async fn accept(&self) -> Option<(SendStream, RecvStream)> {
        self.accept_bi().await.ok()
    }

    fn send_datagrams(&self, all: impl Iterator<Item = Bytes>) -> Result<()> {
        Ok(self.send_datagrams(all)?)
    }

    async fn datagrams(&self, into: &mut Vec<Bytes>) -> bool {
        self.read_datagrams(into, 64).await.is_ok()
    }

    fn close(&self) {
        self.close(0u32.into(), b"");
    }
}

impl exchange::Send for SendStream {
    async fn write(&mut self, piece: Bytes) -> Result<()> {
        Ok(self.write_chunk(piece).await?)
    }

    fn finish(&mut self) -> Result<()> {
        Ok(self.finish()?)
    }
}

impl exchange::Recv for RecvStream {
    async fn read(&mut self) -> Result<Option<Bytes>> {
        Ok(self.read_chunk(usize::MAX).await?)
    }
}
