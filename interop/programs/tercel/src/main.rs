//! Tercel as a client and as a server of interop cases, by its async face.
#![forbid(unsafe_code)]

mod client;
mod configuration;
mod server;

use std::time::Duration;

use tercel::aio::Connection;
use tercel_interop_end::{Arguments, Role, failed};

#[tokio::main]
async fn main() {
    let arguments = Arguments::read(concat!("Tercel ", env!("CARGO_PKG_VERSION")));
    let outcome = match arguments.role {
        Role::Client => client::run(&arguments).await,
        Role::Server => server::run(arguments).await,
    };
    if let Err(error) = outcome {
        failed(error);
    }
}

/// Why a case goes wrong.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Updates the keys again and again, as long as the connection lives.
async fn storm(connection: Connection) {
    loop {
        tokio::time::sleep(Duration::from_millis(5)).await;
        if connection.handle().update_keys().is_err() {
            return;
        }
    }
}
