//! Files over streams: a client sends a file and fetches it again, and hashes show that nothing was lost.
//!
//! `cargo run -p tercel --example file_transfer [FILE]`
//!
//! The protocol is small. A stream is one request: its first line is `put NAME`, `get NAME` or
//! `hash NAME`, and behind `put` comes the file. The answer to `get` is the file, and to the others its
//! SHA-256. What goes wrong resets the stream, so that a part is never taken for the whole.

use std::error::Error;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use bytes::BytesMut;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tercel::aio::{Connection, Endpoint, Incoming, RecvStream, SendStream};
use tercel::{Configuration, Identity, Settings, Trust};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// With this code a stream is reset whose request fails.
const FAILED: u32 = 1;
/// So much of a file is read at a time.
const CHUNK: usize = 64 * 1024;

#[tokio::main]
async fn main() -> Outcome<()> {
    let directory = tempfile::tempdir()?;
    let file = match std::env::args_os().nth(1) {
        Some(file) => PathBuf::from(file),
        None => made_file(directory.path())?,
    };

    // A certificate made on the spot, and a client that knows it; most would use Trust::system().
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()])?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let identity = Identity::new(vec![made.cert.der().clone()], key.into())?;
    let trust = Trust::Pinned(identity.fingerprint());

    let store = directory.path().join("store");
    std::fs::create_dir(&store)?;
    let server = Configuration::server(&["files"], Settings::default(), identity)?;
    let server = Endpoint::server(&server, "127.0.0.1:0".parse()?)?;
    let address = server.local_address().ok_or("the server listens nowhere")?;
    tokio::spawn(async move {
        while let Some(incoming) = server.accept().await {
            tokio::spawn(serve(incoming, store.clone()));
        }
    });

    let client = Configuration::client(&["files"], Settings::default(), trust)?;
    let endpoint = Endpoint::client()?;
    let connection = endpoint.connect(&client, address, "localhost")?.await?;
    let sent = put(&connection, "copy", &file).await?;
    println!("sent {sent}, and the server has the same");
    // A request does not wait for another: each has a stream of its own.
    let fetched = directory.path().join("fetched");
    let (got, promised) = tokio::try_join!(get(&connection, "copy", &fetched), hash(&connection, "copy"))?;
    if got.hash != promised || got.hash != sent.hash {
        return Err("the file that came back is another".into());
    }
    println!("fetched {got}");
    if let Err(error) = get(&connection, "missing", &fetched).await {
        println!("a file that is not there: {error}");
    }
    connection.shutdown(0u32.into(), b"").await;
    Ok(())
}

/// Client: sends `file` as `name`, and checks what the server says that it has.
async fn put(connection: &Connection, name: &str, file: &Path) -> Outcome<Contents> {
    let (mut send, mut recv) = connection.open_bi().await?;
    send.write_all(format!("put {name}\n").as_bytes()).await?;
    let sent = send_file(&mut send, file).await?;
    send.finish()?;
    match recv.read_to_end(sent.hash.len()).await? == sent.hash {
        true => Ok(sent),
        false => Err("what the server has is not what was sent".into()),
    }
}

/// Client: fetches `name` into `file`.
async fn get(connection: &Connection, name: &str, file: &Path) -> Outcome<Contents> {
    let (mut send, mut recv) = connection.open_bi().await?;
    send.write_all(format!("get {name}\n").as_bytes()).await?;
    // A server that has answered already has no use for the end of the question: its answer tells what it found.
    let _ = send.finish();
    receive_file(&mut recv, file).await
}

/// Client: asks for the hash of `name`.
async fn hash(connection: &Connection, name: &str) -> Outcome<Vec<u8>> {
    let (mut send, mut recv) = connection.open_bi().await?;
    send.write_all(format!("hash {name}\n").as_bytes()).await?;
    let _ = send.finish();
    Ok(recv.read_to_end(digest::SHA256_OUTPUT_LEN).await?)
}

/// Server: answers every stream of a connection, each in a task of its own.
async fn serve(incoming: Incoming, store: PathBuf) -> Outcome<()> {
    let connection = incoming.accept()?.await?;
    while let Ok((mut send, recv)) = connection.accept_bi().await {
        let store = store.clone();
        tokio::spawn(async move {
            let answered = answer(&mut send, recv, &store).await;
            // A stream that is dropped counts as finished, which a failed one is not.
            match answered {
                Ok(()) => send.finish(),
                Err(_) => send.reset(FAILED.into()),
            }
        });
    }
    Ok(())
}

/// Server: does what one stream asks for.
async fn answer(send: &mut SendStream, mut recv: RecvStream, store: &Path) -> Outcome<()> {
    let line = read_line(&mut recv).await?;
    let (verb, name) = line.split_once(' ').ok_or("a line without a name")?;
    // A name, and not a path that leads elsewhere.
    if name.starts_with('.') || !name.chars().all(|letter| letter.is_ascii_alphanumeric() || "._-".contains(letter)) {
        return Err("not a name".into());
    }
    let file = store.join(name);
    match verb {
        "put" => send.write_all(&receive_file(&mut recv, &file).await?.hash).await?,
        "get" => drop(send_file(send, &file).await?),
        "hash" => send.write_all(digest::digest(&digest::SHA256, &tokio::fs::read(&file).await?).as_ref()).await?,
        _ => return Err("neither put nor get nor hash".into()),
    }
    Ok(())
}

/// A line of at most 100 bytes, without its end. What follows stays in the stream.
async fn read_line(recv: &mut RecvStream) -> Outcome<String> {
    let mut line = Vec::new();
    while line.len() < 100 {
        match recv.read_u8().await? {
            b'\n' => return Ok(String::from_utf8(line)?),
            byte => line.push(byte),
        }
    }
    Err("a line without an end".into())
}

/// What has passed through a stream.
struct Contents {
    len: u64,
    hash: Vec<u8>,
}

impl std::fmt::Display for Contents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes with SHA-256 ", self.len)?;
        self.hash.iter().take(4).try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("...")
    }
}

async fn send_file(send: &mut SendStream, file: &Path) -> Outcome<Contents> {
    let (mut len, mut hash) = (0, digest::Context::new(&digest::SHA256));
    let (mut file, mut buffer) = (File::open(file).await?, BytesMut::new());
    loop {
        buffer.reserve(CHUNK);
        if file.read_buf(&mut buffer).await? == 0 {
            return Ok(Contents { len, hash: hash.finish().as_ref().to_vec() });
        }
        let chunk = buffer.split().freeze();
        hash.update(&chunk);
        len += chunk.len() as u64;
        // Not copied; waits while enough is under way.
        send.write_chunk(chunk).await?;
    }
}

/// Writes beside `file` first: it appears when it is whole, or not at all.
async fn receive_file(recv: &mut RecvStream, file: &Path) -> Outcome<Contents> {
    let beside = tempfile::NamedTempFile::new_in(file.parent().unwrap_or(Path::new(".")))?;
    let (mut len, mut hash) = (0, digest::Context::new(&digest::SHA256));
    let mut to = File::from_std(beside.reopen()?);
    while let Some(chunk) = recv.read_chunk(CHUNK).await? {
        hash.update(&chunk);
        len += chunk.len() as u64;
        to.write_all(&chunk).await?;
    }
    to.flush().await?;
    beside.persist(file)?;
    Ok(Contents { len, hash: hash.finish().as_ref().to_vec() })
}

/// 8 MiB, made up.
fn made_file(directory: &Path) -> Outcome<PathBuf> {
    let file = directory.join("made");
    let contents: Vec<u8> = (0..8u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(&file, contents)?;
    Ok(file)
}
