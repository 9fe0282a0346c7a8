//! What the program writes about itself: completions for shells and pages for `man`, both made from
//! the command line's own description, so that they cannot fall behind it.

use std::io::{self, Write as _};
use std::path::Path;

use clap::{Command, CommandFactory as _};
use clap_mangen::Man;
use roff::{Roff, roman};

use crate::args::{self, Arguments};
use crate::failure::{Doing as _, Outcome};

/// Prints the completions for a shell.
pub(crate) fn completions(arguments: &args::Completions) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Arguments::command(), "tercel", &mut script);
    print(&script)
}

/// Writes the manual: every page into a directory, or the first page to standard output.
pub(crate) fn man(arguments: &args::Man) -> Outcome {
    // The pages of `help` would be copies of the others.
    let mut command = Arguments::command().disable_help_subcommand(true);
    command.build();
    match &arguments.out {
        Some(directory) => write_pages(command, directory).doing(|| format!("cannot write to {}", directory.display())),
        None => print(&page(command).doing(|| "cannot make the page")?.1),
    }
}

fn write_pages(command: Command, directory: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    for command in command.get_subcommands().cloned().chain([command.clone()]) {
        let (name, text) = page(command)?;
        std::fs::write(directory.join(name), text)?;
    }
    Ok(())
}

/// The name of a command's page, and the page.
fn page(command: Command) -> io::Result<(String, Vec<u8>)> {
    let notes = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let commands = command.has_subcommands();
    let man = Man::new(command).source(concat!("tercel ", env!("CARGO_PKG_VERSION"))).manual("Tercel");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if commands {
        man.render_subcommands_section(&mut page)?;
    }
    if !notes.is_empty() {
        self::notes(&notes).to_writer(&mut page)?;
    }
    Ok((man.get_filename(), page))
}

/// What help says last. Indented lines are examples, whose columns must stay as they are; the rest
/// flows.
fn notes(text: &str) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["NOTES"]);
    for line in text.lines() {
        match line {
            "" => roff.control("PP", []),
            example if example.starts_with(' ') => roff.control("nf", []).text([roman(example)]).control("fi", []),
            prose => roff.text([roman(prose)]),
        };
    }
    roff
}

/// A reader that has seen enough (`| head`) is no failure.
fn print(bytes: &[u8]) -> Outcome {
    match io::stdout().write_all(bytes) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).doing(|| "cannot print"),
        _ => Ok(()),
    }
}
