//! The server.

use std::task::Poll;

use s2n_quic::connection::Handle;
use s2n_quic::provider::datagram::default::{Receiver, Sender};
use s2n_quic::stream::BidirectionalStream;
use s2n_quic::{Connection, Server};
use tercel_interop_end::{Arguments, ready, tell};

use crate::{Failure, providers};

/// Serves until the process is ended.
pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    arguments.cannot(&["connectionmigration"], "its server has no preferred address");
    arguments.cannot(&["halfrtt"], "its server gives a connection away when the handshake is complete");
    let mut server = Server::builder()
        .with_tls(providers::server_tls(&arguments)?)?
        .with_limits(providers::limits(&arguments)?)?
        .with_endpoint_limits(providers::Gate { retry: arguments.is(&["retry"]) })?
        .with_stateless_reset_token(providers::Tokens)?
        .with_datagram(providers::datagrams()?)?
        .with_io(arguments.address)?
        .start()?;
    ready();
    while let Some(connection) = server.accept().await {
        tokio::spawn(serve(connection, arguments.clone()));
    }
    Ok(())
}

async fn serve(connection: Connection, arguments: Arguments) {
    let (handle, mut streams) = connection.split();
    if arguments.is(&["datagrams"]) {
        tokio::spawn(echo(handle));
    }
    loop {
        match streams.accept_bidirectional_stream().await {
            Ok(Some(stream)) => drop(tokio::spawn(answer(stream, arguments.clone()))),
            Ok(None) => return,
            Err(error) => return tell(&format!("connection ended: {error}")),
        }
    }
}

async fn answer(mut stream: BidirectionalStream, arguments: Arguments) -> Result<(), Failure> {
    let mut request = Vec::new();
    while let Some(piece) = stream.receive().await? {
        request.extend_from_slice(&piece);
    }
    match arguments.answer(&request) {
        Some(file) => {
            stream.send(file.into()).await?;
            stream.finish()?;
        }
        None => stream.reset(404_u32.into())?,
    }
    Ok(())
}

async fn echo(handle: Handle) {
    loop {
        let datagram = std::future::poll_fn(|context| {
            match handle.datagram_mut(|receiver: &mut Receiver| receiver.poll_recv_datagram(context)) {
                Ok(Poll::Ready(datagram)) => Poll::Ready(datagram.ok()),
                Ok(Poll::Pending) => Poll::Pending,
                Err(_) => Poll::Ready(None),
            }
        });
        let Some(datagram) = datagram.await else { return };
        let _ = handle.datagram_mut(|sender: &mut Sender| sender.send_datagram(datagram.clone()));
    }
}
