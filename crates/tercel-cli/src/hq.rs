//! `hq-interop`: HTTP/0.9 over QUIC, as the QUIC interop runner uses it, and a plain upload beside
//! it.
//!
//! One request a bidirectional stream. `GET /path` is answered with the file and FIN. `PUT /path`
//! and CRLF, followed by the file and FIN, is answered with FIN alone. HTTP/0.9 has no status, so a
//! refusal is a reset of the stream with the number of the HTTP status that would say it.

use std::path::{Component, Path, PathBuf};

/// The application protocol's name.
pub(crate) const ALPN: &str = "hq-interop";

/// The longest request line, in bytes.
pub(crate) const MAX_REQUEST: usize = 8 << 10;

/// What a request line asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Put,
}

/// Why a request is refused; the value is that of the HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Refusal {
    BadRequest = 400,
    Forbidden = 403,
    NotFound = 404,
    MethodNotAllowed = 405,
    Conflict = 409,
    InternalError = 500,
    InsufficientStorage = 507,
}

impl Refusal {
    /// As a stream's application error code.
    pub(crate) const fn code(self) -> u32 {
        self as u32
    }

    /// What an error of the file system means to a client.
    pub(crate) fn of(error: &std::io::Error) -> Self {
        use std::io::ErrorKind as E;
        match error.kind() {
            E::NotFound | E::NotADirectory | E::InvalidFilename | E::InvalidInput => Self::NotFound,
            E::PermissionDenied | E::ReadOnlyFilesystem => Self::Forbidden,
            E::AlreadyExists => Self::Conflict,
            E::StorageFull | E::QuotaExceeded | E::FileTooLarge => Self::InsufficientStorage,
            _ => Self::InternalError,
        }
    }

    /// What a code that the server reset a stream with means.
    pub(crate) fn explain(code: u64) -> String {
        match code {
            400 => "the server did not understand the request".into(),
            403 => "the server may not read or write it".into(),
            404 => "the server has no such file".into(),
            405 => "the server takes no uploads".into(),
            409 => "the server has a file of that name already".into(),
            500 => "the server failed".into(),
            507 => "the server's disk is full".into(),
            code => format!("the server reset the stream with code {code}"),
        }
    }
}

/// Reads a request line (without its line end).
pub(crate) fn parse(line: &[u8]) -> Result<(Method, &str), Refusal> {
    let line = std::str::from_utf8(line).map_err(|_| Refusal::BadRequest)?;
    let (method, path) = line.trim_end().split_once(' ').ok_or(Refusal::BadRequest)?;
    let method = match method {
        "GET" => Method::Get,
        "PUT" => Method::Put,
        _ => return Err(Refusal::MethodNotAllowed),
    };
    match path.starts_with('/') {
        true => Ok((method, path)),
        false => Err(Refusal::BadRequest),
    }
}

/// The file below `root` that a path of a request names. Never leaves `root`: a path with `..`, a
/// drive or an encoded slash is refused.
pub(crate) fn resolve(root: &Path, path: &str) -> Result<PathBuf, Refusal> {
    let path = path.split('?').next().unwrap_or_default();
    let mut file = root.to_path_buf();
    for part in path.split('/').filter(|part| !part.is_empty()) {
        let part = decode(part).ok_or(Refusal::BadRequest)?;
        let mut components = Path::new(&part).components();
        match (components.next(), components.next()) {
            (Some(Component::Normal(name)), None) if name == part.as_str() => file.push(name),
            _ => return Err(Refusal::NotFound),
        }
    }
    Ok(file)
}

/// Decodes %XX; `None` if that gives no UTF-8, or a NUL.
fn decode(part: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        bytes.push(match (first, tail) {
            (b'%', [high, low, ..]) => {
                rest = &tail[2..];
                let digit = |letter: u8| char::from(letter).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                digit(*high)? << 4 | digit(*low)?
            }
            (b'%', _) | (0, _) => return None,
            (byte, _) => *byte,
        });
    }
    String::from_utf8(bytes).ok().filter(|part| !part.contains('\0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read() {
        assert_eq!(parse(b"GET /a b\r\n"), Ok((Method::Get, "/a b")));
        assert_eq!(parse(b"PUT /x"), Ok((Method::Put, "/x")));
        for (line, refusal) in [
            (&b""[..], Refusal::BadRequest),
            (b"GET", Refusal::BadRequest),
            (b"GET x", Refusal::BadRequest),
            (b"DELETE /x", Refusal::MethodNotAllowed),
            (b"GET /\xff", Refusal::BadRequest),
        ] {
            assert_eq!(parse(line), Err(refusal));
        }
    }

    #[test]
    fn no_path_leaves_the_root() {
        let root = Path::new("/srv");
        for (path, file) in [("/", "/srv"), ("/a//b", "/srv/a/b"), ("/a%20b?c", "/srv/a b"), ("/%C3%BC", "/srv/\u{fc}")]
        {
            assert_eq!(resolve(root, path), Ok(PathBuf::from(file)), "{path}");
        }
        for path in ["/..", "/a/../../b", "/%2e%2e/x", "/a%2fb", "/.", "/%2F", "/%", "/%0", "/%zz", "/%00", "/%ff"] {
            assert!(resolve(root, path).is_err(), "{path}");
        }
    }
}
