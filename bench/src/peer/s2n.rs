//! s2n-quic, with rustls.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::mpsc;
use std::task::Poll;

use bytes::Bytes;
use rustls::pki_types::CertificateDer;
use s2n_quic::client::{Client, Connect};
use s2n_quic::connection::{BidirectionalStreamAcceptor, Handle};
use s2n_quic::provider::congestion_controller::Bbr;
use s2n_quic::provider::datagram::default as datagram;
use s2n_quic::provider::io::tokio::{Builder, Provider};
use s2n_quic::provider::limits::Limits;
use s2n_quic::provider::tls::rustls as tls_provider;
use s2n_quic::server::Server;
use s2n_quic::stream::{ReceiveStream, SendStream};
use tokio::sync::Mutex;

use super::{Serving, settings};
use crate::measure::Measured;
use crate::scenario::{Control, Work};
use crate::tls::{self, Identity};
use crate::{Result, exchange};

fn limits(streams: u32) -> Result<Limits> {
    Ok(Limits::new()
        .with_data_window(settings::WINDOW.into())?
        .with_bidirectional_local_data_window(settings::STREAM_WINDOW.into())?
        .with_bidirectional_remote_data_window(settings::STREAM_WINDOW.into())?
        .with_max_send_buffer_size(settings::STREAM_WINDOW)?
        .with_max_open_local_bidirectional_streams(streams.into())?
        .with_max_open_remote_bidirectional_streams(streams.into())?
        .with_max_idle_timeout(settings::IDLE_TIMEOUT)?)
}

/// With room for all that are under way.
fn datagrams() -> Result<datagram::Endpoint> {
    Ok(datagram::Endpoint::builder().with_send_capacity(1000)?.with_recv_capacity(1000)?.build()?)
}

/// Its sizes are those of IP packets.
fn io() -> Result<Provider> {
    let mtu = settings::MTU + 28;
    Ok(Builder::default()
        .with_receive_address("127.0.0.1:0".parse()?)?
        .with_initial_mtu(mtu)?
        .with_max_mtu(mtu)?
        .with_send_buffer_size(settings::SOCKET_BUFFER)?
        .with_recv_buffer_size(settings::SOCKET_BUFFER)?
        .build()?)
}

pub fn serve(identity: Identity, streams: u32, control: Control) -> Result<Serving> {
    let config = tls_provider::Server::from(identity.server(tls::provider())?);
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        exchange::run(async move {
            let builder = Server::builder()
                .with_tls(config)?
                .with_limits(limits(streams)?)?
                .with_datagram(datagrams()?)?
                .with_io(io()?)?;
            let mut server = match control {
                Control::Cubic => builder.start()?,
                Control::Bbr => builder.with_congestion_controller(Bbr::default())?.start()?,
            };
            tell.send(server.local_addr()?)?;
            while let Some(connection) = server.accept().await {
                tokio::task::spawn_local(exchange::serve(Connection::from(connection)));
            }
            Result::Ok(())
        })
    });
    Ok(Serving { address: told.recv()?, _keeps: Box::new(()) })
}

pub fn work(work: Work, address: SocketAddr, authority: CertificateDer<'static>) -> Result<Measured> {
    let config = tls_provider::Client::from(tls::client(authority, &work, tls::provider())?);
    exchange::run(async move {
        let builder = Client::builder()
            .with_tls(config)?
            .with_limits(limits(work.at_once.max(settings::STREAMS as usize) as u32)?)?
            .with_datagram(datagrams()?)?
            .with_io(io()?)?;
        let client = match work.control {
            Control::Cubic => builder.start()?,
            Control::Bbr => builder.with_congestion_controller(Bbr::default())?.start()?,
        };
        exchange::work(work, move || {
            let connecting = client.connect(Connect::new(address).with_server_name(tls::SERVER_NAME));
            async move { Ok(Connection::from(connecting.await?)) }
        })
        .await
    })?
}

#[derive(Clone)]
struct Connection {
    handle: Handle,
    streams: Rc<Mutex<BidirectionalStreamAcceptor>>,
}

impl From<s2n_quic::Connection> for Connection {
    fn from(connection: s2n_quic::Connection) -> Self {
        let (handle, streams) = connection.split();
        Self { handle, streams: Rc::new(Mutex::new(streams.split().0)) }
    }
}

impl exchange::Connection for Connection {
    type Send = SendStream;
    type Recv = ReceiveStream;

    async fn open(&self) -> Result<(SendStream, ReceiveStream)> {
        let (recv, send) = self.handle.clone().open_bidirectional_stream().await?.split();
        Ok((send, recv))
    }

    async fn accept(&self) -> Option<(SendStream, ReceiveStream)> {
        let (recv, send) = self.streams.lock().await.accept_bidirectional_stream().await.ok()??.split();
        Some((send, recv))
    }

    fn send_datagrams(&self, mut all: impl Iterator<Item = Bytes>) -> Result<()> {
        let sent = self
            .handle
            .datagram_mut(|sender: &mut datagram::Sender| all.try_for_each(|data| sender.send_datagram(data)));
        Ok(sent.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?)
    }

    async fn datagrams(&self, into: &mut Vec<Bytes>) -> bool {
        poll_fn(|context| {
            let polled = self.handle.datagram_mut(|receiver: &mut datagram::Receiver| {
                while into.len() < 64
                    && let Poll::Ready(received) = receiver.poll_recv_datagram(context)
                {
                    match received {
                        Ok(data) => into.push(data),
                        Err(_) => return Poll::Ready(!into.is_empty()),
                    }
                }
                if into.is_empty() { Poll::Pending } else { Poll::Ready(true) }
            });
            polled.unwrap_or(Poll::Ready(false))
        })
        .await
    }

    fn close(&self) {
        self.handle.close(0u32.into());
    }
}

impl exchange::Send for SendStream {
    async fn write(&mut self, piece: Bytes) -> Result<()> {
        Ok(self.send(piece).await?)
    }

    fn finish(&mut self) -> Result<()> {
        Ok(self.finish()?)
    }
}

impl exchange::Recv for ReceiveStream {
    async fn read(&mut self) -> Result<Option<Bytes>> {
        Ok(self.receive().await?)
    }
}
