//! The server.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use proto::HashedConnectionIdGenerator;
use quinn::{Connection, Endpoint, EndpointConfig, Incoming, RecvStream, SendStream, ServerConfig};
use tercel_interop_end::{Arguments, RESET_KEY, ready, tell};

use crate::{Failure, tls, transport};

/// Serves until the process is ended.
pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    let mut config = ServerConfig::with_crypto(Arc::new(tls::server(&arguments)?));
    config.transport_config(Arc::new(transport(&arguments)));
    match arguments.preferred {
        Some(SocketAddr::V4(address)) => drop(config.preferred_address_v4(Some(address))),
        Some(SocketAddr::V6(address)) => drop(config.preferred_address_v6(Some(address))),
        None => {}
    }
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &RESET_KEY);
    let socket = UdpSocket::bind(arguments.address)?;
    let runtime = Arc::new(quinn::TokioRuntime);
    // Connection IDs of before a restart must be known as its own.
    let mut basics = EndpointConfig::new(Arc::new(key));
    let generator = || -> Box<dyn quinn::ConnectionIdGenerator> { Box::new(HashedConnectionIdGenerator::from_key(7)) };
    #[cfg(noq)]
    let generator = Arc::new(generator);
    basics.cid_generator(generator);
    let endpoint = Endpoint::new(basics, Some(config), socket, runtime)?;
    ready();
    while let Some(incoming) = endpoint.accept().await {
        if arguments.is(&["retry"]) && !incoming.remote_address_validated() {
            incoming.retry()?;
            continue;
        }
        let arguments = arguments.clone();
        tokio::spawn(async move {
            if let Err(error) = serve(incoming, arguments).await {
                tell(&format!("connection ended: {error}"));
            }
        });
    }
    Ok(())
}

async fn serve(incoming: Incoming, arguments: Arguments) -> Result<(), Failure> {
    let mut connecting = incoming.accept()?;
    if arguments.is(&["halfrtt"]) {
        // Whoever asks for a stream before the client's limits are known is never woken.
        connecting.handshake_data().await?;
    }
    // Early data is read, and other data may be sent, before the handshake is complete.
    let connection = match arguments.is(&["zerortt", "halfrtt"]) {
        true => connecting.into_0rtt().map_err(|_| "a server can always send early")?.0,
        false => connecting.await?,
    };
    if arguments.is(&["halfrtt"]) {
        let mut stream = connection.open_uni().await?;
        stream.write_all(b"before you have finished").await?;
        stream.finish()?;
    }
    if arguments.is(&["datagrams"]) {
        tokio::spawn(echo(connection.clone()));
    }
    loop {
        let (send, recv) = connection.accept_bi().await?;
        tokio::spawn(answer(send, recv, arguments.clone()));
    }
}

async fn answer(mut send: SendStream, mut recv: RecvStream, arguments: Arguments) -> Result<(), Failure> {
    let request = recv.read_to_end(8192).await?;
    match arguments.answer(&request) {
        Some(file) => {
            send.write_all(&file).await?;
            send.finish()?;
        }
        None => send.reset(404_u32.into())?,
    }
    Ok(())
}

async fn echo(connection: Connection) {
    while let Ok(datagram) = connection.read_datagram().await {
        let _ = connection.send_datagram(datagram);
    }
}
