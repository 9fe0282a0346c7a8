//! The server.

use std::time::Duration;

use tercel::aio::{Connection, Endpoint, Incoming, RecvStream, SendStream};
use tercel::{Registration, RegistrationConfig, RetryPolicy};
use tercel_interop_end::{Arguments, CUT_OFF, PATIENCE, RESET_KEY, ready, tell};
use tokio::sync::watch;

use crate::{Failure, configuration, storm};

/// Serves until the process is ended.
pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    let mut config = RegistrationConfig::default();
    if arguments.is(&["retry"]) {
        config.retry = RetryPolicy::Always;
    }
    if arguments.is(&["v2first", "versionnegotiation"]) {
        (config.versions, _) = configuration::versions(&arguments);
    }
    config.secret = RESET_KEY.first_chunk().copied();
    config.hello_timeout = Duration::from_millis(PATIENCE);
    let endpoint = Endpoint::of(Registration::new(config)?);
    let endpoint = endpoint.listen(&configuration::server(&arguments)?, arguments.address)?;
    ready();
    while let Some(incoming) = endpoint.accept().await {
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
    let connecting = incoming.accept()?;
    match arguments.case.as_str() {
        // The client has not shown that it has the keys, and has a stream from us already.
        "halfrtt" => {
            let mut stream = connecting.early().open_uni().await?;
            stream.write_all(b"before you have finished").await?;
            stream.finish()?;
        }
        "earlyclose" => {
            connecting.early().close(7u32.into(), b"not today");
            connecting.await?;
            return Ok(());
        }
        _ => {}
    }
    // Early data is read before the handshake is complete.
    let connection = connecting.early();
    let (whole, waiting) = watch::channel(false);
    let requests = tokio::spawn(requests(connection.clone(), arguments.clone(), waiting));
    connecting.await?;
    let _ = whole.send(true);
    match arguments.case.as_str() {
        "keyupdatestorm" => drop(tokio::spawn(storm(connection.clone()))),
        "datagrams" => drop(tokio::spawn(echo(connection.clone()))),
        _ => {}
    }
    requests.await?
}

async fn requests(connection: Connection, arguments: Arguments, whole: watch::Receiver<bool>) -> Result<(), Failure> {
    loop {
        let (send, recv) = connection.accept_bi().await?;
        tokio::spawn(answer(send, recv, arguments.clone(), whole.clone()));
    }
}

async fn answer(
    mut send: SendStream,
    mut recv: RecvStream,
    arguments: Arguments,
    mut whole: watch::Receiver<bool>,
) -> Result<(), Failure> {
    let request = recv.read_to_end(8192).await?;
    if arguments.is(&["verdict"]) {
        // Nothing is heard before the verdict, so it has been given.
        let judged = tokio::time::timeout(Duration::ZERO, whole.wait_for(|whole| *whole)).await;
        tell(if judged.is_ok() { "asked after the verdict" } else { "asked before the handshake was complete" });
    }
    match arguments.answer(&request) {
        Some(file) => {
            send.write_all(&file).await?;
            match arguments.is(&["reliablereset"]) {
                true => send.reset_at(CUT_OFF.into(), file.len() as u64)?,
                false => send.finish()?,
            }
        }
        None => send.reset(404u32.into())?,
    }
    Ok(())
}

async fn echo(connection: Connection) {
    while let Ok(datagram) = connection.read_datagram().await {
        let _ = connection.send_datagram(datagram);
    }
}
