//! A worker's thread: a loop around its [`Driver`].

use std::io;
use std::thread::JoinHandle;

use super::{Driver, Park};

/// Starts the thread of a worker.
pub(crate) fn spawn(index: usize, driver: Driver) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(format!("tercel-{index}")).spawn(move || run(driver))
}

fn run(mut driver: Driver) {
    loop {
        match driver.turn() {
            Park::Done => return,
            park => {
                if let Err(error) = driver.wait(park) {
                    tracing::error!(%error, "a worker cannot wait for its sockets and ends");
                    return;
                }
            }
        }
    }
}
