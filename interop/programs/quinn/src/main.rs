//! quinn as a client and as a server of interop cases. noq, which is much like it, shares this source.
#![forbid(unsafe_code)]

mod client;
mod server;
mod tls;

use std::time::Duration;

use tercel_interop_end::{Arguments, KEEP_ALIVE, Role, failed};

/// Why a case goes wrong.
type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() {
    let arguments = Arguments::read(env!("PEER"));
    arguments.cannot(&["v2", "v2first"], "it speaks version 1 only");
    arguments.cannot(&["reliablereset"], "it has no RESET_STREAM_AT");
    arguments.cannot(&["timestamps"], "it does not measure the delay of one way");
    #[cfg(not(noq))]
    arguments.cannot(&["addressdiscovery"], "it does not tell of observed addresses");
    arguments.cannot(&["http3"], "it leaves HTTP/3 to others");
    let outcome = match arguments.role {
        Role::Client => client::run(&arguments).await,
        Role::Server => server::run(arguments).await,
    };
    if let Err(error) = outcome {
        failed(error);
    }
}

/// What both ends say of the transport.
fn transport(arguments: &Arguments) -> quinn::TransportConfig {
    let mut transport = quinn::TransportConfig::default();
    if arguments.is(&["multiplexing", "streams"]) {
        transport.max_concurrent_bidi_streams(1000_u32.into());
    }
    if arguments.is(&["ackfrequency"]) {
        transport.ack_frequency_config(Some(quinn::AckFrequencyConfig::default()));
    }
    #[cfg(noq)]
    if arguments.is(&["addressdiscovery"]) {
        transport.send_observed_address_reports(true).receive_observed_address_reports(true);
    }
    if arguments.is(&["reset"]) && arguments.role == Role::Client {
        transport.keep_alive_interval(Some(Duration::from_millis(KEEP_ALIVE)));
    }
    transport
}
