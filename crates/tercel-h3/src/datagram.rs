//! HTTP datagrams (RFC 9297) over those of the connection (RFC 9221).

use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h3::quic::ConnectionErrorIncoming;
use h3_datagram::datagram::EncodedDatagram;
use h3_datagram::quic_traits::{DatagramConnectionExt, RecvDatagram, SendDatagram, SendDatagramErrorIncoming};
use tercel::aio;

use crate::connection::Connection;
use crate::error;

/// Sends and receives datagrams.
pub struct Datagrams(aio::Connection);

impl<B: Buf> DatagramConnectionExt<B> for Connection {
    type SendDatagramHandler = Datagrams;
    type RecvDatagramHandler = Datagrams;

    fn send_datagram_handler(&self) -> Datagrams {
        Datagrams(self.transport().clone())
    }

    fn recv_datagram_handler(&self) -> Datagrams {
        Datagrams(self.transport().clone())
    }
}

impl<B: Buf> SendDatagram<B> for Datagrams {
    fn send_datagram<T: Into<EncodedDatagram<B>>>(&mut self, data: T) -> Result<(), SendDatagramErrorIncoming> {
        let mut data: EncodedDatagram<B> = data.into();
        let data = data.copy_to_bytes(data.remaining());
        let max = self.0.max_datagram_size().ok_or(SendDatagramErrorIncoming::NotAvailable)?;
        if data.len() > max {
            return Err(SendDatagramErrorIncoming::TooLarge);
        }
        self.0.send_datagram(data).map_err(|failed| {
            SendDatagramErrorIncoming::ConnectionError(match self.0.close_reason() {
                Some(reason) => error::connection(reason),
                None => ConnectionErrorIncoming::Undefined(std::sync::Arc::new(failed)),
            })
        })
    }
}

impl RecvDatagram for Datagrams {
    type Buffer = Bytes;

    fn poll_incoming_datagram(&mut self, context: &mut Context<'_>) -> Poll<Result<Bytes, ConnectionErrorIncoming>> {
        let received = ready!(self.0.poll_read_datagram(context));
        Poll::Ready(received.map_err(|error| error::connection(error.0)))
    }
}
