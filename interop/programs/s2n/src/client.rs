//! The client.

use std::task::Poll;
use std::time::Duration;

use s2n_quic::Client;
use s2n_quic::client::Connect;
use s2n_quic::connection::{Connection, Handle};
use s2n_quic::provider::datagram::default::{Receiver, Sender};
use tercel_interop_end::{Arguments, DATAGRAMS, SERVER_NAME, request, tell};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::{Failure, providers};

/// Does what the case says, once.
pub async fn run(arguments: &Arguments) -> Result<(), Failure> {
    arguments.cannot(&["keyupdate"], "its application cannot ask for a key update");
    arguments.cannot(&["migration"], "its client cannot be moved");
    arguments.cannot(&["connectionmigration"], "its client does not move to preferred addresses");
    arguments.cannot(&["versionnegotiation"], "its client speaks version 1 only");
    let mut local = arguments.address;
    local.set_port(0);
    let client = Client::builder()
        .with_tls(providers::client_tls(arguments)?)?
        .with_limits(providers::limits(arguments)?)?
        .with_datagram(providers::datagrams()?)?
        .with_io(local)?
        .start()?;
    for paths in arguments.connections() {
        one(arguments, &client, paths).await?;
    }
    // What is closed is said.
    timeout(Duration::from_secs(1), client.clone().wait_idle()).await.unwrap_or(Ok(()))?;
    Ok(())
}

/// One connection.
async fn one(arguments: &Arguments, client: &Client, paths: &[String]) -> Result<(), Failure> {
    let mut connection = client.connect(Connect::new(arguments.address).with_server_name(SERVER_NAME)).await?;
    if arguments.is(&["reset"]) {
        connection.keep_alive(true)?;
    }
    if arguments.is(&["datagrams"]) {
        datagrams(&connection.handle()).await?;
    }
    fetch(arguments, &mut connection, paths).await?;
    connection.close(0_u32.into());
    Ok(())
}

/// All at once.
async fn fetch(arguments: &Arguments, connection: &mut Connection, paths: &[String]) -> Result<(), Failure> {
    let mut streams = JoinSet::new();
    for path in paths {
        let (mut handle, path) = (connection.handle(), path.clone());
        streams.spawn(async move {
            let mut stream = handle.open_bidirectional_stream().await?;
            stream.send(request(&path).into()).await?;
            stream.finish()?;
            let mut answer = Vec::new();
            while let Some(piece) = stream.receive().await? {
                answer.extend_from_slice(&piece);
            }
            Ok::<_, Failure>((path, answer))
        });
    }
    while let Some(fetched) = streams.join_next().await {
        let (path, answer) = fetched??;
        arguments.store(&path, &answer);
    }
    Ok(())
}

/// Sends them one after the other, and wants each back.
async fn datagrams(handle: &Handle) -> Result<(), Failure> {
    let mut back = 0;
    for number in 0..DATAGRAMS {
        let data = vec![number as u8; 100 + number * 20];
        let sent = data.clone();
        handle
            .datagram_mut(|sender: &mut Sender| sender.send_datagram(sent.clone().into()))
            .map_err(|error| format!("{error:?}"))?
            .map_err(|error| format!("{error:?}"))?;
        let answer = std::future::poll_fn(|context| {
            match handle.datagram_mut(|receiver: &mut Receiver| receiver.poll_recv_datagram(context)) {
                Ok(Poll::Ready(datagram)) => Poll::Ready(datagram.ok()),
                Ok(Poll::Pending) => Poll::Pending,
                Err(_) => Poll::Ready(None),
            }
        });
        if let Ok(Some(echo)) = timeout(Duration::from_millis(500), answer).await {
            back += usize::from(echo == data);
        }
    }
    tell(&format!("datagrams back: {back}"));
    match back == DATAGRAMS {
        true => Ok(()),
        false => Err("not all datagrams came back".into()),
    }
}
