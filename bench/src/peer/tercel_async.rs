//! Tercel's async face.

use std::net::SocketAddr;

use bytes::Bytes;
use rustls::pki_types::CertificateDer;
use tercel::aio::{Connection, Endpoint, RecvStream, SendStream};

use super::Serving;
use super::tercel::{configuration, registration};
use crate::measure::Measured;
use crate::scenario::Work;
use crate::tls::{self, Identity};
use crate::{Result, exchange};

pub fn serve(identity: Identity) -> Result<Serving> {
    let configuration = configuration(None, Some(identity.server()?))?;
    let endpoint = Endpoint::of(registration()?).listen(&configuration, "127.0.0.1:0".parse()?)?;
    let address = endpoint.local_address().ok_or("it does not listen")?;
    let serving = endpoint.clone();
    std::thread::spawn(move || {
        exchange::run(async move {
            while let Some(incoming) = serving.accept().await {
                tokio::task::spawn_local(async move {
                    exchange::serve(incoming.accept()?.await?).await;
                    Result::Ok(())
                });
            }
        })
    });
    Ok(Serving { address, _keeps: Box::new(endpoint) })
}

pub fn work(work: Work, address: SocketAddr, certificate: CertificateDer<'static>) -> Result<Measured> {
    let configuration = configuration(Some(tls::client(certificate)?), None)?;
    let endpoint = Endpoint::of(registration()?);
    exchange::run(exchange::work(work, move || {
        let connecting = endpoint.connect(&configuration, address, tls::SERVER_NAME);
        async move { Ok(connecting?.await?) }
    }))?
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
