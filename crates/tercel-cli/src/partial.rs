//! A file that appears under its name only when it is whole.

use std::io;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
use tokio::fs::File;
use tokio::io::{AsyncWriteExt as _, BufWriter};

/// Packets bring little at a time; files are written in large pieces.
const BUFFER: usize = 1 << 20;

/// A file being written under a temporary name beside its own. Dropped before
/// [`finish`](Self::finish), it leaves nothing behind. Never in place of another.
pub(crate) struct Partial {
    name: PathBuf,
    temporary: NamedTempFile,
    file: BufWriter<File>,
}

impl Partial {
    pub(crate) fn create(name: &Path) -> io::Result<Self> {
        let directory = name.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let temporary = tempfile::Builder::new().prefix(".tercel-").suffix(".part").tempfile_in(directory)?;
        let file = temporary.reopen()?;
        let file = BufWriter::with_capacity(BUFFER, File::from_std(file));
        Ok(Self { name: name.to_path_buf(), temporary, file })
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes).await
    }

    /// The file is whole: gives it its name.
    pub(crate) async fn finish(mut self) -> io::Result<()> {
        self.file.flush().await?;
        // A temporary file is private to its owner; the finished one is an ordinary file.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let permissions = std::fs::Permissions::from_mode(0o644);
            self.file.get_ref().set_permissions(permissions).await?;
        }
        self.temporary.persist_noclobber(&self.name).map(drop).map_err(|error| error.error)
    }
}
