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

    /// What a reference found there leads to (RFC 3986 section 5.2).
    pub(crate) fn join(&self, reference: &str) -> Result<Self, String> {
        let reference = reference.split('#').next().unwrap_or_default();
        let is_absolute = reference.find([':', '/', '?']).is_some_and(|at| at > 0 && reference[at..].starts_with(':'));
        if is_absolute {
            return match reference.split_at_checked(8) {
                Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https://") => format!("https://{rest}").parse(),
                _ => Err(format!("it leads to {reference:?}, which is not https")),
            };
        }
        if let Some(rest) = reference.strip_prefix("//") {
            return format!("https://{rest}").parse();
        }
        let (path, query) =
            self.path.split_once('?').map_or((self.path.as_str(), None), |(path, query)| (path, Some(query)));
        let (wanted, new_query) =
            reference.split_once('?').map_or((reference, None), |(path, query)| (path, Some(query)));
        let joined = match wanted {
            "" => path.to_owned(),
            wanted if wanted.starts_with('/') => wanted.to_owned(),
            wanted => format!("{}/{wanted}", path.rsplit_once('/').map_or("", |(directory, _)| directory)),
        };
        let query = new_query.or(query.filter(|_| wanted.is_empty()));
        let query = query.map_or_else(String::new, |query| format!("?{query}"));
        format!("https://{}{}{query}", self.authority(), without_dots(&joined)).parse()
    }

    /// Host and port as they stand in a URL.
    pub(crate) fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

/// Removes `.` and `..` from a path (RFC 3986 section 5.2.4).
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut parts = path.split('/').skip(1).peekable();
    while let Some(part) = parts.next() {
        match part {
            "." | ".." => {
                if part == ".." {
                    kept.pop();
                }
                if parts.peek().is_none() {
                    kept.push("");
                }
            }
            part => kept.push(part),
        }
    }
    format!("/{}", kept.join("/"))
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

    /// The examples of RFC 3986 section 5.4, as far as they are paths.
    #[test]
    fn references_lead_where_the_rfc_says() {
        let base: Target = "https://a/b/c/d;p?q".parse().unwrap();
        for (reference, path) in [
            ("g", "/b/c/g"),
            ("./g", "/b/c/g"),
            ("g/", "/b/c/g/"),
            ("/g", "/g"),
            ("?y", "/b/c/d;p?y"),
            ("g?y", "/b/c/g?y"),
            ("#s", "/b/c/d;p?q"),
            ("g?y#s", "/b/c/g?y"),
            (";x", "/b/c/;x"),
            ("", "/b/c/d;p?q"),
            (".", "/b/c/"),
            ("./", "/b/c/"),
            ("..", "/b/"),
            ("../g", "/b/g"),
            ("../..", "/"),
            ("../../../g", "/g"),
            ("/./g", "/g"),
            ("/../g", "/g"),
            ("g;x=1/../y", "/b/c/y"),
            ("g?y/../x", "/b/c/g?y/../x"),
        ] {
            let joined = base.join(reference).unwrap();
            assert_eq!((joined.host.as_str(), joined.port, joined.path.as_str()), ("a", 443, path), "{reference}");
        }
        assert_eq!(base.join("//x:8/y").unwrap(), "https://x:8/y".parse().unwrap());
        assert_eq!(base.join("HTTPS://x/y").unwrap(), "https://x/y".parse().unwrap());
        for reference in ["http://x/", "ftp:x", "https:/x", "//", "g h", "//x:0/"] {
            assert!(base.join(reference).is_err(), "{reference}");
        }
    }

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
