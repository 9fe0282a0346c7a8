//! `tercel trace`: a qlog, of Tercel or of another stack, as one page that needs no network.
//!
//! The file is read here, record by record, and only what the page draws is kept; the drawing is done by
//! the page itself (`page.html`, `page.js`).

mod read;

use std::path::{Path, PathBuf};

use crate::args;
use crate::failure::{Doing as _, Failure, Outcome};

const PAGE: &str = include_str!("page.html");
const SCRIPT: &str = include_str!("page.js");

pub(crate) fn run(arguments: &args::Trace) -> Outcome {
    draw(&arguments.files, &arguments.output)?;
    println!("Open {} in a browser.", arguments.output.display());
    Ok(())
}

/// Draws the logs side by side.
pub(crate) fn draw(files: &[PathBuf], output: &Path) -> Outcome {
    let page = page(files)?;
    std::fs::write(output, page).doing(|| format!("cannot write {}", output.display()))
}

fn page(files: &[PathBuf]) -> Outcome<String> {
    let mut ends = Vec::new();
    for file in files {
        let bytes = std::fs::read(file).doing(|| format!("cannot read {}", file.display()))?;
        let name = file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let end = read::log(&String::from_utf8_lossy(&bytes), &name)
            .map_err(|why| Failure::plain(format!("{} is no qlog: {why}", file.display())))?;
        ends.push(end);
    }
    // No end of a script element may be in the data.
    let data = serde_json::Value::Array(ends).to_string().replace('<', "\\u003c");
    Ok(PAGE.replace("/*SCRIPT*/", SCRIPT).replace("/*DATA*/[]", &data))
}

#[cfg(test)]
mod tests;
