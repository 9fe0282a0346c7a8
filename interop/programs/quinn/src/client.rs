//! The client.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use quinn::{ClientConfig, Connection, Endpoint, EndpointConfig};
use tercel_interop_end::{Arguments, DATAGRAMS, SERVER_NAME, request, tell};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::{Failure, tls, transport};

/// Does what the case says, once.
pub async fn run(arguments: &Arguments) -> Result<(), Failure> {
    arguments.cannot(&["versionnegotiation"], "its client begins with no version but those it has keys for");
    arguments.cannot(&["connectionmigration"], "its client does not move to preferred addresses");
    let mut config = ClientConfig::new(Arc::new(tls::client(arguments)?));
    config.transport_config(Arc::new(transport(arguments)));
    let endpoint = Endpoint::new(EndpointConfig::default(), None, socket(arguments)?, Arc::new(quinn::TokioRuntime))?;
    let connections = arguments.connections();
    for (number, paths) in connections.iter().enumerate() {
        one(arguments, &config, &endpoint, paths, number + 1 == connections.len()).await?;
    }
    endpoint.wait_idle().await;
    Ok(())
}

fn socket(arguments: &Arguments) -> std::io::Result<UdpSocket> {
    let mut local: SocketAddr = arguments.address;
    local.set_port(0);
    UdpSocket::bind(local)
}

/// One connection.
async fn one(
    arguments: &Arguments,
    config: &ClientConfig,
    endpoint: &Endpoint,
    paths: &[String],
    last: bool,
) -> Result<(), Failure> {
    let connecting = endpoint.connect_with(config.clone(), arguments.address, SERVER_NAME)?;
    let early = arguments.is(&["zerortt"]) && last;
    let connection = match early {
        true => connecting.into_0rtt().map_err(|_| "there is no ticket for early data")?.0,
        false => connecting.await?,
    };
    match arguments.case.as_str() {
        "keyupdate" => {
            // The handshake is confirmed only after it is complete, and quinn does not tell when.
            tokio::time::sleep(Duration::from_millis(100)).await;
            connection.force_key_update();
        }
        "datagrams" => datagrams(&connection).await?,
        "migration" => {
            let (endpoint, socket) = (endpoint.clone(), socket(arguments)?);
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(500)).await;
                endpoint.rebind(socket)
            });
        }
        _ => {}
    }
    fetch(arguments, &connection, paths).await?;
    if !last {
        // For tickets.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    connection.close(0_u32.into(), b"");
    Ok(())
}

/// All at once.
async fn fetch(arguments: &Arguments, connection: &Connection, paths: &[String]) -> Result<(), Failure> {
    let mut streams = JoinSet::new();
    for path in paths {
        let (connection, path) = (connection.clone(), path.clone());
        streams.spawn(async move {
            let (mut send, mut recv) = connection.open_bi().await?;
            send.write_all(&request(&path)).await?;
            send.finish()?;
            let answer = recv.read_to_end(64 << 20).await?;
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
async fn datagrams(connection: &Connection) -> Result<(), Failure> {
    let mut back = 0;
    for number in 0..DATAGRAMS {
        let data = vec![number as u8; 100 + number * 20];
        connection.send_datagram(data.clone().into())?;
        if let Ok(echo) = timeout(Duration::from_millis(500), connection.read_datagram()).await {
            back += usize::from(echo? == data);
        }
    }
    tell(&format!("datagrams back: {back}"));
    match back == DATAGRAMS {
        true => Ok(()),
        false => Err("not all datagrams came back".into()),
    }
}
