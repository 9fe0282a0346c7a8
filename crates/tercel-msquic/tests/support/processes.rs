//! Tests with an end in a process of its own: a process of the same test that runs an ignored one, its role.

use std::ffi::OsString;
use std::process::{Child, Command};

/// The libraries to be paired: ours, and that which the environment names.
pub(crate) fn libraries() -> Vec<Option<OsString>> {
    std::iter::once(None).chain(std::env::var_os("TERCEL_MSQUIC_LIBRARY").map(Some)).collect()
}

/// A process of this same test that runs a role with a library.
pub(crate) fn role(role: &str, library: &Option<OsString>) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "--nocapture", role]).env_remove("TERCEL_MSQUIC_LIBRARY");
    if let Some(library) = library {
        command.env("TERCEL_MSQUIC_LIBRARY", library);
    }
    command
}

/// Ends a process that nobody waits for.
pub(crate) struct Ending(pub(crate) Child);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
