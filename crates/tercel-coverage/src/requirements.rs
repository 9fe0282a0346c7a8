//! What the RFCs ask.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// Which sentence: RFC, section, and the number within it. Ordered as in the RFCs, appendices last.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Id {
    pub(crate) rfc: u32,
    section: Vec<Part>,
    number: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Number(u32),
    Letter(char),
}

impl Id {
    /// `section` such as "13.2.1" or "A.2".
    pub(crate) fn new(rfc: u32, section: &str, number: u32) -> Option<Self> {
        let part = |part: &str| match part.parse() {
            Ok(number) => Some(Part::Number(number)),
            Err(_) => part.parse().ok().filter(char::is_ascii_uppercase).map(Part::Letter),
        };
        Some(Self { rfc, section: section.split('.').map(part).collect::<Option<_>>()?, number })
    }

    /// The section, and the sections that it is in, as texts, the nearest first.
    pub(crate) fn sections(&self) -> impl Iterator<Item = String> {
        (1..=self.section.len()).rev().map(|len| {
            let parts: Vec<String> = self.section[..len].iter().map(Part::to_string).collect();
            parts.join(".")
        })
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Letter(letter) => letter.fmt(f),
        }
    }
}

/// Without the RFC.
impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}#{}", self.sections().next().unwrap_or_default(), self.number)
    }
}

/// A sentence that asks something.
#[derive(Debug, Clone)]
pub(crate) struct Requirement {
    pub(crate) level: String,
    pub(crate) sentence: String,
}

/// All of them.
pub(crate) struct Requirements(pub(crate) BTreeMap<Id, Requirement>);

impl Requirements {
    /// Reads the files of a directory, `rfc9000.txt` and so on.
    pub(crate) fn read(directory: &Path) -> io::Result<Self> {
        let mut all = BTreeMap::new();
        for entry in std::fs::read_dir(directory)? {
            let path = entry?.path();
            let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
            let Some(rfc) = name.strip_prefix("rfc").and_then(|number| number.parse().ok()) else { continue };
            let text = std::fs::read_to_string(&path)?;
            for line in text.lines().filter(|line| !line.starts_with('#')) {
                let (id, requirement) = parse(rfc, line)
                    .ok_or_else(|| io::Error::other(format!("{}: not a requirement: {line}", path.display())))?;
                if all.insert(id, requirement).is_some() {
                    return Err(io::Error::other(format!("{}: twice: {line}", path.display())));
                }
            }
        }
        Ok(Self(all))
    }
}

fn parse(rfc: u32, line: &str) -> Option<(Id, Requirement)> {
    let mut columns = line.split('\t');
    let (section, number) = columns.next()?.split_once('#')?;
    let id = Id::new(rfc, section, number.parse().ok()?)?;
    let requirement = Requirement { level: columns.next()?.into(), sentence: columns.next()?.into() };
    columns.next().is_none().then_some((id, requirement))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_in_the_order_of_the_rfcs() {
        let id = |section, number| Id::new(9000, section, number).unwrap();
        let sorted = [id("2", 1), id("2.10", 1), id("10.1", 9), id("10.1", 10), id("19.3.1", 1), id("A.2", 1)];
        assert!(sorted.is_sorted());
        assert_eq!(sorted[4].to_string(), "19.3.1#1");
        assert_eq!(sorted[4].sections().collect::<Vec<_>>(), ["19.3.1", "19.3", "19"]);
        assert_eq!(Id::new(9000, "2..1", 1), None);
        assert_eq!(Id::new(9000, "", 1), None);
    }

    #[test]
    fn lines_have_three_columns() {
        let (id, requirement) = parse(9001, "4.2#1\tMUST NOT\tClients MUST NOT.").unwrap();
        assert_eq!((id.to_string(), &requirement.level[..]), ("4.2#1".into(), "MUST NOT"));
        assert!(parse(9001, "4.2\tMUST\tText").is_none());
        assert!(parse(9001, "4.2#1\tMUST").is_none());
    }
}
