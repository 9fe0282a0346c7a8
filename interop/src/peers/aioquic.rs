//! aioquic, in Python. It runs in a process of its own, and what it tells comes by a pipe.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Instant;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc::unbounded_channel;

use crate::{Certificate, Client, Seen, Server, Told};

/// Python with aioquic, if `interop/tests/run` could install it.
pub fn python() -> Option<PathBuf> {
    std::env::var_os("TERCEL_AIOQUIC").map(PathBuf::from)
}

/// Begins a process with this certificate.
fn start(role: &str, certificate: &Certificate) -> (Child, ChildStdin, Lines<BufReader<ChildStdout>>) {
    let file = |text: &str, name: &str| {
        let path = std::env::temp_dir().join(format!("tercel-interop-{}-aioquic-{role}-{name}", std::process::id()));
        std::fs::write(&path, text).expect("a file");
        path
    };
    let mut child = Command::new(python().expect("aioquic is installed"))
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/src/peers/aioquic_ends.py"))
        .arg(role)
        .arg(file(&certificate.pem.certificate, "cert.pem"))
        .arg(file(&certificate.pem.key, "key.pem"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("Python");
    let input = child.stdin.take().expect("a pipe");
    let output = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    (child, input, output)
}

/// What a line tells.
fn told(line: &str) -> Told {
    let end = |seen: fn(u64) -> Seen, code: &str| Told::End(code.parse().map_or(Seen::Other(code.into()), seen));
    match line.split(' ').collect::<Vec<_>>()[..] {
        ["answer", answer] => {
            let byte = |at: usize| u8::from_str_radix(answer.get(at..at + 2)?, 16).ok();
            Told::Answer((0..answer.len()).step_by(2).map_while(byte).collect())
        }
        ["end", "application", code] => end(Seen::Application, code),
        ["end", "transport", code] => end(Seen::Transport, code),
        _ => Told::End(Seen::Other(line.into())),
    }
}

/// Starts a server.
pub async fn server() -> Server {
    let certificate = Certificate::new();
    let (child, input, mut lines) = start("server", &certificate);
    let port = lines.next_line().await.ok().flatten().and_then(|line| line.parse().ok()).expect("a port");
    let (tell, ends) = unbounded_channel();
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            if let Told::End(seen) = told(&line) {
                let _ = tell.send((seen, Instant::now()));
            }
        }
    });
    let address = (Ipv4Addr::LOCALHOST, port).into();
    Server { name: "aioquic", address, certificate: certificate.der, ends, keep: Box::new((child, input)) }
}

/// A client that shows `identity`, and trusts every server.
pub fn client(identity: &Certificate, _trusted: &Certificate) -> Client {
    let (child, mut input, mut lines) = start("client", identity);
    let (tell, told_to) = unbounded_channel();
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            let _ = tell.send((told(&line), Instant::now()));
        }
    });
    let (ask, mut asked) = unbounded_channel::<SocketAddr>();
    tokio::spawn(async move {
        // It ends with the client, and Python with it.
        let _child = child;
        while let Some(address) = asked.recv().await {
            let _ = input.write_all(format!("{}\n", address.port()).as_bytes()).await;
        }
    });
    let connect = move |address: SocketAddr| ask.send(address).expect("the process lives");
    Client { name: "aioquic", told: told_to, connect: Box::new(connect) }
}
