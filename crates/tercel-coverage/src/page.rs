//! The page.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::arguments::{Arguments, NOT_MET};
use crate::citations::Citation;
use crate::requirements::{Id, Requirements};

/// Where something is kept and shown.
#[derive(Default)]
struct Places {
    kept: BTreeSet<String>,
    shown: BTreeSet<String>,
}

/// How it stands with a sentence.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Shown,
    Kept,
    Argued,
    NotMet,
    Open,
}

/// The page, and what is wrong.
pub(crate) fn make(requirements: &Requirements, cited: &[Citation], arguments: &Arguments) -> (String, Vec<String>) {
    let mut faults = Vec::new();
    let mut places: BTreeMap<&Id, Places> = BTreeMap::new();
    for citation in cited {
        let id = match &citation.id {
            Ok(id) if requirements.0.contains_key(id) => id,
            Ok(id) => {
                faults.push(format!("{}: RFC {} section {id} is not listed", citation.path, id.rfc));
                continue;
            }
            Err(text) => {
                faults.push(format!("{}: {text} names nothing", citation.path));
                continue;
            }
        };
        let place = place(citation);
        let of = places.entry(id).or_default();
        if citation.is_test {
            of.shown.insert(place)
        } else {
            of.kept.insert(place)
        };
    }
    for id in arguments.sentences() {
        match id {
            Some(id) if places.contains_key(&id) => {
                faults.push(format!("RFC {} section {id} is cited, and argued about", id.rfc));
            }
            Some(id) if requirements.0.contains_key(&id) => {}
            _ => faults.push(format!("an argument is about what is not listed: {id:?}")),
        }
    }
    let standing = |id: &Id| match (places.get(id), arguments.of(id)) {
        (Some(places), _) if !places.shown.is_empty() => Standing::Shown,
        (Some(_), _) => Standing::Kept,
        (None, Some(argument)) if argument.starts_with(NOT_MET) => Standing::NotMet,
        (None, Some(_)) => Standing::Argued,
        (None, None) => Standing::Open,
    };
    let open = requirements.0.keys().filter(|id| standing(id) == Standing::Open);
    faults.extend(open.map(|id| format!("RFC {} section {id} is neither cited nor argued about", id.rfc)));
    (write(requirements, &places, arguments, standing), faults)
}

fn place(citation: &Citation) -> String {
    let path = citation.path.strip_prefix("crates/").unwrap_or(&citation.path);
    match &citation.symbol {
        Some(symbol) => format!("`{path}` `{symbol}`"),
        None => format!("`{path}`"),
    }
}

const HEAD: &str = "\
# Which rule is kept where

Made by `cargo run -p tercel-coverage` of the citations in the sources; do not edit. Each sentence with MUST, \
SHOULD, SHALL, REQUIRED or RECOMMENDED of the RFCs that Tercel implements has a number: `8.1#3` is the third of \
section 8.1 ([requirements](requirements)). A comment `RFC 9000 section 8.1#3` says that it is kept there, or \
shown by the test that it stands at. What is cited nowhere has an [argument](arguments.toml), in italics. CI fails \
if something has neither, or if this page is out of date.
";

fn write(
    requirements: &Requirements,
    places: &BTreeMap<&Id, Places>,
    arguments: &Arguments,
    standing: impl Fn(&Id) -> Standing,
) -> String {
    let mut page = HEAD.to_owned();
    let rfcs: BTreeSet<u32> = requirements.0.keys().map(|id| id.rfc).collect();
    let all = || requirements.0.iter();

    page.push_str("\n## What is not met\n\n");
    let mut any = false;
    for (id, requirement) in all().filter(|(id, _)| standing(id) == Standing::NotMet) {
        let argument = arguments.of(id).and_then(|text| text.strip_prefix(NOT_MET)).unwrap_or_default();
        let _ = writeln!(page, "- RFC {} `{id}`: {} *{argument}*", id.rfc, requirement.sentence);
        any = true;
    }
    if !any {
        page.push_str("Nothing.\n");
    }

    page.push_str("\n## Counts\n\n| RFC | rules | kept, shown by a test | kept, no test of its own | ask nothing of us | not met |\n");
    page.push_str("| --- | ---: | ---: | ---: | ---: | ---: |\n");
    for rfc in &rfcs {
        let count = |wanted: Option<Standing>| {
            all().filter(|(id, _)| id.rfc == *rfc && wanted.is_none_or(|wanted| standing(id) == wanted)).count()
        };
        let [rules, shown, kept, argued, not_met] =
            [None, Some(Standing::Shown), Some(Standing::Kept), Some(Standing::Argued), Some(Standing::NotMet)]
                .map(count);
        let _ = writeln!(page, "| {rfc} | {rules} | {shown} | {kept} | {argued} | {not_met} |");
    }

    for rfc in rfcs {
        let _ = writeln!(page, "\n## RFC {rfc}\n\n| | rule | kept at | shown by |\n| --- | --- | --- | --- |");
        for (id, requirement) in all().filter(|(id, _)| id.rfc == rfc) {
            let list = |places: &BTreeSet<String>| places.iter().cloned().collect::<Vec<_>>().join("<br>");
            let (kept, shown) = match (places.get(id), arguments.of(id)) {
                (Some(places), _) => (list(&places.kept), list(&places.shown)),
                (None, Some(argument)) => (format!("*{argument}*"), String::new()),
                (None, None) => ("?".into(), String::new()),
            };
            let sentence = requirement.sentence.replace('|', "\\|").replace('*', "\\*").replace('<', "&lt;");
            debug_assert!(sentence.contains(&requirement.level));
            let _ = writeln!(page, "| `{id}` | {sentence} | {kept} | {shown} |");
        }
    }
    page
}
