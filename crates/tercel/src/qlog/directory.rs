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
    logs: BTreeMap<String, Log>,
    /// How many files are open.
    opened: usize,
    /// Files that are complete, the oldest first.
    complete: VecDeque<(PathBuf, u64)>,
    total: u64,
}

/// How many files are held open. Beyond it all are closed, and opened again as there is more to write: a
/// server's file descriptors are for its sockets.
const MOST_OPEN: usize = 64;

/// A connection's log.
#[derive(Debug, Default)]
struct Log {
    current: Current,
    /// The number of the next file.
    part: u32,
}

/// The file that is written.
#[derive(Debug, Default)]
enum Current {
    /// None yet, or the last one is complete.
    #[default]
    None,
    Open {
        file: File,
        path: PathBuf,
        size: u64,
    },
    /// Closed for now.
    Shut {
        path: PathBuf,
        size: u64,
    },
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
        Ok(Self { path, limits, logs: BTreeMap::new(), opened: 0, complete, total })
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
        if self.opened >= MOST_OPEN {
            self.shut_all();
        }
        let log = self.logs.entry(name.into()).or_default();
        let (mut file, path, size) = match std::mem::take(&mut log.current) {
            Current::Open { file, path, size } => (file, path, size),
            Current::Shut { path, size } => {
                self.opened += 1;
                (OpenOptions::new().append(true).open(&path)?, path, size)
            }
            Current::None => {
                let (path, file) = create(&self.path, name, &mut log.part)?;
                self.opened += 1;
                (file, path, 0)
            }
        };
        file.write_all(text)?;
        self.total += text.len() as u64;
        let size = size + text.len() as u64;
        let written = if size >= self.limits.file {
            self.opened -= 1;
            self.complete.push_back((path, size));
            Written::Rotated
        } else {
            log.current = Current::Open { file, path, size };
            Written::Kept
        };
        self.make_room();
        Ok(written)
    }

    fn shut_all(&mut self) {
        for log in self.logs.values_mut() {
            log.current = match std::mem::take(&mut log.current) {
                Current::Open { path, size, .. } => Current::Shut { path, size },
                other => other,
            };
        }
        self.opened = 0;
    }

    fn end(&mut self, name: &str) {
        match self.logs.remove(name).map(|log| log.current) {
            Some(Current::Open { path, size, .. }) => {
                self.opened -= 1;
                self.complete.push_back((path, size));
            }
            Some(Current::Shut { path, size }) => self.complete.push_back((path, size)),
            Some(Current::None) | None => {}
        }
        self.make_room();
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
        self.end(&name);
        Ok(Written::Kept)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use tercel_wire::ConnectionId;

    use super::*;

    fn subject(id: u8) -> Subject {
        Subject { original_dcid: ConnectionId::new(&[id; 8]).unwrap(), role: Role::Server }
    }

    fn names(of: &std::path::Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(of).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_that_has_its_size_is_followed_by_another() {
        let place = tempfile::tempdir().unwrap();
        let mut directory = Directory::new(place.path().join("new"), Limits { file: 10, directory: 1000 }).unwrap();
        let told: Vec<_> = [4, 5, 1, 3].map(|len| directory.write(&subject(1), Some(&vec![b'a'; len])).unwrap()).into();
        assert_eq!(told, [Written::Kept, Written::Kept, Written::Rotated, Written::Kept]);
        directory.write(&subject(1), None).unwrap();
        let name = "0101010101010101_server";
        assert_eq!(names(&place.path().join("new")), [format!("{name}.1.sqlog"), format!("{name}.sqlog")]);
        let size = |file: String| fs::metadata(place.path().join("new").join(file)).unwrap().len();
        assert_eq!((size(format!("{name}.sqlog")), size(format!("{name}.1.sqlog"))), (10, 3));
    }

    #[test]
    fn the_oldest_files_go_when_there_is_too_much() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("before.sqlog"), [b'a'; 30]).unwrap();
        fs::write(place.path().join("other.txt"), [b'a'; 3000]).unwrap();
        let mut directory = Directory::new(place.path().into(), Limits { file: 1000, directory: 100 }).unwrap();
        for id in 1..=4 {
            directory.write(&subject(id), Some(&[b'a'; 30])).unwrap();
            directory.write(&subject(id), None).unwrap();
        }
        let kept: Vec<_> = (2..=4).map(|id| format!("{}_server.sqlog", format!("0{id}").repeat(8))).collect();
        assert_eq!(names(place.path()), [kept, vec!["other.txt".into()]].concat());
    }

    #[test]
    fn many_logs_at_a_time_need_few_open_files() {
        let place = tempfile::tempdir().unwrap();
        let mut directory = Directory::new(place.path().into(), Limits::default()).unwrap();
        for round in 0..3 {
            for id in 0..=200 {
                directory.write(&subject(id), Some(format!("{round}").as_bytes())).unwrap();
                assert!(directory.opened <= MOST_OPEN);
                let open = directory.logs.values().filter(|log| matches!(log.current, Current::Open { .. })).count();
                assert_eq!(open, directory.opened);
            }
        }
        (0..=200).for_each(|id| assert_eq!(directory.write(&subject(id), None).unwrap(), Written::Kept));
        assert_eq!((directory.opened, names(place.path()).len()), (0, 201));
        for name in names(place.path()) {
            assert_eq!(fs::read_to_string(place.path().join(name)).unwrap(), "012");
        }
    }

    #[test]
    fn an_older_log_of_the_same_name_stays() {
        let place = tempfile::tempdir().unwrap();
        for text in ["one", "two"] {
            let mut directory = Directory::new(place.path().into(), Limits::default()).unwrap();
            directory.write(&subject(1), Some(text.as_bytes())).unwrap();
        }
        let texts: Vec<_> =
            names(place.path()).iter().map(|name| fs::read_to_string(place.path().join(name)).unwrap()).collect();
        assert_eq!(texts, ["two", "one"]);
    }
}
