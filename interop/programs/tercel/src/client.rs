//! The client.

use std::time::Duration;

use tercel::aio::{Connection, Endpoint, ReadError, RecvStream};
use tercel::{Bytes, Configuration, Connect};
use tercel_interop_end::{Arguments, CUT_OFF, DATAGRAMS, SERVER_NAME, failed, request, tell};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::{Failure, configuration, storm};

/// How long a ticket, or word of our address, may take that comes after the handshake.
const MOMENT: Duration = Duration::from_secs(2);

/// Does what the case says, once.
pub async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let configuration = configuration::client(arguments)?;
    let endpoint = Endpoint::client()?;
    let connections = arguments.connections();
    for (number, paths) in connections.iter().enumerate() {
        let last = number + 1 == connections.len();
        one(arguments, &configuration, &endpoint, paths, last).await?;
    }
    Ok(())
}

/// One connection.
async fn one(
    arguments: &Arguments,
    configuration: &Configuration,
    endpoint: &Endpoint,
    paths: &[String],
    last: bool,
) -> Result<(), Failure> {
    let connect = Connect::new(arguments.address, SERVER_NAME);
    let mut connecting = endpoint.connect_with(configuration, connect)?;
    if arguments.is(&["earlyclose"]) {
        // The verdict is never given.
        let question = connecting.certificate().await;
        connecting.early().shutdown(7u32.into(), b"not today").await;
        tell("closed");
        return question.map(drop).ok_or("there was no certificate".into());
    }
    let early = arguments.is(&["zerortt"]) && last;
    let connection = connecting.early();
    if !early {
        connecting.await?;
    } else {
        tokio::spawn(connecting);
    }
    match arguments.case.as_str() {
        "keyupdate" => {
            connection.handshake_confirmed().await?;
            // RFC 9001 section 6.1: not before something in 1-RTT packets was acknowledged.
            connection.handle().ping()?;
            tokio::time::sleep(Duration::from_millis(100)).await;
            connection.handle().update_keys()?;
        }
        "keyupdatestorm" => drop(tokio::spawn(storm(connection.clone()))),
        "datagrams" => datagrams(&connection).await?,
        "addressdiscovery" => {
            let seen = timeout(MOMENT, connection.observed_address_changed(None)).await??;
            tell(&format!("seen at {seen}"));
        }
        "migration" => {
            let (connection, mut local) = (connection.clone(), arguments.address);
            local.set_port(0);
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(500)).await;
                connection.rebind(local).map_err(failed)
            });
        }
        _ => {}
    }
    fetch(arguments, &connection, paths).await?;
    if !last && arguments.is(&["resumption", "zerortt"]) {
        timeout(MOMENT, connection.resumption_ticket()).await??;
    }
    if early && !connection.is_early_data_accepted() {
        return Err("early data was not accepted".into());
    }
    connection.shutdown(0u32.into(), b"").await;
    Ok(())
}

/// All at once.
async fn fetch(arguments: &Arguments, connection: &Connection, paths: &[String]) -> Result<(), Failure> {
    let cut_off = arguments.is(&["reliablereset"]);
    let mut streams = JoinSet::new();
    for path in paths {
        let (connection, path) = (connection.clone(), path.clone());
        streams.spawn(async move {
            let (mut send, mut recv) = connection.open_bi().await?;
            send.write_all(&request(&path)).await?;
            send.finish()?;
            let answer = match cut_off {
                true => up_to_reset(&mut recv).await?,
                false => recv.read_to_end(64 << 20).await?,
            };
            Ok::<_, Failure>((path, answer))
        });
    }
    while let Some(fetched) = streams.join_next().await {
        let (path, answer) = fetched??;
        arguments.store(&path, &answer);
    }
    Ok(())
}

/// What the peer delivers although it resets the stream, which it must.
async fn up_to_reset(recv: &mut RecvStream) -> Result<Vec<u8>, Failure> {
    let mut answer = Vec::new();
    loop {
        match recv.read_chunk(usize::MAX).await {
            Ok(Some(chunk)) => answer.extend_from_slice(&chunk),
            Ok(None) => return Err("the stream ended without a reset".into()),
            Err(ReadError::Reset(code)) if code == CUT_OFF.into() => return Ok(answer),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Sends them one after the other, and wants each back.
async fn datagrams(connection: &Connection) -> Result<(), Failure> {
    let mut back = 0;
    for number in 0..DATAGRAMS {
        let data = Bytes::from(vec![number as u8; 100 + number * 20]);
        connection.send_datagram(data.clone())?;
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
