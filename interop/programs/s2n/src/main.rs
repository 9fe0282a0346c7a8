//! s2n-quic, with rustls, as a client and as a server of interop cases.
#![forbid(unsafe_code)]

mod client;
mod providers;
mod server;

use tercel_interop_end::{Arguments, Role, failed};

/// Why a case goes wrong.
type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() {
    let arguments = Arguments::read(env!("PEER"));
    arguments.cannot(&["v2", "v2first"], "it speaks version 1 only");
    arguments.cannot(&["reliablereset"], "it has no RESET_STREAM_AT");
    arguments.cannot(&["timestamps"], "it does not measure the delay of one way");
    arguments.cannot(&["addressdiscovery"], "it does not tell of observed addresses");
    arguments.cannot(&["grease"], "it leaves the QUIC bit alone");
    arguments.cannot(&["resumption", "zerortt"], "its rustls session ends with the handshake, before tickets");
    arguments.cannot(&["ackfrequency"], "it does not know this extension");
    arguments.cannot(&["http3"], "its h3 is on no registry");
    let outcome = match arguments.role {
        Role::Client => client::run(&arguments).await,
        Role::Server => server::run(arguments).await,
    };
    if let Err(error) = outcome {
        failed(error);
    }
}
