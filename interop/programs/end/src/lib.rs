//! What the programs at the ends of a case have in common: the command line, the files, the words of
//! `hq-interop` and the exit codes. Each program is one stack as a client and as a server; the driver
//! treats all alike.
//!
//! ```text
//! PROGRAM version
//! PROGRAM server CASE --listen ADDRESS --www DIRECTORY --cert FILE --key FILE --ca FILE [--preferred ADDRESS]
//! PROGRAM client CASE --connect ADDRESS --out DIRECTORY --cert FILE --key FILE --ca FILE PATH...
//! ```
//!
//! A server says `ready` on standard output when it listens. A client stores what `GET /PATH` brings as
//! `DIRECTORY/PATH` and ends with 0 if it has all. Who cannot do CASE ends with 127, having said why.
//! What an end wants to tell of a case it prints as a line of its own.
#![forbid(unsafe_code)]

mod wire;

use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::exit;

pub use wire::Wire;

/// The application protocol of all cases but `http3`.
pub const ALPN: &[u8] = b"hq-interop";

/// The name that the server's certificate is for.
pub const SERVER_NAME: &str = "localhost";

/// How many datagrams the case `datagrams` sends, one after the other's answer or 100 ms later.
pub const DATAGRAMS: usize = 50;

/// A version of QUIC that nobody speaks (RFC 9000 section 15).
pub const RESERVED_VERSION: u32 = 0x1a2a_3a4a;

/// How often a client pings in the case `reset`, so that a server without memory has something to answer; in
/// milliseconds.
pub const KEEP_ALIVE: u64 = 200;

/// For how long an end waits in cases whose network loses much, in milliseconds.
pub const PATIENCE: u64 = 60_000;

/// Of what a server makes the tokens of its stateless resets: the same after a restart.
pub const RESET_KEY: [u8; 64] = [0x5a; 64];

/// With what a server resets streams in the case `reliablereset`, once it has made sure of the file.
pub const CUT_OFF: u32 = 77;

/// How large the file of that case is.
pub const CUT_OFF_AT: u64 = 100 << 10;

/// Which end a program is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It asks.
    Client,
    /// It answers.
    Server,
}

/// The command line.
#[derive(Debug, Clone)]
pub struct Arguments {
    /// Which end.
    pub role: Role,
    /// What is to be shown, by the names of the driver.
    pub case: String,
    /// Where to listen, or to connect to.
    pub address: SocketAddr,
    /// Server: an address to prefer, which leads to the one it listens on.
    pub preferred: Option<SocketAddr>,
    /// Server: what it serves. Client: where it stores.
    pub directory: PathBuf,
    /// The end's certificate, PEM, leaf first.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// Who signs certificates, PEM.
    pub authority: PathBuf,
    /// Client: what to ask for.
    pub paths: Vec<String>,
}

impl Arguments {
    /// Of this process. `version` is what the program says to be.
    pub fn read(version: &str) -> Self {
        let mut words = std::env::args().skip(1);
        let role = match words.next().as_deref() {
            Some("client") => Role::Client,
            Some("server") => Role::Server,
            Some("version") => {
                println!("{version}");
                exit(0);
            }
            _ => usage("version, client or server"),
        };
        let case = words.next().unwrap_or_else(|| usage("a case"));
        let (mut address, mut preferred, mut paths) = (None, None, Vec::new());
        let [mut directory, mut certificate, mut key, mut authority] = [const { None::<PathBuf> }; 4];
        while let Some(word) = words.next() {
            let mut value = || words.next().unwrap_or_else(|| usage("a value"));
            match word.as_str() {
                "--listen" | "--connect" => address = value().parse().ok(),
                "--preferred" => preferred = value().parse().ok(),
                "--www" | "--out" => directory = Some(value().into()),
                "--cert" => certificate = Some(value().into()),
                "--key" => key = Some(value().into()),
                "--ca" => authority = Some(value().into()),
                _ => paths.push(word),
            }
        }
        let file = |file: Option<PathBuf>| file.unwrap_or_else(|| usage("all options"));
        let address = address.unwrap_or_else(|| usage("an address"));
        let (directory, certificate, key, authority) = (file(directory), file(certificate), file(key), file(authority));
        Self { role, case, address, preferred, directory, certificate, key, authority, paths }
    }

    /// Whether the case is one of these.
    pub fn is(&self, cases: &[&str]) -> bool {
        cases.contains(&self.case.as_str())
    }

    /// Ends the process if the case is one of these, because `why`.
    pub fn cannot(&self, cases: &[&str], why: &str) {
        if self.is(cases) {
            unsupported(why);
        }
    }

    /// Client: what each of its connections asks for. Their number and what makes them different
    /// depends on the case: one each for every file where handshakes are to be shown, a second one that
    /// goes on with the first one's session, or a single one.
    pub fn connections(&self) -> Vec<&[String]> {
        match self.case.as_str() {
            "handshakeloss" | "handshakecorruption" => self.paths.chunks(1).collect(),
            "resumption" | "zerortt" => {
                let (first, rest) = self.paths.split_at(1);
                vec![first, rest]
            }
            _ => vec![&self.paths[..]],
        }
    }

    /// Client: stores an answer.
    pub fn store(&self, path: &str, answer: &[u8]) {
        std::fs::write(self.directory.join(path), answer).expect("the directory is there");
    }

    /// Server: the answer to a request, once that is whole; none if it is not understood.
    pub fn answer(&self, request: &[u8]) -> Option<Vec<u8>> {
        let path = std::str::from_utf8(request).ok()?.strip_prefix("GET /")?.trim_end();
        file(&self.directory, path)
    }
}

/// What is below `directory` under this name.
pub fn file(directory: &Path, path: &str) -> Option<Vec<u8>> {
    if path.contains("..") {
        return None;
    }
    std::fs::read(directory.join(path)).ok()
}

/// What a client sends on a stream, followed by FIN.
pub fn request(path: &str) -> Vec<u8> {
    format!("GET /{path}\r\n").into_bytes()
}

/// Where the keys of connections go, if they are wanted.
pub fn key_log() -> Option<File> {
    let file = std::env::var_os("SSLKEYLOGFILE")?;
    File::options().append(true).create(true).open(file).ok()
}

/// Server: it listens.
pub fn ready() {
    tell("ready");
}

/// Says a line to the driver.
pub fn tell(line: &str) {
    println!("{line}");
    let _ = std::io::stdout().flush();
}

/// Ends the process: the stack cannot do it, and why.
pub fn unsupported(why: &str) -> ! {
    tell(&format!("unsupported: {why}"));
    exit(127)
}

/// Ends the process: it went wrong.
pub fn failed(why: impl std::fmt::Display) -> ! {
    tell(&format!("failed: {why}"));
    exit(1)
}

fn usage(what: &str) -> ! {
    eprintln!("the command line lacks {what}; the documentation of tercel-interop-end has it");
    exit(2)
}
