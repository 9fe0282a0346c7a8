//! quiche's ends of HTTP/3, by the contract that README.md tells.
#![allow(clippy::disallowed_methods, reason = "it is told how long the requests took")]

mod client;
mod message;
mod outgoing;
mod server;
mod wire;

use std::error::Error;

type Outcome = Result<(), Box<dyn Error>>;

fn version() -> &'static str {
    let lock = include_str!("../../Cargo.lock");
    let rest = lock.split_once("name = \"quiche\"\nversion = \"").map_or("", |(_, rest)| rest);
    rest.split_once('"').map_or("", |(version, _)| version)
}

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["version"] => println!("{}", version()),
        ["client", port, ca, plan, parallel] => client::run(port.parse()?, ca, plan, parallel.parse()?)?,
        ["server", directory, certificate, key] => server::run(directory, certificate, key)?,
        _ => return Err("usage: version|client|server ...".into()),
    }
    Ok(())
}

/// What both ends say of themselves; more than quiche's defaults, which allow no streams.
fn config() -> Result<quiche::Config, quiche::Error> {
    let mut config = quiche::Config::new(quiche::PROTOCOL_VERSION)?;
    config.set_application_protos(quiche::h3::APPLICATION_PROTOCOL)?;
    config.set_max_idle_timeout(30_000);
    config.set_max_recv_udp_payload_size(1500);
    config.set_max_send_udp_payload_size(1350);
    config.set_initial_max_data(10_000_000);
    config.set_initial_max_stream_data_bidi_local(1_000_000);
    config.set_initial_max_stream_data_bidi_remote(1_000_000);
    config.set_initial_max_stream_data_uni(1_000_000);
    config.set_initial_max_streams_bidi(100);
    config.set_initial_max_streams_uni(100);
    Ok(config)
}
