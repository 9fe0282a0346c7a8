//! The page of a directory.

use std::cmp::Reverse;
use std::fmt::Write as _;
use std::path::Path;
use std::time::SystemTime;

use crate::inside::Inside;
use crate::size::Size;

/// How many entries a page shows.
const MOST: usize = 10_000;

/// One line of the page.
struct Entry {
    name: String,
    is_directory: bool,
    size: u64,
    changed: Option<SystemTime>,
}

/// The page of `directory`, which the client knows as `path`. What is not served is not listed.
pub(super) async fn page(inside: &Inside, directory: &Path, path: &str) -> std::io::Result<String> {
    let mut entries = Vec::new();
    let mut reader = tokio::fs::read_dir(directory).await?;
    while let Some(found) = reader.next_entry().await? {
        let Ok(name) = found.file_name().into_string() else { continue };
        // Nor is `.well-known`, which is for programs. A link counts as what it leads to.
        if name.starts_with('.') {
            continue;
        }
        let Ok(real) = inside.real(&found.path()).await else { continue };
        let Ok(metadata) = tokio::fs::metadata(real).await else { continue };
        entries.push(Entry {
            name,
            is_directory: metadata.is_dir(),
            size: metadata.len(),
            changed: metadata.modified().ok(),
        });
        if entries.len() == MOST {
            break;
        }
    }
    entries.sort_by_cached_key(|entry| (Reverse(entry.is_directory), entry.name.to_lowercase()));
    Ok(render(&entries, path, inside.root() == directory))
}

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8883;--soft:#888;--link:#0a58ca}\
@media(prefers-color-scheme:dark){:root{--link:#8ab4f8}}\
*{box-sizing:border-box}\
body{font:16px/1.5 system-ui,sans-serif;margin:0 auto;max-width:60rem;padding:2rem 1rem}\
h1{font-size:1.25rem;font-weight:600;overflow-wrap:anywhere;margin:0 0 1rem}\
h1 a{text-decoration:none}h1 a:hover{text-decoration:underline}\
table{border-collapse:collapse;width:100%}\
th{font-weight:500;color:var(--soft);text-align:left;font-size:.85rem}\
th,td{padding:.35rem .5rem;border-bottom:1px solid var(--line)}\
td:first-child{overflow-wrap:anywhere;width:100%}\
tr:hover td{background:#8881}\
.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums;color:var(--soft)}\
a{color:var(--link);text-decoration:none}td a{display:block}\
.d{font-weight:600}footer{color:var(--soft);font-size:.85rem;margin-top:1.5rem}\
@media(max-width:40rem){.w{display:none}}";

fn render(entries: &[Entry], path: &str, is_root: bool) -> String {
    let shown = decoded(path);
    let mut page = String::with_capacity(2048 + entries.len() * 200);
    let _ = write!(
        page,
        "<!doctype html><html lang=en><meta charset=utf-8>\
         <meta name=viewport content=\"width=device-width,initial-scale=1\"><title>{}</title>\
         <style>{STYLE}</style><h1>{}</h1><table><thead><tr><th>Name<th class=n>Size<th class=\"n w\">Changed (UTC)\
         <tbody>",
        escaped(&shown),
        trail(path),
    );
    if !is_root {
        page.push_str("<tr><td><a class=d href=\"../\">../</a><td class=n><td class=\"n w\">");
    }
    for entry in entries {
        let slash = if entry.is_directory { "/" } else { "" };
        let size = if entry.is_directory { String::new() } else { Size(entry.size).to_string() };
        let class = if entry.is_directory { " class=d" } else { "" };
        let _ = write!(
            page,
            "<tr><td><a{class} href=\"./{}{slash}\">{}{slash}</a><td class=n>{size}<td class=\"n w\">{}",
            encoded(&entry.name),
            escaped(&entry.name),
            entry.changed.map(|time| day(time, " ", 5)).unwrap_or_default(),
        );
    }
    let (files, directories) = entries.iter().fold((0, 0), |(files, directories), entry| {
        if entry.is_directory { (files, directories + 1) } else { (files + 1, directories) }
    });
    let total: u64 = entries.iter().filter(|entry| !entry.is_directory).map(|entry| entry.size).sum();
    let count = |number: usize, one: &str, many: &str| format!("{number} {}", if number == 1 { one } else { many });
    let _ = write!(
        page,
        "</table><footer>{}, {}, {}</footer>",
        count(directories, "directory", "directories"),
        count(files, "file", "files"),
        Size(total)
    );
    page
}

/// The path with each of its parts a link.
fn trail(path: &str) -> String {
    let parts: Vec<_> = path.split('/').filter(|part| !part.is_empty()).collect();
    let mut trail =
        format!("<a href=\"{}\">/</a>", if parts.is_empty() { "./".into() } else { "../".repeat(parts.len()) });
    for (at, part) in parts.iter().enumerate() {
        let up = parts.len() - 1 - at;
        let href = if up == 0 { "./".into() } else { "../".repeat(up) };
        let _ = write!(trail, "<a href=\"{href}\">{}</a>/", escaped(&decoded(part)));
    }
    trail
}

/// A day and so many letters of its time, as `2026-11-23 18:05`, in UTC.
pub(crate) fn day(time: SystemTime, between: &str, letters: usize) -> String {
    let date = httpdate::HttpDate::from(time).to_string();
    // "Sun, 06 Nov 1994 08:49:37 GMT" holds all that is needed.
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut parts = date.split(' ').skip(1);
    let (Some(day), Some(month), Some(year), Some(clock)) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return date;
    };
    let month = months.iter().position(|name| *name == month).map_or(0, |at| at + 1);
    format!("{year}-{month:02}-{day}{between}{}", clock.get(..letters).unwrap_or(clock))
}

/// For text and attributes of HTML.
fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, letter| {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            letter => out.push(letter),
        }
        out
    })
}

/// For a part of a path in a link (RFC 3986 section 2.3).
fn encoded(name: &str) -> String {
    name.bytes().fold(String::with_capacity(name.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// A path as a person reads it.
fn decoded(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => bytes.push(*first),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn entry(name: &str, is_directory: bool) -> Entry {
        let changed = Some(UNIX_EPOCH + Duration::from_secs(784_111_777));
        Entry { name: name.into(), is_directory, size: 2048, changed }
    }

    #[test]
    fn names_do_no_harm() {
        let page =
            render(&[entry("<script>alert('x')</script>&\".txt", false), entry("ü #?%.txt", false)], "/a%3Cb/", false);
        assert!(!page.contains("<script>") && !page.contains("'x'"), "{page}");
        assert!(page.contains("&lt;script&gt;") && page.contains("href=\"./%3Cscript%3E"), "{page}");
        assert!(page.contains("href=\"./%C3%BC%20%23%3F%25.txt\">ü #?%.txt</a>"), "{page}");
        assert!(page.contains("<title>/a&lt;b/</title>"), "{page}");
    }

    #[test]
    fn the_page_tells_size_and_day_and_leads_up() {
        let page = render(&[entry("films", true), entry("a.txt", false)], "/x/y/", false);
        assert!(page.contains("<a class=d href=\"./films/\">films/</a>"), "{page}");
        assert!(page.contains("2 KiB") && page.contains("1994-11-06 08:49"), "{page}");
        assert!(page.contains("<a href=\"../../\">/</a><a href=\"../\">x</a>/<a href=\"./\">y</a>/"), "{page}");
        assert!(page.contains("1 directory, 1 file, 2 KiB") && page.contains("href=\"../\">../</a>"), "{page}");
        assert!(!render(&[], "/", true).contains("\">../</a>"));
    }
}
