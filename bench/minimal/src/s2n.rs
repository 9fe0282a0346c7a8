//! s2n-quic, with rustls: a client says something to a server, and hears it back.

include!("tls.rs");

use s2n_quic::client::{Client, Connect};
use s2n_quic::provider::tls::rustls as provider;
use s2n_quic::server::Server;

fn main() -> Result<()> {
    let (client, server) = tls()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut server = Server::builder().with_tls(provider::Server::from(server))?.with_io("127.0.0.1:0")?.start()?;
        let address = server.local_addr()?;
        tokio::spawn(async move {
            let mut connection = server.accept().await?;
            let mut stream = connection.accept_bidirectional_stream().await.ok()??;
            let heard = stream.receive().await.ok()??;
            stream.send(heard).await.ok()?;
            stream.finish().ok()?;
            while let Ok(Some(_)) = connection.accept_bidirectional_stream().await {}
            Some(())
        });
        let client = Client::builder().with_tls(provider::Client::from(client))?.with_io("127.0.0.1:0")?.start()?;
        let mut connection = client.connect(Connect::new(address).with_server_name("localhost")).await?;
        let mut stream = connection.open_bidirectional_stream().await?;
        stream.send("hello".into()).await?;
        stream.finish()?;
        let heard = stream.receive().await?.ok_or("nothing was heard")?;
        println!("{}", String::from_utf8(heard.to_vec())?);
        Ok(())
    })
}
