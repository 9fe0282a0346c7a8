//! Logs as files of a directory, of limited size.
//!
//! A file that has grown to its limit is followed by another with the next number. When all files
//! together are more than the directory may hold, the oldest go, whoever wrote them.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::PathBuf;

use tercel_wire::Role;

use super::{Sink, Subject, Written};

/// How large logs may grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A file, in bytes; it may be passed by one batch of events. Default 64 MiB.
    pub file: u64,
    /// All `.sqlog` files of the directory, in bytes, as far as files that are still written can be spared.
    /// Default 1 GiB.
    pub directory: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { file: 64 << 20, directory: 1 << 30 }
    }
}

/// A directory of logs.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    limits: Limits,
    open: BTreeMap<String, Open>,
    /// Files that are complete, the oldest first.
    complete: VecDeque<(PathBuf, u64)>,
    total: u64,
}

#[derive(Debug)]
struct Open {
    path: PathBuf,
    file: Option<File>,
    size: u64,
    part: u32,
}

impl Directory {
    /// The directory at `path`, which is made if it is not there.
    ///
    /// # Errors
    /// It cannot be made or read.
    pub fn new(path: PathBuf, limits: Limits) -> io::Result<Self> {
        std::fs::create_dir_all(&path)?;
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&path)? {
            let entry = entry?;
            if entry.path().extension().is_some_and(|extension| extension == "sqlog") {
                let metadata = entry.metadata()?;
                found.push((metadata.modified()?, entry.path(), metadata.len()));
            }
        }
        found.sort();
        let total = found.iter().map(|(_, _, size)| size).sum();
        let complete = found.into_iter().map(|(_, path, size)| (path, size)).collect();
        Ok(Self { path, limits, open: BTreeMap::new(), complete, total })
    }

    fn make_room(&mut self) {
        while self.total > self.limits.directory
            && let Some((path, size)) = self.complete.pop_front()
        {
            // Somebody else may have removed it.
            let _ = std::fs::remove_file(path);
            self.total = self.total.saturating_sub(size);
        }
    }

    fn append(&mut self, name: &str, text: &[u8]) -> io::Result<Written> {
        let open =
            self.open.entry(name.into()).or_insert_with(|| Open { path: PathBuf::new(), file: None, size: 0, part: 0 });
        let file = match &mut open.file {
            Some(file) => file,
            empty => {
                let (path, file) = create(&self.path, name, &mut open.part)?;
                (open.path, open.size) = (path, 0);
                empty.insert(file)
            }
        };
        file.write_all(text)?;
        open.size += text.len() as u64;
        self.total += text.len() as u64;
        let written = match open.size >= self.limits.file {
            true => {
                open.file = None;
                self.complete.push_back((open.path.clone(), open.size));
                Written::Rotated
            }
            false => Written::Kept,
        };
        self.make_room();
        Ok(written)
    }
}

/// A new file: never one that is there.
fn create(directory: &std::path::Path, name: &str, part: &mut u32) -> io::Result<(PathBuf, File)> {
    loop {
        let path = directory.join(match *part {
            0 => format!("{name}.sqlog"),
            part => format!("{name}.{part}.sqlog"),
        });
        *part += 1;
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && *part < 100_000 => {}
            Err(error) => return Err(error),
        }
    }
}

impl Sink for Directory {
    fn write(&mut self, of: &Subject, text: Option<&[u8]>) -> io::Result<Written> {
        let role = match of.role {
            Role::Client => "client",
            Role::Server => "server",
        };
        let name = format!("{}_{role}", of.original_dcid);
        if let Some(text) = text {
            return self.append(&name, text);
        }
        if let Some(open) = self.open.remove(&name)
            && open.file.is_some()
        {
            self.complete.push_back((open.path, open.size));
        }
        Ok(Written::Kept)
    }
}
