//! Which rule of the RFCs is kept where, and shown by which test.
//!
//! `docs/rfc/requirements` lists the sentences of the RFCs that ask something of somebody (MUST, SHOULD and
//! their like). The sources cite them in comments, one line each: `RFC 9000 section 8.1#3` is the third such
//! sentence of section 8.1. A citation in a test says that the test shows it, any other that it is kept
//! there. `docs/rfc/arguments.toml` says of the rest why it asks nothing of us, or is not met. This program
//! makes `docs/rfc/coverage.md` of all that; its test fails if the page is out of date, if a citation names
//! what there is not, or if something is neither cited nor argued.
//!
//! `cargo run -p tercel-coverage` writes the page.
#![forbid(unsafe_code)]

mod arguments;
mod citations;
mod page;
mod requirements;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use arguments::Arguments;
use citations::Citation;
use requirements::Requirements;

/// The root of the project.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Where the page is.
const PAGE: &str = "docs/rfc/coverage.md";

/// Where citations are looked for.
const SOURCES: [&str; 3] = ["crates", "fuzz", "interop"];

/// All Rust files below `directory`, in order.
fn sources(directory: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut entries = fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    entries.sort();
    for path in entries {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() && !["target", "corpus", "tercel-coverage"].contains(&name) {
            sources(&path, found)?;
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
    Ok(())
}

/// The page, and what is wrong.
fn make(root: &Path) -> io::Result<(String, Vec<String>)> {
    let requirements = Requirements::read(&root.join("docs/rfc/requirements"))?;
    let arguments = Arguments::parse(&fs::read_to_string(root.join("docs/rfc/arguments.toml"))?);
    let mut files = Vec::new();
    for directory in SOURCES {
        sources(&root.join(directory), &mut files)?;
    }
    let mut cited: Vec<Citation> = Vec::new();
    for file in files {
        let path = file.strip_prefix(root).unwrap_or(&file).to_string_lossy().replace('\\', "/");
        cited.extend(citations::of(&path, &fs::read_to_string(&file)?));
    }
    Ok(page::make(&requirements, &cited, &arguments))
}

fn main() -> ExitCode {
    let root = root();
    let result = make(&root).and_then(|(page, faults)| fs::write(root.join(PAGE), page).map(|()| faults));
    match result {
        Ok(faults) if faults.is_empty() => ExitCode::SUCCESS,
        Ok(faults) => {
            faults.iter().for_each(|fault| eprintln!("{fault}"));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_cited_or_argued_and_the_page_says_so() {
        let (page, faults) = make(&root()).unwrap();
        assert!(faults.is_empty(), "{}", faults.join("\n"));
        let there = fs::read_to_string(root().join(PAGE)).unwrap();
        assert!(there == page, "{PAGE} is out of date: cargo run -p tercel-coverage");
    }
}
