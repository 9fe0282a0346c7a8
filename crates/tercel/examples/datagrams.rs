//! Datagrams (RFC 9221): sent once, unordered, without a promise.
//!
//! `cargo run -p tercel --example datagrams`

use std::error::Error;
use std::time::Duration;

use rustls::pki_types::PrivatePkcs8KeyDer;
use tercel::aio::Endpoint;
use tercel::{Bytes, Configuration, Identity, Settings, Trust};

const ALPN: &[&str] = &["ticks"];

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()])?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let identity = Identity::new(vec![made.cert.der().clone()], key.into())?;
    let trust = Trust::Pinned(identity.fingerprint());
    // Both ends must say how large a datagram they take; without, there are none.
    let settings = Settings { max_datagram_size: 1200, ..Settings::default() };

    let configuration = Configuration::server(ALPN, settings.clone(), identity)?;
    let server = Endpoint::server(&configuration, "127.0.0.1:0".parse()?)?;
    let address = server.local_address().ok_or("not bound")?;
    tokio::spawn(async move {
        let connection = server.accept().await?.accept().ok()?.await.ok()?;
        while let Ok(datagram) = connection.read_datagram().await {
            connection.send_datagram(datagram).ok()?;
        }
        Some(())
    });

    let client = Endpoint::client()?;
    let configuration = Configuration::client(ALPN, settings, trust)?;
    let connection = client.connect(&configuration, address, "localhost")?.await?;
    let max = connection.max_datagram_size().ok_or("the server takes no datagrams")?;
    println!("a datagram can have {max} bytes");
    for tick in 0..10u32 {
        connection.send_datagram(Bytes::copy_from_slice(&tick.to_be_bytes()))?;
    }
    // Some may be lost; nobody waits for those.
    let mut back = 0;
    while back < 10 && tokio::time::timeout(Duration::from_millis(500), connection.read_datagram()).await.is_ok() {
        back += 1;
    }
    println!("{back} of 10 came back");
    Ok(())
}
