//! 0-RTT with a ticket that was kept in a file, as by another process.
//!
//! `cargo run -p tercel --example early_data`

use std::error::Error;
use std::net::SocketAddr;

use rustls::pki_types::PrivatePkcs8KeyDer;
use tercel::aio::Endpoint;
use tercel::{Configuration, Connect, Identity, ResumptionTicket, Settings, Trust};

const ALPN: &[&str] = &["question"];

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()])?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let identity = Identity::new(vec![made.cert.der().clone()], key.into())?;
    let trust = Trust::Pinned(identity.fingerprint());

    let server =
        Endpoint::server(&Configuration::server(ALPN, Settings::default(), identity)?, "127.0.0.1:0".parse()?)?;
    let address = server.local_address().ok_or("not bound")?;
    tokio::spawn(async move {
        while let Some(incoming) = server.accept().await {
            tokio::spawn(async move {
                let connection = incoming.accept().ok()?.await.ok()?;
                while let Ok((mut send, mut recv)) = connection.accept_bi().await {
                    let question = recv.read_to_end(1000).await.ok()?;
                    send.write_all(&[b"you asked: ", &question[..]].concat()).await.ok()?;
                    send.finish().ok()?;
                }
                Some(())
            });
        }
    });

    let directory = tempfile::tempdir()?;
    let kept = directory.path().join("ticket");
    for visit in ["first", "second"] {
        // As a process that has just begun: all it knows is in the file.
        let client = Configuration::client(ALPN, Settings::default(), trust.clone())?.without_session_cache();
        let ticket = match std::fs::read(&kept) {
            Ok(bytes) => Some(ResumptionTicket::from_bytes(&bytes)?),
            Err(_) => None,
        };
        let (answer, resumed, early) = ask(&client, address, ticket, &kept).await?;
        println!("{visit} visit: {answer} (resumed: {resumed}, with early data: {early})");
    }
    Ok(())
}

async fn ask(
    client: &Configuration,
    address: SocketAddr,
    ticket: Option<ResumptionTicket>,
    kept: &std::path::Path,
) -> Result<(String, bool, bool), Box<dyn Error>> {
    let endpoint = Endpoint::client()?;
    let mut connect = Connect::new(address, "localhost");
    connect.ticket = ticket;
    let connecting = endpoint.connect_with(client, connect)?;
    // Before the handshake is complete: with a ticket it goes out in the first datagram.
    let (mut send, mut recv) = connecting.early().open_bi().await?;
    send.write_all(b"what time is it?").await?;
    send.finish()?;
    let connection = connecting.await?;
    let answer = String::from_utf8(recv.read_to_end(1000).await?)?;
    std::fs::write(kept, connection.resumption_ticket().await?.to_bytes())?;
    connection.shutdown(0u32.into(), b"").await;
    Ok((answer, connection.is_resumed(), connection.is_early_data_accepted()))
}
