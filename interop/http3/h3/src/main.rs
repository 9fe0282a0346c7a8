//! Ends of HTTP/3 by the h3 crate, over quinn and over Tercel, by the contract that README.md tells.
#![allow(clippy::disallowed_methods, reason = "it is told how long the requests took")]

mod client;
mod plan;
mod server;
mod site;
mod tercel;

use std::error::Error;

type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

/// The versions that the lock file has of `packages`.
fn versions(packages: &[&str]) -> String {
    let lock = include_str!("../../Cargo.lock");
    let of = |package: &&str| {
        let (_, rest) = lock.split_once(&format!("name = \"{package}\"\nversion = \""))?;
        Some(format!("{package} {}", rest.split_once('"')?.0))
    };
    packages.iter().filter_map(of).collect::<Vec<_>>().join(", ")
}

#[tokio::main]
async fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["quinn", "version"] => println!("{}", versions(&["h3", "h3-quinn", "quinn"])),
        ["tercel", "version"] => println!("{}", versions(&["h3"])),
        ["quinn", "client", port, ca, plan, parallel] => {
            client::over_quinn(port.parse()?, ca, plan, parallel.parse()?).await?
        }
        ["tercel", "client", port, ca, plan, parallel] => {
            tercel::client(port.parse()?, ca, plan, parallel.parse()?).await?
        }
        ["quinn", "server", directory, certificate, key] => server::over_quinn(directory, certificate, key).await?,
        ["tercel", "server", directory, certificate, key] => tercel::server(directory, certificate, key).await?,
        _ => return Err("usage: quinn|tercel version|client|server ...".into()),
    }
    Ok(())
}
