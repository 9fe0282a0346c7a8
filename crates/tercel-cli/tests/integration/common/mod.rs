//! What the tests of the program share.
#![allow(dead_code, clippy::unwrap_used, reason = "each test takes what it needs")]

pub(crate) mod certificates;
pub(crate) mod relay;
pub(crate) mod web;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

pub(crate) fn tercel() -> Command {
    let mut tercel = Command::new(env!("CARGO_BIN_EXE_tercel"));
    // Nobody's own.
    tercel.env("XDG_CACHE_HOME", concat!(env!("CARGO_TARGET_TMPDIR"), "/cache"));
    tercel
}

/// Runs the program to its end; gives its exit code and what it printed on both outputs.
pub(crate) fn run(command: &mut Command) -> (Option<i32>, String, String) {
    said(command.output().unwrap())
}

pub(crate) fn said(output: Output) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = output;
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// Ended with the test.
pub(crate) struct Kept(pub(crate) Child);

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `tercel serve`, ended with the test.
pub(crate) struct Server {
    pub(crate) child: Kept,
    pub(crate) port: String,
    pub(crate) pin: String,
    /// What it says after its first lines.
    pub(crate) log: Receiver<String>,
}

impl Server {
    pub(crate) fn start(directory: &Path, more: &[&str]) -> Self {
        Self::start_at("127.0.0.1:0", directory, more)
    }

    pub(crate) fn start_at(address: &str, directory: &Path, more: &[&str]) -> Self {
        let mut serve = tercel();
        serve.args(["serve", "--listen", address]).args(more).arg(directory).stdout(Stdio::piped());
        let mut child = Kept(serve.spawn().unwrap());
        let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines().map(Result::unwrap);
        let first = lines.next().unwrap();
        let port = first.split(" (HTTP/3").next().unwrap().rsplit(':').next().unwrap().to_string();
        let pin = lines.next().unwrap().rsplit(' ').next().unwrap().to_string();
        // Somebody must read what the server logs, whether or not anybody wants it.
        let (tell, log) = channel();
        std::thread::Builder::new().spawn(move || lines.for_each(|line| drop(tell.send(line)))).unwrap();
        Self { child, port, pin, log }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://localhost:{}/{path}", self.port)
    }

    /// `tercel get` of paths into a directory.
    pub(crate) fn get(&self, output: &Path, paths: &[&str], more: &[&str]) -> (Option<i32>, String, String) {
        let urls = paths.iter().map(|path| self.url(path));
        run(tercel().arg("get").args(urls).args(["--pin", &self.pin]).args(more).arg("-o").arg(output))
    }

    /// `tercel get` of a path with more arguments, to standard output.
    pub(crate) fn ask(&self, path: &str, more: &[&str]) -> (Option<i32>, String, String) {
        run(tercel().arg("get").arg(self.url(path)).args(["--pin", &self.pin, "-o", "-"]).args(more))
    }

    /// The next line of the log that has `part`.
    pub(crate) fn logged(&self, part: &str) -> String {
        loop {
            let line = self.log.recv_timeout(Duration::from_secs(20)).expect("the log should tell");
            if line.contains(part) {
                return line;
            }
        }
    }
}

/// Files that are in a directory, however they are named.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Asks the system to signal a process.
#[cfg(unix)]
pub(crate) fn signal(child: &Child, signal: &str) {
    let id = child.id().to_string();
    assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
}

/// Bytes that do not repeat and are the same for the same seed: xorshift64.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(len);
    out
}

/// A small file system that is full soon, unmounted with the test; `None`, with a printed reason, where none
/// can be mounted.
pub(crate) struct SmallDisk(pub(crate) tempfile::TempDir);

impl SmallDisk {
    pub(crate) fn new(size: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(directory.path());
        match mount.output() {
            Ok(output) if output.status.success() => Some(Self(directory)),
            Ok(output) => {
                println!("SKIPPED: no small disk: {}", String::from_utf8_lossy(&output.stderr).trim());
                None
            }
            Err(error) => {
                println!("SKIPPED: no small disk: {error}");
                None
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}
