//! One exchange of `hq-interop` as a client: a download into a file, or an upload from one.

use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use tercel::aio::{Connection, ReadError, WriteError};
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;

use crate::failure::{Doing as _, Failure, Outcome};
use crate::hq::Refusal;
use crate::partial::{Existing, Partial};
use crate::progress::Progress;

/// How much of a file is read at a time.
const CHUNK: usize = 1 << 20;

/// What was moved.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moved {
    pub(crate) bytes: u64,
}

/// Downloads `path` into `file`.
pub(crate) async fn download(
    connection: &Connection,
    path: &str,
    file: PathBuf,
    existing: Existing,
    progress: &Progress,
) -> Outcome<Moved> {
    let doing = || format!("cannot fetch {path}");
    // The file first: a directory that cannot be written to should cost no transfer.
    let mut partial = Partial::create(&file, existing)?;
    let (mut send, mut recv) = connection.open_bi().await.doing(doing)?;
    send.write_all(format!("GET {path}\r\n").as_bytes()).await.doing(doing)?;
    send.finish().doing(doing)?;
    let mut bytes = 0;
    loop {
        match recv.read_chunk(CHUNK).await {
            Ok(Some(chunk)) => {
                partial.write(&chunk).await?;
                bytes += chunk.len() as u64;
                progress.add(chunk.len());
            }
            Ok(None) => break,
            Err(ReadError::Reset(code)) => return Err(Failure::new(doing(), Refusal::explain(code.into_inner()))),
            Err(error) => return Err(Failure::new(doing(), error)),
        }
    }
    partial.finish().await?;
    Ok(Moved { bytes })
}

/// Uploads `file` to `path`.
pub(crate) async fn upload(connection: &Connection, file: &Path, path: &str, progress: &Progress) -> Outcome<Moved> {
    let doing = || format!("cannot send {} to {path}", file.display());
    let mut source = File::open(file).await.doing(|| format!("cannot read {}", file.display()))?;
    let (mut send, mut recv) = connection.open_bi().await.doing(doing)?;
    let mut bytes = 0;
    let mut sent = send.write_all(format!("PUT {path}\r\n").as_bytes()).await;
    while sent.is_ok() {
        let chunk = read_chunk(&mut source).await.doing(|| format!("cannot read {}", file.display()))?;
        if chunk.is_empty() {
            sent = send.finish();
            break;
        }
        let len = chunk.len();
        sent = send.write_chunk(chunk).await;
        bytes += len as u64;
        progress.add(len);
    }
    match sent {
        Ok(()) => {}
        Err(WriteError::Stopped(code)) => return Err(Failure::new(doing(), Refusal::explain(code.into_inner()))),
        Err(error) => return Err(Failure::new(doing(), error)),
    }
    match recv.read_chunk(1).await {
        Ok(None) => Ok(Moved { bytes }),
        Ok(Some(_)) => Err(Failure::new(doing(), "the server's answer makes no sense")),
        Err(ReadError::Reset(code)) => Err(Failure::new(doing(), Refusal::explain(code.into_inner()))),
        Err(error) => Err(Failure::new(doing(), error)),
    }
}

/// The next piece of a file; empty at its end.
pub(crate) async fn read_chunk(file: &mut File) -> std::io::Result<Bytes> {
    let mut chunk = BytesMut::with_capacity(CHUNK);
    while chunk.len() < CHUNK && file.read_buf(&mut chunk).await? > 0 {}
    Ok(chunk.freeze())
}
