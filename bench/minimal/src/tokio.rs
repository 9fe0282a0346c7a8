// quinn, and noq, which began as a copy of it: `stack` is one or the other.

include!("tls.rs");

use stack::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use stack::{ClientConfig as Client, Endpoint, ServerConfig as Server};

fn main() -> Result<()> {
    let (client, server) = tls()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let server = Server::with_crypto(Arc::new(QuicServerConfig::try_from(server)?));
        let listening = Endpoint::server(server, "127.0.0.1:0".parse()?)?;
        let address = listening.local_addr()?;
        tokio::spawn(async move {
            let connection = listening.accept().await?.await.ok()?;
            let (mut to, mut from) = connection.accept_bi().await.ok()?;
            let heard = from.read_to_end(1000).await.ok()?;
            to.write_all(&heard).await.ok()?;
            to.finish().ok()?;
            connection.closed().await;
            Some(())
        });
        let endpoint = Endpoint::client("127.0.0.1:0".parse()?)?;
        let client = Client::new(Arc::new(QuicClientConfig::try_from(client)?));
        let connection = endpoint.connect_with(client, address, "localhost")?.await?;
        let (mut to, mut from) = connection.open_bi().await?;
        to.write_all(b"hello").await?;
        to.finish()?;
        println!("{}", String::from_utf8(from.read_to_end(1000).await?)?);
        connection.close(0u32.into(), b"");
        Ok(())
    })
}
