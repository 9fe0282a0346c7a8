//! Echo by `await`: a server that sends back what it reads, and a client that asks it.
//!
//! `cargo run -p tercel --example echo_async`

use std::error::Error;

use tercel::aio::{Connection, Endpoint, Incoming};
use tercel::{Configuration, Identity, Settings, Trust};

/// A certificate made on the spot, as no real service would have it.
fn identity() -> Result<Identity, Box<dyn Error>> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()])?;
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    Ok(Identity::new(vec![made.cert.der().clone()], key.into())?)
}

/// Sends back what comes on every stream of a connection, until that ends.
async fn serve(incoming: Incoming) -> Result<(), Box<dyn Error + Send + Sync>> {
    let connection = incoming.accept()?.await?;
    while let Ok((mut send, mut recv)) = connection.accept_bi().await {
        tokio::spawn(async move {
            while let Some(chunk) = recv.read_chunk(usize::MAX).await? {
                send.write_chunk(chunk).await?;
            }
            send.finish()?;
            Ok::<_, Box<dyn Error + Send + Sync>>(())
        });
    }
    Ok(())
}

async fn ask(connection: &Connection, question: &str) -> Result<String, Box<dyn Error>> {
    let (mut send, mut recv) = connection.open_bi().await?;
    send.write_all(question.as_bytes()).await?;
    send.finish()?;
    Ok(String::from_utf8(recv.read_to_end(1 << 16).await?)?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let identity = identity()?;
    // A client that knows the very certificate; most would use Trust::system().
    let trust = Trust::Pinned(identity.fingerprint());

    let server = Configuration::server(&["echo"], Settings::default(), identity)?;
    let server = Endpoint::server(&server, "127.0.0.1:0".parse()?)?;
    let address = server.local_address().ok_or("the server listens nowhere")?;
    tokio::spawn(async move {
        while let Some(incoming) = server.accept().await {
            tokio::spawn(serve(incoming));
        }
    });

    let client = Configuration::client(&["echo"], Settings::default(), trust)?;
    let endpoint = Endpoint::client()?;
    let connection = endpoint.connect(&client, address, "localhost")?.await?;
    for question in ["hello", "are you still there?"] {
        println!("{question} -> {}", ask(&connection, question).await?);
    }
    connection.shutdown(0u32.into(), b"thank you").await;
    Ok(())
}
