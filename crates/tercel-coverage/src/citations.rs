//! Where the sources cite what the RFCs ask.

use crate::requirements::Id;

/// A sentence of an RFC, cited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Citation {
    /// Which, or the text that names none.
    pub(crate) id: Result<Id, String>,
    /// In which file, from the root of the project.
    pub(crate) path: String,
    /// At which function or item, if it is not the file as a whole.
    pub(crate) symbol: Option<String>,
    /// Whether that is a test.
    pub(crate) is_test: bool,
}

/// The citations of a file.
pub(crate) fn of(path: &str, text: &str) -> Vec<Citation> {
    let lines: Vec<&str> = text.lines().collect();
    let is_test_file =
        ["/tests/", "/tests.rs", "crates/tercel-sim/", "crates/tercel-interleavings/", "fuzz/", "interop/"]
            .iter()
            .any(|part| path.contains(part));
    let first_test = lines.windows(2).position(|pair| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod "));
    let first_test = first_test.filter(|at| lines[at + 1].ends_with('{'));
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(comment) = line.find("//").map(|start| &line[start..]) else { continue };
        let ids = cited(comment);
        if ids.is_empty() {
            continue;
        }
        let is_test = is_test_file || first_test.is_some_and(|first| at > first);
        let symbol = if comment.starts_with("//!") { None } else { symbol(&lines, at) };
        found.extend(ids.into_iter().map(|id| Citation { id, path: path.into(), symbol: symbol.clone(), is_test }));
    }
    found
}

/// What a comment cites: "RFC 9000 section 8.1#3#4, 14.1#1" is three sentences.
fn cited(comment: &str) -> Vec<Result<Id, String>> {
    let mut ids = Vec::new();
    for (start, _) in comment.match_indices("RFC ") {
        let rest = &comment[start + 4..];
        let Some((rfc, rest)) = rest.split_once(' ') else { continue };
        let Ok(rfc) = rfc.parse() else { continue };
        let rest = rest.strip_prefix("sections ").or_else(|| rest.strip_prefix("section ")).unwrap_or_default();
        for group in rest.split([',', ' ']).map(|group| group.trim_end_matches([':', '.', ')', ';'])) {
            if group.is_empty() || group == "and" {
                continue;
            }
            let mut parts = group.split('#');
            let section = parts.next().unwrap_or_default();
            let before = ids.len();
            for number in parts {
                let id = number.parse().ok().and_then(|number| Id::new(rfc, section, number));
                ids.push(id.ok_or_else(|| format!("RFC {rfc} section {section}#{number}")));
            }
            if ids.len() == before {
                // Another text follows.
                break;
            }
        }
    }
    ids
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// The name of what a line declares.
fn declared(line: &str) -> Option<(&str, &str)> {
    let mut words =
        line.trim_start().split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty());
    let kind = words
        .find(|word| !["pub", "crate", "super", "in", "async", "const", "default", "tls", "self"].contains(word))?;
    let constant = || line.contains("const ") && line.contains(": ") && !line.contains("fn ");
    match kind {
        "fn" | "struct" | "enum" | "trait" | "static" | "macro_rules" | "mod" | "type" => {
            words.next().map(|name| (kind, name))
        }
        "impl" => {
            let target = line.split(" for ").last()?.trim_start().trim_start_matches("impl");
            let target = target.trim_start_matches(|c: char| c != '>' && target.trim_start().starts_with('<'));
            let target = target.trim_start_matches(['>', ' ', '&']);
            target
                .split(|c: char| !(c.is_alphanumeric() || c == '_'))
                .find(|word| !word.is_empty())
                .map(|name| ("impl", name))
        }
        name if constant() => Some(("const", name)),
        _ => None,
    }
}

/// What a comment stands at: the item that it is before, or else the one that it is in.
fn symbol(lines: &[&str], at: usize) -> Option<String> {
    let is_aside = |line: &&str| {
        let line = line.trim_start();
        line.starts_with("//") || line.starts_with("#[") || line.is_empty()
    };
    let inner = if lines[at].trim_start().starts_with("//") {
        let next = at + lines[at..].iter().take_while(|line| is_aside(line)).count();
        lines.get(next).and_then(|line| declared(line).map(|found| (next, found)))
    } else {
        declared(lines[at]).map(|found| (at, found))
    };
    let (place, (kind, name)) = inner.or_else(|| around(lines, at))?;
    match around(lines, place) {
        Some((_, ("impl" | "trait", owner))) if kind == "fn" || kind == "const" => Some(format!("{owner}::{name}")),
        _ => Some(name.into()),
    }
}

/// The nearest item around a line.
fn around<'a>(lines: &[&'a str], at: usize) -> Option<(usize, (&'a str, &'a str))> {
    let depth = indent(lines[at]);
    let before = lines[..at].iter().enumerate().rev();
    let mut depth_so_far = depth;
    for (place, line) in before {
        let line_depth = indent(line);
        if line.trim().is_empty() || line_depth >= depth_so_far || line.trim_start().starts_with("//") {
            continue;
        }
        depth_so_far = line_depth;
        if let Some((kind, name)) = declared(line)
            && kind != "mod"
        {
            return Some((place, (kind, name)));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = r#"//! A room (RFC 9000 section 5#1).

/// So many (RFC 9000 section 5#2).
pub(crate) const MANY: usize = 3;

struct Room;

impl<'a> Guest for Room {
    /// Comes in.
    ///
    /// RFC 9001 sections 8.1#3#4, 14.1#1: and it says 6#7 nowhere.
    pub(super) fn come(&self) -> bool {
        let there = {
            // RFC 9000 section 5#3: why.
            true
        };
        // Plain words of RFC 9000 section 5.
        there // RFC 9000 section 5#4.
    }
}

#[cfg(test)]
mod tests {
    /// RFC 9000 section 5#5.
    #[test]
    fn they_come() {
        // RFC 9000 section 5.x#1 is none.
    }
}
"#;

    #[test]
    fn citations_are_found_with_their_places() {
        let found = of("crates/a/src/b.rs", SOURCE);
        let texts: Vec<String> = found
            .iter()
            .map(|citation| {
                let id = citation.id.as_ref().map_or_else(|text| format!("?{text}"), |id| format!("{} {id}", id.rfc));
                format!("{id} {} {}", citation.symbol.as_deref().unwrap_or("-"), citation.is_test)
            })
            .collect();
        assert_eq!(
            texts,
            [
                "9000 5#1 - false",
                "9000 5#2 MANY false",
                "9001 8.1#3 Room::come false",
                "9001 8.1#4 Room::come false",
                "9001 14.1#1 Room::come false",
                "9000 5#3 Room::come false",
                "9000 5#4 Room::come false",
                "9000 5#5 they_come true",
                "?RFC 9000 section 5.x#1 they_come true",
            ]
        );
        assert!(of("crates/a/src/b/tests.rs", SOURCE).iter().all(|citation| citation.is_test));
        assert!(of("crates/tercel-sim/src/b.rs", SOURCE).iter().all(|citation| citation.is_test));
    }
}
