//! Why something is cited nowhere.

use std::collections::BTreeMap;

use crate::requirements::Id;

/// Arguments, by RFC and by what they are about: a sentence ("4.5#1"), or all sentences of a section and of
/// those within it ("22") that nothing else is said of.
pub(crate) struct Arguments(BTreeMap<(u32, String), String>);

/// An argument that begins so says that the rule is not kept.
pub(crate) const NOT_MET: &str = "Not met: ";

impl Arguments {
    /// Of the form that `docs/rfc/arguments.toml` has: tables by RFC, of strings by section or sentence.
    pub(crate) fn parse(text: &str) -> Self {
        let mut all = BTreeMap::new();
        let mut rfc = 0;
        for line in text.lines().map(str::trim) {
            if let Some(table) = line.strip_prefix("[rfc").and_then(|rest| rest.strip_suffix(']')) {
                rfc = table.parse().unwrap_or_default();
            } else if let Some((key, value)) = line.split_once(" = ") {
                all.insert((rfc, key.trim_matches('"').into()), value.trim_matches('"').into());
            }
        }
        Self(all)
    }

    /// What is said of a sentence.
    pub(crate) fn of(&self, id: &Id) -> Option<&str> {
        let keys = std::iter::once(id.to_string()).chain(id.sections());
        keys.into_iter().find_map(|key| self.0.get(&(id.rfc, key))).map(String::as_str)
    }

    /// The sentences that are spoken of by themselves.
    pub(crate) fn sentences(&self) -> impl Iterator<Item = Option<Id>> {
        self.0.keys().filter(|(_, key)| key.contains('#')).map(|(rfc, key)| {
            let (section, number) = key.split_once('#')?;
            Id::new(*rfc, section, number.parse().ok()?)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_argument_holds() {
        let text =
            "# Why\n[rfc9000]\n\"22\" = \"IANA's.\"\n\"22.1#2\" = \"Not met: so.\"\n[rfc9001]\n\"4#1\" = \"Else.\"\n";
        let arguments = Arguments::parse(text);
        let of = |rfc, section, number| arguments.of(&Id::new(rfc, section, number).unwrap()).map(str::to_owned);
        assert_eq!(of(9000, "22.1.4", 1).as_deref(), Some("IANA's."));
        assert_eq!(of(9000, "22.1", 2).as_deref(), Some("Not met: so."));
        assert_eq!(of(9000, "2", 2), None);
        assert_eq!(of(9001, "22", 1), None);
        assert_eq!(of(9001, "4", 1).as_deref(), Some("Else."));
        assert_eq!(arguments.sentences().flatten().count(), 2);
    }
}
