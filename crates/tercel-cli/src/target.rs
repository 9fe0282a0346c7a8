//! What to fetch: a URL, reduced to what HTTP/0.9 over QUIC needs.

use std::str::FromStr;

/// A URL of the form `https://HOST[:PORT]/PATH`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Target {
    /// A name or an address without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// From the first slash, with the query, without the fragment.
    pub(crate) path: String,
}

impl Target {
    /// The name under which the file is stored.
    pub(crate) fn file_name(&self) -> &str {
        let path = self.path.split('?').next().unwrap_or_default();
        match path.rsplit('/').next() {
            None | Some("" | "." | "..") => "index.html",
            Some(name) => name,
        }
    }

    /// Host and port as they stand in a URL.
    pub(crate) fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "https://{}{}", self.authority(), self.path)
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rest = text
            .strip_prefix("https://")
            .ok_or_else(|| format!("\"{text}\" is not a URL such as https://localhost:4433/file"))?;
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        if path.contains(|letter: char| letter.is_ascii_control() || letter == ' ') {
            return Err(format!("the path of \"{text}\" has a space or a control character; write it as %20"));
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(bracketed) => {
                let (host, rest) = bracketed.split_once(']').ok_or_else(|| format!("\"{text}\" lacks a ]"))?;
                (host, rest.strip_prefix(':').unwrap_or("443"))
            }
            None => authority.split_once(':').unwrap_or((authority, "443")),
        };
        if host.is_empty() {
            return Err(format!("\"{text}\" names no host"));
        }
        let port = port
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(|| format!("\"{port}\" in \"{text}\" is not a port"))?;
        Ok(Self { host: host.to_string(), port, path: path.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let cases = [
            ("https://a", "a", 443, "/", "index.html"),
            ("https://a:4433/b/c.txt?d=e#f", "a", 4433, "/b/c.txt?d=e", "c.txt"),
            ("https://[::1]:7/x/", "::1", 7, "/x/", "index.html"),
            ("https://[::1]/..", "::1", 443, "/..", "index.html"),
        ];
        for (text, host, port, path, file) in cases {
            let target: Target = text.parse().unwrap();
            assert_eq!((target.host.as_str(), target.port, target.path.as_str()), (host, port, path), "{text}");
            assert_eq!(target.file_name(), file, "{text}");
        }
        for text in [
            "",
            "a",
            "http://a/",
            "https://",
            "https://:1/",
            "https://a:0/",
            "https://a:x/",
            "https://a/b c",
            "https://[::1/",
        ] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }
}
