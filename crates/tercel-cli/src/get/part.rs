//! A file on its way: `NAME.part`, beside it `NAME.part.json`, until it is whole and gets its name.
//!
//! The part holds the first bytes of one representation, and nothing else: it is written from its beginning
//! to its end, so its length says how much there is, whenever and however the program ends. The notes beside
//! it say of which representation: the URL, its total size and its validator (RFC 9110 section 8.8.1). They
//! are written whole before the first byte of the part is, and removed before a part is begun anew, so they
//! never vouch for bytes of another representation. A part without notes cannot be gone on with.

use std::fs::{File, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::{NamedTempFile, TempPath};

use crate::failure::{Doing as _, Failure, Outcome};

/// Whether a file that exists may be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Existing {
    Replace,
    Keep,
}

/// Packets bring little at a time; files are written in large pieces.
const BUFFER: usize = 1 << 20;

/// Of which representation a part is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Notes {
    pub(super) url: String,
    /// A strong entity tag or a date, as `If-Range` takes it (RFC 9110 section 13.1.5).
    pub(super) validator: String,
    /// The size of the whole, in bytes; not 0.
    pub(super) total: u64,
}

impl Notes {
    fn read(file: &Path) -> Option<Self> {
        let notes: Value = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
        let text = |name: &str| notes.get(name)?.as_str().map(str::to_owned);
        let total = notes.get("total")?.as_u64().filter(|total| *total > 0)?;
        Some(Self { url: text("url")?, validator: text("validator")?, total })
    }

    /// Replaces the file at once.
    fn write(&self, file: &Path) -> std::io::Result<()> {
        let directory = file.parent().unwrap_or(Path::new("."));
        let mut new = NamedTempFile::with_prefix_in(".tercel-", directory)?;
        let Self { url, validator, total } = self;
        writeln!(new, "{}", json!({ "url": url, "validator": validator, "total": total }))?;
        new.persist(file).map(drop).map_err(|error| error.error)
    }
}

/// A file on its way. Dropped before [`finish`](Self::finish), it leaves what can be gone on with, or nothing.
pub(super) struct Part {
    name: PathBuf,
    existing: Existing,
    part: PathBuf,
    beside: PathBuf,
    file: File,
    /// What is not written yet.
    buffer: Vec<u8>,
    /// How much there is, with the buffer.
    len: u64,
    /// `None` if it cannot be gone on with.
    notes: Option<Notes>,
    is_finished: bool,
}

fn with_suffix(name: &Path, suffix: &str) -> PathBuf {
    let mut name = name.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

impl Part {
    /// Opens the part of `name`, which is to come from `url`.
    pub(super) fn open(name: &Path, existing: Existing, url: &str) -> Outcome<Self> {
        if name.is_dir() {
            return Err(Failure::plain(format!("{} is a directory", name.display())));
        }
        if existing == Existing::Keep && name.symlink_metadata().is_ok() {
            return Err(Failure::plain(format!("{} exists already", name.display())));
        }
        let (part, beside) = (with_suffix(name, ".part"), with_suffix(name, ".part.json"));
        let doing = || format!("cannot write {}", part.display());
        let file = open_alone(&part).doing(doing)?;
        let len = file.metadata().doing(doing)?.len();
        let notes = Notes::read(&beside).filter(|notes| notes.url == url && (1..=notes.total).contains(&len));
        let mut part = Self {
            name: name.to_owned(),
            existing,
            part,
            beside,
            file,
            buffer: Vec::new(),
            len,
            notes,
            is_finished: false,
        };
        match &part.notes {
            // Of a part that is whole the last byte is fetched again: the answer says whether it is still valid.
            Some(notes) => part.cut(len.min(notes.total - 1))?,
            None => part.begin(None)?,
        }
        Ok(part)
    }

    /// What can be gone on with: of which representation it is, and how much of it there is.
    pub(super) fn resumable(&self) -> Option<(&Notes, u64)> {
        self.notes.as_ref().filter(|_| self.len > 0).map(|notes| (notes, self.len))
    }

    /// Begins anew, with a representation that can be gone on with if there are notes.
    pub(super) fn begin(&mut self, notes: Option<Notes>) -> Outcome {
        // The notes of what was go first, those of what will be come before it.
        self.notes = None;
        match std::fs::remove_file(&self.beside) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Failure::new(format!("cannot remove {}", self.beside.display()), error));
            }
            _ => {}
        }
        self.cut(0)?;
        if let Some(notes) = &notes {
            notes.write(&self.beside).doing(|| format!("cannot write {}", self.beside.display()))?;
        }
        self.notes = notes;
        Ok(())
    }

    fn cut(&mut self, len: u64) -> Outcome {
        self.buffer.clear();
        self.len = len;
        let cut = self.file.set_len(len).and_then(|()| self.file.seek(SeekFrom::Start(len)));
        cut.map(drop).doing(|| format!("cannot write {}", self.part.display()))
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Outcome {
        self.buffer.extend_from_slice(bytes);
        self.len += bytes.len() as u64;
        if self.buffer.len() < BUFFER {
            return Ok(());
        }
        tokio::task::block_in_place(|| self.flush()).doing(|| format!("cannot write {}", self.part.display()))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let flushed = self.file.write_all(&self.buffer);
        self.buffer.clear();
        flushed
    }

    /// The file is whole: gives it its name.
    pub(super) fn finish(mut self) -> Outcome {
        let flushed = tokio::task::block_in_place(|| self.flush());
        let doing = || format!("cannot write {}", self.name.display());
        flushed.doing(|| format!("cannot write {}", self.part.display()))?;
        let renamed = match self.existing {
            Existing::Replace => std::fs::rename(&self.part, &self.name),
            // What came to be meanwhile is not replaced.
            Existing::Keep => TempPath::try_from_path(&self.part).and_then(|part| {
                part.persist_noclobber(&self.name).map_err(|error| {
                    // It would remove itself else.
                    let _ = error.path.keep();
                    error.error
                })
            }),
        };
        renamed.doing(doing)?;
        self.is_finished = true;
        // If they stay they vouch for nothing.
        let _ = std::fs::remove_file(&self.beside);
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if self.is_finished {
            return;
        }
        // A disk that is full holds less than was counted: what is there is what counts.
        let _ = self.flush();
        let is_empty = self.file.metadata().is_ok_and(|metadata| metadata.len() == 0);
        if self.notes.is_none() || is_empty {
            let _ = std::fs::remove_file(&self.beside);
            let _ = std::fs::remove_file(&self.part);
        }
    }
}

/// Whether there is something of `name` that another run would go on with.
pub(super) fn is_kept(name: &Path) -> bool {
    with_suffix(name, ".part").exists() && with_suffix(name, ".part.json").exists()
}

/// Opens a file for this program alone: two that write the same part would spoil it.
fn open_alone(file: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    // FILE_SHARE_DELETE: it gets its name while it is open.
    #[cfg(windows)]
    std::os::windows::fs::OpenOptionsExt::share_mode(&mut options, 4);
    let opened = options.open(file)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let other = |_| std::io::Error::other("another program is writing it");
        // The lock ends with the program, however that ends.
        rustix::fs::flock(&opened, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(other)?;
        // The other program may have just given the file that was opened its name.
        let (ours, theirs) = (opened.metadata()?, std::fs::symlink_metadata(file)?);
        if (ours.dev(), ours.ino()) != (theirs.dev(), theirs.ino()) {
            return Err(std::io::Error::other("it is no file, or another program has just written it"));
        }
    }
    Ok(opened)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const URL: &str = "https://localhost/a";

    fn notes(total: u64) -> Notes {
        Notes { url: URL.into(), validator: "\"v\"".into(), total }
    }

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn open(name: &Path) -> Part {
        Part::open(name, Existing::Keep, URL).unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_written_is_gone_on_with() {
        let directory = tempfile::tempdir().unwrap();
        let name = directory.path().join("a");
        let mut part = open(&name);
        part.begin(Some(notes(10))).unwrap();
        part.write(b"0123").unwrap();
        drop(part);
        assert_eq!(names(directory.path()), ["a.part", "a.part.json"]);
        assert!(is_kept(&name));
        let mut part = open(&name);
        assert_eq!(part.resumable(), Some((&notes(10), 4)));
        part.write(b"456789").unwrap();
        part.finish().unwrap();
        assert_eq!((names(directory.path()), fs::read(&name).unwrap()), (vec!["a".into()], b"0123456789".to_vec()));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_cannot_be_gone_on_with_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let name = directory.path().join("a");
        let mut part = open(&name);
        part.write(b"0123").unwrap();
        drop(part);
        assert_eq!(names(directory.path()), [""; 0]);
        let mut part = open(&name);
        part.begin(Some(notes(10))).unwrap();
        drop(part);
        assert_eq!(names(directory.path()), [""; 0]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_part_is_trusted_only_with_notes_that_fit() {
        let directory = tempfile::tempdir().unwrap();
        let name = directory.path().join("a");
        let (part, beside) = (directory.path().join("a.part"), directory.path().join("a.part.json"));
        for (len, text) in [
            (4, None),
            (4, Some("")),
            (4, Some("{")),
            (4, Some(r#"{"url":"https://localhost/a","total":10}"#)),
            (4, Some(r#"{"url":"https://localhost/b","validator":"\"v\"","total":10}"#)),
            (4, Some(r#"{"url":"https://localhost/a","validator":"\"v\"","total":3}"#)),
            (0, Some(r#"{"url":"https://localhost/a","validator":"\"v\"","total":10}"#)),
            (0, Some(r#"{"url":"https://localhost/a","validator":"\"v\"","total":0}"#)),
        ] {
            fs::write(&part, vec![7; len]).unwrap();
            match text {
                Some(text) => fs::write(&beside, text).unwrap(),
                None => drop(fs::remove_file(&beside)),
            }
            let opened = open(&name);
            assert_eq!(opened.resumable(), None, "{len} {text:?}");
            assert_eq!(opened.file.metadata().unwrap().len(), 0, "{len} {text:?}");
            assert!(!beside.exists(), "{len} {text:?}");
        }
        // A whole one is asked for its last byte, so that the server says whether it is still valid.
        fs::write(&part, [7; 10]).unwrap();
        notes(10).write(&beside).unwrap();
        assert_eq!(open(&name).resumable(), Some((&notes(10), 9)));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn nothing_that_exists_is_replaced_and_two_do_not_write_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let name = directory.path().join("a");
        let mut part = open(&name);
        let second = Part::open(&name, Existing::Keep, URL).map(drop).unwrap_err().to_string();
        assert!(second.contains("another program"), "{second}");
        part.begin(Some(notes(4))).unwrap();
        part.write(b"0123").unwrap();
        fs::write(&name, b"came to be meanwhile").unwrap();
        assert!(part.finish().is_err());
        assert_eq!(fs::read(&name).unwrap(), b"came to be meanwhile");
        assert_eq!(names(directory.path()), ["a", "a.part", "a.part.json"]);
        let refused = Part::open(&name, Existing::Keep, URL).map(drop).unwrap_err().to_string();
        assert!(refused.contains("exists already"), "{refused}");
        let mut part = Part::open(&name, Existing::Replace, URL).unwrap();
        assert_eq!(part.resumable(), Some((&notes(4), 3)));
        part.write(b"3").unwrap();
        part.finish().unwrap();
        assert_eq!((names(directory.path()), fs::read(&name).unwrap()), (vec!["a".into()], b"0123".to_vec()));
    }
}
