//! What is remembered of servers between runs: a ticket to go on with the session (RFC 8446 section 2.2), a
//! token that proves our address (RFC 9000 section 8.1.3), and which of the server's addresses answered.
//!
//! One small file for each server, a hash and a line of JSON, named by a hash of what must agree for it to be used: host, port,
//! application protocols and trust. It is for its owner's eyes alone, as a ticket is as secret as a password,
//! and it is used once: who takes it renames it first, so that two runs at a time do not show the same ticket,
//! which would let others link them (RFC 8446 appendix C.4). What cannot be read, or has expired, is as if it
//! were not there. Nothing here ever fails a run.

use std::fs;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tercel::{Bytes, ResumptionTicket};

/// Of so many servers something is kept.
const SERVERS: usize = 256;

/// How long something is kept: no ticket lives longer (RFC 8446 section 4.6.1).
const AGE: Duration = Duration::from_secs(7 * 24 * 3600);

/// The form of the files. One of another release is not read.
const FORM: u64 = 1;

/// The directory of the files.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    directory: PathBuf,
}

/// What must agree for something to be used again.
#[derive(Debug, Clone)]
pub(crate) struct Key(String);

impl Key {
    pub(crate) fn new(host: &str, port: u16, alpn: &[&[u8]], trust: &str) -> Self {
        let mut text = Vec::new();
        let port = port.to_be_bytes();
        // Each with its length, so that no two lists look alike.
        for part in [host.as_bytes(), &port, trust.as_bytes()].iter().chain(alpn) {
            text.extend_from_slice(&(part.len() as u64).to_be_bytes());
            text.extend_from_slice(part);
        }
        Self(sum(&text))
    }
}

/// What is remembered of a server.
#[derive(Debug, Clone, Default)]
pub(crate) struct Memory {
    /// The address that answered.
    pub(crate) address: Option<SocketAddr>,
    pub(crate) ticket: Option<ResumptionTicket>,
    /// Whether the session is one of HTTP/3, so that early requests are.
    pub(crate) is_http3: bool,
    /// Empty if there is none.
    pub(crate) token: Bytes,
    /// The end of the validity of the server's certificate, in seconds since 1970.
    pub(crate) valid_until: Option<i64>,
}

impl Cache {
    /// The one of this user: `tercel/sessions` in the system's directory for what can be made again.
    pub(crate) fn of_user() -> Option<Self> {
        let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let caches = match () {
            () if cfg!(windows) => variable("LOCALAPPDATA"),
            () if cfg!(target_os = "macos") => variable("HOME").map(|home| home.join("Library/Caches")),
            () => None,
        };
        // As the XDG Base Directory Specification has it, wherever it is asked for.
        let caches = variable("XDG_CACHE_HOME").or(caches).or_else(|| Some(variable("HOME")?.join(".cache")))?;
        Some(Self { directory: caches.join("tercel").join("sessions") })
    }

    /// Takes out what is remembered of a server; nothing is also an answer.
    pub(crate) fn take(&self, key: &Key) -> Memory {
        let file = self.directory.join(&key.0);
        let taken = match self.claim(&file) {
            Ok(taken) => taken,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Memory::default(),
            Err(error) => {
                tracing::debug!(%error, file = %file.display(), "cannot take what is remembered of a server");
                return Memory::default();
            }
        };
        Memory::read(&taken, now()).unwrap_or_else(|why| {
            tracing::debug!(why, file = %file.display(), "what is remembered of a server is of no use");
            Memory::default()
        })
    }

    /// Whoever renames a file first has it.
    fn claim(&self, file: &Path) -> io::Result<Vec<u8>> {
        let ours = NamedTempFile::with_prefix_in("taken-", &self.directory)?;
        fs::rename(file, ours.path())?;
        fs::read(ours.path())
    }

    /// Remembers something of a server, in place of what was.
    pub(crate) fn put(&self, key: &Key, memory: &Memory) {
        if let Err(error) = self.store(key, memory) {
            tracing::debug!(%error, directory = %self.directory.display(), "cannot remember a server");
        }
    }

    fn store(&self, key: &Key, memory: &Memory) -> io::Result<()> {
        let mut directories = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut directories, 0o700);
        directories.recursive(true).create(&self.directory)?;
        // Made for its owner alone, mode 0600.
        let mut new = NamedTempFile::with_prefix_in("new-", &self.directory)?;
        new.write_all(&memory.write(now()))?;
        new.persist(self.directory.join(&key.0)).map_err(|error| error.error)?;
        self.prune()
    }

    /// Forgets those that were not met for the longest time, if there are too many; and what broken runs left.
    fn prune(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            files.push((entry.metadata()?.modified()?, entry.path()));
        }
        files.sort_by(|one, other| other.cmp(one));
        for (_, file) in files.iter().skip(SERVERS) {
            fs::remove_file(file)?;
        }
        Ok(())
    }
}

impl Memory {
    fn write(&self, now: Duration) -> Vec<u8> {
        let memory = json!({
            "form": FORM,
            "stored": now.as_secs(),
            "address": self.address.map(|address| address.to_string()),
            "ticket": self.ticket.as_ref().map(|ticket| hex(&ticket.to_bytes())),
            "http3": self.is_http3,
            "token": hex(&self.token),
            "valid_until": self.valid_until,
        });
        let memory = memory.to_string();
        format!("{}\n{memory}\n", sum(memory.as_bytes())).into_bytes()
    }

    /// # Errors
    /// Why it is of no use.
    fn read(bytes: &[u8], now: Duration) -> Result<Self, &'static str> {
        let text = std::str::from_utf8(bytes).map_err(|_| "it is broken")?;
        let (written, text) = text.strip_suffix('\n').and_then(|text| text.split_once('\n')).ok_or("it is broken")?;
        // A ticket that is not as it was would have the server break off the handshake.
        if written != sum(text.as_bytes()) {
            return Err("it is broken");
        }
        let value: Value = serde_json::from_str(text).map_err(|_| "it is broken")?;
        let number = |name: &str| value.get(name).and_then(Value::as_u64);
        if number("form") != Some(FORM) {
            return Err("it is of another release");
        }
        let stored = number("stored").ok_or("it does not say when it was written")?;
        // A clock that was set back makes it as old as can be.
        if now.as_secs().checked_sub(stored).is_none_or(|age| age > AGE.as_secs()) {
            return Err("it is too old");
        }
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        let address = text("address").and_then(|address| address.parse().ok());
        let token = text("token").and_then(bytes_of).ok_or("its token is broken")?.into();
        let valid_until = value.get("valid_until").and_then(Value::as_i64);
        let ticket = match text("ticket") {
            None => None,
            Some(ticket) => {
                let ticket = bytes_of(ticket).and_then(|ticket| ResumptionTicket::from_bytes(&ticket).ok());
                Some(ticket.ok_or("its ticket is broken")?)
            }
        };
        // Nobody judges the certificate of a session that goes on, so it must not outlive it.
        let is_valid = valid_until.is_none_or(|until| u64::try_from(until).is_ok_and(|until| until > now.as_secs()));
        let ticket = ticket.filter(|ticket| is_valid && ticket.expires() > now);
        let is_http3 = value.get("http3").and_then(Value::as_bool).unwrap_or(false);
        Ok(Self { address, ticket, is_http3, token, valid_until })
    }
}

/// A hash, in letters.
fn sum(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

/// The time since 1970.
#[expect(clippy::disallowed_methods, reason = "what expires does so by the time of day")]
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    let digit = |letter: &u8| char::from(*letter).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, []) = hex.as_bytes().as_chunks::<2>() else { return None };
    pairs.iter().map(|[high, low]| Some(digit(high)? << 4 | digit(low)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> (tempfile::TempDir, Cache) {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache { directory: directory.path().join("deep").join("sessions") };
        (directory, cache)
    }

    fn key(number: u16) -> Key {
        Key::new("localhost", number, &[b"h3"], "system")
    }

    fn memory() -> Memory {
        Memory { address: "[::1]:7".parse().ok(), token: Bytes::from_static(b"\0token\xff"), ..Memory::default() }
    }

    #[test]
    fn what_is_put_is_taken_once() {
        let (_directory, cache) = cache();
        assert!(cache.take(&key(1)).address.is_none());
        cache.put(&key(1), &memory());
        cache.put(&key(2), &Memory::default());
        let taken = cache.take(&key(1));
        assert_eq!((taken.address, taken.token), (memory().address, memory().token));
        assert!(cache.take(&key(1)).address.is_none());
        assert_eq!(fs::read_dir(&cache.directory).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn files_are_for_their_owner_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let (_directory, cache) = cache();
        cache.put(&key(1), &memory());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&cache.directory), mode(&cache.directory.join(key(1).0))), (0o700, 0o600));
    }

    #[test]
    fn keys_differ_in_every_part() {
        let keys = [
            Key::new("a", 1, &[b"h3"], "x"),
            Key::new("b", 1, &[b"h3"], "x"),
            Key::new("a", 2, &[b"h3"], "x"),
            Key::new("a", 1, &[b"h3", b"hq"], "x"),
            Key::new("a", 1, &[b"h3hq"], "x"),
            Key::new("a", 1, &[b"h3"], "y"),
        ];
        let distinct: std::collections::BTreeSet<_> = keys.iter().map(|key| &key.0).collect();
        assert_eq!(distinct.len(), keys.len());
    }

    #[test]
    fn what_is_old_or_broken_is_of_no_use() {
        let at = Duration::from_secs(1_000_000);
        let written = memory().write(at);
        assert!(Memory::read(&written, at + AGE).is_ok());
        assert_eq!(Memory::read(&written, at + AGE + Duration::from_secs(1)).unwrap_err(), "it is too old");
        assert_eq!(Memory::read(&written, at - Duration::from_secs(1)).unwrap_err(), "it is too old");
        for end in 0..written.len() {
            assert!(Memory::read(&written[..end], at).is_err(), "{end}");
        }
        let text = String::from_utf8(written).unwrap();
        let text = text.lines().last().unwrap();
        for (from, to, why) in [
            ("\"form\":1", "\"form\":2", "another release"),
            ("\"token\":\"", "\"token\":\"0", "token is broken"),
            ("\"token\":\"", "\"token\":\"zz", "token is broken"),
            ("\"ticket\":null", "\"ticket\":\"00\"", "ticket is broken"),
        ] {
            assert!(text.contains(from), "{text}");
            let changed = text.replace(from, to);
            let told = Memory::read(format!("{}\n{changed}\n", sum(text.as_bytes())).as_bytes(), at).unwrap_err();
            assert_eq!(told, "it is broken");
            let told = Memory::read(format!("{}\n{changed}\n", sum(changed.as_bytes())).as_bytes(), at).unwrap_err();
            assert!(told.contains(why), "{told}");
        }
    }

    #[test]
    fn there_are_never_more_than_so_many_files() {
        let (_directory, cache) = cache();
        for number in 0..u16::try_from(SERVERS + 3).unwrap() {
            cache.put(&key(number), &Memory::default());
        }
        assert_eq!(fs::read_dir(&cache.directory).unwrap().count(), SERVERS);
    }
}
