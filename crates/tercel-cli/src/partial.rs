//! A file that appears under its name only when it is whole.

use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
use tokio::fs::File;
use tokio::io::{AsyncWriteExt as _, BufWriter};

use crate::failure::{Doing, Failure, Outcome};

/// Whether a file that exists may be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    Replace,
    Keep,
}

/// Packets bring little at a time; files are written in large pieces.
const BUFFER: usize = 1 << 20;

/// A file being written under a temporary name beside its own. Dropped before
/// [`finish`](Self::finish), it leaves nothing behind.
pub(crate) struct Partial {
    name: PathBuf,
    existing: Existing,
    temporary: NamedTempFile,
    file: BufWriter<File>,
}

impl Partial {
    pub(crate) fn create(name: &Path, existing: Existing) -> Outcome<Self> {
        let directory = match name.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        if name.is_dir() {
            return Err(Failure::plain(format!("{} is a directory", name.display())));
        }
        if existing == Existing::Keep && name.exists() {
            return Err(Failure::plain(format!("{} exists already", name.display())));
        }
        let temporary = tempfile::Builder::new()
            .prefix(".tercel-")
            .suffix(".part")
            .tempfile_in(directory)
            .doing(|| format!("cannot write to {}", directory.display()))?;
        let file = temporary.reopen().doing(|| format!("cannot write to {}", directory.display()))?;
        Ok(Self {
            name: name.to_path_buf(),
            existing,
            temporary,
            file: BufWriter::with_capacity(BUFFER, File::from_std(file)),
        })
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Outcome {
        self.file.write_all(bytes).await.doing(|| format!("cannot write {}", self.name.display()))
    }

    /// The file is whole: gives it its name.
    pub(crate) async fn finish(mut self) -> Outcome {
        let doing = || format!("cannot write {}", self.name.display());
        self.file.flush().await.doing(doing)?;
        // A temporary file is private to its owner; the finished one is an ordinary file.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let permissions = std::fs::Permissions::from_mode(0o644);
            self.file.get_ref().set_permissions(permissions).await.doing(doing)?;
        }
        let renamed = match self.existing {
            Existing::Replace => self.temporary.persist(&self.name),
            Existing::Keep => self.temporary.persist_noclobber(&self.name),
        };
        renamed.map(drop).map_err(|error| error.error).doing(|| format!("cannot write {}", self.name.display()))
    }
}
