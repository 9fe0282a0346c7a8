//! The `tercel` program: shows QUIC at work (`demo`), serves a directory (`serve`), fetches
//! (`get`) and examines (`ping`). Arguments come in here; each command is a module; every error leaves through
//! [`failure`].
#![forbid(unsafe_code)]

mod access_log;
mod args;
mod cache;
mod certificate;
mod connect;
mod demo;
mod exchange;
mod failure;
mod fingerprint;
mod get;
mod hq;
mod identity;
mod inside;
mod itself;
mod judge;
mod metrics;
mod observe;
mod partial;
mod ping;
mod progress;
mod serve;
mod signals;
mod size;
mod span;
mod target;
mod timeline;
mod trace;
mod trust;
mod verdict;
mod web;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let arguments = args::Arguments::parse();
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| {
            // What the verifier has to say is in our own message.
            tracing_subscriber::EnvFilter::new("error,rustls_platform_verifier=off")
        }))
        .with_writer(std::io::stderr)
        .init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failure::Failure::new("cannot start the runtime", error).report(),
    };
    if let Err(failure) = observe::start(&arguments) {
        return failure.report();
    }
    let outcome = runtime.block_on(async {
        match arguments.command {
            args::Command::Demo(arguments) => demo::run(arguments).await,
            args::Command::Serve(arguments) => serve::run(arguments).await,
            args::Command::Get(arguments) => get::run(arguments).await,
            args::Command::Ping(arguments) => ping::run(arguments).await,
            args::Command::Completions(arguments) => itself::completions(&arguments),
            args::Command::Man(arguments) => itself::man(&arguments),
            args::Command::Trace(arguments) => trace::run(&arguments),
        }
    });
    // What still runs (a name look-up, say) must not hold up the exit.
    runtime.shutdown_background();
    let outcome = outcome.and_then(|()| observe::finish());
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// The time, for a person to read.
#[expect(clippy::disallowed_methods, reason = "the program is not the core: it tells people how long things took")]
pub(crate) fn now() -> std::time::Instant {
    std::time::Instant::now()
}
